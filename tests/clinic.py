"""The fault clinic: training runs with one known fault each, their cures, and healthy runs.

A row says what the verdict must be; `make(seed)` gives the run. `cured(seed)` is the same run with
the remedy of the verdict applied, nothing else.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from layerkit import (
    SELU,
    AlphaDropout,
    BatchNorm,
    Columns,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
    SpatialDropout2D,
    Tanh,
)
from layerkit import initializers as init
from layerkit.datasets import load_digits, load_noisy_sine, load_two_spirals
from layerkit.inspection import HealthMonitor, health
from layerkit.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    Loss,
    MeanSquaredError,
    Poisson,
)
from layerkit.optimizers import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    NAdam,
    RAdam,
    RMSProp,
    Rprop,
)
from layerkit.training import train


@dataclass
class Run:
    """A training run, ready to begin."""

    network: Layer
    loss: Any
    optimizer: Any
    data: tuple
    epochs: int = 15
    batch_size: int = 32
    validation_data: tuple | None = None
    in_order: bool = False  # whether the report gets X and y in their order
    refused: bool = False  # whether `train` names the fault before it begins

    def go(self, callbacks=(), seed=0):
        """Train."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return train(
                self.network,
                self.loss,
                self.optimizer,
                self.data,
                epochs=self.epochs,
                batch_size=self.batch_size,
                validation_data=self.validation_data,
                callbacks=callbacks,
                random_state=seed,
            )


@dataclass(frozen=True)
class Case:
    """A row of the table; the remedy must hold one of the phrases in ``said``."""

    name: str
    verdict: str
    make: Callable[[int], Run]
    cured: Callable[[int], Run] | None = None
    said: tuple[str, ...] = ()


@functools.lru_cache(maxsize=256)
def trained(make: Callable[[int], Run], seed: int):
    """Train, watched, once for all reports on it: they leave everything as it is."""
    run, monitor = make(seed), HealthMonitor(every=5)
    return run, monitor, run.go([monitor], seed)


def diagnose(case: Case, seed: int, how: str = "monitor"):
    """Train and report: by a monitor that watched, or by `health` afterwards."""
    run = case.make(seed)
    if how == "before" or run.refused:
        X, y, *weight = run.data
        return health(run.network, X, y, run.loss, optimizer=run.optimizer,
                      batch_size=run.batch_size)  # fmt: skip
    run, monitor, history = trained(case.make, seed)
    X, y, *weight = run.data
    if how == "monitor":
        rows = (X, y) if run.in_order else ()
        return monitor.report(*rows)
    return health(
        run.network,
        X,
        y,
        run.loss,
        sample_weight=weight[0] if weight else None,
        validation_data=run.validation_data,
        history=history,
        optimizer=run.optimizer,
        batch_size=run.batch_size,
    )


# ------------------------------------------------------------------------------- data


def blobs(seed, n=300, k=3, d=6, spread=1.0):
    """Draw k clusters around points of norm about 3."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d))
    centres *= 3 / np.linalg.norm(centres, axis=1, keepdims=True)
    y = rng.integers(k, size=n)
    return (centres[y] + spread * rng.normal(size=(n, d))) / 1.5, y


def rings(seed, n=300):
    """Draw an inner disc and the ring around it."""
    rng = np.random.default_rng(seed)
    y = rng.integers(2, size=n)
    radius, angle = 0.6 + 1.0 * y + 0.15 * rng.normal(size=n), rng.uniform(0, 2 * np.pi, n)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), y


def digits(seed, n=400):
    """Draw some of the real digits, images of 8 x 8."""
    X, y = load_digits()
    rows = np.random.default_rng(seed).permutation(len(X))[:n]
    return X[rows], y[rows]


def flat_digits(seed, n=400):
    """Draw some of the digits as a table of 64 columns, centred."""
    X, y = digits(seed, n)
    return X.reshape(n, -1) * 2 - 0.6, y


def curve(seed, n=300, d=3):
    """Draw a smooth function of d standard normal columns, with noise; y standardised."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.sin(1.5 * X[:, :1]) + 0.5 * X[:, 1:2] ** 2 + 0.1 * rng.normal(size=(n, 1))
    return X, (y - y.mean()) / y.std()


def noisy_curve(seed, n=300, d=3, noise=0.8):
    """Draw a curve with more noise."""
    X, y = curve(seed, n, d)
    return X, y + noise * np.random.default_rng(seed).normal(size=y.shape)


def sine(seed, n=200):
    """Draw rows of the noisy sine that ships with layerkit, x divided by pi."""
    X, y = load_noisy_sine()
    rows = np.random.default_rng(seed).permutation(len(X))[:n]
    return X[rows] / np.pi, y[rows, None]


def spirals(seed, n=600):
    """Draw rows of the two spirals."""
    X, y = load_two_spirals()
    rows = np.random.default_rng(seed).permutation(len(X))[:n]
    return 2 * X[rows], y[rows]


def rare(seed, n=600, share=0.03, apart=1.2):
    """Draw two overlapping classes, the second of them rare."""
    rng = np.random.default_rng(seed)
    y = (rng.permutation(n) < share * n).astype(int)
    return rng.normal(size=(n, 4)) + apart * y[:, None] / 2, y


def split(data, part=0.5):
    """Split into training and validation rows."""
    n = int(len(data[0]) * part)
    return tuple(a[:n] for a in data), tuple(a[n:] for a in data)


def column(data):
    """Give 0/1 targets the shape that BinaryCrossEntropy takes."""
    return data[0], data[1][:, None].astype(float)


# ------------------------------------------------------------------------------- networks


def mlp(*widths, act=ReLU, out=3, initializer="auto", between=()):
    """Build layers Dense, between, activation; and a Dense for the output."""
    layers: list[Layer] = []
    for width in widths:
        layers += [Dense(width, initializer=initializer), *(b() for b in between), act()]
    return Sequential([*layers, Dense(out)])


def cnn(act=ReLU, filters=(8, 16), out=10, initializer="auto", between=()):
    """Build convolutions, activations and one pooling."""
    layers: list[Layer] = []
    for i, f in enumerate(filters):
        layers += [Conv2D(f, 3, padding="same", initializer=initializer), *(b() for b in between)]
        layers += [act(), *[MaxPool2D(2)] * (i == 0)]
    return Sequential([*layers, Flatten(), Dense(out)])


def built(network, data, seed, **changes):
    """Build and overwrite parameters: ``layer_1__b=value`` for the layer of that name."""
    network.build(data[0].shape[1:], random_state=seed, dtype=np.float64)
    for name, value in changes.items():
        layer, _, parameter = name.rpartition("__")
        network[layer].params[parameter][...] = value
    return network


CCE, BCE, MSE = CategoricalCrossEntropy, BinaryCrossEntropy, MeanSquaredError


class Log(Layer):
    """Logarithm, with nothing to keep it from zero."""

    shift = 0.0

    def forward(self, x, training=False):
        self.cache = x + self.shift
        with np.errstate(all="ignore"):
            return np.log(self.cache)

    def backward(self, grad_output):
        with np.errstate(all="ignore"):
            return grad_output / self.cache


class ShiftedLog(Log):
    """Logarithm of 1 + x."""

    shift = 1.0


class Root(Layer):
    """Square root: finite at zero, but not its slope."""

    shift = 0.0

    def forward(self, x, training=False):
        self.cache = np.sqrt(x + self.shift)
        return self.cache

    def backward(self, grad_output):
        with np.errstate(all="ignore"):
            return grad_output / (2 * self.cache)


class ShiftedRoot(Root):
    """Square root of x + 0.01."""

    shift = 1e-2


class Step(Layer):
    """A step function, whose derivative is zero."""

    def forward(self, x, training=False):
        self.cache = x
        return (x > 0).astype(x.dtype)

    def backward(self, grad_output):
        return np.zeros_like(grad_output)


class StraightThroughStep(Step):
    """A step function with the derivative of the identity."""

    def backward(self, grad_output):
        return grad_output


class Gain(Layer):
    """A learned factor for each unit, whose gradient was forgotten."""

    def setup(self, input_shape):
        self.add_param("gain", input_shape, init.ones)
        return input_shape

    def forward(self, x, training=False):
        self.cache = x
        return x * self.params["gain"]

    def backward(self, grad_output):
        return grad_output * self.params["gain"]


class RightGain(Gain):
    """The same with its gradient."""

    def backward(self, grad_output):
        self.grads["gain"][...] = (grad_output * self.cache).sum(axis=0)
        return super().backward(grad_output)


class MySoftmax(Layer):
    """A softmax that layerkit does not know by name."""

    def forward(self, x, training=False):
        self.cache = softmax(x)
        return self.cache

    def backward(self, grad_output):
        p = self.cache
        return p * (grad_output - (grad_output * p).sum(axis=1, keepdims=True))


class ClippedSquaredError(Loss):
    """The error is clipped, and with it the gradient of every large one is gone."""

    def value(self, y_pred, y_true):
        return np.clip(y_pred - y_true, -1, 1) ** 2

    def derivative(self, y_pred, y_true):
        error = y_pred - y_true
        return np.where(np.abs(error) < 1, 2 * error, 0)


class ClippedLog(Loss):
    """Cross-entropy whose probabilities are kept away from 0 by clipping."""

    def __init__(self, at=0.08):
        self.at = at

    def prepare_targets(self, y_pred, y_true):
        return np.eye(y_pred.shape[1])[y_true]

    def value(self, y_pred, y_true):
        return -np.log(np.maximum((softmax(y_pred) * y_true).sum(axis=1), self.at))

    def derivative(self, y_pred, y_true):
        p = softmax(y_pred)
        kept = (p * y_true).sum(axis=1, keepdims=True) > self.at
        return (p - y_true) * kept


def softmax(z):
    """Probabilities of every row."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


# ------------------------------------------------------------------------------- the sick


def _vanishing_mlp(seed, act=Sigmoid):
    return Run(mlp(*[16] * 8, act=act), CCE(), SGD(0.1), blobs(seed))


def _vanishing_regression(seed, initializer=None):
    network = mlp(*[20] * 6, act=ReLU, out=1, initializer=initializer or init.normal(stddev=0.02))
    return Run(network, MSE(), SGD(0.05), curve(seed))


def _vanishing_cnn(seed, between=()):
    network = cnn(Sigmoid, (6,) * 6, between=between)
    return Run(network, CCE(), SGD(0.1, momentum=0.9), digits(seed, 300), epochs=8)


def _exploding_mlp(seed, initializer=None):
    network = mlp(*[32] * 8, initializer=initializer or init.normal(stddev=0.7))
    return Run(network, CCE(), SGD(0.05), blobs(seed))


def _exploding_cnn(seed, initializer=None):
    network = cnn(LeakyReLU, (8,) * 6, initializer=initializer or init.normal(stddev=0.9))
    return Run(network, CCE(), Adam(0.003), digits(seed, 300), epochs=8)


def _dead_mlp(seed, bias=-6.0):
    data = blobs(seed)
    network = built(mlp(24, 24), data, seed, dense_2__b=bias)
    return Run(network, CCE(), SGD(0.1), data, epochs=20)


def _dead_cnn(seed, bias=-3.0):
    X, y = digits(seed, 300)
    network = built(cnn(), (X, y), seed, conv2d_1__b=bias)
    return Run(network, CCE(), Adam(0.003), (X.astype(float), y), epochs=12)


def _saturated_tanh(seed, initializer=None):
    network = mlp(32, 32, act=Tanh, initializer=initializer or init.normal(stddev=3.0))
    return Run(network, CCE(), Adam(0.003), blobs(seed, spread=0.7))


def _saturated_sigmoid(seed, initializer=None):
    network = mlp(32, 32, act=Sigmoid, out=10, initializer=initializer or init.normal(stddev=2.0))
    return Run(network, CCE(), Adam(0.01), flat_digits(seed))


def _wrong_start_logits(seed, initializer=None):
    network = mlp(32, out=10)
    network = Sequential(
        [*network[:-1], Dense(10, initializer=initializer or init.normal(stddev=4.0))]
    )
    return Run(network, CCE(), Adam(0.003), flat_digits(seed))


def _wrong_start_targets(seed, scaled=False):
    X, y = curve(seed)
    y = y if scaled else 500 + 20 * y
    return Run(mlp(32, out=1), MSE(), Adam(0.01), (X, y), epochs=20)


def _rate_high_mlp(seed, rate=30.0):
    return Run(mlp(32, 32, act=Tanh), CCE(), SGD(rate), blobs(seed))


def _rate_high_cnn(seed, rate=0.5):
    return Run(cnn(), CCE(), Adam(rate), digits(seed, 300), epochs=8)


def _rate_high_regression(seed, rate=1.0):
    return Run(mlp(32, 32, out=1), MSE(), SGD(rate, momentum=0.9), curve(seed))


def _rate_low_mlp(seed, rate=1e-5):
    return Run(mlp(32), CCE(), SGD(rate), blobs(seed))


def _rate_low_cnn(seed, rate=1e-6):
    return Run(cnn(), CCE(), Adam(rate), digits(seed, 300), epochs=8)


def _rate_low_regression(seed, rate=1e-6):
    return Run(mlp(32, 32, out=1), MSE(), RMSProp(rate), curve(seed))


def _unscaled_table(seed, scaled=False):
    X, y = blobs(seed)
    X = X if scaled else X * [1, 10, 100, 1000, 1, 3000] + [0, 0, 500, 2000, 0, 0]
    return Run(mlp(32), CCE(), SGD(0.05), (X, y))


def _unscaled_images(seed, scaled=False):
    X, y = digits(seed, 300)
    return Run(cnn(), CCE(), SGD(0.05), (X if scaled else X * 255, y), epochs=12)


def _unscaled_offset(seed, scaled=False):
    X, y = curve(seed)
    return Run(mlp(32, out=1, act=Tanh), MSE(), Adam(0.01), (X if scaled else X + 300, y))


def _twice_softmax(seed, last=(Softmax,)):
    network = Sequential([*mlp(32, out=10).chain, *(layer() for layer in last)])
    return Run(network, CCE(), Adam(0.003), flat_digits(seed), epochs=20)


def _twice_sigmoid(seed, last=(Sigmoid,)):
    network = Sequential([*mlp(24, act=Tanh, out=1).chain, *(layer() for layer in last)])
    return Run(network, BCE(), SGD(0.3), column(rings(seed)), epochs=60)


def _twice_own_softmax(seed, last=(MySoftmax,)):
    network = Sequential([*cnn().chain, *(layer() for layer in last)])
    return Run(network, CCE(), Adam(0.005), digits(seed, 300), epochs=10)


def _symmetric_mlp(seed, initializer=None):
    network = mlp(16, 16, act=Tanh, initializer=initializer or init.constant(0.1))
    return Run(network, CCE(), Adam(0.01), blobs(seed), epochs=20)


def _symmetric_zeros(seed, initializer=None):
    start = initializer or init.zeros
    network = Sequential([Dense(16, initializer=start), ReLU(), Dense(1, initializer=start)])
    return Run(network, BCE(), SGD(0.3), column(rings(seed)), epochs=60)


def _symmetric_cnn(seed, initializer=None):
    network = cnn(initializer=initializer or init.constant(0.05))
    return Run(network, CCE(), Adam(0.005), digits(seed, 300), epochs=10)


def _silent_step(seed, step=Step):
    network = Sequential([Dense(24), step(), Dense(24), ReLU(), Dense(3)])
    return Run(network, CCE(), Adam(0.01), blobs(seed))


def _silent_gain(seed, gain=Gain):
    network = Sequential([Dense(24), ReLU(), gain(), Dense(10)])
    return Run(network, CCE(), Adam(0.01), flat_digits(seed))


def _clipped_error(seed, loss=ClippedSquaredError):
    X, y = curve(seed)
    return Run(mlp(32, out=1), loss(), Adam(0.005), (X, 5 * y), epochs=25)


def _clipped_log(seed, loss=ClippedLog):
    return Run(mlp(32, out=10), loss(), SGD(0.1), flat_digits(seed), epochs=8)


def _nan_inputs(seed, filled=False):
    X, y = blobs(seed)
    X[17, 2] = 0 if filled else np.nan
    return Run(mlp(32), CCE(), Adam(0.01), (X, y), refused=not filled)


def _log_of_zero(seed, log=Log):
    network = Sequential([Dense(24), ReLU(), log(), Dense(3)])
    return Run(network, CCE(), Adam(0.01), blobs(seed))


def _root_at_zero(seed, root=Root):
    network = Sequential([Dense(24), ReLU(), root(), Dense(1)])
    return Run(network, MSE(), Adam(0.005), curve(seed))


def _tiny_batches(seed, batch_size=2):
    return Run(mlp(32, between=(BatchNorm,)), CCE(), Adam(0.003), blobs(seed), 8, batch_size)


def _tiny_batches_regression(seed, between=(BatchNorm,)):
    network = mlp(32, 32, out=1, between=between)
    return Run(network, MSE(), Adam(0.003), curve(seed), 6, batch_size=3)


def _stale_mlp(seed, momentum=1e-4):
    norm = functools.partial(BatchNorm, momentum=momentum)
    X, y = blobs(seed)
    return Run(mlp(32, 32, between=(norm,)), CCE(), Adam(0.01), (X + 2, y), 20)


def _stale_cnn(seed, momentum=1e-4):
    norm = functools.partial(BatchNorm, momentum=momentum)
    return Run(cnn(between=(norm,)), CCE(), Adam(0.005), digits(seed, 300), 10)


def _dropout_mlp(seed, rate=0.95):
    network = mlp(24, 24, out=10, between=(functools.partial(Dropout, rate),))
    return Run(network, CCE(), Adam(0.005), flat_digits(seed), 20)


def _dropout_cnn(seed, rate=0.9):
    network = cnn(between=(functools.partial(SpatialDropout2D, rate),))
    return Run(network, CCE(), Adam(0.005), digits(seed, 300), 10)


def _shifted_rows(seed, shift=1):
    X, y = flat_digits(seed)
    data = X, np.roll(y, shift)
    return Run(mlp(32, out=10), CCE(), Adam(0.003), data, 10, in_order=True)


def _shuffled_rows(seed, aligned=False):
    X, y = blobs(seed, n=600)
    if not aligned:
        y = np.random.default_rng(seed + 1).permutation(y)
    return Run(mlp(16), CCE(), Adam(0.005), (X, y), 15)


def _shuffled_regression(seed, aligned=False):
    X, y = curve(seed, n=600)
    if not aligned:
        y = np.random.default_rng(seed + 1).permutation(y)
    learn, held = split((X, y), 0.7)
    return Run(mlp(24, out=1), MSE(), Adam(0.005), learn, 15, validation_data=held)


def _one_class(seed, balanced=False):
    X, y = rare(seed)
    weight = (np.where(y == 1, 1 / np.mean(y), 1 / np.mean(1 - y)),) if balanced else ()
    return Run(mlp(8, out=1), BCE(), Adam(0.005), (*column((X, y)), *weight), 15)


def _one_class_of_three(seed, balanced=False):
    rng = np.random.default_rng(seed)
    y = rng.choice(3, size=900, p=[0.92, 0.04, 0.04])
    X = rng.normal(size=(900, 3)) + 0.8 * np.eye(3)[y]
    weight = (1 / np.bincount(y, minlength=3)[y],) if balanced else ()
    return Run(mlp(4, act=Tanh), CCE(), Adam(0.005), (X, y, *weight), 15)


def _overfitted(seed, patience=False):
    X, y = blobs(seed, n=300, spread=2.0)
    learn, held = split((X, y), 0.4)
    rng = np.random.default_rng(seed)
    noisy = np.where(rng.random(len(learn[1])) < 0.2, rng.integers(3, size=len(learn[1])), learn[1])
    run = Run(mlp(128, 128), CCE(), Adam(0.01), (learn[0], noisy), 50, validation_data=held)
    return replace(run, epochs=4) if patience else run


def _overfitted_regression(seed, more=False):
    learn, held = split(noisy_curve(seed, n=2000 if more else 120, d=8), 0.35)
    epochs = 5 if more else 80  # about as many steps
    return Run(mlp(128, 64, out=1), MSE(), Adam(0.01), learn, epochs, validation_data=held)


def _linear_on_rings(seed, hidden=()):
    return Run(mlp(*hidden, out=2), CCE(), Adam(0.02), rings(seed), 40)


def _one_unit(seed, width=1):
    return Run(mlp(width, act=Tanh, out=10), CCE(), Adam(0.02), flat_digits(seed), 25)


def _decayed(seed, decay=15.0):
    return Run(mlp(32, act=Tanh, out=10), CCE(), AdamW(0.02, weight_decay=decay),
               flat_digits(seed), 15)  # fmt: skip


def _decayed_curve(seed, decay=100.0):
    return Run(mlp(24, out=1), MSE(), AdamW(0.01, weight_decay=decay), curve(seed), 20)


AUTO = {"initializer": "auto"}
SAID = {  # by what a cure changes, what the remedy says
    "act": ("Replace the hidden Sigmoid() by ReLU()",),
    "initializer": ("initializer='auto'",),
    "between": ("put BatchNorm() before each", "replace BatchNorm() by LayerNorm()"),
    "bias": ("biases at zero",),
    "scaled": ("StandardScaler()", "Divide the images by 255", "Standardise the targets"),
    "last": ("Leave out the last layer",),
    "step": ("the straight-through estimator returns grad_output",),
    "gain": ("Its backward must write it",),
    "loss": ("Huber(delta=1.0)", "CategoricalCrossEntropy()"),
    "filled": ("fill the gaps",),
    "log": ("log(1 + x)",),
    "root": ("sqrt(x + 0.01)",),
    "batch_size": ("batch_size=32",),
    "momentum": ("BatchNorm(momentum=0.1)",),
    "rate": ("(rate=0.2)",),
    "shift": ("y = np.roll(y, -1)",),
    "aligned": ("Check that row i of X and row i of y are the same",),
    "balanced": ("Weight the classes",),
    "patience": ("Stop early",),
    "more": ("more data",),
    "hidden": ("Add a hidden layer, Dense(64), ReLU()",),
    "width": ("Dense(64), ReLU()",),
    "decay": ("to 1e-4",),
}
SICK = [
    Case(
        make.__name__[1:],
        verdict,
        make,
        functools.partial(make, **cure),
        SAID[next(iter(cure))] if cure else ("Set learning_rate=",),
    )
    for verdict, make, cure in [
        ("vanishing gradient", _vanishing_mlp, {"act": ReLU}),
        ("vanishing gradient", _vanishing_regression, AUTO),
        ("vanishing gradient", _vanishing_cnn, {"between": (BatchNorm,)}),
        ("exploding gradient", _exploding_mlp, AUTO),
        ("exploding gradient", _exploding_cnn, AUTO),
        ("dead ReLUs", _dead_mlp, {"bias": 0.0}),
        ("dead ReLUs", _dead_cnn, {"bias": 0.0}),
        ("saturated tanh", _saturated_tanh, AUTO),
        ("saturated sigmoid", _saturated_sigmoid, AUTO),
        ("wrong initial loss", _wrong_start_logits, AUTO),
        ("wrong initial loss", _wrong_start_targets, {"scaled": True}),
        ("learning rate too high", _rate_high_mlp, {}),
        ("learning rate too high", _rate_high_cnn, {}),
        ("learning rate too high", _rate_high_regression, {}),
        ("learning rate too low", _rate_low_mlp, {}),
        ("learning rate too low", _rate_low_cnn, {}),
        ("learning rate too low", _rate_low_regression, {}),
        ("inputs not scaled", _unscaled_table, {"scaled": True}),
        ("inputs not scaled", _unscaled_images, {"scaled": True}),
        ("inputs not scaled", _unscaled_offset, {"scaled": True}),
        ("softmax applied twice", _twice_softmax, {"last": ()}),
        ("sigmoid applied twice", _twice_sigmoid, {"last": ()}),
        ("softmax applied twice", _twice_own_softmax, {"last": ()}),
        ("symmetric units", _symmetric_mlp, AUTO),
        ("symmetric units", _symmetric_zeros, AUTO),
        ("symmetric units", _symmetric_cnn, AUTO),
        ("no gradient", _silent_step, {"step": StraightThroughStep}),
        ("no gradient", _silent_gain, {"gain": RightGain}),
        ("loss without gradient", _clipped_error, {"loss": Huber}),
        ("loss without gradient", _clipped_log, {"loss": CCE}),
        ("non-finite origin", _nan_inputs, {"filled": True}),
        ("non-finite origin", _log_of_zero, {"log": ShiftedLog}),
        ("non-finite origin", _root_at_zero, {"root": ShiftedRoot}),
        ("BatchNorm with tiny batches", _tiny_batches, {"batch_size": 32}),
        ("BatchNorm with tiny batches", _tiny_batches_regression, {"between": (LayerNorm,)}),
        ("BatchNorm with stale statistics", _stale_mlp, {"momentum": 0.1}),
        ("BatchNorm with stale statistics", _stale_cnn, {"momentum": 0.1}),
        ("dropout too strong", _dropout_mlp, {"rate": 0.2}),
        ("dropout too strong", _dropout_cnn, {"rate": 0.2}),
        ("rows misaligned", _shifted_rows, {"shift": 0}),
        ("rows misaligned", _shuffled_rows, {"aligned": True}),
        ("rows misaligned", _shuffled_regression, {"aligned": True}),
        ("collapsed to one class", _one_class, {"balanced": True}),
        ("collapsed to one class", _one_class_of_three, {"balanced": True}),
        ("overfitting", _overfitted, {"patience": True}),
        ("overfitting", _overfitted_regression, {"more": True}),
        ("underfitting", _linear_on_rings, {"hidden": (64,)}),
        ("underfitting", _one_unit, {"width": 64}),
        ("weight decay too strong", _decayed, {"decay": 1e-4}),
        ("weight decay too strong", _decayed_curve, {"decay": 1e-4}),
    ]
]  # a learning rate is cured by the one that the report names


# ------------------------------------------------------------------------------- the healthy


def _with(optimizer, epochs=15, batch_size=32):
    return lambda seed: Run(mlp(32, 32), CCE(), optimizer(), blobs(seed), epochs, batch_size)


def _residual(seed):
    block = lambda: Residual(Sequential([BatchNorm(), ReLU(), Dense(24)]))  # noqa: E731
    network = Sequential([Dense(24), *(block() for _ in range(6)), Dense(10)])
    return Run(network, CCE(), Adam(0.003), flat_digits(seed))


def _residual_cnn(seed):
    block = lambda: Residual(Sequential([Conv2D(8, 3, padding="same"), GroupNorm(2), ReLU()]))  # noqa: E731
    network = Sequential([Conv2D(8, 3), ReLU(), block(), block(), GlobalAvgPool2D(), Dense(10)])
    return Run(network, CCE(), Adam(0.01), digits(seed), 10)


def _table_with_codes(seed):
    X, y = blobs(seed)
    code = np.random.default_rng(seed).integers(40, size=len(y))
    table = np.column_stack([X, code])
    network = Sequential(
        [Columns([(slice(0, 6), Dense(16)), (6, Embedding(40, 3))]), ReLU(), Dense(3)]
    )
    return Run(network, CCE(), Adam(0.01), (table, y))


def _self_normalising(seed):
    layers = [x for _ in range(6) for x in (Dense(24), SELU(), AlphaDropout(0.05))]
    return Run(Sequential([*layers, Dense(10)]), CCE(), Adam(0.003), flat_digits(seed))


def _imbalanced(seed):
    X, y = rare(seed, share=0.05, apart=5.0)
    return Run(mlp(16, out=1), BCE(), Adam(0.01), column((X, y)), 20)


def _counts(seed):
    X, y = curve(seed)
    counts = np.random.default_rng(seed).poisson(np.exp(0.5 * y)).astype(float)
    return Run(mlp(24, out=1, act=Tanh), Poisson(), Adam(0.01), (X, counts), 20)


def _autoencoder(seed):
    X, _ = flat_digits(seed)
    network = Sequential([Dense(32), ReLU(), Dense(8), Dense(32), ReLU(), Dense(64)])
    return Run(network, MSE(), Adam(0.005), (X, X), 15)


def _validated(seed):
    learn, held = split(flat_digits(seed, 600), 0.7)
    network = mlp(32, out=10, between=(functools.partial(Dropout, 0.2),))
    return Run(network, CCE(), Adam(0.003), learn, 15, validation_data=held)


def _noisy(seed):
    X, y = curve(seed)
    y = y + 2.0 * np.random.default_rng(seed).normal(size=y.shape)
    return Run(mlp(8, out=1), MSE(), Adam(0.01), (X, y / y.std()), 15)


def _run(network, loss, optimizer, data, epochs=15, batch_size=32):
    return lambda seed: Run(network(), loss(), optimizer(), data(seed), epochs, batch_size)


HEALTHY = [
    Case(name, "", make)
    for name, make in {
        "SGD": _with(lambda: SGD(0.1)),
        "momentum": _with(lambda: SGD(0.02, momentum=0.9, nesterov=True)),
        "Adam": _with(lambda: Adam(0.003)),
        "AdamW": _with(lambda: AdamW(0.003)),
        "NAdam": _with(NAdam),
        "RAdam": _with(lambda: RAdam(0.003)),
        "Adamax": _with(lambda: Adamax(0.005)),
        "RMSProp": _with(lambda: RMSProp(0.002)),
        "Adagrad": _with(lambda: Adagrad(0.02)),
        "Adadelta": _with(Adadelta, epochs=25),
        "Lion": _with(lambda: Lion(0.001)),
        "Rprop": _with(Rprop, epochs=40, batch_size=300),
        "LBFGS": _with(LBFGS, epochs=15),
        "spirals": _run(lambda: mlp(48, 48, out=2), CCE, lambda: Adam(0.01), spirals, 25),
        "rings": _run(lambda: mlp(24, act=Tanh, out=1), BCE, lambda: Adam(0.02),
                      lambda s: column(rings(s)), 25),
        "digits": _run(lambda: mlp(64, out=10), CCE, lambda: SGD(0.1), flat_digits),
        "deep tanh": _run(lambda: mlp(*[24] * 8, act=Tanh, out=10), CCE, lambda: Adam(0.003),
                          flat_digits),
        "deep ReLU": _run(lambda: mlp(*[32] * 8, out=10), CCE, lambda: Adam(0.002), flat_digits),
        "two sigmoids": _run(lambda: mlp(32, 32, act=Sigmoid, out=10), CCE, lambda: Adam(0.01),
                             flat_digits),
        "CNN": _run(cnn, CCE, lambda: Adam(0.005), digits, 8),
        "CNN BatchNorm": _run(lambda: cnn(between=(BatchNorm,)), CCE, lambda: Adam(0.005),
                              digits, 8),
        "CNN SGD": _run(cnn, CCE, lambda: SGD(0.05, momentum=0.9), digits, 10),
        "residual": _residual,
        "residual CNN": _residual_cnn,
        "regression": _run(lambda: mlp(32, 32, out=1), MSE, lambda: Adam(0.005), curve),
        "sine": _run(lambda: mlp(32, 32, act=Tanh, out=1), MSE, lambda: Adam(0.005), sine, 60),
        "Huber": _run(lambda: mlp(32, out=1), Huber, lambda: SGD(0.05), curve),
        "noisy": _noisy,
        "counts": _counts,
        "autoencoder": _autoencoder,
        "imbalanced": _imbalanced,
        "small batches": _run(lambda: mlp(32, out=10), CCE, lambda: SGD(0.02), flat_digits, 8, 4),
        "one row at a time": _run(lambda: mlp(16), CCE, lambda: SGD(0.01), blobs, 5, 1),
        "BatchNorm": _run(lambda: mlp(32, 32, between=(BatchNorm,)), CCE, lambda: Adam(0.005),
                          blobs),
        "LayerNorm": _run(lambda: mlp(32, 32, between=(LayerNorm,)), CCE, lambda: Adam(0.005),
                          blobs),
        "dropout": _run(lambda: mlp(64, 64, out=10, between=(Dropout,)), CCE,
                        lambda: Adam(0.005), flat_digits, 20),
        "validated": _validated,
        "embedding": _table_with_codes,
        "self-normalising": _self_normalising,
        "linear": _run(lambda: mlp(out=3), CCE, lambda: SGD(0.2), blobs),
    }.items()
]  # fmt: skip
