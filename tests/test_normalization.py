"""Normalization layers: hand values, PyTorch, running statistics, precision, what they refuse."""

import re

import numpy as np
import pytest
from errors import raises_exactly
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from layerkit import check_gradients
from layerkit.kernels import row_length
from layerkit.layers.instance_norm import InstanceNorm
from layerkit.layers.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm

# The larger ones are divided into rows of several positions.
SHAPES = [(5, 4), (3, 2, 4), (2, 3, 2, 4), (40, 12), (3, 50, 4), (4, 9, 8, 4)]
LAYERS = [
    lambda: BatchNorm(momentum=0.3, eps=1e-3),
    lambda: LayerNorm(eps=1e-3),
    lambda: GroupNorm(2, eps=1e-3),
    lambda: RMSNorm(eps=1e-3),
]
each_layer = pytest.mark.parametrize("make", LAYERS, ids=["Batch", "Layer", "Group", "RMS"])
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def build(layer, shape, rng, dtype=np.float64):
    """Build for batches of this shape, away from ones and zeros."""
    layer.build(shape[1:], dtype=dtype)
    layer.flat_params[...] += 0.3 * rng.standard_normal(layer.flat_params.shape)
    return layer


def torch_module(layer):
    nn = pytest.importorskip("torch").nn
    c = len(layer.params["gamma"])
    module = {
        BatchNorm: lambda: nn.BatchNorm1d(c, layer.eps, layer.momentum),
        LayerNorm: lambda: nn.LayerNorm(c, layer.eps),
        GroupNorm: lambda: nn.GroupNorm(layer.groups, c, layer.eps),
        RMSNorm: lambda: nn.RMSNorm(c, layer.eps),
    }[type(layer)]()
    module.double()
    module.weight.data[...] = pytest.importorskip("torch").tensor(layer.params["gamma"])
    if "beta" in layer.params:
        module.bias.data[...] = pytest.importorskip("torch").tensor(layer.params["beta"])
    return module


def torch_pass(module, x, grad_output):
    """Output and gradients of a PyTorch module, which wants (n, channels, positions)."""
    torch = pytest.importorskip("torch")
    by_channel = isinstance(module, (torch.nn.BatchNorm1d, torch.nn.GroupNorm))
    tx = torch.tensor(x, requires_grad=True)
    if by_channel and x.ndim > 2:
        ty = module(tx.flatten(1, -2).transpose(1, 2)).transpose(1, 2).reshape(tx.shape)
    else:
        ty = module(tx)
    module.zero_grad()
    ty.backward(torch.tensor(grad_output))
    return ty.detach().numpy(), tx.grad.numpy(), module


def assert_like_torch(layer, module, x, grad_output, training):
    module.train(training)
    y, grad_input, module = torch_pass(module, x, grad_output)
    assert_allclose(layer.forward(x, training=training), y, rtol=1e-9, atol=1e-9)
    assert_allclose(layer.backward(grad_output), grad_input, rtol=1e-9, atol=1e-9)
    assert_allclose(layer.grads["gamma"], module.weight.grad.numpy(), rtol=1e-9, atol=1e-9)
    if "beta" in layer.params:
        assert_allclose(layer.grads["beta"], module.bias.grad.numpy(), rtol=1e-9, atol=1e-9)
    if "running_mean" in layer.buffers:
        for name, buffer in layer.buffers.items():
            assert_allclose(buffer, getattr(module, name).numpy(), rtol=1e-9, atol=1e-9)


@each_layer
@each_shape
def test_several_batches_are_torch(make, shape, rng):
    layer = build(make(), shape, rng)
    module = torch_module(layer)
    for training in (True, True, False, True, False):
        x = 2 + 3 * rng.standard_normal(shape)
        assert_like_torch(layer, module, x, rng.standard_normal(shape), training)


@each_layer
@each_shape
def test_gradients(make, shape, rng):
    layer = build(make(), shape, rng)
    x = 1 + rng.standard_normal(shape)
    layer.forward(x, training=True)  # running statistics that are not 0 and 1
    report = check_gradients(layer, x=x)
    assert report, str(report)


# ---------------------------------------------------------------- BatchNorm


def test_batch_norm_by_hand():
    layer = BatchNorm(momentum=0.25, eps=3.0).build(2, dtype=np.float64)
    layer.params["gamma"][...], layer.params["beta"][...] = [1.0, 10.0], [0.0, 1.0]
    # Channel 0: mean 2, variance 1, s = 1/2. Channel 1: mean 5, variance 1.
    y = layer.forward([[1.0, 6.0], [3.0, 4.0]], training=True)
    assert_allclose(y, [[-0.5, 6.0], [0.5, -4.0]])
    assert_allclose(layer.buffers["running_mean"], [0.5, 1.25])
    assert_allclose(layer.buffers["running_var"], [0.75 + 0.5, 0.75 + 0.5])  # unbiased: 2
    # gamma s (G - mean G - x_hat mean(x_hat G)) with x_hat = -1/2, 1/2: here G = 1, 0
    assert_allclose(layer.backward([[1.0, 0.0], [0.0, 0.0]])[:, 0], [0.5 * 0.375, -0.5 * 0.375])
    assert_allclose(layer.grads["gamma"], [-0.5, 0.0])
    assert_allclose(layer.grads["beta"], [1.0, 0.0])


def test_running_statistics_converge_to_those_of_the_data(rng):
    layer = BatchNorm().build(3, dtype=np.float64)
    for _ in range(200):
        layer.forward([5, -1, 0] + [0.5, 1, 2] * rng.standard_normal((100, 3)), training=True)
    assert_allclose(layer.buffers["running_mean"], [5, -1, 0], atol=0.15)
    assert_allclose(layer.buffers["running_var"], [0.25, 1, 4], rtol=0.15)


@pytest.mark.parametrize("momentum", [0, 1])
def test_momentum_is_the_weight_of_the_new_batch(momentum):
    layer = BatchNorm(momentum=momentum).build(1, dtype=np.float64)
    layer.forward([[2.0], [6.0]], training=True)
    assert layer.buffers["running_mean"].tolist() == [4 * momentum]
    assert layer.buffers["running_var"].tolist() == [1 + 7 * momentum]


def test_inference_has_its_own_gradient(rng):
    """As constants, the statistics pass no gradient."""
    layer = build(BatchNorm(), (6, 3), rng)
    layer.forward(rng.standard_normal((6, 3)) + 4, training=True)
    layer.forward(rng.standard_normal((6, 3)))
    grad_output = rng.standard_normal((6, 3))
    scale = layer.params["gamma"] / np.sqrt(layer.buffers["running_var"] + layer.eps)
    assert_allclose(layer.backward(grad_output), grad_output * scale, rtol=1e-12)


def test_backward_does_not_see_later_statistics(rng):
    x = rng.standard_normal((6, 3))
    layer = build(BatchNorm(), x.shape, rng)
    layer.forward(x)
    expected = layer.backward(x)
    gradient = layer.grads["gamma"].copy()
    layer.forward(x)
    for buffer in layer.buffers.values():
        buffer += 1
    assert_array_equal(layer.backward(x), expected)
    assert_array_equal(layer.grads["gamma"], gradient)


def test_frozen_batch_norm_is_the_one_of_inference(rng):
    layer = build(BatchNorm(), (6, 2, 3), rng)
    x = 2 + rng.standard_normal((6, 2, 3))
    layer.forward(x, training=True)
    expected, grad_input = layer.infer(x), (layer.forward(x), layer.backward(x))[1]
    before = {name: buffer.copy() for name, buffer in layer.buffers.items()}
    layer.trainable = False
    assert_array_equal(layer.forward(x, training=True), expected)
    assert_array_equal(layer.backward(x), grad_input)
    assert not layer.flat_grads.any()
    for name, buffer in layer.buffers.items():
        assert_array_equal(buffer, before[name])
    row = BatchNorm().build(3)
    row.trainable = False
    row.forward(np.ones((1, 3)), training=True)  # a batch of one is enough now


@pytest.mark.parametrize(("shape", "count"), [((1, 3), 1), ((0, 3), 0), ((0, 2, 2, 3), 0)])
def test_training_needs_two_values_per_channel(shape, count):
    layer = BatchNorm().build(shape[1:])
    with raises_exactly(
        ValueError,
        f"in BatchNorm(): training needs at least 2 values per channel, got {count} from "
        f"n_samples={shape[0]}, a batch of shape {shape}: use a larger batch, or forward(x, "
        "training=False)",
    ):
        layer.forward(np.ones(shape), training=True)
    assert not layer.buffers["running_mean"].any()
    assert layer.forward(np.ones(shape)).shape == shape  # inference does not need them
    BatchNorm().build((2, 3)).forward(np.ones((1, 2, 3)), training=True)  # nor two samples


def test_a_constant_channel_stays_finite():
    layer = BatchNorm().build(2, dtype=np.float64)
    layer.params["beta"][...] = [3.0, 4.0]
    y = layer.forward([[7.0, 1.0], [7.0, 2.0]], training=True)
    assert y[:, 0].tolist() == [3.0, 3.0]
    assert_allclose(
        layer.backward([[1.0, 0.0], [0.0, 0.0]])[:, 0], np.array([0.5, -0.5]) / 1e-5**0.5
    )


# ---------------------------------------------------------------- precision


@each_layer
@pytest.mark.parametrize("shape", [(64, 32), (5, 40, 32), (16, 12, 12, 32)], ids=str)
def test_float32_beside_a_large_mean(make, shape, rng):
    """Mean 1e4, deviation 1: the digits that float32 has for x are all there are, and all count."""
    x = (1e4 + rng.standard_normal(shape)).astype(np.float32)
    grad_output = rng.standard_normal(shape).astype(np.float32)
    single, double = build(make(), shape, rng, np.float32), build(make(), shape, rng)
    double.flat_params[...] = single.flat_params
    tolerance = 2e-6
    y = single.forward(x, training=True)
    assert_allclose(y, double.forward(x, training=True), rtol=0, atol=tolerance)
    grad_input = single.backward(grad_output)
    assert_allclose(grad_input, double.backward(grad_output), rtol=0, atol=tolerance)
    assert_allclose(single.flat_grads, double.flat_grads, rtol=1e-4, atol=1e-2)
    assert y.dtype == grad_input.dtype == np.float32
    for name, buffer in single.buffers.items():
        assert_allclose(buffer, double.buffers[name], rtol=1e-6)


def test_float32_mean_of_many_large_values(rng):
    """Rounding in the sum of 100,000 values does not reach the mean."""
    x = (1e4 + rng.standard_normal((100_000, 8))).astype(np.float32)
    layer = BatchNorm(momentum=1).build(8)
    layer.forward(x, training=True)
    one_bit = np.finfo(np.float32).eps
    assert_allclose(layer.buffers["running_mean"], x.mean(0, dtype=np.float64), rtol=one_bit)


@pytest.mark.parametrize("course", ["ramp", "step", "peak"])
def test_statistics_of_data_whose_mean_moves_along_the_batch(course, rng):
    t = np.linspace(-1, 1, 40_000)[:, np.newaxis]
    mean = {"ramp": 1e3 * t, "step": np.where(t > 0.9, 1e3, -7), "peak": 1e6 * (t == -1)}[course]
    x = (mean + rng.standard_normal((len(t), 3))).astype(np.float32)
    layer = BatchNorm(momentum=1.0, eps=1e-9).build(3, random_state=0)
    y = layer.forward(x, training=True)
    exact = x.astype(np.float64)
    var = exact.var(axis=0, ddof=1)
    assert_allclose(layer.buffers["running_mean"], exact.mean(axis=0), atol=1e-6 * var.max() ** 0.5)
    assert_allclose(layer.buffers["running_var"], var, rtol=5e-5)
    assert_allclose(y, (exact - exact.mean(axis=0)) / exact.std(axis=0), rtol=1e-4, atol=1e-5)


@each_layer
def test_nan_shows(make, rng):
    layer = build(make(), (4, 6, 4), rng)
    x = rng.standard_normal((4, 6, 4))
    x[1, 2, 3] = np.nan
    assert np.isnan(layer.forward(x, training=True)[1, 2, 3])
    assert np.isnan(layer.backward(np.ones(x.shape))[1, 2, 3])


# ---------------------------------------------------------------- what the formulas imply


@st.composite
def distinct_numbers(draw):
    """No two are equal, so no block is nearly constant and eps does not matter."""
    shape = draw(st.tuples(st.integers(2, 5), st.integers(1, 4), st.just(6)))
    order = draw(st.permutations(range(int(np.prod(shape)))))
    return np.reshape(order, shape) * 1.0


@given(distinct_numbers(), st.floats(0.1, 10), st.floats(-10, 10))
def test_output_ignores_scale_and_shift_of_the_input(x, scale, shift):
    for layer in (BatchNorm(eps=1e-12), LayerNorm(eps=1e-12), GroupNorm(2, eps=1e-12)):
        layer.build(x.shape[1:], dtype=np.float64)
        y = layer.forward(x, training=True)
        assert_allclose(layer.forward(scale * x + shift, training=True), y, atol=1e-9)


@given(distinct_numbers())
def test_gradient_is_orthogonal_to_what_the_output_ignores(x):
    n, t, c = x.shape
    blocks = {  # which cells share statistics
        BatchNorm(eps=1e-12): lambda a: a.reshape(-1, c).T,
        LayerNorm(eps=1e-12): lambda a: a.reshape(-1, c),
        GroupNorm(3, eps=1e-12): lambda a: a.reshape(n, t, 3, 2).swapaxes(1, 2).reshape(n * 3, -1),
    }
    for layer, block in blocks.items():
        layer.build(x.shape[1:], dtype=np.float64)
        y = layer.forward(x, training=True)
        grad_input = layer.backward(np.cos(np.arange(x.size)).reshape(x.shape))
        assert_allclose(block(grad_input).sum(1), 0, atol=1e-9)
        assert_allclose((block(grad_input) * block(y)).sum(1), 0, atol=1e-9)


def test_relatives(rng):
    """One formula: where the blocks of cells are the same, the layers agree."""
    x = rng.standard_normal((3, 4, 6))

    def run(layer, x):
        layer.build(x.shape[1:], dtype=np.float64)
        return layer.forward(x, training=True), layer.backward(np.sin(x))

    rows = x.reshape(12, 6)
    assert_allclose(run(GroupNorm(1), rows), run(LayerNorm(), rows), atol=1e-12)
    each_sample = [run(BatchNorm(), sample[None]) for sample in x]
    assert_allclose(run(GroupNorm(6), x), np.concatenate(each_sample, axis=1), atol=1e-12)
    centred = x - x.mean(-1, keepdims=True)
    assert_allclose(run(RMSNorm(eps=1e-5), centred)[0], run(LayerNorm(eps=1e-5), x)[0], atol=1e-12)


@given(st.integers(0, 10**6), st.integers(1, 40000))
def test_row_length_divides_the_array(n_positions, channels):
    width = row_length(n_positions, channels)
    assert width >= channels and width % channels == 0
    assert n_positions * channels % width == 0
    assert width == channels or 16 * width <= n_positions * channels


# ---------------------------------------------------------------- inputs of all kinds


@each_layer
@pytest.mark.parametrize("training", [False, True])
def test_layouts_of_memory(make, training, rng):
    shape = (4, 9, 8, 4)
    x, grad_output = rng.standard_normal(shape), rng.standard_normal(shape)
    layer = build(make(), shape, rng)
    layer.forward(x, training)
    state = {name: buffer.copy() for name, buffer in layer.buffers.items()}

    def run(x, grad_output):
        for name, buffer in layer.buffers.items():
            buffer[...] = state[name]
        y = layer.forward(x, training)
        return np.array([y, layer.backward(grad_output)]), layer.flat_grads.copy()

    expected = run(x, grad_output)
    for convert in (np.asfortranarray, lambda a: a[::-1].copy()[::-1], read_only):
        for actual, wanted in zip(run(convert(x), convert(grad_output)), expected, strict=True):
            assert_allclose(actual, wanted, rtol=1e-9, atol=1e-12)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            BatchNorm(momentum=1.5),
            "in BatchNorm(momentum=1.5): momentum must be a number between 0 and 1, got 1.5",
        ),
        (
            BatchNorm(momentum=None),
            "in BatchNorm(momentum=None): momentum must be a number between 0 and 1, got None",
        ),
        (BatchNorm(eps=0), "in BatchNorm(eps=0): eps must be a positive number, got 0"),
        (
            LayerNorm(eps=-1e-5),
            "in LayerNorm(eps=-1e-05): eps must be a positive number, got -1e-05",
        ),
        (RMSNorm(eps=float("nan")), "in RMSNorm(eps=nan): eps must be a positive number, got nan"),
        (
            GroupNorm(4),
            "in GroupNorm(groups=4): groups must be a positive integer that divides "
            "the 6 channels, got 4",
        ),
        (
            GroupNorm(0),
            "in GroupNorm(groups=0): groups must be a positive integer that divides the "
            "6 channels, got 0",
        ),
        (
            GroupNorm(2.0),
            "in GroupNorm(groups=2.0): groups must be a positive integer that divides "
            "the 6 channels, got 2.0",
        ),
    ],
)
def test_hyper_parameters_are_refused_by_name(layer, message):
    with raises_exactly(ValueError, message):
        layer.build((3, 6))


@each_layer
def test_a_sample_needs_channels(make):
    with raises_exactly(
        ValueError,
        re.compile(r"in .*\): expects \(n_samples, \.\.\., channels\), got \(n_samples,\)"),
    ):
        make().build(())


@each_layer
def test_scales_and_shifts_are_exempt_from_decay(make):
    assert not any(slot.decay for slot in make().build(4).layout)


# ---------------------------------------------------------------- InstanceNorm


@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 3, 2, 4), (4, 9, 8, 3), (2, 2, 3, 2, 3)], ids=str)
def test_instance_norm_is_torch(shape, rng):
    torch = pytest.importorskip("torch")
    layer = build(InstanceNorm(eps=1e-3), shape, rng)
    c = shape[-1]
    kinds = {3: torch.nn.InstanceNorm1d, 4: torch.nn.InstanceNorm2d, 5: torch.nn.InstanceNorm3d}
    module = kinds[len(shape)](c, eps=1e-3, affine=True).double()
    module.weight.data[...] = torch.tensor(layer.params["gamma"])
    module.bias.data[...] = torch.tensor(layer.params["beta"])
    for training in (True, False):
        module.train(training)
        x, grad_output = 2 + 3 * rng.standard_normal(shape), rng.standard_normal(shape)
        tx = torch.tensor(x, requires_grad=True)
        ty = module(tx.movedim(-1, 1)).movedim(1, -1)
        module.zero_grad()
        ty.backward(torch.tensor(grad_output))
        close = {"rtol": 1e-9, "atol": 1e-9}
        assert_allclose(layer.forward(x, training=training), ty.detach().numpy(), **close)
        assert_allclose(layer.backward(grad_output), tx.grad.numpy(), **close)
        assert_allclose(layer.grads["gamma"], module.weight.grad.numpy(), **close)
        assert_allclose(layer.grads["beta"], module.bias.grad.numpy(), **close)


def test_instance_norm_takes_the_contrast_out(rng):
    x = rng.standard_normal((2, 4, 5, 3))
    layer = InstanceNorm(eps=1e-12).build((4, 5, 3), dtype=np.float64)
    assert_allclose(layer.infer(7 * x + [1.0, -2.0, 30.0]), layer.infer(x), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("shape", [(4,), (1, 4), (1, 1, 4)], ids=str)
def test_instance_norm_of_one_position_is_refused(shape):
    with raises_exactly(
        ValueError,
        re.compile(
            r"in InstanceNorm\(\): expects \(n_samples, \.\.\., channels\) with at least "
            r"two positions, got \(n_samples, .*\)"
        ),
    ):
        InstanceNorm().build(shape)
