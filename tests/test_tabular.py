"""Estimators for tables: scikit-learn's contract, columns of all kinds, errors, what is stored."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.special
from errors import raises_exactly, theirs
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.linear_model import RidgeCV
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, KFold, train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

from layerkit import TableEncoder, TabularClassifier, TabularRegressor
from layerkit.estimators.preparing import splitting_seed
from layerkit.estimators.tabular.learning import (
    LinearPart,
    Rows,
    temperature_for,
    tempered,
)
from layerkit.estimators.tabular.preparing import Table, split
from layerkit.inspection import TableDisplay
from layerkit.interchange import load, save, to_onnx
from layerkit.losses import GaussianNLL, Hinge, Poisson, Quantile
from layerkit.training import History

pd = pytest.importorskip("pandas")

TINY = {"members": 2, "max_iter": 40, "hidden_layer_sizes": (32, 32)}
QUICKEST = {"members": 2, "max_iter": 3, "hidden_layer_sizes": (8,), "random_state": 0}


@parametrize_with_checks([TableEncoder(), TabularClassifier(**TINY), TabularRegressor(**TINY)])
def test_scikit_learn_check(estimator, check):
    check(estimator)


def table(n=200, seed=0):
    """A table of every kind of column, with gaps, and what depends on them."""
    rng = np.random.default_rng(seed)
    size = rng.normal(50, 20, n)
    colour = rng.choice(["red", "green", "blue"], n)
    town = rng.choice([f"town {i}" for i in range(15)], n)
    flag = rng.random(n) < 0.5
    number = 0.1 * size + 3 * (colour == "red") + 2 * flag + rng.normal(0, 0.1, n)
    frame = pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.1, np.nan, size),
            "colour": pd.Categorical(colour).set_categories(["red", "green", "blue", "never"]),
            "town": pd.array(np.where(rng.random(n) < 0.1, None, town), dtype="string"),
            "flag": pd.array(np.where(rng.random(n) < 0.1, None, flag), dtype="boolean"),
            "count": pd.array(np.where(rng.random(n) < 0.1, None, rng.integers(0, 9, n)), "Int64"),
            "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 900, n), "D"),
            "constant": 7,
            "identity": [f"row {i}" for i in range(n)],
        }
    )
    return frame, number


def test_a_table_of_everything():
    X, y = table()
    model = TabularRegressor(**TINY | {"max_iter": 80}, random_state=0).fit(X, y)
    assert model.score(*table(seed=1)) > 0.8
    assert model.feature_names_in_.tolist() == list(X)
    assert {"constant", "identity"}.isdisjoint(model.encoder_.get_feature_names_out())
    gone = X.assign(**dict.fromkeys(X))
    assert np.isfinite(model.predict(gone)).all()
    unseen = X.assign(colour="pink", town="nowhere")
    assert np.isfinite(model.predict(unseen)).all()
    found = permutation_importance(model, X, y, n_repeats=2, random_state=0).importances_mean
    assert found.argmax() in (0, 1) and found[list(X).index("constant")] == 0


def test_labels_are_what_was_given():
    X, y = table()
    labels = np.array(["low", "middle", "high"])[np.digitize(y, np.quantile(y, [0.3, 0.7]))]
    model = TabularClassifier(**TINY, random_state=0).fit(X, labels)
    proba = model.predict_proba(X)
    assert set(model.predict(X)) <= set(labels) and model.score(X, labels) > 0.8
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), proba)
    assert model.classes_.tolist() == ["high", "low", "middle"]


def test_several_outputs_of_all_kinds():
    X, y = table()
    two = np.column_stack([y > y.mean(), y > np.median(y) + 2]).astype(int)
    indicator = TabularClassifier(**QUICKEST).fit(X, two)
    assert indicator.predict(X).shape == two.shape == indicator.predict_proba(X).shape
    classes = np.column_stack([np.digitize(y, [4, 6]), two[:, 0] + 5])
    several = TabularClassifier(**QUICKEST).fit(X, classes)
    assert [p.shape[1] for p in several.predict_proba(X)] == [3, 2]
    assert set(several.predict(X)[:, 1]) <= {5, 6}
    numbers = TabularRegressor(**QUICKEST).fit(X, np.column_stack([y, 1e6 * y]))
    assert numbers.predict(X).shape == (200, 2)


def test_losses_of_a_regressor():
    X, y = table()
    large = 1e5 + 1e3 * y
    more = TINY | {"random_state": 0}
    low, high = TabularRegressor(**more, loss=Quantile([0.1, 0.9])).fit(X, large).predict(X).T
    assert ((low < high).mean() > 0.95) and 0.5 < ((low < large) & (large < high).T).mean() <= 1
    mean, std = TabularRegressor(**more, loss=GaussianNLL()).fit(X, large).predict(X, True)
    assert mean.shape == std.shape == (200,) and (std > 0).all() and std.mean() < large.std()
    large = np.exp(y / y.std())
    counts = TabularRegressor(**more, loss=Poisson()).fit(X, large)
    assert (counts.predict(X) > 0).all() and counts.score(X, large) > 0.3
    with raises_exactly(ValueError, "return_std=True needs loss=GaussianNLL(), got Poisson()"):
        counts.predict(X, return_std=True)


def test_the_same_seed_the_same_model_in_any_number_of_processes():
    X, y = table(60)
    alone = TabularRegressor(**QUICKEST).fit(X, y).predict(X)
    np.testing.assert_array_equal(
        TabularRegressor(**QUICKEST, n_jobs=2).fit(X, y).predict(X), alone
    )
    again = clone(TabularRegressor(**QUICKEST)).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).predict(X), alone)
    other = TabularRegressor(**QUICKEST | {"random_state": 1}).fit(X, y)
    assert not np.array_equal(other.predict(X), alone)


def test_a_row_is_predicted_alike_alone_and_among_others():
    X, y = table(300)
    model = TabularRegressor(**QUICKEST).fit(X, y)
    np.testing.assert_array_equal(model.predict(X)[[7]], model.predict(X.iloc[[7]]))


def test_little_work_leaves_numba_asleep():
    code = """
import sys, numpy as np
from layerkit import TabularClassifier, TabularRegressor
X = np.random.default_rng(0).normal(size=(60, 3))
tiny = {"members": 2, "max_iter": 3, "hidden_layer_sizes": (8,)}
TabularRegressor(**tiny).fit(X, X[:, 0]).predict(X)
TabularClassifier(**tiny).fit(X, X[:, 0] > 0).predict_proba(X)
assert "numba" not in sys.modules
"""
    environment = {k: v for k, v in os.environ.items() if k != "LAYERKIT_KERNELS"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_rows_of_weight_zero_are_no_rows():
    X, y = table(80)
    weight = np.repeat([1.0, 0.0], 40)
    weighted = TabularRegressor(**QUICKEST).fit(X, np.where(weight, y, 1e9), weight)
    only = TabularRegressor(**QUICKEST).fit(X[:40], y[:40])
    np.testing.assert_array_equal(weighted.predict(X), only.predict(X))


def test_held_out_rows():
    X, y = table(120)
    model = TabularRegressor(**QUICKEST).fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    assert all(isinstance(h, History) and len(h) == 3 for h in model.histories_)
    first = TabularRegressor(**QUICKEST, cv=KFold(3)).fit(X, y)
    same = TabularRegressor(**QUICKEST).fit(X[40:], y[40:], X_val=X[:40], y_val=y[:40])
    np.testing.assert_array_equal(first.predict(X), same.predict(X))
    assert len(model.best_iter_) == 2 and all(1 <= best <= 3 for best in model.best_iter_)


def test_numbers_far_from_all_that_was_seen():
    X, y = table(60)
    model = TabularRegressor(**QUICKEST, linear=False).fit(X, y)
    alike = pd.concat([X[:1]] * 4).assign(size=[1e12, 1e30, 1e300, -1e300])
    far = model.predict(alike)
    assert np.isfinite(far).all() and far[1] == far[2] != far[3]


@pytest.mark.parametrize(
    "cv, message",
    [
        (
            [([*range(9)], [])],
            "cv must give (train, test) with at least one row that has a weight in each; "
            "the first split has parts of [9, 0]",
        ),
        (
            [([], [1])],
            "cv must give (train, test) with at least one row that has a weight in each; "
            "the first split has parts of [0, 1]",
        ),
        (
            [([0, 1], [2], [3, 4, 5])],
            "cv must give (train, test) with at least one row that has a weight in each; "
            "the first split has parts of [2, 1, 3]",
        ),
        (
            [([0, 1],)],
            "cv must give (train, test) with at least one row that has a weight in each; "
            "the first split has parts of [2]",
        ),
        (
            [([0, 90], [1])],
            "cv names rows that X, of 40 rows, has not: index 90 is out of bounds for "
            "axis 0 with size 40",
        ),
    ],
    ids=["none held out", "none to learn from", "three parts", "one part", "beyond"],
)
def test_splits_without_rows_are_refused(cv, message):
    X, y = table(40)
    with raises_exactly(ValueError, message):
        TabularRegressor(**QUICKEST, cv=cv).fit(X, y)


@pytest.mark.parametrize(
    ("counts", "fraction", "held"),
    [
        ((12, 8), 0.25, (3, 2)),  # as many of each class as there are, in both parts
        ((18, 2), 0.5, (9, 1)),
        ((19, 1), 0.5, None),  # of one row, which cannot be in both
        ((8, 6, 6), 0.15, (1, 1, 1)),
        ((8, 6, 6), 0.1, None),  # two rows for three classes
        ((8, 6, 6), 0.85, (7, 5, 5)),
        ((8, 6, 6), 0.9, None),
    ],
)
def test_classes_are_in_both_parts_where_there_are_enough_of_each(counts, fraction, held):
    y = np.repeat(np.arange(len(counts)), counts)
    model = TabularClassifier(**QUICKEST, validation_fraction=fraction)
    rows = Table([], y, None)
    seed = np.random.SeedSequence(3)
    learn, out = split(model, np.zeros((len(y), 1)), y, rows, seed)
    plain = train_test_split(
        np.arange(len(y)),
        test_size=fraction,
        random_state=splitting_seed(seed),
        stratify=None if held is None else y,
    )
    np.testing.assert_array_equal(learn, plain[0])
    np.testing.assert_array_equal(out, plain[1])
    if held is not None:
        assert np.bincount(y[out]).tolist() == list(held)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_linear_part_is_the_ridge_regression_whose_residual_is_learned(weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)) * [1, 30, 0, 1] + [0, 5, 7, 0]  # a column never changes
    y = np.column_stack([X @ [3, 0.1, 0, 9] + 4, 5 * X[:, 0] + 2]) + rng.normal(size=(60, 2))
    weight = rng.random(60) if weighted else None
    columns = [0, 1, 2]
    part = LinearPart.of(columns, Rows(X, y, weight))
    scaled = X[:, columns] / [X[:, 0].std(), X[:, 1].std(), 1]
    ridge = RidgeCV(np.logspace(-2, 4, 13)).fit(scaled, y, sample_weight=weight)
    expected = ridge.predict(scaled)
    np.testing.assert_allclose(part.predict(X), expected)
    np.testing.assert_allclose(part.spread, (y - expected).std(axis=0))
    np.testing.assert_allclose(part.residual(X, y), (y - expected) / part.spread)
    assert part.residual(X, y.astype(np.float32)).dtype == np.float32
    exact = LinearPart.of(columns, Rows(X, np.zeros((60, 2)), weight))
    assert exact.spread.tolist() == [1e-6, 1e-6]  # nothing is divided by nothing

    def score(y_true, raw, weight):
        return np.average(np.square(y_true - raw).sum(axis=1), weights=weight)

    residual = rng.normal(size=(60, 2))
    found = part.scored(score, Rows(X, y, weight))(None, residual, weight)
    assert found == pytest.approx(score(y, expected + part.spread * residual, weight))


def test_refit_learns_from_all_rows():
    X, y = table(100)
    plain = TabularRegressor(**QUICKEST).fit(X, y)
    refitted = TabularRegressor(**QUICKEST, refit=True).fit(X, y)
    assert plain.best_iter_ == refitted.best_iter_
    assert not np.array_equal(plain.predict(X), refitted.predict(X))


@pytest.mark.parametrize("refit", [False, True])
def test_means_of_y_tell_of_many_categories(refit):
    rng = np.random.default_rng(0)
    levels, effect = rng.integers(0, 150, 600), rng.normal(size=150)
    X, y = pd.DataFrame({"id": levels.astype(str)}), effect[levels] + rng.normal(0, 0.3, 600)
    quick = {"members": 1, "max_iter": 12, "hidden_layer_sizes": (16,), "random_state": 0}
    for make, target in ((TabularRegressor, y), (TabularClassifier, y > 0)):
        models = [
            make(target_means=means, refit=refit, **quick).fit(X[:450], target[:450])
            for means in (True, False)
        ]
        better, worse = (model.score(X[450:], target[450:]) for model in models)
        assert better > worse
        names = [list(model.encoder_.get_feature_names_out()) for model in models]
        assert names == [["id", "id_mean"], ["id"]]
    three = TabularClassifier(**QUICKEST).fit(X, np.digitize(y, [-0.5, 0.5]))
    assert three.encoder_.kinds_ == ["code", *["number"] * 3]


def test_a_search_reaches_the_parameters():
    X, y = table(60)
    search = GridSearchCV(TabularRegressor(**QUICKEST), {"dropout": [0.0, 0.3]}, cv=2).fit(X, y)
    assert search.best_params_["dropout"] in (0.0, 0.3)
    assert repr(TabularClassifier(members=2)) == "TabularClassifier(members=2)"
    assert TabularClassifier.quick(dropout=0.0).get_params()["dropout"] == 0.0
    assert TabularRegressor.single().members == 1


def test_class_weights_count():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 2))
    y = (X[:, 0] + rng.standard_normal(200) > 1.2).astype(int)
    plain = TabularClassifier(**TINY, random_state=0).fit(X, y).predict(X).mean()
    balanced = TabularClassifier(**TINY, class_weight="balanced", random_state=0).fit(X, y)
    assert balanced.predict(X).mean() > plain


def test_verbose_prints_lines(capsys):
    X, y = table(60)
    TabularRegressor(**QUICKEST, verbose=True).fit(X, y)
    assert capsys.readouterr().out.count("member 2/2, epoch ") == 3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"members": 0}, "TabularRegressor: members must be a positive integer, got 0"),
        (
            {"target_means": "yes"},
            "TabularRegressor: target_means must be True or False, got 'yes'",
        ),
        ({"max_iter": 1.5}, "TabularRegressor: max_iter must be a positive integer, got 1.5"),
        (
            {"hidden_layer_sizes": 5},
            "TabularRegressor: hidden_layer_sizes must be a sequence of positive integers, got 5",
        ),
        (
            {"embedding": "fourier"},
            "TabularRegressor: embedding must be one of periodic, piecewise, none, got 'fourier'",
        ),
        ({"dropout": 1.0}, "TabularRegressor: dropout must be in [0, 1), got 1.0"),
        ({"learning_rate": 0}, "TabularRegressor: learning_rate must be 'auto' or > 0, got 0"),
        (
            {"validation_fraction": 1.0},
            "TabularRegressor: validation_fraction must be between 0 and 1, exclusive, got 1.0",
        ),
        (
            {"cv": 5},
            "TabularRegressor: cv must be None, a splitter or an iterable of (train, test), got 5",
        ),
        ({"loss": "mse"}, "TabularRegressor: loss must be None or a Loss, got 'mse'"),
        (
            {"loss": Hinge},
            "TabularRegressor: loss must be None or a Loss, got <class "
            "'layerkit.losses.margin.Hinge'>: that is the class, write Hinge(...)",
        ),
        (
            {"monitor": "auk"},
            "TabularRegressor: monitor must be None, a scorer or the name of one, see "
            "sklearn.metrics.get_scorer_names(), got 'auk'",
        ),
        ({"linear": "yes"}, "TabularRegressor: linear must be 'auto', True or False, got 'yes'"),
        ({"max_onehot": 1}, "TabularRegressor: max_onehot must be an integer >= 2, got 1"),
    ],
)
def test_bad_parameters_are_named(options, message):
    X, y = table(20)
    with raises_exactly(ValueError, message):
        TabularRegressor(**QUICKEST | options).fit(X, y)


def test_bad_data_are_named_and_leave_the_model_as_it_was():
    X, y = table(40)
    model = TabularRegressor(**QUICKEST).fit(X, y)
    before = model.predict(X)
    for bad_X, bad_y, message in [
        (
            X.assign(size=np.inf),
            y,
            "column 'size' has an infinite value (inf) in row 0: numbers must be finite, "
            "NaN where they are missing",
        ),
        (
            X.assign(town=[["a"]] * 40),
            y,
            "column 'town', row 0: argument must be a string or a number, got ['a'] of type list",
        ),
        (X, y[:-1], theirs("inconsistent numbers of samples")),
        (X, np.where(y > y.mean(), np.nan, y), theirs("y contains NaN")),
        (
            X[["constant"]],
            y,
            "no column of X tells the 32 sample(s) to learn from apart: in each all "
            "values are the same, or categories that occur once",
        ),
        (
            X[:0],
            y[:0],
            "Found array with 0 sample(s) (shape=(0, 8)) while a minimum of 1 is required.",
        ),
    ]:
        with raises_exactly((ValueError, TypeError), message):
            model.fit(bad_X, bad_y)
        if set(bad_X) == set(X) and len(bad_X) and np.isfinite(bad_y).all():
            np.testing.assert_array_equal(model.predict(X), before)
    with raises_exactly(ValueError, "X_val and y_val belong together, y_val is None"):
        TabularRegressor(**QUICKEST).fit(X, y, X_val=X)
    with raises_exactly(
        ValueError, "column 'size' held numbers in fit and holds categories now, such as 'large'"
    ):
        TabularRegressor(**QUICKEST).fit(X, y).predict(X.assign(size="large"))
    with pytest.raises(ValueError, match="feature names"):
        TabularRegressor(**QUICKEST).fit(X, y).predict(X.rename(columns={"size": "length"}))
    with pytest.raises(NotFittedError):
        TabularClassifier().predict(X)


# ---------------------------------------------------------------- stored and exported


def make_model(which):
    """Return a fitted model of a kind, and its table."""
    X, y = table(80)
    classes = np.array(["a", "b", "c"])[np.digitize(y, np.quantile(y, [0.3, 0.7]))]
    labels = np.column_stack([y > 5, y > 6]).astype(int)
    several = np.column_stack([np.digitize(y, [4, 6]), labels[:, 0] + 5])
    model, target = {
        "classes": (TabularClassifier(), classes),
        "two classes": (TabularClassifier(), y > y.mean()),
        "labels": (TabularClassifier(), labels),
        "several columns of classes": (TabularClassifier(), several),
        "numbers": (TabularRegressor(linear=True), 1e3 + y),
        "two numbers": (TabularRegressor(embedding="piecewise"), np.stack([y, -y], 1)),
        "quantiles": (TabularRegressor(loss=Quantile([0.2, 0.8])), y),
        "normal": (TabularRegressor(loss=GaussianNLL()), y),
    }[which]
    return model.set_params(**QUICKEST).fit(X, target), X


KINDS_OF_MODELS = [
    *("classes", "two classes", "labels", "several columns of classes"),
    *("numbers", "two numbers", "quantiles", "normal"),
]


@pytest.mark.parametrize("which", KINDS_OF_MODELS)
def test_in_a_model_file_and_back(which, tmp_path):
    model, X = make_model(which)
    save(model, tmp_path / "model.npz")
    back = load(tmp_path / "model.npz")
    np.testing.assert_array_equal(back.predict(X), model.predict(X))
    assert repr(back) == repr(model) and back.encoder_.describe() == model.encoder_.describe()


def test_an_unfitted_one_in_a_model_file(tmp_path):
    save(TabularClassifier(members=3), tmp_path / "model.npz")
    assert repr(load(tmp_path / "model.npz")) == "TabularClassifier(members=3)"


def as_inputs(model, X):
    """Columns as the ONNX model takes them."""
    inputs = {}
    for column in model.encoder_.columns_:
        values = X[column.name]
        if column.kind == "date":
            inputs[column.name] = values.to_numpy().astype("M8[s]").astype(np.int64)[:, np.newaxis]
            continue
        values = values.astype(object)
        text = column.kind == "category" and all(isinstance(v, str) for v in column.levels)
        values = values.where(values.notna(), "" if text else np.nan)
        inputs[column.name] = values.to_numpy(object if text else np.float32)[:, np.newaxis]
    return inputs


LABELS = ["label", "probabilities"]
NAMES_IN_ONNX = dict.fromkeys(["classes", "two classes", "labels"], LABELS) | {
    "several columns of classes": ["label", "probabilities_0", "probabilities_1"],
    "normal": ["variable", "std"],
}


@pytest.mark.parametrize("which", KINDS_OF_MODELS)
def test_the_whole_thing_in_onnx(which, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model, X = make_model(which)
    to_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    gone = {"colour": "pink", "size": np.nan, "flag": None, "town": None, "when": pd.NaT}
    X = pd.concat([X, X.iloc[:3].assign(**gone)])
    found = session.run(None, as_inputs(model, X))
    outputs = session.get_outputs()
    assert [output.name for output in outputs] == NAMES_IN_ONNX.get(which, ["variable"])
    shapes = [tuple(output.shape[1:]) for output in outputs]
    assert shapes == [values.shape[1:] for values in found]
    assert all(output.shape[0] == "n_samples" for output in outputs)
    inputs = {given.name: (given.type, given.shape) for given in session.get_inputs()}
    kinds = {"O": "tensor(string)", "i": "tensor(int64)", "f": "tensor(float)"}
    assert inputs == {
        name: (kinds[values.dtype.kind], ["n_samples", 1])
        for name, values in as_inputs(model, X).items()
    }
    if hasattr(model, "predict_proba"):
        expected = model.predict_proba(X)
        expected = expected if isinstance(expected, list) else [expected]
        for proba, own in zip(found[1:], expected, strict=True):
            np.testing.assert_allclose(proba, own, rtol=2e-4, atol=2e-5)
        assert (found[0] == model.predict(X)).mean() > 0.97
    else:
        expected = model.predict(X)
        expected = expected[:, np.newaxis] if expected.ndim == 1 else expected
        np.testing.assert_allclose(found[0].reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    if which == "normal":
        np.testing.assert_allclose(found[1][:, 0], model.predict(X, True)[1], rtol=1e-4)


def test_dates_of_all_times_in_onnx():
    onnxruntime = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    times = rng.integers(-70_000_000_000, 250_000_000_000, 400).astype("M8[s]")
    times[:6] = np.array(
        ["1600-02-29", "1900-02-28T23:59:59", "1970-01-01", "1969-12-31T23", "2000-02-29", "NaT"],
        "M8[s]",
    )
    X = pd.DataFrame({"when": times, "x": rng.standard_normal(400)})
    model = TabularRegressor(**QUICKEST).fit(X, X["x"] + times.astype("M8[M]").astype(int) % 12)
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString())
    found = session.run(None, as_inputs(model, X))[0][:, 0]
    np.testing.assert_allclose(found, model.predict(X), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- watched and chosen


def test_callables_see_every_epoch_of_every_member_and_scikit_learn_every_member():
    X, y = table(60)
    epochs = []
    model = TabularRegressor(**QUICKEST).set_callbacks(lambda state: epochs.append(state.epoch))
    model.fit(X, y)
    assert epochs == [1, 2, 3, 1, 2, 3]
    assert len(clone(model).fit(X, y).networks_) and len(epochs) == 12
    tasks = Tasks()
    TabularRegressor(**QUICKEST, linear=False).set_callbacks(tasks).fit(X, y)
    assert tasks.seen == ["fit begins", *["member begins", "member ends"] * 2, "fit ends"]
    assert tasks.members == [1, 2, 2], "the model so far is at hand"
    assert tasks.expected == [2, 0, 0], "for a bar of progress"
    tasks = Tasks()
    TabularRegressor(**QUICKEST, refit=True, n_jobs=2).set_callbacks(tasks).fit(X, y)
    assert tasks.seen.count("member ends") == tasks.expected[0] == 4
    with raises_exactly(
        TypeError,
        "callbacks must be instances that follow scikit-learn's FitCallback protocol, or "
        "callables that take a TrainingState, got 'print'",
    ):
        model.set_callbacks("print")


class Tasks:
    """A callback of scikit-learn's protocol that notes what begins and ends."""

    def __init__(self):
        self.seen, self.members, self.expected = [], [], []

    def setup(self, estimator, context):
        pass

    teardown = setup

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.seen.append(f"{context.task_name} begins")
        self.expected.append(context.max_subtasks)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, X=None):
        self.seen.append(f"{context.task_name} ends")
        if fitted_estimator is not None:
            self.members.append(len(fitted_estimator.networks_))
            assert np.isfinite(fitted_estimator.predict(X)).all()


@pytest.mark.parametrize("weighted", [False, True], ids=["rows", "rows and weights"])
@pytest.mark.parametrize("T", [0.5, 1.0, 2.0])
def test_the_temperature_is_found_by_many_rows(T, weighted):
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(20_000, 3))
    y = (raw / T + rng.gumbel(size=raw.shape)).argmax(axis=1)
    weight = None
    if weighted:  # rows of weight 0 are no rows
        weight, y = np.repeat([1.0, 0.0], 10_000), np.where(np.arange(20_000) < 10_000, y, 0)
    assert temperature_for(tempered(raw, 1), y, weight) == pytest.approx(T, rel=0.07)


@pytest.mark.parametrize("sharpness", [0.02, 0.3, 1.0, 4.0, 50.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_temperature_is_the_likeliest_from_a_tenth_to_ten(sharpness, weighted, rng):
    y = rng.integers(0, 3, 200)
    raw = sharpness * (np.eye(3)[y] + rng.standard_normal((200, 3)))
    weight = rng.uniform(size=200) if weighted else np.ones(200)
    known = raw - scipy.special.logsumexp(raw, axis=1, keepdims=True)
    found = {}
    for T in 10.0 ** np.linspace(-1, 1, 81):
        of_rows = scipy.special.log_softmax(known / T, axis=1)[np.arange(200), y]
        found[T] = -weight @ of_rows + (np.log(T) / 0.5) ** 2 / 2
    likeliest = min(found, key=found.get)
    assert temperature_for(known, y, weight if weighted else None) == pytest.approx(likeliest)
    assert (likeliest == 0.1, likeliest == 10) == (sharpness == 0.02, sharpness == 50)


@pytest.mark.parametrize("n_rows", [1, 5, 80])
def test_few_rows_that_are_right_do_not_make_everything_certain(n_rows):
    rng = np.random.default_rng(0)
    log_proba, y = tempered(rng.normal([3, 0], 0.1, (n_rows, 2)), 1), np.zeros(n_rows, int)
    few = temperature_for(log_proba, y, None)
    assert 0.3 < few < 1
    padded = np.concatenate([log_proba, log_proba]), np.concatenate([y, 1 - y])
    assert temperature_for(*padded, np.repeat([1, 0], n_rows)) == few
    assert temperature_for(log_proba[:, ::-1], y, None) > 1, "all of them are wrong"


def test_blas_has_one_thread_while_members_learn():
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads(*_):
        libraries = threadpoolctl.threadpool_info()
        return [lib["num_threads"] for lib in libraries if lib["user_api"] == "blas"]

    X, y = table(60)
    seen = []
    model = TabularRegressor(**QUICKEST).set_callbacks(lambda state: seen.append(threads()))
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = threads()
        model.fit(X, y).predict(X)
        assert threads() == before
    assert seen and all(n == 1 for found in seen for n in found)


def test_a_callback_that_raises_leaves_the_model_as_it_was():
    X, y = table(40)
    model = TabularRegressor(**QUICKEST).fit(X, y)
    before = model.predict(X)

    def fail(state):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        model.set_callbacks(fail).fit(X[["size"]], y)
    np.testing.assert_array_equal(model.predict(X), before)
    assert model.n_features_in_ == X.shape[1]


@pytest.mark.parametrize("monitor", ["roc_auc", "accuracy", "neg_log_loss"])
def test_any_scorer_chooses_the_epoch_of_a_classifier(monitor):
    X, y = table(100)
    labels = np.where(y > np.median(y), "much", "little")
    part = {"X_val": X[60:], "y_val": labels[60:]}
    model = TabularClassifier(**QUICKEST | {"max_iter": 8, "members": 1}, monitor=monitor)
    model.set_params(calibrate=False).fit(X[:60], labels[:60], **part)
    scores = model.histories_[0]["validation_score"]
    assert scores[model.best_iter_[0] - 1] == max(scores)
    assert get_scorer(monitor)(model, X[60:], labels[60:]) == pytest.approx(max(scores))


@pytest.mark.parametrize("linear", [False, True])
def test_any_scorer_chooses_the_epoch_of_a_regressor(linear):
    X, y = table(100)
    y = 1e3 + 10 * y
    model = TabularRegressor(**QUICKEST | {"max_iter": 8, "members": 1}, linear=linear)
    model.set_params(monitor=lambda m, X, y: -abs(m.predict(X) - y).max())
    model.fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    scores = model.histories_[0]["validation_score"]
    assert max(scores) == pytest.approx(-abs(model.predict(X[60:]) - y[60:]).max(), rel=1e-4)


def test_a_picture_of_what_became_of_the_columns():
    plt = pytest.importorskip("matplotlib.pyplot")
    X, y = table(80)
    model = TabularRegressor(**QUICKEST).fit(X, y)
    X = X.assign(colour=X["colour"].cat.set_categories(["red", "blue"]))
    display = TableDisplay.from_estimator(model, X).plot()
    contents = dict(zip(display.names, display.contents, strict=True))
    assert list(contents) == list(X) and contents["constant"] is contents["identity"] is None
    shares = X["colour"].value_counts(normalize=True, dropna=False)
    assert contents["colour"]["red"] == pytest.approx(shares["red"])
    assert contents["colour"]["missing or new"] == pytest.approx(X["colour"].isna().mean())
    for name in ("colour", "town", "flag"):
        assert sum(contents[name].values()) == pytest.approx(1) and len(contents[name]) <= 8
    assert abs(contents["size"]).max() < 3 and len(contents["when"]) == 80
    titles = [ax.get_title() for ax in display.axes_.flat]
    assert titles == [*X, ""]
    plt.close("all")
    encoder = TableEncoder().fit(X[["size"]])
    assert TableDisplay.from_estimator(encoder, X[["size"]]).plot().ax_.get_title() == "size"
    plt.close("all")
