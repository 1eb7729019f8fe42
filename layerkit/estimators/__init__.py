"""Networks as scikit-learn estimators."""

from layerkit.estimators.sequential import SequentialClassifier, SequentialRegressor

__all__ = ["SequentialClassifier", "SequentialRegressor"]
