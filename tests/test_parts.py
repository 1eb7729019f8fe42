"""A batch in parts, in NumPy: the same result from one thread and from several."""

import os
import threading
import warnings

import numpy as np
import pytest

from layerkit import kernels
from layerkit.kernels import blas
from layerkit.kernels._numpy import parts
from layerkit.kernels._numpy.parts import WORTHWHILE, in_parts


@pytest.fixture(autouse=True)
def three(monkeypatch):
    """Three threads, whatever the machine."""
    monkeypatch.setattr(parts, "n_blas_threads", lambda: 3)


@pytest.mark.parametrize(("n", "work", "expected"), [
    (10, WORTHWHILE, [(0, 2), (2, 5), (5, 7), (7, 10)]),
    (2, WORTHWHILE, [(0, 1), (1, 2)]),
    (10, WORTHWHILE - 1, [(0, 10)]),
    (0, WORTHWHILE, [(0, 0)]),
])  # fmt: skip
def test_parts_depend_on_sizes_alone(n, work, expected):
    assert in_parts(lambda rows: (rows.start, rows.stop), n, work) == expected


def test_parts_run_side_by_side_while_blas_has_one_thread():
    together = threading.Barrier(2, timeout=60)

    def wait(rows):
        together.wait()
        return {read() for read, _ in blas._switches()}

    assert in_parts(wait, 4, WORTHWHILE) == [{1}] * 4


def test_errors_arrive_and_ignored_ones_stay_ignored():
    with pytest.raises(ZeroDivisionError):
        in_parts(lambda rows: 1 // rows.start, 4, WORTHWHILE)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        in_parts(lambda rows: np.float64(1) / np.zeros(1), 4, WORTHWHILE)


CASES = {
    "columns": ((16, 12, 12, 8), (3, 3, 8, 32), {}),
    "planar": ((32, 20, 20, 2), (5, 5, 2, 32), {}),
    "strided": ((32, 20, 20, 16), (3, 3, 16, 32), {"stride": (2, 2)}),
    "depthwise": ((64, 28, 28, 64), (3, 3, 1, 64), {"groups": 64}),
    "winograd": ((8, 12, 12, 32), (3, 3, 32, 64), {"algorithm": "winograd"}),
}


@pytest.mark.parametrize("name", CASES)
def test_convolutions_do_not_depend_on_the_number_of_threads(monkeypatch, name):
    monkeypatch.setattr(parts, "WORTHWHILE", 0)
    x_shape, kernel_shape, how = CASES[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(x_shape, np.float32)
    kernel, bias = (rng.standard_normal(shape, np.float32) for shape in (kernel_shape, (32,)))
    bias = np.resize(bias, kernel_shape[3])

    def passes():
        y = kernels.conv2d(x, kernel, bias, **how)
        dW = np.empty_like(kernel)
        kernels.conv2d_kernel_grad(x, y, dW, **how)
        return y, dW, kernels.conv2d_input_grad(y, kernel, x.shape, **how)

    with kernels.use("numpy"):
        several = passes()
        monkeypatch.undo()
        monkeypatch.setattr(parts, "WORTHWHILE", 0)
        with kernels.one_blas_thread():
            alone = passes()
        monkeypatch.setattr(parts, "PARTS", 1)
        whole = passes()
    for one, other, all_at_once in zip(several, alone, whole, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_allclose(one, all_at_once, rtol=0, atol=1e-5 * np.abs(one).max())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_has_threads_of_its_own():
    in_parts(id, 4, WORTHWHILE)
    if (child := os.fork()) == 0:
        os._exit(0 if len(in_parts(id, 4, WORTHWHILE)) == 4 else 1)
    assert os.waitpid(child, 0)[1] == 0
