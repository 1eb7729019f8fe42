"""Whole scikit-learn models: skl2onnx converts them and calls us for our estimators.

Models take probabilities of the classifiers that they hold, or the scores of `decision_function`.
skl2onnx says which to classifiers that another model holds directly, but not through a Pipeline or
a search, and it takes margins for probabilities. So we say it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common.data_types import (
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
    guess_data_type,
)
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from layerkit import estimators
from layerkit.estimators.base import NetworkEstimator
from layerkit.estimators.targets import target_of
from layerkit.interchange.onnx.endings import KINDS
from layerkit.interchange.onnx.graph import OPSET, Graph, Value
from layerkit.interchange.onnx.models import Output, renaming, write_network, write_predictions

# What a holder may take, see `Taken`; zipmap is that of all classifiers.
_OPTIONS = {"zipmap": [False], "raw_scores": [True, False], "one_column": [True, False]}
_TYPES = {np.dtype(np.float32): FloatTensorType, np.dtype(np.int64): Int64TensorType}


def convert_pipeline(model: Any, X: Any) -> ModelProto:
    """Convert any scikit-learn model that may hold our estimators."""
    for name in estimators.__all__:
        alias, kind = f"Layerkit{name}", getattr(estimators, name)
        update_registered_converter(
            kind, alias, _set_shapes, _convert, parser=_parse, options=_OPTIONS
        )
    types, options = _input_types(model, X), options_of(model)
    opset = {"": OPSET, "ai.onnx.ml": 3}
    try:
        return convert_sklearn(model, initial_types=types, target_opset=opset, options=options)
    except KeyError as error:  # such as the exp of a Poisson regression
        raise TypeError(
            f"{type(model).__name__} has no ONNX form: skl2onnx does not know {error}"
        ) from error
    except RuntimeError as error:  # as skl2onnx's own are
        reason = " ".join(str(error).split())[:500]
        raise TypeError(f"{type(model).__name__} has no ONNX form: {reason}") from error


def _input_types(model: Any, X: Any) -> list[tuple[str, Any]]:
    if X is None:
        if not hasattr(model, "n_features_in_"):
            kind = type(model).__name__
            raise ValueError(f"{kind} does not say how many columns it takes: give some rows as X")
        return [("X", FloatTensorType([None, model.n_features_in_]))]
    if hasattr(X, "columns"):  # a table: one input for each column
        return [(name, _as_float(kind)) for name, kind in guess_data_type(X[:1])]
    X = np.asarray(X)
    kind = StringTensorType if X.dtype.kind in "USO" else FloatTensorType
    return [("X", kind([None, *X.shape[1:]]))]


def _as_float(kind: Any) -> Any:
    """Numbers are float32 in the model, whatever they are in the table."""
    shape = [None, *kind.shape[1:]]
    return StringTensorType(shape) if isinstance(kind, StringTensorType) else FloatTensorType(shape)


def _parse(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Say which outputs an estimator has."""
    operator = scope.declare_local_operator(f"Layerkit{type(model).__name__}", model)
    operator.inputs = inputs
    raw = Value("raw", model.network_.output_shape)
    for output in _predictions(Graph(), scope, model, raw):
        kind = _TYPES.get(output.dtype, StringTensorType)([None, *output.shape])
        operator.outputs.append(scope.declare_local_variable(output.name, kind))
    return operator.outputs


def _set_shapes(operator: Any) -> None:
    """Leave the types that `_parse` has declared."""


def _predictions(g: Graph, scope: Any, model: Any, raw: Value) -> list[Output]:
    """Write what an estimator of ours predicts, in the form that the model which holds it takes."""
    taken = scope.get_options(model, {"raw_scores": None, "one_column": False})
    scores = taken["raw_scores"] if hasattr(model, "decision_function") else None
    both_sides = scores is not None and not taken["one_column"]
    return write_predictions(g, target_of(model), raw, bool(scores), both_sides)


def _convert(scope: Any, operator: Any, container: Any) -> None:
    model = operator.raw_operator
    g = Graph(scope.get_unique_variable_name(type(model).__name__))
    columns = [g.node("Cast", part.full_name, to=TensorProto.FLOAT) for part in operator.inputs]
    x = g.node("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
    raw = write_network(g, model.network_, Value(x, model.network_.input_shape))
    outputs = _predictions(g, scope, model, raw)
    for output, variable in zip(outputs, operator.outputs, strict=True):
        g.nodes.append(renaming(output, variable.full_name))
    container.initializers.extend(g.constants)
    container.nodes.extend(g.nodes)
    container.node_domain_version_pair_sets.add(("", OPSET))


# raw_scores: give scores, of two classes one each; one_column: of two classes that of the second.
Taken = dict[str, bool]


def options_of(model: Any) -> dict[int, Taken]:
    """Return skl2onnx's options of the models inside a fitted one, by their ids.

    Raises
    ------
    TypeError
        If skl2onnx cannot give a model what it takes.
    """
    options: dict[int, Taken] = {}
    _note(model, {}, options)
    if hasattr(model, "classes_"):
        options.setdefault(id(model), {})["zipmap"] = False
    return options


def _note(model: Any, taken: Taken, options: dict[int, Taken]) -> None:
    """Note what is taken of a model, and what it takes of those that it holds."""
    if not _is_fitted(model):
        return
    if isinstance(model, NetworkEstimator):
        options[id(model)] = dict(taken)
        return
    if isinstance(model, OneVsRestClassifier | StackingClassifier):
        stacks = isinstance(model, StackingClassifier)
        judges = [model.final_estimator_] if stacks else model.estimators_
        raw_scores = taken.get("raw_scores", False) or any(map(_has_margins, judges))
        taken = options[id(model)] = {"raw_scores": raw_scores}
    for held, taken_of_it in _held(model, taken):
        _note(held, taken_of_it, options)


def _held(model: Any, taken: Taken) -> Iterator[tuple[Any, Taken]]:
    """Give the models that a model holds, and what it takes of each."""
    if isinstance(model, KINDS):
        raise _no_form(model, "a model around it", "it can only come last, be it in a Pipeline")
    if isinstance(model, Pipeline):
        *others, last = (step for _, step in model.steps)
        yield last, taken
        yield from ((step, {}) for step in others)
    elif hasattr(model, "best_estimator_"):
        yield model.best_estimator_, taken
    elif isinstance(model, CalibratedClassifierCV):
        if model.method != "sigmoid":
            raise _no_form(model, f"method={model.method!r}", "skl2onnx has 'sigmoid' alone right")
        for calibrated in model.calibrated_classifiers_:
            inner = _last(calibrated.estimator)
            if isinstance(inner, OneVsRestClassifier) and not hasattr(inner, "decision_function"):
                raise _no_form(
                    model,
                    "OneVsRestClassifier of probabilities",
                    "skl2onnx takes them before they are normalised",
                )
            yield calibrated.estimator, {"raw_scores": True}
    elif isinstance(model, OneVsRestClassifier):
        if model.multilabel_ and taken["raw_scores"]:
            raise _no_form(model, "several labels", "skl2onnx takes margins for probabilities")
        inner = [held for held in model.estimators_ if not hasattr(held, "predict_proba")]
        if any(isinstance(_last(held), OneVsRestClassifier) for held in inner):
            raise _no_form(model, "another of margins", "skl2onnx takes two columns for one")
        yield from ((held, taken) for held in model.estimators_)
    elif isinstance(model, StackingClassifier):
        yield model.final_estimator_, taken
        yield from _stacked(model)
    elif isinstance(model, BaggingClassifier) and not hasattr(model[0], "predict_proba"):
        raise _no_form(model, "classifiers without predict_proba", "skl2onnx cannot count votes")
    else:
        raw_scores = isinstance(model, OneVsOneClassifier)
        yield from ((held, {"raw_scores": raw_scores}) for held in _models_in(vars(model)))


def _stacked(model: StackingClassifier) -> Iterator[tuple[Any, Taken]]:
    scored = [method == "decision_function" for method in model.stack_method_]
    one_column = len(model.classes_) == 2 and any(scored)
    for held, by_score in zip(model.estimators_, scored, strict=True):
        if one_column and not (by_score and isinstance(_last(held), NetworkEstimator)):
            kinds = " and ".join(sorted({type(_last(each)).__name__ for each in model.estimators_}))
            raise _no_form(
                model,
                f"decision_function of two classes, and {kinds} in it,",
                "skl2onnx would write two columns where scikit-learn has one",
            )
        yield held, {"raw_scores": by_score, "one_column": one_column}


def _last(model: Any) -> Any:
    """Return the classifier at the end of Pipelines and searches."""
    while isinstance(model, Pipeline) or hasattr(model, "best_estimator_"):
        model = model.steps[-1][1] if isinstance(model, Pipeline) else model.best_estimator_
    return model


def _has_margins(model: Any) -> bool:
    """Whether it is a classifier of ours without probabilities."""
    return isinstance(_last(model), NetworkEstimator) and not hasattr(model, "predict_proba")


def _models_in(held: Any) -> Iterator[Any]:
    if isinstance(held, BaseEstimator):
        yield held
    elif isinstance(held, dict | list | tuple):
        for item in held.values() if isinstance(held, dict) else held:
            yield from _models_in(item)


def _is_fitted(model: Any) -> bool:
    if not isinstance(model, BaseEstimator):
        return False
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True


def _no_form(model: Any, what: str, reason: str) -> TypeError:
    return TypeError(f"{type(model).__name__} with {what} has no ONNX form: {reason}")
