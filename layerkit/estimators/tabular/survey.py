"""The first look at partitions of a table: what its columns hold, and y."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import is_classifier

from layerkit.estimators.partitioned import slim
from layerkit.estimators.streamed import Tally, every_label, tallies_of
from layerkit.estimators.tabular.columns import Values, read_table
from layerkit.estimators.tabular.encoder import KINDS, PLURAL, TableEncoder, as_fitted
from layerkit.estimators.tabular.preparing import Table
from layerkit.estimators.targets import Labels, Target, positions
from layerkit.estimators.weights import class_weights


@dataclass(frozen=True)
class Reader:
    """Reads each partition of a table as the whole of it would be read."""

    encoder: TableEncoder
    estimator: Any
    kinds: list[str]
    labels: list[np.ndarray]
    factors: list[dict[Any, float]] | None

    def __call__(self, i: int, part: Any) -> Table:
        """Return values by column, y and weights."""
        with naming(i):
            names, values = self.encoder._read(part[0], reset=False, kinds=self.kinds)
            triples = zip(names, self.kinds, values, strict=True)
            values = [as_fitted(name, kind, v) for name, kind, v in triples]
        return Table(values, *self.targets(i, part))

    def targets(self, i: int, part: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Return y and weights, those of classes included."""
        _, y, weight = part
        with naming(i):
            y = self.estimator._check_y(y)
        if self.factors is not None:
            columns = y.reshape(len(y), -1).T
            for spec, labels, column in zip(self.factors, self.labels, columns, strict=True):
                weight = class_weights(spec, [column], [labels], weight)
        return y, weight


def surveyed(
    estimator: Any, encoder: TableEncoder, names: list[str], raw: Any
) -> tuple[Reader, Target]:
    """Find out what the columns hold, and y; the encoder learns the zones of times."""
    classes, plain = is_classifier(estimator), slim(estimator)
    found = raw.each(partial(_look, encoder, plain, classes))
    looks = [look for look in found if look is not None]
    kinds, zones, firsts, tallies = zip(*looks, strict=True)
    for zone in reversed(zones):
        encoder.zones_ |= zone
    for y in firsts:
        if y.shape[1:] != firsts[0].shape[1:]:
            raise ValueError(
                f"y must have as many columns in all partitions, got rows of shape {y.shape[1:]} "
                f"and {firsts[0].shape[1:]}"
            )
    by_column = zip(names, zip(*kinds, strict=True), strict=True)
    reader = Reader(encoder, plain, [_kind(name, seen) for name, seen in by_column], [], None)
    if not classes:
        return reader, estimator._target_of(firsts[0])
    whole = [_total(same) for same in zip(*tallies, strict=True)]
    target = estimator._target_of(every_label(whole, firsts[0].ndim))
    factors = _factors(estimator.class_weight, target.labels, whole)
    return replace(reader, labels=target.labels, factors=factors), target


def _look(encoder: TableEncoder, estimator: Any, classes: bool, i: int, part: Any) -> Any:
    """Say what a partition holds in its columns, and of classes how often each occurs."""
    X, y, weight = part
    if not len(y):
        return None
    with naming(i):
        _, values, zones = read_table(encoder._checked(X, reset=False))
        y = estimator._check_y(y)
    kinds = [(KINDS[v.dtype.kind], _is_known(v)) for v in values]
    return kinds, zones, y[:1].copy(), tallies_of(y, weight) if classes else []


def _is_known(values: Values) -> bool:
    """Whether there is a value that says what the column is."""
    if values.dtype.kind == "O":
        return any(value is not None for value in values)
    return not (np.isnan(values) if values.dtype.kind == "f" else np.isnat(values)).all()


def _kind(name: str, seen: tuple[tuple[str, bool], ...]) -> str:
    """Return what a column is, of which partitions say what they hold of it."""
    kinds = {kind for kind, known in seen if known} or {seen[0][0]}
    if "category" in kinds and "date" not in kinds:  # a category may be a number
        return "category"
    if len(kinds) > 1:
        raise ValueError(
            f"column {name!r} holds {' and '.join(PLURAL[kind] for kind in sorted(kinds))}, in "
            "different partitions: they must be of one kind"
        )
    return kinds.pop()


def _total(tallies: tuple[Tally, ...]) -> Tally:
    whole = Tally()
    for tally in tallies:
        whole.add(tally)
    return whole


def _factors(class_weight: Any, labels: list[np.ndarray], tallies: list[Tally]) -> Any:
    """Return the weight of each class, of every output."""
    if class_weight is None:
        return None
    class_weights(class_weight, [known[:1] for known in labels], labels, None)  # refuses others
    factors = []
    for k, (known, tally) in enumerate(zip(labels, tallies, strict=True)):
        spec = class_weight[k] if isinstance(class_weight, list) else class_weight
        weights = class_weights(spec, [tally.labels], [known], tally.weights)
        factor = np.divide(weights, tally.weights, where=tally.weights > 0, out=weights * 0)
        factors.append(dict(zip(tally.labels.tolist(), factor.tolist(), strict=True)))
    return factors


def known_of(
    raw: Any, reader: Reader, target: Target, plain: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return what the client is told of y, and which rows have a weight.

    Of one class a row, that is its position among all; if ``plain``, y itself.
    """
    classes = target.classes if isinstance(target, Labels) else None
    parts = raw.each(partial(_told, reader, classes, plain))
    y, used = zip(*(part for part in parts if part is not None), strict=True)
    return np.concatenate(y), None if used[0] is None else np.concatenate(used)


def _told(reader: Reader, classes: Any, plain: bool, i: int, part: Any) -> Any:
    if not len(part[1]):
        return None
    y, weight = reader.targets(i, part)
    if not plain:
        small = np.uint8 if classes is None else np.min_scalar_type(len(classes))
        told = np.zeros((len(y), 1)) if classes is None else positions(classes, y)
        y = told.astype(small)
    return y, None if weight is None else weight > 0


@contextmanager
def naming(i: int) -> Iterator[None]:
    """Let errors say in which partition they are."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"partition {i}: {error}") from error
