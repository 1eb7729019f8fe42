"""Fitting: weights, continuing, early stopping, seeds, dtypes, forms of X, what is kept."""

import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from errors import raises_exactly, warns_exactly
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GroupShuffleSplit, PredefinedSplit, StratifiedShuffleSplit
from sklearn.preprocessing import StandardScaler

import layerkit as lk
from layerkit import Dense, Dropout, ReLU, Sequential, SequentialClassifier, SequentialRegressor
from layerkit.estimators.preparing import hold_out
from layerkit.fused.planning import Plan
from layerkit.layer import Layer
from layerkit.losses import Huber
from layerkit.optimizers import LBFGS, SGD, Adam

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_IRIS = StandardScaler().fit_transform(X_IRIS)


def classifier(*layers, **options):
    options = {"max_iter": 20, "n_iter_no_change": None, "random_state": 0, **options}
    return SequentialClassifier(list(layers) or [Dense(8), ReLU()], **options)


def weights(model):
    return model.network_.flat_params


# ---------------------------------------------------------------- weights


def test_a_weight_is_a_number_of_repetitions(rng):
    times = rng.integers(0, 4, size=150)
    options = {"batch_size": 1000, "optimizer": SGD(0.1)}
    weighted = classifier(**options).fit(X_IRIS, Y_IRIS, sample_weight=times)
    repeated = classifier(**options).fit(np.repeat(X_IRIS, times, axis=0), np.repeat(Y_IRIS, times))
    np.testing.assert_allclose(weights(weighted), weights(repeated), rtol=1e-9)
    scaled = classifier(**options).fit(X_IRIS, Y_IRIS, sample_weight=1000.0 * times)
    np.testing.assert_allclose(weights(scaled), weights(repeated), rtol=1e-9)


def test_rows_of_weight_zero_are_left_out_of_batch_norm_too():
    keep = np.arange(150) % 3 > 0
    network = [Dense(8), lk.BatchNorm(), ReLU(), Dropout(0.2)]
    weighted = classifier(*network).fit(X_IRIS, Y_IRIS, sample_weight=keep)
    without = classifier(*network).fit(X_IRIS[keep], Y_IRIS[keep])
    np.testing.assert_allclose(weights(weighted), weights(without))


@pytest.mark.parametrize("weight", ["balanced", {0: 2.0, 1: 0.5}])
def test_class_weights_are_sample_weights(weight):
    rows = np.r_[:50, 50:70, 100:110]
    X, y = X_IRIS[rows], Y_IRIS[rows]
    factors = np.array([80 / 150, 80 / 60, 80 / 30] if weight == "balanced" else [2.0, 0.5, 1.0])
    by_class = classifier(class_weight=weight).fit(X, y)
    by_sample = classifier().fit(X, y, sample_weight=factors[y])
    np.testing.assert_allclose(weights(by_class), weights(by_sample))


def test_balanced_class_weights_count_repetitions(rng):
    times = rng.integers(0, 4, size=150)
    options = {"batch_size": 1000, "class_weight": "balanced"}
    weighted = classifier(**options).fit(X_IRIS, Y_IRIS, sample_weight=times)
    repeated = classifier(**options).fit(np.repeat(X_IRIS, times, axis=0), np.repeat(Y_IRIS, times))
    np.testing.assert_allclose(weights(weighted), weights(repeated), rtol=1e-8)


def test_class_weights_of_several_outputs_multiply():
    y = np.column_stack([Y_IRIS > 0, Y_IRIS == 2]).astype(int)
    spec = [{0: 3.0}, {1: 0.5}]
    by_class = classifier(class_weight=spec).fit(X_IRIS, y)
    by_sample = classifier().fit(
        X_IRIS, y, sample_weight=np.where(y[:, 0], 1, 3.0) * np.where(y[:, 1], 0.5, 1)
    )
    np.testing.assert_allclose(weights(by_class), weights(by_sample))


# ---------------------------------------------------------------- continuing


def test_partial_fit_is_fit_one_epoch_at_a_time():
    whole = classifier(max_iter=5, shuffle=False).fit(X_IRIS, Y_IRIS)
    pieces = classifier(shuffle=False)
    for _ in range(5):
        pieces.partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2])
    np.testing.assert_array_equal(weights(pieces), weights(whole))
    assert pieces.n_iter_ == 5
    np.testing.assert_array_equal(pieces.history_["epoch"], [1, 2, 3, 4, 5])
    assert pieces.loss_curve_ == whole.loss_curve_


def test_partial_fit_draws_a_new_order_every_time():
    shuffled = [classifier(optimizer=SGD(0.1)) for _ in range(2)]
    for model in shuffled:
        for _ in range(3):
            model.partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2])
    np.testing.assert_array_equal(weights(shuffled[0]), weights(shuffled[1]))
    orders = []
    seen = classifier(optimizer=SGD(0.0))
    seen.set_callbacks(Recorder(orders))
    for _ in range(2):
        seen.partial_fit(X_IRIS, Y_IRIS, classes=[0, 1, 2])
    half = len(orders) // 2
    assert orders[:half] != orders[half:]


class Recorder:
    def __init__(self, losses):
        self.losses = losses

    def on_batch(self, state):
        self.losses.append(state.batch_loss)

    def __call__(self, state):
        pass


def test_partial_fit_knows_classes_that_come_later():
    model = classifier(optimizer=Adam(0.05))
    for _ in range(30):
        for species in range(3):
            rows = np.equal(Y_IRIS, species)
            model.partial_fit(X_IRIS[rows], Y_IRIS[rows], classes=[0, 1, 2])
    assert model.classes_.tolist() == [0, 1, 2]
    assert set(model.predict(X_IRIS)) == {0, 1, 2}


def test_partial_fit_of_multilabel_and_of_several_outputs():
    indicator = np.column_stack([Y_IRIS > 0, Y_IRIS > 1]).astype(int)
    model = classifier(optimizer=Adam(0.05))
    for _ in range(30):
        model.partial_fit(X_IRIS, indicator)
    assert model.score(X_IRIS, indicator) > 0.8
    several = np.column_stack([Y_IRIS, Y_IRIS > 1])
    model = classifier(optimizer=Adam(0.05))
    for _ in range(30):
        model.partial_fit(X_IRIS, several, classes=[[0, 1, 2], [0, 1]])
    assert model.score(X_IRIS, several) > 0.8


def test_partial_fit_takes_classes_as_a_series_of_any_index():
    y = np.array(["a", "b", "c"])[Y_IRIS]
    classes = pd.Series(["c", "a", "b"], index=[7, 8, 9])
    model = classifier().partial_fit(X_IRIS, y, classes).partial_fit(X_IRIS, y, classes)
    assert model.classes_.tolist() == ["a", "b", "c"]
    model = classifier().partial_fit(
        X_IRIS, np.c_[Y_IRIS, Y_IRIS > 1], [[0, 1, 2], pd.Series([1, 0], index=[3, 4])]
    )
    assert [labels.tolist() for labels in model.classes_] == [[0, 1, 2], [0, 1]]


def test_warm_start_goes_on():
    whole = classifier(max_iter=6, shuffle=False).fit(X_IRIS, Y_IRIS)
    halves = classifier(max_iter=3, shuffle=False, warm_start=True)
    halves.fit(X_IRIS, Y_IRIS).fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(weights(halves), weights(whole))
    assert halves.n_iter_ == 6 == len(halves.history_)


def test_warm_start_takes_a_changed_learning_rate():
    model = classifier(optimizer=SGD(0.1), warm_start=True).fit(X_IRIS, Y_IRIS)
    before = weights(model).copy()
    model.set_params(optimizer__learning_rate=0.0).fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(weights(model), before)


def test_warm_start_takes_some_of_the_classes_but_no_new_ones():
    model = classifier(warm_start=True).fit(X_IRIS, Y_IRIS)
    model.fit(X_IRIS[:100], Y_IRIS[:100])
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.predict_proba(X_IRIS).shape == (150, 3)
    with raises_exactly(ValueError, "y has the new classes [7]; the network knows [0, 1, 2]"):
        model.fit(X_IRIS, np.where(Y_IRIS == 2, 7, Y_IRIS))
    assert model.n_iter_ == 40


# ---------------------------------------------------------------- early stopping


CANCER = load_breast_cancer(return_X_y=True)
X_CANCER, Y_CANCER = StandardScaler().fit_transform(CANCER[0]), CANCER[1]


def stopping(**options):
    options = {"max_iter": 60, "n_iter_no_change": 5, "optimizer": Adam(0.02), **options}
    return classifier(**options)


def tasks_of(monkeypatch):
    """Return a list that every fit adds its task to, with what is held out."""
    tasks = []

    def listed(*arguments):
        tasks.append(hold_out(*arguments))
        return tasks[-1]

    monkeypatch.setattr("layerkit.estimators.base.hold_out", listed)
    return tasks


def test_the_best_weights_are_restored():
    X, y, X_val, y_val = X_CANCER[:400], Y_CANCER[:400], X_CANCER[400:], Y_CANCER[400:]
    model = stopping().fit(X, y, X_val=X_val, y_val=y_val)
    losses = model.history_["validation_loss"]
    assert model.best_iter_ == 1 + int(losses.argmin())
    assert model.best_iter_ < model.n_iter_ < 60
    p = model.predict_proba(X_val)
    assert losses.min() == pytest.approx(-np.log(p[np.arange(len(p)), y_val]).mean())
    assert model.history_["validation_score"][model.best_iter_ - 1] == model.score(X_val, y_val)


def test_early_stopping_holds_out_a_stratified_part(monkeypatch):
    y = np.r_[np.zeros(540, int), np.ones(29, int)]
    model = stopping(early_stopping=True, validation_fraction=0.2)
    held = tasks_of(monkeypatch)
    model.fit(X_CANCER, y)
    validation = held[0].validation
    assert len(validation[1]) == 114
    assert validation[1].sum() == 6
    assert len(held[0].y) == 569 - 114


def test_a_splitter_keeps_groups_together():
    groups = np.arange(569) // 10
    seen = []

    class Splitter(GroupShuffleSplit):
        def split(self, X, y=None, groups=None):
            for learn, validate in super().split(X, y, groups):
                seen.append((set(groups[learn]), set(groups[validate])))
                yield learn, validate

    splitter = Splitter(test_size=0.25, random_state=0)
    model = stopping(early_stopping=splitter).fit(X_CANCER, Y_CANCER, groups=groups)
    assert not seen[0][0] & seen[0][1]
    assert model.best_iter_ < model.n_iter_
    stopping(early_stopping=StratifiedShuffleSplit(random_state=0)).fit(X_CANCER, Y_CANCER)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [SequentialClassifier, lk.MLPClassifier])
@pytest.mark.parametrize("by_class", [False, True])
def test_a_splitter_sees_rows_of_weight_zero_too(kind, by_class, monkeypatch):
    y = np.where(np.arange(569) % 4 == 0, 2, Y_CANCER)
    held, weight = np.arange(569) % 5 == 0, np.where(y == 2, 0.0, 1.0)
    seen = []

    class Splitter(PredefinedSplit):
        def split(self, X, y=None, groups=None):
            seen.append((len(X), len(y), len(groups)))
            return super().split(X, y)

    options = {"class_weight": {2: 0.0}} if by_class else {}
    layers = (5,) if kind is lk.MLPClassifier else [Dense(5)]
    model = kind(layers, max_iter=5, n_iter_no_change=9, random_state=0, **options)
    model.set_params(early_stopping=Splitter(np.where(held, 0, -1)))
    tasks = tasks_of(monkeypatch)
    model.fit(X_CANCER, y, sample_weight=None if by_class else weight, groups=np.arange(569))
    assert seen == [(569, 569, 569)]
    np.testing.assert_array_equal(tasks[0].X, X_CANCER[~held & (weight > 0)])
    np.testing.assert_array_equal(tasks[0].validation[0], X_CANCER[held & (weight > 0)])
    assert len(model.refit(X_CANCER, y).classes_) == 3


def test_refit_trains_on_everything_for_the_best_number_of_epochs():
    model = stopping(early_stopping=True).fit(X_CANCER, Y_CANCER)
    best = model.best_iter_
    model.refit(X_CANCER, Y_CANCER)
    plain = stopping(max_iter=best, n_iter_no_change=None).fit(X_CANCER, Y_CANCER)
    assert model.n_iter_ == best == model.best_iter_
    np.testing.assert_array_equal(weights(model), weights(plain))


def test_partial_fit_after_early_stopping():
    model = stopping(early_stopping=True).fit(X_CANCER, Y_CANCER)
    n = model.n_iter_
    model.partial_fit(X_CANCER, Y_CANCER)
    assert model.n_iter_ == n + 1
    assert np.isnan(model.history_["validation_loss"][-1])


def test_warm_start_keeps_its_split(monkeypatch):
    model = stopping(early_stopping=True, warm_start=True, random_state=None, max_iter=3)
    split = tasks_of(monkeypatch)
    model.set_params(n_iter_no_change=None).fit(X_CANCER, Y_CANCER).fit(X_CANCER, Y_CANCER)
    np.testing.assert_array_equal(split[0].validation[0], split[1].validation[0])
    np.testing.assert_array_equal(model.history_["epoch"], np.arange(1, 7))


def test_it_says_that_it_did_not_converge():
    with warns_exactly(
        ConvergenceWarning,
        "SequentialClassifier: optimizer__max_iter=3 epochs were not enough to converge; "
        "raise it, or set n_iter_no_change=None to have exactly so many",
    ) as seen:
        classifier(optimizer=LBFGS(max_iter=3), n_iter_no_change=10).fit(X_IRIS, Y_IRIS)
    assert seen[0].filename == __file__
    with warns_exactly(
        ConvergenceWarning,
        "SequentialClassifier: max_iter=2 epochs were not enough to converge; raise it, "
        "or set n_iter_no_change=None to have exactly so many",
    ):
        classifier(max_iter=2, optimizer=LBFGS(), n_iter_no_change=10).fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_epochs_that_were_asked_for_are_no_reason_to_warn(optimizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SequentialClassifier([Dense(3)], max_iter=2, optimizer=optimizer, random_state=0)
        assert model.fit(X_IRIS, Y_IRIS).n_iter_ == 2


def test_training_stops_when_the_loss_does():
    model = classifier(optimizer=SGD(0.0), n_iter_no_change=3, max_iter=50).fit(X_IRIS, Y_IRIS)
    assert model.n_iter_ == 4
    assert "no improvement" in model.history_.stopped


def test_scikit_learn_is_imported_when_an_estimator_is():
    program = (
        "import sys, layerkit; assert 'sklearn' not in sys.modules; "
        "assert 'SequentialClassifier' in dir(layerkit); "
        "layerkit.SequentialClassifier; assert 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    with raises_exactly(AttributeError, "module 'layerkit' has no attribute 'Classifier'"):
        lk.Classifier  # noqa: B018


# ---------------------------------------------------------------- seeds and dtypes


@pytest.mark.parametrize("seed", [0, np.int64(3)])
def test_a_seed_gives_the_same_weights(seed):
    network = [Dense(8), Dropout(0.3), ReLU()]
    first, second, other = (
        classifier(*network, random_state=s).fit(X_IRIS, Y_IRIS) for s in (seed, seed, 99)
    )
    np.testing.assert_array_equal(weights(first), weights(second))
    assert (weights(first) != weights(other)).any()


def test_a_random_state_object_moves_on():
    model = classifier(random_state=np.random.RandomState(0))
    first = weights(model.fit(X_IRIS, Y_IRIS)).copy()
    assert (first != weights(model.fit(X_IRIS, Y_IRIS))).any()


@pytest.mark.parametrize(
    ("x_dtype", "dtype", "expected"),
    [
        ("float32", "auto", "float32"),
        ("float64", "auto", "float64"),
        ("float16", "auto", "float32"),
        ("uint8", "auto", "float32"),
        ("int64", "auto", "float64"),
        ("longdouble", "auto", "float64"),
        ("float64", "float32", "float32"),
        ("float32", np.float64, "float64"),
    ],
)
def test_dtypes(x_dtype, dtype, expected):
    X = np.abs(X_IRIS * 10).astype(x_dtype)
    model = classifier(dtype=dtype, max_iter=2).fit(X, Y_IRIS)
    assert weights(model).dtype == expected
    assert model.predict_proba(X).dtype == model.transform(X).dtype == expected
    regressor = SequentialRegressor([Dense(3)], dtype=dtype, max_iter=2, n_iter_no_change=None)
    assert regressor.fit(X, Y_IRIS).predict(X).dtype == expected


# ---------------------------------------------------------------- forms of X


def test_sparse_rows_give_what_dense_rows_give():
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    dense = classifier(max_iter=5).fit(X, y)
    for form in (sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.coo_array):
        sparse = classifier(max_iter=5).fit(form(X), y)
        np.testing.assert_allclose(weights(sparse), weights(dense), rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(sparse.predict_proba(form(X)), dense.predict_proba(X))
    assert dense.__sklearn_tags__().input_tags.sparse
    assert not classifier(ReLU()).__sklearn_tags__().input_tags.sparse
    assert classifier(Sequential([Dense(2)])).__sklearn_tags__().input_tags.sparse


def test_images_as_four_dimensional_arrays():
    X, y = load_digits(return_X_y=True)
    images = (X[:400] / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    model = classifier(
        lk.Conv2D(8, 3), ReLU(), lk.MaxPool2D(2), lk.Flatten(), optimizer=Adam(0.01), max_iter=8
    )
    model.fit(images, y[:400])
    assert model.score(images, y[:400]) > 0.9
    assert model.transform(images, layer=0).shape == (400, 6 * 6 * 8)
    with raises_exactly(
        ValueError,
        "X has samples of shape (8, 4, 1), but SequentialClassifier was fitted on "
        "samples of shape (8, 8, 1)",
    ):
        model.predict(images[:, :, :4])


@pytest.fixture
def table(rng):
    city = rng.integers(0, 5, size=300)
    frame = pd.DataFrame(
        {"age": rng.normal(size=300), "city": city, "income": rng.normal(size=300)}
    )
    return frame, np.where(city % 2 == 0, "even", "odd")


def test_columns_by_name(table):
    frame, y = table
    named = lk.Columns([(["income", "age"], Dense(4)), ("city", lk.Embedding(5, 2))])
    placed = lk.Columns([([2, 0], Dense(4)), (1, lk.Embedding(5, 2))])
    model = classifier(named, ReLU(), optimizer=Adam(0.05)).fit(frame, y)
    assert model.feature_names_in_.tolist() == ["age", "city", "income"]
    assert model.score(frame, y) > 0.95
    other = classifier(placed, ReLU(), optimizer=Adam(0.05)).fit(frame.to_numpy(), y)
    np.testing.assert_array_equal(weights(model), weights(other))
    np.testing.assert_array_equal(
        clone(model).fit(frame, y).predict(frame), pickle.loads(pickle.dumps(model)).predict(frame)
    )


def test_names_of_columns_reach_nested_routes(table):
    frame, y = table
    inner = lk.Columns([("city", lk.Embedding(5, 2)), ("age", Dense(1))])
    network = lk.Concat(
        [lk.Columns([(["age", "city"], inner)]), lk.Columns([("income", Dense(2))])]
    )
    model = classifier(network, optimizer=Adam(0.05)).fit(frame, y)
    assert model.transform(frame).shape == (300, 5)
    embedded = model.network_[0].branches[0].routes[0][1].routes[0][1].params["W"]
    np.testing.assert_array_equal(model.transform(frame)[:, :2], embedded[frame["city"].to_numpy()])


def test_names_of_columns_that_are_not_there(table):
    frame, y = table
    named = classifier(lk.Columns([("aeg", Dense(2))]))
    with raises_exactly(
        ValueError, "in layers.0 Columns: no column 'aeg', the input's are age, city, income"
    ):
        named.fit(frame, y)
    with raises_exactly(
        ValueError,
        "in layers.0 Columns: no column 'aeg', the input's are without names (fit an "
        "estimator on a table)",
    ):
        named.fit(frame.to_numpy(), y)


# ---------------------------------------------------------------- layers and parameters


@pytest.mark.parametrize("form", [list, Sequential])
def test_parameters_inside_are_reached_by_name(form):
    model = SequentialClassifier(form([Dense(4), ReLU(), ("last", Dense(2))]), loss=Huber())
    params = model.get_params()
    assert params["layers__dense_1__units"] == 4
    assert params["layers__last__units"] == 2
    assert params["loss__delta"] == 1.0
    model.set_params(layers__dense_1__units=9, layers__last=Dense(5), loss__delta=0.5)
    assert model.get_params()["layers__dense_1__units"] == 9
    assert model.get_params()["layers__last__units"] == 5
    assert model.loss.delta == 0.5
    copy = clone(model).set_params(layers__dense_1__units=1)
    assert model.get_params()["layers__dense_1__units"] == 9
    assert type(copy.layers) is form
    with raises_exactly(
        ValueError,
        "SequentialClassifier has no parameter 'layers__dense_7__units'; valid "
        "parameters are layers, loss, optimizer, batch_size, max_iter, shuffle, "
        "random_state, tol, n_iter_no_change, early_stopping, validation_fraction, "
        "class_weight, warm_start, dtype, head, verbose, loss__delta, layers__dense_1, "
        "layers__dense_1__units, layers__dense_1__use_bias, "
        "layers__dense_1__initializer, layers__relu_1, layers__last, "
        "layers__last__units, layers__last__use_bias, layers__last__initializer",
    ):
        model.set_params(layers__dense_7__units=1)


def test_one_layer_is_a_body_too():
    block = lk.Residual(Sequential([Dense(4), ReLU(), Dense(4)]))
    model = SequentialClassifier(block, max_iter=3, n_iter_no_change=None).fit(X_IRIS, Y_IRIS)
    assert "layers__body__layers__dense_1__units" in model.get_params()
    assert model.network_.names == ["residual_1", "head"]


def test_fit_leaves_the_given_layers_alone():
    layers = [Dense(4), ReLU()]
    model = classifier(*layers).fit(X_IRIS, Y_IRIS)
    assert not any(layer.is_built for layer in layers)
    assert model.layers[0] is layers[0]


def test_frozen_layers_keep_their_weights_in_clones_and_fits():
    source = classifier(Dense(8), lk.BatchNorm(), ReLU()).fit(X_IRIS, Y_IRIS)
    body = source.network_[:3]
    body.trainable = False
    kept = [body[0].params["W"].copy(), body[1].buffers["running_mean"].copy()]
    model = clone(classifier(*body, Dense(5), random_state=1)).fit(X_IRIS[:90], Y_IRIS[:90])
    np.testing.assert_array_equal(model.network_[0].params["W"], kept[0])
    np.testing.assert_array_equal(model.network_[1].buffers["running_mean"], kept[1])
    assert model.network_["dense_2"].params["W"].any()
    with raises_exactly(
        ValueError,
        "in layers.0 Dense(units=8): keeps its weights, as it is built already, for "
        "(n_samples, 4), but gets (n_samples, 3): W has shape (4, 8) and would need (3, "
        "8)",
    ):
        clone(model).fit(X_IRIS[:, :3], Y_IRIS)


def test_a_layer_of_the_users_own():
    class Square(Layer):
        def forward(self, x, training=False):
            self.cache = x
            return x * x

        def backward(self, grad_output):
            return 2 * self.cache * grad_output

    assert (
        classifier(Dense(8), Square(), max_iter=60).fit(X_IRIS, Y_IRIS).score(X_IRIS, Y_IRIS) > 0.8
    )


# ---------------------------------------------------------------- after fit


def test_hidden_activations():
    model = classifier(Dense(8), ReLU(), ("code", Dense(3))).fit(X_IRIS, Y_IRIS)
    code = model.transform(X_IRIS)
    np.testing.assert_array_equal(code, model.transform(X_IRIS, layer="code"))
    np.testing.assert_array_equal(code, model.transform(X_IRIS, layer=2))
    hidden = np.maximum(model.transform(X_IRIS, layer=0), 0)
    np.testing.assert_array_equal(model.transform(X_IRIS, layer="relu_1"), hidden)
    np.testing.assert_allclose(
        model.network_["head"].infer(code)[:, 0], model._from_raw(X_IRIS, lambda raw: raw)[:, 0]
    )
    assert model.get_feature_names_out().tolist() == [f"sequentialclassifier{i}" for i in range(3)]
    for layer in (3, -4, "head", True):
        with raises_exactly(
            ValueError,
            "layer must be a position below 3 or one of the hidden layers' names, dense_1, "
            f"relu_1, code, got {layer!r}",
        ):
            model.transform(X_IRIS, layer=layer)


def test_without_hidden_layers_the_input_is_what_they_make():
    model = SequentialClassifier([], max_iter=2, n_iter_no_change=None).fit(X_IRIS, Y_IRIS)
    for rows in (X_IRIS, sp.csr_array(X_IRIS), sp.csr_matrix(X_IRIS)):
        activations = model.transform(rows)
        assert type(activations) is np.ndarray
        np.testing.assert_array_equal(activations, X_IRIS)
    assert len(model.get_feature_names_out()) == 4


@pytest.mark.parametrize("n_rows", [150, 20])  # few wide rows are as large as many narrow ones
def test_large_inputs_are_predicted_in_parts(n_rows, monkeypatch):
    model = classifier().fit(X_IRIS, Y_IRIS)
    X = X_IRIS[:n_rows]
    whole = model.predict_proba(X)
    monkeypatch.setattr("layerkit.estimators.predicting._BATCH_ELEMENTS", 100)
    sizes = []
    infer = Plan.infer
    monkeypatch.setattr(Plan, "infer", lambda plan, x: sizes.append(len(x)) or infer(plan, x))
    np.testing.assert_allclose(model.predict_proba(X), whole, rtol=1e-12)
    assert max(sizes) == 12  # the widest layer has 8 units


def test_predict_is_safe_from_many_threads():
    model = classifier(Dense(64), lk.BatchNorm(), ReLU(), Dropout(0.5)).fit(X_IRIS, Y_IRIS)
    parts = [X_IRIS[i : i + 7] for i in range(100)]
    expected = [model.predict_proba(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        for got, wanted in zip(pool.map(model.predict_proba, parts), expected, strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("options", [{}, {"optimizer": "lbfgs"}, {"early_stopping": True}])
def test_a_pickle_is_little_more_than_the_weights(options):
    X, y = load_digits(return_X_y=True)
    model = classifier(Dense(300), ReLU(), Dense(200), ReLU(), max_iter=2, **options).fit(X, y)
    before = pickle.dumps(model)
    assert len(before) < 1.2 * weights(model).nbytes
    model.predict_proba(X)
    assert len(pickle.dumps(model)) == len(before)
    again = pickle.loads(before)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_nothing_of_the_data_is_kept():
    model = classifier(optimizer="lbfgs").fit(X_IRIS, Y_IRIS)
    assert model._target.loss._pass is None
    assert all("cache" not in vars(layer) for _, layer in model.network_.walk())


def test_the_optimizer_state_is_kept_where_it_is_asked_for():
    assert classifier().fit(X_IRIS, Y_IRIS).optimizer_.state == {}
    assert classifier(warm_start=True).fit(X_IRIS, Y_IRIS).optimizer_.state["t"] > 0
    assert classifier().partial_fit(X_IRIS, Y_IRIS, [0, 1, 2]).optimizer_.state["t"] > 0


def test_history_is_a_table(capsys):
    model = classifier(max_iter=3, early_stopping=True, verbose=True).fit(X_IRIS, Y_IRIS)
    assert model.history_.columns == [
        "epoch", "loss", "validation_loss", "validation_score", "learning_rate", "seconds",
    ]  # fmt: skip
    assert model.loss_curve_ == model.history_["loss"].tolist()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("epoch 2/3: loss ")
    assert "validation score" in lines[1]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs", "rprop", "sgd"])
def test_every_kind_of_optimizer_prints_a_line_an_epoch(optimizer, capsys):
    model = classifier(max_iter=4, optimizer=optimizer, verbose=True).fit(X_IRIS, Y_IRIS)
    assert len(capsys.readouterr().out.splitlines()) == model.n_iter_ == 4


def test_before_fit():
    for method in ("predict", "predict_proba", "decision_function", "transform", "score"):
        with pytest.raises(NotFittedError):
            getattr(classifier(), method)(*([X_IRIS, Y_IRIS] if method == "score" else [X_IRIS]))
    with pytest.raises(NotFittedError):
        classifier().refit(X_IRIS, Y_IRIS)


def test_a_failed_fit_leaves_the_fitted_network():
    model = classifier().fit(X_IRIS, Y_IRIS)
    before = model.predict_proba(X_IRIS)
    with pytest.raises(ValueError, match="Negative values"):
        model.fit(X_IRIS, Y_IRIS, sample_weight=-np.ones(150))
    with raises_exactly(
        ValueError, "in layers.0 Dense(units=0): units must be a positive integer, got 0"
    ):
        model.set_params(layers__dense_1__units=0).fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(model.predict_proba(X_IRIS), before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_plain_rows_skip_the_checks_and_others_do_not(dtype):
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(dtype)
    model = SequentialRegressor([Dense(4)], max_iter=2, n_iter_no_change=None, random_state=0)
    model.fit(X, X[:, 0])
    expected = model.predict(X)
    np.testing.assert_array_equal(model.predict(np.asfortranarray(X)), expected)
    for bad, message in (
        (np.where(X > 1, np.nan, X), "Input X contains NaN"),
        (np.where(X > 1, np.inf, X), "Input X contains infinity"),
        (X[:, :2], "X has 2 features, but SequentialRegressor is expecting 3"),
        (X[0], "Expected 2D array|samples of shape"),
        (X[:0], "Found array with 0 sample"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(bad)
    largest = np.full((2, 3), np.finfo(dtype).max / 2)  # finite, though their sum is not
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("error")
        assert model.predict(largest).shape == (2,)
    named = model.fit(pd.DataFrame(X, columns=list("abc")), X[:, 0])
    with warns_exactly(
        UserWarning,
        "X does not have valid feature names, but SequentialRegressor was fitted with "
        "feature names",
    ):
        named.predict(X)
    frame = pd.DataFrame(X, columns=list("abc"))
    expected = named.predict(frame)
    whole = pd.DataFrame(np.ones((2, 3), int), columns=list("abc"))
    assert named.predict(whole).tolist() == named.predict(whole.astype(dtype)).tolist()
    np.testing.assert_array_equal(named.predict(frame.iloc[::-1])[::-1], expected)
    np.testing.assert_array_equal(named.predict(frame.astype({"a": object})), expected)
    for wrong, message in (
        (frame[["b", "a", "c"]], "same order as they were in fit"),
        (frame[["a", "b"]], "Feature names seen at fit time, yet now missing"),
        (frame.assign(d=1.0), "Feature names unseen at fit time"),
        (frame.mask(frame > 1), "Input X contains NaN"),
        (frame.iloc[:0], "Found array with 0 sample"),
    ):
        with pytest.raises(ValueError, match=message):
            named.predict(wrong)


def test_a_regressor_of_ones_own_may_have_a_class_weight():
    class Regressor(SequentialRegressor):
        def __init__(self, layers, class_weight=None):
            super().__init__(layers, max_iter=2, n_iter_no_change=None, random_state=0)
            self.class_weight = class_weight

    weighted = Regressor([Dense(3)], class_weight={0: 1}).fit(X_IRIS, Y_IRIS)
    plain = Regressor([Dense(3)]).fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(weighted.network_.flat_params, plain.network_.flat_params)
