"""Tables and numbers as text and as HTML: one set for summary, trace, health and catalogue."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

# No style sheet and no scripts: the page's own theme, light or dark, applies. Where a viewer drops
# the style attributes (GitHub does), only alignment is lost.
LEFT = "text-align:left; vertical-align:top"


def number(value: Any) -> str:
    """Return four significant digits."""
    return f"{float(value) + 0.0:.4g}"  # adding 0 turns -0 into 0


def short_number(value: float) -> str:
    """Return two significant digits, and a sign for what is unknown or infinite."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value and not 1e-3 <= abs(value) < 1e4:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def percent(value: float) -> str:
    """Return a share; none and unknown alike."""
    return "–" if math.isnan(value) or value == 0 else f"{value:.0%}"


def text_table(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    r"""Return a line for each row; ``right`` says which columns are set to the right.

    Examples
    --------
    >>> print(*text_table([("layer", "params"), ("Dense", "9")], [False, True]), sep="\n")
    layer  params
    Dense       9
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def ruled(lines: Sequence[str]) -> list[str]:
    """Put a rule below the first line of a table."""
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def badge(words: str, color: str) -> str:
    """Return words on a ground of their own: to be read on a light page and on a dark one."""
    style = f"background:{color}; color:#ffffff; padding:0 0.4em; border-radius:0.6em"
    return f'<span style="{style}; white-space:nowrap">{words}</span>'


def html_row(cells: Iterable[str], styles: Iterable[str] = repeat(LEFT), tag: str = "td") -> str:
    """Return a row of cells that are HTML already, each with its style."""
    pairs = zip(cells, styles, strict=False)
    inner = "".join(f'<{tag} style="{style}">{cell}</{tag}>' for cell, style in pairs)
    return f"<tr>{inner}</tr>"


def html_table(
    header: Iterable[str],
    rows: Iterable[Iterable[str]],
    styles: Iterable[str] = repeat(LEFT),
    caption: str = "",
) -> str:
    """Return a table; its cells are HTML already."""
    title = f"<caption>{caption}</caption>" if caption else ""
    head = html_row(header, styles, tag="th")
    body = "".join(html_row(cells, styles) for cells in rows)
    return f"<table>{title}<thead>{head}</thead><tbody>{body}</tbody></table>"
