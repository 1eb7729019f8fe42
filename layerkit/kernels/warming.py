"""Compile the common kernels ahead of time, so that the first training step does not."""

import numpy as np
from numpy.typing import DTypeLike

from layerkit import kernels


def warmup(dtype: DTypeLike = np.float32) -> None:
    """Call the kernels of common networks once, on tiny arrays.

    What Numba compiles it keeps on disk, so this takes long only once on a machine: in the image of
    a container, say, before many short processes start. In NumPy there is nothing to do.

    Parameters
    ----------
    dtype : float32 or float64, default=float32
        Of the networks to come.
    """
    if kernels.backend() == "numba":
        _dense(dtype)
        _images(dtype)
        _optimizers(dtype)


def _dense(dtype: DTypeLike) -> None:
    x, row = np.ones((4, 8), dtype), np.ones(8, dtype)
    kernels.add_row(x.copy(), row)
    kernels.sum_rows(x, row.copy())
    for forward, backward in (
        (kernels.relu, kernels.relu_grad),
        (kernels.tanh, kernels.tanh_grad),
        (kernels.sigmoid, kernels.sigmoid_grad),
    ):
        backward(x, forward(x))
    kernels.gelu_grad(x, x, kernels.gelu(x)[1])
    kernels.silu_grad(x, x, kernels.silu(x)[1])
    kernels.apply_mask(x, x > 0, 2.0)
    _, x_hat, inv_std = kernels.layer_norm(x, row, row, 1e-5)
    kernels.layer_norm_grad(x, x_hat, inv_std, row, row.copy(), row.copy())
    kernels.softmax(x)
    kernels.binary_cross_entropy(x, x, np.ones(4), 1.0, 0.0)
    kernels.cross_entropy_of_labels(x, np.zeros(4, np.int64), np.ones(4), 0.0)
    kernels.cross_entropy_of_softmax(x, x / 8, np.inf)
    kernels.cross_entropy_of_sigmoid(x, x, np.inf)
    kernels.add_rows_at(x, np.zeros(4, np.intp), x.copy())
    run = np.array([[8, 8, 0, 64, kernels.RELU]])
    flat_params, hidden, y = np.ones(72, dtype), np.empty(0, dtype), np.empty_like(x)
    if kernels.perceptron(x, flat_params, run, hidden, y):
        kernels.perceptron_grad(x, x, flat_params, run, hidden, y, flat_params.copy(), y)


def _images(dtype: DTypeLike) -> None:
    x, row = np.ones((2, 8, 8, 8), dtype), np.ones(8, dtype)
    kernel, padding = np.ones((3, 3, 8, 8), dtype), ((1, 1), (1, 1))
    kernels.conv2d(x, kernel, row, padding=padding)
    kernels.conv2d_input_grad(x, kernel, x.shape, padding=padding)
    kernels.conv2d_kernel_grad(x, x, kernel.copy(), padding=padding)
    y, argmax = kernels.max_pool2d(x, (2, 2), (2, 2))
    kernels.max_pool2d_input_grad(y, argmax, x.shape, (2, 2), (2, 2))
    kernels.avg_pool2d_input_grad(kernels.avg_pool2d(x, (2, 2), (2, 2)), x.shape, (2, 2), (2, 2))
    kernels.mean_of_cells(x.reshape(2, 64, 8))
    _, mean, inv_std, _ = kernels.batch_norm(x, row, row, 1e-5)
    kernels.batch_norm_grad(x, x, mean, inv_std, row, row.copy(), row.copy())


def _optimizers(dtype: DTypeLike) -> None:
    p, g, m, v = np.ones((4, 8), dtype)
    g.flags.writeable = False  # as an optimizer gets it
    kernels.adam_step(p, g, m, v, 0.0, 0.9, 0.999, 1e-8, 1)
    kernels.sgd_step(p, g, m, 0.0, 0.9, False)
    kernels.sgd_step(p, g, None, 0.0, 0.0, False)
    kernels.shrink(p, 1.0)
    kernels.plus_decay(g, p, 0.0, np.array([[0, 8]]), np.empty_like(p))
    kernels.sum_of_squares(p)
    kernels.rmsprop_step(p, g, v, None, None, 0.0, 0.9, 0.0, 1e-8)
