"""A trace as HTML: a table, forward down its left side and backward up its right side."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING

from layerkit.inspection.tracing import text
from layerkit.inspection.tracing.equations import Equation, aligned

if TYPE_CHECKING:
    from layerkit.inspection.tracing.record import BackpropTrace, Descent

# No colours and no scripts: the page's own theme, light or dark, applies. Where a viewer drops the
# style attributes (GitHub does), only alignment is lost.
LEFT = ' style="text-align:left; vertical-align:top"'


def render(trace: BackpropTrace) -> str:
    """The whole trace."""
    parts = [_bold(text.heading(trace))]
    if text.is_walk(trace):
        parts += [_passes(trace), _numbers(trace)]
    else:
        parts.append(_table([text.HEADER, *text.table_rows(trace)]))
    if trace.descent is not None:
        parts.append(_descent(trace.descent))
    return "".join(parts)


def _passes(trace: BackpropTrace) -> str:
    """Values and gradients of each layer, side by side; arrows between the layers.

    The right side is to be read from the bottom: G comes in there, dL/dx goes out at the top.
    """
    rows = [
        _row(
            _code(text.forward_arrays(step)),
            f"<b>{html.escape(step.name)}</b>{_code([step.label, step.local.formula])}",
            _code(reversed(text.backward_arrays(step))),
        )
        for step in trace.steps
    ]
    loss = trace.loss
    formulas = [loss.label, *text.loss_formulas(loss)]
    rows.append(
        _row(
            _code(text.loss_forward_arrays(loss)),
            f"<b>loss</b>{_code(formulas)}",
            _code(text.loss_backward_arrays(loss)),
        )
    )
    head = _row("forward ↓", "", "backward ↑", tag="th")
    body = _row("↓", "", "↑").join(rows)
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"


def _numbers(trace: BackpropTrace) -> str:
    """The equations, in the order in which they are computed."""
    loss, steps = trace.loss, trace.steps
    return "".join(
        [
            *(_equations(f"↓ {step.name}", step.forward) for step in steps),
            _equations("↓ loss", loss.forward),
            _equations("↑ loss", loss.backward),
            *(_equations(f"↑ {s.name}", s.derivatives, s.backward) for s in reversed(steps)),
        ]
    )


def _equations(title: str, *blocks: list[Equation]) -> str:
    lines = [line for block in blocks for line in aligned(block)]
    if not lines:
        return ""
    return f"<details open><summary>{html.escape(title)}</summary>{_code(lines)}</details>"


def _descent(descent: Descent) -> str:
    rows = [text.descent_header(descent), *text.descent_rows(descent)]
    change = html.escape(text.loss_change(descent))
    return f"{_bold(f'One step of {descent.optimizer}')}{_table(rows)}<p>{change}</p>"


def _bold(line: str) -> str:
    return f"<p><b>{html.escape(line)}</b></p>"


def _code(lines: Iterable[str]) -> str:
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def _row(*cells: str, tag: str = "td") -> str:
    return f"<tr>{''.join(f'<{tag}{LEFT}>{cell}</{tag}>' for cell in cells)}</tr>"


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = ([html.escape(cell) for cell in row] for row in rows)
    lines = "".join(_row(*cells) for cells in body)
    return f"<table><thead>{_row(*head, tag='th')}</thead><tbody>{lines}</tbody></table>"
