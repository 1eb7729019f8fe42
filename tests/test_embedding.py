"""Embedding: PyTorch, a Dense on one-hot rows, every kind of integer, what it refuses."""

import re

import numpy as np
import pytest
from errors import raises_exactly
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from layerkit import Columns, Dense, Flatten, Sequential
from layerkit.layers.embedding import Embedding


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4), (0, 3)], ids=str)
def test_is_torch(shape, rng):
    torch = pytest.importorskip("torch")
    x = rng.integers(7, size=shape)
    layer = Embedding(7, 3).build(shape[1:], random_state=0, dtype=np.float64)
    module = torch.nn.Embedding(7, 3, _weight=torch.tensor(layer.params["W"]))
    y = layer.forward(x, training=True)
    ty = module(torch.tensor(x))
    assert_array_equal(y, ty.detach().numpy())
    grad_output = rng.standard_normal(y.shape)
    ty.backward(torch.tensor(grad_output))
    grad_input = layer.backward(grad_output)
    assert_allclose(layer.grads["W"], module.weight.grad.numpy(), rtol=0, atol=1e-9)
    assert grad_input.shape == shape and grad_input.dtype == np.float64 and not grad_input.any()


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(1, 4))
def test_is_dense_on_one_hot_rows(ids, dim):
    embedding = Embedding(6, dim).build((), random_state=0, dtype=np.float64)
    dense = Dense(dim, use_bias=False).build(6, dtype=np.float64)
    dense.params["W"][...] = embedding.params["W"]
    x = np.array(ids, dtype=int)
    y = embedding.forward(x)
    assert_array_equal(y, dense.forward(np.eye(6)[x]))
    grad_output = np.cos(np.arange(y.size)).reshape(y.shape)
    embedding.backward(grad_output)
    dense.backward(grad_output)
    assert_allclose(embedding.grads["W"], dense.grads["W"], atol=1e-12)


def test_a_row_that_was_not_looked_up_has_no_gradient(rng):
    layer = Embedding(5, 2).build((2,), random_state=0)
    layer.grads["W"][...] = np.nan
    layer.forward([[1, 3], [3, 1]])
    layer.backward(np.ones((2, 2, 2)))
    assert layer.grads["W"].tolist() == [[0, 0], [2, 2], [0, 0], [2, 2], [0, 0]]


def test_initial_vectors_have_unit_variance():
    w = Embedding(500, 200).build((), random_state=0).params["W"]
    assert abs(w.mean()) < 5 / np.sqrt(w.size) and abs(w.var() - 1) < 5 * np.sqrt(2 / w.size)


# ---------------------------------------------------------------- inputs of all kinds


@pytest.mark.parametrize(
    "dtype", ["i1", "u1", "i4", "u8", "i8", ">i2", "f2", "f4", "f8", ">f8", "bool", list]
)
def test_integers_of_every_kind(dtype):
    layer = Embedding(2, 3).build((2,), random_state=0)
    ids = np.array([[1, 0], [1, 1]])
    x = ids.tolist() if dtype is list else ids.astype(dtype)
    assert_array_equal(layer.forward(x), layer.params["W"][ids])
    assert_array_equal(layer.infer(x), layer.params["W"][ids])


def test_integers_that_float32_cannot_hold():
    n = 2**24 + 2
    layer = Embedding(n, 1).build((), dtype=np.float32)
    layer.params["W"][-1] = 7
    for dtype in (np.int32, np.float64):
        assert layer.forward(np.array([n - 1], dtype)).tolist() == [[7.0]]
    assert Sequential([Embedding(3, 1)]).build(()).forward(np.array([2])).shape == (1, 1)


def test_a_column_of_a_float_table(rng):
    table = np.column_stack([rng.standard_normal(6), [0, 2, 1, 2, 2, 0]])
    layer = Columns([(0, Dense(2)), (1, Embedding(3, 4))]).build(2, random_state=0)
    embedding = layer.routes[1][1]
    y = layer.forward(table)
    assert_array_equal(y[:, 2:], embedding.params["W"][[0, 2, 1, 2, 2, 0]])
    layer.backward(np.ones_like(y))
    assert embedding.grads["W"][:, 0].tolist() == [2, 1, 3]


def test_memory_layouts_and_later_changes_of_the_input(rng):
    layer = Embedding(5, 3).build((4,), random_state=0, dtype=np.float64)
    x = rng.integers(5, size=(6, 4))
    grad_output = rng.standard_normal((6, 4, 3))
    expected = layer.forward(x)
    layer.backward(grad_output)
    gradient = layer.grads["W"].copy()
    x.flags.writeable = False
    for same in (x, np.asfortranarray(x), x[::-1].copy()[::-1]):
        assert_array_equal(layer.forward(same), expected)
        layer.backward(np.asfortranarray(grad_output))
        assert_allclose(layer.grads["W"], gradient, rtol=1e-12)
    changed = x.copy()
    layer.forward(changed)
    changed[...] = 0  # a buffer that is filled again
    layer.backward(grad_output)
    assert_allclose(layer.grads["W"], gradient, rtol=1e-12)


def test_no_input_gradient_where_nobody_needs_it():
    layer = Embedding(3, 2).build(2, random_state=0)
    layer.needs_input_grad = False
    layer.forward([[0, 1]])
    assert layer.backward(np.ones((1, 2, 2))) is None
    assert layer.grads["W"].sum() == 4


# ---------------------------------------------------------------- what is refused


CODES = (
    ": it looks up codes of categories, whole numbers such as those of "
    "sklearn.preprocessing.OrdinalEncoder; check_gradients needs some too, x=codes"
)


@pytest.mark.parametrize(
    ("x", "got"),
    [
        ([[0, 1], [5, -1]], "got 5 at [1, 0]"),
        ([[0, -1], [5, 0]], "got -1 at [0, 1]"),
        ([[0.0, 1.0], [2.5, 9.0]], f"got 2.5 at [1, 0]{CODES}"),
        ([[0.0, np.nan]], f"got nan at [0, 1]{CODES}"),
        ([[np.inf, 0.0]], f"got inf at [0, 0]{CODES}"),
        ([[0.0, 1e30]], f"got 1e+30 at [0, 1]{CODES}"),
        (np.array([[0, 2**64 - 1]], np.uint64), f"got {2**64 - 1} at [0, 1]{CODES}"),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_out_of_range_are_named(x, got, dtype):
    layer = Embedding(5, 3).build((2,), dtype=dtype)
    message = f"in Embedding(num_embeddings=5, dim=3): expects integers from 0 to 4, {got}"
    with raises_exactly(ValueError, message):
        layer.forward(x)
    with raises_exactly(ValueError, message):
        layer.infer(x)


def test_the_place_of_the_layer_is_named():
    network = Sequential([("words", Embedding(5, 3)), Flatten()]).build((2,))
    with raises_exactly(
        ValueError,
        "in layers.words Embedding(num_embeddings=5, dim=3): expects integers from 0 to "
        "4, got 7 at [0, 1]",
    ):
        network.forward([[0, 7]])


@pytest.mark.parametrize("x", [[["a", "b"]], [[1j, 0]]])
def test_what_is_no_number_is_refused(x):
    with raises_exactly(
        TypeError,
        re.compile(
            r"in Embedding\(num_embeddings=5, dim=3\): expects numbers, got ndarray of " r"dtype .*"
        ),
    ):
        Embedding(5, 3).build((2,)).forward(x)


@pytest.mark.parametrize("value", [0, -1, 2.0, None, True])
def test_hyper_parameters_are_refused_by_name(value):
    with raises_exactly(
        ValueError,
        f"in Embedding(num_embeddings={value!r}, dim=3): num_embeddings must be a "
        f"positive integer, got {value!r}",
    ):
        Embedding(value, 3).build((2,))
    with raises_exactly(
        ValueError,
        f"in Embedding(num_embeddings=3, dim={value!r}): dim must be a positive "
        f"integer, got {value!r}",
    ):
        Embedding(3, value).build((2,))
