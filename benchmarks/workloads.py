"""What is measured: one table, from which every side builds its own version of the work."""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Workload:
    """One row: a piece of work that each side does in a process of its own.

    ``kind`` names the function in `benchmarks.sides` that builds the work, ``options`` are its
    arguments, and ``peers`` tells who takes part beside layerkit; "products" are the bare matrix
    products of the same work, and in training Adam's memory traffic. ``multiply_adds`` of one
    repetition, where matrix products dominate, turn a time into a share of the machine's rate.
    """

    group: str
    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    peers: tuple[str, ...] = ("torch",)
    multiply_adds: int = 0


def mlp(
    group: str, kind: str, sizes: tuple[int, ...], batch: int, by_heart: bool = False
) -> Workload:
    """One row of a multilayer perceptron, which may know its batch by heart."""
    products = sum(a * b for a, b in pairwise(sizes)) * batch
    if kind == "mlp_step":  # forward, and backward for weights and inputs but those of the data
        products = 3 * products - sizes[0] * sizes[1] * batch
    name = f"{'-'.join(map(str, sizes))}, batch {batch}"
    options: dict[str, Any] = {"sizes": sizes, "batch": batch}
    if by_heart:
        options["by_heart"], name = True, f"{name}, known by heart"
    jax = ("jax",) if kind == "mlp_step" else ()
    return Workload(group, name, kind, options, ("torch", *jax, "sklearn", "products"), products)


def conv(
    pass_: str, size: int, c_in: int, c_out: int, kernel: int, batch: int = 64, **options: int
) -> Workload:
    """One row of a convolution: forward, gradient of the input or of the kernel."""
    stride, groups = options.get("stride", 1), options.get("groups", 1)
    out = -(-size // stride)
    extra = "".join(f", {name} {value}" for name, value in options.items())
    return Workload(
        f"Conv2D {pass_}",
        f"{size}x{size}x{c_in} -> {c_out}, {kernel}x{kernel}{extra}",
        "conv",
        {
            "pass_": pass_,
            "size": size,
            "c_in": c_in,
            "c_out": c_out,
            "kernel": kernel,
            "batch": batch,
            **options,
        },
        multiply_adds=batch * out * out * kernel * kernel * (c_in // groups) * c_out,
    )


CONVOLUTIONS: tuple[tuple[tuple[int, int, int, int], dict[str, int]], ...] = (
    ((28, 1, 32, 3), {}),
    ((32, 3, 32, 3), {}),
    ((28, 16, 32, 3), {}),
    ((26, 32, 64, 3), {}),
    ((14, 64, 64, 3), {}),
    ((8, 128, 128, 3), {}),
    ((14, 64, 64, 1), {}),
    ((14, 64, 128, 1), {"stride": 2}),
    ((14, 16, 32, 5), {}),
    ((28, 32, 64, 3), {"stride": 2}),
    ((14, 32, 32, 3), {"dilation": 2}),
    ((14, 64, 64, 3), {"groups": 4}),
    ((28, 32, 32, 3), {"groups": 32}),
)

LAYERS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("MaxPool2D", (64, 26, 26, 32)),
    ("AvgPool2D", (64, 26, 26, 32)),
    ("BatchNorm", (64, 28, 28, 32)),
    ("BatchNorm", (128, 256)),
    ("LayerNorm", (128, 256)),
    ("LayerNorm", (64, 128, 64)),
    ("Dropout", (64, 28, 28, 32)),
    ("Dropout", (128, 256)),
    ("ReLU", (128, 256)),
    ("GELU", (128, 256)),
    ("SiLU", (128, 256)),
    ("Tanh", (128, 256)),
    ("Sigmoid", (128, 256)),
    ("ELU", (128, 256)),
    ("Softplus", (128, 256)),
)

OPTIMIZERS = (
    *("SGD", "SGD momentum", "Adam", "AdamW", "NAdam", "RAdam", "Adamax"),
    *("RMSProp", "Adagrad", "Adadelta", "Rprop"),
)

SMALL, MIDDLE, LARGE = (20, 64, 64, 2), (784, 256, 128, 10), (784, 1024, 1024, 10)
WIDE = (1000, 900, 900, 5)


def network_step(name: str, kind: str, **options: Any) -> Workload:
    """One row of a training step of a network that is no perceptron."""
    return Workload("training step", name, kind, options, ("torch", "jax"))


WORKLOADS: tuple[Workload, ...] = (
    *(mlp("training step", "mlp_step", SMALL, batch) for batch in (32,)),
    *(mlp("training step", "mlp_step", MIDDLE, batch) for batch in (32, 128, 512)),
    mlp("training step", "mlp_step", LARGE, 128),
    mlp("training step", "mlp_step", WIDE, 150),
    mlp("training step, overfitted", "mlp_step", SMALL, 32, by_heart=True),
    mlp("training step, overfitted", "mlp_step", MIDDLE, 128, by_heart=True),
    mlp("training step, overfitted", "mlp_step", LARGE, 128, by_heart=True),
    network_step("CNN 28x28, batch 64", "cnn_step", batch=64),
    network_step("residual CNN 32x32x3, batch 64", "resnet_step", batch=64),
    *(mlp("inference", "mlp_infer", SMALL, batch) for batch in (1, 32)),
    *(mlp("inference", "mlp_infer", MIDDLE, batch) for batch in (1, 32, 512)),
    mlp("inference", "mlp_infer", LARGE, 128),
    Workload("inference", "CNN 28x28, batch 64", "cnn_infer", {"batch": 64}),
    Workload("inference", "residual CNN 32x32x3, batch 64", "resnet_infer", {"batch": 64}),
    *(
        Workload(
            "predict, whole estimator",
            f"784-256-128-10, batch {batch}",
            "predict",
            {"sizes": MIDDLE, "batch": batch},
            ("torch", "sklearn"),
        )
        for batch in (1, 32)
    ),
    *(
        conv(pass_, *shape, **options)
        for pass_ in ("forward", "input gradient", "kernel gradient")
        for shape, options in CONVOLUTIONS
    ),
    *(
        Workload(
            "layer, forward + backward", f"{name} {shape}", "layer", {"name": name, "shape": shape}
        )
        for name, shape in LAYERS
    ),
    *(
        Workload(
            "loss, forward + backward",
            f"softmax + cross-entropy ({batch}, {classes})",
            "cross_entropy",
            {"batch": batch, "classes": classes},
        )
        for batch, classes in ((32, 2), (128, 10), (512, 100))
    ),
    *(
        Workload(
            "optimizer step, 1,000,000 parameters", name, "optimizer", {"name": name, "n": 10**6}
        )
        for name in OPTIMIZERS
    ),
    Workload(
        "fit, end to end",
        "60,000 x 784, 784-256-128-10, batch 128, 2 epochs",
        "fit",
        {"sizes": MIDDLE, "rows": 60_000, "batch": 128, "epochs": 2},
        ("torch", "sklearn"),
    ),
)
