"""A training run: what callbacks see of it, and what happens between its epochs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from layerkit.fused import plan
from layerkit.fused.planning import Plan
from layerkit.layer import Layer
from layerkit.layers import Sequential, Sigmoid, Softmax
from layerkit.layers.convolution import Convolution
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    KLDivergence,
    Loss,
    NegativeLogLikelihood,
)
from layerkit.optimizers import Optimizer
from layerkit.parameters import Parameterized
from layerkit.schedules import Progress
from layerkit.sequences import Sequences, numbers
from layerkit.training.batches import ArrayBatches, StreamedBatches
from layerkit.training.finite import refuse_nonfinite
from layerkit.training.history import History
from layerkit.warning import warn

Batches = ArrayBatches | StreamedBatches
Score = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]
Weights = tuple[np.ndarray, list[np.ndarray]]
"""A copy of all that training changes in a network: the flat vector and the buffers."""
_GREATER = "validation_score"  # the one column that is better when it is greater


class DivergenceWarning(RuntimeWarning):
    """Training ran into numbers that are not finite and stopped at the last good weights."""


@dataclass(slots=True)  # a stop that is misspelt must not pass in silence
class TrainingState:
    """What a callback sees, and may change.

    Attributes
    ----------
    network, loss, optimizer
        The objects passed to `train`.
    epochs, epoch, step : int
        Number of epochs planned; the current epoch, from 1; optimizer steps done so far.
    batch : tuple
        x, y and sample_weight (or None) of the current batch.
    batch_loss : float
        Loss of the last batch.
    validation : iterable of batches, optional
        Validation data: x, y, sample_weight (or None) and normalizer of each batch.
    history : History
        The record so far; its last row is the epoch that just ended.
    stop : bool
        Set it to True to end training after this epoch.
    """

    network: Layer
    loss: Loss
    optimizer: Any
    epochs: int
    epoch: int = 0
    step: int = 0
    batch: Any = field(default=None, repr=False)
    batch_loss: float = np.nan
    validation: Batches | None = field(default=None, repr=False)
    history: History = field(default_factory=History, repr=False)
    stop: bool = False


class Run:
    """What happens between epochs: validation, record, best weights, callbacks, stopping."""

    def __init__(
        self,
        state: TrainingState,
        score: Score | None,
        monitor: str,
        patience: int | None,
        tol: float,
        callbacks: Sequence[Callable[[TrainingState], Any]],
        ranks: Any = None,
    ) -> None:
        self.state, self.score = state, score
        self.monitor = monitor
        self.patience, self.tol = patience, tol
        self.ranks = ranks
        self.plan = plan(state.network)
        self.callbacks: list[Callable[[TrainingState], Any]] = []
        self.before_batch: list[Callable[[TrainingState], Any]] = []
        self.on_batch: list[Callable[[TrainingState], Any]] = []
        self.on_end: list[Callable[[TrainingState], Any]] = []
        self.bar: Any = None  # a progress bar over batches
        self.observe(*callbacks)
        self.started = time.perf_counter()
        self.best, self.waited = np.inf, 0
        self.changing: tuple[np.ndarray, list[np.ndarray]] = np.empty(0), []
        self.good = self._snapshot()
        self.best_weights: Weights | None = None
        self.schedules: list[Progress] = []

    def bind_schedules(self, batches: int) -> None:
        """Tell the schedules of optimizer and layers how many steps there will be."""
        state = self.state
        of_layers = [layer for _, layer in state.network.walk()]
        self.schedules = _schedules_of(*of_layers)
        of_optimizer = _schedules_of(state.optimizer)
        if (of_optimizer or self.schedules) and not batches:
            raise ValueError(
                f"{(of_optimizer + self.schedules)[0]!r} needs to know how many batches an epoch "
                "has: give data that have a len()"
            )
        for schedule in self.schedules:
            schedule.bind(state.epochs * batches)
        done = getattr(state.optimizer, "steps_done", 0)
        for schedule in of_optimizer:
            schedule.bind(state.epochs * batches, start=done - state.step)

    def plan_for(self, network: Layer) -> Plan:
        """Return the plan: a new one if a callback has replaced the network."""
        if self.plan.network is not network:
            self.plan = plan(network)
        return self.plan

    def observe(self, *callbacks: Any) -> None:
        """Add callbacks, called after the existing ones."""
        self.callbacks += callbacks
        for moment in ("before_batch", "on_batch", "on_end"):
            called = [getattr(c, moment) for c in callbacks if hasattr(c, moment)]
            getattr(self, moment).extend(called)

    def begin_batch(self, x: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
        """Let callbacks see the batch before the network does."""
        self.state.batch = x, y, weight
        for schedule in self.schedules:
            schedule.now = self.state.step
        for before_batch in self.before_batch:
            before_batch(self.state)

    def end(self) -> None:
        """Let callbacks know that training is over, however it ended."""
        self.state.batch = None
        for on_end in self.on_end:
            on_end(self.state)

    def epochs_unseen(self) -> float:
        """How many epochs may pass before a callback has to see the network, at least 1.

        A callback says so in a method of this name; it is called for each of them in the end.
        """
        state = self.state
        if state.validation is not None or callable(getattr(state.optimizer, "learning_rate", 0.0)):
            return 1
        asked = [getattr(callback, "epochs_unseen", lambda: 1)() for callback in self.callbacks]
        patience = np.inf if self.patience is None else self.patience - self.waited
        return max(1, min(state.epochs - state.epoch, patience, *asked))

    def end_epochs(self, losses: list[float]) -> None:
        """Record epochs one by one; the network is at the last of them."""
        for left, loss in zip(range(len(losses), 0, -1), losses, strict=True):
            self._end_epoch(loss, left)

    def _end_epoch(self, loss: float, left: int) -> None:
        """Record one of the epochs left, keep its weights if the best, and call the callbacks."""
        state = self.state
        state.epoch += 1
        row = {"epoch": state.epoch, "loss": loss, **self._validate()}
        row["learning_rate"] = getattr(state.optimizer, "rate", np.nan)
        if self.ranks is not None:
            row |= self.ranks.record()
        row["seconds"] = (time.perf_counter() - self.started) / left
        self.started += row["seconds"]
        state.history.rows.append(row)
        self.good = self._snapshot()
        self._track(-row[self.monitor] if self.monitor == _GREATER else row[self.monitor])
        for callback in self.callbacks:
            callback(state)
        if self.ranks is not None:
            state.stop = self.ranks.any(state.stop)
        if state.stop and not state.history.stopped:
            state.history.stopped = "a callback asked for it"

    def _snapshot(self) -> Weights:
        """As `snapshot`, but look for buffers only if the network was rebuilt."""
        network = self.state.network
        if self.changing[0] is not network.flat_params:
            self.changing = network.flat_params, buffers_of(network)
        params, buffers = self.changing
        return params.copy(), [buffer.copy() for buffer in buffers]

    def _validate(self) -> dict[str, float]:
        state = self.state
        if state.validation is None:
            return {}
        if self.ranks is None:
            y_pred, y_true, weight = infer_all(self.plan, state.validation)
        else:
            y_pred, y_true, weight = self.ranks.infer_all(self, state.validation)
        found = {"validation_loss": state.loss.forward(y_pred, y_true, weight)}
        if not isfinite(found["validation_loss"]):
            for x, *_ in state.validation:
                refuse_nonfinite(state.network, x, "X of validation_data")
        if self.score:
            if isinstance(y_pred, Sequences) and isinstance(weight, np.ndarray):
                weight = weight.repeat(y_pred.lengths)
            arrays = map(numbers, (y_true, y_pred, weight))
            found["validation_score"] = float(self.score(*arrays))
        return found if self.ranks is None else self.ranks.mean(found, len(y_true))

    def _track(self, value: float) -> None:
        """Remember the best epoch; stop when none was better for too long."""
        if self.state.validation is not None and (value < self.best or self.best_weights is None):
            self.best_weights, self.state.history.best_epoch = self.good, self.state.epoch
        self.waited = 0 if value < self.best - self.tol else self.waited + 1
        self.best = min(self.best, value)
        schedule: Any = getattr(self.state.optimizer, "learning_rate", None)
        if hasattr(schedule, "update"):
            schedule.update(value)
        if self.patience is not None and self.waited >= self.patience:
            self.state.stop = True
            self.state.history.stopped = f"no improvement in {self.waited} epochs"

    def back_to_good_weights(self, error: FloatingPointError) -> None:
        """Undo the epoch that diverged, and warn."""
        state = self.state
        put_back(state.network, self.good)
        state.history.stopped = f"diverged in epoch {state.epoch + 1}: {error}"
        good = f"of epoch {state.epoch}" if state.epoch else "it started from"
        warn(
            f"training {state.history.stopped}; the network has the weights {good}. A smaller "
            "learning_rate, clip_norm or scaled inputs usually cure this",
            DivergenceWarning,
        )

    def restore_best(self) -> None:
        """Give the network the weights of the best epoch, if there is validation."""
        if self.best_weights is not None:
            put_back(self.state.network, self.best_weights)


def _schedules_of(*owners: Any) -> list[Progress]:
    """Return the schedules among the parameters that have to be told how long the run is."""
    values = [vars(owner).values() for owner in owners if isinstance(owner, Parameterized)]
    return [value for held in values for value in held if isinstance(value, Progress)]


def adapt(network: Layer, rows: Any) -> None:
    """Let the layers of a new network choose initial values from rows of the data."""
    if any(layer.adapts for _, layer in network.walk()):
        network.adapt(network.convert_input(rows))


def snapshot(network: Layer) -> Weights:
    """Copy all that training changes: the flat vector and the buffers."""
    return network.flat_params.copy(), [buffer.copy() for buffer in buffers_of(network)]


def put_back(network: Layer, weights: Weights) -> None:
    """Undo training since `snapshot`."""
    network.flat_params[...] = weights[0]
    for buffer, value in zip(buffers_of(network), weights[1], strict=True):
        buffer[...] = value


@contextmanager
def put_back_on_error(network: Layer) -> Iterator[None]:
    """Restore the network if the training inside raises, for instance in a callback."""
    before = snapshot(network)
    try:
        yield
    except BaseException:
        put_back(network, before)
        raise


def buffers_of(network: Layer) -> list[np.ndarray]:
    """All buffers of the tree, in order."""
    return [buffer for _, layer in network.walk() for buffer in layer.buffers.values()]


def infer_all(network: Layer | Plan, batches: Batches) -> tuple[Any, Any, Any]:
    """Outputs, targets and weights of all rows."""
    parts = [(network.infer(x), y, weight) for x, y, weight, _ in batches]
    y_pred, y_true, weights = zip(*parts, strict=True)
    return joined(y_pred), joined(y_true), None if weights[0] is None else joined(weights)


def joined(parts: Sequence[Any]) -> Any:
    """Put the rows of several parts one after the other."""
    return (Sequences if isinstance(parts[0], Sequences) else np).concatenate(parts)  # type: ignore[attr-defined]


def first_nonfinite(network: Layer, x: Any) -> str:
    """Say where, in forward order, the first number that is not finite stands."""
    refuse_nonfinite(network, x, "X of a batch")
    found: list[str] = []
    largest = {"": 0.0}

    def look(layer: Layer, direction: str, x: np.ndarray, y: np.ndarray) -> None:
        if found or layer.children():
            return
        bad = [name for name, p in layer.params.items() if not np.isfinite(p).all()]
        if bad:
            found.append(f"{' and '.join(bad)} of {layer.where}")
        elif not np.isfinite(y).all():
            found.append(f"the output of {layer.where}")
        else:
            largest[layer.where] = float(np.abs(y).max(initial=0))

    with network.observed(look), np.errstate(all="ignore"):
        network.infer(x)
    if found:
        return f"first in {found[0]}"
    where = max(largest, key=lambda layer: largest[layer])
    return f"while all outputs are finite, the largest in {where}: {largest[where]:.1e}"


def warn_of_double_link(network: Layer, loss: Loss) -> None:
    """Warn when the network ends in the function that the loss applies itself."""
    last = network
    while isinstance(last, Sequential) and len(last):
        last = last[-1]
    wants_logits = (BinaryCrossEntropy, CategoricalCrossEntropy, Focal, KLDivergence)
    if isinstance(last, Softmax | Sigmoid) and isinstance(loss, wants_logits):
        advice = "it takes raw outputs: leave the last layer out"
    elif isinstance(last, Softmax) and isinstance(loss, NegativeLogLikelihood):
        advice = "it takes log-probabilities: use LogSoftmax"
    else:
        return
    warn(f"the network ends in {last!r}, but the loss is {loss!r}; {advice}")


def warn_of_channels_first(network: Layer) -> None:
    """Warn when square images seem to come with their channels first, where a convolution fits."""
    first, shape = network, network.input_shape
    while isinstance(first, Sequential) and len(first):
        first = first[0]
    if not isinstance(first, Convolution) or len(shape) != 3:
        return
    channels, height, width = shape
    looks_turned = channels in (1, 3) and 8 <= height == width
    if looks_turned and np.ravel(first.kernel_size)[0] > 1:  # else it may be a signal
        warn(
            f"X has samples of shape {shape}, which {first!r} reads as {channels} x {height} "
            f"pixels of {width} channels. If they are {height} x {width} pixels of {channels}, put "
            "the channels last: X = np.ascontiguousarray(np.moveaxis(X, 1, -1))",
        )


def warn_of_nothing_to_learn(network: Layer) -> None:
    """Warn when every layer that has parameters is frozen."""
    layers = [layer for _, layer in network.walk() if layer.params]
    if layers and not any(layer.trainable for layer in layers):
        warn(
            f"nothing is learned: all {len(layers)} layers that have parameters are frozen. Set "
            "trainable = True on those that should learn, layer by layer",
        )


@contextmanager
def new_until_an_epoch_ends(network: Layer, optimizer: Any, history: History) -> Iterator[None]:
    """Leave what was new, network or optimizer, as it was where data are refused before that."""
    layers = [] if network.is_built else [layer for _, layer in network.walk()]
    before = [(layer, vars(layer).copy()) for layer in layers]
    is_new = isinstance(optimizer, Optimizer) and not optimizer.steps_done
    if is_new:
        optimizer.reset()  # of its schedule too, which another optimizer may have used
    try:
        yield
    except (TypeError, ValueError):
        if not len(history):
            for layer, held in before:
                layer.__dict__ = held
            if is_new:
                optimizer.reset()
        raise
