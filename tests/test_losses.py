"""Every loss of the table keeps every promise of the contract; and what is special about each."""

import numpy as np
import pytest
from errors import raises_exactly, theirs
from hypothesis import given
from hypothesis import strategies as st
from loss_cases import CASES, LossCase, N, identity, normal
from loss_contract import CHECKS, assert_no_backward, assert_refused, check_reference, gradient
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import xlogy
from sklearn import metrics

from layerkit import losses
from layerkit.estimators.mlp.losses import HalfPoissonDeviance, HalfSquaredError, LogLoss
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    CosineSimilarity,
    Focal,
    Gamma,
    GaussianNLL,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    MultiMargin,
    NegativeLogLikelihood,
    Poisson,
    Quantile,
    SquaredHinge,
    Tweedie,
)

WITHOUT_TORCH = [check for check in CHECKS if check is not check_reference]


class Cauchy(Loss):
    """As a user writes a loss."""

    def value(self, y_pred, y_true):
        return np.log1p((y_pred - y_true) ** 2)

    def derivative(self, y_pred, y_true):
        error = y_pred - y_true
        return 2 * error / (1 + error**2)


CAUCHY = LossCase("Cauchy", Cauchy, normal(3), normal(3), lambda F, p, t: None, best=identity)


@pytest.mark.parametrize("check", WITHOUT_TORCH, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", [*CASES, CAUCHY], ids=str)
def test_contract(case, check):
    check(case.loss(), case)


def test_every_public_loss_has_a_case():
    assert {type(case.loss()).__name__ for case in CASES} == set(losses.__all__) - {"Loss"}


# ---------------------------------------------------------------- hand values

LN2 = np.log(2)


@pytest.mark.parametrize(
    "loss, y_pred, y_true, value, slope",
    [
        (MeanSquaredError(), [[1, 2], [3, 4]], [[0, 4], [3, 0]], 21 / 4, [[0.5, -1], [0, 2]]),
        (
            MeanAbsoluteError(),
            [[1, 2], [3, 4]],
            [[0, 4], [3, 0]],
            7 / 4,
            [[0.25, -0.25], [0, 0.25]],
        ),
        (Huber(delta=2.0), [1.0, 5.0], [0.0, 0.0], (0.5 + 2 * 4) / 2, [0.5, 1.0]),
        (LogCosh(), [[LN2]], [[0]], np.log(1.25), [[0.6]]),
        (Quantile(quantiles=0.9), [0.0, 3.0], [2.0, 2.0], (0.9 * 2 + 0.1 * 1) / 2, [-0.45, 0.05]),
        (Quantile(quantiles=[0.5, 0.9]), [[0.0, 3.0]], [2.0], (1.0 + 0.1) / 2, [[-0.25, 0.05]]),
        (BinaryCrossEntropy(), [0.0, np.log(3)], [1, 0], (LN2 + np.log(4)) / 2, [-0.25, 0.375]),
        (BinaryCrossEntropy(pos_weight=3.0), [0.0, 0.0], [1, 0], 2 * LN2, [-0.75, 0.25]),
        (
            BinaryCrossEntropy(label_smoothing=0.2),
            [np.log(3)],
            [1],
            np.log(4 / 3) + 0.1 * np.log(3),
            [-0.15],
        ),
        (CategoricalCrossEntropy(), [[0, 0, LN2]], [2], LN2, [[0.25, 0.25, -0.5]]),
        (
            CategoricalCrossEntropy(label_smoothing=0.3),
            [[0, 0, LN2]],
            [2],
            LN2 + 0.2 * LN2,
            [[0.15, 0.15, -0.3]],
        ),
        (NegativeLogLikelihood(), [[-1.0, -2.0]], [1], 2.0, [[0, -1]]),
        (
            KLDivergence(),
            [[0.0, 0.0]],
            [[0.25, 0.75]],
            LN2 + 0.25 * np.log(0.25) + 0.75 * np.log(0.75),
            [[0.25, -0.25]],
        ),
        (Focal(), [[0.0, 0.0]], [1], LN2 / 4, [[LN2 / 4 + 1 / 8, -LN2 / 4 - 1 / 8]]),
        (Focal(), [[0.0]], [[1]], LN2 / 4, [[-LN2 / 4 - 1 / 8]]),
        (Hinge(), [0.5, -0.5, 3.0], [1, 1, 0], (0.5 + 1.5 + 4) / 3, [-1 / 3, -1 / 3, 1 / 3]),
        (SquaredHinge(), [0.5, -0.5, 3.0], [1, 1, -1], (0.25 + 2.25 + 16) / 3, [-1 / 3, -1, 8 / 3]),
        (MultiMargin(), [[2.0, 1.5, 0.5, 3.0]], [0], (0.5 + 2) / 4, [[-0.5, 0.25, 0, 0.25]]),
        (Poisson(), [[LN2]], [[3]], 2 - 3 * LN2, [[-1]]),
        (Gamma(), [[LN2]], [[3]], LN2 + 1.5, [[-0.5]]),
        (Tweedie(power=1.5), [[2 * LN2]], [[3]], 2 * 2 + 2 * 3 / 2, [[0.5]]),
        (GaussianNLL(), [[1, 0, LN2, 0]], [[3, 0]], (LN2 + 2) / 4, [[-0.5, 0, -0.25, 0.25]]),
        (CosineSimilarity(), [[3.0, 4.0]], [[2.0, 0.0]], 0.4, [[-0.128, 0.096]]),
    ],
    ids=lambda value: repr(value) if isinstance(value, Loss) else "",
)
def test_hand_values(loss, y_pred, y_true, value, slope):
    assert_allclose(loss.forward(y_pred, y_true), value, rtol=1e-12)
    assert_allclose(loss.backward(), slope, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- scikit-learn as oracle


@pytest.mark.parametrize(
    "loss, metric, y_pred, y_true, factor",
    [
        (MeanSquaredError(), metrics.mean_squared_error, identity, identity, 1),
        (MeanAbsoluteError(), metrics.mean_absolute_error, identity, identity, 1),
        (
            Quantile(0.8),
            lambda *a, **w: metrics.mean_pinball_loss(*a, alpha=0.8, **w),
            identity,
            identity,
            1,
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Loss) else "",
)
@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_losses_equal_sklearns_metrics(
    loss, metric, y_pred, y_true, factor, outputs, rng
):
    p, t = rng.standard_normal((2, 20, outputs))
    w = rng.random(20)
    assert_allclose(loss.forward(p, t), metric(t, p), rtol=1e-12)
    assert_allclose(loss.forward(p, t, w), metric(t, p, sample_weight=w), rtol=1e-12)


@pytest.mark.parametrize(
    "loss, deviance, least",
    [
        (Poisson(), metrics.mean_poisson_deviance, 0.0),
        (Gamma(), metrics.mean_gamma_deviance, 0.1),
        *(
            (
                Tweedie(p),
                lambda *a, p=p, **w: metrics.mean_tweedie_deviance(*a, power=p, **w),
                least,
            )
            for p, least in [(-1, -2.0), (0, -2.0), (1, 0.0), (1.3, 0.0), (2, 0.1), (2.5, 0.1)]
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Loss) else "",
)
def test_likelihoods_are_half_sklearns_deviances_up_to_a_constant(loss, deviance, least, rng):
    t = np.maximum(rng.standard_normal(20), least)
    w = rng.random(20)
    for weights in (None, w):
        differences = [
            loss.forward(p, t, weights)
            - deviance(t, loss.inverse_link(p), sample_weight=weights) / 2
            for p in rng.standard_normal((5, 20))
        ]
        assert_allclose(differences, differences[0], rtol=1e-9, atol=1e-12)


def test_cross_entropies_and_hinge_equal_sklearns_metrics(rng):
    w = rng.random(20)
    logits, labels = rng.standard_normal((20, 3)), np.arange(20) % 3
    loss = CategoricalCrossEntropy()
    expected = metrics.log_loss(labels, loss.inverse_link(logits), sample_weight=w)
    assert_allclose(loss.forward(logits, labels, w), expected, rtol=1e-10)

    logit, bits = rng.standard_normal(20), np.arange(20) % 2
    loss = BinaryCrossEntropy()
    expected = metrics.log_loss(bits, loss.inverse_link(logit), sample_weight=w)
    assert_allclose(loss.forward(logit, bits, w), expected, rtol=1e-10)
    expected = metrics.hinge_loss(bits, logit, sample_weight=w)
    assert_allclose(Hinge().forward(logit, bits, w), expected, rtol=1e-12)


# ---------------------------------------------------------------- relations between losses


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=5), st.data())
def test_gradients_of_softmax_losses_sum_to_zero(logits, data):
    label = data.draw(st.integers(0, len(logits) - 1))
    for loss in (
        CategoricalCrossEntropy(label_smoothing=0.1),
        KLDivergence(),
        Focal(),
        MultiMargin(),
    ):
        slope = gradient(loss, [logits], [label])
        assert np.isfinite(slope).all()
        assert abs(slope.sum()) < 1e-12


@given(st.floats(-1e4, 1e4), st.integers(0, 1))
def test_one_logit_is_two_with_the_first_at_zero(logit, bit):
    for one, two in (
        (BinaryCrossEntropy(), CategoricalCrossEntropy()),
        (Focal(), Focal()),
        (Focal(gamma=0), CategoricalCrossEntropy()),
    ):
        assert_allclose(
            one.forward([[logit]], [[bit]]),
            two.forward([[0, logit]], [bit]),
            rtol=1e-12,
            atol=1e-300,  # subnormal numbers have fewer digits
        )
        assert_allclose(one.backward()[0, 0], two.backward()[0, 1], rtol=1e-9, atol=1e-15)


def test_special_cases_coincide(rng):
    p, t = rng.standard_normal((20, 2)), rng.random((20, 2))
    for special, general, factor in [
        (Poisson(), Tweedie(power=1), 1),
        (Gamma(), Tweedie(power=2), 1),
        (MeanAbsoluteError(), Quantile(), 0.5),
        (MeanSquaredError(), Huber(delta=1e3), 0.5),
    ]:
        assert_allclose(general.forward(p, t), factor * special.forward(p, t), rtol=1e-12)
        assert_allclose(general.backward(), factor * special.backward(), rtol=1e-12)


@pytest.mark.parametrize("dtype, rtol", [(np.float32, 3e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize(
    "loss, targets",
    [
        (CategoricalCrossEntropy(), [2, 0, 1, 1]),
        (CategoricalCrossEntropy(label_smoothing=0.3), [2, 0, 1, 1]),
        (BinaryCrossEntropy(), np.eye(4, 3, dtype=int)),
        (BinaryCrossEntropy(pos_weight=2.5), np.eye(4, 3, dtype=bool)),
        (BinaryCrossEntropy(pos_weight=3, label_smoothing=0.2), np.full((4, 3), 0.7)),
        (BinaryCrossEntropy(label_smoothing=1.0), np.eye(4, 3)),
    ],
    ids=str,
)
def test_one_pass_gives_what_the_formulas_give(loss, targets, dtype, rtol, rng):
    formulas = type("Subclass", (type(loss),), {})(**loss.get_params(deep=False))
    for size in (1, 30, 1e4):
        logits = (size * rng.standard_normal((4, 3))).astype(dtype)
        for weights in (None, rng.random(4), [0.0, 2.0, 0.0, 1.0]):
            assert formulas.fused(logits, np.asarray(targets), weights, None) is None
            expected = formulas.forward(logits, targets, weights), formulas.backward()
            assert_allclose(loss.forward(logits, targets, weights), expected[0], rtol=rtol)
            assert_allclose(loss.backward(), expected[1], rtol=rtol, atol=rtol / 100)


@pytest.mark.parametrize("k, in_one_pass", [(1, False), (2, True), (3, True)])
def test_labels_of_two_classes_and_more_take_one_pass(k, in_one_pass):
    logits, labels = np.zeros((4, k)), np.zeros(4, int)
    found = CategoricalCrossEntropy().fused(logits, labels, None, None)
    assert (found is not None) is in_one_pass


@pytest.mark.parametrize("loss", [HalfSquaredError(), HalfPoissonDeviance(), LogLoss()], ids=str)
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 1.0]])
def test_one_pass_of_a_sum_gives_what_its_formulas_give(loss, weights, rng):
    top = 4 if isinstance(loss, HalfPoissonDeviance) else 2
    y_pred, y_true = rng.standard_normal((4, 3)), rng.integers(0, top, (4, 3)).astype(float)
    w = np.ones(4) if weights is None else np.array(weights)
    given = y_pred, y_true, None if weights is None else w
    assert loss.fused(*given, None) is None
    found, gradient = loss.fused(*given, 7.0)
    plain = {
        HalfSquaredError: (y_pred - y_true) ** 2 / 2,
        HalfPoissonDeviance: np.exp(y_pred) - y_true * y_pred - y_true + xlogy(y_true, y_true),
        LogLoss: np.log1p(np.exp(y_pred)) - y_true * y_pred,
    }[type(loss)].sum(axis=1)
    assert_allclose(loss.value(y_pred, y_true), plain, rtol=1e-10)
    assert_allclose(found, w @ plain / 7, rtol=1e-10)
    assert_allclose(gradient, w[:, np.newaxis] * loss.derivative(y_pred, y_true) / 7, rtol=1e-12)
    assert loss.forward(*given, 7.0) == found
    loss.backward()[...] = 0  # a copy
    np.testing.assert_array_equal(loss.backward(), gradient)


def test_labels_one_hot_and_boolean_rows_are_the_same(rng):
    logits, labels = rng.standard_normal((5, 3)), np.array([0, 2, 1, 1, 0])
    rows = np.eye(3)[labels]
    for loss in (
        CategoricalCrossEntropy(label_smoothing=0.1),
        NegativeLogLikelihood(),
        KLDivergence(),
        MultiMargin(),
    ):
        expected = gradient(loss, logits, labels)
        for form in (
            labels.astype(np.uint8),
            rows,
            rows.astype(bool),
            rows.astype(int),
            rows.tolist(),
        ):
            assert_allclose(gradient(loss, logits, form), expected, rtol=1e-14, atol=1e-16)
    two = rng.standard_normal((3, 2))
    assert_array_equal(
        gradient(CategoricalCrossEntropy(), two, [True, False, True]),
        gradient(CategoricalCrossEntropy(), two, [1, 0, 1]),
    )


def test_the_best_quantile_is_the_quantile():
    t = np.arange(101.0)[:, None]
    candidates = np.arange(0, 101.0)
    for q in (0.1, 0.5, 0.9):
        values = [Quantile(q).forward(np.full_like(t, c), t) for c in candidates]
        assert candidates[np.argmin(values)] == 100 * q


def test_the_best_gaussian_has_the_mean_and_variance(rng):
    t = rng.normal(3.0, 2.0, size=(500, 1))
    best = np.tile([t.mean(), np.log(t.var())], (500, 1))
    assert_allclose(gradient(GaussianNLL(), best, t).sum(axis=0), 0, atol=1e-12)


# ---------------------------------------------------------------- kinks


@pytest.mark.parametrize(
    "loss, y_pred, y_true",
    [
        (MeanAbsoluteError(), [[2.0, 1.0]], [[2.0, 0.0]]),
        (Quantile(0.9), [[2.0, 1.0]], [[2.0, 0.0]]),
        (Quantile([0.2, 0.9]), [[2.0, 2.0]], [2.0]),
        (Huber(), [[1.0, -1.0]], [[0.0, 0.0]]),
        (Hinge(), [[1.0, -1.0]], [[1, 0]]),
        (MultiMargin(), [[1.0, 0.0, -3.0]], [0]),
        (MultiMargin(), [[1.0, 0.0, 0.0]], [0]),
    ],
    ids=repr,
)
def test_at_a_kink_the_gradient_lies_between_the_one_sided_slopes(loss, y_pred, y_true):
    y_pred = np.array(y_pred)
    here, slope = loss.forward(y_pred, y_true), loss.backward()
    for i in np.ndindex(y_pred.shape):
        step = np.zeros_like(y_pred)
        step[i] = 1e-6
        right = (loss.forward(y_pred + step, y_true) - here) / 1e-6
        left = (here - loss.forward(y_pred - step, y_true)) / 1e-6
        assert left - 1e-6 <= slope[i] <= right + 1e-6  # all losses here are convex


@pytest.mark.parametrize(
    "loss, y_pred, y_true",
    [
        (MeanAbsoluteError(), [[2.0]], [[2.0]]),
        (Quantile(0.9), [[2.0]], [[2.0]]),
        (Hinge(), [[1.0, -1.0]], [[1, 0]]),
        (MultiMargin(), [[1.0, 0.0, 0.0]], [0]),
    ],
    ids=repr,
)
def test_at_the_kink_of_a_minimum_the_gradient_is_zero(loss, y_pred, y_true):
    assert not gradient(loss, y_pred, y_true).any()


# ---------------------------------------------------------------- numbers


def test_confident_predictions_keep_their_digits():
    """The loss is exp(-60), not log(1 + exp(-60)) = 0."""
    tiny = np.exp(-60)
    for loss, y_pred, y_true in [
        (BinaryCrossEntropy(), [[60.0]], [[1]]),
        (BinaryCrossEntropy(), [[-60.0]], [[0]]),
        (CategoricalCrossEntropy(), [[60.0, 0.0]], [0]),
        (Focal(gamma=0), [[60.0, 0.0]], [0]),
    ]:
        assert_allclose(loss.forward(y_pred, y_true), tiny, rtol=1e-12)


def test_extreme_values_are_the_limits():
    for dtype in (np.float32, np.float64):
        far = np.array([[1e4, -1e4]], dtype)
        assert CategoricalCrossEntropy().forward(far, [1]) == 2e4
        assert BinaryCrossEntropy().forward(far, [[0, 1]]) == 1e4
        assert LogCosh().forward(far, np.zeros((1, 2))) == pytest.approx(1e4 - LN2, rel=1e-6)
        assert Focal().forward(far, [1]) == 2e4
        assert_array_equal(CategoricalCrossEntropy().inverse_link(far), [[1, 0]])
        assert_array_equal(BinaryCrossEntropy().inverse_link(far), [[1, 0]])


@pytest.mark.parametrize(
    "loss, value",
    [
        (CategoricalCrossEntropy(), -np.log(0.75)),
        (NegativeLogLikelihood(), -np.log(0.75)),
        (KLDivergence(), -np.log(0.75)),
        (Focal(), 0.25**2 * -np.log(0.75)),
        (MultiMargin(margin=2.0), (2 - np.log(3)) / 3),
    ],
    ids=lambda value: repr(value) if isinstance(value, Loss) else "",
)
def test_an_impossible_class_that_is_no_target_does_no_harm(loss, value):
    masked = np.log([[0.25, 0.75, 1.0]])
    masked[0, 2] = -np.inf
    assert_allclose(loss.forward(masked, [1]), value)
    slope = loss.backward()
    assert np.isfinite(slope).all()
    assert slope[0, 2] == 0
    assert loss.forward(masked, [2]) == np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_impossible_yes_that_is_no_target_does_no_harm(dtype):
    loss = Focal()
    assert loss.forward(np.array([[-np.inf]], dtype), [[0]]) == 0
    assert loss.backward().tolist() == [[0.0]]


def test_float32_is_accumulated_in_float64():
    n = 300_000
    y_pred, zeros = np.full((n, 1), 0.1, np.float32), np.zeros((n, 1), np.float32)
    assert_allclose(
        MeanSquaredError().forward(y_pred, zeros), float(np.float32(0.1) ** 2), rtol=1e-12
    )
    assert_allclose(
        MeanSquaredError().forward(y_pred, zeros, np.full(n, 0.3)),
        float(np.float32(0.1) ** 2),
        rtol=1e-10,
    )


def test_overflow_is_an_infinite_loss_not_a_warning():
    assert Poisson().forward([[1e4]], [[1.0]]) == np.inf
    assert Gamma().forward([[-1e4]], [[1.0]]) == np.inf
    assert GaussianNLL().forward([[0.0, -1e4]], [[1.0]]) == np.inf
    for dtype in (np.float32, np.float64):
        assert BinaryCrossEntropy().forward(np.array([np.inf], dtype), [0]) == np.inf


@pytest.mark.parametrize("y_pred", [-180.0, -1e4])
def test_no_amount_at_a_vanishing_mean_costs_nothing(y_pred):
    loss = Tweedie(power=1.5)
    assert loss.forward(np.array([[y_pred]], np.float32), [[0.0]]) == pytest.approx(0, abs=1e-30)
    assert loss.backward() == pytest.approx(0, abs=1e-30)


def test_zero_vectors_have_no_direction():
    loss = CosineSimilarity()
    assert loss.forward([[0.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]) == 1
    assert np.isfinite(loss.backward()).all()


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "loss, message",
    [
        (Huber(delta=0), "delta must be a positive number, got 0"),
        (Huber(delta=np.nan), "delta must be a positive number, got nan"),
        (
            Quantile(quantiles=1.0),
            "quantiles must be between 0 and 1, one number or a sequence of them, got 1.0",
        ),
        (
            Quantile(quantiles=[0.5, 1.2]),
            "quantiles must be between 0 and 1, one number or a sequence of them, got [0.5, 1.2]",
        ),
        (
            Quantile(quantiles=[]),
            "quantiles must be between 0 and 1, one number or a sequence of them, got []",
        ),
        (
            BinaryCrossEntropy(pos_weight=0.0),
            "pos_weight must be None, a positive number or an array of them, got 0.0",
        ),
        (
            BinaryCrossEntropy(pos_weight=[1.0, -1.0]),
            "pos_weight must be None, a positive number or an array of them, got [1.0, -1.0]",
        ),
        (
            BinaryCrossEntropy(label_smoothing=1.5),
            "label_smoothing must be between 0 and 1, got 1.5",
        ),
        (
            CategoricalCrossEntropy(label_smoothing=-0.1),
            "label_smoothing must be between 0 and 1, got -0.1",
        ),
        (Focal(gamma=-1), "gamma must be a number, at least 0, got -1"),
        (MultiMargin(margin=0), "margin must be a positive number, got 0"),
        (Tweedie(power=np.inf), "power must be a finite number, got inf"),
    ],
    ids=lambda value: repr(value) if isinstance(value, Loss) else "",
)
def test_invalid_hyper_parameters_are_named_when_used(loss, message):
    assert_refused(loss, [[0.0, 0.0]], [[1.0, 0.0]], names=message)


@pytest.mark.parametrize(
    "loss, y_pred, y_true, message",
    [
        (
            MeanSquaredError(),
            (5, 1),
            np.zeros(5),
            "y_true must have the shape of y_pred, got y_pred (5, 1) and y_true (5,)",
        ),
        (
            MeanSquaredError(),
            (5,),
            np.zeros((5, 1)),
            "y_true must have the shape of y_pred, got y_pred (5,) and y_true (5, 1)",
        ),
        (
            BinaryCrossEntropy(),
            (5, 1),
            np.zeros(5),
            "y_true must have the shape of y_pred, got y_pred (5, 1) and y_true (5,)",
        ),
        (BinaryCrossEntropy(), (2, 1), [[0.5], [1.5]], "y_true must be between 0 and 1, got 1.5"),
        (
            BinaryCrossEntropy(pos_weight=[1.0, 2.0]),
            (2, 1),
            [[0], [1]],
            "pos_weight must be a number or have one entry for each of the last axis of y_pred "
            "(2, 1), got shape (2,)",
        ),
        (
            BinaryCrossEntropy(pos_weight=[1.0, 2.0]),
            (2,),
            [0, 1],
            "pos_weight must be a number or have one entry for each of the last axis of y_pred "
            "(2,), got shape (2,)",
        ),
        (
            CategoricalCrossEntropy(),
            (5, 3),
            np.zeros((5, 1), int),
            "y_true must have shape (5,) (labels) or (5, 3) (rows of probabilities) for y_pred "
            "(5, 3), got (5, 1)",
        ),
        (
            CategoricalCrossEntropy(),
            (2, 3),
            [0.0, 1.0],
            "labels in y_true must be integers, got float64",
        ),
        (CategoricalCrossEntropy(), (2, 3), [0, 3], "y_true must be labels from 0 to 2, got 3"),
        (CategoricalCrossEntropy(), (2, 3), [0, -1], "y_true must be labels from 0 to 2, got -1"),
        (
            CategoricalCrossEntropy(),
            (1, 2),
            [[1.5, -0.5]],
            "y_true must be probabilities, not negative, got -0.5",
        ),
        (
            CategoricalCrossEntropy(),
            (1, 2),
            [[1.0, 1.0]],
            "y_true must be rows that sum to 1, got 2.0",
        ),
        (
            CategoricalCrossEntropy(),
            (2, 1),
            [0, 0],
            "y_pred must have shape (n_samples, ..., k) with k >= 2 classes, got (2, 1)",
        ),
        (
            CategoricalCrossEntropy(),
            (2,),
            [0, 1],
            "y_pred must have shape (n_samples, ..., k) with k >= 2 classes, got (2,)",
        ),
        (MultiMargin(), (1, 2), [[0.5, 0.5]], "y_true must be labels or one-hot rows, got 0.5"),
        (
            Focal(),
            (2, 1),
            [0, 1],
            "y_true must have the shape of y_pred, got y_pred (2, 1) and y_true (2,)",
        ),
        (
            Hinge(),
            (3, 1),
            [[1], [0], [-1]],
            "y_true must be -1 and 1 only, or 0 and 1 only, got -1.0",
        ),
        (Hinge(), (1, 1), [[2]], "y_true must be -1 and 1 only, or 0 and 1 only, got 2.0"),
        (Poisson(), (1, 1), [[-1]], "y_true must be at least 0, got -1"),
        (Gamma(), (1, 1), [[0]], "y_true must be greater than 0, got 0"),
        (Tweedie(), (1, 1), [[-1]], "y_true must be at least 0, got -1"),
        (Tweedie(power=3), (1, 1), [[0]], "y_true must be greater than 0, got 0"),
        (
            GaussianNLL(),
            (5, 3),
            np.zeros((5, 3)),
            "y_pred must have shape (n_samples, ..., 2k), means and log-variances, and y_true "
            "(n_samples, ..., k), got y_pred (5, 3) and y_true (5, 3)",
        ),
        (
            GaussianNLL(),
            (5, 2),
            np.zeros(5),
            "y_pred must have shape (n_samples, ..., 2k), means and log-variances, and y_true "
            "(n_samples, ..., k), got y_pred (5, 2) and y_true (5,)",
        ),
        (
            Quantile([0.1, 0.9]),
            (5, 3),
            np.zeros(5),
            "y_pred must have shape (n_samples, ..., 2) and y_true the same without the last "
            "axis or with 1 there, got y_pred (5, 3) and y_true (5,)",
        ),
        (
            Quantile([0.1, 0.9]),
            (2,),
            np.zeros(1),
            "y_pred must have shape (n_samples, ..., 2) and y_true the same without the last "
            "axis or with 1 there, got y_pred (2,) and y_true (1,)",
        ),
        (
            CosineSimilarity(),
            (5,),
            np.zeros(5),
            "y_pred must have shape (n_samples, ..., k), got (5,)",
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Loss) else "",
)
def test_targets_that_do_not_fit_are_refused(loss, y_pred, y_true, message):
    assert_refused(loss, np.zeros(y_pred), y_true, names=message)


NO_NUMBERS = {
    "complex": lambda y: y.astype(complex),
    "text": lambda y: y.astype(str),
    "bytes": lambda y: y.astype("S8"),
    "dates": lambda y: y.astype("int64").astype("M8[s]"),
    "spans": lambda y: y.astype("int64").astype("m8[D]"),
}
NOT_FINITE = {"NaN": np.nan, "infinite": np.inf, "minus infinite": -np.inf}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_targets_that_are_no_numbers_are_refused_in_every_form(case):
    loss, (y_pred, y_true) = case.loss(), case.data()
    value = loss.forward(y_pred, y_true)
    for change in NO_NUMBERS.values():
        wrong = change(y_true)
        assert_refused(loss, y_pred, wrong, names=f"y_true must be numbers, got {wrong.dtype}")
        assert_no_backward(loss)
    for number in NOT_FINITE.values():
        for place in (0, -1):
            wrong = y_true.astype(float)
            wrong.reshape(-1)[place] = number
            assert_refused(loss, y_pred, wrong)
            assert_no_backward(loss)
    assert loss.forward(y_pred, y_true) == value


def test_targets_without_an_axis_for_the_mean_are_refused():
    assert GaussianNLL().output_shape((3, 2)) == (3, 4)
    message = "GaussianNLL(): y_true must have shape (n_samples, ..., k), got (n_samples,)"
    with raises_exactly(ValueError, message):
        GaussianNLL().output_shape(())


ZERO = "sample_weight is zero for all samples"


def test_all_weights_zero_is_an_error_only_without_a_normalizer():
    assert_refused(MeanSquaredError(), [[1.0]], [[0.0]], [0.0], names=ZERO)
    assert MeanSquaredError().forward([[1.0]], [[0.0]], [0.0], normalizer=3) == 0


@pytest.mark.parametrize(
    "y_true, weight, message",
    [
        (
            np.zeros((3, 1)),
            None,
            "HalfSquaredError(): y_true must have the shape of y_pred, got y_pred (2, 1) "
            "and y_true (3, 1)",
        ),
        (
            np.zeros((2, 1)),
            np.ones(3),
            theirs("broadcast together with shapes (2,1) (3,1)"),
        ),
    ],
)
def test_a_perceptrons_loss_that_failed_leaves_no_gradient_behind(y_true, weight, message):
    loss, y_pred = HalfSquaredError(), np.ones((2, 1))
    loss.forward(y_pred, np.zeros((2, 1)), np.ones(2), normalizer=2)
    with raises_exactly(ValueError, message):
        loss.forward(y_pred, y_true, weight, normalizer=2)
    assert_no_backward(loss)


@pytest.mark.parametrize("weight", [1e308, 5e-324])
def test_weights_count_beside_each_other_however_large_or_small(weight):
    loss = MeanSquaredError()
    assert loss.forward([[1.0], [2.0]], [[0.0], [0.0]], [weight, weight]) == 2.5
    assert loss.backward().tolist() == [[1.0], [2.0]]


# ---------------------------------------------------------------- one's own loss


def test_a_loss_without_formulas_says_so():
    class Nothing(Loss):
        pass

    with raises_exactly(NotImplementedError, "Nothing defines no value"):
        Nothing().forward([1.0], [1.0])


def test_formulas_of_the_wrong_shape_are_named():
    class Total(Loss):
        def value(self, y_pred, y_true):
            return np.sum(y_pred - y_true)

    with raises_exactly(
        ValueError, "Total(): value must have one row for each of the 2 samples, got shape ()"
    ):
        Total().forward([1.0, 2.0], [1.0, 1.0])

    class Narrow(MeanSquaredError):
        def derivative(self, y_pred, y_true):
            return super().derivative(y_pred, y_true).sum(axis=1)

    loss = Narrow()
    loss.forward(np.ones((N, 2)), np.ones((N, 2)))
    with raises_exactly(
        ValueError, "Narrow(): derivative must have the shape of y_pred (6, 2), got (6,)"
    ):
        loss.backward()


def test_hyper_parameters_show_and_nest():
    assert repr(Huber()) == "Huber()"
    assert (
        repr(BinaryCrossEntropy(label_smoothing=0.1)) == "BinaryCrossEntropy(label_smoothing=0.1)"
    )
    loss = Huber().set_params(delta=3.0)
    assert loss.get_params() == {"delta": 3.0}
    with raises_exactly(ValueError, "Huber has no parameter 'alpha'; valid parameters are delta"):
        loss.set_params(alpha=1)


def test_a_subclass_may_have_a_power_of_its_own():
    class Sharpened(Poisson):
        def __init__(self, power=3):
            self.power = power

    assert np.isfinite(Sharpened().forward(np.zeros((2, 1)), np.zeros((2, 1))))  # counts may be 0
