"""Networks that are chains of well-known layers, as the table of `kernels.epoch_program`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from layerkit import kernels
from layerkit.layer import Layer
from layerkit.layers import (
    ELU,
    GELU,
    SELU,
    BatchNorm,
    Dense,
    Dropout,
    Identity,
    LeakyReLU,
    Mish,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from layerkit.shapes import Slot

Numbers = tuple[float, float]
Description = tuple[Layer, int, Numbers]
"""A layer, which kind it is to the kernel, and the numbers that belong to it."""


def _nothing(layer: Any) -> Numbers:
    return 0.0, 0.0


def _drawn(layer: Any) -> Numbers:
    """Below which draw a value is kept, and of how many bits: as `kernels.keep_mask` draws."""
    bits = 8 if (256 * layer.rate).is_integer() else 16
    return max(1, round((1 - layer.rate) * 2**bits)), bits


_KINDS: dict[type[Layer], tuple[int, Callable[[Any], Numbers]]] = {
    Identity: (kernels.IDENTITY, _nothing),
    ReLU: (kernels.RELU, _nothing),
    Sigmoid: (kernels.SIGMOID, _nothing),
    Tanh: (kernels.TANH, _nothing),
    LeakyReLU: (kernels.LEAKY_RELU, lambda layer: (float(layer.negative_slope), 0.0)),
    ELU: (kernels.ELU, lambda layer: (float(layer.alpha), 1.0)),
    SELU: (kernels.ELU, lambda layer: (layer.ALPHA, layer.LAMBDA)),
    Softplus: (kernels.SOFTPLUS, _nothing),
    GELU: (kernels.GELU, _nothing),
    SiLU: (kernels.SILU, _nothing),
    Mish: (kernels.MISH, _nothing),
    Dense: (kernels.DENSE, _nothing),
    Dropout: (kernels.DROPOUT, _drawn),
    BatchNorm: (kernels.BATCH_NORM, lambda layer: (float(layer.eps), float(layer.momentum))),
}
_GATED = (kernels.GELU, kernels.SILU, kernels.MISH)


def describe(network: Layer) -> list[Description] | None:
    """Return the layers of a chain in which the kernel knows everything, else None.

    It does not where a layer is of another class, is frozen or observed, or sees more than rows.
    """
    found: list[Description] = []
    for layer in _in_order(network):
        kind, numbers = _KINDS.get(type(layer), (None, _nothing))
        if kind is None or not layer.trainable or layer.active_observer is not None:
            return None
        rate = getattr(layer, "rate", 1)
        if getattr(layer, "approximate", False) or rate == 0 or callable(rate):
            return None
        found.append((layer, kind, numbers(layer)))
    return found if network.input_shape and len(network.input_shape) == 1 else None


def _in_order(layer: Layer) -> list[Layer]:
    """The layers of a chain of chains; a container that is observed counts as a layer."""
    if type(layer) is Sequential and layer.active_observer is None and layer.trainable:
        return [part for inner in layer.chain for part in _in_order(inner)]
    return [layer]


class Table(NamedTuple):
    """What `kernels.epoch_program` has to know of a network, and where it works."""

    described: list[Description]
    layout: list[Slot]
    segments: np.ndarray
    layers: np.ndarray
    numbers: np.ndarray
    normalizing: list[Layer]  # layers with running statistics, in their order
    running: np.ndarray  # these statistics, in one vector
    dropping: list[tuple[Layer, int, int]]  # with width and bits of a draw
    scratch: np.ndarray
    work: int  # roughly, multiply-adds of a row in a step; a number in a pass counts for ten

    def load(self) -> None:
        """Copy the layers' running statistics."""
        for buffer, part in self._statistics():
            part[...] = buffer

    def keep(self) -> None:
        """Give the layers their running statistics back."""
        for buffer, part in self._statistics():
            buffer[...] = part

    def _statistics(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Pairs of a layer's statistics and their place in the vector."""
        start = 0
        for layer in self.normalizing:
            for buffer in layer.buffers.values():
                yield buffer, self.running[start : start + buffer.size]
                start += buffer.size

    def draw(self, batches: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return random words for masks of batches of so many rows, and where a layer's begin."""
        if not self.dropping:
            return _NO_WORDS, _NO_STARTS
        parts, starts = [], [0]
        for layer, width, bits in self.dropping:
            n_words = sum(-(-n * width * bits // 64) for n in batches)
            parts.append(layer.rng.bit_generator.random_raw(n_words))
            starts.append(starts[-1] + n_words)
        return np.concatenate(parts), np.array(starts)


_NO_WORDS, _NO_STARTS = np.empty(0, np.uint64), np.empty(0, np.int64)


def _slot(layer: Layer, name: str) -> str:
    """Return the path of a parameter in the layout; a network that is one layer has none itself."""
    return f"{layer.path}.{name}".lstrip(".")


def tabulate(network: Layer, described: list[Description], most_rows: int) -> Table:
    """Lay out the outputs of batches of at most so many rows, and say what is where.

    Parameters
    ----------
    network : Layer
        Built.
    described : list
        What `describe` returned for it.
    most_rows : int
        Of a batch.

    Returns
    -------
    table : Table
        Which has the work space of one training run.
    """
    layout = network.layout
    starts = {slot.path: slot.slice.start for slot in layout}
    rows, normalizing = [], []
    dropping: list[tuple[Layer, int, int]] = []
    (width,) = network.input_shape
    x, used, widest, drawn = 0, most_rows * width, width, 0
    for layer, kind, (_, bits) in described:
        n_in, y, first, second, aside, place = width, x, -1, -1, 0, 0
        if kind == kernels.DENSE:
            (width,) = layer.output_shape
            first, second = starts[_slot(layer, "W")], starts.get(_slot(layer, "b"), -1)
        elif kind == kernels.BATCH_NORM:
            first, second = starts[_slot(layer, "gamma")], starts[_slot(layer, "beta")]
            aside, used = used, used + 3 * width
            place, drawn = drawn, drawn + 2 * width
            normalizing.append(layer)
        elif kind == kernels.DROPOUT:
            place = len(dropping)
            dropping.append((layer, width, int(bits)))
        elif kind in _GATED:
            aside, used = used, used + most_rows * width
        if kind != kernels.IDENTITY:
            y, used = used, used + most_rows * width
        rows.append([kind, n_in, width, x, y, first, second, aside, place, 0, 0])
        x, widest = y, max(widest, width)
    _place_gradients(rows, used, used + most_rows * widest)
    return Table(
        described,
        layout,
        np.array([(s.slice.start, s.slice.stop, s.decay) for s in layout], np.int64),
        np.array(rows, np.int64),
        np.array([numbers for _, _, numbers in described], np.float64),
        normalizing,
        np.empty(drawn, network.dtype),
        dropping,
        np.empty(used + 2 * most_rows * widest, network.dtype),
        3 * sum(prod(row[1:3]) for row in rows if row[0] == kernels.DENSE)
        + 10 * sum(row[2] for row in rows),
    )


def _place_gradients(rows: list[list[int]], here: int, other: int) -> None:
    """Say where the gradients by output and by input stand: in two places, which take turns."""
    for row in reversed(rows):
        row[9:] = here, other
        if row[0] != kernels.IDENTITY:
            here, other = other, here
    first = next((row for row in rows if row[0] != kernels.IDENTITY), rows[0])
    if first[0] == kernels.DENSE:
        first[10] = -1  # nobody asks for the gradient by the input of the network
