"""Clipping a gradient: every element, and its norm."""

from math import isfinite, sqrt
from typing import Any

import numpy as np

Span = tuple[int, int]
"""From where to where in a vector."""


def clipped(optimizer: Any, grads: np.ndarray, spans: list[Span]) -> np.ndarray:
    """Return the gradient within an optimizer's ``clip_value``, then within its ``clip_norm``."""
    norm = _norm(grads, spans)
    if not isfinite(norm):
        raise FloatingPointError(
            f"{optimizer!r}: cannot clip a gradient whose norm is {norm}; parameters and state "
            "are unchanged"
        )
    if optimizer.clip_value is not None:
        bound = float(optimizer.clip_value)
        grads = np.clip(grads, -bound, bound)
    if optimizer.clip_norm is not None:
        scale = float(optimizer.clip_norm) / (_norm(grads, spans) + 1e-6)
        if scale < 1:
            grads = grads * scale
    return grads


def _norm(grads: np.ndarray, spans: list[Span]) -> float:
    """Euclidean norm over `spans`; where squares overflow, that of multiples of the largest."""
    pieces = [grads[start:stop] for start, stop in spans]
    with np.errstate(over="ignore"):
        norm = sqrt(sum(float(np.dot(g, g)) for g in pieces))
    if isfinite(norm):
        return norm
    largest = float(np.max([np.max(np.abs(g), initial=0) for g in pieces]))
    if not isfinite(largest):
        return largest
    pieces = [g / largest for g in pieces]
    return largest * sqrt(sum(float(np.dot(g, g)) for g in pieces))
