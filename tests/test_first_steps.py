"""What newcomers write first: each mistake is named, and nothing passes in silence."""

import re

import numpy as np
import pytest
from errors import raises_exactly, theirs

from layerkit import (
    GRU,
    LSTM,
    BatchNorm,
    Dense,
    Layer,
    LayerNorm,
    PReLU,
    RMSNorm,
    Scale,
    Sequential,
    SequentialClassifier,
    check_gradients,
)
from layerkit.inspection import (
    ActivationDisplay,
    AttentionDisplay,
    FilterDisplay,
    GradientRecorder,
    GradientThroughTimeDisplay,
    LossSurfaceDisplay,
    SaliencyDisplay,
    TrainingCurveDisplay,
    trace,
)
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import SGD, Optimizer
from layerkit.training import train

X, Y = np.ones((4, 3)), np.zeros((4, 1))


class Forwards(Layer):
    """Writes into x."""

    def forward(self, x, training=False):
        x *= 2
        return x

    def backward(self, grad_output):
        return grad_output * 2


class Backwards(Layer):
    """Writes into the gradient of its output."""

    def forward(self, x, training=False):
        return x * 2

    def backward(self, grad_output):
        grad_output *= 2
        return grad_output


@pytest.mark.parametrize("layer", [Forwards(), Backwards()], ids=["forward", "backward"])
@pytest.mark.parametrize("within", [False, True], ids=["alone", "in a network"])
def test_writing_into_the_callers_array_is_named(layer, within):
    checked = Sequential([layer]) if within else layer
    pass_, array = {Forwards: ("forward", "x"), Backwards: ("backward", "grad_output")}[type(layer)]
    with raises_exactly(
        ValueError,
        f"in {'Sequential' if within else repr(layer)}: {pass_} changes {array}, the array that it "
        f"is given; it must compute a new one, such as {array} * 2 in place of {array} *= 2",
    ):
        check_gradients(checked, input_shape=(3,))


@pytest.mark.parametrize("layer", [Dense, np.tanh, MeanSquaredError()], ids=["class", "f", "loss"])
def test_check_gradients_wants_a_layer(layer):
    with raises_exactly(TypeError, re.compile(r"layer must be a layer or network, got .*")):
        check_gradients(layer, input_shape=3)


def test_check_gradients_wants_a_shape_where_rows_came():
    with raises_exactly(
        ValueError,
        f"input_shape must hold positive integers, without the batch axis, got {X!r}",
    ):
        check_gradients(Dense(2), X)


@pytest.mark.parametrize("loss", [MeanSquaredError, "mean_squared_error", None], ids=str)
def test_trace_wants_a_loss(loss):
    with raises_exactly(
        TypeError, re.compile(r"loss must be a loss, such as MeanSquaredError\(\), got .*")
    ):
        trace(Dense(1).build(3), X, Y, loss)


def run(**options):
    arguments = {"optimizer": SGD(0.1), "epochs": 1} | options
    return train(Sequential([Dense(1)]), MeanSquaredError(), data=(X, Y), **arguments)


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (GradientRecorder(), theirs("callbacks must be a list of callables, got")),
        (
            [GradientRecorder],
            "callbacks must be callables that take a TrainingState, got <class "
            "'layerkit.inspection.displays.gradient_flow.GradientRecorder'>: write "
            "GradientRecorder(...)",
        ),
        (["print"], "callbacks must be callables that take a TrainingState, got 'print'"),
    ],
    ids=["one", "class", "name"],
)
def test_train_names_wrong_callbacks(callbacks, message):
    with raises_exactly(TypeError, message):
        run(callbacks=callbacks)


def test_a_generator_of_callbacks_is_called():
    seen = []
    run(callbacks=(call for call in [lambda state: seen.append(state.epoch)]))
    assert seen == [1]


def test_set_callbacks_says_that_it_takes_them_one_by_one():
    with raises_exactly(
        TypeError,
        "callbacks must be instances that follow scikit-learn's FitCallback protocol, or "
        "callables that take a TrainingState, got [<built-in function print>]: give each "
        "by itself, set_callbacks(first, second)",
    ):
        SequentialClassifier([Dense(2)]).set_callbacks([print])


def test_a_misspelt_stop_is_refused_and_the_state_is_short():
    def stop(state):
        assert len(repr(state)) < 300
        state.stop_training = True

    with pytest.raises(AttributeError, match="no attribute 'stop_training'"):
        run(callbacks=[stop])


@pytest.mark.parametrize("given", [X, 0.2], ids=["X", "share"])
def test_wrong_validation_data_is_called_so(given):
    with raises_exactly(
        ValueError,
        re.compile(
            r"validation_data must be \(X, y\), \(X, y, sample_weight\) or an iterable of "
            r"such batches, got .*"
        ),
    ):
        run(validation_data=given)


class Sign(Optimizer):
    """A rule whose constructor stores its own parameters only, as a layer's does."""

    def __init__(self, learning_rate=0.1):
        self.learning_rate = learning_rate

    def update(self, p, g, rate, t):
        p -= rate * np.sign(g)


def test_an_optimizer_needs_no_parameters_but_its_own():
    assert Sign().get_params() == {"learning_rate": 0.1}
    params = np.array([1.0, 2.0])
    Sign().step(params, np.array([5.0, -0.1]))
    assert params.tolist() == [0.9, 2.1]
    run(optimizer=Sign())


def test_stacked_recurrent_layers_say_what_the_first_needs():
    with raises_exactly(
        ValueError,
        "in layers.1 GRU(units=4): expects sequences (n_samples, time, n_features), got "
        "(n_samples, 4); a recurrent layer before it needs return_sequences=True, and "
        "steps of one number each need an axis for it, x[..., np.newaxis]",
    ):
        Sequential([LSTM(4), GRU(4)]).build((None, 2))


def test_steps_of_one_number_each_say_what_they_lack():
    rows = [np.arange(n, dtype=float) for n in (2, 3, 2, 3)]
    with raises_exactly(
        ValueError,
        "in layers.0 LSTM(units=2): expects sequences (n_samples, time, n_features), got "
        "(n_samples, time); a recurrent layer before it needs return_sequences=True, and "
        "steps of one number each need an axis for it, x[..., np.newaxis]",
    ):
        SequentialClassifier([LSTM(2)]).fit(rows, [0, 1, 0, 1])


def test_rows_of_any_length_are_not_sent_to_flatten():
    rows = [np.ones((n, 2)) for n in (2, 3, 2, 3)]
    with raises_exactly(
        ValueError,
        "the network must give (n_samples, 1) or (n_samples, 2) for this y with "
        "loss='auto', but its output is (n_samples, time, 1); end `layers` in LastStep "
        "or a global pooling, or give X and y as lists of arrays for a target of every "
        "step",
    ):
        SequentialClassifier([Dense(3)]).fit(rows, [0, 1, 0, 1])


def test_members_have_histories():
    class Members:
        histories_ = ()

    with raises_exactly(
        ValueError,
        "Members has a history for each member; draw one, with "
        "from_history(estimator.histories_[0])",
    ):
        TrainingCurveDisplay.from_estimator(Members())


SEEN = {
    "activations": lambda given: ActivationDisplay.from_network(given, X),
    "filters": lambda given: FilterDisplay.from_network(given),
    "attention": lambda given: AttentionDisplay.from_network(given, X),
    "saliency": lambda given: SaliencyDisplay.from_network(given, X),
    "time": lambda given: GradientThroughTimeDisplay.from_network(given, X),
    "surface": lambda given: LossSurfaceDisplay.from_network(given, X, Y, MeanSquaredError()),
    "trace": lambda given: trace(given, X, Y, MeanSquaredError()),
}


@pytest.mark.parametrize("see", SEEN)
def test_an_estimator_where_its_network_is_wanted(see):
    model = SequentialClassifier([Dense(2)], max_iter=1).fit(X, [0, 1, 0, 1])
    with raises_exactly(
        TypeError,
        "network must be a layer or network, got "
        "SequentialClassifier(layers=[Dense(units=2)], max_iter=1): give its network_",
    ):
        SEEN[see](model)


@pytest.mark.parametrize(
    "layer", [Dense(2), BatchNorm(), LayerNorm(), RMSNorm(), PReLU(), Scale()], ids=repr
)
def test_rows_of_numbers_have_no_features(layer):
    rows = [np.ones(n) for n in (2, 3)]
    with raises_exactly(
        ValueError,
        re.compile(
            r"in layers\.0 .*\): expects steps that have features, \(n_samples, time, "
            r"n_features\), got \(n_samples, time\)"
        ),
    ):
        SequentialClassifier([layer, LSTM(2)]).fit(rows, [0, 1])


@pytest.mark.parametrize("params", [[1.0], None, {}], ids=str)
def test_step_wants_vectors(params):
    with raises_exactly(
        TypeError, f"flat_params must be an array, such as network.flat_params, got {params!r}"
    ):
        SGD(0.1).step(params, params)
