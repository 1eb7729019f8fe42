"""Numbers of a table before the first product: clipped, scaled, and each as several features."""

from __future__ import annotations

import math

import numpy as np

from layerkit import initializers
from layerkit.kernels import sum_rows
from layerkit.layer import Layer
from layerkit.layers.activations import Elementwise
from layerkit.parameters import in_range, is_positive, is_size
from layerkit.shapes import Shape


class SmoothClip(Elementwise):
    r"""Clip smoothly: small numbers stay, large ones tend to a limit.

    .. math:: y = \frac{x}{\sqrt{1 + (x / c)^2}}, \qquad
              f'(x) = \frac{1}{\big(1 + (x / c)^2\big)^{3/2}}

    Parameters
    ----------
    limit : float, default=3.0
        c, a positive finite number.

    Raises
    ------
    ValueError
        If ``limit`` is not positive.

    Notes
    -----
    Input and output of any shape, values in [-c, c], derivative in [0, 1]. Backward:
    :math:`\partial L / \partial x = G \, f'(x)`.

    For numbers of a table that are centred and scaled: an outlier keeps its sign and its rank, but
    not its weight. Numbers beyond some :math:`10^{19}` in float32 overflow on the way to ±c: y
    is 0 for them.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data", NeurIPS 2024, arXiv:2407.04491.

    Examples
    --------
    >>> layer = SmoothClip(limit=3.0)
    >>> layer.forward([[0.0, 4.0]]).tolist(), layer.backward([[5.0, 12.5]]).round(3).tolist()
    ([[0.0, 2.4]], [[5.0, 2.7]])
    """

    def __init__(self, limit: float = 3.0) -> None:
        self.limit = limit

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_positive(self.limit), "limit", "a positive finite number")
        return input_shape

    def function(self, x: np.ndarray) -> np.ndarray:
        return x / np.sqrt(1 + (x / float(self.limit)) ** 2)

    def derivative(self, x: np.ndarray) -> np.ndarray:
        shrinking = 1 / np.sqrt(1 + (x / float(self.limit)) ** 2)
        return shrinking * shrinking * shrinking


class Scale(Layer):
    r"""One learned factor for every feature: how much the network looks at it.

    .. math:: y = s \, x

    Parameters
    ----------
    rate : float, default=6.0
        Factor on the learning rate of s, and on its weight decay; at least 0.

    Raises
    ------
    ValueError
        If ``rate`` is negative or not finite.

    Notes
    -----
    Input and output ``(n_samples, ..., features)``. Learned ``s`` ``(features,)``, initially 1. In
    front of the first product it is a soft choice of features: with a rate of its own it learns
    faster than the weights behind it.

    Backward, the sum running over all axes but the last:

    .. math:: \frac{\partial L}{\partial x} = s \, G, \qquad
              \frac{\partial L}{\partial s} = \sum G \, x

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted
    trees on tabular data", NeurIPS 2024, arXiv:2407.04491.

    Examples
    --------
    >>> layer = Scale().build(2, dtype="float64")
    >>> layer.params["s"][...] = [2.0, 0.5]
    >>> layer.forward([[3.0, 4.0]]).tolist(), layer.backward([[1.0, 1.0]]).tolist()
    ([[6.0, 2.0]], [[2.0, 0.5]])
    >>> layer.grads["s"].tolist()
    [3.0, 4.0]
    """

    stepwise = True

    def __init__(self, rate: float = 6.0) -> None:
        self.rate = rate

    def setup(self, input_shape: Shape) -> Shape:
        self.check(in_range(self.rate, 0), "rate", "a finite number >= 0")
        self.check_input(len(input_shape) >= 1, "(n_samples, ..., features)")
        self.add_param("s", input_shape[-1:], initializers.ones, decay=self.rate, rate=self.rate)
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        return x * self.params["s"]

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        products = grad_output * self.cache
        sum_rows(products.reshape(-1, products.shape[-1]), out=self.grads["s"])
        return grad_output * self.params["s"]


class PeriodicEmbedding(Layer):
    r"""Each number of a table as itself and a learned mixture of its cosines.

    .. math:: y_{j0} = x_j, \qquad
              y_{je} = b_{j,e-1} + \sum_h \cos(2 \pi \omega_{jh} x_j + \varphi_{jh}) \, W_{jh,e-1}

    A network on the numbers themselves is slow to learn what changes fast with one of them; on
    their cosines it is not.

    Parameters
    ----------
    dim : int, default=4
        Values for each number, itself included: at least 2.
    frequencies : int, default=16
        Cosines of each number, at least 1.
    sigma : float, default=0.1
        Standard deviation of the initial frequencies ω, positive: for numbers that are
        standardised or scaled by their quartiles.
    rate : float, default=0.1
        Factor on the learning rate of the embedding, and on its weight decay; at least 0.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    Input ``(n_samples, features)``, output ``(n_samples, features, dim)``. Learned ``omega`` and
    ``phi`` ``(features, frequencies)``, ``W`` ``(features, frequencies, dim - 1)`` and ``b``
    ``(features, dim - 1)``; initially ω normal, φ uniform between ±π, W and b uniform between
    ±1/√frequencies.

    Backward, with z = 2πωx + φ and c = cos z, sums running over the rows:

    .. math:: \frac{\partial L}{\partial W_{jhe}} = \sum c_{jh} G_{j,e+1}, \quad
              \frac{\partial L}{\partial b_{je}} = \sum G_{j,e+1}, \quad
              D_{jh} = -\sin(z_{jh}) \sum_e W_{jhe} G_{j,e+1}

    .. math:: \frac{\partial L}{\partial \varphi_{jh}} = \sum D_{jh}, \quad
              \frac{\partial L}{\partial \omega_{jh}} = \sum 2 \pi x_j D_{jh}, \quad
              \frac{\partial L}{\partial x_j} = G_{j0} + \sum_h 2 \pi \omega_{jh} D_{jh}

    References
    ----------
    Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep
    learning", NeurIPS 2022, arXiv:2203.05556; with phases, no activation and the number itself
    (PBLD) as in Holzmüller, Grinsztajn and Steinwart, NeurIPS 2024, arXiv:2407.04491.

    Examples
    --------
    >>> from layerkit import PeriodicEmbedding
    >>> layer = PeriodicEmbedding(dim=3).build(2, random_state=0)
    >>> layer.forward([[0.5, -1.0]]).shape
    (1, 2, 3)
    """

    def __init__(
        self, dim: int = 4, *, frequencies: int = 16, sigma: float = 0.1, rate: float = 0.1
    ) -> None:
        self.dim = dim
        self.frequencies = frequencies
        self.sigma = sigma
        self.rate = rate

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.dim, least=2), "dim", "an integer >= 2")
        self.check(is_size(self.frequencies), "frequencies", "a positive integer")
        self.check(is_positive(self.sigma), "sigma", "a positive finite number")
        self.check(in_range(self.rate, 0), "rate", "a finite number >= 0")
        self.check_input(len(input_shape) == 1, "a table (n_samples, features)")
        n, h, d = input_shape[0], self.frequencies, self.dim - 1
        factors = {"decay": self.rate, "rate": self.rate}
        small = initializers.uniform(-1 / math.sqrt(h), 1 / math.sqrt(h))
        self.add_param("omega", (n, h), initializers.normal(stddev=self.sigma), **factors)
        self.add_param("phi", (n, h), initializers.uniform(-math.pi, math.pi), **factors)
        self.add_param("W", (n, h, d), small, **factors)
        self.add_param("b", (n, d), small, **factors)
        return n, self.dim

    # Features come first inside and rows last: then every sum is a product of small matrices.
    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        omega, phi, W, b = self.params.values()
        x_and_1 = np.stack([x.T, np.ones_like(x.T)], axis=1)  # (features, 2, rows)
        z = np.matmul(np.stack([self._two_pi * omega, phi], axis=2), x_and_1)
        c = np.cos(z)
        y = np.empty((*x.shape, self.dim), x.dtype)
        y[:, :, 0] = x
        y[:, :, 1:] = (np.matmul(W.swapaxes(1, 2), c) + b[:, :, np.newaxis]).transpose(2, 0, 1)
        self.cache = x_and_1, z, c
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        x_and_1, z, c = self.cache
        omega, _, W, _ = self.params.values()
        G = np.ascontiguousarray(grad_output[:, :, 1:].transpose(1, 2, 0))  # (.., dim - 1, rows)
        np.matmul(c, G.swapaxes(1, 2), out=self.grads["W"])
        np.sum(G, axis=2, out=self.grads["b"])
        D = np.sin(z)
        D *= np.matmul(-W, G)
        sums = np.matmul(D, x_and_1.swapaxes(1, 2))
        self.grads["omega"][...] = self._two_pi * sums[:, :, 0]
        self.grads["phi"][...] = sums[:, :, 1]
        if not self.needs_input_grad:
            return None
        through = np.matmul(self._two_pi * omega[:, np.newaxis], D)[:, 0]
        return grad_output[:, :, 0] + through.T

    @property
    def _two_pi(self) -> np.floating:
        return self.dtype.type(2 * math.pi)


class PiecewiseLinearEmbedding(Layer):
    r"""Each number of a table by how far it reaches into each of its bins, times learned vectors.

    .. math:: t_{jk} = \min\!\Big(\max\!\Big(\frac{x_j - l_{jk}}{w_{jk}}, 0\Big), 1\Big), \qquad
              y_{je} = b_{je} + x_j v_{je} + \sum_k t_{jk} W_{jke}

    So y is a continuous function of each number that bends where bins meet, as boosted trees' steps
    are at any place.

    Parameters
    ----------
    dim : int, default=8
        Values for each number, at least 1.
    bins : int, default=16
        Of each number, at least 1.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    Input ``(n_samples, features)``, output ``(n_samples, features, dim)``. Learned ``W``
    ``(features, bins, dim)``, initially 0, and ``v`` and ``b`` ``(features, dim)``, uniform
    between ±1/√2. The bins are the buffers ``low``, their lower ends l, and ``inverse``, 1/w:
    quantiles of the data by `adapt`, until then evenly from -3 to 3. Quantiles that coincide make
    one bin, and the others stay unused, with ``inverse`` 0.

    Backward, with the sums running over the rows; t has the slope 1/w inside of its bin and 0
    outside, and at its ends:

    .. math:: \frac{\partial L}{\partial W_{jke}} = \sum t_{jk} G_{je}, \quad
              \frac{\partial L}{\partial v_{je}} = \sum x_j G_{je}, \quad
              \frac{\partial L}{\partial b_{je}} = \sum G_{je}

    .. math:: \frac{\partial L}{\partial x_j} = \sum_e G_{je} \Big(v_{je} +
              \sum_{k: 0 < t_{jk} < 1} \frac{W_{jke}}{w_{jk}}\Big)

    References
    ----------
    Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep
    learning", NeurIPS 2022, arXiv:2203.05556; with the linear term as in TabM, arXiv:2410.24210.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import PiecewiseLinearEmbedding
    >>> layer = PiecewiseLinearEmbedding(dim=1, bins=2).build(1, dtype=np.float64)
    >>> layer.adapt(np.array([[0.0], [1.0], [5.0]]))
    >>> layer.buffers["low"].tolist(), layer.buffers["inverse"].tolist()
    ([[0.0, 1.0]], [[1.0, 0.25]])
    """

    adapts = True

    def __init__(self, dim: int = 8, *, bins: int = 16) -> None:
        self.dim = dim
        self.bins = bins

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.dim), "dim", "a positive integer")
        self.check(is_size(self.bins), "bins", "a positive integer")
        self.check_input(len(input_shape) == 1, "a table (n_samples, features)")
        n = input_shape[0]
        edges = np.linspace(-3, 3, self.bins + 1)
        self.add_buffer("low", np.tile(edges[:-1], (n, 1)))
        self.add_buffer("inverse", np.tile(1 / np.diff(edges), (n, 1)))
        half = initializers.uniform(-math.sqrt(0.5), math.sqrt(0.5))
        self.add_param("W", (n, self.bins, self.dim), initializers.zeros)
        self.add_param("v", (n, self.dim), half)
        self.add_param("b", (n, self.dim), half, decay=False)
        return n, self.dim

    def adapt(self, x: np.ndarray) -> None:
        """Put the bins between quantiles of the data.

        Parameters
        ----------
        x : ndarray of shape (n_samples, features)
            The rows to learn from, or some of them.
        """
        low, inverse = self.buffers["low"], self.buffers["inverse"]
        inverse[...] = 0
        for j, column in enumerate(x.T):
            edges = np.unique(np.quantile(column, np.linspace(0, 1, self.bins + 1)))
            n = len(edges) - 1
            low[j] = edges[0]
            low[j, :n], inverse[j, :n] = edges[:-1], 1 / np.diff(edges)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        W, v, b = self.params.values()
        t = ((x[:, :, np.newaxis] - self.buffers["low"]) * self.buffers["inverse"]).clip(0, 1)
        self.cache = x, t, self.buffers["inverse"].copy()
        return np.matmul(t.swapaxes(0, 1), W).swapaxes(0, 1) + x[:, :, np.newaxis] * v + b

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        x, t, inverse = self.cache
        W, v, _ = self.params.values()
        G = np.ascontiguousarray(grad_output.swapaxes(0, 1))  # (features, rows, dim)
        np.matmul(t.transpose(1, 2, 0), G, out=self.grads["W"])
        np.sum(G * x.T[:, :, np.newaxis], axis=1, out=self.grads["v"])
        np.sum(G, axis=1, out=self.grads["b"])
        if not self.needs_input_grad:
            return None
        of_t = np.matmul(G, W.swapaxes(1, 2)).swapaxes(0, 1)
        inside = (t > 0) & (t < 1)
        return (of_t * inside * inverse).sum(axis=2) + (grad_output * v).sum(axis=2)
