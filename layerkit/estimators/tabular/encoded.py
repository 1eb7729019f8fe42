"""Partitions of a table as features and targets, and rows of them as the networks take them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from layerkit.estimators.partitioned import HeldOutRows, PlacedRows
from layerkit.estimators.tabular.folded import FoldedMeans, sums_by_code
from layerkit.estimators.tabular.learning import LinearPart, as_input, raw_outputs
from layerkit.estimators.tabular.means import folds_of, wants_means
from layerkit.estimators.tabular.preparing import check_features
from layerkit.estimators.tabular.ridge import ridge
from layerkit.estimators.tabular.summaries import Summary
from layerkit.estimators.tabular.survey import Reader, naming
from layerkit.estimators.targets import Target
from layerkit.layer import Layer

_SAMPLE = 10_000  # rows by which layers choose initial values, as of a table in memory


class EncodedTable:
    """Partitions of a table, and what they become.

    Parameters
    ----------
    workers : layerkit.distributed.workers.Workers
    raw : layerkit.distributed.partitions.Partitions
    reader : Reader
        With the encoder.
    target : Target
    numbers_of : callable or None
        Of y, for the encoder's target_means.
    """

    def __init__(
        self, workers: Any, raw: Any, reader: Reader, target: Target, numbers_of: Any
    ) -> None:
        self.workers, self.raw, self.reader, self.target = workers, raw, reader, target
        self.encoder, self.numbers_of = reader.encoder, numbers_of
        self.center: Any = 0.5  # near the means of y's numbers: those of classes are 0 and 1
        self.seldom: list[int] = []
        self.of_rows: np.ndarray | None = None  # whose means the columns have
        self.means: FoldedMeans | None = None

    def learn_columns(self, estimator: Any, names: list[str], rows: np.ndarray) -> None:
        """Let the encoder learn what columns are, and the target where y lies, from some rows."""
        classes = is_classifier(estimator)
        summarize = partial(_summary, self.reader, classes)
        summary = self.raw.merged(summarize, Summary.merged, _places(self.raw, rows))
        encoder = self.encoder
        encoder.columns_ = summary.columns_named(names, int(encoder.max_onehot))
        if summary.seen is not None:
            self.center = summary.seen.mean
        if self.numbers_of is not None:
            self._learn_means(rows)
        encoder._list_features()
        check_features(encoder, len(rows))
        estimator._bind(self.target, summary.seen)

    def _learn_means(self, rows: np.ndarray) -> None:
        columns: list[Any] = self.encoder.columns_
        self.seldom = [j for j, c in enumerate(columns) if wants_means(c, len(rows))]
        if self.seldom:
            sums, self.of_rows = self._sums(_cut(self.raw, rows, folds_of(len(rows)))), rows
            means = FoldedMeans.of(sums, self.center)
            self.means = means.teach([columns[j] for j in self.seldom], sums)
            self.seldom = [j for j in self.seldom if columns[j].means]

    def _sums(self, folds: list[np.ndarray]) -> list[np.ndarray]:
        """Return sums of y by fold and code, of the columns with means."""
        columns = [self.encoder.columns_[j] for j in self.seldom]
        sums = partial(_sums, self.reader, columns, self.seldom, self.numbers_of, self.center)
        return self.raw.merged(sums, _added, folds)

    def rows(self, numbers: np.ndarray) -> TableRows:
        """Return rows to learn from; others that lie there are encoded as rows to predict."""
        folds = _cut(self.raw, numbers, folds_of(len(numbers)) if self.seldom else 0)
        means = self.means
        if self.seldom and numbers is not self.of_rows:
            means = FoldedMeans.of(self._sums(folds), self.center)
        encode = partial(_encoded, self.reader, self.target, means)
        return TableRows(self.workers, self.raw.changed(encode, folds), numbers)


def _places(partitions: Any, rows: np.ndarray) -> list[np.ndarray]:
    """Return the places of some rows in each partition."""
    return [np.flatnonzero(own >= 0) for own in _cut(partitions, rows, 0)]


def _cut(partitions: Any, rows: np.ndarray, values: Any) -> list[np.ndarray]:
    """Return, for the rows of each partition, the value of those that count, -1 for others."""
    marks = np.full(partitions.ends[-1], -1, np.int8)
    marks[rows] = values
    return partitions.cut(marks)


def _summary(reader: Reader, classes: bool, i: int, part: Any, places: np.ndarray) -> Any:
    if not len(places):
        return None
    table = reader(i, part).part(places)
    return Summary.of(table.values, None if classes else table.y)


def _sums(
    reader: Reader,
    columns: list[Any],
    seldom: list[int],
    numbers_of: Callable[[np.ndarray], np.ndarray],
    center: Any,
    i: int,
    part: Any,
    folds: np.ndarray,
) -> Any:
    places = np.flatnonzero(folds >= 0)
    if not len(places):
        return None
    table, folds = reader(i, part).part(places), folds[places]
    y, pairs = numbers_of(table.y), zip(columns, seldom, strict=True)
    coded = [(c.codes(table.values[j]), c.n_codes) for c, j in pairs]
    return [sums_by_code(codes, n, folds, y, center) for codes, n in coded]


def _added(parts: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.sum(same, axis=0) for same in zip(*parts, strict=True)]


def _encoded(
    reader: Reader, target: Target, means: FoldedMeans | None, i: int, part: Any, folds: np.ndarray
) -> Any:
    if not len(folds):
        return part
    table = reader(i, part)
    means_of = None if means is None else partial(means, folds=folds)
    features = reader.encoder._encode(table.values, means_of)
    with naming(i):
        y = target.encode(table.y)
    return as_input(features), y, table.weight


# ---------------------------------------------------------------- rows as the networks take them


class TableRows(PlacedRows):
    """Rows of encoded partitions to learn from, in the place of `Rows`.

    Parameters
    ----------
    engine : layerkit.distributed.workers.Workers
    partitions : layerkit.distributed.partitions.Partitions
        Of features, targets and weights.
    chosen : ndarray of int
        The numbers of the rows, in the order in which they would be in memory.
    """

    chosen: np.ndarray

    def __init__(self, engine: Any, partitions: Any, chosen: np.ndarray) -> None:
        self.engine, self.partitions, self.chosen = engine, partitions, chosen
        self.n_rows = len(chosen)
        self.places = _places(partitions, chosen)
        weights = [w for w in partitions.each(_weight, self.places) if w is not None]
        self.mean_weight = sum(weights) / self.n_rows if weights else 1.0
        self.is_weighted = bool(weights)
        self.X = partitions.take(_features, chosen[:: max(self.n_rows // _SAMPLE, 1)])

    @staticmethod
    def validate(X: np.ndarray, y: np.ndarray, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return what was checked when it was encoded."""
        return X, y

    @staticmethod
    def encode(y: np.ndarray) -> np.ndarray:
        """Return targets, which are encoded already."""
        return y

    @property
    def workers(self) -> Any:
        """The Dask workers, as a new run needs them."""
        return type(self.engine)(self.engine.client, self.engine.sync_every)

    @property
    def data(self) -> TableRows:
        """What `train` takes."""
        rows = copy.copy(self)
        rows.table = None
        return rows

    def linear_part(self, columns: list[int]) -> LinearPart:
        """Return a ridge regression of the targets on some columns."""
        return ridge(self.partitions, columns, self.places)

    def residual(self, linear: LinearPart) -> TableRows:
        """Return the rows with what is left to learn as targets, scaled to unit variance."""
        rows = copy.copy(self)
        rows.partitions = self.partitions.changed(partial(_residual, linear))
        return rows


class HeldOutTable(HeldOutRows):
    """Rows that are held out, where they lie; only their targets come to the client."""

    def __init__(self, source: TableRows, rows: np.ndarray) -> None:
        super().__init__(source, rows)
        self.y = self.partitions.take(_targets, rows)
        self.weight = self.partitions.take(_weights, rows) if source.is_weighted else None

    @property
    def data(self) -> tuple[HeldOutTable, np.ndarray, np.ndarray | None]:
        """What `train` takes as validation data."""
        return self, self.y, self.weight

    def residual(self, linear: LinearPart) -> HeldOutTable:
        """Return the rows with what a linear part leaves as targets."""
        rows = copy.copy(self)
        rows.y = self.partitions.take(partial(_left, linear), self.rows)
        return rows

    def linear_outputs(self, linear: LinearPart) -> np.ndarray:
        """Return what a linear part predicts."""
        return self.partitions.take(partial(_linear, linear), self.rows)

    def raw_outputs(self, network: Layer) -> np.ndarray:
        """Return a network's outputs, in float64."""
        return self.partitions.take(partial(_outputs, network), self.rows)


def _weight(i: int, part: Any, places: np.ndarray) -> float | None:
    weight = part[2]
    return None if weight is None or not len(places) else float(weight[places].sum())


def _residual(linear: LinearPart, i: int, part: Any) -> Any:
    X, y, weight = part
    return (X, linear.residual(X, y), weight) if len(y) else part


def _features(X: Any, y: Any, weight: Any) -> Any:
    return X


def _targets(X: Any, y: Any, weight: Any) -> Any:
    return y


def _weights(X: Any, y: Any, weight: Any) -> Any:
    return weight


def _left(linear: LinearPart, X: Any, y: Any, weight: Any) -> np.ndarray:
    return linear.residual(X, y)


def _linear(linear: LinearPart, X: Any, y: Any, weight: Any) -> np.ndarray:
    return linear.predict(X)


def _outputs(network: Layer, X: Any, y: Any, weight: Any) -> np.ndarray:
    return raw_outputs(network, X)
