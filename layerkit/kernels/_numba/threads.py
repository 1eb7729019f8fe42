"""A batch cut into parts that compiled code works on at the same time.

Compiled kernels run without Python's global lock, so plain threads do, and they do no harm to
processes that fork or to callers that are threads themselves. The parts are always the same, and
sums over them are added in their order: results do not depend on which thread was faster.

Kernels need two functions. `in_parts` is for Python, `work_queue.share` for compiled code, which
gets its queue from `workers`.

Numba has parallel loops of its own, ``prange``. Measured once with Numba 0.68 on two busy
processors, in alternation, as multiples of the time that parts take here::

                                                workqueue          OpenMP
                                             median  fastest   median  fastest
    direct convolution, 32 x 28 x 28, 8 to 16   1.2      2.1       15      1.0
    Winograd's, 32 x 14 x 14, 32 to 32          1.2      2.1      0.6      1.0
    Adam, 1,000,000 parameters                  2.0      2.2       25      1.0

OpenMP waits up to 8 ms for a thread whose processor is taken, and a process that forked is
terminated. The workqueue aborts the process when two threads call it at once, as a search over
threads or two predictions at a time do. Both were tried.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from layerkit.kernels._numba.compile import jit
from layerkit.kernels._numba.work_queue import new_queue, serve, share
from layerkit.kernels.blas import n_threads
from layerkit.kernels.parts import PASS, n_parts

# A part has to last longer than it takes to share the work.
WORTHWHILE = 1e6  # multiply-adds
# How often an idle worker looks at the queue before it falls asleep: for some 0.6 ms, longer than a
# training step takes from one kernel to the next.
LOOKS = 1000


class Worker:
    """A thread that serves a queue, and sleeps when there is nothing to do."""

    def __init__(self, queue: np.ndarray) -> None:
        self._queue = queue
        self._asleep = False
        self._waking = threading.Lock()  # released to wake the worker
        self._waking.acquire()
        self._processors: set[int] = set()
        self._thread = threading.Thread(target=self._serve, name="layerkit", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Wake the worker, if it is asleep."""
        if self._asleep:
            self._asleep = False
            self._move_away()
            self._waking.release()

    def _move_away(self) -> None:
        """Make the worker wake up on another processor than the caller's.

        A scheduler may start it on the caller's, above all on a virtual machine, whose idle
        processors look as if they were busy; there it would only take turns with the caller.
        """
        if _processor is not None:
            self._processors = os.sched_getaffinity(0)
            others = self._processors - {_processor()}
            if others and self._thread.native_id is not None:
                _confine(self._thread.native_id, others)

    def _serve(self) -> None:
        while True:
            serve(self._queue, LOOKS)
            self._asleep = True
            self._waking.acquire()
            if self._processors:
                _confine(0, self._processors)


def _confine(thread: int, processors: set[int]) -> None:
    """Let a thread, 0 for the caller, run on these processors only, if the system allows it."""
    with suppress(OSError):
        os.sched_setaffinity(thread, processors)


_processor = (  # on which the caller runs
    getattr(ctypes.PyDLL(None), "sched_getcpu", None)
    if hasattr(os, "sched_setaffinity")  # Linux
    else None
)


@cache
def _pool() -> tuple[np.ndarray, list[Worker], threading.Lock]:
    """Return the queue, its workers, and the lock that whoever has a task in the queue holds."""
    queue = new_queue()
    return queue, [Worker(queue) for _ in range(n_threads() - 1)], threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork


class workers:  # not a generator, which takes twice as long
    """Give a queue for tasks of so many parts, with workers awake for them."""

    def __init__(self, parts: int) -> None:
        self._parts = parts

    def __enter__(self) -> np.ndarray:
        queue, pool, free = _pool()
        self._free = free if free.acquire(blocking=False) else None
        if self._free is None:  # others are at it, so the processors are busy anyway
            return new_queue()
        try:
            for worker in pool[: self._parts - 1]:
                worker.wake()
        except BaseException:  # Ctrl-C
            free.release()
            raise
        return queue

    def __exit__(self, *error: object) -> None:
        if self._free is not None:
            self._free.release()


def in_parts(
    kernel: Callable[..., None],
    cut: tuple[np.ndarray, ...],
    whole: tuple[Any, ...] = (),
    each: tuple[np.ndarray, ...] = (),
    *,
    multiply_adds: float,
) -> None:
    """Run ``kernel(*cut, *each, *whole)`` for each part of a batch.

    Parameters
    ----------
    kernel : compiled function
        Returns nothing.
    cut : tuple of arrays
        Of one length, the batch's; a part gets its rows of them.
    whole : tuple
        Every part gets these as they are.
    each : tuple of arrays
        A part gets its row of these, for its sums: there are as many parts as rows, `n_parts`.
    multiply_adds : float
        How much work the whole batch is.

    Raises
    ------
    MemoryError
        If a kernel got no memory for what it keeps while it runs.
    """
    n_samples = len(cut[0])
    parts = len(each[0]) if each else n_parts(n_samples, multiply_adds, WORTHWHILE)
    if parts == 1:
        kernel(*cut, *(rows[0] for rows in each), *whole)
        return
    with workers(parts) as queue:
        succeeded = _shared(kernel)(queue, parts, cut, each, whole)
    if not succeeded:
        raise MemoryError(f"{kernel.__name__}: no memory for a part of {n_samples} samples")


@cache
def _shared(kernel: Any) -> Callable[..., bool]:
    """Compile a call of `share` for a kernel, under a name of its own in the cache on disk."""

    def run(queue, parts, cut, each, whole):
        return share(queue, parts, kernel, cut, each, whole)

    family = kernel.__module__.split(".")[-1]
    run.__name__ = run.__qualname__ = f"{family}_{kernel.__name__}_in_parts"
    return jit(run)


def element_by_element(loop: Callable[..., None], *arrays: np.ndarray, numbers: Any = ()) -> None:
    """Run ``loop(*arrays, *numbers)`` over vectors of one length, in parts where they are long."""
    in_parts(loop, arrays, tuple(numbers), multiply_adds=PASS * arrays[0].size)
