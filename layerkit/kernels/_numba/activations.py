"""Activations, softmax and their logarithms, and backward, in one pass each.

What needs an exponential is compiled for float32 only; float64 runs in NumPy, whose exponential is
as fast as the C library's. ReLU and its kind, mere comparisons, are compiled for both.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from layerkit.kernels._numba.compile import (
    BOTH,
    SINGLE,
    contiguous,
    for_dtypes,
    inline,
    jit,
    ordered,
)
from layerkit.kernels._numba.exponential import (
    exp,
    exp_of_negative,
    expm1_of_negative,
    normal_gate,
)
from layerkit.kernels._numba.exponential import sigmoid as sigmoid_of
from layerkit.kernels._numba.exponential import softplus as softplus_of
from layerkit.kernels._numba.exponential import tanh as tanh_of
from layerkit.kernels._numba.threads import element_by_element
from layerkit.kernels._numpy import activations as reference
from layerkit.kernels.dispatch import in_numpy

_ONE = np.float32(1)


def _map(loop: Callable[..., None], x: np.ndarray, *numbers: float) -> np.ndarray:
    """Return a new array that ``loop(x, y, *numbers)`` fills, element by element."""
    x = contiguous(x)
    y = np.empty(x.shape, x.dtype)
    element_by_element(loop, x.ravel(), y.ravel(), numbers=numbers)
    return y


def _map_grad(
    loop: Callable[..., None], grad: np.ndarray, *arrays: np.ndarray, numbers: Any = ()
) -> np.ndarray:
    """Return a new array that ``loop(grad, *arrays, out, *numbers)`` fills."""
    grad = contiguous(grad)
    out = np.empty(grad.shape, grad.dtype)
    same = [contiguous(x.astype(grad.dtype, copy=False)).ravel() for x in arrays]
    element_by_element(loop, grad.ravel(), *same, out.ravel(), numbers=numbers)
    return out


def _gated(loop: Callable[..., None], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the two new arrays that ``loop(x, y, s)`` fills."""
    x = contiguous(x)
    y, s = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    element_by_element(loop, x.ravel(), y.ravel(), s.ravel())
    return y, s


# ---------------------------------------------------------------- comparisons


@for_dtypes(BOTH, reference)
def relu(x: np.ndarray) -> np.ndarray:
    """Maximum with 0; ``x if x > 0 else 0`` would hide NaN."""
    return _map(relu_loop, x)


@jit
def relu_loop(x, y):
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]


@for_dtypes(BOTH, reference)
def relu_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Grad [y > 0], a product, so that NaN in the gradient shows."""
    return _map_grad(relu_grad_loop, grad, y)


@jit
def relu_grad_loop(grad, y, out):
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
def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return _map(sigmoid_loop, x)


@jit
def sigmoid_loop(x, y):
    for i in range(x.size):
        y[i] = sigmoid_of(x[i])


@for_dtypes(SINGLE, reference)
def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    return _map(_softplus, x)


@jit
def _softplus(x, y):
    for i in range(x.size):
        y[i] = softplus_of(x[i])


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """-softplus(-x)."""
    return -softplus(-x)


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
    return _map_grad(sigmoid_grad_loop, grad, y)


@jit
def sigmoid_grad_loop(grad, y, out):
    one = y.dtype.type(1)
    for i in range(y.size):
        out[i] = grad[i] * (y[i] * (one - y[i]))


@for_dtypes(SINGLE, reference)
def tanh(x: np.ndarray) -> np.ndarray:
    """tanh(x)."""
    return _map(tanh_loop, x)


@jit
def tanh_loop(x, y):
    for i in range(x.size):
        y[i] = tanh_of(x[i])


@for_dtypes(BOTH, reference)
def tanh_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Grad (1 - y²)."""
    return _map_grad(tanh_grad_loop, grad, y)


@jit
def tanh_grad_loop(grad, y, out):
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


# ---------------------------------------------------------------- along rows


@for_dtypes(SINGLE, reference)
def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """exp(x_i) / sum_j exp(x_j); rows side by side in memory are compiled."""
    if axis not in (-1, x.ndim - 1) or x.shape[-1] == 0:
        return in_numpy(reference.softmax)(x, axis)
    x = contiguous(x)
    y = np.empty(x.shape, x.dtype)
    _softmax(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]))
    return y


@jit
def _softmax(x, y):
    shifted_exp(x, y)
    for r in range(len(y)):
        total = np.float32(0)
        for k in range(y.shape[1]):
            total += y[r, k]
        scale = np.float32(1) / total
        for k in range(y.shape[1]):
            y[r, k] *= scale


@jit
def shifted_exp(x, y):
    """Write exp(x - M) into y, M being the largest of a row, and return each M.

    The exponential runs over all rows at once: a row alone may be too short for the vector unit.
    """
    n_rows, n = x.shape
    bits, largest = x.view(np.int32), np.empty(n_rows, x.dtype)
    for r in range(n_rows):
        top = np.int32(-0x80000000)
        for k in range(n):
            rank = _rank(bits[r, k])
            top = rank if rank > top else top
        largest[r] = np.int32(_rank(top)).view(np.float32)
        for k in range(n):
            y[r, k] = x[r, k] - largest[r]
    flat = y.reshape(-1)
    for i in range(flat.size):
        flat[i] = exp_of_negative(flat[i])
    return largest


@inline
def _rank(bits):
    """Map the bits of a float32 to an integer in the order of the numbers, and back.

    They are sign and magnitude, so below zero the magnitude is turned around. NaN comes last or,
    with a sign, first: it spoils its row in the sum if not as the maximum. LLVM vectorises the
    maximum of integers, but not one of floats that lets NaN through.
    """
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@inline
def sum_of_others(terms):
    """Add up all terms but one that is 1, as the largest is; what is far below 1 keeps its digits.

    Ones are counted apart, and as integers, or LLVM would not vectorise the loop.
    """
    more, others = np.int32(-1), np.float32(0)
    for k in range(terms.size):
        is_one = terms[k] == np.float32(1)
        more += np.int32(is_one)
        others += np.float32(0) if is_one else terms[k]
    return others + np.float32(more)


@for_dtypes(SINGLE, reference)
def log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """x_i - log(sum_j exp(x_j)), the largest term apart, as in the NumPy version."""
    if axis not in (-1, x.ndim - 1) or x.shape[-1] == 0:
        return in_numpy(reference.log_softmax)(x, axis)
    x = contiguous(x)
    y = np.empty(x.shape, x.dtype)
    _log_softmax(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]))
    return y


@jit
def _log_softmax(x, y):
    largest = shifted_exp(x, y)
    for r in range(len(y)):
        log_total = np.float32(math.log1p(sum_of_others(y[r])))
        for k in range(y.shape[1]):
            y[r, k] = _in_order(x[r, k], largest[r], log_total)


@ordered
def _in_order(x, largest, log_total):
    """Subtract the largest first: it may be so large that log_total would be lost beside it."""
    return (x - largest) - log_total
