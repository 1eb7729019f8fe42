"""Shapes of samples, and where the parameters of a network lie in its flat vectors."""

from typing import NamedTuple

import numpy as np

from layerkit.parameters import is_size

Shape = tuple[int, ...]
"""Of one sample: the batch axis is left out."""


class Slot(NamedTuple):
    """Where one parameter lives in the flat vectors of its root."""

    path: str
    slice: slice
    shape: Shape
    decay: bool
    trainable: bool


def batch_shape(shape: Shape | None) -> str:
    """Print a shape with its batch axis: ``(n_samples, 28, 28, 1)``."""
    return f"({', '.join(['n_samples', *map(str, shape or ())])}{'' if shape else ','})"


def as_shape(input_shape: int | Shape) -> Shape:
    """Return the shape of one sample as a tuple of positive integers."""
    shape = tuple(input_shape) if np.iterable(input_shape) else (input_shape,)
    if not all(is_size(n) for n in shape):
        raise ValueError(
            f"input_shape must hold positive integers, without the batch axis, got {input_shape!r}"
        )
    return tuple(int(n) for n in shape)
