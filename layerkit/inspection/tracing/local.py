"""The local derivative of a layer: how its output changes with its input."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from layerkit.layer import Layer
from layerkit.layers import Concat, Dense, Residual
from layerkit.layers.activations import Elementwise

LARGEST = 40
"""Arrays of more numbers than this are summarised, and their equations not written out."""


class LocalDerivative(NamedTuple):
    """dy/dx in words; as numbers where they are few.

    ``values`` is f'(x), shaped like x, for an elementwise function; W for a Dense layer; else the
    Jacobian of shape (n_samples, *output_shape, n_samples, *input_shape), which also shows where
    samples mix (BatchNorm), or None if the layer is large. ``by_param`` has for each parameter
    dy/dθ of shape (n_samples, *output_shape, *param_shape).
    """

    formula: str
    values: Any = None
    elementwise: bool = False
    by_param: dict[str, np.ndarray] = {}  # noqa: RUF012  (never written to)


FORMULAS = {
    "Softmax": "dy[i]/dx[j] = y[i] (δ[i, j] - y[j])",
    "LogSoftmax": "dy[i]/dx[j] = δ[i, j] - exp(y[j])",
    "Dropout": "dy/dx = 1 / (1 - rate) where kept, 0 where dropped",
    "SpatialDropout2D": "dy/dx = 1 / (1 - rate) where kept, 0 where dropped",
    "Flatten": "dy/dx = 1: numbers only change places",
    "Reshape": "dy/dx = 1: numbers only change places",
    "Permute": "dy/dx = 1: numbers only change places",
    "MaxPool1D": "dy/dx = 1 for the largest of a window, 0 for the others",
    "MaxPool2D": "dy/dx = 1 for the largest of a window, 0 for the others",
    "AvgPool1D": "dy/dx = 1 / size of the window",
    "AvgPool2D": "dy/dx = 1 / size of the window",
    "GlobalAvgPool1D": "dy/dx = 1 / number of positions",
    "GlobalAvgPool2D": "dy/dx = 1 / number of positions",
    "Conv1D": "dy/dx = the entry of W that lies over x when y is computed",
    "Conv2D": "dy/dx = the entry of W that lies over x when y is computed",
    "BatchNorm": "dy[i]/dx[j] = gamma / s (δ[i, j] - (1 + x̂[i] x̂[j]) / n), inference: gamma / s",
    "LayerNorm": "dy[i]/dx[j] = gamma[i] / s (δ[i, j] - (1 + x̂[i] x̂[j]) / n) over n features",
    "Embedding": "dy/dW = 1 for the row that x names, 0 for the others",
}
"""For the layers whose Jacobian has a short name."""


def local_derivative(layer: Layer, x: np.ndarray, y: np.ndarray) -> LocalDerivative:
    """Find dy/dx of a layer that has just run forward; its gradients are overwritten."""
    if isinstance(layer, Dense):
        return LocalDerivative("dy[j]/dx[i] = W[i, j]", layer.params["W"].copy())
    if isinstance(layer, Residual):
        return LocalDerivative("dy/dx = d body/dx + d shortcut/dx")
    if isinstance(layer, Concat):
        return LocalDerivative("dy/dx = the branches' own, one above the other")
    if layer.children():
        return LocalDerivative("dy/dx is that of the layers inside")
    small = is_small(x, y, *_own(layer).values())
    if isinstance(layer, Elementwise):
        by_param = _jacobians(layer, x, y)[1] if small and _own(layer) else {}
        slope = np.broadcast_to(layer.derivative(x), x.shape)
        return LocalDerivative("dy/dx = f'(x), number by number", slope, True, by_param)
    formula = FORMULAS.get(type(layer).__name__, "dy/dx = the Jacobian J")
    if not small:
        return LocalDerivative(formula)
    jacobian, by_param = _jacobians(layer, x, y)
    return LocalDerivative(formula, jacobian, by_param=by_param)


def _jacobians(
    layer: Layer, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Ask backward for the gradient of one output number after the other."""
    rows, by_param = [], {name: [] for name in _own(layer)}  # type: ignore[var-annotated]
    for k in range(y.size):
        unit = np.zeros(y.size, y.dtype)
        unit[k] = 1
        row = layer.backward(unit.reshape(y.shape))
        if row is None:
            return None, {}
        rows.append(np.array(row))
        for name in by_param:
            by_param[name].append(layer.grads[name].copy())
    stack = {name: np.reshape(g, (*y.shape, *g[0].shape)) for name, g in by_param.items()}
    return np.reshape(rows, (*y.shape, *x.shape)), stack


def _own(layer: Layer) -> dict[str, np.ndarray]:
    return dict(layer.params) if layer.is_built else {}


def is_small(*arrays: np.ndarray | None) -> bool:
    """Whether each array is worth printing in full."""
    return all(a is None or math.prod(a.shape) <= LARGEST for a in arrays)
