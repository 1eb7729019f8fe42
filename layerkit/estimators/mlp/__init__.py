"""scikit-learn's multilayer perceptrons, made of layers: the same parameters, attributes, steps."""

from layerkit.estimators.mlp.classifier import MLPClassifier
from layerkit.estimators.mlp.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
