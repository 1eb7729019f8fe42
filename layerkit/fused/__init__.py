"""Speed across layers: a plan computes what a network's layers would, bit for bit, in fewer calls.

`layerkit.training.train` and the estimators use one by themselves; for a loop of your own::

    plan         something with the network's ``forward``, ``backward`` and ``infer``
    threads_for  who gets the processors while a network computes
    work_of      how much it has to compute
"""

from layerkit.fused.planning import plan, threads_for
from layerkit.fused.work import work_of

__all__ = ["plan", "threads_for", "work_of"]
