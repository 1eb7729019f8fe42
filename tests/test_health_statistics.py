"""What health measures at every layer, held to sums over all batches at once."""

import copy
import math

import numpy as np
import pytest
from clinic import CCE, MSE

from layerkit import (
    BatchNorm,
    Dense,
    Dropout,
    HardSigmoid,
    HardTanh,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softsign,
    Tanh,
)
from layerkit.inspection.diagnosis.statistics import (
    GradientNorm,
    LayerStatistics,
    Moments,
    Ranges,
    Recorder,
    flat_range,
    measure,
)
from layerkit.inspection.diagnosis.subject import Rows

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e25], ids=["usual", "squares beyond float32"])
def test_moments_of_batches_are_those_of_all_numbers(scale, dtype):
    batches = [(3 + RNG.normal(size=(n, 4)) * scale).astype(dtype) for n in (5, 1, 0, 9)]
    batches[1][0, 1] = np.nan
    batches[3][2, :2] = np.inf, -np.inf
    batches.append(np.full((1, 2), np.nan, dtype))
    moments = Moments()
    with np.errstate(invalid="ignore"):
        for batch in batches:
            moments.add(batch)
    numbers = np.concatenate([batch.ravel() for batch in batches]).astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    assert (moments.count, moments.not_finite) == (len(finite), 5)
    assert (moments.low, moments.high) == (finite.min(), finite.max())
    assert moments.mean == pytest.approx(finite.mean(), rel=1e-5)
    assert moments.std == pytest.approx(finite.std(), rel=1e-5)
    assert moments.rms == pytest.approx(np.sqrt(np.square(finite).mean()), rel=1e-5)


def test_of_no_numbers_there_are_no_moments():
    moments = Moments()
    assert math.isnan(moments.std) and (moments.count, moments.not_finite) == (0, 0)
    assert (moments.low, moments.high) == (math.inf, -math.inf)


def test_ranges_are_those_of_every_unit():
    ranges, batches = Ranges(), [RNG.normal(size=(n, 2, 3)) for n in (4, 2)]
    for batch in batches:
        batch[..., 1] = 7
        ranges.add(batch)
    whole = np.concatenate(batches).reshape(-1, 3)
    np.testing.assert_array_equal(ranges.low, whole.min(axis=0))
    np.testing.assert_array_equal(ranges.high, whole.max(axis=0))
    assert ranges.count == 12 and ranges.constant.tolist() == [False, True, False]


def test_a_gradient_has_the_norm_of_that_of_a_sample():
    norm, batches = GradientNorm(), [RNG.normal(size=(n, 3)) for n in (4, 2)]
    assert math.isnan(norm.norm)
    for batch in batches:
        norm.add((batch / len(batch)).astype(np.float32))  # the loss is a mean over its samples
    by_sample = [np.square(batch).sum(axis=1).mean() for batch in batches]
    assert norm.norm == pytest.approx(np.sqrt(np.mean(by_sample)))


@pytest.mark.parametrize(
    ("layer", "inside", "outside"),
    [
        (Sigmoid(), [0.026, 0.974], [0.024, 0.976]),
        (Tanh(), [-0.949, 0.949], [-0.951, 0.951]),
        (HardSigmoid(), [1e-5, 1 - 1e-5], [0.0, 1.0]),
        (Softsign(), [-0.69, 0.69], [-0.71, 0.71]),
        (HardTanh(), [1e-5 - 1, 1 - 1e-5], [-1.0, 1.0]),
        (HardTanh(-2, 3), [1e-5 - 2, 3 - 1e-5], [-2.0, 3.0]),
    ],
    ids=str,
)
def test_the_flat_parts_of_a_function_are_counted(layer, inside, outside):
    statistics = LayerStatistics(layer.build(2, dtype=np.float64), slice(0, 0))
    assert math.isnan(statistics.saturated)
    statistics.forward(np.zeros((1, 2)), np.array([inside]))
    assert statistics.saturated == 0
    statistics.forward(np.zeros((1, 2)), np.array([outside]))
    assert (statistics.flat, statistics.saturated, statistics.dead) == (2, 0.5, 0)


@pytest.mark.parametrize("layer", [ReLU(), HardTanh(0, 1), Dense(2)], ids=str)
def test_other_functions_have_no_flat_parts(layer):
    statistics = LayerStatistics(layer.build(2), slice(0, 0))
    assert flat_range(layer) is None
    statistics.forward(np.zeros((3, 2)), np.ones((3, 2)))
    assert math.isnan(statistics.saturated) and statistics.flat == 0


@pytest.mark.parametrize(
    ("layer", "x", "y", "dead"),
    [
        (ReLU(), [[1, 2, -1, 5]], [[1, 2, 0, 5]], 0),
        (ReLU(), [[1, 2, -1, 5], [2, 3, -2, 5]], [[1, 2, 0, 5], [2, 3, 0, 5]], 0.25),
        (ReLU(), [[-1, -2, -1, -5], [-2, 3, -2, 5]], [[0, 0, 0, 0], [0, 3, 0, 5]], 0.5),
        (Dense(4), [[1, 2, -1, 5], [2, 3, -2, 5]], [[1, 2, 0, 5], [2, 3, 0, 5]], 0),
    ],
)
def test_a_unit_is_dead_if_its_input_alone_varies(layer, x, y, dead):
    statistics = LayerStatistics(layer.build(4), slice(0, 0))
    assert statistics.dead == 0
    for row, result in zip(x, y, strict=True):
        statistics.forward(np.array([row], float), np.array([result], float))
    assert statistics.dead == dead


def test_gradients_of_parameters_have_a_norm_and_a_noise():
    layer = Dense(2).build(3)
    part, frozen = LayerStatistics(layer, slice(1, 5)), LayerStatistics(layer, slice(0, 0))
    gradients = [3 + RNG.normal(size=8) for _ in range(6)]
    assert math.isnan(part.gradient_norm) and not frozen.has_params and part.has_params
    for k, gradient in enumerate(gradients):
        assert math.isnan(part.noise) == (k < 2)
        part.add_gradient(gradient)
        frozen.add_gradient(gradient)
    own = np.array(gradients)[:, 1:5]
    assert part.gradient_norm == pytest.approx(np.sqrt(np.square(own).sum(axis=1).mean()))
    variance = own.var(axis=0, ddof=1).sum()
    signal = np.square(own.mean(axis=0)).sum() - variance / 6
    assert part.noise == pytest.approx(np.sqrt(variance / signal))
    assert math.isnan(frozen.noise) and math.isnan(frozen.gradient_norm)
    layer.trainable = False
    assert not part.has_params and math.isnan(part.noise) and math.isnan(part.gradient_norm)
    layer.trainable = True
    for sign in (1, -1):
        frozen = LayerStatistics(layer, slice(0, 8))
        frozen.add_gradient(np.ones(8))
        frozen.add_gradient(sign * np.ones(8))
        assert frozen.noise == (0 if sign > 0 else math.inf)
    frozen.add_gradient(np.full(8, np.inf))
    assert math.isnan(frozen.noise)


def test_weights_have_one_norm_together():
    layer = Dense(2).build(3, random_state=0)
    layer.params["b"][...] = 5
    statistics = LayerStatistics(layer, slice(0, 8))
    assert statistics.weight_norm == pytest.approx(np.linalg.norm(layer.flat_params))
    assert math.isnan(LayerStatistics(ReLU().build(3), slice(0, 0)).weight_norm)


@pytest.mark.parametrize(
    ("what", "origin"),
    [
        ({}, ""),
        ({"x": np.nan}, ""),  # it came in that way
        ({"y": np.inf}, "output"),
        ({"y": np.inf, "W": np.inf}, "parameter W"),
        ({"W": np.inf}, ""),  # it did no harm so far
        ({"grad_input": np.nan}, "gradient of the input"),
        ({"dW": np.nan}, "gradient of W"),
        ({"dW": np.nan, "grad_input": np.nan}, "gradient of the input"),
        ({"dW": np.nan, "grad_output": np.nan}, ""),
        ({"y": np.inf, "dW": np.nan}, "output"),  # what was first
    ],
    ids=str,
)
def test_the_origin_is_what_was_not_finite_first(what, origin):
    network = Sequential([Dense(2)]).build(3)
    layer = network[0]
    layer.params["W"][0, 0], layer.grads["W"][0, 0] = what.get("W", 0), what.get("dW", 0)
    x, y, grad_output, grad_input = (
        np.where(np.arange(6).reshape(2, 3)[:, :n] == 0, what.get(name, 0), 0.0)
        for name, n in (("x", 3), ("y", 2), ("grad_output", 2), ("grad_input", 3))
    )
    recorder = Recorder(network)
    (statistics,) = recorder.layers
    recorder(layer, "forward", x, y)
    recorder(layer, "backward", grad_output, grad_input)
    assert statistics.origin == origin
    assert recorder.origin is (statistics if origin else None)
    recorder(Dense(2), "forward", x, np.full((2, 2), np.nan))  # of another network
    assert statistics.output.count + statistics.output.not_finite == 4


X, Y = RNG.normal(size=(50, 3)), RNG.normal(size=(50, 2))


def test_a_measurement_sees_every_row_once_in_training_mode():
    network = Sequential([Dense(4), Tanh(), Residual(Dense(4)), Dropout(0.5), Dense(2)])
    network.build(3, random_state=0, dtype=np.float64)
    network[0].trainable = False
    before = copy.deepcopy(network)
    weight = RNG.random(50)
    shot = measure(network, MSE(), Rows(X, Y, weight), 20)
    np.testing.assert_array_equal(network.flat_params, before.flat_params)
    np.testing.assert_array_equal(network.flat_grads, before.flat_grads)
    np.testing.assert_array_equal(shot.outputs, network.infer(X))
    assert shot.loss == pytest.approx(MSE().forward(network.infer(X), Y, weight))
    assert [s.path for s in shot.recorder.layers] == [
        "layers.0", "layers.1", "layers.2.body", "layers.3", "layers.4",
    ]  # fmt: skip
    assert [s.has_params for s in shot.recorder.layers] == [False, False, True, False, True]
    hidden = np.tanh(network[0].infer(X))
    seen = shot.recorder.layers[1].output
    assert (seen.count, seen.low, seen.high) == (200, hidden.min(), hidden.max())
    assert seen.mean == pytest.approx(hidden.mean()) and seen.std == pytest.approx(hidden.std())
    assert shot.recorder.layers[4].grad_output.count == 3  # batches
    assert shot.finite and shot.network is network
    again = measure(network, MSE(), Rows(X, Y, weight), 20)  # the noise is the same
    assert again.training_loss == shot.training_loss != shot.loss
    shot.loss = math.nan
    assert not shot.finite


def test_losses_of_batches_are_weighed_by_their_rows():
    network = Sequential([Dense(2)]).build(3, random_state=0, dtype=np.float64)
    for size in (7, 50, 64):
        shot = measure(network, MSE(), Rows(X, Y), size)
        assert shot.training_loss == pytest.approx(shot.loss)


def test_fresh_statistics_are_averages_over_batches():
    network = Sequential([Dense(4), BatchNorm(momentum=0.9), Dense(2)])
    network.build(3, random_state=0, dtype=np.float64)
    y = np.arange(60) // 30  # sorted by class: batches are drawn from all rows
    x = RNG.normal(size=(60, 3)) + 9 * y[:, np.newaxis]
    shot = measure(network, CCE(), Rows(x, y), 20)
    assert network[1].momentum == 0.9 and (network[1].buffers["running_mean"] == 0).all()
    hidden = network[0].infer(x)
    ((path, fresh),) = shot.fresh_buffers.items()
    assert path == "layers.1"
    np.testing.assert_allclose(fresh["running_mean"], hidden.mean(axis=0))
    spread = fresh["running_var"] / hidden.var(axis=0, ddof=1)
    assert (spread > 0.8).all() and (spread < 1.25).all()  # in order they were of one class each
