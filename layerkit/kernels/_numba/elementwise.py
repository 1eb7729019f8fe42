"""Sigmoid, softplus and softmax of float32 in one pass; float64 runs in NumPy."""

import math

import numpy as np

from layerkit.kernels._numba.compile import SINGLE, exact, for_dtypes, jit, plain
from layerkit.kernels._numba.exponential import exp
from layerkit.kernels._numba.exponential import sigmoid as sigmoid_of
from layerkit.kernels._numba.exponential import softplus as softplus_of
from layerkit.kernels._numba.threads import element_by_element
from layerkit.kernels._numpy import elementwise as reference


@for_dtypes(SINGLE, reference)
def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    x = plain(x)
    y = np.empty(x.shape, x.dtype)
    element_by_element(_sigmoid, x.ravel(), y.ravel())
    return y


@jit
def _sigmoid(x, y):
    for i in range(x.size):
        y[i] = sigmoid_of(x[i])


@for_dtypes(SINGLE, reference)
def softplus(x: np.ndarray) -> np.ndarray:
    """log(1 + exp(x))."""
    x = plain(x)
    y = np.empty(x.shape, x.dtype)
    element_by_element(_softplus, x.ravel(), y.ravel())
    return y


@jit
def _softplus(x, y):
    for i in range(x.size):
        y[i] = softplus_of(x[i])


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """-softplus(-x)."""
    return -softplus(-x)


@for_dtypes(SINGLE, reference)
def softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """exp(x_i) / sum_j exp(x_j); rows side by side in memory are compiled."""
    if axis not in (-1, x.ndim - 1) or x.shape[-1] == 0:
        return reference.softmax(x, axis)
    x = plain(x)
    y = np.empty(x.shape, x.dtype)
    _softmax(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]))
    return y


@jit
def _softmax(x, y):
    shifted_exp(x, y)
    for r in range(len(y)):
        total = np.float32(0)
        for e in y[r]:
            total += e
        scale = np.float32(1) / total
        for k in range(y.shape[1]):
            y[r, k] *= scale


@jit
def shifted_exp(x, y):
    """Write exp(x - M) into y, M being the largest of a row, and return where each M stands.

    The exponential runs over all rows at once: a row alone may be too short for the vector unit.
    """
    n_rows, n = x.shape
    tops = np.empty(n_rows, np.int64)
    for r in range(n_rows):
        top = 0
        for k in range(1, n):
            top = k if (x[r, k] > x[r, top]) | (x[r, k] != x[r, k]) else top
        tops[r] = top
        for k in range(n):
            y[r, k] = x[r, k] - x[r, top]
    flat = y.reshape(-1)
    for i in range(flat.size):
        flat[i] = exp(flat[i])
    return tops


@for_dtypes(SINGLE, reference)
def log_softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """x_i - log(sum_j exp(x_j)), the largest term apart, as in the NumPy version."""
    if axis not in (-1, x.ndim - 1) or x.shape[-1] == 0:
        return reference.log_softmax(x, axis)
    x = plain(x)
    y = np.empty(x.shape, x.dtype)
    _log_softmax(x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]))
    return y


@jit
def _log_softmax(x, y):
    tops = shifted_exp(x, y)
    for r in range(len(y)):
        y[r, tops[r]] -= np.float32(1)  # the term of the largest is 1; NaN where it is infinite
        others = np.float32(0)
        for e in y[r]:
            others += e
        log_total = np.float32(math.log1p(others))
        for k in range(y.shape[1]):
            y[r, k] = _in_order(x[r, k], x[r, tops[r]], log_total)


@exact
def _in_order(x, largest, log_total):
    """Subtract the largest first: it may be so large that log_total would be lost beside it."""
    return (x - largest) - log_total
