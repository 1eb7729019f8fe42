"""Estimators for tables as they are: columns of numbers, categories and dates, with gaps."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_array

from layerkit.distributed.collections import each_partition
from layerkit.estimators.entries import check_axes, check_entries
from layerkit.estimators.predictors import share_docs
from layerkit.estimators.tabular.base import CollectionScore, TabularEstimator
from layerkit.estimators.tabular.learning import Member, Rows, temperature_for, tempered
from layerkit.estimators.tabular.preparing import Task
from layerkit.estimators.tabular.scaled import ScaledNumbers, Seen
from layerkit.estimators.targets import (
    ClassTarget,
    Labels,
    Multilabel,
    Target,
    as_column,
    class_target,
)
from layerkit.estimators.weights import class_weights
from layerkit.kernels import for_work
from layerkit.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss, MeanSquaredError
from layerkit.sequences import is_collection

# What the docstrings of both estimators say alike.
_DOCS = {
    "parameters": """
members : int, default=4
    Networks whose predictions are averaged.
max_iter : int, default=80
    Epochs of each member.
hidden_layer_sizes : sequence of int, default=(256, 256, 256)
    Units of the hidden layers.
embedding : {"periodic", "piecewise", "none"}, default="periodic"
    What becomes of each number before the first layer: a `PeriodicEmbedding`, a
    `PiecewiseLinearEmbedding`, or itself.
max_onehot : int, default=9
    Up to so many categories get an input each, more an embedding; see `TableEncoder`.
target_means : bool, default=True
    Beside the embedding of a column with fewer than 50 rows to a category, whether the networks see
    what y is on average where the category is (of classes, how frequent each is); of the rows that
    they learn from, the average over other rows. Weights of rows do not count in it.
dropout : float, default=0.15
    Rate of dropout after every hidden layer, in [0, 1); it ends at 0.
learning_rate : "auto" or float, default="auto"
    Peak of the schedule.
weight_decay : float, default=0.02
    Decoupled, at least 0; it ends at 0.
batch_size : int, default=256
    Rows of a step.
monitor : str, callable or None, default=None
    What chooses the best epoch of each member on the held-out rows: None is the loss, without label
    smoothing; else a scorer of scikit-learn, ``scorer(estimator, X, y)``, or its name. The
    estimator that it is given knows these rows alone, by their positions.
validation_fraction : float, default=0.2
    Part of the rows that is held out to choose the best epoch of each member; between 0 and 1.
cv : splitter or iterable of (train, test), optional
    In place of a random part: its first split says which rows learn and which are held out.
refit : bool, default=False
    Once the best epochs are known, train anew on all rows. As long again.
random_state : None, int, RandomState or Generator, default=None
    Seeds the split, initial weights, the order of rows and dropout.
n_jobs : int, optional
    Processes that train members, as in joblib; each member takes one core or BLAS's threads.
verbose : bool, default=False
    Print a line for every tenth of the epochs of each member.
""",
    "attributes": """
encoder_ : TableEncoder
    Turns the table into numbers; ``print(model.encoder_.describe())`` shows what it made of each
    column.
networks_ : list of Layer
    The members.
histories_ : list of History
    Of each member a row for every epoch.
n_iter_ : int
    Epochs of the longest history.
best_iter_ : list of int
    The epoch whose weights each member has.
n_features_in_ : int
    Number of columns.
feature_names_in_ : ndarray of str
    If X had names of columns.
""",
    "references": """
Holzmüller, Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on
tabular data", NeurIPS 2024, arXiv:2407.04491: scaling, layers, schedules and their constants. From
there differ: the epoch is chosen by log loss, weight decay goes with the learning rate of each
parameter, several members are averaged.
""",
}


@share_docs(_DOCS)
@dataclass(eq=False, repr=False)
class TabularClassifier(CollectionScore, ClassifierMixin, TabularEstimator):
    """Classifier of tables as they are: numbers, categories, dates, missing values.

    y may hold two classes, several, a multilabel indicator, or several columns of classes each.

    Parameters
    ----------
    %(parameters)s
    label_smoothing : float, default=0.1
        Of the loss that is learned from, in [0, 1). The best epoch is chosen without.
    calibrate : bool, default=True
        Divide the logarithms of the averaged probabilities by one number, a temperature T, for
        which the log loss of the held-out rows is least. Of few rows it stays near 1: to the sum of
        their losses comes ``2 (log T)²``, so that rows which are all right do not make T 0.
    class_weight : None, "balanced", dict or list of dict, default=None
        Factors on the sample weights, as in `SequentialClassifier`.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
        Labels, of each output if there are several.
    temperature_ : float
        1 without calibration.
    %(attributes)s

    See Also
    --------
    TabularRegressor : The same for numbers.
    TableEncoder : What reads the table, as a transformer of its own.

    Notes
    -----
    ``TabularClassifier.single()`` has one member, ``TabularClassifier.quick()`` is for a first
    look. Importances of columns: `sklearn.inspection.permutation_importance`.

    References
    ----------
    %(references)s

    Examples
    --------
    >>> from layerkit import TabularClassifier
    >>> X = [[1.0, "red"], [2.0, "blue"], [None, "red"], [4.0, "blue"]] * 20
    >>> y = ["no", "yes", "no", "yes"] * 20
    >>> model = TabularClassifier.quick(random_state=0).fit(X, y)
    >>> model.predict([[3.0, "red"], [None, "blue"]]).tolist()
    ['no', 'yes']
    """

    _: KW_ONLY
    label_smoothing: float = 0.1
    calibrate: bool = True
    class_weight: Any = None

    default_rate = 0.04
    smooth = False

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of every row (of every output).

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            With the columns of `fit`. Of a Dask collection the result is lazy.

        Returns
        -------
        labels : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Members of ``classes_``.
        """
        if is_collection(X):
            return each_partition(self.predict, X, np.nan)
        log_proba = self.predict_log_proba(X)
        if isinstance(self._target, Multilabel):
            return (log_proba > np.log(0.5)).astype(np.int64)
        if isinstance(self._target, Labels):
            return self.classes_[log_proba.argmax(axis=1)]
        best = [part.argmax(axis=1) for part in log_proba]
        return np.column_stack([c[i] for c, i in zip(self.classes_, best, strict=True)])

    def predict_proba(self, X: Any) -> np.ndarray | list[np.ndarray]:
        """Return the probability of every class, in the order of ``classes_``.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            With the columns of `fit`. Of a Dask collection the result is lazy.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Rows sum to 1, except of a multilabel indicator. A list of such arrays when y has
            several outputs of several classes.
        """
        if is_collection(X):
            return each_partition(self.predict_proba, X, np.nan)
        log_proba = self.predict_log_proba(X)
        return [*map(np.exp, log_proba)] if isinstance(log_proba, list) else np.exp(log_proba)

    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of `predict_proba`.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            With the columns of `fit`. Of a Dask collection the result is lazy.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes), or list of such arrays
            At most 0.
        """
        if is_collection(X):
            return each_partition(self.predict_log_proba, X, np.nan)
        raw = self._raw(X)
        averaged = _averaged(self._target, raw)
        if isinstance(self._target, Labels):
            return tempered(averaged, self.temperature_)
        return averaged

    def _check_y(self, y: Any) -> np.ndarray:
        check_entries(y, numeric=False)
        check_axes(None, y)
        y = y.toarray() if hasattr(y, "toarray") else _of_numpy_dtype(y)
        y = check_array(
            y,
            ensure_2d=False,
            dtype=None,
            input_name="y",
            ensure_min_samples=0,
        )
        return as_column(y)

    def _target_of(self, y: np.ndarray) -> Target:
        return class_target(y)

    def _weighted(self, target: Any, y: np.ndarray, weight: Any) -> Any:
        if self.class_weight is None:
            return weight
        columns = [y] if y.ndim == 1 else list(y.T)
        return class_weights(self.class_weight, columns, target.labels, weight)

    def _loss(self, target: Target, label_smoothing: float) -> Loss:
        kind = BinaryCrossEntropy if isinstance(target, Multilabel) else CategoricalCrossEntropy
        return kind(label_smoothing=label_smoothing)

    def _bind(self, target: Target, seen: Seen | None) -> None:
        loss = self._loss(target, float(self.label_smoothing))
        target.bind(loss, target.shapes(loss)[0])

    def _judging_loss(self, target: Target) -> Loss:
        plain = copy.copy(target)
        plain.bind(self._loss(target, 0.0), target.output_shape)
        return plain.loss

    def _combine(
        self, target: Any, members: list[Member], networks: list[Any], held_out: Rows | None
    ) -> dict[str, Any]:
        found = {
            "kept_": list(range(len(members))),
            "classes_": target.classes,
            "temperature_": 1.0,
        }
        several = isinstance(target, Labels) and len(target.classes) > 1
        if self.calibrate and several and held_out is not None:
            raw = [held_out.raw_outputs(network) for network in networks]
            averaged = _averaged(target, raw)
            found["temperature_"] = temperature_for(averaged, held_out.y, held_out.weight)
        return found

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _of_numpy_dtype(y: Any) -> Any:
    """Return y of a nullable dtype, if nothing is missing, as the numbers or booleans it holds."""
    numpy_dtype = getattr(getattr(y, "dtype", None), "numpy_dtype", None)
    return y if numpy_dtype is None or y.isna().any() else y.to_numpy(dtype=numpy_dtype)


def _averaged(target: ClassTarget, raw: list[np.ndarray]) -> Any:
    """Return the logarithms of the mean of the members' probabilities."""
    with for_work(0):  # some numbers a row are not worth waking Numba
        found = [target.log_proba(r) for r in raw]
    if isinstance(found[0], list):
        return [_log_of_mean(parts) for parts in zip(*found, strict=True)]
    return _log_of_mean(found)


def _log_of_mean(log_proba: Sequence[np.ndarray]) -> np.ndarray:
    return np.logaddexp.reduce(log_proba, axis=0) - np.log(len(log_proba))


@share_docs(_DOCS)
@dataclass(eq=False, repr=False)
class TabularRegressor(CollectionScore, RegressorMixin, TabularEstimator):
    """Regressor of tables as they are: numbers, categories, dates, missing values.

    y may have one column or several.

    Parameters
    ----------
    %(parameters)s
    loss : Loss, optional
        A loss of numbers, by default `MeanSquaredError`. ``Quantile`` with a list of quantiles
        predicts all of them, ``GaussianNLL`` also a standard deviation.
    linear : "auto" or bool, default="auto"
        Whether the members learn the residual of a ridge regression on the numbers and indicators
        (of the mean squared error). "auto": every other member does, and those are kept that are
        best on the held-out rows, all, with or without.

    Attributes
    ----------
    %(attributes)s

    See Also
    --------
    TabularClassifier : The same for classes.
    TableEncoder : What reads the table, as a transformer of its own.

    Notes
    -----
    Targets are scaled inside. ``TabularRegressor.single()`` has one member,
    ``TabularRegressor.quick()`` is for a first look. Importances of columns:
    `sklearn.inspection.permutation_importance`.

    References
    ----------
    %(references)s

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import TabularRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-2, 2, (1000, 2))
    >>> y = 1e6 + 1e5 * np.sin(3 * X[:, 0])
    >>> model = TabularRegressor.quick(random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    _: KW_ONLY
    loss: Loss | None = None
    linear: Any = "auto"

    default_rate = 0.2
    smooth = True

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return predictions, on the scale of y.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            With the columns of `fit`. Of a Dask collection the result is lazy.
        return_std : bool, default=False
            Also return the standard deviation; with ``loss=GaussianNLL()`` only. It counts how much
            the members differ.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            With several quantiles they are the last axis.
        std : ndarray shaped like y
            If ``return_std``.
        """
        if is_collection(X):
            return each_partition(partial(self.predict, return_std=return_std), X, np.nan)
        raw = self._raw(X)
        found = [self._target.predict(r) for r in raw]
        if not return_std:
            return np.mean(found, axis=0)
        variances = [self._target.std(r) ** 2 for r in raw]
        std = np.sqrt(np.mean(variances, axis=0) + np.var(found, axis=0))
        return np.mean(found, axis=0), std

    def _check_y(self, y: Any) -> np.ndarray:
        check_entries(y, numeric=True)
        check_axes(None, y)
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", ensure_min_samples=0)
        return as_column(y)

    def _target_of(self, y: np.ndarray) -> Target:
        return ScaledNumbers(y)

    def _bind(self, target: Any, seen: Any) -> None:
        loss = MeanSquaredError() if self.loss is None else copy.deepcopy(self.loss)
        target.check_loss(loss)
        loss.check_params()
        target.bind(loss, target.shapes(loss)[0])
        target.scale_by(seen)

    def _members(self, task: Task, rows: Rows) -> list[Member]:
        members = super()._members(task, rows)
        columns = [i for i, kind in enumerate(task.encoder.kinds_) if kind != "code"]
        is_squared = isinstance(task.target.loss, MeanSquaredError)
        if self.linear is not False and columns and is_squared:
            linear = rows.linear_part(columns)
            for member in members[:: 2 if self.linear == "auto" else 1]:
                member.linear = linear
        return members

    def _combine(
        self, target: Any, members: list[Member], networks: list[Any], held_out: Rows | None
    ) -> dict[str, Any]:
        """Keep the members that are best together: all, those with a linear part, or without."""
        every = list(range(len(members)))
        linear = [i for i in every if members[i].linear is not None]
        others = [i for i in every if members[i].linear is None]
        if held_out is None or not linear or not others:
            return {"kept_": every}
        raw = [held_out.raw_outputs(network) for network in networks]

        def error(kept: list[int]) -> float:
            mean = np.mean([raw[i] for i in kept], axis=0)
            return target.loss.forward(mean, held_out.y, held_out.weight)

        return {"kept_": min((every, linear, others), key=error)}
