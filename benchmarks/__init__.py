"""Timings side by side with PyTorch and scikit-learn: ``python -m benchmarks``."""
