"""Sigmoid and tanh of float32 or float64; those of float64 by the arithmetic of `exponential`.

Eight numbers at a time do not wait for the C library. The polynomial is the Taylor series, whose
remainder at ``|r| <= log(2) / 2`` is 4e-18; so the error is that of some roundings.
"""

from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from layerkit.kernels._numba import exponential
from layerkit.kernels._numba.compile import FLAGS, ordered

_LOG2_E = 1.4426950408889634
_LOG_2_HIGH, _LOG_2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_HIGH, _LOW = 709.0, -708.0


@ordered
def _power_of_2(n):
    return np.int64((np.int64(n) + 1023) << 52).view(np.float64)


@ordered
def _reduce(x):
    """Return n, and expm1(r) = r Σ r^k / (k + 1)!."""
    n = np.floor(x * _LOG2_E + 0.5)
    r = (x - n * _LOG_2_HIGH) - n * _LOG_2_LOW
    p = 1 / 6227020800.0
    p = p * r + 1 / 479001600.0
    p = p * r + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    return n, r * r * p + r


@ordered
def _sigmoid(x):
    """1 / (1 + exp(-x)), down to 1e-308."""
    e = -x
    e = _HIGH if e > _HIGH else e
    e = _LOW if e < _LOW else e
    n, p = _reduce(e)
    return 1.0 / (1.0 + (p + 1.0) * _power_of_2(n))


@ordered
def _tanh(x):
    """tanh(x) = -e / (e + 2) with e = expm1(-2 |x|), and the sign of x."""
    e = -2.0 * abs(x)
    e = -40.0 if e < -40.0 else e
    n, p = _reduce(e)
    scale = _power_of_2(n)
    e = scale * p + (scale - 1.0)
    return np.copysign(e / (e + 2.0), x) if x == x else x


def sigmoid(x):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-x)), in compiled code."""


def tanh(x):  # type: ignore[no-untyped-def]
    """tanh(x), in compiled code."""


_OPTIONS: Any = {"fastmath": FLAGS, "forceinline": True, "error_model": "numpy"}


@overload(sigmoid, jit_options=_OPTIONS)
def _choose_sigmoid(x):
    function = exponential.sigmoid if x == types.float32 else _sigmoid
    return lambda x: function(x)


@overload(tanh, jit_options=_OPTIONS)
def _choose_tanh(x):
    function = exponential.tanh if x == types.float32 else _tanh
    return lambda x: function(x)
