"""Stated ranges of values, such as ``(0, 1/4]``, against what the code returns."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

import numpy as np

from layerkit.inspection.catalogue.formula import value_of
from layerkit.inspection.catalogue.latex import expression

FAR = np.geomspace(30, 1e5, 100)
GRID = np.concatenate([-FAR[::-1], np.linspace(-30, 30, 60_001), FAR])
"""Dense where functions bend, and far out."""

TOLERANCE = 5e-5
"""Bounds that are no round numbers are stated to four digits. An open end may be reached by
rounding, so open and closed ends are the same here."""


def check_range(of: str, stated: str, values: np.ndarray, names: Mapping[str, Any]) -> str:
    """Return what is wrong, or nothing: the values stay inside and come close to both ends."""
    ends = [float(value_of(end, names)) for end in ends_of(stated)]
    if stated[0] == "{":
        found = np.unique(values.round(12)).tolist()
        wrong = len(found) != len(ends) or not np.allclose(found, sorted(ends), atol=TOLERANCE)
        return f"{of} takes the values {found[:5]}, not {stated}" if wrong else ""
    low, high = ends
    least, most = float(np.min(values)), float(np.max(values))
    if not _reaches(least, low) or not _reaches(most, high):
        return f"{of} is between {least:.6g} and {most:.6g}, not in {stated}"
    return ""


def _reaches(value: float, end: float) -> bool:
    if np.isinf(end):
        return value * np.sign(end) > 50
    return abs(value - end) <= TOLERANCE * max(1, abs(end))


def ends_of(stated: str) -> list[ast.expr]:
    """Return both ends of an interval, or the members of a set."""
    inside = ast.parse(f"({stated[1:-1]},)", mode="eval").body
    assert isinstance(inside, ast.Tuple)
    return inside.elts


def range_latex(of: str, stated: str) -> str:
    r"""Set a range in LaTeX.

    >>> range_latex("y", "(0, 1/4]")
    'y \\in \\left(0,\\, \\frac{1}{4}\\right]'
    """
    left, right = (side.replace("{", r"\{").replace("}", r"\}") for side in (stated[0], stated[-1]))
    ends = ",\\, ".join(map(expression, ends_of(stated)))
    quantity = expression(ast.parse(of, mode="eval").body)
    return f"{quantity} \\in \\left{left}{ends}\\right{right}"
