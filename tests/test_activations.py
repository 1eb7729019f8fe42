"""Activations: PyTorch and mpmath as oracles, gradients, identities, extremes, NaN and dtypes."""

import math
import re
import warnings

import numpy as np
import pytest
from errors import raises_exactly
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from layerkit import (
    ELU,
    GELU,
    GLU,
    SELU,
    Dense,
    HardSigmoid,
    HardSwish,
    HardTanh,
    Identity,
    LeakyReLU,
    LogSoftmax,
    Maxout,
    Mish,
    PReLU,
    ReLU,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Softsign,
    Tanh,
    check_gradients,
    initializers,
)

# name: (layer, torch's function, range of y, range of the derivative as the docstring has them)
INF = math.inf
ELEMENTWISE = {
    "Identity": (Identity(), lambda t, F: t * 1, (-INF, INF), (1, 1)),
    "ReLU": (ReLU(), lambda t, F: F.relu(t), (0, INF), (0, 1)),
    "LeakyReLU": (LeakyReLU(), lambda t, F: F.leaky_relu(t), (-INF, INF), (0.01, 1)),
    "LeakyReLU(3)": (LeakyReLU(3), lambda t, F: F.leaky_relu(t, 3), (-INF, INF), (1, 3)),
    "ELU": (ELU(), lambda t, F: F.elu(t), (-1, INF), (0, 1)),
    "ELU(1.5)": (ELU(1.5), lambda t, F: F.elu(t, 1.5), (-1.5, INF), (0, 1.5)),
    "SELU": (SELU(), lambda t, F: F.selu(t), (-1.7581, INF), (0, 1.7581)),
    "GELU": (GELU(), lambda t, F: F.gelu(t), (-0.1700, INF), (-0.1289, 1.1289)),
    "GELU(True)": (
        GELU(approximate=True),
        lambda t, F: F.gelu(t, approximate="tanh"),
        (-0.1700, INF),
        (-0.1290, 1.1290),
    ),
    "SiLU": (SiLU(), lambda t, F: F.silu(t), (-0.2785, INF), (-0.0998, 1.0998)),
    "Mish": (Mish(), lambda t, F: F.mish(t), (-0.3088, INF), (-0.1125, 1.0885)),
    "Sigmoid": (Sigmoid(), lambda t, F: t.sigmoid(), (0, 1), (0, 1 / 4)),
    # F.hardsigmoid rounds its 1/6 to float32
    "HardSigmoid": (HardSigmoid(), lambda t, F: F.relu6(t + 3) / 6, (0, 1), (0, 1 / 6)),
    "HardSwish": (HardSwish(), lambda t, F: F.hardswish(t), (-3 / 8, INF), (-1 / 2, 3 / 2)),
    "Tanh": (Tanh(), lambda t, F: t.tanh(), (-1, 1), (0, 1)),
    "HardTanh": (HardTanh(), lambda t, F: F.hardtanh(t), (-1, 1), (0, 1)),
    "ReLU6": (HardTanh(0, 6), lambda t, F: F.relu6(t), (0, 6), (0, 1)),
    "HardTanh(-0.5, 2)": (
        HardTanh(-0.5, 2),
        lambda t, F: F.hardtanh(t, -0.5, 2),
        (-0.5, 2),
        (0, 1),
    ),
    # without a threshold, above which PyTorch returns x itself
    "Softplus": (Softplus(), lambda t, F: F.softplus(t, threshold=700), (0, INF), (0, 1)),
    "Softsign": (Softsign(), lambda t, F: F.softsign(t), (-1, 1), (0, 1)),
}
WHOLE_ROW = {
    "PReLU": PReLU,
    "Softmax": Softmax,
    "LogSoftmax": LogSoftmax,
    "GLU": GLU,
    "Maxout": lambda: Maxout(units=3, pieces=2),
}
EVERY = {**{name: case[0] for name, case in ELEMENTWISE.items()}, **WHOLE_ROW}

KINKS = [-3.0, -1.0, 0.0, 1.0, 3.0]
EXTREMES = [-1e4, -700.0, -90.0, -20.0, 20.0, 90.0, 700.0, 1e4]

floats = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=3, max_side=4), elements=st.floats(-50, 50)
)
rows = arrays(
    np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.floats(-50, 50)
)


def fresh(name):
    """A layer of its own: those of the table are shared, and building one changes it."""
    made = EVERY[name]
    return made() if callable(made) else type(made)(**made.get_params())


def close(actual, expected, rtol=1e-9, atol=1e-12):
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def torch_gradients(function, arguments, grad_output):
    """What PyTorch makes of it: the result, and the gradient of each argument."""
    torch = pytest.importorskip("torch")
    tensors = [torch.tensor(a, requires_grad=True) for a in arguments]
    result = function(*tensors)
    result.backward(torch.tensor(grad_output))
    return result.detach().numpy(), [t.grad.numpy() for t in tensors]


# ---------------------------------------------------------------- oracles


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_value_and_gradient_equal_pytorch(name, rng):
    torch = pytest.importorskip("torch")
    function = ELEMENTWISE[name][1]
    x = np.concatenate([KINKS, EXTREMES, np.linspace(-8, 8, 60), rng.normal(size=27)]).reshape(
        10, -1
    )
    g = rng.normal(size=x.shape)
    layer = fresh(name)
    y, (gx,) = torch_gradients(lambda t: function(t, torch.nn.functional), [x], g)
    close(layer.forward(x), y)
    close(layer.backward(g), gx)


@pytest.mark.parametrize("shape", [(7, 3), (2, 4, 5, 3)])
def test_prelu_equals_pytorch(shape, rng):
    torch = pytest.importorskip("torch")
    x, g, slopes = rng.normal(size=shape), rng.normal(size=shape), np.array([0.3, -0.2, 0.0])
    x[0, ..., 0] = 0
    layer = PReLU().build(shape[1:], dtype=np.float64)
    assert layer.params["negative_slope"].tolist() == [0.25] * 3, "the paper's start"
    layer.params["negative_slope"][...] = slopes

    def channels_first(t, a):
        return torch.prelu(t.movedim(-1, 1), a).movedim(1, -1)

    y, (gx, ga) = torch_gradients(channels_first, [x, slopes], g)
    close(layer.forward(x), y)
    close(layer.backward(g), gx)
    close(layer.grads["negative_slope"], ga)


@pytest.mark.parametrize("leading", [(6,), (2, 3, 2)])
def test_maxout_equals_pytorch(leading, rng):
    units, pieces, n_in = 4, 3, 5
    layer = Maxout(units, pieces).build((*leading[1:], n_in), random_state=0, dtype=np.float64)
    layer.params["b"][...] = rng.normal(size=pieces * units)
    x, g = rng.normal(size=(*leading, n_in)), rng.normal(size=(*leading, units))

    def maxout(t, W, b):
        return (t @ W + b).unflatten(-1, (pieces, units)).max(-2).values

    y, (gx, gW, gb) = torch_gradients(maxout, [x, layer.params["W"], layer.params["b"]], g)
    close(layer.forward(x), y)
    close(layer.backward(g), gx)
    close(layer.grads["W"], gW)
    close(layer.grads["b"], gb)


@pytest.mark.parametrize("layer_class, kind", [(Softmax, "softmax"), (LogSoftmax, "log_softmax")])
@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_softmax_equals_pytorch(layer_class, kind, axis, rng):
    torch = pytest.importorskip("torch")
    x, g = 5 * rng.normal(size=(3, 4, 5)), rng.normal(size=(3, 4, 5))
    layer = layer_class(axis=axis)
    y, (gx,) = torch_gradients(lambda t: getattr(torch, kind)(t, axis), [x], g)
    close(layer.forward(x), y)
    close(layer.backward(g), gx)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 8)])
def test_glu_equals_pytorch(shape, rng):
    torch = pytest.importorskip("torch")
    x, layer = 4 * rng.normal(size=shape), GLU()
    g = rng.normal(size=(*shape[:-1], shape[-1] // 2))
    y, (gx,) = torch_gradients(torch.nn.functional.glu, [x], g)
    close(layer.forward(x), y)
    close(layer.backward(g), gx)


@pytest.mark.parametrize(
    "name", ["ELU", "GELU", "GELU(True)", "SiLU", "Mish", "Softplus", "Softsign"]
)
def test_digits_are_kept_where_the_result_is_tiny(name):
    mp = pytest.importorskip("mpmath").mp
    formulas = {
        "ELU": lambda x: mp.expm1(x) if x < 0 else x,
        "GELU": lambda x: x * mp.ncdf(x),
        "GELU(True)": lambda x: (
            x * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3))) / 2
        ),
        "SiLU": lambda x: x / (1 + mp.exp(-x)),
        "Mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
        "Softplus": lambda x: mp.log1p(mp.exp(x)),
        "Softsign": lambda x: x / (1 + abs(x)),
    }
    layer, f = fresh(name), formulas[name]
    x = np.array([[-37.0, -9.3, -6.1, -3.2, -1e-3, -1e-9, 1e-12, 1e-3, 2.5, 40.0]])
    with mp.workdps(80):
        expected = [[float(f(mp.mpf(v))) for v in x[0]]]
        slope = [[float(mp.diff(f, mp.mpf(v))) for v in x[0]]]
    close(layer.function(x), expected, rtol=1e-12, atol=0)
    digits = 1e-16 if name == "ELU" else 0  # y + 1 is exact to an epsilon, not to all digits
    close(layer.derivative(x), slope, rtol=1e-12, atol=digits)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivative_is_the_slope_and_backward_uses_it(name):
    layer, h = fresh(name), 1e-6
    x = np.linspace(-6, 6, 401)[:, np.newaxis] + 0.0012345  # between the kinks
    derivative = layer.derivative(x)
    close(derivative, (layer.function(x + h) - layer.function(x - h)) / (2 * h), 1e-6, 1e-8)
    y = layer.forward(x)
    close(y, layer.function(x), 0, 0)
    close(layer.backward(2 * np.ones_like(y)), 2 * derivative, 1e-14, 1e-15)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_ranges_are_as_documented(name):
    layer, _, (low, high), (least, largest) = ELEMENTWISE[name]
    x = np.linspace(-60, 60, 120_001)
    y, slope = layer.function(x), layer.derivative(x)
    for values, (bottom, top) in ((y, (low, high)), (slope, (least, largest))):
        tight = 0.02 if name == "Softsign" else 1e-3  # it needs long to come near its limits
        assert values.min() >= bottom - 1e-4 and values.max() <= top + 1e-4
        assert values.min() < bottom + tight if bottom > -INF else values.min() < -0.5
        assert values.max() > top - tight if top < INF else values.max() > 59


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize(
    "name", ["ReLU", "LeakyReLU", "LeakyReLU(3)", "PReLU", "HardSigmoid", "HardSwish", "HardTanh"]
)
def test_slopes_at_kinks_lie_between_the_one_sided_ones(name):
    report = check_gradients(fresh(name), x=[KINKS, KINKS])
    assert report, report


def test_one_piece_takes_the_gradient_of_a_tie():
    layer = Maxout(units=2, pieces=3).build(2, dtype=np.float64)
    layer.params["W"][...] = np.arange(12.0).reshape(2, 6)
    assert layer.forward([[0.0, 0.0]]).tolist() == [[0.0, 0.0]]
    assert layer.backward([[5.0, 7.0]]).tolist() == [[0 * 5 + 1 * 7, 6 * 5 + 7 * 7]]
    assert layer.grads["b"].tolist() == [5.0, 7.0, 0.0, 0.0, 0.0, 0.0]


def test_maxout_as_first_layer_skips_the_input_gradient(rng):
    layer = Maxout(3, 2).build(4)
    layer.needs_input_grad = False
    layer.forward(rng.normal(size=(5, 4)))
    assert layer.backward(np.ones((5, 3))) is None
    assert layer.grads["b"].sum() == 15


# ---------------------------------------------------------------- identities


@given(floats)
def test_identities_of_the_sigmoid_family(x):
    s, t = Sigmoid().forward(x), Tanh().forward(x)
    close(Sigmoid().derivative(x), s * Sigmoid().forward(-x))
    close(Softplus().derivative(x), s)
    close(np.log(s), -Softplus().forward(-x))
    close(Tanh().forward(-x), -t, 0, 0)
    close(t, 2 * Sigmoid().forward(2 * x) - 1)
    close(Softsign().forward(-x), -Softsign().forward(x), 0, 0)
    close(HardSigmoid().forward(x), (HardTanh().forward(x / 3) + 1) / 2)


@given(floats)
def test_what_passes_at_x_and_at_minus_x_adds_up_to_x(x):
    gated = (GELU(), GELU(approximate=True), SiLU(), HardSwish(), ReLU(), Softplus())
    for layer in gated:
        close(layer.forward(x) - layer.forward(-x), x)
        close(
            layer.derivative(x) + layer.derivative(-x), np.where(x == 0, layer.derivative(x) * 2, 1)
        )


@given(floats)
def test_identities_of_the_gates(x):
    close(SiLU().forward(x), x * Sigmoid().forward(x))
    close(HardSwish().forward(x), x * HardSigmoid().forward(x))
    close(Mish().forward(x), x * np.tanh(Softplus().forward(x)))
    close(GLU().forward(np.concatenate([x, x], axis=-1)), SiLU().forward(x))
    assert np.abs(GELU(approximate=True).forward(x) - GELU().forward(x)).max() < 5e-4


@given(floats)
def test_identities_of_the_rectifiers(x):
    relu = ReLU().forward(x)
    assert np.array_equal(relu, np.where(x > 0, x, 0))
    assert np.array_equal(LeakyReLU(0).forward(x), relu)
    assert np.array_equal(ELU(0).forward(x), relu)
    close(LeakyReLU(0.2).forward(x), np.where(x > 0, x, 0.2 * x), 0, 0)
    close(LeakyReLU(1).forward(x), x, 0, 0)
    close(SELU().forward(x), SELU.LAMBDA * ELU(SELU.ALPHA).forward(x))
    prelu = PReLU().build(x.shape[1:], dtype=np.float64)
    close(prelu.forward(x), LeakyReLU(0.25).forward(x), 0, 0)


@given(rows, st.floats(-100, 100))
def test_identities_of_the_softmax(x, shift):
    softmax, log_softmax = Softmax(), LogSoftmax()
    s, y = softmax.forward(x), log_softmax.forward(x)
    close(s.sum(axis=1), 1)
    close(Softmax().forward(x + shift), s)
    close(LogSoftmax().forward(x + shift), y, atol=1e-11)
    close(np.exp(y), s)
    close(y, np.log(s), atol=1e-11)
    g = np.cos(np.arange(x.size)).reshape(x.shape)
    for layer in (softmax, log_softmax):  # a shift changes nothing, so the gradient sums to zero
        close(layer.backward(g).sum(axis=1), 0, atol=1e-10)


def test_two_scores_of_a_softmax_are_a_sigmoid(rng):
    x = rng.normal(size=(9, 1))
    close(Softmax().forward(np.hstack([x, 0 * x]))[:, :1], Sigmoid().forward(x))


def test_selu_reproduces_mean_0_and_variance_1():
    z = np.linspace(-12, 12, 240_001)
    y, density = SELU().function(z), np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    assert abs(np.trapezoid(y * density, z)) < 1e-8
    assert abs(np.trapezoid(y * y * density, z) - 1) < 1e-8


def test_maxout_with_a_zero_piece_is_dense_and_relu(rng):
    maxout = Maxout(units=3, pieces=2).build(4, random_state=0, dtype=np.float64)
    maxout.params["W"][:, 3:] = 0
    dense = Sequential([Dense(3), ReLU()]).build(4, dtype=np.float64)
    dense[0].params["W"][...] = maxout.params["W"][:, :3]
    x, g = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    close(maxout.forward(x), dense.forward(x))
    close(maxout.backward(g), dense.backward(g))
    close(maxout.grads["W"][:, :3], dense[0].grads["W"])
    assert maxout.multiply_adds() == 2 * dense.multiply_adds() == 24


# ---------------------------------------------------------------- extremes, NaN, dtypes, arrays


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", EVERY)
def test_extremes_are_finite_and_raise_no_flag(name, dtype):
    x = np.array([EXTREMES, EXTREMES[::-1], [0.0] * 8], dtype)
    layer = fresh(name).build(8, random_state=0, dtype=dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        y = layer.forward(x)
        grad_input = layer.backward(np.ones_like(y))
    assert np.isfinite(y).all() and np.isfinite(grad_input).all()
    assert y.dtype == grad_input.dtype == dtype


@pytest.mark.parametrize("name", EVERY)
def test_nan_passes(name):
    layer = fresh(name).build(4, random_state=0)
    x = np.array([[np.nan] * 4, [1.0, -2.0, 3.0, -4.0]])
    with np.errstate(invalid="raise"):
        y = layer.forward(x)
        grad_input = layer.backward(y)
    assert np.isnan(y[0]).all() and np.isnan(grad_input[0]).all(), "divergence must not be hidden"
    assert np.isfinite(y[1]).all() and np.isfinite(grad_input[1]).all()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_one_nan_stays_alone(name):
    y = fresh(name).forward([[1.0, np.nan, -1.0]])
    assert np.isnan(y).tolist() == [[False, True, False]]


def test_hyper_parameters_of_float64_do_not_promote():
    x = np.linspace(-2, 2, 8, dtype=np.float32).reshape(2, 4)
    for layer in (LeakyReLU(np.float64(0.1)), ELU(np.float64(0.5)), LeakyReLU(np.int64(1))):
        y = layer.forward(x)
        assert y.dtype == layer.backward(y).dtype == layer.derivative(x).dtype == np.float32


@pytest.mark.parametrize("name", EVERY)
def test_float32_is_accurate_to_rounding(name, rng):
    x = 4 * rng.normal(size=(20, 6))
    results = []
    for dtype in (np.float64, np.float32):
        layer = fresh(name).build(6, random_state=0, dtype=dtype)
        y = layer.forward(x.astype(np.float32))
        results.append((y, layer.backward(np.ones_like(y))))
    (y64, g64), (y32, g32) = results
    close(y32, y64, rtol=2e-6, atol=2e-6)
    close(g32, g64, rtol=2e-6, atol=4e-6)


@pytest.mark.parametrize("name", EVERY)
def test_inputs_are_left_alone_and_results_are_fresh(name, rng):
    values, layer = rng.normal(size=(5, 4)), fresh(name).build(4, random_state=0, dtype=np.float64)
    expected = layer.forward(values)
    gradient = rng.normal(size=expected.shape)
    expected_gradient = layer.backward(gradient)
    wide = np.repeat(values, 2, axis=1)
    for x, g in (
        (values.copy(), gradient.copy()),
        (np.asfortranarray(values), np.asfortranarray(gradient)),
        (wide[:, ::2], np.repeat(gradient, 3, axis=0)[::3]),
    ):
        x.flags.writeable = g.flags.writeable = False
        y = layer.forward(x)
        grad_input = layer.backward(g)
        close(y, expected)
        close(grad_input, expected_gradient)
        assert not np.shares_memory(y, x) and not np.shares_memory(grad_input, g)
        assert y.flags.writeable and grad_input.flags.writeable


# ---------------------------------------------------------------- contract


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("PReLU", "Maxout")])
def test_works_without_build_for_any_shape(name):
    layer = fresh(name)
    for shape in ((2, 4), (3, 2, 6)):
        y = layer.forward(np.ones(shape, np.float32))
        assert y.dtype == np.float32 and layer.backward(y).shape == shape


@pytest.mark.parametrize("layer", [PReLU(), Maxout(2, 2)])
def test_learned_arrays_need_build(layer):
    with raises_exactly(
        RuntimeError, re.compile(r"in .*\): not built yet; call build\(input_shape\) first")
    ):
        layer.forward(np.ones((2, 4)))


def test_learned_slopes_and_biases_are_exempt_from_weight_decay():
    network = Sequential([Maxout(3, 2), PReLU()]).build(4)
    assert {slot.path: (slot.shape, slot.decay) for slot in network.layout} == {
        "layers.0.W": ((4, 6), True),
        "layers.0.b": ((6,), False),
        "layers.1.negative_slope": ((3,), False),
    }


@pytest.mark.parametrize(
    "layer, message",
    [
        (
            LeakyReLU(-0.1),
            "in LeakyReLU(negative_slope=-0.1): negative_slope must be a finite number "
            "of at least 0, got -0.1",
        ),
        (
            LeakyReLU("x"),
            "in LeakyReLU(negative_slope='x'): negative_slope must be a finite number of "
            "at least 0, got 'x'",
        ),
        (
            ELU(alpha=-1.0),
            "in ELU(alpha=-1.0): alpha must be a finite number of at least 0, got -1.0",
        ),
        (
            ELU(alpha=math.nan),
            "in ELU(alpha=nan): alpha must be a finite number of at least 0, got nan",
        ),
        (
            GELU(approximate="tanh"),
            "in GELU(approximate='tanh'): approximate must be True or False, got 'tanh'",
        ),
        (
            Softmax(axis=0),
            "in Softmax(axis=0): axis must be an axis other than the batch axis 0, "
            "between -2 and 2, got 0",
        ),
        (
            Softmax(axis=-3),
            "in Softmax(axis=-3): axis must be an axis other than the batch axis 0, "
            "between -2 and 2, got -3",
        ),
        (
            LogSoftmax(axis=3),
            "in LogSoftmax(axis=3): axis must be an axis other than the batch axis 0, "
            "between -2 and 2, got 3",
        ),
        (
            LogSoftmax(axis=1.0),
            "in LogSoftmax(axis=1.0): axis must be an axis other than the batch axis 0, "
            "between -2 and 2, got 1.0",
        ),
        (Maxout(0, 2), "in Maxout(units=0, pieces=2): units must be a positive integer, got 0"),
        (
            Maxout(2, 1.5),
            "in Maxout(units=2, pieces=1.5): pieces must be a positive integer, got 1.5",
        ),
        (
            GLU(),
            "in GLU(): expects an even number of channels, (n_samples, ..., 2 channels), "
            "got (n_samples, 4, 5)",
        ),
    ],
)
def test_invalid_values_are_refused_by_name(layer, message):
    with raises_exactly(ValueError, message):
        layer.build((4, 5))
    assert not layer.is_built


@pytest.mark.parametrize("layer", [Softmax(), LogSoftmax(), GLU(), PReLU(), Maxout(2, 2)])
def test_a_batch_of_single_numbers_has_no_axis_to_work_along(layer):
    with pytest.raises(ValueError, match=r"batch axis|n_samples, \.\.\."):
        layer.build(())


HE = initializers.he_uniform
GLOROT = initializers.glorot_uniform
WEIGHT_INIT = {
    None: [Identity],
    HE: [ReLU, LeakyReLU, PReLU, ELU, GELU, SiLU, Mish, HardSwish, Softplus],
    initializers.lecun_normal: [SELU],
    GLOROT: [Sigmoid, HardSigmoid, Tanh, HardTanh, Softsign, Softmax, LogSoftmax, GLU, Maxout],
}


@pytest.mark.parametrize(
    "layer_class, expected", [(c, init) for init, classes in WEIGHT_INIT.items() for c in classes]
)
def test_weights_before_it_start_as_it_needs(layer_class, expected):
    activation = Maxout(3, 2) if layer_class is Maxout else layer_class()
    network = Sequential([Dense(6), Identity(), activation]).build(4)
    assert layer_class.weight_init is expected
    assert network[0].auto_initializer() is (expected or GLOROT), "Identity looks further"


def test_maxout_starts_from_he_uniform():
    W = Maxout(units=50, pieces=4).build(600, random_state=0).params["W"]
    assert 0.099 < np.abs(W).max() <= 0.1, "sqrt(6 / 600): each piece is a Dense of its own"


def test_a_rectifier_of_another_function_computes_that_one():
    class Capped(ReLU):
        def function(self, x):
            return np.minimum(super().function(x), 1)

        def derivative_from_output(self, y):
            return super().derivative_from_output(y) * (y < 1)

    x = np.array([[-1.0, 0.5, 3.0]])
    np.testing.assert_array_equal(Capped().forward(x), [[0, 0.5, 1]])
    np.testing.assert_array_equal(Capped().infer(x), [[0, 0.5, 1]])


@pytest.mark.parametrize(
    "bounds, message",
    [
        ((1, 1), "in HardTanh(low=1, high=1): low must be below high=1, got 1"),
        ((2, -2), "in HardTanh(low=2, high=-2): low must be below high=-2, got 2"),
        ((0, math.inf), "in HardTanh(low=0, high=inf): high must be a finite number, got inf"),
        ((math.nan, 1), "in HardTanh(low=nan, high=1): low must be a finite number, got nan"),
        (("0", 6), "in HardTanh(low='0', high=6): low must be a finite number, got '0'"),
    ],
)
def test_hard_tanh_needs_two_bounds(bounds, message):
    with raises_exactly(ValueError, message):
        HardTanh(*bounds).build(3)
