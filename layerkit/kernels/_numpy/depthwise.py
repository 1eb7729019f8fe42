"""Depthwise convolution in NumPy: every channel has a kernel of its own.

Output o of a channel is a sum over few taps, ``y[o] = Σ_t x[o s + t d - p] w[t]``, and no matrix
product. Across the stride, the cells that a row of outputs sees through one tap are neighbours in
memory, with all their channels. So einsum multiplies and adds whole rows, the kernel being repeated
along them, and windows are never copied.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided


def convolve(windows: np.ndarray, kernel: np.ndarray, y: np.ndarray) -> None:
    """Overwrite y with the sum over all taps, given windows (n, oh, ow, kh, kw, c)."""
    rows, (kh, kw, _, c) = _rows(windows), kernel.shape
    n, height, parts, _, _, length = rows.shape
    repeated = np.tile(kernel.reshape(kh, kw, c), length // c)
    np.einsum("nhpijr,ijr->nhpr", rows, repeated, out=y.reshape(n, height, parts, length))


def kernel_grad(windows: np.ndarray, grad: np.ndarray) -> np.ndarray:
    """Return dL/dkernel (kh, kw, 1, c), given ``grad`` = dL/dy."""
    rows, c = _rows(windows), windows.shape[-1]
    n, height, parts, kh, kw, length = rows.shape
    grad = grad.reshape(n, height, parts, length)
    sums = np.empty((kh, kw, 1, c), grad.dtype)
    for tap in np.ndindex(kh, kw):
        along_row = np.einsum("nhpr,nhpr->r", rows[:, :, :, *tap], grad)
        sums[tap] = along_row.reshape(-1, c).sum(axis=0)
    return sums


def _rows(windows: np.ndarray) -> np.ndarray:
    """View windows as (n, oh, parts, kh, kw, length): one part if cells are neighbours, else ow."""
    n, height, width, kh, kw, c = windows.shape
    *outer, by_column, across, along, by_channel = windows.strides
    if (by_column, by_channel) != (c * windows.itemsize, windows.itemsize):
        return windows
    strides = (*outer, by_column, across, along, by_channel)
    return as_strided(windows, (n, height, 1, kh, kw, width * c), strides, writeable=False)
