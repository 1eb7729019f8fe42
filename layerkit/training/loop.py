"""The training loop: shuffled batches, forward, backward, step; and the record of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from layerkit.building import widest_dtype
from layerkit.fused import threads_for
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.parameters import (
    check_arguments,
    check_object,
    is_flag,
    is_number,
    is_size,
    plain,
    written_as,
)
from layerkit.seeds import as_seed_sequence
from layerkit.sequences import numbers
from layerkit.training.batches import ArrayBatches, as_batches
from layerkit.training.checkpoint import Checkpoint, as_checkpoint
from layerkit.training.epochs import Epochs
from layerkit.training.finite import refuse_nonfinite
from layerkit.training.history import History
from layerkit.training.progress import Progress
from layerkit.training.ranks import Ranks
from layerkit.training.run import (
    Batches,
    Run,
    Score,
    TrainingState,
    adapt,
    first_nonfinite,
    new_until_an_epoch_ends,
    put_back,
    warn_of_channels_first,
    warn_of_double_link,
    warn_of_nothing_to_learn,
)

_WORTH_A_PROGRAM = 3  # steps; with fewer, preparing whole epochs costs more than it saves


_LINE = "train(network, loss, optimizer, (X, y), epochs=10)"


@written_as(_LINE)
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
        The network to train. If it is not built, it is built here for the shape of the data, and
        layers in it that are already built keep their weights (see `Layer.build`).
    loss : Loss
        One of `layerkit.losses`, or your own.
    optimizer : Optimizer or LBFGS
        LBFGS uses all data at once; its epochs are its iterations.
    data : (X, y), (X, y, sample_weight) or iterable of such batches
        Arrays, memory maps or sparse rows with equal numbers of rows; or an iterable of batches
        that can be iterated again for every epoch. If the network has one output, y may be a
        vector. A weight of 2 counts a row twice. Weights of arrays are relative to their mean,
        those of batches are used as they are. X may be a list of arrays ``(time_i, n_features)``;
        y and sample_weight may then be lists of arrays too, with a target ``(time_i,)`` or
        ``(time_i, k)`` and a weight for every step (see `Loss`).
    epochs : int
        Number of passes over the data, at least 1.
    batch_size : int, default=32
        Rows per batch. A single row left over joins the last batch, so that no row is dropped and
        BatchNorm never sees one row alone.
    shuffle : bool, default=True
        Whether to draw a new order of the rows for every epoch.
    validation_data : like data, optional
        Evaluated after every epoch; the weights of the best epoch are restored at the end.
    score : callable (y_true, y_pred, sample_weight) -> float, optional
        Computed from the raw outputs for the validation data and recorded as
        ``validation_score``; greater is better. Where every step has a target, the steps of all
        rows are concatenated.
    monitor : {"validation_score", "validation_loss", "loss"}, optional
        The quantity that selects the best epoch and that ``patience`` watches; by default the first
        of these three that is recorded.
    patience : int, optional
        Stop after this many epochs in a row in which ``monitor`` improved by no more than ``tol``.
    tol : float, default=0.0
        Smallest improvement that counts, at least 0.
    callbacks : sequence of callables, default=()
        Each is called with the `TrainingState` after every epoch. If it has methods
        ``before_batch``, ``on_batch`` and ``on_end``, these are called before and after every step
        and at the end.
    random_state : int, Generator, RandomState or SeedSequence, optional
        Seeds initial weights (of an unbuilt network), shuffling and noise layers, one stream each.
    verbose : bool, default=False
        Whether to show a progress bar (with tqdm) or to print a line per epoch (without).
    checkpoint : path or Checkpoint, optional
        File to which the run is saved, after every epoch or as the `Checkpoint` says. Not available
        with LBFGS.
    resume : bool, default=False
        Whether to continue from the checkpoint, if there is one. All other arguments must be those
        of the first call; the result is then bit for bit that of an uninterrupted run. A larger
        ``epochs`` trains longer. A number of the optimizer that was changed since, such as
        ``learning_rate``, takes effect.
    communicator : mpi4py.MPI.Comm, optional
        Train on all of its ranks together; every rank makes this call, in a script under
        ``mpiexec``: see Notes.

    Returns
    -------
    history : History
        One row per epoch.

    Raises
    ------
    ValueError
        If the data do not fit together, hold numbers that are not finite (rows and columns are
        named) or a parameter is out of range; the network is unchanged. What a stream of batches
        holds shows only when it comes: the weights of the last epoch are restored then.
    TypeError
        If an argument is missing, or network, loss or optimizer is a class, a name or in the wrong
        place: it shows the line to write.
    ModelFileError
        If ``resume`` finds a checkpoint that is damaged or of another run.
    KeyboardInterrupt
        After Ctrl-C, so that a loop around the training ends too. What was learned is kept, and the
        exception has the record as its ``history``; see Notes.

    Warns
    -----
    UserWarning
        If every layer with parameters is frozen.
    DivergenceWarning
        If a loss or a weight is no longer finite; it names the epoch and the first layer where this
        happened. Training stops and the weights of the last good epoch are restored.

    Notes
    -----
    After Ctrl-C the network has the weights learned so far or, with validation data, those of the
    best epoch. To continue with them, catch the exception::

        try:
            history = train(net, ...)
        except KeyboardInterrupt as interrupt:
            history = interrupt.history

    A batch whose weights are all zero is skipped.

    The state of a ``stateful`` layer is carried from batch to batch and reset at every epoch, so
    batches must come in order and hold the same rows each: for series ``X`` ``(n_series, time,
    n_features)``, ``[(X[:, t : t + 50], y[:, t : t + 50]) for t in range(0, time, 50)]``.

    Forward and backward are those of a plan, which computes what the layers would, bit for bit, in
    fewer calls. It is available to your own loops: with ``fast = layerkit.fused.plan(network)``,
    call ``fast.forward(x, training=True)`` instead of ``network.forward(x, training=True)``.

    For a chain of Dense, common activations, Dropout and BatchNorm, with a common loss, SGD or
    Adam, rows in memory and no callback that looks at batches, a single call processes all batches
    of an epoch, or of several short ones where nothing can happen between them; with Numba and
    `LBFGS`, a single call computes loss and gradient of all rows. The results are the same up to
    rounding, and identical in every run on the same processors.

    On several ranks every step is one all-reduce of gradient, loss and weight, followed by the same
    update on each rank. If all ranks pass the same rows, each computes its part of every batch: the
    result is that of one process, up to rounding. Otherwise each rank passes its own share of the
    rows, and one batch of ``batch_size`` from every rank makes a step; a rank may run out of
    batches, or have no rows (``X[:0]``). `BatchNorm` uses the rank's part of a batch, and its
    running statistics are averaged. Validation is averaged over ranks, weighted by rows. Only the
    first rank prints and writes files. Ctrl-C ends training on all ranks; an error on one rank ends
    all processes.

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
    check_arguments(
        ("epochs", epochs, is_size(epochs), "a positive integer"),
        ("patience", patience, patience is None or is_size(patience), "None or a positive integer"),
        ("tol", tol, is_number(tol) and tol >= 0, "a finite number >= 0"),
        ("shuffle", shuffle, is_flag(shuffle), "True or False"),
        ("resume", resume, is_flag(resume), "True or False"),
        ("verbose", verbose, is_flag(verbose) or is_size(verbose, 0), "True or False"),
    )
    epochs, patience = plain(epochs), plain(patience)
    whole = isinstance(optimizer, LBFGS)  # a step takes all data
    expected = f"{{}}, as in {_LINE}"
    check_object("network", network, ("walk", "build"), expected.format("a network"))
    check_object(
        "loss", loss, ("forward", "backward"), expected.format("a loss, such as MeanSquaredError()")
    )
    method = "minimize" if whole else "step"
    check_object("optimizer", optimizer, (method,), expected.format("an optimizer, such as Adam()"))
    if isinstance(loss, Loss):
        loss.check_params()
    if isinstance(optimizer, Optimizer | LBFGS):
        optimizer.validate()
    callbacks = _checked_callbacks(callbacks)
    if resume or checkpoint is not None:
        checkpoint = as_checkpoint(checkpoint, resume)
    if checkpoint is not None and whole:
        raise ValueError("checkpoint needs an optimizer that steps in batches, not LBFGS")
    monitor = _choose_monitor(monitor, validation_data is not None, score is not None)
    ranks = communicator
    if ranks is not None and not isinstance(ranks, Ranks):
        ranks = Ranks(communicator)
    seed = as_seed_sequence(random_state)
    init_seed, shuffle_seed, noise_seed = (ranks.same(seed) if ranks else seed).spawn(3)
    rng = np.random.default_rng(shuffle_seed) if shuffle else None
    batches = (ranks.batches if ranks else as_batches)(data, batch_size, rng)
    validation = (
        None
        if validation_data is None
        else as_batches(validation_data, 1024, name="validation_data")
    )
    check = partial(_check_data, network, batches, validation)
    ranks.agree(check) if ranks else check()
    reseeds = random_state is not None
    history = History()
    with new_until_an_epoch_ends(network, optimizer, history):
        _make_ready(network, batches, init_seed, noise_seed, reseeds, ranks)
        batches.shape_targets(loss, network)
        if validation is not None:
            validation.shape_targets(loss, network)
        warn_of_double_link(network, loss)
        warn_of_channels_first(network)
        warn_of_nothing_to_learn(network)

        state = TrainingState(
            network, loss, optimizer, epochs, validation=validation, history=history
        )
        run = Run(state, score, monitor, patience, tol, callbacks, ranks)
        if checkpoint is not None:
            checkpoint.begin(run, batches, resume)
        run.bind_schedules(1 if whole else len(batches))
        if verbose and (ranks is None or ranks.first):
            run.bar = Progress(state, len(batches))
            run.observe(run.bar)
        try:
            _learn_until_the_end(run, batches, checkpoint)
        except KeyboardInterrupt as interrupt:
            interrupt.history = state.history  # type: ignore[attr-defined]
            raise
        return state.history


def _learn_until_the_end(run: Run, batches: Batches, checkpoint: Checkpoint | None) -> None:
    """Go through all epochs; restore the best weights and clean up, however they end."""
    state, network, ranks = run.state, run.state.network, run.ranks
    network.needs_input_grad = False
    try:
        with threads_for(network), ranks.listening() if ranks else nullcontext():
            _learn(run, batches, checkpoint)
    except KeyboardInterrupt as interrupt:
        state.history.stopped = f"interrupted in epoch {state.epoch + 1}"
        interrupt.add_note(f"training was {state.history.stopped}; what was learned is kept")
        raise
    except FloatingPointError as error:
        run.back_to_good_weights(error)
    except (TypeError, ValueError):  # rows refused by the network or the loss
        put_back(network, run.good)
        raise
    finally:
        run.restore_best()
        network.needs_input_grad = True
        network.clear_cache()
        network.reset_state()
        if run.bar is not None:
            run.bar.close()
        run.end()


def _check_data(network: Layer, batches: Any, validation: Any) -> None:
    """Refuse an order that stateful layers cannot follow, and rows in memory that are not finite.

    Streamed rows are checked when they come.
    """
    for _, layer in network.walk():
        if layer.stateful:
            batches.check_order(layer.where)
    for rows, name in ((batches, "X"), (validation, "X of validation_data")):
        if isinstance(rows, ArrayBatches) and not rows.looks_finite:
            refuse_nonfinite(network, rows.X, name)


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
            losses = [run.ranks.epoch(run, batches)]
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
        network.reseed(noise)  # the same noise each time, as a line search needs a function
        network.reset_state()
        if at_once is None:
            return run.ranks.loss_and_grads(run, (x, y, weight, normalizer))
        if (found := at_once.value()) is not None:
            return found, network.flat_grads
        value = loss.forward(run.plan.forward(x, training=True), y, weight, normalizer)
        run.plan.backward(loss.backward())
        return value, network.flat_grads

    def iteration(value: float) -> bool:
        run.end_epochs([value])
        return state.stop or state.epoch >= state.epochs

    state.optimizer.minimize(loss_and_grads, network.flat_params, network.layout, iteration)


def _choose_monitor(monitor: str | None, validated: bool, scored: bool) -> str:
    recorded = ["validation_score"] * (validated and scored)
    recorded += [*["validation_loss"] * validated, "loss"]
    if monitor is not None and monitor not in recorded:
        raise ValueError(f"monitor must be one of {', '.join(recorded)} here, got {monitor!r}")
    return monitor or recorded[0]


def _checked_callbacks(callbacks: Any) -> list[Any]:
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of callables, got {callbacks!r}")
    callbacks = list(callbacks)
    for given in callbacks:
        if isinstance(given, type) or not callable(given):
            hint = f": write {given.__name__}(...)" if isinstance(given, type) else ""
            raise TypeError(
                f"callbacks must be callables that take a TrainingState, got {given!r}{hint}"
            )
    return callbacks
