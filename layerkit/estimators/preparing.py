"""From data to a task: what `fit` is given is checked, and rows for validation are held out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils import assert_all_finite, check_array, check_consistent_length, check_X_y
from sklearn.utils.validation import _check_sample_weight, validate_data

from layerkit.archive import ModelFileError
from layerkit.distributed.engines import workers_in_use
from layerkit.estimators.entries import check_axes, check_entries, pass_as_they_are
from layerkit.estimators.partitioned import PartitionedRows, all_held_out, held_out
from layerkit.estimators.rules import is_splitter
from layerkit.estimators.step_targets import StepClasses, StepTarget
from layerkit.estimators.streamed import StreamedRows, are_batches
from layerkit.estimators.targets import ClassTarget, Numbers, Target, as_column, class_target
from layerkit.estimators.weights import class_weights
from layerkit.layer import Layer
from layerkit.seeds import as_seed_sequence
from layerkit.sequences import (
    Sequences,
    as_sequences,
    is_collection,
    numbers,
    refuse_misread,
    step_values,
)
from layerkit.shapes import channels_first, fits
from layerkit.training import Checkpoint, History
from layerkit.training.batches import MappedRows, chunks, mapping_of
from layerkit.training.targets import as_weights


@dataclass(frozen=True)
class Task:
    """What there is to learn, checked, with the network that learns it.

    With ``batches``, X is one row of theirs and y holds all their classes. ``past`` is the record
    of the epochs behind a network that is not ``fresh``; ``rng`` is the stream that scikit-learn's
    MLP would draw from next.
    """

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    groups: np.ndarray | None
    target: Target
    seed: np.random.SeedSequence
    fresh: bool
    validation: tuple[Any, np.ndarray, np.ndarray | None] | None = None
    batches: StreamedRows | None = None
    network: Layer | Any = None
    past: History = field(default_factory=History)
    rng: np.random.RandomState | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows to learn from."""
        return len(self.y) if self.batches is None else self.batches.n_rows

    @property
    def mean_weight(self) -> float:
        """Mean weight of these rows."""
        if self.batches is not None:
            return self.batches.mean_weight
        return 1.0 if self.weight is None else float(self.weight.mean())

    @property
    def workers(self) -> Any:
        """The Dask workers that have the rows, if they do."""
        return getattr(self.batches, "workers", None)

    @property
    def given(self) -> tuple[Any, Any, Any]:
        """X, y and sample_weight as callbacks see them: of batches, the batches."""
        return (self.X, self.y, self.weight) if self.batches is None else (self.batches, None, None)

    def data(self, encode: Callable[[np.ndarray], np.ndarray]) -> Any:
        """Return what `train` takes, y encoded."""
        if self.batches is None:
            return self.X, encode(self.y), self.weight
        self.batches.encode = encode
        return self.batches

    def rows(self, rows: np.ndarray) -> Task:
        """Return the same with some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        groups = None if self.groups is None else np.asarray(self.groups)[rows]
        X = self.X[rows] if mapping_of(self.X) is None else _mapped_rows(self.X, rows)
        return replace(self, X=X, y=self.y[rows], weight=weight, groups=groups)

    def weighted(self, what: str) -> Task:
        """Return the same without rows of weight 0; ``what`` they are, should none be left."""
        if self.weight is None or self.weight.all():
            return self
        if not self.weight.any():
            raise ValueError(f"sample_weight times class_weight is zero for all {what}")
        return self.rows(np.flatnonzero(self.weight))


def prepare(
    recipe: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    fresh: bool = True,
    classes: Any = None,
    seed: np.random.SeedSequence | None = None,
    splitting: bool = False,
) -> Task:
    """Check the data, tell what y holds, leave out rows without weight, build the network.

    Parameters
    ----------
    recipe : Recipe
        How the estimator is going to learn.
    X, y, sample_weight, groups : as `fit` takes them
    fresh : bool
        Whether to build a new network or go on with the estimator's.
    classes : array-like or list of array-likes, optional
        All classes there can be, where y need not have them all.
    seed : SeedSequence, optional
        In place of the estimator's ``random_state``.
    splitting : bool
        Leave rows without weight to `hold_out`, for a splitter whose positions count all rows.
    """
    estimator = recipe.estimator
    weight: np.ndarray | None = None
    batches: StreamedRows | None = None
    if is_collection(X):
        batches = _survey_partitions(estimator, X, y, sample_weight, groups, fresh)
        X, y = batches.X, batches.y
    elif are_batches(X, y):
        batches = _survey(estimator, X, sample_weight, groups, fresh)
        X, y, groups, classes = batches.X, batches.y, None, None
    else:
        for values, name in ((y, "y"), (sample_weight, "sample_weight")):
            refuse_misread(values, name)
        X, y = validate(estimator, X, y, reset=fresh)
    if not fresh:
        check_shape(estimator, X)
    if batches is None and sample_weight is not None:
        weight = _check_sample_weight(as_weights(sample_weight), X, ensure_non_negative=True)
    if groups is not None:
        check_consistent_length(X, groups)
    target = _new_target(estimator, y, classes) if fresh else estimator._target
    _check_steps(estimator, target, y)
    if batches is None and isinstance(target, ClassTarget) and estimator.class_weight is not None:
        columns = [y] if y.ndim == 1 else list(y.T)
        weight = class_weights(estimator.class_weight, columns, target.labels, weight)
    seed = seed or (as_seed_sequence(estimator.random_state) if fresh else estimator._seed)
    past = History() if fresh else estimator.history_
    rng = recipe.stream_of(seed, None if fresh else past)
    task = Task(X, y, weight, groups, target, seed, fresh, batches=batches, past=past, rng=rng)
    task = task if splitting else task.weighted("rows")
    if fresh:
        return replace(task, network=recipe.build(task))
    recipe.check_structure()
    return replace(task, network=estimator.network_)


def _new_target(estimator: Any, y: Any, classes: Any) -> Target:
    """Tell what y holds, of rows or of steps."""
    of_steps = isinstance(y, Sequences)
    if is_classifier(estimator):
        labels = class_target(numbers(y), classes)
        return StepClasses(labels) if of_steps else labels
    return StepTarget(Numbers(y.steps)) if of_steps else Numbers(y)


def _check_steps(estimator: Any, target: Target, y: Any) -> None:
    """Refuse y of rows where steps were learned, or the other way round; and weights of steps."""
    if target.of_steps != isinstance(y, Sequences):
        one, other = ("step", "row") if target.of_steps else ("row", "step")
        raise ValueError(f"y had a target for every {one} before and has one for every {other} now")
    if target.of_steps and estimator.class_weight is not None:
        raise ValueError(
            f"class_weight={estimator.class_weight!r} weights rows, but y has a class for every "
            "step; `layerkit.training.train` takes a weight for every step"
        )


def _survey(
    estimator: Any, batches: Iterable[Any], sample_weight: Any, groups: Any, fresh: bool
) -> StreamedRows:
    """Look at all batches once, for what must be known before the first step."""
    for name, value in (("sample_weight", sample_weight), ("groups", groups)):
        if value is not None:
            raise ValueError(f"{name} is for arrays; batches are (X, y, sample_weight)")
    if estimator._recipe().takes_all_rows():
        raise ValueError("L-BFGS needs all rows at once: give X and y as arrays, not as batches")
    rows = StreamedRows(batches, partial(validate, estimator), is_classifier(estimator), fresh)
    rows.weigh(estimator.class_weight if is_classifier(estimator) else None)
    return rows


def _survey_partitions(
    estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any, fresh: bool
) -> PartitionedRows:
    """Look at all partitions once, where they lie."""
    if groups is not None:
        raise ValueError("groups are for arrays in memory, not for Dask collections")
    if estimator._recipe().takes_all_rows():
        raise ValueError(
            "L-BFGS needs all rows at once, not Dask collections: choose an optimizer that steps "
            "in batches, such as 'adam'"
        )
    given, classify = (X, y, sample_weight), is_classifier(estimator)
    workers = workers_in_use()
    rows = PartitionedRows(workers, given, estimator, validate, classify, fresh)
    rows.weigh(estimator.class_weight if classify else None)
    return rows


def validate(estimator: Any, X: Any, y: Any, reset: bool) -> tuple[Any, np.ndarray]:
    """Return X and y as scikit-learn's checks pass them, y of one column as a vector."""
    if not reset and pass_as_they_are(estimator, X, y):
        return X, y
    rows, X = X, as_sequences(X) if reset else as_fitted(estimator, X)
    if isinstance(X, Sequences):
        X = validate_sequences(estimator, X, rows, reset)
        of_steps = step_values(X, y, "y")
        if of_steps is None:
            return X, as_column(_targets(estimator, len(X), y))
        steps = as_column(_targets(estimator, len(X.steps), of_steps.steps))
        return X, of_steps.with_steps(steps)  # type: ignore[return-value]
    is_mapped = mapping_of(X) is not None  # then it is checked and converted piece by piece
    recipe = estimator._recipe()
    check_entries(y, numeric=is_regressor(estimator))
    check_axes(X, y)
    check_columns(X)
    try:
        checked, y = validate_data(
            estimator,
            X,
            y,
            reset=reset,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=is_regressor(estimator),
            ensure_all_finite=not is_mapped,
            allow_nd=recipe.allow_nd,
            dtype="numeric" if is_mapped else recipe.dtypes,
        )
    except (TypeError, ValueError) as error:
        blame_column(X, error)
        raise
    if checked.dtype.kind not in "biuf":
        blame_column(X)
    check_mapped(checked, estimator)
    return checked, as_column(y)


def check_columns(X: Any) -> None:
    """Refuse dates and spans of time, which NumPy makes integers of."""
    dtypes = [X.dtype] if hasattr(X, "dtype") else list(getattr(X, "dtypes", ()))
    wrong = [i for i, dtype in enumerate(dtypes) if getattr(dtype, "kind", "O") in "mM"]
    if wrong:
        name = f"column {list(X.columns)[wrong[0]]!r}" if hasattr(X, "columns") else "X"
        raise ValueError(
            f"X: {name} holds dates or spans of time ({dtypes[wrong[0]]}): a network learns "
            "numbers. Give the year, the day of the week or the days since a date as columns"
        )


def blame_column(X: Any, error: Exception | None = None) -> None:
    """Name the first column of a table that holds no numbers, if there is one."""
    for name in getattr(X, "columns", ()):
        try:
            np.asarray(X[name], dtype=np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"X: column {name!r} holds no numbers but {X[name].dtype}; encode it, with "
                "OneHotEncoder() in a ColumnTransformer, or with OrdinalEncoder(), whose codes "
                f"Columns([([{name!r}], Embedding(n_categories, dim)), ...]) takes"
            ) from error


def validate_sequences(estimator: Any, X: Sequences, rows: Any, reset: bool) -> Sequences:
    """Return rows of unequal length as scikit-learn's checks pass their steps.

    ``rows`` is what they were made of: of DataFrames, the names of columns are checked as well.
    """
    if not estimator._recipe().allow_nd:
        raise ValueError(f"{type(estimator).__name__} takes a table, got {X}")
    of_ids = X.steps.ndim == 1
    if not reset or of_ids:  # the width is compared with the network's
        steps = check_array(X.steps, ensure_2d=False)
    else:
        steps = validate_data(estimator, X.steps, reset=True, dtype="numeric")
    if of_ids and reset:
        estimator.n_features_in_ = 1
    first = None if isinstance(rows, np.ndarray | Sequences) else next(iter(rows))
    if hasattr(first, "columns") or (not reset and hasattr(estimator, "feature_names_in_")):
        named = first if hasattr(first, "columns") else steps
        validate_data(estimator, named, reset=reset, skip_check_array=True)
    return X.with_steps(steps)


def _targets(estimator: Any, n: int, y: Any) -> np.ndarray:
    check_entries(y, numeric=is_regressor(estimator))
    rows = np.zeros((n, 1))
    return check_X_y(rows, y, multi_output=True, y_numeric=is_regressor(estimator))[1]


def as_fitted(estimator: Any, X: Any) -> Any:
    """Return a list of rows as `Sequences`, and an array too if a list was fitted on."""
    shape: tuple[int, ...] = np.shape(X) if hasattr(X, "dtype") else ()
    width = getattr(estimator, "n_features_in_", None)
    is_counted = len(shape) == 3 and shape[1] != width == shape[2]
    X = X if is_counted else as_sequences(X)
    if not isinstance(X, Sequences) and hasattr(estimator, "network_"):
        of_ids = estimator.network_.input_shape == (None,)
        is_counted = is_counted or (of_ids and np.ndim(X) == 2)
    return Sequences.from_array(np.asarray(X)) if is_counted else X


def check_shape(estimator: Any, X: Any) -> None:
    """Refuse samples of another shape than the network's."""
    known = estimator.network_.input_shape
    fit = X.steps.shape[1:] == known[1:] if isinstance(X, Sequences) else fits(X.shape[1:], known)
    if not fit:
        raise ValueError(
            f"X has samples of shape {X.shape[1:]}, but {type(estimator).__name__} was fitted on "
            f"samples of shape {known}{channels_first(X.shape[1:], known)}"
        )


def check_mapped(X: Any, estimator: Any) -> None:
    """Refuse numbers in a memory map that are not finite, reading it piece by piece."""
    if mapping_of(X) is not None and X.dtype.kind == "f":
        for piece in chunks(X):
            assert_all_finite(piece, estimator_name=type(estimator).__name__, input_name="X")


def hold_out(estimator: Any, task: Task, X_val: Any, y_val: Any) -> Task:
    """Return the task with validation data, if there are to be some.

    They are the user's own, the first split of a splitter, or a part of the rows.
    """
    stopping, given = estimator.early_stopping, X_val is not None or y_val is not None
    if task.groups is not None and (given or not is_splitter(stopping)):
        got = f"{'X_val and ' * given}early_stopping={stopping!r}"
        raise ValueError(
            "groups are for a splitter: set early_stopping to one, such as "
            f"GroupShuffleSplit(), and give no X_val, got {got}"
        )
    if given:
        check_pair(X_val, y_val)
        if is_collection(X_val) != is_collection(y_val):
            raise TypeError(
                "X_val and y_val must both be Dask collections or both in memory, got "
                f"{type(X_val).__name__} and {type(y_val).__name__}"
            )
        if is_collection(X_val):
            rows = _survey_partitions(estimator, X_val, y_val, None, None, fresh=False)
            return replace(task, validation=all_held_out(rows))
        with blaming_validation():
            given_rows = validate(estimator, X_val, y_val, reset=False)
        return replace(task, validation=(*given_rows, None))
    recipe = estimator._recipe()
    if not (is_splitter(stopping) or (stopping and recipe.stops_early())):
        return task
    if isinstance(task.batches, PartitionedRows):
        return held_out(task, lambda whole: _chosen(recipe, stopping, whole))
    if task.batches is not None:
        raise ValueError(
            f"early_stopping={stopping!r} cannot hold out rows of batches: give "
            "X_val and y_val, which are evaluated after every epoch"
        )
    learn, validate_on = _chosen(recipe, stopping, task)
    held = task.rows(validate_on).weighted("held-out rows")
    return replace(task.rows(learn).weighted("rows"), validation=(held.X, held.y, held.weight))


@contextmanager
def blaming_validation() -> Iterator[None]:
    """Say in errors about X and y that they are X_val and y_val."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"X_val and y_val: {error}") from error


def check_pair(X_val: Any, y_val: Any) -> None:
    """Refuse one of the two without the other."""
    if (X_val is None) != (y_val is None):
        missing = "X_val" if X_val is None else "y_val"
        raise ValueError(f"X_val and y_val belong together, {missing} is None")


def _chosen(recipe: Any, stopping: Any, task: Task) -> Any:
    """Return rows to learn from and rows to validate on."""
    if is_splitter(stopping):
        return next(iter(stopping.split(task.X, task.y, task.groups)))
    return recipe.split(task)


def stream(seed: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """One of several independent streams: 0 initial weights, 1 splitting, (2, epoch) training."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key))


def splitting_seed(seed: np.random.SeedSequence) -> int:
    """Return the number by which scikit-learn draws the rows that are held out."""
    return int(stream(seed, 1).generate_state(1)[0])


def seed_of(checkpoint: Checkpoint | None) -> np.random.SeedSequence | None:
    """Return where the randomness of an interrupted fit came from."""
    if checkpoint is None or not checkpoint.exists:
        return None
    note = checkpoint.read()["note"]
    if set(note) != {"entropy", "spawn_key"}:
        raise ModelFileError(f"{checkpoint.path}: a checkpoint of train, not of an estimator's fit")
    return np.random.SeedSequence(note["entropy"], spawn_key=note["spawn_key"])


def _mapped_rows(X: Any, rows: np.ndarray) -> MappedRows:
    return MappedRows(X.X, X.rows[rows]) if isinstance(X, MappedRows) else MappedRows(X, rows)
