"""Pooling row by row of windows, and within a row tap by tap.

For one tap the loops run over the windows that see a real cell there, and over the channels, which
lie side by side in memory: nothing is left to decide for each number. The row of outputs stays in
the first-level cache meanwhile.
"""

from math import prod
from typing import Any

import numpy as np

from layerkit.kernels._numba.compile import BOTH, contiguous, for_dtypes, inline, jit
from layerkit.kernels._numba.threads import in_parts
from layerkit.kernels._numpy import pooling as reference
from layerkit.kernels._numpy.windows import NO_PADDING, Padding, Pair, output_sizes
from layerkit.kernels.dispatch import in_numpy
from layerkit.kernels.parts import PASS

MOST_TAPS = 256  # taps are kept in 8 bits; a larger window runs in NumPy


@for_dtypes(BOTH, reference)
def max_pool2d(x, size, stride, padding=NO_PADDING):
    if prod(size) > MOST_TAPS:
        return in_numpy(reference.max_pool2d)(x, size, stride, padding)
    y = _new_outputs(x, size, stride, padding)
    argmax = np.empty(y.shape, np.uint8)
    _over_windows(_max_pool, (x, y, argmax), x.size, size, stride, padding)
    return y, argmax


def _new_outputs(x: np.ndarray, size: Pair, stride: Pair, padding: Padding) -> np.ndarray:
    outputs = output_sizes(x.shape[1:3], size, stride, padding)
    return np.empty((len(x), *outputs, x.shape[3]), x.dtype)


def _over_windows(
    loop: Any, arrays: tuple, n_cells: int, size: Pair, stride: Pair, padding: Padding
) -> None:
    """Run ``loop(*arrays, kh, kw, sh, sw, top, left)`` over parts of the batch."""
    window = *size, *stride, padding[0][0], padding[1][0]
    in_parts(loop, tuple(map(contiguous, arrays)), window, multiply_adds=PASS * n_cells)


@jit
def _max_pool(x, y, argmax, kh, kw, sh, sw, top, left):
    """Each window starts from its first real cell, so padding never wins; NaN wins over all."""
    n_samples, height, width, channels = x.shape
    for n in range(n_samples):
        for p in range(y.shape[1]):
            row, best, where = p * sh - top, y[n, p], argmax[n, p]
            upper, lower = _taps(row, kh, height)
            for q in range(len(best)):
                column = q * sw - left
                j = max(0, -column)
                for c in range(channels):
                    best[q, c] = x[n, row + upper, column + j, c]
                    where[q, c] = upper * kw + j
            for i in range(upper, lower):
                for j in range(1 if i == upper else 0, kw):
                    first, last, cell = _seers(j, sw, left, width, len(best))
                    seen, tap = x[n, row + i], np.int32(i * kw + j)
                    _replace(best[first:last], where[first:last], seen, cell, sw, tap)


@inline
def _replace(best, where, cells, cell, stride, tap):
    """Put the cells that a tap sees in place of what is smaller."""
    for q in range(len(best)):
        for c in range(best.shape[1]):
            old, new = best[q, c], cells[cell + q * stride, c]
            # Arithmetic, as "tap if new > old else before" becomes a conditional store, which LLVM
            # does not vectorise.
            before = np.int32(where[q, c])
            where[q, c] = before + (tap - before) * np.int32(new > old)
            best[q, c] = new if new > old else (old if new == new else new)


@inline
def _taps(start, size, n):
    """Return the first tap of a window that sees one of n cells, and the one after the last."""
    return max(0, -start), min(size, n - start)


@inline
def _seers(tap, stride, before, n, n_windows):
    """Return the first window whose tap sees one of n cells, the one after the last, and a cell.

    That is the cell seen by the first.
    """
    first = max(0, -((tap - before) // stride))
    last = max(first, min(n_windows, (n - 1 + before - tap) // stride + 1))
    return first, last, first * stride - before + tap


@inline
def _tile(grad, dx, kh, kw, sh, sw, top, left):
    """Whether each cell is in just one window, so that gradients need not be added to zeros."""
    covers = grad.shape[1] * sh - top >= dx.shape[1] and grad.shape[2] * sw - left >= dx.shape[2]
    return kh == sh and kw == sw and covers


@for_dtypes(BOTH, reference)
def max_pool2d_input_grad(grad, argmax, x_shape, size, stride, padding=NO_PADDING):
    if argmax.dtype != np.uint8:
        return in_numpy(reference.max_pool2d_input_grad)(
            grad, argmax, x_shape, size, stride, padding
        )
    dx = np.empty(x_shape, grad.dtype)
    _over_windows(_max_pool_grad, (grad, argmax, dx), dx.size, size, stride, padding)
    return dx


@jit
def _max_pool_grad(grad, argmax, dx, kh, kw, sh, sw, top, left):
    n_samples, height, width, _ = dx.shape
    tile = _tile(grad, dx, kh, kw, sh, sw, top, left)
    for n in range(n_samples):
        if not tile:
            dx[n] = 0
        for p in range(grad.shape[1]):
            row = p * sh - top
            for i in range(*_taps(row, kh, height)):
                for j in range(kw):
                    first, last, cell = _seers(j, sw, left, width, grad.shape[2])
                    shares, where = grad[n, p, first:last], argmax[n, p, first:last]
                    _give(shares, where, np.uint8(i * kw + j), dx[n, row + i], cell, sw, tile)


@inline
def _give(shares, where, tap, cells, cell, stride, tile):
    """Pass gradients on to the cells that a tap sees, where it was the largest."""
    zero = shares.dtype.type(0)
    if tile:
        for q in range(len(shares)):
            for c in range(shares.shape[1]):
                share = shares[q, c] if where[q, c] == tap else zero
                cells[cell + q * stride, c] = share
    else:
        for q in range(len(shares)):
            for c in range(shares.shape[1]):
                share = shares[q, c] if where[q, c] == tap else zero
                cells[cell + q * stride, c] += share


@for_dtypes(BOTH, reference)
def avg_pool2d(x, size, stride, padding=NO_PADDING):
    y = _new_outputs(x, size, stride, padding)
    _over_windows(_avg_pool, (x, y), x.size, size, stride, padding)
    return y


@jit
def _avg_pool(x, y, kh, kw, sh, sw, top, left):
    n_samples, height, width, channels = x.shape
    for n in range(n_samples):
        for p in range(y.shape[1]):
            row, total = p * sh - top, y[n, p]
            upper, lower = _taps(row, kh, height)
            total[:] = 0
            for i in range(upper, lower):
                for j in range(kw):
                    first, last, cell = _seers(j, sw, left, width, len(total))
                    _add(total[first:last], x[n, row + i], cell, sw)
            for q in range(len(total)):
                first, last = _taps(q * sw - left, kw, width)
                count = x.dtype.type((lower - upper) * (last - first))
                for c in range(channels):
                    total[q, c] /= count


@inline
def _add(total, cells, cell, stride):
    """Add the cells that a tap sees."""
    for q in range(len(total)):
        for c in range(total.shape[1]):
            total[q, c] += cells[cell + q * stride, c]


@for_dtypes(BOTH, reference)
def avg_pool2d_input_grad(grad, x_shape, size, stride, padding=NO_PADDING):
    dx = np.empty(x_shape, grad.dtype)
    _over_windows(_avg_pool_grad, (grad, dx), dx.size, size, stride, padding)
    return dx


@jit
def _avg_pool_grad(grad, dx, kh, kw, sh, sw, top, left):
    n_samples, height, width, channels = dx.shape
    one = dx.dtype.type(1)
    tile = _tile(grad, dx, kh, kw, sh, sw, top, left)
    for n in range(n_samples):
        if not tile:
            dx[n] = 0
        for p in range(grad.shape[1]):
            row = p * sh - top
            upper, lower = _taps(row, kh, height)
            for i in range(upper, lower):
                for q in range(grad.shape[2]):
                    column = q * sw - left
                    first, last = _taps(column, kw, width)
                    scale = one / dx.dtype.type((lower - upper) * (last - first))
                    for j in range(first, last):
                        if tile:
                            for c in range(channels):
                                dx[n, row + i, column + j, c] = grad[n, p, q, c] * scale
                        else:
                            for c in range(channels):
                                dx[n, row + i, column + j, c] += grad[n, p, q, c] * scale


@for_dtypes(BOTH, reference)
def mean_of_cells(x):
    y = np.zeros((x.shape[0], x.shape[2]), x.dtype)
    in_parts(_mean_of_cells, (contiguous(x), y), multiply_adds=PASS * x.size)
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
