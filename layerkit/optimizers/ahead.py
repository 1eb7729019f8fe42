"""Steps of an optimizer as numbers, for a kernel that takes them all."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from layerkit.shapes import Slot


class Steps(NamedTuple):
    """A rule of `layerkit.kernels.train_epoch`, what it remembers, and a row for each step."""

    rule: int
    segments: np.ndarray
    memory: np.ndarray
    rows: list[tuple[float, ...]]  # keep, decay, a, b, c, d, e


def tabled_steps(
    optimizer: Any, found: Any, layout: Sequence[Slot], age: int, decays: list[float]
) -> Steps:
    """Return the next steps, each with its rate and its weight decay.

    Parameters
    ----------
    optimizer : Optimizer
    found : Pieces
        Of that optimizer.
    layout : sequence of Slot
        All trainable, and all of one age.
    age : int
        The number of steps before.
    decays : list of float
        The weight decay of each step.

    Returns
    -------
    steps : Steps
    """
    rows, rule = [], 0.0
    for i, decay in enumerate(decays):
        rate = optimizer.rate_after(i)
        rule, *numbers = optimizer.coefficients(rate, age + i + 1)
        shared = (1 - rate * decay, 0.0) if optimizer.decoupled else (1.0, decay)
        rows.append((*shared, *numbers, *[0.0] * (5 - len(numbers))))
    segments = np.array([(s.slice.start, s.slice.stop, s.decay) for s in layout], np.int64)
    return Steps(int(rule), segments, found.matrix, rows)
