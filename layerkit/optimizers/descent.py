"""Optimizers that follow the gradient, or its sign, without a second moment."""

from dataclasses import KW_ONLY, dataclass

from layerkit.kernels import DESCENT, MOMENTUM, lion_step, rprop_step, sgd_step
from layerkit.optimizers.optimizer import Optimizer, Rate, Vector
from layerkit.parameters import are_betas, in_range, is_flag, is_pair, is_positive


@dataclass(eq=False, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with (Nesterov) momentum if wanted.

    Without momentum ``p ← p - rate g``; with it::

        u ← momentum u + g
        p ← p - rate u                      (classical, the heavy ball)
        p ← p - rate (g + momentum u)       (nesterov)

    Parameters
    ----------
    learning_rate : float or callable, default=0.01
        A number >= 0, or a schedule.
    momentum : float, default=0.0
        In [0, 1).
    nesterov : bool, default=False
        Needs a momentum above 0.
    weight_decay : float, default=0.0
        L2 penalty, added to the gradient; see `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, "On the importance of initialization and momentum in deep
    learning", ICML 2013. As in PyTorch, the rate multiplies u and is not part of it.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.array([1.0, -2.0])
    >>> SGD(learning_rate=0.1).step(params, np.array([1.0, 5.0]))
    >>> params.tolist()
    [0.9, -2.5]
    """

    learning_rate: Rate = 0.01
    _: KW_ONLY
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    @property
    def memory(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def update(
        self, p: Vector, g: Vector, rate: float, t: int, velocity: Vector | None = None
    ) -> None:
        sgd_step(p, g, velocity, rate, float(self.momentum), self.nesterov)

    def coefficients(self, rate: float, t: int) -> tuple[float, ...]:
        momentum = float(self.momentum)
        if not momentum:
            return DESCENT, rate
        ahead, now = (rate * momentum, rate) if self.nesterov else (rate, 0.0)
        return MOMENTUM, momentum, ahead, now

    def validate(self) -> None:
        super().validate()
        self.check(in_range(self.momentum, 0, 1), "momentum", "a number in [0, 1)")
        self.check(is_flag(self.nesterov), "nesterov", "True or False")
        self.check(bool(self.momentum or not self.nesterov), "nesterov", "False without momentum")


@dataclass(eq=False, repr=False)
class Lion(Optimizer):
    """The sign of an interpolated momentum: every parameter moves by the rate.

    ::

        p ← p - rate sign(beta1 m + (1 - beta1) g)
        m ← beta2 m + (1 - beta2) g

    Weight decay is decoupled. Rates are three to ten times smaller, decays larger, than Adam's.

    Parameters
    ----------
    learning_rate : float or callable, default=1e-4
        A number >= 0, or a schedule.
    betas : pair of float, default=(0.9, 0.99)
        Each in [0, 1).
    weight_decay : float, default=0.0
        Decoupled from the gradient; see `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023, arXiv:2302.06675.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.array([1.0, -2.0])
    >>> Lion(learning_rate=0.1).step(params, np.array([1e-3, -5.0]))
    >>> params.tolist()
    [0.9, -1.9]
    """

    learning_rate: Rate = 1e-4
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    memory = ("m",)
    decoupled = update_decays = True

    def update(
        self, p: Vector, g: Vector, rate: float, t: int, m: Vector, keep: float = 1.0
    ) -> None:
        beta1, beta2 = map(float, self.betas)
        lion_step(p, g, m, rate, beta1, beta2, keep)

    def validate(self) -> None:
        super().validate()
        self.check(are_betas(self.betas), "betas", "two numbers in [0, 1)")


@dataclass(eq=False, repr=False)
class Rprop(Optimizer):
    """Resilient propagation: a step size for each parameter, and only the sign of the gradient.

    A step size s grows while the sign of its gradient stays and shrinks when it turns; a step back
    over a minimum is left out, by forgetting the gradient that turned::

        agreement = sign(g) sign(g_previous)
        s ← clip(s * {shrink, 1, grow}, smallest, largest)      for agreement -1, 0, 1
        g ← 0 where agreement is -1
        p ← p - s sign(g)

    For full batches: the noise of small ones turns signs.

    Parameters
    ----------
    learning_rate : float or callable, default=0.01
        The first step size; a schedule's later rates have no effect.
    etas : pair of float, default=(0.5, 1.2)
        Shrink, in (0, 1), and grow, above 1.
    step_sizes : pair of float, default=(1e-6, 50.0)
        Smallest and largest, ``0 < smallest <= largest``.
    weight_decay : float, default=0.0
        L2 penalty, added to the gradient; see `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning: the RPROP
    algorithm", ICNN 1993; without the step back, as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> params, rprop = np.array([1.0]), Rprop(learning_rate=0.1)
    >>> for _ in range(3):
    ...     rprop.step(params, 2 * params)
    >>> round(float(params[0]), 6)
    0.636
    """

    learning_rate: Rate = 0.01
    _: KW_ONLY
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    memory = ("previous", "size")

    def update(
        self, p: Vector, g: Vector, rate: float, t: int, previous: Vector, size: Vector
    ) -> None:
        shrink, grow = map(float, self.etas)
        if t == 1:
            size[...] = rate
        rprop_step(p, g, previous, size, shrink, grow, *map(float, self.step_sizes))

    def validate(self) -> None:
        super().validate()
        etas, sizes = self.etas, self.step_sizes
        ok = is_pair(etas) and is_positive(etas[0]) and etas[0] < 1
        ok = ok and is_positive(etas[1]) and etas[1] > 1
        self.check(ok, "etas", "a number in (0, 1) and one above 1")
        ok = is_pair(sizes) and is_positive(sizes[0]) and in_range(sizes[1], sizes[0])
        self.check(ok, "step_sizes", "two positive finite numbers, the smaller first")
