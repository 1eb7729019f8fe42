"""The training loop: shuffled batches, forward, backward, step; and the record of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import isfinite
from typing import Any

import numpy as np

from layerkit.building import widest_dtype
from layerkit.fused import threads_for
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.parameters import if_class, is_flag, is_number, is_size
from layerkit.seeds import as_seed_sequence
from layerkit.sequences import numbers
from layerkit.training.batches import as_batches
from layerkit.training.checkpoint import Checkpoint, as_checkpoint
from layerkit.training.epochs import Epochs
from layerkit.training.history import History
from layerkit.training.ranks import Ranks
from layerkit.training.run import (
    Batches,
    Run,
    Score,
    TrainingState,
    adapt,
    first_nonfinite,
    put_back,
    warn_of_double_link,
)

_WORTH_A_PROGRAM = 3  # steps; to prepare whole epochs takes longer than they save in fewer
_SHOWN = ("loss", "validation_loss", "validation_score")


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
    checkpoint: str | os.PathLike | Checkpoint | None = None,
    resume: bool = False,
    communicator: Any = None,
) -> History:
    """Train a network in place: for every batch forward, loss, backward, step.

    Parameters
    ----------
    network : Layer
        Built, or else built here for the data's shape; layers in it that are built already keep
        their weights (see `Layer.build`).
    loss : Loss
        Of `layerkit.losses`, or your own.
    optimizer : Optimizer or LBFGS
        LBFGS sees all data at once; its epochs are its iterations.
    data : (X, y), (X, y, sample_weight) or iterable of such batches
        Arrays, memory maps or sparse rows with equal numbers of rows; or anything that can be
        iterated anew for every epoch and gives batches. Where the network has one output y may be
        a vector. A weight of 2 counts as the row twice. The weights of arrays are taken relative to
        their mean, those of batches as they are. X may be a list of arrays ``(time_i,
        n_features)``; then y may be one of arrays ``(time_i,)`` or ``(time_i, k)``, a target for
        every step, and so may sample_weight (see `Loss`).
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
        Recorded for the validation data as ``validation_score``: greater is better, on raw outputs;
        of targets of every step, on all steps one after the other.
    monitor : {"validation_score", "validation_loss", "loss"}, optional
        What chooses the best epoch and what ``patience`` watches. Left out, the first of these
        three that is recorded.
    patience : int, optional
        Stop after this many epochs in a row in which ``monitor`` improved by no more than ``tol``.
    tol : float, default=0.0
        At least 0.
    callbacks : sequence of callables, default=()
        Each is called with the `TrainingState` after every epoch; its methods ``before_batch``,
        ``on_batch`` and ``on_end``, where it has them, before and after every step and at the end.
    random_state : int, Generator, RandomState or SeedSequence, optional
        Seeds initial weights (of an unbuilt network), shuffling and noise layers, one stream each.
    verbose : bool, default=False
        Show a progress bar (with tqdm) or a line for every epoch (without).
    checkpoint : path or Checkpoint, optional
        File to write the run to, after every epoch or as often as the `Checkpoint` says. Not with
        LBFGS.
    resume : bool, default=False
        Go on from the checkpoint, if there is one, with everything else given as before: the result
        is that of the run that was never interrupted, bit by bit. A larger ``epochs`` goes further.
        A number of the optimizer that was changed since, such as ``learning_rate``, counts anew.
    communicator : mpi4py.MPI.Comm, optional
        Train on all of its ranks together, each of which makes this call, in a script under
        ``mpiexec``: see Notes.

    Returns
    -------
    history : History
        A row for every epoch.

    Raises
    ------
    ValueError
        If the data do not fit together or a parameter is out of range; the network is unchanged.
    TypeError
        If loss or optimizer is a class or a name.
    ModelFileError
        If ``resume`` finds a checkpoint that is damaged or of another run.
    KeyboardInterrupt
        At Ctrl-C, so that a loop around the training ends too. What was learned is kept, and the
        record of it is the ``history`` of the exception; see Notes.

    Warns
    -----
    DivergenceWarning
        When a loss or a weight is no longer finite: names the epoch and the first layer where it
        happened. Training stops and the weights of the last good epoch are restored.

    Notes
    -----
    After Ctrl-C the network has the weights that it had learned until then, with validation data
    those of the best epoch. Who wants to go on with them catches the exception::

        try:
            history = train(net, ...)
        except KeyboardInterrupt as interrupt:
            history = interrupt.history

    A batch whose weights are all zero does nothing.

    A network with a layer that is ``stateful`` goes on from batch to batch and begins anew at every
    epoch, so batches come in order, each with the same rows: for series ``X`` ``(n_series, time,
    n_features)``, ``[(X[:, t : t + 50], y[:, t : t + 50]) for t in range(0, time, 50)]``.

    Forward and backward are those of a plan, which computes what the layers would, bit for bit, in
    fewer calls. In a loop of your own, ``fast = layerkit.fused.plan(network)`` has them too:
    ``fast.forward(x, training=True)`` in place of ``network.forward(x, training=True)``.

    Where all is known (a chain of Dense, common activations, Dropout and BatchNorm, a common loss,
    SGD or Adam, rows in memory) and nobody asks to see a batch, one call goes through all batches
    of an epoch (of several, where they are short and nothing can happen between them), or with
    Numba and `LBFGS` computes loss and gradient of all rows. Its results are equal to those up to
    rounding, and the same in every run with as many threads.

    On several ranks a step is one all-reduce of gradient, loss and weight, and the same step on
    each. Where all ranks give the same rows, each computes its part of every batch of
    ``batch_size``: the result is that of one process, up to rounding. Else each gives its share
    and its batches of ``batch_size``, which make a step together; a rank may run out of batches,
    or have no rows (``X[:0]``). `BatchNorm` looks at a rank's part of a batch, and its running
    statistics are averaged. Validation is averaged over ranks, by rows. The first rank alone prints
    and writes files. Ctrl-C ends training on all ranks; an error on one ends all processes.

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
    _check_arguments(epochs, patience, tol, shuffle, resume)
    _check_object("loss", loss, ("forward", "backward"), "a loss, such as MeanSquaredError()")
    method = "minimize" if isinstance(optimizer, LBFGS) else "step"
    _check_object("optimizer", optimizer, (method,), "an optimizer, such as Adam()")
    if resume or checkpoint is not None:
        checkpoint = as_checkpoint(checkpoint, resume)
    if checkpoint is not None and isinstance(optimizer, LBFGS):
        raise ValueError("checkpoint needs an optimizer that steps in batches, not LBFGS")
    monitor = _choose_monitor(monitor, validation_data is not None, score is not None)
    ranks = communicator
    if ranks is not None and not isinstance(ranks, Ranks):
        ranks = Ranks(communicator)
    seed = as_seed_sequence(random_state)
    init_seed, shuffle_seed, noise_seed = (ranks.same(seed) if ranks else seed).spawn(3)
    rng = np.random.default_rng(shuffle_seed) if shuffle else None
    batches = (ranks.batches if ranks else as_batches)(data, batch_size, rng)
    for _, layer in network.walk():
        if layer.stateful:
            batches.check_order(layer.where)
    validation = None if validation_data is None else as_batches(validation_data, 1024)
    reseeds = random_state is not None
    _make_ready(network, batches, init_seed, noise_seed, reseeds, ranks)
    batches.shape_targets(loss, network)
    if validation is not None:
        validation.shape_targets(loss, network)
    warn_of_double_link(network, loss)

    state = TrainingState(network, loss, optimizer, epochs, validation=validation)
    run = Run(state, score, monitor, patience, tol, callbacks, ranks)
    if checkpoint is not None:
        checkpoint.begin(run, batches, resume)
    run.bind_schedules(1 if isinstance(optimizer, LBFGS) else len(batches))
    bar = None
    if verbose and (ranks is None or ranks.first):
        bar = run.bar = Progress(state, len(batches))
        run.observe(bar)
    network.needs_input_grad = False
    try:
        with threads_for(network), ranks.listening() if ranks else nullcontext():
            _learn(run, batches, checkpoint)
    except KeyboardInterrupt as interrupt:
        state.history.stopped = f"interrupted in epoch {state.epoch + 1}"
        interrupt.add_note(f"training was {state.history.stopped}; what was learned is kept")
        interrupt.history = state.history  # type: ignore[attr-defined]
        raise
    except FloatingPointError as error:
        run.back_to_good_weights(error)
    except (TypeError, ValueError):  # rows that network or loss refuse
        put_back(network, run.good)
        raise
    finally:
        run.restore_best()
        network.needs_input_grad = True
        network.clear_cache()
        network.reset_state()
        if bar is not None:
            bar.close()
        run.end()
    return state.history


def _make_ready(
    network: Layer,
    batches: Any,
    init_seed: np.random.SeedSequence,
    noise_seed: np.random.SeedSequence,
    reseeds: bool,
    ranks: Ranks | None,
) -> None:
    """Build a network that is new, and start from the same weights on all ranks."""
    is_new = not network.is_built
    if is_new:
        dtype = widest_dtype(network, batches.dtype)
        network.build(batches.input_shape, init_seed, dtype=dtype)
    if reseeds or ranks:
        network.reseed(noise_seed)
    if is_new:
        adapt(network, batches.sample)
    if ranks:
        ranks.begin(network, noise_seed)


def _learn(run: Run, batches: Batches, checkpoint: Checkpoint | None) -> None:
    """Go through all epochs."""
    state = run.state
    if isinstance(state.optimizer, LBFGS):
        _minimize(run, batches)
        return
    few = state.epochs * len(batches) < _WORTH_A_PROGRAM
    at_once = None if few or run.ranks is not None else Epochs(run, batches)
    while state.epoch < state.epochs and not state.stop:
        losses = None
        if run.ranks is not None:
            losses = run.ranks.epoch(run, batches)
        elif at_once is not None:
            losses = at_once.compute(run.epochs_unseen() if checkpoint is None else 1)
        run.end_epochs([_epoch(run, batches)] if losses is None else losses)
        if checkpoint is not None:
            checkpoint.end_epoch(run, batches)


def _epoch(run: Run, batches: Batches) -> float:
    """One pass over the data: the whole of backpropagation, batch by batch."""
    state = run.state
    network, loss, optimizer = state.network, state.loss, state.optimizer
    plan, layout = run.plan_for(network), network.layout
    total, rows = 0.0, 0.0
    network.reset_state()
    for x, y, weight, normalizer in batches:
        if weight is not None and not np.any(numbers(weight)):
            continue
        run.begin_batch(x, y, weight)
        y_pred = plan.forward(x, training=True)
        state.batch_loss = loss.forward(y_pred, y, weight, normalizer)
        if not isfinite(state.batch_loss):
            where = first_nonfinite(network, x)
            raise FloatingPointError(f"the loss is {state.batch_loss}, {where}")
        plan.backward(loss.backward())
        optimizer.step(network.flat_params, network.flat_grads, layout)
        state.step += 1
        n = len(y_pred) if normalizer is None else normalizer
        total, rows = total + n * state.batch_loss, rows + n
        for on_batch in run.on_batch:
            on_batch(state)
        if run.bar is not None:
            run.bar.advance(1)
    if not np.isfinite(network.flat_params).all():
        raise FloatingPointError(f"weights are not finite, {first_nonfinite(network, x)}")
    return total / rows


def _minimize(run: Run, batches: Batches) -> None:
    """Hand loss and gradient, as functions of the flat vector, to SciPy's L-BFGS."""
    state = run.state
    network, loss = state.network, state.loss
    x, y, weight, normalizer = batches.everything()
    noise = int(network.rng.integers(2**32))
    run.begin_batch(x, y, weight)
    at_once = Epochs(run, batches, whole=True) if run.ranks is None else None

    def loss_and_grads(flat_params: np.ndarray) -> tuple[float, np.ndarray]:
        network.flat_params[...] = flat_params
        network.reseed(noise)  # the same noise each time: a line search needs one function
        network.reset_state()
        if run.ranks is not None:
            return run.ranks.loss_and_grads(run, (x, y, weight, normalizer))
        if at_once is not None and (found := at_once.value()) is not None:
            return found, network.flat_grads
        value = loss.forward(run.plan.forward(x, training=True), y, weight, normalizer)
        run.plan.backward(loss.backward())
        return value, network.flat_grads

    def iteration(value: float) -> bool:
        run.end_epochs([value])
        return state.stop or state.epoch >= state.epochs

    state.optimizer.minimize(loss_and_grads, network.flat_params, network.layout, iteration)


class Progress:
    """A bar over all steps with tqdm, a line for every epoch without."""

    keeps_data = True

    def __init__(self, state: TrainingState, batches: int) -> None:
        try:
            from tqdm import tqdm
        except ImportError:
            self.bar = None
        else:
            total, done = state.epochs * batches or None, state.epoch * batches
            self.bar = tqdm(total=total, initial=done, unit="batch", dynamic_ncols=True)

    def advance(self, batches: int) -> None:
        if self.bar is not None:
            self.bar.update(batches)

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


def _choose_monitor(monitor: str | None, validated: bool, scored: bool) -> str:
    recorded = ["validation_score"] * (validated and scored)
    recorded += [*["validation_loss"] * validated, "loss"]
    if monitor is not None and monitor not in recorded:
        raise ValueError(f"monitor must be one of {', '.join(recorded)} here, got {monitor!r}")
    return monitor or recorded[0]


def _check_object(name: str, value: Any, methods: Sequence[str], expected: str) -> None:
    if isinstance(value, type) or not all(hasattr(value, method) for method in methods):
        raise TypeError(f"{name} must be {expected}, got {value!r}{if_class(value)}")


def _check_arguments(
    epochs: int, patience: int | None, tol: float, shuffle: bool, resume: bool
) -> None:
    for name, value, ok, expected in (
        ("epochs", epochs, is_size(epochs), "a positive integer"),
        ("patience", patience, patience is None or is_size(patience), "None or a positive integer"),
        ("tol", tol, is_number(tol) and tol >= 0, "a finite number >= 0"),
        ("shuffle", shuffle, is_flag(shuffle), "True or False"),
        ("resume", resume, is_flag(resume), "True or False"),
    ):
        if not ok:
            raise ValueError(f"{name} must be {expected}, got {value!r}")
