"""Everything that `MLPClassifier` and `MLPRegressor` share."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import clone, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from layerkit.estimators.base import NetworkEstimator
from layerkit.estimators.callbacks import EpochHooks, with_callbacks
from layerkit.estimators.mlp.coefficients import Coefficients, assign, dense_layers, views_of
from layerkit.estimators.mlp.epochs import (
    Convergence,
    EpochEnd,
    MiniBatches,
    SearchStep,
    print_iteration,
)
from layerkit.estimators.mlp.losses import Canonical, Penalized
from layerkit.estimators.mlp.parameters import ACTIVATIONS, RULES, are_sizes
from layerkit.estimators.mlp.steps import Momentum, PaperAdam, QuasiNewton
from layerkit.estimators.targets import Labels, Target, as_column
from layerkit.estimators.task import Task, check_mapped, stream
from layerkit.layer import Layer
from layerkit.layers import BatchNorm, Dense, Dropout, Sequential
from layerkit.losses import Loss
from layerkit.optimizers import Optimizer
from layerkit.parameters import is_size
from layerkit.shapes import Shape
from layerkit.training import History, train
from layerkit.training.batches import mapping_of
from layerkit.training.run import put_back_on_error

Activation = str | Layer | type[Layer]


@dataclass(frozen=True)
class MLPTask(Task):
    """A task with its network and the stream that scikit-learn would draw from next."""

    network: Any = None
    rng: Any = None


class MultilayerPerceptron(Coefficients, NetworkEstimator):
    """What `MLPClassifier` and `MLPRegressor` share: layers, solvers, attributes."""

    _monitor = "validation_score"
    _structure: ClassVar[tuple[str, ...]] = (
        "hidden_layer_sizes", "activation", "dropout", "batch_norm", "dtype",
    )  # fmt: skip
    _convergence: Convergence

    # ---------------------------------------------------------------- network and solver

    def _make_network(self, output_shape: Shape) -> Layer:
        layers: list[Layer] = []
        sizes = self._sizes
        activations = self._one_for_each_layer(self.activation)
        rates = self._one_for_each_layer(self.dropout)
        for units, activation, rate in zip(sizes, activations, rates, strict=True):
            layers.append(Dense(int(units)))
            if self.batch_norm:
                layers.append(BatchNorm())
            layers.append(_as_layer(activation))
            if rate:
                layers.append(Dropout(float(rate)))
        return Sequential([*layers, ("head", Dense(int(np.prod(output_shape))))])

    def _make_optimizer(self) -> Optimizer | QuasiNewton:
        if self.solver == "lbfgs":
            return QuasiNewton(max_iter=self.max_iter, tol=self.tol, max_fun=self.max_fun)
        if self.solver == "sgd":
            return Momentum(self.learning_rate_init, self.momentum, bool(self.nesterovs_momentum))
        return PaperAdam(self.learning_rate_init, (self.beta_1, self.beta_2), self.epsilon)

    @property
    def _sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        return list(sizes) if isinstance(sizes, Iterable) else [sizes]

    def _one_for_each_layer(self, value: Any) -> list[Any]:
        several = isinstance(value, list | tuple | np.ndarray)
        return list(value) if several else [value] * len(self._sizes)

    def _build(self, task: Task) -> Layer:
        """Return a network whose weights and biases are drawn as scikit-learn draws them."""
        network = super()._build(task)
        # The head is drawn as the last hidden layer is, and without one as one would be.
        activations = self._one_for_each_layer(self.activation) or [self.activation]
        for i, dense in enumerate(dense_layers(network)):
            nearest = activations[min(i, len(activations) - 1)]
            factor = 2.0 if isinstance(nearest, str) and nearest == "logistic" else 6.0
            bound = np.sqrt(factor / sum(dense.params["W"].shape))
            for parameter in (dense.params["W"], dense.params["b"]):
                parameter[...] = task.rng.uniform(-bound, bound, parameter.shape)  # type: ignore[attr-defined]
        return network

    # ---------------------------------------------------------------- preparing

    def _check_params(self) -> None:
        layers = len(self._sizes) if are_sizes(self.hidden_layer_sizes) else 0
        for name, (ok, expected) in RULES.items():
            if hasattr(self, name):
                self.check(ok(getattr(self, name)), name, expected)
        for name in ("activation", "dropout"):
            count = len(self._one_for_each_layer(getattr(self, name)))
            self.check(count == layers, name, f"one, or one for each of {layers} hidden layers")

    def _prepare(self, *args: Any, **kwargs: Any) -> Task:
        task = MLPTask(**vars(super()._prepare(*args, **kwargs)))
        if task.fresh:
            task = replace(task, rng=self._first_stream(task.seed))
            return replace(task, network=self._build(task))
        self._check_structure()
        late = np.random.MT19937(stream(task.seed, 2, len(self.history_)))
        return replace(task, rng=np.random.RandomState(late), network=self.network_)

    def _first_stream(self, seed: np.random.SeedSequence) -> np.random.RandomState:
        """Return the stream from which scikit-learn draws weights, then a split, then orders."""
        if is_size(self.random_state, least=0):
            return np.random.RandomState(self.random_state)
        return np.random.RandomState(np.random.MT19937(stream(seed, 2)))

    def _auto_dtype(self, dtype: np.dtype) -> Any:
        return np.float32 if dtype == np.float32 else np.float64

    def _validate(self, X: Any, y: Any, reset: bool) -> tuple[Any, np.ndarray]:
        is_mapped = mapping_of(X) is not None  # then it is converted and checked piece by piece
        X, y = validate_data(
            self,
            X,
            y,
            reset=reset,
            accept_sparse="csr",
            multi_output=True,
            dtype="numeric" if is_mapped else (np.float64, np.float32),
            y_numeric=is_regressor(self),
            ensure_all_finite=not is_mapped,
        )
        check_mapped(X, self)
        return X, as_column(y)

    def _hold_out(self, task: Any, X_val: Any, y_val: Any) -> Task:
        given = X_val is not None or y_val is not None
        splitting = hasattr(self.early_stopping, "split")
        if given or splitting or task.groups is not None:
            return super()._hold_out(task, X_val, y_val)
        if self.solver == "lbfgs":
            return task
        if task.batches is not None or not self.early_stopping:
            return super()._hold_out(task, X_val, y_val)
        rng = task.rng
        if not task.fresh:  # the rows that were held out the first time
            rng = self._first_stream(task.seed)
            dense = dense_layers(task.network)
            rng.random_sample(sum(p.size for layer in dense for p in layer.params.values()))
        learn, validate = self._split(task, rng)
        if len(validate) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                f"your dataset. Got validation_fraction={self.validation_fraction} of "
                f"{len(task.y)} rows"
            )
        held = task.rows(validate)
        return replace(task.rows(learn), validation=(held.X, held.y, held.weight))

    def _split(self, task: Task, rng: np.random.RandomState) -> Sequence[np.ndarray]:
        """Return rows to learn from and rows to validate on, in proportion to the classes."""
        rows = np.arange(len(task.y))
        fraction = self.validation_fraction
        if not isinstance(task.target, Labels):
            return train_test_split(rows, test_size=fraction, random_state=rng)
        two = len(task.target.classes) == 2
        kinds = task.target.encode(task.y).astype(bool) if two else task.y
        before = rng.get_state()
        try:
            return train_test_split(rows, test_size=fraction, stratify=kinds, random_state=rng)
        except ValueError as reason:
            if two:
                raise
            warnings.warn(f"the validation rows are not stratified: {reason}", stacklevel=5)
            rng.set_state(before)
            return train_test_split(rows, test_size=fraction, random_state=rng)

    def _validating(self, task: Task) -> dict[str, Any]:
        """Score outputs that are not finite as NaN."""
        arguments = super()._validating(task)
        if arguments:
            score = arguments["score"]
            arguments["score"] = lambda y, raw, weight: (
                score(y, raw, weight) if np.isfinite(raw).all() else np.nan
            )
        return arguments

    # ---------------------------------------------------------------- learning

    @with_callbacks
    def _learn(
        self,
        task: Any,
        epochs: int,
        keep: bool = False,
        patient: bool = False,
        saving: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        network, optimizer = task.network, self._make_optimizer()
        past = History() if task.fresh else self.history_
        rule = Convergence() if task.fresh else copy.copy(self._convergence)
        if not patient:  # a new fit; partial_fit goes on where it was
            rule.waited = rule.cuts = 0
            rule.best_score = -np.inf  # as the weights that are kept are of its best epoch
        elif not task.fresh and type(optimizer) is type(self.optimizer_):
            optimizer.state = self.optimizer_.state  # type: ignore[union-attr]

        def fitted(new: History) -> dict[str, Any]:
            return self._fitted_mlp(task, past, new, copy.deepcopy(network), rule)

        hooks = EpochHooks(self, epochs, task.given, fitted)
        loss, data, ends = self._set_up(task, optimizer, rule, patient)
        printing = [print_iteration] if self.verbose else []
        with put_back_on_error(network):
            history = train(
                network,
                loss,
                optimizer,
                data,
                epochs=epochs,
                callbacks=[*ends, *self._own_callbacks(), *printing, hooks],
                random_state=stream(task.seed, 3, len(past)),
                **self._validating(task),
                **saving,
            )
            hooks.close()
        task.target.loss = copy.copy(task.target.loss)  # without what its last forward held
        _record_divergence(history, task.validation is not None)
        if isinstance(optimizer, Optimizer):
            optimizer.weight_decay = 0.0
            if not patient:
                optimizer.reset()
        self._set(**self._fitted_mlp(task, past, history, network, rule), optimizer_=optimizer)
        if not patient:
            self._warn_unless_converged(history, epochs)
        return self

    def _set_up(
        self, task: Any, optimizer: Any, rule: Convergence, patient: bool
    ) -> tuple[Loss, Any, list[Any]]:
        """Return what to minimise, the data to do it with, and what ends an epoch."""
        network, loss = task.network, task.target.loss
        data = task.data(lambda y: self._targets(y, task.target, network))
        if task.batches is None:
            X, y, weight = data
            if mapping_of(X) is None:
                X = X.astype(network.dtype, copy=False)
            elif isinstance(optimizer, QuasiNewton):
                X = np.asarray(X, network.dtype)
            data = X, y, weight
        decaying = [network.flat_params[slot.slice] for slot in network.layout if slot.decay]
        end = EpochEnd(rule, self, task.n_rows, patient)
        if isinstance(optimizer, QuasiNewton):
            optimizer.weight_decay = self.alpha / (task.n_rows * task.mean_weight)
            step = SearchStep(decaying)
            return loss, data, [step] if task.validation is None else [step, end]
        schedule = self.learning_rate if self.solver == "sgd" else "constant"
        optimizer.learning_rate = rule.rate(schedule, self.learning_rate_init, self.power_t)
        if task.batches is None:
            relative = None if weight is None else weight / task.mean_weight
            data = self._batches(X, y, relative, task.rng)
        return Penalized(loss, self.alpha / task.mean_weight, decaying, optimizer), data, [end]

    def _targets(self, y: np.ndarray, target: Target, network: Layer) -> np.ndarray:
        """Return y as the loss wants it, checked once for all epochs."""
        y, loss = target.encode(y), target.loss
        if not isinstance(loss, Canonical):
            return y
        like = np.empty((len(y), *network.output_shape), network.dtype)
        y = loss.prepare_targets(like, y)
        loss.check_targets(np.isfinite(y), y, "finite")
        return y

    def _auto_batch(self, n_rows: int) -> int:
        """Return batch_size="auto", as scikit-learn has it."""
        return min(200, n_rows)

    def _batches(
        self, X: Any, y: np.ndarray, weight: np.ndarray | None, rng: np.random.RandomState
    ) -> MiniBatches:
        size = self._auto_batch(len(y)) if self.batch_size == "auto" else int(self.batch_size)
        if size > len(y):
            warnings.warn(
                f"batch_size={size} is larger than the sample size {len(y)}. It is going to be "
                "clipped",
                stacklevel=6,
            )
        order = rng if self.shuffle else None
        return MiniBatches(X, y, weight, size, order, lonely=not self.batch_norm)

    def _warn_unless_converged(self, history: History, epochs: int) -> None:
        optimizer = self.optimizer_
        if isinstance(optimizer, QuasiNewton):
            unfinished = not optimizer.converged and not history.stopped
            what = f"lbfgs: not converged after {len(history)} iterations"
        else:
            unfinished = len(history) == epochs and not history.stopped
            what = (
                f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the optimization "
                "hasn't converged yet."
            )
        if unfinished:
            warnings.warn(what, ConvergenceWarning, stacklevel=5)

    # ---------------------------------------------------------------- fitted attributes

    def adopt(
        self,
        X: Any,
        y: Any,
        coefs: Sequence[np.ndarray],
        intercepts: Sequence[np.ndarray],
        history: History,
        n_seen: int = 0,
    ) -> Self:
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
        self._check_params()
        task: Any = self._prepare(X, y, None)
        assign(views_of(task.network, "W"), coefs, "coefs")
        assign(views_of(task.network, "b"), intercepts, "intercepts")
        rule = Convergence()
        rule.t = n_seen
        for row in history.rows:
            rule.see(row["loss"], row.get("validation_score"), float(self.tol))
        fitted = self._fitted_mlp(task, History(), history, task.network, rule)
        self._set(**fitted, optimizer_=self._make_optimizer())
        return self

    def _fitted_mlp(
        self, task: Task, past: History, new: History, network: Layer, rule: Convergence
    ) -> dict[str, Any]:
        history = past.then(new)
        scores = [row["validation_score"] for row in history.rows if "validation_score" in row]
        validated = len(new) > 0 and "validation_score" in new.rows[-1]
        losses = [row["loss"] for row in history.rows]
        return self._fitted(task, history, network) | {
            "loss_": losses[-1] if losses else np.nan,
            "best_loss_": None if validated else min(losses, default=np.nan),
            "validation_scores_": scores if validated else None,
            "best_validation_score_": rule.best_score if validated else None,
            "n_iter_": len(new),
            "t_": rule.t,
            "n_layers_": len(self._sizes) + 2,
            "n_outputs_": network.output_shape[0],
            "out_activation_": self._out_activation(task),
            "_convergence": rule,
        }

    def _out_activation(self, task: Task) -> str:
        """Return the name of the loss's inverse link."""
        raise NotImplementedError

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _as_layer(activation: Any) -> Layer:
    """Make a new layer of a name, a class or an instance."""
    if isinstance(activation, str):
        return ACTIVATIONS[activation]()
    return activation() if isinstance(activation, type) else clone(activation)


def _record_divergence(history: History, validated: bool) -> None:
    """Give the epoch that diverged its row, of NaN; refuse the fit if it was the first."""
    if not history.stopped.startswith("diverged"):
        return
    if len(history) == 0:
        raise ValueError(
            "Solver produced non-finite parameter weights. The input data may contain large values "
            f"and need to be preprocessed. Training {history.stopped}"
        )
    row = {"epoch": len(history) + 1, "loss": np.nan}
    history.rows.append(row | {"validation_score": np.nan} if validated else row)
