"""The estimator that the four share: scikit-learn's face on `prepare` and `learn`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, ClassVar, ParamSpec, Self, TypeVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from layerkit.archive import ModelFileError
from layerkit.distributed.collections import computed, each_partition
from layerkit.estimators.callbacks import CallbackSupport, set_callbacks, with_callbacks
from layerkit.estimators.doc_links import with_page
from layerkit.estimators.learning import Recipe, learn
from layerkit.estimators.predicting import checked_rows, infer_in_batches, plan_of
from layerkit.estimators.preparing import Task, hold_out, prepare, seed_of, validate
from layerkit.estimators.rules import is_splitter
from layerkit.fused import work_of
from layerkit.kernels import for_work
from layerkit.layer import Layer
from layerkit.layers import Identity
from layerkit.other_libraries import OF_ESTIMATORS
from layerkit.parameters import Parameterized, if_class, is_size, told_by_habits
from layerkit.seeds import with_plain_seed, with_seed
from layerkit.sequences import Sequences, is_collection, refuse_misread
from layerkit.training import Checkpoint
from layerkit.training.checkpoint import as_checkpoint

P = ParamSpec("P")
Result = TypeVar("Result")
_OF_COLUMNS = ("n_features_in_", "feature_names_in_")


def learns_in_batches(estimator: NetworkEstimator) -> bool:
    """Whether there is a partial_fit, for ``available_if``."""
    if estimator._recipe().takes_all_rows():
        raise AttributeError("partial_fit needs an optimizer that steps in batches, not LBFGS")
    return True


def _or_as_before(learn: Callable[P, Result]) -> Callable[P, Result]:
    """Decorate a method that learns: without a new network all columns are what they were."""

    @wraps(learn)
    def call(*args: P.args, **kwargs: P.kwargs) -> Result:
        held: Any = vars(args[0])
        before = {name: held[name] for name in ("network_", *_OF_COLUMNS) if name in held}
        try:
            return learn(*args, **kwargs)
        except BaseException:
            if held.get("network_") is before.get("network_"):
                for name in _OF_COLUMNS:
                    held.pop(name, None)
                held.update(before)
            raise

    return call


class _LastHidden(TransformerMixin):
    """The transform whose output scikit-learn puts into what `set_output` says."""

    def transform(self: Any, X: Any) -> Any:
        return self._activations(X, -1)


# The empty tuple is for scikit-learn to leave `transform` alone, as the names of the last hidden
# layer do not fit another one.
@with_page
class NetworkEstimator(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    CallbackSupport,
    Parameterized,
    BaseEstimator,
    auto_wrap_output_keys=(),  # type: ignore[call-arg]
):
    """Base of the estimators."""

    # Under metadata routing a splitter's groups are for a cross-validation around the fit, as with
    # estimators that know none; ``set_fit_request(groups=True)`` lets them in.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": False}
    habits = OF_ESTIMATORS | {
        "patience": "write n_iter_no_change, in the constructor",
        "n_jobs": "set it in the search or the cross-validation around this estimator",
    }
    _recipe_of: ClassVar[type[Recipe]]
    set_callbacks = set_callbacks

    max_iter: int
    warm_start: bool
    early_stopping: Any
    head: Any = "auto"  # an MLP always has one
    class_weight: Any = None  # a regressor never has one

    network_: Layer
    best_iter_: int
    optimizer_: Any
    _target: Any

    def _recipe(self, epochs: int = 1, **how: Any) -> Recipe:
        """Return how the network is made and trained."""
        return self._recipe_of(self, epochs, **how)

    # ---------------------------------------------------------------- learning

    @told_by_habits
    @_or_as_before
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
            are accepted if the network begins with Dense. Sequences are an array ``(n_samples,
            time, n_features)`` or a list of arrays ``(time_i, n_features)`` of unequal length.
            Without y, X is an iterable of batches: see Notes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), optional
            Labels or numbers. If X is a list of arrays, y may be a list of arrays ``(time_i,)`` or
            ``(time_i, n_outputs)``, with a target for every step. Predictions are then lists too;
            the loss of a row is the mean over its steps, and the score is taken over all steps.
        sample_weight : array-like of shape (n_samples,), optional
            Non-negative weights. A weight of 2 counts a row twice, 0 not at all.
        X_val, y_val : array-like, optional
            Validation data, instead of holding out a part of X; every row counts once. They are
            evaluated after every epoch. Training stops after ``n_iter_no_change`` epochs without
            improvement, and the weights of the best epoch are restored.
        groups : array-like of shape (n_samples,), optional
            Passed to the splitter given as ``early_stopping``, which sees all rows, also those of
            weight 0. Under metadata routing they are passed on only after
            ``set_fit_request(groups=True)``.
        checkpoint : path or Checkpoint, optional
            File to which the fit is saved, after every epoch or as a
            `layerkit.training.Checkpoint` says. Not available with L-BFGS.
        resume : bool, default=False
            Whether to continue from the checkpoint, if there is one, with the same data and
            parameters: the result is that of an uninterrupted fit. A random splitter given as
            ``early_stopping`` needs an integer as its random_state.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If a parameter is out of range or the data are invalid; the message names the argument
            and its value.
        ModelFileError
            If ``resume`` finds a checkpoint that is damaged or of another fit.
        KeyboardInterrupt
            After Ctrl-C, so that a search or a loop around the fit ends too. The estimator is
            fitted with what it has learned so far or, with validation data, with the weights of the
            best epoch: catch the exception to predict, or to continue with `partial_fit`.

        Warns
        -----
        ConvergenceWarning
            If L-BFGS, or one of the MLPs, has not converged after ``max_iter`` epochs; never with
            ``n_iter_no_change=None``. For all others ``max_iter`` is simply the length of training.
        DivergenceWarning
            If numbers stopped being finite; the last good weights are kept.

        Notes
        -----
        Data larger than memory are passed as a memory map (`numpy.load` with ``mmap_mode="r"``), or
        as an iterable of batches ``(X, y)`` or ``(X, y, sample_weight)`` in place of X, without y:
        the chunks of a table, for instance. It is iterated once before training, to find the
        classes, the dtype and the mean weight, and then once per epoch; batches are not kept. Their
        order and size are left as they are, so ``batch_size`` and ``shuffle`` have no effect, and
        nothing can be held out: pass ``X_val`` and ``y_val`` for early stopping. An iterator that
        can be used only once, such as a generator, is refused; `partial_fit` takes its batches one
        by one.

        Dask arrays and DataFrames are trained on where their partitions are, by the workers of the
        most recently created client, or of `layerkit.distributed.data_parallel`, which also sets
        how often they average. Not available with L-BFGS. `predict`, `predict_proba` and
        `transform` return lazy results for them.
        """
        recipe = self._recipe(self.max_iter, keep=self.warm_start)
        recipe.check()
        fresh = not (self.warm_start and hasattr(self, "network_"))
        checkpoint = as_checkpoint(checkpoint, resume)
        seed = seed_of(checkpoint) if resume else None
        splitting = X_val is None and y_val is None and is_splitter(self.early_stopping)
        task = prepare(
            recipe, X, y, sample_weight, groups, fresh=fresh, seed=seed, splitting=splitting
        )
        task = hold_out(self, task, X_val, y_val)
        if checkpoint is not None:
            checkpoint.note = {"entropy": task.seed.entropy, "spawn_key": task.seed.spawn_key}
        recipe.saving = {"checkpoint": checkpoint, "resume": resume}
        try:
            return self._learn(task, recipe)
        except ModelFileError as error:
            if not is_size(getattr(self.early_stopping, "random_state", 0), least=0):
                error.add_note(
                    f"early_stopping={self.early_stopping!r} must hold out the same rows as it did "
                    "then: one that draws them needs an integer as its random_state"
                )
            raise

    @_or_as_before
    def refit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Train a new network on all rows, for the ``best_iter_`` epochs that validation found.

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
            The fitted estimator.
        """
        check_is_fitted(self, "network_")
        recipe = self._recipe(max(self.best_iter_, 1), patient=True)
        recipe.check()
        return self._learn(prepare(recipe, X, y, sample_weight), recipe)

    @_or_as_before
    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> Self:
        """Train for one epoch, continuing from the current weights."""
        recipe = self._recipe(keep=True, patient=True)
        recipe.check()
        fresh = not hasattr(self, "network_")
        task = prepare(recipe, X, y, sample_weight, fresh=fresh, classes=classes)
        return self._learn(task, recipe)

    @with_callbacks
    def _learn(self, task: Task, recipe: Recipe) -> Self:
        attributes, history = learn(task, recipe)
        self.__dict__.update(attributes)
        recipe.warn(self.optimizer_, history)
        return self

    def train_arguments(
        self, X: Any, y: Any, sample_weight: Any = None, validation_data: Any = None
    ) -> dict[str, Any]:
        """Return the arguments with which `layerkit.training.train` would be called.

        Parameters
        ----------
        X, y : array-like
            As in `fit`; nothing is held out.
        sample_weight : array-like of shape (n_samples,), optional
            As in `fit`.
        validation_data : tuple of X, y and sample_weight, optional
            Validation rows.

        Returns
        -------
        arguments : dict
            ``network`` (the fitted one, otherwise a new one, built), ``loss``, ``optimizer`` (a new
            one, whose weight decay is the penalty of an MLP), ``data`` and ``validation_data`` with
            y encoded for the loss, and ``batch_size``.
        """
        recipe = self._recipe()
        task = prepare(recipe, X, y, sample_weight, fresh=not hasattr(self, "network_"))
        encode = task.target.encode
        optimizer, batch_size = recipe.optimizer(), recipe.batch_size(len(task.y))
        recipe.penalize(optimizer, batch_size)
        if validation_data is not None:
            X, y, weight = validation_data
            X, y = validate(self, X, y, reset=False)
            validation_data = X, encode(y), weight
        return {
            "network": task.network,
            "loss": task.target.loss,
            "optimizer": optimizer,
            "data": (task.X, encode(task.y), task.weight),
            "validation_data": validation_data,
            "batch_size": batch_size,
        }

    # ---------------------------------------------------------------- hidden activations

    def transform(self, X: Any, layer: int | str = -1) -> np.ndarray:
        """Return the activations of a hidden layer, one row per sample.

        Parameters
        ----------
        X : array-like or sparse matrix
            Rows, shaped as in `fit`.
        layer : int or str, default=-1
            Position or name of a hidden layer, that is, one before the head: -1 is the last, or X
            itself if there are none.

        Returns
        -------
        activations : ndarray of shape (n_samples, n_activations)
            Flattened if the layer returns images or sequences. `set_output` and
            `get_feature_names_out` apply to the last hidden layer only; for others it is always an
            array. For a layer that returns every step of rows of unequal length, a list of arrays
            ``(time_i, n_activations)``.
        """
        check_is_fitted(self, "network_")
        if is_collection(X):
            return each_partition(partial(self._activations, layer=layer), self._lazy_X(X))
        if layer == -1 or len(self._hidden(layer)) == self._n_hidden:  # type: ignore[arg-type]
            return _LastHidden.transform(self, X)
        return self._activations(X, layer)

    def _activations(self, X: Any, layer: int | str) -> np.ndarray:
        X = checked_rows(self, X)
        hidden = self._hidden(layer)
        if self._n_hidden == 0 and issparse(X):
            X = X.toarray()  # X itself, which no Dense layer makes dense here
        with for_work(work_of(hidden, X)):
            y = infer_in_batches(hidden, X)
        return list(y) if isinstance(y, Sequences) else y.reshape(X.shape[0], -1)

    def _hidden(self, layer: int | str) -> Layer:
        """Return the network up to and including a hidden layer."""
        names = self.network_.names[: self._n_hidden]  # type: ignore[attr-defined]
        if not names and layer == -1:
            return Identity().build(self.network_.input_shape, dtype=self.network_.dtype)
        known = [*range(-len(names), len(names)), *names]
        if layer not in known or isinstance(layer, bool):
            raise ValueError(
                f"layer must be a position below {len(names)} or one of the hidden layers' names, "
                f"{', '.join(names) or '(none)'}, got {layer!r}"
            )
        position = names.index(layer) if isinstance(layer, str) else layer % len(names)
        return self.network_[: position + 1]  # type: ignore[index]

    @property
    def _n_hidden(self) -> int:
        """Number of layers before the head."""
        return len(self.network_) - (self.head is not None)  # type: ignore[arg-type]

    @property
    def _n_features_out(self) -> int:
        return math.prod(self._hidden(-1).output_shape)

    # ---------------------------------------------------------------- predicting

    def _from_raw(self, X: Any, finish: Callable[[np.ndarray], Result]) -> Result:
        """Return what is made of the network's outputs, all by the kernels that suit the size."""
        if is_collection(X):
            return each_partition(partial(self._from_raw, finish=finish), self._lazy_X(X))
        X = checked_rows(self, X)
        with for_work(work_of(self.network_, X)):
            return finish(infer_in_batches(self.network_, X, plan_of(self)))

    def _lazy_X(self, X: Any) -> Any:
        """Refuse what the first partition would, before anything is computed."""
        check_is_fitted(self, "network_")
        return X

    def _score(self, X: Any, y: Any, sample_weight: Any) -> float:
        if is_collection(X):
            raw = self._from_raw(X, lambda raw: raw)
            raw, y, sample_weight = computed(raw, y, sample_weight)
            return self._target.score(np.asarray(y), raw, sample_weight)
        refuse_misread(y, "y")
        refuse_misread(sample_weight, "sample_weight")

        def finish(raw: np.ndarray) -> float:
            if self._target.of_steps:
                return self._target.score(y, raw, sample_weight)
            known = y.toarray() if issparse(y) else np.asarray(y)
            known = known[:, 0] if known.ndim == 2 and known.shape[1] == 1 else known
            return self._target.score(known, raw, sample_weight)

        return self._from_raw(X, finish)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.sparse = self._recipe().takes_sparse_rows()
        return tags

    def check(self, ok: bool, name: str, expected: str) -> None:
        if not ok:
            value = getattr(self, name)
            raise ValueError(
                f"{type(self).__name__}: {name} must be {expected}, got {value!r}{if_class(value)}"
            )

    def __getstate__(self) -> dict[str, Any]:
        return with_plain_seed(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(with_seed(state))

    __repr__ = BaseEstimator.__repr__
