"""BLAS gets back the threads that it had."""

import subprocess
import sys
import threading
from typing import ClassVar

import numpy as np
import pytest

from layerkit import (
    Conv2D,
    Dense,
    Flatten,
    MLPClassifier,
    Sequential,
    SequentialClassifier,
    kernels,
)
from layerkit.fused import planning
from layerkit.kernels import blas, one_blas_thread
from layerkit.losses import CategoricalCrossEntropy
from layerkit.optimizers import SGD
from layerkit.training import train

threadpoolctl = pytest.importorskip("threadpoolctl")


def threads():
    libraries = threadpoolctl.ThreadpoolController().select(user_api="blas").info()
    return [library["num_threads"] for library in libraries]


@pytest.fixture(autouse=True)
def several():
    """More than one thread to begin with, whatever the machine."""
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        yield


def test_it_holds_and_ends():
    before = threads()
    with one_blas_thread():
        assert threads() == [1] * len(before)
        with one_blas_thread():
            assert threads() == [1] * len(before)
        assert threads() == [1] * len(before)
    assert threads() == before


def test_it_ends_after_an_error_too():
    before = threads()
    with pytest.raises(RuntimeError, match="halfway"), one_blas_thread():
        raise RuntimeError("halfway")
    assert threads() == before


def test_ctrl_c_on_the_way_in_changes_nothing(monkeypatch):
    def interrupted(n):
        raise KeyboardInterrupt

    before = threads()
    real = blas._switches()
    monkeypatch.setattr(blas, "_switches", lambda: [*real, (lambda: 1, interrupted)])
    with pytest.raises(KeyboardInterrupt), one_blas_thread():
        pass
    monkeypatch.undo()
    assert threads() == before
    with one_blas_thread():
        assert threads() == [1] * len(before)


def test_a_thread_that_comes_second_changes_nothing():
    before, entered, leave = threads(), threading.Event(), threading.Event()

    def stay():
        with one_blas_thread():
            entered.set()
            leave.wait()

    other = threading.Thread(target=stay, daemon=True)
    with one_blas_thread():
        other.start()
        entered.wait()
        assert threads() == [1] * len(before)
    assert threads() == before
    leave.set()
    other.join()
    assert threads() == before
    with one_blas_thread():
        assert threads() == [1] * len(before)


OTHER = """
import threading
import numpy as np, threadpoolctl
from layerkit.kernels import blas, one_blas_thread

def limit():
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        controller = threadpoolctl.ThreadpoolController().select(user_api="blas")
        print({library["num_threads"] for library in controller.info()})

with one_blas_thread():
    pass
other = threading.Thread(target=limit)
other.start()
other.join()
"""


def test_other_threads_may_set_their_number_afterwards():
    found = subprocess.run([sys.executable, "-c", OTHER], capture_output=True, text=True)
    assert found.stdout.split() == ["{3}"], found.stderr


def images():
    rng = np.random.default_rng(0)
    return rng.standard_normal((8, 5, 5, 1), dtype=np.float32), np.arange(8) % 2


class Watch(Dense):
    """A layer that notes how many threads BLAS has meanwhile."""

    seen: ClassVar[set] = set()

    def forward(self, x, training=False):
        self.seen.update(threads())
        return super().forward(x, training)


@pytest.mark.parametrize(
    ("backend", "body", "expected"),
    [
        ("numba", [Conv2D(2, 3), Flatten()], 1),
        ("numba", [Sequential([Conv2D(2, 3)]), Flatten()], 1),
        ("numba", [Flatten()], 3),
        ("numpy", [Conv2D(2, 3), Flatten()], 1),
        ("numpy", [Flatten()], 3),
    ],
)
def test_training_and_prediction_of_convolutions_leave_blas_one(
    backend, body, expected, monkeypatch
):
    monkeypatch.setattr(planning, "ALONE", 0)  # no product is small
    if backend == "numba":
        pytest.importorskip("numba")
    X, y = images()
    with kernels.use(backend):
        Watch.seen = set()
        network = Sequential([*body, Watch(2)])
        train(network, CategoricalCrossEntropy(), SGD(), (X, y), epochs=1, random_state=0)
        assert Watch.seen == {expected}
        model = SequentialClassifier([*body, Watch(3)], max_iter=1, random_state=0)
        model.set_params(n_iter_no_change=None).fit(X, y)
        Watch.seen = set()
        model.predict(X)
        assert Watch.seen == {expected}
    assert set(threads()) == {3}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("units", "rows", "how", "alone"),
    [
        (10, 200, {}, True),
        (2000, 400, {"batch_size": 400}, False),
        (2000, 400, {"batch_size": 2}, True),
        (100, 2000, {"solver": "lbfgs"}, False),
        (100, 2000, {}, True),
    ],
)
def test_a_fit_of_small_products_takes_one_thread(units, rows, how, alone):
    seen = []
    model = MLPClassifier((units,), max_iter=1, **how)
    model.set_callbacks(lambda state: seen.append(threads()))
    X, before = np.ones((rows, 30)), threads()
    model.fit(X, np.arange(rows) % 2)
    assert seen == [[1] * len(before) if alone else before]
    assert threads() == before
