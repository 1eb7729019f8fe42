"""Libraries that only some conversions need."""

from __future__ import annotations

from importlib import import_module


def require(*modules: str, install: str) -> None:
    """Raise an ImportError that says what to install, unless all modules are there."""
    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise ImportError(f"this needs {module}: pip install {install}") from error
