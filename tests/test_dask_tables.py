"""Tabular estimators on Dask collections: the model of one machine, where the partitions lie."""

import numpy as np
import pytest
from scipy.stats import rankdata
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
TWO = np.column_stack([NUMBERS > NUMBERS.mean(), TABLE["flag"]]).astype(int)


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


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
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


EXACT = {
    "classes, weighted": (classifier, LABELS, {"members": 2, "class_weight": "balanced"}, WEIGHT),
    "numbers": (regressor, NUMBERS, {"members": 2}, None),
    "classes": (classifier, LABELS, {"monitor": "accuracy", "embedding": "piecewise"}, None),
    "two classes": (classifier, LABELS == "low", {"refit": True}, None),
    "several columns": (
        classifier,
        np.column_stack([LABELS, TWO[:, 0] + 5]).astype(object),
        {"class_weight": [{"low": 2.0}, {5: 0.5}]},
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
        assert str(many.classes_) == str(one.classes_)
        assert many.temperature_ == pytest.approx(one.temperature_)
    assert many.histories_[0]["workers"].tolist() == [2, 2]
    found = many.predict(frame(TABLE))
    np.testing.assert_array_equal(found.compute(scheduler="sync"), many.predict(TABLE))
