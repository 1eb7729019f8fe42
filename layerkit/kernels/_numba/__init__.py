"""The kernels compiled by Numba: the same functions as in ``_numpy``, fused into single passes."""
