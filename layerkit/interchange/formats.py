"""What formats share: tables of functions by type, and libraries that only some need."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


class Handlers(dict[Any, Callable[..., Any]]):
    """Functions by what each is for: a class, or an operator's name.

    Classes are looked up as they are: a subclass may compute something else than its base.
    """

    def enter(self, *keys: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Enter the decorated function for all of these."""

        def entered(handler: Callable[..., Any]) -> Callable[..., Any]:
            self.update(dict.fromkeys(keys, handler))
            return handler

        return entered


def require(*modules: str, install: str) -> None:
    """Raise an ImportError that says what to install, unless all modules are there."""
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise ImportError(f"this needs {module}: pip install {install}") from error
