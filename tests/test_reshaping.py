"""Reshaping layers: hand values, PyTorch, backward as the transpose, what they refuse."""

import math

import numpy as np
import pytest
from errors import raises_exactly
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from layerkit.layers.reshaping import Flatten, Permute, Reshape, UpSample2D, ZeroPad2D

CASES = [
    (Flatten(), (2, 3, 4)),
    (Flatten(), ()),
    (Reshape((4, 6)), (2, 3, 4)),
    (Reshape((-1, 2)), (2, 3, 4)),
    (Reshape(-1), (2, 3)),
    (Reshape(()), (1,)),
    (Permute((2, 1)), (3, 4)),
    (Permute((3, 1, 2)), (2, 3, 4)),
    (Permute(()), ()),
    (ZeroPad2D(0), (2, 3, 2)),
    (ZeroPad2D(2), (2, 3, 2)),
    (ZeroPad2D((1, 0)), (2, 3, 2)),
    (ZeroPad2D(((0, 1), (2, 3))), (2, 3, 2)),
    (UpSample2D(1), (2, 3, 2)),
    (UpSample2D(3), (2, 3, 2)),
    (UpSample2D((1, 2)), (2, 3, 2)),
]
each_case = pytest.mark.parametrize(("layer", "shape"), CASES, ids=str)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def assert_adjoint(layer, x, rng):
    """<A x, G> = <x, Aᵀ G>: backward is the transpose of the linear map forward."""
    y = layer.forward(x)
    grad_output = rng.standard_normal(y.shape)
    assert_allclose(np.vdot(y, grad_output), np.vdot(x, layer.backward(grad_output)), atol=1e-12)


@each_case
@pytest.mark.parametrize("n_samples", [0, 1, 3])
def test_backward_is_the_transpose(layer, shape, n_samples, rng):
    x = rng.standard_normal((n_samples, *shape))
    for same in (x, np.asfortranarray(x), x[::-1].copy()[::-1], read_only(x)):
        assert_adjoint(type(layer)(**layer.get_params()), same, rng)


@each_case
def test_both_modes_are_the_same(layer, shape, rng):
    x = rng.standard_normal((2, *shape))
    assert_array_equal(layer.forward(x, training=True), layer.infer(x))


# ---------------------------------------------------------------- one by one


def test_flatten_and_reshape_keep_the_order(rng):
    x = np.arange(24).reshape(1, 2, 3, 4)
    assert Flatten().forward(x).tolist() == [list(range(24))]
    assert_array_equal(Reshape((6, 4)).forward(x), np.arange(24).reshape(1, 6, 4))
    assert_array_equal(Reshape([2, -1]).forward(x), np.arange(24).reshape(1, 2, 12))


@given(st.permutations([2, 3, 4]), st.sampled_from([0, 1, 2]))
def test_reshape_finds_the_missing_size(sizes, missing):
    target = [-1 if i == missing else size for i, size in enumerate(sizes)]
    assert Reshape(tuple(target)).build((24,)).output_shape == tuple(sizes)


@given(st.permutations([1, 2, 3, 4]))
def test_permute_puts_axes_where_it_says(axes):
    x = np.arange(240.0).reshape(2, 2, 3, 4, 5)
    layer = Permute(tuple(axes))
    y = layer.forward(x)
    index = (1, 1, 2, 3, 0)
    assert y[(1, *(index[axis] for axis in axes))] == x[index]
    assert_array_equal(layer.backward(y), x)


def test_permute_is_torch(rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 4, 5))
    expected = torch.tensor(x).permute(0, 3, 1, 2).numpy()
    assert_array_equal(Permute((3, 1, 2)).forward(x), expected)


@pytest.mark.parametrize(
    ("padding", "torch_padding"),
    [(2, (2, 2, 2, 2)), ((1, 3), (3, 3, 1, 1)), (((1, 2), (3, 4)), (3, 4, 1, 2))],
)
def test_zero_padding_is_torch(padding, torch_padding, rng):
    torch = pytest.importorskip("torch")
    assert_like_torch(ZeroPad2D(padding), torch.nn.ZeroPad2d(torch_padding), rng)


@pytest.mark.parametrize("size", [2, (3, 1), (1, 4)])
def test_up_sampling_is_torch(size, rng):
    torch = pytest.importorskip("torch")
    assert_like_torch(UpSample2D(size), torch.nn.Upsample(scale_factor=size, mode="nearest"), rng)


def assert_like_torch(layer, module, rng, atol=0.0):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 4, 5))
    y = layer.forward(x)
    grad_output = rng.standard_normal(y.shape)
    tx = torch.tensor(x, requires_grad=True)
    ty = module(tx.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    ty.backward(torch.tensor(grad_output))
    assert_allclose(y, ty.detach().numpy(), rtol=0, atol=atol)
    assert_allclose(layer.backward(grad_output), tx.grad.numpy(), rtol=0, atol=1e-9)


@given(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2), st.integers(1, 3))
def test_padding_any_side(padding, size):
    (top, bottom), (left, right) = padding
    x = np.arange(1.0, 13).reshape(1, 2, 3, 2)
    y = ZeroPad2D(padding).forward(x)
    assert y.shape == (1, top + 2 + bottom, left + 3 + right, 2)
    assert_array_equal(y[:, top : top + 2, left : left + 3], x)
    assert y.sum() == x.sum()
    enlarged = UpSample2D(size).forward(x)
    assert_array_equal(enlarged[:, size - 1 :: size, ::size], x)
    assert enlarged.sum() == size * size * x.sum()


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (5,),
            "in Reshape(shape=(5,)): shape must be a shape for the 6 values of a sample "
            "(2, 3), got (5,)",
        ),
        (
            (4, -1),
            "in Reshape(shape=(4, -1)): shape must be a shape for the 6 values of a "
            "sample (2, 3), got (4, -1)",
        ),
        (
            (-1, -1),
            "in Reshape(shape=(-1, -1)): shape must be positive integers, or -1 at most "
            "once, got (-1, -1)",
        ),
        (
            (0, -1),
            "in Reshape(shape=(0, -1)): shape must be positive integers, or -1 at most "
            "once, got (0, -1)",
        ),
        (
            (2.0, 3),
            "in Reshape(shape=(2.0, 3)): shape must be positive integers, or -1 at most "
            "once, got (2.0, 3)",
        ),
        (
            "ab",
            "in Reshape(shape='ab'): shape must be positive integers, or -1 at most once, got 'ab'",
        ),
        (
            None,
            "in Reshape(shape=None): shape must be positive integers, or -1 at most once, got None",
        ),
    ],
)
def test_reshape_refuses(shape, message):
    with raises_exactly(ValueError, message):
        Reshape(shape).build((2, 3))


@pytest.mark.parametrize("axes", [(1,), (0, 1), (1, 1), (1, 3), (1, 2, 3), (1.0, 2), 2, "12", None])
def test_permute_refuses(axes):
    with raises_exactly(
        ValueError, f"in Permute(axes={axes!r}): axes must be a permutation of (1, 2), got {axes!r}"
    ):
        Permute(axes).build((2, 3))


@pytest.mark.parametrize(
    "padding", [-1, (1, -1), (1, 2, 3), ((1, 2), (3,)), 1.0, (1.0, 2), "same", None, True, (1,)]
)
def test_padding_refuses(padding):
    with raises_exactly(
        ValueError,
        f"in ZeroPad2D(padding={padding!r}): padding must be an integer of at least 0, "
        f"a pair, or a pair of pairs of them, got {padding!r}",
    ):
        ZeroPad2D(padding).build((2, 3, 1))


@pytest.mark.parametrize("size", [0, (1, 0), (1, 2, 3), 1.5, "2", None])
def test_up_sampling_refuses(size):
    with raises_exactly(
        ValueError,
        f"in UpSample2D(size={size!r}): size must be an integer of at least 1 or a pair "
        f"of them, got {size!r}",
    ):
        UpSample2D(size).build((2, 3, 1))


@pytest.mark.parametrize("layer", [ZeroPad2D(1), UpSample2D(2)], ids=str)
def test_images_are_needed(layer):
    with raises_exactly(
        ValueError,
        f"in {layer!r}: expects (n_samples, height, width, channels), got (n_samples, 8, 8); "
        "Reshape((8, 8, 1)) before it adds the channel",
    ):
        layer.build((8, 8))
    assert math.prod(layer.build((8, 8, 1)).output_shape) > 64


# ---------------------------------------------------------------- bilinear


@pytest.mark.parametrize("size", [1, 2, (3, 1), (1, 4), (5, 2)])
def test_bilinear_up_sampling_is_torch(size, rng):
    torch = pytest.importorskip("torch")
    module = torch.nn.Upsample(scale_factor=size, mode="bilinear", align_corners=False)
    assert_like_torch(UpSample2D(size, interpolation="bilinear"), module, rng, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, (3, 1), (4, 5)])
def test_bilinear_shares_add_up(size):
    """A constant image stays one, and one pixel alone fills the whole image."""
    for shape in [(1, 2, 3, 1), (1, 1, 1, 2), (1, 1, 4, 1)]:
        y = UpSample2D(size, interpolation="bilinear").forward(np.full(shape, 7.0))
        assert_allclose(y, 7.0, rtol=1e-12)


def test_bilinear_by_hand():
    layer = UpSample2D((1, 2), interpolation="bilinear")
    y = layer.forward(np.reshape([0.0, 4.0, 8.0], (1, 1, 3, 1)))
    assert y.ravel().tolist() == [0, 1, 3, 5, 7, 8]
    grad = layer.backward(np.reshape([1.0, 0, 0, 0, 0, 2.0], (1, 1, 6, 1)))
    assert grad.ravel().tolist() == [1, 0, 2]
    with raises_exactly(
        ValueError,
        "in UpSample2D(size=2, interpolation='cubic'): interpolation must be \"nearest\" "
        "or \"bilinear\", got 'cubic'",
    ):
        UpSample2D(2, interpolation="cubic").build((2, 3, 1))
