"""The multilayer perceptron that predicts numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerkit.estimators.mlp.perceptron import Perceptron
from layerkit.estimators.mlp.recipe import MLPRecipe
from layerkit.estimators.predictors import NetworkRegressor
from layerkit.estimators.rules import Activation


class MLPRegressor(NetworkRegressor):
    """Multilayer perceptron that predicts numbers.

    Takes the place of ``sklearn.neural_network.MLPRegressor``, with the signature of scikit-learn
    1.9 and a few parameters more. y may have several columns.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        Half the squared error; or half the Poisson deviance, for y >= 0, with ``exp`` as link.
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
        True holds out ``validation_fraction`` of the rows; a splitter such as
        ``ShuffleSplit()`` gives its first split. The score on them decides when to stop, and the
        weights of the best epoch are restored. "lbfgs" ignores True.
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
    dtype : "auto", "float32" or "float64", default="auto"
        Of the network; "auto" is that of X, float64 unless X is float32.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        W ``(n_in, n_out)`` and b ``(n_out,)`` of each layer: views of the network's parameters.
        Writing to them, or assigning a list of arrays or an entry, changes the network.
    loss_ : float
        Loss of the last epoch, penalty included.
    best_loss_ : float or None
        Smallest so far; None with validation data.
    loss_curve_ : list of float
        Loss of every epoch, with "lbfgs" of every iteration.
    validation_scores_ : list of float or None
        R² of the held-out rows after every epoch.
    best_validation_score_ : float or None
        Best of the last `fit`, that of the weights the network has.
    n_iter_ : int
        Epochs of the last call of `fit` or `partial_fit`.
    best_iter_ : int
        The epoch of the whole history whose weights the network has.
    t_ : int
        Samples seen; 0 with "lbfgs".
    n_layers_, n_outputs_ : int
    out_activation_ : str
        "identity", or "exp" with the Poisson loss.
    network_ : Sequential
    history_ : History
        A row for every epoch: loss, validation loss and score, learning rate, seconds.
    optimizer_ : Optimizer or LBFGS
        With its moments only after `partial_fit`, so that a pickle is little more than the weights.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X was a table with names of columns.

    See Also
    --------
    MLPClassifier : The same for classes.
    SequentialRegressor : Any layers, losses and optimizers.

    Notes
    -----
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
    - With k outputs the loss is the sum over them, ``½ Σ_j (y_pred_j - y_j)²``, and all solvers
      follow its derivative. scikit-learn descends the sum but reports the mean over the outputs,
      which misleads its "lbfgs" (its issue 8349); ``loss_`` there is k times smaller.

    References
    ----------
    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS 2010, for the initial weights. Kingma and Ba, "Adam", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import MLPRegressor
    >>> X = np.linspace(0, 6, 200)[:, np.newaxis]
    >>> mlp = MLPRegressor(activation="tanh", solver="lbfgs", max_iter=1000, random_state=0)
    >>> mlp.fit(X, np.sin(X[:, 0])).score(X, np.sin(X[:, 0])) > 0.99
    True
    """

    _recipe_of = MLPRecipe
    coefs_, intercepts_ = Perceptron.coefs_, Perceptron.intercepts_
    adopt = Perceptron.adopt

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: Activation | Sequence[Activation] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: Any = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: float | Sequence[float] = 0.0,
        batch_norm: bool = False,
        dtype: Any = "auto",
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.dtype = dtype
