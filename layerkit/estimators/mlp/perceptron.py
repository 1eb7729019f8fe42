"""What a fitted perceptron has under scikit-learn's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerkit.estimators.mlp.epochs import Convergence
from layerkit.estimators.mlp.recipe import dense_layers
from layerkit.estimators.preparing import prepare
from layerkit.training import History


class Views(list):
    """Views of a network's parameters; assigning to an entry writes into the network."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, slice):
            assign(self[key], value, str(key))
        else:
            self[key][...] = _fitting(key, self[key], value)


class Perceptron:
    """Attributes and a method that `MLPClassifier` and `MLPRegressor` take from here."""

    @property
    def coefs_(self: Any) -> list[np.ndarray]:
        """Weight matrices ``(n_in, n_out)``: views of the network's, to read and to write."""
        return views_of(_network_of(self, "coefs_"), "W")

    @coefs_.setter
    def coefs_(self: Any, values: Sequence[np.ndarray]) -> None:
        assign(self.coefs_, values, "coefs_")

    @property
    def intercepts_(self: Any) -> list[np.ndarray]:
        """Bias vectors ``(n_out,)``: views of the network's, to read and to write."""
        return views_of(_network_of(self, "intercepts_"), "b")

    @intercepts_.setter
    def intercepts_(self: Any, values: Sequence[np.ndarray]) -> None:
        assign(self.intercepts_, values, "intercepts_")

    def adopt(
        self: Any,
        X: Any,
        y: Any,
        coefs: Sequence[np.ndarray],
        intercepts: Sequence[np.ndarray],
        history: History,
        n_seen: int = 0,
    ) -> Any:
        """Be fitted with weights and a record that are there already, learning nothing.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A few rows like those that the weights were learned from.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets of these rows, every class among them.
        coefs, intercepts : sequence of ndarray
            W ``(n_in, n_out)`` and b ``(n_out,)`` of each layer, which are copied.
        history : History
            The epochs behind them.
        n_seen : int, default=0
            Samples seen in these epochs.

        Returns
        -------
        self : estimator
            `partial_fit` goes on from there, with fresh moments of the optimizer.

        Raises
        ------
        ValueError
            If the shapes are not those of the network that the parameters describe.
        """
        recipe: Any = self._recipe()
        recipe.check()
        task = prepare(self, X, y)
        assign(views_of(task.network, "W"), coefs, "coefs")
        assign(views_of(task.network, "b"), intercepts, "intercepts")
        rule = recipe.rule = Convergence()
        rule.t = n_seen
        for row in history.rows:
            rule.see(row["loss"], row.get("validation_score"), float(self.tol))
        self.__dict__.update(recipe.attributes(task, history), optimizer_=recipe.optimizer())
        return self


def _network_of(mlp: Any, name: str) -> Any:
    if not hasattr(mlp, "network_"):
        raise AttributeError(f"{type(mlp).__name__} has no {name} before it is fitted")
    return mlp.network_


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
