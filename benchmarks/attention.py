"""``python -m benchmarks.attention``: attention and a transformer block beside PyTorch's.

Each side works in a process of its own, in turn, as in ``python -m benchmarks``. PyTorch's
attention is its fused kernel (``need_weights=False``), and rows of unequal length are padded and
masked there, as it takes no others. The figures go to ``results/attention.csv``, as those of
``python -m benchmarks.sequences`` do.
"""

import argparse

from benchmarks.sequences import fill
from benchmarks.workloads import Workload

HEADS, FEATURES = 4, 128
STEPS = ((64, 32), (128, 16), (256, 16), (512, 8), (1024, 4))
"""Steps of a row, and how many rows."""


def workloads() -> list[Workload]:
    """One row for each length, kind and pass."""
    rows = []
    for training, group in ((True, "forward + backward"), (False, "inference")):
        for kind, causal in (("attention", False), ("attention", True), ("transformer", False)):
            work = f"{kind} causal" if causal else kind
            for steps, batch in STEPS:
                name = f"{batch} rows of {steps} steps"
                options = {"steps": steps, "batch": batch, "causal": causal, "training": training}
                rows.append(Workload(f"{work}, {group}", name, kind, options))
        ragged = {"steps": 256, "batch": 16, "training": training, "ragged": True}
        name = "16 rows of 16 to 256 steps"
        rows.append(Workload(f"attention ragged, {group}", name, "attention", ragged))
    return rows


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__)
    fill(parser, lambda options: workloads(), "attention.csv")


if __name__ == "__main__":
    main()
