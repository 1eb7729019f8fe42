"""ONNX operators as layers: RNN, GRU and LSTM, and what turns their tensors around.

They want the time in front and keep the directions of a bidirectional one apart, so transposes,
squeezes and reshapes stand around them. A tensor in between is `Turned`: a trail, and where the
model has each axis. In what has its axes as ours, nothing is left of all this::

    n batch    t time    d directions    u units of one direction    c channels

    X ntc, Transpose tnc, LSTM tdnu, Squeeze tnc, Transpose ntc
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import layerkit.layers as nn
from layerkit.interchange.formats import Handlers
from layerkit.interchange.layouts import Trail
from layerkit.interchange.onnx import operators
from layerkit.interchange.onnx.operators import Node, demand
from layerkit.interchange.onnx.recurrent import OPERATORS

READERS = Handlers()  # ``node -> trail``, by the operator
reads = READERS.enter

_KINDS = {operator: (kind, order) for kind, (operator, order) in OPERATORS.items()}
_FUNCTIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


@dataclass(frozen=True, eq=False)
class Turned:
    """A tensor that is not in our order: ``axes`` are the model's, ``trail`` is in ours.

    ``way`` is the one direction that was picked of several.
    """

    trail: Trail
    axes: str
    ways: int = 1
    way: int | None = None

    def in_order(self) -> Turned | Trail:
        """Return the trail alone where the model has its axes as we do, or channels in front."""
        if self.axes == "nct":
            return replace(self.trail, channels_first=True)
        return self.trail if self.axes in ("ntc", "nc") else self

    def model_sizes(self, n_samples: int) -> list[int | None]:
        """Sizes of the model's tensor, given that of the batch."""
        time, channels = self.trail.shape[0], self.trail.shape[-1]
        known = {"n": n_samples, "t": time, "d": self.ways, "c": channels}
        return [known.get(axis, channels // self.ways) for axis in self.axes]

    def without(self, axis: str) -> Turned | Trail:
        """Take the directions, or the time, away."""
        left = self.axes.replace(axis, "")
        return replace(self, axes=left if self.ways > 1 else left.replace("u", "c")).in_order()

    def picked(self, way: int) -> Turned:
        """Return one direction alone."""
        return replace(self, axes=self.axes.replace("d", ""), way=way)

    def merged(self, sizes: Sequence[int]) -> Turned | Trail:
        """Put both directions side by side; 0 and -1 are sizes left as they are."""
        turned = replace(self, axes=self.axes.replace("du", "c"))
        as_it_is = (0, -1)
        ok = "du" in self.axes and len(sizes) == len(turned.axes) and sizes[-1] != 0
        for axis, size, known in zip(turned.axes, sizes, turned.model_sizes(0), strict=False):
            ok = ok and (axis == "n" or size in as_it_is or size == known)
        demand(ok, "both directions side by side as channels")
        return turned.in_order()


@dataclass(frozen=True, eq=False)
class States:
    """The last states of several layers, one after the other, as PyTorch returns them."""

    layers: tuple[Turned, ...]

    def one(self, index: int) -> Turned | Trail:
        """Return that of one direction of one layer."""
        every = [(state, way) for state in self.layers for way in range(state.ways)]
        demand(-len(every) <= index < len(every), f"one of {len(every)} states")
        state, way = every[index]
        return state.without("d") if state.ways == 1 else state.picked(way)


def _turned(value: Any) -> bool:
    return isinstance(value, Turned)


@reads("RNN", "GRU", "LSTM")
def _recurrent(node: Node) -> tuple[Turned, Turned]:
    """Return all steps, and the last ones that each direction reads."""
    kind, _ = _KINDS[node.op]
    direction = node.get("direction", "forward")
    demand(direction in ("forward", "bidirectional"), "direction forward or bidirectional")
    ways, x = 1 + (direction == "bidirectional"), node.inputs[0]
    functions = _functions(node, ways)
    demand(node.get("layout", 0) == 0, "layout=0")
    demand(_turned(x) and x.axes == "tnc", "its input transposed to (time, batch, features)")
    demand(node.get("clip") is None, "no clip")
    demand(node.op != "GRU" or node.get("linear_before_reset", 0) == 1, "linear_before_reset=1")
    demand(not node.get("input_forget", 0), "input_forget=0")
    demand(node.input(4) is None, "no sequence_lens")
    for i, name in ((5, "initial_h"), (6, "initial_c"), (7, "P")):
        values = node.optional(i)
        demand(values is None or not np.any(values), f"zeros as {name}")
    arrays = _arrays(node, ways)
    more: Any = {"activation": functions[0].lower()} if node.op == "RNN" else {}
    trails = []
    for return_sequences in (True, False):
        layer: Any = kind(int(node.get("hidden_size")), return_sequences=return_sequences, **more)
        if ways == 1:
            trails.append(x.trail.then(layer, **arrays[0]))
            continue
        layer = nn.Bidirectional(layer)
        trails.append(x.trail.then(layer))
        for (_, way), found in zip(layer.children(), arrays, strict=True):
            trails[-1].arrays[way] = found
    return Turned(trails[0], "tdnu", ways), Turned(trails[1], "dnu", ways)


def _functions(node: Node, ways: int) -> list[str]:
    """Return the activations, which must be those of our layers."""
    usual = _FUNCTIONS[node.op]
    given = [f.decode() if isinstance(f, bytes) else f for f in node.get("activations", [])]
    relu = node.op == "RNN" and given == ["Relu"] * ways
    demand(not given or given == usual * ways or relu, f"activations {', '.join(usual)}")
    return given or usual


def _arrays(node: Node, ways: int) -> list[dict[str, np.ndarray]]:
    """Return W, U and b of each direction, gates in our order."""
    order, found = _KINDS[node.op][1], []
    columns = node.constant(1).shape[1]
    B = node.optional(3)
    B = np.zeros((ways, 2 * columns), node.constant(1).dtype) if B is None else B

    def in_our_order(rows: np.ndarray) -> np.ndarray:
        gates = np.split(rows, len(order))
        return np.concatenate([gates[order.index(gate)] for gate in range(len(order))])

    for W, U, both in zip(node.constant(1), node.constant(2), B, strict=True):
        first, second = map(in_our_order, np.split(both, 2))
        arrays = {"W": in_our_order(W).T, "U": in_our_order(U).T, "b": first + second}
        if node.op == "GRU":  # whose candidate has the second one inside the reset
            units = columns // 3
            arrays["b_hidden"] = second[2 * units :]
            arrays["b"][2 * units :] = first[2 * units :]
        found.append(arrays)
    return found


def _else_as_usual(node: Node) -> Any:
    return operators.READERS[node.op](node)


@reads("Transpose")
def _transpose(node: Node) -> Any:
    x, perm = node.inputs[0], node.get("perm")
    if isinstance(x, Trail) and len(x.shape) == 2 and perm and perm[0] != 0:
        x = Turned(replace(x, channels_first=False), "nct" if x.channels_first else "ntc")
    if not _turned(x):
        return _else_as_usual(node)
    perm = perm or range(len(x.axes) - 1, -1, -1)
    return replace(x, axes="".join(x.axes[i] for i in perm)).in_order()


@reads("Squeeze")
def _squeeze(node: Node) -> Any:
    x = node.inputs[0]
    if not _turned(x):
        return _else_as_usual(node)
    names = [x.axes[axis] for axis in node.axes()]
    demand(names == ["d"] and x.ways == 1, "the axis of a single direction")
    return x.without("d")


@reads("Reshape")
def _reshape(node: Node) -> Any:
    x = node.inputs[0]
    if not _turned(x):
        return _else_as_usual(node)
    return x.merged(node.constant(1).tolist())


@reads("Flatten")
def _flatten(node: Node) -> Any:
    x = node.inputs[0]
    if not _turned(x):
        return _else_as_usual(node)
    demand(node.get("axis", 1) == 1 and x.axes == "ndu", "the batch axis left as it is")
    return x.merged([0, -1])


@reads("Gather")
def _gather(node: Node) -> Any:
    x, axis = node.inputs[0], node.get("axis", 0)
    if isinstance(x, Trail) and len(x.shape) == 2 and not x.channels_first:
        x = Turned(x, "ntc")
    if isinstance(x, States):
        demand(axis == 0 and np.ndim(node.constant(1)) == 0, "one of the states")
        return x.one(int(node.constant(1)))
    if not _turned(x) or np.ndim(node.input(1)) > 0:
        return _else_as_usual(node)
    index, name = int(node.constant(1)), x.axes[axis]
    demand(name in "td", "the last step, or one direction")
    if name == "t":
        time = x.trail.shape[0]
        demand(index == -1 or (time is not None and index == time - 1), "the last step")
        return replace(x, trail=x.trail.then(nn.LastStep())).without("t")
    demand(-x.ways <= index < x.ways, f"one of {x.ways} directions")
    return x.without("d") if x.ways == 1 else x.picked(index % x.ways)


@reads("Concat")
def _concat(node: Node) -> Any:
    parts = node.inputs
    if not any(map(_turned, parts)):
        return _else_as_usual(node)
    first: Any = parts[0]
    if node.get("axis") == 0 and all(_turned(part) and part.axes == "dnu" for part in parts):
        return States(tuple(parts))
    ok = all(_turned(part) and part.trail is first.trail for part in parts)
    ok = ok and [part.way for part in parts] == list(range(first.ways))
    demand(ok and first.axes[node.get("axis")] == "u", "one direction after the other")
    return replace(first, axes=first.axes.replace("u", "c"), way=None).in_order()
