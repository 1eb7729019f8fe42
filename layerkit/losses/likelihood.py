"""Negative log-likelihoods of distributions whose parameters the network predicts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from layerkit.losses.loss import Loss, as_floats
from layerkit.parameters import is_number


class LogMean(Loss):
    """Base of losses whose ``y_pred`` is the logarithm of a positive mean.

    The variance is a power of the mean (`Tweedie`'s ``power``), which decides the valid targets.
    """

    _variance_power: float

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        if self._variance_power >= 2:
            self.check_targets(y_true > 0, y_true, "greater than 0")
        elif self._variance_power > 0:
            self.check_targets(y_true >= 0, y_true, "at least 0")
        return super().prepare_targets(y_pred, y_true)

    def inverse_link(self, y_pred: ArrayLike) -> np.ndarray:
        """The mean ``exp(y_pred)``."""
        return np.exp(as_floats(y_pred))


class Poisson(LogMean):
    """Counts, with ``y_pred`` the logarithm of their rate.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same; ``y_true >= 0``.

    - value: ``exp(y_pred) - y_true y_pred``, without the constant ``log(y_true!)``
    - backward: ``exp(y_pred) - y_true``
    - inverse link: the rate ``exp(y_pred)``

    PyTorch's PoissonNLLLoss (log_input=True, full=False); half the Poisson deviance up to a
    constant. The rate overflows beyond y_pred = 709 (88 in float32).

    Examples
    --------
    >>> from layerkit.losses import Poisson
    >>> loss = Poisson()
    >>> loss.forward([[0.0]], [[3.0]])
    1.0
    >>> loss.backward().tolist()
    [[-2.0]]
    """

    _variance_power = 1

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return np.exp(y_pred) - y_true * y_pred

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return np.exp(y_pred) - y_true


class Gamma(LogMean):
    """Positive, skewed quantities, with ``y_pred`` the logarithm of their mean.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same; ``y_true > 0``.

    - value: ``y_pred + y_true exp(-y_pred)``
    - backward: ``1 - y_true exp(-y_pred)``
    - inverse link: the mean ``exp(y_pred)``

    scikit-learn's HalfGammaLoss: half the Gamma deviance without its constant
    ``-log(y_true) - 1``. It overflows for y_pred below -709 (-88 in float32).

    Examples
    --------
    >>> from layerkit.losses import Gamma
    >>> loss = Gamma()
    >>> loss.forward([[0.0]], [[3.0]])
    3.0
    >>> loss.backward().tolist()
    [[-2.0]]
    """

    _variance_power = 2

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return y_pred + y_true * np.exp(-y_pred)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return 1 - y_true * np.exp(-y_pred)


class Tweedie(LogMean):
    """Quantities whose variance is their mean to a power, with ``y_pred`` the log of the mean.

    Parameters
    ----------
    power : float, default=1.5
        0 is the normal distribution, 1 Poisson, 2 Gamma, 3 inverse Gaussian; between 1 and 2
        many exact zeros occur among positive amounts, as in insurance claims or rain.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same. ``y_true`` is positive if the
    power is 2 or more, not negative if it is between 0 and 2, and any number otherwise.

    With p = power:

    - value: ``exp((2 - p) y_pred) / (2 - p) - y_true exp((1 - p) y_pred) / (1 - p)``, where
      ``exp(a y) / a`` is ``y`` if a = 0
    - backward: ``exp((2 - p) y_pred) - y_true exp((1 - p) y_pred)``
    - inverse link: the mean ``exp(y_pred)``

    scikit-learn's HalfTweedieLoss: half the Tweedie deviance without its constants.

    References
    ----------
    Jørgensen, "Exponential dispersion models", Journal of the Royal Statistical Society B 49,
    1987.

    Examples
    --------
    >>> from layerkit.losses import Tweedie
    >>> loss = Tweedie(power=1.5)
    >>> loss.forward([[0.0]], [[3.0]])
    8.0
    >>> loss.backward().tolist()
    [[-2.0]]
    """

    def __init__(self, power: float = 1.5) -> None:
        self.power = power

    @property
    def _variance_power(self) -> float:  # type: ignore[override]
        return self.power

    def check_params(self) -> None:
        self.check(is_number(self.power), "power", "a finite number")

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        p = self.power
        amount = _amount_times(y_true, _integral_of_exp(1 - p, y_pred))
        return _integral_of_exp(2 - p, y_pred) - amount

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        p = self.power
        return np.exp((2 - p) * y_pred) - _amount_times(y_true, np.exp((1 - p) * y_pred))


def _integral_of_exp(a: float, y: np.ndarray) -> np.ndarray:
    """Antiderivative of exp(a y)."""
    return y if a == 0 else np.exp(a * y) / a


def _amount_times(y_true: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """y_true * factor, where 0 times a factor that overflowed is 0."""
    return np.where(y_true == 0, 0, y_true * factor)


class GaussianNLL(Loss):
    """Normal distribution of which the network predicts the mean and the variance.

    Notes
    -----
    ``y_pred`` ``(n_samples, ..., 2k)``, first the k means, then the k logarithms of the
    variances; ``y_true`` ``(n_samples, ..., k)``.

    With mean m, log-variance s and error ``e = m - y_true``:

    - value: ``(s + e² exp(-s)) / 2``, without the constant ``log(2π) / 2``
    - backward: ``e exp(-s)`` for m and ``(1 - e² exp(-s)) / 2`` for s
    - inverse link: the means; the variances are ``exp(y_pred[..., k:])``

    PyTorch's GaussianNLLLoss (full=False) of ``var = exp(s)``, without its lower bound on the
    variance: the loss has no minimum where a target is met exactly, and grows like ``exp(-s)``
    elsewhere.

    References
    ----------
    Nix and Weigend, "Estimating the mean and variance of the target probability distribution",
    IEEE ICNN, 1994.

    Examples
    --------
    >>> from layerkit.losses import GaussianNLL
    >>> loss = GaussianNLL()
    >>> loss.forward([[1.0, 0.0]], [[3.0]])
    2.0
    >>> loss.backward().tolist()
    [[-2.0, -1.5]]
    >>> loss.inverse_link([[1.0, 0.0]]).tolist()
    [[1.0]]
    """

    def output_shape(self, target_shape: tuple[int, ...]) -> tuple[int, ...]:
        if not target_shape:
            raise ValueError(
                f"{self!r}: y_true must have shape (n_samples, ..., k), got (n_samples,)"
            )
        return (*target_shape[:-1], 2 * target_shape[-1])

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        *outer, last = y_pred.shape
        if not outer or last % 2 or y_true.shape != (*outer, last // 2):
            raise ValueError(
                f"{self!r}: y_pred must have shape (n_samples, ..., 2k), means and "
                f"log-variances, and y_true (n_samples, ..., k), "
                f"got y_pred {y_pred.shape} and y_true {y_true.shape}"
            )
        return y_true.astype(y_pred.dtype, copy=False)

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        mean, log_variance = np.split(y_pred, 2, axis=-1)
        return (log_variance + (mean - y_true) ** 2 * np.exp(-log_variance)) / 2

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        mean, log_variance = np.split(y_pred, 2, axis=-1)
        error, precision = mean - y_true, np.exp(-log_variance)
        return np.concatenate([error * precision, (1 - error**2 * precision) / 2], axis=-1)

    def inverse_link(self, y_pred: ArrayLike) -> np.ndarray:
        return np.split(as_floats(y_pred), 2, axis=-1)[0]
