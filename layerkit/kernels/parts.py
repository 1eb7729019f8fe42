"""Into how many parts a batch is cut: processors and sizes decide, never threads.

A worker of a search has fewer threads than a process by itself. It works on the same parts and adds
up their results in the same order, so it learns the same bits.
"""

import os
from functools import cache

# What a pass over memory costs for each number, in multiply-adds that run in registers.
PASS = 12


@cache
def n_processors() -> int:
    """Return how many processors we may use."""
    ours = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(ours(0)) if ours else os.cpu_count() or 1


def n_parts(n_samples: int, multiply_adds: float, least: float) -> int:
    """Return how many parts: one a processor, but none without a sample or with less to do.

    >>> n_parts(100, 3e6, least=2e6), n_parts(0, 0, least=2e6)
    (1, 1)
    """
    return max(1, min(n_processors(), n_samples, int(multiply_adds / least)))
