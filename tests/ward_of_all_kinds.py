"""A ward of the fault clinic: faults on images, sequences, several outputs, labels and codes.

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
    curve,
    digits,
    flat_digits,
    mlp,
    rare,
    rings,
    split,
)
from ward_of_backwards import (
    BatchCenter,
    Center,
    Elman,
    Linear,
    Look,
    Skip,
    Thinned,
    codes,
    series,
    wide_curve,
)

from layerkit import (
    GELU,
    GRU,
    LSTM,
    BatchNorm,
    Bidirectional,
    Concat,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    LayerNorm,
    LogSoftmax,
    MultiHeadAttention,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    SimpleRNN,
    Softmax,
    Softplus,
    Tanh,
    TransformerEncoderBlock,
)
from layerkit import initializers as init
from layerkit.losses import (
    Focal,
    GaussianNLL,
    Huber,
    MeanAbsoluteError,
    NegativeLogLikelihood,
    Poisson,
    Quantile,
)
from layerkit.optimizers import SGD, Adam, AdamW, RMSProp

# ------------------------------------------------------------------------------- data


def labelled(seed, n=400, labels=5):
    """Draw rows of several labels, each told by a direction of its own."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 8))
    return X, (X @ rng.normal(size=(8, labels)) + 0.3 * rng.normal(size=(n, labels)) > 0.5) * 1.0


def shapes(seed, n=300, size=12):
    """Draw images of three channels: bars that lie, bars that stand, and spots."""
    rng = np.random.default_rng(seed)
    X, y = 0.2 * rng.normal(size=(n, size, size, 3)), rng.integers(3, size=n)
    for image, kind in zip(X, y, strict=True):
        i, j = rng.integers(2, size - 3, size=2)
        image[(slice(i, i + 2), slice(None)) if kind == 0 else slice(None)] += 1.0 * (kind == 0)
        image[:, j : j + 2] += 1.0 * (kind == 1)
        image[i : i + 3, j : j + 3] += 1.5 * (kind == 2)
    return X, y


def bent(seed, n=300):
    """Draw three functions of two columns, none of them straight."""
    a, b = X = np.random.default_rng(seed).normal(size=(2, n))
    return X.T, np.stack([np.sin(2 * a), b**2 - 1, a * b], axis=1)


def recall(seed, n=300, time=40, at=0):
    """Draw rows whose class was told in one step, long before the last."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, time, 2)) * 0.3, rng.integers(2, size=n)
    X[:, at, 0] += 2.0 * y - 1
    return X, y


# ------------------------------------------------------------------------------- inputs


def time_stamps(seed, scaled=False):
    X, y = series(seed)
    X = (
        X
        if scaled
        else np.concatenate([X, 1.6e9 + np.arange(12)[:, None] * np.ones_like(X[..., :1])], -1)
    )
    return Run(Sequential([GRU(12), Dense(2)]), CCE(), Adam(0.01), (X, y), 15)


def huge_series(seed, scaled=False):
    X, y = series(seed)
    return Run(
        Sequential([LSTM(12), Dense(2)]), CCE(), Adam(0.01), (X * (1 if scaled else 500), y), 15
    )


def divided_twice(seed, scaled=False):
    X, y = digits(seed, 300)
    return Run(cnn(), CCE(), SGD(0.05, momentum=0.9), (X if scaled else X / 255, y), 10)


def raw_channels(seed, scaled=False):
    X, y = shapes(seed)
    X = X if scaled else np.clip(X * 60 + 100, 0, 255)
    return Run(cnn(out=3), CCE(), SGD(0.02, momentum=0.9), (X, y), 8)


def one_raw_output(seed, scaled=False):
    X, y = wide_curve(seed)
    y = y if scaled else y * [1, 1, 3e4, 1]
    return Run(mlp(32, out=4, act=Tanh), MSE(), Adam(0.01), (X, y), 20)


def tiny_targets(seed, scaled=False):
    X, y = curve(seed)
    return Run(mlp(32, out=1), MSE(), Adam(0.01), (X, y * (1 if scaled else 1e-6)), 20)


def huge_series_targets(seed, scaled=False):
    X, y = series(seed)
    y = X[:, :, :1].mean(axis=1) * (3 if scaled else 5e4)
    return Run(Sequential([GRU(12), Dense(1)]), MSE(), Adam(0.01), (X, y), 15)


def gap_in_a_series(seed, filled=False):
    X, y = series(seed)
    X[5, 3, 1] = 0 if filled else np.nan
    return Run(Sequential([LSTM(8), Dense(2)]), CCE(), Adam(0.01), (X, y), 8, refused=not filled)


def channels_first(seed, last=False):
    X, y = shapes(seed)
    X = X if last else np.moveaxis(X, -1, 1)
    network = Sequential([Conv2D(8, 3, padding="same"), ReLU(), Flatten(), Dense(3)])
    return Run(network, CCE(), Adam(0.005), (X, y), 6)


def shifted_images(seed, shift=2):
    X, y = digits(seed, 400)
    return Run(cnn(), CCE(), Adam(0.005), (X, np.roll(y, shift)), 8, in_order=True)


def shuffled_series(seed, aligned=False):
    X, y = series(seed, n=400)
    y = y if aligned else np.random.default_rng(seed + 1).permutation(y)
    return Run(Sequential([GRU(8), Dense(2)]), CCE(), Adam(0.01), (X, y), 15)


def shuffled_labels(seed, aligned=False):
    X, y = labelled(seed, n=600)
    y = y if aligned else np.random.default_rng(seed + 1).permutation(y)
    return Run(mlp(16, out=5), BCE(), Adam(0.005), (X, y), 15)


# ------------------------------------------------------------------------------- ends


def sigmoid_twice_on_labels(seed, last=(Sigmoid,)):
    network = Sequential([*mlp(24, out=5).chain, *(layer() for layer in last)])
    return Run(network, BCE(), Adam(0.01), labelled(seed), 20)


def softmax_in_a_nest(seed, last=(Softmax,)):
    body = Sequential([LSTM(12), Dense(2), *(layer() for layer in last)])
    return Run(Sequential([body]), CCE(), Adam(0.01), series(seed), 20)


def softmax_before_focal(seed, last=(Softmax,)):
    network = Sequential([*mlp(24, out=10).chain, *(layer() for layer in last)])
    return Run(network, Focal(), Adam(0.005), flat_digits(seed), 15)


def softmax_before_numbers(seed, last=(Softmax,)):
    network = Sequential([*mlp(24, out=4, act=Tanh).chain, *(layer() for layer in last)])
    return Run(network, MSE(), Adam(0.01), wide_curve(seed), 20)


def relu_before_numbers(seed, last=(ReLU,)):
    network = Sequential([GRU(12), Dense(4), *(layer() for layer in last)])
    X, _ = series(seed)
    return Run(
        network,
        MeanAbsoluteError(),
        Adam(0.01),
        (X, 2 * X[:, -1, :1] + X[:, -2:, :2].reshape(-1, 4)),
        20,
    )


def sigmoid_autoencoder(seed, last=(Sigmoid,)):
    X, _ = flat_digits(seed)
    X = (X - X.mean(axis=0)) / (X.std(axis=0) + 0.1)
    layers = [Dense(32), ReLU(), Dense(64), *(layer() for layer in last)]
    return Run(Sequential(layers), MSE(), Adam(0.005), (X, X), 20)


def softplus_of_logs(seed, last=(Softplus,)):
    X, y = curve(seed)
    network = Sequential([*mlp(24, out=1).chain, *(layer() for layer in last)])
    counts = np.random.default_rng(seed).poisson(np.exp(y - 1.5)).astype(float)
    return Run(network, Poisson(), Adam(0.01), (X, counts), 25)


def no_log_softmax_series(seed, last=()):
    network = Sequential([GRU(12), Dense(2), *(layer() for layer in last)])
    return Run(network, NegativeLogLikelihood(), Adam(0.01), series(seed), 15)


def softmax_before_nll(seed, last=(Softmax,)):
    network = Sequential([*mlp(24, out=10).chain, *(layer() for layer in last)])
    return Run(network, NegativeLogLikelihood(), Adam(0.005), flat_digits(seed), 10)


# ------------------------------------------------------------------------------- design


def straight_cnn(seed, act=None):
    layers = [x for f in (4, 8) for x in (Conv2D(f, 3), *([act()] if act else []))]
    return Run(Sequential([*layers, Flatten(), Dense(3)]), CCE(), Adam(0.005), shapes(seed), 10)


def straight_norms(seed, act=None):
    layers = [x for _ in range(2) for x in (Dense(24), BatchNorm(), *([act()] if act else []))]
    return Run(Sequential([*layers, Dense(2)]), CCE(), Adam(0.01), rings(seed), 20)


def straight_outputs(seed, act=None):
    layers = [x for _ in range(3) for x in (Dense(24), *([act()] if act else []))]
    return Run(Sequential([*layers, Dense(3)]), Huber(), Adam(0.01), bent(seed), 20)


def frozen_cnn(seed, thaw=False):
    data = shapes(seed)
    layers = [x for _ in range(2) for x in (Conv2D(4, 3), Tanh())]
    network = built(Sequential([*layers, GlobalAvgPool2D(), Dense(3)]), data, seed)
    for layer in network.layers[:-1]:
        layer.trainable = thaw
    return Run(network, CCE(), Adam(0.01), data, 10)


def frozen_codes(seed, thaw=False):
    X, y = codes(seed)
    network = Sequential([Embedding(12, 2), Flatten(), Dense(1)])
    network.build((2,), random_state=seed, dtype=np.float64)
    network[0].trainable = thaw
    return Run(network, MSE(), Adam(0.05), (X, y), 25)


def frozen_recurrence(seed, thaw=False):
    data = series(seed)
    network = built(Sequential([GRU(6), Dense(2)]), data, seed)
    network[0].trainable = thaw
    return Run(network, CCE(), Adam(0.05), data, 25)


def clipped_series(seed, clip_norm=1e-6):
    network = Sequential([GRU(12), Dense(2)])
    return Run(network, CCE(), SGD(0.1, momentum=0.9, clip_norm=clip_norm), series(seed), 20)


def clipped_cnn(seed, clip_value=1e-7):
    optimizer = SGD(0.05, momentum=0.9, clip_value=clip_value)
    return Run(cnn(out=3), CCE(), optimizer, shapes(seed), 6)


def equal_heads(seed, initializer=None):
    start = initializer or init.constant(0.2)
    layers = [x for _ in range(2) for x in (Conv1D(8, 3, initializer=start), ReLU())]
    network = Sequential([*layers, GlobalAvgPool1D(), Dense(2)])
    return Run(network, CCE(), Adam(0.01), series(seed), 12)


# ------------------------------------------------------------------------------- steps


def fast_attention(seed, rate=1.0):
    network = Sequential(
        [Dense(8), TransformerEncoderBlock(2, 16, rate=0.0), GlobalAvgPool1D(), Dense(2)]
    )
    return Run(network, CCE(), Adam(rate), series(seed), 12)


def fast_series(seed, rate=50.0):
    return Run(Sequential([GRU(12), Dense(2)]), CCE(), SGD(rate), series(seed), 12)


def slow_autoencoder(seed, rate=1e-6):
    X, _ = flat_digits(seed)
    network = Sequential([Dense(24), ReLU(), Dense(64)])
    return Run(network, MSE(), Adam(rate), (X, X), 8)


def slow_codes(seed, rate=1e-6):
    network = Sequential([Embedding(12, 4), Flatten(), Dense(16), Tanh(), Dense(1)])
    return Run(network, MSE(), RMSProp(rate), codes(seed), 10)


# ------------------------------------------------------------------------------- fit


def images_by_heart(seed, epochs=80):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(60, 8, 8, 1)), rng.integers(3, size=60)
    held = rng.normal(size=(120, 8, 8, 1)), rng.integers(3, size=120)
    return Run(cnn(out=3), CCE(), Adam(0.01), (X, y), epochs, validation_data=held)


def outputs_by_heart(seed, more=False):
    X, y = wide_curve(seed, n=2000 if more else 150)
    y = y + 1.5 * np.random.default_rng(seed).normal(size=y.shape)
    learn, held = split((X, y), 0.5)
    run = Run(mlp(128, 128, out=4), MSE(), Adam(0.01), learn, 3 if more else 100)
    run.validation_data = held
    return run


def by_heart_unseen(seed, epochs=100):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(60, 8)), rng.integers(2, size=60)
    return Run(mlp(64, 64, out=2), CCE(), Adam(0.01), (X, y), epochs)


def one_unit_for_three(seed, width=1):
    return Run(mlp(width, out=3, act=Tanh), MSE(), Adam(0.05), bent(seed), 60)


def decayed_series(seed, decay=20.0):
    network = Sequential([GRU(12), Dense(2)])
    return Run(network, CCE(), AdamW(0.01, weight_decay=decay), series(seed), 20)


def rare_label(seed, balanced=False):
    X, y = rare(seed)
    weight = (np.where(y == 1, 1 / np.mean(y), 1 / np.mean(1 - y)),) if balanced else ()
    return Run(mlp(8, out=2), CCE(), Adam(0.005), (X, y, *weight), 15)


def unheard_shape(seed, weight=0.0):
    X, y = shapes(seed)
    return Run(cnn(out=3), CCE(), Adam(0.01), (X, y, np.where(y == 1, weight, 1.0)), 8)


# ------------------------------------------------------------------------------- validation


def raw_series_held_out(seed, scaled=False):
    learn, held = split(series(seed, n=900), 0.7)
    held = held if scaled else (held[0] * 30 + 7, held[1])
    return Run(Sequential([GRU(6), Dense(2)]), CCE(), Adam(0.02), learn, 10, validation_data=held)


def one_raw_column_held_out(seed, scaled=False):
    learn, held = split(blobs(seed, n=600), 0.6)
    held = held if scaled else (held[0] * [1, 1, 1, 1000, 1, 1], held[1])
    return Run(mlp(24), CCE(), Adam(0.01), learn, 12, validation_data=held)


def ragged_held_out(seed, scaled=False):
    X, y = series(seed, n=700)
    rows = [x[: 6 + k % 7] for k, x in enumerate(X)]
    learn, held = split((rows, y), 0.7)
    held = [x if scaled else x * 40 for x in held[0]], held[1]
    network = Sequential([GRU(6), Dense(2)])
    return Run(network, CCE(), Adam(0.02), learn, 10, validation_data=held)


# ------------------------------------------------------------------------------- leaks, targets


def leaked_output(seed, leak=True):
    X, y = wide_curve(seed)
    extra = 2 * y[:, 1] - 3 if leak else np.random.default_rng(seed).normal(size=len(y))
    return Run(mlp(24, out=4, act=Tanh), MSE(), Adam(0.01), (np.column_stack([X, extra]), y), 15)


def leaked_twice(seed, leak=True):
    X, y = blobs(seed, spread=2.5)
    rng = np.random.default_rng(seed)
    extra = np.eye(3)[y] if leak else rng.normal(size=(len(y), 3))
    return Run(mlp(24), CCE(), Adam(0.01), (np.column_stack([X, extra]), y), 15)


def leaked_label(seed, leak=True):
    X, y = labelled(seed)
    extra = y[:, 3] if leak else np.random.default_rng(seed).normal(size=len(y))
    return Run(mlp(24, out=5), BCE(), Adam(0.01), (np.column_stack([X, extra]), y), 15)


def constant_outputs(seed, varied=False):
    X, y = wide_curve(seed)
    return Run(mlp(16, out=4), MSE(), Adam(0.01), (X, y if varied else y * 0 + [1, 2, 3, 4]), 8)


def constant_series(seed, varied=False):
    X, y = series(seed)
    network = Sequential([GRU(8), Dense(1)])
    return Run(network, BCE(), Adam(0.01), (X, (y if varied else y * 0)[:, None] * 1.0), 8)


# ------------------------------------------------------------------------------- time, attention


def forgetful(seed):
    data = recall(seed)
    network = built(Sequential([SimpleRNN(12), Dense(2)]), data, seed)
    network[0].params["U"][...] *= 0.3
    return Run(network, CCE(), SGD(0.1), data, 10)


def closed_gates(seed, bias=-8.0):
    data = recall(seed, time=15, at=5)
    network = built(Sequential([LSTM(12), Dense(2)]), data, seed)
    network[0].params["b"][12:24] = bias
    return Run(network, CCE(), Adam(0.005), data, 12)


def exploding_steps(seed, factor=2.6):
    data = recall(seed, at=36)
    network = built(Sequential([SimpleRNN(12, activation="relu"), Dense(2)]), data, seed)
    network[0].params["U"][...] *= factor
    return Run(network, CCE(), Adam(0.003, clip_norm=1.0), data, 12)


def even_attention(seed, factor=0.01):
    data = series(seed)
    network = built(
        Sequential([Dense(8), MultiHeadAttention(2), GlobalAvgPool1D(), Dense(2)]), data, seed
    )
    network[1].params["W_qkv"][:, :16] *= factor
    return Run(network, CCE(), SGD(0.05), data, 6)


def sharp_attention(seed, factor=60.0):
    data = series(seed)
    network = built(
        Sequential([Dense(8), MultiHeadAttention(2), GlobalAvgPool1D(), Dense(2)]), data, seed
    )
    network[1].params["W_qkv"][:, :16] *= factor
    return Run(network, CCE(), SGD(0.02), data, 6)


def one_step_attention(seed, sharp=True):
    X, y = series(seed)
    X = np.concatenate([X, np.zeros_like(X[..., :1])], axis=-1)
    X[:, 4, 3] = 1.0
    network = built(Sequential([MultiHeadAttention(2), GlobalAvgPool1D(), Dense(2)]), (X, y), seed)
    if sharp:
        network[0].params["W_qkv"][:, :4] *= 0.01
        network[0].params["b_qkv"][:4], network[0].params["W_qkv"][3, 4:8] = 8, 8
    return Run(network, CCE(), Adam(0.003), (X, y), 12)


def vanishing_series(seed, act=Sigmoid):
    layers = [x for _ in range(6) for x in (Conv1D(8, 3, padding="same"), act())]
    network = Sequential([*layers, GlobalAvgPool1D(), Dense(2)])
    return Run(network, CCE(), SGD(0.1), series(seed), 8)


def tiny_batches_of_series(seed, batch_size=2):
    network = Sequential([GRU(12), BatchNorm(), Dense(2)])
    return Run(network, CCE(), Adam(0.005), series(seed), 6, batch_size=batch_size)


def dropout_in_series(seed, rate=0.95):
    network = Sequential([GRU(24), Dropout(rate), Dense(2)])
    return Run(network, CCE(), Adam(0.01), series(seed), 15)


SCALED, LAST, VARIED = {"scaled": True}, {"last": ()}, {"varied": True}
ACT, THAW = {"act": ReLU}, {"thaw": True}
LOG = {"last": (LogSoftmax,)}
SICK = [
    Case(make.__name__, verdict, make, functools.partial(make, **cure) if cure else None)
    for verdict, make, cure in [
        ("inputs not scaled", time_stamps, SCALED),
        ("inputs not scaled", huge_series, SCALED),
        ("inputs not scaled", divided_twice, SCALED),
        ("inputs not scaled", raw_channels, SCALED),
        ("targets not scaled", one_raw_output, SCALED),
        ("targets not scaled", tiny_targets, SCALED),
        ("targets not scaled", huge_series_targets, SCALED),
        ("non-finite origin", gap_in_a_series, {"filled": True}),
        ("channels first", channels_first, {"last": True}),
        ("rows misaligned", shifted_images, {"shift": 0}),
        ("rows misaligned", shuffled_series, {"aligned": True}),
        ("rows misaligned", shuffled_labels, {"aligned": True}),
        ("sigmoid applied twice", sigmoid_twice_on_labels, LAST),
        ("softmax applied twice", softmax_in_a_nest, LAST),
        ("softmax applied twice", softmax_before_focal, LAST),
        ("outputs out of reach", softmax_before_numbers, LAST),
        ("outputs out of reach", relu_before_numbers, LAST),
        ("outputs out of reach", sigmoid_autoencoder, LAST),
        ("outputs out of reach", softplus_of_logs, LAST),
        ("log-probabilities missing", no_log_softmax_series, LOG),
        ("log-probabilities missing", softmax_before_nll, LOG),
        ("no activation", straight_cnn, ACT),
        ("no activation", straight_norms, ACT),
        ("no activation", straight_outputs, ACT),
        ("frozen layers", frozen_cnn, THAW),
        ("frozen layers", frozen_codes, THAW),
        ("frozen layers", frozen_recurrence, THAW),
        ("gradient clipped to nothing", clipped_series, {"clip_norm": 1.0}),
        ("gradient clipped to nothing", clipped_cnn, {"clip_value": 1.0}),
        ("symmetric units", equal_heads, {"initializer": "auto"}),
        ("learning rate too high", fast_attention, {"rate": 0.005}),
        ("learning rate too high", fast_series, {"rate": 0.3}),
        ("learning rate too low", slow_autoencoder, {"rate": 0.003}),
        ("learning rate too low", slow_codes, {"rate": 0.005}),
        ("overfitting", images_by_heart, {"epochs": 2}),
        ("overfitting", outputs_by_heart, {"more": True}),
        ("overfitting", by_heart_unseen, {"epochs": 2}),
        ("underfitting", one_unit_for_three, {"width": 64}),
        ("weight decay too strong", decayed_series, {"decay": 1e-4}),
        ("collapsed to one class", rare_label, {"balanced": True}),
        ("class never predicted", unheard_shape, {"weight": 1.0}),
        ("validation data on another scale", raw_series_held_out, SCALED),
        ("validation data on another scale", one_raw_column_held_out, SCALED),
        ("validation data on another scale", ragged_held_out, SCALED),
        ("leaked column", leaked_output, {"leak": False}),
        ("leaked column", leaked_twice, {"leak": False}),
        ("leaked column", leaked_label, {"leak": False}),
        ("constant target", constant_outputs, VARIED),
        ("constant target", constant_series, VARIED),
        ("gradient vanishes through time", forgetful, {}),
        ("forget gates closed", closed_gates, {"bias": 1.0}),
        ("gradient explodes through time", exploding_steps, {"factor": 0.9}),
        ("attention collapsed to uniform", even_attention, {"factor": 1.0}),
        ("attention collapsed to one position", sharp_attention, {"factor": 1.0}),
        ("attention collapsed to one position", one_step_attention, {"sharp": False}),
        ("vanishing gradient", vanishing_series, ACT),
        ("BatchNorm with tiny batches", tiny_batches_of_series, {"batch_size": 32}),
        ("dropout too strong", dropout_in_series, {"rate": 0.2}),
    ]
]


# ------------------------------------------------------------------------------- the healthy


def _frozen_on_purpose(seed):
    first = Run(mlp(32, 24, out=10), CCE(), Adam(0.005), flat_digits(seed), 15)
    first.go(seed=seed)
    body = first.network.layers[:-1]
    network = Sequential([*body, Dense(5)])
    X, y = flat_digits(seed + 1)
    network.build((64,), random_state=seed, dtype=first.network.dtype)
    for layer in network.layers[:-1]:
        layer.trainable = False
    return Run(network, CCE(), Adam(0.01), (X[y < 5], y[y < 5]), 10)


def _deep_residual(seed):
    block = lambda: Residual(Sequential([LayerNorm(), Dense(24), GELU()]))  # noqa: E731
    network = Sequential([Dense(24), *(block() for _ in range(16)), LayerNorm(), Dense(10)])
    return Run(network, CCE(), Adam(0.002), flat_digits(seed), 12)


def _weighted(seed):
    X, y = curve(seed)
    weight = np.random.default_rng(seed).uniform(0.2, 5, len(X))
    return Run(mlp(24, out=1), MSE(), Adam(0.01), (X, y, weight), 15)


def _imbalanced_images(seed):
    X, y = shapes(seed, n=500)
    keep = (y != 2) | (np.random.default_rng(seed).random(len(y)) < 0.15)
    return Run(cnn(out=3), CCE(), Adam(0.005), (X[keep], y[keep]), 8)


def _stopped_early(seed):
    learn, held = split(blobs(seed, n=500, spread=1.8), 0.6)
    return Run(mlp(24), CCE(), Adam(0.005), learn, 6, validation_data=held)


def _regularized(seed):
    learn, held = split(flat_digits(seed, 700), 0.7)
    network = mlp(48, out=10, between=(functools.partial(Dropout, 0.3),))
    return Run(network, CCE(label_smoothing=0.1), AdamW(0.005, weight_decay=1e-2), learn, 15,
               validation_data=held)  # fmt: skip


def _unit_autoencoder(seed):
    X, _ = digits(seed)
    X = X.reshape(len(X), -1)
    network = Sequential([Dense(24), ReLU(), Dense(64), Sigmoid()])
    return Run(network, MSE(), Adam(0.01), (X, X), 20)


def _own_layers(seed):
    network = Sequential(
        [Linear(24), Center(), ReLU(), Skip(Sequential([Dense(24), Tanh()])), Thinned(), Dense(10)]
    )
    return Run(network, CCE(), Adam(0.005), flat_digits(seed), 15)


def _ragged(seed):
    X, y = series(seed)
    rows = [x[: 6 + k % 7] for k, x in enumerate(X)]
    return Run(Sequential([LSTM(12), Dense(2)]), CCE(), Adam(0.01), (rows, y), 12)


def _two_branches(seed):
    network = Sequential(
        [Concat([Sequential([Dense(16), Tanh()]), Sequential([Dense(8), SiLU()])]), Dense(3)]
    )
    return Run(network, CCE(), Adam(0.01), blobs(seed), 12)


def _probabilities_as_numbers(seed):
    X, y = blobs(seed)
    network = Sequential([*mlp(24).chain, Softmax()])
    return Run(network, MSE(), Adam(0.01), (X, np.eye(3)[y]), 20)


def _outliers(seed):
    X, y = curve(seed)
    X[::50] *= 4
    y[::40] += 6
    return Run(mlp(24, out=1), Huber(), Adam(0.01), (X, y), 15)


def _shifted_validation(seed):
    learn, held = split(blobs(seed, n=600), 0.6)
    return Run(mlp(24), CCE(), Adam(0.005), learn, 10, validation_data=(held[0] + 0.4, held[1]))


def _run(make, epochs=15, batch_size=32):
    return lambda seed: Run(*make(seed), epochs, batch_size)


HEALTHY = [
    Case(name, "", make)
    for name, make in {
        "small": _run(lambda s: (mlp(4, act=Tanh), CCE(), Adam(0.02), blobs(s)), 20),
        "wide": _run(lambda s: (mlp(512, out=10), CCE(), Adam(0.002), flat_digits(s)), 6),
        "few rows": _run(lambda s: (mlp(16), CCE(), Adam(0.01), blobs(s, n=40)), 15, 8),
        "few rows of numbers": _run(
            lambda s: (mlp(8, out=1), MSE(), Adam(0.01), curve(s, n=50)), 15, 8
        ),
        "deep residual": _deep_residual,
        "regularized": _regularized,
        "weighted": _weighted,
        "imbalanced images": _imbalanced_images,
        "one epoch": _run(lambda s: (mlp(32, out=10), CCE(), Adam(0.003), flat_digits(s, 800)), 1),
        "two epochs of images": _run(lambda s: (cnn(), CCE(), Adam(0.005), digits(s)), 2),
        "stopped early": _stopped_early,
        "frozen on purpose": _frozen_on_purpose,
        "several outputs": _run(
            lambda s: (mlp(32, out=4, act=Tanh), MSE(), Adam(0.01), wide_curve(s)), 20
        ),
        "labels": _run(lambda s: (mlp(24, out=5), BCE(), Adam(0.01), labelled(s)), 15),
        "LSTM": _run(
            lambda s: (Sequential([LSTM(12), Dense(2)]), CCE(), Adam(0.01), series(s)), 20
        ),
        "both directions": _run(
            lambda s: (Sequential([Bidirectional(GRU(8)), Dense(2)]), CCE(), Adam(0.01), series(s)),
            15,
        ),
        "attention": _run(
            lambda s: (
                Sequential(
                    [
                        Dense(8),
                        TransformerEncoderBlock(2, 16, rate=0.0),
                        GlobalAvgPool1D(),
                        Dense(2),
                    ]
                ),
                CCE(),
                Adam(0.005),
                series(s),
            ),
            20,
        ),
        "Conv1D": _run(
            lambda s: (
                Sequential(
                    [Conv1D(8, 3), ReLU(), Conv1D(8, 3), ReLU(), GlobalAvgPool1D(), Dense(2)]
                ),
                CCE(),
                Adam(0.01),
                series(s),
            ),
            20,
        ),
        "ragged": _ragged,
        "codes": _run(
            lambda s: (
                Sequential([Embedding(12, 4), Flatten(), Dense(1)]),
                MSE(),
                Adam(0.02),
                codes(s),
            ),
            20,
        ),
        "colours": _run(
            lambda s: (cnn(out=3, between=(BatchNorm,)), CCE(), Adam(0.005), shapes(s)), 8
        ),
        "quantiles": _run(
            lambda s: (
                mlp(24, out=3),
                Quantile([0.1, 0.5, 0.9]),
                Adam(0.01),
                (curve(s)[0], curve(s)[1]),
            ),
            20,
        ),
        "mean and deviation": _run(
            lambda s: (mlp(24, out=2), GaussianNLL(), Adam(0.005), (curve(s)[0], curve(s)[1])), 20
        ),
        "log-probabilities": _run(
            lambda s: (
                Sequential([*mlp(24).chain, LogSoftmax()]),
                NegativeLogLikelihood(),
                Adam(0.01),
                blobs(s),
            ),
            15,
        ),
        "LogSoftmax before CCE": _run(
            lambda s: (Sequential([*mlp(24).chain, LogSoftmax()]), CCE(), Adam(0.01), blobs(s)), 15
        ),
        "autoencoder of grey values": _unit_autoencoder,
        "own layers": _own_layers,
        "own recurrence": _run(
            lambda s: (Sequential([Elman(16), Dense(2)]), CCE(), Adam(0.01), series(s)), 15
        ),
        "own attention": _run(
            lambda s: (
                Sequential([Dense(12), Tanh(), Look(), Dense(2)]),
                CCE(),
                Adam(0.01),
                series(s),
            ),
            20,
        ),
        "own BatchNorm": _run(
            lambda s: (
                Sequential([Dense(24), BatchCenter(), ReLU(), Dense(3)]),
                CCE(),
                Adam(0.005),
                blobs(s),
            ),
            15,
        ),
        "branches": _two_branches,
        "probabilities as numbers": _probabilities_as_numbers,
        "outliers": _outliers,
        "slightly moved validation": _shifted_validation,
        "hard classes": _run(lambda s: (mlp(16), CCE(), Adam(0.005), blobs(s, spread=3.0)), 10),
    }.items()
]
