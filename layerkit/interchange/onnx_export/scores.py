"""What models of scikit-learn take of the classifiers that they hold, for skl2onnx.

They take probabilities, or the scores of `decision_function`. skl2onnx says which to classifiers
that another model holds directly, but not through a Pipeline or a search, and it takes margins for
probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

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
    if _is_ours(model):
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
        if one_column and not (by_score and _is_ours(_last(held))):
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


def _is_ours(model: Any) -> bool:
    from layerkit.estimators.base import NetworkEstimator

    return isinstance(model, NetworkEstimator)


def _has_margins(model: Any) -> bool:
    """Whether it is a classifier of ours without probabilities."""
    return _is_ours(_last(model)) and not hasattr(model, "predict_proba")


def _models_in(held: Any) -> Iterator[Any]:
    if isinstance(held, BaseEstimator):
        yield held
    elif isinstance(held, dict):
        yield from _models_in(list(held.values()))
    elif isinstance(held, list | tuple):
        for item in held:
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
