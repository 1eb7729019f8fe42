"""Optimizers: update rules on two flat vectors, ``optimizer.step(flat_params, flat_grads)``.

Formulas and defaults are PyTorch's, so that steps agree to rounding. A rule of your own is a
subclass of `Optimizer` with one short method.
"""

from layerkit.optimizers.adam import Adam, Adamax, AdamW, NAdam, RAdam
from layerkit.optimizers.adaptive import Adadelta, Adagrad, RMSProp
from layerkit.optimizers.descent import SGD, Lion, Rprop
from layerkit.optimizers.lbfgs import LBFGS
from layerkit.optimizers.optimizer import Optimizer

__all__ = [
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSProp",
    "Rprop",
]
