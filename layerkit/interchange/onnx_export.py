"""For writing a layer of your own to ONNX, where `layerkit.interchange.to_onnx` asks for it."""

from layerkit.interchange.onnx.graph import Graph, Value
from layerkit.interchange.onnx.writer import emits

__all__ = ["Graph", "Value", "emits"]
