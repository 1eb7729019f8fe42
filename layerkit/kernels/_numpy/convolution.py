"""Convolution in NumPy: the version that always works.

Arrays in, arrays out. Images are ``(n_samples, height, width, channels)``, kernels
``(kh, kw, c_in / groups, c_out)``. Along one axis, with stride s, dilation d and p cells of padding
before the first, output o looks through tap t of its window at the cell ``o s + t d - p``::

    y[o] = Σ_t x[o s + t d - p] w[t],      o = 0 ... n_out - 1
    n_out = floor((n + p_before + p_after - d (k - 1) - 1) / s) + 1

Everything here is this sum and its two derivatives.

Arguments::

    kernel, bias          (kh, kw, c_in / groups, c_out) and (c_out,)
    stride, dilation      pairs (height, width), at least 1
    padding               ((top, bottom), (left, right)); negative cuts off
    groups                of channels that do not see each other
    algorithm             "auto", "direct" or "winograd", see `layerkit.Conv2D`
    rectify               whether to cut the result off at 0, as a ReLU behind would

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

from layerkit.kernels._numpy import depthwise, winograd
from layerkit.kernels._numpy.threads import in_parts
from layerkit.kernels._numpy.windows import (
    NO_PADDING,
    Geometry,
    Padding,
    Pair,
    output_sizes,
    taps_of,
)
from layerkit.kernels.dispatch import compiled

# Windows are copied out of so few samples at a time that the copy is still in the cache when the
# matrix product reads it.
CHUNK_BYTES = 2**20
# What moves at once is a row of a window with all its channels. With so few of them in a group it
# is faster to make the images planar, channel after channel, and to copy tap by tap: rows of all
# the cells that windows see through one tap.
FEW_CHANNELS = 4
# OpenBLAS multiplies matrices as they are up to so many multiply-adds; larger ones it copies first,
# which takes a quarter longer where one has few columns. So many rows are cut into blocks, but not
# into so short ones that the other matrix would be read too often.
SMALL_PRODUCT = 10**6
MIN_ROWS = 64
# To add a number to another in dL/dx costs so many times as much as to copy one of dL/dy.
DEARER = 2
# With fewer, Winograd's transforms cost more than the multiplications they save.
WINOGRAD_CHANNELS = [32, 64]  # on the side with fewer channels, and on the other


@compiled
def conv2d(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None = None,
    stride: Pair = (1, 1),
    padding: Padding = NO_PADDING,
    dilation: Pair = (1, 1),
    groups: int = 1,
    algorithm: str = "auto",
    rectify: bool = False,
) -> np.ndarray:
    """Cross-correlate images with a kernel: a matrix product whose rows are the windows.

    Group g of ``c_out / groups`` outputs reads group g of ``c_in / groups`` input channels.
    To rectify is to return ``max(y, 0)``, what a ReLU behind the convolution would give.
    """
    geometry = stride, padding, dilation
    height, width = output_sizes(x.shape[1:3], kernel.shape[:2], *geometry)
    y = np.empty((len(x), height, width, kernel.shape[3]), x.dtype)
    convolve = (
        winograd.convolve if _takes_winograd(kernel, geometry, groups, algorithm) else _direct
    )

    def task(part: slice) -> None:
        for done in convolve(x[part], kernel, bias, geometry, groups, y[part]):
            if rectify:  # while it is in the cache
                done.clip(0, np.inf, out=done)

    in_parts(task, len(x), y.size * prod(kernel.shape[:3]))
    return y


def _direct(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    geometry: Geometry,
    groups: int,
    y: np.ndarray,
) -> Iterator[np.ndarray]:
    """Overwrite y with the convolution, and yield the parts of it as they are done."""
    x, groups = depthwise.spread(x, kernel, groups)
    # Long rows add faster than short ones, so the bias is added to whole rows of an image.
    row_bias = None if bias is None else np.tile(bias, y.shape[2])
    if depthwise.applies(kernel, groups):
        chunks = _chunks(len(x), prod(x.shape[1:]), kernel)
        for chunk, phases in depthwise.by_phase(x, kernel, geometry, chunks):
            depthwise.convolve(phases, kernel, y[chunk])
            _add(y[chunk], row_bias)
            yield y[chunk]
        return
    weights = np.ascontiguousarray(_by_output(kernel, groups))
    for chunk, columns in _columns(x, kernel, geometry, groups):
        _multiply(columns, weights, _by_group(y[chunk], groups))
        _add(y[chunk], row_bias)
        yield y[chunk]


@compiled
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
    geometry = stride, padding, dilation
    winograds = _takes_winograd(out, geometry, groups, algorithm)
    kernel_grad = winograd.kernel_grad if winograds else _direct_kernel_grad

    def task(part: slice) -> np.ndarray:
        return kernel_grad(x[part], grad[part], out, geometry, groups)

    out[...] = sum(in_parts(task, len(x), grad.size * prod(out.shape[:3])))


def _direct_kernel_grad(
    x: np.ndarray, grad: np.ndarray, kernel: np.ndarray, geometry: Geometry, groups: int
) -> np.ndarray:
    """Return dL/dkernel."""
    x, groups = depthwise.spread(x, kernel, groups)
    total = np.zeros(kernel.shape, x.dtype)
    if depthwise.applies(kernel, groups):
        chunks = _chunks(len(x), prod(x.shape[1:]), kernel)
        for chunk, phases in depthwise.by_phase(x, kernel, geometry, chunks):
            total += depthwise.kernel_grad(phases, grad[chunk], kernel)
        return total
    sums = _by_output(total, groups)
    for chunk, columns in _columns(x, kernel, geometry, groups):
        _add_product(columns, _by_group(grad[chunk], groups), sums)
    return total


@compiled
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
    kh, kw, channels, c_out = kernel.shape
    if channels == 1 and 1 < groups < c_out:  # the channels that `depthwise.spread` repeats
        repeated = (*x_shape[:3], c_out)
        dx = conv2d_input_grad(grad, kernel, repeated, stride, padding, dilation, c_out, algorithm)
        return dx.reshape(*x_shape, c_out // groups).sum(axis=-1)

    if tuple(dilation) == (1, 1) != tuple(stride) and depthwise.applies(kernel, groups):
        return _input_grad_by_phase(grad, kernel, x_shape, stride, padding, groups)
    wide = channels > FEW_CHANNELS or depthwise.applies(kernel, groups)
    # Through each tap a gather reads so many numbers, and a scatter writes so many. Among groups
    # both move short rows.
    at_cell, at_output = (c_out, channels) if groups == 1 else (1, 1)
    read, written = prod(x_shape[1:3]) * at_cell, prod(grad.shape[1:3]) * at_output
    gathered = read <= DEARER * written or algorithm == "winograd"
    if stride == (1, 1) and wide and gathered:
        # Gather. With t' = k - 1 - t, o = i + t' d - (d (k - 1) - p): a convolution again, of the
        # gradient with the flipped kernel, padded to where the outermost windows still touch x.
        (top, bottom), (left, right) = padding
        reach, across = dilation[0] * (kh - 1), dilation[1] * (kw - 1)
        opposite = (reach - top, reach - bottom), (across - left, across - right)
        flipped = transpose(kernel, groups)[::-1, ::-1]
        return conv2d(grad, flipped, None, stride, opposite, dilation, groups, algorithm)
    geometry = stride, padding, dilation
    dx = np.empty(x_shape, grad.dtype)

    def task(part: slice) -> None:
        _scatter(grad[part], kernel, geometry, groups, dx[part])

    in_parts(task, len(grad), grad.size * prod(kernel.shape[:3]))
    return dx


def _input_grad_by_phase(
    grad: np.ndarray,
    kernel: np.ndarray,
    x_shape: tuple[int, ...],
    stride: Pair,
    padding: Padding,
    groups: int,
) -> np.ndarray:
    """Return dL/dx as gradients of convolutions of stride 1, one for each phase of the cells.

    Cell ``i = s m + a`` is seen through the taps ``t = s u + (a + p) mod s``, by the outputs
    ``m + floor((a + p) / s) - u``: a convolution with every s-th tap.
    """
    dx = np.zeros(x_shape, grad.dtype)
    (top, _), (left, _) = padding
    for a, b in np.ndindex(*stride):
        cells = dx[:, a :: stride[0], b :: stride[1]]
        (before, i), (ahead, j) = divmod(a + top, stride[0]), divmod(b + left, stride[1])
        taps = kernel[i :: stride[0], j :: stride[1]]
        if taps.size and cells.size:
            after, behind = np.add(grad.shape[1:3], taps.shape[:2]) - 1 - cells.shape[1:3]
            around = (before, int(after) - before), (ahead, int(behind) - ahead)
            cells[...] = conv2d_input_grad(
                grad, taps, cells.shape, (1, 1), around, (1, 1), groups, "direct"
            )
    return dx


def _scatter(
    grad: np.ndarray,
    kernel: np.ndarray,
    geometry: Geometry,
    groups: int,
    dx: np.ndarray,
) -> None:
    """Overwrite dx with what each output gives each cell in its window: products, added by tap.

    Between strided outputs, or around few of them, a gather would mostly read zeros; and it would
    read all of many outputs for each of few channels.
    """
    kh, kw, channels, _ = kernel.shape
    cells, outputs = dx.shape[1:3], grad.shape[1:3]
    planar = channels <= FEW_CHANNELS
    by_group = dx.reshape(*dx.shape[:3], groups, channels).transpose(3, 0, 1, 2, 4)
    sums = _images(by_group.shape[1:4], groups, channels, dx.dtype, True) if planar else by_group
    sums[...] = 0
    weights = _by_output(kernel, groups)
    by_tap = kernel.reshape(kh * kw, channels, groups, -1).transpose(0, 2, 3, 1)
    product = None
    for chunk in _chunks(len(grad), prod(outputs) * kh * kw * dx.shape[3], kernel):
        maps = _by_group(grad[chunk], groups)
        left, right = (weights, maps.swapaxes(1, 2)) if planar else (maps, by_tap)
        shape = *right.shape[:-2], left.shape[1], right.shape[-1]
        if product is None or product.shape != shape:  # shared by all parts but a smaller last one
            product = np.empty(shape, grad.dtype)
        np.matmul(left, right, out=product)
        if planar:
            shares = product.reshape(groups, kh, kw, channels, -1, *outputs)
            shares = shares.transpose(1, 2, 0, 4, 5, 6, 3)
        else:
            shares = product.reshape(kh, kw, groups, -1, *outputs, channels)
        here = sums[:, chunk]
        for i, j, seers, seen in taps_of((kh, kw), *geometry, cells, outputs):
            here[:, *seen] += shares[i, j][:, *seers]
    if planar:
        by_group[...] = sums


def _takes_winograd(kernel: np.ndarray, geometry: Geometry, groups: int, algorithm: str) -> bool:
    """Whether to use Winograd's algorithm: "auto" does in float32, where it pays."""
    enough = np.greater_equal(sorted(kernel.shape[2:]), WINOGRAD_CHANNELS).all()
    pays = kernel.dtype == np.float32 and enough
    wanted = algorithm == "winograd" or (algorithm == "auto" and pays)
    return bool(wanted) and winograd.fits(kernel, *geometry, groups)


def _columns(
    x: np.ndarray, kernel: np.ndarray, geometry: Geometry, groups: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield parts of a batch and their windows as rows: (groups, n * oh * ow, kh * kw * c).

    All parts share one array: fresh memory for each would cost as much as the copy.
    """
    planar = kernel.shape[2] <= FEW_CHANNELS
    memory = None
    size = kernel.shape[:2]
    copied = prod(output_sizes(x.shape[1:3], size, *geometry)) * prod(size) * x.shape[3]
    for chunk, windows in _windows(x, kernel, geometry, groups, copied, planar):
        _, *positions, kh, kw, c = windows.shape
        rows, taps = prod(positions), kh * kw * c
        ordered = windows.transpose(0, 4, 5, 6, 1, 2, 3) if planar else windows
        if not ordered.flags.c_contiguous:
            if memory is None:
                memory = np.empty(ordered.size, x.dtype)
            copy = memory[: ordered.size].reshape(ordered.shape)
            _copy_rows(ordered, copy)
            ordered = copy
        if planar:
            yield chunk, ordered.reshape(groups, taps, rows).swapaxes(1, 2)
        else:
            yield chunk, ordered.reshape(groups, rows, taps)


def _windows(
    x: np.ndarray,
    kernel: np.ndarray,
    geometry: Geometry,
    groups: int,
    sample_size: int,
    planar: bool = False,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield parts of a batch and all their windows: views (groups, n, oh, ow, kh, kw, c).

    Padded images are copied into an array that all parts share; negative padding cuts cells off.
    """
    n, h, w, channels = x.shape
    c, size = channels // groups, kernel.shape[:2]
    stride, padding, dilation = geometry
    (top, bottom), (left, right) = padding
    outputs = output_sizes((h, w), size, *geometry)
    images = x.reshape(n, h, w, groups, c).transpose(3, 0, 1, 2, 4)
    padded = None
    for chunk in _chunks(n, sample_size, kernel):
        part = images[:, chunk]
        if padding != NO_PADDING or groups > 1 or planar:
            if padded is None:
                framed = part.shape[1], h + top + bottom, w + left + right
                padded = _images(framed, groups, c, x.dtype, planar)
            kept = part[:, :, max(-top, 0) : h + bottom, max(-left, 0) : w + right]
            part = padded[:, : part.shape[1]]
            part[:, :, max(top, 0) : h + top, max(left, 0) : w + left] = kept
        by_group, by_sample, down, across, by_channel = part.strides
        steps = down * stride[0], across * stride[1], down * dilation[0], across * dilation[1]
        shape = groups, part.shape[1], *outputs, *size, c
        strides = by_group, by_sample, *steps, by_channel
        yield chunk, as_strided(part, shape, strides, writeable=False)


def _copy_rows(windows: np.ndarray, out: np.ndarray) -> None:
    """Copy windows: each row of one, all channels of its taps if they lie together, as one item."""
    *_, n, c = windows.shape
    if windows.strides[-2:] == (c * windows.itemsize, windows.itemsize):
        shape, strides = (*windows.shape[:-2], n * c), (*windows.strides[:-2], windows.itemsize)
        windows = as_strided(windows, shape, strides, writeable=False)
        out = out.reshape(shape)
    if windows.strides[-1] == windows.itemsize:
        item = f"V{windows.shape[-1] * windows.itemsize}"
        windows, out = windows.view(item), out.view(item)
    out[...] = windows


def _images(
    shape: tuple[int, ...], groups: int, channels: int, dtype: np.dtype, planar: bool
) -> np.ndarray:
    """Return zeros (groups, n, h, w, c), in memory group by group, or channel by channel."""
    if planar:
        return np.zeros((groups, channels, *shape), dtype).transpose(0, 2, 3, 4, 1)
    return np.zeros((groups, *shape, channels), dtype)


def _chunks(n_samples: int, sample_size: int, kernel: np.ndarray) -> Iterator[slice]:
    """Cut a batch into chunks that fill the cache, or that outweigh a kernel that does not fit."""
    budget = max(CHUNK_BYTES, kernel.nbytes)
    step = max(1, budget // (sample_size * kernel.itemsize))
    for start in range(0, n_samples, step):
        yield slice(start, start + step)


def _by_output(kernel: np.ndarray, groups: int) -> np.ndarray:
    """View a kernel as matrices (groups, kh * kw * c_in / groups, c_out / groups)."""
    return kernel.reshape(-1, groups, kernel.shape[3] // groups).swapaxes(0, 1)


def _by_group(maps: np.ndarray, groups: int) -> np.ndarray:
    """View (m, h, w, c) as matrices (groups, m * h * w, c / groups)."""
    return maps.reshape(-1, groups, maps.shape[3] // groups).swapaxes(0, 1)


def _multiply(columns: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    """Overwrite ``out`` with ``columns @ weights``, many rows times few columns."""
    blocks, rest = _blocks(columns, weights.shape[2])
    if blocks is not None:
        n_blocks, n_rows = blocks.shape[1:3]
        done = out[:, : n_blocks * n_rows]
        np.matmul(blocks, weights[:, None], out=done.reshape(len(out), n_blocks, n_rows, -1))
        out = out[:, n_blocks * n_rows :]
    np.matmul(rest, weights, out=out)


def _add_product(columns: np.ndarray, grad: np.ndarray, out: np.ndarray) -> None:
    """Add ``columnsᵀ @ grad``, a sum over many rows."""
    blocks, rest = _blocks(columns, grad.shape[2])
    if blocks is not None:
        n_blocks, n_rows = blocks.shape[1:3]
        done = grad[:, : n_blocks * n_rows].reshape(len(grad), n_blocks, n_rows, -1)
        out += (blocks.swapaxes(2, 3) @ done).sum(axis=1)
        grad = grad[:, n_blocks * n_rows :]
    out += rest.swapaxes(1, 2) @ grad


def _blocks(rows: np.ndarray, n_columns: int) -> tuple[np.ndarray | None, np.ndarray]:
    """Cut (groups, m, k) rows into (groups, n_blocks, n_rows, k) and a rest (groups, ..., k)."""
    groups, m, k = rows.shape
    n_rows = SMALL_PRODUCT // (k * n_columns)
    if not MIN_ROWS <= n_rows < m:
        return None, rows
    n_blocks = m // n_rows
    return rows[:, : n_blocks * n_rows].reshape(groups, n_blocks, n_rows, k), rows[
        :, n_blocks * n_rows :
    ]


def _add(y: np.ndarray, row_bias: np.ndarray | None) -> None:
    """Add the bias to each row of cells."""
    if row_bias is not None:
        rows = y.reshape(-1, len(row_bias))
        rows += row_bias


def transpose(kernel: np.ndarray, groups: int) -> np.ndarray:
    """Swap inputs and outputs within each group: (kh, kw, c_out / groups, c_in)."""
    kh, kw, channels, c_out = kernel.shape
    grouped = kernel.reshape(kh, kw, channels, groups, c_out // groups)
    return grouped.transpose(0, 1, 4, 3, 2).reshape(kh, kw, c_out // groups, groups * channels)
