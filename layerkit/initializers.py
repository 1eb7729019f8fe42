"""Initial values of learned arrays: an initializer is a callable ``(shape, rng) -> float64 array``.

A function of your own is as good as one of these. Those without parameters are plain functions,
passed as they are (``Dense(64, initializer=he_uniform)``); `constant`, `uniform` and `normal` are
given their parameters first (``Dense(64, initializer=normal(stddev=0.02))``).

The scaled ones keep the variance of a signal constant through the layer. They need the *fans*: the
number of terms summed for one output and the number of outputs that one input feeds. For dense
weights ``(n_in, n_out)`` and convolution kernels ``(kh, kw, c_in, c_out)``::

    fan_in = prod(shape[:-1])                  # n_in    or  kh kw c_in
    fan_out = shape[-1] * prod(shape[:-2])     # n_out   or  kh kw c_out

A uniform distribution on ``[-limit, limit]`` has the variance ``limit² / 3``, hence the pairs
below: ``normal`` with variance v, ``uniform`` with ``limit = sqrt(3 v)``. No normal is truncated.

    glorot_uniform  variance 2 / (fan_in + fan_out): tanh, sigmoid, linear layers
    glorot_normal   the same, normal
    he_uniform      variance 2 / fan_in: ReLU and its relatives
    he_normal       the same, normal
    lecun_normal    variance 1 / fan_in: SELU
    orthogonal      orthonormal columns, or rows
    uniform         between two numbers
    normal          of a mean and a standard deviation
    constant        one number
    zeros           0
    ones            1
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import prod, sqrt
from typing import TypeVar

import numpy as np

from layerkit.parameters import is_number
from layerkit.shapes import Shape

__all__ = [
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "normal",
    "ones",
    "orthogonal",
    "uniform",
    "zeros",
]

Initializer = Callable[[Shape, "np.random.Generator"], np.ndarray]  # quoted: imported when used
_Function = TypeVar("_Function", bound=Initializer)
_ARGUMENTS = """\
Parameters
----------
shape : tuple of int
    Of the array to fill.
rng : numpy.random.Generator
    Where random numbers come from, if it draws any.

Returns
-------
values : float64 ndarray
    Of that shape.

"""


def _of_shape(initializer: _Function) -> _Function:
    """Say in the docstring, before what comes last, what all of them take and return."""
    summary, *last = re.split(r"(?m)^(?=References$|Examples$)", inspect.getdoc(initializer) or "")
    initializer.__doc__ = "".join([summary, _ARGUMENTS, *last, "\n"])
    return initializer


@_of_shape
def zeros(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """All zeros: biases, shifts.

    Examples
    --------
    >>> import numpy as np
    >>> zeros((2,), np.random.default_rng(0)).tolist()
    [0.0, 0.0]
    """
    return np.zeros(shape)


@_of_shape
def ones(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """All ones: scales.

    Examples
    --------
    >>> import numpy as np
    >>> ones((2,), np.random.default_rng(0)).tolist()
    [1.0, 1.0]
    """
    return np.ones(shape)


# The three below are classes with lower-case names: calling one reads like calling a function, and
# a dataclass compares by value, pickles and prints as it was written.
@dataclass(frozen=True)
class constant:
    """Every element is the same.

    Parameters
    ----------
    value : float
        A finite number.

    Examples
    --------
    >>> import numpy as np
    >>> constant(0.25)
    constant(value=0.25)
    >>> constant(0.25)((2,), np.random.default_rng(0)).tolist()
    [0.25, 0.25]
    """

    value: float

    def __call__(self, shape: Shape, rng: np.random.Generator) -> np.ndarray:
        if not is_number(self.value):
            raise ValueError(f"{self}: value must be a finite number")
        return np.full(shape, self.value, dtype=np.float64)


@dataclass(frozen=True)
class uniform:
    """Uniform on ``[low, high)``.

    Parameters
    ----------
    low : float, default=-0.05
        A finite number, not above ``high``.
    high : float, default=0.05
        A finite number.

    Examples
    --------
    >>> import numpy as np
    >>> bool(np.ptp(uniform(-1, 1)((1000,), np.random.default_rng(0))) > 1.9)
    True
    """

    low: float = -0.05
    high: float = 0.05

    def __call__(self, shape: Shape, rng: np.random.Generator) -> np.ndarray:
        if not (is_number(self.low) and is_number(self.high) and self.low <= self.high):
            raise ValueError(f"{self}: low and high must be finite numbers with low <= high")
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True)
class normal:
    """Normal, not truncated.

    Parameters
    ----------
    mean : float, default=0.0
        A finite number.
    stddev : float, default=0.05
        A finite number of at least 0.

    Examples
    --------
    >>> normal(stddev=0.02)
    normal(mean=0.0, stddev=0.02)
    """

    mean: float = 0.0
    stddev: float = 0.05

    def __call__(self, shape: Shape, rng: np.random.Generator) -> np.ndarray:
        if not (is_number(self.mean) and is_number(self.stddev) and self.stddev >= 0):
            raise ValueError(f"{self}: mean and stddev must be finite numbers, with stddev >= 0")
        return rng.normal(self.mean, self.stddev, shape)


@_of_shape
def glorot_uniform(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Uniform with variance ``2 / (fan_in + fan_out)``: limit ``sqrt(6 / (fan_in + fan_out))``.

    For tanh, sigmoid, softmax and linear layers: a compromise between a constant variance forward
    (``1 / fan_in``) and backward (``1 / fan_out``). Also called Xavier.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS 2010.

    Examples
    --------
    >>> import numpy as np
    >>> weights = glorot_uniform((300, 300), np.random.default_rng(0))
    >>> weights.shape, bool(abs(weights).max() <= 0.1)
    ((300, 300), True)
    """
    fan_in, fan_out = _fans(shape)
    return _uniform_of_variance(2 / (fan_in + fan_out), shape, rng)


@_of_shape
def glorot_normal(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Normal with variance ``2 / (fan_in + fan_out)``; see `glorot_uniform`.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(glorot_normal((300, 500), np.random.default_rng(0)).std()), 3)
    0.05
    """
    fan_in, fan_out = _fans(shape)
    return rng.normal(0, sqrt(2 / (fan_in + fan_out)), shape)


@_of_shape
def he_uniform(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Uniform with variance ``2 / fan_in``: limit ``sqrt(6 / fan_in)``.

    For ReLU and its relatives: half of the inputs are zero, so twice the variance keeps the signal.
    Also called Kaiming.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015, arXiv:1502.01852.

    Examples
    --------
    >>> import numpy as np
    >>> weights = he_uniform((600, 10), np.random.default_rng(0))
    >>> weights.shape, bool(abs(weights).max() <= 0.1)
    ((600, 10), True)
    """
    return _uniform_of_variance(2 / _fans(shape)[0], shape, rng)


@_of_shape
def he_normal(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Normal with variance ``2 / fan_in``; see `he_uniform`.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(he_normal((800, 100), np.random.default_rng(0)).std()), 3)
    0.05
    """
    return rng.normal(0, sqrt(2 / _fans(shape)[0]), shape)


@_of_shape
def lecun_normal(shape: Shape, rng: np.random.Generator) -> np.ndarray:
    """Normal with variance ``1 / fan_in``: what SELU needs to normalise itself.

    References
    ----------
    LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998; Klambauer et al., "Self-normalizing
    neural networks", NeurIPS 2017, arXiv:1706.02515.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(lecun_normal((400, 100), np.random.default_rng(0)).std()), 3)
    0.05
    """
    return rng.normal(0, sqrt(1 / _fans(shape)[0]), shape)


def orthogonal(shape: Shape, rng: np.random.Generator, gain: float = 1.0) -> np.ndarray:
    """``gain`` times a random matrix Q with orthonormal columns, or rows where it is wide.

    The array is seen as a matrix ``(fan_in, shape[-1])``. Q comes uniformly from all such matrices:
    it is the Q of the QR decomposition of a normal matrix in which R has a positive diagonal.
    Another `gain` is passed by ``functools.partial(orthogonal, gain=1.4)``.

    Parameters
    ----------
    shape : tuple of int
        Of the array to fill.
    rng : numpy.random.Generator
        Where the random numbers come from.
    gain : float, default=1.0
        A finite number.

    Returns
    -------
    values : float64 ndarray
        Of that shape.

    References
    ----------
    Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks", ICLR 2014, arXiv:1312.6120.

    Examples
    --------
    >>> import numpy as np
    >>> q = orthogonal((5, 3), np.random.default_rng(0))
    >>> bool(np.allclose(q.T @ q, np.eye(3)))
    True
    """
    if not is_number(gain):
        raise ValueError(f"orthogonal: gain must be a finite number, got {gain!r}")
    rows, columns = _fans(shape)[0], shape[-1]
    q, r = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.where(np.diagonal(r) < 0, -gain, gain)
    return (q if rows >= columns else q.T).reshape(shape)


def _fans(shape: Shape) -> tuple[int, int]:
    if len(shape) == 0 or prod(shape) == 0:
        raise ValueError(f"the fans need at least one axis and no empty one, got shape {shape}")
    return prod(shape[:-1]), shape[-1] * prod(shape[:-2])


def _uniform_of_variance(variance: float, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    limit = sqrt(3 * variance)
    return rng.uniform(-limit, limit, shape)


def by_group(initializer: Initializer, groups: int) -> Initializer:
    """Draw each group of the last axis by itself: its fans are then those of the group."""
    return initializer if groups == 1 else partial(_draw_groups, initializer, groups)


def _draw_groups(
    initializer: Initializer, groups: int, shape: Shape, rng: np.random.Generator
) -> np.ndarray:
    one = (*shape[:-1], shape[-1] // groups)
    return np.concatenate([initializer(one, rng) for _ in range(groups)], axis=-1)
