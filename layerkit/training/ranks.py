"""One training run on several processes: what the ranks of an MPI communicator tell each other.

A step is one message. The gradient of a batch is a sum over its rows divided by their weight, so
the gradient of a batch that is spread over ranks r is

    g = Σ_r n_r g_r / Σ_r n_r        n_r: the weight of rank r's rows

and the same holds for the loss: one sum over all ranks of ``[n_r g_r, n_r loss_r, n_r, ...]`` says
everything. Each rank then takes the same step. Where ranks compute parts of one batch, its weight
is known to all of them, each divides by it, and the sum is the gradient.
"""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from math import isfinite
from typing import Any

import numpy as np

from layerkit.archive import ModelFileError
from layerkit.layer import Layer
from layerkit.sequences import numbers
from layerkit.shapes import Shape
from layerkit.training.batches import ArrayBatches, Batch, StreamedBatches, as_batches, fingerprint
from layerkit.training.run import Run, infer_all

in_use: ContextVar[Ranks | None] = ContextVar("layerkit_communicator", default=None)
"""The ranks on which the estimators train, if there are several."""


def check_communicator(communicator: Any) -> Any:
    """Return it, if it is one."""
    if not all(hasattr(communicator, name) for name in ("Allreduce", "Bcast", "allgather")):
        raise TypeError(
            "communicator must be one of mpi4py, such as MPI.COMM_WORLD of `from mpi4py import "
            f"MPI` (pip install 'layerkit[mpi]'), got {communicator!r}"
        )
    return communicator


class RankError(RuntimeError):
    """Another rank could not begin."""


class Ranks:
    """The ranks that train one network, seen from one of them.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        All its ranks call `train` with the same arguments, but for the data.
    same_rows : bool, optional
        Whether all ranks are given the same data; left out, it is found out.
    """

    def __init__(self, communicator: Any, same_rows: bool | None = None) -> None:
        self.communicator = check_communicator(communicator)
        self.same_rows = same_rows
        self.parts = False
        self.rank, self.size = communicator.Get_rank(), communicator.Get_size()
        self.interrupted = False

    @property
    def first(self) -> bool:
        """Whether this rank is the one that prints and writes files."""
        return self.rank == 0

    # ---------------------------------------------------------------- beginning

    def agree(self, make: Callable[[], Any]) -> Any:
        """Return what ``make()`` returns, after all ranks know that it worked on the others.

        Raises
        ------
        ValueError, TypeError
            What it raised here.
        RankError
            If it raised on another rank.
        """
        found, error = None, None
        try:
            found = make()
        except (ValueError, TypeError, ModelFileError) as raised:
            error = raised
        said = self.communicator.allgather(None if error is None else str(error))
        if error is not None:
            raise error
        for rank, message in enumerate(said):
            if message is not None:
                raise RankError(f"rank {rank} of {self.size} cannot train: {message}")
        return found

    def batches(self, data: Any, batch_size: int, rng: np.random.Generator | None) -> Any:
        """Return this rank's batches of its own rows, or its part of each where all have the same.

        Raises
        ------
        ValueError, TypeError
            If the data do not fit together.
        RankError
            If those of another rank do not.
        """
        found = self.agree(lambda: self._own(data, batch_size, rng))
        return self._shared(found, batch_size, rng)

    def _own(self, data: Any, batch_size: int, rng: Any) -> Any:
        empty = isinstance(data, tuple) and len(data) in (2, 3) and np.shape(data[0])[:1] == (0,)
        return NoBatches(data) if empty else as_batches(data, batch_size, rng)

    def _shared(self, batches: Any, batch_size: int, rng: Any) -> Any:
        """Split every batch where all ranks were given the same rows; else these are the shares."""
        arrays = isinstance(batches, ArrayBatches)
        digest = fingerprint(batches.X, batches.y) if arrays else batches.fingerprint
        said = self.communicator.allgather((digest, batches.input_shape, str(batches.dtype)))
        if len({(shape, dtype) for _, shape, dtype in said}) > 1:
            found = ", ".join(f"{shape} {dtype}" for _, shape, dtype in said)
            raise ValueError(f"all ranks must have rows of one shape and dtype, they have {found}")
        same = len({digest for digest, *_ in said}) == 1
        if self.same_rows and not same:
            raise ValueError(
                "data_parallel needs the same rows on all ranks; where each has its own, call "
                "train(..., communicator=...)"
            )
        self.parts = bool(self.same_rows) or (same and arrays)
        if self.parts:
            if not arrays:
                return PartsOfStream(batches.batches, self)
            return PartBatches(batches.X, batches.y, batches.sample_weight, batch_size, rng, self)
        self._agree_on_mean_weight(batches)
        return batches

    def _agree_on_mean_weight(self, batches: Any) -> None:
        """Weights count relative to the mean over the rows of all ranks, but those of streams."""
        streams = isinstance(batches, StreamedBatches)
        n_rows, mean = (0, 0.0) if streams else (batches.X.shape[0], batches.mean_weight)
        said = self.communicator.allgather((n_rows, n_rows * mean, streams))
        rows, weights, streaming = np.sum(said, axis=0)
        if not rows and not streaming:
            raise ValueError("X must have at least one row on one of the ranks")
        if not streams:
            batches.mean_weight = weights / rows if rows else 1.0

    def same(self, seed: np.random.SeedSequence) -> np.random.SeedSequence:
        """Return the seed of the first rank."""
        return self.communicator.bcast(seed)

    def begin(self, network: Layer, noise: np.random.SeedSequence) -> None:
        """Start from the weights of the first rank, each rank with a noise of its own."""
        network.reseed(noise if self.first else noise.spawn(self.size)[self.rank])
        self.communicator.Bcast(network.flat_params)
        self.message = np.zeros(network.n_params + 4, network.dtype)

    def share(self, rows: np.ndarray) -> np.ndarray:
        """Return which rows of a batch are computed here."""
        return np.array_split(rows, self.size)[self.rank]

    # ---------------------------------------------------------------- a step

    def average(self, grads: np.ndarray, loss: float, weight: float) -> tuple[float, float, bool]:
        """Replace the gradient by that of all ranks' rows together.

        Parameters
        ----------
        grads : array
            Of this rank's rows, divided by their weight, 0 without rows; overwritten.
        loss, weight : float
            Theirs; a rank that has no batch left says that its weight is -1.

        Returns
        -------
        loss, weight : float
            Of all ranks' rows together.
        more : bool
            Whether any rank had rows.

        Raises
        ------
        KeyboardInterrupt
            On all ranks, once one has been interrupted.
        """
        from mpi4py import MPI

        message, n, known = self.message, grads.size, max(weight, 0.0)
        factor = 1.0 if self.parts else known
        np.multiply(grads, message.dtype.type(factor), out=message[:n])
        message[n:] = loss * factor, known, weight >= 0, self.interrupted
        self.communicator.Allreduce(MPI.IN_PLACE, message)
        loss, weight, present, interrupted = message[n:].tolist()
        if interrupted:
            raise KeyboardInterrupt
        divisor = 1.0 if self.parts else weight
        if divisor:
            np.divide(message[:n], divisor, out=grads)
            loss /= divisor
        return loss, weight / self.size if self.parts else weight, present > 0

    # ---------------------------------------------------------------- an epoch

    def epoch(self, run: Run, batches: Iterable[Batch]) -> float:
        """One pass over all ranks' data, each step by all together; return the mean loss."""
        state = run.state
        network, optimizer, own, total, rows = state.network, state.optimizer, 0.0, 0.0, 0.0
        plan, layout = run.plan_for(network), network.layout
        network.reset_state()
        waiting = iter(batches)
        while True:
            batch = next(waiting, None)
            value, weight = self._backward(run, plan, batch)
            own += max(weight, 0)
            value, weight, more = self.average(network.flat_grads, value, weight)
            if not more:
                break
            if not weight:
                continue
            state.batch_loss = value
            if not isfinite(value):
                raise FloatingPointError(f"the loss is {value}, over the batches of all ranks")
            optimizer.step(network.flat_params, network.flat_grads, layout)
            state.step += 1
            total, rows = total + weight * value, rows + weight
            for on_batch in run.on_batch:
                on_batch(state)
        if not np.isfinite(network.flat_params).all():
            raise FloatingPointError("weights are not finite")
        self._end_epoch(network, own)
        return total / rows

    def loss_and_grads(self, run: Run, batch: Batch) -> tuple[float, np.ndarray]:
        """Return the loss over all ranks' rows and its gradient."""
        value, weight = self._backward(run, run.plan, batch)
        grads = run.state.network.flat_grads
        return self.average(grads, value, weight)[0], grads

    def _backward(self, run: Run, plan: Any, batch: Batch | None) -> tuple[float, float]:
        """Leave the gradient of a batch in the network; return its loss and weight."""
        if batch is None:
            run.state.network.flat_grads.fill(0)
            return 0.0, -1.0
        x, y, weight, normalizer = batch
        run.begin_batch(x, y, weight)
        known = float(len(y)) if normalizer is None else normalizer
        if not len(y) or (weight is not None and not np.any(numbers(weight))):
            run.state.network.flat_grads.fill(0)
            return 0.0, known if self.parts else 0.0
        loss = run.state.loss
        value = loss.forward(plan.forward(x, training=True), y, weight, normalizer)
        plan.backward(loss.backward())
        return value, known

    def _end_epoch(self, network: Layer, rows: float) -> None:
        """Average running statistics over ranks, and make sure that no bit of a weight differs."""
        from mpi4py import MPI

        self.communicator.Bcast(network.flat_params)
        weight = np.array([rows], np.float64)
        self.communicator.Allreduce(MPI.IN_PLACE, weight)
        for _, layer in network.walk():
            for buffer in layer.buffers.values():
                part = buffer.astype(np.float64) * (rows / weight[0])
                self.communicator.Allreduce(MPI.IN_PLACE, part)
                buffer[...] = part

    def mean(self, values: dict[str, float], rows: float) -> dict[str, float]:
        """Means over all ranks, weighted by their rows; all know the same."""
        said = self.communicator.allgather((rows, values))
        total = sum(n for n, _ in said) or 1
        return {name: sum(n * other[name] for n, other in said if n) / total for name in values}

    def infer_all(self, run: Run, batches: Any) -> tuple[Any, Any, Any]:
        """Outputs, targets and weights of this rank's rows."""
        return infer_all(run.plan, batches)

    def record(self) -> dict[str, float]:
        """What the row of an epoch says of the ranks."""
        return {}

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return any(self.communicator.allgather(bool(flag)))

    # ---------------------------------------------------------------- ends

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within, Ctrl-C on one rank ends training on all, and an error ends all processes."""
        before: Any = None
        with suppress(ValueError):  # of a thread that is not the main one, which is interrupted
            before = signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        except (KeyboardInterrupt, FloatingPointError):  # every rank has the same
            raise
        except BaseException:
            if self.size > 1:
                ends = f"layerkit: rank {self.rank} of {self.size} failed, so all ranks end"
                print(f"{traceback.format_exc()}{ends}", file=sys.stderr, flush=True)
                time.sleep(0.5)  # mpiexec passes on what a rank prints only while the rank runs
                self.communicator.Abort(1)
            raise
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)

    def _interrupt(self, *_: Any) -> None:
        self.interrupted = True


class PartBatches(ArrayBatches):
    """One rank's part of every batch of rows that all ranks have; the weight is the whole's."""

    def __init__(
        self, X: Any, y: Any, weight: Any, batch_size: int, rng: Any, ranks: Ranks
    ) -> None:
        super().__init__(X, y, weight, batch_size, rng)
        self.ranks = ranks

    def _batch(self, rows: Any) -> Batch:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self.y)))
        x, y, weight, _ = super()._batch(self.ranks.share(rows))
        return x, y, weight, len(rows) * self.mean_weight


class PartsOfStream(StreamedBatches):
    """The same of batches that come one by one."""

    def __init__(self, batches: Iterable[Any], ranks: Ranks) -> None:
        super().__init__(batches)
        self.ranks = ranks

    def _first(self) -> Any:
        return next(super().__iter__())[0]

    def __iter__(self) -> Iterator[Batch]:
        for x, y, weight, normalizer in super().__iter__():
            rows = self.ranks.share(np.arange(len(y)))
            yield x[rows], y[rows], None if weight is None else weight[rows], normalizer


class NoBatches:
    """What a rank without rows has."""

    def __init__(self, data: Any) -> None:
        self.X, self.y = np.asarray(data[0]), np.asarray(data[1])
        self.input_shape: Shape = self.X.shape[1:]
        self.dtype = np.dtype(np.float64 if self.X.dtype == np.float64 else np.float32)
        self.mean_weight = 1.0
        self.fingerprint = ""
        self.state: dict[str, Any] = {}

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Batch]:
        return iter(())

    def shape_targets(self, loss: Any, network: Layer) -> None:
        """There are none."""

    def check_order(self, stateful: str) -> None:
        """There is none."""

    def everything(self) -> Batch:
        """No rows."""
        return self.X, self.y, None, 0.0
