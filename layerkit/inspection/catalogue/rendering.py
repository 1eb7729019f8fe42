r"""The catalogue for a terminal, for a notebook (in LaTeX, which Jupyter sets) and as a page.

On the page, for GitHub, formulas stand in ``math`` blocks and between ``$` `` and `` `$``, where
Markdown leaves ``_``, ``*``, ``|`` and ``\\`` alone. Nothing on it depends on the machine: figures
are bounds.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from html import escape

from layerkit.inspection.catalogue import oracles
from layerkit.inspection.catalogue.entry import (
    CENTRAL,
    COMPLEX,
    FORMULAS,
    KINKS,
    RANGES,
    SYMPY,
    TORCH,
    Entry,
)
from layerkit.inspection.catalogue.formula import Formula
from layerkit.inspection.catalogue.gradients import GradientCatalogue
from layerkit.inspection.catalogue.latex import name, range_latex
from layerkit.inspection.catalogue.record import Check
from layerkit.inspection.shown import as_html, as_markdown, as_text
from layerkit.tables import badge, html_row

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


# ---------------------------------------------------------------- for a notebook

GREEN, RED, GREY = "#1a7f37", "#cf222e", "#6e7781"  # behind white letters, on any page


@as_html.register
def catalogue_html(catalogue: GradientCatalogue) -> str:
    """Return one table a family."""
    parts = [f"<p><b>{escape(summary(catalogue))}</b></p><p>{escape(NOTATION)}</p>"]
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
    rows = [html_row([title, _formulas(lines)]) for title, lines in groups(entry).items()]
    notes = {title: escape(remark) for title, remark in remarks(entry).items()}
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
    return badge(words, colour)


# ---------------------------------------------------------------- as a page

INTRODUCTION = r"""# Gradients

What every layer and every loss computes, its partial derivatives and its gradients. This page is
written by `gradient_catalogue().to_markdown("docs/GRADIENTS.md")` and kept true by a test. Each
formula exists once, as a line of Python; from it come the text, the LaTeX, and the proof:

- the formulas as they are written are evaluated and compared with the code's `forward` and
  `backward`, in training and in inference, for losses with sample weights;
- the code's `backward` is compared with **central differences** of its `forward`;
- where the function is analytic, the written function, and the code if it takes complex numbers, is
  differentiated by a **complex step**;
- at every **kink** the slopes on both sides are compared, and what the code returns lies between;
- **SymPy** differentiates the written function of every elementwise layer and every loss; formula
  and code are compared with the result at 40 digits;
- **PyTorch**, where it has the same, must agree;
- **ranges** are compared with the values on a dense grid.

`print(gradient_catalogue()["Sigmoid"])` repeats it on your machine and shows the figures.

Notation: $`G = \partial L / \partial y`$ is the gradient of the output, L being the loss of the
whole network. The index n runs over the samples. Without indices, everything but a product of
matrices is meant number by number. $`[\,\ldots\,]`$ is 1 if what it holds is true, else 0, and
$`\delta_{ij}`$ is 1 if i = j. Entries of $`\partial y / \partial x`$ that no index reaches are 0.
For losses $`\hat{y}`$ is the prediction, $`y`$ the target, $`v`$ the loss of an output or of a
sample, $`w`$ the weights of the samples, $`L`$ their weighted mean, and $`m`$ the number of outputs
of a sample that are averaged.
"""


@as_markdown.register
def catalogue_markdown(catalogue: GradientCatalogue) -> str:
    """Return the page."""
    contents, sections = [], []
    for family, entries in catalogue.families.items():
        links = ", ".join(f"[{entry.name}](#{_anchor(entry.name)})" for entry in entries)
        contents.append(f"- {family}: {links}")
        sections += [f"## {family}", *map(_section, entries)]
    return "\n\n".join(["\n".join([INTRODUCTION, *contents]), *sections]) + "\n"


def _section(entry: Entry) -> str:
    proofs = "; ".join(_proof(entry, check) for check in entry.record.checks)
    inference = ["# in inference"] * bool(entry.inference_lines)
    inference += [line.text for line in entry.inference_lines]
    blocks = [
        f"### {entry.name}",
        f"{entry.computes} Code: [{entry.file}](../{entry.file})",
        *(
            f"{title.capitalize()}:\n\n```math\n{aligned(lines)}\n```"
            for title, lines in groups(entry).items()
        ),
        "\n".join([*_remarks(entry), f"- Verified on `{entry.example!r}`: {proofs}."]),
        "<details><summary>as text</summary>",
        "\n".join(["```python", *(line.text for line in entry.lines), *inference, "```"]),
        "</details>",
    ]
    return "\n\n".join(blocks)


def _remarks(entry: Entry) -> Iterator[str]:
    if entry.legend:
        yield f"- Where {'; '.join(legend(entry, '$`{}`$', '`{}`'))}."
    if entry.ranges:
        yield "- Ranges: " + ", ".join(f"$`{range_latex(*r)}`$" for r in entry.ranges.items())
    if entry.assumes:
        yield f"- {entry.assumes}"
    if entry.source:
        yield f"- Source: {entry.source}"


def _proof(entry: Entry, check: Check) -> str:
    """Say what was done, in words that are the same on every machine."""
    if check.ok is False:
        return f"**WRONG: {check.method}** {check.findings}"
    if check.method == COMPLEX and check.ok is None:
        return f"no complex step, {check.note}"
    return {
        FORMULAS: f"{FORMULAS} (error below {check.bound:.0e})",
        CENTRAL: f"{CENTRAL} (error below {check.bound:.0e})",
        COMPLEX: f"complex step {check.note} (below {check.bound:.0e})",
        KINKS: f"slopes {check.note}",
        RANGES: "ranges on a dense grid",
        SYMPY: f"SymPy (below {oracles.BOUND:.0e})",
        TORCH: f"PyTorch's `{entry.torch}` (below 1e-09)",
    }[check.method]


def _anchor(title: str) -> str:
    """Return GitHub's anchor of a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")
