"""A target for every step of rows of unequal length: losses, train and estimators."""

import pickle

import numpy as np
import pytest
from errors import error_of
from numpy.testing import assert_allclose, assert_array_equal

import layerkit.layers as nn
from layerkit import SequentialClassifier, SequentialRegressor
from layerkit.interchange import load, save, to_onnx
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
from layerkit.optimizers import SGD, Adam
from layerkit.sequences import Sequences
from layerkit.training import train

LENGTHS = [3, 1, 4, 2]
RNG = np.random.default_rng(0)


def rows(width=3, lengths=LENGTHS, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, width)) for n in lengths]


def network(units=3, **more):
    layers = [nn.GRU(4, return_sequences=True), nn.Dense(units)]
    return nn.Sequential(layers).build((None, 3), random_state=0, dtype=np.float64)


# ---------------------------------------------------------------- losses


def by_hand(loss, y_pred, y_true, weights):
    values = [loss.forward(p, t) for p, t in zip(y_pred, y_true, strict=True)]
    return np.average(values, weights=weights)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.0, 0.5]])
def test_a_row_counts_by_its_weight_however_long_it_is(weights):
    y_pred, labels = Sequences(rows()), [RNG.integers(0, 3, n) for n in LENGTHS]
    for loss, y_true in ((MeanSquaredError(), rows(seed=1)), (CategoricalCrossEntropy(), labels)):
        found = loss.forward(y_pred, y_true, weights)
        assert found == pytest.approx(by_hand(loss.__class__(), y_pred, y_true, weights), rel=1e-12)
        gradient = loss.backward()
        assert isinstance(gradient, Sequences)
        for at in np.ndindex(*y_pred.steps.shape):
            sides = []
            for h in (1e-6, -1e-6):
                moved = y_pred.copy()
                moved.steps[at] += h
                sides.append(loss.forward(moved, y_true, weights))
            assert gradient.steps[at] == pytest.approx((sides[0] - sides[1]) / 2e-6, abs=1e-8)


def test_weights_of_steps_are_taken_as_they_are():
    y_pred, y_true, loss = Sequences(rows()), rows(seed=1), MeanSquaredError()
    ones = [np.ones(n) for n in LENGTHS]
    every = loss.forward(y_pred.steps, np.concatenate(y_true))
    assert loss.forward(y_pred, y_true, ones) == pytest.approx(every, rel=1e-12)
    some = [RNG.random(n) for n in LENGTHS]
    expected = loss.forward(y_pred.steps, np.concatenate(y_true), np.concatenate(some))
    assert loss.forward(y_pred, y_true, some) == pytest.approx(expected, rel=1e-12)


def test_rows_of_one_length_are_what_an_array_is():
    y_pred, y_true = RNG.standard_normal((5, 4, 3)), RNG.integers(0, 3, (5, 4))
    weights, loss = RNG.random(5), CategoricalCrossEntropy()
    expected = loss.forward(y_pred, y_true, weights)
    gradient = loss.backward()
    for targets in (y_true, list(y_true), Sequences.from_array(y_true)):
        found = loss.forward(Sequences.from_array(y_pred), targets, weights)
        assert found == pytest.approx(expected)
        assert_allclose(loss.backward().to_array(), gradient, rtol=1e-12)


@pytest.mark.parametrize(
    "y_true, message",
    [
        (np.zeros(4), "a target for every step of each row, got shape (4,)"),
        (rows(lengths=[3, 1, 5, 2]), "row 2 has 4 steps, but 5 values in y_true"),
        (rows(lengths=[3, 1, 4]), "y_true must have 4 rows"),
    ],
)
def test_targets_that_do_not_fit_are_refused(y_true, message):
    loss = MeanSquaredError()
    text = error_of(ValueError, lambda y: loss.forward(Sequences(rows()), y), y_true)
    assert message in text
    with pytest.raises(RuntimeError):
        loss.backward()


def test_weights_that_do_not_fit_are_refused():
    def weigh(weights):
        return MeanSquaredError().forward(Sequences(rows()), rows(), weights)

    assert "one weight for each row" in error_of(ValueError, weigh, np.ones(3))
    assert "row 1 has 1 steps, but 2 values" in error_of(
        ValueError, weigh, [np.ones(n) for n in (3, 2, 4, 2)]
    )


# ---------------------------------------------------------------- train


def problem(n=40, seed=0):
    """Whether the sum of all steps so far is positive."""
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((k, 3)) for k in rng.integers(1, 9, n)]
    return X, [(np.cumsum(x[:, 0]) > 0).astype(int) for x in X]


def test_train_takes_targets_and_weights_of_steps():
    X, y = problem()
    weights = [np.ones(len(row)) for row in y]
    net, scores = network(2), []

    def score(y_true, y_pred, weight):
        assert y_true.shape == weight.shape == y_pred.shape[:1]
        scores.append(np.average(y_pred.argmax(axis=1) == y_true, weights=weight))
        return scores[-1]

    train(net, CategoricalCrossEntropy(), Adam(0.02), (X, y, weights), epochs=40, batch_size=8,
          validation_data=(X, y, np.ones(len(X))), score=score, random_state=0)  # fmt: skip
    assert scores[-1] > 0.9
    stream = [(X[:20], y[:20]), (X[20:], y[20:], weights[20:])]
    train(net, CategoricalCrossEntropy(), Adam(), stream, epochs=1)


def test_a_step_is_the_gradient_of_the_weighted_mean():
    """One batch after the other adds up to the gradient of the whole, weights and all."""
    X, y = problem(6)
    weights = np.array([1.0, 2.0, 0.5, 1.0, 3.0, 1.0])
    net = network(2)
    start, loss = net.flat_params.copy(), CategoricalCrossEntropy()
    loss.forward(net.forward(X, training=True), y, weights)
    net.backward(loss.backward())
    whole = net.flat_grads.copy()
    train(net, loss, SGD(1.0), (X, y, weights), epochs=1, batch_size=6)
    assert_allclose(start - net.flat_params, whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda y, w: (y[:-1], w), "one row for each of the 6 rows"),
        (lambda y, w: ([*y[:-1], np.append(y[-1], 0)], w), "values in y"),
        (lambda y, w: (y, [-v for v in w]), "not negative"),
        (lambda y, w: (y, [0 * v for v in w]), "zero for all rows"),
    ],
)
def test_data_that_do_not_fit_are_refused(change, message):
    X, y = problem(6)
    y, weights = change(y, [np.ones(len(row)) for row in y])
    net = network(2)
    before = net.flat_params.copy()

    def learn(data):
        train(net, CategoricalCrossEntropy(), SGD(), data, epochs=1)

    text = error_of(ValueError, learn, (X, y, weights))
    assert message in text or "must have 6 rows" in text
    assert_array_equal(net.flat_params, before)


# ---------------------------------------------------------------- estimators


def labelled(n=60):
    X, y = problem(n)
    return X, [np.array(["no", "yes"])[row] for row in y]


def classifier(**more):
    options = {"optimizer": Adam(0.02), "max_iter": 40, "n_iter_no_change": None} | more
    return SequentialClassifier([nn.GRU(8, return_sequences=True)], random_state=0, **options)


def test_a_classifier_of_steps(tmp_path):
    X, y = labelled()
    model = classifier().fit(X, y, sample_weight=np.ones(len(X)), X_val=X[:9], y_val=y[:9])
    assert model.classes_.tolist() == ["no", "yes"]
    predicted, proba = model.predict(X), model.predict_proba(X)
    assert isinstance(predicted, list) and [len(row) for row in predicted] == list(map(len, y))
    right = np.concatenate(predicted) == np.concatenate(y)
    assert model.score(X, y) == pytest.approx(right.mean()) and right.mean() > 0.9
    lengths = [len(row) for row in y]
    by_row = np.arange(len(X), dtype=float)
    expected = np.average(right, weights=by_row.repeat(lengths))
    assert model.score(X, y, by_row) == pytest.approx(expected)
    assert proba[3].shape == (len(y[3]), 2)
    assert_allclose(proba[3].sum(axis=1), 1, rtol=1e-6)
    assert_allclose(np.exp(model.predict_log_proba(X)[3]), proba[3], rtol=1e-6)
    assert model.decision_function(X)[3].shape == (len(y[3]),)
    assert_allclose(model.predict_proba(X[3:4])[0], proba[3], rtol=1e-6)
    alone = model.predict_proba(X[3][np.newaxis])
    assert_allclose(alone, proba[3][np.newaxis], rtol=1e-6)
    save(model, tmp_path / "model.npz")
    for twin in (pickle.loads(pickle.dumps(model)), load(tmp_path / "model.npz")):
        assert_array_equal(np.concatenate(twin.predict(X)), np.concatenate(predicted))
        assert twin.score(X, y) == model.score(X, y)


def test_early_stopping_partial_fit_and_more_than_two_classes():
    X, y = problem()
    y = [row + 2 * (np.arange(len(row)) > 2) for row in y]
    model = classifier(max_iter=3, early_stopping=True, validation_fraction=0.2).fit(X, y)
    assert len(model.history_.rows) == 3 and model.predict_proba(X)[0].shape[1] == 4
    assert 0 <= model.history_.rows[-1]["validation_score"] <= 1
    model = classifier().partial_fit(X, y, classes=[0, 1, 2, 3]).partial_fit(X, y)
    assert model.predict(X[:2])[1].dtype == np.int64


def test_a_regressor_of_steps():
    X = problem()[0]
    y = [np.cumsum(x[:, 0]) for x in X]
    model = SequentialRegressor([nn.LSTM(8, return_sequences=True)], optimizer=Adam(0.02),
                                max_iter=60, n_iter_no_change=None, random_state=0)  # fmt: skip
    assert model.fit(X, y).score(X, y) > 0.7
    assert [row.shape for row in model.predict(X)] == [row.shape for row in y]
    two = [np.stack([row, -row], axis=1) for row in y]
    assert model.fit(X, two).predict(X)[1].shape == two[1].shape


def test_what_does_not_fit_is_refused():
    X, y = labelled(10)
    one_for_each = SequentialClassifier([nn.GRU(3)], max_iter=1)
    assert "return_sequences=True" in error_of(ValueError, lambda y: one_for_each.fit(X, y), y)
    wrong = [*y[:-1], np.append(y[-1], "no")]
    assert "row 9 has" in error_of(ValueError, lambda y: classifier().fit(X, y), wrong)
    balanced = classifier(class_weight="balanced")
    assert "class_weight" in error_of(ValueError, lambda y: balanced.fit(X, y), y)
    model = classifier(max_iter=1).fit(X, y)
    assert "for every row now" in error_of(
        ValueError, lambda y: model.partial_fit(X, y), ["no"] * 10
    )
    batches = [(X[:5], y[:5]), (X[5:], y[5:])]
    assert "batch 0" in error_of(ValueError, lambda b: classifier().fit(b), batches)
    pytest.importorskip("onnx")
    assert "estimator.network_" in error_of(TypeError, to_onnx, model)


@pytest.mark.parametrize(
    "model, loss",
    [
        (SequentialClassifier, "mean_squared_error"),
        (SequentialClassifier, "poisson"),
        (SequentialRegressor, "focal"),
        (SequentialRegressor, "categorical_cross_entropy"),
    ],
)
def test_a_loss_that_suits_no_row_suits_no_step(model, loss):
    X, y = rows(), [np.arange(n) % 2 for n in LENGTHS]
    of_steps = model([nn.GRU(2, return_sequences=True)], loss=loss)
    of_rows = model([nn.GRU(2)], loss=loss)
    told = error_of(ValueError, lambda y: of_rows.fit(X, y), [0, 1] * (len(X) // 2))
    assert error_of(ValueError, lambda y: of_steps.fit(X, y), y) == told
    assert not hasattr(of_steps, "network_")


@pytest.mark.parametrize("dtype", [None, object], ids=["array", "objects"])
@pytest.mark.parametrize("model", [SequentialClassifier, SequentialRegressor])
def test_a_score_is_of_targets_of_steps(model, dtype):
    X = rows()
    model = model([nn.GRU(2, return_sequences=True)], max_iter=1, random_state=0)
    model.fit(X, [np.arange(n) % 2 for n in LENGTHS])
    for y in (np.zeros(4), np.zeros((4, 1)), np.zeros((4, 7))):
        text = error_of(ValueError, lambda y: model.score(X, y), y.astype(dtype or float))
        assert text == f"y must have a target for every step, got shape {y.shape}"
