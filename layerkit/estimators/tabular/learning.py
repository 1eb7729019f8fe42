"""Members of a tabular estimator: each a network of its own, trained on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV

from layerkit.estimators.tabular.networks import with_linear_part
from layerkit.fused import work_of
from layerkit.kernels import for_work, one_blas_thread
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.optimizers import Optimizer
from layerkit.training import History, TrainingState, train
from layerkit.training.run import adapt

Score = Callable[[np.ndarray, np.ndarray, Any], float]
"""Of targets, raw outputs and weights of rows; greater is better."""
BLOCK = 256
"""Rows that are predicted at a time, always so many: what a row gives depends on no other."""


LARGEST = 1e15
"""Features beyond ± this are so much: their squares are still numbers of float32."""


def as_input(features: np.ndarray) -> np.ndarray:
    """Return features as the networks take them, in float32."""
    return features.clip(-LARGEST, LARGEST).astype(np.float32)


@dataclass(frozen=True)
class Rows:
    """Rows as a network takes them: features in float32, targets as the loss takes them."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    workers = None  # of Dask, that have them

    @property
    def data(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """What `train` takes."""
        return self.X, self.y, self.weight

    def linear_part(self, columns: list[int]) -> LinearPart:
        """Return a ridge regression of the targets on some columns."""
        return LinearPart.of(columns, self)

    def residual(self, linear: LinearPart) -> Rows:
        """Return the rows with what is left to learn as targets, scaled to unit variance."""
        return replace(self, y=linear.residual(self.X, self.y))

    def linear_outputs(self, linear: LinearPart) -> np.ndarray:
        """Return what a linear part predicts."""
        return linear.predict(self.X)

    def raw_outputs(self, network: Layer) -> np.ndarray:
        """Return a network's outputs, in float64."""
        return raw_outputs(network, self.X)


@dataclass
class Member:
    """How one member learns: all that a process of its own needs to know.

    ``linear`` is a ridge regression of the targets whose residual the network learns, or None.
    ``stop_at`` is the epoch to end after, before the last, or None.
    """

    network: Layer
    loss: Loss
    score: Score
    optimizer: Optimizer
    epochs: int
    batch_size: int
    seed: np.random.SeedSequence
    linear: LinearPart | None = None
    stop_at: int | None = None
    callbacks: Sequence[Callable[[TrainingState], Any]] = ()


def learn_member(member: Member, rows: Rows, validation: Rows | None) -> tuple[Layer, History]:
    """Train a network; return it, with the linear part if there is one, and the record.

    BLAS has one thread: a batch is so small that a second one saves little, and between products it
    waits at full speed. Other processors are for other members.
    """
    init_seed, noise_seed = member.seed.spawn(2)
    network = member.network.build(rows.X.shape[1:], init_seed, dtype=np.float32)
    linear, score, left = member.linear, member.score, validation
    with for_work(3 * member.epochs * work_of(network, rows.X)), one_blas_thread():
        adapt(network, rows.X)
        if linear is None:
            return network, _train(member, rows, validation, score, noise_seed)
        if validation is not None:
            left, score = validation.residual(linear), linear.scored(score, validation)
        history = _train(member, rows.residual(linear), left, score, noise_seed)
        return linear.around(network), history


def _train(member: Member, rows: Rows, validation: Rows | None, score: Score, seed: Any) -> History:
    held: dict[str, Any] = {}
    if validation is not None:
        held = {"validation_data": validation.data, "score": score}
    stopping = [] if member.stop_at is None else [_StopAt(member.stop_at)]
    history = train(
        member.network,
        member.loss,
        member.optimizer,
        rows.data,
        epochs=member.epochs,
        batch_size=member.batch_size,
        callbacks=[*member.callbacks, *stopping],
        random_state=seed,
        communicator=rows.workers,
        **held,
    )
    member.network.clear_cache()
    return history


@dataclass(frozen=True)
class _StopAt:
    epoch: int

    def __call__(self, state: TrainingState) -> None:
        state.stop = state.stop or state.epoch >= self.epoch


PENALTIES = np.logspace(-2, 4, 13)
"""Of the ridge regressions that are tried."""


@dataclass(frozen=True)
class LinearPart:
    """A ridge regression on columns without codes; ``center + spread * t`` is its residual."""

    columns: list[int]
    W: np.ndarray
    b: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, columns: list[int], rows: Rows) -> LinearPart:
        """Fit it; the penalty is chosen by leaving out each row once."""
        X, y = rows.X[:, columns].astype(np.float64), rows.y.astype(np.float64)
        scale = np.maximum(X.std(axis=0), 1e-12)
        ridge = RidgeCV(PENALTIES).fit(X / scale, y, sample_weight=rows.weight)
        W = ridge.coef_.reshape(y.shape[1], len(columns)).T / scale[:, np.newaxis]
        residual = y - X @ W - ridge.intercept_
        spread = np.maximum(residual.std(axis=0), 1e-6)
        return cls(columns, W, np.reshape(ridge.intercept_, -1), spread)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the linear part."""
        return X[:, self.columns].astype(np.float64) @ self.W + self.b

    def residual(self, X: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return what is left of the targets, scaled to unit variance."""
        return ((y - self.predict(X)) / self.spread).astype(y.dtype)

    def scored(self, score: Score, rows: Rows) -> Score:
        """Return a score of a network of the residual that asks ``score`` about the targets."""
        base = rows.linear_outputs(self)
        return lambda _, raw, weight: score(rows.y, base + self.spread * raw, weight)

    def around(self, network: Layer) -> Layer:
        """Return a network that gives the targets, from one that gives their residual."""
        return with_linear_part(network, self.spread, self.columns, self.W, self.b)


def raw_outputs(network: Layer, X: np.ndarray) -> np.ndarray:
    """Return outputs for all rows, in float64, computed for a fixed number of rows at a time.

    A block's size chooses the kernels too, whatever the number of blocks. In float32 OpenBLAS
    rounds a row by its place among the others, on processors without AVX-512.
    """
    parts, exact = [], network.astype(np.float64)
    with for_work(BLOCK * work_of(network, X[:1])), one_blas_thread():
        for start in range(0, len(X), BLOCK):
            block = X[start : start + BLOCK]
            padded = np.concatenate([block, np.zeros((BLOCK - len(block), X.shape[1]), X.dtype)])
            parts.append(exact.infer(padded)[: len(block)])
    return np.concatenate(parts)


TEMPERATURES = 0.5
"""Standard deviation of log T, before any row was seen."""


def temperature_for(log_proba: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the likeliest T of ``softmax(log_proba / T)``, given the classes of these rows.

    That minimizes the sum of their log losses and ``(log T / TEMPERATURES)² / 2``: beforehand log T
    is normal around 0. By their log losses alone few rows, all of them right, would have T at 0,
    and the first row that is wrong would cost any amount.
    """
    rows = np.arange(len(y))
    weight = np.ones(len(y)) if weight is None else weight

    def loss(T: float) -> float:
        log_losses = -tempered(log_proba, T)[rows, y]
        return float(weight @ log_losses) + (np.log(T) / TEMPERATURES) ** 2 / 2

    return float(min(np.logspace(-1, 1, 81), key=loss))


def tempered(log_proba: np.ndarray, T: float) -> np.ndarray:
    """Return the logarithms of the softmax of ``log_proba / T``."""
    z = log_proba / T
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))
