"""What is wrong with a network or its training, why, and what to do about it."""

from layerkit.inspection.diagnosis import html, text  # noqa: F401 (they register themselves)
from layerkit.inspection.diagnosis.evidence import Verdict
from layerkit.inspection.diagnosis.examine import health
from layerkit.inspection.diagnosis.monitor import HealthMonitor
from layerkit.inspection.diagnosis.report import HealthReport

__all__ = ["HealthMonitor", "HealthReport", "Verdict", "health"]
