"""Small experiments on the data and on copies of the network, to tell one cause from another."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from itertools import chain, repeat
from typing import Any

import numpy as np

from layerkit.fused import plan, threads_for
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.layer import Layer
from layerkit.layers import Dense, ReLU, Sequential
from layerkit.losses import CategoricalCrossEntropy, Loss, NegativeLogLikelihood
from layerkit.optimizers import Adam
from layerkit.sequences import Sequences, numbers
from layerkit.training import train
from layerkit.training.batches import ArrayBatches
from layerkit.training.run import first_nonfinite

SECONDS = 4.0  # for one rehearsal, of this thread alone: a busy machine changes no verdict
FEWEST = 20  # losses, whose mean says how far a rehearsal has come
NEIGHBOURS = 5


def best_constant(loss: Loss, rows: Rows, output_shape: tuple[int, ...]) -> float:
    """The loss of the best prediction that does not look at X.

    For a cross-entropy it is the entropy of the class shares, for a squared error the variance.
    """
    some = rows.some(2000)
    start = None
    if some.y.shape[1:] == output_shape and not loss.scores:
        start = np.median(some.y, axis=0)
    return lowest(loss, some, output_shape, np.ones((len(some), 1)), start)


def lowest(
    loss: Loss,
    rows: Rows,
    output_shape: tuple[int, ...],
    basis: Any,
    start: Any = None,
    limit: int = 15000,
) -> float:
    """The lowest loss of predictions that are sums of some columns, times what suits best.

    A column of ones makes the best constant; the identity, for every row what suits it best.
    """
    from scipy.optimize import minimize

    n, m = basis.shape
    if isinstance(loss, NegativeLogLikelihood):  # no constant that is no probability
        loss = CategoricalCrossEntropy()

    def value_and_slope(factors: np.ndarray) -> tuple[float, np.ndarray]:
        y_pred = (basis @ factors.reshape(m, -1)).reshape(n, *output_shape)
        value = loss.forward(y_pred, rows.y, rows.weight)
        return value, (basis.T @ loss.backward().reshape(n, -1)).ravel().astype(np.float64)

    zeros = np.zeros(m * int(np.prod(output_shape)))
    origin = zeros if start is None else np.ravel(start).astype(np.float64)
    values = [value_and_slope(origin)[0]]
    for at in (origin, zeros):
        found = minimize(value_and_slope, at, jac=True, method="L-BFGS-B",
                         options={"maxiter": limit})  # fmt: skip
        values.append(float(found.fun))
    finite = [value for value in values if np.isfinite(value)]
    return min(finite) if finite else float("nan")


def moments(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every column, or of every channel."""
    if hasattr(X, "tocsr"):
        mean = np.asarray(X.mean(axis=0)).ravel()
        square = np.asarray(X.multiply(X).mean(axis=0)).ravel()
        return mean, np.sqrt(np.maximum(square - mean**2, 0))
    cells = np.asarray(numbers(X), np.float64)
    cells = cells.reshape(-1, X.shape[-1] if cells.ndim > 1 else 1)
    return cells.mean(axis=0), cells.std(axis=0)


def right_outputs(outputs: np.ndarray, y: np.ndarray) -> np.ndarray | None:
    """Outputs that are right: the targets, or a large score for the label; None if neither fits."""
    if y.shape == outputs.shape:
        return y.astype(outputs.dtype)
    if y.ndim == 1 and outputs.ndim == 2 and y.dtype.kind in "iu":
        return (10 * (y[:, np.newaxis] == np.arange(outputs.shape[1]))).astype(outputs.dtype)
    return None


def labels(outputs: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Predicted and true classes, if each row has one."""
    if outputs.ndim != 2:
        return None
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0).astype(int), (y.reshape(len(y), -1)[:, 0] > 0.5).astype(int)
    if y.ndim == 2 and not np.allclose(y.sum(axis=1), 1):
        return None
    return outputs.argmax(axis=1), (y if y.ndim == 1 else y.argmax(axis=1)).astype(int)


def target_matrix(loss: Loss, y: np.ndarray) -> np.ndarray:
    """Targets as columns of numbers: one for every class, or y itself."""
    if loss.scores is not None and (y.ndim == 1 or y.shape[1] == 1):
        y = y.reshape(len(y))
        return (y[:, np.newaxis] == np.unique(y)).astype(np.float64)
    return y.reshape(len(y), -1).astype(np.float64)


def explained(targets: np.ndarray, predictions: np.ndarray, weight: Any = None) -> float:
    """R²: share of the variance of all columns together that the predictions explain."""
    weight = np.ones(len(targets)) if weight is None else weight
    rest = np.square(targets - np.average(targets, axis=0, weights=weight))
    total = (weight @ rest).sum()
    left = (weight @ np.square(targets - predictions)).sum()
    return float(1 - left / total) if total else float("nan")


def network_explains(loss: Loss, outputs: np.ndarray, y: np.ndarray, weight: Any = None) -> float:
    """R² of the network's predictions, on the columns of `target_matrix`."""
    targets = target_matrix(loss, y)
    predictions = loss.inverse_link(outputs).reshape(len(y), -1)
    if loss.scores is not None and predictions.shape[1] == 1 and targets.shape[1] == 2:
        predictions = np.hstack([1 - predictions, predictions])
    if loss.scores is not None and targets.shape[1] < predictions.shape[1] and y.ndim == 1:
        predictions = predictions[:, np.unique(y)]
    if predictions.shape != targets.shape or loss.scores == "margins":
        return float("nan")
    return explained(targets, predictions, weight)


def linear_explains(X: Any, targets: np.ndarray, weight: Any = None) -> float:
    """R² of ridge regression on the columns as they are, every row left out of its own fit."""
    x, n = standardized(X), len(targets)
    weight = np.ones(n) if weight is None else weight / weight.mean()
    root = np.sqrt(weight)[:, np.newaxis]
    left, sizes, _ = np.linalg.svd(root * (x - weight @ x / n), full_matrices=False)
    left = left * np.sqrt(sizes**2 / (sizes**2 + 1e-3 * n))
    leverage = np.square(left).sum(axis=1, keepdims=True) + root**2 / n
    centred = root * (targets - weight @ targets / n)
    left_out = (centred - left @ (left.T @ centred)) / np.maximum(1 - leverage, 1e-6)
    return explained(targets, targets - left_out / root, weight)


def one_column_explains(column: np.ndarray, targets: np.ndarray, of_classes: bool) -> float:
    """R² of a straight line through one column; of classes, how much of the column they explain."""
    column = column - column.mean()
    size = float(column @ column)
    if not size > 0:
        return 0.0
    if of_classes:
        means = column @ targets / np.maximum(targets.sum(axis=0), 1e-300)
        return explained(column, targets @ means)
    slopes = column @ (targets - targets.mean(axis=0)) / size
    return explained(targets, targets.mean(axis=0) + column[:, np.newaxis] * slopes)


class Neighbourhood:
    """Which rows lie nearest to which, and how well a row's y follows from its neighbours' y.

    The most modest of all models. What it cannot see may still be there; but what it sees, a
    network should see as well.
    """

    def __init__(self, X: Any) -> None:
        x = standardized(X)
        distances = _squared_distances(x)
        same = distances <= 1e-9 * np.square(x).sum(axis=1).mean()  # itself, and copies
        distances[same] = np.inf
        self.nearest = np.argsort(distances, axis=1)[:, : min(NEIGHBOURS, len(x) - 1)]

    def explains(self, targets: np.ndarray) -> float:
        """R² of `predicts`."""
        return explained(targets, self.predicts(targets))

    def predicts(self, targets: np.ndarray, weight: Any = None) -> np.ndarray:
        """The mean of the neighbours' targets, every row left out of its own prediction."""
        if weight is None:
            return targets[self.nearest].mean(axis=1)
        near = weight[self.nearest]
        near /= near.sum(axis=1, keepdims=True)
        return np.einsum("ij,ijk->ik", near, targets[self.nearest])


def surprise(X: Any, targets: np.ndarray, draws: int = 60) -> float:
    """How many deviations above chance X explains the targets, chance being shuffled targets.

    Explained is the R² of ridge regression with a Gaussian kernel, every row left out of its own
    prediction. The ridge is so large that only a smooth trend is left, which is what shows of a
    relation that drowns in noise.
    """
    distances = _squared_distances(standardized(X))
    kernel = np.exp(-2 * distances / (np.median(distances) or 1.0))
    kernel -= kernel.mean(axis=0)
    kernel -= kernel.mean(axis=1, keepdims=True)
    n = len(kernel)
    ridge = 10 * float(np.trace(kernel)) / n + 1e-12
    smoother = np.linalg.solve(kernel + ridge * np.eye(n), kernel)
    left_out = 1 - 1 / n - np.diag(smoother)[:, np.newaxis]
    centred = targets - targets.mean(axis=0)

    def found(rows: Any) -> float:
        y = centred[rows]
        return explained(y, y - (y - smoother @ y) / left_out)

    rng = np.random.default_rng(0)
    chance = [found(rng.permutation(n)) for _ in range(draws)]
    return (found(slice(None)) - float(np.mean(chance))) / (float(np.std(chance)) + 1e-12)


def explained_by_shift(X: Any, targets: np.ndarray, reach: int = 3) -> dict[int, float]:
    """R² of the neighbours, by the number of rows that the targets are shifted."""
    near = Neighbourhood(X)
    return {s: near.explains(np.roll(targets, s, axis=0)) for s in range(-reach, reach + 1)}


def rehearse(
    network: Layer,
    loss: Loss,
    optimizer: Any,
    rows: Rows,
    factor: float,
    steps: int,
    batch_size: int,
    change: Callable[[Layer, Any], Layer | None] | None = None,
    enough: float = -math.inf,
) -> tuple[np.ndarray, str]:
    """Train a copy for some steps with the learning rate times a factor.

    ``change`` is given the copies of network and optimizer before they begin; it may return another
    network. Large networks are given up after some seconds, when the first steps are done; all are
    done when the mean of the last losses is below ``enough``.

    Returns
    -------
    losses : array
        Of every step; it ends where they are no longer finite.
    broke : str
        Where the first number that is not finite stood, if one did.
    """
    working = copy.deepcopy(network).reseed(0)
    stepper = copy.deepcopy(optimizer)
    stepper.reset()
    if change is not None:
        changed = change(working, stepper)
        working = changed if isinstance(changed, Layer) else working
    planned = plan(working)
    rate = stepper.learning_rate
    stepper.learning_rate = (lambda t: factor * rate(t)) if callable(rate) else factor * rate
    batches = ArrayBatches(rows.X, rows.y, rows.weight, batch_size, np.random.default_rng(0))
    losses: list[float] = []
    begun = time.thread_time()
    with np.errstate(all="ignore"), threads_for(working):
        for x, y, weight, normalizer in chain.from_iterable(repeat(batches)):
            late = time.thread_time() - begun > SECONDS and len(losses) >= 10
            done = len(losses) >= FEWEST and np.mean(losses[-FEWEST:]) < enough
            if late or done or len(losses) >= steps:
                break
            working.reset_state()
            value = loss.forward(planned.forward(x, training=True), y, weight, normalizer)
            planned.backward(loss.backward())
            if not np.isfinite(value) or not np.isfinite(working.flat_grads).all():
                return np.array(losses), first_nonfinite(working, x)
            losses.append(value)
            stepper.step(working.flat_params, working.flat_grads, working.layout)
    return np.array(losses), ""


def try_out(
    widths: tuple[int, ...], n_outputs: int, loss: Loss, rows: Rows, steps: int = 1200
) -> Any:
    """Outputs, for the rows that it is trained with, of a network with these hidden layers."""
    body = [layer for width in widths for layer in (Dense(width), ReLU())]
    network = Sequential([*body, Dense(n_outputs)])
    X = rows.X if hasattr(rows.X, "tocsr") else np.asarray(rows.X, np.float32)
    epochs = max(1, steps * 32 // len(rows))
    train(network, loss, Adam(0.01), (X, rows.y, rows.weight), epochs=epochs, random_state=0)
    return network.infer(X)


def smooth_end(losses: np.ndarray) -> float:
    """Mean of the last fifth (at least five) of the losses."""
    tail = _end(losses)
    return float(np.mean(tail)) if len(tail) else float("inf")


def error_of_end(losses: np.ndarray) -> float:
    """Standard error of `smooth_end`, whose batches differ by chance."""
    tail = _end(losses)
    return float(np.std(tail, ddof=1) / np.sqrt(len(tail))) if len(tail) > 1 else 0.0


def _end(losses: np.ndarray) -> np.ndarray:
    return losses[-max(5, len(losses) // 5) :]


def _squared_distances(x: np.ndarray) -> np.ndarray:
    squares = np.square(x).sum(axis=1)
    return squares[:, np.newaxis] - 2 * x @ x.T + squares


def standardized(X: Any) -> np.ndarray:
    """Rows as vectors; the columns of a table each on their own scale, images on one.

    Of rows of unequal length a table is made of the first step, the last one and their mean.
    """
    if isinstance(X, Sequences):
        X = np.stack([np.concatenate([row[0], row.mean(axis=0), row[-1]]) for row in X])
    X = X.toarray() if hasattr(X, "tocsr") else X
    x = np.asarray(X, dtype=np.float64).reshape(len(X), -1)
    x = x - x.mean(axis=0)
    scale = x.std(axis=0) if X.ndim == 2 else np.full(x.shape[1], x.std())
    typical = float(np.median(scale[scale > 0])) if (scale > 0).any() else 1.0
    return x / np.maximum(scale, 0.01 * typical)  # an image's empty margin is not blown up
