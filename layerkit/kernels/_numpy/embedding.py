"""The gradient of a table whose rows were looked up."""

import numpy as np


def add_rows_at(rows: np.ndarray, index: np.ndarray, out: np.ndarray) -> None:
    """Overwrite ``out`` with Σ over r of rows[r], each in the row index[r].

    As the product of a sparse one-hot matrix: ``np.add.at`` takes 25 times as long on many rows.
    """
    from scipy.sparse import csc_array

    one_hot = np.ones(index.size, rows.dtype), index, np.arange(index.size + 1)
    out[...] = csc_array(one_hot, shape=(len(out), index.size)) @ rows
