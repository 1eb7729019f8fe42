"""Slopes from function values alone: what every formula for a gradient can be checked against."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.parameters import is_number

EPS = float(np.finfo(np.float64).eps)

AUTO_STEP = {"forward": math.sqrt(EPS), "central": EPS ** (1 / 3), "complex": 1e-20}
"""The step with the smallest error, for a function and an x of about 1."""


def numerical_gradient(
    f: Callable[[np.ndarray], Any],
    x: ArrayLike,
    method: str = "central",
    step: float | str = "auto",
) -> np.ndarray:
    r"""Gradient of a function of an array, one coordinate at a time, from its values alone.

    With the unit vector :math:`e_i` and a step h:

    .. math::
        \text{forward: } \frac{f(x + h e_i) - f(x)}{h}, \quad
        \text{central: } \frac{f(x + h e_i) - f(x - h e_i)}{2h}, \quad
        \text{complex: } \frac{\operatorname{Im} f(x + \mathrm{i} h e_i)}{h}

    Parameters
    ----------
    f : callable (array) -> number
        Takes a float64 array shaped like ``x``, returns one number. For "complex" it must be
        analytic and written in operations that take complex numbers (no ``abs``, no comparison).
    x : array
        Where; taken as float64.
    method : {"central", "forward", "complex"}, default="central"
        Which of the three above.
    step : float or "auto", default="auto"
        h > 0. "auto" is the best for a function that changes on a scale of about
        max(1, \|x_i\|), the factor by which it is multiplied for each coordinate.

    Returns
    -------
    gradient : float64 ndarray
        Shaped like ``x``.

    Raises
    ------
    ValueError
        If ``f`` does not return one number, or a real one for complex input, or ``method`` or
        ``step`` is not one of the above, or ``x`` is complex.

    Notes
    -----
    A smaller step cuts the Taylor series off later but loses more digits in the difference. With
    :math:`\varepsilon` = 2.2e-16, the relative rounding of f, the sum of both errors

    .. math::
        \text{forward: } \tfrac{h}{2} |f''| + \tfrac{2\varepsilon}{h} |f|, \qquad
        \text{central: } \tfrac{h^2}{6} |f'''| + \tfrac{\varepsilon}{h} |f|

    is least at about :math:`h = \varepsilon^{1/2}` = 1.5e-8 (8 digits are right) and
    :math:`h = \varepsilon^{1/3}` = 6e-6 (10 or 11 digits). The complex step takes no difference, so
    only the truncation :math:`\tfrac{h^2}{6} |f'''|` is left, which vanishes at h = 1e-20: all
    digits are right. `DerivativeErrorDisplay` draws this.

    At a kink "central" gives the mean of both slopes and "forward" the right one.

    References
    ----------
    Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM
    Review 40, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> numerical_gradient(lambda w: w[0] ** 2 * w[1], [3.0, 5.0]).round(6).tolist()
    [30.0, 9.0]
    >>> float(numerical_gradient(np.sin, 0.0, method="complex"))
    1.0
    """
    x = _checked(x, method, step)
    gradient = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        h = AUTO_STEP[method] * max(1.0, abs(x[index])) if step == "auto" else float(step)
        gradient[index] = _slope(f, x, index, method, h)
    return gradient


def _slope(f: Callable, x: np.ndarray, index: tuple[int, ...], method: str, h: float) -> float:
    if method == "complex":
        return _value(f, _moved(x.astype(complex), index, 1j * h), complex).imag / h
    above = _moved(x, index, h)
    below = _moved(x, index, -h) if method == "central" else x.copy()
    # The points differ by a rounded h: divide by the distance that they really have.
    distance = above[index] - below[index]
    if distance == 0:
        raise ValueError(f"step={h:.3g} is lost in rounding at x = {float(x[index])}")
    return float((_value(f, above, float) - _value(f, below, float)) / distance)


def _moved(x: np.ndarray, index: tuple[int, ...], by: complex) -> np.ndarray:
    """Return a copy of x, moved in one coordinate: f may keep or change what it is given."""
    x = x.copy()
    x[index] += by
    return x


def _value(f: Callable, x: np.ndarray, kind: type) -> Any:
    y = np.asarray(f(x))
    if y.size != 1:
        raise ValueError(f"f must return one number, got an array of shape {y.shape}")
    if np.iscomplexobj(y) != (kind is complex):
        got, given = ("a complex", "real") if kind is float else ("a real", "complex")
        raise ValueError(
            f'f returned {got} number for {given} input; method="complex" needs an f that takes '
            "and returns complex numbers"
        )
    return y.item()


def _checked(x: ArrayLike, method: str, step: float | str) -> np.ndarray:
    if method not in AUTO_STEP:
        raise ValueError(f"method must be one of {', '.join(AUTO_STEP)}, got {method!r}")
    if step != "auto" and not (is_number(step) and float(step) > 0):
        raise ValueError(f'step must be "auto" or a positive number, got {step!r}')
    array = np.asarray(x)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"x must be an array of real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)
