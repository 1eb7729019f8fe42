"""Data in batches: rows of arrays, in memory or in a file, or a stream of ready batches."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np

from layerkit.layer import Layer
from layerkit.losses import Focal, Loss
from layerkit.losses.classification import Categorical
from layerkit.parameters import check_arguments, is_size
from layerkit.sequences import Sequences, as_sequences, numbers, refuse_misread, step_values
from layerkit.shapes import Shape
from layerkit.training.targets import check_numbers, check_targets, row_weights

Batch = tuple[Any, Any, Any, float | None]
"""x, y, sample_weight and the normalizer that the loss divides by (None: the number of rows)."""
CHUNK = 2**24  # elements
FEW_ROWS = 64  # each may bring in up to a megabyte of neighbours


class Table:
    """Base class of tables whose rows come in batches.

    Attributes
    ----------
    X, y, sample_weight : array, ndarray, ndarray or None
        All rows.
    bounds : list of (int, int)
        From where to where in the order the batches are.
    mean_weight : float
        What the normalizer of a batch has for each row.
    state : dict
        What the next order depends on; settable.
    """

    X: Any
    y: np.ndarray
    sample_weight: np.ndarray | None
    bounds: list[tuple[int, int]]
    mean_weight: float
    state: Any

    def next_order(self) -> np.ndarray | None:
        """Draw an order of the rows, or return None for the one that they have."""
        raise NotImplementedError


class ArrayBatches(Table):
    """Batches of rows of X, y and sample_weight; a new order for every pass if ``rng`` is given.

    A single row left over joins the last batch: no row is dropped and none comes alone.

    Examples
    --------
    >>> import numpy as np
    >>> batches = ArrayBatches(np.zeros((7, 2)), np.arange(7), None, batch_size=3)
    >>> [y.tolist() for _, y, _, _ in batches]
    [[0, 1, 2], [3, 4, 5, 6]]
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        batch_size: int = 32,
        rng: np.random.Generator | None = None,
    ) -> None:
        check_arguments(("batch_size", batch_size, is_size(batch_size), "a positive integer"))
        self.X, self.y, self.sample_weight = _checked(X, y, sample_weight)
        self.mean_weight = 1.0
        if self.sample_weight is not None:
            with np.errstate(over="ignore"):
                total = numbers(self.sample_weight).sum()
            self.mean_weight = float(total / len(self.sample_weight))
            if self.mean_weight == 0:
                raise ValueError("sample_weight is zero for all rows")
            if self.mean_weight == np.inf:
                raise ValueError(
                    f"the sum of sample_weight is more than {total.dtype} can hold; weights count "
                    "relative to their mean, so divide them by their maximum"
                )
        self.rng = rng
        n_rows, batch_size = self.X.shape[0], int(batch_size)
        starts = list(range(0, n_rows, batch_size))
        if len(starts) > 1 and n_rows % batch_size == 1:
            starts.pop()
        self.bounds = list(zip(starts, [*starts[1:], n_rows], strict=True))

    def shape_targets(self, loss: Any, network: Layer) -> None:
        """Give y, where it is a vector, the shape of the network's outputs."""
        self.y = as_targets(self.y, loss, network)

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample."""
        return self.X.shape[1:]

    @property
    def dtype(self) -> np.dtype:
        """What a network for these data computes in: float64 for float64, else float32."""
        return np.dtype(np.float64 if self.X.dtype == np.float64 else np.float32)

    @property
    def sample(self) -> Any:
        """About ten thousand rows, evenly spaced."""
        return take(self.X, slice(None, None, max(self.X.shape[0] // 10_000, 1)))

    @property
    def looks_finite(self) -> bool:
        """Whether the sum of X is finite, a quick check; memory maps are not read for it."""
        X = self.X
        if isinstance(X, MappedRows) or mapping_of(X) is not None:
            return True
        values = X if type(X) is np.ndarray else X.data if hasattr(X, "tocsr") else numbers(X)
        with np.errstate(over="ignore", invalid="ignore"):
            return values.dtype.kind != "f" or bool(np.isfinite(values.sum()))

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def table(self) -> Table | None:
        """All rows."""
        return self

    def next_order(self) -> np.ndarray | None:
        return None if self.rng is None else self.rng.permutation(self.X.shape[0])

    def __iter__(self) -> Iterator[Batch]:
        order = self.next_order()
        mapping = mapping_of(self.X)
        for start, stop in self.bounds:
            yield self._batch(slice(start, stop) if order is None else order[start:stop])
            release(mapping)

    @property
    def fingerprint(self) -> str:
        """A digest of y and of some rows of X, by which a checkpoint recognises the data."""
        return fingerprint(self.X, self.y)

    @property
    def state(self) -> dict[str, Any]:
        """State of the generator that draws the orders, for a checkpoint; settable."""
        return {} if self.rng is None else {"rng": self.rng.bit_generator.state}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if self.rng is not None:
            self.rng.bit_generator.state = state["rng"]

    def check_order(self, stateful: str) -> None:
        """Refuse batches between which a stateful layer cannot carry its state."""
        sizes = {stop - start for start, stop in self.bounds}
        if self.rng is not None:
            reason = "shuffled rows do not go on from one another; use shuffle=False"
        elif len(sizes) > 1:
            reason = f"batches must be of one size, got {sorted(sizes)}; change batch_size"
        else:
            return
        raise ValueError(f"in {stateful}: row i of a batch goes on from row i before; {reason}")

    def everything(self) -> Batch:
        """All rows as one batch."""
        return self._batch(slice(None))

    def _batch(self, rows: Any) -> Batch:
        y = self.y[rows]
        weight = None if self.sample_weight is None else self.sample_weight[rows]
        return take(self.X, rows), y, weight, len(y) * self.mean_weight


class StreamedBatches:
    """Batches (x, y) or (x, y, sample_weight) from anything that can be iterated for every epoch.

    Weights are taken as they are: the weighted sum is divided by the number of rows. Batches that
    change from epoch to epoch need a ``state``, a settable dict, to be resumed from a checkpoint.
    """

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches
        self._targets_for: tuple[Any, Layer] | None = None

    def shape_targets(self, loss: Any, network: Layer) -> None:
        self._targets_for = loss, network

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample, from the first batch."""
        return self._first().shape[1:]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float64 if self._first().dtype == np.float64 else np.float32)

    @property
    def sample(self) -> Any:
        """The rows of the first batch."""
        return self._first()

    def _first(self) -> Any:
        if isinstance(self.batches, Iterator):
            raise ValueError(
                "data is an iterator, whose first batch cannot be looked at without losing it: "
                "build the network first, or pass something that can be iterated anew"
            )
        return next(iter(self))[0]

    def __len__(self) -> int:
        return len(self.batches) if isinstance(self.batches, Sized) else 0

    def __iter__(self) -> Iterator[Batch]:
        n_batches = 0
        for batch in self.batches:
            if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
                raise ValueError(
                    "data must be (X, y), (X, y, sample_weight) or an iterable of such batches; "
                    f"batch {n_batches} is {_described(batch)}"
                )
            x, y, weight = _checked(*batch)
            if self._targets_for is not None:
                y = as_targets(y, *self._targets_for)
            per_step = isinstance(weight, Sequences)
            yield x, y, weight, float(len(weight.steps) if per_step else len(y))
            release(mapping_of(x))
            n_batches += 1
        if n_batches == 0:
            raise ValueError(
                "data gave no batches: an iterator can be used up only once, so for several epochs "
                "pass something that can be iterated anew (a list, an object with __iter__)"
            )

    def check_order(self, stateful: str) -> None:
        """Accept them: their order is the user's."""

    @property
    def table(self) -> Table | None:
        """All rows, where the batches are of a table."""
        return self.batches if isinstance(self.batches, Table) else None

    @property
    def fingerprint(self) -> str:
        """That of the batches themselves, if they have one."""
        return getattr(self.batches, "fingerprint", "")

    @property
    def state(self) -> dict[str, Any]:
        """State of the batches themselves, if they have one; settable."""
        state = getattr(self.batches, "state", None)
        return state if isinstance(state, dict) else {}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if state:
            self.batches.state = state  # type: ignore[attr-defined]

    def everything(self) -> Batch:
        """Refuse: a stream cannot be held in memory."""
        raise ValueError("LBFGS needs all rows at once: pass data as (X, y), not as batches")


def as_targets(y: np.ndarray, loss: Any, network: Layer) -> np.ndarray:
    """Give a vector of targets the second axis of a network with one output."""
    single = network.output_shape == (1,) and y.ndim == 1 and isinstance(loss, Loss)
    labels = isinstance(loss, Categorical) and not isinstance(loss, Focal)
    return y[:, np.newaxis] if single and not labels else y


def as_batches(
    data: Any, batch_size: int, rng: np.random.Generator | None = None, name: str = "data"
) -> ArrayBatches | StreamedBatches:
    """Return batches of arrays, or of a stream of batches."""
    if isinstance(data, tuple) and len(data) in (2, 3) and not isinstance(data[0], tuple):
        X, y, sample_weight = (*data, None)[:3]
        return ArrayBatches(X, y, sample_weight, batch_size, rng)
    refuse_misread(data, name)
    if isinstance(data, Iterable) and not hasattr(data, "dtype"):
        return StreamedBatches(data)
    raise ValueError(
        f"{name} must be (X, y), (X, y, sample_weight) or an iterable of such batches, "
        f"got {_described(data)}"
    )


def fingerprint(X: Any, y: np.ndarray) -> str:
    """Return a digest of y and of 64 rows of X, which is not read as a whole."""
    sample = X[np.linspace(0, X.shape[0] - 1, 64).astype(int)]
    digest = hashlib.sha256(repr((X.shape, X.dtype, y.shape, y.dtype)).encode())
    for array in (numbers(y), sample.data if hasattr(sample, "tocsr") else numbers(sample)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _described(data: Any) -> str:
    if hasattr(data, "shape"):
        return f"an array of shape {data.shape}"
    size = f" of {len(data)} entries" if hasattr(data, "__len__") else ""
    return f"{type(data).__name__}{size}"


def _checked(X: Any, y: Any, sample_weight: Any = None) -> tuple[Any, Any, Any]:
    """Return arrays (a memory map is not read, sparse rows stay sparse) with equally many rows.

    Of rows of unequal length, targets and weights of every step are rows of unequal length too.
    """
    for values, name in ((X, "X"), (y, "y"), (sample_weight, "sample_weight")):
        if values is not None and type(values) is not np.ndarray:
            refuse_misread(values, name)
    if hasattr(X, "tocsr"):
        X = X.tocsr()
    elif type(X) is not np.ndarray:
        X = as_sequences(X)
    if not isinstance(X, np.ndarray | MappedRows | Sequences) and not hasattr(X, "tocsr"):
        X = np.asarray(X)
    of_steps = step_values(X, y, "y") if isinstance(X, Sequences) else None
    y = np.asarray(y) if of_steps is None else of_steps
    if y.dtype.kind not in "biuf":
        check_targets(y)
        check_numbers(y)
    if X.ndim == 0 or X.shape[0] == 0:
        raise ValueError(f"X must have at least one row, its shape is {X.shape}")
    n_rows = X.shape[0]
    if y.ndim == 0 or len(y) != n_rows:
        raise ValueError(f"y must have one row for each of the {n_rows} rows of X, got {y.shape}")
    weight: Any = None if of_steps is None else step_values(X, sample_weight, "sample_weight")
    if weight is None and sample_weight is not None:
        weight = row_weights(sample_weight, n_rows)
    if weight is not None and not ((numbers(weight) >= 0) & np.isfinite(numbers(weight))).all():
        least, most = np.min(numbers(weight)), np.max(numbers(weight))
        raise ValueError(
            f"sample_weight must be finite and not negative, got numbers from {least:g} to {most:g}"
        )
    return X, y, weight


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
