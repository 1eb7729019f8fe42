"""The shipped data is what its README says, is remade by its scripts, and IDX files read true."""

import gzip
import re
import runpy
import struct
from pathlib import Path

import numpy as np
import pytest
from errors import raises_exactly

from layerkit.datasets import (
    load_digits,
    load_japanese_vowels,
    load_noisy_sine,
    load_two_spirals,
    read_idx,
)

DATA = Path(__file__).parent.parent / "data"


# ------------------------------------------------------------------ shipped sets


def test_digits_are_the_uci_digits():
    from sklearn.datasets import load_digits as load_reference

    X, y = load_digits()
    reference = load_reference()
    assert X.dtype == np.float32
    assert y.dtype == np.int64
    np.testing.assert_array_equal(X, reference.images[..., None] / 16)
    np.testing.assert_array_equal(y, reference.target)


def test_digits_file_is_remade_by_its_script():
    images, labels = runpy.run_path(str(DATA / "make_digits.py"))["digits"]()
    with np.load(DATA / "digits.npz") as file:
        assert sorted(file.files) == ["images", "labels"]
        for expected, found in [(images, file["images"]), (labels, file["labels"])]:
            assert found.dtype == expected.dtype == np.uint8
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["two_spirals", "noisy_sine"])
def test_teaching_files_are_remade_by_their_script(name):
    made = runpy.run_path(str(DATA / "make_teaching.py"))[name]()
    found = np.loadtxt(DATA / f"{name}.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(found, made, rtol=0, atol=5.1e-7)  # six decimals


def test_japanese_vowels_are_recordings_of_unequal_length():
    X, y = load_japanese_vowels()
    assert {x.dtype for x in X} == {np.dtype(np.float32)} and y.dtype == np.int64
    assert {x.shape[1] for x in X} == {12} and sum(map(len, X)) == 9961
    assert (min(map(len, X)), max(map(len, X))) == (7, 29)
    counts = np.bincount(y[:270]).tolist(), np.bincount(y[270:]).tolist()
    assert counts == ([30] * 9, [31, 35, 88, 44, 29, 24, 40, 50, 29])
    np.testing.assert_allclose(X[0][0, :3], [1.8609, -0.2074, 0.2616], atol=5e-5)
    np.testing.assert_allclose(X[0][:2, 0], [1.8609, 1.8917], atol=5e-5)


def test_two_spirals_lie_on_their_arms():
    X, y = load_two_spirals()
    assert X.dtype == np.float64
    assert y.dtype == np.int64
    assert np.bincount(y).tolist() == [500, 500]
    # Seen from the origin, an arm is where the angle is 3 pi times the radius; the other arm is
    # opposite. Each point is nearer to its own, but for the centre, where noise crosses over.
    radius = np.hypot(*X.T)
    angle = np.arctan2(X[:, 1], X[:, 0]) - 3 * np.pi * radius - np.pi * y
    assert np.all(np.cos(angle[radius > 0.1]) > 0)
    assert 0.95 < radius.max() < 1.1


def test_noisy_sine_is_a_sine_with_noise_of_a_tenth():
    X, y = load_noisy_sine()
    assert X.dtype == y.dtype == np.float64
    assert X.shape == (300, 1)
    assert y.shape == (300,)
    assert np.all(np.diff(X[:, 0]) > 0)
    assert np.abs(X).max() <= 2 * np.pi
    residual = y - np.sin(X[:, 0])
    assert abs(residual.mean()) < 0.02
    assert 0.085 < residual.std() < 0.115


def test_loaded_arrays_belong_to_the_caller():
    for load in (load_digits, load_two_spirals, load_noisy_sine):
        X, y = load()
        assert X.flags.c_contiguous
        assert y.flags.c_contiguous
        before = X.copy()
        X[...] = -1
        y[...] = 0
        np.testing.assert_array_equal(load()[0], before)


# ------------------------------------------------------------------ IDX


def idx_bytes(code, values, letter):
    """Write the format by hand, one element at a time."""
    values = np.asarray(values)
    header = struct.pack(f">HBB{values.ndim}I", 0, code, values.ndim, *values.shape)
    return header + b"".join(struct.pack(f">{letter}", v) for v in values.ravel().tolist())


@pytest.mark.parametrize(
    "code, letter, dtype, values",
    [
        (0x08, "B", np.uint8, [[0, 1, 127], [128, 254, 255]]),
        (0x09, "b", np.int8, [[-128, -1, 0], [1, 2, 127]]),
        (0x0B, "h", np.int16, [[-32768, -2, 3], [258, 1000, 32767]]),
        (0x0C, "i", np.int32, [[-(2**31), -3, 4], [65538, 10**6, 2**31 - 1]]),
        (0x0D, "f", np.float32, [[0.5, -1.25, 3.0], [1e10, -0.0, 2.0**-20]]),
        (0x0E, "d", np.float64, [[0.1, -1e300, 3.0], [1e-300, np.pi, 7.0]]),
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_idx_reads_every_type(tmp_path, code, letter, dtype, values, compress):
    raw = idx_bytes(code, values, letter)
    path = tmp_path / "file-idx2"  # nothing in the name says whether it is compressed
    path.write_bytes(gzip.compress(raw) if compress else raw)
    array = read_idx(path)
    assert array.dtype == np.dtype(dtype)
    assert array.dtype.isnative
    assert array.flags.writeable
    assert array.tolist() == np.asarray(values, dtype).tolist()
    assert read_idx(str(path)).shape == (2, 3)


def test_idx_keeps_the_order_of_three_axes(tmp_path):
    expected = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(0x08, expected, "B")))
    np.testing.assert_array_equal(read_idx(path), expected)


def test_idx_of_no_rows(tmp_path):
    path = tmp_path / "empty"
    path.write_bytes(idx_bytes(0x08, np.zeros((0, 28, 28)), "B"))
    assert read_idx(path).shape == (0, 28, 28)


GOOD = idx_bytes(0x0B, [[1, 2, 3], [4, 5, 6]], "h")


NOT_IDX = (
    "not an IDX file: it must start with 0x0000, a type code (0x08, 0x09, 0x0b to 0x0e) and the "
    "number of axes, but starts with 0x"
)
TOO_LARGE = (
    f"truncated: 16 bytes, but shape {(2**32 - 1,) * 3} of uint8 takes {16 + (2**32 - 1) ** 3}"
)
DAMAGED = re.compile(r".*/broken-idx is a damaged gzip file: .+")


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"", NOT_IDX),
        (b"\0\0\x08", NOT_IDX + "000008"),
        (b"\x89PNG\r\n\x1a\n", NOT_IDX + "89504e47"),
        (b"\0\1\x08\1\0\0\0\0", NOT_IDX + "00010801"),
        (b"\0\0\x0a\1\0\0\0\0", NOT_IDX + "00000a01"),
        (GOOD[:9], "truncated: 9 bytes, but its header takes 12"),
        (GOOD[:-1], "truncated: 23 bytes, but shape (2, 3) of int16 takes 24"),
        (GOOD + b"\0", "goes on past its end: 25 bytes, but shape (2, 3) of int16 takes 24"),
        # A shape whose product overflows 64 bits is still only a truncated file.
        (struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), TOO_LARGE),
        (gzip.compress(GOOD)[:-10], DAMAGED),
        (gzip.compress(GOOD)[:12] + b"\xff" * 20, DAMAGED),
        (gzip.compress(GOOD[:-1]), "truncated: 23 bytes, but shape (2, 3) of int16 takes 24"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # gzip writes down the time
)
def test_idx_refuses_a_damaged_file_and_names_it(tmp_path, raw, message):
    path = tmp_path / "broken-idx"
    path.write_bytes(raw)
    if isinstance(message, str):
        message = f"{path} {'' if message.startswith('goes') else 'is '}{message}"
    with raises_exactly(ValueError, message):
        read_idx(path)
    assert path.read_bytes() == raw


def test_idx_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_idx(tmp_path / "nowhere")
