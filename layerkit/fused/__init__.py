"""Speed across layers: a plan computes what a network's layers would, bit for bit, in fewer calls.

`layerkit.training.train` and the estimators use one by themselves; for a loop of your own::

    plan         something with the network's ``forward``, ``backward`` and ``infer``
    threads_for  who gets the processors while a network computes
"""

from layerkit.fused.planning import plan, threads_for

__all__ = ["plan", "threads_for"]
