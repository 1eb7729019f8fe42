"""``python -m benchmarks.attention``: attention and a transformer block beside PyTorch's.

Each side works in a process of its own, in turn, as in ``python -m benchmarks``. PyTorch's
attention is its fused kernel (``need_weights=False``), and rows of unequal length are padded and
masked there, as it takes no others.
"""

import argparse
import os
import sys

from benchmarks import report
from benchmarks.measure import Side, alternate
from benchmarks.workloads import Workload

HEADS, FEATURES = 4, 128
STEPS = ((64, 32), (128, 16), (256, 16), (512, 8), (1024, 4))
"""Steps of a row, and how many rows."""


def workloads() -> list[Workload]:
    """One row for each length, kind and pass."""
    rows = []
    for training, group in ((True, "forward + backward"), (False, "inference")):
        for kind, causal in (("attention", False), ("attention", True), ("transformer", False)):
            for steps, batch in STEPS:
                name = f"{kind}{' causal' * causal}, {batch} rows of {steps} steps"
                options = {"steps": steps, "batch": batch, "causal": causal, "training": training}
                rows.append(Workload(group, name, kind, options))
        ragged = {"steps": 256, "batch": 16, "training": training, "ragged": True}
        rows.append(Workload(group, "attention, 16 rows of 16 to 256 steps", "attention", ragged))
    return rows


def main() -> None:
    """Measure and print as it goes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__)
    parser.add_argument("--alternations", type=int, default=15, help="runs of each side (15)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every side")
    parser.add_argument("--kernels", choices=["numpy", "numba"], help="layerkit's kernels")
    parser.add_argument("--only", default="", help="part of the name of a row")
    options = parser.parse_args()
    sides = {name: Side(name, options.threads, options.kernels) for name in ("layerkit", "torch")}
    timings = []
    for workload in workloads():
        if options.only in f"{workload.group}: {workload.name}":
            timings.append(alternate(workload, sides, options.alternations))
            print(report.line(timings[-1], 1.0), flush=True)
    print(report.groups(timings))
    for side in sides.values():
        side.close()


if __name__ == "__main__":
    sys.exit(main())
