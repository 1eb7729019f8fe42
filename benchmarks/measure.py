"""Fair timing: every side in a process of its own, alternating, compared pair by pair.

PyTorch's and NumPy's thread pools spoil each other in one process, and a machine's speed drifts. So
each side waits in its own process on a pipe, works while the others sleep, and what counts is the
median of the ratios of neighbouring runs.

Idle threads of OpenBLAS and OpenMP go on spinning, for 0.1 s and more, and would take a processor
from the side that comes next. So everybody rests before a run, and a run begins with one repetition
that is not timed, which wakes the side's own threads: what is measured is a loop, not its first
step.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Client, Connection, Listener

import numpy as np

from benchmarks.workloads import Workload

LEAST_SECONDS = 0.1
"""One run repeats the work until it takes about this long."""

REST = 0.2
"""Seconds before a run, for the threads of the side before to fall asleep."""


@dataclass
class Timing:
    """Seconds of one repetition, run by run, for every side; run i of all sides are neighbours."""

    workload: Workload
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, side: str) -> float:
        """Median seconds of one repetition."""
        return float(np.median(self.seconds[side]))

    def ratio(self, peer: str) -> tuple[float, float, float]:
        """Peer's time over ours: lower quartile, median, upper quartile."""
        pairs = np.divide(self.seconds[peer], self.seconds["layerkit"])
        low, middle, high = np.percentile(pairs, [25, 50, 75])
        return float(low), float(middle), float(high)


class Side:
    """One library in a process of its own, with its own number of threads."""

    def __init__(self, name: str, threads: int, kernels: str | None = None) -> None:
        self.name = name
        with Listener() as listener:
            environment = os.environ | dict.fromkeys(
                ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"),
                str(threads),
            )
            if kernels:
                environment["LAYERKIT_KERNELS"] = kernels
            address = str(listener.address)
            # A crash in compiled code then says where.
            command = [
                sys.executable,
                "-X",
                "faulthandler",
                "-m",
                "benchmarks.measure",
                name,
                address,
            ]
            self.process = subprocess.Popen(command, env=environment)
            self.pipe: Connection = listener.accept()

    def prepare(self, workload: Workload) -> None:
        """Set the work up, warm it up and choose how often one run repeats it."""
        self.pipe.send((workload.kind, workload.options))
        self._answer()

    def run(self) -> float:
        """Return the seconds of one repetition."""
        time.sleep(REST)
        self.pipe.send("run")
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self.pipe.send(None)
        self.process.wait()

    def _answer(self) -> float:
        try:
            answer = self.pipe.recv()
        except EOFError:
            how = f"its process ended with {self.process.wait()}"
            raise RuntimeError(f"{self.name}: {how}; -n is signal n, -9 often no memory") from None
        if isinstance(answer, str):
            raise RuntimeError(f"{self.name}: {answer}")
        return answer


def alternate(workload: Workload, sides: dict[str, Side], alternations: int) -> Timing:
    """Let the sides take turns; who begins changes every time."""
    names = ["layerkit", *(peer for peer in workload.peers if peer in sides)]
    timing = Timing(workload, {name: [] for name in names})
    for name in names:
        sides[name].prepare(workload)
    for turn in range(alternations):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        for name in order:
            timing.seconds[name].append(sides[name].run())
    return timing


def serve(side: str, address: str) -> None:
    """Be a side: build what the pipe names, run it when told to."""
    module = import_module(f"benchmarks.sides.{side}_side")
    repeat, times = (lambda: None), 1
    with Client(address) as pipe:
        while (order := pipe.recv()) is not None:
            try:
                if order == "run":
                    repeat()
                    pipe.send(_seconds(repeat, times) / times)
                    continue
                kind, options = order
                repeat, times = getattr(module, kind)(**options), 1
                repeat()
                while (taken := _seconds(repeat, times)) < LEAST_SECONDS:
                    times = max(times + 1, int(times * 1.2 * LEAST_SECONDS / max(taken, 1e-6)))
                pipe.send(0.0)
            except Exception as error:  # to the process that asked, not into a silent death
                pipe.send(f"{type(error).__name__}: {error}")


def _seconds(repeat, times: int) -> float:
    loop = getattr(repeat, "loop", None)  # of a side that has one
    start = time.perf_counter()
    if loop:
        loop(times)
    else:
        for _ in range(times):
            repeat()
    return time.perf_counter() - start


if __name__ == "__main__":
    serve(*sys.argv[1:])
