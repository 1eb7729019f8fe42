"""Networks as scikit-learn estimators.

Two are made of layers, two have the parameters of scikit-learn's own::

    SequentialClassifier  a classifier made of layers
    SequentialRegressor   a regressor made of layers
    MLPClassifier         scikit-learn's, with dropout, batch normalization and more
    MLPRegressor          scikit-learn's, with dropout, batch normalization and more
"""

from layerkit.estimators.mlp import MLPClassifier, MLPRegressor
from layerkit.estimators.sequential import SequentialClassifier, SequentialRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "SequentialClassifier", "SequentialRegressor"]
