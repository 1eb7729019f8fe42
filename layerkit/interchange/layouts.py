"""From channels first, as ONNX and PyTorch have them, to channels last, as we do, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

import layerkit.layers as nn
from layerkit.layer import Layer
from layerkit.layers.activations import Elementwise
from layerkit.shapes import Shape


def kernel_to_channels_first(W: np.ndarray) -> np.ndarray:
    """Turn a kernel (..., c_in, c_out) into (c_out, c_in, ...)."""
    return np.ascontiguousarray(np.moveaxis(W, (-1, -2), (0, 1)))


def kernel_to_channels_last(W: np.ndarray) -> np.ndarray:
    """Turn a kernel (c_out, c_in, ...) into (..., c_in, c_out)."""
    return np.ascontiguousarray(np.moveaxis(W, (0, 1), (-1, -2)))


def rows_in_order(W: np.ndarray, shape: Shape, channels_first: bool) -> np.ndarray:
    """Reorder the rows of a Dense ``W`` that reads a sample flattened in the other order.

    ``shape`` is that of the sample with its channels last.
    """
    last = len(shape) - 1
    now, source, target = (
        (shape, last, 0) if channels_first else (channels_in_front(shape), 0, last)
    )
    if len(W) != math.prod(now):
        raise ValueError(f"takes {len(W)} values, got {math.prod(now)} from {now} flattened")
    return np.moveaxis(W.reshape(*now, -1), source, target).reshape(W.shape)


def axes_of_order(shape: Shape, channels_first: bool) -> tuple[int, ...]:
    """Axes (the batch is 0) that bring the channels of a sample to the front or to the end."""
    if channels_first:
        return (0, len(shape), *range(1, len(shape)))
    return (0, *range(2, len(shape) + 1), 1)


def model_axis(axis: int, shape: Shape, channels_first: bool) -> int:
    """Where an axis of ours (the batch is 0) lies in the model."""
    axis %= len(shape) + 1
    return axes_of_order(shape, False)[axis] if channels_first else axis


def channels_in_front(shape: Shape) -> Shape:
    """Turn the shape of one of our samples into the model's."""
    return (shape[-1], *shape[:-1])


def rows_at_the_end(layer: Any, cut: Sequence[int]) -> list[int]:
    """Rows and columns that a transposed convolution adds at the end, with ``cut`` of all gone."""
    stride, _, dilation, _ = layer.geometry
    sizes = zip(layer.input_shape, stride, dilation, layer.params["W"].shape, strict=False)
    whole = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in sizes]
    ends = zip(layer.output_shape, cut, whole, strict=False)
    return [found + gone - full for found, gone, full in ends]


def ceil_changes_nothing(n: int, size: int, stride: int, sides: tuple[int, int]) -> bool:
    """Whether rounding up gives as many windows; one that begins after the cells is not counted."""
    room = n + sum(sides) - size
    return room % stride == 0 or (room // stride + 1) * stride >= n + sides[0]


def one(sizes: Any) -> Any:
    """Return (n,) as n, for layers of sequences; what is no sequence stays as it is."""
    if sizes is None or isinstance(sizes, int | str):
        return sizes
    numbers = tuple(map(int, sizes))
    return numbers[0] if len(numbers) == 1 else numbers


# Pooling layers by what they do and the number of axes of places.
POOLS: dict[str, dict[int, Any]] = {
    "MaxPool": {1: nn.MaxPool1D, 2: nn.MaxPool2D},
    "AveragePool": {1: nn.AvgPool1D, 2: nn.AvgPool2D},
    "GlobalMaxPool": {1: nn.GlobalMaxPool1D, 2: nn.GlobalMaxPool2D},
    "GlobalAveragePool": {1: nn.GlobalAvgPool1D, 2: nn.GlobalAvgPool2D},
}


class InOrder:
    """A tensor of a model that knows where its channels are.

    ``shape`` is that of one sample in our layout, channels last. Where ``channels_first``, the
    model holds the same values with the last axis in front.
    """

    shape: Shape
    channels_first: bool

    def transposed_to(self, channels_first: bool) -> Self:
        """Go on through a transposition that brings the channels to the front, or to the end."""
        raise NotImplementedError

    def in_order(self, channels_first: bool) -> Self:
        """Bring the channels to the front or to the end, if there are places at all."""
        if len(self.shape) < 2 or self.channels_first == channels_first:
            return self
        return self.transposed_to(channels_first)

    def with_channels_first(self) -> Self:
        """Have axis 1 of the model's tensor for the channels."""
        return self.in_order(True)

    def with_channels_last(self) -> Self:
        """Have the last axis of the model's tensor for the channels."""
        return self.in_order(False)


Layers = tuple[Layer, ...]
# Layers that treat every value alike, wherever it stands (those without parameters).
_ANYWHERE = (Elementwise, nn.Dropout, nn.AlphaDropout, nn.GaussianNoise)
Arrays = dict[Layer, dict[str, np.ndarray]]  # what to write into a layer once it is built


@dataclass(frozen=True, eq=False)
class Trail(InOrder):
    """A tensor of a model that is being read, as the layers of ours that lead to it from the input.

    The layers never notice where the model has its channels. ``start`` is the shape of the input.
    Two tensors that come from a third have its layers in common, as the same objects: so where they
    meet again, what each has for itself becomes a branch.
    """

    shape: Shape
    channels_first: bool
    start: Shape
    layers: Layers = ()
    arrays: Arrays = field(default_factory=dict)

    def then(self, layer: Layer, **arrays: Any) -> Self:
        """Go on through a layer, whose arrays are given, None for those it lacks."""
        shape = layer.declare(self.shape)
        arrays = {name: value for name, value in arrays.items() if value is not None}
        for name, value in arrays.items():
            held: Any = layer.declared_params if name in layer.declared_params else layer.buffers
            own = held[name].shape
            if value.shape != own:
                raise ValueError(
                    f"{name} must have shape {own} for samples of shape {self.shape}, "
                    f"got {value.shape}"
                )
        if arrays:
            self.arrays[layer] = arrays
        first = self.channels_first and len(shape) > 1
        return replace(self, layers=(*self.layers, layer), shape=shape, channels_first=first)

    def transposed_to(self, channels_first: bool) -> Self:
        axes = axes_of_order(self.shape, not channels_first)  # ours turn the other way
        return replace(self.then(nn.Permute(axes[1:])), channels_first=channels_first)

    def transposed(self, perm: Sequence[int]) -> Self:
        """Reorder the axes of the model's tensor (the batch is 0)."""
        axes, other = tuple(perm), not self.channels_first
        if axes == axes_of_order(self.shape, other) and (len(axes) > 2 or not other):
            return replace(self, channels_first=other)
        plain = self.with_channels_last()
        return plain if axes == tuple(sorted(axes)) else plain.then(nn.Permute(axes[1:]))

    def model_shape(self) -> Shape:
        """Shape of a sample in the model."""
        return channels_in_front(self.shape) if self.channels_first else self.shape

    def model_sizes(self, n_samples: int) -> list[int | None]:
        """Sizes of the model's tensor, given that of the batch."""
        return [n_samples, *self.model_shape()]

    def axis(self, axis: int) -> int:
        """Our axis for one of the model's (the batch is 0)."""
        axis %= len(self.shape) + 1
        return axes_of_order(self.shape, True)[axis] if self.channels_first else axis

    def dense(self, W: np.ndarray, b: np.ndarray | None) -> Self:
        """Go on through a Dense over the last axis of the model's tensor."""
        trail = self.with_channels_last()
        split = self._flattened_with_channels_first()
        if split is not None:  # reorder the rows of W instead of every image
            before, image, between = split
            trail = replace(self, layers=before, shape=image).then(nn.Flatten())
            for layer in between:
                trail = trail.then(type(layer)(**layer.get_params(deep=False)))
            W = rows_in_order(W, image, channels_first=False)
        return trail.then(nn.Dense(W.shape[1], use_bias=b is not None), W=W, b=b)

    def _flattened_with_channels_first(self) -> tuple[Layers, Shape, Layers] | None:
        """What comes before Permute and Flatten, the shape there, and what comes after them."""
        n = len(self.layers)
        while (
            n
            and isinstance(self.layers[n - 1], _ANYWHERE)
            and self.layers[n - 1] not in self.arrays
        ):
            n -= 1
        turn, flatten = self.layers[n - 2 : n] if n > 1 else (None, None)
        if not isinstance(turn, nn.Permute) or not isinstance(flatten, nn.Flatten):
            return None
        image = turn.input_shape
        is_first = tuple(turn.axes) == axes_of_order(image, True)[1:]
        return (self.layers[: n - 2], image, self.layers[n:]) if is_first else None

    def global_pool(self, pools: dict[int, type[Layer]]) -> Self:
        """Go on through a pooling of all places, which leaves axes of length 1 in the model."""
        trail = self.with_channels_first()
        n_axes = len(trail.shape) - 1
        pooled = trail.then(pools[n_axes]())
        ones = nn.Reshape((*[1] * n_axes, trail.shape[-1]))
        return replace(pooled.then(ones), channels_first=True)

    def zero_padded(self, sides: Sequence[tuple[int, int]]) -> Self:
        """Put zeros before and after the places, so many along each of their axes."""
        if len(sides) == 2:
            return self.then(nn.ZeroPad2D((sides[0], sides[1])))
        time, channels = self.shape
        row = self.then(nn.Reshape((1, time, channels)))  # an image of height 1
        return row.then(nn.ZeroPad2D(((0, 0), sides[0]))).then(nn.Reshape((-1, channels)))

    def reshaped(self, shape: Shape) -> Self:
        """Give the model's samples another shape."""
        if shape == self.model_shape():
            return self
        flat = len(shape) == 1
        places = self.shape[:-1] if self.channels_first else ()
        if flat and places and set(places) == {1}:  # one place has one order
            plain = replace(self, channels_first=False)
            last = self.layers[-1] if self.layers else None
            if isinstance(last, nn.Reshape) and len(last.input_shape) == 1:
                return replace(plain, layers=self.layers[:-1], shape=shape)
            return plain.then(nn.Flatten())
        plain = self.with_channels_last()
        return plain.then(nn.Flatten() if flat else nn.Reshape(shape))

    def network(self, dtype: Any) -> nn.Sequential:
        """Return the layers as a built network with the model's parameters."""
        network = nn.Sequential(list(self.layers))
        network.build(self.start, random_state=0, dtype=dtype)
        for _, layer in network.walk():
            for name, value in self.arrays.get(layer, {}).items():
                (layer.params if name in layer.params else layer.buffers)[name][...] = value
        return network


def join(trails: Sequence[Trail], make: Callable[[list[Layer | None]], Layer]) -> Trail:
    """Go on from several trails of one order through one layer that holds what they do not share.

    ``make`` is given for every trail the layer that leads to it from where they all split, or None
    where that is the point itself.
    """
    first = trails[0]
    n = min(len(trail.layers) for trail in trails)
    while any(trail.layers[:n] != first.layers[:n] for trail in trails):
        n -= 1
    shared = first.layers[:n]
    split = replace(first, layers=shared, shape=shared[-1].output_shape if n else first.start)
    return split.then(make([_as_layer(trail.layers[n:]) for trail in trails]))


def add(trails: Sequence[Trail]) -> Trail:
    """Sum two trails: a Residual."""
    first, second = trails

    def residual(branches: list[Layer | None]) -> Layer:
        body, shortcut = branches if branches[0] is not None else reversed(branches)
        return nn.Residual(nn.Identity() if body is None else body, shortcut)

    return join([first, second.in_order(first.channels_first)], residual)


def gated(gate: Trail, body: Trail) -> Trail:
    """Multiply a trail by another one that stretches to its shape: a Gate."""
    ways = [body, gate.in_order(body.channels_first)]
    return join(ways, lambda parts: nn.Gate(parts[1] or nn.Identity(), parts[0]))


def concatenate(trails: Sequence[Trail], axis: int) -> Trail:
    """Join trails along an axis of the model: a Concat."""
    alike = [trail.in_order(trails[0].channels_first) for trail in trails]
    axis = alike[0].axis(axis)
    return join(alike, lambda parts: nn.Concat([p or nn.Identity() for p in parts], axis=axis))


def _as_layer(layers: Layers) -> Layer | None:
    if len(layers) < 2:
        return layers[0] if layers else None
    return nn.Sequential(list(layers))
