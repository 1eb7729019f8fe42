"""Adding a row to every row of a matrix, the sum of its rows, and a sum of squares."""

import numpy as np


def add_row(rows: np.ndarray, row: np.ndarray) -> None:
    """Add ``row``, a bias, to each of ``rows`` in place."""
    rows += row


def sum_rows(rows: np.ndarray, out: np.ndarray) -> None:
    """Overwrite ``out`` with Σ_r rows[r], the gradient of a bias.

    As a matrix product: several times faster than ``rows.sum(axis=0)``, and no less accurate.
    """
    np.matmul(np.ones(len(rows), rows.dtype), rows, out=out)


def sum_of_squares(x: np.ndarray) -> float:
    """Return Σ x², of a vector."""
    return float(np.vdot(x, x))
