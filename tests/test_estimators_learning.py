"""The functions below the estimators: from data to a task, from a task to a fitted network."""

import inspect
import re

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris

from layerkit import (
    Dense,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    SequentialClassifier,
    SequentialRegressor,
)
from layerkit.estimators.learning import learn
from layerkit.estimators.preparing import hold_out, prepare
from layerkit.estimators.rules import is_splitter
from layerkit.losses import CategoricalCrossEntropy
from layerkit.optimizers import AdamW
from layerkit.training import train

X, Y = load_iris(return_X_y=True)
KINDS = [SequentialClassifier, SequentialRegressor, MLPClassifier, MLPRegressor]


def model_of(kind, **options):
    options = {"max_iter": 3, "random_state": 0, "early_stopping": True} | options
    if issubclass(kind, SequentialClassifier | SequentialRegressor):
        return kind([Dense(5), ReLU()], n_iter_no_change=None, **options)
    return kind(hidden_layer_sizes=5, n_iter_no_change=np.inf, **options)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_few_classes_stand_behind_a_perceptron(kind):
    ours = [base for base in kind.__mro__[1:] if base.__module__.startswith("layerkit")]
    assert len(ours) <= 3
    assert BaseEstimator in kind.__mro__


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_fit_is_prepare_and_learn(kind):
    model, fitted = model_of(kind), model_of(kind).fit(X, Y)
    recipe = model._recipe(model.max_iter)
    task = hold_out(model, prepare(model._recipe(), X, Y), None, None)
    attributes, history = learn(task, recipe)
    assert not hasattr(model, "network_")
    assert len(history) == 3
    np.testing.assert_array_equal(attributes["network_"].flat_params, fitted.network_.flat_params)
    assert {*attributes} == {*vars(fitted)} - {*fitted.get_params(deep=False), "n_features_in_"}


@pytest.mark.parametrize(
    ("n_rows", "of_sequential", "of_perceptron"),
    [(5, 32, 5), (199, 32, 199), (1055, 32, 200), (1056, 33, 200), (6400, 200, 200)],
)
@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_a_batch_follows_the_number_of_rows(kind, n_rows, of_sequential, of_perceptron):
    sequential = issubclass(kind, SequentialClassifier | SequentialRegressor)
    expected = of_sequential if sequential else of_perceptron
    assert model_of(kind)._recipe(1).batch_size(n_rows) == expected
    assert model_of(kind, batch_size=7)._recipe(1).batch_size(n_rows) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_docstrings_say_what_they_share_in_full(kind):
    assert "%(" not in kind.__doc__
    for name in [*kind._defaults(), "network_", "history_", "feature_names_in_"]:
        assert re.search(rf"^(.*, )?{name}(, .*)? :", inspect.getdoc(kind), re.MULTILINE), name


@pytest.mark.parametrize("value, expected", [(True, False), ("split", False), (object(), False)])
def test_what_is_no_splitter(value, expected):
    assert is_splitter(value) is expected


@pytest.mark.parametrize("kind", KINDS)
def test_train_arguments_are_what_train_takes(kind):
    model = model_of(kind, batch_size=20)
    arguments = model.train_arguments(X, Y, validation_data=(X[::3], Y[::3], None))
    assert not hasattr(model, "network_")
    assert len(arguments["data"][1]) == 150 and len(arguments["validation_data"][1]) == 50
    assert arguments["batch_size"] == 20
    history = train(**arguments, epochs=5, random_state=0)
    assert history["loss"][-1] < history["loss"][0]


class WithAlpha(SequentialClassifier):
    """A parameter of a user's own, which has nothing to do with weights."""

    alpha = 50.0


@pytest.mark.parametrize(
    ("model", "decay"),
    [
        (MLPClassifier((4,), alpha=3.0, batch_size=20), 3.0 / 20),
        (MLPClassifier((4,), alpha=3.0, solver="sgd"), 3.0 / 150),
        (SequentialClassifier([Dense(4)], optimizer=AdamW(weight_decay=0.5)), 0.5),
        (WithAlpha([Dense(4)]), 0.0),
    ],
    ids=["MLP", "MLP with sgd", "of the optimizer", "another alpha"],
)
def test_train_arguments_decay_weights_as_the_estimator_does(model, decay):
    assert model.train_arguments(X, Y)["optimizer"].weight_decay == decay
    assert model.train_arguments(X, Y)["optimizer"] is not getattr(model, "optimizer", None)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_train_arguments_of_a_fitted_estimator_have_its_network():
    labels = np.array(["a", "b", "c"])[Y]
    model = model_of(SequentialClassifier).fit(X, labels)
    arguments = model.train_arguments(X, labels, sample_weight=np.ones(150))
    assert arguments["network"] is model.network_
    assert isinstance(arguments["loss"], CategoricalCrossEntropy)
    np.testing.assert_array_equal(arguments["data"][1], Y)
    assert arguments["validation_data"] is None
    with pytest.raises(ValueError, match="X has 3 features, but SequentialClassifier is expecting"):
        model.train_arguments(X[:, :3], labels)
