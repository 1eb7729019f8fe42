"""Shapes of samples, and where the parameters of a network lie in its flat vectors."""

import math
from typing import NamedTuple

import numpy as np

from layerkit.parameters import is_size

Shape = tuple[int, ...]
"""Of one sample: the batch axis is left out. None in place of the first: any number of steps."""


class Slot(NamedTuple):
    """Where one parameter lives in the flat vectors of its root, and how optimizers treat it.

    ``decay`` and ``rate`` are factors on weight decay and learning rate.
    """

    path: str
    slice: slice
    shape: Shape
    decay: float
    trainable: bool
    rate: float = 1.0


def batch_shape(shape: Shape | None) -> str:
    """Print a shape with its batch axis: ``(n_samples, 28, 28, 1)``."""
    sizes = ["time" if size is None else str(size) for size in shape or ()]
    return f"({', '.join(['n_samples', *sizes])}{'' if shape else ','})"


def channels_first(shape: Shape, expected: Shape | None = None) -> str:
    """Return what to add to an error about a shape that has its channels first, as elsewhere.

    Without an ``expected`` shape: where the first axis is smaller than the last, if it is known.
    """
    if None in shape:
        return ""
    turned = (*shape[1:], *shape[:1])
    if expected is None:
        found = None not in shape and shape[0] < shape[-1]
    else:
        found = turned == expected != shape
    return "; channels come last here: X = np.moveaxis(X, 1, -1)" if found else ""


def fits(shape: Shape, declared: Shape) -> bool:
    """Whether an array has the shape that was declared, where None is any size but 0."""
    return shape == declared or (
        len(shape) == len(declared)
        and all(size == d or (d is None and size) for size, d in zip(shape, declared, strict=True))
    )


def size_of(shape: Shape) -> int:
    """Count the numbers of a sample; of one step, where the number of steps is open."""
    return math.prod(size for size in shape if size is not None)


def as_shape(input_shape: int | Shape) -> Shape:
    """Return the shape of one sample as a tuple of positive integers; the first may be None."""
    shape = tuple(input_shape) if np.iterable(input_shape) else (input_shape,)
    is_open = np.iterable(input_shape) and len(shape) > 0 and shape[0] is None
    if not all(is_size(n) for n in shape[is_open:]):
        raise ValueError(
            f"input_shape must hold positive integers, without the batch axis, got {input_shape!r}"
        )
    return tuple(n if n is None else int(n) for n in shape)
