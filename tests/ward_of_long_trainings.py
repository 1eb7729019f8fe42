"""A ward of the fault clinic: what only a training as long as the user's tells, on rows held out.

``make(seed)`` is the sick run, ``make(seed, **cure)`` the same run without its fault.
"""

import functools

import numpy as np
from clinic import CCE, MSE, Case, Run, blobs, built, flat_digits, mlp, rings
from sklearn.datasets import make_moons, make_swiss_roll
from ward_of_backwards import series
from ward_of_usual_data import waves

from layerkit import (
    ELU,
    GELU,
    GRU,
    LSTM,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1D,
    MultiHeadAttention,
    PositionalEmbedding,
    PositionalEncoding,
    ReLU,
    Residual,
    Sequential,
    SimpleRNN,
    Tanh,
    TransformerEncoderBlock,
)
from layerkit import initializers as init
from layerkit.optimizers import LBFGS, SGD, Adam

# ------------------------------------------------------------------------------- data


def first_of_two(seed, n=480, time=9, words=11):
    """Draw texts that all have the words 0 and 1; which comes first is the class."""
    rng = np.random.default_rng(seed)
    X, y = rng.integers(2, words, (n, time)), rng.integers(2, size=n)
    for text, second in zip(X, y, strict=True):
        text[np.sort(rng.choice(time, 2, replace=False))] = (1, 0) if second else (0, 1)
    return X, y


def rise(seed, n=600, time=10):
    """Draw rows of noise; y is how much more the second half has than the first."""
    X = np.random.default_rng(seed).normal(size=(n, time, 2))
    y = X[:, time // 2 :, 0].mean(axis=1) - X[:, : time // 2, 0].mean(axis=1)
    return X, (y / y.std())[:, None]


def loudness(seed, n=400, time=12):
    """Draw rows whose deviation is asked for, wherever the steps stand."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, time, 2)) * rng.uniform(0.3, 2, (n, 1, 1))
    y = np.log(np.square(X).mean(axis=(1, 2)))
    return X, ((y - y.mean()) / y.std())[:, None]


def told_early(seed, n=400, time=26):
    """Draw rows whose class is told in the second step."""
    rng = np.random.default_rng(seed)
    X, y = 0.4 * rng.normal(size=(n, time, 4)), rng.integers(4, size=n)
    X[np.arange(n), 1, y] += 2.5
    return X, y


def roll(seed, n=420):
    """Draw points of a rolled-up sheet; y is how far along they lie."""
    X, y = make_swiss_roll(n, noise=0.2, random_state=seed)
    return (X - X.mean(axis=0)) / X.std(axis=0), ((y - y.mean()) / y.std())[:, None]


def two_moons(seed, n=280):
    """Draw two interleaving half circles."""
    X, y = make_moons(n, noise=0.12, random_state=seed)
    return X, y


def noisy_line(seed, n=300):
    """Draw rows of ten columns, whose sum is half of y; the rest is noise."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 10))
    return X, X.sum(axis=1, keepdims=True) / 10**0.5 + rng.normal(size=(n, 1))


def diagonals(seed, n=260, size=11):
    """Draw images with stripes along one diagonal or the other."""
    rng = np.random.default_rng(seed)
    X, y, at = 0.5 * rng.normal(size=(n, size, size, 1)), rng.integers(2, size=n), np.arange(size)
    for image, up in zip(X, y, strict=True):
        image[..., 0] += np.sin(1.4 * (at[:, None] + (2 * up - 1) * at) + rng.uniform(0, 6))
    return X, y


# ------------------------------------------------------------------------------- the sick


def _frozen(network, data, seed, thaw):
    built(network, data, seed)
    for layer in network.layers[:-1]:
        layer.trainable = thaw
    return network


def frozen_diagonals(seed, thaw=False):
    data = diagonals(seed)
    body = [Conv2D(3, 3, stride=2), Tanh(), Conv2D(3, 3), Tanh(), Flatten()]
    return Run(_frozen(Sequential([*body, Dense(2)]), data, seed, thaw), CCE(), SGD(0.1), data, 60)


def frozen_waves(seed, thaw=False):
    data = waves(seed)
    network = _frozen(Sequential([GRU(5), Dense(3)]), data, seed, thaw)
    return Run(network, CCE(), SGD(0.1, momentum=0.9), data, 40)


def words_in_a_bag(seed, positions=()):
    block = TransformerEncoderBlock(2, 24, rate=0.0)
    layers = [Embedding(11, 16), *positions, block, GlobalAvgPool1D(), Dense(2)]
    return Run(Sequential(layers), CCE(), Adam(0.005), first_of_two(seed), 40)


def steps_in_a_bag(seed, positions=()):
    attention = [MultiHeadAttention(2), GELU(), GlobalAvgPool1D()]
    layers = [Dense(16), *positions, *attention, Dense(16), GELU(), Dense(1)]
    return Run(Sequential(layers), MSE(), Adam(0.005), rise(seed), 40)


def short_memory(seed, layer=None):
    data = told_early(seed)
    network = built(Sequential([layer or SimpleRNN(14), Dense(4)]), data, seed)
    if layer is None:
        network[0].params["U"][...] *= 0.3
    return Run(network, CCE(), Adam(0.005), data, 15)


def small_start_of_images(seed, initializer=None):
    start = initializer or init.normal(stddev=0.01)
    layers = [
        x for _ in range(5) for x in (Conv2D(6, 3, padding="same", initializer=start), ReLU())
    ]
    network = Sequential([*layers, Flatten(), Dense(2)])
    return Run(network, CCE(), SGD(0.02, momentum=0.9), diagonals(seed), 10)


def blocks_that_only_add(seed, initializer=None):
    wide = init.normal(stddev=0.3)
    ends = initializer or wide

    def block():
        return Residual(
            Sequential([Dense(20, initializer=wide), ELU(), Dense(20, initializer=ends)])
        )

    network = Sequential([Dense(20), *(block() for _ in range(11)), Dense(3)])
    return Run(network, CCE(), SGD(0.01), blobs(seed), 10)


def hardly_a_unit_left(seed, rate=0.98):
    layers = [x for _ in range(3) for x in (Dense(28), Dropout(rate), ReLU())]
    return Run(Sequential([*layers, Dense(2)]), CCE(), Adam(0.005), rings(seed), 25)


def one_unit_for_five(seed, width=1):
    data = blobs(seed, k=5, d=10, spread=1.5)
    return Run(mlp(width, act=Tanh, out=5), CCE(), Adam(0.02), data, 120)


def ran_away(seed, rate=1.5):
    return Run(mlp(24, 24, out=1), MSE(), SGD(rate), roll(seed), 10)


def broke_off(seed, initializer=None):
    layers = [
        x for _ in range(7)
        for x in (Dense(40, initializer=initializer or init.normal(stddev=0.6)), ELU())
    ]  # fmt: skip
    return Run(Sequential([*layers, Dense(3)]), CCE(), SGD(0.05), blobs(seed), 8)


THAW, POSITIONS = {"thaw": True}, {"positions": (PositionalEncoding(),)}
SICK = [
    Case(make.__name__, verdict, make, functools.partial(make, **cure))
    for verdict, make, cure in [
        ("frozen layers", frozen_diagonals, THAW),
        ("frozen layers", frozen_waves, THAW),
        ("positions missing", words_in_a_bag, POSITIONS),
        ("positions missing", steps_in_a_bag, POSITIONS),
        ("gradient vanishes through time", short_memory, {"layer": LSTM(14)}),
        ("vanishing gradient", small_start_of_images, {"initializer": "auto"}),
        ("residual sum grows", blocks_that_only_add, {"initializer": init.zeros}),
        ("dropout too strong", hardly_a_unit_left, {"rate": 0.2}),
        ("underfitting", one_unit_for_five, {"width": 32}),
        ("learning rate too high", ran_away, {"rate": 0.05}),
        ("exploding gradient", broke_off, {"initializer": "auto"}),
    ]
]


# ------------------------------------------------------------------------------- the healthy


def _random_features(seed):
    data = blobs(seed)
    return Run(_frozen(mlp(200), data, seed, False), CCE(), Adam(0.01), data, 30)


def _random_features_of_two_columns(seed):
    data = two_moons(seed)
    return Run(_frozen(mlp(200, out=2), data, seed, False), CCE(), Adam(0.01), data, 30)


def _random_features_and_noise(seed):
    data = noisy_line(seed)
    return Run(_frozen(mlp(100, out=1), data, seed, False), MSE(), Adam(0.01), data, 40)


def _a_reservoir(seed):
    data = rise(seed, 400)
    network = Sequential([SimpleRNN(120), Dense(1)])
    return Run(_frozen(network, data, seed, False), MSE(), Adam(0.01), data, 40)


def _saturated_by_a_line_search(seed):
    X, y = flat_digits(seed)
    return Run(mlp(24, act=Tanh, out=10), CCE(), LBFGS(), (X, y), 40)


def _positions_learned(seed):
    layers = [Embedding(11, 16), PositionalEmbedding(9), TransformerEncoderBlock(2, 24, rate=0.0)]
    network = Sequential([*layers, GlobalAvgPool1D(), Dense(2)])
    return Run(network, CCE(), Adam(0.005), first_of_two(seed), 40)


def _order_is_nothing(seed):
    block = TransformerEncoderBlock(2, 24, rate=0.0)
    network = Sequential([Dense(12), block, GlobalAvgPool1D(), Dense(1)])
    return Run(network, MSE(), Adam(0.005), loudness(seed), 20)


def _noise_in_any_order(seed):
    X, y = loudness(seed)
    y = (y + 2 * np.random.default_rng(seed).normal(size=y.shape)) / 2
    block = TransformerEncoderBlock(2, 24, rate=0.0)
    return Run(Sequential([Dense(12), block, GlobalAvgPool1D(), Dense(1)]), MSE(), Adam(0.002),
               (X, y), 12)  # fmt: skip


def _plain_recurrence(seed):
    return Run(Sequential([SimpleRNN(12), Dense(2)]), CCE(), Adam(0.01), series(seed), 15)


HEALTHY = [
    Case(make.__name__[1:].replace("_", " "), "", make)
    for make in (
        _random_features,
        _random_features_of_two_columns,
        _random_features_and_noise,
        _a_reservoir,
        _saturated_by_a_line_search,
        _positions_learned,
        _order_is_nothing,
        _noise_in_any_order,
        _plain_recurrence,
    )
]
