"""Direct convolution: the defining sum, tile by tile, without a matrix of windows.

Forwards and for the input gradient, a tile is `ROWS` pixels by one block of output channels, summed
over taps and input channels. For the kernel gradient, it is `ROWS` pairs (tap, input channel) by
one block of output channels, summed over pixels. Offsets come from `windows.Plan`; padding is a
copy of one sample at a time, which stays in the cache.

A depthwise convolution is the same with vectors of channels in the place of single ones; it counts
as one group with one input channel here.
"""

from math import prod

import numpy as np

from layerkit.kernels._numba.compile import inline, jit, plain
from layerkit.kernels._numba.threads import in_parts
from layerkit.kernels._numba.tile import ROWS, VECTOR_BYTES, tile
from layerkit.kernels._numba.windows import Blocks, blocks, plan

# The kernel gradient goes over so many bytes of images at a time, which stay in the first cache.
CACHED_BYTES = 24 * 1024


@inline
def pad(x, frame, padded):
    """Copy one sample into the middle of zeros."""
    for row in range(frame.rows):
        start = frame.before + row * frame.pitch
        padded[start : start + frame.width] = x[row * frame.width : (row + 1) * frame.width]


@jit
def pack(kernel, plan, blocks, groups):
    """Lay the kernel out as the tiles read it: (group, block, tap and channel, lane)."""
    n_taps, c_in, filters = kernel.shape
    c_out = filters // groups
    narrow = VECTOR_BYTES // kernel.itemsize
    packed = np.zeros(groups * blocks.vectors.sum() * narrow * n_taps * c_in, kernel.dtype)
    at = 0
    for group in range(groups):
        for block in range(len(blocks.starts)):
            width, first = blocks.vectors[block] * narrow, group * c_out + blocks.starts[block]
            for tap in plan.taps:
                for c in range(c_in):
                    for lane in range(min(width, c_out)):
                        packed[at + lane] = kernel[tap, c, first + lane]
                    at += width
    return packed


@jit
def gather(x, weights, bias, plan, blocks, groups, c_in, c_out, by_channel, y):
    """Overwrite y: each row of the plan becomes bias + Σ weights times the cells it looks at.

    Samples are flat; c_in and c_out are those of one group. The bias ends with a vector of zeros.
    """
    narrow = VECTOR_BYTES // x.itemsize
    depth = len(plan.taps) * c_in
    few = np.empty(ROWS * narrow, x.dtype)  # for tiles that are wider than the result
    few_rows = np.arange(ROWS) * narrow
    padded = np.zeros(plan.frame.size if plan.frame.padded else 0, x.dtype)
    for sample in range(len(x)):
        source = x[sample]
        if plan.frame.padded:
            pad(source, plan.frame, padded)
            source = padded
        summed = 0
        for phase in range(len(plan.length)):
            run, length = plan.first_run[phase], plan.length[phase]
            n_runs = plan.first_run[phase + 1] - run
            for group in range(groups):
                for row in range(plan.first_row[phase], plan.first_row[phase + 1], ROWS):
                    packed = group * blocks.vectors.sum() * narrow * depth
                    for block in range(len(blocks.starts)):
                        vectors, start = blocks.vectors[block], blocks.starts[block]
                        width, first = vectors * narrow, group * c_out + start
                        out, out0, out_rows, out_row = y[sample], first, plan.targets, row
                        if c_out < narrow:
                            out, out0, out_rows, out_row = few, 0, few_rows, 0
                        tile(
                            vectors, by_channel,
                            source, start if by_channel else group * c_in, plan.rows, row,
                            plan.runs, run, n_runs, length, 1,
                            weights, packed + summed * width, width,
                            out, out0, out_rows, out_row, bias, first,
                        )  # fmt: skip
                        if c_out < narrow:
                            for i in range(ROWS):
                                at = plan.targets[row + i] + first
                                y[sample, at : at + c_out] = few[i * narrow : i * narrow + c_out]
                        packed += depth * width
            summed += n_runs * length


@jit
def reduce(x, grad, plan, blocks, lines, step, groups, c_in, c_out, by_channel, total):
    """Add to ``total`` Σ over pixels of the cell that a tap looks at times dL/dy there.

    Line p of ``lines`` pixels, ``step`` apart in the source, begins at ``lines[p]``. The total is
    laid out as (group, block, tap and channel, lane), the third axis in whole tiles.
    """
    narrow = VECTOR_BYTES // x.itemsize
    length = plan.length[0]
    deep = np.empty((len(plan.runs) * length + ROWS - 1) // ROWS * ROWS, np.intp)
    for k in range(len(deep)):
        last = min(k, len(plan.runs) * length - 1)
        deep[k] = plan.runs[last // length] + last % length
    across = grad.shape[1] // len(lines)
    pixels = across // (groups * c_out)
    cached = CACHED_BYTES // x.itemsize // (across + pixels * step)
    tall = max(1, min(len(lines), cached))
    rows = np.empty(len(deep), np.intp)
    padded = np.zeros(plan.frame.size if plan.frame.padded else 0, x.dtype)
    few = np.zeros(grad.shape[1] + narrow if c_out < narrow else 0, x.dtype)
    for sample in range(len(x)):
        source, g = x[sample], grad[sample]
        if plan.frame.padded:
            pad(source, plan.frame, padded)
            source = padded
        if c_out < narrow:  # room to read a vector from the last pixel
            few[: len(g)] = g
            g = few
        for line in range(0, len(lines), tall):
            n_lines = min(tall, len(lines) - line)
            packed = 0
            for group in range(groups):
                for block in range(len(blocks.starts)):
                    vectors, start = blocks.vectors[block], blocks.starts[block]
                    width = vectors * narrow
                    rows[:] = np.arange(len(deep)) * width
                    for k in range(0, len(deep), ROWS):
                        tile(
                            vectors, by_channel,
                            source, start if by_channel else group * c_in, deep, k,
                            lines, line, n_lines, pixels, step,
                            g, line * across + group * c_out + start, groups * c_out,
                            total, packed, rows, k, total, -1,
                        )  # fmt: skip
                    packed += len(deep) * width


@jit
def unpack(total, blocks, groups, out):
    """Overwrite ``out``, (tap and channel, filter), with the blocks that `reduce` summed up."""
    depth, filters = out.shape
    c_out = filters // groups
    narrow = VECTOR_BYTES // out.itemsize
    at = 0
    for group in range(groups):
        for block in range(len(blocks.starts)):
            width, first = blocks.vectors[block] * narrow, group * c_out + blocks.starts[block]
            for k in range(depth):
                for lane in range(min(width, c_out)):
                    out[k, first + lane] = total[at + k * width + lane]
            at += (depth + ROWS - 1) // ROWS * ROWS * width


def convolve(x, kernel, bias, backward, geometry, y):
    """Overwrite y with a convolution, or backwards with its adjoint, of x.

    The kernel leads from x to y either way: (kh, kw, channels of x in a group, channels of y).
    """
    kh, kw, c_in, filters = kernel.shape
    cells, outputs = (y, x) if backward else (x, y)
    shape = cells.shape[1:3], outputs.shape[1:3], (x.shape[3], filters)
    layout = plan(backward, *shape, (kh, kw), *geometry)
    by_channel, groups, cut = _cut(kernel, geometry[3])
    weights = pack(plain(kernel).reshape(kh * kw, c_in, filters), layout, cut, groups)
    start = np.zeros(filters + VECTOR_BYTES // x.itemsize, x.dtype)
    if bias is not None:
        start[:filters] = bias
    flat_x, flat_y = flat(x), flat(y)

    def part(samples: slice) -> None:
        gather(
            flat_x[samples], weights, start, layout, cut, groups, c_in, filters // groups,
            by_channel, flat_y[samples],
        )  # fmt: skip

    in_parts(part, len(x), max(x.size, y.size) * kh * kw * c_in)


def kernel_grad(x, grad, geometry, out):
    """Overwrite the contiguous ``out`` with dL/dkernel."""
    kh, kw, c_in, filters = out.shape
    height, width = grad.shape[1:3]
    shape = x.shape[1:3], (height, width), (x.shape[3], filters)
    layout = plan(False, *shape, (kh, kw), *geometry)
    by_channel, groups, cut = _cut(out, geometry[3])
    lines = layout.rows[: height * width : width].copy()
    step = geometry[0][1] * x.shape[3]
    depth = -(-kh * kw * c_in // ROWS) * ROWS
    size = groups * depth * int(cut.vectors.sum()) * VECTOR_BYTES // x.itemsize
    flat_x, flat_grad = flat(x), flat(grad)

    def part(samples: slice) -> np.ndarray:
        total = np.zeros(size, x.dtype)
        reduce(
            flat_x[samples], flat_grad[samples], layout, cut, lines, step, groups, c_in,
            filters // groups, by_channel, total,
        )  # fmt: skip
        return total

    total = sum(in_parts(part, len(x), grad.size * kh * kw * c_in))
    unpack(total, cut, groups, out.reshape(kh * kw * c_in, filters))


def flat(x: np.ndarray) -> np.ndarray:
    """Return (n_samples, numbers of a sample)."""
    return plain(x).reshape(len(x), prod(x.shape[1:]))


def _cut(kernel: np.ndarray, groups: int) -> tuple[bool, int, Blocks]:
    """Depthwise, channels stand side by side in vectors: then all are one group."""
    filters = kernel.shape[3]
    narrow = VECTOR_BYTES // kernel.itemsize
    by_channel = kernel.shape[2] == 1 and 1 < groups == filters >= narrow
    groups = 1 if by_channel else groups
    return by_channel, groups, blocks(filters // groups, kernel.itemsize)
