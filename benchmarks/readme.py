"""``python -m benchmarks.readme``: the site's table of speeds and its picture, from the results."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "default_2_threads.csv"
PAGE = ROOT / "docs" / "guide" / "speed.md"
PEERS = {"torch": "PyTorch", "sklearn": "scikit-learn"}
GROUPS = {
    "training step": "training step",
    "inference": "inference",
    "predict, whole estimator": "`predict`",
    "fit, end to end": "`fit`",
}
FITS = {"numba": "with Numba", "numpy": "NumPy only"}
MEANS = ("Conv2D forward", "Conv2D input gradient", "Conv2D kernel gradient")


class Row(NamedTuple):
    """A line of the table: low, median and high ratio to each peer, where there is one."""

    name: str
    ratios: dict[str, tuple[float, float, float]]


def read(path: Path) -> list[Row]:
    """The rows that tell the story; convolutions as the geometric means of their groups."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = []
    for group, name in GROUPS.items():
        rows += [
            Row(f"{name}, {line['workload']}", _ratios(line))
            for line in lines
            if line["group"] == group
        ]
    for group in MEANS:
        logs = [np.log(_ratios(line)["torch"]) for line in lines if line["group"] == group]
        low, middle, high = np.exp(np.mean(logs, axis=0)).tolist()
        rows.append(Row(f"{group}, mean of {len(logs)} shapes", {"torch": (low, middle, high)}))
    return rows


def _ratios(line: dict[str, str]) -> dict[str, tuple[float, float, float]]:
    found = {}
    for peer in PEERS:
        if line[f"{peer}_ratio_median"]:
            low, middle, high = (
                float(line[f"{peer}_ratio_{q}"]) for q in ("low", "median", "high")
            )
            found[peer] = low, middle, high
    return found


def table(rows: list[Row]) -> str:
    """Markdown: how many times as long each peer takes."""
    lines = ["| | PyTorch | scikit-learn |", "|---|---|---|"]
    for row in rows:
        cells = [f"{row.ratios[p][1]:.1f}" if p in row.ratios else "–" for p in PEERS]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def fits() -> str:
    """Markdown: how many times as long scikit-learn takes for whole fits, with either backend."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for backend in FITS:
        with (RESULTS.parent / f"fits_{backend}_2_threads.csv").open(newline="") as file:
            for line in csv.DictReader(file):
                key = line["group"], line["workload"]
                found.setdefault(key, {})[backend] = f"{float(line['sklearn_ratio_median']):.1f}"
    lines = [f"| scikit-learn's time / ours | {' | '.join(FITS.values())} |", "|---|---|---|"]
    for (group, name), ratios in found.items():
        shown = f"{name}, one core busy" if group.endswith("busy") else name
        lines.append(f"| {shown} | {' | '.join(ratios.get(b, '–') for b in FITS)} |")
    return "\n".join(lines)


def draw(rows: list[Row], path: Path) -> None:
    """One bar per row and peer, logarithmic, with the quartiles of the measurements."""
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(8, 6.2), layout="constrained")
    colours = {"torch": "#D55E00", "sklearn": "#0072B2"}
    for peer, offset in (("torch", 0.19), ("sklearn", -0.19)):
        places = [i for i, row in enumerate(rows) if peer in row.ratios]
        low, middle, high = np.array([rows[i].ratios[peer] for i in places]).T
        y = offset - np.array(places)
        ax.barh(y, middle - 1, 0.36, left=1, color=colours[peer], label=PEERS[peer])
        ax.hlines(y, low, high, color="black", linewidth=0.8)
    ax.axvline(1, color="black", linewidth=1)
    ax.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20, 50]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    names = [row.name.replace("`", "") for row in rows]
    ax.set_yticks(-np.arange(len(rows)), names)
    ax.set_ylim(0.7 - len(rows), 0.7)
    ax.set_xlabel("their time / layerkit's time (right of 1: layerkit is faster)")
    ax.grid(axis="x", alpha=0.3)
    ax.legend(loc="lower right")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def updated(page: str, rows: list[Row]) -> str:
    """The page with the table of these rows, and that of fits where it has a place for it."""
    for mark, made in (("speed", lambda: table(rows)), ("fits", fits)):
        if f"<!-- {mark} -->" in page:
            page = replaced(page, mark, made())
    return page


def replaced(page: str, mark: str, made: str) -> str:
    """A page with something new between two marks."""
    marked = rf"(<!-- {mark} -->\n).*(<!-- /{mark} -->)"
    return re.sub(marked, rf"\g<1>{made}\n\g<2>", page, flags=re.DOTALL)


if __name__ == "__main__":
    found = read(RESULTS)
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8"), found), encoding="utf-8")
    draw(found, ROOT / "docs" / "speed.png")
