"""Attention made visible: its weights, their picture, what health says of them, and a trace."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from errors import raises_exactly
from numpy.testing import assert_allclose, assert_array_equal

import layerkit.layers as nn
from layerkit.inspection import AttentionDisplay, attention_weights, health, trace
from layerkit.inspection.diagnosis import attention_verdicts as attention_verdicts_file
from layerkit.inspection.diagnosis.evidence import Acquired
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import Adam
from layerkit.training import History, train


def network(*before, causal=False, steps=12):
    block = nn.TransformerEncoderBlock(2, 16, causal=causal)
    layers = [*before, block, nn.LayerNorm(), nn.GlobalAvgPool1D(), nn.Dense(1)]
    return nn.Sequential(layers).build((steps, 8), random_state=0)


def problem(n=200):
    """Whether some step of a row is large."""
    X = np.random.default_rng(0).standard_normal((n, 12, 8))
    return X, (X[:, :, 0].max(axis=1) > 1.5).astype(float)[:, np.newaxis]


# ---------------------------------------------------------------- weights and their picture


@pytest.mark.parametrize("causal", [False, True])
def test_weights_of_every_layer_and_row(causal):
    layers = [
        nn.PositionalEncoding(),
        nn.TransformerEncoderBlock(2, 6, rate=0.5, causal=causal),
        nn.MultiHeadAttention(4),
    ]
    net = nn.Sequential(layers).build((None, 8), random_state=0)
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((n, 8)) for n in (3, 1, 6)]
    before = net.flat_params.copy()
    found = attention_weights(net, rows)
    assert list(found) == ["layers.1.attention.body.layers.1", "layers.2"]
    for weights, n_heads in zip(found.values(), (2, 4), strict=True):
        assert [A.shape for A in weights] == [(n_heads, n, n) for n in (3, 1, 6)]
        assert all(np.allclose(A.sum(axis=2), 1, atol=1e-6) for A in weights)
    assert np.triu(found["layers.1.attention.body.layers.1"][2], 1).any() != causal
    alone = attention_weights(net, rows[2][np.newaxis])
    assert_allclose(alone["layers.2"][0], found["layers.2"][2], rtol=1e-5, atol=1e-7)
    assert_array_equal(net.flat_params, before)
    with raises_exactly(RuntimeError, "in Sequential: backward needs a forward before it"):
        net.backward(np.ones((3, 1)))


def test_a_network_without_attention_is_named():
    with raises_exactly(ValueError, "Dense(units=2) has no MultiHeadAttention"):
        attention_weights(nn.Dense(2).build(3), np.ones((1, 3)))


def test_the_picture_shows_a_map_for_each_head():
    pytest.importorskip("matplotlib").use("Agg")
    net, (X, _) = network(), problem(3)
    display = AttentionDisplay.from_network(net, X, row=2).plot()
    weights = attention_weights(net, X)["layers.0.attention.body.layers.1"][2]
    assert_allclose(display.weights, weights, rtol=1e-5)
    for ax, A in zip(display.axes_.flat, weights, strict=True):
        assert_allclose(ax.images[0].get_array(), A, rtol=1e-5)
        assert ax.images[0].norm.vmin == 0
    assert [ax.get_title() for ax in display.axes_.flat] == ["head 0", "head 1"]
    last = AttentionDisplay.from_network(net, X, row=-1, layer="layers.0.attention.body.layers.1")
    assert_allclose(last.weights, weights, rtol=1e-5)
    words = AttentionDisplay(np.eye(3)[np.newaxis], labels=["a", "b", "c"], name="copy").plot()
    assert [label.get_text() for label in words.ax_.get_xticklabels()] == ["a", "b", "c"]
    assert words.ax_.get_title() == "copy"
    assert AttentionDisplay(np.ones((6, 2, 2))).plot().axes_.shape == (2, 4)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"weights": np.ones((2, 3))},
            "weights must have shape (num_heads, time, time), got (2, 3)",
        ),
        (
            {"weights": np.ones((2, 3, 4))},
            "weights must have shape (num_heads, time, time), got (2, 3, 4)",
        ),
        (
            {"weights": np.ones((0, 3, 3))},
            "weights must have shape (num_heads, time, time), got (0, 3, 3)",
        ),
        ({"weights": np.ones((1, 3, 3)), "labels": ["a"]}, "labels must be 3, one a step, got 1"),
    ],
)
def test_what_is_no_map_is_refused(arguments, message):
    with raises_exactly(ValueError, message):
        AttentionDisplay(**arguments)


@pytest.mark.parametrize(
    "chosen, message",
    [
        ({"layer": 1}, "layer must be less than 1, got 1"),
        (
            {"layer": "layers.9"},
            "layer must be one of layers.0.attention.body.layers.1, got 'layers.9'",
        ),
        ({"row": 5}, "row must be less than 3, got 5"),
    ],
)
def test_a_layer_or_row_that_is_not_there_is_named(chosen, message):
    with raises_exactly(ValueError, message):
        AttentionDisplay.from_network(network(), problem(3)[0], **chosen)


# ---------------------------------------------------------------- health


def without_norm(scale, causal=False):
    layers = [nn.MultiHeadAttention(2, causal=causal), nn.GlobalAvgPool1D(), nn.Dense(1)]
    net = nn.Sequential(layers).build((12, 8), random_state=0)
    net[0].params["W_qkv"][:, :16] *= scale
    return net


def block(scale):
    net = network()
    net[0].attention.body[1].params["W_qkv"][:, :16] *= scale
    return net


SICK = {
    "tiny scores": (lambda: without_norm(0.03), "uniform"),
    "tiny scores, causal": (lambda: without_norm(0.03, causal=True), "uniform"),
    "tiny scores in a block": (lambda: block(0.03), "uniform"),
    "huge scores": (lambda: without_norm(20), "one position"),
    "huge scores, causal": (lambda: without_norm(20, causal=True), "one position"),
    "huge scores in a block": (lambda: block(20), "one position"),
}


def attention_verdicts(net, X, y, **known):
    report = health(net, X, y, MeanSquaredError(), **known)
    return [v for v in report.verdicts if "attention" in v.name]


@pytest.mark.parametrize("fault", SICK, ids=str)
def test_attention_that_chooses_nothing_is_found(fault):
    make, kind = SICK[fault]
    (verdict,) = attention_verdicts(make(), *problem())
    assert verdict.name == f"attention collapsed to {kind}" and verdict.severity == "warning"
    assert "MultiHeadAttention(num_heads=2" in verdict.layer and "LayerNorm()" in verdict.remedy
    assert re.search(r"\d+(\.\d)?%", verdict.evidence)
    assert not isinstance(verdict, Acquired)


@pytest.mark.parametrize("fault", SICK, ids=str)
def test_attention_that_chooses_nothing_after_training_is_found_without_the_beginning(fault):
    make, kind = SICK[fault]
    X, y = problem()
    history = History([{"loss": 0.25}, {"loss": 0.24}])
    (verdict,) = attention_verdicts(make(), X, y, history=history)
    assert verdict.name == f"attention collapsed to {kind}"
    assert isinstance(verdict, Acquired)  # training may have done it


@pytest.mark.parametrize("causal", [False, True])
def test_attention_as_it_is_built_is_healthy(causal):
    X, y = problem()
    assert not attention_verdicts(network(causal=causal), X, y)
    assert not attention_verdicts(network(nn.PositionalEncoding()), X, y)
    assert not attention_verdicts(without_norm(1), X, y)


def test_one_step_that_all_look_at_is_named():
    net, (X, y) = without_norm(0), problem()
    X[:, :, 7] = 0
    X[:, 4, 7] = 1  # the key of step 4 is large, whatever is asked
    net[0].params["b_qkv"][:8], net[0].params["W_qkv"][7, 8:16] = 5, 5
    (verdict,) = attention_verdicts(net, X, y)
    assert "one position" in verdict.name and "100% of them at step 4" in verdict.evidence


def test_sharp_attention_of_a_network_that_has_learned_is_no_fault():
    X, _ = problem(60)
    y = X[:, :, :1].mean(axis=1)
    net = without_norm(0.01)  # the mean of all steps is what is asked for
    train(net, MeanSquaredError(), Adam(0.02), (X, y), epochs=60, random_state=0)
    assert not attention_verdicts(net, X, y)


def test_rows_of_one_step_cannot_choose():
    net = nn.Sequential([nn.MultiHeadAttention(2), nn.GlobalAvgPool1D(), nn.Dense(1)])
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 1, 8)), rng.standard_normal((60, 1))
    assert not attention_verdicts(net.build((1, 8), random_state=0), X, y)


# ---------------------------------------------------------------- trace


@pytest.mark.parametrize("causal", [False, True])
def test_a_trace_writes_out_every_weight(causal):
    layer = nn.MultiHeadAttention(1, causal=causal).build((3, 2), random_state=0, dtype=np.float64)
    x = np.random.default_rng(0).standard_normal((1, 3, 2))
    walk = trace(layer, x, np.zeros((1, 3, 2)), MeanSquaredError())
    step = walk.steps[0]
    (A,) = layer.weights(x)
    seen = [(t, s) for t in range(3) for s in range(t + 1 if causal else 3)]
    assert [e.left for e in step.forward] == [f"A[0, 0, {t}, {s}]" for t, s in seen]
    for equation, place in zip(step.forward, seen, strict=True):
        assert equation.value == A[0][place]
        assert_allclose(eval(equation.numbers, {"exp": np.exp}), equation.value, rtol=1e-3)
    assert {e.left for e in step.backward} >= {"dL/dx[0, 2, 1]", "dL/dW_qkv[1, 5]", "dL/db_o[0]"}
    assert "softmax" in str(walk) or "exp(" in str(walk)


def test_a_trace_walks_through_a_block():
    net = nn.Sequential(
        [nn.PositionalEncoding(), nn.TransformerEncoderBlock(1, 3), nn.GlobalAvgPool1D()]
    ).build((2, 2), random_state=0, dtype=np.float64)
    walk = trace(net, np.ones((1, 2, 2)), np.zeros((1, 2)), MeanSquaredError())
    names = [step.name for step in walk.steps]
    assert "transformer_encoder_block_1.attention.body.multi_head_attention_1" in names
    assert "positional_encoding_1" in names and str(walk)


def test_missing_positions_are_critical_and_named_where_attention_is(monkeypatch):
    net = nn.Sequential([nn.Dense(4), nn.MultiHeadAttention(2), nn.GlobalAvgPool1D(), nn.Dense(1)])
    net.build((5, 3), random_state=0)
    X = np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)
    cure = SimpleNamespace(steps=9, where=" on held-out rows", before=1.5, after=0.25)
    monkeypatch.setattr(attention_verdicts_file, "cured_for_others", lambda e, change: cure)
    evidence = SimpleNamespace(
        network=net,
        trained=True,
        now=SimpleNamespace(finite=True),
        rows=SimpleNamespace(some=lambda n: SimpleNamespace(X=X)),
        where=lambda path: path,
    )
    found = attention_verdicts_file.positions_missing(evidence)
    assert (found.name, found.severity, found.layer) == (
        "positions missing",
        "critical",
        "layers.1",
    )
    assert "of 9 steps the loss on held-out rows comes to 1.5 so and to 0.25" in found.evidence
