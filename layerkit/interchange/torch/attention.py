"""Attention and what stands around it as PyTorch's modules and back, weights as they are.

PyTorch stacks queries, keys and values as we do, and keeps its matrices transposed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn as tnn

import layerkit.layers as nn
from layerkit.interchange.layouts import Trail, add
from layerkit.interchange.torch.reader import array, demand, read, reads
from layerkit.interchange.torch.writer import Chain, assigned, writes
from layerkit.layers.positions import sines

# Our arrays and PyTorch's, which are transposed.
_OF_ATTENTION = {
    "W_qkv": "in_proj_weight",
    "b_qkv": "in_proj_bias",
    "W_o": "out_proj.weight",
    "b_o": "out_proj.bias",
}
_OF_NORM, _OF_LINEAR = {"gamma": "weight", "beta": "bias"}, {"W": "weight", "b": "bias"}


class SelfAttention(tnn.Module):
    """Attention of a sequence to itself, which returns one tensor."""

    def __init__(self, attention: tnn.MultiheadAttention, causal: bool) -> None:
        super().__init__()
        self.attention, self.causal = attention, causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = later_steps(x) if self.causal else None
        return self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]


class Causal(tnn.Module):
    """A TransformerEncoderLayer in which no step sees a later one."""

    def __init__(self, layer: tnn.TransformerEncoderLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x, src_mask=later_steps(x))


class PlusPlaces(tnn.Module):
    """Add to every step the row of a learned table that is its place's."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = tnn.Parameter(table)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table[: x.shape[1]]


class PlusSines(tnn.Module):
    """Add to every step the sines of its place."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.tensor(sines(*x.shape[1:], np.dtype(np.float64))).to(x)


def later_steps(x: torch.Tensor) -> torch.Tensor:
    """PyTorch's mask says which steps are *not* attended to."""
    return torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)


# ---------------------------------------------------------------- to PyTorch


@writes(nn.MultiHeadAttention)
def _write_attention(layer: Any, chain: Chain) -> Chain:
    d = layer.input_shape[1]
    attention = tnn.MultiheadAttention(d, layer.num_heads, layer.rate, batch_first=True)
    _fill(attention, layer, _OF_ATTENTION)
    module = SelfAttention(attention, bool(layer.causal))
    return chain.with_channels_last().then(module, layer.output_shape)


@writes(nn.TransformerEncoderBlock)
def _write_block(block: Any, chain: Chain) -> Chain:
    how = {"dropout": float(block.rate), "batch_first": True, "norm_first": True}
    module: Any = tnn.TransformerEncoderLayer(
        block.input_shape[1], block.num_heads, block.units, **how
    )
    for part, path, names in _parts(block):
        inner = module.get_submodule(path)
        _fill(inner, part, names)
        inner.requires_grad_(part.trainable)
        if isinstance(part, nn.LayerNorm):
            inner.eps = part.eps
    module = Causal(module) if block.causal else module
    return chain.with_channels_last().then(module, block.output_shape)


@writes(nn.PositionalEncoding)
def _write_sines(layer: Any, chain: Chain) -> Chain:
    return chain.with_channels_last().then(PlusSines(), layer.output_shape)


@writes(nn.PositionalEmbedding)
def _write_places(layer: Any, chain: Chain) -> Chain:
    table = torch.tensor(np.array(layer.params["W"]))
    return chain.with_channels_last().then(PlusPlaces(table), layer.output_shape)


def _parts(block: Any) -> list[tuple[Any, str, dict[str, str]]]:
    """Return the layers of a block that have parameters, PyTorch's for each, and the arrays."""
    norm, attend, _ = block.attention.body
    next_norm, widen, _, _, narrow, _ = block.feed_forward.body
    return [
        (norm, "norm1", _OF_NORM),
        (attend, "self_attn", _OF_ATTENTION),
        (next_norm, "norm2", _OF_NORM),
        (widen, "linear1", _OF_LINEAR),
        (narrow, "linear2", _OF_LINEAR),
    ]


def _fill(module: Any, layer: Any, names: dict[str, str]) -> None:
    for ours, theirs in names.items():
        path, _, name = theirs.rpartition(".")
        assigned(module.get_submodule(path), **{name: layer.params[ours].T})


# ---------------------------------------------------------------- from PyTorch


@reads(tnn.MultiheadAttention)
def _read_attention(module: Any, trail: Trail, causal: bool = False) -> Trail:
    """Read it as self-attention, which is what a module with one input computes."""
    demand(module.batch_first, "batch_first=True")
    demand(module.in_proj_weight is not None, "keys and values of the width of queries")
    demand(module.bias_k is None and not module.add_zero_attn, "no keys or values of its own")
    layer = nn.MultiHeadAttention(module.num_heads, causal=causal, rate=module.dropout)
    return trail.with_channels_last().then(layer, **_arrays(module, _OF_ATTENTION))


@reads(SelfAttention)
def _read_self_attention(module: Any, trail: Trail) -> Trail:
    trail = _read_attention(module.attention, trail, module.causal)
    _freeze(trail.layers[-1], module.attention)
    return trail


@reads(tnn.TransformerEncoderLayer)
def _read_block(module: Any, trail: Trail, causal: bool = False) -> Trail:
    """Read it as our block, or as its parts if these are others or stand in another order."""
    demand(module.self_attn.batch_first, "batch_first=True")
    trail = trail.with_channels_last()
    rates = {module.dropout.p, module.dropout1.p, module.dropout2.p, module.self_attn.dropout}
    known = module.norm_first and len(rates) == 1 and isinstance(_activation(module), tnn.ReLU)
    if not known or {module.norm1.eps, module.norm2.eps} != {nn.LayerNorm().eps}:
        return _read_parts(module, trail, causal)
    units, (rate,) = module.linear1.out_features, rates
    block: Any = nn.TransformerEncoderBlock(
        module.self_attn.num_heads, units, rate=rate, causal=causal
    )
    trail = trail.then(block)
    for part, path, names in _parts(block):
        inner = module.get_submodule(path)
        trail.arrays[part] = _arrays(inner, names)
        _freeze(part, inner)
    return trail


def _read_parts(module: Any, trail: Trail, causal: bool) -> Trail:
    """Read a block whose norms come last, or that has another activation, eps or dropout."""

    def attend(x: Trail) -> Trail:
        x = _read_self_attention(SelfAttention(module.self_attn, causal), x)
        return read(module.dropout1, x, "dropout1")

    def feed_forward(x: Trail) -> Trail:
        x = read(_activation(module), read(module.linear1, x, "linear1"), "activation")
        x = read(module.linear2, read(module.dropout, x, "dropout"), "linear2")
        return read(module.dropout2, x, "dropout2")

    for norm, part in ((module.norm1, attend), (module.norm2, feed_forward)):
        if module.norm_first:
            trail = add([trail, part(read(norm, trail, "norm"))])
        else:
            trail = read(norm, add([trail, part(trail)]), "norm")
    return trail


def _activation(module: Any) -> tnn.Module:
    """Return the activation as a module, which may be a function."""
    functions = {torch.nn.functional.relu: tnn.ReLU(), torch.relu: tnn.ReLU()}
    functions[torch.nn.functional.gelu] = tnn.GELU()
    found = functions.get(module.activation, module.activation)
    demand(isinstance(found, tnn.Module), "the activation relu, gelu or a module")
    return found


@reads(Causal)
def _read_causal_block(module: Any, trail: Trail) -> Trail:
    return _read_block(module.layer, trail, causal=True)


@reads(tnn.TransformerEncoder)
def _read_stack(module: Any, trail: Trail) -> Trail:
    for layer in module.layers:
        trail = _read_block(layer, trail)
    if module.norm is None:
        return trail
    return trail.then(nn.LayerNorm(eps=module.norm.eps), **_arrays(module.norm, _OF_NORM))


@reads(PlusSines)
def _read_sines(module: PlusSines, trail: Trail) -> Trail:
    return trail.with_channels_last().then(nn.PositionalEncoding())


@reads(PlusPlaces)
def _read_places(module: PlusPlaces, trail: Trail) -> Trail:
    layer = nn.PositionalEmbedding(len(module.table))
    return trail.with_channels_last().then(layer, W=array(module.table))


def _arrays(module: Any, names: dict[str, str]) -> dict[str, np.ndarray]:
    """Return our arrays from PyTorch's; of a bias that it does without, zeros."""
    theirs = dict(module.named_parameters())
    columns = {"b_qkv": "in_proj_weight", "b_o": "out_proj.weight"}
    found = {}
    for ours, name in names.items():
        if name in theirs:
            found[ours] = array(theirs[name]).T
        else:
            found[ours] = np.zeros(len(theirs[columns.get(ours, "weight")]), np.float32)
    return found


def _freeze(layer: Any, module: tnn.Module) -> None:
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        layer.trainable = False
