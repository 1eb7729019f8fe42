"""Networks as scikit-learn estimators."""

from layerkit.estimators.mlp import MLPClassifier, MLPRegressor
from layerkit.estimators.sequential import SequentialClassifier, SequentialRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "SequentialClassifier", "SequentialRegressor"]
