"""`health` looks once at a network and its data, `HealthMonitor` watches a training run."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from layerkit.inspection.diagnosis.evidence import Course, Evidence
from layerkit.inspection.diagnosis.report import HealthReport, report_on
from layerkit.inspection.diagnosis.subject import (
    Rows,
    Subject,
    refuse_steps,
    rows_of,
    subject_of,
)
from layerkit.inspection.paths import parameter_spans
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.parameters import brief, check_arguments, if_class, is_size, plain, written_as
from layerkit.sequences import Sequences
from layerkit.training import History, TrainingState

_LINE = "health(network, X, y, loss) or health(estimator, X, y)"
_HELD_OUT = "None, (X, y) or (X, y, sample_weight)"
_REPORT = "monitor.report() or monitor.report(X, y)"


@written_as(_LINE)
def health(
    network_or_estimator: Any,
    X: Any,
    y: Any,
    loss: Loss | str = "auto",
    *,
    sample_weight: Any = None,
    validation_data: Any = None,
    history: History | None = None,
    optimizer: Any = None,
    batch_size: int | None = None,
    max_rows: int = 10_000,
) -> HealthReport:
    """Measure a network on its data and say what is wrong, why, and what to do.

    It can be called before training (an unbuilt network is built on a copy) and after it; the
    network, its caches and its random streams do not change. Further information makes more
    verdicts possible: with an optimizer the learning rate is tried out on a copy, with a history or
    validation data the fit is judged. An estimator provides all of that.

    Parameters
    ----------
    network_or_estimator : Layer or estimator
        A network, an estimator of ours, or a Pipeline that ends in one.
    X, y : array-like
        The training rows, in their original order.
    loss : Loss or "auto", default="auto"
        The loss of training. "auto" is that of the estimator; for a network, cross-entropy if y
        holds whole numbers, otherwise squared error.
    sample_weight : array-like of shape (n_samples,), optional
        Sample weights of training.
    validation_data : (X, y) or (X, y, sample_weight), optional
        Rows that are not used for training.
    history : History, optional
        The record that `train` returned.
    optimizer : Optimizer, optional
        The optimizer of training; it is not changed.
    batch_size : int, optional
        Batch size of training, by which BatchNorm is judged.
    max_rows : int, default=10_000
        Largest number of rows to use; if there are more, they are drawn at random.

    Returns
    -------
    report : HealthReport
        Prints as text, shows as tables in a notebook; ``report.verdicts`` is the list.

    Raises
    ------
    TypeError
        If an argument is missing, or network, data or loss stand in each other's places: it shows
        the line to write.
    ValueError
        If X, y and the network do not fit together.

    See Also
    --------
    HealthMonitor : The same while training, knowing the beginning and every loss.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense, ReLU, Sequential
    >>> from layerkit.inspection import health
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(1000, 300, (200, 5))
    >>> report = health(Sequential([Dense(16), ReLU(), Dense(2)]), X, X[:, 0] > 1000)
    >>> first = report.verdicts[0]
    >>> first.name, first.layer
    ('inputs not scaled', 'inputs')
    """
    _check_rows(_LINE, X, y)
    check_arguments(
        ("loss", loss, isinstance(loss, Loss) or (isinstance(loss, str) and loss == "auto"),
         '"auto" or a layerkit loss, as in health(network, X, y, MeanSquaredError())'),
        ("max_rows", max_rows, is_size(max_rows), "a positive integer"),
        ("batch_size", batch_size, batch_size is None or is_size(batch_size),
         "None or a positive integer"),
        ("history", history, isinstance(history, History | None), "None or what train returned"),
        ("optimizer", optimizer, isinstance(optimizer, Optimizer | LBFGS | None),
         "None or a layerkit optimizer, such as Adam()"),
        ("validation_data", validation_data, validation_data is None or _is_data(validation_data),
         _HELD_OUT),
    )  # fmt: skip
    subject = subject_of(
        network_or_estimator,
        (X, y, sample_weight),
        validation_data and (*validation_data, None)[:3],
        loss,
        {"history": history, "optimizer": optimizer, "batch_size": batch_size},
    )
    if len(subject.rows) > max_rows:
        kept = np.random.default_rng(0).choice(len(subject.rows), max_rows, replace=False)
        subject.rows = subject.rows.take(np.sort(kept))
    course = None
    if subject.history is not None and (len(subject.history) or subject.history.stopped):
        course = Course(history=subject.history)
        course.losses = course.column("loss")
    return report_on(Evidence(subject, course=course))


def _is_data(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) in (2, 3)


def _check_rows(line: str, X: Any, y: Any) -> None:
    """Refuse what belongs in the place of another argument, by the line to write."""
    for name, given in {"X": X, "y": y}.items():
        if given is None or isinstance(given, type | Layer | Loss | Optimizer | LBFGS):
            told = f"{brief(given)}{if_class(given)}"
            raise TypeError(f"{name} must be the rows, as in {line}, got {told}")


class HealthMonitor:
    """Watch a training run; then say what is wrong, why, and what to do.

    A callback of `train` (and of the estimators' ``set_callbacks``). During training it only
    records what would be lost afterwards: the network before the first step, the loss of every
    step, up to ``keep_rows`` rows of the data and, once in ``every`` steps, how far the weights
    move. `report` then measures activations and gradients before and after training on these rows,
    and tries other learning rates on copies if the rate is suspected.

    Parameters
    ----------
    every : int, default=50
        Interval, in steps, at which updates are measured, beginning with the first step. Each
        costs about a copy of the flat vector.
    keep_rows : int, default=1024
        Number of rows of the first epoch to keep.

    Attributes
    ----------
    losses : list of float
        Loss of every step; of every epoch with L-BFGS.
    steps : list of int
        The steps that were watched, counted from 1.
    updates : dict of list of float
        By the path of each layer that is trained: the norm of its update over the norm of its
        weights in each of ``steps``; infinite where the weights were all zero.

    See Also
    --------
    health : The same for a network at hand, trained or not.

    Examples
    --------
    >>> from layerkit import Dense, ReLU, Sequential
    >>> from layerkit.datasets import load_digits
    >>> from layerkit.inspection import HealthMonitor
    >>> from layerkit.losses import CategoricalCrossEntropy
    >>> from layerkit.optimizers import SGD
    >>> from layerkit.training import train
    >>> monitor = HealthMonitor()
    >>> X, y = load_digits()
    >>> net = Sequential([Dense(32), ReLU(), Dense(10)])
    >>> _ = train(net, CategoricalCrossEntropy(), SGD(learning_rate=1e-5), (X.reshape(-1, 64), y),
    ...           epochs=3, callbacks=[monitor], random_state=0)
    >>> first = monitor.report().verdicts[0]
    >>> first.name, first.layer
    ('learning rate too low', 'optimizer')
    """

    def __init__(self, every: int = 50, keep_rows: int = 1024) -> None:
        check_arguments(
            ("every", every, is_size(every), "a positive integer"),
            ("keep_rows", keep_rows, is_size(keep_rows), "a positive integer"),
        )
        self.every = plain(every)
        self.keep_rows = plain(keep_rows)
        self._forget()

    def _forget(self) -> None:
        self.losses: list[float] = []
        self.steps: list[int] = []
        self.updates: dict[str, list[float]] = {}
        self.state: TrainingState | None = None
        self._batches: list[tuple[Any, ...]] = []
        self._n_rows, self._batch_rows = 0, 0
        self._last: Any = None  # the current batch, unless it is kept
        self._before: np.ndarray | None = None  # the weights before a step that is measured

    # ---------------------------------------------------------------- while training

    def before_batch(self, state: TrainingState) -> None:
        """Keep the batch while rows are needed, and the weights if their update is measured."""
        if state is not self.state:
            self._begin(state)
        self._last = state.batch
        if self._n_rows < self.keep_rows and state.epoch == 0:  # later epochs repeat them
            self._keep(state.batch)
            self._last = None
        if len(self.losses) % self.every == 0:
            self._before = state.network.flat_params.copy()

    def on_batch(self, state: TrainingState) -> None:
        """Record the loss, and the update if it is measured."""
        self.losses.append(state.batch_loss)
        if self._before is not None:
            self.steps.append(len(self.losses))
            self._note_updates(self._before, state.network.flat_params)
            self._before = None

    def __call__(self, state: TrainingState) -> None:
        """Record the loss of an epoch where there are no steps (L-BFGS)."""
        if not state.step:
            self.losses.append(float(state.history["loss"][-1]))

    def on_end(self, state: TrainingState) -> None:
        """Keep the batch at which training diverged, if it did."""
        if state.history.stopped.startswith("diverged") and self._last is not None:
            self._keep(self._last)
        self._last = self._before = None

    def _begin(self, state: TrainingState) -> None:
        self._forget()
        self.state = state
        self._beginning = copy.deepcopy(state.network)
        spans = parameter_spans(state.network)
        trained = {path for path, layer in state.network.walk() if layer.trainable}
        self._spans = {path: where for path, where in spans.items() if path in trained}
        self.updates = {path: [] for path in self._spans}

    def _keep(self, batch: tuple[Any, ...]) -> None:
        n, room = len(batch[1]), max(self.keep_rows - self._n_rows, 32)
        rows = np.arange(n) if n <= room else np.linspace(0, n - 1, room).astype(int)
        self._batches.append(tuple(None if part is None else part[rows] for part in batch))
        self._n_rows += min(n, room)
        self._batch_rows = self._batch_rows or n

    def _note_updates(self, before: np.ndarray, after: np.ndarray) -> None:
        step = after - before
        for path, where in self._spans.items():
            size, moved = (math.sqrt(part[where] @ part[where]) for part in (before, step))
            self.updates[path].append(moved / size if size else math.inf if moved else 0.0)

    # ---------------------------------------------------------------- afterwards

    @written_as(_REPORT)
    def report(
        self,
        X: Any = None,
        y: Any = None,
        *,
        sample_weight: Any = None,
        validation_data: Any = None,
    ) -> HealthReport:
        """Examine the run.

        Parameters
        ----------
        X, y, sample_weight : array-like, optional
            Rows to examine instead of those kept, encoded as for `train`. In their original order
            they also show whether y is shifted against X.
        validation_data : (X, y), optional
            Rows that were not used for training.

        Returns
        -------
        report : HealthReport
            Prints as text, shows as tables in a notebook.

        Raises
        ------
        RuntimeError
            If no training was watched.
        TypeError
            If X comes without y, or something else in their places.
        """
        if self.state is None:
            raise RuntimeError(
                "HealthMonitor has seen no training: pass it to train(..., callbacks=[monitor]) or "
                "to estimator.set_callbacks(monitor)"
            )
        if X is not None or y is not None:
            _check_rows(_REPORT, X, y)
        held = validation_data
        check_arguments(("validation_data", held, held is None or _is_data(held), _HELD_OUT))
        state = self.state
        rows = _joined(self._batches) if X is None else rows_of(X, y, sample_weight)
        held_out = None if state.validation is None else _joined(self._validation(state.validation))
        subject = Subject(
            copy.deepcopy(state.network),
            copy.deepcopy(getattr(state.loss, "unpenalized", state.loss)),
            rows,
            None if validation_data is None else rows_of(*validation_data),
            state.history,
            state.optimizer,
            self._batch_rows,
            ordered=X is not None,
            watched=held_out,
        )
        losses = np.asarray(self.losses)
        course = Course(losses, state.history, self.updates, state.step)
        return report_on(Evidence(subject, self._beginning, course))

    def _validation(self, batches: Iterable[Any]) -> list[tuple[Any, ...]]:
        """The first of the rows that were not trained on."""
        kept: list[tuple[Any, ...]] = []
        for x, y, weight, _ in batches:
            kept.append((x, y, weight))
            if sum(len(y) for _, y, _ in kept) >= self.keep_rows:
                break
        return kept


def _joined(batches: list[tuple[Any, ...]]) -> Rows:
    """Put batches together."""
    X, y, weight = zip(*batches, strict=True)
    refuse_steps(X[0], y[0])
    rows: Any
    if isinstance(X[0], np.ndarray | Sequences):
        long = [x for x in X if isinstance(x, Sequences)]
        rows = Sequences.concatenate([Sequences.of(x) for x in X]) if long else np.concatenate(X)
    else:
        from scipy.sparse import vstack

        rows = vstack(X).tocsr()
    weights = None if weight[0] is None else np.concatenate(weight)
    return Rows(rows, np.concatenate(y), weights)
