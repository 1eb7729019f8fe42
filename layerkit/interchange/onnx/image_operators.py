"""ONNX operators as layers: convolutions, pooling, padding and normalization."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import Trail, kernel_to_channels_last
from layerkit.interchange.onnx.operators import Node, demand, per_channel
from layerkit.layer import Layer

READERS = Handlers()  # ``node -> trail``, by the operator
reads = READERS.enter

# By the number of axes of places.
_CONVOLUTIONS: dict[int, Callable[..., Layer]] = {1: nn.Conv1D, 2: nn.Conv2D}
_POOLS: dict[str, dict[int, type[Layer]]] = {
    "MaxPool": {1: nn.MaxPool1D, 2: nn.MaxPool2D},
    "AveragePool": {1: nn.AvgPool1D, 2: nn.AvgPool2D},
    "GlobalMaxPool": {1: nn.GlobalMaxPool1D, 2: nn.GlobalMaxPool2D},
    "GlobalAveragePool": {1: nn.GlobalAvgPool1D, 2: nn.GlobalAvgPool2D},
    "ReduceMax": {1: nn.GlobalMaxPool1D, 2: nn.GlobalMaxPool2D},
    "ReduceMean": {1: nn.GlobalAvgPool1D, 2: nn.GlobalAvgPool2D},
}


def _one(values: Any) -> Any:
    """Return (n,) as n, for layers of sequences."""
    numbers = tuple(map(int, values))
    return numbers[0] if len(numbers) == 1 else numbers


def _windows(node: Node, W: np.ndarray) -> dict[str, Any]:
    """What convolutions and transposed ones share, but the padding."""
    n = W.ndim - 2
    return {
        "filters": W.shape[-1],
        "kernel_size": _one(W.shape[:n]),
        "stride": _one(node.get("strides", [1] * n)),
        "dilation": _one(node.get("dilations", [1] * n)),
        "use_bias": node.input(2) is not None,
    }


def _sides(node: Node, n: int) -> Any:
    none = [0] * 2 * n
    pads = node.get("pads", none) if node.get("auto_pad", "NOTSET") == "NOTSET" else none
    return list(zip(pads[:n], pads[n:], strict=True))


def _padded(node: Node, trail: Trail, n: int, make: Callable[..., Layer]) -> tuple[Trail, Layer]:
    """Return the layer with the node's padding, and where it goes on from."""
    auto, sides = node.get("auto_pad", "NOTSET"), _sides(node, n)
    if auto in ("SAME_UPPER", "VALID"):
        return trail, make(padding="same" if auto == "SAME_UPPER" else "valid")
    demand(auto == "NOTSET", "another auto_pad than SAME_LOWER")
    if all(start == end for start, end in sides):
        return trail, make(padding=_one(start for start, _ in sides))
    same: Any = make(padding="same")
    same.declare(trail.shape)
    position = 2 if "Pool" in node.op else 1  # of the padding in the layer's geometry
    if list(same.geometry[position][-n:]) == sides:
        return trail, same
    demand(node.op == "Conv", "the same padding on both sides")
    return trail.zero_padded(sides), make(padding="valid")


@reads("Conv")
def _convolution(node: Node) -> Trail:
    W = kernel_to_channels_last(node.constant(1))
    trail, n = node.trail().with_channels_first(), W.ndim - 2
    demand(n in _CONVOLUTIONS and len(trail.shape) == n + 1, "one or two axes of places")
    make = partial(_CONVOLUTIONS[n], **_windows(node, W), groups=node.get("group", 1))
    trail, layer = _padded(node, trail, n, make)
    return trail.then(layer, W=W, b=node.optional(2))


@reads("ConvTranspose")
def _transposed(node: Node) -> Trail:
    W = kernel_to_channels_last(node.constant(1)).swapaxes(-1, -2)
    demand(W.ndim == 4 and node.get("group", 1) == 1, "two axes of places and one group")
    demand(node.get("output_shape") is None, "pads instead of output_shape")
    demand(node.get("auto_pad", "NOTSET") in ("NOTSET", "VALID"), "pads instead of auto_pad")
    trail, sides = node.trail().with_channels_first(), _sides(node, 2)
    make: Any = partial(nn.ConvTranspose2D, **_windows(node, W))
    more = _one(node.get("output_padding", [0, 0]))
    layer = make(padding=_one(start for start, _ in sides), output_padding=more)
    if any(start != end for start, end in sides):
        layer = make(padding="same", output_padding=0)
        layer.declare(trail.shape)
        demand(list(layer.geometry[1]) == sides, "the same padding on both sides")
    return trail.then(layer, W=W, b=node.optional(2))


@reads("MaxPool", "AveragePool")
def _pool(node: Node) -> Trail:
    trail, size = node.trail().with_channels_first(), node.get("kernel_shape")
    n = len(size)
    demand(n in _CONVOLUTIONS and len(trail.shape) == n + 1, "one or two axes of places")
    demand(not node.get("ceil_mode", 0), "ceil_mode=0")
    demand(set(node.get("dilations", [1])) == {1}, "dilations of 1")
    if node.get("count_include_pad", 0):  # zeros are cells like others
        auto = node.get("auto_pad", "NOTSET")
        demand(auto in ("NOTSET", "VALID"), "pads instead of auto_pad where zeros are counted")
        if np.any(_sides(node, n)):
            trail = trail.zero_padded(_sides(node, n))
            node.attributes.pop("pads")
    kind: Any = _POOLS[node.op][n]
    make = partial(kind, _one(size), stride=_one(node.get("strides", [1] * n)))
    trail, layer = _padded(node, trail, n, make)
    return trail.then(layer)


@reads("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node) -> Trail:
    return node.trail().global_pool(_POOLS[node.op])


@reads("ReduceMean", "ReduceMax")
def _reduce(node: Node) -> Trail:
    trail = node.trail()
    rank = len(trail.shape) + 1
    axes = sorted(axis % rank for axis in node.axes())
    demand(rank in (3, 4) and axes == list(range(2, rank)), "the axes of all places, from 2")
    pooled = trail.global_pool(_POOLS[node.op])
    return pooled if node.get("keepdims", 1) else pooled.reshaped(pooled.model_shape()[:1])


@reads("Pad")
def _pad(node: Node) -> Trail:
    trail, pads = node.trail(), [int(p) for p in node.constant(1)]
    demand(node.input(3) is None, "pads for all axes")
    if not any(pads):
        return trail
    trail = trail.with_channels_first()
    demand(node.get("mode", "constant") == "constant", "mode='constant'")
    demand(node.input(2) is None or not node.constant(2).any(), "zeros")
    sides = list(zip(pads[: len(pads) // 2], pads[len(pads) // 2 :], strict=True))
    places = len(sides) in (3, 4) and not any(map(any, sides[:2]))
    demand(places, "padding of one or two axes of places")
    return trail.zero_padded(sides[2:])


# Where pixel i of the result lies on n pixels, each k times as wide.
_PLACES: dict[str, Callable[..., Any]] = {
    "half_pixel": lambda i, n, k: (i + 0.5) / k - 0.5,
    "half_pixel_symmetric": lambda i, n, k: (i + 0.5) / k - 0.5,
    "pytorch_half_pixel": lambda i, n, k: (i + 0.5) / k - 0.5,
    "asymmetric": lambda i, n, k: i / k,
    "tf_half_pixel_for_nn": lambda i, n, k: (i + 0.5) / k,
    "align_corners": lambda i, n, k: i * (n - 1) / max(1, n * k - 1),
}
_ROUNDINGS: dict[str, Callable[..., Any]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
}


def _repeats(node: Node, n: int, k: int) -> bool:
    """Whether Resize takes each of n pixels k times, as nn.UpSample2D does."""
    places = _PLACES.get(node.get("coordinate_transformation_mode", "half_pixel"))
    rounded = _ROUNDINGS[node.get("nearest_mode", "round_prefer_floor")]
    i = np.arange(n * k)
    return places is not None and np.array_equal(rounded(places(i, n, k)).clip(0, n - 1), i // k)


@reads("Resize", "Upsample")
def _resize(node: Node) -> Trail:
    trail = node.trail().with_channels_first()
    demand(node.get("mode", "nearest") == "nearest", "mode='nearest'")
    demand(node.get("axes") is None, "scales or sizes for all axes")
    scales = node.inputs[-1] if node.op == "Upsample" else node.input(2)
    if node.input(3) is not None:
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        demand(policy == "stretch", "keep_aspect_ratio_policy='stretch'")
        scales = [1, *node.constant(3)[1:] / np.array(trail.model_shape())]
    demand(isinstance(scales, list | np.ndarray), "constant scales")
    _, channels, *factors = scales
    demand(len(factors) == 2 and channels == 1, "factors for two axes of places alone")
    demand(np.equal(factors, np.int64(factors)).all(), "whole factors")
    whole = int(factors[0]), int(factors[1])
    repeats = all(_repeats(node, n, k) for n, k in zip(trail.shape, whole, strict=False))
    demand(node.op == "Upsample" or repeats, "modes that repeat every pixel")
    return trail.then(nn.UpSample2D(whole))


@reads("BatchNormalization")
def _batch_norm(node: Node) -> Trail:
    demand(not node.get("training_mode", 0), "training_mode=0")
    demand(node.get("spatial", 1), "spatial=1")
    names = ("gamma", "beta", "running_mean", "running_var")
    arrays = {name: node.constant(i + 1) for i, name in enumerate(names)}
    layer = nn.BatchNorm(momentum=1 - node.get("momentum", 0.9), eps=node.get("epsilon", 1e-5))
    return node.trail().with_channels_first().then(layer, **arrays)


@reads("InstanceNormalization")
def _instance_norm(node: Node) -> Trail:
    trail = node.trail().with_channels_first()
    layer = nn.GroupNorm(trail.shape[-1], eps=node.get("epsilon", 1e-5))
    return trail.then(layer, gamma=node.constant(1), beta=node.constant(2))


@reads("GroupNormalization")
def _group_norm(node: Node) -> Trail:
    trail, groups = node.trail().with_channels_first(), node.get("num_groups")
    gamma, beta = node.constant(1), node.constant(2)
    repeats = trail.shape[-1] // len(gamma)  # before opset 21 there is one value for each group
    layer = nn.GroupNorm(groups, eps=node.get("epsilon", 1e-5))
    return trail.then(layer, gamma=gamma.repeat(repeats), beta=beta.repeat(repeats))


@reads("LayerNormalization")
def _layer_norm(node: Node) -> Trail:
    trail = node.trail().with_channels_last()
    axis = node.get("axis", -1)
    demand(axis in (-1, len(trail.shape)), "the last axis")
    gamma, beta = node.constant(1), np.zeros(1) if node.input(2) is None else node.constant(2)
    arrays = {name: per_channel(a, trail) for name, a in (("gamma", gamma), ("beta", beta))}
    demand(all(a is not None for a in arrays.values()), "one value for each channel")
    return trail.then(nn.LayerNorm(eps=node.get("epsilon", 1e-5)), **arrays)


@reads("PRelu")
def _prelu(node: Node) -> Trail:
    trail = node.trail()
    slopes = per_channel(node.constant(1), trail)
    demand(slopes is not None, "one slope for each channel")
    return trail.then(nn.PReLU(), negative_slope=slopes)
