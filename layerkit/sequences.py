"""Rows of unequal length: all steps of all rows end to end, and where each row begins.

There is no padding, so there is no mask that could leak, and no step that is none::

    rows     [[a0], [a1], [a2]],  [[b0]],  [[c0], [c1]]
    steps    [[a0], [a1], [a2],    [b0],    [c0], [c1]]         (total_steps, n_features)
    offsets  0, 3, 4, 6                                         (n_rows + 1,)

A layer that treats every step alike, as Dense and BatchNorm do, is given the steps as the rows of a
table. A layer that reads a row in order, as LSTM does, is given the whole object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike


class Sequences:
    """Rows of unequal length, such as sentences, recordings or histories.

    A list of arrays ``(time_i, n_features)`` becomes one by itself wherever a network, `train` or
    an estimator takes X.

    Parameters
    ----------
    rows : sequence of array-like of shape (time_i, n_features)
        At least one step each, all of the same width; or ids ``(time_i,)``, for an Embedding.

    Attributes
    ----------
    steps : ndarray of shape (total_steps, n_features)
        The rows end to end.
    offsets : ndarray of shape (n_rows + 1,)
        Row i is ``steps[offsets[i]:offsets[i + 1]]``.

    Raises
    ------
    ValueError
        If a row has no steps, is not two-dimensional or has another width than the first; it says
        which.
    TypeError
        If a row does not hold numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit.sequences import Sequences
    >>> x = Sequences([np.ones((3, 2)), np.zeros((1, 2)), np.full((2, 2), 5.0)])
    >>> x
    Sequences of 3 rows, 1 to 3 steps of shape (2,), float64
    >>> x.shape, x.steps.shape, x.lengths.tolist()
    ((3, None, 2), (6, 2), [3, 1, 2])
    >>> x[2].tolist(), x[[2, 0]].lengths.tolist()
    ([[5.0, 5.0], [5.0, 5.0]], [2, 3])
    """

    __slots__ = ("offsets", "steps")

    steps: np.ndarray
    offsets: np.ndarray

    def __init__(self, rows: Sequence[ArrayLike]) -> None:
        arrays = [_checked(row, i) for i, row in enumerate(rows)]
        if not arrays:
            raise ValueError("sequences must have at least one row, got none")
        for i, array in enumerate(arrays):
            if array.shape[1:] != arrays[0].shape[1:]:
                raise ValueError(
                    f"row {i} has steps of shape {array.shape[1:]}, row 0 of {arrays[0].shape[1:]}:"
                    " all rows of sequences must have the same width"
                )
        self.steps = np.concatenate(arrays)
        self.offsets = _offsets([len(array) for array in arrays])

    # ---------------------------------------------------------------- other ways to make them

    @classmethod
    def from_steps(cls, steps: np.ndarray, lengths: ArrayLike) -> Sequences:
        """Cut an array of all steps into rows.

        Parameters
        ----------
        steps : ndarray of shape (total_steps, ...)
            The rows end to end; not copied.
        lengths : array-like of int of shape (n_rows,)
            How many steps each row has, at least one.

        Returns
        -------
        sequences : Sequences
            Of these rows.
        """
        lengths = np.asarray(lengths)
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any():
            raise ValueError(f"lengths must be positive integers, one a row, got {lengths}")
        if lengths.sum() != len(steps):
            raise ValueError(f"lengths add up to {lengths.sum()}, but there are {len(steps)} steps")
        return cls._of(steps, _offsets(lengths))

    @classmethod
    def from_array(cls, array: np.ndarray) -> Sequences:
        """Take an array ``(n_rows, time, ...)`` as rows that are equally long, without a copy."""
        n_rows, time = array.shape[:2]
        return cls._of(
            array.reshape(n_rows * time, *array.shape[2:]), time * np.arange(n_rows + 1, dtype=int)
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Sequences]) -> Sequences:
        """Put the rows of several one after the other."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls._of(np.concatenate([part.steps for part in parts]), _offsets(lengths))

    @classmethod
    def _of(cls, steps: np.ndarray, offsets: np.ndarray) -> Sequences:
        made = object.__new__(cls)
        made.steps, made.offsets = steps, offsets
        return made

    def with_steps(self, steps: np.ndarray) -> Sequences:
        """Give the same rows other values, as many steps as there are."""
        assert len(steps) == len(self.steps), f"{len(steps)} steps for {self}"
        return self._of(steps, self.offsets)

    # ---------------------------------------------------------------- like an array

    @property
    def lengths(self) -> np.ndarray:
        """How many steps each row has."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def time(self) -> int | None:
        """How many steps every row has; None if they differ."""
        lengths = self.lengths
        return int(lengths[0]) if len(lengths) and (lengths == lengths[0]).all() else None

    @property
    def shape(self) -> tuple[Any, ...]:
        """(number of rows, `time`, n_features)."""
        return len(self), self.time, *self.steps.shape[1:]

    @property
    def ndim(self) -> int:
        """Number of axes of an array of rows of one length."""
        return 1 + self.steps.ndim

    @property
    def dtype(self) -> np.dtype:
        """That of the steps."""
        return self.steps.dtype

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(np.split(self.steps, self.offsets[1:-1]) if len(self) else [])

    def __getitem__(self, key: Any) -> Any:
        """Return one row by its position, or the rows of a slice, of positions or of a mask."""
        if isinstance(key, tuple) and key[1:] == (Ellipsis,):  # as scikit-learn indexes rows
            key = key[0]
        rows = np.arange(len(self))[key]
        if rows.ndim == 0:
            return self.steps[self.offsets[rows] : self.offsets[rows + 1]]
        offsets = _offsets(self.lengths[rows])
        if isinstance(key, slice) and key.step in (None, 1) and len(rows):
            return self._of(self.steps[self.offsets[rows[0]] : self.offsets[rows[-1] + 1]], offsets)
        # Step k of a row stands where the row begins here, k steps on.
        shift = np.repeat(self.offsets[rows] - offsets[:-1], self.lengths[rows])
        return self._of(self.steps.take(shift + np.arange(offsets[-1]), axis=0), offsets)

    def __add__(self, other: Sequences) -> Sequences:
        if not isinstance(other, Sequences):
            return NotImplemented
        if not same_lengths(self, other):
            raise ValueError(f"cannot add {self} and {other}: their rows differ in length")
        return self.with_steps(self.steps + other.steps)

    def astype(self, dtype: DTypeLike, copy: bool = True) -> Sequences:
        """Return the same rows in another dtype."""
        return self.with_steps(self.steps.astype(dtype, copy=copy))

    def copy(self) -> Sequences:
        """Return the same rows in memory of their own."""
        return self.with_steps(self.steps.copy())

    def to_array(self) -> np.ndarray:
        """Return rows of one length as an array ``(n_rows, time, n_features)``, without a copy."""
        if self.time is None:
            raise ValueError(f"rows of unequal length are no array: {self}")
        return self.steps.reshape(self.shape)

    def __reduce__(self) -> tuple[Any, ...]:
        return Sequences._of, (self.steps, self.offsets)

    def __repr__(self) -> str:
        return (
            f"Sequences of {len(self)} rows, {self.extent} of shape {self.steps.shape[1:]}, "
            f"{self.dtype}"
        )

    @property
    def extent(self) -> str:
        """Print how long the rows are, such as "2 to 5 steps"."""
        lengths = self.lengths
        if len(lengths) == 0:
            return "0 steps"
        return (
            f"{lengths.min()} to {lengths.max()} steps"
            if self.time is None
            else (f"{self.time} step{'s' * (self.time != 1)}")
        )


def numbers(x: Any) -> Any:
    """Return the array that holds all numbers: the steps of `Sequences`, any array itself."""
    return x.steps if isinstance(x, Sequences) else x


def same_lengths(a: Sequences, b: Sequences) -> bool:
    """Whether two have rows of the same lengths."""
    return a.offsets is b.offsets or np.array_equal(a.offsets, b.offsets)


def as_sequences(x: Any) -> Any:
    """Turn a list of arrays ``(time_i, n_features)`` into `Sequences`; leave all else as it is.

    Parameters
    ----------
    x : object
        What a network was given. A list, a tuple or an array of objects in which an entry is a
        two-dimensional array is a list of rows; so are nested lists that differ in length.

    Returns
    -------
    x : Sequences or object
        Sequences, or the same object.
    """
    if isinstance(x, np.ndarray):
        rows: Any = list(x) if x.dtype == object and x.ndim == 1 else []
    else:
        rows = x if isinstance(x, list | tuple) else []
    of_arrays = any(getattr(row, "ndim", 0) == 2 and not hasattr(row, "tocsr") for row in rows)
    return Sequences(rows) if of_arrays or _differ_in_length(rows) else x


def _differ_in_length(rows: Sequence[Any]) -> bool:
    """Whether these are lists of lists of numbers, not all as long: no array can hold them."""
    if not rows or not all(isinstance(row, list | tuple) for row in rows):
        return False
    nested = all(isinstance(row[0], list | tuple) for row in rows if row)
    return nested and len({len(row) for row in rows}) > 1


def _checked(row: ArrayLike, i: int) -> np.ndarray:
    if hasattr(row, "tocsr"):
        raise TypeError(f"row {i} is sparse, rows of sequences must be arrays; use .toarray()")
    try:
        array = np.asarray(row)
    except ValueError as error:
        raise ValueError(f"row {i} must be an array (time, n_features): {error}") from error
    if array.ndim not in (1, 2):
        raise ValueError(f"row {i} must have shape (time, n_features), got {array.shape}")
    if len(array) == 0:
        raise ValueError(f"row {i} has no steps, its shape is {array.shape}")
    if array.dtype.kind not in "fiub":
        raise TypeError(f"row {i} must hold numbers, got dtype {array.dtype}")
    return array


def _offsets(lengths: ArrayLike) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths, dtype=int)])
