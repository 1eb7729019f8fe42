"""Parts of a batch side by side: NumPy and BLAS leave Python's lock to others while they compute.

The parts are the same whatever the number of threads, and so are the results, to the last bit.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from itertools import pairwise
from typing import TypeVar

from layerkit.kernels.blas import n_blas_threads, one_blas_thread

Result = TypeVar("Result")

PARTS = 4
# Multiply-adds: below, BLAS with its own threads on the whole batch was 1.5 times as fast here.
WORTHWHILE = 2**34


def in_parts(
    function: Callable[[slice], Result], n_samples: int, multiply_adds: float
) -> list[Result]:
    """Call a function with the rows of each part; return the results in order.

    There are as many threads as BLAS has, which gets one in the meantime.
    """
    n_parts = max(1, min(PARTS, n_samples)) if multiply_adds >= WORTHWHILE else 1
    ends = [n_samples * part // n_parts for part in range(n_parts + 1)]
    parts = [slice(*pair) for pair in pairwise(ends)]
    threads = min(n_parts, n_blas_threads()) if n_parts > 1 else 1
    if threads == 1:
        return [function(part) for part in parts]
    with one_blas_thread():
        # Each in its own context, in which NumPy ignores the errors that it ignores here.
        tasks = [_pool(threads).submit(copy_context().run, function, part) for part in parts]
        return [task.result() for task in tasks]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="layerkit")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
