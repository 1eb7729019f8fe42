"""Verdicts on signals and targets on both sides of each of their borders, on evidence by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from clinic import BCE, CCE, MSE
from evidence_by_hand import evidence, snapshot

from layerkit import (
    BatchNorm,
    Dense,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
)
from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis import signal_verdicts as signals
from layerkit.inspection.diagnosis import target_verdicts as targets
from layerkit.inspection.diagnosis.evidence import (
    Acquired,
    Evidence,
    InitialCause,
    RedrawnCause,
    Verdict,
    share,
)
from layerkit.inspection.diagnosis.statistics import LayerStatistics
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.losses import Huber, NegativeLogLikelihood, Poisson
from layerkit.optimizers import SGD

pytestmark = pytest.mark.usefixtures("verdicts_in_known_words")

# ------------------------------------------------------------------------------- statistics


def set_norm(gradient, norm):
    gradient.squares, gradient.count = float(norm) ** 2, 1


def measured(layers, arriving, leaving=None, width=3):
    """Statistics of a chain with these gradient norms at each layer's output and input."""
    net = Sequential(layers).build(width, random_state=0, dtype=np.float64)
    found = [LayerStatistics(layer, slice(0, layer.n_params)) for layer in net.layers]
    for s, a, b in zip(found, arriving, leaving or [1.0] * len(found), strict=True):
        set_norm(s.grad_output, a)
        set_norm(s.grad_input, b)
        s.output.count, s.output.mean = 20, 0.25
        s.gradient_squares, s.n_gradients = float(a > 0), 2
    return found


def deep(kind, arriving, leaving=None):
    layers = [Dense(3), kind(), Dense(3), kind(), Dense(3)]
    return measured(layers, arriving, leaving)


def taken_down(found, like):
    """A verdict, with its kind, must be as said."""
    name, layer, severity, kind = like
    assert found[:3] == (name, layer, severity)
    assert type(found) is kind


# ------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(
    ("arriving", "more", "at", "ratio", "between"),
    [
        ([0.0038, 1, 1, 1, 2.0], {}, 0, "0.002", 4),
        ([0.0042, 1, 1, 1, 2.0], {}, None, "", 0),  # 2e-3 of what enters
        ([1, 1, 0.001, 1, 2.0], {}, 2, "0.0005", 2),
        ([0.001, 1, 0.002, 1, 2.0], {}, 0, "0.0005", 4),
        ([1, 0.001, 1, 1, 2.0], {}, None, "", 0),  # a layer without parameters
        ([0.001, 1, 0, 1, 2.0], {}, None, "", 0),  # too few layers to tell
        ([0.001, 1, 1, 1, 2.0], {"finite": False}, None, "", 0),
        ([0.001, 1, 1, 1, 2.0], {"learned": 0.49}, None, "", 0),
        ([0.001, 1, 1, 1, 2.0], {"learned": 0.51}, 0, "0.0005", 4),
        ([0.001, 1, 1, 1, 2.0], {"learned": 0.49, "now": True}, 0, "0.0005", 4),
    ],
)
def test_a_gradient_vanishes_below_two_thousandths(arriving, more, at, ratio, between):
    finite, learned = more.get("finite", True), more.get("learned", 1.0)
    start = snapshot(1.0, learned, deep(ReLU, arriving, [0.9, 0.8, 0.7, 0.5, 0.6]), finite)
    now = start if more.get("now") else snapshot(1.0, learned)
    found = signals.vanishing_gradient(evidence(start=start, now=now))
    assert (found is not None) == (at is not None)
    if found:
        kind = ("vanishing gradient", f"layers.{at}", "critical", InitialCause)
        taken_down(found, kind)
        assert found.evidence == (
            f"For each sample the gradient has norm 2 at layers.4 and {arriving[at]:.2g} here, "
            f"{ratio} of it, {between} layers further back. It shrinks most in layers.4, "
            "by a factor of 0.3."
        )
        assert found.remedy.startswith("The initial weights are too small")


@pytest.mark.parametrize(
    ("leaving", "cause", "factor"),
    [
        ([1, 0.3, 0.01, 0.3, 0.5], 1, "0.3"),  # the slopes make 0.09 of it
        ([1, 0.4, 0.01, 0.3, 0.5], 2, "0.01"),  # they make 0.12
        ([1, 0.4, 0.6, 0.2, 0.1], 3, "0.2"),
        ([1e-9, 0.3, 0.6, 0.4, 0.1], 4, "0.1"),  # the weakest itself is not after itself
    ],
)
@pytest.mark.parametrize("kind", [Sigmoid, Tanh])
def test_slopes_are_to_blame_where_they_take_nine_tenths(kind, leaving, cause, factor):
    layers = deep(kind, [1e-4, 1, 1, 1, 1], leaving)
    found = signals.vanishing_gradient(evidence(start=snapshot(1.0, 1.0, layers)))
    name = kind.__name__
    if cause in (1, 3):
        assert f"by the slope of {name} 2 times (by {factor} at layers.{cause})" in found.evidence
        assert found.remedy.startswith(f"Replace the hidden {name}() by ReLU()")
    else:
        assert f"shrinks most in layers.{cause}, by a factor of {factor}." in found.evidence
        assert "or put BatchNorm() after these" in found.remedy


@pytest.mark.parametrize(
    ("arriving", "origin", "at", "ratio"),
    [
        ([202, 1, 1, 1, 2.0], None, 0, "1e+02"),
        ([198, 1, 1, 1, 2.0], None, None, ""),  # a hundred times
        ([1, 1, 500, 1, 2.0], None, 2, "2.5e+02"),
        ([600, 1, 500, 1, 2.0], None, 0, "3e+02"),
        ([1, 500, 1, 1, 2.0], None, None, ""),
        ([500, 1, 0, 1, 2.0], None, None, ""),
        ([500, 1, 1, 1, 2.0], "layers.2", None, ""),
    ],
)
def test_a_gradient_explodes_beyond_a_hundred_times(arriving, origin, at, ratio):
    layers = deep(ReLU, arriving, [9e9, 9e9, 30 * arriving[2], 9e9, 2.0])
    start = snapshot(1.0, 1.0, layers)
    start.recorder.origin = origin
    found = signals.exploding_gradient(evidence(start=start))
    assert (found is not None) == (at is not None)
    if found:
        taken_down(found, ("exploding gradient", f"layers.{at}", "critical", InitialCause))
        norm = np.sqrt(sum(np.square(p).sum() for p in layers[2].layer.params.values()))
        assert found.evidence == (
            f"For each sample the gradient has norm 2 at layers.4 and {arriving[at]:.2g} here, "
            f"{ratio} times as much; it grows most in layers.2, 30 times, whose weights have "
            f"norm {norm:.2g}."
        )
        assert "clip_norm=1.0" in found.remedy
    layers[2].grad_input.count = 0  # a layer that returns no gradient lets none grow
    found = signals.exploding_gradient(evidence(start=start))
    assert found is None or "grows most in layers.4, 1 times" in found.evidence


@pytest.mark.parametrize(
    ("check", "sick"), [("vanishing_gradient", 1e-4), ("exploding_gradient", 1e4)]
)
def test_a_gradient_that_a_new_network_does_not_have_was_acquired(check, sick):
    for redrawn, anew, kind in (
        (1.0, 1.0, Acquired),
        (1.0, sick, InitialCause),  # it stood still: anew is the network as it is
        (sick, sick, RedrawnCause),
    ):
        now, drawn, fresh = (
            snapshot(1, 1, deep(ReLU, [x, 1, 1, 1, 1])) for x in (sick, redrawn, anew)
        )
        found = getattr(signals, check)(evidence(start=None, now=now, redrawn=drawn, anew=fresh))
        assert type(found) is kind
    now = snapshot(1, 1, deep(ReLU, [1] * 5))
    assert getattr(signals, check)(evidence(start=None, now=now)) is None


# ------------------------------------------------------------------------------- dead, saturated


def two_activations(kind, shares, rows=20):
    """Two hidden activations, of whose ten units or outputs these shares are dead or flat."""
    layers = [Dense(10), kind(), Dense(10), kind(), Dense(1)]
    found = measured(layers, [1.0] * 5, [0.09] * 5)
    for s, part in zip((found[1], found[3]), shares, strict=True):
        off = np.arange(10) < 10 * part
        s.input_ranges.low, s.input_ranges.high = np.full(10, -4.0), np.full(10, 3.0)
        s.output_ranges.low = np.where(off, 0.5, 0.0)
        s.output_ranges.high = np.where(off, 0.5, 1.0)
        s.input_ranges.count = s.output_ranges.count = rows
        s.output.count, s.flat = 100, round(100 * part)
    found[2].layer.params["b"][...] = -2.5
    for s in (found[0], found[2], found[4]):
        s.output_ranges.low, s.output_ranges.high = np.zeros(s.layer.units), np.ones(s.layer.units)
    return found


def before_and_now(layers, start, **known):
    """Evidence of a network with these layers now, and with those at its start."""
    began = None if start is None else snapshot(1.0, 1.0, start)
    now = snapshot(1.0, known.pop("loss", 1.0), layers)
    e = evidence(now=now, start=began, rows=range(40), **known)
    e.at_start = lambda path: Evidence.at_start(e, path)
    return e


@pytest.mark.parametrize(
    ("shares", "start", "more", "at", "severity", "kind"),
    [
        ((0.4, 0.5), (0.0, 0.0), {}, 3, "warning", Acquired),
        ((0.4, 0.4), (0.0, 0.0), {}, None, "", None),
        ((0.6, 0.5), (0.6, 0.5), {}, 1, "warning", Verdict),
        ((0.6, 0.9), (0.0, 0.5), {}, 3, "warning", Verdict),
        ((0.6, 1.0), (0.0, 0.4), {}, 3, "critical", Acquired),
        ((0.6, 1.0), None, {}, 3, "critical", Acquired),
        ((0.0, 1.0), (0.0, 0.0), {"rows": 19}, None, "", None),  # too few to tell
    ],
)
def test_units_are_dead_from_half_of_them_on(shares, start, more, at, severity, kind):
    layers = two_activations(ReLU, shares, **more)
    began = start and two_activations(ReLU, start)
    found = signals.dead_units(before_and_now(layers, began))
    assert (found is not None) == (at is not None)
    if found:
        taken_down(found, ("dead ReLUs", f"layers.{at}", severity, kind))
        part, feeding = shares[at // 2], at - 1
        before = f" (before training {share(start[at // 2])})" if start else ""
        bias = -2.5 if at == 3 else 0
        assert found.evidence == (
            f"{round(10 * part)} of 10 units ({share(part)}){before} give 0.5 for each of the 40 "
            f"rows, so no gradient passes through them. What comes in has mean 0.25; the bias of "
            f"layers.{feeding} has mean {bias:.2g}."
        )
        assert f"initializer='auto' in layers.{feeding};" in found.remedy
        assert f"BatchNorm() before layers.{at}, or" in found.remedy
        e = before_and_now(layers, began, trained=False)
        assert "before training" not in signals.dead_units(e).evidence


def test_units_without_a_layer_that_feeds_them_have_no_bias_to_blame():
    layers = two_activations(ReLU, (1.0, 0.0))[1:]
    found = signals.dead_units(before_and_now(layers, None))
    assert "bias" not in found.evidence and "in the layer before;" in found.remedy


@pytest.mark.parametrize(
    ("shares", "start", "more", "at", "severity", "kind"),
    [
        ((0.4, 0.5), (0.4, 0.5), {}, 3, "warning", Verdict),
        ((0.4, 0.49), (0.4, 0.5), {}, None, "", None),
        ((0.8, 0.5), (0.5, 0.5), {}, 1, "warning", Verdict),
        ((0.8, 0.81), (0.5, 0.5), {}, 3, "critical", Verdict),
        ((0.8, 0.81), (0.5, 0.49), {}, 3, "critical", Acquired),
        ((0.8, 0.8), (0.49, 0.5), {}, None, "", None),  # it passes gradients yet
        ((0.8, 0.81), (0.5, 0.49), {"slope": 0.11}, None, "", None),
        ((0.8, 0.81), (0.5, 0.49), {"loss": 0.31}, 3, "critical", Acquired),
        ((0.8, 0.81), (0.5, 0.49), {"loss": 0.29}, None, "", None),  # it learned so
        ((0.8, 0.81), (0.5, 0.51), {"loss": 0.29}, 3, "critical", Verdict),
        ((0.6, 0.7), None, {}, 3, "warning", Acquired),
        ((0.6, 0.69), None, {}, None, "", None),  # nobody knows how it began
    ],
)
def test_outputs_are_saturated_from_half_of_them_on(shares, start, more, at, severity, kind):
    layers = two_activations(Tanh, shares)
    slope = more.get("slope", 0.09)
    set_norm(layers[3].grad_input, slope)
    began = start and two_activations(Tanh, start)
    e = before_and_now(layers, began, loss=more.get("loss", 1.0))
    found = signals.saturated_units(e)
    assert (found is not None) == (at is not None)
    if found:
        taken_down(found, ("saturated tanh", f"layers.{at}", severity, kind))
        assert found.evidence == (
            f"{share(shares[at // 2])} of its outputs are below -0.95 or above 0.95, where it is "
            f"flat: its inputs range from -4 to 3, and the gradient leaves with {slope:.2g} of its "
            f"norm. The weights of layers.{at - 1} have norm {layers[at - 1].weight_norm:.2g}."
        )
        assert f"initializer='auto' in layers.{at - 1} (Glorot" in found.remedy
        assert f"BatchNorm() before layers.{at}." in found.remedy


def test_a_last_layer_and_a_single_unit_may_be_saturated():
    layers = two_activations(Sigmoid, (0.0, 0.9))
    assert signals.saturated_units(before_and_now(layers, layers)).name == "saturated sigmoid"
    assert signals.saturated_units(before_and_now(layers[:4], layers)) is None
    layers[3].output_ranges.low, layers[3].output_ranges.high = np.zeros(1), np.ones(1)
    assert signals.saturated_units(before_and_now(layers, layers)) is None


# ------------------------------------------------------------------------------- no gradient


def silenced(which, arriving=(1, 1, 1, 1, 2), leaving=(1, 1, 1, 1, 2)):
    found = deep(ReLU, arriving, leaving)
    for i, s in enumerate(found):
        s.gradient_squares = float(i not in which)
        s.output_ranges.low, s.output_ranges.high = np.zeros(3), np.ones(3)
    return found


def test_a_layer_that_a_gradient_reaches_must_write_its_own():
    layers = silenced([0, 2])
    for start, kind in ((silenced([2]), Verdict), (silenced([0]), Acquired), (None, Acquired)):
        found = signals.no_gradient(before_and_now(layers, start))
        taken_down(found, ("no gradient", "layers.2", "critical", kind))
        assert found.evidence == (
            "A gradient of norm 1 arrives at this layer, but the gradient of all its 12 "
            "parameters is exactly 0 in all 2 batches."
        )
        assert "check_gradients(Dense(...), input_shape)" in found.remedy


@pytest.mark.parametrize("why", ["none silent", "the only one", "no gradient at all", "an origin"])
def test_a_layer_may_be_silent(why):
    layers = silenced([] if why == "none silent" else [0])
    if why == "the only one":
        layers = [layers[0]]
    if why == "no gradient at all":
        set_norm(layers[-1].grad_output, 0)
    e = before_and_now(layers, None)
    e.now.recorder.origin = "layers.1" if why == "an origin" else None
    assert signals.no_gradient(e) is None


@pytest.mark.parametrize(
    ("blocker", "how", "remedy"),
    [
        (1, "constant", "Revive layers.1: biases at zero"),
        (1, "", "Give layers.1 a backward that passes the gradient on"),
        (3, "", "Give layers.3 a backward that passes the gradient on"),
        (2, "zero", "Use initializer='auto' in layers.2: its weights are all zero."),
    ],
)
def test_what_lets_no_gradient_through_is_named(blocker, how, remedy):
    arriving = [7.0 if i == blocker else float(i > blocker) for i in range(5)]
    leaving = [float(i > blocker) for i in range(5)]
    layers = silenced([i for i in range(5) if i <= blocker - 1], arriving, leaving)
    if how == "constant":
        layers[blocker].output_ranges.high = layers[blocker].output_ranges.low
    if how == "zero":
        layers[blocker].layer.params["W"][...] = 0
    silent = max(i for i in (0, 2) if i < blocker)
    found = signals.no_gradient(before_and_now(layers, None))
    taken_down(found, ("no gradient", f"layers.{silent}", "critical", Acquired))
    assert found.evidence == (
        f"Its 12 parameters have a gradient of exactly 0 in all 2 batches: a gradient of norm 7 "
        f"arrives at layers.{blocker} and none leaves it."
    )
    assert found.remedy.startswith(remedy)
    found = signals.no_gradient(before_and_now(layers, None, trained=False))
    assert (found is None) == (how == "zero")  # it passes one after its first step


def test_layers_that_no_gradient_reaches_and_none_blocks_are_left_alone():
    layers = silenced([0], [0, 1, 1, 1, 2], [1] * 5)
    assert signals.no_gradient(before_and_now(layers, None)) is None


# ------------------------------------------------------------------------------- identical units


def columns_of(layers, at, W, gradient):
    """Give a layer these weights and this mean gradient, row by row of units."""
    s = layers[at]
    s.layer.params["W"][...] = W
    s.mean_gradient = np.concatenate([np.ravel(gradient), np.zeros(s.layer.units)])
    return layers


@pytest.mark.parametrize(
    ("weights", "slopes", "first", "same", "different"),
    [
        ([1, 1, 2, 3], [1, 1, 2, 3], None, 2, 3),
        ([1, 1, 1, 1], [1, 1, 1, 1], None, 4, 1),
        ([1, 1, 1, 3], [1, 1, 1, 3], None, 3, 2),
        ([1, 1 + 1e-7, 2, 3], [1, 1, 2, 3], None, 2, 3),
        ([1, 1 + 1e-4, 2, 3], [1, 1, 2, 3], None, 0, 4),
        ([1, 1, 2, 3], [1, 1 + 1e-5, 2, 3], None, 2, 3),
        ([1, 1, 2, 3], [1, 1.1, 2, 3], None, 0, 3),
        ([1, 1, 2, 3], [1, 1, 2, 3], [1, 2, 3, 4], 0, 3),  # training made them so
        ([1, 1, 2, 3, 4], [1, 1, 2, 3, 4], None, 0, 4),  # fewer than half
        ([0, 0, 0, 0], [0, 0, 0, 0], None, 4, 1),
        ([1, 1, 2, np.nan], [1, 1, 2, 3], None, 0, 3),
        ([1, 1, 2, 3], [1, 1, 2, np.inf], None, 0, 3),
        ([1], [1], None, 0, 1),
    ],
    ids=str,
)
def test_units_are_identical_in_weights_and_gradient(weights, slopes, first, same, different):
    def hidden(weights, slopes):
        layers = measured([Dense(len(weights)), ReLU(), Dense(2)], [1.0] * 3)
        return columns_of(layers, 0, np.outer([1, 2, -1], weights), np.outer([3, 1, 1], slopes))

    now = hidden(weights, slopes)
    began = now if first is None else hidden(first, first)
    e = evidence(now=snapshot(1, 1, now), first=snapshot(1, 1, began))
    found = signals.identical_units(e)
    assert (found is not None) == (same > 0)
    if found:
        taken_down(found, ("symmetric units", "layers.0", "critical", InitialCause))
        value = " (all zero)" if not any(weights) else ""
        assert found.evidence == (
            f"{same} of {len(weights)} units have the same W as another one{value} and the same "
            "gradient, so they stay equal: the layer can do no more than one with "
            f"{different} unit{'s' * (different > 1)}."
        )
        assert "initializer='auto'" in found.remedy


def test_the_last_layer_may_have_identical_units_and_a_vector_has_none():
    layers = measured([BatchNorm(), Dense(4)], [1.0] * 2)
    layers[0].mean_gradient = np.ones(6)
    columns_of(layers, 1, np.ones((3, 4)), np.ones((3, 4)))
    e = evidence(now=snapshot(1, 1, layers), first=snapshot(1, 1, layers))
    assert signals.identical_units(e) is None


# ------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("loss", "y", "what"),
    [
        (MSE(), np.full((20, 1), 2.5), "2.5"),
        (CCE(), np.full(20, 2), "class 2"),
        (MSE(), np.full(20, 2.0), "2"),
        (MSE(), np.append(np.ones(19), 1.1), None),
        (MSE(), np.append(1.1, np.ones(19)), None),
        (MSE(), np.ones(1), None),
        (MSE(), np.ones(2), "1"),
    ],
)
def test_targets_are_constant_where_no_row_differs(loss, y, what):
    found = targets.constant_target(evidence(loss=loss, rows=Rows(np.zeros((len(y), 2)), y)))
    assert (found is not None) == (what is not None)
    if found:
        taken_down(found, ("constant target", "targets", "critical", Verdict))
        assert found.evidence.startswith(f"y is {what} in each of the {len(y)} rows: ")


@pytest.mark.parametrize(
    ("loss", "last", "off", "remedy"),
    [
        (NegativeLogLikelihood(), Dense(3), 0.011, "Add LogSoftmax() as the last layer, or"),
        (NegativeLogLikelihood(), Softmax(), -0.011, "Replace layers.9 Softmax() by LogSoftmax()"),
        (NegativeLogLikelihood(), Dense(3), 0.009, None),
        (CCE(), Dense(3), 0.5, None),
    ],
)
def test_log_probabilities_must_sum_to_one_within_a_hundredth(loss, last, off, remedy):
    outputs = np.log(np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5 + off]]))
    layer = SimpleNamespace(layer=last, path="layers.9")
    now = snapshot(0.7, 1.0, [layer], outputs=outputs)
    found = targets.log_probabilities_missing(evidence(loss=loss, now=now))
    assert (found is not None) == (remedy is not None)
    if found:
        taken_down(found, ("log-probabilities missing", "layers.9", "critical", Verdict))
        low, high = sorted((1, 1 + off))
        assert f"outputs sum to {low:.3g} to {high:.3g}. The loss, 0.7, falls" in found.evidence
        assert found.remedy.startswith(remedy)
        now.finite = False
        assert targets.log_probabilities_missing(evidence(loss=loss, now=now)) is None


def wide(mean, std, n=400):
    return mean + std * np.tile([-1.0, 1.0], n // 2)[:, None]


def scaled_badly(mean, std, outputs=1.0, shape=(400, 1), **known):
    """Evidence of these targets, of which rehearsals go to 1 standardised and `raw` as they are."""
    raw, ended = known.pop("raw", 1.0), known.pop("standard", 1.0)
    broke, gone = known.pop("broke", ""), known.pop("gone", "")

    def rehearse_as(rows=None):
        if rows is not None:
            assert np.allclose([rows.y.mean(), rows.y.std()], [0, std > 0], atol=1e-9)
            return np.full(7, ended), broke
        return np.full(7, raw * std**2), gone

    first = snapshot(1.0, 1.0, outputs=wide(0, outputs).reshape(shape))
    usual = {"first": first, "loss": MSE(), "rows": Rows(np.zeros((400, 2)), wide(mean, std)),
             "constant": std**2, "now": snapshot(std**2, std**2),
             "network": SimpleNamespace(output_shape=(1,)), "rehearse_as": rehearse_as}  # fmt: skip
    return evidence(**usual | known)


@pytest.mark.parametrize(
    ("known", "is_named"),
    [
        ({"std": 101}, True),
        ({"std": 99}, False),
        ({"std": 101, "loss": Huber()}, True),
        ({"std": 101, "loss": BCE()}, False),  # no such targets
        ({"std": 101, "loss": Poisson()}, False),  # its link is on another scale
        ({"std": 101, "shape": (200, 2)}, False),  # outputs of another shape
        ({"std": 101, "now": snapshot(0.39, 1), "constant": 1.0}, False),  # learned all the same
        ({"std": 101, "now": snapshot(0.41, 1), "constant": 1.0}, True),
        ({"std": 101, "now": snapshot(0.39, 1, finite=False), "constant": 1.0}, True),
        ({"std": 101, "now": snapshot(0.39, 1), "constant": 1.0, "trained": False}, True),
        ({"std": 0.0009}, True),
        ({"std": 0.0011}, False),
        ({"std": 0.0009, "outputs": 0.8}, False),  # a thousandth of the outputs' own
        ({"std": 0.0007, "outputs": 0.8}, True),
        ({"std": 0.0011, "outputs": 20.0}, False),  # and of one at most
        ({"std": 0.0}, False),
    ],
    ids=str,
)
def test_targets_are_not_scaled_beyond_a_hundred_and_below_a_thousandth(known, is_named):
    e = scaled_badly(5.0 * (known["std"] > 1), **known)
    found = targets.targets_not_scaled(e)
    assert (found is not None) == is_named
    if found:
        taken_down(found, ("targets not scaled", "targets", "critical", InitialCause))
        assert found.evidence == (
            f"y has mean {e.rows.y.mean():.3g} and deviation {known['std']:.3g}; the network's "
            f"first outputs have deviation {known.get('outputs', 1):.3g}, and so have those of any "
            f"network as it is built. The loss is {e.now.loss:.3g}, that of the best constant "
            f"{e.constant:.3g}."
        )
        assert found.remedy.startswith("Standardise the targets")


@pytest.mark.parametrize(
    ("mean", "std", "known", "times"),
    [
        (0, 31, {"raw": 1.2}, "1.2 times with these"),
        (0, 31, {"raw": 1.16}, "1.2 times with these"),
        (0, 31, {"raw": 1.14}, None),  # 1.15 times the loss with standardised ones
        (0, 31, {"raw": 0.5, "standard": 0.43}, "0.5 times with these"),
        (0, 31, {"raw": 0.5, "standard": 0.44}, None),
        (0, 29, {"raw": 2.0}, None),
        (28, 12, {"raw": 2.0}, "2 times with these"),  # a root mean square of 30.5
        (26, 12, {"raw": 2.0}, None),
        (91.9, 30.5, {"raw": 2.0}, "2 times with these"),  # within three deviations and one
        (93.1, 30.5, {"raw": 2.0}, None),
        (0, 31, {"raw": 2.0, "broke": "layers.0"}, None),
        (0, 31, {"raw": 0.1, "gone": "layers.0"}, "with these it breaks off"),
        (0, 31, {"raw": 2.0, "now": snapshot(1e3, 0.99 * 31**2)}, None),  # it got there
        (0, 31, {"raw": 2.0, "now": snapshot(1e3, 1.01 * 31**2)}, "2 times with these"),
        (0, 31, {"raw": 2.0, "trained": False, "now": snapshot(1e3, 1)}, "2 times with these"),
    ],
    ids=str,
)
def test_targets_from_thirty_on_are_not_scaled_where_a_rehearsal_says_so(mean, std, known, times):
    found = targets.targets_not_scaled(scaled_badly(mean, std, **known))
    assert (found is not None) == (times is not None)
    if found:
        assert found.severity == "critical"
        assert found.evidence.endswith(
            f" In a rehearsal of 7 steps the loss comes to {known.get('standard', 1):.2g} times "
            f"that of a constant with standardised targets, {'to ' * times[0].isdigit()}{times}."
        )


@pytest.mark.parametrize(("reached", "is_named"), [(0.68, False), (0.70, True)])
def test_targets_got_there_within_two_errors_of_the_rehearsal(reached, is_named):
    e = scaled_badly(0, 31, raw=2.0, now=snapshot(0.9 * 31**2, reached * 31**2))
    plain = e.rehearse_as
    losses = np.array([9.0, 9.0, 0.5, 0.7, 0.5, 0.7, 0.6])  # 0.6 with an error of 0.1 / sqrt(5)
    e.rehearse_as = lambda rows=None: (losses, "") if rows is not None else plain()
    found = targets.targets_not_scaled(e)
    assert (found is not None) == is_named
    if found:
        assert found.severity == "warning"  # it learned, if less than it could
    assert probes.error_of_end(losses) == pytest.approx(0.1 / np.sqrt(5))
    assert probes.error_of_end(losses[:1]) == 0


@pytest.mark.parametrize("enough", [0.9, 0.3, 0.1, 1e-9])
def test_a_rehearsal_is_done_once_the_mean_of_its_last_losses_is_low_enough(enough):
    x = np.random.default_rng(0).normal(size=(40, 3))
    rows = Rows(x, x.sum(axis=1, keepdims=True))
    network = Sequential([Dense(1)]).build(3, random_state=0, dtype=np.float64)
    whole, _ = probes.rehearse(network, MSE(), SGD(0.01), rows, 1.0, 150, 10)
    assert len(whole) == 150 and whole[-1] < 0.05 < 0.9 < whole[0]
    last = [whole[n - probes.FEWEST : n].mean() for n in range(probes.FEWEST, 151)]
    steps = next((n for n, mean in enumerate(last, probes.FEWEST) if mean < enough), 150)
    found, broke = probes.rehearse(network, MSE(), SGD(0.01), rows, 1.0, 150, 10, enough=enough)
    np.testing.assert_array_equal(found, whole[:steps])
    assert broke == "" and (steps == 150) == (enough < last[-1])


@pytest.mark.parametrize("constants", [1, 2, 9])
def test_columns_that_never_change_tell_nothing(constants):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) * [1.0, 50.0, 0.001]
    y = x @ [[1.0], [0.02], [900.0]] + rng.normal(size=(40, 1))
    wide = np.hstack([np.full((40, constants), 7.0), x])
    assert probes.linear_explains(wide, y) == pytest.approx(probes.linear_explains(x, y))
    assert 0.2 < probes.linear_explains(x, y) < 0.9
    near, as_near = probes.Neighbourhood(x), probes.Neighbourhood(wide)
    np.testing.assert_array_equal(near.nearest, as_near.nearest)
    assert probes.surprise(wide, y) == pytest.approx(probes.surprise(x, y))


# ------------------------------------------------------------------------------- leaked columns


def tilted(explained, n):
    """Two columns, of which a straight line explains this share of the first by the second."""
    y = np.tile([-1.0, 1.0], n // 2)
    noise = np.repeat([-1.0, 1.0], n // 2)  # at right angles to it
    return y, np.sqrt(explained) * y + np.sqrt(1 - explained) * noise


@pytest.mark.parametrize(
    ("explained", "second", "n", "is_named"),
    [
        (0.9991, 0.5, 40, True),
        (0.9989, 0.5, 40, False),
        (0.9991, 0.89, 40, True),
        (0.9991, 0.91, 40, False),  # well separated: it shows in several
        (0.9991, 0.5, 32, True),
        (0.9991, 0.5, 28, False),
    ],
)
@pytest.mark.parametrize("k", [1, 2])
def test_a_column_that_knows_y_is_leaked(explained, second, n, is_named, k):
    y, leaked = tilted(explained, n)
    X = np.column_stack([0 * y, 3 * tilted(second, n)[1], 1 - 2 * leaked, 0 * y, 0 * y])
    other = np.tile([-1.0, 1.0, 1.0, -1.0], n // 4)  # a question that no column answers
    asked = np.column_stack([other, y])[:, -k:]
    found = targets.leaked_column(evidence(loss=MSE(), probed=Rows(X, asked)))
    assert (found is not None) == is_named
    if found:
        taken_down(found, ("leaked column", "inputs", "warning", targets.LeakedColumn))
        of = "y" if k == 1 else "one of the 2 columns of y"
        assert found.evidence.startswith(
            f"Column 2 of X alone explains {share(explained)} of the variance of {of}, by a "
            f"straight line; of the next best column, 1, {share(second)}. "
        )
        assert found.remedy.startswith("Check where column 2 comes from")


@pytest.mark.parametrize(("part", "is_named"), [(0.981, True), (0.979, False)])
def test_a_column_that_knows_the_class_is_leaked(part, is_named):
    y, leaked = tilted(part, 40)
    X = np.column_stack([0 * y, 5 * leaked])
    rows = Rows(X, (y > 0).astype(int))
    found = targets.leaked_column(evidence(loss=CCE(), probed=rows))
    assert (found is not None) == is_named
    if found:
        said = f"{share(part)} of the variance of column 1 of X lies between the classes;"
        assert found.evidence.startswith(said)


# ------------------------------------------------------------------------------- a missing class


def three_classes(counts, given, certain=0.05, **known):
    """Rows of three classes and to which each class' rows are given."""
    actual = np.repeat(np.arange(3), counts)
    predicted = np.repeat(given, counts)
    if known.pop("heard", False):
        predicted[0] = 2
    likely = np.full((len(actual), 3), 1e-3)
    likely[:, 2] = certain
    likely[np.arange(len(actual)), predicted] = 1 - 1e-3 - certain
    outputs = np.log(likely)
    head = Dense(3).build(3)
    head.params["b"][...] = known.pop("bias", (0, 0, 0))
    last = SimpleNamespace(layer=known.pop("last", head), path="layers.1")
    layers = [SimpleNamespace(layer=head, path="layers.0"), last]
    weight = np.where(actual == 2, known.pop("weight"), 1.0) if "weight" in known else None
    rows = Rows(np.zeros((len(actual), 3)), actual, weight)
    now = known.pop("now", None) or snapshot(0.5, 0.5, layers)
    now.outputs, now.recorder.layers = outputs, layers
    return evidence(**{"now": now, "rows": rows, "loss": CCE()} | known)


@pytest.mark.parametrize(
    ("counts", "known", "is_named"),
    [
        ((40, 40, 10), {}, True),
        ((40, 40, 9), {}, False),  # ten rows, or nothing is expected
        ((490, 489, 21), {}, True),
        ((490, 491, 19), {}, False),  # and two in a hundred
        ((40, 40, 40), {"heard": True}, False),
        ((40, 40, 40), {"now": snapshot(0.79, 1)}, True),
        ((40, 40, 40), {"now": snapshot(0.81, 1)}, False),  # it has learned nothing at all
        ((40, 40, 40), {"now": snapshot(0.5, 1, finite=False)}, False),
        ((40, 40, 40), {"trained": False}, False),
        ((40, 40, 40), {"loss": MSE()}, False),
        ((450, 450, 30), {"certain": 0.102}, False),  # it comes near
        ((450, 450, 30), {"certain": 0.098}, True),
        ((450, 450, 50), {"certain": 0.107}, False),
        ((450, 450, 50), {"certain": 0.104}, True),  # twice its share
        ((40, 40, 40), {"certain": 0.4}, True),
    ],
    ids=str,
)
def test_a_class_is_missing_from_ten_rows_on(counts, known, is_named):
    e = three_classes(counts, [0, 1, 1], **known)
    found = targets.class_never_predicted(e)
    assert (found is not None) == is_named
    if found:
        taken_down(found, ("class never predicted", "layers.1", "warning", Verdict))
        n = sum(counts)
        assert found.evidence == (
            f"{counts[2]} of {n} rows ({share(counts[2] / n)}) have class 2, and not one is "
            "predicted as such: most of them as class 1."
        )


@pytest.mark.parametrize(
    ("counts", "known", "remedy"),
    [
        ((40, 40, 40), {}, "Look at rows of class 2 beside rows of class 1"),
        ((50, 50, 20), {}, "Look at rows of class 2"),
        ((50, 51, 20), {}, "Weight the classes"),  # half of an equal share
        ((40, 40, 40), {"bias": (0, 0.5, -3.1)}, "Set the bias of layers.1 to 0"),
        ((40, 40, 40), {"bias": (0, 0.5, -2.9)}, "Look at rows"),
        ((40, 40, 40), {"weight": 0.068}, "Give its rows more weight: their sample_weight is "
                                            "0.068 in the mean."),
        ((40, 40, 40), {"weight": 0.07}, "Look at rows"),  # 0.1 of the mean weight
    ],
    ids=str,
)  # fmt: skip
def test_the_remedy_of_a_missing_class_is_that_of_its_cause(counts, known, remedy):
    found = targets.class_never_predicted(three_classes(counts, [0, 1, 1], **known))
    assert found.remedy.startswith(remedy)
    assert ("Its bias in layers.1 is -3.1." in found.evidence) == ("bias of" in remedy)


@pytest.mark.parametrize(("held", "is_named"), [(36, True), (35, False)])
def test_a_class_is_held_fast_from_nine_tenths_of_its_rows_on(held, is_named):
    e = three_classes((40, 40, 40), [0, 1, 1], last=ReLU().build(3))
    scores = e.now.outputs[80:, 2]
    scores[held:] += 1e-3 * np.arange(1, 41 - held)
    found = targets.class_never_predicted(e)
    said = f"Leave out the last layer, layers.1 ReLU(): it gives the class {scores[0]:.3g} for "
    assert found.remedy.startswith(said + "90% of these rows") == is_named
    assert "CategoricalCrossEntropy takes raw outputs" in found.remedy or not is_named


def test_the_largest_of_several_missing_classes_is_named():
    for counts, label in (((40, 30, 20), 1), ((40, 20, 30), 2)):
        e = three_classes(counts, [0, 0, 0])
        e.now.outputs[:, 1] = e.now.outputs[:, 2]
        found = targets.class_never_predicted(e)
        assert f"have class {label}, " in found.evidence and "as class 0." in found.evidence


# ------------------------------------------------------------------------------- not finite


@pytest.mark.parametrize(
    ("what", "remedy"),
    [
        ("parameter W", "Build the network anew; if the parameters came from a file"),
        ("output", "Keep the argument of layers.1 inside its domain"),
        ("gradient of the input", "The forward of layers.1 is finite but its slope is not"),
        ("gradient of W", "The forward of layers.1 is finite but its slope is not"),
    ],
)
@pytest.mark.parametrize(("at", "when"), [("first", "before training"), ("now", "now")])
def test_what_is_not_finite_is_named_with_its_place(what, remedy, at, when):
    s = LayerStatistics(ReLU().build(3), slice(0, 0))
    s.path, s.origin, s.output.low, s.output.high = "layers.1", what, -2.5, 4
    shots = {"first": snapshot(1, 1), "now": snapshot(1, 1)}
    shots[at].recorder.origin = s
    none = np.zeros(5, bool)
    tried = lambda factor: (np.ones(9), "")  # noqa: E731
    known = {"bad_inputs": none, "bad_targets": none, "subject": SimpleNamespace(rows=Rows(0, 0))}
    e = evidence(**known, **shots, optimizer=None, rehearse=tried)
    found = signals.not_finite(e)
    taken_down(found, ("non-finite origin", "layers.1", "critical", Verdict))
    assert found.evidence == (
        f"First NaN or infinity {when}: the {what} of this layer, while all that came in was "
        "finite (its finite outputs range from -2.5 to 4)."
    )
    assert found.remedy.startswith(remedy)
    e.trained = False
    e.first = e.now = shots[at]
    assert "infinity as it is built: the" in signals.not_finite(e).evidence


@pytest.mark.parametrize(
    ("slow", "optimizer", "stopped", "layer"),
    [
        ("in layers.2 Dense", True, "diverged in epoch 1", "layers.2"),
        ("somewhere", True, "diverged in epoch 1", "network"),
        ("", True, "diverged in epoch 1", None),  # the rate broke it
        ("in layers.2 Dense", False, "diverged in epoch 1", None),
        ("in layers.2 Dense", True, "", None),
    ],
)
def test_training_that_breaks_off_at_a_hundredth_of_the_rate_too_is_not_the_rates(
    slow, optimizer, stopped, layer
):
    none = np.zeros(5, bool)
    now = snapshot(1, 1, deep(ReLU, [1] * 5))
    course = SimpleNamespace(diverged=bool(stopped), stopped=stopped)
    known = {"bad_inputs": none, "bad_targets": none, "subject": SimpleNamespace(rows=Rows(0, 0))}
    tried = lambda factor: (np.ones(9), slow if factor == 0.01 else "else")  # noqa: E731
    e = evidence(**known, now=now, first=now, course=course, rehearse=tried)
    e.optimizer = e.optimizer if optimizer else None
    found = signals.not_finite(e)
    assert (found is not None) == (layer is not None)
    if found:
        taken_down(found, ("non-finite origin", layer, "critical", Acquired))
        assert f"off ({stopped}), and a rehearsal" in found.evidence and slow in found.evidence
        assert "log(1 + x)" in found.remedy


@pytest.mark.parametrize("optimizer", [None, SGD(0.1)])
@pytest.mark.parametrize("diverged", [False, True])
@pytest.mark.parametrize("slow", ["", "in layers.1"])
@pytest.mark.parametrize("trained", [False, True])
def test_the_rate_is_blamed_where_it_is_known_and_a_hundredth_of_it_stays_finite(
    optimizer, diverged, slow, trained
):
    s = LayerStatistics(ReLU().build(3), slice(0, 0))
    s.path, s.origin, s.output.low, s.output.high = "layers.1", "output", -2.5, 4
    now, none = snapshot(1, 1), np.zeros(5, bool)
    now.recorder.origin = s
    known = {"bad_inputs": none, "bad_targets": none, "subject": SimpleNamespace(rows=Rows(0, 0))}
    course = SimpleNamespace(diverged=diverged, stopped="diverged")
    tried = lambda factor: (np.ones(9), slow if factor == 0.01 else "else")  # noqa: E731
    e = evidence(**known, now=now, course=course, rehearse=tried, optimizer=optimizer)
    e.trained = trained
    blamed = trained and (optimizer is not None or diverged) and not slow
    assert (signals.not_finite(e) is None) == blamed
