"""Verdicts on both sides of each of their borders, on evidence written by hand, not trained."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from clinic import CCE, MSE
from evidence_by_hand import columns, evidence, snapshot, tried
from ward_of_backwards import SICK as BACKWARDS

from layerkit import (
    GRU,
    AlphaDropout,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    ReLU,
    Sequential,
)
from layerkit.inspection.diagnosis import (
    backward_verdicts,
    design_verdicts,
    mode_verdicts,
    target_verdicts,
    training_verdicts,
)
from layerkit.inspection.diagnosis.evidence import Evidence, share
from layerkit.inspection.diagnosis.subject import Rows, Subject
from layerkit.optimizers import SGD

pytestmark = pytest.mark.usefixtures("verdicts_in_known_words")

RNG = np.random.default_rng(0)


# ------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("kind", [Dropout, AlphaDropout])
@pytest.mark.parametrize(
    ("rate", "quiet", "noisy", "at_first", "known", "is_named"),
    [
        (0.7, 1.0, 2.0, 2.0, {}, True),
        (0.61, 1.0, 2.0, 2.0, {}, True),
        (0.6, 1.0, 2.0, 2.0, {}, False),
        (0.7, 0.3, 0.41, 1.0, {}, True),
        (0.7, 0.3, 0.39, 1.0, {}, False),  # it learns all the same
        (0.7, 1.0, 1.11, 1.0, {}, True),
        (0.7, 1.0, 1.09, 1.0, {}, False),  # it does no harm
        (0.7, 1.0, 1.0, 1.11, {}, True),  # it did at first
        (0.86, 1.0, 1.0, 1.0, {}, True),
        (0.85, 1.0, 1.0, 1.0, {}, False),
        (0.7, 1.0, 2.0, 2.0, {"trained": False}, False),
    ],
)
def test_dropout_is_too_strong_where_it_does_harm(
    kind, rate, quiet, noisy, at_first, known, is_named
):
    net = Sequential([Dense(20), kind(0.5), kind(rate)]).build(3, random_state=0)
    layers = [SimpleNamespace(layer=layer, path=path) for path, layer in net.walk() if path]
    now, first = snapshot(quiet, noisy, layers), snapshot(1.0, at_first)
    found = mode_verdicts.dropout_too_strong(evidence(now=now, first=first, **known))
    assert (found is not None) == is_named
    now.finite = False
    assert mode_verdicts.dropout_too_strong(evidence(now=now, first=first)) is None
    if is_named:
        assert (found.layer, found.severity) == ("layers.2", "warning")
        assert f"drops {rate:.0%} of 20 values, leaving {20 * (1 - rate):.3g} a" in found.evidence
        assert f"{noisy:.3g} with dropout and {quiet:.3g} without" in found.evidence
        assert found.remedy == f"Lower it to {kind.__name__}(rate=0.2)."


# ------------------------------------------------------------------------------- BatchNorm


@pytest.mark.parametrize(
    ("layers", "shape", "batch_size", "severity", "values", "enough"),
    [
        ([Dense(4), BatchNorm()], (3,), 8, None, 8, 0),
        ([Dense(4), BatchNorm()], (3,), 7, "warning", 7, 32),
        ([Dense(4), BatchNorm()], (3,), 4, "warning", 4, 32),
        ([Dense(4), BatchNorm()], (3,), 3, "critical", 3, 32),
        ([Conv2D(4, 3), BatchNorm()], (4, 4, 1), 2, None, 8, 0),  # four places each
        ([Conv2D(4, 3), BatchNorm()], (4, 4, 1), 1, "warning", 4, 32),
        ([Dense(4), BatchNorm()], (3,), None, None, 0, 0),
    ],
)
def test_batches_are_tiny_below_eight_values(layers, shape, batch_size, severity, values, enough):
    net = Sequential(layers).build(shape, random_state=0, dtype=np.float64)
    X = RNG.standard_normal((40, *shape))
    rows = Rows(X, RNG.standard_normal((40, *net.output_shape)))
    found = mode_verdicts.batchnorm(Evidence(Subject(net, MSE(), rows, batch_size=batch_size)))
    assert (found and found.severity) == severity
    if found:
        assert found.name == "BatchNorm with tiny batches"
        assert f"Batches of {batch_size} rows give it {values} values" in found.evidence
        assert f"off by about {np.sqrt(2 / (values - 1)):.0%}." in found.evidence
        assert f"batch_size={enough} or more" in found.remedy


@pytest.mark.parametrize(
    ("mean", "var", "loss", "is_named"),
    [
        (0.51, 1.0, 2.0, True),
        (0.49, 1.0, 2.0, False),
        (-0.51, 1.0, 2.0, True),
        (0.0, 2.01, 2.0, True),
        (0.0, 1.99, 2.0, False),
        (0.0, 0.49, 2.0, True),
        (9.0, 1.0, 1.33, True),  # 1.3 times the loss in training, and 0.02 of a constant's
        (9.0, 1.0, 1.31, False),
    ],
)
def test_statistics_are_stale_where_they_lie_apart_and_the_loss_says_so(mean, var, loss, is_named):
    net = Sequential([BatchNorm(momentum=0.25, eps=1e-9)]).build(3, dtype=np.float64)
    net[0].buffers["running_mean"][...], net[0].buffers["running_var"][...] = 4 * mean, 16 * var
    fresh = {"running_mean": np.zeros(3), "running_var": np.full(3, 16.0)}
    layers = [SimpleNamespace(layer=net[0], path="layers.0")]
    now = snapshot(loss, 1.0, layers, fresh_buffers={"layers.0": fresh})
    known = {"now": now, "network": net, "subject": SimpleNamespace(batch_size=None)}
    found = mode_verdicts.batchnorm(evidence(**known))
    assert (found is not None) == is_named
    assert mode_verdicts.batchnorm(evidence(**known, trained=False)) is None
    if is_named:
        assert (found.name, found.layer) == ("BatchNorm with stale statistics", "layers.0")
        assert found.severity == "critical"
        factor = max(var, 1 / var)
        assert f"mean after 20 steps lies {abs(mean):.2g} deviations from" in found.evidence
        assert f"off by a factor of {factor:.2g}." in found.evidence
        assert f"1 in training mode and {loss:.3g} in inference" in found.evidence
        assert "(it is 0.25: the weight of a new batch)" in found.remedy


@pytest.mark.parametrize(
    ("apart", "shift", "loss", "lost"),
    [
        (3.0, 0.0, CCE(), 0.67),
        (-3.0, 0.0, CCE(), 0.65),
        (1.01, 0.0, CCE(), 0.41),
        (0.99, 0.0, CCE(), None),  # not twice as far as what is stale
        (3.0, -99.0, CCE(), None),  # of classes that no row has
        (3.0, 0.0, MSE(), None),
    ],
)
def test_statistics_are_stale_where_classes_are_lost_though_the_loss_hardly_tells(
    apart, shift, loss, lost
):
    net = Sequential([BatchNorm(eps=1e-9)]).build(3, dtype=np.float64)
    net[0].params["beta"][:2] = shift
    X = np.random.default_rng(0).standard_normal((300, 3))
    y = net.forward(X, training=True).argmax(axis=1)
    mean, var = X.mean(axis=0), X.var(axis=0)
    fresh = {"running_mean": mean.copy(), "running_var": var}
    net[0].buffers["running_mean"][...], net[0].buffers["running_var"][...] = mean, var
    net[0].buffers["running_mean"][:2] += apart * np.array([1, -1]) * np.sqrt(var[:2])
    layers = [SimpleNamespace(layer=net[0], path="layers.0")]
    now = snapshot(1.0, 1.0, layers, fresh_buffers={"layers.0": fresh})
    known = {"now": now, "network": net, "subject": SimpleNamespace(batch_size=None)}
    found = mode_verdicts.batchnorm(evidence(**known, loss=loss, probed=Rows(X, y)))
    assert (found is not None) == (lost is not None)
    if lost:
        said = re.search(r"([\d.]+)% of the rows lose their right class", found.evidence)
        assert float(said[1]) / 100 == pytest.approx(lost, abs=0.01)


# ------------------------------------------------------------------------------- rehearsals


def rehearsals(before, after, broke=("", "")):
    """Losses of a training as it is, and changed; the change is tried on a network."""

    def rehearse_as(change=None):
        if change is not None:
            rehearse_as.changed = Sequential([Dense(1)]).build(1), SGD(0.1, clip_norm=1.0)
            rehearse_as.changed[0].trainable = False
            change(*rehearse_as.changed)
        return np.full(12, before if change is None else after), broke[change is not None]

    return rehearse_as


FEW = {"rows": np.zeros(59)}  # too few to hold some of them out
CURES = [
    (0.9, 0.67, ("", ""), True),
    (0.9, 0.68, ("", ""), False),  # 0.75 times as much, or it is no cure
    (0.41, 0.3, ("", ""), True),
    (0.39, 0.1, ("", ""), False),  # it learns all the same
    (0.9, 0.1, ("", "layers.0"), False),  # without it, training breaks off
    (0.1, 5.0, ("layers.0", ""), True),  # with it, it does
]


def features(units):
    """A network of frozen features of three inputs."""
    net = Sequential([Dense(units), ReLU(), Dense(1)]).build(3, random_state=0)
    net[0].trainable = False
    return net


WIDE, NARROW = features(30), features(29)


def sick_by_design():
    """Evidence of a fault in the design, with what must be said of it, for each verdict."""
    net = Sequential([Dense(2), ReLU(), Dense(1)]).build(3, random_state=0)
    net[0].trainable = False
    steep = [SimpleNamespace(layer=net[0], path="layers.0", gradient_norm=30.0),
             SimpleNamespace(layer=net[2], path="layers.2", gradient_norm=40.0)]  # fmt: skip
    first = snapshot(1.0, 1.0, steep)
    return {
        "frozen layers": (design_verdicts.frozen_layers, FEW | {"network": net}, "layers.0",
                          "1 layers with 8 of 11 parameters are frozen (layers.0)",
                          "Set trainable = True on layers.0 before"),
        "gradient clipped to nothing": (design_verdicts.clipped_gradient,
                                        {"optimizer": SGD(0.1, clip_norm=0.4), "first": first},
                                        "optimizer", "norm 50, clip_norm=0.4 leaves 0.008 of it",
                                        "Set clip_norm to about the norm of a usual gradient, 50,"),
        "weight decay too strong": (design_verdicts.weight_decay_too_strong,
                                    {"optimizer": SGD(0.1, weight_decay=0.03)}, "optimizer",
                                    "weight_decay=0.03 takes", "from 0.03 to 1e-4"),
    }  # fmt: skip


@pytest.mark.parametrize(("before", "after", "broke", "is_named"), CURES)
@pytest.mark.parametrize("name", sick_by_design())
def test_a_fault_of_the_design_is_named_where_only_its_cure_learns(
    name, before, after, broke, is_named
):
    check, known, layer, said, remedy = sick_by_design()[name]
    rehearse_as = rehearsals(before, after, broke)
    found = check(evidence(**known, rehearse_as=rehearse_as))
    assert (found is not None) == is_named
    if is_named:
        assert (found.name, found.layer, found.severity) == (name, layer, "critical")
        assert said in found.evidence and found.remedy.startswith(("Set", "Lower"))
        assert remedy in found.remedy and "rehearsal of 12 steps" in found.evidence
        assert f"to {after:.3g}" in found.evidence
        end = f"{before:.3g}" if not broke[0] else "breaks off" if "decay" in name else "inf"
        assert end in found.evidence
    network, optimizer = rehearse_as.changed
    assert network.trainable == (name == "frozen layers")
    assert (optimizer.clip_norm is None) == ("clipped" in name)
    assert optimizer.weight_decay == 0


@pytest.mark.parametrize(
    ("name", "known", "is_named"),
    [
        ("frozen layers", {"now": snapshot(0.39, 1.0)}, False),
        ("frozen layers", {"now": snapshot(0.41, 1.0)}, True),
        ("frozen layers", {"now": snapshot(1.0, 1.0, finite=False)}, False),
        ("frozen layers", {"network": Sequential([Dense(2)]).build(3)}, False),
        ("frozen layers", {"network_explains": 0.49}, True),
        ("frozen layers", {"network_explains": 0.51}, True),
        ("frozen layers", {"network": WIDE, "network_explains": 0.49}, True),
        ("frozen layers", {"network": WIDE, "network_explains": 0.51}, False),  # they serve
        ("frozen layers", {"network": WIDE, "network_explains": 0.49, "trained": False}, False),
        ("frozen layers", {"network": NARROW, "network_explains": 0.49, "trained": False}, True),
        ("frozen layers", {"network": NARROW, "network_explains": 0.51}, True),
        ("frozen layers", {"rows": np.zeros(60)}, True),
        ("frozen layers", {"rows": np.zeros(60), "tried": tried([0.89] * 50, [0.9] * 50)}, True),
        ("frozen layers", {"rows": np.zeros(60), "tried": tried([0.91] * 50, [0.9] * 50)}, False),
        ("frozen layers", {"rows": np.zeros(59), "tried": tried([0.91] * 50, [0.9] * 50)}, True),
        ("frozen layers", {"rows": np.zeros(60), "tried": tried([0, 2.7], [0.2, 2.4])}, True),
        ("frozen layers", {"rows": np.zeros(60), "tried": tried([0.4, 2.6], [0, 2.4])}, False),
        ("gradient clipped to nothing", {"optimizer": SGD(0.1, clip_norm=0.51)}, False),
        ("gradient clipped to nothing", {"optimizer": SGD(0.1, clip_norm=0.49)}, True),
        ("gradient clipped to nothing", {"optimizer": SGD(0.1, clip_value=0.49)}, True),
        ("gradient clipped to nothing", {"optimizer": SGD(0.1, clip_value=0.51)}, False),
        ("gradient clipped to nothing", {"optimizer": SGD(0.1)}, False),
        ("gradient clipped to nothing", {"optimizer": None}, False),
        ("gradient clipped to nothing", {"now": snapshot(1.0, 0.39)}, False),
        ("gradient clipped to nothing", {"now": snapshot(1.0, 0.41)}, True),
        ("gradient clipped to nothing", {"now": snapshot(1.0, 0.39), "trained": False}, True),
        ("weight decay too strong", {"optimizer": SGD(0.1, weight_decay=0.02)}, False),
        ("weight decay too strong", {"optimizer": SGD(0.1, weight_decay=0.021)}, True),
        ("weight decay too strong", {"optimizer": None}, False),
        ("weight decay too strong", {"now": snapshot(1.0, 0.39)}, False),
        ("weight decay too strong", {"now": snapshot(1.0, 0.41)}, True),
        ("weight decay too strong", {"now": snapshot(1.0, 0.39), "trained": False}, True),
        ("weight decay too strong", {"first": snapshot(1.0, 1.0, finite=False)}, False),
    ],
)
def test_a_fault_of_the_design_is_suspected_from_its_border_on(name, known, is_named):
    check, usual, *_ = sick_by_design()[name]
    found = check(evidence(**usual | known, rehearse_as=rehearsals(0.9, 0.1)))
    assert (found is not None) == is_named


# ------------------------------------------------------------------------------- validation data


@pytest.mark.parametrize("part", ["X", "y"])
@pytest.mark.parametrize(
    ("mean", "std", "column"),
    [
        ([0, 0, 0], [1, 1, 1], None),
        ([3.1, 3.1, 0], [1, 1, 1], 0),
        ([2.9, -2.9, 0], [1, 1, 1], None),
        ([0, -3.1, -3.2], [1, 1, 1], 2),
        ([0, 0, 0], [5.1, 5.2, 1], 1),
        ([0, 0, 0], [4.9, 4.9, 1], None),
        ([0, 0, 0], [1 / 5.1, 1, 1 / 5.2], 2),
        ([0, 0, 0], [1 / 4.9, 1, 1 / 4.9], None),
        ([30.1, 0, 0], [1, 1, 1], 0),  # a single column must lie further off
        ([29.9, 0, 0], [1, 1, 1], None),
        ([0, 0, 0], [1, 1, 50.1], 2),
        ([0, 0, 0], [1, 1, 49.9], None),
        ([90, 0, 0], [0, 1, 1], None),  # a column that is constant in either tells nothing
    ],
)
def test_validation_data_lies_on_another_scale_from_three_deviations_on(part, mean, std, column):
    train, held = columns([0] * 3, [1] * 3), columns(mean, std)
    other = np.zeros((400, 3))
    rows, held_out = (
        Rows(each, other) if part == "X" else Rows(other, each) for each in (train, held)
    )
    known = {"rows": rows, "loss": MSE(), "subject": SimpleNamespace(watched=None)}
    found = target_verdicts.validation_on_another_scale(evidence(**known, validation=held_out))
    assert (found is not None) == (column is not None)
    if found:
        assert found.layer == ("inputs" if part == "X" else "targets")
        assert found.severity == "critical" and found.evidence.startswith(f"{part} of the")
        assert f"column {column}: mean 0 and deviation 1 in training, " in found.evidence
        shown = f"{mean[column]:.3g} and {std[column]:.3g} in validation"
        assert shown in found.evidence
    known["subject"] = SimpleNamespace(watched=held_out)  # as a monitor saw them
    seen = target_verdicts.validation_on_another_scale(evidence(**known, validation=None))
    assert seen == found
    few = held_out.take(slice(9))
    assert target_verdicts.validation_on_another_scale(evidence(**known, validation=few)) is None
    constant = Rows(rows.X * 0, rows.y * 0)  # where the training data do not move
    known["rows"] = constant
    known["subject"] = SimpleNamespace(watched=None)
    found = target_verdicts.validation_on_another_scale(evidence(**known, validation=held_out))
    assert found is None


# ------------------------------------------------------------------------------- how it fits


def course(**columns):
    """A training with these columns in its history."""
    losses = np.asarray(columns.get("loss", np.ones(20)), float)
    return SimpleNamespace(
        losses=losses,
        steps=10 * len(losses),
        diverged=False,
        stopped="",
        column=lambda name: np.asarray(columns.get(name, ()), float),
    )


def fits(n=40, n_params=1000, **known):
    """Evidence of how well a network fits n rows, with nothing to be said."""
    usual = {
        "network": SimpleNamespace(n_params=n_params, output_shape=(1,), walk=tuple),
        "rows": Rows(np.zeros((n, 2)), np.zeros((n, 1))),
        "probed": SimpleNamespace(X=np.zeros((n, 3, 2))),
        "validation": None,
        "validation_loss": np.nan,
        "surprise": 0.0,
        "steps": 200,
        "course": course(),
    }
    return evidence(**(usual | known))


@pytest.mark.parametrize(
    ("held", "end", "best", "is_named"),
    [
        ([9, 4, 5.04], 3.0, 2, True),
        ([9, 4, 4.99], 2.9, 2, False),  # 1.25 times the best
        ([9, 4, 8], 4.79, 2, True),
        ([9, 4, 8], 4.81, 2, False),  # 0.6 times the loss in training
        ([9] * 7 + [4, 8, 8], 1.0, 8, True),
        ([9] * 8 + [4, 8], 1.0, 9, False),  # so late that it may come back
        ([4, 8], 1.0, 1, False),
        ([9, 4, np.nan], 1.0, 2, False),
    ],
    ids=str,
)
def test_a_validation_loss_that_rises_is_overfitting(held, end, best, is_named):
    loss = [*range(20, 20 - len(held) + 1, -1), end]
    e = fits(course=course(loss=loss, validation_loss=held), trained=False)
    found = training_verdicts.overfitting(e)
    assert (found is not None) == is_named
    if is_named:
        assert (found.name, found.layer, found.severity) == ("overfitting", "network", "warning")
        assert found.evidence == (
            f"The validation loss was lowest in epoch {best} (4) and rose to {held[-1]:.3g} in "
            f"epoch {len(held)}, while the training loss fell from {loss[best - 1]:.3g} to "
            f"{end:.3g}. There are 1,000 parameters for 40 rows."
        )
        assert f": epoch {best} was best)" in found.remedy


@pytest.mark.parametrize(
    ("inside", "outside", "is_named"),
    [
        (2.0, 4.0, True),
        (4.9, 7.6, True),
        (5.1, 9.0, False),  # it learned less than half of what a constant leaves
        (2.0, 6.1, True),
        (2.0, 5.9, False),  # and keeps half of it
        (2.0, 40.0, True),
    ],
)
@pytest.mark.parametrize("how", ["data", "history"])
def test_a_validation_loss_that_stays_behind_is_overfitting(how, inside, outside, is_named):
    known = {"constant": 10.0, "now": snapshot(inside, 1.0)}
    if how == "data":
        known |= {"validation": Rows(np.zeros((9, 2)), np.zeros(9)), "validation_loss": outside}
    else:
        known["now"] = snapshot(9.0, 1.0)
        known["course"] = course(loss=[9.0, inside], validation_loss=[9.0, outside])
    is_named = is_named and outside > 5.99
    found = training_verdicts.overfitting(fits(**known))
    assert (found is not None) == is_named
    assert training_verdicts.overfitting(fits(**known, trained=False)) is None
    if is_named:
        assert f"{inside:.3g} on the training rows and {outside:.3g} on the" in found.evidence
        assert "a constant prediction has 10." in found.evidence
        assert "was best" not in found.remedy


@pytest.mark.parametrize(
    ("known", "is_named"),
    [
        ({}, True),
        ({"n": 20}, True),
        ({"n": 19}, False),
        ({"n": 149}, True),
        ({"n": 150}, False),
        ({"n_params": 41}, True),
        ({"n_params": 40}, False),
        ({"network_explains": 0.91}, True),
        ({"network_explains": 0.89}, False),
        ({"surprise": 3.51}, False),
        ({"surprise": 3.49}, True),
        ({"neighbours_explain": 0.09}, True),
        ({"neighbours_explain": 0.11}, False),
        ({"trained": False}, False),
        ({"now": snapshot(0.1, 0.1, finite=False)}, False),
        ({"course": course(loss=[1, 1], validation_loss=[1, 1])}, False),
    ],
)
def test_few_rows_that_are_learned_by_heart_are_overfitting(known, is_named):
    found = training_verdicts.overfitting(fits(**{"network_explains": 0.95} | known))
    assert (found is not None) == is_named
    if found:
        assert f"explains {known.get('network_explains', 0.95):.0%} of the var" in found.evidence
        assert f"row explain {known.get('neighbours_explain', 0):.2f}, and" in found.evidence


UNIT = SimpleNamespace(layer=Dense(12).build(2), path="layers.0")
LONG = course(loss=[1.0] * 30)  # so many that its last third can be seen to rest
SHORT = course(loss=[1.0] * 29)


@pytest.mark.parametrize(
    ("known", "is_named"),
    [
        ({}, True),
        ({"network_explains": 0.29}, True),
        ({"network_explains": 0.31}, False),  # 0.2 less than the neighbours
        ({"network_explains": 0.79, "neighbours_explain": 1.0}, True),
        ({"network_explains": 0.81, "neighbours_explain": 1.02}, False),
        ({"neighbours_explain": 0.0, "linear_explains": 0.31, "course": LONG}, True),
        ({"neighbours_explain": 0.0, "linear_explains": 0.29, "course": LONG}, False),
        ({"neighbours_explain": 0.0, "linear_explains": 1.0, "course": SHORT}, False),
        ({"linear_explains": 1.0, "course": SHORT}, True),
        ({"network": WIDE, "network_explains": 0.49, "neighbours_explain": 1.0}, True),
        ({"network": WIDE, "network_explains": 0.51, "neighbours_explain": 1.0}, False),
        ({"network": NARROW, "network_explains": 0.51, "neighbours_explain": 1.0}, True),
        ({"network_explains": np.nan}, False),
        ({"surprise": 3.4, "neighbours_explain": 0.51}, True),
        ({"surprise": 3.4, "neighbours_explain": 0.49}, False),
        ({"course": course(loss=[3.0] * 4 + [1.0] * 4 + [0.91] * 4)}, True),
        ({"course": course(loss=[3.0] * 4 + [1.0] * 4 + [0.89] * 4)}, False),  # it still falls
        ({"course": course(loss=[3.0] * 20 + [1.0] * 5 + [0.96] * 5)}, True),  # not any more
        ({"course": course(loss=[3.0] * 20 + [1.0] * 5 + [0.94] * 5)}, False),
        ({"course": course(loss=[3.0] * 16 + [1.0] * 4 + [0.96] * 4)}, False),  # by few epochs
        ({"course": course(loss=[0.41] * 12)}, True),
        ({"course": course(loss=[0.39] * 12)}, False),
        ({"course": course(loss=[1.0] * 6)}, True),
        ({"course": course(loss=[1.0] * 5)}, False),
        ({"steps": 20}, True),
        ({"steps": 19}, False),
        ({"steps": 0}, True),  # nobody counted
        ({"n": 30}, True),
        ({"n": 29}, False),
        ({"trained": False}, False),
        ({"now": snapshot(1.0, 1.0, finite=False)}, False),
        ({"now": snapshot(1.0, 1.01, [UNIT, UNIT])}, True),
        ({"now": snapshot(1.0, 1.03, [UNIT, UNIT])}, False),  # a constant needs no more units
    ],
)
def test_a_loss_at_rest_is_underfitting_where_neighbours_know_more(known, is_named):
    usual = {"neighbours_explain": 0.5, "surprise": 9.0, "network_explains": 0.1}
    usual["linear_explains"] = 0.0
    if "now" not in known:
        hidden = [SimpleNamespace(layer=Dense(n).build(2), path=f"layers.{n}")
                  for n in (5, 12, 3, 30)]  # fmt: skip
        known = {"now": snapshot(1.0, 1.0, hidden)} | known
    found = training_verdicts.underfitting(fits(**usual | known))
    assert (found is not None) == is_named
    if found:
        told = usual | known
        own, neighbours = told["network_explains"], told["neighbours_explain"]
        straight = told["linear_explains"]
        assert (found.name, found.layer, found.severity) == ("underfitting", "network", "warning")
        assert f"network explains {own:.0%} of the variance" in found.evidence
        linear = straight > neighbours and told.get("course") is LONG
        better = f"a linear model explains {straight:.0%}." if linear else f"{neighbours:.0%}."
        assert better in found.evidence
        frozen = (
            sum(p.size for p in known["network"][0].params.values()) if "network" in known else 0
        )
        told = f" parameters, {frozen} of them frozen, for" if frozen else " parameters for"
        assert told in found.evidence
        assert found.remedy.startswith(
            "Use more units (the widest hidden layer has 12): Dense(96), ReLU()."
        )


@pytest.mark.parametrize(
    ("widest", "said"),
    [
        (Dense(12), "Use more units (the widest hidden layer has 12): Dense(96), ReLU(). Or one"),
        (GRU(12), "Use more units: layers.0 GRU, the widest hidden layer, has 12; give it 96. Or"),
        (
            Conv1D(1, 1),
            "Use more units: layers.0 Conv1D, the widest hidden layer, has 1; give it",
        ),
    ],
    ids=["Dense", "GRU", "Conv1D"],
)
def test_more_units_are_asked_for_in_the_layer_that_has_most(widest, said):
    shape = (4, 2) if not isinstance(widest, Dense) else 2
    layers = [SimpleNamespace(layer=layer, path=f"layers.{i}")
              for i, layer in enumerate([widest.build(shape), Dense(1).build(3)])]  # fmt: skip
    known = {"neighbours_explain": 0.5, "surprise": 9.0, "now": snapshot(1.0, 1.0, layers)}
    assert training_verdicts.underfitting(fits(**known)).remedy.startswith(said)


BODY = Sequential([Dense(2), ReLU(), Dense(1)]).build(3, random_state=0)
BODY[0].trainable = False
TRAINED = Sequential([Dense(2), ReLU(), Dense(1)]).build(3, random_state=0)
TRAINED[0].trainable, TRAINED[0].params["b"][0] = False, 1.0


@pytest.mark.parametrize(
    ("network", "n", "after", "name"),
    [
        (BODY, 60, [0.7] * 25 + [0.9] * 25, "frozen layers"),
        (BODY, 59, [0.7] * 25 + [0.9] * 25, "underfitting"),
        (BODY, 60, [0.73, 1.0] * 25, "frozen layers"),  # 7 standard errors
        (BODY, 60, [0.45, 1.4] * 25, "underfitting"),  # 1.1 of them
        (TRAINED, 60, [0.7] * 25 + [0.9] * 25, "underfitting"),  # not as it was drawn
    ],
)
def test_layers_that_are_frozen_as_drawn_come_before_too_few_units(network, n, after, name):
    layers = [SimpleNamespace(layer=network[i], path=f"layers.{i}") for i in (0, 2)]
    known = {"neighbours_explain": 0.5, "surprise": 9.0, "now": snapshot(1.0, 1.0, layers)}
    found = training_verdicts.underfitting(
        fits(n, **known, network=network, tried=tried(after, np.ones(50)))
    )
    assert found.name == name
    if name == "frozen layers":
        assert f"held out comes to 1 with them and to {np.mean(after):.3g} when" in found.evidence


# ------------------------------------------------------------------------------- one class


@pytest.mark.parametrize(
    ("predicted", "actual", "bias", "caused", "remedy"),
    [
        ((200, 0), (100, 100), 0.0, False, "Set the bias"),
        ((200, 0), (100, 100), 9.0, True, "Set the bias"),
        ((198, 2), (100, 100), 0.0, False, "Set the bias"),
        ((197, 3), (100, 100), 0.0, None, ""),
        ((200, 0), (141, 59), 0.0, True, "Weight the classes"),
        ((200, 0), (139, 61), 0.0, False, "Set the bias"),
        ((200, 0), (197, 3), 0.0, True, "Weight the classes"),
        ((200, 0), (198, 2), 0.0, None, ""),
        ((0, 200), (100, 100), 0.0, False, "Set the bias"),
    ],
)
def test_one_class_for_all_rows_is_a_collapse(predicted, actual, bias, caused, remedy):
    given = np.repeat([0, 1], predicted)
    outputs = np.where(np.eye(2)[given], 1.0, -1.0) * np.linspace(0.5, 1, 200)[:, None]
    head = Dense(2).build(3)
    head.params["b"][...] = bias, 0
    last = SimpleNamespace(layer=head, path="layers.1")
    now = snapshot(1.0, 1.0, [last], outputs=outputs)
    rows = Rows(np.zeros((200, 3)), np.repeat([0, 1], actual))
    known = {"now": now, "rows": rows, "loss": CCE()}
    found = {cause: training_verdicts.one_class(evidence(**known), caused=cause)
             for cause in (True, False)}  # fmt: skip
    assert [cause for cause, verdict in found.items() if verdict] == [caused] * (caused is not None)
    if caused is not None:
        verdict, top = found[caused], int(predicted[1] > predicted[0])
        assert (verdict.layer, verdict.severity) == ("layers.1", "critical")
        right = int(np.sum((given != top) & (given == rows.y)))
        assert f"Class {top} is predicted for {share(max(predicted) / 200)} of" in verdict.evidence
        said = f"{share(actual[top] / 200)} have it: {right} of the {actual[1 - top]} rows"
        assert said in verdict.evidence
        assert ("layers.1 are 9 apart" in verdict.evidence) == (bias == 9)
        assert verdict.remedy.startswith(remedy)
    assert training_verdicts.one_class(evidence(**known, trained=False), bool(caused)) is None


# ------------------------------------------------------------------------------- backward

# The layer that is named, and what its remedy guesses.
GUESSES = {
    "negated_bias": "NegatedBias. Its sign is turned.",
    "untransposed": "Untransposed.",
    "accumulating": "Accumulating. It must overwrite: self.grads['W'][...] = ...",
    "forgotten_bias": "ForgottenBias. It must write all of self.grads['b'][...], zeros where",
    "odd_batch": "Even. It holds for 8 rows, but not for 7.",
    "doubled": "Double. It is 2 times too large: a sum where a mean is meant, or a factor.",
    "old_codes": "OldCodes. It must write all of self.grads['W'][...], zeros where",
    "on_the_input": "OnTheInput. Work on a copy. `print(check_gradients(network, x=X[:8]))`",
    "steep_log_cosh": "SteepLogCosh. `print(check_loss_gradients(loss, y_pred, y_true))`",
}


def examined(run):
    """The evidence of a run before its first step."""
    X, y = run.data
    run.network.build(X.shape[1:], random_state=0)
    return Evidence(Subject(run.network, run.loss, Rows(X, y), batch_size=run.batch_size))


@pytest.mark.parametrize("case", BACKWARDS, ids=lambda case: case.name)
def test_a_wrong_backward_is_named_at_once_and_a_right_one_is_not(case):
    e = examined(case.make(0))
    found = backward_verdicts.wrong_backward(e)
    assert (found.name, found.severity) == ("wrong backward", "critical")
    assert found.remedy.startswith(f"Correct the backward of {GUESSES.get(case.name, '')}")
    assert found.remedy.endswith("shows every array.")
    named = found.remedy.split()[4].rstrip(".")
    assert named in found.evidence and (named in found.layer or found.layer == "loss")
    assert backward_verdicts.wrong_backward(examined(case.cured(0))) is None
