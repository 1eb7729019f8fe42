"""Convolution layers: hand values, PyTorch, adjoints, and what they refuse."""

import math

import numpy as np
import pytest
from errors import raises_exactly
from hypothesis import given, settings
from hypothesis import strategies as st

from layerkit import Layer, ReLU, Sequential, initializers
from layerkit.layers.convolution import Conv1D, Conv2D, ConvTranspose2D
from layerkit.layers.depthwise import DepthwiseConv2D, SeparableConv2D


def same_padding(n, size, stride, dilation=1):
    """TensorFlow's rule, as its documentation states it."""
    reach = dilation * (size - 1) + 1
    total = max(reach - stride, 0) if n % stride == 0 else max(reach - n % stride, 0)
    return total // 2, total - total // 2


def as_pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def run(layer, x, grad_output=None):
    """Build in float64 with every parameter drawn; return y, grad_output, dL/dx and the grads."""
    rng = np.random.default_rng(1)
    layer.build(x.shape[1:], random_state=0, dtype=np.float64)
    layer.flat_params[...] = rng.normal(size=layer.n_params)
    layer.flat_grads[...] = np.nan  # every element must be overwritten
    y = layer.forward(x, training=True)
    grad_output = rng.normal(size=y.shape) if grad_output is None else grad_output
    return y, grad_output, layer.backward(grad_output)


def assert_like_torch(layer, input_shape, function):
    """``function(x, params)`` in PyTorch, channels first, has our values and our gradients."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(3, *input_shape))
    y, grad_output, grad_input = run(layer, x)
    tensors = {k: torch.tensor(v, requires_grad=True) for k, v in layer.params.items()}
    tx = torch.tensor(x, requires_grad=True)
    ty = function(tx.movedim(-1, 1), tensors).movedim(1, -1)
    ty.backward(torch.tensor(grad_output))
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(grad_input, tx.grad.numpy(), rtol=0, atol=1e-9)
    for name, tensor in tensors.items():
        np.testing.assert_allclose(layer.grads[name], tensor.grad.numpy(), rtol=0, atol=1e-9)


def torch_conv2d(layer, tx, kernel, bias, groups):
    """``F.conv2d`` with our kernel layout; "same" by explicit padding."""
    import torch.nn.functional as F

    size, stride, dilation = kernel.shape[:2], as_pair(layer.stride), as_pair(layer.dilation)
    padding = {"valid": 0}.get(layer.padding, layer.padding)
    if padding == "same":
        top_bottom, left_right = map(same_padding, tx.shape[2:], size, stride, dilation)
        tx, padding = F.pad(tx, (*left_right, *top_bottom)), 0
    return F.conv2d(tx, kernel.permute(3, 2, 0, 1), bias, stride, padding, dilation, groups)


CONV2D = [
    (dict(filters=3, kernel_size=3), (7, 6, 2)),
    (dict(filters=3, kernel_size=3, use_bias=False), (7, 6, 1)),
    (dict(filters=4, kernel_size=(3, 2), stride=(2, 1), padding=(2, 1)), (7, 6, 5)),
    (dict(filters=4, kernel_size=(2, 5), padding=1, dilation=(3, 1)), (7, 6, 5)),
    (dict(filters=6, kernel_size=3, stride=2, padding=1, groups=2), (9, 8, 10)),
    (dict(filters=6, kernel_size=3, padding=3, groups=3), (5, 5, 3)),
    (dict(filters=4, kernel_size=3, padding=1, groups=4), (5, 5, 4)),
    (dict(filters=8, kernel_size=3, stride=3, dilation=2, groups=4), (9, 9, 4)),
    (dict(filters=5, kernel_size=1), (4, 4, 6)),
    (dict(filters=5, kernel_size=1, stride=2), (5, 5, 6)),
    (dict(filters=2, kernel_size=2, stride=3), (8, 8, 2)),  # cells that nobody sees
    (dict(filters=5, kernel_size=(4, 5)), (4, 5, 6)),  # one output
    (dict(filters=5, kernel_size=5), (6, 6, 3)),  # few outputs: the gradient is scattered
    (dict(filters=3, kernel_size=3, padding="same"), (5, 4, 2)),
    (dict(filters=3, kernel_size=4, padding="same"), (5, 4, 2)),
    (dict(filters=3, kernel_size=3, stride=2, padding="same"), (6, 5, 2)),
    (dict(filters=3, kernel_size=(5, 2), stride=(3, 2), padding="same"), (7, 9, 2)),
    (dict(filters=3, kernel_size=2, stride=3, padding="same"), (7, 6, 2)),
    (dict(filters=4, kernel_size=3, padding="same", dilation=2, groups=2), (6, 7, 4)),
    (dict(filters=4, kernel_size=3, stride=2, padding="same", dilation=2), (6, 7, 4)),
]


@pytest.mark.parametrize("params, input_shape", CONV2D)
def test_conv2d_is_torch(params, input_shape):
    layer = Conv2D(**params)
    assert_like_torch(
        layer, input_shape, lambda x, p: torch_conv2d(layer, x, p["W"], p.get("b"), layer.groups)
    )


@pytest.mark.parametrize(
    "params, input_shape",
    [
        (dict(filters=3, kernel_size=3), (8, 2)),
        (dict(filters=3, kernel_size=4, stride=2, padding=2, use_bias=False), (9, 5)),
        (dict(filters=4, kernel_size=3, dilation=2, groups=2), (9, 6)),
        (dict(filters=4, kernel_size=3, padding=1, groups=4), (9, 4)),
        (dict(filters=3, kernel_size=3, stride=2, padding="same"), (9, 2)),
        (dict(filters=3, kernel_size=4, stride=3, padding="same", dilation=2), (10, 2)),
    ],
)
def test_conv1d_is_torch(params, input_shape):
    functional = pytest.importorskip("torch.nn.functional")
    layer = Conv1D(**params)

    def function(x, p):
        padding = {"valid": 0}.get(layer.padding, layer.padding)
        if padding == "same":
            ends = same_padding(x.shape[2], layer.kernel_size, layer.stride, layer.dilation)
            x, padding = functional.pad(x, ends), 0
        kernel = p["W"].permute(2, 1, 0)
        return functional.conv1d(
            x, kernel, p.get("b"), layer.stride, padding, layer.dilation, layer.groups
        )

    assert_like_torch(layer, input_shape, function)


@pytest.mark.parametrize("multiplier", [1, 3])
@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(
    "params",
    [
        dict(kernel_size=3),
        dict(kernel_size=(2, 3), stride=2, padding=1),
        dict(kernel_size=3, stride=2, padding="same", use_bias=False),
        dict(kernel_size=3, padding="same", dilation=(1, 2)),
    ],
)
def test_depthwise_is_torch(params, channels, multiplier):
    layer = DepthwiseConv2D(depth_multiplier=multiplier, **params)
    assert_like_torch(
        layer, (7, 8, channels), lambda x, p: torch_conv2d(layer, x, p["W"], p.get("b"), channels)
    )
    assert layer.params["W"].shape[2:] == (1, channels * multiplier)


@pytest.mark.parametrize(
    "params",
    [
        dict(filters=5, kernel_size=3),
        dict(filters=2, kernel_size=(3, 2), stride=2, padding=1, depth_multiplier=2),
        dict(filters=2, kernel_size=3, padding="same", dilation=2, use_bias=False),
    ],
)
def test_separable_is_torch(params):
    torch = pytest.importorskip("torch")
    layer = SeparableConv2D(**params)

    def function(x, p):
        h = torch_conv2d(layer, x, p["W_depth"], None, x.shape[1])
        return torch.nn.functional.conv2d(h, p["W_point"].permute(3, 2, 0, 1), p.get("b"))

    assert_like_torch(layer, (7, 8, 3), function)


@pytest.mark.parametrize(
    "params",
    [
        dict(filters=3, kernel_size=3),
        dict(filters=3, kernel_size=3, padding=1, use_bias=False),
        dict(filters=3, kernel_size=4, stride=2, padding=1),
        dict(filters=3, kernel_size=3, stride=2, padding=1, output_padding=1),
        dict(filters=1, kernel_size=(2, 3), stride=(3, 2), output_padding=(2, 0)),
        dict(filters=3, kernel_size=3, stride=(1, 2), padding=(2, 0), dilation=2),
        dict(filters=2, kernel_size=1, stride=2),
        dict(filters=2, kernel_size=1, padding=1),  # cuts more than the kernel adds
        dict(filters=2, kernel_size=5, padding=3),
    ],
)
def test_conv_transpose_is_torch(params):
    functional = pytest.importorskip("torch.nn.functional")
    layer = ConvTranspose2D(**params)
    padding = {"valid": 0}.get(layer.padding, layer.padding)

    def function(x, p):
        kernel = p["W"].permute(2, 3, 0, 1)
        extra = layer.stride, padding, layer.output_padding, 1, layer.dilation
        return functional.conv_transpose2d(x, kernel, p.get("b"), *extra)

    assert_like_torch(layer, (5, 4, 2), function)


@pytest.mark.parametrize("size, stride", [(3, 2), (4, 2), (2, 2), (1, 2), (5, 3), (3, 1), (2, 1)])
def test_conv_transpose_same_is_torch_cut(size, stride):
    """padding="same" is the middle part of torch's full result, stride times the input."""
    functional = pytest.importorskip("torch.nn.functional")
    before, _ = same_padding(5 * stride, size, stride)

    def function(x, p):
        full = functional.conv_transpose2d(x, p["W"].permute(2, 3, 0, 1), stride=stride)
        full = functional.pad(full, (0, stride, 0, stride))  # a small kernel leaves cells untouched
        part = slice(before, before + 5 * stride)
        return full[:, :, part, part] + p["b"][:, None, None]

    layer = ConvTranspose2D(3, size, stride=stride, padding="same")
    assert_like_torch(layer, (5, 5, 2), function)
    assert layer.output_shape == (5 * stride, 5 * stride, 3)


def test_a_convolution_by_hand():
    layer = Conv2D(1, kernel_size=2).build((3, 3, 1), dtype=np.float64)
    layer.params["W"][:, :, 0, 0] = [[1, 2], [3, 4]]
    layer.params["b"][...] = 100
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    # [0 1; 3 4] . [1 2; 3 4] = 27: the kernel is not flipped
    assert layer.forward(x)[0, :, :, 0].tolist() == [[127, 137], [157, 167]]
    grad_input = layer.backward(np.reshape([1.0, 0, 0, 10], (1, 2, 2, 1)))
    assert grad_input[0, :, :, 0].tolist() == [[1, 2, 0], [3, 14, 20], [0, 30, 40]]
    assert layer.grads["W"][:, :, 0, 0].tolist() == [[40, 51], [73, 84]]
    assert layer.grads["b"].tolist() == [11]


@pytest.mark.parametrize(
    "n, size, stride, expected",
    [
        (4, 3, 2, [6, 7]),  # one cell of padding: after the last
        (5, 3, 2, [3, 9, 9]),  # two cells: one on each side
        (4, 2, 1, [3, 5, 7, 4]),
        (4, 1, 3, [1, 4]),
        (5, 1, 3, [1, 4]),
    ],
)
def test_same_padding_by_hand(n, size, stride, expected):
    layer = Conv1D(1, size, stride=stride, padding="same").build((n, 1), dtype=np.float64)
    layer.params["W"][...] = 1
    assert layer.forward(np.arange(1.0, n + 1).reshape(1, n, 1)).ravel().tolist() == expected


def test_separable_is_depthwise_then_pointwise(rng):
    x = rng.normal(size=(2, 6, 6, 3))
    layer = SeparableConv2D(4, 3, stride=2, padding="same", depth_multiplier=2)
    y, grad_output, grad_input = run(layer, x)
    depth = DepthwiseConv2D(3, stride=2, padding="same", depth_multiplier=2, use_bias=False)
    point = Conv2D(4, 1)
    depth.build((6, 6, 3), dtype=np.float64).params["W"][...] = layer.params["W_depth"]
    point.build(depth.output_shape, dtype=np.float64).params["W"][...] = layer.params["W_point"]
    point.params["b"][...] = layer.params["b"]
    np.testing.assert_array_equal(y, point.forward(depth.forward(x)))
    np.testing.assert_array_equal(grad_input, depth.backward(point.backward(grad_output)))
    np.testing.assert_array_equal(layer.grads["W_depth"], depth.grads["W"])
    np.testing.assert_array_equal(layer.grads["W_point"], point.grads["W"])


axis = st.integers(1, 3)


@settings(max_examples=60)
@given(
    size=st.tuples(axis, axis),
    stride=st.tuples(axis, axis),
    dilation=st.tuples(axis, axis),
    padding=st.sampled_from(["valid", "same", 1, (0, 2)]),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    data=st.data(),
)
def test_conv_transpose_is_the_adjoint_of_conv(
    size, stride, dilation, padding, height, width, data
):
    """<conv(x), g> = <x, convT(g)> with the same hyper-parameters and the same kernel."""
    more = (0, 0)
    if padding != "same":
        more = data.draw(st.tuples(*(st.integers(0, s - 1) for s in stride)))
        reach = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
        grown = [
            (n - 1) * s + r + m
            for n, s, r, m in zip((height, width), stride, reach, more, strict=True)
        ]
        amounts = as_pair(0 if padding == "valid" else padding)
        if any(g - 2 * p < 1 for g, p in zip(grown, amounts, strict=True)):
            padding = "valid"
    params = dict(stride=stride, padding=padding, dilation=dilation, use_bias=False)
    back = ConvTranspose2D(2, size, output_padding=more, **params)
    back.build((height, width, 3), random_state=0, dtype=np.float64)
    conv = Conv2D(3, size, **params).build(back.output_shape, dtype=np.float64)
    assert conv.output_shape == (height, width, 3)
    conv.params["W"][...] = back.params["W"].swapaxes(2, 3)
    rng = np.random.default_rng(0)
    x, g = rng.normal(size=(2, *conv.input_shape)), rng.normal(size=(2, height, width, 3))
    left, right = np.vdot(conv.forward(x), g), np.vdot(x, back.forward(g))
    assert left == pytest.approx(right, abs=1e-10)


LAYERS = [
    (Conv1D(4, 3, stride=2, padding="same", dilation=2, groups=2), (7, 4)),
    (Conv2D(4, 3, stride=(1, 2), padding="same", groups=2), (5, 6, 4)),
    (Conv2D(2, 3), (4, 4, 1)),
    (DepthwiseConv2D(3, depth_multiplier=2, padding=1), (4, 5, 2)),
    (SeparableConv2D(3, 3, stride=2, padding="same"), (5, 4, 2)),
    (ConvTranspose2D(2, 3, stride=2, padding="same"), (3, 4, 3)),
    (ConvTranspose2D(2, 2, stride=3, output_padding=2), (2, 3, 3)),
]
each_layer = pytest.mark.parametrize("layer, shape", LAYERS, ids=lambda v: repr(v))


def fresh(layer: Layer) -> Layer:
    return type(layer)(**layer.get_params())


@each_layer
def test_biases_start_at_zero_and_do_not_decay(layer, shape):
    layer = fresh(layer).build(shape, random_state=0)
    assert not layer.params["b"].any()
    assert {slot.path: slot.decay for slot in layer.layout} == {
        name: name != "b" for name in layer.params
    }
    assert all(layer.params[name].any() for name in layer.params if name != "b")


def test_groups_start_from_their_own_fans():
    """Glorot's variance 2 / (fan_in + fan_out) counts what one group reads and feeds."""
    grouped = Conv2D(64, 3, groups=32).build((3, 3, 64), random_state=0)
    limit = math.sqrt(6 / (9 * 2 + 9 * 2))
    assert limit * 0.95 < abs(grouped.params["W"]).max() <= limit
    depthwise = DepthwiseConv2D(3).build((3, 3, 64), random_state=0)
    limit = math.sqrt(6 / (9 + 9))
    assert limit * 0.95 < abs(depthwise.params["W"]).max() <= limit


def test_auto_suits_what_follows_each_step():
    """What follows the depthwise step is linear, whatever follows the layer."""
    layer = SeparableConv2D(64, 3)
    Sequential([layer, ReLU()]).build((3, 3, 64), random_state=0)
    glorot, he = math.sqrt(6 / (9 + 9)), math.sqrt(6 / 64)
    assert glorot * 0.95 < abs(layer.params["W_depth"]).max() <= glorot
    assert he * 0.95 < abs(layer.params["W_point"]).max() <= he


def test_initializer_is_used():
    ones = Conv2D(3, 2, initializer=initializers.ones).build((2, 2, 1))
    assert (ones.params["W"] == 1).all()
    both = SeparableConv2D(3, 2, initializer=initializers.ones).build((2, 2, 1))
    assert (both.params["W_depth"] == 1).all() and (both.params["W_point"] == 1).all()


@pytest.mark.parametrize(
    "layer, shape, expected",
    [
        (Conv2D(64, 3), (26, 26, 32), 24 * 24 * 64 * 3 * 3 * 32),
        (Conv2D(8, 3, groups=4, padding="same"), (5, 5, 12), 5 * 5 * 8 * 9 * 3),
        (Conv1D(8, 3, stride=2), (9, 2), 4 * 8 * 3 * 2),
        (DepthwiseConv2D(3, depth_multiplier=2), (5, 5, 4), 3 * 3 * 8 * 9),
        (SeparableConv2D(7, 3, depth_multiplier=2), (5, 5, 4), 3 * 3 * (8 * 9 + 8 * 7)),
        (ConvTranspose2D(7, 3, stride=2), (5, 5, 4), 5 * 5 * 4 * 9 * 7),
    ],
)
def test_multiply_adds(layer, shape, expected):
    assert fresh(layer).build(shape).multiply_adds() == expected


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (
            Conv2D(0, 3),
            (5, 5, 1),
            "in Conv2D(filters=0, kernel_size=3): filters must be a positive integer, got 0",
        ),
        (
            Conv2D(2.0, 3),
            (5, 5, 1),
            "in Conv2D(filters=2.0, kernel_size=3): filters must be a positive integer, got 2.0",
        ),
        (
            Conv2D(2, 0),
            (5, 5, 1),
            "in Conv2D(filters=2, kernel_size=0): kernel_size must be an integer of at "
            "least 1 or a pair of them, got 0",
        ),
        (
            Conv2D(2, (3, 3, 3)),
            (5, 5, 1),
            "in Conv2D(filters=2, kernel_size=(3, 3, 3)): kernel_size must be an integer "
            "of at least 1 or a pair of them, got (3, 3, 3)",
        ),
        (
            Conv2D(2, "3"),
            (5, 5, 1),
            "in Conv2D(filters=2, kernel_size='3'): kernel_size must be an integer of at "
            "least 1 or a pair of them, got '3'",
        ),
        (
            Conv2D(2, 3, stride=0),
            (5, 5, 1),
            "in Conv2D(filters=2, kernel_size=3, stride=0): stride must be an integer of "
            "at least 1 or a pair of them, got 0",
        ),
        (
            Conv2D(2, 3, stride=(1, -1)),
            (5, 5, 1),
            "in Conv2D(filters=2, kernel_size=3, stride=(1, -1)): stride must be an "
            "integer of at least 1 or a pair of them, got (1, -1)",
        ),
        (
            Conv2D(2, 3, dilation=0),
            (5, 5, 1),
            "in Conv2D(filters=2, kernel_size=3, dilation=0): dilation must be an "
            "integer of at least 1 or a pair of them, got 0",
        ),
        (
            Conv2D(2, 3, padding=-1),
            (5, 5, 1),
            'in Conv2D(filters=2, kernel_size=3, padding=-1): padding must be "valid", '
            '"same", an integer of at least 0 or a pair of them, got -1',
        ),
        (
            Conv2D(2, 3, padding="full"),
            (5, 5, 1),
            "in Conv2D(filters=2, kernel_size=3, padding='full'): padding must be "
            '"valid", "same", an integer of at least 0 or a pair of them, got \'full\'',
        ),
        (
            Conv2D(4, 3, groups=3),
            (5, 5, 6),
            "in Conv2D(filters=4, kernel_size=3, groups=3): groups must be a positive "
            "integer that divides 6 channels and 4 filters, got 3",
        ),
        (
            Conv2D(4, 3, groups=4),
            (5, 5, 6),
            "in Conv2D(filters=4, kernel_size=3, groups=4): groups must be a positive "
            "integer that divides 6 channels and 4 filters, got 4",
        ),
        (
            Conv2D(4, 3, groups=0),
            (5, 5, 6),
            "in Conv2D(filters=4, kernel_size=3, groups=0): groups must be a positive "
            "integer that divides 6 channels and 4 filters, got 0",
        ),
        (
            Conv2D(2, 3, initializer="he"),
            (5, 5, 1),
            "in Conv2D(filters=2, kernel_size=3, initializer='he'): initializer must be "
            "\"auto\" or a callable (shape, rng) -> array, got 'he'",
        ),
        (
            Conv2D(2, 3),
            (5, 5),
            "in Conv2D(filters=2, kernel_size=3): expects (n_samples, height, width, "
            "channels), got (n_samples, 5, 5); Reshape((5, 5, 1)) before it adds the channel",
        ),
        (
            Conv2D(2, (3, 2)),
            (2, 5, 1),
            "in Conv2D(filters=2, kernel_size=(3, 2)): expects at least 3 x 2 cells, to "
            "fill one window, got (n_samples, 2, 5, 1)",
        ),
        (
            Conv2D(2, 3, dilation=2, padding=1),
            (2, 5, 1),
            "in Conv2D(filters=2, kernel_size=3, padding=1, dilation=2): expects at "
            "least 3 x 3 cells, to fill one window, got (n_samples, 2, 5, 1)",
        ),
        (
            Conv1D(2, 3),
            (5, 5, 1),
            "in Conv1D(filters=2, kernel_size=3): expects (n_samples, time, channels), "
            "got (n_samples, 5, 5, 1)",
        ),
        (
            Conv1D(2, 3),
            (2, 1),
            "in Conv1D(filters=2, kernel_size=3): expects at least 3 cells, to fill one "
            "window, got (n_samples, 2, 1)",
        ),
        (
            Conv1D(2, (3, 3)),
            (5, 1),
            "in Conv1D(filters=2, kernel_size=(3, 3)): kernel_size must be an integer of "
            "at least 1, got (3, 3)",
        ),
        (
            DepthwiseConv2D(3, depth_multiplier=0),
            (5, 5, 1),
            "in DepthwiseConv2D(kernel_size=3, depth_multiplier=0): depth_multiplier "
            "must be a positive integer, got 0",
        ),
        (
            DepthwiseConv2D(3),
            (5,),
            "in DepthwiseConv2D(kernel_size=3): expects (n_samples, height, width, "
            "channels), got (n_samples, 5); "
            "Reshape((height, width, channels)) before it makes images",
        ),
        (
            SeparableConv2D(0, 3),
            (5, 5, 1),
            "in SeparableConv2D(filters=0, kernel_size=3): filters must be a positive "
            "integer, got 0",
        ),
        (
            SeparableConv2D(2, 3, depth_multiplier=0),
            (5, 5, 1),
            "in SeparableConv2D(filters=2, kernel_size=3, depth_multiplier=0): "
            "depth_multiplier must be a positive integer, got 0",
        ),
        (
            SeparableConv2D(2, 3),
            (5,),
            "in SeparableConv2D(filters=2, kernel_size=3): expects (n_samples, height, "
            "width, channels), got (n_samples, 5); "
            "Reshape((height, width, channels)) before it makes images",
        ),
        (
            ConvTranspose2D(2, 3),
            (5,),
            "in ConvTranspose2D(filters=2, kernel_size=3): expects (n_samples, height, "
            "width, channels), got (n_samples, 5); "
            "Reshape((height, width, channels)) before it makes images",
        ),
        (
            ConvTranspose2D(-1, 3),
            (5, 5, 1),
            "in ConvTranspose2D(filters=-1, kernel_size=3): filters must be a positive "
            "integer, got -1",
        ),
        (
            ConvTranspose2D(2, 3, output_padding=1),
            (5, 5, 1),
            "in ConvTranspose2D(filters=2, kernel_size=3, output_padding=1): "
            "output_padding must be less than the stride (1, 1), got 1",
        ),
        (
            ConvTranspose2D(2, 3, stride=2, padding="same", output_padding=1),
            (5, 5, 1),
            "in ConvTranspose2D(filters=2, kernel_size=3, stride=2, padding='same', "
            'output_padding=1): output_padding must be 0 where padding="same", got 1',
        ),
        (
            ConvTranspose2D(2, 3, padding=3),
            (3, 3, 1),
            "in ConvTranspose2D(filters=2, kernel_size=3, padding=3): padding must be "
            "small enough to leave an output, got 3",
        ),
    ],
)
def test_what_cannot_be_is_refused(layer, shape, message):
    with raises_exactly(ValueError, message) as error:
        fresh(layer).build(shape)
    assert type(layer).__name__ in str(error.value)


def test_lists_are_as_good_as_tuples(rng):
    """A JSON model file knows no tuples."""
    x = rng.normal(size=(2, 6, 6, 2))
    of_lists = Conv2D(3, [3, 2], stride=[2, 1], padding=[1, 0], dilation=[1, 2])
    of_tuples = Conv2D(3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    np.testing.assert_array_equal(run(of_lists, x)[0], run(of_tuples, x)[0])
