"""Noise layers: what is dropped and how often, the same in backward, nothing in inference."""

import copy
import math
import re

import numpy as np
import pytest
from errors import raises_exactly
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from layerkit import Dense, Sequential
from layerkit.kernels import keep_mask
from layerkit.layers.dropout import AlphaDropout, Dropout, GaussianNoise, SpatialDropout2D
from layerkit.schedules import FlatCosine

LAYERS = [
    lambda: Dropout(0.3),
    lambda: SpatialDropout2D(0.3),
    lambda: AlphaDropout(0.3),
    lambda: GaussianNoise(0.3),
]
each_layer = pytest.mark.parametrize("make", LAYERS, ids=lambda make: type(make()).__name__)
each_dropout = pytest.mark.parametrize("kind", [Dropout, SpatialDropout2D, AlphaDropout])


def sfc64(seed=0):
    return np.random.Generator(np.random.SFC64(seed))


def sigmas(count, n, probability):
    """How many standard deviations a count of successes is away from its mean."""
    return abs(count - n * probability) / math.sqrt(n * probability * (1 - probability))


# ---------------------------------------------------------------- the mask


@pytest.mark.parametrize("rate", [0.5, 0.25, 0.1, 0.9, 1 / 3, 0.001])
def test_masks_keep_what_they_say(rate):
    mask, probability = keep_mask(sfc64(), rate, (1000, 1000))
    assert mask.dtype == bool
    assert abs(probability - (1 - rate)) <= 2**-17
    assert sigmas(mask.sum(), mask.size, probability) < 5
    for neighbours in (
        mask[:, :-1] & mask[:, 1:],
        mask[:-1] & mask[1:],
        mask[:, :-4] & mask[:, 4:],
    ):
        # Pairs overlap, so their count varies a little more than that of independent trials.
        assert sigmas(neighbours.sum(), neighbours.size, probability**2) < 10


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 255 / 256])
def test_multiples_of_1_256_are_exact(rate):
    assert keep_mask(sfc64(), rate, (3,))[1] == 1 - rate


@pytest.mark.parametrize(("rate", "bits"), [(0.25, 8), (0.3, 16)])
def test_mask_is_the_raw_output_cut_little_end_first(rate, bits):
    """The definition in plain integers: no platform may draw another mask."""
    words = [int(word) for word in np.random.SFC64(7).random_raw(5)]
    pieces = [(word >> at) % 2**bits for word in words for at in range(0, 64, bits)]
    n = len(pieces) - 1  # the last word is not used up
    mask, probability = keep_mask(sfc64(7), rate, (n,))
    assert mask.tolist() == [piece < probability * 2**bits for piece in pieces[:n]]


@given(st.floats(0, 1, exclude_max=True), st.lists(st.integers(0, 5), max_size=4))
def test_masks_of_any_rate_and_shape(rate, shape):
    mask, probability = keep_mask(sfc64(), rate, tuple(shape))
    assert mask.shape == tuple(shape)
    assert 0 < probability <= 1 and abs(probability - (1 - rate)) <= 2**-16
    assert probability < 1 or mask.all()


# ---------------------------------------------------------------- dropping


@each_dropout
@pytest.mark.parametrize("rate", [0.5, 0.3, 0.9])
def test_the_mean_is_kept(kind, rate):
    """Every value of the output has the mean of its input over masks."""
    n_masks = 4000
    x = np.array([[[3.0, -1.0]], [[0.5, 2.0]]])
    layer = kind(rate).build((1, 2), random_state=0, dtype=np.float64)
    ys = np.array([layer.forward(x, training=True) for _ in range(n_masks)])
    scale = 1.0
    if kind is AlphaDropout:  # the mean is shrunk with the deviation: to q a of the input
        q = 1 - rate
        scale = q / math.sqrt(q * (1 + rate * AlphaDropout.SATURATION**2))
    deviation = ys.std(axis=0) / math.sqrt(n_masks)
    assert (np.abs(ys.mean(axis=0) - scale * x) < 5 * deviation).all()
    assert (deviation > 0).all()


@pytest.mark.parametrize("rate", [0.25, 0.3, 0.99])
def test_values_are_dropped_or_scaled_by_the_probability_drawn_with(rate):
    layer = Dropout(rate).build(1000, random_state=0, dtype=np.float64)
    y = layer.forward(np.full((100, 1000), 2.0), training=True)
    probability = keep_mask(sfc64(), rate, (1,))[1]
    assert_allclose(np.unique(y), [0, 2 / probability], rtol=1e-15)
    assert sigmas((y == 0).sum(), y.size, 1 - probability) < 5


@each_dropout
def test_values_and_slopes_are_those_of_torch(kind):
    """Its masks are others, but what happens to a dropped and to a kept value must agree."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = {
        Dropout: torch.nn.Dropout,
        SpatialDropout2D: torch.nn.Dropout2d,
        AlphaDropout: torch.nn.AlphaDropout,
    }[kind](0.25)
    tx = torch.full((50, 20, 2, 2), 0.7, dtype=torch.float64, requires_grad=True)
    ty = module(tx)
    ty.backward(torch.full_like(ty, 3.0))
    layer = kind(0.25).build((2, 2, 20), random_state=0, dtype=np.float64)
    y = layer.forward(np.full((50, 2, 2, 20), 0.7), training=True)
    grad_input = layer.backward(np.full(y.shape, 3.0))
    assert_allclose(np.unique(y), ty.detach().unique().numpy(), rtol=1e-9)
    assert_allclose(np.unique(grad_input), tx.grad.unique().numpy(), rtol=1e-9)
    dropped = np.unique(y)[0]
    assert_array_equal(y == dropped, grad_input == 0)


@each_dropout
def test_backward_has_the_mask_of_forward(kind, rng):
    x, grad_output = rng.standard_normal((2, 6, 3, 5))
    layer = kind(0.4).build((3, 5), random_state=0, dtype=np.float64)
    y, grad_input = layer.forward(x, training=True), layer.backward(grad_output)
    kept = grad_input != 0
    assert 0 < kept.sum() < kept.size
    slope = grad_input[kept][0] / grad_output[kept][0]
    assert_allclose(grad_input, slope * grad_output * kept)
    shift = 0 if kind is not AlphaDropout else y[kept][0] - slope * x[kept][0]
    assert_allclose(y[kept], slope * x[kept] + shift)
    assert len(np.unique(y[~kept])) == 1


@pytest.mark.parametrize("shape", [(7, 6, 5, 8), (7, 30, 8), (7, 2, 3, 2, 8)], ids=str)
def test_spatial_dropout_takes_whole_channels(shape):
    layer = SpatialDropout2D(0.4).build(shape[1:], random_state=0)
    y = layer.forward(np.ones(shape), training=True).reshape(7, -1, 8)
    assert_array_equal(y, np.broadcast_to(y[:, :1], y.shape))
    dropped = y[:, 0] == 0
    assert dropped.any() and not dropped.all()
    assert len(np.unique(dropped, axis=0)) > 1 and len(np.unique(dropped, axis=1)) > 1


def test_alpha_dropout_keeps_mean_0_and_variance_1(rng):
    x = rng.standard_normal((1000, 1000))
    y = AlphaDropout(0.2).build(1000, random_state=0, dtype=np.float64).forward(x, training=True)
    assert abs(y.mean()) < 5e-3 and abs(y.std() - 1) < 5e-3


def test_gaussian_noise_is_normal():
    layer = GaussianNoise(0.5).build(1000, random_state=0, dtype=np.float64)
    x = np.arange(1000.0) * np.ones((200, 1))
    noise = layer.forward(x, training=True) - x
    n = noise.size
    assert abs(noise.mean()) < 5 * 0.5 / math.sqrt(n)
    assert abs(noise.var() - 0.25) < 5 * 0.25 * math.sqrt(2 / n)
    assert sigmas((np.abs(noise) < 0.5).sum(), n, math.erf(math.sqrt(0.5))) < 5
    assert_array_equal(layer.backward(x), x)


# ---------------------------------------------------------------- modes and streams


@each_layer
def test_inference_after_training_is_the_identity(make, rng):
    x = rng.standard_normal((3, 2, 4))
    layer = make().build((2, 4), random_state=0, dtype=np.float64)
    assert not np.array_equal(layer.forward(x, training=True), x)
    state = copy.deepcopy(layer.rng.bit_generator.state)
    assert_array_equal(layer.forward(x), x)
    assert_array_equal(layer.backward(x), x)
    assert_array_equal(layer.infer(x), x)
    assert_array_equal(layer.rng.bit_generator.state["state"]["state"], state["state"]["state"])


@pytest.mark.parametrize(
    "layer", [Dropout(0), SpatialDropout2D(0.0), AlphaDropout(0), GaussianNoise(0)], ids=str
)
def test_no_noise_draws_nothing(layer, rng):
    x = rng.standard_normal((3, 2, 4))
    assert_array_equal(layer.forward(x, training=True), x)  # not even built: it has no stream
    assert_array_equal(layer.backward(x), x)


@each_layer
def test_noise_follows_the_seed(make, rng):
    x = rng.standard_normal((5, 3, 40))

    def two_steps(seed, dtype=np.float64):
        layer = make().build((3, 40), random_state=seed, dtype=dtype)
        return [layer.forward(x, training=True) for _ in range(2)]

    first, second = two_steps(0)
    assert not np.array_equal(first, second)
    assert_array_equal(two_steps(0), [first, second])
    assert not np.array_equal(two_steps(1)[0], first)
    assert_allclose(two_steps(0, np.float32), [first, second], rtol=1e-5, atol=1e-5)


def test_layers_of_one_network_draw_different_masks():
    network = Sequential([Dropout(0.5), Dense(200), Dropout(0.5)]).build(200, random_state=0)
    ones = np.ones((1, 200))
    masks = [network[i].forward(ones, training=True) for i in (0, 2)]
    assert not np.array_equal(*masks)
    network.reseed(3)
    again = [network[i].forward(ones, training=True) for i in (0, 2)]
    network.reseed(3)
    assert_array_equal([network[i].forward(ones, training=True) for i in (0, 2)], again)


def test_frozen_dropout_still_drops():
    """Freezing keeps parameters; it does not switch to inference."""
    layer = Dropout(0.5).build(100, random_state=0)
    layer.trainable = False
    assert (layer.forward(np.ones((1, 100)), training=True) == 0).any()


# ---------------------------------------------------------------- inputs of all kinds


@each_dropout
def test_nan_shows_even_where_it_is_dropped(kind):
    y = kind(0.5).build((1, 50), random_state=0).forward(np.full((1, 1, 50), np.nan), training=True)
    assert np.isnan(y).all()


@each_dropout
def test_a_schedule_sets_the_rate(kind):
    schedule = FlatCosine(0.5)
    schedule.bind(steps=4)
    layer, constant = kind(schedule), kind(0.25)
    schedule.now = 3  # half a cosine from step 2 on: 0.25
    x = np.ones((5, 3, 8))
    for one in (layer, constant):
        one.build((3, 8), random_state=0, dtype=np.float64)
    assert_array_equal(layer.forward(x, training=True), constant.forward(x, training=True))
    schedule.now = 4
    assert_array_equal(layer.forward(x, training=True), x)


def test_a_schedule_sets_the_rate_for_rows_of_unequal_length():
    layer = SpatialDropout2D(lambda: 0.5).build((None, 50), random_state=0)
    y = layer.forward([np.ones((2, 50)), np.ones((3, 50))], training=True)
    assert set(np.unique(y.steps)) == {0, 2}


# ---------------------------------------------------------------- what is refused


@each_dropout
@pytest.mark.parametrize("rate", [1, 1.0, -0.1, float("nan"), "0.5", None, True])
def test_rates_out_of_range_are_refused(kind, rate):
    message = (
        f"in {kind.__name__}(rate={rate!r}): rate must be a probability of dropping, at least 0 "
        f"and less than 1, got {rate!r}"
    )
    with raises_exactly(ValueError, message):
        kind(rate).build((2, 3))


@pytest.mark.parametrize("stddev", [-0.1, float("inf"), "1"])
def test_deviations_out_of_range_are_refused(stddev):
    with raises_exactly(
        ValueError,
        f"in GaussianNoise(stddev={stddev!r}): stddev must be a number of at least 0, "
        f"got {stddev!r}",
    ):
        GaussianNoise(stddev).build(3)


def test_spatial_dropout_needs_positions():
    with raises_exactly(
        ValueError,
        "in SpatialDropout2D(rate=0.5): expects (n_samples, ..., channels) with "
        "positions between, got (n_samples, 3)",
    ):
        SpatialDropout2D(0.5).build(3)


@each_layer
def test_noise_needs_a_seed(make):
    with raises_exactly(
        RuntimeError, re.compile(r"in .*\): draws random numbers, so build it first")
    ):
        make().forward(np.ones((2, 3, 4)), training=True)
