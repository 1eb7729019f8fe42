"""Layers over the last axis: products, look-ups and normalization."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

import layerkit.layers as nn
from layerkit.interchange.onnx_export.elementwise import number
from layerkit.interchange.onnx_export.emitters import emits
from layerkit.interchange.onnx_export.graph import Graph, Value
from layerkit.layer import Layer


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
    sizes = (x.shape[-1], *x.shape[:-1])
    x_hat = g.node("Reshape", groups, np.array([0, *sizes]))
    gamma, beta = (g.per_channel(x, layer.params[name]) for name in ("gamma", "beta"))
    return g.like(x, "Add", g.node("Mul", x_hat, gamma), beta)


@emits(nn.RMSNorm)
def _rms_norm(g: Graph, layer: Any, x: Value) -> Value:
    square = g.node("Mul", x, x)
    mean = g.node("ReduceMean", square, axes=[x.axis(len(x.shape))])
    rms = g.node("Sqrt", g.node("Add", mean, number(layer.eps)))
    gamma = g.per_channel(x, layer.params["gamma"])
    return g.like(x, "Mul", g.node("Div", x, rms), gamma)
