"""Pooling in NumPy: the maximum or the mean of every window.

A window has the ``size`` (height, width), and ``argmax`` says which of its cells was the largest.
``stride`` and ``padding`` are those of convolutions.
"""

from collections.abc import Iterator
from math import prod

import numpy as np

from layerkit.kernels._numpy.windows import NO_PADDING, Padding, Pair, output_size, taps_of
from layerkit.kernels.dispatch import compiled

# Outputs of so few samples at a time that they stay in the cache while tap after tap looks at them.
CHUNK_BYTES = 2**19


@compiled
def max_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of every window and the tap ``i * width + j`` where it first stands.

    Padding never wins, and NaN wins over everything.
    """
    taps, _, _ = zip(*_spans(x.shape, size, stride, padding), strict=True)
    shape = *map(len, taps), x.shape[3]
    y = np.empty((len(x), *shape), x.dtype)
    argmax = np.empty(y.shape, np.min_scalar_type(prod(size) - 1))
    step = min(max(1, CHUNK_BYTES // max(1, prod(shape) * x.itemsize)), max(1, len(x)))
    memory = np.empty((step, *shape), x.dtype), np.empty((step, *shape), argmax.dtype)
    for start in range(0, len(x), step):
        here = slice(start, start + step)
        images, largest, first = x[here], y[here], argmax[here]
        if padding != NO_PADDING:
            largest.fill(-np.inf)
        first[...] = np.add.outer(taps[0] * size[1], taps[1])[:, :, None]
        for i, j, seers, seen in taps_of(size, stride, padding, (1, 1), x.shape[1:3], y.shape[1:3]):
            best, where = largest[seers], first[seers]
            if i == j == 0:
                best[...] = images[seen]
                continue
            # Copied, because the cells are apart in memory, and two comparisons would meet them so.
            candidate, improved = (part[: len(images)][seers] for part in memory)
            candidate[...] = images[seen]
            # Taps count up, so the last one that improved is the largest of those that did. (A
            # masked copy of the tap says the same and takes five times longer.)
            np.multiply(candidate > best, improved.dtype.type(i * size[1] + j), out=improved)
            np.maximum(where, improved, out=where)
            np.maximum(best, candidate, out=best)
    return y, argmax


@compiled
def max_pool2d_input_grad(
    grad: np.ndarray,
    argmax: np.ndarray,
    x_shape: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> np.ndarray:
    """Return dL/dx: every output's gradient goes to the cell where its maximum stood."""
    dx = np.zeros(x_shape, grad.dtype)
    for i, j, seers, seen in taps_of(size, stride, padding, (1, 1), x_shape[1:3], grad.shape[1:3]):
        here = argmax[seers] == i * size[1] + j
        if _are_disjoint(size, stride):
            np.multiply(here, grad[seers], out=dx[seen])
        else:
            dx[seen] += here * grad[seers]
    return dx


@compiled
def avg_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> np.ndarray:
    """Return the mean of the real cells of every window: padding does not count."""
    counts = _window_counts(x.shape, size, stride, padding, x.dtype)
    y = np.zeros((len(x), *counts.shape[:2], x.shape[3]), x.dtype)
    for _, _, seers, seen in taps_of(size, stride, padding, (1, 1), x.shape[1:3], counts.shape[:2]):
        y[seers] += x[seen]
    y /= counts
    return y


@compiled
def avg_pool2d_input_grad(
    grad: np.ndarray,
    x_shape: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> np.ndarray:
    """Return dL/dx: every real cell of a window gets an equal share of its gradient."""
    shares = grad / _window_counts(x_shape, size, stride, padding, grad.dtype)
    dx = np.zeros(x_shape, grad.dtype)
    for _, _, seers, seen in taps_of(size, stride, padding, (1, 1), x_shape[1:3], grad.shape[1:3]):
        if _are_disjoint(size, stride):
            dx[seen] = shares[seers]
        else:
            dx[seen] += shares[seers]
    return dx


def _are_disjoint(size: Pair, stride: Pair) -> bool:
    """Whether no cell is in two windows, so that gradients need not be added up."""
    return size[0] <= stride[0] and size[1] <= stride[1]


def _window_counts(
    x_shape: tuple[int, ...], size: Pair, stride: Pair, padding: Padding, dtype: np.dtype
) -> np.ndarray:
    """Count the real cells of every window: (oh, ow, 1)."""
    rows, columns = (stop - first for _, first, stop in _spans(x_shape, size, stride, padding))
    return np.multiply.outer(rows, columns).astype(dtype)[:, :, None]


def _spans(
    x_shape: tuple[int, ...], size: Pair, stride: Pair, padding: Padding
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield, for height and width, where each window's real cells are.

    That is the first tap that sees one, the cell it sees, and the cell after the last one seen.
    """
    for n, k, s, (before, after) in zip(x_shape[1:3], size, stride, padding, strict=True):
        start = np.arange(output_size(n, k, s, (before, after))) * s - before
        first = np.maximum(start, 0)
        yield first - start, first, np.minimum(start + k, n)


@compiled
def mean_of_cells(x: np.ndarray) -> np.ndarray:
    """Return the mean over the cells of (n_samples, cells, channels)."""
    return x.mean(axis=1)
