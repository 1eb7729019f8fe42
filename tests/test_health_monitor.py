"""What a monitor keeps of a training and hands on to be examined; what health is given."""

import copy
import math

import numpy as np
import pytest
import scipy.sparse as sp
from clinic import BCE, MSE
from sklearn.base import clone
from sklearn.feature_selection import SelectKBest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerkit import Dense, ReLU, Sequential, SequentialClassifier, SimpleRNN, Tanh
from layerkit.inspection import HealthMonitor, health
from layerkit.inspection.diagnosis import monitor as module
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.sequences import Sequences
from layerkit.training import DivergenceWarning, train

RNG = np.random.default_rng(0)
X, Y, WEIGHT = RNG.normal(size=(100, 3)), RNG.normal(size=(100, 2)), 0.5 + RNG.random(100)


@pytest.fixture
def examined(monkeypatch):
    """What would be examined, in place of a report."""
    monkeypatch.setattr(module, "report_on", lambda evidence: evidence)


def network(seed=0, **more):
    return Sequential([Dense(4), Tanh(), Dense(2)]).build(
        3, random_state=seed, dtype=np.float64, **more
    )


def watched(data=(X, Y, WEIGHT), epochs=2, net=None, optimizer=None, batch_size=32, **options):
    monitor = HealthMonitor(**{k: options.pop(k) for k in ("every", "keep_rows") if k in options})
    net = net or network()
    optimizer = optimizer or SGD(0.01)
    history = train(
        net,
        MSE(),
        optimizer,
        data,
        epochs=epochs,
        batch_size=batch_size,
        shuffle=False,
        callbacks=[monitor],
        **options,
    )
    return monitor, net, optimizer, history


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (1, np.arange(32)),  # of a batch 32 rows at least
        (32, np.arange(32)),
        (33, np.arange(64)),
        (64, np.arange(64)),
        (65, np.arange(96)),
        (97, np.arange(100)),
        (1024, np.arange(100)),
    ],
)
def test_the_first_rows_are_kept_by_batches(examined, keep, kept):
    monitor, net, optimizer, history = watched(keep_rows=keep)
    e = monitor.report()
    np.testing.assert_array_equal(e.rows.X, X[kept])
    np.testing.assert_array_equal(e.rows.y, Y[kept])
    np.testing.assert_array_equal(e.rows.weight, WEIGHT[kept])
    subject = e.subject
    assert (subject.batch_size, subject.ordered, subject.validation, subject.watched) == (
        32, False, None, None,
    )  # fmt: skip
    assert subject.history is history and subject.optimizer is optimizer and e.trained
    assert subject.network is not net and subject.loss is not monitor.state.loss
    np.testing.assert_array_equal(subject.network.flat_params, net.flat_params)
    np.testing.assert_array_equal(e.beginning.flat_params, network().flat_params)
    assert e.course.losses.tolist() == monitor.losses and e.course.updates is monitor.updates
    assert (e.course.steps, e.steps, e.course.history) == (8, 8, history)


@pytest.mark.parametrize(
    ("keep", "rows"),
    [
        (40, np.linspace(0, 99, 40).astype(int)),
        (10, np.linspace(0, 99, 32).astype(int)),
        (100, np.arange(100)),
    ],
)
def test_of_a_large_batch_some_rows_are_kept_from_its_beginning_to_its_end(examined, keep, rows):
    e = watched(keep_rows=keep, batch_size=100, data=(X, Y))[0].report()
    np.testing.assert_array_equal(e.rows.X, X[rows])
    assert e.rows.weight is None and e.batch_size == 100


@pytest.mark.parametrize("make", [sp.csr_array, lambda x: x.astype(np.float32)])
def test_rows_are_kept_as_they_come(examined, make):
    e = watched(data=(make(X), Y))[0].report()
    found = e.rows.X.toarray() if sp.issparse(e.rows.X) else e.rows.X
    assert type(e.rows.X) is type(make(X))
    np.testing.assert_allclose(found, X, rtol=1e-6)


def test_steps_of_unequal_length_are_kept(examined):
    rows = [RNG.normal(size=(1 + i % 4, 3)) for i in range(70)]
    net = Sequential([SimpleRNN(3), Dense(2)]).build((None, 3), random_state=0, dtype=np.float64)
    e = watched(data=(rows, Y[:70]), net=net)[0].report()
    assert isinstance(e.rows.X, Sequences)
    for kept, row in zip(e.rows.X, rows, strict=True):
        np.testing.assert_array_equal(kept, row)


def test_rows_that_are_given_take_the_place_of_those_kept(examined):
    monitor = watched()[0]
    held = (X[:9], Y[:9], WEIGHT[:9])
    e = monitor.report(X[5:], Y[5:], sample_weight=WEIGHT[5:], validation_data=held)
    assert e.subject.ordered is True
    for part, expected in zip((e.rows.X, e.rows.y, e.rows.weight), (X, Y, WEIGHT), strict=True):
        np.testing.assert_array_equal(part, expected[5:])
    validation = e.subject.validation
    for part, expected in zip((validation.X, validation.y, validation.weight), held, strict=True):
        np.testing.assert_array_equal(part, expected)


@pytest.mark.parametrize(("keep", "n"), [(64, 64), (65, 96), (500, 100)])
def test_rows_that_training_was_validated_with_are_handed_on(examined, keep, n):
    monitor = watched(keep_rows=keep, validation_data=(2 * X, Y, WEIGHT))[0]
    seen = monitor.report().subject.watched
    assert len(seen) >= min(n, 100)
    np.testing.assert_array_equal(seen.X, 2 * X[: len(seen)])
    np.testing.assert_array_equal(seen.weight, WEIGHT[: len(seen)])


@pytest.mark.parametrize(
    ("every", "steps"), [(1, [1, 2, 3, 4, 5, 6, 7, 8]), (3, [1, 4, 7]), (8, [1]), (7, [1, 8])]
)
def test_every_so_many_steps_updates_are_measured(every, steps):
    net = network()
    net[0].trainable = False
    weights = []
    monitor = HealthMonitor(every=every)
    start = net.flat_params.copy()
    train(net, MSE(), SGD(0.01), (X, Y), epochs=2, batch_size=32, random_state=0, shuffle=False,
          callbacks=[monitor, Steps(weights)])  # fmt: skip
    assert monitor.steps == steps and list(monitor.updates) == ["layers.2"]
    weights = [start, *weights]
    where = slice(16, 26)
    for step, ratio in zip(steps, monitor.updates["layers.2"], strict=True):
        before, after = (w[where] for w in weights[step - 1 : step + 1])
        assert ratio == pytest.approx(np.linalg.norm(after - before) / np.linalg.norm(before))


class Steps:
    """A callback that notes the weights after every step."""

    def __init__(self, weights):
        self.weights = weights

    def on_batch(self, state):
        self.weights.append(state.network.flat_params.copy())

    def __call__(self, state):
        pass


def test_an_update_of_weights_that_were_zero_is_infinite_and_none_is_zero():
    net = network()
    net.flat_params[...] = 0
    assert watched(net=net, every=100)[0].updates == {"layers.0": [0.0], "layers.2": [math.inf]}


def test_a_second_training_is_watched_anew(examined):
    monitor, net = HealthMonitor(), network()
    for epochs in (3, 2):
        before = net.flat_params.copy()
        train(net, MSE(), SGD(0.01), (X, Y), epochs=epochs, batch_size=50, callbacks=[monitor])
        assert len(monitor.losses) == 2 * epochs
        np.testing.assert_array_equal(monitor.report().beginning.flat_params, before)


def test_epochs_have_losses_where_there_are_no_steps():
    monitor, *_, history = watched(optimizer=LBFGS(), epochs=4)
    assert monitor.losses == history["loss"].tolist() and monitor.steps == []


@pytest.mark.parametrize("bad", [10, 70])
def test_the_batch_at_which_training_diverged_is_kept(examined, bad):
    y = Y.copy()
    y[bad] = 1e200
    with pytest.warns(DivergenceWarning):
        monitor = watched(data=(X, y), keep_rows=32, epochs=1)[0]
    rows = monitor.report().rows
    expected = np.arange(32) if bad < 32 else [*range(32), *range(64, 96)]
    np.testing.assert_array_equal(rows.X, X[expected])


@pytest.mark.parametrize(("limit", "n"), [(100, 100), (99, 99), (7, 7)])
def test_health_looks_at_a_sample_in_order(examined, limit, n):
    e = health(network(), X, Y, MSE(), sample_weight=WEIGHT, max_rows=limit)
    places = [np.flatnonzero((row == X).all(axis=1)).item() for row in e.rows.X]
    assert len(places) == n and places == sorted(set(places))
    np.testing.assert_array_equal(e.rows.y, Y[places])
    np.testing.assert_array_equal(e.rows.weight, WEIGHT[places])


def test_health_hands_on_what_it_is_given(examined):
    net, held, rule = network(), (X[:9], Y[:9]), Adam()
    history = train(copy.deepcopy(net), MSE(), SGD(0.01), (X, Y), epochs=2)
    e = health(
        net, X, Y, MSE(), validation_data=held, history=history, optimizer=rule, batch_size=7
    )
    s = e.subject
    assert (s.batch_size, s.optimizer, s.history, s.ordered) == (7, rule, history, True)
    np.testing.assert_array_equal(s.validation.X, X[:9])
    assert s.validation.weight is None and s.watched is None
    assert e.course.history is history and e.course.losses.tolist() == history["loss"].tolist()
    assert e.trained and e.start is None
    weighted = health(net, X, Y, MSE(), validation_data=(X[:9], Y[:9], WEIGHT[:9]))
    np.testing.assert_array_equal(weighted.subject.validation.weight, WEIGHT[:9])
    assert not weighted.trained  # nothing is known of a training
    empty = type(history)([])
    assert not health(net, X, Y, MSE(), history=empty).trained
    empty.stopped = "diverged in epoch 1"
    assert health(net, X, Y, MSE(), history=empty).course.diverged


def test_health_of_an_estimator_takes_what_it_knows(examined):
    labels = (X[:, 0] > 0).astype(int)
    model = SequentialClassifier([Dense(4), ReLU()], max_iter=3, batch_size=20, random_state=0)
    fresh = health(model, X, labels)
    assert not fresh.trained and fresh.subject.fresh and not hasattr(model, "network_")
    model.fit(X, labels)
    e = health(model, X, labels)
    assert e.trained and not e.subject.fresh and e.subject.batch_size == 20
    assert e.subject.history.rows == model.history_.rows
    assert isinstance(e.loss, BCE) and isinstance(e.optimizer, Adam)
    told = health(model, X, labels, MSE(), batch_size=9, optimizer=SGD(0.3))
    assert isinstance(told.loss, MSE) and told.subject.batch_size == 9
    assert isinstance(told.optimizer, SGD)


def test_health_of_a_pipeline_looks_at_rows_as_they_reach_its_end(examined):
    labels = (X[:, 0] > 0).astype(int)
    last = SequentialClassifier([Dense(4), ReLU()], max_iter=3, random_state=0)
    held = (X[:9] + 5, labels[:9])
    scaled = StandardScaler().fit(X)
    pipeline = make_pipeline(StandardScaler(), last)
    for fitted in (False, True):
        if fitted:
            pipeline.fit(X, labels)
        e = health(pipeline, X, labels, validation_data=held)
        np.testing.assert_allclose(e.rows.X, scaled.transform(X), rtol=1e-6)
        np.testing.assert_allclose(e.validation.X, scaled.transform(held[0]), rtol=1e-6)
        assert e.trained is fitted
    other = health(pipeline, 3 + X, labels)  # the scaler that was fitted is the one that is used
    np.testing.assert_allclose(other.rows.X, scaled.transform(3 + X), rtol=1e-6)
    alone = health(make_pipeline(pipeline[-1]), X, labels)
    np.testing.assert_allclose(alone.rows.X, X, rtol=1e-6)
    choosing = make_pipeline(SelectKBest(k=1), clone(last))  # whose first step needs the labels
    np.testing.assert_allclose(health(choosing, X, labels).rows.X, X[:, :1], rtol=1e-6)


def test_a_network_that_is_not_built_is_built_for_the_rows(examined):
    for rows, dtype in ((X, np.float64), (X.astype(np.float32), np.float32), (X > 0, np.float32)):
        net = Sequential([Dense(4), ReLU(), Dense(2)])
        e = health(net, rows, Y)
        assert not net.is_built and e.network.dtype == dtype and not e.trained
        assert isinstance(e.loss, MSE)
        expected = Sequential([Dense(4), ReLU(), Dense(2)]).build(3, random_state=0, dtype=dtype)
        np.testing.assert_array_equal(e.network.flat_params, expected.flat_params)
