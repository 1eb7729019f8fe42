"""Pooling in NumPy: the maximum or the mean of every window.

A window has the ``size`` (height, width), and ``argmax`` says which of its cells was the largest.
``stride`` and ``padding`` are those of convolutions.

Images are sorted by `Phases`, so few at a time that they stay in the cache while tap after tap
looks at them.
"""

from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any

import numpy as np

from layerkit.kernels._numpy.threads import in_parts
from layerkit.kernels._numpy.windows import (
    NO_PADDING,
    Padding,
    Pair,
    Phases,
    output_size,
    output_sizes,
    taps_of,
    whole_cells,
)
from layerkit.kernels.dispatch import compiled
from layerkit.kernels.parts import PASS

# Smaller chunks would stay in a nearer cache, but would be more calls, each with its price.
CHUNK_BYTES = 2**21
# With more, backward goes by the places of maxima, of which there is one for all taps together.
FEW_TAPS = 4


@compiled
def max_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of every window and the tap ``i * width + j`` where it first stands.

    Padding never wins, and NaN wins over everything.
    """
    outputs = output_sizes(x.shape[1:3], size, stride, padding)
    y = np.empty((len(x), *outputs, x.shape[3]), x.dtype)
    argmax = np.empty(y.shape, np.min_scalar_type(prod(size) - 1))

    def memory(n: int) -> tuple[Phases, np.ndarray, np.ndarray]:
        shape = n, *x.shape[1:]
        unseen, differs = np.empty((2, *_rows(y[:n]).shape), bool)
        return Phases(shape, size, stride, padding, x.dtype, outside=-np.inf), unseen, differs

    def pool(chunk: slice, memory: tuple[Phases, np.ndarray, np.ndarray]) -> None:
        images, largest, first = x[chunk], _rows(y[chunk]), _rows(argmax[chunk])
        phases, unseen, differs = memory[0], *(flags[: len(images)] for flags in memory[1:])
        phases.write(images)
        _accumulate(np.maximum, phases.taps(len(images)), largest)
        hidden = padding != NO_PADDING and bool((largest == -np.inf).any())
        if hidden:  # among padding of the same value, which from now on equals nothing
            phases.images.fill(np.nan)
            phases.write(images)
        # The largest stands where so many taps before did not see it.
        first.fill(0)
        unseen.fill(True)
        *but_the_last, _ = phases.taps(len(images))
        for cells in but_the_last:
            np.not_equal(cells, largest, out=differs)
            np.logical_and(unseen, differs, out=unseen)
            np.add(first, unseen.view(np.uint8), out=first)  # bool would be converted first
        if hidden:
            phases.images.fill(-np.inf)

    _in_chunks(pool, memory, x, y.size * prod(size))
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
    if prod(size) <= FEW_TAPS and size[0] <= stride[0] and size[1] <= stride[1]:
        return _spread_by_taps(grad, argmax, x_shape, size, stride, padding)
    dx = np.zeros(x_shape, grad.dtype)
    (_, h, w, channels), ((top, bottom), (left, right)) = x_shape, padding
    framed = top + h + bottom, left + w + right, channels  # that of NaN may stand in the frame
    numbers = np.arange(prod(framed)).reshape(framed)
    taps = numbers[: size[0], : size[1], 0].ravel()
    corners = numbers[:: stride[0], :: stride[1]][: grad.shape[1], : grad.shape[2]]
    overlapping = size[0] > stride[0] or size[1] > stride[1]

    def memory(n: int) -> tuple[np.ndarray, ...]:
        of_windows = np.add.outer(np.arange(n) * numbers.size, corners)
        return np.empty((n, *framed), grad.dtype), of_windows, np.empty_like(of_windows)

    def share(chunk: slice, memory: tuple[np.ndarray, ...]) -> None:
        given = grad[chunk].reshape(-1)
        frames, of_windows, cells = (array[: chunk.stop - chunk.start] for array in memory)
        np.take(taps, argmax[chunk], out=cells, mode="clip")
        np.add(cells, of_windows, out=cells)
        images = dx[chunk]
        if padding != NO_PADDING:
            images = frames
            images.fill(0)
        if overlapping:
            np.add.at(images.reshape(-1), cells.reshape(-1), given)
        else:
            images.reshape(-1)[cells.reshape(-1)] = given
        if padding != NO_PADDING:
            dx[chunk] = frames[:, top : top + h, left : left + w]

    _in_chunks(share, memory, dx, grad.size * prod(size), as_large=4)
    return dx


def _spread_by_taps(
    grad: np.ndarray,
    argmax: np.ndarray,
    x_shape: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: Padding,
) -> np.ndarray:
    """Return dL/dx where windows do not overlap: ``grad [argmax = tap]`` for one tap after another.

    Numbers are masked as bits, whole numbers of their size: NaN times 0 would be NaN.
    """
    dx, bits = _unseen(x_shape, grad, size, stride, padding), f"i{grad.itemsize}"
    taps = list(taps_of(size, stride, padding, (1, 1), x_shape[1:3], grad.shape[1:3]))

    def memory(n: int) -> tuple[np.ndarray, np.ndarray]:
        return np.empty(grad[:n].shape, bool), np.empty(grad[:n].shape, bits)

    def share(chunk: slice, memory: tuple[np.ndarray, np.ndarray]) -> None:
        given, winners, cells = grad[chunk].view(bits), argmax[chunk], whole_cells(dx[chunk])
        elsewhere, shares = (array[: len(given)] for array in memory)
        mask = elsewhere.view(np.int8)  # all bits where the maximum stands: 0 - 1
        for tap, (*_, seers, seen) in enumerate(taps):
            np.not_equal(winners, tap, out=elsewhere)
            np.subtract(mask, 1, out=mask)
            np.bitwise_and(given, mask, out=shares)
            cells[seen] = whole_cells(shares)[seers]

    _in_chunks(share, memory, dx, grad.size * prod(size))
    return dx


@compiled
def avg_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> np.ndarray:
    """Return the mean of the real cells of every window: padding does not count."""
    counts = _window_counts(x.shape, size, stride, padding, x.dtype)
    y = np.empty((len(x), *output_sizes(x.shape[1:3], size, stride, padding), x.shape[3]), x.dtype)
    by_rows, phases = _one_axis_each(x.shape, size, stride, padding, x.dtype)

    def memory(n: int) -> tuple[Phases, np.ndarray]:
        return phases(n), np.empty((n, y.shape[1], *x.shape[2:]), x.dtype)

    def pool(chunk: slice, memory: tuple[Phases, np.ndarray]) -> None:
        images, means = x[chunk], _rows(y[chunk])
        phases, sums = memory[0], memory[1][: len(images)]
        if padding[0] == (0, 0):
            _accumulate(np.add, (images[seen] for _, seen in by_rows), sums)
        else:  # which some outputs see
            sums.fill(0)
            for seers, seen in by_rows:
                sums[seers] += images[seen]
        phases.write(sums)
        _accumulate(np.add, phases.taps(len(images)), means)
        means /= counts

    _in_chunks(pool, memory, x, y.size * sum(size))
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
    counts = _window_counts(x_shape, size, stride, padding, grad.dtype)
    dx = _unseen(x_shape, grad, size, stride, padding)
    by_rows, phases = _one_axis_each(x_shape, size, stride, padding, grad.dtype)

    def memory(n: int) -> tuple[Phases, np.ndarray, np.ndarray]:
        shares = np.empty(_rows(grad[:n]).shape, grad.dtype)
        return phases(n), shares, np.zeros((n, grad.shape[1], *x_shape[2:]), grad.dtype)

    def share(chunk: slice, memory: tuple[Phases, np.ndarray, np.ndarray]) -> None:
        given = _rows(grad[chunk])
        phases, shares, of_rows = memory[0], *(array[: len(given)] for array in memory[1:])
        np.divide(given, counts, out=shares)
        if size[1] > stride[1]:
            phases.images.fill(0)
        for cells in phases.taps(len(given)):
            _give(cells, shares, add=size[1] > stride[1])
        phases.read(of_rows)
        for seers, seen in by_rows:
            _give(dx[chunk][seen], of_rows[seers], add=size[0] > stride[0])

    _in_chunks(share, memory, dx, grad.size * sum(size))
    return dx


def _unseen(
    x_shape: tuple[int, ...], grad: np.ndarray, size: Pair, stride: Pair, padding: Padding
) -> np.ndarray:
    """Return zeros for dL/dx, or anything where windows lie edge to edge and see every cell."""
    filled = tuple(n * k for n, k in zip(grad.shape[1:3], size, strict=True))
    edge_to_edge = padding == NO_PADDING and size == stride and filled == x_shape[1:3]
    return (np.empty if edge_to_edge else np.zeros)(x_shape, grad.dtype)


def _accumulate(ufunc: np.ufunc, terms: Iterable[np.ndarray], out: np.ndarray) -> None:
    """Overwrite ``out`` with the sum, or the maximum, of at least one term."""
    first, *others = terms
    if not others:
        out[...] = first
    for term in others:
        first = ufunc(first, term, out=out)


def _give(cells: np.ndarray, shares: np.ndarray, add: bool) -> None:
    if add:
        cells += shares
    else:
        cells[...] = shares


def _one_axis_each(
    x_shape: tuple[int, ...], size: Pair, stride: Pair, padding: Padding, dtype: np.dtype
) -> tuple[list[tuple[tuple[slice, ...], tuple[slice, ...]]], Callable[[int], Phases]]:
    """A sum over windows is one over rows, whole ones, and then one over few columns.

    Return which rows of outputs see which rows of cells, tap by tap, and what sorts the columns of
    n images of these rows.
    """
    _, h, w, channels = x_shape
    height = output_size(h, size[0], stride[0], padding[0])
    down = (size[0], 1), (stride[0], 1), (padding[0], (0, 0)), (1, 1)
    across = (1, size[1]), (1, stride[1]), ((0, 0), padding[1])
    taps = [(seers, seen) for *_, seers, seen in taps_of(*down, (h, w), (height, w))]
    return taps, lambda n: Phases((n, height, w, channels), *across, dtype)


def _in_chunks(
    work: Callable[[slice, Any], None],
    memory: Callable[[int], Any],
    x: np.ndarray,
    seen: int,
    as_large: int = 1,
) -> None:
    """Call ``work(chunk, memory(n))`` for chunks of n images, each part with memory of its own.

    Through all taps together so many cells are ``seen``. The memory is about so many times
    ``as_large`` as the images.
    """
    step = max(1, CHUNK_BYTES // (as_large * prod(x.shape[1:]) * x.itemsize))

    def task(part: slice) -> None:
        own = memory(min(step, part.stop - part.start))
        for start in range(part.start, part.stop, step):
            work(slice(start, min(start + step, part.stop)), own)

    in_parts(task, len(x), PASS * (x.size + seen))


def _rows(y: np.ndarray) -> np.ndarray:
    """View outputs as `Phases.taps` has them: (n, oh, ow * channels)."""
    return y.reshape(*y.shape[:2], y.shape[2] * y.shape[3])


def _window_counts(
    x_shape: tuple[int, ...], size: Pair, stride: Pair, padding: Padding, dtype: np.dtype
) -> np.ndarray:
    """Count the real cells of every window, channel by channel: (oh, ow * channels)."""
    rows, columns = (stop - first for _, first, stop in _spans(x_shape, size, stride, padding))
    return np.multiply.outer(rows, columns.repeat(x_shape[3])).astype(dtype)


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
