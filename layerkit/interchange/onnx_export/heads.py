"""From a network's raw outputs to what an estimator predicts: labels, probabilities, numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from layerkit import losses
from layerkit.interchange.onnx_export.emitters import emit
from layerkit.interchange.onnx_export.graph import Graph, Value
from layerkit.losses.classification import Categorical
from layerkit.shapes import Shape


class Output:
    """One output of a model: its public name, shape of a sample, numpy dtype, and its tensor."""

    def __init__(self, name: str, shape: Shape, dtype: Any = np.float32, tensor: str = "") -> None:
        self.name, self.shape, self.tensor = name, shape, tensor
        self.dtype = np.dtype(dtype)


def write_estimator(
    g: Graph, estimator: Any, x: Value, raw_scores: bool = False, both_sides: bool = False
) -> list[Output]:
    """Write a fitted estimator's network and its predictions; return the outputs.

    Parameters
    ----------
    g : Graph
    estimator : NetworkEstimator
    x : Value
    raw_scores : bool, default=False
        Write what decision_function gives also where there are probabilities.
    both_sides : bool, default=False
        Write the score of each of two classes, not of the second alone.
    """
    raw = g.channels_last(emit(g, estimator.network_, x))
    g.place = g.prefix
    kind = type(estimator._target).__name__
    if kind == "Labels":
        return _labels(g, estimator._target, raw, raw_scores, both_sides)
    return _WRITERS[kind](g, estimator._target, raw)


def _labels(g: Graph, target: Any, raw: Value, raw_scores: bool, both_sides: bool) -> list[Output]:
    """Write one class for each row, as `layerkit.estimators.targets.Labels` chooses it."""
    if raw.shape == (1,):
        best = g.node("Squeeze", positive(g, raw), np.array([1]))
    else:
        best = g.node("ArgMax", raw, axis=1, keepdims=0)
    label = Output("label", (), label_dtype(target.classes), decode(g, target.classes, best))
    if raw_scores or target.loss.scores != "logits":
        return [label, _scores(g, target, raw, both_sides)]
    n_classes = len(target.classes)
    return [label, Output("probabilities", (n_classes,), tensor=_probabilities(g, target, raw))]


def _probabilities(g: Graph, target: Any, raw: Value) -> str:
    if len(target.classes) == 1:  # the softmax of one number is 1
        return g.node("Softmax", g.node("Gather", raw, np.array([0]), axis=1), axis=1)
    logits: Value | str = raw
    if raw.shape == (1,):
        logits = g.node("MatMul", raw, np.array([[0.0, 1.0]]))  # a single logit is that of class 1
    elif not isinstance(target.loss, Categorical):
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
    kind = label_dtype(target.classes[0].astype(dtype))
    chosen = Output("label", (len(sizes),), kind, label)
    return [chosen, *(outputs if target.loss.scores == "logits" else [])]


def _numbers(g: Graph, target: Any, raw: Value) -> list[Output]:
    if isinstance(target.loss, losses.GaussianNLL):
        half = raw.shape[-1] // 2
        mean, log_var = g.nodes_outputs("Split", raw, n_outputs=2, axis=-1)
        std = g.node("Exp", g.node("Mul", log_var, np.array(0.5)))
        shape = (*raw.shape[:-1], half)
        return [Output("variable", shape, tensor=mean), Output("std", shape, tensor=std)]
    link = type(target.loss).inverse_link
    if link not in _LINKS:
        raise TypeError(f"{type(target.loss).__name__}.inverse_link has no ONNX form")
    op = _LINKS[link]
    return [Output("variable", raw.shape, tensor=g.node(op, raw))]


# The operator of a loss's inverse_link, by the function itself: a subclass with a link of its own
# is not mistaken for its base.
_LINKS: dict[Callable, str] = {
    losses.Loss.inverse_link: "Identity",
    losses.MultiMargin.inverse_link: "Identity",
    losses.Poisson.inverse_link: "Exp",
    losses.Gamma.inverse_link: "Exp",
    losses.Tweedie.inverse_link: "Exp",
    losses.BinaryCrossEntropy.inverse_link: "Sigmoid",
}

_WRITERS: dict[str, Callable[[Graph, Any, Value], list[Output]]] = {
    "Multilabel": _multilabel,
    "MultiOutput": _multi_output,
    "Numbers": _numbers,
}


def positive(g: Graph, raw: Value) -> str:
    """Write 1 where raw > 0, else 0, as integers."""
    return g.node("Cast", g.node("Greater", raw, np.array(0.0)), to=TensorProto.INT64)


def decode(g: Graph, classes: np.ndarray, index: str) -> str:
    """Write the classes at these positions; a single class stands at every position."""
    table = classes if len(classes) > 1 else np.repeat(classes, 2)
    if label_dtype(classes).kind == "O":
        table = table.astype(str)
    return g.node("Gather", table, index, axis=0)


def label_dtype(classes: np.ndarray) -> np.dtype:
    """Type of the labels in ONNX: text, int64, or float32 for classes that are floats."""
    kinds: dict[str, type] = {"i": np.int64, "u": np.int64, "b": np.int64, "f": np.float32}
    return np.dtype(kinds.get(classes.dtype.kind, object))
