"""A fit before it begins: checked data, and where its randomness comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite

from layerkit.archive import ModelFileError
from layerkit.estimators.streamed import StreamedRows
from layerkit.estimators.targets import Target
from layerkit.training import Checkpoint
from layerkit.training.batches import MappedRows, chunks, mapping_of


@dataclass(frozen=True)
class Task:
    """What there is to learn, checked.

    With ``batches``, X is one row of theirs and y holds all their classes.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    groups: np.ndarray | None
    target: Target
    seed: np.random.SeedSequence
    fresh: bool
    validation: tuple[Any, np.ndarray, np.ndarray | None] | None = None
    batches: StreamedRows | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows to learn from."""
        return len(self.y) if self.batches is None else self.batches.n_rows

    @property
    def mean_weight(self) -> float:
        """Mean weight of these rows."""
        if self.batches is not None:
            return self.batches.mean_weight
        return 1.0 if self.weight is None else float(self.weight.mean())

    @property
    def given(self) -> tuple[Any, Any, Any]:
        """X, y and sample_weight as callbacks see them: of batches, the batches."""
        return (self.X, self.y, self.weight) if self.batches is None else (self.batches, None, None)

    def data(self, encode: Callable[[np.ndarray], np.ndarray]) -> Any:
        """Return what `train` takes, y encoded."""
        if self.batches is None:
            return self.X, encode(self.y), self.weight
        self.batches.encode = encode
        return self.batches

    def rows(self, rows: np.ndarray) -> Task:
        """Return the same with some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        groups = None if self.groups is None else np.asarray(self.groups)[rows]
        X = self.X[rows] if mapping_of(self.X) is None else _mapped_rows(self.X, rows)
        return replace(self, X=X, y=self.y[rows], weight=weight, groups=groups)

    def weighted(self, what: str) -> Task:
        """Return the same without rows of weight 0; ``what`` they are, should none be left."""
        if self.weight is None or self.weight.all():
            return self
        if not self.weight.any():
            raise ValueError(f"sample_weight times class_weight is zero for all {what}")
        return self.rows(np.flatnonzero(self.weight))


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


def check_mapped(X: Any, estimator: Any) -> None:
    """Refuse numbers in a memory map that are not finite, reading it piece by piece."""
    if mapping_of(X) is not None and X.dtype.kind == "f":
        for piece in chunks(X):
            assert_all_finite(piece, estimator_name=type(estimator).__name__, input_name="X")


def _mapped_rows(X: Any, rows: np.ndarray) -> MappedRows:
    return MappedRows(X.X, X.rows[rows]) if isinstance(X, MappedRows) else MappedRows(X, rows)
