"""Rows, classes and validation rows of unequal weight are judged as training weighs them."""

import numpy as np
import pytest
from clinic import BCE, CCE, MSE, Run, mlp
from evidence_by_hand import evidence, snapshot
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from layerkit import Dense, MLPClassifier, ReLU, SequentialClassifier
from layerkit.inspection import HealthMonitor, health
from layerkit.inspection.diagnosis import probes, target_verdicts, training_verdicts
from layerkit.inspection.diagnosis.evidence import Evidence
from layerkit.inspection.diagnosis.explained import measure_of
from layerkit.inspection.diagnosis.subject import Rows, Subject
from layerkit.losses import Focal, Hinge, MeanAbsoluteError, MultiMargin, Poisson
from layerkit.optimizers import Adam
from layerkit.training import train


def names(report):
    return [verdict.name for verdict in report.verdicts]


def rare(n=300, share=0.12, seed=0):
    """Draw rows of two classes that overlap, the second of them rare."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    z = X[:, 0] - X[:, 1] * (X[:, 2] > 0) + 0.5 * rng.normal(size=n)
    return X, (z > np.quantile(z, 1 - share)).astype(int)


def three(n=300, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    return rng.normal(size=(n, 4)) + 1.5 * np.eye(3, 4)[y], y


def line(n=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return X, X[:, :1] - X[:, 1:2] + 0.3 * rng.normal(size=(n, 1))


def balanced(y):
    y = np.ravel(y) > 0.5
    return np.where(y, 0.5 / y.mean(), 0.5 / (1 - y.mean()))


def doubted(y):
    """Few rows count, the others were measured badly."""
    return np.where(np.arange(len(y)) % 3, 1.0, 0.03)


def signs(X, y):
    return X, 2.0 * y[:, None] - 1


def counts(X, y):
    return X, np.random.default_rng(0).poisson(np.exp(y / 2 + 0.5)).astype(float)


def column(X, y):
    return X, y[:, None] * 1.0


def noisy(X, y):
    return X, y + 3 * (doubted(y) < 1)[:, None] * np.random.default_rng(1).normal(size=y.shape)


# ------------------------------------------------------------------------------- healthy runs


WEIGHED = {  # loss, outputs, data, weights
    "balanced": (CCE(), 2, rare(), balanced),
    "balanced, one output": (BCE(), 1, column(*rare()), balanced),
    "balanced, focal": (Focal(), 2, rare(), balanced),
    "balanced, hinge": (Hinge(), 1, signs(*rare()), balanced),
    "a class in twenty": (CCE(), 2, rare(share=0.05), balanced),
    "classes unlike": (CCE(), 3, three(), lambda y: np.array([1, 5, 0.4])[y]),
    "margins unlike": (MultiMargin(), 3, three(), lambda y: np.array([1, 5, 0.4])[y]),
    "rows in doubt": (MSE(), 1, noisy(*line()), doubted),
    "rows in doubt, absolute": (MeanAbsoluteError(), 1, noisy(*line()), doubted),
    "counts in doubt": (Poisson(), 1, counts(*line()), doubted),
    "rows without weight": (MSE(), 1, line(), lambda y: np.where(doubted(y) < 1, 0.0, 2.0)),
}


QUICK = ("classes unlike", "rows without weight")


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.slow] * (c not in QUICK)) for c in WEIGHED]
)
def test_weighted_trainings_are_healthy(case):
    loss, k, (X, y), weigh = WEIGHED[case]
    network, optimizer, monitor = mlp(16, out=k), Adam(0.01), HealthMonitor(every=20)
    weight, labelled = weigh(y), slice(200, None)
    history = train(
        network, loss, optimizer, (X[:200], y[:200], weight[:200]), epochs=20, random_state=0,
        callbacks=[monitor],
    )  # fmt: skip
    known = {"history": history, "optimizer": optimizer, "batch_size": 32}
    for held in (None, (X[labelled], y[labelled]), (X[labelled], y[labelled], weight[labelled])):
        report = health(network, X[:200], y[:200], loss, sample_weight=weight[:200],
                        validation_data=held, **known)  # fmt: skip
        assert names(report) == []
    assert names(monitor.report()) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        SequentialClassifier([Dense(16), ReLU()], class_weight="balanced", max_iter=30),
        MLPClassifier((16,), class_weight={0: 1.0, 1: 8.0}, learning_rate_init=0.01, max_iter=30),
    ],
    ids=["balanced", "by a dict"],
)
def test_weighted_classes_of_an_estimator_are_healthy(estimator):
    X, y = rare(400)
    estimator.set_params(random_state=0).fit(X[:250], y[:250])
    assert names(health(estimator, X[:250], y[:250])) == []
    held = X[250:], y[250:]
    assert names(health(estimator, X[:250], y[:250], validation_data=held)) == []


# ------------------------------------------------------------------------------- what is measured


@pytest.mark.parametrize(
    ("loss", "k", "data"),
    [
        (CCE(), 3, three()),
        (BCE(), 1, column(*rare())),
        (MSE(), 1, line()),
        (MeanAbsoluteError(), 1, line()),
        (Poisson(), 1, counts(*line())),
        (Focal(), 3, three()),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "value") else "",
)
def test_a_weight_of_two_counts_a_row_twice(loss, k, data):
    rng = np.random.default_rng(3)
    X, y = data[0][:120], data[1][:120]
    weight = rng.integers(1, 4, len(y)).astype(float)
    outputs, again = rng.normal(size=(len(y), k)), np.repeat(np.arange(len(y)), weight.astype(int))

    def explained(rows, outputs):
        constant = probes.best_constant(loss, rows, (k,))
        return measure_of(loss, rows, constant, (k,)).by_network(outputs)

    found = explained(Rows(X, y, weight), outputs)
    assert found == pytest.approx(explained(Rows(X[again], y[again]), outputs[again]), abs=2e-3)
    assert abs(found - explained(Rows(X, y), outputs)) > 0.01
    targets = probes.target_matrix(loss, y)
    assert probes.explained(targets, targets[::-1], weight) == pytest.approx(
        probes.explained(targets[again], targets[::-1][again])
    )


@pytest.mark.parametrize("weight", [None, "uneven"])
def test_a_weighted_line_is_what_it_predicts_of_rows_left_out(weight):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    y[:, :1] += X[:, :1]
    w = np.ones(40) if weight is None else rng.uniform(0.1, 4, 40)
    x, predicted = StandardScaler().fit_transform(X), np.empty_like(y)
    for i in range(40):
        others = np.arange(40) != i
        line = Ridge(1e-3 * w.sum()).fit(x[others], y[others], sample_weight=w[others])
        predicted[i] = line.predict(x[[i]])
    found = probes.linear_explains(X, y, None if weight is None else w)
    # The ridge pulls towards the mean of all rows, not of those that are left.
    assert found == pytest.approx(probes.explained(y, predicted, w), abs=2e-4)


def test_neighbours_count_by_their_weight():
    X = np.array([[0.0], [1], [2], [3], [10], [11]])
    targets, weight = np.arange(6.0)[:, None], np.array([1.0, 1, 1, 1, 1, 7])
    near = probes.Neighbourhood(X)
    found = near.predicts(targets, weight)
    others = [np.arange(6) != i for i in range(6)]
    expected = [np.average(targets[o, 0], weights=weight[o]) for o in others]
    np.testing.assert_allclose(found[:, 0], expected)
    np.testing.assert_allclose(near.predicts(targets, np.ones(6)), near.predicts(targets))


@pytest.mark.parametrize("garbage", [np.nan, 1e9, -3.0])
def test_targets_of_rows_without_weight_change_nothing(garbage):
    X, y = line(200)
    weight = np.where(np.arange(200) < 60, 0.0, 1.0)
    run = Run(mlp(8, out=1), MSE(), Adam(0.01), (X, y, weight), 10)
    history = run.go()
    known = {"sample_weight": weight, "history": history}
    usual = health(run.network, X, y, MSE(), **known).facts
    spoilt = np.where(weight[:, None] == 0, garbage, y)
    report = health(run.network, X, spoilt, MSE(), **known)
    assert names(report) == []
    for name in ("loss", "constant_loss"):
        assert report.facts[name] == pytest.approx(usual[name], rel=1e-6)
    e = Evidence(Subject(run.network, MSE(), Rows(X, y, weight)))
    assert len(e.probed) == 140 and (e.probed.weight > 0).all()


# ------------------------------------------------------------------------------- validation rows


@pytest.mark.parametrize(
    ("loss", "y", "weight", "held", "expected"),
    [
        (CCE(), [0, 0, 1, 1], [1, 3, 5, 5], [1, 0, 0], [5, 2, 2]),
        (BCE(), [[0.0], [0], [1], [1]], [1, 3, 5, 5], [[1.0], [0]], [5, 2]),
        (CCE(), [[1.0, 0], [0, 1], [0, 1], [0, 1]], [4, 1, 2, 3], [[0.0, 1], [1, 0]], [2, 4]),
        (CCE(), [0, 0, 1, 1], [1, 1, 0, 0], [1, 1], None),  # none would be left
        (CCE(), [0, 0, 1, 1], None, [1, 0], None),
        (BCE(), [[1.0, 1], [0, 1], [1, 0], [0, 0]], [1, 2, 3, 4], [[1.0, 1], [0, 1]], None),
        (MSE(), [[0.0], [1], [2], [3]], [1, 2, 3, 4], [[1.0], [2]], None),
    ],
)
def test_validation_rows_without_weights_have_those_of_their_classes(
    loss, y, weight, held, expected
):
    k = np.shape(y)[1] if np.ndim(y) == 2 else 2
    X = np.zeros((4, 3)) + np.arange(4)[:, None]
    weight = None if weight is None else np.array(weight, float)
    subject = Subject(
        mlp(2, out=k).build(3), loss, Rows(X, np.array(y), weight),
        Rows(X[: len(held)], np.array(held)),
    )  # fmt: skip
    found = Evidence(subject).validation.weight
    assert (found is None) == (expected is None)
    if expected:
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("weight", "outside", "is_named"),
    [
        (None, 0.6, True),  # of 1: kept is less than half of what was gained
        ([1.0, 1.0], 0.6, True),
        ([1.0, 0.0], 0.6, True),
        ([1.0, 0.0], 8.0, True),
        ([1.0, 0.0], 6.6, True),
    ],
)
def test_weighted_rows_and_plain_validation_rows_are_compared_without_weights(
    weight, outside, is_named
):
    """Rows of targets -1 and 1 that are predicted well, and of -4 and 4 that are not."""
    y = np.array([[-1.0], [1], [-4], [4]] * 10)
    outputs = np.where(np.abs(y) == 1, 0.9 * y, 0.7 * y)
    weights = None if weight is None else np.tile(np.repeat(weight, 2), 10)
    rows = Rows(np.zeros((40, 1)), y, weights)
    loss = MSE()
    now = snapshot(loss.forward(outputs, y, weights), 1.0, outputs=outputs)
    plain = measure_of(loss, Rows(rows.X, y), 8.5, (1,))
    e = evidence(
        now=now, rows=rows, validation=Rows(rows.X, y), validation_loss=outside * 8.5,
        loss=loss, explained_unweighted=plain, constant=probes.best_constant(loss, rows, (1,)),
        network=mlp(4).build(1),
        course=type("C", (), {"column": lambda self, name: np.empty(0)})(),
    )  # fmt: skip
    found = training_verdicts.overfitting(e)
    assert (found is not None) == is_named


@pytest.mark.parametrize(
    ("weight", "likely", "is_named"),
    [
        (1.0, 0.5, True),  # two thirds: twice the share of a third
        (1.0, 0.7, False),
        (0.2, 0.17, True),  # twice its share of the weights is 0.18
        (0.2, 0.2, False),
        (0.0, 0.09, True),  # less than a tenth is never near
        (0.0, 0.11, False),
    ],
)
def test_a_class_is_near_by_its_share_of_the_weights(weight, likely, is_named):
    actual = np.repeat([0, 1, 2], 30)
    outputs = np.log(np.where(np.eye(3)[actual] == 1, 0.98, 0.01))
    outputs[60:] = np.log([0.999 - likely, 0.001, likely])
    weights = np.repeat([1.0, 1.0, weight], 30)
    missing = target_verdicts._missing(np.repeat([0, 1, 0], 30), actual, np.exp(outputs), weights)
    assert (missing == [(2, 30)]) == is_named
