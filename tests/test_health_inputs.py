"""Verdicts on inputs, loss, rates and steps on both sides of their borders, on evidence by hand."""

import copy
import re
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from clinic import BCE, CCE, MSE
from evidence_by_hand import columns, evidence, snapshot, tried
from ward_of_backwards import Accumulating, ForgottenBias, Linear, NegatedBias

from layerkit import (
    ELU,
    LSTM,
    BatchNorm,
    Columns,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    HardTanh,
    LeakyReLU,
    MultiHeadAttention,
    ReLU,
    Residual,
    Scale,
    Sequential,
    Sigmoid,
    SmoothClip,
    Softmax,
    Softplus,
    Tanh,
)
from layerkit.inspection import HealthMonitor, health
from layerkit.inspection.diagnosis import (
    attention_verdicts,
    data_verdicts,
    design_verdicts,
    probes,
    target_verdicts,
    time_verdicts,
    training_verdicts,
)
from layerkit.inspection.diagnosis.evidence import (
    Acquired,
    InitialCause,
    TrainingCause,
    Verdict,
    share,
)
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.losses import Huber, Loss, NegativeLogLikelihood
from layerkit.optimizers import SGD
from layerkit.sequences import Sequences
from layerkit.training import train

pytestmark = pytest.mark.usefixtures("verdicts_in_known_words")

# ------------------------------------------------------------------------------- inputs


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        ([0, 0], [1, 20.1], "Column 1 of X has mean 0 and deviation 20.1; the columns have root "
                            "mean squares from 1 to 20."),
        ([0, 0], [1, 19.9], None),
        ([-16.1, 0], [12, 1], "Column 0 of X has mean -16.1 and deviation 12; the"),
        ([-15.9, 0], [12, 1], None),
        ([20.1], [1], "Column 0 of X has mean 20.1 and deviation 1."),
        ([0, 0], [0.0199, 0.01], "All inputs are tiny: the largest, column 0 of X has mean 0 and "
                                 "deviation 0.0199."),
        ([0, 0], [0.0201, 0.01], None),
        ([0] * 6, [0.0199] * 6, "All inputs are tiny"),
        ([0] * 7, [0.0199] * 7, None),  # they are many
        ([8.1, -8.2, 0], [1, 1, 1], "2 of 3 columns are far from zero: the largest, column 1 of X "
                                    "has mean -8.2 and deviation 1."),
        ([7.9, -7.9, 0], [1, 1, 1], None),
        ([8.1, 0], [1, 1], None),  # half of them
        ([0.81, 0.81], [0.1, 0.1], None),
        ([8.1, 3, 3], [1, 0, 0], "1 of 1 columns are far from zero"),
        ([0] * 11, [0.003] * 2 + [1] * 7 + [3.1] * 2, "The columns are on scales from 0.003 to "
                                                      "3.1."),
        ([0] * 11, [0.0032] * 2 + [1] * 7 + [3.1] * 2, None),
        ([0] * 11, [0.002] * 2 + [1] * 7 + [2.9] * 2, None),
        ([0, 0], [0, 0], None),
    ],
    ids=str,
)  # fmt: skip
def test_inputs_are_not_scaled_beyond_these_borders(mean, std, said):
    n = len(mean)
    rows = Rows(columns(mean, std), np.zeros(400))
    dense = Sequential([Dense(2)]).build(n)
    found = data_verdicts.inputs_not_scaled(evidence(network=dense, rows=rows))
    assert (found is not None) == (said is not None)
    if found:
        assert found[:3] == (
            "inputs not scaled",
            "inputs",
            "critical",
        )
        assert found.evidence.startswith(said) and "StandardScaler()" in found.remedy
        healed = Sequential([BatchNorm(), Dense(2)]).build(n)
        assert data_verdicts.inputs_not_scaled(evidence(network=healed, rows=rows)) is None


@pytest.mark.parametrize(
    ("low", "high", "of_images"),
    [(0, 255, True), (0, 201, True), (0, 200, False), (0, 256, False), (-1, 255, False)],
)
def test_images_of_bytes_are_divided_by_255(low, high, of_images):
    X = np.full((20, 4, 4, 1), float(low))
    X[:, 2:] = high
    net = Sequential([Flatten(), Dense(2)]).build((4, 4, 1))
    known = {"network": net, "rows": Rows(X, np.zeros(20))}
    found = data_verdicts.inputs_not_scaled(evidence(**known))
    assert found.evidence.startswith("Channel 0 of X has mean")
    assert found.remedy.startswith("Divide the images by 255") == of_images
    known["rows"] = Rows(np.tile([[low, high], [high, low]], (10, 1)), np.zeros(20))  # no images
    known["network"] = Sequential([Dense(2)]).build(2)
    assert "StandardScaler" in data_verdicts.inputs_not_scaled(evidence(**known)).remedy


@pytest.mark.parametrize(
    ("layers", "scaled"),
    [
        ([Dense(2)], [0, 1, 2]),
        ([Dropout(), Flatten(), BatchNorm(), Dense(2)], []),
        ([Dropout(), Dense(2)], [0, 1, 2]),
        ([Columns([(slice(0, 2), Dense(2)), (2, Embedding(9, 2))]), Dense(2)], [0, 1]),
        ([Columns([([1], BatchNorm()), ([0, 2], Dense(2))])], [0, 2]),
        ([Residual(Sequential([BatchNorm(), Dense(3)]))], []),
        ([Residual(Dense(3))], [0, 1, 2]),
        ([Sequential([BatchNorm()]), Dense(3)], []),
    ],
    ids=str,
)
def test_columns_count_where_a_layer_takes_their_scale_as_it_is(layers, scaled):
    net = Sequential(layers).build(3)
    assert np.flatnonzero(data_verdicts._scaled_columns(net, 3)).tolist() == scaled


@pytest.mark.parametrize(
    ("shape", "is_named"),
    [((3, 8, 5), True), ((3, 8, 4), False), ((3, 7, 5), False), ((2, 8, 5), False),
     ((1, 8, 5), True), ((4, 9, 9), True), ((5, 8, 8), False), ((8, 5), False)],
)  # fmt: skip
def test_channels_stand_first_where_they_are_one_three_or_four(shape, is_named):
    found = data_verdicts.channels_first(evidence(rows=Rows(np.zeros((20, *shape)), np.zeros(20))))
    assert (found is not None) == is_named
    if found:
        a, b, c = shape
        assert (found.name, found.severity) == ("channels first", "critical")
        assert f"{a} rows of {b} columns with {c} channels" in found.evidence
        assert f"{a} channels of {b} x {c} pixels" in found.evidence


# ------------------------------------------------------------------------------- links


HALVES = np.tile([[0.25, 0.75], [0.6, 0.4]], (5, 1))


def off(by):
    return np.add(HALVES, [0, by])


@pytest.mark.parametrize(
    ("loss", "last", "outputs", "lowest", "name", "best"),
    [
        (CCE(), Softmax(), HALVES, -1, "softmax", "0.313"),
        (CCE(), Tanh(), HALVES, -1, "softmax", "0.313"),
        (CCE(), Dense(2), HALVES, -1, "softmax", "0.313"),
        (CCE(), Dense(2), off(0.0011), -1, None, ""),
        (CCE(), Dense(2), off(0.0009), -1, "softmax", "0.313"),
        (CCE(), Softmax(), off(0.1), -1, "softmax", "0.313"),
        (BCE(), Sigmoid(), HALVES, -1, "softmax", "0.313"),
        (BCE(), Sigmoid(), 0.5 * HALVES, -1, "sigmoid", "0.313"),
        (BCE(), Tanh(), 0.5 * HALVES, -1, "sigmoid", "0.313"),
        (BCE(), Tanh(), 0.5 * HALVES, 0, None, ""),  # nothing below zero came in
        (BCE(), ReLU(), 0.5 * HALVES - 0.125, -1, None, ""),  # a rectifier has zeros
        (BCE(), Dense(2), 0.5 * HALVES, -1, None, ""),
        (BCE(), Tanh(), 2 * HALVES, -1, None, ""),
        (BCE(), Tanh(), HALVES[:, :1], -1, "sigmoid", "0.313"),
        (CCE(), Softmax(), np.full((10, 3), 1 / 3), -1, "softmax", "0.551"),
        (MSE(), Sigmoid(), HALVES, -1, None, ""),
        (NegativeLogLikelihood(), Softmax(), HALVES, -1, None, ""),
    ],
)
def test_a_link_is_applied_twice_where_outputs_are_probabilities(
    loss, last, outputs, lowest, name, best
):
    last.build(outputs.shape[1])
    ranges = SimpleNamespace(count=10, low=np.array([lowest, 0.0]))
    layers = [SimpleNamespace(layer=last, path="layers.4", input_ranges=ranges)]
    now = snapshot(1.0, 1.0, layers, outputs=outputs)
    found = data_verdicts.link_applied_twice(evidence(loss=loss, now=now))
    assert (found.name if found else None) == (name and f"{name} applied twice")
    if found:
        assert (found.layer, found.severity) == ("layers.4", "critical")
        both = outputs.shape[1] > 1 and np.abs(outputs.sum(axis=1) - 1).max() < 1e-3
        sums = " and sum to 1" if both else ""
        said = f"between {outputs.min():.3g} and {outputs.max():.3g}{sums}: they"
        assert said in found.evidence
        assert found.evidence.endswith(f"applies {name} to them once more, so that no prediction "
                                       f"can have a loss below {best}.")  # fmt: skip
        assert f"the last layer, layers.4 {type(last).__name__}():" in found.remedy


class Deaf(Loss):
    """A squared error that has no slope where it is larger than 1."""

    def value(self, y_pred, y_true):
        return (y_pred - y_true) ** 2

    def derivative(self, y_pred, y_true):
        error = y_pred - y_true
        return np.where(np.abs(error) > 1, 0, 2 * error)


@pytest.mark.parametrize(
    ("n", "off", "severity"),
    [(20, 2.0, "warning"), (19, 2.0, None), (50, 2.0, "warning"), (51, 2.0, "critical"),
     (60, 1.01, "critical"), (60, 0.9, None)],
)  # fmt: skip
def test_a_loss_is_silent_from_a_fifth_of_the_rows_on(n, off, severity):
    y = np.zeros((100, 1))
    outputs = np.where(np.arange(100)[:, None] < n, off, 0.5)
    known = {"now": snapshot(1, 1, outputs=outputs), "rows": Rows(y, y), "loss": Deaf()}
    found = data_verdicts.loss_without_gradient(evidence(**known))
    assert (found and found.severity) == severity
    if found:
        assert (found.name, found.layer) == ("loss without gradient", "loss")
        assert found.evidence.startswith(
            f"For {n} of 100 rows ({n}%) the gradient of Deaf is exactly 0 although their loss, "
            f"{off**2:.3g} on average, would be 0 for the right prediction"
        )
        assert "Huber(delta=1.0)" in found.remedy
    border = 10 * off**2
    for constant, is_named in ((0.99 * border, severity), (1.01 * border, None)):
        found = data_verdicts.loss_without_gradient(evidence(**known, constant=constant))
        assert (found and found.severity) == is_named  # what is nearly right needs no gradient


# ------------------------------------------------------------------------------- the first loss


def begun(outputs, found, layers=(), **known):
    head = SimpleNamespace(layer=Dense(1).build(1), path="layers.4")
    start = snapshot(known.pop("loss_then", found), found, [head, *layers], outputs=outputs)
    start.network = Sequential([Dense(1)]).build(1)
    usual = {"start": start, "first": start, "now": start, "zero": 1.5,
             "probed": Rows(np.zeros((9, 1)), np.zeros(9))}  # fmt: skip
    return evidence(**usual | known)


@pytest.mark.parametrize(
    ("found", "size", "known", "is_named"),
    [
        (6.1, 5.1, {}, True),
        (5.9, 5.1, {}, False),  # four times that of equal probabilities
        (6.1, 4.9, {}, False),
        (8.1, 9.0, {"constant": 2.0}, True),
        (7.9, 9.0, {"constant": 2.0}, False),
        (9.0, 9.0, {"loss_then": 5.9}, False),  # the lower of the two losses
        (9.0, 9.0, {"start": None}, False),
        (6.1, 5.1, {"zero": np.log(2) + 0.019, "constant": 0.1}, True),
        (6.1, 5.1, {"zero": np.log(2) + 0.021, "constant": 0.1}, True),
    ],
    ids=str,
)
def test_a_network_is_confidently_wrong_beyond_four_times_the_loss(found, size, known, is_named):
    outputs = size * np.tile([[0.6], [-0.8], [1.0], [-1.0], [1.4], [-1.0606601717798212]], (2, 1))
    outputs *= size / np.sqrt(np.square(outputs).mean())
    e = begun(outputs, found, loss=BCE(), **known)
    verdict = data_verdicts.wrong_initial_loss(e)
    assert (verdict is not None) == is_named
    if verdict:
        assert (verdict.name, verdict.layer) == ("wrong initial loss", "layers.4")
        assert verdict.severity == "warning" and type(verdict) is InitialCause
        log = " (log 2)" if abs(e.zero - np.log(2)) < 0.02 else ""
        assert verdict.evidence == (
            f"Before training the loss is {found:.3g}. Equal probabilities would give "
            f"{e.zero:.3g}{log}, the class shares {e.constant:.3g}: the network is confidently "
            f"wrong. Its outputs have mean {outputs.mean():.3g} and deviation {outputs.std():.3g}."
        )
        assert "the last layer, layers.4, start small" in verdict.remedy


@pytest.mark.parametrize(
    ("found", "mean", "std", "outputs", "known", "remedy"),
    [
        (61, 0, 1, 9.0, {}, "Use initializer"),
        (59, 0, 1, 9.0, {}, None),  # forty times the loss of zeros
        (81, 0, 1, 9.0, {"constant": 2.0}, "Use initializer"),
        (79, 0, 1, 9.0, {"constant": 2.0}, None),
        (61, 0, 1, 2.9, {}, "Standardise"),
        (61, 0, 1, 3.1, {}, "Use initializer"),
        (10.1, 4.1, 1, 9.0, {}, "Standardise"),  # far from zero: ten times a constant's
        (9.9, 4.1, 1, 9.0, {}, None),
        (10.1, 3.9, 1, 9.0, {}, None),
        (10.1, -4.1, 1, 9.0, {}, "Standardise"),
        (99, 4.1, 1, 9.0, {"start": None, "course": [11]}, "Standardise"),
        (99, 4.1, 1, 9.0, {"start": None, "course": [9.9]}, None),
        (99, 3.9, 1, 9.0, {"start": None, "course": [99]}, None),
        (99, 4.1, 1, 9.0, {"start": None, "course": []}, None),
    ],
    ids=str,
)
def test_outputs_are_far_from_the_targets_beyond_these_losses(
    found, mean, std, outputs, known, remedy
):
    y = columns([mean], [std])
    if "course" in known:
        losses = np.array(known["course"], float)
        known = known | {"course": SimpleNamespace(losses=losses)}
    e = begun(columns([1], [outputs]), found, loss=MSE(), rows=Rows(y, y), **known)
    verdict = data_verdicts.wrong_initial_loss(e)
    assert (verdict is not None) == (remedy is not None)
    if verdict:
        assert (verdict.name, verdict.layer) == ("wrong initial loss", "layers.4")
        said = ("Before training the loss is", "have") if e.start else ("At first the loss was",
                                                                       "now have")  # fmt: skip
        at = found if e.start else losses[0]
        assert verdict.evidence == (
            f"{said[0]} {at:.3g}; the best constant prediction has {e.constant:.3g}. The outputs "
            f"{said[1]} mean 1 and deviation {outputs:.3g}, the targets mean {mean:.3g} and "
            f"deviation {std:.3g}."
        )
        assert verdict.remedy.startswith(remedy) and "layers.4" in verdict.remedy


def test_of_outputs_that_are_not_finite_no_initial_loss_is_wrong():
    y, course = columns([0], [1]), SimpleNamespace(losses=np.array([61.0]))
    e = begun(columns([1], [9.0]), 61, loss=MSE(), rows=Rows(y, y), course=course)
    assert data_verdicts.wrong_initial_loss(e).name == "wrong initial loss"
    e.start.finite = False
    assert data_verdicts.wrong_initial_loss(e) is None


# ------------------------------------------------------------------------------- rows


@pytest.mark.parametrize(
    ("by_shift", "n", "ordered", "shift"),
    [
        ({0: 0.0, 2: 0.26}, 60, True, 2),
        ({0: 0.0, 2: 0.24}, 60, True, None),
        ({0: 0.0, 2: 0.26}, 59, True, None),
        ({0: 0.0, 2: 0.26}, 60, False, None),
        ({0: 0.1, -1: 0.36}, 60, True, -1),
        ({0: 0.1, -1: 0.34}, 60, True, None),
        ({0: 0.29, -1: 0.9}, 60, True, -1),
        ({0: 0.31, -1: 0.9}, 60, True, None),  # enough as it is
        ({0: 0.2, 1: 0.1}, 60, True, None),
        ({0: -0.2, 1: 0.3}, 60, True, 1),
    ],
    ids=str,
)
def test_rows_are_shifted_where_neighbours_explain_a_quarter_more(
    monkeypatch, by_shift, n, ordered, shift
):
    monkeypatch.setattr(probes, "explained_by_shift", lambda X, targets: by_shift)
    y = np.arange(n, dtype=float)[:, None]
    known = {"rows": Rows(y, y), "loss": MSE(), "subject": SimpleNamespace(ordered=ordered)}
    found = data_verdicts.rows_misaligned(evidence(**known, trained=False))
    assert (found is not None) == (shift is not None)
    if found:
        assert found[:3] == (
            "rows misaligned",
            "targets",
            "critical",
        )
        rows = f"{abs(shift)} row{'s' * (abs(shift) > 1)}:"
        assert f"explain {share(max(by_shift[0], 0))} of the variance of y, but " in found.evidence
        assert f"but {share(by_shift[shift])} when y is shifted by {rows}" in found.evidence
        assert f"y = np.roll(y, {shift}) restores" in found.remedy
    e = evidence(**known, trained=False)
    e.now.recorder.origin = "layers.0"
    assert data_verdicts.rows_misaligned(e) is None


@pytest.mark.parametrize(
    ("known", "is_named"),
    [
        ({}, True),
        ({"n": 150}, True),
        ({"n": 149}, False),
        ({"surprise": 3.49}, True),
        ({"surprise": 3.51}, False),
        ({"network_explains": 0.29}, True),
        ({"network_explains": 0.31}, False),
        ({"network_explains": 0.9, "n_params": 201}, True),  # learned by heart
        ({"network_explains": 0.9, "n_params": 200}, False),
        ({"network_explains": 0.9, "n_params": 201, "held": 1.41}, True),
        ({"network_explains": 0.9, "n_params": 201, "held": 1.39}, False),  # it holds for others
        ({"network_explains": 0.1, "n_params": 201, "held": 1.39}, True),
        ({"held_out": 0.71}, True),
        ({"held_out": 0.69}, False),
        ({"trained": False}, False),
        ({"classes": 0.89}, True),
        ({"classes": 0.91}, False),
    ],
    ids=str,
)
def test_rows_are_unrelated_where_nothing_explains_the_targets(known, is_named):
    usual = {"n": 200, "surprise": 0.5, "network_explains": 0.1, "neighbours_explain": 0.02}
    known = usual | known
    n, classes, held = known.pop("n"), known.pop("classes", None), known.pop("held_out", np.nan)
    y = np.arange(n, dtype=float)[:, None]
    if classes:
        y = (np.arange(n) >= classes * n).astype(int)
    column = np.array([9.0, 2 * held, np.nan])
    others = np.full(50, known.pop("held", 2.0))
    e = evidence(
        rows=Rows(np.zeros((n, 2)), y),
        probed=Rows(np.zeros((n, 2)), y),
        loss=CCE() if classes else MSE(),
        subject=SimpleNamespace(ordered=False),
        network=SimpleNamespace(n_params=known.pop("n_params", 10)),
        course=SimpleNamespace(column=lambda name: column * (name == "validation_loss")),
        validation=None,
        constant=2.0,
        tried=tried(others, others),
        **known,
    )
    if np.isnan(held):
        e.course.column = lambda name: np.empty(0)
    found = data_verdicts.rows_misaligned(e)
    assert (found is not None) == is_named
    if found:
        assert found[:3] == (
            "rows misaligned",
            "targets",
            "warning",
        )
        assert f"relates X to y in {n} rows" in found.evidence
        assert f"is {known['surprise']:.1f} deviations from" in found.evidence
        assert "neighbours explain 0.02 of the variance of y, the network " in found.evidence
        assert f"{known['network_explains']:.2f} on its own training rows." in found.evidence
        assert (f"loss is {held:.2f} times that of a constant." in found.evidence) == (held > 0)
        known_by_heart = known["network_explains"] > data_verdicts.LEARNED
        assert found.may_follow_from(SimpleNamespace(layer="inputs"))
        assert found.may_follow_from(SimpleNamespace(layer="layers.1")) != known_by_heart


# ------------------------------------------------------------------------------- rates


def rated(ends, broke=(), **known):
    """Evidence of rehearsals that end so, by the factor on their rate."""

    def rehearse(factor):
        return np.full(12, ends.get(factor, 1.0)), "layers.0" * (factor in broke)

    start = snapshot(1.0, known.pop("beginning", 1.0))
    reached = known.pop("reached", 1.0)
    now = snapshot(1.0, reached)
    losses = np.array(known.pop("losses", [reached] * 20))
    course = SimpleNamespace(losses=losses, steps=known.pop("counted", 100), diverged=False,
                             stopped="", updates={})  # fmt: skip
    own = known.pop("own", reached)
    usual_steps = np.full(12, known.pop("usual", 1.0)), known.pop("usual_broke", "")
    usual = {"rehearse": rehearse, "now": now, "start": start, "first": start, "course": course,
             "rate": 1e-4, "optimizer": SGD(1e-4), "steps": course.steps,
             "rehearse_as": lambda: (np.full(12, own), ""),
             "rehearse_usual": lambda optimizer: usual_steps}  # fmt: skip
    return evidence(**usual | known)


@pytest.mark.parametrize(
    ("ends", "known", "factor"),
    [
        ({100.0: 0.5}, {}, 100),
        ({100.0: 0.58}, {"beginning": 1.02, "reached": 0.98}, 100),
        ({100.0: 0.59}, {"beginning": 1.02, "reached": 0.98}, None),  # 0.6 times what was reached
        ({100.0: 0.84, 1.0: 1.1}, {}, 100),  # where nothing moves, less will do
        ({100.0: 0.86, 1.0: 1.2}, {}, None),
        ({100.0: 0.84, 1.0: 1.1}, {"beginning": 1.02}, None),
        ({100.0: 0.5, 10.0: 0.4}, {}, 10),
        ({1e4: 0.5}, {"broke": [1e3]}, 1e4),
        ({1e4: 0.5}, {"broke": [1e4]}, None),
        ({1e6: 0.5}, {}, 1e6),  # further while nothing moves
        ({1e8: 0.5}, {}, 1e8),
        ({1e5: 0.4, 1e6: 0.1}, {}, 1e5),
        ({1e4: 1.11, 1e5: 0.5}, {}, None),
        ({1e4: 1.09, 1e5: 0.5}, {}, 1e5),
        ({100.0: 0.5, 1.0: 0.66}, {}, 100),
        ({100.0: 0.5, 1.0: 0.64}, {}, None),  # 1.3 times: it learns as fast with the given rate
        ({100.0: 0.5, 1.0: 0.1}, {"broke": [1.0]}, 100),
        ({100.0: 0.3}, {"reached": 0.76}, 100),
        ({100.0: 0.3}, {"reached": 0.74}, None),  # it moved
        ({100.0: 0.3}, {"losses": [1.0] * 15 + [0.74] * 5}, None),  # and an earlier epoch is kept
        ({100.0: 0.3}, {"losses": [1.0] * 15 + [1.2] * 5}, 100),
        ({100.0: 0.3}, {"reached": 1.06}, None),  # it rose
        ({100.0: 0.3}, {"reached": 1.04}, 100),
        ({100.0: 0.1}, {"reached": 1.14, "beginning": 5.0}, 100),
        ({100.0: 0.1}, {"reached": 1.12, "beginning": 5.0}, None),
        ({100.0: 0.61}, {"reached": 1.99, "beginning": 5.0}, None),  # only the shares are learned
        ({100.0: 0.59}, {"reached": 1.99, "beginning": 5.0}, 100),
        ({100.0: 0.3}, {"counted": 59, "reached": 0.98}, None),  # it has only just begun
        ({100.0: 0.3}, {"counted": 59, "reached": 1.0}, 100),
        ({100.0: 0.3}, {"counted": 60, "reached": 0.98}, 100),
        ({100.0: 0.3}, {"losses": []}, None),
        ({100.0: 0.3}, {"start": None, "losses": [1.0] + [0.9] * 19, "reached": 0.9}, 100),
        ({100.0: 0.3}, {"start": None, "losses": [1.0] + [0.7] * 19, "reached": 0.7}, None),
        ({100.0: 0.3}, {"start": None, "losses": [0.9] + [1.0] * 19}, None),  # it rose
        ({100.0: 0.3}, {"optimizer": None}, None),
        ({100.0: 0.76}, {"trained": False}, 100),
        ({100.0: 0.78}, {"trained": False}, None),
        ({100.0: 0.3, 1.0: 0.991}, {"trained": False}, 100),
        ({100.0: 0.3, 1.0: 0.989}, {"trained": False}, None),
        ({100.0: 0.3}, {"trained": False, "broke": [1.0]}, None),
    ],
    ids=str,
)
def test_a_rate_is_too_low_where_longer_steps_get_further(ends, known, factor):
    e = rated(ends, **known)
    found = training_verdicts.rate_too_low(e)
    assert (found is not None) == (factor is not None)
    if found:
        assert found[:3] == (
            "learning rate too low",
            "optimizer",
            "critical",
        )
        beginning, reached = known.get("beginning", 1), known.get("reached", ends.get(1.0, 1))
        what = f"Training of {e.course.steps} steps moved the loss from {beginning:.3g} to "
        what += f"{e.now.training_loss:.3g} only."
        if not e.trained:
            what = f"A rehearsal of 12 steps leaves the loss at {reached:.3g}."
        assert found.evidence == (
            f"{what} In a rehearsal with {1e-4 * factor:.2g} in place of 0.0001 it falls to "
            f"{ends[factor]:.3g} in 12 steps."
        )
        assert found.remedy == f"Set learning_rate={1e-4 * factor:.2g}."


PEAKED = {"reached": 0.5, "beginning": 1.0}


@pytest.mark.parametrize(
    ("ends", "known", "factor", "what"),
    [
        ({0.1: 0.5, 1.0: 0.6}, {"reached": 1.03}, 0.1, "1 before training and 1.03 at its end"),
        ({0.1: 0.5, 1.0: 0.6}, {"reached": 1.01}, None, ""),  # it does not rise
        ({0.1: 0.97}, {"reached": 1.3}, 0.1, "1 before training and 1.3 at its end"),
        ({0.1: 0.98}, {"reached": 1.3}, None, ""),  # 0.75 times what was reached
        ({0.1: 0.5, 0.01: 0.4}, {"reached": 2.0}, 0.01, "1 before training and 2 at its end"),
        ({0.1: 0.5, 0.001: 0.4}, {"reached": 2.0}, 0.001, "1 before training and 2 at its end"),
        ({0.1: 0.3}, {"reached": 1.3, "broke": [0.1]}, None, ""),
        (
            {0.1: 0.37},
            {"reached": 0.5, "losses": [2.0] * 20},  # an earlier epoch is kept
            0.1,
            "1 before training and 2 at its end",
        ),
        ({0.1: 0.38}, {"reached": 0.5, "losses": [2.0] * 20}, None, ""),
        (
            {0.1: -0.5},
            {"reached": -1.0, "losses": [2.0] * 20},  # a density may be above 1
            0.1,
            "1 before training and 2 at its end",
        ),
        (
            {0.1: 0.3, 1.0: 0.3},
            {**PEAKED, "losses": [3.1] + [0.5] * 19},
            0.1,
            "1 before training and 0.5 at its end, with a peak of 3.1",
        ),
        ({0.1: 0.3, 1.0: 0.3}, {**PEAKED, "losses": [2.9] + [0.5] * 19}, None, ""),
        (
            {0.1: 0.3, 1.0: 0.3},
            {**PEAKED, "beginning": 2.0, "losses": [6.1] + [0.5] * 19},
            0.1,
            "2 before training and 0.5 at its end, with a peak of 6.1",
        ),
        (
            {0.1: 0.3, 1.0: 0.3},
            {**PEAKED, "beginning": 2.0, "losses": [5.9] + [0.5] * 19},
            None,
            "",
        ),
        (
            {0.1: 0.09, 1.0: 0.09},
            {"reached": 0.13, "beginning": 0.2, "losses": [3.1] + [0.13] * 19},
            0.1,
            "0.2 before training and 0.13 at its end, with a peak of 3.1",
        ),
        (
            {0.1: 0.09, 1.0: 0.09},
            {"reached": 0.13, "beginning": 0.2, "losses": [2.9] + [0.13] * 19},
            None,
            "",
        ),
        (
            {0.1: 0.5},
            {"reached": 1.03, "losses": [1.6] + [1.03] * 19},
            0.1,
            "1 before training and 1.03 at its end, with a peak of 1.6",
        ),
        (
            {0.1: 0.5},
            {"reached": 1.03, "losses": [1.5] + [1.03] * 19},
            0.1,
            "1 before training and 1.03 at its end",
        ),
        ({0.1: 0.5}, {"reached": 0.71}, 0.1, "1 before training and 0.71 at its end"),
        ({0.1: 0.3}, {"reached": 0.69}, None, ""),  # it learns
        (
            {0.1: 0.5},
            {"reached": 0.71, "beginning": 5.0},
            0.1,
            "5 before training and 0.71 at its end",
        ),
        ({0.1: 0.3}, {"reached": 0.69, "beginning": 5.0}, None, ""),
        (
            {0.1: 0.2},
            {"reached": 0.36, "beginning": 0.5},
            0.1,
            "0.5 before training and 0.36 at its end",
        ),
        ({0.1: 0.2}, {"reached": 0.34, "beginning": 0.5}, None, ""),
        (
            {0.1: 0.74},
            {"reached": 2.0, "beginning": 5.0},
            0.1,
            "5 before training and 2 at its end",
        ),
        ({0.1: 0.76}, {"reached": 2.0, "beginning": 5.0}, None, ""),  # and 0.75 of a constant's
        ({0.1: 0.5, 1.0: 0.66}, {"reached": 0.9}, 0.1, "1 before training and 0.9 at its end"),
        ({0.1: 0.5, 1.0: 0.64}, {"reached": 0.9}, None, ""),  # the same rate does as well
        (
            {0.1: 0.5, 1.0: 0.1},
            {"reached": 0.9, "broke": [1.0]},
            0.1,
            "1 before training and 0.9 at its end",
        ),
        ({0.1: 0.5}, {"losses": [], "reached": 2.0}, None, ""),
        (
            {0.1: 0.5, 0.001: 0.5, 1.0: 0.66},
            {"reached": 1.03, "start": None},
            0.1,
            "0.5 before training and 1.03 at its end",
        ),
        ({0.1: 0.5, 0.001: 0.5, 1.0: 0.64}, {"reached": 1.03, "start": None}, None, ""),
        ({0.1: 0.5, 1.0: 1.03}, {"trained": False}, 0.1, "1 goes to 1.03"),
        ({0.1: 0.5, 1.0: 1.01}, {"trained": False}, None, ""),
        ({0.1: 0.5}, {"trained": False, "broke": [1.0]}, 0.1, "1 breaks off at NaN or infinity"),
    ],
    ids=str,
)
def test_a_rate_is_too_high_where_shorter_steps_get_further(ends, known, factor, what):
    e = rated(ends, **known)
    found = training_verdicts.rate_too_high(e)
    assert (found is not None) == (factor is not None)
    if found:
        assert type(found) is TrainingCause
        assert found[:3] == ("learning rate too high", "optimizer", "critical")
        before = "The loss was " if e.trained else "In a rehearsal of 12 steps the loss of "
        assert found.evidence == (
            f"{before}{what}. In a rehearsal with {1e-4 * factor:.2g} in place of 0.0001 it falls "
            f"to {ends[factor]:.3g} in 12 steps."
        )
        assert found.remedy == f"Set learning_rate={1e-4 * factor:.2g}."


@pytest.mark.parametrize("losses", [[], [2.0, 9.0]])
def test_a_training_that_diverged_had_too_high_a_rate(losses):
    e = rated({0.1: 0.5}, losses=losses)
    e.course.diverged, e.course.stopped = True, "diverged in epoch 6"
    found = training_verdicts.rate_too_high(e)
    assert found.evidence.startswith(
        "The loss was 1 before training, which diverged in epoch 6. In a rehearsal with 1e-05 "
    )
    e.start.recorder.origin = "layers.0"  # numbers were not finite before a step was taken
    assert training_verdicts.rate_too_high(e) is None


@pytest.mark.parametrize(
    ("ends", "known", "is_named"),
    [
        ({}, {"usual": 0.84}, True),
        ({}, {"usual": 0.86}, False),
        ({}, {"usual": 0.84, "usual_broke": "layers.0"}, False),
        ({}, {"usual": 0.84, "beginning": 1.02}, False),  # it moved, if little
        ({1.0: 0.98}, {"usual": 0.5}, False),  # steps of its own size move it as well
        ({100.0: 0.86}, {"usual": 0.84}, True),
        ({}, {"usual": 0.84, "beginning": 9.0, "reached": 1.7}, True),  # it crawls
        ({}, {"usual": 0.84, "beginning": 9.0, "reached": 1.66}, False),  # half of that
        ({}, {"usual": 0.6, "beginning": 9.0, "reached": 1.49}, False),
        ({}, {"usual": 0.7, "beginning": 9.0, "reached": 1.7, "own": 1.3}, False),
        ({100.0: 1.03}, {"usual": 0.7, "beginning": 9.0, "reached": 2}, True),
        ({}, {"usual": 0.84, "optimizer": None}, True),  # nobody knows the rate
        ({}, {"usual": 0.84, "optimizer": None, "losses": [1.0] * 6}, True),
        ({}, {"usual": 0.84, "optimizer": None, "losses": [1.0] * 5}, False),
        ({}, {"usual": 0.84, "optimizer": None, "trained": False}, False),
        ({}, {"usual": 0.84, "optimizer": None, "beginning": 1.02}, False),
    ],
    ids=str,
)
def test_training_that_stands_still_is_too_slow_where_usual_steps_move_it(ends, known, is_named):
    e = rated(ends, **known)
    found = training_verdicts.rate_too_low(e)
    assert (found is not None) == is_named
    if found:
        assert found[:3] == ("learning rate too low", "optimizer", "critical")
        beginning, reached = (known.get(name, 1) for name in ("beginning", "reached"))
        assert found.evidence == (
            f"Training of 100 steps moved the loss from {beginning:.3g} to {reached} only. In a "
            f"rehearsal of 12 steps with Adam(0.01) it falls to {known['usual']}."
        )
        assert found.remedy.startswith("Use Adam(learning_rate=0.01), or ")


@pytest.mark.parametrize(
    ("losses", "diverged", "steady", "broke", "words"),
    [
        (
            [9, 8, 7, 60, 500],
            True,
            0.25,
            [],
            "Training diverged in epoch 6, after losses of 8, 7, ",
        ),
        ([2, 1], True, 0.25, [], "Training diverged in epoch 6, after losses of 2, 1. The "),
        ([], True, 0.25, [], "Training diverged in epoch 6. The same network, built anew, comes "),
        ([9, 8, 7, 60, 500], True, 0.25, [1.0], None),  # Adam() is not steady either
        ([9, 8, 7, 60, 500], False, 0.25, [], "Training ran away, after losses of 8, 7, 60, 500. "),
        (
            [9, 3.1],
            False,
            0.25,
            [],
            "Training ran away, after losses of 9, 3.1. The same network, ",
        ),
        ([9, 2.9], False, 0.25, [], None),  # times the loss of a constant
        ([9, 6.1], False, 2.0, [], "Training ran away, after losses of 9, 6.1. The same network, "),
        ([9, 5.9], False, 2.0, [], None),  # times the loss of the first step
        ([9, 8, 7, 60, 500], False, 0.25, [1.0], None),
        ([], False, 0.25, [], None),
    ],
)
def test_an_explosion_without_an_optimizer_is_the_rates_where_adam_is_steady(
    losses, diverged, steady, broke, words
):
    e = rated({1.0: steady}, broke, optimizer=None, losses=losses, constant=1.0)
    e.course.diverged, e.course.stopped = diverged, "diverged in epoch 6"
    found = training_verdicts.rate_too_high(e)
    assert (found is None) == (words is None)
    if found:
        assert type(found) is TrainingCause and found.severity == "critical"
        assert found.evidence.startswith(words)
        end = f"comes to {steady:.3g} in a rehearsal of 12 steps with Adam(), and every number"
        assert end in found.evidence


def test_the_layer_that_the_first_step_moved_most_is_named():
    e = rated({100.0: 0.5})
    e.course.updates = {"a": [0.2, 9.0], "b": [0.3, 0.1], "c": [np.inf], "d": []}
    said = " The first step moved the weights of b by 0.3 of their norm. In a rehearsal"
    assert said in training_verdicts.rate_too_low(e).evidence


# ------------------------------------------------------------------------------- steps of time


@pytest.mark.parametrize(
    ("norms", "loss", "name", "said"),
    [
        ([1.0] * 5 + [1001.0] + [1.0] * 6, 0.1, "explodes", "1e+03 times its norm arrive 5 steps"),
        ([1.0] * 5 + [999.0] + [1.0] * 6, 1.0, None, ""),
        ([1.0] * 5 + [np.inf] + [1.0] * 6, 1.0, None, ""),
        ([1.0] * 2 + [0.0009] * 10, 1.0, "vanishes", "after 2 of 12 steps less than 0.001 of its"),
        ([1.0] * 2 + [0.0011] * 10, 1.0, None, ""),
        ([1.0] * 3 + [0.0009] * 9, 1.0, None, ""),  # a quarter of them
        ([1.0] * 2 + [0.0009] * 10, 0.31, "vanishes", "after 2 of 12"),
        ([1.0] * 2 + [0.0009] * 10, 0.29, None, ""),  # it learned: no more reach was needed
        ([1.0] * 2 + [0.0009] * 8, 1.0, "vanishes", "after 2 of 10"),
        ([1.0] * 2 + [0.0009] * 7, 1.0, None, ""),
    ],
)
def test_a_gradient_through_time_has_its_borders(monkeypatch, norms, loss, name, said):
    by_path = {"layers.0": np.ones(12), "layers.1": np.array(norms)}
    monkeypatch.setattr(time_verdicts, "_norms", lambda e, network: network)
    calm = dict.fromkeys(by_path, np.ones(12))
    e = evidence(now=snapshot(loss, 1.0), network=by_path, fresh=calm)
    found = time_verdicts.through_time(e)
    assert (found.name if found else None) == (name and f"gradient {name} through time")
    if found:
        assert found.layer == "layers.1"
        assert found.severity == ("critical" if name == "explodes" else "warning")
        assert said in found.evidence
        places = (1, 2, 3, 6, 11) if len(norms) == 12 else (1, 2, 3, 5, 9)
        shown = [" ".join(map(str, x)) for x in ([f"{norms[k]:.2g}" for k in places], places)]
        assert "at the last step, {} arrive {} steps before".format(*shown) in found.evidence
    e.trained = False
    found = time_verdicts.through_time(e)
    assert (found is not None) == (name is not None or loss == 0.29)


@pytest.mark.parametrize(
    ("fresh", "trained", "kind"),
    [(1001.0, True, Verdict), (999.0, True, Acquired), (1.0, False, Verdict)],
)
def test_an_explosion_that_training_brought_about_is_acquired(monkeypatch, fresh, trained, kind):
    monkeypatch.setattr(time_verdicts, "_norms", lambda e, network: network)
    now, before = ({"layers.0": np.array([1.0] * 11 + [x])} for x in (1001.0, fresh))
    found = time_verdicts.through_time(evidence(network=now, fresh=before, trained=trained))
    assert type(found) is kind and found.name == "gradient explodes through time"


@pytest.mark.parametrize(
    ("closed", "bias", "steps", "is_named"),
    [(3, -3.0, 4, True), (2, -3.0, 4, False), (3, -2.9, 4, False), (3, -3.0, 1, False)],
)
def test_forget_gates_are_closed_below_a_twentieth(closed, bias, steps, is_named):
    net = Sequential([LSTM(4)]).build((steps, 2), random_state=0, dtype=np.float64)
    layer = net[0]
    for p in layer.params.values():
        p[...] = 0
    layer.params["b"][4:8] = np.where(np.arange(4) < closed, bias, 2.0)  # 1 / (1 + e³) = 0.047
    e = evidence(network=net, rows=Rows(np.zeros((20, steps, 2)), np.zeros(20)))
    found = time_verdicts.forget_gates(e)
    assert (found is not None) == is_named
    if found:
        assert (found.name, found.layer) == ("forget gates closed", "layers.0")
        assert found.severity == "warning" and 'params["b"][4:8] = 1' in found.remedy
        mean = (3 / (1 + np.exp(3)) + 1 / (1 + np.exp(-2))) / 4
        assert f"of 75% of its 4 cells never open further than 0.05: {mean:.2g} in the" in (
            found.evidence
        )


# ------------------------------------------------------------------------------- constant


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("changed", [None, 0, -1])  # the row that another number is in
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array, Sequences], ids=str)
def test_inputs_are_constant_from_two_equal_rows_on(n, changed, make):
    X = np.ones((n, 4, 3) if make is Sequences else (n, 3))
    if changed is not None:
        X[changed, ..., 1] = 2
    found = data_verdicts.constant_inputs(evidence(rows=Rows(make(X), np.zeros(n))))
    assert (found is not None) == (n > 1 and changed is None)
    if found:
        assert (found.name, found.layer) == ("constant inputs", "inputs")
        assert found.evidence.startswith(f"X does not vary: it is the same in each of the {n} rows")


# ------------------------------------------------------------------------------- attention


def heads(first, second, n=4, rows=5):
    """Weights of two heads that look at step 1 with these weights, at the others alike."""
    A = np.empty((2, n, n))
    for head, weight in zip(A, (first, second), strict=True):
        head[...] = (1 - weight) / (n - 1)
        head[:, 1] = weight
    return [A] * rows


@pytest.mark.parametrize(
    ("first", "second", "loss", "name"),
    [
        (0.25, 0.25, 1.0, "uniform"),
        (0.25, 0.30, 1.0, "uniform"),  # 0.9955 of the entropy
        (0.25, 0.31, 1.0, None),
        (0.25, 0.25, 0.31, "uniform"),
        (0.25, 0.25, 0.29, None),  # it learned so
        (0.995, 0.991, 1.0, "one position"),
        (0.995, 0.989, 1.0, None),
        (0.25, 0.995, 1.0, None),
    ],
)
@pytest.mark.parametrize("before", ["kept", "alike", "unlike", "untrained"])
def test_attention_is_collapsed_where_every_head_is(monkeypatch, first, second, loss, name, before):
    net = Sequential([MultiHeadAttention(2)]).build((4, 6), random_state=0)
    beginning = {"kept": None, "alike": object(), "unlike": object(), "untrained": None}[before]
    now = {"layers.0": heads(first, second)}
    then = now if before == "alike" else {"layers.0": heads(0.5, 0.6)}
    weights = {id(net): now, id(beginning): then} if beginning else {id(net): now}
    monkeypatch.setattr(attention_verdicts, "_weights", lambda e, network: weights[id(network)])
    e = evidence(network=net, beginning=beginning, now=snapshot(1.0, loss))
    e.trained = before != "untrained"
    found = attention_verdicts.collapsed_attention(e)
    assert (found.name if found else None) == (name and f"attention collapsed to {name}")
    if found:
        assert isinstance(found, Acquired) == (before in ("kept", "unlike"))
        assert (found.layer, found.severity) == ("layers.0", "warning")
        assert found.evidence.startswith("In all of its 2 heads ")
        if name == "uniform":
            p = np.array([second, *[(1 - second) / 3] * 3])
            entropy = -(p * np.log(p)).sum() / np.log(4)
            assert f"have at least {share(entropy)} of the entropy" in found.evidence
        else:
            assert "at least 100% of the steps give more than 99% of their" in found.evidence
            assert "to a single one, 100% of them at step 1: the" in found.evidence


# ------------------------------------------------------------------------------- out of reach


@pytest.mark.parametrize(
    ("last", "y", "constant", "is_named", "beyond"),
    [
        (Tanh(), [-1.5, 1.5], 1.66, True, "100% of the targets, which go from -1.5 to 1.5"),
        (Tanh(), [-1.5, 1.5], 1.68, False, ""),  # 0.15 times: the best has 0.25
        (ReLU(), [-1.0, 1.0], 3.3, True, "50% of the targets, which go from -1 to 1"),
        (ReLU(), [-1.0, 1.0], 3.4, False, ""),
        (Sigmoid(), [0.0, 1.0], 0.25, False, ""),
        (Dense(1), [-9.0, 9.0], 81.0, False, ""),
    ],
)
@pytest.mark.parametrize("loss", [MSE, Huber])
def test_targets_are_out_of_reach_by_a_share_of_a_constants_loss(
    last, y, constant, is_named, beyond, loss
):
    last = type(last)(*[1] * isinstance(last, Dense)).build((1,), dtype=np.float64)
    half = 1.0 if loss is MSE else 0.5
    y = np.tile(y, 20)[:, None]
    layers = [SimpleNamespace(layer=last, path="layers.2")]
    now = snapshot(1.0, 1.0, layers, outputs=0.1 * y)
    e = evidence(now=now, rows=Rows(y, y), loss=loss(), constant=half * constant)
    found = target_verdicts.outputs_out_of_reach(e)
    assert (found is not None) == is_named
    if found:
        low, high = ("[-1", "1]") if isinstance(last, Tanh) else ("[0", "inf)")
        best = half * (0.25 if isinstance(last, Tanh) else 0.5)
        assert (found.name, found.layer) == ("outputs out of reach", "layers.2")
        assert found.severity == "critical" and type(found) is InitialCause
        assert found.evidence == (
            f"{type(last).__name__} gives numbers in {low}, {high} only. {beyond}, lie outside. "
            f"The best that it can give has a loss of {best:.3g}; a constant prediction has "
            f"{half * constant:.3g}."
        )
        assert found.remedy.endswith("or bring the targets into that range.")


# ------------------------------------------------------------------------------- a linear map


@pytest.mark.parametrize(
    ("layers", "neighbours", "is_named"),
    [
        ([Dense(4), Dense(1)], 0.11, True),
        ([Dense(4), Dense(1)], 0.09, False),  # a linear map is enough
        ([Dense(1)], 0.9, False),
        ([Dense(4), ReLU(), Dense(1)], 0.9, False),
        ([Dense(4), Dropout(), Dense(1)], 0.9, True),
    ],
)
def test_layers_in_a_row_are_one_linear_map(monkeypatch, layers, neighbours, is_named):
    monkeypatch.setattr(probes, "linear_explains", lambda X, targets: 0.0)
    net = Sequential(layers).build(3, random_state=0, dtype=np.float64)
    found_layers = [SimpleNamespace(layer=layer, path=path) for path, layer in net.walk() if path]
    X = np.random.default_rng(0).standard_normal((40, 3))
    rows = Rows(X, X[:, :1])
    e = evidence(network=net, now=snapshot(1, 1, found_layers), rows=rows, probed=rows,
                 loss=MSE(), neighbours_explain=neighbours)  # fmt: skip
    found = design_verdicts.no_activation(e)
    assert (found is not None) == is_named
    if found:
        last = f"layers.{len(layers) - 1}"
        assert found[:3] == (
            "no activation",
            "layers.0",
            "critical",
        )
        assert f"2 layers with weights (layers.0 Dense, {last} Dense)" in found.evidence
        assert "explains 0% of the variance of y, the 5 nearest" in found.evidence
        assert f"neighbours of a row {share(neighbours)}." in found.evidence
        assert found.remedy == "Put an activation between them, such as ReLU() after layers.0."


# ------------------------------------------------------------------------------- backwards


class KeepsTheFirst(Linear):
    """It takes the first batch of some size for every later one, where it keeps it."""

    keeps = ()

    def forward(self, x, training=False):
        if training in self.keeps and len(getattr(self, "first", ())) != len(x):
            self.first = x
        return super().forward(x, training)

    def backward(self, grad_output):
        self.cache = getattr(self, "first", self.cache)
        return super().backward(grad_output)


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize("keeps", [(True,), (True, False)], ids=["in training", "always"])
def test_a_layer_that_keeps_an_earlier_batch_is_seen_where_it_keeps_it(keeps, place, monkeypatch):
    monkeypatch.setattr(KeepsTheFirst, "keeps", keeps)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), rng.standard_normal((60, 4))
    layers = [Dense(4), Tanh(), Dense(4)]
    layers[place] = KeepsTheFirst(4)
    verdicts = health(Sequential(layers), X, y, MSE()).verdicts
    found = [v.layer for v in verdicts if v.name == "wrong backward"]
    assert found == [f"layers.{place} KeepsTheFirst(units=4)"]


@pytest.mark.parametrize(
    ("kind", "evidence", "remedy"),
    [
        (
            NegatedBias,
            r"^Along a random direction, self\.grads\['b'\] that backward of NegatedBias returns "
            r"is \S+, the slope of its forward by finite differences \S+: a ratio of -1, which",
            "Its sign is turned.",
        ),
        (
            Accumulating,
            r"^backward of Accumulating adds to self\.grads\['\w'\], so that the gradients of all "
            r"batches pile up: training sets nothing to zero between them\.$",
            "It must overwrite: self.grads['W'][...] = ...",
        ),
        (
            ForgottenBias,
            r"^backward of ForgottenBias leaves 4 of the 4 entries of self\.grads\['b'\] as they "
            r"were before the call\.$",
            "It must write all of self.grads['b'][...], zeros where nothing depends on an entry.",
        ),
    ],
)
def test_what_is_wrong_with_a_backward_and_what_to_do_stand_in_their_places(kind, evidence, remedy):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), rng.standard_normal((60, 4))
    (found,) = (
        v for v in health(Sequential([kind(4)]), X, y, MSE()).verdicts if v.name == "wrong backward"
    )
    assert re.search(evidence, found.evidence)
    name = kind.__name__
    assert found.remedy == (
        f"Correct the backward of {name}. {remedy} "
        f"`print(check_gradients({name}(...), input_shape))` shows every array."
    )


# ------------------------------------------------------------------------------- ranges

INF = np.inf
RANGES = [
    (Tanh(), -1, 1),
    (Sigmoid(), 0, 1),
    (Softmax(), 0, 1),
    (ReLU(), 0, INF),
    (Softplus(), 0, INF),
    (ELU(alpha=2), -2, INF),
    (Sequential([Scale(), ReLU(), Scale()]), -INF, 0),
    (HardTanh(-200, 300), -200, 300),
    (SmoothClip(limit=5), -5, 5),
    (LeakyReLU(), -INF, INF),
    (Dense(2), -INF, INF),
]


@pytest.mark.parametrize(("layer", "low", "high"), RANGES, ids=lambda value: repr(value)[:30])
def test_what_a_layer_can_give_is_what_it_gives_to_large_numbers(layer, low, high):
    layer = copy.deepcopy(layer).build((4,), random_state=0, dtype=np.float64)
    if isinstance(layer, Sequential):
        layer[-1].params["s"][...] = -1
    assert target_verdicts._range_of(layer) == pytest.approx((low, high), abs=1e-2)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("how", ["health", "monitor"])
def test_targets_of_every_step_of_rows_of_unequal_length_are_refused(how, weighted):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(2 + i % 3, 2)) for i in range(12)]
    y = [row[:, :1] for row in X]
    weight = ([np.ones(len(row)) for row in X],) if weighted else ()
    net, monitor = Sequential([Dense(1)]), HealthMonitor()
    train(net, MSE(), SGD(0.01), (X, y, *weight), epochs=1, callbacks=[monitor])
    message = "y must have one target for each row where rows differ in length, got one for every"
    with pytest.raises(ValueError, match=message):
        monitor.report() if how == "monitor" else health(net, X, y, MSE())
