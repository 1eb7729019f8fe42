"""Reading ONNX models. Needs onnx."""

from layerkit.interchange.onnx_import import structure, windows
from layerkit.interchange.onnx_import.model import read_model

__all__ = ["read_model", "structure", "windows"]
