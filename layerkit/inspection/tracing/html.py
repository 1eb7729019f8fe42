"""A trace as HTML: a table, forward down its left side and backward up its right side."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from layerkit.inspection.shown import as_html
from layerkit.inspection.tracing import text
from layerkit.inspection.tracing.record import BackpropTrace, Descent, Equation
from layerkit.tables import html_table


@as_html.register
def trace_html(trace: BackpropTrace) -> str:
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
    rows: list[tuple[str, str, str]] = []
    for step in trace.steps:
        forward, backward = text.forward_arrays(step), text.backward_arrays(step)
        name = f"<b>{escape(step.name)}</b>{_code([step.label, step.local.formula])}"
        rows += [(_code(forward), name, _code(reversed(backward))), ("↓", "", "↑")]
    loss = trace.loss
    name = f"<b>loss</b>{_code([loss.label, *text.loss_formulas(loss)])}"
    forward, backward = text.loss_forward_arrays(loss), text.loss_backward_arrays(loss)
    rows.append((_code(forward), name, _code(backward)))
    return html_table(("forward ↓", "", "backward ↑"), rows)


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
    lines = [line for block in blocks for line in text.aligned(block)]
    if not lines:
        return ""
    return f"<details open><summary>{escape(title)}</summary>{_code(lines)}</details>"


def _descent(descent: Descent) -> str:
    rows = [text.descent_header(descent), *text.descent_rows(descent)]
    change = escape(text.loss_change(descent))
    return f"{_bold(f'One step of {descent.optimizer}')}{_table(rows)}<p>{change}</p>"


def _bold(line: str) -> str:
    return f"<p><b>{escape(line)}</b></p>"


def _code(lines: Iterable[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = ([escape(cell) for cell in row] for row in rows)
    return html_table(head, body)
