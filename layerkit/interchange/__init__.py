"""Models in files, and to other tools: ONNX."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerkit.archive import ModelFileError
    from layerkit.interchange.model_file import load, save
    from layerkit.interchange.onnx_models import to_onnx

__all__ = [
    "ModelFileError",
    "load",
    "save",
    "to_onnx",
]

# Loaded on first use. No module may be called like a function in it: importing the module would
# put it in the function's place.
_LAZY = {
    "ModelFileError": "model_file",
    "load": "model_file",
    "save": "model_file",
    "to_onnx": "onnx_models",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
