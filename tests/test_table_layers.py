"""What only the layers for tables can get wrong; the contract suites have the rest."""

import numpy as np
import pytest
from cases import CASES
from errors import raises_exactly

from layerkit import (
    BatchEnsemble,
    Columns,
    Dense,
    Embedding,
    Flatten,
    Identity,
    Layer,
    NTKDense,
    ParametricActivation,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    ReLU,
    Residual,
    Scale,
    Sequential,
    SmoothClip,
    Tanh,
)
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import SGD
from layerkit.training import train

X = np.random.default_rng(0).normal(5, 3, (500, 4))


def test_values_of_the_cosines_by_hand():
    layer = PeriodicEmbedding(2, frequencies=1).build(1, dtype=np.float64)
    for name, value in {"omega": 0.25, "phi": np.pi, "W": 3.0, "b": 1.0}.items():
        layer.params[name][...] = value
    np.testing.assert_allclose(layer.infer([[2.0]]), [[[2.0, 1 + 3 * np.cos(2 * np.pi)]]])
    np.testing.assert_allclose(layer.infer([[1.0]]), [[[1.0, 1.0]]], atol=1e-12)


def test_bins_are_quantiles_of_the_data():
    layer = PiecewiseLinearEmbedding(1, bins=4).build(2, dtype=np.float64)
    x = np.column_stack([np.arange(9.0), np.repeat([0.0, 1.0, 1.0], 3)])
    layer.adapt(x)
    assert layer.buffers["low"][0].tolist() == [0, 2, 4, 6]
    assert layer.buffers["inverse"][1].tolist() == [1, 0, 0, 0], "one bin, the others unused"
    layer.params["W"][...], layer.params["v"][...], layer.params["b"][...] = 1, 0, 0
    np.testing.assert_allclose(layer.infer([[3.0, -1.0]])[0, :, 0], [1.5, 0.0])
    np.testing.assert_allclose(layer.infer([[99.0, 9.0]])[0, :, 0], [4.0, 1.0])


def test_a_column_of_one_value_has_no_bins():
    layer = PiecewiseLinearEmbedding(2, bins=3).build(1, dtype=np.float64)
    layer.adapt(np.full((5, 1), 7.0))
    assert not layer.buffers["inverse"].any() and np.isfinite(layer.infer([[7.0]])).all()


def test_initial_values_suit_the_data():
    network = Sequential([NTKDense(64), ParametricActivation(Tanh()), NTKDense(3)])
    network.build(4, random_state=0, dtype=np.float64).adapt(X)
    first = network[0].infer(X)
    np.testing.assert_allclose(first.std(axis=0), 1)
    assert ((first.min(axis=0) < 0) & (first.max(axis=0) > 0)).all(), "all bend among the rows"
    np.testing.assert_allclose(network.infer(X).std(axis=0), 1)


def test_constant_columns_do_not_divide_by_zero():
    layer = NTKDense(3).build(2, random_state=0)
    layer.adapt(np.ones((10, 2), np.float32))
    assert np.isfinite(layer.flat_params).all()


def test_whoever_trains_adapts_new_networks_only():
    seen = []

    class Watching(Identity):
        adapts = True

        def adapt(self, x):
            seen.append((len(x), float(x.mean())))

    inner = Columns([([0], Watching()), ([1, 2], Residual(Watching()))])
    network = Sequential([Scale(), inner, Dense(1)])
    how = {"epochs": 1, "random_state": 0}
    train(network, MeanSquaredError(), SGD(0.0), (X, X[:, :1]), **how)
    assert seen == [(500, X[:, 0].mean()), (500, X[:, 1:3].mean())]
    train(network, MeanSquaredError(), SGD(0.0), (X, X[:, :1]), **how)
    assert len(seen) == 2


LEAVES = [case for case in CASES if type(case.make()).children is Layer.children]


@pytest.mark.parametrize("case", LEAVES, ids=str)
def test_a_layer_that_adapts_says_so_and_training_begins_with_it(case, monkeypatch):
    layer, seen = case.make(), []
    adapt = type(layer).adapt
    assert layer.adapts == (adapt is not Layer.adapt)
    if layer.adapts:
        monkeypatch.setattr(
            type(layer), "adapt", lambda self, x: seen.append(len(x)) or adapt(self, x)
        )
        network = Sequential([layer, Flatten(), Dense(1)])
        data = case.sample(20), np.ones((20, 1))
        train(network, MeanSquaredError(), SGD(0.0), data, epochs=2, random_state=0)
        assert seen == [20]


def test_the_limit_of_a_smooth_clip():
    layer = SmoothClip(2.0)
    y = layer.infer([[-1e6, -1.0, 0.0, 1.0, 1e6]])[0]
    np.testing.assert_allclose(y, [-2, -2 / np.sqrt(5), 0, 2 / np.sqrt(5), 2])
    with raises_exactly(
        ValueError, "in SmoothClip(limit=0): limit must be a positive finite number, got 0"
    ):
        SmoothClip(0).infer([[1.0]])


def test_strength_goes_from_the_identity_to_the_activation():
    layer = ParametricActivation(ReLU()).build(3, dtype=np.float64)
    layer.params["a"][...] = [0, 1, 2]
    np.testing.assert_allclose(layer.infer([[-1.0, -1.0, -1.0]]), [[-1, 0, 1]])
    with raises_exactly(
        ValueError,
        "in ParametricActivation: activation must be a layer that keeps the shape (3,), "
        "got Dense(units=2)",
    ):
        ParametricActivation(Dense(2)).build(3)


def test_members_share_weights_and_start_apart():
    layer = BatchEnsemble(2, members=3).build(4, random_state=0, dtype=np.float64)
    r, s, b = (layer.params[name] for name in ("r", "s", "b"))
    assert set(np.unique(r)) == {-1.0, 1.0} and (s == 1).all() and (b == 0).all()
    y = layer.infer(X)
    for k in range(3):
        np.testing.assert_allclose(y[:, k], (X * r[k]) @ layer.params["W"])
    with raises_exactly(
        ValueError,
        "in BatchEnsemble(units=2, members=3): expects (n_samples, n_in) or (n_samples, "
        "members=3, n_in), got (n_samples, 2, 4)",
    ):
        BatchEnsemble(2, members=3).build((2, 4))


def test_the_data_need_no_gradient():
    network = Columns([([0, 1], PeriodicEmbedding()), ([2], Dense(2)), ([3], Embedding(9, 2))])
    x = np.abs(X).astype(int).clip(0, 8).astype(float)
    network.build(4, random_state=0, dtype=np.float64)
    with_it = network.backward(np.ones_like(network.forward(x)))
    grads = network.flat_grads.copy()
    network.needs_input_grad = False
    assert network.backward(np.ones_like(network.forward(x))) is None
    np.testing.assert_array_equal(network.flat_grads, grads)
    assert with_it.shape == x.shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scale(rate=-1), "in Scale(rate=-1): rate must be a finite number >= 0, got -1"),
        (lambda: NTKDense(0), "in NTKDense(units=0): units must be a positive integer, got 0"),
        (
            lambda: NTKDense(2, bias_rate=np.nan),
            "in NTKDense(units=2, bias_rate=nan): bias_rate must be a finite number >= 0, got nan",
        ),
        (
            lambda: PeriodicEmbedding(1),
            "in PeriodicEmbedding(dim=1): dim must be an integer >= 2, got 1",
        ),
        (
            lambda: PeriodicEmbedding(frequencies=0),
            "in PeriodicEmbedding(frequencies=0): frequencies must be a positive integer, got 0",
        ),
        (
            lambda: PeriodicEmbedding(sigma=0),
            "in PeriodicEmbedding(sigma=0): sigma must be a positive finite number, got 0",
        ),
        (
            lambda: PiecewiseLinearEmbedding(0),
            "in PiecewiseLinearEmbedding(dim=0): dim must be a positive integer, got 0",
        ),
        (
            lambda: PiecewiseLinearEmbedding(bins=0),
            "in PiecewiseLinearEmbedding(bins=0): bins must be a positive integer, got 0",
        ),
        (
            lambda: BatchEnsemble(2, members=0),
            "in BatchEnsemble(units=2, members=0): members must be a positive integer, got 0",
        ),
    ],
)
def test_bad_parameters_are_named(make, message):
    with raises_exactly(ValueError, message):
        make().build(3)
