"""Activations and what backward makes of them: grad_output times the derivative.

The derivative takes y where it is a formula in y = f(x), else x and the gate s. NaN passes.
"""

import math

import numpy as np

from layerkit.kernels._numpy.elementwise import quietly, sigmoid

_SQRT_HALF = math.sqrt(1 / 2)
_SQRT_2_PI = math.sqrt(2 * math.pi)


def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0), as a clip to two bounds: half the time of np.maximum."""
    return x.clip(0, np.inf)


def relu_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Grad [y > 0]."""
    return grad * (y > 0)


def leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    """max(x, 0) + slope min(x, 0)."""
    return x.clip(0, np.inf) + slope * x.clip(-np.inf, 0)


def leaky_relu_grad(grad: np.ndarray, y: np.ndarray, slope: float) -> np.ndarray:
    """Grad where y > 0, else slope grad."""
    positive = (y > 0).astype(y.dtype)
    return grad * (positive + slope * (1 - positive))


def elu(x: np.ndarray, alpha: float, scale: float) -> np.ndarray:
    """Scale times x where x > 0, else scale alpha (exp(x) - 1)."""
    return scale * (x.clip(0, np.inf) + alpha * _expm1(x.clip(-np.inf, 0)))


@quietly
def _expm1(x: np.ndarray) -> np.ndarray:
    """exp(x) - 1 for x <= 0: 2 t / (1 - t) with t = tanh(x / 2), which loses no digits.

    In float32 that is three times as fast: NumPy's tanh is vectorised, its expm1 is not.
    """
    if x.dtype != np.float32:
        return np.expm1(x)
    t = np.tanh(0.5 * x)
    return 2 * t / (1 - t)


def elu_grad(grad: np.ndarray, y: np.ndarray, alpha: float, scale: float) -> np.ndarray:
    """Scale grad where y > 0, else (y + scale alpha) grad."""
    positive = (y > 0).astype(y.dtype)
    return grad * (scale * positive + (y.clip(-np.inf, 0) + scale * alpha) * (1 - positive))


def sigmoid_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Grad y (1 - y)."""
    return grad * (y * (1 - y))


def tanh(x: np.ndarray) -> np.ndarray:
    """tanh(x)."""
    return np.tanh(x)


def tanh_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Grad (1 - y²)."""
    return grad * (1 - y * y)


def softplus_grad(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Grad / (1 + exp(-x))."""
    return grad * sigmoid(x)


def gelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x s and the gate s = Φ(x), the normal distribution function."""
    from scipy.special import erfc

    s = erfc(-_SQRT_HALF * x) / 2  # 1 + erf would lose the digits of a nearly closed gate
    return x * s, s


def gelu_grad(grad: np.ndarray, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Grad (s + x exp(-x² / 2) / sqrt(2 π))."""
    return grad * (s + x * (np.exp(-0.5 * x * x) / _SQRT_2_PI))


def silu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x s and the gate s = sigmoid(x)."""
    s = sigmoid(x)
    return x * s, s


def silu_grad(grad: np.ndarray, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Grad (s + x s (1 - s))."""
    return grad * (s + x * s * (1 - s))


def mish(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x s and the gate s = tanh(softplus(x)) = n / (n + 2), n = exp(x) (exp(x) + 2)."""
    e = np.exp(x.clip(-np.inf, 20))  # beyond 20 the gate is 1 to the last bit
    n = e * (e + 2)
    s = n / (n + 2)
    return x * s, s


def mish_grad(grad: np.ndarray, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Grad (s + x (1 - s²) sigmoid(x))."""
    return grad * (s + x * (1 - s * s) * sigmoid(x))
