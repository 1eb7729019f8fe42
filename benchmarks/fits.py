"""``python -m benchmarks.fits``: whole fits and predictions beside scikit-learn, PyTorch and JAX.

Each side works in a process of its own, in turns; a row is the median of the ratios of neighbouring
runs. Every row is written to ``benchmarks/results``, those that fall short too.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.fit_rows import BUSY, FITS, FRESH, Fit, program
from benchmarks.measure import Side, Timing, alternate
from benchmarks.workloads import Workload

PEERS = {"sklearn": "scikit-learn", "torch": "PyTorch", "jax": "JAX"}


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep one core busy with a process that only counts."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        spinning.kill()
        spinning.wait()


def measure(fit: Fit, sides: dict[str, Side], turns: int) -> Timing:
    """Time a row."""
    options = {"kind": fit.kind, "name": fit.table, "options": fit.options}
    workload = Workload(fit.group, fit.name, "table", options, fit.peers)
    with busy_core() if fit in BUSY else nullcontext():
        return alternate(workload, sides, turns)


def measure_fresh(name: str, turns: int, kernels: str | None) -> Timing:
    """Time whole processes, the start of Python included; the first turn fills caches."""
    timing = Timing(Workload("fresh process", name, "", {}, ("sklearn",)))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    if kernels:
        environment["LAYERKIT_KERNELS"] = kernels
    for turn in range(turns + 1):
        order = ("layerkit", "sklearn") if turn % 2 else ("sklearn", "layerkit")
        for library in order:
            start = time.perf_counter()
            command = [sys.executable, "-c", program(library, FRESH[name])]
            subprocess.run(command, env=environment, check=True)
            if turn:
                timing.seconds.setdefault(library, []).append(time.perf_counter() - start)
    return timing


def line(timing: Timing) -> str:
    """One row for the screen."""
    cells = [
        "{1:7.2f} [{0:5.2f}, {2:5.2f}]".format(*timing.ratio(peer))
        if peer in timing.seconds else ""
        for peer in PEERS
    ]  # fmt: skip
    ours = 1e3 * timing.median("layerkit")
    return f"  {timing.workload.name:<54}{ours:10.2f}" + "".join(f"{c:>24}" for c in cells)


def means(timings: list[Timing]) -> str:
    """Geometric mean and worst ratio to each peer, by group."""
    lines = ["geometric mean (worst) of the ratios"]
    for group in dict.fromkeys(t.workload.group for t in timings):
        cells = []
        for peer in PEERS:
            members = [t for t in timings if t.workload.group == group and peer in t.seconds]
            ratios = [t.ratio(peer)[1] for t in members]
            mean = np.exp(np.mean(np.log(ratios))) if ratios else 0
            cells.append(f"{mean:.2f} ({min(ratios):.2f})" if ratios else "")
        lines.append(f"  {group:<64}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def write_csv(timings: list[Timing], path: Path) -> None:
    """One line per row, in full precision."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        columns = [f"{peer}_ratio_{q}" for peer in PEERS for q in ("low", "median", "high")]
        writer.writerow(["group", "workload", "layerkit_seconds", *columns])
        for timing in timings:
            row = [timing.workload.group, timing.workload.name, timing.median("layerkit")]
            for peer in PEERS:
                row += timing.ratio(peer) if peer in timing.seconds else ("", "", "")
            writer.writerow(row)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fits", description=__doc__)
    parser.add_argument("--only", default="", metavar="REGEX", help="rows 'group: name' to measure")
    parser.add_argument("--turns", type=int, default=5, help="runs of each side (5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of every side")
    parser.add_argument("--kernels", choices=["numpy", "numba"], help="layerkit's (by size)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder")
    return parser.parse_args()


def main() -> None:
    """Measure, print as it goes, write the CSV."""
    options = arguments()
    names = ("layerkit", *(peer for peer in PEERS if find_spec(peer)))
    sides = {name: Side(name, options.threads, options.kernels) for name in names}
    kernels = options.kernels or "default"
    print(f"{options.threads} threads, {kernels} kernels; their time / ours, with quartiles")
    print(f"{'':<56}{'ours, ms':>10}" + "".join(f"{name:>24}" for name in PEERS.values()))
    timings = []
    try:
        for fit in (*FITS, *BUSY):
            if re.search(options.only, f"{fit.group}: {fit.name}"):
                timings.append(measure(fit, sides, options.turns))
                print(line(timings[-1]), flush=True)
    finally:
        for side in sides.values():
            side.close()
    for name in FRESH:
        if re.search(options.only, f"fresh process: {name}"):
            timings.append(measure_fresh(name, options.turns, options.kernels))
            print(line(timings[-1]), flush=True)
    if not timings:
        raise SystemExit(f"no row matches --only {options.only!r}")
    print("", means(timings), sep="\n")
    if "jax" not in names:
        print("JAX is not installed, so it took no part")
    if not options.only:  # a part is not the table
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"fits_{kernels}_{options.threads}_threads.csv"
        write_csv(timings, path)
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
