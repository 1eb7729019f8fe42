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
from layerkit.layers.branches import Columns, Concat, Residual
from layerkit.layers.containers import Sequential
from layerkit.layers.convolution import Conv1D, Conv2D, ConvTranspose2D
from layerkit.layers.dense import Dense
from layerkit.layers.depthwise import DepthwiseConv2D, SeparableConv2D
from layerkit.layers.dropout import AlphaDropout, Dropout, GaussianNoise, SpatialDropout2D
from layerkit.layers.embedding import Embedding
from layerkit.layers.gated import GELU, GLU, HardSwish, Mish, SiLU
from layerkit.layers.global_pooling import (
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
)
from layerkit.layers.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from layerkit.layers.pooling import AvgPool1D, AvgPool2D, MaxPool1D, MaxPool2D
from layerkit.layers.rectifiers import ELU, SELU, LeakyReLU, Maxout, PReLU, ReLU
from layerkit.layers.reshaping import Flatten, Permute, Reshape, UpSample2D, ZeroPad2D
from layerkit.layers.softmax import LogSoftmax, Softmax

__all__ = [
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "AlphaDropout",
    "AvgPool1D",
    "AvgPool2D",
    "BatchNorm",
    "Columns",
    "Concat",
    "Conv1D",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "Flatten",
    "GaussianNoise",
    "GlobalAvgPool1D",
    "GlobalAvgPool2D",
    "GlobalMaxPool1D",
    "GlobalMaxPool2D",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "HardTanh",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool1D",
    "MaxPool2D",
    "Maxout",
    "Mish",
    "PReLU",
    "Permute",
    "RMSNorm",
    "ReLU",
    "Reshape",
    "Residual",
    "SeparableConv2D",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpatialDropout2D",
    "Tanh",
    "UpSample2D",
    "ZeroPad2D",
]
