"""Perceptrons from scikit-learn and to it predict the same; skops needs our list and no more."""

import warnings

import numpy as np
import pandas as pd
import pytest
from cases import CASES
from closeness import assert_equal_to_a_millionth
from errors import raises_exactly
from sklearn import neural_network as theirs
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import layerkit.layers as nn
from layerkit import MLPClassifier, MLPRegressor, SequentialClassifier, SequentialRegressor, losses
from layerkit.interchange import TRUSTED_TYPES, from_sklearn, to_sklearn
from layerkit.training import History

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
WORDS = np.array(["setosa", "versicolor", "virginica"])[Y]
LABELS = (X[:, :3] > np.median(X[:, :3], axis=0)).astype(int)
DX, DY = load_diabetes(return_X_y=True)
DX, DY = 10 * DX, DY / 100


def fit(estimator, X, y):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(X, y)


CLASSIFICATION = {"three": WORDS, "two": WORDS != "setosa", "labels": LABELS}
SHORT = {"max_iter": 4, "random_state": 0}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("targets", CLASSIFICATION)
def test_a_classifier_from_sklearn_and_back(targets, solver, dtype):
    x = X.astype(dtype)
    mlp = fit(
        theirs.MLPClassifier((8, 5), "tanh", solver=solver, **SHORT), x, CLASSIFICATION[targets]
    )
    ours = from_sklearn(mlp)
    assert ours.network_.dtype == mlp.coefs_[0].dtype
    for model in (ours, to_sklearn(ours)):
        np.testing.assert_array_equal(model.predict(x), mlp.predict(x))
        found, expected = model.predict_proba(x), mlp.predict_proba(x)
        if dtype == np.float64:
            np.testing.assert_allclose(found, expected, rtol=1e-9)
        else:
            assert_equal_to_a_millionth(found, expected)
        np.testing.assert_array_equal(model.classes_, mlp.classes_)
        assert model.loss_ == pytest.approx(mlp.loss_) and model.out_activation_ == (
            mlp.out_activation_
        )
    back = to_sklearn(ours)
    assert back.get_params() == mlp.get_params() and type(back) is type(mlp)


REGRESSION = {"one": DY, "two": np.column_stack([DY, -DY])}


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("targets", REGRESSION)
def test_a_regressor_from_sklearn_and_back(targets, loss):
    y = np.abs(REGRESSION[targets])
    mlp = fit(theirs.MLPRegressor(loss, (6,), "logistic", early_stopping=True, **SHORT), DX, y)
    ours = from_sklearn(mlp)
    assert ours.history_["validation_score"].tolist() == mlp.validation_scores_
    for name in ("validation_scores_", "best_validation_score_", "best_loss_", "n_iter_", "t_"):
        assert getattr(ours, name) == getattr(mlp, name)
    back = to_sklearn(ours)
    for name in ("validation_scores_", "best_validation_score_", "best_loss_", "n_iter_", "t_"):
        assert getattr(back, name) == getattr(mlp, name), name
    for model in (ours, back):
        np.testing.assert_allclose(model.predict(DX), mlp.predict(DX), rtol=1e-9)
        assert model.score(DX, y) == pytest.approx(mlp.score(DX, y))


def test_weights_are_copies():
    mlp = fit(theirs.MLPRegressor(hidden_layer_sizes=3, **SHORT), DX, DY)
    before = mlp.predict(DX)
    ours = from_sklearn(mlp)
    ours.network_.flat_params[...] = 0
    np.testing.assert_array_equal(mlp.predict(DX), before)
    back = to_sklearn(ours)
    ours.network_.flat_params[...] = 1
    assert not back.predict(DX).any()


def test_weights_must_have_the_shapes_of_the_network():
    mlp = fit(theirs.MLPClassifier(5, **SHORT), X, Y)
    ours = MLPClassifier(3)
    with raises_exactly(ValueError, "entry 0 has shape (4, 3), got (4, 5)"):
        ours.adopt(X[::50], Y[::50], mlp.coefs_, mlp.intercepts_, History(), mlp.t_)
    assert not hasattr(ours, "network_")


def test_both_go_on_learning():
    mlp = fit(theirs.MLPClassifier(8, **SHORT), X, WORDS)
    ours = from_sklearn(mlp)
    first = ours.loss_
    for _ in range(5):
        ours.partial_fit(X, WORDS)
    assert ours.loss_ < first and len(ours.loss_curve_) == len(mlp.loss_curve_) + 5
    back = to_sklearn(ours)
    back.partial_fit(X, WORDS)
    ours.partial_fit(X, WORDS)
    assert back.loss_ == pytest.approx(ours.loss_, rel=0.05)


def test_names_of_features_come_along():
    table = pd.DataFrame(X, columns=list("abcd"))
    ours = from_sklearn(fit(theirs.MLPClassifier(3, **SHORT), table, Y))
    assert ours.feature_names_in_.tolist() == list("abcd")
    assert to_sklearn(ours).feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(table.rename(columns={"a": "z"}))


SEQUENTIAL = {
    "softmax": (SequentialClassifier([nn.Dense(5), nn.Tanh(), nn.Dropout(0.2)], **SHORT), X, WORDS),
    "logit": (SequentialClassifier([nn.Dense(5), nn.ReLU()], **SHORT), X, Y > 0),
    "two logits": (
        SequentialClassifier(
            [nn.Dense(5), nn.Sigmoid()], loss="categorical_cross_entropy", **SHORT
        ),
        X,
        Y > 0,
    ),
    "linear": (SequentialClassifier([nn.Dense(5), nn.Dense(4)], **SHORT), X, LABELS),
    "nested": (
        SequentialRegressor(
            [nn.Sequential([nn.Dense(5, use_bias=False), nn.ReLU()]), nn.Dense(3), nn.ReLU()],
            **SHORT,
        ),
        DX,
        DY,
    ),
    "quantiles": (
        SequentialRegressor([nn.Dense(5), nn.Tanh()], loss=losses.Quantile([0.1, 0.9]), **SHORT),
        DX,
        DY,
    ),
    "gamma": (SequentialRegressor([nn.Dense(5), nn.Tanh()], loss="gamma", **SHORT), DX, DY),
    "no hidden layer": (SequentialRegressor([], **SHORT), DX, DY),
}


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_stack_of_dense_layers_to_sklearn(name):
    estimator, x, y = SEQUENTIAL[name]
    mlp = to_sklearn(fit(estimator, x, y))
    assert type(mlp).__module__.startswith("sklearn")
    expected = estimator.predict(x)
    if hasattr(estimator, "predict_proba"):
        np.testing.assert_allclose(mlp.predict_proba(x), estimator.predict_proba(x), rtol=1e-7)
        np.testing.assert_array_equal(mlp.predict(x), expected)
    else:
        np.testing.assert_allclose(mlp.predict(x), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "layers, parameters, message",
    [
        (
            [nn.Dense(3), nn.BatchNorm()],
            {},
            "in layers.1 BatchNorm(): scikit-learn's MLP has no BatchNorm",
        ),
        ([nn.Dense(3), nn.SiLU()], {}, "in layers.1 SiLU(): scikit-learn's MLP has no SiLU"),
        (
            [nn.Dense(3), nn.ReLU(), nn.Dense(3), nn.Tanh()],
            {},
            "scikit-learn's MLP is a stack of Dense layers that reads a table, with one "
            "kind of activation between them and none after the last, got "
            "Sequential(layers=[Dense(units=3), ReLU(), Dense(units=3), Tanh(), ('head', "
            "Dense(units=3))])",
        ),
        (
            [nn.Dense(3), nn.ReLU()],
            {"loss": "hinge"},
            "scikit-learn's MLP gives probabilities of two or more classes or of labels, "
            "but this is Labels of classes array([0, 1, 2]) with Hinge()",
        ),
        (
            [nn.Dense(3)],
            {"loss": "binary_cross_entropy"},
            "scikit-learn's MLP has no softmax of sigmoids, as BinaryCrossEntropy()",
        ),
    ],
    ids=["norm", "activation", "mixed", "margins", "sigmoids"],
)
def test_what_sklearn_has_not_is_named(layers, parameters, message):
    estimator = fit(SequentialClassifier(layers, **parameters, **SHORT), X, Y)
    with raises_exactly(ValueError, message):
        to_sklearn(estimator)


def test_a_loss_that_sklearn_has_not_is_named():
    estimator = fit(SequentialRegressor([], loss="binary_cross_entropy", **SHORT), DX, DY / 9)
    with raises_exactly(ValueError, "scikit-learn's MLP has nothing like BinaryCrossEntropy()"):
        to_sklearn(estimator)


def test_only_perceptrons():
    with raises_exactly(
        TypeError, "from_sklearn takes an MLPClassifier or MLPRegressor, got MLPClassifier()"
    ):
        from_sklearn(MLPClassifier())
    with raises_exactly(
        TypeError, "to_sklearn takes an estimator of layerkit, got MLPClassifier()"
    ):
        to_sklearn(theirs.MLPClassifier())
    with pytest.raises(NotFittedError):
        from_sklearn(theirs.MLPClassifier())


ESTIMATORS = [
    (MLPClassifier(4, early_stopping=True, **SHORT), X, Y),
    (MLPClassifier(4, "tanh", solver="sgd", learning_rate="adaptive", **SHORT), X, LABELS),
    (MLPRegressor("poisson", 4, nn.SiLU(), dropout=0.1, batch_norm=True, **SHORT), DX, DY),
    (MLPRegressor(hidden_layer_sizes=4, solver="lbfgs", **SHORT), DX, DY),
    (
        SequentialClassifier(
            [nn.Columns([([0, 1], nn.Dense(3)), (slice(2, 4), nn.Maxout(2, 2))]), nn.PReLU()],
            early_stopping=True,
            **SHORT,
        ),
        X,
        WORDS,
    ),
    (
        SequentialClassifier([nn.Dense(3)], optimizer="lion", **SHORT),
        X,
        np.column_stack([Y, LABELS[:, 0]]),
    ),
    (SequentialRegressor([nn.Dense(3)], loss="huber", optimizer="lbfgs", **SHORT), DX, DY),
]


@pytest.mark.parametrize("estimator, x, y", ESTIMATORS)
def test_our_list_suffices_for_skops(estimator, x, y):
    skops = pytest.importorskip("skops.io")
    fit(estimator, x, y)
    data = skops.dumps(estimator)
    loaded = skops.loads(data, trusted=TRUSTED_TYPES)
    np.testing.assert_array_equal(loaded.predict(x), estimator.predict(x))
    loaded.network_.flat_params[...] = 0  # the views are bound again
    assert not any(p.any() for _, layer in loaded.network_.walk() for p in layer.params.values())


@pytest.mark.parametrize("random_state", [0, None, np.random.default_rng(3)], ids=str)
@pytest.mark.parametrize("kind", [SequentialClassifier, MLPClassifier])
def test_learning_goes_on_after_skops(kind, random_state):
    """Shuffling, dropout, running statistics and the optimizer's averages go on where they were."""
    skops = pytest.importorskip("skops.io")
    if kind is MLPClassifier:
        model = MLPClassifier(4, dropout=0.3, batch_norm=True, random_state=random_state)
    else:
        layers = [nn.Dense(4), nn.BatchNorm(), nn.Dropout(0.3)]
        model = SequentialClassifier(layers, random_state=random_state)
    model.partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)
    loaded = skops.loads(skops.dumps(model), trusted=TRUSTED_TYPES)
    for one in (model, loaded):
        one.partial_fit(X, Y).partial_fit(X, Y)
    np.testing.assert_array_equal(loaded.network_.flat_params, model.network_.flat_params)
    assert loaded.loss_curve_ == model.loss_curve_ and len(model.loss_curve_) == 4


def test_noise_goes_on_after_skops():
    """Also of a layer that has drawn nothing yet, and so has a seed only."""
    skops = pytest.importorskip("skops.io")
    for drawn in (False, True):
        layer = nn.Dropout(0.5).build(50, random_state=5)
        if drawn:
            layer.forward(np.ones((2, 50)), training=True)
        loaded = skops.loads(skops.dumps(layer), trusted=TRUSTED_TYPES)
        masks = [one.forward(np.ones((2, 50)), training=True) for one in (layer, loaded)]
        np.testing.assert_array_equal(*masks)


def test_our_list_suffices_for_skops_with_every_layer():
    skops = pytest.importorskip("skops.io")
    for case in CASES:
        layer = case.build(dtype=np.float32)
        loaded = skops.loads(skops.dumps(layer), trusted=TRUSTED_TYPES)
        x = case.sample().astype(np.float32)
        np.testing.assert_array_equal(loaded.infer(x), layer.infer(x))


class Mine(nn.ReLU):
    pass


def test_a_class_that_is_not_ours_is_not_on_the_list():
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(Mine().build(2))
    with pytest.raises(Exception, match="Mine"):
        skops.loads(data, trusted=TRUSTED_TYPES)
    own = f"{Mine.__module__}.Mine"
    assert isinstance(skops.loads(data, trusted=[*TRUSTED_TYPES, own]), Mine)


def test_a_pickle_with_a_seed_as_numpy_holds_it_still_loads():
    layer = nn.Dropout(0.5).build(50, random_state=5)
    older = object.__new__(nn.Dropout)
    older.__setstate__(layer.__getstate__() | {"_seed": layer._seed})
    assert older._seed is layer._seed
