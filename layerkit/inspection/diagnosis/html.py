"""The health report for a notebook: what was found, and the layers with a bar for every share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape

from layerkit.inspection.diagnosis.evidence import Verdict
from layerkit.inspection.diagnosis.report import HealthReport
from layerkit.inspection.diagnosis.text import HEADER, LEGEND, cells, title, what_to_do
from layerkit.inspection.shown import as_html
from layerkit.tables import LEFT, html_table

COLORS = {"critical": "#e5484d", "warning": "#bf7710"}  # to be read on white and on black
BAR = 40  # pixels of a full bar
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
    severity = f'<small style="color:{color}">{verdict.severity}</small>'
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
    """A bar on a scale of 0 to 1."""
    width = round(BAR * min(max(share, 0.0), 1.0))
    box = "display:inline-block; height:0.7em; background:currentColor; opacity:"
    bar = f'<span style="{box}0.5; width:{width}px"></span>'
    rest = f'<span style="{box}0.1; width:{BAR - width}px"></span>'
    return f'<span style="white-space:nowrap; margin-left:6px">{bar}{rest}</span>'
