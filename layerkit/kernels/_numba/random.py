"""Masks applied in one pass. They are drawn in NumPy: a seed means the same in both backends."""

import numpy as np

from layerkit.kernels._numba.compile import BOTH, contiguous, for_dtypes, jit
from layerkit.kernels._numpy import random as reference
from layerkit.kernels.dispatch import in_numpy


@for_dtypes(BOTH, reference)
def apply_mask(x, keep, scale):
    """Return ``x * keep * scale``; a mask that has to be broadcast is applied in NumPy."""
    if keep.shape != x.shape:
        return in_numpy(reference.apply_mask)(x, keep, scale)
    x = contiguous(x)
    y = np.empty(x.shape, x.dtype)
    _apply_mask(x.ravel(), contiguous(keep).ravel().view(np.uint8), y.ravel(), scale)
    return y


@jit
def _apply_mask(x, keep, y, scale):
    scale = x.dtype.type(scale)
    for i in range(x.size):
        y[i] = x[i] * x.dtype.type(keep[i]) * scale
