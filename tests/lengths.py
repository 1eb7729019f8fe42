"""Rows of all lengths, and every layer that takes them; suites about sequences sweep both."""

import numpy as np

import layerkit.layers as nn

LENGTHS = {
    "mixed": [3, 1, 5, 3, 2, 8],
    "ascending": [1, 2, 4],
    "descending": [4, 2, 1],
    "equal": [3, 3, 3],
    "of one step": [1, 1, 1],
    "one row": [4],
    "one step": [1],
}


def rows_of(lengths=LENGTHS["mixed"], width=4, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, width)) for n in lengths]


def in_chain(layer):
    return nn.Sequential([nn.Dense(4), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.2), layer])


LAYERS = {
    "dense": lambda: nn.Dense(3),
    "softmax": lambda: nn.Softmax(),
    "layer norm": lambda: nn.LayerNorm(),
    "rnn": lambda: nn.SimpleRNN(3),
    "relu rnn": lambda: nn.SimpleRNN(3, activation="relu", return_sequences=True),
    "gru": lambda: nn.GRU(3),
    "gru, all steps": lambda: nn.GRU(3, return_sequences=True),
    "lstm": lambda: nn.LSTM(3),
    "lstm, all steps": lambda: nn.LSTM(3, return_sequences=True),
    "both ways": lambda: nn.Bidirectional(nn.LSTM(3)),
    "both ways, all steps": lambda: nn.Bidirectional(nn.GRU(3, return_sequences=True)),
    "relu rnn both ways": lambda: nn.Bidirectional(nn.SimpleRNN(2, activation="relu")),
    "last step": lambda: nn.LastStep(),
    "mean": lambda: nn.GlobalAvgPool1D(),
    "maximum": lambda: nn.GlobalMaxPool1D(),
    "attention": lambda: nn.MultiHeadAttention(2),
    "causal attention": lambda: nn.MultiHeadAttention(1, causal=True, rate=0.25),
    "sines": lambda: nn.PositionalEncoding(),
    "places": lambda: nn.PositionalEmbedding(9),
    "transformer": lambda: nn.TransformerEncoderBlock(2, 5, rate=0.1),
    "causal transformer": lambda: nn.TransformerEncoderBlock(4, 3, rate=0.0, causal=True),
    "causal convolution": lambda: nn.Conv1D(3, 3, padding="causal", dilation=2),
    "convolution": lambda: nn.Conv1D(2, 4, padding="same", groups=2),
    "dropout of channels": lambda: nn.SpatialDropout2D(0.5),
    "residual": lambda: nn.Residual(nn.LSTM(4, return_sequences=True)),
    "concat": lambda: nn.Concat([nn.Dense(2), nn.GRU(3, return_sequences=True)]),
    "residual both ways": lambda: nn.Residual(
        nn.Bidirectional(nn.GRU(2, return_sequences=True)), shortcut=nn.Dense(4)
    ),
    "concat of last states": lambda: nn.Concat([nn.GRU(2), nn.LastStep(), nn.LSTM(1)]),
    "pooled": lambda: nn.Sequential([nn.GRU(3, return_sequences=True), nn.GlobalAvgPool1D()]),
    "concat, pooled": lambda: nn.Sequential(
        [
            nn.Concat([nn.LSTM(2, return_sequences=True), nn.MultiHeadAttention(2)]),
            nn.GlobalMaxPool1D(),
            nn.Dense(2),
        ]
    ),
    "chain": lambda: in_chain(nn.Sequential([nn.LSTM(3, return_sequences=True), nn.LastStep()])),
}


def built(name, dtype=np.float64):
    """Build a layer of the table for rows of 4 features, away from zeros and ones."""
    layer = LAYERS[name]().build((None, 4), random_state=0, dtype=dtype)
    layer.flat_params[...] += 0.1 * np.random.default_rng(1).standard_normal(layer.n_params)
    return layer
