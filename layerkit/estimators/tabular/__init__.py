"""Estimators for tables as they are: an encoder, and networks behind it."""

from layerkit.estimators.tabular.encoder import TableEncoder
from layerkit.estimators.tabular.estimators import TabularClassifier, TabularRegressor

__all__ = ["TableEncoder", "TabularClassifier", "TabularRegressor"]
