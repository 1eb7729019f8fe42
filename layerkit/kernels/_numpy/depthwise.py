"""Convolution of every channel by itself: the case of `conv2d` that is no matrix product.

Output o of a channel is a sum over few taps, ``y[o] = Σ_t x[o s + t d - p] w[t]``. So einsum
multiplies and adds whole rows, the kernel being repeated along them, and windows are never copied.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from layerkit.kernels._numpy.windows import Geometry, Phases


def applies(kernel: np.ndarray, groups: int) -> bool:
    """Whether each channel has its own group."""
    return kernel.shape[2] == 1 and 1 < groups == kernel.shape[3]


def spread(x: np.ndarray, kernel: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
    """Give each output of a depthwise kernel its own copy of the input channel that it reads."""
    _, _, channels, c_out = kernel.shape
    if channels == 1 and 1 < groups < c_out:
        return np.repeat(x, c_out // groups, axis=3), c_out
    return x, groups


def by_phase(
    x: np.ndarray, kernel: np.ndarray, geometry: Geometry, chunks: Iterable[slice]
) -> Iterator[tuple[slice, Phases]]:
    """Yield chunks of a batch, and them by phase, in memory that all chunks share."""
    stride, padding, dilation = geometry
    chunks = list(chunks)
    shape = len(x[chunks[0]]) if chunks else 0, *x.shape[1:]
    phases = Phases(shape, kernel.shape[:2], stride, padding, x.dtype, dilation)
    for chunk in chunks:
        phases.write(x[chunk])
        yield chunk, phases


def convolve(phases: Phases, kernel: np.ndarray, y: np.ndarray) -> None:
    """Overwrite y with the depthwise convolution of images by phase."""
    n, height, width, c = y.shape
    kh, kw = kernel.shape[:2]
    repeated = np.tile(kernel.reshape(kh, kw, c), width)
    rows = y.reshape(n, height, width * c)
    for taps, cells in phases.windows(n):
        if taps.start == 0:
            np.einsum("nhijr,ijr->nhr", cells, repeated[:, taps], out=rows)
        else:
            rows += np.einsum("nhijr,ijr->nhr", cells, repeated[:, taps])


def kernel_grad(phases: Phases, grad: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return dL/dkernel (kh, kw, 1, c) of a depthwise convolution, given ``grad`` = dL/dy."""
    n, height, width, c = grad.shape
    rows = grad.reshape(n, height, width * c)
    sums = [np.einsum("nhr,nhr->r", cells, rows) for cells in phases.taps(n)]
    return np.reshape(sums, (-1, width, c)).sum(axis=1).reshape(kernel.shape)
