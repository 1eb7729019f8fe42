"""Rows of Dask collections on the workers where they lie: partitions, and who computes on which."""

from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from layerkit.distributed.collections import whole_rows
from layerkit.sequences import is_collection
from layerkit.version import __version__

_LOOK = 5  # seconds without a result after which one looks whether there are workers at all
_PATIENCE = 60  # seconds that those which died have to be there again
_MERGED = 8  # summaries of partitions that become one at a time


@dataclass
class Share:
    """What one worker computes on: its address, and the numbers of its partitions."""

    worker: str
    parts: list[int]


class Partitions:
    """X, y and sample_weight of Dask, row by row together, each partition on one of the workers.

    Nothing of them comes to the client but what functions that are sent to them return.

    Parameters
    ----------
    client : distributed.Client
    X, y, sample_weight : dask arrays or DataFrames; the last may be None

    Attributes
    ----------
    futures : list of Future
        Of ``(X, y, sample_weight)`` of every partition.
    lengths : ndarray of int
        Their rows.
    """

    version = __version__  # of the client

    def __init__(self, client: Any, X: Any, y: Any, sample_weight: Any) -> None:
        self.client = client
        workers = self.workers()
        if not workers:
            raise RuntimeError(f"the cluster of {client!r} has no workers")
        pieces = [_pieces(X, "X"), _pieces(y, "y")]
        if sample_weight is not None:
            pieces.append(_pieces(sample_weight, "sample_weight"))
        for name, parts in zip(("y", "sample_weight"), pieces[1:], strict=False):
            if len(parts) != len(pieces[0]):
                raise ValueError(
                    f"X has {len(pieces[0])} partitions and {name} has {len(parts)}: they must be "
                    "cut between the same rows (of arrays, rechunk one as the other)"
                )
        from dask import delayed

        rows = enumerate(zip(*pieces, strict=True))
        together = [delayed(_together)(self.version, i, *parts) for i, parts in rows]
        self.shares: list[Share] = []
        self.futures, self.wanted = self._placed(together, workers, _is_there(X))
        self.measure()

    def __len__(self) -> int:
        return len(self.futures)

    def _placed(self, together: list[Any], workers: list[str], there: bool) -> tuple[Any, Any]:
        """Compute the partitions where X is already, else neighbours on the same worker.

        So the shares of a second fit are those of the first, though Dask chooses as it likes.
        """
        if there:
            return self.client.compute(together), None
        futures: list[Any] = []
        wanted: dict[int, list[str]] = {}
        neighbours = np.array_split(np.arange(len(together)), len(workers))
        for worker, own in zip(workers, neighbours, strict=True):
            where = {"workers": [worker], "allow_other_workers": True}
            futures += self.client.compute([together[i] for i in own], **where)
            wanted |= {i: [worker] for i in own.tolist()}
        return futures, wanted

    def workers(self) -> list[str]:
        """Return the addresses of the workers there are now."""
        if self.client.status != "running" or self.client.asynchronous:
            raise RuntimeError(
                f"fit needs a client that is connected and not asynchronous, got {self.client!r} "
                f"({self.client.status}): Client(address)"
            )
        return sorted(self.client.nthreads())

    def each(self, function: Callable[..., Any], own: Iterable[Any] | None = None) -> list[Any]:
        """Return what a function makes of the number and the rows of every partition.

        ``own`` holds a third argument for each.
        """
        return gathered(self.client, self._sent(function, own))

    def change(self, function: Callable[..., Any], own: Iterable[Any] | None = None) -> None:
        """Put what a function makes of every partition in its place, on its worker."""
        self.futures = self._sent(function, own)
        self.measure()

    def changed(self, function: Callable[..., Any], own: Iterable[Any] | None = None) -> Self:
        """Return partitions of as many rows that a function makes of these, which stay."""
        others = copy.copy(self)
        others.futures = self._sent(function, own)
        return others

    def merged(
        self,
        function: Callable[..., Any],
        merge: Callable[[list[Any]], Any],
        own: Iterable[Any] | None = None,
    ) -> Any:
        """Return what a function makes of every partition, merged on the workers, as in a tree.

        Neighbours are merged first, so the result does not depend on where they lie. None, where
        there is nothing to say, is left out.
        """
        futures = self._sent(function, own)
        while len(futures) > 1:
            few = [futures[i : i + _MERGED] for i in range(0, len(futures), _MERGED)]
            futures = [self.client.submit(_merge, merge, group, pure=False) for group in few]
        return gathered(self.client, futures)[0]

    def take(self, function: Callable[[Any, Any, Any], Any], rows: np.ndarray) -> Any:
        """Return what a function makes of X, y and weight of some rows: an array, row by row."""
        from distributed.protocol.pickle import dumps

        self.place()
        blob, (picks, order) = dumps(function), self.split(rows)
        futures = []
        for share, pick, own in zip(self.shares, picks, order, strict=True):
            if len(own):
                parts = [self.futures[p] for p in share.parts]
                where = {"workers": [share.worker], "allow_other_workers": True, "pure": False}
                futures.append(self.client.submit(_taken, blob, parts, pick, **where))
        found = np.concatenate(gathered(self.client, futures))
        in_order = np.empty_like(found)
        in_order[np.concatenate(order)] = found
        return in_order

    def cut(self, of_rows: np.ndarray) -> list[np.ndarray]:
        """Cut an array with an entry for every row where the partitions end."""
        return np.split(of_rows, self.ends[:-1])

    def measure(self) -> None:
        """Count the rows."""
        self.lengths = np.array(self.each(_count), np.int64)
        self.ends = np.cumsum(self.lengths)

    def _sent(self, function: Callable[..., Any], own: Iterable[Any] | None = None) -> list[Any]:
        submit, n = self.client.submit, range(len(self))
        more = [()] * len(self) if own is None else [(value,) for value in own]
        return [submit(function, i, self.futures[i], *more[i], pure=False) for i in n]

    def find(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the partition of each row, and its place there."""
        parts = np.searchsorted(self.ends, rows, side="right")
        return parts, rows - (self.ends - self.lengths)[parts]

    def owner(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of the share of each row."""
        owner = np.empty(len(self), np.int64)
        for s, share in enumerate(self.shares):
            owner[share.parts] = s
        return owner[self.find(rows)[0]]

    def split(self, rows: np.ndarray) -> tuple[list[tuple[Any, Any]], list[np.ndarray]]:
        """Split rows among the shares.

        Returns
        -------
        picks : list of (ndarray, ndarray)
            Of each share: the positions of its rows' partitions in it, in order, and the rows'
            places there.
        where : list of ndarray
            Which of the rows these are.
        """
        parts, places = self.find(rows)
        owner, position = self.owner(rows), np.empty(len(self), np.int64)
        picks, where = [], []
        for s, share in enumerate(self.shares):
            position[share.parts] = np.arange(len(share.parts))
            own = np.flatnonzero(owner == s)
            own = own[np.argsort(position[parts[own]], kind="stable")]
            picks.append((position[parts[own]], places[own]))
            where.append(own)
        return picks, where

    def place(self) -> None:
        """Give every worker that is there now its share, moving as few partitions as possible.

        As long as there are as many workers the shares stay, and one whose worker is gone goes to a
        worker that has none: so nothing is summed in another order.
        """
        while not (workers := self.workers()):  # whoever was waited for may be gone again
            self.client.wait_for_workers(1, timeout=_PATIENCE)
        parts = np.flatnonzero(self.lengths).tolist()
        n_shares = min(len(workers), len(parts))
        if len(self.shares) == n_shares:
            free = [w for w in workers if w not in {share.worker for share in self.shares}]
            for share in self.shares:
                if share.worker not in workers:
                    share.worker = free.pop()
        else:
            held = self.client.who_has(self.futures)
            at = self.wanted or {i: sorted(held.get(self.futures[i].key, ())) for i in parts}
            self.shares, self.wanted = divide(parts, self.lengths, at, workers), None
        self._move()

    def _move(self) -> None:
        """Move the partitions to the workers of their shares."""
        held = self.client.who_has(self.futures)
        for share in self.shares:
            where = {"workers": [share.worker], "allow_other_workers": True, "pure": False}
            for i in share.parts:
                part = self.futures[i]
                if share.worker not in held.get(part.key, ()):
                    self.futures[i] = self.client.submit(_same, part, **where)


def divide(
    parts: Sequence[int], lengths: np.ndarray, at: dict[int, list[str]], workers: Sequence[str]
) -> list[Share]:
    """Divide partitions among workers: where they lie, unless that is far more than a fair share.

    Examples
    --------
    >>> shares = divide([0, 1, 2], np.array([5, 5, 5]), {0: ["a"], 1: ["a"], 2: ["a"]}, ["a", "b"])
    >>> [(share.worker, share.parts) for share in shares]
    [('a', [0, 1]), ('b', [2])]
    """
    fair = math.ceil(sum(lengths[i] for i in parts) / min(len(workers), len(parts)))
    loads = dict.fromkeys(workers, 0)
    owned: dict[str, list[int]] = {worker: [] for worker in workers}
    for i in sorted(parts, key=lambda i: (-lengths[i], i)):
        holders = [w for w in at[i] if w in loads]
        worker = min(holders, key=loads.__getitem__, default=None)
        if worker is None or (loads[worker] and loads[worker] + lengths[i] > 1.34 * fair):
            worker = min(workers, key=loads.__getitem__)
        loads[worker] += int(lengths[i])
        owned[worker].append(i)
    _fill(owned, loads, lengths)
    return [Share(worker, sorted(owned[worker])) for worker in workers if owned[worker]]


def _fill(owned: dict[str, list[int]], loads: dict[str, int], lengths: np.ndarray) -> None:
    """Let workers that have nothing take a partition of those that have several."""
    for idle in [worker for worker, parts in owned.items() if not parts]:
        several = [worker for worker, parts in owned.items() if len(parts) > 1]
        if not several:
            return
        giver = max(several, key=loads.__getitem__)
        i = owned[giver].pop()
        owned[idle].append(i)
        loads[giver] -= int(lengths[i])
        loads[idle] += int(lengths[i])


def gathered(client: Any, futures: list[Any]) -> list[Any]:
    """Return results, or raise what a task raised, or what there is to say if nobody computes."""
    from distributed import as_completed

    seen = time.monotonic()
    while True:
        try:
            for _ in as_completed(futures, loop=client.loop, timeout=_LOOK):
                pass
        except TimeoutError:
            if client.nthreads():
                client.run_on_scheduler(_run_anywhere)
                seen = time.monotonic()
            elif time.monotonic() - seen > _PATIENCE:
                raise RuntimeError(
                    f"all workers of {client!r} have been gone for {_PATIENCE} seconds"
                ) from None
        else:
            return client.gather(futures)


def _run_anywhere(dask_scheduler: Any) -> None:
    """Let tasks that no worker may run run on any, where others are allowed.

    Dask does not do it by itself where all workers died before there were new ones.
    """
    waiting = [task.key for task in dask_scheduler.unrunnable if task.loose_restrictions]
    dask_scheduler.set_restrictions(dict.fromkeys(waiting))
    dask_scheduler.transitions(dict.fromkeys(waiting, "processing"), stimulus_id="run anywhere")


def check_version(of_client: str) -> None:
    """Refuse, on a worker, to compute for a client that has another layerkit.

    Examples
    --------
    >>> check_version("0.0.1")
    Traceback (most recent call last):
    RuntimeError: all workers must have the client's layerkit 0.0.1, one has ...
    """
    if of_client != __version__:
        raise RuntimeError(
            f"all workers must have the client's layerkit {of_client}, one has {__version__}: "
            "install the same on all machines"
        )


def _is_there(X: Any) -> bool:
    """Whether workers have the partitions already."""
    from distributed import futures_of

    return bool(futures_of(X))


def _pieces(data: Any, name: str) -> list[Any]:
    """Return the partitions, to be computed."""
    if not is_collection(data) or not isinstance(getattr(data, "ndim", None), int):
        raise TypeError(
            f"{name} must be a Dask array, DataFrame or Series, as X is a Dask collection, got "
            f"{type(data).__name__}"
        )
    if hasattr(data, "numblocks"):
        return whole_rows(data).to_delayed().ravel().tolist()
    return data.to_delayed()


def _together(
    version: str, i: int, X: Any, y: Any, sample_weight: Any = None
) -> tuple[Any, Any, Any]:
    check_version(version)
    y = y.to_numpy(na_value=np.nan) if hasattr(y, "to_numpy") else np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if len(y) != len(X):
        raise ValueError(f"partition {i}: X has {len(X)} rows and y has {len(y)}")
    if sample_weight is None:
        return X, y, None
    weight = np.asarray(sample_weight, np.float64)
    if weight.shape != (len(X),):
        raise ValueError(
            f"partition {i}: sample_weight must have one weight for each of the {len(X)} rows of "
            f"X, got {weight.shape}"
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(f"partition {i}: sample_weight must be finite and not negative")
    return X, y, weight


def _count(i: int, part: Any) -> int:
    return len(part[1])


def _same(part: Any) -> Any:
    return part


def _merge(merge: Callable[[list[Any]], Any], group: list[Any]) -> Any:
    found = [part for part in group if part is not None]
    return merge(found) if found else None


def _taken(blob: bytes, parts: list[Any], pick: tuple[np.ndarray, np.ndarray]) -> Any:
    positions, places = pick
    rows = []
    for p in np.unique(positions):
        own = places[positions == p]
        rows.append([None if values is None else values[own] for values in parts[p]])
    joined = (None if v[0] is None else np.concatenate(v) for v in zip(*rows, strict=True))
    return pickle.loads(blob)(*joined)
