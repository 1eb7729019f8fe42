"""The same work done by layerkit, PyTorch and scikit-learn, each in a process of its own.

A side is a module with one function for every ``kind`` of workload that it takes part in. The
function prepares everything and returns ``repeat``, which does the work once.
"""
