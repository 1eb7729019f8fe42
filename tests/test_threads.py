"""A batch in parts: the same parts and order of sums, whoever computes them."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from errors import raises_exactly

pytest.importorskip("numba")

from layerkit import kernels
from layerkit.kernels import parts
from layerkit.kernels._numba import recurrent, threads, work_queue
from layerkit.kernels._numba.compile import jit

WORK = 1e9


@pytest.fixture(autouse=True)
def three(monkeypatch):
    """Three threads on three processors, whatever the machine."""
    have(3, monkeypatch.setattr)
    threads._pool.cache_clear()
    yield
    threads._pool.cache_clear()


def have(n, setattr=setattr):
    """Let there be so many threads on so many processors."""
    setattr(threads, "n_threads", lambda: n)
    setattr(parts, "n_processors", lambda: n)


@jit
def note(rows, found, begun, awaited):
    """Note the part's rows, and wait until so many parts have begun."""
    found[0], found[1] = rows[0], rows[-1] + 1
    work_queue.atomic_add(begun, 0, 1)
    while work_queue.atomic_read(begun, 0) < awaited:
        work_queue.give_way()


def parts_of(n_rows, n_parts, awaited=0, begun=None):
    """Return the rows of each part; with ``awaited`` it ends only if they run side by side."""
    found = np.zeros((n_parts, 2), np.int64)
    begun = np.zeros(1, np.int64) if begun is None else begun
    threads.in_parts(note, (np.arange(n_rows),), (begun, awaited), (found,), multiply_adds=WORK)
    return found.tolist()


def test_parts_cover_the_batch_in_order():
    assert parts_of(10, 3) == [[0, 3], [3, 6], [6, 10]]


def test_there_are_no_more_parts_than_samples_and_one_for_little_work():
    assert parts_of(2, 2) == [[0, 1], [1, 2]]
    assert parts.n_parts(10, 100.0, 1e6) == 1
    assert parts.n_parts(10, 2.5e6, 1e6) == 2
    assert parts.n_parts(0, 0.0, 1e6) == 1


def sleep(workers):
    """Wait until they sleep."""
    while not all(worker._asleep for worker in workers):
        time.sleep(0.001)


def test_parts_run_side_by_side_on_workers_that_were_asleep():
    """Each part waits for the other two: a deadlock, if they ran one after the other."""
    run(
        "import test_threads as t; t.have(3); t.parts_of(6, 3)\n"
        "for _ in range(5):\n"
        "    t.sleep(t.threads._pool()[1])\n"
        "    assert t.parts_of(6, 3, awaited=3) == [[0, 2], [2, 4], [4, 6]]"
    )


def test_nobody_waits_for_workers_that_sleep(monkeypatch):
    parts_of(6, 3)
    sleep(threads._pool()[1])
    monkeypatch.setattr(threads.Worker, "wake", lambda worker: None)
    assert parts_of(6, 3) == [[0, 2], [2, 4], [4, 6]]


def test_ctrl_c_while_workers_are_woken_leaves_the_queue_to_others(monkeypatch):
    def interrupted(worker):
        raise KeyboardInterrupt

    monkeypatch.setattr(threads.Worker, "wake", interrupted)
    with pytest.raises(KeyboardInterrupt):
        parts_of(6, 3)
    assert not threads._pool()[2].locked()


def run(program):
    """Run a program in a process of its own, beside these tests."""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=os.path.dirname(__file__))


def test_work_from_several_threads_has_the_same_parts():
    found = []
    callers = [
        threading.Thread(target=lambda: found.extend(parts_of(10, 3) for _ in range(200)))
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found == [[[0, 3], [3, 6], [6, 10]]] * 800


@jit
def too_much(rows, kept):
    """Ask for more memory than there is, in the part that has the last row."""
    if rows[-1] == 9:
        kept[0] = np.empty(1 << 60, np.int8)[0]


def test_a_part_without_memory_is_an_error_when_all_are_done():
    with raises_exactly(MemoryError, "too_much: no memory for a part of 10 samples"):
        threads.in_parts(too_much, (np.arange(10),), (np.zeros(1),), multiply_adds=WORK)
    assert parts_of(10, 3) == [[0, 3], [3, 6], [6, 10]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_a_pool_of_its_own():
    run(
        "import os, test_threads as t; t.have(2)\n"
        "work = lambda: t.parts_of(4, 2)\n"
        "assert work() == [[0, 2], [2, 4]]\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0 if work() == [[0, 2], [2, 4]] else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0"
    )


def test_a_process_may_end_while_its_workers_look_for_work():
    for _ in range(5):
        run("import test_threads as t; t.have(3); t.parts_of(6, 3)")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not Linux")
def test_workers_may_run_wherever_the_caller_may():
    ours = os.sched_getaffinity(0)
    for _ in range(3):
        parts_of(6, 3)
        sleep(threads._pool()[1])
    for worker in threads._pool()[1]:
        assert os.sched_getaffinity(worker._thread.native_id) == ours


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
    ours, theirs = list(passes("numba")), list(passes("numpy"))  # one after the other
    for found, expected in zip(ours, theirs, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)


def test_kernels_in_parts_repeat_themselves():
    for once, again in zip(list(passes("numba")), list(passes("numba")), strict=True):
        np.testing.assert_array_equal(once, again)


# Of each step how many sequences are not over yet.
SIZES = [
    [3],
    [7] * 4,
    [9, 8],
    [9, 3, 3],
    [9, 9, 9, 1],
    [40, 3, 3, 3, 1],
    [6, 5, 4, 3, 2, 1],
    [3, *[1] * 30],
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_sequences_in_parts_leave_out_none_and_share_the_steps(sizes, n):
    sizes = np.array(sizes)
    bounds = recurrent._bounds(sizes, n)
    assert bounds.shape == (n, 2)
    assert bounds[0, 0] == 0 and bounds[-1, 1] == sizes[0]
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
    steps = [np.clip(sizes - first, 0, stop - first).sum() for first, stop in bounds]
    assert max(steps) <= sizes.sum() / n + len(sizes)  # that of a sequence more, at most


def cells(backend, sizes):
    """The results of every step loop and its backward, of three units."""
    rng = np.random.default_rng(0)
    n, n_states = sum(sizes), sum(sizes) + sizes[0]

    def numbers(*shape):
        return rng.uniform(-1, 1, shape)

    sizes = np.array(sizes)
    with kernels.use(backend):
        for relu in (False, True):
            h, grad, U = numbers(n_states, 3), numbers(n_states, 3), numbers(3, 3)
            kernels.simple_rnn(numbers(n, 3), U, h, sizes, relu)
            yield from (h, kernels.simple_rnn_grad(grad, h, U, sizes, relu), grad)
        z, h, c, grad, U = (
            *(numbers(m, k) for m, k in ((n, 12), *[(n_states, 3)] * 3)),
            numbers(3, 12),
        )
        tanh_c = kernels.lstm(z, U, h, c, sizes)
        yield from (z, h, c, tanh_c)
        yield from (kernels.lstm_grad(grad, z, tanh_c, numbers(n, 3), U, sizes), grad)
        z, h, grad, U = numbers(n, 9), numbers(n_states, 3), numbers(n_states, 3), numbers(3, 9)
        candidate = kernels.gru(z, U, numbers(3), h, sizes)
        yield from (z, h, candidate)
        yield from (*kernels.gru_grad(grad, z, candidate, numbers(n, 3), U, sizes), grad)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_recurrent_layers_in_parts_agree_with_numpy(monkeypatch, sizes):
    for module in (recurrent, threads):
        monkeypatch.setattr(module, "WORTHWHILE", 1.0)
    cut = []
    in_parts = threads.in_parts
    monkeypatch.setattr(
        recurrent, "in_parts", lambda *a, **k: cut.append(len(a[1][0])) or in_parts(*a, **k)
    )
    ours, theirs = list(cells("numba", sizes)), list(cells("numpy", sizes))  # one after the other
    for found, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    assert set(cut) == {3}
