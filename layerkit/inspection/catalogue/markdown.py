r"""The catalogue as a page for GitHub.

Formulas stand in ``math`` blocks and between ``$` `` and `` `$``, where Markdown leaves ``_``,
``*``, ``|`` and ``\\`` alone. Nothing on the page depends on the machine: figures are bounds.
"""

from __future__ import annotations

from collections.abc import Iterator

from layerkit.inspection.catalogue import oracles, text
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
from layerkit.inspection.catalogue.gradients import GradientCatalogue
from layerkit.inspection.catalogue.html import aligned, legend
from layerkit.inspection.catalogue.latex import range_latex
from layerkit.inspection.catalogue.record import Check
from layerkit.inspection.shown import as_markdown

INTRODUCTION = r"""# Gradients

What every layer and every loss computes, its partial derivatives and its gradients. This page is
written by `gradient_catalogue().to_markdown("GRADIENTS.md")` and kept true by a test. Each formula
exists once, as a line of Python; from it come the text, the LaTeX, and the proof:

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
    parts = [INTRODUCTION]
    for family, entries in catalogue.families.items():
        links = ", ".join(f"[{entry.name}](#{_anchor(entry.name)})" for entry in entries)
        parts.append(f"- {family}: {links}")
    for family, entries in catalogue.families.items():
        parts += ["", f"## {family}"]
        parts += ["\n".join(["", *_page(entry)]) for entry in entries]
    return "\n".join(parts) + "\n"


def _page(entry: Entry) -> Iterator[str]:
    yield f"### {entry.name}"
    yield ""
    yield f"{entry.computes} Code: [{entry.file}]({entry.file})"
    for title, lines in text.groups(entry).items():
        yield ""
        yield f"{title.capitalize()}:"
        yield ""
        yield f"```math\n{aligned(lines)}\n```"
    yield ""
    yield from _remarks(entry)
    yield f"- Verified on `{entry.example!r}`: {'; '.join(_proofs(entry))}."
    yield ""
    yield "<details><summary>as text</summary>"
    yield ""
    yield "```python"
    for line in [*entry.lines, *entry.inference_lines]:
        if entry.inference_lines and line is entry.inference_lines[0]:
            yield "# in inference"
        yield line.text
    yield "```"
    yield ""
    yield "</details>"


def _remarks(entry: Entry) -> Iterator[str]:
    if entry.legend:
        yield f"- Where {'; '.join(legend(entry, '$`{}`$', '`{}`'))}."
    if entry.ranges:
        yield "- Ranges: " + ", ".join(f"$`{range_latex(*r)}`$" for r in entry.ranges.items())
    if entry.assumes:
        yield f"- {entry.assumes}"
    if entry.source:
        yield f"- Source: {entry.source}"


def _proofs(entry: Entry) -> Iterator[str]:
    for check in entry.record.checks:
        if check.ok is False:
            yield f"**WRONG: {check.method}** {check.findings}"
        else:
            yield _proof(entry, check)


def _proof(entry: Entry, check: Check) -> str:
    """Say what was done, in words that are the same on every machine."""
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
