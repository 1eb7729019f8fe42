"""Direct convolution: the defining sum, tile by tile, without a matrix of windows.

Forwards and for the input gradient, a tile is `ROWS` pixels by one block of output channels, summed
over taps and input channels. For the kernel gradient, it is `ROWS` pairs (tap, input channel) by
one block of output channels, summed over pixels. Offsets come from `windows.Plan`; padding is a
copy of one sample at a time, which stays in the cache.

Where groups have fewer outputs than a vector has lanes, as in a depthwise convolution, the copy
lays a sample out *by channel*: the j-th input channel of every output's group, for all outputs side
by side. Then one vector serves several groups, each lane multiplying numbers of its own.

Where the whole result has fewer channels than a vector has lanes, as the gradient of an image, the
lanes are input channels instead: each output channel is a group whose lanes are summed at the end.
"""

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from layerkit.kernels._numba import activations
from layerkit.kernels._numba.compile import contiguous, copied, inline, jit
from layerkit.kernels._numba.threads import WORTHWHILE, element_by_element, in_parts
from layerkit.kernels._numba.tile import (
    ROWS,
    VECTOR_BYTES,
    WIDE,
    Block,
    Rows,
    Start,
    Target,
    copy,
    multiples,
    tile,
)
from layerkit.kernels._numba.windows import Blocks, Plan, blocks, plan
from layerkit.kernels.parts import n_parts

# The kernel gradient sums over so many pixels before it moves on to the next tile, and so keeps
# what it reads in the first cache. Small images are taken several at a time.
CACHED_BYTES = 24 * 1024
LEAST_PIXELS = 256

_relu = copied(activations.relu_loop)


class Channels(NamedTuple):
    """How channels are grouped, and cut into vectors."""

    groups: int  # one by channel
    c_in: int  # of a group of the kernel
    c_out: int
    order: np.ndarray | None  # by channel: in which a cell's are copied; empty for their own
    summed: bool  # the lanes of an output channel
    blocks: Blocks  # of a group's outputs


@inline
def pad(x, frame, padded):
    """Copy one sample into the middle of zeros."""
    width = len(x) // frame.rows
    for row in range(frame.rows):
        copy(x, row * width, padded, frame.before + row * frame.pitch, width)


@inline
def spread(x, frame, order, padded):
    """Copy one sample into the middle of zeros, the channels of each cell in a new order."""
    width = len(x) // (frame.rows * frame.columns)
    for cell in range(frame.rows * frame.columns):
        row, column = divmod(cell, frame.columns)
        at = frame.before + row * frame.pitch + column * len(order)
        source = x[cell * width : (cell + 1) * width]
        target = padded[at : at + len(order)]
        for i in range(len(order)):
            target[i] = source[order[i]]


@inline
def place(x, frame, order, padded):
    """Copy one sample into its frame."""
    if order is None:  # decided when compiled
        pad(x, frame, padded)
    elif len(order):
        spread(x, frame, order, padded)
    else:
        pad(x, frame, padded)


@jit
def exchange(kernel, pairs, starts, vectors, groups, packed, packs):
    """Copy a kernel (pair, filter) into blocks (group, block, row, lane) of vectors, or from there.

    The pairs (tap, input channel) are those of the first rows of each block.
    """
    narrow = VECTOR_BYTES // kernel.itemsize
    c_out = kernel.shape[1] // groups
    rows = packed.size // (groups * vectors.sum() * narrow)
    at = 0
    for group in range(groups):
        for block in range(len(starts)):
            width, first = vectors[block] * narrow, group * c_out + starts[block]
            for k in range(len(pairs)):
                for lane in range(min(width, c_out)):
                    here = at + k * width + lane
                    if packs:
                        packed[here] = kernel[pairs[k], first + lane]
                    else:
                        kernel[pairs[k], first + lane] = packed[here]
            at += rows * width


@jit
def gather(x, y, weights, bias, plan, channels, rectify):
    """Overwrite y: each row of the plan becomes bias + Σ weights times the cells it looks at.

    Samples are flat. The bias ends with a vector of zeros. To rectify is to cut off at 0.
    """
    narrow = VECTOR_BYTES // x.itemsize
    starts, vectors, n_vectors = channels.blocks
    groups, c_in, c_out, order = channels.groups, channels.c_in, channels.c_out, channels.order
    depth = len(plan.pairs)
    packed_group = n_vectors * narrow * depth
    rows, targets, offsets, copied = plan.rows, plan.targets, plan.offsets, plan.frame.copied
    # Vectors wider than the result go into a vacant space first.
    numbers = 1 if channels.summed else c_out
    room = max(c_out, narrow)
    vacates = numbers < room
    vacant = np.empty(y.shape[1] // numbers * room if vacates else 0, x.dtype)
    padded = np.zeros(plan.frame.size if copied else 0, x.dtype)
    for sample in range(len(x)):
        source, out = x[sample], y[sample]
        if copied:
            place(source, plan.frame, order, padded)
            source = padded
        if vacates:
            out = vacant
        for phase in range(len(plan.first_row) - 1):
            k, end = plan.first_offset[phase], plan.first_offset[phase + 1]
            for group in range(groups):
                for row in range(plan.first_row[phase], plan.first_row[phase + 1], ROWS):
                    packed = group * packed_group
                    for block in range(len(starts)):
                        width, start = vectors[block] * narrow, starts[block]
                        channel = group * c_in if order is None else start
                        tile(
                            order,
                            vectors[block],
                            end - k,
                            Rows(source, channel, rows, row, offsets, k),
                            Block(weights, packed + k * width, width),
                            Target(out, group * room + start, targets, row),
                            Start(bias, group * c_out + start),
                        )
                        packed += depth * width
        if channels.summed:
            for i in range(y.shape[1]):
                y[sample, i] = 0
                for lane in range(room):
                    y[sample, i] += vacant[i * room + lane]
        elif vacates:
            for i in range(y.shape[1] // c_out):
                for lane in range(c_out):
                    y[sample, i * c_out + lane] = vacant[i * room + lane]
        if rectify:
            _relu(y[sample], y[sample])


@jit
def reduce(x, grad, total, plan, n_pixels, channels):
    """Add to ``total`` Σ over pixels of the cell that a tap looks at times dL/dy there.

    The total is laid out as (group, block, tap and channel, lane), the third axis in whole tiles.
    """
    narrow = VECTOR_BYTES // x.itemsize
    starts, vectors, _ = channels.blocks
    groups, c_in, c_out, order = channels.groups, channels.c_in, channels.c_out, channels.order
    offsets, depth, copied = plan.offsets, len(plan.offsets), plan.frame.copied
    filters, size = grad.shape[1] // n_pixels, x.shape[1]
    step = plan.frame.size // (plan.frame.rows * plan.frame.columns)
    at_once = max(ROWS, CACHED_BYTES // x.itemsize // (step + filters))
    samples = max(1, min(len(x), 1 + LEAST_PIXELS // n_pixels))
    padded = np.zeros(samples * plan.frame.size if copied else 0, x.dtype)
    few = np.zeros(samples * grad.shape[1] + narrow if c_out < narrow else 0, x.dtype)
    if copied:
        size = plan.frame.size
    pixels = np.empty(samples * n_pixels, np.intp)
    for sample in range(samples):
        for pixel in range(n_pixels):
            pixels[sample * n_pixels + pixel] = sample * size + plan.rows[pixel]
    narrow_rows, wide_rows = multiples(ROWS, narrow), multiples(ROWS, WIDE * narrow)
    for sample in range(0, len(x), samples):
        some = x[sample : sample + samples]
        source, g = some.reshape(-1), grad[sample : sample + samples].reshape(-1)
        if copied:
            for i in range(len(some)):
                place(some[i], plan.frame, order, padded[i * size : (i + 1) * size])
            source = padded
        if c_out < narrow:  # room to read a vector from the last pixel
            copy(g, 0, few, 0, len(g))
            g = few
        for first in range(0, len(some) * n_pixels, at_once):
            n = min(at_once, len(some) * n_pixels - first)
            packed = 0
            for group in range(groups):
                for block in range(len(starts)):
                    start = group * c_out + starts[block]
                    width = vectors[block] * narrow
                    into = wide_rows if vectors[block] == WIDE else narrow_rows
                    channel = group * c_in if order is None else start
                    for k in range(0, depth, ROWS):
                        tile(
                            order,
                            vectors[block],
                            n,
                            Rows(source, channel, offsets, k, pixels, first),
                            Block(g, first * filters + start, filters),
                            Target(total, packed + k * width, into, 0),
                            Start(total, -1),
                        )
                    packed += depth * width


def convolve(x, kernel, bias, backward, geometry, y, rectify=False):
    """Overwrite y with a convolution, or backwards with its adjoint, of x, cut off at 0 if asked.

    The kernel leads from x to y either way: (kh, kw, channels of x in a group, channels of y).
    """
    kh, kw, c_in, filters = kernel.shape
    wide = WIDE * VECTOR_BYTES // x.itemsize
    summed = geometry[3] == 1 and filters < wide // 2 and c_in % wide == 0
    if summed:  # a group for each output, with a vector of input channels as its filters
        split = kernel.reshape(kh, kw, c_in // wide, wide, filters).swapaxes(3, 4)
        kernel = split.reshape(kh, kw, c_in // wide, wide * filters)
        geometry = *geometry[:3], filters
    cells, outputs = (y, x) if backward else (x, y)
    places = cells.shape[1:3], outputs.shape[1:3]
    layout, channels = _lay_out(
        kernel.shape, x.itemsize, backward, True, summed, *places, *geometry
    )
    starts, vectors, n_vectors = channels.blocks
    lanes = channels.groups * n_vectors * VECTOR_BYTES // x.itemsize
    weights, pairs = np.zeros(len(layout.pairs) * lanes, x.dtype), layout.pairs
    rows = contiguous(kernel).reshape(-1, kernel.shape[3])
    exchange(rows, pairs, starts, vectors, channels.groups, weights, True)
    start = np.zeros(kernel.shape[3] + VECTOR_BYTES // x.itemsize, x.dtype)
    if bias is not None and not summed:
        start[:filters] = bias
    at_once = rectify and not (summed and bias is not None)
    in_parts(
        gather,
        (flat(x), flat(y)),
        (weights, start, layout, channels, at_once),
        multiply_adds=max(x.size, y.size) * kh * kw * c_in,
    )
    if bias is not None and summed:
        y += bias
        if rectify:
            element_by_element(activations.relu_loop, y.ravel(), y.ravel())


def kernel_grad(x, grad, geometry, out):
    """Overwrite the contiguous ``out`` with dL/dkernel."""
    kh, kw, c_in, filters = out.shape
    places = x.shape[1:3], grad.shape[1:3]
    layout, channels = _lay_out(out.shape, x.itemsize, False, False, False, *places, *geometry)
    lanes = channels.groups * channels.blocks.n_vectors * VECTOR_BYTES // x.itemsize
    work = grad.size * kh * kw * c_in
    parts = n_parts(len(x), work, WORTHWHILE)
    totals = np.zeros((parts, len(layout.offsets) * lanes), x.dtype)
    in_parts(
        reduce,
        (flat(x), flat(grad)),
        (layout, prod(grad.shape[1:3]), channels),
        each=(totals,),
        multiply_adds=work,
    )
    starts, vectors, _ = channels.blocks
    rows = out.reshape(-1, filters)
    exchange(rows, layout.pairs, starts, vectors, channels.groups, sum(totals), False)


def flat(x: np.ndarray) -> np.ndarray:
    """Return (n_samples, numbers of a sample)."""
    return contiguous(x).reshape(len(x), prod(x.shape[1:]))


@lru_cache(maxsize=256)
def _lay_out(
    shape, itemsize, backward, by_edge, summed, cells, outputs, stride, padding, dilation, groups
) -> tuple[Plan, Channels]:
    """Work out where a convolution reads and writes, with a kernel of this shape, once."""
    kh, kw, c_in, filters = shape
    c_out, narrow = filters // groups, VECTOR_BYTES // itemsize
    by_channel = groups > 1 and c_out < narrow <= filters
    # The j-th input channel of the group of output f is copied to j · filters + f.
    group = np.arange(filters if by_channel and c_in * c_out > 1 else 0) // c_out
    order = np.add.outer(np.arange(c_in), group * c_in).ravel().astype(np.uintp)
    if summed:
        pitches = (c_in * c_out, filters, c_out)
    elif by_channel:
        pitches = (c_in * filters, filters, filters)
    else:
        pitches = (groups * c_in, groups * max(c_out, narrow), 1)  # of a vacant space, see gather
    layout = plan(
        backward, cells, outputs, (kh, kw), stride, padding, dilation, pitches, c_in,
        len(order) > 0, by_channel and by_edge and len(order) == 0,
    )  # fmt: skip
    if by_channel:
        groups, c_out = 1, filters
    cut = blocks(c_out, itemsize)
    channels = Channels(groups, c_in, c_out, order if by_channel or summed else None, summed, cut)
    return layout, channels
