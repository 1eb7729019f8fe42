"""A loss, and all targets of a training run, as a kernel for whole epochs takes them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Tabled(NamedTuple):
    """A loss as `layerkit.kernels.epoch_program` knows it, with all targets of a training run."""

    code: int
    numbers: tuple[float, float]
    labels: np.ndarray
    targets: np.ndarray
    alpha: float | None = None  # of a penalty alpha / (2 normalizer) ||W||², added to the loss

    @classmethod
    def of_numbers(
        cls, code: int, targets: np.ndarray, dtype: Any, *numbers: float
    ) -> Tabled | None:
        """Return a loss of outputs, each with its target; None where one is not finite."""
        first, second = (*numbers, 0.0, 0.0)[:2]
        with np.errstate(over="ignore"):
            targets = np.require(targets.astype(dtype, copy=False), requirements=["C", "W"])
        if not np.isfinite(targets).all():
            return None
        return cls(code, (first, second), np.empty(0, np.int64), targets)


def are_numbers(y_true: np.ndarray, n_outputs: int, dtype: Any) -> bool:
    """Whether every sample has one target for each output, all finite in the given dtype."""
    fits = y_true.ndim == 2 and y_true.shape[1] == n_outputs and y_true.dtype.kind in "fiub"
    with np.errstate(over="ignore"):
        return fits and bool(np.isfinite(y_true.astype(dtype, copy=False)).all())
