"""Dask's workers as processes: their number, their death, their memory, searches on them."""

import os
import signal
import threading
import time
import tracemalloc

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
from layerkit.distributed.partitions import Partitions
from layerkit.distributed.workers import Workers

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


def kill_one(client, after):
    """Kill a worker in so many seconds, in a thread that is returned."""
    pid = next(iter(client.run(os.getpid).values()))
    killing = threading.Timer(after, os.kill, (pid, signal.SIGKILL))
    killing.start()
    return killing


class KillWorker:
    """A callback that kills a worker some milliseconds after a step, before the next one ends."""

    def __init__(self, client, after):
        self.client, self.after, self.steps = client, after, 0
        self.killing = threading.Thread()

    def __call__(self, state):
        pass

    def on_batch(self, state):
        self.steps += 1
        if self.killing.is_alive():
            self.killing.join()
        if self.steps == self.after:
            self.killing = kill_one(self.client, rng.random() / 30)


@pytest.mark.parametrize("n_workers", [1, 3, 4])
def test_any_number_of_processes_is_one(n_workers):
    with cluster(n_workers) as several, distributed.Client(several, set_as_default=False) as client:
        for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
            one = MLPClassifier((8,), random_state=0, max_iter=5, batch_size=100)
            one.fit(X.astype(dtype), Y)
            many = fit(client, dtype=dtype)
            assert many.history_["workers"].tolist() == [n_workers] * 5
            np.testing.assert_allclose(
                many.network_.flat_params, one.network_.flat_params, rtol=0, atol=tolerance
            )


@pytest.mark.parametrize("sync_every", [1, 3])
@pytest.mark.parametrize("after", [1, 2, 4, 6, 8])
def test_a_killed_worker_is_survived(after, sync_every, client):
    client.wait_for_workers(2, timeout=300)
    wanted = fit(client, sync_every)
    client.wait_for_workers(2, timeout=300)
    found = fit(client, sync_every, KillWorker(client, after))
    if sync_every == 1:
        np.testing.assert_allclose(
            found.network_.flat_params, wanted.network_.flat_params, rtol=0, atol=1e-12
        )
    else:
        assert np.isfinite(found.network_.flat_params).all() and len(found.history_) == 5
    history = found.history_
    assert history["repeated"].any() or (history["workers"] < 2).any() or after > 5


def test_the_death_of_all_workers_at_once_is_survived():
    with cluster(2) as two, distributed.Client(two, set_as_default=False) as client:
        wanted = fit(client)
        client.wait_for_workers(2, timeout=300)
        pids = client.run(os.getpid).values()
        steps = []

        def kill_all(state):
            steps.append(state.step)
            if len(steps) == 2:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)

        found = fit(client, callback=kill_all)
    np.testing.assert_allclose(
        found.network_.flat_params, wanted.network_.flat_params, rtol=0, atol=1e-12
    )


def kill_in(phase, client, monkeypatch):
    """Let a worker be killed when a fit is in a phase, once."""
    home, name = {
        "the first pass": (Partitions, "each"),
        "placing": (Partitions, "place"),
        "validation": (Workers, "infer_all"),
        "the last round": (Workers, "_together"),
    }[phase]
    original, calls = getattr(home, name), []

    def disturbed(*args):
        calls.append(phase)
        if len(calls) == (30 if phase == "the last round" else 1):
            kill_one(client, 0.01)
        return original(*args)

    monkeypatch.setattr(home, name, disturbed)


@pytest.mark.parametrize("phase", ["the first pass", "placing", "validation", "the last round"])
def test_a_worker_may_be_killed_in_any_phase(phase, client, monkeypatch):
    """Of 30 rounds: 480 rows to learn from in batches of 80, five epochs."""
    options = {"early_stopping": True, "validation_fraction": 0.2, "batch_size": 80}
    client.wait_for_workers(2, timeout=300)
    wanted = fit(client, **options)
    client.wait_for_workers(2, timeout=300)
    with monkeypatch.context() as patched:
        kill_in(phase, client, patched)
        found = fit(client, **options)
    np.testing.assert_allclose(
        found.network_.flat_params, wanted.network_.flat_params, rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(found.validation_scores_, wanted.validation_scores_, rtol=1e-12)


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


@pytest.fixture(scope="module")
def rows_on_workers(client):
    """Hold X and Y there: Dask names data by content, and forgets them when joblib lets go.

    A search that begins at that moment would find them and then lose them.
    """
    client.wait_for_workers(2, timeout=300)
    return client.scatter([X, Y], broadcast=True)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    ("make", "options", "parameter"), MODELS, ids=[model[0].__name__ for model in MODELS]
)
def test_every_search_of_every_estimator_runs_on_the_workers(
    make, options, parameter, search, client, rows_on_workers
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


def made(n_rows, n_columns):
    """Return rows that are made where they are wanted."""
    return np.random.default_rng(n_rows).standard_normal((n_rows, n_columns), np.float32)


def collections_of(n_parts, n_rows, n_columns):
    """Return X of partitions that are made on the workers, y, and the megabytes of X."""
    sizes = [n_rows - i for i in range(n_parts)]
    rows = [dask.delayed(made)(n, n_columns) for n in sizes]
    blocks = [da.from_delayed(r, (n, n_columns), "f4") for r, n in zip(rows, sizes, strict=True)]
    x = da.concatenate(blocks)
    return x, (x[:, 0] > 0).astype(np.int8), sum(sizes) * n_columns * 4 / 2**20


def count_from_here():
    """Let this process count the memory that it allocates."""
    tracemalloc.start()


def most_allocated():
    """Return the megabytes that this process had allocated at most since then."""
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return peak


def sent(dask_worker):
    """Return the megabytes that a worker has sent to the client and to others."""
    return dask_worker.transfer_outgoing_bytes_total / 2**20


@pytest.fixture
def two():
    """Two processes whose partitions stay where they were put."""
    with (
        dask.config.set({"distributed.scheduler.work-stealing": False}),
        cluster(2) as two,
        distributed.Client(two, set_as_default=False) as client,
    ):
        yield client


def test_nothing_is_gathered_and_nothing_copied(two):
    """0.3 GB on two workers: the client stays small, a worker has its partitions and little.

    What is allocated and what is sent is counted, whatever the machine does with its pages.
    """
    fit(two, batch_size=300, max_iter=1)  # what is imported late is there
    x, y, size = collections_of(12, 65_536, 100)
    two.run(count_from_here)
    before = sum(two.run(sent).values())
    count_from_here()
    model = MLPClassifier((8,), random_state=0, max_iter=1, batch_size=32_768)
    with data_parallel(two, sync_every=1):
        model.fit(x, y)
    of_client, of_workers = most_allocated(), two.run(most_allocated)
    assert sum(two.run(sent).values()) - before < 10
    assert of_client < 100
    assert max(of_workers.values()) < size / 2 + 200, (of_workers, size)


def test_a_table_is_not_gathered_either(two):
    """Summaries, some rows for initial values, and outputs for held-out rows come to the client."""
    x, y, size = collections_of(6, 200_000, 20)
    options = {"hidden_layer_sizes": (8,), "max_iter": 1, "batch_size": 8192, "random_state": 0}
    two.run(count_from_here)
    with data_parallel(two):
        model = TabularClassifier(members=1, embedding="none", **options).fit(x, y)
    assert model.histories_[0]["workers"].tolist() == [2]
    assert sum(two.run(sent).values()) < size / 4
    # the rows, and in their place features as large
    assert max(two.run(most_allocated).values()) < size + 200
