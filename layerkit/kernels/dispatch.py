"""Which twin of a kernel runs: NumPy's, which always works, or Numba's, compiled and fused.

Each family of kernels is a module in ``_numpy`` and, where compiling pays, one of the same name in
``_numba`` with functions of the same names and the same results up to rounding. A kernel that has
no Numba twin runs in NumPy under either backend. So does a call whose arrays a twin cannot take
or is not worth compiling for; the twin decides, by shape and dtype, and says why.

Numba is imported by the first kernel that is called, never by ``import layerkit``.
"""

import functools
import os
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import TracebackType
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

BACKENDS = ("numpy", "numba")
VARIABLE = "LAYERKIT_KERNELS"

_references: dict[str, Callable[..., Any]] = {}
_backend: str | None = None  # not chosen yet


class _Running(dict[str, Callable[..., Any]]):
    """The function that each kernel runs, found when it is first called."""

    def __missing__(self, name: str) -> Callable[..., Any]:
        reference = _references[name]
        family = reference.__module__.replace("._numpy.", "._numba.")
        compiled = backend() == "numba" and find_spec(family)
        self[name] = getattr(import_module(family), name, reference) if compiled else reference
        return self[name]


_running = _Running()


def twin(reference: Function) -> Function:
    """Return the kernel of a NumPy function: it runs that one or the Numba twin of its name."""
    name = reference.__name__
    _references[name] = reference

    @functools.wraps(reference)
    def kernel(*args: Any, **kwargs: Any) -> Any:
        return _running[name](*args, **kwargs)

    return kernel  # type: ignore[return-value]


def backend() -> str:
    """Return the backend in use, "numpy" or "numba".

    Unless `use` was called, the environment variable ``LAYERKIT_KERNELS`` names it; without that it
    is "numba" where Numba is installed.

    Returns
    -------
    name : {"numpy", "numba"}
        The one that is used now.
    """
    global _backend
    if _backend is None:
        named = os.environ.get(VARIABLE)
        _backend = _checked(named, VARIABLE) if named else _best()
    return _backend


class use:
    """Choose the kernels: ``use("numpy")`` from now on, ``with use("numpy"):`` for a while.

    Parameters
    ----------
    backend : {"numpy", "numba"}
        "numba" needs the extra ``layerkit[fast]``. The choice holds for all threads.

    Raises
    ------
    ValueError
        If there is no such backend.
    ImportError
        If it is "numba", which is not installed.

    Examples
    --------
    >>> from layerkit import kernels
    >>> with kernels.use("numpy"):
    ...     kernels.backend()
    'numpy'
    """

    def __init__(self, backend: str) -> None:
        self.before = _backend
        _choose(_checked(backend, "backend"))

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _choose(self.before)


def _choose(backend: str | None) -> None:
    global _backend
    _backend = backend
    _running.clear()


def _checked(backend: str, source: str) -> str:
    if backend not in BACKENDS:
        raise ValueError(f'{source} must be "numpy" or "numba", got {backend!r}')
    if backend == "numba":
        _import_numba()
    return backend


def _best() -> str:
    if find_spec("numba") is None:
        return "numpy"
    try:
        _import_numba()
    except ImportError as error:  # installed, but for another NumPy
        warnings.warn(f"layerkit computes without Numba: {error}", RuntimeWarning, stacklevel=2)
        return "numpy"
    return "numba"


def _import_numba() -> None:
    try:
        import_module("numba")
    except ImportError as error:
        raise ImportError(f"{error}; pip install 'layerkit[fast]' installs Numba") from error
