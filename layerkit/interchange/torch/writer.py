"""From layers to PyTorch modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import nn as tnn

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import (
    InOrder,
    axes_of_order,
    channels_in_front,
    kernel_to_channels_first,
    model_axis,
    rows_at_the_end,
    rows_in_order,
)
from layerkit.interchange.torch import modules
from layerkit.layer import Layer
from layerkit.shapes import Shape


@dataclass(frozen=True)
class Chain(InOrder):
    """The modules so far, which give samples of a shape.

    ``image`` is set after a flattening of channels-first images until a Dense takes it up.
    """

    shape: Shape
    channels_first: bool
    modules: tuple[tnn.Module, ...] = ()
    image: Shape | None = None

    def then(self, module: tnn.Module, shape: Shape | None = None) -> Self:
        """Go on through a module."""
        shape = self.shape if shape is None else shape
        first = self.channels_first and len(shape) > 1
        return replace(self, modules=(*self.modules, module), shape=shape, channels_first=first)

    def transposed_to(self, channels_first: bool) -> Self:
        turn = modules.Permute(axes_of_order(self.shape, channels_first)[1:])
        return replace(self.then(turn), channels_first=channels_first)

    def axis(self, axis: int) -> int:
        """The module's axis for one of ours (the batch is 0)."""
        return model_axis(axis, self.shape, self.channels_first)

    def module(self) -> tnn.Module:
        """Return the modules as one."""
        return self.modules[0] if len(self.modules) == 1 else tnn.Sequential(*self.modules)


WRITERS = Handlers()  # ``(layer, chain) -> chain``, by the class of the layer
writes = WRITERS.enter


def write_network(network: Layer) -> tnn.Module:
    """Return a module that computes what the network computes; images have channels first."""
    shape = network.input_shape
    first = len(shape) == 3 or (len(shape) == 2 and _wants_channels_first(network))
    chain = write(network, Chain(shape, first))
    if chain.image is not None:
        chain = _reordered(chain)
    chain = chain.in_order(len(chain.shape) == 3 or (len(chain.shape) == 2 and first))
    module: Any = tnn.Sequential(*chain.modules)
    module.channels_first = first  # a transposition of ours may come before what would tell it
    return module.to(torch.float64 if network.dtype == np.float64 else torch.float32).eval()


_ON_PLACES = (nn.Conv1D, nn.MaxPool1D, nn.AvgPool1D, nn.GlobalAvgPool1D, nn.GlobalMaxPool1D)

_ON_FEATURES = (
    *(nn.Dense, nn.Maxout, nn.LayerNorm, nn.RMSNorm, nn.SimpleRNN, nn.GRU, nn.LSTM),
    *(nn.MultiHeadAttention, nn.PositionalEncoding, nn.PositionalEmbedding),
)


def _wants_channels_first(network: Layer) -> bool:
    told = (*_ON_PLACES, *_ON_FEATURES)
    first = next((layer for _, layer in network.walk() if isinstance(layer, told)), None)
    return isinstance(first, _ON_PLACES)


def write(layer: Layer, chain: Chain) -> Chain:
    """Go on through a layer and those inside it."""
    writer = WRITERS.get(type(layer))
    if writer is None:
        raise TypeError(f"in {layer.where}: {type(layer).__name__} has no PyTorch module")
    n = len(chain.modules)
    if chain.image is not None and not isinstance(layer, (*ANYWHERE, nn.Dense, nn.Sequential)):
        chain = _reordered(chain)
    chain = writer(layer, chain)
    if not layer.trainable:
        for module in chain.modules[n:]:
            module.requires_grad_(False)
    return chain


def _reordered(chain: Chain) -> Chain:
    """Bring flattened values into our order, for a layer that cares and is no Dense."""
    image = chain.image
    assert image is not None
    chain = replace(chain, image=None).then(modules.Reshape(channels_in_front(image)), image)
    turned = replace(chain, channels_first=True).with_channels_last()
    return turned.then(tnn.Flatten(), (int(np.prod(image)),))


def assigned(module: Any, **arrays: Any) -> Any:
    """Return a module with these arrays as its parameters and buffers."""
    with torch.no_grad():
        for name, value in arrays.items():
            if value is not None:
                getattr(module, name).data = tensor(value)
    return module


def tensor(value: np.ndarray) -> torch.Tensor:
    """Return a copy of an array, which may be a view in any order."""
    return torch.tensor(np.ascontiguousarray(value))


def _counterpart(layer: Layer) -> tnn.Module:
    kind, names = modules.ALIKE[type(layer)]
    values = {theirs: getattr(layer, ours) for ours, theirs in names.items()}
    return kind(**{name: value() if callable(value) else value for name, value in values.items()})


# Layers that are one module: what treats all values alike, and what minds where the channels are.
Modules = dict[type[Layer], Callable[[Any], tnn.Module]]
ANYWHERE: Modules = {
    **dict.fromkeys(modules.ALIKE, _counterpart),
    nn.GELU: lambda layer: tnn.GELU("tanh" if layer.approximate else "none"),
}
CHANNELS_FIRST: Modules = {
    nn.GroupNorm: lambda layer: _scaled(tnn.GroupNorm, layer, layer.groups),
    nn.PReLU: lambda layer: assigned(
        tnn.PReLU(layer.input_shape[-1]), weight=layer.params["negative_slope"]
    ),
    nn.ZeroPad2D: lambda layer: _padding(layer.margins),
    nn.UpSample2D: lambda layer: tnn.Upsample(
        scale_factor=tuple(map(float, layer.factors)),
        mode=layer.interpolation,
        align_corners=False if layer.interpolation == "bilinear" else None,
    ),
}
CHANNELS_LAST: Modules = {
    nn.Maxout: lambda layer: assigned(
        modules.Maxout(layer.input_shape[-1], layer.units, layer.pieces),
        weight=layer.params["W"].T,
        bias=layer.params["b"],
    ),
    nn.Embedding: lambda layer: assigned(
        modules.Index(layer.num_embeddings, layer.dim), weight=layer.params["W"]
    ),
    nn.LayerNorm: lambda layer: _scaled(tnn.LayerNorm, layer),
    nn.RMSNorm: lambda layer: _scaled(tnn.RMSNorm, layer),
    nn.Reshape: lambda layer: modules.Reshape(layer.output_shape),
    nn.Permute: lambda layer: modules.Permute(layer.axes),
}


def _scaled(kind: Callable[..., tnn.Module], layer: Any, *sizes: int) -> tnn.Module:
    """Make a normalization with its scale."""
    scale = {"weight": layer.params["gamma"], "bias": layer.params.get("beta")}
    return assigned(kind(*sizes, layer.channels, layer.eps), **scale)


@writes(*ANYWHERE, *CHANNELS_FIRST, *CHANNELS_LAST)
def _one_module(layer: Layer, chain: Chain) -> Chain:
    kind = type(layer)
    if kind in ANYWHERE:
        return chain.then(ANYWHERE[kind](layer))
    first = kind in CHANNELS_FIRST
    make = CHANNELS_FIRST[kind] if first else CHANNELS_LAST[kind]
    return chain.in_order(first).then(make(layer), layer.output_shape)


_INSTANCE_NORMS = {2: tnn.InstanceNorm1d, 3: tnn.InstanceNorm2d, 4: tnn.InstanceNorm3d}


@writes(nn.InstanceNorm)
def _instance_norm(layer: Any, chain: Chain) -> Chain:
    module = _INSTANCE_NORMS[len(chain.shape)](layer.channels, layer.eps, affine=True)
    assigned(module, weight=layer.params["gamma"], bias=layer.params["beta"])
    return chain.with_channels_first().then(module)


@writes(nn.BatchNorm)
def _batch_norm(layer: Any, chain: Chain) -> Chain:
    kind = tnn.BatchNorm2d if len(chain.shape) == 3 else tnn.BatchNorm1d
    module = kind(layer.channels, layer.eps, layer.momentum)
    assigned(module, weight=layer.params["gamma"], bias=layer.params["beta"], **layer.buffers)
    return chain.with_channels_first().then(module)


_ALONG_AN_AXIS: dict[type[Layer], Any] = {
    nn.GLU: tnn.GLU,
    nn.LogSoftmax: tnn.LogSoftmax,
    nn.Softmax: tnn.Softmax,
}


@writes(*_ALONG_AN_AXIS)
def _along_an_axis(layer: Any, chain: Chain) -> Chain:
    axis = -1 if isinstance(layer, nn.GLU) else layer.axis
    return chain.then(_ALONG_AN_AXIS[type(layer)](dim=chain.axis(axis)), layer.output_shape)


@writes(nn.SpatialDropout2D)
def _channel_dropout(layer: Any, chain: Chain) -> Chain:
    kind = tnn.Dropout2d if len(chain.shape) == 3 else tnn.Dropout1d
    return chain.with_channels_first().then(kind(layer.current_rate))


@writes(nn.Dense)
def _dense(layer: Any, chain: Chain) -> Chain:
    W, b = layer.params["W"], layer.params.get("b")
    if chain.image is not None:
        W = rows_in_order(W, chain.image, channels_first=True)
        chain = replace(chain, image=None)
    linear = assigned(tnn.Linear(*W.shape, bias=layer.use_bias), weight=W.T, bias=b)
    return chain.with_channels_last().then(linear, layer.output_shape)


@writes(nn.Flatten)
def _flatten(layer: Layer, chain: Chain) -> Chain:
    shape, first = chain.shape, chain.channels_first
    return replace(chain.then(tnn.Flatten(), layer.output_shape), image=shape if first else None)


# ---------------------------------------------------------------- windows


@writes(nn.Conv1D, nn.Conv2D, nn.DepthwiseConv2D)
def _convolution(layer: Any, chain: Chain) -> Chain:
    chain = chain.with_channels_first()
    return _slide(layer, chain, layer.params["W"], layer.params.get("b"))


def _slide(layer: Any, chain: Chain, W: np.ndarray, b: np.ndarray | None) -> Chain:
    stride, padding, dilation, groups = layer.geometry
    n = W.ndim - 2
    chain, both = _pad(chain, padding, n)
    kind = tnn.Conv1d if n == 1 else tnn.Conv2d
    channels, windows = (W.shape[-2] * groups, W.shape[-1]), (stride[-n:], both, dilation[-n:])
    module = kind(*channels, W.shape[:-2], *windows, groups, bias=b is not None)
    shape = (*layer.output_shape[:-1], W.shape[-1])
    return chain.then(assigned(module, weight=kernel_to_channels_first(W), bias=b), shape)


def _pad(chain: Chain, padding: Any, n: int) -> tuple[Chain, tuple[int, ...]]:
    """Pad by a module where the sides differ; return what is left for the next module to pad."""
    sides = padding[-n:]
    if all(start == end for start, end in sides):
        return chain, tuple(start for start, _ in sides)
    return chain.then(_padding(sides)), (0,) * n


def _padding(sides: Any) -> tnn.Module:
    pads: Any = tuple(m for side in reversed(sides) for m in side)
    return tnn.ConstantPad1d(pads, 0.0) if len(sides) == 1 else tnn.ZeroPad2d(pads)


@writes(nn.SeparableConv2D)
def _separable(layer: Any, chain: Chain) -> Chain:
    chain = _slide(layer, chain.with_channels_first(), layer.params["W_depth"], None)
    W, b = layer.params["W_point"], layer.params.get("b")
    point = tnn.Conv2d(*W.shape[2:], 1, bias=b is not None)
    assigned(point, weight=kernel_to_channels_first(W), bias=b)
    return chain.then(point, layer.output_shape)


@writes(nn.ConvTranspose2D)
def _transposed(layer: Any, chain: Chain) -> Chain:
    W, b = layer.params["W"], layer.params.get("b")
    stride, padding, dilation, _ = layer.geometry
    least = [min(side) for side in padding]  # the odd one at the end is a row fewer there
    more = rows_at_the_end(layer, [2 * low for low in least])
    windows = W.shape[:2], stride, least, [max(m, 0) for m in more]
    sizes: Any = (*W.shape[2:], *windows)
    options = {"dilation": dilation, "bias": b is not None}
    if min(more) < 0:  # the odd row and column are cut off
        module: Any = modules.ConvTranspose2d(*sizes, cut=[max(-m, 0) for m in more], **options)
    else:
        module = tnn.ConvTranspose2d(*sizes, **options)
    assigned(module, weight=kernel_to_channels_first(W).swapaxes(0, 1), bias=b)
    return chain.with_channels_first().then(module, layer.output_shape)


@writes(nn.MaxPool1D, nn.MaxPool2D, nn.AvgPool1D, nn.AvgPool2D)
def _pool(layer: Any, chain: Chain) -> Chain:
    size, stride, padding = layer.geometry
    n, is_mean = layer.n_axes, isinstance(layer, nn.AvgPool1D | nn.AvgPool2D)
    chain, sides = chain.with_channels_first(), padding[-n:]
    windows = {"kernel_size": size[-n:], "stride": stride[-n:]}
    if _fits_in_half(sides, size[-n:]):
        if is_mean:
            windows["count_include_pad"] = False
        both = tuple(start for start, _ in sides)
        module: Any = modules.POOLS[type(layer)](**windows, padding=both)
    else:
        padded = modules.AvgPool if is_mean else modules.MaxPool
        module = padded([m for side in reversed(sides) for m in side], **windows)
    return chain.then(module, layer.output_shape)


def _fits_in_half(sides: Any, size: Any) -> bool:
    """Whether the padding is the same on both sides and no more than PyTorch's pooling takes."""
    each = zip(sides, size, strict=True)
    return all(start == end and 2 * start <= k for (start, end), k in each)


@writes(nn.GlobalAvgPool1D, nn.GlobalAvgPool2D, nn.GlobalMaxPool1D, nn.GlobalMaxPool2D)
def _global_pool(layer: Layer, chain: Chain) -> Chain:
    ones = (*[1] * (len(chain.shape) - 1), chain.shape[-1])
    pooled = chain.with_channels_first().then(modules.POOLS[type(layer)](1), ones)
    return pooled.then(tnn.Flatten(), layer.output_shape)


# ---------------------------------------------------------------- containers


@writes(nn.Sequential)
def _sequential(layer: Any, chain: Chain) -> Chain:
    for child in layer:
        chain = write(child, chain)
    return chain


@writes(nn.Residual)
def _residual(layer: Any, chain: Chain) -> Chain:
    start = Chain(chain.shape, chain.channels_first)
    body = write(layer.body, start)
    shortcut = start if layer.shortcut is None else write(layer.shortcut, start)
    body, shortcut = _alike([body, shortcut], start.channels_first)
    module = modules.Residual(body.module(), shortcut.module())
    return chain.then(module, layer.output_shape)


@writes(nn.Gate)
def _gate(layer: Any, chain: Chain) -> Chain:
    start = Chain(chain.shape, chain.channels_first)
    gate = write(layer.gate, start)
    body = start if layer.body is None else write(layer.body, start)
    missing = len(body.shape) - len(gate.shape)
    if missing:
        plain = (_reordered(gate) if gate.image is not None else gate).with_channels_last()
        shape = (*[1] * missing, *gate.shape)
        gate = plain.then(modules.Reshape(shape), shape)
    gate, body = _alike([gate, body], start.channels_first)
    return chain.then(modules.Gate(gate.module(), body.module()), layer.output_shape)


@writes(nn.Concat)
def _concat(layer: Any, chain: Chain) -> Chain:
    start = Chain(chain.shape, chain.channels_first)
    parts = _alike([write(branch, start) for branch in layer.branches], start.channels_first)
    end = Chain(layer.output_shape, parts[0].channels_first, chain.modules)
    return end.then(modules.Concat([part.module() for part in parts], end.axis(layer.axis)))


def _alike(chains: list[Chain], channels_first: bool) -> list[Chain]:
    """Bring the ends of branches into our order or, where there are places, into that asked for."""
    plain = [_reordered(chain) if chain.image is not None else chain for chain in chains]
    return [chain.in_order(channels_first and len(chain.shape) > 1) for chain in plain]


@writes(nn.Columns)
def _columns(layer: Any, chain: Chain) -> Chain:
    routes = []
    for positions, (_, child) in zip(layer.positions, layer.routes, strict=True):
        part = write(child, Chain((len(positions),), False))
        routes.append((positions, part.with_channels_last().module()))
    return chain.then(modules.Columns(routes), layer.output_shape)
