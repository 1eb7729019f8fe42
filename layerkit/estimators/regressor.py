"""What a network needs to be a scikit-learn regressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.metaestimators import available_if

from layerkit.estimators.base import NetworkEstimator, learns_in_batches
from layerkit.estimators.targets import Numbers, Target


class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """Base of the regressors."""

    def _make_target(self, y: np.ndarray, classes: Any = None) -> Target:
        return Numbers(y)

    @available_if(learns_in_batches)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from the rows for one epoch, continuing what was learned before.

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
            The estimator, having learned.
        """
        return self._partial_fit(X, y, sample_weight)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return predictions, on the scale of y.

        Parameters
        ----------
        X : array-like or sparse matrix
            Rows, shaped as in `fit`.
        return_std : bool, default=False
            Also return the standard deviation; with ``loss=GaussianNLL()`` only.

        Returns
        -------
        y : ndarray of shape (n_samples,), (n_samples, n_outputs)
            With several quantiles they are the last axis.
        std : ndarray shaped like y
            If ``return_std``.
        """
        raw = self._raw(X)
        y = self._target.predict(raw)
        return (y, self._target.std(raw)) if return_std else y

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², the fraction of the variance of y that is explained.

        For several quantiles it is D², the same for the pinball loss, averaged over them.

        Parameters
        ----------
        X, y : array-like
            Rows and what is true of them, shaped as in `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            How much each row counts.

        Returns
        -------
        score : float
            At most 1.
        """
        return self._score(X, y, sample_weight)
