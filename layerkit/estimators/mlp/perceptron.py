"""What a fitted perceptron has under scikit-learn's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from layerkit.estimators.base import NetworkEstimator
from layerkit.estimators.mlp.epochs import Convergence
from layerkit.estimators.mlp.recipe import dense_layers
from layerkit.estimators.preparing import prepare
from layerkit.training import History

# What the docstrings of both classes say alike.
DOCS = {
    "parameters": """
hidden_layer_sizes : int or sequence of int, default=(100,)
    Units of each hidden layer; an empty sequence makes a linear model.
activation : str, layer, or one for each hidden layer, default="relu"
    "identity", "logistic", "tanh", "relu", or any layer of layerkit, as a class or an instance.
solver : {"lbfgs", "sgd", "adam"}, default="adam"
alpha : float, default=0.0001
    L2 penalty on the weights, not the biases, at least 0: ``alpha / 2 ||W||²``, divided by the
    samples of the batch.
batch_size : int or "auto", default="auto"
    "auto" is ``min(200, n_samples)``. "lbfgs" takes all rows at once.
learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
    For "sgd". "invscaling" is ``learning_rate_init / (t_ + 1) ** power_t``; "adaptive" divides
    the rate by 5 where training would stop, until it is 1e-6 or less.
learning_rate_init : float, default=0.001
    Positive; for "sgd" and "adam".
power_t : float, default=0.5
    At least 0.
max_iter : int, default=200
    Epochs (of "lbfgs": iterations) at most.
shuffle : bool, default=True
    Draw a new order of the rows for every epoch.
random_state : None, int, RandomState or Generator, default=None
    An integer gives scikit-learn's initial weights, held-out rows and orders.
tol : float, default=1e-4
    Least improvement that counts, at least 0; for "lbfgs" the largest element of the gradient
    at which it has converged.
verbose : bool or int, default=False
    Print a line for every epoch or iteration.
warm_start : bool, default=False
    Let `fit` go on with the weights and the history of the last fit.
momentum : float, default=0.9
    In [0, 1]; for "sgd".
nesterovs_momentum : bool, default=True
    For "sgd".
early_stopping : bool or splitter, default=False
    True holds out ``validation_fraction`` of the rows, stratified by class where there are
    classes; a splitter such as ``ShuffleSplit()`` gives its first split. The score on them
    decides when to stop, and the weights of the best epoch are restored. "lbfgs" ignores True.
validation_fraction : float, default=0.1
    In [0, 1).
beta_1 : float, default=0.9
    In [0, 1); for "adam", of the average of the gradient.
beta_2 : float, default=0.999
    In [0, 1); for "adam", of the average of its square.
epsilon : float, default=1e-8
    Positive; for "adam", added to the square root of the second moment.
n_iter_no_change : int, default=10
    Epochs in a row that may miss ``tol``; with one more, training stops. ``numpy.inf`` turns
    this off.
max_fun : int, default=15000
    Evaluations of loss and gradient at most; for "lbfgs".
dropout : float or one for each hidden layer, default=0.0
    Rate of `Dropout` after each hidden activation, in [0, 1). Not in scikit-learn, like all
    that follows.
batch_norm : bool, default=False
    Put `BatchNorm` before each hidden activation. A single row left over joins the last batch.
""",
    "dtype": """
dtype : "auto", "float32" or "float64", default="auto"
    Of the network; "auto" is that of X, float64 unless X is float32.
""",
    "attributes": """
coefs_, intercepts_ : list of ndarray
    W ``(n_in, n_out)`` and b ``(n_out,)`` of each layer: views of the network's parameters.
    Writing to them, or assigning a list of arrays or an entry, changes the network.
loss_ : float
    Loss of the last epoch, penalty included.
best_loss_ : float or None
    Smallest so far; None with validation data.
loss_curve_ : list of float
    Loss of every epoch, with "lbfgs" of every iteration.
best_validation_score_ : float or None
    Best of the last `fit`, that of the weights the network has.
n_iter_ : int
    Epochs of the last call of `fit` or `partial_fit`.
best_iter_ : int
    The epoch of the whole history whose weights the network has.
t_ : int
    Samples seen; 0 with "lbfgs".
n_layers_, n_outputs_ : int
network_ : Sequential
history_ : History
    A row for every epoch: loss, validation loss and score, learning rate, seconds.
optimizer_ : Optimizer or LBFGS
    With its moments only after `partial_fit`, so that a pickle is little more than the weights.
n_features_in_ : int
feature_names_in_ : ndarray of str
    If X was a table with names of columns.
""",
    "notes": """
The same initial weights and order of rows give scikit-learn's weights, step by step and to
rounding. Where scikit-learn has a known defect, this differs:

- Numbers that are not finite stop training with a `DivergenceWarning`, which names the epoch
  and the layer; the last good weights are kept, and the epoch is recorded as NaN. In the first
  epoch it is a ValueError, as in scikit-learn.
- With ``sample_weight`` a batch divides by its rows times the mean weight of all data, not by
  the sum of its own weights: a weight means the same in every batch. With one batch that is
  the same sum, and a weight of 2 is the row twice, in the penalty too.
- A warm start holds out the same rows as before, counts epochs without improvement anew, and
  restores the best of its own epochs, to which ``best_validation_score_`` belongs.
- With "sgd" and ``learning_rate="invscaling"`` a warm start goes on at the decayed rate;
  scikit-learn takes ``learning_rate_init`` for its first epoch.
- ``random_state=None`` draws from the system; `numpy.random.seed` has no effect, as no global
  random state is used.
- `partial_fit` works with ``early_stopping=True`` (it holds nothing out), and after a fit.
""",
    "references": """
Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
AISTATS 2010, for the initial weights. Kingma and Ba, "Adam", ICLR 2015.
""",
}


class Views(list):
    """Views of a network's parameters; assigning to an entry writes into the network."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, slice):
            assign(self[key], value, str(key))
        else:
            self[key][...] = _fitting(key, self[key], value)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("views of a network's parameters take other values, but no other places")

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse
    __delitem__ = __iadd__ = __imul__ = _refuse  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return list, (list(self),)  # a copy is anybody's


def _views_property(name: str, parameter: str, what: str) -> Any:
    """Make an attribute of a perceptron of the parameters with one name of all dense layers."""

    def read(mlp: Any) -> Views:
        if not hasattr(mlp, "network_"):
            raise AttributeError(f"{type(mlp).__name__} has no {name} before it is fitted")
        return views_of(mlp.network_, parameter)

    def write(mlp: Any, values: Sequence[np.ndarray]) -> None:
        assign(read(mlp), values, name)

    return property(read, write, doc=f"{what}: views of the network's, to read and to write.")


class Perceptron:
    """Attributes and a method that `MLPClassifier` and `MLPRegressor` take from here."""

    habits = NetworkEstimator.habits | {
        "lr": "write learning_rate_init, in the constructor",
        "weight_decay": "write alpha, in the constructor",
        "dropout_rate": "write dropout, in the constructor",
        "layers": "write hidden_layer_sizes, or take SequentialClassifier or SequentialRegressor",
        "optimizer": "write solver, in the constructor",
    }

    coefs_ = _views_property("coefs_", "W", "Weight matrices ``(n_in, n_out)``")
    intercepts_ = _views_property("intercepts_", "b", "Bias vectors ``(n_out,)``")

    def adopt(
        self: Any,
        X: Any,
        y: Any,
        coefs: Sequence[np.ndarray],
        intercepts: Sequence[np.ndarray],
        history: History,
        n_seen: int = 0,
    ) -> Any:
        """Be fitted with weights and a record that are there already, learning nothing.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            A few rows like those that the weights were learned from.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets of these rows, every class among them.
        coefs, intercepts : sequence of ndarray
            W ``(n_in, n_out)`` and b ``(n_out,)`` of each layer, which are copied.
        history : History
            The epochs behind them.
        n_seen : int, default=0
            Samples seen in these epochs.

        Returns
        -------
        self : estimator
            `partial_fit` goes on from there, with fresh moments of the optimizer.

        Raises
        ------
        ValueError
            If the shapes are not those of the network that the parameters describe.
        """
        recipe: Any = self._recipe()
        recipe.check()
        task = prepare(recipe, X, y)
        assign(views_of(task.network, "W"), coefs, "coefs")
        assign(views_of(task.network, "b"), intercepts, "intercepts")
        rule = recipe.rule = Convergence()
        rule.t = n_seen
        for row in history.rows:
            rule.see(row["loss"], row.get("validation_score"), float(self.tol))
        self.__dict__.update(recipe.attributes(task, history), optimizer_=recipe.optimizer())
        return self


def views_of(network: Any, name: str) -> Views:
    """The parameters of that name of all dense layers."""
    return Views(layer.params[name] for layer in dense_layers(network))


def assign(views: list[np.ndarray], values: Sequence[np.ndarray], name: str) -> None:
    """Write one value into each view."""
    if len(values) != len(views):
        raise ValueError(f"{name} has {len(views)} entries, got {len(values)}")
    fitting = [_fitting(i, views[i], value) for i, value in enumerate(values)]
    for view, value in zip(views, fitting, strict=True):  # all of them fit, or none is written
        view[...] = value


def _fitting(key: Any, view: np.ndarray, value: Any) -> np.ndarray:
    """Return a copy of a value that can be written into a view."""
    if np.shape(value) != view.shape:
        raise ValueError(f"entry {key} has shape {view.shape}, got {np.shape(value)}")
    return np.array(value, view.dtype)
