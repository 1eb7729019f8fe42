"""Cross-entropy after softmax or sigmoid: value and gradient while a row is in the cache.

The formulas are derived in the NumPy version.
"""

import math
from collections.abc import Callable

import numpy as np

from layerkit.kernels._numba import elementary
from layerkit.kernels._numba.activations import shifted_exp, sum_of_others
from layerkit.kernels._numba.compile import BOTH, contiguous, for_dtypes, jit
from layerkit.kernels._numpy import cross_entropy as reference

_OUT_OF_RANGE = -1.0  # in place of a loss, which is at least 0


@for_dtypes(BOTH, reference)
def cross_entropy_of_labels(logits, labels, weights, smoothing):
    gradient = np.empty(logits.shape, logits.dtype)
    arguments = contiguous(logits), contiguous(labels), contiguous(weights), smoothing
    loss = _cross_entropy(*arguments, gradient)
    return None if loss == _OUT_OF_RANGE else (loss, gradient)


@jit
def _cross_entropy(x, labels, weights, smoothing, gradient):
    """With M the largest logit of a row and its term apart, ``log Σ exp(x) = M + log1p(rest)``.

    Then ``l = log1p(rest) + Σ_k t_k (M - x_k)``, since the t sum to 1.
    """
    n_rows, n = x.shape
    for label in labels:
        if not 0 <= label < n:
            return _OUT_OF_RANGE
    number = x.dtype.type
    one, on, off = number(1), number(1 - smoothing), number(smoothing / n)
    largest = shifted_exp(x, gradient)
    loss = 0.0
    for r in range(n_rows):
        if weights[r] == 0:
            gradient[r] = 0
            continue
        rest, top = sum_of_others(gradient[r]), np.float64(largest[r])
        below = on * (top - x[r, labels[r]])
        if off != 0:
            for k in range(n):
                below += off * (top - x[r, k])
        loss += weights[r] * (math.log1p(rest) + below)
        weight = number(weights[r])
        scale, share = weight / (rest + one), weight * off
        for k in range(n):
            gradient[r, k] = gradient[r, k] * scale - share
        gradient[r, labels[r]] -= weight * on
    return loss


@for_dtypes(BOTH, reference)
def binary_cross_entropy(logits, targets, weights, pos_weight, smoothing):
    gradient = np.empty(logits.shape, logits.dtype)
    arguments = contiguous(logits), contiguous(targets), contiguous(weights), pos_weight, smoothing
    loss = _binary_cross_entropy(*arguments, gradient)
    return None if loss == _OUT_OF_RANGE else (loss, gradient)


@jit
def _binary_cross_entropy(x, targets, weights, pos_weight, smoothing, gradient):
    n_rows, n = x.shape
    number = x.dtype.type
    zero, one = number(0), number(1)
    for target in targets.reshape(-1):
        if not zero <= target <= one:
            return _OUT_OF_RANGE
    factor = number(pos_weight)
    scale, shift = number(1 - smoothing), number(smoothing / 2)
    loss = 0.0
    for r in range(n_rows):
        if weights[r] == 0:
            gradient[r] = 0
            continue
        total, share = 0.0, number(weights[r] / n)
        for k in range(n):
            t, logit = scale * targets[r, k] + shift, x[r, k]
            of_true, of_false = factor * t, one - t
            e = elementary.exp_of_negative(-abs(logit))
            log, large = elementary.log1p_of_fraction(e), one / (one + e)
            small = e * large
            above, below = (zero, -logit) if logit < zero else (logit, zero)
            total += of_true * (log + below) + of_false * (log + above)
            up, down = (small, large) if logit < zero else (large, small)
            gradient[r, k] = share * (of_false * up - of_true * down)
        loss += weights[r] * (total / n)
    return loss


@for_dtypes(BOTH, reference)
def cross_entropy_of_softmax(logits, targets, cap):
    return _value_and_derivative(_of_softmax, logits, targets, cap)


def _value_and_derivative(
    loop: Callable[..., None], logits: np.ndarray, targets: np.ndarray, cap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the two new arrays that ``loop(x, targets, cap, values, derivative)`` fills."""
    values, derivative = np.empty(len(logits), logits.dtype), np.empty(logits.shape, logits.dtype)
    loop(contiguous(logits), contiguous(targets), cap, values, derivative)
    return values, derivative


@jit
def _of_softmax(x, targets, cap, values, derivative):
    number = x.dtype.type
    cap = number(cap)
    largest = shifted_exp(x, derivative)
    for r in range(len(x)):
        total = number(0)
        for k in range(x.shape[1]):
            total += derivative[r, k]
        value, scale = number(math.log(total)), number(1) / total
        for k in range(x.shape[1]):
            value -= targets[r, k] * (x[r, k] - largest[r])
            derivative[r, k] = derivative[r, k] * scale - targets[r, k]
        values[r] = cap if value > cap else value


@for_dtypes(BOTH, reference)
def cross_entropy_of_sigmoid(logits, targets, cap):
    return _value_and_derivative(_of_sigmoid, logits, targets, cap)


@jit
def _of_sigmoid(x, targets, cap, values, derivative):
    cap = x.dtype.type(cap)
    for r in range(len(x)):
        values[r] = 0
        for k in range(x.shape[1]):
            value = elementary.softplus(x[r, k]) - targets[r, k] * x[r, k]
            values[r] += cap if value > cap else value
            derivative[r, k] = elementary.sigmoid(x[r, k]) - targets[r, k]
