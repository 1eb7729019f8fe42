"""Weights and biases of a perceptron under scikit-learn's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerkit.layers import Dense


class Views(list):
    """Views of a network's parameters; assigning to an entry writes into the network."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, slice):
            assign(self[key], value, str(key))
        else:
            self[key][...] = _fitting(key, self[key], value)


class Coefficients:
    """Gives a fitted perceptron ``coefs_`` and ``intercepts_``."""

    network_: Any

    @property
    def coefs_(self) -> list[np.ndarray]:
        """Weight matrices ``(n_in, n_out)``: views of the network's, to read and to write."""
        return views_of(self._fitted_network("coefs_"), "W")

    @coefs_.setter
    def coefs_(self, values: Sequence[np.ndarray]) -> None:
        assign(self.coefs_, values, "coefs_")

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """Bias vectors ``(n_out,)``: views of the network's, to read and to write."""
        return views_of(self._fitted_network("intercepts_"), "b")

    @intercepts_.setter
    def intercepts_(self, values: Sequence[np.ndarray]) -> None:
        assign(self.intercepts_, values, "intercepts_")

    def _fitted_network(self, name: str) -> Any:
        if not hasattr(self, "network_"):
            raise AttributeError(f"{type(self).__name__} has no {name} before it is fitted")
        return self.network_


def dense_layers(network: Any) -> list[Dense]:
    """The layers with the coefficients; those inside an activation are not among them."""
    return [layer for layer in network if isinstance(layer, Dense)]


def views_of(network: Any, name: str) -> Views:
    """The parameters of that name of all dense layers."""
    return Views(layer.params[name] for layer in dense_layers(network))


def assign(views: list[np.ndarray], values: Sequence[np.ndarray], name: str) -> None:
    """Write one value into each view."""
    if len(values) != len(views):
        raise ValueError(f"{name} has {len(views)} entries, got {len(values)}")
    fitting = [_fitting(i, views[i], value) for i, value in enumerate(values)]
    for view, value in zip(views, fitting, strict=True):  # all of them fit, or none is written
        view[...] = value


def _fitting(key: Any, view: np.ndarray, value: Any) -> np.ndarray:
    """Return a copy of a value that can be written into a view."""
    if np.shape(value) != view.shape:
        raise ValueError(f"entry {key} has shape {view.shape}, got {np.shape(value)}")
    return np.array(value, view.dtype)
