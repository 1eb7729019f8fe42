"""Every constructor parameter of the estimators, on both sides of every border of its range."""

import re

import numpy as np
import pytest
from errors import raises_exactly
from sklearn.metrics import get_scorer
from sklearn.model_selection import KFold, ShuffleSplit

from layerkit import (
    Dense,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    SequentialClassifier,
    SequentialRegressor,
    TabularClassifier,
    TabularRegressor,
    Tanh,
)
from layerkit.estimators.rules import MLP, SEQUENTIAL, TABULAR
from layerkit.losses import MeanSquaredError

NO_NUMBERS = [None, "0.5", True, np.True_, np.nan, np.inf, -np.inf, 0.5j, [0.5], {}, float]
NO_SIZES = [*NO_NUMBERS, 0, -1, 2.0, "3", [3]]
NO_FLAGS = [None, "yes", "True", 0.0, np.nan, [], bool]
NO_NAMES = [None, "", "some", 1, True, np.nan, ["adam"], str]
TINY = np.nextafter(0, 1)
BELOW_1, ABOVE_1 = np.nextafter(1, 0), np.nextafter(1, 2)

# What a message promises: values that are allowed, values that are refused.
RANGES = {
    "None, a scorer or the name of one, see sklearn.metrics.get_scorer_names()": (
        [None, "accuracy", "neg_log_loss", get_scorer("r2"), max],
        ["acuracy", "", 1, 0.5, True, Dense, [], ["accuracy"]],
    ),
    "a positive integer": ([1, 7, np.int64(2)], NO_SIZES),
    "an integer >= 2": ([2, 3], [*NO_SIZES, 1]),
    "a finite number >= 0": ([0, 0.0, TINY, 1e300, np.float32(2)], [*NO_NUMBERS, -TINY, -1]),
    "a finite number > 0": ([TINY, 1, 1e300], [*NO_NUMBERS, 0, 0.0, -TINY]),
    "in [0, 1)": ([0, 0.0, BELOW_1], [*NO_NUMBERS, -TINY, 1, 1.0, 2]),
    "in [0, 1]": ([0, 0.5, 1, 1.0], [*NO_NUMBERS, -TINY, ABOVE_1]),
    "between 0 and 1, exclusive": ([TINY, BELOW_1], [*NO_NUMBERS, 0, 0.0, 1, 1.0, -0.1]),
    "'auto' or > 0": (["auto", TINY, 3], [*NO_NUMBERS, "all", 0, -1]),
    "in [0, 1), one or one for each hidden layer": (
        [0, BELOW_1, [0.0, 0.5], (0.1,), np.array([0.2])],
        [*[one for one in NO_NUMBERS if one != [0.5]], 1, -TINY, [0.5, 1.0], [0.1, None]],
    ),
    "'auto' or a positive integer": (["auto", 1, 200], [*NO_SIZES, "all"]),
    "None or a positive integer": (
        [None, 1, np.inf],
        [one for one in NO_SIZES if one is not None and one is not np.inf],
    ),
    "a positive integer or numpy.inf": (
        [1, np.inf, float("inf")],
        [one for one in NO_SIZES if one is not np.inf],
    ),
    "a positive integer or a sequence of them": (
        [1, (), [3], (4, np.int64(5)), range(1, 3), np.array([2, 3])],
        [one for one in NO_SIZES if one not in ([3], {})] + [[0], [3, -1], [2.0], "33", [True]],
    ),
    "a sequence of positive integers": ([(), [3], (4, 5)], [*NO_NUMBERS, 3, "33", [0], [2.0]]),
    "True, False or an integer >= 0": ([True, False, 0, 1, 10], [*NO_FLAGS, -1, 1.5]),
    "'auto', True or False": (["auto", True, False, np.False_], [*NO_FLAGS, 0, 1]),
    "'auto', 'float32' or 'float64'": (
        ["auto", "float32", "float64", np.float32, np.dtype("float64")],
        [None, "float16", int, float, np.dtype(">f8"), 32, ""],
    ),
    "True, False or a splitter such as GroupShuffleSplit()": (
        [True, False, ShuffleSplit()],
        [*NO_FLAGS, 0, 1, "split", KFold.split],
    ),
    "None, a splitter or an iterable of (train, test)": ([None, KFold(), []], [5, 0.5, True]),
    "None or a Loss": ([None, MeanSquaredError()], ["mse", MeanSquaredError, 3, True]),
    "'auto' or None": (["auto", None], [Dense(2), "none", True, 0]),
    "a Layer or a list of layers or (name, layer) pairs": (
        [Dense(2), [Dense(2)], (Dense(2), ReLU()), [("a", Dense(2))]],
        [None, 3, "relu", Dense, {}],
    ),
    "one of squared_error, poisson": (["squared_error", "poisson"], NO_NAMES),
    "one of lbfgs, sgd, adam": (["lbfgs", "sgd", "adam"], NO_NAMES),
    "one of constant, invscaling, adaptive": (["constant", "invscaling", "adaptive"], NO_NAMES),
    "one of periodic, piecewise, none": (["periodic", "piecewise", "none"], NO_NAMES),
    "one of identity, logistic, tanh, relu, a layer, or a list of these": (
        ["identity", "logistic", "tanh", "relu", Tanh(), Tanh, ["relu", Tanh()], []],
        [None, "gelu", 1, True, np.nan, str, ["relu", "gelu"], [None]],
    ),
}
FLAGS = [True, False, np.True_], [*NO_FLAGS, 0, 1, 2]
FLAGS_OR_INTEGERS = [True, False, np.False_, 0, 1, 2], NO_FLAGS
RULES = {
    f"{table}.{name}": (rule, table, name)
    for table, rules in {"SEQUENTIAL": SEQUENTIAL, "MLP": MLP, "TABULAR": TABULAR}.items()
    for name, rule in rules.items()
}


def range_of(table, name, expected):
    if expected != "True or False":
        return RANGES[expected]
    whole = {"SEQUENTIAL": {"shuffle", "warm_start", "verbose"}, "TABULAR": {"verbose"}}
    return FLAGS_OR_INTEGERS if name in whole.get(table, ()) else FLAGS


@pytest.mark.parametrize("which", RULES)
def test_a_rule_keeps_what_its_message_promises(which):
    (ok, expected), table, name = RULES[which]
    allowed, refused = range_of(table, name, expected)
    assert [value for value in allowed if not ok(value)] == []
    assert [value for value in refused if ok(value)] == []


X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 2
MODELS = {
    "SequentialClassifier": (SequentialClassifier([Dense(2)]), SEQUENTIAL, "SEQUENTIAL"),
    "SequentialRegressor": (SequentialRegressor([Dense(2)]), SEQUENTIAL, "SEQUENTIAL"),
    "MLPClassifier": (MLPClassifier(), MLP, "MLP"),
    "MLPRegressor": (MLPRegressor(), MLP, "MLP"),
    "TabularClassifier": (TabularClassifier(), TABULAR, "TABULAR"),
    "TabularRegressor": (TabularRegressor(), TABULAR, "TABULAR"),
}

# What is checked elsewhere: by the classes that it is of, where it is used, or not at all.
ELSEWHERE = {"class_weight", "loss", "n_jobs", "optimizer", "random_state"}


def test_every_rule_is_one_of_a_parameter():
    for of in {table for _, _, table in MODELS.values()}:
        models = [(model, rules) for model, rules, table in MODELS.values() if table == of]
        names = set().union(*(model.get_params(deep=False) for model, _ in models))
        assert models[0][1].keys() <= names


@pytest.mark.parametrize("kind", MODELS)
def test_every_parameter_is_checked_before_anything_is_fitted(kind):
    model, rules, table = MODELS[kind]
    names = model.get_params(deep=False).keys() & rules
    assert model.get_params(deep=False).keys() - names <= ELSEWHERE
    for name in sorted(names):
        expected = rules[name][1]
        for value in range_of(table, name, expected)[1]:
            changed = type(model)(**model.get_params(deep=False) | {name: value})
            message = f"{kind}: {name} must be {expected}, got {value!r}"
            cure = r"(: that is the class, write \w+\(\.\.\.\)|; it comes first, .*)?"
            with raises_exactly(ValueError, re.compile(re.escape(message) + cure)):
                changed.fit(X, Y)
            assert not [held for held in vars(changed) if held.endswith("_")]
