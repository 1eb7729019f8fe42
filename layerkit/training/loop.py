"""The training loop: shuffled batches, forward, backward, step; and the record of it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from layerkit.layer import Layer, as_seed_sequence, is_number, is_size
from layerkit.layers import Sequential, Sigmoid, Softmax
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    KLDivergence,
    Loss,
    NegativeLogLikelihood,
)
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.training.batches import ArrayBatches, StreamedBatches, as_batches
from layerkit.training.history import History

Batches = ArrayBatches | StreamedBatches
Score = Callable[[np.ndarray, np.ndarray, np.ndarray | None], float]


class DivergenceWarning(RuntimeWarning):
    """Training ran into numbers that are not finite and stopped at the last good weights."""


@dataclass
class TrainingState:
    """What a callback sees, and may change.

    Attributes
    ----------
    network, loss, optimizer
        The objects that were given to `train`.
    epochs, epoch, step : int
        Epochs planned; the current epoch, from 1; optimizer steps done so far.
    batch_loss : float
        Loss of the last batch.
    history : History
        Its last row is the epoch that just ended.
    stop : bool
        Set it to True to end training after this epoch.
    """

    network: Layer
    loss: Loss
    optimizer: Any
    epochs: int
    epoch: int = 0
    step: int = 0
    batch_loss: float = np.nan
    history: History = field(default_factory=History)
    stop: bool = False


def train(
    network: Layer,
    loss: Loss,
    optimizer: Optimizer | LBFGS,
    data: Any,
    *,
    epochs: int,
    batch_size: int = 32,
    shuffle: bool = True,
    validation_data: Any = None,
    score: Score | None = None,
    monitor: str | None = None,
    patience: int | None = None,
    tol: float = 0.0,
    callbacks: Sequence[Callable[[TrainingState], Any]] = (),
    random_state: Any = None,
    verbose: bool = False,
) -> History:
    """Train a network in place: for every batch forward, loss, backward, step.

    Parameters
    ----------
    network : Layer
        Built, or else built here for the data's shape.
    loss : Loss
    optimizer : Optimizer or LBFGS
        LBFGS sees all data at once; its epochs are its iterations.
    data : (X, y), (X, y, sample_weight) or iterable of such batches
        Arrays, memory maps or sparse rows with equal numbers of rows; or anything that can be
        iterated anew for every epoch and gives batches. A weight of 2 counts as the row twice. The
        weights of arrays are taken relative to their mean, those of batches as they are.
    epochs : int
        At least 1.
    batch_size : int, default=32
        A single row left over joins the last batch, so that no row is dropped and BatchNorm never
        sees one row alone.
    shuffle : bool, default=True
        Draw a new order of the rows for every epoch.
    validation_data : like data, optional
        Evaluated after every epoch; the weights of the best epoch are restored at the end.
    score : callable (y_true, y_pred, sample_weight) -> float, optional
        Recorded for the validation data as ``validation_score``: greater is better, on raw outputs.
    monitor : {"validation_score", "validation_loss", "loss"}, optional
        What chooses the best epoch and what ``patience`` watches. Left out, the first of these
        three that is recorded.
    patience : int, optional
        Stop after this many epochs in a row in which ``monitor`` improved by no more than ``tol``.
    tol : float, default=0.0
    callbacks : sequence of callables
        Each is called with the `TrainingState` after every epoch; its method ``on_batch``, if it
        has one, after every step.
    random_state : None, int, Generator, RandomState or SeedSequence
        Seeds initial weights (of an unbuilt network), shuffling and noise layers, one stream each.
    verbose : bool, default=False
        Show a progress bar (with tqdm) or a line for every epoch (without).

    Returns
    -------
    history : History

    Raises
    ------
    ValueError
        If the data do not fit together or a parameter is out of range; the network is unchanged.

    Warns
    -----
    DivergenceWarning
        When a loss or a weight is no longer finite: names the epoch and the first layer where it
        happened. Training stops and the weights of the last good epoch are restored.

    Notes
    -----
    Ctrl-C ends training; what was learned so far is kept. A batch whose weights are all zero does
    nothing.

    Examples
    --------
    >>> from layerkit import Dense, ReLU, Sequential
    >>> from layerkit.datasets import load_two_spirals
    >>> from layerkit.losses import CategoricalCrossEntropy
    >>> from layerkit.optimizers import Adam
    >>> X, y = load_two_spirals()
    >>> net = Sequential([Dense(32), ReLU(), Dense(32), ReLU(), Dense(2)])
    >>> history = train(net, CategoricalCrossEntropy(), Adam(learning_rate=0.01), (X, y),
    ...                 epochs=30, random_state=0)
    >>> bool((net.infer(X).argmax(axis=1) == y).mean() > 0.99)
    True
    """
    _check_arguments(epochs, patience, tol)
    monitor = _choose_monitor(monitor, validation_data is not None, score is not None)
    init_seed, shuffle_seed, noise_seed = as_seed_sequence(random_state).spawn(3)
    batches = as_batches(data, batch_size, np.random.default_rng(shuffle_seed) if shuffle else None)
    validation = None if validation_data is None else as_batches(validation_data, 1024)
    if not network.is_built:
        network.build(batches.input_shape, init_seed, dtype=batches.dtype)
    if random_state is not None:
        network.reseed(noise_seed)
    warn_of_double_link(network, loss)

    state = TrainingState(network, loss, optimizer, epochs)
    bar = [Progress(epochs, len(batches))] if verbose else []
    run = _Run(state, validation, score, monitor, patience, tol, [*callbacks, *bar])
    network.needs_input_grad = False
    try:
        if isinstance(optimizer, LBFGS):
            _minimize(run, batches)
        else:
            while state.epoch < epochs and not state.stop:
                run.end_epoch(_epoch(run, batches))
    except KeyboardInterrupt:
        state.history.stopped = f"interrupted in epoch {state.epoch + 1}"
        warnings.warn(f"training was {state.history.stopped}", stacklevel=2)
    except FloatingPointError as error:
        run.back_to_good_weights(error)
    finally:
        run.restore_best()
        network.needs_input_grad = True
        network.clear_cache()
        for shown in bar:
            shown.close()
    return state.history


def _epoch(run: _Run, batches: Batches) -> float:
    """One pass over the data: the whole of backpropagation, batch by batch."""
    state = run.state
    network, loss, optimizer = state.network, state.loss, state.optimizer
    layout = network.layout
    total, rows = 0.0, 0.0
    for x, y, weight, normalizer in batches:
        if weight is not None and not np.any(weight):
            continue
        y_pred = network.forward(x, training=True)
        state.batch_loss = loss.forward(y_pred, y, weight, normalizer)
        if not np.isfinite(state.batch_loss):
            where = first_nonfinite(network, x)
            raise FloatingPointError(f"the loss is {state.batch_loss}, {where}")
        network.backward(loss.backward())
        optimizer.step(network.flat_params, network.flat_grads, layout)
        state.step += 1
        n = len(y_pred) if normalizer is None else normalizer
        total, rows = total + n * state.batch_loss, rows + n
        for on_batch in run.on_batch:
            on_batch(state)
    if not np.isfinite(network.flat_params).all():
        raise FloatingPointError(f"weights are not finite, {first_nonfinite(network, x)}")
    return total / rows


def _minimize(run: _Run, batches: Batches) -> None:
    """Hand loss and gradient, as functions of the flat vector, to SciPy's L-BFGS."""
    state = run.state
    network, loss = state.network, state.loss
    x, y, weight, normalizer = batches.everything()
    noise = int(network.rng.integers(2**32))

    def loss_and_grads(flat_params: np.ndarray) -> tuple[float, np.ndarray]:
        network.flat_params[...] = flat_params
        network.reseed(noise)  # the same noise each time: a line search needs one function
        value = loss.forward(network.forward(x, training=True), y, weight, normalizer)
        network.backward(loss.backward())
        return value, network.flat_grads

    def iteration(value: float) -> bool:
        run.end_epoch(value)
        return state.stop or state.epoch >= state.epochs

    state.optimizer.minimize(loss_and_grads, network.flat_params, network.layout, iteration)


class _Run:
    """What happens between epochs: validation, record, best weights, callbacks, stopping."""

    def __init__(
        self,
        state: TrainingState,
        validation: Batches | None,
        score: Score | None,
        monitor: str,
        patience: int | None,
        tol: float,
        callbacks: list[Callable[[TrainingState], Any]],
    ) -> None:
        self.state, self.validation, self.score = state, validation, score
        self.monitor = monitor
        self.patience, self.tol, self.callbacks = patience, tol, callbacks
        self.on_batch = [c.on_batch for c in callbacks if hasattr(c, "on_batch")]  # type: ignore[attr-defined]
        self.started = time.perf_counter()
        self.best, self.waited = np.inf, 0
        self.good = snapshot(state.network)
        self.best_weights: Any = None

    def end_epoch(self, loss: float) -> None:
        state = self.state
        state.epoch += 1
        row = {"epoch": state.epoch, "loss": loss, **self._validate()}
        row["learning_rate"] = getattr(state.optimizer, "rate", np.nan)
        row["seconds"] = time.perf_counter() - self.started
        self.started = time.perf_counter()
        state.history.rows.append(row)
        self.good = snapshot(state.network)
        self._track(-row[self.monitor] if self.monitor == _GREATER else row[self.monitor])
        for callback in self.callbacks:
            callback(state)
        if state.stop and not state.history.stopped:
            state.history.stopped = "a callback asked for it"

    def _validate(self) -> dict[str, float]:
        if self.validation is None:
            return {}
        state = self.state
        y_pred, y_true, weight = infer_all(state.network, self.validation)
        found = {"validation_loss": state.loss.forward(y_pred, y_true, weight)}
        if self.score:
            found["validation_score"] = float(self.score(y_true, y_pred, weight))
        return found

    def _track(self, value: float) -> None:
        """Remember the best epoch; stop when none was better for too long."""
        if self.validation is not None and (value < self.best or self.best_weights is None):
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
        state = self.state
        restore(state.network, self.good)
        state.history.stopped = f"diverged in epoch {state.epoch + 1}: {error}"
        good = f"of epoch {state.epoch}" if state.epoch else "it started from"
        warnings.warn(
            f"training {state.history.stopped}; the network has the weights {good}. A smaller "
            "learning_rate, clip_norm or scaled inputs usually cure this",
            DivergenceWarning,
            stacklevel=3,
        )

    def restore_best(self) -> None:
        if self.best_weights is not None:
            restore(self.state.network, self.best_weights)


def snapshot(network: Layer) -> tuple[np.ndarray, list[np.ndarray]]:
    """Copy all that training changes: the flat vector and the buffers."""
    return network.flat_params.copy(), [buffer.copy() for buffer in _buffers(network)]


def restore(network: Layer, taken: tuple[np.ndarray, list[np.ndarray]]) -> None:
    """Put a snapshot back."""
    network.flat_params[...] = taken[0]
    for buffer, value in zip(_buffers(network), taken[1], strict=True):
        buffer[...] = value


def _buffers(network: Layer) -> list[np.ndarray]:
    return [buffer for _, layer in network.walk() for buffer in layer.buffers.values()]


def infer_all(network: Layer, batches: Batches) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Outputs, targets and weights of all rows."""
    parts = [(network.infer(x), y, weight) for x, y, weight, _ in batches]
    y_pred, y_true, weights = zip(*parts, strict=True)
    weight = None if weights[0] is None else np.concatenate(weights)
    return np.concatenate(y_pred), np.concatenate(y_true), weight


def first_nonfinite(network: Layer, x: Any) -> str:
    """Say where, in forward order, the first number that is not finite stands."""
    if not np.isfinite(x.data if hasattr(x, "tocsr") else x).all():
        return "the input itself is not finite"
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
    warnings.warn(f"the network ends in {last!r}, but the loss is {loss!r}; {advice}", stacklevel=3)


class Progress:
    """A bar over all steps with tqdm, a line for every epoch without."""

    def __init__(self, epochs: int, batches: int) -> None:
        try:
            from tqdm import tqdm
        except ImportError:
            self.bar = None
        else:
            self.bar = tqdm(total=epochs * batches or None, unit="batch", dynamic_ncols=True)

    def on_batch(self, state: TrainingState) -> None:
        if self.bar is not None:
            self.bar.update()

    def __call__(self, state: TrainingState) -> None:
        row = state.history.rows[-1]
        shown = {name: f"{row[name]:.4g}" for name in _SHOWN if name in row}
        if self.bar is None:
            print(f"epoch {state.epoch}/{state.epochs}", *(f"{k} {v}" for k, v in shown.items()))
        else:
            self.bar.set_description(f"epoch {state.epoch}/{state.epochs}", refresh=False)
            self.bar.set_postfix(shown)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


_SHOWN = ("loss", "validation_loss", "validation_score")
_GREATER = "validation_score"  # the one column that is better when it is greater


def _choose_monitor(monitor: str | None, validated: bool, scored: bool) -> str:
    recorded = ["validation_score"] * (validated and scored)
    recorded += [*["validation_loss"] * validated, "loss"]
    if monitor is not None and monitor not in recorded:
        raise ValueError(f"monitor must be one of {', '.join(recorded)} here, got {monitor!r}")
    return monitor or recorded[0]


def _check_arguments(epochs: int, patience: int | None, tol: float) -> None:
    for name, value, ok, expected in (
        ("epochs", epochs, is_size(epochs), "a positive integer"),
        ("patience", patience, patience is None or is_size(patience), "None or a positive integer"),
        ("tol", tol, is_number(tol) and tol >= 0, "a finite number >= 0"),
    ):
        if not ok:
            raise ValueError(f"{name} must be {expected}, got {value!r}")
