"""The multilayer perceptron that predicts numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

from layerkit.estimators.adopting import some_numbers
from layerkit.estimators.mlp.chains import of_chain
from layerkit.estimators.mlp.perceptron import DOCS, Perceptron
from layerkit.estimators.mlp.recipe import MLPRecipe
from layerkit.estimators.predictors import NetworkRegressor, share_docs
from layerkit.estimators.rules import Activation, are_sizes
from layerkit.layer import Layer


@share_docs(DOCS)
@dataclass(eq=False, repr=False)
class MLPRegressor(NetworkRegressor):
    """Multilayer perceptron that predicts numbers.

    Takes the place of ``sklearn.neural_network.MLPRegressor``, with the signature of scikit-learn
    1.9 and a few parameters more. y may have several columns.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        Half the squared error; or half the Poisson deviance, for y >= 0, with ``exp`` as link.
    %(parameters)s
    %(dtype)s

    Attributes
    ----------
    validation_scores_ : list of float or None
        R² of the held-out rows after every epoch.
    out_activation_ : str
        "identity", or "exp" with the Poisson loss.
    %(attributes)s

    See Also
    --------
    MLPClassifier : The same for classes.
    SequentialRegressor : Any layers, losses and optimizers.

    Notes
    -----
    %(notes)s
    - With k outputs the loss is the sum over them, ``½ Σ_j (y_pred_j - y_j)²``, and all solvers
      follow its derivative. scikit-learn descends the sum but reports the mean over the outputs,
      which misleads its "lbfgs" (its issue 8349); ``loss_`` there is k times smaller.

    References
    ----------
    %(references)s

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
    habits = Perceptron.habits
    coefs_, intercepts_ = Perceptron.coefs_, Perceptron.intercepts_
    adopt = Perceptron.adopt

    loss: str = "squared_error"
    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: Activation | Sequence[Activation] = "relu"
    _: KW_ONLY
    solver: str = "adam"
    alpha: float = 0.0001
    batch_size: int | str = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool | int = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: Any = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: int = 15000
    dropout: float | Sequence[float] = 0.0
    batch_norm: bool = False
    dtype: Any = "auto"

    def check(self, ok: bool, name: str, expected: str) -> None:
        try:
            super().check(ok, name, expected)
        except ValueError as error:
            if name != "loss" or isinstance(self.loss, str) or not are_sizes(self.loss):
                raise
            raise ValueError(
                f"{error}; it comes first, as in scikit-learn since 1.7: write "
                f"hidden_layer_sizes={self.loss!r}"
            ) from None

    @classmethod
    def from_network(cls, network: Layer, **params: Any) -> Self:
        """Make a fitted regressor of a network that is trained already, learning nothing.

        Parameters
        ----------
        network : Sequential
            Built; hidden layers as this class makes them, then a Dense. It is copied.
        **params : object
            Parameters of the estimator, other than those of its layers.

        Returns
        -------
        regressor : MLPRegressor
            Fitted. `partial_fit` goes on from the weights, `fit` draws new ones.

        Raises
        ------
        ValueError
            If the network is not built, or not one that this class makes.

        Examples
        --------
        >>> from layerkit import Dense, MLPRegressor, Sequential
        >>> network = Sequential([Dense(1)]).build(2)
        >>> network[0].params["W"][...] = [[2], [3]]
        >>> MLPRegressor.from_network(network).predict([[1.0, 1.0]]).tolist()
        [5.0]
        """
        return of_chain(
            cls, network, lambda mlp: some_numbers(network, mlp._recipe().loss()), params
        )
