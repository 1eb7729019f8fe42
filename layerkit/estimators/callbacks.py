"""The one place that speaks scikit-learn's callback protocol (experimental there)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sklearn import callback

from layerkit.training import History, TrainingState

CallbackSupport: Any = callback.CallbackSupportMixin
with_callbacks = callback.with_callbacks


def set_callbacks(self: Any, *callbacks: Any) -> Any:
    """Set what is called while the estimator learns.

    Parameters
    ----------
    *callbacks : scikit-learn callbacks, or callables
        Objects of scikit-learn's protocol (`sklearn.callback.ProgressBar`,
        `sklearn.callback.ScoringMonitor`) see one task for every epoch, or for every member
        where there are several networks. Callables are given the
        `layerkit.training.TrainingState` after every epoch, as in `layerkit.training.train`;
        their method ``on_batch``, if they have one, after every step. If one raises, the
        estimator is fitted as it was before. Without arguments: forget them.

    Returns
    -------
    self : object
        The estimator.

    Raises
    ------
    TypeError
        If one is neither.
    """
    return CallbackSupport.set_callbacks(self, *as_fit_callbacks(callbacks))


def as_fit_callbacks(callbacks: Iterable[Any]) -> list[Any]:
    """Return callbacks of scikit-learn's protocol, or refuse what cannot be one."""
    for given in callbacks:
        follows = isinstance(given, callback.FitCallback) or callable(given)
        if not follows or isinstance(given, type):
            listed = isinstance(given, list | tuple)
            hint = ": give each by itself, set_callbacks(first, second)" if listed else ""
            if isinstance(given, type):
                hint = f": that is the class, write {given.__name__}(...)"
            raise TypeError(
                "callbacks must be instances that follow scikit-learn's FitCallback protocol, "
                f"or callables that take a TrainingState, got {given!r}{hint}"
            )
    return [c if isinstance(c, callback.FitCallback) else PlainCallback(c) for c in callbacks]


def own_callbacks(estimator: Any) -> list[Callable[[TrainingState], Any]]:
    """Return the callables among an estimator's callbacks."""
    held = getattr(estimator, "_skl_callbacks", [])
    return [given.function for given in held if isinstance(given, PlainCallback)]


class PlainCallback:
    """Carries a callable of ours wherever scikit-learn carries callbacks: clones, processes."""

    def __init__(self, function: Callable[[TrainingState], Any]) -> None:
        self.function = function

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing: `train` calls the function."""

    teardown = on_fit_task_begin = on_fit_task_end = setup


class EpochHooks:
    """A callback of `train` that tells scikit-learn's callbacks of the fit and of every epoch.

    So many ``epochs`` are planned, there may be fewer. ``given`` is what is being fitted: X, y and
    sample_weight (or None). ``attributes`` makes of the History so far the fitted attributes that
    the estimator would have if training had ended just now.
    """

    keeps_data = True

    def __init__(
        self,
        estimator: Any,
        epochs: int,
        given: tuple[Any, Any, Any],
        attributes: Callable[[History], dict[str, Any]],
    ) -> None:
        self.seen = _seen(estimator, given)
        self.attributes = attributes
        self.history = History()
        self.fit = estimator._init_callback_context(max_subtasks=epochs)
        self.fit.call_on_fit_task_begin(**self.seen)
        self.epoch: Any = None
        self.has_listeners = bool(getattr(estimator, "_skl_callbacks", ()))
        if self.has_listeners:
            self.begin_epoch()

    def begin_epoch(self) -> None:
        """Open the task of the next epoch."""
        self.epoch = self.fit.subcontext(task_name="epoch")
        self.epoch.call_on_fit_task_begin(**self.seen)

    def __call__(self, state: TrainingState) -> None:
        self.history = state.history
        if self._end(self.epoch):
            state.stop = True
        self.epoch = None
        if not state.stop and state.epoch < state.epochs:
            self.begin_epoch()

    def close(self) -> None:
        """Close the task of the fit, and of an epoch that never ended."""
        if self.epoch is not None:
            self.epoch.call_on_fit_task_end(**self.seen)
        self._end(self.fit)

    def _end(self, task: Any) -> bool:
        return task.call_on_fit_task_end(
            **self.seen, reconstruction_attributes=lambda: self.attributes(self.history)
        )


class MemberHooks:
    """Tells scikit-learn's callbacks of a fit, and of every one of its members.

    ``given`` is what is being fitted: X, y and sample_weight (or None).
    """

    def __init__(self, estimator: Any, members: int, given: tuple[Any, Any, Any]) -> None:
        self.seen = _seen(estimator, given)
        self.fit = estimator._init_callback_context(max_subtasks=members)
        self.fit.call_on_fit_task_begin(**self.seen)

    @contextmanager
    def member(self, attributes: Callable[[], dict[str, Any]] | None = None) -> Iterator[None]:
        """Surround what brings the next member; ``attributes`` are those fitted after it."""
        task = self.fit.subcontext(task_name="member")
        task.call_on_fit_task_begin(**self.seen)
        yield
        task.call_on_fit_task_end(**self.seen, reconstruction_attributes=attributes)

    def close(self, attributes: dict[str, Any]) -> None:
        """Close the task of the fit."""
        self.fit.call_on_fit_task_end(**self.seen, reconstruction_attributes=attributes)


def _seen(estimator: Any, given: tuple[Any, Any, Any]) -> dict[str, Any]:
    """Return what scikit-learn's callbacks are told of a fit."""
    X, y, sample_weight = given
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    return {"estimator": estimator, "X": X, "y": y, "metadata": metadata}


def print_epoch(state: TrainingState) -> None:
    """Print one line for the epoch that just ended."""
    row = state.history.rows[-1]
    shown = {name.replace("_", " "): value for name, value in row.items() if name != "epoch"}
    cells = (f"{name} {value:.4g}" for name, value in shown.items())
    print(f"epoch {state.epoch}/{state.epochs}:", ", ".join(cells))
