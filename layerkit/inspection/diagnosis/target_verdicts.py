"""Verdicts on targets: whether they can be reached, and whether reaching them means anything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis.evidence import (
    Evidence,
    InitialCause,
    Verdict,
    level,
    share,
    spread,
)
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.layer import Layer
from layerkit.layers import LogSoftmax, Softmax
from layerkit.losses import NegativeLogLikelihood

OUT_OF_REACH = 0.15  # times the loss of a constant, at the best that the last layer can give
LARGE_TARGETS = 100.0  # deviation
MODERATE_TARGETS = 30.0  # root mean square, from which a rehearsal tells whether it matters
FAR_TARGETS = 3.0  # deviations from zero: another verdict's
HELD_BACK = 1.15  # times the loss with standardised targets, both over that of a constant
SMALL_TARGETS = 1e-3  # times the deviation of the first outputs
LEAKED = 0.999  # of the variance of y, by one column alone
LEAKED_CLASS = 0.98  # of the variance of a column, between the classes
ALONE = 0.9  # for the next best column: well separated clusters show in many
MOVED = 3.0  # deviations between the means of training and validation rows
STRETCHED = 5.0
FAR_OFF = 10.0  # times as much, of a single column
UNHEARD = 10  # rows of a class
UNLIKELY = 0.1  # mean probability of a class in its own rows
HELD_FAST = 0.9  # of the rows of a class, with one and the same score
WEIGHT_THE_CLASSES = (
    "Weight the classes: class_weight='balanced' in the estimator, or sample_weight="
    "compute_sample_weight('balanced', y) in train."
)


def constant_target(e: Evidence) -> Verdict | None:
    """All rows ask for one and the same."""
    y = e.rows.y
    if len(y) < 2 or (y != y[:1]).any():
        return None
    what = f"class {y.flat[0]}" if e.loss.scores and y.ndim == 1 else f"{y.flat[0]:.6g}"
    return Verdict(
        "constant target",
        "targets",
        "critical",
        f"y is {what} in each of the {len(y)} rows: there is nothing to learn from X.",
        "Look at how y was made: the wrong column, a filter that kept one class, a slice of sorted "
        "rows (shuffle before splitting).",
    )


def log_probabilities_missing(e: Evidence) -> Verdict | None:
    """NegativeLogLikelihood on outputs that are no logarithms of probabilities."""
    if not isinstance(e.loss, NegativeLogLikelihood) or not e.now.finite:
        return None
    sums = np.exp(np.asarray(e.now.outputs, np.float64)).sum(axis=-1)
    if np.abs(sums - 1).max() < 0.01:
        return None
    last = e.now.recorder.layers[-1]
    remedy = "Add LogSoftmax() as the last layer"
    if isinstance(last.layer, Softmax):
        remedy = f"Replace {last.path} Softmax() by LogSoftmax()"
    return Verdict(
        "log-probabilities missing",
        e.where(last.path),
        "critical",
        f"NegativeLogLikelihood takes logarithms of probabilities, whose exponentials sum to 1; "
        f"those of the outputs sum to {sums.min():.3g} to {sums.max():.3g}. The loss, "
        f"{e.now.loss:.3g}, falls without end when all outputs grow.",
        f"{remedy}, or use CategoricalCrossEntropy(), which takes raw outputs.",
    )


def outputs_out_of_reach(e: Evidence) -> Verdict | None:
    """The last layer cannot give what the loss asks for."""
    last, y = e.now.recorder.layers[-1], e.rows.y
    if last.layer.params or not e.now.finite or isinstance(last.layer, LogSoftmax):
        return None
    if e.loss.scores and isinstance(last.layer, Softmax):
        return None  # another verdict's
    low, high = _range_of(last.layer)
    if math.isinf(low) and math.isinf(high):
        return None
    found = _best_between(e, low, high)
    if not found - _best_between(e, -math.inf, math.inf) > OUT_OF_REACH * e.constant > 0:
        return None
    name, reach = type(last.layer).__name__, _interval(low, high)
    beyond = ""
    if y.shape == e.now.outputs.shape and not e.loss.scores:
        outside = float(np.mean((y < low) | (y > high)))
        beyond = f" {share(outside)} of the targets, which go from {y.min():.3g} to "
        beyond += f"{y.max():.3g}, lie outside."
    return InitialCause(
        "outputs out of reach",
        e.where(last.path),
        "critical",
        f"{name} gives numbers in {reach} only.{beyond} The best that it can give has a loss of "
        f"{found:.3g}; a constant prediction has {e.constant:.3g}.",
        f"Leave out the last layer, {last.path} {name}(): {type(e.loss).__name__} takes any "
        "number" + (", or bring the targets into that range." if not e.loss.scores else "."),
    )


def _range_of(layer: Layer) -> tuple[float, float]:
    """Smallest and largest output, infinite where it grows with its input."""
    shape = tuple(1 if size is None else size for size in layer.input_shape)
    spread = np.random.default_rng(0).standard_normal((64, *shape)).astype(layer.dtype)
    with np.errstate(all="ignore"):
        wide, wider = (layer.infer(factor * spread) for factor in (1e3, 1e6))
    low, high = float(wide.min()), float(wide.max())
    grows = max(abs(low), abs(high)) > 100
    return (
        -math.inf if wider.min() < 10 * low < 0 and grows else low,
        math.inf if wider.max() > 10 * high > 0 and grows else high,
    )


def _interval(low: float, high: float) -> str:
    left = "(-inf" if math.isinf(low) else f"[{low:.3g}"
    right = "inf)" if math.isinf(high) else f"{high:.3g}]"
    return f"{left}, {right}"


def _best_between(e: Evidence, low: float, high: float) -> float:
    """Mean loss if every output were the best one in a range."""
    outputs, y = e.now.outputs, e.rows.y
    right = probes.right_outputs(outputs, y)
    bound = 30.0 if e.loss.scores or right is None else max(2 * float(np.abs(right).max()), 1.0)
    low, high = max(low, -bound), min(high, bound)
    if outputs.ndim == 2 and y.ndim == 1 and right is not None:  # a score for the label, or none
        trials = [np.where(right > 0, high, low)]
    elif right is not None and not e.loss.scores and _is_identity(e.loss.inverse_link, outputs):
        trials = [np.clip(right, low, high)]
    else:
        trials = [np.full_like(outputs, value) for value in np.linspace(low, high, 61)]
    prepared = e.loss.prepare_targets(outputs, y)
    values = [e.loss.value(np.asarray(p, outputs.dtype), prepared) for p in trials]
    return float(np.min(values, axis=0).mean())


def _is_identity(function: Any, x: np.ndarray) -> bool:
    return np.array_equal(function(x), x)


def targets_not_scaled(e: Evidence) -> Verdict | None:
    """Targets so large that steps of the usual size never get there."""
    y, outputs = e.rows.y, e.first.outputs
    if e.loss.scores or y.shape != outputs.shape or not _is_identity(e.loss.inverse_link, outputs):
        return None
    if e.trained and e.now.finite and e.now.loss < 0.4 * e.constant:
        return None
    std, rehearsed = float(y.std()), ""
    if not std > LARGE_TARGETS and not 0 < std < SMALL_TARGETS * min(outputs.std(), 1):
        rehearsed = _held_back(e)
        if not rehearsed:
            return None
    learned = e.trained and e.now.finite and e.now.loss < e.constant
    return InitialCause(
        "targets not scaled",
        "targets",
        "warning" if rehearsed and learned else "critical",  # it learned, if less than it could
        f"y has {spread(y.mean(), std)}; the network's first outputs have "
        f"deviation {outputs.std():.3g}, and so have those of any network as it is built. The "
        f"loss is {e.now.loss:.3g}, that of the best constant {e.constant:.3g}.{rehearsed}",
        "Standardise the targets: sklearn.compose.TransformedTargetRegressor(regressor, "
        "transformer=StandardScaler()), or (y - y.mean()) / y.std() in train.",
    )


def _held_back(e: Evidence) -> str:
    """Say how much further a rehearsal with standardised targets gets, if it does."""
    y = e.rows.y
    mean, std = y.mean(axis=0), y.std(axis=0)
    far = abs(y.mean()) > FAR_TARGETS * y.std() + 1
    if far or not np.hypot(y.mean(), y.std()) > MODERATE_TARGETS or not e.constant > 0:
        return ""
    rows = Rows(e.rows.X, (y - mean) / np.where(std > 0, std, 1), e.rows.weight)
    constant = probes.best_constant(e.loss, rows, e.network.output_shape)
    losses, broke = e.rehearse_as(rows=rows)
    scaled = probes.smooth_end(losses) / constant
    doubt = 2 * probes.error_of_end(losses) / constant
    if e.trained and e.now.training_loss <= (scaled + doubt) * e.constant:
        return ""  # it took longer, but got there
    raw, gone = e.rehearse_as()
    found = np.inf if gone else probes.smooth_end(raw) / e.constant
    if broke or not found > HELD_BACK * scaled:
        return ""
    came = f"to {found:.2g} times with these" if np.isfinite(found) else "with these it breaks off"
    return (
        f" In a rehearsal of {len(losses)} steps the loss comes to {scaled:.2g} times that of a "
        f"constant with standardised targets, {came}."
    )


class LeakedColumn(Verdict):
    """Found by `leaked_column` in X and y alone, whatever the network is like."""

    def may_follow_from(self, cause: Verdict) -> bool:
        return False


def leaked_column(e: Evidence) -> Verdict | None:
    """One column of X that is y, or nearly."""
    X, targets = e.probed.X, probes.target_matrix(e.loss, e.probed.y)
    targets = targets[:, targets.std(axis=0) > 0]
    if getattr(X, "ndim", 0) != 2 or X.shape[1] < 2 or X.shape[0] < 30 or not targets.size:
        return None
    if targets.shape[1] == X.shape[1] and not e.loss.scores:
        return None  # an autoencoder asks for its inputs
    X = np.asarray(X.toarray() if hasattr(X, "tocsr") else X, np.float64)
    classes = e.loss.scores is not None and bool(np.isin(targets, (0, 1)).all())
    asked = _questions(targets, classes)
    by_column = np.array([_known_by(x, asked, classes) for x in X.T])
    leaked = by_column > (LEAKED_CLASS if classes else LEAKED)
    if not leaked.any() or leaked.sum() > max(X.shape[1] // 2, 1):
        return None
    rest = np.where(leaked, -np.inf, by_column)
    best, second = int(np.argmax(by_column)), int(np.argmax(rest))
    if by_column[second] > ALONE:
        return None  # well separated clusters show in many columns
    names = [e.probed.column(i) for i in range(X.shape[1])]
    known = share(by_column[best])
    of = "y" if len(asked) == 1 else f"one of the {len(asked)} columns of y"
    what = (
        f"{known} of the variance of column {names[best]} of X lies between the classes"
        if classes
        else f"Column {names[best]} of X alone explains {known} of the variance of {of}, "
        "by a straight line"
    )
    others = [names[i] for i in np.flatnonzero(leaked) if i != best]
    if others:
        what += f" (and as much of column{'s' * (len(others) > 1)} {', '.join(others)})"
    return LeakedColumn(
        "leaked column",
        "inputs",
        "warning",
        f"{what}; of the next best column, {names[second]}, {share(max(by_column[second], 0))}. "
        "A column that knows the answer is seldom known when it is asked for.",
        f"Check where column {names[best]} comes from; leave it out if it is made from y or after "
        "it.",
    )


def _questions(targets: np.ndarray, classes: bool) -> list[np.ndarray]:
    """What is asked for: the class, each of several labels, or each column of y."""
    if classes and (targets.sum(axis=1) == 1).all():
        return [targets]
    columns = [targets[:, [j]] for j in range(targets.shape[1])]
    return [np.hstack([column, 1 - column]) for column in columns] if classes else columns


def _known_by(column: np.ndarray, asked: list[np.ndarray], classes: bool) -> float:
    """How well a column knows what is asked, of several questions that which it knows best."""
    return max(probes.one_column_explains(column, targets, classes) for targets in asked)


def validation_on_another_scale(e: Evidence) -> Verdict | None:
    """Validation rows that were not prepared as the training rows were."""
    validation = e.validation or e.subject.watched
    if validation is None or len(validation) < 10:
        return None
    for what, train, held in (
        ("X", e.rows.X, validation.X),
        ("y", e.rows.y, validation.y),
    ):
        if what == "y" and e.loss.scores:
            continue
        (mean, std), (mean_held, std_held) = map(probes.moments, (train, held))
        typical = np.maximum(std, 1e-9 * (np.abs(mean) + 1))
        moved = np.abs(mean_held - mean) / typical
        stretch = np.exp(np.abs(np.log(np.maximum(std_held, 1e-300) / typical)))
        moving = (std > 0) & (std_held > 0)
        if not moving.any():
            continue
        apart, ratio = float(np.median(moved[moving])), float(np.median(stretch[moving]))
        off = np.where(moving, np.maximum(moved / MOVED, stretch / STRETCHED), 0)
        column = int(np.argmax(off))
        if apart < MOVED and ratio < STRETCHED and off[column] < FAR_OFF:
            continue
        return Verdict(
            "validation data on another scale",
            "inputs" if what == "X" else "targets",
            "critical",
            f"{what} of the validation data lies {apart:.3g} deviations of the training data away "
            f"and is {ratio:.3g} times as wide or as narrow (medians over columns); column "
            f"{column}: {spread(mean[column], std[column])} in training, "
            f"{level(mean_held[column], std_held[column]):.3g} and {std_held[column]:.3g} in "
            "validation.",
            "Prepare both alike: fit the scaler on the training rows and transform the validation "
            "rows by it (in a Pipeline, pass early_stopping=True and let the estimator split).",
        )
    return None


def class_never_predicted(e: Evidence) -> Verdict | None:
    """One of several classes is given to no row."""
    if not e.trained or e.loss.scores is None or e.now.outputs.shape[-1] < 3 or not e.now.finite:
        return None
    labels = probes.labels(e.now.outputs, e.rows.y)
    if labels is None or e.now.loss > 0.8 * e.constant:
        return None
    predicted, actual = labels
    missing = _missing(predicted, actual, e.loss.inverse_link(e.now.outputs), e.rows.weight)
    if not missing:
        return None
    last, (label, count) = e.learning(e.now)[-1], max(missing, key=lambda pair: pair[1])
    n_classes = len(np.unique(actual))
    given = np.bincount(predicted[actual == label]).argmax()
    bias = last.layer.params.get("b", np.zeros(n_classes))
    low = bias.size > label and bias[label] < np.median(bias) - 3
    weight = 1.0 if e.rows.weight is None else e.rows.weight[actual == label].mean()
    unweighted = e.rows.weight is not None and weight < 0.1 * e.rows.weight.mean()
    held = _held_at_end(e, e.now.outputs[actual == label, label])
    if held:
        remedy = held
    elif low:
        remedy = f"Set the bias of {last.path} to 0 and train again."
    elif unweighted:
        remedy = f"Give its rows more weight: their sample_weight is {weight:.2g} in the mean."
    elif count < 0.5 * len(actual) / n_classes:
        remedy = WEIGHT_THE_CLASSES
    else:
        remedy = (
            f"Look at rows of class {label} beside rows of class {given}: do their columns of X "
            "differ? Then train longer, or with more units."
        )
    biased = f" Its bias in {last.path} is {bias[label]:.2g}." if low else ""
    return Verdict(
        "class never predicted",
        e.where(last.path),
        "warning",
        f"{count} of {len(actual)} rows ({share(count / len(actual))}) have class {label}, and not "
        f"one is predicted as such: most of them as class {given}.{biased}",
        remedy,
    )


def _held_at_end(e: Evidence, scores: np.ndarray) -> str:
    """Say what to do about a last layer, such as ReLU, that holds the scores of a class fast."""
    last = e.now.recorder.layers[-1]
    least = scores.min()
    part = float(np.mean(scores == least))
    if last.layer.params or part < HELD_FAST:
        return ""
    name = type(last.layer).__name__
    return (
        f"Leave out the last layer, {last.path} {name}(): it gives the class {least:.3g} for "
        f"{share(part)} of these rows, and no gradient passes there; {type(e.loss).__name__} takes "
        "raw outputs."
    )


def _missing(
    predicted: np.ndarray, actual: np.ndarray, likely: np.ndarray, weight: np.ndarray | None
) -> list[tuple[int, int]]:
    """Labels with many rows, none of which is given them or comes near, and how many those are.

    What is near depends on how much of the loss is theirs.
    """
    weight = np.ones(len(actual)) if weight is None else weight / weight.mean()
    return [
        (int(value), int(count))
        for value, count in zip(*np.unique(actual, return_counts=True), strict=True)
        if count >= max(UNHEARD, 0.02 * len(actual))
        and not (predicted == value).any()
        and np.mean(likely[actual == value, value])
        < max(2 * weight[actual == value].sum() / len(actual), UNLIKELY)
    ]
