"""How the page of a loss is verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from layerkit.inspection.catalogue import symbolic
from layerkit.inspection.catalogue.entry import (
    CENTRAL,
    COMPLEX,
    COMPLEX_STEP,
    FORMULAS,
    KINKS,
    RANGES,
    SYMPY,
    TORCH,
    Entry,
    numbers_of,
    parse,
)
from layerkit.inspection.catalogue.formula import Formula
from layerkit.inspection.catalogue.oracles import differentiate_in_torch
from layerkit.inspection.catalogue.ranges import GRID, check_range
from layerkit.inspection.catalogue.record import Check, Errors
from layerkit.inspection.gradient_check import check_loss_gradients
from layerkit.losses import Loss

Names = dict[str, Any]
Data = tuple[np.ndarray, np.ndarray]

MEAN_OF_OUTPUTS = """
    L = sum[n, j](w[n] * v[n, j]) / (m * sum(w))
    dL/dy_pred[n, j] = w[n] / (m * sum(w)) * (dv/dy_pred[n, j])
    """
"""From v to L and from dv to dL, where every output has a loss: m of them a sample."""

MEAN_OF_SAMPLES = """
    L = sum[n](w[n] * v[n]) / sum(w)
    dL/dy_pred[n, k] = w[n] / sum(w) * (dv/dy_pred[n, k])
    """
"""The same where every sample has one."""


def pairs(rng: np.random.Generator, n: int) -> Data:
    """Two predictions and two targets."""
    return 2 * rng.standard_normal((n, 2)), 2 * rng.standard_normal((n, 2))


@dataclass(frozen=True, eq=False, repr=False)
class LossEntry(Entry):
    """What is known about a loss.

    Parameters
    ----------
    data : callable (rng, n_samples) -> (y_pred, y_true)
        Draws the data on which the formulas are verified.
    given : callable (y_pred) -> dict
        Values of the letters in ``where``.
    reduction : str
        The formulas of L, the weighted mean, with w the weights of the samples.
    target : float, default=0
        The target for which the ranges and the kinks are stated.
    """

    data: Callable[[np.random.Generator, int], Data] = pairs
    given: Callable[[np.ndarray], Names] = lambda y_pred: {}
    target: float = 0.0
    reduction: str = MEAN_OF_OUTPUTS

    @cached_property
    def lines(self) -> list[Formula]:
        return parse(self.formulas) + parse(self.reduction)

    def sample(self, n_samples: int = 4, seed: int = 0) -> Data:
        """Return predictions and targets."""
        return self.data(np.random.default_rng(seed), n_samples)

    def sample_with_kinks(self) -> Data:
        """Return predictions and targets, the first at a kink."""
        y_pred, y_true = self.sample()
        for kink in self.kinks:
            y_pred[0], y_true[0] = kink, self.target
        return y_pred, y_true

    def _checks(self) -> Iterator[tuple[str, Callable[[], Check]]]:
        yield FORMULAS, partial(_formulas, self)
        yield CENTRAL, partial(_central, self)
        yield COMPLEX, partial(_complex, self)
        if self.kinks:
            yield KINKS, partial(_kinks, self)
        if self.ranges:
            yield RANGES, partial(_ranges, self)
        yield SYMPY, partial(_sympy, self)
        if self.torch:
            yield TORCH, partial(_torch, self)


def _weights(n_samples: int) -> np.ndarray:
    return np.random.default_rng(7).uniform(0.5, 2, n_samples)


def _names(entry: LossEntry, loss: Loss, y_pred: np.ndarray, y_true: np.ndarray) -> Names:
    """Return all that the formulas may know."""
    letters = {letter: getattr(loss, name) for letter, name in entry.letters.items()}
    numbers = numbers_of(loss.get_params(deep=False))
    given = entry.given(y_pred)
    return {**numbers, **letters, **given, "y_pred": y_pred, "y_true": y_true}


def _formulas(entry: LossEntry) -> Check:
    """Evaluate every written formula and compare it with forward or backward."""
    errors, loss, (y_pred, y_true) = Errors(1e-10), entry.example, entry.sample_with_kinks()
    w = _weights(len(y_pred))
    prepared = loss.prepare_targets(y_pred, y_true)
    value = loss.value(y_pred, prepared)
    expected = {
        "v": value,
        "dv/dy_pred": loss.derivative(y_pred, prepared),
        "L": np.array(loss.forward(y_pred, y_true, w)),
        "dL/dy_pred": loss.backward(),
    }
    names = {**_names(entry, loss, y_pred, y_true), "w": w, "m": value[0].size}
    for line in entry.lines:
        shape = expected[line.name].shape if line.name in expected else None
        names[line.name] = line.evaluate(names, shape)
        if line.name in expected:
            errors.compare(line.text, names[line.name], expected[line.name])
    if missing := expected.keys() - names.keys():
        raise ValueError(f"no formula for {', '.join(sorted(missing))}")
    return errors.check(FORMULAS, "as written = the code, with sample weights")


def _central(entry: LossEntry) -> Check:
    """Compare backward with central differences of forward."""
    y_pred, y_true = entry.sample_with_kinks()
    report = check_loss_gradients(entry.example, y_pred, y_true, _weights(len(y_pred)))
    note = f"at {report.failures[0].where}" if report.failures else "with sample weights"
    return Check(CENTRAL, bool(report), note, report.max_error, report.tolerance)


def _complex(entry: LossEntry) -> Check:
    """Differentiate the written value, and the code where it can, by a complex step."""
    if entry.kinks or entry.not_analytic:
        return Check(COMPLEX, None, f"not analytic: {entry.not_analytic or 'it has a kink'}")
    errors, loss, (y_pred, y_true) = Errors(1e-10), entry.example, entry.sample()
    prepared = loss.prepare_targets(y_pred, y_true)
    direction = np.random.default_rng(4).standard_normal(y_pred.shape)
    slope = np.sum(loss.derivative(y_pred, prepared) * direction)
    moved = y_pred + 1j * COMPLEX_STEP * direction
    names = _names(entry, loss, moved, y_true)
    for line in entry.lines:
        names[line.name] = line.evaluate(names)
        if line.name == "v":
            break
    errors.compare("the formula's derivative", slope, np.sum(np.imag(names["v"])) / COMPLEX_STEP)
    note = "of the formula and of the code"
    if entry.not_complex:
        note = f"of the formula (of the code not: {entry.not_complex})"
    else:
        step = np.sum(np.imag(loss.value(moved, prepared))) / COMPLEX_STEP
        errors.compare("the code's derivative", slope, step)
    return errors.check(COMPLEX, note)


def _kinks(entry: LossEntry) -> Check:
    """Compare the slopes on both sides of each kink, and what the code returns on it."""
    errors, notes, h, loss = Errors(1e-5), [], 1e-6, entry.example
    for kink in entry.kinks:
        y_pred, y_true = np.full((1, 1), float(kink)), np.full((1, 1), entry.target)
        t = loss.prepare_targets(y_pred, y_true)
        left = (loss.value(y_pred, t) - loss.value(y_pred - h, t)) / h
        right = (loss.value(y_pred + h, t) - loss.value(y_pred, t)) / h
        here = loss.derivative(y_pred, t)
        errors.compare(f"left of {kink}", loss.derivative(y_pred - h, t), left)
        errors.compare(f"right of {kink}", loss.derivative(y_pred + h, t), right)
        errors.compare(f"at {kink}", np.clip(here, left, right), here)
        if np.allclose(left, right, atol=1e-3):
            raise ValueError(f"there is no kink at {kink}")
        a, b, c = (f"{float(v.item()) + 0:.3g}" for v in (left, right, here))
        target = f"{entry.target:.3g}"
        notes.append(
            f"at y_pred = {kink} for y_true = {target}: {a} on the left, {b} on the right, {c} in "
            "the code"
        )
    return errors.check(KINKS, "; ".join(notes))


def _ranges(entry: LossEntry) -> Check:
    """Compare the stated ranges with what the code returns on a dense grid."""
    loss = entry.example
    _, (example, *_) = entry.sample(1)
    if example.shape[-1] < 3 or np.ndim(loss.value(*_one(entry, GRID[:1]))) > 1:
        y_pred, y_true = _one(entry, GRID)
    else:
        y_pred = np.stack([GRID, 0 * GRID, 0 * GRID - 60], axis=-1)
        y_true = np.eye(3)[np.zeros(len(GRID), dtype=int)]
    prepared = loss.prepare_targets(y_pred, y_true)
    found = {
        "v": loss.value(y_pred, prepared),
        "dv/dy_pred": loss.derivative(y_pred, prepared),
    }
    names = {**_names(entry, loss, y_pred, y_true), "y_true": entry.target}
    results = [check_range(of, stated, found[of], names) for of, stated in entry.ranges.items()]
    wrong = [note for note in results if note]
    return Check(RANGES, not wrong, "; ".join(wrong) or "on a dense grid")


def _one(entry: LossEntry, grid: np.ndarray) -> Data:
    y_pred = grid[:, np.newaxis]
    return y_pred, np.full_like(y_pred, entry.target)


def _sympy(entry: LossEntry) -> Check:
    """Differentiate the written value with SymPy; compare formulas and code."""
    loss, (y_pred, y_true) = entry.example, entry.sample(20, seed=6)
    prepared = loss.prepare_targets(y_pred, y_true)
    code = loss.value(y_pred, prepared), loss.derivative(y_pred, prepared)
    variables = symbolic.symbols("y_pred", (1, *y_pred.shape[1:]))
    targets = symbolic.symbols("y_true", (1, *y_true.shape[1:]))
    lines = [line for line in entry.lines if line.name not in ("L", "dL/dy_pred")]
    values = symbolic.evaluate(lines, _names(entry, loss, variables, targets))
    points = np.concatenate([y_pred.reshape(20, -1), y_true.reshape(20, -1)], axis=1)
    return symbolic.compare(values["v"], variables, values["dv/dy_pred"], points, code, targets)


def _torch(entry: LossEntry) -> Check:
    """Compare forward and backward with PyTorch's."""
    errors, loss, (y_pred, y_true) = Errors(1e-9), entry.example, entry.sample_with_kinks()
    w = _weights(len(y_pred))
    value = loss.forward(y_pred, y_true, w)
    names = _names(entry, loss, y_pred, y_true)
    per_output = loss.value(y_pred, loss.prepare_targets(y_pred, y_true))
    scale = w.reshape(-1, *[1] * (per_output.ndim - 1)) / (w.sum() * per_output[0].size)
    v, gradients = differentiate_in_torch(
        entry.torch, names, ["y_pred"], np.broadcast_to(scale, per_output.shape).copy()
    )
    errors.compare("L", np.array(value), np.sum(v * scale))
    errors.compare("dL/dy_pred", loss.backward(), gradients["y_pred"])
    return errors.check(TORCH, entry.torch)
