"""Make digits.npz from scikit-learn's copy of the UCI digits: `python data/make_digits.py`."""

from pathlib import Path

import numpy as np
import sklearn.datasets


def digits():
    """Images (1797, 8, 8) with values 0..16 and their labels 0..9, both uint8."""
    bunch = sklearn.datasets.load_digits()
    return bunch.images.astype(np.uint8), bunch.target.astype(np.uint8)


if __name__ == "__main__":
    images, labels = digits()
    # NumPy dates every member 1980-01-01, so the same arrays give the same bytes.
    np.savez_compressed(Path(__file__).with_name("digits.npz"), images=images, labels=labels)
