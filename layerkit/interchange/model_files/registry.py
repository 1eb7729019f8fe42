"""The only classes and functions that a model file can name."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from layerkit import initializers, layers, losses, optimizers, schedules
from layerkit.archive import ModelFileError


@cache
def ours() -> dict[str, Any]:
    """Public classes and functions of layerkit that describe a network, by name."""
    rooms = (layers, losses, optimizers, schedules, initializers)
    return {name: getattr(room, name) for room in rooms for name in room.__all__}


@cache
def of_estimators() -> dict[str, Any]:
    """Estimators and what fitted ones hold, by name; they bring scikit-learn along."""
    from layerkit import estimators
    from layerkit.estimators import targets
    from layerkit.estimators.mlp import epochs, steps
    from layerkit.estimators.mlp import losses as sums
    from layerkit.estimators.tabular import columns, scaled

    held = (
        *(targets.Labels, targets.Multilabel, targets.MultiOutput, targets.Numbers),
        *(targets.PerOutput, epochs.Convergence, scaled.ScaledNumbers),
        *(columns.NumberColumn, columns.CategoryColumn, columns.DateColumn),
        *(sums.HalfSquaredError, sums.HalfPoissonDeviance, sums.LogLoss, sums.SoftmaxLogLoss),
        *(steps.Momentum, steps.PaperAdam, steps.QuasiNewton),
    )
    public = {name: getattr(estimators, name) for name in estimators.__all__}
    return {kind.__name__: kind for kind in held} | public


def is_estimator(model: Any) -> bool:
    """Whether it is one of our estimators; not asked of networks, as it imports scikit-learn."""
    from layerkit.estimators.base import NetworkEstimator
    from layerkit.estimators.tabular.base import TabularEstimator

    return isinstance(model, NetworkEstimator | TabularEstimator)


class Registry:
    """Names to classes and functions: layerkit's own, and ``custom`` ones that the caller passes.

    These are known by their ``__name__`` and kept apart from our own names.
    """

    def __init__(self, custom: Iterable[Any] = ()) -> None:
        self.custom: dict[str, Any] = {}
        for named in custom:
            name = getattr(named, "__name__", None)
            if not callable(named) or name is None:
                raise TypeError(f"custom_layers must be classes or functions, got {named!r}")
            if self.custom.setdefault(name, named) is not named:
                raise ValueError(f"custom_layers has two different {name}")

    def find(self, name: str, custom: bool, estimators: bool = False) -> Any:
        """Return what a file names, or refuse."""
        known = self.custom if custom else ours() | (of_estimators() if estimators else {})
        if name in known:
            return known[name]
        hint = f"; pass it as custom_layers=[{name}]" if custom and str(name).isidentifier() else ""
        raise ModelFileError(f"names {str(name)[:100]!r}, which is not known here{hint}")


def is_ours(named: Any, estimators: bool = False) -> bool:
    """Whether a class or function is found in a file by its name without being passed."""
    name = getattr(named, "__name__", "")
    known = ours().get(name) or (of_estimators().get(name) if estimators else None)
    return known is named
