"""Network and training of scikit-learn's multilayer perceptrons."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from layerkit.estimators.learning import Recipe
from layerkit.estimators.mlp.epochs import (
    Convergence,
    EpochEnd,
    MiniBatches,
    SearchStep,
    print_iteration,
)
from layerkit.estimators.mlp.losses import (
    Canonical,
    HalfPoissonDeviance,
    HalfSquaredError,
    LogLoss,
    Penalized,
    SoftmaxLogLoss,
    decaying,
    reported_cap,
)
from layerkit.estimators.mlp.steps import Momentum, PaperAdam, QuasiNewton
from layerkit.estimators.preparing import Task, stream
from layerkit.estimators.rules import ACTIVATIONS, MLP, are_sizes
from layerkit.estimators.targets import Labels, Target
from layerkit.layer import Layer
from layerkit.layers import BatchNorm, Dense, Dropout, Sequential
from layerkit.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss
from layerkit.optimizers import Optimizer
from layerkit.parameters import is_size
from layerkit.shapes import Shape
from layerkit.training import History
from layerkit.training.batches import mapping_of
from layerkit.warning import warn

# What scikit-learn minimises in place of a loss of ours: the sum over the outputs.
_SUMS: dict[type[Loss], type[LogLoss | SoftmaxLogLoss]] = {
    BinaryCrossEntropy: LogLoss,
    CategoricalCrossEntropy: SoftmaxLogLoss,
}


class MLPRecipe(Recipe):
    """Layers, solvers, batches and stopping as in scikit-learn; see `Recipe`."""

    rules = MLP
    structure = ("loss", "hidden_layer_sizes", "activation", "dropout", "batch_norm", "dtype")
    allow_nd = False
    dtypes = (np.float64, np.float32)
    monitor = "validation_score"
    noise_stream = 3
    print_epoch = staticmethod(print_iteration)
    rule: Convergence

    @property
    def keeps_state(self) -> bool:
        """Every `fit` starts with new moments, warm or not."""
        return self.patient

    # ---------------------------------------------------------------- network

    def network(self, output_shape: Shape) -> Layer:
        layers: list[Layer] = []
        activations = self._one_for_each_layer("activation")
        rates = self._one_for_each_layer("dropout")
        for units, activation, rate in zip(self.sizes(), activations, rates, strict=True):
            layers.append(Dense(int(units)))
            if self.estimator.batch_norm:
                layers.append(BatchNorm())
            layers.append(_as_layer(activation))
            if rate:
                layers.append(Dropout(float(rate)))
        return Sequential([*layers, ("head", Dense(int(np.prod(output_shape))))])

    def sizes(self) -> list[int]:
        """Units of every hidden layer."""
        sizes = self.estimator.hidden_layer_sizes
        return list(sizes) if isinstance(sizes, Iterable) else [sizes]

    def _one_for_each_layer(self, name: str) -> list[Any]:
        value = getattr(self.estimator, name)
        several = isinstance(value, list | tuple | np.ndarray)
        return list(value) if several else [value] * len(self.sizes())

    def loss(self) -> Loss | None:
        if is_classifier(self.estimator):
            return None
        return HalfPoissonDeviance() if self.estimator.loss == "poisson" else HalfSquaredError()

    def optimizer(self) -> Optimizer | QuasiNewton:
        mlp = self.estimator
        if mlp.solver == "lbfgs":
            return QuasiNewton(max_iter=mlp.max_iter, tol=mlp.tol, max_fun=mlp.max_fun)
        if mlp.solver == "sgd":
            nesterov = bool(mlp.nesterovs_momentum)
            return Momentum(mlp.learning_rate_init, momentum=mlp.momentum, nesterov=nesterov)
        betas = (mlp.beta_1, mlp.beta_2)
        return PaperAdam(mlp.learning_rate_init, betas=betas, eps=mlp.epsilon)

    def penalize(self, optimizer: Any, n_rows: int) -> None:
        if isinstance(optimizer, Optimizer):
            optimizer.weight_decay = self.estimator.alpha / n_rows

    def takes_all_rows(self) -> bool:
        return bool(self.estimator.solver == "lbfgs")

    def auto_dtype(self, dtype: np.dtype) -> Any:
        return np.float32 if dtype == np.float32 else np.float64

    def build(self, task: Task) -> Layer:
        """Return a network whose weights and biases are drawn as scikit-learn draws them."""
        network = super().build(task)
        # The head is drawn as the last hidden layer is, and without one as one would be.
        activations = self._one_for_each_layer("activation") or [self.estimator.activation]
        for i, dense in enumerate(dense_layers(network)):
            nearest = activations[min(i, len(activations) - 1)]
            factor = 2.0 if isinstance(nearest, str) and nearest == "logistic" else 6.0
            bound = np.sqrt(factor / sum(dense.params["W"].shape))
            for parameter in (dense.params["W"], dense.params["b"]):
                parameter[...] = task.rng.uniform(-bound, bound, parameter.shape)  # type: ignore[union-attr]
        loss = task.target.loss
        task.target.loss = _SUMS[type(loss)]() if type(loss) in _SUMS else loss
        return network

    # ---------------------------------------------------------------- preparing

    def check(self) -> None:
        super().check()
        sizes = self.estimator.hidden_layer_sizes
        layers = len(self.sizes()) if are_sizes(sizes) else 0
        for name, one in {"activation": "one name", "dropout": "one rate"}.items():
            count = len(self._one_for_each_layer(name))
            expected = f"{one}, or one for each of {layers} hidden layers"
            self.estimator.check(count == layers, name, expected)

    def stream_of(
        self, seed: np.random.SeedSequence, past: History | None
    ) -> np.random.RandomState:
        """Return the stream from which scikit-learn draws weights, then a split, then orders."""
        if past is None and is_size(self.estimator.random_state, least=0):
            return np.random.RandomState(self.estimator.random_state)
        if past is not None and self.patient:  # to start theirs takes a tenth of a partial_fit
            return np.random.RandomState(np.random.SFC64(stream(seed, 2, len(past))))
        key = (2,) if past is None else (2, len(past))
        return np.random.RandomState(np.random.MT19937(stream(seed, *key)))

    def stops_early(self) -> bool:
        return not self.takes_all_rows()

    def split(self, task: Task) -> Any:
        rng: Any = task.rng
        if not task.fresh:  # the rows that were held out the first time
            rng = self.stream_of(task.seed, None)
            dense = dense_layers(task.network)
            rng.random_sample(sum(p.size for layer in dense for p in layer.params.values()))
        fraction = self.estimator.validation_fraction
        learn, validate = self._stratified(task, {"test_size": fraction, "random_state": rng})
        if len(validate) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                f"your dataset. Got validation_fraction={fraction} of {len(task.y)} rows"
            )
        return learn, validate

    def _stratified(self, task: Task, options: dict[str, Any]) -> Any:
        rows, rng = np.arange(len(task.y)), options["random_state"]
        if not isinstance(task.target, Labels):
            return train_test_split(rows, **options)
        two = len(task.target.classes) == 2
        kinds = task.target.encode(task.y).astype(bool) if two else task.y
        before = rng.get_state()
        try:
            return train_test_split(rows, stratify=kinds, **options)
        except ValueError as reason:
            if two:
                raise
            warn(f"the validation rows are not stratified: {reason}")
            rng.set_state(before)
            return train_test_split(rows, **options)

    # ---------------------------------------------------------------- learning

    def auto_batch(self, n_rows: int) -> int:
        """Return batch_size="auto", as scikit-learn has it."""
        return min(200, n_rows)

    def stopping(self, task: Task, optimizer: Any) -> dict[str, Any]:
        """Apply scikit-learn's rules at the end of every epoch, and begin with their rate."""
        mlp = self.estimator
        self.rule = Convergence() if task.fresh else copy.copy(mlp._convergence)
        if not self.patient:  # a new fit; partial_fit goes on where it was
            self.rule.waited = self.rule.cuts = 0
            self.rule.best_score = -np.inf  # as the weights that are kept are of its best epoch
        end = EpochEnd(self.rule, mlp, task.n_rows, self.patient)
        if isinstance(optimizer, QuasiNewton):
            step = SearchStep(decaying(task.network))
            return {"callbacks": [step] if task.validation is None else [step, end]}
        optimizer.learning_rate = self.rule.rate(mlp)
        return {"callbacks": [end]}

    def batches(self, task: Task, optimizer: Any) -> dict[str, Any]:
        network, loss = task.network, task.target.loss
        if isinstance(loss, LogLoss | SoftmaxLogLoss):  # the solver may have changed
            loss.cap = reported_cap(self.estimator.solver, network.dtype)
        data = task.data(partial(_targets, target=task.target, network=network))
        if task.batches is None:
            X, y, weight = data
            if mapping_of(X) is None:
                X = network.cast(X)
            elif isinstance(optimizer, QuasiNewton):
                X = np.asarray(X, network.dtype)
            data = X, y, weight
        alpha = self.estimator.alpha
        if isinstance(optimizer, QuasiNewton):
            optimizer.weight_decay = alpha / (task.n_rows * task.mean_weight)
            return {"loss": loss, "data": data}
        if task.batches is None:
            relative = None if weight is None else weight / task.mean_weight
            data = self._shuffled(X, y, relative, task.rng)
        elif task.workers is not None:
            nothing = np.broadcast_to(np.int8(0), task.n_rows)
            data.table = self._shuffled(nothing, nothing, None, task.rng)
        penalized = Penalized(loss, alpha / task.mean_weight, network, optimizer)
        penalized.settle(self.batch_size(task.n_rows))  # or the optimizer would prepare twice
        return {"loss": penalized, "data": data, "shuffle": False}  # they shuffle themselves

    def _shuffled(self, X: Any, y: np.ndarray, weight: Any, rng: Any) -> MiniBatches:
        size = int(self.batch_size(len(y)))
        if size > len(y):
            warn(
                f"batch_size={size} is larger than the sample size {len(y)}. It is going to be "
                "clipped",
            )
        order = rng if self.estimator.shuffle else None
        return MiniBatches(X, y, weight, size, order, lonely=not self.estimator.batch_norm)

    def attributes(self, task: Task, history: History) -> dict[str, Any]:
        fitted = super().attributes(task, history)
        rows, losses = fitted["history_"].rows, fitted["loss_curve_"]
        scores = None
        if len(history) > 0 and "validation_score" in history.rows[-1]:
            scores = [row["validation_score"] for row in rows if "validation_score" in row]
        return fitted | {
            "loss_": losses[-1] if losses else np.nan,
            "best_loss_": min(losses, default=np.nan) if scores is None else None,
            "validation_scores_": scores,
            "best_validation_score_": None if scores is None else self.rule.best_score,
            "n_iter_": len(history),
            "t_": self.rule.t,
            "n_layers_": len(self.sizes()) + 2,
            "n_outputs_": task.network.output_shape[0],
            "out_activation_": getattr(task.target.loss, "out_activation", "softmax"),
            "_convergence": self.rule,
        }

    def score(self, target: Target, y: np.ndarray, raw: np.ndarray, weight: Any) -> float:
        """Score outputs that are not finite as NaN."""
        return super().score(target, y, raw, weight) if np.isfinite(raw).all() else np.nan

    def finish(self, task: Task, optimizer: Any, history: History) -> None:
        """Give an epoch that diverged its row, of NaN; refuse the fit if it was the first."""
        if history.stopped.startswith("diverged"):
            if len(history) == 0:
                raise ValueError(
                    "Solver produced non-finite parameter weights. The input data may contain "
                    f"large values and need to be preprocessed. Training {history.stopped}"
                )
            row = {"epoch": len(history) + 1, "loss": np.nan}
            validated = task.validation is not None
            history.rows.append(row | {"validation_score": np.nan} if validated else row)
        if isinstance(optimizer, Optimizer):
            optimizer.weight_decay = 0.0

    def warn(self, optimizer: Any, history: History) -> None:
        if isinstance(optimizer, QuasiNewton):
            unfinished = not optimizer.converged
            what = f"lbfgs: not converged after {len(history)} iterations"
        else:
            unfinished = len(history) == self.epochs
            what = (
                f"Stochastic Optimizer: Maximum iterations ({self.epochs}) reached and the "
                "optimization hasn't converged yet."
            )
        if unfinished and not history.stopped and not self.patient:
            warn(what, ConvergenceWarning)

    def log_proba(self, target: Any, raw: np.ndarray) -> Any:
        """As scikit-learn has it to the last digit, but the exact one where p is 0."""
        p, log_p = target.proba(raw), target.log_proba(raw)
        return list(map(_log, p, log_p)) if isinstance(p, list) else _log(p, log_p)


def dense_layers(network: Any) -> list[Dense]:
    """The layers with the coefficients; those inside an activation are not among them."""
    return [layer for layer in network if isinstance(layer, Dense)]


def _as_layer(activation: Any) -> Layer:
    """Make a new layer of a name, a class or an instance."""
    if isinstance(activation, str):
        return ACTIVATIONS[activation]()
    return activation() if isinstance(activation, type) else clone(activation)


def _targets(y: np.ndarray, target: Target, network: Layer) -> np.ndarray:
    """Return y as the loss wants it, checked once for all epochs."""
    y, loss = target.encode(y), target.loss
    if not isinstance(loss, Canonical):
        return y
    like = np.empty((len(y), *network.output_shape), network.dtype)
    y = loss.prepare_targets(like, y)
    loss.check_targets(np.isfinite(y), y, "finite")
    return y


def _log(p: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    return np.log(p, where=p > 0, out=log_p)
