"""What the estimators for tables share: reading the table, members, what they predict together."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from layerkit.estimators.doc_links import WithPage
from layerkit.estimators.preparing import stream
from layerkit.estimators.rules import TABULAR
from layerkit.estimators.tabular.encoder import TableEncoder
from layerkit.estimators.tabular.learning import Member, Rows, learn_member, raw_outputs
from layerkit.estimators.tabular.networks import network_for, optimizer_for
from layerkit.estimators.targets import Target
from layerkit.losses import Loss
from layerkit.parameters import if_class
from layerkit.seeds import as_seed_sequence, with_plain_seed, with_seed
from layerkit.training import TrainingState

# With fewer rows than these all are learned from, and held out too.
_FEWEST_TO_SPLIT = 10


class NegativeLoss:
    """A loss as a score: greater is better."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss

    def __call__(self, y_true: np.ndarray, raw: np.ndarray, weight: Any) -> float:
        """Return minus the loss."""
        return -self.loss.forward(raw, y_true, weight)


class Printing:
    """A callback of `train` that prints ten lines for a member."""

    def __init__(self, member: int, members: int) -> None:
        self.which = f"member {member}/{members}"

    def __call__(self, state: TrainingState) -> None:
        """Print a line after a tenth of the epochs."""
        if state.epoch % max(state.epochs // 10, 1) == 0 or state.epoch == state.epochs:
            row = state.history.rows[-1]
            held = f", held out {-row['validation_score']:.4g}" * ("validation_score" in row)
            print(f"{self.which}, epoch {state.epoch}/{state.epochs}: loss {row['loss']:.4g}{held}")


class TabularEstimator(WithPage, BaseEstimator):
    """What classifier and regressor share: reading the table, members, their average."""

    default_rate: ClassVar[float]
    smooth: ClassVar[bool]

    members: int
    max_iter: int
    batch_size: int
    max_onehot: int
    validation_fraction: float
    cv: Any
    refit: bool
    random_state: Any
    n_jobs: int | None
    verbose: bool

    encoder_: TableEncoder
    networks_: list[Any]
    _target: Any

    @classmethod
    def single(cls, **params: Any) -> Self:
        """Return the estimator with one member: 192 epochs, the default has 416 in all.

        Parameters
        ----------
        **params : object
            Further parameters.

        Returns
        -------
        estimator : TabularClassifier or TabularRegressor
            Not fitted.
        """
        return cls(**{"members": 1, "max_iter": 192} | params)

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
        small = {"members": 1, "max_iter": 48, "hidden_layer_sizes": (128, 128)}
        return cls(**small | params)

    # ---------------------------------------------------------------- learning

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None
    ) -> Self:
        """Learn from a table.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            Numbers, categories, dates; with missing values.
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
            If a value in X is neither a number nor text nor a time.
        """
        self._check()
        encoder = TableEncoder(max_onehot=self.max_onehot, clip=None)
        names, values = encoder._read(X, reset=True)
        validate_data(self, X, y, skip_check_array=True)
        y = self._check_y(y)
        check_consistent_length(X, y)
        weight = None
        if sample_weight is not None:
            rows = np.empty((len(y), 1))
            weight = _check_sample_weight(
                sample_weight, rows, dtype=np.float64, ensure_non_negative=True
            )
        if (X_val is None) != (y_val is None):
            missing = "X_val" if X_val is None else "y_val"
            raise ValueError(f"X_val and y_val belong together, {missing} is None")
        target = self._target_of(y)
        weight = self._weighted(target, y, weight)
        used = np.arange(len(y)) if weight is None else np.flatnonzero(weight)
        if not len(used):
            raise ValueError("sample_weight times class_weight is zero for all rows")
        seed = as_seed_sequence(self.random_state)
        learn, held = (used, used) if X_val is not None else self._split(X, y, used, seed)
        encoder._learn(names, [v[learn] for v in values])
        if not encoder.kinds_:
            raise ValueError(
                f"no column of X tells the {len(learn)} sample(s) to learn from apart: in each all "
                "values are the same, or categories that occur once"
            )
        self._bind(target, y[learn])

        def rows_at(rows: np.ndarray) -> Rows:
            features = encoder._encode([v[rows] for v in values])
            part = None if weight is None else weight[rows]
            return self._rows(target, features, y[rows], part)

        if X_val is not None:
            check_consistent_length(X_val, y_val)
            held_out = self._rows(target, encoder.transform(X_val), self._check_y(y_val), None)
        else:
            held_out = rows_at(held)
        members = self._members(encoder, target, seed, rows_at(learn))
        trained = self._train(members, rows_at(learn), held_out)
        networks = [network for network, _ in trained]
        chosen_by = None if X_val is None and len(held) == len(used) else held_out
        found = self._combine(target, members, networks, chosen_by)
        histories = [history for _, history in trained]
        best = [history.best_epoch or len(history) for history in histories]
        if self.refit:
            again = self._members(encoder, target, seed, rows_at(used))
            for member, epoch in zip(again, best, strict=True):
                member.stop_at = epoch
            networks = [network for network, _ in self._train(again, rows_at(used), None)]
        self.__dict__.update(found)
        self.networks_ = [networks[i] for i in found["kept_"]]
        self.histories_, self.best_iter_ = histories, best
        self.n_iter_ = max(map(len, histories))
        self.encoder_, self._target, self._seed = encoder, target, seed
        return self

    def _split(self, X: Any, y: np.ndarray, used: np.ndarray, seed: Any) -> Any:
        """Return rows to learn from and rows to hold out, among those that have a weight."""
        if self.cv is not None:
            splits = self.cv.split(X, y) if hasattr(self.cv, "split") else self.cv
            parts = [np.arange(len(y))[part] for part in next(iter(splits))]
            return [np.intersect1d(part, used) for part in parts]
        if len(used) < _FEWEST_TO_SPLIT:
            return used, used
        state = int(stream(seed, 1).generate_state(1)[0])
        how = {"test_size": self.validation_fraction, "random_state": state}
        labels = y[used] if is_classifier(self) and y.ndim == 1 else None
        if labels is not None:
            counts = np.unique(labels, return_counts=True)[1]
            n_held = int(np.ceil(self.validation_fraction * len(used)))
            if counts.min() < 2 or min(n_held, len(used) - n_held) < len(counts):
                labels = None  # too few of a class to have it in both parts
        return train_test_split(used, stratify=labels, **how)

    def _rows(self, target: Target, features: np.ndarray, y: np.ndarray, weight: Any) -> Rows:
        return Rows(features.astype(np.float32), target.encode(y), weight)

    def _members(
        self, encoder: TableEncoder, target: Target, seed: np.random.SeedSequence, rows: Rows
    ) -> list[Member]:
        """Return how the members learn, which the rows may say something about."""
        score = NegativeLoss(self._judging_loss(target))
        return [
            Member(
                network=network_for(self, encoder, target.output_shape, self.smooth),
                loss=copy.deepcopy(target.loss),
                score=score,
                optimizer=optimizer_for(self, self.default_rate),
                epochs=self.max_iter,
                batch_size=self.batch_size,
                seed=stream(seed, 2, i),
                callbacks=[Printing(i + 1, self.members)] if self.verbose else [],
            )
            for i in range(self.members)
        ]

    def _train(self, members: list[Member], rows: Rows, held_out: Rows | None) -> list[Any]:
        learn = delayed(learn_member)
        return Parallel(n_jobs=self.n_jobs)(learn(member, rows, held_out) for member in members)

    def _raw(self, X: Any) -> list[np.ndarray]:
        """Return the raw outputs of every member."""
        check_is_fitted(self, "networks_")
        features = self.encoder_.transform(X).astype(np.float32)
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

    def _bind(self, target: Target, y: np.ndarray) -> None:
        """Settle the loss and the shape of the output."""
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
