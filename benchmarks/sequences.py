"""``python -m benchmarks.sequences``: sequence models beside PyTorch, row by row.

Every fifth row of the table by default, so that each width meets each length and batch; ``--all``
measures all of it, which takes half an hour.

From 128 units on, bare products by BLAS are 0.7 to 0.9 of a step with Numba (0.5 to 0.9 with NumPy
only), on one thread: those rows cannot be more than 1.1 to 1.4 times faster than they are.
"""

import argparse
import re
from itertools import product

from benchmarks import report
from benchmarks.measure import Side, alternate
from benchmarks.workloads import Workload

KINDS = ("SimpleRNN", "GRU", "LSTM")
UNITS = (32, 64, 128, 256)
STEPS = (20, 50, 200)
BATCHES = (1, 32, 128)


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
    return Workload(group, f"{units} units, {steps} steps, batch {batch}", "recurrent", options)


WORKLOADS = tuple(
    recurrent(kind, units, steps, batch, training, variant)
    for kind, training, variant in product(KINDS, (True, False), ("", "ragged", "float64"))
    for units, steps, batch in product(UNITS, STEPS, BATCHES)
    if not (variant == "ragged" and batch == 1)
)


def main() -> None:
    """Measure and print as it goes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequences", description=__doc__)
    parser.add_argument("--only", default="", metavar="REGEX", help="of 'group: name'")
    parser.add_argument("--all", action="store_true", help="every row, not every fifth")
    parser.add_argument("--alternations", type=int, default=7, help="runs of each side (7)")
    parser.add_argument("--threads", type=int, default=2, help="of each side (2)")
    parser.add_argument("--kernels", choices=["numpy", "numba"], help="layerkit's kernels")
    options = parser.parse_args()
    chosen = [w for w in WORKLOADS if re.search(options.only, f"{w.group}: {w.name}")]
    chosen = chosen if options.all else chosen[::5]
    sides = {
        name: Side(name, options.threads, options.kernels if name == "layerkit" else None)
        for name in ("layerkit", "torch")
    }
    timings, group = [], ""
    for workload in chosen:
        if workload.group != group:
            group = workload.group
            print(group)
        timings.append(alternate(workload, sides, options.alternations))
        low, middle, high = timings[-1].ratio("torch")
        ours = 1e3 * timings[-1].median("layerkit")
        name = workload.name
        print(f"  {name:<40}{ours:10.3f} ms {middle:8.2f} [{low:5.2f}, {high:5.2f}]", flush=True)
    print("", report.groups(timings), sep="\n")
    for side in sides.values():
        side.close()


if __name__ == "__main__":
    main()
