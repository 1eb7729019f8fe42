"""Pictures, drawn with matplotlib; nothing here imports it before ``plot`` is called."""

from layerkit.inspection.displays.display import Display
from layerkit.inspection.displays.gradient_flow import GradientFlowDisplay, GradientRecorder
from layerkit.inspection.displays.training_curve import TrainingCurveDisplay

__all__ = ["Display", "GradientFlowDisplay", "GradientRecorder", "TrainingCurveDisplay"]
