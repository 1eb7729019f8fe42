"""scikit-learn's multilayer perceptrons to ours, and ours to scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import neural_network as theirs
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

import layerkit.layers as nn
from layerkit.estimators import MLPClassifier, MLPRegressor
from layerkit.estimators.base import NetworkEstimator
from layerkit.estimators.targets import Multilabel, MultiOutput, target_of
from layerkit.layer import Layer
from layerkit.training import History

_ACTIVATIONS: dict[type[Layer], str] = {
    nn.Identity: "identity",
    nn.ReLU: "relu",
    nn.Sigmoid: "logistic",
    nn.Tanh: "tanh",
}
_ALSO_OBJECTS = ("loss", "early_stopping", "n_iter_no_change")  # ours; numbers mean the same
_SILENT = (nn.AlphaDropout, nn.Dropout, nn.GaussianNoise, nn.Identity)  # in inference
_LOSSES = {"identity": "squared_error", "exp": "poisson"}  # by the link


def from_sklearn(mlp: Any) -> Any:
    """Turn a fitted MLP of scikit-learn into ours, with the same parameters and weights.

    Parameters
    ----------
    mlp : sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted.

    Returns
    -------
    estimator : layerkit.MLPClassifier or layerkit.MLPRegressor
        Predicts the same. The network in ``network_`` holds copies of the weights, in their dtype.
        It goes on learning with ``partial_fit``, where the optimizer's averages start anew.

    Raises
    ------
    TypeError
        For another kind of estimator.
    NotFittedError
        Without weights.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPRegressor
    >>> from layerkit.interchange import from_sklearn
    >>> X = np.linspace(-1, 1, 40)[:, np.newaxis]
    >>> theirs = MLPRegressor(solver="lbfgs", random_state=0).fit(X, X[:, 0] ** 2)
    >>> ours = from_sklearn(theirs)
    >>> bool(np.allclose(ours.predict(X), theirs.predict(X)))
    True
    """
    if not isinstance(mlp, theirs.MLPClassifier | theirs.MLPRegressor):
        raise TypeError(f"from_sklearn takes an MLPClassifier or MLPRegressor, got {mlp!r}")
    check_is_fitted(mlp, "coefs_")
    classify = isinstance(mlp, theirs.MLPClassifier)
    kind = MLPClassifier if classify else MLPRegressor
    ours: Any = kind(**mlp.get_params(deep=False))
    y = _some_targets(mlp, classify)
    X = np.zeros((len(y), mlp.n_features_in_), mlp.coefs_[0].dtype)
    ours.adopt(X, y, mlp.coefs_, mlp.intercepts_, _record(mlp), mlp.t_)
    if hasattr(mlp, "feature_names_in_"):
        ours.feature_names_in_ = mlp.feature_names_in_
    return ours


def _some_targets(mlp: Any, classify: bool) -> np.ndarray:
    """Return targets as those that the MLP was fitted on, a few of each class."""
    if not classify:
        return np.zeros((2, mlp.n_outputs_) if mlp.n_outputs_ > 1 else 2)
    if mlp.out_activation_ == "logistic" and mlp.n_outputs_ > 1:  # a multilabel indicator
        return np.vstack([np.zeros(mlp.n_outputs_, int), np.ones(mlp.n_outputs_, int)])
    return np.asarray(mlp.classes_)


def _record(mlp: Any) -> History:
    """Return the loss of every epoch, and the score of those that have one."""
    scores = getattr(mlp, "validation_scores_", None) or []
    curve = getattr(mlp, "loss_curve_", [mlp.loss_])
    rows: list[dict[str, Any]] = [{"epoch": i + 1, "loss": v} for i, v in enumerate(curve)]
    for row, score in zip(rows, scores, strict=False):
        row["validation_score"] = score
    return History(rows)


def to_sklearn(estimator: Any) -> Any:
    """Turn a fitted estimator of ours into scikit-learn's MLP, which then needs no layerkit.

    Parameters
    ----------
    estimator : estimator of ours
        Fitted; its network consists of Dense layers with one kind of activation between them
        (`ReLU`, `Tanh`, `Sigmoid` or none). Dropout is left out: it does nothing in prediction.

    Returns
    -------
    mlp : sklearn.neural_network.MLPClassifier or MLPRegressor
        Predicts the same; with the estimator's parameters that it knows. `partial_fit` goes on.

    Raises
    ------
    TypeError
        For something else than an estimator of ours.
    ValueError
        For a layer, a loss or targets that scikit-learn's MLP has not, by name.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import MLPRegressor
    >>> from layerkit.interchange import to_sklearn
    >>> X = np.linspace(-1, 1, 40)[:, np.newaxis]
    >>> ours = MLPRegressor(solver="lbfgs", max_iter=50, random_state=0).fit(X, X[:, 0] ** 2)
    >>> bool(np.allclose(to_sklearn(ours).predict(X), ours.predict(X)))
    True
    """
    if not isinstance(estimator, NetworkEstimator):
        raise TypeError(f"to_sklearn takes an estimator of layerkit, got {estimator!r}")
    check_is_fitted(estimator, "network_")
    coefs, intercepts, activation = _perceptron(estimator.network_)
    target = target_of(estimator)
    if is_classifier(estimator):
        mlp = theirs.MLPClassifier()
        _fit_classes(mlp, target, coefs, intercepts)
    else:
        if target.link not in _LOSSES:
            raise ValueError(f"scikit-learn's MLP has nothing like {target.loss!r}")
        mlp = theirs.MLPRegressor(loss=_LOSSES[target.link])
        mlp.out_activation_ = "exp" if mlp.loss == "poisson" else "identity"
    own, known = estimator.get_params(deep=False), mlp.get_params()
    shared = {name: own[name] for name in known if name in own}
    for name in _ALSO_OBJECTS:
        if not isinstance(shared.get(name), bool | int):
            shared.pop(name, None)
    shared["hidden_layer_sizes"] = tuple(W.shape[1] for W in coefs[:-1])
    mlp.set_params(**{**shared, "activation": activation})
    mlp.coefs_, mlp.intercepts_ = coefs, intercepts
    _write(mlp, estimator)
    return mlp


def _perceptron(network: Layer) -> tuple[list[np.ndarray], list[np.ndarray], str]:
    """Read off the weights, the biases and the one activation between layers."""
    coefs: list[np.ndarray] = []
    intercepts: list[np.ndarray] = []
    between: list[str] = []
    fresh = False  # whether the last Dense has its activation still to come
    for _, layer in network.walk():
        if isinstance(layer, nn.Dense):
            if fresh:
                between.append("identity")
            W = layer.params["W"]
            b = layer.params["b"] if layer.use_bias else np.zeros(W.shape[1], W.dtype)
            coefs.append(W.copy())
            intercepts.append(b.copy())
            fresh = True
        elif type(layer) in _ACTIVATIONS and fresh:
            if type(layer) is not nn.Identity:
                between.append(_ACTIVATIONS[type(layer)])
                fresh = False
        elif type(layer) is not nn.Sequential and not isinstance(layer, _SILENT):
            raise ValueError(f"in {layer.where}: scikit-learn's MLP has no {type(layer).__name__}")
    kinds = sorted(set(between))
    if len(network.input_shape) != 1 or not fresh or len(kinds) > 1:
        raise ValueError(
            "scikit-learn's MLP is a stack of Dense layers that reads a table, with one kind of "
            f"activation between them and none after the last, got {network!r}"
        )
    return coefs, intercepts, kinds[0] if kinds else "identity"


def _fit_classes(mlp: Any, target: Any, coefs: list[Any], intercepts: list[Any]) -> None:
    """Set what encodes the classes, and give the last layer the outputs of scikit-learn's."""
    width, has_columns = coefs[-1].shape[1], isinstance(target, MultiOutput)
    if target.loss.scores != "logits" or has_columns or len(target.classes) < 2:
        raise ValueError(
            f"scikit-learn's MLP gives probabilities of two or more classes or of labels, but this "
            f"is {type(target).__name__} of classes {target.classes!r} with {target.loss!r}"
        )
    binarizer = LabelBinarizer()
    if isinstance(target, Multilabel):
        mlp._label_binarizer = binarizer.fit(np.eye(width, dtype=int))
        mlp.out_activation_ = "logistic"
    else:
        mlp._label_binarizer = binarizer.fit(target.classes)
        mlp.out_activation_ = "softmax" if len(target.classes) > 2 else "logistic"
        if target.link == "softmax of log-sigmoids":
            raise ValueError(f"scikit-learn's MLP has no softmax of sigmoids, as {target.loss!r}")
        if width == 2:  # one logit decides between two classes
            for arrays in (coefs, intercepts):
                arrays[-1] = (arrays[-1] @ [[-1], [1]]).astype(coefs[-1].dtype)
    mlp.classes_ = mlp._label_binarizer.classes_


def _write(mlp: Any, estimator: Any) -> None:
    """Set what scikit-learn's fit would have set."""
    history = estimator.history_
    curve = [float(row["loss"]) for row in history.rows]
    scores = [row["validation_score"] for row in history.rows if "validation_score" in row]
    mlp.n_layers_, mlp.n_outputs_ = len(mlp.coefs_) + 1, mlp.coefs_[-1].shape[1]
    mlp.n_features_in_ = estimator.n_features_in_
    if hasattr(estimator, "feature_names_in_"):
        mlp.feature_names_in_ = estimator.feature_names_in_
    mlp.n_iter_, mlp.t_ = estimator.n_iter_, getattr(estimator, "t_", 0)
    mlp.loss_, mlp.loss_curve_ = curve[-1] if curve else np.nan, curve
    mlp.best_loss_ = None if scores else min(curve, default=np.inf)
    mlp.validation_scores_ = scores or None
    mlp.best_validation_score_ = max(scores, default=None)
    mlp._no_improvement_count = 0
