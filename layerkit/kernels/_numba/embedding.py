"""The gradient of a table whose rows were looked up, row by row."""

import numpy as np

from layerkit.kernels._numba.compile import BOTH, for_dtypes, jit, plain
from layerkit.kernels._numpy import embedding as reference


@for_dtypes(BOTH, reference)
def add_rows_at(rows: np.ndarray, index: np.ndarray, out: np.ndarray) -> None:
    """Overwrite ``out`` with Σ over r of rows[r], each in the row index[r]."""
    if out.flags.carray:
        _add_rows_at(plain(rows), plain(index), out)
    else:
        reference.add_rows_at(rows, index, out)


@jit
def _add_rows_at(rows, index, out):
    out[:] = 0
    for r in range(index.size):
        at = index[r]
        for k in range(rows.shape[1]):
            out[at, k] += rows[r, k]
