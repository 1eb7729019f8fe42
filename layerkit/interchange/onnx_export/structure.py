"""Layers that reorder values, and the containers."""

from __future__ import annotations

import math
from typing import Any

import layerkit.layers as nn
from layerkit.interchange.onnx_export.emitters import emit, emits
from layerkit.interchange.onnx_export.graph import Graph, Value
from layerkit.layer import Layer


@emits(nn.Flatten, nn.Reshape)
def _reshape(g: Graph, layer: Layer, x: Value) -> Value:
    return g.reshape(x, layer.output_shape)


@emits(nn.Permute)
def _permute(g: Graph, layer: Any, x: Value) -> Value:
    y = g.node("Transpose", g.channels_last(x), perm=[0, *map(int, layer.axes)])
    return Value(y, layer.output_shape)


@emits(nn.Sequential)
def _sequential(g: Graph, layer: Any, x: Value) -> Value:
    for child in layer:
        x = emit(g, child, x)
    return x


@emits(nn.Residual)
def _residual(g: Graph, layer: Any, x: Value) -> Value:
    body = emit(g, layer.body, x)
    around = x if layer.shortcut is None else emit(g, layer.shortcut, x)
    around = g.channels_first(around) if body.channels_first else g.channels_last(around)
    return g.like(body, "Add", body, around)


@emits(nn.Concat)
def _concat(g: Graph, layer: Any, x: Value) -> Value:
    parts = [emit(g, branch, x) for branch in layer.branches]
    first = any(part.channels_first for part in parts)
    parts = [g.channels_first(part) if first else g.channels_last(part) for part in parts]
    y = Value("", layer.output_shape, parts[0].channels_first)
    axis = y.axis(int(layer.axis) % (len(y.shape) + 1))
    return y._replace(name=g.node("Concat", *parts, axis=axis))


@emits(nn.Columns)
def _columns(g: Graph, layer: Any, x: Value) -> Value:
    parts = []
    for positions, (_, child) in zip(layer._positions, layer.routes, strict=True):
        chosen = Value(g.node("Gather", x, positions, axis=1), (len(positions),))
        part = emit(g, child, chosen)
        parts.append(part if len(part.shape) == 1 else g.reshape(part, (math.prod(part.shape),)))
    return Value(g.node("Concat", *parts, axis=1), layer.output_shape)
