"""Update rules hot enough to deserve a fused twin: on equally long vectors, in place, `grads` kept.

The optimizer hands them pieces that fit a core's cache, where whole-array expressions with their
temporaries run within a tenth of hand-written ``out=`` arithmetic.
"""

from math import sqrt

import numpy as np


def sgd_step(
    params: np.ndarray,
    grads: np.ndarray,
    velocity: np.ndarray,
    rate: float,
    momentum: float,
    nesterov: bool,
) -> None:
    """One step ``u ← momentum u + g;  p ← p - rate u``, with Nesterov ``rate (g + momentum u)``."""
    velocity *= momentum
    velocity += grads
    params -= rate * (grads + momentum * velocity if nesterov else velocity)


def adam_step(
    params: np.ndarray,
    grads: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: int,
) -> None:
    """One step ``p ← p - rate m̂ / (sqrt(v̂) + eps)``, m and v being averages of g and g².

    ``m̂ = m / (1 - beta1^t)`` and ``v̂ = v / (1 - beta2^t)`` undo the start at zero. Since
    ``sqrt(v̂) + eps = (sqrt(v) + c eps) / c`` with ``c = sqrt(1 - beta2^t)``, both corrections act
    on numbers instead of on vectors.
    """
    moving_average(m, grads, beta1)
    moving_average(v, grads * grads, beta2)
    c = sqrt(1 - beta2**t)
    params -= rate * c / (1 - beta1**t) * m / (np.sqrt(v) + c * eps)


def moving_average(mean: np.ndarray, x: np.ndarray, beta: float) -> None:
    """Exponential moving average: ``mean ← beta mean + (1 - beta) x``."""
    mean *= beta
    mean += (1 - beta) * x
