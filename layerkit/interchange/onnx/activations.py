"""ONNX operators as activations, known by what they compute.

An activation has many spellings in operators: GELU alone is written with Erf, Tanh or Sigmoid, its
factors in any order. So no pattern is matched here: whatever is computed elementwise from one
tensor is evaluated on a few numbers, and the layer that gives the same values is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator

import layerkit.layers as nn
from layerkit.layer import Layer

_NEAR = np.linspace(-8, 8, 257)
_FAR = np.logspace(1, 38, 38)  # as far as float32 goes: a bound may lie anywhere
GRID = np.concatenate([_NEAR, _FAR, -_FAR]).astype(np.float32)

OPERATORS = {
    *("Abs", "Add", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish"),
    *("LeakyRelu", "Log", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "Reciprocal", "Relu"),
    *("Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh"),
}
_KNOWN = (
    *(nn.Identity(), nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.GELU(approximate=True)),
    *(nn.SiLU(), nn.Mish(), nn.SELU(), nn.HardSwish(), nn.HardSigmoid(), nn.HardTanh()),
    *(nn.Softplus(), nn.Softsign(), nn.ELU(), nn.LeakyReLU()),
)
_WITHOUT_ROUNDING = (nn.Identity, nn.ReLU, nn.HardTanh)  # they only choose

Samples = dict[str, np.ndarray]  # by the tensor that they are a function of, the nearest one last


def samples_of(node: NodeProto, inputs: Sequence[Samples | np.ndarray], opset: int) -> Samples:
    """Evaluate an elementwise operator on the grid, for every tensor that it is a function of."""
    tensors = [value for value in inputs if isinstance(value, dict)]
    constants = [value for value in inputs if isinstance(value, np.ndarray)]
    if not tensors or any(value.size != 1 for value in constants):
        return {}
    found = {}
    for source in tensors[0]:
        if all(source in samples for samples in tensors):
            values = [v[source] if isinstance(v, dict) else _scalar(v) for v in inputs]
            found[source] = run_node(node, values, opset)
    return found


def _scalar(value: np.ndarray) -> np.ndarray:
    """Return a constant without axes, of the grid's dtype where it is a float."""
    dtype = GRID.dtype if value.dtype.kind == "f" else value.dtype
    return value.reshape(()).astype(dtype)


def run_node(node: NodeProto, values: Sequence[np.ndarray], opset: int) -> Any:
    """Compute one operator on constants; in a model, as Gelu needs the types of its inputs."""
    feeds = dict(zip([name for name in node.input if name], map(np.asarray, values), strict=True))
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for name, v in feeds.items()
    ]
    outputs = [ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "operator", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    with np.errstate(all="ignore"):
        found: Any = ReferenceEvaluator(model).run(None, feeds)
    return found[0]


def layer_like(node: NodeProto, samples: np.ndarray) -> Layer | None:
    """Return a new layer that computes these values on the grid."""
    # as the attributes were written, so 0.01 rather than 0.009999999776
    attributes = {a.name: float(str(np.float32(a.f))) for a in node.attribute}
    candidates: list[Layer] = list(_KNOWN)
    if node.op_type == "LeakyRelu":
        candidates = [nn.LeakyReLU(attributes.get("alpha", 0.01))]
    elif node.op_type == "Elu":
        candidates = [nn.ELU(attributes.get("alpha", 1.0))]
    for layer in candidates:
        if _computes(layer, samples):
            return type(layer)(**layer.get_params(deep=False))
    return None


def _computes(layer: Layer, samples: np.ndarray) -> bool:
    if samples.shape != GRID.shape:
        return False
    with np.errstate(over="ignore"):
        expected = layer.infer(GRID[:, np.newaxis])[:, 0]
    # far out an expression may overflow where the layer does not, as log(1 + exp(x)) does
    told = np.isfinite(samples) | (np.abs(GRID) <= _NEAR[-1])
    tolerance = 0 if isinstance(layer, _WITHOUT_ROUNDING) else 1e-5
    return np.allclose(samples[told], expected[told], rtol=tolerance, atol=tolerance)
