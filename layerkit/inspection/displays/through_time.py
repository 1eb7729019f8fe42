"""The norm of a gradient at every step back in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.displays.display import Display
from layerkit.inspection.through_time import gradient_through_time
from layerkit.layer import Layer


class GradientThroughTimeDisplay(Display):
    """Norm of a gradient at every step before the last, on a logarithmic scale.

    Where a line falls below about 1e-3, training with these weights no longer takes the earlier
    steps into account; a line that climbs shows an exploding gradient.

    Parameters
    ----------
    norms : mapping of str to array of shape (n_steps,)
        For every recurrent layer, what `gradient_through_time` returns.

    See Also
    --------
    Display : What ``plot`` takes and sets.

    Examples
    --------
    >>> display = GradientThroughTimeDisplay({"lstm_1": [1.0, 0.7, 0.5]})
    >>> display.plot().ax_.get_yscale()  # doctest: +SKIP
    'log'
    """

    def __init__(self, norms: Mapping[str, ArrayLike]) -> None:
        self.norms = {name: np.asarray(values, float) for name, values in norms.items()}
        for name, values in self.norms.items():
            if values.ndim != 1 or not len(values):
                raise ValueError(f"norms of {name!r} must be a vector, got shape {values.shape}")

    @classmethod
    def from_network(cls, network: Layer, x: Any) -> GradientThroughTimeDisplay:
        """Measure a network's recurrent layers on some rows.

        Parameters
        ----------
        network : Layer
            Built; it is not changed.
        x : array-like of shape (n_samples, time, n_features) or list of arrays
            Its input.

        Returns
        -------
        display : GradientThroughTimeDisplay
            To be drawn by `plot`.
        """
        return cls(gradient_through_time(network, x))

    def draw(self, axes: np.ndarray) -> None:
        ax = axes[0, 0]
        for name, values in self.norms.items():
            ax.plot(np.arange(len(values)), np.where(values > 0, values, np.nan), label=name)
        ax.axhline(1, color="0.7", linewidth=0.8, zorder=0)
        ax.set(yscale="log", xlabel="steps before the last", ylabel="norm of the gradient")
        ax.legend()
