"""Training: batches, the loop, and its record."""

from layerkit.training.history import History
from layerkit.training.loop import DivergenceWarning, TrainingState, train

__all__ = ["DivergenceWarning", "History", "TrainingState", "train"]
