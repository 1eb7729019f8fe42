"""An ONNX graph while it is being written."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from layerkit.interchange.layouts import axes_of_order, model_axis
from layerkit.shapes import Shape

OPSET = 17


class Value(NamedTuple):
    """A tensor of the graph: what a layer reads or gives.

    ``shape`` is that of one sample in our layout, channels last. In the graph the channels may come
    first, which is what convolutions and pooling ask for; nothing is transposed until a layer needs
    the other order, so a stack of convolutions has one Transpose before it and one after.
    """

    name: str
    shape: Shape
    channels_first: bool = False

    def axis(self, axis: int) -> int:
        """Where an axis of our layout (the batch is 0) lies in the graph."""
        return model_axis(axis, self.shape, self.channels_first)


class Graph:
    """Collects nodes and constants, and gives them names.

    Parameters
    ----------
    prefix : str
        Begins every name, so that several networks fit into one model.
    """

    def __init__(self, prefix: str = "") -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.prefix = self.place = prefix
        self._names: Counter[str] = Counter()
        self._transposed: dict[tuple[str, bool], Value] = {}

    def node(self, op: str, *inputs: Value | np.ndarray | str | None, **attributes: Any) -> str:
        """Append a node with one output, whose name is returned.

        Arrays become constants; an input that is None is left out, as the last ones may be.
        """
        return self.nodes_outputs(op, *inputs, n_outputs=1, **attributes)[0]

    def nodes_outputs(
        self, op: str, *inputs: Value | np.ndarray | str | None, n_outputs: int, **attributes: Any
    ) -> list[str]:
        """Append a node with several outputs, whose names are returned."""
        names = [self._input(value) for value in inputs if value is not None]
        outputs = [self._name(op) for _ in range(n_outputs)]
        self.nodes.append(helper.make_node(op, names, outputs, name=outputs[0], **attributes))
        return outputs

    def like(self, x: Value, op: str, *inputs: Any, **attributes: Any) -> Value:
        """Append a node whose output is shaped and laid out as x; without ``inputs`` of x."""
        return x._replace(name=self.node(op, *(inputs or (x,)), **attributes))

    def reshape(self, x: Value, shape: Shape) -> Value:
        """Give every sample another shape, in our order of its values."""
        x = self.channels_last(x)
        return Value(self.node("Reshape", x, np.array([0, *shape])), tuple(shape))

    def channels_first(self, x: Value) -> Value:
        """Return x with the channels first in the graph (of two axes or more)."""
        return self.in_order(x, True)

    def channels_last(self, x: Value) -> Value:
        """Return x in our layout."""
        return self.in_order(x, False)

    def in_order(self, x: Value, channels_first: bool) -> Value:
        """Return x with the channels first or last in the graph."""
        if len(x.shape) < 2 or x.channels_first == channels_first:
            return x
        key = (x.name, channels_first)
        if key not in self._transposed:
            axes = axes_of_order(x.shape, channels_first)
            turned = Value(self.node("Transpose", x, perm=axes), x.shape, channels_first)
            self._transposed[key] = turned
            self._transposed[turned.name, x.channels_first] = x
        return self._transposed[key]

    def per_channel(self, x: Value, values: np.ndarray) -> np.ndarray:
        """Shape one value per channel so that it broadcasts against x."""
        return values.reshape(-1, *[1] * (len(x.shape) - 1)) if x.channels_first else values

    def constant(self, array: np.ndarray) -> str:
        """Append a constant: integers as int64, other numbers as float32, else text."""
        kind = dtype_in_onnx(array)
        name = self._name("constant")
        tensor: np.ndarray = np.ascontiguousarray(array.astype(kind)).reshape(array.shape)
        self.constants.append(numpy_helper.from_array(tensor, name))
        return name

    def _input(self, value: Value | np.ndarray | str) -> str:
        if isinstance(value, Value):
            return value.name
        return value if isinstance(value, str) else self.constant(value)

    def _name(self, kind: str) -> str:
        name = f"{self.place}.{kind}".strip(".")
        self._names[name] += 1
        count = self._names[name]
        return name if count == 1 else f"{name}_{count}"


def dtype_in_onnx(array: np.ndarray) -> np.dtype:
    """Return int64 for integers, float32 for other numbers, else that of text, object."""
    kinds: dict[str, type] = {"i": np.int64, "u": np.int64, "b": np.int64, "f": np.float32}
    return np.dtype(kinds.get(array.dtype.kind, object))


def number(value: float) -> np.ndarray:
    """Return a constant without axes."""
    return np.array(value, np.float32)
