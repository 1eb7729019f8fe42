"""Health reports on faults of design and of targets: named first, cured, and no alarm elsewhere."""

from pathlib import Path

import numpy as np
import pytest
from clinic import CCE, MSE, Case, Run, blobs, curve, diagnose, flat_digits, mlp, rings, split
from clinic import SICK as CLINIC
from ward_of_all_kinds import HEALTHY as WELL
from ward_of_all_kinds import SICK as KINDS
from ward_of_backwards import SICK as WRONG
from ward_of_long_trainings import HEALTHY as FOR_OTHERS
from ward_of_long_trainings import SICK as LONG
from ward_of_usual_data import HEALTHY as USUAL
from ward_of_usual_data import LEARNED_RAW
from ward_of_usual_data import SICK as SIZES
from wards import SICK as FAULTS

from layerkit import (
    BatchNorm,
    Dense,
    Identity,
    Layer,
    LogSoftmax,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from layerkit.inspection import HealthMonitor, health
from layerkit.inspection.diagnosis import backward_verdicts, target_verdicts
from layerkit.inspection.diagnosis.evidence import share
from layerkit.losses import BinaryCrossEntropy, MeanSquaredError, NegativeLogLikelihood
from layerkit.optimizers import SGD, Adam
from layerkit.training import DivergenceWarning, train

SEED = 3000  # the thresholds were chosen with 2000
SICK = FAULTS + WRONG + KINDS + SIZES + LONG
HEALTHY = WELL + USUAL + FOR_OTHERS
MORE = {case.name for case in WRONG + KINDS + SIZES + LONG}

slow = pytest.mark.slow


def params(cases, every):
    """One in so many of the cases, of the later wards fewer; the others only in the long run."""
    often = [not i % (8 * every if case.name in MORE else every) for i, case in enumerate(cases)]
    return [
        pytest.param(case, id=case.name, marks=[slow] * (not now))
        for case, now in zip(cases, often, strict=True)
    ]


def names(report):
    return [verdict.name for verdict in report.verdicts]


def test_the_guide_lists_every_finding_and_nothing_else():
    page = (Path(__file__).parents[1] / "docs/guide/watching.md").read_text(encoding="utf-8")
    table = page.partition("| where | findings |")[2].partition("\n\n")[0]
    listed = [line.split(" | ")[1].rstrip(" |") for line in table.splitlines()[2:]]
    assert sorted(", ".join(listed).split(", ")) == sorted({c.verdict for c in SICK + CLINIC})


@pytest.mark.parametrize("case", params(SICK, 3))
def test_the_fault_is_named_first(case):
    assert names(diagnose(case, SEED, "health"))[:1] == [case.verdict]


@slow
def test_it_is_named_first_with_other_seeds():
    runs = [(case, seed) for case in SICK for seed in (SEED + 1, SEED + 2)]
    wrong = [case.name for case, seed in runs if
             names(diagnose(case, seed, "health"))[:1] != [case.verdict]]  # fmt: skip
    assert len(wrong) <= 0.05 * len(runs), wrong


@pytest.mark.parametrize("case", params(SICK, 6))
def test_the_monitor_names_it_too(case):
    assert names(diagnose(case, SEED, "monitor"))[:1] == [case.verdict]


@pytest.mark.parametrize("case", params([case for case in SICK if case.cured], 3))
def test_the_cure_is_healthy(case):
    assert names(diagnose(Case("", "", case.cured), SEED, "health")) == []


@pytest.mark.parametrize(
    ("case", "how"),
    [
        pytest.param(case, how, id=f"{case.name}-{how}", marks=[slow] * (i % 4 not in often))
        for i, case in enumerate(HEALTHY)
        for how, often in (("health", [0]), ("monitor", [2]), ("before", [0, 2]))
    ],
)
def test_what_is_healthy_raises_no_alarm(case, how):
    assert names(diagnose(case, SEED, how)) == []


@pytest.mark.parametrize("how", ["health", "monitor"])
def test_raw_targets_that_were_learned_raise_no_alarm(how):
    assert names(diagnose(LEARNED_RAW, SEED, how)) == []


BEFORE = ("wrong backward", "no activation", "outputs", "log-", "targets", "constant", "channels")


@pytest.mark.parametrize(
    "case", params([case for case in SICK if case.verdict.startswith(BEFORE)], 1)
)
def test_it_is_named_before_training(case):
    assert names(diagnose(case, SEED, "before"))[:1] == [case.verdict]


# ------------------------------------------------------------------------------- the evidence


@pytest.mark.parametrize("ratio", [-1.0, 0.25, 64.0])
def test_the_ratio_of_a_wrong_backward_is_shown(ratio):
    class Scaled(Identity):
        def backward(self, grad_output):
            return ratio * grad_output

    net = Sequential([Dense(8), Scaled(), Dense(3)])
    (first, *_) = health(net, *blobs(0)).verdicts
    assert first.name == "wrong backward" and first.layer.startswith("layers.1 Scaled")
    assert f"a ratio of {ratio:.3g}," in first.evidence


@pytest.mark.parametrize("place", [0, 2])
def test_a_layer_that_writes_no_gradient_has_none_and_not_a_wrong_one(place):
    class Silent(Dense):
        def backward(self, grad_output):
            return grad_output @ self.params["W"].T

    layers = [Dense(8), ReLU(), Dense(3)]
    layers[place] = Silent(layers[place].units)
    found = health(Sequential(layers), *blobs(0)).verdicts
    assert found[0].name == "no gradient" and found[0].layer.startswith(f"layers.{place} Silent")
    assert "wrong backward" not in [v.name for v in found]


def test_a_straight_through_estimator_is_no_wrong_backward():
    class Round(Layer):
        def forward(self, x, training=False):
            return np.round(x)

        def backward(self, grad_output):
            return grad_output

    assert names(health(Sequential([Dense(8), Round(), Dense(3)]), *blobs(0))) == []


def test_a_linear_model_of_a_linear_relation_is_healthy():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = X @ rng.normal(size=(4, 1))
    assert names(health(Sequential([Dense(8), Dense(1)]), X, y)) == []


@pytest.mark.parametrize(
    ("last", "y", "loss"),
    [
        (ReLU, lambda y: np.abs(y), MeanSquaredError()),
        (Tanh, lambda y: np.tanh(y), MeanSquaredError()),
        (Sigmoid, lambda y: 1 / (1 + np.exp(-y)), MeanSquaredError()),
        (Identity, lambda y: y, MeanSquaredError()),
        (Tanh, lambda y: 1.0 * (y > 0), None),
    ],
)
def test_targets_within_reach_are_no_fault(last, y, loss):
    X, z = curve(0)
    net = Sequential([Dense(16), Tanh(), Dense(1), last()])
    found = names(health(net, X, y(z), loss or BinaryCrossEntropy()))
    assert "outputs out of reach" not in found or loss is None


def test_the_range_of_a_layer_is_found_by_asking_it():
    shape = {"dtype": np.float64}
    for layer, low, high in ((ReLU(), 0, np.inf), (Tanh(), -1, 1), (Identity(), -np.inf, np.inf)):
        assert target_verdicts._range_of(layer.build((2,), **shape)) == (low, high)


@pytest.mark.parametrize(
    ("leaked", "m", "others"),
    [
        ([1], 2, ""),
        ([2], 4, ""),
        ([3, 1], 4, " (and as much of column 1)"),
        ([4, 0, 2], 6, " (and as much of columns 0, 2)"),
        ([0, 1], 2, None),  # what all columns know is no leak
        ([0, 1], 3, None),
        ([0, 1, 2], 4, None),
        ([0], 1, None),
    ],
    ids=str,
)
def test_leaked_columns_are_named_unless_most_of_them_know(leaked, m, others):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, m)), rng.normal(size=200)
    for k, j in enumerate(leaked):
        X[:, j] = (j + 2) * (y + 2e-3 * k * rng.normal(size=200)) + j
    found = [v for v in health(mlp(8, out=1), X, y[:, None], MSE()).verdicts
             if v.name == "leaked column"]  # fmt: skip
    if others is None:
        assert found == []
        return
    squares = [0 if j in leaked else np.corrcoef(x, y)[0, 1] ** 2 for j, x in enumerate(X.T)]
    second = int(np.argmax(squares))
    assert (found[0].layer, found[0].severity) == ("inputs", "warning")
    assert found[0].evidence.startswith(
        f"Column {leaked[0]} of X alone explains 100% of the variance of y, by a straight "
        f"line{others}; of the next best column, {second}, {share(squares[second])}."
    )
    assert f"where column {leaked[0]} comes from" in found[0].remedy


@pytest.mark.parametrize("epochs", [0, 2])
def test_the_facts_are_those_of_the_network_as_it_is(epochs):
    X, y = blobs(0)
    net, loss = mlp(16, between=(BatchNorm,)).build(6, random_state=0, dtype=np.float64), CCE()
    known = {}
    if epochs:
        known = {"history": train(net, loss, Adam(), (X, y), epochs=epochs, random_state=0)}
    facts = health(net, X, y, loss, batch_size=len(X), **known).facts
    shares = np.bincount(y) / len(y)
    expected = {
        "rows": len(X),
        "loss": loss.forward(net.infer(X), y),
        "training_loss": loss.forward(net.forward(X, training=True), y),
        "constant_loss": -(shares * np.log(shares)).sum(),
    }
    assert facts.pop("trained") is bool(epochs)
    assert facts == pytest.approx(expected, rel=1e-6)
    assert abs(facts["loss"] - facts["training_loss"]) > 1e-3


def test_the_constant_of_a_negative_log_likelihood_is_an_entropy():
    X, y = flat_digits(0)
    net = mlp(16, out=10)
    report = health(Sequential([*net.layers, LogSoftmax()]), X, y, NegativeLogLikelihood())
    shares = np.bincount(y) / len(y)
    expected = -(shares * np.log(shares)).sum()
    assert report.facts["constant_loss"] == pytest.approx(expected, rel=1e-3)


def test_clipping_that_bites_only_now_and_then_is_no_fault():
    run = Run(mlp(32), CCE(), SGD(0.1, clip_norm=0.5), blobs(0))
    run.go(seed=0)
    report = health(run.network, *run.data, run.loss, optimizer=run.optimizer)
    assert "gradient clipped to nothing" not in names(report)


# ------------------------------------------------------------------------------- what is known


def test_an_explosion_seen_from_the_history_alone_is_one_of_the_rate():
    X, y = curve(0)
    net = mlp(32, 32, out=1)
    with pytest.warns(DivergenceWarning), np.errstate(all="ignore"):
        history = train(net, MSE(), SGD(2.0), (X, y), epochs=10, random_state=0)
    assert history.stopped.startswith("diverged")
    (first, *_) = health(net, X, y, MSE(), history=history).verdicts
    assert first.name == "learning rate too high" and history.stopped in first.evidence


def test_batches_of_one_row_are_examined():
    X, y = blobs(0)
    net = mlp(16, between=(BatchNorm,))
    report = health(net, X, y, CCE(), optimizer=Adam(), batch_size=1)
    assert names(report)[0] == "BatchNorm with tiny batches"


def test_a_network_that_learned_is_left_alone():
    learn, held = split(rings(0, n=600))
    net = mlp(32, out=2)
    monitor = HealthMonitor()
    train(net, CCE(), Adam(0.02), learn, epochs=30, validation_data=held, callbacks=[monitor],
          random_state=0)  # fmt: skip
    assert names(monitor.report()) == []


def test_what_is_ours_is_not_examined(monkeypatch):
    monkeypatch.setattr(backward_verdicts, "check_gradients", None)
    assert names(health(mlp(8, 8), *blobs(0))) == []


@pytest.mark.parametrize("silenced", [True, False])
def test_a_last_layer_that_holds_a_class_at_one_score_is_named(silenced):
    X, y = blobs(0)
    network = Sequential([Dense(3), *[ReLU()] * silenced]).build(6, random_state=0)
    network[0].params["W"][...] = np.linalg.lstsq(X, 2.0 * np.eye(3)[y], rcond=None)[0]
    if silenced:
        network[0].params["b"][2] = -50  # so that no row of class 2 gets through
    report = health(network, X, y, CCE())
    assert ("class never predicted" in names(report)) == silenced
    if silenced:
        remedy = next(v for v in report.verdicts if v.name == "class never predicted").remedy
        assert remedy.startswith("Leave out the last layer, layers.1 ReLU(): it gives the class 0")
