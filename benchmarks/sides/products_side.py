"""What no library can do without: a perceptron's matrix products, and Adam's memory traffic."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np

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
