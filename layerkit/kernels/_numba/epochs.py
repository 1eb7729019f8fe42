"""Batches of a whole epoch in one compiled call: the programs of its operations.

Where that is worth while, the rows of a batch are cut into as many parts as there are processors,
which threads share; each part is gone through in blocks that fit into the cache.
"""

from contextlib import nullcontext

import numpy as np

from layerkit.kernels._numba.blas import addresses
from layerkit.kernels._numba.epoch_layers import (
    BACKWARD,
    FORWARD,
    dense_relu,
    relu_grad_and_sums,
)
from layerkit.kernels._numba.epoch_steps import DECAYS, LOSSES, RULES, gather, penalty
from layerkit.kernels._numba.flushing import flushing
from layerkit.kernels._numba.programs import Operation, in_words, run
from layerkit.kernels._numba.threads import WORTHWHILE, workers
from layerkit.kernels._numba.work_queue import new_queue
from layerkit.kernels._numpy.epochs import (
    ASIDE,
    BATCH_NORM,
    DENSE,
    DROPOUT,
    GRAD,
    IDENTITY,
    KIND,
    LAYERS,
    N_IN,
    N_OUT,
    PASSED,
    RELU,
    SECOND,
    X,
    Y,
)
from layerkit.kernels.blas import one_blas_thread
from layerkit.kernels.parts import PASS, n_parts

BLOCK = 256  # rows
LARGE = 2**24  # multiply-adds of a product of a block that threads had better cut up


def takes_epochs(dtype, n_rows, multiply_adds):
    """Where NumPy's BLAS is known and no product is large."""
    large = min(n_rows, BLOCK) * multiply_adds > LARGE
    return not large and addresses(np.dtype(dtype)) is not None


def epoch_program(
    X, labels, targets, weights, layers, numbers, flat_params, flat_grads, running, loss, of_loss,
    penalized, rule, segments, memory, scratch, n_rows,
):  # fmt: skip
    parts, n, row_work = 1, n_rows, _work(layers)
    if not {DROPOUT, BATCH_NORM} & set(layers[:, KIND].tolist()):  # each row is for itself
        parts = n_parts(n_rows, n_rows * row_work, WORTHWHILE)
        n = min(n_rows, BLOCK)
        layers = _for_blocks(layers, n_rows, n)
    sharing = parts if PASS * flat_params.size >= 2 * WORTHWHILE else 1
    program, pairs, penalties, rules = _assembled(
        X.dtype, layers.tolist(), numbers.tolist(), loss, of_loss, penalized, rule,
        _spans(segments.tolist(), sharing),
    )  # fmt: skip
    grads, spare = np.zeros((2, parts, flat_params.size), X.dtype)
    given, memories = (X, labels, targets, weights, flat_params), (running, memory)
    of_parts = (
        np.empty((parts, -(-scratch.size // n_rows) * n), X.dtype), [addresses(X.dtype)] * parts,
        np.empty((parts, n), np.int64), np.empty((parts, n, targets.shape[1]), X.dtype),
        np.empty((parts, n)),
    )  # fmt: skip
    tables = np.array([
        [
            _in_words(_NOTHING, _NOTHING, _NOTHING, *given, into, *memories, *rows)
            for into in (own, other)
        ]
        for own, other, *rows in zip(grads, spare, *of_parts, strict=True)
    ])  # fmt: skip
    values = np.empty((parts, 1))

    # The tables hold addresses only: the last argument keeps alive what is there.
    def train(order, bounds, words, drawn, steps, losses, kept=(given, memories, of_parts)):
        passed = _in_words(order, words, drawn)
        tables[..., : len(passed)] = passed
        gathered = workers(parts) if parts > 1 else nullcontext(_NO_QUEUE)
        with one_blas_thread(), flushing(), gathered as queue:
            done = run(
                queue, parts, sharing, row_work, n, program, pairs, penalties, rules, bounds, steps,
                losses, tables, grads, values,
            )  # fmt: skip
        if done < 0:
            raise MemoryError("no memory for a part of a batch")
        if done == len(bounds):
            flat_grads[:] = grads[0]
        return done

    return train


_NOTHING = np.empty(0, np.int64)  # until the order, words and draws of an epoch come
_NO_QUEUE = new_queue()  # where nothing is shared


def _in_words(*arrays: np.ndarray) -> list[int]:
    return [word for array in arrays for word in in_words(array)]


def _work(layers: np.ndarray) -> int:
    """Multiply-adds of a row in a step, roughly; a number in a pass counts for ten."""
    dense = layers[layers[:, KIND] == DENSE]
    return int(3 * (dense[:, N_IN] * dense[:, N_OUT]).sum() + 10 * layers[:, N_OUT].sum())


def _for_blocks(layers: np.ndarray, n_rows: int, n: int) -> np.ndarray:
    """Lay out the outputs of blocks of n rows, where they were for batches of so many."""
    layers, places = layers.copy(), [X, Y, ASIDE, GRAD, PASSED]
    here = layers[:, places]
    layers[:, places] = np.where(here < 0, here, here // n_rows * n)
    return layers


def _spans(segments: list[list[int]], parts: int) -> list[list[int]]:
    """Cut each segment of the parameters into parts; all first parts come first."""
    spans = []
    for part in range(parts):
        for start, stop, decays in segments:
            ends = [start + (stop - start) * k // parts for k in (part, part + 1)]
            spans.append([*ends, decays, *[0] * (len(LAYERS) - 3)])
    return spans


def _assembled(
    dtype: np.dtype,
    layers: list[list[int]],
    numbers: list[list[float]],
    loss: int,
    of_loss: tuple[float, float],
    penalized: bool,
    rule: int,
    spans: list[list[int]],
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Return programs for rows, penalties and steps as a table, and the numbers that belong to it.

    At last where penalties begin, and where steps.
    """
    rows = [(row, n) for row, n in zip(layers, numbers, strict=True) if row[KIND] != IDENTITY]
    forward, backward = _passes(rows)
    ends = [0] * len(LAYERS)
    ends[N_IN], ends[X], ends[N_OUT] = layers[0][N_IN], layers[0][X], layers[-1][N_OUT]
    ends[Y], ends[GRAD] = layers[-1][Y], layers[-1][GRAD]
    nothing = [0.0, 0.0]
    of_rows = [(gather, ends, nothing), *forward, (LOSSES[loss], ends, of_loss), *backward[::-1]]
    penalties = [(penalty, span, nothing) for span in spans if penalized and span[DECAYS]]
    program = [*of_rows, *penalties, *((RULES[rule], span, nothing) for span in spans)]
    table = [(operation.address(dtype), *operands) for operation, operands, _ in program]
    pairs = np.array([pair for _, _, pair in program], float)
    return np.array(table, np.int64), pairs, len(of_rows), len(of_rows) + len(penalties)


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
