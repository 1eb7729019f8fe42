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


# Functions up to the tables write what a layer computes and return the name of the output.

# ---------------------------------------------------------------- activations


def _gelu(g: Graph, layer: Any, x: Value) -> str:
    """Write x Φ(x) with erf, or approximately: x σ(2 sqrt(2/π) (x + 0.044715 x³))."""
    if layer.approximate:
        square = g.node("Mul", g.node("Mul", x, x), number(0.044715))
        cubic = g.node("Mul", x, g.node("Add", square, number(1)))
        gate = g.node("Sigmoid", g.node("Mul", cubic, number(2 * math.sqrt(2 / math.pi))))
        return g.node("Mul", x, gate)
    erf = g.node("Erf", g.node("Div", x, number(math.sqrt(2))))
    twice = g.node("Mul", x, g.node("Add", erf, number(1)))
    return g.node("Mul", twice, number(0.5))


def _glu(g: Graph, layer: Layer, x: Value) -> str:
    a, b = g.nodes_outputs("Split", x, n_outputs=2, axis=x.axis(len(x.shape)))
    return g.node("Mul", a, g.node("Sigmoid", b))


# ---------------------------------------------------------------- products and normalization


def _affine(g: Graph, layer: Layer, x: Value) -> str:
    W, b = layer.params["W"], layer.params.get("b")
    if b is not None and len(x.shape) == 1:
        return g.node("Gemm", x, W, b)
    product = g.node("MatMul", x, W)
    return product if b is None else g.node("Add", product, b)


def _maxout(g: Graph, layer: Any, x: Value) -> str:
    sizes = np.array([0, *x.shape[:-1], layer.pieces, layer.units])
    pieces = g.node("Reshape", _affine(g, layer, x), sizes)
    return g.node("ReduceMax", pieces, axes=[-2], keepdims=0)


def _ntk_dense(g: Graph, layer: Any, x: Value) -> str:
    return g.node("Gemm", x, layer.params["W"] * layer.factor, layer.params["b"])


def _batch_ensemble(g: Graph, layer: Any, x: Value) -> str:
    W, r, s, b = layer.params.values()
    shared = len(x.shape) == 1
    x_k = g.node("Unsqueeze", x, np.array([1])) if shared else x
    z = g.node("MatMul", g.node("Mul", x_k, r), W)
    return g.node("Add", g.node("Mul", z, s), b)


def _smooth_clip(g: Graph, layer: Any, x: Value) -> str:
    ratio = g.node("Div", x, number(layer.limit))
    root = g.node("Sqrt", g.node("Add", g.node("Mul", ratio, ratio), number(1)))
    return g.node("Div", x, root)


def _periodic(g: Graph, layer: Any, x: Value) -> str:
    omega, phi, W, b = layer.params.values()
    number_itself = g.node("Unsqueeze", x, np.array([2]))
    z = g.node("Add", g.node("Mul", number_itself, 2 * math.pi * omega), phi)
    cosines = _product_of_each(g, g.node("Cos", z), W)
    return g.node("Concat", number_itself, g.node("Add", cosines, b), axis=2)


def _piecewise(g: Graph, layer: Any, x: Value) -> str:
    W, v, b = layer.params.values()
    low, inverse = layer.buffers.values()
    number_itself = g.node("Unsqueeze", x, np.array([2]))
    reach = g.node("Mul", g.node("Sub", number_itself, low), inverse)
    bins = _product_of_each(g, g.node("Clip", reach, number(0), number(1)), W)
    return g.node("Add", g.node("Add", bins, g.node("Mul", number_itself, v)), b)


def _product_of_each(g: Graph, x: str, W: np.ndarray) -> str:
    """Write the product of each feature with its own matrix."""
    by_feature = g.node("MatMul", g.node("Transpose", x, perm=[1, 0, 2]), W)
    return g.node("Transpose", by_feature, perm=[1, 0, 2])


def _embedding(g: Graph, layer: Layer, x: Value) -> str:
    index = g.node("Cast", x, to=TensorProto.INT64)
    return g.node("Gather", layer.params["W"], index, axis=0)


def _batch_norm(g: Graph, layer: Any, x: Value) -> str:
    statistics = [layer.buffers[name] for name in ("running_mean", "running_var")]
    return g.node("BatchNormalization", x, *_scale(layer), *statistics, epsilon=float(layer.eps))


def _layer_norm(g: Graph, layer: Any, x: Value) -> str:
    return g.node("LayerNormalization", x, *_scale(layer), axis=-1, epsilon=float(layer.eps))


def _group_norm(g: Graph, layer: Any, x: Value) -> str:
    """Write a group as one channel of instance normalization; gamma and beta come after it."""
    n = int(layer.groups)
    one, zero = np.ones(n, np.float32), np.zeros(n, np.float32)
    groups = g.node("Reshape", x, np.array([0, n, -1]))
    groups = g.node("InstanceNormalization", groups, one, zero, epsilon=float(layer.eps))
    x_hat = g.node("Reshape", groups, np.array([0, *channels_in_front(x.shape)]))
    gamma, beta = (g.per_channel(x, values) for values in _scale(layer))
    return g.node("Add", g.node("Mul", x_hat, gamma), beta)


def _instance_norm(g: Graph, layer: Any, x: Value) -> str:
    return g.node("InstanceNormalization", x, *_scale(layer), epsilon=float(layer.eps))


def _rms_norm(g: Graph, layer: Any, x: Value) -> str:
    square = g.node("Mul", x, x)
    mean = g.node("ReduceMean", square, axes=[x.axis(len(x.shape))])
    rms = g.node("Sqrt", g.node("Add", mean, number(layer.eps)))
    gamma = g.per_channel(x, layer.params["gamma"])
    return g.node("Mul", g.node("Div", x, rms), gamma)


def _scale(layer: Layer) -> tuple[np.ndarray, np.ndarray]:
    return layer.params["gamma"], layer.params["beta"]


# ---------------------------------------------------------------- windows, channels first in ONNX


def _convolution(g: Graph, layer: Any, x: Value) -> str:
    return _slide(g, layer, x, layer.params["W"], layer.params.get("b"))


def _slide(g: Graph, layer: Any, x: Value, W: np.ndarray, b: np.ndarray | None) -> str:
    stride, padding, dilation, groups = layer.geometry
    windows = _windows(W.shape[:-2], stride, padding, dilation)
    return g.node("Conv", x, kernel_to_channels_first(W), b, group=groups, **windows)


def _separable(g: Graph, layer: Any, x: Value) -> str:
    h = _slide(g, layer, x, layer.params["W_depth"], None)
    W, b = layer.params["W_point"], layer.params.get("b")
    return g.node("Conv", h, kernel_to_channels_first(W), b, kernel_shape=[1, 1])


def _transposed(g: Graph, layer: Any, x: Value) -> str:
    W, b = layer.params["W"], layer.params.get("b")
    stride, padding, dilation, _ = layer.geometry
    kernel = kernel_to_channels_first(W).swapaxes(0, 1)  # here the input's channels come first
    more = rows_at_the_end(layer, list(map(sum, padding)))
    windows = _windows(W.shape[:2], stride, padding, dilation)
    return g.node("ConvTranspose", x, kernel, b, output_padding=more, **windows)


def _pool(g: Graph, layer: Any, x: Value) -> str:
    op = "MaxPool" if isinstance(layer, nn.MaxPool1D | nn.MaxPool2D) else "AveragePool"
    size, stride, padding = layer.geometry
    return g.node(op, x, **_windows(size[-layer.n_axes :], stride, padding))


def _global_pool(g: Graph, layer: Layer, x: Value) -> str:
    is_mean = isinstance(layer, nn.GlobalAvgPool1D | nn.GlobalAvgPool2D)
    return g.node("Flatten", g.node("GlobalAveragePool" if is_mean else "GlobalMaxPool", x))


def _zero_pad(g: Graph, layer: Any, x: Value) -> str:
    (top, bottom), (left, right) = layer.margins
    return g.node("Pad", x, np.array([0, 0, top, left, 0, 0, bottom, right]))


def _upsample(g: Graph, layer: Any, x: Value) -> str:
    scales = np.array([1, 1, *layer.factors], np.float32)
    if layer.interpolation == "bilinear":
        return g.node("Resize", x, "", scales, mode="linear")  # from centre to centre by default
    way = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return g.node("Resize", x, "", scales, mode="nearest", **way)


def _windows(size: Any, stride: Any, padding: Any, dilation: Any = None) -> dict[str, Any]:
    """Attributes for windows of one or two axes; ONNX lists all starts before all ends."""
    n, (starts, ends) = len(size), zip(*padding, strict=True)
    dilations = {} if dilation is None else {"dilations": dilation[-n:]}
    pads = [*starts[-n:], *ends[-n:]]
    return {"kernel_shape": size, "strides": stride[-n:], "pads": pads, **dilations}


# ---------------------------------------------------------------- tables, by the order of channels

Writers = dict[type[Layer], Callable[[Graph, Any, Value], str]]
AS_IT_COMES: Writers = {
    nn.ELU: lambda g, layer, x: g.node("Elu", x, alpha=float(layer.alpha)),
    nn.GELU: _gelu,
    nn.GLU: _glu,
    nn.HardSigmoid: lambda g, layer, x: g.node("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    nn.HardSwish: lambda g, layer, x: g.node("HardSwish", x),
    nn.HardTanh: lambda g, layer, x: g.node("Clip", x, number(layer.low), number(layer.high)),
    nn.LeakyReLU: lambda g, layer, x: g.node("LeakyRelu", x, alpha=float(layer.negative_slope)),
    nn.LogSoftmax: lambda g, layer, x: g.node("LogSoftmax", x, axis=x.axis(int(layer.axis))),
    nn.Mish: lambda g, layer, x: g.node("Mul", x, g.node("Tanh", g.node("Softplus", x))),
    nn.PReLU: lambda g, layer, x: g.node(
        "PRelu", x, g.per_channel(x, layer.params["negative_slope"])
    ),
    nn.ReLU: lambda g, layer, x: g.node("Relu", x),
    nn.RMSNorm: _rms_norm,
    nn.Scale: lambda g, layer, x: g.node("Mul", x, g.per_channel(x, layer.params["s"])),
    nn.SELU: lambda g, layer, x: g.node("Selu", x, alpha=layer.ALPHA, gamma=layer.LAMBDA),
    nn.Sigmoid: lambda g, layer, x: g.node("Sigmoid", x),
    nn.SiLU: lambda g, layer, x: g.node("Mul", x, g.node("Sigmoid", x)),
    nn.SmoothClip: _smooth_clip,
    nn.Softmax: lambda g, layer, x: g.node("Softmax", x, axis=x.axis(int(layer.axis))),
    nn.Softplus: lambda g, layer, x: g.node("Softplus", x),
    nn.Softsign: lambda g, layer, x: g.node("Softsign", x),
    nn.Tanh: lambda g, layer, x: g.node("Tanh", x),
}
CHANNELS_FIRST: Writers = {
    **dict.fromkeys([nn.Conv1D, nn.Conv2D, nn.DepthwiseConv2D], _convolution),
    **dict.fromkeys([nn.MaxPool1D, nn.MaxPool2D, nn.AvgPool1D, nn.AvgPool2D], _pool),
    **dict.fromkeys([nn.GlobalAvgPool1D, nn.GlobalAvgPool2D], _global_pool),
    **dict.fromkeys([nn.GlobalMaxPool1D, nn.GlobalMaxPool2D], _global_pool),
    nn.BatchNorm: _batch_norm,
    nn.ConvTranspose2D: _transposed,
    nn.GroupNorm: _group_norm,
    nn.InstanceNorm: _instance_norm,
    nn.SeparableConv2D: _separable,
    nn.UpSample2D: _upsample,
    nn.ZeroPad2D: _zero_pad,
}
CHANNELS_LAST: Writers = {
    nn.BatchEnsemble: _batch_ensemble,
    nn.Dense: _affine,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.Maxout: _maxout,
    nn.NTKDense: _ntk_dense,
    nn.PeriodicEmbedding: _periodic,
    nn.PiecewiseLinearEmbedding: _piecewise,
    nn.Permute: lambda g, layer, x: g.node("Transpose", x, perm=[0, *map(int, layer.axes)]),
}


@emits(*AS_IT_COMES, *CHANNELS_FIRST, *CHANNELS_LAST)
def _in_its_order(g: Graph, layer: Layer, x: Value) -> Value:
    kind, shape = type(layer), layer.output_shape
    if kind not in AS_IT_COMES:
        _ = layer.params  # raises unless built
        x = g.in_order(x, kind in CHANNELS_FIRST)
    write = (AS_IT_COMES | CHANNELS_FIRST | CHANNELS_LAST)[kind]
    return Value(write(g, layer, x), shape, x.channels_first and len(shape) > 1)


@emits(nn.Flatten, nn.Reshape)
def _reshape(g: Graph, layer: Layer, x: Value) -> Value:
    return g.reshape(x, layer.output_shape)


# noise is for training
@emits(nn.Identity, nn.Dropout, nn.SpatialDropout2D, nn.AlphaDropout, nn.GaussianNoise)
def _nothing(g: Graph, layer: Layer, x: Value) -> Value:
    return x


# ---------------------------------------------------------------- containers


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


@emits(nn.Gate)
def _gate(g: Graph, layer: Any, x: Value) -> Value:
    gate = emit(g, layer.gate, x)
    body = x if layer.body is None else emit(g, layer.body, x)
    missing = len(body.shape) - len(gate.shape)
    if missing:
        gate = g.reshape(gate, (*[1] * missing, *gate.shape))
    return g.like(body, "Mul", body, g.in_order(gate, body.channels_first))


@emits(nn.ParametricActivation)
def _parametric(g: Graph, layer: Any, x: Value) -> Value:
    f = emit(g, layer.activation, x)
    x = g.in_order(x, f.channels_first)
    change = g.node("Sub", f, x)
    return g.like(f, "Add", x, g.node("Mul", change, g.per_channel(f, layer.params["a"])))


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
    for positions, (_, child) in zip(layer.positions, layer.routes, strict=True):
        chosen = Value(g.node("Gather", x, positions, axis=1), (len(positions),))
        part = emit(g, child, chosen)
        parts.append(part if len(part.shape) == 1 else g.reshape(part, (math.prod(part.shape),)))
    return Value(g.node("Concat", *parts, axis=1), layer.output_shape)
