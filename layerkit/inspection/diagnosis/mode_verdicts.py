"""Verdicts on layers that compute something else in training than in inference."""

from __future__ import annotations

import copy
import math

import numpy as np

from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis.evidence import Evidence, TrainingCause, Verdict, share
from layerkit.layers import AlphaDropout, BatchNorm, Dropout

FEW_VALUES = 8  # from which BatchNorm cannot estimate a deviation
STALE = 0.5  # deviations between the running mean and that of the data
FAR = 2.0  # times as far, from where on classes may be lost though the loss hardly tells
LOST = 0.1  # of the rows
STRONG_DROPOUT = 0.6


def batchnorm(e: Evidence) -> Verdict | None:
    """Statistics of too few values, or running averages that do not fit the network any more."""
    return _tiny_batches(e) or _stale_statistics(e)


def _tiny_batches(e: Evidence) -> Verdict | None:
    rows = e.subject.batch_size
    if rows is None:
        return None
    for s in e.now.recorder.layers:
        if not isinstance(s.layer, BatchNorm) or not s.layer.trainable:
            continue
        positions = s.output.count / len(e.rows) / s.layer.output_shape[-1]  # in the mean
        values = round(rows * positions)
        if values < FEW_VALUES:
            error = math.sqrt(2 / max(values - 1, 1))
            return Verdict(
                "BatchNorm with tiny batches",
                e.where(s.path),
                "critical" if values < 4 else "warning",
                f"Batches of {rows} rows give it {values} values for each channel, so the "
                f"variance that it divides by is off by about {share(error)}. On the same rows "
                f"the loss is {e.now.training_loss:.3g} in training mode (batches of "
                f"{max(e.batch_size, 32)}) and {e.now.loss:.3g} in inference mode.",
                f"Train with batch_size={max(32, round(4 * FEW_VALUES / positions))} or more, or "
                "replace BatchNorm() by LayerNorm(), which does not look at the batch.",
            )
    return None


def _stale_statistics(e: Evidence) -> Verdict | None:
    if not e.trained or not e.now.finite:
        return None
    worst, path, text = 0.0, "", ""
    for s in e.now.recorder.layers:
        if not isinstance(s.layer, BatchNorm) or s.path not in e.now.fresh_buffers:
            continue
        fresh = e.now.fresh_buffers[s.path]
        held = dict(e.network.walk())[s.path].buffers
        spread = np.sqrt(fresh["running_var"] + s.layer.eps)
        apart = float(np.median(np.abs(held["running_mean"] - fresh["running_mean"]) / spread))
        ratio = (held["running_var"] + s.layer.eps) / (fresh["running_var"] + s.layer.eps)
        factor = float(np.exp(np.median(np.abs(np.log(ratio)))))
        found = max(apart / STALE, math.log(factor) / math.log(2))
        if found > worst:
            worst, path = found, s.path
            text = f"lies {apart:.2g} deviations from the mean of the data that reach it now, and "
            text += f"its running variance is off by a factor of {factor:.2g}"
    harmless = e.left(e.now.loss) < 1.3 * e.left(e.now.training_loss) + 0.02
    lost = _classes_lost(e) if worst >= FAR and harmless else 0.0
    if worst < 1 or (harmless and not lost > LOST):
        return None
    classes = (
        f" {share(lost)} of the rows lose their right class in inference mode." if lost else ""
    )
    momentum = dict(e.network.walk())[path].momentum  # type: ignore[attr-defined]
    steps = f" after {e.course.steps} steps" if e.course.steps else ""
    return Verdict(
        "BatchNorm with stale statistics",
        e.where(path),
        "critical",
        f"Its running mean{steps} {text}. On the same rows the loss is "
        f"{e.now.training_loss:.3g} in training mode and {e.now.loss:.3g} in inference mode."
        f"{classes}",
        f"Use BatchNorm(momentum=0.1) (it is {momentum:g}: the weight of a new batch), or run a "
        "few batches of training data through network.forward(x, training=True) once training "
        "is over.",
    )


def _classes_lost(e: Evidence) -> float:
    """By how much fewer of the rows get their class in inference mode than in training mode."""
    if e.loss.scores is None:
        return 0.0
    network, (X, y) = copy.deepcopy(e.network), (e.probed.X, e.probed.y)
    found = [probes.labels(network.forward(X, training=mode), y) for mode in (True, False)]
    right = [np.mean(pair[0] == pair[1]) for pair in found if pair is not None]
    return float(right[0] - right[1]) if right else 0.0


def dropout_too_strong(e: Evidence) -> Verdict | None:
    """Dropout takes away so much that the network cannot learn what it could."""
    layers = [
        s
        for s in e.now.recorder.layers
        if isinstance(s.layer, Dropout | AlphaDropout) and s.layer.current_rate > STRONG_DROPOUT
    ]
    if not layers or not e.trained or not e.now.finite:
        return None
    noisy, quiet = e.now.training_loss, e.now.loss
    harm = max(
        e.left(s.training_loss) / e.left(s.loss) for s in (e.first, e.now) if e.left(s.loss) > 0
    )
    s = max(layers, key=lambda s: s.layer.current_rate)  # type: ignore[attr-defined]
    extreme = s.layer.current_rate > 0.85  # type: ignore[attr-defined]
    if e.left(noisy) < 0.4 or (harm < 1.1 and not extreme):
        return None
    rate, units = s.layer.current_rate, math.prod(s.layer.input_shape)  # type: ignore[attr-defined]
    return TrainingCause(
        "dropout too strong",
        e.where(s.path),
        "warning",
        f"It drops {share(rate)} of {units} values, leaving {units * (1 - rate):.3g} a sample. On "
        f"the same rows the loss is {noisy:.3g} with dropout and {quiet:.3g} without; a constant "
        f"prediction has {e.constant:.3g}.",
        f"Lower it to {type(s.layer).__name__}(rate=0.2).",
    )
