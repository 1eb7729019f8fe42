"""Pooling in one pass over windows; the innermost loop runs over the channels of one cell.

Channels lie side by side in memory, so that loop is what the vector unit computes. A window's real
cells are found once for each output row and column, not for each number.
"""

from math import prod

import numpy as np

from layerkit.kernels._numba.compile import BOTH, for_dtypes, jit, plain
from layerkit.kernels._numba.threads import PASS, in_parts
from layerkit.kernels._numpy import pooling as reference
from layerkit.kernels._numpy.windows import NO_PADDING, Padding, Pair, output_size

MOST_TAPS = 256  # taps are kept in 8 bits; a larger window runs in NumPy


@for_dtypes(BOTH, reference)
def max_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of every window and the tap where it first stands."""
    if prod(size) > MOST_TAPS:
        return reference.max_pool2d(x, size, stride, padding)
    y = np.empty(_output_shape(x.shape, size, stride, padding), x.dtype)
    argmax = np.empty(y.shape, np.uint8)
    window = *size, *stride, padding[0][0], padding[1][0]
    x = plain(x)
    in_parts(lambda n: _max_pool(x[n], y[n], argmax[n], *window), len(x), PASS * x.size)
    return y, argmax


def _output_shape(
    shape: tuple[int, ...], size: Pair, stride: Pair, padding: Padding
) -> tuple[int, ...]:
    rows = output_size(shape[1], size[0], stride[0], padding[0])
    columns = output_size(shape[2], size[1], stride[1], padding[1])
    return shape[0], rows, columns, shape[3]


@jit
def _max_pool(x, y, argmax, kh, kw, sh, sw, top, left):
    n_samples, height, width, channels = x.shape
    for n in range(n_samples):
        for p in range(y.shape[1]):
            row = p * sh - top
            for q in range(y.shape[2]):
                column = q * sw - left
                best, where = y[n, p, q], argmax[n, p, q]
                first = True
                for i in range(max(0, -row), min(kh, height - row)):
                    for j in range(max(0, -column), min(kw, width - column)):
                        cell = x[n, row + i, column + j]
                        tap = np.int32(i * kw + j)
                        if first:
                            first = False
                            for c in range(channels):
                                best[c] = cell[c]
                                where[c] = tap
                        else:
                            for c in range(channels):
                                old, new = best[c], cell[c]
                                # Arithmetic, as "tap if new > old else where[c]" becomes a
                                # conditional store, which LLVM does not vectorise.
                                before = np.int32(where[c])
                                where[c] = before + (tap - before) * np.int32(new > old)
                                best[c] = new if new > old else (old if new == new else new)


@for_dtypes(BOTH, reference)
def max_pool2d_input_grad(
    grad: np.ndarray,
    argmax: np.ndarray,
    x_shape: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> np.ndarray:
    """Return dL/dx: every output's gradient goes to the cell where its maximum stood."""
    if argmax.dtype != np.uint8:
        return reference.max_pool2d_input_grad(grad, argmax, x_shape, size, stride, padding)
    dx = np.empty(x_shape, grad.dtype)
    window = *size, *stride, padding[0][0], padding[1][0]
    grad, argmax = plain(grad), plain(argmax)
    in_parts(lambda n: _max_pool_grad(grad[n], argmax[n], dx[n], *window), len(dx), PASS * dx.size)
    return dx


@jit
def _max_pool_grad(grad, argmax, dx, kh, kw, sh, sw, top, left):
    n_samples, height, width, channels = dx.shape
    zero, one = dx.dtype.type(0), dx.dtype.type(1)
    for n in range(n_samples):
        dx[n] = zero
        for p in range(grad.shape[1]):
            row = p * sh - top
            for q in range(grad.shape[2]):
                column = q * sw - left
                share, where = grad[n, p, q], argmax[n, p, q]
                for i in range(max(0, -row), min(kh, height - row)):
                    for j in range(max(0, -column), min(kw, width - column)):
                        cell = dx[n, row + i, column + j]
                        tap = np.uint8(i * kw + j)
                        for c in range(channels):
                            cell[c] += share[c] * (one if where[c] == tap else zero)


@for_dtypes(BOTH, reference)
def avg_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> np.ndarray:
    """Return the mean of the real cells of every window."""
    y = np.empty(_output_shape(x.shape, size, stride, padding), x.dtype)
    window = *size, *stride, padding[0][0], padding[1][0]
    x = plain(x)
    in_parts(lambda n: _avg_pool(x[n], y[n], *window), len(x), PASS * x.size)
    return y


@jit
def _avg_pool(x, y, kh, kw, sh, sw, top, left):
    n_samples, height, width, channels = x.shape
    for n in range(n_samples):
        for p in range(y.shape[1]):
            row = p * sh - top
            rows = min(kh, height - row) - max(0, -row)
            for q in range(y.shape[2]):
                column = q * sw - left
                columns = min(kw, width - column) - max(0, -column)
                total = y[n, p, q]
                total[:] = 0
                for i in range(max(0, -row), min(kh, height - row)):
                    for j in range(max(0, -column), min(kw, width - column)):
                        cell = x[n, row + i, column + j]
                        for c in range(channels):
                            total[c] += cell[c]
                count = x.dtype.type(rows * columns)
                for c in range(channels):
                    total[c] /= count


@for_dtypes(BOTH, reference)
def avg_pool2d_input_grad(
    grad: np.ndarray,
    x_shape: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> np.ndarray:
    """Return dL/dx: every real cell of a window gets an equal share of its gradient."""
    dx = np.empty(x_shape, grad.dtype)
    window = *size, *stride, padding[0][0], padding[1][0]
    grad = plain(grad)
    in_parts(lambda n: _avg_pool_grad(grad[n], dx[n], *window), len(dx), PASS * dx.size)
    return dx


@jit
def _avg_pool_grad(grad, dx, kh, kw, sh, sw, top, left):
    n_samples, height, width, channels = dx.shape
    zero, one = dx.dtype.type(0), dx.dtype.type(1)
    for n in range(n_samples):
        dx[n] = zero
        for p in range(grad.shape[1]):
            row = p * sh - top
            rows = min(kh, height - row) - max(0, -row)
            for q in range(grad.shape[2]):
                column = q * sw - left
                columns = min(kw, width - column) - max(0, -column)
                scale = one / dx.dtype.type(rows * columns)
                for i in range(max(0, -row), min(kh, height - row)):
                    for j in range(max(0, -column), min(kw, width - column)):
                        cell = dx[n, row + i, column + j]
                        for c in range(channels):
                            cell[c] += grad[n, p, q, c] * scale


@for_dtypes(BOTH, reference)
def mean_of_cells(x: np.ndarray) -> np.ndarray:
    """Return the mean over the cells of (n_samples, cells, channels)."""
    y = np.zeros((x.shape[0], x.shape[2]), x.dtype)
    x = plain(x)
    in_parts(lambda n: _mean_of_cells(x[n], y[n]), len(x), PASS * x.size)
    return y


@jit
def _mean_of_cells(x, y):
    n_samples, cells, channels = x.shape
    for n in range(n_samples):
        for i in range(cells):
            for c in range(channels):
                y[n, c] += x[n, i, c]
        for c in range(channels):
            y[n, c] /= y.dtype.type(cells)
