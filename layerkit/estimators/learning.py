"""How every estimator learns: data checked, a network built and trained, attributes set."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from layerkit.archive import ModelFileError
from layerkit.estimators.building import build_around_frozen
from layerkit.estimators.callbacks import Callbacks, EpochHooks, print_epoch, with_callbacks
from layerkit.estimators.preparing import Preparing
from layerkit.estimators.targets import Target
from layerkit.estimators.task import Task, seed_of, stream
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.parameters import Parameterized, is_dtype, is_number, is_size
from layerkit.seeds import with_plain_seed, with_seed
from layerkit.training import Checkpoint, History, train
from layerkit.training.checkpoint import as_checkpoint
from layerkit.training.run import put_back_on_error


class Learner(Callbacks, Preparing, Parameterized, BaseEstimator):
    """The half of an estimator that learns.

    A subclass has the constructor parameters ``batch_size``, ``max_iter``, ``shuffle``,
    ``random_state``, ``tol``, ``n_iter_no_change``, ``early_stopping``, ``validation_fraction``,
    ``warm_start``, ``dtype`` and ``verbose``, and says in a few methods what is particular to it:
    `_make_target`, `_make_network`, `_make_loss` and `_make_optimizer`.
    """

    # The column of the history that chooses the best epoch where there is validation data.
    _monitor: ClassVar[str] = "validation_loss"
    # Parameters that make the network: to go on after a change of one needs a new fit.
    _structure: ClassVar[tuple[str, ...]] = ("dtype",)

    history_: History
    optimizer_: Any
    _built_for: dict[str, str]

    # ---------------------------------------------------------------- what an estimator defines

    def _make_target(self, y: np.ndarray, classes: Any = None) -> Target:
        """Tell what y holds."""
        raise NotImplementedError

    def _make_network(self, output_shape: tuple[int, ...]) -> Layer:
        """Return the network, not built, with an output of that shape where we choose it."""
        raise NotImplementedError

    def _make_loss(self) -> Loss | None:
        """Return a loss of our own, or None for the one that suits y."""
        raise NotImplementedError

    def _make_optimizer(self) -> Optimizer | LBFGS:
        """Return an optimizer of our own, without state."""
        raise NotImplementedError

    def _weights(
        self, target: Any, y: np.ndarray, sample_weight: np.ndarray | None
    ) -> np.ndarray | None:
        """Return the weight of every sample."""
        return sample_weight

    def _check_params(self) -> None:
        """Refuse constructor parameters that are out of range."""
        patience, stopping = self.n_iter_no_change, self.early_stopping
        fraction = self.validation_fraction
        self.check(
            self.batch_size == "auto" or is_size(self.batch_size),
            "batch_size",
            "'auto' or a positive integer",
        )
        self.check(is_size(self.max_iter), "max_iter", "a positive integer")
        self.check(is_number(self.tol) and self.tol >= 0, "tol", "a finite number >= 0")
        self.check(
            patience is None or patience == np.inf or is_size(patience),
            "n_iter_no_change",
            "None or a positive integer",
        )
        self.check(
            isinstance(stopping, bool | np.bool_)
            or (hasattr(stopping, "split") and not isinstance(stopping, str)),
            "early_stopping",
            "True, False or a splitter such as GroupShuffleSplit()",
        )
        self.check(
            is_number(fraction) and 0 < fraction < 1,
            "validation_fraction",
            "between 0 and 1, exclusive",
        )
        for name in ("shuffle", "warm_start", "verbose"):
            flag = isinstance(getattr(self, name), bool | np.bool_ | int)
            self.check(flag, name, "True or False")
        self.check(is_dtype(self.dtype), "dtype", "'auto', 'float32' or 'float64'")

    # ---------------------------------------------------------------- learning

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        groups: Any = None,
        *,
        checkpoint: str | os.PathLike | Checkpoint | None = None,
        resume: bool = False,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or (n_samples, ...)
            A table, or images ``(n_samples, height, width, channels)`` and the like. Sparse rows
            are taken by a network that begins with Dense. Or, without y, batches: see Notes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Labels or numbers.
        sample_weight : array-like of shape (n_samples,), optional
            Not negative. A weight of 2 counts as the row twice, 0 as no row.
        X_val, y_val : array-like, optional
            Validation data in place of a part of X, each row counting once: evaluated after every
            epoch. Training stops after ``n_iter_no_change`` epochs without improvement, and the
            weights of the best epoch are restored.
        groups : array-like of shape (n_samples,), optional
            For a splitter that is given as ``early_stopping``, which sees all rows, those of weight
            0 too.
        checkpoint : path or Checkpoint, optional
            File to write the fit to, after every epoch or as often as a
            `layerkit.training.Checkpoint` says. Not with L-BFGS.
        resume : bool, default=False
            Go on from the checkpoint, if there is one, on the same data and with the same
            parameters: the result is that of the fit that was never interrupted. A splitter that
            draws rows, given as ``early_stopping``, needs an integer as its random_state.

        Returns
        -------
        self : object
            The estimator, having learned.

        Raises
        ------
        ValueError
            If a parameter is out of range or the data do not fit; it says which, and what came.
        ModelFileError
            If ``resume`` finds a checkpoint that is damaged or of another fit.

        Warns
        -----
        ConvergenceWarning
            If ``max_iter`` epochs, of the estimator or of an `LBFGS`, were not enough (never with
            ``n_iter_no_change=None``).
        DivergenceWarning
            If numbers that are not finite turned up; the last good weights are kept.

        Notes
        -----
        Data larger than memory are a memory map (`numpy.load` with ``mmap_mode="r"``), or an
        iterable of batches ``(X, y)`` or ``(X, y, sample_weight)`` given as X, with y left out: the
        chunks of a table, say. It is iterated once before training, to find the classes, the dtype
        and the mean weight, and then for every epoch; of the batches nothing is kept. They are
        taken as they come, so that ``batch_size`` and ``shuffle`` mean nothing, and nothing can be
        held out: for early stopping give ``X_val`` and ``y_val``. What can be iterated only once, a
        generator, is refused; `partial_fit` takes such batches one by one.
        """
        self._check_params()
        fresh = not (self.warm_start and hasattr(self, "network_"))
        checkpoint = as_checkpoint(checkpoint, resume)
        seed = seed_of(checkpoint) if resume else None
        splitting = X_val is None and y_val is None and hasattr(self.early_stopping, "split")
        task = self._prepare(X, y, sample_weight, groups, fresh, seed=seed, splitting=splitting)
        task = self._hold_out(task, X_val, y_val)
        if checkpoint is not None:
            checkpoint.note = {"entropy": task.seed.entropy, "spawn_key": task.seed.spawn_key}
        saving = {"checkpoint": checkpoint, "resume": resume}
        try:
            return self._learn(task, self.max_iter, keep=self.warm_start, saving=saving)
        except ModelFileError as error:
            if not is_size(getattr(self.early_stopping, "random_state", 0), least=0):
                error.add_note(
                    f"early_stopping={self.early_stopping!r} must hold out the same rows as it did "
                    "then: one that draws them needs an integer as its random_state"
                )
            raise

    def refit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train anew, on all rows, for the ``best_iter_`` epochs that validation found.

        Parameters
        ----------
        X : array-like or sparse matrix
            As in `fit`; nothing is held out.
        y : array-like, optional
            As in `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            As in `fit`.

        Returns
        -------
        self : object
            The estimator, having learned.
        """
        check_is_fitted(self, "network_")
        self._check_params()
        task = self._prepare(X, y, sample_weight, fresh=True)
        return self._learn(task, max(self.best_iter_, 1), patient=True)

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        """Learn from the rows for one epoch, continuing what was learned before."""
        self._check_params()
        fresh = not hasattr(self, "network_")
        task = self._prepare(X, y, sample_weight, None, fresh, classes)
        return self._learn(task, 1, keep=True, patient=True)

    @with_callbacks
    def _learn(
        self,
        task: Task,
        epochs: int,
        keep: bool = False,
        patient: bool = False,
        saving: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        """Run `train` and set the fitted attributes.

        ``keep`` keeps the optimizer's state, for a later call to go on with; ``patient`` runs all
        epochs, whatever happens to the loss; ``saving`` has the arguments of `train` for that.
        """
        optimizer = self._make_optimizer()
        if task.fresh:
            network, past = self._build(task), History()
        else:
            self._check_structure()
            network, past = self.network_, self.history_
            if isinstance(optimizer, Optimizer) and type(optimizer) is type(self.optimizer_):
                optimizer.state = self.optimizer_.state

        def fitted(new: History) -> dict[str, Any]:
            return self._fitted(task, past.then(new), copy.deepcopy(network))

        hooks = EpochHooks(self, epochs, task.given, fitted)
        auto = self.batch_size == "auto"
        with put_back_on_error(network):
            history = train(
                network,
                task.target.loss,
                optimizer,
                task.data(task.target.encode),
                epochs=epochs,
                batch_size=self._auto_batch(task.n_rows) if auto else self.batch_size,
                shuffle=bool(self.shuffle),
                patience=None if patient else self._patience(optimizer, task),
                tol=float(self.tol),
                callbacks=[*self._own_callbacks(), *[print_epoch] * bool(self.verbose), hooks],
                random_state=stream(task.seed, 2, len(past)),
                **self._validating(task),
                **saving,
            )
            hooks.close()
        task.target.loss = copy.copy(task.target.loss)  # without what its last forward held
        if not keep and isinstance(optimizer, Optimizer):
            optimizer.reset()
        self._set(**self._fitted(task, past.then(history), network), optimizer_=optimizer)
        limit, name = epochs, "max_iter"
        if isinstance(optimizer, LBFGS) and optimizer.max_iter < epochs:
            limit, name = optimizer.max_iter, "optimizer__max_iter"
        if not patient and len(history) == limit and not history.stopped:
            self._warn_not_converged(name, limit)
        return self

    def _set(self, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(self, name, value)

    def _auto_dtype(self, dtype: np.dtype) -> Any:
        """Return dtype="auto" for X of a dtype: the smaller one that holds its values exactly.

        A long double, which no network has, is float64.
        """
        return np.float64 if dtype.itemsize > 8 else np.result_type(dtype, np.float32)

    def _auto_batch(self, n_rows: int) -> int:
        """Return batch_size="auto": about 32 steps an epoch, of 32 to 200 rows."""
        return min(max(n_rows // 32, 32), 200)

    def _validating(self, task: Task) -> dict[str, Any]:
        """Return the arguments of `train` that concern validation."""
        if task.validation is None:
            return {}
        (X, y, weight), target = task.validation, task.target
        return {
            "validation_data": (X, target.encode(y), weight),
            "score": lambda _, raw, weight: target.score_of_known(y, raw, weight),
            "monitor": self._monitor,
        }

    def _patience(self, optimizer: Any, task: Task) -> int | None:
        """Return the epochs to wait for an improvement; L-BFGS has its own test of convergence."""
        patience = self.n_iter_no_change
        converges = isinstance(optimizer, LBFGS) and task.validation is None
        return None if patience in (None, np.inf) or converges else int(patience)

    def _build(self, task: Task) -> Layer:
        """Return a new network for the data; the loss and the width of its output are settled."""
        target, loss = task.target, self._make_loss()
        if loss is not None:
            target.check_loss(loss)
            loss.check_params()
        network = self._make_network(target.shapes(loss)[0])
        if hasattr(self, "feature_names_in_"):
            network.name_features(list(self.feature_names_in_))
        dtype = self._auto_dtype(task.X.dtype) if self.dtype == "auto" else self.dtype
        build_around_frozen(network, task.X.shape[1:], stream(task.seed, 0), dtype)
        network.convert_input(task.X[:1])  # refuses sparse rows where the first layer cannot
        target.bind(loss, network.output_shape)
        return network

    def _fitted(self, task: Task, history: History, network: Layer) -> dict[str, Any]:
        """Return the fitted attributes."""
        best = history.best_epoch
        return {
            "network_": network,
            "history_": history,
            "loss_curve_": [row["loss"] for row in history.rows],
            "n_iter_": len(history),
            "best_iter_": len(history) if best is None else best,
            "_target": task.target,
            "_seed": task.seed,
            "_built_for": {name: _written(getattr(self, name)) for name in self._structure},
        }

    def _check_structure(self) -> None:
        """Refuse to go on with a network that the parameters no longer describe."""
        for name, built_for in self._built_for.items():
            value = getattr(self, name)
            if built_for not in (_written(value), repr(value)):  # version 0.1.0 stored the repr
                raise ValueError(
                    f"{name} was {built_for} when the network was built and is "
                    f"{value!r} now: a network that goes on learning cannot change; "
                    "fit with warm_start=False builds a new one"
                )

    def _warn_not_converged(self, name: str, epochs: int) -> None:
        if self.n_iter_no_change is not None:
            warnings.warn(
                f"{type(self).__name__}: {name}={epochs} epochs were not enough to "
                "converge; raise it, or set n_iter_no_change=None to have exactly so many",
                ConvergenceWarning,
                stacklevel=5,  # the caller of fit
            )

    def check(self, ok: bool, name: str, expected: str) -> None:
        if not ok:
            raise ValueError(
                f"{type(self).__name__}: {name} must be {expected}, got {getattr(self, name)!r}"
            )

    def __getstate__(self) -> dict[str, Any]:
        return with_plain_seed(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(with_seed(state))

    __repr__ = BaseEstimator.__repr__


def _written(value: Any) -> str:
    """Write a parameter so that 5, (5,) and [np.int64(5)] are the same, as they mean the same."""
    if isinstance(value, list | tuple | range | np.ndarray):
        items = [_written(item) for item in value]
        return items[0] if len(items) == 1 else f"[{', '.join(items)}]"
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        value = np.dtype(value).name
    if isinstance(value, np.generic):
        value = value.item()
    whole = isinstance(value, float) and value.is_integer()
    return repr(int(value) if whole else value)
