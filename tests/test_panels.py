"""A matrix laid out in panels: the products of BLAS, for every size, and from which size on."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from layerkit import GRU, LSTM, SimpleRNN, check_gradients, kernels
from layerkit.sequences import Sequences

pytest.importorskip("numba")

from layerkit.kernels._numba import panels, recurrent
from layerkit.kernels._numba.blas import addresses
from layerkit.kernels._numba.compile import jit

LAYERS = {"SimpleRNN": SimpleRNN, "GRU": GRU, "LSTM": LSTM}


@pytest.fixture
def from_here(monkeypatch):
    """Set from how many multiply-adds on panels are used, on any processor."""
    if addresses(np.dtype(np.float32)) is None:
        pytest.skip("NumPy has another BLAS")
    monkeypatch.setattr(panels, "HAS_REGISTERS", True)
    return lambda least: monkeypatch.setattr(panels, "LEAST", least)


@jit
def _multiplied(blas, a, factor, out):
    panels.add_product_by(blas, a, factor, out)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
def test_products_by_panels_are_those_of_numpy(from_here, dtype, transposed):
    from_here(0)
    rng, lanes = np.random.default_rng(0), 128 // np.dtype(dtype).itemsize
    blas = addresses(np.dtype(dtype))
    for m in (1, 2, 3, 4, 5, 9):
        for n, p in [(1, lanes), (3, 1), (7, 2 * lanes), (40, lanes + 1), (5, 3 * lanes - 1)]:
            a, b, out = (rng.standard_normal(s).astype(dtype) for s in ((m, n), (n, p), (m, p)))
            factor = panels.fixed(np.array(b.T, order="C") if transposed else b, 2, transposed)
            assert len(factor.panels) == p // lanes
            assert factor.rest.shape == (n, p % lanes)
            room = np.full((m + 2, p), 7, dtype)  # what lies around stays as it is
            room[1:-1] = out
            _multiplied(blas, a, factor, room[1:-1])
            tolerance = 1e-5 if dtype == "float32" else 1e-13
            assert_allclose(room[1:-1], out + a @ b, rtol=tolerance, atol=10 * tolerance)
            assert (room[[0, -1]] == 7).all()


def test_not_a_number_stays_in_its_row(from_here):
    from_here(0)
    a, b = np.ones((5, 3), np.float32), np.ones((3, 40), np.float32)
    a[1, 2], out = np.nan, np.zeros((5, 40), np.float32)
    _multiplied(addresses(a.dtype), a, panels.fixed(b, 5), out)
    assert_array_equal(np.isnan(out).all(axis=1), [False, True, False, False, False])
    assert (out[[0, 2, 3, 4]] == 3).all()


@pytest.mark.parametrize("rows, units, n_panels", [(1, 1024, 0), (4, 512, 0), (5, 512, 16)])
def test_panels_from_a_million_multiply_adds_on(from_here, rows, units, n_panels):
    from_here(panels.LEAST)
    matrix = np.zeros((units, units), np.float32)
    assert len(panels.fixed(matrix, rows).panels) == n_panels


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("least", [0, 2**62], ids=["panels", "BLAS"])
@pytest.mark.parametrize("lengths", [[6, 6, 6, 6, 6], [7, 1, 4, 2, 9, 1]], ids=["even", "uneven"])
def test_layers_are_those_of_numpy_on_both_sides(from_here, monkeypatch, name, least, lengths):
    seen = []
    fixed = panels.fixed
    monkeypatch.setattr(recurrent, "fixed", lambda *a: seen.append(fixed(*a)) or seen[-1])
    from_here(least)
    rng, found = np.random.default_rng(0), {}
    X = Sequences([rng.standard_normal((n, 3)) for n in lengths])
    for backend in ("numpy", "numba"):
        with kernels.use(backend):
            layer = LAYERS[name](37).build((None, 3), random_state=0, dtype="float64")
            y = layer.forward(X, training=True)
            grad_x = layer.backward(np.ones_like(y))
            found[backend] = y, grad_x.steps, layer.flat_grads.copy()
    assert [len(factor.panels) > 0 for factor in seen] == [least == 0] * 2
    for ours, reference in zip(found["numba"], found["numpy"], strict=True):
        assert_allclose(ours, reference, rtol=1e-10, atol=1e-12)
    again = LAYERS[name](37).build((None, 3), random_state=0, dtype="float64")
    with kernels.use("numba"):
        assert_array_equal(again.forward(X, training=True), found["numba"][0])


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_by_panels(from_here, name):
    from_here(0)
    with kernels.use("numba"):
        assert check_gradients(LAYERS[name](17), input_shape=(4, 3))
