"""Layer, the containers and the summary in detail: what the contract suites do not sweep."""

import copy
import pickle
import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal

from layerkit import (
    Columns,
    Concat,
    Dense,
    Embedding,
    Layer,
    ReLU,
    Residual,
    Sequential,
    Tanh,
    check_gradients,
    initializers,
)


@contextmanager
def raises_exactly(kind, text):
    with pytest.raises(kind) as raised:
        yield
    assert str(raised.value) == text


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Swish(Layer):
    """x sigmoid(beta x) with a learned beta, as a user writes it."""

    def setup(self, input_shape):
        self.add_param("beta", (1,), initializers.ones)
        return input_shape

    def forward(self, x, training=False):
        s = sigmoid(self.params["beta"] * x)
        self.cache = x, s
        return x * s

    def backward(self, grad_output):
        (x, s), beta = self.cache, self.params["beta"]
        self.grads["beta"][...] = np.sum(grad_output * x * x * s * (1 - s))
        return grad_output * (s + beta * x * s * (1 - s))


class WrongSwish(Swish):
    """Forgets the outer x of d/dbeta."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        x, s = self.cache
        self.grads["beta"][...] = np.sum(grad_output * x * s * (1 - s))
        return grad_input


# ---------------------------------------------------------------- a layer written by a user


def test_a_users_layer_is_accepted():
    report = check_gradients(Swish(), input_shape=(4,))
    assert report and report.max_error < 1e-6
    assert {c.name for c in report.comparisons} == {"input", "beta"}
    assert check_gradients(Sequential([Dense(5), Swish(), Dense(2)]), input_shape=3)


def test_a_wrong_backward_is_refused_with_both_numbers():
    report = check_gradients(Sequential([Dense(3), WrongSwish()]), input_shape=4)
    assert not report
    assert {c.name for c in report.failures} == {"layers.1.beta"}
    worst = report.failures[0]
    [line] = [line for line in str(report).splitlines() if f"{worst.backward:.10g}" in line]
    assert line.startswith("inference  layers.1.beta")
    assert line.endswith(f"<-- backward {worst.backward:.10g}, numerical {worst.numerical:.10g}")
    assert "FAILED" in str(report) and worst.error > 0.01


def test_a_gradient_that_backward_forgets_is_refused():
    class Forgetful(Swish):
        def backward(self, grad_output):
            x, s = self.cache
            return grad_output * (s + self.params["beta"] * x * s * (1 - s))

    report = check_gradients(Forgetful(), input_shape=(4,))
    assert not report and report.max_error == np.inf


def test_the_check_leaves_the_layer_alone():
    layer = Sequential([Dense(3), Swish()]).build(4, random_state=0)
    layer.trainable = False
    before = pickle.dumps(layer)
    assert check_gradients(layer)
    assert pickle.dumps(layer) == before


def test_the_check_asks_for_the_input_gradient_that_training_spares():
    layer = Dense(3).build(4, random_state=0)
    layer.needs_input_grad = False
    assert "input" in {c.name for c in check_gradients(layer).comparisons}


def test_the_check_needs_a_shape():
    with pytest.raises(ValueError, match=r"in Dense\(units=3\): .* needs input_shape or x"):
        check_gradients(Dense(3))


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
    with pytest.raises(RuntimeError, match="in Sequential: backward needs a forward before it"):
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
        ({"input_shape": 0}, "input_shape must hold positive integers"),
        ({"input_shape": (3, -1)}, "input_shape must hold positive integers"),
        ({"input_shape": (3, 2.5)}, "input_shape must hold positive integers"),
        ({"input_shape": 3, "dtype": np.float16}, "dtype must be float32 or float64"),
        ({"input_shape": 3, "dtype": int}, "dtype must be float32 or float64"),
        ({"input_shape": 3, "random_state": -1}, "random_state must be None, a non-negative"),
        ({"input_shape": 3, "random_state": "x"}, "random_state must be None, a non-negative"),
    ],
)
def test_build_refuses_wrong_arguments(arguments, message):
    layer = Dense(2)
    with pytest.raises(ValueError, match=message):
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
    inner = Dense(4).build(3)
    with pytest.raises(RuntimeError, match=r"in layers.0 Dense\(units=4\)|in Dense\(units=4\)"):
        Sequential([inner]).build(3)
    network = Sequential([inner]).build(3, rebuild=True)
    assert np.shares_memory(network.flat_params, inner.params["W"])


def test_a_layer_rebuilt_alone_forgets_who_followed_it():
    dense = Dense(50)
    Sequential([dense, ReLU()]).build(50, random_state=0)
    alone = dense.build(50, random_state=0, rebuild=True).flat_params
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
        with pytest.raises(RuntimeError, match=r"not built yet; call build\(input_shape\) first"):
            look()


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
        with pytest.raises(TypeError, match=r"in Dense\(units=2\): expects numbers, got"):
            layer.forward(wrong)
    with pytest.raises(ValueError, match="expects a batch of samples, got a single number"):
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


# ---------------------------------------------------------------- Sequential


def test_names_and_indices():
    net = Sequential([Dense(4), ReLU(), ("hidden", Dense(3)), Dense(2), ("dense_3", Dense(1))])
    assert net.names == ["dense_1", "relu_1", "hidden", "dense_2", "dense_3"]
    assert len(net) == 5 and list(net) == net.chain
    assert net["hidden"] is net[2] is net.chain[2] and net[-1] is net["dense_3"]
    with pytest.raises(KeyError, match="no layer 'out'; there are dense_1, relu_1, hidden"):
        net["out"]
    with pytest.raises(IndexError):
        net[5]
    net.build(3)
    assert [slot.path for slot in net.layout if slot.path.endswith("W")] == [
        "layers.0.W",
        "layers.hidden.W",
        "layers.3.W",
        "layers.dense_3.W",
    ]


def test_names_are_made_in_snake_case():
    class LSTMCell2D(Layer):
        pass

    assert Sequential([LSTMCell2D(), Swish(), LSTMCell2D()]).names == [
        "lstm_cell2d_1",
        "swish_1",
        "lstm_cell2d_2",
    ]


@pytest.mark.parametrize("name", ["a__b", "a.b", "1", ""])
def test_names_that_would_be_ambiguous_are_refused(name):
    with pytest.raises(ValueError, match="layer names must be unique"):
        Sequential([(name, Dense(2)), Dense(3)]).build(2)


def test_a_name_given_twice_is_refused():
    with pytest.raises(ValueError, match=r"layer names must be unique.* got 'a' in"):
        Sequential([("a", Dense(2)), ("a", Dense(3))]).build(2)


def test_slices_share_their_layers():
    net = Sequential([Dense(4), Tanh(), ("out", Dense(2))]).build(3, random_state=0)
    x = np.ones((2, 3), np.float32)
    body, head = net[:2], net[2:]
    assert body.names == ["dense_1", "tanh_1"] and head["out"] is net["out"]
    assert body.output_shape == head.input_shape == (4,)
    assert_array_equal(head.infer(body.infer(x)), net.infer(x))
    net.flat_params[...] = 0
    assert not body.infer(x).any()
    assert_array_equal(net[:0].infer(x), x)
    assert_array_equal(net[::2].names, ["dense_1", "out"])


@pytest.mark.parametrize(
    "layers, message",
    [
        ([Dense], r"got <class .*Dense'>: that is the class, write Dense\(...\)"),
        ([Dense(2), [ReLU()]], r"put them in Sequential\(\[\.\.\.\]\)"),
        ([("name", 3)], "layers must be layers or"),
        ([None], "layers must be layers or"),
    ],
)
def test_what_is_no_layer_is_refused(layers, message):
    with pytest.raises(TypeError, match=message):
        Sequential(layers).build(2)


def test_nested_parameters():
    inner = Sequential([Dense(4)])
    layers = [inner, ("out", Dense(2))]
    net = Sequential(layers)
    assert net.get_params()["layers__sequential_1__layers__dense_1__units"] == 4
    net.set_params(layers__sequential_1__layers__dense_1__units=7, layers__out__use_bias=False)
    assert inner[0].units == 7 and not net["out"].use_bias
    net.set_params(layers__out=Dense(9))
    assert net["out"].units == 9 and layers[1][1].units == 2  # the list it came in is as it was
    with pytest.raises(ValueError, match="no parameter 'layers__nothing__units'"):
        net.set_params(layers__nothing__units=1)


# ---------------------------------------------------------------- Residual, Concat, Columns


def test_residual_names_both_shapes():
    with raises_exactly(
        ValueError,
        "in layers.0 Residual: body gives (3,) a sample and the shortcut (4,), but they are added: "
        "give a shortcut that fits, such as Dense(units) or Conv2D(filters, 1)",
    ):
        Sequential([Residual(Dense(3))]).build(4)
    with pytest.raises(TypeError, match="body must be a layer, got <class"):
        Residual(Dense).build(4)
    with pytest.raises(TypeError, match=r"shortcut must be a layer, .*put them in Sequential"):
        Residual(Dense(4), shortcut=[Dense(4)]).build(4)


def test_residual_adds_values_and_gradients():
    layer = Residual(Dense(2), shortcut=Dense(2, use_bias=False)).build(2, dtype=np.float64)
    layer.body.params["W"][...] = [[1, 2], [3, 4]]
    layer.shortcut.params["W"][...] = [[10, 0], [0, 10]]
    assert layer.forward([[1.0, 1.0]]).tolist() == [[14.0, 16.0]]
    assert layer.backward([[1.0, 0.0]]).tolist() == [[11.0, 3.0]]


def test_concat_errors():
    with raises_exactly(
        ValueError, "in Concat: axis must be between -2 and 2 and not the batch axis 0, got 0"
    ):
        Concat([Dense(3), Dense(3)], axis=0).build((2, 4))
    with raises_exactly(
        ValueError,
        "in Concat: branches give (2, 3), (2, 2) a sample; they may differ in axis 1 only",
    ):
        Concat([Dense(3), Dense(2)], axis=1).build((2, 4))
    with pytest.raises(ValueError, match=r"branches must be at least one layer, got \[\]"):
        Concat([]).build(2)
    with pytest.raises(TypeError, match=r"branches\[1\] must be a layer, got 3"):
        Concat([Dense(2), 3]).build(2)


def test_concat_joins_and_parts():
    layer = Concat([Tanh(), Dense(1, use_bias=False)]).build(2, dtype=np.float64)
    layer.branches[1].params["W"][...] = [[2], [3]]
    assert_allclose(layer.forward([[0.5, 1.0]]), [[np.tanh(0.5), np.tanh(1), 4]])
    grad = layer.backward([[1.0, 0.0, 10.0]])
    assert_allclose(grad, [[1 - np.tanh(0.5) ** 2 + 20, 30]])


@pytest.mark.parametrize(
    "columns, picked",
    [
        (1, [1]),
        (-1, [3]),
        ([2, 0], [2, 0]),
        (slice(1, None), [1, 2, 3]),
        ([True, False, False, True], [0, 3]),
        (np.array([False, True, True, False]), [1, 2]),
    ],
)
def test_columns_by_position_slice_and_mask(columns, picked):
    layer = Columns([(columns, Tanh())]).build(4, dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((3, 4))
    assert_allclose(layer.forward(x), np.tanh(x[:, picked]))
    expected = np.zeros_like(x)
    expected[:, picked] = 1 - np.tanh(x[:, picked]) ** 2
    assert_allclose(layer.backward(np.ones((3, len(picked)))), expected)


def test_columns_may_overlap():
    layer = Columns([([0, 1], Tanh()), (slice(0, 1), Tanh())]).build(2, dtype=np.float64)
    assert layer.output_shape == (3,)
    layer.forward([[0.0, 0.0]])
    assert layer.backward([[1.0, 2.0, 4.0]]).tolist() == [[5.0, 2.0]]


@pytest.mark.parametrize(
    "columns", [4, [0, 4], [1, 1], [-1, 3], [], slice(4, None), [True, False], 1.5, None]
)
def test_columns_that_do_not_exist_are_named(columns):
    with pytest.raises(ValueError, match="in Columns: columns must name at least one of the 4"):
        Columns([(columns, Dense(2))]).build(4)


def test_columns_need_a_table():
    with raises_exactly(
        ValueError,
        "in Columns: expects a table (n_samples, n_features), got (n_samples, 3, 3)",
    ):
        Columns([(0, Dense(2))]).build((3, 3))
    with pytest.raises(ValueError, match=r"routes must be at least one \(columns, layer\)"):
        Columns([]).build(3)
    with pytest.raises(TypeError, match=r"routes\[0\] must be a layer, got <class"):
        Columns([(0, Dense)]).build(3)


def test_columns_route_ids_to_an_embedding():
    layer = Columns([(0, Dense(1, use_bias=False)), ([1, 2], Embedding(5, 2))])
    layer.build(3, dtype=np.float64)
    table = layer.routes[1][1]
    table.params["W"][...] = np.arange(10).reshape(5, 2)
    layer.routes[0][1].params["W"][...] = 2
    assert layer.forward([[0.5, 4, 0], [1.0, 1, 1]]).tolist() == [[1, 8, 9, 0, 1], [2, 2, 3, 2, 3]]
    grad_input = layer.backward(np.ones((2, 5)))
    assert grad_input.tolist() == [[2, 0, 0], [2, 0, 0]]
    assert table.grads["W"].tolist() == [[1, 1], [2, 2], [0, 0], [0, 0], [1, 1]]


# ---------------------------------------------------------------- sparse rows


@pytest.fixture
def never_dense(monkeypatch):
    """Make every way from sparse to dense an error."""

    def refuse(self, *args, **kwargs):
        raise AssertionError("a sparse array was made dense")

    for kind in (sp.csr_array, sp.csc_array, sp.csr_matrix, sp.csc_matrix, sp.coo_array):
        for method in ("toarray", "todense"):
            monkeypatch.setattr(kind, method, refuse)


SPARSE_NETWORKS = {
    "Dense": lambda: Dense(3),
    "Sequential": lambda: Sequential([Sequential([Dense(3), Tanh()]), Dense(2)]),
    "Concat": lambda: Concat([Dense(3), Sequential([Dense(2), Tanh()])]),
    "Residual": lambda: Residual(Sequential([Dense(4), Tanh(), Dense(3)]), shortcut=Dense(3)),
}


@pytest.mark.parametrize(
    "kind", ["csr_array", "csc_array", "csr_matrix", "csc_matrix", "coo_array"]
)
@pytest.mark.parametrize("network", SPARSE_NETWORKS)
def test_sparse_rows_equal_dense_ones(network, kind, never_dense):
    layer = SPARSE_NETWORKS[network]().build(50, random_state=0, dtype=np.float64)
    dense = np.where(np.random.default_rng(0).random((6, 50)) < 0.1, 1.5, 0.0)
    sparse = getattr(sp, kind)(dense)
    expected = layer.forward(dense, training=True)
    grad_input = layer.backward(expected)
    grads = layer.flat_grads.copy()

    actual = layer.forward(sparse, training=True)
    assert type(actual) is np.ndarray
    assert_allclose(actual, expected, rtol=1e-12)
    assert_allclose(layer.backward(expected), grad_input, rtol=1e-12, atol=1e-15)
    assert_allclose(layer.flat_grads, grads, rtol=1e-12, atol=1e-15)
    assert_array_equal(layer.infer(sparse), actual)


def test_a_wide_sparse_input_takes_the_memory_of_the_weights(never_dense):
    n_samples, n_features = 1000, 200_000  # 800 MB if it were dense
    layer = Sequential([Dense(2), Tanh()]).build(n_features, random_state=0)
    layer.needs_input_grad = False
    rng = np.random.default_rng(0)
    columns = rng.integers(n_features, size=n_samples)
    x = sp.csr_array((np.ones(n_samples), (np.arange(n_samples), columns)), (n_samples, n_features))
    tracemalloc.start()
    y = layer.forward(x, training=True)
    assert layer.backward(np.ones_like(y)) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * layer.flat_params.nbytes
    touched = layer[0].grads["W"].any(axis=1)
    assert_array_equal(np.flatnonzero(touched), np.unique(columns))


def test_sparse_rows_are_refused_where_they_would_become_dense():
    x = sp.csr_array(np.eye(3))
    with pytest.raises(TypeError, match=r"in Tanh\(\): takes no sparse rows, only Dense does"):
        Tanh().forward(x)
    with pytest.raises(ValueError, match=r"in Dense\(units=2\): expects \(n_samples, 4\), got"):
        Dense(2).build(4).forward(x)


# ---------------------------------------------------------------- inputs not wanted back


def test_needs_input_grad_reaches_the_first_layer_only():
    network = Sequential([Sequential([Dense(3), Dense(3)]), Dense(2)]).build(4, random_state=0)
    network.needs_input_grad = False
    flags = [layer.needs_input_grad for _, layer in network.walk() if isinstance(layer, Dense)]
    assert flags == [False, True, True]
    assert network.backward(network.forward(np.ones((1, 4)))) is None
    network.needs_input_grad = True
    assert network.backward(network.forward(np.ones((1, 4)))).shape == (1, 4)


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
        ("layers.0.W", slice(0, 12), (4, 3), True, True),
        ("layers.0.b", slice(12, 15), (3,), False, True),
        ("layers.out.W", slice(15, 21), (3, 2), True, True),
        ("layers.out.b", slice(21, 23), (2,), False, True),
    ]


# ---------------------------------------------------------------- summary


def summarised():
    network = Sequential([("block", Residual(Sequential([Dense(4), Tanh()]))), Dense(10)])
    network[0].trainable = False
    return network


def test_summary_text():
    assert str(summarised().summary(input_shape=4)) == (
        "Sequential for (n_samples, 4)\n"
        "name         layer            output shape          params  multiply-adds\n"
        "-------------------------------------------------------------------------\n"
        "block        Residual         (n_samples, 4)   20 (frozen)             16\n"
        "  body       Sequential       (n_samples, 4)   20 (frozen)             16\n"
        "    dense_1  Dense(units=4)   (n_samples, 4)   20 (frozen)             16\n"
        "    tanh_1   Tanh()           (n_samples, 4)             0              0\n"
        "dense_1      Dense(units=10)  (n_samples, 10)           50             40\n"
        "-------------------------------------------------------------------------\n"
        "70 parameters (50 trainable), 56 multiply-adds a sample"
    )


def test_summary_html():
    class Tagged(Tanh):
        def __init__(self, text="<b>"):
            self.text = text

    html = Sequential([Dense(1000), Tagged("<i>")]).summary(1000)._repr_html_()
    assert html.count("<tr>") == 3
    assert '<td style="text-align:right">1,001,000</td>' in html
    assert "Tagged(text=&#x27;&lt;i&gt;&#x27;)" in html and "<i>" not in html
    assert "<caption>Sequential for (n_samples, 1000): 1,001,000 parameters, 1,000,000" in html


def test_summary_of_one_layer_and_of_a_part():
    network = Sequential([Dense(3), Tanh(), Dense(2)]).build(4)
    assert str(Dense(3).summary(4)).splitlines()[3].split() == [
        *("Dense(units=3)", "(n_samples,", "3)", "15", "12")
    ]
    assert network[:2].summary().n_params == 15
    assert network[:2].summary().multiply_adds == 12


def test_summary_checks_the_shape_it_is_given():
    with raises_exactly(
        ValueError, "in Dense(units=3): not built yet, so summary needs input_shape"
    ):
        Dense(3).summary()
    with raises_exactly(
        ValueError,
        "in Dense(units=3): built for (n_samples, 4), summary got input_shape=(5,)",
    ):
        Dense(3).build(4).summary(5)


def test_summary_before_build_allocates_nothing():
    network = Sequential([Dense(20_000), Tanh(), Dense(20_000)])
    tracemalloc.start()
    summary = network.summary(20_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert summary.n_params == 2 * (20_000 * 20_000 + 20_000)
    assert peak < 1_000_000
    assert not network.is_built


@pytest.mark.parametrize(
    "make, input_shape, expected",
    [
        (lambda: Dense(3), (4,), 12),
        (lambda: Dense(3), (5, 4), 60),
        (lambda: Sequential([Dense(3), Concat([Dense(2), Dense(1)])]), (4,), 12 + 6 + 3),
        (lambda: Columns([([0, 1], Dense(3)), (2, Dense(2))]), (4,), 6 + 2),
    ],
)
def test_multiply_adds_by_hand(make, input_shape, expected):
    assert make().summary(input_shape).multiply_adds == expected
