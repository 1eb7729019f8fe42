"""Verdicts on the signal inside: what happens to activations and gradients from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from layerkit.inspection.diagnosis.data_verdicts import grown_in_blocks
from layerkit.inspection.diagnosis.evidence import (
    Acquired,
    Evidence,
    InitialCause,
    RedrawnCause,
    Verdict,
    share,
)
from layerkit.inspection.diagnosis.statistics import LayerStatistics, Snapshot
from layerkit.layers import HardSigmoid, HardTanh, Sigmoid, Softsign, Tanh
from layerkit.sequences import numbers

VANISHED = 2e-3  # of the gradient that enters at the last layer with parameters
EXPLODED = 100.0
DEAD = 0.5  # share of units; training commonly loses some
ALL_DEAD = 0.9
FEW_UNITS = 6  # of which three may well be dead where training loses one in five: one time in ten
SATURATED = 0.5  # share of values
LEARNED = 0.3  # of the loss of the best constant: then it does no harm
SAME_WEIGHTS = 1e-6  # times the largest
SQUASHING = (Sigmoid, HardSigmoid, Tanh, HardTanh, Softsign)


def not_finite(e: Evidence) -> Verdict | None:
    """The first place where a number that is not finite turned up."""
    name = "non-finite origin"
    for bad, what, x in (
        (e.bad_inputs, "inputs", e.subject.rows.X),
        (e.bad_targets, "targets", e.subject.rows.y),
    ):
        if bad.any():
            return Verdict(
                name,
                what,
                "critical",
                f"{int(bad.sum())} of {len(bad)} rows of {'X' if what == 'inputs' else 'y'} hold "
                f"NaN or infinity{_places(e, bad, x)}: every number computed from them is NaN.",
                "Drop these rows, or fill the gaps before training, for instance with "
                "sklearn.impute.SimpleImputer.",
            )
    for snapshot, when in ((e.first, "before training"), (e.now, "now")):
        origin = snapshot.recorder.origin
        if origin is not None and not (snapshot is e.now and e.trained and _rate_broke_it(e)):
            return _origin(e, origin, when if e.trained else "as it is built")
    if e.course.diverged and e.optimizer is not None and not _rate_broke_it(e):
        where = e.rehearse(0.01)[1] or e.course.stopped
        path = next((s.path for s in e.now.recorder.layers if f" {s.path} " in f" {where} "), "")
        return Acquired(
            name,
            e.where(path) if path else "network",
            "critical",
            f"Training broke off ({e.course.stopped}), and a rehearsal with a hundredth of the "
            f"learning rate breaks as well: {where}.",
            "Look at this layer's forward and backward where its argument is at the edge of its "
            "domain (log 0, sqrt 0, division by 0): keep it away, for instance by log(1 + x).",
        )
    return None


def _places(e: Evidence, bad: np.ndarray, x: Any) -> str:
    """Name the first row, where rows have their own numbers, and the columns."""
    places = [f"first in row {int(bad.argmax())}"] if e.subject.ordered else []
    columns = _columns(x)
    if len(columns):
        more = ", …" if len(columns) > 5 else ""
        shown = ", ".join(map(str, columns[:5]))
        places.append(f"in column{'s' * (len(columns) > 1)} {shown}{more}")
    return f" ({', '.join(places)})" if places else ""


def _columns(x: Any) -> np.ndarray:
    """Columns of a table, or channels of rows of steps, in which something is not finite."""
    if hasattr(x, "tocsr"):
        return np.unique(x.tocoo().col[~np.isfinite(x.tocoo().data)])
    cells = numbers(x)
    if cells.ndim < 2 or len(x.shape) > 3:
        return np.empty(0, int)
    return np.flatnonzero(~np.isfinite(cells).reshape(-1, cells.shape[-1]).all(axis=0))


def _rate_broke_it(e: Evidence) -> bool:
    """Whether a rehearsal with a hundredth of the learning rate stays finite."""
    told = e.optimizer is not None or e.course.diverged
    return told and not e.rehearse(0.01)[1]


def _origin(e: Evidence, s: LayerStatistics, when: str) -> Verdict:
    what = s.origin
    if what.startswith("parameter"):
        remedy = (
            "Build the network anew; if the parameters came from a file or a run that diverged, "
            "go back to an earlier copy."
        )
    elif what == "output":
        remedy = (
            f"Keep the argument of {s.path or s.label} inside its domain, for instance "
            "log(1 + x) or exp(min(x, 30)); if it is huge, normalise the layer before."
        )
    else:
        remedy = (
            f"The forward of {s.path or s.label} is finite but its slope is not: keep its "
            "argument away from there, for instance sqrt(x + 0.01)."
        )
    return Verdict(
        "non-finite origin",
        e.where(s.path),
        "critical",
        f"First NaN or infinity {when}: the {what} of this layer, while all that came in was "
        f"finite (its finite outputs range from {s.output.low:.3g} to {s.output.high:.3g}).",
        remedy,
    )


def vanishing_gradient(e: Evidence) -> Verdict | None:
    """The gradient shrinks on its way back until the first layers learn nothing."""
    if e.start is None:
        return _unless_acquired(_vanishing, e)
    learned = e.left(e.now.training_loss) < 0.5
    return _vanishing(e, e.start) if e.start is e.now or not learned else None


def _vanishing(e: Evidence, snapshot: Snapshot) -> Verdict | None:
    layers = [s for s in e.learning(snapshot) if s.grad_output.norm > 0]
    if len(layers) < 3 or not snapshot.finite:
        return None
    last = layers[-1].grad_output.norm
    weakest = min(layers, key=lambda s: s.grad_output.norm)
    ratio = weakest.grad_output.norm / last
    if not ratio < VANISHED:
        return None
    cause = _shrinking(snapshot, weakest)
    between = snapshot.recorder.layers.index(layers[-1]) - snapshot.recorder.layers.index(weakest)
    evidence = (
        f"For each sample the gradient has norm {last:.2g} at {layers[-1].path} and "
        f"{weakest.grad_output.norm:.2g} here, {ratio:.1g} of it, {between} layers further back."
    )
    factor = cause.grad_input.norm / cause.grad_output.norm
    if isinstance(cause.layer, SQUASHING):
        kind = type(cause.layer)
        count = sum(isinstance(s.layer, kind) for s in snapshot.recorder.layers)
        evidence += (
            f" It is multiplied by the slope of {kind.__name__} {count} times"
            f" (by {factor:.2g} at {cause.path})."
        )
        remedy = (
            f"Replace the hidden {kind.__name__}() by ReLU() (initializer='auto' then chooses "
            "he_uniform), or put BatchNorm() before each of them."
        )
    else:
        evidence += f" It shrinks most in {e.where(cause.path)}, by a factor of {factor:.2g}."
        remedy = (
            "The initial weights are too small: use initializer='auto' (he_uniform before ReLU), "
            "or put BatchNorm() after these layers."
        )
    return InitialCause("vanishing gradient", e.where(weakest.path), "critical", evidence, remedy)


def _unless_acquired(
    found: Callable[[Evidence, Snapshot], Verdict | None], e: Evidence
) -> Verdict | None:
    """A verdict on the network as it is, where nobody kept its beginning.

    If one that is built anew is free of it, training brought it about.
    """
    verdict = found(e, e.now)
    if not e.trained:
        return verdict
    if verdict is None:  # what is dead or ran away by now has no gradient that could be measured
        gone = not e.now.finite or any(s.gradient_squares == 0 for s in e.learning(e.now))
        anew = found(e, e.redrawn) if gone else None
        return RedrawnCause(*anew) if anew else None
    if found(e, e.redrawn):
        return RedrawnCause(*verdict)
    return verdict if found(e, e.anew) else Acquired(*verdict)


def exploding_gradient(e: Evidence) -> Verdict | None:
    """The gradient grows on its way back."""
    return _exploding(e, e.start) if e.start else _unless_acquired(_exploding, e)


def _exploding(e: Evidence, snapshot: Snapshot) -> Verdict | None:
    layers = [s for s in e.learning(snapshot) if s.grad_output.norm > 0]
    if len(layers) < 3 or snapshot.recorder.origin is not None:
        return None
    last = layers[-1].grad_output.norm
    strongest = max(layers, key=lambda s: s.grad_output.norm)
    ratio = strongest.grad_output.norm / last
    if not ratio > EXPLODED:
        return None
    if (grown := grown_in_blocks(e, snapshot, layers[-1].path)) is not None:
        return grown
    inner = layers[1:]
    growth = [s.grad_input.norm / s.grad_output.norm if s.grad_input.count else 0.0 for s in inner]
    worst = inner[int(np.argmax(growth))]
    return InitialCause(
        "exploding gradient",
        e.where(strongest.path),
        "critical",
        f"For each sample the gradient has norm {last:.2g} at {layers[-1].path} and "
        f"{strongest.grad_output.norm:.2g} here, {ratio:.2g} times as much; it grows most in "
        f"{e.where(worst.path)}, {max(growth):.2g} times, whose weights have norm "
        f"{worst.weight_norm:.2g}.",
        "The initial weights are too large: use initializer='auto' (he_uniform before ReLU, "
        "glorot_uniform before Tanh), or put BatchNorm() after these layers; clip_norm=1.0 in "
        "the optimizer limits the harm.",
    )


def _acquired_unless(from_start: bool) -> type[Verdict]:
    return Verdict if from_start else Acquired


def dead_units(e: Evidence, few: bool = False) -> Verdict | None:
    """An activation gives one value for every row.

    ``few``: look for so few units that training may well have lost them all; who has no more of
    them has another problem first.
    """
    layers = [s for s in e.now.recorder.layers if s.output_ranges.count >= 20 and _many_dead(s)]
    if not layers:
        return None
    worst = max(layers, key=lambda s: s.dead)
    start = e.at_start(worst.path)
    if few != _lost(e, worst):
        return None
    before = f" (before training {share(start.dead)})" if e.trained and start else ""
    units = worst.constant_units
    feeding = _feeding(e.now, worst)
    bias = ""
    if feeding is not None and "b" in feeding.layer.params:
        mean = float(feeding.layer.params["b"].mean())
        bias = f" What comes in has mean {feeding.output.mean:.2g}; the bias of {feeding.path} "
        bias += f"has mean {mean:.2g}."
    return _acquired_unless(start is not None and start.dead >= DEAD)(
        "dead ReLUs",
        e.where(worst.path),
        "critical" if worst.dead > ALL_DEAD else "warning",
        f"{int(units.sum())} of {units.size} units ({share(worst.dead)}){before} give "
        f"{float(np.median(np.atleast_1d(worst.output_ranges.high)[units])):.2g} for each of the "
        f"{len(e.rows)} rows, so no gradient passes through them.{bias}",
        f"Build anew with biases at zero and initializer='auto' in {_name(feeding)}; if they died "
        "in training, lower the learning rate; or put BatchNorm() before "
        f"{worst.path}, or LeakyReLU() in its place.",
    )


def _lost(e: Evidence, s: LayerStatistics) -> bool:
    """Whether training may have lost all these units by chance, as there are few."""
    start = e.at_start(s.path)
    begun = e.trained and (start is None or start.dead < DEAD)
    return begun and s.constant_units.size < FEW_UNITS and bool(s.constant_units.all())


def _many_dead(s: LayerStatistics) -> bool:
    """Whether more units are dead than training commonly costs: of a few, half may be by chance."""
    return s.dead >= (DEAD if s.constant_units.size >= FEW_UNITS else ALL_DEAD)


def saturated_units(e: Evidence) -> Verdict | None:
    """A sigmoid or tanh is on its flat parts."""
    hidden = [s for s in e.now.recorder.layers[:-1] if s.output_ranges.constant.size > 1]
    known = [s for s in hidden if s.saturated >= SATURATED]
    if not known:
        return None
    worst = max(known, key=lambda s: s.saturated)
    blocks = worst.saturated > 0.8 and worst.grad_input.norm < 0.1 * worst.grad_output.norm
    harmless = e.left(e.now.training_loss) < LEARNED or not blocks
    start = e.at_start(worst.path)
    from_start = start is not None and start.saturated >= SATURATED
    if start is not None and not from_start and harmless:
        return None  # what training drives there on purpose
    if e.start is None and (worst.saturated < 0.7 or e.left(e.now.training_loss) < LEARNED):
        return None
    feeding = _feeding(e.now, worst)
    slope = worst.grad_input.norm / worst.grad_output.norm if worst.grad_output.norm else math.nan
    inputs, weights = worst.input_ranges, ""
    if feeding is not None:
        weights = f" The weights of {feeding.path} have norm {feeding.weight_norm:.2g}."
    kind = type(worst.layer).__name__
    low, high = worst.flat_range or (0, 0)
    return _acquired_unless(from_start)(
        f"saturated {kind.lower().removeprefix('hard')}",
        e.where(worst.path),
        "critical" if worst.saturated > 0.8 else "warning",
        f"{share(worst.saturated)} of its outputs are below {low:.3g} or above {high:.3g}, where "
        f"it is flat: its inputs range from {float(np.min(inputs.low)):.3g} to "
        f"{float(np.max(inputs.high)):.3g}, and the gradient leaves with {slope:.2g} of its norm."
        f"{weights}",
        f"Use initializer='auto' in {_name(feeding)} (Glorot: "
        f"its outputs then have a deviation of about 1), or put BatchNorm() before {worst.path}.",
    )


def no_gradient(e: Evidence) -> Verdict | None:
    """A layer with parameters whose gradient is exactly zero for every batch."""
    learning = e.learning(e.now)
    silent = [s for s in learning if s.gradient_squares == 0]
    if not silent or len(silent) == len(learning) == 1:
        return None
    if not e.now.recorder.layers[-1].grad_output.norm > 0 or e.now.recorder.origin is not None:
        return None
    own = [s for s in silent if s.grad_output.norm > 0 and not _all_zero(s)]
    s = own[-1] if own else silent[-1]
    found = _forgotten(s) if own else _blocked(e, s)
    if found is None:
        return None
    start = e.at_start(s.path)
    kind = _acquired_unless(start is not None and start.gradient_squares == 0)
    return kind("no gradient", e.where(s.path), "critical", *found)


def _forgotten(s: LayerStatistics) -> tuple[str, str]:
    """The layer's own backward leaves the gradient out: evidence and remedy."""
    return (
        f"A gradient of norm {s.grad_output.norm:.2g} arrives at this layer, but the gradient of "
        f"all its {s.where.stop - s.where.start} parameters is exactly 0 in all {s.n_gradients} "
        "batches.",
        "Its backward must write it, in place: self.grads[...][...] = ...; "
        f"check_gradients({type(s.layer).__name__}(...), input_shape) shows which is missing.",
    )


def _blocked(e: Evidence, s: LayerStatistics) -> tuple[str, str] | None:
    """A layer behind it lets no gradient through: evidence and remedy."""
    layers = e.now.recorder.layers
    blockers = [
        b for b in layers[layers.index(s) :] if b.grad_output.norm > 0 and b.grad_input.norm == 0
    ]
    if not blockers or (_all_zero(blockers[0]) and not e.trained):
        return None  # a layer that starts from zeros passes a gradient after its first step
    blocker = blockers[0]
    if _lost(e, blocker):
        return None  # another verdict's
    if blocker.output_ranges.constant.all():
        remedy = f"Revive {blocker.path}: biases at zero, or LeakyReLU() in its place."
    elif _all_zero(blocker):
        remedy = f"Use initializer='auto' in {blocker.path}: its weights are all zero."
    else:
        remedy = (
            f"Give {e.where(blocker.path)} a backward that passes the gradient on: its slope, or "
            "for a step function that of a smooth one (the straight-through estimator returns "
            "grad_output)."
        )
    return (
        f"Its {s.where.stop - s.where.start} parameters have a gradient of exactly 0 in all "
        f"{s.n_gradients} batches: a gradient of norm {blocker.grad_output.norm:.2g} arrives at "
        f"{e.where(blocker.path)} and none leaves it.",
        remedy,
    )


def identical_units(e: Evidence) -> Verdict | None:
    """Units of a hidden layer with the same weights and the same gradient stay the same."""
    for first, s in zip(e.learning(e.first)[:-1], e.learning(e.now), strict=False):
        same = _identical(s) & _identical(first)  # not those that training made equal
        if not same.size or same.mean() < 0.5:
            continue
        weights = _matrix(s)
        columns = s.layer.params[weights].reshape(-1, same.size)
        value = " (all zero)" if not columns.any() else ""
        different = int(_groups(columns, SAME_WEIGHTS).max()) + 1
        return InitialCause(
            "symmetric units",
            e.where(s.path),
            "critical",
            f"{int(same.sum())} of {same.size} units have the same {weights} as another one"
            f"{value} and the same gradient, so they stay equal: the layer can do no more than "
            f"one with {different} unit{'s' * (different > 1)}.",
            "Start from random weights: initializer='auto' (not zeros, ones or constant).",
        )
    return None


def _matrix(s: LayerStatistics) -> str:
    """Name of the parameter that holds a column of weights for each unit; empty if none does."""
    return next((name for name, p in s.layer.params.items() if p.ndim >= 2), "")


def _identical(s: LayerStatistics) -> np.ndarray:
    """Which units have the same weights and the same gradient as another."""
    name, params = _matrix(s), s.layer.params
    if not name or params[name].shape[-1] < 2:
        return np.zeros(0, bool)
    W, gradient = params[name], np.asarray(s.mean_gradient)
    if not np.isfinite(W).all() or not np.isfinite(gradient).all():
        return np.zeros(W.shape[-1], bool)
    names = list(params)
    start = sum(params[n].size for n in names[: names.index(name)])
    columns = W.reshape(-1, W.shape[-1])
    gradient = gradient[start : start + W.size].reshape(columns.shape)
    return _same_as_another(columns, SAME_WEIGHTS) & _same_as_another(gradient, 1e-3)


def _same_as_another(columns: np.ndarray, tolerance: float) -> np.ndarray:
    """Which columns equal some other column, up to a relative tolerance."""
    group = _groups(columns, tolerance)
    return np.bincount(group)[group] > 1


def _groups(columns: np.ndarray, tolerance: float) -> np.ndarray:
    """Numbers from 0 on, the same for columns that are equal up to a relative tolerance."""
    columns = columns / (float(np.abs(columns).max(initial=0)) or 1.0)
    sizes = np.linalg.norm(columns, axis=0)
    sizes[sizes == 0] = 1.0
    known = np.vstack([columns / sizes, np.log(sizes)])
    keys = np.round(known / (4 * tolerance)).astype(np.int64)
    return np.ravel(np.unique(keys, axis=1, return_inverse=True)[1])


def _all_zero(s: LayerStatistics) -> bool:
    return bool(s.layer.params) and not any(p.any() for p in s.layer.params.values())


def _shrinking(snapshot: Snapshot, weakest: LayerStatistics) -> LayerStatistics:
    """The layer after the weakest that makes the gradient smaller than any other."""
    later = snapshot.recorder.layers[snapshot.recorder.layers.index(weakest) + 1 :]
    known = [s for s in later if s.grad_input.count and s.grad_output.norm > 0]
    squashing = [s for s in known if isinstance(s.layer, SQUASHING)]
    total = math.prod(s.grad_input.norm / s.grad_output.norm for s in squashing)
    candidates = squashing if squashing and total < 0.1 else known
    return min(candidates, key=lambda s: s.grad_input.norm / s.grad_output.norm)


def _feeding(snapshot: Snapshot, s: LayerStatistics) -> LayerStatistics | None:
    """The nearest layer with parameters before this one."""
    layers = snapshot.recorder.layers
    return next((b for b in reversed(layers[: layers.index(s)]) if b.layer.params), None)


def _name(feeding: LayerStatistics | None) -> str:
    return feeding.path if feeding else "the layer before"
