"""A network that is trained already as a fitted perceptron, if it is one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from layerkit.layers import BatchNorm, Dense, Dropout, Sequential
from layerkit.training import History


def of_chain(kind: Any, network: Any, some_y: Callable[[Any], np.ndarray], params: Any) -> Any:
    """Make a perceptron with layers, weights and running statistics of a network.

    Parameters
    ----------
    kind : type
        Of the perceptron.
    network : Sequential
        Built.
    some_y : callable (mlp) -> ndarray
        Returns y of a few rows, such as make a network with these outputs; refuses what is none.
    params : dict
        Parameters of the perceptron, other than those of its layers.

    Returns
    -------
    mlp : estimator
        Fitted.

    Raises
    ------
    ValueError
        If a perceptron has other layers or outputs; it names the estimator that takes any.
    """
    mlp = kind(**params)
    mlp._recipe().check()
    shape = getattr(network, "input_shape", None)
    if shape is not None and len(shape) != 1:
        raise _no_perceptron(kind, f"its rows have the shape {shape}")
    y = some_y(mlp)
    mlp = kind(**_hidden(kind, network), **params)
    X = np.zeros((len(y), *network.input_shape), network.dtype)
    dense = [layer for layer in network if isinstance(layer, Dense)]
    try:
        arrays = [[layer.params[name] for layer in dense] for name in ("W", "b")]
        mlp.adopt(X, y, *arrays, History())
    except (KeyError, ValueError) as error:
        raise _no_perceptron(kind, f"{error}") from error
    for ours, theirs in zip(_learning(mlp.network_), _learning(network), strict=True):
        ours.trainable = theirs.trainable
        for held, given in ((ours.params, theirs.params), (ours.buffers, theirs.buffers)):
            for name in given:
                held[name][...] = given[name]
    return mlp


def _learning(network: Any) -> list[Any]:
    return [layer for _, layer in network.walk() if layer.params or layer.buffers]


def _hidden(kind: Any, network: Any) -> dict[str, Any]:
    """Read the parameters of the hidden layers: Dense, maybe BatchNorm, activation, Dropout."""
    layers: list[Any] = list(network) if isinstance(network, Sequential) else [network]
    starts = [i for i, layer in enumerate(layers) if isinstance(layer, Dense)]
    if not starts or starts[0] != 0 or starts[-1] != len(layers) - 1:
        raise _no_perceptron(kind, f"it must begin and end with Dense, got {network!r}")
    sizes, activations, rates, normed = [], [], [], []
    for start, stop in pairwise(starts):
        rest = layers[start + 1 : stop]
        normed.append(bool(rest) and repr(rest[0]) == repr(BatchNorm()))
        rest = rest[normed[-1] :]
        dropout = rest.pop() if rest and isinstance(rest[-1], Dropout) else None
        if len(rest) > 1 or any(isinstance(layer, BatchNorm | Dropout) for layer in rest):
            between = layers[start + 1 : stop]
            raise _no_perceptron(kind, f"after {layers[start].where} come {between!r}")
        sizes.append(layers[start].units)
        activations.append(rest[0] if rest else "identity")
        rates.append(dropout.rate if dropout else 0.0)
    if len(set(normed)) > 1:
        raise _no_perceptron(kind, "only some of its hidden layers have BatchNorm()")
    found = {"activation": activations, "dropout": rates} if sizes else {}
    return {"hidden_layer_sizes": sizes, "batch_norm": any(normed), **found}


def _no_perceptron(kind: Any, reason: str) -> ValueError:
    other = kind.__name__.replace("MLP", "Sequential")
    return ValueError(
        f"network is not one that {kind.__name__} has, hidden layers of Dense, maybe BatchNorm(), "
        f"an activation and maybe Dropout, and a Dense of one output for each class (of two: one "
        f"for both) or target: {reason}. {other}.from_network takes any network"
    )
