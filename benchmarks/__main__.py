"""``python -m benchmarks``: layerkit beside PyTorch and scikit-learn, row by row."""

import argparse
import os
import platform
import re
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks import footprint, image_rows, report, scaling
from benchmarks.measure import Side, alternate
from benchmarks.workloads import WORKLOADS

TABLES = {"steps": WORKLOADS, "images": image_rows.ROWS}


def matmul_rate(n: int = 1024, runs: int = 50) -> float:
    """Floating-point operations a second of a float32 matrix product in this process."""
    a = np.random.default_rng(0).standard_normal((n, n), dtype=np.float32)
    out, seconds = np.empty_like(a), []
    for _ in range(runs):
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / float(np.median(seconds))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--table", choices=TABLES, default="steps", help="which rows (steps)")
    parser.add_argument(
        "--only", default="", metavar="REGEX", help="rows whose 'group: name' matches"
    )
    parser.add_argument("--alternations", type=int, default=25, help="runs of each side (25)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every side")
    parser.add_argument("--kernels", choices=["numpy", "numba"], help="layerkit's kernels")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder")
    parser.add_argument("--brief", action="store_true", help="no footprint, no scaling")
    return parser.parse_args()


def main() -> None:
    """Measure, print as it goes, then write CSV and pictures."""
    options = arguments()
    if "OMP_NUM_THREADS" not in os.environ:  # this process measures the rate with as many threads
        os.environ |= dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads)
        )
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]])
    chosen = [w for w in TABLES[options.table] if re.search(options.only, f"{w.group}: {w.name}")]
    peers = [peer for peer in report.PEERS if find_spec(peer)]
    rate = matmul_rate()  # before there are others
    names = ("layerkit", *peers, report.BARE)
    sides = {name: Side(name, options.threads, options.kernels) for name in names}
    title = (
        f"{platform.processor() or platform.machine()}, {options.threads} threads, "
        f"{options.kernels or 'default'} kernels, matrix products at {rate / 1e9:.0f} GFLOP/s"
    )
    print(title, "", report.header(), sep="\n")
    timings, group = [], ""
    for workload in chosen:
        if workload.group != group:
            group = workload.group
            print(group)
        timings.append(alternate(workload, sides, options.alternations))
        print(report.line(timings[-1], rate), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    prefix = "" if options.table == "steps" else f"{options.table}_"
    name = f"{prefix}{options.kernels or 'default'}_{options.threads}_threads"
    if timings:
        print("", report.groups(timings), sep="\n")
        report.write_csv(timings, rate, options.out / f"{name}.csv")
        report.draw(timings, options.out / f"{name}.png", title)
    if not (options.brief or prefix):
        found = scaling.measure(sides["layerkit"], 5)
        scaling.draw(found, options.out / f"scaling_{name}.png")
        print("", scaling.report(found), "", footprint.report(), sep="\n")
    for side in sides.values():
        side.close()
    print(f"\nwrote {options.out}/{name}.csv and .png")


if __name__ == "__main__":
    main()
