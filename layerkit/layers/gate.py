"""A block whose output is scaled by a gate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from layerkit.layer import Layer
from layerkit.layers.branches import Parallel
from layerkit.layers.containers import check_layers
from layerkit.shapes import Shape


class Gate(Parallel):
    r"""A block and a gate on the same input, multiplied.

    .. math:: y = f(x) \odot g(x)

    Parameters
    ----------
    gate : Layer
        g, often a Sequential that ends in a Sigmoid. Its output is broadcast to that of the body:
        an axis of length 1 stands for a whole axis, and one number per channel for all positions.
    body : Layer, optional
        f; by default the identity.

    Raises
    ------
    ValueError
        If the output of the gate does not broadcast to that of the body.

    Notes
    -----
    Input ``(n_samples, ...)``, output of the same shape or, with a body, of its shape. A gate that
    starts with ``GlobalAvgPool2D`` is squeeze-and-excitation: every channel of an image is weighted
    according to the whole image.

    Backward is the product rule: each factor gets the gradient times the other factor. Where the
    gate was broadcast, its gradient is summed over these axes:

    .. math:: \frac{\partial L}{\partial x} =
              \Big(\frac{\partial f}{\partial x}\Big)^{\!\top} (G \odot g(x)) +
              \Big(\frac{\partial g}{\partial x}\Big)^{\!\top} \sum_{\text{stretched}} G \odot f(x)

    References
    ----------
    Hu, Shen and Sun, "Squeeze-and-excitation networks", CVPR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense, Gate, GlobalAvgPool2D, ReLU, Sequential, Sigmoid
    >>> excite = [GlobalAvgPool2D(), Dense(2), ReLU(), Dense(8), Sigmoid()]
    >>> block = Gate(Sequential(excite)).build((6, 6, 8), random_state=0)
    >>> block.forward(np.ones((3, 6, 6, 8))).shape
    (3, 6, 6, 8)
    """

    def __init__(self, gate: Layer, body: Layer | None = None) -> None:
        self.gate = gate
        self.body = body

    def children(self) -> list[tuple[str, Layer]]:
        layers = {"gate": self.gate}
        if self.body is not None:
            layers["body"] = self.body
        check_layers(self, **layers)
        return list(layers.items())

    def setup(self, input_shape: Shape) -> Shape:
        for name, layer in self.children():
            layer.take_place(name, self.follower_init)
        gate = self.gate.declare(input_shape)
        shape = input_shape if self.body is None else self.body.declare(input_shape)
        self._stretched = _stretched(gate, shape)
        if not _fits(self._stretched, shape):
            raise ValueError(
                f"in {self.where}: the gate gives {gate} a sample and the body {shape}, but they "
                "are multiplied: give a gate of the same shape, with axes of length 1, or with one "
                "number for each channel"
            )
        return shape

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        x = self.gate.convert_input(x)
        is_scaled = self.body is None and self.is_built
        return x.astype(self.dtype, copy=False) if is_scaled else x

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        f = x if self.body is None else self.body.forward(x, training)
        g = self._stretch(self.gate.forward(x, training))
        self.cache = f, g
        return f * g

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        f, g = self.cache
        grad_f, grad_g = grad_output * g, _sum_to(g.shape, grad_output * f)
        by_gate = self.gate.backward(grad_g.reshape(len(grad_g), *self.gate.output_shape))
        return by_gate + (grad_f if self.body is None else self.body.backward(grad_f))

    def infer(self, x: np.ndarray) -> np.ndarray:
        f = x if self.body is None else self.body.infer(x)
        return f * self._stretch(self.gate.infer(x))

    def _stretch(self, g: np.ndarray) -> np.ndarray:
        """Give the gate's output as many axes as the body's."""
        return g.reshape(len(g), *self._stretched)


def _stretched(gate: Shape, shape: Shape) -> Shape:
    """Put axes of length 1 in front, as many as the gate lacks."""
    return (*[1] * (len(shape) - len(gate)), *gate)


def _fits(gate: Shape, shape: Shape) -> bool:
    return len(gate) == len(shape) and all(g in (1, n) for g, n in zip(gate, shape, strict=True))


def _sum_to(shape: Shape, grad: np.ndarray) -> np.ndarray:
    """Sum over the axes that have length 1 in the shape."""
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and i > 0)
    return grad.sum(axis=axes, keepdims=True)
