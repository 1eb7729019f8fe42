"""One layer, many spellings in operators: each is read as what computes the same."""

import re

import numpy as np
import pytest
from errors import raises_exactly

import layerkit.layers as nn
from layerkit.interchange import from_onnx, to_onnx

onnx = pytest.importorskip("onnx")
reader = pytest.importorskip("layerkit.interchange.onnx.reader")
reference = pytest.importorskip("onnx.reference")

FLOAT, INT = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


CONSTANTS = {
    "zero": np.float32(0),
    "half": np.float32(0.5),
    "one": np.float32(1),
    "two": np.float32(2),
    "six": np.float32(6),
    "eps": np.float32(1e-3),
    "gamma": 1 + draw(4),
    "beta": draw(4),
    "gamma_first": 1 + draw(4, 1, 1),
    "beta_first": draw(4, 1, 1),
    "W": draw(4, 6),
    "b": draw(6),
    "s2": np.array([0, 3, 2]),
    "K": draw(4, 4, 1, 1),
    "k": draw(4),
    "D": draw(4, 4),
    "one_one": np.array([0, 4, 1, 1]),
    "i1": np.array([1]),
    "i2": np.array([2]),
    "starts": np.array([1]),
    "ends": np.array([100]),
    "steps": np.array([2]),
    "n": np.array(5),
    "table": draw(5, 3),
    "i0": np.array(0),
    "pads": np.array([0, 1, 2, 0, 0, 1, 0, 0]),
    "C": draw(2, 4, 3, 3),
}


def model_of(nodes, shape, opset=17, names=CONSTANTS):
    h = onnx.helper
    x = h.make_tensor_value_info("x", FLOAT, ["n", *shape])
    y = h.make_tensor_value_info("y", FLOAT, None)
    made = [h.make_node(op, ins, outs, **more) for op, ins, outs, more in nodes]
    read = {name for node in made for name in node.input}
    arrays = [onnx.numpy_helper.from_array(a, name) for name, a in names.items() if name in read]
    graph = h.make_graph(made, "g", [x], [y], arrays)
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=10)


def norm(axes, scale=(), centred=True, square="Mul"):
    """A normalization in operators."""
    centre = [("ReduceMean", ["x"], ["mu"], {"axes": axes}), ("Sub", ["x", "mu"], ["d"], {})]
    d = "d" if centred else "x"
    squares = ("Mul", [d, d], ["q"], {}) if square == "Mul" else ("Pow", [d, "two"], ["q"], {})
    nodes = [
        *(centre if centred else []),
        squares,
        ("ReduceMean", ["q"], ["v"], {"axes": axes}),
        ("Add", ["v", "eps"], ["w"], {}),
        ("Sqrt", ["w"], ["s"], {}),
        ("Div", [d, "s"], ["h"], {}),
    ]
    ops = ["Mul", "Add"][: len(scale)]
    for i, (op, name) in enumerate(zip(ops, scale, strict=True)):
        nodes.append((op, [nodes[-1][2][0], name], [f"h{i}"], {}))
    op, ins, _, more = nodes[-1]
    return [*nodes[:-1], (op, ins, ["y"], more)]


LAST, FIRST = ("gamma", "beta"), ("gamma_first", "beta_first")
SOFTMAX = [
    ("ReduceMax", ["x"], ["m"], {"axes": [-1]}),
    ("Sub", ["x", "m"], ["d"], {}),
    ("Exp", ["d"], ["e"], {}),
    ("ReduceSum", ["e", "i1"], ["s"], {}),
    ("Div", ["e", "s"], ["y"], {}),
]
SPELLINGS = {
    "LayerNorm": (norm([-1], LAST), (5, 4), nn.LayerNorm),
    "LayerNorm with a power": (norm([-1], LAST, square="Pow"), (5, 4), nn.LayerNorm),
    "LayerNorm without a scale": (norm([-1]), (5, 4), nn.LayerNorm),
    "LayerNorm of tables": (norm([1], LAST), (4,), nn.LayerNorm),
    "LayerNorm of channels in front": (norm([1], FIRST), (4, 3, 2), nn.LayerNorm),
    "RMSNorm": (norm([-1], ("gamma",), centred=False), (5, 4), nn.RMSNorm),
    "RMSNorm with a power": (norm([-1], ("gamma",), False, "Pow"), (4,), nn.RMSNorm),
    "InstanceNorm": (norm([2, 3], FIRST), (4, 3, 2), nn.InstanceNorm),
    "InstanceNorm of a line": (norm([2, 3], FIRST), (4, 1, 6), nn.InstanceNorm),
    "InstanceNorm of a column": (norm([2, 3], FIRST), (4, 6, 1), nn.InstanceNorm),
    "Softmax": (SOFTMAX, (4,), nn.Softmax),
    "LogSoftmax": (
        [*SOFTMAX[:-1], ("Log", ["s"], ["l"], {}), ("Sub", ["d", "l"], ["y"], {})],
        (4,),
        nn.LogSoftmax,
    ),
    "GLU": (
        [
            ("Split", ["x"], ["left", "right"], {"axis": -1}),
            ("Sigmoid", ["right"], ["g"], {}),
            ("Mul", ["left", "g"], ["y"], {}),
        ],
        (5, 4),
        nn.GLU,
    ),
    "Maxout": (
        [
            ("Gemm", ["x", "W", "b"], ["a"], {}),
            ("Reshape", ["a", "s2"], ["c"], {}),
            ("ReduceMax", ["c"], ["y"], {"axes": [1], "keepdims": 0}),
        ],
        (4,),
        nn.Maxout,
    ),
    "ReLU6": ([("Clip", ["x", "zero", "six"], ["y"], {})], (4,), nn.HardTanh),
    "ReLU6 of two": (
        [("Max", ["x", "zero"], ["a"], {}), ("Min", ["a", "six"], ["y"], {})],
        (4,),
        nn.HardTanh,
    ),
    "ReLU as a choice": (
        [("Greater", ["x", "zero"], ["a"], {}), ("Where", ["a", "x", "zero"], ["y"], {})],
        (4,),
        nn.ReLU,
    ),
    "GELU with opset 20": ([("Gelu", ["x"], ["y"], {})], (4,), nn.GELU),
    "LayerNormalization": (
        [("LayerNormalization", ["x", "gamma", "beta"], ["y"], {"epsilon": 1e-3})],
        (5, 4),
        nn.LayerNorm,
    ),
    "RMSNormalization": (
        [("RMSNormalization", ["x", "gamma"], ["y"], {"epsilon": 1e-3})],
        (5, 4),
        nn.RMSNorm,
    ),
    "bilinear": (
        [("Resize", ["x", "", "scales"], ["y"], {"mode": "linear"})],
        (4, 3, 2),
        nn.UpSample2D,
    ),
}
OPSETS = {"RMSNormalization": 23, "GELU with opset 20": 20}
NAMES = {**CONSTANTS, "scales": np.float32([1, 1, 2, 3])}


def check(model, network, shape, images):
    x = draw(3, *shape)
    expected = reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    y = network.infer(np.moveaxis(x, 1, -1) if images else x)
    y = np.moveaxis(y, -1, 1) if images and y.ndim > 2 else y
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_is_read_as_its_layer(name):
    nodes, shape, kind = SPELLINGS[name]
    model = model_of(nodes, shape, OPSETS.get(name, 17), NAMES)
    network = from_onnx(model)
    layers = [layer for layer in network if not isinstance(layer, nn.Permute)]
    assert [type(layer) for layer in layers] == [kind]
    images = network.input_shape != shape
    check(model, network, shape, images)


CHAIN = [
    ("ReduceMean", ["x"], ["p"], {"axes": [2, 3]}),
    ("Conv", ["p", "K", "k"], ["a"], {}),
    ("Relu", ["a"], ["r"], {}),
    ("Conv", ["r", "K", "k"], ["c"], {}),
    ("Sigmoid", ["c"], ["g"], {}),
]
BY_DENSE = [
    ("GlobalAveragePool", ["x"], ["p"], {}),
    ("Flatten", ["p"], ["f"], {}),
    ("Gemm", ["f", "D", "k"], ["a"], {}),
    ("HardSigmoid", ["a"], ["h"], {"alpha": 0.2}),
    ("Reshape", ["h", "one_one"], ["g"], {}),
]
TOGETHER = {
    "squeeze-and-excite": ([*CHAIN, ("Mul", ["x", "g"], ["y"], {})], (4, 3, 5)),
    "the gate first": ([*CHAIN, ("Mul", ["g", "x"], ["y"], {})], (4, 3, 5)),
    "by Dense layers": ([*BY_DENSE, ("Mul", ["x", "g"], ["y"], {})], (4, 3, 5)),
    "a gate of places": (
        [
            ("ReduceMean", ["x"], ["p"], {"axes": [1]}),
            ("Sigmoid", ["p"], ["g"], {}),
            ("Mul", ["x", "g"], ["y"], {}),
        ],
        (4, 3, 5),
    ),
    "two branches of one shape": (
        [
            ("Gemm", ["x", "D", "k"], ["a"], {}),
            ("Tanh", ["a"], ["t"], {}),
            ("Gemm", ["x", "D"], ["u"], {}),
            ("Mul", ["t", "u"], ["y"], {}),
        ],
        (4,),
    ),
    "a square": ([("Mul", ["x", "x"], ["y"], {})], (4,)),
    "a binary MLP": (
        [
            ("Gemm", ["x", "D", "k"], ["a"], {}),
            ("Sigmoid", ["a"], ["s"], {}),
            ("Sub", ["one", "s"], ["t"], {}),
            ("Concat", ["t", "s"], ["y"], {"axis": 1}),
        ],
        (4,),
    ),
    "a slice": ([("Slice", ["x", "starts", "ends", "i1", "steps"], ["y"], {})], (6,)),
    "a slice before opset 10": (
        [("Slice", ["x"], ["y"], {"starts": [1], "ends": [-1], "axes": [1]})],
        (6,),
    ),
    "parts": (
        [
            ("Split", ["x"], ["left", "right"], {"axis": 1}),
            ("Tanh", ["left"], ["c"], {}),
            ("Concat", ["right", "c"], ["y"], {"axis": 1}),
        ],
        (6,),
    ),
    "an embedding": (
        [
            ("Cast", ["x"], ["i"], {"to": INT}),
            ("Less", ["i", "i0"], ["l"], {}),
            ("Add", ["i", "n"], ["a"], {}),
            ("Where", ["l", "a", "i"], ["w"], {}),
            ("Gather", ["table", "w"], ["y"], {"axis": 0}),
        ],
        (4,),
    ),
    "padding before the transposition": (
        [
            ("Pad", ["x", "pads"], ["p"], {}),
            ("Transpose", ["p"], ["t"], {"perm": [0, 3, 1, 2]}),
            ("Conv", ["t", "C"], ["c"], {}),
            ("Transpose", ["c"], ["y"], {"perm": [0, 2, 3, 1]}),
        ],
        (5, 6, 4),
    ),
    "pooling of Keras": (
        [
            ("Transpose", ["x"], ["t"], {"perm": [0, 3, 1, 2]}),
            ("Conv", ["t", "C"], ["c"], {}),
            ("Transpose", ["c"], ["u"], {"perm": [0, 2, 3, 1]}),
            ("ReduceMean", ["u"], ["y"], {"axes": [1, 2], "keepdims": 0}),
        ],
        (5, 6, 4),
    ),
}
for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"):
    for axes in ([1], [2], [3], [2, 3], [1, 2], [1, 2, 3], [-1]):
        for keepdims in (0, 1):
            if op in ("ReduceMin", "ReduceSum") and len(axes) == 3 and not keepdims:
                continue  # one number a sample
            nodes = [(op, ["x"], ["y"], {"axes": axes, "keepdims": keepdims})]
            TOGETHER[f"{op} {axes} {keepdims}"] = nodes, (4, 3, 5)
            if len(axes) < 3:  # what follows minds the order in which numbers stand
                left = np.delete([4, 3, 5], np.subtract(axes, 1) % 4 if axes != [-1] else 2).prod()
                TOGETHER[f"{op} {axes} {keepdims} then a matrix"] = (
                    [
                        ("Conv", ["x", "K"], ["c"], {}),
                        (op, ["c"], ["r"], {"axes": axes, "keepdims": keepdims}),
                        ("Flatten", ["r"], ["f"], {}),
                        ("MatMul", ["f", f"M{left}"], ["y"], {}),
                    ],
                    (4, 3, 5),
                )
                CONSTANTS.setdefault(f"M{left}", draw(left, 2))


@pytest.mark.parametrize("name", TOGETHER)
def test_operators_together(name):
    nodes, shape = TOGETHER[name]
    opset = {"a slice before opset 10": 9}.get(name, 13 if "parts" in name else 17)
    opset = 11 if "ReduceSum" in name else opset  # later its axes are an input
    model = model_of(nodes, shape, opset)
    network = from_onnx(model)
    images = len(shape) == 3 and network.input_shape != shape
    x = draw(3, *shape)
    if name == "an embedding":
        x = np.float32([[0, 4, 1, 2], [3, 3, 0, 1], [2, 2, 2, 4]])
    expected = reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    y = network.infer(np.moveaxis(x, 1, -1) if images else x)
    choices = [y] if y.shape == expected.shape else []
    choices += [np.moveaxis(y, -1, 1)] if images and y.ndim > 2 else []
    fitting = [c for c in choices if c.shape == expected.shape]
    assert any(np.allclose(c, expected, rtol=1e-4, atol=1e-5) for c in fitting), network
    if name in ("squeeze-and-excite", "the gate first", "by Dense layers"):
        assert [type(layer) for layer in network] == [nn.Gate]
        assert network[0].body is None


FACTORS = {
    "a row": ((4,), "Gemm", "D"),
    "steps": ((5, 4), "MatMul", "D"),
    "an image": ((4, 3, 5), "Conv", "K"),
}


@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
@pytest.mark.parametrize("case", FACTORS)
def test_of_two_factors_of_one_shape_the_gate_is_what_comes_of_the_other(case, turned):
    """The input times its sigmoid has no other body; of two branches the second is the gate."""
    shape, op, weight = FACTORS[case]
    gate = [(op, ["x", weight], ["a"], {}), ("Sigmoid", ["a"], ["g"], {})]
    other = [(op, ["x", weight], ["b"], {}), ("Tanh", ["b"], ["t"], {})]
    for nodes, factors in ((gate, ["x", "g"]), ([*gate, *other], ["t", "g"])):
        factors = factors[::-1] if turned else factors
        model = model_of([*nodes, ("Mul", factors, ["y"], {})], shape)
        (layer,) = from_onnx(model)
        assert isinstance(layer, nn.Gate)
        if "x" in factors:
            assert (kinds_of(layer.gate)[-1], layer.body) == ("Sigmoid", None)
        else:
            ends = kinds_of(layer.gate)[-1], kinds_of(layer.body)[-1]
            assert ends == (("Tanh", "Sigmoid") if turned else ("Sigmoid", "Tanh"))


def test_a_product_with_what_was_made_of_it_goes_on_from_it():
    """Of layers before both factors there is one copy, and the gate begins after them."""
    for factors in (["b", "g"], ["g", "b"]):
        nodes = [
            ("Gemm", ["x", "D", "k"], ["a"], {}),
            ("Tanh", ["a"], ["b"], {}),
            ("Gemm", ["b", "D"], ["c"], {}),
            ("Sigmoid", ["c"], ["g"], {}),
            ("Mul", factors, ["y"], {}),
        ]
        network = from_onnx(model_of(nodes, (4,)))
        assert [type(layer).__name__ for layer in network] == ["Dense", "Tanh", "Gate"]
        assert kinds_of(network[2].gate) == ["Dense", "Sigmoid"] and network[2].body is None


def sliced(start, stop):
    constants = {"from": np.array([start]), "to": np.array([stop])}
    return lambda a: ([("Slice", ["x", "from", "to", "axis"], ["y"], {})], constants)


def by_axis(op, inputs=("x",), constant=None, **more):
    return lambda a: ([(op, [*inputs], ["y"], {"axis": a, **more})], {"rows": constant})


def by_axes(op):
    return lambda a: ([(op, ["x"], ["y"], {"axes": [a]})], {})


def exchanged(a):
    halves = [("Split", ["x"], ["s", "t"], {"axis": a})]
    return [*halves, ("Concat", ["t", "s"], ["y"], {"axis": -1})], {}


def doubled(a):
    return [("Tanh", ["x"], ["t"], {}), ("Concat", ["t", "x"], ["y"], {"axis": a})], {}


ALONG_AN_AXIS = {
    "Slice of all": sliced(0, 100),
    "Slice of some": sliced(1, 3),
    "Slice but the last": sliced(0, -1),
    "Gather": by_axis("Gather", ("x", "rows"), np.array([1, 0])),
    "Gather of one": by_axis("Gather", ("x", "rows"), np.array(1)),
    "Split": exchanged,
    "Concat": doubled,
    "Softmax": by_axis("Softmax"),
    "LogSoftmax": by_axis("LogSoftmax"),
    "Flatten": by_axis("Flatten"),
    "ReduceMean": by_axes("ReduceMean"),
    "ReduceMax": by_axes("ReduceMax"),
    "LpNormalization": by_axis("LpNormalization", p=2),
}


@pytest.mark.parametrize("shape", [(4,), (4, 6), (4, 6, 2)], ids=str)
@pytest.mark.parametrize("name", ALONG_AN_AXIS)
def test_an_axis_counted_from_the_end_is_the_same_axis(name, shape):
    """Read as what the reference computes, or refused in the same words."""
    x, told = draw(2, *shape), []
    for axis in range(len(shape) + 1):
        for counted in (axis, axis - len(shape) - 1):
            nodes, constants = ALONG_AN_AXIS[name](counted)
            names = constants | {"axis": np.array([counted])}
            model = model_of(nodes, shape, 13, names)
            try:
                network = from_onnx(model)
            except ValueError as error:
                told.append(str(error))
                continue
            images = len(shape) == 3 and network.input_shape != shape
            y = network.infer(np.moveaxis(x, 1, -1) if images else x)
            expected = reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
            turned = np.moveaxis(y, -1, 1) if images and y.ndim == 4 else y
            np.testing.assert_allclose(turned, expected, rtol=1e-4, atol=1e-5)
            told.append("read")
    assert told[::2] == told[1::2]
    assert all(said == "read" or re.match(r"in \w+ '\w+'", said) for said in told)


@pytest.mark.parametrize("depth", [1, 2, 8])
def test_each_tensor_before_an_operator_is_looked_at_once_however_many_ways_lead_to_it(
    depth, monkeypatch
):
    """Of k residual sums 2**k ways lead back from a layer that is spelt in operators."""
    nodes, last = [], "x"
    for k in range(depth):
        nodes += [("Relu", [last], [f"r{k}"], {}), ("Add", [f"r{k}", last], [f"s{k}"], {})]
        last = f"s{k}"
    renamed = {"x": last}
    nodes += [(op, [renamed.get(i, i) for i in ins], *rest) for op, ins, *rest in norm([-1])]
    looked_at, between = [], reader._Reader._between

    def noted(self, source, node):
        looked_at.append((source, node.output[0]))
        return between(self, source, node)

    monkeypatch.setattr(reader._Reader, "_between", noted)
    network = from_onnx(model_of(nodes, (5, 4)))
    assert kinds_of(network) == ["Residual"] * depth + ["LayerNorm"]
    assert looked_at and len(looked_at) == len(set(looked_at))


def kinds_of(layer):
    return [type(part).__name__ for part in layer]


@pytest.mark.parametrize("scale", [1e-3, 1, 100])
def test_an_eps_is_the_models(scale):
    model = model_of(norm([-1], LAST), (5, 4))
    network = from_onnx(model)
    assert network[0].eps == 1e-3
    x = (scale * draw(3, 5, 4)).astype(np.float32)
    expected = reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(network.infer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "nodes, message",
    [
        (
            [("Pow", ["x", "two"], ["y"], {})],
            "in Pow 'y': the tensor 'y' does not come from the input through layers",
        ),
        (
            [("Sin", ["x"], ["a"], {}), ("Gemm", ["a", "D"], ["y"], {})],
            "in Sin 'a': no layer does this",
        ),
        (
            [("Exp", ["x"], ["a"], {}), ("Gemm", ["a", "D"], ["y"], {})],
            "in Gemm 'y': its input 'a' is an expression that no layer computes",
        ),
        (
            [("Gemm", ["x", "D"], ["a"], {}), ("Div", ["a", "x"], ["y"], {})],
            "in Div 'y': has a layer only with a constant",
        ),
        (
            [("Cast", ["x"], ["a"], {"to": INT}), ("Gemm", ["a", "D"], ["y"], {})],
            "in Cast 'a': has a layer only with floats, or with integers as an index",
        ),
    ],
    ids=["power", "first cause", "expression", "quotient", "cast"],
)
def test_the_first_cause_is_named(nodes, message):
    with raises_exactly(ValueError, message):
        from_onnx(model_of(nodes, (4,)))


def test_a_map_names_the_output_before_it():
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.neural_network import MLPClassifier

    X, y = draw(40, 4), np.arange(40) % 2
    mlp = MLPClassifier((3,), max_iter=2000, random_state=0).fit(X, y)
    model = skl2onnx.to_onnx(mlp, X[:1])
    with raises_exactly(
        ValueError,
        "the model has no output of floats, only output_label, output_probability; "
        "ZipMap makes 'output_probability' of output='probabilities'",
    ) as e:
        from_onnx(model)
    name = str(e.value).rsplit("output='", 1)[1].rstrip("'")
    with pytest.raises(
        ValueError, match=f"in ZipMap '.*': it gives no tensor: say output='{name}'"
    ):
        from_onnx(model, output=model.graph.output[1].name)
    network = from_onnx(model, output=name)
    np.testing.assert_allclose(network.infer(X), mlp.predict_proba(X), rtol=1e-4, atol=1e-5)


def test_no_repr_of_thousands_of_characters():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(200)])
    for refuse in (to_onnx, from_onnx, lambda m: nn.Sequential([m]).build(3)):
        with pytest.raises(TypeError) as error:
            refuse(module)
        assert len(str(error.value)) < 300


EQUAL_SIDES = [
    ("Conv", ["x", "C"], [1, 1, 1, 1], {}),
    ("Conv", ["x", "C"], [1, 2, 1, 2], {}),
    ("MaxPool", ["x"], [1, 1, 1, 1], {"kernel_shape": [3, 3]}),
    ("MaxPool", ["x"], [1, 0, 1, 0], {"kernel_shape": [3, 3]}),
    ("AveragePool", ["x"], [1, 1, 1, 1], {"kernel_shape": [3, 3]}),
]


@pytest.mark.parametrize("op, inputs, pads, more", EQUAL_SIDES)
def test_padding_that_is_equal_on_both_sides_is_the_layers_own(op, inputs, pads, more):
    """Where "same" would pad otherwise: no layer of zeros comes before it."""
    model = model_of([(op, inputs, ["y"], {"pads": pads, "strides": [2, 2], **more})], (4, 8, 8))
    network = from_onnx(model)
    assert not any(isinstance(layer, nn.ZeroPad2D) for _, layer in network.walk())
    (layer,) = [layer for _, layer in network.walk() if hasattr(layer, "padding")]
    assert np.broadcast_to(layer.padding, 2).tolist() == pads[:2]
    x = draw(2, 4, 8, 8)
    (expected,) = reference.ReferenceEvaluator(model).run(None, {"x": x})
    y = np.moveaxis(network.infer(np.moveaxis(x, 1, -1)), -1, 1)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "node",
    [
        ("Mul", ["x", "gamma"], ["y"], {}),
        ("Mul", ["x", "half"], ["y"], {}),
        ("Div", ["x", "gamma"], ["y"], {}),
        ("Add", ["x", "beta"], ["y"], {}),
        ("Sub", ["x", "beta"], ["y"], {}),
    ],
    ids=lambda node: " ".join([node[0], node[1][1]]),
)
def test_constants_of_a_formula_are_not_trained(node):
    network = from_onnx(model_of([node], (4,)))
    x, before = draw(6, 4), network.infer(np.eye(4))
    network.backward(np.ones_like(network.forward(x + 3, training=True)))
    assert [slot for slot in network.layout if slot.trainable] == []
    np.testing.assert_array_equal(network.infer(np.eye(4)), before)


C_FIRST = {
    "K2": draw(6, 4, 3, 2),
    "K2_groups": draw(4, 2, 3, 2),
    "K1": draw(6, 4, 3),
    "T2": draw(4, 6, 3, 2),
    "T1": draw(4, 6, 3),
    "six": draw(6),
    "four": 1 + draw(4),
    "two": 1 + draw(2),
    "mean": draw(4),
    "var": np.abs(draw(4)) + 1,
    "W": draw(4, 5),
    "Wt": draw(5, 4),
    "five": draw(5),
    "low": np.float32(-0.5),
}
IMAGE, LINE, ROW = (4, 6, 8), (4, 9), (4,)
WINDOW = {"kernel_shape": [3, 2]}
NORM = ["x", "four", "mean", "mean", "var"]
# fmt: off
# One operator with its attributes: (operator, inputs, attributes, shape, opset).
ATTRIBUTES = [
    *[("Gemm", ["x", "W", "five"], more, ROW, 17) for more in (
        {}, {"alpha": 0.5}, {"beta": 2.0}, {"alpha": 3.0, "beta": 0.25})],
    ("Gemm", ["x", "Wt", "five"], {"transB": 1}, ROW, 17),
    *[("HardSigmoid", ["x"], more, ROW, 17) for more in (
        {}, {"alpha": 0.5}, {"beta": 0.1}, {"alpha": 0.3, "beta": 0.7})],
    *[("Selu", ["x"], more, ROW, 17) for more in ({}, {"alpha": 1.2}, {"gamma": 2.0})],
    *[(op, ["x"], more, ROW, 17) for op in ("Elu", "LeakyRelu", "Celu")
      for more in ({}, {"alpha": 0.5})],
    *[("Softmax", ["x"], more, IMAGE, opset) for more in ({}, {"axis": 3}) for opset in (13, 17)],
    *[("DepthToSpace", ["x"], {"blocksize": 2, **more}, IMAGE, 17) for more in (
        {}, {"mode": "DCR"}, {"mode": "CRD"})],
    ("SpaceToDepth", ["x"], {"blocksize": 2}, IMAGE, 17),
    *[("SpaceToDepth", ["x"], {"blocksize": 2, **more}, IMAGE, 28) for more in (
        {}, {"mode": "DCR"}, {"mode": "CRD"})],
    *[("Conv", ["x", "K2", "six"], more, IMAGE, 17) for more in (
        {}, {"strides": [2, 1]}, {"dilations": [1, 2]}, {"pads": [0, 1, 1, 0]},
        {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"},
        {"auto_pad": "NOTSET", "pads": [1, 0, 1, 0], "strides": [1, 3]})],
    ("Conv", ["x", "K2_groups", "four"], {"group": 2}, IMAGE, 17),
    *[("Conv", ["x", "K1", "six"], more, LINE, 17) for more in (
        {}, {"strides": [2]}, {"dilations": [2]}, {"pads": [2, 0]}, {"pads": [0, 1]},
        {"auto_pad": "SAME_UPPER"})],
    *[("ConvTranspose", ["x", "T2", "six"], more, IMAGE, 17) for more in (
        {}, {"strides": [2, 1]}, {"dilations": [1, 2]}, {"pads": [1, 0, 1, 0]},
        {"strides": [2, 2], "output_padding": [1, 0]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"})],
    *[("ConvTranspose", ["x", "T1", "six"], more, LINE, 17) for more in (
        {}, {"strides": [2]}, {"dilations": [2]}, {"strides": [3], "output_padding": [1]})],
    *[(op, ["x"], WINDOW | more, IMAGE, 17) for op in ("MaxPool", "AveragePool") for more in (
        {}, {"strides": [2, 1]}, {"pads": [1, 1, 1, 1]}, {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "VALID"}, {"ceil_mode": 0, "strides": [1, 2]})],
    *[("AveragePool", ["x"], WINDOW | {"pads": [1, 1, 1, 1], "count_include_pad": k}, IMAGE, 17)
      for k in (0, 1)],
    ("MaxPool", ["x"], {"kernel_shape": [2], "strides": [2]}, LINE, 17),
    *[("BatchNormalization", NORM, more, IMAGE, 15) for more in (
        {}, {"epsilon": 0.5}, {"momentum": 0.25}, {"training_mode": 0})],
    *[("InstanceNormalization", ["x", "four", "mean"], more, IMAGE, 17) for more in (
        {}, {"epsilon": 0.5})],
    *[("GroupNormalization", ["x", "four", "mean"], {"num_groups": 2, **more}, IMAGE, 21)
      for more in ({}, {"epsilon": 0.5})],
    *[("LayerNormalization", ["x", "four"], more, LINE[::-1], 17) for more in (
        {}, {"epsilon": 0.5}, {"axis": 2})],
    *[(op, ["x"], {"axes": axes, **more}, IMAGE, 13 if op == "ReduceMean" else 17)
      for op in ("ReduceMean", "ReduceMax") for axes, more in (
          ([2, 3], {}), ([2, 3], {"keepdims": 0}), ([3], {}), ([1], {"keepdims": 1}))],
    ("Slice", ["x"], {"starts": [1], "ends": [3], "axes": [1]}, ROW, 9),
    ("Unsqueeze", ["x"], {"axes": [1]}, ROW, 11),
    ("Pad", ["x"], {"pads": [0, 0, 1, 2, 0, 0, 3, 0]}, IMAGE, 10),
    ("Pad", ["x"], {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "mode": "constant", "value": 0.0}, IMAGE, 10),
    ("Clip", ["x"], {"min": -0.5, "max": 0.25}, ROW, 10),
    ("Flatten", ["x"], {}, IMAGE, 17),
    ("Dropout", ["x"], {}, ROW, 17),
]
# fmt: on


@pytest.mark.parametrize("op, inputs, more, shape, opset", ATTRIBUTES)
def test_every_attribute_is_read_and_so_is_its_default(op, inputs, more, shape, opset):
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip(f"this onnx does not know opset {opset}")
    model = model_of([(op, inputs, ["y"], more)], shape, opset, CONSTANTS | C_FIRST)
    network = from_onnx(model)
    check(model, network, shape, network.input_shape != shape)
    if op == "BatchNormalization":
        (norm,) = [layer for layer in network if isinstance(layer, nn.BatchNorm)]
        assert norm.momentum == round(1 - more.get("momentum", 0.9), 9), "not 0.09999999999999998"
