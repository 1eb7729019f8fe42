"""What makes backprop visible: gradients checked, traced and pictured."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from layerkit.inspection.gradient_check import (
    GradientCheck,
    check_gradients,
    check_loss_gradients,
)

if TYPE_CHECKING:
    from layerkit.inspection.catalogue import GradientCatalogue, gradient_catalogue
    from layerkit.inspection.diagnosis import HealthMonitor, HealthReport, health
    from layerkit.inspection.displays import (
        ActivationDisplay,
        DerivativeDisplay,
        DerivativeErrorDisplay,
        FilterDisplay,
        GradientFlowDisplay,
        GradientRecorder,
        LossSurfaceDisplay,
        SaliencyDisplay,
        TrainingCurveDisplay,
        WeightRecorder,
        input_gradient,
    )
    from layerkit.inspection.numerical_differentiation import numerical_gradient
    from layerkit.inspection.tracing import BackpropTrace, trace

__all__ = [
    "ActivationDisplay",
    "BackpropTrace",
    "DerivativeDisplay",
    "DerivativeErrorDisplay",
    "FilterDisplay",
    "GradientCatalogue",
    "GradientCheck",
    "GradientFlowDisplay",
    "GradientRecorder",
    "HealthMonitor",
    "HealthReport",
    "LossSurfaceDisplay",
    "SaliencyDisplay",
    "TrainingCurveDisplay",
    "WeightRecorder",
    "check_gradients",
    "check_loss_gradients",
    "gradient_catalogue",
    "health",
    "input_gradient",
    "numerical_gradient",
    "trace",
]

# Loaded on first use. No module may be called like a function in it: importing the module would
# put it in the function's place.
_LAZY = {
    "ActivationDisplay": "displays",
    "BackpropTrace": "tracing",
    "DerivativeDisplay": "displays",
    "DerivativeErrorDisplay": "displays",
    "FilterDisplay": "displays",
    "GradientCatalogue": "catalogue",
    "GradientFlowDisplay": "displays",
    "GradientRecorder": "displays",
    "HealthMonitor": "diagnosis",
    "HealthReport": "diagnosis",
    "LossSurfaceDisplay": "displays",
    "SaliencyDisplay": "displays",
    "TrainingCurveDisplay": "displays",
    "WeightRecorder": "displays",
    "gradient_catalogue": "catalogue",
    "health": "diagnosis",
    "input_gradient": "displays",
    "numerical_gradient": "numerical_differentiation",
    "trace": "tracing",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
