"""Elementwise functions, each a formula with its derivative, and the saturating ones among them."""

from __future__ import annotations

import numpy as np

from layerkit import initializers
from layerkit.kernels import sigmoid, sigmoid_grad, softplus, softplus_grad, tanh, tanh_grad
from layerkit.layer import Layer
from layerkit.parameters import is_number
from layerkit.shapes import Shape


def hard_sigmoid(x: np.ndarray) -> np.ndarray:
    """Return x / 6 + 1/2, clipped to [0, 1]."""
    return ((x + 3) / 6).clip(0, 1)


def inside(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return 1 where low < x < high, else 0, in the dtype of x."""
    return ((x > low) & (x < high)).astype(x.dtype)


class Elementwise(Layer):
    r"""A function applied to every number on its own: the base of most activations.

    .. math:: y = f(x)

    A subclass defines ``function`` and ``derivative``, from arrays to arrays of the same shape. One
    with a kernel for the product of gradient and derivative also defines ``backward``.

    Notes
    -----
    Input and output of any shape, the same. Backward, G being the gradient of the output:

    .. math:: \frac{\partial L}{\partial x} = G \, f'(x)

    Where f has a kink, ``derivative`` returns the slope on one of its sides. NaN passes through.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit.layers.activations import Elementwise
    >>> class Sine(Elementwise):
    ...     def function(self, x):
    ...         return np.sin(x)
    ...
    ...     def derivative(self, x):
    ...         return np.cos(x)
    >>> layer = Sine()
    >>> layer.forward([[0.0, np.pi / 2]]).tolist(), layer.backward([[5.0, 5.0]]).round(9).tolist()
    ([[0.0, 1.0]], [[5.0, 0.0]])
    """

    stepwise = True

    def function(self, x: np.ndarray) -> np.ndarray:
        """Return f(x)."""
        raise NotImplementedError(f"{type(self).__name__} defines no function")

    def derivative(self, x: np.ndarray) -> np.ndarray:
        """Return f'(x)."""
        raise NotImplementedError(f"{type(self).__name__} defines no derivative")

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        return self.function(x)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return grad_output * self.derivative(self.cache)


class FromOutput(Elementwise):
    """An elementwise function whose derivative is a formula in y = f(x).

    Only y is kept for backward, which the following layer usually keeps anyway. A subclass defines
    ``function`` and ``derivative_from_output``.
    """

    def derivative_from_output(self, y: np.ndarray) -> np.ndarray:
        """Return f'(x), given y = f(x)."""
        raise NotImplementedError(f"{type(self).__name__} defines no derivative_from_output")

    def derivative(self, x: np.ndarray) -> np.ndarray:
        return self.derivative_from_output(self.function(x))

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        y = self.cache = self.function(x)
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return grad_output * self.derivative_from_output(self.cache)


class Identity(FromOutput):
    r"""The identity, for a branch or a shortcut that changes nothing.

    .. math:: y = x, \qquad f'(x) = 1

    Notes
    -----
    Input and output of any shape; y is a copy. Backward: :math:`\partial L / \partial x = G`.
    Initial weights before it suit the activation after it.

    Examples
    --------
    >>> Identity().forward([[1.0, -2.0]]).tolist()
    [[1.0, -2.0]]
    """

    def function(self, x: np.ndarray) -> np.ndarray:
        return x.copy()

    def derivative_from_output(self, y: np.ndarray) -> np.ndarray:
        return np.ones_like(y)


class Sigmoid(FromOutput):
    r"""The logistic function: a number squeezed into a probability.

    .. math:: y = \sigma(x) = \frac{1}{1 + e^{-x}}, \qquad f'(x) = y (1 - y)

    Notes
    -----
    Input and output of any shape, values in (0, 1), derivative in (0, 1/4]: through n sigmoids a
    gradient shrinks at least by 4⁻ⁿ. Backward: :math:`\partial L / \partial x = G \, y (1 - y)`.

    Saturates: in float32 the derivative is exactly 0 above x = 17, in float64 above 37. Before a
    cross-entropy leave it out: the loss takes x itself.

    References
    ----------
    Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors",
    Nature 323, 1986.

    Examples
    --------
    >>> layer = Sigmoid()
    >>> layer.forward([[-1e4, 0.0, 1e4]]).tolist(), layer.backward([[1.0, 1.0, 1.0]]).tolist()
    ([[0.0, 0.5, 1.0]], [[0.0, 0.25, 0.0]])
    """

    weight_init = staticmethod(initializers.glorot_uniform)
    function = staticmethod(sigmoid)

    def derivative_from_output(self, y: np.ndarray) -> np.ndarray:
        return y * (1 - y)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return sigmoid_grad(grad_output, self.cache)


class HardSigmoid(FromOutput):
    r"""A sigmoid of three straight lines.

    .. math:: y = \min(\max(x / 6 + 1/2, 0), 1), \qquad
              f'(x) = \begin{cases} 1/6 & |x| < 3 \\ 0 & \text{else} \end{cases}

    Notes
    -----
    Input and output of any shape, values in [0, 1], derivative 0 or 1/6; 0 at the kinks x = ±3, as
    in PyTorch. Backward: :math:`\partial L / \partial x = G \, f'(x)`. Outside ±3 the
    gradient is zero. The slope is that of the paper.

    References
    ----------
    Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244.

    Examples
    --------
    >>> layer = HardSigmoid()
    >>> layer.forward([[-4.0, 0.0, 1.5, 4.0]]).tolist()
    [[0.0, 0.5, 0.75, 1.0]]
    >>> layer.backward([[6.0, 6.0, 6.0, 6.0]]).tolist()
    [[0.0, 1.0, 1.0, 0.0]]
    """

    weight_init = staticmethod(initializers.glorot_uniform)
    function = staticmethod(hard_sigmoid)

    def derivative_from_output(self, y: np.ndarray) -> np.ndarray:
        return inside(y, 0, 1) / 6


class Tanh(FromOutput):
    r"""The hyperbolic tangent: a sigmoid centred at 0.

    .. math:: y = \tanh x = \frac{e^x - e^{-x}}{e^x + e^{-x}}, \qquad f'(x) = 1 - y^2

    Notes
    -----
    Input and output of any shape, values in (-1, 1), derivative in (0, 1].
    Backward: :math:`\partial L / \partial x = G \, (1 - y^2)`.

    Saturates: in float32 the derivative is exactly 0 beyond \|x\| = 9, in float64 beyond 19.

    References
    ----------
    LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998.

    Examples
    --------
    >>> layer = Tanh()
    >>> layer.forward([[-1e4, 0.0, 1e4]]).tolist(), layer.backward([[1.0, 1.0, 1.0]]).tolist()
    ([[-1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]])
    """

    weight_init = staticmethod(initializers.glorot_uniform)
    function = staticmethod(tanh)

    def derivative_from_output(self, y: np.ndarray) -> np.ndarray:
        return 1 - y * y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return tanh_grad(grad_output, self.cache)


class HardTanh(FromOutput):
    r"""A tanh of three straight lines.

    .. math:: y = \min(\max(x, a), b), \qquad
              f'(x) = \begin{cases} 1 & a < x < b \\ 0 & \text{else} \end{cases}

    Parameters
    ----------
    low : float, default=-1.0
        a, finite.
    high : float, default=1.0
        b, finite and above a. From 0 to 6 the function is called ReLU6.

    Raises
    ------
    ValueError
        If ``low`` or ``high`` is not a finite number, or ``low`` not below ``high``.

    Notes
    -----
    Input and output of any shape, values in [a, b], derivative 0 or 1; 0 at the kinks a and b, as
    in PyTorch. Backward: :math:`\partial L / \partial x = G \, f'(x)`. Outside of [a, b] nothing
    is learned.

    References
    ----------
    Collobert, "Large scale machine learning", thesis, Université Paris 6, 2004.

    Examples
    --------
    >>> layer = HardTanh()
    >>> layer.forward([[-4.0, 0.5, 4.0]]).tolist(), layer.backward([[1.0, 1.0, 1.0]]).tolist()
    ([[-1.0, 0.5, 1.0]], [[0.0, 1.0, 0.0]])
    >>> HardTanh(0, 6).forward([[-4.0, 5.0, 8.0]]).tolist()
    [[0.0, 5.0, 6.0]]
    """

    weight_init = staticmethod(initializers.glorot_uniform)
    low, high = -1.0, 1.0  # for pickles from before they were parameters

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        self.low = low
        self.high = high

    def setup(self, input_shape: Shape) -> Shape:
        for name, bound in (("low", self.low), ("high", self.high)):
            self.check(is_number(bound), name, "a finite number")
        self.check(self.low < self.high, "low", f"below high={self.high}")
        return input_shape

    def function(self, x: np.ndarray) -> np.ndarray:
        return x.clip(float(self.low), float(self.high))

    def derivative_from_output(self, y: np.ndarray) -> np.ndarray:
        return inside(y, float(self.low), float(self.high))


class Softplus(Elementwise):
    r"""A smooth ReLU, positive everywhere: for scales and rates.

    .. math:: y = \log(1 + e^x), \qquad f'(x) = \sigma(x) = \frac{1}{1 + e^{-x}}

    Notes
    -----
    Input and output of any shape, values in (0, ∞), derivative in (0, 1).
    Backward: :math:`\partial L / \partial x = G \, \sigma(x)`.

    Exact where PyTorch returns x itself (above its threshold of 20). y rounds to 0 below x = -103
    in float32, -745 in float64.

    References
    ----------
    Dugas, Bengio, Bélisle, Nadeau and Garcia, "Incorporating second-order functional knowledge for
    better option pricing", NIPS 2000.

    Examples
    --------
    >>> layer = Softplus()
    >>> layer.forward([[-1e4, 0.0, 1e4]]).round(4).tolist()
    [[0.0, 0.6931, 10000.0]]
    >>> layer.backward([[1.0, 1.0, 1.0]]).tolist()
    [[0.0, 0.5, 1.0]]
    """

    weight_init = staticmethod(initializers.he_uniform)
    function = staticmethod(softplus)
    derivative = staticmethod(sigmoid)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return softplus_grad(grad_output, self.cache)


class Softsign(Elementwise):
    r"""A sigmoid that approaches ±1 as 1/x does, much more slowly than tanh.

    .. math:: y = \frac{x}{1 + |x|}, \qquad f'(x) = \frac{1}{(1 + |x|)^2}

    Notes
    -----
    Input and output of any shape, values in (-1, 1), derivative in (0, 1].
    Backward: :math:`\partial L / \partial x = G / (1 + |x|)^2`.

    References
    ----------
    Turian, Bergstra and Bengio, "Quadratic features and deep architectures for chunking",
    NAACL 2009.

    Examples
    --------
    >>> layer = Softsign()
    >>> layer.forward([[-3.0, 0.0, 1.0]]).tolist(), layer.backward([[1.0, 1.0, 1.0]]).tolist()
    ([[-0.75, 0.0, 0.5]], [[0.0625, 1.0, 0.25]])
    """

    weight_init = staticmethod(initializers.glorot_uniform)

    def function(self, x: np.ndarray) -> np.ndarray:
        return x / (1 + np.abs(x))

    def derivative(self, x: np.ndarray) -> np.ndarray:
        return np.square(1 / (1 + np.abs(x)))
