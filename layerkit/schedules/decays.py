"""Schedules that only decrease, other than cosines."""

from dataclasses import KW_ONLY, dataclass

from layerkit.schedules.schedule import Schedule


@dataclass(eq=False, repr=False)
class StepDecay(Schedule):
    """``rate = learning_rate factor^floor(step / every)``: a staircase.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Rate of the first `every` steps; at least 0.
    every : int, default=1000
        Steps between two reductions; at least 1.
    factor : float, default=0.1
        Factor of each reduction, in [0, 1].

    Examples
    --------
    >>> [round(StepDecay(1.0, every=2, factor=0.5)(step), 4) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    learning_rate: float = 0.01
    every: int = 1000
    _: KW_ONLY
    factor: float = 0.1

    def __call__(self, step: int) -> float:
        self._check_numbers("learning_rate")
        self._check_count("every")
        self._check_fraction("factor")
        return float(self.learning_rate * self.factor ** (step // int(self.every)))


@dataclass(eq=False, repr=False)
class ExponentialDecay(Schedule):
    """``rate = learning_rate factor^(step / every)``: a smooth `StepDecay`.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Rate of the first step; at least 0.
    every : int, default=1000
        Number of steps in which the rate shrinks by `factor`; at least 1. It is 1 in PyTorch's
        ``ExponentialLR``.
    factor : float, default=0.1
        Factor of each reduction, in [0, 1].

    Examples
    --------
    >>> round(ExponentialDecay(1.0, every=2, factor=0.5)(3), 4)
    0.3536
    """

    learning_rate: float = 0.01
    every: int = 1000
    _: KW_ONLY
    factor: float = 0.1

    def __call__(self, step: int) -> float:
        self._check_numbers("learning_rate")
        self._check_count("every")
        self._check_fraction("factor")
        return float(self.learning_rate * self.factor ** (step / self.every))


@dataclass(eq=False, repr=False)
class InverseScaling(Schedule):
    """``rate = learning_rate / (step + 1)^power``.

    scikit-learn's ``"invscaling"`` is this formula with ``power_t``, evaluated once an epoch and
    with the number of *samples* seen so far as its ``step``.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Rate of the first step; at least 0.
    power : float, default=0.5
        Exponent, at least 0.

    Examples
    --------
    >>> InverseScaling(0.1)(99)
    0.01
    """

    learning_rate: float = 0.01
    _: KW_ONLY
    power: float = 0.5

    def __call__(self, step: int) -> float:
        self._check_numbers("learning_rate", "power")
        return float(self.learning_rate / (step + 1) ** self.power)


@dataclass(eq=False, repr=False)
class Polynomial(Schedule):
    """``rate = final + (learning_rate - final) (1 - step / steps)^power``; `final` from `steps` on.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Rate of the first step; at least 0.
    steps : int, default=1000
        Length of the decay in steps; at least 1.
    power : float, default=1.0
        Exponent; 1 gives a straight line; at least 0.
    final : float, default=0.0
        Rate from `steps` on; at least 0.

    Examples
    --------
    >>> Polynomial(1.0, steps=4)(1)
    0.75
    """

    learning_rate: float = 0.01
    steps: int = 1000
    _: KW_ONLY
    power: float = 1.0
    final: float = 0.0

    def __call__(self, step: int) -> float:
        self._check_numbers("learning_rate", "power", "final")
        self._check_count("steps")
        if step >= self.steps:
            return float(self.final)
        remaining = (1 - step / self.steps) ** self.power
        return float(self.final + (self.learning_rate - self.final) * remaining)
