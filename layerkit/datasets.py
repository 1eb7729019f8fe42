"""The small data sets that ship with layerkit, and a reader for MNIST-style IDX files.

The loaders return ``X, y``::

    load_digits           1797 handwritten digits, 8 x 8 pixels
    load_two_spirals      two classes that no linear model can separate
    load_noisy_sine       a regression on one feature
    load_japanese_vowels  640 recordings of unequal length, by nine speakers
    read_idx              read an IDX file, as MNIST's are
"""

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

__all__ = [
    "load_digits",
    "load_japanese_vowels",
    "load_noisy_sine",
    "load_two_spirals",
    "read_idx",
]

# The third byte of an IDX file names the type of its elements; all are stored big-endian.
IDX_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Load the UCI handwritten digits, 8 x 8 pixels in shades of grey.

    Returns
    -------
    X : float32 ndarray of shape (1797, 8, 8, 1)
        Images, channels last; 0 is white paper, 1 is black ink, in steps of 1/16.
    y : int64 ndarray of shape (1797,)
        The digits written, 0 to 9; each about 180 times.

    References
    ----------
    E. Alpaydin, C. Kaynak (1998). Optical Recognition of Handwritten Digits. UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49 (CC BY 4.0).

    Examples
    --------
    >>> from layerkit.datasets import load_digits
    >>> X, y = load_digits()
    >>> X.shape, float(X.min()), float(X.max())
    ((1797, 8, 8, 1), 0.0, 1.0)
    >>> y[:10].tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    with np.load(_data_file("digits.npz"), allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    return images[..., None] / np.float32(16), labels.astype(np.int64)


def load_two_spirals() -> tuple[np.ndarray, np.ndarray]:
    """Load two interleaved spirals: two classes that no linear model can separate.

    Returns
    -------
    X : float64 ndarray of shape (1000, 2)
        Points in the plane, within about 1 of the origin; each arm makes one and a half turns.
    y : int64 ndarray of shape (1000,)
        The arm, 0 or 1, 500 points each, alternating.

    Examples
    --------
    >>> from layerkit.datasets import load_two_spirals
    >>> X, y = load_two_spirals()
    >>> X.shape, y[:4].tolist()
    ((1000, 2), [0, 1, 0, 1])
    """
    rows = _read_csv("two_spirals.csv")
    return rows[:, :2].copy(), rows[:, 2].astype(np.int64)


def load_noisy_sine() -> tuple[np.ndarray, np.ndarray]:
    """Load a sine wave seen through noise: the smallest regression with something to learn.

    Returns
    -------
    X : float64 ndarray of shape (300, 1)
        Abscissas in [-2 pi, 2 pi], ascending.
    y : float64 ndarray of shape (300,)
        ``sin(x)`` plus normal noise of standard deviation 0.1, so that no model's mean squared
        error on new points can stay below about 0.01.

    Examples
    --------
    >>> from layerkit.datasets import load_noisy_sine
    >>> X, y = load_noisy_sine()
    >>> X.shape, y.shape
    ((300, 1), (300,))
    """
    rows = _read_csv("noisy_sine.csv")
    return rows[:, :1].copy(), rows[:, 1].copy()


def load_japanese_vowels() -> tuple[list[np.ndarray], np.ndarray]:
    """Load recordings, of unequal length, of nine men who say the vowels "ae".

    Returns
    -------
    X : list of 640 float32 ndarrays of shape (time_i, 12)
        Recordings of 7 to 29 steps of 6.4 ms each: 12 coefficients of the linear prediction
        cepstrum, between -1.9 and 2.3. The first 270, 30 of each speaker in turn, are meant to
        learn from, the other 370, recorded on other occasions, to test on.
    y : int64 ndarray of shape (640,)
        The speaker, 0 to 8.

    References
    ----------
    M. Kudo, J. Toyama, M. Shimbo. Japanese Vowels. UCI Machine Learning Repository,
    https://doi.org/10.24432/C5NS47 (CC BY 4.0).

    Examples
    --------
    >>> from layerkit.datasets import load_japanese_vowels
    >>> X, y = load_japanese_vowels()
    >>> len(X), X[0].shape, X[1].shape, y[[0, 269, 270]].tolist()
    (640, (20, 12), (26, 12), [0, 8, 0])
    """
    with np.load(_data_file("japanese_vowels.npz"), allow_pickle=False) as file:
        steps, lengths, labels = file["steps"], file["lengths"], file["labels"]
    ends = np.cumsum(lengths, dtype=np.int64)[:-1]
    return np.split(steps / np.float32(1e4), ends), labels.astype(np.int64)


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file, the format of MNIST and its relatives, gzipped or not.

    An IDX file is two zero bytes, one byte for the type of the elements, one for the number of
    axes, the length of each axis as a big-endian uint32, and the elements in C order, big-endian.

    Parameters
    ----------
    path : str or path-like
        The file. Compression is recognised by its content, not by its name.

    Returns
    -------
    ndarray
        Writable, in native byte order; uint8, int8, int16, int32, float32 or float64.

    Raises
    ------
    ValueError
        When the file is not IDX, is damaged, or holds fewer or more elements than its header says.

    References
    ----------
    LeCun, Cortes, Burges. The MNIST database of handwritten digits.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from layerkit.datasets import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 5, 0, 4]))
    ...     read_idx(path).tolist()
    [5, 0, 4]
    """
    raw = _unzipped(path)
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in IDX_DTYPES:
        raise ValueError(
            f"{path} is not an IDX file: it must start with 0x0000, a type code "
            f"(0x08, 0x09, 0x0b to 0x0e) and the number of axes, but starts with 0x{raw[:4].hex()}"
        )
    dtype, n_axes = np.dtype(IDX_DTYPES[raw[2]]), raw[3]
    start = 4 + 4 * n_axes
    if len(raw) < start:
        raise ValueError(f"{path} is truncated: {len(raw)} bytes, but its header takes {start}")
    shape = tuple(np.frombuffer(raw, ">u4", n_axes, offset=4).tolist())
    expected = start + math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        problem = "is truncated" if len(raw) < expected else "goes on past its end"
        raise ValueError(
            f"{path} {problem}: {len(raw)} bytes, but shape {shape} of {dtype.name} "
            f"takes {expected}"
        )
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _unzipped(path: str | os.PathLike[str]) -> bytes:
    raw = Path(path).read_bytes()
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}") from error


def _read_csv(name: str) -> np.ndarray:
    return np.loadtxt(_data_file(name), delimiter=",", skiprows=1)


def _data_file(name: str) -> Path:
    """Find a data file: in ``layerkit/data`` when installed, in ``data`` beside it in a clone."""
    package = Path(__file__).parent
    installed = package / "data" / name
    return installed if installed.exists() else package.parent / "data" / name
