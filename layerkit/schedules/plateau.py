"""The schedule that follows a metric."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from math import isfinite

from layerkit.parameters import in_range
from layerkit.schedules.schedule import Schedule


@dataclass(eq=False, repr=False)
class ReduceOnPlateau(Schedule):
    """``rate = max(learning_rate factor^reductions, minimum)``: one reduction for each plateau.

    The training loop calls `update` with the metric after every epoch. After more than `patience`
    epochs in a row without improvement on the best value b, the rate is reduced once more and
    counting starts again. An improvement is a value below ``b - threshold |b|``, or above
    ``b + threshold |b|`` for ``mode="max"``. (PyTorch's ``b (1 - threshold)`` counts a worse value
    as better if b is negative; otherwise it agrees.)

    Parameters
    ----------
    learning_rate : float, default=0.01
        Initial rate, at least 0.
    factor : float, default=0.1
        Factor of each reduction, in [0, 1].
    patience : int, default=10
        Epochs without improvement that are tolerated; at least 0.
    threshold : float, default=1e-4
        Smallest relative improvement, at least 0.
    mode : {"min", "max"}, default="min"
        Whether small values (losses) or large ones (scores) are good.
    minimum : float, default=0.0
        Smallest rate, in [0, learning_rate].

    Notes
    -----
    The only schedule with a `state`; pickles keep it, clones do not.

    Examples
    --------
    >>> schedule = ReduceOnPlateau(0.1, factor=0.5, patience=1)
    >>> for loss in (1.0, 0.8, 0.8, 0.9):
    ...     schedule.update(loss)
    >>> schedule(0)
    0.05
    """

    learning_rate: float = 0.01
    _: KW_ONLY
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    mode: str = "min"
    minimum: float = 0.0

    _best: float | None = field(default=None, init=False)
    _bad_epochs: int = field(default=0, init=False)  # since the best
    _reductions: int = field(default=0, init=False)

    def __call__(self, step: int) -> float:
        self._check_numbers("learning_rate")
        self._check_fraction("factor")
        ok = in_range(self.minimum, 0) and self.minimum <= self.learning_rate
        self.check(ok, "minimum", "a number in [0, learning_rate]")
        return float(max(self.learning_rate * self.factor**self._reductions, self.minimum))

    def update(self, value: float) -> None:
        self._check_count("patience", 0)
        self._check_numbers("threshold")
        self.check(self.mode in ("min", "max"), "mode", "'min' or 'max'")
        sign, best = 1 if self.mode == "min" else -1, self._best
        if isfinite(value) and (
            best is None or sign * value < sign * best - self.threshold * abs(best)
        ):
            self._best, self._bad_epochs = float(value), 0
            return
        self._bad_epochs += 1
        if self._bad_epochs > self.patience:
            self._reductions += 1
            self._bad_epochs = 0

    @property
    def state(self) -> dict[str, float]:
        best = {} if self._best is None else {"best": self._best}
        return best | {"bad_epochs": self._bad_epochs, "reductions": self._reductions}

    @state.setter
    def state(self, state: Mapping[str, float]) -> None:
        self._best = float(state["best"]) if "best" in state else None
        self._bad_epochs = int(state.get("bad_epochs", 0))
        self._reductions = int(state.get("reductions", 0))
