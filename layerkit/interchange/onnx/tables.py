"""Tabular estimators as ONNX models: the table is read, members run, their average comes out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper

from layerkit import losses
from layerkit.estimators.tabular.columns import (
    CategoryColumn,
    Column,
    DateColumn,
    NumberColumn,
)
from layerkit.estimators.tabular.learning import LARGEST
from layerkit.estimators.targets import Labels, Multilabel, Numbers, target_of
from layerkit.interchange.onnx.graph import Graph, Value, dtype_in_onnx
from layerkit.interchange.onnx.models import (
    Output,
    decode,
    inverse_link,
    whole_model,
    write_network,
)

_OF_LABELS = helper.make_opsetid("ai.onnx.ml", 3)


def convert_tabular(model: Any) -> ModelProto:
    """Write a fitted estimator of tables: an input for each column, outputs as skl2onnx has them.

    Numbers are float32, NaN where they are missing; text is strings, "" where it is missing; dates
    are seconds since 1970 in int64, the least of these (`NaT` in NumPy) where they are missing.
    """
    g, inputs, features = Graph("layerkit"), [], []  # a prefix that no column's name has
    for column in model.encoder_.columns_:
        kind = _kind_of(column)
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
    return whole_model(g, inputs, outputs, _OF_LABELS)


def _kind_of(column: Column) -> int:
    if isinstance(column, DateColumn):
        return TensorProto.INT64
    return TensorProto.STRING if _is_text(column) else TensorProto.FLOAT


def _is_text(column: Column) -> bool:
    return isinstance(column, CategoryColumn) and all(isinstance(v, str) for v in column.levels)


def _read(g: Graph, column: Column) -> str:
    """Write the features of a column."""
    if isinstance(column, NumberColumn):
        return _numbers(g, column)
    if isinstance(column, CategoryColumn):
        return _categories(g, column)
    return _dates(g, column)


def _numbers(g: Graph, column: NumberColumn) -> str:
    missing = g.node("IsNaN", column.name)
    parts = [_scaled(g, column, column.name, missing)] * column.varies
    parts += [_as_float(g, missing)] * column.has_missing
    return g.node("Concat", *parts, axis=1)


def _scaled(g: Graph, column: NumberColumn, values: str, missing: str, base: int = 0) -> str:
    """Write scaled numbers; they are given less ``base``."""
    center, scale = np.array([[column.center - base]]), np.array([[column.scale]])
    scaled = g.node("Mul", g.node("Sub", values, center), scale)
    scaled = g.node("Clip", scaled, np.array(-LARGEST), np.array(LARGEST))
    return g.node("Where", missing, np.array([[0.0]]), scaled)


def _as_float(g: Graph, x: str) -> str:
    return g.node("Cast", x, to=TensorProto.FLOAT)


_CYCLE = 146_097  # days of 400 years, after which the calendar repeats itself, weekdays too
_CYCLES = 1000  # that are added, so that all numbers are positive and divisions round down
_DAYS_TO_1970 = 719_468  # from the first of March of the year 0


def _dates(g: Graph, column: DateColumn) -> str:
    """Write the parts of seconds since 1970, by divisions of whole numbers.

    Inside the years begin in March, so that the day which only some have is their last: Howard
    Hinnant, "chrono-compatible low-level date algorithms".
    """

    def whole(op: str, x: str, y: str | int) -> str:
        return g.node(op, x, np.array(y) if isinstance(y, int) else y)

    missing = whole("Equal", column.name, int(np.iinfo(np.int64).min))
    seconds = g.node("Where", missing, np.array([[0]]), column.name)
    seconds = whole("Add", seconds, 86_400 * (_DAYS_TO_1970 + _CYCLES * _CYCLE))
    days, second = whole("Div", seconds, 86_400), whole("Mod", seconds, 86_400)
    cycle, day = whole("Div", days, _CYCLE), whole("Mod", days, _CYCLE)
    leaps = whole("Sub", whole("Div", day, 36_524), whole("Div", day, 1_460))
    leaps = whole("Sub", leaps, whole("Div", day, _CYCLE - 1))
    year = whole("Div", whole("Add", day, leaps), 365)
    day = whole("Sub", day, _days_before(whole, year))
    month = whole("Div", whole("Add", whole("Mul", day, 5), 2), 153)
    month = whole("Mod", whole("Add", month, 2), 12)  # January is 0
    turned = g.node("Cast", g.node("Less", month, np.array(2)), to=TensorProto.INT64)
    year = whole("Add", whole("Add", year, whole("Mul", cycle, 400)), turned)
    start = _days_before(whole, whole("Sub", year, 1))
    length = whole("Sub", _days_before(whole, year), start)
    day = whole("Sub", whole("Sub", days, 306), start)  # of a year that begins in January
    parts = {
        "month": (_as_float(g, month), 12),
        "weekday": (_as_float(g, whole("Mod", whole("Sub", days, _DAYS_TO_1970 - 3), 7)), 7),
        "hour": (g.node("Div", _as_float(g, second), np.array(3600.0)), 24),
    }
    found = []
    for of in column.columns:
        part, _, function = of.name[len(column.name) + 1 :].partition("_")
        if part == "year":  # of which float32 has few digits, unless something is subtracted
            base = int(of.center)
            passed = g.node("Div", _as_float(g, day), _as_float(g, length))
            since = _as_float(g, whole("Sub", year, base + 400 * _CYCLES))
            found.append(_scaled(g, of, g.node("Add", since, passed), missing, base))
        else:
            values, period = parts[part]
            if function:
                angle = g.node("Mul", values, np.array(2 * np.pi / period))
                values = g.node(function.capitalize(), angle)
            found.append(_scaled(g, of, values, missing))
        found += [_as_float(g, missing)] * of.has_missing
    return g.node("Concat", *found, axis=1)


def _days_before(whole: Callable[[str, str, Any], str], year: str) -> str:
    """Write the days of so many years, the first of which is no leap year and the fourth is."""
    days = whole("Add", whole("Mul", year, 365), whole("Div", year, 4))
    days = whole("Sub", days, whole("Div", year, 100))
    return whole("Add", days, whole("Div", year, 400))


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
        coded = _as_float(g, code)
        if not column.means:
            return coded
        scaled = column.scaled_means(column.table, None).clip(-LARGEST, LARGEST)
        means = g.node("Gather", scaled, g.node("Squeeze", code, np.array([1])), axis=0)
        return g.node("Concat", coded, means, axis=1)
    if len(column.levels) == 2:
        table = np.array([[0.0], [-1.0], [1.0]])
    else:
        table = np.eye(len(column.levels) + 1)[:, 1:]
    return g.node("Gather", table, g.node("Squeeze", code, np.array([1])), axis=0)


# ---------------------------------------------------------------- what the members say together


def _write_predictions(g: Graph, model: Any, raw: list[Value]) -> list[Output]:
    target = target_of(model)
    if isinstance(target, Numbers) and isinstance(target.loss, losses.GaussianNLL):
        return _mean_of_normals(g, target, raw)
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
    return _mean_of_several(g, target, raw)


def _mean(g: Graph, raw: list[Value], prediction: Callable[[Value], str]) -> str:
    return g.node("Mean", *map(prediction, raw))


def _mean_of_labels(g: Graph, target: Any, raw: list[Value], temperature: float) -> list[Output]:
    n_classes = len(target.classes)
    proba = _mean(g, raw, partial(_softmax_of, g, np.arange(n_classes)))
    least = np.array(np.finfo(np.float32).tiny)
    log_proba = g.node("Log", g.node("Max", proba, least))
    proba = g.node("Softmax", g.node("Div", log_proba, np.array(temperature)), axis=1)
    best = g.node("ArgMax", proba, axis=1, keepdims=0)
    label = Output("label", (), dtype_in_onnx(target.classes), decode(g, target.classes, best))
    return [label, Output("probabilities", (n_classes,), tensor=proba)]


def _mean_of_several(g: Graph, target: Any, raw: list[Value]) -> list[Output]:
    """Write the classes of several outputs, whose scores stand side by side."""
    dtype = np.result_type(*target.classes)
    starts = np.cumsum([0, *target.sizes])
    columns, outputs = [], []
    for i, classes in enumerate(target.classes):
        here = starts[i] + np.arange(len(classes))
        proba = _mean(g, raw, partial(_softmax_of, g, here))
        best = g.node("ArgMax", proba, axis=1, keepdims=1)
        columns.append(decode(g, classes.astype(dtype), best))
        outputs.append(Output(f"probabilities_{i}", (len(classes),), tensor=proba))
    kind = dtype_in_onnx(target.classes[0].astype(dtype))
    label = Output("label", (len(columns),), kind, g.node("Concat", *columns, axis=1))
    return [label, *outputs]


def _softmax_of(g: Graph, columns: np.ndarray, raw: Value) -> str:
    return g.node("Softmax", g.node("Gather", raw, columns, axis=1), axis=1)


def _mean_of_numbers(g: Graph, target: Any, raw: list[Value]) -> Output:
    op, shape = inverse_link(target), raw[0].shape
    own = (-1, *[1] * (len(shape) - 1))
    center, scale = target.center.reshape(own), target.scale.reshape(own)

    def prediction(r: Value) -> str:
        y = g.node("Add", g.node("Mul", g.node(op, r), scale), center)
        if isinstance(target.loss, losses.MeanSquaredError):
            y = g.node("Min", g.node("Max", y, target.low), target.high)
        return y

    return Output("variable", shape, tensor=_mean(g, raw, prediction))


def _mean_of_normals(g: Graph, target: Any, raw: list[Value]) -> list[Output]:
    """Write the mean, and the standard deviation, which counts how much the members differ."""
    halves = [g.nodes_outputs("Split", r, n_outputs=2, axis=-1) for r in raw]
    mean = g.node("Mean", *(mean for mean, _ in halves))
    within = g.node("Mean", *(g.node("Exp", log_variance) for _, log_variance in halves))
    apart = [g.node("Sub", of_member, mean) for of_member, _ in halves]
    between = g.node("Mean", *(g.node("Mul", d, d) for d in apart))
    std = g.node("Mul", g.node("Sqrt", g.node("Add", within, between)), target.scale)
    mean = g.node("Add", g.node("Mul", mean, target.scale), target.center)
    shape = target.target_shape
    return [Output("variable", shape, tensor=mean), Output("std", shape, tensor=std)]
