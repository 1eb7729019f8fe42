"""The health report for a notebook: what was found, and the layers with a bar for every share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

from layerkit.inspection.diagnosis.evidence import Verdict
from layerkit.inspection.diagnosis.report import HEADER, LEGEND, what_to_do

if TYPE_CHECKING:
    from layerkit.inspection.diagnosis.report import HealthReport

# No style sheet and no scripts: the page's own theme, light or dark, applies. Where a viewer drops
# the style attributes (GitHub does), only alignment, colours and bars are lost.
LEFT, RIGHT = "text-align:left; vertical-align:top", "text-align:right; white-space:nowrap"
COLORS = {"critical": "#e5484d", "warning": "#bf7710"}  # to be read on white and on black
BAR = 40  # pixels of a full bar
DECADES = 4  # that the bar of a gradient spans
BARS = f"Bars of ‖grad‖ are logarithmic: an empty one is 1e-{DECADES} of the largest or less."


def render(report: HealthReport) -> str:
    """The whole report."""
    parts = [f"<p><b>{escape(report.title)}</b></p>"]
    if report.verdicts:
        findings = [_finding(n, verdict) for n, verdict in enumerate(report.verdicts, 1)]
        parts.append(_table(("finding", "where", "evidence", "remedy"), findings, LEFT))
    parts.append(_table(HEADER, _layers(report), RIGHT))
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
    for row, cells in zip(report.layers, report.cells(), strict=True):
        shown = [escape(cell) for cell in cells]
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


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]], style: str) -> str:
    """A table whose first column is set to the left; cells are HTML."""

    def line(cells: tuple[str, ...], tag: str) -> str:
        styles = [LEFT, *[style] * (len(cells) - 1)]
        pairs = zip(styles, cells, strict=True)
        inner = "".join(f'<{tag} style="{s}">{cell}</{tag}>' for s, cell in pairs)
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"
