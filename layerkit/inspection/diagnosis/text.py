"""The health report for a terminal: what was found, and the layers as a table."""

from __future__ import annotations

import textwrap

from layerkit.inspection.diagnosis.evidence import Verdict
from layerkit.inspection.diagnosis.report import HealthReport
from layerkit.inspection.shown import as_text
from layerkit.tables import percent, ruled, short_number, text_table

WIDTH = 100
HEADER = ("layer", "output", "range", "dead", "flat", "‖grad‖", "÷ next", "noise", "‖W‖", "step")
LEGEND = (
    "output: mean ± deviation; dead: units that never change; flat: outputs where a sigmoid or "
    "tanh is saturated; ‖grad‖: norm of the parameters' gradient; ÷ next: gradient that arrives, "
    "over that at the next such layer; noise: deviation of the batches' gradients over their "
    "mean (∞: no common direction); step: update over weights, by norm."
)


@as_text.register
def report_text(report: HealthReport) -> str:
    """The whole report."""
    findings = [_paragraphs(number, v) for number, v in enumerate(report.verdicts, 1)]
    heading, legend = ("\n".join(_wrapped(line, "", "")) for line in (title(report), LEGEND))
    return "\n\n".join([heading, *findings, _table([HEADER, *cells(report)]), legend])


def title(report: HealthReport) -> str:
    """What was found, in a sentence."""
    n, facts = len(report.verdicts), report.facts
    roots = sum(not v.follows_from for v in report.verdicts)
    found = "no problem found" if not n else f"{roots} problem{'s' * (roots > 1)} found"
    if n > roots:
        found += f", and {n - roots} that probably follow{'s' * (n - roots == 1)} from "
        found += "it" if roots == 1 else "them"
    if not facts.get("rows"):
        return found
    return (
        f"Health on {facts['rows']:,} rows: {found} "
        f"(loss {facts['loss']:.3g}, best constant {facts['constant_loss']:.3g})"
    )


def cells(report: HealthReport) -> list[tuple[str, ...]]:
    """The layers as they are printed, in the columns of `HEADER`."""
    return [
        (
            f"{row['path']} {row['layer'].partition('(')[0]}".strip(),
            f"{short_number(row['mean'])} ± {short_number(row['std'])}",
            f"{short_number(row['min'])} to {short_number(row['max'])}",
            percent(row["dead"]),
            percent(row["saturated"]),
            short_number(row["gradient_norm"]),
            short_number(row["gradient_ratio"]),
            short_number(row["gradient_noise"]),
            short_number(row["weight_norm"]),
            short_number(row["update_ratio"]),
        )
        for row in report.layers
    ]


def _paragraphs(number: int, verdict: Verdict) -> str:
    name = verdict.name if verdict.follows_from else verdict.name.upper()
    indent = " " * 3
    lines = _wrapped(f"{number}. {name} · {verdict.severity} · {verdict.layer}", "", indent)
    lines += _wrapped(verdict.evidence, indent, indent)
    remedy = what_to_do(verdict) if verdict.follows_from else f"Remedy: {verdict.remedy}"
    return "\n".join([*lines, *_wrapped(remedy, indent, indent)])


def what_to_do(verdict: Verdict) -> str:
    """What to do; of a symptom, which cause to cure."""
    cause = verdict.follows_from
    return f"Probably follows from {cause}: cure that first." if cause else verdict.remedy


def _wrapped(text: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
    )


def _table(rows: list[tuple[str, ...]]) -> str:
    right = [False] + [True] * (len(HEADER) - 1)
    numbers = text_table([row[1:] for row in rows], right[1:])
    room = max(WIDTH - len(numbers[0]) - 2, 20)
    return "\n".join(ruled(text_table([(_shortened(n, room), *rest) for n, *rest in rows], right)))


def _shortened(name: str, width: int) -> str:
    """Leave out the beginning of what is too long: its end names the layer."""
    return name if len(name) <= width else f"…{name[1 - width :]}"
