"""Neural networks of layers with an explicit forward and backward, for scikit-learn users.

Estimators, for ``fit``, ``predict``, pipelines and grid searches::

    SequentialClassifier, SequentialRegressor   made of layers
    MLPClassifier, MLPRegressor                 scikit-learn's, and more
    TabularClassifier, TabularRegressor         for tables as they are; TableEncoder reads them

Layers, each with its own ``forward`` and ``backward``; `layerkit.layers` has a line for each::

    Dense, NTKDense
    ReLU, LeakyReLU, PReLU, ELU, SELU, GELU, SiLU, Mish, HardSwish, GLU, Maxout, Sigmoid,
    HardSigmoid, Tanh, HardTanh, Softsign, Softplus, Softmax, LogSoftmax, Identity
    Conv1D, Conv2D, DepthwiseConv2D, SeparableConv2D, ConvTranspose2D
    MaxPool1D, MaxPool2D, AvgPool1D, AvgPool2D,
    GlobalMaxPool1D, GlobalMaxPool2D, GlobalAvgPool1D, GlobalAvgPool2D
    BatchNorm, LayerNorm, GroupNorm, InstanceNorm, RMSNorm
    MultiHeadAttention, PositionalEncoding, PositionalEmbedding, TransformerEncoderBlock
    Dropout, SpatialDropout2D, AlphaDropout, GaussianNoise
    Flatten, Reshape, Permute, ZeroPad2D, UpSample2D, Embedding,
    SimpleRNN, GRU, LSTM, Bidirectional, LastStep
    Scale, SmoothClip, PeriodicEmbedding, PiecewiseLinearEmbedding, ParametricActivation,
    BatchEnsemble
    Sequential, Residual, Gate, Concat, Columns

The base class, and proofs::

    Layer                   the base class of all layers
    check_gradients         a layer's or network's backward against finite differences
    check_loss_gradients    a loss's backward against finite differences
    ModelFileError          raised for a model file that is damaged or for something else

Packages::

    layerkit.estimators     those above
    layerkit.layers         all layers, by family
    layerkit.losses         MeanSquaredError, CategoricalCrossEntropy, Quantile, Poisson, …
    layerkit.optimizers     SGD, Adam, AdamW, LBFGS, …
    layerkit.schedules      learning rates that change: CosineDecay, OneCycle, …
    layerkit.initializers   first values of weights: he_uniform, orthogonal, …
    layerkit.training       train, History, Checkpoint
    layerkit.fused          plan: a network in fewer calls, for loops of your own
    layerkit.inspection     check, trace, examine and picture what a network does
    layerkit.interchange    model files; to and from ONNX, PyTorch, scikit-learn
    layerkit.distributed    one fit on the processes of MPI or of a Dask cluster
    layerkit.datasets       small data sets
    layerkit.kernels        the hot loops, in NumPy or compiled by Numba

``python -m layerkit demo`` shows it at work.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from layerkit.layer import Layer
from layerkit.layers import *  # noqa: F403
from layerkit.layers import __all__ as _layers
from layerkit.version import __version__ as __version__

if TYPE_CHECKING:  # what `__getattr__` finds, for editors and type checkers
    from layerkit import (  # noqa: F401
        datasets,
        distributed,
        estimators,
        fused,
        inspection,
        interchange,
        losses,
        optimizers,
        schedules,
        training,
    )
    from layerkit.archive import ModelFileError
    from layerkit.estimators import (
        MLPClassifier,
        MLPRegressor,
        SequentialClassifier,
        SequentialRegressor,
        TableEncoder,
        TabularClassifier,
        TabularRegressor,
    )
    from layerkit.inspection import check_gradients, check_loss_gradients

_packages = [
    "datasets",
    "distributed",
    "estimators",
    "fused",
    "inspection",
    "interchange",
    "losses",
    "optimizers",
    "schedules",
    "training",
]
_elsewhere = {
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "ModelFileError": "archive",
    "SequentialClassifier": "estimators",
    "SequentialRegressor": "estimators",
    "TableEncoder": "estimators",
    "TabularClassifier": "estimators",
    "TabularRegressor": "estimators",
    "check_gradients": "inspection",
    "check_loss_gradients": "inspection",
}
__all__ = [
    "Layer",
    "MLPClassifier",
    "MLPRegressor",
    "ModelFileError",
    "SequentialClassifier",
    "SequentialRegressor",
    "TableEncoder",
    "TabularClassifier",
    "TabularRegressor",
    "check_gradients",
    "check_loss_gradients",
    *_layers,
]


def __getattr__(name: str) -> Any:
    """Import a package, or what stands in one, when it is first asked for."""
    if name in _packages:
        return import_module(f"layerkit.{name}")
    if name in _elsewhere:
        return getattr(import_module(f"layerkit.{_elsewhere[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_elsewhere, *_packages})
