"""The table from a layer's class to the function that writes it into a graph."""

from __future__ import annotations

from collections.abc import Callable

from layerkit.interchange.onnx_export.graph import Graph, Value
from layerkit.layer import Layer

Emitter = Callable[[Graph, Layer, Value], Value]

# By the exact class: a subclass may compute something else, and must not pass for its base.
EMITTERS: dict[type[Layer], Emitter] = {}


def emits(*kinds: type[Layer]) -> Callable[[Emitter], Emitter]:
    """Enter the decorated function ``(graph, layer, x) -> y`` into the table for these classes."""

    def enter(emitter: Emitter) -> Emitter:
        EMITTERS.update(dict.fromkeys(kinds, emitter))
        return emitter

    return enter


def emit(graph: Graph, layer: Layer, x: Value) -> Value:
    """Write a built layer, as it is in inference, into the graph."""
    emitter = EMITTERS.get(type(layer))
    if emitter is None:
        raise TypeError(
            f"in {layer.where}: {type(layer).__name__} has no ONNX form; give it one with "
            f"`@layerkit.interchange.onnx_export.emits({type(layer).__name__})`"
        )
    graph.place = ".".join(filter(None, [graph.prefix, layer.path or type(layer).__name__]))
    return emitter(graph, layer, x)
