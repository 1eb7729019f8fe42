"""Layers in ONNX operators, and the table from a layer's class to the function that writes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import (
    channels_in_front,
    kernel_to_channels_first,
    rows_at_the_end,
)
from layerkit.interchange.onnx.graph import Graph, Value, number
from layerkit.layer import Layer

# ``(graph, layer, x) -> y``, by the class of the layer.
EMITTERS = Handlers()
emits = EMITTERS.enter


def emit(graph: Graph, layer: Layer, x: Value) -> Value:
    """Write a built layer, as it is in inference, into the graph."""
    emitter = EMITTERS.get(type(layer))
    if emitter is None:
        raise TypeError(
            f"in {layer.where}: {type(layer).__name__} has no ONNX form; give it one with "
            f"`@layerkit.interchange.onnx_export.emits({type(layer).__name__})`"
        )
    graph.place = ".".join(filter(None, [graph.prefix, layer.path or type(layer).__name__]))
    return emitter(graph, layer, x)


# ---------------------------------------------------------------- activations

# Layers that are one operator: its name, and its attributes.
OPERATORS: dict[type[Layer], tuple[str, Callable[[Any], dict[str, float]]]] = {
    nn.ELU: ("Elu", lambda layer: {"alpha": float(layer.alpha)}),
    nn.HardSigmoid: ("HardSigmoid", lambda layer: {"alpha": 1 / 6, "beta": 0.5}),
    nn.HardSwish: ("HardSwish", lambda layer: {}),
    nn.LeakyReLU: ("LeakyRelu", lambda layer: {"alpha": float(layer.negative_slope)}),
    nn.ReLU: ("Relu", lambda layer: {}),
    nn.SELU: ("Selu", lambda layer: {"alpha": layer.ALPHA, "gamma": layer.LAMBDA}),
    nn.Sigmoid: ("Sigmoid", lambda layer: {}),
    nn.Softplus: ("Softplus", lambda layer: {}),
    nn.Softsign: ("Softsign", lambda layer: {}),
    nn.Tanh: ("Tanh", lambda layer: {}),
}


@emits(*OPERATORS)
def _operator(g: Graph, layer: Layer, x: Value) -> Value:
    op, attributes = OPERATORS[type(layer)]
    return g.like(x, op, **attributes(layer))


@emits(
    nn.Identity, nn.Dropout, nn.SpatialDropout2D, nn.AlphaDropout, nn.GaussianNoise
)  # noise is for training
def _nothing(g: Graph, layer: Layer, x: Value) -> Value:
    return x


@emits(nn.HardTanh)
def _hard_tanh(g: Graph, layer: Layer, x: Value) -> Value:
    return g.like(x, "Clip", x, number(-1), number(1))


@emits(nn.PReLU)
def _prelu(g: Graph, layer: Layer, x: Value) -> Value:
    return g.like(x, "PRelu", x, g.per_channel(x, layer.params["negative_slope"]))


@emits(nn.SiLU)
def _silu(g: Graph, layer: Layer, x: Value) -> Value:
    return g.like(x, "Mul", x, g.node("Sigmoid", x))


@emits(nn.Mish)
def _mish(g: Graph, layer: Layer, x: Value) -> Value:
    return g.like(x, "Mul", x, g.node("Tanh", g.node("Softplus", x)))


@emits(nn.GELU)
def _gelu(g: Graph, layer: Any, x: Value) -> Value:
    """Write x Φ(x) with erf, or approximately: x σ(2 sqrt(2/π) (x + 0.044715 x³))."""
    if layer.approximate:
        square = g.node("Mul", g.node("Mul", x, x), number(0.044715))
        cubic = g.node("Mul", x, g.node("Add", square, number(1)))
        gate = g.node("Sigmoid", g.node("Mul", cubic, number(2 * math.sqrt(2 / math.pi))))
        return g.like(x, "Mul", x, gate)
    erf = g.node("Erf", g.node("Div", x, number(math.sqrt(2))))
    twice = g.node("Mul", x, g.node("Add", erf, number(1)))
    return g.like(x, "Mul", twice, number(0.5))


@emits(nn.GLU)
def _glu(g: Graph, layer: Layer, x: Value) -> Value:
    a, b = g.nodes_outputs("Split", x, n_outputs=2, axis=x.axis(len(x.shape)))
    shape = (*x.shape[:-1], x.shape[-1] // 2)
    return Value(g.node("Mul", a, g.node("Sigmoid", b)), shape, x.channels_first)


@emits(nn.Softmax, nn.LogSoftmax)
def _softmax(g: Graph, layer: Any, x: Value) -> Value:
    op = "Softmax" if isinstance(layer, nn.Softmax) else "LogSoftmax"
    return g.like(x, op, axis=x.axis(int(layer.axis)))


# ---------------------------------------------------------------- products and normalization


@emits(nn.Dense)
def _dense(g: Graph, layer: Any, x: Value) -> Value:
    return _affine(g, x, layer.params["W"], layer.params.get("b"))


def _affine(g: Graph, x: Value, W: np.ndarray, b: np.ndarray | None) -> Value:
    x = g.channels_last(x)
    shape = (*x.shape[:-1], W.shape[1])
    if b is not None and len(x.shape) == 1:
        return Value(g.node("Gemm", x, W, b), shape)
    product = g.node("MatMul", x, W)
    return Value(product if b is None else g.node("Add", product, b), shape)


@emits(nn.Maxout)
def _maxout(g: Graph, layer: Any, x: Value) -> Value:
    z = _affine(g, x, layer.params["W"], layer.params["b"])
    pieces = g.reshape(z, (*z.shape[:-1], layer.pieces, layer.units))
    return Value(g.node("ReduceMax", pieces, axes=[-2], keepdims=0), layer.output_shape)


@emits(nn.Embedding)
def _embedding(g: Graph, layer: Layer, x: Value) -> Value:
    index = g.node("Cast", g.channels_last(x), to=TensorProto.INT64)
    return Value(g.node("Gather", layer.params["W"], index, axis=0), layer.output_shape)


@emits(nn.BatchNorm)
def _batch_norm(g: Graph, layer: Any, x: Value) -> Value:
    x = g.channels_first(x)
    names = ("running_mean", "running_var")
    statistics = [layer.buffers[name] for name in names]
    scale = [layer.params["gamma"], layer.params["beta"]]
    return g.like(x, "BatchNormalization", x, *scale, *statistics, epsilon=float(layer.eps))


@emits(nn.LayerNorm)
def _layer_norm(g: Graph, layer: Any, x: Value) -> Value:
    x = g.channels_last(x)
    scale = [layer.params["gamma"], layer.params["beta"]]
    return g.like(x, "LayerNormalization", x, *scale, axis=-1, epsilon=float(layer.eps))


@emits(nn.GroupNorm)
def _group_norm(g: Graph, layer: Any, x: Value) -> Value:
    """Write a group as one channel of instance normalization; gamma and beta come after it."""
    x = g.channels_first(x)
    n = int(layer.groups)
    one, zero = np.ones(n, np.float32), np.zeros(n, np.float32)
    groups = g.node("Reshape", x, np.array([0, n, -1]))
    groups = g.node("InstanceNormalization", groups, one, zero, epsilon=float(layer.eps))
    x_hat = g.node("Reshape", groups, np.array([0, *channels_in_front(x.shape)]))
    gamma, beta = (g.per_channel(x, layer.params[name]) for name in ("gamma", "beta"))
    return g.like(x, "Add", g.node("Mul", x_hat, gamma), beta)


@emits(nn.RMSNorm)
def _rms_norm(g: Graph, layer: Any, x: Value) -> Value:
    square = g.node("Mul", x, x)
    mean = g.node("ReduceMean", square, axes=[x.axis(len(x.shape))])
    rms = g.node("Sqrt", g.node("Add", mean, number(layer.eps)))
    gamma = g.per_channel(x, layer.params["gamma"])
    return g.like(x, "Mul", g.node("Div", x, rms), gamma)


# ---------------------------------------------------------------- windows, channels first in ONNX


@emits(nn.Conv1D, nn.Conv2D, nn.DepthwiseConv2D)
def _convolution(g: Graph, layer: Any, x: Value) -> Value:
    return _slide(g, layer, x, layer.params["W"], layer.params.get("b"))


def _slide(g: Graph, layer: Any, x: Value, W: np.ndarray, b: np.ndarray | None) -> Value:
    x = g.channels_first(x)
    stride, padding, dilation, groups = layer.geometry
    y = g.node(
        "Conv",
        x,
        kernel_to_channels_first(W),
        b,
        kernel_shape=W.shape[:-2],
        group=groups,
        **_windows(len(x.shape) - 1, stride, padding, dilation),
    )
    return Value(y, (*layer.output_shape[:-1], W.shape[-1]), True)


@emits(nn.SeparableConv2D)
def _separable(g: Graph, layer: Any, x: Value) -> Value:
    h = _slide(g, layer, x, layer.params["W_depth"], None)
    W, b = layer.params["W_point"], layer.params.get("b")
    y = g.node("Conv", h, kernel_to_channels_first(W), b, kernel_shape=[1, 1])
    return Value(y, layer.output_shape, True)


@emits(nn.ConvTranspose2D)
def _transposed(g: Graph, layer: Any, x: Value) -> Value:
    x = g.channels_first(x)
    W, b = layer.params["W"], layer.params.get("b")
    stride, padding, dilation, _ = layer.geometry
    y = g.node(
        "ConvTranspose",
        x,
        kernel_to_channels_first(W).swapaxes(0, 1),  # here the input's channels come first
        b,
        kernel_shape=W.shape[:2],
        output_padding=rows_at_the_end(layer, list(map(sum, padding))),
        **_windows(2, stride, padding, dilation),
    )
    return Value(y, layer.output_shape, True)


@emits(nn.MaxPool1D, nn.MaxPool2D, nn.AvgPool1D, nn.AvgPool2D)
def _pool(g: Graph, layer: Any, x: Value) -> Value:
    x = g.channels_first(x)
    op = "MaxPool" if isinstance(layer, nn.MaxPool1D | nn.MaxPool2D) else "AveragePool"
    size, stride, padding = layer.geometry
    n = layer.n_axes
    y = g.node(op, x, kernel_shape=size[-n:], **_windows(n, stride, padding))
    return Value(y, layer.output_shape, True)


@emits(nn.GlobalAvgPool1D, nn.GlobalAvgPool2D, nn.GlobalMaxPool1D, nn.GlobalMaxPool2D)
def _global_pool(g: Graph, layer: Layer, x: Value) -> Value:
    is_mean = isinstance(layer, nn.GlobalAvgPool1D | nn.GlobalAvgPool2D)
    pooled = g.node("GlobalAveragePool" if is_mean else "GlobalMaxPool", g.channels_first(x))
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


# ---------------------------------------------------------------- order, and containers


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
    return g.like(body, "Add", body, g.in_order(around, body.channels_first))


@emits(nn.Concat)
def _concat(g: Graph, layer: Any, x: Value) -> Value:
    parts = [emit(g, branch, x) for branch in layer.branches]
    first = any(part.channels_first for part in parts)
    parts = [g.in_order(part, first) for part in parts]
    y = Value("", layer.output_shape, parts[0].channels_first)
    return y._replace(name=g.node("Concat", *parts, axis=y.axis(int(layer.axis))))


@emits(nn.Columns)
def _columns(g: Graph, layer: Any, x: Value) -> Value:
    parts = []
    for positions, (_, child) in zip(layer._positions, layer.routes, strict=True):
        chosen = Value(g.node("Gather", x, positions, axis=1), (len(positions),))
        part = emit(g, child, chosen)
        parts.append(part if len(part.shape) == 1 else g.reshape(part, (math.prod(part.shape),)))
    return Value(g.node("Concat", *parts, axis=1), layer.output_shape)
