"""Probabilities that compete along one axis, and their logarithms."""

from __future__ import annotations

import numpy as np

from layerkit import initializers
from layerkit.kernels import log_softmax, softmax
from layerkit.layer import Layer
from layerkit.parameters import is_size
from layerkit.shapes import Shape


class _AlongAxis(Layer):
    """A function of all numbers along one axis."""

    weight_init = staticmethod(initializers.glorot_uniform)

    def __init__(self, axis: int = -1) -> None:
        self.axis = axis

    @property
    def stepwise(self) -> bool:  # type: ignore[override]
        """Whether each step is computed by itself: not if the axis is that of time."""
        return self.axis == -1

    def setup(self, input_shape: Shape) -> Shape:
        rank = len(input_shape) + 1
        ok = is_size(self.axis, least=1 - rank) and self.axis < rank and self.axis != 0
        expected = (
            f"an axis other than the batch axis 0, between {1 - rank} and {rank - 1}"
            if rank > 1
            else "another axis than the batch axis, but the input has no other"
        )
        self.check(ok, "axis", expected)
        return input_shape


class Softmax(_AlongAxis):
    r"""Probabilities from scores: positive numbers that sum to 1.

    .. math:: s_i = \frac{e^{x_i}}{\sum_j e^{x_j}}

    Parameters
    ----------
    axis : int, default=-1
        Axis along which they sum to 1, counted with the batch axis as 0 (which is refused).

    Raises
    ------
    ValueError
        If ``axis`` is the batch axis or does not exist.

    Notes
    -----
    Input and output of any shape, values in (0, 1). Backward is the product with the Jacobian
    :math:`\partial s_i / \partial x_j = s_i (\delta_{ij} - s_j)`, whose entries are in
    [-1/4, 1/4], never formed:

    .. math:: \frac{\partial L}{\partial x_i} = s_i \Big(G_i - \sum_j G_j s_j\Big)

    Before a cross-entropy leave it out: the loss takes x itself.

    References
    ----------
    Bridle, "Training stochastic model recognition algorithms as networks can lead to maximum mutual
    information estimation of parameters", NIPS 1989.

    Examples
    --------
    >>> layer = Softmax()
    >>> layer.forward([[0.0, 0.0], [1e4, -1e4]]).tolist()
    [[0.5, 0.5], [1.0, 0.0]]
    >>> layer.backward([[1.0, 0.0], [0.0, 1.0]]).tolist()
    [[0.25, -0.25], [0.0, 0.0]]
    """

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        s = self.cache = softmax(x, self.axis)
        return s

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        s = self.cache
        return s * (grad_output - (grad_output * s).sum(self.axis, keepdims=True))


class LogSoftmax(_AlongAxis):
    r"""Logarithms of softmax probabilities, exact also where these round to 0 or 1.

    .. math:: y_i = x_i - \log \sum_j e^{x_j}

    Parameters
    ----------
    axis : int, default=-1
        Axis along which the probabilities sum to 1, counted with the batch axis as 0 (which is
        refused).

    Raises
    ------
    ValueError
        If ``axis`` is the batch axis or does not exist.

    Notes
    -----
    Input and output of any shape, values in (-∞, 0). Backward, with s = exp(y) and the Jacobian
    :math:`\delta_{ij} - s_j`, whose entries are in (-1, 1):

    .. math:: \frac{\partial L}{\partial x_i} = G_i - s_i \sum_j G_j

    References
    ----------
    Bridle, "Training stochastic model recognition algorithms as networks can lead to maximum mutual
    information estimation of parameters", NIPS 1989.

    Examples
    --------
    >>> layer = LogSoftmax()
    >>> layer.forward([[0.0, 0.0], [1e4, -1e4]]).round(4).tolist()
    [[-0.6931, -0.6931], [0.0, -20000.0]]
    >>> layer.backward([[1.0, 0.0], [1.0, 0.0]]).round(4).tolist()
    [[0.5, -0.5], [0.0, 0.0]]
    """

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        y = self.cache = log_softmax(x, self.axis)
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return grad_output - np.exp(self.cache) * grad_output.sum(self.axis, keepdims=True)
