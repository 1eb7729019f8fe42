"""How the time of a training step grows with batch, width and depth, and a fit's with its rows."""

from pathlib import Path

import numpy as np

from benchmarks.measure import Side, alternate
from benchmarks.workloads import Workload

AXES: dict[str, tuple[tuple[int, ...], object]] = {
    "batch": ((16, 64, 256, 1024), lambda n: ("mlp_step", {"sizes": (256, 256, 10), "batch": n})),
    "width": (
        (64, 128, 256, 512, 1024),
        lambda n: ("mlp_step", {"sizes": (n, n, n), "batch": 128}),
    ),
    "depth": ((2, 4, 8, 16), lambda n: ("mlp_step", {"sizes": (128,) * (n + 1), "batch": 128})),
    "rows": (
        (1000, 4000, 16000),
        lambda n: ("fit", {"sizes": (64, 64, 10), "rows": n, "batch": 128, "epochs": 2}),
    ),
}


def measure(side: Side, alternations: int) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Sizes, seconds and the slope of the straight line through their logarithms, per axis."""
    found = {}
    for axis, (sizes, make) in AXES.items():
        seconds = []
        for size in sizes:
            kind, options = make(size)  # type: ignore[operator]
            workload = Workload("scaling", f"{axis} {size}", kind, options, ())
            seconds.append(alternate(workload, {"layerkit": side}, alternations).median("layerkit"))
        x, y = np.array(sizes, float), np.array(seconds)
        found[axis] = x, y, float(np.polyfit(np.log(x), np.log(y), 1)[0])
    return found


def report(found: dict[str, tuple[np.ndarray, np.ndarray, float]]) -> str:
    """One line per axis."""
    lines = ["how the time grows (time ~ size ** slope)"]
    for axis, (x, y, slope) in found.items():
        points = ", ".join(f"{size:g}: {1e3 * t:.3g} ms" for size, t in zip(x, y, strict=True))
        lines.append(f"  {axis:<8} slope {slope:4.2f}   {points}")
    return "\n".join(lines)


def draw(found: dict[str, tuple[np.ndarray, np.ndarray, float]], path: Path) -> None:
    """Log-log, with each slope in the legend."""
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for (axis, (x, y, slope)), colour in zip(
        found.items(), ("#0072B2", "#D55E00", "#009E73", "#CC79A7"), strict=True
    ):
        ax.loglog(
            x / x[0], y / y[0], "o-", color=colour, label=f"{axis} from {x[0]:g}: {slope:.2f}"
        )
    ax.set_xlabel("size, relative to the smallest")
    ax.set_ylabel("time, relative to that of the smallest")
    ax.legend(title="slope of the logarithms")
    ax.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)
