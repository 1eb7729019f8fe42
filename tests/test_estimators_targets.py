"""Every kind of y with every kind of loss: what the network gives and what is made of it."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.linear_model import LogisticRegression, PoissonRegressor, QuantileRegressor, Ridge
from sklearn.metrics import accuracy_score, d2_pinball_score, mean_pinball_loss, r2_score
from sklearn.preprocessing import StandardScaler

from layerkit import Dense, LogSoftmax, SequentialClassifier, SequentialRegressor, Tanh
from layerkit.estimators.targets import PerOutput, checked_accuracy
from layerkit.inspection import check_loss_gradients
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    GaussianNLL,
    Hinge,
    KLDivergence,
    MultiMargin,
    NegativeLogLikelihood,
    Poisson,
    Quantile,
    SquaredHinge,
)
from layerkit.optimizers import LBFGS

IRIS = load_iris(return_X_y=True)
BINARY = IRIS[0][50:], IRIS[1][50:]


def linear(loss="auto", decay=0.0, **options):
    """A linear model, fitted to convergence: it has well-known twins."""
    options = {"n_iter_no_change": None, "max_iter": 2000, "random_state": 0, **options}
    optimizer = LBFGS(max_iter=2000, tol=1e-9, weight_decay=decay)
    kind = options.pop("kind", SequentialClassifier)
    return kind([], loss=loss, optimizer=optimizer, **options)


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize(("X", "y", "outputs"), [(*BINARY, 1), (*IRIS, 3)])
def test_a_linear_network_is_logistic_regression(X, y, outputs):
    ours = linear(decay=1 / len(y)).fit(X, y)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(X, y)
    assert ours.network_.output_shape == (outputs,)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=2e-3)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    if outputs == 1:
        np.testing.assert_allclose(
            ours.decision_function(X), theirs.decision_function(X), atol=0.02
        )


@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        ("auto", 1),
        ("binary_cross_entropy", 1),
        (CategoricalCrossEntropy(), 2),
        (Focal(gamma=1.0), 2),
        (KLDivergence(), 2),
        (Hinge(), 1),
        (SquaredHinge(), 1),
        (MultiMargin(), 2),
    ],
)
def test_two_classes_with_every_loss(loss, outputs):
    X, y = BINARY
    names = np.array(["versicolor", "virginica"])[y - 1]
    model = linear(loss, decay=1e-3).fit(X, names)
    assert model.network_.output_shape == (outputs,)
    assert model.classes_.tolist() == ["versicolor", "virginica"]
    assert model.score(X, names) >= 0.95
    decision = model.decision_function(X)
    assert decision.shape == (100,)
    np.testing.assert_array_equal(model.predict(X), model.classes_[(decision > 0).astype(int)])
    if hasattr(model, "predict_proba"):
        proba = model.predict_proba(X)
        np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_array_equal(proba[:, 1] > 0.5, decision > 0)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), proba)


@pytest.mark.parametrize("loss", [Hinge(), BinaryCrossEntropy(), Focal(), MultiMargin()])
def test_three_classes_with_losses_of_both_kinds(loss):
    X, y = IRIS
    model = linear(loss, decay=1e-4).fit(X, y)
    assert model.network_.output_shape == (3,)
    assert model.score(X, y) >= 0.94
    np.testing.assert_array_equal(model.decision_function(X).argmax(axis=1), model.predict(X))
    if hasattr(model, "predict_proba"):
        np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1, rtol=1e-12)


def test_a_loss_of_margins_has_no_probabilities():
    model = linear("hinge")
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "predict_log_proba")
    with pytest.raises(AttributeError) as caught:
        model.predict_proba(IRIS[0])
    assert "Hinge() gives no probabilities" in str(caught.value.__cause__)


@pytest.mark.parametrize(("width", "loss"), [(1, BinaryCrossEntropy), (2, CategoricalCrossEntropy)])
def test_without_a_head_the_width_chooses_the_loss(width, loss):
    model = SequentialClassifier([Dense(width)], head=None, n_iter_no_change=None, max_iter=3)
    model.fit(*BINARY)
    assert type(model._target.loss) is loss
    assert len(model.network_) == 1


def test_log_probabilities_of_a_network_that_ends_in_them():
    model = SequentialClassifier(
        [Dense(3), LogSoftmax()],
        head=None,
        loss=NegativeLogLikelihood(),
        optimizer=LBFGS(weight_decay=1 / 150, tol=1e-8),
        max_iter=500,
        n_iter_no_change=None,
        random_state=0,
    ).fit(*IRIS)
    expected = linear(decay=1 / 150).fit(*IRIS).predict_proba(IRIS[0])
    np.testing.assert_allclose(model.predict_proba(IRIS[0]), expected, atol=1e-3)


def test_log_probabilities_stay_finite():
    X, y = BINARY
    for loss in (BinaryCrossEntropy(), CategoricalCrossEntropy()):
        model = linear(loss, max_iter=5).fit(X, y)
        log_proba = model.predict_log_proba(X * 1e6)
        assert np.isfinite(log_proba).all()
        assert log_proba.min() < -1e4
        assert model.predict_proba(X * 1e6).min() == 0


def test_one_class_is_always_predicted():
    model = SequentialClassifier([Dense(4)], max_iter=2, n_iter_no_change=None)
    model.fit(IRIS[0], np.full(150, "only"))
    assert set(model.predict(-100 * IRIS[0])) == {"only"} == set(model.predict(100 * IRIS[0]))
    np.testing.assert_array_equal(model.predict_proba(IRIS[0]), np.ones((150, 1)))


# ---------------------------------------------------------------- several outputs


def test_multilabel_is_one_logistic_regression_a_label():
    X, y = make_multilabel_classification(n_samples=80, n_classes=3, random_state=0)
    X = StandardScaler().fit_transform(X)
    ours = linear(decay=3e-2).fit(X, y)
    # the loss is the mean over three outputs, so each feels three times the decay
    for j in range(3):
        theirs = LogisticRegression(C=1 / (80 * 9e-2), tol=1e-10, max_iter=10_000).fit(X, y[:, j])
        expected = theirs.predict_proba(X)[:, 1]
        np.testing.assert_allclose(ours.predict_proba(X)[:, j], expected, atol=1e-3)
    np.testing.assert_array_equal(ours.predict(X), (ours.predict_proba(X) > 0.5).astype(int))
    np.testing.assert_allclose(np.exp(ours.predict_log_proba(X)), ours.predict_proba(X))
    assert ours.score(X, y) == np.mean((ours.predict(X) == y).all(axis=1))
    assert ours.classes_.tolist() == [0, 1, 2]


def test_several_outputs_of_several_classes():
    X, species = IRIS
    y = np.column_stack([np.array(["a", "b", "c"])[species], np.where(X[:, 0] > 5.8, "t", "s")])
    model = linear(decay=1e-3).fit(X, y)
    assert model.network_.output_shape == (5,)
    assert [labels.tolist() for labels in model.classes_] == [["a", "b", "c"], ["s", "t"]]
    probabilities = model.predict_proba(X)
    assert [p.shape for p in probabilities] == [(150, 3), (150, 2)]
    for column, p, log_p, labels in zip(
        model.predict(X).T, probabilities, model.predict_log_proba(X), model.classes_, strict=True
    ):
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
        np.testing.assert_allclose(np.exp(log_p), p)
        np.testing.assert_array_equal(column, labels[p.argmax(axis=1)])
    alone = linear(decay=2e-3).fit(X, y[:, 0])
    np.testing.assert_allclose(probabilities[0], alone.predict_proba(X), atol=1e-3)
    assert model.score(X, y) == np.mean((model.predict(X) == y).all(axis=1)) > 0.8


@pytest.mark.parametrize(
    "y", [IRIS[1], np.c_[IRIS[1] > 0, IRIS[1] > 1], np.c_[IRIS[1], IRIS[1] > 0]]
)
def test_accuracy_weighs_rows_of_which_all_outputs_are_right(y):
    X, weight = IRIS[0], np.arange(150)
    model = SequentialClassifier([], max_iter=50, n_iter_no_change=None, random_state=0)
    model.fit(X, y)
    right = np.reshape(model.predict(X) == y, (150, -1)).all(axis=1)
    assert 0 < right.mean() < 1
    assert (
        model.score(X, y)
        == model._target.score_of_known(y, model._from_raw(X, lambda raw: raw), None)
        == right.mean()
    )
    expected = np.average(right, weights=weight)
    assert model.score(X, y.tolist(), weight.tolist()) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float64, "U3"])
def test_the_accuracy_of_labels_is_that_of_scikit_learn(kind, rng):
    y, other = (rng.integers(0, 2, 50).astype(kind) for _ in range(2))
    assert checked_accuracy(y, other, None) == accuracy_score(y, other)
    for rows in (y[:40], y[:0]):
        with pytest.raises(ValueError, match=r"inconsistent numbers|0 sample\(s\)"):
            checked_accuracy(rows, other[: len(rows) + 1], None)


@pytest.mark.parametrize("loss", [CategoricalCrossEntropy(label_smoothing=0.1), Focal()])
def test_the_loss_of_several_outputs_has_the_right_gradient(loss, rng):
    joint = PerOutput(loss, [2, 4, 3])
    y = np.column_stack([rng.integers(k, size=6) for k in (2, 4, 3)])
    y_pred = rng.standard_normal((6, 9))
    alone = [
        loss.forward(part, column)
        for part, column in zip(np.split(y_pred, [2, 6], axis=1), y.T, strict=True)
    ]
    assert joint.forward(y_pred, y) == pytest.approx(np.mean(alone), rel=1e-12)
    assert check_loss_gradients(joint, y_pred, y)


# ---------------------------------------------------------------- numbers


def test_a_linear_network_is_linear_regression():
    X, y = load_diabetes(return_X_y=True)
    Y = np.column_stack([y, y[::-1]])
    for target in (y, Y):
        outputs = target.ndim
        ours = linear(kind=SequentialRegressor, decay=2 * 0.1 / len(y) / outputs).fit(X, target)
        theirs = Ridge(alpha=0.1).fit(X, target)
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=2e-3)
        assert ours.score(X, target) == pytest.approx(theirs.score(X, target), abs=1e-5)


def test_counts_are_predicted_through_the_log_link(rng):
    X = rng.standard_normal((200, 2))
    y = rng.poisson(np.exp(0.5 * X[:, 0] + 1)).astype(float)
    ours = linear("poisson", kind=SequentialRegressor).fit(X, y)
    theirs = PoissonRegressor(alpha=0, tol=1e-9, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-4)
    assert isinstance(ours._target.loss, Poisson)


def test_several_quantiles(rng):
    X = rng.uniform(size=(400, 1))
    y = X[:, 0] + 0.5 * rng.standard_normal(400)
    levels = [0.1, 0.5, 0.9]
    model = SequentialRegressor([], loss=Quantile(levels), max_iter=400, n_iter_no_change=None)
    predicted = model.set_params(random_state=0).fit(X, y).predict(X)
    assert predicted.shape == (400, 3)
    for j, level in enumerate(levels):
        best = QuantileRegressor(quantile=level, alpha=0).fit(X, y).predict(X)
        ours = mean_pinball_loss(y, predicted[:, j], alpha=level)
        assert ours < 1.03 * mean_pinball_loss(y, best, alpha=level)
    assert 0 < model.score(X, y) < 1


def test_quantiles_of_several_outputs(rng):
    X = rng.uniform(size=(50, 2))
    model = SequentialRegressor([Dense(4)], loss=Quantile([0.2, 0.8]), max_iter=2)
    model.set_params(n_iter_no_change=None).fit(X, rng.uniform(size=(50, 3)))
    assert model.predict(X).shape == (50, 3, 2)
    assert model.network_.names == ["dense_1", "head"]


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("columns", [0, [0, 1]])
def test_a_list_of_one_quantile_has_a_score(rng, columns, early_stopping):
    X = rng.uniform(size=(50, 2))
    y = X[:, columns]
    model = SequentialRegressor([Dense(4)], loss=Quantile([0.3]), max_iter=5, random_state=0)
    model.set_params(n_iter_no_change=None, early_stopping=early_stopping).fit(X, y)
    expected = d2_pinball_score(y, model.predict(X).reshape(y.shape), alpha=0.3)
    assert model.score(X, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("columns", [0, [0, 1]], ids=["one output", "two outputs"])
@pytest.mark.parametrize(
    "loss", ["auto", "huber", GaussianNLL(), Quantile(0.3), Quantile([0.2, 0.7])]
)
def test_a_score_weighs_rows_as_scikit_learn_does(rng, loss, columns):
    X = rng.uniform(size=(50, 2))
    y, weight = X[:, columns] ** 2, rng.uniform(size=50)
    model = SequentialRegressor([], loss=loss, max_iter=5, random_state=0).fit(X, y)
    predicted = model.predict(X)
    if isinstance(loss, Quantile) and predicted.ndim > y.ndim:
        pairs = zip(np.moveaxis(predicted, -1, 0), loss.quantiles, strict=True)
        of_levels = [d2_pinball_score(y, p, alpha=q, sample_weight=weight) for p, q in pairs]
        expected = np.mean(of_levels)
    else:
        expected = r2_score(y, predicted, sample_weight=weight)
    assert model.score(X, y, weight) == pytest.approx(expected, rel=1e-12)
    assert model.score(X, y) != pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("outputs", [None, 2])
def test_mean_and_standard_deviation(rng, outputs):
    shape = (3000,) if outputs is None else (3000, outputs)
    X = rng.uniform(size=(3000, 1))
    noise = 0.5 * rng.standard_normal(shape)
    y = (X[:, 0] if outputs is None else X) + noise
    model = linear(GaussianNLL(), kind=SequentialRegressor).fit(X, y)
    mean, std = model.predict(X, return_std=True)
    assert mean.shape == std.shape == shape
    np.testing.assert_allclose(std, 0.5, rtol=0.1)
    np.testing.assert_array_equal(model.predict(X), mean)


def test_a_hidden_layer_is_put_below_the_head():
    model = SequentialRegressor([Dense(7), Tanh()], max_iter=2, n_iter_no_change=None)
    model.fit(*load_diabetes(return_X_y=True))
    assert model.network_.names == ["dense_1", "tanh_1", "head"]
    assert model.network_["head"].params["W"].shape == (7, 1)
