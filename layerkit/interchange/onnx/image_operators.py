"""ONNX operators as layers: convolutions, padding, enlarging and normalization."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import Trail, kernel_to_channels_last, one
from layerkit.interchange.onnx.operators import Node, demand, per_channel
from layerkit.layer import Layer
from layerkit.shapes import Shape

READERS = Handlers()  # ``node -> trail``, by the operator
reads = READERS.enter

# By the number of axes of places.
CONVOLUTIONS: dict[int, Callable[..., Layer]] = {1: nn.Conv1D, 2: nn.Conv2D}


def _windows(node: Node, W: np.ndarray) -> dict[str, Any]:
    """What convolutions and transposed ones share, but the padding."""
    n = W.ndim - 2
    return {
        "filters": W.shape[-1],
        "kernel_size": one(W.shape[:n]),
        "stride": one(node.get("strides", [1] * n)),
        "dilation": one(node.get("dilations", [1] * n)),
        "use_bias": node.input(2) is not None,
    }


def sides_of(node: Node, n: int) -> list[tuple[int, int]]:
    """Return the explicit padding of each axis of places."""
    none = [0] * 2 * n
    pads = node.get("pads", none) if node.get("auto_pad", "NOTSET") == "NOTSET" else none
    return list(zip(pads[:n], pads[n:], strict=True))


def padded(
    node: Node, trail: Trail, n: int, make: Callable[..., Layer], of_same: Callable[[Any], Any]
) -> tuple[Trail, Layer]:
    """Return the layer with the node's padding, and where it goes on from.

    ``of_same`` finds in a layer with ``padding="same"`` what it is padded by.
    """
    auto, sides = node.get("auto_pad", "NOTSET"), sides_of(node, n)
    if auto == "VALID" or (auto == "NOTSET" and not np.any(sides)):
        return trail, make(padding="valid")
    same: Any = make(padding="same")
    same.declare(trail.shape)
    upper = [(int(start), int(end)) for start, end in of_same(same)[-n:]]
    if auto == "SAME_LOWER":  # the odd cell comes first
        sides = [(end, start) for start, end in upper]
    if auto == "SAME_UPPER" or sides == upper:
        return trail, same
    if all(start == end for start, end in sides):
        return trail, make(padding=one(start for start, _ in sides))
    if node.op == "Conv" and n == 1:
        causal: Any = make(padding="causal")
        causal.declare(trail.shape)
        if sides == [tuple(map(int, of_same(causal)[-1]))]:
            return trail, causal
    demand(node.op == "Conv", "the same padding on both sides, or one cell more at the end")
    return trail.zero_padded(sides), make(padding="valid")


@reads("Conv")
def _convolution(node: Node) -> Trail:
    W = kernel_to_channels_last(node.constant(1))
    trail, n = node.trail().with_channels_first(), W.ndim - 2
    demand(n in CONVOLUTIONS and len(trail.shape) == n + 1, "one or two axes of places")
    make = partial(CONVOLUTIONS[n], **_windows(node, W), groups=node.get("group", 1))
    trail, layer = padded(node, trail, n, make, lambda same: same.geometry[1])
    return trail.then(layer, W=W, b=node.optional(2))


@reads("ConvTranspose")
def _transposed(node: Node) -> Trail:
    W = kernel_to_channels_last(node.constant(1)).swapaxes(-1, -2)
    demand(W.ndim in (3, 4) and node.get("group", 1) == 1, "one or two axes of places, one group")
    trail, n = node.trail().with_channels_first(), W.ndim - 2
    demand(len(trail.shape) == n + 1, "one or two axes of places")
    windows = {**_windows(node, W), "kernel_size": W.shape[:n]}
    sizes = {name: (1,) * (2 - n) + _several(windows[name], n) for name in _SIZES}
    pads, more = _cut_off(node, trail.shape[:-1], sizes, n)
    row = trail if n == 2 else trail.then(nn.Reshape((1, *trail.shape)))  # an image of height 1
    make = partial(nn.ConvTranspose2D, **{**windows, **sizes})
    layer: Any = make(padding=pads, output_padding=more)
    if min(more) < 0:
        layer = make(padding="same")
        layer.declare(row.shape)
        cut = [(p, p - m) for p, m in zip(pads, more, strict=True)]
        demand([tuple(side) for side in layer.geometry[1]] == cut, "the same padding on both sides")
    y = row.then(layer, W=W.reshape(*sizes["kernel_size"], *W.shape[n:]), b=node.optional(2))
    return y if n == 2 else y.then(nn.Reshape(y.shape[1:]))


_SIZES = ("kernel_size", "stride", "dilation")


def _several(value: Any, n: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple) else (value,) * n


def _cut_off(node: Node, places: Any, sizes: dict[str, Any], n: int) -> tuple[Any, Any]:
    """Return what is cut off on both sides, and how many rows and columns then come at the end."""
    auto, given = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    more = node.get("output_padding", [0] * n)
    sides = sides_of(node, n)
    if auto.startswith("SAME") or given is not None:
        k, s, d = (sizes[name][-n:] for name in _SIZES)
        whole = [(p - 1) * s[i] + more[i] + d[i] * (k[i] - 1) + 1 for i, p in enumerate(places)]
        wanted = [p * s[i] for i, p in enumerate(places)] if given is None else given[-n:]
        total = [w - int(size) for w, size in zip(whole, wanted, strict=True)]
        less = int(auto != "SAME_UPPER")  # where it is odd, the start gets the odd one
        starts = [(max(t, 0) + less) // 2 for t in total]
        sides = [(start, t - start) for start, t in zip(starts, total, strict=True)]
    extra = [start - end + m for (start, end), m in zip(sides, more, strict=True)]
    front = (0,) * (2 - n)
    return (*front, *(start for start, _ in sides)), (*front, *extra)


@reads("Pad")
def _pad(node: Node) -> Trail:
    trail, rank = node.trail(), len(node.trail().shape) + 1
    given = node.get("pads")
    pads = [int(p) for p in (node.constant(1) if given is None else given)]
    axes = range(rank) if node.input(3) is None else [int(a) % rank for a in node.constant(3)]
    sides = [(0, 0)] * rank
    for axis, start, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        sides[axis] = (start, end)
    if not any(pads):
        return trail
    demand(node.get("mode", "constant") == "constant", "mode='constant'")
    value = node.get("value", 0.0) if node.input(2) is None else node.constant(2)
    demand(not np.any(value), "zeros")
    demand(min(pads) >= 0, "pads of at least 0")
    demand(rank in (3, 4) and not any(sides[0]), "padding of one or two axes of places")
    if any(sides[1]):  # so the channels come last
        demand(not any(sides[-1]), "padding of one or two axes of places")
        return trail.with_channels_last().zero_padded(sides[1:-1])
    if any(sides[-1]):
        return trail.with_channels_first().zero_padded(sides[2:])
    return trail.zero_padded(sides[2:] if trail.channels_first else sides[1:-1])


@reads("DepthToSpace")
def _depth_to_space(node: Node) -> Trail:
    trail, b = node.trail().with_channels_first(), node.get("blocksize")
    c, h, w = _image(trail)
    if node.get("mode", "DCR") == "DCR":
        parts, order = (b, b, c // b**2, h, w), (0, 3, 4, 1, 5, 2)
    else:
        parts, order = (c // b**2, b, b, h, w), (0, 1, 4, 2, 5, 3)
    moved = trail.reshaped(parts).transposed(order)
    return moved.reshaped((c // b**2, h * b, w * b)).with_channels_first()


@reads("SpaceToDepth")
def _space_to_depth(node: Node) -> Trail:
    trail, b = node.trail().with_channels_first(), node.get("blocksize")
    c, h, w = _image(trail)
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    moved = trail.reshaped((c, h // b, b, w // b, b)).transposed(order)
    return moved.reshaped((c * b**2, h // b, w // b)).with_channels_first()


def _image(trail: Trail) -> Any:
    demand(len(trail.shape) == 3, "images")
    return trail.model_shape()


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


def _factors(node: Node, trail: Trail) -> tuple[int, int]:
    """Return by which whole numbers both axes of places grow."""
    rank = len(trail.shape) + 1
    axes = [int(axis) % rank for axis in node.get("axes", range(rank))]
    sizes = np.ones(rank)
    given = node.inputs[-1] if node.op == "Upsample" else node.input(2)
    if node.op == "Upsample" and given is node.inputs[0]:  # an attribute, before opset 9
        given = np.array(node.get("scales"))
    if node.input(3) is not None:
        policy = node.get("keep_aspect_ratio_policy", "stretch")
        demand(policy == "stretch", "keep_aspect_ratio_policy='stretch'")
        now = np.array([1, *trail.model_shape()])[axes]
        given = node.constant(3) / now
        if 0 in axes:  # the batch axis, of any length
            given[axes.index(0)] = 1
    demand(isinstance(given, np.ndarray), "constant scales")
    sizes[axes] = given
    _, channels, *factors = sizes
    demand(len(factors) == 2 and channels == 1, "factors for two axes of places alone")
    demand(all(f > 0 and f == int(f) for f in factors), "whole factors")
    return int(factors[0]), int(factors[1])


@reads("Resize", "Upsample")
def _resize(node: Node) -> Trail:
    trail, mode = node.trail().with_channels_first(), node.get("mode", "nearest")
    demand(mode in ("nearest", "linear", "bilinear"), "mode='nearest' or mode='linear'")
    demand(not node.get("antialias", 0), "antialias=0")
    whole = _factors(node, trail)
    if mode != "nearest":
        way = node.get("coordinate_transformation_mode", "half_pixel")
        demand(way in _FROM_CENTRES and node.op == "Resize", "places counted from pixels' centres")
        return trail.then(nn.UpSample2D(whole, interpolation="bilinear"))
    repeats = all(_repeats(node, n, k) for n, k in zip(trail.shape, whole, strict=False))
    demand(node.op == "Upsample" or repeats, "modes that repeat every pixel")
    return trail.then(nn.UpSample2D(whole))


_FROM_CENTRES = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")


@reads("BatchNormalization")
def _batch_norm(node: Node) -> Trail:
    demand(not node.get("training_mode", 0), "training_mode=0")
    demand(node.get("spatial", 1), "spatial=1")
    names = ("gamma", "beta", "running_mean", "running_var")
    arrays = {name: node.constant(i + 1) for i, name in enumerate(names)}
    layer = nn.BatchNorm(momentum=round(1 - node.get("momentum", 0.9), 9), eps=_eps(node))
    return node.trail().with_channels_first().then(layer, **arrays)


@reads("InstanceNormalization")
def _instance_norm(node: Node) -> Trail:
    trail = node.trail().with_channels_first()
    layer = nn.InstanceNorm(eps=_eps(node))
    return trail.then(layer, gamma=node.constant(1), beta=node.constant(2))


@reads("GroupNormalization")
def _group_norm(node: Node) -> Trail:
    trail, groups = node.trail().with_channels_first(), node.get("num_groups")
    gamma, beta = node.constant(1), node.constant(2)
    repeats = trail.shape[-1] // len(gamma)  # before opset 21 there is one value for each group
    layer = nn.GroupNorm(groups, eps=_eps(node))
    return trail.then(layer, gamma=gamma.repeat(repeats), beta=beta.repeat(repeats))


@reads("LayerNormalization", "RMSNormalization")
def _layer_norm(node: Node) -> Trail:
    """Read a normalization over the last axes; of several, flattened, that is over one."""
    first, trail = node.trail().channels_first, node.trail().with_channels_last()
    shape, axis = trail.shape, node.get("axis", -1) % (len(trail.shape) + 1)
    demand(axis > 0, "the batch axis left as it is")
    rest = shape[axis - 1 :]
    given = {"gamma": node.constant(1)}
    kind: Any = nn.RMSNorm
    if node.op == "LayerNormalization":
        kind = nn.LayerNorm
        given["beta"] = np.zeros(1) if node.input(2) is None else node.constant(2)
    arrays = {name: _spread(values, rest) for name, values in given.items()}
    flat = trail.reshaped((*shape[: axis - 1], math.prod(rest)))
    return flat.then(kind(eps=_eps(node)), **arrays).reshaped(shape).in_order(first)


def _spread(values: np.ndarray, rest: Shape) -> np.ndarray:
    """Return one value for each that is normalized together."""
    plain = np.reshape(values, values.shape[max(values.ndim - len(rest), 0) :])
    demand(plain.size == values.size, "scales that are the same everywhere")
    return np.ravel(np.broadcast_to(plain, rest))


def _eps(node: Node) -> float:
    return float(str(np.float32(node.get("epsilon", 1e-5))))  # as it was written


@reads("PRelu")
def _prelu(node: Node) -> Trail:
    trail = node.trail()
    slopes = per_channel(node.constant(1), trail)
    demand(slopes is not None, "one slope for each channel")
    return trail.then(nn.PReLU(), negative_slope=slopes)
