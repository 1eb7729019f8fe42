"""A batch in parts: the same parts and order of sums, whoever computes them."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("numba")

from layerkit import kernels
from layerkit.kernels._numba import threads

WORK = 1e9


@pytest.fixture(autouse=True)
def three(monkeypatch):
    """Three threads, whatever the machine."""
    monkeypatch.setattr(threads, "n_threads", lambda: 3)
    threads._team.cache_clear()
    yield
    threads._team.cache_clear()


def test_parts_cover_the_batch_in_order_on_different_threads():
    barrier = threading.Barrier(3, timeout=10)  # all three are at work at the same time

    def part(rows):
        barrier.wait()
        return rows, threading.get_ident()

    parts = threads.in_parts(part, 10, WORK)
    assert [rows for rows, _ in parts] == [slice(0, 3), slice(3, 6), slice(6, 10)]
    assert len({ident for _, ident in parts}) == 3


def test_little_work_stays_together():
    assert threads.in_parts(lambda rows: rows, 10, 100.0) == [slice(None)]


def test_there_are_no_more_parts_than_samples():
    assert threads.in_parts(lambda rows: rows, 2, WORK) == [slice(0, 1), slice(1, 2)]


def test_work_inside_of_work_and_from_other_threads_has_the_same_parts():
    def outer(rows):
        return threads.in_parts(lambda inner: (inner, threading.get_ident()), 6, WORK)

    for inside in threads.in_parts(outer, 3, WORK):
        assert [rows for rows, _ in inside] == [slice(0, 2), slice(2, 4), slice(4, 6)]
        assert len({ident for _, ident in inside}) == 1


@pytest.mark.parametrize("broken", [0, 4, 9])
def test_an_error_in_a_part_is_raised_when_all_are_done(broken):
    finished = []

    def part(rows):
        if rows.start <= broken < rows.stop:
            raise FloatingPointError("here")
        finished.append(rows)

    with pytest.raises(FloatingPointError, match="here"):
        threads.in_parts(part, 10, WORK)
    assert len(finished) == 2
    assert threads.in_parts(lambda rows: rows.stop, 10, WORK) == [3, 6, 10]


def test_ctrl_c_while_waiting_leaves_nothing_of_the_interrupted_work(monkeypatch):
    wait, hold = threads.Worker.wait, threading.Event()

    def interrupted(worker):
        raise KeyboardInterrupt

    monkeypatch.setattr(threads.Worker, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        threads.in_parts(lambda rows: rows.start and hold.wait(10), 10, WORK)
    monkeypatch.setattr(threads.Worker, "wait", wait)
    assert threads.in_parts(lambda rows: rows.stop, 10, WORK) == [3, 6, 10]
    hold.set()
    assert threads.in_parts(lambda rows: rows.stop, 10, WORK) == [3, 6, 10]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_a_team_of_its_own():
    program = (
        "import os; from layerkit.kernels._numba import threads; threads.n_threads = lambda: 2\n"
        "work = lambda: threads.in_parts(lambda rows: rows.stop, 4, 1e9)\n"
        "assert work() == [2, 4]\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0 if work() == [2, 4] else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def passes(backend):
    """Everything that is cut into parts, on arrays that are long enough for it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 16, 16, 128), dtype=np.float32)
    grad = rng.standard_normal(x.shape, dtype=np.float32)
    gamma, beta, sums, more = (rng.standard_normal(128, dtype=np.float32) for _ in range(4))
    window = (2, 2), (2, 2)
    with kernels.use(backend):
        y, mean, inv_std, var = kernels.batch_norm(x, gamma, beta, 1e-5)
        yield from (y, mean, inv_std, var)
        yield kernels.batch_norm_grad(grad, x, mean, inv_std, gamma, sums, more)
        yield from (sums.copy(), more.copy())
        y, x_hat, inv_std = kernels.layer_norm(x, gamma, beta, 1e-5)
        yield from (y, x_hat, inv_std)
        yield kernels.layer_norm_grad(grad, x_hat, inv_std, gamma, sums, more)
        y, argmax = kernels.max_pool2d(x, *window)
        yield from (y, argmax, kernels.max_pool2d_input_grad(y, argmax, x.shape, *window))
        y = kernels.avg_pool2d(x, *window)
        yield from (y, kernels.avg_pool2d_input_grad(y, x.shape, *window))
        yield from (kernels.relu(x), kernels.gelu(x)[0], kernels.tanh_grad(grad, x))
        yield kernels.mean_of_cells(x.reshape(32, 256, 128))
        rows = x.reshape(-1, 128).copy()
        kernels.add_row(rows, gamma)
        kernels.sum_rows(rows, sums)
        yield from (rows, sums)
        params, m, v = x.ravel().copy(), np.zeros(x.size, x.dtype), np.zeros(x.size, x.dtype)
        kernels.adam_step(params, grad.ravel(), m, v, 1e-3, 0.9, 0.999, 1e-8, 1)
        kernels.shrink(params, 0.5)
        yield from (params, m, v)


def test_kernels_in_parts_agree_with_numpy():
    for ours, expected in zip(passes("numba"), passes("numpy"), strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5 * scale)


def test_kernels_in_parts_repeat_themselves():
    for once, again in zip(passes("numba"), passes("numba"), strict=True):
        np.testing.assert_array_equal(once, again)
