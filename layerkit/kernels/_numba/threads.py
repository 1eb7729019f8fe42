"""A batch cut into parts, one for each processor.

Compiled kernels run without Python's global lock, so plain threads do, and they do no harm to
processes that fork or to callers that are threads themselves. The parts are always the same, and
sums over them are added in their order: results do not depend on which thread was faster.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

# A part has to last longer than it takes to wake a thread, which is about 50 µs.
WORTHWHILE = 4e6  # multiply-adds
# What a pass over memory costs for each number, in multiply-adds that run in registers.
PASS = 12

_here = threading.local()


@cache
def n_threads() -> int:
    """Return how many threads to use: ``OMP_NUM_THREADS``, or the processors that we may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    ours = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(ours(0)) if ours else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads() - 1, "layerkit", initializer=_enter)


def _enter() -> None:
    _here.inside = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


def in_parts(
    function: Callable[[slice], Result], n_samples: int, multiply_adds: float
) -> list[Result]:
    """Return what the function gives for each part of a batch, in order.

    Parameters
    ----------
    function : callable
        Takes the slice of samples of a part, and runs without Python's global lock.
    n_samples : int
    multiply_adds : float
        How much work the whole batch is.

    Returns
    -------
    results : list
        One for each part, of which there may be one only.
    """
    if multiply_adds < 2 * WORTHWHILE:
        return [function(slice(None))]
    parts = max(1, min(n_threads(), n_samples, int(multiply_adds / WORTHWHILE)))
    if parts == 1 or getattr(_here, "inside", False):
        return [function(slice(None))]
    bounds = [n_samples * part // parts for part in range(parts + 1)]
    first, *others = map(slice, bounds[:-1], bounds[1:])
    running = [_pool().submit(function, part) for part in others]
    return [function(first), *(part.result() for part in running)]


def element_by_element(loop: Callable[..., None], *arrays: np.ndarray, numbers: Any = ()) -> None:
    """Run ``loop(*arrays, *numbers)`` over vectors of one length, in parts where they are long."""
    size = arrays[0].size
    if PASS * size < 2 * WORTHWHILE:
        loop(*arrays, *numbers)
    else:
        in_parts(lambda part: loop(*[a[part] for a in arrays], *numbers), size, PASS * size)
