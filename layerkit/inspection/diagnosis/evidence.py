"""What the verdicts are based on; costly measurements are made when they are first needed."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis.explained import Deviance, Squares, measure_of
from layerkit.inspection.diagnosis.statistics import LayerStatistics, Snapshot, measure
from layerkit.inspection.diagnosis.subject import Rows, Subject
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.optimizers import Adam, Optimizer
from layerkit.sequences import Sequences
from layerkit.training import History

REHEARSED_STEPS = 60
PROBED_ROWS = 600
ROUNDING = 1e-6  # deviations
LONGEST = 3000  # steps of a trial
ENOUGH = 0.05  # of the loss of the best constant: a trial that comes so far need not go on
BETTER = 0.75  # times the loss without what may help
CHANCE = 3.0  # standard errors


Change = Callable[[Layer, Any], Layer | None]
"""What is done to copies of network and optimizer; it may return another network."""


class Trial(NamedTuple):
    """Losses of rows that were held out of a training, and the steps that it had."""

    losses: np.ndarray
    steps: int

    @property
    def loss(self) -> float:
        """Their mean."""
        return float(self.losses.mean())

    def better_than(self, other: Trial, errors: float = 1.0) -> bool:
        """Whether it is, as far as so many standard errors tell."""
        if not math.isfinite(other.loss):
            return math.isfinite(self.loss)
        gain = other.losses - self.losses
        return bool(gain.mean() > errors * gain.std() / math.sqrt(len(gain)))

    def clearly_better(self, other: Trial) -> bool:
        """Whether it beats the other by a quarter, and by more than chance may give a few rows."""
        return self.loss < BETTER * other.loss and self.better_than(other, CHANCE)


class Verdict(NamedTuple):
    """One finding.

    Attributes
    ----------
    name : str
        Such as "vanishing gradient".
    layer : str
        Where: path and repr of a layer, or "inputs", "targets", "optimizer", "loss" or "network".
    severity : {"critical", "warning"}
        Whether training cannot work this way, or could work better.
    evidence, remedy : str
        What was measured, with numbers; and what to do about it.
    follows_from : str
        Name of the verdict that explains this one; empty for a root cause.
    """

    name: str
    layer: str
    severity: str
    evidence: str
    remedy: str
    follows_from: str = ""

    def may_follow_from(self, cause: Verdict) -> bool:
        """Whether a cause that was found before this one may have brought it about."""
        return True


class Acquired(Verdict):
    """A fault that, as far as is known, a layer did not have before training."""


class InitialCause(Verdict):
    """A fault of the untrained network that lets training harm a layer."""


class RedrawnCause(InitialCause):
    """One that a network drawn anew has as well: training did not bring it about."""


class TrainingCause(Verdict):
    """A fault of the training that harms a layer."""


@dataclass
class Course:
    """How training went, as far as it is known.

    ``losses`` are those of every step, or of every epoch where only a history is left; ``updates``,
    by the path of each layer, the norm of its update over that of its weights, for every step that
    was watched; ``steps`` counts them all, 0 if nobody did.
    """

    losses: np.ndarray = field(default_factory=lambda: np.empty(0))
    history: History | None = None
    updates: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0

    @property
    def stopped(self) -> str:
        """Why training ended early."""
        return "" if self.history is None else self.history.stopped

    @property
    def diverged(self) -> bool:
        """Whether training ended with numbers that are not finite."""
        return self.stopped.startswith("diverged")

    def column(self, name: str) -> np.ndarray:
        """One column of the history, empty if there is none."""
        known = self.history is not None and name in self.history.columns
        return self.history[name] if known else np.empty(0)  # type: ignore[index]


class Evidence:
    """A subject with what was measured of it.

    ``beginning`` is the network before its first step, if a copy was kept; ``course`` is None if
    nothing is known of a training.
    """

    def __init__(
        self, subject: Subject, beginning: Layer | None = None, course: Course | None = None
    ) -> None:
        self.subject = subject
        self.loss = subject.loss
        self.network = subject.network
        self.bad_inputs, self.bad_targets, self.rows = _without_bad(subject.rows)
        self.validation = subject.validation and _without_bad(subject.validation)[2]
        if self.validation and self.validation.weight is None:
            self.validation.weight = _weights_of_classes(self.loss, self.rows, self.validation.y)
        untouched = subject.fresh or looks_fresh(self.network)
        self.trained = course is not None or not untouched
        self.course = course or Course()
        self.beginning = beginning if self.trained else self.network
        self.batch_size = subject.batch_size or min(128, max(len(self.rows) // 4, 32))
        size = max(self.batch_size, 32)
        self.now = measure(self.network, self.loss, self.rows, size)
        self.start: Snapshot | None = None if self.trained else self.now
        if self.trained and beginning is not None:
            self.start = measure(beginning, self.loss, self.rows, size)
        self._rehearsals: dict[float, tuple[np.ndarray, str]] = {}
        self._trials: dict[Any, Trial] = {}

    @property
    def first(self) -> Snapshot:
        """The earliest snapshot."""
        return self.start or self.now

    @property
    def optimizer(self) -> Optimizer | None:
        """The optimizer, if it is one that steps in batches."""
        optimizer = self.subject.optimizer
        return optimizer if isinstance(optimizer, Optimizer) else None

    # ---------------------------------------------------------------- layers

    def learning(self, snapshot: Snapshot) -> list[LayerStatistics]:
        """Layers with parameters that are trained, in forward order."""
        return [s for s in snapshot.recorder.layers if s.has_params]

    def at_start(self, path: str) -> LayerStatistics | None:
        """A layer as it was before the first step, where that is known."""
        layers = self.start.recorder.layers if self.start else []
        return next((s for s in layers if s.path == path), None)

    def where(self, path: str) -> str:
        """Path and repr of a layer."""
        layer = dict(self.network.walk())[path]
        return f"{path} {layer.label}".strip()

    # ---------------------------------------------------------------- the data

    @functools.cached_property
    def constant(self) -> float:
        """Loss of the best constant prediction."""
        return probes.best_constant(self.loss, self.rows, self.network.output_shape)

    @functools.cached_property
    def validation_loss(self) -> float:
        """Of the network as it is now; NaN without validation data."""
        if self.validation is None:
            return float("nan")
        return self.loss.forward(
            self.network.infer(self.validation.X), self.validation.y, self.validation.weight
        )

    @functools.cached_property
    def zero(self) -> float:
        """Loss of predicting zeros: of equal probabilities, for logits."""
        y_pred = np.zeros((len(self.rows), *self.network.output_shape))
        return self.loss.forward(y_pred, self.rows.y, self.rows.weight)

    @functools.cached_property
    def probed(self) -> Rows:
        """Rows for comparisons of each with each, which must be few; none that has no weight."""
        rows, weight = self.rows, self.rows.weight
        return (rows if weight is None else rows.take(weight > 0)).some(PROBED_ROWS)

    @functools.cached_property
    def explained(self) -> Squares | Deviance:
        """What tells how much of the targets of the probed rows is explained."""
        return measure_of(self.loss, self.probed, self.constant, self.network.output_shape)

    @functools.cached_property
    def explained_unweighted(self) -> Squares | Deviance:
        """The same, were all rows of equal weight."""
        rows, shape = Rows(self.probed.X, self.probed.y), self.network.output_shape
        return measure_of(self.loss, rows, probes.best_constant(self.loss, rows, shape), shape)

    def left(self, loss: Any) -> Any:
        """What losses leave unexplained, 1 that of the best constant."""
        return self.explained.left(loss)

    @functools.cached_property
    def neighbours_explain(self) -> float:
        """How much the nearest neighbours explain, among the probed rows."""
        rows, targets = self.probed, probes.target_matrix(self.loss, self.probed.y)
        near = probes.Neighbourhood(rows.X)
        return self.explained.by_model(near.predicts(targets, rows.weight))

    @functools.cached_property
    def linear_explains(self) -> float:
        """How much a linear model explains, among the probed rows."""
        return self.explained.by_line(self.probed.X)

    @functools.cached_property
    def surprise(self) -> float:
        """How many deviations above chance X and y of the probed rows are related."""
        return probes.surprise(self.probed.X, probes.target_matrix(self.loss, self.probed.y))

    @functools.cached_property
    def network_explains(self) -> float:
        """How much the network explains: R² on all rows it was measured with, or as a loss says."""
        if isinstance(self.explained, Squares):
            return probes.network_explains(
                self.loss, self.now.outputs, self.rows.y, self.rows.weight
            )
        return self.explained.by_network(self.network.infer(self.probed.X))

    # ---------------------------------------------------------------- training

    @property
    def steps(self) -> int:
        """Steps that were counted, or those of the epochs; 0 if nobody knows."""
        epochs, size = len(self.course.losses), self.subject.batch_size
        return self.course.steps or (epochs * math.ceil(len(self.rows) / size) if size else 0)

    def rehearse(self, factor: float) -> tuple[np.ndarray, str]:
        """Losses of a short training from the beginning with the learning rate times a factor."""
        if factor not in self._rehearsals:
            steps = min(self.course.steps or REHEARSED_STEPS, REHEARSED_STEPS)
            self._rehearsals[factor] = self._rehearse(factor, steps)
        return self._rehearsals[factor]

    def rehearse_as(
        self, change: Change | None = None, rows: Rows | None = None
    ) -> tuple[np.ndarray, str]:
        """As `rehearse`, but longer; with changed copies of both, or with other rows."""
        steps = min(self.course.steps or 4 * REHEARSED_STEPS, 4 * REHEARSED_STEPS)
        return self._rehearse(1.0, steps, change, rows)

    def rehearse_usual(self, optimizer: Optimizer) -> tuple[np.ndarray, str]:
        """As `rehearse_as`, with another optimizer."""
        steps = min(self.course.steps or 4 * REHEARSED_STEPS, 4 * REHEARSED_STEPS)
        return self._rehearse(1.0, steps, optimizer=optimizer)

    def tried(self, change: Change | None = None) -> Trial:
        """What a network learns for others, if it is trained anew on three quarters of the rows.

        It has as many steps as training had, if that was no short one, and ends where there is
        little left to learn; ``change`` is as in `rehearse_as`.
        """
        if change not in self._trials:
            self._trials[change] = self._try(change)
        return self._trials[change]

    def _try(self, change: Change | None) -> Trial:
        order = np.random.default_rng(0).permutation(len(self.rows))
        held, learned = (self.rows.take(part) for part in np.split(order, [len(order) // 4]))
        kept: list[Layer] = []

        def changed(network: Layer, optimizer: Any) -> Layer:
            kept.append((change and change(network, optimizer)) or network)
            return kept[0]

        steps = min(max(self.steps, 4 * REHEARSED_STEPS), LONGEST)
        enough = self.explained.loss_that_leaves(ENOUGH)
        losses, broke = self._rehearse(1.0, steps, changed, learned, enough)
        outputs = kept[0].infer(held.X)
        each = self.loss.value(outputs, self.loss.prepare_targets(outputs, held.y))
        weight = np.ones(len(held)) if held.weight is None else held.weight
        each = weight * each.reshape(len(held), -1).mean(axis=1) / (weight.mean() or 1.0)
        return Trial(np.full(len(held), np.inf) if broke else each, len(losses))

    def _rehearse(
        self,
        factor: float,
        steps: int,
        change: Change | None = None,
        rows: Rows | None = None,
        enough: float = -math.inf,
        optimizer: Optimizer | None = None,
    ) -> tuple[np.ndarray, str]:
        optimizer = optimizer or self.optimizer or Adam()  # the usual one, if none is known
        size = max(self.batch_size, 2)  # BatchNorm needs two
        return probes.rehearse(
            self.fresh, self.loss, optimizer, rows or self.rows, factor, steps, size, change, enough
        )

    @functools.cached_property
    def fresh(self) -> Layer:
        """The network before its first step, or one like it."""
        if self.beginning is not None:
            return self.beginning
        losses, fresh = self.course.losses, self._redrawn
        stood_still = losses.size > 1 and np.ptp(losses) < 0.05 * np.max(losses)
        kept, drawn = (np.linalg.norm(network.flat_params) for network in (self.network, fresh))
        if stood_still and not kept < 0.1 * drawn:  # or its weights are what decay has left
            return self.network
        return fresh

    @functools.cached_property
    def _redrawn(self) -> Layer:
        """A network like this one whose weights are drawn anew, except those of frozen layers."""
        network = copy.deepcopy(self.network)
        network.build(network.input_shape, random_state=0, dtype=network.dtype, rebuild=True)
        for (_, old), (_, new) in zip(self.network.walk(), network.walk(), strict=True):
            if not old.trainable:
                for kept, drawn in ((old.params, new.params), (old.buffers, new.buffers)):
                    for name in kept:
                        drawn[name][...] = kept[name]
        return network

    @functools.cached_property
    def anew(self) -> Snapshot:
        """Measurements of a network like this one before its first step."""
        return measure(self.fresh, self.loss, self.rows, max(self.batch_size, 32))

    @functools.cached_property
    def redrawn(self) -> Snapshot:
        """Measurements of a network like this one whose weights are drawn anew."""
        return measure(self._redrawn, self.loss, self.rows, max(self.batch_size, 32))

    @property
    def rate(self) -> float:
        """The learning rate of the first step."""
        optimizer = copy.deepcopy(self.subject.optimizer)
        optimizer.reset()
        return float(optimizer.rate)


def looks_fresh(network: Layer) -> bool:
    """Whether every bias, gain and running average is still where initialisation put it."""
    for _, layer in network.walk():
        for name, at in (("b", 0), ("beta", 0), ("gamma", 1)):
            if name in layer.params and (layer.params[name] != at).any():
                return False
        if any((b != (name == "running_var")).any() for name, b in layer.buffers.items()):
            return False
    return True


def _weights_of_classes(loss: Loss, rows: Rows, y: np.ndarray) -> np.ndarray | None:
    """The mean weight that rows of training have, class by class; None where none is to be told.

    So a training that weights its classes is judged alike by rows that came without weights.
    """
    if rows.weight is None or loss.scores is None:
        return None
    targets, others = (probes.target_matrix(loss, values) for values in (rows.y, y))
    if targets.shape[1] != others.shape[1] or not (targets.sum(axis=1) == 1).all():
        return None
    weight = others @ (rows.weight @ targets / np.maximum(targets.sum(axis=0), 1))
    return weight if weight.any() else None


def _without_bad(rows: Rows) -> tuple[np.ndarray, np.ndarray, Rows]:
    """Rows whose inputs, and whose targets, are not finite; and the rest of the rows.

    The target of a row of weight 0 may be anything: no loss looks at it.
    """
    bad_X = np.zeros(len(rows), bool)
    if hasattr(rows.X, "tocsr"):
        if not np.isfinite(rows.X.data).all():
            bad_X[rows.X.tocoo().row[~np.isfinite(rows.X.tocoo().data)]] = True
    elif isinstance(rows.X, Sequences):
        bad_steps = ~np.isfinite(rows.X.steps).reshape(len(rows.X.steps), -1).all(axis=1)
        bad_X = np.logical_or.reduceat(bad_steps, rows.X.offsets[:-1])
    elif rows.X.dtype.kind == "f":
        bad_X = ~np.isfinite(rows.X).reshape(len(rows), -1).all(axis=1)
    bad_y = np.zeros(len(rows), bool)
    if rows.y.dtype.kind == "f":
        bad_y = ~np.isfinite(rows.y).reshape(len(rows), -1).all(axis=1)
    bad = bad_X | bad_y
    if bad.all():
        raise ValueError("every row of X and y has a number that is not finite: nothing to examine")
    if rows.weight is not None:
        bad_y &= rows.weight > 0
    return bad_X, bad_y, rows.take(~bad) if bad.any() else rows


def share(part: Any) -> str:
    """Format a share such that 99.9% does not look like all, nor 0.1% like none."""
    part = float(part)
    return f"{part:.1%}" if 0 < part < 0.01 or 0.99 < part < 1 else f"{part:.0%}"


def level(mean: Any, std: Any) -> float:
    """Return a mean as it is shown: 0 where only rounding keeps it from being 0."""
    return 0.0 if abs(mean) < ROUNDING * std else float(mean)


def spread(mean: Any, std: Any) -> str:
    """Format where numbers lie."""
    return f"mean {level(mean, std):.3g} and deviation {std:.3g}"
