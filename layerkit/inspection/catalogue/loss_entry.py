"""How the page of a loss is verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from layerkit.inspection.catalogue import oracles
from layerkit.inspection.catalogue.entry import (
    COMPLEX_STEP,
    GRID,
    Entry,
    Function,
    Names,
    checked,
    parse,
)
from layerkit.inspection.catalogue.formula import Formula
from layerkit.inspection.catalogue.record import Check, Errors
from layerkit.inspection.gradient_check import check_loss_gradients
from layerkit.losses import Loss

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

    @property
    def one_line(self) -> tuple[str, ...]:
        stated = [line for line in self.lines if line.name in ("v", "dv/dy_pred")]
        return self.in_one_line or tuple(line.plain for line in stated)

    def sample(self, n_samples: int = 4, seed: int = 0) -> Data:
        """Return predictions and targets."""
        return self.data(np.random.default_rng(seed), n_samples)

    def sample_with_kinks(self) -> Data:
        """Return predictions and targets, the first at a kink."""
        y_pred, y_true = self.sample()
        for kink in self.kinks:
            y_pred[0], y_true[0] = kink, self.target
        return y_pred, y_true

    # ---------------------------------------------------------------- whether it is true

    def _names(self, loss: Loss, y_pred: np.ndarray, y_true: np.ndarray) -> Names:
        """Return all that the formulas may know."""
        given = self.given(y_pred)
        return {**self.hyperparameters(loss), **given, "y_pred": y_pred, "y_true": y_true}

    def _formulas(self) -> Check:
        errors, loss, (y_pred, y_true) = Errors(1e-10), self.example, self.sample_with_kinks()
        w = _weights(len(y_pred))
        prepared = loss.prepare_targets(y_pred, y_true)
        value = loss.value(y_pred, prepared)
        expected = {
            "v": value,
            "dv/dy_pred": loss.derivative(y_pred, prepared),
            "L": np.array(loss.forward(y_pred, y_true, w)),
            "dL/dy_pred": loss.backward(),
        }
        names = {**self._names(loss, y_pred, y_true), "w": w, "m": value[0].size}
        self._compare(errors, self.lines, names, lambda line: expected.get(line.name), expected)
        return errors.check("as written = the code, with sample weights")

    def _central(self) -> Check:
        y_pred, y_true = self.sample_with_kinks()
        report = check_loss_gradients(self.example, y_pred, y_true, _weights(len(y_pred)))
        return checked(report, "with sample weights", "at {0.where}")

    def _stepped(self) -> tuple[Function, np.ndarray, np.ndarray, np.ndarray]:
        """Return the code's value, a complex y_pred, its y_true, and the derivative that way."""
        loss, (y_pred, y_true) = self.example, self.sample()
        prepared = loss.prepare_targets(y_pred, y_true)
        direction = np.random.default_rng(4).standard_normal(y_pred.shape)
        slope = np.sum(loss.derivative(y_pred, prepared) * direction)
        moved = y_pred + 1j * COMPLEX_STEP * direction
        return lambda y: loss.value(y, prepared), moved, y_true, slope

    def _step_in_formulas(self, errors: Errors) -> None:
        _, moved, y_true, slope = self._stepped()
        names = self._names(self.example, moved, y_true)
        for line in self.lines:
            names[line.name] = line.evaluate(names)
            if line.name == "v":
                break
        step = np.sum(np.imag(names["v"])) / COMPLEX_STEP
        errors.compare("the formula's derivative", slope, step)

    def _step_in_code(self, errors: Errors) -> None:
        value, moved, _, slope = self._stepped()
        step = np.sum(np.imag(value(moved))) / COMPLEX_STEP
        errors.compare("the code's derivative", slope, step)

    def _at(self, kink: float) -> tuple[Function, Function, np.ndarray, str]:
        loss, y_pred = self.example, np.full((1, 1), float(kink))
        t = loss.prepare_targets(y_pred, np.full((1, 1), self.target))
        place = f"y_pred = {kink} for y_true = {self.target:.3g}"
        return lambda y: loss.value(y, t), lambda y: loss.derivative(y, t), y_pred, place

    def _on_grid(self) -> tuple[dict[str, np.ndarray], Names]:
        loss = self.example
        _, (example, *_) = self.sample(1)
        y_pred = GRID[:, np.newaxis]
        y_true = np.full_like(y_pred, self.target)
        if example.shape[-1] >= 3 and np.ndim(loss.value(y_pred[:1], y_true[:1])) <= 1:
            y_pred = np.stack([GRID, 0 * GRID, 0 * GRID - 60], axis=-1)
            y_true = np.eye(3)[np.zeros(len(GRID), dtype=int)]
        t = loss.prepare_targets(y_pred, y_true)
        found = {"v": loss.value(y_pred, t), "dv/dy_pred": loss.derivative(y_pred, t)}
        return found, {**self._names(loss, y_pred, y_true), "y_true": self.target}

    def _sympy(self) -> Check:
        loss, (y_pred, y_true) = self.example, self.sample(20, seed=6)
        t = loss.prepare_targets(y_pred, y_true)
        code = loss.value(y_pred, t), loss.derivative(y_pred, t)
        variables = oracles.symbols("y_pred", (1, *y_pred.shape[1:]))
        targets = oracles.symbols("y_true", (1, *y_true.shape[1:]))
        lines = [line for line in self.lines if line.name not in ("L", "dL/dy_pred")]
        values = oracles.evaluate(lines, self._names(loss, variables, targets))
        points = np.concatenate([y_pred.reshape(20, -1), y_true.reshape(20, -1)], axis=1)
        return oracles.compare(values["v"], variables, values["dv/dy_pred"], points, code, targets)

    def _torch(self) -> Check:
        errors, loss, (y_pred, y_true) = Errors(1e-9), self.example, self.sample_with_kinks()
        w = _weights(len(y_pred))
        value = loss.forward(y_pred, y_true, w)
        per_output = loss.value(y_pred, loss.prepare_targets(y_pred, y_true))
        scale = w.reshape(-1, *[1] * (per_output.ndim - 1)) / (w.sum() * per_output[0].size)
        scale = np.broadcast_to(scale, per_output.shape).copy()
        names = self._names(loss, y_pred, y_true)
        v, gradients = oracles.differentiate_in_torch(self.torch, names, ["y_pred"], scale)
        errors.compare("L", np.array(value), np.sum(v * scale))
        errors.compare("dL/dy_pred", loss.backward(), gradients["y_pred"])
        return errors.check(self.torch)


def _weights(n_samples: int) -> np.ndarray:
    return np.random.default_rng(7).uniform(0.5, 2, n_samples)
