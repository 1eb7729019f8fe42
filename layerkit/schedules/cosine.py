"""Schedules made of half cosines."""

from dataclasses import KW_ONLY, dataclass
from math import cos, pi

from layerkit.parameters import is_positive
from layerkit.schedules.schedule import Schedule


@dataclass(eq=False, repr=False)
class CosineDecay(Schedule):
    """Half a cosine from `learning_rate` down to `final`, after an optional linear warm-up.

    ``rate = learning_rate (step + 1) / warmup`` while ``step < warmup``, then::

        rate = final + (learning_rate - final) (1 + cos(pi (step - warmup) / (steps - warmup))) / 2

    and `final` from `steps` on.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Largest rate; at least 0.
    steps : int, default=1000
        Length in steps, including the warm-up; at least 1.
    final : float, default=0.0
        Rate from `steps` on; at least 0.
    warmup : int, default=0
        Steps of warm-up; at least 0, less than `steps`.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017,
    arXiv:1608.03983.

    Examples
    --------
    >>> schedule = CosineDecay(1.0, steps=6, warmup=2)
    >>> [round(schedule(step), 4) for step in range(7)]
    [0.5, 1.0, 1.0, 0.8536, 0.5, 0.1464, 0.0]
    """

    learning_rate: float = 0.01
    steps: int = 1000
    _: KW_ONLY
    final: float = 0.0
    warmup: int = 0

    def __call__(self, step: int) -> float:
        self._check_numbers("learning_rate", "final")
        self._check_count("steps")
        self._check_count("warmup", 0)
        self.check(self.warmup < self.steps, "warmup", f"less than steps={self.steps}")
        if step < self.warmup:
            return float(self.learning_rate * (step + 1) / self.warmup)
        if step >= self.steps:
            return float(self.final)
        done = (step - self.warmup) / (self.steps - self.warmup)
        return _cosine(self.learning_rate, self.final, done)


@dataclass(eq=False, repr=False)
class CosineRestarts(Schedule):
    """`CosineDecay` that starts over: cycle i lasts ``steps factor^i`` steps.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Rate at the start of each cycle; at least 0.
    steps : int, default=1000
        Length of the first cycle; at least 1.
    factor : int, default=1
        Length of each cycle relative to the one before; at least 1.
    final : float, default=0.0
        Rate at the end of each cycle; at least 0.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017,
    arXiv:1608.03983.

    Examples
    --------
    >>> schedule = CosineRestarts(1.0, steps=2, factor=2)
    >>> [round(schedule(step), 4) for step in range(7)]
    [1.0, 0.5, 1.0, 0.8536, 0.5, 0.1464, 1.0]
    """

    learning_rate: float = 0.01
    steps: int = 1000
    _: KW_ONLY
    factor: int = 1
    final: float = 0.0

    def __call__(self, step: int) -> float:
        self._check_numbers("learning_rate", "final")
        self._check_count("steps")
        self._check_count("factor")
        length = int(self.steps)
        if self.factor == 1:
            step %= length
        while step >= length:
            step -= length
            length *= self.factor
        return _cosine(self.learning_rate, self.final, step / length)


@dataclass(eq=False, repr=False)
class OneCycle(Schedule):
    """Up to `learning_rate` and down to almost nothing, each along half a cosine.

    From ``learning_rate / start_divisor`` at step 0 up to `learning_rate` at step
    ``peak = warmup steps - 1``, and down to ``learning_rate / start_divisor / end_divisor`` at the
    last step, ``steps - 1``. The optimizer's momentum stays as it is.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Largest rate; at least 0.
    steps : int, default=1000
        Length of the cycle; at least 2.
    warmup : float, default=0.3
        The part of the cycle that goes up, in [0, 1].
    start_divisor : float, default=25.0
        Positive.
    end_divisor : float, default=1e4
        Positive.

    References
    ----------
    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning
    rates", 2018, arXiv:1708.07120; formula as PyTorch's ``OneCycleLR``.

    Examples
    --------
    >>> schedule = OneCycle(1.0, steps=10)
    >>> [round(schedule(step), 4) for step in (0, 1, 2, 5, 9)]
    [0.04, 0.52, 1.0, 0.6113, 0.0]
    """

    learning_rate: float = 0.01
    steps: int = 1000
    _: KW_ONLY
    warmup: float = 0.3
    start_divisor: float = 25.0
    end_divisor: float = 1e4

    def __call__(self, step: int) -> float:
        self._check_numbers("learning_rate")
        self._check_count("steps", 2)
        self._check_fraction("warmup")
        for name in ("start_divisor", "end_divisor"):
            self.check(is_positive(getattr(self, name)), name, "a positive finite number")
        start = self.learning_rate / self.start_divisor
        peak, last = self.warmup * self.steps - 1, self.steps - 1
        step = min(step, last)
        if step < peak:
            return _cosine(start, self.learning_rate, step / peak)
        peak = max(peak, 0)
        done = (step - peak) / (last - peak) if last > peak else 0.0
        return _cosine(self.learning_rate, start / self.end_divisor, done)


def _cosine(start: float, end: float, done: float) -> float:
    """Half a cosine from `start` to `end`, of which the part `done` in [0, 1] has gone by."""
    return float(end + (start - end) * (1 + cos(pi * done)) / 2)
