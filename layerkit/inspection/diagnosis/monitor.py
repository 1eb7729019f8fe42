"""`HealthMonitor`: a callback that watches training without slowing it down."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np

from layerkit.inspection.diagnosis.evidence import Course, Evidence
from layerkit.inspection.diagnosis.report import HealthReport, report_on
from layerkit.inspection.diagnosis.statistics import Recorder
from layerkit.inspection.diagnosis.subject import Rows, Subject, rows_of
from layerkit.layer import Layer, is_size
from layerkit.training import TrainingState

BUDGET = 0.03  # share of the training time that watching may take


class HealthMonitor:
    """Watch a training run; then say what is wrong, why, and what to do.

    A callback of `train` (and of the estimators' ``set_callbacks``). It keeps the loss of every
    step, the weights from before the first step and up to ``keep_rows`` rows of the data, and
    measures activations, gradients and updates in some of the steps. `report` then examines the
    network before and after on the rows kept, and tries other learning rates on copies where the
    rate is suspected.

    Parameters
    ----------
    every : "auto" or int, default="auto"
        Watch one step in so many. "auto" watches as often as costs no more than about 3 % of the
        time.
    keep_rows : int, default=1024
        How many rows the report looks at.

    Attributes
    ----------
    steps : list of int
        The steps that were watched, counted from 1.
    losses : list of float
        Loss of every step.

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

    def __init__(self, every: int | str = "auto", keep_rows: int = 1024) -> None:
        if every != "auto" and not is_size(every):
            raise ValueError(f'every must be "auto" or a positive integer, got {every!r}')
        if not is_size(keep_rows):
            raise ValueError(f"keep_rows must be a positive integer, got {keep_rows!r}")
        self.every = every
        self.keep_rows = keep_rows
        self._forget()

    def _forget(self) -> None:
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.state: TrainingState | None = None
        self._batches: list[tuple[Any, ...]] = []
        self._n_rows, self._batch_rows = 0, 0
        self._last: Any = None  # the batch at hand, unless it is kept
        self._before: np.ndarray | None = None  # the weights before a step that is watched
        self._watched_seconds = self._extra_seconds = 0.0

    # ---------------------------------------------------------------- while training

    def before_batch(self, state: TrainingState) -> None:
        """Keep the batch while rows are wanted; begin to watch if it is time to."""
        if state is not self.state:
            self._begin(state)
        self._last = state.batch
        if self._n_rows < self.keep_rows and state.epoch == 0:  # later they would come again
            self._keep(state.batch)
            self._last = None
        if self._is_due():
            self._clock = time.perf_counter()
            self._before = state.network.flat_params.copy()
            _observe(state.network, self._recorder)

    def on_batch(self, state: TrainingState) -> None:
        """Note the loss; end watching."""
        self.losses.append(state.batch_loss)
        if self._before is not None:
            _observe(state.network, None)
            self._recorder.add_gradients(state.network.flat_grads)
            self._recorder.add_step(self._before, state.network.flat_params)
            self._before = None
            self.steps.append(len(self.losses))
            self._account()

    def __call__(self, state: TrainingState) -> None:
        """Note the loss of an epoch where there are no steps (L-BFGS)."""
        if not state.step:
            self.losses.append(float(state.history["loss"][-1]))
            _observe(state.network, None)

    def on_end(self, state: TrainingState) -> None:
        """Let go of the network's layers; keep the batch that broke, if one did."""
        _observe(state.network, None)
        if state.history.stopped.startswith("diverged") and self._last is not None:
            self._keep(self._last)
        self._last = self._before = None

    def _begin(self, state: TrainingState) -> None:
        self._forget()
        self.state, self._started = state, time.perf_counter()
        self._recorder = Recorder(state.network)
        self._beginning = copy.deepcopy(state.network)

    def _keep(self, batch: tuple[Any, ...]) -> None:
        n, room = len(batch[1]), max(self.keep_rows - self._n_rows, 32)
        rows = np.arange(n) if n <= room else np.linspace(0, n - 1, room).astype(int)
        self._batches.append(tuple(None if part is None else part[rows] for part in batch))
        self._n_rows += len(rows)
        self._batch_rows = self._batch_rows or n

    def _is_due(self) -> bool:
        step = len(self.losses)
        if not self.steps:
            return True
        if isinstance(self.every, int):
            return step % self.every == 0
        if step - self.steps[-1] < 4:  # there must be plain steps to compare with
            return False
        next_one = self._extra_seconds / len(self.steps)
        elapsed = time.perf_counter() - self._started
        return self._extra_seconds + next_one < BUDGET * elapsed

    def _account(self) -> None:
        """Add up what watching cost beyond a step that is not watched."""
        now = time.perf_counter()
        seconds, plain = now - self._clock, len(self.losses) - len(self.steps)
        others = self._clock - self._started - self._watched_seconds
        self._watched_seconds += seconds
        self._extra_seconds += max(seconds - others / plain, 0.0) if plain else seconds

    # ---------------------------------------------------------------- afterwards

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
            Rows to examine in place of those that were kept; encoded as `train` got them. In their
            original order they also show whether y is shifted against X.
        validation_data : (X, y), optional
            Rows that were not trained on.

        Returns
        -------
        report : HealthReport
            Prints as text, shows as tables in a notebook.

        Raises
        ------
        RuntimeError
            If no training was watched.
        """
        if self.state is None:
            raise RuntimeError(
                "HealthMonitor has seen no training: pass it to train(..., callbacks=[monitor]) or "
                "to estimator.set_callbacks(monitor)"
            )
        state = self.state
        rows = self._rows() if X is None else rows_of(X, y, sample_weight)
        subject = Subject(
            copy.deepcopy(state.network),
            copy.deepcopy(state.loss),
            rows,
            None if validation_data is None else rows_of(*validation_data),
            state.history,
            state.optimizer,
            self._batch_rows,
            ordered=X is not None,
        )
        losses = np.asarray(self.losses)
        course = Course(losses, state.history, self._recorder, state.step)
        return report_on(Evidence(subject, self._beginning, course))

    def _rows(self) -> Rows:
        parts = list(zip(*self._batches, strict=True))
        if isinstance(parts[0][0], np.ndarray):
            X = np.concatenate(parts[0])
        else:
            from scipy.sparse import vstack

            X = vstack(parts[0]).tocsr()
        y = np.concatenate(parts[1])
        weight = None if parts[2][0] is None else np.concatenate(parts[2])
        return Rows(X, y, weight)


def _observe(network: Layer, observer: Recorder | None) -> None:
    for _, layer in network.walk():
        layer._observer = observer
