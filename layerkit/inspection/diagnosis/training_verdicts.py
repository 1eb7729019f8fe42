"""Verdicts on how training goes: the learning rate, and how well the network fits."""

from __future__ import annotations

import math

import numpy as np

from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis.data_verdicts import FEW_ROWS, RELATED
from layerkit.inspection.diagnosis.design_verdicts import (
    frozen_at_random,
    frozen_in,
    random_features_serve,
    trained_again_learns,
)
from layerkit.inspection.diagnosis.evidence import (
    REHEARSED_STEPS,
    ROUNDING,
    Evidence,
    TrainingCause,
    Verdict,
    share,
)
from layerkit.inspection.diagnosis.target_verdicts import WEIGHT_THE_CLASSES
from layerkit.layers import Dense
from layerkit.optimizers import Adam

ONE_CLASS = 0.99
RAN_AWAY = 3.0  # times the loss of a constant, and that of the first step
AT_REST = 0.99  # times the loss before
LARGE_BIAS = 0.5
LEARNED_BY_HEART = 0.9  # of the variance of y, by a network that may know no more than its rows
ABOVE = 1.02  # times the loss of a constant: no larger network is needed to come down from there
GAINED = 0.05  # of what can be explained, by a larger network
FAR_ABOVE = 1.5
MOVED = 0.85  # times the loss of a training that stands still
FEWEST_EPOCHS = 6  # that show that it does, where nobody knows the optimizer
USUAL_RATE = 0.01  # of Adam
LEARNED = 0.4  # times the loss of a constant: below it no network underfits


class CollapsedToOneClass(Verdict):
    """Found by `one_class`."""


class Overfitting(Verdict):
    """Found by `overfitting`; stands beside a collapse."""

    def may_follow_from(self, cause: Verdict) -> bool:
        return not isinstance(cause, CollapsedToOneClass)


def rate_too_high(e: Evidence) -> Verdict | None:
    """Steps so long that the loss does not fall, while with shorter ones it does."""
    if e.optimizer is None:
        return _exploded(e)
    if e.start is not None and e.start.recorder.origin is not None:
        return None
    if e.trained:
        losses, broke = e.course.losses, e.course.diverged
        reached = min(probes.smooth_end(losses), max(e.now.training_loss, 0))
    else:
        losses, broke = e.rehearse(1.0)[0], bool(e.rehearse(1.0)[1])
        reached = probes.smooth_end(losses)
    if not losses.size and not broke:
        return None
    end, reached = (math.inf, math.inf) if broke else (probes.smooth_end(losses), reached)
    beginning, peak = _initial_loss(e), float(np.max(losses, initial=0.0))
    left = e.left
    rising = left(end) > 1.02 * left(beginning) or left(peak) > 3 * max(left(beginning), 1)
    if not rising and not (e.trained and left(end) > 0.7 * min(left(beginning), 1)):
        return None
    trials = {factor: e.rehearse(factor) for factor in (0.1, 0.01, 0.001)}
    factor, better = _best(trials)
    if not left(better) < 0.75 * (left(reached) if rising else min(left(reached), 1)):
        return None
    if (not rising or e.start is None) and not _fails(e, better):
        return None
    if e.course.diverged:
        what = f"The loss was {beginning:.3g} before training, which {e.course.stopped}."
    elif e.trained:
        times = f", with a peak of {peak:.3g}" if peak > 1.5 * max(beginning, end) else ""
        what = f"The loss was {beginning:.3g} before training and {end:.3g} at its end{times}."
    else:
        gone = "breaks off at NaN or infinity" if broke else f"goes to {end:.3g}"
        what = f"In a rehearsal of {max(len(losses), 1)} steps the loss of {beginning:.3g} {gone}."
    return _other_rate(TrainingCause, e, "learning rate too high", what, factor)


def _exploded(e: Evidence) -> Verdict | None:
    """A history that ran away, of a network that can be trained: nobody said with what rate."""
    losses, diverged = e.course.losses, e.course.diverged
    if not diverged and not (losses.size and e.left(losses[-1]) > RAN_AWAY):
        return None
    steady, broke = e.rehearse(1.0)
    if broke or not (diverged or e.left(losses[-1]) > RAN_AWAY * e.left(steady[0])):
        return None
    last = ", ".join(f"{loss:.3g}" for loss in losses[-4:])
    end = f"Training {e.course.stopped}" if diverged else "Training ran away"
    return TrainingCause(
        "learning rate too high",
        "optimizer",
        "critical",
        f"{end}{f', after losses of {last}' if last else ''}. The same "
        f"network, built anew, comes to {probes.smooth_end(steady):.3g} in a rehearsal of "
        f"{len(steady)} steps with Adam(), and every number stays finite.",
        "Set learning_rate to a tenth of what it was, or Adam(learning_rate=1e-3); clip_norm=1.0 "
        "limits a single step. health(..., optimizer=...) then tries other rates.",
    )


def _other_rate(kind: type[Verdict], e: Evidence, name: str, what: str, factor: float) -> Verdict:
    """A verdict on the learning rate: a rehearsal with another does better."""
    assert e.optimizer is not None
    losses, rate = e.rehearse(factor)[0], e.rate * factor
    return kind(
        name,
        "optimizer",
        "critical",
        f"{what}{_update(e)} In a rehearsal with {rate:.2g} in place of {e.rate:.2g} it falls to "
        f"{probes.smooth_end(losses):.3g} in {len(losses)} steps.",
        f"Set {e.optimizer.rate_parameter}={rate:.2g}.",
    )


def _initial_loss(e: Evidence) -> float:
    """Before the first step; where nobody kept the network, of one that is built anew."""
    losses = e.rehearse(0.001)[0] if e.start is None else np.empty(0)
    return float(losses[0]) if losses.size else e.first.training_loss


def _best(trials: dict[float, tuple[np.ndarray, str]]) -> tuple[float, float]:
    """Factor and final loss of the trial that got furthest."""
    ends = {f: probes.smooth_end(losses) for f, (losses, broke) in trials.items() if not broke}
    factor = min(ends, key=lambda f: ends[f], default=1.0)
    return factor, ends.get(factor, math.inf)


def rate_too_low(e: Evidence) -> Verdict | None:
    """Steps so short that little happens; longer ones get further in fewer steps."""
    if not e.now.finite or e.course.diverged or (e.optimizer is None and not e.trained):
        return None
    if e.trained:
        if e.course.losses.size < (1 if e.optimizer else FEWEST_EPOCHS):
            return None
        beginning = e.start.training_loss if e.start else float(e.course.losses[0])
        # What was kept may be an earlier epoch, the best on the validation rows.
        reached = min(e.now.training_loss, probes.smooth_end(e.course.losses))
        left = e.left(reached) / e.left(beginning)
        if not e.left(reached) > 0.75 * min(e.left(beginning), 1.5) or left > 1.05:
            return None
        if 0 < e.steps < REHEARSED_STEPS and left < AT_REST:
            return None  # it has only just begun, and moves
    else:
        reached = probes.smooth_end(e.rehearse(1.0)[0])
        resting = probes.smooth_end(e.rehearse(0.0)[0])  # the same batches, and no step
        left = e.left(reached) / e.left(resting)
        if e.rehearse(1.0)[1] or not abs(left - 1) < 1 - AT_REST:
            return None
    still = e.trained and left > AT_REST
    if e.trained:
        steps = f" of {e.course.steps} steps" if e.course.steps else ""
        what = f"Training{steps} moved the loss from {beginning:.3g} to {reached:.3g} only."
    else:
        what = f"A rehearsal of {len(e.rehearse(1.0)[0])} steps leaves the loss at {reached:.3g}."
    factor, better = _best(_longer_steps(e)) if e.optimizer else (1.0, math.inf)
    further = e.left(better) < (MOVED if still else 0.6) * e.left(reached) or not e.trained
    crawls = e.trained and e.explained.has_best and e.left(reached) > FAR_ABOVE
    if not further or not _fails(e, better) or (crawls and e.left(better) > ABOVE):
        return _usual_steps(e, what, reached, still) if still or crawls else None
    if e.trained and left < 0.4 and e.left(better) > 0.6:
        return None  # the shares of the classes are learned, and longer steps learn no more
    return _other_rate(Verdict, e, "learning rate too low", what, factor)


def _usual_steps(e: Evidence, what: str, reached: float, still: bool) -> Verdict | None:
    """Steps that no multiple makes long enough, where the usual ones are."""
    losses, broke = e.rehearse_usual(Adam(USUAL_RATE))
    end = probes.smooth_end(losses)
    if broke or not e.left(end) < (MOVED if still else 0.5) * e.left(reached):
        return None
    if e.optimizer:
        resting = probes.smooth_end(e.rehearse(0.0)[0])
        own = probes.smooth_end(e.rehearse(1.0)[0] if still else e.rehearse_as()[0])
        if not e.left(own) > (AT_REST * e.left(resting) if still else 2 * e.left(end)):
            return None
    said = f"{what} In a rehearsal of {len(losses)} steps with Adam({USUAL_RATE}) it falls to"
    remedy = f"Use Adam(learning_rate={USUAL_RATE}), or a rate a hundred times as large or more."
    return Verdict("learning rate too low", "optimizer", "critical", f"{said} {end:.3g}.", remedy)


def _longer_steps(e: Evidence) -> dict[float, tuple[np.ndarray, str]]:
    """Rehearsals with ever larger rates, beyond a factor of 10,000 while the loss hardly moves."""
    resting = probes.smooth_end(e.rehearse(0.0)[0])
    trials = {factor: e.rehearse(factor) for factor in (10.0, 100.0, 1e3, 1e4)}
    for factor in (1e5, 1e6, 1e7, 1e8):
        losses, broke = trials[factor / 10]
        if broke or not 0.5 < e.left(probes.smooth_end(losses)) / e.left(resting) < 1.1:
            break
        trials[factor] = e.rehearse(factor)
    return trials


def _fails(e: Evidence, better: float) -> bool:
    """Whether a rehearsal with the given rate does worse: otherwise the rate is not the cause."""
    trial, broke = e.rehearse(1.0)
    return bool(broke) or not e.left(probes.smooth_end(trial)) < 1.3 * e.left(better)


def _update(e: Evidence) -> str:
    """Say how far the first step moved the weights, if it was watched."""
    moved = {path: ratios[0] for path, ratios in e.course.updates.items() if ratios}
    finite = {path: ratio for path, ratio in moved.items() if math.isfinite(ratio)}
    if not finite:
        return ""
    path = max(finite, key=lambda path: finite[path])
    return f" The first step moved the weights of {path} by {finite[path]:.1g} of their norm."


def one_class(e: Evidence, caused: bool = False) -> Verdict | None:
    """The network predicts one class for every row, with or without a known cause.

    ``caused``: look for a collapse that class frequencies or a bias explain, or for another.
    """
    if not e.trained or e.loss.scores is None or not np.isfinite(e.now.outputs).all():
        return None
    labels = probes.labels(e.now.outputs, e.rows.y)
    if labels is None:
        return None
    predicted, actual = labels
    values, counts = np.unique(predicted, return_counts=True)
    top, part = int(values[counts.argmax()]), counts.max() / len(predicted)
    true_part = float(np.mean(actual == top))
    if part < ONE_CLASS or true_part > 1 - 3 * (1 - part) - 0.012:
        return None
    last, outputs = e.learning(e.now)[-1], e.now.outputs
    b = last.layer.params.get("b", np.zeros(1))
    bias = float(np.ptp(b) if b.size > 1 else abs(b.item()))
    varies = float(outputs.std(axis=0).max())  # not at all behind units that are dead
    biased = bias > max(3 * varies, LARGE_BIAS) and varies > ROUNDING * bias
    rare = true_part > 0.7
    if caused != (biased or rare):
        return None
    others = int(np.sum(actual != top))
    found = int(np.sum((predicted != top) & (predicted == actual)))
    if rare:
        remedy = WEIGHT_THE_CLASSES
    else:
        remedy = f"Set the bias of {last.path} to 0 and train again; balance the classes in y."
    outweighs = f" The biases of {last.path} are {bias:.2g} apart, its outputs vary less."
    return CollapsedToOneClass(
        "collapsed to one class",
        e.where(last.path),
        "critical",
        f"Class {top} is predicted for {share(part)} of the rows, but only {share(true_part)} have "
        f"it: {found} of the {others} rows of other classes are recognised."
        f"{outweighs if biased else ''}",
        remedy,
    )


def overfitting(e: Evidence) -> Verdict | None:
    """What is learned from the training rows does not hold for others."""
    return _validation_rises(e) or _validation_stays_behind(e) or _by_heart(e)


def _validation_rises(e: Evidence) -> Verdict | None:
    """The validation loss has a lowest epoch, long before the last."""
    held, train = e.course.column("validation_loss"), e.course.column("loss")
    if held.size < 3 or not np.isfinite(held).all():
        return None
    best = int(np.argmin(held))
    if held[-1] <= 1.25 * held[best] or train[-1] >= 0.6 * held[-1] or best >= 0.8 * held.size:
        return None
    return _overfits(
        e,
        f"The validation loss was lowest in epoch {best + 1} ({held[best]:.3g}) and rose to "
        f"{held[-1]:.3g} in epoch {held.size}, while the training loss fell from "
        f"{train[best]:.3g} to {train[-1]:.3g}.",
        f": epoch {best + 1} was best",
    )


def _validation_stays_behind(e: Evidence) -> Verdict | None:
    """Most of what the network gained on the training rows is lost on others."""
    if not e.trained or not e.now.finite:
        return None
    held, train = e.course.column("validation_loss"), e.course.column("loss")
    measure, unlike = e.explained, e.rows.weight is not None and not e.loss.scores
    if e.validation is not None:
        inside, outside = e.now.loss, e.validation_loss
        if unlike and e.validation.weight is None:  # what weights keep small may be large there
            inside, measure = e.loss.forward(e.now.outputs, e.rows.y), e.explained_unweighted
    elif held.size and np.isfinite(held[-1]) and not unlike:
        inside, outside = train[-1], held[-1]
    else:
        return None
    gained, kept = 1 - measure.left(inside), 1 - measure.left(outside)
    much = gained >= 0.5 and kept <= 0.5 * gained
    harmful = gained >= 0.25 and kept <= -gained  # outside it costs as much
    if not much and not harmful:
        return None
    return _overfits(
        e,
        f"The loss is {inside:.3g} on the training rows and {outside:.3g} on the validation rows; "
        f"a constant prediction has {measure.constant:.3g}.",
    )


def _by_heart(e: Evidence) -> Verdict | None:
    """Few rows, all of them learned, and nothing in them that others could have in common."""
    known = e.validation is not None or e.course.column("validation_loss").size
    few = 20 <= len(e.rows) < min(FEW_ROWS, e.network.n_params)
    if known or not few or not e.trained or not e.now.finite:
        return None
    if not e.network_explains > LEARNED_BY_HEART:
        return None
    if e.surprise > RELATED or e.neighbours_explain > 1 - LEARNED_BY_HEART:
        return None
    return _overfits(
        e,
        f"The network explains {share(e.network_explains)} of {e.explained.what} on its training "
        f"rows, and nothing else is found in them that relates X to y: the {probes.NEIGHBOURS} "
        f"nearest neighbours of a row explain {e.neighbours_explain:.2f}, and no validation data "
        "show what holds for others.",
    )


def _overfits(e: Evidence, evidence: str, best: str = "") -> Verdict:
    return Overfitting(
        "overfitting",
        "network",
        "warning",
        f"{evidence} {_size(e)}",
        f"Use fewer units, Dropout(0.3) or more data. Stop early (patience=5 with validation_data, "
        f"or early_stopping=True in an estimator{best}): that saves steps and keeps the best.",
    )


def _size(e: Evidence) -> str:
    frozen = sum(p.size for layer in frozen_in(e.network) for p in layer.params.values())
    which = f", {frozen:,} of them frozen," if frozen else ""
    return f"There are {e.network.n_params:,} parameters{which} for {len(e.rows):,} rows."


def underfitting(e: Evidence) -> Verdict | None:
    """Training has come to rest although there is more to learn."""
    losses = e.course.losses
    if not e.trained or losses.size < 6 or 0 < e.steps < 20 or len(e.rows) < 30 or not e.now.finite:
        return None
    third = losses.size // 3
    middle, end = np.median(losses[third : 2 * third]), np.median(losses[2 * third :])
    rests = _came_to_rest(e.left(losses[-third:]))
    if e.left(e.now.training_loss) > ABOVE:
        return None
    if e.left(end) < LEARNED or (e.left(end) < 0.9 * e.left(middle) and not rests):
        return None
    own = max(e.network_explains, 0.0)  # NaN stays NaN
    if math.isnan(own) or own > 0.8 or random_features_serve(e):
        return None
    simple, by = _modest_model(e, rests)
    if simple < own + 0.2 or (e.surprise < RELATED and simple < 0.5):
        return None
    if (frozen := frozen_at_random(e)) is not None:
        return frozen
    if not (remedy := _larger(e, own)):
        return None
    return Verdict(
        "underfitting",
        "network",
        "warning",
        f"The loss has come to {end:.3g} ({middle:.3g} in the middle third of training); the "
        f"network explains {share(own)} of {e.explained.what} on its own training rows, "
        f"but {by} {share(simple)}. {_size(e)}",
        remedy,
    )


def _came_to_rest(losses: np.ndarray) -> bool:
    """Whether the last losses, if they are many, fall no faster than a tenth in twice the time."""
    early, late = np.array_split(losses, 2)
    return len(late) >= 5 and bool(np.median(late) > 0.95 * np.median(early))


def _modest_model(e: Evidence, rests: bool) -> tuple[float, str]:
    """How much of y the better of two models without hidden units explains, and its name.

    Few epochs need not have come as far as a linear model, which is solved at once.
    """
    near = e.neighbours_explain, f"the {probes.NEIGHBOURS} nearest neighbours of a row explain"
    return max(near, (e.linear_explains, "a linear model explains")) if rests else near


def _larger(e: Evidence, own: float) -> str:
    """Recommend a larger network; on a table, where that is cheap, after trying it.

    Empty if larger ones explain no more than it does itself: it is not the size, then.
    """
    if again := trained_again_learns(e):
        came = f"{e.tried().loss:.3g} on rows that were held out, in {e.tried().steps} steps"
        if again == "trained on":
            return f"Train longer: from where it is, this network comes to {came}."
        return (
            f"Build the network anew, with another random_state: so it comes to {came}. It was the "
            "weights that it started from, not its size."
        )
    hidden = e.learning(e.now)[:-1]
    widest = max(hidden, key=lambda s: s.layer.output_shape[-1], default=None)
    width = widest.layer.output_shape[-1] if widest else 0
    if widest and e.probed.X.ndim != 2 and not isinstance(widest.layer, Dense):
        kind = type(widest.layer).__name__
        return (
            f"Use more units: {widest.path} {kind}, the widest hidden layer, has {width}; give it "
            f"{max(16, 8 * width)}. Or one more layer; on a plateau, another random_state."
        )
    wide = max(64, 8 * width)
    one: tuple[int, ...] = (wide,)
    two = (wide, wide)
    if not width:
        every = [layer for _, layer in e.network.walk() if layer.params]
        frozen = [layer.path for layer in every if not layer.trainable]
        now = f"{frozen[-1]} before it is frozen" if frozen else "it is a linear map now"
        text = {one: f"Add a hidden layer, Dense(64), ReLU(), before the output: {now}."}
    else:
        text = {
            one: f"Use more units (the widest hidden layer has {width}): Dense({wide}), ReLU()."
        }
    text[two] = f"Use two hidden layers: Dense({wide}), ReLU(), Dense({wide}), ReLU()."
    if e.probed.X.ndim != 2 or len(e.network.output_shape) != 1:
        return f"{text[one]} Or one more layer; on a plateau, another random_state."
    best, found = one, _tried_out(e, one)
    if not found > e.neighbours_explain:
        deeper = _tried_out(e, two)
        if not found > deeper - 0.05:
            best, found = two, deeper
    if not found > own + GAINED:
        return ""
    return (
        f"{text[best]} Tried on {len(e.probed)} rows with Adam(0.01), it explains "
        f"{share(max(found, 0))}; on a plateau, another random_state."
    )


def _tried_out(e: Evidence, widths: tuple[int, ...]) -> float:
    return e.explained.by_network(
        probes.try_out(widths, e.network.output_shape[0], e.loss, e.probed)
    )
