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

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` finds, for editors and type checkers
    from layerkit.estimators.mlp import MLPClassifier, MLPRegressor
    from layerkit.estimators.sequential import SequentialClassifier, SequentialRegressor
    from layerkit.estimators.tabular import TableEncoder, TabularClassifier, TabularRegressor

_homes = {
    "MLPClassifier": "mlp",
    "MLPRegressor": "mlp",
    "SequentialClassifier": "sequential",
    "SequentialRegressor": "sequential",
    "TableEncoder": "tabular",
    "TabularClassifier": "tabular",
    "TabularRegressor": "tabular",
}
__all__ = [
    "MLPClassifier",
    "MLPRegressor",
    "SequentialClassifier",
    "SequentialRegressor",
    "TableEncoder",
    "TabularClassifier",
    "TabularRegressor",
]


def __getattr__(name: str) -> Any:
    """Import an estimator when it is first asked for: those of tables take a while."""
    if name in _homes:
        return getattr(import_module(f"layerkit.estimators.{_homes[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_homes})
