"""Winograd's convolution of stride 1, tile by tile while the numbers are in the cache.

A tile of m x m outputs comes from 6 x 6 inputs. Transformed (see `_numpy.winograd`), each of the 36
points is a matrix product of its own over channels, for `TILES` tiles at once: (tiles, c_in) times
(c_in, c_out), or for the kernel gradient (c_in, tiles) times (tiles, c_out). All tiles of a batch
stand in one row, so that a sample with few of them costs no more.

Numbers of a transformed tile are laid out as (tile, point, channel).
"""

import numpy as np

from layerkit.kernels._numba import activations
from layerkit.kernels._numba.compile import contiguous, copied, inline, jit
from layerkit.kernels._numba.direct import flat, pad
from layerkit.kernels._numba.threads import WORTHWHILE, in_parts
from layerkit.kernels._numba.tile import (
    NARROW,
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
from layerkit.kernels._numba.transforms import (
    transform_input,
    transform_kernel,
    transform_output,
)
from layerkit.kernels._numba.windows import blocks, frame
from layerkit.kernels._numpy.winograd import N_POINTS
from layerkit.kernels.parts import n_parts

LANES = 8  # of a vector, in float32: channels there must be at least
TILES = 24  # at a time: a multiple of ROWS
LINE_BYTES = 64
POINTS = N_POINTS**2
# Aᵀ M A adds the middle of the first four rows and columns ... to every output: (1, 1) is the point
# where both coordinates are 1, whose powers are all 1.
BIAS_POINT = N_POINTS + 1


@inline
def pitch(channels, itemsize):
    """Return how far apart tiles are: an odd number of cache lines, so that none share a set."""
    lines = POINTS * channels * itemsize // LINE_BYTES + 1
    return (lines | 1) * LINE_BYTES // itemsize


_relu = copied(activations.relu_loop)


@jit
def transform_kernels(kernel, r, cut, c_in, c_out):
    """Return G g Gᵀ of every g, laid out as (point, block, input channel, lane)."""
    narrow = VECTOR_BYTES // kernel.itemsize
    plane = cut.n_vectors * narrow * c_in
    values = np.empty(POINTS * plane, kernel.dtype)
    packed = 0
    for block in range(len(cut.starts)):
        width = cut.vectors[block] * narrow
        for c in range(c_in):
            for lane in range(0, width, narrow):
                transform_kernel(
                    r, kernel, c * c_out + cut.starts[block] + lane, r * c_in * c_out, c_in * c_out,
                    values, packed + c * width + lane, N_POINTS * plane, plane,
                )  # fmt: skip
        packed += c_in * width
    return values


@jit
def gather(x, y, values, bias, frame, across, down, m, width, cut, c_in, c_out, rectify):
    """Overwrite y with images of ``width`` columns, convolved; the bias ends with zeros."""
    narrow = VECTOR_BYTES // x.itemsize
    in_pitch, out_pitch = pitch(c_in, x.itemsize), pitch(c_out, x.itemsize)
    in_rows, out_rows = multiples(TILES, in_pitch), multiples(TILES, out_pitch)
    inputs, outputs = np.empty(TILES * in_pitch, x.dtype), np.empty(TILES * out_pitch, x.dtype)
    height = y.shape[1] // (width * c_out)
    corner = np.empty(m * m * c_out, x.dtype)
    padded = np.zeros(frame.size if frame.copied else 0, x.dtype)
    alongside = multiples(c_in, 1)
    n_tiles, loaded, source = len(x) * across * down, -1, padded
    for first in range(0, n_tiles, TILES):
        n = min(TILES, n_tiles - first)
        for t in range(n):
            sample, place = divmod(first + t, across * down)
            if sample != loaded:
                source, loaded = x[sample], sample
                if frame.copied:
                    pad(source, frame, padded)
                    source = padded
            row, column = divmod(place, across)
            at = row * m * frame.pitch + column * m * c_in
            for vector in range(0, c_in, narrow):
                c = min(vector, c_in - narrow)
                transform_input(
                    source, at + c, frame.pitch, c_in,
                    inputs, t * in_pitch + c, N_POINTS * c_in, c_in,
                )  # fmt: skip

        packed = 0
        for point in range(POINTS):
            for block in range(len(cut.starts)):
                vectors, start = cut.vectors[block], cut.starts[block]
                begin = start if point == BIAS_POINT else c_out  # where zeros are
                for t in range(0, n, ROWS):
                    tile(
                        None,
                        vectors,
                        c_in,
                        Rows(inputs, point * c_in, in_rows, t, alongside, 0),
                        Block(values, packed, vectors * narrow),
                        Target(outputs, point * c_out + start, out_rows, t),
                        Start(bias, begin),
                    )
                packed += c_in * vectors * narrow

        for t in range(n):
            sample, place = divmod(first + t, across * down)
            row, column = divmod(place, across)
            tall, wide = min(m, height - row * m), min(m, width - column * m)
            at = (row * m * width + column * m) * c_out
            target, target0, target_pitch = y[sample], at, width * c_out
            if tall < m or wide < m:
                target, target0, target_pitch = corner, 0, m * c_out
            for vector in range(0, c_out, narrow):
                c = min(vector, c_out - narrow)
                transform_output(
                    m, outputs, t * out_pitch + c, N_POINTS * c_out, c_out,
                    target, target0 + c, target_pitch, c_out,
                )  # fmt: skip
            if tall < m or wide < m:
                for i in range(tall):
                    to = at + i * width * c_out
                    copy(corner, i * m * c_out, y[sample], to, wide * c_out)
            if rectify:
                for i in range(tall):
                    row_start = at + i * width * c_out
                    cells = y[sample, row_start : row_start + wide * c_out]
                    _relu(cells, cells)


@jit
def reduce(x, grad, total, frame, grad_frame, across, down, m, cut, c_in, c_out):
    """Add to ``total`` Σ over tiles, laid out as (point, block, input channel, lane)."""
    narrow = VECTOR_BYTES // x.itemsize
    in_pitch, out_pitch = pitch(c_in, x.itemsize), pitch(c_out, x.itemsize)
    inputs, grads = np.empty(TILES * in_pitch, x.dtype), np.empty(TILES * out_pitch, x.dtype)
    padded = np.zeros(frame.size if frame.copied else 0, x.dtype)
    padded_grad = np.zeros(grad_frame.size if grad_frame.copied else 0, x.dtype)
    in_rows = multiples(TILES, in_pitch)
    depth = (c_in + ROWS - 1) // ROWS * ROWS
    channels = multiples(depth, 1)
    channels[c_in:] = c_in - 1
    narrow_rows, wide_rows = multiples(depth, narrow), multiples(depth, WIDE * narrow)
    n_tiles, loaded, source, g = len(x) * across * down, -1, padded, padded_grad
    for first in range(0, n_tiles, TILES):
        n = min(TILES, n_tiles - first)
        for t in range(n):
            sample, place = divmod(first + t, across * down)
            if sample != loaded:
                source, g, loaded = x[sample], grad[sample], sample
                if frame.copied:
                    pad(source, frame, padded)
                    source = padded
                if grad_frame.copied:
                    pad(g, grad_frame, padded_grad)
                    g = padded_grad
            row, column = divmod(place, across)
            at = row * m * frame.pitch + column * m * c_in
            for vector in range(0, c_in, narrow):
                c = min(vector, c_in - narrow)
                transform_input(
                    source, at + c, frame.pitch, c_in,
                    inputs, t * in_pitch + c, N_POINTS * c_in, c_in,
                )  # fmt: skip
            at = row * m * grad_frame.pitch + column * m * c_out
            for vector in range(0, c_out, narrow):
                c = min(vector, c_out - narrow)
                transform_kernel(
                    m, g, at + c, grad_frame.pitch, c_out,
                    grads, t * out_pitch + c, N_POINTS * c_out, c_out,
                )  # fmt: skip

        packed = 0
        for point in range(POINTS):
            for block in range(len(cut.starts)):
                vectors, start = cut.vectors[block], cut.starts[block]
                rows = narrow_rows if vectors == NARROW else wide_rows
                for c in range(0, depth, ROWS):
                    tile(
                        None,
                        vectors,
                        n,
                        Rows(inputs, point * c_in, channels, c, in_rows, 0),
                        Block(grads, point * c_out + start, out_pitch),
                        Target(total, packed, rows, c),
                        Start(total, -1),
                    )
                packed += depth * vectors * narrow


@jit
def transform_total(total, r, cut, c_in, c_out, out):
    """Overwrite the flat kernel gradient ``out`` with Aᵀ S A of every sum S."""
    narrow = VECTOR_BYTES // out.itemsize
    depth = (c_in + ROWS - 1) // ROWS * ROWS
    plane = cut.n_vectors * narrow * depth
    packed = 0
    for block in range(len(cut.starts)):
        width = cut.vectors[block] * narrow
        for c in range(c_in):
            for lane in range(0, width, narrow):
                transform_output(
                    r, total, packed + c * width + lane, N_POINTS * plane, plane,
                    out, c * c_out + cut.starts[block] + lane, r * c_in * c_out, c_in * c_out,
                )  # fmt: skip
        packed += depth * width


def convolve(x, kernel, bias, padding, y, rectify=False):
    """Overwrite y with a convolution of stride 1 of x by an r x r kernel, cut off at 0 if asked."""
    r, _, c_in, c_out = kernel.shape
    height, width = y.shape[1:3]
    m = N_POINTS + 1 - r
    down, across = -(-height // m), -(-width // m)
    framed = down * m + r - 1, across * m + r - 1
    layout = frame(x.shape[1:3], (padding[0][0], padding[1][0]), framed, c_in)
    cut = blocks(c_out, x.itemsize)
    values = transform_kernels(contiguous(kernel).ravel(), r, cut, c_in, c_out)
    start = np.zeros(c_out + WIDE * VECTOR_BYTES // x.itemsize, x.dtype)
    if bias is not None:
        start[:c_out] = bias
    in_parts(
        gather,
        (flat(x), flat(y)),
        (values, start, layout, across, down, m, width, cut, c_in, c_out, rectify),
        multiply_adds=POINTS * len(x) * down * across * c_in * c_out,
    )


def kernel_grad(x, grad, padding, out):
    """Overwrite the contiguous ``out`` with dL/dkernel, r x r, of a convolution of stride 1."""
    r, _, c_in, c_out = out.shape
    m = N_POINTS + 1 - r
    down, across = (-(-n // m) for n in grad.shape[1:3])
    framed = down * m + r - 1, across * m + r - 1
    layout = frame(x.shape[1:3], (padding[0][0], padding[1][0]), framed, c_in)
    grad_layout = frame(grad.shape[1:3], (0, 0), (down * m, across * m), c_out)
    cut = blocks(c_out, x.itemsize)
    depth = -(-c_in // ROWS) * ROWS
    size = POINTS * depth * cut.n_vectors * VECTOR_BYTES // x.itemsize
    work = POINTS * len(x) * down * across * c_in * c_out
    totals = np.zeros((n_parts(len(x), work, WORTHWHILE), size), x.dtype)
    in_parts(
        reduce,
        (flat(x), flat(grad)),
        (layout, grad_layout, across, down, m, cut, c_in, c_out),
        each=(totals,),
        multiply_adds=work,
    )
    transform_total(sum(totals), r, cut, c_in, c_out, out.ravel())
