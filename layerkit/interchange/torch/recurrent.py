"""Recurrent layers as PyTorch's modules and back: both have their gates in the same order.

PyTorch adds two biases, of which ours is the sum; only the GRU's candidate has its second one apart
(``b_hidden``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn as tnn

import layerkit.layers as nn
from layerkit.interchange.layouts import Trail
from layerkit.interchange.torch.reader import array, reads
from layerkit.interchange.torch.writer import Chain, assigned, writes

KINDS: dict[type, Any] = {nn.SimpleRNN: tnn.RNN, nn.GRU: tnn.GRU, nn.LSTM: tnn.LSTM}
_OURS = {theirs: ours for ours, theirs in KINDS.items()}
_ARRAYS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Recurrent(tnn.Module):
    """A recurrent module that returns one tensor: its outputs, or those of the last step."""

    def __init__(self, rnn: Any, return_sequences: bool) -> None:
        super().__init__()
        self.rnn, self.return_sequences = rnn, return_sequences

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return all outputs, or each direction's state after the last step that it read."""
        y, state = self.rnn(x)
        if self.return_sequences:
            return y
        h = state[0] if isinstance(state, tuple) else state
        return h.transpose(0, 1).flatten(1)


class LastStep(tnn.Module):
    """The last step of a sequence."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, -1]


@writes(*KINDS, nn.Bidirectional)
def _write(layer: Any, chain: Chain) -> Chain:
    both = isinstance(layer, nn.Bidirectional)
    ways = [inner for _, inner in layer.children()] if both else [layer]
    first = ways[0]
    more = {"nonlinearity": first.activation} if isinstance(first, nn.SimpleRNN) else {}
    rnn = KINDS[type(first)](
        layer.input_shape[1], first.units, batch_first=True, bidirectional=both, **more
    )
    for way, suffix in zip(ways, ("", "_reverse"), strict=False):
        params = way.params
        second = np.zeros_like(params["b"])
        if "b_hidden" in params:
            second[-way.units :] = params["b_hidden"]
        values = params["W"].T, params["U"].T, params["b"], second
        assigned(rnn, **{f"{n}_l0{suffix}": v for n, v in zip(_ARRAYS, values, strict=True)})
    module = Recurrent(rnn, bool(first.return_sequences))
    return chain.with_channels_last().then(module, layer.output_shape)


@writes(nn.LastStep)
def _write_last_step(layer: Any, chain: Chain) -> Chain:
    return chain.with_channels_last().then(LastStep(), layer.output_shape)


@reads(LastStep)
def _read_last_step(module: Any, trail: Trail) -> Trail:
    return trail.with_channels_last().then(nn.LastStep())


@reads(*_OURS)
def _read_all_steps(module: Any, trail: Trail) -> Trail:
    return _read(module, trail, True)


@reads(Recurrent)
def _read_one_tensor(module: Any, trail: Trail) -> Trail:
    return _read(module.rnn, trail, module.return_sequences)


def _read(rnn: Any, trail: Trail, return_sequences: bool) -> Trail:
    """Go on through a layer for each of the module's, the last of which may give its last step."""
    if not rnn.batch_first or rnn.proj_size:
        raise ValueError("only with batch_first=True and proj_size=0")
    kind = _OURS[type(rnn)]
    trail = trail.with_channels_last()
    for k in range(rnn.num_layers):
        if k and rnn.dropout:
            trail = trail.then(nn.Dropout(rnn.dropout))
        steps = return_sequences or k < rnn.num_layers - 1
        more = {"activation": rnn.nonlinearity} if isinstance(rnn, tnn.RNN) else {}
        layer = kind(rnn.hidden_size, **more, return_sequences=steps)
        if not rnn.bidirectional:
            trail = trail.then(layer, **_arrays(rnn, f"_l{k}"))
            continue
        layer = nn.Bidirectional(layer)
        trail = trail.then(layer)
        for (_, way), suffix in zip(layer.children(), (f"_l{k}", f"_l{k}_reverse"), strict=True):
            trail.arrays[way] = _arrays(rnn, suffix)
    return trail


def _arrays(rnn: Any, suffix: str) -> dict[str, np.ndarray]:
    W, U = (array(getattr(rnn, name + suffix)).T for name in ("weight_ih", "weight_hh"))
    columns = W.shape[1]
    both = [np.zeros(columns, W.dtype)] * 2
    if rnn.bias:
        both = [array(getattr(rnn, name + suffix)) for name in ("bias_ih", "bias_hh")]
    if not isinstance(rnn, tnn.GRU):
        return {"W": W, "U": U, "b": both[0] + both[1]}
    candidate = np.arange(columns) >= columns - rnn.hidden_size
    b = both[0] + np.where(candidate, 0, both[1])
    return {"W": W, "U": U, "b": b.astype(W.dtype), "b_hidden": both[1][candidate]}
