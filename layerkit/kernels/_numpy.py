"""Convolution and pooling in NumPy: the versions that always work.

Arrays in, arrays out. Images are ``(n_samples, height, width, channels)``, kernels
``(kh, kw, c_in / groups, c_out)``. Along one axis, with stride s, dilation d and p cells of padding
before the first, output o looks through tap t of its window at the cell ``o s + t d - p``::

    y[o] = Σ_t x[o s + t d - p] w[t],      o = 0 ... n_out - 1
    n_out = floor((n + p_before + p_after - d (k - 1) - 1) / s) + 1

Everything here is this sum and its two derivatives, or the same windows with max or mean.

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

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))
NO_PADDING: Padding = ((0, 0), (0, 0))

# Windows are copied out of so few samples at a time that the copy is still in the cache when the
# matrix product reads it.
CHUNK_BYTES = 2**20
# Copying window by window moves kw * channels neighbours at once. With so few channels it is faster
# to copy tap by tap: whole rows of the cells that the windows see through one tap.
FEW_CHANNELS = 4


def output_size(n: int, size: int, stride: int, padding: Pair, dilation: int = 1) -> int:
    """Return how many windows fit along one axis of n cells (none: 0 or less)."""
    return (n + sum(padding) - dilation * (size - 1) - 1) // stride + 1


def sum_rows(rows: np.ndarray, out: np.ndarray) -> None:
    """Overwrite ``out`` with Σ_r rows[r], the gradient of a bias.

    As a matrix product: several times faster than ``rows.sum(axis=0)``, and no less accurate.
    """
    np.matmul(np.ones(len(rows), rows.dtype), rows, out=out)


# ---------------------------------------------------------------- convolution


def conv2d(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> np.ndarray:
    """Cross-correlate images with a kernel: a matrix product whose rows are the windows.

    Group g of ``c_out / groups`` outputs reads group g of ``c_in / groups`` input channels.
    """
    x, groups = _spread(x, kernel, groups)
    kernel = np.ascontiguousarray(kernel)  # or it would be copied for every chunk
    kh, kw, _, c_out = kernel.shape
    height, width = _output_sizes(x.shape[1:3], (kh, kw), stride, padding, dilation)
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
) -> None:
    """Overwrite ``out`` with dL/dkernel, given x and ``grad`` = dL/dy.

    y = windows · kernel, hence dL/dkernel = windowsᵀ · dL/dy. The windows are copied out once more:
    kept from the forward pass they would take kh · kw times the memory of x.
    """
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
) -> np.ndarray:
    """Return dL/dx of x with shape ``x_shape``: the adjoint of `conv2d`, applied to dL/dy.

    Cell i is seen by output o through tap t where ``i = o s + t d - p``, so it collects
    ``Σ_t grad[(i + p - t d) / s] w[t]ᵀ`` over the taps for which that o exists.
    """
    kh, kw, _, c_out = kernel.shape
    if kernel.shape[2] == 1 and 1 < groups < c_out:  # the channels that _spread repeats
        repeated = (*x_shape[:3], c_out)
        dx = conv2d_input_grad(grad, kernel, repeated, stride, padding, dilation, c_out)
        return dx.reshape(*x_shape, c_out // groups).sum(axis=-1)

    transposed = _transpose(kernel, groups)
    cells, outputs = x_shape[1:3], grad.shape[1:3]
    if stride == (1, 1) and 2 * prod(outputs) > prod(cells):
        # Gather. With t' = k - 1 - t, o = i + t' d - (d (k - 1) - p): a convolution again, of the
        # gradient with the flipped kernel, padded to where the outermost windows still touch x.
        (top, bottom), (left, right) = padding
        reach, across = dilation[0] * (kh - 1), dilation[1] * (kw - 1)
        opposite = (reach - top, reach - bottom), (across - left, across - right)
        return conv2d(
            grad, transposed[::-1, ::-1], padding=opposite, dilation=dilation, groups=groups
        )

    # Scatter. Between strided outputs, or around few of them, a gather would mostly read zeros.
    dx = np.zeros(x_shape, grad.dtype)
    for chunk in _chunks(len(grad), prod(grad.shape[1:]), kernel):
        for i, j, seers, seen in _taps((kh, kw), stride, padding, dilation, cells, outputs):
            share = conv2d(grad[chunk], transposed[i : i + 1, j : j + 1], groups=groups)
            dx[chunk][seen] += share[seers]
    return dx


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


def _transpose(kernel: np.ndarray, groups: int) -> np.ndarray:
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


# ---------------------------------------------------------------- pooling


def max_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> tuple[np.ndarray, np.ndarray]:
    """Return the maximum of every window and the tap ``i * width + j`` where it first stands.

    Each window starts from its first real cell, so padding never wins; NaN wins over everything.
    """
    taps, firsts, _ = zip(*_spans(x.shape, size, stride, padding), strict=True)
    y = x.take(firsts[0], axis=1).take(firsts[1], axis=2)
    argmax = np.empty(y.shape, np.min_scalar_type(prod(size) - 1))
    argmax[...] = np.add.outer(taps[0] * size[1], taps[1])[:, :, None]
    for i, j, seers, seen in _taps(size, stride, padding, (1, 1), x.shape[1:3], y.shape[1:3]):
        if i == j == 0:
            continue  # y started there
        best, candidate, where = y[seers], x[seen], argmax[seers]
        # Taps count up, so the last one that improved is the largest of those that did. (A masked
        # copy of the tap says the same and takes five times longer.)
        improved = (candidate > best) * where.dtype.type(i * size[1] + j)
        np.maximum(where, improved, out=where)
        np.maximum(best, candidate, out=best)
    return y, argmax


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
    for i, j, seers, seen in _taps(size, stride, padding, (1, 1), x_shape[1:3], grad.shape[1:3]):
        here = argmax[seers] == i * size[1] + j
        if _are_disjoint(size, stride):
            np.multiply(here, grad[seers], out=dx[seen])
        else:
            dx[seen] += here * grad[seers]
    return dx


def avg_pool2d(
    x: np.ndarray, size: Pair, stride: Pair, padding: Padding = NO_PADDING
) -> np.ndarray:
    """Return the mean of the real cells of every window: padding does not count."""
    counts = _window_counts(x.shape, size, stride, padding, x.dtype)
    y = np.zeros((len(x), *counts.shape[:2], x.shape[3]), x.dtype)
    for _, _, seers, seen in _taps(size, stride, padding, (1, 1), x.shape[1:3], counts.shape[:2]):
        y[seers] += x[seen]
    y /= counts
    return y


def avg_pool2d_input_grad(
    grad: np.ndarray,
    x_shape: tuple[int, ...],
    size: Pair,
    stride: Pair,
    padding: Padding = NO_PADDING,
) -> np.ndarray:
    """Return dL/dx: every real cell of a window gets an equal share of its gradient."""
    shares = grad / _window_counts(x_shape, size, stride, padding, grad.dtype)
    dx = np.zeros(x_shape, grad.dtype)
    for _, _, seers, seen in _taps(size, stride, padding, (1, 1), x_shape[1:3], grad.shape[1:3]):
        if _are_disjoint(size, stride):
            dx[seen] = shares[seers]
        else:
            dx[seen] += shares[seers]
    return dx


def _are_disjoint(size: Pair, stride: Pair) -> bool:
    """Whether no cell is in two windows, so that gradients need not be added up."""
    return size[0] <= stride[0] and size[1] <= stride[1]


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


# ---------------------------------------------------------------- windows


def _output_sizes(
    cells: tuple[int, ...], size: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> tuple[int, ...]:
    return tuple(map(output_size, cells, size, stride, padding, dilation))


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
        (n, *_output_sizes((h, w), size, stride, NO_PADDING, dilation), *size, c),
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


def _taps(
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


def _chunks(n_samples: int, sample_size: int, kernel: np.ndarray) -> Iterator[slice]:
    """Cut a batch into chunks that fill the cache, or that outweigh a kernel that does not fit."""
    budget = max(CHUNK_BYTES, kernel.nbytes)
    step = max(1, budget // (sample_size * kernel.itemsize))
    for start in range(0, n_samples, step):
        yield slice(start, start + step)
