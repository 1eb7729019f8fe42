"""One backward pass, walked through number by number."""

from layerkit.inspection.tracing.record import BackpropTrace, Descent, LayerStep, LossStep, trace

__all__ = ["BackpropTrace", "Descent", "LayerStep", "LossStep", "trace"]
