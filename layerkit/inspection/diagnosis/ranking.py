"""Which verdict explains which: root causes first, symptoms after them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from layerkit.inspection.diagnosis import data_verdicts, signal_verdicts, training_verdicts
from layerkit.inspection.diagnosis.evidence import Evidence, Verdict

# In this order: an earlier cause may bring about all that stands behind it, unless EXCEPT says no.
CHECKS: tuple[Callable[[Evidence], Verdict | None], ...] = (
    signal_verdicts.not_finite,
    data_verdicts.inputs_not_scaled,
    data_verdicts.link_applied_twice,
    data_verdicts.loss_without_gradient,
    signal_verdicts.identical_units,
    signal_verdicts.saturated_units,
    signal_verdicts.exploding_gradient,
    signal_verdicts.dead_units,
    signal_verdicts.no_gradient,
    signal_verdicts.vanishing_gradient,
    data_verdicts.wrong_initial_loss,
    training_verdicts.batchnorm,
    training_verdicts.rate_too_high,
    training_verdicts.dropout_too_strong,
    training_verdicts.rate_too_low,
    data_verdicts.rows_misaligned,
    training_verdicts.majority_only,
    training_verdicts.overfitting,
    training_verdicts.underfitting,
    training_verdicts.one_class,
)

# What training may do to a layer, and what makes it do so.
LATE = ("dead ReLUs", "saturated", "no gradient")
CAUSES = (
    "learning rate too high",
    "dropout too strong",
    "symmetric units",
    "exploding gradient",
    "vanishing gradient",
    "wrong initial loss",
)

# What does not follow from what: these stand beside each other.
EXCEPT = {
    ("softmax applied twice", "inputs not scaled"),
    ("sigmoid applied twice", "inputs not scaled"),
    ("overfitting", "collapsed to one class"),
}
"""(symptom, cause) pairs that are independent although the cause stands first."""


def verdicts(evidence: Evidence) -> list[Verdict]:
    """All findings, the most likely root cause first; symptoms name the cause they follow from."""
    found = [verdict for check in CHECKS if (verdict := check(evidence)) is not None]
    return _explained(_by_cause(evidence, found))


def _by_cause(e: Evidence, found: list[Verdict]) -> list[Verdict]:
    """Put what training did to a layer after the causes that training has."""
    order = {verdict.name: float(i) for i, verdict in enumerate(found)}
    causes = CAUSES if e.start is not None else CAUSES[:2]
    after = max((order[name] for name in causes if name in order), default=-1.0) + 0.5
    for verdict in found:
        if verdict.name.startswith(LATE) and not _was_there_before(e, verdict):
            order[verdict.name] = max(order[verdict.name], after)
    return sorted(found, key=lambda verdict: order[verdict.name])


def _was_there_before(e: Evidence, verdict: Verdict) -> bool:
    """Whether a layer was like that before the first step already."""
    if e.start is None:
        return False
    s = next(s for s in e.start.recorder.layers if e.where(s.path) == verdict.layer)
    if verdict.name == "dead ReLUs":
        return s.dead >= signal_verdicts.DEAD
    if verdict.name == "no gradient":
        return s.gradient_squares == 0
    return signal_verdicts.saturated_from_start(e, s.path)


def _explained(found: Iterable[Verdict]) -> list[Verdict]:
    roots: list[Verdict] = []
    symptoms: list[Verdict] = []
    for verdict in found:
        causes = [root for root in roots if (verdict.name, root.name) not in EXCEPT]
        if causes:
            symptoms.append(verdict._replace(follows_from=causes[0].name))
        else:
            roots.append(verdict)
    return roots + symptoms
