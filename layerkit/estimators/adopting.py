"""A trained network as a fitted estimator, without a fit: what its outputs mean is all it needs."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from layerkit.estimators.preparing import prepare
from layerkit.estimators.targets import as_classes
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.sequences import Sequences
from layerkit.shapes import batch_shape
from layerkit.training import History
from layerkit.training.run import warn_of_double_link

Estimator = TypeVar("Estimator", bound=Any)


def adopt(estimator: Estimator, network: Layer, y: np.ndarray) -> Estimator:
    """Be fitted with the weights of the network that the estimator was given as its layers."""
    recipe = estimator._recipe()
    recipe.check()
    task = prepare(recipe, _some_rows(network, len(y)), y)
    warn_of_double_link(network, task.target.loss)
    vars(estimator).update(recipe.attributes(task, History()), optimizer_=recipe.optimizer())
    return estimator


def _some_rows(network: Layer, n_rows: int) -> Any:
    shape = network.input_shape
    if shape[0] is None:
        return Sequences([np.zeros((1, *shape[1:]), network.dtype)] * n_rows)
    return np.zeros((n_rows, *shape), network.dtype)


def some_labels(network: Any, classes: Any, multilabel: bool) -> np.ndarray:
    """Return y of a few rows with every label in it."""
    n_outputs = _n_outputs(network)
    if multilabel:
        if classes is not None:
            raise ValueError("with multilabel=True a label is its position: leave classes out")
        return np.eye(max(n_outputs, 2), n_outputs, dtype=int)
    if classes is None:
        return np.arange(max(n_outputs, 2))
    known = as_classes(classes)
    _check_order(classes, known)
    if not isinstance(known, list):
        return known
    n_rows = max(map(len, known))
    return np.column_stack([np.resize(labels, n_rows) for labels in known])


def _check_order(given: Any, known: Any) -> None:
    pairs = zip(given, known, strict=True) if isinstance(known, list) else [(given, known)]
    for labels, in_order in pairs:
        if list(labels) != in_order.tolist():
            raise ValueError(
                "classes must be in sorted order, each once, as scikit-learn has them: "
                f"{in_order.tolist()}, got {list(labels)}; put the columns of the network's last "
                "weights into that order"
            )


def some_numbers(network: Any, loss: Loss | None) -> np.ndarray:
    """Return y of two rows, of as many columns as make the loss want the network's outputs."""
    _n_outputs(network)
    wanted = network.output_shape
    for n_columns in range(1, wanted[0] + 1):
        shape = (n_columns,) if loss is None else loss.output_shape((n_columns,))
        if shape == wanted:
            return np.ones(2) if n_columns == 1 else np.ones((2, n_columns))
    raise ValueError(
        f"no y goes with a network that gives {batch_shape(wanted)} and loss={loss or 'auto'!r}"
    )


def _n_outputs(network: Any) -> int:
    if not isinstance(network, Layer):
        raise TypeError(f"network must be a layer, such as a Sequential, got {network!r}")
    if not network.is_built:
        raise ValueError(
            f"network must be built, with the weights that it learned, got {network!r}: an "
            "estimator of its own fits it"
        )
    shape = network.output_shape
    if len(shape) > 1:
        raise ValueError(
            f"network must give one row of outputs a sample, got one that gives "
            f"{batch_shape(shape)}: end it in LastStep(), Flatten() or a global pooling; an "
            "estimator for targets of every step fits it, SequentialRegressor([network], head=None)"
            ".fit(X, y) with lists of arrays"
        )
    return int(shape[0]) if shape else 1
