"""Which pieces of the flat vectors a step goes through: found once, since calls cost time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from layerkit.kernels import plus_decay
from layerkit.shapes import Slot

Span = tuple[int, int]


class Piece(NamedTuple):
    """Neighbouring trainable parameters of one kind, and what belongs to them."""

    here: slice
    params: np.ndarray
    grads: np.ndarray  # read-only: a rule must not write into its caller's gradient
    memory: dict[str, np.ndarray]
    slot: int  # the first slot, whose age is that of all
    decaying: np.ndarray  # int64 (n, 2): where weight decay acts in the piece, from where to where


class Plan:
    """The pieces of two vectors, no longer than ``chunk``, for one layout and its ages.

    It serves for as long as these very vectors come, which were checked when it was made, and the
    same slots. What decays is a piece `apart` from what does not, if asked.
    """

    def __init__(
        self,
        layout: Sequence[Slot] | None,
        params: np.ndarray,
        grads: np.ndarray,
        memory: Mapping[str, np.ndarray],
        ages: list[int],
        chunk: int,
        apart: bool,
    ) -> None:
        self.params, self.grads, self.chunk, self.apart = params, grads, chunk, apart
        self.layout = None if layout is None else tuple(layout)  # whose entries may change
        slots = list(enumerate(single_slot(params) if layout is None else layout))
        trainable = [(i, slot) for i, slot in slots if slot.trainable]
        self.trainable = [i for i, _ in trainable]
        self.spans, leaders = _join(
            [(slot, (ages[i], apart and slot.decay)) for i, slot in trainable]
        )
        self.decaying, _ = _join([(slot, ()) for _, slot in trainable if slot.decay])
        self.pieces = []
        self.scratch: np.ndarray | None = None
        for (start, stop), leader in zip(self.spans, leaders, strict=True):
            for low in range(start, stop, chunk):
                here = slice(low, min(low + chunk, stop))
                held = {name: vector[here] for name, vector in memory.items()}
                decaying = _within(self.decaying, here)
                slot = self.trainable[leader]
                self.pieces.append(
                    Piece(here, params[here], read_only(grads[here]), held, slot, decaying)
                )

    def with_decay(
        self, g: np.ndarray, p: np.ndarray, decay: float, decaying: np.ndarray
    ) -> np.ndarray:
        """Return the gradient of a piece with its weight decay, until the next call."""
        if self.scratch is None:
            longest = max(piece.grads.size for piece in self.pieces)
            self.scratch = np.empty(longest, p.dtype)
        out = self.scratch[: g.size]
        plus_decay(g, p, decay, decaying, out)
        return read_only(out)

    def serves(
        self,
        layout: Sequence[Slot] | None,
        params: np.ndarray,
        grads: np.ndarray,
        chunk: int,
    ) -> bool:
        """Whether the plan was made for these."""
        same = self.params is params and self.grads is grads and self.chunk == chunk
        return same and self.layout == (None if layout is None else tuple(layout))


def single_slot(params: np.ndarray) -> list[Slot]:
    """The layout of a bare vector: everything is trainable and decays."""
    return [Slot("", slice(0, len(params)), params.shape, decay=True, trainable=True)]


def read_only(vector: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written to."""
    view = vector.view()
    view.flags.writeable = False
    return view


def _join(slots: list[tuple[Slot, tuple]]) -> tuple[list[Span], list[int]]:
    """Return spans of neighbouring slots of one kind, and which slot each begins with."""
    spans: list[Span] = []
    leaders: list[int] = []
    for k, (slot, kind) in enumerate(slots):
        start, stop = slot.slice.start, slot.slice.stop
        if spans and spans[-1][1] == start and slots[k - 1][1] == kind:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
            leaders.append(k)
    return spans, leaders


def _within(spans: list[Span], here: slice) -> np.ndarray:
    """The parts of spans that lie in a piece, counted from its start."""
    parts = [(max(a, here.start) - here.start, min(b, here.stop) - here.start) for a, b in spans]
    return np.array([part for part in parts if part[0] < part[1]], np.int64).reshape(-1, 2)
