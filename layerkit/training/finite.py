"""What a network cannot learn from: rows with NaN or infinity, refused by their places."""

from __future__ import annotations

import copy
from math import isfinite
from typing import Any

import numpy as np

from layerkit.layer import Layer
from layerkit.sequences import Sequences, as_sequences, numbers

_ENOUGH = 64  # rows to try, places to name a few of


def refuse_nonfinite(network: Layer, X: Any, name: str) -> None:
    """Raise if numbers in X that are not finite reach a layer that learns, or the output.

    A layer of one's own may be there to fill them in, so the rows pass through a copy of the
    network.

    Parameters
    ----------
    network : Layer
        Left as it is, built or not.
    X : array, sparse array or Sequences
    name : str
        What the message calls X.

    Raises
    ------
    ValueError
        That names rows and columns.
    """
    x = as_sequences(X)
    if _all_finite(x):
        return
    places = _places(x)
    rows = np.unique(places[:, 0])
    if not _reach(network, x, rows[:_ENOUGH]):
        return
    row, *within = map(int, places[0])
    value = x[row, within[0]] if hasattr(x, "tocsr") else x[row][tuple(within)]
    raise ValueError(
        f"{name} must hold finite numbers, but row {row} has {value} {_within(places[:1])}"
        f"{_and_more(rows, places)}. Fill them in, with sklearn.impute.SimpleImputer() say, or "
        "leave these rows out"
    )


def _all_finite(x: Any) -> bool:
    values = x.data if hasattr(x, "tocsr") else numbers(x)
    if values.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):  # infinities of both signs
        return isfinite(values.sum()) or bool(np.isfinite(values).all())


def _places(x: Any) -> np.ndarray:
    """Return row, and place within the row, of every number that is not finite."""
    if hasattr(x, "tocsr"):
        entries = x.tocoo()
        bad = ~np.isfinite(entries.data)
        return np.stack([entries.row[bad], entries.col[bad]], axis=1)
    if not isinstance(x, Sequences):
        return np.argwhere(~np.isfinite(x))
    places = np.argwhere(~np.isfinite(x.steps))
    rows = np.searchsorted(x.offsets, places[:, 0], side="right") - 1
    return np.column_stack([rows, places[:, 0] - x.offsets[rows], places[:, 1:]])


def _within(places: np.ndarray) -> str:
    """Say where in a row: columns of a table, else indices."""
    if places.shape[1] != 2:
        return "" if places.shape[1] < 2 else f"at {tuple(map(int, places[0, 1:]))}"
    columns = np.unique(places[:, 1])
    return f"in column{'s' * (len(columns) > 1)} {_few(columns)}"


def _and_more(rows: np.ndarray, places: np.ndarray) -> str:
    if len(places) == 1:
        return ""
    columns = f", {_within(places)}" if places.shape[1] == 2 else ""
    return f" ({len(places)} such numbers in row{'s' * (len(rows) > 1)} {_few(rows)}{columns})"


def _few(numbers: np.ndarray) -> str:
    return ", ".join(map(str, numbers[:5])) + ", ..." * (len(numbers) > 5)


def _reach(network: Layer, x: Any, rows: np.ndarray) -> bool:
    """Whether a layer with arrays of its own is given, or the network returns, such numbers."""
    probe = copy.deepcopy(network)
    if not probe.is_built:
        probe.build(x.shape[1:])
    reached = []

    def look(layer: Layer, direction: str, came: np.ndarray, went: np.ndarray) -> None:
        seen = came if layer.params or layer.buffers else went if layer is probe else None
        reached.append(seen is not None and not _all_finite(seen))

    with probe.observed(look), np.errstate(all="ignore"):
        probe.forward(x[rows])
    return any(reached)
