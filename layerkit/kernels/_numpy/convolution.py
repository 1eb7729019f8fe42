"""Convolution in NumPy: the version that always works.

Arrays in, arrays out. Images are ``(n_samples, height, width, channels)``, kernels
``(kh, kw, c_in / groups, c_out)``. Along one axis, with stride s, dilation d and p cells of padding
before the first, output o looks through tap t of its window at the cell ``o s + t d - p``::

    y[o] = Σ_t x[o s + t d - p] w[t],      o = 0 ... n_out - 1
    n_out = floor((n + p_before + p_after - d (k - 1) - 1) / s) + 1

Everything here is this sum and its two derivatives.

References
----------
Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, arXiv:1603.07285.
Chellapilla, Puri and Simard, "High performance convolutional neural networks for document
processing", 2006 (convolution as one matrix product).
"""

from collections.abc import Iterator
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from layerkit.kernels._numpy import winograd
from layerkit.kernels._numpy.windows import NO_PADDING, Padding, Pair, output_sizes, taps_of

# Windows are copied out of so few samples at a time that the copy is still in the cache when the
# matrix product reads it.
CHUNK_BYTES = 2**20
# Copying window by window moves kw * channels neighbours at once. With so few channels it is faster
# to copy tap by tap: whole rows of the cells that the windows see through one tap.
FEW_CHANNELS = 4
# With fewer on either side, Winograd's transforms cost more than the multiplications they save.
WINOGRAD_CHANNELS = 48


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
    """Cross-correlate images with a kernel: a matrix product whose rows are the windows.

    Group g of ``c_out / groups`` outputs reads group g of ``c_in / groups`` input channels.
    """
    if _takes_winograd(kernel, stride, padding, dilation, groups, algorithm):
        outputs = output_sizes(x.shape[1:3], kernel.shape[:2], stride, padding, dilation)
        y = np.empty((len(x), *outputs, kernel.shape[3]), x.dtype)
        winograd.convolve(x, kernel, bias, padding, y)
        return y
    x, groups = _spread(x, kernel, groups)
    kernel = np.ascontiguousarray(kernel)  # or it would be copied for every chunk
    kh, kw, _, c_out = kernel.shape
    height, width = output_sizes(x.shape[1:3], (kh, kw), stride, padding, dilation)
    y = np.empty((len(x), height, width, c_out), x.dtype)
    # Long rows add faster than short ones, so the bias is added to whole rows of an image.
    row_bias = None if bias is None else bias[None].repeat(width, axis=0).ravel()
    for chunk in _chunks(len(x), height * width * kh * kw * x.shape[3], kernel):
        windows = _windows(_pad(x[chunk], padding), (kh, kw), stride, dilation)
        _multiply(windows, kernel, groups, out=y[chunk])
        if row_bias is not None:
            rows = y[chunk].reshape(-1, width * c_out)
            rows += row_bias
    return y


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
    """Overwrite ``out`` with dL/dkernel, given x and ``grad`` = dL/dy.

    y = windows · kernel, hence dL/dkernel = windowsᵀ · dL/dy. The windows are copied out once more:
    kept from the forward pass they would take kh · kw times the memory of x.
    """
    if _takes_winograd(out, stride, padding, dilation, groups, algorithm):
        winograd.kernel_grad(x, grad, padding, out)
        return
    x, groups = _spread(x, out, groups)
    kh, kw = out.shape[:2]
    total = np.zeros(out.shape, x.dtype)
    for chunk in _chunks(len(x), prod(grad.shape[1:3]) * kh * kw * x.shape[3], out):
        windows = _windows(_pad(x[chunk], padding), (kh, kw), stride, dilation)
        _add_kernel_grad(windows, grad[chunk], groups, total)
    out[...] = total


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
    """Return dL/dx of x with shape ``x_shape``: the adjoint of `conv2d`, applied to dL/dy.

    Cell i is seen by output o through tap t where ``i = o s + t d - p``, so it collects
    ``Σ_t grad[(i + p - t d) / s] w[t]ᵀ`` over the taps for which that o exists.
    """
    kh, kw, _, c_out = kernel.shape
    if kernel.shape[2] == 1 and 1 < groups < c_out:  # the channels that _spread repeats
        repeated = (*x_shape[:3], c_out)
        dx = conv2d_input_grad(grad, kernel, repeated, stride, padding, dilation, c_out, algorithm)
        return dx.reshape(*x_shape, c_out // groups).sum(axis=-1)

    transposed = transpose(kernel, groups)
    cells, outputs = x_shape[1:3], grad.shape[1:3]
    if stride == (1, 1) and 2 * prod(outputs) > prod(cells):
        # Gather. With t' = k - 1 - t, o = i + t' d - (d (k - 1) - p): a convolution again, of the
        # gradient with the flipped kernel, padded to where the outermost windows still touch x.
        (top, bottom), (left, right) = padding
        reach, across = dilation[0] * (kh - 1), dilation[1] * (kw - 1)
        opposite = (reach - top, reach - bottom), (across - left, across - right)
        return conv2d(
            grad, transposed[::-1, ::-1], None, stride, opposite, dilation, groups, algorithm
        )

    # Scatter. Between strided outputs, or around few of them, a gather would mostly read zeros.
    dx = np.zeros(x_shape, grad.dtype)
    for chunk in _chunks(len(grad), prod(grad.shape[1:]), kernel):
        for i, j, seers, seen in taps_of((kh, kw), stride, padding, dilation, cells, outputs):
            share = conv2d(grad[chunk], transposed[i : i + 1, j : j + 1], groups=groups)
            dx[chunk][seen] += share[seers]
    return dx


def _takes_winograd(
    kernel: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, groups: int, algorithm: str
) -> bool:
    """Whether to use Winograd's algorithm: "auto" does in float32, where it pays."""
    pays = kernel.dtype == np.float32 and min(kernel.shape[2:]) >= WINOGRAD_CHANNELS
    wanted = algorithm == "winograd" or (algorithm == "auto" and pays)
    return wanted and winograd.fits(kernel, stride, padding, dilation, groups)


def _multiply(windows: np.ndarray, kernel: np.ndarray, groups: int, out: np.ndarray) -> None:
    """Write windows · kernel to ``out``, group by group."""
    kh, kw, channels, c_out = kernel.shape
    if _is_depthwise(kernel, groups):  # c_out products of a row and a column: BLAS has no such call
        np.einsum(
            "rtc,tc->rc",
            windows.reshape(-1, kh * kw, c_out),
            kernel.reshape(kh * kw, c_out),
            out=out.reshape(-1, c_out),
        )
    else:
        weights = kernel.reshape(kh * kw * channels, groups, c_out // groups).swapaxes(0, 1)
        np.matmul(_columns(windows, groups), weights, out=_by_group(out, groups))


def _add_kernel_grad(windows: np.ndarray, grad: np.ndarray, groups: int, total: np.ndarray) -> None:
    """Add windowsᵀ · grad to ``total``, group by group."""
    kh, kw, _, c_out = total.shape
    if _is_depthwise(total, groups):
        total += np.einsum(
            "rtc,rc->tc", windows.reshape(-1, kh * kw, c_out), grad.reshape(-1, c_out)
        ).reshape(total.shape)
    else:
        product = _columns(windows, groups).swapaxes(1, 2) @ _by_group(grad, groups)
        total += product.swapaxes(0, 1).reshape(total.shape)


def _columns(windows: np.ndarray, groups: int) -> np.ndarray:
    """Lay out (m, oh, ow, kh, kw, c) as matrices (groups, m * oh * ow, kh * kw * c / groups)."""
    *axes, c = windows.shape
    rows, taps = prod(axes[:3]), prod(axes[3:]) * (c // groups)
    grouped = windows.reshape(*axes, groups, c // groups)
    if c // groups <= FEW_CHANNELS:
        return grouped.transpose(5, 3, 4, 6, 0, 1, 2).reshape(groups, taps, rows).swapaxes(1, 2)
    return grouped.transpose(5, 0, 1, 2, 3, 4, 6).reshape(groups, rows, taps)


def _by_group(maps: np.ndarray, groups: int) -> np.ndarray:
    """View (m, h, w, c) as matrices (groups, m * h * w, c / groups)."""
    return maps.reshape(-1, groups, maps.shape[3] // groups).swapaxes(0, 1)


def transpose(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Swap inputs and outputs within each group: (kh, kw, c_out / groups, c_in)."""
    kh, kw, channels, c_out = kernel.shape
    grouped = kernel.reshape(kh, kw, channels, groups, c_out // groups)
    return grouped.transpose(0, 1, 4, 3, 2).reshape(kh, kw, c_out // groups, groups * channels)


def _is_depthwise(kernel: np.ndarray, groups: int) -> bool:
    return kernel.shape[2] == 1 and 1 < groups == kernel.shape[3]


def _spread(x: np.ndarray, kernel: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
    """Give each output of a depthwise kernel its own copy of the input channel that it reads."""
    _, _, channels, c_out = kernel.shape
    if channels == 1 and 1 < groups < c_out:
        return np.repeat(x, c_out // groups, axis=3), c_out
    return x, groups


def _pad(x: np.ndarray, padding: Padding) -> np.ndarray:
    """Surround images with zeros; negative padding cuts cells off."""
    if padding == NO_PADDING:
        return x
    n, h, w, c = x.shape
    (top, bottom), (left, right) = padding
    padded = np.zeros((n, h + top + bottom, w + left + right, c), x.dtype)
    padded[:, max(top, 0) : h + top, max(left, 0) : w + left] = x[
        :, max(-top, 0) : h + bottom, max(-left, 0) : w + right
    ]
    return padded


def _windows(x: np.ndarray, size: Pair, stride: Pair, dilation: Pair) -> np.ndarray:
    """View images as all their windows: (n, oh, ow, kh, kw, c). Nothing is copied."""
    n, h, w, c = x.shape
    by_sample, by_row, by_column, by_channel = x.strides
    return as_strided(
        x,
        (n, *output_sizes((h, w), size, stride, NO_PADDING, dilation), *size, c),
        (
            by_sample,
            by_row * stride[0],
            by_column * stride[1],
            by_row * dilation[0],
            by_column * dilation[1],
            by_channel,
        ),
        writeable=False,
    )


def _chunks(n_samples: int, sample_size: int, kernel: np.ndarray) -> Iterator[slice]:
    """Cut a batch into chunks that fill the cache, or that outweigh a kernel that does not fit."""
    budget = max(CHUNK_BYTES, kernel.nbytes)
    step = max(1, budget // (sample_size * kernel.itemsize))
    for start in range(0, n_samples, step):
        yield slice(start, start + step)
