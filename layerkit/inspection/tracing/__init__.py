"""One backward pass, walked through number by number."""

from layerkit.inspection.tracing import page, rendering  # noqa: F401 (they register themselves)
from layerkit.inspection.tracing.passes import trace
from layerkit.inspection.tracing.record import (
    BackpropTrace,
    Descent,
    LayerStep,
    LossStep,
    ThroughTime,
)

__all__ = ["BackpropTrace", "Descent", "LayerStep", "LossStep", "ThroughTime", "trace"]
