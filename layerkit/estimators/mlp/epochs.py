"""An epoch as scikit-learn's MLPs run it: how rows make batches, and what happens at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

import numpy as np

from layerkit.estimators.mlp.losses import penalty
from layerkit.training import TrainingState
from layerkit.training.batches import Table, fingerprint, mapping_of, release, take


class MiniBatches(Table):
    """Batches of rows of arrays, cut as scikit-learn cuts them: one row left over comes alone.

    X may be sparse; ``sample_weight`` has mean 1; an ``rng`` draws a new order in every pass.
    Without ``lonely`` no row comes alone: BatchNorm cannot learn from that.
    """

    def __init__(
        self,
        X: Any,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        batch_size: int,
        rng: np.random.RandomState | None = None,
        lonely: bool = True,
    ) -> None:
        self.X, self.y, self.sample_weight, self.mean_weight = X, y, sample_weight, 1.0
        self.rng = rng
        n_rows = len(y)
        starts = list(range(0, n_rows, batch_size))
        if not lonely and len(starts) > 1 and n_rows - starts[-1] == 1:
            starts.pop()
        self.bounds = list(zip(starts, [*starts[1:], n_rows], strict=True))
        self.order = np.arange(n_rows)

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def fingerprint(self) -> str:
        """Tells these data from others, for a checkpoint."""
        return fingerprint(self.X, self.y)

    @property
    def state(self) -> dict[str, Any]:
        """The order so far and the stream of the next ones, for a checkpoint; settable."""
        rng = {} if self.rng is None else {"rng": self.rng.get_state(legacy=False)}
        return {"order": self.order, **rng}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.order = state["order"]
        if self.rng is not None:
            self.rng.set_state(state["rng"])

    def next_order(self) -> np.ndarray | None:
        """Draw this order of the last order, as sklearn.utils.shuffle does."""
        if self.rng is None:
            return None
        indices = np.arange(len(self.order))
        self.rng.shuffle(indices)
        self.order = self.order[indices]
        return self.order

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        order, mapping = self.next_order(), mapping_of(self.X)
        weight = () if self.sample_weight is None else (self.sample_weight,)
        for start, stop in self.bounds:
            rows = slice(start, stop) if order is None else order[start:stop]
            yield take(self.X, rows), *[array[rows] for array in (self.y, *weight)]
            release(mapping)


class Convergence:
    """scikit-learn's rules for when to stop, and for the learning rate from epoch to epoch.

    An epoch whose loss is greater than the best so far less ``tol`` (or whose validation score is
    less than the best so far plus ``tol``) is one without improvement. After more than ``patience``
    of them in a row training stops; with the adaptive rate, the rate is divided by 5 and the count
    starts anew, until the rate is 1e-6 or less.

    ``waited`` counts epochs without improvement, ``t`` samples seen, and ``cuts`` how often the
    adaptive rate was divided by 5.
    """

    def __init__(self) -> None:
        self.best_loss, self.best_score = np.inf, -np.inf
        self.waited = self.t = self.cuts = 0

    def rate(self, mlp: Any) -> float:
        """Learning rate of the next epoch."""
        first, schedule = float(mlp.learning_rate_init), mlp.learning_rate
        if mlp.solver == "sgd" and schedule == "invscaling":
            return first / (self.t + 1) ** mlp.power_t
        return first / 5.0**self.cuts if mlp.solver == "sgd" and schedule == "adaptive" else first

    def see(self, loss: float, score: float | None, tol: float) -> None:
        """Count an epoch."""
        if score is None:
            missed = loss > self.best_loss - tol
            self.best_loss = min(self.best_loss, loss)
        else:
            missed = score < self.best_score + tol
            self.best_score = max(self.best_score, score)
        self.waited = self.waited + 1 if missed else 0


class EpochEnd:
    """Callback of `train` that applies a `Convergence` to every epoch.

    ``patient`` never stops training; the rate is adapted all the same.
    """

    keeps_data = True

    def __init__(
        self, convergence: Convergence, estimator: Any, n_samples: int, patient: bool
    ) -> None:
        self.convergence, self.estimator, self.n_samples = convergence, estimator, n_samples
        self.patient = patient

    @property
    def state(self) -> dict[str, Any]:
        """The counters, for a checkpoint; settable."""
        return dict(vars(self.convergence))

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        vars(self.convergence).update(state)

    def epochs_unseen(self) -> float:
        """How many epochs may go by until training can stop, or the rate change."""
        mlp = self.estimator
        if mlp.solver == "sgd" and mlp.learning_rate == "invscaling":
            return 1
        if self.patient and mlp.solver != "sgd":
            return np.inf
        return mlp.n_iter_no_change - self.convergence.waited + 1

    def __call__(self, state: TrainingState) -> None:
        row, rule, mlp = state.history.rows[-1], self.convergence, self.estimator
        is_sgd, adaptive = mlp.solver == "sgd", mlp.learning_rate == "adaptive"
        rule.t += self.n_samples
        rule.see(row["loss"], row.get("validation_score"), float(mlp.tol))
        if rule.waited > mlp.n_iter_no_change:
            if is_sgd and adaptive and state.optimizer.rate > 1e-6:
                rule.cuts, rule.waited = rule.cuts + 1, 0
            elif not self.patient:
                state.stop = True
                state.history.stopped = f"no improvement in {rule.waited} epochs"
        if is_sgd:
            state.optimizer.learning_rate = rule.rate(mlp)


class SearchStep:
    """Callback of `train` that records L-BFGS's whole loss, penalty included."""

    keeps_data = True

    def __init__(self, weights: Sequence[np.ndarray]) -> None:
        self.weights = weights

    def __call__(self, state: TrainingState) -> None:
        state.history.rows[-1]["loss"] += penalty(state.optimizer.weight_decay, self.weights)


def print_iteration(state: TrainingState) -> None:
    """Print an epoch the way scikit-learn does."""
    row = state.history.rows[-1]
    print(f"Iteration {state.epoch}, loss = {row['loss']:.8f}")
    if isfinite(score := row.get("validation_score", np.nan)):
        print(f"Validation score: {score:f}")
