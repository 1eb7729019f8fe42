"""Training: batches, the loop, its record, and checkpoints to go on from."""

from layerkit.training.checkpoint import Checkpoint, CheckpointWarning
from layerkit.training.history import History
from layerkit.training.loop import train
from layerkit.training.run import DivergenceWarning, TrainingState

__all__ = [
    "Checkpoint",
    "CheckpointWarning",
    "DivergenceWarning",
    "History",
    "TrainingState",
    "train",
]
