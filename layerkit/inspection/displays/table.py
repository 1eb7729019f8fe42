"""A table as the network is given it: a panel for every column."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerkit.inspection.displays.display import BLUE, GREEN, GREY, Display
from layerkit.layers import SmoothClip

_PER_ROW = 3
_MOST_BARS = 8
_LONGEST_NAME = 14
NEITHER = "missing or new"
"""The category of what `fit` did not see."""


@dataclass(eq=False, repr=False)
class TableDisplay(Display):
    """Each column of an encoded table: a histogram of numbers, shares of categories.

    Parameters
    ----------
    names, descriptions : list of str
        Of the columns; the descriptions are those of `TableEncoder.describe`.
    contents : list of ndarray, dict or None
        Of each column the scaled numbers, or the share of each category, or None where it was left
        out.

    See Also
    --------
    Display : What ``plot`` takes and sets.

    Examples
    --------
    >>> from layerkit import TableEncoder
    >>> from layerkit.inspection import TableDisplay
    >>> X = [[1.0, "red"], [2.0, "blue"], [None, "red"], [4.0, "blue"]]
    >>> display = TableDisplay.from_estimator(TableEncoder().fit(X), X)
    >>> display.contents[1]
    {'blue': 0.5, 'red': 0.5}
    >>> display.plot().ax_.get_title()  # doctest: +SKIP
    'x0'
    """

    names: list[str]
    descriptions: list[str]
    contents: list[Any]

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any) -> TableDisplay:
        """Take the columns of an encoder, and rows to show.

        Parameters
        ----------
        estimator : TableEncoder, or TabularClassifier or TabularRegressor
            Fitted.
        X : DataFrame or array-like of shape (n_samples, n_features)
            A table with the columns of `fit`.

        Returns
        -------
        display : TableDisplay
            To be drawn by `plot`.
        """
        encoder = getattr(estimator, "encoder_", estimator)
        features, start, contents = encoder.transform(X), 0, []
        for column in encoder.columns_:
            stop = start + len(column.names)
            contents.append(_content(column, features[:, start:stop]))
            start = stop
        columns = encoder.columns_
        return cls([c.name for c in columns], [str(c) for c in columns], contents)

    @property
    def figsize(self) -> tuple[float, float]:
        return 4.2 * min(len(self.names), _PER_ROW), 2.6 * self.panels()["nrows"]

    def panels(self) -> dict[str, Any]:
        n = len(self.names)
        return {"nrows": math.ceil(n / _PER_ROW), "ncols": min(n, _PER_ROW)}

    def draw(self, axes: np.ndarray) -> None:
        for ax in axes.flat[len(self.names) :]:
            ax.set_axis_off()
        columns = zip(axes.flat, self.names, self.descriptions, self.contents, strict=False)
        for ax, name, description, content in columns:
            ax.set_title(_short(name, 36))
            ax.set_xlabel(_short(description, 44), fontsize=9, color=GREY)
            if isinstance(content, dict):
                bars = list(map(_short, content))[::-1]
                ax.barh(bars, list(content.values())[::-1], color=GREEN)
            elif content is None:
                ax.set(xticks=[], yticks=[])
            else:
                ax.hist(content, bins=30, color=BLUE)


def _content(column: Any, features: np.ndarray) -> Any:
    """Return what a panel shows of a column, from the features that it becomes."""
    if not column.names:
        return None
    if column.kind != "category":
        first = features[:, 0]
        return SmoothClip().infer(first[:, np.newaxis])[:, 0]
    if column.n_codes:
        codes = features[:, 0].astype(np.intp)
    elif len(column.levels) == 2:
        codes = np.select([features[:, 0] < 0, features[:, 0] > 0], [1, 2])
    else:
        codes = features @ np.arange(1, features.shape[1] + 1)
    shares = np.bincount(codes.astype(np.intp), minlength=len(column.levels) + 1) / len(codes)
    named = dict(zip(map(str, column.levels), shares[1:].tolist(), strict=True))
    if shares[0]:
        named[NEITHER] = float(shares[0])
    if len(named) <= _MOST_BARS:
        return named
    most = sorted(named, key=lambda level: -named[level])[: _MOST_BARS - 1]
    rest = sum(share for level, share in named.items() if level not in most)
    return {level: named[level] for level in most} | {f"{len(named) - len(most)} others": rest}


def _short(text: str, length: int = _LONGEST_NAME) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
