"""Numbers to predict, as a network likes them: centred, and of unit variance."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np

from layerkit.estimators.targets import Numbers
from layerkit.losses import MeanSquaredError


class ScaledNumbers(Numbers):
    """Numbers that the network sees centred and divided by their standard deviation.

    With a loss whose predictions are exponentials of the outputs they are only divided by their
    mean, with one of proportions they stay as they are. Means stay within what was seen.

    Attributes
    ----------
    center, scale, low, high : ndarray of shape (n_outputs,)
        What is subtracted and divided by, and the smallest and largest number seen.
    """

    def scale_by(self, seen: Seen) -> None:
        """Settle what lies between outputs and numbers; the loss is known."""
        self.low, self.high, mean, std = seen
        self.center, self.scale = np.zeros(len(mean)), np.ones(len(mean))
        if self.link == "exp":
            self.scale = _or_one(mean)
        elif self.link != "sigmoid":
            self.center, self.scale = mean, _or_one(std)

    def encode(self, y: np.ndarray) -> np.ndarray:
        rows = super().encode(y)
        return ((rows - self.center) / self.scale).astype(np.float32)

    def predict(self, raw: np.ndarray) -> np.ndarray:
        y = self.loss.inverse_link(raw)
        own = (-1, *[1] * (y.ndim - 2))  # an axis of quantiles comes after the outputs
        y = y * self.scale.reshape(own) + self.center.reshape(own)
        if isinstance(self.loss, MeanSquaredError):
            y = y.clip(self.low, self.high)
        return y[:, 0] if self.is_vector and y.shape[1:] == (1,) else y

    def std(self, raw: np.ndarray) -> np.ndarray:
        found = super().std(raw)
        return found * (self.scale[0] if self.is_vector else self.scale)


class Seen(NamedTuple):
    """Where numbers lie, in each column: (n_outputs,) each."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray) -> Self:
        """Look at the numbers."""
        rows = y.reshape(len(y), -1).astype(np.float64)
        return cls(rows.min(axis=0), rows.max(axis=0), rows.mean(axis=0), rows.std(axis=0))


def _or_one(scale: np.ndarray) -> np.ndarray:
    return np.where(scale > 0, scale, 1.0)
