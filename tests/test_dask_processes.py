"""Dask's workers as processes: their number, their death, their memory, searches on them."""

import os
import signal
import threading
import time

import joblib
import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_score,
)

from layerkit import (
    Dense,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    SequentialClassifier,
    SequentialRegressor,
    TabularClassifier,
    TabularRegressor,
)
from layerkit.distributed import data_parallel

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

rng = np.random.default_rng(0)
X = rng.standard_normal((600, 5))
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)


# A worker that was killed comes back, on a busy machine later than Dask would wait for it.
dask.config.set({"distributed.deploy.lost-worker-timeout": "300s"})


def cluster(n_workers):
    return distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0"
    )


@pytest.fixture(scope="module")
def client():
    with cluster(2) as two, distributed.Client(two, set_as_default=False) as client:
        yield client


def fit(client, sync_every=1, callback=None, dtype=np.float64, **options):
    model = MLPClassifier((8,), random_state=0, **{"max_iter": 5, "batch_size": 100} | options)
    if callback is not None:
        model.set_callbacks(callback)
    x = da.from_array(X.astype(dtype), chunks=(100, 5))
    with data_parallel(client, sync_every=sync_every):
        return model.fit(x, da.from_array(Y, chunks=100))


class KillWorker:
    """A callback that kills a worker some milliseconds after a step."""

    def __init__(self, client, after):
        self.client, self.after, self.steps = client, after, 0

    def __call__(self, state):
        pass

    def on_batch(self, state):
        self.steps += 1
        if self.steps == self.after:
            pid = next(iter(self.client.run(os.getpid).values()))
            threading.Timer(rng.random() / 30, os.kill, (pid, signal.SIGKILL)).start()


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("n_workers", [1, 3, 4])
def test_any_number_of_processes_is_one(n_workers, dtype):
    one = MLPClassifier((8,), random_state=0, max_iter=5, batch_size=100).fit(X.astype(dtype), Y)
    with cluster(n_workers) as several, distributed.Client(several, set_as_default=False) as client:
        many = fit(client, dtype=dtype)
    assert many.history_["workers"].tolist() == [n_workers] * 5
    tolerance = 1e-12 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(
        many.network_.flat_params, one.network_.flat_params, rtol=0, atol=tolerance
    )


@pytest.mark.parametrize("sync_every", [1, 3])
@pytest.mark.parametrize("after", [1, 2, 4, 6, 8])
def test_a_killed_worker_is_survived(after, sync_every, client):
    client.wait_for_workers(2, timeout=60)
    wanted = fit(client, sync_every)
    client.wait_for_workers(2, timeout=60)
    found = fit(client, sync_every, KillWorker(client, after))
    if sync_every == 1:
        np.testing.assert_allclose(
            found.network_.flat_params, wanted.network_.flat_params, rtol=0, atol=1e-12
        )
    else:
        assert np.isfinite(found.network_.flat_params).all() and len(found.history_) == 5
    history = found.history_
    assert history["repeated"].any() or (history["workers"] < 2).any() or after > 5


SEQUENTIAL = {"layers": [("hidden", Dense(4)), ReLU()], "max_iter": 2}
MLP = {"hidden_layer_sizes": (4,), "max_iter": 2}
TABULAR = {"hidden_layer_sizes": (4,), "max_iter": 2, "members": 2}
MODELS = [
    (SequentialClassifier, SEQUENTIAL, "layers__hidden__units"),
    (SequentialRegressor, SEQUENTIAL, "optimizer__learning_rate"),
    (MLPClassifier, MLP, "alpha"),
    (MLPRegressor, MLP, "learning_rate_init"),
    (TabularClassifier, TABULAR, "members"),
    (TabularRegressor, TABULAR, "learning_rate"),
]
VALUES = {"layers__hidden__units": [2, 5], "members": [1, 2]}


def scores(kind, model, parameter):
    """Return what a search, or cross-validation, finds of two values of a parameter."""
    if kind == "cross_val_score":
        return cross_val_score(model, X, Y, cv=KFold(3))
    values = {parameter: VALUES.get(parameter, [0.01, 0.1])}
    drawn = {} if kind is GridSearchCV else {"random_state": 0}
    if "Random" in kind.__name__:
        drawn["n_iter" if kind is RandomizedSearchCV else "n_candidates"] = 2
    return kind(model, values, cv=KFold(3), **drawn).fit(X, Y).cv_results_["mean_test_score"]


SEARCHES = {
    "grid": GridSearchCV,
    "randomized": RandomizedSearchCV,
    "halving grid": HalvingGridSearchCV,
    "halving random": HalvingRandomSearchCV,
    "cross_val_score": "cross_val_score",
}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    ("make", "options", "parameter"), MODELS, ids=[model[0].__name__ for model in MODELS]
)
def test_every_search_of_every_estimator_runs_on_the_workers(
    make, options, parameter, search, client
):
    model = make(**options, random_state=0)
    alone = scores(SEARCHES[search], model, parameter)
    with client.as_current(), joblib.parallel_config(backend="dask", scatter=[X, Y]):
        found = scores(SEARCHES[search], model, parameter)
    np.testing.assert_allclose(found, alone, rtol=1e-9)
    assert np.isfinite(found).all()


class Ticking:
    """A callback that writes down CPU and wall seconds of a fit, and its process."""

    def __call__(self, state):
        pass

    def before_batch(self, state):
        if not hasattr(self, "began"):
            self.began = time.process_time(), time.perf_counter()

    def on_end(self, state):
        cpu, wall = self.began
        self.cores = (time.process_time() - cpu) / (time.perf_counter() - wall)


def cores_of_a_fit(seed):
    """Return how many cores a fit has used, one after its kernels were compiled."""
    rows = np.random.default_rng(seed).standard_normal((20_000, 64)).astype(np.float32)
    ticking = Ticking()
    model = MLPClassifier((256, 256), max_iter=3, batch_size=1000, random_state=seed)
    model.set_callbacks(ticking).fit(rows, rows[:, 0] > 0)
    return ticking.cores


def test_a_fit_on_a_worker_uses_one_core(client):
    """Products large enough that BLAS and our kernels would take all cores, if they were let."""
    with client.as_current(), joblib.parallel_config(backend="dask"):
        cores = joblib.Parallel()(joblib.delayed(cores_of_a_fit)(seed) for seed in range(2))
    assert max(cores) < 1.2


def threads():
    """Return how many threads BLAS has, and how many our own kernels would start."""
    from threadpoolctl import threadpool_info

    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(blas, default=1), os.environ.get("OMP_NUM_THREADS")


def test_a_worker_has_one_kernel_thread(client):
    for blas, wanted in client.run(threads).values():
        assert (blas, wanted) == (1, "1")


def resident():
    """Return the megabytes that this process has in memory, and had at most."""
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


def made(n_rows, n_columns):
    """Return rows that are made where they are wanted."""
    return np.random.default_rng(n_rows).standard_normal((n_rows, n_columns), np.float32)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells how much")
def test_nothing_is_gathered_and_nothing_copied():
    """0.3 GB on two workers: the client stays small, a worker has its partitions and little."""
    n_parts, n_rows, n_columns = 12, 65_536, 100
    with cluster(2) as two, distributed.Client(two, set_as_default=False) as client:
        small = fit(client, batch_size=300, max_iter=1)  # what is imported late is there
        from dask import delayed

        blocks = [
            da.from_delayed(delayed(made)(n_rows - i, n_columns), (n_rows - i, n_columns), "f4")
            for i in range(n_parts)
        ]
        x = da.concatenate(blocks)
        y = (x[:, 0] > 0).astype(np.int8)
        of_client, of_workers = resident()[0], [now for now, _ in client.run(resident).values()]
        model = MLPClassifier((8,), random_state=0, max_iter=1, batch_size=32_768)
        with data_parallel(client, sync_every=1):
            model.fit(x, y)
        peak = [most for _, most in client.run(resident).values()]
    own = n_parts * n_rows * n_columns * 4 / 2**20 / 2
    assert small.n_iter_ == model.n_iter_ == 1
    assert resident()[1] - of_client < 200
    assert all(most - before < own + 200 for most, before in zip(peak, of_workers, strict=True)), (
        peak,
        of_workers,
        own,
    )
