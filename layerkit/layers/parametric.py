"""An activation whose strength is learned."""

from __future__ import annotations

import numpy as np

from layerkit import initializers
from layerkit.kernels import sum_rows
from layerkit.layer import Layer
from layerkit.layers.containers import check_layers
from layerkit.parameters import in_range
from layerkit.shapes import Shape


class ParametricActivation(Layer):
    r"""An activation whose strength every channel learns, from none (the identity) to all and more.

    .. math:: y = x + a \, (f(x) - x)

    Parameters
    ----------
    activation : Layer
        f, such as ``SELU()`` or ``Mish()``: its output is shaped as its input.
    rate : float, default=0.1
        Factor on the learning rate of a, and on its weight decay; at least 0.

    Raises
    ------
    ValueError
        If ``rate`` is negative or not finite, or f gives another shape.

    Notes
    -----
    Input and output ``(n_samples, ..., channels)``. Learned ``a`` ``(channels,)``, initially 1:
    then y = f(x). A weight decay pulls a channel towards the identity.

    Backward, the sum running over all axes but the last:

    .. math:: \frac{\partial L}{\partial x} = (1 - a) \, G +
              \Big(\frac{\partial f}{\partial x}\Big)^{\!\top} (a \, G), \qquad
              \frac{\partial L}{\partial a} = \sum G \, (f(x) - x)

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data", NeurIPS 2024, arXiv:2407.04491.

    Examples
    --------
    >>> from layerkit import ParametricActivation, ReLU
    >>> layer = ParametricActivation(ReLU()).build(2, dtype="float64")
    >>> layer.params["a"][...] = [1.0, 0.75]
    >>> layer.forward([[-4.0, -4.0]]).tolist(), layer.backward([[1.0, 1.0]]).tolist()
    ([[0.0, -1.0]], [[0.0, 0.25]])
    >>> layer.grads["a"].tolist()
    [4.0, 4.0]
    """

    def __init__(self, activation: Layer, *, rate: float = 0.1) -> None:
        self.activation = activation
        self.rate = rate

    def children(self) -> list[tuple[str, Layer]]:
        check_layers(self, activation=self.activation)
        return [("activation", self.activation)]

    @property
    def weight_init(self) -> initializers.Initializer | None:  # type: ignore[override]
        """Initializer for a layer right before it."""
        return self.activation.weight_init

    def setup(self, input_shape: Shape) -> Shape:
        self.check(in_range(self.rate, 0), "rate", "a finite number >= 0")
        self.check_input(len(input_shape) >= 1, "(n_samples, ..., channels)")
        self.activation.take_place("activation", self.follower_init)
        given = self.activation.declare(input_shape)
        self.check(
            given == input_shape, "activation", f"a layer that keeps the shape {input_shape}"
        )
        self.add_param("a", input_shape[-1:], initializers.ones, decay=self.rate, rate=self.rate)
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return self._mixed(x, self.activation.forward(x, training))

    def infer(self, x: np.ndarray) -> np.ndarray:
        return x + self.params["a"] * (self.activation.infer(x) - x)

    def _mixed(self, x: np.ndarray, f: np.ndarray) -> np.ndarray:
        self.cache = change = f - x
        y = self.params["a"] * change
        y += x
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        products = grad_output * self.cache
        sum_rows(products.reshape(-1, products.shape[-1]), out=self.grads["a"])
        through = grad_output * self.params["a"]
        grad_input = grad_output - through
        grad_input += self.activation.backward(through)
        return grad_input
