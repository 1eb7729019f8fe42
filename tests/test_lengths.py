"""Every layer that takes sequences, on rows of all lengths: gradients, PyTorch, files, formats."""

import copy
import io
import pickle

import joblib
import numpy as np
import pytest
from errors import error_of
from lengths import LAYERS, LENGTHS, built, rows_of
from numpy.testing import assert_allclose, assert_array_equal
from passes import MODES

import layerkit.layers as nn
from layerkit.interchange import load, save, to_onnx, to_pytorch
from layerkit.sequences import Sequences, numbers

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def gradient_like(y, seed=5):
    """A random gradient of the form of y."""
    G = np.random.default_rng(seed).standard_normal(numbers(y).shape)
    return y.with_steps(G) if isinstance(y, Sequences) else G


def has_statistics_of_one(layer, rows):
    """Whether BatchNorm would have to divide by the deviation of a single step."""
    return len(rows.steps) == 1 and any(isinstance(part, nn.BatchNorm) for _, part in layer.walk())


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("name", LAYERS)
def test_gradients_are_those_of_finite_differences(name, lengths):
    """Along a random direction of all inputs, and one of all parameters, in both modes."""
    layer, rows = built(name), Sequences(rows_of(LENGTHS[lengths]))

    def output(training):
        layer.reseed(0)
        return copy.deepcopy(layer).forward(rows, training=training)

    for training in MODES:
        if training and has_statistics_of_one(layer, rows):
            continue
        G = gradient_like(output(training))
        layer.reseed(0)
        layer.forward(rows, training=training)
        grad_input = layer.backward(G)
        arrays = [(rows.steps, grad_input.steps), (layer.flat_params, layer.flat_grads.copy())]
        for values, gradient in arrays:
            step, sides = np.random.default_rng(4).standard_normal(values.shape), []
            kept = values.copy()
            for h in (1e-6, -1e-6):
                values[...] = kept + h * step
                sides.append((numbers(output(training)) * numbers(G)).sum())
            values[...] = kept
            slope = (sides[0] - sides[1]) / 2e-6
            assert_allclose(slope, (gradient * step).sum(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("lengths", ["mixed", "of one step"])
@pytest.mark.parametrize("name", LAYERS)
def test_float32_agrees_with_float64(name, lengths):
    rows, found = rows_of(LENGTHS[lengths]), []
    for dtype in (np.float32, np.float64):
        layer = built(name, dtype)
        y = layer.forward(rows)
        grad_input = layer.backward(gradient_like(y))
        found.append([numbers(y), grad_input.steps, layer.flat_grads])
        assert {array.dtype for array in found[-1]} == {np.dtype(dtype)}
    for single, double in zip(*found, strict=True):
        assert_allclose(single, double, rtol=2e-4, atol=2e-4)


RECURRENT = {
    "RNN": nn.SimpleRNN(3),
    "rectified RNN": nn.SimpleRNN(3, activation="relu"),
    "GRU": nn.GRU(3),
    "LSTM": nn.LSTM(3),
}


def of_pytorch(module, x, both, return_sequences):
    """All steps of a packed sequence, end to end, or what each direction ends with."""
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn
    packed, state = module(rnn.pack_sequence(x, enforce_sorted=False))
    if not return_sequences:
        h = state[0] if isinstance(state, tuple) else state
        return h.transpose(0, 1).flatten(1)
    y, lengths = rnn.pad_packed_sequence(packed, batch_first=True)
    return torch.cat([row[:n] for row, n in zip(y, lengths, strict=True)])


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("return_sequences", [False, True], ids=["last step", "all steps"])
@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("kind", RECURRENT)
def test_outputs_and_gradients_are_those_of_packed_sequences(kind, both, return_sequences, lengths):
    torch = pytest.importorskip("torch")
    layer = copy.copy(RECURRENT[kind]).set_params(return_sequences=return_sequences)
    layer = nn.Bidirectional(layer) if both else layer
    layer.build((None, 4), random_state=0, dtype=np.float64)
    layer.flat_params[...] += 0.3 * np.random.default_rng(1).standard_normal(layer.n_params)
    module = to_pytorch(layer)[0].rnn
    rows = rows_of(LENGTHS[lengths])
    ways = [way for _, way in layer.children()] if both else [layer]
    for training in MODES:
        module.train(training)
        module.zero_grad()
        x = [torch.tensor(row, requires_grad=True) for row in rows]
        expected = of_pytorch(module, x, both, return_sequences)
        y = layer.forward(rows, training=training)
        G = gradient_like(y)
        expected.backward(torch.tensor(numbers(G)))
        grad_input = layer.backward(G)
        assert_allclose(numbers(y), expected.detach(), **CLOSE)
        assert_allclose(grad_input.steps, torch.cat([row.grad for row in x]), **CLOSE)
        for way, suffix in zip(ways, ("", "_reverse"), strict=False):
            theirs = {name: getattr(module, f"{name}_l0{suffix}").grad.numpy() for name in
                      ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}  # fmt: skip
            assert_allclose(way.grads["W"], theirs["weight_ih"].T, **CLOSE)
            assert_allclose(way.grads["U"], theirs["weight_hh"].T, **CLOSE)
            assert_allclose(way.grads["b"], theirs["bias_ih"], **CLOSE)
            if kind == "GRU":
                assert_allclose(way.grads["b_hidden"], theirs["bias_hh"][-3:], **CLOSE)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_windows_have_the_gradients_of_states_that_are_detached(kind):
    """Truncated backpropagation as in PyTorch, of three windows; then of other rows, and fewer."""
    torch = pytest.importorskip("torch")
    layer = copy.copy(RECURRENT[kind]).set_params(stateful=True, return_sequences=True)
    layer.build((None, 4), random_state=0, dtype=np.float64)
    module = to_pytorch(layer)[0].rnn
    for n_rows in (3, 1):
        layer.reset_state()
        state = None
        for k, time in enumerate((4, 1, 6)):
            window = np.stack(rows_of([time] * n_rows, seed=k))
            x = torch.tensor(window, requires_grad=True)
            module.zero_grad()
            expected, state = module(x, state)
            y = layer.forward(window, training=True)
            G = gradient_like(y)
            expected.backward(torch.tensor(G))
            state = tuple(s.detach() for s in state) if kind == "LSTM" else state.detach()
            assert_allclose(y, expected.detach(), **CLOSE)
            assert_allclose(layer.backward(G), x.grad, **CLOSE)
            for name, theirs in (("W", "weight_ih"), ("U", "weight_hh"), ("b", "bias_ih")):
                grad = getattr(module, f"{theirs}_l0").grad.numpy()
                assert_allclose(layer.grads[name], grad.T, **CLOSE)


def test_one_seed_drops_the_same_weights():
    for name in ("causal attention", "transformer", "dropout of channels", "chain"):
        found = []
        for seed in (1, 1, 2):
            layer = LAYERS[name]().build((None, 4), random_state=0)
            layer.reseed(seed)
            found.append(numbers(layer.forward(rows_of(), training=True)))
        assert_array_equal(found[0], found[1])
        assert (found[0] != found[2]).any()


# ---------------------------------------------------------------- files and formats


def by_pickle(layer):
    return pickle.loads(pickle.dumps(layer))


def by_joblib(layer):
    file = io.BytesIO()
    joblib.dump(layer, file)
    file.seek(0)
    return joblib.load(file)


def by_model_file(layer):
    file = io.BytesIO()
    save(layer, file)
    file.seek(0)
    return load(file)


@pytest.mark.parametrize("copied", [by_pickle, by_joblib, by_model_file])
@pytest.mark.parametrize("name", LAYERS)
def test_a_copy_goes_on_with_rows_of_all_lengths(name, copied):
    layer = built(name)
    twin = copied(layer)
    assert twin.input_shape == (None, 4)
    for rows in map(rows_of, LENGTHS.values()):
        assert_array_equal(numbers(twin.infer(rows)), numbers(layer.infer(rows)))


def assert_rows_close(actual, expected, **close):
    for row, same in zip(actual, expected, strict=True):
        assert_allclose(row, same, **close)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_an_onnx_model_takes_rows_one_by_one(name):
    runtime = pytest.importorskip("onnxruntime")
    layer = built(name, np.float32)
    session = runtime.InferenceSession(to_onnx(layer).SerializeToString())
    for lengths in LENGTHS.values():
        rows = [row.astype(np.float32) for row in rows_of(lengths)]
        alone = [session.run(None, {"X": row[np.newaxis]})[0][0] for row in rows]
        assert_rows_close(alone, layer.infer(rows), rtol=2e-5, atol=2e-6)


# PyTorch's have their channels first where they stand by themselves.
CHANNELS_FIRST = ("mean", "maximum", "causal convolution", "convolution", "dropout of channels")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LAYERS if name not in CHANNELS_FIRST])
def test_a_module_of_pytorch_takes_rows_one_by_one(name):
    torch = pytest.importorskip("torch")
    layer = built(name)
    module = to_pytorch(layer).eval()
    for rows in map(rows_of, LENGTHS.values()):
        with torch.no_grad():
            alone = [module(torch.tensor(row[np.newaxis]))[0].numpy() for row in rows]
        assert_rows_close(alone, layer.infer(rows), **CLOSE)


# ---------------------------------------------------------------- no steps


@pytest.mark.parametrize("name", LAYERS)
def test_an_array_of_no_steps_is_refused_as_rows_without_steps_are(name):
    layer = built(name)
    for call in (layer.forward, layer.infer):
        text = error_of(ValueError, call, np.empty((2, 0, 4)))
        assert "expects (n_samples, time, 4), got (2, 0, 4)" in text and "in " in text
    assert "row 1 has no steps" in error_of(
        ValueError, layer.infer, [*rows_of([2]), rows_of([0])[0]]
    )
