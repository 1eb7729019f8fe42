"""Models from ONNX, ours and others', become networks that compute the same."""

import io
import warnings

import numpy as np
import pytest
from cases import CASES
from errors import raises_exactly
from sklearn import neural_network
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import layerkit.layers as nn
from layerkit import SequentialClassifier
from layerkit.interchange import from_onnx, to_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = X.astype(np.float32)

# Written in operators that no one layer has, which are not put together again.
NOT_READ = (
    *("BatchEnsemble", "ParametricActivation", "PeriodicEmbedding", "PiecewiseLinearEmbedding"),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_we_wrote_is_read(case):
    layer = case.build(dtype=np.float32)
    model = to_onnx(layer)
    if case.id.startswith(NOT_READ):
        with pytest.raises(ValueError, match=r"in \w+ "):
            from_onnx(model)
        return
    network = from_onnx(model)
    x = case.sample().astype(np.float32)
    atol = 2e-5 if "Winograd" in case.id else 2e-6
    np.testing.assert_allclose(network.infer(x), layer.infer(x), rtol=2e-5, atol=atol)


def test_a_network_comes_back_as_it_was():
    layers = [
        nn.Conv2D(4, 3, padding="same", use_bias=False),
        nn.BatchNorm(),
        nn.ReLU(),
        nn.MaxPool2D(),
        nn.Residual(nn.Sequential([nn.Conv2D(4, 3, padding=1), nn.GELU()])),
        nn.Concat([nn.Conv2D(3, 1), nn.AvgPool2D(3, stride=1, padding=1)]),
        nn.GlobalAvgPool2D(),
        nn.Dense(5),
        nn.Softmax(),
    ]
    network = nn.Sequential(layers).build((8, 8, 2), random_state=0)
    back = from_onnx(to_onnx(network))
    assert [type(layer) for layer in back] == [type(layer) for layer in network]
    np.testing.assert_array_equal(back.flat_params, network.flat_params)


def from_torch(module, shape, opset=17):
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            torch.zeros(2, *shape),
            file,
            dynamo=False,
            opset_version=opset,
            input_names=["x"],
            dynamic_axes={"x": {0: "n"}},
        )
    return onnx.load_from_string(file.getvalue())


def torch_modules():
    torch = pytest.importorskip("torch")
    tnn = torch.nn

    class Block(tnn.Module):
        def __init__(self, c, d):
            super().__init__()
            self.body = tnn.Sequential(
                tnn.Conv2d(c, d, 3, padding=1, bias=False),
                tnn.BatchNorm2d(d),
                tnn.ReLU(),
                tnn.Conv2d(d, d, 3, padding=1),
            )
            self.around = tnn.Conv2d(c, d, 1) if c != d else tnn.Identity()

        def forward(self, x):
            return torch.relu(self.body(x) + self.around(x))

    class ResNet(tnn.Module):
        def __init__(self):
            super().__init__()
            self.stem = tnn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.blocks = tnn.Sequential(Block(4, 4), tnn.MaxPool2d(2), Block(4, 6))
            self.head = tnn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.blocks(self.stem(x)).mean((2, 3)))

    class Viewed(tnn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.dense = tnn.Conv2d(1, 3, 3), tnn.Linear(48, 4)

        def forward(self, x):
            x = tnn.functional.gelu(self.conv(x), approximate="tanh")
            return torch.log_softmax(self.dense(x.view(x.size(0), -1)), 1)

    class Dense(tnn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = tnn.Conv2d(2, 3, 3, padding=1), tnn.Conv2d(5, 3, 3, padding=1)

        def forward(self, x):
            x = torch.cat([x, self.a(x)], 1)
            return torch.cat([x, tnn.functional.silu(self.b(x))], 1)

    activations = [tnn.GELU(), tnn.SiLU(), tnn.Mish(), tnn.Hardswish(), tnn.Hardsigmoid()]
    activations += [tnn.Softplus(), tnn.ELU(0.5), tnn.LeakyReLU(0.2), tnn.SELU(), tnn.Hardtanh()]
    chain = [m for a in activations for m in (tnn.Linear(5, 5), a)]
    return {
        "resnet": (ResNet(), (3, 16, 16)),
        "view": (Viewed(), (1, 6, 6)),
        "densenet": (Dense(), (2, 5, 4)),
        "activations": (tnn.Sequential(*chain, tnn.LayerNorm(5)), (5,)),
        "vgg": (
            tnn.Sequential(
                tnn.Conv2d(1, 4, 3, padding=1, groups=1),
                tnn.PReLU(4),
                tnn.AvgPool2d(2, padding=1),
                tnn.Conv2d(4, 4, 3, groups=2, dilation=2),
                tnn.Flatten(),
                tnn.Dropout(),
                tnn.Linear(4 * 2 * 3, 3),
                tnn.Softmax(1),
            ),
            (1, 10, 12),
        ),
        "signals": (
            tnn.Sequential(
                tnn.Conv1d(2, 4, 3, padding=1),
                tnn.BatchNorm1d(4),
                tnn.Tanh(),
                tnn.MaxPool1d(2),
                tnn.AdaptiveAvgPool1d(1),
                tnn.Flatten(),
                tnn.Linear(4, 2),
            ),
            (2, 8),
        ),
        "causal signals": (
            tnn.Sequential(
                tnn.ConstantPad1d((2, 0), 0.0),
                tnn.Conv1d(2, 4, 3),
                tnn.AvgPool1d(3, stride=1, padding=1),
                tnn.Flatten(),
                tnn.Linear(32, 2),
            ),
            (2, 8),
        ),
        "decoder": (
            tnn.Sequential(
                tnn.Linear(3, 16),
                tnn.Unflatten(1, (4, 2, 2)),
                tnn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1),
                tnn.GroupNorm(3, 3),
                tnn.Upsample(scale_factor=2),
                tnn.Sigmoid(),
            ),
            (3,),
        ),
        "sequences": (tnn.Sequential(tnn.Linear(3, 4), tnn.ReLU(), tnn.LayerNorm(4)), (5, 3)),
        "one pixel": (tnn.Sequential(tnn.Flatten(), tnn.Linear(5, 2)), (5, 1, 1)),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("resnet", "view", "densenet", "activations", "vgg", "signals", "causal signals"),
        *("decoder", "sequences", "one pixel"),
    ],
)
def test_a_model_of_pytorch(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, shape = torch_modules()[name]
    for child in module.modules():
        if isinstance(child, torch.nn.modules.batchnorm._BatchNorm):
            torch.nn.init.uniform_(child.running_mean)
            torch.nn.init.uniform_(child.running_var, 0.5, 2)
    network = from_onnx(from_torch(module, shape))
    first = len(shape) == 3 or "signals" in name
    x = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    y = network.infer(np.moveaxis(x, 1, -1) if first else x)
    y = np.moveaxis(y, -1, 1) if y.ndim == 4 else y
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    if name in ("vgg", "view"):  # rows reordered, not images
        assert not any(isinstance(layer, nn.Permute) for layer in network)
    if name == "activations":
        found = " ".join(type(layer).__name__ for layer in network[1::2])
        first, second = (
            "GELU SiLU Mish HardSwish HardSigmoid",
            "Softplus ELU LeakyReLU SELU HardTanh",
        )
        assert found == f"{first} {second}"


@pytest.mark.parametrize("y", [Y, Y / 3.0], ids=["classes", "numbers"])
def test_a_pipeline_of_scikit_learn(y):
    skl2onnx = pytest.importorskip("skl2onnx")
    kind = neural_network.MLPClassifier if y is Y else neural_network.MLPRegressor
    mlp = kind(hidden_layer_sizes=(6, 5), activation="tanh", max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = make_pipeline(StandardScaler(), mlp).fit(X, y)
        options = {"zipmap": False} if y is Y else None
        model = skl2onnx.to_onnx(pipeline, X[:1], options=options)
    network = from_onnx(model)
    expected = pipeline.predict_proba(X) if y is Y else pipeline.predict(X)[:, np.newaxis]
    np.testing.assert_allclose(network.infer(X), expected, rtol=1e-4, atol=1e-5)


def test_our_classifier_ends_where_you_say():
    estimator = SequentialClassifier([nn.Dense(4), nn.ReLU()], max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X, Y > 0)
    model = to_onnx(estimator)
    network = from_onnx(model)
    np.testing.assert_allclose(network.infer(X), estimator.predict_proba(X), rtol=1e-4, atol=1e-6)
    logits = next(node.output[0] for node in reversed(model.graph.node) if node.op_type == "Gemm")
    raw = from_onnx(model, output=logits).infer(X)
    np.testing.assert_allclose(raw[:, 0], estimator.decision_function(X), rtol=1e-4, atol=1e-6)


def test_it_goes_on_learning(tmp_path):
    from layerkit.losses import CategoricalCrossEntropy
    from layerkit.optimizers import Adam
    from layerkit.training import train

    network = nn.Sequential([nn.Dense(8), nn.Tanh(), nn.Dense(3)]).build(4, random_state=0)
    to_onnx(network, tmp_path / "model.onnx")
    back = from_onnx(tmp_path / "model.onnx")
    history = train(back, CategoricalCrossEntropy(), Adam(0.01), (X, Y), epochs=20)
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def graph(nodes, constants=(), shape=("n", 4), out="y", opset=17):
    h = onnx.helper
    x = h.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)
    y = h.make_tensor_value_info(out, onnx.TensorProto.FLOAT, None)
    made = [h.make_node(op, ins, outs, **more) for op, ins, outs, more in nodes]
    arrays = [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in constants]
    opsets = [h.make_opsetid("", opset)]
    made = h.make_graph(made, "g", [x], [y], arrays)
    return h.make_model(made, opset_imports=opsets, ir_version=8)


W = np.arange(8, dtype=np.float32).reshape(4, 2)


def test_small_operators():
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    model = graph(
        [
            ("Gemm", ["x", "W", "c"], ["a"], {"alpha": 2.0, "beta": 3.0, "transB": 1}),
            ("Sub", ["a", "c"], ["b"], {}),
            ("Div", ["b", "d"], ["e"], {}),
            ("Unsqueeze", ["e", "one"], ["f"], {}),
            ("Squeeze", ["f", "one"], ["g"], {}),
            ("Dropout", ["g"], ["y"], {}),
        ],
        [("W", W.T), ("c", np.float32([1, 2])), ("d", np.float32(2)), ("one", np.array([1]))],
    )
    expected = (2 * x @ W + 2 * np.float32([1, 2])) / 2
    np.testing.assert_allclose(from_onnx(model).infer(x), expected, rtol=1e-5, atol=1e-6)


def through(op, *constants):
    """An operator on x and constants, then a Gemm."""
    names = [f"c{i}" for i in range(len(constants))]
    nodes = [(op, ["x", *names], ["a"], {}), ("Gemm", ["a", "W"], ["y"], {})]
    arrays = [(name, np.float32(c)) for name, c in zip(names, constants, strict=True)]
    return graph(nodes, [*arrays, ("W", W)])


LARGEST = np.finfo(np.float32).max


@pytest.mark.parametrize(
    "op, constants, bounds",
    [
        *[("Clip", b, b) for b in [(0, 6), (0, 10), (-10, 10), (0, 1e10), (-1.00001, 1)]],
        *[("Min", [20], (-LARGEST, 20)), ("Min", [1e30], (-LARGEST, 1e30))],
        *[("Max", [-9], (-9, LARGEST)), ("Max", [-1e7], (-1e7, LARGEST))],
        ("Max", [1e-6], (1e-6, LARGEST)),
    ],
    ids=str,
)
def test_no_bound_is_lost(op, constants, bounds):
    model = through(op, *constants)
    layer = from_onnx(model)[0]
    assert isinstance(layer, nn.HardTanh)
    np.testing.assert_allclose((layer.low, layer.high), bounds, rtol=1e-7)
    x = np.float32([[-1e36, -12, -5, -1.000005], [-1e-6, 0, 1e-7, 0.5], [5.9, 7, 19, 1e36]])
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(from_onnx(model).infer(x), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "op, constants, kind",
    [
        *[("Clip", (0, np.inf), nn.ReLU), ("Clip", (0, LARGEST), nn.ReLU), ("Max", [0], nn.ReLU)],
        *[("Clip", (-1, 1), nn.HardTanh), ("Add", [5e-6], nn.BatchNorm)],
        *[("Mul", [1.000009], nn.BatchNorm), ("Mul", [1], nn.Dense), ("Min", [LARGEST], nn.Dense)],
    ],
    ids=str,
)
def test_what_an_operator_with_constants_becomes(op, constants, kind):
    model = through(op, *constants)
    network = from_onnx(model)
    assert type(network[0]) is kind
    x = 1000 * np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(network.infer(x), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "nodes, message",
    [
        ([("Sin", ["x"], ["y"], {})], "in Sin 'y': no layer does this"),
        (
            [("Exp", ["x"], ["y"], {})],
            "in Exp 'y': the tensor 'y' does not come from the input through layers",
        ),
        (
            [("Exp", ["x"], ["a"], {}), ("Gemm", ["a", "W"], ["y"], {})],
            "in Gemm 'y': its input 'a' is an expression that no layer computes",
        ),
        (
            [("Mul", ["x", "W"], ["y"], {})],
            "in Mul 'y': has a layer only with one constant for each channel",
        ),
        (
            [("MatMul", ["W", "x"], ["y"], {})],
            "in MatMul 'y': has a layer only with a constant as input 1",
        ),
        (
            [("Transpose", ["x"], ["y"], {"perm": [1, 0]})],
            "in Transpose 'y': has a layer only with the batch axis left as it is",
        ),
    ],
    ids=["unknown", "expression", "into Gemm", "constant", "left", "batch"],
)
def test_what_cannot_be_mapped_is_named(nodes, message):
    with raises_exactly(ValueError, message):
        from_onnx(graph(nodes, [("W", W)]))


INT, FLOAT = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT
HALF = {"coordinate_transformation_mode": "half_pixel"}
WHOLE = {"coordinate_transformation_mode": "asymmetric"}
POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
IMAGE = {
    "K": np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3) / 54,
    "L": np.arange(36, dtype=np.float32).reshape(3, 2, 3, 2) / 36,
    "F": np.float32([1, 1, 2, 3]),
    "F1": np.ones(4, np.float32),
    "F2": np.float32([1, 1, 2, 2]),
    "F3": np.float32([1, 2, 2, 3]),
    "S": np.array([0, 2, 12, 14]),
    "S3": np.array([0, 4, 12, 14]),
    "P": np.array([0, 0, 1, 2, 0, 0, 3, 0]),
    "order": np.array([0, 1, 3, 2]),
    "half": np.float32(0.5),
    "yes": np.array(True),
    "minus": np.array([-1]),
    "keep": np.array([0, 2, 0, 0]),
    "v": np.ones(2, np.float32),
    "F15": np.float32([1, 1, 1.5, 2]),
    "K1": np.ones((2, 3, 3), np.float32),
    "K3": np.ones((3, 2, 2, 2, 2), np.float32),
    "W7": np.ones((7, 3), np.float32),
    "constant": np.ones((1, 2, 6, 7), np.float32),
    "to5": np.array([0, 5]),
    "zero": np.array([0]),
    "three": np.array([3]),
}


def of_images(nodes, opset):
    return graph(nodes, IMAGE.items(), ("n", 2, 6, 7), opset=opset)


@pytest.mark.parametrize(
    "op, inputs, attributes, opset, message",
    [
        (
            "AveragePool",
            "",
            {**POOL, "auto_pad": "SAME_UPPER", "count_include_pad": 1},
            17,
            "pads instead of auto_pad where zeros are counted",
        ),
        ("Resize", ",F", {**WHOLE, "nearest_mode": "ceil"}, 17, "modes that repeat every pixel"),
        ("Resize", ",F", WHOLE, 17, "modes that repeat every pixel"),
        ("Resize", ",F", {**HALF, "nearest_mode": "floor"}, 17, "modes that repeat every pixel"),
        ("Resize", ",F3", {}, 17, "factors for two axes of places alone"),
        ("Resize", ",,S3", {}, 17, "factors for two axes of places alone"),
        ("Resize", ",,S", {"keep_aspect_ratio_policy": "not_larger"}, 18, "policy='stretch'"),
        ("Resize", ",F", {"axes": [0, 3, 1, 2]}, 18, "factors for two axes of places alone"),
        ("Upsample", "F3", {}, 9, "factors for two axes of places alone"),
        ("Pad", "P", {"mode": "reflect"}, 18, "mode='constant'"),
        ("Pad", "", {"pads": [0, 0, 1, 0] * 2, "value": 0.5}, 9, "only with zeros"),
        ("Pad", "", {"pads": [0, 0, 1, 0, 0, 0, -1, 0]}, 9, "only with pads of at least 0"),
        ("Pad", "", {"pads": [1, 0, 0, 0] * 2}, 9, "padding of one or two axes of places"),
        ("Pad", "", {"pads": [0, 1, 0, 1] * 2}, 9, "padding of one or two axes of places"),
        ("Dropout", "half,yes", {}, 17, "training_mode=False"),
        ("Reshape", "keep", {"allowzero": 1}, 17, "allowzero=0"),
        ("BatchNormalization", "v,v,v,v", {"spatial": 0}, 8, "spatial=1"),
        *[
            (
                op,
                "",
                {**POOL, "ceil_mode": 1, **more},
                17,
                "only with ceil_mode=0, or where it adds no window",
            )
            for op in ("MaxPool", "AveragePool")
            for more in (
                {},
                {"strides": [1, 2]},
                {"kernel_shape": [3, 3], "strides": [2, 1]},
                {"auto_pad": "VALID"},
                {"pads": [1, 0, 1, 0]},
            )
        ],
        ("MaxPool", "", {**POOL, "dilations": [1, 2]}, 17, "only with dilations of 1"),
        ("AveragePool", "", {**POOL, "dilations": [2, 1]}, 19, "only with dilations of 1"),
        (
            "AveragePool",
            "",
            {**POOL, "pads": [1, 0, 0, 0]},
            17,
            "the same padding on both sides, or one cell more at the end",
        ),
        ("AveragePool", "", {"kernel_shape": [2] * 3}, 17, "only with one or two axes of places"),
        ("Conv", "K3", {}, 17, "only with one or two axes of places"),
        ("ConvTranspose", "K", {"group": 2}, 17, "only with one or two axes of places, one group"),
        ("ConvTranspose", "K1", {}, 17, "only with one or two axes of places"),
        *[
            (op, "", {"axes": axes}, 11, "only with the batch axis left as it is")
            for op in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum")
            for axes in ([0], [0, 1])
        ],
        ("ReduceMean", "", {}, 11, "only with the batch axis left as it is"),
        ("ReduceMax", "", {"axes": [1, 3]}, 11, "only with axes beside each other"),
        *[
            (op, "", {"axes": [1, 2, 3], "keepdims": 0}, 11, "only with an axis that is left")
            for op in ("ReduceMin", "ReduceSum")
        ],
        ("Resize", ",F", {"mode": "cubic"}, 17, "only with mode='nearest' or mode='linear'"),
        ("Resize", ",F", {**HALF, "mode": "linear", "antialias": 1}, 18, "only with antialias=0"),
        ("Resize", ",F15", {}, 17, "only with whole factors"),
        ("Resize", ",F", {**WHOLE, "mode": "linear"}, 17, "places counted from pixels' centres"),
        ("BatchNormalization", "v,v,v,v", {"training_mode": 1}, 15, "only with training_mode=0"),
        ("LayerNormalization", "v", {"axis": 0}, 17, "only with the batch axis left as it is"),
        ("Softmax", "", {"axis": 0}, 12, "only with the batch axis left as it is"),
        (
            "Softmax",
            "",
            {"axis": 0},
            17,
            "axis must be an axis other than the batch axis 0, between -3 and 3, got 0",
        ),
        (
            "LogSoftmax",
            "",
            {"axis": -4},
            17,
            "axis must be an axis other than the batch axis 0, between -3 and 3, got 0",
        ),
        ("Concat", "x", {"axis": 0}, 17, "only with the batch axis left as it is"),
        ("Concat", "constant", {"axis": 1}, 17, "only with computed inputs"),
        ("Flatten", "", {"axis": 0}, 17, "only with axis=1"),
        ("Flatten", "", {"axis": 2}, 17, "only with axis=1"),
        ("Gemm", "W7", {"transA": 1}, 17, "only with transA=0"),
        ("Reshape", "to5", {}, 17, "only with the batch axis left as it is"),
        ("Squeeze", "zero", {}, 17, "only with the batch axis left as it is"),
        ("Unsqueeze", "zero", {}, 17, "only with the batch axis left as it is"),
        ("Slice", "zero,three,zero", {}, 17, "only with columns of a table"),
        ("Slice", "zero,three,three", {}, 17, "only with columns of a table"),
        ("Gather", "zero", {"axis": 1}, 17, "only with columns of a table"),
        ("Relu", "", {}, 6, "the model must be of opset 7 or newer, got 6"),
        (
            "Gelu",
            "",
            {"domain": "com.microsoft"},
            17,
            "no layer does this, of the domain 'com.microsoft'",
        ),
    ],
    ids=str,
)
def test_an_attribute_that_no_layer_has(op, inputs, attributes, opset, message):
    names = ["x", *(inputs.split(",") if inputs else [])]
    with pytest.raises(ValueError, match=rf"{message}$"):
        from_onnx(of_images([(op, names, ["y"], attributes)], opset))


@pytest.mark.parametrize("to", [INT, onnx.TensorProto.BOOL], ids=["integers", "booleans"])
def test_a_cast_is_not_lost(to):
    nodes = [("Cast", ["x"], ["a"], {"to": to}), ("Cast", ["a"], ["y"], {"to": FLOAT})]
    with raises_exactly(
        ValueError, "in Cast 'a': has a layer only with floats, or with integers as an index"
    ):
        from_onnx(graph(nodes))
    with raises_exactly(
        ValueError, "in Cast 'a': has a layer only with floats, or with integers as an index"
    ):
        from_onnx(graph(nodes), output="a")


@pytest.mark.parametrize(
    "between",
    [
        [("Identity", ["a"], ["b"], {})],
        [("Cast", ["a"], ["b"], {"to": INT})],
        [("Unsqueeze", ["a", "two"], ["c"], {}), ("Squeeze", ["c", "two"], ["b"], {})],
    ],
    ids=["identity", "cast", "unsqueeze"],
)
def test_a_cast_to_an_index_may_be_passed_on(between):
    first, last = (
        ("Cast", ["x"], ["a"], {"to": INT}),
        ("Gather", ["table", "b"], ["y"], {"axis": 0}),
    )
    table = np.arange(10, dtype=np.float32).reshape(5, 2)
    model = graph([first, *between, last], [("table", table), ("two", np.array([2]))])
    x = np.float32([[0, 4, 1, 2], [3, 1, 0, 0]])
    np.testing.assert_array_equal(from_onnx(model).infer(x), table[x.astype(int)])
    with_sum = [first, *between, last, ("Cast", ["a"], ["d"], {"to": FLOAT}),
                ("Add", ["y", "d"], ["z"], {})]  # fmt: skip
    with raises_exactly(
        ValueError, "in Cast 'a': has a layer only with floats, or with integers as an index"
    ):
        from_onnx(graph(with_sum, [("table", table), ("two", np.array([2]))]), output="z")


@pytest.mark.parametrize("C", [[[1], [2]], [[1, 2], [3, 4]]], ids=str)
def test_a_gemm_adds_one_row(C):
    model = graph([("Gemm", ["x", "W", "C"], ["y"], {})], [("W", W), ("C", np.float32(C))])
    with raises_exactly(ValueError, "in Gemm 'y': has a layer only with one row as C"):
        from_onnx(model)


@pytest.mark.parametrize(
    "op, inputs, attributes, opset",
    [
        ("ConvTranspose", "K", {"auto_pad": "VALID"}, 17),
        ("ConvTranspose", "K", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, 17),
        ("ConvTranspose", "K", {"auto_pad": "SAME_LOWER", "strides": [3, 1]}, 17),
        ("ConvTranspose", "K", {"pads": [1, 2, 1, 1], "strides": [2, 2]}, 17),
        ("ConvTranspose", "K", {"output_padding": [1, 0], "strides": [2, 2]}, 17),
        ("ConvTranspose", "K", {"output_shape": [11, 13], "strides": [2, 2]}, 17),
        ("ConvTranspose", "K", {"output_shape": [12, 14], "strides": [2, 2]}, 17),
        ("Conv", "L", {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, 17),
        ("Conv", "L", {"auto_pad": "SAME_UPPER"}, 17),
        (
            "MaxPool",
            "",
            {**POOL, "kernel_shape": [3, 3], "auto_pad": "SAME_LOWER", "strides": [1, 1]},
            17,
        ),
        ("MaxPool", "", {**POOL, "kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1}, 17),
        (
            "AveragePool",
            "",
            {**POOL, "kernel_shape": [2, 3], "strides": [2, 2], "ceil_mode": 1},
            17,
        ),
        ("Pad", "P,,order", {}, 18),
        ("Pad", "", {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 0.0}, 9),
        ("Resize", ",F", {"axes": [0, 1, 3, 2], **HALF}, 18),
        ("Resize", ",F", {**HALF, "mode": "linear"}, 17),
        (
            "Resize",
            ",F",
            {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"},
            17,
        ),
        ("DepthToSpace", "", {"blocksize": 1}, 17),
        ("Selu", "", {"alpha": 2.0, "gamma": 3.0}, 17),
        ("HardSigmoid", "", {"alpha": 0.2, "beta": 0.5}, 17),
        ("Celu", "", {"alpha": 0.5}, 17),
        ("InstanceNormalization", "v,v", {"epsilon": 0.01}, 17),
        ("Softmax", "", {"axis": 1}, 12),
        ("Softmax", "", {"axis": 2}, 12),
        ("LogSoftmax", "", {"axis": 3}, 12),
        ("AveragePool", "", {**POOL, "auto_pad": "VALID", "count_include_pad": 1}, 17),
        ("AveragePool", "", {**POOL, "pads": [1, 0, 1, 1], "count_include_pad": 1}, 17),
        ("AveragePool", "", {**POOL, "auto_pad": "SAME_UPPER"}, 17),
        ("MaxPool", "", {**POOL, "auto_pad": "SAME_UPPER", "storage_order": 1}, 17),
        ("ReduceMean", "", {"noop_with_empty_axes": 1}, 18),
        ("Resize", ",F", HALF, 17),
        ("Resize", ",F", {**HALF, "nearest_mode": "round_prefer_ceil"}, 17),
        ("Resize", ",F", {**WHOLE, "nearest_mode": "floor"}, 17),
        ("Resize", ",F2", WHOLE, 17),
        ("Resize", ",F1", {"coordinate_transformation_mode": "align_corners"}, 17),
        ("Upsample", "F", {}, 9),
        ("Pad", "P", {}, 18),
        ("Gelu", "", {"approximate": "tanh"}, 20),
    ],
    ids=str,
)
def test_attributes_mean_what_they_mean_to_onnxruntime(op, inputs, attributes, opset):
    names = ["x", *(inputs.split(",") if inputs else [])]
    model = of_images([(op, names, ["y"], attributes)], opset)
    x = np.random.default_rng(0).standard_normal((3, 2, 6, 7)).astype(np.float32)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    y = from_onnx(model).infer(np.moveaxis(x, 1, -1))
    np.testing.assert_allclose(np.moveaxis(y, -1, 1), expected, rtol=1e-5, atol=1e-6)


def test_a_part_of_a_shape():
    nodes = [
        ("Shape", ["x"], ["s"], {"start": 1, "end": 3}),
        ("Concat", ["minus", "s", "minus"], ["t"], {"axis": 0}),
        ("Slice", ["t", "zero", "three"], ["u"], {}),
        ("Reshape", ["x", "u"], ["y"], {}),
    ]
    constants = [("minus", np.array([-1])), ("zero", np.array([0])), ("three", np.array([3]))]
    network = from_onnx(graph(nodes, constants, ("n", 2, 6)))
    assert network.output_shape == (2, 6)


SIZES = [(0, 6), (2, 0), (0, 0), (0, 0, 1), (0, 3, 2), (3, 4), (12,), (-1,), (0, -1), (4, -1)]


@pytest.mark.parametrize(
    ("first", "sizes"),
    [(0, sizes) for sizes in SIZES]  # the batch axis as it is, as declared, left open
    + [(3, sizes) for sizes in SIZES]
    + [(-1, sizes) for sizes in SIZES if -1 not in sizes],
)
def test_sizes_mean_what_they_mean_to_onnxruntime(first, sizes):
    model = graph(
        [("Reshape", ["x", "to"], ["y"], {})],
        [("to", np.array([first, *sizes]))],
        (first if first > 0 else "n", 2, 6),
    )
    x = np.arange(36, dtype=np.float32).reshape(3, 2, 6)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_array_equal(from_onnx(model).infer(x), expected)


@pytest.mark.parametrize("longer", ["starts", "ends", "axes", "steps"])
def test_a_slice_has_all_of_each_axis(longer):
    given = {"starts": [0], "ends": [3], "axes": [1], "steps": [1]}

    def sliced(given):
        constants = [(name, np.array(values)) for name, values in given.items()]
        return from_onnx(graph([("Slice", ["x", *given], ["y"], {})], constants))

    assert sliced(given).output_shape == (3,)
    with raises_exactly(
        ValueError, "in Slice 'y': has a layer only with as many starts, ends, axes and steps"
    ):
        sliced(given | {longer: given[longer] * 2})


def test_errors_of_the_arguments():
    model = graph([("Relu", ["x"], ["y"], {})], shape=("n", "m"))
    with raises_exactly(
        ValueError,
        "input_shape is needed, as the input 'x' has sizes left open: of one sample, "
        "channels last, such as (28, 28, 1)",
    ):
        from_onnx(model)
    assert from_onnx(model, input_shape=(3,)).output_shape == (3,)
    minus_one = graph([("Relu", ["x"], ["y"], {})], shape=(-1, -1))
    assert from_onnx(minus_one, input_shape=(3,)).output_shape == (3,)
    with raises_exactly(ValueError, "output must be a computed tensor of the model, got 'z'"):
        from_onnx(model, output="z")
    with raises_exactly(TypeError, "source must be a path or an onnx.ModelProto, got 3"):
        from_onnx(3)
    with raises_exactly(
        ValueError, "input_shape must hold positive integers, without the batch axis, got 0"
    ):
        from_onnx(model, input_shape=0)
    assert from_onnx(model, input_shape=3).output_shape == (3,)


@pytest.mark.parametrize("name", ["junk.onnx", "junk.json"])
def test_a_file_that_holds_no_model(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match=rf"source must hold an ONNX model, got .*{name}"):
        from_onnx(path)
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "missing.onnx")


@pytest.mark.parametrize(
    "shape, given, message",
    [
        (("n", 4), (3,), "input_shape must be (4), which the input 'x' has, got (3,)"),
        (("n", "m"), (2, 3), "input_shape must be (any), which the input 'x' has, got (2, 3)"),
        (
            ("n", 2, "h", 7),
            (6, 7, 3),
            "input_shape must be (2, any, 7), which the input 'x' has, got (6, 7, 3)",
        ),
        (None, (3,), "in Gemm 'y': W must have shape (3, 2) for samples of shape (3,), got (4, 2)"),
        (
            ("n", "m"),
            (3,),
            "in Gemm 'y': W must have shape (3, 2) for samples of shape (3,), got (4, 2)",
        ),
    ],
    ids=str,
)
def test_a_shape_that_is_not_the_models(shape, given, message):
    model = graph([("Gemm", ["x", "W"], ["y"], {})], [("W", W)], shape)
    with raises_exactly(ValueError, message):
        from_onnx(model, input_shape=given)
