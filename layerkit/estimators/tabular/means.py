"""What y is on average where a column has a category: for columns of many categories."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import KFold
from sklearn.preprocessing import LabelBinarizer, TargetEncoder

from layerkit.estimators.tabular.columns import CategoryColumn, quantiles_of

FOLDS = 5
_FEWEST = 10
"""Rows below which there is nothing to average."""
_ROWS_OF_A_CATEGORY = 50
"""With more of them on average an embedding learns by itself what a mean would tell."""


def as_numbers(y: np.ndarray, labels: list[np.ndarray] | None) -> np.ndarray:
    """Return y as columns of numbers: for each class one that is 1 where y is it, of two one.

    ``labels`` are the classes of each column, None where y holds numbers.
    """
    columns = y.reshape(len(y), -1)
    if labels is None:
        return columns.astype(np.float64)
    pairs = zip(labels, columns.T, strict=True)
    binary = [LabelBinarizer().fit(known).transform(column) for known, column in pairs]
    return np.hstack(binary).astype(np.float64)


def wants_means(column: Any, n_rows: int) -> bool:
    """Whether a column has many categories, seen seldom each."""
    if not isinstance(column, CategoryColumn) or n_rows < _FEWEST:
        return False
    return n_rows < _ROWS_OF_A_CATEGORY * column.n_codes


def learn_means(columns: list[CategoryColumn], codes: np.ndarray, y: np.ndarray) -> None:
    """Give columns the means of y over their categories, which `TargetEncoder` smoothes.

    Parameters
    ----------
    columns : list of CategoryColumn
        Those that `wants_means` named, at least one.
    codes : ndarray of shape (n_samples, len(columns))
    y : ndarray of shape (n_samples, n_outputs)
    """
    encoders = [_encoder().fit(codes, t) for t in y.T]
    crossed = cross_fitted(codes, y)
    for i, column in enumerate(columns):
        table = np.tile([float(e.target_mean_) for e in encoders], (column.n_codes, 1))
        for k, encoder in enumerate(encoders):
            table[encoder.categories_[i], k] = encoder.encodings_[i]
        column.set_means(table, [quantiles_of(mean) for mean in crossed[:, i].T])


def cross_fitted(codes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return means for the rows that they come from, each over four fifths without its own.

    Over all rows they would tell a network of each row's own y.

    Returns
    -------
    means : ndarray of shape (n_samples, n_columns, n_outputs)
    """
    return np.stack([_encoder().fit_transform(codes, t) for t in y.T], axis=2)


def folds_of(n_rows: int) -> np.ndarray:
    """Return the fold, 0 to `FOLDS` - 1, of which each row is."""
    folds = np.empty(n_rows, np.int8)
    for fold, (_, rows) in enumerate(_folds().split(np.broadcast_to(0, (n_rows, 1)))):
        folds[rows] = fold
    return folds


def _folds() -> KFold:
    return KFold(FOLDS, shuffle=True, random_state=0)


def _encoder() -> Any:
    return TargetEncoder(target_type="continuous", cv=_folds())
