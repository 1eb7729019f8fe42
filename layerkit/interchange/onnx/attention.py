"""Attention in ONNX's operators, and back: read by what the operators compute together.

::

    MatMul, Add, Split        queries, keys and values
    Reshape, Transpose        each by head: (n_samples, head, time, width)
    MatMul, Mul, Softmax      A; with -∞ added above the diagonal where it is causal
    MatMul, Transpose, ...    the heads side by side, and the product with W_o
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import Trail
from layerkit.interchange.onnx import operators
from layerkit.interchange.onnx.expressions import Expression
from layerkit.interchange.onnx.graph import Graph, Value, number
from layerkit.interchange.onnx.writer import emit, emits
from layerkit.layers.positions import sines

# ---------------------------------------------------------------- writing


@emits(nn.MultiHeadAttention)
def _attention(g: Graph, layer: Any, x: Value) -> Value:
    params, d = layer.params, layer.input_shape[1]
    by_head = np.array([0, 0, layer.num_heads, d // layer.num_heads])
    qkv = g.node("Add", g.node("MatMul", g.channels_last(x), params["W_qkv"]), params["b_qkv"])
    q, k, v = (
        g.node("Transpose", g.node("Reshape", part, by_head), perm=perm)
        for part, perm in zip(
            g.nodes_outputs("Split", qkv, n_outputs=3, axis=2),
            ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]),
            strict=True,
        )
    )
    scores = g.node("Mul", g.node("MatMul", q, k), number(1 / math.sqrt(by_head[3])))
    if layer.causal:
        least = numpy_helper.from_array(np.array([-np.inf], np.float32))
        every = g.node("ConstantOfShape", g.node("Shape", scores), value=least)
        scores = g.node("Add", scores, g.node("Trilu", every, np.array(1), upper=1))
    h = g.node("MatMul", g.node("Softmax", scores, axis=-1), v)
    h = g.node("Reshape", g.node("Transpose", h, perm=[0, 2, 1, 3]), np.array([0, 0, d]))
    y = g.node("Add", g.node("MatMul", h, params["W_o"]), params["b_o"])
    return Value(y, layer.output_shape)


@emits(nn.TransformerEncoderBlock)
def _block(g: Graph, block: Any, x: Value) -> Value:
    for _, part in block.children():
        x = emit(g, part, x)
    return x


@emits(nn.PositionalEncoding)
def _encoding(g: Graph, layer: Any, x: Value) -> Value:
    x = g.channels_last(x)
    time, d = layer.input_shape
    if time is not None:
        return g.like(x, "Add", x, sines(time, d, np.dtype(np.float32)))
    rate, quarter = _angles(d)
    places = g.node("Range", np.array(0), _time(g, x), np.array(1))
    column = g.node("Unsqueeze", g.node("Cast", places, to=1), np.array([1]))
    angle = g.node("Add", g.node("Mul", column, rate), quarter)
    return g.like(x, "Add", x, g.node("Sin", angle))


def _angles(d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each sine turns from step to step, and where it begins: sin(a + π/2) = cos a.

    >>> [part.tolist() for part in _angles(2)]
    [[1.0, 1.0], [0.0, 1.5707963267948966]]
    """
    return 10000.0 ** (-2 * (np.arange(d) // 2) / d), np.pi / 2 * (np.arange(d) % 2)


@emits(nn.PositionalEmbedding)
def _embedding(g: Graph, layer: Any, x: Value) -> Value:
    x, time, W = g.channels_last(x), layer.input_shape[0], layer.params["W"]
    if time is not None:
        return g.like(x, "Add", x, W[:time])
    last = g.node("Unsqueeze", _time(g, x), np.array([0]))
    return g.like(x, "Add", x, g.node("Slice", W, np.array([0]), last))


def _time(g: Graph, x: Value) -> str:
    return g.node("Gather", g.node("Shape", x), np.array(1))


# ---------------------------------------------------------------- reading

PLACES = "layerkit.Places"
READERS = Handlers()
reads = READERS.enter
_PRODUCTS = {"MatMul", "Gemm", "Einsum"}
_CORES = {"Softmax", "Attention"}
_TIME = 5  # steps of a probe, where their number is open
ONLY_SO = (
    "has a layer only as self-attention: queries, keys and values of one tensor, as many heads of "
    "each, a product with a matrix after it, and a mask, if any, that hides what comes later"
)


def gathered(nodes: Sequence[NodeProto], constants: Mapping[str, Any]) -> list[NodeProto]:
    """Name the nodes that add a table of places, as many rows of one as there are steps, or sines.

    Sines without a table are those of `PositionalEncoding` for any number of steps.
    """
    above = _Above(nodes, constants)
    return [_as_places(node, above) if node.op_type == "Add" else node for node in nodes]


class _Above:
    """What stands above a tensor: the operators that make it, and the constants among them."""

    def __init__(self, nodes: Sequence[NodeProto], constants: Mapping[str, Any]) -> None:
        self.makers = {name: node for node in nodes for name in node.output}
        self.constants = constants

    def inputs(self, name: str, *operators: str) -> list[str]:
        """Return the inputs of the last of these operators on the way up, none if others come."""
        inputs = [name]
        for operator in operators:
            maker = self.makers.get(inputs[0])
            if maker is None or maker.op_type != operator:
                return []
            inputs = list(maker.input)
        return inputs

    def holds(self, name: str, number: int) -> bool:
        """Whether it is a constant, this number."""
        return name in self.constants and np.array_equal(np.ravel(self.constants[name]), [number])

    def counts_steps(self, size: str, x: str) -> bool:
        """Whether it is the number of steps of x."""
        gathered = self.inputs(size, "Gather")
        if not gathered or self.inputs(gathered[0], "Shape") != [x]:
            return False
        return self.holds(gathered[1], 1)


def _as_places(node: NodeProto, above: _Above) -> NodeProto:
    """Name an addition of places, if it is one in any of three spellings."""
    if any(_is_table(above.constants.get(name)) for name in node.input):
        return helper.make_node(PLACES, node.input, node.output)
    for x, added in (node.input, node.input[::-1]):
        if (table := _cut_table(above, x, added)) is not None:
            return helper.make_node(PLACES, [x, table], node.output, cut=1)
        if (features := _sines(above, x, added)) is not None:
            return helper.make_node(PLACES, [x], node.output, features=features)
    return node


def _cut_table(above: _Above, x: str, added: str) -> str | None:
    """Return the table of which as many rows are added as x has steps, if that is what it is."""
    match above.inputs(added, "Slice"):
        case [table, start, end] if _is_table(above.constants.get(table)) and above.holds(start, 0):
            size = (above.inputs(end, "Unsqueeze") or [end])[0]
            return table if above.counts_steps(size, x) else None
    return None


def _sines(above: _Above, x: str, added: str) -> int | None:
    """Return the number of features where sines of the steps of x are added, computed for them."""
    sine = "Sin", "Add", "Mul"
    counted = above.inputs(added, *sine, "Unsqueeze", "Cast", "Range")
    if len(counted) != 3:
        return None
    first, end, step = counted
    axis = above.inputs(added, *sine, "Unsqueeze")[1:]
    counts = above.holds(first, 0) and above.holds(step, 1) and above.counts_steps(end, x)
    if not counts or not all(above.holds(a, 1) for a in axis):
        return None
    names = above.inputs(added, *sine)[1], above.inputs(added, "Sin", "Add")[1]
    found = [above.constants[name] for name in names if name in above.constants]
    if len(found) != 2:
        return None
    features = found[0].size
    same = all(map(np.array_equal, found, map(np.float32, _angles(features))))
    return features if same else None


def _is_table(array: Any) -> bool:
    """Whether this may be a row for each place; a single row is a bias."""
    is_matrix = isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind == "f"
    return is_matrix and len(array) > 1


def read_attention(expression: Expression, trail: Trail, n_samples: int) -> Trail | None:
    """Go on from the source through attention, if that is what the operators compute.

    Exporters split queries, keys and values in many ways, with time or the heads in front, and
    write a mask as numbers, booleans or an attribute. So only the matrices are looked for; how many
    heads there are, and whether these see what comes later, is tried on random samples.
    """
    cores = [node for node in expression.nodes if node.op_type in _CORES]
    if len(cores) != 1 or len(trail.shape) != 2:
        return None
    (time, d), core = trail.shape, cores[0]
    arrays = _Matrices(expression, d).around(core)
    if arrays is None:
        return None
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, n_samples or 2, time or _TIME, d)) / _spread(arrays, d)
    expected = [expression.of(part.swapaxes(1, 2) if trail.channels_first else part) for part in x]
    if any(np.shape(y) != x.shape[1:] for y in expected):
        return None
    for layer, given in _candidates(core, arrays, d):
        built = layer.build((None, d), dtype=np.float64)
        for name, array in given.items():
            built.params[name][...] = array
        if all(_are_close(built.infer(a), y) for a, y in zip(x, expected, strict=True)):
            twin = nn.MultiHeadAttention(layer.num_heads, causal=layer.causal)
            return trail.with_channels_last().then(twin, **given)
    return None


Arrays = dict[str, np.ndarray]


def _candidates(core: NodeProto, arrays: Arrays, d: int) -> Iterator[tuple[Any, Arrays]]:
    """Yield layers and their arrays; a scale other than 1 / √width goes into the queries."""
    attributes = {a.name: helper.get_attribute_value(a) for a in core.attribute}
    for heads in (n for n in range(1, d + 1) if d % n == 0):
        usual = math.sqrt(d // heads)
        scales = {attributes.get("scale", 1 / usual) * usual, 1.0, usual}
        for scale, causal, turned in product(sorted(scales), (False, True), (False, True)):
            given = dict(arrays)
            for name in ("W_qkv", "b_qkv"):
                q, k, v = np.split(arrays[name], 3, axis=-1)
                q, k = (k, q) if turned else (q, k)  # whichever stands first in the product
                given[name] = np.concatenate([q * scale, k, v], axis=-1)
            yield nn.MultiHeadAttention(heads, causal=causal), given


def _spread(arrays: Arrays, d: int) -> float:
    """How wide samples may be, at most, for weights that are neither even nor one alone."""
    W_q, W_k, _ = np.split(arrays["W_qkv"], 3, axis=1)
    return max(1e-3, math.sqrt(float((W_q @ W_k.T).std()) * math.sqrt(d)))


def _are_close(y: np.ndarray, expected: np.ndarray) -> bool:
    return np.allclose(y, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))


class _Matrices:
    """Looks for the matrices and biases before and after the softmax."""

    def __init__(self, expression: Expression, d: int) -> None:
        self.constants, self.nodes, self.d = expression.constants, expression.nodes, d
        self.makers = {name: node for node in self.nodes for name in node.output}

    def around(self, core: NodeProto) -> Arrays | None:
        """Return the arrays of a layer as they may be, or None if there is something else."""
        inputs = core.input[:3] if core.op_type == "Attention" else self._around_softmax(core)
        ends = [*map(self._affine, inputs), self._affine(self.nodes[-1].output[0])]
        if len(ends) != 4 or any(end is None for end in ends):
            return None
        (W_q, b_q), (W_k, b_k), (W_v, b_v), (W_o, b_o) = ends  # type: ignore[misc]
        if W_q is W_k is W_v:
            W, b = W_q.reshape(self.d, -1), b_q
        else:
            W = np.hstack([part.reshape(self.d, -1) for part in (W_q, W_k, W_v)])
            b = np.concatenate([np.resize(part, self.d) for part in (b_q, b_k, b_v)])
        if W.shape[1] != 3 * self.d or W_o.size != self.d**2:
            return None
        arrays = {"b_qkv": np.resize(b, 3 * self.d), "b_o": np.resize(b_o, self.d)}
        return {"W_qkv": W, "W_o": W_o.reshape(-1, self.d), **arrays}

    def _around_softmax(self, core: NodeProto) -> list[str]:
        """Return the names of queries, keys and values, as many as are found."""
        names, scores = [core.input[0]], None
        for name in names:
            node = self.makers.get(name)
            if node is None or self._is_affine(node):
                continue
            if node.op_type in _PRODUCTS:
                scores = node
                break
            names.extend(self._computed(node))
        after = set(core.output)
        for node in self.nodes:
            if after & set(node.input):
                if scores is not None and node.op_type in _PRODUCTS:
                    return [*scores.input[:2], *(name for name in node.input if name not in after)]
                after |= set(node.output)
        return []

    def _affine(self, name: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return W and b of the first product with a constant on the way up from a tensor."""
        b = np.zeros(1)
        while name in self.makers:
            node = self.makers[name]
            fixed = [self.constants[i] for i in node.input if i in self.constants]
            computed = self._computed(node)
            if node.op_type in _PRODUCTS:
                turned = any(a.name == "transB" and a.i for a in node.attribute)
                if not fixed:
                    return None
                b = fixed[1].ravel() if len(fixed) > 1 else b
                return self._turned(node.input[1]) if turned else fixed[0], b
            if node.op_type == "Add" and len(computed) > 1:
                return None
            if node.op_type == "Add" and fixed[0].size % self.d == 0:
                b = fixed[0].ravel()
            name = computed[0]
        return None

    def _turned(self, name: str) -> np.ndarray:
        """Return a matrix transposed, as one object however often it is asked for."""
        return self.constants.setdefault(f"{name} transposed", self.constants[name].T)

    def _is_affine(self, node: NodeProto) -> bool:
        return node.op_type in _PRODUCTS and len(self._computed(node)) < 2

    def _computed(self, node: NodeProto) -> list[str]:
        return [name for name in node.input if name and name not in self.constants]


@reads(PLACES)
def _read_places(node: Any) -> Trail:
    """Read a table that is added to every sequence: sines, or else learned."""
    if len(node.inputs) == 1:
        trail, d = node.trail().with_channels_last(), node.get("features", 0)
        operators.demand(
            trail.shape[-1] == d, f"sines of {trail.shape[-1]} features, not sines of {d}"
        )
        return trail.then(nn.PositionalEncoding())
    trail, table = node.inputs if isinstance(node.inputs[0], Trail) else node.inputs[::-1]
    if node.get("cut", 0):
        return node.trail().with_channels_last().then(nn.PositionalEmbedding(len(table)), W=table)
    if not isinstance(trail, Trail) or trail.shape != table.shape or trail.channels_first:
        node.op = "Add"
        return operators.READERS["Add"](node)
    if np.array_equal(table, sines(*table.shape, table.dtype)):
        return trail.then(nn.PositionalEncoding())
    return trail.then(nn.PositionalEmbedding(len(table)), W=table)
