"""One training run on the workers of a Dask cluster, led from the client.

The client has the network, the optimizer, the record and the callbacks; workers have the rows. An
epoch goes through the same batches as on one machine, in rounds: one task for each worker, which is
given the network as it is now and the places of its rows in the batches of the round.

- A round of one batch gives back gradients, whose sum is that of the batch: the step is exact.
- A round of k batches gives back what k steps of a worker's own have made of the flat vector, and
  the client takes the mean, weighted by rows (local SGD; Stich, "Local SGD converges fast and
  communicates little", ICLR 2019).

A task depends on nothing but what it is given. So Dask may repeat it: if a worker dies, on another.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerkit import kernels
from layerkit.distributed.partitions import Partitions, check_version, gathered
from layerkit.fused import plan, threads_for
from layerkit.layer import Layer
from layerkit.layers import BatchNorm
from layerkit.parameters import is_size
from layerkit.training.batches import ArrayBatches
from layerkit.training.ranks import Ranks
from layerkit.training.run import Run, buffers_of, first_nonfinite, joined

_MEASURED = 4  # rounds of one batch before sync_every is chosen; the first is not counted
_WORTH = 4  # computing is to take so many times what the rest of a round takes
_ROWS = 1024  # at a time, when predicting

Pick = tuple[np.ndarray, np.ndarray]
"""Rows of a share: the positions of their partitions in it, and their places there."""


@dataclass
class Job:
    """What a task is sent, beside the rows' places."""

    network: Layer
    loss: Any
    optimizer: Any
    validate: Callable[..., Any]
    encode: Callable[[np.ndarray], np.ndarray]
    mean_weight: float
    small: bool
    version: str

    def rows(self, parts: list[Any], pick: Pick) -> tuple[Any, Any, Any]:
        """Return x, y and weight of rows, as the loss takes them."""
        positions, places = pick
        taken = [self._taken(parts[p], places[positions == p]) for p in np.unique(positions)]
        x, y, weight = zip(*taken, strict=True)
        return joined(x), joined(y), None if weight[0] is None else joined(weight)

    def _taken(self, part: Any, places: np.ndarray) -> Any:
        X, y, weight = part
        x = X.iloc[places] if hasattr(X, "iloc") else X[places]
        x, y = self.validate(x, y[places], reset=False)
        return x, self.encode(y), None if weight is None else weight[places] / self.mean_weight


class Workers(Ranks):
    """The workers of a Dask cluster, in the place of the ranks of MPI.

    Parameters
    ----------
    client : distributed.Client
    sync_every : int or "auto"
        Steps that workers make between two averages.
    """

    def __init__(self, client: Any, sync_every: int | str = "auto") -> None:
        if sync_every != "auto" and not is_size(sync_every):
            raise ValueError(f"sync_every must be 'auto' or a positive integer, got {sync_every!r}")
        self.client, self.sync_every = client, sync_every
        self.communicator = _Alone()
        self.rank, self.size = 0, 1
        self.parts = True
        self.times: list[tuple[float, float]] = []
        self.n_shares = self.repeated = self.every = 0

    # ---------------------------------------------------------------- beginning

    def batches(self, data: Any, batch_size: int, rng: np.random.Generator | None) -> Any:
        if not isinstance(getattr(data, "partitions", None), Partitions):
            raise TypeError(
                "within data_parallel(client) estimators fit Dask arrays and DataFrames, got "
                f"{type(data[0] if isinstance(data, tuple) else data).__name__}"
            )
        if data.table is None:
            nothing = np.broadcast_to(np.int8(0), data.n_rows)
            data.table = ArrayBatches(nothing, nothing, None, batch_size, rng)
        return data

    def same(self, seed: np.random.SeedSequence) -> np.random.SeedSequence:
        return seed

    def begin(self, network: Layer, noise: np.random.SeedSequence) -> None:
        self.noise = noise

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Do nothing: Ctrl-C comes to the client, and Dask tells it of errors."""
        yield

    # ---------------------------------------------------------------- an epoch

    def epoch(self, run: Run, rows: Any) -> float:
        """One pass over all rows, in rounds; return the mean loss."""
        state, bounds, total, done = run.state, rows.table.bounds, 0.0, 0
        network = state.network
        rows.partitions.place()
        self.n_shares, self.repeated, self.every = len(rows.partitions.shares), 0, 0
        order = Order(rows, has_batch_norm(network))
        while done < len(bounds):
            picked = range(done, min(done + self._steps(rows), len(bounds)))
            run.begin_batch(None, None, None)  # type: ignore[arg-type]
            step = self._together if len(picked) == 1 else self._apart
            value, n_rows = step(run, rows, order, picked)
            state.batch_loss = value
            total, done = total + n_rows * value, done + len(picked)
            state.step += len(picked)
            self.every = max(self.every, len(picked))
            for on_batch in run.on_batch:
                on_batch(state)
            if run.bar is not None:
                run.bar.advance(len(picked))
        if not np.isfinite(network.flat_params).all():
            raise FloatingPointError("weights are not finite")
        return total / rows.n_rows

    def record(self) -> dict[str, float]:
        """What the epoch's row of the history says of the cluster."""
        return {"workers": self.n_shares, "sync_every": self.every, "repeated": self.repeated}

    def _together(self, run: Run, rows: Any, order: Order, picked: range) -> tuple[float, int]:
        """One step of all workers, exact: the gradient is the sum of those of their rows."""
        state, picks = run.state, order.picks(picked)
        n = sum(len(places) for ((_, places),) in picks)
        said = self._round(run, rows, gradient, picks, n)
        losses, grads, buffers, counts, where = zip(*said, strict=True)
        value = sum(losses)
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}, {next(filter(None, where), '')}")
        network = state.network
        np.sum(grads, axis=0, out=network.flat_grads)
        put_means(buffers_of(network), buffers, counts)
        if hasattr(state.loss, "settle"):
            state.loss.settle(n)
        state.optimizer.step(network.flat_params, network.flat_grads, network.layout)
        return value, n

    def _apart(self, run: Run, rows: Any, order: Order, picked: range) -> tuple[float, int]:
        """Several steps of each worker on its own, then the mean of what they have become."""
        state = run.state
        said = self._round(run, rows, own_steps, order.picks(picked), None)
        losses, params, buffers, memories, counts, where = zip(*said, strict=True)
        value = float(np.average(losses, weights=counts))
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}, {next(filter(None, where), '')}")
        network = state.network
        put_means([network.flat_params], [[vector] for vector in params], counts)
        put_means(buffers_of(network), buffers, counts)
        state.optimizer.state = mean_state(memories, counts)
        return value, sum(counts)

    def _steps(self, rows: Any) -> int:
        """Return how many steps the next round has, having measured the first rounds."""
        if self.sync_every != "auto":
            return int(self.sync_every)
        if rows.sync_every is None and len(self.times) >= _MEASURED:
            computing, waiting = np.median(self.times[1:], axis=0)
            rows.sync_every = steps_worth(computing, waiting, len(rows))
        return rows.sync_every or 1

    # ---------------------------------------------------------------- a round

    def _round(
        self, run: Run, rows: Any, task: Callable[..., Any], picks: list[Any], extra: Any
    ) -> list[Any]:
        """Run a task on every worker that has rows of this round; return what they say."""
        from distributed.protocol.pickle import dumps
        from sklearn.base import clone

        state, partitions, began = run.state, rows.partitions, time.perf_counter()
        optimizer, loss = state.optimizer, state.loss
        if task is not own_steps:  # then its vectors need not travel
            optimizer = clone(optimizer)
            loss = loss.stepped_by(optimizer) if hasattr(loss, "stepped_by") else loss
        small = kernels.backend() == "numpy"
        how = rows.validate, rows.encode, rows.mean_weight, small, partitions.version
        blob = dumps(Job(state.network, loss, optimizer, *how))
        futures, wanted = [], []
        for i, (share, own) in enumerate(zip(partitions.shares, picks, strict=True)):
            if not any(len(places) for _, places in own):
                continue
            key = (*self.noise.spawn_key, state.step, i)
            noise = np.random.SeedSequence(self.noise.entropy, spawn_key=key)
            parts = [partitions.futures[p] for p in share.parts]
            where = {"workers": [share.worker], "allow_other_workers": True, "pure": False}
            futures.append(self.client.submit(_run, task, blob, parts, own, noise, extra, **where))
            wanted.append(share.worker)
        said = gathered(self.client, futures)
        results, workers, seconds = zip(*said, strict=True)
        self.repeated += sum(a != b for a, b in zip(workers, wanted, strict=True))
        waiting = time.perf_counter() - began - max(seconds)
        if task is gradient:
            self.times.append((max(seconds), waiting))
        return list(results)

    def infer_all(self, run: Run, batches: Any) -> tuple[Any, Any, Any]:
        held = batches.X
        if not isinstance(getattr(held, "partitions", None), Partitions):
            return super().infer_all(run, batches)
        held.partitions.place()
        picks, order = held.partitions.split(held.rows)
        said = self._round(run, held.source, outputs, [[pick] for pick in picks], None)
        raw = joined(said)
        y_pred = np.empty_like(raw)
        y_pred[np.concatenate(order)] = raw
        return y_pred, batches.y, batches.sample_weight


class _Alone:
    """What a communicator of one rank does."""

    def allgather(self, own: Any) -> list[Any]:
        return [own]


class Order:
    """The batches of an epoch: which rows, and on which worker they are.

    Parameters
    ----------
    rows : PartitionedRows
        Whose partitions have been given to workers.
    in_company : bool
        Whether a row that would be alone on its worker goes to another batch of that worker.
    """

    def __init__(self, rows: Any, in_company: bool) -> None:
        self.rows, self.bounds = rows, rows.table.bounds
        self.order = rows.table.next_order()
        self.moved: dict[int, list[int]] = {}
        self.gone: dict[int, list[int]] = {}
        if in_company:
            self._move_lonely()

    def _at(self, batch: int) -> np.ndarray:
        start, stop = self.bounds[batch]
        return np.arange(start, stop) if self.order is None else self.order[start:stop]

    def batch(self, batch: int) -> np.ndarray:
        """Return the numbers of the rows of a batch."""
        rows = self._at(batch)
        if self.moved:
            rows = rows[~np.isin(rows, self.gone.get(batch, []))]
            rows = np.append(rows, np.array(self.moved.get(batch, []), rows.dtype))
        return self.rows.numbered(rows)

    def picks(self, batches: range) -> list[list[Pick]]:
        """Return for every share its rows in each of several batches."""
        split = [self.rows.partitions.split(self.batch(batch))[0] for batch in batches]
        return [list(of_share) for of_share in zip(*split, strict=True)]

    def _move_lonely(self) -> None:
        """BatchNorm cannot learn from one row: let it come with the next batch, or an earlier."""
        partitions, n = self.rows.partitions, len(self.bounds)
        owners = [partitions.owner(self.rows.numbered(self._at(batch))) for batch in range(n)]
        shares = range(len(partitions.shares))
        counts = np.array([[np.sum(owner == s) for s in shares] for owner in owners])
        for batch, share in np.argwhere(counts == 1):
            others = np.flatnonzero(counts[:, share])
            others = others[others != batch]
            if counts[batch, share] != 1 or not len(others):
                continue
            to = int(others[np.searchsorted(others, batch) % len(others)])
            row = int(self._at(batch)[owners[batch] == share][0])
            self.gone.setdefault(int(batch), []).append(row)
            self.moved.setdefault(to, []).append(row)
            counts[batch, share], counts[to, share] = 0, counts[to, share] + 1


# ---------------------------------------------------------------- what a worker computes


def _run(
    task: Callable[..., Any], blob: bytes, parts: list[Any], picks: list[Pick], noise: Any, n: Any
) -> tuple[Any, str, float]:
    """Open what was sent, and compute; say where, and in how many seconds."""
    from distributed import get_worker

    began = time.perf_counter()
    job = pickle.loads(blob)
    check_version(job.version)
    job.network.reseed(noise)
    n_rows = max(len(places) for _, places in picks)
    with kernels.for_work(0 if job.small else math.inf), threads_for(job.network, n_rows):
        found = task(job, parts, picks, n)
    return found, get_worker().address, time.perf_counter() - began


def gradient(job: Job, parts: list[Any], picks: list[Pick], n: int) -> tuple[Any, ...]:
    """Return what some rows of a batch of n add to its loss and its gradient."""
    network, (x, y, weight) = job.network, job.rows(parts, picks[0])
    loss = _backward(job, plan(network), x, y, weight, n)
    where = "" if math.isfinite(loss) else first_nonfinite(network, x)
    return loss, network.flat_grads, buffers_of(network), len(y), where


def own_steps(job: Job, parts: list[Any], picks: list[Pick], n: None) -> tuple[Any, ...]:
    """Return what steps on batches of a worker's own make of the network and the optimizer."""
    network, optimizer, total, seen, where = job.network, job.optimizer, 0.0, 0, ""
    planned, layout = plan(network), network.layout
    for pick in picks:
        if not len(pick[0]):
            continue
        x, y, weight = job.rows(parts, pick)
        loss = _backward(job, planned, x, y, weight, len(y))
        total, seen = total + len(y) * loss, seen + len(y)
        if not math.isfinite(loss):
            where = first_nonfinite(network, x)
            break
        optimizer.step(network.flat_params, network.flat_grads, layout)
    buffers = buffers_of(network)
    return total / seen, network.flat_params, buffers, optimizer.state, seen, where


def outputs(job: Job, parts: list[Any], picks: list[Pick], n: None) -> np.ndarray:
    """Return the raw outputs for some rows."""
    positions, places = picks[0]
    planned, found = plan(job.network), []
    for start in range(0, len(places), _ROWS):
        few = slice(start, start + _ROWS)
        found.append(planned.infer(job.rows(parts, (positions[few], places[few]))[0]))
    return joined(found)


def _backward(job: Job, planned: Any, x: Any, y: Any, weight: Any, n: int) -> float:
    """Leave the gradient of some rows of a batch of n in the network; return their part of it."""
    loss = job.loss.forward(planned.forward(x, training=True), y, weight, float(n))
    planned.backward(job.loss.backward())
    return float(loss)


# ---------------------------------------------------------------- averages


def put_means(arrays: list[np.ndarray], said: Any, counts: Any) -> None:
    """Put into each array the mean of what workers have made of it, weighted by their rows."""
    for array, own in zip(arrays, zip(*said, strict=True), strict=True):
        array[...] = np.average(np.stack(own).astype(np.float64), axis=0, weights=counts)


def mean_state(states: Any, counts: Any) -> dict[str, Any]:
    """Return the mean of an optimizer's vectors over workers; of counters the greatest.

    Examples
    --------
    >>> mean_state([{"t": 3, "m": np.array([0.0])}, {"t": 4, "m": np.array([8.0])}], [3, 1])
    {'t': 4, 'm': array([2.])}
    """
    mean = {}
    for name in states[0]:
        own = [state[name] for state in states]
        if np.ndim(own[0]) and own[0].dtype.kind == "f":
            together = np.average(np.stack(own).astype(np.float64), axis=0, weights=counts)
            mean[name] = together.astype(own[0].dtype)
        else:
            mean[name] = np.max(own, axis=0) if np.ndim(own[0]) else max(own)
    return mean


def steps_worth(computing: float, waiting: float, per_epoch: int) -> int:
    """Return after how many steps it is worth to average: a power of two, or an epoch.

    Parameters
    ----------
    computing, waiting : float
        Seconds that a step takes to compute, and what else a round takes.
    per_epoch : int
        Steps of an epoch.

    Returns
    -------
    steps : int
        With so many, computing takes four times the rest.

    Examples
    --------
    >>> steps_worth(0.5, 0.02, 100), steps_worth(0.01, 0.02, 100), steps_worth(0.001, 0.02, 100)
    (1, 8, 100)
    """
    exact = max(_WORTH * waiting / max(computing, 1e-6), 1.0)
    return min(2 ** math.ceil(math.log2(exact)), per_epoch)


def has_batch_norm(network: Layer) -> bool:
    """Whether a layer looks at several rows."""
    return any(isinstance(layer, BatchNorm) for _, layer in network.walk())
