"""ONNX operators as activations, known by what they compute.

An activation has many spellings in operators: GELU alone is written with Erf, Tanh or Sigmoid, its
factors in any order. So no pattern is matched here: whatever is computed elementwise from one
tensor is evaluated on a few numbers, and the layer that gives the same values is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

import layerkit.layers as nn
from layerkit.interchange.onnx.expressions import evaluate
from layerkit.layer import Layer

_NEAR = np.linspace(-8, 8, 257)
_FAR = np.logspace(1, 38, 38)  # as far as float32 goes: a bound may lie anywhere
GRID = np.concatenate([_NEAR, _FAR, -_FAR]).astype(np.float32)

OPERATORS = {
    *("Abs", "Add", "And", "Celu", "Clip", "Div", "Elu", "Equal", "Erf", "Exp", "Gelu", "Greater"),
    *("GreaterOrEqual", "HardSigmoid", "HardSwish", "LeakyRelu", "Less", "LessOrEqual", "Log"),
    *("Max", "Min", "Mish", "Mul", "Neg", "Not", "Or", "Pow", "Reciprocal", "Relu", "Selu"),
    *("Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh", "Where"),
}
_KNOWN = (
    *(nn.Identity(), nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.GELU(approximate=True)),
    *(nn.SiLU(), nn.Mish(), nn.SELU(), nn.HardSwish(), nn.HardSigmoid(), nn.HardTanh()),
    *(nn.Softplus(), nn.Softsign(), nn.ELU(), nn.LeakyReLU()),
)
_WITHOUT_ROUNDING = (nn.Identity, nn.ReLU, nn.HardTanh)  # they only choose
_FARTHEST = float(np.finfo(np.float32).max)

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
            names = [name for name in node.input if name]
            feeds = dict(zip(names, values, strict=True))
            found[source] = np.asarray(evaluate([node], feeds, node.output[:1], opset)[0])
    return found


def _scalar(value: np.ndarray) -> np.ndarray:
    """Return a constant without axes, of the grid's dtype where it is a float."""
    dtype = GRID.dtype if value.dtype.kind == "f" else value.dtype
    return value.reshape(()).astype(dtype)


def layer_like(node: NodeProto, samples: np.ndarray) -> Layer | None:
    """Return a new layer that computes these values on the grid."""
    if samples.shape != GRID.shape or samples.dtype.kind != "f":
        return None
    # as the attributes were written, so 0.01 rather than 0.009999999776
    attributes = {a.name: float(str(np.float32(a.f))) for a in node.attribute}
    candidates: list[Layer] = [*_KNOWN, *_with_its_numbers(samples)]
    if node.op_type == "LeakyRelu":
        candidates = [nn.LeakyReLU(attributes.get("alpha", 0.01))]
    elif node.op_type == "Elu":
        candidates = [nn.ELU(attributes.get("alpha", 1.0))]
    for layer in candidates:
        if _computes(layer, samples):
            return type(layer)(**layer.get_params(deep=False))
    return None


def _with_its_numbers(samples: np.ndarray) -> list[Layer]:
    """Return the functions with hyper-parameters, with those that these values would come from."""
    at = dict(zip(GRID.tolist(), samples.tolist(), strict=True))
    slope, alpha = (float(f"{a:.6g}") for a in (-at[-1.0], -at[-8.0] / -np.expm1(-8)))
    low, high = (float(str(np.float32(bound))) for bound in (samples.min(), samples.max()))
    candidates: list[Layer] = []
    if 0 <= slope < np.inf:
        candidates.append(nn.LeakyReLU(slope))
    if 0 < alpha < np.inf:
        candidates.append(nn.ELU(alpha))
    if 0 < -low == high < _FARTHEST:
        candidates.append(nn.SmoothClip(float(f"{high:.6g}")))
    if low < high:
        far = GRID.max()
        bounds = (-_FARTHEST if low <= -far else low), (_FARTHEST if high >= far else high)
        candidates.append(nn.HardTanh(low=bounds[0], high=bounds[1]))
    return candidates


def _computes(layer: Layer, samples: np.ndarray) -> bool:
    with np.errstate(over="ignore"):
        expected = layer.infer(GRID[:, np.newaxis])[:, 0]
    # far out an expression may overflow where the layer does not, as log(1 + exp(x)) does
    told = np.isfinite(samples) | (np.abs(GRID) <= _NEAR[-1])
    if isinstance(layer, nn.LeakyReLU):  # one product
        return np.allclose(samples[told], expected[told], rtol=1e-6, atol=0)
    tolerance = 0 if isinstance(layer, _WITHOUT_ROUNDING) else 1e-5
    return np.allclose(samples[told], expected[told], rtol=tolerance, atol=tolerance)
