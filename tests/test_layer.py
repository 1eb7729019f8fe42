"""Layer in detail: what the contract suites do not sweep."""

import copy
import re
import sys

import numpy as np
import pytest
from errors import raises_exactly
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from layerkit import (
    AvgPool2D,
    Columns,
    Concat,
    Dense,
    Dropout,
    Layer,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    check_gradients,
    initializers,
)


class Shape(Layer):
    """Declares one shape and computes others."""

    def __init__(self, declared, output, grad_input=(4,)):
        self.declared = declared
        self.output = output
        self.grad_input = grad_input

    def setup(self, input_shape):
        return self.declared

    def forward(self, x, training=False):
        return np.zeros((len(x), *self.output))

    def backward(self, grad_output):
        return np.zeros((len(grad_output), *self.grad_input))


def test_a_wrong_declared_shape_is_named():
    with raises_exactly(
        ValueError,
        "in Shape(declared=(3,), output=(2,)): setup declared the output (n_samples, 3), "
        "but forward turned (5, 4) into (5, 2)",
    ):
        Shape((3,), (2,)).build(4).forward(np.zeros((5, 4)))


def test_a_wrong_shape_of_the_input_gradient_is_named():
    layer = Shape((3,), (3,), grad_input=(1,)).build(4)
    with raises_exactly(
        ValueError,
        "in Shape(declared=(3,), output=(3,), grad_input=(1,)): backward must return the gradient "
        "of the input, (5, 4), but returned (5, 1)",
    ):
        layer.backward(layer.forward(np.zeros((5, 4))))


def test_a_forward_that_fails_leaves_no_backward():
    class Fragile(Layer):
        def forward(self, x, training=False):
            if (x < 0).any():
                raise FloatingPointError("negative")
            return x

        def backward(self, grad_output):
            return grad_output

    layer = Sequential([Dense(3), Fragile()]).build(2)
    layer[0].params["W"][...] = 1
    layer.forward(np.ones((1, 2)))
    with pytest.raises(FloatingPointError):
        layer.forward(-np.ones((1, 2)))
    with raises_exactly(RuntimeError, "in Sequential: backward needs a forward before it"):
        layer.backward(np.ones((1, 3)))


def test_a_users_container_infers_without_a_trace():
    class Both(Layer):
        """Keeps its layers in a dict."""

        def __init__(self, parts):
            self.parts = parts

        def children(self):
            return list(self.parts.items())

        def setup(self, input_shape):
            first, _ = (part.declare(input_shape) for part in self.parts.values())
            return first

        def forward(self, x, training=False):
            return sum(part.forward(x, training) for part in self.parts.values())

        def backward(self, grad_output):
            return sum(part.backward(grad_output) for part in self.parts.values())

    layer = Both({"one": Dense(3), "two": Sequential([Dense(3), Tanh()])}).build(4, random_state=0)
    x = np.ones((2, 4))
    expected = layer.forward(x)
    layer.clear_cache()
    assert_array_equal(layer.infer(x), expected)
    with pytest.raises(RuntimeError):
        layer.parts["one"].backward(np.ones((2, 3)))
    assert check_gradients(layer)


# ---------------------------------------------------------------- declaring and building


class Declares(Layer):
    def __init__(self, *, twice=False, initializer=initializers.zeros):
        self.twice = twice
        self.initializer = initializer

    def setup(self, input_shape):
        self.add_param("w", (3,), self.initializer)
        if self.twice:
            self.add_buffer("w", np.zeros(3))
        return input_shape

    def forward(self, x, training=False):
        return x


def test_a_name_declared_twice_is_refused():
    with raises_exactly(ValueError, "in Declares(twice=True): 'w' is declared twice"):
        Declares(twice=True).build(2)


def test_an_initializer_of_the_wrong_shape_is_refused():
    def scalar(shape, rng):
        return np.zeros(())

    with raises_exactly(
        ValueError,
        "in layers.0 Declares(initializer=scalar): the initializer of w must return (3,), got ()",
    ):
        Sequential([Declares(initializer=scalar)]).build(2)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"input_shape": 0},
            "input_shape must hold positive integers, without the batch axis, got 0",
        ),
        (
            {"input_shape": (3, -1)},
            "input_shape must hold positive integers, without the batch axis, got (3, -1)",
        ),
        (
            {"input_shape": (3, 2.5)},
            "input_shape must hold positive integers, without the batch axis, got (3, 2.5)",
        ),
        (
            {"input_shape": 3.0},
            "input_shape must hold positive integers, without the batch axis, got 3.0",
        ),
        (
            {"input_shape": None},
            "input_shape must hold positive integers, without the batch axis, got None",
        ),
        (
            {"input_shape": 3, "dtype": np.float16},
            "dtype must be float32 or float64, got <class 'numpy.float16'>",
        ),
        ({"input_shape": 3, "dtype": int}, "dtype must be float32 or float64, got <class 'int'>"),
        (
            {"input_shape": 3, "dtype": "single-ish"},
            "dtype must be float32 or float64, got 'single-ish'",
        ),
        ({"input_shape": 3, "dtype": None}, "dtype must be float32 or float64, got None"),
        (
            {"input_shape": 3, "random_state": -1},
            "random_state must be None, a non-negative integer, a numpy Generator, "
            "RandomState or SeedSequence, got -1",
        ),
        (
            {"input_shape": 3, "random_state": "x"},
            "random_state must be None, a non-negative integer, a numpy Generator, "
            "RandomState or SeedSequence, got 'x'",
        ),
    ],
)
def test_build_refuses_wrong_arguments(arguments, message):
    layer = Dense(2)
    with raises_exactly(ValueError, message):
        layer.build(**arguments)
    assert not layer.is_built and vars(layer) == vars(Dense(2))


def test_build_takes_an_integer_shape_and_returns_the_layer():
    layer = Dense(2)
    assert layer.build(3) is layer
    assert layer.input_shape == (3,) and layer.output_shape == (2,)
    assert layer.dtype == np.float32


def test_the_same_instance_twice_is_named():
    shared = Dense(4)
    with raises_exactly(
        ValueError,
        "the same Dense(units=4) instance stands at 'layers.0' and at 'layers.1.body'; "
        "a layer has one set of parameters and one cache: make two instances",
    ):
        Sequential([shared, Residual(shared)]).build(4)


def test_building_twice_is_named():
    network = Sequential([Dense(4)]).build(3)
    with raises_exactly(
        RuntimeError,
        "in Sequential: already built; build(..., rebuild=True) draws new parameters and "
        "detaches the vectors handed out before",
    ):
        network.build(3)
    for rebuild in (False, True):
        with raises_exactly(
            RuntimeError,
            "in layers.0 Dense(units=4): already built, as a part of a network; build "
            "that anew, or copy.deepcopy(part), which is a network by itself",
        ):
            network[0].build(3, rebuild=rebuild)
        with raises_exactly(
            RuntimeError,
            "in Sequential: already built, as a part of a network; build that anew, or "
            "copy.deepcopy(part), which is a network by itself",
        ):
            network[:1].build(3, rebuild=rebuild)
    with raises_exactly(
        AttributeError, "in layers.0 Dense(units=4): only the root of a tree has flat_params"
    ):
        _ = network[0].flat_params


def test_every_layer_has_streams_of_its_own():
    network = Sequential([Dense(4), Dense(4), Dropout(), Dropout()]).build(4, random_state=0)
    assert not np.intersect1d(network[0].params["W"], network[1].params["W"]).size
    ones = np.ones((50, 4))
    masks = [network[i].forward(ones, training=True) for i in (2, 3)]
    assert not np.array_equal(*masks)


def test_an_initializer_made_in_setup_is_not_pickled():
    class Centred(Layer):
        def setup(self, input_shape):
            self.add_param("shift", input_shape, lambda shape, rng: np.full(shape, 3.0))
            return input_shape

        def forward(self, x, training=False):
            return x + self.params["shift"]

    layer = Centred().build(2)
    assert "lambda" not in repr(layer.__getstate__())
    assert layer.forward([[1.0, 2.0]]).tolist() == [[4.0, 5.0]]


def test_a_layer_rebuilt_alone_forgets_who_followed_it():
    dense = Dense(50)
    Sequential([dense, ReLU()]).build(50, random_state=0)
    alone = copy.deepcopy(dense).build(50, random_state=0, rebuild=True).flat_params
    assert_array_equal(alone, Dense(50).build(50, random_state=0).flat_params)


def test_auto_initialization_looks_at_the_activation_that_follows():
    """He before ReLU, Glorot elsewhere, also through containers: the limits tell them apart."""
    n = 300
    network = Sequential(
        [Dense(n), ReLU(), Dense(n), Tanh(), Sequential([Dense(n)]), ReLU(), Residual(Dense(n))]
    ).build(n, random_state=0)
    he, glorot = np.sqrt(6 / n), np.sqrt(3 / n)
    dense = (network[0], network[2], network[4][0], network[6].body)
    limits = [np.abs(layer.params["W"]).max() for layer in dense]
    assert_allclose(limits, [he, glorot, he, glorot], rtol=0.01)


def test_initializer_must_be_callable():
    with raises_exactly(
        ValueError,
        "in layers.0 Dense(units=3, initializer='he'): initializer must be \"auto\" or "
        "a callable (shape, rng) -> array, got 'he'",
    ):
        Sequential([Dense(3, initializer="he")]).build(2)


@pytest.mark.parametrize("units", [0, -1, 2.0, "3", True, None])
def test_units_must_be_a_positive_integer(units):
    with raises_exactly(
        ValueError,
        f"in layers.1 Dense(units={units!r}): units must be a positive integer, got {units!r}",
    ):
        Sequential([ReLU(), Dense(units)]).build(2)


# ---------------------------------------------------------------- use before build


def test_parameters_need_build():
    layer = Dense(3)
    for look in (
        lambda: layer.params,
        lambda: layer.grads,
        lambda: layer.flat_params,
        lambda: layer.layout,
        lambda: layer.n_params,
        lambda: layer.forward(np.ones((1, 2))),
        lambda: layer.infer(np.ones((1, 2))),
        lambda: Sequential([ReLU(), layer]).forward(np.ones((1, 2))),
        lambda: Sequential([ReLU(), layer]).infer(np.ones((1, 2))),
    ):
        with raises_exactly(
            RuntimeError, re.compile(r"in .*: not built yet; call build\(input_shape\) first")
        ):
            look()


@pytest.mark.parametrize("name", ["params", "grads"])
def test_the_mappings_cannot_be_replaced(name):
    layer = Dense(3)
    for _ in range(2):  # before and after build
        with pytest.raises(AttributeError, match=f"property '{name}' of .* has no setter"):
            setattr(layer, name, {})
        with pytest.raises(TypeError):
            getattr(layer.build(2, rebuild=True), name)["W"] = np.zeros((2, 3))
    assert getattr(Layer, name).__doc__.startswith("Views of this layer's ")


@pytest.mark.parametrize("name", ["params", "grads"])
def test_reading_the_mappings_runs_no_code_of_ours(name):
    layer, entered = Dense(3).build(2), []
    sys.setprofile(lambda frame, event, arg: entered.append(frame.f_code) if event == "call" else 0)
    try:
        getattr(layer, name)
    finally:
        sys.setprofile(None)
    assert not entered


def test_layers_without_parameters_need_no_build():
    layer = Sequential([ReLU(), Residual(Tanh())])
    for shape in [(2, 3), (4, 2, 2)]:  # any shape, one after the other
        x = np.random.default_rng(0).standard_normal(shape)
        positive = np.maximum(x, 0)
        assert_allclose(layer.forward(x), np.tanh(positive) + positive)
        slope = 2 - np.tanh(positive) ** 2
        assert_allclose(layer.backward(np.ones(shape)), (x > 0) * slope)
        assert_allclose(layer.infer(x), layer.forward(x))
    assert layer.forward(np.ones((1, 1), np.float32)).dtype == np.float32
    assert layer.forward([[1, 2]]).dtype == np.float64


@pytest.mark.parametrize(
    "make",
    [
        ReLU,
        lambda: Sequential([ReLU(), Tanh()]),
        lambda: Residual(Tanh()),
        lambda: Concat([Tanh(), ReLU()]),
        lambda: Columns([([0, 1], Tanh())]),
    ],
)
def test_infer_before_build_leaves_the_last_forward_alone(make):
    layer, other = make(), make()
    x = np.random.default_rng(0).standard_normal((3, 2))
    y, expected = layer.forward(x), other.forward(x)
    layer.infer(np.ones((5, 4)))
    assert_array_equal(layer.backward(y), other.backward(expected))


def test_only_the_root_has_the_vectors():
    network = Sequential([Dense(2), ("out", Dense(1))]).build(3)
    with raises_exactly(
        AttributeError,
        "in layers.out Dense(units=1): only the root of a tree has flat_params",
    ):
        _ = network["out"].flat_params
    alone = copy.deepcopy(network["out"])  # a copy of a part is a root of its own
    assert alone.path == "" and alone.flat_params.shape == (3,)


def test_inputs_that_are_no_numbers():
    layer = Dense(2).build(3)
    for wrong in ([["a", "b", "c"]], [[None, 1, 2]], np.zeros((1, 3), complex)):
        with raises_exactly(TypeError, re.compile(r"in Dense\(units=2\): expects numbers, got .*")):
            layer.forward(wrong)
    with raises_exactly(
        ValueError, "in Dense(units=2): expects a batch of samples, got a single number"
    ):
        layer.forward(3.0)


def test_error_texts():
    network = Sequential([Dense(5), ("out", Dense(2))]).build(4)
    with raises_exactly(ValueError, "in Sequential: expects (n_samples, 4), got (2, 5)"):
        network.forward(np.zeros((2, 5)))
    with raises_exactly(
        ValueError, "in layers.out Dense(units=2): expects (n_samples, 5), got (2, 4)"
    ):
        network["out"].forward(np.zeros((2, 4)))
    network.forward(np.zeros((2, 4)))
    with raises_exactly(
        ValueError,
        "in layers.out Dense(units=2): backward expects the gradient of its output, (2, 2), "
        "got (3, 2)",
    ):
        network["out"].backward(np.zeros((3, 2)))


# ---------------------------------------------------------------- frozen


def test_freezing_a_container_freezes_all_inside():
    network = Sequential([Sequential([Dense(3), Dense(3)]), ("out", Dense(2))]).build(4)
    network[0].trainable = False
    frozen = {slot.path for slot in network.layout if not slot.trainable}
    assert frozen == {f"layers.0.layers.{i}.{name}" for i in (0, 1) for name in "Wb"}
    network.backward(network.forward(np.ones((3, 4))))
    assert not any(network[0][i].grads[name].any() for i in (0, 1) for name in "Wb")
    assert network["out"].grads["b"].all()
    network.trainable = True
    assert all(slot.trainable for slot in network.layout)


def test_layout_says_what_weight_decay_leaves_alone():
    network = Sequential([Dense(3), ("out", Dense(2))]).build(4)
    assert network.layout == [
        ("layers.0.W", slice(0, 12), (4, 3), True, True, 1.0),
        ("layers.0.b", slice(12, 15), (3,), False, True, 1.0),
        ("layers.out.W", slice(15, 21), (3, 2), True, True, 1.0),
        ("layers.out.b", slice(21, 23), (2,), False, True, 1.0),
    ]


def test_a_frozen_built_layer_is_cloned_with_its_weights():
    network = Sequential([Dense(3), Dense(2)]).build(4, random_state=0)
    network[0].trainable = False
    twin = clone(network)
    assert_array_equal(twin[0].params["W"], network[0].params["W"])
    assert not np.shares_memory(twin[0].params["W"], network.flat_params)
    assert not twin[0].trainable and not twin[1].is_built


def test_a_layer_that_calls_super_is_guarded_and_observed_once():
    class Half(Dense):
        def setup(self, input_shape):
            return (*super().setup(input_shape)[:-1], self.units // 2)

        def forward(self, x, training=False):
            return super().forward(x, training)[:, ::2]

        def backward(self, grad_output):
            return super().backward(np.stack([grad_output, 0 * grad_output], axis=2).reshape(3, -1))

    layer = Half(4).build(5, random_state=0)
    seen = []
    with layer.observed(lambda *event: seen.append(event[1])):
        y = layer.forward(np.ones((3, 5)))
        layer.backward(np.ones_like(y))
    assert y.shape == (3, 2)
    assert seen == ["forward", "backward"]


@pytest.mark.parametrize(
    "kind, arguments",
    [(Sequential, ([Dense(3)],)), (Residual, (Dense(3),)), (Concat, ([Dense(3)],))],
)
def test_a_container_with_a_forward_of_its_own_infers_by_it(kind, arguments):
    class Doubled(kind):
        def forward(self, x, training=False):
            return 2 * super().forward(x, training)

    class Inherited(Doubled):
        pass

    x = np.ones((2, 3))
    for container in (Doubled, Inherited):
        layer = container(*copy.deepcopy(arguments)).build(3, random_state=0)
        assert_array_equal(layer.infer(x), layer.forward(x))


def test_an_infer_without_a_forward_beside_it_is_inherited():
    class Noisy(Layer):
        def infer(self, x):
            return self._twin().forward(x, training=True)

    class Plus(Noisy):
        def forward(self, x, training=False):
            return x + training

    assert Plus().build(2).infer(np.zeros((1, 2))).tolist() == [[1, 1]]


def test_observers_inside_observers_all_see_what_passes():
    layer, seen = ReLU(), []
    with layer.observed(lambda *event: seen.append("outer")):
        layer.forward([[1.0]])
        with layer.observed(lambda *event: seen.append("inner")):
            layer.forward([[1.0]])
        layer.forward([[1.0]])
    layer.forward([[1.0]])
    assert seen == ["outer", "outer", "inner", "outer"]


@pytest.mark.parametrize("kind", [int, bool, np.float32])
def test_a_layer_that_is_not_built_takes_gradients_of_any_kind(kind):
    pool = AvgPool2D((1, 2))
    pool.forward(np.ones((1, 1, 2, 1)))
    assert pool.backward(np.ones((1, 1, 1, 1), kind)).ravel().tolist() == [0.5, 0.5]


def test_gradient_descent_may_be_written_as_in_the_textbook():
    network = Dense(2).build(3, random_state=0)
    vector, before = network.flat_params, network.flat_params.copy()
    network.forward(np.ones((4, 3)))
    network.backward(np.ones((4, 2)))
    network.flat_params -= 0.1 * network.flat_grads
    assert network.flat_params is vector
    np.testing.assert_array_equal(vector, before - np.float32(0.1) * network.flat_grads)
    with raises_exactly(
        ValueError, "in Dense(units=2): flat_params takes (8,) numbers, got (5,) of dtype float64"
    ):
        network.flat_params = np.ones(5)
