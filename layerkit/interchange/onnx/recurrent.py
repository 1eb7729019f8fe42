"""Recurrent layers in ONNX, whose operators want the time axis in front (``layout=0``).

Gates stand in another order there, and each operator has two biases, Wb and Rb, of which ours is
the first; only in a GRU whose reset comes after the product does the second one matter::

    LSTM   ours i f g o    ONNX i o f c
    GRU    ours r z n      ONNX z r h, linear_before_reset=1, Rb_h = b_hidden
"""

from __future__ import annotations

from typing import Any

import numpy as np

import layerkit.layers as nn
from layerkit.interchange.onnx.graph import Graph, Value
from layerkit.interchange.onnx.writer import emits

OPERATORS: dict[type, tuple[str, tuple[int, ...]]] = {
    nn.SimpleRNN: ("RNN", (0,)),
    nn.GRU: ("GRU", (1, 0, 2)),
    nn.LSTM: ("LSTM", (0, 3, 1, 2)),
}
"""The operator, and which of our gates stands at each place of its own."""


@emits(*OPERATORS)
def _recurrent(g: Graph, layer: Any, x: Value) -> Value:
    return _write(g, x, [layer], "forward", layer.output_shape)


@emits(nn.Bidirectional)
def _bidirectional(g: Graph, layer: Any, x: Value) -> Value:
    both = [inner for _, inner in layer.children()]
    return _write(g, x, both, "bidirectional", layer.output_shape)


def _write(g: Graph, x: Value, ways: list[Any], direction: str, shape: Any) -> Value:
    layer, units = ways[0], ways[0].units
    operator, order = OPERATORS[type(layer)]
    attributes: dict[str, Any] = {"hidden_size": units, "direction": direction}
    if isinstance(layer, nn.GRU):
        attributes["linear_before_reset"] = 1
    if isinstance(layer, nn.SimpleRNN):
        attributes["activations"] = [layer.activation.capitalize()] * len(ways)
    arrays = [np.stack(found) for found in zip(*(_arrays(way, order) for way in ways), strict=True)]
    steps = g.node("Transpose", g.channels_last(x), perm=[1, 0, 2])
    y, last = g.nodes_outputs(operator, steps, *arrays, n_outputs=2, **attributes)
    width = np.array([0, 0, units * len(ways)])
    if layer.return_sequences:  # (time, directions, n, units)
        by_row = g.node("Transpose", y, perm=[2, 0, 1, 3])
        return Value(g.node("Reshape", by_row, width), shape)
    by_row = g.node("Transpose", last, perm=[1, 0, 2])
    return Value(g.node("Reshape", by_row, width[1:]), shape)


def _arrays(layer: Any, order: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Return W, R and both biases of one direction, gates in the operator's order."""
    params = layer.params
    W, U, b = (
        np.concatenate([np.split(params[name], len(order), axis=-1)[gate] for gate in order], -1)
        for name in ("W", "U", "b")
    )
    second = np.zeros_like(b)
    if isinstance(layer, nn.GRU):
        second[-layer.units :] = params["b_hidden"]
    return W.T, U.T, np.concatenate([b, second])


@emits(nn.LastStep)
def _last_step(g: Graph, layer: Any, x: Value) -> Value:
    return Value(g.node("Gather", g.channels_last(x), np.array(-1), axis=1), layer.output_shape)
