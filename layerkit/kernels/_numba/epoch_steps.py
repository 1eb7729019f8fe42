"""What else a compiled epoch consists of: rows, losses, and the optimizers' steps."""

from typing import Any

import numpy as np

from layerkit.kernels._numba import cross_entropy, dense, optimizers
from layerkit.kernels._numba import elementary as of_one
from layerkit.kernels._numba.compile import copied, inline
from layerkit.kernels._numba.programs import Operation, block
from layerkit.kernels._numba.tile import copy
from layerkit.kernels._numpy.epochs import (
    ABSOLUTE_ERROR,
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    DESCENT,
    GRAD,
    HUBER,
    MOMENTS,
    MOMENTUM,
    N_IN,
    N_OUT,
    NO_STEP,
    POISSON_SUM,
    SIGMOID_SUM,
    SOFTMAX_SUM,
    SQUARED_ERROR,
    STEPS,
    VELOCITY,
    X,
    Y,
)

START, STOP, DECAYS = range(3)  # of a row for a segment of the parameters
_NORMALIZER, _KEEP, _DECAY, _A, _B, _C, _D, _E = range(len(STEPS))

_sum_of_squares = copied(dense.sum_of_squares)
_softmax_cross_entropy = copied(cross_entropy._cross_entropy)
_sigmoid_cross_entropy = copied(cross_entropy._binary_cross_entropy)


@Operation
def gather(start, stop, row, numbers, step, data):
    """Copy the rows of a batch."""
    n_in, n_out, x = row[N_IN], row[N_OUT], row[X]
    for r in range(stop - start):
        here = data.order[start + r] if data.order.size else start + r
        copy(data.X, here * n_in, data.scratch, x + r * n_in, n_in)
        if data.labels.size:
            data.batch_labels[r] = data.labels[here]
        else:
            copy(data.targets, here * n_out, data.batch_targets, r * n_out, n_out)
        data.batch_weights[r] = (data.weights[here] if data.weights.size else 1.0) / step[
            _NORMALIZER
        ]
    return 0.0


# ---------------------------------------------------------------- losses


@Operation
def _cross_entropy(start, stop, row, numbers, step, data):
    n = stop - start
    y = block(data.scratch, row[Y], n, row[N_OUT])
    grad = block(data.scratch, row[GRAD], n, row[N_OUT])
    labels, weights = block(data.batch_labels, 0, n), block(data.batch_weights, 0, n)
    return _softmax_cross_entropy(y, labels, weights, numbers[0], grad)


@Operation
def _binary_cross_entropy(start, stop, row, numbers, step, data):
    n = stop - start
    y = block(data.scratch, row[Y], n, row[N_OUT])
    grad = block(data.scratch, row[GRAD], n, row[N_OUT])
    t, weights = data.batch_targets[:n], block(data.batch_weights, 0, n)
    return _sigmoid_cross_entropy(y, t, weights, numbers[0], numbers[1], grad)


def _of_outputs(rule: Any) -> Operation:
    """Make an operation of ``rule(y, t, number, values, grad)``: the loss of each row, weighted."""
    inlined = copied(rule)

    def operation(start, stop, row, numbers, step, data):
        n = stop - start
        y = block(data.scratch, row[Y], n, row[N_OUT])
        grad = block(data.scratch, row[GRAD], n, row[N_OUT])
        values = np.empty(n, y.dtype)
        inlined(y, data.batch_targets, numbers[0], values, grad)
        return _weighted(values, data.batch_weights, grad)

    operation.__name__ = operation.__qualname__ = f"{rule.__name__}_of_rows"
    return Operation(operation)


@inline
def _weighted(values, weights, grad):
    """Return the loss of a batch, and scale the gradient; a weight of 0 is no row at all."""
    total = 0.0
    for r in range(values.size):
        if weights[r] == 0:
            grad[r] = 0
            continue
        total += weights[r] * values[r]
        weight = values.dtype.type(weights[r])
        for k in range(grad.shape[1]):
            grad[r, k] *= weight
    return total


@inline
def _squares(y, t, factor, values, grad):
    slope = y.dtype.type(2) * y.dtype.type(factor)
    for r in range(values.size):
        value = 0.0
        for k in range(y.shape[1]):
            error = y[r, k] - t[r, k]
            value += factor * np.float64(error) * np.float64(error)
            grad[r, k] = slope * error
        values[r] = value


@inline
def _huber(y, t, delta, values, grad):
    width, half, delta = y.dtype.type(y.shape[1]), y.dtype.type(0.5), y.dtype.type(delta)
    for r in range(values.size):
        value = 0.0
        for k in range(y.shape[1]):
            error = y[r, k] - t[r, k]
            slope = delta if error > delta else -delta if error < -delta else error
            value += np.float64(slope * (error - slope * half)) / y.shape[1]
            grad[r, k] = slope / width
        values[r] = value


@inline
def _absolute(y, t, number, values, grad):
    width = y.dtype.type(y.shape[1])
    for r in range(values.size):
        value = 0.0
        for k in range(y.shape[1]):
            error = y[r, k] - t[r, k]
            value += np.float64(abs(error)) / y.shape[1]
            grad[r, k] = optimizers._sign(error) / width
        values[r] = value


@inline
def _poisson(y, t, number, values, grad):
    zero = y.dtype.type(0)
    for r in range(values.size):
        value = 0.0
        for k in range(y.shape[1]):
            grad[r, k] = of_one.exp(y[r, k]) - t[r, k]
            known = t[r, k] * np.log(t[r, k]) if t[r, k] > 0 else zero
            value += known - t[r, k] * y[r, k] + grad[r, k]
        values[r] = value


LOSSES = {
    CROSS_ENTROPY: _cross_entropy,
    BINARY_CROSS_ENTROPY: _binary_cross_entropy,
    SOFTMAX_SUM: _of_outputs(cross_entropy._of_softmax),
    SIGMOID_SUM: _of_outputs(cross_entropy._of_sigmoid),
    SQUARED_ERROR: _of_outputs(_squares),
    HUBER: _of_outputs(_huber),
    ABSOLUTE_ERROR: _of_outputs(_absolute),
    POISSON_SUM: _of_outputs(_poisson),
}


# ---------------------------------------------------------------- optimizers


@Operation
def penalty(start, stop, row, numbers, step, data):
    return (
        step[_DECAY] / 2 * _sum_of_squares(block(data.params, row[START], row[STOP] - row[START]))
    )


@inline
def _segment(row, step, params, grads):
    """Return a segment's parameters, gradient, and what of them joins it."""
    size = row[STOP] - row[START]
    p, g = block(params, row[START], size), block(grads, row[START], size)
    return p, g, p.dtype.type(step[_DECAY] if row[DECAYS] else 0.0)


@Operation
def _no_step(start, stop, row, numbers, step, data):
    return 0.0


@Operation
def _descent(start, stop, row, numbers, step, data):
    p, g, share = _segment(row, step, data.params, data.grads)
    if share == 0:
        optimizers.descend(p, g, step[_A])
        return 0.0
    a = p.dtype.type(step[_A])
    for i in range(p.size):
        p[i] -= a * (g[i] + share * p[i])
    return 0.0


@Operation
def _momentum(start, stop, row, numbers, step, data):
    p, g, share = _segment(row, step, data.params, data.grads)
    number = p.dtype.type
    a, b, c = number(step[_A]), number(step[_B]), number(step[_C])
    u = block(data.memory, row[START], p.size)
    for i in range(p.size):
        grad = g[i] + share * p[i]
        u[i] = a * u[i] + grad
        p[i] -= b * u[i] + c * grad
    return 0.0


@Operation
def _velocity(start, stop, row, numbers, step, data):
    p, g, share = _segment(row, step, data.params, data.grads)
    number = p.dtype.type
    a, b, c, d = number(step[_A]), number(step[_B]), number(step[_C]), number(step[_D])
    u = block(data.memory, row[START], p.size)
    for i in range(p.size):
        grad = g[i] + share * p[i]
        u[i] = a * u[i] - b * grad
        p[i] += c * u[i] - d * grad
    return 0.0


@Operation
def _moments(start, stop, row, numbers, step, data):
    p, g, share = _segment(row, step, data.params, data.grads)
    number = p.dtype.type
    new1, new2 = number(1 - step[_A]), number(1 - step[_B])
    beta1, beta2, of_m = number(step[_A]), number(step[_B]), number(step[_C])
    of_g, eps, keep = (
        number(step[_D]), number(step[_E]), number(step[_KEEP] if row[DECAYS] else 1.0),
    )  # fmt: skip
    m = block(data.memory, row[START], p.size)
    v = block(data.memory, data.params.size + row[START], p.size)
    for i in range(p.size):
        grad = g[i] + share * p[i]
        m[i] = beta1 * m[i] + new1 * grad
        v[i] = beta2 * v[i] + new2 * grad * grad
        p[i] = keep * p[i] - (of_m * m[i] + of_g * grad) / (np.sqrt(v[i]) + eps)
    return 0.0


RULES = {
    NO_STEP: _no_step,
    DESCENT: _descent,
    MOMENTUM: _momentum,
    VELOCITY: _velocity,
    MOMENTS: _moments,
}
