"""Rows of memory maps: read when they are wanted, a few at a time, and let go."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

CHUNK = 2**24  # elements
FEW_ROWS = 64  # each may bring in up to a megabyte of neighbours


class MappedRows:
    """Some rows of a memory map, read when they are asked for.

    Parameters
    ----------
    X : ndarray that is (a view of) a memory map
    rows : ndarray of int

    Examples
    --------
    >>> import numpy as np
    >>> rows = MappedRows(np.arange(10).reshape(5, 2), np.array([0, 3, 4]))
    >>> rows.shape, rows[1:].tolist()
    ((3, 2), [[6, 7], [8, 9]])
    """

    def __init__(self, X: np.ndarray, rows: np.ndarray) -> None:
        self.X, self.rows = X, rows
        self.shape, self.dtype, self.ndim = (len(rows), *X.shape[1:]), X.dtype, X.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        return take(self.X, self.rows[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


def mapping_of(X: Any) -> mmap.mmap | None:
    """Return the memory map that X is a view of, or None if it has changes only in memory."""
    X = X.X if isinstance(X, MappedRows) else X
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap) and X.mode == "c":  # changes to it are in memory only
            return None
        X = X.base
    return X if isinstance(X, mmap.mmap) else None


def take(X: Any, rows: Any) -> Any:
    """``X[rows]``, a few rows at a time where X is a memory map."""
    mapping = mapping_of(X)
    if isinstance(rows, slice) or isinstance(X, MappedRows):
        return X[rows]
    if mapping is None:  # ndarray.take is a fifth faster than an index
        return X.take(rows, axis=0) if type(X) is np.ndarray else X[rows]
    taken = np.empty((len(rows), *X.shape[1:]), X.dtype)
    for start in range(0, len(rows), FEW_ROWS):
        few = slice(start, start + FEW_ROWS)
        taken[few] = X[rows[few]]
        release(mapping)
    return taken


def release(mapping: mmap.mmap | None) -> None:
    """Tell the system that the pages read so far are no longer needed."""
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def chunks(X: np.ndarray) -> Iterator[np.ndarray]:
    """Yield X in pieces that fit into memory, and release each."""
    mapping = mapping_of(X)
    rows = max(1, CHUNK // max(1, int(np.prod(X.shape[1:]))))
    for start in range(0, len(X), rows):
        yield X[start : start + rows]
        release(mapping)
