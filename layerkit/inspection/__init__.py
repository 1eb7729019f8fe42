"""Tools that make backpropagation visible: gradient checks, traces, plots, diagnosis.

Check and trace::

    check_gradients         a layer's or network's backward against finite differences
    check_loss_gradients    a loss's backward against finite differences
    GradientCheck           what these two report
    numerical_gradient      the gradient of any function, from its values alone
    trace                   one forward and backward pass, number by number
    BackpropTrace           what it returns: text, a table in a notebook, data
    gradient_catalogue      formulas of every layer and loss, with their proofs
    GradientCatalogue       what it returns
    input_gradient          the gradient of an output or the loss in the input
    gradient_through_time   how much of a gradient is left, step by step back in time
    attention_weights       the weights of every attention layer

Examine::

    health                  what is wrong with a network or its training, and what to do
    HealthReport            what it returns
    HealthMonitor           the same as a callback, while training
    TrainingPage            and with a page of curves that grow with every epoch

Pictures, each with ``plot()``::

    TrainingCurveDisplay    loss and score over the epochs
    GradientFlowDisplay     norm of every layer's gradient over the steps
    GradientRecorder        the callback that records these norms
    GradientThroughTimeDisplay  norm of a gradient at each step before the last
    ActivationDisplay       a histogram of every layer's outputs
    FilterDisplay           kernels of a convolution
    AttentionDisplay        the attention weights of every head
    SaliencyDisplay         which pixels an output depends on
    TableDisplay            each column of an encoded table
    DerivativeDisplay       an activation beside its derivative
    DerivativeErrorDisplay  errors of numerical derivatives, by step
    LossSurfaceDisplay      the loss on a plane through the weights
    WeightRecorder          the callback that keeps the weights on the way there
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from layerkit.inspection.gradient_check import (
    GradientCheck,
    check_gradients,
    check_loss_gradients,
)

if TYPE_CHECKING:
    from layerkit.inspection.attention import attention_weights
    from layerkit.inspection.catalogue import GradientCatalogue, gradient_catalogue
    from layerkit.inspection.diagnosis import HealthMonitor, HealthReport, TrainingPage, health
    from layerkit.inspection.displays import (
        ActivationDisplay,
        AttentionDisplay,
        DerivativeDisplay,
        DerivativeErrorDisplay,
        FilterDisplay,
        GradientFlowDisplay,
        GradientRecorder,
        GradientThroughTimeDisplay,
        LossSurfaceDisplay,
        SaliencyDisplay,
        TableDisplay,
        TrainingCurveDisplay,
        WeightRecorder,
        input_gradient,
    )
    from layerkit.inspection.numerical_differentiation import numerical_gradient
    from layerkit.inspection.through_time import gradient_through_time
    from layerkit.inspection.tracing import BackpropTrace, trace

__all__ = [
    "ActivationDisplay",
    "AttentionDisplay",
    "BackpropTrace",
    "DerivativeDisplay",
    "DerivativeErrorDisplay",
    "FilterDisplay",
    "GradientCatalogue",
    "GradientCheck",
    "GradientFlowDisplay",
    "GradientRecorder",
    "GradientThroughTimeDisplay",
    "HealthMonitor",
    "HealthReport",
    "LossSurfaceDisplay",
    "SaliencyDisplay",
    "TableDisplay",
    "TrainingCurveDisplay",
    "TrainingPage",
    "WeightRecorder",
    "attention_weights",
    "check_gradients",
    "check_loss_gradients",
    "gradient_catalogue",
    "gradient_through_time",
    "health",
    "input_gradient",
    "numerical_gradient",
    "trace",
]

# Loaded on first use. No module may be called like a function in it: importing the module would
# put it in the function's place. What is not named here is a picture.
_LAZY = {
    name: module
    for module, names in {
        "attention": ["attention_weights"],
        "catalogue": ["GradientCatalogue", "gradient_catalogue"],
        "diagnosis": ["HealthMonitor", "HealthReport", "TrainingPage", "health"],
        "numerical_differentiation": ["numerical_gradient"],
        "through_time": ["gradient_through_time"],
        "tracing": ["BackpropTrace", "trace"],
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY.get(name, 'displays')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
