"""Every public layer, in the configurations worth testing; the contract suites sweep this table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import layerkit.layers as nn
from layerkit import Layer, initializers
from layerkit.shapes import Shape

Sampler = Callable[[np.random.Generator, Shape], np.ndarray]


def standard_normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    return rng.standard_normal(shape)


def ids(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Integers below 5, for an Embedding; some are repeated."""
    return rng.integers(5, size=shape)


def table_with_ids(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Numbers with ids in the last column."""
    x = rng.standard_normal(shape)
    x[:, -1] = ids(rng, shape[:1])
    return x


@dataclass(frozen=True)
class Case:
    """One layer in one configuration, for inputs of one shape (batch axis left out)."""

    id: str
    make: Callable[[], Layer]
    input_shape: Shape
    sampler: Sampler = standard_normal
    least_rows: int = 0  # fewest samples that training is defined for: 2 for BatchNorm on tables
    noise: bool = False  # training adds noise whose mean is zero
    smooth_in_x: bool = True  # False where part of the input is ids, to which nothing can be added

    def __str__(self) -> str:
        return self.id

    def build(self, random_state: int = 0, dtype: type = np.float64) -> Layer:
        """Build the layer, away from zeros and ones, which hide mistakes in biases and scales."""
        layer = self.make().build(self.input_shape, random_state=random_state, dtype=dtype)
        rng = np.random.default_rng(99)
        layer.flat_params[...] += 0.1 * rng.standard_normal(layer.flat_params.shape)
        for _, inner in layer.walk():
            for buffer in inner.buffers.values():
                buffer[...] += 0.5 * rng.random(buffer.shape)
        return layer

    def sample(self, n_samples: int = 3, seed: int = 0) -> np.ndarray:
        return self.sampler(np.random.default_rng(seed), (n_samples, *self.input_shape))

    def whole_numbers(self) -> np.ndarray:
        """Numbers that every dtype holds, with ties among them."""
        return np.rint(self.sample())


def frozen(layer: Layer) -> Layer:
    layer.trainable = False
    return layer


DENSE = [
    Case("Dense", lambda: nn.Dense(3), (4,)),
    Case("Dense without bias", lambda: nn.Dense(3, use_bias=False), (4,)),
    Case("Dense on sequences", lambda: nn.Dense(3), (2, 4)),
    Case("Dense on images", lambda: nn.Dense(3, initializer=initializers.orthogonal), (2, 3, 2)),
    Case("NTKDense", lambda: nn.NTKDense(3), (4,)),
    Case("NTKDense with fast biases", lambda: nn.NTKDense(2, bias_rate=1.0), (3,)),
    Case("Dense frozen", lambda: frozen(nn.Dense(3)), (4,)),
]

ACTIVATIONS = [
    Case("Identity", lambda: nn.Identity(), (4,)),
    Case("ReLU", lambda: nn.ReLU(), (4,)),
    Case("ReLU on images", lambda: nn.ReLU(), (2, 3, 2)),
    Case("LeakyReLU", lambda: nn.LeakyReLU(), (4,)),
    Case("LeakyReLU steep", lambda: nn.LeakyReLU(negative_slope=0.3), (2, 3)),
    Case("PReLU", lambda: nn.PReLU(), (4,)),
    Case("PReLU on images", lambda: nn.PReLU(), (2, 3, 2)),
    Case("ELU", lambda: nn.ELU(), (4,)),
    Case("ELU with alpha", lambda: nn.ELU(alpha=0.5), (4,)),
    Case("SELU", lambda: nn.SELU(), (4,)),
    Case("GELU", lambda: nn.GELU(), (4,)),
    Case("GELU approximate", lambda: nn.GELU(approximate=True), (4,)),
    Case("SiLU", lambda: nn.SiLU(), (4,)),
    Case("Mish", lambda: nn.Mish(), (4,)),
    Case("Sigmoid", lambda: nn.Sigmoid(), (4,)),
    Case("HardSigmoid", lambda: nn.HardSigmoid(), (4,)),
    Case("HardSwish", lambda: nn.HardSwish(), (4,)),
    Case("Tanh", lambda: nn.Tanh(), (2, 3)),
    Case("HardTanh", lambda: nn.HardTanh(), (4,)),
    Case("HardTanh as ReLU6", lambda: nn.HardTanh(0, 6), (3, 4)),
    Case("Softplus", lambda: nn.Softplus(), (4,)),
    Case("Softsign", lambda: nn.Softsign(), (4,)),
    Case("Softmax", lambda: nn.Softmax(), (4,)),
    Case("Softmax over time", lambda: nn.Softmax(axis=1), (3, 2)),
    Case("LogSoftmax", lambda: nn.LogSoftmax(), (4,)),
    Case("LogSoftmax over time", lambda: nn.LogSoftmax(axis=-2), (3, 2)),
    Case("GLU", lambda: nn.GLU(), (6,)),
    Case("GLU on sequences", lambda: nn.GLU(), (2, 4)),
    Case("Maxout", lambda: nn.Maxout(units=3, pieces=2), (4,)),
    Case("Maxout on sequences", lambda: nn.Maxout(units=2, pieces=3), (2, 3)),
]

CONVOLUTION = [
    Case("Conv1D", lambda: nn.Conv1D(3, 3), (5, 2)),
    Case("Conv1D same strided", lambda: nn.Conv1D(3, 3, stride=2, padding="same"), (6, 2)),
    Case("Conv1D dilated", lambda: nn.Conv1D(2, 3, dilation=2, padding=1), (7, 2)),
    Case("Conv1D causal", lambda: nn.Conv1D(3, 3, padding="causal"), (5, 2)),
    Case(
        "Conv1D causal dilated strided",
        lambda: nn.Conv1D(2, 2, stride=2, padding="causal", dilation=3),
        (6, 2),
    ),
    Case("Conv1D grouped", lambda: nn.Conv1D(4, 2, groups=2, use_bias=False), (5, 4)),
    Case(
        "Conv1D grouped dilated strided",
        lambda: nn.Conv1D(4, 3, stride=2, padding="same", dilation=2, groups=2),
        (7, 4),
    ),
    Case("Conv2D", lambda: nn.Conv2D(3, 3), (5, 4, 2)),
    Case("Conv2D same", lambda: nn.Conv2D(2, 3, padding="same"), (3, 4, 2)),
    Case(
        "Conv2D by Winograd",
        lambda: nn.Conv2D(8, 3, padding=1, algorithm="winograd"),
        (5, 5, 8),
    ),
    Case("Conv2D same even kernel", lambda: nn.Conv2D(2, 2, padding="same"), (3, 4, 2)),
    Case("Conv2D strided", lambda: nn.Conv2D(2, (3, 2), stride=2), (6, 5, 2)),
    Case("Conv2D same strided", lambda: nn.Conv2D(2, 3, stride=(2, 3), padding="same"), (5, 7, 1)),
    Case("Conv2D padded", lambda: nn.Conv2D(2, 3, padding=(2, 1)), (3, 3, 2)),
    Case("Conv2D dilated", lambda: nn.Conv2D(2, (2, 3), dilation=(3, 2), padding=1), (5, 5, 2)),
    Case("Conv2D grouped", lambda: nn.Conv2D(4, 2, groups=2), (3, 3, 4)),
    Case(
        "Conv2D grouped strided",
        lambda: nn.Conv2D(6, 3, stride=2, padding="same", groups=3),
        (4, 4, 3),
    ),
    Case("Conv2D 1x1 without bias", lambda: nn.Conv2D(3, 1, use_bias=False), (2, 3, 2)),
    Case("Conv2D as large as the image", lambda: nn.Conv2D(3, (3, 2)), (3, 2, 2)),
    Case("DepthwiseConv2D", lambda: nn.DepthwiseConv2D(3), (4, 4, 2)),
    Case(
        "DepthwiseConv2D strided",
        lambda: nn.DepthwiseConv2D(2, stride=2, padding="same", depth_multiplier=2, use_bias=False),
        (5, 4, 2),
    ),
    Case("SeparableConv2D", lambda: nn.SeparableConv2D(3, 3), (4, 4, 2)),
    Case(
        "SeparableConv2D same strided",
        lambda: nn.SeparableConv2D(3, 3, stride=2, padding="same", use_bias=False),
        (5, 4, 2),
    ),
    Case("ConvTranspose2D", lambda: nn.ConvTranspose2D(2, 3), (3, 2, 3)),
    Case("ConvTranspose2D strided", lambda: nn.ConvTranspose2D(2, 2, stride=2), (2, 3, 2)),
    Case(
        "ConvTranspose2D with more output",
        lambda: nn.ConvTranspose2D(2, 2, stride=3, output_padding=2),
        (2, 3, 3),
    ),
    Case(
        "ConvTranspose2D same strided",
        lambda: nn.ConvTranspose2D(2, 3, stride=2, padding="same"),
        (3, 3, 2),
    ),
    Case(
        "ConvTranspose2D padded",
        lambda: nn.ConvTranspose2D(2, 3, stride=(2, 1), padding=1, use_bias=False),
        (3, 3, 2),
    ),
]

POOLING = [
    Case("MaxPool1D", lambda: nn.MaxPool1D(), (6, 2)),
    Case("MaxPool1D overlapping", lambda: nn.MaxPool1D(3, stride=1, padding="same"), (5, 2)),
    Case("MaxPool2D", lambda: nn.MaxPool2D(), (4, 5, 2)),
    Case("MaxPool2D overlapping", lambda: nn.MaxPool2D(3, stride=2, padding=1), (5, 5, 2)),
    Case("MaxPool2D oblong", lambda: nn.MaxPool2D((1, 3), padding="same"), (2, 5, 2)),
    Case("AvgPool1D", lambda: nn.AvgPool1D(), (6, 2)),
    Case("AvgPool1D overlapping", lambda: nn.AvgPool1D(3, stride=2, padding=1), (5, 2)),
    Case("AvgPool2D", lambda: nn.AvgPool2D(), (4, 5, 2)),
    Case("AvgPool2D overlapping", lambda: nn.AvgPool2D(3, stride=1, padding="same"), (3, 4, 2)),
    Case("GlobalAvgPool1D", lambda: nn.GlobalAvgPool1D(), (4, 3)),
    Case("GlobalAvgPool2D", lambda: nn.GlobalAvgPool2D(), (2, 3, 3)),
    Case("GlobalMaxPool1D", lambda: nn.GlobalMaxPool1D(), (4, 3)),
    Case("GlobalMaxPool2D", lambda: nn.GlobalMaxPool2D(), (2, 3, 3)),
]

NORMALIZATION = [
    Case("BatchNorm", lambda: nn.BatchNorm(), (4,), least_rows=2),
    Case("BatchNorm on sequences", lambda: nn.BatchNorm(momentum=0.3), (3, 2), least_rows=1),
    Case("BatchNorm on images", lambda: nn.BatchNorm(eps=1e-3), (2, 3, 2), least_rows=1),
    Case("BatchNorm frozen", lambda: frozen(nn.BatchNorm()), (2, 3, 2)),
    Case("LayerNorm", lambda: nn.LayerNorm(), (4,)),
    Case("LayerNorm on sequences", lambda: nn.LayerNorm(eps=1e-3), (2, 4)),
    Case("GroupNorm", lambda: nn.GroupNorm(2), (2, 2, 4)),
    Case("InstanceNorm", lambda: nn.InstanceNorm(), (3, 2, 3)),
    Case("InstanceNorm of sequences", lambda: nn.InstanceNorm(eps=1e-3), (4, 2)),
    Case("GroupNorm on tables", lambda: nn.GroupNorm(groups=2, eps=1e-3), (6,)),
    Case("RMSNorm", lambda: nn.RMSNorm(), (4,)),
    Case("RMSNorm on sequences", lambda: nn.RMSNorm(eps=1e-3), (2, 4)),
]

DROPOUT = [
    Case("Dropout", lambda: nn.Dropout(), (6,), noise=True),
    Case("Dropout on images", lambda: nn.Dropout(0.2), (2, 3, 2), noise=True),
    Case("Dropout of nothing", lambda: nn.Dropout(0.0), (4,)),
    Case("SpatialDropout2D", lambda: nn.SpatialDropout2D(0.3), (2, 2, 4), noise=True),
    Case("AlphaDropout", lambda: nn.AlphaDropout(0.2), (6,)),
    Case("GaussianNoise", lambda: nn.GaussianNoise(0.5), (6,), noise=True),
]

RESHAPING = [
    Case("Flatten", lambda: nn.Flatten(), (2, 3, 2)),
    Case("Reshape", lambda: nn.Reshape((3, 4)), (2, 6)),
    Case("Reshape inferred", lambda: nn.Reshape((2, -1)), (2, 3, 2)),
    Case("Permute", lambda: nn.Permute((2, 1)), (2, 3)),
    Case("Permute of images", lambda: nn.Permute((3, 1, 2)), (2, 3, 4)),
    Case("ZeroPad2D", lambda: nn.ZeroPad2D(1), (2, 3, 2)),
    Case("ZeroPad2D oblong", lambda: nn.ZeroPad2D((0, 2)), (2, 3, 2)),
    Case("UpSample2D", lambda: nn.UpSample2D(2), (2, 3, 2)),
    Case("UpSample2D oblong", lambda: nn.UpSample2D((3, 1)), (2, 3, 2)),
    Case("UpSample2D bilinear", lambda: nn.UpSample2D(2, interpolation="bilinear"), (2, 3, 2)),
    Case(
        "UpSample2D bilinear oblong",
        lambda: nn.UpSample2D((1, 3), interpolation="bilinear"),
        (3, 2, 2),
    ),
]

EMBEDDING = [
    Case("Embedding", lambda: nn.Embedding(5, 3), (4,), ids),
    Case("Embedding of one id", lambda: nn.Embedding(5, 2), (), ids),
    Case("Embedding of images", lambda: nn.Embedding(7, 2), (2, 3), ids),
]

ATTENTION = [
    Case("MultiHeadAttention", lambda: nn.MultiHeadAttention(2), (3, 4)),
    Case("MultiHeadAttention causal", lambda: nn.MultiHeadAttention(1, causal=True), (4, 3)),
    Case("MultiHeadAttention of one step", lambda: nn.MultiHeadAttention(3), (1, 3)),
    Case("MultiHeadAttention with dropout", lambda: nn.MultiHeadAttention(2, rate=0.25), (3, 4)),
    Case("PositionalEncoding", lambda: nn.PositionalEncoding(), (3, 4)),
    Case("PositionalEncoding of odd width", lambda: nn.PositionalEncoding(), (2, 3)),
    Case("PositionalEmbedding", lambda: nn.PositionalEmbedding(3), (3, 2)),
    Case("PositionalEmbedding longer", lambda: nn.PositionalEmbedding(5), (3, 2)),
    Case("TransformerEncoderBlock", lambda: nn.TransformerEncoderBlock(2, 5, rate=0.0), (3, 4)),
    Case(
        "TransformerEncoderBlock causal with dropout",
        lambda: nn.TransformerEncoderBlock(1, 3, rate=0.2, causal=True),
        (3, 2),
    ),
]

TABLES = [
    Case("Scale", lambda: nn.Scale(), (4,)),
    Case("Scale on sequences", lambda: nn.Scale(rate=2.0), (2, 3)),
    Case("SmoothClip", lambda: nn.SmoothClip(), (4,)),
    Case("SmoothClip to a limit", lambda: nn.SmoothClip(limit=0.5), (2, 3)),
    Case("PeriodicEmbedding", lambda: nn.PeriodicEmbedding(), (3,)),
    Case(
        "PeriodicEmbedding of high frequencies",
        lambda: nn.PeriodicEmbedding(2, frequencies=3, sigma=1.0),
        (2,),
    ),
    Case("PiecewiseLinearEmbedding", lambda: nn.PiecewiseLinearEmbedding(3, bins=4), (2,)),
    Case(
        "PiecewiseLinearEmbedding of one bin", lambda: nn.PiecewiseLinearEmbedding(1, bins=1), (3,)
    ),
    Case("ParametricActivation", lambda: nn.ParametricActivation(nn.SELU()), (4,)),
    Case("ParametricActivation of Mish", lambda: nn.ParametricActivation(nn.Mish()), (2, 3)),
    Case(
        "ParametricActivation with parameters",
        lambda: nn.ParametricActivation(nn.PReLU(), rate=0.5),
        (3,),
    ),
    Case("BatchEnsemble", lambda: nn.BatchEnsemble(3, members=4), (2,)),
    Case("BatchEnsemble of members", lambda: nn.BatchEnsemble(2, members=3), (3, 4)),
]

RECURRENT = [
    Case("SimpleRNN", lambda: nn.SimpleRNN(3), (4, 2)),
    Case(
        "SimpleRNN relu", lambda: nn.SimpleRNN(3, activation="relu", return_sequences=True), (3, 2)
    ),
    Case("GRU", lambda: nn.GRU(3), (4, 2)),
    Case("GRU of all steps", lambda: nn.GRU(2, return_sequences=True), (3, 2)),
    Case("LSTM", lambda: nn.LSTM(3), (4, 2)),
    Case("LSTM of all steps", lambda: nn.LSTM(2, return_sequences=True), (3, 2)),
    Case("LSTM of one step", lambda: nn.LSTM(2), (1, 3)),
    Case("Bidirectional", lambda: nn.Bidirectional(nn.LSTM(2)), (3, 2)),
    Case(
        "Bidirectional of all steps",
        lambda: nn.Bidirectional(nn.GRU(2, return_sequences=True)),
        (3, 2),
    ),
    Case("LastStep", lambda: nn.LastStep(), (3, 2)),
]

CONTAINERS = [
    Case("Sequential empty", lambda: nn.Sequential([]), (4,)),
    Case("Sequential", lambda: nn.Sequential([nn.Dense(5), nn.Tanh(), nn.Dense(3)]), (4,)),
    Case(
        "Sequential nested and named",
        lambda: nn.Sequential(
            [
                ("hidden", nn.Sequential([nn.Dense(4), nn.ReLU(), nn.LayerNorm()])),
                nn.Sequential([nn.Dense(2)]),
                ("out", nn.Softmax()),
            ]
        ),
        (3,),
    ),
    Case(
        "Sequential partly frozen",
        lambda: nn.Sequential([frozen(nn.Dense(4)), nn.SiLU(), nn.Dense(3)]),
        (3,),
    ),
    Case(
        "Sequential with noise",
        lambda: nn.Sequential([nn.Dense(4), nn.Dropout(0.3), nn.Dense(2), nn.GaussianNoise(0.1)]),
        (3,),
        noise=True,
    ),
    Case(
        "Sequential on ids",
        lambda: nn.Sequential([nn.Embedding(5, 2), nn.Flatten(), nn.Dense(2)]),
        (3,),
        ids,
    ),
    Case(
        "convolutional network",
        lambda: nn.Sequential(
            [
                nn.Conv2D(3, 3, padding="same", use_bias=False),
                nn.BatchNorm(),
                nn.ReLU(),
                nn.MaxPool2D(),
                nn.Flatten(),
                nn.Dense(3),
            ]
        ),
        (4, 4, 1),
        least_rows=1,
    ),
    Case("Residual", lambda: nn.Residual(nn.Sequential([nn.Dense(4), nn.Tanh()])), (4,)),
    Case(
        "Residual with shortcut",
        lambda: nn.Residual(nn.Sequential([nn.Dense(3), nn.ELU()]), shortcut=nn.Dense(3)),
        (4,),
    ),
    Case(
        "Residual on images",
        lambda: nn.Residual(
            nn.Sequential([nn.Conv2D(4, 3, padding="same"), nn.BatchNorm(), nn.SiLU()]),
            shortcut=nn.Conv2D(4, 1),
        ),
        (3, 3, 2),
        least_rows=1,
    ),
    Case("Gate", lambda: nn.Gate(nn.Sequential([nn.Dense(4), nn.Sigmoid()])), (4,)),
    Case("Gate of a body", lambda: nn.Gate(nn.Dense(3), body=nn.Tanh()), (2, 3)),
    Case(
        "Gate of channels",
        lambda: nn.Gate(
            nn.Sequential(
                [nn.GlobalAvgPool2D(), nn.Dense(2), nn.SiLU(), nn.Dense(3), nn.Sigmoid()]
            ),
            nn.Conv2D(3, 1),
        ),
        (3, 2, 2),
    ),
    Case("Gate of places", lambda: nn.Gate(nn.Conv2D(1, 3, padding="same")), (3, 2, 2)),
    Case("Concat", lambda: nn.Concat([nn.Identity(), nn.Dense(3), nn.Dense(2)]), (4,)),
    Case("Concat of features", lambda: nn.Concat([nn.Dense(1), nn.Tanh()]), (3, 2)),
    Case(
        "Concat of channels",
        lambda: nn.Concat([nn.Conv2D(2, 1), nn.Conv2D(3, 3, padding="same"), nn.Tanh()], axis=3),
        (3, 2, 2),
    ),
    Case("Concat along time", lambda: nn.Concat([nn.Dense(2), nn.Conv1D(2, 2)], axis=-2), (3, 2)),
    Case("Columns", lambda: nn.Columns([([0, 2], nn.Dense(2)), (slice(1, 4), nn.Tanh())]), (5,)),
    Case(
        "Columns with an Embedding",
        lambda: nn.Columns([([0, 1], nn.Dense(3)), (-1, nn.Embedding(5, 2))]),
        (3,),
        table_with_ids,
        smooth_in_x=False,
    ),
]

CASES = [
    *DENSE,
    *ACTIVATIONS,
    *CONVOLUTION,
    *POOLING,
    *NORMALIZATION,
    *DROPOUT,
    *RESHAPING,
    *EMBEDDING,
    *ATTENTION,
    *RECURRENT,
    *TABLES,
    *CONTAINERS,
]
