"""Sigmoid, softplus and softmax: right to the last digits, and at the ends of the range."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special

from layerkit.kernels import log_sigmoid, log_softmax, sigmoid, softmax, softplus

ELEMENTWISE = {
    sigmoid: special.expit,
    softplus: lambda x: -special.log_expit(-x),
    log_sigmoid: special.log_expit,
}
ALONG_AXIS = {softmax: special.softmax, log_softmax: special.log_softmax}
MAGNITUDES = np.logspace(-8, 2.8, 100)
LINE = np.concatenate([-MAGNITUDES, [0], MAGNITUDES])


@pytest.mark.parametrize("function", ELEMENTWISE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_elementwise_functions_are_accurate_relative_to_their_result(function, dtype):
    x = LINE.astype(dtype)
    x = x[np.abs(x) < (80 if dtype == np.float32 else 700)]  # before the result is subnormal
    got = function(x)
    assert got.dtype == dtype
    expected = ELEMENTWISE[function](x.astype(np.float64))
    assert_allclose(got, expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("function", ALONG_AXIS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_runs_along_any_axis(function, axis, rng):
    x = 3 * rng.standard_normal((4, 5, 6))
    expected = ALONG_AXIS[function](x, axis=axis)
    assert_allclose(function(x, axis), expected, rtol=1e-13)
    single = function(x.astype(np.float32), axis)
    assert single.dtype == np.float32
    assert_allclose(single, expected, rtol=1e-5)


def test_log_softmax_keeps_the_digits_of_a_probability_near_one():
    x = np.array([[0.0, 60.0], [5.0, 5.0], [60.0, 0.0]])
    expected = [[-60, -np.exp(-60)], [-np.log(2), -np.log(2)], [-np.exp(-60), -60]]
    assert_allclose(log_softmax(x), expected, rtol=1e-13)
    assert log_softmax(np.array([[30.0, 0.0, 0.0]], np.float32))[0, 0] == pytest.approx(
        -2 * np.exp(-30), rel=1e-6
    )


@pytest.mark.parametrize("function", [*ELEMENTWISE, *ALONG_AXIS])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_inputs_give_the_limits_without_a_floating_point_error(function, dtype):
    x = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], dtype)
    oracle = (ELEMENTWISE | ALONG_AXIS)[function]
    expected = oracle(x, axis=-1) if function in ALONG_AXIS else oracle(x)
    with np.errstate(all="raise"):
        assert_allclose(function(x), expected, rtol=1e-6)


@pytest.mark.parametrize("function", [*ELEMENTWISE, *ALONG_AXIS])
def test_nan_passes_and_the_input_stays(function):
    x = np.array([[np.nan, 1.0], [2.0, 3.0]])
    x.flags.writeable = False
    got = function(x)
    assert np.isnan(got[0, 0])
    assert np.isfinite(got[1]).all()


def test_a_class_at_minus_infinity_has_probability_zero():
    x = np.array([[-np.inf, 1.0, 1.0]])
    assert_array_equal(softmax(x), [[0, 0.5, 0.5]])
    assert_allclose(log_softmax(x), [[-np.inf, -np.log(2), -np.log(2)]])


@pytest.mark.parametrize("function", ALONG_AXIS)
@pytest.mark.parametrize("nan", [np.nan, -np.nan])
def test_nan_anywhere_spoils_its_row_and_no_other(function, nan, rng):
    x = rng.standard_normal((100, 100), dtype=np.float32) - 2
    x[np.arange(1, 100), np.arange(1, 100)] = nan
    got = function(x)
    assert np.isfinite(got[0]).all()
    assert np.isnan(got[1:]).all()


@pytest.mark.parametrize("offset", [-300, 0, 300])
def test_wide_rows_find_their_largest_number_whatever_its_sign(offset):
    x = np.full((100, 100), offset - 30, np.float32)
    np.fill_diagonal(x, offset)
    x[:, 0] = offset  # a second one, in all rows but the first
    others = np.where(np.arange(100) > 0, 1.0, 0.0) + np.exp(-30) * (98 + (np.arange(100) == 0))
    assert_allclose(log_softmax(x)[:, 0], -np.log1p(others), rtol=1e-6)
    assert_allclose(softmax(x), np.exp(x - offset) / (1 + others[:, None]), rtol=1e-6)
