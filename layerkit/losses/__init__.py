"""Losses on raw outputs, each with its exact derivative and its inverse link."""

from layerkit.losses.classification import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    KLDivergence,
    NegativeLogLikelihood,
)
from layerkit.losses.likelihood import Gamma, GaussianNLL, Poisson, Tweedie
from layerkit.losses.loss import Loss
from layerkit.losses.margin import Hinge, MultiMargin, SquaredHinge
from layerkit.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanSquaredError,
    Quantile,
)

__all__ = [
    "BinaryCrossEntropy",
    "CategoricalCrossEntropy",
    "CosineSimilarity",
    "Focal",
    "Gamma",
    "GaussianNLL",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MultiMargin",
    "NegativeLogLikelihood",
    "Poisson",
    "Quantile",
    "SquaredHinge",
    "Tweedie",
]
