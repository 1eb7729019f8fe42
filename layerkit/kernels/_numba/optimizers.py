"""Update rules in one pass over parameters, gradient and memory, nothing stored in between.

A rule is bound by memory: Adam's reads four vectors and writes three. Numbers are cast to the
dtype of the vectors first, or float32 would be computed in float64, at half the speed. Subnormal
numbers are 0, here as in whole epochs.
"""

import functools
from collections.abc import Callable

import numpy as np

from layerkit.kernels._numba.compile import FLAGS, inline, jit
from layerkit.kernels._numba.flushing import flushing
from layerkit.kernels._numba.threads import WORTHWHILE, element_by_element
from layerkit.kernels.parts import PASS


def in_pieces(loop: Callable[..., None]) -> Callable[..., None]:
    """Let a rule, whose first arguments are vectors, go through long ones piece by piece."""

    @functools.wraps(loop)
    def step(params: np.ndarray, *others: np.ndarray | float) -> None:
        with flushing():
            if PASS * params.size < 2 * WORTHWHILE:  # not worth a second thread
                loop(params, *others)
                return
            vectors = [a for a in others if isinstance(a, np.ndarray)]
            element_by_element(loop, params, *vectors, numbers=others[len(vectors) :])

    return step


def sgd_step(params, grads, velocity, rate, momentum, nesterov):
    """One step of momentum: ``p ← p - (ahead u + now g)`` for both kinds."""
    if velocity is None:
        _descend(params, grads, rate)
        return
    ahead, now = (rate * momentum, rate) if nesterov else (rate, 0.0)
    _sgd(params, grads, velocity, momentum, ahead, now)


@functools.partial(jit, flags=FLAGS - {"contract"})
def descend(params, grads, rate):
    """Round the product and the difference each, as everyone does who checks a step by hand."""
    rate = params.dtype.type(rate)
    for i in range(params.size):
        params[i] -= rate * grads[i]


_descend = in_pieces(descend)


@in_pieces
@jit
def _sgd(params, grads, velocity, momentum, ahead, now):
    number = params.dtype.type
    momentum, ahead, now = number(momentum), number(ahead), number(now)
    for i in range(params.size):
        u = momentum * velocity[i] + grads[i]
        velocity[i] = u
        params[i] -= ahead * u + now * grads[i]


@in_pieces
@jit
def moments_step(params, grads, m, v, beta1, beta2, of_m, of_g, eps, keep=1.0):
    number = params.dtype.type
    new1, new2 = number(1 - beta1), number(1 - beta2)
    beta1, beta2 = number(beta1), number(beta2)
    of_m, of_g, eps, keep = number(of_m), number(of_g), number(eps), number(keep)
    for i in range(params.size):
        g = grads[i]
        m[i] = beta1 * m[i] + new1 * g
        v[i] = beta2 * v[i] + new2 * g * g
        params[i] = keep * params[i] - (of_m * m[i] + of_g * g) / (np.sqrt(v[i]) + eps)


@in_pieces
@jit
def adamax_step(params, grads, m, u, rate, beta1, beta2, eps):
    number = params.dtype.type
    new1, beta1, beta2 = number(1 - beta1), number(beta1), number(beta2)
    rate, eps = number(rate), number(eps)
    for i in range(params.size):
        m[i] = beta1 * m[i] + new1 * grads[i]
        old, new = beta2 * u[i], abs(grads[i]) + eps
        u[i] = old if old > new or old != old else new  # NaN wins
        params[i] -= rate * m[i] / u[i]


@in_pieces
@jit
def adagrad_step(params, grads, v, rate, eps):
    number = params.dtype.type
    rate, eps = number(rate), number(eps)
    for i in range(params.size):
        v[i] += grads[i] * grads[i]
        params[i] -= rate * grads[i] / (np.sqrt(v[i]) + eps)


def rmsprop_step(params, grads, v, m, velocity, rate, rho, momentum, eps):
    """One step of RMSProp: a loop for each combination of memories, compiled when it is used."""
    if m is None:
        if velocity is None:
            _rmsprop(params, grads, v, rate, rho, eps)
        else:
            _rmsprop_momentum(params, grads, v, velocity, rate, rho, momentum, eps)
    elif velocity is None:
        _rmsprop_centered(params, grads, v, m, rate, rho, eps)
    else:
        _rmsprop_centered_momentum(params, grads, v, m, velocity, rate, rho, momentum, eps)


@in_pieces
@jit
def _rmsprop(params, grads, v, rate, rho, eps):
    number = params.dtype.type
    new, rho, rate, eps = number(1 - rho), number(rho), number(rate), number(eps)
    for i in range(params.size):
        g = grads[i]
        v[i] = rho * v[i] + new * g * g
        params[i] -= rate * g / (np.sqrt(v[i]) + eps)


@in_pieces
@jit
def _rmsprop_momentum(params, grads, v, velocity, rate, rho, momentum, eps):
    number = params.dtype.type
    new, rho, rate, eps = number(1 - rho), number(rho), number(rate), number(eps)
    momentum = number(momentum)
    for i in range(params.size):
        g = grads[i]
        v[i] = rho * v[i] + new * g * g
        velocity[i] = momentum * velocity[i] + g / (np.sqrt(v[i]) + eps)
        params[i] -= rate * velocity[i]


@inline
def _centered(g, v, m, rho, new, eps):
    """Return the new averages of g² and g, and g divided by its standard deviation."""
    v = rho * v + new * g * g
    m = rho * m + new * g
    variance = v - m * m
    variance = type(v)(0) if variance < 0 else variance
    return v, m, g / (np.sqrt(variance) + eps)


@in_pieces
@jit
def _rmsprop_centered(params, grads, v, m, rate, rho, eps):
    number = params.dtype.type
    new, rho, rate, eps = number(1 - rho), number(rho), number(rate), number(eps)
    for i in range(params.size):
        v[i], m[i], u = _centered(grads[i], v[i], m[i], rho, new, eps)
        params[i] -= rate * u


@in_pieces
@jit
def _rmsprop_centered_momentum(params, grads, v, m, velocity, rate, rho, momentum, eps):
    number = params.dtype.type
    new, rho, rate, eps = number(1 - rho), number(rho), number(rate), number(eps)
    momentum = number(momentum)
    for i in range(params.size):
        v[i], m[i], u = _centered(grads[i], v[i], m[i], rho, new, eps)
        velocity[i] = momentum * velocity[i] + u
        params[i] -= rate * velocity[i]


@in_pieces
@jit
def adadelta_step(params, grads, v, w, rate, rho, eps):
    number = params.dtype.type
    new, rho, rate, eps = number(1 - rho), number(rho), number(rate), number(eps)
    for i in range(params.size):
        g = grads[i]
        v[i] = rho * v[i] + new * g * g
        d = g * np.sqrt(w[i] + eps) / np.sqrt(v[i] + eps)
        w[i] = rho * w[i] + new * d * d
        params[i] -= rate * d


@inline
def _sign(x):
    """Return the sign of x, NaN for NaN."""
    return type(x)(1) if x > 0 else type(x)(-1) if x < 0 else x


@in_pieces
@jit
def lion_step(params, grads, m, rate, beta1, beta2, keep=1.0):
    number = params.dtype.type
    rate, new1, new2 = number(rate), number(1 - beta1), number(1 - beta2)
    beta1, beta2, keep = number(beta1), number(beta2), number(keep)
    for i in range(params.size):
        params[i] = keep * params[i] - rate * _sign(beta1 * m[i] + new1 * grads[i])
        m[i] = beta2 * m[i] + new2 * grads[i]


@in_pieces
@jit
def rprop_step(params, grads, previous, size, shrink, grow, smallest, largest):
    number = params.dtype.type
    shrink, grow = number(shrink), number(grow)
    smallest, largest = number(smallest), number(largest)
    for i in range(params.size):
        agreement = _sign(grads[i]) * _sign(previous[i])
        turned = agreement < 0
        s = size[i] * (shrink if turned else grow if agreement > 0 else number(1))
        s = smallest if s < smallest else largest if s > largest else s
        size[i] = s
        previous[i] = number(0) if turned else grads[i]
        params[i] -= s * _sign(previous[i])


@in_pieces
@jit
def moving_average(mean, x, beta):
    number = mean.dtype.type
    new, beta = number(1 - beta), number(beta)
    for i in range(mean.size):
        mean[i] = beta * mean[i] + new * x[i]


@in_pieces
@jit
def shrink(params, factor):
    factor = params.dtype.type(factor)
    for i in range(params.size):
        params[i] *= factor


@jit
def plus_decay(grads, params, decay, spans, out):
    """Overwrite ``out`` with g, and g + decay p in the spans, which are in order."""
    decay = params.dtype.type(decay)
    seen = 0
    for start, stop in spans:
        _copy(grads[seen:start], out[seen:start])
        _add_scaled(grads[start:stop], params[start:stop], decay, out[start:stop])
        seen = stop
    _copy(grads[seen:], out[seen:])


@inline
def _copy(x, out):
    for i in range(x.size):
        out[i] = x[i]


@inline
def _add_scaled(x, other, factor, out):
    for i in range(x.size):
        out[i] = x[i] + factor * other[i]
