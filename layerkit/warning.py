"""Warnings that point to the user's line, however deep in the package they come up."""

from __future__ import annotations

import sys
import warnings

_INSIDE = "layerkit.", "sklearn.callback."  # that of scikit-learn stands between two of ours


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line outside of this package that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals["__name__"].startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
