"""Make the two sets for first experiments: `python data/make_teaching.py`."""

from pathlib import Path

import numpy as np


def two_spirals(n_samples=1000, noise=0.02, seed=0):
    """Rows (x1, x2, label): two arms of one and a half turns, the second opposite the first."""
    rng = np.random.default_rng(seed)
    label = np.arange(n_samples) % 2
    radius = np.sqrt(rng.uniform(size=n_samples))  # the square root spreads points evenly
    angle = 3 * np.pi * radius + np.pi * label
    arms = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return np.column_stack([arms + noise * rng.standard_normal(arms.shape), label])


def noisy_sine(n_samples=300, noise=0.1, seed=0):
    """Rows (x, y): y = sin(x) + noise, x uniform over two periods, in ascending order."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-2 * np.pi, 2 * np.pi, n_samples))
    return np.column_stack([x, np.sin(x) + noise * rng.standard_normal(n_samples)])


if __name__ == "__main__":
    here = Path(__file__).parent
    for name, rows, header, fmt in [
        ("two_spirals.csv", two_spirals(), "x1,x2,label", ["%.6f", "%.6f", "%d"]),
        ("noisy_sine.csv", noisy_sine(), "x,y", "%.6f"),
    ]:
        np.savetxt(here / name, rows, fmt, delimiter=",", header=header, comments="")
