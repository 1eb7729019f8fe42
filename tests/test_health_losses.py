"""How well a network fits is judged by its own loss, where that is no squared error."""

from functools import partial

import numpy as np
import pytest
from clinic import CCE, MSE, Run, mlp
from sklearn.metrics import d2_absolute_error_score, d2_pinball_score, d2_tweedie_score, r2_score

from layerkit.inspection import health
from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis.explained import Deviance, Squares, measure_of
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.losses import (
    Focal,
    Gamma,
    GaussianNLL,
    Hinge,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    Poisson,
    Quantile,
    Tweedie,
)
from layerkit.optimizers import Adam


def product(n=300, seed=0):
    """Draw x, and a product of two columns of it, which no line explains."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, 3))
    f = 3 * X[:, :1] * X[:, 1:2]
    return X, f, rng


def number(f, rng):
    return f + 0.2 * rng.normal(size=f.shape)


def count(f, rng):
    return rng.poisson(2 * np.exp(f)).astype(float)


def amount(f, rng):
    return rng.gamma(4.0, np.exp(f)) + 0.01


def sign(f, rng):
    return np.where(number(f, rng) > 0, 1.0, -1.0)


def cut(f, rng):
    return np.digitize(number(f, rng)[:, 0], [-0.5, 0.5])


LOSSES = {  # targets, number of outputs
    MeanAbsoluteError: (number, 1),
    Huber: (number, 1),
    LogCosh: (number, 1),
    partial(Quantile, 0.2): (number, 1),
    partial(Quantile, [0.1, 0.5, 0.9]): (number, 3),
    GaussianNLL: (number, 2),
    Poisson: (count, 1),
    Gamma: (amount, 1),
    partial(Tweedie, 1.5): (amount, 1),
    Hinge: (sign, 1),
    Focal: (cut, 3),
}
sweep = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: repr(loss()))


def judged(loss, X, y, k):
    rows = Rows(X, y)
    return measure_of(loss, rows, probes.best_constant(loss, rows, (k,)), (k,))


@pytest.mark.parametrize(
    ("loss", "target", "score"),
    [
        (MSE(), number, r2_score),
        (MeanAbsoluteError(), number, d2_absolute_error_score),
        (Quantile(0.2), number, partial(d2_pinball_score, alpha=0.2)),
        (Poisson(), count, partial(d2_tweedie_score, power=1)),
        (Gamma(), amount, partial(d2_tweedie_score, power=2)),
        (Tweedie(1.5), amount, partial(d2_tweedie_score, power=1.5)),
    ],
    ids=["MSE", "MAE", "quantile", "Poisson", "Gamma", "Tweedie"],
)
def test_what_a_network_explains_is_the_d2_of_scikit_learn(loss, target, score):
    X, f, rng = product()
    y = target(f, rng)
    outputs = 0.8 * f + 0.1 * rng.normal(size=f.shape) + (loss.inverse_link(0.0) == 1)
    found = judged(loss, X, y, 1).by_network(outputs)
    assert found == pytest.approx(score(y, loss.inverse_link(outputs)), abs=5e-3)


def test_a_normal_density_of_one_deviation_explains_its_r2():
    X, f, rng = product()
    y = number(f, rng)
    variance = np.full_like(f, np.log(np.square(y - f).mean()))
    found = judged(GaussianNLL(), X, y, 2).by_network(np.hstack([f, variance]))
    assert found == pytest.approx(r2_score(y, f), abs=1e-3)


@sweep
def test_a_constant_explains_nothing_and_what_is_left_leads_back_to_the_loss(loss):
    X, f, rng = product()
    target, k = LOSSES[loss]
    judge = judged(loss(), X, target(f, rng), k)
    assert judge.left(judge.constant) == pytest.approx(1)
    assert judge.left(judge.loss_that_leaves(0.3)) == pytest.approx(0.3)
    assert judge.has_best == (loss is not GaussianNLL)


@sweep
def test_noise_explains_nothing_and_the_truth_much_to_a_model(loss):
    X, f, rng = product()
    target, k = LOSSES[loss]
    y = target(f, rng)
    judge = judged(loss(), X, y, k)
    targets = probes.target_matrix(loss(), y)
    noise = rng.normal(size=X.shape)
    for predicted in (
        rng.normal(size=targets.shape),
        noise,
        probes.Neighbourhood(noise).predicts(targets),
    ):
        assert abs(judge.by_model(predicted)) < 0.05
    truth = np.hstack([f, np.abs(f - f.mean())])[:, : targets.shape[1]]
    assert judge.by_model(truth) > 0.3


def test_squared_errors_and_cross_entropies_are_judged_by_r2():
    X, f, rng = product()
    for loss, y, k in ((MSE(), number(f, rng), 1), (CCE(), cut(f, rng), 3)):
        assert isinstance(judged(loss, X, y, k), Squares)
    assert isinstance(judged(Huber(), X, number(f, rng), 1), Deviance)


@pytest.mark.parametrize(
    "loss", [Gamma, partial(Quantile, [0.1, 0.5, 0.9])], ids=["Gamma", "three"]
)
@pytest.mark.parametrize(("widths", "named"), [((24,), []), ((), ["underfitting"])])
def test_a_network_underfits_by_its_own_loss(loss, widths, named):
    X, f, rng = product(200)
    target, k = LOSSES.get(loss, (number, 3))
    run = Run(mlp(*widths, out=k), loss(), Adam(0.03), (X, target(f, rng)), 30)
    report = health(run.network, *run.data, run.loss, history=run.go())
    assert [verdict.name for verdict in report.verdicts] == named
    if named:
        said = f"{type(run.loss).__name__} could gain on a constant (D²) on its own"
        assert said in report.verdicts[0].evidence
