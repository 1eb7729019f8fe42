"""What stands in X and y: plain numbers, or, named by its row in y, what is missing or no label."""

from __future__ import annotations

import math
from contextlib import suppress
from decimal import Decimal
from typing import Any

import numpy as np

from layerkit.sequences import refuse_misread
from layerkit.training.targets import check_targets

_FEW = 2**22  # numbers


def pass_as_they_are(estimator: Any, X: Any, y: Any) -> bool:
    """Whether scikit-learn's checks would let rows to learn from, and a vector y, as they are.

    They take 250 µs: for a small batch more than to learn from it.
    """
    return (
        are_plain_rows(estimator, X)
        and X.shape[1] == getattr(estimator, "n_features_in_", None)
        and not hasattr(estimator, "feature_names_in_")
        and type(y) is np.ndarray
        and y.shape == X.shape[:1]
        and (y.dtype.kind in "biu" or (y.dtype.kind == "f" and _sum_is_finite(y)))
    )


def are_plain_rows(estimator: Any, X: Any) -> bool:
    """Whether X is a plain array of finite numbers, shaped as a fitted network takes them."""
    return (
        type(X) is np.ndarray
        and X.dtype in (np.float32, np.float64)
        and hasattr(estimator, "network_")
        and X.shape[1:] == estimator.network_.input_shape
        and 0 < X.size <= _FEW
        and _sum_is_finite(X)
    )


@np.errstate(over="ignore", invalid="ignore")
def _sum_is_finite(values: np.ndarray) -> bool:
    return math.isfinite(values.sum())


def check_entries(y: Any, numeric: bool) -> None:
    """Refuse values that the checks of scikit-learn let pass, or refuse without saying which.

    Parameters
    ----------
    y : array-like
    numeric : bool
        Whether they are to be numbers; else they are labels.

    Raises
    ------
    ValueError
        That says what came, in which row.
    """
    refuse_misread(y, "y")
    if numeric:
        check_targets(y)
    if getattr(getattr(y, "dtype", None), "kind", "O") in "biufc":  # sparse ones are numbers too
        return
    try:
        values = np.asarray(y)
    except ValueError:  # rows of unequal length, as scikit-learn says
        return
    if values.ndim not in (1, 2) or values.dtype.kind not in "OUmM":
        return
    rows = values.reshape(len(values), -1)
    missing = [i for i, row in enumerate(rows) if any(map(is_missing, row))]
    if missing:
        some = ", ".join(map(str, missing[:5])) + ", ..." * (len(missing) > 5)
        raise ValueError(
            f"y contains missing values, in {len(missing)} of {len(rows)} rows ({some}): leave "
            "these rows out of X and y"
        )
    if not numeric and values.dtype != object:
        return
    is_known = _spells_number if numeric else _is_text
    for i, value in ((i, value) for i, row in enumerate(rows) for value in row):
        if not is_known(value):
            shown = str(value) if isinstance(value, str) else value  # not np.str_(...)
            got = f"got {shown!r} ({type(shown).__name__}) in row {i}"
            if numeric:
                raise ValueError(
                    f"y must hold numbers, {got}: turn labels into numbers, "
                    "np.unique(y, return_inverse=True)[1]; a classifier does that itself"
                )
            raise ValueError(
                f"Unknown label type: y must hold text, or numbers in a dtype of numbers, {got}: "
                "y.astype(str) makes text of it"
            )


def is_missing(value: Any) -> bool:
    """Whether it is None, or not equal to itself: NaN, NaT, pandas' NA."""
    if value is None or (isinstance(value, Decimal) and value.is_nan()):  # sNaN has no ==
        return True
    same = value == value  # of NA neither true nor false
    return np.ndim(same) == 0 and not (isinstance(same, bool | np.bool_) and same)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _spells_number(value: Any) -> bool:
    with suppress(TypeError, ValueError):
        float(value)
        return True
    return False


def check_axes(X: Any, y: Any) -> None:
    """Refuse targets of more than two axes, and say how those of the steps of a row are given."""
    shape = getattr(y, "shape", ())
    if len(shape) < 3:
        return
    of_steps = getattr(X, "ndim", 0) == 3 and X.shape[:2] == shape[:2]
    how = (
        "for a target of every step give lists of arrays, fit(list(X), list(y))"
        if of_steps
        else "its axes can become columns, y.reshape(len(y), -1)"
    )
    raise ValueError(f"y must be (n_samples,) or (n_samples, n_outputs), got {shape}: {how}")
