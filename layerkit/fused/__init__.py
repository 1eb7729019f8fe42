"""Speed across layers: a plan computes what a network's layers would, bit for bit, in fewer calls.

`layerkit.training.train` and the estimators use one by themselves; for a loop of your own::

    plan         a network's `Plan`, with its ``forward``, ``backward`` and ``infer``
    Plan         what `plan` returns
    threads_for  who gets the processors while a network computes
"""

from layerkit.fused.planning import Plan, plan, threads_for

__all__ = ["Plan", "plan", "threads_for"]
