"""ONNX operators as layers: products, sums, and what only reorders values; and their table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto, helper

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import Trail, add, concatenate, gated
from layerkit.interchange.onnx.expressions import FLOATS


class Node:
    """An operator, its attributes and what came in: trails, constants, None where left out.

    ``n_samples`` says for how many samples the model is written, 0 for any number.
    """

    def __init__(self, proto: NodeProto, inputs: list[Any], opset: int, n_samples: int) -> None:
        self.op, self.inputs, self.opset, self.n_samples = proto.op_type, inputs, opset, n_samples
        self.outputs = list(proto.output)
        self.attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, text as str."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def input(self, i: int) -> Any:
        """Return an input, or None where it was left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def trail(self) -> Trail:
        """Return the first input, which must come from the model's input."""
        demand(isinstance(self.inputs[0], Trail), "a computed first input, the batch axis in front")
        return self.inputs[0]

    def constant(self, i: int) -> np.ndarray:
        """Return an input that must be a constant."""
        demand(isinstance(self.input(i), np.ndarray), f"a constant as input {i}")
        return self.inputs[i]

    def optional(self, i: int) -> np.ndarray | None:
        """Return an input that must be a constant, or None where it was left out."""
        return None if self.input(i) is None else self.constant(i)

    def axes(self) -> list[int]:
        """Return the axes, an attribute in older versions and an input in newer ones."""
        given = self.get("axes")
        return [int(a) for a in (np.ravel(self.constant(1)) if given is None else given)]


def demand(ok: Any, what: str) -> None:
    """Refuse an operator that is used in another way."""
    if not ok:
        raise ValueError(f"has a layer only with {what}")


def per_channel(array: np.ndarray, trail: Trail) -> np.ndarray | None:
    """One value for each channel, if that is what the array holds beside the model's tensor."""
    if not trail.shape:  # one number a sample
        return None
    channels, rank = trail.shape[-1], len(trail.shape) + 1
    if array.size == 1:
        return np.full(channels, array.item())
    axis = 1 if trail.channels_first else rank - 1
    shape = [1] * (rank - array.ndim) + list(array.shape)
    wanted = [channels if i == axis else 1 for i in range(rank)]
    return array.ravel() if shape == wanted else None


READERS = Handlers()  # ``node -> trail``, by the operator
reads = READERS.enter
READERS["Identity"] = Node.trail


@reads("Gemm")
def _gemm(node: Node) -> Trail:
    demand(not node.get("transA", 0), "transA=0")
    W = node.constant(1).T if node.get("transB", 0) else node.constant(1)
    b = None
    if node.input(2) is not None:
        demand(np.shape(node.constant(2))[:-1] in ((), (1,)), "one row as C")
        b = np.broadcast_to(np.ravel(node.constant(2)), W.shape[1:]) * node.get("beta", 1.0)
    return node.trail().dense(W * node.get("alpha", 1.0), b)


@reads("MatMul")
def _product(node: Node) -> Trail:
    W = node.constant(1)
    demand(W.ndim == 2, "a matrix on the right")
    return node.trail().dense(W, None)


@reads("Add", "Sum", "Sub", "Mul", "Div")
def _arithmetic(node: Node) -> Trail:
    a, b = node.inputs if len(node.inputs) == 2 else (node.inputs[0], None)
    if b is None and node.op == "Sum" and len(node.inputs) == 1:
        return node.trail()
    if isinstance(a, Trail) and isinstance(b, Trail):
        if node.op == "Mul":
            return _product_of(a, b)
        demand(node.op in ("Add", "Sum"), "a constant")
        demand(a.model_shape() == b.model_shape(), "two tensors of one shape")
        return add([a, b])
    if isinstance(a, np.ndarray) and isinstance(b, Trail) and node.op == "Sub":  # c - x
        return _by_channel(b, a, lambda trail, c: _affine(trail, np.full_like(c, -1), c))
    if isinstance(a, np.ndarray) and node.op in ("Add", "Mul"):
        a, b = b, a
    if not (isinstance(a, Trail) and isinstance(b, np.ndarray)):
        raise ValueError("has a layer only with two inputs, the first computed")
    if node.op in ("Add", "Sub"):
        return _by_channel(a, b if node.op == "Add" else -b, _shifted)
    return _by_channel(a, b if node.op == "Mul" else 1 / b, _affine)


def _by_channel(
    trail: Trail, constant: np.ndarray, go_on: Callable[[Trail, np.ndarray], Trail]
) -> Trail:
    for is_turned in (False, True):
        each = trail.with_channels_first() if is_turned else trail
        values = per_channel(constant, each)
        if values is not None:
            return go_on(each, values)
    raise ValueError("has a layer only with one constant for each channel")


def scaled(trail: Trail, factor: float) -> Trail:
    """Multiply every value by one number."""
    return trail if factor == 1 else _affine(trail, np.full(trail.shape[-1:], float(factor)))


def _product_of(a: Trail, b: Trail) -> Trail:
    """Multiply two trails, one of which may have axes of length 1: a Gate, or a GLU of a table."""
    for left, right in ((a, b), (b, a)):
        if _are_halves(left, right):
            width = left.layers[-1].input_shape
            return replace(left, layers=left.layers[:-1], shape=width).then(nn.GLU())
    if _stretches(b, a) and (not _stretches(a, b) or not _comes_before(b, a)):
        return gated(b, a)
    demand(_stretches(a, b), "factors of one shape, or one that stretches to that of the other")
    return gated(a, b)


def _are_halves(a: Trail, b: Trail) -> bool:
    """Whether a is the first half of a table, and b the sigmoid of the second one."""
    if not a.layers or len(b.layers) != len(a.layers) + 1 or a.layers[:-1] != b.layers[:-2]:
        return False
    left, right, last = a.layers[-1], *b.layers[-2:]
    if not (isinstance(left, nn.Columns) and isinstance(right, nn.Columns)):
        return False
    both = np.concatenate([*left.positions, *right.positions])
    even = left.output_shape == right.output_shape and len(both) == left.input_shape[0]
    return even and isinstance(last, nn.Sigmoid) and np.array_equal(both, np.arange(len(both)))


def _stretches(a: Trail, b: Trail) -> bool:
    ours, other = a.model_shape(), b.model_shape()
    same = len(ours) == len(other)
    return same and all(n in (1, m) for n, m in zip(ours, other, strict=True))


def _comes_before(a: Trail, b: Trail) -> bool:
    return b.layers[: len(a.layers)] == a.layers


def _shifted(trail: Trail, shift: np.ndarray) -> Trail:
    """Add a constant to every channel: the bias of the layer before, if it has none."""
    layer: Any = trail.layers[-1] if trail.layers else None
    if isinstance(layer, nn.MultiHeadAttention):
        arrays = trail.arrays[layer]
        return replace(
            trail, arrays={**trail.arrays, layer: {**arrays, "b_o": arrays["b_o"] + shift}}
        )
    if isinstance(layer, nn.Dense | nn.Conv1D | nn.Conv2D) and not layer.use_bias:
        twin = type(layer)(**{**layer.get_params(deep=False), "use_bias": True})
        arrays = {**trail.arrays[layer], "b": shift}
        before = replace(trail, layers=trail.layers[:-1], shape=layer.input_shape)
        return replace(before.then(twin, **arrays), channels_first=trail.channels_first)
    return _affine(trail, np.ones_like(shift), shift)


def _normalized(trail: Trail, scale: np.ndarray, shift: np.ndarray) -> Trail | None:
    """Give the normalization before it the scale and shift, if there is one to take them."""
    layer: Any = trail.layers[-1] if trail.layers else None
    takes_both = isinstance(layer, nn.LayerNorm | nn.GroupNorm)
    if not takes_both and not (isinstance(layer, nn.RMSNorm) and not shift.any()):
        return None
    arrays = {"gamma": trail.arrays[layer]["gamma"] * scale}
    if takes_both:
        arrays["beta"] = trail.arrays[layer]["beta"] * scale + shift
    before = replace(trail, layers=trail.layers[:-1], shape=layer.input_shape)
    twin = type(layer)(**layer.get_params(deep=False))
    return replace(before.then(twin, **arrays), channels_first=trail.channels_first)


def _affine(trail: Trail, scale: np.ndarray, shift: np.ndarray | None = None) -> Trail:
    """Scale and shift every channel: a frozen BatchNorm with statistics of mean 0, deviation 1."""
    shift = np.zeros_like(scale) if shift is None else shift
    taken_up = _normalized(trail, scale, shift)
    if taken_up is not None:
        return taken_up
    layer = nn.BatchNorm()
    layer.trainable = False
    statistics = {"running_mean": np.zeros_like(scale), "running_var": np.full_like(scale, 1)}
    statistics["running_var"] -= layer.eps
    return trail.then(layer, gamma=scale, beta=shift, **statistics)


@reads("Scaler")
def _scaler(node: Node) -> Trail:
    """Read scikit-learn's StandardScaler as skl2onnx writes it: (x - offset) * scale."""
    trail, width = node.trail(), node.trail().shape[-1]
    scale = np.broadcast_to(node.get("scale", [1.0]), width).astype(np.float32)
    offset = np.broadcast_to(node.get("offset", [0.0]), width).astype(np.float32)
    return _affine(trail, scale, -offset * scale)


@reads("Concat")
def _concat(node: Node) -> Trail:
    trails = [value for value in node.inputs if isinstance(value, Trail)]
    demand(len(trails) == len(node.inputs), "computed inputs")
    demand(node.get("axis") % (len(trails[0].shape) + 1), "the batch axis left as it is")
    return trails[0] if len(trails) == 1 else concatenate(trails, node.get("axis"))


@reads("Flatten")
def _flatten(node: Node) -> Trail:
    trail = node.trail()
    demand(node.get("axis", 1) % (len(trail.shape) + 1) == 1, "axis=1")
    demand(None not in trail.shape, "rows of one length")
    return trail.reshaped((math.prod(trail.shape),))


@reads("Reshape")
def _reshape(node: Node) -> Trail:
    trail = node.trail()
    sizes, now = [int(size) for size in node.constant(1)], (0, *trail.model_shape())
    demand(not (node.get("allowzero", 0) and 0 in sizes[1:]), "allowzero=0")
    if sizes and 0 < sizes[0] == node.n_samples:  # written for that many samples
        sizes[0] = 0
    demand(sizes and sizes[0] in (-1, 0), "the batch axis left as it is")
    demand(None not in trail.shape, "rows of one length")
    shape = [now[i] if size == 0 else size for i, size in enumerate(sizes)][1:]
    if sizes[0] == 0 and -1 in shape:
        known = math.prod(size for size in shape if size != -1)
        shape[shape.index(-1)] = math.prod(trail.shape) // known
    demand(math.prod(shape) == math.prod(trail.shape), "the batch axis left as it is")
    return trail.reshaped(tuple(shape))


@reads("Squeeze")
def _squeeze(node: Node) -> Trail:
    trail = node.trail()
    now = (0, *trail.model_shape())
    gone = {axis % len(now) for axis in node.axes()}
    demand(0 not in gone, "the batch axis left as it is")
    return trail.reshaped(tuple(n for i, n in enumerate(now) if i not in gone)[1:])


@reads("Unsqueeze")
def _unsqueeze(node: Node) -> Trail:
    trail = node.trail()
    shape, axes = [0, *trail.model_shape()], node.axes()
    for axis in sorted(axis % (len(shape) + len(axes)) for axis in axes):
        demand(axis > 0, "the batch axis left as it is")
        shape.insert(axis, 1)
    return trail.reshaped(tuple(shape[1:]))


@reads("Transpose")
def _transpose(node: Node) -> Trail:
    trail = node.trail()
    axes = tuple(node.get("perm", range(len(trail.shape), -1, -1)))
    demand(axes[0] == 0, "the batch axis left as it is")
    return trail.transposed(axes)


@reads("Softmax", "LogSoftmax")
def _softmax(node: Node) -> Trail:
    trail = node.trail()
    axis = node.get("axis", -1 if node.opset >= 13 else 1) % (len(trail.shape) + 1)
    kind = nn.Softmax if node.op == "Softmax" else nn.LogSoftmax
    shape = trail.model_shape()
    if node.opset >= 13 or axis == len(shape):
        ours = trail.axis(axis)
        return trail.then(kind() if ours == len(shape) else kind(axis=ours))
    demand(axis > 0, "the batch axis left as it is")  # before, of all axes from this one on
    flat = trail.reshaped((*shape[: axis - 1], math.prod(shape[axis - 1 :])))
    return flat.then(kind()).reshaped(shape).in_order(trail.channels_first)


@reads("Cast")
def _cast(node: Node) -> Trail:
    demand(node.get("to") in FLOATS, "floats, or with integers as an index")
    return node.trail()


@reads("CastLike")
def _cast_like(node: Node) -> Trail | np.ndarray:
    x, like = node.inputs
    demand(not isinstance(like, np.ndarray) or like.dtype.kind == "f", "floats")
    return x.astype(np.float64) if isinstance(x, np.ndarray) else x


@reads("Dropout")
def _dropout(node: Node) -> Trail:
    ratio, training = node.input(1), node.input(2)
    demand(training is None or not node.constant(2).any(), "training_mode=False")
    rate = float(node.get("ratio", 0.5) if ratio is None else node.constant(1))
    return node.trail().then(nn.Dropout(round(rate, 7)))


@reads("Gather", "ArrayFeatureExtractor")
def _gather(node: Node) -> Trail:
    table, index = node.inputs
    if isinstance(table, np.ndarray) and isinstance(index, Trail):
        demand(table.ndim == 2 and node.get("axis", 0) == 0, "rows of a matrix")
        return index.with_channels_last().then(nn.Embedding(*table.shape), W=table)
    positions = node.constant(1)
    is_gather = node.op == "Gather"
    demand(not is_gather or positions.ndim == 1, "columns of a table")
    demand(not is_gather or node.get("axis", 0) in (1, -1), "columns of a table")
    return _columns(node.trail(), np.ravel(positions))


def _columns(trail: Trail, positions: np.ndarray) -> Trail:
    """Choose columns of a table."""
    demand(len(trail.shape) == 1 and len(positions), "columns of a table")
    if np.array_equal(positions, np.arange(trail.shape[0])):
        return trail
    return trail.then(nn.Columns([(positions.tolist(), nn.Identity())]))


@reads("Slice")
def _slice(node: Node) -> Trail:
    trail = node.trail()
    given = [node.get(name) for name in ("starts", "ends", "axes")] + [None]
    if given[0] is None:  # inputs, since opset 10
        given = [node.optional(i) for i in range(1, 5)]
    starts, ends, axes, steps = given
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    lengths = {*map(len, (starts, ends, axes, steps))}
    demand(len(lengths) == 1, "as many starts, ends, axes and steps")
    sizes = trail.model_shape()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = int(axis) % (len(sizes) + 1)
        if axis == 0 or len(sizes) > 1:
            whole = int(start) == 0 and int(step) == 1 and axis > 0 and end >= sizes[axis - 1]
            demand(whole, "columns of a table")
            continue
        positions = np.arange(sizes[0])[int(start) : int(end) : int(step)]
        trail = _columns(trail, positions)
    return trail


@reads("Split")
def _split(node: Node) -> list[Trail]:
    trail, n = node.trail(), len(node.outputs)
    demand(len(trail.shape) == 1 and node.get("axis", 0) in (1, -1), "columns of a table")
    sizes = node.get("split") if node.input(1) is None else node.constant(1).tolist()
    width = trail.shape[0]
    sizes = sizes or [min(-(-width // n), width - i * -(-width // n)) for i in range(n)]
    ends = np.cumsum(sizes)
    return [_columns(trail, np.arange(end - k, end)) for k, end in zip(sizes, ends, strict=True)]


# ---------------------------------------------------------------- functions with own numbers


@reads("Selu")
def _scaled_elu(node: Node) -> Trail:
    trail = node.trail().then(nn.ELU(_written(node.get("alpha", nn.SELU.ALPHA))))
    return scaled(trail, node.get("gamma", nn.SELU.LAMBDA))


@reads("HardSigmoid")
def _hard_sigmoid(node: Node) -> Trail:
    trail = node.trail()
    slope = np.full(trail.shape[-1:], node.get("alpha", 0.2))
    trail = _affine(trail, slope, np.full_like(slope, node.get("beta", 0.5)))
    return trail.then(nn.HardTanh(low=0.0, high=1.0))


@reads("Swish")
def _swish(node: Node) -> Trail:
    alpha = node.get("alpha", 1.0)
    return scaled(scaled(node.trail(), alpha).then(nn.SiLU()), 1 / alpha)


@reads("Celu")
def _celu(node: Node) -> Trail:
    alpha = node.get("alpha", 1.0)
    return scaled(scaled(node.trail(), 1 / alpha).then(nn.ELU()), alpha)


def _written(value: float) -> float:
    """Return a float32 as it was written, 0.01 rather than 0.009999999776."""
    return float(str(np.float32(value)))
