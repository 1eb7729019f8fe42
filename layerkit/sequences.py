"""Rows of unequal length: all steps of all rows end to end, and where each row begins.

There is no padding, so there is no mask that could leak, and no step that is none::

    rows     [[a0], [a1], [a2]],  [[b0]],  [[c0], [c1]]
    steps    [[a0], [a1], [a2],    [b0],    [c0], [c1]]         (total_steps, n_features)
    offsets  0, 3, 4, 6                                         (n_rows + 1,)

A layer that treats every step alike, as Dense and BatchNorm do, is given the steps as the rows of a
table. A layer that reads a row in order, as LSTM does, is given the whole object.
"""

from __future__ import annotations

import sys
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
        _check_columns(rows)
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
    def of(cls, x: Any) -> Sequences:
        """Return Sequences as they are, an array as rows that are equally long."""
        return x if isinstance(x, Sequences) else cls.from_array(x)

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
    def places(self) -> np.ndarray:
        """Where each step stands in its row, counted from 0."""
        return np.arange(len(self.steps)) - np.repeat(self.offsets[:-1], self.lengths)

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
        rows = np.arange(len(self))[key]  # scikit-learn's key is (positions, ...)
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


def steps_like(x: Any, steps: np.ndarray) -> Any:
    """Give all steps of all rows, end to end, the form of x: `Sequences`, or an array by rows."""
    if isinstance(x, Sequences):
        return x.with_steps(steps)
    return steps.reshape(*x.shape[:2], *steps.shape[1:])


def same_lengths(a: Sequences, b: Sequences) -> bool:
    """Whether both have rows of the same lengths."""
    return a.offsets is b.offsets or np.array_equal(a.offsets, b.offsets)


def step_values(rows: Sequences, values: Any, name: str) -> Sequences | None:
    """Return values of every step, targets or weights, as rows of the same lengths.

    Parameters
    ----------
    rows : Sequences
        What each step has a value for.
    values : object
        A list of arrays ``(time_i,)`` or ``(time_i, k)``, `Sequences`, or anything else.
    name : str
        What an error calls the values.

    Returns
    -------
    values : Sequences or None
        None if they are no list of arrays: then they are one for each row.

    Raises
    ------
    ValueError
        If a row has another number of values than steps, and they are no table of rows either.
    """
    if isinstance(values, Sequences):
        found = values.lengths
    else:
        dtype = getattr(values, "dtype", None)
        is_list = isinstance(values, list | tuple) or dtype == np.dtype(object)
        if not is_list or not len(values) or any(np.ndim(row) == 0 for row in values):
            return None
        found = np.array([len(row) for row in values])
    if len(found) == len(rows) and (found == rows.lengths).all():
        if isinstance(values, Sequences):
            return values
        return Sequences.from_steps(np.concatenate([np.asarray(row) for row in values]), found)
    if not isinstance(values, Sequences) and (found == found[0]).all():
        return None  # of rows of one length
    if len(found) != len(rows):
        raise ValueError(f"{name} must have {len(rows)} rows, one for each of X, got {len(found)}")
    i = int((found != rows.lengths).argmax())
    raise ValueError(
        f"{name} must have a value for every step, or one for every row: row {i} has "
        f"{rows.lengths[i]} steps, but {found[i]} values in {name}"
    )


def is_collection(data: Any) -> bool:
    """Whether it is one of Dask, which is not imported to find out.

    Parameters
    ----------
    data : object

    Returns
    -------
    answer : bool
        False as long as nobody has imported Dask.
    """
    dask = sys.modules.get("dask")
    return dask is not None and dask.is_dask_collection(data)


def refuse_misread(data: Any, name: str) -> None:
    """Refuse what NumPy would read as something else, where arrays are needed.

    It would fetch a Dask collection, unasked, as a whole, and drop the mask of a masked array.

    Parameters
    ----------
    data : object
        Anything.
    name : str
        What an error calls it.

    Raises
    ------
    TypeError
        If it is a Dask collection.
    ValueError
        If it is a masked array, some of whose values are masked.
    """
    if is_collection(data):
        raise TypeError(
            f"{name} is a Dask collection ({type(data).__name__}), but rows in memory are needed "
            "here: call .compute() on it. Estimators train and predict on collections where they "
            "lie: fit(X, y), within layerkit.distributed.data_parallel(client)"
        )
    if isinstance(data, np.ma.MaskedArray) and (n_masked := np.ma.count_masked(data)):
        raise ValueError(
            f"{name} is a masked array, {n_masked} of whose {data.size} values are masked: fill "
            f"them in, {name}.filled(value), or leave their rows out"
        )


def as_sequences(x: Any) -> Any:
    """Turn a list of arrays ``(time_i, n_features)`` into `Sequences`; leave all else as it is.

    Parameters
    ----------
    x : object
        What a network was given. A list, a tuple, an array or a Series of objects is a list of rows
        if an entry is a two-dimensional array or a DataFrame, or if the rows differ in length;
        nested lists are too if they differ in length.

    Returns
    -------
    x : Sequences or object
        Sequences, or the same object.

    Raises
    ------
    TypeError
        If x is an iterator, which could be read only once, or a Dask collection.
    ValueError
        If the rows are no sequences, as `Sequences` says, or values are masked.
    """
    if isinstance(x, Iterator):
        raise TypeError(
            f"rows must be a list of arrays, got a {type(x).__name__}, which can be read only once;"
            " list(...) makes a list of it"
        )
    refuse_misread(x, "X")
    holds_objects = getattr(x, "dtype", None) == np.dtype(object) and x.ndim == 1
    rows: Any = list(x) if holds_objects else x if isinstance(x, list | tuple) else []
    return Sequences(rows) if _are_rows(rows) else x


def _are_rows(rows: Sequence[Any]) -> bool:
    """Whether no array of numbers can hold these, or a table stands for each row."""
    if rows and all(isinstance(row, list | tuple) for row in rows):
        return len({len(row) for row in rows}) > 1
    arrays = [row for row in rows if getattr(row, "ndim", 0) > 0]
    return any(row.ndim == 2 for row in arrays) or len({tuple(row.shape) for row in arrays}) > 1


def _check_columns(rows: Sequence[Any]) -> None:
    """Refuse DataFrames whose columns stand in another order, or have other names."""
    named = [(i, list(row.columns)) for i, row in enumerate(rows) if hasattr(row, "columns")]
    for i, columns in named:
        if columns != named[0][1]:
            raise ValueError(
                f"row {i} has the columns {columns}, row {named[0][0]} {named[0][1]}: all rows of "
                "sequences must have the same columns, in the same order"
            )


def _checked(row: ArrayLike, i: int) -> np.ndarray:
    if hasattr(row, "tocsr"):
        raise TypeError(f"row {i} is sparse, rows of sequences must be arrays; use .toarray()")
    refuse_misread(row, f"row {i}")
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
