"""Layers for tables."""

import math

from layerkit import layers
from layerkit.inspection.catalogue.layer_entry import LayerEntry

TABLES = [
    LayerEntry(
        layers.Scale,
        """
        y[n, i] = s[i] * x[n, i]
        dy[n, i]/dx[n, j] = [i == j] * s[i]
        dy[n, i]/ds[j] = [i == j] * x[n, i]
        dL/dx[n, i] = s[i] * G[n, i]
        dL/ds[i] = sum[n](G[n, i] * x[n, i])
        """,
        in_one_line=("dy[i]/dx[i] = s[i]",),
        torch="s * x",
    ),
    LayerEntry(
        layers.SmoothClip,
        """
        y = x / sqrt(1 + (x / c)**2)
        dy/dx = (1 + (x / c)**2)**(-3/2)
        dL/dx = G * (1 + (x / c)**2)**(-3/2)
        """,
        in_one_line=("dy/dx = (1 + (x / c)^2)^(-3/2)",),
        letters={"c": "limit"},
        ranges={"y": "(-c, c)", "dy/dx": "(0, 1]"},
        torch="x / (1 + (x / c)**2).sqrt()",
    ),
    LayerEntry(
        layers.PeriodicEmbedding,
        """
        z[n, j, h] = 2 * pi * omega[j, h] * x[n, j] + phi[j, h]
        y[n, j, e < E] = [e == 0] * x[n, j] + b[j, e - 1] +
            sum[h](cos(z[n, j, h]) * W[j, h, e - 1])
        dy[n, j, e < E]/dx[n, i] = [i == j] * ([e == 0] -
            sum[h](2 * pi * omega[j, h] * sin(z[n, j, h]) * W[j, h, e - 1]))
        D[n, j, h] = -sin(z[n, j, h]) * sum[e](G[n, j, e + 1] * W[j, h, e])
        dL/dx[n, j] = G[n, j, 0] + sum[h](2 * pi * omega[j, h] * D[n, j, h])
        dL/domega[j, h] = sum[n](2 * pi * x[n, j] * D[n, j, h])
        dL/dphi[j, h] = sum[n](D[n, j, h])
        dL/dW[j, h, e] = sum[n](G[n, j, e + 1] * cos(z[n, j, h]))
        dL/db[j, e] = sum[n](G[n, j, e + 1])
        """,
        make=lambda: layers.PeriodicEmbedding(3, frequencies=2, sigma=0.3),
        input_shape=(2,),
        letters={"E": "dim"},
        given=lambda layer, x: {"pi": math.pi},
        torch="torch.cat([x.unsqueeze(-1), b + torch.einsum('njh,jhe->nje', "
        "torch.cos(2 * torch.pi * omega * x.unsqueeze(-1) + phi), W)], -1)",
    ),
    LayerEntry(
        layers.PiecewiseLinearEmbedding,
        """
        u[n, j, k] = (x[n, j] - low[j, k]) * inverse[j, k]
        t[n, j, k] = min(max(u[n, j, k], 0), 1)
        y[n, j, e] = b[j, e] + x[n, j] * v[j, e] + sum[k](t[n, j, k] * W[j, k, e])
        s[n, j, k] = inverse[j, k] * [u[n, j, k] > 0] * [u[n, j, k] < 1]
        dy[n, j, e]/dx[n, i] = [i == j] * (v[j, e] + sum[k](s[n, j, k] * W[j, k, e]))
        dL/dx[n, j] = sum[e](G[n, j, e] * (v[j, e] + sum[k](s[n, j, k] * W[j, k, e])))
        dL/dW[j, k, e] = sum[n](t[n, j, k] * G[n, j, e])
        dL/dv[j, e] = sum[n](x[n, j] * G[n, j, e])
        dL/db[j, e] = sum[n](G[n, j, e])
        """,
        make=lambda: layers.PiecewiseLinearEmbedding(2, bins=3),
        input_shape=(2,),
        assumes="Where bins meet the slope is that of neither: the derivative takes 0 for both.",
        not_analytic="it is piecewise",
        torch="b + x.unsqueeze(-1) * v + torch.einsum('njk,jke->nje', "
        "((x.unsqueeze(-1) - low) * inverse).clamp(0, 1), W)",
    ),
    LayerEntry(
        layers.ParametricActivation,
        """
        f = tanh(x)
        y[n, i] = x[n, i] + a[i] * (f[n, i] - x[n, i])
        dy[n, i]/dx[n, j] = [i == j] * (1 + a[i] * (1 - f[n, i]**2 - 1))
        dy[n, i]/da[j] = [i == j] * (f[n, i] - x[n, i])
        dL/dx[n, i] = (1 - a[i]) * G[n, i] + a[i] * G[n, i] * (1 - f[n, i]**2)
        dL/da[i] = sum[n](G[n, i] * (f[n, i] - x[n, i]))
        """,
        make=lambda: layers.ParametricActivation(layers.Tanh()),
        assumes="Shown for f = tanh; any activation is possible.",
        torch="x + a * (torch.tanh(x) - x)",
    ),
    LayerEntry(
        layers.BatchEnsemble,
        """
        z[n, k, u] = sum[i](x[n, k, i] * r[k, i] * W[i, u])
        y[n, k, u] = z[n, k, u] * s[k, u] + b[k, u]
        dy[n, k, u]/dx[n, m, i] = [k == m] * r[k, i] * W[i, u] * s[k, u]
        H[n, k, i] = sum[u](G[n, k, u] * s[k, u] * W[i, u])
        dL/dx[n, k, i] = H[n, k, i] * r[k, i]
        dL/dW[i, u] = sum[n, k](x[n, k, i] * r[k, i] * G[n, k, u] * s[k, u])
        dL/dr[k, i] = sum[n](H[n, k, i] * x[n, k, i])
        dL/ds[k, u] = sum[n](G[n, k, u] * z[n, k, u])
        dL/db[k, u] = sum[n](G[n, k, u])
        """,
        make=lambda: layers.BatchEnsemble(2, members=3),
        input_shape=(3, 4),
        assumes="Shown for members with inputs of their own; a shared x gets the sum over k.",
        torch="(x * r) @ W * s + b",
    ),
]
