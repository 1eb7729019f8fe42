"""Checkpoints: the state of a training run in a file, from which it can be resumed exactly."""

from __future__ import annotations

import os
import time
from operator import itemgetter
from pathlib import Path
from typing import Any

from layerkit import archive
from layerkit.archive import ModelFileError
from layerkit.parameters import check_arguments, is_number
from layerkit.training.run import Batches, Run, buffers_of, put_back
from layerkit.warning import warn

FORMAT, VERSION = "layerkit checkpoint", 1


class CheckpointWarning(RuntimeWarning):
    """A checkpoint could not be written; training continued without it."""


class Checkpoint:
    """Where and how often a training run is saved.

    Parameters
    ----------
    path : str or path
        The file. It is replaced only when the next checkpoint is complete, so there is always a
        whole one, even if the process is killed.
    every : int or float, default=1
        Interval between checkpoints, positive. The last epoch of a run is always saved.
    unit : {"epochs", "minutes"}, default="epochs"
        Unit of ``every``. Checkpoints are taken at the end of an epoch.
    on_error : {"warn", "raise"}, default="warn"
        What to do if the disk is full, read-only or gone: "warn" continues with a
        `CheckpointWarning` and leaves the last checkpoint as it is; "raise" stops training with the
        OSError and keeps what was learned.

    Notes
    -----
    A checkpoint holds the weights, buffers, best weights, optimizer state, record, counters of
    early stopping, and the random streams of shuffling and of every layer. It also holds
    ``data.state`` and the ``state`` of each callback that has one: a settable dict of plain values
    and arrays. It holds neither network nor data: pass the same to `train` again. Other data are
    detected by a digest of y and of some rows of X, and refused.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from layerkit import Dense
    >>> from layerkit.losses import MeanSquaredError
    >>> from layerkit.optimizers import Adam
    >>> from layerkit.training import Checkpoint, train
    >>> X, folder = np.eye(4), tempfile.TemporaryDirectory()
    >>> checkpoint = Checkpoint(f"{folder.name}/run.npz", every=10, unit="minutes")
    >>> def run(epochs, resume):
    ...     network = Dense(1)
    ...     train(network, MeanSquaredError(), Adam(), (X, X[:, :1]), epochs=epochs,
    ...           random_state=0, checkpoint=checkpoint, resume=resume)
    ...     return network.flat_params
    >>> uninterrupted, _ = run(5, resume=False), run(2, resume=False)
    >>> bool((run(5, resume=True) == uninterrupted).all())
    True
    """

    def __init__(
        self,
        path: str | os.PathLike,
        every: float = 1,
        unit: str = "epochs",
        on_error: str = "warn",
    ) -> None:
        check_arguments(
            ("path", path, isinstance(path, str | os.PathLike), "a path"),
            ("every", every, is_number(every) and every > 0, "a positive number"),
            ("unit", unit, unit in ("epochs", "minutes"), "'epochs' or 'minutes'"),
            ("on_error", on_error, on_error in ("warn", "raise"), "'warn' or 'raise'"),
            of="Checkpoint: ",
        )
        self.path = Path(path)
        self.every = every
        self.unit = unit
        self.on_error = on_error
        self.note: dict[str, Any] = {}  # what whoever calls train wants to find there again
        self._last = 0.0

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, every={self.every}, unit={self.unit!r})"

    @property
    def exists(self) -> bool:
        """Whether there is something to resume from."""
        return self.path.exists()

    def begin(self, run: Run, batches: Batches, resume: bool) -> None:
        """Prepare for a run, and put it where the file says if it is to be resumed.

        Parameters
        ----------
        run : Run
            The run that `train` is about to begin.
        batches : ArrayBatches or StreamedBatches
            Its data.
        resume : bool
            Whether to go on from the file, if there is one.

        Raises
        ------
        ModelFileError
            If the file is damaged or of another network, optimizer or data: nothing has changed.
        FileNotFoundError
            If there is no such folder.
        """
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"{self!r}: there is no folder {self.path.parent}")
        self._settings = _settings(run)
        self._data = batches.fingerprint
        if run.ranks is not None:
            self._data = run.ranks.communicator.allgather(self._data)
        if resume and self.exists:
            archive.remove_leftovers(self.path)
            self._restore(run, batches)
        self._last = self._now(run)

    def end_epoch(self, run: Run, batches: Batches) -> None:
        """Write the run if it is time to.

        Parameters
        ----------
        run, batches : object
            As for `begin`.
        """
        state = run.state
        over = state.stop or state.epoch >= state.epochs
        due = over or self._now(run) - self._last >= self.every
        if not (due if run.ranks is None else run.ranks.any(due)):
            return
        tree = self._tree(run, batches)
        try:
            if run.ranks is None or run.ranks.first:
                archive.write(self.path, tree)
        except OSError as error:
            if self.on_error == "raise":
                raise
            warn(
                f"no checkpoint after epoch {state.epoch}, training goes on: cannot write "
                f"{self.path}: {error}",
                CheckpointWarning,
            )
        self._last = self._now(run)

    def read(self) -> dict[str, Any]:
        """Return what the file holds."""
        tree = archive.read(self.path)
        if not isinstance(tree, dict) or tree.get("format") != FORMAT:
            raise ModelFileError(f"{self.path}: not a checkpoint")
        if tree.get("version") != VERSION:
            raise ModelFileError(
                f"{self.path}: a checkpoint of version {tree.get('version')}, but a run goes on "
                f"with the layerkit that it began with; this one has version {VERSION}"
            )
        return tree

    def _fingerprint(self, run: Run, batches: Batches) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        network = run.state.network
        return {
            "network": [[slot.path, list(slot.shape)] for slot in network.layout],
            "layers": [type(layer).__name__ for _, layer in network.walk()],
            "buffers": [list(buffer.shape) for buffer in buffers_of(network)],
            "dtype": str(network.dtype),
            "optimizer": type(run.state.optimizer).__name__,
            "monitor": run.monitor,
            "callbacks with a state": [type(callback).__name__ for callback in _with_state(run)],
            "batches": len(batches),
            "data": [self._data, *sorted(batches.state)],
        }

    def _now(self, run: Run) -> float:
        return run.state.epoch if self.unit == "epochs" else time.monotonic() / 60

    def _tree(self, run: Run, batches: Batches) -> dict[str, Any]:
        state, best = run.state, run.best_weights
        streams = [layer.rng.bit_generator.state for _, layer in state.network.walk()]
        by_rank = run.ranks.communicator.allgather if run.ranks else lambda own: own
        return {
            "format": FORMAT,
            "version": VERSION,
            "for": self._fingerprint(run, batches),
            "note": self.note,
            "weights": list(run.good),
            "best_weights": None if best is None else list(best),
            "streams": by_rank(streams),
            "optimizer": state.optimizer.state,
            "settings": {"given": self._settings, "now": _settings(run)},
            "data": by_rank(batches.state),
            "callbacks": [callback.state for callback in _with_state(run)],
            "counters": {name: getattr(state, name) for name in ("epoch", "step", "stop")},
            "history": state.history.state,
            "monitor": {"best": run.best, "waited": run.waited},
        }

    def _restore(self, run: Run, batches: Batches) -> None:
        tree = self.read()
        try:
            self._check(tree, run, batches)
            self._put_back(tree, run, batches)
        except ModelFileError:
            raise
        except Exception as error:  # only a forged file lacks something
            raise ModelFileError(f"{self.path}: {type(error).__name__}: {error}") from error

    def _check(self, tree: Any, run: Run, batches: Batches) -> None:
        for name, now in self._fingerprint(run, batches).items():
            then = tree["for"].get(name)
            if then != now:
                raise ModelFileError(
                    f"{self.path} belongs to another run, with {name} {then}, not {now}; "
                    "resume=False begins anew and replaces it"
                )

    def _put_back(self, tree: Any, run: Run, batches: Batches) -> None:
        state, network = run.state, run.state.network
        own = itemgetter(run.ranks.rank) if run.ranks else lambda all_there_is: all_there_is
        params, buffers = tree["weights"]
        run.good = params, buffers
        put_back(network, run.good)
        best = tree["best_weights"]
        run.best_weights = None if best is None else (best[0], best[1])
        for (_, layer), stream in zip(network.walk(), own(tree["streams"]), strict=True):
            layer.rng.bit_generator.state = stream
        given = tree["settings"]["given"]
        if given == self._settings:  # otherwise they were changed on purpose
            _set_settings(run, tree["settings"]["now"])
        state.optimizer.state = tree["optimizer"]
        batches.state = own(tree["data"])
        for callback, held in zip(_with_state(run), tree["callbacks"], strict=True):
            callback.state = held
        for name, value in tree["counters"].items():
            setattr(state, name, value)
        state.history.state = tree["history"]
        run.best, run.waited = tree["monitor"]["best"], tree["monitor"]["waited"]


def as_checkpoint(checkpoint: Any, resume: bool) -> Checkpoint | None:
    """Take a path for a `Checkpoint` after every epoch."""
    if checkpoint is None:
        if resume:
            raise ValueError("resume=True needs checkpoint, the file to go on from")
        return None
    return checkpoint if isinstance(checkpoint, Checkpoint) else Checkpoint(checkpoint)


def _settings(run: Run) -> dict[str, Any]:
    """Numbers that callbacks may change on the way: of the optimizer; and what is frozen."""
    params = run.state.optimizer.get_params(deep=False)
    numbers = {name: float(value) for name, value in params.items() if is_number(value)}
    frozen = [layer.trainable for _, layer in run.state.network.walk()]
    return {"optimizer": numbers, "trainable": frozen}


def _set_settings(run: Run, settings: dict[str, Any]) -> None:
    now = _settings(run)["optimizer"]
    changed = {name: x for name, x in settings["optimizer"].items() if x != now.get(name)}
    run.state.optimizer.set_params(**changed)
    layers = [layer for _, layer in run.state.network.walk()]
    for layer, flag in zip(layers, settings["trainable"], strict=True):  # containers come first
        layer.trainable = flag


def _with_state(run: Run) -> list[Any]:
    return [c for c in run.callbacks if isinstance(getattr(c, "state", None), dict)]
