"""Activations in ONNX operators, and layers that do nothing in inference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import layerkit.layers as nn
from layerkit.interchange.onnx_export.emitters import EMITTERS, emits
from layerkit.interchange.onnx_export.graph import Graph, Value
from layerkit.layer import Layer

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


def _operator(g: Graph, layer: Layer, x: Value) -> Value:
    op, attributes = OPERATORS[type(layer)]
    return g.like(x, op, **attributes(layer))


EMITTERS.update(dict.fromkeys(OPERATORS, _operator))


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
    return g.like(x, type(layer).__name__, axis=x.axis(int(layer.axis) % (len(x.shape) + 1)))


def number(value: float) -> np.ndarray:
    """Return a constant without axes."""
    return np.array(value, np.float32)
