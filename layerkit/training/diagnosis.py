"""What goes wrong in training, said in words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from layerkit.layer import Layer
from layerkit.layers import Sequential, Sigmoid, Softmax
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    KLDivergence,
    Loss,
    NegativeLogLikelihood,
)


def first_nonfinite(network: Layer, x: Any) -> str:
    """Say where, in forward order, the first number that is not finite stands."""
    if not np.isfinite(x.data if hasattr(x, "tocsr") else x).all():
        return "the input itself is not finite"
    found: list[str] = []
    largest = {"": 0.0}

    def look(layer: Layer, direction: str, x: np.ndarray, y: np.ndarray) -> None:
        if found or layer.children():
            return
        bad = [name for name, p in layer.params.items() if not np.isfinite(p).all()]
        if bad:
            found.append(f"{' and '.join(bad)} of {layer.where}")
        elif not np.isfinite(y).all():
            found.append(f"the output of {layer.where}")
        else:
            largest[layer.where] = float(np.abs(y).max(initial=0))

    with network.observed(look), np.errstate(all="ignore"):
        network.infer(x)
    if found:
        return f"first in {found[0]}"
    where = max(largest, key=lambda layer: largest[layer])
    return f"while all outputs are finite, the largest in {where}: {largest[where]:.1e}"


def warn_of_double_link(network: Layer, loss: Loss) -> None:
    """Warn when the network ends in the function that the loss applies itself."""
    last = network
    while isinstance(last, Sequential) and len(last):
        last = last[-1]
    wants_logits = (BinaryCrossEntropy, CategoricalCrossEntropy, Focal, KLDivergence)
    if isinstance(last, Softmax | Sigmoid) and isinstance(loss, wants_logits):
        advice = "it takes raw outputs: leave the last layer out"
    elif isinstance(last, Softmax) and isinstance(loss, NegativeLogLikelihood):
        advice = "it takes log-probabilities: use LogSoftmax"
    else:
        return
    warnings.warn(f"the network ends in {last!r}, but the loss is {loss!r}; {advice}", stacklevel=3)
