"""The trainable parameters, cut into the pieces to which an update rule is applied."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from layerkit.optimizers.clipping import Span
from layerkit.shapes import Slot
from layerkit.warning import warn

_NO_SETTINGS = {"state", "rate", "memory", "steps_done"}  # properties
_FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Piece(NamedTuple):
    """Neighbouring trainable parameters with the same settings, their gradient and memory."""

    here: slice
    params: np.ndarray
    grads: np.ndarray  # read-only: a rule must not write into its caller's gradient
    memory: dict[str, Any]
    slot: int  # the first slot, whose age is that of all
    decaying: np.ndarray  # int64 (n, 2): where weight decay acts in the piece, from where to where
    rate: float  # factor on the learning rate
    decay: float  # factor on the weight decay, where it acts


class Cut(NamedTuple):
    """The trainable parts of a vector."""

    trainable: list[int]  # slots
    spans: list[Span]  # of these
    decaying: list[tuple[Span, float, float]]  # with their factors on rate and decay
    pieces: list[Piece]


class Prepared(NamedTuple):
    """The pieces of a step, kept for the next step, and what they depend on."""

    settings_of: Callable[[Any], tuple[Any, ...]]
    settings: tuple[Any, ...]  # hyper-parameters, which were validated
    params: np.ndarray
    grads: np.ndarray
    kind: tuple[Any, ...]
    layout: Sequence[Slot] | None  # a copy: the caller's entries may change
    state: dict[str, Any]
    cut: Cut
    scratch: np.ndarray  # for the gradient of a piece with its weight decay
    matrix: np.ndarray  # all memory: a row for each vector
    rule: int | None  # of `layerkit.kernels.epoch_program`; None if it does not know the settings

    def twin(self, names: Sequence[str]) -> "Prepared":
        """Return the same with a copy of the state, whose vectors have these names."""
        matrix = self.matrix.copy()
        memory = dict(zip(names, matrix, strict=True))
        pieces = [
            piece._replace(memory={name: memory[name][piece.here] for name in names})
            for piece in self.cut.pieces
        ]
        return self._replace(
            state=self.state | memory | {"ages": self.state["ages"].copy()},
            cut=self.cut._replace(pieces=pieces),
            scratch=np.empty_like(self.scratch),
            matrix=matrix,
        )


def cut(
    params: np.ndarray,
    grads: np.ndarray,
    memory: dict[str, np.ndarray],
    slots: Sequence[Slot],
    ages: list[int],
    chunk: int,
    apart: bool,
) -> Cut:
    """Cut what is trainable into pieces of one age, rate and decay, no longer than ``chunk``.

    Where the rule applies the decay itself, ``apart``, what decays is a piece of its own.
    """
    trainable = [i for i, slot in enumerate(slots) if slot.trainable]
    # what does not decay may share a piece with what does, where spans tell them apart
    factors = [slot.decay if apart or slot.decay not in (0, 1) else 1.0 for slot in slots]
    kinds = [(slots[i], (ages[i], slots[i].rate, factors[i])) for i in trainable]
    spans, leaders = _join(kinds)
    decaying = _decaying([slot for slot, _ in kinds if slot.decay])
    of_decaying = [span for span, *_ in decaying]
    pieces = []
    for (start, stop), leader in zip(spans, leaders, strict=True):
        _, (_, *of_piece) = kinds[leader]
        for low in range(start, stop, chunk):
            here = slice(low, min(low + chunk, stop))
            remembered = {name: vector[here] for name, vector in memory.items()}
            vectors = params[here], read_only(grads[here]), remembered
            where = _within(of_decaying, here)
            pieces.append(Piece(here, *vectors, trainable[leader], where, *of_piece))
    return Cut(trainable, spans, decaying, pieces)


def _decaying(slots: list[Slot]) -> list[tuple[Span, float, float]]:
    """Return spans of neighbouring slots, with their factors on rate and decay."""
    kinds = [(slot, (slot.rate, slot.decay)) for slot in slots]
    return [(span, *kinds[first][1]) for span, first in zip(*_join(kinds), strict=True)]


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


def single_slot(params: np.ndarray) -> list[Slot]:
    """The layout of a bare vector: everything is trainable and decays."""
    return [Slot("", slice(0, len(params)), params.shape, decay=True, trainable=True)]


def read_only(vector: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written to."""
    view = vector.view()
    view.flags.writeable = False
    return view


def check_vectors(params: np.ndarray, grads: np.ndarray) -> None:
    """Refuse what is not a writeable vector and a gradient of the same size and dtype."""
    for name, vector in (("flat_params", params), ("flat_grads", grads)):
        if not isinstance(vector, np.ndarray):
            raise TypeError(f"{name} must be an array, such as network.{name}, got {vector!r}")
        if vector.ndim != 1 or vector.dtype not in _FLOATS:
            raise ValueError(
                f"{name} must be a vector of float32 or float64, got shape {vector.shape} "
                f"of {vector.dtype}"
            )
    if not params.flags.writeable:
        raise ValueError("flat_params must be writeable, got a read-only vector")
    if grads.shape != params.shape or grads.dtype != params.dtype:
        raise ValueError(
            f"flat_grads must be like flat_params, {params.size} of {params.dtype}, "
            f"got {grads.size} of {grads.dtype}"
        )


def state_for(
    optimizer: Any, held: dict[str, Any] | None, params: np.ndarray, n_slots: int
) -> dict[str, Any]:
    """Return the state: new before the first step, otherwise checked against this vector."""
    state: dict[str, Any] = held or {"t": 0, "ages": [0] * n_slots}
    _check_state(optimizer, state, params, n_slots)
    _warn_of_another(optimizer, params)
    for name in optimizer.memory:
        if name not in state:
            state[name] = np.zeros(params.shape, params.dtype)
    return state


def _check_state(
    optimizer: Any, state: Mapping[str, Any], params: np.ndarray, n_slots: int
) -> None:
    """Refuse a state that was made for another vector or layout."""
    for name in optimizer.memory:
        held = state.get(name, params)
        if held.shape != params.shape or held.dtype != params.dtype:
            raise ValueError(
                f"{optimizer!r} holds the state of {held.size} {held.dtype} parameters, got "
                f"{params.size} of {params.dtype}; reset() forgets it"
            )
    if len(state["ages"]) != n_slots:
        raise ValueError(
            f"{optimizer!r} holds the state of a layout of {len(state['ages'])} slots, got "
            f"{n_slots}; reset() forgets it"
        )


def _warn_of_another(optimizer: Any, params: np.ndarray) -> None:
    """Warn where what the optimizer remembers comes from other parameters, no copy of these.

    Only what this very object has done counts: a state that was set, copied or unpickled is meant.
    """
    last = optimizer._pieces
    if last is None or last.params is params or not optimizer.steps_done:
        return
    if not optimizer.memory and not callable(optimizer.learning_rate):
        return
    if not np.array_equal(last.params, params):
        warn(
            f"{optimizer!r} goes on from {optimizer.steps_done} steps with another network, whose "
            "weights its averages and step count do not fit. Give each network a new optimizer, or "
            "call optimizer.reset() first"
        )


def settings_of(optimizer: Any, base: type) -> list[str]:
    """Return the names of all settings, also those that only have a value on a class above."""
    kind = type(optimizer)
    kinds = [above for above in kind.__mro__ if issubclass(above, base)]
    on_class = {n for above in kinds for n, v in vars(above).items() if not callable(v)}
    own = {"decoupled", *vars(optimizer), *kind.__signature__.parameters, *on_class} - _NO_SETTINGS
    return sorted(n for n in own if not n.startswith("_") and hasattr(optimizer, n))
