"""Data larger than memory: memory maps, streams of batches, sparse rows."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from layerkit import Dense, MLPClassifier, ReLU, Sequential, SequentialClassifier, kernels
from layerkit.losses import BinaryCrossEntropy, CategoricalCrossEntropy
from layerkit.optimizers import SGD, Adam
from layerkit.training import train
from layerkit.training.batches import MappedRows, mapping_of

rng = np.random.default_rng(0)
X = rng.normal(size=(300, 6)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(int)


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


# ---------------------------------------------------------------- memory, measured

SCRIPT = """
import mmap, sys, tempfile, tracemalloc
import numpy as np, scipy.sparse
import sklearn.neural_network
import layerkit, layerkit.estimators
from layerkit import Dense, MLPClassifier, Sequential, SequentialClassifier
from layerkit.losses import BinaryCrossEntropy
from layerkit.optimizers import SGD
from layerkit.training import train

def pages_of_files():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[2])

def in_memory(name):
    with open("/proc/self/smaps") as file:
        lines = iter(file)
        return sum(int(next(rest for rest in lines if rest.startswith("Rss:")).split()[1])
                   for line in lines if line.rstrip().endswith(name)) * 1024

class Watched(mmap.mmap):  # notes how much of it is in memory each time before that may go
    pages, most, name = 0, 0, ""

    def madvise(self, *options):
        self.note()
        return super().madvise(*options)

    @classmethod
    def note(cls):
        if cls.name and (pages := pages_of_files()) > cls.pages:  # else it is no more than it was
            cls.pages, cls.most = pages, max(cls.most, in_memory(cls.name))

mmap.mmap = Watched

def learn(what, X, y):
    common = {"batch_size": 256, "random_state": 0}
    if what == "train":
        train(Sequential([Dense(8), Dense(1)]), BinaryCrossEntropy(), SGD(), (X, y[:, None]),
              epochs=1, batch_size=256, random_state=0)
    elif "stream" in what:
        batches = ((X[i : i + 256], y[i : i + 256, None]) for i in range(0, len(y), 256))
        network = Sequential([Dense(8), Dense(1)]).build(X.shape[1], random_state=0)
        train(network, BinaryCrossEntropy(), SGD(), batches, epochs=1)
    elif what == "batches":
        class Batches:
            def __iter__(self):
                for i in range(0, len(y), 256):
                    yield X[i : i + 256], y[i : i + 256]
        model = MLPClassifier((8,), max_iter=1, n_iter_no_change=np.inf, random_state=0)
        model.fit(Batches()).predict(X[:256])
    elif what == "sequential":
        model = SequentialClassifier([Dense(8)], max_iter=1, n_iter_no_change=None,
                                     early_stopping=True, **common)
        model.fit(X, y).predict(X)
    else:
        model = MLPClassifier((8,), max_iter=1, n_iter_no_change=np.inf, early_stopping=True,
                              **common)
        model.fit(X, y).predict(X)

what, megabytes, dtype = sys.argv[1], int(sys.argv[2]), np.dtype(sys.argv[3])
columns = 4096 // dtype.itemsize
rows = megabytes * 2**20 // 4096
warm = np.random.default_rng(0).normal(size=(600, columns)).astype(dtype)
learn(what, warm, np.arange(600) % 2)  # libraries, kernels and their buffers are not data
y = np.arange(rows) % 2
if what == "stream":  # rows that are made when they are asked for
    class Made:
        shape = (rows, columns)
        def __getitem__(self, rows):
            return warm[: len(range(*rows.indices(self.shape[0])))] + 0
    X = Made()
else:
    file = tempfile.NamedTemporaryFile()
    file.truncate(rows * 4096)  # a hole: reads as zeros, takes no room on the disk
    X = np.memmap(file.name, dtype, "r", shape=(rows, columns))
    Watched.name = file.name
tracemalloc.start()
learn(what, X, y)
Watched.note()
print(tracemalloc.get_traced_memory()[1] / 2**20, Watched.most / 2**20)
"""


def extra_memory(what, megabytes, dtype):
    """Megabytes that are allocated, and those of the file that are in memory, for rows of 4 kB.

    Not what the process has in memory at all: that is also up to the machine.
    """
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, what, str(megabytes), dtype]
    # Named, so that the small fit before wakes Numba as well.
    named = os.environ | {"LAYERKIT_KERNELS": kernels.backend()}
    result = subprocess.run(command, capture_output=True, text=True, env=named)
    assert result.returncode == 0, result.stderr
    return sum(map(float, result.stdout.split()[-2:]))


reads_proc = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads /proc")


slow = pytest.mark.slow


@reads_proc
@pytest.mark.parametrize(
    ("what", "megabytes", "limit"),
    [
        # An estimator has a part of the map in memory, of the same size whatever the map's.
        ("mapped stream", 256, 120),
        ("mlp", 256, 180),
        *(pytest.param(what, 1024, 120, marks=slow)
          for what in ("train", "stream", "mapped stream", "batches")),
        pytest.param("sequential", 1024, 180, marks=slow),
        pytest.param("mlp", 1024, 180, marks=slow),
        pytest.param("sequential", 4096, 500, marks=slow),  # bytes that 32 bits cannot count
    ],
)  # fmt: skip
def test_memory_is_bounded_by_the_batch(what, megabytes, limit):
    assert extra_memory(what, megabytes, "float32") < limit


@reads_proc
@pytest.mark.parametrize("what", ["sequential", pytest.param("mlp", marks=slow)])
def test_integers_in_a_map_are_converted_batch_by_batch(what):
    """All at once they would take 512 MB as float64."""
    assert extra_memory(what, 64, "uint8") < 180


# ---------------------------------------------------------------- the same result


def estimators(**changes):
    common = {"max_iter": 4, "batch_size": 32, "random_state": 0} | changes
    yield SequentialClassifier([Dense(8), ReLU()], n_iter_no_change=None, **common)
    yield MLPClassifier((8,), n_iter_no_change=np.inf, **common)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_memory_map_gives_what_the_array_gives(early_stopping, mapped):
    weight = np.arange(300) % 3  # a third of the rows is left out
    models = zip(*(estimators(early_stopping=early_stopping) for _ in range(2)), strict=True)
    for one, other in models:
        one.fit(X, Y, sample_weight=weight)
        other.fit(mapped, Y, sample_weight=weight)
        np.testing.assert_array_equal(one.network_.flat_params, other.network_.flat_params)
        np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(mapped))
        assert one.loss_curve_ == other.loss_curve_


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16])
def test_a_map_of_other_numbers_gives_what_the_array_gives(dtype, tmp_path):
    whole = (10 * np.abs(X)).astype(dtype)
    np.save(tmp_path / "X.npy", whole)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    models = zip(estimators(), estimators(), strict=True)
    searches = (MLPClassifier((8,), solver="lbfgs", max_iter=9, random_state=0) for _ in range(2))
    for one, other in (*models, tuple(searches)):
        one.fit(whole, Y)
        other.fit(mapped, Y)
        assert one.network_.dtype == other.network_.dtype
        np.testing.assert_array_equal(one.network_.flat_params, other.network_.flat_params)
        np.testing.assert_array_equal(one.predict_proba(whole), other.predict_proba(mapped))


def test_numbers_that_are_not_finite_are_found_in_a_map(tmp_path):
    spoiled = X.copy()
    spoiled[299, 5] = np.nan
    np.save(tmp_path / "X.npy", spoiled)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for model in estimators():
        with pytest.raises(ValueError, match="Input X contains NaN"):
            model.fit(mapped, Y)
        with pytest.raises(ValueError, match="Input X contains NaN"):
            model.fit(X, Y).predict(mapped)


def test_changes_to_a_private_map_are_not_lost(tmp_path):
    """A map opened with mode "c" holds changes that are in no file: its pages are kept."""
    np.save(tmp_path / "X.npy", X)
    private = np.load(tmp_path / "X.npy", mmap_mode="c")
    private += 1
    assert mapping_of(private) is None and mapping_of(private[2:]) is None
    next(estimators()).fit(private, Y)
    np.testing.assert_array_equal(private, X + 1)
    shared = np.load(tmp_path / "X.npy", mmap_mode="r+")
    shared += 1
    assert mapping_of(shared[:, 1:]) is not None
    next(estimators()).fit(shared, Y)
    np.testing.assert_array_equal(shared, X + 1)


def test_rows_of_a_map(mapped):
    rows = MappedRows(mapped, np.arange(1, 300, 2))
    np.testing.assert_array_equal(rows[10:20], X[21:41:2])
    np.testing.assert_array_equal(rows[np.array([3, 0])], X[[7, 1]])
    np.testing.assert_array_equal(np.asarray(rows, np.float64), X[1::2])
    assert rows.shape == (150, 6) and len(rows) == 150 and rows.dtype == np.float32


# ---------------------------------------------------------------- streams


class Chunks:
    """A table read piece by piece, anew for every epoch."""

    def __init__(self, path):
        self.path = path

    def __iter__(self):
        for chunk in pd.read_csv(self.path, chunksize=50):
            yield chunk.drop(columns="y"), chunk["y"]


def test_chunks_of_a_table(tmp_path):
    table = pd.DataFrame(X.astype(np.float64)).assign(y=Y)
    table.to_csv(tmp_path / "table.csv", index=False)
    networks = [Sequential([Dense(4), Dense(2)]).build(6, random_state=0) for _ in range(2)]
    for network, data in zip(networks, (Chunks(tmp_path / "table.csv"), (X, Y)), strict=True):
        train(
            network,
            CategoricalCrossEntropy(),
            Adam(0.01),
            data,
            epochs=3,
            batch_size=50,
            shuffle=False,
        )
    np.testing.assert_allclose(networks[0].flat_params, networks[1].flat_params, atol=1e-6)


def test_chunks_of_arrow(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": X[:, 0], "b": X[:, 1], "y": Y})
    batches = [
        (np.column_stack([batch["a"], batch["b"]]), np.asarray(batch["y"]))
        for batch in table.to_batches(max_chunksize=100)
    ]
    history = train(Dense(2), CategoricalCrossEntropy(), SGD(0.5), batches, epochs=10)
    assert history["loss"][-1] < history["loss"][0]


def test_partial_fit_on_chunks(tmp_path):
    for model in estimators():
        for _ in range(60):
            for rows in np.split(np.arange(300), 6):
                model.partial_fit(X[rows], Y[rows], classes=[0, 1])
        assert model.score(X, Y) > 0.9


# ---------------------------------------------------------------- sparse rows


def test_sparse_rows_are_never_made_dense(monkeypatch):
    """A table that would take 80 GB: 20,000 rows of 1,000,000 columns, 10 of them filled."""
    wide = sparse.random_array((20_000, 1_000_000), density=1e-5, format="csr", rng=1)
    wide = wide.astype(np.float32)
    y = np.arange(20_000) % 2

    def refuse(self, *args, **kwargs):
        raise AssertionError("made dense")

    for kind in (sparse.csr_array, sparse.csr_matrix):
        monkeypatch.setattr(kind, "toarray", refuse)
        monkeypatch.setattr(kind, "todense", refuse)
    network = Sequential([Dense(2), Dense(1)])
    data = (wide, y[:, np.newaxis])
    history = train(network, BinaryCrossEntropy(), SGD(), data, epochs=1, batch_size=10_000)
    assert len(history) == 1
    common = {"max_iter": 1, "batch_size": 10_000}
    for model in (
        SequentialClassifier([Dense(2)], n_iter_no_change=None, **common),
        MLPClassifier((2,), n_iter_no_change=np.inf, **common),
    ):
        assert model.fit(wide, y).predict(wide).shape == (20_000,)
        halves = [(wide[:10_000], y[:10_000]), (wide[10_000:], y[10_000:])]
        assert model.fit(halves).predict(wide[:5]).shape == (5,)
