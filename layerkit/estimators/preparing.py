"""What an estimator does with data before it learns: check, tell what they are, hold some out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight, validate_data

from layerkit.estimators.holdout import hold_out
from layerkit.estimators.streamed import StreamedRows, are_batches
from layerkit.estimators.targets import Labels, as_column
from layerkit.estimators.task import Task, check_mapped, stream
from layerkit.layer import Layer
from layerkit.optimizers import LBFGS
from layerkit.seeds import as_seed_sequence
from layerkit.training.batches import mapping_of


class Preparing(BaseEstimator):
    """The part of an estimator that makes a `Task` of what `fit` is given."""

    network_: Layer
    _target: Any
    _seed: np.random.SeedSequence

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any = None,
        fresh: bool = True,
        classes: Any = None,
        seed: np.random.SeedSequence | None = None,
        splitting: bool = False,
    ) -> Task:
        """Check the data, tell what y holds, and leave out rows without weight.

        With ``splitting``, for a splitter whose positions count all rows, `_hold_out` does that.
        """
        if are_batches(X, y):
            return self._prepare_batches(X, sample_weight, groups, fresh, seed)
        X, y = self._validate(X, y, reset=fresh)
        if not fresh:
            self._check_shape(X)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
        if groups is not None:
            check_consistent_length(X, groups)
        target = self._make_target(y, classes) if fresh else self._target
        weight = self._weights(target, y, sample_weight)
        task = Task(X, y, weight, groups, target, seed or self._next_seed(fresh), fresh)
        return task if splitting else task.weighted("rows")

    def _prepare_batches(
        self,
        batches: Iterable[Any],
        sample_weight: Any,
        groups: Any,
        fresh: bool,
        seed: np.random.SeedSequence | None,
    ) -> Task:
        """Look at all batches once, for what must be known before the first step."""
        for name, value in (("sample_weight", sample_weight), ("groups", groups)):
            if value is not None:
                raise ValueError(f"{name} is for arrays; batches are (X, y, sample_weight)")
        if isinstance(self._make_optimizer(), LBFGS):
            raise ValueError(
                "L-BFGS needs all rows at once: give X and y as arrays, not as batches"
            )
        rows = StreamedRows(batches, self._validate, is_classifier(self), fresh)
        rows.weigh(getattr(self, "class_weight", None))
        if not fresh:
            self._check_shape(rows.X)
        target = self._make_target(rows.y) if fresh else self._target
        seed = seed or self._next_seed(fresh)
        return Task(rows.X, rows.y, None, None, target, seed, fresh, batches=rows)

    def _next_seed(self, fresh: bool) -> np.random.SeedSequence:
        return as_seed_sequence(self.random_state) if fresh else self._seed

    def _validate(self, X: Any, y: Any, reset: bool) -> tuple[Any, np.ndarray]:
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            accept_sparse="csr",
            allow_nd=True,
            multi_output=True,
            y_numeric=is_regressor(self),
            ensure_all_finite=mapping_of(X) is None,
        )
        check_mapped(X, self)
        return X, as_column(y)

    def _hold_out(self, task: Task, X_val: Any, y_val: Any) -> Task:
        """Return the task with validation data, if there are to be some."""
        given = X_val is not None or y_val is not None
        if task.groups is not None and (given or not hasattr(self.early_stopping, "split")):
            got = f"{'X_val and ' * given}early_stopping={self.early_stopping!r}"
            raise ValueError(
                "groups are for a splitter: set early_stopping to one, such as "
                f"GroupShuffleSplit(), and give no X_val, got {got}"
            )
        if given:
            if X_val is None or y_val is None:
                missing = "X_val" if X_val is None else "y_val"
                raise ValueError(f"X_val and y_val belong together, {missing} is None")
            X_val, y_val = self._validate(X_val, y_val, reset=False)
            return replace(task, validation=(X_val, y_val, None))
        if not self.early_stopping:
            return task
        if task.batches is not None:
            raise ValueError(
                f"early_stopping={self.early_stopping!r} cannot hold out rows of batches: give "
                "X_val and y_val, which are evaluated after every epoch"
            )
        learn, validate = hold_out(
            task.X,
            task.y,
            task.groups,
            self.early_stopping,
            self.validation_fraction,
            stratify=isinstance(task.target, Labels),
            seed=stream(task.seed, 1),
        )
        held = task.rows(validate).weighted("held-out rows")
        return replace(task.rows(learn).weighted("rows"), validation=(held.X, held.y, held.weight))

    def _check_shape(self, X: Any) -> None:
        if X.shape[1:] != self.network_.input_shape:
            raise ValueError(
                f"X has samples of shape {X.shape[1:]}, but {type(self).__name__} was fitted on "
                f"samples of shape {self.network_.input_shape}"
            )
