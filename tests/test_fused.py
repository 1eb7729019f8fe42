"""Plans: fewer calls compute to the last bit what the layers would."""

import copy
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import (
    BatchNorm,
    Columns,
    Concat,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Identity,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
    kernels,
)
from layerkit.fused import plan

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


def one_by_one(network, x, grad, computing=None):
    """All that a forward and a backward by the layers give."""
    computing = computing or network
    y = computing.forward(x, training=True)
    grad_input = computing.backward(grad)
    found = [y, grad_input, network.flat_grads.copy(), computing.infer(x)]
    return [np.array(array) for array in found if array is not None]


def both_passes(network, x, grad, fast=None):
    """The same by a plan, which starts from other gradients."""
    network.flat_grads[...] = 7
    return one_by_one(network, x, grad, fast or plan(network))


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
    assert plan(built([3, 4, 2], ReLU)).infer(np.empty((0, 3), np.float32)).shape == (0, 2)


def test_the_input_gradient_is_left_out_when_nobody_asks():
    network = built([3, 4, 2], ReLU)
    before, after = plan(network), None
    network.needs_input_grad = False
    after = plan(network)
    for fast in (before, after):
        fast.forward(noise(5, 3), training=True)
        assert fast.backward(noise(5, 2)) is None
    network.needs_input_grad = True
    for fast in (before, after):
        fast.forward(noise(5, 3), training=True)
        assert fast.backward(noise(5, 2)).shape == (5, 3)


@pytest.fixture
def calls(monkeypatch):
    """Count the calls of the kernel."""
    counted, kernel = [], kernels.perceptron

    def perceptron(x, flat_params, run, hidden, y):
        counted.append(len(run))
        return kernel(x, flat_params, run, hidden, y)

    monkeypatch.setattr(kernels, "perceptron", perceptron)
    return counted


def test_a_network_computes_layer_by_layer(calls):
    network = built([3, 4, 2], ReLU)
    one_by_one(network, noise(5, 3), noise(5, 2))
    assert calls == [] and network[2].cache is network[1].cache


def test_other_layers_cut_a_chain_into_runs(calls):
    layers = [Tanh(), Dense(4), ReLU(), Dense(4), BatchNorm(), Dense(3), Tanh(), Sigmoid()]
    layers += [Dense(4), Dropout(0.2), Dense(2), LeakyReLU()]
    network = Sequential(layers).build(5, random_state=0, dtype=np.float64)
    x, grad = noise(6, 5, dtype=np.float64), noise(6, 2, dtype=np.float64)
    fast = plan(network)
    network.reseed(0)
    y = fast.forward(x, training=True)
    found = [y, fast.backward(grad), network.flat_grads.copy()]
    assert calls == [2, 1]
    network.reseed(0)
    with network.observed(lambda *passed: None):
        y = fast.forward(x, training=True)
        assert_same(found, [y, fast.backward(grad), network.flat_grads])
    assert calls == [2, 1]


@pytest.mark.parametrize("x", [np.ones((4, 3), np.float32, order="F"), np.ones((4, 3))])
def test_arrays_that_the_kernel_does_not_take_go_to_the_layers(x):
    network, grad = built([3, 4, 2], ReLU), noise(4, 2)
    assert_same(both_passes(network, x, grad), one_by_one(network, x, grad))


def test_sparse_rows_and_lists_go_to_the_layers():
    from scipy.sparse import csr_array

    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    network.needs_input_grad = False  # of sparse rows there is none
    for rows in (csr_array(x), x.tolist()):
        assert_same(both_passes(network, rows, grad), one_by_one(network, rows, grad))


def test_read_only_rows_and_gradients():
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    expected = both_passes(network, x, grad)
    x.flags.writeable = grad.flags.writeable = False
    assert_same(both_passes(network, x, grad), expected)


@pytest.mark.parametrize("planned_before", [True, False])
def test_a_frozen_layer_keeps_a_gradient_of_zero(calls, planned_before):
    network = built([3, 4, 2], Tanh)
    fast = plan(network)
    network[0].trainable = False
    fast = fast if planned_before else plan(network)
    network.flat_grads[...] = 1
    fast.forward(noise(4, 3), training=True)
    fast.backward(noise(4, 2))
    assert not network[0].grads["W"].any() and network[2].grads["W"].any()
    assert calls == ([] if planned_before else [1])  # the layers that are not frozen


def test_freezing_between_the_passes_counts():
    for network in (built([3, 4, 2], Tanh), built([3, 4, 2], Tanh)):
        fast = plan(network)
        fast.forward(noise(4, 3), training=True)
        network[0].trainable = False
        fast.backward(noise(4, 2))
        assert not network[0].grads["W"].any() and network[2].grads["W"].any()


def test_observing_between_the_passes_changes_no_number():
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    expected, fast = both_passes(network, x, grad), plan(network)
    fast.forward(x, training=True)
    with network.observed(lambda *passed: None):
        np.testing.assert_array_equal(fast.backward(grad), expected[1])
    np.testing.assert_array_equal(network.flat_grads, expected[2])


def test_who_observes_sees_every_layer_whenever_the_plan_was_made():
    network = Sequential([built([3, 4, 2], ReLU), Dense(2), Tanh()]).build(3, rebuild=True)
    x, grad, seen = noise(4, 3), noise(4, 2), []

    def note(layer, direction, came_in, went_out):
        seen.append((layer.path, direction))

    fast = plan(network)
    with network.observed(note):
        one_by_one(network, x, grad)
        expected = seen.copy()
        for computing in (fast, plan(network)):
            seen.clear()
            one_by_one(network, x, grad, computing)
            assert seen == expected
        made_inside = plan(network)
    seen.clear()
    for computing in (fast, made_inside):
        assert_same(one_by_one(network, x, grad, computing), one_by_one(network, x, grad))
    with network[0].observed(note):
        fast.infer(x)
        fast.forward(x)
    assert [path for path, _ in seen[-5:]] == [*(layer.path for layer in network[0]), "layers.0"]


def test_a_layer_that_went_forward_on_its_own_is_differentiated_there():
    network, x, other, grad = built([3, 4, 2], None), noise(4, 3), noise(4, 3, seed=1), noise(4, 2)
    planned, fast = both_passes(network, x, grad), plan(network)
    network.forward(x, training=True)
    fast.forward(x, training=True)
    network[0].forward(other)
    network.backward(grad)
    expected = other.T @ (grad @ network[1].params["W"].T)
    np.testing.assert_allclose(network[0].grads["W"], expected, rtol=1e-5)
    fast.backward(grad)  # whose record is its own
    np.testing.assert_array_equal(network.flat_grads, planned[2])


def test_after_a_forward_the_layers_can_go_backward_one_by_one():
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    expected = both_passes(network, x, grad)[1]
    network.forward(x, training=True)
    for layer in reversed(list(network)):
        grad = layer.backward(grad)
    np.testing.assert_array_equal(grad, expected)


def test_results_that_a_caller_holds_are_not_overwritten():
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    fast = plan(network)
    y = fast.forward(x, training=True)
    grad_input = fast.backward(grad)
    kept = y.copy(), grad_input.copy()
    fast.forward(x + 1, training=True)
    fast.backward(grad + 1)
    assert_same([y, grad_input], kept)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_has_a_plan_of_its_own(copied):
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    expected, fast = both_passes(network, x, grad), plan(network)
    twin = copied(fast)
    assert twin.network is not network
    twin.network.flat_params += 1
    twin.forward(x, training=True)
    twin.backward(grad)
    assert_same(both_passes(network, x, grad, fast), expected)
    assert not np.array_equal(twin.infer(x), fast.infer(x))


def test_a_network_built_anew_is_noticed(calls):
    network, x = built([3, 4, 2], ReLU), noise(4, 3)
    fast = plan(network)
    fast.infer(x)
    network.build(3, random_state=1, rebuild=True)
    assert calls == [2]
    for computing in (fast, plan(network)):
        np.testing.assert_array_equal(computing.infer(x), network.infer(x))
    assert calls == [2, 2]


def test_forgetting_the_caches_forgets_the_runs():
    network = built([3, 4, 2], ReLU)
    fast = plan(network)
    fast.forward(noise(4, 3), training=True)
    fast.clear_cache()
    for computing in (network, fast, plan(network)):
        with raises_exactly(RuntimeError, "in Sequential: backward needs a forward before it"):
            computing.backward(noise(4, 2))


def test_a_forward_that_fails_leaves_nothing_for_backward():
    class Picky(Identity):
        def forward(self, x, training=False):
            if len(x) == 3:
                raise ArithmeticError
            return super().forward(x, training)

    network = Sequential([Dense(4), ReLU(), Picky()]).build(3, random_state=0)
    fast, grad = plan(network), noise(4, 4)
    for bad in (noise(3, 3), noise(4, 2)):
        network.forward(noise(4, 3))
        fast.forward(noise(4, 3))
        with pytest.raises((ArithmeticError, ValueError)):
            fast.forward(bad)
        with raises_exactly(RuntimeError, "in Sequential: backward needs a forward before it"):
            fast.backward(grad)


@pytest.mark.parametrize("x", [np.ones(2), np.ones((4, 2)), 1.0, np.array([["a"]]), None])
def test_what_does_not_fit_is_refused_as_the_network_refuses_it(x):
    network, messages = built([3, 4, 2], ReLU), []
    for computing, method in product((network, plan(network)), ("forward", "infer")):
        with pytest.raises((ValueError, TypeError)) as refused:
            getattr(computing, method)(x)
        messages.append(str(refused.value))
    assert len(set(messages)) == 1
    messages.clear()
    for computing in (network, plan(network)):
        computing.forward(noise(4, 3))
        with raises_exactly(
            ValueError,
            "in Sequential: backward expects the gradient of its output, (4, 2), got (3, 2)",
        ) as refused:
            computing.backward(noise(3, 2))
        messages.append(str(refused.value))
    assert len(set(messages)) == 1


@pytest.mark.parametrize("convert", [np.ndarray.tolist, lambda grad: grad.astype(np.float64)])
def test_a_gradient_of_another_kind_is_taken_as_the_network_takes_it(convert):
    network, x, grad = built([3, 4, 2], ReLU), noise(4, 3), noise(4, 2)
    fast = plan(network)
    fast.forward(x, training=True)
    fast.backward(grad)
    expected = network.flat_grads.copy()
    fast.forward(x, training=True)
    fast.backward(convert(grad))
    np.testing.assert_array_equal(network.flat_grads, expected)


def test_what_the_layers_of_a_run_left_is_forgotten_too():
    network, x = built([3, 4, 2], ReLU), noise(4, 3)
    fast = plan(network)
    for forget in (fast.clear_cache, lambda: fast.forward(x)):
        fast.forward(x.tolist(), training=True)  # not for the kernel
        assert "cache" in vars(network[0])
        forget()
        assert not any("cache" in vars(layer) for layer in network)


def test_only_what_is_built_has_a_plan():
    with raises_exactly(
        RuntimeError, "in Sequential: not built yet; call build(input_shape) first"
    ):
        plan(Sequential([Dense(2), ReLU()]))


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
    expected, fast = both_passes(network, x, grad), plan(network)
    fast.forward(x, training=True)
    with kernels.use("numpy"):
        fast.backward(grad)
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
        assert_same(both_passes(network, x, grad), one_by_one(network, x, grad))
        fast = plan(network)
        fast.forward(x, training=True)
    hidden = network[2].cache  # what the second convolution got
    np.testing.assert_array_equal(hidden, network[:2].infer(x))
    assert np.nanmin(hidden) == 0 and np.isnan(hidden).any() and (hidden > 0).any()


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 1, 1)])
def test_backward_rectifies_behind_the_max_pooling_to_the_very_bits(
    size, stride, padding, monkeypatch
):
    pool = MaxPool2D(size, stride, padding=padding)
    network = Sequential([Conv2D(4, 2), ReLU(), pool, Conv2D(2, 2), Flatten(), Dense(2)])
    network.build((9, 10, 3), random_state=0, dtype=np.float64)
    x, grad = noise(5, 9, 10, 3, dtype=np.float64), noise(5, 2, dtype=np.float64)
    x[0, :4, :4] = 0  # all of some windows is cut off
    network[0].params["b"][...] = -0.1
    expected, shapes, kernel = one_by_one(network, x, grad), [], kernels.relu_grad

    def relu_grad(grad, y):
        shapes.append(y.shape[1:])
        return kernel(grad, y)

    monkeypatch.setattr(kernels, "relu_grad", relu_grad)
    assert_same(both_passes(network, x, grad), expected)
    assert shapes == [pool.output_shape]
    assert not network[:3].infer(x).all()


@pytest.fixture
def convolved(monkeypatch):
    """Collect the input shapes of convolutions that rectify."""
    calls, kernel = [], kernels.conv2d

    def conv2d(*args, rectify):
        calls.append(args[0].shape)
        return kernel(*args, rectify=rectify)

    monkeypatch.setattr(kernels, "conv2d", conv2d)
    return calls


def test_a_rectified_convolution_is_computed_at_once(convolved):
    layers = [Conv2D(4, 2), ReLU(), Conv2D(4, 2), Tanh(), Conv2D(4, 2), ReLU(), ReLU()]
    network = Sequential(layers).build((9, 9, 2), random_state=0)
    fast = plan(network)
    fast.forward(noise(2, 9, 9, 2), training=True)
    fast.infer(noise(3, 9, 9, 2))
    assert convolved == [(2, 9, 9, 2), (2, 7, 7, 4), (3, 9, 9, 2), (3, 7, 7, 4)]
    network[0].trainable = False
    with network[4].observed(lambda *passed: None):
        for planned in (fast, plan(network)):
            planned.forward(noise(2, 9, 9, 2), training=True)
            planned.infer(noise(2, 9, 9, 2))
    assert len(convolved) == 4


def test_a_convolution_follows_its_parameters_and_may_be_frozen_between_the_passes():
    network = Sequential([Conv2D(4, 2), ReLU(), Conv2D(2, 2), ReLU()])
    network.build((4, 4, 2), random_state=0, dtype=np.float64)
    x, grad = noise(2, 4, 4, 2, dtype=np.float64), noise(2, 2, 2, 2, dtype=np.float64)
    fast = plan(network)
    fast.infer(x)
    network[0].algorithm, network[2].algorithm = "winograd", "direct"
    assert_same(both_passes(network, x, grad, fast), one_by_one(network, x, grad))
    fast.forward(x, training=True)
    network[2].trainable = network.needs_input_grad = False
    assert fast.backward(grad) is None
    assert not network[2].grads["b"].any() and network[0].grads["b"].any()


def test_forgetting_the_caches_forgets_a_rectified_convolution():
    network = Sequential([Conv2D(4, 2), ReLU()]).build((3, 3, 1), random_state=0)
    fast = plan(network)
    y = fast.forward(noise(2, 3, 3, 1), training=True)
    fast.clear_cache()
    with raises_exactly(RuntimeError, "in Sequential: backward needs a forward before it"):
        fast.backward(y)


def perceptron(*units):
    return Sequential([layer for n in units for layer in (Dense(n), ReLU())])


def images():
    """Convolutions within all containers that hold them."""
    block = Sequential([Conv2D(4, 3, padding="same"), ReLU(), Conv2D(4, 3, padding="same")])
    branches = Concat([Sequential([Conv2D(3, 1), ReLU()]), Conv2D(2, 1), Sequential([])])
    head = Sequential([Flatten(), Dropout(0.5), ("hidden", Dense(8)), Tanh(), Dense(3)])
    return Sequential([Residual(block), ReLU(), branches, MaxPool2D(2), head]), (6, 6, 4), 3


def table():
    """Dense layers within all containers."""
    deep = Sequential([perceptron(5), Residual(perceptron(4), perceptron(4)), Sequential([])])
    routes = [([0, 2], perceptron(4, 3)), (slice(1, None), deep), (1, Dense(2))]
    layers = [Columns(routes), BatchNorm(), Concat((perceptron(6), Dense(3)))]
    return Sequential([*layers, Residual(Dense(9), Identity()), perceptron(4), Dense(2)]), (6,), 2


@pytest.mark.parametrize("made", [images, table])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_containers_hold_is_planned_too(calls, convolved, made, dtype):
    network, shape, units = made()
    network.build(shape, random_state=0, dtype=dtype)
    x, grad = noise(7, *shape, dtype=dtype), noise(7, units, dtype=dtype)
    buffers = [b for _, layer in network.walk() for b in layer.buffers.values()]
    before = [b.copy() for b in buffers]
    expected = one_by_one(network.reseed(0), x, grad)
    after = [b.copy() for b in buffers]
    for b, value in zip(buffers, before, strict=True):
        b[...] = value
    assert not calls and not convolved
    assert_same(both_passes(network.reseed(0), x, grad), expected)
    assert_same(buffers, after)
    assert (calls, len(convolved)) == (([2, 2], 4) if made is images else (calls, 0))
    assert len(calls) >= 2


def test_a_subclass_of_a_container_goes_its_own_way(calls):
    class Doubled(Sequential):
        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

        def backward(self, grad_output):
            return super().backward(2 * grad_output)

    network = Doubled([perceptron(4), Dense(2)]).build(3, random_state=0)
    x, grad = noise(4, 3), noise(4, 2)
    assert_same(both_passes(network, x, grad), one_by_one(network, x, grad))
    assert calls == []


@pytest.mark.parametrize("made", [images, table])
def test_a_plan_writes_into_no_layer_that_it_replaces(made):
    network, shape, units = made()
    network.build(shape, random_state=0)
    one_by_one(network, noise(4, *shape, seed=1), noise(4, units))  # caches to be left alone
    replaced = [layer for _, layer in network.walk() if type(layer) in (Dense, Conv2D, ReLU, Tanh)]
    replaced += [layer for _, layer in network.walk() if layer.children()]
    fast = plan(network)
    computing = {id(layer) for _, layer in fast._twin.walk()}
    # A kernel takes no columns in Fortran's order, so there the layers compute.
    kept = [layer for layer in replaced if layer.path.startswith("layers.0.routes")]
    replaced = [layer for layer in replaced if id(layer) not in computing and layer not in kept]
    assert len(replaced) > 8
    before = [dict(vars(layer)) for layer in replaced]
    both_passes(network, noise(7, *shape), noise(7, units), fast)
    for layer, attributes in zip(replaced, before, strict=True):
        after = vars(layer)
        assert after.keys() == attributes.keys()
        assert [k for k in after if after[k] is not attributes[k]] == [], layer


def test_threads_share_a_plan():
    network, shape, _ = table()
    network.build(shape, random_state=0)
    fast, batches = plan(network), [noise(50, *shape, seed=seed) for seed in range(20)]
    expected = [network.infer(x) for x in batches]
    with ThreadPoolExecutor(4) as pool:
        assert_same(pool.map(fast.infer, batches), expected)


def test_what_the_last_forward_left_goes_before_the_next_takes_memory():
    left = []

    class Watching(Identity):
        def forward(self, x, training=False):
            left.append([weak() is not None for weak in held])
            return super().forward(x, training)

    network = Sequential([Watching(), Conv2D(2, 1), ReLU(), Flatten(), Dense(2), ReLU(), Dense(2)])
    network.build((2, 2, 2), random_state=0)
    fast, held = plan(network), []
    for _ in range(2):
        fast.forward(noise(3, 2, 2, 2), training=True)
        leaves = [vars(layer) for _, layer in fast._twin.walk() if not layer.children()]
        caches = [leaf.get("cache") for leaf in leaves]
        arrays = [a for c in caches for a in (c if isinstance(c, tuple) else (c,))]
        held = [weakref.ref(a) for a in arrays if isinstance(a, np.ndarray)]
        del leaves, caches, arrays
    assert len(left[1]) > 4 and not any(left[1])
