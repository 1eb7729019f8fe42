"""All layers, one family per module."""

from layerkit.layers.activations import (
    HardSigmoid,
    HardTanh,
    Identity,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)
from layerkit.layers.containers import Columns, Concat, Residual, Sequential
from layerkit.layers.dense import Dense
from layerkit.layers.gated import GELU, GLU, HardSwish, Mish, SiLU
from layerkit.layers.rectifiers import ELU, SELU, LeakyReLU, Maxout, PReLU, ReLU
from layerkit.layers.softmax import LogSoftmax, Softmax

__all__ = [
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "Columns",
    "Concat",
    "Dense",
    "HardSigmoid",
    "HardSwish",
    "HardTanh",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "Maxout",
    "Mish",
    "PReLU",
    "ReLU",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "Tanh",
]
