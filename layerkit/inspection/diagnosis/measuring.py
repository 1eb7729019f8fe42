"""A network measured at one moment, on given rows: forward and backward as in training."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np

from layerkit.fused import threads_for
from layerkit.inspection.diagnosis.statistics import Recorder
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.layer import Layer
from layerkit.layers import BatchNorm
from layerkit.losses import Loss
from layerkit.training.batches import ArrayBatches
from layerkit.training.run import infer_all


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
    recorder, total = Recorder(working), 0.0
    norms = [layer for _, layer in working.walk() if isinstance(layer, BatchNorm)]
    batches = ArrayBatches(rows.X, rows.y, rows.weight, batch_size)
    with np.errstate(all="ignore"), threads_for(network):
        for i, (x, y, weight, normalizer) in enumerate(batches):
            for layer in norms:
                layer.momentum = 1 / (i + 1)  # so that running statistics are plain averages
            with working.observed(recorder):
                value = loss.forward(working.forward(x, training=True), y, weight, normalizer)
                working.backward(loss.backward())
            recorder.add_gradients(working.flat_grads)
            total += len(y) * value
        outputs = infer_all(network, ArrayBatches(rows.X, rows.y, batch_size=1024))[0]
        inferred = loss.forward(outputs, rows.y, rows.weight)
    fresh = {layer.path: {k: b.copy() for k, b in layer.buffers.items()} for layer in norms}
    return Snapshot(network, recorder, inferred, total / len(rows), outputs, fresh)
