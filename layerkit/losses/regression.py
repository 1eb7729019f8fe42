"""Losses between a number and its prediction."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerkit.kernels import ABSOLUTE_ERROR, HUBER, SQUARED_ERROR
from layerkit.losses.loss import Loss
from layerkit.losses.tabled import Tabled, are_numbers
from layerkit.parameters import is_positive


class MeanSquaredError(Loss):
    """Squared error, without a factor 1/2; its minimum is the mean.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same.

    - value: ``(y_pred - y_true)²``
    - backward: ``2 (y_pred - y_true)``
    - inverse link: identity

    Examples
    --------
    >>> from layerkit.losses import MeanSquaredError
    >>> loss = MeanSquaredError()
    >>> loss.forward([[1.0, 2.0]], [[0.0, 4.0]])
    2.5
    >>> loss.backward().tolist()
    [[1.0, -2.0]]
    """

    def tabled(self, y_true: np.ndarray, n_outputs: int, dtype: Any) -> Tabled | None:
        if not are_numbers(y_true, n_outputs, dtype):
            return None
        return Tabled.of_numbers(SQUARED_ERROR, y_true, dtype, 1 / n_outputs)

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return (y_pred - y_true) ** 2

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return 2 * (y_pred - y_true)


class MeanAbsoluteError(Loss):
    """Absolute error; its minimum is the median.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same.

    - value: ``|y_pred - y_true|``
    - backward: ``sign(y_pred - y_true)``, 0 at the kink
    - inverse link: identity

    Examples
    --------
    >>> from layerkit.losses import MeanAbsoluteError
    >>> loss = MeanAbsoluteError()
    >>> loss.forward([[1.0, 2.0]], [[0.0, 4.0]])
    1.5
    >>> loss.backward().tolist()
    [[0.5, -0.5]]
    """

    def tabled(self, y_true: np.ndarray, n_outputs: int, dtype: Any) -> Tabled | None:
        if not are_numbers(y_true, n_outputs, dtype):
            return None
        return Tabled.of_numbers(ABSOLUTE_ERROR, y_true, dtype)

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return np.abs(y_pred - y_true)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return np.sign(y_pred - y_true)


class Huber(Loss):
    """Quadratic for small errors, linear for large ones, so that outliers pull less.

    Parameters
    ----------
    delta : float, default=1.0
        Positive size of the error beyond which the loss is linear.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same.

    With e = y_pred - y_true:

    - value: ``e² / 2`` if ``|e| <= delta``, else ``delta (|e| - delta / 2)``
    - backward: ``clip(e, -delta, delta)``
    - inverse link: identity

    PyTorch's HuberLoss; its SmoothL1Loss is this one divided by delta.

    References
    ----------
    Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.

    Examples
    --------
    >>> from layerkit.losses import Huber
    >>> loss = Huber(delta=1.0)
    >>> loss.forward([[1.0, 5.0]], [[0.5, 2.0]])
    1.3125
    >>> loss.backward().tolist()
    [[0.25, 0.5]]
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = delta

    def check_params(self) -> None:
        self.check(is_positive(self.delta), "delta", "a positive number")

    def tabled(self, y_true: np.ndarray, n_outputs: int, dtype: Any) -> Tabled | None:
        if not are_numbers(y_true, n_outputs, dtype):
            return None
        self.check_params()
        return Tabled.of_numbers(HUBER, y_true, dtype, float(self.delta))

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        error = y_pred - y_true
        slope = np.clip(error, -self.delta, self.delta)
        return slope * (error - slope / 2)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return np.clip(y_pred - y_true, -self.delta, self.delta)


class LogCosh(Loss):
    """Logarithm of the hyperbolic cosine of the error: a Huber loss without a seam.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ...)``, the same.

    With e = y_pred - y_true:

    - value: ``log(cosh(e)) = |e| + log((1 + exp(-2 |e|)) / 2)``
    - backward: ``tanh(e)``
    - inverse link: identity

    The formula is that of Keras's LogCosh.

    Examples
    --------
    >>> from layerkit.losses import LogCosh
    >>> loss = LogCosh()
    >>> round(loss.forward([[1.0, 1e4]], [[0.0, 0.0]]), 4)
    4999.8703
    >>> loss.backward().round(4).tolist()
    [[0.3808, 0.5]]
    """

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        size = np.abs(y_pred - y_true)
        return size + np.log1p(np.expm1(-2 * size) / 2)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return np.tanh(y_pred - y_true)


class Quantile(Loss):
    """Pinball loss; its minimum is the given quantile of the targets.

    Parameters
    ----------
    quantiles : float or sequence of k floats, default=0.5
        Between 0 and 1, exclusive. With a single number ``y_pred`` and ``y_true`` have the same
        shape. With a sequence the last axis of ``y_pred`` holds the k quantiles, and ``y_true``
        has the same shape without that axis or with a 1 there: ``y_pred`` (n_samples, k) and
        ``y_true`` (n_samples,) or (n_samples, 1).

    Notes
    -----
    With e = y_pred - y_true and quantile q:

    - value: ``max((1 - q) e, -q e)``
    - backward: ``1 - q`` if ``e > 0``, ``-q`` if ``e < 0``, 0 at the kink
    - inverse link: identity

    Several quantiles are averaged like other outputs. Nothing keeps them from crossing.

    References
    ----------
    Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978.

    Examples
    --------
    >>> from layerkit.losses import Quantile
    >>> loss = Quantile(quantiles=[0.1, 0.9])
    >>> loss.forward([[1.0, 2.0]], [4.0])
    1.05
    >>> loss.backward().tolist()
    [[-0.05, -0.45]]
    """

    def __init__(self, quantiles: float | Sequence[float] = 0.5) -> None:
        self.quantiles = quantiles

    def check_params(self) -> None:
        levels = np.asarray(self.quantiles)
        ok = levels.dtype.kind == "f" and levels.ndim <= 1 and levels.size > 0
        ok = ok and bool(((levels > 0) & (levels < 1)).all())
        self.check(ok, "quantiles", "between 0 and 1, one number or a sequence of them")

    def output_shape(self, target_shape: tuple[int, ...]) -> tuple[int, ...]:
        if np.ndim(self.quantiles) == 0:
            return target_shape
        outer = () if target_shape == (1,) else target_shape
        return (*outer, np.size(self.quantiles))

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        if np.ndim(self.quantiles) == 0:
            return super().prepare_targets(y_pred, y_true)
        k, (*outer, last) = np.size(self.quantiles), y_pred.shape
        if not outer or last != k or y_true.shape not in ((*outer,), (*outer, 1)):
            raise ValueError(
                f"{self!r}: y_pred must have shape (n_samples, ..., {k}) and y_true the same "
                f"without the last axis or with 1 there, "
                f"got y_pred {y_pred.shape} and y_true {y_true.shape}"
            )
        return y_true.astype(y_pred.dtype, copy=False).reshape(*outer, 1)

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        error = y_pred - y_true
        q = np.asarray(self.quantiles, y_pred.dtype)
        return np.maximum((1 - q) * error, -q * error)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        error = y_pred - y_true
        q = np.asarray(self.quantiles, y_pred.dtype)
        return np.sign(error) * np.where(error > 0, 1 - q, q)


class CosineSimilarity(Loss):
    """One minus the cosine of the angle between prediction and target.

    Notes
    -----
    ``y_pred`` and ``y_true`` ``(n_samples, ..., k)``, the same; the vectors lie along the
    last axis.

    With p = y_pred, t = y_true and unit vectors ``u = p / |p|``, ``v = t / |t|``:

    - value: ``1 - u·v``, one number a vector
    - backward: ``((u·v) u - v) / |p|``
    - inverse link: identity

    PyTorch's CosineEmbeddingLoss for similar pairs. As there, 1e-12 is added to the squared
    lengths, so that a zero vector has loss 1; the gradient is huge near such a prediction.

    Examples
    --------
    >>> from layerkit.losses import CosineSimilarity
    >>> loss = CosineSimilarity()
    >>> round(loss.forward([[0.0, 2.0]], [[1.0, 0.0]]), 6)
    1.0
    >>> loss.backward().round(6).tolist()
    [[-0.5, 0.0]]
    """

    def prepare_targets(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        if y_pred.ndim < 2:
            raise ValueError(
                f"{self!r}: y_pred must have shape (n_samples, ..., k), got {y_pred.shape}"
            )
        return super().prepare_targets(y_pred, y_true)

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return 1 - np.sum(y_pred / _length(y_pred) * (y_true / _length(y_true)), axis=-1)

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        u, v = y_pred / _length(y_pred), y_true / _length(y_true)
        cosine = np.sum(u * v, axis=-1, keepdims=True)
        return (cosine * u - v) / _length(y_pred)


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum(vectors**2, axis=-1, keepdims=True) + 1e-12)
