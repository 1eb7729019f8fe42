"""Pooling in NumPy: the maximum or the mean of every window.

A window has the ``size`` (height, width), and ``argmax`` says which of its cells was the largest.
``stride`` and ``padding`` are those of convolutions.

Images are sorted by `Phases`, so few at a time that they stay in the cache while tap after tap
looks at them.
"""

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

from layerkit.kernels._numpy.threads import in_parts
from layerkit.kernels._numpy.windows import NO_PADDING, Padding, Pair, Phases, output_size
from layerkit.kernels.dispatch import compiled
from layerkit.kernels.parts import PASS

CHUNK_BYTES = 2**19


@compiled
def max_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of every window and the tap ``i * width + j`` where it first stands.

    Padding never wins, and NaN wins over everything.
    """
    counts = _window_counts(x.shape, size, stride, padding, x.dtype)
    y = np.empty((len(x), *counts.shape[:2], x.shape[3]), x.dtype)
    argmax = np.empty(y.shape, np.min_scalar_type(prod(size) - 1))

    def pool(chunk: slice, phases: Phases) -> None:
        images, largest, first = x[chunk], _rows(y[chunk]), _rows(argmax[chunk])
        phases.write(images)
        for tap, cells in enumerate(phases.taps(len(images))):
            np.maximum(cells if tap == 0 else largest, cells, out=largest)
        hidden = padding != NO_PADDING and bool((largest == -np.inf).any())
        if hidden:  # among padding of the same value, which from now on equals nothing
            phases.images.fill(np.nan)
            phases.write(images)
        # The largest stands where so many taps before did not see it.
        first.fill(0)
        unseen = np.ones(first.shape, bool)
        *but_the_last, _ = phases.taps(len(images))
        for cells in but_the_last:
            unseen &= cells != largest
            first += unseen
        if hidden:
            phases.images.fill(-np.inf)

    _by_phase(pool, x.shape, size, stride, padding, x.dtype, outside=-np.inf)
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
    overlapping = size[0] > stride[0] or size[1] > stride[1]

    def share(chunk: slice, phases: Phases) -> None:
        given, first = _rows(grad[chunk]), _rows(argmax[chunk])
        if overlapping:
            phases.images.fill(0)
        for tap, cells in enumerate(phases.taps(len(given))):
            if overlapping:
                cells += given * (first == tap)
            else:
                np.multiply(given, first == tap, out=cells)
        phases.read(dx[chunk])

    _by_phase(share, x_shape, size, stride, padding, grad.dtype)
    return dx


@compiled
def avg_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> np.ndarray:
    """Return the mean of the real cells of every window: padding does not count."""
    counts = _window_counts(x.shape, size, stride, padding, x.dtype)
    y = np.zeros((len(x), *counts.shape[:2], x.shape[3]), x.dtype)

    def pool(chunk: slice, phases: Phases) -> None:
        means = _rows(y[chunk])
        phases.write(x[chunk])
        for cells in phases.taps(len(means)):
            means += cells
        y[chunk] /= counts

    _by_phase(pool, x.shape, size, stride, padding, x.dtype)
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
    dx = np.zeros(x_shape, grad.dtype)
    overlapping = size[0] > stride[0] or size[1] > stride[1]

    def share(chunk: slice, phases: Phases) -> None:
        shares = _rows(grad[chunk] / counts)
        if overlapping:
            phases.images.fill(0)
        for cells in phases.taps(len(shares)):
            if overlapping:
                cells += shares
            else:
                cells[...] = shares
        phases.read(dx[chunk])

    _by_phase(share, x_shape, size, stride, padding, grad.dtype)
    return dx


def _by_phase(
    work: Callable[[slice, Phases], None],
    x_shape: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: Padding,
    dtype: np.dtype,
    outside: float = 0.0,
) -> None:
    """Call ``work(chunk, phases)`` for chunks of a batch, each part with memory of its own."""
    n, *image = x_shape
    step = max(1, CHUNK_BYTES // (prod(image) * dtype.itemsize))

    def task(part: slice) -> None:
        most = min(step, part.stop - part.start)
        phases = Phases((most, *image), size, stride, padding, dtype, outside=outside)
        for start in range(part.start, part.stop, step):
            work(slice(start, min(start + step, part.stop)), phases)

    in_parts(task, n, PASS * prod(x_shape))


def _rows(y: np.ndarray) -> np.ndarray:
    """View outputs as `Phases.taps` has them: (n, oh, ow * channels)."""
    return y.reshape(*y.shape[:2], -1)


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
