"""Pooling: the largest or the mean of every window; and numbers that only change places."""

import numpy as np

from layerkit import layers
from layerkit.inspection.catalogue.layer_entry import LayerEntry

LARGEST = "dy/dx = 1 for the largest of a window, 0 for the others"
MEAN_OF_WINDOW = "dy/dx = 1 / size of the window"
MEAN_OF_ALL = "dy/dx = 1 / number of positions"
LETTERS = {"k": "pool_size", "s": "stride"}
TIES = "Of several largest the first takes the gradient."
WINDOWS = "Without padding; windows may overlap, and be oblong."
ZEROS = np.zeros(())


POOLING = [
    LayerEntry(
        layers.MaxPool2D,
        """
        y[n, p, q, c] = max[i < k, j < k](x[n, s*p + i, s*q + j, c])
        dy[n, p, q, c]/dx[n, u, v, c] = [s*p <= u < s*p + k] * [s*q <= v < s*q + k] *
            [x[n, u, v, c] == y[n, p, q, c]]
        dL/dx[n, u, v, c] = sum[p, q](G[n, p, q, c] * [s*p <= u < s*p + k] *
            [s*q <= v < s*q + k] * [x[n, u, v, c] == y[n, p, q, c]])
        """,
        in_one_line=(LARGEST,),
        make=lambda: layers.MaxPool2D(3, stride=2),
        input_shape=(7, 7, 2),
        letters=LETTERS,
        assumes=f"{TIES} {WINDOWS} Padding never wins.",
        kinks=(ZEROS,),
        torch="F.max_pool2d(x.movedim(-1, 1), k, s).movedim(1, -1)",
    ),
    LayerEntry(
        layers.MaxPool1D,
        """
        y[n, t, c] = max[i < k](x[n, s*t + i, c])
        dy[n, t, c]/dx[n, u, c] = [s*t <= u < s*t + k] * [x[n, u, c] == y[n, t, c]]
        dL/dx[n, u, c] =
            sum[t](G[n, t, c] * [s*t <= u < s*t + k] * [x[n, u, c] == y[n, t, c]])
        """,
        in_one_line=(LARGEST,),
        make=lambda: layers.MaxPool1D(3, stride=2),
        input_shape=(7, 2),
        letters=LETTERS,
        assumes=f"{TIES} Without padding; windows may overlap. Padding never wins.",
        kinks=(ZEROS,),
        torch="F.max_pool1d(x.mT, k, s).mT",
    ),
    LayerEntry(
        layers.AvgPool2D,
        """
        y[n, p, q, c] = mean[i < k, j < k](x[n, s*p + i, s*q + j, c])
        dy[n, p, q, c]/dx[n, u, v, c] = [s*p <= u < s*p + k] * [s*q <= v < s*q + k] / k**2
        dL/dx[n, u, v, c] = sum[p, q](
            G[n, p, q, c] * [s*p <= u < s*p + k] * [s*q <= v < s*q + k]) / k**2
        """,
        in_one_line=(MEAN_OF_WINDOW,),
        make=lambda: layers.AvgPool2D(3, stride=2),
        input_shape=(7, 7, 2),
        letters=LETTERS,
        assumes=f"{WINDOWS} With padding, the mean is that of the cells that are not.",
        torch="F.avg_pool2d(x.movedim(-1, 1), k, s).movedim(1, -1)",
    ),
    LayerEntry(
        layers.AvgPool1D,
        """
        y[n, t, c] = mean[i < k](x[n, s*t + i, c])
        dy[n, t, c]/dx[n, u, c] = [s*t <= u < s*t + k] / k
        dL/dx[n, u, c] = sum[t](G[n, t, c] * [s*t <= u < s*t + k]) / k
        """,
        in_one_line=(MEAN_OF_WINDOW,),
        make=lambda: layers.AvgPool1D(3, stride=2),
        input_shape=(7, 2),
        letters=LETTERS,
        assumes="Without padding; windows may overlap. With padding, the mean is that of the steps "
        "that are not.",
        torch="F.avg_pool1d(x.mT, k, s).mT",
    ),
    LayerEntry(
        layers.GlobalMaxPool2D,
        """
        y[n, c] = max[u, v](x[n, u, v, c])
        dy[n, c]/dx[n, u, v, c] = [x[n, u, v, c] == y[n, c]]
        dL/dx[n, u, v, c] = G[n, c] * [x[n, u, v, c] == y[n, c]]
        """,
        input_shape=(2, 3, 3),
        assumes=TIES,
        kinks=(ZEROS,),
        torch="x.amax((1, 2))",
    ),
    LayerEntry(
        layers.GlobalMaxPool1D,
        """
        y[n, c] = max[t](x[n, t, c])
        dy[n, c]/dx[n, t, c] = [x[n, t, c] == y[n, c]]
        dL/dx[n, t, c] = G[n, c] * [x[n, t, c] == y[n, c]]
        """,
        input_shape=(4, 3),
        assumes=TIES,
        kinks=(ZEROS,),
        torch="x.amax(1)",
    ),
    LayerEntry(
        layers.GlobalAvgPool2D,
        """
        y[n, c] = sum[u, v](x[n, u, v, c]) / (h * w)
        dy[n, c]/dx[n, u, v, c] = 1 / (h * w)
        dL/dx[n, u, v, c] = G[n, c] / (h * w)
        """,
        in_one_line=(MEAN_OF_ALL,),
        input_shape=(2, 3, 3),
        where={"h, w": "height and width"},
        given=lambda layer, x: {"h": x.shape[1], "w": x.shape[2]},
        torch="x.mean((1, 2))",
    ),
    LayerEntry(
        layers.GlobalAvgPool1D,
        """
        y[n, c] = sum[t](x[n, t, c]) / T
        dy[n, c]/dx[n, t, c] = 1 / T
        dL/dx[n, t, c] = G[n, c] / T
        """,
        in_one_line=(MEAN_OF_ALL,),
        input_shape=(4, 3),
        where={"T": "number of steps"},
        given=lambda layer, x: {"T": x.shape[1]},
        torch="x.mean(1)",
    ),
]

MOVED = "dy/dx = 1: numbers only change places"

RESHAPING = [
    LayerEntry(
        layers.Flatten,
        """
        y[n, (u*w + v)*C + c] = x[n, u, v, c]
        dy[n, (u*w + v)*C + c]/dx[n, u, v, c] = 1
        dL/dx[n, u, v, c] = G[n, (u*w + v)*C + c]
        """,
        computes="All values of a sample in one row, the last axis running fastest.",
        in_one_line=(MOVED,),
        input_shape=(2, 3, 2),
        where={"w": "width", "C": "number of channels"},
        given=lambda layer, x: {"w": x.shape[2], "C": x.shape[3]},
        assumes="Shown for images; samples may have any shape.",
        source='LeCun et al., "Gradient-based learning applied to document recognition", Proc. '
        "IEEE 86, 1998",
        torch="x.flatten(1)",
    ),
    LayerEntry(
        layers.Reshape,
        """
        y[n, (i*w + j) // r, (i*w + j) % r] = x[n, i, j]
        dy[n, (i*w + j) // r, (i*w + j) % r]/dx[n, i, j] = 1
        dL/dx[n, i, j] = G[n, (i*w + j) // r, (i*w + j) % r]
        """,
        computes="The values of a sample in another shape, the last axis running fastest.",
        in_one_line=(MOVED,),
        make=lambda: layers.Reshape((3, 4)),
        input_shape=(2, 6),
        where={"w, r": "lengths of the last axis, before and after"},
        given=lambda layer, x: {"w": x.shape[-1], "r": layer.output_shape[-1]},
        assumes="Shown for two axes to two; any number is possible.",
        torch="x.reshape(-1, 3, 4)",
    ),
    LayerEntry(
        layers.Permute,
        """
        y[n, j, i] = x[n, i, j]
        dy[n, j, i]/dx[n, i, j] = 1
        dL/dx[n, i, j] = G[n, j, i]
        """,
        in_one_line=(MOVED,),
        make=lambda: layers.Permute((2, 1)),
        input_shape=(2, 3),
        assumes="Shown for axes = (2, 1); any order is possible.",
        torch="x.permute(0, 2, 1)",
    ),
    LayerEntry(
        layers.ZeroPad2D,
        """
        y[n, u, v, c] = x[n, u - t, v - l, c]
        dy[n, u + t, v + l, c]/dx[n, u, v, c] = 1
        dL/dx[n, u, v, c] = G[n, u + t, v + l, c]
        """,
        make=lambda: layers.ZeroPad2D(((1, 2), (3, 0))),
        input_shape=(2, 3, 2),
        where={"t, l": "rows added at the top, columns added on the left"},
        given=lambda layer, x: {"t": layer.padding[0][0], "l": layer.padding[1][0]},
        assumes="x is 0 outside of its array.",
        torch="F.pad(x, (0, 0, 3, 0, 1, 2))",
    ),
    LayerEntry(
        layers.UpSample2D,
        """
        y[n, u, v, c] = x[n, u // s, v // t, c]
        dy[n, u, v, c]/dx[n, p, q, c] = [u // s == p] * [v // t == q]
        dL/dx[n, p, q, c] = sum[i < s, j < t](G[n, s*p + i, t*q + j, c])
        """,
        make=lambda: layers.UpSample2D((2, 3)),
        input_shape=(2, 2, 2),
        where={"s, t": "the factors of size"},
        given=lambda layer, x: dict(zip("st", layer.size, strict=True)),
        torch="F.interpolate(x.movedim(-1, 1), scale_factor=(s, t)).movedim(1, -1)",
    ),
    LayerEntry(
        layers.UpSample2D,
        """
        y[n, u, v, c] = sum[i, j](A[u, i] * B[v, j] * x[n, i, j, c])
        dy[n, u, v, c]/dx[n, i, j, c] = A[u, i] * B[v, j]
        dL/dx[n, i, j, c] = sum[u, v](A[u, i] * B[v, j] * G[n, u, v, c])
        """,
        name="UpSample2D (bilinear)",
        make=lambda: layers.UpSample2D((2, 3), interpolation="bilinear"),
        input_shape=(2, 2, 2),
        where={"A, B": "the shares of the rows and of the columns"},
        given=lambda layer, x: dict(zip("AB", layer.shares(), strict=True)),
        assumes="interpolation='bilinear'.",
        torch="F.interpolate(x.movedim(-1, 1), size=(len(A), len(B)), mode='bilinear')"
        ".movedim(1, -1)",
    ),
]
