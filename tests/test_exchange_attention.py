"""Attention that goes to PyTorch and ONNX, or comes from there: weights exactly, masks as meant."""

import numpy as np
import pytest
from errors import raises_exactly
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


@pytest.mark.parametrize("name", ["causal attention", "block", "sines", "places", "network"])
def test_onnx_for_any_number_of_steps(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = BLOCKS[name]().build((None, 4), random_state=0)
    model = to_onnx(network)
    session, back = onnxruntime.InferenceSession(model.SerializeToString()), from_onnx(model)
    assert back.input_shape == (None, 4)
    for time in (1, 3, 7):
        x = np.random.default_rng(0).standard_normal((2, time, 4)).astype(np.float32)
        (y,) = session.run(None, {"X": x})
        assert_allclose(y, network.infer(x), rtol=1e-5, atol=1e-6)
        assert_allclose(back.infer(x), network.infer(x), rtol=1e-5, atol=1e-6)
        of_one_length = from_onnx(model, input_shape=(time, 4))
        assert_allclose(of_one_length.infer(x), network.infer(x), rtol=1e-5, atol=1e-6)


def test_rows_of_ids_of_any_length_come_back_from_onnx():
    pytest.importorskip("onnx")
    parts = [nn.Embedding(5, 4), nn.PositionalEncoding(), nn.LastStep()]
    network = nn.Sequential(parts).build((None,), random_state=0)
    back = from_onnx(to_onnx(network))
    assert back.input_shape == (None,)
    assert list(map(repr, back)) == list(map(repr, network))


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("time", [None, 6])
def test_a_causal_convolution_comes_back_from_onnx_as_one(dilation, time):
    pytest.importorskip("onnx")
    layer = nn.Conv1D(4, 3, padding="causal", dilation=dilation)
    network = nn.Sequential([layer]).build((time, 2), random_state=0)
    back = from_onnx(to_onnx(network))
    assert list(map(repr, back)) == [repr(layer)]
    assert_array_equal(back.flat_params, network.flat_params)


NO_PLACES = {
    "rows of the batch": (nn.PositionalEmbedding, "Gather", 1, 0),
    "another rate": (nn.PositionalEncoding, "Mul", 1, 2),
    "from step 1 on": (nn.PositionalEmbedding, "Slice", 1, 1),
    "sines from step 1 on": (nn.PositionalEncoding, "Range", 0, 1),
    "every other step": (nn.PositionalEncoding, "Range", 2, 2),
    "along the features": (nn.PositionalEncoding, "Unsqueeze", 1, 0),
}


@pytest.mark.parametrize("change", NO_PLACES)
def test_what_only_looks_like_places_is_refused(change):
    onnx = pytest.importorskip("onnx")
    kind_of_layer, kind, wanted, changed = NO_PLACES[change]
    layer = kind_of_layer(7) if kind_of_layer is nn.PositionalEmbedding else kind_of_layer()
    model = to_onnx(layer.build((None, 4), random_state=0))
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    (node,) = [n for n in model.graph.node if n.op_type == kind]
    array = arrays[node.input[wanted]]
    new = array * changed if kind == "Mul" else np.full_like(array, changed)
    model.graph.initializer.append(onnx.numpy_helper.from_array(new, "new"))
    node.input[wanted] = "new"
    with pytest.raises(ValueError, match=r"Add|Mul"):
        from_onnx(model)


def test_sines_that_are_one_for_all_features_are_refused():
    onnx = pytest.importorskip("onnx")
    one, many = (to_onnx(nn.PositionalEncoding().build((None, d))) for d in (1, 4))
    del one.graph.input[:], one.graph.output[:]
    one.graph.input.extend(many.graph.input)
    one.graph.output.extend(many.graph.output)
    onnx.checker.check_model(one)
    with raises_exactly(
        ValueError,
        "in layerkit.Places 'PositionalEncoding.Add_2': has a layer only with sines of 4 "
        "features, not sines of 1",
    ):
        from_onnx(one)


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


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "gelu"},
        {"norm_first": True, "activation": "gelu"},
        {"norm_first": True, "layer_norm_eps": 1e-3},
        {"norm_first": True, "bias": False},
        {"bias": False},
    ],
    ids=["norms last", "gelu", "norms first, gelu", "eps", "no bias", "norms last, no bias"],
)
def test_blocks_of_pytorch_with_other_parts_are_read_as_these(options):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
    stack = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).double().eval()
    for parameter in stack.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    network = from_pytorch(stack, (None, 8))
    x = np.random.default_rng(0).standard_normal((3, 5, 8))
    with torch.no_grad():
        expected = stack(torch.tensor(x)).numpy()
        back = to_pytorch(network)(torch.tensor(x)).numpy()
    assert_allclose(network.infer(x), expected, rtol=1e-9, atol=1e-12)
    assert_allclose(back, expected, rtol=1e-9, atol=1e-12)


def test_what_has_no_layer_is_named():
    torch = pytest.importorskip("torch")
    encoder = torch.nn.TransformerEncoderLayer
    cases = [
        (
            encoder(4, 2, norm_first=True),
            "module.0 TransformerEncoderLayer(): only with batch_first=True",
        ),
        (
            encoder(4, 2, batch_first=True, activation=torch.erf),
            "module.0 TransformerEncoderLayer(): only with the activation relu, gelu or a module",
        ),
        (
            torch.nn.MultiheadAttention(4, 2),
            "module.0 MultiheadAttention(): only with batch_first=True",
        ),
        (
            torch.nn.MultiheadAttention(4, 2, batch_first=True, kdim=3),
            "module.0 MultiheadAttention(): only with keys and values of the width of queries",
        ),
        (
            torch.nn.MultiheadAttention(4, 2, batch_first=True, add_bias_kv=True),
            "module.0 MultiheadAttention(): only with no keys or values of its own",
        ),
    ]
    for module, message in cases:
        with raises_exactly(ValueError, message) as raised:
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


# ---------------------------------------------------------------- spelt by others


def random_arrays(d=8, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {"W_qkv": (d, 3 * d), "b_qkv": (3 * d,), "W_o": (d, d), "b_o": (d,)}
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def reference(arrays, x, heads, causal):
    layer = nn.MultiHeadAttention(heads, causal=causal).build((None, x.shape[2]), dtype=np.float64)
    for name, array in arrays.items():
        layer.params[name][...] = array
    return layer.infer(x)


def model_of(nodes, arrays, opset, n_samples="n", time="t", d=8):
    """A model of float32 tensors from x to y, `(n, time, d)`."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    tensors = []
    for name, array in arrays.items():
        array = np.asarray(array)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        tensors.append(numpy_helper.from_array(array, name))
    info = [helper.make_tensor_value_info(name, 1, [n_samples, time, d]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node(op, i.split(), o.split(), **how) for op, i, o, how in nodes],
        "attention", info[:1], info[1:], tensors,
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset)]
    version = helper.find_min_ir_version_for(imports)
    return helper.make_model(graph, opset_imports=imports, ir_version=version)


PROJECTIONS = [
    ("MatMul", "x W_qkv", "xW", {}),
    ("Add", "b_qkv xW", "qkv", {}),
    ("Split", "qkv", "q k v", {"axis": -1, "num_outputs": 3}),
]
END = [("MatMul", "h W_o", "hW", {}), ("Add", "hW b_o", "y", {})]
LATER = np.triu(np.ones((5, 5), bool), 1)


@pytest.mark.parametrize("opset", [23, 24])
@pytest.mark.parametrize(
    "inputs, more, causal",
    [
        ("q k v", {}, False),
        ("q k v", {"is_causal": 1}, True),
        ("q k v mask", {"mask": ~LATER}, True),
        ("q k v mask", {"mask": np.ones((5, 5), bool)}, False),
        ("q k v mask", {"mask": np.where(LATER, -np.inf, 0)}, True),
        ("q k v", {"scale": 0.3}, False),
    ],
    ids=["all", "causal", "boolean", "boolean all", "numbers", "scale"],
)
def test_the_operator_attention_is_read(opset, inputs, more, causal):
    """True in a boolean mask means attend; another scale goes into the weights of queries."""
    arrays = random_arrays()
    how = {k: v for k, v in more.items() if k != "mask"} | {"q_num_heads": 2, "kv_num_heads": 2}
    constants = arrays | {k: v for k, v in more.items() if k == "mask"}
    nodes = [*PROJECTIONS, ("Attention", inputs, "h", how), *END]
    network = from_onnx(model_of(nodes, constants, opset, time=5))
    (layer,) = attention_of(network)
    assert (layer.num_heads, layer.causal) == (2, causal)
    if "scale" in more:
        arrays["W_qkv"][:, :8] *= 0.3 * 2  # √width
        arrays["b_qkv"][:8] *= 0.3 * 2
    x = np.random.default_rng(1).standard_normal((3, 5, 8))
    assert_allclose(network.infer(x), reference(arrays, x, 2, causal), rtol=1e-4, atol=1e-4)


def test_the_operator_attention_takes_any_number_of_steps():
    arrays = random_arrays()
    how = {"q_num_heads": 4, "kv_num_heads": 4, "is_causal": 1}
    network = from_onnx(
        model_of([*PROJECTIONS, ("Attention", "q k v", "h", how), *END], arrays, 23)
    )
    assert network.input_shape == (None, 8)
    for time in (1, 2, 7):
        x = np.random.default_rng(1).standard_normal((2, time, 8))
        assert_allclose(network.infer(x), reference(arrays, x, 4, True), rtol=1e-4, atol=1e-4)


def test_queries_keys_and_values_of_their_own_with_heads_in_front():
    """As Keras writes them: kernels (d, heads, width), products with Einsum, no bias of keys."""
    arrays = random_arrays()
    parts = np.split(arrays["W_qkv"], 3, axis=1)
    given = {f"W_{n}": W.reshape(8, 4, 2) for n, W in zip("qkv", parts, strict=True)}
    given |= {
        "b_q": arrays["b_qkv"][:8].reshape(4, 2),
        "b_v": arrays["b_qkv"][16:].reshape(4, 2),
        "W_o": arrays["W_o"].reshape(4, 2, 8),
        "b_o": arrays["b_o"],
        "scale": np.float64(1 / np.sqrt(2)),
    }
    nodes = [
        *[("Einsum", f"x W_{n}", f"{n}0", {"equation": "abc,cde->abde"}) for n in "qkv"],
        *[("Add", f"{n}0 b_{n}", f"{n}1", {}) for n in "qv"],
        ("Mul", "q1 scale", "q2", {}),
        ("Einsum", "k0 q2", "s", {"equation": "aecd,abcd->acbe"}),
        ("Softmax", "s", "A", {"axis": -1}),
        ("Einsum", "A v1", "h", {"equation": "acbe,aecd->abcd"}),
        ("Einsum", "h W_o", "hW", {"equation": "abcd,cde->abe"}),
        ("Add", "hW b_o", "y", {}),
    ]
    arrays["b_qkv"][8:16] = 0
    network = from_onnx(model_of(nodes, given, 18, time=5))
    (layer,) = attention_of(network)
    assert (layer.num_heads, layer.causal) == (4, False)
    x = np.random.default_rng(1).standard_normal((3, 5, 8))
    assert_allclose(network.infer(x), reference(arrays, x, 4, False), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "inputs, how",
    [
        ("q k v mask", {}),
        ("q k v", {"softcap": 2.0}),
        ("q v v", {}),
        ("q k x", {}),
    ],
    ids=["a mask of its own", "softcap", "no keys", "no values"],
)
def test_attention_that_no_layer_computes_is_named(inputs, how):
    arrays = random_arrays() | {"mask": np.eye(5, dtype=bool)}
    how = how | {"q_num_heads": 2, "kv_num_heads": 2}
    model = model_of([*PROJECTIONS, ("Attention", inputs, "h", how), *END], arrays, 23, time=5)
    with raises_exactly(
        ValueError,
        "in Attention 'h': has a layer only as self-attention: queries, keys and values "
        "of one tensor, as many heads of each, a product with a matrix after it, and a "
        "mask, if any, that hides what comes later",
    ):
        from_onnx(model)


@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_what_pytorch_writes_for_attention_is_read(causal, tmp_path):
    """The older exporter, which needs no more than PyTorch: time in front, heads with the rows."""
    torch = pytest.importorskip("torch")

    class Attend(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.MultiheadAttention(8, 2, batch_first=True)
            torch.nn.init.normal_(self.inner.in_proj_bias)
            torch.nn.init.normal_(self.inner.out_proj.bias)

        def forward(self, x):
            mask = torch.full((5, 5), float("-inf")).triu(1) if causal else None
            return self.inner(x, x, x, attn_mask=mask, is_causal=causal, need_weights=False)[0]

    torch.manual_seed(0)
    module, x, path = Attend().eval(), torch.randn(3, 5, 8), tmp_path / "attention.onnx"
    with pytest.warns():  # that there is a newer exporter
        torch.onnx.export(module, (x,), path, dynamo=False, opset_version=17)
    network = from_onnx(path)
    assert [(m.num_heads, m.causal) for m in attention_of(network)] == [(2, causal)]
    assert len(network.layers) == 1
    with torch.no_grad():
        assert_allclose(network.infer(x.numpy()), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 0.05, 1, 20], ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def test_heads_are_told_apart_however_large_the_weights_are(scale, causal):
    pytest.importorskip("onnx")
    net = nn.Sequential([nn.MultiHeadAttention(2, causal=causal)]).build((5, 8), random_state=0)
    net[0].params["W_qkv"][:, :16] *= scale  # of queries and keys
    back = from_onnx(to_onnx(net), net.input_shape)
    assert list(map(repr, attention_of(back))) == list(map(repr, attention_of(net)))
    x = np.random.default_rng(0).standard_normal((3, 5, 8)) / scale
    assert_allclose(back.infer(x), net.infer(x), rtol=1e-3, atol=1e-4 / scale)
