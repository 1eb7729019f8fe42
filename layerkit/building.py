"""What `Layer.build` needs: checks, what is kept of layers that are built, initial values."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from layerkit.edits import ClosedList, ClosedMap
from layerkit.shapes import Shape, batch_shape


class Held(NamedTuple):
    """Arrays and input shape of a built layer, before it becomes a part of another network."""

    params: Mapping[str, np.ndarray]
    buffers: Mapping[str, np.ndarray]
    input_shape: Shape


def check_root(layer: Any, rebuild: bool) -> None:
    """Refuse to rebuild a part of a network, and a root unless ``rebuild`` is set."""
    if layer.is_built and layer._flat_params is None:
        raise RuntimeError(
            f"in {layer.where}: already built, as a part of a network; build that anew, or "
            "copy.deepcopy(part), which is a network by itself"
        )
    if layer.is_built and layer._flat_params.size and not rebuild:
        raise RuntimeError(
            f"in {layer.where}: already built; build(..., rebuild=True) draws new parameters and "
            "detaches the vectors handed out before"
        )


def check_instances(layers: list[tuple[str, Any]]) -> None:
    """Refuse a layer that stands in two places."""
    places: dict[int, str] = {}
    for path, layer in layers:
        if id(layer) in places:
            raise ValueError(
                f"the same {layer.label} instance stands at {places[id(layer)]!r} and at "
                f"{path!r}; a layer has one set of parameters and one cache: make two instances"
            )
        places[id(layer)] = path


def check_shape(layer: Any, output_shape: Any) -> Shape:
    """Return what a layer's ``setup`` returned as a tuple, or refuse it."""
    if not isinstance(output_shape, tuple | list):
        raise TypeError(
            f"in {layer.where}: setup must return the shape of the output without the batch "
            f"axis, a tuple such as input_shape, got {output_shape!r}: end it with a return"
        )
    return tuple(output_shape)


def copy_what_is_built(root: Any) -> dict[int, Held]:
    """Replace the built layers in an unbuilt one by copies; return their arrays."""
    given = {id(layer) for _, layer in root.walk() if layer.is_built}
    _copies_of_built(root)
    held = {}
    for _, layer in root.walk():
        if id(layer) in given:
            raise RuntimeError(
                f"in {layer.where}: already built, in another network perhaps, and no copy can be "
                "put in its place: a container keeps its layers in attributes or lists of them"
            )
        if layer.is_built:
            held[id(layer)] = Held(layer._own_params, layer._own_buffers, layer.input_shape)
    return held


def _copies_of_built(layer: Any) -> Any:
    if layer.is_built:
        return copy.deepcopy(layer)
    layer.__dict__ = {k: map_layers(_copies_of_built, v) for k, v in vars(layer).items()}
    return layer


def map_layers(function: Callable[[Any], Any], value: Any) -> Any:
    """Put ``function(layer)`` in place of each layer in a value, also inside lists and the like."""
    if hasattr(value, "walk") and not isinstance(value, type):
        return function(value)
    if type(value) in (dict, ClosedMap):
        return type(value)({key: map_layers(function, item) for key, item in value.items()})
    if type(value) in (list, tuple, ClosedList):
        return type(value)(map_layers(function, item) for item in value)
    return value


def fill(layer: Any, held: Held) -> None:
    """Put what a layer held into its new arrays, or raise if they have other shapes."""
    for new, old in ((layer._own_params, held.params), (layer._own_buffers, held.buffers)):
        for name in {**new, **old}:
            needed, kept = (np.shape(a[name]) if name in a else None for a in (new, old))
            if needed != kept:
                raise ValueError(
                    f"in {layer.where}: keeps its weights, as it is built already, for "
                    f"{batch_shape(held.input_shape)}, but gets {batch_shape(layer.input_shape)}: "
                    f"{name} has shape {kept} and would need {needed}"
                )
            new[name][...] = old[name]


def draw(layer: Any, seed: np.random.SeedSequence) -> None:
    """Put what the initializers return into a layer's new arrays."""
    rng = np.random.default_rng(seed)
    for name, declared in layer.declared_params.items():
        try:
            value = np.asarray(declared.initializer(declared.shape, rng))
        except TypeError as error:
            raise TypeError(
                f"in {layer.where}: the initializer of {name} must be a function (shape, rng) "
                f"-> array, such as initializers.zeros, got {declared.initializer!r}: {error}"
            ) from error
        if value.shape != declared.shape:
            raise ValueError(
                f"in {layer.where}: the initializer of {name} must return {declared.shape}, "
                f"got {value.shape}"
            )
        layer.params[name][...] = value


def widest_dtype(root: Any, dtype: DTypeLike = np.float32) -> np.dtype:
    """Return the dtype that holds this one and those of all arrays that are kept, exactly."""
    held = [layer.dtype for _, layer in root.walk() if layer._own_params or layer.buffers]
    return np.result_type(dtype, *[d for d in held if d is not None])


def as_dtype(dtype: DTypeLike) -> np.dtype:
    """Return float32 or float64 as a dtype; refuse another."""
    with suppress(TypeError):
        if dtype is not None and np.dtype(dtype) in (np.float32, np.float64):
            return np.dtype(dtype)
    raise ValueError(f"dtype must be float32 or float64, got {dtype!r}")


@cache
def keep_what_is_freed() -> None:
    """Make the C library keep freed memory for the arrays of the next step.

    glibc returns memory at the end of its heap to the system once twice the largest block ever
    freed is unused. Getting it back costs page faults: 1,200 a step in a small convolutional
    network, a tenth of its time. So the largest block that counts, 32 MiB, is freed once, without
    being touched. With other C libraries this does nothing.
    """
    np.empty(2**25 - 2**16, np.uint8)
