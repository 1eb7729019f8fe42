"""What is examined: a network, its loss and rows of data, from whatever the user has in hand."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerkit.layer import Layer
from layerkit.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, MeanSquaredError
from layerkit.losses.classification import Categorical
from layerkit.training import History


@dataclass
class Rows:
    """Rows of data as the loss takes them, in the order in which they came."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Any) -> Rows:
        """Return some of the rows."""
        return Rows(self.X[rows], self.y[rows], None if self.weight is None else self.weight[rows])

    def some(self, n: int, seed: int = 0) -> Rows:
        """Return at most n of the rows, drawn at random, in random order."""
        return self.take(np.random.default_rng(seed).permutation(len(self))[:n])


@dataclass
class Subject:
    """A network with its loss, data, and what is known of its training.

    ``network`` is a copy; ``batch_size`` and ``optimizer`` are None where nobody told; ``ordered``
    says whether the rows are in their original order.
    """

    network: Layer
    loss: Loss
    rows: Rows
    validation: Rows | None = None
    history: History | None = None
    optimizer: Any = None
    batch_size: int | None = None
    ordered: bool = True


def subject_of(
    network_or_estimator: Any,
    X: Any,
    y: Any,
    loss: Loss | str = "auto",
    sample_weight: Any = None,
    validation_data: Any = None,
    history: History | None = None,
    optimizer: Any = None,
    batch_size: int | None = None,
) -> Subject:
    """Put a subject together; an unbuilt network and an unfitted estimator are built on copies."""
    if isinstance(network_or_estimator, Layer):
        return _from_network(
            network_or_estimator, X, y, loss, sample_weight, validation_data, history, optimizer,
            batch_size,
        )  # fmt: skip
    if not hasattr(network_or_estimator, "_make_network"):
        raise TypeError(
            "health takes a layerkit network or one of its estimators (of a Pipeline, its last "
            f"step, with the transformed X), got {network_or_estimator!r}"
        )
    return _from_estimator(
        network_or_estimator, X, y, loss, sample_weight, validation_data, history, optimizer,
        batch_size,
    )  # fmt: skip


def _from_network(
    network: Layer,
    X: Any,
    y: Any,
    loss: Loss | str,
    sample_weight: Any,
    validation_data: Any,
    history: History | None,
    optimizer: Any,
    batch_size: int | None,
) -> Subject:
    network = copy.deepcopy(network)
    rows = rows_of(X, y, sample_weight)
    if not network.is_built:
        dtype = np.float64 if rows.X.dtype == np.float64 else np.float32
        network.build(rows.X.shape[1:], random_state=0, dtype=dtype)
    chosen = default_loss(network, rows.y) if isinstance(loss, str) else copy.deepcopy(loss)
    if isinstance(loss, str) and loss != "auto":
        raise ValueError(f'loss must be "auto" or a layerkit loss, got {loss!r}')
    rows.y = as_targets(rows.y, chosen, network)
    validation = None
    if validation_data is not None:
        validation = rows_of(*validation_data)
        validation.y = as_targets(validation.y, chosen, network)
    return Subject(network, chosen, rows, validation, history, optimizer, batch_size)


def _from_estimator(
    estimator: Any,
    X: Any,
    y: Any,
    loss: Loss | str,
    sample_weight: Any,
    validation_data: Any,
    history: History | None,
    optimizer: Any,
    batch_size: int | None,
) -> Subject:
    estimator = copy.deepcopy(estimator)
    fitted = hasattr(estimator, "network_")
    task = estimator._prepare(X, y, sample_weight, fresh=not fitted)
    network = estimator.network_ if fitted else estimator._build(task)
    target = task.target
    if validation_data is not None:
        X_val, y_val = estimator._validate(*validation_data[:2], reset=False)
        validation_data = (X_val, target.encode(y_val), *validation_data[2:])
    if batch_size is None:
        size = estimator.batch_size
        batch_size = estimator._auto_batch(len(task.y)) if size == "auto" else size
    return _from_network(
        network,
        task.X,
        target.encode(task.y),
        target.loss if isinstance(loss, str) else loss,
        task.weight,
        validation_data,
        history if history is not None else getattr(estimator, "history_", None),
        optimizer if optimizer is not None else estimator._make_optimizer(),
        batch_size,
    )


def default_loss(network: Layer, y: np.ndarray) -> Loss:
    """The usual loss for these targets: cross-entropy for whole numbers, else squared error."""
    width, labels = network.output_shape[-1:], y.dtype.kind in "iub"
    if labels and width and width[0] > 1 and y.ndim == len(network.output_shape):
        return CategoricalCrossEntropy()
    binary = y.size > 0 and bool(np.isin(y, (0, 1)).all())
    if binary and y.ndim == 2 and y.shape[1] > 1 and bool((y.sum(axis=1) == 1).all()):
        return CategoricalCrossEntropy()
    return BinaryCrossEntropy() if binary else MeanSquaredError()


def as_targets(y: np.ndarray, loss: Loss, network: Layer) -> np.ndarray:
    """Give a column of targets the axis that a network with one output has."""
    single = network.output_shape == (1,) and y.ndim == 1
    labels = isinstance(loss, Categorical) and type(loss).__name__ != "Focal"
    return y[:, np.newaxis] if single and not labels else y


def rows_of(X: Any, y: Any, weight: Any = None) -> Rows:
    """Arrays with equally many rows, or sparse rows."""
    X = X.tocsr() if hasattr(X, "tocsr") else np.asarray(X)
    y = np.asarray(y)
    if X.ndim == 0 or y.ndim == 0 or X.shape[0] == 0 or X.shape[0] != len(y):
        raise ValueError(f"X and y must have equally many rows, got {X.shape} and {y.shape}")
    return Rows(X, y, None if weight is None else np.asarray(weight, dtype=np.float64))
