"""Convolution by compiled loops: which algorithm, and the three functions that use it."""

import numpy as np

from layerkit.kernels._numba import direct, winograd
from layerkit.kernels._numpy.convolution import transpose
from layerkit.kernels._numpy.windows import NO_PADDING, Padding, Pair, output_sizes
from layerkit.kernels._numpy.winograd import fits

# With fewer channels on either side, the transforms cost more than the multiplications they save.
LEAST_CHANNELS = {3: 8, 5: 16}  # by the size of the kernel


def choose(
    kernel: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, groups: int, algorithm: str
) -> str:
    """Return "winograd" or "direct".

    Where Winograd's algorithm fits, it saves most of the multiplications and costs a little of the
    accuracy, so "auto" takes it in float32, with enough channels. It needs a vector of them anyway.
    """
    if not fits(kernel, stride, padding, dilation, groups):
        return "direct"
    fewest = min(kernel.shape[2:])
    if algorithm == "auto" and kernel.dtype == np.float32 and fewest >= LEAST_CHANNELS[len(kernel)]:
        algorithm = "winograd"
    return "winograd" if algorithm == "winograd" and fewest >= winograd.LANES else "direct"


def conv2d(
    x,
    kernel,
    bias=None,
    stride=(1, 1),
    padding=NO_PADDING,
    dilation=(1, 1),
    groups=1,
    algorithm="auto",
    rectify=False,
):
    """Cross-correlate images with a kernel, as `_numpy.convolution.conv2d` does.

    Rectified while they are in the cache, outputs cost a pass over memory less.
    """
    geometry = stride, padding, dilation, groups
    outputs = output_sizes(x.shape[1:3], kernel.shape[:2], stride, padding, dilation)
    y = np.empty((len(x), *outputs, kernel.shape[3]), x.dtype)
    if choose(kernel, *geometry, algorithm) == "winograd":
        winograd.convolve(x, kernel, bias, padding, y, rectify)
    else:
        direct.convolve(x, kernel, bias, False, geometry, y, rectify)
    return y


def conv2d_input_grad(
    grad,
    kernel,
    x_shape,
    stride=(1, 1),
    padding=NO_PADDING,
    dilation=(1, 1),
    groups=1,
    algorithm="auto",
):
    geometry = stride, padding, dilation, groups
    transposed = transpose(kernel, groups)
    dx = np.empty(x_shape, grad.dtype)
    if choose(kernel, *geometry, algorithm) == "winograd":
        # Of stride 1, it is a convolution by the flipped kernel, padded to where the outermost
        # windows still touch x.
        reach = len(kernel) - 1
        opposite = tuple((reach - before, reach - after) for before, after in padding)
        winograd.convolve(grad, transposed[::-1, ::-1], None, opposite, dx)
    else:
        direct.convolve(grad, transposed, None, True, geometry, dx)
    return dx


def conv2d_kernel_grad(
    x, grad, out, stride=(1, 1), padding=NO_PADDING, dilation=(1, 1), groups=1, algorithm="auto"
):
    geometry = stride, padding, dilation, groups
    plain_out = out if out.flags.carray else np.empty(out.shape, out.dtype)
    if choose(out, *geometry, algorithm) == "winograd":
        winograd.kernel_grad(x, grad, padding, plain_out)
    else:
        direct.kernel_grad(x, grad, geometry, plain_out)
    if plain_out is not out:
        out[...] = plain_out
