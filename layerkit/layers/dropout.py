"""Noise in training, so that units do not rely on each other; the identity in inference."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from layerkit.edits import Constant
from layerkit.kernels import apply_mask, keep_mask
from layerkit.layer import Layer
from layerkit.parameters import is_number
from layerkit.sequences import Sequences
from layerkit.shapes import Shape


def _is_probability(rate: object) -> bool:
    return is_number(rate) and 0 <= rate < 1  # type: ignore[operator]


class _RandomMask(Layer):
    """Base of the layers that draw a new mask in every forward in training.

    The cache is the mask and the factor on the values that it keeps.
    """

    def __init__(self, rate: float | Callable[..., float]) -> None:
        self.rate = rate

    def setup(self, input_shape: Shape) -> Shape:
        ok = callable(self.rate) or _is_probability(self.rate)
        self.check(ok, "rate", "a probability of dropping, at least 0 and less than 1")
        return input_shape

    @property
    def current_rate(self) -> float:
        """The rate; if it is a schedule, its current value."""
        rate = self.rate() if callable(self.rate) else self.rate
        if not _is_probability(rate):
            raise ValueError(
                f"in {self.where}: rate must be at least 0 and less than 1, the schedule gave "
                f"{rate!r}"
            )
        return float(rate)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        keep, scale = self.cache
        return grad_output if keep is None else apply_mask(grad_output, keep, scale)


class Dropout(_RandomMask):
    r"""Drop values at random in training, and scale up the rest.

    .. math:: y = \frac{m x}{1 - p}, \qquad m = 0 \text{ with probability } p, \text{ else } 1

    independently for every value. In inference :math:`y = x`, which is the mean over m in training.

    Parameters
    ----------
    rate : float in [0, 1) or schedule, default=0.5
        p, the probability of *dropping* a value. 0 draws no random numbers; 1 is refused, since
        nothing would be left to scale up. A schedule such as `layerkit.schedules.FlatCosine` is
        bound by `layerkit.training.train`.

    Raises
    ------
    ValueError
        If ``rate`` is out of range.
    RuntimeError
        In training before ``build``, which seeds the layer.

    Notes
    -----
    Input and output ``(n_samples, ...)``. The mask depends on the seed and on what the layer has
    drawn before, not on the dtype. Unless p is a multiple of 1/256, it is rounded to a multiple of
    1/65536, in the mask and in the scale alike, so the mean over masks is exact.

    Backward uses the mask of the last forward; after a forward in inference it is the identity:

    .. math:: \frac{\partial L}{\partial x} = \frac{m}{1 - p} \frac{\partial L}{\partial y}

    References
    ----------
    Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple way to prevent
    neural networks from overfitting", JMLR 15, 2014.

    Examples
    --------
    >>> from layerkit import Dropout
    >>> layer = Dropout(rate=0.75).build(8, random_state=1)
    >>> layer.forward([[1, 2, 3, 4, 5, 6, 7, 8]], training=True).tolist()
    [[0.0, 8.0, 0.0, 0.0, 0.0, 24.0, 0.0, 32.0]]
    >>> layer.backward([[1, 1, 1, 1, 1, 1, 1, 1]]).tolist()
    [[0.0, 4.0, 0.0, 0.0, 0.0, 4.0, 0.0, 4.0]]
    """

    stepwise = True

    def __init__(self, rate: float | Callable[..., float] = 0.5) -> None:
        super().__init__(rate)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        if not training or (rate := self.current_rate) == 0:
            self.cache = None, 1.0
            return x
        keep, probability = keep_mask(self.rng, rate, self.mask_shape(x))
        self.cache = keep, 1 / probability
        return apply_mask(x, *self.cache)

    def mask_shape(self, x: np.ndarray) -> Shape:
        """Shape of the mask, which is broadcast against the input.

        Parameters
        ----------
        x : ndarray
            The input.

        Returns
        -------
        shape : tuple of int
            Here that of the input: every value has a chance of its own.
        """
        return x.shape


class SpatialDropout2D(Dropout):
    r"""Drop whole channels at random in training, and scale up the rest.

    .. math:: y_{uvc} = \frac{m_c x_{uvc}}{1 - p},
              \qquad m_c = 0 \text{ with probability } p, \text{ else } 1

    independently for every channel of every sample. Neighbouring pixels are similar, so a value
    dropped by `Dropout` is still known from its neighbours; here it is not. In inference y = x.

    Parameters
    ----------
    rate : float in [0, 1)
        p, the probability of *dropping* a channel; rounded and checked as in `Dropout`.

    Raises
    ------
    ValueError
        If ``rate`` is out of range, or the input has no axis between samples and channels.
    RuntimeError
        In training before ``build``, which seeds the layer.

    Notes
    -----
    Input and output ``(n_samples, ..., channels)`` with at least one axis in between: images, or
    sequences, which may be rows of unequal length.

    Backward uses the mask of the last forward; after a forward in inference it is the identity:

    .. math:: \frac{\partial L}{\partial x_{uvc}} =
              \frac{m_c}{1 - p} \frac{\partial L}{\partial y_{uvc}}

    References
    ----------
    Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using convolutional
    networks", CVPR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import SpatialDropout2D
    >>> layer = SpatialDropout2D(rate=0.5).build((2, 1, 3), random_state=2)
    >>> layer.forward(np.ones((1, 2, 1, 3)), training=True).tolist()
    [[[[0.0, 2.0, 2.0]], [[0.0, 2.0, 2.0]]]]
    """

    stepwise = False  # a channel is dropped from all steps of a row
    takes_sequences = True

    def __init__(self, rate: float) -> None:
        super().__init__(rate)

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) >= 2, "(n_samples, ..., channels) with positions between")
        return super().setup(input_shape)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        if not isinstance(x, Sequences) or not training or (rate := self.current_rate) == 0:
            return super().forward(x, training)
        keep, probability = keep_mask(self.rng, rate, (len(x), x.shape[-1]))
        self.cache = keep.repeat(x.lengths, axis=0), 1 / probability
        return x.with_steps(apply_mask(x.steps, *self.cache))  # type: ignore[return-value]

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        if isinstance(grad_output, Sequences):
            return grad_output.with_steps(super().backward(grad_output.steps))  # type: ignore[return-value]
        return super().backward(grad_output)

    def mask_shape(self, x: np.ndarray) -> Shape:
        return (len(x), *(1,) * (x.ndim - 2), x.shape[-1])


class AlphaDropout(_RandomMask):
    r"""Dropout for networks of `SELU`: it preserves zero mean and unit variance.

    .. math:: y = a \big(m x + (1 - m) \alpha' - p \alpha'\big), \qquad
              a = \frac{1}{\sqrt{(1 - p) (1 + p \alpha'^2)}}

    with m as in `Dropout`. A dropped value becomes α' = -1.7580993, the limit of SELU for negative
    numbers, instead of 0; the rest of the formula restores mean and variance. In inference y = x.

    Parameters
    ----------
    rate : float in [0, 1)
        p, the probability of *dropping* a value; rounded and checked as in `Dropout`.

    Raises
    ------
    ValueError
        If ``rate`` is out of range.
    RuntimeError
        In training before ``build``, which seeds the layer.

    Notes
    -----
    Input and output ``(n_samples, ...)``.

    Backward uses the mask of the last forward; after a forward in inference it is the identity:

    .. math:: \frac{\partial L}{\partial x} = a m \frac{\partial L}{\partial y}

    References
    ----------
    Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", NIPS 2017.

    Examples
    --------
    >>> from layerkit import AlphaDropout
    >>> import numpy as np
    >>> layer = AlphaDropout(rate=0.5).build(4, random_state=1, dtype=np.float64)
    >>> layer.forward([[1.0, 1.0, 1.0, 1.0]], training=True).round(3).tolist()
    [[-0.779, 1.666, -0.779, -0.779]]
    """

    stepwise = True

    SATURATION: Any = Constant(-1.7580993408473766)  # -λα of SELU

    def __init__(self, rate: float) -> None:
        super().__init__(rate)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        if not training or (rate := self.current_rate) == 0:
            self.cache = None, 1.0
            return x
        keep, q = keep_mask(self.rng, rate, x.shape)
        a = 1 / math.sqrt(q * (1 + (1 - q) * self.SATURATION**2))
        self.cache = keep, a
        y = apply_mask(x - self.SATURATION, keep, a)
        y += a * q * self.SATURATION
        return y


class GaussianNoise(Layer):
    r"""Add normal noise in training.

    .. math:: y = x + \epsilon, \qquad \epsilon \sim \mathcal N(0, \sigma^2)

    independently for every value. In inference :math:`y = x`.

    Parameters
    ----------
    stddev : float
        σ, at least 0. 0 draws no random numbers.

    Raises
    ------
    ValueError
        If ``stddev`` is negative or not finite.
    RuntimeError
        In training before ``build``, which seeds the layer.

    Notes
    -----
    Input and output ``(n_samples, ...)``. The noise depends on the seed, not on the dtype.

    Backward: the noise does not depend on x, so the gradient passes unchanged in both modes.

    .. math:: \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}

    References
    ----------
    Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7,
    1995.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import GaussianNoise
    >>> layer = GaussianNoise(stddev=0.1).build(1000, random_state=0)
    >>> round(float(layer.forward(np.zeros((1, 1000)), training=True).std()), 1)
    0.1
    """

    stepwise = True

    def __init__(self, stddev: float) -> None:
        self.stddev = stddev

    def setup(self, input_shape: Shape) -> Shape:
        ok = is_number(self.stddev) and self.stddev >= 0
        self.check(ok, "stddev", "a number of at least 0")
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        if not training or self.stddev == 0:
            return x
        noise = self.rng.normal(scale=self.stddev, size=x.shape)
        return x + noise.astype(x.dtype, copy=False)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return grad_output
