"""What was found and measured, root causes first and then the symptoms that follow from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from layerkit.inspection.diagnosis import (
    attention_verdicts,
    backward_verdicts,
    data_verdicts,
    design_verdicts,
    mode_verdicts,
    signal_verdicts,
    target_verdicts,
    time_verdicts,
    training_verdicts,
)
from layerkit.inspection.diagnosis.evidence import (
    Acquired,
    Evidence,
    InitialCause,
    RedrawnCause,
    TrainingCause,
    Verdict,
)
from layerkit.inspection.diagnosis.statistics import LayerStatistics, Recorder
from layerkit.inspection.shown import Shown

# In this order: an earlier cause may bring about all that stands behind it,
# unless a verdict does not follow from it.
CHECKS: tuple[Callable[[Evidence], Verdict | None], ...] = (
    signal_verdicts.not_finite,
    backward_verdicts.wrong_backward,
    data_verdicts.constant_inputs,
    target_verdicts.constant_target,
    data_verdicts.channels_first,
    data_verdicts.inputs_not_scaled,
    data_verdicts.link_applied_twice,
    target_verdicts.log_probabilities_missing,
    target_verdicts.outputs_out_of_reach,
    data_verdicts.loss_without_gradient,
    target_verdicts.targets_not_scaled,
    design_verdicts.weight_decay_too_strong,
    mode_verdicts.dropout_too_strong,
    signal_verdicts.identical_units,
    signal_verdicts.saturated_units,
    signal_verdicts.exploding_gradient,
    signal_verdicts.dead_units,
    attention_verdicts.collapsed_attention,
    signal_verdicts.no_gradient,
    signal_verdicts.vanishing_gradient,
    time_verdicts.through_time,
    time_verdicts.forget_gates,
    data_verdicts.wrong_initial_loss,
    mode_verdicts.batchnorm,
    design_verdicts.clipped_gradient,
    design_verdicts.frozen_layers,
    training_verdicts.rate_too_high,
    training_verdicts.rate_too_low,
    attention_verdicts.positions_missing,
    target_verdicts.leaked_column,
    target_verdicts.validation_on_another_scale,
    design_verdicts.no_activation,
    data_verdicts.rows_misaligned,
    partial(training_verdicts.one_class, caused=True),
    training_verdicts.overfitting,
    training_verdicts.underfitting,
    partial(signal_verdicts.dead_units, few=True),
    target_verdicts.class_never_predicted,
    training_verdicts.one_class,
)


@dataclass(repr=False)
class HealthReport(Shown):
    """What `health` and `HealthMonitor` found.

    Attributes
    ----------
    verdicts : list of Verdict
        Most likely root cause first; then other roots; then what follows from them
        (``follows_from`` names the cause). Each has ``name``, ``layer``, ``severity``,
        ``evidence`` and ``remedy``.
    layers : list of dict
        A row for each layer that is no container: ``path``, ``layer``, ``mean``, ``std``, ``min``,
        ``max`` of its output, ``dead`` (share of units), ``saturated`` (share of outputs),
        ``gradient_norm``, ``gradient_ratio``, ``gradient_noise``, ``weight_norm``,
        ``update_ratio``, ``not_finite``. NaN where there is no such number.
    facts : dict
        Of the network as a whole: ``rows``, ``loss`` (inference mode), ``training_loss``,
        ``constant_loss`` (of the best constant prediction), ``trained``.

    Examples
    --------
    >>> report = HealthReport([], [], {"rows": 10})
    >>> report.healthy
    True
    """

    verdicts: list[Verdict]
    layers: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether there is no verdict."""
        return not self.verdicts

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, for JSON or a data frame."""
        found = [verdict._asdict() for verdict in self.verdicts]
        return {"verdicts": found, "layers": self.layers, "facts": self.facts}


def report_on(evidence: Evidence) -> HealthReport:
    """Draw the verdicts and tabulate the measurements."""
    updates = evidence.course.updates
    facts = {
        "rows": len(evidence.rows),
        "loss": evidence.now.loss,
        "training_loss": evidence.now.training_loss,
        "constant_loss": evidence.constant,
        "trained": evidence.trained,
    }
    with np.errstate(all="ignore"):  # numbers that ran away are a finding, not an accident
        found = _once(verdict for check in CHECKS if (verdict := check(evidence)) is not None)
        rows = _rows(evidence.now.recorder, updates)
    known_start = evidence.start is not None
    causes = (TrainingCause, InitialCause if known_start else RedrawnCause)
    return HealthReport(_explained(_by_cause(found, causes)), rows, facts)


def _once(found: Iterable[Verdict]) -> list[Verdict]:
    """What two checks find is one finding, that of the first."""
    named: dict[str, Verdict] = {}
    for verdict in found:
        named.setdefault(verdict.name, verdict)
    return list(named.values())


def _rows(recorder: Recorder, updates: dict[str, list[float]]) -> list[dict[str, Any]]:
    trained = [s for s in recorder.layers if s.has_params]
    following = dict(zip([s.path for s in trained], trained[1:], strict=False))
    return [_row(s, following.get(s.path), updates.get(s.path, [])) for s in recorder.layers]


def _row(
    s: LayerStatistics, following: LayerStatistics | None, updates: list[float]
) -> dict[str, Any]:
    ratio = math.nan
    if following is not None and following.grad_output.norm > 0:
        ratio = s.grad_output.norm / following.grad_output.norm
    return {
        "path": s.path,
        "layer": s.label,
        "mean": s.output.mean,
        "std": s.output.std,
        "min": s.output.low,
        "max": s.output.high,
        "dead": s.dead,
        "saturated": s.saturated,
        "gradient_norm": s.gradient_norm,
        "gradient_ratio": ratio,
        "gradient_noise": s.noise,
        "weight_norm": s.weight_norm,
        "update_ratio": float(np.median(updates)) if updates else math.nan,
        "not_finite": s.output.not_finite,
    }


# ---------------------------------------------------------------- causes and symptoms


def _by_cause(found: list[Verdict], causes: tuple[type, ...]) -> list[Verdict]:
    """Put what training did to a layer after the causes that training has."""
    after = max((i for i, verdict in enumerate(found) if isinstance(verdict, causes)), default=-1)
    order = [max(i, after + 0.5) if isinstance(v, Acquired) else i for i, v in enumerate(found)]
    return [found[i] for i in np.argsort(order, kind="stable")]


def _explained(found: Iterable[Verdict]) -> list[Verdict]:
    """The most likely root cause first; symptoms name the cause they follow from."""
    roots: list[Verdict] = []
    symptoms: list[Verdict] = []
    for verdict in found:
        causes = [root for root in roots if verdict.may_follow_from(root)]
        if causes:
            symptoms.append(verdict._replace(follows_from=causes[0].name))
        else:
            roots.append(verdict)
    return roots + symptoms
