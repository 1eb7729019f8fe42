"""What verdicts are based on, each piece held to what it is by hand."""

import copy
import math

import numpy as np
import pytest
import scipy.sparse as sp
from clinic import CCE, MSE
from errors import raises_exactly

from layerkit import BatchNorm, Dense, Embedding, LayerNorm, ReLU, Sequential
from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis.evidence import (
    Course,
    Evidence,
    Trial,
    _without_bad,
    level,
    looks_fresh,
    share,
    spread,
)
from layerkit.inspection.diagnosis.subject import Rows, Subject
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.sequences import Sequences
from layerkit.training import History

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 2))
WEIGHT = RNG.random(40) * (np.arange(40) % 5 > 0)


def small(**known):
    network = Sequential([Dense(4), ReLU(), Dense(2)]).build(3, random_state=0, dtype=np.float64)
    return Subject(**{"network": network, "loss": MSE(), "rows": Rows(X, Y)} | known)


# ------------------------------------------------------------------------------- trials


@pytest.mark.parametrize(
    ("mine", "others", "better", "clearly"),
    [
        ([1.0] * 4, [2.0] * 4, True, True),
        ([2.0] * 4, [1.0] * 4, False, False),
        ([1.0] * 4, [1.0] * 4, False, False),
        ([0.74] * 4, [1.0] * 4, True, True),
        ([0.76] * 4, [1.0] * 4, True, False),  # by a quarter
        ([0.0] * 4, [2.01, 0.0] * 2, True, False),  # 1.005 and an error of 0.5025
        ([0.0] * 4, [3.2, 0.0, 0.0, 0.0], True, False),  # 0.8 and 0.69
        ([0.4, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], False, False),  # 0.15 and 0.26
        ([0.0] * 36, [2.01, 0.0] * 18, True, True),  # three errors are 0.5025
        ([0.0] * 8, [2.0, 0.0] * 4, True, False),  # three errors are 1.06
        ([0.0] * 10, [2.0, 0.0] * 5, True, True),  # 0.95
        ([1.0] * 4, [np.inf] * 4, None, True),
        ([np.inf] * 4, [np.inf] * 4, None, False),
        ([np.inf] * 4, [1.0] * 4, None, False),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_a_trial_is_better_by_its_errors_and_clearly_by_three_and_a_quarter(
    mine, others, better, clearly
):
    one, other = Trial(np.array(mine), 240), Trial(np.array(others), 240)
    assert one.clearly_better(other) is clearly
    assert one.loss == pytest.approx(np.mean(mine))
    if better is not None:
        assert one.better_than(other) is better


class Watched:
    """In the place of a rehearsal: what it was asked for, and how it ends."""

    def __init__(self, broke=""):
        self.calls, self.broke = [], broke

    def __call__(self, network, loss, optimizer, rows, factor, steps, size, change, enough):
        self.calls.append((network, loss, optimizer, rows, factor, steps, size, enough))
        if change is not None:
            change(copy.deepcopy(network), copy.deepcopy(optimizer))
        return np.full(7, 0.5), self.broke


def doubled(network, optimizer):
    network.flat_params[...] *= 2
    optimizer.learning_rate *= 2


def exchanged(network, optimizer):
    return Sequential([Dense(2)]).build(3, random_state=5, dtype=np.float64)


OF_OTHERS = np.ones(40)  # 0 for all rows that are held out
OF_OTHERS[np.random.default_rng(0).permutation(40)[:10]] = 0


@pytest.mark.parametrize("weight", [None, WEIGHT, OF_OTHERS], ids=["none", "some", "of others"])
@pytest.mark.parametrize("change", [None, doubled, exchanged])
def test_a_trial_is_of_the_quarter_of_the_rows_that_were_held_out(monkeypatch, change, weight):
    e = Evidence(small(rows=Rows(X, Y, weight), optimizer=SGD(0.1), batch_size=10))
    monkeypatch.setattr(probes, "rehearse", watched := Watched())
    trial = e.tried(change)
    ((network, loss, optimizer, rows, factor, steps, size, enough),) = watched.calls
    assert (loss, factor, steps, size) == (e.loss, 1.0, 240, 10)
    assert enough == pytest.approx(0.05 * e.constant)
    order = np.random.default_rng(0).permutation(40)
    np.testing.assert_array_equal(rows.X, X[order[10:]])
    np.testing.assert_array_equal(rows.y, Y[order[10:]])
    used = copy.deepcopy(network)
    if change is not None:
        used = change(used, copy.deepcopy(optimizer)) or used
    held = order[:10]
    by_row = np.square(used.infer(X[held]) - Y[held]).mean(axis=1)
    if weight is not None:
        np.testing.assert_array_equal(rows.weight, weight[order[10:]])
        by_row *= weight[held] / (weight[held].mean() or 1)
    np.testing.assert_allclose(trial.losses, by_row)
    assert trial.steps == 7
    assert e.tried(change) is trial and len(watched.calls) == 1  # once for each change
    e.tried(lambda network, optimizer: None)
    assert len(watched.calls) == 2


def test_a_trial_that_breaks_off_has_learned_nothing(monkeypatch):
    monkeypatch.setattr(probes, "rehearse", Watched("layers.0"))
    np.testing.assert_array_equal(Evidence(small()).tried().losses, np.full(10, np.inf))


@pytest.mark.parametrize(
    ("counted", "epochs", "size", "steps", "trial", "rehearsal", "longer"),
    [
        (0, 0, None, 0, 240, 60, 240),
        (0, 9, None, 0, 240, 60, 240),  # nobody knows how many steps an epoch had
        (0, 9, 15, 27, 240, 60, 240),
        (50, 9, 15, 50, 240, 50, 50),
        (100, 9, 15, 100, 240, 60, 100),
        (300, 9, 15, 300, 300, 60, 240),
        (9000, 9, 15, 9000, 3000, 60, 240),
    ],
)
def test_rehearsals_are_as_long_as_training_was_within_bounds(
    monkeypatch, counted, epochs, size, steps, trial, rehearsal, longer
):
    course = Course(np.ones(epochs), steps=counted)
    e = Evidence(small(batch_size=size), course=course)
    assert e.steps == steps
    monkeypatch.setattr(probes, "rehearse", watched := Watched())
    e.tried()
    assert e.rehearse(0.1) is e.rehearse(0.1)  # once for each factor
    e.rehearse_as(doubled)
    some = Rows(X[:5], Y[:5])
    e.rehearse_as(None, some)
    found = [(call[4], call[5]) for call in watched.calls]
    assert found == [(1.0, trial), (0.1, rehearsal), (1.0, longer), (1.0, longer)]
    whole = e.rows
    assert [call[3] for call in watched.calls[1:]] == [whole, whole, some]
    assert all(call[6] == (size or 32) for call in watched.calls)
    assert all(isinstance(call[2], Adam) for call in watched.calls)  # the usual one
    assert [call[7] for call in watched.calls[1:]] == [-math.inf] * 3


@pytest.mark.parametrize(
    ("optimizer", "size", "known", "used", "batch"),
    [
        (SGD(0.1), 1, SGD, SGD, 2),  # a normalization needs two
        (SGD(0.1), 2, SGD, SGD, 2),
        (None, None, type(None), Adam, 32),
        (LBFGS(), None, type(None), Adam, 32),  # it takes no steps in batches
    ],
)
def test_a_rehearsal_steps_in_batches(monkeypatch, optimizer, size, known, used, batch):
    e = Evidence(small(optimizer=optimizer, batch_size=size))
    monkeypatch.setattr(probes, "rehearse", watched := Watched())
    e.rehearse(1.0)
    assert type(e.optimizer) is known
    assert (type(watched.calls[0][2]), watched.calls[0][6]) == (used, batch)


@pytest.mark.parametrize(
    "n, size", [(8, 32), (131, 32), (132, 33), (511, 127), (516, 128), (900, 128)]
)
def test_a_batch_size_that_nobody_told_is_a_quarter_of_the_rows_within_bounds(n, size):
    rows = Rows(np.ones((n, 3)), np.ones((n, 2)))
    assert Evidence(small(rows=rows)).batch_size == size
    assert Evidence(small(rows=rows, batch_size=7)).batch_size == 7


# ------------------------------------------------------------------------------- networks


def moved(at=0.5):
    subject = small()
    subject.network[0].params["b"][...] = at
    return subject


def test_a_network_is_trained_if_somebody_says_so_or_a_bias_has_moved():
    for subject, course, trained in (
        (small(), None, False),
        (small(), Course(), True),
        (moved(), None, True),
        (moved(), Course(), True),
        (small(fresh=True), None, False),
    ):
        e = Evidence(subject, course=course)
        assert e.trained is trained
        assert (e.start is e.now) is (not trained) and e.first is (e.start or e.now)
        assert e.beginning is (None if trained else subject.network)
    subject = moved()
    subject.fresh = True  # a user's initializer of biases, of a network that was built here
    assert Evidence(subject).trained is False
    first = small().network
    e = Evidence(moved(), first, Course())
    assert e.beginning is first and e.first is e.start is not e.now
    (found,) = (layer for layer in e.start.recorder.layers if layer.path == "layers.2")
    assert e.at_start("layers.2") is found and e.at_start("layers.9") is None
    assert Evidence(moved(), None, Course()).at_start("layers.2") is None


@pytest.mark.parametrize(
    ("losses", "scale", "is_kept"),
    [
        ([1.0, 1.0, 1.0], 1.0, True),
        ([1.0, 0.96, 1.0], 1.0, True),
        ([1.0, 0.94, 1.0], 1.0, False),  # it moved by a twentieth
        ([1.0], 1.0, False),
        ([], 1.0, False),
        ([1.0, 1.0, 1.0], 0.11, True),
        ([1.0, 1.0, 1.0], 0.09, False),  # what decay has left of its weights
    ],
)
def test_a_network_that_stood_still_is_the_one_that_began(losses, scale, is_kept):
    subject = small()
    subject.network.flat_params[...] *= scale
    e = Evidence(subject, course=Course(np.array(losses)))
    assert (e.fresh is e.network) is is_kept
    kept, drawn = e._redrawn, copy.deepcopy(e.network)
    drawn.build(3, random_state=0, dtype=np.float64, rebuild=True)
    np.testing.assert_array_equal(kept.flat_params, drawn.flat_params)
    assert kept.dtype == np.float64 and e._redrawn is kept
    first = small().network
    assert Evidence(subject, first, Course(np.array(losses))).fresh is first


def test_frozen_layers_are_not_drawn_anew():
    network = Sequential([Dense(4), BatchNorm(), Dense(2)]).build(3, random_state=7)
    network.flat_params[...] = RNG.normal(size=network.n_params)
    network[1].buffers["running_mean"][...] = 3
    before = copy.deepcopy(network)
    network[0].trainable = network[1].trainable = False
    drawn = Evidence(small(network=network), course=Course())._redrawn
    for i, same in enumerate([True, True, False]):
        for name, array in before[i].params.items():
            assert np.array_equal(drawn[i].params[name], array) is same
    np.testing.assert_array_equal(drawn[1].buffers["running_mean"], np.full(4, 3))
    np.testing.assert_array_equal(network.flat_params, before.flat_params)


@pytest.mark.parametrize(
    ("layer", "where", "name", "value", "is_fresh"),
    [
        (Dense(4), "params", "W", 9.0, True),
        (Dense(4), "params", "b", 0.1, False),
        (LayerNorm(), "params", "gamma", 1.1, False),
        (LayerNorm(), "params", "beta", 0.1, False),
        (LayerNorm(), "params", "gamma", 1.0, True),
        (BatchNorm(), "buffers", "running_mean", 0.1, False),
        (BatchNorm(), "buffers", "running_var", 1.1, False),
        (BatchNorm(), "buffers", "running_var", 1.0, True),
        (BatchNorm(), "buffers", "running_mean", 0.0, True),
    ],
)
def test_a_network_looks_fresh_where_nothing_has_left_its_place(
    layer, where, name, value, is_fresh
):
    network = Sequential([copy.deepcopy(layer), Dense(2)]).build(3, random_state=0)
    assert looks_fresh(network)
    getattr(network[0], where)[name].flat[0] = value
    assert looks_fresh(network) is is_fresh


# ------------------------------------------------------------------------------- rows


def holed(*places):
    rows = X.copy()
    for place in places:
        rows[place] = np.nan
    return rows


BAD_IN_3_AND_8 = {
    "a table": holed((3, 1), (8, 0), (8, 2)),
    "infinite": np.where(np.isnan(holed((3, 1), (8, 0))), np.inf, X),
    "images": holed((3, 1), (8, 0))[:, :, np.newaxis, np.newaxis],
    "sparse": sp.csr_array(holed((3, 1), (8, 0), (8, 2))),
    "sparse by columns": sp.csc_array(holed((3, 1), (8, 0))),
    "steps": Sequences.from_steps(np.repeat(holed((3, 1), (8, 0)), 2, axis=0), np.full(40, 2)),
}


@pytest.mark.parametrize("kind", BAD_IN_3_AND_8)
def test_rows_that_are_not_finite_are_left_out(kind):
    y = Y.copy()
    y[[0, 6, 8], [1, 1, 0]] = np.inf, -np.inf, np.nan  # nobody minds that of row 0
    bad_X, bad_y, rows = _without_bad(Rows(BAD_IN_3_AND_8[kind], y, WEIGHT))
    assert np.flatnonzero(bad_X).tolist() == [3, 8] and np.flatnonzero(bad_y).tolist() == [6, 8]
    left = np.setdiff1d(np.arange(40), [0, 3, 6, 8])
    np.testing.assert_array_equal(rows.y, Y[left])
    np.testing.assert_array_equal(rows.weight, WEIGHT[left])
    assert rows.X.shape[0] == 36


@pytest.mark.parametrize("table", [X, X.astype(int), sp.csr_array(X)], ids=["", "codes", "sparse"])
def test_rows_that_are_all_finite_stay_as_they_are(table):
    rows = Rows(table, np.arange(40) % 2)
    bad_X, bad_y, same = _without_bad(rows)
    assert same is rows and not bad_X.any() and not bad_y.any()
    assert (bad_X.shape, bad_y.shape) == ((40,), (40,))


def test_without_a_row_that_is_finite_there_is_nothing_to_examine():
    with raises_exactly(
        ValueError,
        "every row of X and y has a number that is not finite: nothing to examine",
    ):
        _without_bad(Rows(np.full((4, 3), np.nan), np.zeros(4)))
    y = np.array([np.nan, 1, np.nan, 1])
    _without_bad(Rows(np.where(y[:, np.newaxis] == 1, 1.0, np.nan), y))


def test_losses_that_are_compared_are_those_of_the_rows():
    network = Sequential([Embedding(5, 2), Dense(3)]).build(2, random_state=0)
    codes = RNG.integers(5, size=(40, 2))
    labels = RNG.integers(3, size=(40, 2))
    subject = Subject(network, CCE(), Rows(codes, labels), validation=Rows(codes[:9], labels[:9]))
    e = Evidence(subject)
    assert e.zero == pytest.approx(math.log(3))
    assert e.validation_loss == CCE().forward(network.infer(codes[:9]), labels[:9])
    assert math.isnan(Evidence(small()).validation_loss)
    weighted = small(validation=Rows(X, Y, WEIGHT))
    e = Evidence(weighted)
    expected = MSE().forward(weighted.network.infer(X), Y, WEIGHT)
    assert e.validation_loss == expected != MSE().forward(weighted.network.infer(X), Y)
    e = Evidence(small(rows=Rows(X, Y, WEIGHT)))
    assert e.zero == pytest.approx(np.average(np.square(Y).mean(axis=1), weights=WEIGHT))


def test_rows_that_are_compared_with_each_other_are_six_hundred_at_most():
    table = np.arange(1803.0).reshape(601, 3)
    probed = Evidence(small(rows=Rows(table, table[:, :2]))).probed
    assert len(probed) == 600 and len(np.unique(probed.X[:, 0])) == 600
    np.testing.assert_array_equal(probed.X[:, :2], probed.y)


def test_a_course_says_how_training_ended_and_what_its_record_holds():
    history = History([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}])
    assert Course(history=history).column("loss").tolist() == [0.5, 0.25]
    assert Course(history=history).column("validation_loss").size == 0
    assert Course().column("loss").size == 0
    assert (Course().stopped, Course().diverged, Course().steps) == ("", False, 0)
    history.stopped = "diverged in epoch 2"
    assert Course(history=history).diverged and Course(history=history).stopped == history.stopped
    history.stopped = "interrupted"
    assert not Course(history=history).diverged


# ------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (0, "0%"),
        (1, "100%"),
        (0.001, "0.1%"),
        (0.0099, "1.0%"),
        (0.01, "1%"),
        (0.014, "1%"),
        (0.5, "50%"),
        (0.99, "99%"),
        (0.9901, "99.0%"),
        (0.999, "99.9%"),
    ],
)
def test_a_share_is_not_all_and_not_none_where_it_is_not(part, words):
    assert share(part) == share(np.float64(part)) == words


@pytest.mark.parametrize(
    ("mean", "std", "shown"),
    [
        (2.0, 1.0, 2.0),
        (-2.0, 1.0, -2.0),
        (0.9e-6, 1.0, 0.0),
        (-0.9e-6, 1.0, 0.0),
        (1.1e-6, 1.0, 1.1e-6),
        (1.1e-6, 2.0, 0.0),
        (0.0, 0.0, 0.0),
    ],
)
def test_a_mean_of_rounding_is_shown_as_none(mean, std, shown):
    assert level(np.float64(mean), std) == shown
    assert spread(mean, std) == f"mean {shown:.3g} and deviation {std:.3g}"
