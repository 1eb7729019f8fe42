"""Convolution by compiled loops: the choice between them, and how they are called."""

import numpy as np

from layerkit.kernels._numba import direct
from layerkit.kernels._numba.compile import plain
from layerkit.kernels._numba.threads import in_parts
from layerkit.kernels._numba.tile import ROWS, VECTOR_BYTES
from layerkit.kernels._numba.windows import Blocks, Plan, blocks, plan
from layerkit.kernels._numpy.windows import NO_PADDING, Padding, Pair, output_sizes


def conv2d(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str = "auto",
) -> np.ndarray:
    """Cross-correlate images with a kernel, as `_numpy.convolution.conv2d` does."""
    x, groups = _spread(x, kernel, groups)
    n, *cells, c_in = x.shape
    kh, kw, _, c_out = kernel.shape
    outputs = output_sizes(tuple(cells), (kh, kw), stride, padding, dilation)
    y = np.empty((n, *outputs, c_out), x.dtype)
    shape = tuple(cells), outputs, (c_in, c_out)
    layout = plan(False, *shape, (kh, kw), stride, padding, dilation, groups)
    _gather(x, kernel, bias, layout, groups, y)
    return y


def conv2d_input_grad(
    grad: np.ndarray,
    kernel: np.ndarray,
    x_shape: tuple[int, ...],
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str = "auto",
) -> np.ndarray:
    """Return dL/dx: every cell gathers from the outputs that see it, phase by phase."""
    kh, kw, channels, c_out = kernel.shape
    if channels == 1 and 1 < groups < c_out:  # the channels that _spread repeats
        repeated = (*x_shape[:3], c_out)
        dx = conv2d_input_grad(grad, kernel, repeated, stride, padding, dilation, c_out, algorithm)
        return dx.reshape(*x_shape, c_out // groups).sum(axis=-1)
    _, *cells, c_in = x_shape
    dx = np.empty(x_shape, grad.dtype)
    shape = tuple(cells), grad.shape[1:3], (c_out, c_in)
    layout = plan(True, *shape, (kh, kw), stride, padding, dilation, groups)
    _gather(grad, _transpose(kernel, groups), None, layout, groups, dx)
    return dx


def conv2d_kernel_grad(
    x: np.ndarray,
    grad: np.ndarray,
    out: np.ndarray,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str = "auto",
) -> None:
    """Overwrite ``out`` with dL/dkernel, given x and ``grad`` = dL/dy."""
    x, groups = _spread(x, out, groups)
    kh, kw, _, c_out = out.shape
    shape = x.shape[1:3], grad.shape[1:3], (x.shape[3], c_out)
    layout = plan(False, *shape, (kh, kw), stride, padding, dilation, groups)
    _reduce(x, grad, layout, stride[1], groups, out)


def _gather(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    layout: Plan,
    groups: int,
    y: np.ndarray,
) -> None:
    kh, kw, c_in, filters = kernel.shape
    by_channel, groups, cut = _cut(kernel, groups)
    flat_kernel = plain(kernel.reshape(kh * kw, c_in, filters))
    weights = direct.pack(flat_kernel, layout, cut, groups)
    start = np.zeros(filters + VECTOR_BYTES // x.itemsize, x.dtype)
    if bias is not None:
        start[:filters] = bias
    flat_x, flat_y = _flat(x), _flat(y)

    def part(samples: slice) -> None:
        direct.gather(
            flat_x[samples], weights, start, layout, cut, groups, c_in, filters // groups,
            by_channel, flat_y[samples],
        )  # fmt: skip

    in_parts(part, len(x), y.size * kh * kw * c_in)


def _reduce(
    x: np.ndarray, grad: np.ndarray, layout: Plan, stride: int, groups: int, out: np.ndarray
) -> None:
    kh, kw, c_in, filters = out.shape
    by_channel, groups, cut = _cut(out, groups)
    height, width = grad.shape[1:3]
    lines = layout.rows[: height * width : width].copy()
    depth = -(-kh * kw * c_in // ROWS) * ROWS
    lanes = int(cut.vectors.sum()) * VECTOR_BYTES // x.itemsize
    flat_x, flat_grad = _flat(x), _flat(grad)

    def part(samples: slice) -> np.ndarray:
        total = np.zeros(groups * depth * lanes, x.dtype)
        direct.reduce(
            flat_x[samples], flat_grad[samples], layout, cut, lines, stride * x.shape[3],
            groups, c_in, filters // groups, by_channel, total,
        )  # fmt: skip
        return total

    total = sum(in_parts(part, len(x), grad.size * kh * kw * c_in))
    flat_out = np.empty((kh * kw * c_in, filters), out.dtype)
    direct.unpack(total, cut, groups, flat_out)
    out[...] = flat_out.reshape(out.shape)


def _cut(kernel: np.ndarray, groups: int) -> tuple[bool, int, Blocks]:
    """Depthwise, channels stand side by side in vectors: then all are one group."""
    filters = kernel.shape[3]
    narrow = VECTOR_BYTES // kernel.itemsize
    by_channel = kernel.shape[2] == 1 and 1 < groups == filters >= narrow
    groups = 1 if by_channel else groups
    return by_channel, groups, blocks(filters // groups, kernel.itemsize)


def _flat(x: np.ndarray) -> np.ndarray:
    return plain(x).reshape(len(x), x.shape[1] * x.shape[2] * x.shape[3])


def _transpose(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Swap inputs and outputs within each group: (kh, kw, c_out / groups, c_in)."""
    kh, kw, channels, c_out = kernel.shape
    grouped = kernel.reshape(kh, kw, channels, groups, c_out // groups)
    return grouped.transpose(0, 1, 4, 3, 2).reshape(kh, kw, c_out // groups, groups * channels)


def _spread(x: np.ndarray, kernel: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
    """Give each output of a depthwise kernel its own copy of the input channel that it reads."""
    _, _, channels, c_out = kernel.shape
    if channels == 1 and 1 < groups < c_out:
        return np.repeat(x, c_out // groups, axis=3), c_out
    return x, groups
