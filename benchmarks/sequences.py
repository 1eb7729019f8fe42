"""``python -m benchmarks.sequences``: sequence models beside PyTorch, row by row.

Every fifth row of the table by default, so that each width meets each length and batch; ``--all``
measures all of it, which takes an hour. The figures go to ``results/sequences.csv``; what stands
there already is not measured again, so that the command may be stopped and goes on.
"""

import argparse
import csv
import os
import re
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np

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


COLUMNS = ("kernels", "threads", "group", "workload", "milliseconds", "low", "ratio", "high")
"""Of a CSV: the median of our time, and of PyTorch's time over ours, with its quartiles."""


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequences", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every row, not every fifth")
    fill(parser, lambda options: WORKLOADS if options.all else WORKLOADS[::5], "sequences.csv")


def fill(
    parser: argparse.ArgumentParser, choose: Callable[..., Sequence[Workload]], name: str
) -> None:
    """Measure the rows that a CSV does not have, and write each as soon as it is known."""
    parser.add_argument("--only", default="", metavar="REGEX", help="of 'group: name'")
    parser.add_argument("--alternations", type=int, default=7, help="runs of each side (7)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each side")
    parser.add_argument("--kernels", choices=["numpy", "numba"], default="numba")
    parser.add_argument("--seconds", type=float, default=np.inf, help="begin no row after them")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results") / name)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    setting = [options.kernels, str(options.threads)]
    known = rows(options.out)
    missing = [
        workload
        for workload in choose(options)
        if re.search(options.only, f"{workload.group}: {workload.name}")
        and (*setting, workload.group, workload.name) not in known
    ]
    sides = {
        "layerkit": Side("layerkit", options.threads, options.kernels),
        "torch": Side("torch", options.threads),
    }
    with options.out.open("a", newline="") as file:
        writer = csv.writer(file)
        if not known:
            writer.writerow(COLUMNS)
        for workload in missing:
            if time.monotonic() > end:
                break
            timing = alternate(workload, sides, options.alternations)
            figures = [1e3 * timing.median("layerkit"), *timing.ratio("torch")]
            writer.writerow(
                [*setting, workload.group, workload.name, *(f"{x:.4g}" for x in figures)]
            )
            file.flush()
    for side in sides.values():
        side.close()
    print(summary(rows(options.out)))


def rows(path: Path) -> dict[tuple[str, ...], tuple[float, float]]:
    """Read a CSV: our milliseconds and PyTorch's time over ours, of each row."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            tuple(row[column] for column in COLUMNS[:4]): (
                float(row["milliseconds"]),
                float(row["ratio"]),
            )
            for row in csv.DictReader(file)
        }


def summary(known: dict[tuple[str, ...], tuple[float, float]]) -> str:
    """PyTorch's time over ours as a Markdown table: of each group its mean, least and largest."""
    groups: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for (kernels, _, group, workload), (_, ratio) in known.items():
        groups.setdefault((kernels, group), []).append((ratio, workload))
    lines = ["| kernels | work | rows | mean | least | most |", "|---|---|---|---|---|---|"]
    for (kernels, group), found in groups.items():
        mean = np.exp(np.mean([np.log(ratio) for ratio, _ in found]))
        (least, where), (most, _) = min(found), max(found)
        cells = f"{mean:.1f} | {least:.1f} ({where}) | {most:.1f}"
        lines.append(f"| {kernels} | {group} | {len(found)} | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
