"""What scikit-learn's MLPs minimise: sums over the outputs, and a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerkit.kernels import softplus
from layerkit.losses import BinaryCrossEntropy, Loss, Poisson
from layerkit.optimizers import Optimizer


class HalfSquaredError(Loss):
    """Half the squared error, summed over the outputs.

    Notes
    -----
    - value: ``½ Σ_j (y_pred_j - y_true_j)²``
    - backward: ``y_pred - y_true``

    Examples
    --------
    >>> loss = HalfSquaredError()
    >>> loss.forward([[1.0, 4.0]], [[0.0, 1.0]]), loss.backward().tolist()
    (5.0, [[1.0, 3.0]])
    """

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        error = y_pred - y_true
        return np.einsum("ij,ij->i", error, error) / 2

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return y_pred - y_true


class HalfPoissonDeviance(Poisson):
    """Half the Poisson deviance on the log of the mean, summed over the outputs.

    Notes
    -----
    With z = y_pred, y = y_true:

    - value: ``Σ_j y_j log(y_j) - y_j - y_j z_j + exp(z_j)``, where ``0 log 0`` is 0
    - backward: ``exp(z) - y``

    Examples
    --------
    >>> loss = HalfPoissonDeviance()
    >>> loss.forward([[0.0, 0.0]], [[1.0, 0.0]]), loss.backward().tolist()
    (1.0, [[0.0, 1.0]])
    """

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        y_log_y = y_true * np.log(np.where(y_true > 0, y_true, 1))
        return np.sum(y_log_y - y_true - y_true * y_pred + np.exp(y_pred), axis=1)


class LogLoss(BinaryCrossEntropy):
    """Cross-entropy of independent yes/no outputs, summed over them.

    Notes
    -----
    - value: ``Σ_j log(1 + exp(y_pred_j)) - y_true_j y_pred_j``
    - backward: ``σ(y_pred) - y_true``

    Examples
    --------
    >>> loss = LogLoss()
    >>> round(loss.forward([[0.0, 0.0]], [[1, 0]]), 4), loss.backward().tolist()
    (1.3863, [[-0.5, 0.5]])
    """

    def __init__(self) -> None:
        super().__init__()

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return np.sum(softplus(y_pred) - y_true * y_pred, axis=1)


class Penalized(Loss):
    """A loss plus ``alpha / (2 normalizer) ||W||²``, whose gradient the optimizer adds.

    Parameters
    ----------
    loss : Loss
    alpha : float
    weights : list of ndarray
        W, the arrays that decay.
    optimizer : Optimizer
        Its ``weight_decay`` follows the normalizer, which is smaller in a last, shorter batch.
    """

    def __init__(
        self, loss: Loss, alpha: float, weights: Sequence[np.ndarray], optimizer: Optimizer
    ) -> None:
        self.loss = loss
        self.alpha = alpha
        self.weights = weights
        self.optimizer = optimizer

    def forward(
        self, y_pred: Any, y_true: Any, sample_weight: Any = None, normalizer: float | None = None
    ) -> float:
        value = self.loss.forward(y_pred, y_true, sample_weight, normalizer)
        if normalizer is None:  # validation, not training
            return value
        self.optimizer.weight_decay = self.alpha / normalizer
        return value + penalty(self.optimizer.weight_decay, self.weights)

    def backward(self) -> np.ndarray:
        return self.loss.backward()


def penalty(decay: float, weights: Sequence[np.ndarray]) -> float:
    """``decay / 2 ||W||²``, in float64 like every loss."""
    with np.errstate(over="ignore"):
        return decay / 2 * sum(float(np.vdot(w, w)) for w in weights) if decay else 0.0
