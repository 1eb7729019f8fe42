"""What y holds where every step of a row has a target of its own, as words of a sentence have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from layerkit.estimators.targets import ClassTarget, Target
from layerkit.losses import Loss
from layerkit.sequences import Sequences, numbers, step_values
from layerkit.shapes import Shape


class StepTarget(Target):
    """A target for every step; ``each`` is what y holds of one.

    Raw outputs are `Sequences`, and so are encoded targets; predictions are lists of arrays, one
    for each row. Raw outputs of rows of one length may be an array, then so are predictions.
    """

    of_steps = True

    def __init__(self, each: Target) -> None:
        self.each = each

    @property
    def loss(self) -> Loss:  # type: ignore[override]
        return self.each.loss

    @loss.setter
    def loss(self, loss: Loss) -> None:
        self.each.loss = loss

    @property
    def link(self) -> str | None:
        return self.each.link

    def shapes(self, loss: Loss | None) -> list[Any]:
        return [(None, *shape) for shape in self.each.shapes(loss)]

    def check_loss(self, loss: Loss) -> None:
        self.each.check_loss(loss)

    def bind(self, loss: Loss | None, output_shape: Shape) -> None:
        if len(output_shape) < 2:
            raise ValueError(
                "y has a target for every step, but the network gives one output for a row: set "
                "return_sequences=True in its recurrent layers and leave out pooling over time"
            )
        self.each.bind(loss, output_shape[1:])
        self.output_shape = output_shape

    def encode(self, y: Any) -> Any:
        return y.with_steps(self.each.encode(y.steps))

    def predict(self, raw: Any) -> Any:
        return self._by_row(self.each.predict, raw)

    def score(self, y: Any, raw: Any, weight: Any) -> float:
        """Return the score of all steps, each with the weight of its row."""
        rows = raw if isinstance(raw, Sequences) else Sequences.from_array(raw)
        if isinstance(y, np.ndarray) and y.shape[:2] == rows.shape[:2]:
            y = Sequences.from_array(y)
        given = step_values(rows, y, "y")
        if given is None:
            raise ValueError(f"y must have a target for every step, got shape {np.shape(y)}")
        if weight is not None:
            weight = np.repeat(weight, rows.lengths)
        return self.each.score(given.steps, rows.steps, weight)

    def score_of_known(self, y: Any, raw: Any, weight: Any) -> float:
        return self.each.score_of_known(numbers(y), numbers(raw), weight)

    def _by_row(self, function: Callable[[np.ndarray], np.ndarray], raw: Any) -> Any:
        """Apply a function of the steps of all rows."""
        if isinstance(raw, Sequences):
            return list(raw.with_steps(function(raw.steps)))
        found = function(raw.reshape(-1, *raw.shape[2:]))
        return found.reshape(*raw.shape[:2], *found.shape[1:])


class StepClasses(StepTarget, ClassTarget):
    """The same where targets are classes."""

    each: ClassTarget

    @property
    def classes(self) -> Any:  # type: ignore[override]
        return self.each.classes

    @property
    def labels(self) -> list[np.ndarray]:
        return self.each.labels

    def log_proba(self, raw: Any) -> Any:
        return self._by_row(self.each.log_proba, raw)

    def proba(self, raw: Any) -> Any:
        return self._by_row(self.each.proba, raw)

    def decision(self, raw: Any) -> Any:
        return self._by_row(self.each.decision, raw)
