"""Targets and weights of rows: refused where a cast would misread them."""

from __future__ import annotations

from decimal import Decimal
from numbers import Number
from typing import Any

import numpy as np

from layerkit.sequences import numbers

_NUMBERS = (Number, Decimal, np.bool_)


def check_targets(y: Any) -> None:
    """Refuse targets that a cast would misread: dates, time spans and complex numbers.

    Parameters
    ----------
    y : array or table of targets

    Raises
    ------
    ValueError
        That says what to do.
    """
    dtypes = [y.dtype] if hasattr(y, "dtype") else list(getattr(y, "dtypes", ()))
    kinds = {getattr(dtype, "kind", "") for dtype in dtypes}
    if "O" in kinds:  # a date among objects becomes an integer as well
        kinds |= {np.asarray(value).dtype.kind for value in np.ravel(np.asarray(y))[:1]}
    if kinds & set("mM"):
        told = [dtype for dtype in dtypes if getattr(dtype, "kind", "") in ("m", "M")] or dtypes
        raise ValueError(
            f"y holds dates or spans of time ({told[0]}): a network learns numbers. Choose an "
            "origin and a unit, such as (y - y.min()) / np.timedelta64(1, 'D')"
        )
    if "c" in kinds:
        raise ValueError(
            "Complex data not supported: y holds complex numbers, give their real and imaginary "
            "parts as columns"
        )


def check_numbers(y: Any) -> None:
    """Refuse targets that are not numbers, even if a cast would accept them: "1", a Period."""
    odd = [value for value in numbers(y).flat if not isinstance(value, _NUMBERS)]
    if odd:
        raise ValueError(
            f"y must hold numbers, got {odd[0]!r} ({type(odd[0]).__name__}): convert it, "
            "y.astype(float) if it is text that spells them, or number the labels, "
            "np.unique(y, return_inverse=True)[1]; a classifier does that itself"
        )


def as_weights(sample_weight: Any) -> Any:
    """Return weights in float64, refusing what a cast would misread: text, dates, complex."""
    try:
        if np.asarray(sample_weight).dtype.kind in "SUmMc":
            raise TypeError
        return np.asarray(sample_weight, dtype=np.float64)[()]
    except (TypeError, ValueError):
        raise ValueError(
            f"sample_weight must be numbers, one for each row, got {sample_weight!r:.60}; "
            "sklearn.utils.class_weight.compute_sample_weight makes them of a class_weight"
        ) from None


def row_weights(sample_weight: Any, n_rows: int) -> np.ndarray:
    """Return one number for each row."""
    weight = as_weights(sample_weight)
    if weight.shape != (n_rows,):
        raise ValueError(
            f"sample_weight must have one weight for each of the {n_rows} rows of X, "
            f"got {weight.shape}"
        )
    return weight
