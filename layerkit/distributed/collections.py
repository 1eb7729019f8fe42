"""Dask collections: what is made of each partition, lazily."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np


def each_partition(function: Callable[[Any], Any], X: Any, blank: float = 0.0) -> Any:
    """Return what a function makes of the rows of each partition, when it is asked for.

    Parameters
    ----------
    function : callable (rows) -> ndarray, or list or tuple of ndarray
        With a row for each row, of at least one row.
    X : dask array or DataFrame
    blank : float
        What stands in the row by which one sees of what dtype and shape the results are.

    Returns
    -------
    results : dask array, or list or tuple of dask array
    """
    example = function(_one_row(X, blank))
    if isinstance(example, list | tuple):
        parts = [_lazily(_Item(function, i), X, one) for i, one in enumerate(example)]
        return type(example)(parts)
    return _lazily(function, X, example)


def computed(*collections: Any) -> Any:
    """Return the values of collections, each once.

    Parameters
    ----------
    *collections : dask collections, or anything else

    Returns
    -------
    values : tuple
        What is no collection stays as it is.
    """
    import dask

    with warnings.catch_warnings():  # of arrays beside tables, which nobody can change
        warnings.filterwarnings("ignore", message="Computing mixed collections")
        return dask.compute(*collections)


class _Item:
    """One of several results of a function."""

    def __init__(self, function: Callable[[Any], Any], position: int) -> None:
        self.function, self.pick = function, itemgetter(position)

    def __call__(self, rows: Any) -> np.ndarray:
        return self.pick(self.function(rows))


def _lazily(function: Callable[[Any], Any], X: Any, example: Any) -> Any:
    none = np.asarray(example)[:0]
    rowwise = partial(_or_none, function, none)
    if hasattr(X, "columns"):
        return X.map_partitions(rowwise, meta=none)
    X = whole_rows(X)
    axes = {"drop_axis": list(range(1, X.ndim)), "new_axis": list(range(1, none.ndim))}
    chunks = (X.chunks[0], *[(size,) for size in none.shape[1:]])
    return X.map_blocks(rowwise, dtype=none.dtype, chunks=chunks, meta=none, **axes)


def _or_none(function: Callable[[Any], Any], none: np.ndarray, rows: Any) -> np.ndarray:
    """Return what a function makes of rows, or of none."""
    return function(rows) if len(rows) else none


def whole_rows(X: Any) -> Any:
    """Return an array that is cut between rows only.

    Parameters
    ----------
    X : dask array

    Returns
    -------
    X : dask array
        The same one, or its chunks joined along all axes but the first.
    """
    cut = [axis for axis in range(1, X.ndim) if X.numblocks[axis] > 1]
    return X.rechunk(dict.fromkeys(cut, -1)) if cut else X


def _one_row(X: Any, blank: float) -> Any:
    if not hasattr(X, "columns"):
        return np.full((1, *X.shape[1:]), blank if X.dtype == object else 0, X.dtype)
    import pandas as pd

    return pd.DataFrame(np.full((1, len(X.columns)), blank), columns=X.columns)
