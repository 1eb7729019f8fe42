"""What scikit-learn's MLPs minimise: sums over the outputs, and a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from layerkit.kernels import (
    POISSON_SUM,
    SIGMOID_SUM,
    SOFTMAX_SUM,
    SQUARED_ERROR,
    cross_entropy_of_sigmoid,
    cross_entropy_of_softmax,
    sum_of_squares,
)
from layerkit.layer import Layer
from layerkit.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, Poisson
from layerkit.losses.tabled import Tabled, are_numbers
from layerkit.optimizers import Optimizer

Both = tuple[np.ndarray, np.ndarray]
"""Losses of shape (n_samples,) and their derivative, shaped like ``y_pred``."""


class Canonical(Loss):
    """Base of losses with a canonical link: the derivative is ``inverse_link(y_pred) - y_true``.

    A subclass states both formulas at once, in `value_and_derivative`, since they share their
    exponentials. Training, which is what gives a ``normalizer``, goes straight to it, where
    `prepare_targets` has checked the targets once for all epochs.
    """

    # What scikit-learn calls the inverse link.
    out_activation: ClassVar[str]
    # What `layerkit.kernels.epoch_program` calls the loss, whose number is `number`.
    code: ClassVar[int]
    number = 0.5
    subclasses_share_kernels = True  # they call `value_and_derivative`

    def value_and_derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> Both:
        """Both formulas."""
        raise NotImplementedError(f"{type(self).__name__} defines no value_and_derivative")

    def value(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return self.value_and_derivative(y_pred, y_true)[0]

    def derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> np.ndarray:
        return self.value_and_derivative(y_pred, y_true)[1]

    def tabled(self, y_true: np.ndarray, n_outputs: int, dtype: Any) -> Tabled | None:
        if not are_numbers(y_true, n_outputs, dtype) or y_true.dtype != dtype:
            return None
        return Tabled.of_numbers(self.code, y_true, dtype, float(self.number))

    @np.errstate(all="ignore")  # training looks whether the loss is finite
    def fused(
        self, y_pred: Any, y_true: Any, sample_weight: Any, normalizer: float | None
    ) -> tuple[float, np.ndarray] | None:
        if normalizer is None or y_true.shape != y_pred.shape or y_true.dtype != y_pred.dtype:
            return None
        values, gradient = self.value_and_derivative(y_pred, y_true)
        if sample_weight is None:
            gradient /= gradient.dtype.type(normalizer)
            total = values.sum(dtype=np.float64)
        else:
            gradient *= (sample_weight / normalizer).astype(gradient.dtype)[:, np.newaxis]
            total = sample_weight @ values
        return float(total / normalizer), gradient


class HalfSquaredError(Canonical):
    """Half the squared error, summed over the outputs.

    Notes
    -----
    - value: ``½ Σ_j (y_pred_j - y_true_j)²``
    - backward: ``y_pred - y_true``
    """

    out_activation = "identity"
    code = SQUARED_ERROR

    def value_and_derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> Both:
        error = y_pred - y_true
        return np.einsum("ij,ij->i", error, error) / 2, error


class HalfPoissonDeviance(Canonical, Poisson):
    """Half the Poisson deviance on the log of the mean, summed over the outputs.

    Notes
    -----
    With z = y_pred, y = y_true:

    - value: ``Σ_j y_j log(y_j) - y_j - y_j z_j + exp(z_j)``, where ``0 log 0`` is 0
    - backward: ``exp(z) - y``
    """

    out_activation = "exp"
    code = POISSON_SUM

    def value_and_derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> Both:
        error = np.exp(y_pred) - y_true
        y_log_y = y_true * np.log(np.where(y_true > 0, y_true, 1))
        return np.sum(y_log_y - y_true * y_pred + error, axis=1), error


class LogLoss(Canonical, BinaryCrossEntropy):
    """Cross-entropy of independent yes/no outputs, summed over them.

    Parameters
    ----------
    cap : float, default=inf
        Largest value of an output. The derivative knows nothing of it: see `reported_cap`.

    Notes
    -----
    - value: ``Σ_j min(cap, log(1 + exp(y_pred_j)) - y_true_j y_pred_j)``
    - backward: ``σ(y_pred) - y_true``
    """

    out_activation = "logistic"
    code = SIGMOID_SUM
    number = property(attrgetter("cap"))  # type: ignore[assignment]

    def __init__(self, cap: float = np.inf) -> None:
        super().__init__()
        self.cap = cap

    def value_and_derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> Both:
        return cross_entropy_of_sigmoid(y_pred, y_true, float(self.cap))


class SoftmaxLogLoss(Canonical, CategoricalCrossEntropy):
    """Cross-entropy between the softmax of the outputs and the class.

    Parameters
    ----------
    cap : float, default=inf
        Largest value of a sample. The derivative knows nothing of it: see `reported_cap`.

    Notes
    -----
    - value: ``min(cap, log(Σ_k exp(y_pred_k)) - Σ_k y_true_k y_pred_k)``
    - backward: ``softmax(y_pred) - y_true``
    """

    out_activation = "softmax"
    code = SOFTMAX_SUM
    number = property(attrgetter("cap"))  # type: ignore[assignment]

    def __init__(self, cap: float = np.inf) -> None:
        super().__init__()
        self.cap = cap

    def value_and_derivative(self, y_pred: np.ndarray, y_true: np.ndarray) -> Both:
        return cross_entropy_of_softmax(y_pred, y_true, float(self.cap))


def reported_cap(solver: str, dtype: Any) -> float:
    """Largest log-loss of an output that is reported: ``-log(eps)``, as in scikit-learn.

    There the probabilities are clipped before the logarithm, which the derivative leaves out. For
    "sgd" and "adam" the number only decides when to stop, and is kept, so that they stop in the
    same epoch. The line search of "lbfgs" needs the very loss whose derivative it follows.
    """
    return np.inf if solver == "lbfgs" else -float(np.log(np.finfo(dtype).eps))


class Penalized(Loss):
    """A loss plus ``alpha / (2 normalizer) ||W||²``, whose gradient the optimizer adds.

    The penalty is of ``network``'s arrays that decay. The optimizer's ``weight_decay`` follows the
    normalizer, which is smaller in a last, shorter batch.
    """

    def __init__(
        self, unpenalized: Loss, alpha: float, network: Layer, optimizer: Optimizer
    ) -> None:
        self.unpenalized = unpenalized
        self.alpha = alpha
        self.network = network
        self.optimizer = optimizer
        self.weights = decaying(network)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "weights"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, weights=decaying(state["network"]))  # views, once more

    def forward(
        self, y_pred: Any, y_true: Any, sample_weight: Any = None, normalizer: float | None = None
    ) -> float:
        value = self.unpenalized.forward(y_pred, y_true, sample_weight, normalizer)
        if normalizer is None:  # validation, not training
            return value
        decay = self.settle(normalizer)
        part = len(y_pred) / normalizer  # of the batch, where several processes share it
        return value + part * penalty(decay, self.weights)

    def stepped_by(self, optimizer: Optimizer) -> Penalized:
        """Return the same for another optimizer."""
        return Penalized(self.unpenalized, self.alpha, self.network, optimizer)

    def settle(self, normalizer: float) -> float:
        """Let the optimizer's weight decay be that of a batch."""
        decay = self.alpha / normalizer
        if decay != self.optimizer.weight_decay:  # a change makes it check its parameters
            self.optimizer.weight_decay = decay
        return decay

    def backward(self) -> np.ndarray:
        return self.unpenalized.backward()

    def tabled(self, y_true: np.ndarray, n_outputs: int, dtype: Any) -> Tabled | None:
        found = self.unpenalized.tabled(y_true, n_outputs, dtype)
        return None if found is None else found._replace(alpha=self.alpha)


def decaying(network: Layer) -> list[np.ndarray]:
    """Return views of the weights, which the penalty is of."""
    return [network.flat_params[slot.slice] for slot in network.layout if slot.decay]


def penalty(decay: float, weights: Sequence[np.ndarray]) -> float:
    """``decay / 2 ||W||²``, in float64 like every loss."""
    with np.errstate(over="ignore"):
        return decay / 2 * sum(map(sum_of_squares, weights)) if decay else 0.0
