"""`fit` of the tabular estimators on Dask collections: from what it is given to a task.

The client is told what columns hold, how often each label occurs and what `Summary` says of them;
labels come to it as small integers. Then every partition becomes features and targets where it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from layerkit.distributed.engines import workers_in_use
from layerkit.estimators.partitioned import first_row
from layerkit.estimators.preparing import check_pair
from layerkit.estimators.tabular.encoded import EncodedTable, HeldOutTable, TableRows
from layerkit.estimators.tabular.encoder import TableEncoder
from layerkit.estimators.tabular.learning import Rows, as_input
from layerkit.estimators.tabular.preparing import Table, checked, encoder_for, numbers_for, split
from layerkit.estimators.tabular.survey import known_of, surveyed
from layerkit.estimators.targets import Target
from layerkit.seeds import as_seed_sequence
from layerkit.sequences import is_collection


@dataclass(frozen=True)
class PartitionedTask:
    """What there is to learn, in the place of `layerkit.estimators.tabular.preparing.Task`.

    ``whole`` makes the rows to learn from once nothing is held out any more.
    """

    encoder: TableEncoder
    target: Target
    seed: np.random.SeedSequence
    learning: TableRows
    held_out: Any
    held_out_y: np.ndarray | None
    apart: bool
    given: tuple[Any, Any, Any]
    whole: Callable[[], TableRows] | None

    def rows(self, part: Any) -> Any:
        """Return rows as the networks take them."""
        return part() if callable(part) else part


def prepare_partitions(
    estimator: Any, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any
) -> PartitionedTask:
    """Do what `layerkit.estimators.tabular.preparing.prepare` does, where the rows lie."""
    from layerkit.distributed.partitions import Partitions

    check_pair(X_val, y_val)
    if is_collection(X_val) != is_collection(y_val):
        raise TypeError(
            "X_val and y_val must both be Dask collections or both in memory, got "
            f"{type(X_val).__name__} and {type(y_val).__name__}"
        )
    workers, encoder = workers_in_use(), encoder_for(estimator)
    raw = Partitions(workers.client, X, y, sample_weight)
    names = encoder._read(first_row(raw)[0], reset=True)[0]
    reader, target = surveyed(estimator, encoder, names, raw)
    seed = as_seed_sequence(estimator.random_state)
    plain = estimator.cv is not None or estimator.monitor is not None
    known, used = known_of(raw, reader, target, plain)
    learn = held = whole = Table([], known, used).used
    if X_val is None:
        nothing = np.broadcast_to(np.int8(0), (len(known), 1))
        learn, held = split(estimator, nothing, known, Table([], known, used), seed)
    table = EncodedTable(workers, raw, reader, target, numbers_for(estimator, target))
    table.learn_columns(estimator, names, learn)
    learning = table.rows(learn)
    task = PartitionedTask(
        encoder=encoder,
        target=target,
        seed=seed,
        learning=learning,
        held_out=None,
        held_out_y=None,
        apart=X_val is not None or learn is not held,
        given=(X, y, sample_weight),
        whole=partial(table.rows, whole) if estimator.refit else None,
    )
    if X_val is None:
        return replace(task, held_out=HeldOutTable(learning, held), held_out_y=known[held])
    if not is_collection(X_val):
        y_val, _ = checked(estimator, X_val, y_val)
        features = as_input(encoder._encode(encoder._read(X_val, reset=False)[1]))
        return replace(task, held_out=Rows(features, target.encode(y_val), None), held_out_y=y_val)
    others = Partitions(workers.client, X_val, y_val, None)
    unweighted = replace(reader, factors=None)
    known, _ = known_of(others, unweighted, target, True)
    rows = EncodedTable(workers, others, unweighted, target, None).rows(np.arange(len(known)))
    return replace(task, held_out=HeldOutTable(rows, np.arange(len(known))), held_out_y=known)
