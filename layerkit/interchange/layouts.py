"""Arrays between our layout, channels last, and that of ONNX and PyTorch, channels first."""

from __future__ import annotations

import math

import numpy as np

from layerkit.shapes import Shape


def kernel_to_channels_first(W: np.ndarray) -> np.ndarray:
    """Turn a kernel (..., c_in, c_out) into (c_out, c_in, ...)."""
    return np.ascontiguousarray(np.moveaxis(W, (-1, -2), (0, 1)))


def kernel_to_channels_last(W: np.ndarray) -> np.ndarray:
    """Turn a kernel (c_out, c_in, ...) into (..., c_in, c_out)."""
    return np.ascontiguousarray(np.moveaxis(W, (0, 1), (-1, -2)))


def rows_to_channels_last(W: np.ndarray, shape: Shape) -> np.ndarray:
    """Reorder the rows of a Dense ``W`` that reads flattened (channels, ...) to (..., channels).

    ``shape`` is the channels-last one that is flattened now.
    """
    return _reorder(W, (shape[-1], *shape[:-1]), 0, len(shape) - 1)


def rows_to_channels_first(W: np.ndarray, shape: Shape) -> np.ndarray:
    """Reorder the rows of a Dense ``W`` that reads flattened (..., channels) to (channels, ...)."""
    return _reorder(W, shape, len(shape) - 1, 0)


def _reorder(W: np.ndarray, shape: Shape, source: int, target: int) -> np.ndarray:
    if len(W) != math.prod(shape):
        raise ValueError(f"takes {len(W)} values, got {math.prod(shape)} from {shape} flattened")
    return np.moveaxis(W.reshape(*shape, -1), source, target).reshape(W.shape)


def to_channels_first(shape: Shape) -> tuple[int, ...]:
    """Axes (the batch is 0) that bring the channels of a sample of this shape to the front."""
    return (0, len(shape), *range(1, len(shape)))


def to_channels_last(shape: Shape) -> tuple[int, ...]:
    """Axes (the batch is 0) that bring the channels of a sample of this shape to the end."""
    return (0, *range(2, len(shape) + 1), 1)
