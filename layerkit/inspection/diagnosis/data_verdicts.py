"""Verdicts on what goes in and what is asked for: inputs, targets, loss and output layer."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np

from layerkit import layers
from layerkit.inspection.diagnosis import probes
from layerkit.inspection.diagnosis.evidence import (
    Evidence,
    InitialCause,
    Verdict,
    share,
    spread,
)
from layerkit.inspection.diagnosis.statistics import Snapshot
from layerkit.layer import Layer
from layerkit.losses import NegativeLogLikelihood
from layerkit.sequences import Sequences, numbers

LARGE_INPUTS = 20.0  # root mean square of a column, or of a channel of images
SMALL_INPUTS = 0.02
FAR_FROM_ZERO = 8.0  # mean of a column over its deviation
FARTHEST = 1000.0  # as well: running means of BatchNorm get there in some 65 steps
UNEVEN = 1000.0  # between the scales of the largest and the smallest tenth of the columns
WRONG_LOGITS = 4.0  # times the loss of equal probabilities
LARGE_LOGITS = 5.0  # root mean square; about 1 as layers are built
MANY_BLOCKS = 3  # residual ones, each of which adds to what passes by
GROWN = 3.0  # times the root mean square before the first of them
FAR_TARGETS = 10.0  # times the loss of the best constant, where zero is no good prediction
LARGE_VALUES = 40.0  # times the loss of zeros; 20 is common with one column and ReLUs
SILENT = 0.2  # share of rows without a gradient; a robust loss may give up a few on purpose
RELATED = 3.5  # deviations above chance
TREND = 0.04  # of the variance of y, by a line that has not seen the row: chance gives none
FEW_ROWS = 150  # among fewer a weak relation is no surprise, and none is no proof
LEARNED = 0.3  # of the variance of y
HELD_OUT = 0.7  # times the loss of a constant: as low as that needs a relation
_TRANSPARENT = (
    layers.Flatten,
    layers.Reshape,
    layers.Permute,
    layers.ZeroPad2D,
    layers.UpSample2D,
    layers.Identity,
    layers.Dropout,
    layers.GaussianNoise,
)


class InputsNotScaled(Verdict):
    """Found by `inputs_not_scaled`."""


class LinkAppliedTwice(Verdict):
    """Found by `link_applied_twice`; stands beside the scale of the inputs."""

    def may_follow_from(self, cause: Verdict) -> bool:
        return not isinstance(cause, InputsNotScaled)


class UnrelatedByHeart(Verdict):
    """Rows that belong to other targets, and that the network knows all the same.

    So no fault of a layer hides what relates them.
    """

    def may_follow_from(self, cause: Verdict) -> bool:
        return cause.layer in ("inputs", "targets")


def constant_inputs(e: Evidence) -> Verdict | None:
    """All rows are one and the same."""
    if len(e.rows) < 2 or not _is_constant(e.rows.X):
        return None
    return Verdict(
        "constant inputs",
        "inputs",
        "critical",
        f"X does not vary: it is the same in each of the {len(e.rows)} rows, so a network gives "
        "all of them one output, whatever y is.",
        "Look at how X was made: one row repeated, columns that were filled with a constant, a "
        "factor that made everything 0; X.std(axis=0) shows what varies.",
    )


def _is_constant(X: Any) -> bool:
    if isinstance(X, Sequences):
        return X.time is not None and _is_constant(X.to_array())
    if hasattr(X, "tocsr"):
        return abs(X[1:] - X[[0] * (X.shape[0] - 1)]).max() == 0
    return not (X[1] != X[0]).any() and not (X[:1] != X).any()


def inputs_not_scaled(e: Evidence) -> Verdict | None:
    """Columns of X far from zero, huge, tiny, or on very different scales."""
    X = e.rows.X
    columns = _scaled_columns(e.network, X.shape[-1])
    if not columns.any():
        return None
    mean, std = (moment[columns] for moment in probes.moments(X))
    which = [e.rows.column(i) for i in np.flatnonzero(columns).tolist()]
    problem = _problem_of_scale(X.ndim == 2, which, mean, std)
    if not problem:
        return None
    ways = ["put sklearn.preprocessing.StandardScaler() before the network in a Pipeline"]
    if X.ndim > 2:  # which takes tables only
        ways = ["standardise each channel over all rows and steps: (X - mean) / std"]
    if X.ndim > 2 and numbers(X).min() >= 0 and 200 < numbers(X).max() < 256:
        ways.insert(0, "divide the images by 255")
    elif not (np.abs(mean) > FARTHEST * std)[std > 0].any():
        ways.append("put BatchNorm() as its first layer")
    remedy = ", or ".join(ways)
    remedy = f"{remedy[0].upper()}{remedy[1:]}."
    return InputsNotScaled("inputs not scaled", "inputs", "critical", problem, remedy)


def _problem_of_scale(table: bool, which: list[str], mean: np.ndarray, std: np.ndarray) -> str:
    """What is wrong with the scale of columns of a table or channels of images, if anything is."""
    rms = np.hypot(mean, std)
    moving = std > 1e-9 * (rms.max() + 1e-300)
    if not moving.any():
        return ""
    kind, top = "column" if table else "channel", int(np.argmax(rms))
    largest = f"{kind} {which[top]} of X has {spread(mean[top], std[top])}"
    if rms[top] > LARGE_INPUTS:
        rest = f"; the {kind}s have root mean squares from {rms.min():.2g} to {rms.max():.2g}"
        return f"{largest[0].upper()}{largest[1:]}{rest if rms.size > 1 else ''}."
    if rms[top] < SMALL_INPUTS and rms[top] * math.sqrt(rms.size) < 0.05:
        return f"All inputs are tiny: the largest, {largest}."
    shifted = np.abs(mean[moving]) > FAR_FROM_ZERO * std[moving]
    if shifted.mean() > 0.5 and rms[top] > 1:
        count = f"{int(shifted.sum())} of {shifted.size} {kind}s"
        return f"{count} are far from zero: the largest, {largest}."
    low, high = np.quantile(rms[moving], [0.1, 0.9])
    if table and high / max(low, 1e-300) > UNEVEN and rms[top] > 3:
        return f"The columns are on scales from {low:.2g} to {high:.2g}."
    return ""


def _scaled_columns(network: Layer, n: int) -> np.ndarray:
    """Which columns reach a layer that takes their scale as it is."""
    columns = np.zeros(n, bool)
    for which, layer in _entries(network, np.arange(n)):
        if not isinstance(layer, (layers.BatchNorm, layers.Embedding)):
            columns[which] = True
    return columns


def _entries(layer: Layer, columns: Any) -> list[tuple[Any, Layer]]:
    """(columns, layer) of the first layers that compute something."""
    if isinstance(layer, layers.Sequential):
        inner = next((x for x in layer.chain if not isinstance(x, _TRANSPARENT)), None)
        return [] if inner is None else _entries(inner, columns)
    if isinstance(layer, layers.Columns):
        routes = zip(layer.positions, layer.routes, strict=True)
        return [found for at, (_, inner) in routes for found in _entries(inner, columns[at])]
    if isinstance(layer, (layers.Residual, layers.Gate, layers.Concat)):
        return [found for _, inner in layer.children() for found in _entries(inner, columns)]
    return [(columns, layer)]


def channels_first(e: Evidence) -> Verdict | None:
    """Images whose channels stand before their rows and columns."""
    X = e.rows.X
    shape = X.shape[1:]
    if len(shape) != 3 or None in shape:
        return None
    if shape[0] not in (1, 3, 4) or shape[1] < 8 or shape[2] <= 4:
        return None
    return Verdict(
        "channels first",
        "inputs",
        "critical",
        f"X has shape {X.shape}: {shape[0]} rows of {shape[1]} columns with {shape[2]} channels, "
        f"as layerkit reads it; more likely {shape[0]} channels of {shape[1]} x {shape[2]} pixels.",
        "Put the channels last: X = np.ascontiguousarray(np.moveaxis(X, 1, -1)).",
    )


def link_applied_twice(e: Evidence) -> Verdict | None:
    """The network ends in the softmax or sigmoid that the loss applies itself."""
    if e.loss.scores != "logits" or isinstance(e.loss, NegativeLogLikelihood):
        return None
    last = e.now.recorder.layers[-1]
    outputs = e.now.outputs
    inside = bool((outputs >= 0).all() and (outputs <= 1).all())
    k = outputs.shape[-1]
    sums = outputs.sum(axis=-1)
    softmax = k > 1 and inside and bool(np.abs(sums - 1).max() < 1e-3)
    sigmoid = isinstance(last.layer, layers.Sigmoid) or (
        inside
        and not last.layer.params
        and last.input_ranges.count > 0
        and float(np.min(last.input_ranges.low)) < 0
        and float(outputs.min()) > 0
    )
    if not (isinstance(last.layer, layers.Softmax) or softmax or sigmoid):
        return None
    name = type(last.layer).__name__
    kind = "softmax" if softmax or isinstance(last.layer, layers.Softmax) else "sigmoid"
    loss = type(e.loss).__name__
    best = math.log1p((k - 1) / math.e) if kind == "softmax" else math.log1p(math.exp(-1))
    return LinkAppliedTwice(
        f"{kind} applied twice",
        e.where(last.path),
        "critical",
        f"The outputs lie between {outputs.min():.3g} and {outputs.max():.3g}"
        f"{' and sum to 1' if softmax else ''}: they are probabilities, and {loss} applies "
        f"{kind} to them once more, so that no prediction can have a loss below {best:.3g}.",
        f"Leave out the last layer, {last.path} {name}(): {loss} takes raw outputs.",
    )


def loss_without_gradient(e: Evidence) -> Verdict | None:
    """Rows that are wrong, and yet the loss has no slope there: clipped, as a rule."""
    loss, outputs, y = e.loss, e.now.outputs, e.rows.y
    right = probes.right_outputs(outputs, y)
    if right is None or not e.now.finite:
        return None
    loss.forward(outputs, y)
    silent = ~loss.backward().reshape(len(y), -1).any(axis=1)
    found, best = (
        loss.value(p, loss.prepare_targets(p, y)).reshape(len(y), -1).mean(axis=1)
        for p in (outputs, right)
    )
    silent &= found > best + 0.1 * e.constant  # those that are right need no gradient
    if silent.mean() < SILENT:
        return None
    if y.shape == outputs.shape:
        remedy = (
            "Clip the gradient, not the error: Huber(delta=1.0) pulls at every row, with a force "
            "of at most 1; clip_norm=1.0 in the optimizer limits the whole step."
        )
    else:
        remedy = (
            "Clip no probabilities: CategoricalCrossEntropy() takes the raw outputs, needs no "
            "clipping, and pulls hardest at the rows that are most wrong."
        )
    return Verdict(
        "loss without gradient",
        "loss",
        "critical" if silent.mean() > 0.5 else "warning",
        f"For {int(silent.sum())} of {len(y)} rows ({share(silent.mean())}) the gradient of "
        f"{type(loss).__name__} is exactly 0 although their loss, {found[silent].mean():.3g} on "
        f"average, would be {best[silent].mean():.3g} for the right prediction: they teach the "
        "network nothing.",
        remedy,
    )


def wrong_initial_loss(e: Evidence) -> Verdict | None:
    """An untrained network should be about as good as a constant."""
    if e.start is not None and e.start.finite:
        found = min(e.start.loss, e.start.training_loss)  # BatchNorm's averages start anywhere
        when = "Before training the loss is"
    elif e.start is None and e.course.losses.size:
        found, when = float(e.course.losses[0]), "At first the loss was"
    else:
        return None
    return (_confident if e.loss.scores else _far_from_targets)(e, found, when)


def _confident(e: Evidence, found: float, when: str) -> Verdict | None:
    """Large scores before anything is known."""
    if e.start is None or not found > WRONG_LOGITS * max(e.constant, e.zero) > 0:
        return None
    last, outputs = e.learning(e.start)[-1], e.start.outputs
    if not np.sqrt(np.square(outputs).mean()) > LARGE_LOGITS:
        return None  # it is the loss that punishes small scores hard, such as a squared hinge
    if (grown := grown_in_blocks(e, e.start, last.path)) is not None:
        return grown
    k = max(outputs.shape[-1], 2)
    log_k = f" (log {k})" if abs(e.zero - math.log(k)) < 0.02 else ""
    return InitialCause(
        "wrong initial loss",
        e.where(last.path),
        "warning",
        f"{when} {found:.3g}. Equal probabilities would give {e.zero:.3g}{log_k}, the class shares "
        f"{e.constant:.3g}: the network is confidently wrong. Its outputs have "
        f"{spread(outputs.mean(), outputs.std())}.",
        f"Make the last layer, {last.path}, start small: initializer='auto' and biases at 0.",
    )


def _far_from_targets(e: Evidence, found: float, when: str) -> Verdict | None:
    """Outputs on another scale than the targets."""
    last, outputs, y = e.learning(e.first)[-1], e.first.outputs, e.rows.y
    far = abs(y.mean()) > 3 * y.std() + 1
    if not e.constant > 0 or not e.explained.has_best:
        return None  # a density's likelihood has no zero to measure from
    limit = FAR_TARGETS if far else LARGE_VALUES * max(1.0, e.left(e.zero))
    if not e.left(found) > limit:
        return None
    linked = not np.array_equal(e.loss.inverse_link(outputs), outputs)
    if linked and not far and not _rms(outputs) > LARGE_LOGITS:
        return None  # it is the link, such as exp, that makes much of little
    if e.start is None and not far:
        return None  # it may have been the first steps that led there
    grown = None if far else grown_in_blocks(e, e.first, last.path)
    if grown is not None:
        return grown
    if far or outputs.std() < 3 * y.std():
        remedy = (
            "Standardise the targets, for instance with "
            "sklearn.compose.TransformedTargetRegressor(transformer=StandardScaler()); or set the "
            f"bias of {last.path} to the mean of y."
        )
    else:
        remedy = f"Use initializer='auto' in the last layer, {last.path}, and biases at 0."
    return InitialCause(
        "wrong initial loss",
        e.where(last.path),
        "warning",
        f"{when} {found:.3g}; the best constant prediction has {e.constant:.3g}. The outputs "
        f"{'have' if e.start else 'now have'} {spread(outputs.mean(), outputs.std())}, the targets "
        f"{spread(y.mean(), y.std())}.",
        remedy,
    )


def grown_in_blocks(e: Evidence, snapshot: Snapshot, last: str) -> Verdict | None:
    """Large outputs for which not the last layer is to blame, but blocks that only ever add."""
    blocks = sum(isinstance(s, layers.Residual) for _, s in snapshot.network.walk())
    if blocks < MANY_BLOCKS:
        return None
    outputs, sizes = snapshot.outputs, list[tuple[float, float]]()

    def look(layer: Layer, direction: str, received: Any, returned: Any) -> None:
        if isinstance(layer, layers.Residual) and direction == "forward":
            sizes.append((_rms(numbers(received)), _rms(numbers(returned))))

    network = copy.deepcopy(snapshot.network)
    with network.observed(look):
        network.forward(e.probed.X)
    before, after = sizes[0][0], max(returned for _, returned in sizes)
    if not (after > GROWN * before and _rms(outputs) < GROWN * after):
        return None
    return InitialCause(
        "residual sum grows",
        "network",
        "warning",
        f"Each of {len(sizes)} residual blocks adds to what passes by: its root mean square is "
        f"{before:.3g} before the first and {after:.3g} at the largest, so that the untrained "
        f"network's outputs have {_rms(outputs):.3g}.",
        f"Put LayerNorm() or BatchNorm() before the last layer, {last}; or let each block begin as "
        "the identity, its last layer with initializer=initializers.zeros.",
    )


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean()))


def rows_misaligned(e: Evidence) -> Verdict | None:
    """Nothing relates X to y, or something does after a shift by a few rows."""
    if len(e.rows) < 60 or e.now.recorder.origin is not None:
        return None
    return (_shifted(e) if e.subject.ordered else None) or _unrelated(e)


def _shifted(e: Evidence) -> Verdict | None:
    first = e.rows.take(slice(0, 1000))  # neighbours in the order in which they came
    targets = probes.target_matrix(e.loss, first.y)
    targets = targets[:, targets.std(axis=0) > 0]
    if not targets.size:
        return None
    explained = probes.explained_by_shift(first.X, targets)
    shift = max(explained, key=lambda shift: explained[shift])
    found, now = explained[shift], explained[0]
    if shift == 0 or found < 0.25 or found < now + 0.25 or now > 0.3:
        return None
    rows = f"{abs(shift)} row{'s' * (abs(shift) > 1)}"
    return Verdict(
        "rows misaligned",
        "targets",
        "critical",
        f"The {probes.NEIGHBOURS} nearest neighbours of a row explain {share(max(now, 0))} of the "
        f"variance of y, but {share(found)} when y is shifted by {rows}: X and y do not belong "
        "to the same rows.",
        f"Find where a row was lost or a header read as data; y = np.roll(y, {shift}) restores "
        "the order that fits.",
    )


def _unrelated(e: Evidence) -> Verdict | None:
    if not e.trained or len(e.rows) < FEW_ROWS:
        return None
    targets = probes.target_matrix(e.loss, e.probed.y)
    if e.loss.scores is not None and targets.mean(axis=0).max() > 0.9:
        return None  # too few of the other classes to tell
    held_out = _held_out(e)
    memorised = e.network.n_params > len(e.rows)
    if not e.surprise < RELATED or held_out < HELD_OUT or e.linear_explains > TREND:
        return None
    if e.network_explains > LEARNED and (not memorised or e.left(e.tried().loss) < HELD_OUT):
        return None
    validation = "" if math.isnan(held_out) else (
        f" On the validation data the network's loss is {held_out:.2f} times that of a constant."
    )  # fmt: skip
    kind = UnrelatedByHeart if e.network_explains > LEARNED else Verdict
    return kind(
        "rows misaligned",
        "targets",
        "warning",
        f"Nothing is found that relates X to y in {len(e.probed)} rows: kernel ridge regression, "
        f"each row left out, is {e.surprise:.1f} deviations from what it explains of shuffled y; "
        f"the {probes.NEIGHBOURS} nearest neighbours explain {e.neighbours_explain:.2f} of "
        f"{e.explained.what}, the network {e.network_explains:.2f} on its own training rows."
        f"{validation}",
        "Check that row i of X and row i of y are the same sample: sort both by one key, shuffle "
        "them with one permutation (sklearn.utils.shuffle(X, y)), look at a few pairs.",
    )


def _held_out(e: Evidence) -> float:
    """Best validation loss over that of a constant; NaN without validation data."""
    losses = e.course.column("validation_loss")
    best = float(np.nanmin(losses)) if np.isfinite(losses).any() else math.inf
    constant = e.constant
    if e.validation is not None:
        best = min(best, e.validation_loss)
        constant = probes.best_constant(e.loss, e.validation, e.network.output_shape)
    return best / constant if constant > 0 and best < math.inf else math.nan
