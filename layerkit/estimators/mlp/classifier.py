"""The multilayer perceptron that classifies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

from sklearn.utils.metaestimators import available_if

from layerkit.estimators.adopting import some_labels
from layerkit.estimators.base import learns_in_batches
from layerkit.estimators.mlp.chains import of_chain
from layerkit.estimators.mlp.perceptron import DOCS, Perceptron
from layerkit.estimators.mlp.recipe import MLPRecipe
from layerkit.estimators.predictors import NetworkClassifier, share_docs
from layerkit.estimators.rules import Activation
from layerkit.layer import Layer
from layerkit.parameters import told_by_habits


@share_docs(DOCS)
@dataclass(eq=False, repr=False)
class MLPClassifier(NetworkClassifier):
    """Multilayer perceptron that classifies, by minimising the log-loss.

    Takes the place of ``sklearn.neural_network.MLPClassifier``, with the signature of scikit-learn
    1.9 and a few parameters more. y may hold two classes, several, a multilabel indicator, or
    several columns of classes each.

    Parameters
    ----------
    %(parameters)s
    class_weight : None, "balanced", dict or list of dict, default=None
        Factors on the sample weights; a dict maps labels to weights.
    %(dtype)s

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
        Labels, of each output if there are several.
    validation_scores_ : list of float or None
        Accuracy of the held-out rows after every epoch.
    out_activation_ : str
        "softmax" for several classes, else "logistic".
    %(attributes)s

    See Also
    --------
    MLPRegressor : The same for numbers.
    SequentialClassifier : Any layers, losses and optimizers.

    Notes
    -----
    %(notes)s
    - As there, there are probabilities but no ``decision_function``: what asks for scores first,
      `sklearn.calibration.CalibratedClassifierCV` say, calibrates the probabilities. The raw
      outputs are ``network_.infer(X)``.
    - A warm start may see a subset of the classes; new ones are an error.
    - Held-out rows are stratified with more than two classes too, as documented there.
    - `predict_log_proba` is finite where a probability is 0, and the loss that "lbfgs"
      minimises is exact there. What "sgd" and "adam" report is at most ``-log(eps)``, 36 in
      float64, for each output, as in scikit-learn, to stop in the same epoch.

    References
    ----------
    %(references)s

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from layerkit import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> mlp = MLPClassifier((20, 10), learning_rate_init=0.01, tol=1e-3, random_state=0)
    >>> mlp.fit(X, y).score(X, y) > 0.9, [W.shape for W in mlp.coefs_], mlp.out_activation_
    (True, [(4, 20), (20, 10), (10, 3)], 'softmax')
    """

    _recipe_of = MLPRecipe
    habits = Perceptron.habits
    coefs_, intercepts_ = Perceptron.coefs_, Perceptron.intercepts_
    adopt = Perceptron.adopt

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
    class_weight: Any = None
    dtype: Any = "auto"

    @classmethod
    def from_network(
        cls, network: Layer, classes: Any = None, *, multilabel: bool = False, **params: Any
    ) -> Self:
        """Make a fitted classifier of a network that is trained already, learning nothing.

        Parameters
        ----------
        network : Sequential
            Built; hidden layers as this class makes them, then a Dense whose outputs are logits.
            It is copied.
        classes : array-like, or list of array-likes, optional
            Labels of the network's outputs, as for `SequentialClassifier.from_network`.
        multilabel : bool, default=False
            Whether each output tells of a label by itself whether it holds.
        **params : object
            Parameters of the estimator, other than those of its layers.

        Returns
        -------
        classifier : MLPClassifier
            Fitted. `partial_fit` goes on from the weights, `fit` draws new ones.

        Raises
        ------
        ValueError
            If the network is not built, or not one that this class makes.

        Examples
        --------
        >>> from layerkit import Dense, MLPClassifier, ReLU, Sequential
        >>> network = Sequential([Dense(8), ReLU(), Dense(3)]).build(2, random_state=0)
        >>> model = MLPClassifier.from_network(network, ["east", "north", "west"])
        >>> model.hidden_layer_sizes, model.predict_proba([[1.0, 2.0]]).shape
        ([8], (1, 3))
        """
        return of_chain(cls, network, lambda _: some_labels(network, classes, multilabel), params)

    @available_if(learns_in_batches)
    @told_by_habits
    def partial_fit(  # type: ignore[override]  # scikit-learn's order of the arguments
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> Self:
        """Learn from the rows for one epoch, continuing what was learned before.

        Parameters
        ----------
        X : array-like or sparse matrix
            As in `fit`.
        y : array-like
            As in `fit`.
        sample_weight : array-like of shape (n_samples,), optional
            As in `fit`.
        classes : array-like, optional
            All labels there will be; needed at the first call, except for a multilabel indicator.

        Returns
        -------
        self : object
            The estimator, having learned.
        """
        self._check_classes(y, classes)
        return self._partial_fit(X, y, sample_weight, classes)
