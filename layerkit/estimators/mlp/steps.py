"""The steps of scikit-learn's solvers "sgd", "adam" and "lbfgs"."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np

from layerkit.kernels import VELOCITY, adam_step
from layerkit.optimizers import LBFGS, Adam, Optimizer
from layerkit.shapes import Slot


class Momentum(Optimizer):
    """Descent with a velocity that has the learning rate in it, as in scikit-learn.

    ::

        u ← momentum u - rate g
        p ← p + u                          (classical)
        p ← p + momentum u - rate g        (nesterov)

    `layerkit.optimizers.SGD` multiplies by the rate at the end, as PyTorch does: after a change of
    the rate that one takes whole steps of the new length at once.
    """

    memory = ("velocity",)
    rate_parameter = "learning_rate_init"

    def __init__(
        self,
        learning_rate: float = 0.001,
        *,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay)
        self.momentum = momentum
        self.nesterov = nesterov

    def update(
        self, p: np.ndarray, g: np.ndarray, rate: float, t: int, velocity: np.ndarray
    ) -> None:
        momentum = float(self.momentum)
        velocity *= momentum
        velocity -= rate * g
        p += momentum * velocity - rate * g if self.nesterov else velocity

    def coefficients(self, rate: float, t: int) -> tuple[float, ...]:
        momentum = float(self.momentum)
        ahead, now = (momentum, rate) if self.nesterov else (1.0, 0.0)
        return VELOCITY, momentum, rate, ahead, now


class PaperAdam(Adam):
    """`Adam` with eps beside the uncorrected ``sqrt(v)``, as in scikit-learn.

    ``p ← p - rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps)``, the faster form at the
    end of section 2 of the paper; `Adam`, like PyTorch, adds eps to the corrected ``sqrt(v̂)``.
    """

    rate_parameter = "learning_rate_init"

    def update(
        self, p: np.ndarray, g: np.ndarray, rate: float, t: int, m: np.ndarray, v: np.ndarray
    ) -> None:
        beta1, beta2 = map(float, self.betas)
        adam_step(p, g, m, v, rate, beta1, beta2, float(self.eps) / sqrt(1 - beta2**t), t)

    def coefficients(self, rate: float, t: int) -> tuple[float, ...]:
        rule, beta1, beta2, of_m, of_g, _ = super().coefficients(rate, t)
        return rule, beta1, beta2, of_m, of_g, float(self.eps)


class QuasiNewton(LBFGS):
    """`LBFGS` that remembers how its search ended; ``fun`` is the loss, with its penalty, there."""

    converged = False
    fun = np.nan

    @property
    def state(self) -> dict[str, Any]:
        """How the search ended; settable."""
        return {"converged": self.converged, "fun": self.fun}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.converged, self.fun = state.get("converged", False), state.get("fun", np.nan)

    def minimize(
        self,
        fun: Any,
        flat_params: np.ndarray,
        layout: Sequence[Slot] | None = None,
        callback: Any = None,
    ) -> Any:
        result = super().minimize(fun, flat_params, layout, callback)
        self.converged, self.fun = bool(result.success), float(result.fun)
        return result
