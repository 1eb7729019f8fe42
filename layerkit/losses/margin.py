"""Losses that ask for a margin between right and wrong; their scores are no probabilities."""

import numpy as np

from layerkit.losses.classification import Categorical
from layerkit.losses.loss import Loss


class Hinge(Loss):
    """Distance by which a binary score misses the margin, as in a support vector machine.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same; ``y_true`` holds -1 and 1, or 0 and
    1, where 0 means -1. With t the target -1 or 1:

    - value: ``max(0, 1 - t y_pred)``
    - backward: ``-t`` if ``t y_pred < 1``, else 0, also at the kink
    - inverse link: identity, the score; its sign is the class

    References
    ----------
    Cortes and Vapnik, "Support-vector networks", Machine Learning 20, 1995.

    Examples
    --------
    >>> from layerkit.losses import Hinge
    >>> loss = Hinge()
    >>> loss.forward([[0.5], [2.0]], [[-1], [1]])
    0.75
    >>> loss.backward().tolist()
    [[0.5], [-0.0]]
    """

    scores = "margins"

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        targets = super().prepare_targets(y_pred, y_true)
        negative = 0 if (targets == 0).any() else -1
        ok = (targets == 1) | (targets == negative)
        self.check_targets(ok, targets, "-1 and 1 only, or 0 and 1 only")
        return np.where(targets == 1, 1, -1).astype(y_pred.dtype)

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return np.maximum(1 - y_true * y_pred, 0)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return -y_true * np.heaviside(1 - y_true * y_pred, 0)


class SquaredHinge(Hinge):
    """Square of the hinge loss: it has no kink, and punishes large misses more.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same; ``y_true`` holds -1 and 1, or 0 and
    1, where 0 means -1. With t the target -1 or 1:

    - value: ``max(0, 1 - t y_pred)²``
    - backward: ``-2 t max(0, 1 - t y_pred)``
    - inverse link: identity, the score; its sign is the class

    References
    ----------
    Tang, "Deep learning using linear support vector machines", 2013, arXiv:1306.0239.

    Examples
    --------
    >>> from layerkit.losses import SquaredHinge
    >>> loss = SquaredHinge()
    >>> loss.forward([[0.5], [2.0]], [[-1], [1]])
    1.125
    >>> loss.backward().tolist()
    [[1.5], [-0.0]]
    """

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return super().value(y_pred, y_true) ** 2

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return -2 * y_true * super().value(y_pred, y_true)


class MultiMargin(Categorical):
    """Hinge loss of k classes: the score of the target should lead all others by a margin.

    Parameters
    ----------
    margin : float, default=1.0
        Positive lead that is enough.

    Notes
    -----
    ``y_pred`` ``(n_samples, ..., k)`` scores with k at least 2; ``y_true`` integer labels
    ``(n_samples, ...)`` or one-hot rows shaped like ``y_pred``. One number a sample, the mean
    over positions if there are any. With t the target class and violations
    ``v_j = margin - y_pred_t + y_pred_j`` of the others:

    - value: ``Σ_{j≠t} max(0, v_j) / k``
    - backward: ``[v_j > 0] / k`` for j ≠ t, and minus the sum of these for t; 0 at the kinks
    - inverse link: identity, the scores; the largest is the class

    PyTorch's MultiMarginLoss (p=1), divided by all k classes as there.

    References
    ----------
    Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based vector
    machines", JMLR 2, 2001, who take the largest violation; Weston and Watkins, "Support vector
    machines for multi-class pattern recognition", ESANN 1999, sum them as here.

    Examples
    --------
    >>> from layerkit.losses import MultiMargin
    >>> loss = MultiMargin()
    >>> loss.forward([[2.0, 1.5, 0.5, 3.0]], [0])
    0.625
    >>> loss.backward().tolist()
    [[-0.5, 0.25, 0.0, 0.25]]
    """

    scores = "margins"
    inverse_link = Loss.inverse_link

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = margin

    def check_params(self) -> None:
        self.check(0 < self.margin < np.inf, "margin", "a positive number")

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        rows = super().prepare_targets(y_pred, y_true)
        self.check_targets((rows == 0) | (rows == 1), rows, "labels or one-hot rows")
        return rows

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        violations = self._violations(y_pred, y_true)
        return np.maximum(violations, 0).sum(axis=-1) / y_pred.shape[-1]

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        pushed = np.heaviside(self._violations(y_pred, y_true), 0) / y_pred.shape[-1]
        return pushed - y_true * pushed.sum(axis=-1, keepdims=True)

    def _violations(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        """Lead that each other class lacks; 0 for the target."""
        target = y_true == 1  # chosen, not multiplied by: a score may be -inf
        score = np.sum(y_pred, axis=-1, keepdims=True, where=target)
        return np.where(target, 0, self.margin - score + y_pred)
