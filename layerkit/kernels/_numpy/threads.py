"""A batch cut into parts that NumPy works on at the same time.

NumPy lets go of Python's lock inside its loops, so plain threads do. They are as many as BLAS had
before `one_blas_thread` left it one: who limits BLAS's threads limits these. The parts depend on
none of this, and whoever adds up results does so in their order: the same bits whether threads were
free or not.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from typing import Any

from layerkit.kernels.blas import n_threads, one_blas_thread, spared_threads
from layerkit.kernels.parts import n_parts

# A part has to last longer than it takes to wake a thread: some 50 µs.
WORTHWHILE = 2**22  # multiply-adds


def in_parts(task: Callable[[slice], Any], n_samples: int, multiply_adds: float) -> list[Any]:
    """Return ``task(part)`` of every part of a batch, which is so much work in all."""
    n = n_parts(n_samples, multiply_adds, WORTHWHILE)
    bounds = [n_samples * k // n for k in range(n + 1)]
    parts = list(map(slice, bounds, bounds[1:]))
    if n == 1:
        return [task(parts[0])]
    with one_blas_thread():
        threads = min(n, spared_threads())

        def every(first: int) -> list[Any]:
            return [task(part) for part in parts[first::threads]]

        # In a copy of the context, which knows whether NumPy is to warn.
        running = [_pool().submit(copy_context().run, every, k) for k in range(1, threads)]
        found = [every(0), *(others.result() for others in running)]
    return [found[k % threads][k // threads] for k in range(n)]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads(), thread_name_prefix="layerkit")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
