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
    """A sample inside its padding, flat; measures in numbers, except rows."""

    padded: bool  # whether there is any padding
    rows: int  # of the sample
    width: int
    before: int  # where the sample begins in the frame
    pitch: int  # from row to row of the frame
    size: int


class Plan(NamedTuple):
    """Offsets, in numbers, into one sample with its padding and into one sample of the result.

    Row r of phase i stands at ``rows[r]`` in the source and ``targets[r]`` in the result, for
    ``first_row[i] <= r < first_row[i + 1]``; the last is repeated to make whole tiles. It looks
    through runs of ``length[i]`` numbers at ``runs[first_run[i]:first_run[i + 1]]`` further on.
    """

    rows: Offsets
    targets: Offsets
    first_row: Offsets
    runs: Offsets
    first_run: Offsets
    length: Offsets
    taps: Offsets  # which tap of the kernel each stretch of channels in the runs belongs to
    frame: Frame  # of the source


class Blocks(NamedTuple):
    """Channels cut into vectors: the last block overlaps the one before if need be."""

    starts: Offsets
    vectors: Offsets  # WIDE or NARROW


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


@lru_cache(maxsize=256)
def plan(
    backward: bool,
    cells: Pair,
    outputs: Pair,
    channels: Pair,
    size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> Plan:
    """Lay out a convolution, or its adjoint, from ``channels[0]`` to ``channels[1]`` channels."""
    read = read_backward if backward else read_forward
    along = [read(*axis) for axis in zip(cells, size, stride, padding, dilation, strict=True)]
    source, target = (outputs, cells) if backward else (cells, outputs)
    spans = [_span(phases, n) for phases, n in zip(along, source, strict=True)]
    (top, height), (left, width) = spans
    c_in, c_out = channels
    rows, targets, runs, lengths, taps = [], [], [], [], []
    for i in along[0]:
        for j in along[1]:
            cell = np.add.outer((i.sources + top) * width, j.sources + left)
            rows.append(_whole_tiles(cell * c_in))
            targets.append(_whole_tiles(np.add.outer(i.targets * target[1], j.targets) * c_out))
            # Taps that are neighbours on a row of the image, all channels of each, are one run.
            neighbours = groups == 1 and (np.diff(j.offsets) == 1).all() and len(j.offsets) > 0
            across = j.offsets[:1] if neighbours else j.offsets
            runs.append(np.add.outer(i.offsets * width, across).ravel() * c_in)
            lengths.append(c_in // groups * (len(j.offsets) if neighbours else 1))
            taps.append(np.add.outer(i.taps * size[1], j.taps).ravel())
    return Plan(
        np.concatenate(rows).astype(np.intp),
        np.concatenate(targets).astype(np.intp),
        _firsts(rows),
        np.concatenate(runs).astype(np.intp),
        _firsts(runs),
        np.array(lengths, np.intp),
        np.concatenate(taps).astype(np.intp),
        frame(source, (top, left), (height, width), c_in),
    )


def frame(source: Pair, before: Pair, framed: Pair, channels: int) -> Frame:
    """Lay out images in larger ones, so many cells from their top and left."""
    return Frame(
        framed != source,
        source[0],
        source[1] * channels,
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
    return Blocks(np.array(starts, np.intp), np.array(vectors, np.intp))


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
