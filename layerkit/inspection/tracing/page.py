"""A trace as a page of its own, on which a reader steps through both passes, number by number.

All numbers and equations are in the page as it is written. Its script, in ``page.html``, only hides
what is not computed yet, and marks where a number came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from layerkit.inspection.shown import as_page
from layerkit.inspection.tracing.record import BackpropTrace, Equation, LayerStep, is_small
from layerkit.inspection.tracing.rendering import HEADER as COLUMNS
from layerkit.inspection.tracing.rendering import (
    array_text,
    descent_header,
    descent_rows,
    heading,
    is_walk,
    loss_change,
    table_rows,
)
from layerkit.tables import html_table, number

LOSS = "loss"
PLACE = re.compile(r"(dL/dy_pred|dL/d\w+|f'\(x\[[\d, ]*\]\)|\w+)(\[[\d, ]*\])?")


class Line(NamedTuple):
    """One step of the page: a text, the cells it computes, and those it computes them from."""

    where: str
    direction: str
    text: str
    makes: list[str]
    sources: list[str]


@as_page.register
def trace_page(trace: BackpropTrace) -> str:
    """Write the whole page."""
    template = (files(__package__) / "page.html").read_text(encoding="utf-8")
    if is_walk(trace):
        layers = "\n".join([*(_layer(trace, s) for s in trace.steps), _loss(trace)])
        lines = [*_forward(trace), *_backward(trace)]
    else:
        rows = [[escape(cell) for cell in row] for row in table_rows(trace)]
        layers, lines = html_table(COLUMNS, rows), list(_in_brief(trace))
    parts = {
        "title": escape(f"Backprop through {trace.network}"),
        "heading": escape(heading(trace)),
        "layers": layers,
        "steps": "\n".join(map(_item, lines)),
        "descent": _descent(trace),
    }
    return re.sub(r"<!-- (\w+) -->", lambda found: parts[found[1]], template)


def _item(line: Line) -> str:
    data = {
        "where": line.where,
        "pass": line.direction,
        "makes": "|".join(line.makes),
        "from": "|".join(line.sources),
    }
    said = " ".join(f'data-{name}="{escape(value)}"' for name, value in data.items())
    return f'<li class="line" {said}>{escape(line.text)}</li>'


# ---------------------------------------------------------------- the numbers


def _layer(trace: BackpropTrace, step: LayerStep) -> str:
    """Return what goes through a layer forwards and, beside it, backwards."""
    before = trace.steps[: trace.steps.index(step)]
    same = {"x": _made_by(before, step.input), "G": _sent_by(trace, step)}
    title = f"{escape(step.name)} <code>{escape(step.label)}</code>"
    return _section(step.name, title, step.values, step.gradients, same)


def _loss(trace: BackpropTrace) -> str:
    loss = trace.loss
    forward = {**loss.values, "L": np.array([loss.value])}
    same = {"y_pred": _made_by(trace.steps, loss.y_pred)}
    title = f"loss <code>{escape(loss.label)}</code>"
    return _section(LOSS, title, forward, {"dL/dy_pred": loss.gradient}, same)


def _made_by(steps: list[LayerStep], array: np.ndarray) -> str:
    """Name the last output that is this array; nothing for the data."""
    made = [step.name for step in steps if np.array_equal(step.output, array)]
    return f"{made[-1]} y" if made else ""


def _sent_by(trace: BackpropTrace, step: LayerStep) -> str:
    """Name the gradient that arrived at this layer's output."""
    for later in trace.steps[trace.steps.index(step) + 1 :]:
        if later.grad_input is not None and np.array_equal(later.grad_input, step.grad_output):
            return f"{later.name} dL/dx"
    return f"{LOSS} dL/dy_pred" if np.array_equal(trace.loss.gradient, step.grad_output) else ""


def _section(
    name: str,
    title: str,
    forward: dict[str, np.ndarray],
    backward: dict[str, np.ndarray],
    same: dict[str, str],
) -> str:
    sides = []
    for heading_, arrays in (("forward ↓", forward), ("backward ↑", backward)):
        tables = "".join(
            _table(name, key, array, same.get(key, ""), backward) for key, array in arrays.items()
        )
        sides.append(f'<div class="side" data-name="{heading_}">{tables}</div>')
    both = f'<div class="sides">{"".join(sides)}</div>'
    return f'<section class="layer"><h2>{title}</h2>{both}</section>'


def _table(layer: str, name: str, array: np.ndarray, same: str, gradients: Iterable[str]) -> str:
    """Return an array of few numbers as cells that know their names, a row for each last axis."""
    if not is_small(array) or not array.size:
        return f"<div><code>{escape(array_text(name, array))}</code></div>"
    gradient = f"dL/d{name}" if f"dL/d{name}" in gradients else ""
    rows = ["<tr>"]
    for index in np.ndindex(array.shape):
        if index and index[-1] == 0 and len(rows) > 1:
            rows.append("</tr><tr>")
        place = f"[{', '.join(map(str, index))}]"
        data = {"id": f"{layer} {name}{place}"}
        data |= {"grad": f"{layer} {gradient}{place}"} if gradient else {}
        data |= {"same": f"{same}{place}"} if same else {}
        said = " ".join(f'data-{key}="{escape(value)}"' for key, value in data.items())
        title = f'tabindex="0" title="{escape(name + place)}"'
        rows.append(f"<td {title} {said}>{_value(array[index])}</td>")
    caption = "G = dL/dy" if name == "G" else escape(name)
    return f"<table><caption>{caption}</caption>{''.join(rows)}</tr></table>"


def _value(entry: Any) -> str:
    return number(entry) if np.asarray(entry).dtype.kind in "fiub" else escape(str(entry))


# ---------------------------------------------------------------- the steps


def _forward(trace: BackpropTrace) -> Iterator[Line]:
    for step in trace.steps:
        where = f"forward through {step.name}"
        yield from _lines(step, where, "forward", step.forward, {"y": step.output})
    where = "the loss"
    for equation in trace.loss.forward or [Equation("L", "", "", trace.loss.value)]:
        sources = _cells(LOSS, {"y_pred": trace.loss.y_pred, "y_true": trace.loss.y_true})
        yield Line(where, "forward", str(equation), [f"{LOSS} L[0]"], sources)


def _backward(trace: BackpropTrace) -> Iterator[Line]:
    where = "back from the loss"
    for equation in trace.loss.backward:
        target = _names(LOSS, equation.left, False)
        sources = [name.replace("dL/dy_pred", y) for name in target for y in ("y_pred", "y_true")]
        yield Line(where, "backward", str(equation), target, sources)
    if not trace.loss.backward:
        yield _whole(LOSS, where, "backward", "dL/dy_pred", trace.loss.gradient)
    for step in reversed(trace.steps):
        where = f"backward through {step.name}"
        locals_ = {"f'(x)": step.local.values} if step.local.elementwise else {}
        yield from _lines(step, where, "backward", step.derivatives, locals_)
        left_out = {"G", "f'(x)", *(f"dL/d{name}" for name in step.grads if step.frozen)}
        grads = {name: grad for name, grad in step.gradients.items() if name not in left_out}
        yield from _lines(step, where, "backward", step.backward, grads)


def _lines(
    step: LayerStep,
    where: str,
    direction: str,
    equations: list[Equation],
    arrays: dict[str, np.ndarray],
) -> Iterator[Line]:
    """Yield a line for each equation, and one for each array that no equation makes."""
    made: set[str] = set()
    for equation in equations:
        target = _names(step.name, equation.left, step.is_neuron)
        made |= {name.partition("[")[0] for name in target}
        sources = _names(step.name, equation.symbols, step.is_neuron)
        yield Line(where, direction, str(equation), target, sources)
    for name, array in arrays.items():
        if f"{step.name} {name}" not in made and is_small(array):
            came = {"x": step.input} if direction == "forward" else {"G": step.grad_output}
            line = _whole(step.name, where, direction, name, array)
            yield line._replace(sources=_cells(step.name, came))


def _whole(layer: str, where: str, direction: str, name: str, array: np.ndarray) -> Line:
    """Return a line for an array that is not written out number by number."""
    return Line(where, direction, array_text(name, array), _cells(layer, {name: array}), [])


def _cells(layer: str, arrays: dict[str, np.ndarray]) -> list[str]:
    return [
        f"{layer} {name}[{', '.join(map(str, index))}]"
        for name, array in arrays.items()
        if is_small(array)
        for index in np.ndindex(array.shape)
    ]


def _names(layer: str, text: str, is_neuron: bool) -> list[str]:
    """Find the cells that an equation speaks of."""
    if is_neuron:
        return [f"{layer} {name}" for name in _in_textbooks(text)]
    found = []
    for name, place in PLACE.findall(text):
        if name.startswith("f'("):
            found.append(f"{layer} f'(x){name[4:-1]}")
        elif place:
            found.append(f"{layer} {name}{place}")
    return list(dict.fromkeys(found))


def _in_textbooks(text: str) -> Iterator[str]:
    """Find the cells of z = w1 x1 + w2 x2 + b; dz/dw1 is x1, and dz/dx1 is w1."""
    for derivative, letter, digits in re.findall(r"(dL/d|dz/d)?([wxbz])(\d*)", text):
        place = int(digits or 1) - 1
        cells = {"x": f"x[0, {place}]", "w": f"W[{place}, 0]", "b": "b[0]", "z": "y[0, 0]"}
        if derivative == "dz/d":
            yield from {"w": [cells["x"]], "x": [cells["w"]]}.get(letter, [])
        elif derivative and letter == "z":
            yield "G[0, 0]"
        else:
            yield derivative + cells[letter]


def _in_brief(trace: BackpropTrace) -> Iterator[Line]:
    """Yield the passes of a large network, a line for each layer."""
    for step in trace.steps:
        where = f"forward through {step.name}"
        yield Line(where, "forward", array_text(f"{step.name} y", step.output), [], [])
    yield Line("the loss", "forward", f"L = {number(trace.loss.value)}", [], [])
    for step in reversed(trace.steps):
        for name, grad in step.grads.items():
            text = array_text(f"dL/d{step.name}.{name}", grad)
            yield Line(f"backward through {step.name}", "backward", text, [], [])


def _descent(trace: BackpropTrace) -> str:
    if trace.descent is None:
        return ""
    head = map(escape, descent_header(trace.descent))
    rows = [map(escape, row) for row in descent_rows(trace.descent)]
    title = escape(f"One step of {trace.descent.optimizer}")
    change = escape(loss_change(trace.descent))
    return f"<h2>{title}</h2>{html_table(head, rows)}<p>{change}</p>"
