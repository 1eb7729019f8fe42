"""Where a convolution reads and writes, as tables of offsets: its geometry, worked out once.

Along one axis, with stride s, dilation d and p cells of padding before the first, output o looks
through tap t at cell ``o s + t d - p``. Read backwards, cell u collects from the outputs
``o = (u + p - t d) / s`` for those taps t for which s divides. Which taps these are depends only on
u mod s: each of these s *phases* is a convolution of stride 1 of its own, with its share of the
taps, over every s-th cell (Dumoulin and Visin 2016, "transposed convolution", without its zeros).
Forwards there is one phase.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from layerkit.kernels._numba.tile import NARROW, ROWS, VECTOR_BYTES, WIDE
from layerkit.kernels._numpy.windows import Padding, Pair, output_size

Offsets = np.ndarray  # of np.intp


class Phase(NamedTuple):
    """Targets along one axis that look through the same taps, at source + offset."""

    targets: np.ndarray
    sources: np.ndarray
    taps: np.ndarray
    offsets: np.ndarray


class Frame(NamedTuple):
    """A sample inside its padding, flat: measures in numbers, except rows and columns."""

    copied: bool  # whether it differs from the sample
    rows: int  # of the sample
    columns: int
    before: int  # where the sample begins in the frame
    pitch: int  # from row to row of the frame
    size: int


class Plan(NamedTuple):
    """Offsets, in numbers, into one framed sample and into one sample of the result.

    Row r of phase i stands at ``rows[r]`` in the source and ``targets[r]`` in the result, for
    ``first_row[i] <= r < first_row[i + 1]``, the last one repeated to make whole tiles. It looks
    through pairs (tap, input channel) k at ``offsets[k]`` further on, for
    ``first_offset[i] <= k < first_offset[i + 1]``; these too are filled up to whole tiles.
    """

    rows: Offsets
    targets: Offsets
    first_row: Offsets
    offsets: Offsets
    first_offset: Offsets
    pairs: Offsets  # where each k is in the kernel
    frame: Frame


class Blocks(NamedTuple):
    """Channels cut into vectors: the last block overlaps the one before if need be."""

    starts: Offsets
    vectors: Offsets  # WIDE or NARROW
    n_vectors: int  # of all blocks


def read_forward(n: int, size: int, stride: int, padding: Pair, dilation: int) -> list[Phase]:
    """Outputs look at cells."""
    targets = np.arange(output_size(n, size, stride, padding, dilation))
    taps = np.arange(size)
    return [Phase(targets, targets * stride - padding[0], taps, taps * dilation)]


def read_backward(n: int, size: int, stride: int, padding: Pair, dilation: int) -> list[Phase]:
    """Cells look at outputs, one phase after the other."""
    phases = []
    for first in range(min(stride, n)):
        targets = np.arange(first, n, stride)
        steps = first + padding[0] - np.arange(size)[::-1] * dilation
        taps = np.arange(size)[::-1][steps % stride == 0]
        offsets = steps[steps % stride == 0] // stride
        phases.append(Phase(targets, np.arange(len(targets)), taps, offsets))
    return phases


def plan(
    backward: bool,
    cells: Pair,
    outputs: Pair,
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    pitches: tuple[int, int, int],
    c_in: int,
    copied: bool,
    by_edge: bool,
) -> Plan:
    """Lay out a convolution, or its adjoint.

    The pitches are numbers from cell to cell of the frame, of the result, and from one of a group's
    ``c_in`` channels to the next in the frame. ``copied`` asks for a frame even without padding;
    ``by_edge`` for no padding, but phases for the edges of the image that look at fewer cells.
    """
    read = read_backward if backward else read_forward
    axes = zip(cells, size, stride, padding, dilation, strict=True)
    down, across = (read(*axis) for axis in axes)
    source, target = (outputs, cells) if backward else (cells, outputs)
    if by_edge:
        down, across = _by_edge(down, source[0]), _by_edge(across, source[1])
    top, height = _span(down, source[0])
    left, width = _span(across, source[1])
    by_cell, by_target, by_channel = pitches
    rows, targets, offsets, pairs = [], [], [], []
    for i in down:
        for j in across:
            seen = np.add.outer((i.sources + top) * width, j.sources + left)
            rows.append(_whole_tiles(seen * by_cell))
            reached = np.add.outer(i.targets * target[1], j.targets)
            targets.append(_whole_tiles(reached * by_target))
            further = np.add.outer(i.offsets * width, j.offsets) * by_cell
            offsets.append(np.add.outer(further, np.arange(c_in) * by_channel).ravel())
            of_taps = np.add.outer(i.taps * size[1], j.taps) * c_in
            pairs.append(np.add.outer(of_taps, np.arange(c_in)).ravel())
    return Plan(
        np.concatenate(rows).astype(np.intp),
        np.concatenate(targets).astype(np.intp),
        _firsts(rows),
        _whole_tiles(np.concatenate(offsets)).astype(np.intp),
        _firsts(offsets),
        np.concatenate(pairs).astype(np.intp),
        frame(source, (top, left), (height, width), by_cell, copied),
    )


def frame(source: Pair, before: Pair, framed: Pair, channels: int, copied: bool = False) -> Frame:
    """Lay out images in larger ones, so many cells from their top and left."""
    return Frame(
        copied or framed != source,
        *source,
        (before[0] * framed[1] + before[1]) * channels,
        framed[1] * channels,
        framed[0] * framed[1] * channels,
    )


@lru_cache(maxsize=256)
def blocks(channels: int, itemsize: int) -> Blocks:
    """Cut channels into wide blocks and, for what remains, one that fits or overlaps."""
    narrow = VECTOR_BYTES // itemsize
    wide = WIDE * narrow
    starts = list(range(0, channels - wide + 1, wide))
    vectors = [WIDE] * len(starts)
    rest = channels - wide * len(starts)
    if rest > narrow and channels >= wide:
        starts, vectors = [*starts, channels - wide], [*vectors, WIDE]
    elif rest > narrow:
        starts, vectors = [0, channels - narrow], [NARROW, NARROW]
    elif rest > 0:
        starts, vectors = [*starts, max(0, channels - narrow)], [*vectors, NARROW]
    return Blocks(np.array(starts, np.intp), np.array(vectors, np.intp), sum(vectors))


def _by_edge(phases: list[Phase], n: int) -> list[Phase]:
    """Split phases by which of their taps look at one of n cells, and leave out the others."""
    parts = []
    for p in phases:
        reads = np.add.outer(p.sources, p.offsets)
        inside = (reads >= 0) & (reads < n)
        for taps in np.unique(inside, axis=0):
            alike = (inside == taps).all(axis=1)
            parts.append(Phase(p.targets[alike], p.sources[alike], p.taps[taps], p.offsets[taps]))
    return parts


def _span(phases: list[Phase], n: int) -> Pair:
    """Return the padding before and the padded length that let every phase read n cells."""
    reads = [np.add.outer(p.sources, p.offsets).ravel() for p in phases]
    least = min((r.min() for r in reads if r.size), default=0)
    most = max((r.max() for r in reads if r.size), default=0)
    before = max(0, -int(least))
    return before, before + max(n, int(most) + 1)


def _whole_tiles(offsets: np.ndarray) -> np.ndarray:
    """Repeat the last offset until tiles of `ROWS` are full: it is computed again, harmlessly."""
    offsets = offsets.ravel()
    return np.pad(offsets, (0, -len(offsets) % ROWS), mode="edge")


def _firsts(parts: list[np.ndarray]) -> Offsets:
    return np.cumsum([0, *map(len, parts)]).astype(np.intp)
