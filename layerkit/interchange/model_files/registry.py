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
    """Estimators and what they hold, by name; they bring scikit-learn along."""
    from sklearn import model_selection

    from layerkit import estimators
    from layerkit.estimators import step_targets, targets
    from layerkit.estimators.mlp import epochs, steps
    from layerkit.estimators.mlp import losses as sums
    from layerkit.estimators.tabular import columns, scaled

    held = (
        *(targets.Labels, targets.Multilabel, targets.MultiOutput, targets.Numbers),
        *(targets.PerOutput, step_targets.StepTarget, step_targets.StepClasses),
        *(epochs.Convergence, scaled.ScaledNumbers),
        *(columns.NumberColumn, columns.CategoryColumn, columns.DateColumn),
        *(sums.HalfSquaredError, sums.HalfPoissonDeviance, sums.LogLoss, sums.SoftmaxLogLoss),
        *(steps.Momentum, steps.PaperAdam, steps.QuasiNewton),
    )
    public = {name: getattr(estimators, name) for name in estimators.__all__}
    splitters = {name: kind for name, kind in vars(model_selection).items() if is_splitter(kind)}
    return splitters | {kind.__name__: kind for kind in held} | public


def is_splitter(kind: Any) -> bool:
    """Whether it divides rows, as `early_stopping` does, or makes what does."""
    return hasattr(kind, "split") and hasattr(kind, "get_n_splits")


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
        if not isinstance(custom, Iterable):
            raise TypeError(
                f"custom_layers must be a list of classes and functions, got {custom!r}; "
                f"write [{getattr(custom, '__name__', '...')}]"
            )
        for named in custom:
            name = getattr(named, "__name__", None)
            if not callable(named) or name is None:
                raise TypeError(f"custom_layers must be classes or functions, got {named!r}")
            if self.custom.setdefault(name, named) is not named:
                raise ValueError(f"custom_layers has two different {name}")

    def check(self, names: Iterable[Any]) -> None:
        """Refuse a file that names what was not passed, all of it at once."""
        custom = {str(name) for name, is_custom in names if is_custom is True}
        missing = sorted(filter(str.isidentifier, custom - self.custom.keys()))
        if missing:
            raise ModelFileError(
                f"names {', '.join(map(repr, missing))[:1000]}, not known here: pass your own "
                "layers, losses, optimizers, initializers and functions as "
                f"custom_layers=[{', '.join(missing)[:1000]}]"
            )

    def find(self, name: str, custom: bool, estimators: bool = False) -> Any:
        """Return what a file names, or refuse."""
        known = self.custom if custom else ours() | (of_estimators() if estimators else {})
        if name in known:
            return known[name]
        raise ModelFileError(f"names {str(name)[:100]!r}, which is not known here")


def is_ours(named: Any, estimators: bool = False) -> bool:
    """Whether a class or function is found in a file by its name without being passed."""
    name = getattr(named, "__name__", "")
    known = ours().get(name) or (of_estimators().get(name) if estimators else None)
    return known is named
