"""Check of a backward pass against central differences, in float64 and in both modes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.paths import check_network
from layerkit.layer import Layer
from layerkit.losses import Loss
from layerkit.seeds import as_seed_sequence
from layerkit.sequences import Sequences, as_sequences, numbers
from layerkit.shapes import Shape

STEPS = (1e-5, 3e-7)
"""The first balances truncation (h² f''') against rounding (ε f / h) of a central difference in
float64; where it disagrees, the second comes closer to a point at which f'' jumps."""

STEPS_OF_A_ROW = 4
"""Of the default input, where a network takes any number of them."""

KINK = 1e-3
"""One-sided slopes of an output that differ by more than this share of the largest mark a kink."""


class Comparison(NamedTuple):
    """One array of one mode: where backward and the numerical slope differ most."""

    mode: str
    name: str
    n_checked: int
    n_kinks: int
    error: float
    where: str
    backward: float
    numerical: float


@dataclass
class GradientCheck:
    """Report of a gradient check; true if every comparison is within the tolerance.

    Attributes
    ----------
    subject : str
        What was checked.
    tolerance : float
        Largest relative error that passes.
    comparisons : list of Comparison
        One per array and mode, with the coordinate or random direction of its largest error.
    """

    subject: str
    tolerance: float
    comparisons: list[Comparison] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.max_error < self.tolerance

    @property
    def max_error(self) -> float:
        """Largest relative error over all arrays; NaN counts as infinite."""
        errors = [c.error if math.isfinite(c.error) else math.inf for c in self.comparisons]
        return max(errors, default=0.0)

    @property
    def failures(self) -> list[Comparison]:
        """The comparisons that do not pass."""
        return [c for c in self.comparisons if not c.error < self.tolerance]

    def __str__(self) -> str:
        verdict = "passed" if self else "FAILED"
        width = max([28, *(len(c.name) for c in self.comparisons)])
        lines = [
            f"gradient check of {self.subject}: {verdict}, largest relative error "
            f"{self.max_error:.1e} (allowed: {self.tolerance:.0e})",
            f"{'mode':<10} {'array':<{width}} {'checked':<12} {'error':>9}  at",
        ]
        for c in self.comparisons:
            kinks = f" ({c.n_kinks} kinks)" if c.n_kinks else ""
            line = f"{c.mode:<10} {c.name:<{width}} {c.n_checked}{kinks}".ljust(24 + width)
            line = f"{line} {c.error:>9.1e}  {c.where}"
            if c in self.failures:
                line += f"  <-- backward {c.backward:.10g}, numerical {c.numerical:.10g}"
            lines.append(line)
        return "\n".join(lines)

    __repr__ = __str__


def check_gradients(
    layer: Layer,
    input_shape: int | Shape | None = None,
    *,
    x: Any = None,
    n_samples: int = 5,
    tolerance: float = 1e-6,
    max_coordinates: int = 100,
    check_input: bool = True,
    training: bool | None = None,
    random_state: Any = 0,
) -> GradientCheck:
    r"""Compare a layer's or network's backward pass with central differences.

    The outputs are projected on a fixed random direction r; for every coordinate θ of the input
    and of each parameter, backward's answer must equal

    .. math:: \sum_j r_j \frac{y_j(\theta + h) - y_j(\theta - h)}{2h}

    in float64, in inference and in training mode. Noise layers run under a fixed stream. At a kink
    any value between the one-sided slopes is accepted. Frozen layers are thawed for the check.

    Parameters
    ----------
    layer : Layer
        A layer or network; a copy is checked. If it is built, it is checked at its own parameters,
        otherwise at random ones.
    input_shape : int or tuple of int, optional
        Shape of one sample; needed for an unbuilt layer unless ``x`` is given.
    x : array or list of arrays, optional
        The input to check at, by default standard normal. Integer input (for Embedding) is not
        differentiated.
    n_samples : int, default=5
        Rows of the default input.
    tolerance : float, default=1e-6
        Allowed error, relative to the value itself or to a thousandth of the array's largest.
    max_coordinates : int, default=100
        Larger arrays are checked along this many random directions instead of every coordinate.
    check_input : bool, default=True
        Whether the gradient of the input is checked too.
    training : bool, optional
        Check in training mode only, or in inference mode only; by default in both.
    random_state : int or Generator, default=0
        Draws input, parameters and directions.

    Returns
    -------
    report : GradientCheck
        True or false, and printable: per array the largest error, where, and both numbers.

    Raises
    ------
    ValueError
        If ``forward`` gives two results for one input, it or ``backward`` changes the array that
        it is given, no shape is known, or there is nothing to differentiate: integer input and no
        parameters.
    TypeError
        If ``layer`` is no layer.

    Examples
    --------
    >>> from layerkit import BatchNorm, Dense, Sequential, Sigmoid, check_gradients
    >>> report = check_gradients(Sequential([Dense(8), BatchNorm(), Sigmoid()]), input_shape=4)
    >>> bool(report), len(report.comparisons)
    (True, 10)
    """
    check_network(layer, "layer")
    rng = np.random.default_rng(as_seed_sequence(random_state))
    network = _in_float64(layer, input_shape, x, rng)
    if x is None:
        sizes = [STEPS_OF_A_ROW if size is None else size for size in network.input_shape]
        x = rng.standard_normal((n_samples, *sizes))
    given: Any = as_sequences(x)
    given = given if isinstance(given, Sequences) else np.asarray(given)
    x = given.astype(np.float64 if given.dtype.kind == "f" else given.dtype)  # own, writable
    report = GradientCheck(layer.label, tolerance)
    for mode in (False, True) if training is None else (bool(training),):
        evaluate = _Evaluation(network, x, training=mode)
        direction = rng.standard_normal(_repeatable(evaluate, layer).shape)
        network.flat_grads.fill(np.nan)  # so that a gradient which is not written is noticed
        grad_output = direction.copy()
        grad_input = numbers(network.backward(evaluate.like_output(grad_output))).copy()
        _unchanged(layer, "backward", "grad_output", grad_output, direction)
        params, grads = network.flat_params, network.flat_grads.copy()
        arrays = {
            s.path: (params[s.slice].reshape(s.shape), grads[s.slice]) for s in network.layout
        }
        if check_input and x.dtype.kind == "f":
            arrays = {"input": (numbers(x), grad_input), **arrays}
        for name, (values, gradient) in arrays.items():
            if values.size:
                found = _compare(evaluate, direction, values, gradient, max_coordinates, rng)
                told = "training" if mode else "inference"
                report.comparisons.append(found._replace(mode=told, name=name))
    if not report.comparisons:
        came = f"{x.dtype} of shape {x.shape} has no slopes" if check_input else "check_input=False"
        raise ValueError(f"nothing to check: {layer.label} has no parameters, and {came}")
    return report


def check_loss_gradients(
    loss: Loss,
    y_pred: ArrayLike,
    y_true: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    tolerance: float = 1e-6,
    max_coordinates: int = 100,
    random_state: Any = 0,
) -> GradientCheck:
    """Compare a loss's ``backward`` with central differences of its ``forward``.

    Parameters
    ----------
    loss : Loss
        A loss, or any object with ``forward(y_pred, y_true, sample_weight)`` and ``backward()``.
    y_pred, y_true : array
        Where to check; ``y_pred`` is taken as float64.
    sample_weight : array of shape (n_samples,), optional
        Passed on to the loss.
    tolerance : float, default=1e-6
        As in `check_gradients`.
    max_coordinates : int, default=100
        As in `check_gradients`.
    random_state : int or Generator, default=0
        Draws directions.

    Returns
    -------
    report : GradientCheck
        True or false, and printable.

    Examples
    --------
    >>> from layerkit import check_loss_gradients
    >>> from layerkit.losses import CategoricalCrossEntropy
    >>> bool(check_loss_gradients(CategoricalCrossEntropy(), [[1.0, 2.0], [0.5, -1.0]], [0, 1]))
    True
    """
    y_pred = np.array(y_pred, dtype=np.float64)

    def evaluate() -> np.ndarray:
        return np.array([loss.forward(y_pred, y_true, sample_weight)])

    evaluate()
    gradient = np.array(loss.backward(), dtype=np.float64)
    report = GradientCheck(repr(loss), tolerance)
    if gradient.shape != y_pred.shape:
        raise ValueError(f"{loss!r}: backward returned {gradient.shape} for y_pred {y_pred.shape}")
    rng = np.random.default_rng(as_seed_sequence(random_state))
    found = _compare(evaluate, np.ones(1), y_pred, gradient, max_coordinates, rng)
    report.comparisons.append(found._replace(mode="loss", name="y_pred"))
    return report


def _in_float64(layer: Layer, input_shape: Any, x: Any, rng: np.random.Generator) -> Layer:
    """Return a thawed float64 copy, built with random parameters if the layer was not built."""
    network = copy.deepcopy(layer)
    network.trainable = network.needs_input_grad = True
    if network.is_built:
        network._bind(np.dtype(np.float64))
        return network
    if input_shape is None:
        if x is None:
            raise ValueError(
                f"in {layer.where}: not built yet, so check_gradients needs input_shape or x"
            )
        x = as_sequences(x)
        input_shape = x.shape[1:] if isinstance(x, Sequences) else np.shape(x)[1:]
    network.build(input_shape, random_state=rng, dtype=np.float64)
    # Zeros and ones hide mistakes (a forgotten bias, a scale applied twice): move off them.
    network.flat_params[...] += 0.1 * rng.standard_normal(network.n_params)
    return network


class _Evaluation:
    """The network's output at its current input and parameters, the same noise every time."""

    given: Any
    output: Any

    def __init__(self, network: Layer, x: Any, training: bool) -> None:
        self.network, self.x, self.training = network, x, training
        buffers = [b for _, layer in network.walk() for b in layer.buffers.values()]
        self.buffers = [(buffer, buffer.copy()) for buffer in buffers]

    def __call__(self) -> np.ndarray:
        for buffer, value in self.buffers:
            buffer[...] = value
        self.network.reseed(0)
        self.network.reset_state()
        # A copy: the output of Identity or Reshape is its input, which the comparison perturbs.
        self.given = self.x.copy()
        self.output = self.network.forward(self.given, training=self.training)
        return numbers(self.output)

    def like_output(self, values: np.ndarray) -> Any:
        """Return values in the form of the network's output."""
        rows = self.output
        return rows.with_steps(values) if isinstance(rows, Sequences) else values


def _unchanged(layer: Layer, method: str, name: str, array: np.ndarray, before: Any) -> None:
    """Refuse a layer that writes into an array of its caller, such as the user's X."""
    if not np.array_equal(array, before, equal_nan=True):
        raise ValueError(
            f"in {layer.where}: {method} changes {name}, the array that it is given; it must "
            f"compute a new one, such as {name} * 2 in place of {name} *= 2"
        )


def _repeatable(evaluate: _Evaluation, layer: Layer) -> np.ndarray:
    """Return the output; refuse one that changes by itself, against which no slope can be held."""
    output = evaluate().copy()
    _unchanged(layer, "forward", "x", numbers(evaluate.given), numbers(evaluate.x))
    if not np.array_equal(output, evaluate(), equal_nan=True):
        raise ValueError(
            f"in {layer.where}: forward gave two results for one input; noise must come from "
            "self.rng, and what forward changes must be a buffer"
        )
    return output


def _compare(
    evaluate: Callable[[], np.ndarray],
    direction: np.ndarray,
    values: np.ndarray,
    gradient: np.ndarray,
    max_coordinates: int,
    rng: np.random.Generator,
) -> Comparison:
    """Compare along every coordinate of a small array, or random directions of a large one."""
    every = values.size <= max_coordinates
    steps = np.eye(values.size) if every else rng.standard_normal((max_coordinates, values.size))
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    slopes = steps @ gradient.reshape(-1)
    flat = values.reshape(-1)
    middle = evaluate()
    comparisons, n_kinks = [], 0
    for k, (step, slope) in enumerate(zip(steps, slopes.tolist(), strict=True)):
        for h in STEPS:
            right, left = (direction * d for d in _one_sided(evaluate, flat, h * step, middle, h))
            rounding = 2 * np.finfo(np.float64).eps * np.linalg.norm(direction * middle) / h
            floor = max(1e-3 * np.abs(slopes).max(), rounding / 1e-7, 1e-30)
            numerical, is_kink = _numerical_slope(right, left, slope, floor)
            error = float(abs(slope - numerical) / max(abs(slope), abs(numerical), floor))
            if error < 1e-7:
                break
        n_kinks += is_kink
        at = f"direction {k}"
        if every:
            at = str([int(i) for i in np.unravel_index(k, values.shape)])
        comparisons.append(Comparison("", "", len(steps), 0, error, at, slope, numerical))
    worst = max(comparisons, key=lambda c: c.error if math.isfinite(c.error) else math.inf)
    return worst._replace(n_kinks=n_kinks)


def _one_sided(
    evaluate: Callable[[], np.ndarray],
    values: np.ndarray,
    move: np.ndarray,
    middle: np.ndarray,
    h: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Slope of every output to the right and to the left."""
    before = values.copy()
    try:
        values += move
        above = evaluate()
        values[...] = before - move
        below = evaluate()
    finally:
        values[...] = before
    return (above - middle) / h, (middle - below) / h


def _numerical_slope(
    right: np.ndarray, left: np.ndarray, slope: float, floor: float
) -> tuple[float, bool]:
    """Return the central slope; at a kink, the nearest to ``slope`` between its two sides."""
    central = float(np.sum(right + left)) / 2
    scale = max(np.abs(right).max(), np.abs(left).max(), floor)  # no cancelling between outputs
    if np.abs(right - left).max() <= KINK * scale:
        return central, False
    low, high = np.minimum(right, left).sum(), np.maximum(right, left).sum()
    return float(np.clip(slope, low, high)), True
