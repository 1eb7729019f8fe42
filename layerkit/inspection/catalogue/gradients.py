"""The catalogue of gradients."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path

from layerkit.inspection.catalogue.entries import FAMILIES
from layerkit.inspection.catalogue.entry import Entry
from layerkit.inspection.shown import Shown, as_markdown


class GradientCatalogue(Shown, Mapping[str, Entry]):
    """Formulas and verification records of all layers and losses, by name.

    Prints as a table, shows as HTML in a notebook; true if every record is. An entry is verified
    when it is first looked at.

    Attributes
    ----------
    families : dict of str to list of Entry
        The same, in families.
    """

    def __init__(self, families: Mapping[str, list[Entry]]) -> None:
        # Copies: a record belongs to the catalogue for which it was computed.
        self.families = {
            family: [dataclasses.replace(entry) for entry in entries]
            for family, entries in families.items()
        }
        self._entries = {entry.name: entry for family in self.families.values() for entry in family}

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            similar = difflib.get_close_matches(str(name), self._entries, cutoff=0.4)
            hint = f"; did you mean {', '.join(similar)}?" if similar else ""
            raise KeyError(f"no entry {name!r}{hint}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def ok(self) -> bool:
        """Whether every formula and all code is verified."""
        return not self.failures

    def __bool__(self) -> bool:
        return self.ok

    @property
    def failures(self) -> list[Entry]:
        """The entries whose record is not true."""
        return [entry for entry in self.values() if not entry.ok]

    def to_markdown(self, path: str | PathLike | None = None) -> str:
        """Write the catalogue as one page, formulas in LaTeX as GitHub shows them.

        The page does not depend on the machine, nor on which optional libraries are installed.

        Parameters
        ----------
        path : str or path, optional
            Where to write it.

        Returns
        -------
        page : str
            In Markdown.
        """
        page = as_markdown(self)
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page


def gradient_catalogue() -> GradientCatalogue:
    """Look up what any layer or loss computes, its derivatives, and the proof of both.

    Each entry has formulas for the output, the partial derivatives and the gradients of the input
    and of every parameter; ranges, assumptions, the source and the place in the code. Its record
    is computed on the spot: the formulas as they are printed are evaluated and compared with the
    code, and the code with central differences, a complex step, SymPy and PyTorch (the latter two
    if they are installed). An error in a formula or in the code turns the record red.

    Returns
    -------
    catalogue : GradientCatalogue
        A mapping of names to entries; also an entry for every variant with formulas of its own,
        such as ``"GELU(approximate=True)"``.

    Examples
    --------
    >>> from layerkit.inspection import gradient_catalogue
    >>> catalogue = gradient_catalogue()
    >>> sigmoid = catalogue["Sigmoid"]
    >>> sigmoid.ok, sigmoid.ranges["dy/dx"]
    (True, '(0, 1/4]')
    >>> for formula in sigmoid.forward + sigmoid.partials + sigmoid.gradients:
    ...     print(formula.text)
    y = 1 / (1 + exp(-x))
    dy/dx = y * (1 - y)
    dL/dx = G * y * (1 - y)
    """
    return GradientCatalogue(FAMILIES)
