"""From what `fit` is given to the rows that are learned from, and those that are held out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight

from layerkit.estimators.preparing import blaming_validation, check_pair, splitting_seed
from layerkit.estimators.tabular.columns import Values
from layerkit.estimators.tabular.encoder import TableEncoder
from layerkit.estimators.tabular.learning import Rows, as_input
from layerkit.estimators.tabular.means import as_numbers, cross_fitted
from layerkit.estimators.tabular.scaled import Seen
from layerkit.estimators.targets import Target
from layerkit.seeds import as_seed_sequence
from layerkit.sequences import refuse_misread
from layerkit.training.targets import as_weights

# With fewer rows than these all are learned from, and held out too.
_FEWEST_TO_SPLIT = 10


@dataclass(frozen=True)
class Table:
    """A table that has been read: values by column, y, and weights of the rows or None."""

    values: list[Values]
    y: np.ndarray
    weight: np.ndarray | None = None

    def part(self, rows: np.ndarray) -> Table:
        """Return some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Table([v[rows] for v in self.values], self.y[rows], weight)

    @property
    def used(self) -> np.ndarray:
        """Positions of the rows that have a weight."""
        if self.weight is None:
            return np.arange(len(self.y))
        used = np.flatnonzero(self.weight)
        if not len(used):
            raise ValueError("sample_weight times class_weight is zero for all rows")
        return used


@dataclass(frozen=True)
class Task:
    """What there is to learn: all rows that have a weight, those to learn from, those held out.

    Where there are too few, the same are held out that are learned from: they are not ``apart``.
    """

    encoder: TableEncoder
    target: Target
    seed: np.random.SeedSequence
    whole: Table
    learning: Table
    held_out: Table
    apart: bool
    given: tuple[Any, Any, Any]  # to `fit`: X, y, sample_weight
    numbers_of: Callable[[np.ndarray], np.ndarray] | None  # of y, for the encoder's target_means

    @property
    def held_out_y(self) -> np.ndarray:
        """The y of the rows that are held out, as it was given."""
        return self.held_out.y

    def rows(self, table: Table) -> Rows:
        """Return a table as the networks take it."""
        means_of = None
        if table is not self.held_out and self.numbers_of is not None:
            means_of = partial(cross_fitted, y=self.numbers_of(table.y))
        features = self.encoder._encode(table.values, means_of)
        return Rows(as_input(features), self.target.encode(table.y), table.weight)


def prepare(estimator: Any, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> Task:
    """Read and check what `fit` was given, tell what y holds, and fit the encoder."""
    check_pair(X_val, y_val)
    for values, name in ((y, "y"), (sample_weight, "sample_weight"), (X_val, "X_val")):
        refuse_misread(values, name)
    refuse_misread(y_val, "y_val")
    encoder = encoder_for(estimator)
    names, values = encoder._read(X, reset=True)
    table = Table(values, *checked(estimator, X, y, sample_weight))
    target = estimator._target_of(table.y)
    numbers_of = numbers_for(estimator, target)
    table = replace(table, weight=estimator._weighted(target, table.y, table.weight))
    seed = as_seed_sequence(estimator.random_state)
    if X_val is None:
        learn, held = split(estimator, X, y, table, seed)
    else:
        learn, held = table.used, None
    learning = table.part(learn)
    encoder._learn(names, learning.values, numbers_of(learning.y) if numbers_of else None)
    check_features(encoder, len(learn))
    if X_val is None:
        held_out = table.part(held)
    else:
        with blaming_validation():
            read = encoder._read(X_val, reset=False)[1]
            held_out = Table(read, *checked(estimator, X_val, y_val))
    estimator._bind(target, None if is_classifier(estimator) else Seen.of(learning.y))
    if X_val is not None:
        with blaming_validation():
            target.encode(held_out.y)
    whole = table.part(table.used)
    apart, given = learn is not held, (X, y, sample_weight)
    return Task(encoder, target, seed, whole, learning, held_out, apart, given, numbers_of)


def encoder_for(estimator: Any) -> TableEncoder:
    """Return the encoder that an estimator's parameters ask for."""
    means = estimator.target_means
    return TableEncoder(max_onehot=estimator.max_onehot, clip=None, target_means=means)


def numbers_for(estimator: Any, target: Any) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return what makes numbers of y for the encoder's target_means, if they are wanted."""
    if not estimator.target_means:
        return None
    return partial(as_numbers, labels=target.labels if is_classifier(estimator) else None)


def check_features(encoder: TableEncoder, n_rows: int) -> None:
    """Refuse a table of which nothing is left."""
    if not encoder.kinds_:
        raise ValueError(
            f"no column of X tells the {n_rows} sample(s) to learn from apart: in each all "
            "values are the same, or categories that occur once"
        )


def checked(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> tuple[Any, Any]:
    """Return y and the weights of rows as arrays."""
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"{name} requires y to be passed, but the target y is None")
    y = estimator._check_y(y)
    check_consistent_length(X, y)
    if sample_weight is None:
        return y, None
    rows = np.empty((len(y), 1))
    return y, _check_sample_weight(as_weights(sample_weight), rows, ensure_non_negative=True)


def split(estimator: Any, X: Any, y: Any, table: Table, seed: np.random.SeedSequence) -> Any:
    """Return positions to learn from and to hold out; the same array if there are too few."""
    used, cv = table.used, estimator.cv
    if cv is not None:
        splits = cv.split(X, y) if hasattr(cv, "split") else cv
        return _first_split(next(iter(splits)), used, len(table.y))
    if len(used) < _FEWEST_TO_SPLIT:
        return used, used
    fraction = estimator.validation_fraction
    labels = table.y[used] if is_classifier(estimator) and table.y.ndim == 1 else None
    if labels is not None and not _can_stratify(labels, fraction):
        labels = None
    state = splitting_seed(seed)
    return train_test_split(used, test_size=fraction, stratify=labels, random_state=state)


def _first_split(split: Any, used: np.ndarray, n_rows: int) -> list[np.ndarray]:
    """Return the rows of a split that have a weight, or raise if a part has none."""
    try:
        parts = [np.intersect1d(np.arange(n_rows)[part], used) for part in split]
    except IndexError as error:
        raise ValueError(f"cv names rows that X, of {n_rows} rows, has not: {error}") from None
    sizes = [len(part) for part in parts]
    if len(sizes) != 2 or not all(sizes):
        raise ValueError(
            "cv must give (train, test) with at least one row that has a weight in each; the first "
            f"split has parts of {sizes}"
        )
    return parts


def _can_stratify(labels: np.ndarray, fraction: float) -> bool:
    """Whether there are enough of each class to have it in both parts."""
    counts = np.unique(labels, return_counts=True)[1]
    n_held = int(np.ceil(fraction * len(labels)))
    return counts.min() >= 2 and min(n_held, len(labels) - n_held) >= len(counts)
