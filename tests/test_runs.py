"""Runs of Dense layers and activations: one kernel does to the last bit what the layers would."""

import copy
import pickle
from itertools import product

import numpy as np
import pytest

from layerkit import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Identity,
    LeakyReLU,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    kernels,
)

CHAINS = [[20, 64, 64, 2], [7, 5, 1], [300, 256, 10], [3, 100], [5, 1, 4, 2], [1, 8, 3]]


@pytest.fixture(params=["numpy", "numba"], autouse=True)
def backend(request):
    if request.param == "numba":
        pytest.importorskip("numba")
    with kernels.use(request.param):
        yield request.param


def built(sizes, activation, dtype=np.float32):
    layers = []
    for units in sizes[1:]:
        layers += [Dense(units), activation()] if activation else [Dense(units)]
    return Sequential(layers).build(sizes[0], random_state=0, dtype=dtype)


def noise(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def both_passes(network, x, grad):
    """All that a forward and a backward leave behind."""
    y = network.forward(x, training=True)
    caches = [layer._cache for layer in network]
    grad_input = network.backward(grad)
    found = [y, grad_input, network.flat_grads.copy(), network.infer(x), *caches]
    return [np.array(array) for array in found if array is not None]


def one_by_one(network, x, grad):
    """The same, by the layers themselves: that is how an observed network computes."""
    with network.observed(lambda *passed: None):
        return both_passes(network, x, grad)


def assert_same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("activation", [ReLU, Tanh, Sigmoid, Identity, None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_computes_the_very_bits_of_its_layers(activation, dtype):
    for sizes, n_rows in product(CHAINS, [1, 2, 33]):
        network = built(sizes, activation, dtype)
        x, grad = noise(n_rows, sizes[0], dtype=dtype), noise(n_rows, sizes[-1], dtype=dtype)
        assert_same(both_passes(network, x, grad), one_by_one(network, x, grad))


def test_no_rows_give_no_rows():
    assert built([3, 4, 2], ReLU).infer(np.empty((0, 3), np.float32)).shape == (0, 2)


def test_the_input_gradient_is_left_out_when_nobody_asks():
    network = built([3, 4, 2], ReLU)
    network.needs_input_grad = False
    network.forward(noise(5, 3), training=True)
    assert network.backward(noise(5, 2)) is None


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of the kernel."""
    from layerkit.layers import _runs

    counted = []

    def perceptron(x, flat_params, run, hidden, y):
        counted.append(len(run))
        return kernels.perceptron(x, flat_params, run, hidden, y)

    monkeypatch.setattr(_runs, "perceptron", perceptron)
    return counted


def test_other_layers_cut_a_chain_into_runs(calls):
    layers = [Tanh(), Dense(4), ReLU(), Dense(4), BatchNorm(), Dense(3), Tanh(), Sigmoid()]
    layers += [Dense(4), Dropout(0.2), Dense(2), LeakyReLU()]
    network = Sequential(layers).build(5, random_state=0, dtype=np.float64)
    x, grad = noise(6, 5, dtype=np.float64), noise(6, 2, dtype=np.float64)
    network.reseed(0)
    y = network.forward(x, training=True)
    found = [y, network.backward(grad), network.flat_grads.copy()]
    assert calls == [2, 1]
    network.reseed(0)
    with network.observed(lambda *passed: None):
        y = network.forward(x, training=True)
        assert_same(found, [y, network.backward(grad), network.flat_grads])
    assert calls == [2, 1]


@pytest.mark.parametrize("x", [np.ones((4, 3), np.float32, order="F"), np.ones((4, 3))])
def test_arrays_that_the_kernel_does_not_take_go_to_the_layers(x):
    network, grad = built([3, 4, 2], ReLU), noise(4, 2)
    assert_same(both_passes(network, x, grad), one_by_one(network, x, grad))


def test_read_only_rows_and_gradients():
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    expected = both_passes(network, x, grad)
    x.flags.writeable = grad.flags.writeable = False
    assert_same(both_passes(network, x, grad), expected)


def test_a_frozen_layer_keeps_a_gradient_of_zero(calls):
    network = built([3, 4, 2], Tanh)
    network[0].trainable = False
    network.forward(noise(4, 3), training=True)
    network.backward(noise(4, 2))
    assert not network[0].grads["W"].any() and network[2].grads["W"].any() and calls == []


def test_freezing_between_the_passes_counts():
    network = built([3, 4, 2], Tanh)
    network.forward(noise(4, 3), training=True)
    network[0].trainable = False
    network.backward(noise(4, 2))
    assert not network[0].grads["W"].any() and network[2].grads["W"].any()


def test_a_layer_that_went_forward_on_its_own_is_differentiated_there():
    network, x, other, grad = built([3, 4, 2], None), noise(4, 3), noise(4, 3, seed=1), noise(4, 2)
    network.forward(x, training=True)
    network[0].forward(other)
    network.backward(grad)
    expected = other.T @ (grad @ network[1].params["W"].T)
    np.testing.assert_allclose(network[0].grads["W"], expected, rtol=1e-5)


def test_after_a_run_its_layers_can_go_backward_one_by_one():
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    expected = both_passes(network, x, grad)[1]
    network.forward(x, training=True)
    for layer in reversed(list(network)):
        grad = layer.backward(grad)
    np.testing.assert_array_equal(grad, expected)


def test_results_that_a_caller_holds_are_not_overwritten():
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    y = network.forward(x, training=True)
    grad_input = network.backward(grad)
    kept = y.copy(), grad_input.copy()
    network.forward(x + 1, training=True)
    network.backward(grad + 1)
    assert_same([y, grad_input], kept)


def test_an_exchanged_layer_is_noticed():
    network, x = built([3, 4, 2], ReLU), noise(4, 3)
    network.infer(x)
    network.layers[1] = Tanh()
    by_hand = np.tanh(x @ network[0].params["W"] + network[0].params["b"])
    np.testing.assert_allclose(network[:2].infer(x), by_hand, rtol=1e-5)
    network.layers = network.layers[:2] + network.layers[2:3]
    expected = by_hand @ network[2].params["W"] + network[2].params["b"]
    np.testing.assert_allclose(network.infer(x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_has_runs_of_its_own(copied):
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    expected = both_passes(network, x, grad)
    twin = copied(network)
    twin.flat_params += 1
    twin.forward(x, training=True)
    twin.backward(grad)
    assert_same(both_passes(network, x, grad), expected)
    assert not np.array_equal(twin.infer(x), network.infer(x))


def test_a_network_built_anew_has_new_runs():
    network, x = built([3, 4, 2], ReLU), noise(4, 3)
    network.infer(x)
    network.build(3, random_state=1, rebuild=True)
    with network.observed(lambda *passed: None):
        expected = network.infer(x)
    np.testing.assert_array_equal(network.infer(x), expected)


def test_forgetting_the_caches_forgets_the_runs():
    network = built([3, 4, 2], ReLU)
    network.forward(noise(4, 3), training=True)
    network.clear_cache()
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        network.backward(noise(4, 2))


def test_without_numpys_own_blas_the_layers_compute(backend, monkeypatch):
    if backend == "numpy":
        pytest.skip("only compiled code calls BLAS by address")
    from layerkit.kernels._numba import dense

    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    expected = both_passes(network, x, grad)
    monkeypatch.setattr(dense, "addresses", lambda dtype: None)
    assert_same(both_passes(network, x, grad), expected)


def test_kernels_may_be_exchanged_between_the_passes(backend):
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    expected = both_passes(network, x, grad)
    network.forward(x, training=True)
    with kernels.use("numpy"):
        network.backward(grad)
    np.testing.assert_allclose(network.flat_grads, expected[2], rtol=1e-6)


CONVOLUTIONS = [  # (channels, options), by each of the compiled algorithms
    (16, {"filters": 24, "kernel_size": 3, "padding": "same"}),  # Winograd, in parts of tiles
    (16, {"filters": 24, "kernel_size": 3, "algorithm": "direct"}),
    (3, {"filters": 5, "kernel_size": 2, "stride": 2, "use_bias": False}),  # narrower than a vector
    (16, {"filters": 2, "kernel_size": 1}),  # sums over lanes
    (8, {"filters": 8, "kernel_size": 3, "groups": 8, "dilation": 2}),  # by channel
]


@pytest.mark.parametrize(("channels", "options"), CONVOLUTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_convolution_and_its_rectifier_compute_the_very_bits_of_both(channels, options, dtype):
    network = Sequential([Conv2D(**options), ReLU(), Conv2D(4, 2), Flatten(), Dense(2)])
    network.build((9, 10, channels), random_state=0, dtype=dtype)
    network.flat_params += np.asarray(0.01, dtype)  # biases that count
    x, grad = noise(5, 9, 10, channels, dtype=dtype), noise(5, 2, dtype=dtype)
    x[0, 0, 0, 0] = np.nan
    with np.errstate(invalid="ignore"):
        found = both_passes(network, x, grad)
        assert_same(found, one_by_one(network, x, grad))
    hidden = found[4 + 2]  # what the second convolution got
    assert np.nanmin(hidden) == 0 and np.isnan(hidden).any() and (hidden > 0).any()


def test_a_rectified_convolution_is_computed_at_once(monkeypatch):
    from layerkit.layers import _runs

    calls = []

    def conv2d(*args, rectify):
        calls.append(args[0].shape)
        return kernels.conv2d(*args, rectify=rectify)

    monkeypatch.setattr(_runs, "conv2d", conv2d)
    layers = [Conv2D(4, 2), ReLU(), Conv2D(4, 2), Tanh(), Conv2D(4, 2), ReLU(), ReLU()]
    network = Sequential(layers).build((9, 9, 2), random_state=0)
    network.forward(noise(2, 9, 9, 2), training=True)
    network.infer(noise(3, 9, 9, 2))
    assert calls == [(2, 9, 9, 2), (2, 7, 7, 4), (3, 9, 9, 2), (3, 7, 7, 4)]
    network[0].trainable = False
    with network[4].observed(lambda *passed: None):
        network.forward(noise(2, 9, 9, 2), training=True)
        network.infer(noise(2, 9, 9, 2))
    assert len(calls) == 4


def test_forgetting_the_caches_forgets_a_rectified_convolution():
    network = Sequential([Conv2D(4, 2), ReLU()]).build((3, 3, 1), random_state=0)
    y = network.forward(noise(2, 3, 3, 1), training=True)
    network.clear_cache()
    with pytest.raises(RuntimeError, match="backward needs a forward before it"):
        network.backward(y)
