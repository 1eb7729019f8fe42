"""How many threads matrix products take, so that they do not fight with our own.

After a product on several threads, OpenBLAS's idle ones go on spinning for some time, and a kernel
that follows on threads of its own runs at half its speed. So BLAS gets one thread for large
products, which our own threads cut up, and whoever trains or applies a network of convolutions lets
it have one for as long as that takes.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

from layerkit.kernels.parts import n_processors

# Multiply-adds of a product below which to wake a second thread costs more than it saves; where
# another process keeps a core busy, the first would wait for it a hundred times as long.
ALONE = 2**22


@cache
def n_threads() -> int:
    """Return how many threads to use: ``OMP_NUM_THREADS``, or the processors that we may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else n_processors()


_taken = threading.Lock()
_spared = 1


def spared_threads() -> int:
    """Return how many threads BLAS had before `one_blas_thread` left it one; 1 outside of it."""
    return _spared


@cache
def libraries() -> list[Any]:
    """Find the loaded BLAS once: looking takes a millisecond."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers


@cache
def _switches() -> list[tuple[Callable[[], int], Callable[[int], None]]]:
    """Return what reads and what sets the threads of each BLAS."""
    return [_switch(library) for library in libraries()]


def _switch(library: Any) -> tuple[Callable[[], int], Callable[[int], None]]:
    """Return OpenBLAS's own functions where it has threads of its own.

    Through threadpoolctl they are slower, and the first thread that sets a number would be the only
    one that may, here and in everybody else's code. ``PyDLL`` keeps Python's lock for the moment
    that they take.
    """
    if library.internal_api == "openblas" and library.threading_layer == "pthreads":
        loaded = ctypes.PyDLL(library.filepath)
        for prefix, suffix in product(("scipy_", ""), ("64_", "", "_64")):
            names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
            if all(hasattr(loaded, name) for name in names):
                return getattr(loaded, names[0]), getattr(loaded, names[1])
    return library.get_num_threads, library.set_num_threads


class one_blas_thread:  # not a generator, which takes half as long again
    """Let BLAS use one thread for a while; `train` and estimators do so around convolutions.

    Use it around a loop of your own over a network of convolutions. It holds for the whole
    process, from where the first thread enters to where that same thread leaves; others that come
    meanwhile change nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit.kernels import one_blas_thread
    >>> with one_blas_thread():
    ...     float((np.ones((2, 3)) @ np.ones((3, 2))).sum())
    12.0
    """

    def __enter__(self) -> None:
        global _spared
        switches = _switches()
        self._before: list[int] | None = None
        if _taken.acquire(blocking=False):
            try:
                self._before = [read() for read, _ in switches]
                _spared = min(self._before, default=1)
                for _, set_threads in switches:
                    set_threads(1)
            except BaseException:  # Ctrl-C
                self._end()
                raise

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            self._end()

    def _end(self) -> None:
        global _spared
        _spared = 1
        try:
            for (_, set_threads), threads in zip(_switches(), self._before or (), strict=False):
                set_threads(threads)
        finally:
            _taken.release()
