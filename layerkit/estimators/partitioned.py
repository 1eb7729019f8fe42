"""Rows of Dask collections in place of an array: checked, counted and held out where they lie."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from layerkit.estimators.streamed import Look, StreamedRows, look
from layerkit.estimators.weights import class_weights
from layerkit.training.batches import MappedRows


class PlacedRows:
    """What `layerkit.distributed.workers.Workers` asks of rows of partitions.

    Attributes
    ----------
    partitions : layerkit.distributed.partitions.Partitions
    X : array
        Some rows, or one.
    n_rows : int
        To learn from.
    mean_weight : float
        Theirs.
    table : Table or None
        The batches, by numbers of rows.
    chosen : ndarray of int or None
        The rows to learn from, if not all.
    sync_every : int or None
        After how many steps workers average, once that is chosen.
    """

    partitions: Any
    X: Any
    n_rows: int
    mean_weight = 1.0
    table: Any = None
    chosen: np.ndarray | None = None
    sync_every: int | None = None

    def __len__(self) -> int:
        return len(self.table)

    def numbered(self, rows: np.ndarray) -> np.ndarray:
        """Return the numbers among all rows of some that are learned from."""
        return rows if self.chosen is None else self.chosen[rows]

    def check_order(self, stateful: str) -> None:
        """Refuse a layer that goes on from batch to batch."""
        raise ValueError(f"in {stateful}: partitions are not rows that go on from one another")

    def shape_targets(self, loss: Any, network: Any) -> None:
        """Leave them as the estimator encodes them."""

    @property
    def sample(self) -> Any:
        """Some rows, or one."""
        return self.X

    @property
    def state(self) -> Any:
        """Where the order stands, and what was chosen, for a checkpoint; settable."""
        return {"table": self.table.state, "sync_every": self.sync_every}

    @state.setter
    def state(self, state: Any) -> None:
        self.table.state, self.sync_every = state["table"], state["sync_every"]


class PartitionedRows(PlacedRows, StreamedRows):
    """Partitions that were looked at once, each by the worker that has it.

    Parameters
    ----------
    workers : layerkit.distributed.workers.Workers
    given : tuple
        X, y and sample_weight (or None): Dask collections.
    estimator : NetworkEstimator
    validate, classify, fresh
        As of `StreamedRows`.
    """

    def __init__(
        self,
        workers: Any,
        given: tuple[Any, Any, Any],
        estimator: Any,
        validate: Callable[..., Any],
        classify: bool,
        fresh: bool,
    ) -> None:
        from layerkit.distributed.partitions import Partitions

        self.workers, self.estimator = workers, estimator
        self.partitions = Partitions(workers.client, *given)
        self.weighted = given[2] is not None
        super().__init__((), partial(validate, estimator), classify, fresh)

    def _looks(self, fresh: bool, classify: bool) -> Iterator[Look]:
        validate = self.validate
        X, y = first_row(self.partitions)
        validate(X, y, reset=fresh)  # the client's estimator learns the names of the columns
        self.validate = partial(validate.func, slim(self.estimator))  # type: ignore[attr-defined]
        found = self.partitions.each(partial(_look, self.validate, classify))
        return (one for one in found if one is not None)

    def weigh(self, class_weight: Any) -> None:
        """Settle the weights of classes and rows; rows of weight 0 go."""
        super().weigh(class_weight)
        if self.weighted or class_weight is not None:
            self.partitions.change(partial(_weighted, self._factors, self.tallies[0].labels))

    # ---------------------------------------------------------------- validation

    def labels(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Bring y to the client, and the weights if there are any."""
        parts = [part for part in self.partitions.each(_targets) if part is not None]
        y, weights = zip(*parts, strict=True)
        return np.concatenate(y), None if weights[0] is None else np.concatenate(weights)

    def split(self, learn: np.ndarray, weight: np.ndarray | None) -> PartitionedRows:
        """Return the same, to learn from some of the rows."""
        part = copy.copy(self)
        part.chosen, part.n_rows = learn, len(learn)
        if weight is not None:
            part.mean_weight = float(weight[learn].mean())
        return part


class HeldOutRows(MappedRows):
    """Some rows of partitions, to be evaluated where they lie."""

    def __init__(self, source: PlacedRows, rows: np.ndarray) -> None:
        self.source, self.partitions, self.rows = source, source.partitions, rows
        self.X, self.shape = None, (len(rows), *source.X.shape[1:])  # type: ignore[assignment]
        self.dtype, self.ndim = source.X.dtype, source.X.ndim


def held_out(task: Any, choose: Callable[[Any], Any]) -> Any:
    """Return the task with some of its rows for validation, those that it would have in memory.

    Of y, labels come to the client, where the rows are chosen; X stays where it is.
    """
    rows = task.batches
    y, weight = rows.labels()
    nothing = np.broadcast_to(np.int8(0), (len(y), 1))
    learn, held = choose(replace(task, X=nothing, y=y, weight=weight))
    validation = HeldOutRows(rows, held), y[held], None if weight is None else weight[held]
    return replace(task, batches=rows.split(learn, weight), validation=validation)


def all_held_out(rows: PartitionedRows) -> tuple[HeldOutRows, np.ndarray, None]:
    """Return collections that were given as X_val and y_val, as validation data."""
    return HeldOutRows(rows, np.arange(int(rows.partitions.lengths.sum()))), rows.labels()[0], None


def slim(estimator: Any) -> Any:
    """Return an estimator to check rows with, without what it has learned and its callbacks."""
    slim = copy.copy(estimator)
    kept = {*estimator.get_params(deep=False), "n_features_in_", "feature_names_in_"}
    for name in set(vars(slim)) - kept:
        delattr(slim, name)
    return slim


def first_row(partitions: Any) -> tuple[Any, np.ndarray]:
    """Return a row of X and one of y, of the first partition that has some."""
    found = [row for row in partitions.each(_first_row) if row is not None]
    if not found:
        raise ValueError("X has no rows: all its partitions are empty")
    return found[0]


def _first_row(i: int, part: Any) -> Any:
    X, y, _ = part
    if not len(y):
        return None
    return (X.iloc[:1] if hasattr(X, "iloc") else X[:1]), y[:1]


def _look(validate: Any, classify: bool, i: int, part: Any) -> Look | None:
    X, y, weight = part
    if not len(y):
        return None
    try:
        X, y = validate(X, y, reset=False)
        return look(X, y, weight, classify)
    except ValueError as error:
        raise ValueError(f"partition {i}: {error}") from error


def _targets(i: int, part: Any) -> Any:
    return part[1:] if len(part[1]) else None


def _weighted(factors: Any, labels: np.ndarray, i: int, part: Any) -> Any:
    X, y, weight = part
    weight = np.ones(len(y)) if weight is None else weight
    if factors is not None and len(y):
        weight = class_weights(factors, [y], [labels], weight)
    rows = np.flatnonzero(weight)
    if len(rows) < len(y):
        X = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
        y, weight = y[rows], weight[rows]
    return X, y, weight
