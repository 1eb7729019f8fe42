"""Writing ONNX models. Needs onnx; `pipelines` needs skl2onnx as well."""

from layerkit.interchange.onnx_export import elementwise, images, structure, tables
from layerkit.interchange.onnx_export.emitters import emit, emits
from layerkit.interchange.onnx_export.graph import Graph, Value

__all__ = ["Graph", "Value", "elementwise", "emit", "emits", "images", "structure", "tables"]
