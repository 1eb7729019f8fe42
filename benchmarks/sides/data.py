"""Made-up data, the same for every side."""

import warnings
from collections.abc import Callable

import numpy as np

# Of the steps that are timed: so small that a network never learns its one batch. One that has
# learned it by heart has gradients whose squares are subnormal, which processors are slow at.
RATE = 1e-12


def settings(by_heart: bool) -> tuple[float, int]:
    """Return the learning rate, and how many steps to take before any is timed."""
    return (1e-2, 1000) if by_heart else (RATE, 0)


def rows(batch: int, n_in: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 rows and their labels."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch, n_in), dtype=np.float32)
    return X, rng.integers(0, classes, batch)


def images(batch: int, size: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 images (batch, size, size, channels) and labels 0 to 9."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch, size, size, channels), dtype=np.float32)
    return X, rng.integers(0, 10, batch)


def sequences(
    batch: int, steps: int, n_in: int, dtype: str, ragged: bool
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return rows (time, n_in), a quarter of the steps to all of them if ragged, and labels."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(steps // 4, steps + 1, batch) if ragged else np.full(batch, steps)
    return [rng.standard_normal((n, n_in)).astype(dtype) for n in lengths], rng.integers(
        0, 9, batch
    )


def lengths(steps: int, batch: int) -> np.ndarray:
    """Return lengths of rows from a sixteenth of the steps to all of them."""
    found = np.random.default_rng(0).integers(steps // 16, steps + 1, batch)
    found[0] = steps
    return found


def like(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return float32 noise of this shape."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def quietly(function: Callable[..., object]) -> Callable[..., object]:
    """Call without the warning that so few epochs did not converge."""

    def call(*args: object) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args)

    return call
