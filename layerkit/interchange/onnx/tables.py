"""Tabular estimators as ONNX models: the table is read, members run, their average comes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper

from layerkit import losses
from layerkit.estimators.tabular.columns import CategoryColumn, Column, NumberColumn
from layerkit.estimators.targets import Labels, Multilabel, Numbers
from layerkit.interchange.onnx.graph import OPSET, Graph, Value, dtype_in_onnx
from layerkit.interchange.onnx.models import Output, decode, renaming, write_network

_OF_LABELS = helper.make_opsetid("ai.onnx.ml", 3)


def convert_tabular(model: Any) -> ModelProto:
    """Write a fitted estimator of tables: an input for each column, outputs as skl2onnx has them.

    Numbers are float32, NaN where they are missing; text is strings, "" where it is missing.
    """
    g, inputs, features = Graph("layerkit"), [], []  # a prefix that no column's name has
    for column in model.encoder_.columns_:
        kind = TensorProto.STRING if _is_text(column) else TensorProto.FLOAT
        inputs.append(helper.make_tensor_value_info(column.name, kind, ["n_samples", 1]))
        if column.names:
            features.append(_read(g, column))
    table = g.node("Concat", *features, axis=1) if len(features) > 1 else features[0]
    raw = []
    for i, network in enumerate(model.networks_):
        g.prefix = g.place = f"layerkit.member_{i + 1}"
        raw.append(write_network(g, network, Value(table, network.input_shape)))
    g.prefix = g.place = "layerkit.mean"
    outputs = _write_predictions(g, model, raw)
    names = [column.name for column in model.encoder_.columns_]
    if taken := [output.name for output in outputs if output.name in names]:
        raise ValueError(f"a column is called {taken[0]!r}, as an output is: give it another name")
    infos = [
        helper.make_tensor_value_info(
            o.name, helper.np_dtype_to_tensor_dtype(o.dtype), ["n_samples", *o.shape]
        )
        for o in outputs
    ]
    nodes = [*g.nodes, *(renaming(output, output.name) for output in outputs)]
    graph = helper.make_graph(nodes, "layerkit", inputs, infos, g.constants)
    opsets = [helper.make_opsetid("", OPSET), _OF_LABELS]
    version = helper.find_min_ir_version_for(opsets)
    converted = helper.make_model(graph, opset_imports=opsets, ir_version=version)
    checker.check_model(converted, full_check=True)
    return converted


def _is_text(column: Column) -> bool:
    return isinstance(column, CategoryColumn) and all(isinstance(v, str) for v in column.levels)


def _read(g: Graph, column: Column) -> str:
    """Write the features of a column."""
    if isinstance(column, NumberColumn):
        return _numbers(g, column)
    if isinstance(column, CategoryColumn):
        return _categories(g, column)
    raise TypeError(f"column {column.name!r}: dates have no ONNX form; give their parts as numbers")


def _numbers(g: Graph, column: NumberColumn) -> str:
    missing = g.node("IsNaN", column.name)
    center, scale = (np.array([[v]], np.float32) for v in (column.center, column.scale))
    known = g.node("Where", missing, center, column.name)
    parts = [g.node("Mul", g.node("Sub", known, center), scale)] * column.varies
    parts += [g.node("Cast", missing, to=TensorProto.FLOAT)] * column.has_missing
    return g.node("Concat", *parts, axis=1)


def _categories(g: Graph, column: CategoryColumn) -> str:
    if _is_text(column):
        keys: dict[str, Any] = {"keys_strings": column.levels}
    elif all(isinstance(v, bool | int | float) for v in column.levels):
        keys = {"keys_floats": list(map(float, column.levels))}
    else:
        raise TypeError(f"column {column.name!r}: text beside numbers has no ONNX form")
    codes = list(range(1, len(column.levels) + 1))
    code = g.node(
        "LabelEncoder",
        column.name,
        domain=_OF_LABELS.domain,
        values_int64s=codes,
        default_int64=0,
        **keys,
    )
    if column.n_codes:
        return g.node("Cast", code, to=TensorProto.FLOAT)
    if len(column.levels) == 2:
        table = np.array([[0.0], [-1.0], [1.0]])
    else:
        table = np.eye(len(column.levels) + 1)[:, 1:]
    return g.node("Gather", table, g.node("Squeeze", code, np.array([1])), axis=0)


# ---------------------------------------------------------------- what the members say together


def _write_predictions(g: Graph, model: Any, raw: list[Value]) -> list[Output]:
    target = model._target
    if isinstance(target, Numbers):
        return [_mean_of_numbers(g, target, raw)]
    if isinstance(target, Labels):
        return _mean_of_labels(g, target, raw, model.temperature_)
    if isinstance(target, Multilabel):
        proba = _mean(g, raw, lambda r: g.node("Sigmoid", r))
        half = g.node("Greater", proba, np.array(0.5))
        shape, label = raw[0].shape, g.node("Cast", half, to=TensorProto.INT64)
        labels = Output("label", shape, np.int64, label)
        return [labels, Output("probabilities", shape, tensor=proba)]
    raise TypeError(f"{type(model).__name__} of several columns of classes has no ONNX form")


def _mean(g: Graph, raw: list[Value], prediction: Callable[[Value], str]) -> str:
    return g.node("Mean", *map(prediction, raw))


def _mean_of_labels(g: Graph, target: Any, raw: list[Value], temperature: float) -> list[Output]:
    n_classes = len(target.classes)
    known = np.arange(n_classes)
    proba = _mean(g, raw, lambda r: g.node("Softmax", g.node("Gather", r, known, axis=1), axis=1))
    least = np.array(np.finfo(np.float32).tiny)
    log_proba = g.node("Log", g.node("Max", proba, least))
    proba = g.node("Softmax", g.node("Div", log_proba, np.array(temperature)), axis=1)
    best = g.node("ArgMax", proba, axis=1, keepdims=0)
    label = Output("label", (), dtype_in_onnx(target.classes), decode(g, target.classes, best))
    return [label, Output("probabilities", (n_classes,), tensor=proba)]


def _mean_of_numbers(g: Graph, target: Any, raw: list[Value]) -> Output:
    is_normal = isinstance(target.loss, losses.GaussianNLL)
    links = {"identity": "Identity", "exp": "Exp", "sigmoid": "Sigmoid"}
    op = "Identity" if is_normal else links.get(target.link, "")
    if not op:
        raise TypeError(f"{type(target.loss).__name__}.inverse_link has no ONNX form")
    shape = target.target_shape if is_normal else raw[0].shape
    own = (-1, *[1] * (len(shape) - 1))
    center, scale = target.center.reshape(own), target.scale.reshape(own)

    def prediction(r: Value) -> str:
        if is_normal:
            r = r._replace(name=g.nodes_outputs("Split", r, n_outputs=2, axis=-1)[0])
        y = g.node("Add", g.node("Mul", g.node(op, r), scale), center)
        if isinstance(target.loss, losses.MeanSquaredError):
            y = g.node("Min", g.node("Max", y, target.low), target.high)
        return y

    return Output("variable", shape, tensor=_mean(g, raw, prediction))
