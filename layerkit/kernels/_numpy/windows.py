"""How windows lie on images, for convolution and pooling.

Along one axis, with stride s, dilation d and p cells of padding before the first, output o looks
through tap t of its window at the cell ``o s + t d - p``.

Arguments::

    n                     cells along the axis
    size, stride          cells that a window takes, and from one window to the next
    dilation              cells from one tap to the next
    padding               (before, after)
"""

from collections.abc import Iterator
from math import gcd

import numpy as np
from numpy.lib.stride_tricks import as_strided

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))
NO_PADDING: Padding = ((0, 0), (0, 0))
Geometry = tuple[Pair, Padding, Pair]  # stride, padding and dilation


def output_size(n: int, size: int, stride: int, padding: Pair, dilation: int = 1) -> int:
    """Return how many windows fit along one axis of n cells (none: 0 or less)."""
    return (n + sum(padding) - dilation * (size - 1) - 1) // stride + 1


def output_sizes(
    cells: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair = (1, 1),
) -> tuple[int, ...]:
    return tuple(map(output_size, cells, size, stride, padding, dilation))


def taps_of(
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    cells: tuple[int, ...],
    outputs: tuple[int, ...],
) -> Iterator[tuple[int, int, tuple[slice, ...], tuple[slice, ...]]]:
    """Yield (i, j, seers, seen): through tap (i, j) the outputs y[seers] see the cells x[seen].

    Outputs that see padding through the tap are left out.
    """
    along = [
        [_sight(t * d - before, s, n, n_out) for t in range(k)]
        for k, s, (before, _), d, n, n_out in zip(
            size, stride, padding, dilation, cells, outputs, strict=True
        )
    ]
    for i, (rows, seen_rows) in enumerate(along[0]):
        for j, (columns, seen_columns) in enumerate(along[1]):
            yield i, j, (slice(None), rows, columns), (slice(None), seen_rows, seen_columns)


def _sight(offset: int, stride: int, n_cells: int, n_outputs: int) -> tuple[slice, slice]:
    """Outputs o for which the cell o * stride + offset exists, and those cells."""
    first = max(0, -(offset // stride))  # -(a // b) is a / b rounded up, for -a
    stop = max(first, min(n_outputs, (n_cells - 1 - offset) // stride + 1))
    start = first * stride + offset
    return slice(first, stop), slice(start, start + (stop - first) * stride, stride)


class Phases:
    """Padded images whose columns are sorted by phase: (n, rows, stride, columns, channels).

    Column q of a padded image is number ``q // stride`` of phase ``q % stride``. So the cells that
    a row of outputs sees through one tap are neighbours in memory, whatever the stride: arithmetic
    on long rows, which NumPy is several times faster at.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        size: Pair,
        stride: Pair,
        padding: Padding,
        dtype: np.dtype,
        dilation: Pair = (1, 1),
        outside: float = 0.0,  # what padding is filled with
    ) -> None:
        n, h, w, channels = x_shape
        (top, _), (left, _) = padding
        self._size, self._stride, self._dilation = size, stride, dilation
        self._outputs = height, width = output_sizes((h, w), size, stride, padding, dilation)
        rows = (height - 1) * stride[0] + dilation[0] * (size[0] - 1) + 1
        columns = width + dilation[1] * (size[1] - 1) // stride[1]
        self.images = np.full((n, rows, stride[1], columns, channels), outside, dtype)
        down, seen_down = _sight(-top, 1, h, rows)
        self._places = []  # of images: in here, and in an array (n, h, w, channels)
        for phase in range(stride[1]):
            across, seen_across = _sight(phase - left, stride[1], w, columns)
            here = slice(None), down, phase, across
            self._places.append((here, (slice(None), seen_down, seen_across)))
        self._cells = whole_cells(self.images)

    def write(self, x: np.ndarray) -> None:
        """Copy images into their places."""
        there = whole_cells(np.ascontiguousarray(x))
        for here, seen in self._places:
            self._cells[: len(x)][here] = there[seen]

    def read(self, x: np.ndarray) -> None:
        """Copy them back, into an array whose channels are neighbours in memory."""
        there = whole_cells(x)
        for here, seen in self._places:
            there[seen] = self._cells[: len(x)][here]

    def taps(self, n: int) -> Iterator[np.ndarray]:
        """Yield what the windows of n images see through each tap: (n, oh, ow * channels)."""
        (down, across), (height, width) = self._stride, self._outputs
        for i, j in np.ndindex(*self._size):
            top, (first, phase) = i * self._dilation[0], divmod(j * self._dilation[1], across)
            rows = slice(top, top + (height - 1) * down + 1, down)
            seen = self.images[:n, rows, phase, first : first + width]
            yield seen.reshape(n, height, width * self.images.shape[-1])

    def windows(self, n: int) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield what the windows of n images see, phase by phase.

        That is which columns of taps look at the phase, and a view of what they see, for each row
        of outputs: (n, oh, kh, columns of taps, ow * channels).
        """
        (down, across), (height, width), (kh, kw) = self._stride, self._outputs, self._size
        every = across // gcd(across, self._dilation[1])
        by_sample, by_row, _, by_column, by_channel = self.images.strides
        channels = self.images.shape[-1]
        steps = (
            by_row * down,
            by_row * self._dilation[0],
            by_column * every * self._dilation[1] // across,
        )
        for j in range(min(every, kw)):
            first, phase = divmod(j * self._dilation[1], across)
            columns = slice(j, kw, every)
            shape = n, height, kh, len(range(kw)[columns]), width * channels
            start = self.images[:n, :, phase, first:]
            yield columns, as_strided(start, shape, (by_sample, *steps, by_channel))


def whole_cells(images: np.ndarray) -> np.ndarray:
    """View all channels of a cell as one item: several times faster to move than one by one."""
    return images.view(f"V{images.shape[-1] * images.itemsize}")[..., 0]
