"""Where one machine ends: training on the ranks of MPI, or on the workers of a Dask cluster.

Scheduling, data placement, transport and recovery are those engines'. What is ours is that one flat
vector makes a step of many processes one sum::

    data_parallel   a ``with`` block in which estimators fit on all ranks of an MPI communicator,
                    or Dask collections on all workers of a client

Estimators fit Dask arrays and DataFrames without it too, on the client there is.
`layerkit.training.train` takes a communicator as a parameter.
"""

from layerkit.distributed.engines import data_parallel

__all__ = ["data_parallel"]
