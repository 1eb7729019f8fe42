"""A page of the catalogue: what a layer or loss computes, its derivatives, and their proof."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import layerkit
from layerkit.inspection.catalogue.formula import Formula
from layerkit.inspection.catalogue.record import Check, Record, attempt

REPOSITORY = Path(layerkit.__file__).parent.parent

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
class Entry:
    """What is known about one layer or loss.

    Parameters
    ----------
    subject : type
        The class.
    computes : str
        In one sentence.
    formulas : str
        One formula a line (see `layerkit.inspection.catalogue.formula`): first what it computes,
        then its partial derivatives, then its gradients.
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
    source : str
        The paper or the standard.
    torch : str
        The same in PyTorch, an expression.
    """

    subject: type
    computes: str
    formulas: str
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
    torch: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.subject.__name__)

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
        line = inspect.getsourcelines(self.subject)[1]
        return f"{self.file}:{line}"

    @property
    def file(self) -> str:
        """Where the class is defined."""
        path = Path(inspect.getsourcefile(self.subject) or "")
        return path.relative_to(REPOSITORY).as_posix()

    @property
    def legend(self) -> dict[str, str]:
        """What the letters stand for."""
        return {**self.letters, **self.where}

    # ---------------------------------------------------------------- whether it is true

    @cached_property
    def record(self) -> Record:
        """The verification record, computed at the first look."""
        return Record(tuple(attempt(method, check) for method, check in self._checks()))

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return bool(self.record)

    def _checks(self) -> Iterator[tuple[str, Callable[[], Check]]]:
        """Yield each way of verification with its function."""
        raise NotImplementedError

    # ---------------------------------------------------------------- how it looks

    def __str__(self) -> str:
        from layerkit.inspection.catalogue.text import entry_text

        return entry_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from layerkit.inspection.catalogue.html import entry_html

        return entry_html(self)


def parse(formulas: str) -> list[Formula]:
    """Read one formula a line; a line that is indented more continues the one before."""
    lines = re.sub(r"\n +", " ", inspect.cleandoc(formulas)).replace("( ", "(")
    return [Formula(line) for line in lines.split("\n")]


def numbers_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters that are numbers."""
    kinds = (int, float, np.number)
    return {k: v for k, v in params.items() if isinstance(v, kinds) and not isinstance(v, bool)}
