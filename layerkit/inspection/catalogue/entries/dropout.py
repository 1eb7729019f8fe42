"""Noise in training."""

import numpy as np

from layerkit.inspection.catalogue.layer_entry import LayerEntry
from layerkit.kernels import keep_mask
from layerkit.layer import Layer
from layerkit.layers import AlphaDropout, Dropout, GaussianNoise, SpatialDropout2D

KEPT = "dy/dx = 1 / (1 - rate) where kept, 0 where dropped"
NOTHING = """
    y = x
    dy/dx = 1
    dL/dx = G
    """
ASSUMES = "In inference nothing happens. rate is rounded to a multiple of 1/65536."
MASK = {"m": "the mask of the last forward: 1 with probability 1 - rate, else 0"}


def mask(layer: Layer, x: np.ndarray) -> dict[str, np.ndarray]:
    """Draw what the layer will draw."""
    shape = layer.mask_shape(x) if isinstance(layer, Dropout) else x.shape
    keep, _ = keep_mask(layer.reseed(0).rng, layer.rate, shape)  # type: ignore[attr-defined]
    return {"m": keep.astype(float)}


def channel_mask(layer: Layer, x: np.ndarray) -> dict[str, np.ndarray]:
    """Draw the mask without its axes of length 1."""
    return {"m": mask(layer, x)["m"].reshape(len(x), -1)}


ENTRIES = [
    LayerEntry(
        Dropout,
        "In training values are dropped at random and the rest scaled up.",
        """
        y = m * x / (1 - rate)
        dy/dx = m / (1 - rate)
        dL/dx = G * m / (1 - rate)
        """,
        in_one_line=(KEPT,),
        inference=NOTHING,
        make=lambda: Dropout(0.25),
        where=MASK,
        given=mask,
        assumes=ASSUMES,
        source='Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov, "Dropout: a simple '
        'way to prevent neural networks from overfitting", JMLR 15, 2014',
    ),
    LayerEntry(
        SpatialDropout2D,
        "In training whole channels are dropped at random and the rest scaled up.",
        """
        y[n, u, v, c] = m[n, c] * x[n, u, v, c] / (1 - rate)
        dy[n, u, v, c]/dx[n, u, v, c] = m[n, c] / (1 - rate)
        dL/dx[n, u, v, c] = G[n, u, v, c] * m[n, c] / (1 - rate)
        """,
        in_one_line=(KEPT,),
        inference=NOTHING,
        make=lambda: SpatialDropout2D(0.25),
        input_shape=(2, 2, 3),
        where=MASK,
        given=channel_mask,
        assumes=ASSUMES,
        source='Tompson, Goroshin, Jain, LeCun and Bregler, "Efficient object localization using '
        'convolutional networks", CVPR 2015',
    ),
    LayerEntry(
        AlphaDropout,
        "In training values are set to what SELU tends to; mean 0 and variance 1 stay.",
        """
        a = 1 / sqrt((1 - rate) * (1 + rate * alpha**2))
        y = a * (m * x + (1 - m) * alpha - rate * alpha)
        dy/dx = a * m
        dL/dx = G * a * m
        """,
        inference=NOTHING,
        make=lambda: AlphaDropout(0.25),
        letters={"alpha": "SATURATION"},
        where=MASK,
        given=mask,
        assumes=f"alpha = -1.7580993…, the limit of SELU at minus infinity. {ASSUMES}",
        source='Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", '
        "NIPS 2017",
    ),
    LayerEntry(
        GaussianNoise,
        "In training normal noise is added.",
        """
        y = x + stddev * e
        dy/dx = 1
        dL/dx = G
        """,
        inference=NOTHING,
        make=lambda: GaussianNoise(0.5),
        where={"e": "standard normal numbers, drawn in the last forward"},
        given=lambda layer, x: {"e": layer.reseed(0).rng.standard_normal(x.shape)},
        assumes="In inference nothing happens.",
        source='Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural '
        "Computation 7, 1995",
    ),
]
