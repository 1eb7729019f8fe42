"""Batches of a whole epoch in one compiled call, on one thread: the program of its operations.

Whoever trains leaves networks to others whose products are worth a second thread.
"""

import numpy as np

from layerkit.kernels._numba.blas import addresses
from layerkit.kernels._numba.epoch_layers import (
    BACKWARD,
    FORWARD,
    dense_relu,
    relu_grad_and_sums,
)
from layerkit.kernels._numba.epoch_steps import DECAYS, LOSSES, RULES, gather, penalty
from layerkit.kernels._numba.programs import Operation, flushing, run
from layerkit.kernels._numpy.epochs import (
    DENSE,
    GRAD,
    IDENTITY,
    KIND,
    LAYERS,
    N_IN,
    N_OUT,
    NO_STEP,
    RELU,
    SECOND,
    X,
    Y,
)
from layerkit.kernels.blas import one_blas_thread

ALONE = 2**23  # multiply-adds of a product from which on a second thread is worth its while


def takes_epochs(dtype, multiply_adds):
    """Where NumPy's BLAS is known and nothing is worth a second thread."""
    return multiply_adds <= ALONE and addresses(np.dtype(dtype)) is not None


def epoch_program(
    X, labels, targets, weights, layers, numbers, flat_params, flat_grads, running, loss, of_loss,
    penalized, rule, segments, memory, scratch, n_rows,
):  # fmt: skip
    program, operands = _assembled(
        X.dtype, layers.tolist(), numbers.tolist(), loss, of_loss, penalized, rule,
        segments.tolist(),
    )  # fmt: skip
    fixed = (
        X, labels, targets, weights, flat_params, flat_grads, running, memory, scratch,
        addresses(X.dtype), np.empty(n_rows, np.int64),
        np.empty((n_rows, targets.shape[1]), X.dtype), np.empty(n_rows),
    )  # fmt: skip

    def train(order, bounds, words, drawn, steps, losses):
        with one_blas_thread(), flushing():
            return run(program, operands, bounds, steps, losses, order, words, drawn, *fixed)

    return train


def _assembled(
    dtype: np.dtype,
    layers: list[list[int]],
    numbers: list[list[float]],
    loss: int,
    of_loss: tuple[float, float],
    penalized: bool,
    rule: int,
    segments: list[list[int]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the program of a step, and the numbers that belong to its rows."""
    rows = [(row, n) for row, n in zip(layers, numbers, strict=True) if row[KIND] != IDENTITY]
    forward, backward = _passes(rows)
    ends = [0] * len(LAYERS)
    ends[N_IN], ends[X], ends[N_OUT] = layers[0][N_IN], layers[0][X], layers[-1][N_OUT]
    ends[Y], ends[GRAD] = layers[-1][Y], layers[-1][GRAD]
    nothing = [0.0, 0.0]
    spans = [[*span, *[0] * (len(LAYERS) - len(span))] for span in segments]
    program = [
        (gather, ends, nothing),
        *forward,
        (LOSSES[loss], ends, of_loss),
        *((penalty, span, nothing) for span in spans if penalized and span[DECAYS]),
        *reversed(backward),
        *((RULES[rule], span, nothing) for span in spans if rule != NO_STEP),
    ]
    addressed = [(operation.address(dtype), *operands) for operation, operands, _ in program]
    return np.array(addressed, np.int64), np.array([pair for _, _, pair in program])


Row = tuple[Operation, list[int], list[float]]


def _passes(rows: list[tuple[list[int], list[float]]]) -> tuple[list[Row], list[Row]]:
    """Return what the layers do forward and backward, both from the first to the last.

    A ReLU after a Dense with a bias shares a pass over memory with it, both ways.
    """
    forward: list[Row] = []
    backward: list[Row] = []
    for row, pair in rows:
        done, before, _ = forward[-1] if forward else (None, row, pair)
        if row[KIND] == RELU and done is FORWARD[DENSE] and before[SECOND] >= 0:
            forward[-1] = dense_relu, [*before[:Y], row[Y], *before[Y + 1 :]], pair
            of_dense = [*before[:SECOND], -1, *before[SECOND + 1 :]]
            backward[-1] = BACKWARD[DENSE], of_dense, pair
            of_both = [*row[:SECOND], before[SECOND], *row[SECOND + 1 :]]
            backward.append((relu_grad_and_sums, of_both, pair))
        else:
            forward.append((FORWARD[row[KIND]], row, pair))
            backward.append((BACKWARD[row[KIND]], row, pair))
    return forward, backward
