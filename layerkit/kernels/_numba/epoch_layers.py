"""What layers do in a compiled epoch, forward and backward, as operations of its program.

The loops are those of the other kernels, so that the bits are those of the layers.
"""

import functools
from typing import Any

import numpy as np

from layerkit.kernels._numba import activations, dense, normalization
from layerkit.kernels._numba.blas import multiply, multiply_by_transpose, multiply_transposed
from layerkit.kernels._numba.compile import FLAGS, copied, inline, jit
from layerkit.kernels._numba.programs import Operation, block
from layerkit.kernels._numpy.epochs import (
    ASIDE,
    BATCH_NORM,
    DENSE,
    DRAWN,
    DROPOUT,
    ELU,
    FIRST,
    GELU,
    GRAD,
    LEAKY_RELU,
    MISH,
    N_IN,
    N_OUT,
    PASSED,
    RELU,
    SECOND,
    SIGMOID,
    SILU,
    SOFTPLUS,
    TANH,
    X,
    Y,
)

_add_row, _sum_rows = copied(dense._add_row), copied(dense._sum_rows)
_moments_of = copied(normalization._moments)
_statistics = copied(normalization._statistics)
_standardize = copied(normalization._standardize)
_sums_of_part = copied(normalization._sums_of_part)
_slopes = copied(normalization._slopes)
_norm_grad = copied(normalization._batch_norm_grad)


@Operation
def _dense(start, stop, row, numbers, step, data):
    n, n_in, n_out, first, second = stop - start, row[N_IN], row[N_OUT], row[FIRST], row[SECOND]
    y = block(data.scratch, row[Y], n, n_out)
    W = block(data.params, first, n_in, n_out)
    multiply(data.blas, block(data.scratch, row[X], n, n_in), W, y)
    if second >= 0:
        _add_row(y, block(data.params, second, n_out))
    return 0.0


@Operation
def _dense_grad(start, stop, row, numbers, step, data):
    n, n_in, n_out, first, second = stop - start, row[N_IN], row[N_OUT], row[FIRST], row[SECOND]
    x, grad = block(data.scratch, row[X], n, n_in), block(data.scratch, row[GRAD], n, n_out)
    of_W = block(data.grads, first, n_in, n_out)
    multiply_transposed(data.blas, x, grad, of_W)
    if second >= 0:
        _sum_rows(grad, block(data.grads, second, n_out))
    if row[PASSED] >= 0:
        W = block(data.params, first, n_in, n_out)
        passed = block(data.scratch, row[PASSED], n, n_in)
        if n_out == 1:  # a loop is faster than BLAS
            for r in range(n):
                for j in range(n_in):
                    passed[r, j] = grad[r, 0] * W[j, 0]
        else:
            multiply_by_transpose(data.blas, grad, W, passed)
    return 0.0


@Operation
def dense_relu(start, stop, row, numbers, step, data):
    """A Dense and the ReLU after it, where the bias joins in the same pass."""
    n, n_in, n_out = stop - start, row[N_IN], row[N_OUT]
    y, zero = block(data.scratch, row[Y], n, n_out), data.scratch.dtype.type(0)
    W = block(data.params, row[FIRST], n_in, n_out)
    b = block(data.params, row[SECOND], n_out)
    multiply(data.blas, block(data.scratch, row[X], n, n_in), W, y)
    for r in range(n):
        for k in range(n_out):
            total = y[r, k] + b[k]
            y[r, k] = zero if total < zero else total
    return 0.0


@Operation
def relu_grad_and_sums(start, stop, row, numbers, step, data):
    """A ReLU's gradient, and the one of the bias before it in the same pass."""
    n, n_out = stop - start, row[N_OUT]
    grad, y = block(data.scratch, row[GRAD], n, n_out), block(data.scratch, row[Y], n, n_out)
    passed, of_b = block(data.scratch, row[PASSED], n, n_out), block(data.grads, row[SECOND], n_out)
    zero, one = y.dtype.type(0), y.dtype.type(1)
    part = np.empty_like(of_b)
    for k in range(n_out):
        of_b[k] = zero
    for first in range(0, n, dense.BLOCK):
        for k in range(n_out):
            part[k] = zero
        end = first + dense.BLOCK
        for r in range(first, end if end < n else n):
            for k in range(n_out):
                of_z = grad[r, k] * (one if y[r, k] > zero else zero)
                passed[r, k] = of_z
                part[k] += of_z
        for k in range(n_out):
            of_b[k] += part[k]
    return 0.0


@inline
def _words(n, row, numbers):
    """How many random words the mask of a batch takes."""
    return -(-n * row[N_OUT] * np.int64(numbers[1]) // 64)


@Operation
def _dropout(start, stop, row, numbers, step, data):
    size, n_words = (stop - start) * row[N_OUT], _words(stop - start, row, numbers)
    words = block(data.words, data.drawn[row[DRAWN]], n_words)
    x, y = block(data.scratch, row[X], size), block(data.scratch, row[Y], size)
    _drop(x, words, numbers[0], numbers[1], y)
    return 0.0


@Operation
def _dropout_grad(start, stop, row, numbers, step, data):
    size, n_words = (stop - start) * row[N_OUT], _words(stop - start, row, numbers)
    words = block(data.words, data.drawn[row[DRAWN]], n_words)
    grad, passed = block(data.scratch, row[GRAD], size), block(data.scratch, row[PASSED], size)
    _drop(grad, words, numbers[0], numbers[1], passed)
    data.drawn[row[DRAWN]] += n_words  # where those of the next batch begin
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
    loop = copied(loop)
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


FORWARD = {
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
BACKWARD = {
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
