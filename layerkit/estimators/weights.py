"""Weights of samples and classes, with one meaning: a weight of 2 is the row twice."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np


def class_weights(
    class_weight: Any,
    columns: list[np.ndarray],
    classes: list[np.ndarray],
    sample_weight: np.ndarray | None,
) -> np.ndarray:
    """Weight of every sample by its class, times ``sample_weight``.

    Parameters
    ----------
    class_weight : "balanced", dict, or list of dict
        "balanced" is ``W / (k W_c)``, with W the sum of all weights and W_c that of class c, for k
        classes that occur. A dictionary maps a label to its weight, 1 where it has none. With
        several outputs: "balanced" or a list with a dictionary for each; the weights of a sample's
        outputs are multiplied.
    columns : list of ndarray of shape (n_samples,)
        Label of every sample, for each output.
    classes : list of ndarray
        All labels there are, for each output.
    sample_weight : ndarray of shape (n_samples,), optional
    """
    specs = _one_for_each(class_weight, len(columns))
    given = np.ones(len(columns[0])) if sample_weight is None else sample_weight
    weight = given.copy()
    for spec, column, known in zip(specs, columns, classes, strict=True):
        labels, index = np.unique(column, return_inverse=True)
        if isinstance(spec, dict):
            _check_labels(spec, known)
            factors = np.array([_factor(spec, label) for label in labels.tolist()])
        else:
            totals = np.bincount(index, given)
            occurs = totals > 0
            factors = np.zeros(len(labels))
            factors[occurs] = given.sum() / (occurs.sum() * totals[occurs])
        weight *= factors[index]
    return weight


def _one_for_each(class_weight: Any, n_outputs: int) -> list[Any]:
    if isinstance(class_weight, str) and class_weight == "balanced":
        return ["balanced"] * n_outputs
    specs = [class_weight] if n_outputs == 1 else class_weight
    if (
        not isinstance(specs, list)
        or len(specs) != n_outputs
        or not all(isinstance(spec, dict) for spec in specs)
    ):
        dicts = "a dict" if n_outputs == 1 else f"a list of {n_outputs} dicts"
        raise ValueError(f"class_weight must be None, 'balanced' or {dicts}, got {class_weight!r}")
    return specs


def _check_labels(spec: dict[Any, float], classes: np.ndarray) -> None:
    """Refuse what is a misspelt label: one that is no class, while a class has no weight."""
    unknown = set(spec) - set(classes.tolist())
    if unknown and set(classes.tolist()) - set(spec):
        raise ValueError(
            f"class_weight has {', '.join(map(repr, unknown))}, but the classes are "
            f"{classes.tolist()}"
        )


def _factor(spec: dict[Any, float], label: Any) -> float:
    factor = spec.get(label, 1.0)
    if not isinstance(factor, Real) or not np.isfinite(factor) or factor < 0:
        raise ValueError(
            f"class_weight must be finite and not negative, got {factor!r} for {label}"
        )
    return float(factor)
