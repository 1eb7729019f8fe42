"""``python -m benchmarks --table images``: what convolutional networks are made of, shape by shape.

It is meant for layerkit in NumPy (``--kernels numpy``), whose speed depends on shapes more than
that of compiled code does.
"""

from benchmarks.workloads import Workload, conv

# size, channels and filters, kernel, batch, and options
SHAPES: tuple[tuple[tuple[int, int, int, int, int], dict[str, int]], ...] = (
    ((24, 1, 24, 3, 50), {}),
    ((12, 24, 48, 3, 50), {}),
    ((32, 3, 32, 3, 50), {}),
    ((28, 3, 16, 5, 128), {}),
    ((28, 16, 16, 3, 8), {}),
    ((14, 16, 32, 5, 50), {}),
    ((14, 64, 64, 3, 50), {}),
    ((14, 16, 64, 1, 50), {}),
    ((14, 64, 64, 1, 128), {}),
    ((28, 16, 32, 3, 50), {"stride": 2}),
    ((14, 64, 64, 3, 8), {"stride": 2}),
)
DEPTHWISE = (
    ((28, 16), {}),
    ((28, 32), {}),
    ((14, 64), {}),
    ((7, 256), {}),
    ((28, 64), {"stride": 2}),
)
POOLS = ((2, 2), (3, 2), (3, 1))  # size and stride
POOLED = ((50, 22, 22, 24), (8, 28, 28, 64), (128, 12, 12, 16))
RULES = ("SGD", "SGD momentum", "Adam", "AdamW", "RMSProp")
PASSES = ("forward", "input gradient", "kernel gradient")


def depthwise(pass_: str, size: int, channels: int, **options: int) -> Workload:
    """One row of a 3 x 3 convolution of every channel by itself."""
    found = conv(pass_, size, channels, channels, 3, 50, groups=channels, **options)
    return Workload("depthwise", f"{pass_}, {found.name}", found.kind, found.options)


ROWS: tuple[Workload, ...] = (
    *(
        Workload(
            "convolutional network, training step",
            f"{size}x{size}x{channels}, {filters[0]} and {filters[1]} filters, batch {batch}",
            "small_cnn_step",
            {"size": size, "channels": channels, "filters": filters, "batch": batch},
        )
        for size, channels, filters, batch in (
            (24, 1, (24, 48), 50),
            (24, 1, (24, 48), 8),
            (28, 1, (8, 16), 128),
            (32, 3, (32, 64), 50),
        )
    ),
    *(conv(pass_, *shape, **options) for pass_ in PASSES for shape, options in SHAPES),
    *(depthwise(pass_, *shape, **options) for pass_ in PASSES for shape, options in DEPTHWISE),
    *(
        Workload(
            "pooling, forward + backward",
            f"{kind} {size}x{size}, stride {stride}, {shape}",
            "pool",
            {"kind": kind, "shape": shape, "size": size, "stride": stride},
        )
        for kind in ("Max", "Avg")
        for size, stride in POOLS
        for shape in POOLED
    ),
    *(
        Workload(
            "optimizer step",
            f"{name}, {n:,} {dtype}",
            "optimizer",
            {"name": name, "n": n, "dtype": dtype},
        )
        for n in (10**4, 10**6)
        for dtype in ("float32", "float64")
        for name in RULES
    ),
)
