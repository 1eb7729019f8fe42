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
from layerkit.kernels._numba.compile import jit, plain
from layerkit.kernels._numba.elementwise import _sigmoid
from layerkit.kernels._numba.products import is_cut_up
from layerkit.kernels._numba.sums import _add_row, _sum_rows
from layerkit.kernels._numpy import perceptrons as reference
from layerkit.kernels._numpy.perceptrons import RELU, SIGMOID, TANH
from layerkit.kernels.blas import has_one_thread


def perceptron(
    x: np.ndarray, flat_params: np.ndarray, run: np.ndarray, hidden: np.ndarray, y: np.ndarray
) -> bool:
    """Overwrite ``hidden`` and ``y``; False without NumPy's own BLAS, or for rare cases.

    Those are products with a single column of input, which NumPy makes in yet another way, large
    ones that `products.matmul` cuts up, and float64 activations with an exponential, which are not
    compiled.
    """
    blas = addresses(x.dtype)
    if blas is None or (has_one_thread() and _is_cut_up(run, len(x))):
        return False
    return _forward(blas, x, flat_params, run, hidden, y)


def _is_cut_up(run: np.ndarray, n_rows: int) -> bool:
    return any(is_cut_up(n_rows * n_in * units) for n_in, units, *_ in run.tolist())


@jit
def _forward(blas, x, flat_params, run, hidden, y):
    for n_in, _, _, _, activation in run:
        if n_in == 1 or (x.itemsize == 8 and activation > RELU):
            return False
    start, last = 0, len(run) - 1
    for k in range(len(run)):
        n_in, units, W, b, activation = run[k]
        stop = start + len(x) * units
        out = y if k == last else hidden[start:stop].reshape(len(x), units)
        multiply(blas, x, flat_params[W : W + n_in * units].reshape(n_in, units), out)
        if b >= 0:
            _add_row(out, flat_params[b : b + units])
        flat = out.reshape(-1)
        if activation == RELU:
            _relu(flat, flat)
        elif activation == TANH:
            _tanh(flat, flat)
        elif activation == SIGMOID:
            _sigmoid(flat, flat)
        x, start = out, stop
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
    else:
        _backward(blas, plain(grad), *arguments)


@jit
def _backward(blas, grad, x, flat_params, run, hidden, y, flat_grads, grad_input):
    n_rows, stop = len(x), hidden.size
    for k in range(len(run) - 1, -1, -1):
        n_in, units, W, b, activation = run[k]
        start = stop - n_rows * n_in
        inputs = hidden[start:stop].reshape(n_rows, n_in) if k else x
        if activation:
            local = np.empty_like(grad)
            of_y, of_grad, of_local = y.reshape(-1), grad.reshape(-1), local.reshape(-1)
            if activation == RELU:
                _relu_grad(of_grad, of_y, of_local)
            elif activation == TANH:
                _tanh_grad(of_grad, of_y, of_local)
            else:
                _sigmoid_grad(of_grad, of_y, of_local)
            grad = local
        end = W + n_in * units
        multiply_transposed(blas, inputs, grad, flat_grads[W:end].reshape(n_in, units))
        if b >= 0:
            _sum_rows(grad, flat_grads[b : b + units])
        if k or grad_input.size:
            passed = np.empty((n_rows, n_in), grad.dtype) if k else grad_input
            weights = flat_params[W:end].reshape(n_in, units)
            multiply_by_transpose(blas, grad, weights, passed)
            grad = passed
        y, stop = inputs, start
