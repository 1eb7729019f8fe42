"""What ranks run under mpiexec: ``ranks_script.py FOLDER TASK...``; the first writes results."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI

from layerkit import BatchNorm, Dense, Dropout, MLPClassifier, ReLU, Sequential, Tanh
from layerkit.distributed import data_parallel
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.training import train

WORLD = MPI.COMM_WORLD
RANK, SIZE = WORLD.Get_rank(), WORLD.Get_size()


def rows(n=48, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 5)).astype(dtype)
    return X, np.sin(X[:, :2]).astype(dtype), rng.random(n) + 0.5


def network(dtype=np.float64, seed=3):
    return Sequential([Dense(7), Tanh(), Dense(2)]).build(5, random_state=seed, dtype=dtype)


def same_rows(dtype=np.float64, optimizer=Adam, weighted=False, seed=3, **options):
    """All ranks are given all rows."""
    X, y, weight = rows(dtype=dtype)
    net, data = network(dtype, seed), (X, y, weight) if weighted else (X, y)
    known = {"epochs": 4, "batch_size": 16, "random_state": 1, "communicator": WORLD} | options
    history = train(net, MeanSquaredError(), optimizer(), data, **known)
    return net.flat_params, history["loss"]


def shares(weighted=False, rank_without_rows=False, batch_size=16):
    """Each rank has rows of its own, as many as the others, or none."""
    X, y, weight = rows()
    ranks = SIZE - 1 if rank_without_rows and SIZE > 1 else SIZE
    own = slice(RANK, None, ranks) if ranks > RANK else slice(0, 0)
    data = (X[own], y[own], weight[own]) if weighted else (X[own], y[own])
    net = network()
    history = train(net, MeanSquaredError(), SGD(0.1, momentum=0.9, clip_norm=0.5), data, epochs=4,
                    batch_size=batch_size // ranks, shuffle=False, communicator=WORLD)  # fmt: skip
    return net.flat_params, history["loss"]


def streamed(uneven=False):
    """Each rank has batches of its own, the last rank fewer."""
    X, y, _ = rows()
    batches = [(X[i : i + 16], y[i : i + 16]) for i in (0, 16, 32)]
    mine = [(x[RANK::SIZE], t[RANK::SIZE]) for x, t in batches]
    mine = mine[:-1] if uneven and RANK == SIZE - 1 and SIZE > 1 else mine
    net = network()
    history = train(net, MeanSquaredError(), SGD(0.1), mine, epochs=3, communicator=WORLD)
    return net.flat_params, history["loss"]


def estimator(**options):
    """The same script on every rank."""
    X, _, _ = rows(400)
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
    model = MLPClassifier((16,), max_iter=8, random_state=0, **options)
    with data_parallel(WORLD):
        model.fit(X, y)
    return model.network_.flat_params, model.loss_curve_


def noisy():
    """Dropout and BatchNorm; every rank must end with the same network."""
    X, y, _ = rows(96)
    net = Sequential([Dense(8), BatchNorm(), ReLU(), Dropout(0.3), Dense(2)])
    train(net, MeanSquaredError(), Adam(), (X[RANK::SIZE], y[RANK::SIZE]), epochs=3, batch_size=8,
          validation_data=(X[RANK::SIZE], y[RANK::SIZE]), communicator=WORLD)  # fmt: skip
    buffers = np.concatenate([b for _, layer in net.walk() for b in layer.buffers.values()])
    said = WORLD.allgather(np.concatenate([net.flat_params, buffers]).tobytes())
    return net.flat_params, [len(set(said)), len(set(WORLD.allgather(net.layers[3].rng.random())))]


def bad_rows():
    """One rank's X and y do not fit together."""
    X, y, _ = rows()
    try:
        train(network(), MeanSquaredError(), Adam(), (X, y[RANK % 2 :]), epochs=1,
              communicator=WORLD)  # fmt: skip
    except (ValueError, RuntimeError) as error:
        said = WORLD.allgather(f"{type(error).__name__}: {error}")
    return np.zeros(1), said


def fails():
    """One rank's callback raises in the second epoch."""

    def callback(state):
        if state.epoch == 2 and RANK == SIZE - 1:
            raise OSError("the disk of this rank is full")

    return same_rows(epochs=200, callbacks=[callback])


def killed(folder):
    """One rank is killed in the third epoch; before that there are checkpoints."""

    def callback(state):
        if state.epoch == 3 and RANK == SIZE - 1 and not (folder / "resume").exists():
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)

    X, y, _ = rows()
    net = Sequential([Dense(7), Tanh(), Dropout(0.2), Dense(2)]).build(5, random_state=3)
    history = train(net, MeanSquaredError(), Adam(), (X[RANK::SIZE], y[RANK::SIZE]), epochs=6,
                    batch_size=4, random_state=5, checkpoint=folder / "run.npz",
                    resume=(folder / "resume").exists(), callbacks=[callback],
                    communicator=WORLD)  # fmt: skip
    return net.flat_params, history["loss"]


def interrupted():
    """One rank gets Ctrl-C in its second epoch."""

    def callback(state):
        if state.epoch == 2 and RANK == SIZE - 1:
            os.kill(os.getpid(), signal.SIGINT)

    try:
        params, losses = same_rows(epochs=10_000, callbacks=[callback])
    except KeyboardInterrupt:
        return np.zeros(1), WORLD.allgather("out")
    return params, WORLD.allgather(len(losses))


def asked_to_stop():
    """A callback on one rank asks for it after its second epoch."""

    def callback(state):
        state.stop = state.epoch == 2 and RANK == SIZE - 1

    params, losses = same_rows(epochs=20, callbacks=[callback])
    return params, WORLD.allgather(len(losses))


def speed():
    """Seconds of a step of one process and of all."""
    from layerkit import Conv2D, Flatten, MaxPool2D

    rng = np.random.default_rng(0)
    X, y = rng.random((256, 24, 24, 1), np.float32), rng.integers(10, size=256)

    def seconds(communicator, part):
        layers = [Conv2D(24, 3), ReLU(), MaxPool2D(2), Conv2D(48, 3), ReLU(), Flatten(), Dense(10)]
        net = Sequential(layers)
        started = time.perf_counter()
        train(net, CategoricalCrossEntropy(), Adam(), (X[part], y[part]), epochs=2, batch_size=64,
              random_state=0, communicator=communicator)  # fmt: skip
        return time.perf_counter() - started

    one = min(seconds(None, slice(None)) for _ in range(3)) if RANK == 0 else 0.0
    WORLD.Barrier()
    return np.zeros(1), [one, min(seconds(WORLD, slice(None)) for _ in range(3))]


TASKS = {
    "same rows": same_rows,
    "float32": lambda: same_rows(np.float32),
    "weights": lambda: same_rows(weighted=True),
    "L-BFGS": lambda: same_rows(optimizer=LBFGS),
    "odd batches": lambda: same_rows(batch_size=7),
    "fewer rows than ranks": lambda: same_rows(batch_size=2),
    "weights of their own": lambda: same_rows(seed=RANK),
    "shares": shares,
    "weighted shares": lambda: shares(weighted=True),
    "a rank without rows": lambda: shares(rank_without_rows=True, batch_size=12),
    "streamed": streamed,
    "unequal streams": lambda: streamed(uneven=True),
    "estimator": estimator,
    "early stopping": lambda: estimator(early_stopping=True),
    "noisy": noisy,
    "bad rows": bad_rows,
    "fails": fails,
    "interrupted": interrupted,
    "asked to stop": asked_to_stop,
    "speed": speed,
}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for task in sys.argv[2:]:
        params, said = killed(folder) if task == "killed" else TASKS[task]()
        if RANK == 0:
            np.savez(folder / f"{task} {SIZE}.npz", params=params, said=said)
