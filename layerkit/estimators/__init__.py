"""Networks as scikit-learn estimators.

Two are made of layers, two have the parameters of scikit-learn's own, two take tables as they
are::

    SequentialClassifier  a classifier made of layers
    SequentialRegressor   a regressor made of layers
    MLPClassifier         scikit-learn's, with dropout, batch normalization and more
    MLPRegressor          scikit-learn's, with dropout, batch normalization and more
    TabularClassifier     for tables of numbers, categories and dates
    TabularRegressor      for tables of numbers, categories and dates
    TableEncoder          their transformer of tables into numbers
"""

from layerkit.estimators.mlp import MLPClassifier, MLPRegressor
from layerkit.estimators.sequential import SequentialClassifier, SequentialRegressor
from layerkit.estimators.tabular import TableEncoder, TabularClassifier, TabularRegressor

__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "SequentialClassifier",
    "SequentialRegressor",
    "TableEncoder",
    "TabularClassifier",
    "TabularRegressor",
]
