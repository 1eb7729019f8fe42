"""Random nested networks keep the contract that their layers keep one by one."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import layerkit.layers as nn
from layerkit import check_gradients
from layerkit.interchange import from_onnx, from_pytorch, to_onnx, to_pytorch

DEPTH = 4
SIDE = st.integers(1, 5)
WIDTH = st.integers(1, 4)
PADDING = st.sampled_from(["valid", "same", 1])

# A generous eps: where a channel hardly varies, standardization is too curved to be differenced.
EPS = 0.1


def output_shape(layer, input_shape):
    return copy.deepcopy(layer).build(input_shape).output_shape


def pointwise_layers():
    """Layers that take any shape and keep it, but for the number of channels."""
    return st.one_of(
        st.builds(nn.Dense, WIDTH, use_bias=st.booleans()),
        st.builds(nn.Maxout, WIDTH, st.integers(1, 3)),
        st.sampled_from([nn.ReLU, nn.Tanh, nn.GELU, nn.ELU, nn.PReLU, nn.HardSwish]).map(
            lambda kind: kind()
        ),
        st.sampled_from([nn.BatchNorm, nn.LayerNorm, nn.RMSNorm]).map(lambda kind: kind(eps=EPS)),
        st.builds(nn.Dropout, st.sampled_from([0.0, 0.3])),
    )


@st.composite
def sliding_layers(draw, input_shape):
    """Convolutions and pooling over the axes between batch and channels, wherever they fit."""
    n_axes = len(input_shape) - 1
    sizes = tuple(draw(st.integers(1, side)) for side in input_shape[:-1])
    strides = tuple(draw(st.integers(1, 3)) for _ in sizes)
    padding = draw(PADDING) if min(sizes) > 1 else "same"
    if n_axes == 1:
        (sizes,), (strides,) = sizes, strides
    pools = [nn.MaxPool1D, nn.AvgPool1D] if n_axes == 1 else [nn.MaxPool2D, nn.AvgPool2D]
    convolution = nn.Conv1D if n_axes == 1 else nn.Conv2D
    groups = draw(st.sampled_from([g for g in (1, 2, 3) if input_shape[-1] % g == 0]))
    filters = groups * draw(st.integers(1, 2))
    return draw(
        st.sampled_from(
            [
                *(pool(sizes, strides, padding=padding) for pool in pools),
                convolution(filters, sizes, stride=strides, padding=padding, groups=groups),
                convolution(filters, sizes, stride=strides, padding="same", dilation=2),
            ]
        )
    )


@st.composite
def networks(draw, input_shape, depth, keeps_positions=False):
    """Draw a network for inputs of a shape; ``keeps_positions``: only the channels may change."""
    kinds = ["pointwise"]
    if not keeps_positions and len(input_shape) > 1:
        kinds.append("sliding")
    if depth > 1:
        kinds += ["sequential", "residual", "gate", "concat"]
    kind = draw(st.sampled_from(kinds))
    if kind == "pointwise":
        return draw(pointwise_layers())
    if kind == "sliding":
        return draw(sliding_layers(input_shape))
    if kind == "sequential":
        layers = []
        for _ in range(draw(st.integers(1, 3))):
            layers.append(draw(networks(input_shape, depth - 1, keeps_positions)))
            input_shape = output_shape(layers[-1], input_shape)
        return nn.Sequential(layers)
    if kind == "residual":
        body = draw(networks(input_shape, depth - 1, keeps_positions=True))
        channels = output_shape(body, input_shape)[-1]
        return nn.Residual(body, nn.Dense(channels) if channels != input_shape[-1] else None)
    if kind == "gate":
        gate = draw(networks(input_shape, depth - 1, keeps_positions=True))
        width = draw(st.sampled_from([1, input_shape[-1]]))
        return nn.Gate(nn.Sequential([gate, nn.Dense(width), nn.Sigmoid()]))
    branches = [draw(networks(input_shape, depth - 1, keeps_positions=True)) for _ in range(2)]
    return nn.Concat(branches)


@st.composite
def networks_with_input(draw):
    """A network with the shape that it takes: a table, a sequence or an image."""
    input_shape = (*draw(st.lists(SIDE, max_size=2)), draw(WIDTH))
    return draw(networks(input_shape, DEPTH)), input_shape


few = settings(max_examples=30)


@few
@given(networks_with_input())
def test_gradients_of_any_network(drawn):
    network, input_shape = drawn
    report = check_gradients(network, input_shape, n_samples=3, max_coordinates=12)
    assert report, f"{network!r} for {input_shape}\n{report}"


@few
@given(networks_with_input())
def test_copies_of_any_network(drawn):
    network, input_shape = drawn
    network.build(input_shape, random_state=0, dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((4, *input_shape))
    network.forward(x, training=True)  # running statistics and streams of noise move on
    expected = network.infer(x)
    copies = copy.deepcopy(network), pickle.loads(pickle.dumps(network))
    for twin in copies:
        assert_array_equal(twin.infer(x), expected)
        assert_array_equal(twin.forward(x, training=True), copy.deepcopy(network).forward(x, True))
    for twin in copies:
        twin.flat_params[...] += 1
    assert_array_equal(network.infer(x), expected)


@few
@given(networks_with_input(), st.integers(1, 3))
def test_samples_of_any_network_are_independent(drawn, n_samples):
    network, input_shape = drawn
    network.build(input_shape, random_state=0, dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((4, *input_shape))
    assert_allclose(
        network.infer(x)[:n_samples], network.infer(x[:n_samples]), rtol=1e-9, atol=1e-12
    )


def there_and_back(drawn, exchange):
    network, input_shape = drawn
    network.build(input_shape, random_state=0)
    rng = np.random.default_rng(0)
    network.flat_params[...] += 0.1 * rng.standard_normal(network.n_params)
    x = rng.standard_normal((3, *input_shape)).astype(np.float32)
    back = exchange(network)
    assert_allclose(back.infer(x), network.infer(x), rtol=1e-3, atol=1e-4)


@few
@given(networks_with_input())
def test_any_network_comes_back_from_onnx(drawn):
    pytest.importorskip("onnx")
    there_and_back(drawn, lambda network: from_onnx(to_onnx(network)))


@few
@given(networks_with_input())
def test_any_network_comes_back_from_pytorch(drawn):
    pytest.importorskip("torch")
    shape = drawn[1]
    there_and_back(drawn, lambda network: from_pytorch(to_pytorch(network), shape))
