"""The rows of the table of sequence models: what is measured, and what was aimed at.

Recurrent layers are those of every kind, width, length and batch, with 32 inputs and a linear layer
on the last step; attention has 4 heads of 128 features. PyTorch's attention is its fused kernel
(``need_weights=False``), and rows of unequal length are padded and masked there, as it takes no
others; its recurrent modules get them packed.
"""

import re
from itertools import product

from benchmarks.workloads import Workload

KINDS = ("SimpleRNN", "GRU", "LSTM")
UNITS = (32, 64, 128, 256)
STEPS = (20, 50, 200)
BATCHES = (1, 32, 128)
ATTENTION = ((64, 32), (128, 16), (256, 16), (512, 8), (1024, 4))
"""Steps of a row, and how many rows."""

MEAN_GOAL = 0.7
"""What was aimed at in the mean of all rows with NumPy alone."""


def recurrent(
    kind: str, units: int, steps: int, batch: int, training: bool, variant: str = ""
) -> Workload:
    """One row: a recurrent layer with 32 inputs and a linear layer on its last step."""
    options = {
        "kind": kind,
        "units": units,
        "steps": steps,
        "batch": batch,
        "dtype": "float64" if variant == "float64" else "float32",
        "ragged": variant == "ragged",
        "training": training,
    }
    group = f"{kind} {'training step' if training else 'inference'} {variant}".strip()
    name = f"{units} units, {steps} steps, batch {batch}"
    return Workload(group, name, "recurrent", options, ("torch", "products"))


def attention() -> list[Workload]:
    """One row for each length, kind and pass of attention and the transformer's block."""
    rows = []
    for training, group in ((True, "forward + backward"), (False, "inference")):
        for kind, causal in (("attention", False), ("attention", True), ("transformer", False)):
            work = f"{kind} causal" if causal else kind
            for steps, batch in ATTENTION:
                name = f"{batch} rows of {steps} steps"
                options = {"steps": steps, "batch": batch, "causal": causal, "training": training}
                rows.append(Workload(f"{work}, {group}", name, kind, options))
        ragged = {"steps": 256, "batch": 16, "training": training, "ragged": True}
        name = "16 rows of 16 to 256 steps"
        rows.append(Workload(f"attention ragged, {group}", name, "attention", ragged))
    return rows


RECURRENT = tuple(
    recurrent(kind, units, steps, batch, training, variant)
    for kind, training, variant in product(KINDS, (True, False), ("", "ragged", "float64"))
    for units, steps, batch in product(UNITS, STEPS, BATCHES)
    if not (variant == "ragged" and batch == 1)
)
ALL = (*RECURRENT, *attention())
SAMPLE = (*RECURRENT[::5], *attention())
"""Every fifth recurrent row, so that each width meets each length and batch."""


def goal(group: str, name: str) -> float:
    """PyTorch's time over ours that was aimed at, with Numba.

    >>> goal("LSTM inference", "64 units, 20 steps, batch 1")
    1.5
    """
    size = int(re.findall(r"(\d+) (?:units|steps)", name)[0])
    if group.startswith(("attention", "transformer")):
        return 1.2 if size <= 256 else 0.8
    if group.endswith("ragged"):
        return 2.0
    if group.endswith("float64"):
        return 1.5
    if group.startswith("LSTM"):
        return 1.5 if size <= 64 else 1.0
    return 2.0
