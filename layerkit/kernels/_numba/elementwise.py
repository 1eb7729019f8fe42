"""Sigmoid, softplus and softmax of float32 in one pass; float64 runs in NumPy."""

import math

import numpy as np

from layerkit.kernels._numba.compile import SINGLE, exact, for_dtypes, inline, jit, plain
from layerkit.kernels._numba.exponential import exp_of_negative
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
        return reference.log_softmax(x, axis)
    x = plain(x)
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


@exact
def _in_order(x, largest, log_total):
    """Subtract the largest first: it may be so large that log_total would be lost beside it."""
    return (x - largest) - log_total
