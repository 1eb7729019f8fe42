"""One backward pass, walked through number by number."""

from layerkit.inspection.tracing import html, text  # so that records can be shown
from layerkit.inspection.tracing.passes import trace
from layerkit.inspection.tracing.record import BackpropTrace, Descent, LayerStep, LossStep

__all__ = ["BackpropTrace", "Descent", "LayerStep", "LossStep", "html", "text", "trace"]
