"""ReLU and its relatives: positive numbers pass, negative ones are cut, scaled or levelled off."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerkit import initializers
from layerkit.edits import Constant
from layerkit.kernels import elu, elu_grad, leaky_relu, leaky_relu_grad, relu, relu_grad
from layerkit.layer import Layer
from layerkit.layers.activations import Elementwise, FromOutput
from layerkit.parameters import is_number, is_size
from layerkit.shapes import Shape, size_of


# Clipping to two bounds takes half the time of np.maximum and lets NaN through like it.
def positive_part(x: np.ndarray) -> np.ndarray:
    """Return max(x, 0)."""
    return x.clip(0, np.inf)


def negative_part(x: np.ndarray) -> np.ndarray:
    """Return min(x, 0)."""
    return x.clip(-np.inf, 0)


def is_positive(y: np.ndarray) -> np.ndarray:
    """Return 1 where y > 0, else 0, in the dtype of y."""
    return (y > 0).astype(y.dtype)


def one_or(slope: float | np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return 1 where x > 0, else ``slope`` (np.where takes ten times as long on mixed signs)."""
    positive = is_positive(x)
    return positive + slope * (1 - positive)


class ReLU(FromOutput):
    r"""Rectified linear unit: positive numbers pass, negative ones become zero.

    .. math:: y = \max(x, 0), \qquad
              f'(x) = \begin{cases} 1 & x > 0 \\ 0 & x \le 0 \end{cases}

    Notes
    -----
    Input and output of any shape, values in [0, ∞), derivative 0 or 1; 0 at the kink x = 0, as in
    PyTorch. Backward: :math:`\partial L / \partial x = G \, f'(x)`.

    A unit that is negative for every sample gets no gradient and stays dead. NaN stays NaN.

    References
    ----------
    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010.

    Examples
    --------
    >>> layer = ReLU()
    >>> layer.forward([[-2.0, 0.0, 3.0]]).tolist(), layer.backward([[5.0, 5.0, 5.0]]).tolist()
    ([[0.0, 0.0, 3.0]], [[0.0, 0.0, 5.0]])
    """

    weight_init = staticmethod(initializers.he_uniform)
    function = staticmethod(relu)
    derivative_from_output = staticmethod(is_positive)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        y = self.cache = self.function(x)
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return relu_grad(grad_output, self.cache)


class LeakyReLU(FromOutput):
    r"""ReLU that lets a little of the negative numbers through, so that no unit dies.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad
              f'(x) = \begin{cases} 1 & x > 0 \\ a & x \le 0 \end{cases}

    Parameters
    ----------
    negative_slope : float, default=0.01
        a, a finite number of at least 0.

    Raises
    ------
    ValueError
        If ``negative_slope`` is negative or not a number (y would not tell the sign of x).

    Notes
    -----
    Input and output of any shape, values in (-∞, ∞), derivative a or 1; a at the kink x = 0, as in
    PyTorch. Backward: :math:`\partial L / \partial x = G \, f'(x)`.

    References
    ----------
    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models",
    ICML 2013.

    Examples
    --------
    >>> layer = LeakyReLU(negative_slope=0.25)
    >>> layer.forward([[-2.0, 3.0]]).tolist(), layer.backward([[4.0, 4.0]]).tolist()
    ([[-0.5, 3.0]], [[1.0, 4.0]])
    """

    weight_init = staticmethod(initializers.he_uniform)

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def setup(self, input_shape: Shape) -> Shape:
        ok = is_number(self.negative_slope) and self.negative_slope >= 0
        self.check(ok, "negative_slope", "a finite number of at least 0")
        return input_shape

    def function(self, x: np.ndarray) -> np.ndarray:
        return leaky_relu(x, float(self.negative_slope))

    def derivative_from_output(self, y: np.ndarray) -> np.ndarray:
        return one_or(float(self.negative_slope), y)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return leaky_relu_grad(grad_output, self.cache, float(self.negative_slope))


class PReLU(Elementwise):
    r"""Leaky ReLU that learns its slope, one for each channel.

    .. math:: y = \max(x, 0) + a \min(x, 0), \qquad
              f'(x) = \begin{cases} 1 & x > 0 \\ a & x \le 0 \end{cases}

    Notes
    -----
    Input and output ``(n_samples, ..., channels)``, values in (-∞, ∞), derivative a or 1 (a at the
    kink x = 0). Learned: ``negative_slope`` ``(channels,)``, that is a, starting at 1/4. Weight
    decay leaves it alone: it would pull the function towards ReLU. The paper's channel-wise
    variant; PyTorch's default shares one slope between all channels.

    Backward, the sum running over all axes but the last:

    .. math:: \frac{\partial L}{\partial x} = G \, f'(x), \qquad
              \frac{\partial L}{\partial a} = \sum G \min(x, 0)

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015, arXiv:1502.01852.

    Examples
    --------
    >>> layer = PReLU().build(2, dtype="float64")
    >>> layer.forward([[-2.0, 3.0]]).tolist(), layer.backward([[4.0, 4.0]]).tolist()
    ([[-0.5, 3.0]], [[1.0, 4.0]])
    >>> layer.grads["negative_slope"].tolist()
    [-8.0, 0.0]
    """

    weight_init = staticmethod(initializers.he_uniform)

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) >= 1, "(n_samples, ..., channels)")
        quarter = initializers.constant(0.25)
        self.add_param("negative_slope", input_shape[-1:], quarter, decay=False)
        return input_shape

    def function(self, x: np.ndarray) -> np.ndarray:
        return positive_part(x) + self.params["negative_slope"] * negative_part(x)

    def derivative(self, x: np.ndarray) -> np.ndarray:
        return one_or(self.params["negative_slope"], x)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        rows = tuple(range(grad_output.ndim - 1))
        np.sum(grad_output * negative_part(self.cache), rows, out=self.grads["negative_slope"])
        return super().backward(grad_output)


class ELU(FromOutput):
    r"""Exponential linear unit: negative numbers level off smoothly at -α.

    .. math:: y = \begin{cases} x & x > 0 \\ \alpha (e^x - 1) & x \le 0 \end{cases}, \qquad
              f'(x) = \begin{cases} 1 & x > 0 \\ y + \alpha & x \le 0 \end{cases}

    Parameters
    ----------
    alpha : float, default=1.0
        α, a finite number of at least 0.

    Raises
    ------
    ValueError
        If ``alpha`` is negative or not a number (y would not tell the sign of x).

    Notes
    -----
    Input and output of any shape, values in (-α, ∞), derivative in (0, max(1, α)]; α at x = 0,
    which is a kink unless α = 1. Backward: :math:`\partial L / \partial x = G \, f'(x)`.

    References
    ----------
    Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential
    linear units (ELUs)", ICLR 2016, arXiv:1511.07289.

    Examples
    --------
    >>> layer = ELU()
    >>> layer.forward([[-1e4, -1.0, 3.0]]).round(4).tolist()
    [[-1.0, -0.6321, 3.0]]
    >>> layer.backward([[1.0, 1.0, 1.0]]).round(4).tolist()
    [[0.0, 0.3679, 1.0]]
    """

    weight_init = staticmethod(initializers.he_uniform)

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def setup(self, input_shape: Shape) -> Shape:
        ok = is_number(self.alpha) and self.alpha >= 0
        self.check(ok, "alpha", "a finite number of at least 0")
        return input_shape

    def function(self, x: np.ndarray) -> np.ndarray:
        return elu(x, float(self.alpha), 1.0)

    def derivative_from_output(self, y: np.ndarray) -> np.ndarray:
        return one_or(negative_part(y) + float(self.alpha), y)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return elu_grad(grad_output, self.cache, float(self.alpha), 1.0)


class SELU(FromOutput):
    r"""ELU scaled such that mean 0 and variance 1 reproduce themselves from layer to layer.

    .. math:: y = \lambda \begin{cases} x & x > 0 \\ \alpha (e^x - 1) & x \le 0 \end{cases},
              \qquad
              f'(x) = \begin{cases} \lambda & x > 0 \\ y + \lambda\alpha & x \le 0 \end{cases}

    with λ = 1.0507… and α = 1.6733…, the fixed point of the paper.

    Notes
    -----
    Input and output of any shape, values in (-1.7581, ∞), derivative in (0, 1.7581] (λα at the kink
    x = 0). Backward: :math:`\partial L / \partial x = G \, f'(x)`.

    It normalises only with LeCun normal weights before it (what "auto" chooses) and AlphaDropout in
    place of Dropout.

    References
    ----------
    Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NeurIPS 2017,
    arXiv:1706.02515.

    Examples
    --------
    >>> layer = SELU()
    >>> layer.forward([[-1e4, 0.0, 1.0]]).round(4).tolist()
    [[-1.7581, 0.0, 1.0507]]
    >>> layer.backward([[1.0, 1.0, 1.0]]).round(4).tolist()
    [[0.0, 1.7581, 1.0507]]
    """

    weight_init = staticmethod(initializers.lecun_normal)

    ALPHA: Any = Constant(1.6732632423543772848170429916717)
    LAMBDA: Any = Constant(1.0507009873554804934193349852946)

    def function(self, x: np.ndarray) -> np.ndarray:
        return elu(x, self.ALPHA, self.LAMBDA)

    def derivative_from_output(self, y: np.ndarray) -> np.ndarray:
        return self.LAMBDA * one_or(negative_part(y) / self.LAMBDA + self.ALPHA, y)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return elu_grad(grad_output, self.cache, self.ALPHA, self.LAMBDA)


class Maxout(Layer):
    r"""The largest of several affine maps: a convex, piecewise linear function that is learned.

    .. math:: z_{pu} = x W_{pu} + b_{pu}, \qquad y_u = \max_p z_{pu}

    Parameters
    ----------
    units : int
        Number of outputs, at least 1.
    pieces : int
        Number of affine maps for each output, at least 1. Two can learn ReLU or the absolute value.

    Raises
    ------
    ValueError
        If ``units`` or ``pieces`` is not a positive integer.

    Notes
    -----
    Input ``(n_samples, ..., n_in)``, output ``(n_samples, ..., units)``. Learned: ``W``
    ``(n_in, pieces * units)``, from He uniform, and ``b`` ``(pieces * units,)``, from zero and
    exempt from weight decay; piece p of unit u is column ``p * units + u``.

    Backward: only the piece that won gets the gradient, the first one if several are equal. With
    :math:`Z_{pu} = G_u` for the winner and 0 for the others, rows for all leading axes:

    .. math:: \frac{\partial L}{\partial x} = Z W^\top, \quad
              \frac{\partial L}{\partial W} = x^\top Z, \quad
              \frac{\partial L}{\partial b} = \sum_{\text{rows}} Z

    References
    ----------
    Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", ICML 2013,
    arXiv:1302.4389.

    Examples
    --------
    The absolute value is max(x, -x):

    >>> layer = Maxout(units=1, pieces=2).build(1, dtype="float64")
    >>> layer.params["W"][...] = [[1.0, -1.0]]
    >>> layer.forward([[-3.0], [2.0]]).tolist(), layer.backward([[1.0], [1.0]]).tolist()
    ([[3.0], [2.0]], [[-1.0], [1.0]])
    """

    # For layers before it Maxout is what Dense is: an affine map.
    stepwise = True
    weight_init = staticmethod(initializers.glorot_uniform)

    def __init__(self, units: int, pieces: int) -> None:
        self.units = units
        self.pieces = pieces

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.units), "units", "a positive integer")
        self.check(is_size(self.pieces), "pieces", "a positive integer")
        self.check_input(len(input_shape) >= 1, "(n_samples, ..., n_in)")
        columns = self.pieces * self.units
        self.add_param("W", (input_shape[-1], columns), initializers.he_uniform)
        self.add_param("b", (columns,), initializers.zeros, decay=False)
        return (*input_shape[:-1], self.units)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        z = x @ self.params["W"] + self.params["b"]
        z = z.reshape(*x.shape[:-1], self.pieces, self.units)
        winner = z.argmax(axis=-2, keepdims=True)
        self.cache = x, winner
        return np.take_along_axis(z, winner, axis=-2).squeeze(-2)

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        x, winner = self.cache
        W = self.params["W"]
        won = winner == np.arange(self.pieces)[:, np.newaxis]
        rows = (grad_output[..., np.newaxis, :] * won).reshape(-1, W.shape[1])
        self.grads["W"][...] = x.reshape(-1, W.shape[0]).T @ rows
        np.sum(rows, axis=0, out=self.grads["b"])
        return (rows @ W.T).reshape(x.shape) if self.needs_input_grad else None

    def multiply_adds(self) -> int:
        """One product for every weight and every row."""
        return size_of(self.input_shape) * self.pieces * self.units
