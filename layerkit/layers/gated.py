"""Units with a gate: a number times how far its gate is open."""

from __future__ import annotations

import math

import numpy as np

from layerkit import initializers
from layerkit.kernels import gelu, gelu_grad, mish, mish_grad, sigmoid, silu, silu_grad
from layerkit.layer import Layer
from layerkit.layers.activations import Elementwise, hard_sigmoid, inside
from layerkit.parameters import is_flag
from layerkit.shapes import Shape

_SQRT_HALF = math.sqrt(1 / 2)
_SQRT_2_PI = math.sqrt(2 * math.pi)
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


class SelfGated(Elementwise):
    r"""A number that opens its own gate: close to x when positive, close to 0 when negative.

    .. math:: y = x \, s(x), \qquad f'(x) = s + x \, s'(x)

    A subclass defines ``gate`` and ``gate_derivative``. Both x and s are kept for backward, since
    the gate is expensive. One whose kernels compute y and s in one pass (``gated``), or the whole
    ``backward``, defines these too.
    """

    weight_init = staticmethod(initializers.he_uniform)

    def gate(self, x: np.ndarray) -> np.ndarray:
        """Return s(x), between 0 and 1."""
        raise NotImplementedError(f"{type(self).__name__} defines no gate")

    def gate_derivative(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Return s'(x), given s = s(x)."""
        raise NotImplementedError(f"{type(self).__name__} defines no gate_derivative")

    def gated(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return y and s."""
        s = self.gate(x)
        return x * s, s

    def function(self, x: np.ndarray) -> np.ndarray:
        return x * self.gate(x)

    def derivative(self, x: np.ndarray) -> np.ndarray:
        return self._derivative(x, self.gate(x))

    def _derivative(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return s + x * self.gate_derivative(x, s)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        y, s = self.gated(x)
        self.cache = x, s
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return grad_output * self._derivative(*self.cache)


class GELU(SelfGated):
    r"""Gaussian error linear unit: the gate is the probability that a normal number is below x.

    .. math:: y = x \, \Phi(x), \quad
              \Phi(x) = \tfrac12 \big(1 + \operatorname{erf}(x / \sqrt 2)\big), \qquad
              f'(x) = \Phi(x) + x \, \frac{e^{-x^2 / 2}}{\sqrt{2 \pi}}

    Parameters
    ----------
    approximate : bool, default=False
        Whether to use the gate s with tanh, up to 5e-4 away and faster, with its own derivative:

        .. math:: s = \tfrac12 (1 + \tanh u), \quad
                  u = \sqrt{2 / \pi} \, (x + 0.044715 x^3), \quad
                  s' = 2 s (1 - s) \, u'

    Raises
    ------
    ValueError
        If ``approximate`` is not a bool.

    Notes
    -----
    Input and output of any shape, values in [-0.1700, ∞), least at x = -0.7518; derivative in
    [-0.1289, 1.1289] ([-0.1290, 1.1290] if approximate), 1/2 at 0.
    Backward: :math:`\partial L / \partial x = G \, f'(x)`.

    References
    ----------
    Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", 2016, arXiv:1606.08415.

    Examples
    --------
    >>> layer = GELU()
    >>> layer.forward([[-1e4, -1.0, 0.0, 1.0]]).round(4).tolist()
    [[-0.0, -0.1587, 0.0, 0.8413]]
    >>> layer.backward([[1.0, 1.0, 1.0, 1.0]]).round(4).tolist()
    [[0.0, -0.0833, 0.5, 1.0833]]
    """

    too_many = "GELU's tanh form is GELU(approximate=True)"

    def __init__(self, *, approximate: bool = False) -> None:
        self.approximate = approximate

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_flag(self.approximate), "approximate", "True or False")
        return input_shape

    def gate(self, x: np.ndarray) -> np.ndarray:
        if self.approximate:  # (1 + tanh u) / 2 is the sigmoid of 2u
            return sigmoid(2 * _SQRT_2_OVER_PI * x * (1 + 0.044715 * x * x))
        from scipy.special import erfc

        return erfc(-_SQRT_HALF * x) / 2  # 1 + erf would lose the digits of a nearly closed gate

    def gate_derivative(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        if self.approximate:
            return 2 * s * (1 - s) * (_SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x))
        return np.exp(-0.5 * x * x) / _SQRT_2_PI

    def gated(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return super().gated(x) if self.approximate else gelu(x)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        if self.approximate:
            return super().backward(grad_output)
        return gelu_grad(grad_output, *self.cache)


class SiLU(SelfGated):
    r"""Sigmoid linear unit, also called swish.

    .. math:: y = x \, \sigma(x), \qquad
              f'(x) = \sigma(x) + x \, \sigma(x) (1 - \sigma(x))

    Notes
    -----
    Input and output of any shape, values in [-0.2785, ∞), least at x = -1.2785; derivative in
    [-0.0998, 1.0998], 1/2 at 0. Backward: :math:`\partial L / \partial x = G \, f'(x)`.

    References
    ----------
    Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", Neural Networks 107, 2018, arXiv:1702.03118.

    Examples
    --------
    >>> layer = SiLU()
    >>> layer.forward([[-1e4, -1.0, 0.0, 1.0]]).round(4).tolist()
    [[-0.0, -0.2689, 0.0, 0.7311]]
    >>> layer.backward([[1.0, 1.0, 1.0, 1.0]]).round(4).tolist()
    [[0.0, 0.0723, 0.5, 0.9277]]
    """

    gate = staticmethod(sigmoid)
    gated = staticmethod(silu)

    def gate_derivative(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return s * (1 - s)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return silu_grad(grad_output, *self.cache)


class Mish(SelfGated):
    r"""A smooth relative of SiLU with a sharper gate.

    .. math:: y = x \tanh(\operatorname{softplus}(x)), \qquad
              f'(x) = s + x \, (1 - s^2) \, \sigma(x)

    .. math:: s = \tanh(\log(1 + e^x)) = \frac{n}{n + 2}, \quad n = e^x (e^x + 2)

    Notes
    -----
    Input and output of any shape, values in [-0.3088, ∞), least at x = -1.1924; derivative in
    [-0.1125, 1.0885], 3/5 at 0. Backward: :math:`\partial L / \partial x = G \, f'(x)`.

    References
    ----------
    Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020,
    arXiv:1908.08681.

    Examples
    --------
    >>> layer = Mish()
    >>> layer.forward([[-1e4, -1.0, 0.0, 1.0]]).round(4).tolist()
    [[-0.0, -0.3034, 0.0, 0.8651]]
    >>> layer.backward([[1.0, 1.0, 1.0, 1.0]]).round(4).tolist()
    [[0.0, 0.0592, 0.6, 1.049]]
    """

    gated = staticmethod(mish)

    def gate(self, x: np.ndarray) -> np.ndarray:
        e = np.exp(x.clip(-np.inf, 20))  # beyond 20 the gate rounds to 1
        n = e * (e + 2)
        return n / (n + 2)

    def gate_derivative(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return (1 - s * s) * sigmoid(x)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return mish_grad(grad_output, *self.cache)


class HardSwish(SelfGated):
    r"""SiLU with the hard sigmoid for a gate: a parabola between 0 and x.

    .. math:: y = x \, s, \quad s = \min(\max(x / 6 + 1/2, 0), 1), \qquad
              f'(x) = \begin{cases} 0 & x \le -3 \\ x / 3 + 1/2 & |x| < 3 \\
                                     1 & x \ge 3 \end{cases}

    Notes
    -----
    Input and output of any shape, values in [-3/8, ∞), least at x = -3/2; derivative in
    (-1/2, 3/2), at the kinks x = ±3 that of the straight side, as in PyTorch.
    Backward: :math:`\partial L / \partial x = G \, f'(x)`.

    References
    ----------
    Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244.

    Examples
    --------
    >>> layer = HardSwish()
    >>> layer.forward([[-4.0, -1.5, 0.0, 3.0]]).tolist()
    [[-0.0, -0.375, 0.0, 3.0]]
    >>> layer.backward([[1.0, 1.0, 1.0, 1.0]]).tolist()
    [[0.0, 0.0, 0.5, 1.0]]
    """

    gate = staticmethod(hard_sigmoid)

    def gate_derivative(self, x: np.ndarray, s: np.ndarray) -> np.ndarray:
        return inside(s, 0, 1) / 6


class GLU(Layer):
    r"""Gated linear unit: the second half of the channels opens and closes the first.

    .. math:: x = [a, b], \qquad y = a \, \sigma(b)

    Raises
    ------
    ValueError
        If the number of channels is odd.

    Notes
    -----
    Input ``(n_samples, ..., 2 channels)``, output ``(n_samples, ..., channels)``, values in
    (-∞, ∞); the halves in PyTorch's order.

    Backward, with s = σ(b); the second derivative is at most \|a\| / 4:

    .. math:: \frac{\partial L}{\partial a} = G \, s, \qquad
              \frac{\partial L}{\partial b} = G \, a \, s (1 - s)

    References
    ----------
    Dauphin, Fan, Auli and Grangier, "Language modeling with gated convolutional networks",
    ICML 2017, arXiv:1612.08083.

    Examples
    --------
    >>> layer = GLU()
    >>> layer.forward([[4.0, 6.0, 0.0, 1e4]]).tolist()
    [[2.0, 6.0]]
    >>> layer.backward([[1.0, 1.0]]).tolist()
    [[0.5, 1.0, 1.0, 0.0]]
    """

    stepwise = True

    weight_init = staticmethod(initializers.glorot_uniform)

    def setup(self, input_shape: Shape) -> Shape:
        even = len(input_shape) >= 1 and input_shape[-1] % 2 == 0
        self.check_input(even, "an even number of channels, (n_samples, ..., 2 channels)")
        return (*input_shape[:-1], input_shape[-1] // 2)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        a, b = np.split(x, 2, axis=-1)
        s = sigmoid(b)
        self.cache = a, s
        return a * s

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        a, s = self.cache
        grad_a = grad_output * s
        return np.concatenate([grad_a, grad_a * a * (1 - s)], axis=-1)
