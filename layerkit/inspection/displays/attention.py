"""A map of the attention weights of every head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.attention import attention_weights
from layerkit.inspection.displays.display import Display
from layerkit.layer import Layer

MOST_COLUMNS = 4


class AttentionDisplay(Display):
    """The attention weights of one row of data: a map for each head.

    Each line of a map belongs to one step and shows how much that step attends to every step; the
    weights of a line add up to 1. A uniform map means that the head takes the mean of all steps, a
    single bright column that all steps attend to the same one; `health` warns of both.

    Parameters
    ----------
    weights : array of shape (num_heads, time, time)
        What `attention_weights` returned for one layer and one row.
    labels : sequence of str, optional
        Names of the steps, such as words; by default their numbers.
    name : str, default="attention"
        The title.

    See Also
    --------
    Display : What ``plot`` takes and sets.
    attention_weights : The weights of all layers and rows.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Sequential, TransformerEncoderBlock
    >>> net = Sequential([TransformerEncoderBlock(2, 8)]).build((5, 4), random_state=0)
    >>> display = AttentionDisplay.from_network(net, np.ones((1, 5, 4)))
    >>> display.weights.shape
    (2, 5, 5)
    """

    def __init__(
        self, weights: ArrayLike, labels: Sequence[str] | None = None, name: str = "attention"
    ) -> None:
        self.weights = np.asarray(weights)
        shape = self.weights.shape
        if len(shape) != 3 or shape[1] != shape[2] or 0 in shape:
            raise ValueError(f"weights must have shape (num_heads, time, time), got {shape}")
        if labels is not None and len(labels) != shape[1]:
            raise ValueError(f"labels must be {shape[1]}, one a step, got {len(labels)}")
        self.labels = labels
        self.name = name

    @classmethod
    def from_network(
        cls,
        network: Layer,
        x: Any,
        layer: str | int = 0,
        row: int = 0,
        labels: Sequence[str] | None = None,
    ) -> AttentionDisplay:
        """Run ``x`` through the network in inference mode; it stays as it is.

        Parameters
        ----------
        network : Layer
            Built, with at least one `MultiHeadAttention`.
        x : array of shape (n_samples, time, ...) or rows of unequal length
            Its input.
        layer : str or int, default=0
            Path of the layer, or its position among those with attention.
        row : int, default=0
            Position of the row in ``x``.
        labels : sequence of str, optional
            Names of the steps of this row.

        Returns
        -------
        display : AttentionDisplay
            To be drawn by `plot`.
        """
        found = attention_weights(network, x[row : row + 1] if row != -1 else x[row:])
        paths = list(found)
        if isinstance(layer, str) and layer not in found:
            raise ValueError(f"layer must be one of {', '.join(paths)}, got {layer!r}")
        if not isinstance(layer, str) and not -len(paths) <= layer < len(paths):
            raise ValueError(f"layer must be less than {len(paths)}, got {layer!r}")
        path = layer if isinstance(layer, str) else paths[layer]
        if not found[path]:
            raise ValueError(f"row must be less than {len(x)}, got {row!r}")
        return cls(found[path][0], labels, path or "attention")

    @property
    def figsize(self) -> tuple[float, float]:
        rows, columns = self._grid()
        return max(2.6 * columns + 1.2, 4.0), 2.6 * rows + 0.5

    def _grid(self) -> tuple[int, int]:
        columns = min(len(self.weights), MOST_COLUMNS)
        return math.ceil(len(self.weights) / columns), columns

    def panels(self) -> dict[str, Any]:
        rows, columns = self._grid()
        shared = {"sharex": True, "sharey": True}
        return {"nrows": rows, "ncols": columns, **shared} if rows * columns > 1 else {}

    def draw(self, axes: np.ndarray) -> None:
        for ax in axes.flat[len(self.weights) :]:
            ax.set_axis_off()
        largest = float(self.weights.max())
        for head, (ax, A) in enumerate(zip(axes.flat, self.weights, strict=False)):
            drawn = ax.imshow(A, cmap="viridis", vmin=0, vmax=largest, interpolation="nearest")
            ax.set_title(f"head {head}" if len(self.weights) > 1 else self.name)
            ax.grid(False)
            if self.labels is not None:
                places = range(len(self.labels))
                ax.set_xticks(places, self.labels, rotation=90)
                ax.set_yticks(places, self.labels)
        for ax in axes[-1]:
            ax.set_xlabel("is looked at")
        for ax in axes[:, 0]:
            ax.set_ylabel("step")
        if len(self.weights) > 1:
            self.figure_.suptitle(self.name)
        self.figure_.colorbar(drawn, ax=list(axes.flat), label="weight", shrink=0.8)
