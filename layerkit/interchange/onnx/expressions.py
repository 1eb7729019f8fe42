"""Layers that are spelt in several operators, known by what these compute together.

A normalization or a softmax has as many spellings as there are exporters, and so has a gated linear
unit. What the operators between two tensors make of a few random samples is compared with what a
layer makes of them: with values so small that an eps counts, about 1, and large.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import layerkit.layers as nn
from layerkit.interchange.layouts import Trail
from layerkit.layer import Layer
from layerkit.layers.normalization import Standardization

FLOATS = {TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16}
MOST_OPERATORS = 120  # that one layer is spelt in: attention, with the sizes that it is cut by
_SCALES = (1.0, 3e-3, 8.0)
_SUMS = {
    *("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"),
    *("InstanceNormalization", "GlobalAveragePool"),
}
_PARTS = {"Split", "Slice", "Gather"}
_PRODUCTS = {  # which no such layer has, and which onnx computes slowly
    *("Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum", "MaxPool", "AveragePool", "Resize"),
    *("Attention", "RNN", "GRU", "LSTM", "Loop", "Scan"),
}

Found = tuple[Layer, dict[str, np.ndarray]]


def evaluate(
    nodes: Sequence[NodeProto], feeds: Mapping[str, Any], outputs: Sequence[str], opset: int
) -> list[Any]:
    """Compute operators on arrays; in a model, as some need the types of their inputs."""
    arrays = {name: np.asarray(value) for name, value in feeds.items()}
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in arrays.items()
    ]
    infos = [helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = helper.make_graph(list(nodes), "operators", inputs, infos)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(model).run(None, arrays))


class Expression:
    """Operators that compute one tensor from another one and constants.

    Parameters
    ----------
    nodes : sequence of NodeProto
        In order; the first output of the last one is the tensor.
    source : str
        The tensor that they start from.
    constants : mapping of str to ndarray
        All else that they read.
    opset : int
    """

    def __init__(
        self, nodes: Sequence[NodeProto], source: str, constants: Mapping[str, Any], opset: int
    ) -> None:
        self.nodes, self.source, self.opset = [_in_double(node) for node in nodes], source, opset
        self.constants = {name: _double(value) for name, value in constants.items()}

    def of(self, x: np.ndarray) -> Any:
        """Return the tensor for a source; None where onnx cannot compute it."""
        feeds = {self.source: x, **self.constants}
        try:
            return evaluate(self.nodes, feeds, [self.nodes[-1].output[0]], self.opset)[0]
        except Exception:  # of many kinds: the evaluator knows no older versions
            return None

    def is_index_of(self, n_rows: int, shape: Sequence[int]) -> bool:
        """Whether it gives back whole numbers from 0 to n_rows - 1 in samples of a shape."""
        shape = [n or 1 for n in shape]  # rows of any length: of one step
        size = int(np.prod(shape))
        x = np.resize(np.arange(n_rows), (-(-n_rows // size), *shape)).astype(np.float64)
        return np.array_equal(self.of(x), x)

    def read(self, trail: Trail, n_samples: int) -> Trail | None:
        """Go on from the source through a layer that computes the tensor, if there is one.

        ``n_samples`` says for how many the model is written, 0 for any number.
        """
        operators = {node.op_type for node in self.nodes}
        if not operators & (_SUMS | _PARTS) or operators & _PRODUCTS or len(self.nodes) < 2:
            return None
        if None in trail.model_shape():
            return None
        rng = np.random.default_rng(0)
        shape = (n_samples or 2, *trail.model_shape())
        probes = [scale * (rng.standard_normal(shape) + 0.5) for scale in _SCALES]
        values = [self.of(probes[0])]
        if not _are_samples(values[0], len(probes[0])):
            return None
        for start in _starts(trail):
            for layer, arrays in self._candidates(start, bool(operators & _PARTS)):
                if not _computes(layer, arrays, start, probes[0], values[0]):
                    continue
                values[1:] = [self.of(x) for x in probes[1:]]
                pairs = zip(probes, values, strict=True)
                if all(_computes(layer, arrays, start, x, y) for x, y in pairs):
                    y = start.then(layer, **arrays).reshaped(values[0].shape[1:])
                    return y.in_order(trail.channels_first)
        return None

    def _candidates(self, trail: Trail, in_parts: bool) -> Iterator[Found]:
        """Yield what may be meant: layers, with arrays among the constants."""
        places, channels = trail.shape[:-1], trail.shape[-1] if trail.shape else 0
        if not channels:
            return
        if in_parts and channels % 2 == 0:
            yield nn.GLU(), {}
            return
        for axis in range(1, len(trail.shape) + 1):
            yield nn.Softmax(axis=axis), {}
            yield nn.LogSoftmax(axis=axis), {}
        found = [np.ravel(value) for value in self.constants.values() if value.dtype.kind == "f"]
        numbers = [float(value[0]) for value in found if value.size == 1]
        numbers += [a.f for node in self.nodes for a in node.attribute if a.name == "epsilon"]
        positive = {float(str(np.float32(number))) for number in numbers if number > 0}
        vectors = [value for value in found if value.size == channels]
        for eps in sorted(positive):
            kinds: list[Any] = [nn.LayerNorm(eps=eps), nn.RMSNorm(eps=eps)]
            if int(np.prod(places)) > 1:
                groups = [g for g in range(1, channels) if channels % g == 0]
                kinds += [nn.InstanceNorm(eps=eps), *(nn.GroupNorm(g, eps=eps) for g in groups)]
            for layer in kinds:
                for gamma in (np.ones(channels), *vectors):
                    if not isinstance(layer, Standardization):
                        yield layer, {"gamma": gamma}
                        continue
                    for beta in (np.zeros(channels), *vectors):
                        yield layer, {"gamma": gamma, "beta": beta}


def _double(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float64) if value.dtype.kind == "f" else value


def _in_double(node: NodeProto) -> NodeProto:
    """Return a node that makes any floats as one that makes float64, as all others do."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Cast" and attributes["to"] in FLOATS:
        return helper.make_node("Cast", node.input, node.output, to=TensorProto.DOUBLE)
    if node.op_type == "ConstantOfShape":
        value = attributes.get("value")
        array = np.zeros(1, np.float32) if value is None else numpy_helper.to_array(value)
        value = numpy_helper.from_array(_double(array))
        return helper.make_node("ConstantOfShape", node.input, node.output, value=value)
    return node


def _starts(trail: Trail) -> Iterator[Trail]:
    """Yield the trail in both orders, and with its last axes flattened."""
    yield trail
    other = trail.in_order(not trail.channels_first)
    if other is not trail:
        yield other
    plain = trail.with_channels_last()
    for i in range(len(plain.shape) - 1):
        yield plain.reshaped((*plain.shape[:i], math.prod(plain.shape[i:])))


def _are_samples(y: Any, n: int) -> bool:
    return isinstance(y, np.ndarray) and y.dtype.kind == "f" and y.ndim > 1 and len(y) == n


def _computes(
    layer: Any, arrays: Mapping[str, np.ndarray], start: Trail, x: np.ndarray, y: np.ndarray
) -> bool:
    """Whether the layer gives y for x, both in the model's order of axes."""
    built = type(layer)(**layer.get_params(deep=False)).build(start.shape, dtype=np.float64)
    for name, value in arrays.items():
        built.params[name][...] = value
    x = x.reshape(len(x), *start.model_shape())
    expected = built.infer(np.moveaxis(x, 1, -1) if start.channels_first else x)
    expected = np.moveaxis(expected, -1, 1) if start.channels_first else expected
    if expected.size != y.size or len(expected) != len(y):
        return False
    return np.allclose(y, expected.reshape(y.shape), rtol=1e-4, atol=1e-6)
