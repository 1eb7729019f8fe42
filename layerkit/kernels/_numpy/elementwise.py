"""Sigmoid, softplus and softmax, and their logarithms, without overflow at any finite input.

Each keeps the dtype of its input, lets NaN through, and is accurate relative to its own result: a
probability of 1e-40 or a log-probability of -1e-40 has as many correct digits as one near 1.
"""

import numpy as np
from numpy.typing import NDArray

# An exponential that vanishes, or whose reciprocal does, is the right answer here, not an error.
quietly = np.errstate(under="ignore", over="ignore")


@quietly
def sigmoid(x: NDArray) -> NDArray:
    """1 / (1 + exp(-x)).

    >>> sigmoid(np.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    return 1 / (1 + np.exp(-x))


@quietly
def softplus(x: NDArray) -> NDArray:
    """log(1 + exp(x)).

    >>> softplus(np.array([-1e4, 0.0, 1e4])).round(4).tolist()
    [0.0, 0.6931, 10000.0]
    """
    return np.maximum(x, 0) + log1p(np.exp(-np.abs(x)))


def log1p(x: NDArray) -> NDArray:
    """log(1 + x) for x >= 0, twice as fast as NumPy's in float32, whose log is vectorised.

    With ``u = 1 + x`` rounded, ``1 + x = u (1 + (x - (u - 1)) / u)``: the last factor has what was
    lost, and so little that its logarithm is linear.

    >>> log1p(np.array([0.0, 1e-30, 1.0])).tolist()
    [0.0, 1e-30, 0.6931471805599453]
    """
    u = 1 + x
    return np.log(u) + (x - (u - 1)) / u


def log_sigmoid(x: NDArray) -> NDArray:
    """log(sigmoid(x)) = -softplus(-x).

    >>> log_sigmoid(np.array([-1e4, 0.0])).round(4).tolist()
    [-10000.0, -0.6931]
    """
    return -softplus(-x)


@quietly
def softmax(x: NDArray, axis: int = -1) -> NDArray:
    """exp(x_i) / sum_j exp(x_j) along ``axis``.

    >>> softmax(np.array([-1e4, 1e4, 1e4])).tolist()
    [0.0, 0.5, 0.5]
    """
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@quietly
def log_softmax(x: NDArray, axis: int = -1) -> NDArray:
    """x_i - log(sum_j exp(x_j)) along ``axis``.

    >>> log_softmax(np.array([0.0, 50.0])).tolist()
    [-50.0, -1.9287498479639178e-22]
    """
    shifted = x - x.max(axis, keepdims=True)
    # The largest terms are exactly 1. All but one 1 go to log1p, which keeps the small ones that
    # would be lost beside it.
    largest = shifted == 0
    ties = largest.sum(axis, keepdims=True, dtype=x.dtype) - 1
    return shifted - np.log1p((np.exp(shifted) - largest).sum(axis, keepdims=True) + ties)
