"""What makes backprop visible: gradients checked, traced and pictured."""

from layerkit.inspection.gradient_check import (
    GradientCheck,
    check_gradients,
    check_loss_gradients,
)

__all__ = ["GradientCheck", "check_gradients", "check_loss_gradients"]
