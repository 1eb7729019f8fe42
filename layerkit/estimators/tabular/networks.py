"""The network of a tabular estimator: what is read of a table, and how it learns."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import clone

from layerkit.estimators.tabular.encoder import TableEncoder
from layerkit.layer import Layer
from layerkit.layers import (
    SELU,
    Columns,
    Dense,
    Dropout,
    Embedding,
    Identity,
    Mish,
    NTKDense,
    ParametricActivation,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    Reshape,
    Residual,
    Scale,
    Sequential,
    SmoothClip,
)
from layerkit.optimizers import AdamW
from layerkit.schedules import CosLog, FlatCosine
from layerkit.shapes import Shape

EMBEDDINGS: dict[str, Any] = {
    "periodic": PeriodicEmbedding,
    "piecewise": PiecewiseLinearEmbedding,
    "none": Identity,
}
"""Of the numbers, by the parameter ``embedding``."""
_CATEGORY_DIM = 8
_BETAS = (0.9, 0.95)  # of Adam: squares of old gradients are forgotten sooner than usual


def network_for(
    estimator: Any, encoder: TableEncoder, output_shape: Shape, smooth: bool
) -> Sequential:
    """Return a network, not built, for what the encoder makes of a table.

    Parameters
    ----------
    estimator : TabularEstimator
        Its parameters say how large the network is.
    encoder : TableEncoder
        Fitted, without clip.
    output_shape : tuple of int
    smooth : bool
        Whether the activation is Mish, smooth as regressions are, not SELU.
    """
    hidden: list[Layer] = []
    for units in estimator.hidden_layer_sizes:
        activation = Mish() if smooth else SELU()
        hidden += [NTKDense(int(units)), ParametricActivation(activation)]
        if estimator.dropout:
            hidden.append(Dropout(FlatCosine(float(estimator.dropout))))
    table = ("table", _reading(estimator, encoder))
    head = ("head", NTKDense(math.prod(output_shape)))
    shape = [Reshape(output_shape)] if len(output_shape) > 1 else []
    return Sequential([table, Scale(), *hidden, head, *shape])


def _reading(estimator: Any, encoder: TableEncoder) -> Columns:
    """Return the layer that reads numbers, indicators and codes, each in its own way."""
    kinds = np.array(encoder.kinds_)
    routes: list[tuple[Any, Layer]] = []
    if (numbers := np.flatnonzero(kinds == "number")).size:
        embedding = EMBEDDINGS[estimator.embedding]()
        routes.append((numbers.tolist(), Sequential([SmoothClip(), embedding])))
    if (indicators := np.flatnonzero(kinds == "indicator")).size:
        routes.append((indicators.tolist(), Identity()))
    for position, n_codes in enumerate(encoder.n_codes_):
        if n_codes:
            routes.append((position, Embedding(n_codes, _CATEGORY_DIM)))
    return Columns(routes)


def optimizer_for(estimator: Any, default_rate: float) -> AdamW:
    """Return the optimizer; learning_rate="auto" is the default."""
    rate = estimator.learning_rate
    rate = default_rate if isinstance(rate, str) else float(rate)
    decay = FlatCosine(float(estimator.weight_decay))
    return AdamW(learning_rate=CosLog(rate), betas=_BETAS, weight_decay=decay)


def with_linear_part(network: Any, factor: np.ndarray, columns: list[int], W: Any, b: Any) -> Layer:
    """Return a network that gives ``factor * network(x) + x[:, columns] W + b``.

    Parameters
    ----------
    network : Sequential
        Built, with a "head"; it is not changed.
    factor : ndarray of shape (n_outputs,)
    columns : list of int
    W : ndarray of shape (n_columns, n_outputs)
    b : ndarray of shape (n_outputs,)
    """
    body, linear = clone(network), Dense(W.shape[1])
    whole = Residual(body, Columns([(columns, linear)]))
    whole.build(network.input_shape, 0, dtype=network.dtype)
    for (_, old), (_, new) in zip(network.walk(), body.walk(), strict=True):
        for name, value in old.params.items():
            new.params[name][...] = value
        for name, value in old.buffers.items():
            new.buffers[name][...] = value
    for value in body["head"].params.values():
        value *= factor
    linear.params["W"][...], linear.params["b"][...] = W, b
    return whole
