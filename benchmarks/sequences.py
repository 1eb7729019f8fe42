"""``python -m benchmarks.sequences``: sequence models beside PyTorch, row by row.

With Numba and with NumPy alone; every fifth row of the recurrent layers, which takes some forty
minutes, or with ``--all`` every row, which takes hours. The figures go to
``results/sequences.csv``, and from there to the page of the site; what stands there already is not
measured again, so that the command may be stopped and goes on. Without the file it begins anew.
"""

import argparse
import csv
import os
import re
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.measure import Side, alternate
from benchmarks.readme import replaced
from benchmarks.sequence_rows import ALL, MEAN_GOAL, SAMPLE, goal
from benchmarks.workloads import Workload

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "sequences.csv"
PAGE = ROOT / "docs" / "guide" / "sequence_speed.md"
KERNELS = {"numba": "Numba", "numpy": "NumPy only"}


class Row(NamedTuple):
    """A line of the CSV: the median of our time, PyTorch's over ours with its quartiles.

    ``products`` is how much of our time the bare products of the work take, where they were
    measured beside.
    """

    kernels: str
    threads: int
    group: str
    name: str
    milliseconds: float
    low: float
    ratio: float
    high: float
    products: float | None

    @property
    def is_short(self) -> bool:
        """Whether it is slower than was aimed at; NumPy's rows are judged by their mean."""
        return self.kernels == "numba" and self.ratio < goal(self.group, self.name)


def main() -> None:
    """Measure what is missing, and renew the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sequences", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every row, not every fifth")
    parser.add_argument("--only", default="", metavar="REGEX", help="of 'group: name'")
    parser.add_argument("--alternations", type=int, default=7, help="runs of each side (7)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each side")
    parser.add_argument("--kernels", choices=KERNELS, help="of ours; both if not given")
    parser.add_argument("--seconds", type=float, default=np.inf, help="begin no row after them")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the CSV")
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    for kernels in [options.kernels] if options.kernels else KERNELS:
        measure(missing(kernels, options), kernels, options, end)
    found = read(options.out)
    print(summary(found))
    if options.out == RESULTS:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")


def missing(kernels: str, options: argparse.Namespace) -> list[Workload]:
    """Return the rows that were asked for and are not in the CSV."""
    known = {row[:4] for row in read(options.out)}
    return [
        workload
        for workload in (ALL if options.all else SAMPLE)
        if re.search(options.only, f"{workload.group}: {workload.name}")
        and (kernels, options.threads, workload.group, workload.name) not in known
    ]


def measure(rows: list[Workload], kernels: str, options: argparse.Namespace, end: float) -> None:
    """Measure rows, and write each as soon as it is known."""
    if not rows:
        return
    sides = {name: Side(name, options.threads) for name in ("torch", "products")}
    sides["layerkit"] = Side("layerkit", options.threads, kernels)
    begins = not options.out.exists()
    with options.out.open("a", newline="") as file:
        writer = csv.writer(file)
        if begins:
            writer.writerow(Row._fields)
        for workload in rows:
            if time.monotonic() > end:
                break
            timing = alternate(workload, sides, options.alternations)
            figures = [1e3 * timing.median("layerkit"), *timing.ratio("torch")]
            if "products" in timing.seconds:
                figures.append(timing.ratio("products")[1])
            setting = kernels, options.threads, workload.group, workload.name
            writer.writerow([*setting, *(f"{x:.4g}" for x in figures)])
            file.flush()
    for side in sides.values():
        side.close()


def read(path: Path) -> list[Row]:
    """Read a CSV."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        lines = [[line[name] for name in Row._fields] for line in csv.DictReader(file, restval="")]
    return [
        Row(line[0], int(line[1]), line[2], line[3], *map(float, line[4:8]), _share(line[8]))
        for line in lines
    ]


def _share(text: str) -> float | None:
    return float(text) if text else None


def mean(rows: list[Row]) -> float:
    """Return the geometric mean of the ratios."""
    return float(np.exp(np.mean([np.log(row.ratio) for row in rows])))


def summary(rows: list[Row]) -> str:
    """PyTorch's time over ours as a Markdown table: of each group its mean, least and largest."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.kernels, row.group), []).append(row)
    lines = ["| work | rows | mean | least | most | short |", "|---|---|---|---|---|---|"]
    for (kernels, group), found in groups.items():
        least, most = (f(found, key=lambda row: row.ratio) for f in (min, max))
        work = group if kernels == "numba" else f"{group}, {KERNELS[kernels]}"
        cells = f"{mean(found):.1f} | {least.ratio:.2f} ({least.name}) | {most.ratio:.1f}"
        lines.append(f"| {work} | {len(found)} | {cells} | {sum(r.is_short for r in found)} |")
    alone = [row for row in rows if row.kernels == "numpy"]
    if alone:
        lines += ["", f"NumPy alone, in the mean of {len(alone)} rows: {mean(alone):.1f}."]
        lines[-1] += f" Aimed at: {MEAN_GOAL}."
    return "\n".join(lines)


def short(rows: list[Row]) -> str:
    """The rows that are slower than was aimed at as a Markdown table, with what binds each."""
    lines = ["| work | row | PyTorch / ours | quartiles | aimed at | what binds |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        if row.is_short:
            cells = f"{row.ratio:.2f} | {row.low:.2f} to {row.high:.2f} | {goal(*row[2:4]):g}"
            lines.append(f"| {row.group} | {row.name} | {cells} | {binds(row)} |")
    return "\n".join(lines)


def binds(row: Row) -> str:
    """Say what a row's time goes to."""
    if row.high > 2 * row.low:
        return "not known: the machine was busy, as the quartiles show"
    if row.products is None:
        return "see below"
    share = f"the products alone take {100 * row.products:.0f} % of our time"
    if row.products >= 0.5:
        return share
    if row.name.endswith("batch 1"):
        return f"the way through Python; {share}"
    return f"passes over gates and memory; {share}"


def every(rows: list[Row]) -> str:
    """All rows as a Markdown table."""
    lines = ["| kernels | work | row | ours, ms | PyTorch / ours | quartiles | products |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        products = "" if row.products is None else f"{100 * row.products:.0f} %"
        cells = f"{row.milliseconds:.3g} | {row.ratio:.2f} | {row.low:.2f} to {row.high:.2f}"
        names = f"{KERNELS[row.kernels]} | {row.group} | {row.name}"
        lines.append(f"| {names} | {cells} | {products} |")
    return "\n".join(lines)


def updated(page: str, rows: list[Row]) -> str:
    """The page with the tables of these rows."""
    for mark, made in (("summary", summary), ("short", short), ("every", every)):
        page = replaced(page, mark, made(rows))
    return page


if __name__ == "__main__":
    main()
