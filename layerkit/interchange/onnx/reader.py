"""Walking through an ONNX model, from the input to one of its tensors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

import layerkit.layers as nn
from layerkit.interchange.layouts import Trail
from layerkit.interchange.onnx import activations, image_operators, operators
from layerkit.shapes import Shape

READERS = operators.READERS | image_operators.READERS
_CHANNELS_FIRST = {
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    *("BatchNormalization", "InstanceNormalization", "GroupNormalization", "Pad"),
}
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_PASSING_ON = {
    *("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"),
}
_CHANNELS_LAST = {"Transpose", "MatMul", "Gemm", "LayerNormalization"}
_IN_PLACE = activations.OPERATORS | {"Cast", "Identity", "Dropout"}


def read_model(
    source: str | os.PathLike | ModelProto, input_shape: Shape | None, output: str | None
) -> nn.Sequential:
    """Return a built network that computes one tensor of the model."""
    return _Reader(_load(source)).read(input_shape, output)


def _load(source: str | os.PathLike | ModelProto) -> ModelProto:
    if isinstance(source, ModelProto):
        return source
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"source must be a path or an onnx.ModelProto, got {source!r}")
    try:
        return onnx.load(source)
    except OSError:
        raise
    except Exception as error:  # of protobuf, of one kind for each file format
        raise ValueError(f"source must hold an ONNX model, got {source!r}: {error}") from error


def _indices(nodes: list[NodeProto]) -> set[str]:
    """Return the tensors that Gathers alone read, as their indices, be they passed on before."""
    readers: dict[str, list[bool]] = {}
    for node in reversed(nodes):
        passed_on = node.op_type in _PASSING_ON and all(readers.get(node.output[0], [False]))
        for i, name in enumerate(node.input):
            looks_up = node.op_type == "Gather" and i == 1
            readers.setdefault(name, []).append(looks_up or (passed_on and i == 0))
    return {name for name, as_index in readers.items() if all(as_index)}


class _Reader:
    """Holds what is known of every tensor: a trail, a constant, or only its values on the grid."""

    def __init__(self, model: ModelProto) -> None:
        self.graph: GraphProto = model.graph
        self.is_ours = model.producer_name == "layerkit"  # so images are channels last
        self.opset = max((o.version for o in model.opset_import if o.domain == ""), default=17)
        if self.opset < 7:  # which broadcast along an axis that they name
            raise ValueError(f"the model must be of opset 7 or newer, got {self.opset}")
        self.constants = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.values: dict[str, Any] = dict(self.constants)
        self.samples: dict[str, activations.Samples] = {}
        self.indices: set[str] = set()
        self.n_samples = 0  # left open

    def read(self, input_shape: Shape | None, output: str | None) -> nn.Sequential:
        output = self._default_output() if output is None else output
        nodes = self._needed(output)
        self.indices = _indices(nodes)
        source = self._input(nodes)
        self.n_samples = next((d.dim_value for d in source.type.tensor_type.shape.dim), 0)
        shape, channels_first = self._shape(source, nodes, input_shape)
        self._know(source.name, Trail(shape, channels_first, start=shape))
        for node in nodes:
            try:
                self._run(node)
            except (ValueError, TypeError) as error:
                shown = f"{node.op_type} {node.name or node.output[0]!r}"
                raise ValueError(f"in {shown}: {error}") from error
        trail = self.values.get(output)
        if not isinstance(trail, Trail):
            last = f"{nodes[-1].op_type} {nodes[-1].name or output!r}"
            raise ValueError(
                f"in {last}: the tensor {output!r} does not come from the input through layers"
            )
        if self.is_ours:
            trail = trail.with_channels_last()
        kinds = {a.dtype for a in self.constants.values() if a.dtype.kind == "f"}
        return trail.network(np.float64 if np.dtype(np.float64) in kinds else np.float32)

    def _default_output(self) -> str:
        """Return the first output of floats: of a classifier, the probabilities."""
        floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
        outputs = list(self.graph.output)
        found = [o.name for o in outputs if o.type.tensor_type.elem_type in floats]
        if not found:
            names = ", ".join(o.name for o in outputs)
            raise ValueError(f"the model has no output of floats, only {names}")
        return found[0]

    def _needed(self, output: str) -> list[NodeProto]:
        """Return the nodes that the output is computed with, in order."""
        known = {name for node in self.graph.node for name in node.output}
        if output not in known:
            raise ValueError(f"output must be a computed tensor of the model, got {output!r}")
        wanted, nodes = {output}, []
        for node in reversed(self.graph.node):
            if wanted & set(node.output):
                wanted |= set(node.input)
                nodes.append(node)
        return nodes[::-1]

    def _input(self, nodes: list[NodeProto]) -> Any:
        """Return the one input that these nodes read."""
        read = {name for node in nodes for name in node.input}
        inputs = [i for i in self.graph.input if i.name in read and i.name not in self.constants]
        if len(inputs) != 1:
            names = ", ".join(i.name for i in inputs) or "none"
            raise ValueError(f"a network has one input, the model's output needs {names}")
        return inputs[0]

    def _shape(
        self, source: Any, nodes: list[NodeProto], input_shape: Shape | None
    ) -> tuple[Shape, bool]:
        """Return the shape of a sample in our layout, and whether the model has channels first."""
        dims = [d.dim_value for d in source.type.tensor_type.shape.dim]
        sizes = dims[1:]
        rank = len(sizes) if input_shape is None else len(input_shape)
        first = rank in (2, 3) and not self.is_ours
        first = first and self._begins_with_channels(source.name, nodes, rank == 3)
        if input_shape is not None:
            self._check_shape(source, input_shape, (*sizes[1:], *sizes[:1]) if first else sizes)
            return input_shape, first
        if not dims or any(n < 1 for n in sizes):
            raise ValueError(
                f"input_shape is needed, as the input {source.name!r} has sizes left open: of one "
                "sample, channels last, such as (28, 28, 1)"
            )
        return ((*sizes[1:], sizes[0]) if first else tuple(sizes)), first

    def _check_shape(self, source: Any, given: Shape, sizes: Sequence[int]) -> None:
        """Refuse a shape that differs from the sizes that the input has; 0 is left open."""
        if source.type.tensor_type.HasField("shape") and (
            len(sizes) != len(given) or any(0 < n != m for n, m in zip(sizes, given, strict=True))
        ):
            shown = ", ".join(str(n) if n > 0 else "any" for n in sizes)
            raise ValueError(
                f"input_shape must be ({shown}), which the input {source.name!r} has, got {given}"
            )

    def _begins_with_channels(self, name: str, nodes: list[NodeProto], otherwise: bool) -> bool:
        """Whether the first operators that tell take axis 1 of the input for its channels."""
        reached = {name}
        for node in nodes:
            if reached & set(node.input):
                if node.op_type in _CHANNELS_FIRST | _CHANNELS_LAST:
                    return node.op_type in _CHANNELS_FIRST
                if node.op_type in _IN_PLACE:
                    reached |= set(node.output)
        return otherwise

    def _know(self, name: str, value: Any) -> None:
        self.values[name] = value
        self.samples.setdefault(name, {})[name] = activations.GRID

    def _run(self, node: NodeProto) -> None:
        """Find out what a node's first output is."""
        if node.domain not in _DOMAINS:
            raise TypeError(f"no layer does this, of the domain {node.domain!r}")
        inputs = [self.values.get(name) if name else None for name in node.input]
        name = node.output[0]
        read: list[Any] = [value for i, value in zip(node.input, inputs, strict=True) if i]
        if node.op_type == "Shape" and isinstance(read[0], Trail):
            sizes = np.array([0, *read[0].model_shape()])  # 0: the batch, any length
            limits = {a.name: a.i for a in node.attribute}
            self.values[name] = sizes[limits.get("start") : limits.get("end")]
            return
        if all(isinstance(value, np.ndarray) for value in read):
            self.values[name] = self._computed(node, read)
            return
        if node.op_type in activations.OPERATORS and self._activation(node):
            return
        try:
            self._know(name, self._read(node, inputs))
        except ValueError:
            if not self.samples.get(name):  # otherwise perhaps a part of an activation
                raise
            self.values[name] = None

    def _computed(self, node: NodeProto, read: list[Any]) -> np.ndarray:
        """Compute an operator on constants."""
        try:
            return np.asarray(activations.run_node(node, read, self.opset))
        except Exception as error:  # of many kinds: the evaluator knows no older versions
            raise ValueError(f"onnx cannot compute it from constants: {error}") from error

    def _read(self, node: NodeProto, inputs: list[Any]) -> Trail:
        """Go on from the inputs through the layer that a node is."""
        missing = [i for i in node.input if i and self.values.get(i) is None]
        if missing:
            raise ValueError(f"its input {missing[0]!r} is an expression that no layer computes")
        if node.op_type not in READERS:
            raise ValueError("no layer does this")
        is_index = node.output[0] in self.indices
        return READERS[node.op_type](
            operators.Node(node, inputs, self.opset, is_index, self.n_samples)
        )

    def _activation(self, node: NodeProto) -> bool:
        """Recognise a layer in all that was computed elementwise up to here."""
        name = node.output[0]
        inputs = [(i, self.values.get(i)) for i in node.input if i]
        known: list[Any] = [
            v if isinstance(v, np.ndarray) else self.samples.get(i) for i, v in inputs
        ]
        if any(value is None for value in known):
            return False
        found = activations.samples_of(node, known, self.opset)
        self.samples[name] = found
        for source, values in reversed(found.items()):
            trail = self.values.get(source)
            layer = activations.layer_like(node, values)
            if isinstance(trail, Trail) and layer is not None:
                self._know(name, trail if isinstance(layer, nn.Identity) else trail.then(layer))
                return True
        return False
