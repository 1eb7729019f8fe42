"""What a library costs before it computes anything: seconds to import and compile, memory, disk.

``python -m benchmarks.footprint`` prints it.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np

IMPORTS = {"layerkit": "layerkit", "torch": "torch", "sklearn": "sklearn.neural_network"}

FIRST_FITS = {
    "MLP": "MLPClassifier(max_iter=2), (2000, 20)",
    "convolutional network": (
        "SequentialClassifier([Conv2D(8, 3), ReLU(), MaxPool2D(), Flatten()], max_iter=2), "
        "(200, 12, 12, 1)"
    ),
}
"""Estimators and the shape of their data."""


def in_turns(measure: Callable[[str], float], sides: Iterable[str], runs: int) -> dict[str, float]:
    """Median of what is measured on each side: turn by turn, so that all meet the same machine.

    A first turn does not count: it brings files into memory, and fills caches of compiled code.
    """
    turns = [{side: measure(side) for side in sides} for _ in range(runs + 1)]
    return {side: float(np.median([turn[side] for turn in turns[1:]])) for side in sides}


def import_seconds(side: str) -> float:
    """Seconds that importing takes in a fresh process, beyond starting Python."""
    timed = f"t = time.perf_counter(); import {IMPORTS[side]}; print(time.perf_counter() - t)"
    return fresh(f"import time; {timed}")


def peak_megabytes(side: str, kind: str, options: dict[str, object], repeats: int = 20) -> float:
    """Peak resident memory of a process that does the work some times."""
    return fresh(
        f"from benchmarks.sides import {side}_side as side\n"
        f"repeat = side.{kind}(**{options!r})\n"
        f"for _ in range({repeats}): repeat()\n"
        "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )


def compile_seconds(first: str) -> float:
    """Processor's seconds of a first fit beyond a second one's: Numba, and nothing compiled yet."""
    with tempfile.TemporaryDirectory() as cache:
        return fresh(
            "import time, warnings, numpy as np\n"
            "from layerkit import *\n"
            "warnings.simplefilter('ignore')\n"
            f"model, shape = {FIRST_FITS[first]}\n"
            "X = np.random.default_rng(0).normal(size=shape)\n"
            "times = [time.process_time()]\n"
            "for _ in range(2):\n"
            "    model.fit(X, np.arange(len(X)) % 2)\n"
            "    times.append(time.process_time())\n"
            "start, first, second = times\n"
            "print((first - start) - (second - first))",
            NUMBA_CACHE_DIR=cache,
            LAYERKIT_KERNELS="numba",
        )


def fresh(code: str, **environment: str) -> float:
    """Run code in a process of its own; return the number that it prints.

    Bytecode is kept: installers compile what they install, so no user meets a library without.
    """
    env = {name: x for name, x in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= environment
    return float(subprocess.check_output([sys.executable, "-c", code], text=True, env=env))


def installed_megabytes(*packages: str) -> float:
    """Size on disk of installed packages, as their own records list them."""
    total = 0
    for package in packages:
        try:
            files = distribution(package).files or []
        except PackageNotFoundError:
            return float("nan")
        paths = {path for file in files if (path := file.locate().resolve()).is_file()}
        total += sum(path.stat().st_size for path in paths)
    return total / 2**20


def own_megabytes() -> float:
    """Size of layerkit's source files."""
    from pathlib import Path

    import layerkit

    folder = Path(layerkit.__file__).parent
    return sum(p.stat().st_size for p in folder.rglob("*.py")) / 2**20


def report() -> str:
    """Table of import times, memory and size."""
    rows = [("import, seconds", in_turns(import_seconds, IMPORTS, runs=9))]
    memory = in_turns(
        lambda side: peak_megabytes(side, "cnn_step", {"batch": 64}), ("layerkit", "torch"), runs=5
    )
    for first in FIRST_FITS:
        rows.append(
            (f"compiling a first fit, {first}, seconds", {"layerkit": compile_seconds(first)})
        )
    rows.append(("peak memory of CNN training, MB", memory))
    sizes = {
        "layerkit": own_megabytes(),
        "torch": installed_megabytes("torch"),
        "sklearn": installed_megabytes("scikit-learn"),
    }
    rows.append(("installed size without NumPy, SciPy, scikit-learn, Numba, MB", sizes))
    lines = [f"{'footprint':<62}{'layerkit':>10}{'torch':>10}{'sklearn':>10}"]
    for name, values in rows:
        cells = (f"{values[side]:10.2f}" if side in values else f"{'':10}" for side in IMPORTS)
        lines.append(f"{name:<62}{''.join(cells)}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(report())
    print(
        f"(this process itself: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB)"
    )
