"""What only attention and its neighbours can get wrong."""

import math
from itertools import product

import numpy as np
import pytest
from errors import error_of, raises_exactly
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import layerkit.layers as nn
from layerkit import check_gradients, kernels
from layerkit.interchange import load, save
from layerkit.kernels._numpy import attention as in_tiles
from layerkit.kernels.dispatch import in_numpy
from layerkit.sequences import Sequences

CLOSE = {"rtol": 1e-9, "atol": 1e-12}
LENGTHS = [3, 1, 6, 3, 2]


def rows_of(lengths=LENGTHS, width=4, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, width)) for n in lengths]


def built(layer, input_shape=(None, 4), dtype=np.float64):
    layer.build(input_shape, random_state=0, dtype=dtype)
    layer.flat_params[...] += 0.3 * np.random.default_rng(1).standard_normal(layer.n_params)
    return layer


# ---------------------------------------------------------------- the kernel, by its definition


def naive(qkv, lengths, n_heads, causal, masks):
    """Return y, by loops over rows, heads and steps; a mask holds 0 or the scale."""
    d = qkv.shape[1] // 3
    width, first, y = d // n_heads, 0, np.zeros((len(qkv), d))
    for n, row_masks in zip(lengths, masks, strict=True):
        for h, t in product(range(n_heads), range(n)):
            q, k, v = (qkv[first : first + n, j * d + h * width :][:, :width] for j in range(3))
            seen = t + 1 if causal else n
            scores = [math.exp(q[t] @ k[s] / math.sqrt(width)) for s in range(seen)]
            for s in range(seen):
                A = scores[s] / sum(scores)
                y[first + t, h * width : (h + 1) * width] += A * row_masks[h, t, s] * v[s]
        first += n
    return y


@pytest.fixture(params=[2**18, 10, 1], ids=lambda tile: f"tile of {tile}")
def tile(request, monkeypatch):
    monkeypatch.setattr(in_tiles, "TILE", request.param)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("n_heads, width", [(1, 1), (2, 3), (3, 1)])
def test_the_kernel_is_its_definition(n_heads, width, dropped, causal, tile):
    rng, lengths = np.random.default_rng(0), np.array([3, 3, 1, 5, 4])
    qkv = rng.standard_normal((lengths.sum(), 3 * n_heads * width))
    keep, scale = None, 1.0
    masks = [np.ones((n_heads, n, n)) for n in lengths]
    if dropped:
        keep, scale = rng.random(n_heads * (lengths**2).sum()) > 0.4, 1.25
        cuts = np.cumsum(n_heads * lengths**2)[:-1]
        parts = zip(np.split(keep, cuts), lengths, strict=True)
        masks = [scale * part.reshape(n_heads, n, n) for part, n in parts]
    how = lengths, n_heads, causal, keep, scale
    y, log_sums = in_numpy(in_tiles.attention)(qkv, *how)
    assert_allclose(y, naive(qkv, lengths, n_heads, causal, masks), **CLOSE)
    G, direction = rng.standard_normal(y.shape), rng.standard_normal(qkv.shape)
    grad = in_numpy(in_tiles.attention_grad)(G, qkv, y, log_sums, *how)
    up, down = (
        (in_numpy(in_tiles.attention)(qkv + h * direction, *how)[0] * G).sum()
        for h in (1e-6, -1e-6)
    )
    assert_allclose((grad * direction).sum(), (up - down) / 2e-6, rtol=1e-7)


@pytest.mark.parametrize("dtype, close", [(np.float32, 2e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("lengths", [[], [1], [4, 1, 7, 2], [300, 5], [64] * 6])
def test_compiled_attention_agrees_with_numpys(lengths, dropped, causal, dtype, close):
    rng, n_heads = np.random.default_rng(0), 3
    lengths = np.array(lengths, int)
    qkv = rng.standard_normal((lengths.sum(), 3 * n_heads * 5)).astype(dtype)
    grad = rng.standard_normal((len(qkv), n_heads * 5)).astype(dtype)
    keep = rng.random(n_heads * (lengths**2).sum()) > 0.4 if dropped else None
    how = lengths, n_heads, causal, keep, 1.25 if dropped else 1.0
    y, log_sums = kernels.attention(qkv, *how)
    found = y, log_sums, kernels.attention_grad(grad, qkv, y, log_sums, *how)
    y, log_sums = in_numpy(in_tiles.attention)(qkv.astype(np.float64), *how)
    exact = qkv.astype(np.float64), y, log_sums, *how
    expected = y, log_sums, in_numpy(in_tiles.attention_grad)(grad.astype(np.float64), *exact)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        assert_allclose(ours, theirs, rtol=close, atol=close)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("causal", [False, True])
def test_large_scores_stay_finite_and_nan_shows(causal, dtype):
    layer = nn.MultiHeadAttention(2, causal=causal).build((5, 4), random_state=0, dtype=dtype)
    x = 1e4 * np.random.default_rng(0).standard_normal((2, 5, 4)).astype(dtype)
    y = layer.forward(x, training=True)
    assert np.isfinite(y).all() and np.isfinite(layer.backward(np.ones_like(y))).all()
    x[1, 3, 2] = np.nan
    y = layer.infer(x)
    assert np.isfinite(y[0]).all() and np.isnan(y[1, 3:]).all()


# ---------------------------------------------------------------- PyTorch as the oracle


def of_pytorch(module, x, causal):
    """Output of PyTorch's module for rows of unequal length: padded, and masked."""
    torch = pytest.importorskip("torch")
    padded = torch.nn.utils.rnn.pad_sequence(x, batch_first=True)
    lengths, longest = [len(row) for row in x], padded.shape[1]
    absent = torch.arange(longest)[None] >= torch.tensor(lengths)[:, None]
    later = torch.ones(longest, longest, dtype=torch.bool).triu(1) if causal else None
    if isinstance(module, torch.nn.MultiheadAttention):
        y, _ = module(padded, padded, padded, key_padding_mask=absent, attn_mask=later)
    else:
        y = module(padded, src_mask=later, src_key_padding_mask=absent)
    return torch.cat([row[:n] for row, n in zip(y, lengths, strict=True)])


@pytest.mark.parametrize("lengths", [[4, 4, 4], LENGTHS], ids=["array", "ragged"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["attention", "block"])
def test_outputs_and_gradients_are_those_of_pytorch(kind, causal, training, lengths):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    if kind == "attention":
        module = torch.nn.MultiheadAttention(4, 2, batch_first=True).double()
        layer = built(nn.MultiHeadAttention(2, causal=causal))
        pairs = [(layer, ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"))]
    else:
        module = torch.nn.TransformerEncoderLayer(
            4, 2, 6, dropout=0.0, batch_first=True, norm_first=True
        ).double()
        layer = built(nn.TransformerEncoderBlock(2, 6, rate=0.0, causal=causal))
        norm, attend, _ = layer.attention.body
        next_norm, widen, _, _, narrow, _ = layer.feed_forward.body
        attention_names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
        pairs = [
            (norm, ("norm1.weight", "norm1.bias")),
            (attend, tuple(f"self_attn.{name}" for name in attention_names)),
            (next_norm, ("norm2.weight", "norm2.bias")),
            (widen, ("linear1.weight", "linear1.bias")),
            (narrow, ("linear2.weight", "linear2.bias")),
        ]
    module.train(training)
    theirs = dict(module.named_parameters())
    for part, names in pairs:
        for value, name in zip(part.params.values(), names, strict=True):
            theirs[name].data = torch.tensor(value.T.copy())
    rows = rows_of(lengths)
    x = [torch.tensor(row, requires_grad=True) for row in rows]
    y = of_pytorch(module, x, causal)
    found = layer.forward(Sequences(rows), training=training)
    G = np.random.default_rng(5).standard_normal(found.steps.shape)
    y.backward(torch.tensor(G))
    grad_input = layer.backward(found.with_steps(G))
    assert_allclose(found.steps, y.detach(), **CLOSE)
    assert_allclose(grad_input.steps, torch.cat([row.grad for row in x]), **CLOSE)
    for part, names in pairs:
        for grad, name in zip(part.grads.values(), names, strict=True):
            assert_allclose(grad, theirs[name].grad.numpy().T, **CLOSE)


# ---------------------------------------------------------------- attention


def test_a_causal_step_does_not_depend_on_later_ones():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 6, 4))
    for layer in (
        nn.MultiHeadAttention(2, causal=True),
        nn.TransformerEncoderBlock(2, 5, causal=True),
        nn.Conv1D(3, 3, padding="causal", dilation=2),
    ):
        built(layer, (6, 4))
        y, t = layer.infer(x), 3
        changed = x.copy()
        changed[:, t:] = rng.standard_normal((2, 3, 4))
        assert_array_equal(layer.infer(changed)[:, :t], y[:, :t])
        assert (layer.infer(changed)[:, t:] != y[:, t:]).all()


def test_attention_does_not_know_the_order_of_steps():
    layer, x = built(nn.MultiHeadAttention(2)), rows_of([5])[0][np.newaxis]
    order = [3, 0, 4, 2, 1]
    assert_allclose(layer.infer(x[:, order]), layer.infer(x)[:, order], **CLOSE)


@pytest.mark.parametrize("causal", [False, True])
def test_weights_are_those_that_forward_uses(causal):
    layer, rows = built(nn.MultiHeadAttention(2, causal=causal)), rows_of()
    y = layer.infer(rows)
    for row, A, expected in zip(rows, layer.weights(rows), y, strict=True):
        assert A.shape == (2, len(row), len(row))
        assert_allclose(A.sum(-1), 1)
        assert np.triu(A, 1).any() == (not causal and len(row) > 1)
        v = (row @ layer.params["W_qkv"] + layer.params["b_qkv"])[:, 8:].reshape(-1, 2, 2)
        h = np.einsum("hts,shw->thw", A, v).reshape(len(row), 4)
        assert_allclose(h @ layer.params["W_o"] + layer.params["b_o"], expected, **CLOSE)
    x = np.stack(rows_of([3, 3]))
    assert_array_equal(layer.weights(x), layer.weights(list(x)))
    assert_array_equal(layer.weights(x), layer.weights(x.tolist()))
    for wrong in (rows_of([3, 2], width=5), np.ones((2, 3, 5)), np.ones((3, 4))):
        assert "expects (n_samples, time, 4)" in error_of(ValueError, layer.weights, wrong)
    with raises_exactly(
        RuntimeError,
        "in MultiHeadAttention(num_heads=2): not built yet; call build(input_shape) first",
    ):
        nn.MultiHeadAttention(2).weights(x)


def test_dropped_weights_are_scaled_and_the_same_in_backward():
    layer = built(nn.MultiHeadAttention(2, rate=0.5), (7, 4))
    x = np.random.default_rng(0).standard_normal((64, 7, 4))
    layer.params["W_o"][...], layer.params["b_o"][...] = np.eye(4), 0
    draws = [layer.forward(x, training=True) for _ in range(300)]
    assert_allclose(np.mean(draws, axis=0), layer.infer(x), atol=0.5)
    assert abs(np.mean(draws) - layer.infer(x).mean()) < 0.01
    assert (draws[0] != draws[1]).any()
    assert check_gradients(layer, x=x[:3])


def test_no_rows_and_rows_of_one_step():
    for layer in (nn.MultiHeadAttention(2), nn.TransformerEncoderBlock(1, 3)):
        built(layer)
        y = layer.forward(np.empty((0, 3, 4)), training=True)
        assert y.shape == (0, 3, 4) and layer.backward(y).shape == (0, 3, 4)
        assert not layer.flat_grads.any()
        none = Sequences(rows_of())[:0]
        assert len(layer.infer(none)) == 0 and len(layer.forward(none)) == 0
    layer = built(nn.MultiHeadAttention(2))
    x = rows_of([1])[0][np.newaxis]  # it can only look at itself
    v = x[0] @ layer.params["W_qkv"][:, 8:] + layer.params["b_qkv"][8:]
    assert_allclose(layer.infer(x)[0], v @ layer.params["W_o"] + layer.params["b_o"], **CLOSE)


@pytest.mark.parametrize(
    "layer, input_shape, message",
    [
        (nn.MultiHeadAttention(3), (5, 4), "num_heads must be a positive integer that divides 4"),
        (nn.MultiHeadAttention(0), (5, 4), "num_heads must be"),
        (nn.MultiHeadAttention(1.5), (5, 4), "num_heads must be"),
        (nn.MultiHeadAttention(2, rate=1.0), (5, 4), "rate must be a probability"),
        (nn.MultiHeadAttention(2, rate=-0.1), (5, 4), "rate must be"),
        (nn.MultiHeadAttention(2, causal="yes"), (5, 4), "causal must be True or False"),
        (nn.MultiHeadAttention(2), (4,), "(n_samples, time, channels)"),
        (nn.TransformerEncoderBlock(3, 8), (5, 4), "num_heads must be"),
        (nn.TransformerEncoderBlock(2, 0), (5, 4), "units must be a positive integer"),
        (nn.TransformerEncoderBlock(2, 8, rate=2), (5, 4), "rate must be"),
        (nn.TransformerEncoderBlock(2, 8, causal=2), (5, 4), "causal must be"),
        (nn.TransformerEncoderBlock(2, 8), (3, 5, 4), "(n_samples, time, channels)"),
        (nn.PositionalEmbedding(4), (5, 4), "time <= 4, got (n_samples, 5, 4)"),
        (nn.PositionalEmbedding(0), (5, 4), "max_length must be a positive integer"),
        (nn.PositionalEncoding(), (4,), "(n_samples, time, channels)"),
        (nn.Conv1D(2, 3), (None, 4), "takes rows of one length only"),
        (nn.Conv1D(2, 3, stride=2, padding="causal"), (None, 4), "takes rows of one length only"),
        (nn.Conv1D(2, 3, padding="casual"), (5, 4), '"causal"'),
        (nn.Conv2D(2, 3, padding="causal"), (5, 5, 4), "padding must be"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_named(layer, input_shape, message):
    found = error_of(ValueError, layer.build, input_shape)
    assert message in found and type(layer).__name__ in found
    assert not layer.is_built


def test_rows_longer_than_the_table_of_places_are_refused():
    layer = built(nn.PositionalEmbedding(4))
    for x in (rows_of([2, 5]), np.ones((2, 5, 4))):
        assert "max_length=4 steps, got 5" in error_of(ValueError, layer.forward, x)


# ---------------------------------------------------------------- the block


def test_the_block_is_its_parts():
    block = built(nn.TransformerEncoderBlock(2, 6, rate=0.0))
    x = np.stack(rows_of([5, 5]))
    norm, attend, _ = block.attention.body
    next_norm, widen, relu, _, narrow, _ = block.feed_forward.body
    z = x + attend.infer(norm.infer(x))
    hidden = relu.infer(widen.infer(next_norm.infer(z)))
    assert_allclose(block.infer(x), z + narrow.infer(hidden), **CLOSE)


def test_hyper_parameters_of_the_block_reach_its_parts():
    block = nn.TransformerEncoderBlock(2, 6).set_params(num_heads=4, units=3, rate=0.5, causal=True)
    block.build((5, 8))
    _, attend, drop = block.attention.body
    _, widen, _, drop_hidden, narrow, drop_output = block.feed_forward.body
    assert (attend.num_heads, attend.causal, widen.units, narrow.units) == (4, True, 3, 8)
    assert {drop.rate, drop_hidden.rate, drop_output.rate, attend.rate} == {0.5}


def test_parts_of_the_block_may_be_frozen(tmp_path):
    block = nn.TransformerEncoderBlock(2, 6)
    block.attention.trainable = False
    built(block, (3, 4))
    assert [slot.trainable for slot in block.layout] == [False] * 6 + [True] * 6
    x = np.stack(rows_of([3]))
    block.backward(block.forward(x, training=True))
    frozen = [slot.slice for slot in block.layout if not slot.trainable]
    assert not any(block.flat_grads[where].any() for where in frozen) and block.flat_grads.any()
    save(block, tmp_path / "block.npz")
    assert load(tmp_path / "block.npz").layout == block.layout
    block = nn.TransformerEncoderBlock(2, 6)
    block.trainable = False
    assert not any(slot.trainable for slot in clone(block).build((3, 4)).layout)


# ---------------------------------------------------------------- places


def test_sines_are_those_of_the_paper():
    p = nn.PositionalEncoding().infer(np.zeros((1, 50, 7)))[0]
    for t, c in product(range(50), range(7)):
        angle = t / 10000 ** (2 * (c // 2) / 7)
        assert math.isclose(p[t, c], math.cos(angle) if c % 2 else math.sin(angle), abs_tol=1e-12)


def test_a_place_is_counted_within_its_row():
    rows = [np.zeros((n, 4)) for n in (3, 1, 5)]
    for layer in (nn.PositionalEncoding().build((None, 4)), built(nn.PositionalEmbedding(5))):
        longest = layer.infer(rows)[2]
        for row in layer.infer(rows):
            assert_array_equal(row, longest[: len(row)])


# ---------------------------------------------------------------- convolution and pooling of rows


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("kernel_size", [1, 2, 5])
def test_causal_convolution_is_pytorchs_of_a_padded_row(kernel_size, dilation, training):
    torch = pytest.importorskip("torch")
    layer = built(nn.Conv1D(3, kernel_size, padding="causal", dilation=dilation))
    rows, W, b = rows_of(), layer.params["W"], layer.params["b"]
    y = layer.forward(rows, training=training)
    kernel = torch.tensor(W.transpose(2, 1, 0).copy(), requires_grad=True)
    x = [torch.tensor(row.T.copy(), requires_grad=True) for row in rows]
    pads = ((kernel_size - 1) * dilation, 0)
    expected = torch.cat(
        [
            torch.nn.functional.conv1d(
                torch.nn.functional.pad(row, pads)[None], kernel, torch.tensor(b), dilation=dilation
            )[0].T
            for row in x
        ]
    )
    assert_allclose(y.steps, expected.detach(), **CLOSE)
    G = np.random.default_rng(5).standard_normal(y.steps.shape)
    expected.backward(torch.tensor(G))
    grad_input = layer.backward(y.with_steps(G))
    assert_allclose(grad_input.steps, torch.cat([row.grad.T for row in x]), **CLOSE)
    assert_allclose(layer.grads["W"], kernel.grad.numpy().transpose(2, 1, 0), **CLOSE)
    assert_allclose(layer.grads["b"], G.sum(axis=0), **CLOSE)


def test_a_channel_is_dropped_from_all_steps_of_a_row():
    layer = nn.SpatialDropout2D(0.5).build((None, 4), random_state=0)
    rows = [np.ones((n, 4)) for n in LENGTHS]
    y = layer.forward(rows, training=True)
    for row, grad in zip(y, layer.backward(y), strict=True):
        assert (row == row[0]).all() and set(np.unique(row)) <= {0.0, 2.0}
        assert_array_equal(grad, 2 * row)
    assert (layer.forward(rows).steps == 1).all()


@pytest.mark.parametrize(
    "shape, causal, pairs",
    [((6, 4), False, 36), ((6, 4), True, 21), ((1, 4), False, 1), ((None, 4), False, 1)],
    ids=str,
)
def test_products_are_counted_by_steps_and_by_pairs_of_steps_that_meet(shape, causal, pairs):
    layer = nn.MultiHeadAttention(2, causal=causal).build(shape)
    steps = shape[0] or 1  # where their number is open, of one
    assert layer.multiply_adds() == 4 * steps * 4**2 + 2 * pairs * 4
