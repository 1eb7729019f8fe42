"""How much a network has to compute, known from its sizes before it starts."""

from __future__ import annotations

import math

from layerkit.layer import Layer

# What a call of a layer costs in Python, whatever its size, in multiply-adds.
CALL = 1e5


def work_of(network: Layer, n_samples: float, batches: int = 1) -> float:
    """Estimate the multiply-adds of a forward pass over so many rows.

    A parameter is used once at every position (pixel, time) of a layer's larger side; every output
    is written once, and every call costs something, however small.

    Parameters
    ----------
    network : Layer
        Built.
    n_samples : int, or inf where it is not known
        Rows in all.
    batches : int, default=1
        Into which they are cut.

    Returns
    -------
    multiply_adds : float
        Training takes about three times as many.

    Examples
    --------
    >>> from layerkit import Dense
    >>> from layerkit.fused import work_of
    >>> work_of(Dense(5).build(4), n_samples=1000)
    130000.0
    """
    row, calls = 0, 0
    for _, layer in network.walk():
        if layer.is_built and not layer.children():
            sides = layer.input_shape, layer.output_shape
            positions = max(math.prod(side[:-1]) for side in sides)
            row += positions * sum(p.size for p in layer.params.values())
            row += math.prod(layer.output_shape)
            calls += 1
    return float(n_samples * row + batches * calls * CALL)
