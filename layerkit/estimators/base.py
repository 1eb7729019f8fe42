"""What all estimators share: `Learner` trains the network, this predicts with it."""

from __future__ import annotations

import math
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import issparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from layerkit.estimators.learning import Learner
from layerkit.estimators.task import check_mapped
from layerkit.fused import plan, threads_for
from layerkit.fused.planning import Plan
from layerkit.layer import Layer
from layerkit.layers import Identity
from layerkit.optimizers import LBFGS
from layerkit.training.batches import mapping_of, release

# Elements of the widest activation when predicting: bounds the memory, fills the caches.
_BATCH_ELEMENTS = 2**22
# Outside of the estimators, whose attributes a prediction must not change.
_plans: WeakKeyDictionary[NetworkEstimator, Plan] = WeakKeyDictionary()


def learns_in_batches(estimator: NetworkEstimator) -> bool:
    """Whether there is a partial_fit, for ``available_if``."""
    if isinstance(estimator._make_optimizer(), LBFGS):
        raise AttributeError("partial_fit needs an optimizer that steps in batches, not LBFGS")
    return True


class LastHidden(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Learner):
    """The transformer whose output has names: scikit-learn puts it into what `set_output` says."""

    def transform(self, X: Any) -> Any:
        """Return what the last hidden layer makes of X."""
        return self._activations(X, -1)

    def _activations(self, X: Any, layer: int | str) -> np.ndarray:
        """Return what a hidden layer makes of X."""
        raise NotImplementedError


# The empty tuple is for scikit-learn to leave this transform alone, as the names of the last hidden
# layer do not fit another one.
class NetworkEstimator(LastHidden, auto_wrap_output_keys=()):  # type: ignore[call-arg]
    """Base of the estimators."""

    def transform(self, X: Any, layer: int | str = -1) -> np.ndarray:
        """Return what a hidden layer makes of X, a row for each sample.

        Parameters
        ----------
        X : array-like or sparse matrix
            Rows, shaped as in `fit`.
        layer : int or str, default=-1
            Position or name among the hidden layers, those before the head: -1 is the last, or X
            itself if there are none.

        Returns
        -------
        activations : ndarray of shape (n_samples, n_activations)
            Flattened, if the layer gives images or sequences. `set_output` and
            `get_feature_names_out` are for the last hidden layer, another gives an array.
        """
        check_is_fitted(self, "network_")
        if layer == -1 or len(self._hidden(layer)) == self._n_hidden:  # type: ignore[arg-type]
            return super().transform(X)
        return self._activations(X, layer)

    def _activations(self, X: Any, layer: int | str) -> np.ndarray:
        X = self._check_X(X)
        hidden = self._hidden(layer)
        if self._n_hidden == 0 and issparse(X):
            X = X.toarray()  # X itself, which no Dense layer makes dense here
        return infer_in_batches(hidden, X).reshape(X.shape[0], -1)

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
        return len(self.network_) - 1  # type: ignore[arg-type]

    @property
    def _n_features_out(self) -> int:
        return math.prod(self._hidden(-1).output_shape)

    def _raw(self, X: Any) -> np.ndarray:
        """Return the network's outputs."""
        X = self._check_X(X)
        return infer_in_batches(self.network_, X, self._plan())

    def _plan(self) -> Plan:
        """Return a plan of the network, kept because making one takes longer than a prediction."""
        made = _plans.get(self)
        if made is None or made.network is not self.network_:
            made = _plans[self] = plan(self.network_)
        return made

    def _check_X(self, X: Any) -> Any:
        if self._would_pass(X):
            return X
        check_is_fitted(self, "network_")
        X = validate_data(
            self,
            X,
            reset=False,
            accept_sparse="csr",
            allow_nd=True,
            ensure_all_finite=mapping_of(X) is None,
        )
        check_mapped(X, self)
        self._check_shape(X)
        return X

    @np.errstate(over="ignore", invalid="ignore")
    def _would_pass(self, X: Any) -> bool:
        """Whether scikit-learn's checks would return these rows as they are.

        They take 100 µs, which for a few rows is several times what the network takes.
        """
        return (
            type(X) is np.ndarray
            and X.dtype in (np.float32, np.float64)
            and hasattr(self, "network_")
            and not hasattr(self, "feature_names_in_")
            and X.shape[1:] == self.network_.input_shape
            and 0 < X.size <= _BATCH_ELEMENTS
            and math.isfinite(X.sum())
        )

    def _score(self, X: Any, y: Any, sample_weight: Any) -> float:
        raw = self._raw(X)
        y = y.toarray() if issparse(y) else np.asarray(y)
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        return self._target.score(y, raw, sample_weight)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        return tags


def infer_in_batches(network: Layer, X: Any, planned: Plan | None = None) -> np.ndarray:
    """Outputs for all rows, computed for so many at a time that activations stay small."""
    planned = planned or plan(network)
    if X.shape[0] == 1:
        return planned.infer(X)
    widths = [math.prod(layer.output_shape) for _, layer in network.walk() if layer.is_built]
    rows = max(1, _BATCH_ELEMENTS // max(math.prod(network.input_shape), *widths))
    parts, mapping = [], mapping_of(X)
    with threads_for(network):
        for start in range(0, X.shape[0], rows):
            parts.append(planned.infer(X[start : start + rows]))
            release(mapping)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
