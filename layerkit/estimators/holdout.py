"""Validation data for early stopping: the user's own, a part of the rows, or a splitter's."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split


def hold_out(
    X: Any,
    y: np.ndarray,
    groups: Any,
    early_stopping: Any,
    validation_fraction: float,
    stratify: bool,
    seed: np.random.SeedSequence,
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn from, and rows to validate on.

    Parameters
    ----------
    X, y : the data
    groups : array-like of shape (n_samples,) or None
        For the splitter.
    early_stopping : True or a splitter
        True holds out ``validation_fraction``; the first split of a splitter is used otherwise.
    stratify : bool
        Keep the proportions of the classes (when there is no splitter).
    """
    if hasattr(early_stopping, "split"):
        return next(iter(early_stopping.split(X, y, groups)))
    rows = np.arange(X.shape[0])
    try:
        learn, validate = train_test_split(
            rows,
            test_size=validation_fraction,
            stratify=y if stratify else None,
            random_state=int(seed.generate_state(1)[0]),
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping cannot hold out validation_fraction={validation_fraction} of "
            f"{len(rows)} rows: {error}"
        ) from error
    return learn, validate
