"""Any network as a scikit-learn estimator."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from layerkit import losses, optimizers
from layerkit.estimators.base import NetworkEstimator
from layerkit.estimators.callbacks import print_epoch
from layerkit.estimators.learning import Recipe
from layerkit.estimators.predictors import NetworkClassifier, NetworkRegressor, share_docs
from layerkit.estimators.preparing import Task
from layerkit.estimators.rules import SEQUENTIAL
from layerkit.layer import Layer
from layerkit.layers import Dense, LogSoftmax, Sequential, Softmax
from layerkit.layers.containers import snake_case
from layerkit.layers.reshaping import Reshape
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.training import History

_LOSSES = {snake_case(name): getattr(losses, name) for name in losses.__all__ if name != "Loss"}
_OPTIMIZERS = {
    name.lower(): getattr(optimizers, name) for name in optimizers.__all__ if name != "Optimizer"
}
_SPARSE_ROW = csr_array((1, 1))

# What the docstrings of both estimators say alike.
_DOCS = {
    "layers": """
layers : list of Layer or (name, Layer), or Layer
    The network below the head; `fit` works on a copy. Parameters inside are reached as
    ``layers__dense_1__units``, in a list and in a Sequential alike. A layer that is built and
    frozen (``trainable = False``) keeps its weights, in clones too.
""",
    "training": """
optimizer : str, Optimizer or LBFGS, default="adam"
    A class of `layerkit.optimizers` by its name in lower case, or an instance. Its parameters are
    set as ``optimizer__learning_rate``, in a grid search too; a name becomes an instance then.
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
    True holds out ``validation_fraction`` of the rows, stratified by class where there are
    classes; of a splitter such as ``GroupShuffleSplit()`` the first split is used, with the
    ``groups`` given to `fit`.
    With validation data the weights of the best epoch are always restored.
validation_fraction : float, default=0.1
    Between 0 and 1, exclusive.
""",
    "more": """
warm_start : bool, default=False
    Let `fit` go on with the weights, the optimizer's state and the history of the last fit.
dtype : "auto", "float32" or "float64", default="auto"
    Of the network; "auto" is the smaller one that holds the values of X exactly, else float64.
head : "auto" or None, default="auto"
    "auto" appends an output layer, ``Dense``, of the width that y and the loss need; None takes
    the network as it is.
verbose : bool, default=False
    Print a line for every epoch.
""",
    "attributes": """
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
""",
    "notes": """
`set_callbacks` takes scikit-learn's callbacks and plain callables; after a fit with validation
data `refit` trains on all rows for ``best_iter_`` epochs; `transform` gives hidden activations.
""",
}


class SequentialRecipe(Recipe):
    """Layers, head, loss and optimizer as the user states them."""

    rules = SEQUENTIAL
    structure = ("layers", "head", "loss", "dtype")
    print_epoch = staticmethod(print_epoch)

    def check(self) -> None:
        super().check()
        layers = self.estimator.layers
        if not isinstance(layers, Layer):
            Sequential(layers).children()  # says which entry is no layer
        self.optimizer().validate()

    def network(self, output_shape: tuple[int, ...]) -> Layer:
        body = clone(self.estimator.layers, safe=False)  # the user's layers stay as they are
        if isinstance(body, Layer):
            body = body.layers if isinstance(body, Sequential) else [body]
        if self.estimator.head is None:
            return Sequential(list(body))
        _warn_of_softmax_below_the_head(body)
        head: Layer = Dense(int(np.prod(output_shape)))
        if len(output_shape) > 1:
            head = Sequential([head, Reshape(output_shape)])
        return Sequential([*body, ("head", head)])

    def loss(self) -> Loss | None:
        loss, check = self.estimator.loss, self.estimator.check
        if isinstance(loss, str):
            known = f"'auto', a Loss, or one of {', '.join(_LOSSES)}"
            check(loss == "auto" or loss in _LOSSES, "loss", known)
            return None if loss == "auto" else _LOSSES[loss]()
        check(isinstance(loss, Loss), "loss", "'auto', a name or a Loss")
        return clone(loss)

    def optimizer(self) -> Optimizer | LBFGS:
        optimizer, check = self.estimator.optimizer, self.estimator.check
        if isinstance(optimizer, str):
            known = f"an Optimizer, or one of {', '.join(_OPTIMIZERS)}"
            check(optimizer in _OPTIMIZERS, "optimizer", known)
            if optimizer == "lbfgs":
                return LBFGS(max_iter=self.estimator.max_iter)
            return _OPTIMIZERS[optimizer]()
        check(isinstance(optimizer, Optimizer | LBFGS), "optimizer", "a name or an Optimizer")
        return clone(optimizer)

    def takes_sparse_rows(self) -> bool:
        layers = self.estimator.layers
        first = layers if isinstance(layers, Layer) else chain_of(layers)
        try:
            return layers == [] or issparse(first.convert_input(_SPARSE_ROW))
        except TypeError:
            return False

    def batches(self, task: Task, optimizer: Any) -> dict[str, Any]:
        return {
            "loss": task.target.loss,
            "data": task.data(task.target.encode),
            "batch_size": self.batch_size(task.n_rows),
            "shuffle": bool(self.estimator.shuffle),
        }

    def stopping(self, task: Task, optimizer: Any) -> dict[str, Any]:
        """Wait for an improvement; L-BFGS has its own test of convergence."""
        patience = self.estimator.n_iter_no_change
        converges = isinstance(optimizer, LBFGS) and task.validation is None
        forever = self.patient or patience in (None, np.inf) or converges
        return {"patience": None if forever else int(patience), "tol": float(self.estimator.tol)}

    def warn(self, optimizer: Any, history: History) -> None:
        limit, name = self.epochs, "max_iter"
        if isinstance(optimizer, LBFGS) and optimizer.max_iter < limit:
            limit, name = optimizer.max_iter, "optimizer__max_iter"
        ended = self.patient or len(history) != limit or history.stopped
        if not ended and self.estimator.n_iter_no_change is not None:
            warnings.warn(
                f"{type(self.estimator).__name__}: {name}={limit} epochs were not enough to "
                "converge; raise it, or set n_iter_no_change=None to have exactly so many",
                ConvergenceWarning,
                stacklevel=5,  # the caller of fit
            )


class SequentialEstimator(NetworkEstimator):
    """What the two public estimators share: parameters of layers, ``layers__dense_1__units``."""

    _recipe_of = SequentialRecipe
    optimizer: str | Optimizer | LBFGS

    layers: Any

    def _nested(self) -> Iterator[tuple[str, Any]]:
        for name, value in super()._nested():
            if not isinstance(value, Sequential):
                yield name, value
        yield from chain_of(self.layers)._nested()

    def set_params(self, **params: Any) -> Self:
        """Set hyper-parameters, also nested ones; ``optimizer__learning_rate`` of a named one too.

        Parameters
        ----------
        **params : object
            New values by name.

        Returns
        -------
        self : object
            The same object.

        Raises
        ------
        ValueError
            If a name is unknown; it lists the valid ones, and nothing has been set.
        """
        optimizer = params.get("optimizer", self.optimizer)
        nested = any(name.startswith("optimizer__") for name in params)
        if nested and isinstance(optimizer, str) and optimizer in _OPTIMIZERS:
            before, made = self.optimizer, _OPTIMIZERS[optimizer]()
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


def chain_of(layers: Any) -> Sequential:
    """Return the layers as a chain that names them; an empty one if they are not valid."""
    if isinstance(layers, Sequential):
        return layers
    chain = Sequential(layers if isinstance(layers, list | tuple) else [])
    try:
        chain.children()
    except (TypeError, ValueError):  # get_params works whatever was given; fit refuses it
        return Sequential([])
    return chain


@share_docs(_DOCS)
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
        Factors on the sample weights. "balanced" makes the classes count the same; a dict maps
        labels to weights (1 where it has none); a list has a dict for each output.
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


@share_docs(_DOCS)
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


def _warn_of_softmax_below_the_head(body: Sequence[Any]) -> None:
    last = body[-1] if len(body) else None
    last = last[1] if isinstance(last, tuple) else last
    while isinstance(last, Sequential) and len(last):
        last = last[-1]
    if isinstance(last, Softmax | LogSoftmax):
        warnings.warn(
            f"the layers end in {last!r}, but head='auto' appends an output layer after it: leave "
            "the last layers out (the loss takes raw outputs), or set head=None",
            stacklevel=6,  # the caller of fit
        )
