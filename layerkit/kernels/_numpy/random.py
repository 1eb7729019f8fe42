"""Random masks from as few random bits as will do.

``rate`` is that of dropping, ``keep`` a boolean mask, ``shape`` its shape, and its bits come from
``rng``. ``scale`` is a factor.
"""

from __future__ import annotations  # numpy.random is only loaded by whoever draws from it

from math import prod

import numpy as np

from layerkit.kernels.dispatch import compiled


def keep_mask(
    rng: np.random.Generator, rate: float, shape: tuple[int, ...]
) -> tuple[np.ndarray, float]:
    """Draw a boolean array that is False with probability ``rate``; return it and P(True).

    An element takes 8 bits of the generator's raw output if ``rate`` is a multiple of 1/256, else
    16: several times faster than a float each. P(True) is therefore ``1 - rate`` rounded to a
    multiple of 1/65536, and never 0; it is returned because a scale that has to be exact on average
    must use the probability that was drawn with. The same generator gives the same mask on every
    platform, whatever the dtype of the array that is masked.

    >>> import numpy as np
    >>> rng = np.random.Generator(np.random.SFC64(0))
    >>> mask, probability = keep_mask(rng, 0.25, (1000, 1000))
    >>> probability, round(float(mask.mean()), 2)
    (0.75, 0.75)
    >>> keep_mask(rng, 1 / 3, (1,))[1]
    0.6666717529296875
    """
    bits = 8 if (256 * rate).is_integer() else 16
    threshold = max(1, round((1 - rate) * 2**bits))
    n = prod(shape)
    words = rng.bit_generator.random_raw(-(-n * bits // 64))
    draws = words.astype("<u8", copy=False).view(f"<u{bits // 8}")[:n].reshape(shape)
    return draws < threshold, threshold / 2**bits


@compiled
def apply_mask(x: np.ndarray, keep: np.ndarray, scale: float) -> np.ndarray:
    """Return ``x * keep * scale``; unlike a selection it lets NaN and infinities show."""
    y = x * keep
    y *= scale
    return y
