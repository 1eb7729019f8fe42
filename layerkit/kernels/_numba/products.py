"""Matrix products cut up among the processors, by our own threads.

BLAS has threads too, but its idle ones go on spinning for a tenth of a second, and kernels that
follow on threads of ours then run at half their speed. So BLAS gets one thread for a product that
it would cut up, and we cut it up.
"""

from math import prod
from typing import Any

import numpy as np

from layerkit.kernels._numba.blas import addresses, multiply_any
from layerkit.kernels._numba.compile import BOTH, inline, jit
from layerkit.kernels._numba.team import ALL, bounds, post, share
from layerkit.kernels._numba.threads import n_threads, posting
from layerkit.kernels._numpy import products as reference
from layerkit.kernels.blas import one_blas_thread

# Multiply-adds of a part; OpenBLAS takes one thread for fewer than twice as many.
LEAST = 131072
# Parts of the rows read b as it lies in memory, and take 0.7 to 1 of the time of parts of the
# columns; but each makes b ready for BLAS's innermost loop, which has to pay for itself.
ROWS = 16


def matmul(a: Any, b: np.ndarray, out: np.ndarray | None = None) -> Any:
    """Return the product a b: parts of the rows or the columns of the result, where it is large."""
    multiply_adds = prod(a.shape) * b.shape[-1]
    blas = addresses(b.dtype) if is_cut_up(multiply_adds) and _are_for_blas(a, b) else None
    if blas is None or (out is not None and not out.flags.carray):
        return reference.matmul(a, b, out)
    if out is None:
        out = np.empty((len(a), b.shape[1]), a.dtype)
    threads = n_threads()
    with one_blas_thread(), posting(threads) as board:
        multiply_in_parts(board, threads, blas, a, b, out)
    return out


def is_cut_up(multiply_adds: float) -> bool:
    """Whether a product is worth a second thread."""
    return multiply_adds >= 2 * LEAST and n_threads() > 1


def _are_for_blas(a: Any, b: np.ndarray) -> bool:
    """Whether BLAS takes them as they are, and they are more than vectors."""
    return _is_for_blas(a) and _is_for_blas(b) and a.dtype == b.dtype in BOTH


def _is_for_blas(a: Any) -> bool:
    contiguous = isinstance(a, np.ndarray) and (a.flags.c_contiguous or a.flags.f_contiguous)
    return contiguous and a.ndim == 2 and min(a.shape) > 1


@jit
def multiply_in_parts(board, threads, blas, a, b, out):
    """Overwrite ``out`` with a b, as many rows or columns at a time as a thread gets."""
    m, n, p = a.shape[0], a.shape[1], b.shape[1]
    by_row = m >= ROWS * threads
    parts = min(threads, m if by_row else p, max(1, m * n * p // LEAST))
    _multiply(board, ALL, parts, blas, a, b, out, by_row)


@jit
def _multiply(board, part, parts, blas, a, b, out, by_row):
    if part == ALL:
        post(board, parts, (blas, a, b, out, by_row))
        return share(board, parts)
    start, stop = bounds(len(out) if by_row else out.shape[1], parts, part)
    if by_row:
        multiply_any(blas, a[start:stop], b, out[start:stop])
    else:
        multiply_any(blas, a, b[:, start:stop], out[:, start:stop])
    return True


@inline
def is_shared(threads, m, n, p):
    """What `is_cut_up` and `_are_for_blas` say, in compiled code."""
    return threads > 1 and m * n * p >= 2 * LEAST and min(m, n, p) > 1
