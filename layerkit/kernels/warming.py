"""Compile the common kernels ahead of time, so that the first training step does not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from layerkit.kernels._numpy import (
    activations,
    attention,
    convolution,
    cross_entropy,
    dense,
    epochs,
    normalization,
    optimizers,
    pooling,
    random,
    recurrent,
)
from layerkit.kernels.dispatch import backend


def warmup(dtype: DTypeLike = "float32") -> None:
    """Call the kernels of common networks, and compile what epochs consist of.

    They are called on tiny arrays and on larger ones, whose parts threads compute at the same time.

    What Numba compiles it keeps on disk, so this takes long only once on a machine: in the image of
    a container, say, before many short processes start. In NumPy there is nothing to do.

    Parameters
    ----------
    dtype : float32 or float64, default="float32"
        Of the networks to come.
    """
    if backend() == "numba":
        for kernels, tiny, large in (
            (_dense, 4, 25_000),
            (_images, 2, 2_048),
            (_attention, 4, 400),
            (_optimizers, 8, 200_000),
            (_recurrent, 2, 8_192),
        ):
            kernels(dtype, tiny)
            kernels(dtype, large)
        _products(dtype)
        _epochs(dtype)


def _products(dtype: DTypeLike) -> None:
    """Of rows that are dense, large enough for threads, or sparse: forward and backward."""
    from scipy import sparse  # late: whoever imports layerkit does not wait for it

    x, W, y = (np.ones(shape, dtype) for shape in ((400, 200), (200, 100), (400, 100)))
    for a, b, out in ((x, W, y), (x.T, y, W), (y, W.T, x)):
        dense.matmul(a, b, out)
    for a in (sparse.csr_array(x), sparse.csc_array(x)):
        dense.matmul(a, W, y)


def _dense(dtype: DTypeLike, n: int) -> None:
    x, row = np.ones((n, 8), dtype), np.ones(8, dtype)
    dense.add_row(x.copy(), row)
    dense.sum_rows(x, row.copy())
    for forward, backward in (
        (activations.relu, activations.relu_grad),
        (activations.tanh, activations.tanh_grad),
        (activations.sigmoid, activations.sigmoid_grad),
    ):
        backward(x, forward(x))
    activations.gelu_grad(x, x, activations.gelu(x)[1])
    activations.silu_grad(x, x, activations.silu(x)[1])
    random.apply_mask(x, x > 0, 2.0)
    _, x_hat, inv_std = normalization.layer_norm(x, row, row, 1e-5)
    normalization.layer_norm_grad(x, x_hat, inv_std, row, row.copy(), row.copy())
    activations.softmax(x)
    cross_entropy.binary_cross_entropy(x, x, np.ones(n), 1.0, 0.0)
    cross_entropy.cross_entropy_of_labels(x, np.zeros(n, np.int64), np.ones(n), 0.0)
    cross_entropy.cross_entropy_of_softmax(x, x / 8, np.inf)
    cross_entropy.cross_entropy_of_sigmoid(x, x, np.inf)
    dense.add_rows_at(x, np.zeros(n, np.intp), x.copy())
    run = np.array([[8, 8, 0, 64, dense.RELU]])
    flat_params, hidden, y = np.ones(72, dtype), np.empty(0, dtype), np.empty_like(x)
    if dense.perceptron(x, flat_params, run, hidden, y):
        dense.perceptron_grad(x, x, flat_params, run, hidden, y, flat_params.copy(), y)


def _images(dtype: DTypeLike, n: int) -> None:
    x, row = np.ones((n, 8, 8, 8), dtype), np.ones(8, dtype)
    padding = ((1, 1), (1, 1))
    # Few channels, such as those of pictures, are convolved directly; depthwise is code of its own.
    for how, c_in in (("auto", 8), ("direct", 8), ("direct", 1)):
        kernel = np.ones((3, 3, c_in, 8), dtype)
        given: dict[str, Any] = {"padding": padding, "algorithm": how, "groups": 8 // c_in}
        convolution.conv2d(x, kernel, row, **given)
        convolution.conv2d_input_grad(x, kernel, x.shape, **given)
        convolution.conv2d_kernel_grad(x, x, kernel.copy(), **given)
    y, argmax = pooling.max_pool2d(x, (2, 2), (2, 2))
    pooling.max_pool2d_input_grad(y, argmax, x.shape, (2, 2), (2, 2))
    pooling.avg_pool2d_input_grad(pooling.avg_pool2d(x, (2, 2), (2, 2)), x.shape, (2, 2), (2, 2))
    pooling.mean_of_cells(x.reshape(n, 64, 8))
    _, mean, inv_std, _ = normalization.batch_norm(x, row, row, 1e-5)
    normalization.batch_norm_grad(x, x, mean, inv_std, row, row.copy(), row.copy())


def _attention(dtype: DTypeLike, n: int) -> None:
    qkv, how = np.ones((n, 6), dtype), (np.array([n]), 2, True)
    y, log_sums = attention.attention(qkv, *how)
    attention.attention_grad(y, qkv, y, log_sums, *how)


def _optimizers(dtype: DTypeLike, n: int) -> None:
    p, g, m, v = np.ones((4, n), dtype)
    g.flags.writeable = False  # as an optimizer gets it
    optimizers.adam_step(p, g, m, v, 0.0, 0.9, 0.999, 1e-8, 1)
    optimizers.sgd_step(p, g, m, 0.0, 0.9, False)
    optimizers.sgd_step(p, g, None, 0.0, 0.0, False)
    optimizers.shrink(p, 1.0)
    optimizers.plus_decay(g, p, 0.0, np.array([[0, n]]), np.empty_like(p))
    dense.sum_of_squares(p)
    optimizers.rmsprop_step(p, g, v, None, None, 0.0, 0.9, 0.0, 1e-8)


def _recurrent(dtype: DTypeLike, n: int) -> None:
    sizes = np.array([n, n])  # two steps of so many sequences
    z, h, U = (np.ones((rows, 8), dtype) for rows in (2 * n, 3 * n, 8))
    recurrent.simple_rnn(z, U, h, sizes, False)
    recurrent.simple_rnn_grad(h, h, U, sizes, False)
    z, U = np.ones((2 * n, 32), dtype), np.ones((8, 32), dtype)
    tanh_c = recurrent.lstm(z, U, h, h.copy(), sizes)
    recurrent.lstm_grad(h, z, tanh_c, tanh_c, U, sizes)
    z, U = np.ones((2 * n, 24), dtype), np.ones((8, 24), dtype)
    candidate = recurrent.gru(z, U, np.ones(8, dtype), h, sizes)
    recurrent.gru_grad(h, z, candidate, candidate, U, sizes)


def _epochs(dtype: DTypeLike) -> None:
    """Compile what an epoch is made of, for programs of no batches at all."""
    if not epochs.takes_epochs(dtype, 1, 0):
        return
    kinds = (
        epochs.DENSE, epochs.RELU, epochs.DENSE, epochs.TANH, epochs.SIGMOID, epochs.DROPOUT,
        epochs.BATCH_NORM, epochs.RELU,
    )  # fmt: skip
    layers = np.array([[kind, 8, 8, *[0] * (len(epochs.LAYERS) - 3)] for kind in kinds])
    vector, table, none = np.ones(72, dtype), np.ones((2, 72), dtype), np.empty(0, np.int64)
    for loss in (
        epochs.CROSS_ENTROPY, epochs.BINARY_CROSS_ENTROPY, epochs.SOFTMAX_SUM, epochs.SIGMOID_SUM,
        epochs.SQUARED_ERROR,
    ):  # fmt: skip
        for rule in (
            epochs.NO_STEP, epochs.DESCENT, epochs.MOMENTUM, epochs.VELOCITY, epochs.MOMENTS,
        ):  # fmt: skip
            train = epochs.epoch_program(
                table, none, table, np.empty(0), layers, np.ones((len(kinds), 2)), vector,
                vector, vector, loss, (0.0, 0.0), True, rule, np.array([[0, 72, 1]]), table,
                vector, 1,
            )  # fmt: skip
    words, bounds = np.empty(0, np.uint64), np.empty((0, 2), np.int64)
    train(none, bounds, words, none, np.empty((0, 8)), np.empty(0))
