"""ONNX's own node tests: what from_onnx reads computes what they expect, all else is refused.

What they feed beside the first input (weights, axes, bounds) becomes constants of the model.
"""

import copy
import re
import warnings
from collections import Counter

import numpy as np
import pytest

from layerkit.interchange import from_onnx

onnx = pytest.importorskip("onnx")
backend = pytest.importorskip("onnx.backend.test.loader")

pytestmark = pytest.mark.slow  # ONNX computes what it expects as it loads them

LEAST_READ = 370

OF_THE_MODEL = (
    "a network has one input",
    "the model has no output of floats",
    "input_shape is needed",
    "the model must be of opset 7",
)
OF_AN_OPERATOR = re.compile(r"in [A-Z]\w* '[^']*': \w.{5,300}$", re.DOTALL)


def as_array(value):
    if isinstance(value, onnx.TensorProto):
        value = onnx.numpy_helper.to_array(value)
    value = np.asarray(value)
    return value if value.dtype.kind in "biufcOUS" else value.astype(np.float32)  # float8, int4, …


def with_constants(case):
    """The model with all inputs but the first as constants; what goes in and comes out of it."""
    model = copy.deepcopy(case.model)
    (x, *others), (y, *_) = case.data_sets[0]
    first, *infos = model.graph.input
    for info, value in zip(infos, others, strict=True):
        if isinstance(value, onnx.TensorProto):
            tensor = onnx.TensorProto()
            tensor.CopyFrom(value)
            tensor.name = info.name
        else:
            tensor = onnx.numpy_helper.from_array(np.asarray(value), info.name)
        model.graph.initializer.append(tensor)
    del model.graph.input[:]
    model.graph.input.append(first)
    return model, as_array(x), as_array(y)


def computes(network, x, y):
    """Whether the network gives y for x, their channels first or last."""
    inputs = [x] if x.ndim < 3 else [x, np.moveaxis(x, 1, -1)]
    fitting = [a for a in inputs if a.shape[1:] == network.input_shape]
    outputs = [network.infer(a) for a in fitting]
    outputs += [np.moveaxis(out, -1, 1) for out in outputs if out.ndim > 2]
    alike = [out for out in outputs if out.shape == y.shape]
    tolerance = 5e-3 if y.dtype == np.float16 else 1e-3  # ONNX's own
    return any(
        np.allclose(out, y, rtol=tolerance, atol=tolerance / 10, equal_nan=True) for out in alike
    )


def cases():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = backend.load_model_tests(kind="node")
    for case in loaded:
        inputs, outputs = case.data_sets[0]
        fed = [*inputs, *outputs[:1]]
        if inputs and all(isinstance(v, np.ndarray | np.generic | onnx.TensorProto) for v in fed):
            yield case  # no sequences, and nothing that is optional


def test_every_one_is_read_right_or_refused_with_a_reason():
    found, wrong = Counter(), {}
    for case in cases():
        model, x, y = with_constants(case)
        try:
            network = from_onnx(model)
        except ValueError as error:
            found["refused"] += 1
            message = str(error)
            if not (message.startswith(OF_THE_MODEL) or OF_AN_OPERATOR.match(message)):
                wrong[case.name] = message
            continue
        found["read"] += 1
        if not computes(network, x, y):
            wrong[case.name] = "other values"
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())
    assert found["read"] >= LEAST_READ, found
