"""A batch cut into parts, one for each processor.

Compiled kernels run without Python's global lock, so plain threads do, and they do no harm to
processes that fork or to callers that are threads themselves. The parts are always the same, and
sums over them are added in their order: results do not depend on which thread was faster.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
from numba.extending import overload

from layerkit.kernels._numba.compile import jit
from layerkit.kernels._numba.team import ALL, bounds, new_board, post, serve, share

# A part has to last longer than it takes to share the work.
WORTHWHILE = 1e6  # multiply-adds
# What a pass over memory costs for each number, in multiply-adds that run in registers.
PASS = 12
# How often an idle worker looks at the board before it falls asleep: for some 0.6 ms, longer than a
# training step takes from one kernel to the next.
LOOKS = 1000


@cache
def n_threads() -> int:
    """Return how many threads to use: ``OMP_NUM_THREADS``, or the processors that we may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted):
        return int(wanted)
    ours = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(ours(0)) if ours else os.cpu_count() or 1


class Worker:
    """A thread that serves a board, and sleeps when there is nothing to do."""

    def __init__(self, board: np.ndarray) -> None:
        self._board = board
        self._asleep = False
        self._bell = threading.Lock()
        self._bell.acquire()
        self._processors: set[int] = set()
        self._thread = threading.Thread(target=self._serve, name="layerkit", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Ring, if the worker is asleep."""
        if self._asleep:
            self._asleep = False
            self._move_away()
            self._bell.release()

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
            serve(self._board, LOOKS)
            self._asleep = True
            self._bell.acquire()
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
def _team() -> tuple[np.ndarray, list[Worker], threading.Lock]:
    """Return the board, its workers, and the lock that whoever posts on the board holds."""
    board = new_board()
    return board, [Worker(board) for _ in range(n_threads() - 1)], threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_team.cache_clear)  # threads do not survive a fork


class posting:  # not a generator, which takes twice as long
    """Give a board to post work on, with workers awake for so many parts."""

    def __init__(self, parts: int) -> None:
        self._parts = parts

    def __enter__(self) -> np.ndarray:
        board, workers, free = _team()
        self._free = free if free.acquire(blocking=False) else None
        if self._free is None:  # others are at it, so the processors are busy anyway
            return new_board()
        try:
            for worker in workers[: self._parts - 1]:
                worker.wake()
        except BaseException:  # Ctrl-C
            free.release()
            raise
        return board

    def __exit__(self, *error: object) -> None:
        if self._free is not None:
            self._free.release()


def n_parts(n_samples: int, multiply_adds: float) -> int:
    """Return into how many parts a batch is cut, which is so much work in all."""
    return max(1, min(n_threads(), n_samples, int(multiply_adds / WORTHWHILE)))


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
        A part gets its row of these, one for each of `n_parts`: a place for its sums.
    multiply_adds : float
        How much work the whole batch is.

    Raises
    ------
    MemoryError
        If a kernel got no memory for what it keeps while it runs.
    """
    n_samples = len(cut[0])
    parts = n_parts(n_samples, multiply_adds)
    if parts == 1:
        kernel(*cut, *(rows[0] for rows in each), *whole)
        return
    with posting(parts) as board:
        succeeded = _shared(kernel)(board, ALL, parts, cut, each, whole)
    if not succeeded:
        raise MemoryError(f"{kernel.__name__}: no memory for a part of {n_samples} samples")


@cache
def _shared(kernel: Any) -> Callable[..., bool]:
    """Compile a kernel to be run in parts.

    It is cached on disk beside the kernel and under a name of its own, so this is a copy of a
    function rather than a closure, which would have the same name for all kernels.
    """
    place, name = kernel.py_func.__code__, f"{kernel.__name__}_in_parts"
    code = _run.__code__.replace(
        co_filename=place.co_filename, co_firstlineno=place.co_firstlineno, co_name=name
    )
    copy = FunctionType(code, _run.__globals__ | {"kernel": kernel}, name)
    copy.__module__, copy.__qualname__ = kernel.__module__, name
    return jit(copy)


kernel: Any = None  # what a copy of `_run` calls


def _run(board, part, parts, cut, each, whole):
    """Do one part, or have all of them done, this way, by the threads that serve the board."""
    if part == ALL:
        post(board, parts, (cut, each, whole))
        return share(board, parts)
    start, stop = bounds(len(cut[0]), parts, part)
    kernel(*(_rows(cut, start, stop) + _row(each, part) + whole))
    return True


def _rows(arrays, start, stop):
    """Return the rows from ``start`` to ``stop`` of every array."""


def _row(arrays, i):
    """Return row i of every array."""


@overload(_rows)
def _(arrays, start, stop):
    if len(arrays) == 0:
        return lambda arrays, start, stop: ()
    return lambda arrays, start, stop: (
        (arrays[0][start:stop],) + _rows(arrays[1:], start, stop)  # noqa: RUF005
    )


@overload(_row)
def _(arrays, i):
    if len(arrays) == 0:
        return lambda arrays, i: ()
    return lambda arrays, i: (arrays[0][i],) + _row(arrays[1:], i)  # noqa: RUF005


def places(out: np.ndarray, parts: int) -> np.ndarray:
    """Return a row for the sums of each part; for one part, the place of the result itself."""
    return out[None] if parts == 1 else np.empty((parts, *out.shape), out.dtype)


def add_up(sums: np.ndarray, out: np.ndarray) -> None:
    """Overwrite ``out`` with the sums of all parts, in their order."""
    if len(sums) > 1:
        np.sum(sums, axis=0, out=out)


def element_by_element(loop: Callable[..., None], *arrays: np.ndarray, numbers: Any = ()) -> None:
    """Run ``loop(*arrays, *numbers)`` over vectors of one length, in parts where they are long."""
    in_parts(loop, arrays, tuple(numbers), multiply_adds=PASS * arrays[0].size)


def is_short(x: np.ndarray) -> bool:
    """Whether a pass over an array is not worth a second thread."""
    return PASS * x.size < 2 * WORTHWHILE
