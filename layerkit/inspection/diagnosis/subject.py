"""What is examined: a network, its loss and rows of data, from whatever the user has in hand."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerkit.layer import Layer
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Loss,
    MeanSquaredError,
)
from layerkit.parameters import brief, if_class
from layerkit.sequences import Sequences, as_sequences, refuse_misread, step_values
from layerkit.training import History
from layerkit.training.batches import as_targets

Data = tuple[Any, Any, Any]
"""X, y and sample_weight (or None) as the user gave them."""


@dataclass
class Rows:
    """Rows of data as the loss takes them, in the order in which they came.

    ``names`` are those of the columns, where they have some.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Any) -> Rows:
        """Return some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Rows(self.X[rows], self.y[rows], weight, self.names)

    def column(self, i: int) -> str:
        """Return what to call a column in a sentence: its name, or its position."""
        return repr(self.names[i]) if self.names else str(i)

    def some(self, n: int, seed: int = 0) -> Rows:
        """Return at most n of the rows, drawn at random, in random order."""
        return self.take(np.random.default_rng(seed).permutation(len(self))[:n])


@dataclass
class Subject:
    """A network with its loss, data, and what is known of its training.

    ``network`` is a copy; ``batch_size`` and ``optimizer`` are None where nobody told; ``ordered``
    says whether the rows are in their original order, ``fresh`` that the network was built here,
    ``watched`` has rows that training was validated with, where a monitor saw them.
    """

    network: Layer
    loss: Loss
    rows: Rows
    validation: Rows | None = None
    history: History | None = None
    optimizer: Any = None
    batch_size: int | None = None
    ordered: bool = True
    fresh: bool = False
    watched: Rows | None = None


def subject_of(
    source: Any, data: Data, validation: Data | None, loss: Loss | str, known: dict[str, Any]
) -> Subject:
    """Put a subject together; what is not built or fitted yet is built or fitted on a copy.

    ``known`` holds history, optimizer and batch_size, None where they are not known.
    """
    names = _names(data[0])
    if isinstance(source, Layer):
        return _of_network(source, data, validation, loss, known, names)
    if hasattr(source, "steps"):
        source, data, validation, names = _last_step(source, data, validation, names)
    if isinstance(source, type) or not hasattr(source, "train_arguments"):
        raise TypeError(
            "network_or_estimator must be a layerkit network, an MLP or Sequential estimator, or a "
            f"Pipeline that ends in one, got {brief(source)}{if_class(source)}"
        )
    estimator = copy.deepcopy(source)
    arguments = estimator.train_arguments(*data, validation_data=validation)
    own = {
        "fresh": not hasattr(estimator, "network_"),
        "history": getattr(estimator, "history_", None),
        "optimizer": arguments["optimizer"],
        "batch_size": arguments["batch_size"],
    }
    given = {name: value for name, value in known.items() if value is not None}
    loss = loss if isinstance(loss, Loss) else arguments["loss"]
    data, validation = arguments["data"], arguments["validation_data"]
    return _of_network(arguments["network"], data, validation, loss, own | given, names)


def _of_network(
    network: Layer,
    data: Data,
    validation: Data | None,
    loss: Loss | str,
    known: dict[str, Any],
    names: tuple[str, ...],
) -> Subject:
    network, fresh = copy.deepcopy(network), not network.is_built
    rows = rows_of(*data)
    rows.names = names
    if fresh:
        dtype = np.float64 if rows.X.dtype == np.float64 else np.float32
        network.build(rows.X.shape[1:], random_state=0, dtype=dtype)
    if not network.n_params:
        raise ValueError(f"network_or_estimator has no parameters, it learns nothing: {network!r}")
    chosen = copy.deepcopy(loss) if isinstance(loss, Loss) else default_loss(network, rows.y)
    rows.y = as_targets(rows.y, chosen, network)
    held_out = None if validation is None else rows_of(*validation, name="validation_data: ")
    if held_out is not None:
        held_out.y = as_targets(held_out.y, chosen, network)
    return Subject(network, chosen, rows, held_out, **{"fresh": fresh} | known)


def _names(X: Any) -> tuple[str, ...]:
    """Return the names of the columns of a DataFrame."""
    names = tuple(getattr(X, "columns", ()))
    return names if all(isinstance(name, str) for name in names) else ()


def _last_step(
    pipeline: Any, data: Data, validation: Data | None, names: tuple[str, ...]
) -> tuple[Any, Data, Data | None, tuple[str, ...]]:
    """The last step of a Pipeline, the rows as they reach it, and the names of their columns."""
    from sklearn.base import clone
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if len(pipeline.steps) == 1:
        return pipeline[-1], data, validation, names
    before = pipeline[:-1]
    try:
        for step in before:  # a Pipeline asks its last step only
            if step not in (None, "passthrough"):
                check_is_fitted(step)
    except NotFittedError:
        before = clone(before).fit(*data[:2])

    def through(part: Data) -> Data:
        return before.transform(part[0]), *part[1:]

    try:
        names = tuple(before.get_feature_names_out()) if names else ()
    except (AttributeError, ValueError):  # of a step that has none to tell
        names = ()
    return pipeline[-1], through(data), validation and through(validation), names


def default_loss(network: Layer, y: np.ndarray) -> Loss:
    """The usual loss for these targets: cross-entropy for whole numbers, else squared error."""
    width, labels = network.output_shape[-1:], y.dtype.kind in "iub"
    if labels and width and width[0] > 1 and y.ndim == len(network.output_shape):
        return CategoricalCrossEntropy()
    binary = y.size > 0 and bool(np.isin(y, (0, 1)).all())
    if binary and y.ndim == 2 and y.shape[1] > 1 and bool((y.sum(axis=1) == 1).all()):
        return CategoricalCrossEntropy()
    return BinaryCrossEntropy() if binary else MeanSquaredError()


def refuse_steps(X: Any, y: Any, name: str = "") -> None:
    """Refuse targets of every step of rows of unequal length."""
    if isinstance(X, Sequences) and step_values(X, y, f"{name}y") is not None:
        raise ValueError(
            f"{name}y must have one target for each row where rows differ in length, got one for "
            "every step; to have them examined, bring X and y to one length: (n, time, k)"
        )


def rows_of(X: Any, y: Any, weight: Any = None, name: str = "") -> Rows:
    """Arrays with equally many rows, or sparse rows, or rows of unequal length.

    ``name`` says in an error whose they are.
    """
    for values, what in ((X, "X"), (y, "y"), (weight, "sample_weight")):
        refuse_misread(values, f"{name}{what}")
    X = X.tocsr() if hasattr(X, "tocsr") else as_sequences(X)
    X = X if hasattr(X, "tocsr") or isinstance(X, Sequences) else np.asarray(X)
    refuse_steps(X, y, name)
    y = np.asarray(y)
    if X.ndim == 0 or y.ndim == 0 or X.shape[0] == 0 or X.shape[0] != len(y):
        raise ValueError(f"{name}X and y must have equally many rows, got {X.shape} and {y.shape}")
    for what, values in (("X", X), ("y", y)):
        if values.dtype.kind not in "biuf":
            raise ValueError(f"{name}{what} must be numbers, got dtype {values.dtype}")
    if weight is not None:
        weight = np.asarray(weight, dtype=np.float64)
        if weight.shape != (len(y),) or not (weight >= 0).all() or not weight.any():
            raise ValueError(
                f"{name}sample_weight must be {len(y)} numbers of at least 0, not all 0, got "
                f"shape {weight.shape} with sum {weight.sum():.3g}"
            )
    return Rows(X, y, weight)
