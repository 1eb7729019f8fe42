"""What no library can do without: the matrix products of networks, and Adam's memory traffic."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.sides import data

Repeat = Callable[[], object]


def mlp_step(sizes: tuple[int, ...], batch: int, by_heart: bool = False) -> Repeat:
    """Multiply as a training step does: forward, then for the weights and the hidden layers.

    Then read what Adam reads, parameters, gradients and two averages, and write all but gradients.
    """
    weights, outputs = matrices(sizes, batch)
    grads = [np.empty_like(W) for W in weights]
    hidden = [np.empty_like(y) for y in outputs]
    last = len(weights) - 1
    params, grad, m, v = np.zeros((4, sum(W.size for W in weights)), np.float32)

    def repeat() -> None:
        forward(weights, outputs)
        for i in range(last, -1, -1):
            np.matmul(outputs[i].T, outputs[i + 1], out=grads[i])
            if i:
                np.matmul(outputs[i + 1], weights[i].T, out=hidden[i])
        np.add(params, grad, out=params)
        np.add(m, v, out=m)
        np.negative(v, out=v)

    return repeat


def mlp_infer(sizes: tuple[int, ...], batch: int) -> Repeat:
    """Multiply as a prediction does."""
    weights, outputs = matrices(sizes, batch)
    return lambda: forward(weights, outputs)


def matrices(sizes: tuple[int, ...], batch: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the weights of every layer, then the input and room for every output."""
    weights = [data.like(shape) for shape in pairwise(sizes)]
    return weights, [data.like((batch, n)) for n in sizes]


def forward(weights: list[np.ndarray], outputs: list[np.ndarray]) -> None:
    """Overwrite every output but the first, which is the input."""
    for i, W in enumerate(weights):
        np.matmul(outputs[i], W, out=outputs[i + 1])


ALONE = 10**7
"""Multiply-adds from which on rows are cut into parts, one for each thread."""


def recurrent(
    kind: str, units: int, steps: int, batch: int, dtype: str, ragged: bool, training: bool
) -> Repeat:
    """Multiply as a recurrent layer does, each thread some rows through all steps."""
    gates = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}[kind]
    lengths = [len(row) for row in data.sequences(batch, steps, 32, dtype, ragged)[0]]
    multiply_adds = sum(lengths) * (32 + units) * gates * units
    parts = int(os.environ["OMP_NUM_THREADS"]) if multiply_adds > ALONE and batch > 1 else 1
    work = [
        through_time(lengths[i::parts], units, gates * units, dtype, training) for i in range(parts)
    ]
    threadpool_limits(1, "blas")
    if parts == 1:
        return work[0]
    pool = ThreadPoolExecutor(parts)
    return lambda: list(pool.map(lambda part: part(), work))


def through_time(
    lengths: list[int], units: int, columns: int, dtype: str, training: bool
) -> Repeat:
    """Return x W of all steps, h U step by step; in training the products of the gradients too."""
    sizes = [sum(n > t for n in lengths) for t in range(max(lengths))]
    ends = np.cumsum([0, *sizes])
    x, W, U, h, z = (
        data.like(shape).astype(dtype)
        for shape in (
            (ends[-1], 32),
            (32, columns),
            (units, columns),
            (ends[-1], units),
            (ends[-1], columns),
        )
    )
    of_W, of_U, of_h = np.empty_like(W), np.empty_like(U), np.empty_like(h)
    U_T = np.ascontiguousarray(U.T)

    def repeat() -> None:
        np.matmul(x, W, out=z)
        for begin, end in pairwise(ends):
            np.matmul(h[begin:end], U, out=z[begin:end])
        if training:
            for begin, end in pairwise(ends[::-1]):
                np.matmul(z[end:begin], U_T, out=of_h[end:begin])
            np.matmul(x.T, z, out=of_W)
            np.matmul(h.T, z, out=of_U)

    return repeat
