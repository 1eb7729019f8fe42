"""How kernels are compiled: once for a machine, cached on disk, and never in the way.

A compiled kernel takes C-contiguous, writeable arrays of float32 or float64 (and integers), so that
it is compiled at most twice. The Python function around it sees to that with `contiguous`.
"""

import functools
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.registry import CPUDispatcher
from numba.np import linalg

from layerkit.kernels.dispatch import in_numpy

# Sums may be reordered and contracted, signs of zero ignored. Not "nnan" and "ninf": they would let
# LLVM assume that no NaN or infinity comes, and hide a network that diverges.
FLAGS = {"contract", "reassoc", "nsz", "arcp"}
# Nobody calls them from C.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True}
NOTABLE_SECONDS = 1.0
# Dtypes that a kernel is compiled for.
SINGLE = (np.dtype(np.float32),)
BOTH = (*SINGLE, np.dtype(np.float64))

Function = TypeVar("Function", bound=Callable[..., Any])


def jit(
    function: Callable[..., Any], flags: set[str] = FLAGS, **options: Any
) -> Callable[..., Any]:
    """Compile a kernel when it is first called with a dtype."""
    compiled: Any = numba.njit(nogil=True, fastmath=flags, **OPTIONS, **options)(function)
    try:
        compiled._cache = Cache(function)
    except RuntimeError:  # Numba found no folder for its cache
        logging.getLogger("layerkit").debug("compiled kernels are not cached")
    return compiled


class Part(CPUDispatcher):
    """A function that becomes part of the kernels that call it, and that Python runs as it is.

    Its arguments need no way from Python into compiled code, whose making takes longer than that of
    a short function.
    """

    def __init__(self, function: Callable[..., Any], flags: set[str]) -> None:
        options = {"fastmath": flags, "forceinline": True, "no_cpython_wrapper": True, **OPTIONS}
        super().__init__(function, {}, {"nopython": True, **options})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.py_func(*args, **kwargs)


def inline(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only kernels call; LLVM inlines and vectorises it."""
    return Part(function, FLAGS)


def ordered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile one whose sums must stay in the order in which they are written."""
    return Part(function, {"contract"})


def copied(kernel: Any) -> Any:
    """Make a kernel part of the kernel that calls it.

    One that is only called has a copy in its caller and one in its own file, and which of them
    runs would depend on what the process loaded first: their last bits may differ.
    """
    return Part(kernel.py_func, kernel.targetoptions["fastmath"])


def for_dtypes(dtypes: tuple[np.dtype, ...], reference: Any) -> Callable[[Function], Function]:
    """Send calls with a first argument of another dtype to the twin in ``reference``."""

    def decorate(function: Function) -> Function:
        other = in_numpy(getattr(reference, function.__name__))

        @functools.wraps(function)
        def chosen(x: np.ndarray, *args: Any, **kwargs: Any) -> Any:
            return (function if x.dtype in dtypes else other)(x, *args, **kwargs)

        return chosen  # type: ignore[return-value]

    return decorate


def contiguous(x: np.ndarray) -> np.ndarray:
    """Return the array, or a copy if a kernel would have to be compiled anew for it."""
    return x if x.flags.carray else np.array(x, order="C")


class Cache(FunctionCache):
    """Numba's cache on disk, but a folder that cannot be written or read costs time, not a crash.

    Kernels inline functions of other modules, so what is cached is void when any of them changes.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            self._cache_path, self._impl.filename_base, _newest_source()
        )

    def _index_key(self, signature: Any, codegen: Any) -> tuple[Any, ...]:
        """Leave out a closure's values, which hash differently in each process.

        The function's name and the newest source say all that they could.
        """
        return signature, codegen.magic_tuple()

    @contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, UnpicklingError, ValueError):
            self.disable()


@functools.cache
def _newest_source() -> tuple[int, int]:
    sources = [path.stat() for path in Path(__file__).parent.glob("*.py")]
    return max(s.st_mtime_ns for s in sources), sum(s.st_size for s in sources)


class Listener(event.Listener):
    """Adds up the time spent on compiling layerkit's kernels and says so once.

    Nothing is collected meanwhile: to look for garbage among millions of objects that are in use
    takes a tenth of that time.
    """

    def __init__(self) -> None:
        self.depth, self.started, self.seconds, self.told = 0, 0.0, 0.0, False
        self.collects = False

    def on_start(self, e: event.Event) -> None:
        if self.depth == 0:
            self.started, self.collects = time.perf_counter(), gc.isenabled()
            gc.disable()
        self.depth += 1

    def on_end(self, e: event.Event) -> None:
        self.depth -= 1
        if self.depth == 0 and self.collects:
            gc.enable()
        function = e.data["dispatcher"].py_func
        if self.depth or self.told or not function.__module__.startswith("layerkit."):
            return
        self.seconds += time.perf_counter() - self.started
        if self.seconds > NOTABLE_SECONDS:
            self.told = True
            cache = getattr(e.data["dispatcher"]._cache, "cache_path", None)
            kept = f"once; they are cached in {cache}" if cache else "anew in every process"
            # In a notebook a warning would stand among the results, and be saved with them.
            level = logging.INFO if "ipykernel" in sys.modules else logging.WARNING
            logging.getLogger("layerkit").log(level, "layerkit: compiling kernels, %s", kept)


event.register("numba:compile", Listener())


def _import_arrays_without_scipy() -> None:
    """Import Numba's array functions, which import SciPy to know whether they can have ``np.dot``.

    Kernels here call NumPy's BLAS by address. Where nobody else imports SciPy, the first call of a
    kernel in a process takes 0.7 s instead of 1.1 s, and 15 MB less. A ``np.dot`` in compiled code
    of others imports SciPy then. A Numba that asks in another way starts as it always does.
    """
    ask = getattr(linalg, "ensure_blas", None)
    if ask is not None:
        linalg.ensure_blas = lambda: None
        try:
            import_module("numba.np.arraymath")
        finally:
            linalg.ensure_blas = ask


_import_arrays_without_scipy()
