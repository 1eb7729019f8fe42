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
from typing import TypeVar

Result = TypeVar("Result")

# A part has to last longer than it takes to wake a thread, which is about 50 µs.
WORTHWHILE = 4e6  # multiply-adds

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
    """Return what the function gives for each part of a batch, in order."""
    parts = max(1, min(n_threads(), n_samples, int(multiply_adds / WORTHWHILE)))
    if parts == 1 or getattr(_here, "inside", False):
        return [function(slice(None))]
    bounds = [n_samples * part // parts for part in range(parts + 1)]
    first, *others = map(slice, bounds[:-1], bounds[1:])
    running = [_pool().submit(function, part) for part in others]
    return [function(first), *(part.result() for part in running)]
