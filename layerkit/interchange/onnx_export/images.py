"""Convolutions, pooling and the other layers that see places; channels come first in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

import layerkit.layers as nn
from layerkit.interchange.layouts import kernel_to_channels_first
from layerkit.interchange.onnx_export.emitters import emits
from layerkit.interchange.onnx_export.graph import Graph, Value
from layerkit.layer import Layer


@emits(nn.Conv1D, nn.Conv2D, nn.DepthwiseConv2D)
def _convolution(g: Graph, layer: Any, x: Value) -> Value:
    return _slide(g, layer, x, layer.params["W"], layer.params.get("b"))


def _slide(g: Graph, layer: Any, x: Value, W: np.ndarray, b: np.ndarray | None) -> Value:
    x = g.channels_first(x)
    stride, padding, dilation, groups = layer.geometry
    constants = [kernel_to_channels_first(W), *([] if b is None else [b])]
    y = g.node(
        "Conv",
        x,
        *constants,
        kernel_shape=W.shape[:-2],
        group=groups,
        **_windows(len(x.shape) - 1, stride, padding, dilation),
    )
    return Value(y, (*layer.output_shape[:-1], W.shape[-1]), True)


@emits(nn.SeparableConv2D)
def _separable(g: Graph, layer: Any, x: Value) -> Value:
    h = _slide(g, layer, x, layer.params["W_depth"], None)
    W, b = layer.params["W_point"], layer.params.get("b")
    point = [kernel_to_channels_first(W), *([] if b is None else [b])]
    return Value(g.node("Conv", h, *point, kernel_shape=[1, 1]), layer.output_shape, True)


@emits(nn.ConvTranspose2D)
def _transposed(g: Graph, layer: Any, x: Value) -> Value:
    x = g.channels_first(x)
    W, b = layer.params["W"], layer.params.get("b")
    stride, padding, dilation, _ = layer.geometry
    y = g.node(
        "ConvTranspose",
        x,
        kernel_to_channels_first(W).swapaxes(0, 1),  # here the input's channels come first
        *([] if b is None else [b]),
        kernel_shape=W.shape[:2],
        output_padding=rows_at_the_end(layer),
        **_windows(2, stride, padding, dilation),
    )
    return Value(y, layer.output_shape, True)


def rows_at_the_end(layer: Any) -> list[int]:
    """Rows and columns that a transposed convolution adds at the bottom and on the right."""
    stride, padding, dilation, _ = layer.geometry
    kernel = layer.params["W"].shape
    return [
        layer.output_shape[i]
        + sum(padding[i])
        - (layer.input_shape[i] - 1) * stride[i]
        - dilation[i] * (kernel[i] - 1)
        - 1
        for i in (0, 1)
    ]


@emits(nn.MaxPool1D, nn.MaxPool2D, nn.AvgPool1D, nn.AvgPool2D)
def _pool(g: Graph, layer: Any, x: Value) -> Value:
    x = g.channels_first(x)
    op = "MaxPool" if isinstance(layer, nn.MaxPool1D | nn.MaxPool2D) else "AveragePool"
    size, stride, padding = layer.geometry
    n = layer.n_axes
    y = g.node(op, x, kernel_shape=size[-n:], **_windows(n, stride, padding))
    return Value(y, layer.output_shape, True)


@emits(nn.GlobalAvgPool1D, nn.GlobalAvgPool2D)
def _global_average(g: Graph, layer: Layer, x: Value) -> Value:
    pooled = g.node("GlobalAveragePool", g.channels_first(x))
    return Value(g.node("Flatten", pooled), layer.output_shape)


@emits(nn.GlobalMaxPool1D, nn.GlobalMaxPool2D)
def _global_maximum(g: Graph, layer: Layer, x: Value) -> Value:
    pooled = g.node("GlobalMaxPool", g.channels_first(x))
    return Value(g.node("Flatten", pooled), layer.output_shape)


@emits(nn.ZeroPad2D)
def _zero_pad(g: Graph, layer: Any, x: Value) -> Value:
    x = g.channels_first(x)
    (top, bottom), (left, right) = layer._margins
    margins = np.array([0, 0, top, left, 0, 0, bottom, right])
    return Value(g.node("Pad", x, margins), layer.output_shape, True)


@emits(nn.UpSample2D)
def _upsample(g: Graph, layer: Any, x: Value) -> Value:
    x = g.channels_first(x)
    scales = np.array([1, 1, *layer._factors], np.float32)
    way = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    y = g.node("Resize", x, "", scales, mode="nearest", **way)
    return Value(y, layer.output_shape, True)


def _windows(n: int, stride: Any, padding: Any, dilation: Any = None) -> dict[str, list[int]]:
    """Attributes for the last n of two axes; ONNX lists all starts before all ends."""
    (top, bottom), (left, right) = padding
    starts, ends = [top, left][-n:], [bottom, right][-n:]
    dilations = {} if dilation is None else {"dilations": list(dilation[-n:])}
    return {"strides": list(stride[-n:]), "pads": [*starts, *ends], **dilations}
