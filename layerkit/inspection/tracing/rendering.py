"""A trace as text, small networks number by number, large ones as a table; and as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape

import numpy as np

from layerkit.inspection.shown import as_html, as_text
from layerkit.inspection.tracing.record import (
    BackpropTrace,
    Descent,
    Equation,
    LayerStep,
    LossStep,
    ThroughTime,
    is_small,
)
from layerkit.sequences import Sequences
from layerkit.tables import html_table, number, text_table

MOST_STEPS = 12
"""A trace of more layers is shown as a table, and of a recurrent layer so many steps."""

MOST_UNITS = 2
"""Of states of more numbers only norms are shown."""

HEADER = ("layer", "output", "mean", "std", "min", "max", "norm of dL/dy", "norms of gradients")


@as_text.register
def trace_text(trace: BackpropTrace) -> str:
    """Both passes, in the order in which they run."""
    lines = [heading(trace), ""]
    if not is_walk(trace):
        lines += table_lines([HEADER, *table_rows(trace)])
        lines += ["", 'trace["name"] shows one layer in full.']
        for step in trace.steps:
            lines += ["", *time_lines(step)] if step.time else []
    else:
        lines += ["FORWARD, downwards"]
        for step in trace.steps:
            lines += [title(step), *indented(forward_lines(step))]
        lines += [f"loss  {trace.loss.label}", *indented(loss_forward_lines(trace.loss))]
        lines += ["", "BACKWARD, upwards"]
        lines += [f"loss  {trace.loss.label}", *indented(loss_backward_lines(trace.loss))]
        for step in reversed(trace.steps):
            lines += [title(step), *indented(backward_lines(step))]
    if trace.descent is not None:
        rows = [descent_header(trace.descent), *descent_rows(trace.descent)]
        lines += ["", f"ONE STEP of {trace.descent.optimizer}"]
        lines += indented([*table_lines(rows), loss_change(trace.descent)])
    return "\n".join(lines)


def heading(trace: BackpropTrace) -> str:
    """What was traced, and the loss."""
    mode = "training" if trace.training else "inference"
    return (
        f"Backprop through {trace.network} in {mode} mode: "
        f"L = {number(trace.loss.value)}, {trace.loss.label}"
    )


def is_walk(trace: BackpropTrace) -> bool:
    """Whether all layers are few and small enough to show every number."""
    small = all(is_small(s.input, s.output, *s.params.values()) for s in trace.steps)
    return small and len(trace.steps) <= MOST_STEPS


def title(step: LayerStep) -> str:
    """Name, layer and shapes."""
    frozen = ", frozen" if step.frozen else ""
    return f"{step.name}  {step.label}{frozen}  {step.input.shape} -> {step.output.shape}"


# ---------------------------------------------------------------- one layer


@as_text.register
def step_text(step: LayerStep) -> str:
    """Both passes of one layer in full."""
    return "\n".join([title(step), *indented([*forward_lines(step), *backward_lines(step)])])


def forward_lines(step: LayerStep) -> list[str]:
    """What came in, the parameters, how they make what goes out."""
    *before, after = forward_arrays(step)
    return [*before, *aligned(step.forward), after]


def forward_arrays(step: LayerStep) -> list[str]:
    """Input, parameters and output, a text for each."""
    renamed = {"y": "z"} if step.is_neuron else {}
    return _texts(step.values, renamed)


def backward_lines(step: LayerStep) -> list[str]:
    """The gradient that came in, the local derivatives, the chain rule, what went out."""
    before, *after = backward_arrays(step)
    local = [] if step.is_neuron else [f"local: {step.local.formula}"]
    written = [*aligned(step.derivatives), *aligned(step.backward)]
    return [before, *local, *time_lines(step), *written, *after]


def backward_arrays(step: LayerStep) -> list[str]:
    """Gradient of the output, f'(x), gradients of parameters and of the input, a text for each."""
    return _texts(step.gradients, {"G": "dL/dz" if step.is_neuron else "G = dL/dy"})


def loss_forward_lines(loss: LossStep) -> list[str]:
    """Prediction, target, value."""
    *before, value = loss_forward_arrays(loss)
    return [*before, *loss_formulas(loss)[:1], *(aligned(loss.forward) or [value])]


def loss_forward_arrays(loss: LossStep) -> list[str]:
    """Prediction, target and value, a text for each."""
    return [*_texts(loss.values, {}), f"L = {number(loss.value)}"]


def _texts(arrays: dict[str, np.ndarray], renamed: dict[str, str]) -> list[str]:
    return [array_text(renamed.get(name, name), array) for name, array in arrays.items()]


def loss_backward_lines(loss: LossStep) -> list[str]:
    """Where the gradient starts."""
    gradient = array_text("dL/dy_pred", loss.gradient)
    return [*loss_formulas(loss)[1:], *aligned(loss.backward), gradient]


def loss_formulas(loss: LossStep) -> list[str]:
    """Value and derivative of one sample, where the loss documents them."""
    if not (loss.value_formula and loss.derivative_formula):
        return []
    return [f"v = {loss.value_formula}", f"dv/dy_pred = {loss.derivative_formula}"]


def descent_header(descent: Descent) -> tuple[str, ...]:
    """Columns, with the rule where it is that of plain gradient descent."""
    step = f"step = -{number(descent.rate)} × gradient" if descent.is_plain else "step"
    return "parameter", "before", "gradient", step, "after"


def descent_rows(descent: Descent) -> Iterator[tuple[str, ...]]:
    """One row a number for small parameters, a row of norms for large ones."""
    for name, before in descent.before.items():
        columns = before, descent.grads[name], descent.steps[name], descent.after[name]
        if is_small(before):
            for index in np.ndindex(before.shape):
                place = f"{name}[{', '.join(map(str, index))}]"
                yield place, *(number(column[index]) for column in columns)
        else:
            yield f"|{name}|", *(number(np.linalg.norm(column)) for column in columns)


def loss_change(descent: Descent) -> str:
    """The loss before and after."""
    change = descent.loss_after - descent.loss_before
    return (
        f"L before {number(descent.loss_before)}, after {number(descent.loss_after)}: "
        f"{'down' if change < 0 else 'up'} by {number(abs(change))}"
    )


# ---------------------------------------------------------------- the table of a large network


def table_rows(trace: BackpropTrace) -> Iterator[tuple[str, ...]]:
    """One row for the input, then one a layer, then the loss."""
    first = trace.steps[0]  # a trace without steps is a walk
    yield _row("input", first.input, first.grad_input, "")
    for step in trace.steps:
        grads = ", ".join(
            f"|dL/d{name}| {number(np.linalg.norm(grad))} (|{name}| "
            f"{number(np.linalg.norm(step.params[name]))})"
            for name, grad in step.grads.items()
        )
        yield _row(step.name, step.output, step.grad_output, grads)


def _row(name: str, y: np.ndarray, grad: np.ndarray | None, grads: str) -> tuple[str, ...]:
    norm = "" if grad is None else number(np.linalg.norm(grad))
    statistics = [y.mean(), y.std(), y.min(), y.max()] if y.size else [np.nan] * 4
    return name, str(y.shape), *map(number, statistics), norm, grads


def table_lines(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Columns of numbers to the right, words to the left."""
    rows = list(rows)
    return text_table(rows, [_is_number(cell) for cell in rows[-1]])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- steps of time


@as_text.register
def time_text(time: ThroughTime) -> str:
    """The table of all steps."""
    return "\n".join(table_lines(time_rows(time)))


def time_lines(step: LayerStep) -> list[str]:
    """The table of a recurrent layer's steps under its name; nothing for other layers."""
    if step.time is None:
        return []
    return [f"{step.name} through time{_of_what(step.time)}", *table_lines(time_rows(step.time))]


def time_rows(time: ThroughTime) -> list[tuple[str, ...]]:
    """A header, and a row for each step of each row; of large ones the norms, over all rows."""
    columns, h = time.values | time.gradients, time.values["h"]
    if _is_written_out(time):
        places = [(n, t) for n, row in enumerate(h) for t in range(len(row))]
        rows = [(f"{n}", f"{t}", *(_vector(c[n][t]) for c in columns.values())) for n, t in places]
        return [("row", "t", *columns), *rows]
    time_of = h.places
    n_rows = np.bincount(time_of)
    norms = [_norms_by_step(column, time_of) for column in columns.values()]
    shown = sorted(set(np.linspace(0, len(n_rows) - 1, MOST_STEPS).astype(int).tolist()))
    rows = [(f"{t}", f"{n_rows[t]}", *(number(norm[t]) for norm in norms)) for t in shown]
    return [("t", "rows", *(f"|{name}|" for name in columns)), *rows]


def _of_what(time: ThroughTime) -> str:
    return "" if _is_written_out(time) else ", norms over all rows"


def _is_written_out(time: ThroughTime) -> bool:
    h = time.values["h"].steps
    return is_small(h) and h.shape[1] <= MOST_UNITS


def _vector(values: np.ndarray) -> str:
    return " ".join(map(number, values))


def _norms_by_step(column: Sequences, time_of: np.ndarray) -> np.ndarray:
    squares = np.square(column.steps, dtype=np.float64).sum(axis=1)
    return np.sqrt(np.bincount(time_of, squares))


# ---------------------------------------------------------------- equations and arrays


def aligned(equations: list[Equation]) -> list[str]:
    """One line each, the equals signs below one another."""
    rows = [equation.sides for equation in equations]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            (" = " if cell else "   ") + cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
            if width
        ]
        lines.append("".join(cells)[3:].rstrip())
    return lines


def array_text(name: str, array: np.ndarray) -> str:
    """``name = [[...]]``, aligned; a large array by its shape and statistics."""
    left = f"{name} = "
    if array.dtype.kind == "f" and not is_small(array):
        statistics = {
            "mean": array.mean(),
            "std": array.std(),
            "min": array.min(),
            "max": array.max(),
            "norm": np.linalg.norm(array),
        }
        shown = ", ".join(f"{what} {number(value)}" for what, value in statistics.items())
        return f"{name} {array.shape}: {shown}"
    array = array + 0.0 if array.dtype.kind == "f" else array  # adding 0 turns -0 into 0
    shown = np.array2string(array, precision=4, prefix=left, max_line_width=96, threshold=60)
    return left + re.sub(r"\n\s*\n", "\n", shown)


def indented(texts: Iterable[str]) -> list[str]:
    """All lines two spaces in."""
    return [f"  {line}" for text in texts for line in text.split("\n")]


# ---------------------------------------------------------------- for a notebook


@as_html.register
def trace_html(trace: BackpropTrace) -> str:
    """The whole trace."""
    parts = [_bold(heading(trace))]
    if is_walk(trace):
        parts += [_passes(trace), _numbers(trace)]
    else:
        parts.append(_table([HEADER, *table_rows(trace)]))
    for step in trace.steps:
        if step.time is not None:
            parts.append(_bold(f"{step.name} through time{_of_what(step.time)}"))
            parts.append(_table(time_rows(step.time)))
    if trace.descent is not None:
        parts.append(_descent(trace.descent))
    return "".join(parts)


def _passes(trace: BackpropTrace) -> str:
    """Values and gradients of each layer, side by side; arrows between the layers.

    The right side is to be read from the bottom: G comes in there, dL/dx goes out at the top.
    """
    rows: list[tuple[str, str, str]] = []
    for step in trace.steps:
        forward, backward = forward_arrays(step), backward_arrays(step)
        name = f"<b>{escape(step.name)}</b>{_code([step.label, step.local.formula])}"
        rows += [(_code(forward), name, _code(reversed(backward))), ("↓", "", "↑")]
    loss = trace.loss
    name = f"<b>loss</b>{_code([loss.label, *loss_formulas(loss)])}"
    forward, backward = loss_forward_arrays(loss), loss_backward_lines(loss)[-1:]
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
    lines = [line for block in blocks for line in aligned(block)]
    if not lines:
        return ""
    return f"<details open><summary>{escape(title)}</summary>{_code(lines)}</details>"


def _descent(descent: Descent) -> str:
    rows = [descent_header(descent), *descent_rows(descent)]
    change = escape(loss_change(descent))
    return f"{_bold(f'One step of {descent.optimizer}')}{_table(rows)}<p>{change}</p>"


def _bold(line: str) -> str:
    return f"<p><b>{escape(line)}</b></p>"


def _code(lines: Iterable[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def _table(rows: list[tuple[str, ...]]) -> str:
    head, *body = ([escape(cell) for cell in row] for row in rows)
    return html_table(head, body)
