"""Tabular estimators on Dask collections: the model of one machine, where the partitions lie."""

import datetime
import re

import numpy as np
import pytest
from errors import raises_exactly, theirs
from sklearn.model_selection import KFold
from sklearn.preprocessing import TargetEncoder

from layerkit import TabularClassifier, TabularRegressor
from layerkit.distributed import data_parallel
from layerkit.distributed.partitions import Partitions
from layerkit.estimators.tabular.folded import FoldedMeans, smoothed, sums_by_code
from layerkit.estimators.tabular.learning import LinearPart, Rows
from layerkit.estimators.tabular.means import cross_fitted, folds_of
from layerkit.estimators.tabular.ridge import ridge
from layerkit.estimators.tabular.summaries import POINTS, Moments, Spread
from layerkit.losses import Quantile

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")
pd = pytest.importorskip("pandas")

slow = pytest.mark.slow

rng = np.random.default_rng(0)
N = 240
TOWN = rng.choice([f"town {i}" for i in range(14)], N)
SIZE = rng.normal(50, 20, N)
TABLE = pd.DataFrame(
    {
        "size": np.where(rng.random(N) < 0.1, np.nan, SIZE),
        "colour": pd.Categorical(rng.choice(["red", "green", "blue"], N)),
        "town": np.where(rng.random(N) < 0.1, None, TOWN),
        "flag": rng.random(N) < 0.5,
        "when": pd.Timestamp("2026-01-31", tz="Europe/Berlin")
        + pd.to_timedelta(rng.integers(0, 9000, N), "h"),
        "constant": 7,
        "identity": [f"row {i}" for i in range(N)],
    }
)
NUMBERS = 1e3 + SIZE + 10 * (TABLE["colour"] == "red") + rng.normal(0, 1, N)
NUMBERS = NUMBERS.to_numpy() + 3 * np.array([int(town[5:]) for town in TOWN])
LABELS = np.array(["high", "low", "middle"])[np.digitize(NUMBERS, np.quantile(NUMBERS, [0.2, 0.6]))]
WEIGHT = rng.random(N) * (np.arange(N) % 7 > 0)
TWO = np.column_stack([LABELS == "low", TABLE["flag"]]).astype(int)


def frame(table, npartitions=3):
    return dd.from_pandas(table, npartitions=npartitions)


def column(y, npartitions=3):
    return frame(pd.DataFrame(y) if np.ndim(y) == 2 else pd.Series(y), npartitions)


def classifier(**options):
    return TabularClassifier(**QUICK | options)


def regressor(**options):
    return TabularRegressor(**QUICK | options)


QUICK = {
    "members": 1,
    "max_iter": 2,
    "hidden_layer_sizes": (8,),
    "batch_size": 100,
    "dropout": 0.0,
    "random_state": 0,
}


def assert_same(many, one, table):
    """Hold a model of partitions to that of the same rows in memory."""
    assert many.encoder_.describe() == one.encoder_.describe()
    names = one.encoder_.get_feature_names_out().tolist()
    assert many.encoder_.get_feature_names_out().tolist() == names
    found, wanted = (model.encoder_.transform(table) for model in (many, one))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)
    assert many.best_iter_ == one.best_iter_ and many.kept_ == one.kept_
    assert many.feature_names_in_.tolist() == one.feature_names_in_.tolist()
    for found, wanted in zip(many.networks_, one.networks_, strict=True):
        np.testing.assert_allclose(found.flat_params, wanted.flat_params, atol=2e-4, rtol=2e-4)
    for found, wanted in zip(many.histories_, one.histories_, strict=True):
        for name in ("loss", "validation_loss", "validation_score"):
            if name in wanted.columns:
                np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4)
    found, wanted = (getattr(m, "predict_proba", m.predict)(table) for m in (many, one))
    for part, of_one in zip(found, wanted, strict=True):
        np.testing.assert_allclose(part, of_one, rtol=1e-4, atol=1e-4)


EXACT = {
    "classes, weighted": (classifier, LABELS, {"members": 2, "class_weight": "balanced"}, WEIGHT),
    "numbers": (regressor, NUMBERS, {"members": 2}, None),
    "classes": (classifier, LABELS, {"monitor": "accuracy", "embedding": "piecewise"}, None),
    "two classes": (classifier, LABELS == "low", {"refit": True}, None),
    "several columns": (
        classifier,
        np.column_stack([LABELS, TWO[:, 0] + 5]),
        {"class_weight": [{"low": 2.0}, {"5": 0.5}]},
        WEIGHT,
    ),
    "indicator": (classifier, TWO, {"class_weight": "balanced"}, None),
    "a splitter": (classifier, LABELS, {"cv": KFold(4, shuffle=True, random_state=1)}, WEIGHT),
    "numbers, weighted": (regressor, NUMBERS, {"linear": True, "refit": True}, WEIGHT),
    "two numbers": (regressor, np.column_stack([NUMBERS, SIZE**2]), {"linear": True}, None),
    "quantiles": (regressor, NUMBERS, {"loss": Quantile([0.1, 0.9])}, None),
    "no means": (regressor, NUMBERS, {"target_means": False, "linear": False}, None),
    "a score": (regressor, NUMBERS, {"monitor": "r2", "linear": True}, None),
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[slow] * (i > 1)) for i, case in enumerate(EXACT)]
)
def test_the_model_is_that_of_one_machine(case, client):
    make, y, options, weight = EXACT[case]
    one = make(**options).fit(TABLE, y, weight)
    lazy = [frame(TABLE), column(y), None if weight is None else column(weight)]
    with data_parallel(client, sync_every=1):
        many = make(**options).fit(*lazy)
    assert_same(many, one, TABLE)
    if make is classifier:
        for found, wanted in zip(many.classes_, one.classes_, strict=True):
            assert np.array_equal(found, wanted)
        assert many.temperature_ == pytest.approx(one.temperature_)
    assert many.histories_[0]["workers"].tolist() == [2, 2]
    found = many.predict(frame(TABLE))
    np.testing.assert_array_equal(found.compute(scheduler="sync"), many.predict(TABLE))


@slow
def test_validation_rows_may_be_collections_and_may_be_in_memory(client):
    held = slice(0, 60)
    own = {"X_val": TABLE[held], "y_val": LABELS[held]}
    lazy = {"X_val": frame(TABLE[held], 2), "y_val": column(LABELS[held], 2)}
    one = classifier(monitor="neg_log_loss").fit(TABLE, LABELS, **own)
    for validation in (own, lazy):
        with data_parallel(client, sync_every=1):
            many = classifier(monitor="neg_log_loss").fit(
                frame(TABLE), column(LABELS), **validation
            )
        assert_same(many, one, TABLE)


def test_unequal_partitions_of_arrays_whose_rows_are_on_one_worker_only(client):
    """Classes, categories and gaps of one partition; empty ones; rows of weight 0."""
    order = np.argsort(LABELS, kind="stable")
    X = np.column_stack([SIZE, SIZE**2]).astype(object)[order]
    X[:30, 1] = [f"c{i % 12}" for i in range(30)]  # numbers in the other partitions
    X[200:, 0] = None
    y, weight = LABELS[order], WEIGHT[order]
    cuts = (70, 0, 110, 20, 40)
    lazy = [da.from_array(v, chunks=(cuts, *v.shape[1:])) for v in (X, y, weight)]
    one = classifier().fit(X, y, weight)
    with data_parallel(client, sync_every=1):
        many = classifier().fit(*lazy)
    assert [c.kind for c in many.encoder_.columns_] == ["number", "category"]
    assert not hasattr(many, "feature_names_in_") and many.n_features_in_ == 2
    np.testing.assert_allclose(many.predict_proba(X), one.predict_proba(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make, y", [(regressor, NUMBERS), (classifier, LABELS)])
def test_partitions_without_rows_change_nothing(make, y, client):
    X, held = np.column_stack([SIZE, SIZE**2]), 60
    one = make(max_iter=1).fit(X[held:], y[held:], X_val=X[:held], y_val=y[:held])
    known, others = (
        [da.from_array(v[rows], chunks=(cuts, *v.shape[1:])) for v in (X, y)]
        for rows, cuts in ((slice(held, None), (0, 100, 80)), (slice(held), (40, 0, 20)))
    )
    with data_parallel(client, sync_every=1):
        many = make(max_iter=1).fit(*known, X_val=others[0], y_val=others[1])
    for found, wanted in zip(many.networks_, one.networks_, strict=True):
        np.testing.assert_allclose(found.flat_params, wanted.flat_params, atol=2e-4, rtol=2e-4)
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(many.histories_[0][name], one.histories_[0][name], rtol=1e-4)


def test_integers_beside_text_of_another_partition_are_the_same_categories(client):
    key = np.array([2**53 + i % 5 for i in range(N)], object)
    key[:30] = "none"
    table = TABLE[["size"]].assign(key=key, few=[7] * 90 + ["none"] * 60 + [7, 8] * 45)
    one = regressor(max_iter=1).fit(table, NUMBERS)
    with data_parallel(client, sync_every=1), dask.config.set({"dataframe.convert-string": False}):
        many = regressor(max_iter=1).fit(frame(table), column(NUMBERS))
    assert_same(many, one, table)


GAPS = np.arange(N) % 5 == 0
GAPS[:30] = True  # so that the first of eight partitions says nothing of its columns


@pytest.mark.parametrize("kind", ["number", "category", "date"])
def test_a_partition_with_gaps_says_what_a_column_is(kind, client):
    filled = {"number": SIZE, "category": TOWN, "date": TABLE["when"]}[kind]
    table = pd.DataFrame({"size": SIZE, "odd": pd.Series(filled, dtype=object).mask(GAPS, None)})
    one = regressor(max_iter=1).fit(table, NUMBERS)
    with data_parallel(client, sync_every=1), dask.config.set({"dataframe.convert-string": False}):
        many = regressor(max_iter=1).fit(frame(table, 8), column(NUMBERS, 8))
    assert many.encoder_.columns_[1].kind == kind
    assert_same(many, one, table)


@pytest.mark.parametrize("n", [3, 8])
def test_few_rows_are_learned_from_and_held_out(n, client):
    few = TABLE[:n]
    one = regressor().fit(few, NUMBERS[:n])
    with data_parallel(client, sync_every=1):
        many = regressor().fit(frame(few, 2), column(NUMBERS[:n], 2))
    assert_same(many, one, few)


@slow
def test_local_steps_callbacks_and_what_is_printed(client, capsys):
    """Rounds of several steps, seen by callbacks, end in a model that learned; twice the same."""
    epochs = []
    more = {"max_iter": 6, "batch_size": 24, "hidden_layer_sizes": (32,), "members": 2}

    def fit():
        model = regressor(verbose=True, **more).set_callbacks(lambda s: epochs.append(s.epoch))
        with data_parallel(client, sync_every=4):
            return model.fit(frame(TABLE), column(NUMBERS))

    first, second = fit(), fit()
    assert epochs == [1, 2, 3, 4, 5, 6] * 4
    assert capsys.readouterr().out.count("member 2/2, epoch 6/6: loss") == 2
    assert first.histories_[0]["sync_every"].tolist() == [4] * 6
    np.testing.assert_array_equal(first.predict(TABLE), second.predict(TABLE))
    assert first.score(TABLE, NUMBERS) > 0.5


@pytest.mark.parametrize(("make", "y"), [(classifier, LABELS), (regressor, NUMBERS)],
                         ids=["classes", "numbers"])  # fmt: skip
def test_collections_are_scored_as_arrays(make, y):
    model = make().fit(TABLE, y)
    with dask.config.set(scheduler="sync"):
        for weight in (None, WEIGHT):
            lazy = None if weight is None else column(weight)
            found = model.score(frame(TABLE), column(y), lazy)
            assert found == model.score(TABLE, y, weight)
        with raises_exactly(
            TypeError,
            "y is a Dask collection (Series), but rows in memory are needed here: call "
            ".compute() on it. Estimators train and predict on collections where they "
            "lie: fit(X, y), within layerkit.distributed.data_parallel(client)",
        ):
            model.score(TABLE, column(y))


# ---------------------------------------------------------------- what is refused


def dates_and_numbers():
    X = np.column_stack([SIZE, np.arange(N)]).astype(object)
    X[N // 2 :, 1] = datetime.date(2026, 1, 31)
    return da.from_array(X, chunks=(N // 2, 2)), column(NUMBERS, 2)


REFUSED = {
    "y in memory": (
        lambda: (frame(TABLE), NUMBERS),
        TypeError,
        "y must be a Dask array, DataFrame or Series, as X is a Dask collection, got ndarray",
    ),
    "X in memory": (
        lambda: (TABLE, column(NUMBERS)),
        TypeError,
        "y is a Dask collection (Series), but rows in memory are needed here: call .compute() on "
        "it. Estimators train and predict on collections where they lie: fit(X, y), within "
        "layerkit.distributed.data_parallel(client)",
    ),
    "weights of a collection": (
        lambda: (TABLE, NUMBERS, column(WEIGHT)),
        TypeError,
        "sample_weight is a Dask collection (Series), but rows in memory are needed here: call "
        ".compute() on it. Estimators train and predict on collections where they lie: fit(X, "
        "y), within layerkit.distributed.data_parallel(client)",
    ),
    "X_val of a collection": (
        lambda: (TABLE, NUMBERS, None, frame(TABLE), column(NUMBERS)),
        TypeError,
        "X_val is a Dask collection (DataFrame), but rows in memory are needed here: call "
        ".compute() on it. Estimators train and predict on collections where they lie: fit(X, "
        "y), within layerkit.distributed.data_parallel(client)",
    ),
    "y_val in memory": (
        lambda: (frame(TABLE), column(NUMBERS), None, frame(TABLE), NUMBERS),
        TypeError,
        "X_val and y_val must both be Dask collections or both in memory, got DataFrame and "
        "ndarray",
    ),
    "X_val alone": (
        lambda: (frame(TABLE), column(NUMBERS), None, frame(TABLE)),
        ValueError,
        "X_val and y_val belong together, y_val is None",
    ),
    "other columns in X_val": (
        lambda: (frame(TABLE), column(NUMBERS), None, TABLE.drop(columns="size"), NUMBERS),
        ValueError,
        theirs("Feature names seen at fit time, yet now missing:\n- size\n"),
    ),
    "y missing": (lambda: (frame(TABLE), None), TypeError,
     "y must be a Dask array, DataFrame or Series, as X is a Dask collection, got NoneType"),
    "an infinite number": (
        lambda: (frame(TABLE.assign(size=np.where(np.arange(N) == 100, np.inf, SIZE))),
                 column(NUMBERS)),
        ValueError,
        "partition 1: column 'size' has an infinite value (inf) in row 20: numbers must be "
        "finite, NaN where they are missing",
    ),
    "y not finite": (
        lambda: (frame(TABLE), column(np.where(np.arange(N) == 100, np.nan, NUMBERS))),
        ValueError,
        "partition 1: Input y contains NaN.",
    ),
    "text as numbers": (
        lambda: (frame(TABLE), column(LABELS)),
        ValueError,
        re.compile(  # all of them are refused; whichever comes first
            r"partition \d: y must hold numbers, got '(low|middle|high)' \(str\) in row 0: turn "
            r"labels into numbers, np\.unique\(y, return_inverse=True\)\[1\]; a classifier does "
            r"that itself"
        ),
    ),
    "kinds": (dates_and_numbers, ValueError, "column 'x1' holds dates and numbers, in different "
                                             "partitions: they must be of one kind"),
    "X has no rows": (lambda: (frame(TABLE[:0], 1), column(NUMBERS[:0], 1)), ValueError,
     "X has no rows: all its partitions are empty"),
    "weights of zero": (
        lambda: (frame(TABLE), column(NUMBERS), column(0 * WEIGHT)),
        ValueError,
        "sample_weight times class_weight is zero for all rows",
    ),
    "nothing to tell": (
        lambda: (frame(TABLE[["constant"]]), column(NUMBERS)),
        ValueError,
        "no column of X tells the 192 sample(s) to learn from apart: in each all values are the "
        "same, or categories that occur once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_data_that_do_not_fit_are_refused(case, client):
    make, error, message = REFUSED[case]
    model = regressor()
    with data_parallel(client), raises_exactly(error, message):
        model.fit(*make())
    assert not hasattr(model, "networks_")


WEIGHTS = [
    ({"low": -1.0}, "must be finite and not negative, got -1.0 for low"),
    ({"none": 2.0}, "has 'none', but the classes are ['high', 'low', 'middle']"),
    ([{"low": 1.0}], "must be None, 'balanced' or a dict, got [{'low': 1.0}]"),
    ("even", "must be None, 'balanced' or a dict, got 'even'"),
]


@pytest.mark.parametrize("spec, told", WEIGHTS)
def test_class_weights_that_do_not_fit_are_refused(spec, told, client):
    with raises_exactly(ValueError, f"class_weight {told}"):
        classifier(class_weight=spec).fit(TABLE, LABELS)
    with data_parallel(client), raises_exactly(ValueError, f"class_weight {told}"):
        classifier(class_weight=spec).fit(frame(TABLE), column(LABELS))


# ---------------------------------------------------------------- summaries


@pytest.mark.parametrize("n", [1, 2, 5, 1000])
def test_a_spread_of_few_values_has_the_quartiles_of_numpy(n):
    for values in (rng.normal(size=n), rng.integers(0, 3, n).astype(float)):
        parts = [Spread.of(part) for part in np.array_split(values, 3)]
        found = Spread.merged([Spread.merged(parts[:2]), parts[2]]).quantiles()
        np.testing.assert_array_equal(found, np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))


@pytest.mark.parametrize("draw", ["normal", "exponential", "standard_cauchy"])
def test_a_spread_of_many_values_is_as_near_as_it_says(draw):
    """Ranks move by half a group, of all rows, for each time that points were made fewer."""
    values = getattr(rng, draw)(size=200_000)
    parts = [Spread.of(part) for part in np.array_split(np.sort(values), 20)]
    whole = Spread.merged([Spread.merged(parts[:8]), Spread.merged(parts[8:])])
    assert len(whole.values) <= POINTS and whole.counts.sum() == len(values)
    assert (whole.low, whole.high) == (values.min(), values.max())
    found = np.searchsorted(np.sort(values), whole.quantiles()[1:4]) / len(values)
    assert abs(found - [0.25, 0.5, 0.75]).max() <= 3 / (2 * POINTS) + 1e-5


def test_a_frequent_value_stays_frequent_among_many():
    values = np.concatenate([np.zeros(50_000), rng.normal(size=50_000)])
    whole = Spread.of(values)
    at_zero = whole.counts[np.flatnonzero(whole.values == 0)]
    assert abs(at_zero.sum() - 50_000) <= 100_000 / POINTS


def test_moments_of_parts_are_those_of_all_rows():
    rows, weight = 1e6 + rng.normal(size=(500, 3)), rng.random(500)
    for w in (None, weight):
        parts = [Moments.of(rows[i::7], None if w is None else w[i::7]) for i in range(7)]
        found, wanted = Moments.merged(parts), Moments.of(rows, w)
        np.testing.assert_allclose(found.mean, wanted.mean, rtol=1e-13)
        np.testing.assert_allclose(found.products, wanted.products, rtol=1e-7, atol=1e-6)
        cov = np.cov(rows.T, aweights=w, ddof=0)
        np.testing.assert_allclose(wanted.products / wanted.weight, cov, rtol=1e-7, atol=1e-8)


def test_means_by_sums_are_those_of_scikit_learn():
    codes, y = rng.integers(0, 40, (300, 2)), 1e4 + rng.normal(size=(300, 2))
    folds, center = folds_of(300), y.mean(axis=0)
    sums = [sums_by_code(own, 41, folds, y, center) for own in codes.T]
    found = FoldedMeans.of(sums, center)(codes, folds)
    np.testing.assert_allclose(found, cross_fitted(codes, y), rtol=1e-12)
    encoder = TargetEncoder(target_type="continuous").fit(codes, y[:, 1])
    whole = smoothed(sums[0].sum(axis=0), center)
    np.testing.assert_allclose(whole[encoder.categories_[0], 1], encoder.encodings_[0], rtol=1e-12)
    assert whole[40].tolist() == pytest.approx(center.tolist())


@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_ridge_of_sums_is_that_of_scikit_learn(n_outputs, weighted):
    X = rng.normal(size=(200, 6)).astype(np.float32)
    X[:, 3] = X[:, 2] + 1e-3 * X[:, 3]  # nearly the same
    y = (X[:, :n_outputs] * 3 + rng.normal(size=(200, n_outputs))).astype(np.float32)
    weight = rng.random(200) * (np.arange(200) % 3 > 0) if weighted else None
    columns, places = [0, 2, 3, 5], [np.arange(0, 50), np.arange(10), np.arange(100)]
    edges = [slice(0, 60), slice(60, 80), slice(80, 200)]
    rows = np.concatenate([e.start + p for e, p in zip(edges, places, strict=True)])
    parts = [(X[e], y[e], None if weight is None else weight[e]) for e in edges]
    found = ridge(InMemory(parts), columns, places)
    chosen = None if weight is None else weight[rows]
    wanted = LinearPart.of(columns, Rows(X[rows], y[rows], chosen))
    np.testing.assert_allclose(found.W, wanted.W, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.b, wanted.b, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.spread, wanted.spread, rtol=1e-6)


class InMemory(Partitions):
    """Partitions without a cluster."""

    def __init__(self, parts):
        self.parts = parts

    def merged(self, function, merge, own):
        found = [function(i, *pair) for i, pair in enumerate(zip(self.parts, own, strict=True))]
        return merge([merge(found[:2]), found[2]])
