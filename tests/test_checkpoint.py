"""Checkpoints: a run that is killed, at any moment, goes on as if nothing had happened."""

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from calls import Calls
from errors import raises_exactly, warns_exactly
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.model_selection import ShuffleSplit

from layerkit import (
    BatchNorm,
    Dense,
    Dropout,
    MLPClassifier,
    MLPRegressor,
    ReLU,
    Sequential,
    SequentialClassifier,
    archive,
)
from layerkit.archive import ModelFileError
from layerkit.losses import CategoricalCrossEntropy
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.schedules import FlatCosine, ReduceOnPlateau
from layerkit.training import Checkpoint, CheckpointWarning, train

X, Y = make_classification(90, 6, n_informative=4, n_classes=3, random_state=0)
EPOCHS = 8


class Killed(BaseException):
    """What a SIGKILL is to the code that comes after it."""


def kill_after(epoch):
    def callback(state):
        if state.epoch == epoch:
            raise Killed

    return callback


def network():
    return Sequential([Dense(12), BatchNorm(), ReLU(), Dropout(0.3), Dense(3)])


def run(path=None, resume=False, epochs=EPOCHS, optimizer=None, callbacks=(), **arguments):
    net = network()
    history = train(
        net,
        CategoricalCrossEntropy(),
        optimizer or Adam(ReduceOnPlateau(0.02, patience=0)),
        (X[:70], Y[:70]),
        epochs=epochs,
        batch_size=16,
        checkpoint=path,
        resume=resume,
        callbacks=callbacks,
        **{"validation_data": (X[70:], Y[70:]), "patience": 4, "random_state": 5} | arguments,
    )
    return net, history


def assert_same(one, other):
    """Weights, running statistics and record, bit by bit; only the clock may differ."""
    (net, history), (other_net, other_history) = one, other
    np.testing.assert_array_equal(net.flat_params, other_net.flat_params)
    for a, b in zip(net, other_net, strict=True):
        for name, buffer in a.buffers.items():
            np.testing.assert_array_equal(buffer, b.buffers[name])
    assert history.columns == other_history.columns
    for name in {*history.columns} - {"seconds"}:
        np.testing.assert_array_equal(history[name], other_history[name])
    assert history.stopped == other_history.stopped
    assert history.best_epoch == other_history.best_epoch


# ---------------------------------------------------------------- bit by bit


@pytest.mark.parametrize("epoch", [1, 3, 7])
def test_a_resumed_run_is_the_uninterrupted_one(epoch, tmp_path):
    path = tmp_path / "run.npz"
    uninterrupted = run()
    with pytest.raises(Killed):
        run(path, callbacks=[kill_after(epoch + 1)])
    assert archive.read(path)["counters"]["epoch"] == epoch
    assert_same(run(path, resume=True), uninterrupted)


class Diary:
    """What a callback can see, at every moment there is one."""

    def __init__(self):
        self.pages = []

    def _write(self, moment, state):
        row = {k: v for k, v in ([*state.history.rows] or [{}])[-1].items() if k != "seconds"}
        own = state.epochs, state.epoch, state.step, state.stop, state.optimizer.rate
        layers = [(layer.trainable, getattr(layer, "rate", None)) for layer in state.network]
        weights = state.network.flat_params.tobytes()
        self.pages.append((moment, own, len(state.history), row, repr(layers), weights))

    def before_batch(self, state):
        self._write(f"before {state.batch[0].sum()}", state)

    def on_batch(self, state):
        self._write(f"loss {state.batch_loss}", state)

    def __call__(self, state):
        self._write("epoch", state)


def comparable(tree):
    """Arrays as lists, without the clock."""
    if isinstance(tree, dict):
        return {key: comparable(value) for key, value in tree.items() if key != "seconds"}
    if isinstance(tree, list | tuple):
        return [comparable(value) for value in tree]
    return tree.tolist() if isinstance(tree, np.ndarray) else tree


WAYS = {
    "plateau": lambda: {"optimizer": Adam(ReduceOnPlateau(0.02, patience=0))},
    "progress": lambda: {"optimizer": SGD(FlatCosine(0.05), momentum=0.9)},
    "no validation": lambda: {"validation_data": None, "patience": None},
    "patience": lambda: {"patience": 2, "tol": 10.0, "validation_data": None},
    "frozen on the way": lambda: {"callbacks": [freeze_and_thaw]},
}


def freeze_and_thaw(state):
    state.network[0].trainable = state.epoch > 2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_resumed_run_shows_and_writes_what_the_uninterrupted_one_does(way, epoch, tmp_path):
    whole_path, path = tmp_path / "whole.npz", tmp_path / "run.npz"

    def one(path, more=(), **arguments):
        arguments |= WAYS[way]()
        diary, callbacks = Diary(), arguments.pop("callbacks", [])
        result = run(path, callbacks=[*callbacks, diary, *more], **arguments)
        return result, diary.pages

    whole, pages = one(whole_path)
    with pytest.raises(Killed):
        one(path, [kill_after(epoch + 1)])
    resumed, later = one(path, resume=True)
    assert_same(resumed, whole)
    assert later == pages[-len(later) :]
    n_epochs = len(whole[1]) - epoch
    assert len(later) == n_epochs * len(pages) // len(whole[1])
    assert comparable(archive.read(path)) == comparable(archive.read(whole_path))


def test_writing_checkpoints_changes_nothing(tmp_path):
    assert_same(run(tmp_path / "run.npz"), run())


def test_without_random_state_the_streams_come_from_the_file(tmp_path):
    path, third = tmp_path / "run.npz", tmp_path / "third.npz"

    def keep(state):
        if state.epoch == 4:
            shutil.copy(path, third)

    whole = run(path, callbacks=[keep], random_state=None)
    assert_same(run(third, resume=True, random_state=None), whole)


def test_early_stopping_goes_on_counting(tmp_path):
    path = tmp_path / "run.npz"
    arguments = {"validation_data": None, "patience": 3, "tol": 10.0, "optimizer": Adam()}
    with pytest.raises(Killed):
        run(path, callbacks=[kill_after(2)], epochs=50, **arguments)
    _, history = run(path, resume=True, epochs=50, **arguments | {"optimizer": Adam()})
    assert len(history) == 4  # the first is always better than none
    assert history.stopped == "no improvement in 3 epochs"


def test_a_finished_run_is_only_read(tmp_path):
    path = tmp_path / "run.npz"
    whole = run(path)
    before = path.read_bytes()
    assert_same(run(path, resume=True), whole)
    assert path.read_bytes() == before


def test_more_epochs_go_further(tmp_path):
    path = tmp_path / "run.npz"
    run(path, epochs=2)
    assert_same(run(path, resume=True), run())


def test_resume_without_a_file_begins(tmp_path):
    assert_same(run(tmp_path / "run.npz", resume=True), run())


@pytest.mark.parametrize("make", [lambda: SGD(0.1, momentum=0.9), lambda: Adam(0.01)])
def test_what_callbacks_change_is_kept(make, tmp_path):
    """Rates that a callback lowers, layers that it thaws."""

    def change(state):
        state.optimizer.learning_rate *= 0.7
        if state.epoch == 1:
            state.network[0].trainable = False
        if state.epoch == 4:
            state.network[0].trainable = True

    path = tmp_path / "run.npz"
    whole = run(optimizer=make(), callbacks=[change])
    with pytest.raises(Killed):
        run(path, optimizer=make(), callbacks=[change, kill_after(4)])
    assert_same(run(path, resume=True, optimizer=make(), callbacks=[change]), whole)


def test_a_rate_changed_on_purpose_counts(tmp_path):
    path, rates = tmp_path / "run.npz", []
    run(path, epochs=2, optimizer=SGD(0.1))
    see = lambda state: rates.append(state.optimizer.learning_rate)  # noqa: E731
    run(path, resume=True, epochs=3, optimizer=SGD(0.01), callbacks=[see])
    assert rates == [0.01]


class Noisy:
    """Batches that are new in every epoch."""

    def __init__(self):
        self.rng = np.random.default_rng(3)

    def __iter__(self):
        yield X + self.rng.normal(size=X.shape), Y

    @property
    def state(self):
        return {"rng": self.rng.bit_generator.state}

    @state.setter
    def state(self, state):
        self.rng.bit_generator.state = state["rng"]


class Counter:
    """A callback with something to remember."""

    def __init__(self):
        self.state = {"losses": np.zeros(0)}

    def __call__(self, state):
        losses = [*self.state["losses"], state.history.rows[-1]["loss"]]
        self.state = {"losses": np.array(losses)}


def test_data_and_callbacks_with_a_state(tmp_path):
    def noisy_run(callbacks, **arguments):
        net = network()
        history = train(
            net,
            CategoricalCrossEntropy(),
            Adam(),
            Noisy(),
            epochs=5,
            random_state=1,
            callbacks=callbacks,
            **arguments,
        )
        return net, history

    path, counters = tmp_path / "run.npz", [Counter() for _ in range(3)]
    whole = noisy_run(counters[:1])
    with pytest.raises(Killed):
        noisy_run([counters[1], kill_after(3)], checkpoint=path)
    assert_same(noisy_run(counters[2:], checkpoint=path, resume=True), whole)
    np.testing.assert_array_equal(counters[2].state["losses"], whole[1]["loss"])


# ---------------------------------------------------------------- estimators


@pytest.mark.parametrize(
    "make",
    [
        lambda: SequentialClassifier(
            [Dense(8), ReLU(), Dropout(0.2)], max_iter=6, early_stopping=True, random_state=1
        ),
        lambda: SequentialClassifier([Dense(8), ReLU()], max_iter=6, n_iter_no_change=None),
        lambda: MLPClassifier((8,), solver="adam", max_iter=6, random_state=0, dropout=0.2),
        lambda: MLPClassifier((8,), max_iter=6, early_stopping=True),
        lambda: MLPRegressor(
            hidden_layer_sizes=(8,),
            solver="sgd",
            learning_rate="adaptive",
            tol=10,
            n_iter_no_change=1,
            max_iter=6,
        ),
        lambda: MLPClassifier((8,), solver="sgd", learning_rate="invscaling", max_iter=6),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators(make, tmp_path):
    path = tmp_path / "fit.npz"

    class Stopped(Exception):
        pass

    def stop(state):
        if state.epoch == 4:
            raise Stopped

    interrupted = make()
    seed = interrupted.random_state
    if seed is None:  # what it draws is in the file, what it would draw again is not
        interrupted.random_state = np.random.default_rng(11)
    with pytest.raises(Stopped):
        interrupted.set_callbacks(stop).fit(X, Y, checkpoint=path)
    resumed = make().fit(X, Y, checkpoint=path, resume=True)
    whole = make().set_params(random_state=np.random.default_rng(11) if seed is None else seed)
    whole.fit(X, Y)
    np.testing.assert_array_equal(resumed.network_.flat_params, whole.network_.flat_params)
    assert resumed.loss_curve_ == whole.loss_curve_
    assert resumed.best_iter_ == whole.best_iter_
    assert getattr(resumed, "t_", 0) == getattr(whole, "t_", 0)


OTHER_DATA = {  # in the first row, in the last, between those that a sample of 64 rows holds
    "first target": lambda X, y: y.__setitem__(0, 2 - y[0]),
    "a target between": lambda X, y: y.__setitem__(slice(102, 106), y[102:106][::-1]),
    "last target": lambda X, y: y.__setitem__(-1, 2 - y[-1]),
    "first row": lambda X, y: X.__setitem__((0, 0), 9),
    "last row": lambda X, y: X.__setitem__((-1, -1), 9),
}


@pytest.mark.parametrize("what", OTHER_DATA)
@pytest.mark.parametrize(
    "make",
    [
        SequentialClassifier([Dense(4)], max_iter=2, n_iter_no_change=None, random_state=0),
        MLPClassifier(4, max_iter=2, random_state=0),
        MLPRegressor(hidden_layer_sizes=4, solver="sgd", max_iter=2, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_go_on_with_the_same_data_only(make, what, tmp_path):
    path = tmp_path / "fit.npz"
    X = np.random.default_rng(0).standard_normal((400, 3))
    y = np.arange(400) % 3
    clone(make).fit(X, y, checkpoint=path)
    before = path.read_bytes()
    more = clone(make).set_params(max_iter=3)
    other_X, other_y = X.copy(), y.copy()
    OTHER_DATA[what](other_X, other_y)
    assert not (np.array_equal(X, other_X) and np.array_equal(y, other_y))
    with pytest.raises(ModelFileError, match=r"belongs to another run, with \w+ "):
        more.fit(other_X, other_y, checkpoint=path, resume=True)
    assert path.read_bytes() == before and not hasattr(more, "network_")
    assert len(more.fit(X, y, checkpoint=path, resume=True).loss_curve_) == 3


def test_a_splitter_must_hold_out_the_same_rows(tmp_path):
    def model(random_state=None):
        splitter = ShuffleSplit(random_state=random_state)
        return SequentialClassifier(
            [Dense(4)], max_iter=2, n_iter_no_change=None, early_stopping=splitter
        )

    path = tmp_path / "fit.npz"
    model(0).fit(X, Y, checkpoint=path)
    model(0).fit(X, Y, checkpoint=path, resume=True)
    with pytest.raises(ModelFileError, match="with data ") as refused:
        model().fit(X, Y, checkpoint=path, resume=True)
    (note,) = refused.value.__notes__
    assert note.startswith("early_stopping=ShuffleSplit(")
    assert note.endswith("one that draws them needs an integer as its random_state")


# ---------------------------------------------------------------- how often


def test_every_third_epoch_and_the_last(tmp_path):
    path, seen = tmp_path / "run.npz", []

    def look(state):
        seen.append(archive.read(path)["counters"]["epoch"] if path.exists() else 0)

    run(Checkpoint(path, every=3), callbacks=[look], patience=None)
    assert seen == [0, 0, 0, 3, 3, 3, 6, 6]
    assert archive.read(path)["counters"]["epoch"] == EPOCHS


def test_every_so_many_minutes(tmp_path, monkeypatch):
    path, seen, clock = tmp_path / "run.npz", [], iter(range(0, 10**6, 20))
    monkeypatch.setattr("layerkit.training.checkpoint.time.monotonic", lambda: float(next(clock)))

    def look(state):
        seen.append(archive.read(path)["counters"]["epoch"] if path.exists() else 0)

    run(Checkpoint(path, every=1, unit="minutes"), callbacks=[look], patience=None)
    assert len(set(seen)) == 3  # 20 seconds for each look at the clock


# ---------------------------------------------------------------- what it refuses


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": 3}, "Checkpoint: path must be a path, got 3"),
        ({"every": 0}, "Checkpoint: every must be a positive number, got 0"),
        ({"unit": "hours"}, "Checkpoint: unit must be 'epochs' or 'minutes', got 'hours'"),
        ({"on_error": "ignore"}, "Checkpoint: on_error must be 'warn' or 'raise', got 'ignore'"),
    ],
)
def test_bad_arguments(changes, message):
    with raises_exactly(ValueError, message):
        Checkpoint(**{"path": "run.npz"} | changes)


def test_lbfgs_and_resume_without_a_file_name(tmp_path):
    with raises_exactly(
        ValueError, "checkpoint needs an optimizer that steps in batches, not LBFGS"
    ):
        run(tmp_path / "run.npz", optimizer=LBFGS())
    with raises_exactly(ValueError, "resume=True needs checkpoint, the file to go on from"):
        run(resume=True)
    with raises_exactly(
        FileNotFoundError,
        f"Checkpoint('{tmp_path}/none/run.npz', every=1, unit='epochs'): there is no "
        f"folder {tmp_path}/none",
    ):
        run(tmp_path / "none" / "run.npz")


def test_another_run(tmp_path):
    path = tmp_path / "run.npz"
    other_path = tmp_path / "other.npz"
    run(path, epochs=1)
    run(other_path, epochs=1, validation_data=None)
    with raises_exactly(
        ModelFileError,
        f"{tmp_path}/run.npz belongs to another run, with optimizer Adam, not SGD; "
        "resume=False begins anew and replaces it",
    ):
        run(path, resume=True, optimizer=SGD())
    other = Sequential([Dense(3)]).build(6, random_state=0)
    before = other.flat_params.copy()
    with raises_exactly(
        ModelFileError,
        f"{tmp_path}/run.npz belongs to another run, with network [['layers.0.W', [6, "
        "12]], ['layers.0.b', [12]], ['layers.1.gamma', [12]], ['layers.1.beta', [12]], "
        "['layers.4.W', [12, 3]], ['layers.4.b', [3]]], not [['layers.0.W', [6, 3]], "
        "['layers.0.b', [3]]]; resume=False begins anew and replaces it",
    ):
        train(
            other,
            CategoricalCrossEntropy(),
            Adam(),
            (X, Y),
            epochs=1,
            checkpoint=path,
            resume=True,
        )
    np.testing.assert_array_equal(other.flat_params, before)
    with raises_exactly(
        ModelFileError,
        f"{tmp_path}/other.npz belongs to another run, with data "
        "['b71e5ec0323172f6eace170b955fe39d6137510bbd9f5e32c300592f2c409904', 'rng'], "
        "not ['24f5bd2eabac1d7cdf274690671de2b14686c2d555001c65651a1eba3719824c', "
        "'rng']; resume=False begins anew and replaces it",
    ):
        train(
            network(),
            CategoricalCrossEntropy(),
            Adam(ReduceOnPlateau()),
            (X[:70] + 1, Y[:70]),
            epochs=2,
            batch_size=16,
            monitor="loss",
            checkpoint=other_path,
            resume=True,
        )
    with raises_exactly(
        ModelFileError, f"{tmp_path}/run.npz: a checkpoint of train, not of an estimator's fit"
    ):
        MLPClassifier().fit(X, Y, checkpoint=path, resume=True)
    path.write_bytes(path.read_bytes()[:-9])
    with raises_exactly(ModelFileError, f"{tmp_path}/run.npz: not a layerkit file, or cut off"):
        run(path, resume=True)


# ---------------------------------------------------------------- disks


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_a_warning_and_the_last_checkpoint_stays(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    run(path, epochs=2)
    before = path.read_bytes()
    monkeypatch.setattr("layerkit.archive.os.fsync", full)
    with warns_exactly(
        CheckpointWarning,
        "no checkpoint after epoch 3, training goes on: cannot write "
        f"{tmp_path}/run.npz: [Errno 28] No space left on device",
    ):
        resumed = run(path, resume=True)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.npz"]
    monkeypatch.undo()
    assert_same(resumed, run())


def test_a_full_disk_stops_training_where_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("layerkit.archive.os.fsync", full)
    net = network().build(6, random_state=0)
    before = net.flat_params.copy()
    checkpoint = Checkpoint(tmp_path / "run.npz", on_error="raise")
    with pytest.raises(OSError, match="No space left"):
        train(net, CategoricalCrossEntropy(), Adam(), (X, Y), epochs=3, checkpoint=checkpoint)
    assert os.listdir(tmp_path) == []
    assert (net.flat_params != before).any() and net.needs_input_grad


def test_a_disk_that_goes_away(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    path = folder / "run.npz"

    def unplug(state):
        if state.epoch == 3:
            path.unlink()
            folder.rmdir()

    with warns_exactly(
        CheckpointWarning,
        "no checkpoint after epoch 3, training goes on: cannot write "
        f"{tmp_path}/disk/run.npz: [Errno 2] there is no folder '{tmp_path}/disk' to "
        f"write to: '{tmp_path}/disk/run.npz'",
    ):
        assert_same(run(path, callbacks=[unplug]), run())


def test_a_disk_that_is_read_only(tmp_path, monkeypatch):
    def read_only(path, *_):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr("layerkit.archive.os.open", read_only)
    with warns_exactly(
        CheckpointWarning,
        "no checkpoint after epoch 1, training goes on: cannot write "
        f"{tmp_path}/run.npz: [Errno 30] Read-only file system: '{tmp_path}/run.npz'",
    ):
        run(tmp_path / "run.npz", epochs=1)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_write_that_really_stops_half_way(tmp_path):
    import resource

    path = tmp_path / "run.npz"
    run(path, epochs=1)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with warns_exactly(
            CheckpointWarning,
            "no checkpoint after epoch 2, training goes on: cannot write "
            f"{tmp_path}/run.npz: [Errno 27] File too large",
        ):
            run(path, resume=True, epochs=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["run.npz"]


def test_through_a_link_and_with_the_usual_permissions(tmp_path):
    target, link = tmp_path / "target.npz", tmp_path / "link.npz"
    target.touch()
    usual = target.stat().st_mode
    link.symlink_to(target)
    archive.write(link, {"n": 1})
    assert link.is_symlink() and archive.read(target) == {"n": 1}
    assert target.stat().st_mode == usual


# ---------------------------------------------------------------- SIGKILL

SCRIPT = """
import os, signal, sys, numpy as np
sys.path.insert(0, sys.argv[1])
import test_checkpoint as t
path, result, epochs, left = *sys.argv[2:4], *map(int, sys.argv[4:])

def call(frame, event, argument):
    global left
    left -= event in ("call", "c_call")
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def count(state):  # from the end of its first epoch: what is loaded before that is no training
    if left > 0:
        sys.setprofile(call)

net, history = t.run(t.Checkpoint(path, on_error="raise"), resume=True, epochs=epochs,
                     patience=None, callbacks=[count])
np.savez(result, params=net.flat_params, loss=history["loss"])
"""


def calls_of_an_epoch(path):
    """Count the functions that are called in an epoch, most of them for its checkpoint."""
    counted = []
    with Calls() as calls:
        run(path, epochs=3, patience=None, callbacks=[lambda state: counted.append(calls.count)])
    return counted[2] - counted[1]


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.slow
@pytest.mark.parametrize("kills", [3, 25])
def test_killed_at_random_moments(kills, tmp_path):
    """Also while it writes. A moment is so many calls: however fast, none is through too soon."""
    path, result = tmp_path / "run.npz", tmp_path / "result.npz"
    rng, reached, epochs = random.Random(kills), [0], 3 * kills + 5
    within = 2 * calls_of_an_epoch(tmp_path / "other.npz")
    (tmp_path / "other.npz").unlink()

    def child(calls):
        arguments = Path(__file__).parent, path, result, str(epochs), str(calls)
        return subprocess.run([sys.executable, "-c", SCRIPT, *arguments]).returncode

    for _ in range(kills):
        assert child(rng.randrange(1, within)) == -signal.SIGKILL
        if path.exists():
            reached.append(archive.read(path)["counters"]["epoch"])  # whole, at any moment
    assert child(0) == 0
    assert reached == sorted(reached) and 0 < reached[-1] < epochs
    net, history = run(epochs=epochs, patience=None)
    found = np.load(result)
    np.testing.assert_array_equal(found["params"], net.flat_params)
    np.testing.assert_array_equal(found["loss"], history["loss"])
    assert not [name for name in os.listdir(tmp_path) if re.search(r"\.tmp$", name)]


KILLED_WHILE = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import test_checkpoint as t
calls = 0

def killing(name):
    original = getattr(os, name)
    def call(*arguments):
        global calls
        calls += name == "fsync" or str(arguments[1]) == sys.argv[1]  # Numba renames files too
        after = sys.argv[2].startswith("after")
        if calls == 3 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments)
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(os, name, call)

killing(sys.argv[2].split()[-1])
t.run(sys.argv[1])
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize(
    ("moment", "epoch"),
    [
        ("before fsync", 1),  # called for the file, then for the folder: of the second checkpoint
        pytest.param("after fsync", 1, marks=pytest.mark.slow),
        pytest.param("before replace", 2, marks=pytest.mark.slow),
        pytest.param("after replace", 3, marks=pytest.mark.slow),
    ],
)
def test_killed_while_it_writes(moment, epoch, tmp_path):
    path = tmp_path / "run.npz"
    command = [sys.executable, "-c", KILLED_WHILE, path, moment, Path(__file__).parent]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert archive.read(path)["counters"]["epoch"] == epoch
    assert len(os.listdir(tmp_path)) == 1 + (moment != "after replace")  # what was half written
    assert_same(run(path, resume=True), run())
    assert os.listdir(tmp_path) == ["run.npz"]
