"""Matrix products."""

from typing import Any

import numpy as np


def matmul(a: Any, b: np.ndarray, out: np.ndarray | None = None) -> Any:
    """Return the product a b, written to ``out`` if that is given; rows of a may be sparse."""
    return a @ b if out is None else np.matmul(a, b, out=out)
