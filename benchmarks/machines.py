"""``python -m benchmarks.machines``: from when on many machines pay, on paper and measured.

A step of N workers costs

    compute     rows / N · 6 · multiply-adds of a row / rate, and what Python takes
    all-reduce  2 (N - 1) / N · bytes / bandwidth + 2 (N - 1) · latency       (a ring, as MPI's)
    round       round trip + N (task + 2 · bytes / bandwidth)                 (through a client)

and waits for the slowest worker. `simulate` draws how long each one takes; with ``sync_every`` = k
a worker waits once for k steps. The numbers of a round are measured here on two processes; then the
same model must tell the time of fits that it has not seen.

``OMP_NUM_THREADS=1 mpiexec -n 2 python -m benchmarks.machines --ranks`` measures how
much faster two ranks make a step of a convolutional network (on a machine that others use, with
``chrt -f 1`` before ``mpiexec``).
"""

from __future__ import annotations

import sys
import time
import warnings
from dataclasses import dataclass

import numpy as np

EFFICIENT = 0.5  # from when on we say that workers pay


@dataclass(frozen=True)
class Net:
    """A network: its weights, and the multiply-adds of a row."""

    name: str
    n_params: int
    multiply_adds: float


@dataclass(frozen=True)
class Engine:
    """What a message costs: seconds, and bytes a second; ``ring`` if there is no client."""

    name: str
    round_trip: float
    task: float
    bandwidth: float
    ring: bool = False

    def seconds(self, n_bytes: float, n_workers: int) -> float:
        """How long all workers take to know what each has found."""
        if n_workers == 1 and self.ring:
            return 0.0
        if self.ring:
            hops = 2 * (n_workers - 1)
            return hops * (self.round_trip + n_bytes / n_workers / self.bandwidth)
        return self.round_trip + n_workers * (self.task + 2 * n_bytes / self.bandwidth)


NETS = (
    Net("MLP 20-64-64-2", 5_634, 5_500),
    Net("MLP 784-256-128-10", 235_146, 235_000),
    Net("CNN 32×32, 6 convolutions", 1_200_000, 40e6),
    Net("ResNet-50, 224×224", 25_600_000, 4.1e9),
)
RATE = 50e9  # floating-point operations a second of a core, forward and backward
PYTHON = 3e-4  # seconds of a step that do not depend on its rows
ENGINES = (
    Engine("MPI, 1 Gbit/s", 5e-5, 0, 1.1e8, ring=True),
    Engine("MPI, 25 Gbit/s", 1e-5, 0, 2.8e9, ring=True),
    Engine("Dask, 1 Gbit/s", 2e-2, 3e-3, 1.1e8),
    Engine("Dask, 25 Gbit/s", 2e-2, 3e-3, 5e8),
)


def compute(net: Net, rows: float) -> float:
    """Seconds of a step on so many rows."""
    return PYTHON + rows * 6 * net.multiply_adds / RATE


def simulate(
    step: float, message: float, n_workers: int, sync_every: int, spread: float = 0.2, rounds=200
) -> float:
    """Seconds of a step where workers differ from step to step, and wait for the slowest."""
    rng = np.random.default_rng(0)
    of_steps = rng.normal(sync_every, spread * np.sqrt(sync_every), (rounds, n_workers))
    return (step * of_steps.max(axis=1).mean() + message) / sync_every


def efficiency(net: Net, engine: Engine, n_workers: int, rows: int, sync_every: int) -> float:
    """Part of the time that goes into steps, each worker with so many rows a step."""
    step, vectors = compute(net, rows), 1 if sync_every == 1 else 3  # Adam's go along
    message = engine.seconds(4 * vectors * net.n_params, n_workers)
    return step / simulate(step, message, n_workers, sync_every, rounds=50)


def least(net: Net, engine: Engine, n_workers: int, rows: int) -> str:
    """After how many steps to average at the soonest, if that ever pays."""
    for k in [1] if engine.ring else [2**i for i in range(11)]:
        if efficiency(net, engine, n_workers, rows, k) >= EFFICIENT:
            return str(k)
    return "–"


def table(rows: int) -> str:
    """For networks and engines, the smallest ``sync_every`` with which 8, 64, 1,000 workers pay."""
    lines = [f"least sync_every at {rows} rows a worker and step, for 8 / 64 / 1,000 workers"]
    for net in NETS:
        cells = [
            " / ".join(least(net, engine, n, rows) for n in (8, 64, 1000)) for engine in ENGINES
        ]
        lines.append(f"| {net.name} | " + " | ".join(cells) + " |")
    return "\n".join([lines[0], f"| | {' | '.join(e.name for e in ENGINES)} |", *lines[1:]])


# ---------------------------------------------------------------- measured, on two processes


def fit_seconds(client, hidden: tuple[int, ...], batch: int, sync_every: int) -> tuple[float, int]:
    """Seconds of a step of a fit on two workers, and the number of weights."""
    import dask.array as da

    from layerkit import MLPClassifier
    from layerkit.distributed import data_parallel

    rng = np.random.default_rng(0)
    X = rng.standard_normal((8192, 64)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    model = MLPClassifier(hidden, batch_size=batch, max_iter=3, random_state=0)
    with data_parallel(client, sync_every=sync_every):
        model.fit(da.from_array(X, chunks=(1024, 64)), da.from_array(y, chunks=1024))
    steps = -(-8192 // batch)
    return float(np.median(model.history_["seconds"][1:])) / steps, model.network_.n_params


def own_seconds(hidden: tuple[int, ...], rows: int) -> float:
    """Seconds of a step on so many rows, in one process."""
    from layerkit import MLPClassifier, kernels

    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows * 8, 64)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    with kernels.use("numpy"):
        model = MLPClassifier(hidden, batch_size=rows, max_iter=5, random_state=0).fit(X, y)
    return float(np.median(model.history_["seconds"][1:])) / 8


def check(client) -> list[str]:
    """Fit the engine's two numbers to two fits, and tell the time of others."""
    tiny, wide = (16,), (1024, 512)
    batch = 1024
    (slow, small), (slower, large) = (fit_seconds(client, h, batch, 1) for h in (tiny, wide))
    own = [own_seconds(h, batch // 2) for h in (tiny, wide)]
    per_byte = max(slower - own[1] - (slow - own[0]), 1e-9) / (4 * (large - small))
    engine = Engine("here", slow - own[0], 0, 2 * 2 / per_byte)
    lines = [
        f"a round {1e3 * engine.round_trip:.0f} ms, {1e-6 / per_byte:.0f} MB/s for two workers"
    ]
    for hidden, k in (((512, 256), 1), (tiny, 8), (wide, 4), (wide, 8)):
        measured, n_params = fit_seconds(client, hidden, batch, k)
        vectors = 1 if k == 1 else 3
        message = engine.seconds(4 * vectors * n_params, 2)
        told = simulate(own_seconds(hidden, batch // 2), message, 2, k)
        lines.append(
            f"  hidden {hidden}, sync_every={k}: {1e3 * measured:.1f} ms a step, "
            f"the model says {1e3 * told:.1f} ({measured / told:.2f})"
        )
    return lines


def search_ratio(clients) -> str:
    """A search of 24 fits on one worker and on two, in turns."""
    import joblib
    from sklearn.model_selection import GridSearchCV

    from layerkit import Dense, ReLU, SequentialClassifier

    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 20)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    model = SequentialClassifier(
        [("hidden", Dense(64)), ReLU()], max_iter=12, random_state=0, n_iter_no_change=None
    )
    grid = {"layers__hidden__units": [32, 48, 64, 96], "batch_size": [64, 128]}
    taken: list[list[float]] = [[], []]
    for turn in range(4):
        for seconds, client in zip(taken, clients, strict=True):
            started = time.perf_counter()
            with client.as_current(), joblib.parallel_config(backend="dask", scatter=[X, y]):
                GridSearchCV(model, grid, cv=3, refit=False).fit(X, y)
            if turn:
                seconds.append(time.perf_counter() - started)
    one, two = map(np.median, taken)
    return f"24 fits: one worker {one:.1f} s, two {two:.1f} s, ratio {two / one:.2f}"


def step_seconds(communicator, batch: int, state: dict) -> list[float]:
    """Seconds of eight steps of a CNN on 28×28 images with 421,642 weights."""
    from layerkit import Conv2D, Dense, Flatten, MaxPool2D, ReLU, Sequential
    from layerkit.losses import CategoricalCrossEntropy
    from layerkit.optimizers import Adam
    from layerkit.training import train

    if not state:
        layers = [
            *(Conv2D(32, 3, padding="same"), ReLU(), MaxPool2D()),
            *(Conv2D(64, 3, padding="same"), ReLU(), MaxPool2D()),
            *(Flatten(), Dense(128), ReLU(), Dense(10)),
        ]
        rng = np.random.default_rng(0)
        state["network"] = Sequential(layers)
        state["X"] = rng.standard_normal((4 * batch, 28, 28, 1)).astype(np.float32)
        state["y"] = rng.integers(10, size=4 * batch)
    clock = Clock()
    train(
        state["network"], CategoricalCrossEntropy(), Adam(), (state["X"], state["y"]), epochs=3,
        batch_size=batch, random_state=0, communicator=communicator, callbacks=[clock],
    )  # fmt: skip
    return clock.seconds[4:]


class Clock:
    """A callback that writes down how long steps take."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, state) -> None: ...

    def before_batch(self, state) -> None:
        self.began = time.perf_counter()

    def on_batch(self, state) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def ranks(batch: int = 128, turns: int = 12) -> None:
    """On two ranks of one thread each: batches on one, on both together, and halves on their own.

    The last says what this machine can do at most: two cores share its memory.
    """
    from mpi4py import MPI

    world = MPI.COMM_WORLD
    taken: dict[str, list[float]] = {"one rank": [], "both": [], "halves on their own": []}
    states: dict[str, dict] = {name: {} for name in taken}

    def wait() -> None:
        request = world.Ibarrier()
        while not request.Test():
            time.sleep(0.001)  # a rank that waits in MPI would keep its core busy

    for turn in range(turns + 1):
        for name, seconds in taken.items():
            wait()
            if name == "one rank" and world.Get_rank():
                continue
            rows = batch // 2 if name == "halves on their own" else batch
            found = step_seconds(world if name == "both" else None, rows, states[name])
            seconds += found if turn else []
    if world.Get_rank():
        return
    one, both, halves = (float(np.median(seconds)) for seconds in taken.values())
    print(
        f"a step on {batch} rows: one rank {1e3 * one:.1f} ms, two ranks {1e3 * both:.1f} ms, "
        f"halves on their own {1e3 * halves:.1f} ms\n"
        f"efficiency {one / 2 / both:.2f}, of what the machine can do {halves / both:.2f}"
    )


def main() -> None:
    """Print the tables; with ``--measure`` or ``--ranks`` what is measured."""
    if "--ranks" in sys.argv:
        ranks()
        return
    for rows in (32, 512):
        print(table(rows), "\n")
    if "--measure" not in sys.argv:
        return
    from distributed import Client, LocalCluster

    warnings.simplefilter("ignore")
    how = {"threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=1, **how) as one,
        LocalCluster(n_workers=2, **how) as two,
        Client(one, set_as_default=False) as first,
        Client(two, set_as_default=False) as second,
    ):
        print("\n".join(check(second)))
        print(search_ratio((first, second)))


if __name__ == "__main__":
    main()
