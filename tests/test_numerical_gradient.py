"""Numerical gradients: right to the digits that the theory of each method promises."""

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import Dense, Sequential, Tanh
from layerkit.inspection import numerical_gradient
from layerkit.inspection.numerical_differentiation import AUTO_STEP
from layerkit.losses import MeanSquaredError

DIGITS = {"forward": 1e-7, "central": 1e-9, "complex": 1e-15}


@pytest.mark.parametrize("method", DIGITS)
def test_gradient_of_a_known_function(method):
    x = np.array([[0.5, -1.25], [2.0, 3.0]])
    gradient = numerical_gradient(lambda x: (np.sin(x) * x).sum(), x, method=method)
    expected = np.cos(x) * x + np.sin(x)
    np.testing.assert_allclose(gradient, expected, rtol=20 * DIGITS[method], atol=0)


@pytest.mark.parametrize("method", DIGITS)
def test_every_coordinate_gets_its_own_slope(method, rng):
    c = rng.standard_normal((2, 3, 2))
    gradient = numerical_gradient(lambda x: np.sum(c * x), np.zeros((2, 3, 2)), method=method)
    np.testing.assert_allclose(gradient, c, rtol=1e-7)


def test_step_grows_with_x():
    """Without it h = 6e-6 would be lost beside 1e12."""
    for method, digits in DIGITS.items():
        slope = numerical_gradient(np.log, 1e12, method=method)
        np.testing.assert_allclose(slope, 1e-12, rtol=100 * digits)


@pytest.mark.parametrize(("method", "order"), [("forward", 1), ("central", 2), ("complex", 2)])
def test_truncation_error_falls_with_the_order_of_the_method(method, order):
    def error(h):
        return abs(float(numerical_gradient(np.exp, 0.3, method=method, step=h)) - np.exp(0.3))

    assert error(1e-2) / error(1e-3) == pytest.approx(10**order, rel=0.05)


@pytest.mark.parametrize("method", ["forward", "central"])
def test_the_automatic_step_is_about_the_best(method, rng):
    """Averaged over points, no other step is more than three times as good."""
    points = rng.uniform(0.5, 1.5, 200)

    def error(step):
        slopes = [float(numerical_gradient(np.exp, x, method=method, step=step)) for x in points]
        return np.mean(np.abs(np.array(slopes) - np.exp(points)))

    others = [AUTO_STEP[method] * 10.0**k for k in (-3, -2, -1, -0.5, 0.5, 1, 2, 3)]
    assert error("auto") < 3 * min(error(h) for h in others)
    assert error(others[0]) > 100 * error("auto") and error(others[-1]) > 100 * error("auto")


@pytest.mark.parametrize(("x", "size"), [(0.0, 1.0), (0.5, 1.0), (-1.5, 1.5), (8.0, 8.0)])
def test_the_automatic_step_grows_with_numbers_beyond_one(x, size):
    seen = []
    numerical_gradient(lambda v: seen.append(float(v)) or 0.0, x, method="central")
    moved = [abs(value - x) for value in seen if value != x]
    np.testing.assert_allclose(moved, [AUTO_STEP["central"] * size] * 2, rtol=1e-6)


def test_kink():
    assert numerical_gradient(np.abs, 0.0) == 0
    assert numerical_gradient(np.abs, 0.0, method="forward") == 1


def test_agrees_with_backward(rng):
    network = Sequential([Dense(4), Tanh(), Dense(2)]).build(3, random_state=0, dtype=np.float64)
    x, y, loss = rng.standard_normal((5, 3)), rng.standard_normal((5, 2)), MeanSquaredError()
    loss.forward(network.forward(x), y)
    expected = network.backward(loss.backward())
    gradient = numerical_gradient(lambda x: loss.forward(network.infer(x), y), x)
    np.testing.assert_allclose(gradient, expected, atol=1e-10)


def test_input_is_left_alone_even_by_an_f_that_writes():
    x = np.array([1.0, 2.0])
    x.flags.writeable = False

    def f(x):
        value = x @ x
        x[...] = 99
        return value

    np.testing.assert_allclose(numerical_gradient(f, x), [2, 4], rtol=1e-9)
    assert numerical_gradient(lambda x: x.sum(), np.zeros((0, 3))).shape == (0, 3)
    assert numerical_gradient(np.square, np.float32(3)).dtype == np.float64


def test_what_does_not_fit_is_refused():
    with raises_exactly(ValueError, "f must return one number, got an array of shape (2,)"):
        numerical_gradient(np.sin, [1.0, 2.0])
    with raises_exactly(
        ValueError,
        'f returned a real number for complex input; method="complex" needs an f that '
        "takes and returns complex numbers",
    ):
        numerical_gradient(np.abs, 1.0, method="complex")
    with raises_exactly(
        ValueError,
        'f returned a complex number for real input; method="complex" needs an f that '
        "takes and returns complex numbers",
    ):
        numerical_gradient(lambda x: x + 1j, 1.0)
    with raises_exactly(
        ValueError, "method must be one of forward, central, complex, got 'backward'"
    ):
        numerical_gradient(np.sin, 1.0, method="backward")
    for step in (0, -1e-3, np.nan, "small"):
        with raises_exactly(ValueError, f'step must be "auto" or a positive number, got {step!r}'):
            numerical_gradient(np.sin, 1.0, step=step)
    with raises_exactly(ValueError, "step=1e-17 is lost in rounding at x = 1.0"):
        numerical_gradient(np.sin, 1.0, step=1e-17)
    with raises_exactly(ValueError, "x must be an array of real numbers, got dtype complex128"):
        numerical_gradient(np.sin, 1j)
