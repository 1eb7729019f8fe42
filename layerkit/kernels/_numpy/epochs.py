"""Batches of a whole epoch in one call: gather rows, forward, loss, backward, step.

Between the kernels of a small network Python takes longer than they do. So a network that is a
chain of well-known layers is described by a table of integers, a row for each layer (`LAYERS`), and
so are its loss and its optimizer. That pays only where it is compiled: NumPy, which has Python
between its calls anyway, goes batch by batch, and here is only what the table means.

What a layer computes from so many rows stands in ``scratch`` from its ``y`` on. Nothing is computed
in place, which LLVM would do number by number. The loops are those of the other kernels.

Arguments of `epoch_program`::

    X                     all rows of the input, (n_rows, n_in)
    labels                the class of each row, int64 (n_rows,), or empty
    targets               what else is to be predicted, (n_rows, n_out) in the dtype of X, or empty
    weights               of the rows, float64 (n_rows,), or empty
    layers, numbers       a row for each layer: int64 of `LAYERS`, and float64 (n_layers, 2)
    flat_params           all parameters of the network, to be changed
    flat_grads            its gradients, to be overwritten: at the end those of the last batch
    running               running means and variances, one after the other, to be changed
    loss, of_loss         one of the losses below, and two numbers for it
    penalized             whether the decay of what decays joins the loss
    rule                  one of the optimizers' rules below
    segments              which parameters decay, int64 (n, 3): from, to, whether they do
    memory                what the rule remembers, (2, n_params), or fewer rows, to be changed
    scratch               for the largest batch: the input, all outputs, two gradients
    n_rows                of the largest batch

And of the program, in every epoch::

    order                 in which rows are taken, int64 (n_rows,), or empty: as they come
    bounds                which of them make a batch, int64 (n_batches, 2): from, to
    words                 random bits, uint64: for each Dropout, batch after batch
    drawn                 where those of each Dropout begin, int64, to be changed
    steps                 a row for each batch, float64 (n_batches, 8), of `STEPS`
    losses                float64 (n_batches,), to be overwritten

What the rows of ``numbers`` hold::

    LEAKY_RELU            slope
    ELU                   alpha, scale
    DROPOUT               draws below which a value is kept of 256 (or 65536), and how many bits
    BATCH_NORM            eps, momentum

And ``of_loss``::

    CROSS_ENTROPY         smoothing                              labels
    BINARY_CROSS_ENTROPY  pos_weight, smoothing                  targets in [0, 1]
    SOFTMAX_SUM           cap                                    targets, rows of probabilities
    SIGMOID_SUM           cap                                    targets
    SQUARED_ERROR         factor of the sum over outputs         targets
    HUBER                 delta                                  targets
    ABSOLUTE_ERROR        nothing                                targets
    POISSON_SUM           nothing                                targets, not negative
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from layerkit.kernels._numpy import dense
from layerkit.kernels.dispatch import compiled

# The first ones name activations in `perceptron` as well.
IDENTITY, RELU, SIGMOID, TANH = dense.IDENTITY, dense.RELU, dense.SIGMOID, dense.TANH
LEAKY_RELU, ELU, SOFTPLUS, GELU, SILU, MISH, DENSE, DROPOUT, BATCH_NORM = range(4, 13)
# first, second: where W and b, or gamma and beta, begin in the flat vector; -1 is none
# aside: where gates or statistics stand in scratch
# drawn: which of the Dropouts it is; or where running means begin
# x, y: where input and output stand in scratch; grad, passed: dL/dy and dL/dx, -1 is not needed
LAYERS = ("kind", "n_in", "n_out", "x", "y", "first", "second", "aside", "drawn", "grad", "passed")
KIND, N_IN, N_OUT, X, Y, FIRST, SECOND, ASIDE, DRAWN, GRAD, PASSED = range(len(LAYERS))

CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SOFTMAX_SUM, SIGMOID_SUM = range(4)
SQUARED_ERROR, HUBER, ABSOLUTE_ERROR, POISSON_SUM = range(4, 8)

# No step at all; p ← p - a g; and with u ← a u + g: p ← p - b u - c g; with the rate within,
# u ← a u - b g: p ← p + c u - d g; and `moments_step` with beta1, beta2, of_m, of_g, eps = a ... e
NO_STEP, DESCENT, MOMENTUM, VELOCITY, MOMENTS = range(5)
# keep: what decaying parameters are multiplied by; decay: what of them joins the gradient;
# penalty: that share of half their squares joins the loss
STEPS = ("normalizer", "keep", "decay", "a", "b", "c", "d", "e")

Program = Callable[
    [np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    int,
]
"""``train(order, bounds, words, drawn, steps, losses)``."""


@compiled
def takes_epochs(dtype: DTypeLike) -> bool:
    """Whether `epoch_program` may be called.

    Parameters
    ----------
    dtype : float32 or float64
        Of the network.

    Returns
    -------
    answer : bool
        Not in NumPy.
    """
    return False


@compiled
def epoch_program(
    X: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    layers: np.ndarray,
    numbers: np.ndarray,
    flat_params: np.ndarray,
    flat_grads: np.ndarray,
    running: np.ndarray,
    loss: int,
    of_loss: tuple[float, float],
    penalized: bool,
    rule: int,
    segments: np.ndarray,
    memory: np.ndarray,
    scratch: np.ndarray,
    n_rows: int,
) -> Program:
    """Return what trains on the batches of an epoch, one after the other.

    It returns how many had a finite loss. A batch whose loss is not finite is the last: its loss is
    written, nothing else is done. Where the loss is ``penalized``, half the decay of the squares of
    what decays joins each loss.
    """
    raise NotImplementedError("NumPy goes through an epoch batch by batch")
