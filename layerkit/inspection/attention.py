"""The attention weights of a network, layer by layer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from layerkit.inspection.paths import check_network
from layerkit.layer import Layer
from layerkit.layers import MultiHeadAttention
from layerkit.sequences import Sequences, as_sequences

Weights = list[np.ndarray]
"""Of one layer: for each row an array (num_heads, time, time)."""


def attention_weights(network: Layer, x: Any) -> dict[str, Weights]:
    """Run some rows through a network in inference mode and return all attention weights.

    Parameters
    ----------
    network : Layer
        Built; it stays as it is.
    x : array of shape (n_samples, time, ...) or rows of unequal length
        Its input.

    Returns
    -------
    weights : dict of str to list of ndarray of shape (num_heads, time, time)
        By the path of the layer, one array a row; see `layerkit.MultiHeadAttention.weights`.

    Raises
    ------
    ValueError
        If the network has no attention.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Sequential, TransformerEncoderBlock
    >>> net = Sequential([TransformerEncoderBlock(2, 8)]).build((None, 4), random_state=0)
    >>> weights = attention_weights(net, [np.ones((3, 4)), np.ones((5, 4))])
    >>> [(path, [A.shape for A in rows]) for path, rows in weights.items()]
    [('layers.0.attention.body.layers.1', [(2, 3, 3), (2, 5, 5)])]
    """
    check_network(network)
    twin, rows = copy.deepcopy(network), as_sequences(x)
    attention = {
        id(layer): path for path, layer in twin.walk() if isinstance(layer, MultiHeadAttention)
    }
    if not attention:
        raise ValueError(f"{network.label} has no MultiHeadAttention")
    found: dict[str, Weights] = {}

    def note(layer: Any, direction: str, came: np.ndarray, went: np.ndarray) -> None:
        if id(layer) in attention:  # which is shown the steps of rows of unequal length
            ragged = isinstance(rows, Sequences)
            seen = Sequences.from_steps(came, rows.lengths) if ragged else came
            found[attention[id(layer)]] = layer.weights(seen)

    with twin.observed(note):
        twin.forward(rows)
    return found
