"""What verdicts on steps of time, on attention and on backwards are put together from."""

from types import SimpleNamespace

import numpy as np
import pytest
from evidence_by_hand import evidence

from layerkit import (
    GRU,
    LSTM,
    Bidirectional,
    Dense,
    Layer,
    MultiHeadAttention,
    PositionalEncoding,
    ReLU,
    Sequential,
    SimpleRNN,
)
from layerkit.inspection import gradient_through_time
from layerkit.inspection.diagnosis import attention_verdicts, backward_verdicts, time_verdicts
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.inspection.gradient_check import Comparison
from layerkit.layers import GlobalAvgPool1D
from layerkit.sequences import Sequences

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 5, 3))


# ------------------------------------------------------------------------------- steps of time


@pytest.mark.parametrize(
    ("n", "places"),
    [(1, [0]), (2, [1]), (3, [1, 2]), (4, [1, 2, 3]), (12, [1, 2, 3, 6, 11]),
     (82, [1, 3, 9, 27, 81]), (257, [1, 4, 16, 64, 256])],
)  # fmt: skip
def test_a_profile_shows_a_few_steps_closer_together_near_the_last(n, places):
    norms = np.linspace(1, 2, n)
    assert time_verdicts._places(norms) == places
    assert time_verdicts._profile(norms) == " ".join(f"{norms[k]:.2g}" for k in places)
    assert time_verdicts._steps(norms) == f"arrive {' '.join(map(str, places))} steps before"


def test_norms_are_those_of_some_rows_for_every_recurrent_layer():
    rnn = SimpleRNN(4, return_sequences=True)
    net = Sequential([rnn, ReLU(), Bidirectional(GRU(2)), Dense(1)]).build((5, 3), random_state=0)
    e = evidence(network=net, rows=Rows(X, np.zeros(80)))
    found = time_verdicts._norms(e, net)
    expected = list(gradient_through_time(net, e.rows.some(64).X).values())
    paths = [path for path, layer in net.walk() if isinstance(layer, SimpleRNN | GRU)]
    assert list(found) == paths and len(paths) == 3
    for ours, norms in zip(found.values(), expected, strict=True):
        np.testing.assert_array_equal(ours, norms)
    others = Sequential([Dense(2)]).build((5, 3), random_state=0)
    assert time_verdicts._norms(e, others) == {}


def test_gates_take_the_place_of_every_plain_layer_and_nothing_else_changes():
    layers = [SimpleRNN(4, return_sequences=True), ReLU(), SimpleRNN(3), Dense(2)]
    net = Sequential(layers).build((5, 3), random_state=0)
    gated = time_verdicts._with_gates(net, None)
    assert repr(gated.chain) == repr([LSTM(4, return_sequences=True), ReLU(), LSTM(3), Dense(2)])


@pytest.mark.parametrize(
    ("layers", "trained", "finite"),
    [([GRU(2)], True, True), ([SimpleRNN(2)], False, True), ([SimpleRNN(2)], True, False)],
)
def test_what_learns_is_tried_for_trained_networks_of_plain_layers(
    monkeypatch, layers, trained, finite
):
    monkeypatch.setattr(time_verdicts, "trained_again_learns", lambda e: "drawn anew")
    net = Sequential(layers).build((5, 3), random_state=0)
    known = {"network": net, "trained": trained, "now": SimpleNamespace(finite=finite)}
    assert time_verdicts._what_learns(evidence(**known)) == ""


@pytest.mark.parametrize(
    ("again", "cured", "said"),
    [
        (
            "drawn anew",
            None,
            " The same network, drawn anew, comes to 0.25 on rows that were held out, in 240 "
            "steps.",
        ),
        ("", None, ""),
        (
            "",
            SimpleNamespace(steps=9, where=" of others", before=0.5, after=0.125),
            " In a rehearsal of 9 steps the loss of others comes to 0.5, with LSTM in place of "
            "SimpleRNN to 0.125.",
        ),
    ],
)
def test_what_learns_is_said_with_its_numbers(monkeypatch, again, cured, said):
    monkeypatch.setattr(time_verdicts, "trained_again_learns", lambda e: again)
    monkeypatch.setattr(time_verdicts, "cured_for_others", lambda e, change: cured)
    net = Sequential([SimpleRNN(2)]).build((5, 3), random_state=0)
    trial = SimpleNamespace(loss=0.25, steps=240)
    assert time_verdicts._what_learns(evidence(network=net, tried=lambda: trial)) == said


# ------------------------------------------------------------------------------- attention


def collapse(A, causal=False):
    net = Sequential([MultiHeadAttention(len(A), causal=causal)]).build((4, 6), random_state=0)
    return attention_verdicts._collapse(evidence(network=net), "layers.0", [np.asarray(A)] * 5)


def looking(*positions, n=20):
    """Weights of a head that looks at one position from each step, and where it is -1, at all."""
    A = np.full((n, n), 1 / n)
    for row, position in zip(A, positions, strict=True):
        if position >= 0:
            row[...] = np.eye(n)[position]
    return A


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        ([looking(*[3] * 20)], "all of its 1 head at least 100% of the steps give more than 99% of "
         "their weight to a single one, 100% of them at step 3: the softmax is flat there"),
        ([looking(*[3] * 19, 7)], "95% of them at step 3:"),
        ([looking(*[3] * 18, 7, 8)], "to a single one: the softmax"),  # 90 % of them
        ([looking(*[3] * 19, -1)], "In all of its 1 head at least 95% of the steps give"),
        ([looking(*[3] * 18, -1, -1)], None),  # 90 % of the steps
        ([looking(*range(20)), looking(*[3] * 19, -1)], "its 2 heads at least 95% of the steps"),
    ],
)  # fmt: skip
def test_attention_to_one_position_has_its_borders(heads, said):
    found = collapse(heads)
    assert (found is None) == (said is None)
    if said:
        assert found.name == "attention collapsed to one position" and said in found.evidence
        assert found.remedy == (
            "Scores are too large: put LayerNorm() before it (TransformerEncoderBlock has one), "
            "build anew with its initial weights, and lower the learning rate or warm it up."
        )


def test_entropies_are_of_the_steps_that_have_a_choice():
    even = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
    A = np.stack([even, np.eye(4)])
    entropy, largest, place = attention_verdicts._entropy_and_largest(A, causal=True)
    np.testing.assert_allclose(entropy, [[1, 1, 1], [0, 0, 0]])
    np.testing.assert_allclose(largest, [[1 / 2, 1 / 3, 1 / 4], [1, 1, 1]])
    np.testing.assert_array_equal(place, [[0, 0, 0], [1, 2, 3]])
    entropy, largest, place = attention_verdicts._entropy_and_largest(A, causal=False)
    np.testing.assert_allclose(entropy, np.log([[1, 2, 3, 4], [1, 1, 1, 1]]) / np.log(4))
    assert largest.shape == place.shape == (2, 4)
    assert "uniform" in collapse([even], causal=True).name
    assert collapse([even]) is None and collapse(np.ones((1, 1, 1))) is None


def test_the_first_attention_of_a_chain_gets_positions_before_it():
    inner = Sequential([Dense(6), MultiHeadAttention(2)])
    layers = [Dense(6), inner, MultiHeadAttention(2), GlobalAvgPool1D(), Dense(1)]
    net = Sequential(layers).build((5, 3), random_state=0)
    assert attention_verdicts._first_attention(net) == "layers.1"
    assert attention_verdicts._first_attention(net[0]) == ""
    kinds = [type(layer) for layer in attention_verdicts._with_positions(net, None).layers]
    expected = [type(layer) for layer in layers]
    assert kinds == [*expected[:1], PositionalEncoding, *expected[1:]]


def first_step_counts(share):
    """A network whose output, of the mean of all steps, depends on the first one a little more."""
    return lambda x: np.array([[row.mean() + share * row[0].mean()] for row in x])


@pytest.mark.parametrize(
    ("share", "rows", "any_order"),
    [(0, X, True), (1e-4, X, True), (1e-2, X, False), (0, list(X), True), (1e-2, list(X), False)],
)
def test_any_order_will_do_where_turned_rows_have_the_same_outputs(share, rows, any_order):
    rows = Rows(Sequences(rows) if isinstance(rows, list) else rows, np.zeros(80))
    net = SimpleNamespace(infer=first_step_counts(share))
    e = evidence(network=net, rows=rows)
    assert attention_verdicts._takes_any_order(e) == any_order
    net.infer = lambda x: np.zeros((64, 5, 1))  # each step has an answer of its own
    assert not attention_verdicts._takes_any_order(e)


# ------------------------------------------------------------------------------- backward


def compared(name, error, backward, numerical):
    return Comparison("training", name, 3, 0, error, "[0]", backward, numerical)


@pytest.mark.parametrize(
    ("ratio", "guess"),
    [
        (-1.0, " Its sign is turned."),
        (-1.009, " Its sign is turned."),
        (-1.011, ""),
        (-0.989, ""),
        (-2.0, ""),
        (1 / 64, " It gives 1/64 of the slope: a mean where the sum is meant, or a factor."),
        (1 / 2.009, " It gives 1/2 of the slope: a mean where the sum is meant, or a factor."),
        (1 / 2.03, ""),
        (0.95, ""),
        (1.05, ""),
        (64.0, " It is 64 times too large: a sum where a mean is meant, or a factor."),
        (2.019, " It is 2 times too large: a sum where a mean is meant, or a factor."),
        (2.03, ""),
    ],
)
def test_a_ratio_of_slopes_says_what_was_meant(ratio, guess):
    assert backward_verdicts._guess(compared("input", 0.5, 3 * ratio, 3.0)) == guess


def test_the_largest_error_that_is_one_is_told():
    known = [compared("a", 0.5, 1.0, 2.0), compared("b", 0.9, 1.0, 9.0)]
    no_errors = [
        compared("zero", 1.0, 0.0, 2.0),
        compared("a step", 1.0, 2.0, 0.0),
        compared("not finite", np.inf, np.nan, 2.0),
    ]
    assert backward_verdicts._worst(known + no_errors) is known[1]
    assert backward_verdicts._worst(known[::-1]) is known[1]
    assert backward_verdicts._worst(no_errors) is None


class Writing(Layer):
    """Writes into what it gets, forward or backward."""

    def __init__(self, when):
        self.when = when

    def forward(self, x, training=False):
        if self.when == "forward":
            x += 1
        return x.copy()

    def backward(self, grad_output):
        if self.when == "backward":
            grad_output *= 2
        return grad_output.copy()


@pytest.mark.parametrize(
    ("when", "said"),
    [("forward", "forward of Writing changes its input"),
     ("backward", "backward of Writing changes grad_output"), ("never", None)],
)  # fmt: skip
def test_who_writes_into_an_argument_is_told(when, said):
    layer, x = Writing(when).build(3), np.ones((4, 3), np.float32)
    assert backward_verdicts._changes_what_it_gets(layer, x) == (said and (layer, said))
    assert (x == 1).all()
