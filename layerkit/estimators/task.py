"""A fit before it begins: checked data, and where its randomness comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from layerkit.estimators.targets import Target


@dataclass(frozen=True)
class Task:
    """What there is to learn, checked."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    groups: np.ndarray | None
    target: Target
    seed: np.random.SeedSequence
    fresh: bool
    validation: tuple[Any, np.ndarray, np.ndarray | None] | None = None

    def rows(self, rows: np.ndarray) -> Task:
        """Return the same with some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        groups = None if self.groups is None else np.asarray(self.groups)[rows]
        return replace(self, X=self.X[rows], y=self.y[rows], weight=weight, groups=groups)


def stream(seed: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """One of several independent streams: 0 initial weights, 1 splitting, (2, epoch) training."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key))
