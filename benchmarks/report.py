"""Timings as a table on the screen, a CSV and a picture."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.measure import Timing

PEERS = {"torch": "PyTorch", "jax": "JAX", "sklearn": "scikit-learn"}
BARE = "products"
"""The side that does the matrix products of the work, and Adam's memory traffic: the limit."""
SIDES = (*PEERS, BARE)


def header() -> str:
    """First line of the table: times are milliseconds, ratios are peer's time over ours."""
    return (
        f"{'':<52}{'ours, ms':>10}"
        + "".join(f"  {f'{peer} / ours':>22}" for peer in PEERS.values())
        + f"  {'of matmul rate':>14}  {'ours / limit':>15}"
    )


def line(timing: Timing, rate: float) -> str:
    """One row: the median ratio with its quartiles."""
    cells = []
    for peer in PEERS:
        if peer in timing.seconds:
            low, middle, high = timing.ratio(peer)
            cells.append(f"{middle:8.2f} [{low:5.2f}, {high:5.2f}]")
        else:
            cells.append("")
    share = f"{100 * _share(timing, rate):.0f} %" if timing.workload.multiply_adds else ""
    ours = 1e3 * timing.median("layerkit")
    bare = f"{1 / timing.ratio(BARE)[1]:.2f}" if BARE in timing.seconds else ""
    return (
        f"  {timing.workload.name:<50}{ours:10.3f}"
        + "".join(f"  {cell:>22}" for cell in cells)
        + f"  {share:>14}  {bare:>15}"
    )


def _share(timing: Timing, rate: float) -> float:
    """Return how much of the machine's matrix product rate the work reaches."""
    return 2 * timing.workload.multiply_adds / timing.median("layerkit") / rate


def groups(timings: Iterable[Timing]) -> str:
    """Geometric mean and worst ratio of every group."""
    heads = "".join(f"  {peer:>22}" for peer in PEERS.values())
    lines = [f"{'geometric mean (worst) of the ratios':<62}{heads}"]
    by_group: dict[str, list[Timing]] = {}
    for timing in timings:
        by_group.setdefault(timing.workload.group, []).append(timing)
    for group, members in by_group.items():
        cells = []
        for peer in PEERS:
            ratios = [t.ratio(peer)[1] for t in members if peer in t.seconds]
            mean = np.exp(np.mean(np.log(ratios))) if ratios else np.nan
            cells.append(f"{mean:.2f} ({min(ratios):.2f})" if ratios else "")
        lines.append(f"  {group:<50}{'':10}" + "".join(f"  {cell:>22}" for cell in cells))
    return "\n".join(lines)


def write_csv(timings: Iterable[Timing], rate: float, path: Path) -> None:
    """One line per workload, every figure of the table in full precision."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        ratios = [f"{side}_ratio_{q}" for side in SIDES for q in ("low", "median", "high")]
        writer.writerow(["group", "workload", "layerkit_seconds", *ratios, "share_of_matmul_rate"])
        for timing in timings:
            row = [timing.workload.group, timing.workload.name, timing.median("layerkit")]
            for side in SIDES:
                row += timing.ratio(side) if side in timing.seconds else ("", "", "")
            writer.writerow([*row, _share(timing, rate) or ""])


def draw(timings: list[Timing], path: Path, title: str) -> None:
    """One bar per workload and peer, logarithmic: to the right of 1 layerkit is faster."""
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(9, 1.2 + 0.24 * len(timings)), layout="constrained")
    colours = {"torch": "#D55E00", "jax": "#009E73", "sklearn": "#0072B2"}
    for peer, offset in (("torch", 0.25), ("jax", 0.0), ("sklearn", -0.25)):
        rows = [i for i, timing in enumerate(timings) if peer in timing.seconds]
        if not rows:
            continue
        low, middle, high = np.array([timings[i].ratio(peer) for i in rows]).T
        y = -np.array(rows) + offset
        ax.barh(y, middle - 1, 0.24, left=1, color=colours[peer], label=PEERS[peer])
        ax.hlines(y, low, high, color="black", linewidth=0.8)
    ax.axvline(1, color="black", linewidth=1)
    ax.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16, 32]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    labels = [f"{timing.workload.group}: {timing.workload.name}" for timing in timings]
    ax.set_yticks(-np.arange(len(timings)), labels, fontsize=7)
    ax.set_ylim(0.7 - len(timings), 0.7)
    ax.set_xlabel("peer's time / layerkit's time (to the right of 1: layerkit is faster)")
    ax.set_title(title, fontsize=10)
    ax.grid(axis="x", alpha=0.3)
    ax.legend(loc="lower right")
    figure.savefig(path, dpi=120)
