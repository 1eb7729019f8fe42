"""Sequential, Residual, Concat and Columns in detail, and the sparse rows that they pass on."""

import re
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from errors import raises_exactly
from numpy.testing import assert_allclose, assert_array_equal

from layerkit import (
    Columns,
    Concat,
    Dense,
    Embedding,
    Flatten,
    Gate,
    GlobalAvgPool2D,
    Identity,
    Layer,
    LogSoftmax,
    ReLU,
    Residual,
    Sequential,
    Softmax,
    Tanh,
)

# ---------------------------------------------------------------- Sequential


def test_names_and_indices():
    net = Sequential([Dense(4), ReLU(), ("hidden", Dense(3)), Dense(2), ("dense_3", Dense(1))])
    assert net.names == ["dense_1", "relu_1", "hidden", "dense_2", "dense_3"]
    assert len(net) == 5 and list(net) == net.chain
    assert net["hidden"] is net[2] is net.chain[2] and net[-1] is net["dense_3"]
    with raises_exactly(
        KeyError, "\"no layer 'out'; there are dense_1, relu_1, hidden, dense_2, dense_3\""
    ):
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

    assert Sequential([LSTMCell2D(), Tanh(), LSTMCell2D()]).names == [
        "lstm_cell2d_1",
        "tanh_1",
        "lstm_cell2d_2",
    ]


@pytest.mark.parametrize("name", ["a__b", "a.b", "1", ""])
def test_names_that_would_be_ambiguous_are_refused(name):
    with raises_exactly(
        ValueError,
        re.compile(
            r"layer names must be unique, not a number, not empty and without '__' or "
            r"'\.', got .*"
        ),
    ):
        Sequential([(name, Dense(2)), Dense(3)]).build(2)


def test_a_name_given_twice_is_refused():
    with raises_exactly(
        ValueError,
        "layer names must be unique, not a number, not empty and without '__' or '.', "
        "got 'a' in ['a', 'a']",
    ):
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
        (
            [Dense],
            "layers must be layers or (name, layer) pairs, got <class "
            "'layerkit.layers.dense.Dense'>: that is the class, write Dense(...)",
        ),
        (
            [Dense(2), [ReLU()]],
            "layers must be layers or (name, layer) pairs, got [ReLU()]: put them in "
            "Sequential([...])",
        ),
        (
            [("name", 3)],
            "layers must be layers or (name, layer) pairs, got 3: a layer is an object, "
            "such as Dense(3)",
        ),
        ([None], "layers must be layers or (name, layer) pairs, got None"),
    ],
)
def test_what_is_no_layer_is_refused(layers, message):
    with raises_exactly(TypeError, message):
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
    with raises_exactly(
        ValueError,
        "Sequential has no parameter 'layers__nothing__units'; valid parameters are "
        "layers, layers__sequential_1, layers__sequential_1__layers, "
        "layers__sequential_1__layers__dense_1, "
        "layers__sequential_1__layers__dense_1__units, "
        "layers__sequential_1__layers__dense_1__use_bias, "
        "layers__sequential_1__layers__dense_1__initializer, layers__out, "
        "layers__out__units, layers__out__use_bias, layers__out__initializer",
    ):
        net.set_params(layers__nothing__units=1)


# ---------------------------------------------------------------- Residual, Concat, Columns


def test_residual_names_both_shapes():
    with raises_exactly(
        ValueError,
        "in layers.0 Residual: body gives (3,) a sample and the shortcut (4,), but they are added: "
        "give a shortcut that fits, such as Dense(units) or Conv2D(filters, 1)",
    ):
        Sequential([Residual(Dense(3))]).build(4)
    with raises_exactly(
        TypeError,
        "Residual: body must be a layer, got <class 'layerkit.layers.dense.Dense'>: that "
        "is the class, write Dense(...)",
    ):
        Residual(Dense).build(4)
    with raises_exactly(
        TypeError,
        "Residual: shortcut must be a layer, got [Dense(units=4)]: put them in Sequential([...])",
    ):
        Residual(Dense(4), shortcut=[Dense(4)]).build(4)


def test_residual_adds_values_and_gradients():
    layer = Residual(Dense(2), shortcut=Dense(2, use_bias=False)).build(2, dtype=np.float64)
    layer.body.params["W"][...] = [[1, 2], [3, 4]]
    layer.shortcut.params["W"][...] = [[10, 0], [0, 10]]
    assert layer.forward([[1.0, 1.0]]).tolist() == [[14.0, 16.0]]
    assert layer.backward([[1.0, 0.0]]).tolist() == [[11.0, 3.0]]


AXES_OF_ALL = {
    Concat: lambda axis: Concat([Identity(), Identity()], axis=axis),
    Softmax: Softmax,
    LogSoftmax: LogSoftmax,
}


@pytest.mark.parametrize("kind", AXES_OF_ALL)
@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (2, 3, 4)], ids=len)
def test_an_axis_is_one_of_those_that_there_are_but_the_batchs(kind, shape):
    n, of = len(shape), "branches give" if kind is Concat else "input has"
    for axis in (-n - 2, -n - 1, 0, n + 1):
        given = "()" if axis == -1 else f"(axis={axis})"
        where = kind.__name__ + ("" if kind is Concat else given)
        if not shape:
            expected = f"another axis than the batch axis, but the {of} no other"
        elif kind is Concat:
            expected = f"between {-n} and {n} and not the batch axis 0"
        else:
            expected = f"an axis other than the batch axis 0, between {-n} and {n}"
        with raises_exactly(ValueError, f"in {where}: axis must be {expected}, got {axis}"):
            AXES_OF_ALL[kind](axis=axis).build(shape)
    for axis in {*range(-n, n + 1)} - {0}:
        AXES_OF_ALL[kind](axis=axis).build(shape)


def test_concat_errors():
    with raises_exactly(
        ValueError, "in Concat: axis must be between -2 and 2 and not the batch axis 0, got 0"
    ):
        Concat([Dense(3), Dense(3)], axis=0).build((2, 4))
    assert Concat([Dense(3), Dense(3)], axis=np.int64(1)).build(4).output_shape == (6,)
    with raises_exactly(
        ValueError,
        "in Concat: branches give (2, 3), (2, 2) a sample; they may differ in axis 1 only",
    ):
        Concat([Dense(3), Dense(2)], axis=1).build((2, 4))
    with raises_exactly(
        ValueError, "in Concat(branches=[]): branches must be at least one layer, got []"
    ):
        Concat([]).build(2)
    with raises_exactly(
        TypeError,
        "Concat: branches[1] must be a layer, got 3: a layer is an object, such as Dense(3)",
    ):
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
        ((2, 0), [2, 0]),
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
    with raises_exactly(
        ValueError,
        "in Columns: columns must name at least one of the 4 columns, each once, by "
        f"position, slice or mask, got {columns!r}",
    ):
        Columns([(columns, Dense(2))]).build(4)


def test_columns_by_the_names_that_they_were_told():
    layer = Columns([(["fare", "age"], Tanh()), ("sex", Tanh())])
    with raises_exactly(
        ValueError,
        "in Columns: no column 'fare', the input's are without names (fit an estimator on a table)",
    ):
        layer.build(3)
    network = Sequential([Concat([layer])])
    network.name_features(["age", "sex", "fare"])
    network.build(3, dtype=np.float64)
    assert_allclose(network.forward([[1.0, 2.0, 3.0]]), np.tanh([[3.0, 1.0, 2.0]]))
    layer = Columns([("name", Tanh())])
    layer.name_features(["age", "sex", "fare"])
    with raises_exactly(ValueError, "in Columns: no column 'name', the input's are age, sex, fare"):
        layer.build(3)


def test_columns_need_a_table():
    with raises_exactly(
        ValueError,
        "in Columns: expects a table (n_samples, n_features), got (n_samples, 3, 3)",
    ):
        Columns([(0, Dense(2))]).build((3, 3))
    with raises_exactly(
        ValueError, "in Columns(routes=[]): routes must be at least one (columns, layer), got []"
    ):
        Columns([]).build(3)
    with raises_exactly(
        TypeError,
        "Columns: routes[0] must be a layer, got <class 'layerkit.layers.dense.Dense'>: "
        "that is the class, write Dense(...)",
    ):
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


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize(
    "container",
    [
        lambda layer: Columns([([0, 1], layer), (2, Dense(1))]),
        lambda layer: Concat([Dense(1), layer]),
        lambda layer: Sequential([Columns([(slice(None), layer)]), Dense(1)]),
    ],
)
def test_ids_beyond_float32_arrive_as_they_are(container, dtype):
    class Seen(Identity):
        def convert_input(self, x):
            seen.append(x)
            return super().convert_input(x)

    seen = []
    rows = np.array([[2**24 + 1, 3, 1]], dtype)
    layer = container(Seen()).build(3, random_state=0)
    assert layer.forward(rows).dtype == np.float32
    assert layer.infer(rows).dtype == np.float32
    assert [int(x[0, 0]) for x in seen] == [2**24 + 1] * 2


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_what_a_shortcut_adds_has_the_dtype_of_the_network(dtype):
    layer = Residual(Concat([Dense(2), Dense(1)])).build(3, random_state=0)
    rows = np.ones((2, 3), dtype)
    assert layer.forward(rows).dtype == layer.infer(rows).dtype == np.float32


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
    "Residual around Dense": lambda: Residual(Dense(50)),
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
    layer.backward(np.ones_like(layer.forward(x, training=True)))  # what it has to import, it has
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
    with raises_exactly(
        TypeError,
        "in Tanh(): takes no sparse rows, only Dense does, as the first layer; use X.toarray()",
    ):
        Tanh().forward(x)
    with raises_exactly(ValueError, "in Dense(units=2): expects (n_samples, 4), got (3, 3)"):
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


# ---------------------------------------------------------------- Gate


def test_gate_multiplies_values_and_shares_gradients():
    layer = Gate(Dense(2, use_bias=False), body=Dense(2, use_bias=False))
    layer.build(2, dtype=np.float64)
    layer.gate.params["W"][...] = [[10, 0], [0, 1]]
    layer.body.params["W"][...] = [[1, 2], [3, 4]]
    # body gives 4, 6; gate 10, 1
    assert layer.forward([[1.0, 1.0]]).tolist() == [[40.0, 6.0]]
    # by the body: G gate = 10, 0, times W^T: 10, 30; by the gate: G body = 4, 0, so 40, 0
    assert layer.backward([[1.0, 0.0]]).tolist() == [[50.0, 30.0]]
    assert layer.body.grads["W"].tolist() == [[10.0, 0.0], [10.0, 0.0]]
    assert layer.gate.grads["W"].tolist() == [[4.0, 0.0], [4.0, 0.0]]


def test_squeeze_and_excite_is_torch():
    torch = pytest.importorskip("torch")
    block = Gate(Sequential([GlobalAvgPool2D(), Dense(2), Tanh(), Dense(3)]))
    block.build((4, 5, 3), random_state=0, dtype=np.float64)
    x, grad_output = np.random.default_rng(0).standard_normal((2, 2, 4, 5, 3))
    first, second = block.gate[1].params, block.gate[3].params
    tx = torch.tensor(x, requires_grad=True)
    t = {k: torch.tensor(v) for k, v in first.items()}
    u = {k: torch.tensor(v) for k, v in second.items()}
    gate = torch.tanh(tx.mean((1, 2)) @ t["W"] + t["b"]) @ u["W"] + u["b"]
    ty = tx * gate[:, None, None, :]
    ty.backward(torch.tensor(grad_output))
    np.testing.assert_allclose(block.forward(x), ty.detach().numpy(), rtol=1e-9)
    np.testing.assert_allclose(block.backward(grad_output), tx.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "gate, body, shape",
    [
        (Dense(3), None, (4, 2)),
        (Dense(1), Dense(2), (3,)),
        (Dense(1), None, (4, 2)),
        (Flatten(), None, (4, 2)),
    ],
    ids=["too wide", "one for all", "one a step", "flat"],
)
def test_what_a_gate_may_give(gate, body, shape):
    layer = Gate(gate, body)
    if isinstance(gate, Dense) and gate.units == 1:
        layer.build(shape, random_state=0)
        x = np.ones((2, *shape))
        f = x if body is None else body.infer(x)
        np.testing.assert_allclose(layer.infer(x), f * gate.infer(x), rtol=1e-6)
        return
    with raises_exactly(
        ValueError,
        re.compile(
            r"in Gate: the gate gives .*\) a sample and the body \(4, 2\), but they are "
            r"multiplied: give a gate of the same shape, with axes of length 1, or with "
            r"one number for each channel"
        ),
    ):
        layer.build(shape)


def test_gate_takes_layers():
    with raises_exactly(
        TypeError,
        "Gate: gate must be a layer, got <class 'layerkit.layers.dense.Dense'>: that is "
        "the class, write Dense(...)",
    ):
        Gate(Dense).build(4)
    with raises_exactly(
        TypeError, "Gate: body must be a layer, got 3: a layer is an object, such as Dense(3)"
    ):
        Gate(Dense(4), 3).build(4)
