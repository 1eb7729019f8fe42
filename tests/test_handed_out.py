"""What is handed out is kept: later training changes nothing in it."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification

from layerkit import (
    LSTM,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MLPClassifier,
    MLPRegressor,
    MultiHeadAttention,
    PReLU,
    Reshape,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
)
from layerkit.inspection import (
    ActivationDisplay,
    AttentionDisplay,
    DerivativeDisplay,
    FilterDisplay,
    GradientFlowDisplay,
    GradientRecorder,
    GradientThroughTimeDisplay,
    HealthMonitor,
    LossSurfaceDisplay,
    SaliencyDisplay,
    TrainingCurveDisplay,
    WeightRecorder,
    attention_weights,
    check_gradients,
    gradient_through_time,
    health,
    input_gradient,
    trace,
)
from layerkit.losses import CategoricalCrossEntropy
from layerkit.optimizers import Adam
from layerkit.training import train

X, Y = make_classification(40, 16, random_state=0)
LOSS = CategoricalCrossEntropy()


class Run:
    """A small network of many kinds of layers that trains on, with all that watches it."""

    def __init__(self):
        self.network = Sequential(
            [
                Conv2D(3, 2), BatchNorm(), PReLU(), Reshape((9, 3)), MultiHeadAttention(1),
                LSTM(4, return_sequences=True), Flatten(), Dropout(0.2), Dense(2),
            ]
        )  # fmt: skip
        self.network.build((4, 4, 1), random_state=0)
        self.optimizer = Adam(0.01)
        self.gradients, self.weights = GradientRecorder(every=1), WeightRecorder()
        self.monitor = HealthMonitor()
        self.X = X.astype(np.float32).reshape(-1, 4, 4, 1)
        self.history = self.train()

    def train(self):
        return train(
            self.network, LOSS, self.optimizer, (self.X, Y), epochs=2, batch_size=20,
            random_state=0, callbacks=[self.gradients, self.weights, self.monitor],
        )  # fmt: skip

    def go_on(self):
        self.train()
        self.network.flat_params[...] *= -2  # as far from what it was as can be
        for _, layer in self.network.walk():
            for buffer in layer.buffers.values():
                buffer[...] += 1


TAKEN = {
    "parameters' copy": lambda r: copy.deepcopy(r.network),
    "outputs": lambda r: r.network.infer(r.X),
    "summary": lambda r: r.network.summary(),
    "history": lambda r: r.history,
    "filters": lambda r: FilterDisplay.from_network(r.network),
    "filters of a layer": lambda r: FilterDisplay.from_layer(r.network[0]),
    "activations": lambda r: ActivationDisplay.from_network(r.network, r.X),
    "a derivative": lambda r: DerivativeDisplay.from_layer(r.network[2]),
    "saliency": lambda r: SaliencyDisplay.from_network(r.network, r.X[:3]),
    "an input's gradient": lambda r: input_gradient(r.network, r.X),
    "attention": lambda r: AttentionDisplay.from_network(r.network, r.X),
    "attention's weights": lambda r: attention_weights(r.network, r.X),
    "norms": lambda r: GradientFlowDisplay.from_recorder(r.gradients),
    "a curve": lambda r: TrainingCurveDisplay.from_history(r.history, learning_rate=True),
    "norms through time": lambda r: gradient_through_time(r.network, r.X),
    "a picture through time": lambda r: GradientThroughTimeDisplay.from_network(r.network, r.X),
    "a surface": lambda r: LossSurfaceDisplay.from_network(
        r.network, r.X, Y, LOSS, path=r.weights.weights, n=3
    ),
    "a trace": lambda r: trace(r.network, r.X[:2], Y[:2], LOSS, optimizer=Adam(0.1)),
    "a check": lambda r: check_gradients(r.network[:4], r.X[:2]),
    "a diagnosis": lambda r: health(r.network, r.X, Y, LOSS, history=r.history),
    "a diagnosis while training": lambda r: r.monitor.report(r.X, Y),
}


def shown(taken):
    html = getattr(taken, "_repr_html_", lambda: "")
    return str(taken), html(), joblib.hash(taken)


@pytest.mark.parametrize("what", TAKEN)
def test_training_on_changes_nothing_that_was_taken(what):
    run = Run()
    taken = TAKEN[what](run)
    before = shown(taken)
    run.go_on()
    assert shown(taken) == before


# ---------------------------------------------------------------- estimators after every epoch


class Keep:
    """A callback that keeps the estimators that it is given, and notes what they say now."""

    def __init__(self):
        self.kept, self.noted = [], []

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **rest):
        if context.task_name == "epoch":
            self.kept.append(fitted_estimator)
            self.noted.append(said_by(fitted_estimator))

    def __deepcopy__(self, memo):  # clones share it
        return self


def said_by(model):
    buffers = [b for _, layer in model.network_.walk() for b in layer.buffers.values()]
    arrays = [model.network_.flat_params, *buffers, model.predict(X)]
    numbers = [model.n_iter_, model.best_iter_, [*model.loss_curve_], [*model.history_["loss"]]]
    return pickle.dumps([array.copy() for array in arrays]), numbers


LAYERS = [Dense(4), BatchNorm(), PReLU()]
EPOCHS = 4
MODELS = {
    "SequentialClassifier": SequentialClassifier(LAYERS, max_iter=EPOCHS, n_iter_no_change=None),
    "SequentialRegressor": SequentialRegressor(LAYERS, max_iter=EPOCHS, n_iter_no_change=None),
    "SequentialClassifier, validated": SequentialClassifier(
        LAYERS, max_iter=EPOCHS, early_stopping=True
    ),
    "MLPClassifier": MLPClassifier(4, batch_norm=True, max_iter=EPOCHS),
    "MLPClassifier, SGD": MLPClassifier(4, solver="sgd", early_stopping=True, max_iter=EPOCHS),
    "MLPRegressor": MLPRegressor(hidden_layer_sizes=4, max_iter=EPOCHS),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_kept_after_an_epoch_stays_what_it_was(name):
    keep, model = Keep(), clone(MODELS[name]).set_params(random_state=0)
    model.set_callbacks(keep).fit(X, Y)
    assert len(keep.kept) == EPOCHS
    losses = model.loss_curve_
    for n, (kept, noted) in enumerate(zip(keep.kept, keep.noted, strict=True), start=1):
        assert said_by(kept) == noted
        assert kept.n_iter_ == len(kept.history_) == n
        assert kept.loss_curve_ == losses[:n]
        assert len({id(one.network_.flat_params) for one in [*keep.kept, model]}) == EPOCHS + 1
    if "validated" not in name and "SGD" not in name:
        short = clone(MODELS[name]).set_params(random_state=0, max_iter=2).fit(X, Y)
        np.testing.assert_array_equal(short.predict(X), keep.kept[1].predict(X))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_was_read_of_an_estimator_stays_when_it_learns_on(name):
    model = clone(MODELS[name]).set_params(random_state=0, early_stopping=False).fit(X, Y)
    taken = [model.history_, model.loss_curve_, model.predict(X), copy.deepcopy(model)]
    before = [joblib.hash(one) for one in taken]
    model.partial_fit(X, Y)
    assert [joblib.hash(one) for one in taken] == before
    assert len(taken[0]) == EPOCHS and len(model.history_) == EPOCHS + 1
    assert len(model.loss_curve_) == EPOCHS + 1
