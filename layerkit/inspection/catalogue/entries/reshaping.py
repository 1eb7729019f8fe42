"""Numbers that only change places."""

from layerkit.inspection.catalogue.layer_entry import LayerEntry
from layerkit.layers import Flatten, Permute, Reshape, UpSample2D, ZeroPad2D

MOVED = "dy/dx = 1: numbers only change places"

ENTRIES = [
    LayerEntry(
        Flatten,
        "All values of a sample in one row, the last axis running fastest.",
        """
        y[n, (u*w + v)*C + c] = x[n, u, v, c]
        dy[n, (u*w + v)*C + c]/dx[n, u, v, c] = 1
        dL/dx[n, u, v, c] = G[n, (u*w + v)*C + c]
        """,
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
        Reshape,
        "The values of a sample in another shape, the last axis running fastest.",
        """
        y[n, (i*w + j) // r, (i*w + j) % r] = x[n, i, j]
        dy[n, (i*w + j) // r, (i*w + j) % r]/dx[n, i, j] = 1
        dL/dx[n, i, j] = G[n, (i*w + j) // r, (i*w + j) % r]
        """,
        in_one_line=(MOVED,),
        make=lambda: Reshape((3, 4)),
        input_shape=(2, 6),
        where={"w, r": "lengths of the last axis, before and after"},
        given=lambda layer, x: {"w": x.shape[-1], "r": layer.output_shape[-1]},
        assumes="Shown for two axes to two; any number is possible.",
        torch="x.reshape(-1, 3, 4)",
    ),
    LayerEntry(
        Permute,
        "The axes of a sample in another order.",
        """
        y[n, j, i] = x[n, i, j]
        dy[n, j, i]/dx[n, i, j] = 1
        dL/dx[n, i, j] = G[n, j, i]
        """,
        in_one_line=(MOVED,),
        make=lambda: Permute((2, 1)),
        input_shape=(2, 3),
        assumes="Shown for axes = (2, 1); any order is possible.",
        torch="x.permute(0, 2, 1)",
    ),
    LayerEntry(
        ZeroPad2D,
        "Images in a frame of zeros.",
        """
        y[n, u, v, c] = x[n, u - t, v - l, c]
        dy[n, u + t, v + l, c]/dx[n, u, v, c] = 1
        dL/dx[n, u, v, c] = G[n, u + t, v + l, c]
        """,
        make=lambda: ZeroPad2D(((1, 2), (3, 0))),
        input_shape=(2, 3, 2),
        where={"t, l": "rows added at the top, columns added on the left"},
        given=lambda layer, x: {"t": layer.padding[0][0], "l": layer.padding[1][0]},
        assumes="x is 0 outside of its array.",
        torch="F.pad(x, (0, 0, 3, 0, 1, 2))",
    ),
    LayerEntry(
        UpSample2D,
        "Images enlarged by repeating pixels (nearest neighbour).",
        """
        y[n, u, v, c] = x[n, u // s, v // t, c]
        dy[n, u, v, c]/dx[n, p, q, c] = [u // s == p] * [v // t == q]
        dL/dx[n, p, q, c] = sum[i < s, j < t](G[n, s*p + i, t*q + j, c])
        """,
        make=lambda: UpSample2D((2, 3)),
        input_shape=(2, 2, 2),
        where={"s, t": "the factors of size"},
        given=lambda layer, x: dict(zip("st", layer.size, strict=True)),
        source='Odena, Dumoulin and Olah, "Deconvolution and checkerboard artifacts", Distill, '
        "2016 (why to enlarge first and convolve then)",
        torch="F.interpolate(x.movedim(-1, 1), scale_factor=(s, t)).movedim(1, -1)",
    ),
]
