"""Any network as a scikit-learn estimator."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self, TypeVar

import numpy as np

from layerkit.estimators.adopting import adopt, some_labels, some_numbers
from layerkit.estimators.base import NetworkEstimator
from layerkit.estimators.predictors import NetworkClassifier, NetworkRegressor, share_docs
from layerkit.estimators.sequential_recipe import OPTIMIZERS, SequentialRecipe, chain_of
from layerkit.layer import Layer
from layerkit.layers import Sequential
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.parameters import written_as

# Parts that the docstrings of both estimators share.
_DOCS = {
    "layers": """
layers : list of Layer or (name, Layer), or Layer
    The network below the head; `fit` works on a copy. Its parameters are reached as
    ``layers__dense_1__units``, whether it is a list or a Sequential. Layers that are already built,
    such as those of a trained, loaded or imported network, are pretrained: every fit, also of a
    clone, starts from their weights (and keeps them where they are frozen), while the other layers
    and the head get new weights. Pass ``sklearn.base.clone(network)`` to start all from new ones.
""",
    "training": """
optimizer : str, Optimizer or LBFGS, default="adam"
    An optimizer, or the name of a class of `layerkit.optimizers` in lower case. Its parameters are
    set as ``optimizer__learning_rate``, also in a grid search, which turns a name into an instance.
batch_size : "auto" or int, default="auto"
    Rows per batch. "auto" is a 32nd of all rows, between 32 and 200. L-BFGS always uses all rows.
max_iter : int, default=200
    Largest number of epochs. Reaching it is no reason for a warning, except with L-BFGS.
shuffle : bool, default=True
    Whether to draw a new order of the rows for every epoch.
random_state : None, int, RandomState or Generator, default=None
    Seeds initial weights, shuffling, noise layers and the choice of validation rows.
tol : float, default=1e-4
    Smallest improvement that counts, at least 0.
n_iter_no_change : int or None, default=10
    Stop after this many epochs in a row without improvement of the validation loss, or of the
    training loss if there are no validation data. None always runs ``max_iter`` epochs.
early_stopping : bool or splitter, default=False
    True holds out ``validation_fraction`` of the rows, stratified by class in classification. Of a
    splitter such as ``GroupShuffleSplit()`` the first split is used, with the ``groups`` passed to
    `fit`. With validation data the weights of the best epoch are always restored.
validation_fraction : float, default=0.1
    Fraction of the rows to hold out, between 0 and 1, exclusive.
""",
    "more": """
warm_start : bool, default=False
    Whether `fit` continues with the weights, optimizer state and history of the last fit.
dtype : "auto", "float32" or "float64", default="auto"
    Data type of the network; "auto" is float32 if that holds the values of X exactly, otherwise
    float64.
head : "auto" or None, default="auto"
    "auto" appends an output layer, ``Dense``, of the width that y and the loss need; None uses the
    network as it is.
verbose : bool, default=False
    Whether to print a line per epoch.
""",
    "attributes": """
network_ : Sequential
    The trained network: copies of ``layers`` and the head.
history_ : History
    One row per epoch: loss, validation loss and score, learning rate, seconds.
loss_curve_ : list of float
    Training loss of every epoch.
n_iter_, best_iter_ : int
    Number of epochs trained, and the epoch (from 1) whose weights the network has.
optimizer_ : Optimizer or LBFGS
    The optimizer; it keeps its state only after `partial_fit` and with ``warm_start``, so that a
    pickle holds little more than the weights.
n_features_in_ : int
feature_names_in_ : ndarray of str
    Names of the columns, if X was a table with named columns; `Columns` may refer to them.
""",
    "notes": """
`set_callbacks` takes scikit-learn's callbacks and plain callables; after a fit with validation
data `refit` trains on all rows for ``best_iter_`` epochs; `transform` gives hidden activations.
""",
}


class SequentialEstimator(NetworkEstimator):
    """What the two public estimators share: parameters of layers, ``layers__dense_1__units``."""

    habits = NetworkEstimator.habits | {
        **dict.fromkeys(
            ("lr", "learning_rate", "learning_rate_init"),
            "write optimizer=Adam(learning_rate=...), in the constructor",
        ),
        **dict.fromkeys(
            ("weight_decay", "alpha"), "write optimizer=AdamW(weight_decay=...), in the constructor"
        ),
        **dict.fromkeys(("criterion", "loss_fn", "objective"), "write loss, in the constructor"),
        "solver": 'write optimizer="adam", in the constructor',
        "dropout": "put Dropout(rate) among the layers",
        "activation": "put it among the layers, such as ReLU()",
        "hidden_layer_sizes": "write layers=[Dense(64), ReLU()]",
    }
    too_many = "put the layers into a list, such as [Dense(64), ReLU()]"
    _recipe_of = SequentialRecipe
    optimizer: str | Optimizer | LBFGS

    layers: Any

    def _nested(self) -> Iterator[tuple[str, Any]]:
        for name, value in super()._nested():
            if not isinstance(value, Sequential):
                yield name, value
        yield from chain_of(self.layers)._nested()

    def __sklearn_clone__(self) -> Self:
        twin = super().__sklearn_clone__()
        twin.layers = copy.deepcopy(self.layers)  # with the weights of what is built
        return twin

    def set_params(self, **params: Any) -> Self:
        """Set hyper-parameters, also nested ones, such as ``optimizer__learning_rate``."""
        optimizer = params.get("optimizer", self.optimizer)
        nested = any(name.startswith("optimizer__") for name in params)
        if nested and isinstance(optimizer, str) and optimizer in OPTIMIZERS:
            before, made = self.optimizer, OPTIMIZERS[optimizer]()
            try:
                return super().set_params(**params | {"optimizer": made})
            except ValueError:
                self.optimizer = before
                raise
        return super().set_params(**params)

    def _set_nested(self, name: str, value: Any) -> None:
        if not name.startswith("layers__"):
            super()._set_nested(name, value)
            return
        chain = chain_of(self.layers)
        chain._set_nested(name, value)
        if chain is not self.layers:
            self.layers = chain.layers


T = TypeVar("T")


def _asking_for_layers(kind: type[T]) -> type[T]:
    """Answer a call without layers by the line to write."""
    line = f"{kind.__name__}([Dense(64), ReLU()])"
    kind.__init__ = written_as(line)(kind.__init__)  # type: ignore[method-assign]
    return kind


@share_docs(_DOCS)
@_asking_for_layers
@dataclass(eq=False, repr=False)
class SequentialClassifier(NetworkClassifier, SequentialEstimator):
    """Classifier made of layers.

    y may hold two classes, several, a multilabel indicator, or several columns of classes each.

    Parameters
    ----------
    %(layers)s
    loss : "auto", str or Loss, default="auto"
        A loss whose ``scores`` are "logits" or "margins", or its name in snake case. "auto" is
        ``BinaryCrossEntropy`` on one output for two classes and on one output for each label of an
        indicator, ``CategoricalCrossEntropy`` for several classes.
    %(training)s
    class_weight : None, "balanced", dict or list of dict, default=None
        Factors on the sample weights. "balanced" gives all classes the same total weight; a dict
        maps labels to weights, by default 1; a list has a dict for each output.
    %(more)s

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
        Labels, of each output if there are several.
    %(attributes)s

    See Also
    --------
    SequentialRegressor : The same for numbers.

    Notes
    -----
    %(notes)s

    Sample weights apply to the loss. Layers that mix samples or drop values (BatchNorm, Dropout)
    ignore them, except that rows of weight 0 are left out everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from layerkit import Dense, ReLU, SequentialClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = SequentialClassifier([Dense(16), ReLU()], random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    layers: Sequence[Layer | tuple[str, Layer]] | Layer
    _: KW_ONLY
    loss: str | Loss = "auto"
    optimizer: str | Optimizer | LBFGS = "adam"
    batch_size: str | int = "auto"
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    n_iter_no_change: int | None = 10
    early_stopping: Any = False
    validation_fraction: float = 0.1
    class_weight: Any = None
    warm_start: bool = False
    dtype: Any = "auto"
    head: str | None = "auto"
    verbose: bool = False

    @classmethod
    def from_network(
        cls, network: Layer, classes: Any = None, *, multilabel: bool = False, **params: Any
    ) -> Self:
        """Make a fitted classifier from a trained network, without training it.

        Parameters
        ----------
        network : Layer
            A built network: trained by `layerkit.training.train`, loaded or imported. It is copied.
        classes : array-like, or list of array-likes, optional
            Labels of the network's outputs in sorted order, as everywhere in scikit-learn; for
            several outputs a list. By default 0, 1, ...; the sign of a single output distinguishes
            two classes.
        multilabel : bool, default=False
            Whether every output is a label of its own, which may be present or not.
        **params : object
            Parameters of the estimator, such as ``loss``: the raw outputs are logits, or whatever
            that loss takes.

        Returns
        -------
        classifier : SequentialClassifier
            Fitted, with ``layers=network`` and ``head=None``. `partial_fit` continues from its
            weights; `fit` starts from them, also in clones.

        Raises
        ------
        ValueError
            If the network is not built, or its outputs do not match the classes and the loss.

        Examples
        --------
        >>> import numpy as np
        >>> from layerkit import Dense, Sequential, SequentialClassifier
        >>> network = Sequential([Dense(3)]).build(2)
        >>> network[0].params["W"][...] = [[1, 0, -1], [0, 1, 0]]
        >>> model = SequentialClassifier.from_network(network, ["east", "north", "west"])
        >>> model.predict([[5.0, 1.0], [1.0, 5.0], [-5.0, 1.0]]).tolist()
        ['east', 'north', 'west']
        """
        model = cls(network, head=None, **params)
        return adopt(model, network, some_labels(network, classes, multilabel))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the network's scores; the largest, or the sign of a single one, decides.

        Parameters
        ----------
        X : array-like or sparse matrix
            Rows, shaped as in `fit`.

        Returns
        -------
        scores : ndarray of shape (n_samples,) or (n_samples, n_scores)
            Logits, or margins with a hinge loss. Meta-estimators that prefer scores to
            probabilities, such as `sklearn.calibration.CalibratedClassifierCV`, use these.
        """
        return self._from_raw(X, lambda raw: self._target.decision(raw))


@share_docs(_DOCS)
@_asking_for_layers
@dataclass(eq=False, repr=False)
class SequentialRegressor(NetworkRegressor, SequentialEstimator):
    """Regressor made of layers.

    y may have one column or several.

    Parameters
    ----------
    %(layers)s
    loss : "auto", str or Loss, default="auto"
        A loss, or its name in snake case; "auto" is ``MeanSquaredError``. ``Quantile`` with a list
        of quantiles predicts all of them, ``GaussianNLL`` the mean and the standard deviation,
        ``Poisson``, ``Gamma`` and ``Tweedie`` a positive mean.
    %(training)s
    %(more)s

    Attributes
    ----------
    %(attributes)s

    See Also
    --------
    SequentialClassifier : The same for classes.

    Notes
    -----
    %(notes)s

    Targets are not scaled; use ``TransformedTargetRegressor`` for that.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Dense, SequentialRegressor, Tanh
    >>> from layerkit.losses import Quantile
    >>> X = np.linspace(0, 6, 200)[:, np.newaxis]
    >>> y = np.sin(X[:, 0]) + np.random.default_rng(0).normal(0, 0.1, 200)
    >>> model = SequentialRegressor(
    ...     [Dense(32), Tanh()], loss=Quantile([0.1, 0.5, 0.9]), optimizer="lbfgs",
    ...     random_state=0, n_iter_no_change=None,
    ... )
    >>> low, middle, high = model.fit(X, y).predict([[1.5]])[0]
    >>> bool(low < middle < high)
    True
    """

    layers: Sequence[Layer | tuple[str, Layer]] | Layer
    _: KW_ONLY
    loss: str | Loss = "auto"
    optimizer: str | Optimizer | LBFGS = "adam"
    batch_size: str | int = "auto"
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    n_iter_no_change: int | None = 10
    early_stopping: Any = False
    validation_fraction: float = 0.1
    warm_start: bool = False
    dtype: Any = "auto"
    head: str | None = "auto"
    verbose: bool = False

    @classmethod
    def from_network(cls, network: Layer, **params: Any) -> Self:
        """Make a fitted regressor from a trained network, without training it.

        Parameters
        ----------
        network : Layer
            A built network: trained by `layerkit.training.train`, loaded or imported. It is copied.
        **params : object
            Parameters of the estimator, such as ``loss``, which determines what the outputs mean.

        Returns
        -------
        regressor : SequentialRegressor
            Fitted, with ``layers=network`` and ``head=None``; predictions of a single output are a
            vector. `partial_fit` continues from its weights; `fit` starts from them, also in
            clones.

        Raises
        ------
        ValueError
            If the network is not built, or its outputs do not match the loss.

        Examples
        --------
        >>> from layerkit import Dense, Sequential, SequentialRegressor
        >>> network = Sequential([Dense(1)]).build(2)
        >>> network[0].params["W"][...] = [[2], [3]]
        >>> SequentialRegressor.from_network(network).predict([[1.0, 1.0]]).tolist()
        [5.0]
        """
        model = cls(network, head=None, **params)
        return adopt(model, network, some_numbers(network, model._recipe().loss()))
