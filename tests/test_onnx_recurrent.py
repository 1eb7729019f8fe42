"""Recurrent networks from ONNX: what we wrote, what PyTorch's exporter writes, what is refused."""

import io
import itertools
import re
import warnings

import numpy as np
import pytest
from errors import error_of
from numpy.testing import assert_allclose

import layerkit.layers as nn
from layerkit.interchange import from_onnx, to_onnx

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

X = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


def output_of(model, x):
    session = runtime.InferenceSession(model.SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x})[0]


OURS = {
    "all steps": lambda: [nn.LSTM(3, return_sequences=True), nn.Dense(2)],
    "stack": lambda: [
        nn.GRU(3, return_sequences=True),
        nn.SimpleRNN(2, activation="relu"),
        nn.Dense(2),
    ],
    "last step": lambda: [nn.GRU(3, return_sequences=True), nn.LastStep()],
    "both ways": lambda: [nn.Bidirectional(nn.LSTM(3, return_sequences=True)), nn.LastStep()],
    "both, last": lambda: [nn.Bidirectional(nn.GRU(3)), nn.Dense(1)],
    "pooled": lambda: [nn.LSTM(3, return_sequences=True), nn.GlobalMaxPool1D(), nn.Dense(2)],
    "around": lambda: [nn.Residual(nn.LSTM(4, return_sequences=True)), nn.ReLU()],
    "stateful": lambda: [nn.LSTM(3, stateful=True), nn.Dense(2)],
}


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("time", [5, None])
def test_what_we_wrote_comes_back(name, time):
    if time is None and name == "pooled":
        pytest.skip("pooling leaves axes of length 1, which need a length")
    network = nn.Sequential(OURS[name]()).build((time, 4), random_state=0)
    network.forward(X)  # a state that is kept is no part of the model
    model = to_onnx(network)
    back = from_onnx(model)
    assert back.input_shape == (time, 4)
    for x in (X, X[:1], X[:, :2] if time is None else X):
        assert_allclose(output_of(model, x), network.infer(x), **CLOSE)
        assert_allclose(back.infer(x), network.infer(x), **CLOSE)
    assert [type(layer) for layer in back] == [type(layer) for layer in network]


def test_rows_of_unequal_length_go_through_a_model_one_by_one():
    network = nn.Sequential([nn.Bidirectional(nn.GRU(3)), nn.Dense(2)])
    network.build((None, 4), random_state=0)
    rows = [X[0], X[1, :2], X[2, :4]]
    model = to_onnx(network)
    alone = np.concatenate([output_of(model, row[np.newaxis]) for row in rows])
    assert_allclose(alone, network.infer(rows), **CLOSE)
    assert_allclose(from_onnx(model).infer(rows), network.infer(rows), **CLOSE)


# ---------------------------------------------------------------- PyTorch's exporter

ENDS = {
    "all steps": lambda y, h: y,
    "last step": lambda y, h: y[:, -1],
    "state": lambda y, h: h[-1],
    "states": lambda y, h: h.transpose(0, 1).flatten(1),
    "joined": lambda y, h: __import__("torch").cat([h[-2], h[-1]], 1),
}


def exported(module, end, dynamic, x=X):
    """Return a network of PyTorch and its ONNX model."""
    torch = pytest.importorskip("torch")

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = module
            ways = 2 if module.bidirectional and end != "state" else 1
            self.head = torch.nn.Linear(ways * module.hidden_size, 2)

        def forward(self, x):
            y, h = self.rnn(x)
            return self.head(ENDS[end](y, h[0] if isinstance(h, tuple) else h))

    network, file = Network().eval(), io.BytesIO()
    axes = {"x": {0: "n", 1: "t"}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.tensor(x),), file, dynamo=False, input_names=["x"],
                          dynamic_axes=axes)  # fmt: skip
    with torch.no_grad():
        expected = network(torch.tensor(x)).numpy()
    return onnx.load_from_string(file.getvalue()), expected


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_models_of_pytorch_are_read(kind, end, dynamic):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    for ways, n_layers in ((1, 1), (2, 1), (1, 2), (2, 2)):
        if (end == "joined" and ways == 1) or (end == "states" and n_layers == 2):
            continue
        if end == "state" and ways == 2:
            continue  # that of the second direction alone
        options = {"bidirectional": ways == 2, "num_layers": n_layers, "batch_first": True}
        module = getattr(torch.nn, kind)(4, 3, **options)
        model, expected = exported(module, end, dynamic)
        network = from_onnx(model)
        assert network.input_shape == ((None if dynamic else 5), 4)
        assert_allclose(network.infer(X), expected, **CLOSE)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_recurrent_layer_between_convolutions_is_read(batch_first):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.after = torch.nn.Conv1d(4, 6, 3), torch.nn.Conv1d(3, 2, 2)
            self.rnn = torch.nn.GRU(6, 3, batch_first=batch_first)

        def forward(self, x):
            there, back = ((0, 2, 1), (0, 2, 1)) if batch_first else ((2, 0, 1), (1, 2, 0))
            return self.after(self.rnn(self.before(x).permute(there))[0].permute(back))

    network, file = Network().eval(), io.BytesIO()
    x = torch.tensor(X).permute(0, 2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (x,), file, dynamo=False)
    back = from_onnx(onnx.load_from_string(file.getvalue()))
    expected = network(x).detach().permute(0, 2, 1).numpy()
    assert_allclose(back.infer(X), expected, **CLOSE)
    assert [type(layer) for layer in back] == [nn.Conv1D, nn.GRU, nn.Conv1D]


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("pool", ["mean", "amax"])
def test_all_steps_are_pooled(pool, dynamic, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setitem(ENDS, pool, lambda y, h: getattr(y, pool)(1))
    model, expected = exported(torch.nn.GRU(4, 3, batch_first=True), pool, dynamic)
    assert_allclose(from_onnx(model).infer(X), expected, **CLOSE)


def test_a_rectified_rnn_and_one_without_biases_are_read():
    torch = pytest.importorskip("torch")
    for options in ({"nonlinearity": "relu"}, {"bias": False}):
        model, expected = exported(torch.nn.RNN(4, 3, batch_first=True, **options), "state", False)
        assert_allclose(from_onnx(model).infer(X), expected, **CLOSE)


# ---------------------------------------------------------------- what is refused


def one_layer(operator="LSTM", inputs=(), steps="steps", **attributes):
    """A model of one recurrent operator; ``inputs`` are those after W, R and B."""
    gates, rng = {"RNN": 1, "GRU": 3, "LSTM": 4}[operator], np.random.default_rng(0)
    shapes = (1, gates * 3, 4), (1, gates * 3, 3), (1, 2 * gates * 3)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    helper = onnx.helper
    more = [(f"more{i}", value) for i, value in enumerate(inputs)]
    constants = [*zip("WRB", arrays, strict=True), *((k, v) for k, v in more if v is not None)]
    names = [steps, *"WRB", *(k if v is not None else "" for k, v in more)]
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node(operator, names, ["y", "h"], name="rnn", hidden_size=3, **attributes),
        helper.make_node("Squeeze", ["h", "axis"], ["out"]),
    ]
    constants.append(("axis", np.array([0])))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, ["n", 5, 4])], [value("out", 1, ["n", 3])],
        [onnx.numpy_helper.from_array(a, k) for k, a in constants],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


ZEROS = np.zeros((1, 3, 3), np.float32)
REFUSED = [
    ({"direction": "reverse"}, "direction forward or bidirectional"),
    ({"layout": 1}, "layout=0"),
    ({"clip": 3.0}, "no clip"),
    ({"input_forget": 1}, "input_forget=0"),
    ({"operator": "GRU"}, "linear_before_reset=1"),
    ({"operator": "RNN", "activations": ["Sigmoid"]}, "activations Tanh"),
    ({"activations": ["HardSigmoid", "Tanh", "Tanh"]}, "activations Sigmoid, Tanh, Tanh"),
    ({"inputs": [np.array([5, 4, 3], np.int32)]}, "no sequence_lens"),
    ({"inputs": [None, ZEROS + 1]}, "zeros as initial_h"),
    ({"inputs": [None, ZEROS, ZEROS + 1]}, "zeros as initial_c"),
    ({"inputs": [None, ZEROS, ZEROS, np.ones((1, 9), np.float32)]}, "zeros as P"),
    ({"steps": "x"}, "its input transposed to (time, batch, features)"),
]


@pytest.mark.parametrize("options, message", REFUSED, ids=[message for _, message in REFUSED])
def test_another_use_is_refused_by_name(options, message):
    model = one_layer(**options)
    text = error_of(ValueError, from_onnx, model)
    assert message in text and f"in {options.get('operator', 'LSTM')} 'rnn'" in text


@pytest.mark.parametrize("operator", ["RNN", "GRU", "LSTM"])
def test_what_is_left_to_the_operator_s_defaults_is_read(operator):
    more = {"linear_before_reset": 1} if operator == "GRU" else {}
    for inputs in ((), [None, ZEROS]):
        model = one_layer(operator, inputs, **more)
        assert_allclose(from_onnx(model).infer(X), output_of(model, X), **CLOSE)


def test_one_direction_of_two_is_refused():
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(4, 3, bidirectional=True, batch_first=True)
    model, _ = exported(module, "state", False)
    assert "batch axis in front" in error_of(ValueError, from_onnx, model)


BOTH = "bidirectional"


def both_ways(sizes):
    """A bidirectional LSTM of three units; its directions are put side by side by a Reshape."""
    helper, rng = onnx.helper, np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 12, k)).astype(np.float32) for k in (4, 3)]
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "W", "R"], ["y"], hidden_size=3, direction=BOTH),
        helper.make_node("Transpose", ["y"], ["tndu"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["tndu", "sizes"], ["tnc"], name="reshape"),
        helper.make_node("Transpose", ["tnc"], ["out"], perm=[1, 0, 2]),
    ]
    constants = zip(("W", "R", "sizes"), [*arrays, np.array(sizes)], strict=True)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, ["n", 5, 4])], [value("out", 1, None)],
        [onnx.numpy_helper.from_array(a, k) for k, a in constants],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("sizes", [[0, 0, 6], [0, 0, -1], [5, -1, 6], [0, -1, 6]], ids=str)
def test_directions_are_put_side_by_side_by_any_sizes_that_do(sizes):
    model = both_ways(sizes)
    assert_allclose(from_onnx(model).infer(X), output_of(model, X), **CLOSE)


@pytest.mark.parametrize(
    "sizes", [[0, -1, 3], [0, -1, 2], [10, -1, 6], [-1, 0, 3], [3, -1, 10], [0, -1], [5, -1, 2, 3]],
    ids=str,
)  # fmt: skip
def test_sizes_that_take_steps_or_rows_apart_are_refused(sizes):
    text = error_of(ValueError, from_onnx, both_ways(sizes))
    assert text == (
        "in Reshape 'reshape': has a layer only with both directions side by side as channels"
    )


# ---------------------------------------------------------------- all that may come after

TURNS = {
    **{
        f"{name} transposed {perm}": [("Transpose", [name], {"perm": list(perm)})]
        for name, axes in (("y", 4), ("h", 3))
        for perm in itertools.permutations(range(axes))
    },
    **{
        f"{name} squeezed {axis}": [("Squeeze", [name, np.array([axis])], {})]
        for name, axes in (("y", 4), ("h", 3))
        for axis in range(axes)
    },
    **{
        f"{name} gathered {axis} {index}": [
            ("Gather", [name, np.array(index)], {"axis": axis})
        ]
        for name, axes in (("y", 4), ("h", 3))
        for axis in range(axes)
        for index in (0, 1, -1, 4)
    },
    **{f"flattened {axis}": [("Flatten", ["h"], {"axis": axis})] for axis in range(3)},
    **{
        f"directions {pair} along {axis}": [
            ("Gather", ["h", np.array(pair[0])], {"axis": 0}),
            ("Gather", ["h", np.array(pair[1])], {"axis": 0}),
            ("Concat", ["out0", "out1"], {"axis": axis}),
        ]
        for pair in ((0, 1), (1, 0), (0, 0), (0, -1))
        for axis in (0, 1)
    },
}  # fmt: skip


def followed(turns, ways):
    """A model of an LSTM in one direction or two, and of what comes after it."""
    helper, rng = onnx.helper, np.random.default_rng(0)
    W, R = (rng.standard_normal((ways, 12, n)).astype(np.float32) for n in (4, 3))
    arrays = {"W": W, "R": R}
    more = {"direction": BOTH} if ways == 2 else {}
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "W", "R"], ["y", "h"], hidden_size=3, **more),
    ]
    for i, (op, given, attributes) in enumerate(turns):
        names = [name if isinstance(name, str) else f"given{i}" for name in given]
        arrays |= {n: a for n, a in zip(names, given, strict=True) if not isinstance(a, str)}
        out = "out" if i == len(turns) - 1 else f"out{i}"
        nodes.append(helper.make_node(op, names, [out], name=f"{op}{i}", **attributes))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, ["n", 5, 4])], [value("out", 1, None)],
        [onnx.numpy_helper.from_array(a, k) for k, a in arrays.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("name", TURNS)
def test_what_comes_after_is_read_right_or_refused(name, ways):
    model = followed(TURNS[name], ways)
    try:
        network = from_onnx(model)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    if refused:
        assert re.match(r"in \w+ '\w*': ", refused)
        return
    found, expected = network.infer(X), output_of(model, X)
    alike = [y for y in (found, np.moveaxis(found, -1, 1)) if y.shape == expected.shape]
    assert any(np.allclose(y, expected, rtol=1e-4, atol=1e-5) for y in alike)
