"""Any network as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import clone
from sklearn.utils import Tags

from layerkit import losses, optimizers
from layerkit.estimators.base import NetworkEstimator
from layerkit.estimators.classifier import NetworkClassifier
from layerkit.estimators.regressor import NetworkRegressor
from layerkit.layer import Layer
from layerkit.layers import Dense, LogSoftmax, Sequential, Softmax
from layerkit.layers.containers import snake_case
from layerkit.layers.reshaping import Reshape
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer

_LOSSES = {snake_case(name): getattr(losses, name) for name in losses.__all__ if name != "Loss"}
_OPTIMIZERS = {
    name.lower(): getattr(optimizers, name) for name in optimizers.__all__ if name != "Optimizer"
}
_SPARSE_ROW = csr_array((1, 1))


class SequentialEstimator(NetworkEstimator):
    """What the two public estimators share: layers, head, loss, optimizer."""

    _structure = ("layers", "head", "loss", "dtype")

    layers: Any

    def _make_network(self, output_shape: tuple[int, ...]) -> Layer:
        body = clone(self.layers, safe=False)  # the user's layers stay as they are
        if isinstance(body, Layer):
            body = body.layers if isinstance(body, Sequential) else [body]
        if self.head is None:
            return Sequential(list(body))
        _warn_of_softmax_below_the_head(body)
        head: Layer = Dense(int(np.prod(output_shape)))
        if len(output_shape) > 1:
            head = Sequential([head, Reshape(output_shape)])
        return Sequential([*body, ("head", head)])

    def _make_loss(self) -> Loss | None:
        if isinstance(self.loss, str):
            self.check(
                self.loss == "auto" or self.loss in _LOSSES,
                "loss",
                f"'auto', a Loss, or one of {', '.join(_LOSSES)}",
            )
            return None if self.loss == "auto" else _LOSSES[self.loss]()
        self.check(isinstance(self.loss, Loss), "loss", "'auto', a name or a Loss")
        return clone(self.loss)

    def _make_optimizer(self) -> Optimizer | LBFGS:
        if isinstance(self.optimizer, str):
            known = ", ".join(_OPTIMIZERS)
            self.check(
                self.optimizer in _OPTIMIZERS, "optimizer", f"an Optimizer, or one of {known}"
            )
            if self.optimizer == "lbfgs":
                return LBFGS(max_iter=self.max_iter)
            return _OPTIMIZERS[self.optimizer]()
        self.check(
            isinstance(self.optimizer, Optimizer | LBFGS), "optimizer", "a name or an Optimizer"
        )
        return clone(self.optimizer)

    def _check_params(self) -> None:
        super()._check_params()
        self.check(
            isinstance(self.layers, Layer | list | tuple),
            "layers",
            "a Layer or a list of layers or (name, layer) pairs",
        )
        self.check(
            self.head is None or (isinstance(self.head, str) and self.head == "auto"),
            "head",
            "'auto' or None",
        )
        if not isinstance(self.layers, Layer):
            Sequential(self.layers).children()  # says which entry is no layer
        self._make_optimizer().validate()

    @property
    def _n_hidden(self) -> int:
        return super()._n_hidden + (self.head is None)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._takes_sparse_rows()
        return tags

    def _takes_sparse_rows(self) -> bool:
        first = self.layers if isinstance(self.layers, Layer) else self._chain()
        try:
            return self.layers == [] or issparse(first.convert_input(_SPARSE_ROW))
        except TypeError:
            return False

    # ---------------------------------------------------------------- layers__dense_1__units

    def _nested(self) -> Iterator[tuple[str, Any]]:
        for name, value in super()._nested():
            if not isinstance(value, Sequential):
                yield name, value
        yield from self._chain()._nested()

    def _set_nested(self, name: str, value: Any) -> None:
        if not name.startswith("layers__"):
            super()._set_nested(name, value)
            return
        chain = self._chain()
        chain._set_nested(name, value)
        if chain is not self.layers:
            self.layers = chain.layers

    def _chain(self) -> Sequential:
        """Return the layers as a chain that names them; an empty one if they are not valid."""
        if isinstance(self.layers, Sequential):
            return self.layers
        chain = Sequential(self.layers if isinstance(self.layers, list | tuple) else [])
        try:
            chain.children()
        except (TypeError, ValueError):  # get_params works whatever was given; fit refuses it
            return Sequential([])
        return chain


class SequentialClassifier(NetworkClassifier, SequentialEstimator):
    """Classifier made of layers.

    y may hold two classes, several, a multilabel indicator, or several columns of classes each.

    Parameters
    ----------
    layers : list of Layer or (name, Layer), or Layer
        The network below the head; `fit` works on a copy. Parameters inside are reached as
        ``layers__dense_1__units``, in a list and in a Sequential alike. A layer that is built and
        frozen (``trainable = False``) keeps its weights, in clones too.
    loss : "auto", str or Loss, default="auto"
        A loss whose ``scores`` are "logits" or "margins", or its name in snake case. "auto" is
        ``BinaryCrossEntropy`` on one output for two classes and on one output for each label of an
        indicator, ``CategoricalCrossEntropy`` for several classes.
    optimizer : str, Optimizer or LBFGS, default="adam"
        A class of `layerkit.optimizers` by its name in lower case, or an instance, whose
        parameters are then reached as ``optimizer__learning_rate``.
    batch_size : "auto" or int, default="auto"
        "auto" is a 32nd of the rows, between 32 and 200. L-BFGS always takes all rows.
    max_iter : int, default=200
        Epochs at most.
    shuffle : bool, default=True
        Draw a new order of the rows for every epoch.
    random_state : None, int, RandomState or Generator, default=None
        Seeds initial weights, shuffling, noise layers and the choice of validation rows.
    tol : float, default=1e-4
        At least 0; an improvement is more than this.
    n_iter_no_change : int or None, default=10
        Stop after so many epochs in a row without improvement of the validation loss, or of the
        training loss where there is no validation data. None: always run ``max_iter`` epochs.
    early_stopping : bool or splitter, default=False
        True holds out ``validation_fraction`` of the rows, stratified by class; of a splitter such
        as ``GroupShuffleSplit()`` the first split is used, with the ``groups`` given to `fit`.
        With validation data the weights of the best epoch are always restored.
    validation_fraction : float, default=0.1
        Between 0 and 1, exclusive.
    class_weight : None, "balanced", dict or list of dict, default=None
        Factors on the sample weights. "balanced" makes the classes count the same; a dict maps
        labels to weights (1 where it has none); a list has a dict for each output.
    warm_start : bool, default=False
        Let `fit` go on with the weights, the optimizer's state and the history of the last fit.
    dtype : "auto", "float32" or "float64", default="auto"
        Of the network; "auto" is the smaller one that holds the values of X exactly, else float64.
    head : "auto" or None, default="auto"
        "auto" appends an output layer, ``Dense``, of the width that y and the loss need; None takes
        the network as it is.
    verbose : bool, default=False
        Print a line for every epoch.

    Attributes
    ----------
    network_ : Sequential
        The trained network: copies of ``layers`` and the head.
    classes_ : ndarray, or list of ndarray
        Labels, of each output if there are several.
    history_ : History
        A row for every epoch: loss, validation loss and score, learning rate, seconds.
    loss_curve_ : list of float
        Training loss of every epoch.
    n_iter_, best_iter_ : int
        Epochs trained, and the epoch (from 1) whose weights the network has.
    optimizer_ : Optimizer or LBFGS
        With its state only after `partial_fit` and with ``warm_start``; so a pickle holds little
        more than the weights.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X was a table with names of columns; `Columns` may name its columns by them.

    See Also
    --------
    SequentialRegressor : The same for numbers.

    Notes
    -----
    `set_callbacks` takes scikit-learn's callbacks and plain callables; after a fit with validation
    data `refit` trains on all rows for ``best_iter_`` epochs; `transform` gives hidden activations.

    Sample weights act on the loss. Layers that mix or drop samples at random (BatchNorm, Dropout)
    see rows, not weights, except that rows of weight 0 are left out everywhere.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from layerkit import Dense, ReLU, SequentialClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> network = SequentialClassifier([Dense(16), ReLU()], random_state=0, n_iter_no_change=None)
    >>> model = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> model.score(X, y) > 0.9
    True
    """

    def __init__(
        self,
        layers: Sequence[Layer | tuple[str, Layer]] | Layer,
        *,
        loss: str | Loss = "auto",
        optimizer: str | Optimizer | LBFGS = "adam",
        batch_size: str | int = "auto",
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        n_iter_no_change: int | None = 10,
        early_stopping: Any = False,
        validation_fraction: float = 0.1,
        class_weight: Any = None,
        warm_start: bool = False,
        dtype: Any = "auto",
        head: str | None = "auto",
        verbose: bool = False,
    ) -> None:
        self.layers = layers
        self.loss = loss
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.dtype = dtype
        self.head = head
        self.verbose = verbose


class SequentialRegressor(NetworkRegressor, SequentialEstimator):
    """Regressor made of layers.

    y may have one column or several.

    Parameters
    ----------
    layers : list of Layer or (name, Layer), or Layer
        The network below the head; `fit` works on a copy. Parameters inside are reached as
        ``layers__dense_1__units``, in a list and in a Sequential alike. A layer that is built and
        frozen (``trainable = False``) keeps its weights, in clones too.
    loss : "auto", str or Loss, default="auto"
        A loss, or its name in snake case; "auto" is ``MeanSquaredError``. ``Quantile`` with a list
        of quantiles predicts all of them, ``GaussianNLL`` the mean and the standard deviation,
        ``Poisson``, ``Gamma`` and ``Tweedie`` a positive mean.
    optimizer : str, Optimizer or LBFGS, default="adam"
        A class of `layerkit.optimizers` by its name in lower case, or an instance, whose
        parameters are then reached as ``optimizer__learning_rate``.
    batch_size : "auto" or int, default="auto"
        "auto" is a 32nd of the rows, between 32 and 200. L-BFGS always takes all rows.
    max_iter : int, default=200
        Epochs at most.
    shuffle : bool, default=True
        Draw a new order of the rows for every epoch.
    random_state : None, int, RandomState or Generator, default=None
        Seeds initial weights, shuffling, noise layers and the choice of validation rows.
    tol : float, default=1e-4
        At least 0; an improvement is more than this.
    n_iter_no_change : int or None, default=10
        Stop after so many epochs in a row without improvement of the validation loss, or of the
        training loss where there is no validation data. None: always run ``max_iter`` epochs.
    early_stopping : bool or splitter, default=False
        True holds out ``validation_fraction`` of the rows; of a splitter such as
        ``GroupShuffleSplit()`` the first split is used, with the ``groups`` that `fit` is given.
        With validation data the weights of the best epoch are always restored.
    validation_fraction : float, default=0.1
        Between 0 and 1, exclusive.
    warm_start : bool, default=False
        Let `fit` go on with the weights, the optimizer's state and the history of the last fit.
    dtype : "auto", "float32" or "float64", default="auto"
        Of the network; "auto" is the smaller one that holds the values of X exactly, else float64.
    head : "auto" or None, default="auto"
        "auto" appends an output layer, ``Dense``, of the width that y and the loss need; None takes
        the network as it is.
    verbose : bool, default=False
        Print a line for every epoch.

    Attributes
    ----------
    network_ : Sequential
        The trained network: copies of ``layers`` and the head.
    history_ : History
        A row for every epoch: loss, validation loss and score, learning rate, seconds.
    loss_curve_ : list of float
        Training loss of every epoch.
    n_iter_, best_iter_ : int
        Epochs trained, and the epoch (from 1) whose weights the network has.
    optimizer_ : Optimizer or LBFGS
        With its state only after `partial_fit` and with ``warm_start``; so a pickle holds little
        more than the weights.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X was a table with names of columns; `Columns` may name its columns by them.

    See Also
    --------
    SequentialClassifier : The same for classes.

    Notes
    -----
    `set_callbacks` takes scikit-learn's callbacks and plain callables; after a fit with validation
    data `refit` trains on all rows for ``best_iter_`` epochs; `transform` gives hidden activations.
    Targets are not scaled: ``TransformedTargetRegressor`` does it.

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

    def __init__(
        self,
        layers: Sequence[Layer | tuple[str, Layer]] | Layer,
        *,
        loss: str | Loss = "auto",
        optimizer: str | Optimizer | LBFGS = "adam",
        batch_size: str | int = "auto",
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        n_iter_no_change: int | None = 10,
        early_stopping: Any = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        dtype: Any = "auto",
        head: str | None = "auto",
        verbose: bool = False,
    ) -> None:
        self.layers = layers
        self.loss = loss
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.dtype = dtype
        self.head = head
        self.verbose = verbose


def _warn_of_softmax_below_the_head(body: Sequence[Any]) -> None:
    last = body[-1] if len(body) else None
    last = last[1] if isinstance(last, tuple) else last
    while isinstance(last, Sequential) and len(last):
        last = last[-1]
    if isinstance(last, Softmax | LogSoftmax):
        warnings.warn(
            f"the layers end in {last!r}, but head='auto' appends an output layer after it: leave "
            "the last layers out (the loss takes raw outputs), or set head=None",
            stacklevel=7,  # the caller of fit
        )
