"""Numba's start, which comes before the first kernel, without what no kernel here needs.

To know whether ``np.dot`` can be compiled, Numba imports SciPy's BLAS; kernels here call NumPy's by
address. And in every process it compiles its runtime, which counts references to arrays; here that
is cached on disk as kernels are, and a process that compiles nothing does not even read the code of
LLVM's optimizer. All in all that saves 40 MB and some tenths of a second.

What Numba compiles for others stays as it is: a ``np.dot`` in it imports SciPy then. And a Numba
that has none of the functions that are replaced here starts in its own way.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import Any

from layerkit.kernels._numba.cache import Cache


def start_numba() -> None:
    """Load what Numba needs before it compiles anything."""
    with suppress(ImportError, AttributeError):
        _start()


def _start() -> None:
    from numba.core.registry import cpu_target
    from numba.core.runtime import nrtdynmod
    from numba.np import linalg

    with _replaced(nrtdynmod, "compile_nrt_functions", runtime):
        if find_spec("scipy") is None:
            cpu_target.target_context.refresh()
        else:
            with _replaced(linalg, "ensure_blas", lambda: None):
                cpu_target.target_context.refresh()


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def runtime(context: Any) -> Any:
    """Return Numba's runtime, from the cache if it is there, as `compile_nrt_functions` does."""
    codegen = context.codegen()
    try:
        cache = Cache(runtime)
    except RuntimeError:  # no folder for it
        return _compile(context)
    found = None
    with cache._guard_against_spurious_io_errors():
        found = cache._cache_file.load(codegen.magic_tuple())
    if found is not None:
        return codegen.unserialize_library(found)
    library = _compile(context)
    with cache._guard_against_spurious_io_errors():
        state = library.serialize_using_object_code()
        cache._cache_file.save(codegen.magic_tuple(), state)
    return library


def _compile(context: Any) -> Any:
    """Compile the runtime, so that it can be saved."""
    from numba.core.runtime import nrtdynmod

    module, library = nrtdynmod.create_nrt_module(context)
    library.enable_object_caching()
    library.add_ir_module(module)
    library.finalize()
    return library
