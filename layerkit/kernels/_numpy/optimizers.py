"""Update rules on equally long vectors: parameters and memory change in place, `grads` is kept.

Rules go through blocks that fit the cache, on several threads where there are many, and write the
same temporaries again and again. Blocks are long: between two passes over one a thread needs
Python's lock, and waits for it if the other has it.

Arguments::

    params, grads         vectors to be changed in place, and their gradient
    rate                  the learning rate
    keep                  what parameters are multiplied by, 1 without decoupled decay
    m, v, u, w, velocity  what a rule remembers, changed in place: averages of g, of g² and the like
    momentum, nesterov    of `sgd_step` and `rmsprop_step`
    beta1, beta2, rho     memory of the averages, in [0, 1)
    of_m, of_g            how far to step along the average and along the gradient
    eps                   added to a root, so that it is not 0
    t                     number of the step, from 1
    previous, size        in `rprop_step` the gradient of the step before, and each step's length
    shrink, grow          factors of that length where the sign turned, and where it stayed
    smallest, largest     bounds of that length
    factor                what `shrink` multiplies by
    mean, beta            in `moving_average` what is brought up to date with x, and its memory
    decay, spans          weight decay, and the (start, stop) of what decays
"""

import functools
from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np

from layerkit.kernels._numpy.threads import in_parts
from layerkit.kernels.dispatch import compiled, in_numpy
from layerkit.kernels.parts import PASS

BLOCK = 2**17
PASSES = 2  # over a block, of the shortest rule


def _in_blocks(rule: Callable[..., None]) -> Callable[..., None]:
    """Make a rule pass over block after block of its vectors."""

    @functools.wraps(rule)
    def by_blocks(params: np.ndarray, *args: Any, **numbers: Any) -> None:
        def task(part: slice) -> None:
            for start in range(part.start, part.stop, BLOCK):
                here = slice(start, min(start + BLOCK, part.stop))
                of_block = [arg[here] if isinstance(arg, np.ndarray) else arg for arg in args]
                rule(params[here], *of_block, **numbers)

        if params.size <= BLOCK:
            rule(params, *args, **numbers)
        else:
            in_parts(task, params.size, PASS * PASSES * params.size)

    return by_blocks


@compiled
def moving_average(mean: np.ndarray, x: np.ndarray, beta: float) -> None:
    """Exponential moving average, of memory beta: ``mean ← beta mean + (1 - beta) x``."""
    _average(mean, x, beta, np.empty_like(x))


def _average(mean: np.ndarray, x: np.ndarray, beta: float, spare: np.ndarray) -> None:
    np.multiply(x, 1 - beta, out=spare)
    mean *= beta
    mean += spare


@compiled
def shrink(params: np.ndarray, factor: float) -> None:
    """Decoupled weight decay: ``p ← factor p``."""
    if factor != 1:
        params *= factor


_shrink = in_numpy(shrink)  # without asking for the backend again


@compiled
@_in_blocks
def sgd_step(
    params: np.ndarray,
    grads: np.ndarray,
    velocity: np.ndarray | None,
    rate: float,
    momentum: float,
    nesterov: bool,
) -> None:
    """One step ``u ← momentum u + g;  p ← p - rate u``, with Nesterov ``rate (g + momentum u)``.

    Without a velocity ``p ← p - rate g``.
    """
    if velocity is None:
        params -= rate * grads
        return
    velocity *= momentum
    velocity += grads
    params -= rate * (grads + momentum * velocity if nesterov else velocity)


def adam_step(
    params: np.ndarray,
    grads: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
    t: int,
    keep: float = 1.0,
) -> None:
    """One step ``p ← keep p - rate m̂ / (sqrt(v̂) + eps)``, m and v being averages of g and g².

    ``m̂ = m / (1 - beta1^t)`` and ``v̂ = v / (1 - beta2^t)`` undo the start at zero. Since
    ``sqrt(v̂) + eps = (sqrt(v) + c eps) / c`` with ``c = sqrt(1 - beta2^t)``, both corrections act
    on numbers instead of on vectors.
    """
    c = sqrt(1 - beta2**t)
    of_m = rate * c / (1 - beta1**t)
    moments_step(params, grads, m, v, beta1, beta2, of_m, 0.0, c * eps, keep)


@compiled
@_in_blocks
def moments_step(
    params: np.ndarray,
    grads: np.ndarray,
    m: np.ndarray,
    v: np.ndarray,
    beta1: float,
    beta2: float,
    of_m: float,
    of_g: float,
    eps: float,
    keep: float = 1.0,
) -> None:
    """Update the averages, ``p ← keep p - (of_m m + of_g g) / (sqrt(v) + eps)``: m of g, v of g².

    Adam and its descendants differ in the four numbers only.
    """
    direction, square = np.empty_like(grads), grads * grads
    _average(m, grads, beta1, direction)
    _average(v, square, beta2, square)
    root = np.sqrt(v, out=square)
    root += eps
    np.multiply(m, of_m, out=direction)
    if of_g:
        direction += of_g * grads
    direction /= root
    _shrink(params, keep)
    params -= direction


@compiled
@_in_blocks
def adamax_step(
    params: np.ndarray,
    grads: np.ndarray,
    m: np.ndarray,
    u: np.ndarray,
    rate: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """One step ``p ← p - rate m / u``, m averaging g and ``u ← max(beta2 u, |g| + eps)``."""
    size = np.empty_like(grads)
    _average(m, grads, beta1, size)
    np.abs(grads, out=size)
    size += eps
    u *= beta2
    np.maximum(u, size, out=u)
    step = np.divide(m, u, out=size)
    step *= rate
    params -= step


@compiled
@_in_blocks
def adagrad_step(
    params: np.ndarray, grads: np.ndarray, v: np.ndarray, rate: float, eps: float
) -> None:
    """One step ``v ← v + g²;  p ← p - rate g / (sqrt(v) + eps)``."""
    square = grads * grads
    v += square
    root = np.sqrt(v, out=square)
    root += eps
    step = np.divide(grads, root, out=root)
    step *= rate
    params -= step


@compiled
@_in_blocks
def rmsprop_step(
    params: np.ndarray,
    grads: np.ndarray,
    v: np.ndarray,
    m: np.ndarray | None,
    velocity: np.ndarray | None,
    rate: float,
    rho: float,
    momentum: float,
    eps: float,
) -> None:
    """One step ``u ← momentum u + g / (sqrt(v - m²) + eps);  p ← p - rate u``.

    v is the average of g² and m that of g; without m it is 0, without a velocity u starts at 0.
    """
    variance, spare = v, grads * grads
    _average(v, spare, rho, spare)
    if m is not None:
        _average(m, grads, rho, spare)
        variance = np.maximum(v - m * m, 0)  # rounding may leave it below 0
    root = np.sqrt(variance, out=spare)
    root += eps
    u = np.divide(grads, root, out=root)
    if velocity is not None:
        velocity *= momentum
        velocity += u
        u = velocity
    params -= np.multiply(u, rate, out=spare)


@compiled
@_in_blocks
def adadelta_step(
    params: np.ndarray,
    grads: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    rate: float,
    rho: float,
    eps: float,
) -> None:
    """One step ``d = g sqrt(w + eps) / sqrt(v + eps);  p ← p - rate d``.

    v and w are the averages of g² and, after the step, of d².
    """
    spare = grads * grads
    _average(v, spare, rho, spare)
    d = w + eps
    d /= np.add(v, eps, out=spare)
    np.sqrt(d, out=d)
    d *= grads
    params -= np.multiply(d, rate, out=spare)
    d *= d
    _average(w, d, rho, spare)


@compiled
@_in_blocks
def lion_step(
    params: np.ndarray,
    grads: np.ndarray,
    m: np.ndarray,
    rate: float,
    beta1: float,
    beta2: float,
    keep: float = 1.0,
) -> None:
    """One step of the sign of an average, which moves on after it.

    ``p ← keep p - rate sign(beta1 m + (1 - beta1) g);  m ← beta2 m + (1 - beta2) g``.
    """
    _shrink(params, keep)
    average, spare = beta1 * m, (1 - beta1) * grads
    average += spare
    step = np.sign(average, out=spare)  # in place NumPy takes thrice as long
    step *= rate
    params -= step
    _average(m, grads, beta2, spare)


@compiled
@_in_blocks
def rprop_step(
    params: np.ndarray,
    grads: np.ndarray,
    previous: np.ndarray,
    size: np.ndarray,
    shrink: float,
    grow: float,
    smallest: float,
    largest: float,
) -> None:
    """One step against the sign of g, of a size that grows while the sign stays.

    Where it turned, the size shrinks and the gradient is forgotten, so that the step is left out.
    """
    agreement = np.sign(grads) * np.sign(previous)
    size[agreement < 0] *= shrink
    size[agreement > 0] *= grow
    np.clip(size, smallest, largest, out=size)
    previous[...] = np.where(agreement < 0, 0, grads)
    params -= size * np.sign(previous)


@compiled
def plus_decay(
    grads: np.ndarray, params: np.ndarray, decay: float, spans: np.ndarray, out: np.ndarray
) -> None:
    """Overwrite ``out`` with g, and g + decay p in the spans.

    The spans are an int64 array of (start, stop), in order.
    """
    end = 0
    for start, stop in spans.tolist():
        out[end:start] = grads[end:start]
        _with_decay(out[start:stop], params[start:stop], grads[start:stop], decay)
        end = stop
    out[end:] = grads[end:]


@_in_blocks
def _with_decay(out: np.ndarray, params: np.ndarray, grads: np.ndarray, decay: float) -> None:
    np.multiply(params, decay, out=out)
    out += grads
