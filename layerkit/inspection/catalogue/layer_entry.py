"""How the page of a layer is verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
from layerkit.inspection.gradient_check import check_gradients
from layerkit.layer import Layer
from layerkit.layers.activations import Elementwise
from layerkit.shapes import Shape

Names = dict[str, Any]


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
    def is_elementwise(self) -> bool:
        """Whether it is one function, applied number by number."""
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

    def inputs(self, n_samples: int = 3) -> np.ndarray:
        """Return the input at which formulas are verified, kinks included."""
        rng, shape = np.random.default_rng(2), (n_samples, *self.input_shape)
        if self.is_elementwise:
            kinks = [np.full((1, *self.input_shape), float(kink)) for kink in self.kinks]
            return np.concatenate([rng.uniform(-6, 6, (12, *self.input_shape)), *kinks])
        return 3 * rng.standard_normal(shape) if self.sample is None else self.sample(rng, shape)

    @cached_property
    def inference_lines(self) -> list[Formula]:
        return parse(self.inference) if self.inference else []

    def lines_in(self, training: bool) -> list[Formula]:
        """Return the formulas of a mode."""
        return self.lines if training or not self.inference else self.inference_lines

    def _checks(self) -> Iterator[tuple[str, Callable[[], Check]]]:
        yield FORMULAS, partial(_formulas, self)
        yield CENTRAL, partial(_central, self)
        yield COMPLEX, partial(_complex, self)
        if self.kinks:
            yield KINKS, partial(_kinks, self)
        if self.ranges:
            yield RANGES, partial(_ranges, self)
        if self.is_elementwise:
            yield SYMPY, partial(_sympy, self)
        if self.torch:
            yield TORCH, partial(_torch, self)


class _Pass:
    """One forward and backward of the code, and all that the formulas may know of it."""

    def __init__(self, entry: LayerEntry, training: bool) -> None:
        layer, self.x, self.training = entry.build(), entry.inputs(), training
        self.layer = layer
        given = entry.given(layer, self.x) if entry.given else {}
        buffers = {name: buffer.copy() for name, buffer in layer.buffers.items()}
        self.y = self.forward()
        self.G = np.random.default_rng(3).standard_normal(self.y.shape)
        gradients = {"dL/dx": layer.backward(self.G).copy()}
        gradients |= {f"dL/d{name}": grad.copy() for name, grad in layer.grads.items()}
        self.gradients = gradients
        letters = {k: getattr(layer, name) for k, name in entry.letters.items()}
        hyper = numbers_of(layer.get_params(deep=False))
        self.names: Names = {
            **hyper, **letters, **layer.params, **buffers, **given, "x": self.x, "G": self.G
        }  # fmt: skip

    def forward(self) -> np.ndarray:
        self.layer.reseed(0)
        return self.layer.forward(self.x, training=self.training)

    def jacobian(self, of: str) -> np.ndarray:
        """Return dy/dx or dy/dθ of shape (*y, *x): one backward for every number in y."""
        self.forward()
        rows = []
        for k in range(self.y.size):
            unit = np.zeros(self.y.size)
            unit[k] = 1
            grad_input = self.layer.backward(unit.reshape(self.y.shape))
            rows.append(np.array(grad_input if of == "x" else self.layer.grads[of]))
        return np.reshape(rows, (*self.y.shape, *rows[0].shape))

    def slope(self) -> np.ndarray:
        """Return f'(x) of an elementwise function."""
        self.forward()
        return self.layer.backward(np.ones_like(self.y))


def _formulas(entry: LayerEntry) -> Check:
    """Evaluate every written formula and compare it with forward or backward."""
    errors = Errors(1e-10)
    for training in (True, False):
        run = _Pass(entry, training)
        names, said = dict(run.names), set()
        for line in entry.lines_in(training):
            expected = _expected(run, line)
            shape = None if expected is None else expected.shape
            names[line.name] = line.evaluate(names, shape)
            said.add(line.name)
            if expected is not None:
                mode = "training" if training else "inference"
                errors.compare(f"{line.text} ({mode})", names[line.name], expected)
        if entry.is_elementwise:  # the functions of which forward and backward may be fused twins
            layer: Any = run.layer
            errors.compare("function", names["y"], layer.function(run.x))
            errors.compare("derivative", names["dy/dx"], layer.derivative(run.x) + 0 * run.x)
        if missing := {"y", "dy/dx", *run.gradients} - said:
            raise ValueError(f"no formula for {', '.join(sorted(missing))}")
    return errors.check(FORMULAS, "as written = the code, in training and inference")


def _expected(run: _Pass, line: Formula) -> np.ndarray | None:
    """Return what the code has for the left side, None for a definition."""
    if line.name == "y":
        return run.y
    if line.name in run.gradients:
        return run.gradients[line.name]
    if line.name.startswith("dy/d"):
        return run.jacobian(line.name.removeprefix("dy/d")) if line.indices else run.slope()
    return None


def _central(entry: LayerEntry) -> Check:
    """Compare backward with central differences of forward."""
    x = entry.inputs()
    report = check_gradients(entry.build(), x=x, max_coordinates=24)
    worst = report.failures[0] if report.failures else None
    note = f"{worst.name} {worst.where} in {worst.mode}" if worst else "in training and inference"
    return Check(CENTRAL, bool(report), note, report.max_error, report.tolerance)


def _complex(entry: LayerEntry) -> Check:
    """Differentiate the written function, and the code where it can, by a complex step."""
    if entry.kinks or entry.not_analytic:
        return Check(COMPLEX, None, f"not analytic: {entry.not_analytic or 'it has a kink'}")
    errors = Errors(1e-10)
    for training in (True, False):
        run, lines = _Pass(entry, training), entry.lines_in(training)
        values = evaluated(lines, run.names)
        for target in [name.removeprefix("dL/d") for name in run.gradients]:
            origin = run.names[target]
            direction = np.random.default_rng(4).standard_normal(origin.shape)
            moved = {**run.names, target: origin + 1j * COMPLEX_STEP * direction}
            slope = np.sum(run.G * evaluated(lines, moved, until="y")["y"].imag) / COMPLEX_STEP
            errors.compare(f"dL/d{target}", np.sum(direction * values[f"dL/d{target}"]), slope)
    note = "of the formula"
    if entry.is_elementwise and not entry.not_complex:
        note = "of the formula and of the code"
        layer, x = entry.build(), entry.inputs()
        slope = layer.function(x + 1j * COMPLEX_STEP).imag / COMPLEX_STEP  # type: ignore[attr-defined]
        errors.compare("derivative", layer.derivative(x), slope)  # type: ignore[attr-defined]
    elif entry.is_elementwise:
        note += f" (of the code not: {entry.not_complex})"
    return errors.check(COMPLEX, note)


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


def _kinks(entry: LayerEntry) -> Check:
    """Compare the slopes on both sides of each kink, and what the code returns on it."""
    layer, h = entry.build_as_made(), 1e-6
    if not entry.is_elementwise:  # ties: any value between the one-sided slopes is a subgradient
        (x,) = entry.kinks
        report = check_gradients(layer, x=np.broadcast_to(x, (3, *entry.input_shape)).copy())
        n_kinks = sum(c.n_kinks for c in report.comparisons)
        ok = bool(report) and n_kinks > 0
        note = "where several are equal, a value between both slopes"
        return Check(KINKS, ok, note, report.max_error, report.tolerance)
    f, slope = layer.function, layer.derivative  # type: ignore[attr-defined]
    errors, notes = Errors(1e-5), []
    for kink in entry.kinks:
        x = np.full((1, *entry.input_shape), float(kink))
        left, right = (f(x) - f(x - h)) / h, (f(x + h) - f(x)) / h
        errors.compare(f"left of {kink}", slope(x - h), left)
        errors.compare(f"right of {kink}", slope(x + h), right)
        low, high = np.minimum(left, right), np.maximum(left, right)
        here = slope(x)
        errors.compare(f"at {kink}", np.clip(here, low, high), here)
        if np.allclose(left, right, atol=1e-3):
            raise ValueError(f"there is no kink at x = {kink}")
        a, b, c = (_short(v) for v in (left, right, here))
        notes.append(f"at x = {kink}: {a} on the left, {b} on the right, {c} in the code")
    return errors.check(KINKS, "; ".join(notes))


def _short(values: np.ndarray) -> str:
    return f"{float(values.flat[0]):.3f}".rstrip("0").rstrip(".")


def _ranges(entry: LayerEntry) -> Check:
    """Compare the stated ranges with what the code returns on a dense grid."""
    layer = entry.build()
    names: Names = numbers_of(layer.get_params(deep=False))
    names |= {k: getattr(layer, name) for k, name in entry.letters.items()}
    names |= {name: float(value.flat[0]) for name, value in layer.params.items()}
    if entry.is_elementwise:
        beside = [kink + side for kink in entry.kinks for side in (-1e-6, 1e-6)]
        x = np.tile(np.append(GRID, beside)[:, np.newaxis], entry.input_shape)
        y, slope = layer.function(x), layer.derivative(x)  # type: ignore[attr-defined]
        found = {"y": y[:, :1], "dy/dx": slope[:, :1]}
    else:
        assert entry.probe is not None
        found = _rowwise(layer, entry.probe(GRID))
    results = [check_range(of, stated, found[of], names) for of, stated in entry.ranges.items()]
    wrong = [note for note in results if note]
    return Check(RANGES, not wrong, "; ".join(wrong) or "on a dense grid")


def _rowwise(layer: Layer, x: np.ndarray) -> dict[str, np.ndarray]:
    """Return y and all entries of dy/dx of a layer that does not mix samples."""
    y = layer.forward(x)
    units = np.eye(y.shape[1])
    rows = [layer.backward(np.broadcast_to(unit, y.shape)) for unit in units]
    return {"y": y, "dy/dx": np.stack(rows)}


def _sympy(entry: LayerEntry) -> Check:
    """Differentiate the written function with SymPy; compare formulas and code."""
    layer = entry.build()
    names: Names = numbers_of(layer.get_params(deep=False))
    names |= {k: getattr(layer, name) for k, name in entry.letters.items()}
    names |= {name: float(value.flat[0]) for name, value in layer.params.items()}
    points = 6 * np.random.default_rng(5).standard_normal((40, 1))
    x = np.tile(points, entry.input_shape)
    code = layer.function(x)[:, :1], layer.derivative(x)[:, :1]  # type: ignore[attr-defined]
    lines = [line for line in entry.lines if not line.name.startswith("dL/") and not line.indices]
    symbols = {"x": symbolic.symbols("x", ())}
    values = symbolic.evaluate(lines, {**names, **symbols})
    return symbolic.compare([values["y"]], symbols["x"], [values["dy/dx"]], points, code)


def _torch(entry: LayerEntry) -> Check:
    """Compare forward and backward with PyTorch's."""
    errors = Errors(1e-9)
    for training in (True, False):
        run = _Pass(entry, training)
        learned = [name.removeprefix("dL/d") for name in run.gradients]
        y, gradients = differentiate_in_torch(
            entry.torch, {**run.names, "training": training}, learned, run.G
        )
        errors.compare("y", run.y, y)
        for name, gradient in gradients.items():
            errors.compare(f"dL/d{name}", run.gradients[f"dL/d{name}"], gradient)
    return errors.check(TORCH, entry.torch)
