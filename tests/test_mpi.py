"""Training on several processes: the result is that of one, and whatever happens all know."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import Dense
from layerkit.distributed import data_parallel
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import SGD
from layerkit.training import train
from layerkit.training.batches import ArrayBatches, StreamedBatches
from layerkit.training.ranks import NoBatches, PartBatches, PartsOfStream, RankError, Ranks

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
SCRIPT = Path(__file__).with_name("ranks_script.py")

needs_mpi = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec: pip install mpi4py mpich")
slow = pytest.mark.slow
PATIENCE = 600  # seconds after which ranks hang, however busy the machine is


def run(tasks, folder, n_ranks):
    """Run tasks of the script, one after the other; return what the process says."""
    pytest.importorskip("mpi4py")
    command = [MPIEXEC, "-n", str(n_ranks), sys.executable, str(SCRIPT), str(folder), *tasks]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    env["LAYERKIT_KERNELS"] = "numpy"
    return subprocess.run(
        command, env=env, text=True, capture_output=True, timeout=PATIENCE, check=False
    )


def read(task, folder, n_ranks):
    """Return weights and what else a task tells."""
    with np.load(folder / f"{task} {n_ranks}.npz") as found:
        return found["params"], found["said"]


def results(task, folder, n_ranks):
    """Run a task; return what it tells."""
    done = run([task], folder, n_ranks)
    assert done.returncode == 0, done.stderr
    return read(task, folder, n_ranks)


EQUAL = ("same rows", "shares", "float32", "weights", "weighted shares", "L-BFGS", "odd batches",
         "a rank without rows", "streamed", "estimator", "early stopping",
         "fewer rows than ranks", "weights of their own")  # fmt: skip
NOT_IN_THREE = ("shares", "weighted shares", "a rank without rows")  # whose batches have 16 rows
ON_TWO = ("noisy", "unequal streams", "bad rows", "asked to stop")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What a task tells on so many ranks. They start once for all tasks: starting takes longest."""
    folder, done = tmp_path_factory.mktemp("ranks"), {}

    def found(task, n_ranks):
        if n_ranks not in done:
            tasks = [t for t in EQUAL if n_ranks != 3 or t not in NOT_IN_THREE]
            tasks += ON_TWO if n_ranks == 2 else ()
            done[n_ranks] = run(tasks, folder, n_ranks)
        assert done[n_ranks].returncode == 0, done[n_ranks].stderr
        return read(task, folder, n_ranks)

    return found


@needs_mpi
@pytest.mark.parametrize(
    ("task", "n_ranks"),
    [
        pytest.param(task, n, marks=[pytest.mark.slow] if n == 4 else [])
        for n in (2, 3, 4)
        for task in EQUAL
        if n != 3 or task not in NOT_IN_THREE
    ],
)
def test_many_ranks_do_what_one_does(task, n_ranks, ranks):
    one, several = ranks(task, 1), ranks(task, n_ranks)
    tolerance = 1e-5 if task == "float32" else 1e-12
    np.testing.assert_allclose(several[0], one[0], rtol=0, atol=tolerance)
    np.testing.assert_allclose(several[1], one[1], rtol=tolerance)


@needs_mpi
def test_ranks_end_with_one_network_and_their_own_noise(ranks):
    _, (networks, noises) = ranks("noisy", 2)
    assert (networks, noises) == (1, 2)


@needs_mpi
def test_a_rank_may_run_out_of_batches(ranks):
    params, losses = ranks("unequal streams", 2)
    assert np.isfinite(params).all() and losses[-1] < losses[0]


@needs_mpi
def test_data_that_do_not_fit_on_one_rank_stop_all_with_its_number(ranks):
    _, said = ranks("bad rows", 2)
    assert said[0].startswith("RankError: rank 1 of 2 cannot train: y must have one row")
    assert said[1].startswith("ValueError: y must have one row")


@needs_mpi
def test_an_error_on_one_rank_ends_all(tmp_path):
    done = run(["fails"], tmp_path, 2)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "OSError: the disk of this rank is full" in said
    assert "rank 1 of 2 failed, so all ranks end" in said


@needs_mpi
def test_ctrl_c_on_one_rank_stops_all_after_the_same_step(tmp_path):
    _, said = results("interrupted", tmp_path, 2)
    assert len(set(said)) == 1


@needs_mpi
def test_a_callback_that_asks_to_stop_on_one_rank_stops_all(ranks):
    assert ranks("asked to stop", 2)[1].tolist() == [2, 2]


@needs_mpi
@slow
def test_a_killed_rank_ends_all_and_the_run_goes_on_bit_by_bit(tmp_path):
    done = run(["killed"], tmp_path, 2)
    assert done.returncode != 0 and (tmp_path / "run.npz").exists()
    (tmp_path / "resume").touch()
    resumed = results("killed", tmp_path, 2)
    (tmp_path / "run.npz").unlink()
    undisturbed = results("killed", tmp_path, 2)
    np.testing.assert_array_equal(resumed[0], undisturbed[0])


@needs_mpi
@slow
@pytest.mark.parametrize("which", [0, 1], ids=["same rows", "shares"])
def test_the_examples_of_the_guide_run(which, tmp_path):
    page = (SCRIPT.parents[1] / "docs" / "guide" / "machines.md").read_text(encoding="utf-8")
    example = re.findall(r"```py\n(.*?)```", page, re.DOTALL)[which]
    (tmp_path / "script.py").write_text(example, encoding="utf-8")
    command = [MPIEXEC, "-n", "2", sys.executable, "script.py"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    said = subprocess.run(
        command, cwd=tmp_path, env=env, text=True, capture_output=True, timeout=PATIENCE, check=True
    )
    assert float(said.stdout) > 0.8


class Alone:
    """A communicator of one rank, without MPI."""

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 1

    def Allreduce(self, *_):
        raise AssertionError


@pytest.mark.parametrize("communicator", ["world", 4, Alone()])
def test_what_is_no_communicator_is_refused(communicator):
    told = (
        "communicator must be one of mpi4py, such as MPI.COMM_WORLD of `from mpi4py import MPI` "
        f"(pip install 'layerkit[mpi]'), got {communicator!r}"
    )
    with raises_exactly(TypeError, told):
        train(Dense(1), MeanSquaredError(), SGD(), (np.eye(3), np.eye(3)[:, :1]), epochs=1,
              communicator=communicator)  # fmt: skip
    with raises_exactly(TypeError, told), data_parallel(communicator):
        pass


# ---------------------------------------------------------------- the data of several ranks


class Threads:
    """What one of several ranks, threads of this process, asks the others."""

    def __init__(self, rank, said, barrier):
        self.rank, self.said, self.barrier = rank, said, barrier

    def Get_rank(self):
        return self.rank

    def Get_size(self):
        return len(self.said)

    Allreduce = Bcast = None

    def allgather(self, own):
        self.said[self.rank] = own
        self.barrier.wait(60)
        found = list(self.said)
        self.barrier.wait(60)
        return found


def batches_of(data, same_rows=None, batch_size=3):
    """Return what each of several ranks makes of its data, or how it refuses."""
    said, barrier = [None] * len(data), Barrier(len(data))

    def on(rank):
        ranks = Ranks(Threads(rank, said, barrier), same_rows)
        try:
            return ranks.batches(data[rank], batch_size, None), ranks.parts
        except (ValueError, RankError) as error:
            return f"{type(error).__name__}: {error}", None

    with ThreadPoolExecutor(len(data)) as pool:
        return list(pool.map(on, range(len(data))))


def table(n, width=2, dtype=np.float64, first=0.0):
    X = first + np.arange(float(n * width)).reshape(n, width)
    return X.astype(dtype), np.arange(float(n)).reshape(n, 1).astype(dtype)


def stream(n=6, width=2, first=0.0):
    X, y = table(n, width, first=first)
    return [(X[:3], y[:3]), (X[3:], y[3:])]


ALIKE = "ValueError: all ranks must have rows of one shape and dtype, they have "
OWN_ROWS = (
    "ValueError: data_parallel needs the same rows on all ranks; where each has its own, call "
    "train(..., communicator=...)"
)
REFUSED_RANKS = {
    "another width": ([table(6), table(6, 3)], None, [ALIKE + "(2,) float64, (3,) float64"] * 2),
    "another dtype": (
        [table(6), table(6, dtype=np.float32)],
        None,
        [ALIKE + "(2,) float64, (2,) float32"] * 2,
    ),
    "another width, without rows": (
        [table(0, 3), table(6)],
        None,
        [ALIKE + "(3,) float64, (2,) float64"] * 2,
    ),
    "another width in a stream": ([stream(), stream(width=1)], None,
                                  [ALIKE + "(2,) float64, (1,) float64"] * 2),
    "the third of three": (
        [table(6), table(6), table(6, 1)],
        None,
        [ALIKE + "(2,) float64, (2,) float64, (1,) float64"] * 3,
    ),
    "no rows": ([table(0)] * 2, None,
                ["ValueError: X must have at least one row on one of the ranks"] * 2),
    "rows of their own": ([table(6), table(6, first=1.0)], True, [OWN_ROWS] * 2),
    "rows too few": ([table(6), table(5)], True, [OWN_ROWS] * 2),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_RANKS)
def test_ranks_whose_rows_do_not_fit_together_all_say_so(name):
    data, same_rows, messages = REFUSED_RANKS[name]
    assert [said for said, _ in batches_of(data, same_rows)] == messages


def test_a_rank_with_bad_rows_says_why_and_the_others_say_which_rank():
    X, y = table(6)
    said = [message for message, _ in batches_of([(X, y), (X, y[1:]), (X, y)])]
    why = said[1].removeprefix("ValueError: ")
    assert why != said[1]
    assert said[0] == said[2] == f"RankError: rank 1 of 3 cannot train: {why}"


@pytest.mark.parametrize(
    ("data", "same_rows", "kinds", "parts"),
    [
        ([table(6), table(6)], None, (PartBatches, PartBatches), True),
        ([table(6), table(6)], True, (PartBatches, PartBatches), True),
        ([table(6), table(6, first=1.0)], None, (ArrayBatches, ArrayBatches), False),
        ([table(6), table(5)], None, (ArrayBatches, ArrayBatches), False),
        ([table(6), table(0)], None, (ArrayBatches, NoBatches), False),
        ([table(0), table(6)], None, (NoBatches, ArrayBatches), False),
        ([stream(), stream()], None, (StreamedBatches, StreamedBatches), False),
        ([stream(), stream()], True, (PartsOfStream, PartsOfStream), True),
        ([stream(), table(0)], None, (StreamedBatches, NoBatches), False),
    ],
)
def test_every_rank_has_its_part_of_the_same_rows_or_its_own(data, same_rows, kinds, parts):
    found = batches_of(data, same_rows)
    assert tuple(type(batches) for batches, _ in found) == kinds
    assert [is_part for _, is_part in found] == [parts] * 2
    for rank, (batches, _) in enumerate(found):
        given = data[rank] if isinstance(data[rank], tuple) else None
        X, y = given or map(np.concatenate, zip(*data[rank], strict=True))
        x, targets, weights, normalizers = zip(*batches, strict=True) if len(X) else [()] * 4
        assert len(batches) == len(x) == (len(X) + 2) // 3
        pieces = [np.arange(start, min(start + 3, len(X))) for start in range(0, len(X), 3)]
        own = [np.array_split(rows, 2)[rank] if parts else rows for rows in pieces]
        for rows, x_, y_ in zip(own, x, targets, strict=True):
            np.testing.assert_array_equal(x_, X[rows])
            np.testing.assert_array_equal(y_, y[rows])
        assert list(normalizers) == [len(rows) for rows in pieces]
        assert set(weights) <= {None}


def test_weights_are_relative_to_the_mean_over_all_ranks():
    X, y = table(6)
    light, heavy = np.full(6, 1.0), np.full(3, 4.0)
    found = batches_of([(X, y, light), (1 + X[:3], y[:3], heavy), (X[:0], y[:0], heavy[:0])])
    assert [batches.mean_weight for batches, _ in found] == [2.0] * 3
    x, targets, weight, total = found[2][0].everything()
    assert (x.shape, targets.shape, weight, total) == ((0, 2), (0, 1), None, 0.0)
    assert (len(found[2][0]), list(found[2][0])) == (0, [])
