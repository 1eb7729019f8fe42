"""Losses and rules of a training step in NumPy, with every result in its place.

A loss is made once for all batches of so many rows: a list of calls whose arguments are bound. Rows
of few outputs are computed one below the other, as NumPy is slow along short rows.

Arguments::

    y, grad               what the network predicts, and dL/dy, to be overwritten
    t, labels             targets like y, or the class of each row
    p, g, m, v, u         parameters, gradient and what a rule remembers, vectors
    numbers               of the rule, as `epochs` says
    spare                 (2, n), to be overwritten
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from layerkit.kernels._numpy import cross_entropy
from layerkit.kernels.dispatch import in_numpy

Call = Callable[[], Any]
Numbers = list[float]
BatchLoss = Callable[[np.ndarray | None, float], float]
"""``loss(weights, normalizer)``: what the weighted losses of the rows add up to, divided."""

_FEW = 8  # outputs


def labels_loss(y: np.ndarray, labels: np.ndarray, smoothing: float, grad: np.ndarray) -> BatchLoss:
    """Cross-entropy of softmax."""
    return _of_weights(cross_entropy.cross_entropy_of_labels, y, labels, grad, smoothing)


def binary_loss(
    y: np.ndarray, t: np.ndarray, pos_weight: float, smoothing: float, grad: np.ndarray
) -> BatchLoss:
    """Cross-entropy of sigmoid, the mean over outputs."""
    return _of_weights(cross_entropy.binary_cross_entropy, y, t, grad, pos_weight, smoothing)


def _of_weights(kernel: Any, y: Any, targets: Any, grad: np.ndarray, *numbers: float) -> BatchLoss:
    """Use a kernel that weights the rows itself."""
    function, equal = in_numpy(kernel), np.empty(len(y))

    def loss(weights: np.ndarray | None, normalizer: float) -> float:
        if weights is None:
            equal.fill(1 / normalizer)
        else:
            np.divide(weights, normalizer, equal)
        value, grad[...] = function(y, targets, equal, *numbers)
        return value

    return loss


def softmax_sum(y: np.ndarray, t: np.ndarray, cap: float, grad: np.ndarray) -> BatchLoss:
    """``min(cap, log Σ_k exp(y_k) - Σ_k t_k y_k)`` of each row."""
    shifted, product = _like(y), _like(y)
    largest, total, values = (np.empty(len(y), y.dtype) for _ in range(3))
    calls: list[Call] = [
        partial(np.copyto, shifted, y),
        partial(np.maximum.reduce, shifted, 1, None, largest),
        partial(np.subtract, shifted, largest[:, np.newaxis], shifted),
        partial(np.multiply, shifted, t, product),
        partial(np.add.reduce, product, 1, None, values),
        partial(np.exp, shifted, shifted),
        partial(np.add.reduce, shifted, 1, None, total),
        partial(np.divide, shifted, total[:, np.newaxis], shifted),
        partial(np.subtract, shifted, t, grad),
        partial(np.log, total, total),
        partial(np.subtract, total, values, values),
        partial(np.minimum, values, cap, out=values),
    ]
    return _of_rows(calls, values, grad)


def sigmoid_sum(y: np.ndarray, t: np.ndarray, cap: float, grad: np.ndarray) -> BatchLoss:
    """``Σ_k min(cap, log(1 + exp(y_k)) - t_k y_k)`` of each row."""
    function, values = in_numpy(cross_entropy.cross_entropy_of_sigmoid), np.empty(len(y), y.dtype)

    def both() -> None:
        values[...], grad[...] = function(y, t, cap)

    return _of_rows([both], values, grad)


def squares(y: np.ndarray, t: np.ndarray, factor: float, grad: np.ndarray) -> BatchLoss:
    """``factor Σ_k (y_k - t_k)²`` of each row."""
    square, values = _like(y), np.empty(len(y))
    calls: list[Call] = [
        partial(np.subtract, y, t, grad),
        partial(np.multiply, grad, grad, square),
        partial(np.add.reduce, square, 1, np.float64, values),
        partial(np.multiply, values, factor, values),
    ]
    if factor != 0.5:
        calls.append(partial(np.multiply, grad, 2 * factor, grad))
    return _of_rows(calls, values, grad)


def huber(y: np.ndarray, t: np.ndarray, delta: float, grad: np.ndarray) -> BatchLoss:
    """Mean over k of ``s (e - s / 2)`` with ``e = y_k - t_k``, clipped to delta being s."""
    error, half, values = _like(y), _like(y), np.empty(len(y))
    calls: list[Call] = [
        partial(np.subtract, y, t, error),
        partial(error.clip, -delta, delta, grad),
        partial(np.multiply, grad, 0.5, half),
        partial(np.subtract, error, half, error),
        partial(np.multiply, grad, error, error),
        *_mean_over_outputs(error, values, grad),
    ]
    return _of_rows(calls, values, grad)


def absolute(y: np.ndarray, t: np.ndarray, grad: np.ndarray) -> BatchLoss:
    """Mean over k of ``|y_k - t_k|``."""
    error, values = _like(y), np.empty(len(y))
    calls: list[Call] = [
        partial(np.subtract, y, t, error),
        partial(np.sign, error, grad),
        partial(np.abs, error, error),
        *_mean_over_outputs(error, values, grad),
    ]
    return _of_rows(calls, values, grad)


def poisson_sum(y: np.ndarray, t: np.ndarray, grad: np.ndarray) -> BatchLoss:
    """``Σ_k t_k log(t_k) - t_k - t_k y_k + exp(y_k)`` of each row, where ``0 log 0`` is 0."""
    known, product, values = _like(y), _like(y), np.empty(len(y), y.dtype)

    def t_log_t() -> None:
        np.multiply(t, np.log(np.where(t > 0, t, 1)), known)

    calls: list[Call] = [
        partial(np.exp, y, grad),
        partial(np.subtract, grad, t, grad),
        t_log_t,
        partial(np.multiply, t, y, product),
        partial(np.subtract, known, product, known),
        partial(np.add, known, grad, known),
        partial(np.add.reduce, known, 1, None, values),
    ]
    return _of_rows(calls, values, grad)


def _mean_over_outputs(each: np.ndarray, values: np.ndarray, grad: np.ndarray) -> list[Call]:
    width = each.shape[1]
    return [
        partial(np.add.reduce, each, 1, np.float64, values),
        partial(np.divide, values, width, values),
        partial(np.divide, grad, width, grad),
    ]


def _of_rows(calls: list[Call], values: np.ndarray, grad: np.ndarray) -> BatchLoss:
    """Weight the losses of rows and their gradients, which the calls write."""
    number = grad.dtype.type

    def loss(weights: np.ndarray | None, normalizer: float) -> float:
        for call in calls:
            call()
        if weights is None:
            np.divide(grad, number(normalizer), grad)
            return float(values.sum(dtype=np.float64) / normalizer)
        np.multiply(grad, (weights / normalizer).astype(number)[:, np.newaxis], grad)
        if not weights.all():  # no rows at all, whatever they hold
            values[weights == 0], grad[weights == 0] = 0, 0
        return float(weights @ values / normalizer)

    return loss


def _like(y: np.ndarray) -> np.ndarray:
    """Return an array for passes over outputs."""
    return np.empty(y.shape, y.dtype, order="F" if y.shape[1] < _FEW else "C")


# ---------------------------------------------------------------- rules


def descent(p: np.ndarray, g: np.ndarray, numbers: Numbers, spare: np.ndarray) -> None:
    """``p ← p - a g``."""
    np.multiply(g, numbers[0], spare[0])
    np.subtract(p, spare[0], p)


def momentum(
    p: np.ndarray, g: np.ndarray, numbers: Numbers, spare: np.ndarray, u: np.ndarray
) -> None:
    """``u ← a u + g;  p ← p - b u - c g``."""
    a, b, c = numbers[:3]
    np.multiply(u, a, u)
    np.add(u, g, u)
    np.multiply(u, b, spare[0])
    np.subtract(p, spare[0], p)
    if c:
        np.multiply(g, c, spare[0])
        np.subtract(p, spare[0], p)


def velocity(
    p: np.ndarray, g: np.ndarray, numbers: Numbers, spare: np.ndarray, u: np.ndarray
) -> None:
    """``u ← a u - b g;  p ← p + c u - d g``."""
    a, b, c, d = numbers[:4]
    np.multiply(u, a, u)
    np.multiply(g, b, spare[0])
    np.subtract(u, spare[0], u)
    if d:
        np.multiply(g, d, spare[0])
        np.subtract(p, spare[0], p)
    np.multiply(u, c, spare[0])
    np.add(p, spare[0], p)


def moments(
    p: np.ndarray,
    g: np.ndarray,
    numbers: Numbers,
    spare: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
) -> None:
    """``p ← p - (of_m m + of_g g) / (sqrt(v) + eps)``, m averaging g and v its square.

    The numbers are beta1, beta2, of_m, of_g and eps.
    """
    beta1, beta2, of_m, of_g, eps = numbers
    root, direction = spare
    np.multiply(m, beta1, m)
    np.multiply(g, 1 - beta1, direction)
    np.add(m, direction, m)
    np.multiply(v, beta2, v)
    np.multiply(g, g, root)
    np.multiply(root, 1 - beta2, root)
    np.add(v, root, v)
    np.sqrt(v, root)
    np.add(root, eps, root)
    np.multiply(m, of_m, direction)
    if of_g:
        direction += of_g * g
    np.divide(direction, root, direction)
    np.subtract(p, direction, p)
