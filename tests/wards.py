"""More wards of the fault clinic: faults of design and of targets, and their cures.

``make(seed)`` is the sick run, ``make(seed, **cure)`` the same run without its fault.
"""

import functools

import numpy as np
from clinic import (
    BCE,
    CCE,
    MSE,
    Case,
    Run,
    blobs,
    built,
    cnn,
    column,
    curve,
    digits,
    flat_digits,
    mlp,
    rings,
    spirals,
    split,
)
from ward_of_backwards import Linear

from layerkit import Dense, Dropout, Layer, LogSoftmax, ReLU, Sequential, Sigmoid, Tanh
from layerkit.layers import HardTanh, Softplus
from layerkit.losses import Huber, Loss, NegativeLogLikelihood
from layerkit.optimizers import SGD, Adam

# ------------------------------------------------------------------------------- own layers


class Squash(Layer):
    """x / (1 + |x|), with a factor on its slope."""

    factor = -1.0

    def forward(self, x, training=False):
        self.cache = 1 / (1 + np.abs(x))
        return x * self.cache

    def backward(self, grad_output):
        return self.factor * grad_output * self.cache**2


class RightSquash(Squash):
    """The same with its own slope."""

    factor = 1.0


class Affine(Linear):
    """A dense layer whose weight gradient is a mean over the batch."""

    def backward(self, grad_output):
        grad_input = super().backward(grad_output)
        self.grads["W"] /= len(self.cache)
        return grad_input


class Swish(Layer):
    """x sigmoid(x), of whose derivative the second term is forgotten."""

    whole = False

    def forward(self, x, training=False):
        s = 1 / (1 + np.exp(-x))
        self.cache = s + (x * s * (1 - s) if self.whole else 0)
        return x * s

    def backward(self, grad_output):
        return grad_output * self.cache


class RightSwish(Swish):
    """The same with both terms."""

    whole = True


class HalfSquare(Loss):
    """Half the squared error, with the derivative of the whole."""

    factor = 2.0

    def value(self, y_pred, y_true):
        return (y_pred - y_true) ** 2 / 2

    def derivative(self, y_pred, y_true):
        return self.factor * (y_pred - y_true)


class RightHalfSquare(HalfSquare):
    """The same with its own derivative."""

    factor = 1.0


class TurnedError(HalfSquare):
    """The error is taken the wrong way round."""

    factor = -1.0


def _turned_squash(seed, squash=Squash):
    return Run(Sequential([Dense(24), squash(), Dense(3)]), CCE(), Adam(0.01), blobs(seed))


def _mean_for_sum(seed, affine=Affine):
    network = Sequential([affine(24), ReLU(), affine(24), ReLU(), Dense(10)])
    return Run(network, CCE(), SGD(0.1), flat_digits(seed))


def _forgotten_term(seed, swish=Swish):
    return Run(Sequential([Dense(32), swish(), Dense(1)]), MSE(), Adam(0.01), curve(seed), 20)


def _doubled_loss(seed, loss=HalfSquare):
    return Run(mlp(32, out=1), loss(), Adam(0.01), curve(seed), 20)


def _turned_loss(seed, loss=TurnedError):
    return Run(mlp(32, out=1), loss(), SGD(0.01), curve(seed), 10)


# ------------------------------------------------------------------------------- design


def _straight_rings(seed, act=None):
    layers = [x for _ in range(2) for x in (Dense(32), *([act()] if act else []))]
    return Run(Sequential([*layers, Dense(2)]), CCE(), Adam(0.02), rings(seed), 30)


def _straight_spirals(seed, act=None):
    layers = [x for _ in range(2) for x in (Dense(48), *([act()] if act else [Dropout(0.1)]))]
    return Run(Sequential([*layers, Dense(2)]), CCE(), Adam(0.01), spirals(seed), 30)


def _straight_curve(seed, act=None):
    network = Sequential([Dense(32), *([act()] if act else []), Dense(1)])
    X, y = curve(seed)
    return Run(network, MSE(), Adam(0.02), (X, y), 30)


def _frozen_body(seed, thaw=False):
    network = built(mlp(12, 12, act=Tanh, out=10), flat_digits(seed), seed)
    for layer in network.layers[:-1]:
        layer.trainable = thaw
    return Run(network, CCE(), Adam(0.02), flat_digits(seed), 10)


def _frozen_regression(seed, thaw=False):
    data = curve(seed)
    network = built(mlp(8, 4, act=Tanh, out=1), data, seed)
    for layer in network.layers[:-1]:
        layer.trainable = thaw
    return Run(network, MSE(), Adam(0.02), data, 20)


def _clipped_norm(seed, clip_norm=1e-4):
    return Run(mlp(32), CCE(), SGD(0.1, clip_norm=clip_norm), blobs(seed))


def _clipped_value(seed, clip_value=1e-6):
    return Run(mlp(32, out=1), MSE(), SGD(0.05, clip_value=clip_value), curve(seed))


# ------------------------------------------------------------------------------- targets


def _relu_at_the_end(seed, last=(ReLU,)):
    network = Sequential([*mlp(32, out=1).chain, *(layer() for layer in last)])
    return Run(network, MSE(), Adam(0.01), curve(seed), 20)


def _tanh_at_the_end(seed, last=(Tanh,)):
    X, y = curve(seed)
    network = Sequential([*mlp(32, out=1).chain, *(layer() for layer in last)])
    return Run(network, Huber(), Adam(0.01), (X, 3 * y), 30)


def _sigmoid_at_the_end(seed, last=(Sigmoid,)):
    X, y = curve(seed)
    network = Sequential([*mlp(32, act=Tanh, out=1).chain, *(layer() for layer in last)])
    return Run(network, MSE(), Adam(0.01), (X, y - 2), 30)


def _relu_before_bce(seed, last=(ReLU,)):
    network = Sequential([*mlp(24, act=Tanh, out=1).chain, *(layer() for layer in last)])
    return Run(network, BCE(), Adam(0.02), column(rings(seed)), 30)


def _hard_tanh_before_cce(seed, last=(HardTanh,)):
    network = Sequential([*mlp(32, out=10).chain, *(layer() for layer in last)])
    return Run(network, CCE(), Adam(0.005), flat_digits(seed), 15)


def _softplus_at_the_end(seed, last=(Softplus,)):
    X, y = curve(seed)
    network = Sequential([*mlp(32, out=1).chain, *(layer() for layer in last)])
    return Run(network, MSE(), Adam(0.01), (X, y - 1), 20)


def _no_log_softmax(seed, last=()):
    network = Sequential([*mlp(32, out=10).chain, *(layer() for layer in last)])
    return Run(network, NegativeLogLikelihood(), Adam(0.003), flat_digits(seed), 10)


def _no_log_softmax_cnn(seed, last=()):
    network = Sequential([*cnn().chain, *(layer() for layer in last)])
    return Run(network, NegativeLogLikelihood(), Adam(0.005), digits(seed, 300), 8)


def _millions(seed, scale=1e6):
    X, y = curve(seed)
    return Run(mlp(32, out=1), MSE(), Adam(0.01), (X, y * scale), 20)


def _large_deviation(seed, scale=4e5):
    X, y = curve(seed)
    y = 1e6 / 4e5 * scale + y * scale if scale > 1 else y
    return Run(mlp(32, 32, out=1), MSE(), Adam(0.003), (X, y), 20)


def _thousands(seed, scale=3e3):
    X, y = curve(seed)
    return Run(mlp(32, out=1, act=Tanh), Huber(), Adam(0.01), (X, y * scale), 20)


def _constant_number(seed, varied=False):
    X, y = curve(seed)
    return Run(mlp(32, out=1), MSE(), Adam(0.01), (X, y if varied else 0 * y + 3), 10)


def _only_one_class(seed, varied=False):
    X, y = blobs(seed)
    return Run(mlp(32), CCE(), Adam(0.01), (X, y if varied else 0 * y + 1), 10)


def _one_row_repeated(seed, varied=False):
    X, y = blobs(seed)
    return Run(mlp(32), CCE(), Adam(0.01), (X if varied else 0 * X + X[0], y), 10)


def _nothing_in_the_images(seed, varied=False):
    X, y = digits(seed)
    return Run(cnn(), CCE(), Adam(0.005), (X if varied else 0 * X, y), 6)


def _one_row_for_numbers(seed, varied=False):
    X, y = curve(seed)
    return Run(mlp(32, out=1, act=Tanh), MSE(), Adam(0.01), (X if varied else 0 * X + 1, y), 10)


def _raw_validation(seed, scaled=False):
    learn, held = split(blobs(seed, n=600), 0.6)
    held = held if scaled else (held[0] * 50 + 100, held[1])
    return Run(mlp(32), CCE(), Adam(0.005), learn, 10, validation_data=held)


def _raw_validation_images(seed, scaled=False):
    learn, held = split(digits(seed, 500), 0.6)
    held = held if scaled else (held[0] * 255, held[1])
    return Run(cnn(), CCE(), Adam(0.005), learn, 6, validation_data=held)


def _raw_validation_targets(seed, scaled=False):
    learn, held = split(curve(seed, n=600), 0.6)
    held = held if scaled else (held[0], held[1] * 200 + 500)
    return Run(mlp(32, out=1), MSE(), Adam(0.005), learn, 10, validation_data=held)


def _unheard_class(seed, weight=0.0):
    X, y = blobs(seed, k=4)
    return Run(mlp(32, out=4), CCE(), Adam(0.01), (X, y, np.where(y == 2, weight, 1.0)), 15)


def _light_class_of_ten(seed, weight=1e-3):
    X, y = flat_digits(seed)
    weights = np.where(y == 7, weight, 1.0)
    return Run(mlp(32, out=10), CCE(), Adam(0.005), (X, y, weights), 20)


def _leak(seed, leak=True):
    X, y = blobs(seed, spread=2.5)
    extra = y + 0.01 * np.random.default_rng(seed).normal(size=len(y)) if leak else 0.0 * y
    return Run(mlp(32), CCE(), Adam(0.01), (np.column_stack([X, extra]), y), 15)


def _leak_of_a_number(seed, leak=True):
    X, y = curve(seed, d=5)
    extra = 3 * y + 1 if leak else np.random.default_rng(seed).normal(size=y.shape)
    return Run(mlp(32, out=1), MSE(), Adam(0.01), (np.hstack([X, extra]), y), 15)


def _channels_first(seed, last=False):
    X, y = digits(seed, 300)
    X = np.repeat(X, 3, axis=-1)
    X = X if last else np.moveaxis(X, -1, 1)
    network = Sequential([*cnn(filters=(8,)).chain[:2], *cnn(filters=(8,)).chain[3:]])
    return Run(network, CCE(), Adam(0.005), (X, y), 6)


def _by_heart(seed, epochs=60):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 12))
    y = (X[:, 0] + 2.5 * rng.normal(size=60) > 0).astype(int)
    held = (rng.normal(size=(200, 12)), rng.integers(2, size=200))
    return Run(mlp(64, 64, out=2), CCE(), Adam(0.01), (X, y), epochs, validation_data=held)


def _few_units_on_spirals(seed, widths=(2,)):
    return Run(mlp(*widths, act=Tanh, out=2), CCE(), Adam(0.02), spirals(seed), 40)


LAST, SCALED, VARIED = {"last": ()}, {"scaled": True}, {"varied": True}
LOG = {"last": (LogSoftmax,)}
SICK = [
    Case(make.__name__[1:], verdict, make, functools.partial(make, **cure))
    for verdict, make, cure in [
        ("wrong backward", _turned_squash, {"squash": RightSquash}),
        ("wrong backward", _mean_for_sum, {"affine": Linear}),
        ("wrong backward", _forgotten_term, {"swish": RightSwish}),
        ("wrong backward", _doubled_loss, {"loss": RightHalfSquare}),
        ("wrong backward", _turned_loss, {"loss": RightHalfSquare}),
        ("no activation", _straight_rings, {"act": ReLU}),
        ("no activation", _straight_spirals, {"act": ReLU}),
        ("no activation", _straight_curve, {"act": ReLU}),
        ("frozen layers", _frozen_body, {"thaw": True}),
        ("frozen layers", _frozen_regression, {"thaw": True}),
        ("gradient clipped to nothing", _clipped_norm, {"clip_norm": 1.0}),
        ("gradient clipped to nothing", _clipped_value, {"clip_value": 1.0}),
        ("outputs out of reach", _relu_at_the_end, LAST),
        ("outputs out of reach", _tanh_at_the_end, LAST),
        ("outputs out of reach", _sigmoid_at_the_end, LAST),
        ("outputs out of reach", _relu_before_bce, LAST),
        ("outputs out of reach", _hard_tanh_before_cce, LAST),
        ("outputs out of reach", _softplus_at_the_end, LAST),
        ("log-probabilities missing", _no_log_softmax, LOG),
        ("log-probabilities missing", _no_log_softmax_cnn, LOG),
        ("targets not scaled", _millions, {"scale": 1.0}),
        ("targets not scaled", _large_deviation, {"scale": 1.0}),
        ("targets not scaled", _thousands, {"scale": 1.0}),
        ("constant target", _constant_number, VARIED),
        ("constant target", _only_one_class, VARIED),
        ("constant inputs", _one_row_repeated, VARIED),
        ("constant inputs", _nothing_in_the_images, VARIED),
        ("constant inputs", _one_row_for_numbers, VARIED),
        ("validation data on another scale", _raw_validation, SCALED),
        ("validation data on another scale", _raw_validation_images, SCALED),
        ("validation data on another scale", _raw_validation_targets, SCALED),
        ("class never predicted", _unheard_class, {"weight": 1.0}),
        ("class never predicted", _light_class_of_ten, {"weight": 1.0}),
        ("leaked column", _leak, {"leak": False}),
        ("leaked column", _leak_of_a_number, {"leak": False}),
        ("channels first", _channels_first, {"last": True}),
        ("overfitting", _by_heart, {"epochs": 2}),
        ("underfitting", _few_units_on_spirals, {"widths": (64, 64)}),
    ]
]
