"""All layers, one family per module; a layer of your own is a subclass of `layerkit.Layer`.

Dense::

    Dense             fully connected: an affine map of the last axis
    NTKDense          the same, with its scale in the formula and initial values from data

Activations::

    ReLU              max(x, 0)
    LeakyReLU         ReLU that lets a little of the negative numbers through
    PReLU             leaky ReLU that learns its slope, one for each channel
    ELU               negative numbers level off smoothly
    SELU              ELU scaled to keep mean 0 and variance 1 from layer to layer
    GELU              x times the probability that a normal number is below x
    SiLU              x times its sigmoid, also called swish
    Mish              a relative of SiLU with a sharper gate
    HardSwish         SiLU made of a parabola and two lines
    GLU               half of the channels gate the other half
    Maxout            the largest of several learned affine maps
    Sigmoid           the logistic function
    HardSigmoid       a sigmoid of three straight lines
    Tanh              the hyperbolic tangent
    HardTanh          a tanh of three straight lines
    Softsign          x / (1 + |x|)
    Softplus          log(1 + exp(x)), a smooth ReLU
    Softmax           probabilities from scores
    LogSoftmax        their logarithms
    Identity          x

Convolutions (channels last)::

    Conv1D            of sequences
    Conv2D            of images
    DepthwiseConv2D   of every channel on its own
    SeparableConv2D   depthwise, then 1 x 1
    ConvTranspose2D   from small images to large ones

Pooling::

    MaxPool1D         the largest step of every window of a sequence
    MaxPool2D         the largest cell of every window of an image
    AvgPool1D         the mean of every window of a sequence
    AvgPool2D         the mean of every window of an image
    GlobalMaxPool1D   the largest value of every channel of a sequence
    GlobalMaxPool2D   the largest value of every channel of an image
    GlobalAvgPool1D   the mean of every channel of a sequence
    GlobalAvgPool2D   the mean of every channel of an image

Recurrent::

    SimpleRNN         a state that goes from step to step
    GRU               a state with a gate that keeps and one that resets
    LSTM              a cell with gates that add, keep and show
    Bidirectional     two of them, one reads from the end
    LastStep          the last step of every sequence

Normalization::

    BatchNorm         every channel, over the batch and all positions
    LayerNorm         every position, over its channels
    GroupNorm         groups of channels, over all positions of a sample
    InstanceNorm      every channel, over all positions of a sample
    RMSNorm           every position scaled to root-mean-square 1

Attention::

    MultiHeadAttention        steps of a sequence look at each other
    PositionalEncoding        adds sines of a step's place
    PositionalEmbedding       adds a learned vector of a step's place
    TransformerEncoderBlock   attention and a small network, each around a norm

Noise in training::

    Dropout           drops values
    SpatialDropout2D  drops whole channels
    AlphaDropout      drops values in networks of SELU
    GaussianNoise     adds normal noise

Shapes and indices::

    Flatten           a sample as one row
    Reshape           a sample in another shape
    Permute           its axes in another order
    ZeroPad2D         images in a frame of zeros
    UpSample2D        images enlarged by repeating pixels, or by lines between them
    Embedding         a learned vector for every integer

Tables::

    Scale                     a learned factor for every feature
    SmoothClip                large numbers tend to a limit
    PeriodicEmbedding         a number as itself and a mixture of its cosines
    PiecewiseLinearEmbedding  a number by how far it reaches into its bins
    ParametricActivation      an activation whose strength is learned
    BatchEnsemble             Dense layers that share their weights, up to scales and biases

Containers::

    Sequential        layers in a chain
    Residual          a block and a way around it, added
    Gate              a block and a gate on the same input, multiplied
    Concat            branches side by side on the same input
    Columns           columns of a table, each to a sub-network of its own
"""

from layerkit.layers.activations import (
    HardSigmoid,
    HardTanh,
    Identity,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
)
from layerkit.layers.attention import MultiHeadAttention, TransformerEncoderBlock
from layerkit.layers.bidirectional import Bidirectional
from layerkit.layers.branches import Columns, Concat, Residual
from layerkit.layers.containers import Sequential
from layerkit.layers.convolution import Conv1D, Conv2D, ConvTranspose2D
from layerkit.layers.dense import Dense, NTKDense
from layerkit.layers.depthwise import DepthwiseConv2D, SeparableConv2D
from layerkit.layers.dropout import AlphaDropout, Dropout, GaussianNoise, SpatialDropout2D
from layerkit.layers.embedding import Embedding
from layerkit.layers.ensembles import BatchEnsemble
from layerkit.layers.gate import Gate
from layerkit.layers.gated import GELU, GLU, HardSwish, Mish, SiLU
from layerkit.layers.global_pooling import (
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    LastStep,
)
from layerkit.layers.instance_norm import InstanceNorm
from layerkit.layers.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from layerkit.layers.numeric import (
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    Scale,
    SmoothClip,
)
from layerkit.layers.parametric import ParametricActivation
from layerkit.layers.pooling import AvgPool1D, AvgPool2D, MaxPool1D, MaxPool2D
from layerkit.layers.positions import PositionalEmbedding, PositionalEncoding
from layerkit.layers.rectifiers import ELU, SELU, LeakyReLU, Maxout, PReLU, ReLU
from layerkit.layers.recurrent import GRU, LSTM, SimpleRNN
from layerkit.layers.reshaping import Flatten, Permute, Reshape, UpSample2D, ZeroPad2D
from layerkit.layers.softmax import LogSoftmax, Softmax

__all__ = [
    "ELU",
    "GELU",
    "GLU",
    "GRU",
    "LSTM",
    "SELU",
    "AlphaDropout",
    "AvgPool1D",
    "AvgPool2D",
    "BatchEnsemble",
    "BatchNorm",
    "Bidirectional",
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
    "Gate",
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
    "InstanceNorm",
    "LastStep",
    "LayerNorm",
    "LeakyReLU",
    "LogSoftmax",
    "MaxPool1D",
    "MaxPool2D",
    "Maxout",
    "Mish",
    "MultiHeadAttention",
    "NTKDense",
    "PReLU",
    "ParametricActivation",
    "PeriodicEmbedding",
    "Permute",
    "PiecewiseLinearEmbedding",
    "PositionalEmbedding",
    "PositionalEncoding",
    "RMSNorm",
    "ReLU",
    "Reshape",
    "Residual",
    "Scale",
    "SeparableConv2D",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SimpleRNN",
    "SmoothClip",
    "Softmax",
    "Softplus",
    "Softsign",
    "SpatialDropout2D",
    "Tanh",
    "TransformerEncoderBlock",
    "UpSample2D",
    "ZeroPad2D",
]
