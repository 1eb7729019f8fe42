"""The table that ``network.summary()`` shows."""

from __future__ import annotations

import copy
import html
import math
from collections.abc import Iterator
from dataclasses import dataclass

from layerkit.layer import Layer
from layerkit.shapes import Shape, batch_shape


@dataclass
class Row:
    """One layer in the summary."""

    name: str
    layer: str
    output_shape: str
    params: int
    multiply_adds: int
    frozen: bool


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
                f"{row.params:,}" + (" (frozen)" if row.frozen else ""),
                f"{row.multiply_adds:,}",
            )
            for row in self.rows
        ]

    @property
    def totals(self) -> str:
        """One line: parameters, the trainable ones where some are frozen, multiply-adds."""
        frozen = "" if self.n_trainable == self.n_params else f" ({self.n_trainable:,} trainable)"
        return (
            f"{self.n_params:,} parameters{frozen}, {self.multiply_adds:,} multiply-adds a sample"
        )

    def __str__(self) -> str:
        table = [self.header, *self._cells()]
        widths = [max(len(line[i]) for line in table) for i in range(len(self.header))]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in table
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, lines[0], rule, *lines[1:], rule, self.totals])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(cells: tuple[str, ...], tag: str) -> str:
            sides = ("left",) * 3 + ("right",) * 2
            aligned = (
                f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>'
                for side, cell in zip(sides, cells, strict=True)
            )
            return f"<tr>{''.join(aligned)}</tr>"

        body = "".join(line(cells, "td") for cells in self._cells())
        return (
            f"<table><caption>{html.escape(self.title)}: {self.totals}</caption>"
            f"<thead>{line(self.header, 'th')}</thead><tbody>{body}</tbody></table>"
        )


def summarize(network: Layer, input_shape: Shape | None) -> Summary:
    """Tabulate a network; an unbuilt one is set up on a copy, without allocating its arrays."""
    if not network.is_built:
        if input_shape is None:
            raise ValueError(f"in {network.where}: not built yet, so summary needs input_shape")
        network = copy.deepcopy(network)
        for path, layer in network.walk():
            layer.path = path
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


def _rows(layer: Layer, depth: int = 0) -> Iterator[Row]:
    """Yield a row per layer, children indented below their container."""
    if depth or not layer.children():
        yield Row(
            name="  " * max(depth - 1, 0) + layer.name,
            layer=layer.label,
            output_shape=batch_shape(layer.output_shape),
            params=_n_params(layer),
            multiply_adds=layer.multiply_adds(),
            frozen=not layer.trainable and _n_params(layer) > 0,
        )
    for _, child in layer.children():
        yield from _rows(child, depth + 1)


def _own_size(layer: Layer) -> int:
    return sum(math.prod(declared.shape) for declared in layer._declared.values())


def _n_params(layer: Layer) -> int:
    return sum(_own_size(inner) for _, inner in layer.walk())
