"""Adam and its descendants: an average of the gradient over an average of its size.

All keep ``m ← beta1 m + (1 - beta1) g`` and, except `Adamax`, ``v ← beta2 v + (1 - beta2) g²``,
starting from 0. After t steps they are too small by the factors ``1 - beta1^t`` and
``1 - beta2^t``, hence the corrected ``m̂ = m / (1 - beta1^t)`` and ``v̂ = v / (1 - beta2^t)``.
"""

from dataclasses import KW_ONLY, dataclass
from functools import lru_cache
from math import log, sqrt

import numpy as np

from layerkit.kernels import MOMENTS, adam_step, adamax_step, moments_step, moving_average
from layerkit.optimizers.optimizer import Optimizer, Rate, Vector
from layerkit.parameters import are_betas, in_range, is_positive


@dataclass(eq=False, repr=False)
class Adam(Optimizer):
    """Adaptive moments: ``p ← p - rate m̂ / (sqrt(v̂) + eps)``.

    ``m̂`` and ``v̂`` are the bias-corrected moving averages of the gradient g and of g²::

        m ← beta1 m + (1 - beta1) g          m̂ = m / (1 - beta1^t)
        v ← beta2 v + (1 - beta2) g²         v̂ = v / (1 - beta2^t)

    Parameters
    ----------
    learning_rate : float or callable, default=0.001
        A number >= 0, or a schedule.
    betas : pair of float, default=(0.9, 0.999)
        beta1 and beta2, each in [0, 1).
    eps : float, default=1e-8
        Added to the denominator; positive.
    weight_decay : float, default=0.0
        L2 penalty, added to the gradient, so that parameters with large gradients decay less;
        `AdamW` decouples it. See `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, arXiv:1412.6980.

    Examples
    --------
    The first step has the length of the rate, whatever the gradient.

    >>> import numpy as np
    >>> params = np.array([1.0, -2.0])
    >>> Adam(learning_rate=0.1).step(params, np.array([30.0, -0.5]))
    >>> params.round(6).tolist()
    [0.9, -1.9]
    """

    learning_rate: Rate = 0.001
    _: KW_ONLY
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: Rate = 0.0
    clip_norm: float | None = None
    clip_value: float | None = None

    memory = ("m", "v")

    def update(self, p: Vector, g: Vector, rate: float, t: int, m: Vector, v: Vector) -> None:
        beta1, beta2 = map(float, self.betas)
        adam_step(p, g, m, v, rate, beta1, beta2, float(self.eps), t)

    def coefficients(self, rate: float, t: int) -> tuple[float, ...]:
        beta1, beta2 = map(float, self.betas)
        c = sqrt(1 - beta2**t)
        return MOMENTS, beta1, beta2, rate * c / (1 - beta1**t), 0.0, c * float(self.eps)

    def validate(self) -> None:
        super().validate()
        self.check(are_betas(self.betas), "betas", "two numbers in [0, 1)")
        self.check(is_positive(self.eps), "eps", "a positive finite number")


@dataclass(eq=False, repr=False)
class AdamW(Adam):
    """`Adam` with decoupled weight decay: ``p ← (1 - rate weight_decay) p``, then Adam's step.

    The decay neither enters the moments nor is divided by the size of the gradient.

    Parameters
    ----------
    learning_rate : float or callable, default=0.001
        As in `Adam`.
    betas : pair of float, default=(0.9, 0.999)
        As in `Adam`.
    eps : float, default=1e-8
        As in `Adam`.
    weight_decay : float or callable, default=0.01
        A number >= 0, or a schedule.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, arXiv:1711.05101.
    As in PyTorch, the decay is multiplied by the whole learning rate, not only by its schedule.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.array([1.0])
    >>> AdamW(learning_rate=0.1, weight_decay=0.5).step(params, np.array([3.0]))
    >>> round(float(params[0]), 6)
    0.85
    """

    _: KW_ONLY
    weight_decay: Rate = 0.01

    decoupled = update_decays = True

    def update(  # type: ignore[override]  # and the decay in the same pass
        self, p: Vector, g: Vector, rate: float, t: int, m: Vector, v: Vector, keep: float = 1.0
    ) -> None:
        beta1, beta2 = map(float, self.betas)
        adam_step(p, g, m, v, rate, beta1, beta2, float(self.eps), t, keep)

    coefficients = Adam.coefficients


@dataclass(eq=False, repr=False)
class NAdam(Adam):
    """`Adam` with Nesterov's momentum: the average of the gradient as it will be one step later.

    With a momentum that warms up, ``mu_t = beta1 (1 - 0.5 · 0.96^(t momentum_decay))``::

        m̂ = mu_{t+1} m / (1 - mu_1 ⋯ mu_{t+1}) + (1 - mu_t) g / (1 - mu_1 ⋯ mu_t)
        p ← p - rate m̂ / (sqrt(v̂) + eps)

    Parameters
    ----------
    learning_rate : float or callable, default=0.002
        A number >= 0, or a schedule.
    betas : pair of float, default=(0.9, 0.999)
        As in `Adam`.
    eps : float, default=1e-8
        As in `Adam`.
    weight_decay : float, default=0.0
        L2 penalty, added to the gradient; see `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.
    momentum_decay : float, default=0.004
        At least 0.

    References
    ----------
    Dozat, "Incorporating Nesterov momentum into Adam", ICLR 2016 workshop.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.array([1.0])
    >>> NAdam(learning_rate=0.1, betas=(0.5, 0.5)).step(params, np.array([3.0]))
    >>> round(float(params[0]), 3)
    0.887
    """

    learning_rate: Rate = 0.002
    _: KW_ONLY
    momentum_decay: float = 0.004

    def update(self, p: Vector, g: Vector, rate: float, t: int, m: Vector, v: Vector) -> None:
        beta1, beta2 = map(float, self.betas)
        mu, mu_next, product = _nadam_momenta(t, beta1, float(self.momentum_decay))
        c = sqrt(1 - beta2**t)
        of_m = rate * c * mu_next / (1 - product * mu_next)
        of_g = rate * c * (1 - mu) / (1 - product)
        moments_step(p, g, m, v, beta1, beta2, of_m, of_g, c * float(self.eps))

    def validate(self) -> None:
        super().validate()
        self.check(in_range(self.momentum_decay, 0), "momentum_decay", "a finite number >= 0")


@lru_cache(maxsize=8)  # the pieces of one step ask for the same
def _nadam_momenta(t: int, beta1: float, decay: float) -> tuple[float, float, float]:
    """``mu_t``, ``mu_{t+1}`` and the product ``mu_1 ⋯ mu_t``, which is at most ``beta1^t``."""
    mu, mu_next = (beta1 * (1 - 0.5 * 0.96 ** (k * decay)) for k in (t, t + 1))
    # Below exp(-40) the product is lost beside 1, so that later factors need no multiplying.
    terms = min(t, int(-40 / log(beta1)) + 1) if beta1 > 0 else 1
    first = beta1 * (1 - 0.5 * 0.96 ** (np.arange(1, terms + 1) * decay))
    return mu, mu_next, float(first.prod())


class RAdam(Adam):
    """`Adam` that rectifies the variance of its early steps, which acts as a warm-up.

    With ``rho_inf = 2 / (1 - beta2) - 1`` and ``rho = rho_inf - 2 t beta2^t / (1 - beta2^t)``, the
    length of the average v, while ``rho <= 5`` the step is ``p ← p - rate m̂``; after that::

        r² = (rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho)
        p ← p - rate r m̂ sqrt(1 - beta2^t) / (sqrt(v) + eps)

    Parameters
    ----------
    learning_rate : float or callable, default=0.001
        As in `Adam`.
    betas : pair of float, default=(0.9, 0.999)
        As in `Adam`.
    eps : float, default=1e-8
        As in `Adam`.
    weight_decay : float, default=0.0
        L2 penalty, added to the gradient; see `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Liu et al., "On the variance of the adaptive learning rate and beyond", ICLR 2020,
    arXiv:1908.03265. As in PyTorch, eps is added before the correction of v.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.array([1.0])
    >>> RAdam(learning_rate=0.1).step(params, np.array([3.0]))
    >>> round(float(params[0]), 6)
    0.7
    """

    def update(self, p: Vector, g: Vector, rate: float, t: int, m: Vector, v: Vector) -> None:
        beta1, beta2 = map(float, self.betas)
        of_m = rate / (1 - beta1**t)
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        if rho > 5:
            r2 = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
            of_m *= sqrt(r2 * (1 - beta2**t))
            moments_step(p, g, m, v, beta1, beta2, of_m, 0.0, float(self.eps))
        else:
            moving_average(m, g, beta1)
            moving_average(v, g * g, beta2)
            p -= of_m * m


@dataclass(eq=False, repr=False)
class Adamax(Adam):
    """`Adam` with the maximum norm: ``p ← p - rate m̂ / u``, ``u ← max(beta2 u, |g| + eps)``.

    Parameters
    ----------
    learning_rate : float or callable, default=0.002
        A number >= 0, or a schedule.
    betas : pair of float, default=(0.9, 0.999)
        As in `Adam`.
    eps : float, default=1e-8
        As in `Adam`.
    weight_decay : float, default=0.0
        L2 penalty, added to the gradient; see `Optimizer`.
    clip_norm, clip_value : float, optional
        Limits on the gradient; see `Optimizer`.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 7.1,
    arXiv:1412.6980; eps as in PyTorch.

    Examples
    --------
    >>> import numpy as np
    >>> params = np.array([1.0, -2.0])
    >>> Adamax(learning_rate=0.1).step(params, np.array([30.0, -0.5]))
    >>> params.round(6).tolist()
    [0.9, -1.9]
    """

    learning_rate: Rate = 0.002

    memory = ("m", "u")

    def update(  # type: ignore[override]  # u in the place of v
        self, p: Vector, g: Vector, rate: float, t: int, m: Vector, u: Vector
    ) -> None:
        beta1, beta2 = map(float, self.betas)
        adamax_step(p, g, m, u, rate / (1 - beta1**t), beta1, beta2, float(self.eps))
