"""Verdicts on the backward of layers and losses that the user has written."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from layerkit import layers, losses
from layerkit.inspection.diagnosis.evidence import Evidence, Verdict
from layerkit.inspection.gradient_check import Comparison, check_gradients, check_loss_gradients
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.sequences import numbers

CHECKED_ROWS = 8
WRONG_SLOPE = 0.01  # relative error; a right backward has 1e-6
OURS = {
    *(getattr(layers, name) for name in layers.__all__),
    *(getattr(losses, name) for name in losses.__all__),
}
"""Their slopes are proven by the tests."""


class Finding(NamedTuple):
    """What is wrong with a backward, and the likely correction."""

    evidence: str
    guess: str = ""


def wrong_backward(e: Evidence) -> Verdict | None:
    """A backward written by the user that is not the derivative of its forward."""
    network = e.network
    if e.first.recorder.origin is not None:  # what a wrong slope led to, perhaps
        if e.start is not None:
            return None
        network = e.fresh
    if type(e.loss) not in OURS and (found := _wrong_loss(e)):
        return _verdict(e.loss, "loss", found, "check_loss_gradients(loss, y_pred, y_true)")
    changing = None
    for layer, x in _inputs_of_own_layers(network, e.rows.X[: 2 * CHECKED_ROWS]):
        check = f"check_gradients({type(layer).__name__}(...), input_shape)"
        if found := _wrong_slope(layer, x) or _not_written(layer, x):
            return _verdict(layer, e.where(layer.path), found, check)
        changing = changing or _changes_what_it_gets(layer, x)
    if changing and (wrong := _wrong(network, e.rows.X[:CHECKED_ROWS])):
        found = Finding(
            f"{changing[1]}, and other layers keep that for their backward: {_slopes(wrong)}.",
            " Work on a copy.",
        )
        check = "check_gradients(network, x=X[:8])"
        return _verdict(changing[0], e.where(changing[0].path), found, check)
    return None


def _verdict(subject: Layer | Loss, where: str, found: Finding, check: str) -> Verdict:
    name = type(subject).__name__
    return Verdict(
        "wrong backward",
        where,
        "critical",
        found.evidence,
        f"Correct the backward of {name}.{found.guess} `print({check})` shows every array.",
    )


def _inputs_of_own_layers(network: Layer, X: Any) -> Iterator[tuple[Layer, Any]]:
    """Layers of the user's own, and what reaches them; the inner ones first.

    They have seen another batch before: what they keep of it shows.
    """
    own = {path for path, layer in network.walk() if type(layer) not in OURS}
    if not own:
        return
    working = copy.deepcopy(network)
    reached: dict[str, Any] = {}

    def note(layer: Layer, direction: str, received: Any, returned: Any) -> None:
        if direction == "forward" and layer.path in own:
            reached[layer.path] = copy.deepcopy(received)

    with working.observed(note):
        for rows in (X[: len(X) // 2], X[len(X) - len(X) // 2 :]) if len(X) > 1 else (X,):
            working.forward(rows, training=True)
    for path, layer in reversed(list(working.walk())):
        if path in reached:
            x = reached[path]
            yield layer, x.toarray() if hasattr(x, "tocsr") else x


# ---------------------------------------------------------------- slopes


def _wrong_loss(e: Evidence) -> Finding | None:
    rows = e.rows.take(slice(0, 8 * CHECKED_ROWS))
    outputs = e.fresh.infer(rows.X)  # those of a training that ran away lie where all is flat
    check = check_loss_gradients(
        e.loss, outputs, rows.y, rows.weight, tolerance=WRONG_SLOPE, max_coordinates=3
    )
    wrong = _worst(check.failures)
    return Finding(_along(wrong, e.loss), _guess(wrong)) if wrong else None


def _wrong_slope(layer: Layer, x: Any) -> Finding | None:
    """Whether finite differences say otherwise, for an even number of rows or an odd one."""
    if wrong := _wrong(layer, x):
        return Finding(_along(wrong, layer), _guess(wrong))
    if len(x) > 2 and (wrong := _wrong(layer, x[:-1])):
        rows = f" It holds for {len(x)} rows, but not for {len(x) - 1}."
        return Finding(_along(wrong, layer), rows)
    return None


def _wrong(layer: Layer, x: Any) -> Comparison | None:
    """The comparison that fails most, if one does."""
    try:
        check = check_gradients(layer, x=x, tolerance=WRONG_SLOPE, max_coordinates=3, training=True)
    except ValueError:  # nothing to differentiate, or a forward that draws its own noise
        return None
    return _worst(check.failures)


def _worst(failures: list[Comparison]) -> Comparison | None:
    """The largest error that is one.

    A gradient of exactly zero is another verdict's, and a step function may have one that is not
    its slope: the straight-through estimator.
    """
    known = [c for c in failures if c.backward and math.isfinite(c.backward) and c.numerical]
    return max(known, key=lambda c: c.error, default=None)


def _along(wrong: Comparison, subject: Layer | Loss) -> str:
    of = f"the gradient of {wrong.name}"
    if isinstance(subject, Layer) and wrong.name != "input":
        of = f"self.grads[{wrong.name.split('.')[-1]!r}]"
    return (
        f"Along a random direction, {of} that backward of {type(subject).__name__} returns is "
        f"{_slopes(wrong)}, which should be 1."
    )


def _slopes(wrong: Comparison) -> str:
    return (
        f"{wrong.backward:.4g}, the slope of its forward by finite differences "
        f"{wrong.numerical:.4g}: a ratio of {wrong.backward / wrong.numerical:.3g}"
    )


def _guess(wrong: Comparison) -> str:
    ratio = wrong.backward / wrong.numerical
    if abs(ratio + 1) < 0.01:
        return " Its sign is turned."
    if 0 < ratio < 0.9 and abs(1 / ratio - round(1 / ratio)) < 0.01 / ratio:
        share = f"1/{round(1 / ratio)}"
        return f" It gives {share} of the slope: a mean where the sum is meant, or a factor."
    if ratio > 1.1 and abs(ratio - round(ratio)) < 0.01 * ratio:
        return f" It is {round(ratio)} times too large: a sum where a mean is meant, or a factor."
    return ""


# ---------------------------------------------------------------- arrays


def _not_written(layer: Layer, x: Any) -> Finding | None:
    """Whether backward adds to gradients that it should overwrite, or leaves some as they were."""
    from_zero, from_one = (_gradients(layer, x, before) for before in (0, 1))
    written = {name: from_one[name] == from_zero[name] for name in from_zero}
    if not any(found.any() for found in from_zero.values()):
        return None  # no gradient at all: another verdict
    for name, same in written.items():
        array, kept = f"self.grads[{name!r}]", int(np.sum(~same))
        if kept and np.allclose(from_one[name] - 1, from_zero[name]) and from_zero[name].any():
            return Finding(
                f"backward of {type(layer).__name__} adds to {array}, so that the gradients of all "
                "batches pile up: training sets nothing to zero between them.",
                f" It must overwrite: {array}[...] = ...",
            )
        if kept:
            return Finding(
                f"backward of {type(layer).__name__} leaves {kept} of the {same.size} entries of "
                f"{array} as they were before the call.",
                f" It must write all of {array}[...], zeros where nothing depends on an entry.",
            )
    return None


def _gradients(layer: Layer, x: Any, before: float) -> dict[str, np.ndarray]:
    """Return the layer's own gradients after a backward that finds this number in all of them."""
    working = copy.deepcopy(layer).reseed(0)
    y = working.forward(copy.deepcopy(x), training=True)
    for grad in working.grads.values():
        grad.fill(before)
    working.backward(_like(y))
    return {name: grad.copy() for name, grad in working.grads.items()}


def _like(y: Any) -> Any:
    """Return a random gradient for an output, the same each time."""
    values = np.random.default_rng(0).standard_normal(numbers(y).shape).astype(y.dtype)
    return y.with_steps(values) if hasattr(y, "with_steps") else values


def _changes_what_it_gets(layer: Layer, x: Any) -> tuple[Layer, str] | None:
    """Whether forward or backward writes into its argument."""
    working, given = copy.deepcopy(layer).reseed(0), copy.deepcopy(x)
    y = working.forward(given, training=True)
    if not np.array_equal(numbers(given), numbers(x), equal_nan=True):
        return layer, f"forward of {type(layer).__name__} changes its input"
    passed = _like(y)
    working.backward(passed)
    if not np.array_equal(numbers(passed), numbers(_like(y))):
        return layer, f"backward of {type(layer).__name__} changes grad_output"
    return None
