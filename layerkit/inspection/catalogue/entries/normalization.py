"""Normalization."""

from layerkit.inspection.catalogue.layer_entry import LayerEntry
from layerkit.layers import BatchNorm, GroupNorm, LayerNorm, RMSNorm

ENTRIES = [
    LayerEntry(
        BatchNorm,
        "Every channel standardised over the batch and all positions, then scaled and shifted.",
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
        source='Ioffe and Szegedy, "Batch normalization: accelerating deep network training by '
        'reducing internal covariate shift", ICML 2015',
        torch="F.batch_norm(x, running_mean, running_var, gamma, beta, training, momentum, eps)",
    ),
    LayerEntry(
        LayerNorm,
        "Every position standardised over its channels, then scaled and shifted.",
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
        in_one_line=("dy[i]/dx[j] = gamma[i] / s (δ[i, j] - (1 + x̂[i] x̂[j]) / n) over n features",),
        where={"m": "number of channels"},
        given=lambda layer, x: {"m": x.shape[-1]},
        assumes="n runs over all axes but the last.",
        source='Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450, 2016',
        torch="F.layer_norm(x, (x.shape[-1],), gamma, beta, eps)",
    ),
    LayerEntry(
        GroupNorm,
        "Groups of channels standardised over all positions of a sample, then scaled and shifted.",
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
        make=lambda: GroupNorm(2),
        input_shape=(3, 4),
        letters={"A": "groups"},
        where={"R": "number of channels in a group", "m": "number of values in a group"},
        given=lambda layer, x: {"R": x.shape[-1] // layer.groups, "m": x[0].size // layer.groups},
        assumes="t runs over all axes between samples and channels.",
        source='Wu and He, "Group normalization", ECCV 2018',
        torch="F.group_norm(x.mT, groups, gamma, beta, eps).mT",
    ),
    LayerEntry(
        RMSNorm,
        "Every position scaled to root-mean-square 1 over its channels, without centring.",
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
        where={"m": "number of channels"},
        given=lambda layer, x: {"m": x.shape[-1]},
        assumes="n runs over all axes but the last.",
        source='Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019',
        torch="F.rms_norm(x, (x.shape[-1],), gamma, eps)",
    ),
]
