"""Cross-entropies, on logits unless they say otherwise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.kernels import (
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    binary_cross_entropy,
    cross_entropy_of_labels,
    log_softmax,
    sigmoid,
    softmax,
    softplus,
)
from layerkit.losses.loss import Loss, as_floats
from layerkit.losses.tabled import Tabled, are_numbers
from layerkit.parameters import in_range, is_fraction


class BinaryCrossEntropy(Loss):
    """Cross-entropy of independent yes/no outputs, each predicted by one logit.

    Parameters
    ----------
    pos_weight : float or array of shape (n_outputs,), default=None
        Positive factor on the loss of positive targets, one for all outputs or one for each
        entry of the last axis; above 1 it favours recall. None is 1.
    label_smoothing : float, default=0.0
        Between 0 and 1; moves targets towards 1/2.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same; ``y_true`` between 0 and 1.
    With smoothed target ``t = (1 - label_smoothing) y_true + label_smoothing / 2``, x = y_pred,
    w = pos_weight, and σ the sigmoid:

    - value: ``-w t log σ(x) - (1 - t) log σ(-x)``
    - backward: ``(1 - t) σ(x) - w t σ(-x)``
    - inverse link: ``σ(x)``

    PyTorch's BCEWithLogitsLoss; the smoothing, which it lacks, is that of Keras.

    Examples
    --------
    >>> from layerkit.losses import BinaryCrossEntropy
    >>> loss = BinaryCrossEntropy()
    >>> round(loss.forward([[0.0], [1e4]], [[1], [1]]), 4)
    0.3466
    >>> loss.backward().tolist()
    [[-0.25], [0.0]]
    >>> loss.inverse_link([[0.0]]).tolist()
    [[0.5]]
    """

    scores = "logits"

    def __init__(
        self, *, pos_weight: float | ArrayLike | None = None, label_smoothing: float = 0.0
    ) -> None:
        self.pos_weight = pos_weight
        self.label_smoothing = label_smoothing

    def check_params(self) -> None:
        if self.pos_weight is not None:
            w = np.asarray(self.pos_weight)
            ok = w.dtype.kind in "iuf" and bool(((w > 0) & (w < np.inf)).all())
            self.check(ok, "pos_weight", "None, a positive number or an array of them")
        self.check(is_fraction(self.label_smoothing), "label_smoothing", "between 0 and 1")

    @property
    def _factor(self) -> float | ArrayLike:
        return 1.0 if self.pos_weight is None else self.pos_weight

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        if np.shape(self._factor) not in ((), y_pred.shape[1:][-1:]):
            raise ValueError(
                f"{self!r}: pos_weight must be a number or have one entry for each of the last "
                f"axis of y_pred {y_pred.shape}, got shape {np.shape(self._factor)}"
            )
        targets = super().prepare_targets(y_pred, y_true)
        self.check_targets((targets >= 0) & (targets <= 1), targets, "between 0 and 1")
        return (1 - self.label_smoothing) * targets + self.label_smoothing / 2

    def fused(
        self, y_pred: Any, y_true: Any, sample_weight: Any, normalizer: float | None
    ) -> tuple[float, np.ndarray] | None:
        predictions, scale = self._checked(y_pred, sample_weight, normalizer)
        targets, w = np.asarray(y_true), np.asarray(self._factor)
        if targets.shape != predictions.shape or targets.dtype.kind not in "fiub" or w.ndim:
            return None
        rows = predictions.reshape(len(predictions), -1)
        targets = targets.reshape(rows.shape).astype(rows.dtype, copy=False)
        smoothing = float(self.label_smoothing)
        found = binary_cross_entropy(rows, targets, scale, float(w), smoothing)
        return found and (found[0], found[1].reshape(predictions.shape))

    def tabled(self, y_true: np.ndarray, n_outputs: int, dtype: Any) -> Tabled | None:
        w = np.asarray(self._factor)
        if w.ndim or not are_numbers(y_true, n_outputs, dtype):
            return None
        self.check_params()
        if not ((y_true >= 0) & (y_true <= 1)).all():
            return None
        numbers = float(w), float(self.label_smoothing)
        return Tabled.of_numbers(BINARY_CROSS_ENTROPY, y_true, dtype, *numbers)

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        w = np.asarray(self._factor, y_pred.dtype)
        return w * y_true * softplus(-y_pred) + (1 - y_true) * softplus(y_pred)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        w = np.asarray(self._factor, y_pred.dtype)
        return (1 - y_true) * sigmoid(y_pred) - w * y_true * sigmoid(-y_pred)

    def inverse_link(self, y_pred: ArrayLike) -> np.ndarray:
        return sigmoid(as_floats(y_pred))


class Categorical(Loss):
    """Base of the losses that choose one of k classes, one number a sample.

    Notes
    -----
    ``y_pred`` ``(n_samples, k)`` with k at least 2; ``y_true`` either integer labels
    ``(n_samples,)`` from 0 to k - 1, or rows of probabilities ``(n_samples, k)``, of which
    one-hot rows are a case. With positions, ``y_pred`` ``(n_samples, ..., k)`` and labels
    ``(n_samples, ...)``, the loss of a sample is the mean over its positions.
    """

    scores = "logits"

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        """Return rows of probabilities for either form of targets."""
        *positions, k = y_pred.shape
        if not positions or k < 2:
            raise ValueError(
                f"{self!r}: y_pred must have shape (n_samples, ..., k) with k >= 2 classes, "
                f"got {y_pred.shape}"
            )
        if y_true.shape == y_pred.shape:
            rows = y_true.astype(y_pred.dtype, copy=False)
            self.check_targets(rows >= 0, rows, "probabilities, not negative")
            totals = rows.sum(axis=-1)
            self.check_targets(np.abs(totals - 1) < 1e-3, totals, "rows that sum to 1")
            return rows
        if y_true.shape != (*positions,):
            raise ValueError(
                f"{self!r}: y_true must have shape {(*positions,)} (labels) or {y_pred.shape} "
                f"(rows of probabilities) for y_pred {y_pred.shape}, got {y_true.shape}"
            )
        if y_true.dtype.kind not in "iub":
            raise ValueError(f"{self!r}: labels in y_true must be integers, got {y_true.dtype}")
        self.check_targets((y_true >= 0) & (y_true < k), y_true, f"labels from 0 to {k - 1}")
        rows = np.zeros(y_pred.shape, y_pred.dtype)
        np.put_along_axis(rows, y_true[..., np.newaxis].astype(np.intp), 1, axis=-1)
        return rows

    def inverse_link(self, y_pred: ArrayLike) -> np.ndarray:
        """Probabilities of the classes."""
        return softmax(as_floats(y_pred))


def cross_entropy(targets: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    """-Σ_k t_k log p_k, where 0 · -inf (an impossible class that is not the target) is 0."""
    counts = (targets != 0) | (log_p != -np.inf)
    return -np.multiply(targets, log_p, where=counts, out=np.zeros_like(log_p)).sum(axis=-1)


class CategoricalCrossEntropy(Categorical):
    """Cross-entropy between the softmax of the logits and the target class.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        Between 0 and 1; moves target rows towards the uniform 1/k.

    Notes
    -----
    ``y_pred`` ``(n_samples, ..., k)`` with k at least 2; ``y_true`` integer labels
    ``(n_samples, ...)`` or rows of probabilities shaped like ``y_pred``. One number a sample, the
    mean over positions if there are any.
    With smoothed target ``t = (1 - label_smoothing) y_true + label_smoothing / k``:

    - value: ``-Σ_k t_k log_softmax(y_pred)_k``
    - backward: ``softmax(y_pred) Σ_k t_k - t``
    - inverse link: ``softmax(y_pred)``

    PyTorch's CrossEntropyLoss, smoothing included.

    Examples
    --------
    >>> from layerkit.losses import CategoricalCrossEntropy
    >>> loss = CategoricalCrossEntropy()
    >>> round(loss.forward([[0.0, 0.0], [0.0, 1e4]], [0, 1]), 4)
    0.3466
    >>> loss.backward().tolist()
    [[-0.25, 0.25], [0.0, 0.0]]
    >>> loss.inverse_link([[0.0, 0.0]]).tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def check_params(self) -> None:
        self.check(is_fraction(self.label_smoothing), "label_smoothing", "between 0 and 1")

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        rows = super().prepare_targets(y_pred, y_true)
        if not self.label_smoothing:
            return rows
        return (1 - self.label_smoothing) * rows + self.label_smoothing / rows.shape[-1]

    def fused(
        self, y_pred: Any, y_true: Any, sample_weight: Any, normalizer: float | None
    ) -> tuple[float, np.ndarray] | None:
        labels = np.asarray(y_true)
        if labels.dtype.kind not in "iub":
            return None
        predictions, scale = self._checked(y_pred, sample_weight, normalizer)
        if predictions.ndim != 2 or labels.shape != scale.shape or predictions.shape[1] < 2:
            return None
        labels = labels.astype(np.int64, copy=False)
        return cross_entropy_of_labels(predictions, labels, scale, float(self.label_smoothing))

    def tabled(self, y_true: np.ndarray, n_outputs: int, dtype: Any) -> Tabled | None:
        if n_outputs < 2 or y_true.ndim != 1 or y_true.dtype.kind not in "iub":
            return None
        self.check_params()
        if not ((y_true >= 0) & (y_true < n_outputs)).all():
            return None
        numbers, no_targets = (float(self.label_smoothing), 0.0), np.empty((0, 0), dtype)
        return Tabled(CROSS_ENTROPY, numbers, y_true.astype(np.int64), no_targets)

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return cross_entropy(y_true, log_softmax(y_pred))

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return softmax(y_pred) * y_true.sum(axis=-1, keepdims=True) - y_true


class NegativeLogLikelihood(Categorical):
    """Negative log-probability of the target class, for a network that ends in LogSoftmax.

    Notes
    -----
    ``y_pred`` ``(n_samples, ..., k)`` log-probabilities with k at least 2; ``y_true`` integer
    labels ``(n_samples, ...)`` or rows of probabilities shaped like ``y_pred``. One number a
    sample, the mean over positions if there are any.

    - value: ``-Σ_k y_true_k y_pred_k``
    - backward: ``-y_true``
    - inverse link: ``exp(y_pred)``

    PyTorch's NLLLoss. On logits use CategoricalCrossEntropy: this loss does not normalise, and
    has no minimum there.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit.losses import NegativeLogLikelihood
    >>> loss = NegativeLogLikelihood()
    >>> round(loss.forward(np.log([[0.5, 0.5], [0.2, 0.8]]), [0, 1]), 4)
    0.4581
    >>> loss.backward().tolist()
    [[-0.5, -0.0], [-0.0, -0.5]]
    """

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return cross_entropy(y_true, y_pred)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return -y_true

    def inverse_link(self, y_pred: ArrayLike) -> np.ndarray:
        return np.exp(as_floats(y_pred))


class KLDivergence(Categorical):
    """Kullback-Leibler divergence of the softmax of the logits from target probabilities.

    Notes
    -----
    ``y_pred`` ``(n_samples, ..., k)`` logits with k at least 2; ``y_true`` rows of probabilities
    of the same shape (or integer labels ``(n_samples, ...)``). One number a sample, the mean over
    positions if there are any.

    - value: ``Σ_k y_true_k (log y_true_k - log_softmax(y_pred)_k)``
    - backward: ``softmax(y_pred) Σ_k y_true_k - y_true``
    - inverse link: ``softmax(y_pred)``

    PyTorch's KLDivLoss (reduction="batchmean") after a log-softmax. The gradient is that of the
    cross-entropy, but a perfect prediction has loss 0.

    References
    ----------
    Kullback and Leibler, "On information and sufficiency", Annals of Mathematical Statistics 22,
    1951.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit.losses import KLDivergence
    >>> loss = KLDivergence()
    >>> round(loss.forward(np.log([[0.5, 0.5], [0.2, 0.8]]), [[1.0, 0.0], [0.2, 0.8]]), 4)
    0.3466
    >>> loss.backward().round(4).tolist()
    [[-0.25, 0.25], [0.0, 0.0]]
    """

    derivative = CategoricalCrossEntropy.derivative

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        negative_entropy = np.sum(y_true * np.log(np.where(y_true > 0, y_true, 1)), axis=-1)
        return negative_entropy + cross_entropy(y_true, log_softmax(y_pred))


class Focal(Categorical):
    """Cross-entropy that turns away from examples which are already classified well.

    Parameters
    ----------
    gamma : float, default=2.0
        At least 0; how strongly. 0 is the plain cross-entropy.

    Notes
    -----
    Two forms, told apart by the last axis of ``y_pred``:

    - categorical: logits ``(n_samples, ..., k)`` with k at least 2; ``y_true`` integer labels
      ``(n_samples, ...)`` or rows of probabilities shaped like ``y_pred``
    - binary: one logit a sample, ``(n_samples,)`` or ``(n_samples, ..., 1)``; ``y_true`` of the
      same shape, between 0 and 1. It is the categorical form with the logits (0, y_pred).

    One number a sample, the mean over positions if there are any. With p the softmax of the
    logits and t the target rows:

    - value: ``-Σ_k t_k (1 - p_k)^gamma log p_k``
    - backward: ``s_k - p_k Σ_j s_j`` with
      ``s_k = t_k (1 - p_k)^gamma (gamma p_k log(p_k) / (1 - p_k) - 1)``
    - inverse link: softmax, or sigmoid in the binary form

    The paper's class weight α is a sample weight here.

    References
    ----------
    Lin, Goyal, Girshick, He and Dollár, "Focal loss for dense object detection" (RetinaNet), ICCV
    2017.

    Examples
    --------
    >>> from layerkit.losses import Focal
    >>> loss = Focal(gamma=2.0)
    >>> round(loss.forward([[0.0, 0.0]], [0]), 4)
    0.1733
    >>> round(loss.forward([[0.0]], [[1]]), 4)
    0.1733
    >>> loss.backward().round(4).tolist()
    [[-0.2983]]
    """

    def __init__(self, gamma: float = 2.0) -> None:
        self.gamma = gamma

    def check_params(self) -> None:
        self.check(in_range(self.gamma, 0), "gamma", "a number, at least 0")

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        if not _is_binary(y_pred):
            return super().prepare_targets(y_pred, y_true)
        t = Loss.prepare_targets(self, y_pred, y_true)
        self.check_targets((t >= 0) & (t <= 1), t, "between 0 and 1")
        return _two_classes(1 - t, t)

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        log_p = log_softmax(_class_logits(y_pred))
        return cross_entropy(y_true * (-np.expm1(log_p)) ** self.gamma, log_p)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        log_p = log_softmax(_class_logits(y_pred))
        p, miss = np.exp(log_p), -np.expm1(log_p)  # 1 - p, without cancellation
        # -1, its limit, at p = 1; at p = 0 any finite number, as p log p is 0.
        ratio = np.divide(log_p, miss, where=(p > 0) & (miss > 0), out=np.full_like(p, -1))
        s = y_true * miss**self.gamma * (self.gamma * p * ratio - 1)
        gradient = s - p * s.sum(axis=-1, keepdims=True)
        return gradient[..., 1].reshape(y_pred.shape) if _is_binary(y_pred) else gradient

    def inverse_link(self, y_pred: ArrayLike) -> np.ndarray:
        logits = as_floats(y_pred)
        return sigmoid(logits) if _is_binary(logits) else softmax(logits)


def _is_binary(y_pred: np.ndarray) -> bool:
    return y_pred.ndim == 1 or y_pred.shape[-1] == 1


def _class_logits(y_pred: np.ndarray) -> np.ndarray:
    return _two_classes(np.zeros_like(y_pred), y_pred) if _is_binary(y_pred) else y_pred


def _two_classes(no: np.ndarray, yes: np.ndarray) -> np.ndarray:
    """Join (n,) or (n, ..., 1) for "no" and for "yes" into (n, ..., 2)."""
    rows = np.stack([no, yes], axis=-1)
    return rows if no.ndim == 1 else rows[..., 0, :]
