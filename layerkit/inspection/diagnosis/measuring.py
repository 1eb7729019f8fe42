"""A network measured at one moment, on given rows: forward and backward as in training."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from layerkit.inspection.diagnosis.statistics import Recorder
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.layer import Layer
from layerkit.layers import BatchNorm
from layerkit.losses import Loss


@dataclass
class Snapshot:
    """What was measured.

    Attributes
    ----------
    recorder : Recorder
        Of the forwards and backwards in training mode.
    loss, training_loss : float
        In inference and in training mode, on the same rows.
    outputs : array
        Raw outputs in inference mode.
    fresh_buffers : dict
        By the path of each BatchNorm: mean and variance of the data that reach it.
    """

    network: Layer
    recorder: Recorder
    loss: float
    training_loss: float
    outputs: np.ndarray
    fresh_buffers: dict[str, dict[str, np.ndarray]]

    @property
    def finite(self) -> bool:
        """Whether all that was seen was finite."""
        return self.recorder.origin is None and bool(
            np.isfinite([self.loss, self.training_loss]).all()
        )


def measure(network: Layer, loss: Loss, rows: Rows, batch_size: int) -> Snapshot:
    """Measure a network on all rows, leaving it and its streams of noise as they are."""
    working = copy.deepcopy(network).reseed(0)
    recorder = Recorder(working)
    norms = [layer for _, layer in working.walk() if isinstance(layer, BatchNorm)]
    total, mean_weight = 0.0, 1.0 if rows.weight is None else float(rows.weight.mean())
    with np.errstate(all="ignore"):
        for i, batch in enumerate(_batches(rows, batch_size)):
            for layer in norms:
                layer.momentum = 1 / (i + 1)  # so that running statistics are plain averages
            with working.observed(recorder):
                y_pred = working.forward(batch.X, training=True)
                normalizer = len(batch) * mean_weight
                value = loss.forward(y_pred, batch.y, batch.weight, normalizer)
                working.backward(loss.backward())
            recorder.add_gradients(working.flat_grads)
            total += normalizer * value
        parts = [network.infer(batch.X) for batch in _batches(rows, 1024)]
        outputs = np.concatenate(parts)
        inferred = loss.forward(outputs, rows.y, rows.weight)
    fresh = {layer.path: {k: b.copy() for k, b in layer.buffers.items()} for layer in norms}
    return Snapshot(network, recorder, inferred, total / (len(rows) * mean_weight), outputs, fresh)


def _batches(rows: Rows, size: int) -> list[Rows]:
    """Batches in order; a single row left over joins the last."""
    n = len(rows)
    starts = list(range(0, n, size))
    if len(starts) > 1 and n % size == 1:
        starts.pop()
    bounds = zip(starts, [*starts[1:], n], strict=True)
    return [rows.take(slice(start, stop)) for start, stop in bounds]
