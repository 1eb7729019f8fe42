"""What watching costs: the same training with a callback and without, in turn.

``python -m benchmarks.monitor`` prints, for each network, the median over the turns of the CPU time
of `train` with a `HealthMonitor` or a `GradientRecorder` (default settings) over that without, and
the quartiles. "nothing" runs the bare training twice: how far it is from 1 is the noise.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.sides.layerkit_side import cnn, perceptron
from benchmarks.workloads import MIDDLE, SMALL

LEAST_SECONDS = 0.5
"""One run trains for as many epochs as take about this long."""


def trainings() -> dict[str, tuple[Callable[[], Any], tuple[int, ...], int, int]]:
    """By name: the network, the shape of a row, the number of classes, the batch size."""
    return {
        "20-64-64-2, batch 32": (lambda: perceptron(SMALL), (20,), 2, 32),
        "784-256-128-10, batch 128": (lambda: perceptron(MIDDLE), (784,), 10, 128),
        "CNN 28x28, batch 64": (cnn, (28, 28, 1), 10, 64),
    }


def callbacks() -> dict[str, Callable[[], list[Any]]]:
    """By name: what is passed to `train`, made anew for every run."""
    from layerkit.inspection import GradientRecorder, HealthMonitor

    return {
        "nothing": list,
        "HealthMonitor": lambda: [HealthMonitor()],
        "GradientRecorder": lambda: [GradientRecorder()],
    }


class Training:
    """A training of about half a second on random data, again and again from the same weights."""

    def __init__(
        self, make: Callable[[], Any], shape: tuple[int, ...], classes: int, batch_size: int
    ) -> None:
        rng = np.random.default_rng(0)
        self.make, self.batch_size, self.epochs = make, batch_size, 1
        self.X = rng.standard_normal((16 * batch_size, *shape), dtype=np.float32)
        self.y = rng.integers(classes, size=len(self.X))
        self.seconds()
        while (taken := self.seconds()) < LEAST_SECONDS:
            self.epochs = max(self.epochs + 1, int(1.1 * self.epochs * LEAST_SECONDS / taken))

    def seconds(self, callbacks: Any = ()) -> float:
        """Train from the beginning and return the CPU seconds that it took."""
        from layerkit.losses import CategoricalCrossEntropy
        from layerkit.optimizers import Adam
        from layerkit.training import train

        network, loss, optimizer = self.make(), CategoricalCrossEntropy(), Adam()
        data, size = (self.X, self.y), self.batch_size
        start = time.process_time()
        train(network, loss, optimizer, data, epochs=self.epochs, batch_size=size,
              callbacks=callbacks, random_state=0)  # fmt: skip
        return time.process_time() - start


def ratios(training: Training, make: Callable[[], list[Any]], turns: int) -> np.ndarray:
    """Time with the callbacks over time without, turn by turn; who begins changes every time."""
    found = []
    for turn in range(turns):
        order = (True, False) if turn % 2 else (False, True)
        taken = {watched: training.seconds(make() if watched else ()) for watched in order}
        found.append(taken[True] / taken[False])
    return np.array(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description=__doc__)
    parser.add_argument("--turns", type=int, default=15, help="pairs of runs (15)")
    parser.add_argument("--threads", type=int, default=1, help="of the matrix products (1)")
    options = parser.parse_args()
    if "OMP_NUM_THREADS" not in os.environ:  # read once, when the libraries are loaded
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(options.threads))
        os.environ |= threads
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.monitor", *sys.argv[1:]])
    print(f"{'network':<27}{'callback':<18}{'with / without':>15}{'quartiles':>17}")
    for name, arguments in trainings().items():
        training = Training(*arguments)
        for callback, make in callbacks().items():
            low, middle, high = np.percentile(ratios(training, make, options.turns), [25, 50, 75])
            quartiles = f"{low:.3f} to {high:.3f}"
            print(f"{name:<27}{callback:<18}{middle:>15.3f}{quartiles:>17}", flush=True)


if __name__ == "__main__":
    main()
