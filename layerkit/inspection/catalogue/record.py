"""What a verification found."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Check(NamedTuple):
    """One way of verification and what it found.

    ``ok`` is None where it could not be done, for the reason in ``note``; `attempt` says which
    ``method`` it was.
    """

    ok: bool | None
    note: str = ""
    error: float = 0.0
    bound: float = 0.0
    method: str = ""

    @property
    def verdict(self) -> str:
        """In one word."""
        return {True: "ok", False: "WRONG", None: "skipped"}[self.ok]

    @property
    def findings(self) -> str:
        """The error and the note."""
        bound = f"error {self.error:.0e} (allowed {self.bound:.0e})" if self.bound else ""
        return "; ".join(filter(None, (bound, self.note)))

    def __str__(self) -> str:
        return f"{self.method:<20} {self.verdict:<8} {self.findings}"


class Absent(Exception):
    """A library that a check needs is not installed."""


@dataclass(frozen=True)
class Record:
    """All checks of an entry; true if none failed."""

    checks: tuple[Check, ...]

    def __bool__(self) -> bool:
        return all(check.ok is not False for check in self.checks)

    @property
    def failures(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.ok is False]

    @property
    def absent(self) -> list[str]:
        """What is not installed."""
        return [check.method for check in self.checks if check.note.endswith("not installed")]

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))


def attempt(method: str, check: Callable[[], Check]) -> Check:
    """Run a check; one that cannot be computed has failed, like one with a large error."""
    try:
        with np.errstate(all="ignore"):
            return check()._replace(method=method)
    except Absent as absent:
        return Check(None, f"{absent} not installed", method=method)
    except Exception as error:  # whatever a wrong formula or a broken layer leads to
        return Check(False, f"{type(error).__name__}: {error}", method=method)


class Errors:
    """The largest of several relative errors, and where it is."""

    def __init__(self, bound: float) -> None:
        self.bound, self.largest, self.where = bound, 0.0, ""

    def compare(self, where: str, found: Any, expected: Any) -> None:
        """Compare two arrays, relative to the largest number in them."""
        found, expected = np.asarray(found), np.asarray(expected)
        if found.shape != expected.shape:
            raise ValueError(f"{where} has shape {expected.shape}, the formula gives {found.shape}")
        if not found.size:
            return
        scale = max(np.abs(expected).max(), np.abs(found).max(), 1e-300)
        error = float(np.abs(found - expected).max() / scale)
        if not math.isfinite(error):
            error = math.inf
        if error > self.largest or not self.where:
            self.largest, self.where = error, where

    def check(self, note: str) -> Check:
        """Return the outcome; a failure names the place."""
        ok = bool(self.where) and self.largest < self.bound
        return Check(ok, note if ok else self.where, self.largest, self.bound)
