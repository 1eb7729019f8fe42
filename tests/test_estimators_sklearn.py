"""scikit-learn's own checks of the estimator contract, on several configurations."""

from dataclasses import asdict

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from layerkit import (
    ELU,
    Concat,
    Dense,
    Identity,
    LayerNorm,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    Residual,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    SiLU,
    TableEncoder,
    TabularClassifier,
    TabularRegressor,
    Tanh,
)
from layerkit.losses import BinaryCrossEntropy, Huber
from layerkit.optimizers import LBFGS, SGD, Adam

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

QUICK = Adam(learning_rate=0.02)
CONFIGURATIONS = [
    SequentialClassifier([Dense(16), ReLU()], optimizer=QUICK, max_iter=60),
    SequentialClassifier(
        [Dense(8), Tanh()], optimizer=LBFGS(weight_decay=1e-3), max_iter=30, dtype="float64"
    ),
    SequentialRegressor([Dense(16), ReLU()], optimizer=QUICK, max_iter=100),
]
MORE_CONFIGURATIONS = [
    SequentialClassifier(
        Sequential([("hidden", Dense(16)), Tanh()]), optimizer=QUICK, max_iter=60, verbose=True
    ),
    SequentialClassifier(
        [Concat([Identity(), Dense(8)]), LayerNorm(), SiLU()],
        loss=BinaryCrossEntropy(label_smoothing=0.05),
        optimizer=SGD(learning_rate=0.1, momentum=0.9),
        max_iter=30,
        n_iter_no_change=None,
    ),
    SequentialClassifier([], optimizer=LBFGS(weight_decay=1e-3), max_iter=30),
    SequentialClassifier([Dense(100), ReLU()]),
    SequentialRegressor(
        [Residual(Dense(16), Dense(16)), Tanh()], loss=Huber(), optimizer=QUICK, max_iter=100
    ),
    SequentialRegressor([Dense(8), Tanh()], optimizer="lbfgs", max_iter=50),
    SequentialRegressor([Dense(100), ReLU()]),
]


# Some checks leave the seed alone, and one wants the ranks of probabilities and decisions to be
# alike, which two probabilities rounded to 1 are not: with a seed, it is not a matter of luck.
for configuration in (*CONFIGURATIONS, *MORE_CONFIGURATIONS):
    configuration.set_params(random_state=0)

# One more, with BatchNorm and dropout, is in test_mlp.py: they see rows, not weights, so that
# check_sample_weight_equivalence cannot hold of them.
PERCEPTRONS = [
    MLPClassifier(max_iter=100),
    MLPClassifier((8, 4), activation="tanh", solver="lbfgs", alpha=0.1, max_iter=50),
    MLPRegressor(max_iter=100),
]
MORE_PERCEPTRONS = [
    MLPClassifier((16, 8), activation=[ELU(), "relu"], early_stopping=False, max_iter=60),
    MLPClassifier(20, solver="sgd", learning_rate="adaptive", learning_rate_init=0.01),
    MLPClassifier((), solver="lbfgs", alpha=0.1, class_weight="balanced", max_iter=30),
    MLPRegressor(hidden_layer_sizes=(10, 10), activation="tanh", solver="lbfgs", max_iter=100),
    MLPRegressor(
        hidden_layer_sizes=20, solver="sgd", momentum=0.5, learning_rate_init=0.002, verbose=True
    ),
]


@parametrize_with_checks([*CONFIGURATIONS, *PERCEPTRONS])
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([*MORE_CONFIGURATIONS, *MORE_PERCEPTRONS])
def test_scikit_learn_check_of_more(estimator, check):
    check(estimator)


def true_tags(tags, path=""):
    """The tags that are true, by their path."""
    for name, value in tags.items():
        if isinstance(value, dict):
            yield from true_tags(value, f"{path}{name}.")
        elif value is True:
            yield path + name


EVERY = {"requires_fit", "input_tags.two_d_array", "target_tags.single_output"}
PREDICTS = EVERY | {"target_tags.required", "target_tags.multi_output"}
CLASSIFIES = {"classifier_tags.multi_class", "classifier_tags.multi_label"}
TABLES = {"input_tags.allow_nan", "input_tags.categorical", "input_tags.string"}
TAGS = [
    (SequentialClassifier([Dense(2)]), PREDICTS | CLASSIFIES | {"input_tags.sparse"}),
    (SequentialClassifier([ReLU()]), PREDICTS | CLASSIFIES),
    (SequentialRegressor([Dense(2)]), PREDICTS | {"input_tags.sparse"}),
    (MLPClassifier(), PREDICTS | CLASSIFIES | {"input_tags.sparse"}),
    (MLPRegressor(), PREDICTS | {"input_tags.sparse"}),
    (TabularClassifier(), PREDICTS | CLASSIFIES | TABLES),
    (TabularRegressor(), PREDICTS | TABLES),
    (TableEncoder(), EVERY | TABLES),
    (TableEncoder(target_means=True), EVERY | TABLES | {"target_tags.required"}),
]


@pytest.mark.parametrize(("estimator", "expected"), TAGS, ids=lambda one: type(one).__name__)
def test_tags_say_what_an_estimator_takes_and_needs(estimator, expected):
    tags = estimator.__sklearn_tags__()
    assert {*true_tags(asdict(tags))} == expected
    named = [kind for kind in ("Classifier", "Regressor") if kind in type(estimator).__name__]
    assert tags.estimator_type == (named[0].lower() if named else None)
