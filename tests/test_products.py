"""Large products: cut up among the processors, the same numbers."""

import numpy as np
import pytest

from layerkit import Dense, ReLU, Sequential, Sigmoid, Tanh, kernels, optimizers

pytest.importorskip("numba")

from layerkit.fused import plan
from layerkit.kernels import parts
from layerkit.kernels._numba import dense, flushing, threads
from layerkit.kernels.blas import libraries

ROWS, N_IN, UNITS = 40, 1500, 200


@pytest.fixture
def three_threads(monkeypatch):
    """On three processors."""
    monkeypatch.setattr(threads, "n_threads", lambda: 3)
    for module in (parts, dense):
        monkeypatch.setattr(module, "n_processors", lambda: 3)
    threads._pool.cache_clear()
    yield
    threads._pool.cache_clear()


@pytest.fixture
def cuts(monkeypatch):
    """Shapes of what is cut up, the threads there are, and those of BLAS meanwhile."""
    seen = []

    def multiply(queue, threads, blas, a, b, out):
        seen.append((*out.shape, threads, *blas_threads()))
        multiply_in_parts(queue, threads, blas, a, b, out)

    multiply_in_parts = dense.multiply_in_parts
    monkeypatch.setattr(dense, "multiply_in_parts", multiply)
    return seen


def blas_threads():
    return [library.get_num_threads() for library in libraries()]


def noise(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_only_large_products_are_cut_and_blas_has_one_thread_meanwhile(three_threads, cuts):
    x, W, small = noise(ROWS, N_IN), noise(N_IN, UNITS), noise(N_IN, 4)
    before = blas_threads()
    with kernels.use("numba"):
        kernels.matmul(x, small)
        assert not cuts
        kernels.matmul(x, W)
    assert cuts == [(ROWS, UNITS, 3, *[1] * len(before))]
    assert blas_threads() == before


def test_no_worker_is_woken_for_a_product_that_is_done_before_it_is_awake(
    three_threads, monkeypatch
):
    woken = []
    monkeypatch.setattr(dense, "workers", woken.append)
    x, grad = noise(100, 30), noise(100, 3, seed=1)
    network = Sequential([Dense(100), ReLU(), Dense(3)]).build(30, random_state=0)
    with kernels.use("numba"):
        fast = plan(network)
        found = fast.forward(x, training=True), fast.backward(grad), network.flat_grads.copy()
        expected = network.forward(x, training=True), network.backward(grad), network.flat_grads
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not woken


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [False, True])
def test_a_product_in_parts_is_the_product(three_threads, dtype, given):
    x, W = noise(ROWS, N_IN, dtype=dtype), noise(N_IN, UNITS, seed=1, dtype=dtype)
    grad = noise(ROWS, UNITS, seed=2, dtype=dtype)
    exact = [x.astype(float) @ W.astype(float), x.T.astype(float) @ grad, grad @ W.T.astype(float)]
    with kernels.use("numba"):
        for (a, b), expected in zip([(x, W), (x.T, grad), (grad, W.T)], exact, strict=True):
            out = np.full(expected.shape, np.nan, dtype) if given else None
            found = kernels.matmul(a, b, out)
            assert found is out or not given
            bound = 1e-5 if dtype == np.float32 else 1e-13
            assert np.abs(found - expected).max() < bound * np.abs(expected).max()
            assert found.dtype == dtype


LAYOUTS = {
    "rows": lambda a: a,
    "columns": np.asfortranarray,
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every other column": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "columns of a wider array": lambda a: np.pad(a, ((0, 0), (3, 5)))[:, 3:-5],
    "rows backwards": lambda a: a[::-1].copy()[::-1],
    "columns backwards": lambda a: a[:, ::-1].copy()[:, ::-1],
    "one row, seen many times": lambda a: np.broadcast_to(a[:1], a.shape),
    "one column, seen many times": lambda a: np.broadcast_to(a[:, :1], a.shape),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "wider numbers": lambda a: a.astype(np.float64),
}


@pytest.mark.parametrize("of_b", LAYOUTS)
@pytest.mark.parametrize("of_a", LAYOUTS)
def test_a_large_product_does_not_depend_on_how_its_factors_lie_in_memory(
    three_threads, of_a, of_b
):
    a, b = LAYOUTS[of_a](noise(ROWS, N_IN)), LAYOUTS[of_b](noise(N_IN, UNITS, seed=1))
    expected = a.astype(float) @ b.astype(float)
    with kernels.use("numba"):
        found = kernels.matmul(a, b)
        outs = [layout(np.full_like(found, np.nan)) for layout in (np.array, np.asfortranarray)]
        for out in outs:
            assert kernels.matmul(a, b, out) is out
    assert found.dtype == np.result_type(a, b)
    for y in (found, *outs):
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("m", "n", "p"), [(1, 2000, 600), (600, 2000, 1), (1200, 1, 1000)])
def test_a_large_product_may_have_a_single_row_column_or_term(three_threads, m, n, p):
    a, b = noise(m, n), noise(n, p, seed=1)
    with kernels.use("numba"):
        found = kernels.matmul(a, b), kernels.matmul(b.T, a.T).T
    for y in found:
        np.testing.assert_allclose(y, a.astype(float) @ b, rtol=0, atol=1e-3)


@pytest.mark.parametrize("activation", [ReLU, Tanh, Sigmoid])
@pytest.mark.parametrize("rows", [ROWS, 1200])  # cut by columns and by rows
def test_a_run_of_layers_with_large_products_computes_as_its_layers(
    three_threads, activation, rows
):
    layers = [Dense(UNITS), activation(), Dense(UNITS + 1), activation(), Dense(3)]
    network = Sequential(layers).build(N_IN, random_state=0)
    x, grad = noise(rows, N_IN), noise(rows, 3)

    def both_passes():
        y = network.forward(x, training=True)
        grad_input = network.backward(grad)
        return [y, grad_input, network.flat_grads.copy(), network.infer(x)]

    with kernels.use("numba"):
        found = both_passes()
        with network.observed(lambda *passed: None):
            expected = both_passes()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nan_passes_through_every_part(three_threads):
    x, W = noise(ROWS, N_IN), noise(N_IN, UNITS)
    x[3, 5] = np.nan
    with kernels.use("numba"):
        found = np.isnan(kernels.matmul(x, W))
    assert found[3].all() and found.sum() == UNITS


@pytest.mark.skipif(not flushing._SSE, reason="only SSE's control word is known")
@pytest.mark.parametrize("kind", [optimizers.Adam, optimizers.RMSProp])
@pytest.mark.parametrize("n", [100, 2**18])
def test_optimizers_take_subnormal_numbers_for_zero_in_all_threads(three_threads, kind, n):
    rule = kind()
    params, grads = np.zeros(n, np.float32), np.full(n, 1e-40, np.float32)
    with kernels.use("numba"):
        for _ in range(20):
            rule.step(params, grads)
    kept = [value for value in rule.state.values() if np.shape(value) == (n,)]
    assert kept and not params.any() and not any(value.any() for value in kept)
    assert np.float32(1e-40) * np.float32(1) > 0  # the caller's own arithmetic is as before


@pytest.mark.skipif(not flushing._SSE, reason="only SSE's control word is known")
def test_a_part_is_done_under_the_callers_control_word(three_threads):
    x = np.full((64, 2**14), 1e-40, np.float32)
    with kernels.use("numba"):
        for _ in range(20):  # after a task that flushed, no worker may go on flushing
            with flushing.flushing():
                kernels.sgd_step(
                    np.zeros(2**18, np.float32), x.ravel()[: 2**18], None, 1.0, 0.0, False
                )
            assert (kernels.relu(x) == x).all()
            total = x.copy()
            kernels.add_row(total, x[0])
            assert (total > 0).all()
