"""Matrix products cut up among the processors, by our own threads.

They are where BLAS was left with one thread because of convolutions before and after: there a large
product would leave all other processors idle. Everywhere else BLAS has its own threads.
"""

from math import prod
from typing import Any

import numpy as np

from layerkit.kernels._numba.blas import addresses, multiply_any
from layerkit.kernels._numba.compile import BOTH, jit
from layerkit.kernels._numba.threads import WORTHWHILE, in_parts, n_threads
from layerkit.kernels._numpy import products as reference
from layerkit.kernels.blas import has_one_thread


def matmul(a: Any, b: np.ndarray, out: np.ndarray | None = None) -> Any:
    """Return the product a b: parts of the rows or the columns of the result, where it is large."""
    multiply_adds = prod(a.shape) * b.shape[-1]
    blas = addresses(b.dtype) if is_cut_up(multiply_adds) and _are_for_blas(a, b) else None
    if blas is None or (out is not None and not out.flags.carray):
        return reference.matmul(a, b, out)
    if out is None:
        out = np.empty((len(a), b.shape[1]), a.dtype)
    # The columns of a product are the rows of its transpose, bᵀ aᵀ.
    by_row = len(out) > out.shape[1]
    rows, other, product = (a, b, out) if by_row else (b.T, a.T, out.T)
    in_parts(_multiply, (rows, product), (other, blas), multiply_adds=multiply_adds)
    return out


@jit
def _multiply(a, out, b, blas):
    multiply_any(blas, a, b, out)


def _are_for_blas(a: Any, b: np.ndarray) -> bool:
    """Whether BLAS takes them as they are, and they are more than vectors."""
    return _is_for_blas(a) and _is_for_blas(b) and a.dtype == b.dtype in BOTH


def _is_for_blas(a: Any) -> bool:
    contiguous = isinstance(a, np.ndarray) and (a.flags.c_contiguous or a.flags.f_contiguous)
    return contiguous and a.ndim == 2 and min(a.shape) > 1


def is_cut_up(multiply_adds: float) -> bool:
    """Whether a product is worth a second thread, and BLAS has none."""
    return multiply_adds >= 2 * WORTHWHILE and has_one_thread() and n_threads() > 1
