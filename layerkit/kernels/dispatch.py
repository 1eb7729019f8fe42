"""Which twin of a kernel runs: NumPy's, which always works, or Numba's, compiled and fused.

Each family of kernels is a module in ``_numpy``. Where compiling pays, `compiled` stands on a
function, and ``_numba`` has a twin of the same name in a module of the same name, with the same
results up to rounding. Other functions run in NumPy under either backend. So does a call whose
arrays a twin cannot take or is not worth compiling for; the twin decides, by shape and dtype, and
says why.

Numba is imported by the first kernel that needs it, never by ``import layerkit``. Importing it and
reading compiled code back takes a process about half a second, more than a small fit does
altogether. So whoever knows beforehand how much there is to compute says so with `for_work`, as the
estimators do, and what is less than `WORTH_WAKING` runs in NumPy. The rule looks at sizes alone,
not at what the process did before: the same fit always runs the same kernels.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

BACKENDS = ("numpy", "numba")
VARIABLE = "LAYERKIT_KERNELS"

# In multiply-adds, about 50 ms in NumPy: for less, more than ten fits in one process would have to
# follow before Numba had made up for its start.
WORTH_WAKING = 1e9

_chosen: str | None = None  # by `use`
_small: ContextVar[bool] = ContextVar("layerkit_small_work", default=False)


class _Running(dict[Callable[..., Any], Callable[..., Any]]):
    """The function that a kernel runs, by its NumPy version: found when it is first called."""

    def __missing__(self, reference: Callable[..., Any]) -> Callable[..., Any]:
        self[reference] = twin(reference) if backend() == "numba" else reference
        return self[reference]


_running = _Running()


def compiled(reference: Function) -> Function:
    """Say that a NumPy function has a compiled twin: it runs that instead where Numba is used."""

    @functools.wraps(reference)
    def kernel(*args: Any, **kwargs: Any) -> Any:
        if _small.get() and _chosen is None:
            return reference(*args, **kwargs)
        return _running[reference](*args, **kwargs)

    return kernel  # type: ignore[return-value]


def in_numpy(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return the NumPy version of a kernel, whichever is in use."""
    return kernel.__wrapped__  # type: ignore[attr-defined]


def twin(reference: Callable[..., Any]) -> Callable[..., Any]:
    """Import the compiled version: of the same name, in the file of the same name in ``_numba``."""
    family = reference.__module__.split(".")[-1]
    return getattr(import_module(f"layerkit.kernels._numba.{family}"), reference.__name__)


def backend() -> str:
    """Return the backend in use, "numpy" or "numba".

    What was chosen with `use`, else what the environment variable ``LAYERKIT_KERNELS`` names, else
    "numba" where Numba is installed, except inside `for_work` around something small.

    Returns
    -------
    name : {"numpy", "numba"}
        The one that is used now.
    """
    if _chosen is not None:
        return _chosen
    return "numpy" if _small.get() else _default()


class for_work:  # not a generator, which takes twice as long
    """Leave Numba asleep within a ``with`` block if there is too little to compute.

    The estimators do so around a fit or a prediction, whose size they know beforehand. A backend
    that was chosen, by `use` or by ``LAYERKIT_KERNELS``, is used whatever the size.

    Parameters
    ----------
    multiply_adds : float
        In all. It is little below ``1e9``, about 50 ms in NumPy.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import kernels
    >>> with kernels.for_work(1000):
    ...     kernels.relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def __init__(self, multiply_adds: float) -> None:
        self._is_small = multiply_adds < WORTH_WAKING and not os.environ.get(VARIABLE)

    def __enter__(self) -> None:
        self._before = _small.set(self._is_small)

    def __exit__(self, *error: object) -> None:
        _small.reset(self._before)


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
        self.before = _chosen
        _choose(_checked(backend, "backend"))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        _choose(self.before)


def _choose(backend: str | None) -> None:
    global _chosen
    _chosen = backend
    _running.clear()


def _checked(backend: str, source: str) -> str:
    if backend not in BACKENDS:
        raise ValueError(f'{source} must be "numpy" or "numba", got {backend!r}')
    if backend == "numba":
        _import_numba()
    return backend


@cache
def _default() -> str:
    named = os.environ.get(VARIABLE)
    return _checked(named, VARIABLE) if named else _best()


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
