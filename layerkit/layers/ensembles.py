"""Several networks in one: members that share their weights, up to a few numbers of their own."""

from __future__ import annotations

import numpy as np

from layerkit import initializers
from layerkit.initializers import Initializer
from layerkit.kernels import matmul
from layerkit.layer import Layer
from layerkit.parameters import is_size
from layerkit.shapes import Shape


class BatchEnsemble(Layer):
    r"""Dense layers that share W: each member scales inputs and outputs and has its own bias.

    .. math:: y_k = \big((x_k \, r_k) W\big) s_k + b_k

    Parameters
    ----------
    units : int
        Outputs of each member, at least 1.
    members : int, default=16
        Number of members, at least 1; the same in consecutive layers.
    initializer : "auto" or callable (shape, rng) -> array, default="auto"
        Initializer of ``W``; "auto" suits the activation that follows.

    Raises
    ------
    ValueError
        If a parameter is out of range, or the input has another number of members.

    Notes
    -----
    Input ``(n_samples, n_in)``, the same for every member, or ``(n_samples, members, n_in)``;
    output ``(n_samples, members, units)``. Learned ``W`` ``(n_in, units)``, and ``r``
    ``(members, n_in)``, ``s`` and ``b`` ``(members, units)``, which are exempt from weight decay. s
    and b are initially 1 and 0; r is 1 or, if the members share their input, a random sign, so that
    they differ from the start.

    Average the members' predictions, not their raw outputs. The loss of a sample is the mean over
    its members: repeat its target for each.

    Backward, with :math:`z_k = (x_k r_k) W` and sums running over the rows:

    .. math:: \frac{\partial L}{\partial b_k} = \sum G_k, \quad
              \frac{\partial L}{\partial s_k} = \sum G_k z_k, \quad
              \frac{\partial L}{\partial W} = \sum_k (x_k r_k)^\top (G_k s_k)

    .. math:: H_k = (G_k s_k) W^\top, \quad
              \frac{\partial L}{\partial r_k} = \sum H_k x_k, \quad
              \frac{\partial L}{\partial x_k} = H_k r_k

    where a shared x gets the sum over k.

    References
    ----------
    Wen, Tran and Ba, "BatchEnsemble: an alternative approach to efficient ensemble and lifelong
    learning", ICLR 2020, arXiv:2002.06715; for tables: Gorishniy, Kotelnikov and Babenko, "TabM",
    ICLR 2025, arXiv:2410.24210.

    Examples
    --------
    >>> from layerkit import BatchEnsemble, ReLU, Sequential
    >>> network = Sequential([BatchEnsemble(8, members=4), ReLU(), BatchEnsemble(1, members=4)])
    >>> network.build(3, random_state=0).forward([[1.0, 2.0, 3.0]]).shape
    (1, 4, 1)
    """

    weight_init = staticmethod(initializers.glorot_uniform)

    def __init__(
        self, units: int, *, members: int = 16, initializer: str | Initializer = "auto"
    ) -> None:
        self.units = units
        self.members = members
        self.initializer = initializer

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.units), "units", "a positive integer")
        self.check(is_size(self.members), "members", "a positive integer")
        k = self.members
        fits = len(input_shape) == 1 or (len(input_shape) == 2 and input_shape[0] == k)
        self.check_input(fits, f"(n_samples, n_in) or (n_samples, members={k}, n_in)")
        n_in, ones = input_shape[-1], initializers.ones
        self.add_param("W", (n_in, self.units), self.resolve_initializer())
        self.add_param("r", (k, n_in), ones if len(input_shape) == 2 else _signs, decay=False)
        self.add_param("s", (k, self.units), ones, decay=False)
        self.add_param("b", (k, self.units), initializers.zeros, decay=False)
        return k, self.units

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        W, r, s, b = self.params.values()
        x = x if x.ndim == 3 else x[:, np.newaxis]
        scaled = x * r
        z = matmul(scaled, W)
        self.cache = x, scaled, z
        return z * s + b

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x, scaled, z = self.cache
        W, r, s, _ = self.params.values()
        rows = (grad_output * s).reshape(-1, self.units)
        np.sum(grad_output, axis=0, out=self.grads["b"])
        np.sum(grad_output * z, axis=0, out=self.grads["s"])
        matmul(scaled.reshape(-1, scaled.shape[-1]).T, rows, out=self.grads["W"])
        H = matmul(rows, W.T).reshape(scaled.shape)
        np.sum(H * x, axis=0, out=self.grads["r"])
        grad_input = H * r
        return grad_input if len(self.input_shape) == 2 else grad_input.sum(axis=1)

    def multiply_adds(self) -> int:
        """One product for every weight and every member."""
        return self.members * self.input_shape[-1] * self.units


def _signs(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    return rng.choice([-1.0, 1.0], shape)
