"""How much of the targets predictions explain: R², or D² by a loss that is no squared error."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Loss,
    MeanSquaredError,
    NegativeLogLikelihood,
)

BY_SQUARES = (BinaryCrossEntropy, CategoricalCrossEntropy, MeanSquaredError, NegativeLogLikelihood)
FALLS = 0.05  # of what is gained already, in as many steps again: there is no lowest loss
STEPS = 200


class Squares:
    """R², the share of the variance of all columns of the targets together, weighted as the rows.

    That of a cross-entropy is judged by the probabilities: it forgives great confidence.
    """

    what = "the variance of y"
    has_best = True  # it is 0

    def __init__(self, loss: Loss, rows: Rows, constant: float) -> None:
        self.loss, self.rows, self.constant = loss, rows, constant
        self.targets = probes.target_matrix(loss, rows.y)

    def left(self, loss: Any) -> Any:
        """What is left of the loss of the best constant, 1 of itself."""
        return np.divide(loss, self.constant)

    def loss_that_leaves(self, left: float) -> float:
        """The loss of which so much is left."""
        return left * self.constant

    def by_network(self, outputs: Any) -> float:
        """R² of a network with these outputs."""
        return probes.network_explains(self.loss, outputs, self.rows.y, self.rows.weight)

    def by_model(self, predicted: np.ndarray) -> float:
        """R² of predictions of the targets."""
        return probes.explained(self.targets, predicted, self.rows.weight)

    def by_line(self, X: Any) -> float:
        """R² of a linear model."""
        return probes.linear_explains(X, self.targets, self.rows.weight)


class Deviance:
    """D², R² of a loss's own: how much of what could be gained on a constant is gained.

    With L a loss, C that of the best constant and B where each row has what suits it best, it is
    ``(C - L) / (C - B)``. Where a loss has no end, as the likelihood of a density, it is
    ``1 - exp(2 (L - C))``, which is R² if the density is normal and its deviation constant.
    """

    def __init__(
        self, loss: Loss, rows: Rows, constant: float, output_shape: tuple[int, ...]
    ) -> None:
        self.loss, self.rows, self.constant, self.output_shape = loss, rows, constant, output_shape
        self.what = f"what {type(loss).__name__} could gain on a constant (D²)"
        begun, self.best = self._each(STEPS // 2), self._each(STEPS)
        self.has_best = begun - self.best < FALLS * (self.constant - self.best)

    def _each(self, limit: int) -> float:
        from scipy.sparse import eye_array

        y, alone = self.rows.y, eye_array(len(self.rows), format="csr")
        start = y if y.shape[1:] == self.output_shape and not self.loss.scores else None
        return probes.lowest(self.loss, self.rows, self.output_shape, alone, start, limit)

    def left(self, loss: Any) -> Any:
        """1 - D² of predictions with this loss."""
        if not self.has_best:
            return np.exp(2 * np.subtract(loss, self.constant))
        return np.divide(np.subtract(loss, self.best), self.constant - self.best)

    def loss_that_leaves(self, left: float) -> float:
        """The loss of predictions with 1 - D² of this size."""
        if not self.has_best:
            return self.constant + float(np.log(left)) / 2
        return self.best + left * (self.constant - self.best)

    def by_network(self, outputs: Any) -> float:
        """D² of a network with these outputs."""
        return 1 - float(self.left(self.loss.forward(outputs, self.rows.y, self.rows.weight)))

    def by_model(self, predicted: np.ndarray) -> float:
        """D² of the affine map of predicted targets that suits best, less what chance would fit."""
        (n, m), weight = predicted.shape, self.rows.weight
        columns = predicted - predicted.mean(axis=0)
        columns /= np.maximum(columns.std(axis=0), 1e-12)
        basis = np.column_stack([np.ones(n), columns])
        loss = probes.lowest(self.loss, self.rows, self.output_shape, basis, limit=STEPS)
        if weight is not None:
            n = weight.sum() ** 2 / (weight @ weight)  # rows of equal weight that tell as much
        return 1 - float(self.left(loss)) * (n - 1) / max(n - m - 1, 1)

    def by_line(self, X: Any) -> float:
        """D² of a linear model, 0 where it has too many columns to tell."""
        columns = probes.standardized(X)
        return self.by_model(columns) if columns.shape[1] < len(columns) / 5 else 0.0


def measure_of(
    loss: Loss, rows: Rows, constant: float, output_shape: tuple[int, ...]
) -> Squares | Deviance:
    """What a loss is judged by; ``constant`` is that of the best constant."""
    if isinstance(loss, BY_SQUARES):
        return Squares(loss, rows, constant)
    return Deviance(loss, rows, constant, output_shape)
