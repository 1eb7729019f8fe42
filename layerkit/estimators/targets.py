"""What y holds, what a loss wants of it, and how raw outputs become labels and probabilities."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.metrics import accuracy_score, d2_pinball_score, r2_score
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from layerkit.kernels import log_softmax, sigmoid, softplus
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    GaussianNLL,
    Loss,
    MeanSquaredError,
    Quantile,
)
from layerkit.losses.classification import Categorical
from layerkit.shapes import Shape, batch_shape


class Target:
    """Base of what y can be; `bind` settles the loss and the width of the network's output.

    Attributes
    ----------
    loss : Loss
        On the raw outputs and on what `encode` makes of y.
    output_shape : tuple of int
        Of a sample of the network's output.
    """

    loss: Loss
    output_shape: Shape
    default_loss: ClassVar[type[Loss]]  # what loss="auto" is
    of_steps: ClassVar[bool] = False  # whether every step of a row has a target

    @property
    def link(self) -> str | None:
        """Name of what makes predictions or probabilities of raw outputs, None if it has none.

        "identity", "exp" or "sigmoid" of numbers; "sigmoid", "softmax", or "softmax of
        log-sigmoids" of classes.
        """
        raise NotImplementedError

    def shapes(self, loss: Loss | None) -> list[Shape]:
        """Output shapes that fit y and the loss (None: "auto"), the preferred one first."""
        raise NotImplementedError

    def check_loss(self, loss: Loss) -> None:
        """Refuse a loss that does not suit y."""

    def bind(self, loss: Loss | None, output_shape: Shape) -> None:
        """Settle loss and output shape, or raise."""
        shapes = self.shapes(loss)
        if output_shape not in shapes:
            wanted = " or ".join(batch_shape(shape) for shape in shapes)
            end = "LastStep" if None in output_shape else "Flatten"  # of rows of any length
            hint = f"; end `layers` in {end} or a global pooling" if len(output_shape) > 1 else ""
            if len(output_shape) == 2:
                hint += ", or give X and y as lists of arrays for a target of every step"
            raise ValueError(
                f"the network must give {wanted} for this y with loss={loss or 'auto'!r}, "
                f"but its output is {batch_shape(output_shape)}{hint}"
            )
        self.output_shape = output_shape
        self.loss = self.default_loss() if loss is None else loss

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Turn y into what the loss takes."""
        raise NotImplementedError

    def predict(self, raw: np.ndarray) -> np.ndarray:
        """Turn raw outputs into predictions of y."""
        raise NotImplementedError

    def score(self, y: np.ndarray, raw: np.ndarray, weight: np.ndarray | None) -> float:
        """Return how good the raw outputs are; greater is better."""
        raise NotImplementedError

    def score_of_known(self, y: np.ndarray, raw: np.ndarray, weight: np.ndarray | None) -> float:
        """Return the same for y that `encode` has taken: without checks, for every epoch."""
        return self.score(y, raw, weight)


class ClassTarget(Target):
    """Base of the targets that are classes."""

    classes: Any

    @property
    def labels(self) -> list[np.ndarray]:
        """Labels of every output."""
        return [self.classes]

    def check_loss(self, loss: Loss) -> None:
        if loss.scores is None:
            raise ValueError(
                f"loss={loss!r} does not classify; use a loss whose `scores` are 'logits' or "
                "'margins', such as BinaryCrossEntropy, CategoricalCrossEntropy, Focal or Hinge"
            )

    def score(self, y: np.ndarray, raw: np.ndarray, weight: np.ndarray | None) -> float:
        return checked_accuracy(y, self.predict(raw), weight)

    def score_of_known(self, y: np.ndarray, raw: np.ndarray, weight: np.ndarray | None) -> float:
        return accuracy(y, self.predict(raw), weight)

    def log_proba(self, raw: np.ndarray) -> Any:
        """Return logarithms of the class probabilities, finite for finite outputs."""
        raise NotImplementedError

    def proba(self, raw: np.ndarray) -> Any:
        """Return class probabilities."""
        log_proba = self.log_proba(raw)
        return list(map(np.exp, log_proba)) if isinstance(log_proba, list) else np.exp(log_proba)

    def decision(self, raw: np.ndarray) -> np.ndarray:
        """Return scores: positive means yes, the largest of several is the class."""
        return raw


class Labels(ClassTarget):
    """One of k classes a sample.

    The network gives one score, of the second of two classes; or k scores. With k scores a
    categorical loss compares the classes, any other loss takes each against the rest.
    """

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    def shapes(self, loss: Loss | None) -> list[Shape]:
        k = len(self.classes)
        if k > 2:
            return [(k,)]
        if loss is None or not isinstance(loss, Categorical):
            return [(1,), (2,)]
        return [(2,), (1,)] if isinstance(loss, Focal) else [(2,)]

    def default_loss(self) -> Loss:  # type: ignore[override]
        return BinaryCrossEntropy() if self.output_shape == (1,) else CategoricalCrossEntropy()

    def encode(self, y: np.ndarray) -> np.ndarray:
        index = positions(self.classes, y)
        if self.output_shape == (1,):
            return index[:, np.newaxis]
        if isinstance(self.loss, Categorical):
            return index
        return (index[:, np.newaxis] == np.arange(*self.output_shape)).astype(np.int8)

    def predict(self, raw: np.ndarray) -> np.ndarray:
        best = raw[:, 0] > 0 if self.output_shape == (1,) else raw.argmax(axis=1)
        return self.classes[np.minimum(best.astype(np.intp), len(self.classes) - 1)]

    @property
    def link(self) -> str:
        if self.output_shape == (1,):
            return "sigmoid"
        return "softmax" if isinstance(self.loss, Categorical) else "softmax of log-sigmoids"

    def log_proba(self, raw: np.ndarray) -> np.ndarray:
        if len(self.classes) == 1:
            return np.zeros((len(raw), 1), raw.dtype)
        if self.link == "sigmoid":
            return log_softmax(np.hstack([np.zeros_like(raw), raw]))
        return log_softmax(raw if self.link == "softmax" else -softplus(-raw))

    def decision(self, raw: np.ndarray) -> np.ndarray:
        if self.output_shape == (1,):
            return raw[:, 0]
        return raw[:, 1] - raw[:, 0] if len(self.classes) == 2 else raw


class Multilabel(ClassTarget):
    """Any number of k labels a sample: an indicator matrix, one score for each column."""

    link = "sigmoid"
    default_loss = BinaryCrossEntropy

    def __init__(self, n_labels: int) -> None:
        self.classes = np.arange(n_labels)

    @property
    def labels(self) -> list[np.ndarray]:
        return [np.array([0, 1])] * len(self.classes)

    def shapes(self, loss: Loss | None) -> list[Shape]:
        return [(len(self.classes),)]

    def check_loss(self, loss: Loss) -> None:
        super().check_loss(loss)
        if isinstance(loss, Categorical):
            raise ValueError(
                f"loss={loss!r} chooses one class, but y is a multilabel indicator: use "
                "BinaryCrossEntropy, Hinge or another loss of each output"
            )

    def encode(self, y: np.ndarray) -> np.ndarray:
        if y.ndim != 2 or y.shape[1] != len(self.classes) or not np.isin(y, [0, 1]).all():
            raise ValueError(
                f"y must be a multilabel indicator of 0 and 1 with {len(self.classes)} columns, "
                f"got {type_of_target(y)} of shape {y.shape}"
            )
        return y.astype(np.int8)

    def predict(self, raw: np.ndarray) -> np.ndarray:
        return (raw > 0).astype(np.int64)

    def log_proba(self, raw: np.ndarray) -> np.ndarray:
        return -softplus(-raw)

    def proba(self, raw: np.ndarray) -> np.ndarray:
        return sigmoid(raw)


class MultiOutput(ClassTarget):
    """Several outputs, each one of its own classes: one categorical loss for each."""

    link = "softmax"
    default_loss = CategoricalCrossEntropy

    def __init__(self, classes: list[np.ndarray]) -> None:
        self.classes = classes
        self.sizes = [max(len(labels), 2) for labels in classes]

    @property
    def labels(self) -> list[np.ndarray]:
        return self.classes

    def shapes(self, loss: Loss | None) -> list[Shape]:
        return [(sum(self.sizes),)]

    def check_loss(self, loss: Loss) -> None:
        super().check_loss(loss)
        if not isinstance(loss, Categorical):
            raise ValueError(
                f"loss={loss!r} does not choose among several classes, but each column of y is "
                "one of several: use CategoricalCrossEntropy, Focal or MultiMargin"
            )

    def bind(self, loss: Loss | None, output_shape: Shape) -> None:
        super().bind(loss, output_shape)
        self.loss = PerOutput(self.loss, self.sizes)

    def encode(self, y: np.ndarray) -> np.ndarray:
        self._check_columns(y)
        columns = zip(self.classes, y.T, strict=True)
        return np.column_stack([positions(labels, column) for labels, column in columns])

    def _check_columns(self, y: np.ndarray) -> None:
        if y.ndim != 2 or y.shape[1] != len(self.classes):
            raise ValueError(f"y must have {len(self.classes)} columns, got shape {y.shape}")

    def score(self, y: np.ndarray, raw: np.ndarray, weight: np.ndarray | None) -> float:
        self._check_columns(y)
        y_pred = self.predict(raw)
        for column, predicted in zip(y.T, y_pred.T, strict=True):
            checked_accuracy(column, predicted, weight)  # it takes one column of classes at a time
        return accuracy(y, y_pred, weight)

    def predict(self, raw: np.ndarray) -> np.ndarray:
        parts = zip(self.classes, split(raw, self.sizes), strict=True)
        return np.column_stack(
            [labels[part[:, : len(labels)].argmax(axis=1)] for labels, part in parts]
        )

    def log_proba(self, raw: np.ndarray) -> list[np.ndarray]:
        parts = zip(self.classes, split(raw, self.sizes), strict=True)
        return [log_softmax(part[:, : len(labels)]) for labels, part in parts]


class PerOutput(Loss):
    """One categorical loss for every output; the mean over outputs, like every loss.

    Parameters
    ----------
    loss : Categorical
    sizes : list of int
        Number of classes of each output; ``y_pred`` holds their scores side by side,
        ``(n_samples, sum(sizes))``, and ``y_true`` ``(n_samples, n_outputs)`` positions of classes.

    Notes
    -----
    Backward: the derivatives of the parts, side by side.
    """

    def __init__(self, loss: Loss, sizes: list[int]) -> None:
        self.loss = loss
        self.sizes = sizes

    @property
    def scores(self) -> str | None:  # type: ignore[override]
        return self.loss.scores

    def check_params(self) -> None:
        self.loss.check_params()

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        parts = zip(split(y_pred, self.sizes), y_true.T, strict=True)
        return np.hstack([self.loss.prepare_targets(part, column) for part, column in parts])

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        parts = zip(split(y_pred, self.sizes), split(y_true, self.sizes), strict=True)
        return np.column_stack([self.loss.value(p, t) for p, t in parts])

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        parts = zip(split(y_pred, self.sizes), split(y_true, self.sizes), strict=True)
        return np.hstack([self.loss.derivative(p, t) for p, t in parts])


class Numbers(Target):
    """One number a sample, or several."""

    default_loss = MeanSquaredError

    def __init__(self, y: np.ndarray) -> None:
        self.target_shape = y.shape[1:] or (1,)
        self.is_vector = y.ndim == 1

    def shapes(self, loss: Loss | None) -> list[Shape]:
        return [self.target_shape if loss is None else loss.output_shape(self.target_shape)]

    def check_loss(self, loss: Loss) -> None:
        if isinstance(loss, Categorical):
            raise ValueError(f"loss={loss!r} is for classes; a regressor needs another")

    def encode(self, y: np.ndarray) -> np.ndarray:
        rows = y.reshape(len(y), -1)
        if rows.shape[1:] != self.target_shape:
            raise ValueError(f"y must have {self.target_shape[0]} columns, got shape {y.shape}")
        return rows

    @property
    def link(self) -> str | None:  # known by what it computes, as a loss may have one of its own
        grid = np.linspace(-20, 20, 101).reshape(-1, *[1] * len(self.output_shape))
        raw = np.broadcast_to(grid, (101, *self.output_shape))
        links = {"identity": raw, "exp": np.exp(raw), "sigmoid": sigmoid(raw)}
        found = self.loss.inverse_link(raw)
        return next((name for name, y in links.items() if np.array_equal(found, y)), None)

    def predict(self, raw: np.ndarray) -> np.ndarray:
        y = self.loss.inverse_link(raw)
        return y[:, 0] if self.is_vector and y.shape[1:] == (1,) else y

    def std(self, raw: np.ndarray) -> np.ndarray:
        """Return the standard deviation that GaussianNLL learned."""
        if not isinstance(self.loss, GaussianNLL):
            raise ValueError(f"return_std=True needs loss=GaussianNLL(), got {self.loss!r}")
        std = np.exp(raw[:, raw.shape[1] // 2 :] / 2)
        return std[:, 0] if self.is_vector else std

    def score(self, y: np.ndarray, raw: np.ndarray, weight: np.ndarray | None) -> float:
        if isinstance(self.loss, Quantile) and np.ndim(self.loss.quantiles) == 1:
            # the fractions of the pinball losses that are explained, as R² is of the squared error
            y_pred = np.moveaxis(self.loss.inverse_link(raw), -1, 0)  # an axis of one level too
            pairs = zip(y_pred, np.ravel(self.loss.quantiles), strict=True)
            d2 = [d2_pinball_score(y, p, alpha=q, sample_weight=weight) for p, q in pairs]
            return float(np.mean(d2))
        return float(r2_score(y, self.predict(raw), sample_weight=weight))


def target_of(estimator: Any) -> Target:
    """Return what the y of a fitted estimator of ours held."""
    return estimator._target


# Of classes, as scikit-learn names them: to ask it twice takes as long as to prepare all else.
_KINDS = ("binary", "multiclass", "multiclass-multioutput", "multilabel-indicator")


def class_target(y: np.ndarray, classes: Any = None) -> ClassTarget:
    """Tell what kind of classes y holds.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    classes : array-like, or list of array-likes, optional
        All classes there can be (of each output), where y need not have them all.
    """
    kind = type_of_target(y, input_name="y")
    if kind not in _KINDS:
        check_classification_targets(y)  # says what is wrong
    if classes is not None:
        classes = as_classes(classes)
        if isinstance(classes, list):
            return MultiOutput(classes)
    if kind == "multilabel-indicator":
        return Multilabel(y.shape[1])
    if kind == "multiclass-multioutput":
        return MultiOutput([np.unique(column) for column in y.T])
    return Labels(np.unique(y) if classes is None else classes)


def as_classes(classes: Any) -> np.ndarray | list[np.ndarray]:
    """Sort the labels, and those of each output where there is a list of them."""
    if isinstance(classes, list | tuple) and len(classes) and np.ndim(classes[0]) > 0:
        return [np.unique(labels) for labels in classes]
    labels = np.asarray(classes)
    if labels.ndim == 0 or labels.size == 0:  # 0: one label, or what NumPy takes for one, as a set
        raise ValueError(
            "classes must be an array or list of labels, or a list of them for each output, got "
            f"{classes!r}"
        )
    return list(map(np.unique, labels)) if labels.ndim > 1 else np.unique(labels)


def as_column(y: Any) -> np.ndarray:
    """Make sparse y dense, and a single column a vector (scikit-learn warns of it)."""
    y = y.toarray() if hasattr(y, "toarray") else np.asarray(y)
    return column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


def accuracy(y: np.ndarray, y_pred: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Weighted fraction of rows of which all outputs are right."""
    right = y == y_pred
    return float(np.average(right if right.ndim == 1 else right.all(axis=1), weights=weight))


def checked_accuracy(y: np.ndarray, y_pred: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the accuracy, or raise where y or the weights do not go with the predictions."""
    plain = weight is None and y.dtype == y_pred.dtype and y.dtype.kind in "biuU"
    if plain and y.shape == y_pred.shape and y.ndim == 1 and y.size:
        return accuracy(y, y_pred)  # nothing is left to check, which takes far longer
    assert_all_finite(y, input_name="y")
    return float(accuracy_score(y, y_pred, sample_weight=weight))


def positions(classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Position of every label among the sorted classes."""
    if y.ndim != 1:
        raise ValueError(f"y must hold one label a sample, got shape {y.shape}")
    index = np.searchsorted(classes, y)
    new = classes[np.minimum(index, len(classes) - 1)] != y
    if new.any():
        raise ValueError(
            f"y has the new classes {np.unique(y[new]).tolist()}; "
            f"the network knows {classes.tolist()}"
        )
    return index


def split(columns: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Cut columns into pieces of these sizes."""
    return np.split(columns, np.cumsum(sizes)[:-1], axis=1)
