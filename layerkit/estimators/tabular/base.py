"""What the estimators for tables share: members, and what they predict together."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import accuracy_score, get_scorer, r2_score
from sklearn.utils import Tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from layerkit.distributed.collections import computed
from layerkit.estimators.callbacks import (
    CallbackSupport,
    MemberHooks,
    own_callbacks,
    set_callbacks,
    with_callbacks,
)
from layerkit.estimators.doc_links import with_page
from layerkit.estimators.preparing import stream
from layerkit.estimators.rules import TABULAR
from layerkit.estimators.tabular.learning import (
    Member,
    Rows,
    as_input,
    learn_member,
    raw_outputs,
)
from layerkit.estimators.tabular.networks import network_for, optimizer_for
from layerkit.estimators.tabular.partitioned import prepare_partitions
from layerkit.estimators.tabular.preparing import Task, prepare
from layerkit.estimators.tabular.scaled import Seen
from layerkit.estimators.tabular.scores import NegativeLoss, ScorerOfRaw
from layerkit.estimators.targets import Target
from layerkit.kernels import for_work
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.other_libraries import OF_ESTIMATORS
from layerkit.parameters import Parameterized, if_class, told_by_habits
from layerkit.seeds import with_plain_seed, with_seed
from layerkit.sequences import is_collection, refuse_misread
from layerkit.training import History, TrainingState

Trained = list[tuple[Layer, History]]
"""A network and its record for each member."""


class Printing:
    """A callback of `train` that prints ten lines for a member."""

    def __init__(self, member: int, members: int) -> None:
        self.which = f"member {member}/{members}"

    def __call__(self, state: TrainingState) -> None:
        """Print a line after a tenth of the epochs."""
        if state.epoch % max(state.epochs // 10, 1) == 0 or state.epoch == state.epochs:
            row = state.history.rows[-1]
            line = f"{self.which}, epoch {state.epoch}/{state.epochs}: loss {row['loss']:.4g}"
            score = row.get("validation_score")
            print(line if score is None else f"{line}, held-out score {score:.4g}")


class CollectionScore:
    """A score that takes Dask collections too; comes before scikit-learn's own."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of predicted classes, or R² of predicted numbers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            With the columns of `fit`. Of a Dask collection only predictions come to the client.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their true labels or numbers.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1.
        """
        if not is_collection(X):
            refuse_misread(y, "y")
            refuse_misread(sample_weight, "sample_weight")
            return super().score(X, y, sample_weight)  # type: ignore[misc]
        y_pred, y, sample_weight = computed(self.predict(X), y, sample_weight)  # type: ignore[attr-defined]
        score = accuracy_score if is_classifier(self) else r2_score
        return float(score(y, y_pred, sample_weight=sample_weight))


@with_page
@dataclass(eq=False, repr=False)
class TabularEstimator(CallbackSupport, Parameterized, BaseEstimator):
    """What classifier and regressor share: parameters, members, how they learn."""

    habits = OF_ESTIMATORS | {
        **dict.fromkeys(("lr", "learning_rate_init"), "write learning_rate, in the constructor"),
        **dict.fromkeys(("n_estimators", "n_members"), "write members, in the constructor"),
        **dict.fromkeys(
            ("layers", "hidden_layers", "hidden_sizes"),
            "write hidden_layer_sizes=(256, 256), in the constructor",
        ),
        "dropout_rate": "write dropout, in the constructor",
        "alpha": "write weight_decay, in the constructor",
        "optimizer": "it learns by AdamW: write learning_rate and weight_decay",
        "scoring": "write monitor, in the constructor",
        **dict.fromkeys(
            ("patience", "n_iter_no_change", "early_stopping"),
            "each member trains for max_iter epochs and keeps the best of them",
        ),
        "validation_split": "write validation_fraction, in the constructor",
    }
    __repr__ = BaseEstimator.__repr__

    _: KW_ONLY
    members: int = 4
    max_iter: int = 80
    hidden_layer_sizes: Sequence[int] = (256, 256, 256)
    embedding: str = "periodic"
    max_onehot: int = 9
    target_means: bool = True
    dropout: float = 0.15
    learning_rate: float | str = "auto"
    weight_decay: float = 0.02
    batch_size: int = 256
    monitor: Any = None
    validation_fraction: float = 0.2
    cv: Any = None
    refit: bool = False
    random_state: Any = None
    n_jobs: int | None = None
    verbose: bool = False

    default_rate: ClassVar[float]
    smooth: ClassVar[bool]
    set_callbacks = set_callbacks

    @classmethod
    def single(cls, **params: Any) -> Self:
        """Return the estimator with one member: 144 epochs, the default has 320 in all.

        Parameters
        ----------
        **params : object
            Further parameters.

        Returns
        -------
        estimator : TabularClassifier or TabularRegressor
            Not fitted.
        """
        return cls(**{"members": 1, "max_iter": 144} | params)

    @classmethod
    def quick(cls, **params: Any) -> Self:
        """Return the estimator for a quick look: one small member, few epochs.

        Parameters
        ----------
        **params : object
            Further parameters.

        Returns
        -------
        estimator : TabularClassifier or TabularRegressor
            Not fitted.
        """
        small: dict[str, Any] = {"members": 1, "max_iter": 48, "hidden_layer_sizes": (128, 128)}
        return cls(**small | params)

    # ---------------------------------------------------------------- learning

    @told_by_habits
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None
    ) -> Self:
        """Learn from a table.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Numbers, categories, dates; with missing values. A Dask DataFrame or array is learned
            from where its partitions lie: see Notes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or numbers.
        sample_weight : array-like of shape (n_samples,), optional
            Not negative. A weight of 2 counts as the row twice, 0 as no row.
        X_val, y_val : optional
            Rows to hold out in place of a part of X.

        Returns
        -------
        self : object
            The estimator, having learned.

        Raises
        ------
        ValueError
            If a parameter is out of range or the data do not fit; it says which, and what came.
        TypeError
            If a value in X is neither a number nor text nor a time; if X is a Dask collection and
            y is not, or the other way round.

        Notes
        -----
        Of Dask collections X, y and sample_weight are cut into the same partitions, which the
        workers of the client that was made last read, or of `layerkit.distributed.data_parallel`,
        which also sets how often they average. What the encoder knows of the columns is found in
        one pass over the partitions, by summaries that are merged on the workers: counts of
        categories, and of numbers counts of distinct values while a column has at most 4,096 of
        them, so that it is the encoder of a table in memory. The quartiles of columns with more are
        those of 4,096 points: with P partitions their ranks are right to (2 + log8 P) / 8,192 of
        the rows. Labels come to the client, as small integers, which holds out the rows that it
        would in memory; predictions for these rows come after every epoch, and some 10,000 rows
        choose initial values. Members learn one after another, each on all workers; ``n_jobs`` has
        no effect. X_val and y_val may be collections too, or in memory.
        """
        self._check()
        given = X, y, sample_weight, X_val, y_val
        with for_work(0):  # there is nothing to compute yet
            task = (prepare_partitions if is_collection(X) else prepare)(self, *given)
        return self._learn(task)

    @with_callbacks
    def _learn(self, task: Task) -> Self:
        """Train the members, and settle how they predict together."""
        learning, held_out = task.rows(task.learning), task.rows(task.held_out)
        members = self._members(task, learning)
        hooks = MemberHooks(self, len(members) * (2 if self.refit else 1), task.given)
        trained: Trained = []

        def fitted_now() -> dict[str, Any]:
            return self._attributes(task, members[: len(trained)], trained, held_out)

        results = self._train(members, learning, held_out)
        for _ in members:
            with hooks.member(fitted_now):
                trained.append(next(results))
        attributes = fitted_now()
        if self.refit:
            attributes |= {"networks_": self._refitted(task, attributes, hooks)}
        hooks.close(attributes)
        for name in ("feature_names_in_", *attributes):
            self.__dict__.pop(name, None)
        self.__dict__.update(attributes)
        return self

    def _refitted(self, task: Task, found: dict[str, Any], hooks: MemberHooks) -> list[Layer]:
        """Train the members that are kept anew, on all rows, for as long as was best."""
        rows = task.rows(task.whole)
        members = self._members(task, rows)
        for member, epoch in zip(members, found["best_iter_"], strict=True):
            member.stop_at = epoch
        results, networks = self._train(members, rows, None), []
        for _ in members:
            with hooks.member():
                networks.append(next(results)[0])
        return [networks[i] for i in found["kept_"]]

    def _members(self, task: Task, rows: Rows) -> list[Member]:
        """Return how the members learn, which the rows may say something about."""
        target, printing = task.target, self.verbose
        return [
            Member(
                network=network_for(self, task.encoder, target.output_shape, self.smooth),
                loss=copy.deepcopy(target.loss),
                score=self._score(task),
                optimizer=optimizer_for(self, self.default_rate),
                epochs=self.max_iter,
                batch_size=self.batch_size,
                seed=stream(task.seed, 2, i),
                callbacks=[
                    *own_callbacks(self),
                    *([Printing(i + 1, self.members)] if printing else []),
                ],
            )
            for i in range(self.members)
        ]

    def _score(self, task: Task) -> Any:
        """Return what chooses the best epoch, a function of targets, raw outputs and weights."""
        if self.monitor is None:
            return NegativeLoss(self._judging_loss(task.target))
        return ScorerOfRaw(get_scorer(self.monitor), task.target, task.held_out_y)

    def _train(self, members: list[Member], rows: Rows, held_out: Rows | None) -> Iterator[Any]:
        """Train members; what becomes of them comes one by one, in their order."""
        if rows.workers is not None:
            return (learn_member(member, rows, held_out) for member in members)
        learn = delayed(learn_member)
        parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
        return iter(parallel(learn(member, rows, held_out) for member in members))

    def _attributes(
        self, task: Task, members: list[Member], trained: Trained, held_out: Rows
    ) -> dict[str, Any]:
        """Return the fitted attributes that these members make."""
        networks, histories = map(list, zip(*trained, strict=True))
        encoder, chosen_by = task.encoder, held_out if task.apart else None
        found = self._combine(task.target, members, networks, chosen_by)
        names = ("n_features_in_", "feature_names_in_")
        return found | {
            **{name: getattr(encoder, name) for name in names if hasattr(encoder, name)},
            "encoder_": encoder,
            "networks_": [networks[i] for i in found["kept_"]],
            "histories_": histories,
            "best_iter_": [history.best_epoch or len(history) for history in histories],
            "n_iter_": max(map(len, histories)),
            "_target": task.target,
            "_seed": task.seed,
        }

    def _raw(self, X: Any) -> list[np.ndarray]:
        """Return the raw outputs of every member."""
        check_is_fitted(self, "networks_")
        features = as_input(self.encoder_.transform(X))
        return [raw_outputs(network, features) for network in self.networks_]

    def _check(self) -> None:
        """Refuse constructor parameters that are out of range."""
        for name, (ok, expected) in TABULAR.items():
            if hasattr(self, name):
                value = getattr(self, name)
                if not ok(value):
                    raise ValueError(
                        f"{type(self).__name__}: {name} must be {expected}, "
                        f"got {value!r}{if_class(value)}"
                    )

    # ---------------------------------------------------------------- what a kind of y says

    def _check_y(self, y: Any) -> np.ndarray:
        """Return y as an array."""
        raise NotImplementedError

    def _target_of(self, y: np.ndarray) -> Target:
        """Return what y holds."""
        raise NotImplementedError

    def _weighted(self, target: Target, y: np.ndarray, weight: Any) -> Any:
        """Return the weights of rows, those of their classes included."""
        return weight

    def _bind(self, target: Target, seen: Seen | None) -> None:
        """Settle the loss and the shape of the output; of numbers it was seen where they lie."""
        raise NotImplementedError

    def _judging_loss(self, target: Target) -> Loss:
        """Return the loss that chooses the best epoch."""
        return copy.deepcopy(target.loss)

    def _combine(
        self, target: Target, members: list[Member], networks: list[Any], held_out: Rows | None
    ) -> dict[str, Any]:
        """Return fitted attributes that say how the members' outputs become predictions."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return with_plain_seed(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(with_seed(state))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags
