"""The trace shows the numbers of backpropagation: those of a hand calculation, one by one."""

import copy
import html
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from cases import CASES
from errors import raises_exactly

from layerkit import (
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    PReLU,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
    layers,
    losses,
)
from layerkit.inspection import gradient_catalogue, trace
from layerkit.inspection.catalogue import in_one_line
from layerkit.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, MeanSquaredError
from layerkit.optimizers import LBFGS, SGD, Adam


def two_layers():
    network = Sequential([Dense(2), Sigmoid(), Dense(1)]).build(2, dtype=np.float64)
    network[0].params["W"][...] = [[0.5, -1.0], [0.25, 0.5]]
    network[0].params["b"][...] = [0.1, -0.2]
    network[2].params["W"][...] = [[2.0], [-3.0]]
    network[2].params["b"][...] = 0.5
    return network


def close(actual, expected):
    assert np.shape(actual) == np.shape(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-13)


# ---------------------------------------------------------------- by hand


def test_two_layer_network_equals_the_hand_calculation():
    """x = (1, 2), target 1: every number of both passes."""
    # forward, layer 1: z = x W1 + b1
    z1 = 1 * 0.5 + 2 * 0.25 + 0.1  # 1.1
    z2 = 1 * -1.0 + 2 * 0.5 + -0.2  # -0.2
    # the sigmoid
    a1 = 1 / (1 + math.exp(-1.1))  # 0.7502601055951177
    a2 = 1 / (1 + math.exp(0.2))  # 0.4501660026875221
    # layer 2 and the loss
    y = a1 * 2 + a2 * -3 + 0.5  # 0.6500222031276691
    loss = (y - 1) ** 2  # 0.1224844582956297
    # backward: the loss
    d_y = 2 * (y - 1)
    # layer 2
    d_w1, d_w2, d_b = a1 * d_y, a2 * d_y, d_y
    d_a1, d_a2 = d_y * 2, d_y * -3
    # the sigmoid
    slope1, slope2 = a1 * (1 - a1), a2 * (1 - a2)
    d_z1, d_z2 = d_a1 * slope1, d_a2 * slope2
    # layer 1
    d_W11, d_W12 = 1 * d_z1, 1 * d_z2
    d_W21, d_W22 = 2 * d_z1, 2 * d_z2
    d_x1 = d_z1 * 0.5 + d_z2 * -1.0
    d_x2 = d_z1 * 0.25 + d_z2 * 0.5

    walk = trace(two_layers(), [[1.0, 2.0]], [[1.0]], MeanSquaredError())

    assert walk.names == ["dense_1", "sigmoid_1", "dense_2"]
    first, sigmoid, second = walk.steps
    close(first.input, [[1, 2]])
    close(first.params["W"], [[0.5, -1.0], [0.25, 0.5]])
    close(first.params["b"], [0.1, -0.2])
    close(first.output, [[z1, z2]])
    close(sigmoid.input, [[z1, z2]])
    close(sigmoid.output, [[a1, a2]])
    close(second.input, [[a1, a2]])
    close(second.params["W"], [[2], [-3]])
    close(second.params["b"], [0.5])
    close(second.output, [[y]])
    close(walk.loss.y_pred, [[y]])
    close(walk.loss.y_true, [[1]])
    close(walk.loss.value, loss)

    close(walk.loss.gradient, [[d_y]])
    close(second.grad_output, [[d_y]])
    close(second.local.values, [[2], [-3]])
    close(second.grads["W"], [[d_w1], [d_w2]])
    close(second.grads["b"], [d_b])
    close(second.grad_input, [[d_a1, d_a2]])
    close(sigmoid.grad_output, [[d_a1, d_a2]])
    close(sigmoid.local.values, [[slope1, slope2]])
    close(sigmoid.grad_input, [[d_z1, d_z2]])
    assert sigmoid.params == sigmoid.grads == {}
    close(first.grad_output, [[d_z1, d_z2]])
    close(first.local.values, [[0.5, -1.0], [0.25, 0.5]])
    close(first.grads["W"], [[d_W11, d_W12], [d_W21, d_W22]])
    close(first.grads["b"], [d_z1, d_z2])
    close(first.grad_input, [[d_x1, d_x2]])

    # The same numbers stand in the equations, each beside what it is made of.
    equations = [
        *(e for step in walk.steps for e in (*step.forward, *step.derivatives, *step.backward)),
        *walk.loss.forward,
        *walk.loss.backward,
    ]
    by_hand = (
        *(z1, z2, d_W11, d_W12, d_W21, d_W22, d_z1, d_z2, d_x1, d_x2),
        *(a1, a2, slope1, slope2, d_z1, d_z2),
        *(y, d_w1, d_w2, d_b, d_a1, d_a2),
        *(loss, d_y),
    )
    close([e.value for e in equations], by_hand)
    assert [str(e) for e in first.forward] == [
        "y[0, 0] = x[0, 0] W[0, 0] + x[0, 1] W[1, 0] + b[0] = 1 × 0.5 + 2 × 0.25 + 0.1 = 1.1",
        "y[0, 1] = x[0, 0] W[0, 1] + x[0, 1] W[1, 1] + b[1] = 1 × (-1) + 2 × 0.5 + (-0.2) = -0.2",
    ]
    assert [str(e) for e in sigmoid.backward] == [
        "dL/dx[0, 0] = G[0, 0] f'(x[0, 0]) = (-1.4) × 0.1874 = -0.2623",
        "dL/dx[0, 1] = G[0, 1] f'(x[0, 1]) = 2.1 × 0.2475 = 0.5198",
    ]
    assert str(walk.loss.forward[0]) == "L = v[0] = (0.65 - 1)² = 0.1225"
    assert str(walk.loss.backward[0]) == "dL/dy_pred[0, 0] = dv/dy_pred[0, 0] = 2 (0.65 - 1) = -0.7"


def test_one_neuron_in_the_words_of_a_textbook():
    neuron = Sequential([Dense(1), Sigmoid()]).build(2, dtype=np.float64)
    neuron[0].params["W"][...] = [[0.5], [-0.25]]
    neuron[0].params["b"][...] = 0.1
    step = trace(neuron, [[1.0, 2.0]], [[1.0]], MeanSquaredError())["dense_1"]
    z = 1 * 0.5 + 2 * -0.25 + 0.1
    a = 1 / (1 + math.exp(-z))
    d_z = 2 * (a - 1) * a * (1 - a)
    assert [str(e) for e in (*step.forward, *step.derivatives)] == [
        "z = w1 x1 + w2 x2 + b = 0.5 × 1 + (-0.25) × 2 + 0.1 = 0.1",
        "dz/dw1 = x1 = 1",
        "dz/dw2 = x2 = 2",
        "dz/db = 1",
        "dz/dx1 = w1 = 0.5",
        "dz/dx2 = w2 = -0.25",
    ]
    assert [e.left for e in step.backward] == ["dL/dw1", "dL/dw2", "dL/db", "dL/dx1", "dL/dx2"]
    close([e.value for e in step.backward], [d_z, 2 * d_z, d_z, 0.5 * d_z, -0.25 * d_z])
    assert str(step.backward[1]) == "dL/dw2 = dL/dz dz/dw2 = (-0.2369) × 2 = -0.4738"


def test_gradient_descent_shows_before_and_after():
    network = two_layers()
    walk = trace(network, [[1.0, 2.0]], [[1.0]], MeanSquaredError(), optimizer=SGD(0.1))
    a1, a2 = 1 / (1 + math.exp(-1.1)), 1 / (1 + math.exp(0.2))
    d_y = 2 * (a1 * 2 + a2 * -3 + 0.5 - 1)
    descent = walk.descent
    close(descent.before["dense_2.W"], [[2], [-3]])
    close(descent.grads["dense_2.W"], [[a1 * d_y], [a2 * d_y]])
    close(descent.steps["dense_2.W"], [[-0.1 * a1 * d_y], [-0.1 * a2 * d_y]])
    close(descent.after["dense_2.W"], [[2 - 0.1 * a1 * d_y], [-3 - 0.1 * a2 * d_y]])
    close(descent.after["dense_2.b"], [0.5 - 0.1 * d_y])
    assert descent.loss_before == walk.loss.value and descent.rate == 0.1

    taken = copy.deepcopy(network)
    loss = MeanSquaredError()
    loss.forward(taken.forward([[1.0, 2.0]]), [[1.0]])
    taken.backward(loss.backward())
    SGD(0.1).step(taken.flat_params, taken.flat_grads)
    assert descent.loss_after == loss.forward(taken.infer([[1.0, 2.0]]), [[1.0]])
    assert "step = -0.1 × gradient" in str(walk)
    assert "step = " not in str(
        trace(network, [[1.0, 2.0]], [[1.0]], MeanSquaredError(), optimizer=Adam(0.1))
    )


def test_several_samples_with_weights_and_a_categorical_loss():
    network = Sequential([Dense(2)]).build(1, dtype=np.float64)
    network[0].params["W"][...] = [[1.0, -1.0]]
    walk = trace(network, [[0.0], [1.0]], [0, 1], CategoricalCrossEntropy(), sample_weight=[1, 3])
    p = 1 / (1 + math.exp(-2))  # softmax of (1, -1)
    value = (1 * math.log(2) + 3 * -math.log(1 - p)) / 4
    close(walk.loss.value, value)
    gradient = [[1 * (0.5 - 1) / 4, 1 * 0.5 / 4], [3 * p / 4, 3 * (1 - p - 1) / 4]]
    close(walk.loss.gradient, gradient)
    close([e.value for e in walk.loss.backward], np.ravel(gradient))
    close(walk.loss.prediction, [[0.5, 0.5], [p, 1 - p]])
    assert str(walk.loss.forward[0]) == (
        "L = (w[0] v[0] + w[1] v[1]) / 4 = (1 × 0.6931 + 3 × 2.127) / 4 = 1.768"
    )
    assert str(walk.loss.backward[2]) == (
        "dL/dy_pred[1, 0] = w[1] dv/dy_pred[1, 0] / 4 = 3 × 0.8808 / 4 = 0.6606"
    )
    step = walk["dense_1"]
    close(step.grads["W"], [[3 * p / 4, -3 * p / 4]])
    assert str(step.backward[0]).startswith("dL/dW[0, 0] = x[0, 0] G[0, 0] + x[1, 0] G[1, 0] = 0 ×")


def test_residual_adds_the_gradients_of_both_ways():
    network = Sequential([Residual(ReLU()), Residual(Sequential([Dense(2)]), Dense(2))])
    network.build(2, random_state=0, dtype=np.float64)
    walk = trace(network, [[1.0, -2.0]], [[0.0, 0.0]], MeanSquaredError())
    assert walk.names == [
        "residual_1.body",
        "residual_1",
        "residual_2.body.dense_1",
        "residual_2.shortcut",
        "residual_2",
    ]
    first, second = walk["residual_1"], walk["residual_2"]
    close(first.grad_input, first.grad_output * [[2, 1]])
    ways = walk["residual_2.body.dense_1"].grad_input + walk["residual_2.shortcut"].grad_input
    close(second.grad_input, ways)
    for step in (first, second):
        close([e.value for e in step.backward], step.grad_input.ravel())
        assert step.backward[0].symbols == "body's + shortcut's"


# ---------------------------------------------------------------- any layer


class Cube(Layer):
    """A layer of a user's own."""

    def forward(self, x, training=False):
        self.cache = x
        return x**3

    def backward(self, grad_output):
        return grad_output * 3 * self.cache**2


def test_users_own_layer_and_loss():
    class Half(Loss):
        def value(self, y_pred, y_true):
            return (y_pred - y_true) ** 2 / 2

        def derivative(self, y_pred, y_true):
            return y_pred - y_true

    walk = trace(Cube(), [[2.0, -1.0]], [[0.0, 0.0]], Half())
    assert walk.names == ["cube"] and walk.loss.value_formula == ""
    close(walk["cube"].local.values, [[[[12, 0]], [[0, 3]]]])
    assert [str(e) for e in walk["cube"].backward] == [
        "dL/dx[0, 0] = G[0, 0] dy[0, 0]/dx[0, 0] = 4 × 12 = 48",
        "dL/dx[0, 1] = G[0, 1] dy[0, 1]/dx[0, 1] = (-0.5) × 3 = -1.5",
    ]
    start = walk.loss.backward[0]
    assert str(start) == "dL/dy_pred[0, 0] = dv/dy_pred[0, 0] / 2 = 8 / 2 = 4"


@pytest.mark.parametrize("name", sorted(set(losses.__all__) - {"Loss"}))
def test_formulas_of_a_loss_are_those_of_its_documentation(name):
    """The catalogue has them, in the words of the docstring."""
    loss = getattr(losses, name)
    documented = " ".join(loss.__doc__.replace("``", "").split())
    value, derivative = in_one_line(loss)
    assert f"- value: {value} - backward: {derivative}" in documented


def test_formulas_come_from_the_entry_that_is_verified():
    walk = trace(two_layers(), [[1.0, 2.0]], [[1.0]], MeanSquaredError())
    value, derivative = gradient_catalogue()["MeanSquaredError"].lines[:2]
    assert (walk.loss.value_formula, walk.loss.derivative_formula) == (
        value.plain,
        derivative.plain,
    )
    assert walk.loss.value_formula == "(y_pred - y_true)²"
    assert in_one_line(Cube) == ()  # a layer of one's own

    class Doubled(MeanSquaredError):
        """Another function than that of its parent class."""

    assert in_one_line(Doubled) == ()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_local_derivatives_and_gradients_of_every_layer_fit_together(case, rng):
    """The chain rule, in the numbers of the trace: G dy/dx = dL/dx and G dy/dθ = dL/dθ."""
    layer = case.build()
    x = case.sample(max(1, case.least_rows))
    y = rng.standard_normal(layer.infer(x).shape)
    walk = trace(layer, x, y, MeanSquaredError())
    assert str(walk) and walk._repr_html_()
    for step in walk.steps:
        G, local = step.grad_output, step.local
        if local.elementwise:
            close(G * local.values, step.grad_input)
        elif isinstance(local.values, np.ndarray) and local.values.shape[: G.ndim] == G.shape:
            product = np.tensordot(G, local.values, G.ndim)
            np.testing.assert_allclose(product, step.grad_input, atol=1e-14)
        for name, derivative in local.by_param.items():
            expected = 0 if step.frozen else np.tensordot(G, derivative, G.ndim)
            np.testing.assert_allclose(step.grads[name], expected, atol=1e-14)
        for equation in step.backward:
            assert equation.left.startswith(("dL/dx", "dL/dz", *(f"dL/d{n}" for n in step.grads)))


def test_equations_give_what_they_say():
    """The rounded numbers on the right multiply out to the value."""
    network = Sequential([Conv2D(2, 2), PReLU(), Flatten(), BatchNorm(), Dense(2), Softmax()])
    network.build((3, 2, 1), random_state=0, dtype=np.float64)
    x = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 2, 1))
    walk = trace(network, x, np.eye(2), MeanSquaredError())
    equations = [e for step in walk.steps for e in step.backward]
    assert len(equations) > 60
    for equation in equations:
        if "…" in equation.numbers or not equation.numbers:
            continue
        terms = eval(f"[{equation.numbers.replace('×', '*').replace(' + ', ', ')}]")
        assert sum(terms) == pytest.approx(equation.value, abs=2e-3 * sum(map(abs, terms))), (
            equation
        )


def test_frozen_layers_have_no_parameter_gradient():
    network = two_layers()
    network[0].trainable = False
    step = trace(network, [[1.0, 2.0]], [[1.0]], MeanSquaredError())["dense_1"]
    close(step.grads["W"], np.zeros((2, 2)))
    assert [e.left for e in step.backward] == ["dL/dx[0, 0]", "dL/dx[0, 1]"]
    assert "frozen" in str(step)


# ---------------------------------------------------------------- what it leaves alone


def test_everything_stays_as_it_was():
    network = Sequential([Dense(4), BatchNorm(), Dropout(0.5), Dense(1)])
    network.build(3, random_state=0, dtype=np.float64)
    network.needs_input_grad = False
    loss, optimizer = MeanSquaredError(), Adam()
    x, y = np.random.default_rng(0).standard_normal((6, 3)), np.zeros((6, 1))
    x.flags.writeable = False
    before = copy.deepcopy(network)
    walks = [trace(network, x, y, loss, optimizer=optimizer) for _ in range(2)]
    assert network.flat_params.tolist() == before.flat_params.tolist()
    assert not network.flat_grads.any() and network.needs_input_grad is False
    assert network[1].buffers["running_mean"].tolist() == [0.0] * 4
    assert optimizer.state == {}
    with raises_exactly(RuntimeError, "in Sequential: backward needs a forward before it"):
        network.backward(y)
    with raises_exactly(RuntimeError, "MeanSquaredError(): backward needs a forward first"):
        loss.backward()
    # The random streams did not move either: the same units are dropped again, and in training.
    np.testing.assert_array_equal(walks[0]["dropout_1"].output, walks[1]["dropout_1"].output)
    np.testing.assert_array_equal(walks[0].loss.y_pred, network.forward(x, training=True))
    assert network._observer is None


def test_loss_after_the_step_has_the_same_noise():
    network = Sequential([Dense(8), Dropout(0.5), Dense(1)]).build(3, random_state=0)
    x, y = np.ones((4, 3)), np.zeros((4, 1))
    walk = trace(network, x, y, MeanSquaredError(), optimizer=SGD(0.0))
    assert walk.descent.loss_after == walk.descent.loss_before


def test_inference_mode():
    network = Sequential([Dropout(0.9), Dense(1)]).build(3, random_state=0)
    walk = trace(network, np.ones((1, 3)), [[0.0]], MeanSquaredError(), training=False)
    assert walk["dropout_1"].output.tolist() == [[1, 1, 1]]
    assert "in inference mode" in str(walk)


def test_refusals():
    network = two_layers()
    with raises_exactly(
        ValueError, "trace shows one step from one gradient, which LBFGS does not take"
    ):
        trace(network, [[1.0, 2.0]], [[1.0]], MeanSquaredError(), optimizer=LBFGS())
    with raises_exactly(
        RuntimeError, "in Sequential: not built yet; call build(input_shape) first"
    ):
        trace(Sequential([Dense(1)]), [[1.0]], [[1.0]], MeanSquaredError())
    with raises_exactly(ValueError, "in Sequential: expects (n_samples, 2), got (1, 1)"):
        trace(network, [[1.0]], [[1.0]], MeanSquaredError())
    with raises_exactly(
        KeyError, "\"no layer 'dense_9' in the trace, only dense_1, sigmoid_1, dense_2\""
    ):
        trace(network, [[1.0, 2.0]], [[1.0]], MeanSquaredError())["dense_9"]


# ---------------------------------------------------------------- how it looks


def test_text_walks_down_and_up_again():
    text = str(trace(two_layers(), [[1.0, 2.0]], [[1.0]], MeanSquaredError()))
    down, up = text.split("BACKWARD, upwards")
    for half, order in ((down, 1), (up, -1)):
        places = [half.index(name) for name in ("dense_1  ", "sigmoid_1  ", "dense_2  ", "loss  ")]
        assert places == sorted(places, reverse=order < 0)
    assert "W = [[ 0.5  -1.  ]\n       [ 0.25  0.5 ]]" in down
    assert "dL/dx = " in up


def neuron_and_relu():
    network = Sequential([Dense(1), ReLU()]).build(2, dtype=np.float64)
    network[0].params["W"][...] = [[0.5], [-1.0]]
    network[0].params["b"][...] = 3.0
    return trace(network, [[1.0, 2.0]], [[1.0]], MeanSquaredError(), optimizer=SGD(0.1))


IN_FULL = """\
Backprop through Sequential in training mode: L = 0.25, MeanSquaredError()

FORWARD, downwards
dense_1  Dense(units=1)  (1, 2) -> (1, 1)
  x = [[1. 2.]]
  W = [[ 0.5]
       [-1. ]]
  b = [3.]
  z = w1 x1 + w2 x2 + b = 0.5 × 1 + (-1) × 2 + 3 = 1.5
  z = [[1.5]]
relu_1  ReLU()  (1, 1) -> (1, 1)
  x = [[1.5]]
  y[0, 0] = relu(x[0, 0]) = relu(1.5) = 1.5
  y = [[1.5]]
loss  MeanSquaredError()
  y_pred = [[1.5]]
  y_true = [[1.]]
  v = (y_pred - y_true)²
  L = v[0] = (1.5 - 1)² = 0.25

BACKWARD, upwards
loss  MeanSquaredError()
  dv/dy_pred = 2 (y_pred - y_true)
  dL/dy_pred[0, 0] = dv/dy_pred[0, 0] = 2 (1.5 - 1) = 1
  dL/dy_pred = [[1.]]
relu_1  ReLU()  (1, 1) -> (1, 1)
  G = dL/dy = [[1.]]
  local: dy/dx = f'(x), number by number
  f'(x[0, 0]) = f'(1.5) = 1
  dL/dx[0, 0] = G[0, 0] f'(x[0, 0]) = 1 × 1 = 1
  f'(x) = [[1.]]
  dL/dx = [[1.]]
dense_1  Dense(units=1)  (1, 2) -> (1, 1)
  dL/dz = [[1.]]
  dz/dw1 = x1 = 1
  dz/dw2 = x2 = 2
  dz/db       = 1
  dz/dx1 = w1 = 0.5
  dz/dx2 = w2 = -1
  dL/dw1 = dL/dz dz/dw1 = 1 × 1    = 1
  dL/dw2 = dL/dz dz/dw2 = 1 × 2    = 2
  dL/db  = dL/dz dz/db  = 1 × 1    = 1
  dL/dx1 = dL/dz dz/dx1 = 1 × 0.5  = 0.5
  dL/dx2 = dL/dz dz/dx2 = 1 × (-1) = -1
  dL/dW = [[1.]
           [2.]]
  dL/db = [1.]
  dL/dx = [[ 0.5 -1. ]]

ONE STEP of SGD(learning_rate=0.1)
  parameter        before  gradient  step = -0.1 × gradient  after
  dense_1.W[0, 0]     0.5         1                    -0.1    0.4
  dense_1.W[1, 0]      -1         2                    -0.2   -1.2
  dense_1.b[0]          3         1                    -0.1    2.9
  L before 0.25, after 0.01: down by 0.24"""

PASSES_IN_HTML = """\
Backprop through Sequential in training mode: L = 0.25, MeanSquaredError()
forward ↓
backward ↑
x = [[1. 2.]]
W = [[ 0.5]
     [-1. ]]
b = [3.]
z = [[1.5]]
dense_1
Dense(units=1)
dy[j]/dx[i] = W[i, j]
dL/dx = [[ 0.5 -1. ]]
dL/db = [1.]
dL/dW = [[1.]
         [2.]]
dL/dz = [[1.]]
↓
↑
x = [[1.5]]
y = [[1.5]]
relu_1
ReLU()
dy/dx = f'(x), number by number
dL/dx = [[1.]]
f'(x) = [[1.]]
G = dL/dy = [[1.]]
↓
↑
y_pred = [[1.5]]
y_true = [[1.]]
L = 0.25
loss
MeanSquaredError()
v = (y_pred - y_true)²
dv/dy_pred = 2 (y_pred - y_true)
dL/dy_pred = [[1.]]
↓ dense_1"""


def written(page):
    """The lines that a reader of HTML sees."""
    return html.unescape("\n".join(piece for piece in re.split("<[^>]*>", page) if piece))


def equations_of(text):
    """The lines of a text that compute something, by pass and layer, as in HTML."""
    found, arrow, layer = {}, "↓", ""
    for line in text.partition("\n\nONE STEP")[0].splitlines()[2:]:
        if line.startswith("BACKWARD"):
            arrow = "↑"
        elif line[:1].strip():
            layer = line.split("  ")[0]
        elif re.match(r"  (?!\S+ = \[)((\w|/|')+(\(x)?\[|z = w|L = v|dz/|dL/(dw|db |dx\d))", line):
            found.setdefault(f"{arrow} {layer}", []).append(line[2:])
    return found


def test_the_text_of_a_small_network_is_this():
    assert str(neuron_and_relu()) == IN_FULL


def test_html_says_what_the_text_says_in_its_order():
    passes, _, rest = written(neuron_and_relu()._repr_html_()).partition("\nz = w1")
    assert passes == PASSES_IN_HTML
    lines = IN_FULL.splitlines()
    numbers = [line for name, own in equations_of(IN_FULL).items() for line in (name, *own)][1:]
    step = [lines[-6].replace("ONE STEP", "One step")]
    cells = [cell for row in lines[-5:-1] for cell in re.split("  +", row.strip())]
    assert f"z = w1{rest}".splitlines() == [*numbers, *step, *cells, lines[-1].strip()]


def stepped(optimizer, target=1.0):
    """A trace of y = 2 x at x = 1, with one step."""
    network = Sequential([Dense(1, use_bias=False)]).build(1, dtype=np.float64)
    network[0].params["W"][...] = 2.0
    return trace(network, [[1.0]], [[target]], MeanSquaredError(), optimizer=optimizer)


@pytest.mark.parametrize(
    ("optimizer", "target", "header", "row", "change"),
    [
        (SGD(0.1), 1.0, "step = -0.1 × gradient", ["2", "2", "-0.2", "1.8"],
         "L before 1, after 0.64: down by 0.36"),
        (SGD(2.0), 1.0, "step = -2 × gradient", ["2", "2", "-4", "-2"],
         "L before 1, after 9: up by 8"),
        (SGD(1.0), 1.0, "step = -1 × gradient", ["2", "2", "-2", "0"],
         "L before 1, after 1: up by 0"),
        (SGD(0.1), 2.0, "step = -0.1 × gradient", ["2", "0", "0", "2"],
         "L before 0, after 0: up by 0"),
        (SGD(0.25, weight_decay=1.0), 1.0, "step", ["2", "2", "-1", "1"],
         "L before 1, after 0: down by 1"),
        (SGD(0.25, momentum=0.9), 1.0, "step = -0.25 × gradient", ["2", "2", "-0.5", "1.5"],
         "L before 1, after 0.25: down by 0.75"),
        (Adam(0.5), 1.0, "step", ["2", "2", "-0.5", "1.5"],
         "L before 1, after 0.25: down by 0.75"),
    ],
)  # fmt: skip
def test_the_table_of_a_step_says_what_it_did_and_whether_the_loss_went_up(
    optimizer, target, header, row, change
):
    walk = stepped(optimizer, target)
    *_, title, head, cells, last = str(walk).splitlines()
    assert title == f"ONE STEP of {optimizer!r}"
    columns = ["parameter", "before", "gradient", header, "after"]
    assert re.split("  +", head.strip()) == columns
    assert re.split("  +", cells.strip()) == ["dense_1.W[0, 0]", *row]
    assert last.strip() == change
    expected = [title.replace("ONE STEP", "One step"), *columns, "dense_1.W[0, 0]", *row, change]
    assert written(walk._repr_html_()).splitlines()[-12:] == expected
    assert written(walk.to_html()).split("One step", 1)[1].splitlines()[1:11] == expected[1:-1]
    assert f"<p>{change}</p>" in walk.to_html()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
def test_a_trace_says_its_mode_and_what_is_frozen(training, frozen):
    network = two_layers()
    network[0].trainable = not frozen
    walk = trace(network, [[1.0, 2.0]], [[1.0]], MeanSquaredError(), training=training)
    mode = "training" if training else "inference"
    heading = f"Backprop through Sequential in {mode} mode: L = 0.1225, MeanSquaredError()"
    assert str(walk).splitlines()[0] == heading
    assert written(walk._repr_html_()).splitlines()[0] == heading
    titles = [line for line in str(walk).splitlines() if line.startswith("dense_1")]
    word = ", frozen" if frozen else ""
    assert titles == [f"dense_1  Dense(units=2){word}  (1, 2) -> (1, 2)"] * 2
    assert ("dL/dW[0, 1] = x[0, 0] G[0, 1]" in str(walk)) is not frozen


@pytest.mark.parametrize("loss", [MeanSquaredError(), CategoricalCrossEntropy()], ids=str)
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_html_has_the_equations_of_the_text_under_arrow_and_name(depth, loss):
    layers_ = [layer for _ in range(depth) for layer in (Dense(2), Sigmoid())]
    network = Sequential(layers_).build(2, random_state=0, dtype=np.float64)
    y = [1] if isinstance(loss, CategoricalCrossEntropy) else [[0.0, 1.0]]
    walk = trace(network, [[1.0, 2.0]], np.array(y), loss)
    blocks = re.findall("<summary>(.*?)</summary><pre>(.*?)</pre>", walk._repr_html_(), re.DOTALL)
    told = {html.unescape(title): html.unescape(lines).splitlines() for title, lines in blocks}
    names = [name for i in range(depth) for name in (f"dense_{i + 1}", f"sigmoid_{i + 1}")]
    assert told == equations_of(str(walk))
    down = [f"↓ {name}" for name in [*names, "loss"]]
    assert list(told) == [*down, "↑ loss", *(f"↑ {name}" for name in names[::-1])]


def test_large_network_becomes_a_table():
    network = Sequential([Conv2D(8, 3), ReLU(), Flatten(), Dense(3)]).build((8, 8, 1), 0)
    x = np.random.default_rng(0).standard_normal((16, 8, 8, 1))
    walk = trace(network, x, np.arange(16) % 3, CategoricalCrossEntropy())
    lines = str(walk).splitlines()
    assert len(lines) < 12 and max(map(len, lines)) < 160
    row = next(line for line in lines if line.startswith("conv2d_1")).split("  ")
    cells = [cell.strip() for cell in row if cell]
    step = walk["conv2d_1"]
    assert cells[1:4] == [
        "(16, 6, 6, 8)",
        f"{step.output.mean():.4g}",
        f"{step.output.std():.4g}",
    ]
    assert cells[6] == f"{np.linalg.norm(step.grad_output):.4g}"
    assert f"|dL/dW| {np.linalg.norm(step.grads['W']):.4g}" in str(walk)
    assert f"max {step.output.max():.4g}" in str(step)
    input_row = next(line for line in lines if line.startswith("input")).split()
    assert input_row[-1] == f"{np.linalg.norm(step.grad_input):.4g}"


TAGS = "p b table thead tbody tr th td pre details summary"  # what notebook viewers keep


class Cells(HTMLParser):
    """Collects the table's cells and refuses tags that are not closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.rows, self.tags = [], [], set()
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_html_has_forward_on_the_left_and_backward_on_the_right():
    walk = trace(two_layers(), [[1.0, 2.0]], [[1.0]], MeanSquaredError(), optimizer=SGD(0.1))
    cells = Cells(walk._repr_html_())
    assert cells.tags <= set(TAGS.split())
    assert cells.rows[0] == ["forward ↓", "", "backward ↑"]
    names = [row[1].split("Dense")[0].split("Sigmoid")[0] for row in cells.rows[1:6:2]]
    assert names == ["dense_1", "sigmoid_1", "dense_2"]
    assert cells.rows[2] == ["↓", "", "↑"]
    left, _, right = cells.rows[1]
    assert left.startswith("x = [[1. 2.]]") and left.endswith("y = [[ 1.1 -0.2]]")
    assert right.startswith("dL/dx") and "G = dL/dy" in right.splitlines()[-1]
    assert cells.rows[-9][0] == "dense_1.W[0, 0]" and len(cells.rows[-9]) == 5


def test_html_escapes_what_it_shows():
    class Odd(Cube):
        def __repr__(self):
            return "Odd(<b>)"

    html = trace(Odd(), [[1.0]], [[0.0]], MeanSquaredError())._repr_html_()
    assert "Odd(&lt;b&gt;)" in html and "Odd(<b>)" not in html


def test_concat_and_binary_loss_print():
    network = Sequential([Concat([Dense(1), Dense(1)]), Dense(1)]).build(2, random_state=0)
    text = str(trace(network, [[1.0, 2.0]], [[1.0]], BinaryCrossEntropy()))
    assert "concat_1.branch_1  Dense(units=1)" in text and "predicted = [[" in text


WITH_A_TWIN = {
    "AvgPool1D": "AvgPool2D",
    "MaxPool1D": "MaxPool2D",
    "GlobalAvgPool1D": "GlobalAvgPool2D",
    "Conv1D": "Conv2D",
    "SimpleRNN": "LSTM",
    "Flatten": "Reshape",
    "Permute": "Reshape",
    "Dropout": "SpatialDropout2D",
}


@pytest.mark.parametrize("name", WITH_A_TWIN)
def test_layers_of_one_kind_have_the_same_line(name):
    (line,) = in_one_line(getattr(layers, name))
    assert (line,) == in_one_line(getattr(layers, WITH_A_TWIN[name]))


@pytest.mark.parametrize("name", [name for name in losses.__all__ if name != "Loss"])
def test_a_loss_has_a_line_for_its_value_and_one_for_its_derivative(name):
    lines = in_one_line(getattr(losses, name))
    assert len(lines) == 2 and not any("y_pred[" in line for line in lines)


def test_a_trace_without_its_loss_is_told_what_to_write():
    words = (
        "trace: missing a required argument: 'loss'; write trace(network, x, y, loss); "
        "of a fitted estimator the network is estimator.network_"
    )
    with raises_exactly(TypeError, words):
        trace(Dense(1), [[1.0]], [[1.0]])
