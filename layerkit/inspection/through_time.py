"""How far back in time a gradient reaches: its norm at every step of a recurrent layer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from layerkit.inspection.paths import check_network, layer_names
from layerkit.layer import Layer
from layerkit.layers.recurrent import Recurrent
from layerkit.sequences import as_sequences


def gradient_through_time(network: Layer, x: Any) -> dict[str, np.ndarray]:
    r"""Send a gradient in at the last step of every row and measure its norm at the steps before.

    .. math:: r_k = \Big( \operatorname{mean}_{\text{rows}} \Big\|
              \frac{\partial h_T}{\partial h_{T-k}}^{\!\top} G \Big\|^2 \Big)^{1/2}
              \Big/ \; (\text{the same for } k = 0), \qquad G \text{ random}

    Below 1 and falling, the gradient vanishes over time; far above 1, it explodes. No loss is
    involved: this is what the steps do to any gradient, for these inputs.

    Parameters
    ----------
    network : Layer
        Built, with at least one recurrent layer; it is not changed.
    x : array-like of shape (n_samples, time, n_features) or list of arrays
        Its input; it runs in inference mode, from states of zeros.

    Returns
    -------
    norms : dict of str to ndarray
        For every recurrent layer, by its name, r_k for k = 0, 1, … steps before the last one. Of a
        layer that reads backwards k counts in its own order.

    Raises
    ------
    ValueError
        If there is no recurrent layer.

    References
    ----------
    Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013, arXiv:1211.5063.

    Examples
    --------
    A state that is halved at every step:

    >>> from layerkit import SimpleRNN
    >>> layer = SimpleRNN(1, activation="relu").build((None, 1), dtype="float64")
    >>> layer.flat_params[...] = [1.0, 0.5, 0.0]
    >>> gradient_through_time(layer, [[[1.0], [1.0], [1.0]]])["simplernn"].tolist()
    [1.0, 0.5, 0.25]
    """
    check_network(network)
    working = copy.deepcopy(network)
    names = layer_names(working)
    found = [(names[path], layer) for path, layer in working.walk() if isinstance(layer, Recurrent)]
    if not found:
        raise ValueError(f"in {network.where}: no recurrent layer in the network")
    working.reset_state()
    working.forward(as_sequences(x))
    return {name: _norms(layer) for name, layer in found}


def _norms(layer: Recurrent) -> np.ndarray:
    line, _, states, kept, _ = layer.cache
    sizes = line.sizes
    lengths = np.searchsorted(-sizes, -np.arange(line.n_rows))  # of each row, the longest first
    G = np.random.default_rng(0).standard_normal((line.n_rows, layer.units))
    grad = line.at_last(G.astype(layer.dtype))
    layer.steps_backward(grad, states, line, kept)  # leaves there what arrived at every step
    rank = np.concatenate([np.arange(size) for size in sizes])
    k = lengths[rank] - 1 - np.repeat(np.arange(len(sizes)), sizes)
    squares = np.square(grad[line.n_rows :], dtype=np.float64).sum(axis=1)
    mean = np.bincount(k, squares) / np.bincount(k)
    return np.sqrt(mean / mean[0])
