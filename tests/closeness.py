"""How close predictions in float32 are to those of another library."""

import numpy as np


def assert_equal_to_a_millionth(found, expected):
    """Fail where two differ by more than 1e-6 of 1, or of the largest value if that is more."""
    assert found.shape == expected.shape
    scale = max(1.0, np.abs(expected).max(initial=0.0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * scale)
