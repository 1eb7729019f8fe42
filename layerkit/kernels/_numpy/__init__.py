"""The kernels in NumPy, a family per file: they always work, and say what their twins must do."""
