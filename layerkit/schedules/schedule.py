"""The base class of all schedules, and the two simplest of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from layerkit.parameters import Parameterized, in_range, is_fraction, is_size


class Schedule(Parameterized):
    """Base class: a subclass defines ``__call__(step) -> float``.

    `update` and `state` are for schedules that follow a metric; the others ignore them.

    Examples
    --------
    >>> class Harmonic(Schedule):
    ...     def __init__(self, learning_rate=0.01):
    ...         self.learning_rate = learning_rate
    ...
    ...     def __call__(self, step):
    ...         return self.learning_rate / (step + 1)
    >>> [Harmonic(0.5)(step) for step in range(2)]
    [0.5, 0.25]
    """

    def __call__(self, step: int) -> float:
        """Return the learning rate of optimizer step `step`, counted from 0."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__")

    def update(self, value: float) -> None:
        """Receive the metric of the epoch that has just ended; the training loop calls it.

        Parameters
        ----------
        value : float
            The monitored metric, such as the validation loss; smaller is better.
        """

    @property
    def state(self) -> dict[str, float]:
        """What `update` has changed, as numbers; settable, ``{}`` resets it."""
        return {}

    @state.setter
    def state(self, state: Mapping[str, float]) -> None:
        if state:
            raise ValueError(f"{self!r} has no state, got {', '.join(state)}")

    def _check_numbers(self, *names: str) -> None:
        for name in names:
            self.check(in_range(getattr(self, name), 0), name, "a finite number >= 0")

    def _check_fraction(self, name: str) -> None:
        self.check(is_fraction(getattr(self, name)), name, "a number in [0, 1]")

    def _check_count(self, name: str, low: int = 1) -> None:
        self.check(is_size(getattr(self, name), low), name, f"an integer >= {low}")


@dataclass(eq=False, repr=False)
class Constant(Schedule):
    """``rate = learning_rate``, the same at every step.

    Parameters
    ----------
    learning_rate : float, default=0.01
        The rate, at least 0.

    Examples
    --------
    >>> Constant(0.1)(1000)
    0.1
    """

    learning_rate: float = 0.01

    def __call__(self, step: int) -> float:
        self._check_numbers("learning_rate")
        return float(self.learning_rate)


@dataclass(eq=False, repr=False)
class Warmup(Schedule):
    """A linear rise to the first rate of another schedule, then that schedule from its start.

    ``rate = schedule(0) (step + 1) / steps`` while ``step < steps``, then
    ``rate = schedule(step - steps)``.

    Parameters
    ----------
    schedule : callable
        ``step -> rate``.
    steps : int, default=100
        Length of the rise, at least 0.

    References
    ----------
    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017,
    arXiv:1706.02677.

    Examples
    --------
    >>> schedule = Warmup(Constant(1.0), steps=4)
    >>> [schedule(step) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """

    schedule: Callable[[int], float]
    steps: int = 100

    def __call__(self, step: int) -> float:
        ok = callable(self.schedule) and not isinstance(self.schedule, type)
        self.check(ok, "schedule", "a function of the step")
        self._check_count("steps", 0)
        steps = int(self.steps)
        if step < steps:
            return float(self.schedule(0) * (step + 1) / steps)
        return float(self.schedule(step - steps))

    def update(self, value: float) -> None:
        if isinstance(self.schedule, Schedule):
            self.schedule.update(value)

    @property
    def state(self) -> dict[str, float]:
        return self.schedule.state if isinstance(self.schedule, Schedule) else {}

    @state.setter
    def state(self, state: Mapping[str, float]) -> None:
        if isinstance(self.schedule, Schedule):
            self.schedule.state = dict(state)
        elif state:
            raise ValueError(f"{self!r} has no state, got {', '.join(state)}")
