"""The functions of `exponential` for one float64: the same formulas, with more terms.

The series are Taylor's, whose rest is below half a unit in the last place where they are used.
"""

import math

import numpy as np

from layerkit.kernels._numba.compile import inline, ordered

_LOG2_E = 1.4426950408889634
# log 2 in two pieces; the first is so short that its product with n is exact.
_LOG_2_HIGH, _LOG_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_HIGH, _LOW = 710.0, -746.0


@ordered
def _power_of_2(n):
    """Return 2^n for a whole n of -1022 ... 1023."""
    return np.int64((np.int64(n) + np.int64(1023)) << np.int64(52)).view(np.float64)


@ordered
def _reduce(x):
    """Return n, and expm1(r) = r + r² (1/2! + r/3! + ...)."""
    n = np.floor(x * _LOG2_E + 0.5)
    r = (x - n * _LOG_2_HIGH) - n * _LOG_2_LOW
    p = 1.6059043836821613e-10
    p = p * r + 2.08767569878681e-09
    p = p * r + 2.505210838544172e-08
    p = p * r + 2.755731922398589e-07
    p = p * r + 2.7557319223985893e-06
    p = p * r + 2.48015873015873e-05
    p = p * r + 1.984126984126984e-04
    p = p * r + 1.3888888888888889e-03
    p = p * r + 8.333333333333333e-03
    p = p * r + 4.1666666666666664e-02
    p = p * r + 1.6666666666666666e-01
    p = p * r + 0.5
    return n, r * r * p + r


@ordered
def exp(x):
    """exp(x), from 0 to infinity; 2^n in two factors, so that subnormal results are right too."""
    x = _HIGH if x > _HIGH else x
    x = _LOW if x < _LOW else x
    n, p = _reduce(x)
    half = np.floor(n * 0.5)
    return (p + 1.0) * _power_of_2(half) * _power_of_2(n - half)


@ordered
def exp_of_negative(x):
    """exp(x) for x <= 0: 2^n at most 1, so that the second factor may be the same for all."""
    x = _LOW if x < _LOW else x
    n, p = _reduce(x)
    return (p + 1.0) * _power_of_2(n + 54.0) * 2.0**-54


@ordered
def expm1_of_negative(x):
    """exp(x) - 1 for x <= 0."""
    x = -40.0 if x < -40.0 else x
    n, p = _reduce(x)
    scale = _power_of_2(n)
    return scale * p + (scale - 1.0)


@ordered
def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1.0 / (1.0 + exp(-x))


@ordered
def tanh(x):
    """tanh(x) = -e / (e + 2) with e = expm1(-2 |x|), and the sign of x."""
    e = expm1_of_negative(-2.0 * abs(x))
    return np.copysign(e / (e + 2.0), x) if x == x else x


@ordered
def log1p_of_fraction(t):
    """log(1 + t) for 0 <= t <= 1: 2 artanh(s) with s = t / (2 + t), in powers of s² <= 1/9."""
    s = t / (2.0 + t)
    q = s * s
    p = 1.0 / 33.0
    p = p * q + 1.0 / 31.0
    p = p * q + 1.0 / 29.0
    p = p * q + 1.0 / 27.0
    p = p * q + 1.0 / 25.0
    p = p * q + 1.0 / 23.0
    p = p * q + 1.0 / 21.0
    p = p * q + 1.0 / 19.0
    p = p * q + 1.0 / 17.0
    p = p * q + 1.0 / 15.0
    p = p * q + 1.0 / 13.0
    p = p * q + 1.0 / 11.0
    p = p * q + 1.0 / 9.0
    p = p * q + 1.0 / 7.0
    p = p * q + 1.0 / 5.0
    p = p * q + 1.0 / 3.0
    return 2.0 * (s * q * p + s)


@ordered
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|))."""
    return (0.0 if x < 0 else x) + log1p_of_fraction(exp_of_negative(-abs(x)))


@inline
def normal_gate(x):
    """The normal distribution function of x, by the C library's erfc."""
    return 0.5 * math.erfc(-0.7071067811865476 * x)
