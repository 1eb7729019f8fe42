"""A batch cut into parts, one for each processor.

Compiled kernels run without Python's global lock, so plain threads do, and they do no harm to
processes that fork or to callers that are threads themselves. The parts are always the same, and
sums over them are added in their order: results do not depend on which thread was faster.
"""

import functools
import os
import threading
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")

# A part has to last longer than it takes to wake a thread.
WORTHWHILE = 4e6  # multiply-adds
# What a pass over memory costs for each number, in multiply-adds that run in registers.
PASS = 12


@cache
def n_threads() -> int:
    """Return how many threads to use: ``OMP_NUM_THREADS``, or the processors that we may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    ours = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(ours(0)) if ours else os.cpu_count() or 1


class Worker:
    """A thread that does one task after the other.

    Two bare locks wake it and tell that it is done, in some 10 µs; an executor takes five times as
    long, with the queue and the conditions that it needs for many tasks from many threads.
    """

    def __init__(self) -> None:
        self._task: Callable[[], Any]
        self._outcome: tuple[Any, BaseException | None]
        self._go, self._done = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._done.acquire()
        threading.Thread(target=self._work, name="layerkit", daemon=True).start()

    def start(self, task: Callable[[], Any]) -> None:
        """Begin with a task."""
        self._task = task
        self._go.release()

    def wait(self) -> tuple[Any, BaseException | None]:
        """Return the result of the task, or None and what it raised."""
        self._done.acquire()
        return self._outcome

    def _work(self) -> None:
        while True:
            self._go.acquire()
            try:
                self._outcome = self._task(), None
            except BaseException as error:
                self._outcome = None, error
            del self._task
            self._done.release()


@cache
def _team() -> tuple[list[Worker], threading.Lock]:
    """Return the workers, and the lock that whoever makes them work holds."""
    return [Worker() for _ in range(n_threads() - 1)], threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_team.cache_clear)  # threads do not survive a fork


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
    parts = min(n_threads(), n_samples, int(multiply_adds / WORTHWHILE))
    if parts < 2:
        return [function(slice(None))]
    bounds = [n_samples * part // parts for part in range(parts + 1)]
    slices = list(map(slice, bounds[:-1], bounds[1:]))
    workers, free = _team()
    if not free.acquire(blocking=False):  # others are at it, so the processors are busy anyway
        return [function(part) for part in slices]
    try:
        for worker, part in zip(workers, slices[1:], strict=False):
            worker.start(functools.partial(function, part))
        try:
            results = [function(slices[0])]
        finally:  # nobody may go on while a part is under way
            outcomes = [worker.wait() for worker in workers[: parts - 1]]
    except BaseException:  # Ctrl-C while waiting, perhaps: the workers may be at it still
        _team.cache_clear()
        raise
    finally:
        free.release()
    for result, error in outcomes:
        if error is not None:
            raise error
        results.append(result)
    return results


def element_by_element(loop: Callable[..., None], *arrays: np.ndarray, numbers: Any = ()) -> None:
    """Run ``loop(*arrays, *numbers)`` over vectors of one length, in parts where they are long."""
    if is_short(arrays[0]):
        loop(*arrays, *numbers)
    else:
        size = arrays[0].size
        in_parts(lambda part: loop(*[a[part] for a in arrays], *numbers), size, PASS * size)


def is_short(x: np.ndarray) -> bool:
    """Whether a pass over an array is not worth a second thread."""
    return PASS * x.size < 2 * WORTHWHILE
