"""A page of the catalogue: what a layer or loss computes, its derivatives, and their proof."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from layerkit.inspection.catalogue.formula import Formula, value_of
from layerkit.inspection.catalogue.latex import ends_of
from layerkit.inspection.catalogue.record import Check, Errors, Record, attempt
from layerkit.inspection.gradient_check import GradientCheck
from layerkit.inspection.shown import Shown

Names = dict[str, Any]
Function = Callable[[np.ndarray], np.ndarray]

REPOSITORY = Path(__file__).parents[3]

COMPLEX_STEP = 1e-30
"""Nothing is lost to cancellation, so it may be this small."""

CENTRAL = "central differences"
COMPLEX = "complex step"
FORMULAS = "formulas"
KINKS = "slopes at kinks"
RANGES = "ranges"
SYMPY = "SymPy"
TORCH = "PyTorch"


@dataclass(frozen=True, eq=False, repr=False)
class Entry(Shown):
    """What is known about one layer or loss.

    Parameters
    ----------
    subject : type
        The class.
    formulas : str
        One formula a line (see `layerkit.inspection.catalogue.formula`): first what it computes,
        then its partial derivatives, then its gradients.
    computes : str, default=the first sentence of the docstring of the class
        In one sentence.
    make : callable, default=the class
        Makes the instance on which the formulas are verified.
    name : str, default=the name of the class
    letters : mapping of str to str
        Letters in the formulas that stand for hyper-parameters: ``{"s": "stride"}``.
    where : mapping of str to str
        Letters that stand for something else, in words.
    assumes : str
        What the formulas take for granted.
    ranges : mapping of str to str
        ``{"y": "(0, 1)", "dy/dx": "(0, 1/4]"}``; or a set, ``"{0, 1}"``.
    kinks : tuple
        Where the function has one.
    not_analytic : str
        Why there is no complex step; a kink is a reason by itself.
    not_complex : str
        Why the code takes no complex numbers although the function is analytic.
    source : str, default=the References of the docstring of the class, and the counterpart
        The paper or the standard.
    counterpart : str
        The same in another library, named after the References.
    in_one_line : tuple of str
        What a trace writes: of a layer its local derivative; of a loss value and derivative, by
        default the formulas of these.
    torch : str
        The same in PyTorch, an expression.
    """

    subject: type
    formulas: str
    computes: str = ""
    make: Callable[[], Any] | None = None
    name: str = ""
    letters: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    assumes: str = ""
    ranges: Mapping[str, str] = field(default_factory=dict)
    kinks: tuple = ()
    not_analytic: str = ""
    not_complex: str = ""
    source: str = ""
    counterpart: str = ""
    in_one_line: tuple[str, ...] = ()
    torch: str = ""

    def __post_init__(self) -> None:
        computes, references = said_of(self.subject)
        source = "; ".join(filter(None, (references, self.counterpart)))
        object.__setattr__(self, "name", self.name or self.subject.__name__)
        object.__setattr__(self, "computes", self.computes or computes)
        object.__setattr__(self, "source", self.source or source)

    # ---------------------------------------------------------------- what it says

    @cached_property
    def lines(self) -> list[Formula]:
        """The formulas, in order."""
        return parse(self.formulas)

    @property
    def forward(self) -> list[Formula]:
        """What is computed."""
        return self._leading_to("y", "v", "L")

    @property
    def partials(self) -> list[Formula]:
        """Partial derivatives of the result."""
        return self._leading_to("dy/", "dv/")

    @property
    def gradients(self) -> list[Formula]:
        """Gradients of the loss L."""
        return self._leading_to("dL/")

    def _leading_to(self, *names: str) -> list[Formula]:
        """Return the formulas of such names, each after the definitions that precede it."""
        found, pending = [], []
        for line in self.lines:
            pending.append(line)
            if line.name in ("y", "v", "L") or "/" in line.name:
                stem = line.name[:3] if "/" in line.name else line.name
                found += pending if stem in names else []
                pending = []
        return found

    @property
    def inference_lines(self) -> list[Formula]:
        """All formulas in inference mode, where they differ."""
        return []

    @property
    def example(self) -> Any:
        """A new instance, as it is verified."""
        return (self.make or self.subject)()

    @property
    def code(self) -> str:
        """Where the class is defined, ``file:line``, the file relative to the repository."""
        lines, first = inspect.getsourcelines(self.subject)  # decorators come before the class
        above = next(i for i, line in enumerate(lines) if line.startswith("class "))
        return f"{self.file}:{first + above}"

    @property
    def file(self) -> str:
        """Where the class is defined."""
        path = Path(inspect.getsourcefile(self.subject) or "")
        return path.relative_to(REPOSITORY).as_posix()

    @property
    def legend(self) -> dict[str, str]:
        """What the letters stand for."""
        return {**self.letters, **self.where}

    @property
    def one_line(self) -> tuple[str, ...]:
        """What a trace writes of it; empty where that is not known."""
        return self.in_one_line

    # ---------------------------------------------------------------- whether it is true

    @cached_property
    def record(self) -> Record:
        """The verification record, computed at the first look."""
        return Record(tuple(attempt(method, check) for method, check in self._checks()))

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return bool(self.record)

    @property
    def is_function(self) -> bool:
        """Whether the code has the function and its derivative as formulas of their own."""
        return True

    def _checks(self) -> Iterator[tuple[str, Callable[[], Check]]]:
        """Yield each way of verification with its function."""
        yield FORMULAS, self._formulas
        yield CENTRAL, self._central
        yield COMPLEX, self._complex
        if self.kinks:
            yield KINKS, self._kinks
        if self.ranges:
            yield RANGES, self._ranges
        if self.is_function:
            yield SYMPY, self._sympy
        if self.torch:
            yield TORCH, self._torch

    def _formulas(self) -> Check:
        """Evaluate every written formula and compare it with forward or backward."""
        raise NotImplementedError

    def _central(self) -> Check:
        """Compare backward with central differences of forward."""
        raise NotImplementedError

    def _compare(
        self,
        errors: Errors,
        lines: Sequence[Formula],
        names: Names,
        expected: Callable[[Formula], np.ndarray | None],
        required: Iterable[str],
        mode: str = "",
    ) -> Names:
        """Evaluate the lines; ``expected`` is what the code has, None of a definition."""
        known = dict(names)
        for line in lines:
            found = expected(line)
            known[line.name] = line.evaluate(known, None if found is None else found.shape)
            if found is not None:
                errors.compare(f"{line.text}{mode}", known[line.name], found)
        if missing := {*required} - known.keys():
            raise ValueError(f"no formula for {', '.join(sorted(missing))}")
        return known

    def _complex(self) -> Check:
        """Differentiate the written function, and the code where it can, by a complex step."""
        if self.kinks or self.not_analytic:
            return Check(None, f"not analytic: {self.not_analytic or 'it has a kink'}")
        errors, note = Errors(1e-10), "of the formula"
        self._step_in_formulas(errors)
        if self.is_function and self.not_complex:
            note += f" (of the code not: {self.not_complex})"
        elif self.is_function:
            note += " and of the code"
            self._step_in_code(errors)
        return errors.check(note)

    def _step_in_formulas(self, errors: Errors) -> None:
        """Differentiate the written function by a complex step."""
        raise NotImplementedError

    def _step_in_code(self, errors: Errors) -> None:
        """Differentiate the code's function by a complex step."""
        raise NotImplementedError

    def _kinks(self) -> Check:
        """Compare the slopes on both sides of each kink, and what the code returns on it."""
        errors, notes, h = Errors(1e-5), [], 1e-6
        for kink in self.kinks:
            f, slope, x, place = self._at(kink)
            left, right = (f(x) - f(x - h)) / h, (f(x + h) - f(x)) / h
            errors.compare(f"left of {kink}", slope(x - h), left)
            errors.compare(f"right of {kink}", slope(x + h), right)
            low, high = np.minimum(left, right), np.maximum(left, right)
            here = slope(x)
            errors.compare(f"at {kink}", np.clip(here, low, high), here)
            if np.allclose(left, right, atol=1e-3):
                raise ValueError(f"there is no kink at {place}")
            a, b, c = (_short(v) for v in (left, right, here))
            notes.append(f"at {place}: {a} on the left, {b} on the right, {c} in the code")
        return errors.check("; ".join(notes))

    def _at(self, kink: float) -> tuple[Function, Function, np.ndarray, str]:
        """Return the code's function and derivative, a kink as their argument, and in words."""
        raise NotImplementedError

    def _ranges(self) -> Check:
        """Compare the stated ranges with what the code returns on a dense grid."""
        found, names = self._on_grid()
        results = [check_range(of, stated, found[of], names) for of, stated in self.ranges.items()]
        wrong = [note for note in results if note]
        return Check(not wrong, "; ".join(wrong) or "on a dense grid")

    def _on_grid(self) -> tuple[dict[str, np.ndarray], Names]:
        """Return values and slopes on `GRID`, and what the stated ends may be made of."""
        raise NotImplementedError

    def _sympy(self) -> Check:
        """Differentiate the written function with SymPy; compare formulas and code."""
        raise NotImplementedError

    def _torch(self) -> Check:
        """Compare forward and backward with PyTorch's."""
        raise NotImplementedError

    def hyperparameters(self, subject: Any) -> Names:
        """Return the numbers that the constructor of a layer or loss was given, and the letters."""
        kinds = (int, float, np.number)
        given = subject.get_params(deep=False).items()
        numbers = {k: v for k, v in given if isinstance(v, kinds) and not isinstance(v, bool)}
        return numbers | {letter: getattr(subject, name) for letter, name in self.letters.items()}


def said_of(subject: type) -> tuple[str, str]:
    """Return the first sentence of a class's docstring, and its References, each in one line."""
    text = inspect.getdoc(subject) or ""
    references = text.partition("References\n----------\n")[2]
    first, last = (" ".join(part.partition("\n\n")[0].split()) for part in (text, references))
    return first, last.rstrip(".")


def parse(formulas: str) -> list[Formula]:
    """Read one formula a line; a line that is indented more continues the one before."""
    lines = re.sub(r"\n +", " ", inspect.cleandoc(formulas)).replace("( ", "(")
    return [Formula(line) for line in lines.split("\n")]


def checked(report: GradientCheck, note: str, failure: str = "") -> Check:
    """Return what a gradient check found; ``failure`` is a template for its worst comparison."""
    if report.failures and failure:
        note = failure.format(report.failures[0])
    return Check(bool(report), note, report.max_error, report.tolerance)


def _short(values: np.ndarray) -> str:
    return f"{float(values.flat[0]) + 0.0:.3f}".rstrip("0").rstrip(".")


# ---------------------------------------------------------------- ranges such as (0, 1/4]

FAR = np.geomspace(30, 1e5, 100)
GRID = np.concatenate([-FAR[::-1], np.linspace(-30, 30, 60_001), FAR])
"""Dense where functions bend, and far out."""

TOLERANCE = 5e-5
"""Bounds that are no round numbers are stated to four digits. An open end may be reached by
rounding, so open and closed ends are the same here."""


def check_range(of: str, stated: str, values: np.ndarray, names: Mapping[str, Any]) -> str:
    """Return what is wrong, or nothing: the values stay inside and come close to both ends."""
    ends = [float(value_of(end, names)) for end in ends_of(stated)]
    if stated[0] == "{":
        found = np.unique(values.round(12)).tolist()
        wrong = len(found) != len(ends) or not np.allclose(found, sorted(ends), atol=TOLERANCE)
        return f"{of} takes the values {found[:5]}, not {stated}" if wrong else ""
    low, high = ends
    least, most = float(np.min(values)), float(np.max(values))
    if not _reaches(least, low) or not _reaches(most, high):
        return f"{of} is between {least:.6g} and {most:.6g}, not in {stated}"
    return ""


def _reaches(value: float, end: float) -> bool:
    if np.isinf(end):
        return value * np.sign(end) > 50
    return abs(value - end) <= TOLERANCE * max(1, abs(end))
