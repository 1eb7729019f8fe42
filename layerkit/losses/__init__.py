"""Losses on raw outputs, each with its exact derivative and its inverse link.

``loss.forward(y_pred, y_true, sample_weight)`` is a number, ``loss.backward()`` its derivative, and
``loss.inverse_link(y_pred)`` turns raw outputs into probabilities, rates or the like.

Numbers::

    MeanSquaredError         its minimum is the mean
    MeanAbsoluteError        its minimum is the median
    Huber                    quadratic for small errors, linear for large ones
    LogCosh                  the same without a seam
    Quantile                 its minimum is a quantile, or one output each for several
    GaussianNLL              predicts a mean and a variance
    Poisson                  counts; predicts the logarithm of their rate
    Gamma                    positive, skewed quantities; predicts the logarithm of the mean
    Tweedie                  quantities with many zeros; predicts the logarithm of the mean
    CosineSimilarity         one minus the cosine between two vectors

Classes::

    CategoricalCrossEntropy  one of several classes, from logits
    BinaryCrossEntropy       yes or no, for one label or several, from logits
    Focal                    cross-entropy that turns away from what is easy
    NegativeLogLikelihood    for networks that end in LogSoftmax
    KLDivergence             distance from target probabilities
    Hinge                    the margin of a support vector machine
    SquaredHinge             its square
    MultiMargin              the hinge loss of several classes

Your own::

    Loss                     the base class: two formulas, ``value`` and ``derivative``
"""

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
