"""Pooling layers: hand values, PyTorch, ties, padding, and what they refuse."""

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import Layer
from layerkit.layers.global_pooling import (
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
)
from layerkit.layers.pooling import AvgPool1D, AvgPool2D, MaxPool1D, MaxPool2D


def assert_like_torch(layer, x, function):
    """``function(x)`` in PyTorch, channels first, has our values and our gradient."""
    torch = pytest.importorskip("torch")
    y = layer.forward(x)
    grad_output = np.random.default_rng(1).normal(size=y.shape)
    grad_input = layer.backward(grad_output)
    tx = torch.tensor(x, requires_grad=True)
    ty = function(tx.movedim(-1, 1)).movedim(1, -1)
    ty.backward(torch.tensor(grad_output))
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=0, atol=1e-9)
    np.testing.assert_allclose(grad_input, tx.grad.numpy(), rtol=0, atol=1e-9)


def same_padding(n, size, stride):
    """TensorFlow's rule, as its documentation states it."""
    total = max(size - stride, 0) if n % stride == 0 else max(size - n % stride, 0)
    return total // 2, total - total // 2


WINDOWS_2D = [
    {},
    dict(pool_size=3, stride=2),
    dict(pool_size=3, stride=1, padding=1),
    dict(pool_size=(2, 3), stride=(3, 1)),
    dict(pool_size=(4, 2), padding=(2, 1)),
    dict(pool_size=2, stride=3),  # cells that nobody sees
    dict(pool_size=(7, 6)),
    dict(pool_size=1, stride=2),
]


@pytest.mark.parametrize("params", WINDOWS_2D)
@pytest.mark.parametrize("whole_numbers", [False, True])
def test_max_pool2d_is_torch(params, whole_numbers, rng):
    functional = pytest.importorskip("torch.nn.functional")
    # Whole numbers tie often: the first of equals wins here and there.
    x = rng.integers(-9, -5, (3, 7, 6, 2)) * 1.0 if whole_numbers else rng.normal(size=(3, 7, 6, 2))
    layer = MaxPool2D(**params)
    geometry = layer.pool_size, layer.stride, 0 if layer.padding == "valid" else layer.padding
    assert_like_torch(layer, x, lambda t: functional.max_pool2d(t, *geometry))


@pytest.mark.parametrize("params", WINDOWS_2D)
def test_avg_pool2d_is_torch(params, rng):
    functional = pytest.importorskip("torch.nn.functional")
    layer = AvgPool2D(**params)
    geometry = layer.pool_size, layer.stride, 0 if layer.padding == "valid" else layer.padding
    assert_like_torch(
        layer,
        rng.normal(size=(3, 7, 6, 2)),
        lambda t: functional.avg_pool2d(t, *geometry, count_include_pad=False),
    )


WINDOWS_1D = [{}, dict(pool_size=3, stride=2, padding=1), dict(pool_size=3, stride=1)]


@pytest.mark.parametrize("params", WINDOWS_1D)
def test_pool1d_is_torch(params, rng):
    functional = pytest.importorskip("torch.nn.functional")
    x = rng.normal(size=(3, 8, 2))
    layer = MaxPool1D(**params)
    geometry = layer.pool_size, layer.stride, 0 if layer.padding == "valid" else layer.padding
    assert_like_torch(layer, x, lambda t: functional.max_pool1d(t, *geometry))
    assert_like_torch(
        AvgPool1D(**params),
        x,
        lambda t: functional.avg_pool1d(t, *geometry, count_include_pad=False),
    )


@pytest.mark.parametrize("size, stride", [((3, 3), (1, 1)), ((3, 2), (2, 2)), ((2, 5), (2, 3))])
def test_same_padding_is_torch_padded(size, stride, rng):
    """Max: padding of -inf. Mean: the sum over padded zeros by the sum over padded ones."""
    functional = pytest.importorskip("torch.nn.functional")
    x = rng.normal(size=(3, 7, 6, 2)) - 5
    top_bottom, left_right = map(same_padding, (7, 6), size, stride)
    around = (*left_right, *top_bottom)

    def largest(t):
        return functional.max_pool2d(functional.pad(t, around, value=-np.inf), size, stride)

    def mean(t):
        def total(u):
            return functional.avg_pool2d(functional.pad(u, around), size, stride)

        return total(t) / total(t.detach() * 0 + 1)

    assert_like_torch(MaxPool2D(size, stride, padding="same"), x, largest)
    assert_like_torch(AvgPool2D(size, stride, padding="same"), x, mean)


def test_global_pooling_is_torch(rng):
    image, sequence = rng.normal(size=(3, 4, 5, 2)), rng.normal(size=(3, 6, 2))
    assert_like_torch(GlobalAvgPool2D(), image, lambda t: t.mean(dim=(2, 3)))
    assert_like_torch(GlobalAvgPool1D(), sequence, lambda t: t.mean(dim=2))
    assert_like_torch(GlobalMaxPool2D(), image, lambda t: t.flatten(2).max(dim=2).values)
    assert_like_torch(GlobalMaxPool1D(), sequence, lambda t: t.max(dim=2).values)


def test_max_pool_by_hand():
    x = np.reshape([1.0, 5, 2, 0, 3, 4, 6, 6, -1, -2, -3, -4, -9, -9, -9, -9], (1, 4, 4, 1))
    layer = MaxPool2D()
    assert layer.forward(x).ravel().tolist() == [5, 6, -1, -3]
    grad_input = layer.backward(np.reshape([1.0, 2, 3, 4], (1, 2, 2, 1)))
    expected = [[0, 1, 0, 0], [0, 0, 2, 0], [3, 0, 4, 0], [0, 0, 0, 0]]
    assert grad_input[0, :, :, 0].tolist() == expected


def test_overlapping_maxima_add_up():
    layer = MaxPool1D(pool_size=2, stride=1)
    assert layer.forward(np.reshape([1.0, 9, 2], (1, 3, 1))).ravel().tolist() == [9, 9]
    assert layer.backward(np.reshape([1.0, 10], (1, 2, 1))).ravel().tolist() == [0, 11, 0]


def test_average_does_not_count_padding():
    layer = AvgPool1D(pool_size=3, stride=1, padding=1)
    assert layer.forward(np.reshape([2.0, 4, 9], (1, 3, 1))).ravel().tolist() == [3, 5, 6.5]
    grad_input = layer.backward(np.reshape([6.0, 60, 600], (1, 3, 1)))
    assert grad_input.ravel().tolist() == [23, 323, 320]


@pytest.mark.parametrize(
    "layer, shape, first",
    [
        (MaxPool2D(), (2, 2), (0, 0)),
        (MaxPool2D(3, padding=1), (2, 2), (0, 0)),
        (MaxPool1D(), (2,), (0,)),
        (GlobalMaxPool2D(), (2, 3), (0, 0)),
        (GlobalMaxPool1D(), (3,), (0,)),
    ],
)
@pytest.mark.parametrize("value", [0.0, -1.0, -np.inf, np.inf])
def test_of_equals_the_first_gets_the_gradient(layer, shape, first, value):
    y = layer.forward(np.full((1, *shape, 1), value))
    assert (y == value).all()
    grad_input = layer.backward(np.full(y.shape, 7.0))
    assert grad_input[0, *first, 0] == 7
    assert np.count_nonzero(grad_input) == 1


@pytest.mark.parametrize("layer", [MaxPool2D(2), MaxPool2D(2, padding=1), GlobalMaxPool2D()])
def test_nan_passes(layer):
    for cell in np.ndindex(2, 2):
        x = np.ones((1, 2, 2, 1))
        x[0, *cell, 0] = np.nan
        assert np.isnan(layer.forward(x)).sum() == 1


LAYERS = [
    (MaxPool2D(), (5, 4, 2)),
    (MaxPool2D(3, stride=1, padding="same"), (4, 5, 2)),
    (MaxPool1D(3, stride=2, padding=1), (6, 2)),
    (AvgPool2D(3, stride=(1, 2), padding=(1, 2)), (4, 5, 2)),
    (AvgPool2D(), (5, 4, 2)),
    (AvgPool1D(3, stride=2, padding="same"), (6, 2)),
    (GlobalAvgPool2D(), (3, 4, 2)),
    (GlobalAvgPool1D(), (4, 2)),
    (GlobalMaxPool2D(), (3, 4, 2)),
    (GlobalMaxPool1D(), (4, 2)),
]
each_layer = pytest.mark.parametrize("layer, shape", LAYERS, ids=lambda v: repr(v))


def fresh(layer: Layer) -> Layer:
    return type(layer)(**layer.get_params())


@each_layer
def test_results_are_the_callers_own(layer, shape, rng):
    """They may be written to, and neither the input nor a later result changes them."""
    layer = fresh(layer)
    x = rng.normal(size=(3, *shape))
    before = x.copy()
    y = layer.forward(x)
    grad_input = layer.backward(np.ones_like(y))
    y[...], grad_input[...] = 1e9, 1e9
    np.testing.assert_array_equal(x, before)
    assert np.abs(layer.forward(x)).max() < 1e9
    assert (y == 1e9).all() and (grad_input == 1e9).all()


def test_large_windows():
    """More than 256 cells in a window: their numbers do not fit a byte."""
    x = np.zeros((1, 20, 20, 1))
    x[0, 19, 18, 0] = 3
    layer = MaxPool2D(20)
    assert layer.forward(x).tolist() == [[[[3.0]]]]
    np.testing.assert_array_equal(layer.backward(np.full((1, 1, 1, 1), 3.0)), x)


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (
            MaxPool2D(0),
            (4, 4, 1),
            "in MaxPool2D(pool_size=0): pool_size must be an integer of at least 1 or a "
            "pair of them, got 0",
        ),
        (
            MaxPool2D((2, 2, 2)),
            (4, 4, 1),
            "in MaxPool2D(pool_size=(2, 2, 2)): pool_size must be an integer of at least "
            "1 or a pair of them, got (2, 2, 2)",
        ),
        (
            MaxPool2D(2, stride=0),
            (4, 4, 1),
            "in MaxPool2D(stride=0): stride must be an integer of at least 1 or a pair "
            "of them, got 0",
        ),
        (
            MaxPool2D(2, padding="full"),
            (4, 4, 1),
            'in MaxPool2D(padding=\'full\'): padding must be "valid", "same", an '
            "integer of at least 0 or a pair of them, got 'full'",
        ),
        (
            MaxPool2D(2, padding=2),
            (4, 4, 1),
            "in MaxPool2D(padding=2): padding must be less than pool_size=2, got 2",
        ),
        (
            AvgPool2D((3, 2), padding=2),
            (4, 4, 1),
            "in AvgPool2D(pool_size=(3, 2), padding=2): padding must be less than "
            "pool_size=(3, 2), got 2",
        ),
        (
            MaxPool2D(5),
            (4, 6, 1),
            "in MaxPool2D(pool_size=5): expects at least 5 x 5 cells, to fill one "
            "window, got (n_samples, 4, 6, 1)",
        ),
        (
            AvgPool1D(5),
            (4, 1),
            "in AvgPool1D(pool_size=5): expects at least 5 cells, to fill one window, "
            "got (n_samples, 4, 1)",
        ),
        (
            AvgPool2D(),
            (4, 4),
            "in AvgPool2D(): expects (n_samples, height, width, channels), got (n_samples, 4, 4); "
            "Reshape((4, 4, 1)) before it adds the channel",
        ),
        (
            MaxPool1D(),
            (4, 4, 1),
            "in MaxPool1D(): expects (n_samples, time, channels), got (n_samples, 4, 4, 1)",
        ),
        (
            MaxPool1D((2, 2)),
            (4, 1),
            "in MaxPool1D(pool_size=(2, 2)): pool_size must be an integer of at least 1, "
            "got (2, 2)",
        ),
        (
            GlobalAvgPool2D(),
            (4, 4),
            "in GlobalAvgPool2D(): expects (n_samples, height, width, channels), got "
            "(n_samples, 4, 4); Reshape((4, 4, 1)) before it adds the channel",
        ),
        (
            GlobalMaxPool2D(),
            (4,),
            "in GlobalMaxPool2D(): expects (n_samples, height, width, channels), got "
            "(n_samples, 4); Reshape((height, width, channels)) before it makes images",
        ),
        (
            GlobalAvgPool1D(),
            (4, 4, 1),
            "in GlobalAvgPool1D(): expects (n_samples, time, channels), got (n_samples, 4, 4, 1)",
        ),
        (
            GlobalMaxPool1D(),
            (4,),
            "in GlobalMaxPool1D(): expects (n_samples, time, channels), got (n_samples, 4); "
            "Reshape((4, 1)) before it adds the channel",
        ),
    ],
)
def test_what_cannot_be_is_refused(layer, shape, message):
    with raises_exactly(ValueError, message) as error:
        fresh(layer).build(shape)
    assert type(layer).__name__ in str(error.value)
