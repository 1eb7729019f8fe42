"""A network measured on given rows: what passes through it, batch by batch, and none of it kept."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerkit.fused import plan, threads_for
from layerkit.inspection.diagnosis.subject import Rows
from layerkit.inspection.paths import parameter_spans
from layerkit.layer import Layer
from layerkit.layers import BatchNorm, HardSigmoid, HardTanh, Sigmoid, Softsign, Tanh
from layerkit.losses import Loss
from layerkit.training.batches import ArrayBatches
from layerkit.training.run import infer_all

# Outputs below the first or above the second number are on the flat parts of the function: its
# slope there is less than a tenth of its largest (0 for the hard ones).
FLAT = {
    Sigmoid: (0.025, 0.975),
    Tanh: (-0.95, 0.95),
    HardSigmoid: (1e-6, 1 - 1e-6),
    Softsign: (-0.7, 0.7),
}


def flat_range(layer: Layer) -> tuple[float, float] | None:
    """Return between which outputs a saturating function is not flat; None of others."""
    if isinstance(layer, HardTanh):  # from 0 on it is a rectifier
        return (layer.low + 1e-6, layer.high - 1e-6) if layer.low < 0 else None
    return next((FLAT[kind] for kind in FLAT if isinstance(layer, kind)), None)


class Moments:
    """Count, mean, variance and range of numbers that come in batches.

    Batches are merged by the formula of Chan, Golub and LeVeque, which loses no digits to
    cancellation. Numbers that are not finite are counted apart.
    """

    def __init__(self) -> None:
        self.count = self.not_finite = 0
        self.mean = self.squares = 0.0  # squares: sum of squared deviations from the mean
        self.low, self.high = math.inf, -math.inf

    def add(self, values: np.ndarray) -> None:
        """Take in a batch."""
        values = values.ravel()
        if not values.size:
            return
        mean = float(values.mean(dtype=np.float64))
        if not math.isfinite(mean):
            finite = values[np.isfinite(values)]
            self.not_finite += values.size - finite.size
            if not finite.size:
                return
            values, mean = finite, float(finite.mean(dtype=np.float64))
        deviations = values - values.dtype.type(mean)
        with np.errstate(over="ignore"):
            squares = float(np.dot(deviations, deviations))
        if not math.isfinite(squares):
            squares = float(np.square(deviations, dtype=np.float64).sum())
        n, total = values.size, self.count + values.size
        apart = mean - self.mean
        self.mean += apart * n / total
        self.squares += squares + apart * apart * self.count * n / total
        self.count = total
        self.low = min(self.low, float(values.min()))
        self.high = max(self.high, float(values.max()))

    @property
    def std(self) -> float:
        """Standard deviation."""
        return math.sqrt(self.squares / self.count) if self.count else math.nan

    @property
    def rms(self) -> float:
        """Root of the mean square."""
        return math.hypot(self.mean, self.std)


class Ranges:
    """Smallest and largest value of every unit (the last axis) over all batches."""

    def __init__(self) -> None:
        self.low: Any = np.inf
        self.high: Any = -np.inf
        self.count = 0

    def add(self, values: np.ndarray) -> None:
        """Take in a batch."""
        rows = values.reshape(-1, values.shape[-1])
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        self.count += len(rows)

    @property
    def constant(self) -> np.ndarray:
        """Which units gave one and the same number throughout."""
        return np.atleast_1d(self.high == self.low)


class GradientNorm:
    """Size of a gradient on its way back: root of the mean over samples of its squared norm."""

    def __init__(self) -> None:
        self.squares, self.count = 0.0, 0

    def add(self, gradient: np.ndarray) -> None:
        """Take in the gradient of a batch, whose loss is a mean over its samples."""
        # A sample's own gradient is n times its row, and their squares are averaged.
        self.squares += len(gradient) * float(np.square(gradient, dtype=np.float64).sum())
        self.count += 1

    @property
    def norm(self) -> float:
        """Norm of the gradient for one sample."""
        return math.sqrt(self.squares / self.count) if self.count else math.nan


class LayerStatistics:
    """All that is measured at one layer.

    Attributes
    ----------
    output : Moments
    output_ranges, input_ranges : Ranges
        Of the output's units and, where they are the same units, of the input's.
    flat : int
        How many outputs were on the flat parts of a saturating activation.
    grad_output, grad_input : GradientNorm
        Of the gradients with respect to the output and to the input.
    origin : str
        What was not finite here first, although all that came in was; empty if nothing.
    mean_gradient, gradient_squares : array, float
        Mean vector and sum of squared norms of the parameters' gradients, for their noise.
    """

    def __init__(self, layer: Layer, where: slice) -> None:
        self.layer, self.where = layer, where
        self.path, self.label = layer.path, layer.label
        self.output, self.output_ranges, self.input_ranges = Moments(), Ranges(), Ranges()
        self.grad_output, self.grad_input = GradientNorm(), GradientNorm()
        self.flat = 0
        self.origin = ""
        self.flat_range = flat_range(layer)
        self.mean_gradient: Any = 0.0
        self.gradient_squares, self.n_gradients = 0.0, 0

    @property
    def has_params(self) -> bool:
        """Whether the layer has parameters that training may change."""
        return self.where.stop > self.where.start and self.layer.trainable

    def forward(self, x: Any, y: np.ndarray) -> None:
        """Take in what one forward did."""
        before = self.output.not_finite
        self.output.add(y)
        self.output_ranges.add(y)
        if y.shape == x.shape and not self.layer.params:
            self.input_ranges.add(x)
        if self.flat_range is not None:
            low, high = self.flat_range
            self.flat += int(np.count_nonzero(y < low) + np.count_nonzero(y > high))
        if self.output.not_finite > before and not self.origin and _finite(x):
            bad = [name for name, p in self.layer.params.items() if not _finite(p)]
            self.origin = f"parameter {bad[0]}" if bad else "output"

    def backward(self, grad_output: np.ndarray, grad_input: np.ndarray | None) -> None:
        """Take in what one backward did."""
        self.grad_output.add(grad_output)
        if grad_input is not None:
            self.grad_input.add(grad_input)
        if not self.origin and _finite(grad_output):
            bad = [name for name, g in self.layer.grads.items() if not _finite(g)]
            if grad_input is not None and not _finite(grad_input):
                self.origin = "gradient of the input"
            elif bad:
                self.origin = f"gradient of {bad[0]}"

    def add_gradient(self, flat_grads: np.ndarray) -> None:
        """Take in the parameters' gradient of one batch."""
        gradient = flat_grads[self.where].astype(np.float64)
        self.n_gradients += 1
        self.gradient_squares += float(gradient @ gradient)
        self.mean_gradient += (gradient - self.mean_gradient) / self.n_gradients

    # ---------------------------------------------------------------- what it amounts to

    @property
    def constant_units(self) -> np.ndarray:
        """Units that changed on the way in but never on the way out."""
        constant = self.output_ranges.constant
        varied = ~self.input_ranges.constant if self.input_ranges.count else False
        return constant & varied

    @property
    def dead(self) -> float:
        """Share of units that an activation holds at one value for all data."""
        if self.flat_range is not None or self.layer.params or not self.output_ranges.count:
            return 0.0
        return float(np.mean(self.constant_units))

    @property
    def saturated(self) -> float:
        """Share of outputs on the flat parts of a saturating activation; NaN for other layers."""
        known = self.flat_range is not None and self.output.count
        return self.flat / self.output.count if known else math.nan

    @property
    def gradient_norm(self) -> float:
        """Root mean square over batches of the norm of the parameters' gradient."""
        n = self.n_gradients
        return math.sqrt(self.gradient_squares / n) if n and self.has_params else math.nan

    @property
    def noise(self) -> float:
        """Deviation of the batches' gradients from their mean, over the norm of that mean."""
        n, total = self.n_gradients, self.gradient_squares
        if n < 2 or not self.has_params or not math.isfinite(total):
            return math.nan
        mean = np.asarray(self.mean_gradient)
        signal = float(mean @ mean)
        variance = max(total - n * signal, 0.0) / (n - 1)
        signal = signal - variance / n  # the mean of n batches keeps an n-th of the noise
        return math.sqrt(variance / signal) if signal > 0 else math.inf

    @property
    def weight_norm(self) -> float:
        """Norm of all parameters of the layer together."""
        params = [float(np.square(p, dtype=np.float64).sum()) for p in self.layer.params.values()]
        return math.sqrt(sum(params)) if params else math.nan


class Recorder:
    """An observer that keeps `LayerStatistics` for every layer that is no container."""

    def __init__(self, network: Layer) -> None:
        spans, none = parameter_spans(network), slice(0, 0)
        layers = [layer for _, layer in network.walk() if not layer.children()]
        self.layers = [LayerStatistics(layer, spans.get(layer.path, none)) for layer in layers]
        self.of = {id(s.layer): s for s in self.layers}
        self.origin: LayerStatistics | None = None

    def __call__(self, layer: Layer, direction: str, received: Any, returned: Any) -> None:
        statistics = self.of.get(id(layer))
        if statistics is None:
            return
        with np.errstate(all="ignore"):
            if direction == "forward":
                statistics.forward(received, returned)
            else:
                statistics.backward(received, returned)
        if statistics.origin and self.origin is None:
            self.origin = statistics

    def add_gradients(self, flat_grads: np.ndarray) -> None:
        """Take in the gradient of one batch, after its backward."""
        for statistics in self.layers:
            if statistics.has_params:
                statistics.add_gradient(flat_grads)


def _finite(x: Any) -> bool:
    return bool(np.isfinite(x.data if hasattr(x, "tocsr") else x).all())


# ---------------------------------------------------------------- at one moment


@dataclass
class Snapshot:
    """What was measured.

    The recorder saw forwards and backwards in training mode; the two losses are those in inference
    and in training mode, on the same rows; the raw outputs are those in inference mode;
    ``fresh_buffers`` has, by the path of each BatchNorm, mean and variance of what reaches it.
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
    in_order = not norms or any(layer.stateful for _, layer in working.walk())
    # Of rows sorted by class, batches in their order have statistics unlike those of training.
    rng = None if in_order else np.random.default_rng(0)
    batches = ArrayBatches(rows.X, rows.y, rows.weight, batch_size, rng)
    with np.errstate(all="ignore"), threads_for(network):
        for i, (x, y, weight, normalizer) in enumerate(batches):
            for layer in norms:
                layer.momentum = 1 / (i + 1)  # so that running statistics are plain averages
            working.reset_state()
            with working.observed(recorder):
                value = loss.forward(working.forward(x, training=True), y, weight, normalizer)
                working.backward(loss.backward())
            recorder.add_gradients(working.flat_grads)
            total += len(y) * value
        outputs = infer_all(plan(network), ArrayBatches(rows.X, rows.y, batch_size=1024))[0]
        inferred = loss.forward(outputs, rows.y, rows.weight)
    fresh = {layer.path: {k: b.copy() for k, b in layer.buffers.items()} for layer in norms}
    return Snapshot(network, recorder, inferred, total / len(rows), outputs, fresh)
