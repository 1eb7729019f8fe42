"""Update rules on two flat vectors, ``optimizer.step(flat_params, flat_grads)``.

Formulas and defaults are PyTorch's, so that steps agree to rounding.

    SGD        gradient descent, with (Nesterov) momentum if wanted
    Adam       an average of the gradient over an average of its size
    AdamW      Adam with decoupled weight decay
    NAdam      Adam with Nesterov's momentum
    RAdam      Adam with a warm-up of its own
    Adamax     Adam with the maximum norm
    RMSProp    the gradient over the root of its mean square
    Adagrad    the gradient over the root of the sum of its squares
    Adadelta   steps in the units of the parameters
    Lion       the sign of an average of the gradient
    Rprop      a step size for every parameter, for full batches
    LBFGS      quasi-Newton descent through SciPy, for full batches
    Optimizer  the base class: a rule of your own is one short method
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
