"""Normalization layers: they give the values between two layers a learned mean and deviation.

Batch, layer and group normalization are one formula: standardise over a set of cells, then give
every channel a scale and a shift. They differ in M, the mean over the cells that share their
statistics::

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

import math

import numpy as np

from layerkit import initializers
from layerkit.kernels import (
    along,
    batch_norm,
    batch_norm_grad,
    channel_sums,
    layer_norm,
    layer_norm_grad,
    long_rows,
    row_length,
    row_mean,
)
from layerkit.layer import Layer
from layerkit.parameters import is_fraction, is_positive, is_size
from layerkit.shapes import Shape
from layerkit.tree import settled_by_build


class PerChannel(Layer):
    """A gain for every channel."""

    too_many = (
        "build counts the channels: PyTorch's LayerNorm(16) is LayerNorm(), its GroupNorm(4, 16) "
        "GroupNorm(4)"
    )
    eps: float
    channels: int = settled_by_build("channels")

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) >= 1, "(n_samples, ..., channels)")
        self.check(is_positive(self.eps), "eps", "a positive number")
        self.channels = input_shape[-1]
        self.add_param("gamma", (self.channels,), initializers.ones, decay=False)
        return input_shape


class Standardization(PerChannel):
    """A gain and a shift for every channel."""

    def setup(self, input_shape: Shape) -> Shape:
        output_shape = super().setup(input_shape)
        self.add_param("beta", (self.channels,), initializers.zeros, decay=False)
        return output_shape

    def parameter_gradients(self, grad: np.ndarray, x_hat: np.ndarray) -> None:
        """Write the gradients of gamma and beta, of arrays in long rows."""
        self.grads["gamma"][...] = channel_sums(self.channels, grad, x_hat.reshape(grad.shape))
        self.grads["beta"][...] = channel_sums(self.channels, grad)


class BatchNorm(Standardization):
    r"""Standardise every channel over the batch and all positions.

    .. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
              y = \gamma \hat x + \beta

    In training μ and σ² are the mean and the (biased) variance of the batch; in inference they are
    running averages of what training saw.

    Parameters
    ----------
    momentum : float in [0, 1], default=0.1
        Weight of the *new* batch in the running averages, as in PyTorch:
        ``running += momentum * (batch - running)``. The variance is made unbiased by m / (m-1).
    eps : float, default=1e-5
        Positive; keeps (nearly) constant channels finite.

    Raises
    ------
    ValueError
        In training with fewer than two values per channel, which have no variance; if ``momentum``
        or ``eps`` is out of range.

    Notes
    -----
    Input and output ``(n_samples, ..., channels)``: statistics are taken over all axes but the
    last. Learned ``gamma`` and ``beta`` ``(channels,)``, exempt from weight decay; buffers
    ``running_mean`` and ``running_var`` ``(channels,)``, from 0 and 1.

    Backward in training, with m values per channel and G the gradient of the output:

    .. math:: \frac{\partial L}{\partial \gamma} = \sum G \hat x, \quad
              \frac{\partial L}{\partial \beta} = \sum G, \quad
              \frac{\partial L}{\partial x} = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}}
              \Big(G - \frac1m \frac{\partial L}{\partial \beta}
              - \frac{\hat x}{m} \frac{\partial L}{\partial \gamma}\Big)

    After a forward in inference mode μ and σ² are constants, and only γ G / sqrt(σ² + ε) is left.

    A frozen layer (``trainable = False``) computes as in inference even in training, and its
    running statistics do not change. The variance is computed in a second pass over x - μ, so a
    mean far larger than the deviation costs no precision. The output of a channel that is constant
    in a batch is β, and its gradient is amplified by up to 1 / sqrt(ε).

    References
    ----------
    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal
    covariate shift", ICML 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import BatchNorm
    >>> layer = BatchNorm().build(1, dtype=np.float64)
    >>> layer.forward([[1.0], [3.0]], training=True).round(4).tolist()
    [[-1.0], [1.0]]
    >>> {name: running.round(4).tolist() for name, running in layer.buffers.items()}
    {'running_mean': [0.2], 'running_var': [1.1]}
    >>> layer.forward([[0.2]]).round(4).tolist()
    [[0.0]]
    """

    stepwise = True

    def __init__(self, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        self.momentum = momentum
        self.eps = eps

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_fraction(self.momentum), "momentum", "a number between 0 and 1")
        output_shape = super().setup(input_shape)
        self.add_buffer("running_mean", np.zeros(self.channels))
        self.add_buffer("running_var", np.ones(self.channels))
        return output_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        if not (training and self.trainable):
            return self._forward_with_running_statistics(x)
        m = x.size // self.channels
        if m < 2:
            raise ValueError(
                f"in {self.where}: training needs at least 2 values per channel, got {m} from "
                f"n_samples={len(x)}, a batch of shape {x.shape}: use a larger batch, or "
                "forward(x, training=False)"
            )
        gamma, beta = self.params["gamma"], self.params["beta"]
        y, mean, inv_std, var = batch_norm(x, gamma, beta, float(self.eps))
        self.cache = x, inv_std, mean, True
        self._track("running_mean", mean.sum(axis=0))
        self._track("running_var", var * (m / (m - 1)))
        return y

    def _track(self, name: str, batch: np.ndarray) -> None:
        running = self.buffers[name]
        running += self.momentum * (batch - running)

    def _forward_with_running_statistics(self, x: np.ndarray) -> np.ndarray:
        rows = long_rows(x, self.channels)
        mean = along(rows, self.buffers["running_mean"].copy())
        inv_std = 1 / np.sqrt(along(rows, self.buffers["running_var"]) + self.eps)
        self.cache = rows, inv_std, mean, False
        y = rows - mean
        y *= inv_std * along(rows, self.params["gamma"])
        y += along(rows, self.params["beta"])
        return y.reshape(x.shape)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x, inv_std, mean, of_batch = self.cache
        if of_batch:
            gamma, gradients = self.params["gamma"], (self.grads["gamma"], self.grads["beta"])
            return batch_norm_grad(grad_output, x, mean, inv_std, gamma, *gradients)
        grad = long_rows(grad_output, self.channels)
        self.parameter_gradients(grad, (x - mean) * inv_std)
        return (grad * (inv_std * along(grad, self.params["gamma"]))).reshape(grad_output.shape)


class LayerNorm(Standardization):
    r"""Standardise every position over its channels, the same in training and inference.

    .. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
              y = \gamma \hat x + \beta

    with μ and σ² the mean and (biased) variance along the last axis.

    Parameters
    ----------
    eps : float, default=1e-5
        Positive; keeps positions whose channels are (nearly) equal finite.

    Raises
    ------
    ValueError
        If ``eps`` is not positive.

    Notes
    -----
    Input and output ``(n_samples, ..., channels)``; learned ``gamma`` and ``beta`` ``(channels,)``,
    exempt from weight decay.

    Backward, with g = γ G and means along the last axis:

    .. math:: \frac{\partial L}{\partial x} = \frac{1}{\sqrt{\sigma^2 + \epsilon}}
              \big(g - \operatorname{mean}(g) - \hat x \operatorname{mean}(\hat x g)\big), \quad
              \frac{\partial L}{\partial \gamma} = \sum G \hat x, \quad
              \frac{\partial L}{\partial \beta} = \sum G

    A mean far larger than the deviation costs no precision. For equal channels, or one, y is β.

    References
    ----------
    Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450, 2016.

    Examples
    --------
    >>> from layerkit import LayerNorm
    >>> LayerNorm().build(2).forward([[1.0, 3.0], [-50.0, 50.0]]).round(4).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    stepwise = True

    def __init__(self, *, eps: float = 1e-5) -> None:
        self.eps = eps

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        gamma, beta = self.params["gamma"], self.params["beta"]
        y, x_hat, inv_std = layer_norm(x, gamma, beta, float(self.eps))
        self.cache = x_hat, inv_std
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        gradients = self.grads["gamma"], self.grads["beta"]
        x_hat, inv_std = self.cache
        return layer_norm_grad(grad_output, x_hat, inv_std, self.params["gamma"], *gradients)


class GroupNorm(Standardization):
    r"""Standardise groups of channels over all positions of a sample, independent of the batch.

    .. math:: \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
              y = \gamma \hat x + \beta

    with μ and σ² the mean and (biased) variance over all positions and the channels of the group.
    One group is layer normalization over the whole sample, a group for each channel is instance
    normalization.

    Parameters
    ----------
    groups : int
        Number of groups of neighbouring channels; it divides the number of channels.
    eps : float, default=1e-5
        Positive; keeps groups whose values are (nearly) equal finite.

    Raises
    ------
    ValueError
        If ``groups`` does not divide the channels, or ``eps`` is not positive.

    Notes
    -----
    Input and output ``(n_samples, ..., channels)``; learned ``gamma`` and ``beta`` ``(channels,)``,
    exempt from weight decay.

    Backward, with g = γ G and means over the cells of a group:

    .. math:: \frac{\partial L}{\partial x} = \frac{1}{\sqrt{\sigma^2 + \epsilon}}
              \big(g - \operatorname{mean}(g) - \hat x \operatorname{mean}(\hat x g)\big), \quad
              \frac{\partial L}{\partial \gamma} = \sum G \hat x, \quad
              \frac{\partial L}{\partial \beta} = \sum G

    A mean far larger than the deviation costs no precision. A group of equal values, or of a single
    one, gives β.

    References
    ----------
    Wu and He, "Group normalization", ECCV 2018.

    Examples
    --------
    >>> from layerkit import GroupNorm
    >>> GroupNorm(groups=2).build(4).forward([[1.0, 3.0, 10.0, 50.0]]).round(4).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    def __init__(self, groups: int, *, eps: float = 1e-5) -> None:
        self.groups = groups
        self.eps = eps

    def setup(self, input_shape: Shape) -> Shape:
        output_shape = super().setup(input_shape)
        ok = is_size(self.groups) and self.channels % self.groups == 0
        self.check(ok, "groups", f"a positive integer that divides the {self.channels} channels")
        return output_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        positions = math.prod(x.shape[1:-1])
        width = row_length(positions, self.channels)
        cells = x.reshape(len(x), positions * self.channels // width, width)
        x_hat = cells - self._mean(cells)
        x_hat -= self._mean(x_hat)  # what rounding left of a mean far larger than the deviations
        inv_std = 1 / np.sqrt(self._mean(x_hat, x_hat) + self.eps)
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
        mean, slope = self._mean(g), self._mean(g, x_hat)
        g -= mean
        g -= x_hat * slope
        g *= inv_std
        return g.reshape(grad_output.shape)

    def _mean(self, a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        """Return M a, or M(a b), in a shape that broadcasts against the cells."""
        n_samples, n_rows, width = a.shape
        sums = np.ones(n_rows, a.dtype) @ a if b is None else np.einsum("nrw,nrw->nw", a, b)
        positions, size = width // self.channels, self.channels // self.groups
        sums = sums.reshape(n_samples, positions, self.channels).sum(1)
        means = sums.reshape(n_samples, self.groups, size).sum(2) / (n_rows * positions * size)
        return np.tile(means.repeat(size, axis=1), positions)[:, np.newaxis]


class RMSNorm(PerChannel):
    r"""Scale every position to root-mean-square 1 over its channels, without centring.

    .. math:: y = \gamma \hat x, \qquad \hat x = s x, \qquad
              s = \frac{1}{\sqrt{\operatorname{mean}(x^2) + \epsilon}}

    Parameters
    ----------
    eps : float, default=1e-6
        Positive; keeps positions that are (nearly) zero finite.

    Raises
    ------
    ValueError
        If ``eps`` is not positive.

    Notes
    -----
    Input and output ``(n_samples, ..., channels)``, means along the last axis; learned ``gamma``
    ``(channels,)``, exempt from weight decay.

    Backward, with g = γ G: the mean's term of layer normalization is missing,

    .. math:: \frac{\partial L}{\partial x} =
              s \big(g - \hat x \operatorname{mean}(\hat x g)\big), \quad
              \frac{\partial L}{\partial \gamma} = \sum G \hat x

    Squares of float32 values beyond 1e19 overflow: y is then 0.

    References
    ----------
    Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import RMSNorm
    >>> RMSNorm().build(2, dtype=np.float64).forward([[1.0, 7.0]]).round(4).tolist()
    [[0.2, 1.4]]
    """

    stepwise = True

    def __init__(self, *, eps: float = 1e-6) -> None:
        self.eps = eps

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        rows = x.reshape(-1, self.channels)
        inv_rms = 1 / np.sqrt(row_mean(rows, rows) + self.eps)
        x_hat = rows * inv_rms
        self.cache = x_hat, inv_rms
        return (x_hat * self.params["gamma"]).reshape(x.shape)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x_hat, inv_rms = self.cache
        grad = grad_output.reshape(x_hat.shape)
        self.grads["gamma"][...] = channel_sums(self.channels, grad, x_hat)
        g = grad * self.params["gamma"]
        g -= x_hat * row_mean(g, x_hat)
        g *= inv_rms
        return g.reshape(grad_output.shape)
