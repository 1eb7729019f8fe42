"""The same weights as scikit-learn's MLPs, step by step: loss, gradient and solvers."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    make_multilabel_classification,
)
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.preprocessing import scale

from layerkit import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def _problems():
    X, y = load_digits(return_X_y=True)
    yield "multiclass", TheirClassifier, MLPClassifier, X[:450] / 16, y[:450]
    X, y = load_breast_cancer(return_X_y=True)
    yield "binary", TheirClassifier, MLPClassifier, scale(X)[:401], np.array(["no", "yes"])[y[:401]]
    X, y = make_multilabel_classification(n_samples=300, random_state=0)
    yield "multilabel", TheirClassifier, MLPClassifier, X / 20, y
    X, y = load_diabetes(return_X_y=True)
    yield "regression", TheirRegressor, MLPRegressor, X * 20, y / 100
    yield "outputs", TheirRegressor, MLPRegressor, X * 20, np.c_[y, y[::-1], y**0.5] / 100


PROBLEMS = {name: rest for name, *rest in _problems()}
SOLVERS = {  # every parameter of a solver somewhere with a value of its own
    "sgd": {"solver": "sgd", "momentum": 0},
    "momentum": {
        "solver": "sgd", "momentum": 0.6, "nesterovs_momentum": False, "learning_rate_init": 0.01
    },
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.01},
    "invscaling": {
        "solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1, "power_t": 0.3
    },
    "adam": {"solver": "adam", "beta_1": 0.7, "beta_2": 0.95, "epsilon": 1e-3},
    "lbfgs": {"solver": "lbfgs", "max_iter": 5},
}  # fmt: skip


def pair(problem, **params):
    theirs, ours, X, y = PROBLEMS[problem]
    params = {"hidden_layer_sizes": (12, 8), "max_iter": 8, "random_state": 3} | params
    return theirs(**params), ours(**params), X, y


def assert_same_weights(theirs, ours, tol=1e-10):
    theirs, ours = theirs.coefs_ + theirs.intercepts_, ours.coefs_ + ours.intercepts_
    for his, mine in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(mine, his, rtol=tol, atol=tol)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_steps_of_every_solver(problem, solver, shuffle):
    theirs, ours, X, y = pair(problem, shuffle=shuffle, alpha=0.3, activation="tanh")
    for mlp in (theirs, ours):
        mlp.set_params(**SOLVERS[solver]).fit(X, y)
    assert_same_weights(theirs, ours)
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)
    if isinstance(ours, MLPRegressor):
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X))
    else:
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    if problem != "outputs":  # there scikit-learn's loss is not the one it descends
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-10)
        if solver != "lbfgs":
            np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_)
            assert ours.best_loss_ == pytest.approx(theirs.best_loss_)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_initial_weights_and_every_activation(activation):
    theirs, ours, X, y = pair("multiclass", activation=activation, learning_rate_init=1e-12)
    assert_same_weights(theirs.fit(X, y), ours.fit(X, y), tol=1e-12)
    theirs, ours, X, y = pair("multiclass", activation=activation)
    assert_same_weights(theirs.fit(X, y), ours.fit(X, y))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-9)
    np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), atol=1e-7)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_initial_weights_without_hidden_layers(activation):
    theirs, ours, X, y = pair("multiclass", activation=activation, hidden_layer_sizes=())
    assert_same_weights(theirs.fit(X, y), ours.fit(X, y))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_forward_loss_and_gradient_with_weights_copied_across(problem):
    theirs, ours, X, y = pair(
        problem, alpha=0.7, random_state=None, batch_size=len(PROBLEMS[problem][2])
    )
    for mlp in (theirs, ours):  # one step of plain descent shows the gradient
        mlp.set_params(
            solver="sgd", momentum=0, learning_rate_init=0.5, shuffle=False, batch_size=len(y)
        )
    classes = np.arange(5) if problem == "multilabel" else np.unique(y)
    arguments = {} if isinstance(ours, MLPRegressor) else {"classes": classes}
    theirs.partial_fit(X, y, **arguments)
    ours.partial_fit(X, y, **arguments)
    ours.coefs_, ours.intercepts_ = theirs.coefs_, theirs.intercepts_
    before = ours.network_.flat_params.copy()
    if hasattr(theirs, "predict_proba"):
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-11)
    else:
        np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-11)
    theirs.partial_fit(X, y)
    ours.partial_fit(X, y)
    assert not np.allclose(before, ours.network_.flat_params)
    assert_same_weights(theirs, ours, tol=1e-12)
    if problem != "outputs":
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-12)


def test_poisson_loss():
    theirs, ours, X, y = pair("regression", loss="poisson", max_iter=20)
    assert_same_weights(theirs.fit(X, y), ours.fit(X, y))
    assert (ours.out_activation_, ours.loss_) == ("exp", pytest.approx(theirs.loss_, rel=1e-10))
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("batch_size", [1, 7, 100, 400])
def test_batches_are_cut_alike(batch_size):
    theirs, ours, X, y = pair("binary", batch_size=batch_size, max_iter=2)  # 401 rows
    assert_same_weights(theirs.fit(X, y), ours.fit(X, y))


def test_sample_weights_in_one_batch():
    theirs, ours, X, y = pair("regression", batch_size=442, alpha=2.0, max_iter=20)
    weight = np.random.default_rng(0).random(len(y)) * 5
    assert_same_weights(theirs.fit(X, y, weight), ours.fit(X, y, weight))
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-10)


def test_sparse_rows():
    theirs, ours, X, y = pair("multiclass", max_iter=3)
    assert_same_weights(theirs.fit(csr_array(X), y), ours.fit(csr_array(X), y))


def test_partial_fit_step_by_step():
    theirs, ours, X, y = pair("multiclass", shuffle=False, learning_rate="adaptive", solver="sgd")
    for mlp in (theirs, ours):
        mlp.set_params(tol=0.5, n_iter_no_change=2)  # so that the rate falls on the way
        for _ in range(12):
            mlp.partial_fit(X, y, classes=np.arange(10))
    assert ours.optimizer_.learning_rate == pytest.approx(theirs._optimizer.learning_rate)
    assert ours.optimizer_.learning_rate < 0.001
    assert_same_weights(theirs, ours)


@pytest.mark.parametrize("stopping", [False, True])
@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_training_ends_in_the_same_epoch(problem, stopping):
    theirs, ours, X, y = pair(problem, early_stopping=stopping, max_iter=200, tol=3e-3)
    for mlp in (theirs, ours):
        mlp.set_params(learning_rate_init=0.01, n_iter_no_change=4).fit(X, y)
    assert ours.n_iter_ == theirs.n_iter_ < 200
    assert_same_weights(theirs, ours, tol=1e-8)
    if stopping:
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)
        assert ours.best_validation_score_ == pytest.approx(theirs.best_validation_score_)


def test_an_adaptive_rate_falls_and_stops_alike():
    options = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.01}
    theirs, ours, X, y = pair("multiclass", tol=0.05, n_iter_no_change=2, max_iter=300, **options)
    assert_same_weights(theirs.fit(X, y), ours.fit(X, y))
    assert ours.n_iter_ == theirs.n_iter_ < 300
    assert len(set(ours.history_["learning_rate"])) > 3


def test_warm_starts_one_after_the_other():
    theirs, ours, X, y = pair("multiclass", warm_start=True, shuffle=False, max_iter=3)
    for _ in range(3):
        theirs.fit(X, y)
        ours.fit(X, y)
    assert_same_weights(theirs, ours)
    assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_) == (3, 9 * 450)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_)


@pytest.mark.parametrize("problem", ["multiclass", "regression"])
def test_float32_stays_close(problem):
    theirs, ours, X, y = pair(problem, max_iter=5)
    X = X.astype(np.float32)
    assert_same_weights(theirs.fit(X, y), ours.fit(X, y), tol=1e-4)
    assert {array.dtype for array in ours.coefs_ + ours.intercepts_} == {np.dtype(np.float32)}


@pytest.mark.parametrize("problem", ["binary", "multiclass", "multilabel"])
def test_reported_loss_of_saturated_outputs(problem):
    theirs, ours, X, y = pair(problem, activation="identity", max_iter=3)
    theirs.fit(X * 1e3, y)
    ours.fit(X * 1e3, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-4)  # 1 - p rounds
    assert ours.loss_ > 1
