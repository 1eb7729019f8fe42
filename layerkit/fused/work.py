"""How much there is to compute, known from sizes before it starts."""

from __future__ import annotations

from typing import Any

from layerkit.layer import Layer
from layerkit.sequences import Sequences


def work_of(network: Layer, X: Any) -> float:
    """Count the multiply-adds of a forward pass over rows.

    Parameters
    ----------
    network : Layer
        Built.
    X : array, sparse matrix or Sequences
        The rows; only their shape is looked at.

    Returns
    -------
    multiply_adds : float
        Of products only; an epoch of training takes three times as many.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense
    >>> from layerkit.fused import work_of
    >>> work_of(Dense(5).build(4), np.zeros((1000, 4)))
    20000.0
    """
    positions = X.shape[0]
    if network.input_shape[:1] == (None,):
        positions = len(X.steps) if isinstance(X, Sequences) else X.shape[0] * X.shape[1]
    return float(positions * network.multiply_adds())
