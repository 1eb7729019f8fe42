"""Every layer gives the same numbers in onnxruntime as here."""

import numpy as np
import pytest
from cases import CASES
from errors import raises_exactly

import layerkit.layers as nn
from layerkit import Layer
from layerkit.interchange import to_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def run(model, X, *outputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    found = session.run(list(outputs) or None, {"X": np.asarray(X, np.float32)})
    return found[0] if len(found) == 1 else found


def n_transposes(model):
    return sum(node.op_type == "Transpose" for node in model.graph.node)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_layer_predicts_the_same(case):
    layer = case.build(dtype=np.float32)
    model = to_onnx(layer)
    for n_samples in (1, 5):  # the batch axis is of any length
        X = case.sample(n_samples).astype(np.float32)
        atol = 2e-5 if "Winograd" in case.id else 2e-6
        np.testing.assert_allclose(run(model, X), layer.infer(X), rtol=2e-5, atol=atol)


def test_image_layers_meet_without_transposes():
    network = nn.Sequential(
        [
            nn.Conv2D(4, 3, padding="same", use_bias=False),
            nn.BatchNorm(),
            nn.PReLU(),
            nn.MaxPool2D(),
            nn.Residual(
                nn.Sequential([nn.Conv2D(6, 3, padding="same"), nn.SiLU()]), nn.Conv2D(6, 1)
            ),
            nn.Concat([nn.Identity(), nn.SeparableConv2D(2, 3, padding="same")]),
            nn.GroupNorm(2),
            nn.UpSample2D(2),
            nn.GLU(),
            nn.Softmax(axis=-1),
            nn.GlobalAvgPool2D(),
            nn.Dense(3),
        ]
    ).build((8, 8, 2), random_state=0)
    model = to_onnx(network)
    assert n_transposes(model) == 1
    X = np.random.default_rng(0).standard_normal((4, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(run(model, X), network.infer(X), rtol=1e-5, atol=1e-6)


def test_a_shortcut_shares_the_transpose_of_its_body():
    block = nn.Residual(nn.Conv2D(2, 3, padding="same")).build((4, 4, 2))
    assert n_transposes(to_onnx(block)) == 2  # in and out
    stack = nn.Sequential([nn.Conv2D(2, 3), nn.Flatten(), nn.Dense(2)]).build((4, 4, 2))
    assert n_transposes(to_onnx(stack)) == 2  # in, and for the order of the flattened values


class Scaled(nn.ReLU):
    """Computes something else than the layer it builds on."""

    def function(self, x):
        return 2 * super().function(x)


def test_a_layer_without_a_form_is_named():
    network = nn.Sequential([nn.Dense(2), ("mine", Scaled())]).build(3)
    with raises_exactly(
        TypeError,
        "in layers.mine Scaled(): Scaled has no ONNX form; give it one with "
        "`@layerkit.interchange.onnx_export.emits(Scaled)`",
    ):
        to_onnx(network)


def test_a_layer_of_the_user_gets_a_form(monkeypatch):
    from layerkit.interchange.onnx import writer
    from layerkit.interchange.onnx_export import emits

    class Cube(Layer):
        def forward(self, x, training=False):
            return x**3

        def backward(self, grad_output):
            raise NotImplementedError

    monkeypatch.setitem(writer.EMITTERS, Cube, None)  # gone afterwards

    @emits(Cube)
    def write(graph, layer, x):
        return graph.like(x, "Pow", x, np.array(3.0))

    layer = Cube().build((2,))
    np.testing.assert_allclose(run(to_onnx(layer), [[2.0, -1.0]]), [[8.0, -1.0]])


def test_a_network_must_be_built():
    with raises_exactly(
        RuntimeError, "in Dense(units=2): not built yet; call build(input_shape) first"
    ):
        to_onnx(nn.Sequential([nn.Dense(2)]))


def test_extreme_values_stay_finite():
    for layer in (nn.Softplus(), nn.Mish(), nn.GELU(), nn.GELU(approximate=True), nn.LogSoftmax()):
        layer.build((4,))
        X = np.array([[-1e4, -30.0, 30.0, 1e4]], np.float32)
        np.testing.assert_allclose(run(to_onnx(layer), X), layer.infer(X), rtol=1e-5, atol=1e-6)
