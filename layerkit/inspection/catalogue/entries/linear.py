"""Fully connected layer, embedding and convolutions."""

from layerkit import layers
from layerkit.inspection.catalogue.layer_entry import LayerEntry

LINEAR = [
    LayerEntry(
        layers.Dense,
        """
        y = x @ W + b
        dy[n, j]/dx[n, i] = W[i, j]
        dy[n, j]/dW[i, j] = x[n, i]
        dy[n, j]/db[j] = 1
        dL/dx = G @ W.T
        dL/dW = x.T @ G
        dL/db[j] = sum[n](G[n, j])
        """,
        computes="One affine map of the last axis.",
        in_one_line=("dy[j]/dx[i] = W[i, j]",),
        make=lambda: layers.Dense(3),
        assumes="Rows are samples, and positions if there are any.",
        torch="F.linear(x, W.T, b)",
    ),
    LayerEntry(
        layers.NTKDense,
        """
        y = x @ W / sqrt(N) + b
        dy[n, j]/dx[n, i] = W[i, j] / sqrt(N)
        dy[n, j]/dW[i, j] = x[n, i] / sqrt(N)
        dy[n, j]/db[j] = 1
        dL/dx = G @ W.T / sqrt(N)
        dL/dW = x.T @ G / sqrt(N)
        dL/db[j] = sum[n](G[n, j])
        """,
        in_one_line=("dy[j]/dx[i] = W[i, j] / sqrt(N)",),
        make=lambda: layers.NTKDense(3),
        where={"N": "the number of inputs"},
        given=lambda layer, x: {"N": layer.input_shape[0]},
        torch="F.linear(x, W.T / N**0.5, b)",
    ),
    LayerEntry(
        layers.Embedding,
        """
        y[n, t, e] = W[x[n, t], e]
        dy/dx = 0
        dy[n, t, e]/dW[k, e] = [x[n, t] == k]
        dL/dx = 0
        dL/dW[k, e] = sum[n, t](G[n, t, e] * [x[n, t] == k])
        """,
        in_one_line=("dy/dW = 1 for the row that x names, 0 for the others",),
        make=lambda: layers.Embedding(5, 3),
        assumes="Integers have no derivative: the gradient of the input is zero by convention.",
        not_analytic="x holds integers",
        sample=lambda rng, shape: rng.integers(5, size=shape),
        torch="F.embedding(x, W)",
    ),
]

OVERLAP = "dy/dx = the entry of W that lies over x when y is computed"
LETTERS = {"s": "stride", "d": "dilation", "P": "padding"}
ASSUMES = "x and G are 0 outside of their arrays. Stride, dilation and padding may differ by axis."
GUIDE = 'Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016'

CONVOLUTION = [
    LayerEntry(
        layers.Conv2D,
        """
        y[n, p, q, f] = b[f] +
            sum[i, j, c](x[n, s*p + d*i - P, s*q + d*j - P, c] * W[i, j, c, f])
        dy[n, p, q, f]/dx[n, u, v, c] =
            sum[i, j](W[i, j, c, f] * [s*p + d*i - P == u] * [s*q + d*j - P == v])
        dy[n, p, q, f]/dW[i, j, c, f] = x[n, s*p + d*i - P, s*q + d*j - P, c]
        dy[n, p, q, f]/db[f] = 1
        dL/dx[n, u, v, c] = sum[p, q, i, j, f](
            G[n, p, q, f] * W[i, j, c, f] * [s*p + d*i - P == u] * [s*q + d*j - P == v])
        dL/dW[i, j, c, f] =
            sum[n, p, q](x[n, s*p + d*i - P, s*q + d*j - P, c] * G[n, p, q, f])
        dL/db[f] = sum[n, p, q](G[n, p, q, f])
        """,
        computes="The same small weights at every place of an image (cross-correlation, as "
        "everywhere).",
        in_one_line=(OVERLAP,),
        make=lambda: layers.Conv2D(2, (3, 2), stride=2, padding=1),
        input_shape=(5, 4, 2),
        letters=LETTERS,
        assumes=f"{ASSUMES} With groups, each group of filters reads its own group of channels.",
        source='LeCun et al., "Gradient-based learning applied to document recognition", Proc. '
        f"IEEE 86, 1998; {GUIDE}",
        torch="F.conv2d(x.movedim(-1, 1), W.permute(3, 2, 0, 1), b, s, P, d).movedim(1, -1)",
    ),
    LayerEntry(
        layers.Conv1D,
        """
        y[n, t, f] = b[f] + sum[i, c](x[n, s*t + d*i - P, c] * W[i, c, f])
        dy[n, t, f]/dx[n, u, c] = sum[i](W[i, c, f] * [s*t + d*i - P == u])
        dy[n, t, f]/dW[i, c, f] = x[n, s*t + d*i - P, c]
        dy[n, t, f]/db[f] = 1
        dL/dx[n, u, c] = sum[t, i, f](G[n, t, f] * W[i, c, f] * [s*t + d*i - P == u])
        dL/dW[i, c, f] = sum[n, t](x[n, s*t + d*i - P, c] * G[n, t, f])
        dL/db[f] = sum[n, t](G[n, t, f])
        """,
        computes="The same small weights at every step of a sequence.",
        in_one_line=(OVERLAP,),
        make=lambda: layers.Conv1D(3, 3, stride=2, padding=1, dilation=2),
        input_shape=(8, 2),
        letters=LETTERS,
        assumes="x and G are 0 outside of their arrays.",
        torch="F.conv1d(x.mT, W.permute(2, 1, 0), b, s, P, d).mT",
    ),
    LayerEntry(
        layers.DepthwiseConv2D,
        """
        y[n, p, q, f] = b[f] +
            sum[i, j](x[n, s*p + d*i - P, s*q + d*j - P, f // M] * W[i, j, 0, f])
        dy[n, p, q, f]/dx[n, u, v, c] = [f // M == c] *
            sum[i, j](W[i, j, 0, f] * [s*p + d*i - P == u] * [s*q + d*j - P == v])
        dy[n, p, q, f]/dW[i, j, 0, f] = x[n, s*p + d*i - P, s*q + d*j - P, f // M]
        dy[n, p, q, f]/db[f] = 1
        dL/dx[n, u, v, c] = sum[p, q, i, j, m < M](G[n, p, q, c*M + m] *
            W[i, j, 0, c*M + m] * [s*p + d*i - P == u] * [s*q + d*j - P == v])
        dL/dW[i, j, 0, f] =
            sum[n, p, q](x[n, s*p + d*i - P, s*q + d*j - P, f // M] * G[n, p, q, f])
        dL/db[f] = sum[n, p, q](G[n, p, q, f])
        """,
        computes="Every channel convolved on its own, M times.",
        make=lambda: layers.DepthwiseConv2D((3, 2), stride=2, padding=1, depth_multiplier=2),
        input_shape=(4, 3, 2),
        letters={**LETTERS, "M": "depth_multiplier"},
        assumes=ASSUMES,
        torch="F.conv2d(x.movedim(-1, 1), W.permute(3, 2, 0, 1), b, s, P, d, x.shape[-1])"
        ".movedim(1, -1)",
    ),
    LayerEntry(
        layers.SeparableConv2D,
        """
        h[n, p < H, q < K, e] =
            sum[i, j](x[n, s*p + d*i - P, s*q + d*j - P, e // M] * W_depth[i, j, 0, e])
        y[n, p, q, f] = b[f] + sum[e](h[n, p, q, e] * W_point[0, 0, e, f])
        dy[n, p, q, f]/dx[n, u, v, c] = sum[i, j, m < M](W_depth[i, j, 0, c*M + m] *
            W_point[0, 0, c*M + m, f] * [s*p + d*i - P == u] * [s*q + d*j - P == v])
        dL/dh[n, p, q, e] = sum[f](G[n, p, q, f] * W_point[0, 0, e, f])
        dL/dx[n, u, v, c] = sum[p, q, i, j, m < M]((dL/dh[n, p, q, c*M + m]) *
            W_depth[i, j, 0, c*M + m] * [s*p + d*i - P == u] * [s*q + d*j - P == v])
        dL/dW_depth[i, j, 0, e] =
            sum[n, p, q](x[n, s*p + d*i - P, s*q + d*j - P, e // M] * (dL/dh[n, p, q, e]))
        dL/dW_point[0, 0, e, f] = sum[n, p, q](h[n, p, q, e] * G[n, p, q, f])
        dL/db[f] = sum[n, p, q](G[n, p, q, f])
        """,
        computes="Every channel convolved on its own, then a 1 x 1 convolution that mixes the "
        "channels.",
        make=lambda: layers.SeparableConv2D(3, (3, 2), stride=2, padding=1, depth_multiplier=2),
        input_shape=(4, 3, 2),
        letters={**LETTERS, "M": "depth_multiplier"},
        where={"H, K": "height and width of the output"},
        given=lambda layer, x: dict(zip("HK", layer.output_shape, strict=False)),
        assumes=ASSUMES,
        torch="F.conv2d(F.conv2d(x.movedim(-1, 1), W_depth.permute(3, 2, 0, 1), None, s, P, d, "
        "x.shape[-1]), W_point.permute(3, 2, 0, 1), b).movedim(1, -1)",
    ),
    LayerEntry(
        layers.ConvTranspose2D,
        """
        y[n, u, v, f] = b[f] + sum[p, q, i, j, c](
            x[n, p, q, c] * W[i, j, c, f] * [s*p + d*i - P == u] * [s*q + d*j - P == v])
        dy[n, u, v, f]/dx[n, p, q, c] =
            sum[i, j](W[i, j, c, f] * [s*p + d*i - P == u] * [s*q + d*j - P == v])
        dy[n, u, v, f]/dW[i, j, c, f] =
            sum[p, q](x[n, p, q, c] * [s*p + d*i - P == u] * [s*q + d*j - P == v])
        dy[n, u, v, f]/db[f] = 1
        dL/dx[n, p, q, c] =
            sum[i, j, f](W[i, j, c, f] * G[n, s*p + d*i - P, s*q + d*j - P, f])
        dL/dW[i, j, c, f] =
            sum[n, p, q](x[n, p, q, c] * G[n, s*p + d*i - P, s*q + d*j - P, f])
        dL/db[f] = sum[n, u, v](G[n, u, v, f])
        """,
        computes="Each cell lays its multiple of the kernel on a larger image: Conv2D backwards.",
        make=lambda: layers.ConvTranspose2D(2, (3, 2), stride=2, padding=1),
        input_shape=(3, 3, 2),
        letters=LETTERS,
        assumes=ASSUMES,
        source=f'Zeiler et al., "Deconvolutional networks", CVPR 2010; {GUIDE}',
        torch="F.conv_transpose2d(x.movedim(-1, 1), W.permute(2, 3, 0, 1), b, s, P, dilation=d)"
        ".movedim(1, -1)",
    ),
]
