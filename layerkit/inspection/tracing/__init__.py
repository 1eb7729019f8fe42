"""One backward pass, walked through number by number."""

from layerkit.inspection.tracing import rendering  # noqa: F401 (it registers itself)
from layerkit.inspection.tracing.passes import trace
from layerkit.inspection.tracing.record import (
    BackpropTrace,
    Descent,
    LayerStep,
    LossStep,
    ThroughTime,
)

__all__ = ["BackpropTrace", "Descent", "LayerStep", "LossStep", "ThroughTime", "trace"]
