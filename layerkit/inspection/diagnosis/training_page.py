"""A page that grows while a network trains: curves, then what the health report found."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html import escape
from os import PathLike, replace
from pathlib import Path
from typing import Any

import numpy as np

from layerkit.inspection.diagnosis.monitor import HealthMonitor
from layerkit.inspection.diagnosis.report import HealthReport
from layerkit.inspection.shown import as_html
from layerkit.tables import html_table, number, short_number
from layerkit.training import History, TrainingState

WIDTH, HEIGHT, MARGIN = 640, 220, 48
COLORS = {"training": "#2f81f7", "validation": "#d9730d"}  # 3 : 1 and more on white and on black
TICKS = 4
REFRESH = '<meta http-equiv="refresh" content="2">'
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">{refresh}
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem; }}
table {{ display: block; overflow-x: auto; }}
td, th {{ padding: 0.1rem 0.6rem; }}
@media (max-width: 40rem) {{ /* what was found, with its badge, evidence and remedy below it */
  table:has(small) thead {{ display: none; }}
  table:has(small) td {{ display: block; }}
}}
</style>
</head>
<body>
"""


class TrainingPage(HealthMonitor):
    """A `HealthMonitor` that shows what it watches: a page of curves that grow with every epoch.

    In a notebook the page is an output that renews itself; with a path it is a file that a browser
    shows and, as long as training lasts, loads again every two seconds. It needs no server and
    nothing from the network. At the end it holds the health report.

    Parameters
    ----------
    path : str or path, optional
        The file to write after every epoch.
    every : int, default=50
        Watch the update of one step in so many, as `HealthMonitor` does.
    keep_rows : int, default=1024
        How many rows of the first epoch it keeps for the report.

    Attributes
    ----------
    losses, steps, updates
        Those of `HealthMonitor`.

    See Also
    --------
    HealthMonitor : The same without a page.
    TrainingCurveDisplay : The curves as a picture, afterwards.

    Examples
    --------
    >>> from layerkit import Dense, ReLU, Sequential
    >>> from layerkit.datasets import load_digits
    >>> from layerkit.inspection import TrainingPage
    >>> from layerkit.losses import CategoricalCrossEntropy
    >>> from layerkit.optimizers import Adam
    >>> from layerkit.training import train
    >>> page = TrainingPage()
    >>> X, y = load_digits()
    >>> net = Sequential([Dense(32), ReLU(), Dense(10)])
    >>> _ = train(net, CategoricalCrossEntropy(), Adam(1e-2), (X.reshape(-1, 64), y), epochs=2,
    ...           callbacks=[page], random_state=0)
    >>> "2 epochs" in page.to_html()
    True
    """

    def __init__(
        self, path: str | PathLike | None = None, *, every: int = 50, keep_rows: int = 1024
    ) -> None:
        super().__init__(every, keep_rows)
        self.path = None if path is None else Path(path)
        self._output: Any = None

    def __call__(self, state: TrainingState) -> None:
        """Show the epoch that was just done."""
        super().__call__(state)
        self._show(state.history)

    def on_end(self, state: TrainingState) -> None:
        """Show the health report."""
        super().on_end(state)
        self._show(state.history, self.report())

    def to_html(self) -> str:
        """Return the page as it is now, with the health report.

        Returns
        -------
        page : str
            In HTML.

        Raises
        ------
        RuntimeError
            If no training was watched.
        """
        report = self.report()  # which says so if there was none
        assert self.state is not None
        return _page(self.state.history, report)

    def _begin(self, state: TrainingState) -> None:
        super()._begin(state)
        self._output = None  # a run of its own, an output of its own

    def _show(self, history: History, report: HealthReport | None = None) -> None:
        if self.path is not None:  # a browser never sees half a page
            part = self.path.with_name(f"{self.path.name}.part")
            part.write_text(_page(history, report), encoding="utf-8")
            replace(part, self.path)
        if "ipykernel" in sys.modules:
            from IPython.display import HTML, display

            shown = HTML(_content(history, report))
            if self._output is None:
                self._output = display(shown, display_id=True)
            else:
                self._output.update(shown)


def _page(history: History, report: HealthReport | None) -> str:
    refresh = "" if report else f"\n{REFRESH}"
    head = HEAD.format(refresh=refresh, title=f"Training, {len(history)} epochs")
    return f"{head}{_content(history, report)}\n</body>\n</html>\n"


def _content(history: History, report: HealthReport | None) -> str:
    state = "training goes on" if report is None else history.stopped or "done"
    parts = [f"<p><b>{len(history)} epochs: {escape(state)}</b></p>"]
    for name, curves in _charts(history):
        parts.append(_chart(name, curves, history.best_epoch))
    header = history.columns
    rows = [[number(row.get(name, np.nan)) for name in header] for row in history.rows[-3:]]
    parts.append(html_table(map(escape, header), rows))
    return "\n".join([*parts, as_html(report) if report else ""])


def _charts(history: History) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yield the name of each chart and its curves."""
    columns = history.columns
    if "loss" in columns:
        curves = {"training": history["loss"]}
        if "validation_loss" in columns:
            curves["validation"] = history["validation_loss"]
        yield "loss", curves
    if "validation_score" in columns:
        yield "score", {"validation": history["validation_score"]}


def _chart(name: str, curves: dict[str, np.ndarray], best_epoch: int | None) -> str:
    """Draw curves over the epochs, in SVG."""
    values = np.concatenate([*curves.values()])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    high = high if high > low else low + max(abs(low), 1)
    n = max(len(curve) for curve in curves.values())

    def place(epoch: float, value: float) -> tuple[float, float]:
        x = MARGIN + (epoch - 1) / max(n - 1, 1) * (WIDTH - 2 * MARGIN)
        return x, HEIGHT - 30 - (value - low) / (high - low) * (HEIGHT - 60)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" style="max-width:{WIDTH}px" role="img" '
        f'fill="currentColor" font-size="12"><title>{_in_words(name, curves)}</title>'
    ]
    for tick in np.linspace(low, high, TICKS):
        y = place(1, tick)[1]
        line = f'x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}"'
        parts.append(f'<line {line} stroke="currentColor" stroke-opacity="0.2"/>')
        parts.append(f'<text x="4" y="{y + 4:.1f}">{short_number(tick)}</text>')
    if best_epoch:
        x = place(best_epoch, low)[0]
        line = f'x1="{x:.1f}" x2="{x:.1f}" y1="30" y2="{HEIGHT - 30}"'
        parts.append(f'<line {line} stroke="currentColor" stroke-dasharray="2 4"/>')
    for k, (label, curve) in enumerate(curves.items()):
        finite = [place(epoch, v) for epoch, v in enumerate(curve, 1) if np.isfinite(v)]
        parts += _curve(finite, COLORS[label])
        x = MARGIN + 100 * k
        parts.append(f'<text x="{x}" y="16" style="fill:{COLORS[label]}">{label} {name}</text>')
    parts.append(f'<text x="{MARGIN}" y="{HEIGHT - 8}">epoch 1</text>')
    parts.append(f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 8}" text-anchor="end">{n}</text></svg>')
    return "".join(parts)


def _curve(places: Sequence[tuple[float, float]], color: str) -> list[str]:
    """Draw a line, or a dot where there is one place."""
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    drawn = [f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>']
    if len(places) == 1:
        (x, y) = places[0]
        drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>')
    return drawn


def _in_words(name: str, curves: dict[str, np.ndarray]) -> str:
    """Say what the chart shows, for those who do not see it."""
    ends = (f"{label} {number(c[0])} to {number(c[-1])}" for label, c in curves.items() if len(c))
    return f"{name}: {', '.join(ends)}"
