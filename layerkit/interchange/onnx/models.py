"""Networks and estimators as whole ONNX models: their outputs are what they predict."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import (
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    TensorProto,
    ValueInfoProto,
    checker,
    helper,
)

from layerkit import losses
from layerkit.estimators.targets import Labels, Multilabel, MultiOutput, Numbers, Target, target_of
from layerkit.interchange.onnx import attention, recurrent  # noqa: F401, they add layers
from layerkit.interchange.onnx.graph import OPSET, Graph, Value, dtype_in_onnx
from layerkit.interchange.onnx.writer import emit
from layerkit.layer import Layer
from layerkit.shapes import Shape
from layerkit.version import __version__


def convert(model: Any) -> ModelProto:
    """Write a built network or a fitted estimator of ours: input "X".

    A network's output is "output", the raw outputs; an estimator's are as those of skl2onnx.
    """
    g, is_network = Graph(), isinstance(model, Layer)
    network = model if is_network else model.network_
    raw = write_network(g, network, Value("X", network.input_shape))
    if is_network:
        outputs = [Output("output", raw.shape, tensor=raw.name)]
    else:
        outputs = write_predictions(g, target_of(model), raw)
    return whole_model(g, [_info("X", np.dtype(np.float32), network.input_shape)], outputs)


def whole_model(
    g: Graph, inputs: list[ValueInfoProto], outputs: list[Output], *opsets: OperatorSetIdProto
) -> ModelProto:
    """Make a model of a graph; ``opsets`` are those of operators beside the usual ones."""
    nodes = [*g.nodes, *(renaming(output, output.name) for output in outputs)]
    infos = [_info(output.name, output.dtype, output.shape) for output in outputs]
    graph = helper.make_graph(nodes, "layerkit", inputs, infos, g.constants)
    imports = [helper.make_opsetid("", OPSET), *opsets]
    version = helper.find_min_ir_version_for(imports)
    converted = helper.make_model(graph, opset_imports=imports, ir_version=version)
    checker.check_model(converted, full_check=True)
    return converted


def renaming(output: Output, name: str) -> NodeProto:
    """Return the node that gives an output its public name."""
    return helper.make_node("Identity", [output.tensor], [name], name=f"{name}.Identity")


def sign(model: ModelProto, source: Any) -> ModelProto:
    """Write who made the model, and what its inputs and classes are called."""
    model.producer_name = "layerkit"
    model.producer_version = __version__
    names = {"classes": "classes_", "feature_names": "feature_names_in_"}
    held = {name: getattr(source, attribute, None) for name, attribute in names.items()}
    named = {name: _as_json(value) for name, value in held.items() if value is not None}
    helper.set_model_props(model, {"layerkit_version": __version__, **named})
    return model


def _as_json(names: Any) -> str:
    is_several = isinstance(names, list)  # of several outputs
    plain = [part.tolist() for part in names] if is_several else names.tolist()
    return json.dumps(plain, default=str)


def _info(name: str, dtype: np.dtype, shape: Shape) -> ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    return helper.make_tensor_value_info(name, kind, ["n_samples", *shape])


class Output:
    """One output of a model: its public name, shape of a sample, numpy dtype, and its tensor."""

    def __init__(self, name: str, shape: Shape, dtype: Any = np.float32, tensor: str = "") -> None:
        self.name, self.shape, self.tensor = name, shape, tensor
        self.dtype = np.dtype(dtype)


def write_network(g: Graph, network: Layer, x: Value) -> Value:
    """Write a network; return its raw outputs, in our layout."""
    raw = g.channels_last(emit(g, network, x))
    g.place = g.prefix
    return raw


def write_predictions(
    g: Graph, target: Target, raw: Value, raw_scores: bool = False, both_sides: bool = False
) -> list[Output]:
    """Write what an estimator makes of its network's raw outputs; return the model's outputs.

    Parameters
    ----------
    g : Graph
    target : Target
        Of the estimator.
    raw : Value
    raw_scores : bool, default=False
        Write what decision_function gives also where there are probabilities.
    both_sides : bool, default=False
        Write the score of each of two classes, not of the second alone.
    """
    if target.of_steps:
        raise TypeError(
            "an estimator of targets of every step has no ONNX form, but its network has: "
            "to_onnx(estimator.network_)"
        )
    if isinstance(target, Labels):
        return _labels(g, target, raw, raw_scores, both_sides)
    return _WRITERS[type(target)](g, target, raw)


def _labels(g: Graph, target: Any, raw: Value, raw_scores: bool, both_sides: bool) -> list[Output]:
    """Write one class for each row."""
    if raw.shape == (1,):
        best = g.node("Squeeze", positive(g, raw), np.array([1]))
    else:
        best = g.node("ArgMax", raw, axis=1, keepdims=0)
    label = Output("label", (), dtype_in_onnx(target.classes), decode(g, target.classes, best))
    if raw_scores or target.loss.scores != "logits":
        return [label, _scores(g, target, raw, both_sides)]
    n_classes = len(target.classes)
    return [label, Output("probabilities", (n_classes,), tensor=_probabilities(g, target, raw))]


def _probabilities(g: Graph, target: Any, raw: Value) -> str:
    if len(target.classes) == 1:  # the softmax of one number is 1
        return g.node("Softmax", g.node("Gather", raw, np.array([0]), axis=1), axis=1)
    logits: Value | str = raw
    if target.link == "sigmoid":
        logits = g.node("MatMul", raw, np.array([[0.0, 1.0]]))  # a single logit is that of class 1
    elif target.link == "softmax of log-sigmoids":
        logits = g.node("Neg", g.node("Softplus", g.node("Neg", raw)))
    return g.node("Softmax", logits, axis=1)


def _scores(g: Graph, target: Any, raw: Value, both_sides: bool) -> Output:
    """Write what decision_function returns."""
    if raw.shape == (2,) and len(target.classes) == 2:
        raw = Value(g.node("MatMul", raw, np.array([[-1.0], [1.0]])), (1,))
    if raw.shape == (1,) and both_sides:
        raw = Value(g.node("MatMul", raw, np.array([[-1.0, 1.0]])), (2,))
    return Output("scores", raw.shape, tensor=raw.name)


def _multilabel(g: Graph, target: Any, raw: Value) -> list[Output]:
    label = Output("label", raw.shape, np.int64, positive(g, raw))
    if target.loss.scores != "logits":
        return [label, Output("scores", raw.shape, tensor=raw.name)]
    return [label, Output("probabilities", raw.shape, tensor=g.node("Sigmoid", raw))]


def _multi_output(g: Graph, target: Any, raw: Value) -> list[Output]:
    sizes = np.array(target.sizes)
    parts = g.nodes_outputs("Split", raw, sizes, n_outputs=len(sizes), axis=1)
    dtype = np.result_type(*target.classes)
    columns, outputs = [], []
    for i, (classes, part) in enumerate(zip(target.classes, parts, strict=True)):
        known = g.node("Gather", part, np.arange(len(classes)), axis=1)
        best = g.node("ArgMax", known, axis=1, keepdims=1)
        columns.append(decode(g, classes.astype(dtype), best))
        p = g.node("Softmax", known, axis=1)
        outputs.append(Output(f"probabilities_{i}", (len(classes),), tensor=p))
    label = g.node("Concat", *columns, axis=1)
    kind = dtype_in_onnx(target.classes[0].astype(dtype))
    chosen = Output("label", (len(sizes),), kind, label)
    return [chosen, *(outputs if target.loss.scores == "logits" else [])]


def _numbers(g: Graph, target: Any, raw: Value) -> list[Output]:
    if isinstance(target.loss, losses.GaussianNLL):
        half = raw.shape[-1] // 2
        mean, log_var = g.nodes_outputs("Split", raw, n_outputs=2, axis=-1)
        std = g.node("Exp", g.node("Mul", log_var, np.array(0.5)))
        shape = (*raw.shape[:-1], half)
        return [Output("variable", shape, tensor=mean), Output("std", shape, tensor=std)]
    return [Output("variable", raw.shape, tensor=g.node(inverse_link(target), raw))]


def inverse_link(target: Target) -> str:
    """Return the operator that makes numbers of raw outputs."""
    op = {"identity": "Identity", "exp": "Exp", "sigmoid": "Sigmoid"}.get(target.link or "")
    if op is None:
        raise TypeError(f"{type(target.loss).__name__}.inverse_link has no ONNX form")
    return op


_WRITERS: dict[type[Target], Callable[[Graph, Any, Value], list[Output]]] = {
    Multilabel: _multilabel,
    MultiOutput: _multi_output,
    Numbers: _numbers,
}


def positive(g: Graph, raw: Value) -> str:
    """Write 1 where raw > 0, else 0, as integers."""
    return g.node("Cast", g.node("Greater", raw, np.array(0.0)), to=TensorProto.INT64)


def decode(g: Graph, classes: np.ndarray, index: str) -> str:
    """Write the classes at these positions; a single class stands at every position."""
    table = classes if len(classes) > 1 else np.repeat(classes, 2)
    if dtype_in_onnx(classes).kind == "O":
        table = table.astype(str)
    return g.node("Gather", table, index, axis=0)
