"""The fully connected layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from layerkit import initializers
from layerkit.initializers import Initializer
from layerkit.kernels import add_row, matmul, sum_rows
from layerkit.layer import Layer
from layerkit.parameters import is_size
from layerkit.shapes import Shape, size_of


class Dense(Layer):
    r"""Fully connected layer: one affine map of the last axis.

    .. math:: y = x W + b

    Parameters
    ----------
    units : int
        Number of outputs, at least 1.
    use_bias : bool, default=True
        Whether there is a ``b``.
    initializer : "auto" or callable (shape, rng) -> array, default="auto"
        Initial ``W``; "auto" suits the activation that follows (He for the ReLU family, LeCun for
        SELU, else Glorot). ``b`` starts at zero.

    Raises
    ------
    ValueError
        If ``units`` is not a positive integer, or the input has another shape than at ``build``.

    Notes
    -----
    Input ``(n_samples, ..., n_in)``, output ``(n_samples, ..., units)``; learned ``W``
    ``(n_in, units)`` and ``b`` ``(units,)``, which weight decay leaves alone. As the first layer it
    takes SciPy sparse rows and never makes them dense.

    Backward, with G the gradient of the output and rows for all leading axes:

    .. math:: \frac{\partial L}{\partial x} = G W^\top, \quad
              \frac{\partial L}{\partial W} = x^\top G, \quad
              \frac{\partial L}{\partial b} = \sum_{\text{rows}} G

    References
    ----------
    Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors",
    Nature 323, 1986.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense
    >>> layer = Dense(2).build(3, random_state=0, dtype=np.float64)
    >>> layer.params["W"][...] = [[1, 0], [0, 1], [1, 1]]
    >>> layer.forward([[1.0, 2.0, 3.0]]).tolist()
    [[4.0, 5.0]]
    >>> layer.backward([[1.0, 10.0]]).tolist()
    [[1.0, 10.0, 11.0]]
    >>> layer.grads["W"].tolist()
    [[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]
    """

    stepwise = True

    weight_init = staticmethod(initializers.glorot_uniform)

    def __init__(
        self, units: int, use_bias: bool = True, initializer: str | Initializer = "auto"
    ) -> None:
        self.units = units
        self.use_bias = use_bias
        self.initializer = initializer

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.units), "units", "a positive integer")
        self.check_input(len(input_shape) >= 1, "(n_samples, ..., n_in)")
        self.add_param("W", (input_shape[-1], self.units), self.resolve_initializer())
        if self.use_bias:
            self.add_param("b", (self.units,), initializers.zeros, decay=False)
        return (*input_shape[:-1], self.units)

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        if hasattr(x, "tocsr"):  # sparse rows stay sparse; an array, as matrix + dense is a matrix
            from scipy.sparse import csr_array

            return csr_array(x).astype(self.dtype, copy=False)
        return super().convert_input(x)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        y = matmul(x, self.params["W"])
        if self.use_bias:
            add_row(y, self.params["b"])
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        x, rows = self.cache, grad_output.reshape(-1, self.units)
        if x.ndim != 2:
            x = x.reshape(-1, x.shape[-1])
        if isinstance(x, np.ndarray):
            matmul(x.T, rows, out=self.grads["W"])
        else:  # sparse rows
            self.grads["W"][...] = x.T @ rows
        if self.use_bias:
            sum_rows(rows, out=self.grads["b"])
        return matmul(grad_output, self.params["W"].T) if self.needs_input_grad else None

    def multiply_adds(self) -> int:
        """One product for every weight and every row."""
        return size_of(self.input_shape) * self.units
