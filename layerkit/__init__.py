"""Neural networks of layers with an explicit forward and backward, for scikit-learn users."""

from typing import Any

from layerkit.archive import ModelFileError
from layerkit.inspection import check_gradients, check_loss_gradients
from layerkit.layer import Layer
from layerkit.layers import *  # noqa: F403
from layerkit.layers import __all__ as _layers

__version__ = "0.1.0.dev0"
_estimators = ["MLPClassifier", "MLPRegressor", "SequentialClassifier", "SequentialRegressor"]
__all__ = [
    "Layer",
    "ModelFileError",
    "check_gradients",
    "check_loss_gradients",
    *_estimators,
    *_layers,
]


def __getattr__(name: str) -> Any:
    """Import an estimator, and scikit-learn with it, when it is first asked for."""
    if name in _estimators:
        from layerkit import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_estimators})
