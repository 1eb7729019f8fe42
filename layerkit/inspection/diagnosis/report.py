"""The report: what was measured and what follows, for a terminal, a notebook or a program."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from layerkit.inspection.diagnosis.evidence import Evidence, Verdict
from layerkit.inspection.diagnosis.ranking import verdicts
from layerkit.inspection.diagnosis.statistics import LayerStatistics, Recorder

WIDTH = 100
HEADER = ("layer", "output", "range", "dead", "flat", "‖grad‖", "÷ next", "noise", "‖W‖", "step")
LEGEND = (
    "output: mean ± deviation; dead: units that never change; flat: outputs where a sigmoid or "
    "tanh is saturated; ‖grad‖: norm of the parameters' gradient; ÷ next: gradient that arrives, "
    "over that at the next such layer; noise: deviation of the batches' gradients over their "
    "mean (∞: no common direction); step: update over weights, by norm."
)


@dataclass
class HealthReport:
    """What `health` and `HealthMonitor` found.

    Attributes
    ----------
    verdicts : list of Verdict
        Most likely root cause first; then other roots; then what follows from them
        (``follows_from`` names the cause). Each has ``name``, ``layer``, ``severity``,
        ``evidence`` and ``remedy``.
    layers : list of dict
        A row for each layer that is no container: ``path``, ``layer``, ``mean``, ``std``, ``min``,
        ``max`` of its output, ``dead`` (share of units), ``saturated`` (share of outputs),
        ``gradient_norm``, ``gradient_ratio``, ``gradient_noise``, ``weight_norm``,
        ``update_ratio``, ``not_finite``. NaN where there is no such number.
    facts : dict
        Of the network as a whole: ``rows``, ``loss`` (inference mode), ``training_loss``,
        ``constant_loss`` (of the best constant prediction), ``trained``.

    Examples
    --------
    >>> report = HealthReport([], [], {"rows": 10})
    >>> report.healthy
    True
    """

    verdicts: list[Verdict]
    layers: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether there is no verdict."""
        return not self.verdicts

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, for JSON or a data frame."""
        found = [verdict._asdict() for verdict in self.verdicts]
        return {"verdicts": found, "layers": self.layers, "facts": self.facts}

    def __str__(self) -> str:
        title = "\n".join(_wrapped(self.title, "", ""))
        found = [_paragraphs(number, v) for number, v in enumerate(self.verdicts, 1)]
        legend = "\n".join(_wrapped(LEGEND, "", ""))
        return "\n\n".join([title, *found, _table(self.cells()), legend])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from layerkit.inspection.diagnosis.html import render

        return render(self)

    @property
    def title(self) -> str:
        """What was found, in a sentence."""
        n, facts = len(self.verdicts), self.facts
        roots = sum(not v.follows_from for v in self.verdicts)
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

    def cells(self) -> list[tuple[str, ...]]:
        """The layers as they are printed, in the columns of `HEADER`."""
        return [
            (
                f"{row['path']} {row['layer'].partition('(')[0]}".strip(),
                f"{_number(row['mean'])} ± {_number(row['std'])}",
                f"{_number(row['min'])} to {_number(row['max'])}",
                _percent(row["dead"]),
                _percent(row["saturated"]),
                _number(row["gradient_norm"]),
                _number(row["gradient_ratio"]),
                _number(row["gradient_noise"]),
                _number(row["weight_norm"]),
                _number(row["update_ratio"]),
            )
            for row in self.layers
        ]


def report_on(evidence: Evidence) -> HealthReport:
    """Draw the verdicts and tabulate the measurements."""
    updates = evidence.course.updates
    facts = {
        "rows": len(evidence.rows),
        "loss": evidence.now.loss,
        "training_loss": evidence.now.training_loss,
        "constant_loss": evidence.constant,
        "trained": evidence.trained,
    }
    with np.errstate(all="ignore"):  # numbers that ran away are a finding, not an accident
        found, rows = verdicts(evidence), _rows(evidence.now.recorder, updates)
    return HealthReport(found, rows, facts)


def _rows(recorder: Recorder, updates: dict[str, list[float]]) -> list[dict[str, Any]]:
    trained = [s for s in recorder.layers if s.has_params]
    following = dict(zip([s.path for s in trained], trained[1:], strict=False))
    return [_row(s, following.get(s.path), updates.get(s.path, [])) for s in recorder.layers]


def _row(
    s: LayerStatistics, following: LayerStatistics | None, updates: list[float]
) -> dict[str, Any]:
    ratio = math.nan
    if following is not None and following.arrived.norm > 0:
        ratio = s.arrived.norm / following.arrived.norm
    return {
        "path": s.path,
        "layer": s.label,
        "mean": s.output.mean,
        "std": s.output.std,
        "min": s.output.low,
        "max": s.output.high,
        "dead": s.dead,
        "saturated": s.saturated,
        "gradient_norm": s.gradient_norm,
        "gradient_ratio": ratio,
        "gradient_noise": s.noise,
        "weight_norm": s.weight_norm,
        "update_ratio": float(np.median(updates)) if updates else math.nan,
        "not_finite": s.output.not_finite,
    }


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value and not 1e-3 <= abs(value) < 1e4:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) or value == 0 else f"{value:.0%}"


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
    table = [HEADER, *rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEADER))]
    widths[0] = min(widths[0], max(WIDTH - sum(widths[1:]) - 2 * len(widths[1:]), 20))
    lines = [
        "  ".join(
            cell.rjust(width) if i else _shortened(cell, width).ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    ]
    rule = "-" * max(map(len, lines))
    return "\n".join([lines[0], rule, *lines[1:]])


def _shortened(name: str, width: int) -> str:
    """Leave out the beginning of what is too long: its end names the layer."""
    return name if len(name) <= width else f"…{name[1 - width :]}"
