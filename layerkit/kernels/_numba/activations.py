"""Activations and their backward in one pass each.

What needs an exponential is compiled for float32 only; float64 runs in NumPy, whose exponential is
as fast as the C library's. ReLU and its kind, mere comparisons, are compiled for both.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from layerkit.kernels._numba.compile import BOTH, SINGLE, for_dtypes, jit, plain
from layerkit.kernels._numba.exponential import (
    exp,
    expm1_of_negative,
    normal_gate,
)
from layerkit.kernels._numba.exponential import sigmoid as sigmoid_of
from layerkit.kernels._numba.exponential import tanh as tanh_of
from layerkit.kernels._numba.threads import element_by_element
from layerkit.kernels._numpy import activations as reference

_ONE = np.float32(1)


def _map(loop: Callable[..., None], x: np.ndarray, *numbers: float) -> np.ndarray:
    """Return a new array that ``loop(x, y, *numbers)`` fills, element by element."""
    x = plain(x)
    y = np.empty(x.shape, x.dtype)
    element_by_element(loop, x.ravel(), y.ravel(), numbers=numbers)
    return y


def _map_grad(
    loop: Callable[..., None], grad: np.ndarray, *arrays: np.ndarray, numbers: Any = ()
) -> np.ndarray:
    """Return a new array that ``loop(grad, *arrays, out, *numbers)`` fills."""
    grad = plain(grad)
    out = np.empty(grad.shape, grad.dtype)
    same = [plain(x.astype(grad.dtype, copy=False)).ravel() for x in arrays]
    element_by_element(loop, grad.ravel(), *same, out.ravel(), numbers=numbers)
    return out


def _gated(loop: Callable[..., None], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two new arrays that ``loop(x, y, s)`` fills."""
    x = plain(x)
    y, s = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    element_by_element(loop, x.ravel(), y.ravel(), s.ravel())
    return y, s


# ---------------------------------------------------------------- comparisons


@for_dtypes(BOTH, reference)
def relu(x: np.ndarray) -> np.ndarray:
    """Maximum with 0; ``x if x > 0 else 0`` would hide NaN."""
    return _map(_relu, x)


@jit
def _relu(x, y):
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]


@for_dtypes(BOTH, reference)
def relu_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Grad [y > 0], a product, so that NaN in the gradient shows."""
    return _map_grad(_relu_grad, grad, y)


@jit
def _relu_grad(grad, y, out):
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for i in range(y.size):
        out[i] = grad[i] * (one if y[i] > zero else zero)


@for_dtypes(BOTH, reference)
def leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    """X, or slope x where it is negative."""
    return _map(_leaky_relu, x, slope)


@jit
def _leaky_relu(x, y, slope):
    slope, zero = x.dtype.type(slope), x.dtype.type(0)
    for i in range(x.size):
        y[i] = slope * x[i] if x[i] < zero else x[i]


@for_dtypes(BOTH, reference)
def leaky_relu_grad(grad: np.ndarray, y: np.ndarray, slope: float) -> np.ndarray:
    """Grad where y > 0, else slope grad."""
    return _map_grad(_leaky_relu_grad, grad, y, numbers=(slope,))


@jit
def _leaky_relu_grad(grad, y, out, slope):
    slope, zero, one = y.dtype.type(slope), y.dtype.type(0), y.dtype.type(1)
    for i in range(y.size):
        out[i] = grad[i] * (one if y[i] > zero else slope)


# ---------------------------------------------------------------- from the output


@for_dtypes(SINGLE, reference)
def elu(x: np.ndarray, alpha: float, scale: float) -> np.ndarray:
    """Scaled ELU."""
    return _map(_elu, x, alpha, scale)


@jit
def _elu(x, y, alpha, scale):
    alpha, scale = np.float32(alpha * scale), np.float32(scale)
    for i in range(x.size):
        below = np.float32(0) if x[i] > 0 else x[i]
        y[i] = scale * x[i] if x[i] > 0 else alpha * expm1_of_negative(below)


@for_dtypes(BOTH, reference)
def elu_grad(grad: np.ndarray, y: np.ndarray, alpha: float, scale: float) -> np.ndarray:
    """Scale grad where y > 0, else (y + scale alpha) grad."""
    return _map_grad(_elu_grad, grad, y, numbers=(alpha, scale))


@jit
def _elu_grad(grad, y, out, alpha, scale):
    alpha, scale, zero = y.dtype.type(alpha * scale), y.dtype.type(scale), y.dtype.type(0)
    for i in range(y.size):
        out[i] = grad[i] * (scale if y[i] > zero else y[i] + alpha)


@for_dtypes(BOTH, reference)
def sigmoid_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Grad y (1 - y)."""
    return _map_grad(_sigmoid_grad, grad, y)


@jit
def _sigmoid_grad(grad, y, out):
    one = y.dtype.type(1)
    for i in range(y.size):
        out[i] = grad[i] * (y[i] * (one - y[i]))


@for_dtypes(SINGLE, reference)
def tanh(x: np.ndarray) -> np.ndarray:
    """tanh(x)."""
    return _map(_tanh, x)


@jit
def _tanh(x, y):
    for i in range(x.size):
        y[i] = tanh_of(x[i])


@for_dtypes(BOTH, reference)
def tanh_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Grad (1 - y²)."""
    return _map_grad(_tanh_grad, grad, y)


@jit
def _tanh_grad(grad, y, out):
    one = y.dtype.type(1)
    for i in range(y.size):
        out[i] = grad[i] * (one - y[i] * y[i])


@for_dtypes(SINGLE, reference)
def softplus_grad(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Grad sigmoid(x)."""
    return _map_grad(_softplus_grad, grad, x)


@jit
def _softplus_grad(grad, x, out):
    for i in range(x.size):
        out[i] = grad[i] * sigmoid_of(x[i])


# ---------------------------------------------------------------- with a gate


@for_dtypes(SINGLE, reference)
def gelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x s and the gate s = Φ(x)."""
    return _gated(_gelu, x)


@jit
def _gelu(x, y, s):
    for i in range(x.size):
        gate = normal_gate(x[i])
        s[i] = gate
        y[i] = x[i] * gate


@for_dtypes(SINGLE, reference)
def gelu_grad(grad: np.ndarray, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Grad (s + x exp(-x² / 2) / sqrt(2 π))."""
    return _map_grad(_gelu_grad, grad, x, s)


@jit
def _gelu_grad(grad, x, s, out):
    scale = np.float32(0.3989422804014327)
    for i in range(x.size):
        out[i] = grad[i] * (s[i] + x[i] * (scale * exp(np.float32(-0.5) * x[i] * x[i])))


@for_dtypes(SINGLE, reference)
def silu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x s and the gate s = sigmoid(x)."""
    return _gated(_silu, x)


@jit
def _silu(x, y, s):
    for i in range(x.size):
        gate = sigmoid_of(x[i])
        s[i] = gate
        y[i] = x[i] * gate


@for_dtypes(BOTH, reference)
def silu_grad(grad: np.ndarray, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Grad (s + x s (1 - s))."""
    return _map_grad(_silu_grad, grad, x, s)


@jit
def _silu_grad(grad, x, s, out):
    one = x.dtype.type(1)
    for i in range(x.size):
        out[i] = grad[i] * (s[i] + x[i] * s[i] * (one - s[i]))


@for_dtypes(SINGLE, reference)
def mish(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x s and the gate s = tanh(softplus(x))."""
    return _gated(_mish, x)


@jit
def _mish(x, y, s):
    for i in range(x.size):
        e = exp(np.float32(20) if x[i] > 20 else x[i])
        n = e * (e + np.float32(2))
        gate = n / (n + np.float32(2))
        s[i] = gate
        y[i] = x[i] * gate


@for_dtypes(SINGLE, reference)
def mish_grad(grad: np.ndarray, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Grad (s + x (1 - s²) sigmoid(x))."""
    return _map_grad(_mish_grad, grad, x, s)


@jit
def _mish_grad(grad, x, s, out):
    for i in range(x.size):
        out[i] = grad[i] * (s[i] + x[i] * (_ONE - s[i] * s[i]) * sigmoid_of(x[i]))
