"""A fit before it begins: checked data, and where its randomness comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from layerkit.archive import ModelFileError
from layerkit.estimators.targets import Target
from layerkit.training import Checkpoint


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


def seed_of(checkpoint: Checkpoint | None) -> np.random.SeedSequence | None:
    """Return where the randomness of an interrupted fit came from."""
    if checkpoint is None or not checkpoint.exists:
        return None
    note = checkpoint.read()["note"]
    if set(note) != {"entropy", "spawn_key"}:
        raise ModelFileError(f"{checkpoint.path}: a checkpoint of train, not of an estimator's fit")
    return np.random.SeedSequence(note["entropy"], spawn_key=note["spawn_key"])
