"""How the page of a layer is verified."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

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
from layerkit.inspection.gradient_check import check_gradients
from layerkit.inspection.jacobians import jacobian_by_sample, jacobians
from layerkit.layer import Layer
from layerkit.layers.activations import Elementwise
from layerkit.shapes import Shape


@dataclass(frozen=True, eq=False, repr=False)
class LayerEntry(Entry):
    """What is known about a layer.

    Parameters
    ----------
    input_shape : tuple of int
        Of the sample on which the formulas are verified.
    inference : str
        The formulas in inference mode, where they differ.
    given : callable (layer, x) -> dict
        Values of the letters in ``where``.
    sample : callable (rng, shape) -> array
        Draws the input; by default normal with standard deviation 3, or uniform between -6 and 6
        for elementwise functions.
    probe : callable (grid) -> array
        Inputs that reach the ends of the ranges.
    """

    input_shape: Shape = (4,)
    inference: str = ""
    given: Callable[[Any, np.ndarray], Names] | None = None
    sample: Callable[[np.random.Generator, Shape], np.ndarray] | None = None
    probe: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def is_function(self) -> bool:
        return issubclass(self.subject, Elementwise)

    def build_as_made(self) -> Layer:
        """Return the layer in float64."""
        return self.example.build(self.input_shape, random_state=0, dtype=np.float64)

    def build(self) -> Layer:
        """Return the layer in float64, away from zeros and ones, which hide mistakes."""
        layer = self.build_as_made()
        rng = np.random.default_rng(1)
        layer.flat_params[...] += 0.1 * rng.standard_normal(layer.n_params)
        for _, inner in layer.walk():
            for buffer in inner.buffers.values():
                buffer[...] += 0.5 * rng.random(buffer.shape)
        return layer

    def inputs(self) -> np.ndarray:
        """Return the input at which formulas are verified, kinks included."""
        rng, shape = np.random.default_rng(2), (3, *self.input_shape)
        if self.is_function:
            kinks = [np.full((1, *self.input_shape), float(kink)) for kink in self.kinks]
            return np.concatenate([rng.uniform(-6, 6, (12, *self.input_shape)), *kinks])
        return 3 * rng.standard_normal(shape) if self.sample is None else self.sample(rng, shape)

    @cached_property
    def inference_lines(self) -> list[Formula]:
        return parse(self.inference) if self.inference else []

    def lines_in(self, training: bool) -> list[Formula]:
        """Return the formulas of a mode."""
        return self.lines if training or not self.inference else self.inference_lines

    # ---------------------------------------------------------------- whether it is true

    def _formulas(self) -> Check:
        errors = Errors(1e-10)
        for training in (True, False):
            run = _Pass(self, training)
            lines, mode = self.lines_in(training), "training" if training else "inference"
            required = ("y", "dy/dx", *run.gradients)
            names = self._compare(errors, lines, run.names, run.expected, required, f" ({mode})")
            if self.is_function:  # of which forward and backward may be fused twins
                layer: Any = run.layer
                errors.compare("function", names["y"], layer.function(run.x))
                errors.compare("derivative", names["dy/dx"], layer.derivative(run.x) + 0 * run.x)
        return errors.check("as written = the code, in training and inference")

    def _central(self) -> Check:
        report = check_gradients(self.build(), x=self.inputs(), max_coordinates=24)
        failure = "{0.name} {0.where} in {0.mode}"
        return checked(report, "in training and inference", failure)

    def _step_in_formulas(self, errors: Errors) -> None:
        for training in (True, False):
            run, lines = _Pass(self, training), self.lines_in(training)
            values = evaluated(lines, run.names)
            for target in [name.removeprefix("dL/d") for name in run.gradients]:
                origin = run.names[target]
                direction = np.random.default_rng(4).standard_normal(origin.shape)
                moved = {**run.names, target: origin + 1j * COMPLEX_STEP * direction}
                slope = np.sum(run.G * evaluated(lines, moved, until="y")["y"].imag) / COMPLEX_STEP
                errors.compare(f"dL/d{target}", np.sum(direction * values[f"dL/d{target}"]), slope)

    def _step_in_code(self, errors: Errors) -> None:
        layer, x = self.build(), self.inputs()
        slope = layer.function(x + 1j * COMPLEX_STEP).imag / COMPLEX_STEP  # type: ignore[attr-defined]
        errors.compare("derivative", layer.derivative(x), slope)  # type: ignore[attr-defined]

    def _kinks(self) -> Check:
        if self.is_function:
            return super()._kinks()
        (x,) = self.kinks  # ties: any value between the one-sided slopes is a subgradient
        x = np.broadcast_to(x, (3, *self.input_shape)).copy()
        report = check_gradients(self.build_as_made(), x=x)
        found = checked(report, "where several are equal, a value between both slopes")
        return found._replace(ok=found.ok and any(c.n_kinks for c in report.comparisons))

    def _at(self, kink: float) -> tuple[Function, Function, np.ndarray, str]:
        layer: Any = self.build_as_made()
        x = np.full((1, *self.input_shape), float(kink))
        return layer.function, layer.derivative, x, f"x = {kink}"

    def _on_grid(self) -> tuple[dict[str, np.ndarray], Names]:
        layer: Any = self.build()
        if not self.is_function:
            assert self.probe is not None
            y, slopes = jacobian_by_sample(layer, self.probe(GRID))
            return {"y": y, "dy/dx": slopes}, self._numbers(layer)
        beside = [kink + side for kink in self.kinks for side in (-1e-6, 1e-6)]
        x = np.tile(np.append(GRID, beside)[:, np.newaxis], self.input_shape)
        found = {"y": layer.function(x)[:, :1], "dy/dx": layer.derivative(x)[:, :1]}
        return found, self._numbers(layer)

    def _numbers(self, layer: Layer) -> Names:
        """Return hyper-parameters, and of each parameter the first number."""
        first = {name: float(value.flat[0]) for name, value in layer.params.items()}
        return self.hyperparameters(layer) | first

    def _sympy(self) -> Check:
        layer: Any = self.build()
        points = 6 * np.random.default_rng(5).standard_normal((40, 1))
        x = np.tile(points, self.input_shape)
        code = layer.function(x)[:, :1], layer.derivative(x)[:, :1]
        lines = [line for line in self.lines if not (line.name.startswith("dL/") or line.indices)]
        symbol = oracles.symbols("x", ())
        values = oracles.evaluate(lines, {**self._numbers(layer), "x": symbol})
        return oracles.compare([values["y"]], symbol, [values["dy/dx"]], points, code)

    def _torch(self) -> Check:
        errors = Errors(1e-9)
        for training in (True, False):
            run = _Pass(self, training)
            learned = [name.removeprefix("dL/d") for name in run.gradients]
            y, gradients = oracles.differentiate_in_torch(
                self.torch, {**run.names, "training": training}, learned, run.G
            )
            errors.compare("y", run.y, y)
            for name, gradient in gradients.items():
                errors.compare(f"dL/d{name}", run.gradients[f"dL/d{name}"], gradient)
        return errors.check(self.torch)


class _Pass:
    """One forward and backward of the code, and all that the formulas may know of it."""

    def __init__(self, entry: LayerEntry, training: bool) -> None:
        layer, self.x, self.training = entry.build(), entry.inputs(), training
        self.layer = layer
        given = entry.given(layer, self.x) if entry.given else {}
        buffers = {name: buffer.copy() for name, buffer in layer.buffers.items()}
        self.y = self.forward()
        self.G = np.random.default_rng(3).standard_normal(self.y.shape)
        self.gradients = {"dL/dx": layer.backward(self.G).copy()}
        self.gradients |= {f"dL/d{name}": grad.copy() for name, grad in layer.grads.items()}
        self.names: Names = {**entry.hyperparameters(layer), **layer.params, **buffers, **given}
        self.names |= {"x": self.x, "G": self.G}

    def forward(self) -> np.ndarray:
        self.layer.reseed(0)
        return self.layer.forward(self.x, training=self.training)

    def jacobian(self, of: str) -> np.ndarray | None:
        """Return dy/dx or dy/dθ of shape (*y, *x)."""
        self.forward()
        by_input, by_param = jacobians(self.layer, self.x, self.y)
        return by_input if of == "x" else by_param[of]

    def slope(self) -> np.ndarray:
        """Return f'(x) of an elementwise function."""
        self.forward()
        return self.layer.backward(np.ones_like(self.y))

    def expected(self, line: Formula) -> np.ndarray | None:
        """Return what the code has for the left side, None for a definition."""
        if line.name == "y":
            return self.y
        if line.name in self.gradients:
            return self.gradients[line.name]
        if line.name.startswith("dy/d"):
            return self.jacobian(line.name.removeprefix("dy/d")) if line.indices else self.slope()
        return None


def evaluated(lines: list[Formula], names: Mapping[str, Any], until: str = "") -> Names:
    """Evaluate the lines one after the other."""
    known = dict(names)
    shapes = {
        "dL/dx": "x",
        **{f"dL/d{name}": name for name, value in names.items() if np.ndim(value)},
    }
    for line in lines:
        if line.name.startswith("dy/d"):
            continue
        shape = np.shape(names[shapes[line.name]]) if line.name in shapes else None
        if line.name == "y":
            shape = np.shape(names["G"])
        known[line.name] = line.evaluate(known, shape)
        if line.name == until:
            break
    return known
