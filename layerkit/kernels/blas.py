"""How many threads matrix products take, so that they do not fight with our own.

After a product on several threads, OpenBLAS's idle ones go on spinning for some time, and a
convolution that follows on two threads of its own runs at half its speed. So whoever trains or
applies a network of convolutions lets BLAS have one thread meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def libraries() -> list[Any]:
    """Find the loaded BLAS once: looking takes a millisecond, setting then a few microseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas").lib_controllers


@contextmanager
def blas_threads(n: int) -> Iterator[None]:
    """Let BLAS use n threads for a while, then as many as before.

    >>> import numpy as np
    >>> with blas_threads(1):
    ...     float((np.ones((2, 3)) @ np.ones((3, 2))).sum())
    12.0
    """
    before = [library.get_num_threads() for library in libraries()]
    for library in libraries():
        library.set_num_threads(n)
    try:
        yield
    finally:
        for library, threads in zip(libraries(), before, strict=True):
            library.set_num_threads(threads)
