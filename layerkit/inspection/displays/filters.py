"""The kernels of a convolution as images."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.displays.display import Display
from layerkit.inspection.paths import check_network, layer_names
from layerkit.layer import Layer

MOST_FILTERS, MOST_CHANNELS = 64, 8
GAP = 0.12


class FilterDisplay(Display):
    """Kernels of a two-dimensional convolution as small images.

    With one input channel each kernel is one image, orange where it is positive and purple where it
    is negative; with three it is a colour image, scaled to its own largest weight. Otherwise there
    is a row of images for each filter, with one image for each input channel. At most 64 filters
    are drawn; with other than one or three channels the first 16 filters and 8 channels.

    Parameters
    ----------
    kernels : array of shape (height, width, channels, filters)
        One or three channels give one image for each filter, otherwise one for each channel.
    name : str, default="kernels"
        The title.

    See Also
    --------
    Display : What ``plot`` takes and sets.

    Examples
    --------
    >>> from layerkit import Conv2D, ReLU, Sequential
    >>> net = Sequential([Conv2D(8, 3), ReLU(), Conv2D(4, 3)]).build((10, 10, 1), random_state=0)
    >>> FilterDisplay.from_network(net).kernels.shape
    (3, 3, 1, 8)
    """

    def __init__(self, kernels: ArrayLike, name: str = "kernels") -> None:
        self.kernels = np.asarray(kernels)
        self.name = name
        if self.kernels.ndim != 4:
            raise ValueError(
                "kernels must have shape (height, width, channels, filters), "
                f"got {self.kernels.shape}"
            )

    @classmethod
    def from_layer(cls, layer: Layer, name: str = "") -> FilterDisplay:
        """Take the ``W`` of a built `Conv2D` or a similar layer.

        Parameters
        ----------
        layer : Layer
            With a ``W`` of four axes.
        name : str, default=""
            The title; that of the layer if empty.

        Returns
        -------
        display : FilterDisplay
            To be drawn by `plot`.
        """
        check_network(layer, "layer")
        W = layer.params.get("W")
        if W is None or W.ndim != 4:
            raise ValueError(f"in {layer.where}: has no kernels of two dimensions to show")
        return cls(W.copy(), name or layer.name or type(layer).__name__)

    @classmethod
    def from_network(cls, network: Layer) -> FilterDisplay:
        """Take the first two-dimensional convolution, which looks at the images themselves.

        Parameters
        ----------
        network : Layer
            Built.

        Returns
        -------
        display : FilterDisplay
            To be drawn by `plot`.
        """
        check_network(network)
        names = layer_names(network)
        for path, layer in network.walk():
            if "W" in layer.params and layer.params["W"].ndim == 4:
                return cls.from_layer(layer, names[path])
        raise ValueError(f"{network.label} has no layer with kernels of two dimensions")

    @property
    def figsize(self) -> tuple[float, float]:
        rows, columns = self._grid()
        height, width = self.kernels.shape[:2]
        tall = min(max(height / width, 0.3), 3)
        return max(0.55 * columns + 2.1, 3.6), max(0.55 * tall * rows + 0.9, 2.0)

    def _grid(self) -> tuple[int, int]:
        *_, channels, filters = self.kernels.shape
        if channels in (1, 3):
            columns = min(math.ceil(math.sqrt(min(filters, MOST_FILTERS) * 2)), 12)
            return -(-min(filters, MOST_FILTERS) // columns), columns
        return min(filters, MOST_FILTERS // 4), min(channels, MOST_CHANNELS)

    def _images(self) -> list[np.ndarray]:
        """One for each place of the grid, row by row."""
        rows, columns = self._grid()
        channels, filters = self.kernels.shape[2:]
        if channels == 1:
            return [self.kernels[..., 0, f] for f in range(min(filters, MOST_FILTERS))]
        if channels == 3:
            scale = np.maximum(np.abs(self.kernels).max(axis=(0, 1, 2)), np.finfo(float).tiny)
            colours = 0.5 + 0.5 * self.kernels / scale
            return [colours[..., f] for f in range(min(filters, MOST_FILTERS))]
        return [self.kernels[..., c, f] for f in range(rows) for c in range(columns)]

    def draw(self, axes: np.ndarray) -> None:
        ax, (rows, columns) = axes[0, 0], self._grid()
        height, width, channels, filters = self.kernels.shape
        largest = float(np.abs(self.kernels).max())
        for k, image in enumerate(self._images()):
            top, left = divmod(k, columns)
            drawn = ax.imshow(
                image, cmap="PuOr_r", vmin=-largest, vmax=largest, interpolation="nearest",
                extent=(left + GAP / 2, left + 1 - GAP / 2, top + 1 - GAP / 2, top + GAP / 2),
            )  # fmt: skip
        ax.set(xlim=(0, columns), ylim=(rows, 0), aspect=height / width, xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.grid(False)
        shown = min(filters, rows * columns if channels in (1, 3) else rows)
        count = f"{filters}" if shown == filters else f"{shown} of {filters}"
        ax.set_title(f"{self.name}: {count} kernels, {height} × {width}")
        if channels not in (1, 3):
            some = "" if columns == channels else f" (first {columns} of {channels})"
            ax.set(xlabel=f"input channel{some}", ylabel="filter")
        if channels != 3:
            ax.figure.colorbar(drawn, ax=ax, label="weight", shrink=0.8)
