"""Numba's cache on disk, for kernels that inline functions of other modules."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile


class Cache(FunctionCache):
    """Numba's cache, but a folder that cannot be written or read costs time, not a crash.

    Kernels inline functions of other modules, so what is cached is void when any of them changes.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(
            self._cache_path, self._impl.filename_base, _newest_source()
        )

    @contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, EOFError, UnpicklingError, ValueError):
            self.disable()


def _newest_source() -> tuple[int, int]:
    sources = [path.stat() for path in Path(__file__).parent.glob("*.py")]
    return max(s.st_mtime_ns for s in sources), sum(s.st_size for s in sources)
