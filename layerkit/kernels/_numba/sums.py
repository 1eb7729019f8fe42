"""Adding a row to every row of a matrix, the sum of its rows, and a sum of squares.

NumPy starts an inner loop for each row, which costs more than adding 64 numbers.
"""

import numpy as np

from layerkit.kernels._numba.compile import BOTH, for_dtypes, jit, plain
from layerkit.kernels._numba.team import ALL, bounds, post, share
from layerkit.kernels._numba.threads import PASS, WORTHWHILE, in_parts, n_parts, posting
from layerkit.kernels._numpy import sums as reference

# So many rows are added up before they join the total: then 10,000 rows lose no digits.
BLOCK = 128


@for_dtypes(BOTH, reference)
def add_row(rows: np.ndarray, row: np.ndarray) -> None:
    """Add ``row`` to each of ``rows`` in place."""
    if rows.flags.carray and rows.ndim == 2:
        in_parts(_add_row, (rows,), (plain(row),), multiply_adds=PASS * rows.size)
    else:
        reference.add_row(rows, row)


@jit
def _add_row(rows, row):
    n_rows, n = rows.shape
    for r in range(n_rows):
        for k in range(n):
            rows[r, k] += row[k]


@for_dtypes(BOTH, reference)
def sum_rows(rows: np.ndarray, out: np.ndarray) -> None:
    """Overwrite ``out`` with Σ_r rows[r]."""
    if not out.flags.carray:
        reference.sum_rows(rows, out)
        return
    threads = n_parts(len(rows), PASS * rows.size)
    if threads == 1:
        _sum_rows(plain(rows), out)
        return
    with posting(threads) as board:
        sum_rows_in_parts(board, threads, plain(rows), out)


@jit
def sum_rows_in_parts(board, threads, rows, out):
    """Overwrite ``out`` with the sums of as many parts as are worthwhile, in their order."""
    parts = max(1, min(threads, len(rows), int(PASS * rows.size / WORTHWHILE)))
    if parts == 1:
        _sum_rows(rows, out)
        return
    sums = np.empty((parts, out.size), out.dtype)
    if not _sum_parts(board, ALL, parts, rows, sums):
        raise MemoryError("sum_rows: no memory for a part of the rows")
    _sum_rows(sums, out)


@jit
def _sum_parts(board, part, parts, rows, sums):
    if part == ALL:
        post(board, parts, (rows, sums))
        return share(board, parts)
    start, stop = bounds(len(rows), parts, part)
    _sum_rows(rows[start:stop], sums[part])
    return True


@jit
def _sum_rows(rows, out):
    n_rows, n = rows.shape
    out[:] = 0
    part = np.empty_like(out)
    for start in range(0, n_rows, BLOCK):
        part[:] = 0
        for r in range(start, min(start + BLOCK, n_rows)):
            for k in range(n):
                part[k] += rows[r, k]
        for k in range(n):
            out[k] += part[k]


@jit
def sum_of_squares(x):
    """Return Σ x²."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total
