"""MLPClassifier and MLPRegressor: what they add to scikit-learn's, and where they differ."""

import copy
import inspect
import io
import numbers
import pickle
import re

import numpy as np
import pytest
from errors import raises_exactly, warns_exactly
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupShuffleSplit, PredefinedSplit
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerkit import (
    ELU,
    GLU,
    BatchNorm,
    Dense,
    Dropout,
    Maxout,
    MLPClassifier,
    MLPRegressor,
    PReLU,
    ReLU,
    Sequential,
    SequentialClassifier,
    Softmax,
    Tanh,
)
from layerkit.estimators.mlp.recipe import MLPRecipe
from layerkit.estimators.preparing import hold_out, prepare
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import Adam
from layerkit.training import DivergenceWarning, train

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_IRIS = StandardScaler().fit_transform(X_IRIS)


# ---------------------------------------------------------------- the signature


@pytest.mark.parametrize(
    ("ours", "theirs"), [(MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)]
)
def test_signature_begins_like_scikit_learns(ours, theirs):
    own = list(inspect.signature(ours).parameters.values())
    model = list(inspect.signature(theirs).parameters.values())
    for mine, his in zip(own, model, strict=False):
        assert (mine.name, mine.default, mine.kind) == (his.name, his.default, his.kind)
    extras = {p.name for p in own[len(model) :]}
    assert extras - {"class_weight"} == {"dropout", "batch_norm", "dtype"}
    assert all(p.kind is p.KEYWORD_ONLY for p in own[len(model) :])
    for method in ("fit", "partial_fit", "predict", "score"):
        his = list(inspect.signature(getattr(theirs, method)).parameters)
        assert list(inspect.signature(getattr(ours, method)).parameters)[: len(his)] == his


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(MLPClassifier, TheirClassifier), (MLPRegressor, TheirRegressor)]
)
def test_has_every_fitted_attribute_of_scikit_learns(ours, theirs, solver):
    his = theirs(5, solver=solver, max_iter=2) if ours is MLPClassifier else theirs(solver=solver)
    his.set_params(max_iter=2).fit(X_IRIS, Y_IRIS)
    mine = ours(**his.get_params()).fit(X_IRIS, Y_IRIS)
    public = [name for name in vars(his) if name.endswith("_") and not name.startswith("_")]
    assert "coefs_" in public
    for name in public:
        assert isinstance(getattr(mine, name), numbers.Real) is isinstance(
            getattr(his, name), numbers.Real
        ), name
    assert isinstance(mine.coefs_, list)
    assert (mine.n_layers_, mine.n_outputs_) == (his.n_layers_, his.n_outputs_)
    assert (mine.out_activation_, mine.t_) == (his.out_activation_, his.t_)


# ---------------------------------------------------------------- coefs_ and intercepts_


def test_coefficients_are_views_to_read_and_write():
    mlp = MLPClassifier(5, max_iter=2, random_state=0).fit(X_IRIS, Y_IRIS)
    assert all(np.shares_memory(W, mlp.network_.flat_params) for W in mlp.coefs_)
    mlp.coefs_[1][...] = 0
    mlp.intercepts_[1] = np.array([1.0, 3.0, 2.0])  # rebinding an entry of the list writes too
    assert (mlp.predict(X_IRIS) == 1).all()
    mlp.intercepts_ = [np.zeros(5), np.array([3.0, 1.0, 2.0])]
    assert (mlp.predict(X_IRIS) == 0).all()
    with raises_exactly(ValueError, "entry 0 has shape (4, 5), got (5, 4)"):
        mlp.coefs_[0] = np.zeros((5, 4))
    with raises_exactly(ValueError, "coefs_ has 2 entries, got 1"):
        mlp.coefs_ = [np.zeros((4, 5))]
    again = copy.deepcopy(mlp)
    again.coefs_[0][...] = 7
    assert not (mlp.coefs_[0] == 7).any()
    assert (again.network_.flat_params[:20] == 7).all()


def test_coefficients_are_assigned_all_or_none():
    mlp = MLPClassifier((4, 4), max_iter=2, random_state=0).fit(X_IRIS, Y_IRIS)
    first, second, last = before = [W.copy() for W in mlp.coefs_]
    zeros = np.zeros((4, 4))
    for wrong in ([zeros, np.zeros((9, 9)), last], [zeros, zeros, [["a"] * 3] * 4]):
        with pytest.raises(ValueError, match=r"entry 1 has shape \(4, 4\)|could not convert"):
            mlp.coefs_ = wrong
    with raises_exactly(ValueError, "slice(0, 1, None) has 1 entries, got 2"):
        mlp.coefs_[0:1] = [zeros, zeros]
    for kept, W in zip(before, mlp.coefs_, strict=True):
        np.testing.assert_array_equal(kept, W)
    mlp.coefs_[:2] = mlp.coefs_[1::-1]
    np.testing.assert_array_equal(mlp.coefs_[0], second)
    np.testing.assert_array_equal(mlp.coefs_[1], first)


def test_an_unfitted_estimator_has_no_coefficients():
    assert not hasattr(MLPClassifier(), "coefs_")
    assert not hasattr(MLPRegressor(), "intercepts_")


def test_a_step_worked_out_by_hand():
    x, y, rate, alpha = np.array([[0.6, 0.8, 0.7]]), [0], 0.1, 0.1
    mlp = MLPClassifier(
        2,
        "logistic",
        solver="sgd",
        learning_rate_init=rate,
        alpha=alpha,
        momentum=0,
    )
    mlp.partial_fit(x, y, classes=[0, 1])
    W1, W2 = np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0.0]]), np.array([[0.1], [0.2]])
    mlp.coefs_ = [W1, W2]
    mlp.intercepts_ = [np.array([0.1, 0.1]), np.array([1.0])]
    mlp.partial_fit(x, y)
    h = 1 / (1 + np.exp(-(x @ W1 + 0.1)))
    delta = 1 / (1 + np.exp(-(h @ W2 + 1.0)))  # less the target, which is 0
    hidden = delta @ W2.T * h * (1 - h)
    np.testing.assert_allclose(mlp.coefs_[1], W2 - rate * (h.T @ delta + alpha * W2))
    np.testing.assert_allclose(mlp.coefs_[0], W1 - rate * (x.T @ hidden + alpha * W1))
    np.testing.assert_allclose(mlp.intercepts_[0], 0.1 - rate * hidden[0])
    np.testing.assert_allclose(mlp.intercepts_[1], 1.0 - rate * delta[0])


# ---------------------------------------------------------------- what scikit-learn lacks


def test_dropout_and_batch_norm_go_around_each_activation():
    mlp = MLPClassifier((8, 6), dropout=[0.0, 0.5], batch_norm=True, max_iter=2)
    kinds = [type(layer) for layer in mlp.fit(X_IRIS, Y_IRIS).network_]
    relu = type(mlp.network_["relu_1"])
    assert kinds == [Dense, BatchNorm, relu, Dense, BatchNorm, relu, Dropout, Dense]
    assert mlp.network_["dropout_1"].rate == 0.5
    assert [W.shape for W in mlp.coefs_] == [(4, 8), (8, 6), (6, 3)]
    np.testing.assert_array_equal(mlp.predict_proba(X_IRIS), mlp.predict_proba(X_IRIS))


def test_dropout_regularizes():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    rng = np.random.default_rng(0)
    y = np.where(rng.random(len(y)) < 0.1, 1 - y, y)  # noise that a network can learn by heart
    losses = [
        MLPClassifier(100, dropout=rate, max_iter=150, learning_rate_init=0.005, random_state=0)
        .fit(X[:400], y[:400])
        .predict_log_proba(X[400:])[np.arange(len(y) - 400), y[400:]]
        for rate in (0.0, 0.5)
    ]
    assert losses[1].mean() > losses[0].mean() + 0.1


@pytest.mark.parametrize("rows", [201, 401])
def test_batch_norm_never_sees_a_row_alone(rows):
    X, y = np.random.default_rng(0).normal(size=(rows, 3)), np.arange(rows) % 2
    mlp = MLPClassifier(4, batch_norm=True, max_iter=2, random_state=0).fit(X, y)
    assert np.isfinite(mlp.loss_)


def test_any_activation_one_for_each_layer():
    mlp = MLPRegressor(
        hidden_layer_sizes=(8, 6, 4), activation=[ELU(alpha=0.5), Tanh, "relu"], max_iter=3
    ).fit(X_IRIS, Y_IRIS)
    assert mlp.network_.names == [
        "dense_1", "elu_1", "dense_2", "tanh_1", "dense_3", "relu_1", "head",
    ]  # fmt: skip
    assert mlp.network_["elu_1"].alpha == 0.5
    assert mlp.network_["elu_1"] is not mlp.activation[0]  # fit works on a copy
    halved = MLPRegressor(hidden_layer_sizes=(8, 6), activation=GLU, max_iter=3)
    assert [W.shape for W in halved.fit(X_IRIS, Y_IRIS).coefs_] == [(4, 8), (4, 6), (3, 1)]


def test_no_hidden_layer_is_a_linear_model():
    X, y = X_IRIS[:, :3], X_IRIS[:, 3]
    mlp = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=0, tol=1e-8).fit(X, y)
    design = np.c_[X, np.ones(len(X))]
    expected = np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(mlp.coefs_[0][:, 0], expected[:3], atol=1e-4)


def test_class_weight_is_a_sample_weight():
    weight = np.array([3.0, 1.0, 0.5])
    options = {"max_iter": 5, "random_state": 0, "solver": "adam"}
    by_class = MLPClassifier(5, class_weight=dict(enumerate(weight)), **options)
    by_class.fit(X_IRIS, Y_IRIS)
    by_row = MLPClassifier(5, **options).fit(X_IRIS, Y_IRIS, weight[Y_IRIS])
    np.testing.assert_array_equal(by_class.coefs_[0], by_row.coefs_[0])
    unweighted = MLPClassifier(5, **options).fit(X_IRIS, Y_IRIS)
    assert not np.allclose(by_class.coefs_[0], unweighted.coefs_[0])


@pytest.mark.filterwarnings("ignore:batch_size")
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_a_weight_of_two_is_the_row_twice(solver):
    weight = np.random.default_rng(0).integers(0, 4, len(X_IRIS))
    mlp = MLPClassifier(5, solver=solver, alpha=1.0, batch_size=1000, max_iter=8, random_state=0)
    weighted = clone(mlp).fit(X_IRIS, Y_IRIS, weight)
    repeated = clone(mlp).fit(X_IRIS.repeat(weight, axis=0), Y_IRIS.repeat(weight))
    for ours, same in zip(weighted.coefs_, repeated.coefs_, strict=True):
        np.testing.assert_allclose(ours, same, rtol=1e-9, atol=1e-12)
    assert weighted.loss_ == pytest.approx(repeated.loss_, rel=1e-10)


def test_validation_data_of_ones_own_restore_the_best_epoch():
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    mlp = MLPClassifier(30, learning_rate_init=0.05, random_state=0)
    mlp.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    assert mlp.best_loss_ is None
    assert mlp.best_validation_score_ == max(mlp.validation_scores_)
    assert mlp.score(X[1::2], y[1::2]) == mlp.best_validation_score_
    assert mlp.validation_scores_.index(mlp.best_validation_score_) + 1 == mlp.best_iter_
    with raises_exactly(ValueError, "X_val and y_val belong together, y_val is None"):
        mlp.fit(X, y, X_val=X)


def test_a_splitter_may_hold_out_groups():
    groups = np.arange(len(X_IRIS)) // 10
    mlp = MLPClassifier(5, early_stopping=GroupShuffleSplit(random_state=0), max_iter=5)
    assert len(mlp.fit(X_IRIS, Y_IRIS, groups=groups).validation_scores_) == 5


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_lbfgs_takes_validation_data_and_splitters(kind):
    mlp = kind(hidden_layer_sizes=5, solver="lbfgs", max_iter=5, random_state=0)
    mlp.fit(X_IRIS[::2], Y_IRIS[::2], X_val=X_IRIS[1::2], y_val=Y_IRIS[1::2])
    scores = mlp.validation_scores_
    assert len(scores) == mlp.n_iter_ == 5
    splitter = PredefinedSplit(np.arange(150) % 2 - 1)  # holds out rows 1, 3, 5 ...
    mlp.set_params(early_stopping=splitter).fit(X_IRIS, Y_IRIS)
    assert mlp.validation_scores_ == scores


@pytest.mark.parametrize("dtype", ["float32", np.float64, np.dtype("float32")])
def test_dtype_of_the_network_may_be_chosen(dtype):
    mlp = MLPRegressor(dtype=dtype, max_iter=2, random_state=0).fit(X_IRIS, Y_IRIS)
    assert mlp.coefs_[0].dtype == mlp.predict(X_IRIS).dtype == dtype


def test_transform_gives_the_hidden_activations():
    mlp = MLPClassifier((5, 3), "tanh", max_iter=2, random_state=0).fit(X_IRIS, Y_IRIS)
    first = np.tanh(X_IRIS @ mlp.coefs_[0] + mlp.intercepts_[0])
    second = np.tanh(first @ mlp.coefs_[1] + mlp.intercepts_[1])
    np.testing.assert_allclose(mlp.transform(X_IRIS), second)
    np.testing.assert_allclose(mlp.transform(X_IRIS, layer="tanh_1"), first)


def test_grid_search_and_pipeline():
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(5, max_iter=30, random_state=0))
    grid = {"mlpclassifier__alpha": [1e-4, 1e3], "mlpclassifier__dropout": [0.0]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(X_IRIS, Y_IRIS)
    assert search.best_params_["mlpclassifier__alpha"] == 1e-4


def test_callbacks_see_every_epoch_and_may_stop():
    seen = []

    def stop_at_three(state):
        seen.append(state.history.rows[-1]["loss"])
        state.stop = state.epoch == 3

    mlp = MLPClassifier(5, random_state=0).set_callbacks(stop_at_three).fit(X_IRIS, Y_IRIS)
    assert mlp.n_iter_ == 3
    assert mlp.loss_curve_ == seen


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_verbose_prints_a_line_for_every_epoch(solver, capsys):
    mlp = MLPClassifier(5, solver=solver, max_iter=4, verbose=True, random_state=0)
    mlp.fit(X_IRIS, Y_IRIS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"Iteration 4, loss = {mlp.loss_:.8f}"
    assert len(lines) == 4


def test_refit_learns_from_all_rows_for_the_best_number_of_epochs():
    mlp = MLPClassifier(5, early_stopping=True, max_iter=30, random_state=0).fit(X_IRIS, Y_IRIS)
    best = mlp.best_iter_
    mlp.refit(X_IRIS, Y_IRIS)
    assert (mlp.n_iter_, mlp.t_) == (best, best * 150)
    assert mlp.validation_scores_ is None


@pytest.mark.parametrize("rate", ["constant", "adaptive"])
def test_refit_runs_all_its_epochs_whatever_the_loss(rate):
    mlp = MLPRegressor(solver="sgd", learning_rate=rate, random_state=0, max_iter=12)
    mlp.set_params(n_iter_no_change=np.inf).fit(X_IRIS, Y_IRIS, X_val=X_IRIS, y_val=Y_IRIS)
    best = mlp.best_iter_
    assert best > 8
    mlp.set_params(n_iter_no_change=1, tol=10.0).refit(X_IRIS, Y_IRIS)
    assert (mlp.n_iter_, mlp.history_.stopped) == (best, "")
    assert (mlp.history_["learning_rate"][-1] < mlp.learning_rate_init) == (rate == "adaptive")


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_scikit_learns_callbacks_score_every_epoch(kind):
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="accuracy" if kind is MLPClassifier else "r2")
    mlp = kind(hidden_layer_sizes=5, max_iter=4, random_state=0).set_callbacks(monitor)
    mlp.fit(X_IRIS, Y_IRIS)
    assert len(mlp.loss_curve_) == 4


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_penalty_covers_whatever_decays(solver):
    mlp = MLPRegressor(hidden_layer_sizes=4, activation=Maxout(4, 2), solver=solver, alpha=50.0)
    mlp.set_params(max_iter=1, batch_size=150, random_state=0, learning_rate_init=1e-12)
    mlp.fit(X_IRIS, Y_IRIS)
    decaying = [mlp.network_.flat_params[s.slice] for s in mlp.network_.layout if s.decay]
    assert len(decaying) == 3
    error = ((mlp.predict(X_IRIS) - Y_IRIS) ** 2).mean() / 2
    penalty = 50 / 2 / 150 * sum(w @ w for w in decaying)
    assert mlp.loss_ == pytest.approx(error + penalty, rel=1e-8)


# ---------------------------------------------------------------- where scikit-learn is not right


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_the_best_loss_is_the_smallest_so_far(solver):
    mlp = MLPClassifier(5, solver=solver, warm_start=True, max_iter=9, random_state=0)
    for _ in range(2):
        mlp.fit(X_IRIS, Y_IRIS)
        assert mlp.best_loss_ == min(mlp.loss_curve_)


def test_log_probabilities_are_finite_where_probabilities_vanish():
    mlp = MLPClassifier(5, "identity", max_iter=2, random_state=0).fit(X_IRIS, Y_IRIS)
    mlp.coefs_[1][...] *= 1e4
    p, log_p = mlp.predict_proba(X_IRIS), mlp.predict_log_proba(X_IRIS)
    assert (p == 0).any()
    assert np.isfinite(log_p).all()
    np.testing.assert_array_equal(log_p[p > 0], np.log(p[p > 0]))


@pytest.mark.parametrize("y", [Y_IRIS, Y_IRIS > 0])
def test_the_loss_is_exact_after_a_change_to_lbfgs_and_capped_after_one_to_adam(y):
    mlp = MLPClassifier(5, warm_start=True, max_iter=2, random_state=0).fit(X_IRIS, y)
    caps = [mlp._target.loss.cap]
    for solver in ("lbfgs", "adam"):
        caps.append(mlp.set_params(solver=solver).fit(X_IRIS, y)._target.loss.cap)
    assert caps == [-np.log(np.finfo(float).eps), np.inf, -np.log(np.finfo(float).eps)]


def test_lbfgs_descends_the_loss_that_it_reports_for_several_outputs():
    Y = np.c_[X_IRIS[:, 3], Y_IRIS - 1.0, X_IRIS[:, 2] ** 2]
    mlp = MLPRegressor(hidden_layer_sizes=5, solver="lbfgs", alpha=0.5, max_iter=7, random_state=0)
    mlp.fit(X_IRIS[:, :2], Y)
    error = mlp.predict(X_IRIS[:, :2]) - Y
    penalty = 0.5 / 2 / len(Y) * sum((W**2).sum() for W in mlp.coefs_)
    expected = (error**2).sum(axis=1).mean() / 2 + penalty
    assert mlp.loss_ == pytest.approx(expected, rel=1e-12)
    assert mlp.loss_curve_[-1] == mlp.loss_


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_divergence_stops_with_the_last_good_weights():
    mlp = MLPRegressor(
        activation="identity", solver="sgd", learning_rate_init=1.0, random_state=0, max_iter=60
    )
    with warns_exactly(
        DivergenceWarning,
        re.compile(
            r"training diverged in epoch \d+: the loss is nan, first in the output of "
            r"layers\.head Dense\(units=1\); the network has the weights of epoch \d+\. A smaller "
            r"learning_rate, clip_norm or scaled inputs usually cure this"
        ),
    ):
        mlp.fit(X_IRIS * 10, Y_IRIS)
    assert np.isnan(mlp.loss_curve_[-1])
    assert np.isfinite(mlp.loss_curve_[:-1]).all()
    assert all(np.isfinite(W).all() for W in mlp.coefs_)


def test_divergence_at_once_is_an_error_and_leaves_no_network():
    mlp = MLPRegressor()
    with (
        raises_exactly(
            ValueError,
            re.compile(
                r"Solver produced non-finite parameter weights\. The input data may contain large "
                r"values and need to be preprocessed\. Training diverged in epoch 1: the loss is "
                r"inf, while all outputs are finite, the largest in layers\.0 Dense\(units=100\): "
                r"\d\.\de\+30\d"
            ),
        ),
        pytest.warns(RuntimeWarning),
    ):
        mlp.fit(np.full((10, 2), 1e308), np.arange(10.0))
    assert not hasattr(mlp, "network_")


def test_warm_start_takes_a_subset_of_the_classes_and_refuses_new_ones():
    mlp = MLPClassifier(5, warm_start=True, max_iter=3, random_state=0).fit(X_IRIS, Y_IRIS)
    before = mlp.coefs_[0].copy()
    mlp.fit(X_IRIS[:100], Y_IRIS[:100])
    assert mlp.classes_.tolist() == [0, 1, 2]
    assert mlp.predict_proba(X_IRIS).shape[1] == 3
    assert not np.array_equal(before, mlp.coefs_[0])
    with raises_exactly(ValueError, "y has the new classes [3]; the network knows [0, 1, 2]"):
        mlp.fit(X_IRIS, np.where(Y_IRIS == 2, 3, Y_IRIS))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"hidden_layer_sizes": (5,)}, {"hidden_layer_sizes": 5}),
        ({"hidden_layer_sizes": (5, 4)}, {"hidden_layer_sizes": [np.int64(5), np.int32(4)]}),
        ({"hidden_layer_sizes": [5, 4]}, {"hidden_layer_sizes": np.array([5, 4])}),
        ({"hidden_layer_sizes": (4, 5)}, {"hidden_layer_sizes": range(4, 6)}),
        ({"activation": "tanh"}, {"activation": ["tanh"]}),
        ({"dropout": 0.0}, {"dropout": 0}),
        ({"dropout": 0.5}, {"dropout": [np.float64(0.5)]}),
        ({"batch_norm": True}, {"batch_norm": np.True_}),
        ({"dtype": "float32"}, {"dtype": np.float32}),
        ({"dtype": np.float32}, {"dtype": np.dtype("float32")}),
    ],
)
def test_the_same_network_written_otherwise_goes_on(first, then):
    mlp = MLPClassifier(5, max_iter=2, random_state=0, warm_start=True).set_params(**first)
    mlp.fit(X_IRIS, Y_IRIS).set_params(**then).fit(X_IRIS, Y_IRIS)
    assert len(mlp.loss_curve_) == 4


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_partial_fit_after_early_stopping(kind):
    mlp = kind(early_stopping=True, random_state=0, max_iter=5).fit(X_IRIS, Y_IRIS)
    before, epochs = mlp.coefs_[0].copy(), len(mlp.loss_curve_)
    mlp.partial_fit(X_IRIS, Y_IRIS)
    assert not np.array_equal(before, mlp.coefs_[0])
    assert len(mlp.loss_curve_) == epochs + 1


def test_two_rows_are_enough_to_validate_with_and_one_is_not():
    mlp = MLPRegressor("squared_error", 5, early_stopping=True, max_iter=3, random_state=0)
    assert len(mlp.fit(X_IRIS[:20], X_IRIS[:20, 0]).validation_scores_) == 3
    with raises_exactly(
        ValueError,
        "The validation set is too small. Increase 'validation_fraction' or the size of "
        "your dataset. Got validation_fraction=0.1 of 10 rows",
    ):
        mlp.fit(X_IRIS[:10], X_IRIS[:10, 0])


def test_a_warm_start_holds_out_the_same_rows():
    held = []

    class WatchedRecipe(MLPRecipe):
        def split(self, task):
            held.append(super().split(task)[1])
            return task_rows(held[-1], len(task.y))

    class Watched(MLPClassifier):
        _recipe_of = WatchedRecipe

    def task_rows(validate, n):
        return np.setdiff1d(np.arange(n), validate), validate

    mlp = Watched((5, 4), early_stopping=True, warm_start=True, max_iter=3, random_state=0)
    mlp.fit(X_IRIS, Y_IRIS).fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(*held)
    assert len(mlp.validation_scores_) == 6


def test_a_warm_start_that_only_gets_worse_says_so():
    X, y, X_val, y_val = X_IRIS[::2], Y_IRIS[::2], X_IRIS[1::2], Y_IRIS[1::2]
    mlp = MLPClassifier(5, learning_rate_init=0.05, warm_start=True, max_iter=20, random_state=0)
    mlp.fit(X, y, X_val=X_val, y_val=y_val)
    good = mlp.best_validation_score_
    mlp.set_params(learning_rate_init=50, max_iter=1).fit(X, y, X_val=X_val, y_val=y_val)
    assert mlp.best_validation_score_ == mlp.score(X_val, y_val) < good
    assert mlp.best_validation_score_ == mlp.validation_scores_[mlp.best_iter_ - 1]


def test_held_out_rows_are_stratified_for_several_classes():
    mlp = MLPClassifier(5, early_stopping=True, max_iter=2, random_state=0)
    task = hold_out(mlp, prepare(mlp._recipe(), X_IRIS, Y_IRIS), None, None)
    assert np.bincount(task.validation[1]).tolist() == [5, 5, 5]
    rare = np.where(np.arange(150) == 7, 9, Y_IRIS)
    with warns_exactly(
        UserWarning,
        re.compile(r"the validation rows are not stratified: The least populated class.*"),
    ):
        mlp.fit(X_IRIS, rare)


def test_a_pickle_is_little_more_than_the_weights_and_predict_does_not_grow_it():
    X, y = load_digits(return_X_y=True)
    mlp = MLPClassifier(256, max_iter=2, random_state=0).fit(X, y)
    size = len(pickle.dumps(mlp))
    assert size < 1.2 * mlp.network_.flat_params.nbytes
    mlp.predict(X)
    assert len(pickle.dumps(mlp)) == size


def test_partial_fit_does_not_wait_for_a_stream_of_numbers_of_scikit_learn(monkeypatch):
    """To start a Mersenne Twister takes a tenth of a call; weights have been drawn by then."""
    mlp = MLPClassifier(5, random_state=0).partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2])
    monkeypatch.setattr(np.random, "MT19937", None)
    mlp.partial_fit(X_IRIS, Y_IRIS)


def test_partial_fit_goes_on_after_a_pickle():
    kept = MLPClassifier(5, random_state=0).partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2])
    restored = pickle.load(io.BytesIO(pickle.dumps(kept)))
    for mlp in (kept, restored):
        mlp.partial_fit(X_IRIS, Y_IRIS).partial_fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(kept.coefs_[0], restored.coefs_[0])


# ---------------------------------------------------------------- bad parameters

BAD = [
    ("hidden_layer_sizes", 0, "a positive integer or a sequence of them"),
    ("hidden_layer_sizes", (5, -1), "a positive integer or a sequence of them"),
    ("hidden_layer_sizes", "wide", "a positive integer or a sequence of them"),
    ("activation", "swish", "one of identity, logistic, tanh, relu, a layer, or a list of these"),
    ("activation", [3], "one of identity, logistic, tanh, relu, a layer, or a list of these"),
    ("activation", ["relu", "tanh"], "one name, or one for each of 1 hidden layers"),
    ("solver", "rmsprop", "one of lbfgs, sgd, adam"),
    ("alpha", -1, "a finite number >= 0"),
    ("alpha", np.inf, "a finite number >= 0"),
    ("batch_size", 0, "'auto' or a positive integer"),
    ("batch_size", "all", "'auto' or a positive integer"),
    ("learning_rate", "cosine", "one of constant, invscaling, adaptive"),
    ("learning_rate_init", 0, "a finite number > 0"),
    ("learning_rate_init", "fast", "a finite number > 0"),
    ("power_t", -0.5, "a finite number >= 0"),
    ("max_iter", 0, "a positive integer"),
    ("max_iter", 2.5, "a positive integer"),
    ("shuffle", "yes", "True or False"),
    ("tol", -1e-4, "a finite number >= 0"),
    ("verbose", "loud", "True, False or an integer >= 0"),
    ("warm_start", 1, "True or False"),
    ("momentum", 1.5, "in [0, 1]"),
    ("nesterovs_momentum", None, "True or False"),
    ("early_stopping", "auto", "True, False or a splitter such as GroupShuffleSplit()"),
    ("validation_fraction", 1.0, "in [0, 1)"),
    ("beta_1", 1.0, "in [0, 1)"),
    ("beta_2", -0.1, "in [0, 1)"),
    ("epsilon", 0, "a finite number > 0"),
    ("n_iter_no_change", 0, "a positive integer or numpy.inf"),
    ("n_iter_no_change", None, "a positive integer or numpy.inf"),
    ("max_fun", 0, "a positive integer"),
    ("dropout", 1.0, "in [0, 1), one or one for each hidden layer"),
    ("dropout", [0.1, 0.2], "one rate, or one for each of 1 hidden layers"),
    ("batch_norm", "on", "True or False"),
    ("dtype", "float16", "'auto', 'float32' or 'float64'"),
    ("dtype", None, "'auto', 'float32' or 'float64'"),
    ("dtype", float, "'auto', 'float32' or 'float64'"),
]


@pytest.mark.parametrize(("name", "value", "expected"), BAD)
def test_bad_parameters_say_what_was_allowed_and_what_came(name, value, expected):
    for kind in (MLPClassifier, MLPRegressor):
        mlp = kind(**{name: value})
        message = f"{kind.__name__}: {name} must be {expected}, got {value!r}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            mlp.fit(X_IRIS, Y_IRIS)
        assert not hasattr(mlp, "network_")


def test_bad_loss_and_random_state():
    with raises_exactly(
        ValueError, "MLPRegressor: loss must be one of squared_error, poisson, got 'l1'"
    ):
        MLPRegressor("l1").fit(X_IRIS, Y_IRIS)
    with raises_exactly(
        ValueError,
        "random_state must be None, a non-negative integer, a numpy Generator, "
        "RandomState or SeedSequence, got -1",
    ):
        MLPClassifier(random_state=-1).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.fit(X_IRIS, Y_IRIS[:-1]), r"inconsistent numbers of samples: \[150, 149\]"),
        (lambda m: m.fit(X_IRIS, Y_IRIS, -np.ones(150)), "Negative values in data passed"),
        (lambda m: m.fit(X_IRIS, Y_IRIS, np.zeros(150)), "zero for all|Sample weights"),
        (lambda m: m.fit(X_IRIS, Y_IRIS, np.ones(3)), r"sample_weight.shape == \(3,\)"),
        (lambda m: m.fit(X_IRIS[:, 0], Y_IRIS), "Expected 2D array, got 1D array"),
        (lambda m: m.fit(X_IRIS.reshape(150, 2, 2), Y_IRIS), "dim 3"),
        (lambda m: m.fit(X_IRIS * np.nan, Y_IRIS), "Input X contains NaN"),
        (lambda m: m.fit(X_IRIS, Y_IRIS / 3), "Unknown label type"),
        (lambda m: m.fit(X_IRIS, Y_IRIS).predict(X_IRIS[:, 1:]), "expecting 4 features"),
        (lambda m: m.predict(X_IRIS), "not fitted yet"),
        (lambda m: m.fit(X_IRIS, Y_IRIS).score(X_IRIS, [1]), r"numbers of samples: \[1, 150\]"),
        (lambda m: m.partial_fit(X_IRIS, Y_IRIS), "classes must be given at the first call"),
        (
            lambda m: m.set_params(warm_start=True).fit(X_IRIS, Y_IRIS).set_params(
                hidden_layer_sizes=9).fit(X_IRIS, Y_IRIS),
            "hidden_layer_sizes was 5 when the network was built and is 9 now",
        ),
        (
            lambda m: m.set_params(early_stopping=True).fit(X_IRIS[::30], Y_IRIS[::30]),
            "validation set is too small|not stratified",
        ),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:the validation rows are not stratified")
def test_bad_data_are_refused(call, message):
    with pytest.raises(Exception, match=message):
        call(MLPClassifier(5, max_iter=2))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on_with_another_loss_is_refused(method):
    mlp = MLPRegressor(hidden_layer_sizes=5, warm_start=True, max_iter=2).fit(X_IRIS, Y_IRIS)
    message = (
        "loss was 'squared_error' when the network was built and is 'poisson' now: a "
        "network that goes on learning cannot change; fit with warm_start=False builds a "
        "new one"
    )
    with raises_exactly(ValueError, message):
        getattr(mlp.set_params(loss="poisson"), method)(X_IRIS, Y_IRIS)
    assert mlp.out_activation_ == "identity"


def test_poisson_needs_counts():
    with pytest.raises(ValueError, match="y_true must be at least 0, got"):
        MLPRegressor("poisson", max_iter=2).fit(X_IRIS, X_IRIS[:, 0])


def test_a_batch_larger_than_the_data_is_clipped_with_a_warning():
    with warns_exactly(
        UserWarning, "batch_size=1000 is larger than the sample size 150. It is going to be clipped"
    ):
        MLPClassifier(batch_size=1000, max_iter=1).fit(X_IRIS, Y_IRIS)


def test_max_iter_that_is_not_enough_warns_with_scikit_learns_words():
    words = (
        "Stochastic Optimizer: Maximum iterations (2) reached and the optimization "
        "hasn't converged yet."
    )
    with warns_exactly(ConvergenceWarning, words):
        MLPClassifier(max_iter=2).fit(X_IRIS, Y_IRIS)
    with warns_exactly(ConvergenceWarning, "lbfgs: not converged after 2 iterations"):
        MLPClassifier(solver="lbfgs", max_iter=2).fit(X_IRIS, Y_IRIS)


# ---------------------------------------------------------------- of a network that is trained

CHAINS = {
    "linear": [],
    "one": [Dense(5), ReLU()],
    "two of everything": [
        *(Dense(6), BatchNorm(), Tanh(), Dropout(0.2)),
        *(Dense(4), BatchNorm(), ELU(0.5)),
    ],
    "no activation": [Dense(5), Dense(4), PReLU()],
}
ROWS = np.random.default_rng(0).normal(size=(80, 3))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("chain", CHAINS)
def test_of_a_trained_network(chain, n_outputs, dtype):
    network = Sequential(clone([*CHAINS[chain], Dense(n_outputs)])).build(3, 0, dtype=dtype)
    y = ROWS[:, :n_outputs] ** 2
    train(network, MeanSquaredError(), Adam(0.01), (ROWS, y), epochs=2, random_state=0)
    raw = network.infer(ROWS)
    model = MLPRegressor.from_network(network, alpha=0.1)
    tol = 1e-6 if dtype == np.float32 else 1e-12  # a product of another shape, an inverse link
    assert_allclose(model.predict(ROWS), raw.squeeze(), rtol=tol, atol=tol)
    assert model.network_.dtype == dtype and model.alpha == 0.1
    before = network.flat_params.copy()
    model.partial_fit(ROWS, y.squeeze())
    assert_array_equal(network.flat_params, before)
    classes = ["a", "b", "c"][: max(n_outputs, 2)]
    classifier = MLPClassifier.from_network(network, classes)
    theirs = SequentialClassifier.from_network(network, classes)
    assert_allclose(classifier.predict_proba(ROWS), theirs.predict_proba(ROWS), rtol=1e-5)
    assert_array_equal(classifier.predict(ROWS), theirs.predict(ROWS))


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([Tanh(), Dense(3)], "must begin and end with Dense"),
        ([Dense(3), Softmax()], "must begin and end with Dense"),
        ([Dense(4), Tanh(), ReLU(), Dense(3)], r"come \[Tanh"),
        ([Dense(4), Tanh(), BatchNorm(), Dense(3)], r"come \[Tanh"),
        ([Dense(4), BatchNorm(eps=0.1), Tanh(), Dense(3)], r"come \[BatchNorm"),
        ([Dense(4), BatchNorm(), Tanh(), Dense(4), Tanh(), Dense(3)], "only some"),
        ([Dense(4, use_bias=False), Tanh(), Dense(3)], "'b'"),
    ],
    ids=str,
)
def test_a_network_that_is_no_perceptron(layers, reason):
    network = Sequential(clone(layers)).build(3, random_state=0)
    message = f"MLPClassifier has, .*{reason}.*SequentialClassifier.from_network takes any"
    with pytest.raises(ValueError, match=message):
        MLPClassifier.from_network(network)


def test_what_from_network_refuses_by_name():
    with raises_exactly(
        ValueError,
        "network must be built, with the weights that it learned, got "
        "Sequential(layers=[Dense(units=2)]): an estimator of its own fits it",
    ):
        MLPRegressor.from_network(Sequential([Dense(2)]))
    with raises_exactly(
        ValueError,
        "network is not one that MLPRegressor has, hidden layers of Dense, maybe "
        "BatchNorm(), an activation and maybe Dropout, and a Dense of one output for "
        "each class (of two: one for both) or target: its rows have the shape (None, 3). "
        "SequentialRegressor.from_network takes any network",
    ):
        MLPRegressor.from_network(Sequential([Dense(2)]).build((None, 3)))
    built = Sequential([Dense(2)]).build(3)
    with raises_exactly(ValueError, "MLPRegressor: alpha must be a finite number >= 0, got -1"):
        MLPRegressor.from_network(built, alpha=-1)
    with raises_exactly(TypeError, "network must be a layer, such as a Sequential, got 'network'"):
        MLPRegressor.from_network("network")


def test_two_outputs_for_two_classes_are_no_perceptrons():
    network = Sequential([Dense(2)]).build(3, random_state=0)
    with raises_exactly(
        ValueError,
        "network is not one that MLPClassifier has, hidden layers of Dense, maybe "
        "BatchNorm(), an activation and maybe Dropout, and a Dense of one output for "
        "each class (of two: one for both) or target: entry 0 has shape (3, 1), got (3, "
        "2). SequentialClassifier.from_network takes any network",
    ):
        MLPClassifier.from_network(network)


@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
def test_lists_of_views_take_other_values_but_no_other_places(name):
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=1, random_state=0)
    model.fit(np.ones((8, 2)), np.arange(8.0))
    views = getattr(model, name)
    for change in (
        lambda: views.append(views[0]),
        lambda: views.extend([views[0]]),
        lambda: views.pop(),
        lambda: views.__delitem__(0),
        lambda: views.reverse(),
    ):
        with raises_exactly(
            TypeError, "views of a network's parameters take other values, but no other places"
        ):
            change()
    for copied in (pickle.loads(pickle.dumps(views)), copy.deepcopy(views)):
        copied.append(1)
        assert len(copied) == 3 and len(getattr(model, name)) == 2
