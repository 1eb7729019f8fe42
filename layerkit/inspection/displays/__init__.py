"""Pictures, drawn with matplotlib; nothing here imports it before ``plot`` is called."""

from layerkit.inspection.displays.activations import ActivationDisplay
from layerkit.inspection.displays.attention import AttentionDisplay
from layerkit.inspection.displays.derivatives import DerivativeDisplay, DerivativeErrorDisplay
from layerkit.inspection.displays.display import Display
from layerkit.inspection.displays.filters import FilterDisplay
from layerkit.inspection.displays.gradient_flow import GradientFlowDisplay, GradientRecorder
from layerkit.inspection.displays.loss_surface import LossSurfaceDisplay, WeightRecorder
from layerkit.inspection.displays.saliency import SaliencyDisplay, input_gradient
from layerkit.inspection.displays.table import TableDisplay
from layerkit.inspection.displays.through_time import GradientThroughTimeDisplay
from layerkit.inspection.displays.training_curve import TrainingCurveDisplay

__all__ = [
    "ActivationDisplay",
    "AttentionDisplay",
    "DerivativeDisplay",
    "DerivativeErrorDisplay",
    "Display",
    "FilterDisplay",
    "GradientFlowDisplay",
    "GradientRecorder",
    "GradientThroughTimeDisplay",
    "LossSurfaceDisplay",
    "SaliencyDisplay",
    "TableDisplay",
    "TrainingCurveDisplay",
    "WeightRecorder",
    "input_gradient",
]
