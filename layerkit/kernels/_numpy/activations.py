"""Activations, softmax and their logarithms, and what backward makes of them.

``…_grad`` is ``grad``, the gradient of the output, times the derivative. That takes y where it is a
formula in y = f(x), else x and the gate s that forward returned. NaN passes. Sigmoid, softplus and
softmax do not overflow at any finite input, and are accurate relative to their own result: a
probability of 1e-40 or a log-probability of -1e-40 has as many correct digits as one near 1.

Other arguments::

    slope, alpha, scale   of the formula in the first line
    s                     the gate that the forward kernel returned with y
    axis                  along which probabilities sum to 1
"""

import math

import numpy as np
from numpy.typing import NDArray

from layerkit.kernels.dispatch import compiled

_SQRT_HALF = math.sqrt(1 / 2)
_SQRT_2_PI = math.sqrt(2 * math.pi)
# Of t⁹ ... 1 in erfcx(z) / t, exact to 1e-7.
_ERFCX = (
    *(-0.0286376246, 0.19282611, -0.486638147, 0.531239005, -0.270932905),
    *(0.264878755, 0.132154846, 0.214391054, 0.225015238, 0.225703677),
)
# An exponential that vanishes, or whose reciprocal does, is the right answer here, not an error.
quietly = np.errstate(under="ignore", over="ignore")


@compiled
@quietly
def sigmoid(x: NDArray) -> NDArray:
    """1 / (1 + exp(-x)).

    >>> import numpy as np
    >>> sigmoid(np.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    return 1 / (1 + np.exp(-x))


@compiled
@quietly
def softplus(x: NDArray) -> NDArray:
    """log(1 + exp(x)).

    >>> import numpy as np
    >>> softplus(np.array([-1e4, 0.0, 1e4])).round(4).tolist()
    [0.0, 0.6931, 10000.0]
    """
    return np.maximum(x, 0) + log1p(np.exp(-np.abs(x)))


def log1p(x: NDArray) -> NDArray:
    """log(1 + x) for x >= 0, twice as fast as NumPy's in float32, whose log is vectorised.

    With ``u = 1 + x`` rounded, ``1 + x = u (1 + (x - (u - 1)) / u)``: the last factor has what was
    lost, and so little that its logarithm is linear.

    >>> log1p(np.array([0.0, 1e-30, 1.0])).tolist()
    [0.0, 1e-30, 0.6931471805599453]
    """
    u = 1 + x
    return np.log(u) + (x - (u - 1)) / u


@compiled
def log_sigmoid(x: NDArray) -> NDArray:
    """log(sigmoid(x)) = -softplus(-x).

    >>> import numpy as np
    >>> log_sigmoid(np.array([-1e4, 0.0])).round(4).tolist()
    [-10000.0, -0.6931]
    """
    return -softplus(-x)


@compiled
@quietly
def softmax(x: NDArray, axis: int = -1) -> NDArray:
    """exp(x_i) / sum_j exp(x_j) along ``axis``.

    >>> import numpy as np
    >>> softmax(np.array([-1e4, 1e4, 1e4])).tolist()
    [0.0, 0.5, 0.5]
    """
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@compiled
@quietly
def log_softmax(x: NDArray, axis: int = -1) -> NDArray:
    """x_i - log(sum_j exp(x_j)) along ``axis``.

    >>> import numpy as np
    >>> log_softmax(np.array([0.0, 50.0])).tolist()
    [-50.0, -1.9287498479639178e-22]
    """
    shifted = x - x.max(axis, keepdims=True)
    # The largest terms are exactly 1. All but one 1 go to log1p, which keeps the small ones that
    # would be lost beside it.
    largest = shifted == 0
    ties = largest.sum(axis, keepdims=True, dtype=x.dtype) - 1
    return shifted - np.log1p((np.exp(shifted) - largest).sum(axis, keepdims=True) + ties)


@compiled
def relu(x: np.ndarray) -> np.ndarray:
    """max(x, 0), as a clip to two bounds: half the time of np.maximum."""
    return x.clip(0, np.inf)


@compiled
def relu_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``grad [y > 0]``."""
    return grad * (y > 0)


@compiled
def leaky_relu(x: np.ndarray, slope: float) -> np.ndarray:
    """max(x, 0) + slope min(x, 0)."""
    return x.clip(0, np.inf) + slope * x.clip(-np.inf, 0)


@compiled
def leaky_relu_grad(grad: np.ndarray, y: np.ndarray, slope: float) -> np.ndarray:
    """``grad`` where y > 0, else ``slope grad``."""
    positive = (y > 0).astype(y.dtype)
    return grad * (positive + slope * (1 - positive))


@compiled
def elu(x: np.ndarray, alpha: float, scale: float) -> np.ndarray:
    """``scale x`` where x > 0, else ``scale alpha (exp(x) - 1)``."""
    y = _expm1(x.clip(-np.inf, 0))
    y *= alpha
    y += x.clip(0, np.inf)
    y *= scale
    return y


@quietly
def _expm1(x: np.ndarray) -> np.ndarray:
    """exp(x) - 1 for x <= 0: 2 t / (1 - t) with t = tanh(x / 2), which loses no digits.

    In float32 that is three times as fast: NumPy's tanh is vectorised, its expm1 is not.
    """
    if x.dtype != np.float32:
        return np.expm1(x)
    t = 0.5 * x
    np.tanh(t, out=t)
    rest = 1 - t
    t *= 2
    t /= rest
    return t


@compiled
def elu_grad(grad: np.ndarray, y: np.ndarray, alpha: float, scale: float) -> np.ndarray:
    """``scale grad`` where y > 0, else ``(y + scale alpha) grad``."""
    positive = (y > 0).astype(y.dtype)
    slope = y.clip(-np.inf, 0)
    slope += scale * alpha
    slope *= 1 - positive
    positive *= scale
    slope += positive
    slope *= grad
    return slope


@compiled
def sigmoid_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``grad y (1 - y)``."""
    return grad * (y * (1 - y))


@compiled
def tanh(x: np.ndarray) -> np.ndarray:
    """tanh(x)."""
    return np.tanh(x)


@compiled
def tanh_grad(grad: np.ndarray, y: np.ndarray) -> np.ndarray:
    """``grad (1 - y²)``."""
    return grad * (1 - y * y)


@compiled
def softplus_grad(grad: np.ndarray, x: np.ndarray) -> np.ndarray:
    """``grad / (1 + exp(-x))``."""
    return grad * sigmoid(x)


@compiled
def gelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x s and the gate s = Φ(x), the normal distribution function."""
    s = _normal_gate(x)
    return x * s, s


@quietly
def _normal_gate(x: np.ndarray) -> np.ndarray:
    """Φ(x) = erfc(-x / sqrt(2)) / 2: 1 + erf would lose the digits of a nearly closed gate.

    In float32 ``Φ(-|x|) = erfcx(z) exp(-z²) / 2`` with ``z = |x| / sqrt(2)``. The scaled function
    ``erfcx(z) = exp(z²) erfc(z)`` falls like 1 / z, hence is a polynomial in
    ``t = 1 / (1 + 0.4 z)`` times t. That takes two thirds of SciPy's time.
    """
    if x.dtype != np.float32:
        from scipy.special import erfc

        return erfc(-_SQRT_HALF * x) / 2
    t = 1 / (1 + 0.4 * _SQRT_HALF * np.abs(x))
    tail = np.full_like(t, _ERFCX[0])
    for coefficient in _ERFCX[1:]:
        tail *= t
        tail += coefficient
    tail *= t
    tail *= 0.5 * np.exp(-0.5 * x * x)
    return np.where(x > 0, 1 - tail, tail)


@compiled
def gelu_grad(grad: np.ndarray, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """``grad (s + x exp(-x² / 2) / sqrt(2 π))``."""
    return grad * (s + x * (np.exp(-0.5 * x * x) / _SQRT_2_PI))


@compiled
def silu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x s and the gate s = sigmoid(x)."""
    s = sigmoid(x)
    return x * s, s


@compiled
def silu_grad(grad: np.ndarray, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """``grad (s + x s (1 - s))``."""
    return grad * (s + x * s * (1 - s))


@compiled
def mish(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x s and the gate s = tanh(softplus(x)) = n / (n + 2), n = exp(x) (exp(x) + 2)."""
    e = np.exp(x.clip(-np.inf, 20))  # beyond 20 the gate is 1 to the last bit
    n = e * (e + 2)
    s = n / (n + 2)
    return x * s, s


@compiled
def mish_grad(grad: np.ndarray, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """``grad (s + x (1 - s²) sigmoid(x))``."""
    return grad * (s + x * (1 - s * s) * sigmoid(x))
