"""Standardise over a set of cells, then give every channel a scale and a shift.

Batch, layer and group normalization are one formula. They differ in M, the mean over the cells that
share their statistics::

    x_hat = s (x - M x)        s = 1 / sqrt(M (x - M x)² + eps)        y = gamma x_hat + beta

Backward. M puts the mean of a block of cells in place of each, so M M = M, and M is its own
transpose. With M x_hat = 0 the differentials are::

    ds      = -s² M(x_hat dx)
    d x_hat = s (dx - M dx) + (x - M x) ds  =  s (dx - M dx - x_hat M(x_hat dx))

This linear map of dx is its own transpose as well. So the same map takes g = gamma G, where G is
the gradient of the output, to the gradient of the input::

    dL/dx = s (g - M g - x_hat M(x_hat g))        dL/dgamma = sum G x_hat        dL/dbeta = sum G
"""

from __future__ import annotations

import numpy as np

from layerkit import initializers
from layerkit.kernels import along, channel_sums, long_rows
from layerkit.layer import Layer
from layerkit.parameters import is_number
from layerkit.shapes import Shape


class PerChannel(Layer):
    """A gain for every channel."""

    eps: float
    channels: int

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) >= 1, "(n_samples, ..., channels)")
        self.check(is_number(self.eps) and self.eps > 0, "eps", "a positive number")
        self.channels = input_shape[-1]
        self.add_param("gamma", (self.channels,), initializers.ones, decay=False)
        return input_shape


class Standardization(PerChannel):
    """The formula above; a subclass says how it arranges the cells, and what M is."""

    def setup(self, input_shape: Shape) -> Shape:
        output_shape = super().setup(input_shape)
        self.add_param("beta", (self.channels,), initializers.zeros, decay=False)
        return output_shape

    def arrange(self, x: np.ndarray) -> np.ndarray:
        """View the input in the shape in which M works."""
        raise NotImplementedError

    def mean(self, a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        """Return M a, or M(a b), in a shape that broadcasts against an arranged array."""
        raise NotImplementedError

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        cells = self.arrange(x)
        x_hat = cells - self.mean(cells)
        x_hat -= self.mean(x_hat)  # what rounding left of a mean far larger than the deviations
        inv_std = 1 / np.sqrt(self.mean(x_hat, x_hat) + self.eps)
        x_hat *= inv_std
        self.cache = x_hat, inv_std
        rows = long_rows(x_hat, self.channels)
        y = rows * along(rows, self.params["gamma"])
        y += along(y, self.params["beta"])
        return y.reshape(x.shape)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x_hat, inv_std = self.cache
        grad = long_rows(grad_output, self.channels)
        self.parameter_gradients(grad, x_hat)
        g = grad * along(grad, self.params["gamma"])
        g = g.reshape(x_hat.shape)
        mean, slope = self.mean(g), self.mean(g, x_hat)
        g -= mean
        g -= x_hat * slope
        g *= inv_std
        return g.reshape(grad_output.shape)

    def parameter_gradients(self, grad: np.ndarray, x_hat: np.ndarray) -> None:
        """Write the gradients of gamma and beta, of arrays in long rows."""
        self.grads["gamma"][...] = channel_sums(self.channels, grad, x_hat.reshape(grad.shape))
        self.grads["beta"][...] = channel_sums(self.channels, grad)
