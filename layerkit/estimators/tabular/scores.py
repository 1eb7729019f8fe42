"""What chooses a member's best epoch: the loss of the held-out rows, or a scorer of scikit-learn.

Both are functions of targets as the loss takes them, raw outputs and weights; greater is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from layerkit.estimators.targets import ClassTarget, Target
from layerkit.losses import Loss


@dataclass(frozen=True)
class NegativeLoss:
    """A loss as a score."""

    loss: Loss

    def __call__(self, y_true: np.ndarray, raw: np.ndarray, weight: Any) -> float:
        """Return minus the loss."""
        return -self.loss.forward(raw, y_true, weight)


@dataclass(frozen=True)
class ScorerOfRaw:
    """A scorer of scikit-learn, ``scorer(estimator, X, y)``, on the held-out rows' own y."""

    scorer: Any
    target: Target
    y: np.ndarray

    def __call__(self, y_true: np.ndarray, raw: np.ndarray, weight: Any) -> float:
        """Let the scorer ask an estimator that knows only these rows."""
        kind = _ToldClasses if isinstance(self.target, ClassTarget) else _ToldNumbers
        weights = {} if weight is None else {"sample_weight": weight}
        positions = np.arange(len(raw))[:, np.newaxis]
        return float(self.scorer(kind(self.target, raw), positions, self.y, **weights))


class _Told(BaseEstimator):
    """A fitted estimator that is asked about positions among the rows whose raw outputs it has."""

    def __init__(self, target: Any, raw: np.ndarray) -> None:
        self.target_, self.raw_ = target, raw

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.target_.predict(self.raw_[X[:, 0]])


class _ToldNumbers(RegressorMixin, _Told):
    pass


class _ToldClasses(ClassifierMixin, _Told):
    @property
    def classes_(self) -> Any:
        return self.target_.classes

    def predict_proba(self, X: np.ndarray) -> Any:
        return self.target_.proba(self.raw_[X[:, 0]])
