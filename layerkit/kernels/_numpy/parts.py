"""A batch cut into parts that NumPy works on at the same time.

NumPy lets go of Python's lock inside its loops, so plain threads do. They are as many as BLAS had
before `one_blas_thread` left it one: who limits BLAS's threads limits these. The parts are always
the same, and whoever adds results up does so in their order, so that nothing depends on which
thread was faster.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any

from layerkit.kernels.blas import one_blas_thread, spared_threads

# A part has to last longer than it takes to wake a thread: some 50 µs.
WORTHWHILE = 2**22  # multiply-adds
# What a pass over memory costs for each number, in multiply-adds of a matrix product.
PASS = 12


def in_parts(task: Callable[[slice], Any], n_samples: int, multiply_adds: float) -> list[Any]:
    """Return ``task(part)`` of every part of a batch, which is so much work in all."""
    parts = min(n_samples, int(multiply_adds / WORTHWHILE))
    if parts < 2:
        return [task(slice(0, n_samples))]
    with one_blas_thread():
        parts = min(parts, spared_threads())
        bounds = [n_samples * k // parts for k in range(parts + 1)]
        first, *others = map(slice, bounds, bounds[1:])
        # In a copy of the context, which knows whether NumPy is to warn.
        running = [_pool().submit(copy_context().run, task, part) for part in others]
        return [task(first), *(part.result() for part in running)]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="layerkit")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
