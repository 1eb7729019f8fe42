"""The kernels compiled by Numba, a family per file.

A function of the same name as one in `_numpy` takes the same arguments and returns the same. What
it is and what it returns is said there, here only how it differs.
"""
