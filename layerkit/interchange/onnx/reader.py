"""Walking through an ONNX model, from the input to one of its tensors."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

import layerkit.layers as nn
from layerkit.interchange.layouts import Trail
from layerkit.interchange.onnx import (
    activations,
    attention,
    expressions,
    image_operators,
    operators,
    pooling_operators,
    recurrent_operators,
)
from layerkit.interchange.onnx.expressions import evaluate
from layerkit.interchange.onnx.recurrent_operators import Turned
from layerkit.shapes import Shape

READERS = (
    operators.READERS
    | image_operators.READERS
    | pooling_operators.READERS
    | attention.READERS
    | recurrent_operators.READERS
)
_CHANNELS_FIRST = {
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
    *("BatchNormalization", "InstanceNormalization", "GroupNormalization"),
}
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
_OF_STEPS = {"RNN", "GRU", "LSTM", "Attention"}
_CHANNELS_LAST = {"Transpose", "MatMul", "Gemm", "LayerNormalization"}
_IN_PLACE = activations.OPERATORS | {"Cast", "CastLike", "Identity", "Dropout", "Pad"}


def read_model(
    source: str | os.PathLike | ModelProto, input_shape: Shape | None, output: str | None
) -> nn.Sequential:
    """Return a built network that computes one tensor of the model."""
    return _Reader(_load(source)).read(input_shape, output)


def _load(source: str | os.PathLike | ModelProto) -> ModelProto:
    if isinstance(source, ModelProto):
        return source
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"source must be a path or an onnx.ModelProto, got {reprlib.repr(source)}")
    try:
        return onnx.load(source)
    except OSError:
        raise
    except Exception as error:  # of protobuf, of one kind for each file format
        raise ValueError(f"source must hold an ONNX model, got {source!r}: {error}") from error


class _Reader:
    """Holds what is known of every tensor: a trail, a constant, or only why it is neither."""

    def __init__(self, model: ModelProto) -> None:
        self.graph: GraphProto = model.graph
        self.is_ours = model.producer_name == "layerkit"  # so images are channels last
        self.opset = max((o.version for o in model.opset_import if o.domain == ""), default=17)
        if self.opset < 7:  # which broadcast along an axis that they name
            raise ValueError(f"the model must be of opset 7 or newer, got {self.opset}")
        self.constants = {t.name: numpy_helper.to_array(t) for t in self.graph.initializer}
        self.values: dict[str, Any] = dict(self.constants)
        self.reasons: dict[str, str] = {}  # why a tensor is neither trail nor constant
        self.samples: dict[str, activations.Samples] = {}
        self.nodes = list(self.graph.node)
        self.makers = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self.of_shapes: set[str] = set()  # constants that depend on the number of samples
        self.n_samples = 0  # left open

    def read(self, input_shape: Shape | None, output: str | None) -> nn.Sequential:
        output = self._default_output() if output is None else output
        nodes = attention.gathered(self._needed(output), self.constants)
        source = self._input(nodes)
        self.n_samples = next((d.dim_value for d in source.type.tensor_type.shape.dim), 0)
        shape, channels_first = self._shape(source, nodes, input_shape)
        self._know(source.name, Trail(shape, channels_first, start=shape))
        for node in nodes:
            self._run(node)
        trail = self.values.get(output)
        if not isinstance(trail, Trail):
            raise ValueError(self._why_not(output))
        if self.is_ours:
            trail = trail.with_channels_last()
        kinds = {a.dtype for a in self.constants.values() if a.dtype.kind == "f"}
        return trail.network(np.float64 if np.dtype(np.float64) in kinds else np.float32)

    def _why_not(self, output: str) -> str:
        reason = f"the tensor {output!r} does not come from the input through layers"
        return self.reasons.get(output) or f"in {_shown(self.nodes[self.makers[output]])}: {reason}"

    def _default_output(self) -> str:
        """Return the first output of floats: of a classifier, the probabilities."""
        floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16)
        outputs = list(self.graph.output)
        found = [o.name for o in outputs if o.type.tensor_type.elem_type in floats]
        if found:
            return found[0]
        names = [o.name for o in outputs]
        maps = [n for n in self.nodes if n.op_type == "ZipMap" and n.output[0] in names]
        before = "".join(f"; ZipMap makes {n.output[0]!r} of output={n.input[0]!r}" for n in maps)
        raise ValueError(f"the model has no output of floats, only {', '.join(names)}{before}")

    def _needed(self, output: str) -> list[NodeProto]:
        """Return the nodes that the output is computed with, in order."""
        known = {name for node in self.nodes for name in node.output}
        if output not in known:
            raise ValueError(f"output must be a computed tensor of the model, got {output!r}")
        wanted, nodes = {output}, []
        for node in reversed(self.nodes):
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
    ) -> tuple[Any, bool]:
        """Return the shape of a sample in our layout, and whether the model has channels first."""
        dims = [d.dim_value for d in source.type.tensor_type.shape.dim]
        sizes = dims[1:]
        reading = {node.op_type for node in nodes}
        rank = len(sizes) if input_shape is None else len(input_shape)
        first = rank in (2, 3) and not self.is_ours
        first = first and self._begins_with_channels(source.name, nodes, rank == 3)
        if input_shape is not None:
            self._check_shape(source, input_shape, (*sizes[1:], *sizes[:1]) if first else sizes)
            return input_shape, first
        of_steps = self.is_ours or (len(sizes) == 2 and not first and _OF_STEPS & reading)
        if of_steps and len(sizes) in (1, 2) and sizes[0] < 1 and all(n > 0 for n in sizes[1:]):
            return (None, *sizes[1:]), first  # rows of any number of steps
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
                padded = self._padded_axes(node) if node.op_type == "Pad" else []
                if padded and padded[1] != padded[-1]:
                    return padded[-1]
                if node.op_type in _IN_PLACE:
                    reached |= set(node.output)
        return otherwise

    def _padded_axes(self, node: NodeProto) -> list[bool]:
        """Whether each axis is padded; nothing where the model does not say it."""
        given: Any = {a.name: list(a.ints) for a in node.attribute}.get("pads")
        if given is None and len(node.input) < 4:
            given = self.constants.get(node.input[1])
        if given is None:
            return []
        starts, ends = np.split(np.asarray(given) != 0, 2)
        return list(starts | ends)

    def _know(self, name: str, value: Any) -> None:
        self.values[name] = value
        self.samples.setdefault(name, {})[name] = activations.GRID

    def _run(self, node: NodeProto) -> None:
        """Find out what a node's outputs are, or note why not."""
        try:
            found = self._outputs(node)
        except (ValueError, TypeError) as error:
            trail = self._spelt_out(node)
            found = [] if trail is None else [trail]
            reason = f"in {_shown(node)}: {error}"
        else:
            reason = f"in {_shown(node)}: only its first output comes through layers"
        for name, value in zip(node.output, found, strict=False):
            if isinstance(value, Trail):
                self._know(name, value)
            else:
                self.values[name] = value
        if found:
            self.reasons.update(dict.fromkeys(node.output[len(found) :], reason))
            return
        is_expression = node.op_type in activations.OPERATORS and node.op_type not in READERS
        is_expression = is_expression and node.domain in _DOMAINS
        reason = "" if is_expression else reason
        unread = [i for i in node.input if i and self.values.get(i) is None]
        if node.op_type == "Attention":  # which says more than what comes before it
            reason, unread = f"in {_shown(node)}: {attention.ONLY_SO}", []
        first = next((self.reasons[i] for i in unread if self.reasons.get(i)), "")
        self.reasons.update(dict.fromkeys(node.output, first or reason))

    def _outputs(self, node: NodeProto) -> list[Any]:
        """Return constants, or trails through the layers that a node is."""
        if node.domain not in _DOMAINS:
            raise TypeError(f"no layer does this, of the domain {node.domain!r}")
        inputs = [self.values.get(name) if name else None for name in node.input]
        read: list[Any] = [value for i, value in zip(node.input, inputs, strict=True) if i]
        if node.op_type == "Shape" and isinstance(read[0], Trail | Turned):
            return [self._sizes(node, read[0])]
        if all(isinstance(value, np.ndarray) for value in read):
            return self._computed(node)
        if node.op_type in activations.OPERATORS and (trail := self._activation(node)):
            return [trail]
        if node.op_type == "Gather" and isinstance(inputs[0], np.ndarray):
            inputs[1] = self._index(node, len(inputs[0]))
        missing = [i for i, value in zip(node.input, inputs, strict=True) if i and value is None]
        if missing:
            raise ValueError(f"its input {missing[0]!r} is an expression that no layer computes")
        if node.op_type == "ZipMap":
            raise ValueError(f"it gives no tensor: say output={node.input[0]!r}, which it reads")
        if node.op_type not in READERS:
            raise ValueError("no layer does this")
        in_groups = node.op_type == "Reshape" and _ends_in_groups(inputs[0])
        if in_groups and (trail := self._spelt_out(node)):
            return [trail]
        found = READERS[node.op_type](operators.Node(node, inputs, self.opset, self.n_samples))
        return list(found) if type(found) in (list, tuple) else [found]

    def _sizes(self, node: NodeProto, tensor: Trail | Turned) -> np.ndarray:
        """Return the sizes of a tensor, 0 for any number of samples or steps."""
        sizes = np.array([n or 0 for n in tensor.model_sizes(self.n_samples)])
        limits = {a.name: a.i for a in node.attribute}
        self.of_shapes.add(node.output[0])
        return sizes[limits.get("start") : limits.get("end")]

    def _computed(self, node: NodeProto) -> list[Any]:
        """Compute an operator on constants."""
        names = [name for name in node.output if name]
        if self.of_shapes & set(node.input):
            self.of_shapes.update(names)
        feeds = {name: self.values[name] for name in node.input if name}
        try:
            found = dict(zip(names, evaluate([node], feeds, names, self.opset), strict=True))
        except Exception as error:  # of many kinds: the evaluator knows no older versions
            raise ValueError(f"onnx cannot compute it from constants: {error}") from error
        return [np.asarray(found[name]) if name else None for name in node.output]

    # ---------------------------------------------------------------- several operators together

    def _activation(self, node: NodeProto) -> Trail | None:
        """Recognise a layer in all that was computed elementwise up to here."""
        name = node.output[0]
        inputs = [(i, self.values.get(i)) for i in node.input if i]
        known: list[Any] = [
            v if isinstance(v, np.ndarray) else self.samples.get(i) for i, v in inputs
        ]
        if any(value is None for value in known):
            return None
        found = activations.samples_of(node, known, self.opset)
        self.samples[name] = found
        for source, values in found.items():
            trail = self.values.get(source)
            layer = activations.layer_like(node, values)
            if isinstance(trail, Trail) and layer is not None:
                return trail if isinstance(layer, nn.Identity) else trail.then(layer)
        return None

    def _spelt_out(self, node: NodeProto) -> Trail | None:
        """Recognise a layer in the operators that lead here from some tensor."""
        for source in self._sources(node):
            expression = self._between(source, node)
            if expression is None:
                continue
            start = self.values[source]
            trail = expression.read(start, self.n_samples) or attention.read_attention(
                expression, start, self.n_samples
            )
            if trail is not None:
                return trail
        return None

    def _index(self, node: NodeProto, n_rows: int) -> Trail | None:
        """Return the trail of whole numbers that a Gather looks up, be they passed on before."""
        index = node.input[1]
        if isinstance(self.values.get(index), Trail):
            return self.values[index]
        if index not in self.makers:
            return None
        maker = self.nodes[self.makers[index]]
        for source in self._sources(maker):
            expression, trail = self._between(source, maker), self.values[source]
            if expression and expression.is_index_of(n_rows, trail.model_shape()):
                return trail
        return None

    def _sources(self, node: NodeProto) -> list[str]:
        """Return trails near before a node, the nearest first."""
        seen, found, wanted = {node.output[0]}, [], list(node.input)
        for name in wanted:
            if name in seen or len(seen) > expressions.MOST_OPERATORS:
                continue
            seen.add(name)
            if isinstance(self.values.get(name), Trail):
                found.append(name)
            if name in self.makers and not isinstance(self.values.get(name), np.ndarray):
                wanted.extend(self.nodes[self.makers[name]].input)
        return found

    def _between(self, source: str, node: NodeProto) -> expressions.Expression | None:
        """Return the operators from a tensor to a node, if nothing else enters into them."""
        end = next(self.makers[name] for name in node.output if name)
        places, constants, wanted = {end}, {}, list(node.input)
        for name in wanted:
            value = self.values.get(name)
            if isinstance(value, np.ndarray) and name not in self.of_shapes:
                constants[name] = value
            elif name and name != source:
                maker = self.makers.get(name)
                if maker is None or len(places) > expressions.MOST_OPERATORS:
                    return None
                if maker not in places:
                    places.add(maker)
                    wanted.extend(self.nodes[maker].input)
        nodes = [self.nodes[i] for i in sorted(places)]
        return expressions.Expression(nodes, source, constants, self.opset)


def _ends_in_groups(trail: Any) -> bool:
    """Whether it was normalized in groups, each as one channel, as a GroupNorm is written."""
    layers = trail.layers if isinstance(trail, Trail) else ()
    return bool(layers) and isinstance(layers[-1], nn.InstanceNorm)


def _shown(node: NodeProto) -> str:
    return f"{node.op_type} {node.name or node.output[0]!r}"
