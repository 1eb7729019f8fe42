"""Verdicts on the design of the network and its training, whatever the data are."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from layerkit import layers
from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis.evidence import (
    BETTER,
    Change,
    Evidence,
    TrainingCause,
    Verdict,
    looks_fresh,
    share,
)
from layerkit.layer import Layer
from layerkit.layers import Sequential
from layerkit.sequences import Sequences, numbers

CHECKED_ROWS = 8
AFFINE = 1e-5  # of what the rows change in the outputs, in float64
STRETCH = 10.0  # of the rows, so that what bends does so clearly
VARIES = 0.02
BENT = 0.1  # of the variance of y: what neighbours explain and no linear model does
STRONG_DECAY = 0.02
CLIPPED = 0.01  # of the gradient's norm, from which clipping is suspected
LEARNED = 0.4  # of the loss of the best constant: then nothing holds it back
MANY_FEATURES = 10  # for each input: that many are drawn at random on purpose
SERVES = 0.5  # of the variance of y
ERRORS = 2.0  # standard ones
OF_OTHERS = " of rows that were held out"
FEWEST_ROWS = 60  # of which a quarter can be held out


def no_activation(e: Evidence) -> Verdict | None:
    """Several layers with weights and nothing nonlinear between them: one linear map."""
    learning = e.learning(e.now)
    if len(learning) < 2 or not e.now.finite or not _is_affine(e.network, e.rows.X):
        return None
    straight = e.linear_explains
    if not e.neighbours_explain > straight + BENT:
        return None  # a linear map is enough
    names = ", ".join(f"{s.path} {type(s.layer).__name__}" for s in learning)
    return Verdict(
        "no activation",
        e.where(learning[0].path),
        "critical",
        f"The network is one linear map, f(a) + f(b) = f(a + b) + f(0), although it has "
        f"{len(learning)} layers with weights ({names}): nothing between them bends. The best "
        f"linear model explains {share(max(straight, 0))} of {e.explained.what}, the "
        f"{probes.NEIGHBOURS} nearest neighbours of a row {share(e.neighbours_explain)}.",
        f"Put an activation between them, such as ReLU() after {learning[0].path}.",
    )


def _is_affine(network: Layer, X: Any) -> bool:
    """Whether sums of rows give sums of outputs, up to rounding."""
    if any(isinstance(layer, layers.Embedding) for _, layer in network.walk()):
        return False  # it takes codes, which cannot be added
    X = X[: 2 * CHECKED_ROWS]
    X = X.toarray() if hasattr(X, "tocsr") else X
    if isinstance(X, Sequences) or X.dtype.kind != "f" or len(X) < 2:
        return False
    half = len(X) // 2
    a, b = STRETCH * X[:half], STRETCH * X[half : 2 * half]
    fa, fb, both, nothing = (
        np.asarray(numbers(network.infer(x)), np.float64) for x in (a, b, a + b, np.zeros_like(a))
    )
    parts = fa - nothing, fb - nothing
    size = max(np.abs(part).max() for part in parts)
    if not size > VARIES * max(np.abs(part).max() for part in (fa, fb, both, nothing)):
        return False  # the outputs hardly depend on the rows
    rounding = AFFINE if network.dtype == np.float64 else 1e-3
    return bool(np.abs(parts[0] + parts[1] - (both - nothing)).max() <= rounding * size)


def frozen_layers(e: Evidence) -> Verdict | None:
    """Layers that are not trained, and hold the rest back."""
    frozen = frozen_in(e.network)
    if not frozen or not e.now.finite or e.left(e.now.loss) < LEARNED:
        return None
    if random_features_serve(e):
        return None
    drawn = all(map(looks_fresh, frozen))
    if not e.course.losses.size and not drawn:
        return None  # pretrained layers, and the rest is not trained yet
    if len(e.rows) >= FEWEST_ROWS and e.tried().better_than(e.tried(_thawed)):
        return None  # with more to train, more is learned by heart
    cured = _cured_by(e, _thawed) or (cured_for_others(e, _thawed) if drawn else None)
    return None if cured is None else _frozen(e, frozen, cured)


def frozen_at_random(e: Evidence) -> Verdict | None:
    """Layers that are frozen as they were drawn, in a network that underfits and so does less.

    It may be too small as well; but to train all of it comes first, and helps.
    """
    frozen = frozen_in(e.network)
    if not frozen or not all(map(looks_fresh, frozen)) or len(e.rows) < FEWEST_ROWS:
        return None
    before, after = e.tried(), e.tried(_thawed)
    if not after.better_than(before, ERRORS):
        return None
    cured = Cure(before.loss, after.loss, before.steps, OF_OTHERS)
    return _frozen(e, frozen, cured)


def _frozen(e: Evidence, frozen: list[Layer], cured: Cure) -> Verdict:
    count = sum(p.size for layer in frozen for p in layer.params.values())
    return Verdict(
        "frozen layers",
        e.where(frozen[0].path),
        "critical",
        f"{len(frozen)} layers with {count:,} of {e.network.n_params:,} parameters are frozen "
        f"({', '.join(layer.path for layer in frozen)}). In a rehearsal of {cured.steps} steps the "
        f"loss{cured.where} comes to {cured.before:.3g} with them and to {cured.after:.3g} when "
        "they are trained too.",
        f"Set trainable = True on {', '.join(layer.path for layer in frozen[:3])}"
        f"{', …' if len(frozen) > 3 else ''} before training, or load weights that were trained.",
    )


def frozen_in(network: Layer) -> list[Layer]:
    """Layers with parameters that are not trained."""
    return [layer for _, layer in network.walk()
            if not layer.children() and layer.params and not layer.trainable]  # fmt: skip


def random_features_serve(e: Evidence) -> bool:
    """Whether many features that are not trained were meant so: most of y is made of them.

    Before training they are taken to be.
    """
    known = [layer for _, layer in e.network.walk() if layer.params and not layer.children()]
    first = next((i for i, layer in enumerate(known) if layer.trainable), 0)
    if not first:
        return False
    features, shape = math.prod(known[first].input_shape), e.network.input_shape
    inputs = shape[-1] if len(shape) < 3 else math.prod(shape)
    many = features >= MANY_FEATURES * inputs
    return many and not (e.trained and e.network_explains <= SERVES)


class Cure(NamedTuple):
    """Final losses of two rehearsals, without and with a change, and the length of the latter."""

    before: float
    after: float
    steps: int
    where: str = ""


def cured_for_others(e: Evidence, change: Change) -> Cure | None:
    """Train as long as training was, as it is and changed, and judge by rows that are held out."""
    if len(e.rows) < FEWEST_ROWS:
        return None
    after = e.tried(change)
    if not e.left(after.loss) < BETTER:
        return None  # it learns nothing either
    before = e.tried()
    if e.left(before.loss) < LEARNED or not after.clearly_better(before):
        return None
    return Cure(before.loss, after.loss, before.steps, OF_OTHERS)


def with_layers(network: Layer, chain: list[Any]) -> Layer:
    """A network like this one of other layers; those that are built keep their weights."""
    network.needs_input_grad = True  # it may be a copy that was made in training
    return Sequential(chain).build(network.input_shape, random_state=0, dtype=network.dtype)


def trained_again_learns(e: Evidence) -> str:
    """What trained as long again comes half as far down or further, if something does.

    That is a network drawn anew, or this one where the first training left it at its beginning.
    """
    if e.beginning is not None or len(e.rows) < FEWEST_ROWS:
        return ""
    if not e.left(e.tried().loss) < min(LEARNED, 0.5 * e.left(e.now.loss)):
        return ""
    return "trained on" if e.fresh is e.network else "built anew"


def _cured_by(e: Evidence, change: Change) -> Cure | None:
    """Rehearse training as it is and changed; None unless only the change lets it learn."""
    losses, broke = e.rehearse_as()
    before = math.inf if broke else probes.smooth_end(losses)
    losses, broke = e.rehearse_as(change)
    cure = Cure(before, probes.smooth_end(losses), len(losses))
    if broke or e.left(before) < LEARNED or not e.left(cure.after) < BETTER * e.left(before):
        return None
    return cure


def _thawed(network: Layer, optimizer: Any) -> None:
    network.trainable = True


def clipped_gradient(e: Evidence) -> Verdict | None:
    """Clipping that removes nearly all of every gradient."""
    if e.optimizer is None or not e.now.finite or e.course.diverged:
        return None
    norm = math.sqrt(sum(s.gradient_norm**2 for s in e.learning(e.first)))
    given = {"clip_norm": e.optimizer.clip_norm, "clip_value": e.optimizer.clip_value}
    limits = {name: limit for name, limit in given.items() if limit and limit < CLIPPED * norm}
    if not limits or (e.trained and e.left(e.now.training_loss) < LEARNED):
        return None
    cured = _cured_by(e, _unclipped)
    if cured is None:
        return None
    name, limit = next(iter(limits.items()))
    return Verdict(
        "gradient clipped to nothing",
        "optimizer",
        "critical",
        f"The gradient has norm {norm:.3g}, {name}={limit:g} leaves {limit / norm:.1g} of it. In a "
        f"rehearsal of {cured.steps} steps the loss comes to {cured.before:.3g} with clipping and "
        f"to {cured.after:.3g} without.",
        f"Set {name} to about the norm of a usual gradient, {float(f'{norm:.1g}'):g}, or to None.",
    )


def _unclipped(network: Layer, optimizer: Any) -> None:
    optimizer.clip_norm = optimizer.clip_value = None


def weight_decay_too_strong(e: Evidence) -> Verdict | None:
    """Weight decay that takes from the weights what they learn."""
    if e.optimizer is None or not e.first.finite:
        return None
    decay = e.optimizer.weight_decay
    decay = float(decay(0) if callable(decay) else decay)
    if decay <= STRONG_DECAY or (e.trained and e.left(e.now.training_loss) < LEARNED):
        return None
    cured = _cured_by(e, _undecayed)
    if cured is None:
        return None
    came = f"comes to {cured.before:.3g}" if math.isfinite(cured.before) else "breaks off"
    return TrainingCause(
        "weight decay too strong",
        "optimizer",
        "critical",
        f"weight_decay={decay:g} takes from the weights what they learn: in a rehearsal of "
        f"{cured.steps} steps the loss {came} with it and comes to {cured.after:.3g} without; a "
        f"constant prediction has {e.constant:.3g}.",
        f"Lower weight_decay from {decay:g} to 1e-4 (of an MLP estimator it is alpha, divided by "
        "the rows of a batch).",
    )


def _undecayed(network: Layer, optimizer: Any) -> None:
    optimizer.weight_decay = 0.0
