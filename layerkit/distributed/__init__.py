"""Where one machine ends: training on the processes of MPI.

Scheduling and transport are MPI's. What is ours is that one flat gradient vector makes a step of
many processes one all-reduce::

    data_parallel   a ``with`` block in which estimators fit on all ranks of an MPI communicator

`layerkit.training.train` takes a communicator as a parameter.
"""

from layerkit.distributed.mpi import data_parallel

__all__ = ["data_parallel"]
