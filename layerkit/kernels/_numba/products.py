"""Matrix products cut up among the processors, by our own threads.

They are where BLAS was left with one thread because of convolutions before and after: there a large
product would leave all other processors idle. Everywhere else BLAS has its own threads.
"""

from math import prod
from typing import Any

import numpy as np

from layerkit.kernels._numba.threads import WORTHWHILE, in_parts, n_threads
from layerkit.kernels._numpy import products as reference
from layerkit.kernels.blas import has_one_thread


def matmul(a: Any, b: np.ndarray, out: np.ndarray | None = None) -> Any:
    """Return the product a b: parts of the rows or the columns of the result, where it is large."""
    multiply_adds = prod(a.shape) * b.shape[-1]
    if not (is_cut_up(multiply_adds) and isinstance(a, np.ndarray) and a.ndim == b.ndim == 2):
        return reference.matmul(a, b, out)
    n_rows, n_columns = len(a), b.shape[1]
    if out is None:
        out = np.empty((n_rows, n_columns), a.dtype)
    if n_rows > n_columns:
        in_parts(lambda rows: np.matmul(a[rows], b, out[rows]), n_rows, multiply_adds)
    else:
        in_parts(lambda j: np.matmul(a, b[:, j], out[:, j]), n_columns, multiply_adds)
    return out


def is_cut_up(multiply_adds: float) -> bool:
    """Whether a product is worth a second thread, and BLAS has none."""
    return multiply_adds >= 2 * WORTHWHILE and has_one_thread() and n_threads() > 1
