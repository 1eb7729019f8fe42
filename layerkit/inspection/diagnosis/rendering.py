"""The health report: what was found, and the layers as a table, in a notebook with bars."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from html import escape

from layerkit.inspection.diagnosis.evidence import Verdict, level
from layerkit.inspection.diagnosis.report import HealthReport
from layerkit.inspection.shown import as_html, as_text
from layerkit.tables import LEFT, badge, html_table, percent, ruled, short_number, text_table

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
            f"{short_number(level(row['mean'], row['std']))} ± {short_number(row['std'])}",
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


# ---------------------------------------------------------------- for a notebook

COLORS = {"critical": "#cf222e", "warning": "#8f5a00"}  # behind white letters, on any page
BAR = 8  # characters of a full bar
DECADES = 4  # that the bar of a gradient spans
BARS = f"Bars of ‖grad‖ are logarithmic: an empty one is 1e-{DECADES} of the largest or less."


@as_html.register
def report_html(report: HealthReport) -> str:
    """The whole report."""
    parts = [f"<p><b>{escape(title(report))}</b></p>"]
    if report.verdicts:
        findings = [_finding(n, verdict) for n, verdict in enumerate(report.verdicts, 1)]
        parts.append(html_table(("finding", "where", "evidence", "remedy"), findings))
    styles = [LEFT] + ["text-align:right; white-space:nowrap"] * (len(HEADER) - 1)
    parts.append(html_table(HEADER, _layers(report), styles))
    parts.append(f"<p><small>{escape(LEGEND)} {BARS}</small></p>")
    return "".join(parts)


def _finding(number: int, verdict: Verdict) -> tuple[str, ...]:
    color = COLORS[verdict.severity]
    severity = f"<small>{badge(verdict.severity, color)}</small>"
    rest = (verdict.layer, verdict.evidence, what_to_do(verdict))
    return f"<b>{number}. {escape(verdict.name)}</b><br>{severity}", *map(escape, rest)


def _layers(report: HealthReport) -> Iterable[tuple[str, ...]]:
    """Cells of the table of layers; a layer that a finding names carries its number."""
    norms = [row["gradient_norm"] for row in report.layers]
    largest = max((x for x in norms if 0 < x < math.inf), default=1.0)
    at = HEADER.index
    for row, line in zip(report.layers, cells(report), strict=True):
        shown = [escape(cell) for cell in line]
        where = f"{row['path']} {row['layer']}".strip()
        named = [str(n) for n, v in enumerate(report.verdicts, 1) if v.layer == where]
        shown[0] = f"<b>{shown[0]} ({', '.join(named)})</b>" if named else shown[0]
        for column, share in (("dead", row["dead"]), ("flat", row["saturated"])):
            shown[at(column)] += _bar(share) if share > 0 else ""
        if math.isfinite(norm := row["gradient_norm"]):
            shown[at("‖grad‖")] += _bar(_on_log_scale(norm / largest))
        yield tuple(shown)


def _on_log_scale(ratio: float) -> float:
    return 1 + math.log10(ratio) / DECADES if ratio > 0 else 0.0


def _bar(share: float) -> str:
    """Draw a bar on a scale of 0 to 1 in letters, which a notebook that is not trusted keeps."""
    full = round(BAR * min(max(share, 0.0), 1.0))
    return f" <code>{'█' * full}{'░' * (BAR - full)}</code>"
