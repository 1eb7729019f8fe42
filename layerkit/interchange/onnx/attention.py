"""Attention in ONNX's operators, and back: what belongs together is one node before it is read.

::

    MatMul, Add, Split        queries, keys and values
    Reshape, Transpose        each by head: (n_samples, head, time, width)
    MatMul, Mul, Softmax      A; with -∞ added above the diagonal where it is causal
    MatMul, Transpose, ...    the heads side by side, and the product with W_o
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import Trail
from layerkit.interchange.onnx import operators
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
    rate, quarter = 10000.0 ** (-2 * (np.arange(d) // 2) / d), np.pi / 2 * (np.arange(d) % 2)
    places = g.node("Range", np.array(0), _time(g, x), np.array(1))
    column = g.node("Unsqueeze", g.node("Cast", places, to=1), np.array([1]))
    angle = g.node("Add", g.node("Mul", column, rate), quarter)  # sin(a + π/2) = cos a
    return g.like(x, "Add", x, g.node("Sin", angle))


@emits(nn.PositionalEmbedding)
def _embedding(g: Graph, layer: Any, x: Value) -> Value:
    x, time, W = g.channels_last(x), layer.input_shape[0], layer.params["W"]
    if time is not None:
        return g.like(x, "Add", x, W[:time])
    last = g.node("Unsqueeze", _time(g, x), np.array([0]))
    return g.like(x, "Add", x, g.node("Slice", W, np.array([0]), last))


def _time(g: Graph, x: Value) -> str:
    return g.node("Gather", g.node("Shape", x), np.array(1))


# ---------------------------------------------------------------- reading what was written here

ATTENTION, PLACES = "layerkit.Attention", "layerkit.Places"
READERS = Handlers()
reads = READERS.enter


def gathered(nodes: Sequence[NodeProto], constants: Mapping[str, Any]) -> list[NodeProto]:
    """Put one node in place of those that are attention, or that add a table of places."""
    makers = {name: node for node in nodes for name in node.output}
    replaced: dict[str, NodeProto] = {}
    gone: set[str] = set()
    for node in nodes:
        if node.op_type != "Add":
            continue
        found = _Attention(makers, constants)
        if whole := found.ending_with(node):
            replaced[node.output[0]] = whole
            gone |= found.outputs - {node.output[0]}
        elif any(_is_table(constants.get(name)) for name in node.input):
            replaced[node.output[0]] = helper.make_node(PLACES, node.input, node.output)
    return [replaced.get(node.output[0], node) for node in nodes if node.output[0] not in gone]


def _is_table(array: Any) -> bool:
    """Whether this may be a row for each place; a single row is a bias."""
    is_matrix = isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind == "f"
    return is_matrix and len(array) > 1


class _Attention:
    """Looks from a node upwards for the operators of attention, and remembers their outputs."""

    def __init__(self, makers: Mapping[str, NodeProto], constants: Mapping[str, Any]) -> None:
        self.makers, self.constants, self.outputs = makers, constants, set[str]()

    def ending_with(self, last: NodeProto) -> NodeProto | None:
        """Return the one node, or None if something else ends here."""
        try:
            h, W_o, b_o = self._affine(last.output[0])
            A, v = self._up(self._up(h, "Reshape", "Transpose"), "MatMul", all_inputs=True)
            scores, causal = self._up(A, "Softmax"), False
            if self.makers[scores].op_type == "Add":
                scores, above = self._up(scores, "Add", all_inputs=True)
                self._up(above, "Trilu", "ConstantOfShape", "Shape")
                causal = True
            q, k = self._up(self._up(scores, "Mul"), "MatMul", all_inputs=True)
            parts = [self._up(name, "Transpose", "Reshape") for name in (q, k, v)]
            by_head = self.constants[self.makers[self._up(q, "Transpose")].input[1]]
            split = self.makers[parts[0]]
            if list(split.output) != parts:
                return None
            x, W_qkv, b_qkv = self._affine(self._up(parts[0], "Split"))
        except KeyError:
            return None
        arrays = [x, W_qkv, b_qkv, W_o, b_o]
        how: dict[str, Any] = {"num_heads": int(by_head[2]), "causal": int(causal)}
        return helper.make_node(ATTENTION, arrays, [last.output[0]], name=last.name, **how)

    def _up(self, name: str, *kinds: str, all_inputs: bool = False) -> Any:
        """Return the first input of a chain of operators that ends here, or both of the last."""
        for kind in kinds:
            node = self.makers[name]
            if node.op_type != kind:
                raise KeyError(kind)
            self.outputs |= set(node.output)
            name = node.input[0]
        return tuple(node.input) if all_inputs else name

    def _affine(self, name: str) -> tuple[str, str, str]:
        """Return the names of x, W and b of x W + b."""
        product, b = self._up(name, "Add", all_inputs=True)
        x, W = self._up(product, "MatMul", all_inputs=True)
        self.constants[W], self.constants[b]
        return x, W, b


@reads(ATTENTION)
def _read_attention(node: Any) -> Trail:
    layer = nn.MultiHeadAttention(node.get("num_heads"), causal=bool(node.get("causal")))
    names = "W_qkv", "b_qkv", "W_o", "b_o"
    arrays = {name: node.constant(i) for i, name in enumerate(names, 1)}
    return node.trail().with_channels_last().then(layer, **arrays)


@reads(PLACES)
def _read_places(node: Any) -> Trail:
    """Read a table that is added to every sequence: sines, or else learned."""
    trail, table = node.inputs if isinstance(node.inputs[0], Trail) else node.inputs[::-1]
    if not isinstance(trail, Trail) or trail.shape != table.shape or trail.channels_first:
        node.op = "Add"
        return operators.READERS["Add"](node)
    if np.array_equal(table, sines(*table.shape, table.dtype)):
        return trail.then(nn.PositionalEncoding())
    return trail.then(nn.PositionalEmbedding(len(table)), W=table)
