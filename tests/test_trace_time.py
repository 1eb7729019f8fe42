"""The trace of recurrent layers shows every step of time, and where each gradient came from."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import layerkit.layers as nn
from layerkit.inspection import trace
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import SGD
from layerkit.sequences import Sequences

KINDS = {
    "rnn": lambda **more: nn.SimpleRNN(2, **more),
    "relu": lambda **more: nn.SimpleRNN(2, activation="relu", **more),
    "gru": lambda **more: nn.GRU(2, **more),
    "lstm": lambda **more: nn.LSTM(2, **more),
}
LENGTHS = [3, 1, 5, 2]


def rows(lengths=LENGTHS, width=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, width)) for n in lengths]


def built(kind, dtype=np.float64, **more):
    layer = KINDS[kind](**more).build((None, 3), random_state=0, dtype=dtype)
    layer.flat_params[...] += 0.2 * np.random.default_rng(1).standard_normal(layer.n_params)
    return layer


def traced(layer, x, **more):
    x = Sequences(x) if isinstance(x, list) else x
    y = layer.infer(x)
    target = y.with_steps(0 * y.steps + 0.5) if isinstance(y, Sequences) else 0 * y + 0.5
    return trace(layer, x, target, MeanSquaredError(), **more)


# ---------------------------------------------------------------- by hand


def test_two_steps_by_hand():
    """h0 = 4, h1 = 2 + 0.5 h0 = 4; dL/dh1 = 2 (4 - 1) = 6, dL/dh0 = 0 + 0.5 × 6."""
    layer = nn.SimpleRNN(1, activation="relu").build((None, 1), dtype=np.float64)
    layer.flat_params[...] = [1.0, 0.5, 0.0]
    walk = trace(layer, [[[4.0], [2.0]]], [[1.0]], MeanSquaredError())
    time = walk.steps[0].time
    found = {name: [step.item() for step in row[0]] for name, row in time.gradients.items()}
    assert found == {"G": [0, 6], "from U": [3, 0], "dL/dh": [3, 6], "dL/da": [3, 6]}
    assert [h.item() for h in time.values["h"][0]] == [4, 4]
    assert time.before["h"][0].tolist() == [[0], [4]]
    assert str(walk.steps[0].forward[1]) == (
        "h[0, 1, 0] = relu(x[0, 1, 0] W[0, 0] + h[0, 0, 0] U[0, 0] + b[0])"
        " = relu(2 × 1 + 4 × 0.5 + 0) = 4"
    )
    assert [str(equation) for equation in walk.steps[0].derivatives] == [
        "dL/dh[0, 1, 0] = G[0, 1, 0] = 6",
        "dL/da[0, 1, 0] = dL/dh[0, 1, 0] [h[0, 1, 0] > 0] = 6 × 1 = 6",
        "dL/dh[0, 0, 0] = G[0, 0, 0] + dL/da[0, 1, 0] U[0, 0] = 0 + 6 × 0.5 = 3",
        "dL/da[0, 0, 0] = dL/dh[0, 0, 0] [h[0, 0, 0] > 0] = 3 × 1 = 3",
    ]
    assert "dL/dU[0, 0] = h[0, -1, 0] dL/da[0, 0, 0] + h[0, 0, 0] dL/da[0, 1, 0]" in str(
        walk.steps[0].backward[1]
    )


# ---------------------------------------------------------------- PyTorch, step by step


def by_cells(torch, kind, layer, row, G):
    """Every state of a row with its gradient, from PyTorch's cells, one step after the other."""
    cells = {"rnn": torch.nn.RNNCell, "relu": torch.nn.RNNCell, "gru": torch.nn.GRUCell}
    more = {"nonlinearity": "relu"} if kind == "relu" else {}
    cell = cells.get(kind, torch.nn.LSTMCell)(3, 2, **more).double()
    p = {name: torch.tensor(np.array(value)) for name, value in layer.params.items()}
    hidden = torch.zeros_like(p["b"])
    if kind == "gru":
        hidden[-2:] = p["b_hidden"]
    arrays = p["W"].T, p["U"].T, p["b"], hidden
    for name, value in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), arrays, strict=True):
        setattr(cell, name, torch.nn.Parameter(value))
    h = c = torch.zeros(1, 2).double()
    states, total = [], 0
    for x, g in zip(torch.tensor(row), torch.tensor(G), strict=True):
        h, c = cell(x[None], (h, c)) if kind == "lstm" else (cell(x[None], h), c)
        if kind == "lstm":
            c.retain_grad()
        h.retain_grad()
        states.append((h, c))
        total = total + (h * g).sum()
    total.backward()
    return states


@pytest.mark.parametrize("every_step", [False, True], ids=["last", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_states_and_their_gradients_are_those_of_pytorch_s_cells(kind, every_step):
    torch = pytest.importorskip("torch")
    layer, x = built(kind, return_sequences=every_step), rows()
    time = traced(layer, x).steps[0].time
    for n, row in enumerate(x):
        states = by_cells(torch, kind, layer, row, time.gradients["G"][n])
        for t, (h, c) in enumerate(states):
            assert_allclose(time.values["h"][n][t], h.detach().numpy()[0], atol=1e-12)
            assert_allclose(time.gradients["dL/dh"][n][t], h.grad.numpy()[0], atol=1e-12)
            if kind == "lstm":
                assert_allclose(time.values["c"][n][t], c.detach().numpy()[0], atol=1e-12)
                assert_allclose(time.gradients["dL/dc"][n][t], c.grad.numpy()[0], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_a_gradient_add_up_and_make_those_of_the_arrays(kind):
    step = traced(built(kind, return_sequences=True), rows()).steps[0]
    g, before = step.time.gradients, step.time.before
    parts = [g[name].steps for name in ("G", "from U", "from z") if name in g]
    assert_allclose(sum(parts), g["dL/dh"].steps, atol=1e-14)
    if kind == "lstm":
        assert_allclose(g["from h"].steps + g["from f"].steps, g["dL/dc"].steps, atol=1e-14)
    of_product = g.get("dL/d(hU)", g["dL/da"]).steps
    assert_allclose(step.input.T @ g["dL/da"].steps, step.grads["W"], atol=1e-14)
    assert_allclose(before["h"].steps.T @ of_product, step.grads["U"], atol=1e-14)
    assert_allclose(g["dL/da"].steps @ step.params["W"].T, step.grad_input, atol=1e-14)


# ---------------------------------------------------------------- the equations


def evaluated(numbers):
    names = {"tanh": np.tanh, "relu": lambda a: max(a, 0)}
    return eval(numbers.replace("×", "*"), {"__builtins__": {}}, names)


@pytest.mark.parametrize("x", [rows([2, 1]), np.stack(rows([2, 2]))], ids=["rows", "array"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_equation_holds(kind, x):
    step = traced(built(kind, return_sequences=True), x).steps[0]
    assert step.forward and step.derivatives and step.backward
    seen = set()
    for equation in [*step.forward, *step.derivatives, *step.backward]:
        assert equation.left not in seen
        seen.add(equation.left)
        assert len(re.findall(r" \+ ", equation.symbols)) == len(
            re.findall(r" \+ ", equation.numbers)
        )
        if "more)" not in equation.numbers:
            assert_allclose(evaluated(equation.numbers), equation.value, rtol=5e-3, atol=5e-4)
    n_steps = 3 if isinstance(x, list) else 4
    assert sum(left.startswith("dL/dh[") for left in seen) == 2 * n_steps
    gates = {"gru": 3, "lstm": 4}.get(kind, 1)
    assert sum(left.startswith("dL/da[") for left in seen) == 2 * gates * n_steps
    sizes = {name: array.size for name, array in step.params.items()}
    for name, size in sizes.items():
        assert sum(left.startswith(f"dL/d{name}[") for left in seen) == size


# ---------------------------------------------------------------- how it looks


def test_small_layers_show_every_row_and_step_and_large_ones_norms():
    small = str(traced(built("gru"), rows([2, 1])))
    header, *lines = small.split("through time\n")[1].split("\n")[:4]
    assert header.split()[:4] == ["row", "t", "h", "r"] and "from z" in header
    assert [line.split()[:2] for line in lines] == [["0", "0"], ["0", "1"], ["1", "0"]]
    network = nn.Sequential([nn.LSTM(8), nn.Dense(1)]).build((None, 3), random_state=0)
    walk = trace(network, rows([30, 2]), [[0.0], [1.0]], MeanSquaredError())
    text = str(walk)
    assert "lstm_1 through time, norms over all rows" in text and '["name"]' in text
    table = text.split("over all rows\n")[1].split("\n")
    assert [line.split()[:2] for line in table[1:4:2]] == [["0", "2"], ["5", "1"]]
    assert len(table) == 13
    time = walk["lstm_1"].time
    first = np.linalg.norm([row[0] for row in time.values["h"]])
    assert float(table[1].split()[2]) == pytest.approx(first, rel=1e-3)
    assert "through time" in str(walk["lstm_1"]) and "through time" in walk._repr_html_()
    assert str(time).startswith(" t  rows") and walk["dense_1"].time is None


def test_both_ways_have_steps_of_their_own():
    network = nn.Bidirectional(nn.GRU(2)).build((None, 3), random_state=0, dtype=np.float64)
    walk = traced(network, rows())
    _, second, whole = walk.steps
    assert whole.time is None and walk.names[:2] == ["layer", "reverse"]
    assert [len(row) for row in second.time.values["h"]] == LENGTHS
    assert_allclose(np.vstack([row[-1] for row in second.time.values["h"]]), whole.output[:, 2:])


# ---------------------------------------------------------------- what must not happen


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_layer_and_its_descent_stay_as_they_are(kind):
    network = nn.Sequential([built(kind), nn.Dense(1)])
    network.build((None, 3), random_state=0, dtype=np.float64, rebuild=True)
    network[0].trainable = False
    walk = traced(network, rows(), optimizer=SGD(0.1))
    assert not any(grad.any() for grad in walk.steps[0].grads.values())
    assert not any(left.left.startswith("dL/dW") for left in walk.steps[0].backward)
    for name in walk.steps[0].params:
        assert not walk.descent.grads[f"{walk.names[0]}.{name}"].any()
    assert walk.steps[0].time.gradients["dL/dh"].steps.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_begins_from_zeros_and_leaves_the_state(kind):
    layer = built(kind, stateful=True)
    layer.forward(rows(seed=1))
    kept = [state.copy() for state in layer.state]
    time = trace(layer, rows(), np.zeros((4, 2)), MeanSquaredError()).steps[0].time
    assert_array_equal(layer.state, kept)
    assert not any(row[0].any() for states in time.before.values() for row in states)


def test_targets_of_steps_are_traced_as_the_loss_counts_them():
    """Rows count alike: a step of a row of n steps weighs 1 / n."""
    x, y = [np.ones((2, 1)), np.ones((1, 1))], [[[1.0], [2.0]], [[3.0]]]
    network = nn.Dense(1).build((None, 1), dtype=np.float64)
    network.params["W"][...] = 0
    for targets in (y, [np.array(row) for row in y]):
        loss = trace(network, x, targets, MeanSquaredError()).loss
        assert loss.value == pytest.approx(((1 + 4) / 2 + 9) / 2)
        assert loss.y_true.tolist() == [[1], [2], [3]]
        assert loss.gradient.tolist() == [[-0.5], [-1], [-3]]
        assert loss.backward[0].value == -0.5 and "w[0]" in loss.forward[0].symbols
    own = trace(network, x, y, AllSums()).loss
    assert own.y_true.shape == (3, 1) and own.gradient.tolist() == [[1], [1], [1]]


class AllSums:
    """Somebody's own loss."""

    def forward(self, y_pred, y_true, sample_weight=None):
        self.ones = y_pred.astype(bool).astype(float)
        if isinstance(y_pred, Sequences):
            self.ones = y_pred.with_steps(np.ones_like(y_pred.steps))
            return float(y_pred.steps.sum())
        return float(y_pred.sum())

    def backward(self):
        return self.ones
