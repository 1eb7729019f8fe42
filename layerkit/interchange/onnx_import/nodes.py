"""The table from an ONNX operator to the function that makes layers of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from layerkit.interchange.trail import Trail


class Node:
    """An operator, its attributes and what came in: trails, constants, None where left out.

    ``is_index`` says that its output is only there to look up rows of tables.
    """

    def __init__(self, proto: NodeProto, inputs: list[Any], opset: int, is_index: bool) -> None:
        self.op, self.inputs, self.opset, self.is_index = proto.op_type, inputs, opset, is_index
        self.attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, text as str."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def input(self, i: int) -> Any:
        """Return an input, or None where it was left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def trail(self) -> Trail:
        """Return the first input, which must come from the model's input."""
        demand(isinstance(self.inputs[0], Trail), "a computed first input")
        return self.inputs[0]

    def constant(self, i: int) -> np.ndarray:
        """Return an input that must be a constant."""
        demand(isinstance(self.input(i), np.ndarray), f"a constant as input {i}")
        return self.inputs[i]

    def axes(self) -> list[int]:
        """Return the axes, an attribute in older versions and an input in newer ones."""
        given = self.get("axes")
        return [int(a) for a in (np.ravel(self.constant(1)) if given is None else given)]


Reader = Callable[[Node], Trail]
READERS: dict[str, Reader] = {}


def reads(*ops: str) -> Callable[[Reader], Reader]:
    """Enter the decorated function ``node -> trail`` into the table."""

    def enter(reader: Reader) -> Reader:
        READERS.update(dict.fromkeys(ops, reader))
        return reader

    return enter


def demand(ok: Any, what: str) -> None:
    """Refuse an operator that is used in another way."""
    if not ok:
        raise ValueError(f"has a layer only with {what}")


def per_channel(array: np.ndarray, trail: Trail) -> np.ndarray | None:
    """One value for each channel, if that is what the array holds beside the model's tensor."""
    channels, rank = trail.shape[-1], len(trail.shape) + 1
    if array.size == 1:
        return np.full(channels, array.item())
    axis = 1 if trail.channels_first else rank - 1
    shape = [1] * (rank - array.ndim) + list(array.shape)
    wanted = [channels if i == axis else 1 for i in range(rank)]
    return array.ravel() if shape == wanted else None
