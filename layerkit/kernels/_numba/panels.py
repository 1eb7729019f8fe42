"""Products with a matrix that stays the same from step to step, laid out for them once.

A large product of BLAS begins by copying its right factor into the order in which its innermost
loop reads it. Recurrent layers multiply by the same U at every step, a few rows at a time, so that
the copy would be a third of the work. Here U is cut up once into *panels* of `VECTORS` vectors of
columns, one behind the other, each row by row; a tile of `ROWS` rows of the result is summed over
one of them. Columns that fill no panel are BLAS's.

OpenBLAS copies nothing for products of at most `LEAST` multiply-adds, and is as fast there. How
many times faster whole loops over 20 steps are than with BLAS, forward and backward, in float32 on
one thread with AVX-512; below `LEAST` it is 0.9 to 1.05::

    rows, units   16, 256     32, 128     32, 256     64, 128     64, 256
    SimpleRNN     1.3  1.4       -        1.2  1.3    1.1  1.2    1.1  1.1
    GRU           1.2  1.3    1.0  1.1    1.1  1.2    1.1  1.1    1.1  1.2
    LSTM          1.9  1.6    1.0  1.1    1.3  1.3    1.0  1.1    1.2  1.2
"""

from typing import NamedTuple

import numpy as np
from llvmlite.binding import get_host_cpu_features

from layerkit.kernels._numba.blas import add_product, multiply_any
from layerkit.kernels._numba.compile import contiguous, inline
from layerkit.kernels._numba.tile import VECTOR_BYTES, Block, Rows, Start, Target, make_tile

# Sums in 16 of the 32 registers of AVX-512; where there are 16 in all they would not stay there.
ROWS, VECTORS = 4, 4
# Rows of a panel at a time: 16 KB, which stay in the first cache while all rows of a pass by.
DEPTH = 128
LEAST = 2**20
HAS_REGISTERS = get_host_cpu_features().get("avx512vl", False)

_tile = make_tile(VECTORS, by_channel=False, n_rows=ROWS)


class Fixed(NamedTuple):
    """A matrix as products read it."""

    panels: np.ndarray  # (panel, row, column in it)
    rest: np.ndarray  # the columns after those of the panels


def fixed(matrix: np.ndarray, n_rows: int, transposed: bool = False) -> Fixed:
    """Lay out a C-contiguous matrix, or its transpose, for products with so many rows at a time."""
    factor = matrix.T if transposed else matrix
    n, p = factor.shape
    width = VECTORS * VECTOR_BYTES // matrix.itemsize
    is_large = HAS_REGISTERS and n_rows > 1 and n_rows * matrix.size > LEAST
    panels = np.empty((p // width if is_large else 0, n, width), matrix.dtype)
    for k, panel in enumerate(panels):
        panel[...] = factor[:, k * width : (k + 1) * width]
    return Fixed(panels, contiguous(factor[:, len(panels) * width :]))


@inline
def add_product_by(blas, a, b, out):
    """Add the product of a and the `Fixed` matrix b to ``out``; a and out are C-contiguous."""
    n_panels, n, width = b.panels.shape
    if n_panels == 0:
        add_product(blas, a, b.rest, out)
        return
    m, p = out.shape
    along = np.arange(DEPTH)
    # A tile that is not full does its last row over again.
    rows = np.minimum(np.arange(m + ROWS), m - 1)
    rows_of_a, rows_of_out = rows * n, rows * p
    from_a, to, panels = a.reshape(-1), out.reshape(-1), b.panels.reshape(-1)
    for panel in range(n_panels):
        for first in range(0, n, DEPTH):
            block = Block(panels, (panel * n + first) * width, width)
            for row in range(0, m, ROWS):
                _tile(
                    min(DEPTH, n - first),
                    Rows(from_a, first, rows_of_a, row, along, 0),
                    block,
                    Target(to, panel * width, rows_of_out, row),
                    Start(to, -1),
                )
    if b.rest.size:
        multiply_any(blas, a, b.rest, out[:, n_panels * width :], 1.0, 1.0)
