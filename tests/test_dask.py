"""Dask collections: trained on where they lie, with the result of one machine, or as said."""

import re
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from errors import raises_exactly, theirs
from sklearn.base import clone

from layerkit import (
    BatchNorm,
    Dense,
    Dropout,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    TabularClassifier,
    TabularRegressor,
    Tanh,
    check_gradients,
)
from layerkit.distributed import data_parallel
from layerkit.distributed.partitions import Partitions, _fill, divide
from layerkit.distributed.workers import mean_state, put_means
from layerkit.estimators import TableEncoder
from layerkit.inspection import HealthMonitor, health
from layerkit.losses import GaussianNLL, MeanSquaredError
from layerkit.optimizers import SGD
from layerkit.training import train

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
dd = pytest.importorskip("dask.dataframe")
distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

rng = np.random.default_rng(0)
X = rng.standard_normal((240, 4))
LABELS = np.array(["blue", "green", "red"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)]
NUMBERS = np.sin(X[:, 0]) + X[:, 1]
WEIGHT = rng.random(240) * (np.arange(240) % 7 > 0)
CUTS = (70, 0, 110, 20, 40)  # unequal, one empty


def collection(array, cuts=CUTS):
    return da.from_array(array, chunks=(cuts, *array.shape[1:]))


def classifier(**options):
    known = {"max_iter": 2, "batch_size": 60, "random_state": 0, "n_iter_no_change": None}
    return SequentialClassifier([Dense(6), Tanh()], **known | options)


def regressor(**options):
    known = {"max_iter": 2, "batch_size": 60, "random_state": 0, "n_iter_no_change": None}
    return SequentialRegressor([Dense(6), Tanh()], **known | options)


def mlp(kind=MLPClassifier, **options):
    return kind(hidden_layer_sizes=(6,), max_iter=2, batch_size=60, random_state=0, **options)


# ---------------------------------------------------------------- as on one machine

EXACT = {
    "classifier": (classifier, LABELS, {}),
    "clipped": (classifier, LABELS, {"optimizer": SGD(0.5, momentum=0.9, clip_norm=0.1)}),
    "early stopping": (classifier, LABELS, {"early_stopping": True}),
    "balanced": (classifier, LABELS, {"class_weight": "balanced"}),
    "in order": (classifier, LABELS, {"shuffle": False}),
    "two columns of classes": (classifier, np.column_stack([LABELS, LABELS[::-1]]), {}),
    "regressor": (regressor, NUMBERS, {"early_stopping": True}),
    "two columns": (regressor, np.column_stack([NUMBERS, X[:, 2]]), {}),
    "MLP": (mlp, LABELS, {"early_stopping": True}),
    "MLP sgd": (mlp, LABELS, {"solver": "sgd", "learning_rate": "adaptive", "alpha": 0.5}),
    "MLP regressor": (lambda **options: mlp(MLPRegressor, **options), NUMBERS, {}),
}


@pytest.mark.parametrize("case", EXACT)
def test_sync_every_1_is_one_machine(case, client):
    make, y, options = EXACT[case]
    weighted = list(EXACT).index(case) % 2 == 0
    weight = WEIGHT if weighted else None
    one = make(**options).fit(X, y, weight)
    with data_parallel(client, sync_every=1):
        many = make(**options).fit(
            collection(X), collection(y), collection(weight) if weighted else None
        )
    np.testing.assert_allclose(
        many.network_.flat_params, one.network_.flat_params, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(many.history_["loss"], one.history_["loss"], rtol=1e-12)
    for column in ("validation_loss", "validation_score"):
        if column in one.history_.columns:
            np.testing.assert_allclose(many.history_[column], one.history_[column], rtol=1e-12)
    assert many.n_features_in_ == 4 and many.best_iter_ == one.best_iter_


def test_float32_is_equal_to_rounding(client):
    one = classifier().fit(X.astype(np.float32), LABELS)
    with data_parallel(client, sync_every=1):
        many = classifier().fit(collection(X.astype(np.float32)), collection(LABELS))
    assert many.network_.dtype == np.float32
    np.testing.assert_allclose(many.network_.flat_params, one.network_.flat_params, atol=1e-5)


def test_tables_keep_their_names_and_categories_may_be_on_one_worker_only(client):
    table = pd.DataFrame(X, columns=list("abcd"))
    order = np.argsort(LABELS, kind="stable")  # so that each partition has one or two classes
    table, y = table.iloc[order].reset_index(drop=True), pd.Series(LABELS[order])
    dask_table, dask_y = dd.from_pandas(table, npartitions=4), dd.from_pandas(y, npartitions=4)
    one = classifier().fit(table, y)
    with data_parallel(client, sync_every=1):
        many = classifier().fit(dask_table, dask_y)
    assert many.classes_.tolist() == ["blue", "green", "red"]
    assert many.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_allclose(many.network_.flat_params, one.network_.flat_params, atol=1e-12)
    predicted = many.predict(dask_table)
    np.testing.assert_array_equal(predicted.compute(), one.predict(table))


def test_validation_rows_may_be_collections_and_may_be_in_memory(client):
    own = {"X_val": X[:50], "y_val": LABELS[:50]}
    one = classifier().fit(X, LABELS, **own)
    lazy = {"X_val": collection(X[:50], (20, 30)), "y_val": collection(LABELS[:50], (20, 30))}
    for validation in (own, lazy):
        with data_parallel(client, sync_every=1):
            many = classifier().fit(collection(X), collection(LABELS), **validation)
        for column in ("validation_loss", "validation_score"):
            np.testing.assert_allclose(many.history_[column], one.history_[column], rtol=1e-12)


def test_warm_start_and_partial_fit_go_on(client):
    one, many = classifier(warm_start=True), classifier(warm_start=True)
    for _ in range(2):
        one.fit(X, LABELS)
        with data_parallel(client, sync_every=1):
            many.fit(collection(X), collection(LABELS))
    one.partial_fit(X, LABELS)
    with data_parallel(client, sync_every=1):
        many.partial_fit(collection(X), collection(LABELS))
    assert many.n_iter_ == 5
    np.testing.assert_allclose(many.network_.flat_params, one.network_.flat_params, atol=1e-12)


TABLE = pd.DataFrame(X, columns=list("abcd"))


def frame(table, npartitions=3):
    return dd.from_pandas(table, npartitions=npartitions)


def of_unknown_length(array):
    return collection(array)[collection(np.ones(240, bool))]


def mixed_dtypes():
    return da.concatenate([da.from_array(X[:120].astype(np.float32)), da.from_array(X[120:])])


PLACED = {
    "unknown lengths": (of_unknown_length(X), of_unknown_length(LABELS)),
    "array of a frame": (frame(TABLE).to_dask_array(), frame(pd.Series(LABELS))),
    "array and Series": (collection(X, (80, 80, 80)), frame(pd.Series(LABELS))),
    "first partition empty": (collection(X, (0, 120, 120)), collection(LABELS, (0, 120, 120))),
    "one partition": (collection(X, (240,)), collection(LABELS, (240,))),
    "many partitions": (collection(X, (8,) * 30), collection(LABELS, (8,) * 30)),
    "columns cut": (da.from_array(X, chunks=(80, 3)), collection(LABELS, (80, 80, 80))),
    "mixed dtypes": (mixed_dtypes(), collection(LABELS, (120, 120))),
    "categories": (frame(TABLE), frame(pd.Series(LABELS).astype("category"))),
    "a table of one target": (frame(TABLE), frame(pd.DataFrame({"y": LABELS}))),
    "booleans": (collection(X), collection(LABELS == "red")),
    "columns of many dtypes": (
        frame(
            TABLE.assign(a=TABLE.a > 0, b=(3 * TABLE.b).astype(int), c=TABLE.c.astype("Float64"))
        ),
        frame(pd.Series(LABELS)),
    ),
}


@pytest.mark.parametrize("case", PLACED)
def test_however_rows_are_cut_and_typed(case, client):
    lazy_X, lazy_y = PLACED[case]
    rows, y = dask.compute(lazy_X, lazy_y, scheduler="sync")
    one = classifier().fit(rows, np.ravel(np.asarray(y)))
    with data_parallel(client, sync_every=1):
        many = classifier().fit(lazy_X, lazy_y)
    np.testing.assert_allclose(many.network_.flat_params, one.network_.flat_params, atol=1e-10)
    found = many.predict(lazy_X).compute(scheduler="sync")
    np.testing.assert_array_equal(found, one.predict(rows))


# ---------------------------------------------------------------- local SGD, noise, statistics


def test_local_steps_learn_and_give_the_same_twice(client):
    def fit():
        with data_parallel(client, sync_every=3):
            return classifier(max_iter=4, batch_size=20).fit(collection(X), collection(LABELS))

    first, second = fit(), fit()
    np.testing.assert_array_equal(first.network_.flat_params, second.network_.flat_params)
    assert first.history_["sync_every"].tolist() == [3] * 4
    assert first.loss_curve_[-1] < first.loss_curve_[0]


def test_the_mean_of_one_local_round_is_by_rows(client):
    """Of one round of plain steps on parts of the rows: the weighted mean of what each gives."""
    cuts = (200, 40)
    common = {"batch_size": 120, "shuffle": False, "optimizer": SGD(0.1), "max_iter": 1}
    with data_parallel(client, sync_every=2):
        many = classifier(**common).fit(collection(X, cuts), collection(LABELS, cuts))
    alone = classifier(**common).fit(X, LABELS)
    assert many.history_["sync_every"].tolist() == [2]
    assert abs(many.network_.flat_params - alone.network_.flat_params).max() < 0.02
    assert many.optimizer_ is not alone.optimizer_


@pytest.mark.parametrize("turned", [False, True], ids=["", "the other first"])
@pytest.mark.parametrize(
    ("one", "other", "mean"),
    [
        (3, 4, 4),
        (0.25, 0.5, 0.5),
        (np.array([3, 9]), np.array([5, 2]), np.array([5, 9])),
        (np.float32([1, 3]), np.float32([5, 3]), np.float32([2, 3])),
        (np.array([[1.0], [0.0]]), np.array([[9.0], [-4.0]]), np.array([[3.0], [-1.0]])),
        (np.array(7), np.array(2), np.array(7)),
    ],
    ids=["counter", "number", "counters", "float32", "matrix", "scalar"],
)
def test_vectors_of_an_optimizer_are_averaged_by_rows_and_counters_are_the_greatest(
    one, other, mean, turned
):
    states, counts = [{"v": one, "n": 1}, {"v": other, "n": 1}], [30, 10]
    if turned:
        states, counts = states[::-1], counts[::-1]
    found = mean_state(states, counts)
    assert list(found) == ["v", "n"] and found["n"] == 1
    np.testing.assert_array_equal(found["v"], mean)
    assert np.asarray(found["v"]).dtype == np.asarray(mean).dtype


def test_buffers_of_workers_are_averaged_by_rows_in_place():
    mean, n = np.zeros(2, np.float32), np.zeros(())
    said = [[np.float32([1, 2]), np.array(3.0)], [np.float32([5, -2]), np.array(7.0)]]
    put_means([mean, n], said, [30, 10])
    assert (mean.tolist(), n.tolist()) == ([2, 1], 4)


@pytest.mark.parametrize(
    ("lengths", "at", "shares"),
    [
        ([5, 5, 5], ["a", "b", "c"], {"a": [0], "b": [1], "c": [2]}),
        ([5, 5, 5], ["c", "a", "b"], {"a": [1], "b": [2], "c": [0]}),
        ([67, 67, 66, 100], ["a", "a", "a", "c"], {"a": [0, 1], "b": [2], "c": [3]}),
        ([68, 67, 65, 100], ["a", "a", "a", "c"], {"a": [0, 2], "b": [1], "c": [3]}),
        ([200, 50, 50], ["a", "a", "a"], {"a": [0], "b": [1], "c": [2]}),  # far more than a third
        ([5, 5], ["ab", "ab"], {"a": [0], "b": [1]}),  # whoever of its holders has less
        ([9, 5, 4, 4], ["a", "ab", "bc", "ac"], {"a": [0], "b": [1], "c": [2, 3]}),
        ([5, 9, 7], ["", "", ""], {"a": [1], "b": [2], "c": [0]}),
        ([5, 9, 7], ["z", "zc", "z"], {"a": [2], "b": [0], "c": [1]}),  # of workers that are gone
        ([5, 5], ["c", "c"], {"a": [1], "c": [0]}),
        ([0, 5, 0, 5], ["a", "a", "b", "c"], {"a": [1], "c": [3]}),  # none without rows
        ([166, 67, 67], ["a", "b", "b"], {"a": [0], "b": [1], "c": [2]}),  # none idle
    ],
)
def test_partitions_stay_where_they_lie_unless_a_share_were_far_from_fair(lengths, at, shares):
    lengths = np.array(lengths)
    parts = np.flatnonzero(lengths).tolist()
    found = divide(parts, lengths, {i: list(at[i]) for i in parts}, ["a", "b", "c"])
    assert {share.worker: share.parts for share in found} == shares
    assert [share.worker for share in found] == sorted(shares)


@pytest.mark.parametrize(
    ("lengths", "at", "shares"),
    [
        ([136, 67, 67, 65, 65], "abbcc", {"a": [0], "b": [1], "c": [3, 4], "d": [2]}),
        ([136, 65, 65, 67, 67], "abbcc", {"a": [0], "b": [1, 2], "c": [3], "d": [4]}),
    ],
)
def test_an_idle_worker_takes_a_partition_of_whoever_has_most(lengths, at, shares):
    found = divide(
        list(range(len(at))), np.array(lengths), dict(enumerate(at)), ["a", "b", "c", "d"]
    )
    assert {share.worker: share.parts for share in found} == shares


def test_idle_workers_take_one_partition_each():
    owned = {"a": [0, 1, 2], "b": [3, 4], "c": [], "d": [], "e": [], "f": []}
    loads = {"a": 30, "b": 25, "c": 0, "d": 0, "e": 0, "f": 0}
    _fill(owned, loads, np.array([10, 10, 10, 15, 10]))
    assert owned == {"a": [0], "b": [3], "c": [2], "d": [4], "e": [1], "f": []}
    assert loads == {"a": 10, "b": 15, "c": 10, "d": 10, "e": 10, "f": 0}


def test_how_often_to_average_is_chosen_and_reported(client):
    with data_parallel(client):
        history = classifier(max_iter=5).fit(collection(X), collection(LABELS)).history_
    every = history["sync_every"]
    assert every[0] == 1 and (every[1:] == every[1]).all() and 1 <= every[1] <= 4
    assert history["workers"].tolist() == [2] * 5 and not history["repeated"].any()


def test_batch_norm_averages_statistics_and_never_sees_one_row(client):
    layers = [Dense(6), BatchNorm(), ReLU(), Dropout(0.2)]
    fits = []
    for _ in range(2):
        with data_parallel(client, sync_every=1):
            model = SequentialClassifier(layers, max_iter=2, batch_size=8, random_state=0)
            fits.append(model.fit(collection(X[:60], (50, 10)), collection(LABELS[:60], (50, 10))))
    first, second = (model.network_ for model in fits)
    np.testing.assert_array_equal(first.flat_params, second.flat_params)
    mean = first[1].buffers["running_mean"]
    assert np.isfinite(mean).all() and mean.any()


# ---------------------------------------------------------------- around the fit


def test_callbacks_checkpoints_and_ctrl_c_are_as_on_one_machine(client, tmp_path):
    class Interrupt:
        def __call__(self, state):
            epochs.append(state.epoch)
            if state.epoch == 2:
                raise KeyboardInterrupt

    epochs = []
    file = {"checkpoint": tmp_path / "run.npz"}
    data = collection(X), collection(LABELS)
    with data_parallel(client, sync_every=1):
        whole = classifier(max_iter=4).fit(*data)
        model = classifier(max_iter=4).set_callbacks(Interrupt())
        with pytest.raises(KeyboardInterrupt):
            model.fit(*data, **file)
        assert epochs == [1, 2] and model.n_iter_ == 2
        model = classifier(max_iter=4).fit(*data, **file, resume=True)
    assert model.n_iter_ == 4
    np.testing.assert_allclose(model.network_.flat_params, whole.network_.flat_params, atol=1e-12)


def test_two_fits_at_once_do_not_disturb_each_other(client):
    found = {}

    def fit(seed):
        with data_parallel(client, sync_every=1):
            found[seed] = classifier(random_state=seed).fit(collection(X), collection(LABELS))

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, model in found.items():
        alone = classifier(random_state=seed).fit(X, LABELS).network_.flat_params
        np.testing.assert_allclose(model.network_.flat_params, alone, atol=1e-12)


def test_a_late_worker_is_used_from_the_next_epoch_and_a_lost_one_is_not_missed():
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    )
    with cluster, distributed.Client(cluster, set_as_default=False) as client:

        def scale(state):
            if state.epoch in (1, 3):
                n_workers = 2 if state.epoch == 1 else 1
                cluster.scale(n_workers)
                until = time.monotonic() + 300
                while len(client.nthreads()) != n_workers and time.monotonic() < until:
                    time.sleep(0.05)

        model = classifier(max_iter=4).set_callbacks(scale)
        with data_parallel(client, sync_every=1):
            model.fit(collection(X), collection(LABELS))
    assert model.history_["workers"].tolist() == [1, 2, 2, 1]
    alone = classifier(max_iter=4).fit(X, LABELS).network_.flat_params
    np.testing.assert_allclose(model.network_.flat_params, alone, atol=1e-12)


# ---------------------------------------------------------------- predicting


def test_predictions_are_lazy_and_those_of_arrays():
    model = classifier().fit(X, LABELS)
    lazy = da.from_array(X, chunks=(100, 3))
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform"):
        found, wanted = getattr(model, name)(lazy), getattr(model, name)(X)
        assert isinstance(found, da.Array) and found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(found.compute(scheduler="sync"), wanted)
    with pytest.raises(ValueError, match="features"):
        model.predict(lazy[:, :3])
    with dask.config.set(scheduler="sync"):
        assert model.score(lazy, collection(LABELS)) == model.score(X, LABELS)


def test_predictions_of_tables_with_an_empty_partition():
    table = pd.DataFrame(X, columns=list("abcd"))
    model = regressor(loss=GaussianNLL()).fit(table, NUMBERS)
    lazy = dd.from_pandas(table, npartitions=3)
    lazy = lazy[lazy["a"] < 10]
    lazy = dd.concat([lazy, lazy[lazy["a"] > 10]])
    y, std = model.predict(lazy, return_std=True)
    for found, wanted in zip((y, std), model.predict(table, return_std=True), strict=True):
        np.testing.assert_array_equal(found.compute(scheduler="sync"), wanted)


MIXED = TABLE.assign(
    colour=np.where(np.arange(240) % 9 == 0, None, LABELS),
    day=pd.Timestamp("2026-01-31") + pd.to_timedelta(np.arange(240), "D"),
)
TABLES = {"numbers": TABLE, "text and dates": MIXED}


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_anything_are_predicted_and_encoded_lazily(table):
    table = TABLES[table]
    lazy, options = frame(table), {"max_iter": 2, "random_state": 0}
    classes = TabularClassifier.quick(**options).fit(table, LABELS)
    numbers = TabularRegressor.quick(loss=GaussianNLL(), **options).fit(table, NUMBERS)
    calls = [
        *(classes.predict, classes.predict_proba, classes.predict_log_proba, numbers.predict),
        TableEncoder().fit(table).transform,
    ]
    for call in calls:
        found, wanted = call(lazy), call(table)
        assert isinstance(found, da.Array) and found.dtype == wanted.dtype
        np.testing.assert_array_equal(found.compute(scheduler="sync"), wanted)
    for found, wanted in zip(
        numbers.predict(lazy, return_std=True), numbers.predict(table, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(found.compute(scheduler="sync"), wanted)


def test_a_table_encoded_lazily_is_trained_on(client):
    features = TableEncoder(clip=None).fit(MIXED[:100]).transform(frame(MIXED))
    with data_parallel(client, sync_every=1):
        many = classifier().fit(features, frame(pd.Series(LABELS)))
    one = classifier().fit(features.compute(scheduler="sync"), LABELS)
    np.testing.assert_allclose(many.network_.flat_params, one.network_.flat_params, atol=1e-12)


# ---------------------------------------------------------------- partition by partition


def incrementally(model, X, y, **first):
    """Do what dask-ml's `Incremental` does: clone, then partial_fit of block after block."""
    model = clone(model)
    for x, target in zip(X.blocks, y.blocks, strict=True):
        model.partial_fit(*dask.compute(x, target, scheduler="sync"), **first)
    return model


INCREMENTAL = {
    "SequentialClassifier": (lambda: classifier(), LABELS),
    "SequentialRegressor": (lambda: regressor(), NUMBERS),
    "MLPClassifier": (lambda: mlp(), LABELS),
    "MLPRegressor": (lambda: mlp(MLPRegressor), NUMBERS),
}


@pytest.mark.parametrize("name", INCREMENTAL)
def test_dask_ml_can_fit_block_by_block(name):
    make, y = INCREMENTAL[name]
    blocks = collection(X, (80, 80, 80)), collection(y, (80, 80, 80))
    first = {"classes": np.unique(LABELS)} if y is LABELS else {}
    wanted = incrementally(make(), *blocks, **first)
    assert clone(wanted).get_params().keys() == make().get_params().keys()
    assert len(wanted.history_) == 3
    wrappers = pytest.importorskip("dask_ml.wrappers")
    wrapped = wrappers.Incremental(make(), shuffle_blocks=False)
    with dask.config.set(scheduler="sync"):
        found = wrapped.fit(*blocks, **first).estimator_
    np.testing.assert_array_equal(found.network_.flat_params, wanted.network_.flat_params)


# ---------------------------------------------------------------- wrong use


def missing_label():
    labels = pd.Series(np.where(np.arange(240) == 100, None, LABELS))
    return frame(TABLE), frame(labels)


def nan_in_one_partition():
    spoilt = X.copy()
    spoilt[100, 2] = np.nan
    return collection(spoilt), collection(LABELS)


WRONG = {
    "y in memory": (
        lambda: (collection(X), LABELS),
        TypeError,
        "y must be a Dask array, DataFrame or Series, as X is a Dask collection, got ndarray",
    ),
    "X in memory": (
        lambda: (X, LABELS),
        TypeError,
        "within data_parallel(client) estimators fit Dask arrays and DataFrames, got ndarray",
    ),
    "other partitions": (
        lambda: (collection(X), collection(LABELS, (120, 120))),
        ValueError,
        "X has 5 partitions and y has 2: they must be cut between the same rows (of "
        "arrays, rechunk one as the other)",
    ),
    "other lengths": (
        lambda: (collection(X), collection(LABELS, (60, 10, 110, 20, 40))),
        ValueError,
        re.compile(r"partition (1: X has 0|0: X has 70) rows and y has (10|60)"),
    ),
    "not finite": (
        nan_in_one_partition,
        ValueError,
        theirs("partition 2: Input X contains NaN"),
    ),
    "no rows": (
        lambda: (collection(X[:0], (0, 0)), collection(LABELS[:0], (0, 0))),
        ValueError,
        "X has no rows: all its partitions are empty",
    ),
    "a label missing": (
        missing_label,
        ValueError,
        "partition 1: y contains missing values, in 1 of 80 rows (20): leave these "
        "rows out of X and y",
    ),
    "delayed": (
        lambda: (dask.delayed(X), collection(LABELS)),
        TypeError,
        "X must be a Dask array, DataFrame or Series, as X is a Dask collection, got DelayedLeaf",
    ),
    "y missing": (
        lambda: (collection(X), None),
        TypeError,
        "y must be a Dask array, DataFrame or Series, as X is a Dask collection, got NoneType",
    ),
    "weights in memory": (
        lambda: (collection(X), collection(LABELS), WEIGHT),
        TypeError,
        "sample_weight must be a Dask array, DataFrame or Series, as X is a Dask "
        "collection, got ndarray",
    ),
    "text": (
        lambda: (frame(TABLE.assign(a=LABELS)), frame(pd.Series(LABELS))),
        ValueError,
        "X: column 'a' holds no numbers but string; encode it, with OneHotEncoder() "
        "in a ColumnTransformer, or with OrdinalEncoder(), whose codes "
        "Columns([(['a'], Embedding(n_categories, dim)), ...]) takes",
    ),
    "y_val in memory": (
        lambda: (collection(X), collection(LABELS), None, collection(X), LABELS),
        TypeError,
        "X_val and y_val must both be Dask collections or both in memory, got Array and ndarray",
    ),
    "X_val in memory": (
        lambda: (collection(X), collection(LABELS), None, X, collection(LABELS)),
        TypeError,
        "X_val and y_val must both be Dask collections or both in memory, got ndarray and Array",
    ),
    "negative weight": (
        lambda: (collection(X), collection(LABELS), collection(-WEIGHT)),
        ValueError,
        re.compile(r"partition \d: sample_weight must be finite and not negative"),
    ),
    "weights of zero": (
        lambda: (collection(X), collection(LABELS), collection(WEIGHT * 0)),
        ValueError,
        "sample_weight times class_weight is zero for all rows",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_data_that_do_not_fit_are_refused(case, client):
    make, error, message = WRONG[case]
    model = classifier()
    with data_parallel(client), raises_exactly(error, message):
        model.fit(*make())
    assert not hasattr(model, "network_")


def test_wrong_use_is_refused(client, monkeypatch):
    data = collection(X), collection(LABELS)
    all_at_once = (
        "L-BFGS needs all rows at once, not Dask collections: choose an optimizer that steps in "
        "batches, such as 'adam'"
    )
    with data_parallel(client), raises_exactly(ValueError, all_at_once):
        classifier(optimizer="lbfgs").fit(*data)
    with raises_exactly(ValueError, "sync_every must be 'auto' or a positive integer, got 0"):
        data_parallel(client, sync_every=0).__enter__()
    with raises_exactly(
        ValueError, "sync_every=3 is for a Dask client; ranks of MPI average every step"
    ):
        data_parallel("all", sync_every=3).__enter__()
    with data_parallel(client), raises_exactly(ValueError, all_at_once):
        mlp(solver="lbfgs").fit(*data)
    with raises_exactly(
        TypeError,
        "TableEncoder fits tables in memory, not Dask collections: give X.compute(), or "
        "a sample of it (X.sample(frac=0.1).compute()); TabularClassifier and "
        "TabularRegressor learn from all of it where it lies",
    ):
        TableEncoder().fit(data[0])
    with (
        data_parallel(client),
        raises_exactly(ValueError, "groups are for arrays in memory, not for Dask collections"),
    ):
        classifier().fit(*data, groups=LABELS)
    monkeypatch.setattr(Partitions, "version", "0.0.1")
    with (
        data_parallel(client),
        raises_exactly(
            RuntimeError,
            "all workers must have the client's layerkit 0.0.1, one has 0.2.0: install "
            "the same on all machines",
        ),
    ):
        classifier().fit(*data)


def test_no_client_and_no_workers_are_said():
    data = collection(X), collection(LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with raises_exactly(
            RuntimeError,
            "fit on Dask collections needs a client: `from distributed import Client`, "
            "`client = Client()` for processes of this machine, or Client(address) of a "
            "cluster",
        ):
            classifier().fit(*data)
        cluster = distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0")
        with cluster, distributed.Client(cluster) as client:
            with raises_exactly(
                RuntimeError,
                re.compile("the cluster of <Client: .*> has no workers"),
            ):
                classifier().fit(*data)
            client.close()
            with (
                data_parallel(client),
                raises_exactly(
                    RuntimeError,
                    re.compile(
                        "fit needs a client that is connected and not asynchronous, got <Client: "
                        r".*> \(closed\): Client\(address\)"
                    ),
                ),
            ):
                classifier().fit(*data)


# ---------------------------------------------------------------- where rows in memory are needed

Y = NUMBERS[:, np.newaxis]
OTHERS = {
    "train": lambda net, X, y, w: train(net, MeanSquaredError(), SGD(), (X, y, w), epochs=1),
    "train on batches": lambda net, X, y, w: train(
        net, MeanSquaredError(), SGD(), [(X, y, w)], epochs=1
    ),
    "validation": lambda net, X, y, w: train(
        net, MeanSquaredError(), SGD(), (globals()["X"], Y), epochs=1, validation_data=(X, y, w)
    ),
    "health": lambda net, X, y, w: health(net, X, y, sample_weight=w),
    "health monitor": lambda net, X, y, w: train(
        net, MeanSquaredError(), SGD(), (X, y, w), epochs=1, callbacks=[HealthMonitor()]
    ),
    "fit": lambda net, X, y, w: SequentialRegressor([Dense(2)], max_iter=1).fit(X, y, w),
}
LAZY = {"array": collection, "frame": lambda a: dd.from_pandas(pd.DataFrame(a), npartitions=2)}


@pytest.mark.parametrize("lazily", LAZY)
@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
@pytest.mark.parametrize("what", OTHERS)
def test_nothing_is_fetched_unasked(what, name, lazily):
    if what == "fit" and name == "X":
        pytest.skip("it trains on them")
    given = {"X": X, "y": Y, "sample_weight": WEIGHT}
    given[name] = LAZY[lazily](given[name])
    net = Sequential([Dense(3), Tanh(), Dense(1)]).build(4, random_state=0)
    before = net.flat_params.copy()
    with (
        dask.config.set(scheduler=refuse_to_compute),
        pytest.raises(
            TypeError, match=rf"{name} is a Dask collection .*\.compute\(\).*fit.*data_parallel"
        ),
    ):
        OTHERS[what](net, *given.values())
    np.testing.assert_array_equal(net.flat_params, before)


def refuse_to_compute(*_, **__):
    raise AssertionError("fetched")


@pytest.mark.parametrize("lazily", LAZY)
def test_a_network_takes_no_collection(lazily):
    net = Sequential([Dense(3), Tanh(), Dense(1)]).build(4, random_state=0)
    rows = LAZY[lazily](X)
    with dask.config.set(scheduler=refuse_to_compute):
        for call in (net.infer, net.forward, Sequential([Dense(2)]).infer):
            with raises_exactly(
                TypeError,
                re.compile(
                    r"X is a Dask collection .*\), but rows in memory are needed here: call "
                    r"\.compute\(\) on it\. Estimators train and predict on collections where "
                    r"they lie: fit\(X, y\), within layerkit\.distributed\.data_parallel\(client\)"
                ),
            ):
                call(rows)
        with raises_exactly(
            TypeError,
            re.compile(
                r"X is a Dask collection .*\), but rows in memory are needed here: call "
                r"\.compute\(\) on it\. Estimators train and predict on collections where "
                r"they lie: fit\(X, y\), within layerkit\.distributed\.data_parallel\(client\)"
            ),
        ):
            check_gradients(net, x=rows)
        with raises_exactly(
            TypeError,
            re.compile(
                r"data is a Dask collection .*\), but rows in memory are needed here: call "
                r"\.compute\(\) on it\. Estimators train and predict on collections where "
                r"they lie: fit\(X, y\), within layerkit\.distributed\.data_parallel\(client\)"
            ),
        ):
            train(net, MeanSquaredError(), SGD(), rows, epochs=1)
