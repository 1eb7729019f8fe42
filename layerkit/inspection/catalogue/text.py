"""The catalogue for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from layerkit.inspection.catalogue.entry import Entry
from layerkit.inspection.catalogue.formula import Formula
from layerkit.inspection.catalogue.gradients import GradientCatalogue
from layerkit.inspection.shown import as_text

WIDTH = 100
COLUMNS = (23, 39, 39)
"""Of the table: the name, the formula, the derivative."""

NOTATION = (
    "G is the gradient of the output, dL/dy; n runs over the samples. [i == j] is 1 if true, else "
    "0; entries of dy/dx that no index reaches are 0."
)


@as_text.register
def catalogue_text(catalogue: GradientCatalogue) -> str:
    """Return one line for each entry, and what is wrong."""
    lines = [summary(catalogue)]
    for family, entries in catalogue.families.items():
        lines += ["", _row(family, "computes", "derivative", "verdict"), "-" * (sum(COLUMNS) + 14)]
        lines += [_row(entry.name, *in_short(entry), verdict(entry)) for entry in entries]
    lines += ["", *textwrap.wrap(NOTATION, WIDTH)]
    for entry in catalogue.failures:
        lines += ["", f"{entry.name}:", *map(str, entry.record.failures)]
    return "\n".join(lines)


def summary(catalogue: GradientCatalogue) -> str:
    """Return the verdict in one sentence."""
    wrong = len(catalogue.failures)
    absent = sorted({method for entry in catalogue.values() for method in entry.record.absent})
    result = f"{wrong} WRONG" if wrong else "all verified"
    unavailable = f" (not installed: {', '.join(absent)})" if absent else ""
    return f"gradient catalogue: {len(catalogue)} entries, {result}{unavailable}"


def verdict(entry: Entry) -> str:
    """Return the outcome in a word."""
    return "verified" if entry.ok else "WRONG"


def in_short(entry: Entry) -> tuple[str, str]:
    """Return the formula of the result, and the local derivative or the input's gradient."""
    result = next(line for line in reversed(entry.forward) if line.name in ("y", "v"))
    elementwise = [line for line in entry.partials if not line.indices]
    named = [line for line in entry.lines if line.name in ("dL/dx", "dv/dy_pred")]
    return result.text, (elementwise or named)[0].text


def _row(*cells: str) -> str:
    fitted = (
        (cell if len(cell) <= width else cell[: width - 1] + "…").ljust(width)
        for cell, width in zip(cells, COLUMNS, strict=False)
    )
    return "  ".join([*fitted, cells[-1]])


@as_text.register
def entry_text(entry: Entry) -> str:
    """Return all that is known about an entry."""
    lines = [f"{entry.name}  ({entry.code})", entry.computes, ""]
    for title, formulas in groups(entry).items():
        lines += _block(title, [line for formula in formulas for line in _wrapped(formula)])
    for title, remark in remarks(entry).items():
        lines += _block(title, textwrap.wrap(remark, WIDTH - 22))
    lines += ["", f"{verdict(entry)}, on {entry.example!r}:"]
    for check in str(entry.record).split("\n"):
        lines += textwrap.wrap(
            check, WIDTH, initial_indent="  ", subsequent_indent=" " * 32, drop_whitespace=False
        )
    return "\n".join(line.rstrip() for line in lines)


def groups(entry: Entry) -> dict[str, list[Formula]]:
    """Return the formulas under the titles of a page."""
    found = {
        "computes": entry.forward,
        "partial derivatives": entry.partials,
        "gradients": entry.gradients,
        "in inference": entry.inference_lines,
    }
    return {title: formulas for title, formulas in found.items() if formulas}


def remarks(entry: Entry) -> dict[str, str]:
    """Return what is said in words under the titles of a page."""
    found = {
        "where": "; ".join(f"{letter} = {word}" for letter, word in entry.legend.items()),
        "ranges": "; ".join(f"{of} in {stated}" for of, stated in entry.ranges.items()),
        "assumes": entry.assumes,
        "source": entry.source,
    }
    return {title: remark for title, remark in found.items() if remark}


def _block(title: str, lines: list[str]) -> Iterator[str]:
    for k, line in enumerate(lines):
        yield f"{title if k == 0 else '':<22}{line}"


def _wrapped(formula: Formula) -> list[str]:
    return textwrap.wrap(
        formula.text, WIDTH - 22, subsequent_indent="    ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
