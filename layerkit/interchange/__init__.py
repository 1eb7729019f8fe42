"""Models in files, and to and from PyTorch, scikit-learn, ONNX and skops.

A model file holds arrays and a description, no code; opening one is safe::

    save            a network or an estimator, as a file that holds no code
    load            read it back
    ModelFileError  the file is damaged, too new, or for something else
    to_onnx         write a network, an estimator or a Pipeline as an ONNX model
    from_onnx       build a network from an ONNX model
    to_pytorch      build a PyTorch module from a network
    from_pytorch    build a network from a PyTorch module
    to_sklearn      turn a fitted estimator into scikit-learn's MLP
    from_sklearn    turn scikit-learn's MLP into ours
    TRUSTED_TYPES   the names of our types, for ``skops.io.load(path, trusted=…)``
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerkit.archive import ModelFileError
    from layerkit.interchange.model_files.reader import load
    from layerkit.interchange.model_files.writer import save
    from layerkit.interchange.onnx import from_onnx, to_onnx
    from layerkit.interchange.sklearn import from_sklearn, to_sklearn
    from layerkit.interchange.skops import TRUSTED_TYPES
    from layerkit.interchange.torch import from_pytorch, to_pytorch

__all__ = [
    "TRUSTED_TYPES",
    "ModelFileError",
    "from_onnx",
    "from_pytorch",
    "from_sklearn",
    "load",
    "save",
    "to_onnx",
    "to_pytorch",
    "to_sklearn",
]

# Loaded on first use. No module may be called like a function in it: importing the module would
# put it in the function's place.
_HOMES = {
    "model_files.reader": ("ModelFileError", "load"),
    "model_files.writer": ("save",),
    "onnx": ("from_onnx", "to_onnx"),
    "sklearn": ("from_sklearn", "to_sklearn"),
    "skops": ("TRUSTED_TYPES",),
    "torch": ("from_pytorch", "to_pytorch"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
