"""NumPy's convolutions and poolings on parts of a batch, on several threads at once."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from layerkit import kernels
from layerkit.kernels import parts
from layerkit.kernels._numpy import threads
from layerkit.kernels.dispatch import in_numpy

ONE = ((1, 1), (1, 1))


@pytest.fixture
def three_threads(monkeypatch):
    """BLAS had three, and everything is worth them."""
    monkeypatch.setattr(parts, "n_processors", lambda: 3)
    monkeypatch.setattr(threads, "spared_threads", lambda: 3)
    monkeypatch.setattr(threads, "WORTHWHILE", 1)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("n_samples, lengths", [(7, [2, 2, 3]), (2, [1, 1]), (1, [1]), (0, [0])])
def test_parts_follow_each_other(n_samples, lengths):
    found = threads.in_parts(lambda part: np.arange(n_samples)[part], n_samples, 1e9)
    assert [len(part) for part in found] == lengths
    assert np.concatenate(found).tolist() == list(range(n_samples))


@pytest.mark.usefixtures("three_threads")
def test_parts_run_on_threads():
    names = threads.in_parts(lambda part: threading.current_thread().name, 3, 1e9)
    assert names[0] == threading.current_thread().name
    assert all(name.startswith("layerkit") for name in names[1:])


def test_little_work_is_not_cut(monkeypatch):
    monkeypatch.setattr(parts, "n_processors", lambda: 3)
    assert threads.in_parts(lambda part: part, 100, threads.WORTHWHILE) == [slice(0, 100)]


@pytest.mark.usefixtures("three_threads")
def test_an_error_in_a_part_is_the_callers():
    def task(part):
        if part.start:
            raise MemoryError("no memory")

    with pytest.raises(MemoryError, match="no memory"):
        threads.in_parts(task, 3, 1e9)


@pytest.mark.usefixtures("three_threads")
def test_parts_warn_where_the_caller_does():
    def task(part):
        return np.float64(1) / np.zeros(1)

    with np.errstate(divide="ignore"):
        threads.in_parts(task, 3, 1e9)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        threads.in_parts(task, 3, 1e9)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("n_threads", [1, 2])
def test_parts_are_the_same_on_fewer_threads(n_threads, monkeypatch):
    monkeypatch.setattr(threads, "spared_threads", lambda: n_threads)
    found = threads.in_parts(lambda part: (part, threading.current_thread()), 7, 1e9)
    assert [part for part, _ in found] == [slice(0, 2), slice(2, 4), slice(4, 7)]
    assert len({thread for _, thread in found}) == n_threads


CONVOLUTIONS = {
    "plain": (8, 1, (1, 1), "direct"),
    "one channel": (1, 1, (1, 1), "direct"),
    "strided": (8, 1, (2, 2), "direct"),
    "grouped": (8, 2, (1, 1), "direct"),
    "depthwise": (8, 8, (1, 1), "direct"),
    "depthwise, strided": (8, 8, (2, 3), "direct"),
    "winograd": (8, 1, (1, 1), "winograd"),
}


def passes_of(name):
    """Results of a convolution: forward, rectified, and its two gradients."""
    channels, groups, stride, algorithm = CONVOLUTIONS[name]
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(7, 9, 8, channels)), rng.normal(size=(3, 3, channels // groups, 8))
    how = stride, ONE, (1, 1), groups, algorithm
    y = in_numpy(kernels.conv2d)(x, kernel, kernel[0, 0, 0], *how)
    grad, of_kernel = rng.normal(size=y.shape), np.empty_like(kernel)
    in_numpy(kernels.conv2d_kernel_grad)(x, grad, of_kernel, *how)
    of_input = in_numpy(kernels.conv2d_input_grad)(grad, kernel, x.shape, *how)
    return y, in_numpy(kernels.conv2d)(x, kernel, None, *how, rectify=True), of_kernel, of_input


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_in_parts(name, request):
    whole = passes_of(name)
    request.getfixturevalue("three_threads")
    for ours, expected in zip(passes_of(name), whole, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def pooled():
    """Results of both poolings."""
    x = np.random.default_rng(0).integers(0, 4, (7, 9, 8, 3)).astype(np.float32)
    how = (3, 2), (2, 1), ((1, 1), (0, 1))
    y, argmax = in_numpy(kernels.max_pool2d)(x, *how)
    mean = in_numpy(kernels.avg_pool2d)(x, *how)
    return (
        *(y, argmax, mean),
        in_numpy(kernels.max_pool2d_input_grad)(y, argmax, x.shape, *how),
        in_numpy(kernels.avg_pool2d_input_grad)(y, x.shape, *how),
    )


def test_poolings_in_parts(request):
    whole = pooled()
    request.getfixturevalue("three_threads")
    for ours, expected in zip(pooled(), whole, strict=True):
        np.testing.assert_array_equal(ours, expected)


FIT = """
import numpy as np
from hashlib import sha256
from layerkit import *
rng = np.random.default_rng(0)
X, y = rng.normal(size=(600, 64)), rng.integers(0, 10, 600)
perceptron = MLPClassifier((100,), max_iter=3, random_state=0).fit(X, y)
images = X.reshape(-1, 8, 8, 1).repeat(3, 1).repeat(3, 2).astype(np.float32)
layers = [Conv2D(16, 3), BatchNorm(), ReLU(), MaxPool2D(2), Conv2D(32, 3), Flatten(), Dense(64)]
filters = SequentialClassifier(layers, max_iter=1, batch_size=200, random_state=0).fit(images, y)
for model in (perceptron, filters):
    print(sha256(model.network_.flat_params.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_a_worker_with_one_thread_learns_the_same_bits(kernels):
    if kernels == "numba":
        pytest.importorskip("numba")
    found = {
        subprocess.check_output(
            [sys.executable, "-W", "ignore", "-c", FIT],
            env={**os.environ, "LAYERKIT_KERNELS": kernels, "OMP_NUM_THREADS": threads},
            text=True,
        )
        for threads in ("1", "2")
    }
    assert len(found) == 1
