"""A histogram of every layer's outputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from layerkit.inspection.displays.display import BLUE, Display
from layerkit.inspection.paths import check_network, layer_names
from layerkit.layer import Layer

MOST_COLUMNS = 4


class Histogram(NamedTuple):
    """Distribution of one layer's outputs; exact zeros and non-finite values are counted apart."""

    name: str
    counts: np.ndarray
    edges: np.ndarray
    mean: float
    std: float
    zeros: float
    nonfinite: float


class ActivationDisplay(Display):
    """Histogram of every layer's outputs for one batch.

    Healthy layers keep a similar spread from the first to the last. A spread that shrinks or grows
    from layer to layer, sigmoids piled up at their ends and ReLUs that are nearly all zero are
    what `health` warns of. Exact zeros are counted but not drawn.

    Parameters
    ----------
    histograms : sequence of Histogram
        In forward order.

    See Also
    --------
    Display : What ``plot`` takes and sets.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense, ReLU, Sequential
    >>> net = Sequential([Dense(20), ReLU(), Dense(1)]).build(5, random_state=0)
    >>> x = np.random.default_rng(0).standard_normal((100, 5))
    >>> display = ActivationDisplay.from_network(net, x)
    >>> [(h.name, round(h.zeros, 1)) for h in display.histograms]
    [('dense_1', 0.0), ('relu_1', 0.5), ('dense_2', 0.0)]
    """

    def __init__(self, histograms: Sequence[Histogram]) -> None:
        if not histograms:
            raise ValueError("there are no layers to show")
        self.histograms = list(histograms)

    @classmethod
    def from_network(
        cls,
        network: Layer,
        x: Any,
        layers: Sequence[str] | None = None,
        bins: int = 40,
    ) -> ActivationDisplay:
        """Run ``x`` through the network in inference mode; it stays as it is.

        Parameters
        ----------
        network : Layer
            Built.
        x : array-like
            A batch.
        layers : sequence of str, optional
            Names of the layers to show, by default all that contain no other layers and change
            their input.
        bins : int, default=40
            Number of bars in each histogram.

        Returns
        -------
        display : ActivationDisplay
            To be drawn by `plot`.
        """
        check_network(network)
        twin = copy.deepcopy(network)
        by_path = layer_names(twin)
        names = {layer: by_path[path] for path, layer in twin.walk()}
        unknown = set(layers or ()) - set(names.values())
        if unknown:
            raise ValueError(
                f"no layer {min(unknown)!r} in the network, only {', '.join(names.values())}"
            )
        found: dict[str, Histogram] = {}

        def note(layer: Layer, direction: str, x: np.ndarray, y: np.ndarray) -> None:
            name = names[layer]
            wanted = name in layers if layers else not (layer.children() or _same_numbers(x, y))
            if wanted:
                found[name] = _histogram(name, y, bins)

        with twin.observed(note):
            twin.forward(x)
        return cls(list(found.values()))

    @property
    def figsize(self) -> tuple[float, float]:
        rows, columns = self._grid()
        return max(2.6 * columns, 4.0), 2.1 * rows + 0.3

    def _grid(self) -> tuple[int, int]:
        columns = min(len(self.histograms), MOST_COLUMNS)
        return -(-len(self.histograms) // columns), columns

    def panels(self) -> dict[str, Any]:
        rows, columns = self._grid()
        return {"nrows": rows, "ncols": columns} if rows * columns > 1 else {}

    def draw(self, axes: np.ndarray) -> None:
        for ax in axes.flat[len(self.histograms) :]:
            ax.set_axis_off()
        for ax, shown in zip(axes.flat, self.histograms, strict=False):
            ax.stairs(shown.counts, shown.edges, fill=True, color=BLUE)
            ax.set(title=shown.name, yticks=[])
            ax.spines["left"].set_visible(False)
            ax.set_ylim(0, 1.7 * max(shown.counts.max(), 1))
            ax.text(0.98, 0.97, _described(shown), transform=ax.transAxes, ha="right", va="top",
                    fontsize=10)  # fmt: skip
            ax.locator_params(axis="x", nbins=4)
        for ax in axes[-1]:
            ax.set_xlabel("output")


def _same_numbers(x: Any, y: np.ndarray) -> bool:
    """Whether a layer only handed on what it got, as Flatten does, and Dropout in inference."""
    return x.size == y.size and np.array_equal(np.ravel(x), np.ravel(y))


def _histogram(name: str, y: np.ndarray, bins: int) -> Histogram:
    values = y.reshape(-1).astype(np.float64)
    finite = values[np.isfinite(values)]
    counts, edges = np.histogram(finite[finite != 0], bins)
    mean, std = (float(finite.mean()), float(finite.std())) if finite.size else (np.nan, np.nan)
    zeros = float(np.mean(values == 0)) if values.size else 0.0
    nonfinite = 1 - finite.size / values.size if values.size else 0.0
    return Histogram(name, counts, edges, mean, std, zeros, nonfinite)


def _described(shown: Histogram) -> str:
    lines = [f"{shown.mean:.2g} ± {shown.std:.2g}"]
    lines += [f"zero: {shown.zeros:.1%}"] if shown.zeros else []
    lines += [f"not finite: {shown.nonfinite:.1%}"] if shown.nonfinite else []
    return "\n".join(lines)
