"""Optimizers that divide the gradient by its own recent size."""

from dataclasses import KW_ONLY, dataclass

from layerkit.kernels import adadelta_step, adagrad_step, rmsprop_step
from layerkit.optimizers.optimizer import Optimizer, Rate, Vector
from layerkit.parameters import in_range, is_flag, is_positive


@dataclass(eq=False, repr=False)
class Adagrad(Optimizer):
    """The rate divided by the root of the sum of all squared gradients so far.

    ::

        v ← v + g²
        p ← p - rate g / (sqrt(v) + eps)

    Rates fall as fast as ``1 / sqrt(t)``: good for sparse features, early to stop elsewhere.

    Parameters
    ----------
    learning_rate : float or callable, default=0.01
        A number >= 0, or a schedule.
    eps : float, default=1e-10
        Added to the denominator; positive.
    weight_decay : float, default=0.0
        L2 penalty, added to the gradient; see `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.array([1.0, -2.0])
    >>> Adagrad(learning_rate=0.1).step(params, np.array([3.0, -0.5]))
    >>> params.round(6).tolist()
    [0.9, -1.9]
    """

    learning_rate: Rate = 0.01
    _: KW_ONLY
    eps: float = 1e-10
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    memory = ("v",)

    def update(self, p: Vector, g: Vector, rate: float, t: int, v: Vector) -> None:
        adagrad_step(p, g, v, rate, float(self.eps))

    def validate(self) -> None:
        super().validate()
        self.check(is_positive(self.eps), "eps", "a positive finite number")


@dataclass(eq=False, repr=False)
class RMSProp(Optimizer):
    """The gradient divided by the root of its mean square.

    ::

        v ← rho v + (1 - rho) g²
        m ← rho m + (1 - rho) g                         (only if centered, else m = 0)
        u ← momentum u + g / (sqrt(v - m²) + eps)
        p ← p - rate u

    Parameters
    ----------
    learning_rate : float or callable, default=0.01
        A number >= 0, or a schedule.
    rho : float, default=0.99
        Decay of the averages (PyTorch's ``alpha``), in [0, 1).
    momentum : float, default=0.0
        In [0, 1).
    centered : bool, default=False
        Divide by the standard deviation of the gradient instead of its root mean square.
    eps : float, default=1e-8
        Added to the denominator; positive.
    weight_decay : float, default=0.0
        L2 penalty, added to the gradient; see `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Tieleman and Hinton, "Lecture 6.5: rmsprop", Coursera, 2012; centered as in Graves, "Generating
    sequences with recurrent neural networks", 2013, arXiv:1308.0850.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.array([1.0, -2.0])
    >>> RMSProp(learning_rate=0.1, rho=0.75).step(params, np.array([3.0, -0.5]))
    >>> params.round(6).tolist()
    [0.8, -1.8]
    """

    learning_rate: Rate = 0.01
    _: KW_ONLY
    rho: float = 0.99
    momentum: float = 0.0
    centered: bool = False
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    @property
    def memory(self) -> tuple[str, ...]:
        return ("v",) + ("m",) * bool(self.centered) + ("velocity",) * bool(self.momentum)

    def update(
        self,
        p: Vector,
        g: Vector,
        rate: float,
        t: int,
        v: Vector,
        m: Vector | None = None,
        velocity: Vector | None = None,
    ) -> None:
        rho, momentum = float(self.rho), float(self.momentum)
        rmsprop_step(p, g, v, m, velocity, rate, rho, momentum, float(self.eps))

    def validate(self) -> None:
        super().validate()
        self.check(in_range(self.rho, 0, 1), "rho", "a number in [0, 1)")
        self.check(in_range(self.momentum, 0, 1), "momentum", "a number in [0, 1)")
        self.check(is_flag(self.centered), "centered", "True or False")
        self.check(is_positive(self.eps), "eps", "a positive finite number")


@dataclass(eq=False, repr=False)
class Adadelta(Optimizer):
    """Steps in the units of the parameters: mean squared past steps over mean squared gradients.

    ::

        v ← rho v + (1 - rho) g²
        d = g sqrt(w + eps) / sqrt(v + eps)
        w ← rho w + (1 - rho) d²
        p ← p - rate d

    Parameters
    ----------
    learning_rate : float or callable, default=1.0
        A number >= 0 or a schedule. The paper has none, that is 1.
    rho : float, default=0.9
        In [0, 1).
    eps : float, default=1e-6
        Positive; it also sets the length of the first steps.
    weight_decay : float, default=0.0
        L2 penalty, added to the gradient; see `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Zeiler, "ADADELTA: an adaptive learning rate method", 2012, arXiv:1212.5701.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.array([1.0])
    >>> Adadelta(rho=0.75, eps=1e-4).step(params, np.array([3.0]))
    >>> round(float(params[0]), 4)
    0.98
    """

    learning_rate: Rate = 1.0
    _: KW_ONLY
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    memory = ("v", "w")

    def update(self, p: Vector, g: Vector, rate: float, t: int, v: Vector, w: Vector) -> None:
        adadelta_step(p, g, v, w, rate, float(self.rho), float(self.eps))

    def validate(self) -> None:
        super().validate()
        self.check(in_range(self.rho, 0, 1), "rho", "a number in [0, 1)")
        self.check(is_positive(self.eps), "eps", "a positive finite number")
