"""All layers, one family per module."""

from layerkit.layers.containers import Columns, Concat, Residual, Sequential
from layerkit.layers.dense import Dense

__all__ = ["Columns", "Concat", "Dense", "Residual", "Sequential"]
