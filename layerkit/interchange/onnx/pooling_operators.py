"""ONNX operators as layers: windows, whole images, and any axes that are pooled."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import POOLS, Trail, ceil_changes_nothing, one
from layerkit.interchange.onnx.image_operators import CONVOLUTIONS, padded, sides_of
from layerkit.interchange.onnx.operators import Node, demand, scaled

READERS = Handlers()  # ``node -> trail``, by the operator
reads = READERS.enter


@reads("MaxPool", "AveragePool")
def _pool(node: Node) -> Trail:
    trail, size = node.trail().with_channels_first(), node.get("kernel_shape")
    n = len(size)
    demand(n in CONVOLUTIONS and len(trail.shape) == n + 1, "one or two axes of places")
    demand(set(node.get("dilations", [1])) == {1}, "dilations of 1")
    strides = node.get("strides", [1] * n)
    if node.get("ceil_mode", 0):
        each = zip(trail.shape, size, strides, sides_of(node, n), strict=False)
        fits = all(ceil_changes_nothing(*axis) for axis in each)
        explicit = node.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        demand(fits or not explicit, "ceil_mode=0, or where it adds no window")
    if node.get("count_include_pad", 0):  # zeros are cells like others
        auto = node.get("auto_pad", "NOTSET")
        demand(auto in ("NOTSET", "VALID"), "pads instead of auto_pad where zeros are counted")
        if np.any(sides_of(node, n)):
            trail = trail.zero_padded(sides_of(node, n))
            node.attributes.pop("pads")
    make = partial(POOLS[node.op][n], one(size), stride=one(strides))
    trail, layer = padded(node, trail, n, make, lambda same: same.geometry[2])
    return trail.then(layer)


@reads("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node) -> Trail:
    return node.trail().global_pool(POOLS[node.op])


@reads("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum")
def _reduce(node: Node) -> Trail:
    trail = node.trail()
    rank = len(trail.shape) + 1
    axes = node.optional(1) if node.get("axes") is None else node.get("axes")
    gone = [] if axes is None else sorted(int(axis) % rank for axis in np.ravel(axes))
    if not gone and node.get("noop_with_empty_axes", 0):
        return trail
    demand(gone and gone[0] > 0, "the batch axis left as it is")
    demand(gone == list(range(gone[0], gone[-1] + 1)), "axes beside each other")
    sizes = trail.model_shape()
    kept = (*sizes[: gone[0] - 1], *[1] * len(gone), *sizes[gone[-1] :])
    left = kept if node.get("keepdims", 1) else tuple(np.delete(kept, np.subtract(gone, 1)))
    demand(left or node.op in ("ReduceMean", "ReduceMax"), "an axis that is left")
    if node.op == "ReduceMin":
        return scaled(_over(scaled(trail, -1), gone, left, "GlobalMaxPool"), -1)
    pool = "GlobalMaxPool" if node.op == "ReduceMax" else "GlobalAveragePool"
    y = _over(trail, gone, left, pool)
    if node.op != "ReduceSum":
        return y
    n_values = sizes[gone[0] - 1 : gone[-1]]
    demand(None not in n_values, "axes of a known length")
    return scaled(y, math.prod(n_values))


def _over(trail: Trail, gone: list[int], left: Any, pool: str) -> Trail:
    """Pool over axes of the model, which are beside each other; ``left`` is the shape after it."""
    maxout = _maxout(trail, gone, left) if pool == "GlobalMaxPool" else None
    if maxout is not None:
        return maxout
    ours = sorted(trail.axis(axis) for axis in gone)
    if ours == list(range(1, len(trail.shape))) and len(ours) < 3:  # all places
        channels_first = trail.channels_first and len(left) > 1
        pooled = trail.then(POOLS[pool][len(ours)]())
        shape = (*left[1:], left[0]) if channels_first else left
        shaped = pooled if len(left) == 1 else pooled.then(nn.Reshape(shape))
        return replace(shaped, channels_first=channels_first)
    sizes = trail.model_shape()
    before, after = sizes[: gone[0] - 1], sizes[gone[-1] :]
    n = math.prod(sizes) // math.prod(before) // math.prod(after)
    rows = trail.with_channels_last().reshaped((math.prod(before), n, math.prod(after)))
    window = POOLS["MaxPool" if pool == "GlobalMaxPool" else "AveragePool"][2]
    y = rows.then(window((1, n), stride=1)).reshaped(left)
    return y.in_order(trail.channels_first) if len(left) == len(sizes) else y


def _maxout(trail: Trail, gone: list[int], left: Any) -> Trail | None:
    """Return a Maxout for the largest of the pieces that a Dense was cut into, if it is that."""
    last: Any = trail.layers[-2:] if len(trail.layers) > 1 else (None, None)
    dense, cut = last
    is_maxout = isinstance(dense, nn.Dense) and isinstance(cut, nn.Reshape) and dense.use_bias
    if not is_maxout or trail.channels_first or gone != [len(trail.shape) - 1]:
        return None
    pieces, units = trail.shape[-2:]
    if cut.input_shape != (*trail.shape[:-2], pieces * units) or left != (*trail.shape[:-2], units):
        return None
    before = replace(trail, layers=trail.layers[:-2], shape=dense.input_shape)
    return before.then(nn.Maxout(units, pieces), **trail.arrays[dense])
