"""A ridge regression on rows of partitions, by sums that are made where they lie."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from layerkit.estimators.tabular.learning import PENALTIES, LinearPart
from layerkit.estimators.tabular.summaries import Moments


def ridge(partitions: Any, columns: list[int], places: list[np.ndarray]) -> LinearPart:
    """Fit what `LinearPart.of` fits, in two passes.

    The first finds the normal equations. With X and y centred, X divided by its standard
    deviations, the weights of rows on the diagonal of D, and the eigenvectors V and eigenvalues s
    of ``Xᵀ D X``, the regression with penalty a is ``W = V (s + a)⁻¹ Vᵀ Xᵀ D y``. The second pass
    finds, for every penalty, the sum of the squared errors of each row i when it is left out,
    ``r_i / (1 - h_i)``, with the residual r and the leverage ``h_i = d_i (1 / Σd + x_i V (s + a)⁻¹
    Vᵀ x_iᵀ)``; the penalty for which that is least is taken.

    Parameters
    ----------
    partitions : layerkit.distributed.partitions.Partitions
        Of features, targets (n, k) and weights or None.
    columns : list of int
        Of the features, that count.
    places : list of ndarray of int
        In each partition, the rows that count.
    """
    seen, weighted = partitions.merged(partial(_moments, columns), _merged_moments, places)
    n = len(columns)
    scale = np.maximum(seen.std[:n], 1e-12)
    s, V = np.linalg.eigh(weighted.products[:n, :n] / np.outer(scale, scale))
    s, projected = s.clip(0), V.T @ (weighted.products[:n, n:] / scale[:, np.newaxis])
    turned = V / scale[:, np.newaxis]
    errors = partial(_errors, columns, weighted, turned, s, projected)
    squared, sums, squares, count = partitions.merged(errors, _summed, places)
    best = int(np.argmin(squared))
    W = turned @ (projected / (s + PENALTIES[best])[:, np.newaxis])
    b = weighted.mean[n:] - weighted.mean[:n] @ W
    mean = sums[best] / count
    spread = np.sqrt((squares[best] / count - mean**2).clip(0))
    return LinearPart(columns, W, b, np.maximum(spread, 1e-6))


def _rows(columns: list[int], part: Any, places: np.ndarray) -> tuple[np.ndarray, np.ndarray, Any]:
    X, y, weight = part
    X, y = X[places][:, columns].astype(np.float64), y[places].astype(np.float64)
    return X, y, None if weight is None else weight[places]


def _moments(
    columns: list[int], i: int, part: Any, places: np.ndarray
) -> tuple[Moments, Moments] | None:
    """Return the moments of X and y side by side, of rows and of weighted rows."""
    if not len(places):
        return None
    X, y, weight = _rows(columns, part, places)
    rows = np.hstack([X, y])
    seen = Moments.of(rows)
    return seen, seen if weight is None else Moments.of(rows, weight)


def _merged_moments(parts: Iterable[tuple[Moments, Moments]]) -> tuple[Moments, ...]:
    return tuple(Moments.merged(same) for same in zip(*parts, strict=True))


def _errors(
    columns: list[int],
    weighted: Moments,
    turned: np.ndarray,
    s: np.ndarray,
    projected: np.ndarray,
    i: int,
    part: Any,
    places: np.ndarray,
) -> tuple[np.ndarray, ...] | None:
    """Return, for every penalty, sums of squared errors of rows left out, and of residuals."""
    if not len(places):
        return None
    X, y, weight = _rows(columns, part, places)
    n = len(columns)
    Z, y = (X - weighted.mean[:n]) @ turned, y - weighted.mean[n:]
    d = np.ones(len(y)) if weight is None else weight
    squared, sums, squares = [], [], []
    for penalty in PENALTIES:
        divided = Z / (s + penalty)
        left = y - divided @ projected
        leverage = d * (1 / weighted.weight + (divided * Z).sum(axis=1))
        squared.append((d[:, np.newaxis] * (left / (1 - leverage)[:, np.newaxis]) ** 2).sum())
        sums.append(left.sum(axis=0))
        squares.append((left**2).sum(axis=0))
    return np.array(squared), np.array(sums), np.array(squares), np.array(len(y))


def _summed(parts: Iterable[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(map(sum, zip(*parts, strict=True)))  # type: ignore[arg-type]
