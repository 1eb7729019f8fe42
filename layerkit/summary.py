"""The table that ``network.summary()`` shows."""

from __future__ import annotations

import copy
import html
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from layerkit.shapes import Shape, batch_shape
from layerkit.tables import html_table, ruled, text_table

RIGHT = (False, False, False, True, True)
"""Which columns are set to the right."""


@dataclass
class Row:
    """One layer in the summary; of a container what it has beside the layers inside."""

    name: str
    layer: str
    output_shape: str
    params: int
    multiply_adds: int
    frozen: bool
    stateful: bool
    is_container: bool = False


@dataclass
class Summary:
    """A network as a table; ``rows`` holds it as data.

    Multiply-adds are those of the matrix products and convolutions of one forward for one sample;
    elementwise work is not counted.
    """

    title: str
    rows: list[Row]
    n_params: int
    n_trainable: int
    multiply_adds: int

    header = ("name", "layer", "output shape", "params", "multiply-adds")

    def _cells(self) -> list[tuple[str, str, str, str, str]]:
        return [
            (
                row.name,
                row.layer,
                row.output_shape,
                _count(row, row.params) + (" (frozen)" if row.frozen else ""),
                _count(row, row.multiply_adds),
            )
            for row in self.rows
        ]

    @property
    def totals(self) -> str:
        """One line: parameters, trainable ones if some are frozen, multiply-adds, states kept."""
        frozen = "" if self.n_trainable == self.n_params else f" ({self.n_trainable:,} trainable)"
        stateful = [row.name.strip() or row.layer for row in self.rows if row.stateful]
        kept = f"; {' and '.join(stateful)} go on from batch to batch" if stateful else ""
        return (
            f"{self.n_params:,} parameters{frozen}, "
            f"{self.multiply_adds:,} multiply-adds a sample{kept}"
        )

    def __str__(self) -> str:
        lines = ruled(text_table([self.header, *self._cells()], RIGHT))
        return "\n".join([self.title, *lines, lines[1], self.totals])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        styles = [f"text-align:{'right' if right else 'left'}" for right in RIGHT]
        escaped = ([html.escape(cell) for cell in cells] for cells in self._cells())
        rows = [[_indented(name), *rest] for name, *rest in escaped]
        caption = f"{html.escape(self.title)}: {self.totals}"
        return html_table(self.header, rows, styles, caption)


def _count(row: Row, number: int) -> str:
    """Print a number; nothing for a container, so that the column adds up to the total."""
    return "" if row.is_container and not number else f"{number:,}"


def _indented(name: str) -> str:
    """Keep the spaces at the beginning, which HTML would drop."""
    bare = name.lstrip(" ")
    return "&nbsp;" * (2 * (len(name) - len(bare))) + bare


def summarize(network: Any, input_shape: Shape | None) -> Summary:
    """Tabulate a layer; an unbuilt one is set up on a copy, without allocating its arrays."""
    if not network.is_built:
        if input_shape is None:
            raise ValueError(f"in {network.where}: not built yet, so summary needs input_shape")
        network = copy.deepcopy(network)
        for path, layer in network.walk():
            layer._path = path
        network.declare(input_shape)
    elif input_shape not in (None, network.input_shape):
        raise ValueError(
            f"in {network.where}: built for {batch_shape(network.input_shape)}, "
            f"summary got input_shape={input_shape}"
        )
    every = [layer for _, layer in network.walk()]
    return Summary(
        title=f"{type(network).__name__} for {batch_shape(network.input_shape)}",
        rows=list(_rows(network)),
        n_params=_n_params(network),
        n_trainable=sum(_own_size(layer) for layer in every if layer.trainable),
        multiply_adds=network.multiply_adds(),
    )


def _rows(layer: Any, depth: int = 0) -> Iterator[Row]:
    """Yield a row per layer, children indented below their container."""
    inside = [child for _, child in layer.children()]
    if depth or not inside:
        params = _own_size(layer)
        yield Row(
            name="  " * max(depth - 1, 0) + layer.name,
            layer=layer.label,
            output_shape=batch_shape(layer.output_shape),
            params=params,
            multiply_adds=layer.multiply_adds() - sum(c.multiply_adds() for c in inside),
            frozen=not layer.trainable and params > 0,
            stateful=layer.stateful,
            is_container=bool(inside),
        )
    for child in inside:
        yield from _rows(child, depth + 1)


def _own_size(layer: Any) -> int:
    return sum(math.prod(declared.shape) for declared in layer.declared_params.values())


def _n_params(layer: Any) -> int:
    return sum(_own_size(inner) for _, inner in layer.walk())
