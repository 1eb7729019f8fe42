"""Means of y by category from sums that can be added up: what `means` finds of rows in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerkit.estimators.tabular.columns import CategoryColumn
from layerkit.estimators.tabular.means import FOLDS
from layerkit.estimators.tabular.summaries import Spread


def sums_by_code(
    codes: np.ndarray, n_codes: int, folds: np.ndarray, y: np.ndarray, center: np.ndarray
) -> np.ndarray:
    """Count rows, and add up y - center and its squares, by fold and code.

    Parameters
    ----------
    codes, folds : ndarray of int, shape (n_samples,)
    n_codes : int
    y : ndarray of shape (n_samples, n_outputs)
    center : ndarray of shape (n_outputs,)
        Near the mean of y, so that little is lost where a variance is a difference of sums.

    Returns
    -------
    sums : ndarray of shape (FOLDS, n_codes, 1 + 2 * n_outputs)
    """
    left = y - center
    terms = np.column_stack([np.ones(len(y)), left, left**2])
    sums = np.zeros((FOLDS, n_codes, terms.shape[1]))
    np.add.at(sums, (folds, codes), terms)
    return sums


def smoothed(sums: np.ndarray, center: np.ndarray) -> np.ndarray:
    r"""Return means of y by code, drawn towards that of all rows as `TargetEncoder` does.

    With n_c rows of a code, their mean :math:`\mu_c` and variance :math:`s_c^2`, and those of all
    rows, :math:`\mu` and :math:`\tau^2`, it is :math:`\lambda_c \mu_c + (1 - \lambda_c) \mu` with
    :math:`\lambda_c = \tau^2 n_c / (\tau^2 n_c + s_c^2)`.

    Parameters
    ----------
    sums : ndarray of shape (n_codes, 1 + 2 * n_outputs)
    center : ndarray of shape (n_outputs,)

    Returns
    -------
    means : ndarray of shape (n_codes, n_outputs)
    """
    n = sums[:, :1]
    first, second = np.hsplit(sums[:, 1:], 2)
    total = n.sum()
    mean = first.sum(axis=0) / total
    variance = second.sum(axis=0) / total - mean**2
    seen = np.maximum(n, 1)
    means = first / seen
    of_code = (second / seen - means**2).clip(0)
    divisor = variance * n + of_code
    share = np.divide(variance * n, divisor, where=divisor > 0, out=np.zeros_like(divisor))
    return center + share * means + (1 - share) * mean


@dataclass(frozen=True)
class FoldedMeans:
    """Means for the rows of some columns, by fold and code.

    Attributes
    ----------
    tables : list of ndarray of shape (FOLDS + 1, n_codes, n_outputs)
        Of each column, over the rows of all folds but one; the last, fold -1, over all.
    """

    tables: list[np.ndarray]

    @classmethod
    def of(cls, sums: list[np.ndarray], center: np.ndarray) -> FoldedMeans:
        """Return those of what `sums_by_code` found of each column."""
        wholes = [own.sum(axis=0) for own in sums]
        pairs = zip(sums, wholes, strict=True)
        without = [[whole - fold for fold in own] + [whole] for own, whole in pairs]
        return cls([np.stack([smoothed(rest, center) for rest in own]) for own in without])

    def __call__(self, codes: np.ndarray, folds: np.ndarray) -> np.ndarray:
        """Return means for rows, (n_samples, n_columns, n_outputs); of fold -1 by all rows."""
        pairs = zip(self.tables, codes.T, strict=True)
        return np.stack([table[folds, own] for table, own in pairs], axis=1)

    def teach(self, columns: list[CategoryColumn], sums: list[np.ndarray]) -> FoldedMeans:
        """Give the columns their means; return those of the columns that have some."""
        for column, table, own in zip(columns, self.tables, sums, strict=True):
            seen = own[:, :, 0] > 0
            counts = own[:, :, 0][seen]
            spreads = [Spread.of(mean[seen], counts) for mean in np.moveaxis(table[:FOLDS], -1, 0)]
            column.set_means(table[-1], [spread.quantiles() for spread in spreads])
        pairs = zip(columns, self.tables, strict=True)
        return FoldedMeans([table for column, table in pairs if column.means])
