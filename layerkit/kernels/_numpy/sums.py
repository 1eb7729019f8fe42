"""Sums over the rows of a matrix."""

import numpy as np


def sum_rows(rows: np.ndarray, out: np.ndarray) -> None:
    """Overwrite ``out`` with Σ_r rows[r], the gradient of a bias.

    As a matrix product: several times faster than ``rows.sum(axis=0)``, and no less accurate.
    """
    np.matmul(np.ones(len(rows), rows.dtype), rows, out=out)
