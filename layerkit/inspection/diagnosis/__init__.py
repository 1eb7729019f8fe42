"""What is wrong with a network or its training, why, and what to do about it."""

from layerkit.inspection.diagnosis import rendering  # noqa: F401 (it registers itself)
from layerkit.inspection.diagnosis.evidence import Verdict
from layerkit.inspection.diagnosis.monitor import HealthMonitor, health
from layerkit.inspection.diagnosis.report import HealthReport
from layerkit.inspection.diagnosis.training_page import TrainingPage

__all__ = ["HealthMonitor", "HealthReport", "TrainingPage", "Verdict", "health"]
