"""scikit-learn's callbacks and our own, alone and inside Pipeline and GridSearchCV."""

import pickle

import numpy as np
import pytest
from errors import raises_exactly
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerkit import BatchNorm, Dense, MLPClassifier, ReLU, SequentialClassifier
from layerkit.optimizers import SGD, Adam

X, Y = load_iris(return_X_y=True)


def classifier(**options):
    options = {"max_iter": 4, "n_iter_no_change": None, "random_state": 0, **options}
    return SequentialClassifier([Dense(8), ReLU()], **options)


class Log:
    """A callback of scikit-learn's protocol that writes down what it is told."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.events = []
        self.proba = []
        self.metadata = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.events.append(f"begin {context.task_name} {context.task_id}")

    def on_fit_task_end(self, estimator, context, *, metadata=None, fitted_estimator=None, X=None):
        self.events.append(f"end {context.task_name} {context.task_id}")
        self.metadata.append(metadata)
        if fitted_estimator is not None:
            self.proba.append(fitted_estimator.predict_proba(X))
        return context.task_name == "epoch" and context.task_id == self.stop_at


def test_one_task_an_epoch_inside_the_task_of_the_fit():
    log = Log()
    classifier(max_iter=2).set_callbacks(log).fit(X, Y)
    assert log.events == [
        "setup", "begin fit 0", "begin epoch 0", "end epoch 0", "begin epoch 1", "end epoch 1",
        "end fit 0", "teardown",
    ]  # fmt: skip


def test_callbacks_see_the_estimator_as_it_is_after_every_epoch():
    log = Log()
    model = classifier().set_callbacks(log).fit(X, Y, sample_weight=np.ones(150))
    for epochs, proba in zip([1, 2, 3, 4, 4], log.proba, strict=True):
        np.testing.assert_array_equal(proba, classifier(max_iter=epochs).fit(X, Y).predict_proba(X))
    np.testing.assert_array_equal(log.proba[-1], model.predict_proba(X))
    np.testing.assert_array_equal(log.metadata[0]["sample_weight"], np.ones(150))


def test_a_callback_can_stop_training():
    log = Log(stop_at=1)
    model = classifier().set_callbacks(log).fit(X, Y)
    assert model.n_iter_ == 2
    assert log.events[-3:] == ["end epoch 1", "end fit 0", "teardown"]


def test_every_task_that_began_ends_and_teardown_always_comes():
    log = Log()
    model = classifier(optimizer=SGD(1e300, clip_norm=None)).set_callbacks(log)
    with pytest.warns(RuntimeWarning):
        model.fit(X, Y)
    begun = [event.removeprefix("begin ") for event in log.events if event.startswith("begin")]
    ended = [event.removeprefix("end ") for event in log.events if event.startswith("end")]
    assert sorted(begun) == sorted(ended)

    def fail(state):
        raise ZeroDivisionError

    log = Log()
    with pytest.raises(ZeroDivisionError):
        classifier().set_callbacks(log, fail).fit(X, Y)
    assert log.events[-1] == "teardown"
    assert not hasattr(model, "_callback_fit_ctx")


@pytest.mark.parametrize(
    "model",
    [
        SequentialClassifier([Dense(8), BatchNorm(), ReLU()]),
        SequentialClassifier([Dense(8), ReLU()], early_stopping=True),
        SequentialClassifier([Dense(8), ReLU()], optimizer="lbfgs"),
        MLPClassifier(8, batch_norm=True),
        MLPClassifier(8, early_stopping=True),
        MLPClassifier(8, solver="lbfgs"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_callback_that_raises_leaves_the_fitted_network(model):
    def fail(state):
        if state.epoch == 3:
            raise ZeroDivisionError

    model = clone(model).set_params(warm_start=True, max_iter=4, random_state=0).fit(X, Y)
    before = pickle.dumps(model)
    with pytest.raises(ZeroDivisionError):
        model.set_callbacks(fail).fit(X, Y)
    model.set_callbacks()
    other = pickle.loads(before)
    for name in ("predict_proba", "transform"):
        np.testing.assert_array_equal(getattr(model, name)(X), getattr(other, name)(X))
    assert len(model.loss_curve_) == len(model.history_) == 4
    np.testing.assert_array_equal(  # the optimizer's state is that of before, too
        model.fit(X, Y).network_.flat_params, other.fit(X, Y).network_.flat_params
    )


def test_scoring_monitor():
    monitor = ScoringMonitor(scoring="accuracy")
    model = classifier(optimizer=Adam(0.05)).set_callbacks(monitor).fit(X, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert [row["task_id"] for row in rows] == [0, 1, 2, 3]
    assert rows[-1]["accuracy"] == model.score(X, Y)
    assert rows[0]["accuracy"] < rows[-1]["accuracy"]


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_callbacks_through_pipeline_and_grid_search(n_jobs):
    monitor = ScoringMonitor(scoring="accuracy")
    model = classifier().set_callbacks(monitor)
    pipeline = make_pipeline(StandardScaler(), model)
    search = GridSearchCV(pipeline, {"sequentialclassifier__max_iter": [1, 3]}, cv=2, n_jobs=n_jobs)
    search.fit(X, Y)
    logs = monitor.get_logs(select="all")
    rows = [row for log in logs for row in log.data if row["task_name"] == "epoch"]
    final = search.best_params_["sequentialclassifier__max_iter"]
    assert len(rows) == 2 * (1 + 3) + final
    # epochs stand below the pipeline's step, which stands below the search's fit
    assert max(len(row["task_id_path"]) for row in rows) >= 4


def test_progress_bar(capsys):
    pytest.importorskip("rich")
    pipeline = make_pipeline(StandardScaler(), classifier())
    pipeline.set_callbacks(ProgressBar(max_propagation_depth=2)).fit(X, Y)
    assert "SequentialClassifier" in capsys.readouterr().out


@pytest.mark.slow
def test_progress_bar_of_a_search_in_processes(capsys):
    pytest.importorskip("rich")
    search = GridSearchCV(classifier(), {"max_iter": [1, 3]}, cv=2, n_jobs=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=3)).fit(X, Y)
    assert "GridSearchCV" in capsys.readouterr().out


def test_our_own_callbacks_see_the_training_state():
    seen, steps = [], []

    class Counter:
        def on_batch(self, state):
            steps.append(state.step)

        def __call__(self, state):
            seen.append((state.epoch, len(state.history), state.network.n_params))
            state.stop = state.epoch == 3

    log = Log()
    model = classifier(batch_size=50).set_callbacks(Counter(), log).fit(X, Y)
    assert seen == [(1, 1, 67), (2, 2, 67), (3, 3, 67)]
    assert steps == list(range(1, 10))
    assert model.n_iter_ == 3
    assert log.events[-3:] == ["end epoch 2", "end fit 0", "teardown"]


def test_clones_carry_callbacks():
    seen = []
    model = clone(classifier().set_callbacks(lambda state: seen.append(state.epoch)))
    model.fit(X, Y)
    model.partial_fit(X, Y)
    assert seen == [1, 2, 3, 4, 1]
    model.set_callbacks().fit(X, Y)
    assert len(seen) == 5


@pytest.mark.parametrize("wrong", [3, "print", Log, ScoringMonitor])
def test_what_is_no_callback(wrong):
    with raises_exactly(
        TypeError,
        "callbacks must be instances that follow scikit-learn's FitCallback protocol, "
        f"or callables that take a TrainingState, got {wrong!r}"
        + (f": that is the class, write {wrong.__name__}(...)" if isinstance(wrong, type) else ""),
    ):
        classifier().set_callbacks(wrong)
