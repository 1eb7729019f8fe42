"""Batches, the loop, its record, and checkpoints to go on from.

A network that is in no estimator is trained by `train`::

    train              the loop: forward, loss, backward, step, for every batch
    History            its record, a row for every epoch
    TrainingState      what a callback sees, and may change
    Checkpoint         a run on the disk, that goes on bit by bit after a kill
    CheckpointWarning  a checkpoint could not be written
    DivergenceWarning  numbers were no longer finite: which layer came first
"""

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
