"""Rows to predict for: checked, and put through the network so many at a time."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.utils.validation import check_is_fitted, validate_data

from layerkit.estimators.entries import are_plain_rows
from layerkit.estimators.preparing import (
    as_fitted,
    blame_column,
    check_columns,
    check_mapped,
    check_shape,
    validate_sequences,
)
from layerkit.fused import plan, threads_for
from layerkit.fused.planning import Plan
from layerkit.layer import Layer
from layerkit.sequences import Sequences
from layerkit.shapes import batch_shape, size_of
from layerkit.training.batches import mapping_of, release
from layerkit.training.run import joined

# Elements of the widest activation, which bounds the memory, and rows, whose activations stay in
# the cache from one layer to the next.
_BATCH_ELEMENTS = 2**22
_BATCH_ROWS = 1024
# Outside of the estimators, whose attributes a prediction must not change.
_plans: WeakKeyDictionary[Any, Plan] = WeakKeyDictionary()


def checked_rows(estimator: Any, X: Any) -> Any:
    """Return rows as scikit-learn's checks pass them, of the shape that the network takes."""
    if (passing := _passing(estimator, X)) is not None:
        return passing
    check_is_fitted(estimator, "network_")
    rows, X = X, as_fitted(estimator, X)
    if isinstance(X, Sequences):
        X = validate_sequences(estimator, X, rows, reset=False)
        check_shape(estimator, X)
        return X
    axes = 1 + len(estimator.network_.input_shape)
    if max(getattr(X, "ndim", 0), axes) > 2 and hasattr(X, "shape"):  # no features to speak of
        check_shape(estimator, X)
    check_columns(X)
    try:
        checked = validate_data(
            estimator,
            X,
            reset=False,
            accept_sparse="csr",
            allow_nd=True,
            ensure_all_finite=mapping_of(X) is None,
        )
    except (TypeError, ValueError) as error:
        blame_column(X, error)
        raise
    if checked.dtype.kind not in "biuf":
        blame_column(X)
    check_mapped(checked, estimator)
    check_shape(estimator, checked)
    return checked


def _passing(estimator: Any, X: Any) -> np.ndarray | None:
    """Return the numbers of rows that scikit-learn's checks would leave as they are.

    They take 100 µs, of a DataFrame 800: for a few rows many times what the network takes.
    """
    names = getattr(estimator, "feature_names_in_", None)
    if names is not None:
        if not hasattr(X, "to_numpy") or list(getattr(X, "columns", ())) != names.tolist():
            return None
        X = X.to_numpy()
    return X if are_plain_rows(estimator, X) else None


def plan_of(estimator: Any) -> Plan:
    """Return a plan of the network, kept because making one takes longer than a prediction."""
    made = _plans.get(estimator)
    if made is None or made.network is not estimator.network_:
        _check_outputs(estimator)
        made = _plans[estimator] = plan(estimator.network_)
    return made


def _check_outputs(estimator: Any) -> None:
    """Refuse a network that was put in the place of the fitted one, if its outputs are others."""
    given = estimator.network_.output_shape
    known = getattr(estimator._target, "output_shape", given)
    if given != known:
        kind = type(estimator).__name__
        raise ValueError(
            f"network_ must give {batch_shape(known)}, as the network that {kind} was fitted "
            f"with, but its output is {batch_shape(given)}: {kind}.from_network(network) makes a "
            "fitted estimator of another network"
        )


def infer_in_batches(network: Layer, X: Any, planned: Plan | None = None) -> np.ndarray:
    """Outputs for all rows, computed for so many at a time that activations stay small."""
    planned = planned or plan(network)
    if X.shape[0] == 1:
        return planned.infer(X)
    widths = [size_of(layer.output_shape) for _, layer in network.walk() if layer.is_built]
    steps = 1
    if isinstance(X, Sequences):
        steps = int(X.lengths.max())
    elif network.input_shape[:1] == (None,):
        steps = X.shape[1]
    most = _BATCH_ELEMENTS // (steps * max(size_of(network.input_shape), *widths))
    rows = max(1, min(most, _BATCH_ROWS))
    parts, mapping = [], mapping_of(X)
    with threads_for(network, min(rows, X.shape[0])):
        for start in range(0, X.shape[0], rows):
            parts.append(planned.infer(X[start : start + rows]))
            release(mapping)
    return parts[0] if len(parts) == 1 else joined(parts)
