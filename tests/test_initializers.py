"""Initializers: distributions, bounds as in PyTorch, orthogonality, and life inside parameters."""

import copy
import pickle
import re
from functools import partial
from math import prod, sqrt

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import initializers
from layerkit.initializers import constant, normal, orthogonal, uniform

DENSE = (200, 300)
KERNEL = (3, 5, 40, 24)
PLAIN = [
    name
    for name in initializers.__all__
    if name not in ("constant", "uniform", "normal", "zeros", "ones", "orthogonal")
]
# name, variance from the fans, whether uniform: written out again from the papers
SCALED = {
    "glorot_uniform": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), True),
    "glorot_normal": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), False),
    "he_uniform": (lambda fan_in, fan_out: 2 / fan_in, True),
    "he_normal": (lambda fan_in, fan_out: 2 / fan_in, False),
    "lecun_normal": (lambda fan_in, fan_out: 1 / fan_in, False),
}
FANS = {DENSE: (200, 300), KERNEL: (3 * 5 * 40, 3 * 5 * 24)}


def draw(initializer, shape, seed=0):
    return initializer(shape, np.random.default_rng(seed))


def test_every_scaled_initializer_is_tested():
    assert sorted(PLAIN) == sorted(SCALED)


@pytest.mark.parametrize("shape", [DENSE, KERNEL])
@pytest.mark.parametrize("name", SCALED)
def test_variance_and_bounds(name, shape):
    variance_of, is_uniform = SCALED[name]
    variance = variance_of(*FANS[shape])
    values = draw(getattr(initializers, name), shape)
    n = values.size
    assert abs(values.mean()) < 4 * sqrt(variance / n)
    # a sample variance has the variance v² (kurtosis - 1) / n
    kurtosis = 1.8 if is_uniform else 3.0
    assert abs(values.var() - variance) < 4 * variance * sqrt((kurtosis - 1) / n)
    largest, limit = abs(values).max(), sqrt(3 * variance)
    if is_uniform:
        assert limit * (1 - 20 / n) < largest <= limit
    else:
        assert largest > 1.2 * limit, "a normal has tails"


@pytest.mark.parametrize("shape", [DENSE, KERNEL])
def test_same_bounds_as_pytorch(shape):
    torch = pytest.importorskip("torch")
    # PyTorch keeps (out, in, kh, kw)
    weight = torch.empty((shape[-1], shape[-2], *shape[:-2]), dtype=torch.float64)
    init = torch.nn.init
    for ours, theirs in [
        (initializers.glorot_uniform, init.xavier_uniform_),
        (initializers.he_uniform, partial(init.kaiming_uniform_, nonlinearity="relu")),
    ]:
        torch.manual_seed(0)
        limit = theirs(weight).abs().max().item()
        assert abs(draw(ours, shape)).max() == pytest.approx(limit, rel=20 / prod(shape))
    for ours, theirs in [
        (initializers.glorot_normal, init.xavier_normal_),
        (initializers.he_normal, partial(init.kaiming_normal_, nonlinearity="relu")),
        (initializers.lecun_normal, partial(init.kaiming_normal_, nonlinearity="linear")),
    ]:
        torch.manual_seed(0)
        deviation = theirs(weight).std().item()
        assert draw(ours, shape).std() == pytest.approx(deviation, rel=6 / sqrt(prod(shape)))


@pytest.mark.parametrize("gain", [1.0, 1.7])
@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (3, 3, 2, 5), (2, 1, 3, 20)])
def test_orthogonal(shape, gain):
    w = draw(partial(orthogonal, gain=gain), shape).reshape(-1, shape[-1])
    product = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-14)


def test_orthogonal_is_uniform_over_rotations():
    # LAPACK alone gives Q mostly negative diagonals; the uniform distribution has the mean matrix 0
    rng = np.random.default_rng(0)
    mean = np.mean([orthogonal((3, 3), rng) for _ in range(3000)], axis=0)
    assert abs(mean).max() < 4 / sqrt(3 * 3000)


def test_simple_ones():
    assert draw(initializers.zeros, (2, 3)).tolist() == [[0.0] * 3] * 2
    assert draw(initializers.ones, (2,)).tolist() == [1.0, 1.0]
    assert draw(constant(3), (2,)).tolist() == [3.0, 3.0]
    values = draw(uniform(2, 5), (20_000,))
    assert 2 <= values.min() < 2.001 and 4.999 < values.max() < 5
    values = draw(normal(3, 0.5), (20_000,))
    assert abs(values.mean() - 3) < 0.015 and abs(values.std() - 0.5) < 0.01


def every_initializer():
    given = {"constant": constant(2), "uniform": uniform(-1, 1), "normal": normal(1, 2)}
    return [given.get(name, getattr(initializers, name)) for name in initializers.__all__]


@pytest.mark.parametrize("initializer", every_initializer(), ids=initializers.__all__)
@pytest.mark.parametrize("shape", [(7,), (4, 3), (3, 3, 2, 4)])
def test_reproducible_float64_picklable(initializer, shape):
    first = draw(initializer, shape)
    assert first.dtype == np.float64 and first.shape == shape
    reloaded = pickle.loads(pickle.dumps(initializer))
    assert reloaded == initializer == copy.deepcopy(initializer)
    np.testing.assert_array_equal(draw(reloaded, shape), first)
    if initializer not in (initializers.zeros, initializers.ones, constant(2)):
        assert (draw(initializer, shape, seed=1) != first).any()


def test_parametrised_ones_print_and_compare_by_value():
    assert repr(normal(stddev=0.02)) == "normal(mean=0.0, stddev=0.02)"
    assert eval(repr(uniform(-1, 2))) == uniform(-1, 2) != uniform(-1, 3)
    assert hash(constant(1)) == hash(constant(1)) and constant(1) != constant(2)


@pytest.mark.parametrize(
    ("initializer", "message"),
    [
        (constant(np.nan), "constant(value=nan): value must be a finite number"),
        (
            uniform(1, 0),
            "uniform(low=1, high=0): low and high must be finite numbers with low <= high",
        ),
        (
            uniform(0, np.inf),
            "uniform(low=0, high=inf): low and high must be finite numbers with low <= high",
        ),
        (
            normal(0, -1),
            "normal(mean=0, stddev=-1): mean and stddev must be finite numbers, with stddev >= 0",
        ),
        (partial(orthogonal, gain=np.nan), "orthogonal: gain must be a finite number, got nan"),
    ],
)
def test_bad_parameters_are_refused_when_used(initializer, message):
    with raises_exactly(ValueError, message):
        draw(initializer, (2, 2))


@pytest.mark.parametrize("name", [*SCALED, "orthogonal"])
@pytest.mark.parametrize("shape", [(), (0, 3), (3, 0)])
def test_fans_of_nothing(name, shape):
    with raises_exactly(
        ValueError, re.compile(r"the fans need at least one axis and no empty one, got shape .*\)")
    ):
        draw(getattr(initializers, name), shape)
