"""One model in many threads and processes: the same predictions everywhere, to the last bit."""

import multiprocessing
import pickle
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from sklearn.datasets import make_classification

from layerkit import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    SequentialClassifier,
)
from layerkit.interchange import load, save

X, Y = make_classification(64, 36, n_informative=6, n_classes=3, random_state=0)
IMAGES = X.reshape(-1, 6, 6, 1).astype(np.float32)
THREADS = 8


@pytest.fixture(scope="module")
def table_model():
    layers = [Dense(16), BatchNorm(), ReLU(), Dropout(0.3), Residual(Dense(16))]
    return SequentialClassifier(layers, max_iter=2, n_iter_no_change=None, random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def image_model():
    layers = [Conv2D(4, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2D(2), Flatten()]
    model = SequentialClassifier(layers, max_iter=2, n_iter_no_change=None, random_state=0)
    return model.fit(IMAGES, Y)


def predict(model, X):
    """What a worker runs; at module level, for spawn."""
    return model.predict_proba(X)


def predict_from_file(path, X):
    return load(path).predict_proba(X)


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("calls", [60, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["table_model", "image_model"])
def test_threads_share_a_model_while_another_pickles_it(name, calls, request, tmp_path):
    model = request.getfixturevalue(name)
    rows = IMAGES if name == "image_model" else X
    batches = [rows[i : i + 1 + 5 * i] for i in range(THREADS)]  # each thread has its own shape
    expected = [model.predict_proba(batch) for batch in batches]
    start, done, pickles = threading.Barrier(THREADS + 1), threading.Event(), []

    def work(number):
        start.wait()
        return sum(
            not np.array_equal(model.predict_proba(batches[number]), expected[number])
            for _ in range(calls)
        )

    def pickle_it():
        start.wait()
        while not (done.is_set() and pickles):  # once at least, whoever is given the processor
            pickles.append(pickle.dumps(model))
            save(model, tmp_path / "model.npz")
            assert len(pickles[-1]) < 200_000  # no caches in it

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # many more chances to get in each other's way
    try:
        with ThreadPoolExecutor(THREADS + 1) as pool:
            pickling = pool.submit(pickle_it)
            wrong = list(pool.map(work, range(THREADS)))
            done.set()
            pickling.result()
    finally:
        sys.setswitchinterval(before)
    assert wrong == [0] * THREADS
    for copy in (pickle.loads(pickles[0]), pickle.loads(pickles[-1]), load(tmp_path / "model.npz")):
        np.testing.assert_array_equal(copy.predict_proba(batches[-1]), expected[-1])


# ---------------------------------------------------------------- processes


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_predict_the_same(method, table_model, image_model, tmp_path):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    save(table_model, tmp_path / "model.npz")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        tables = list(pool.map(predict, [table_model] * 3, [X[:20], X[20:], X]))
        images = pool.submit(predict, image_model, IMAGES).result()
        from_file = pool.submit(predict_from_file, tmp_path / "model.npz", X).result()
    for found, rows in zip(tables, (X[:20], X[20:], X), strict=True):
        np.testing.assert_array_equal(found, table_model.predict_proba(rows))
    np.testing.assert_array_equal(images, image_model.predict_proba(IMAGES))
    np.testing.assert_array_equal(from_file, table_model.predict_proba(X))


def test_loky_workers_with_memory_mapped_models(table_model):
    """joblib hands large arrays over as read-only memory maps."""
    parallel = joblib.Parallel(n_jobs=2, max_nbytes=1)
    found = parallel(joblib.delayed(predict)(table_model, rows) for rows in (X[:30], X[30:]))
    np.testing.assert_array_equal(found[0], table_model.predict_proba(X[:30]))
    np.testing.assert_array_equal(found[1], table_model.predict_proba(X[30:]))


def test_training_in_workers_gives_the_same_weights():
    def fit(seed):
        return SequentialClassifier(
            [Dense(8), Dropout(0.3)], max_iter=3, n_iter_no_change=None, random_state=seed
        ).fit(X, Y)

    here = [fit(seed).network_.flat_params for seed in (0, 1)]
    there = joblib.Parallel(n_jobs=2)(joblib.delayed(fit)(seed) for seed in (0, 1))
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other.network_.flat_params)


def test_models_that_joblib_maps_from_a_file(table_model, image_model, tmp_path):
    for model, rows in ((table_model, X), (image_model, IMAGES)):
        joblib.dump(model, tmp_path / "model.joblib")
        mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
        np.testing.assert_array_equal(mapped.predict_proba(rows), model.predict_proba(rows))
        mapped.set_params(warm_start=True).fit(rows, Y)  # its own copy of the weights
        np.testing.assert_array_equal(
            joblib.load(tmp_path / "model.joblib").predict_proba(rows), model.predict_proba(rows)
        )


def test_read_only_rows_predict(table_model):
    rows = X.copy()
    rows.flags.writeable = False
    np.testing.assert_array_equal(table_model.predict_proba(rows), table_model.predict_proba(X))


def test_a_network_in_a_sequential_shared_by_threads_while_it_has_a_cache():
    """`infer` neither reads nor writes what `forward` left for `backward`."""
    network = Sequential([Dense(8), ReLU(), Dense(2)]).build(36, random_state=0)
    y = network.forward(X, training=True)
    network.backward(np.ones_like(y))
    expected = network.flat_grads.copy()
    y = network.forward(X, training=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(network.infer, [X[:i] for i in range(1, 30)]))
    network.backward(np.ones_like(y))
    np.testing.assert_array_equal(network.flat_grads, expected)
