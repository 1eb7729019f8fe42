"""Losses with one mistake each: the contract must catch every one."""

import loss_contract as contract
import numpy as np
import pytest
from loss_cases import case_named

from layerkit.kernels import log_softmax, softmax
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    CosineSimilarity,
    Focal,
    GaussianNLL,
    Huber,
    MeanSquaredError,
    MultiMargin,
    Quantile,
)


class SumOverOutputs(MeanSquaredError):
    """Sum for mean, the same in value and derivative."""

    def value(self, y_pred, y_true):
        return super().value(y_pred, y_true).sum(axis=-1)


class OutputsForgotten(MeanSquaredError):
    """The gradient of the sum over outputs, beside the mean (scikit-learn#8349)."""

    def backward(self):
        gradient = super().backward()
        return gradient * gradient.shape[-1]


class HalfInValueOnly(MeanSquaredError):
    def value(self, y_pred, y_true):
        return super().value(y_pred, y_true) / 2


class HalfInBoth(HalfInValueOnly):
    """Another loss, consistent in itself."""

    def derivative(self, y_pred, y_true):
        return super().derivative(y_pred, y_true) / 2


class WeightsIgnoredInBackward(MeanSquaredError):
    def backward(self):
        y_pred, y_true, scale = self._pass
        return self.derivative(y_pred, y_true) * scale.mean()


class WeightsOnColumns(MeanSquaredError):
    def backward(self):
        y_pred, y_true, scale = self._pass
        return self.derivative(y_pred, y_true) * scale


class WeightsNotNormalized(MeanSquaredError):
    """Sum of weighted losses over the number of samples."""

    def forward(self, y_pred, y_true, sample_weight=None, normalizer=None):
        return super().forward(y_pred, y_true, sample_weight, normalizer or float(len(y_pred)))


class NormalizedByBatch(MeanSquaredError):
    def forward(self, y_pred, y_true, sample_weight=None, normalizer=None):
        return super().forward(y_pred, y_true, sample_weight)


class Broadcasts(MeanSquaredError):
    """(n, 1) with (n,) becomes (n, n)."""

    def prepare_targets(self, y_pred, y_true):
        return y_true


class ReusesBuffer(MeanSquaredError):
    def backward(self):
        gradient = super().backward()
        if getattr(self, "buffer", np.empty(0)).shape != gradient.shape:
            self.buffer = np.empty_like(gradient)
        self.buffer[...] = gradient
        return self.buffer


class WorksInPlace(MeanSquaredError):
    def value(self, y_pred, y_true):
        if y_pred.flags.writeable:
            y_pred -= y_true
            return y_pred**2
        return super().value(y_pred, y_true)


class AlwaysDouble(MeanSquaredError):
    def backward(self):
        return super().backward().astype(np.float64)


class HidesNaN(MeanSquaredError):
    def value(self, y_pred, y_true):
        return np.nan_to_num(super().value(y_pred, y_true))


class PicklesItsData(MeanSquaredError):
    def __getstate__(self):
        return vars(self)


class SmoothL1(Huber):
    def value(self, y_pred, y_true):
        return super().value(y_pred, y_true) / self.delta

    def derivative(self, y_pred, y_true):
        return super().derivative(y_pred, y_true) / self.delta


class QuantileUpsideDown(Quantile):
    def derivative(self, y_pred, y_true):
        return -super().derivative(y_pred, y_true)


class PosWeightOnNegatives(BinaryCrossEntropy):
    def prepare_targets(self, y_pred, y_true):
        return 1 - super().prepare_targets(y_pred, y_true)

    def value(self, y_pred, y_true):
        return super().value(-y_pred, y_true)

    def derivative(self, y_pred, y_true):
        return -super().derivative(-y_pred, y_true)


class TargetNotSubtracted(CategoricalCrossEntropy):
    def derivative(self, y_pred, y_true):
        return softmax(y_pred)


class SmoothedInValueOnly(CategoricalCrossEntropy):
    def derivative(self, y_pred, y_true):
        hard = np.eye(y_pred.shape[-1])[y_true.argmax(axis=-1)]
        return softmax(y_pred) - hard


class SmoothedOverTheOthers(CategoricalCrossEntropy):
    """eps / (k - 1) to the other classes, consistent in itself."""

    def prepare_targets(self, y_pred, y_true):
        k = y_pred.shape[-1]
        smoothed = super().prepare_targets(y_pred, y_true)
        eps = self.label_smoothing
        hard = (smoothed - eps / k) / (1 - eps)
        return hard * (1 - eps) + (1 - hard) * eps / (k - 1)


class SoftmaxThenLog(CategoricalCrossEntropy):
    def value(self, y_pred, y_true):
        e = np.exp(y_pred)
        return -(y_true * np.log(e / e.sum(axis=-1, keepdims=True))).sum(axis=-1)


class MeanOverClasses(CategoricalCrossEntropy):
    def value(self, y_pred, y_true):
        return -(y_true * log_softmax(y_pred)).mean(axis=-1)

    def derivative(self, y_pred, y_true):
        return super().derivative(y_pred, y_true) / y_pred.shape[-1]


class FocusNotDifferentiated(Focal):
    def derivative(self, y_pred, y_true):
        p = softmax(y_pred)
        s = -y_true * (1 - p) ** self.gamma
        return s - p * s.sum(axis=-1, keepdims=True)


class NotDividedByClasses(MultiMargin):
    def value(self, y_pred, y_true):
        return super().value(y_pred, y_true) * y_pred.shape[-1]

    def derivative(self, y_pred, y_true):
        return super().derivative(y_pred, y_true) * y_pred.shape[-1]


class VarianceWithoutGradient(GaussianNLL):
    def derivative(self, y_pred, y_true):
        gradient = super().derivative(y_pred, y_true)
        gradient[..., y_pred.shape[-1] // 2 :] = 0
        return gradient


class LengthNotDifferentiated(CosineSimilarity):
    def derivative(self, y_pred, y_true):
        lengths = [np.linalg.norm(a, axis=-1, keepdims=True) for a in (y_pred, y_true)]
        return -y_true / (lengths[0] * lengths[1])


@pytest.mark.parametrize(
    "mutant, case, check",
    [
        (SumOverOutputs, "MeanSquaredError(6,)", contract.check_outputs_are_averaged),
        (
            OutputsForgotten,
            "MeanSquaredError(6,)",
            contract.check_backward_is_the_derivative_of_forward,
        ),
        (
            HalfInValueOnly,
            "MeanSquaredError(1,)",
            contract.check_backward_is_the_derivative_of_forward,
        ),
        (HalfInBoth, "MeanSquaredError(1,)", contract.check_reference),
        (
            WeightsIgnoredInBackward,
            "MeanSquaredError(1,)",
            contract.check_backward_is_the_derivative_of_forward,
        ),
        (
            WeightsOnColumns,
            "MeanSquaredError(6,)",
            contract.check_backward_is_the_derivative_of_forward,
        ),
        (WeightsNotNormalized, "MeanSquaredError(1,)", contract.check_samples_are_weighted),
        (NormalizedByBatch, "MeanSquaredError(1,)", contract.check_normalizer),
        (Broadcasts, "MeanSquaredError(1,)", contract.check_refusals),
        (ReusesBuffer, "MeanSquaredError(1,)", contract.check_gradient_is_fresh),
        (WorksInPlace, "MeanSquaredError(1,)", contract.check_inputs_untouched),
        (AlwaysDouble, "MeanSquaredError(1,)", contract.check_dtypes),
        (HidesNaN, "MeanSquaredError(1,)", contract.check_nan_passes),
        (PicklesItsData, "MeanSquaredError(1,)", contract.check_object),
        (lambda: SmoothL1(0.3), "Huber(1,)-0.3", contract.check_reference),
        (
            lambda: QuantileUpsideDown(0.8),
            "Quantile(1,)",
            contract.check_backward_is_the_derivative_of_forward,
        ),
        (
            lambda: PosWeightOnNegatives(pos_weight=3.0),
            "BinaryCrossEntropy(1,)-bits-pos_weight",
            contract.check_reference,
        ),
        (
            TargetNotSubtracted,
            "CategoricalCrossEntropy-labels-0.0",
            contract.check_backward_is_the_derivative_of_forward,
        ),
        (
            lambda: SmoothedInValueOnly(label_smoothing=0.1),
            "CategoricalCrossEntropy-labels-0.1",
            contract.check_backward_is_the_derivative_of_forward,
        ),
        (
            lambda: SmoothedOverTheOthers(label_smoothing=0.1),
            "CategoricalCrossEntropy-labels-0.1",
            contract.check_reference,
        ),
        (SoftmaxThenLog, "CategoricalCrossEntropy-labels-0.0", contract.check_extreme_logits),
        (MeanOverClasses, "CategoricalCrossEntropy-labels-0.0", contract.check_reference),
        (
            FocusNotDifferentiated,
            "Focal-labels-2.0",
            contract.check_backward_is_the_derivative_of_forward,
        ),
        (NotDividedByClasses, "MultiMargin-labels-1.0", contract.check_reference),
        (
            VarianceWithoutGradient,
            "GaussianNLL(1,)",
            contract.check_backward_is_the_derivative_of_forward,
        ),
        (
            LengthNotDifferentiated,
            "CosineSimilarity",
            contract.check_backward_is_the_derivative_of_forward,
        ),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_mutant_is_caught(mutant, case, check):
    case = case_named(case)
    check(case.loss(), case)  # the loss itself passes
    with pytest.raises(AssertionError):
        check(mutant(), case)
