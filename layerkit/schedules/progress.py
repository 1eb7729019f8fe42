"""Schedules that depend on the completed fraction of a training run, whatever its length."""

from dataclasses import KW_ONLY, dataclass
from math import cos, log2, pi

from layerkit.parameters import in_range
from layerkit.schedules.schedule import Schedule


class Progress(Schedule):
    """Base class of schedules that follow a curve over the whole run.

    A subclass defines ``shape``, which maps the completed fraction of the run, in [0, 1], to a
    factor on its parameter ``peak``. `layerkit.training.train` binds the schedules of the optimizer
    (its learning rate and its weight decay) and of the layers (`Dropout`'s rate) to the number of
    steps; in a loop of your own call `bind`.

    Examples
    --------
    >>> from layerkit.schedules import Progress
    >>> class Ramp(Progress):
    ...     def __init__(self, peak=0.01):
    ...         self.peak = peak
    ...
    ...     def shape(self, done):
    ...         return done
    >>> schedule = Ramp(0.8)
    >>> schedule.bind(steps=4)
    >>> [round(schedule(step), 3) for step in range(6)]
    [0.0, 0.2, 0.4, 0.6, 0.8, 0.8]
    """

    peak: float
    now: int = 0
    _start: int = 0
    _steps: int | None = None

    def shape(self, done: float) -> float:
        """Return the factor on ``peak`` at a point of the run.

        Parameters
        ----------
        done : float
            Completed fraction of the run, from 0 to 1.

        Returns
        -------
        factor : float
            At least 0.
        """
        raise NotImplementedError(f"{type(self).__name__} has no shape")

    def bind(self, steps: int, start: int = 0) -> None:
        """Set the length of the run.

        Parameters
        ----------
        steps : int
            Number of steps of the whole run; at least 1.
        start : int, default=0
            The step at which it begins.
        """
        self._steps, self._start, self.now = max(int(steps), 1), int(start), int(start)

    def __call__(self, step: int | None = None) -> float:
        """Return the value at a step; by default at step ``now``, which training counts."""
        self._check_numbers("peak")
        if self._steps is None:
            raise ValueError(
                f"{self!r} does not know how long the run is: train tells it; in a loop of your "
                "own call its bind(steps)"
            )
        done = ((self.now if step is None else step) - self._start) / self._steps
        return float(self.peak * self.shape(min(max(done, 0.0), 1.0)))


@dataclass(eq=False, repr=False)
class CosLog(Progress):
    """Cosine cycles that become longer: ``peak (1 - cos(2 pi log2(1 + (2^cycles - 1) t))) / 2``.

    Here t in [0, 1] is the completed fraction of the run. The curve starts at 0, ends at 0, and
    each of its cycles is twice as long as the one before.

    Parameters
    ----------
    peak : float, default=0.01
        The largest value; at least 0.
    cycles : int, default=4
        Number of cycles, at least 1.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data", NeurIPS 2024, arXiv:2407.04491.

    Examples
    --------
    >>> schedule = CosLog(1.0, cycles=2)
    >>> schedule.bind(steps=6)
    >>> [round(schedule(step), 3) for step in range(7)]
    [0.0, 0.93, 0.0, 0.718, 0.93, 0.324, 0.0]
    """

    peak: float = 0.01
    _: KW_ONLY
    cycles: int = 4

    def shape(self, done: float) -> float:
        self._check_count("cycles")
        return (1 - cos(2 * pi * log2(1 + (2**self.cycles - 1) * done))) / 2


@dataclass(eq=False, repr=False)
class FlatCosine(Progress):
    """`peak` at first, then half a cosine down to 0.

    With t in [0, 1] the completed fraction of the run: `peak` while ``t < flat``, then
    ``peak (1 + cos(pi (t - flat) / (1 - flat))) / 2``.

    Parameters
    ----------
    peak : float, default=0.01
        The largest value; at least 0.
    flat : float, default=0.5
        Fraction of the run at `peak`, in [0, 1).

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data", NeurIPS 2024, arXiv:2407.04491.

    Examples
    --------
    >>> schedule = FlatCosine(1.0)
    >>> schedule.bind(steps=4)
    >>> [round(schedule(step), 3) for step in range(6)]
    [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]
    """

    peak: float = 0.01
    _: KW_ONLY
    flat: float = 0.5

    def shape(self, done: float) -> float:
        self.check(in_range(self.flat, 0, 1), "flat", "a number in [0, 1)")
        late = max(done - self.flat, 0.0) / (1 - self.flat)
        return (1 + cos(pi * late)) / 2
