"""What was silently wrong or crashed in the exchange, kind by kind."""

import numpy as np
import pytest
from errors import raises_exactly

import layerkit.layers as nn
from layerkit.interchange import from_onnx, from_pytorch, to_pytorch

onnx = pytest.importorskip("onnx")

FLOAT, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE
X = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)


def model_of(nodes, constants=(), shape=("n", 4), opset=17, dtype=FLOAT):
    h = onnx.helper
    x = h.make_tensor_value_info("x", dtype, shape)
    y = h.make_tensor_value_info("y", dtype, None)
    made = [h.make_node(op, ins, outs, **more) for op, ins, outs, more in nodes]
    arrays = [onnx.numpy_helper.from_array(np.asarray(a), name) for name, a in constants]
    made = h.make_graph(made, "g", [x], [y], arrays)
    return h.make_model(made, opset_imports=[h.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("op", ["Cast", "Identity", "Dropout", "Relu"])
def test_what_stands_before_the_first_transpose_leaves_the_channels_last(op):
    K = np.random.default_rng(1).standard_normal((3, 1, 3, 3)).astype(np.float32)
    nodes = [
        (op, ["x"], ["a"], {"to": FLOAT} if op == "Cast" else {}),
        ("Transpose", ["a"], ["b"], {"perm": [0, 3, 1, 2]}),
        ("Conv", ["b", "K"], ["c"], {}),
        ("Transpose", ["c"], ["y"], {"perm": [0, 2, 3, 1]}),
    ]
    model = model_of(nodes, [("K", K)], ("n", 12, 10, 1))
    network = from_onnx(model)
    assert network.input_shape == (12, 10, 1)
    x = np.random.default_rng(2).standard_normal((2, 12, 10, 1)).astype(np.float32)
    expected = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]
    np.testing.assert_allclose(network.infer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [nn.Permute((2, 1)), nn.Conv1D(3, 2)],
        lambda: [nn.ReLU(), nn.Permute((2, 1)), nn.Conv1D(3, 2), nn.Dense(2)],
        lambda: [nn.Reshape((4, 3)), nn.Conv1D(3, 2)],
        lambda: [nn.Reshape((2, 2, 3)), nn.Conv2D(3, 1)],
        lambda: [nn.Flatten(), nn.BatchNorm()],
        lambda: [nn.Flatten(), nn.Reshape((4, 3)), nn.MaxPool1D()],
        lambda: [nn.Residual(nn.Sequential([nn.Permute((2, 1)), nn.Permute((2, 1))]))],
        lambda: [nn.Permute((2, 1)), nn.Dense(2)],
    ],
)
def test_a_sequence_network_that_begins_by_moving_values_comes_back(layers):
    pytest.importorskip("torch")
    network = nn.Sequential(layers()).build((3, 4), random_state=0, dtype=np.float64)
    back = from_pytorch(to_pytorch(network), (3, 4))
    x = np.random.default_rng(0).standard_normal((5, 3, 4))
    y = back.infer(x)
    assert y.shape == network.infer(x).shape
    np.testing.assert_allclose(y, network.infer(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_a_constant_of_float64(op):
    nodes = [(op, ["x", "c"], ["a"], {}), ("Relu", ["a"], ["y"], {})]
    network = from_onnx(model_of(nodes, [("c", np.float64(255))], dtype=DOUBLE))
    f = {"Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide}[op]
    x = X.astype(np.float64)
    np.testing.assert_allclose(network.infer(x), np.maximum(f(x, 255), 0), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub", "Div", "PRelu"])
def test_one_number_a_sample_is_refused_by_name(op):
    with pytest.raises(ValueError, match=rf"in {op} 'y': "):
        from_onnx(model_of([(op, ["x", "c"], ["y"], {})], [("c", np.float32(3))], ("n",)))


def test_a_reshape_to_the_declared_batch():
    nodes = [("Reshape", ["x", "s"], ["y"], {})]
    model = model_of(nodes, [("s", np.array([5, 2, -1]))], (5, 4))
    assert from_onnx(model).output_shape == (2, 2)
    with raises_exactly(
        ValueError, "in Reshape 'y': has a layer only with the batch axis left as it is"
    ):
        from_onnx(model_of(nodes, [("s", np.array([6, 2, -1]))], (5, 4)))


@pytest.mark.parametrize("op", ["Exp", "Sqrt", "Erf", "Pow"])
def test_a_lone_expression_is_named(op):
    with pytest.raises(ValueError, match=f"in {op} 'y': the tensor 'y' does not come"):
        from_onnx(model_of([(op, ["x", "c"][: 1 + (op == "Pow")], ["y"], {})],
                           [("c", np.float32(0.5))]))  # fmt: skip


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_rows_of_the_batch_are_not_gathered_as_columns(axis):
    nodes = [("Gather", ["x", "i"], ["y"], {} if axis is None else {"axis": axis})]
    model = model_of(nodes, [("i", np.array([2, 0]))])
    if axis in (None, 0):  # the first axis is the usual one
        with raises_exactly(ValueError, "in Gather 'y': has a layer only with columns of a table"):
            from_onnx(model)
    else:
        np.testing.assert_array_equal(from_onnx(model).infer(X), X[:, [2, 0]])
