"""Recurrent layers: states kept from window to window, and mistakes that others have made."""

import copy
import pickle
import re

import numpy as np
import pytest
from errors import error_of, raises_exactly
from numpy.testing import assert_allclose, assert_array_equal

import layerkit.layers as nn
from layerkit import SequentialClassifier, SequentialRegressor, check_gradients
from layerkit.inspection import trace
from layerkit.interchange import load, save
from layerkit.kernels._numpy.recurrent import places
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import LBFGS, SGD
from layerkit.sequences import Sequences
from layerkit.training import train

KINDS = {
    "rnn": lambda **more: nn.SimpleRNN(3, **more),
    "relu": lambda **more: nn.SimpleRNN(3, activation="relu", **more),
    "gru": lambda **more: nn.GRU(3, **more),
    "lstm": lambda **more: nn.LSTM(3, **more),
}


@pytest.fixture(params=KINDS)
def kind(request):
    def make(**more):
        layer = KINDS[request.param](**more).build((None, 2), random_state=0, dtype=np.float64)
        layer.flat_params[...] += 0.3 * np.random.default_rng(1).standard_normal(layer.n_params)
        return layer

    return make


def series(n=4, time=12, width=2, seed=0):
    return np.random.default_rng(seed).standard_normal((n, time, width))


def windows(x, size=4):
    return [x[:, t : t + size] for t in range(0, x.shape[1], size)]


# ---------------------------------------------------------------- states from window to window


def test_windows_one_after_the_other_give_what_the_whole_series_gives(kind):
    x = series()
    whole = kind(return_sequences=True).forward(x)
    layer = kind(return_sequences=True, stateful=True)
    for training in (False, True):
        layer.reset_state()
        parts = [layer.forward(window, training=training) for window in windows(x)]
        assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-12)
    last = kind(stateful=True)
    assert_allclose([last.forward(w) for w in windows(x)][-1], whole[:, -1], rtol=1e-12)


def test_rows_of_unequal_length_go_on_each_from_its_own_last_step(kind):
    first, second = ([row[:n] for row, n in zip(series(seed=s), lengths, strict=True)]
                     for s, lengths in ((0, (3, 1, 5, 2)), (1, (2, 4, 1, 6))))  # fmt: skip
    layer = kind(return_sequences=True, stateful=True)
    layer.forward(first)
    found = layer.forward(second)
    for row, before, after in zip(found, first, second, strict=True):
        alone = kind(return_sequences=True).forward(np.concatenate([before, after])[np.newaxis])
        assert_allclose(row, alone[0, len(before) :], rtol=1e-12)


def test_a_window_s_gradient_is_that_of_the_state_it_was_given(kind):
    """Finite differences, the state held fast: what is before the window is a constant."""
    layer, (before, x) = kind(stateful=True), windows(series(), 6)
    layer.forward(before)
    state = [s.copy() for s in layer.state]
    G = np.random.default_rng(2).standard_normal((4, 3))

    def loss():
        layer.state = state
        return (layer.forward(x) * G).sum()

    loss()
    grad_input = layer.backward(G)
    for values, gradient in ((x, grad_input), (layer.flat_params, layer.flat_grads.copy())):
        flat = values.reshape(-1) if values.flags.c_contiguous else None
        if flat is None:
            x = values = np.ascontiguousarray(values)
            flat = values.reshape(-1)
        for k in range(flat.size):
            kept, sides = flat[k], []
            for h in (1e-6, -1e-6):
                flat[k] = kept + h
                sides.append(loss())
            flat[k] = kept
            numeric = (sides[0] - sides[1]) / 2e-6
            assert numeric == pytest.approx(gradient.reshape(-1)[k], rel=1e-6, abs=1e-8)


def test_windows_give_the_gradient_of_each_window_and_no_other():
    """h_t = x_t w + h_{t-1} u by hand: the second window's gradient of u ends at its first step."""
    layer = nn.SimpleRNN(1, activation="relu", stateful=True).build((2, 1), dtype=np.float64)
    layer.flat_params[...] = w, u, _ = 2.0, 0.5, 0.0
    layer.forward([[[1.0], [1.0]]])  # h = 2, 3
    h = [3.0]
    h += [2 * w + u * h[-1]]
    h += [4 * w + u * h[-1]]
    assert layer.forward([[[2.0], [4.0]]]).item() == h[2]
    layer.backward([[1.0]])
    assert layer.grads["U"].item() == h[1] + u * h[0]  # and not u² (2 + ...)
    assert layer.grads["W"].item() == 4 + u * 2


def test_infer_keeps_no_state_and_begins_from_zeros(kind):
    layer, x = kind(stateful=True), series()
    fresh = layer.infer(x)
    assert layer.state is None
    layer.forward(x)
    kept = [s.copy() for s in layer.state]
    assert_array_equal(layer.infer(x), fresh)
    assert layer.infer(x[:2]).shape == (2, 3)
    assert_array_equal(layer.state, kept)
    nested = nn.Sequential([nn.Residual(nn.SimpleRNN(2, return_sequences=True, stateful=True))])
    nested.build((None, 2), random_state=0)
    fresh = nested.infer(x)
    nested.forward(x)
    assert_array_equal(nested.infer(x), fresh)


def test_one_call_resets_a_whole_network():
    layers = [
        nn.LSTM(3, return_sequences=True, stateful=True),
        nn.Residual(nn.GRU(3, return_sequences=True, stateful=True)),
        nn.Dense(1),
    ]
    network = nn.Sequential(layers).build((None, 2), random_state=0)
    first = network.forward(series())
    assert not np.allclose(network.forward(series()), first)
    network.reset_state()
    assert_array_equal(network.forward(series()), first)


def test_another_number_of_rows_is_an_error_that_changes_nothing(kind):
    layer = kind(stateful=True)
    layer.forward(series(4))
    kept = [s.copy() for s in layer.state]
    message = error_of(ValueError, layer.forward, series(3))
    assert "stateful=True" in message and "4 rows" in message and "got 3 rows" in message
    assert "reset_state()" in message
    assert_array_equal(layer.state, kept)
    layer.reset_state()
    assert layer.forward(series(3)).shape == (3, 3)


def test_a_state_stays_where_it_is(kind, tmp_path):
    layer, x = kind(stateful=True), series()
    fresh = layer.forward(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.state is None and twin.stateful
        assert_array_equal(twin.forward(x), fresh)
    size = len(pickle.dumps(layer))
    layer.reset_state()
    assert len(pickle.dumps(layer)) == size
    layer.forward(x)
    save(layer, tmp_path / "layer.npz")
    back = load(tmp_path / "layer.npz")
    assert back.stateful and back.state is None
    assert_array_equal(back.forward(x), fresh)


def test_what_looks_at_a_network_neither_uses_nor_moves_its_state(kind):
    network = nn.Sequential([kind(stateful=True), nn.Dense(1)])
    network.build((None, 2), random_state=0, dtype=np.float64, rebuild=True)
    x = series()
    assert check_gradients(network, x=x)
    network.forward(x)
    kept = [s.copy() for s in network[0].state]
    assert check_gradients(network, x=x[:3])
    traced = trace(network, x[:3], np.zeros((3, 1)), MeanSquaredError())
    assert_allclose(traced.loss.y_pred, network.infer(x[:3]))
    assert_array_equal(network[0].state, kept)


def test_a_network_says_that_it_keeps_a_state():
    network = nn.Sequential([nn.LSTM(3, stateful=True), nn.Dense(1)])
    assert "LSTM(units=3, stateful=True)" in repr(network)
    text = str(network.summary((None, 2)))
    assert "stateful=True" in text and "lstm_1 go" in text and "from batch to batch" in text
    assert "batch to batch" not in str(nn.Sequential([nn.LSTM(3)]).summary((None, 2)))


def learned(network, data, **options):
    train(network, MeanSquaredError(), SGD(0.1), data, **{"epochs": 2, "shuffle": False} | options)
    return network.flat_params.copy()


def test_training_begins_every_epoch_from_zeros():
    x, y = series(3, 8), series(3, 8, 1, seed=5)
    parts = list(zip(windows(x), windows(y), strict=True))

    def make():
        layers = [nn.GRU(3, return_sequences=True, stateful=True), nn.Dense(1)]
        return nn.Sequential(layers).build((None, 2), random_state=0, dtype=np.float64)

    by_hand, loss, sgd = make(), MeanSquaredError(), SGD(0.1)
    for _ in range(2):
        by_hand.reset_state()
        for window, target in parts:
            loss.forward(by_hand.forward(window, training=True), target)
            by_hand.backward(loss.backward())
            sgd.step(by_hand.flat_params, by_hand.flat_grads, by_hand.layout)
    network = make()
    network.forward(x)  # whatever was read before training
    assert_allclose(learned(network, parts), by_hand.flat_params)
    assert network[0].state is None
    learned(network, parts, validation_data=(x[:2], y[:2]))  # of another number of rows
    together = np.concatenate([w for w, _ in parts]), np.concatenate([t for _, t in parts])
    assert_allclose(learned(make(), together, batch_size=3), by_hand.flat_params)


@pytest.mark.parametrize(
    "options, message", [({"shuffle": True}, "shuffle=False"), ({"batch_size": 5}, "[2, 5]")]
)
def test_rows_out_of_order_are_refused_before_a_step(options, message):
    network = nn.Sequential([nn.LSTM(3, stateful=True), nn.Dense(1)])
    network.build((None, 2), random_state=0, dtype=np.float64)
    before = network.flat_params.copy()
    data = series(12, 4), np.zeros((12, 1))
    text = error_of(
        ValueError, lambda data: learned(network, data, **{"batch_size": 4} | options), data
    )
    assert "layers.0 LSTM(units=3, stateful=True)" in text and message in text
    assert_array_equal(network.flat_params, before)


def test_estimators_refuse_shuffling_and_predict_from_zeros():
    X, y = series(8, 4), np.arange(8) % 2
    model = SequentialClassifier([nn.GRU(2, stateful=True)], batch_size=4, max_iter=2,
                                 n_iter_no_change=None, random_state=0)  # fmt: skip
    assert "shuffle=False" in error_of(ValueError, lambda X: model.fit(X, y), X)
    model.set_params(shuffle=False).fit(X, y)
    assert model.network_.layers[0].state is None
    assert_allclose(model.predict_proba(X[:3]), model.predict_proba(X)[:3], rtol=1e-6)
    again = model.fit(X, y).predict_proba(X)
    assert_array_equal(model.fit(X, y).predict_proba(X), again)
    regressor = SequentialRegressor([nn.GRU(2, stateful=True)], optimizer=LBFGS(), max_iter=2,
                                    n_iter_no_change=None, shuffle=False)  # fmt: skip
    assert regressor.fit(X, y).predict(X[:2]).shape == (2,)


def test_both_ways_and_a_state_do_not_go_together():
    layer = nn.Bidirectional(nn.LSTM(2, stateful=True))
    assert "stateful=False" in error_of(ValueError, layer.build, (None, 2))


@pytest.mark.parametrize("kind", [nn.SimpleRNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))],
    ids=["deepcopy", "pickle"],
)
def test_nor_where_it_is_set_after_build(kind, copied):
    network = nn.Sequential([nn.Bidirectional(kind(2)), nn.Dense(1)])
    network = copied(network.build((None, 2), random_state=0))
    x = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    before = network.infer(x)
    for layer in (network[0].layer, dict(network[0].children())["reverse"]):
        with raises_exactly(
            ValueError,
            re.compile(
                r"in .*, stateful=True\): stateful must be False within Bidirectional: what "
                r"comes later ends with the row, got True"
            ),
        ):
            layer.stateful = True
        assert not layer.stateful
    assert_array_equal(network.infer(x), before)


def test_a_layer_that_leaves_bidirectional_may_keep_a_state():
    layer = nn.Bidirectional(nn.GRU(2)).build((None, 2), random_state=0).layer
    network = nn.Sequential([layer]).build((None, 2))
    network[0].stateful = True
    x = np.ones((1, 3, 2), np.float32)
    assert not np.array_equal(network.forward(x), network.forward(x))


def test_a_parameter_that_is_no_bool_is_refused():
    message = error_of(ValueError, nn.GRU(2, stateful="yes").build, (None, 2))
    assert "stateful must be True or False, got 'yes'" in message


# ---------------------------------------------------------------- mistakes that others have made


class ZeroGradient(nn.LSTM):
    """Backward returns zeros, as that of thinc's NumPy LSTM did."""

    def steps_backward(self, grad, states, line, kept):
        D, _ = super().steps_backward(grad, states, line, kept)
        return 0 * D, 0 * D


class OutputBiasForOtherGates(nn.LSTM):
    """The gradient of the output gate's bias stands for those of all gates, as in numpy-ml."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["b"][...] = np.tile(self.grads["b"][-self.units :], 4)
        return grad_input


class StepByStep(nn.LSTM):
    """Backward one step at a time, which may forget what goes from step to step."""

    hidden, cell = True, True

    def steps_backward(self, grad, states, line, kept):
        gates, tanh_c = kept
        c_before, D = line.before(states[1]), np.empty_like(gates)
        of_c = np.zeros_like(grad)
        for now, before, after in list(places(line.sizes))[::-1]:
            i, f, g, o = np.split(gates[now], 4, axis=1)
            C = of_c[after] + grad[after] * o * (1 - tanh_c[now] ** 2)
            D[now] = np.hstack([
                C * g * i * (1 - i), C * c_before[now] * f * (1 - f), C * i * (1 - g * g),
                grad[after] * tanh_c[now] * o * (1 - o),
            ])  # fmt: skip
            of_c[before] += self.cell * C * f
            grad[before] += self.hidden * D[now] @ self.params["U"].T
        return D, D


class HiddenGradientNotCarried(StepByStep):
    hidden = False


class CellGradientNotCarried(StepByStep):
    cell = False


class BiasesCopiedBetweenGates(nn.LSTM):
    """Forward takes the first gate's bias for all."""

    def steps_forward(self, z, states, line):
        z += np.tile(self.params["b"][: self.units], 4) - self.params["b"]
        return super().steps_forward(z, states, line)


class ResetBeforeTheProduct(nn.GRU):
    """Backward of the other kind of GRU, whose bias is outside of the reset."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["b_hidden"][...] = self.grads["b"][-self.units :]
        return grad_input


class InitialStateReused(nn.LSTM):
    """Every window begins where the first one did."""

    def forward(self, x, training=False):
        self.first = self.first if hasattr(self, "first") else self.state
        self.state = self.first
        return super().forward(x, training)


class MaskedStepsLeak(nn.LSTM):
    """Rows are padded with zeros, whose steps add biases to the state."""

    def forward(self, x, training=False):
        if not isinstance(x, Sequences):
            return super().forward(x, training)
        padded = np.zeros((len(x), x.lengths.max(), x.shape[2]))
        for row, steps in zip(padded, x, strict=True):
            row[: len(steps)] = steps
        return super().forward(padded, training)


class GradientOfAllWindows(nn.SimpleRNN):
    """Adds up gradients over windows instead of giving that of the last one."""

    def backward(self, grad_output):
        before = self.grads["U"].copy()
        grad_input = super().backward(grad_output)
        self.grads["U"][...] += before
        return grad_input


def gradients_hold(layer):
    return bool(check_gradients(layer, x=series(3, 4)))


def windows_continue(layer):
    whole = layer.infer(series())
    layer.stateful = True
    parts = [layer.forward(window) for window in windows(series())]
    return np.allclose(parts[-1], whole)


def rows_are_alone(layer):
    rows = [row[:n] for row, n in zip(series(), (3, 1, 5, 2), strict=True)]
    together = layer.infer(rows)
    return all(np.allclose(layer.infer([row])[0], together[i]) for i, row in enumerate(rows))


def equals_pytorch(layer):
    """The biases of every gate where PyTorch has them."""
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(2, 3, batch_first=True).double()
    arrays = {"weight_ih_l0": layer.params["W"].T, "weight_hh_l0": layer.params["U"].T,
              "bias_ih_l0": layer.params["b"], "bias_hh_l0": 0 * layer.params["b"]}  # fmt: skip
    module.load_state_dict({name: torch.tensor(a) for name, a in arrays.items()})
    expected = module(torch.tensor(series()))[0][:, -1].detach().numpy()
    return np.allclose(layer.infer(series()), expected, rtol=1e-9, atol=1e-12)


def nothing_adds_up(layer):
    grads = []
    for _ in range(2):
        layer.forward(series())
        layer.backward(np.ones((4, 3)))
        grads.append(layer.flat_grads.copy())
    return np.array_equal(*grads)


FAULTS = [
    (ZeroGradient, gradients_hold),
    (OutputBiasForOtherGates, gradients_hold),
    (HiddenGradientNotCarried, gradients_hold),
    (CellGradientNotCarried, gradients_hold),
    (ResetBeforeTheProduct, gradients_hold),
    (BiasesCopiedBetweenGates, equals_pytorch),
    (InitialStateReused, windows_continue),
    (MaskedStepsLeak, rows_are_alone),
    (GradientOfAllWindows, nothing_adds_up),
]


@pytest.mark.parametrize("broken, check", FAULTS, ids=lambda part: part.__name__)
def test_a_known_fault_is_not_ours_and_would_be_caught(broken, check):
    def built(kind):
        layer = kind(3).build((None, 2), random_state=0, dtype=np.float64)
        layer.flat_params[...] += 0.3 * np.random.default_rng(1).standard_normal(layer.n_params)
        return layer

    ours = next(kind for kind in broken.__mro__ if kind.__module__.startswith("layerkit"))
    assert check(built(ours))
    assert not check(built(broken))


def test_the_loop_of_steps_by_hand_is_what_the_kernels_compute():
    layers = [kind(3).build((None, 2), random_state=0, dtype=np.float64)
              for kind in (nn.LSTM, StepByStep)]  # fmt: skip
    grads = []
    for layer in layers:
        layer.forward([row[:n] for row, n in zip(series(), (3, 1, 5, 2), strict=True)])
        layer.backward(np.ones((4, 3)))
        grads.append(layer.flat_grads)
    assert_allclose(*grads, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"batch_size": 4}, "shuffled rows do not go on from one another; use shuffle=False"),
        (
            {"batch_size": 5, "shuffle": False},
            "batches must be of one size, got [3, 5]; change batch_size",
        ),
    ],
)
def test_a_state_goes_on_between_batches_of_one_size_in_order(options, reason):
    net = nn.Sequential([nn.GRU(3, stateful=True), nn.Dense(1)])
    net.build((4, 2), random_state=0)
    x, y, before = np.ones((8, 4, 2)), np.ones((8, 1)), net.flat_params.copy()
    where = "in layers.0 GRU(units=3, stateful=True)"
    told = f"{where}: row i of a batch goes on from row i before; {reason}"
    with raises_exactly(ValueError, told):
        train(net, MeanSquaredError(), SGD(0.1), (x, y), epochs=1, **options)
    assert_array_equal(net.flat_params, before)
    train(net, MeanSquaredError(), SGD(0.1), (x, y), epochs=1, batch_size=4, shuffle=False)
