"""Dense layers and activations in a row, one call for all: what a small network needs.

A multilayer perceptron with 64 units spends more time between its layers than in them. So runs of
Dense layers, each with an activation or none, are handed to these two functions, which compute
what the layers would one by one, to the last bit::

    y_k = f_k(y_{k-1} W_k + b_k)                          forward
    D_k = G_k f_k'(y_k)                                   backward, from the last to the first
    dL/dW_k = y_{k-1}ᵀ D_k,   dL/db_k = Σ_rows D_k,   G_{k-1} = D_k W_kᵀ

The run is described by a matrix of integers, a row for each Dense layer (`COLUMNS`), so that one
compiled function serves every depth. All y_k but the last stand one after the other in ``hidden``.
"""

from collections.abc import Iterator

import numpy as np

from layerkit.kernels._numpy import activations, elementwise
from layerkit.kernels._numpy.sums import add_row, sum_rows

# W and b are where they start in the flat vector; b is -1 where there is none.
COLUMNS = ("n_in", "units", "W", "b", "activation")
IDENTITY, RELU, SIGMOID, TANH = range(4)

_functions = {RELU: activations.relu, SIGMOID: elementwise.sigmoid, TANH: activations.tanh}
_backwards = {
    RELU: activations.relu_grad,
    SIGMOID: activations.sigmoid_grad,
    TANH: activations.tanh_grad,
}


def perceptron(
    x: np.ndarray, flat_params: np.ndarray, run: np.ndarray, hidden: np.ndarray, y: np.ndarray
) -> bool:
    """Overwrite ``hidden`` and ``y``, the last output; False if this case is not for this kernel.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_in)
    flat_params : ndarray of shape (n_params,)
    run : int64 ndarray of shape (n_layers, 5)
    hidden : ndarray of shape (n_rows * sum of all units but the last,)
    y : ndarray of shape (n_rows, units of the last layer)
    """
    outputs = [*_cut(hidden, run, len(x)), y]
    for (n_in, units, W, b, activation), out in zip(run.tolist(), outputs, strict=True):
        np.matmul(x, flat_params[W : W + n_in * units].reshape(n_in, units), out=out)
        if b >= 0:
            add_row(out, flat_params[b : b + units])
        if activation != IDENTITY:
            out[...] = _functions[activation](out)
        x = out
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
    """Overwrite the run's part of ``flat_grads``, and ``grad_input`` unless it is empty.

    All other arguments are those of a call of `perceptron` before it that returned True.
    """
    outputs = [x, *_cut(hidden, run, len(x)), y]
    for k, (n_in, units, W, b, activation) in reversed(list(enumerate(run.tolist()))):
        if activation != IDENTITY:
            grad = _backwards[activation](grad, outputs[k + 1])
        weights = slice(W, W + n_in * units)
        np.matmul(outputs[k].T, grad, out=flat_grads[weights].reshape(n_in, units))
        if b >= 0:
            sum_rows(grad, flat_grads[b : b + units])
        if k:
            grad = grad @ flat_params[weights].reshape(n_in, units).T
        elif grad_input.size:
            np.matmul(grad, flat_params[weights].reshape(n_in, units).T, out=grad_input)


def _cut(hidden: np.ndarray, run: np.ndarray, n_rows: int) -> Iterator[np.ndarray]:
    """Views of the hidden outputs, each (n_rows, units)."""
    start = 0
    for units in run[:-1, 1].tolist():
        stop = start + n_rows * units
        yield hidden[start:stop].reshape(n_rows, units)
        start = stop
