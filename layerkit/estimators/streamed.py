"""Batches that come by one after the other in place of an array, for data larger than memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight

from layerkit.estimators.weights import class_weights
from layerkit.sequences import Sequences, numbers
from layerkit.training.batches import mapping_of, release
from layerkit.training.targets import as_weights


def are_batches(X: Any, y: Any) -> bool:
    """Whether `fit` was given an iterable of batches: without y, and not an array."""
    is_array = hasattr(X, "shape") or hasattr(X, "__array__")
    return y is None and isinstance(X, Iterable) and not is_array and not isinstance(X, str | bytes)


class StreamedRows:
    """Batches of rows that were looked at once, and are checked again whenever they come.

    What has to be known before the first step (the classes, the dtype, the number of rows, their
    mean weight) is found in a pass over all batches, of which no more than that is kept.

    Parameters
    ----------
    batches : iterable of (X, y) or (X, y, sample_weight)
        Gives the same data whenever it is iterated.
    validate : callable (X, y, reset) -> (X, y)
        Raises where a batch does not fit; ``reset`` at the first one of a new fit.
    classify : bool
        Whether y holds classes.
    fresh : bool
        Whether it is a new fit.

    Attributes
    ----------
    X, y : array
        One row, in the dtype that holds all; targets among which every class is.
    n_rows : int
        Those of weight 0 not counted.
    """

    def __init__(
        self, batches: Iterable[Any], validate: Callable[..., Any], classify: bool, fresh: bool
    ) -> None:
        if isinstance(batches, Iterator):
            raise ValueError(
                f"X is {type(batches).__name__}, an iterator that gives its batches only once, but "
                "every epoch needs them all: pass something that can be iterated anew (a list, an "
                "object with __iter__), or call partial_fit for every batch"
            )
        self.batches, self.validate = batches, validate
        self.encode: Callable[[np.ndarray], np.ndarray] = np.asarray
        self.mean_weight = 1.0
        self._factors: dict[Any, float] | None = None
        self._survey(classify, fresh)

    def _survey(self, classify: bool, fresh: bool) -> None:
        """Look at every batch once."""
        self.tallies: list[Tally] = []
        self.n_batches = self.n_rows = 0
        for X, y, tallies in self._looks(fresh, classify):
            if self.n_batches == 0:
                self.X, self.y = X, y
                self.tallies = [Tally() for _ in tallies]
            if row_shape(X) != row_shape(self.X) or y.shape[1:] != self.y.shape[1:]:
                raise ValueError(
                    f"batch {self.n_batches}: X and y have rows of shape {row_shape(X)} and "
                    f"{y.shape[1:]}, those of the batches before {row_shape(self.X)} and "
                    f"{self.y.shape[1:]}"
                )
            for tally, found in zip(self.tallies, tallies, strict=True):
                tally.add(found)
            self.X = self.X.astype(np.result_type(self.X.dtype, X.dtype), copy=False)
            self.n_batches += 1
        if self.n_batches == 0:
            raise ValueError("X gave no batches")
        if classify:
            self.y = every_label(self.tallies, self.y.ndim)

    def _looks(self, fresh: bool, classify: bool) -> Iterator[Look]:
        for X, y, weight in self._checked(fresh, classify):
            yield look(X, y, weight, classify)

    def weigh(self, class_weight: Any) -> None:
        """Settle the weights of the classes, and the mean weight of all rows."""
        tally = self.tallies[0]
        weights: Any = tally.weights
        if class_weight is not None:
            if len(self.tallies) > 1:
                raise ValueError(
                    "class_weight with several outputs needs y as a whole: give the batches "
                    f"weights of their own, (X, y, sample_weight), got {class_weight!r}"
                )
            weights = class_weights(class_weight, [tally.labels], [tally.labels], tally.weights)
            factors = np.divide(weights, tally.weights, where=tally.weights > 0, out=weights * 0)
            self._factors = dict(zip(tally.labels.tolist(), factors.tolist(), strict=True))
        self.n_rows = int(tally.rows[weights > 0].sum())
        if self.n_rows == 0:
            raise ValueError("sample_weight times class_weight is zero for all rows")
        self.mean_weight = float(weights.sum()) / self.n_rows

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield the batches as `train` wants them, without rows of weight 0."""
        for X, y, weight in self._checked():
            if self._factors is not None:
                weight = class_weights(self._factors, [y], [self.tallies[0].labels], weight)
            elif weight is None and self.mean_weight != 1:
                weight = np.ones(len(y))
            if weight is None:
                yield X, self.encode(y)
                continue
            rows = np.flatnonzero(weight)
            if len(rows):
                yield X[rows], self.encode(y[rows]), weight[rows] / self.mean_weight

    def _checked(self, fresh: bool = False, classify: bool = False) -> Iterator[tuple[Any, ...]]:
        for n, batch in enumerate(self.batches):
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise ValueError(
                    "y is None, so X must be an iterable of batches (X, y) or (X, y, "
                    f"sample_weight); batch {n} is {type(batch).__name__}: {repr(batch)[:100]}"
                )
            X, y, weight = (*batch, None)[:3]
            try:
                X, y = self.validate(X, y, reset=fresh and n == 0)
                if isinstance(y, Sequences):
                    raise ValueError(
                        "batches take one target for each row, not for every step: give X and y "
                        "as lists of all rows, or use `layerkit.training.train`"
                    )
                if classify:
                    check_classification_targets(y)
                if weight is not None:
                    weight = _check_sample_weight(
                        as_weights(weight),
                        X,
                        ensure_non_negative=True,
                        allow_all_zero_weights=True,  # some other batch has more
                    )
            except ValueError as error:
                raise ValueError(f"batch {n}: {error}") from error
            yield X, y, weight
            release(mapping_of(X))

    # ---------------------------------------------------------------- for checkpoints

    @property
    def fingerprint(self) -> str:
        """Tells these data from others: a digest of what the first pass found."""
        own = getattr(self.batches, "fingerprint", "")
        found = [(t.labels.tolist(), t.rows.tolist(), t.weights.tolist()) for t in self.tallies]
        row = self.X.toarray() if hasattr(self.X, "toarray") else self.X
        text = repr((own, self.n_batches, self.X.shape, self.X.dtype, found))
        return hashlib.sha256(text.encode() + numbers(row).tobytes()).hexdigest()

    @property
    def state(self) -> Any:
        """What the batches themselves remember from epoch to epoch, if anything; settable."""
        return getattr(self.batches, "state", None)

    @state.setter
    def state(self, state: Any) -> None:
        self.batches.state = state  # type: ignore[attr-defined]


def row_shape(X: Any) -> tuple[int | None, ...]:
    """Shape of a row; rows of `Sequences` may have any number of steps."""
    return (None, *X.shape[2:]) if isinstance(X, Sequences) else X.shape[1:]


class Tally:
    """How many rows, of which total weight, each label has.

    Examples
    --------
    >>> tally = Tally()
    >>> tally.count(np.array(["b", "a", "b"]), None)
    >>> tally.count(np.array(["b", "c"]), np.array([0.0, 2.5]))
    >>> tally.labels.tolist(), tally.rows.tolist(), tally.weights.tolist()
    (['a', 'b', 'c'], [1.0, 2.0, 1.0], [1.0, 2.0, 2.5])
    """

    labels: np.ndarray = np.empty(0)
    rows: np.ndarray = np.empty(0)
    weights: np.ndarray = np.empty(0)

    def count(self, column: np.ndarray, weight: np.ndarray | None) -> None:
        """Add a batch."""
        weight = np.ones(len(column)) if weight is None else weight
        labels, index = np.unique(column, return_inverse=True)
        found = Tally()
        found.labels = labels
        found.rows, found.weights = np.bincount(index, weight > 0), np.bincount(index, weight)
        self.add(found)

    def add(self, found: Tally) -> None:
        """Add what was counted elsewhere."""
        labels, rows, weights = found.labels, found.rows, found.weights
        if len(self.labels):
            labels = np.concatenate([self.labels, labels])
            rows, weights = np.append(self.rows, rows), np.append(self.weights, weights)
        self.labels, index = np.unique(labels, return_inverse=True)
        self.rows, self.weights = np.bincount(index, rows), np.bincount(index, weights)


def every_label(tallies: list[Tally], ndim: int) -> np.ndarray:
    """Return y, of so many axes, in which every label of every output is."""
    n = max(len(tally.labels) for tally in tallies)
    every = np.column_stack([np.resize(tally.labels, n) for tally in tallies])
    return every[:, 0] if ndim == 1 else every


def tallies_of(y: np.ndarray, weight: np.ndarray | None) -> list[Tally]:
    """Count the labels of every column."""
    columns = y.reshape(len(y), -1).T
    tallies = [Tally() for _ in columns]
    for tally, column in zip(tallies, columns, strict=True):
        tally.count(column, weight)
    return tallies


Look = tuple[Any, np.ndarray, list[Tally]]
"""One row of X, one of y, and what was counted of each output."""


def look(X: Any, y: np.ndarray, weight: np.ndarray | None, classify: bool) -> Look:
    """Count the labels of a batch; of numbers, the rows."""
    return X[:1].copy(), y[:1].copy(), tallies_of(y if classify else np.zeros(len(y)), weight)
