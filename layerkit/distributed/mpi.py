"""Estimators on all ranks of an MPI communicator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from layerkit.training.ranks import Ranks, in_use


@contextmanager
def data_parallel(communicator: Any) -> Iterator[None]:
    """Let the estimators' ``fit`` within a ``with`` block train on all ranks together.

    Every rank runs the same script with the same rows, and computes its part of each batch. All
    ranks end with the same model: that of one process, up to rounding.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        Such as ``MPI.COMM_WORLD``.

    Yields
    ------
    None
        Once; the block is run in between.

    Raises
    ------
    TypeError
        If it is no communicator.

    See Also
    --------
    layerkit.training.train : Takes a communicator, and rows that differ between ranks.

    Examples
    --------
    Under ``mpiexec -n 4 python script.py``::

        from mpi4py import MPI

        with data_parallel(MPI.COMM_WORLD):
            model.fit(X, y)

    >>> data_parallel("all").__enter__()
    Traceback (most recent call last):
    TypeError: communicator must be one of mpi4py, such as MPI.COMM_WORLD of `from mpi4py import ...
    """
    token = in_use.set(Ranks(communicator, same_rows=True))
    try:
        yield
    finally:
        in_use.reset(token)
