"""Batches of a whole epoch in one compiled call, on one thread: the operations of its program.

Whoever trains leaves networks to others whose products are worth a second thread. The loops are
those of the other kernels, so that the bits are those of the layers.
"""

import functools
from typing import Any

import numba
import numpy as np

from layerkit.kernels._numba import activations, cross_entropy, dense, normalization, optimizers
from layerkit.kernels._numba import elementary as of_one
from layerkit.kernels._numba.blas import (
    addresses,
    multiply,
    multiply_by_transpose,
    multiply_transposed,
)
from layerkit.kernels._numba.compile import FLAGS, inline, jit
from layerkit.kernels._numba.programs import Operation, block, flushing, run
from layerkit.kernels._numpy.epochs import (
    ABSOLUTE_ERROR,
    ASIDE,
    BATCH_NORM,
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    DENSE,
    DESCENT,
    DRAWN,
    DROPOUT,
    ELU,
    FIRST,
    GELU,
    GRAD,
    HUBER,
    IDENTITY,
    KIND,
    LAYERS,
    LEAKY_RELU,
    MISH,
    MOMENTS,
    MOMENTUM,
    N_IN,
    N_OUT,
    PASSED,
    POISSON_SUM,
    RELU,
    SECOND,
    SIGMOID,
    SIGMOID_SUM,
    SILU,
    SOFTMAX_SUM,
    SOFTPLUS,
    SQUARED_ERROR,
    STEPS,
    TANH,
    VELOCITY,
    X,
    Y,
)
from layerkit.kernels.blas import one_blas_thread

_START, _STOP, _DECAYS = range(3)  # of a row for a segment of the parameters
_NORMALIZER, _KEEP, _DECAY, _A, _B, _C, _D, _E = range(len(STEPS))


def takes_epochs(dtype):
    """Where NumPy's BLAS is known."""
    return addresses(np.dtype(dtype)) is not None


def train_epoch(
    X, labels, targets, weights, order, bounds, layers, numbers, flat_params, flat_grads, running,
    words, loss, of_loss, penalized, rule, segments, memory, steps, losses, scratch,
):  # fmt: skip
    program, operands = _assembled(
        X.dtype, layers.tobytes(), numbers.tobytes(), loss, of_loss, penalized, rule,
        segments.tobytes(),
    )  # fmt: skip
    n_rows = int((bounds[:, 1] - bounds[:, 0]).max(initial=0))
    with one_blas_thread(), flushing():
        return run(
            program.copy(), operands, bounds, steps, losses, X, labels, targets, weights, order,
            flat_params, flat_grads, running, words, memory, scratch, addresses(X.dtype),
            np.empty(n_rows, np.int64), np.empty((n_rows, targets.shape[1]), X.dtype),
            np.empty(n_rows),
        )  # fmt: skip


@functools.lru_cache
def _assembled(
    dtype: np.dtype,
    layers: bytes,
    numbers: bytes,
    loss: int,
    of_loss: tuple[float, float],
    penalized: bool,
    rule: int,
    segments: bytes,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the program of a step, and the numbers that belong to its rows."""
    table = np.frombuffer(layers, np.int64).reshape(-1, len(LAYERS)).tolist()
    pairs = np.frombuffer(numbers).reshape(-1, 2).tolist()
    rows = [(row, pair) for row, pair in zip(table, pairs, strict=True) if row[KIND] != IDENTITY]
    ends = [0] * len(LAYERS)
    ends[N_IN], ends[X], ends[N_OUT] = table[0][N_IN], table[0][X], table[-1][N_OUT]
    ends[Y], ends[GRAD] = table[-1][Y], table[-1][GRAD]
    nothing = (0.0, 0.0)
    more = [0] * (len(LAYERS) - 3)
    spans = [(*span, *more) for span in np.frombuffer(segments, np.int64).reshape(-1, 3).tolist()]
    program = [
        (_gather, ends, nothing),
        *((_FORWARD[row[KIND]], row, pair) for row, pair in rows),
        (_LOSSES[loss], ends, of_loss),
        *((_penalty, span, nothing) for span in spans if penalized and span[_DECAYS]),
        *((_BACKWARD[row[KIND]], row, pair) for row, pair in reversed(rows)),
        *((_RULES[rule], span, nothing) for span in spans),
    ]
    addressed = [(operation.address(dtype), *operands) for operation, operands, _ in program]
    return np.array(addressed, np.int64), np.array([pair for _, _, pair in program])


def _copied(kernel: Any) -> Any:
    """Make a kernel part of the operation that calls it.

    One that is only called has a copy in the operation and one in its own file, and which of them
    runs would depend on what the process loaded first: their last bits may differ.
    """
    options = {**kernel.targetoptions, "forceinline": True}
    del options["nopython"]  # which njit sets itself
    return numba.njit(**options)(kernel.py_func)


_softmax_cross_entropy = _copied(cross_entropy._cross_entropy)
_sigmoid_cross_entropy = _copied(cross_entropy._binary_cross_entropy)
_moments_of = _copied(normalization._moments)
_statistics = _copied(normalization._statistics)
_standardize = _copied(normalization._standardize)
_sums_of_part = _copied(normalization._sums_of_part)
_slopes = _copied(normalization._slopes)
_norm_grad = _copied(normalization._batch_norm_grad)


@Operation
def _gather(start, stop, row, numbers, step, data):
    """Copy the rows of a batch."""
    n_in, x = row[N_IN], row[X]
    for r in range(stop - start):
        here = data.order[start + r] if data.order.size else start + r
        for k in range(n_in):
            data.scratch[x + r * n_in + k] = data.X[here, k]
        if data.labels.size:
            data.batch_labels[r] = data.labels[here]
        else:
            for k in range(row[N_OUT]):
                data.batch_targets[r, k] = data.targets[here, k]
        data.batch_weights[r] = (data.weights[here] if data.weights.size else 1.0) / step[
            _NORMALIZER
        ]
    return 0.0


# ---------------------------------------------------------------- layers


@Operation
def _dense(start, stop, row, numbers, step, data):
    n, n_in, n_out, first, second = stop - start, row[N_IN], row[N_OUT], row[FIRST], row[SECOND]
    y = block(data.scratch, row[Y], n, n_out)
    W = block(data.params, first, n_in, n_out)
    multiply(data.blas, block(data.scratch, row[X], n, n_in), W, y)
    if second >= 0:
        dense._add_row(y, block(data.params, second, n_out))
    return 0.0


@Operation
def _dense_grad(start, stop, row, numbers, step, data):
    n, n_in, n_out, first, second = stop - start, row[N_IN], row[N_OUT], row[FIRST], row[SECOND]
    x, grad = block(data.scratch, row[X], n, n_in), block(data.scratch, row[GRAD], n, n_out)
    of_W = block(data.grads, first, n_in, n_out)
    if n_in == 1 or n == 1:  # which BLAS takes for a vector
        of_W[:] = 0
        for r in range(n):
            for j in range(n_in):
                for c in range(n_out):
                    of_W[j, c] += x[r, j] * grad[r, c]
    else:
        multiply_transposed(data.blas, x, grad, of_W)
    if second >= 0:
        dense._sum_rows(grad, block(data.grads, second, n_out))
    if row[PASSED] >= 0:
        W = block(data.params, first, n_in, n_out)
        multiply_by_transpose(data.blas, grad, W, block(data.scratch, row[PASSED], n, n_in))
    return 0.0


@inline
def _words(n, row, numbers):
    """How many random words the mask of a batch takes."""
    return -(-n * row[N_OUT] * np.int64(numbers[1]) // 64)


@Operation
def _dropout(start, stop, row, numbers, step, data):
    size, n_words = (stop - start) * row[N_OUT], _words(stop - start, row, numbers)
    words = block(data.words, row[DRAWN], n_words)
    x, y = block(data.scratch, row[X], size), block(data.scratch, row[Y], size)
    _drop(x, words, numbers[0], numbers[1], y)
    row[DRAWN] += n_words  # where those of the next batch begin
    return 0.0


@Operation
def _dropout_grad(start, stop, row, numbers, step, data):
    size, n_words = (stop - start) * row[N_OUT], _words(stop - start, row, numbers)
    words = block(data.words, row[DRAWN], n_words)
    grad, passed = block(data.scratch, row[GRAD], size), block(data.scratch, row[PASSED], size)
    _drop(grad, words, numbers[0], numbers[1], passed)
    row[DRAWN] += n_words
    return 0.0


@jit
def _drop(x, words, threshold, bits, y):
    """Keep values whose 8 or 16 bits of the words are below the threshold, and scale them."""
    scale = x.dtype.type(2.0**bits / threshold)
    if bits == 8:
        draws = words.view(np.uint8)
        for i in range(x.size):
            y[i] = x[i] * x.dtype.type(draws[i] < threshold) * scale
    else:
        more = words.view(np.uint16)
        for i in range(x.size):
            y[i] = x[i] * x.dtype.type(more[i] < threshold) * scale


@Operation
def _batch_norm(start, stop, row, numbers, step, data):
    """Standardise and track the statistics; keep the two parts of the mean and 1 / deviation."""
    n, channels, aside, drawn = stop - start, row[N_IN], row[ASIDE], row[DRAWN]
    x, y = block(data.scratch, row[X], n, channels), block(data.scratch, row[Y], n, channels)
    gamma = block(data.params, row[FIRST], channels)
    beta = block(data.params, row[SECOND], channels)
    parts = np.zeros((2, 1, channels))
    _moments_of(x, parts[0, 0], parts[1, 0])
    mean, inv_std, var, scale, shift = _statistics(parts[0], parts[1], x, gamma, beta, numbers[0])
    _standardize(x, y, mean[0], scale, shift)
    statistics = block(data.scratch, aside, 3, channels)
    for c in range(channels):
        statistics[0, c], statistics[1, c], statistics[2, c] = mean[0, c], mean[1, c], inv_std[c]
        mean[0, c] += mean[1, c]
    means = block(data.running, drawn, channels)
    variances = block(data.running, drawn + channels, channels)
    _track(means, mean[0], 1.0, numbers[1])
    _track(variances, var, n / (n - 1), numbers[1])
    return 0.0


@functools.partial(jit, flags=FLAGS - {"contract", "reassoc"})
def _track(running, of_batch, factor, momentum):
    """Let running statistics follow, rounding where the layer does."""
    number = running.dtype.type
    factor, momentum = number(factor), number(momentum)
    for c in range(running.size):
        running[c] += momentum * (factor * of_batch[c] - running[c])


@Operation
def _batch_norm_grad(start, stop, row, numbers, step, data):
    n, channels, first, second = stop - start, row[N_IN], row[FIRST], row[SECOND]
    x = block(data.scratch, row[X], n, channels)
    grad = block(data.scratch, row[GRAD], n, channels)
    statistics = block(data.scratch, row[ASIDE], 3, channels)
    mean, inv_std = statistics[:2], statistics[2]
    of_gamma = block(data.grads, first, channels)
    of_beta = block(data.grads, second, channels)
    _sums_of_part(grad, x, of_gamma, of_beta, mean[0])
    gamma = block(data.params, first, channels)
    scale, slope, shift = _slopes(grad, mean, inv_std, gamma, of_gamma, of_beta)
    passed = block(data.scratch, row[PASSED], n, channels)
    _norm_grad(grad, x, passed, mean[0], scale, slope, shift)
    return 0.0


# ---------------------------------------------------------------- activations


def _pointwise(loop: Any, *columns: int, n_numbers: int = 0) -> Operation:
    """Make an operation of ``loop(*vectors, *numbers)``; a row says where the vectors begin."""
    loop = _copied(loop)
    a, b, c, d = (*columns, *columns)[:4]
    n_vectors = len(columns)

    def operation(start, stop, row, numbers, step, data):
        size, scratch = (stop - start) * row[N_OUT], data.scratch
        u, v = block(scratch, row[a], size), block(scratch, row[b], size)
        w, z = block(scratch, row[c], size), block(scratch, row[d], size)
        if n_vectors == 2 and n_numbers == 0:
            loop(u, v)
        elif n_vectors == 2 and n_numbers == 1:
            loop(u, v, numbers[0])
        elif n_vectors == 2:
            loop(u, v, numbers[0], numbers[1])
        elif n_vectors == 3 and n_numbers == 0:
            loop(u, v, w)
        elif n_vectors == 3 and n_numbers == 1:
            loop(u, v, w, numbers[0])
        elif n_vectors == 3:
            loop(u, v, w, numbers[0], numbers[1])
        else:
            loop(u, v, w, z)
        return 0.0

    # A name of its own in the cache on disk.
    operation.__name__ = operation.__qualname__ = f"{loop.__name__}_of_rows"
    return Operation(operation)


_FORWARD = {
    DENSE: _dense,
    DROPOUT: _dropout,
    BATCH_NORM: _batch_norm,
    RELU: _pointwise(activations.relu_loop, X, Y),
    SIGMOID: _pointwise(activations.sigmoid_loop, X, Y),
    TANH: _pointwise(activations.tanh_loop, X, Y),
    SOFTPLUS: _pointwise(activations.softplus_loop, X, Y),
    LEAKY_RELU: _pointwise(activations.leaky_relu_loop, X, Y, n_numbers=1),
    ELU: _pointwise(activations.elu_loop, X, Y, n_numbers=2),
    GELU: _pointwise(activations.gelu_loop, X, Y, ASIDE),
    SILU: _pointwise(activations.silu_loop, X, Y, ASIDE),
    MISH: _pointwise(activations.mish_loop, X, Y, ASIDE),
}
_BACKWARD = {
    DENSE: _dense_grad,
    DROPOUT: _dropout_grad,
    BATCH_NORM: _batch_norm_grad,
    RELU: _pointwise(activations.relu_grad_loop, GRAD, Y, PASSED),
    SIGMOID: _pointwise(activations.sigmoid_grad_loop, GRAD, Y, PASSED),
    TANH: _pointwise(activations.tanh_grad_loop, GRAD, Y, PASSED),
    SOFTPLUS: _pointwise(activations.softplus_grad_loop, GRAD, X, PASSED),
    LEAKY_RELU: _pointwise(activations.leaky_relu_grad_loop, GRAD, Y, PASSED, n_numbers=1),
    ELU: _pointwise(activations.elu_grad_loop, GRAD, Y, PASSED, n_numbers=2),
    GELU: _pointwise(activations.gelu_grad_loop, GRAD, X, ASIDE, PASSED),
    SILU: _pointwise(activations.silu_grad_loop, GRAD, X, ASIDE, PASSED),
    MISH: _pointwise(activations.mish_grad_loop, GRAD, X, ASIDE, PASSED),
}


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
    inlined = _copied(rule)

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


_LOSSES = {
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
def _penalty(start, stop, row, numbers, step, data):
    return (
        step[_DECAY]
        / 2
        * dense.sum_of_squares(block(data.params, row[_START], row[_STOP] - row[_START]))
    )


@inline
def _segment(row, step, data):
    """Return a segment's parameters, gradient, and what of them joins it."""
    size = row[_STOP] - row[_START]
    p, g = block(data.params, row[_START], size), block(data.grads, row[_START], size)
    return p, g, p.dtype.type(step[_DECAY] if row[_DECAYS] else 0.0)


@Operation
def _descent(start, stop, row, numbers, step, data):
    p, g, share = _segment(row, step, data)
    if share == 0:
        optimizers.descend(p, g, step[_A])
        return 0.0
    a = p.dtype.type(step[_A])
    for i in range(p.size):
        p[i] -= a * (g[i] + share * p[i])
    return 0.0


@Operation
def _momentum(start, stop, row, numbers, step, data):
    p, g, share = _segment(row, step, data)
    number = p.dtype.type
    a, b, c = number(step[_A]), number(step[_B]), number(step[_C])
    u = block(data.memory, row[_START], p.size)
    for i in range(p.size):
        grad = g[i] + share * p[i]
        u[i] = a * u[i] + grad
        p[i] -= b * u[i] + c * grad
    return 0.0


@Operation
def _velocity(start, stop, row, numbers, step, data):
    p, g, share = _segment(row, step, data)
    number = p.dtype.type
    a, b, c, d = number(step[_A]), number(step[_B]), number(step[_C]), number(step[_D])
    u = block(data.memory, row[_START], p.size)
    for i in range(p.size):
        grad = g[i] + share * p[i]
        u[i] = a * u[i] - b * grad
        p[i] += c * u[i] - d * grad
    return 0.0


@Operation
def _moments(start, stop, row, numbers, step, data):
    p, g, share = _segment(row, step, data)
    number = p.dtype.type
    new1, new2 = number(1 - step[_A]), number(1 - step[_B])
    beta1, beta2, of_m = number(step[_A]), number(step[_B]), number(step[_C])
    of_g, eps, keep = (
        number(step[_D]), number(step[_E]), number(step[_KEEP] if row[_DECAYS] else 1.0),
    )  # fmt: skip
    m = block(data.memory, row[_START], p.size)
    v = block(data.memory, data.params.size + row[_START], p.size)
    for i in range(p.size):
        grad = g[i] + share * p[i]
        m[i] = beta1 * m[i] + new1 * grad
        v[i] = beta2 * v[i] + new2 * grad * grad
        p[i] = keep * p[i] - (of_m * m[i] + of_g * grad) / (np.sqrt(v[i]) + eps)
    return 0.0


_RULES = {DESCENT: _descent, MOMENTUM: _momentum, VELOCITY: _velocity, MOMENTS: _moments}
