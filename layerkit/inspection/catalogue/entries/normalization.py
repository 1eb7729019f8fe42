"""Normalization, and noise in training."""

import numpy as np

from layerkit import layers
from layerkit.inspection.catalogue.layer_entry import LayerEntry
from layerkit.kernels import keep_mask
from layerkit.layer import Layer

NORMALIZATION = [
    LayerEntry(
        layers.BatchNorm,
        """
        mu[c] = sum[n](x[n, c]) / m
        var[c] = sum[n]((x[n, c] - mu[c])**2) / m
        x_hat = (x - mu) / sqrt(var + eps)
        y = gamma * x_hat + beta
        dy[n, c]/dx[k, c] = gamma[c] / sqrt(var[c] + eps) *
            ([n == k] - 1 / m - x_hat[n, c] * x_hat[k, c] / m)
        dy[n, c]/dgamma[c] = x_hat[n, c]
        dy[n, c]/dbeta[c] = 1
        dL/dgamma[c] = sum[n](G[n, c] * x_hat[n, c])
        dL/dbeta[c] = sum[n](G[n, c])
        dL/dx = gamma / sqrt(var + eps) * (G - 1 / m * (dL/dbeta) - x_hat / m * (dL/dgamma))
        """,
        computes="Every channel standardised over the batch and all positions, then scaled and "
        "shifted.",
        in_one_line=(
            "dy[i]/dx[j] = gamma / s (δ[i, j] - (1 + x̂[i] x̂[j]) / n), inference: gamma / s",
        ),
        inference="""
        x_hat = (x - running_mean) / sqrt(running_var + eps)
        y = gamma * x_hat + beta
        dy/dx = gamma / sqrt(running_var + eps)
        dL/dgamma[c] = sum[n](G[n, c] * x_hat[n, c])
        dL/dbeta[c] = sum[n](G[n, c])
        dL/dx = G * gamma / sqrt(running_var + eps)
        """,
        input_shape=(3,),
        where={"m": "number of values in a channel: samples, times positions if there are any"},
        given=lambda layer, x: {"m": len(x)},
        assumes="n runs over all axes but the last. A frozen layer computes as in inference.",
        torch="F.batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)",
    ),
    LayerEntry(
        layers.LayerNorm,
        """
        mu[n] = mean[c](x[n, c])
        s[n] = 1 / sqrt(mean[c]((x[n, c] - mu[n])**2) + eps)
        x_hat[n, c] = s[n] * (x[n, c] - mu[n])
        y = gamma * x_hat + beta
        dy[n, c]/dx[n, k] = gamma[c] * s[n] * ([c == k] - 1 / m - x_hat[n, c] * x_hat[n, k] / m)
        dy[n, c]/dgamma[c] = x_hat[n, c]
        dy[n, c]/dbeta[c] = 1
        dL/dgamma[c] = sum[n](G[n, c] * x_hat[n, c])
        dL/dbeta[c] = sum[n](G[n, c])
        g = gamma * G
        dL/dx[n, c] = s[n] *
            (g[n, c] - mean[k](g[n, k]) - x_hat[n, c] * mean[k](x_hat[n, k] * g[n, k]))
        """,
        computes="Every position standardised over its channels, then scaled and shifted.",
        in_one_line=("dy[i]/dx[j] = gamma[i] / s (δ[i, j] - (1 + x̂[i] x̂[j]) / n) over n features",),
        where={"m": "number of channels"},
        given=lambda layer, x: {"m": x.shape[-1]},
        assumes="n runs over all axes but the last.",
        torch="F.layer_norm(x, (x.shape[-1],), gamma, beta, eps)",
    ),
    LayerEntry(
        layers.GroupNorm,
        """
        mu[n, a < A] = mean[t, r < R](x[n, t, a*R + r])
        s[n, a < A] = 1 / sqrt(mean[t, r < R]((x[n, t, a*R + r] - mu[n, a])**2) + eps)
        x_hat[n, t, c] = s[n, c // R] * (x[n, t, c] - mu[n, c // R])
        y = gamma * x_hat + beta
        dy[n, t, c]/dx[n, u, k] = gamma[c] * s[n, c // R] * ([t == u] * [c == k] -
            [c // R == k // R] * (1 + x_hat[n, t, c] * x_hat[n, u, k]) / m)
        dy[n, t, c]/dgamma[c] = x_hat[n, t, c]
        dy[n, t, c]/dbeta[c] = 1
        dL/dgamma[c] = sum[n, t](G[n, t, c] * x_hat[n, t, c])
        dL/dbeta[c] = sum[n, t](G[n, t, c])
        g = gamma * G
        p[n, a < A] = mean[t, r < R](g[n, t, a*R + r])
        q[n, a < A] = mean[t, r < R](x_hat[n, t, a*R + r] * g[n, t, a*R + r])
        dL/dx[n, t, c] =
            s[n, c // R] * (g[n, t, c] - p[n, c // R] - x_hat[n, t, c] * q[n, c // R])
        """,
        computes="Groups of channels standardised over all positions of a sample, then scaled "
        "and shifted.",
        make=lambda: layers.GroupNorm(2),
        input_shape=(3, 4),
        letters={"A": "groups"},
        where={"R": "number of channels in a group", "m": "number of values in a group"},
        given=lambda layer, x: {"R": x.shape[-1] // layer.groups, "m": x[0].size // layer.groups},
        assumes="t runs over all axes between samples and channels.",
        torch="F.group_norm(x.mT, groups, gamma, beta, eps).mT",
    ),
    LayerEntry(
        layers.InstanceNorm,
        """
        mu[n, c] = mean[t](x[n, t, c])
        s[n, c] = 1 / sqrt(mean[t]((x[n, t, c] - mu[n, c])**2) + eps)
        x_hat[n, t, c] = s[n, c] * (x[n, t, c] - mu[n, c])
        y = gamma * x_hat + beta
        dy[n, t, c]/dx[n, u, c] = gamma[c] * s[n, c] *
            ([t == u] - (1 + x_hat[n, t, c] * x_hat[n, u, c]) / m)
        dy[n, t, c]/dgamma[c] = x_hat[n, t, c]
        dy[n, t, c]/dbeta[c] = 1
        dL/dgamma[c] = sum[n, t](G[n, t, c] * x_hat[n, t, c])
        dL/dbeta[c] = sum[n, t](G[n, t, c])
        g = gamma * G
        p[n, c] = mean[t](g[n, t, c])
        q[n, c] = mean[t](x_hat[n, t, c] * g[n, t, c])
        dL/dx[n, t, c] = s[n, c] * (g[n, t, c] - p[n, c] - x_hat[n, t, c] * q[n, c])
        """,
        input_shape=(3, 2),
        where={"m": "number of positions"},
        given=lambda layer, x: {"m": x.shape[1]},
        assumes="t runs over all axes between samples and channels.",
        torch="F.instance_norm(x.mT, None, None, gamma, beta, eps=eps).mT",
    ),
    LayerEntry(
        layers.RMSNorm,
        """
        s[n] = 1 / sqrt(mean[c](x[n, c]**2) + eps)
        x_hat[n, c] = s[n] * x[n, c]
        y = gamma * x_hat
        dy[n, c]/dx[n, k] = gamma[c] * s[n] * ([c == k] - x_hat[n, c] * x_hat[n, k] / m)
        dy[n, c]/dgamma[c] = x_hat[n, c]
        dL/dgamma[c] = sum[n](G[n, c] * x_hat[n, c])
        g = gamma * G
        dL/dx[n, c] = s[n] * (g[n, c] - x_hat[n, c] * mean[k](x_hat[n, k] * g[n, k]))
        """,
        computes="Every position scaled to root-mean-square 1 over its channels, without centring.",
        where={"m": "number of channels"},
        given=lambda layer, x: {"m": x.shape[-1]},
        assumes="n runs over all axes but the last.",
        torch="F.rms_norm(x, (x.shape[-1],), gamma, eps)",
    ),
]

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
    shape = layer.mask_shape(x) if isinstance(layer, layers.Dropout) else x.shape
    keep, _ = keep_mask(layer.reseed(0).rng, layer.rate, shape)  # type: ignore[attr-defined]
    return {"m": keep.astype(float)}


def channel_mask(layer: Layer, x: np.ndarray) -> dict[str, np.ndarray]:
    """Draw the mask without its axes of length 1."""
    return {"m": mask(layer, x)["m"].reshape(len(x), -1)}


NOISE = [
    LayerEntry(
        layers.Dropout,
        """
        y = m * x / (1 - rate)
        dy/dx = m / (1 - rate)
        dL/dx = G * m / (1 - rate)
        """,
        computes="In training values are dropped at random and the rest scaled up.",
        in_one_line=(KEPT,),
        inference=NOTHING,
        make=lambda: layers.Dropout(0.25),
        where=MASK,
        given=mask,
        assumes=ASSUMES,
    ),
    LayerEntry(
        layers.SpatialDropout2D,
        """
        y[n, u, v, c] = m[n, c] * x[n, u, v, c] / (1 - rate)
        dy[n, u, v, c]/dx[n, u, v, c] = m[n, c] / (1 - rate)
        dL/dx[n, u, v, c] = G[n, u, v, c] * m[n, c] / (1 - rate)
        """,
        computes="In training whole channels are dropped at random and the rest scaled up.",
        in_one_line=(KEPT,),
        inference=NOTHING,
        make=lambda: layers.SpatialDropout2D(0.25),
        input_shape=(2, 2, 3),
        where=MASK,
        given=channel_mask,
        assumes=ASSUMES,
    ),
    LayerEntry(
        layers.AlphaDropout,
        """
        a = 1 / sqrt((1 - rate) * (1 + rate * alpha**2))
        y = a * (m * x + (1 - m) * alpha - rate * alpha)
        dy/dx = a * m
        dL/dx = G * a * m
        """,
        computes="In training values are set to what SELU tends to; mean 0 and variance 1 stay.",
        inference=NOTHING,
        make=lambda: layers.AlphaDropout(0.25),
        letters={"alpha": "SATURATION"},
        where=MASK,
        given=mask,
        assumes=f"alpha = -1.7580993…, the limit of SELU at minus infinity. {ASSUMES}",
    ),
    LayerEntry(
        layers.GaussianNoise,
        """
        y = x + stddev * e
        dy/dx = 1
        dL/dx = G
        """,
        computes="In training normal noise is added.",
        inference=NOTHING,
        make=lambda: layers.GaussianNoise(0.5),
        where={"e": "standard normal numbers, drawn in the last forward"},
        given=lambda layer, x: {"e": layer.reseed(0).rng.standard_normal(x.shape)},
        assumes="In inference nothing happens.",
    ),
]
