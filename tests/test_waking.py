"""Numba is woken by what is large enough, and by nothing else."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from errors import raises_exactly
from scipy.sparse import csr_array

import layerkit
from layerkit import Conv2D, Dense, MLPClassifier, Sequential, SequentialClassifier, kernels
from layerkit.__main__ import main
from layerkit.fused import work_of
from layerkit.kernels import dispatch
from layerkit.sequences import Sequences


def fresh(code, **variables):
    env = {name: value for name, value in os.environ.items() if name != dispatch.VARIABLE}
    return subprocess.check_output(
        [sys.executable, "-c", code],
        env={**env, **variables},
        text=True,
        cwd=Path(layerkit.__file__).parents[1],
    )


@pytest.fixture
def automatic(monkeypatch):
    """Neither `use` nor the environment has chosen, and Numba is there."""
    monkeypatch.delenv(dispatch.VARIABLE, raising=False)
    monkeypatch.setattr(dispatch, "_chosen", None)
    monkeypatch.setattr(dispatch, "_default", lambda: "numba")
    dispatch._running.clear()
    yield
    dispatch._running.clear()


SMALL_FITS = """
import sys, warnings
import numpy as np
from layerkit import *
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, images = rng.standard_normal((60, 4)), rng.standard_normal((20, 6, 6, 1))
y = np.arange(60) % 3
for model in (MLPClassifier(max_iter=5), MLPClassifier(solver="lbfgs", max_iter=5),
              MLPClassifier(activation="tanh", early_stopping=True, max_iter=5),
              SequentialClassifier([Dense(8), BatchNorm(), GELU(), Dropout(0.2)], max_iter=5)):
    model.fit(X, y)
    for answer in (model.predict, model.predict_proba, model.predict_log_proba, model.transform):
        answer(X)
    model.score(X, y)
SequentialClassifier([Conv2D(2, 3), ReLU(), Flatten()], max_iter=2).fit(images, y[:20])
MLPRegressor(max_iter=5).fit(X, y).predict(X)
MLPClassifier().partial_fit(X, y, classes=[0, 1, 2])
print("numba" in sys.modules)
"""


def test_small_fits_and_predictions_leave_numba_asleep():
    assert fresh(SMALL_FITS) == "False\n"


def test_who_asks_for_numba_gets_it_whatever_the_size():
    pytest.importorskip("numba")
    few = SMALL_FITS[: SMALL_FITS.index("for model")] + "MLPClassifier(max_iter=2).fit(X, y)\n"
    assert fresh(few + "print('numba' in sys.modules)", LAYERKIT_KERNELS="numba") == "True\n"


def test_sizes_choose_unless_somebody_has_chosen(automatic, monkeypatch):
    small, large = dispatch.WORTH_WAKING - 1, dispatch.WORTH_WAKING
    assert kernels.backend() == "numba"
    with kernels.for_work(small):
        assert kernels.backend() == "numpy"
        with kernels.for_work(large):
            assert kernels.backend() == "numba"
        assert kernels.backend() == "numpy"
    assert kernels.backend() == "numba"
    monkeypatch.setattr(dispatch, "_chosen", "numba")
    with kernels.for_work(small):
        assert kernels.backend() == "numba"
    monkeypatch.setattr(dispatch, "_chosen", None)
    monkeypatch.setenv(dispatch.VARIABLE, "numba")
    with kernels.for_work(small):
        assert kernels.backend() == "numba"


def test_a_small_fit_in_one_thread_leaves_others_alone(automatic):
    with kernels.for_work(0), ThreadPoolExecutor(1) as pool:
        assert pool.submit(kernels.backend).result() == "numba"
        assert kernels.backend() == "numpy"


def test_an_error_leaves_the_choice_as_it_was(automatic):
    with pytest.raises(ZeroDivisionError), kernels.for_work(0):
        raise ZeroDivisionError
    assert kernels.backend() == "numba"


@pytest.mark.parametrize(
    ("rows", "epochs", "expected"),
    [(50, 3, "numpy"), (150, 20, "numpy"), (150, 200, "numba"), (50_000, 20, "numba")],
)
def test_a_fit_is_measured_by_steps_and_sizes(automatic, monkeypatch, rows, epochs, expected):
    class Done(Exception):
        pass

    def look(*_, **__):
        seen.append(kernels.backend())
        raise Done

    seen = []
    monkeypatch.setattr("layerkit.estimators.learning.train", look)
    X, y = np.zeros((rows, 20)), np.arange(rows) % 2
    with pytest.raises(Done):
        MLPClassifier((50,), max_iter=epochs).fit(X, y)
    assert seen == [expected]


def test_batches_are_measured_by_all_their_rows(automatic, monkeypatch):
    pytest.importorskip("numba")

    def measure(multiply_adds):
        seen.append(multiply_adds)
        return nullcontext()

    seen = []
    monkeypatch.setattr("layerkit.estimators.learning.for_work", measure)
    batches = [(np.zeros((6, 4)), np.arange(6) % 2)] * 5
    SequentialClassifier([Dense(3)], max_iter=7, n_iter_no_change=None).fit(batches)
    assert seen == [7 * (3 * 30 * (4 * 3 + 3) + 6e6)]


@pytest.mark.parametrize(
    ("network", "shape", "X", "expected"),
    [
        (Dense(5), (4,), np.zeros((10, 4)), 10 * 20),
        (Dense(5), (7, 4), np.zeros((10, 7, 4)), 10 * 7 * 20),
        (Conv2D(3, 3), (6, 6, 2), np.zeros((10, 6, 6, 2)), 10 * 16 * 54),
        (Sequential([Dense(5), Dense(2)]), (4,), csr_array((10, 4)), 10 * (20 + 10)),
        (Dense(5), (None, 4), np.zeros((10, 7, 4)), 10 * 7 * 20),
        (Dense(5), (None, 4), Sequences([np.zeros((2, 4)), np.zeros((3, 4))]), 5 * 20),
    ],
)
def test_work_is_products_at_every_position(network, shape, X, expected):
    assert work_of(network.build(shape, random_state=0), X) == expected


def test_the_warmup_command_says_what_it_does_and_where_it_keeps_it(monkeypatch, capsys, tmp_path):
    pytest.importorskip("numba")
    done = []
    monkeypatch.setattr(kernels, "warmup", done.append)
    monkeypatch.setattr(kernels, "use", lambda backend: done.append(backend))
    main(["warmup"])
    assert done == ["numba", "float32", "float64"]
    said = capsys.readouterr().out
    assert "1 of 2" in said and "2 of 2" in said and "kept in /" in said


def test_without_numba_the_warmup_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("layerkit.__main__.find_spec", lambda name: None)
    with raises_exactly(
        SystemExit, "nothing to compile: pip install 'layerkit[fast]' installs Numba"
    ):
        main(["warmup"])
