"""From a task to a fitted network: shared by all estimators, with hooks for what differs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, ClassVar

import numpy as np
from sklearn.model_selection import train_test_split

from layerkit.building import widest_dtype
from layerkit.estimators.callbacks import EpochHooks, own_callbacks
from layerkit.estimators.preparing import Task, blaming_validation, splitting_seed, stream
from layerkit.estimators.rules import Rule
from layerkit.estimators.targets import ClassTarget, Labels, Target
from layerkit.fused import threads_for, work_of
from layerkit.kernels import for_work
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.training import History, train
from layerkit.training.ranks import in_use
from layerkit.training.run import put_back_on_error


@dataclass
class Recipe:
    """How an estimator makes a network and trains it, as its parameters say.

    A kind of estimator states its network, its loss and optimizer, and, for `learn`, three things:
    the batches, the stopping rule and the fitted attributes.

    Parameters
    ----------
    estimator : NetworkEstimator
    epochs : int
        At most.
    keep : bool
        Go on with the optimizer's state, and keep it for a later call.
    patient : bool
        Run all epochs, whatever happens to the loss.
    saving : mapping
        The arguments of `train` for checkpoints.
    """

    estimator: Any
    epochs: int = 1
    keep: bool = False
    patient: bool = False
    saving: Mapping[str, Any] = field(default_factory=dict)

    rules: ClassVar[dict[str, Rule]]
    # Parameters that make the network: to go on after a change of one needs a new fit.
    structure: ClassVar[tuple[str, ...]]
    # What scikit-learn's `validate_data` is told of X.
    allow_nd: ClassVar[bool] = True
    dtypes: ClassVar[Any] = "numeric"
    # The column of the history that chooses the best epoch where there is validation data.
    monitor: ClassVar[str] = "validation_loss"
    noise_stream: ClassVar[int] = 2
    # A callback of `train`, for verbose.
    print_epoch: ClassVar[Any]

    # ---------------------------------------------------------------- network

    def network(self, output_shape: tuple[int, ...]) -> Layer:
        """Return the network, not built, with an output of that shape where we choose it."""
        raise NotImplementedError

    def loss(self) -> Loss | None:
        """Return a loss of our own, or None for the one that suits y."""
        raise NotImplementedError

    def optimizer(self) -> Optimizer | LBFGS:
        """Return an optimizer of our own, without state."""
        raise NotImplementedError

    def penalize(self, optimizer: Any, n_rows: int) -> None:
        """Let an optimizer decay the weights by a penalty that is no parameter of it.

        ``n_rows`` are those of a batch.
        """

    def takes_all_rows(self) -> bool:
        """Whether a step takes all rows at once, as one of L-BFGS does."""
        return isinstance(self.optimizer(), LBFGS)

    def takes_sparse_rows(self) -> bool:
        """Whether the network begins with a layer for them, as Dense is."""
        return True

    def auto_dtype(self, dtype: np.dtype) -> Any:
        """Return dtype="auto" for X of a dtype: the smaller one that holds its values exactly.

        A long double, which no network has, is float64.
        """
        return np.float64 if dtype.itemsize > 8 else np.result_type(dtype, np.float32)

    def build(self, task: Task) -> Layer:
        """Return a new network for the data; the loss and the width of its output are settled."""
        target, loss, estimator = task.target, self.loss(), self.estimator
        if loss is not None:
            target.check_loss(loss)
            loss.check_params()
        network = self.network(target.shapes(loss)[0])
        if hasattr(estimator, "feature_names_in_"):
            network.name_features(list(estimator.feature_names_in_))
        dtype = estimator.dtype
        if dtype == "auto":
            dtype = widest_dtype(network, self.auto_dtype(task.X.dtype))
        network.build(task.X.shape[1:], stream(task.seed, 0), dtype=dtype)
        network.convert_input(task.X[:1])  # refuses sparse rows where the first layer cannot
        target.bind(loss, network.output_shape)
        return network

    # ---------------------------------------------------------------- preparing

    def check(self) -> None:
        """Refuse constructor parameters that are out of range."""
        for name, (ok, expected) in self.rules.items():
            if hasattr(self.estimator, name):
                self.estimator.check(ok(getattr(self.estimator, name)), name, expected)

    def check_structure(self) -> None:
        """Refuse to continue with a network that the parameters no longer describe."""
        for name, built_for in self.estimator._built_for.items():
            value = getattr(self.estimator, name)
            if built_for not in (_written(value), repr(value)):  # version 0.1.0 stored the repr
                raise ValueError(
                    f"{name} was {built_for} when the network was built and is "
                    f"{value!r} now: a network that goes on learning cannot change; "
                    "fit with warm_start=False builds a new one"
                )

    def stream_of(self, seed: np.random.SeedSequence, past: History | None) -> Any:
        """Return a stream of scikit-learn's kind for a new network or for what follows a past."""
        return None

    def stops_early(self) -> bool:
        """Whether early_stopping=True holds out rows."""
        return True

    def split(self, task: Task) -> Any:
        """Return rows to learn from and rows to validate on, in proportion to the classes."""
        rows, fraction = np.arange(task.X.shape[0]), self.estimator.validation_fraction
        try:
            return train_test_split(
                rows,
                test_size=fraction,
                stratify=task.y if isinstance(task.target, Labels) else None,
                random_state=splitting_seed(task.seed),
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping cannot hold out validation_fraction={fraction} of "
                f"{len(rows)} rows: {error}"
            ) from error

    # ---------------------------------------------------------------- learning

    @property
    def keeps_state(self) -> bool:
        """Whether the optimizer continues from its state, and keeps it for a later call."""
        return self.keep

    def auto_batch(self, n_rows: int) -> int:
        """Return batch_size="auto": about 32 steps an epoch, of 32 to 200 rows."""
        return min(max(n_rows // 32, 32), 200)

    def batch_size(self, n_rows: int) -> int:
        """Return the rows of a batch."""
        size = self.estimator.batch_size
        return self.auto_batch(n_rows) if isinstance(size, str) else int(size)

    def batches(self, task: Task, optimizer: Any) -> dict[str, Any]:
        """Return the arguments of `train` that say what is minimised, with which batches."""
        raise NotImplementedError

    def stopping(self, task: Task, optimizer: Any) -> dict[str, Any]:
        """Return the arguments of `train` that say when to stop; callbacks among them come first.

        Called before `batches`.
        """
        raise NotImplementedError

    def attributes(self, task: Task, history: History) -> dict[str, Any]:
        """Return the fitted attributes after the epochs of a history."""
        whole = task.past.then(history)
        best = whole.best_epoch
        structure = [name for name in self.structure if hasattr(self.estimator, name)]
        classes = {"classes_": task.target.classes} if isinstance(task.target, ClassTarget) else {}
        return classes | {
            "network_": task.network,
            "history_": whole,
            "loss_curve_": [row["loss"] for row in whole.rows],
            "n_iter_": len(whole),
            "best_iter_": len(whole) if best is None else best,
            "_target": task.target,
            "_seed": task.seed,
            "_built_for": {name: _written(getattr(self.estimator, name)) for name in structure},
        }

    def score(self, target: Target, y: np.ndarray, raw: np.ndarray, weight: Any) -> float:
        """Score raw outputs for y after an epoch."""
        return target.score_of_known(y, raw, weight)

    def finish(self, task: Task, optimizer: Any, history: History) -> None:
        """Finish the optimizer and the record."""

    def warn(self, optimizer: Any, history: History) -> None:
        """Warn the user; called two frames below the method that `fit` calls."""

    def log_proba(self, target: Any, raw: np.ndarray) -> Any:
        """Return logarithms of the class probabilities."""
        return target.log_proba(raw)


def learn(task: Task, recipe: Recipe) -> tuple[dict[str, Any], History]:
    """Train the network of a task; return fitted attributes, and the record of these epochs.

    After Ctrl-C the estimator has these attributes, of what was learned until then.
    """
    network, optimizer, estimator = task.network, _optimizer(task, recipe), recipe.estimator

    def fitted_now(history: History) -> dict[str, Any]:
        return recipe.attributes(replace(task, network=copy.deepcopy(network)), history)

    hooks = EpochHooks(estimator, recipe.epochs, task.given, fitted_now)
    stopping = recipe.stopping(task, optimizer)
    callbacks = [*stopping.pop("callbacks", []), *own_callbacks(estimator)]
    printing = [recipe.print_epoch] if estimator.verbose else []
    interrupt: Any = None
    history: Any = None
    rows = _rows_at_once(task, recipe, optimizer)
    with (
        put_back_on_error(network),
        for_work(_work(task, recipe)),
        threads_for(network, rows),
    ):
        try:
            history = train(
                network,
                optimizer=optimizer,
                epochs=recipe.epochs,
                callbacks=[*callbacks, *printing, *[hooks] * hooks.has_listeners],
                random_state=stream(task.seed, recipe.noise_stream, len(task.past)),
                communicator=task.workers or in_use.get(),
                **recipe.batches(task, optimizer),
                **stopping,
                **_validating(task, recipe),
                **recipe.saving,
            )
        except KeyboardInterrupt as error:
            interrupt, history = error, getattr(error, "history", None)
            if history is None:  # before the first step
                raise
        else:
            hooks.close()
    task.target.loss = copy.copy(task.target.loss)  # without the data of its last forward
    recipe.finish(task, optimizer, history)
    if not recipe.keeps_state and isinstance(optimizer, Optimizer):
        optimizer.reset()
    attributes = recipe.attributes(task, history) | {"optimizer_": optimizer}
    if interrupt is not None:
        vars(estimator).update(attributes)
        raise interrupt
    return attributes, history


def _optimizer(task: Task, recipe: Recipe) -> Optimizer | LBFGS:
    """Return an optimizer, with the previous state where training is continued."""
    optimizer = recipe.optimizer()
    if recipe.keeps_state and not task.fresh and isinstance(optimizer, Optimizer):
        last: Any = recipe.estimator.optimizer_
        if type(last) is type(optimizer):
            optimizer.follow(last)
    return optimizer


# The overhead of a step in Python, about 0.3 ms, as multiply-adds that take as long.
_STEP = 6e6


def _work(task: Task, recipe: Recipe) -> float:
    """Multiply-adds of a fit and what its steps cost; backward takes twice those of forward."""
    products = 3 * task.n_rows / task.X.shape[0] * work_of(task.network, task.X)
    steps = max(task.n_rows // recipe.batch_size(task.n_rows), 1)
    return recipe.epochs * (products + steps * _STEP)


def _rows_at_once(task: Task, recipe: Recipe, optimizer: Any) -> float:
    """Rows of a batch, as far as it is known."""
    if task.batches is not None:
        return inf
    whole = isinstance(optimizer, LBFGS)
    return task.n_rows if whole else min(task.n_rows, recipe.batch_size(task.n_rows))


def _validating(task: Task, recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of `train` that concern validation."""
    if task.validation is None:
        return {}
    X, y, sample_weight = task.validation
    with blaming_validation():
        encoded = task.target.encode(y)
    return {
        "validation_data": (X, encoded, sample_weight),
        "score": lambda _, raw, weight: recipe.score(task.target, y, raw, weight),
        "monitor": recipe.monitor,
    }


def _written(value: Any) -> str:
    """Write a parameter such that 5, (5,) and [np.int64(5)], which mean the same, look the same."""
    if isinstance(value, list | tuple | range | np.ndarray):
        items = [_written(item) for item in value]
        return items[0] if len(items) == 1 else f"[{', '.join(items)}]"
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        value = np.dtype(value).name
    if isinstance(value, np.generic):
        value = value.item()
    whole = isinstance(value, float) and value.is_integer()
    return repr(int(value) if whole else value)
