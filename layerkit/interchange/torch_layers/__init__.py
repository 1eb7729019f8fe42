"""Layers as PyTorch modules and back. Needs PyTorch."""

from layerkit.interchange.torch_layers import windows
from layerkit.interchange.torch_layers.reading import read_module
from layerkit.interchange.torch_layers.writing import write_network

__all__ = ["read_module", "windows", "write_network"]
