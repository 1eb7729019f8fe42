"""What partitions say of the columns of a table: summaries of bounded size that can be merged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from layerkit.estimators.tabular.columns import (
    QUARTILES,
    CategoryColumn,
    Column,
    DateColumn,
    NumberColumn,
    Values,
    parts_of,
)
from layerkit.estimators.tabular.scaled import Seen

POINTS = 4096
"""Distinct values of a column of numbers up to which its summary is exact."""
MOST_CATEGORIES = 2**18
"""Of a column; a table in memory may have more."""


@dataclass(frozen=True)
class Spread:
    """Numbers as sorted distinct values and how often each occurs.

    Of more than `POINTS` values each is replaced by the middle one of its group, of `POINTS` groups
    of (nearly) the same number of rows. That moves the rank of any number by at most half a group,
    1 / (2 `POINTS`) of the rows, and as much whenever summaries are merged.

    Examples
    --------
    >>> parts = [Spread.of(np.array([3.0, np.nan, 1.0])), Spread.of(np.array([1.0, 2.0, 9.0]))]
    >>> whole = Spread.merged(parts)
    >>> whole.values.tolist(), whole.counts.tolist(), whole.missing
    ([1.0, 2.0, 3.0, 9.0], [2, 1, 1, 1], True)
    >>> [float(q) for q in whole.quantiles()]
    [1.0, 1.0, 2.0, 3.0, 9.0]
    """

    values: np.ndarray
    counts: np.ndarray
    low: float
    high: float
    missing: bool

    @classmethod
    def of(cls, numbers: Values, counts: np.ndarray | None = None) -> Self:
        """Return that of numbers, NaN where they are missing, each once or so many times."""
        known = ~np.isnan(numbers)
        values = numbers[known]
        counts = np.ones(len(values), np.int64) if counts is None else counts[known]
        low, high = (values.min(), values.max()) if len(values) else (np.inf, -np.inf)
        return cls(*_few(values, counts), low, high, not known.all())

    @classmethod
    def merged(cls, parts: Sequence[Spread]) -> Self:
        """Return that of all parts together."""
        values = np.concatenate([part.values for part in parts])
        counts = np.concatenate([part.counts for part in parts])
        low, high = min(part.low for part in parts), max(part.high for part in parts)
        return cls(*_few(values, counts), low, high, any(part.missing for part in parts))

    def quantiles(self) -> Sequence[float]:
        """Return the smallest number, the quartiles, as NumPy defines them, and the largest."""
        if not len(self.values):
            return []
        ends = np.cumsum(self.counts)
        positions = (ends[-1] - 1) * np.array(QUARTILES)
        below = np.floor(positions)
        pairs = self.values[np.searchsorted(ends, [below, np.ceil(positions)], side="right")]
        between = zip(pairs.T, positions - below, strict=True)
        return [self.low, *(np.quantile(pair, share) for pair, share in between), self.high]

    def column(self, name: str, max_onehot: int) -> NumberColumn:
        """Return what becomes of the column."""
        return NumberColumn(name, self.quantiles(), self.missing)


def _few(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct values, sorted, and their counts; of too many the middles of groups."""
    values, index = np.unique(values, return_inverse=True)
    ends = np.cumsum(np.bincount(index, counts, len(values)).astype(np.int64))
    if len(values) > POINTS:
        edges = np.linspace(0, ends[-1], POINTS + 1).astype(np.int64)
        middles = np.searchsorted(ends, (edges[:-1] + edges[1:]) // 2, side="right")
        picked, last = np.unique(middles[::-1], return_index=True)
        values, ends = values[picked], edges[POINTS - last]
    return values, np.diff(ends, prepend=0)


@dataclass(frozen=True)
class Counts:
    """Categories, how often each occurs, and whether values are missing."""

    counts: Counter[Any]
    missing: bool

    @classmethod
    def of(cls, values: Values) -> Self:
        """Return those of values, None where they are missing."""
        counts = Counter(value for value in values if value is not None)
        return cls(counts, counts.total() < len(values))

    @classmethod
    def merged(cls, parts: Sequence[Counts]) -> Self:
        """Return those of all parts together."""
        counts: Counter[Any] = Counter()
        for part in parts:
            counts.update(part.counts)
            if len(counts) > MOST_CATEGORIES:
                break
        return cls(counts, any(part.missing for part in parts))

    def column(self, name: str, max_onehot: int) -> CategoryColumn:
        """Return what becomes of the column."""
        if len(self.counts) > MOST_CATEGORIES:
            raise ValueError(
                f"column {name!r} has more than {MOST_CATEGORIES:,} categories, which do not fit "
                f"into a summary: leave it out (X.drop(columns={name!r})), or make fewer of them"
            )
        return CategoryColumn(name, self.counts, self.missing, max_onehot)


@dataclass(frozen=True)
class Times:
    """Dates and times by their parts: year, month and so on, each as numbers."""

    parts: dict[str, Spread]

    @classmethod
    def of(cls, values: Values) -> Self:
        """Return those of times, NaT where they are missing."""
        return cls({name: Spread.of(part) for name, part in parts_of(values).items()})

    @classmethod
    def merged(cls, parts: Sequence[Times]) -> Self:
        """Return those of all parts together."""
        names = parts[0].parts
        return cls({name: Spread.merged([part.parts[name] for part in parts]) for name in names})

    def column(self, name: str, max_onehot: int) -> DateColumn:
        """Return what becomes of the column."""
        columns = self.parts.items()
        return DateColumn(name, [s.column(f"{name}_{part}", max_onehot) for part, s in columns])


_SUMMARIES: dict[str, Any] = {"f": Spread, "O": Counts, "M": Times}


@dataclass(frozen=True)
class Moments:
    """Total weight, mean and sums of products of deviations of rows of numbers.

    Two sets of rows are merged by what their means differ, d: with weights v and w the sums of
    products are ``C + D + v w / (v + w) d dᵀ`` (Chan, Golub and LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979).
    """

    weight: float
    mean: np.ndarray
    products: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, weight: np.ndarray | None = None) -> Self:
        """Return those of rows (n_samples, n), weighted or not."""
        total = len(rows) if weight is None else weight.sum()
        if not total:
            n = rows.shape[1]
            return cls(0.0, np.zeros(n), np.zeros((n, n)))
        mean = np.average(rows, axis=0, weights=weight)
        left = rows - mean
        weighted = left if weight is None else left * weight[:, np.newaxis]
        return cls(float(total), mean, weighted.T @ left)

    @classmethod
    def merged(cls, parts: Sequence[Moments]) -> Self:
        """Return those of all rows together."""
        weight, mean, products = parts[0].weight, parts[0].mean, parts[0].products
        for part in parts[1:]:
            if not part.weight:
                continue
            total, apart = weight + part.weight, part.mean - mean
            mean = mean + apart * (part.weight / total)
            between = np.outer(apart, apart) * (weight * part.weight / total)
            weight, products = total, products + part.products + between
        return cls(weight, mean, products)

    @property
    def std(self) -> np.ndarray:
        """Standard deviations."""
        return np.sqrt(np.diagonal(self.products) / self.weight)


@dataclass(frozen=True)
class Summary:
    """What rows to learn from say of columns and of y; ``moments`` and range are of numbers."""

    columns: list[Any]
    moments: Moments | None = None
    low: Any = None
    high: Any = None

    @classmethod
    def of(cls, values: list[Values], y: np.ndarray | None) -> Self:
        """Look at rows that have been read; of classes, y is None."""
        columns = [_SUMMARIES[v.dtype.kind].of(v) for v in values]
        if y is None:
            return cls(columns)
        y = y.reshape(len(y), -1)
        return cls(columns, Moments.of(y), y.min(axis=0), y.max(axis=0))

    @classmethod
    def merged(cls, parts: Sequence[Summary]) -> Self:
        """Return what all parts say together."""
        by_column = zip(*(part.columns for part in parts), strict=True)
        columns = [type(same[0]).merged(same) for same in by_column]
        moments = [part.moments for part in parts if part.moments is not None]
        if not moments:
            return cls(columns)
        low, high = np.min([p.low for p in parts], axis=0), np.max([p.high for p in parts], axis=0)
        return cls(columns, Moments.merged(moments), low, high)

    @property
    def seen(self) -> Seen | None:
        """Where y lies, of numbers."""
        if self.moments is None:
            return None
        return Seen(self.low, self.high, self.moments.mean, self.moments.std)

    def columns_named(self, names: Sequence[str], max_onehot: int) -> list[Column]:
        """Return what becomes of the columns."""
        pairs = zip(names, self.columns, strict=True)
        return [summary.column(name, max_onehot) for name, summary in pairs]
