"""What scikit-learn does with predictions at the end of a model, which skl2onnx does not know.

`TransformedTargetRegressor` transforms them back, a threshold classifier cuts scores elsewhere. The
model inside is converted without them, and they are written after it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline

from layerkit.interchange.onnx.graph import Graph
from layerkit.interchange.onnx.models import decode

KINDS = (TransformedTargetRegressor, FixedThresholdClassifier, TunedThresholdClassifierCV)

Ending = Callable[[ModelProto], None]


def without_endings(model: Any) -> tuple[Any, list[Ending]]:
    """Return the model inside, and what to write after it, in order."""
    if hasattr(model, "best_estimator_"):
        return without_endings(model.best_estimator_)
    if isinstance(model, Pipeline):
        last, endings = without_endings(model.steps[-1][1])
        if not endings:
            return model, []
        return Pipeline([*model.steps[:-1], (model.steps[-1][0], last)]), endings
    if not isinstance(model, KINDS):
        return model, []
    is_regressor = isinstance(model, TransformedTargetRegressor)
    inside = model.regressor_ if is_regressor else getattr(model, "estimator_", model.estimator)
    inner, endings = without_endings(inside)
    write = _transform_back if is_regressor else _cut
    return inner, [*endings, lambda converted: write(model, converted)]


# ---------------------------------------------------------------- targets

# What undoes log, log1p, a square root, a square and a reciprocal.
_FUNCTIONS: list[tuple[Callable[..., Any], Callable[[Graph, str], str]]] = [
    (np.exp, lambda g, y: g.node("Exp", y)),
    (np.expm1, lambda g, y: g.node("Sub", g.node("Exp", y), np.array(1.0))),
    (np.square, lambda g, y: g.node("Mul", y, y)),
    (np.sqrt, lambda g, y: g.node("Sqrt", y)),
    (np.reciprocal, lambda g, y: g.node("Reciprocal", y)),
]


def _transform_back(model: Any, converted: ModelProto) -> None:
    """Write the inverse of the targets' transformer, known by the values that it gives."""
    output = converted.graph.output[0]
    width = output.type.tensor_type.shape.dim[-1].dim_value or 1
    points = np.repeat([[-3.0], [-1.0], [-0.5], [0.0], [0.25], [1.0], [2.0], [5.0]], width, axis=1)
    with np.errstate(all="ignore"):
        values = np.reshape(model.transformer_.inverse_transform(points), points.shape)
        shift, scale = values[3], values[5] - values[3]
        g = Graph(f"inverse_transform_{len(converted.graph.node)}")
        before = _renamed(converted, output.name)
        if np.allclose(values, scale * points + shift, rtol=1e-9, atol=1e-12):
            y = g.node("Add", g.node("Mul", before, scale), shift)
        else:
            known = (w for f, w in _FUNCTIONS if np.allclose(values, f(points), equal_nan=True))
            write = next(known, None)
            if write is None:
                raise TypeError(
                    f"{type(model).__name__} with {model.transformer_!r} has no ONNX form: its "
                    "inverse_transform is neither a scale and a shift nor exp, expm1, a square, a "
                    "square root or a reciprocal"
                )
            y = write(g, before)
    _append(converted, g, y, output.name)
    del converted.graph.output[1:]  # a standard deviation is on the other scale


# ---------------------------------------------------------------- thresholds


class _GivenScore(ClassifierMixin, BaseEstimator):
    """A fitted classifier of two classes: the score of a row is its first column."""

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = self.classes_ = classes

    def fit(self, X: np.ndarray, y: Any) -> Any:
        """Do nothing."""
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Return the first column."""
        return X[:, 0]


class _GivenProbability(_GivenScore):
    """The same for probabilities."""

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Return the first column as the probability of the second class."""
        return np.column_stack([1 - X[:, 0], X[:, 0]])


def _cut(model: Any, converted: ModelProto) -> None:
    """Write the label of a score that is compared with the model's own threshold."""
    inner = getattr(model, "estimator_", model.estimator)
    has_both = hasattr(inner, "predict_proba")
    by_probability = has_both and model.response_method in ("auto", "predict_proba")
    label, *others = (output.name for output in converted.graph.output)
    wanted = "probabilities" if by_probability else "scores"
    if others != [wanted]:
        raise TypeError(
            f"{type(model).__name__} with response_method={model.response_method!r} has no ONNX "
            f"form: the model inside gives {', '.join(others)}, not {wanted} alone"
        )
    threshold = getattr(model, "best_threshold_", getattr(model, "threshold", "auto"))
    middle = 0.5 if by_probability else 0.0
    threshold = middle if threshold == "auto" else float(threshold)
    g = Graph(f"threshold_{len(converted.graph.node)}")
    positive = _positive(model, inner.classes_, threshold, middle)
    score = wanted
    if by_probability:
        score = g.node("Gather", score, np.array(positive), axis=1)
    else:
        score = g.node("Squeeze", score, np.array([1]))
        score = score if positive else g.node("Neg", score)
    is_positive = g.node("GreaterOrEqual", score, np.array(threshold))
    index = g.node("Cast", is_positive, to=TensorProto.INT64)
    classes = inner.classes_ if positive else inner.classes_[::-1]
    _renamed(converted, label)
    _append(converted, g, decode(g, classes, index), label)


def _positive(model: Any, classes: np.ndarray, threshold: float, middle: float) -> int:
    """Return the position of the class whose score is compared.

    In the middle both classes have the same score: so it is labelled as the one that is asked for
    if that is enough, and as the other one if not.
    """
    probe = copy.copy(model)
    probe.estimator = probe.estimator_ = (_GivenProbability if middle else _GivenScore)(classes)
    is_second = probe.predict(np.array([[middle]]))[0] == classes[1]
    return int(is_second == (middle >= threshold))


# ---------------------------------------------------------------- the model


def _renamed(converted: ModelProto, name: str) -> str:
    """Give a tensor of the model another name, which is returned, so that its own is free."""
    other = f"{name}_of_{len(converted.graph.node)}"
    for node in converted.graph.node:
        for names in (node.input, node.output):
            names[:] = [other if each == name else each for each in names]
    return other


def _append(converted: ModelProto, g: Graph, tensor: str, output: str) -> None:
    """Write a graph at the end of the model, a tensor of which is its output from now on."""
    node = helper.make_node("Identity", [tensor], [output], name=f"{tensor}.Identity")
    converted.graph.node.extend([*g.nodes, node])
    converted.graph.initializer.extend(g.constants)
    checker.check_model(converted, full_check=True)
