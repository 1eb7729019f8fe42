"""The catalogue for a notebook: LaTeX between dollars, which Jupyter's MathJax sets."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from layerkit.inspection.catalogue import text
from layerkit.inspection.catalogue.entry import Entry
from layerkit.inspection.catalogue.formula import Formula
from layerkit.inspection.catalogue.gradients import GradientCatalogue
from layerkit.inspection.catalogue.latex import name, range_latex
from layerkit.inspection.shown import as_html
from layerkit.tables import html_row

GREEN, RED, GREY = "#1a7f37", "#cf222e", "#6e7781"


@as_html.register
def catalogue_html(catalogue: GradientCatalogue) -> str:
    """Return one table a family."""
    parts = [f"<p><b>{escape(text.summary(catalogue))}</b></p><p>{escape(text.NOTATION)}</p>"]
    wide = '<div style="min-width:15em"></div>'
    head = html_row([wide, "", "computes", "partial derivatives and gradients"], tag="th")
    for family, entries in catalogue.families.items():
        rows = "".join(html_row(_cells(entry)) for entry in entries)
        parts.append(f"<h4>{escape(family)}</h4><table><thead>{head}</thead>{rows}</table>")
    return "".join(parts)


def _cells(entry: Entry) -> list[str]:
    what = f"<b>{escape(entry.name)}</b><br>{escape(entry.computes)}"
    derivatives = entry.partials + entry.gradients
    return [what, _verdict(entry.ok), _formulas(entry.forward), _formulas(derivatives)]


@as_html.register
def entry_html(entry: Entry) -> str:
    """Return the whole page of an entry."""
    rows = [html_row([title, _formulas(lines)]) for title, lines in text.groups(entry).items()]
    notes = dict(text.remarks(entry))
    notes = {title: escape(remark) for title, remark in notes.items()}
    if entry.ranges:
        notes["ranges"] = ", ".join(f"${escape(range_latex(*r))}$" for r in entry.ranges.items())
    if entry.legend:
        notes["where"] = "; ".join(legend(entry, "${}$", "<code>{}</code>"))
    rows += [html_row(list(pair)) for pair in notes.items()]
    checks = [
        html_row([escape(c.method), _verdict(c.ok), escape(c.findings)])
        for c in entry.record.checks
    ]
    return (
        f"<p><b>{escape(entry.name)}</b> <code>{escape(entry.code)}</code><br>"
        f"{escape(entry.computes)}</p><table>{''.join(rows)}</table>"
        f"<p>{_verdict(entry.ok)}, on <code>{escape(repr(entry.example))}</code></p>"
        f"<table>{''.join(checks)}</table>"
    )


def legend(entry: Entry, formula: str, code: str) -> list[str]:
    """Return what the letters stand for; the two templates set letters and hyper-parameters."""
    words = {letter: code.format(word) for letter, word in entry.letters.items()}
    words |= {letter: escape(word) for letter, word in entry.where.items()}
    return [
        f"{formula.format(', '.join(map(name, letters.split(', '))))} = {word}"
        for letters, word in words.items()
    ]


def aligned(lines: Sequence[Formula]) -> str:
    """Return formulas below one another in LaTeX, the equals signs aligned."""
    rows = " \\\\\n".join(line.latex for line in lines)
    return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"


def _formulas(lines: Sequence[Formula]) -> str:
    return f"${escape(aligned(lines))}$" if lines else ""


def _verdict(ok: bool | None) -> str:
    colour, words = {
        True: (GREEN, "✓ verified"),
        False: (RED, "✗ WRONG"),
        None: (GREY, "– skipped"),
    }[ok]
    return f'<span style="color:{colour}; white-space:nowrap">{words}</span>'
