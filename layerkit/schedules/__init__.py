"""The learning rate as a function ``step -> rate``.

``step`` counts the optimizer's steps (batches, not epochs) from 0: the rate of the very first one
is ``schedule(0)``. Every optimizer takes a schedule as its ``learning_rate``, or any function of
yours. Past its ``steps`` a schedule stays at its last value. Parameters are checked when used.

    Constant          the same at every step
    StepDecay         a staircase
    ExponentialDecay  the staircase made smooth
    InverseScaling    1 / (step + 1) to a power
    Polynomial        a straight line, or a power of it
    CosineDecay       half a cosine, after a warm-up if wanted
    CosineRestarts    one half cosine after another
    OneCycle          up and down again
    Warmup            a linear rise to another schedule
    ReduceOnPlateau   smaller when the validation loss no longer falls
    CosLog            cosine cycles that become longer, over the whole run
    FlatCosine        flat, then half a cosine, over the whole run
    Progress          the base class of schedules that `train` tells how long the run is
    Schedule          the base class, for one of your own
"""

from layerkit.schedules.cosine import CosineDecay, CosineRestarts, OneCycle
from layerkit.schedules.decays import ExponentialDecay, InverseScaling, Polynomial, StepDecay
from layerkit.schedules.plateau import ReduceOnPlateau
from layerkit.schedules.progress import CosLog, FlatCosine, Progress
from layerkit.schedules.schedule import Constant, Schedule, Warmup

__all__ = [
    "Constant",
    "CosLog",
    "CosineDecay",
    "CosineRestarts",
    "ExponentialDecay",
    "FlatCosine",
    "InverseScaling",
    "OneCycle",
    "Polynomial",
    "Progress",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
    "Warmup",
]
