"""Where the estimators fit: on ranks of an MPI communicator, or on workers of a Dask client."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from layerkit.training.ranks import Ranks, in_use


@contextmanager
def data_parallel(engine: Any, sync_every: int | str = "auto") -> Iterator[None]:
    """Let the estimators' ``fit`` within a ``with`` block train on all processes together.

    On the ranks of MPI, every rank runs the same script with the same rows, and computes its part
    of each batch. On the workers of Dask, the script runs once, X and y are Dask collections, and
    their partitions stay where they lie. The model is that of one process, up to rounding; with
    Dask, if ``sync_every`` is 1.

    Parameters
    ----------
    engine : mpi4py.MPI.Comm or distributed.Client
        Such as ``MPI.COMM_WORLD``, or ``Client(cluster)``. Without a ``with`` block, Dask
        collections are trained on with the client that was made last.
    sync_every : int or "auto", default="auto"
        Of Dask: after how many steps the workers' weights are averaged. 1 averages the gradients
        of every step, which is exact. "auto" measures the first rounds, and takes so many steps
        that computing them takes four times what a round takes otherwise; the history says how
        many.

    Yields
    ------
    None
        Once; the block is run in between.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If ``sync_every`` is no positive integer, or given with a communicator.

    See Also
    --------
    layerkit.training.train : Takes a communicator, and rows that differ between ranks.

    Examples
    --------
    Under ``mpiexec -n 4 python script.py``::

        from mpi4py import MPI

        with data_parallel(MPI.COMM_WORLD):
            model.fit(X, y)

    On a Dask cluster::

        from distributed import Client

        with data_parallel(Client("scheduler:8786"), sync_every=1):
            model.fit(dask_X, dask_y)

    >>> data_parallel("all").__enter__()
    Traceback (most recent call last):
    TypeError: communicator must be one of mpi4py, such as MPI.COMM_WORLD of `from mpi4py import ...
    """
    token = in_use.set(_as_ranks(engine, sync_every))
    try:
        yield
    finally:
        in_use.reset(token)


def _as_ranks(engine: Any, sync_every: int | str) -> Ranks:
    distributed = sys.modules.get("distributed")
    if distributed is not None and isinstance(engine, distributed.Client):
        from layerkit.distributed.workers import Workers

        return Workers(engine, sync_every)
    if sync_every != "auto":
        raise ValueError(
            f"sync_every={sync_every!r} is for a Dask client; ranks of MPI average every step"
        )
    return Ranks(engine, same_rows=True)


def workers_in_use() -> Any:
    """Return the Dask workers that estimators train on: of the ``with`` block, or of any client.

    Returns
    -------
    workers : Workers

    Raises
    ------
    RuntimeError
        If there is no client.
    """
    from layerkit.distributed.workers import Workers

    found = in_use.get()
    if isinstance(found, Workers):
        return Workers(found.client, found.sync_every)
    if found is not None:
        raise TypeError("Dask collections are trained on by a Dask client, not by ranks of MPI")
    from distributed import default_client

    try:
        return Workers(default_client())
    except ValueError:
        raise RuntimeError(
            "fit on Dask collections needs a client: `from distributed import Client`, "
            "`client = Client()` for processes of this machine, or Client(address) of a cluster"
        ) from None
