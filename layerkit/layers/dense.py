"""Fully connected layers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from layerkit import initializers
from layerkit.initializers import Initializer
from layerkit.kernels import add_row, matmul, sum_rows
from layerkit.layer import Layer
from layerkit.parameters import in_range, is_flag, is_size
from layerkit.shapes import Shape, size_of


class Dense(Layer):
    r"""Fully connected layer: one affine map of the last axis.

    .. math:: y = x W + b

    Parameters
    ----------
    units : int
        Number of outputs, at least 1.
    use_bias : bool, default=True
        Whether to add a bias ``b``.
    initializer : "auto" or callable (shape, rng) -> array, default="auto"
        Initializer of ``W``; "auto" suits the activation that follows (He for the ReLU family,
        LeCun for SELU, otherwise Glorot). ``b`` starts at zero.

    Raises
    ------
    ValueError
        If ``units`` is not a positive integer, or the input's shape is not that given to ``build``.

    Notes
    -----
    Input ``(n_samples, ..., n_in)``, output ``(n_samples, ..., units)``; learned ``W``
    ``(n_in, units)`` and ``b`` ``(units,)``, which is exempt from weight decay. As the first layer
    it takes SciPy sparse rows, which it never makes dense.

    Backward, with G the gradient of the output, and the leading axes as rows:

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

    too_many = (
        "PyTorch's Linear(4, 8) is Dense(8): build counts the inputs; an activation is a layer of "
        "its own: Dense(8), ReLU()"
    )
    stepwise = True

    weight_init = staticmethod(initializers.glorot_uniform)

    def __init__(
        self, units: int, *, use_bias: bool = True, initializer: str | Initializer = "auto"
    ) -> None:
        self.units = units
        self.use_bias = use_bias
        self.initializer = initializer

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.units), "units", "a positive integer")
        self.check(is_flag(self.use_bias), "use_bias", "True or False")
        self.check_input(len(input_shape) >= 1, "(n_samples, ..., n_in)")
        self.add_param("W", (input_shape[-1], self.units), self.resolve_initializer())
        if self.use_bias:
            self.add_param("b", (self.units,), initializers.zeros, decay=False)
        return (*input_shape[:-1], self.units)

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        if hasattr(x, "tocsr"):  # sparse rows stay sparse; an array, as matrix + dense is a matrix
            from scipy.sparse import csr_array

            return self.cast(csr_array(x))
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
        matmul(x.T, rows, out=self.grads["W"])
        if self.use_bias:
            sum_rows(rows, out=self.grads["b"])
        return matmul(grad_output, self.params["W"].T) if self.needs_input_grad else None

    def multiply_adds(self) -> int:
        """One product for every weight and every row."""
        return size_of(self.input_shape) * self.units


class NTKDense(Layer):
    r"""Fully connected layer with weights of unit size: their scale stands in the formula.

    .. math:: y = \frac{1}{\sqrt{n}} \, x W + b

    with n the number of inputs. The function is that of `Dense`; but with one learning rate for all
    layers, a step of W changes y as much in a wide layer as in a narrow one.

    Parameters
    ----------
    units : int
        Number of outputs, at least 1.
    bias_rate : float, default=0.1
        Factor on the learning rate of b; at least 0.

    Raises
    ------
    ValueError
        If ``units`` is not a positive integer, or ``bias_rate`` is negative or not finite.

    Notes
    -----
    Input ``(n_samples, n)``, output ``(n_samples, units)``; learned ``W`` ``(n, units)``, initially
    standard normal, and ``b`` ``(units,)``, initially 0, which is exempt from weight decay.

    `adapt` fits them to data: the columns of W are scaled so that every output has unit variance,
    and b places the zero of every unit, where an activation bends, at a random mean of five rows.

    Backward, with G the gradient of the output:

    .. math:: \frac{\partial L}{\partial x} = \frac{1}{\sqrt{n}} \, G W^\top, \quad
              \frac{\partial L}{\partial W} = \frac{1}{\sqrt{n}} \, x^\top G, \quad
              \frac{\partial L}{\partial b} = \sum_{\text{rows}} G

    References
    ----------
    Jacot, Gabriel and Hongler, "Neural tangent kernel: convergence and generalization in neural
    networks", NeurIPS 2018, arXiv:1806.07572; initial values from data as in Holzmüller,
    Grinsztajn and Steinwart, NeurIPS 2024, arXiv:2407.04491.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import NTKDense
    >>> layer = NTKDense(1).build(4, dtype=np.float64)
    >>> layer.params["W"][...] = [[2], [4], [6], [8]]
    >>> layer.forward([[1.0, 1.0, 1.0, 1.0]]).tolist(), layer.backward([[1.0]]).tolist()
    ([[10.0]], [[1.0, 2.0, 3.0, 4.0]])
    """

    adapts = True

    def __init__(self, units: int, *, bias_rate: float = 0.1) -> None:
        self.units = units
        self.bias_rate = bias_rate

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.units), "units", "a positive integer")
        self.check(in_range(self.bias_rate, 0), "bias_rate", "a finite number >= 0")
        self.check_input(len(input_shape) == 1, "(n_samples, n)")
        self.add_param("W", (input_shape[0], self.units), initializers.normal(stddev=1.0))
        self.add_param("b", (self.units,), initializers.zeros, decay=False, rate=self.bias_rate)
        return (self.units,)

    @property
    def factor(self) -> np.floating:
        """The factor 1 / √n, in the network's dtype."""
        return self.dtype.type(1 / math.sqrt(self.input_shape[0]))

    def adapt(self, x: np.ndarray) -> None:
        """Give every output unit variance on the data, and every unit a zero among them.

        Parameters
        ----------
        x : ndarray of shape (n_samples, n)
            The training rows, or some of them.
        """
        W, b = self.params["W"], self.params["b"]
        spread = (x @ W * self.factor).std(axis=0)
        W /= np.where(spread > 1e-6, spread, 1)
        rows = self.rng.integers(0, len(x), (5, self.units))
        shares = self.rng.exponential(size=(5, self.units))
        shares /= shares.sum(axis=0)
        y = x @ W * self.factor
        b[...] = -(y[rows, np.arange(self.units)] * shares).sum(axis=0)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        y = matmul(x, self.params["W"])
        y *= self.factor
        add_row(y, self.params["b"])
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        sum_rows(grad_output, out=self.grads["b"])
        scaled = grad_output * self.factor
        matmul(self.cache.T, scaled, out=self.grads["W"])
        return matmul(scaled, self.params["W"].T) if self.needs_input_grad else None

    def multiply_adds(self) -> int:
        """One product for every weight."""
        return size_of(self.input_shape) * self.units
