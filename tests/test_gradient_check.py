"""The gradient check accepts what is right and refuses what is wrong, and says why."""

import pickle

import numpy as np
import pytest
from cases import CASES
from errors import raises_exactly

from layerkit import (
    Dense,
    Embedding,
    Layer,
    ReLU,
    Sequential,
    Tanh,
    check_gradients,
    check_loss_gradients,
    initializers,
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Swish(Layer):
    """x sigmoid(beta x) with a learned beta, as a user writes it."""

    def setup(self, input_shape):
        self.add_param("beta", (1,), initializers.ones)
        return input_shape

    def forward(self, x, training=False):
        s = sigmoid(self.params["beta"] * x)
        self.cache = x, s
        return x * s

    def backward(self, grad_output):
        (x, s), beta = self.cache, self.params["beta"]
        self.grads["beta"][...] = np.sum(grad_output * x * x * s * (1 - s))
        return grad_output * (s + beta * x * s * (1 - s))


class WrongSwish(Swish):
    """Forgets the outer x of d/dbeta."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        x, s = self.cache
        self.grads["beta"][...] = np.sum(grad_output * x * s * (1 - s))
        return grad_input


def test_a_users_layer_is_accepted():
    report = check_gradients(Swish(), input_shape=(4,))
    assert report and report.max_error < 1e-6
    assert {c.name for c in report.comparisons} == {"input", "beta"}
    assert check_gradients(Sequential([Dense(5), Swish(), Dense(2)]), input_shape=3)


def test_a_wrong_backward_is_refused_with_both_numbers():
    report = check_gradients(Sequential([Dense(3), WrongSwish()]), input_shape=4)
    assert not report
    assert {c.name for c in report.failures} == {"layers.1.beta"}
    worst = report.failures[0]
    [line] = [line for line in str(report).splitlines() if f"{worst.backward:.10g}" in line]
    assert line.startswith("inference  layers.1.beta")
    assert line.endswith(f"<-- backward {worst.backward:.10g}, numerical {worst.numerical:.10g}")
    assert "FAILED" in str(report) and worst.error > 0.01


def test_a_gradient_that_backward_forgets_is_refused():
    class Forgetful(Swish):
        def backward(self, grad_output):
            x, s = self.cache
            return grad_output * (s + self.params["beta"] * x * s * (1 - s))

    report = check_gradients(Forgetful(), input_shape=(4,))
    assert not report and report.max_error == np.inf


class Doubled(Layer):
    def forward(self, x, training=False):
        return 2 * x

    def backward(self, grad_output):
        return 5 * grad_output


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"x": [[1, 2, 3]]},
            "nothing to check: Doubled() has no parameters, and int64 of shape (1, "
            "3) has no slopes",
        ),
        (
            {"x": np.zeros((0, 3))},
            "nothing to check: Doubled() has no parameters, and float64 of shape (0, 3) "
            "has no slopes",
        ),
        (
            {"input_shape": 3, "check_input": False},
            "nothing to check: Doubled() has no parameters, and check_input=False",
        ),
    ],
)
def test_a_check_of_nothing_is_no_proof(options, message):
    with raises_exactly(ValueError, message):
        check_gradients(Doubled(), **options)


def test_a_backward_without_a_return_is_named():
    class Silent(Doubled):
        def backward(self, grad_output):
            5 * grad_output

    message = (
        "in layers.1 Silent(): backward must return the gradient of the input, (5, 3), "
        "but returned None"
    )
    with raises_exactly(ValueError, message):
        check_gradients(Sequential([Dense(3), Silent()]), input_shape=4)


def test_the_check_leaves_the_layer_alone():
    layer = Sequential([Dense(3), Swish()]).build(4, random_state=0)
    layer.trainable = False
    before = pickle.dumps(layer)
    assert check_gradients(layer)
    assert pickle.dumps(layer) == before


def test_the_check_asks_for_the_input_gradient_that_training_spares():
    layer = Dense(3).build(4, random_state=0)
    layer.needs_input_grad = False
    assert "input" in {c.name for c in check_gradients(layer).comparisons}


def test_the_check_needs_a_shape():
    with raises_exactly(
        ValueError, "in Dense(units=3): not built yet, so check_gradients needs input_shape or x"
    ):
        check_gradients(Dense(3))


class Scaled(Layer):
    """The identity, with its gradient off by a factor."""

    def __init__(self, factor):
        self.factor = factor

    def forward(self, x, training=False):
        return x

    def backward(self, grad_output):
        return self.factor * grad_output


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_error_of_one_in_a_hundred_thousand_is_refused(case):
    network = Sequential([case.make(), Scaled(1 + 1e-5)])
    report = check_gradients(
        network, x=case.sample(), max_coordinates=2, check_input=case.smooth_in_x
    )
    assert not report, str(report)
    assert report.max_error == pytest.approx(1e-5, rel=0.05)


class Slope(Layer):
    """max(x, 0), with a chosen slope at 0."""

    def __init__(self, at_zero):
        self.at_zero = at_zero

    def forward(self, x, training=False):
        self.cache = x
        return np.maximum(x, 0)

    def backward(self, grad_output):
        return grad_output * np.where(self.cache == 0, self.at_zero, self.cache > 0)


@pytest.mark.parametrize("at_zero, ok", [(-0.01, False), (0, True), (0.4, True), (1.01, False)])
def test_between_the_slopes_of_a_kink(at_zero, ok):
    report = check_gradients(Slope(at_zero), x=[[0.0, 1.0, -2.0, 0.0]])
    assert bool(report) is ok
    assert all(c.n_kinks == 2 for c in report.comparisons)
    assert "(2 kinks)" in str(report)


def test_a_smooth_network_has_no_kinks():
    """Many outputs whose slopes cancel make their curvature look large, but it is not a kink."""
    network = Sequential([Dense(100), Tanh(), Dense(200), Tanh()])
    report = check_gradients(network, 50, n_samples=20, max_coordinates=40)
    assert report
    assert sum(c.n_kinks for c in report.comparisons) == 0


def test_kinks_close_by_are_not_taken_for_errors():
    """So many units that some change sides within the step."""
    network = Sequential([Dense(300), ReLU(), Dense(5)])
    assert check_gradients(network, 10, n_samples=30, max_coordinates=20)


def test_every_coordinate_of_small_arrays_and_directions_of_large_ones():
    report = check_gradients(Dense(3), 30, max_coordinates=50)
    checked = {c.name: (c.n_checked, c.where.split(" ")[0]) for c in report.comparisons}
    assert checked["W"] == checked["input"] == (50, "direction")
    assert checked["b"][0] == 3 and checked["b"][1].startswith("[")


def test_long_names_leave_the_columns_straight():
    names = ["outer_block_of_layers", "inner_block_of_layers"]
    network = Dense(2)
    for name in names:
        network = Sequential([(name, network)])
    report = check_gradients(network, 3)
    assert max(len(c.name) for c in report.comparisons) > 28
    _, header, *rows = str(report).splitlines()
    errors = [f"{c.error:.1e}" for c in report.comparisons]
    ends = {row.index(error) + len(error) for row, error in zip(rows, errors, strict=True)}
    assert ends == {header.index("error") + len("error")}


def test_the_worst_coordinate_is_named_in_the_arrays_own_shape():
    class OneWrong(Dense):
        def backward(self, grad_output):
            grad_input = super().backward(grad_output)
            self.grads["W"][2, 1] += 10
            return grad_input

    [inference, training] = check_gradients(OneWrong(3), 4).failures
    assert (inference.mode, training.mode) == ("inference", "training")
    assert inference.name == "W" and inference.where == "[2, 1]"
    assert inference.backward - inference.numerical == pytest.approx(10, rel=1e-6)


def test_a_built_layer_is_checked_where_it_is():
    layer = Dense(2).build(3, random_state=0)
    layer.params["W"][...] = 100
    values = {c.numerical for c in check_gradients(layer).comparisons if c.name == "input"}
    assert max(map(abs, values)) > 50


def test_integer_input_is_not_differentiated():
    report = check_gradients(Embedding(5, 2), x=[[0, 4, 4]])
    assert report and {c.name for c in report.comparisons} == {"W"}


class Drifting(Layer):
    """Multiplies by a number that every forward in training raises by one."""

    def setup(self, input_shape):
        self.add_buffer("factor", np.ones(1))
        return input_shape

    def forward(self, x, training=False):
        self.cache = self.buffers["factor"].copy()
        if training:
            self.buffers["factor"][...] += 1
        return x * self.cache

    def backward(self, grad_output):
        return grad_output * self.cache


class DriftingUnseen(Drifting):
    """Keeps that number where nobody knows of it."""

    drift = 0.0

    def forward(self, x, training=False):
        self.drift += training
        return super().forward(x, training=False) + self.drift


class GlobalNoise(Drifting):
    def forward(self, x, training=False):
        noise = np.random.default_rng().normal(size=x.shape) if training else 0
        return super().forward(x) + noise


def test_buffers_that_forward_changes_are_put_back():
    assert check_gradients(Drifting(), 3)


@pytest.mark.parametrize("kind", [DriftingUnseen, GlobalNoise])
def test_an_output_that_changes_by_itself_is_refused(kind):
    with raises_exactly(
        ValueError,
        f"in {kind.__name__}(): forward gave two results for one input; noise must come from "
        "self.rng, and what forward changes must be a buffer",
    ):
        check_gradients(kind(), 3)


def test_nan_is_an_infinite_error():
    report = check_gradients(Scaled(np.nan), 2)
    assert not report and report.max_error == np.inf
    assert len(report.failures) == 2


def test_the_same_check_twice_is_the_same():
    first, again = (str(check_gradients(Dense(3), 40, random_state=3)) for _ in range(2))
    assert first == again


class HalfSquare:
    """A loss written by a user, with a factor on its gradient."""

    def __init__(self, factor, shape=()):
        self.factor = factor
        self.shape = shape

    def forward(self, y_pred, y_true, sample_weight=None):
        self.error = y_pred - np.asarray(y_true)
        return float(np.sum(self.error**2) / 2)

    def backward(self):
        return self.factor * self.error.reshape(self.shape or self.error.shape)

    def __repr__(self):
        return "HalfSquare()"


def test_losses_too():
    y_pred, y_true = [[1.0, 2.0], [3.0, 5.0]], [[0.0, 0.0], [1.0, 1.0]]
    assert check_loss_gradients(HalfSquare(1), y_pred, y_true)
    report = check_loss_gradients(HalfSquare(2), y_pred, y_true)
    assert not report and report.max_error == pytest.approx(0.5)
    assert "gradient check of HalfSquare(): FAILED" in str(report)
    with raises_exactly(ValueError, "HalfSquare(): backward returned (4,) for y_pred (2, 2)"):
        check_loss_gradients(HalfSquare(1, shape=(4,)), y_pred, y_true)
