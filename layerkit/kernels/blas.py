"""How many threads matrix products take, so that they do not fight with our own.

After a product on several threads, OpenBLAS's idle ones go on spinning for some time, and a kernel
that follows on threads of its own runs at half its speed. So BLAS gets one thread for large
products, which our own threads cut up, and whoever trains or applies a network of convolutions lets
it have one for as long as that takes.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_taken = threading.Lock()


@cache
def libraries() -> list[Any]:
    """Find the loaded BLAS once: looking takes a millisecond, setting then a few microseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let BLAS use one thread for a while; `train` and estimators do so around convolutions.

    Use it around a loop of your own over a network of convolutions. It holds for the whole
    process, from where the first thread enters to where that same thread leaves; others that come
    meanwhile change nothing.

    Yields
    ------
    None

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit.kernels import one_blas_thread
    >>> with one_blas_thread():
    ...     float((np.ones((2, 3)) @ np.ones((3, 2))).sum())
    12.0
    """
    if not _taken.acquire(blocking=False):
        yield
        return
    before = [library.get_num_threads() for library in libraries()]
    try:
        for library in libraries():
            library.set_num_threads(1)
        yield
    finally:
        for library, threads in zip(libraries(), before, strict=True):
            library.set_num_threads(threads)
        _taken.release()
