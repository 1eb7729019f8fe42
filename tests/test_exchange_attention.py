"""Attention that goes to PyTorch and ONNX, or comes from there: weights exactly, masks as meant."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import layerkit.layers as nn
from layerkit.interchange import from_onnx, from_pytorch, to_onnx, to_pytorch

BLOCKS = {
    "attention": lambda: nn.MultiHeadAttention(2, rate=0.25),
    "causal attention": lambda: nn.MultiHeadAttention(4, causal=True),
    "block": lambda: nn.TransformerEncoderBlock(2, 6, rate=0.25),
    "causal block": lambda: nn.TransformerEncoderBlock(1, 3, causal=True),
    "sines": lambda: nn.PositionalEncoding(),
    "places": lambda: nn.PositionalEmbedding(7),
    "network": lambda: nn.Sequential(
        [
            nn.PositionalEmbedding(9),
            nn.TransformerEncoderBlock(2, 6),
            nn.Conv1D(4, 3, padding="causal"),
            nn.TransformerEncoderBlock(2, 6, causal=True),
            nn.LayerNorm(),
            nn.GlobalAvgPool1D(),
            nn.Dense(3),
        ]
    ),
    "ids": lambda: nn.Sequential(
        [nn.Embedding(5, 4), nn.PositionalEncoding(), nn.TransformerEncoderBlock(2, 6)]
    ),
}


@pytest.fixture(params=BLOCKS, ids=str)
def network(request):
    shape = (5,) if request.param == "ids" else (5, 4)
    network = nn.Sequential([BLOCKS[request.param]()])
    network.build(shape, random_state=0, dtype=np.float64)
    network.flat_params[...] += 0.3 * np.random.default_rng(1).standard_normal(network.n_params)
    return network


def sample(network, n=3):
    rng = np.random.default_rng(2)
    if len(network.input_shape) == 1:
        return rng.integers(5, size=(n, 5))
    return rng.standard_normal((n, 5, 4))


def attention_of(network):
    return [layer for _, layer in network.walk() if isinstance(layer, nn.MultiHeadAttention)]


def test_to_pytorch_and_back(network):
    torch = pytest.importorskip("torch")
    module, x = to_pytorch(network), sample(network)
    with torch.no_grad():
        y = module(torch.tensor(x)).numpy()
    assert_allclose(y, network.infer(x), rtol=1e-9, atol=1e-12)
    back = from_pytorch(module, network.input_shape)
    assert_array_equal(back.flat_params, network.flat_params.astype(back.dtype))
    assert list(map(repr, attention_of(back))) == list(map(repr, attention_of(network)))


def test_to_onnx_and_back(network, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = clone(network).build(network.input_shape, random_state=0)
    x = sample(network)
    path = tmp_path / "network.onnx"
    to_onnx(network, path)
    session = onnxruntime.InferenceSession(path)
    for n in (3, 1):
        (y,) = session.run(None, {"X": x[:n].astype(np.float32)})
        assert_allclose(y, network.infer(x[:n]), rtol=1e-5, atol=1e-6)
    back = from_onnx(path)
    assert_allclose(back.infer(x), network.infer(x), rtol=1e-6, atol=1e-6)
    heads = [
        (m.num_heads, m.causal) for _, m in network.walk() if hasattr(m, "W") or is_attention(m)
    ]
    assert [(m.num_heads, m.causal) for _, m in back.walk() if is_attention(m)] == heads


def is_attention(layer):
    return isinstance(layer, nn.MultiHeadAttention)


@pytest.mark.parametrize("name", ["causal attention", "block", "sines", "places"])
def test_to_onnx_for_any_number_of_steps(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = BLOCKS[name]().build((None, 4), random_state=0)
    session = onnxruntime.InferenceSession(to_onnx(network).SerializeToString())
    for time in (1, 3, 7):
        x = np.random.default_rng(0).standard_normal((2, time, 4)).astype(np.float32)
        (y,) = session.run(None, {"X": x})
        assert_allclose(y, network.infer(x), rtol=1e-5, atol=1e-6)


def test_modules_of_pytorchs_users():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    stack = torch.nn.TransformerEncoder(
        layer, 2, norm=torch.nn.LayerNorm(8), enable_nested_tensor=False
    ).double()
    x = np.random.default_rng(0).standard_normal((3, 5, 8))
    network = from_pytorch(torch.nn.Sequential(stack, torch.nn.Linear(8, 3).double()), (5, 8))
    attention = torch.nn.MultiheadAttention(8, 4, batch_first=True, bias=False)
    read = from_pytorch(attention, (None, 8))
    with torch.no_grad():
        expected = stack.eval()(torch.tensor(x))
        assert_allclose(network[:3].infer(x), expected, rtol=1e-9, atol=1e-12)
        x = torch.tensor(x).float()
        assert_allclose(read.infer(x.numpy()), attention(x, x, x)[0], rtol=1e-5, atol=1e-6)
    assert not read[0].params["b_qkv"].any() and not read[0].params["b_o"].any()


def test_what_has_no_layer_is_named():
    torch = pytest.importorskip("torch")
    encoder = torch.nn.TransformerEncoderLayer
    cases = [
        (encoder(4, 2, batch_first=True), "norm_first=True"),
        (encoder(4, 2, norm_first=True), "batch_first=True"),
        (encoder(4, 2, batch_first=True, norm_first=True, activation="gelu"), "ReLU"),
        (encoder(4, 2, batch_first=True, norm_first=True, layer_norm_eps=1e-3), "eps"),
        (torch.nn.MultiheadAttention(4, 2), "batch_first=True"),
        (torch.nn.MultiheadAttention(4, 2, batch_first=True, kdim=3), "width of queries"),
        (torch.nn.MultiheadAttention(4, 2, batch_first=True, add_bias_kv=True), "of its own"),
    ]
    for module, message in cases:
        with pytest.raises(ValueError, match=message) as raised:
            from_pytorch(torch.nn.Sequential(module), (5, 4))
        assert "module.0" in str(raised.value)


def test_frozen_parts_stay_frozen():
    pytest.importorskip("torch")
    network = nn.Sequential([nn.TransformerEncoderBlock(2, 6), nn.MultiHeadAttention(2)])
    network[0].attention.trainable = False
    network[1].trainable = False
    network.build((5, 4))
    module = to_pytorch(network)
    flags = [p.requires_grad for p in module.parameters()]
    assert flags == [False] * 4 + [True] * 4 + [False] * 2 + [True] * 2 + [False] * 4
    back = from_pytorch(module, (5, 4))
    assert [s.trainable for s in back.layout] == [s.trainable for s in network.layout]
