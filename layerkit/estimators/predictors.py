"""What a network needs to be a scikit-learn classifier or regressor."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Self, TypeVar

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import is_multilabel

from layerkit.estimators.base import NetworkEstimator, learns_in_batches
from layerkit.estimators.targets import as_classes
from layerkit.parameters import told_by_habits

Kind = TypeVar("Kind")


def share_docs(shared: dict[str, str]) -> Callable[[type[Kind]], type[Kind]]:
    """Fill in each ``%(name)s`` in a class's docstring: what it says as other classes do."""
    texts = {name: inspect.cleandoc(text) for name, text in shared.items()}

    def fill_in(kind: type[Kind]) -> type[Kind]:
        if kind.__doc__:  # there is none with python -OO
            kind.__doc__ = inspect.cleandoc(kind.__doc__) % texts + "\n"
        return kind

    return fill_in


def _has_probabilities(estimator: NetworkEstimator) -> bool:
    loss = estimator._recipe().loss()
    if loss is not None and loss.scores != "logits":
        raise AttributeError(f"loss={loss!r} gives no probabilities, only decision_function")
    return True


class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """Base of the classifiers."""

    classes_: Any

    @available_if(learns_in_batches)
    @told_by_habits
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch, continuing from the current weights.

        Parameters
        ----------
        X : array-like or sparse matrix
            As in `fit`.
        y : array-like
            As in `fit`.
        classes : array-like, or list of array-likes, optional
            All labels that will occur (in each output); required at the first call, except for a
            multilabel indicator.
        sample_weight : array-like of shape (n_samples,), optional
            As in `fit`.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        self._check_classes(y, classes)
        return self._partial_fit(X, y, sample_weight, classes)

    def _check_classes(self, y: Any, classes: Any) -> None:
        if not hasattr(self, "network_"):
            if classes is None and not is_multilabel(y):
                raise ValueError("classes must be given at the first call to partial_fit")
        elif classes is not None:
            known = self.classes_ if isinstance(self.classes_, list) else [self.classes_]
            given = as_classes(classes)
            given = given if isinstance(given, list) else [given]
            same = len(known) == len(given) and all(map(np.array_equal, known, given))
            if not same:
                raise ValueError(
                    f"classes={classes!r} is not the same as on the first call to partial_fit, "
                    f"which was {self.classes_!r}"
                )
        if isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight='balanced' needs all of y; with partial_fit give a dict of weights, "
                f"got {self.class_weight!r}"
            )

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class of every row, in every output.

        Parameters
        ----------
        X : array-like or sparse matrix
            Rows, shaped as in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Labels from ``classes_``.
        """
        return self._from_raw(X, lambda raw: self._target.predict(raw))

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray | list[np.ndarray]:
        """Return the probability of every class, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like or sparse matrix
            Rows, shaped as in `fit`.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            Rows sum to 1, except for a multilabel indicator, whose labels are independent. If y has
            several outputs of several classes, a list of such arrays.
        """
        return self._from_raw(X, lambda raw: self._target.proba(raw))

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray | list[np.ndarray]:
        """Return the logarithms of `predict_proba`, finite even where that is 0.

        Parameters
        ----------
        X : array-like or sparse matrix
            Rows, shaped as in `fit`.

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes), or list of such arrays
            At most 0.
        """
        return self._from_raw(X, lambda raw: self._recipe().log_proba(self._target, raw))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: the fraction of rows that are predicted correctly in all outputs.

        Parameters
        ----------
        X, y : array-like
            Rows and their true targets, shaped as in `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        accuracy : float
            From 0 to 1.
        """
        return self._score(X, y, sample_weight)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """Base of the regressors."""

    @available_if(learns_in_batches)
    @told_by_habits
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch, continuing from the current weights.

        Parameters
        ----------
        X : array-like or sparse matrix
            As in `fit`.
        y : array-like
            As in `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            As in `fit`.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict y for every row.

        Parameters
        ----------
        X : array-like or sparse matrix
            Rows, shaped as in `fit`.
        return_std : bool, default=False
            Whether to return the standard deviation too; requires ``loss=GaussianNLL()``.

        Returns
        -------
        y : ndarray of shape (n_samples,), (n_samples, n_outputs)
            Predictions; several quantiles are along the last axis.
        std : ndarray shaped like y
            Standard deviations, if ``return_std``.
        """

        def finish(raw: np.ndarray) -> Any:
            y = self._target.predict(raw)
            return (y, self._target.std(raw)) if return_std else y

        return self._from_raw(X, finish)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², the fraction of the variance of y that is explained.

        For several quantiles it is D², the analogue for the pinball loss, averaged over them.

        Parameters
        ----------
        X, y : array-like
            Rows and their true targets, shaped as in `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1.
        """
        return self._score(X, y, sample_weight)
