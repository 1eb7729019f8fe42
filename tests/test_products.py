"""Large products around convolutions: cut up among the processors, the same numbers."""

import numpy as np
import pytest

from layerkit import Dense, ReLU, Sequential, kernels

pytest.importorskip("numba")

from layerkit.kernels._numba import products, threads

ROWS, N_IN, UNITS = 40, 1500, 200  # 12e6 multiply-adds: worth three threads


@pytest.fixture
def three_threads(monkeypatch):
    for module in (threads, products):
        monkeypatch.setattr(module, "n_threads", lambda: 3)
    threads._team.cache_clear()
    yield
    threads._team.cache_clear()


@pytest.fixture
def cuts(monkeypatch):
    """Shapes of what is cut up, and into how many parts."""
    seen = []

    def in_parts(kernel, cut, *others, multiply_adds):
        seen.append((*cut[1].shape, threads.n_parts(len(cut[1]), multiply_adds)))
        threads.in_parts(kernel, cut, *others, multiply_adds=multiply_adds)

    monkeypatch.setattr(products, "in_parts", in_parts)
    return seen


def noise(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_only_large_products_under_one_blas_thread_are_cut(three_threads, cuts):
    x, W, small = noise(ROWS, N_IN), noise(N_IN, UNITS), noise(N_IN, 3)
    with kernels.use("numba"):
        kernels.matmul(x, W)
        assert not cuts
        with kernels.one_blas_thread():
            kernels.matmul(x, small)
            assert not cuts
            kernels.matmul(x, W)
    assert cuts == [(UNITS, ROWS, 3)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [False, True])
def test_a_product_in_parts_is_the_product(three_threads, dtype, given):
    x, W = noise(ROWS, N_IN, dtype=dtype), noise(N_IN, UNITS, seed=1, dtype=dtype)
    grad = noise(ROWS, UNITS, seed=2, dtype=dtype)
    exact = [x.astype(float) @ W.astype(float), x.T.astype(float) @ grad, grad @ W.T.astype(float)]
    with kernels.use("numba"), kernels.one_blas_thread():
        for (a, b), expected in zip([(x, W), (x.T, grad), (grad, W.T)], exact, strict=True):
            out = np.full(expected.shape, np.nan, dtype) if given else None
            found = kernels.matmul(a, b, out)
            assert found is out or not given
            bound = 1e-5 if dtype == np.float32 else 1e-13
            assert np.abs(found - expected).max() < bound * np.abs(expected).max()
            assert found.dtype == dtype


def test_a_run_of_layers_with_a_large_product_computes_as_its_layers(three_threads, cuts):
    layers = [Dense(UNITS), ReLU(), Dense(3)]
    network = Sequential(layers).build(N_IN, random_state=0)
    x, grad = noise(ROWS, N_IN), noise(ROWS, 3)

    def both_passes():
        y = network.forward(x, training=True)
        grad_input = network.backward(grad)
        return [y, grad_input, network.flat_grads.copy(), network.infer(x)]

    with kernels.use("numba"), kernels.one_blas_thread():
        found = both_passes()
        assert [parts for *_, parts in cuts] == [3] * 4
        with network.observed(lambda *passed: None):
            expected = both_passes()
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nan_passes_through_every_part(three_threads):
    x, W = noise(ROWS, N_IN), noise(N_IN, UNITS)
    x[3, 5] = np.nan
    with kernels.use("numba"), kernels.one_blas_thread():
        found = np.isnan(kernels.matmul(x, W))
    assert found[3].all() and found.sum() == UNITS
