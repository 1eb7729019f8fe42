"""Dense layers and activations in a row, compiled; the NumPy version says what is computed."""

import numpy as np

from layerkit.kernels._numba.activations import (
    _relu,
    _relu_grad,
    _sigmoid_grad,
    _tanh,
    _tanh_grad,
)
from layerkit.kernels._numba.blas import (
    addresses,
    multiply,
    multiply_by_transpose,
    multiply_transposed,
)
from layerkit.kernels._numba.compile import inline, jit, plain
from layerkit.kernels._numba.elementwise import _sigmoid
from layerkit.kernels._numba.products import is_cut_up, is_shared, multiply_in_parts
from layerkit.kernels._numba.sums import _add_row, sum_rows_in_parts
from layerkit.kernels._numba.team import ALL, bounds, new_board, post, share
from layerkit.kernels._numba.threads import PASS, WORTHWHILE, n_threads, posting
from layerkit.kernels._numpy import perceptrons as reference
from layerkit.kernels._numpy.perceptrons import RELU, SIGMOID, TANH
from layerkit.kernels.blas import one_blas_thread

_NO_BOARD = new_board()  # where nothing is shared


def perceptron(
    x: np.ndarray, flat_params: np.ndarray, run: np.ndarray, hidden: np.ndarray, y: np.ndarray
) -> bool:
    """Overwrite ``hidden`` and ``y``; False without NumPy's own BLAS, or for rare cases.

    Those are products with a single column of input, which NumPy makes in yet another way, and
    float64 activations with an exponential, which are not compiled.
    """
    blas = addresses(x.dtype)
    if blas is None:
        return False
    if not _is_cut_up(run, len(x), flat_params.size):
        return _forward(_NO_BOARD, 1, blas, x, flat_params, run, hidden, y)
    threads = n_threads()
    with one_blas_thread(), posting(threads) as board:
        return _forward(board, threads, blas, x, flat_params, run, hidden, y)


def _is_cut_up(run: np.ndarray, n_rows: int, n_params: int) -> bool:
    """Whether a product of the run is; that a small network has none is seen at once."""
    return is_cut_up(n_rows * n_params) and is_cut_up(n_rows * _largest(run))


@jit
def _largest(run):
    """Size of the largest matrix of weights."""
    largest = 0
    for n_in, units, _, _, _ in run:
        largest = max(largest, n_in * units)
    return largest


@jit
def _forward(board, threads, blas, x, flat_params, run, hidden, y):
    for n_in, _, _, _, activation in run:
        if n_in == 1 or (x.itemsize == 8 and activation > RELU):
            return False
    start, last = 0, len(run) - 1
    for k in range(len(run)):
        n_in, units, W, b, activation = run[k]
        stop = start + len(x) * units
        out = y if k == last else hidden[start:stop].reshape(len(x), units)
        weights = flat_params[W : W + n_in * units].reshape(n_in, units)
        if is_shared(threads, len(x), n_in, units):
            multiply_in_parts(board, threads, blas, x, weights, out)
        else:
            multiply(blas, x, weights, out)
        bias = flat_params[b : b + units] if b >= 0 else flat_params[:0]
        parts = _passes(threads, out.size)
        _finish(board, ALL if parts > 1 else 0, parts, out, bias, activation)
        x, start = out, stop
    return True


@inline
def _passes(threads, size):
    """Into how many parts a pass over so many numbers is cut."""
    return min(threads, max(1, int(PASS * size / WORTHWHILE)))


@jit
def _finish(board, part, parts, out, bias, activation):
    """Add the bias and apply the activation, to a part of the rows."""
    if part == ALL:
        post(board, parts, (out, bias, activation))
        return share(board, parts)
    start, stop = bounds(len(out), parts, part)
    out = out[start:stop]
    if bias.size:
        _add_row(out, bias)
    flat = out.reshape(-1)
    if activation == RELU:
        _relu(flat, flat)
    elif activation == TANH:
        _tanh(flat, flat)
    elif activation == SIGMOID:
        _sigmoid(flat, flat)
    return True


def perceptron_grad(
    grad: np.ndarray,
    x: np.ndarray,
    flat_params: np.ndarray,
    run: np.ndarray,
    hidden: np.ndarray,
    y: np.ndarray,
    flat_grads: np.ndarray,
    grad_input: np.ndarray,
) -> None:
    """Overwrite the run's part of ``flat_grads``, and ``grad_input`` unless it is empty."""
    arguments = x, flat_params, run, hidden, y, flat_grads, grad_input
    blas = addresses(x.dtype)
    if blas is None:  # then the forward ran in NumPy, before the kernels were exchanged
        reference.perceptron_grad(grad, *arguments)
        return
    if not _is_cut_up(run, len(x), flat_params.size):
        _backward(_NO_BOARD, 1, blas, plain(grad), *arguments)
        return
    threads = n_threads()
    with one_blas_thread(), posting(threads) as board:
        _backward(board, threads, blas, plain(grad), *arguments)


@jit
def _backward(board, threads, blas, grad, x, flat_params, run, hidden, y, flat_grads, grad_input):
    n_rows, stop = len(x), hidden.size
    for k in range(len(run) - 1, -1, -1):
        n_in, units, W, b, activation = run[k]
        start = stop - n_rows * n_in
        inputs = hidden[start:stop].reshape(n_rows, n_in) if k else x
        if activation:
            local = np.empty_like(grad)
            of_y, of_grad, of_local = y.reshape(-1), grad.reshape(-1), local.reshape(-1)
            parts = _passes(threads, grad.size)
            _local(board, ALL if parts > 1 else 0, parts, of_y, of_grad, of_local, activation)
            grad = local
        end = W + n_in * units
        weights = flat_params[W:end].reshape(n_in, units)
        of_weights = flat_grads[W:end].reshape(n_in, units)
        shared = is_shared(threads, n_rows, n_in, units)
        if shared:
            multiply_in_parts(board, threads, blas, inputs.T, grad, of_weights)
        else:
            multiply_transposed(blas, inputs, grad, of_weights)
        if b >= 0:
            sum_rows_in_parts(board, threads, grad, flat_grads[b : b + units])
        if k or grad_input.size:
            passed = np.empty((n_rows, n_in), grad.dtype) if k else grad_input
            if shared:
                multiply_in_parts(board, threads, blas, grad, weights.T, passed)
            else:
                multiply_by_transpose(blas, grad, weights, passed)
            grad = passed
        y, stop = inputs, start


@jit
def _local(board, part, parts, y, grad, local, activation):
    """Multiply by the activation's derivative, a part of the numbers."""
    if part == ALL:
        post(board, parts, (y, grad, local, activation))
        return share(board, parts)
    start, stop = bounds(y.size, parts, part)
    y, grad, local = y[start:stop], grad[start:stop], local[start:stop]
    if activation == RELU:
        _relu_grad(grad, y, local)
    elif activation == TANH:
        _tanh_grad(grad, y, local)
    else:
        _sigmoid_grad(grad, y, local)
    return True
