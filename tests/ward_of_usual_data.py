"""A ward of the fault clinic: scikit-learn's data sets, steps, decay and targets of wrong size.

``make(seed)`` is the sick run, ``make(seed, **cure)`` the same run without its fault.
"""

import functools

import numpy as np
from clinic import BCE, CCE, MSE, Case, Run, column, mlp
from sklearn import datasets

from layerkit import GRU, LSTM, Conv2D, Dense, Flatten, ReLU, Sequential, Tanh
from layerkit.initializers import normal
from layerkit.losses import MeanAbsoluteError
from layerkit.optimizers import SGD, Adam, AdamW

# ------------------------------------------------------------------------------- data


def scaled(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


def wine(seed):
    X, y = datasets.load_wine(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(X))
    return scaled(X)[rows], y[rows]


def diabetes(seed):
    X, y = datasets.load_diabetes(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(X))
    return scaled(X)[rows], y[rows, None]


def circles(seed):
    X, y = datasets.make_circles(400, noise=0.08, factor=0.5, random_state=seed)
    return scaled(X), y


def friedman(seed, scale=True):
    X, y = datasets.make_friedman1(400, noise=0.5, random_state=seed)
    return scaled(X), (scaled(y) if scale else y)[:, None]


def noisy_line(seed):
    """Draw numbers of which no network explains a third."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(400, 6))
    return X, (X.sum(axis=1) * 15 + 60 * rng.normal(size=400) + 150)[:, None]


def stripes(seed, n=240):
    """Draw images with lying or standing stripes."""
    rng = np.random.default_rng(seed)
    X, y = 0.4 * rng.normal(size=(n, 10, 14, 2)), rng.integers(2, size=n)
    for image, stands in zip(X, y, strict=True):
        first = slice(rng.integers(2), None, 2)
        image[(slice(None), first) if stands else first] += 1.2
    return X, y


def waves(seed, n=240, time=20):
    """Draw waves of three frequencies."""
    rng = np.random.default_rng(seed)
    y, t = rng.integers(3, size=n), np.arange(time)[:, None]
    phase = rng.uniform(0, 6, (n, 1, 3))
    return np.sin(t * (0.25 + 0.3 * y[:, None, None]) + phase) + 0.3 * rng.normal(
        size=(n, time, 3)
    ), y


def rare(seed, n=1200, share=0.014, apart=0.6):
    """Draw two classes, the second of them rare and hardly apart."""
    rng = np.random.default_rng(seed)
    y = (rng.permutation(n) < share * n).astype(int)
    return rng.normal(size=(n, 5)) + apart * y[:, None], y


def words(seed, n=500, known=300):
    """Draw texts on four subjects, the logarithms of how often they have each word."""
    rng = np.random.default_rng(seed)
    y = rng.integers(4, size=n)
    subjects = rng.dirichlet(np.full(known, 0.1), size=4)
    return np.log1p(np.stack([rng.multinomial(60, subjects[k]) for k in y])), y


def cnn():
    return Sequential([Conv2D(6, 3), ReLU(), Flatten(), Dense(2)])


# ------------------------------------------------------------------------------- the sick


def raw_progression(seed, std=False):
    X, y = diabetes(seed)
    return Run(mlp(32, out=1), MSE(), Adam(), (X, scaled(y) if std else y), 30)


def raw_progression_deep(seed, std=False):
    X, y = diabetes(seed)
    return Run(mlp(32, 16, out=1), MSE(), Adam(), (X, scaled(y) if std else y), 50)


def raw_progression_by_median(seed, std=False):
    X, y = diabetes(seed)
    y = scaled(y) if std else y
    return Run(mlp(24, out=1, act=Tanh), MeanAbsoluteError(), Adam(0.003), (X, y), 20)


def still_wine(seed, rate=1e-8):
    return Run(mlp(24), CCE(), Adam(rate), wine(seed), 20)


def still_circles(seed, rate=1e-8):
    return Run(mlp(16, 16, out=2, act=Tanh), CCE(), Adam(rate), circles(seed), 30)


def still_numbers(seed, rate=1e-7):
    return Run(mlp(24, out=1), MSE(), SGD(rate), friedman(seed), 20)


def still_images(seed, rate=1e-8):
    return Run(cnn(), CCE(), Adam(rate), stripes(seed), 8)


def still_waves(seed, rate=1e-7):
    return Run(Sequential([GRU(12), Dense(3)]), CCE(), Adam(rate), waves(seed), 15)


def decayed_wine(seed, decay=100.0):
    return Run(mlp(24), CCE(), Adam(0.01, weight_decay=decay), wine(seed), 15)


def decayed_circles(seed, decay=100.0):
    return Run(mlp(24, out=2), CCE(), AdamW(0.01, weight_decay=decay), circles(seed), 25)


def decayed_at_once(seed, decay=100.0):
    return Run(mlp(24, out=1), MSE(), SGD(0.01, weight_decay=decay), friedman(seed), 20)


def decayed_deep(seed, decay=5.0):
    network = mlp(24, 24, out=1, act=Tanh)
    return Run(network, MSE(), Adam(0.005, weight_decay=decay), friedman(seed), 20)


def decayed_images(seed, decay=50.0):
    return Run(cnn(), CCE(), AdamW(0.01, weight_decay=decay), stripes(seed), 10)


def decayed_waves(seed, decay=80.0):
    network = Sequential([LSTM(10), Dense(3)])
    return Run(network, CCE(), AdamW(0.01, weight_decay=decay), waves(seed), 10)


def seldom(seed):
    return Run(mlp(16, out=2), CCE(), Adam(0.001), rare(seed), 10)


def seldom_in_one_output(seed):
    return Run(mlp(32, out=1), BCE(), SGD(0.05), column(rare(seed, 1600)), 12)


def small_start(seed, initializer=None):
    """The small weights are the cause; in training most units then die."""
    network = mlp(*[30] * 5, out=4, initializer=initializer or normal(stddev=0.01))
    return Run(network, CCE(), SGD(0.05), words(seed), 10)


def one_raw_half(seed, both=False):
    """The first epoch is the best on rows that were not scaled, and its weights are kept."""
    rows = datasets.load_breast_cancer()
    order = np.random.default_rng(seed).permutation(len(rows.target))
    X, y = rows.data[order], rows.target[order]
    learn = scaled(X[:300]), y[:300]
    held = scaled(X[300:]) if both else X[300:]
    return Run(mlp(16, out=2), CCE(), Adam(0.003), learn, 10, validation_data=(held, y[300:]))


STD, LOW = {"std": True}, {"decay": 1e-4}
SICK = [
    Case(make.__name__, verdict, make, functools.partial(make, **cure) if cure else None)
    for verdict, make, cure in [
        ("targets not scaled", raw_progression, STD),
        ("targets not scaled", raw_progression_deep, STD),
        ("targets not scaled", raw_progression_by_median, STD),
        ("learning rate too low", still_wine, {"rate": 0.01}),
        ("learning rate too low", still_circles, {"rate": 0.01}),
        ("learning rate too low", still_numbers, {"rate": 0.05}),
        ("learning rate too low", still_images, {"rate": 0.005}),
        ("learning rate too low", still_waves, {"rate": 0.01}),
        ("weight decay too strong", decayed_wine, LOW),
        ("weight decay too strong", decayed_circles, LOW),
        ("weight decay too strong", decayed_at_once, LOW),
        ("weight decay too strong", decayed_deep, LOW),
        ("weight decay too strong", decayed_images, LOW),
        ("weight decay too strong", decayed_waves, LOW),
        ("vanishing gradient", small_start, {"initializer": "auto"}),
        ("validation data on another scale", one_raw_half, {"both": True}),
        ("collapsed to one class", seldom, {}),
        ("collapsed to one class", seldom_in_one_output, {}),
    ]
]

# ------------------------------------------------------------------------------- the healthy


def _weighted_rare(seed):
    X, y = rare(seed, share=0.05, apart=1.0)
    return Run(mlp(12, out=2), CCE(), Adam(0.005), (X, y, np.where(y, 10.0, 0.5)), 15)


HEALTHY = [
    Case(name, "", make)
    for name, make in {
        "just begun": lambda s: Run(mlp(32), CCE(), Adam(), wine(s), 1),
        "weighted rare class": _weighted_rare,
        "rare class apart": lambda s: Run(
            mlp(16, out=2), CCE(), Adam(0.005), rare(s, share=0.03, apart=2.2), 15
        ),
        "targets of tens": lambda s: Run(
            mlp(32, out=1), MSE(), Adam(0.01), friedman(s, scale=False), 40
        ),
        "some decay": lambda s: Run(mlp(32), CCE(), AdamW(0.01, weight_decay=0.1), wine(s), 20),
        "circles": lambda s: Run(mlp(16, out=2, act=Tanh), CCE(), Adam(0.02), circles(s), 25),
        "stripes": lambda s: Run(cnn(), CCE(), Adam(0.005), stripes(s), 8),
        "waves": lambda s: Run(Sequential([GRU(16), Dense(3)]), CCE(), Adam(0.01), waves(s), 20),
    }.items()
]

# Before training it looks as if standardised targets were learned better; afterwards it does not.
LEARNED_RAW = Case(
    "noise of tens", "", lambda s: Run(mlp(12, out=1), MSE(), Adam(0.02), noisy_line(s), 400)
)
