"""How far back in time a gradient reaches: measured, pictured, and judged by `health`."""

import numpy as np
import pytest
from errors import error_of
from numpy.testing import assert_allclose

import layerkit.layers as nn
from layerkit.inspection import (
    GradientThroughTimeDisplay,
    gradient_through_time,
    health,
    trace,
)
from layerkit.losses import CategoricalCrossEntropy

LAYERS = [nn.SimpleRNN(3), nn.GRU(3), nn.LSTM(3, return_sequences=True)]


def rows(lengths, width=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, width)) for n in lengths]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("lengths", [[6, 6], [6, 3, 4]], ids=str)
def test_it_is_the_jacobian_of_the_last_state_in_an_earlier_one(layer, lengths):
    """dh_T/dh_(T-k) by finite differences: a bump on h through a cut row, state kept."""
    kind = type(layer)
    layer = kind(3).build((None, 2), random_state=0, dtype=np.float64)
    x, expected = rows(lengths), {}
    G = np.random.default_rng(0).standard_normal((len(x), 3))
    for g, row in zip(G, x, strict=True):
        for k in range(len(row)):
            head, tail = row[: len(row) - k], row[len(row) - k :]
            twin = kind(3, stateful=True).build((None, 2), random_state=0, dtype=np.float64)
            twin.forward(head[np.newaxis])
            state = [s.copy() for s in twin.state]
            slopes = []
            for unit in np.eye(3):
                sides = []
                for h in (1e-6, -1e-6):
                    twin.state = [state[0] + h * unit, *state[1:]]
                    if len(tail):
                        sides.append(twin.forward(tail[np.newaxis]) @ g)
                    else:
                        sides.append((state[0] + h * unit) @ g)
                slopes.append((sides[0] - sides[1]).item() / 2e-6)
            expected.setdefault(k, []).append(np.sum(np.square(slopes)))
    norms = np.sqrt([np.mean(expected[k]) for k in sorted(expected)])
    found = gradient_through_time(layer, x)[kind.__name__.lower()]
    assert_allclose(found, norms / norms[0], rtol=1e-5)


@pytest.mark.parametrize("factor", [1e9, 1e-9])
def test_norms_whose_squares_float32_does_not_hold(factor):
    layer = nn.SimpleRNN(2).build((4, 2), random_state=0)
    layer.params["W"][...], layer.params["U"][...] = 0, factor * np.eye(2)
    norms = gradient_through_time(layer, np.ones((1, 4, 2)))["simplernn"]
    assert_allclose(norms, factor ** np.arange(4.0), rtol=1e-5)


def test_every_recurrent_layer_has_its_name_and_the_network_stays_as_it_is():
    layers = [nn.Bidirectional(nn.GRU(2, return_sequences=True)), nn.SimpleRNN(2, stateful=True)]
    network = nn.Sequential([*layers, nn.Dense(1)]).build((None, 2), random_state=0)
    network.forward(np.ones((4, 3, 2)))
    state = network[1].state
    found = gradient_through_time(network, rows([4, 2]))
    assert list(found) == ["bidirectional_1.layer", "bidirectional_1.reverse", "simple_rnn_1"]
    assert [len(norms) for norms in found.values()] == [4, 4, 4]
    assert network[1].state is state
    network.backward(np.ones((4, 1)))  # of the forward before


def test_a_network_without_steps_is_refused():
    message = error_of(ValueError, lambda n: gradient_through_time(n, np.ones((2, 3))),
                       nn.Dense(2).build(3))  # fmt: skip
    assert "no recurrent layer" in message


def test_the_picture_shows_what_was_measured():
    pytest.importorskip("matplotlib").use("Agg")
    layer = nn.LSTM(3).build((None, 2), random_state=0)
    display = GradientThroughTimeDisplay.from_network(layer, rows([5, 3])).plot()
    line = display.ax_.lines[0]
    assert_allclose(line.get_ydata(), gradient_through_time(layer, rows([5, 3]))["lstm"])
    assert line.get_label() == "lstm" and display.ax_.get_yscale() == "log"
    assert "a vector" in error_of(ValueError, GradientThroughTimeDisplay, {"rnn": np.ones((2, 2))})


# ---------------------------------------------------------------- verdicts


def examined(layer, change=lambda params: None, time=60, ragged=False):
    network = nn.Sequential([layer, nn.Dense(2)]).build((None, 3), random_state=0)
    change(network[0].params)
    X = np.random.default_rng(0).standard_normal((80, time, 3)).astype(np.float32)
    y = (X[:, -1, 0] > 0).astype(int)
    X = [x[k % 7 :] for k, x in enumerate(X)] if ragged else X
    report = health(network, X, y, loss=CategoricalCrossEntropy())
    return {verdict.name: verdict for verdict in report.verdicts}


def scaled(factor):
    def change(params):
        params["U"][...] *= factor

    return change


def gates(value):
    def change(params):
        units = len(params["b"]) // 4
        params["b"][units : 2 * units] = value

    return change


def test_a_small_recurrent_matrix_lets_the_gradient_vanish():
    for ragged in (False, True):
        verdict = examined(nn.SimpleRNN(8), scaled(0.3), ragged=ragged)[
            "gradient vanishes through time"
        ]
        assert verdict.layer == "layers.0 SimpleRNN(units=8)" and verdict.severity == "warning"
        assert "of 60 steps" in verdict.evidence and "1 3 8 21 59 steps before" in verdict.evidence
        assert "LSTM" in verdict.remedy


def test_a_large_one_lets_it_explode():
    verdict = examined(nn.SimpleRNN(8, activation="relu"), scaled(1.6))[
        "gradient explodes through time"
    ]
    assert verdict.severity == "critical" and "clip_norm" in verdict.remedy


def test_forget_gates_that_never_open():
    found = examined(nn.LSTM(8), gates(-8.0))
    assert found["forget gates closed"].layer == "layers.0 LSTM(units=8)"
    assert 'params["b"][8:16]' in found["forget gates closed"].remedy


@pytest.mark.parametrize("layer", [nn.SimpleRNN(8), nn.GRU(8), nn.LSTM(8)], ids=str)
def test_new_layers_on_rows_of_a_common_length_are_well(layer):
    names = set(examined(layer, time=20))
    assert not names & {"gradient vanishes through time", "gradient explodes through time",
                        "forget gates closed"}  # fmt: skip


def test_rows_of_unequal_length_are_traced():
    network = nn.Sequential([nn.GRU(3, return_sequences=True), nn.GlobalAvgPool1D(), nn.Dense(2)])
    network.build((None, 2), random_state=0, dtype=np.float64)
    x, y = rows([4, 2]), np.array([0, 1])
    traced = trace(network, x, y, CategoricalCrossEntropy())
    assert [step.output.shape for step in traced.steps] == [(6, 3), (2, 3), (2, 2)]
    network.forward(x, training=True)
    assert_allclose(traced.loss.y_pred, network.infer(x))
    assert "gru_1" in str(traced)
