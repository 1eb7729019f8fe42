"""Neural networks of layers with an explicit forward and backward, for scikit-learn users."""

from layerkit.inspection import check_gradients, check_loss_gradients
from layerkit.layer import Layer
from layerkit.layers import *  # noqa: F403
from layerkit.layers import __all__ as _layers

__version__ = "0.1.0.dev0"
__all__ = ["Layer", "check_gradients", "check_loss_gradients", *_layers]
