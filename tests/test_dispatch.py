"""Kernels choose among algorithms by size: on both sides of every border the result is the same."""

import importlib.util
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from layerkit import (
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    LogSoftmax,
    MLPClassifier,
    ReLU,
    Sequential,
    SequentialClassifier,
    Tanh,
    kernels,
)
from layerkit.estimators import predicting
from layerkit.fused import planning
from layerkit.fused.planning import plan
from layerkit.kernels._numpy import convolution, epoch_steps, epochs, pooling
from layerkit.kernels._numpy.windows import output_sizes
from layerkit.optimizers import SGD
from layerkit.training import epochs as training_epochs
from layerkit.training import loop

numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs Numba")
compiled = pytest.param("numba", marks=[numba, pytest.mark.slow])  # it takes long to compile all
each_backend = pytest.mark.parametrize("backend", ["numpy", compiled])


def taps_by_hand(x, kernel_size, stride, padding, dilation):
    """Windows of padded images in float64, by loops over the taps: (n, oh, ow, kh, kw, c)."""
    (top, bottom), (left, right) = padding
    framed = np.pad(x.astype(np.float64), ((0, 0), (top, bottom), (left, right), (0, 0)))
    high, wide = output_sizes(x.shape[1:3], kernel_size, stride, padding, dilation)
    windows = np.empty((len(x), high, wide, *kernel_size, x.shape[3]))
    for i, j in np.ndindex(*kernel_size):
        rows = slice(i * dilation[0], i * dilation[0] + (high - 1) * stride[0] + 1, stride[0])
        columns = slice(j * dilation[1], j * dilation[1] + (wide - 1) * stride[1] + 1, stride[1])
        windows[:, :, :, i, j] = framed[:, rows, columns]
    return windows


def convolution_by_hand(x, kernel, bias, grad, groups, **geometry):
    """Return y, dL/dkernel and dL/dx, the last as the adjoint of y in one number of x at a time."""
    windows = taps_by_hand(x, kernel.shape[:2], **geometry)
    c, out = kernel.shape[2], kernel.shape[3] // groups
    y, dw = np.empty(grad.shape), np.empty(kernel.shape)
    for g in range(groups):
        seen, made = windows[..., g * c : (g + 1) * c], slice(g * out, (g + 1) * out)
        part = kernel[..., made].astype(np.float64)
        y[..., made] = np.tensordot(seen, part, 3)
        dw[..., made] = np.tensordot(seen, grad[..., made].astype(np.float64), ([0, 1, 2],) * 2)
    return y + bias, dw


# Channels in and out of a group, on both sides of what the algorithms ask for: few channels (4),
# vectors of 8, Winograd's from 8 and 16 compiled, from 32 and 64 in NumPy.
CHANNELS = [
    (1, 1), (1, 9), (4, 5), (5, 4), (7, 8), (8, 7), (8, 8), (9, 8), (1, 64), (64, 1), (7, 64),
    (15, 16), (16, 15), (16, 16), (17, 33), (31, 64), (32, 63), (63, 32), (32, 64), (64, 32),
    (33, 65),
]  # fmt: skip
# kernel size, stride, dilation, groups
GEOMETRY = [
    ((3, 3), (1, 1), (1, 1), 1),
    ((3, 3), (1, 1), (1, 1), 2),
    *(pytest.param(geometry, marks=pytest.mark.slow) for geometry in (
        ((5, 5), (1, 1), (1, 1), 1),
        ((2, 2), (1, 1), (1, 1), 1),
        ((3, 5), (1, 1), (1, 1), 1),
        ((3, 3), (2, 1), (1, 1), 1),
        ((3, 3), (1, 1), (1, 2), 1),
    )),
]  # fmt: skip


@each_backend
@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("geometry", GEOMETRY)
def test_a_convolution_is_the_same_whoever_computes_it(geometry, dtype, backend, rng):
    size, stride, dilation, groups = geometry
    options = dict(stride=stride, padding=((1, 1), (0, 1)), dilation=dilation)
    with kernels.use(backend):
        for c_in, c_out in CHANNELS:
            x = rng.standard_normal((2, 8, 9, groups * c_in)).astype(dtype)
            kernel = rng.standard_normal((*size, c_in, groups * c_out)).astype(dtype)
            bias = rng.standard_normal(groups * c_out).astype(dtype)
            outputs = output_sizes(x.shape[1:3], size, **options)
            grad = rng.standard_normal((2, *outputs, groups * c_out)).astype(dtype)
            y, dw = convolution_by_hand(x, kernel, bias, grad, groups, **options)
            scale = np.sqrt(c_in * np.prod(size)), np.sqrt(2 * np.prod(outputs))
            accuracy = 2e-4 if dtype == np.float32 else 1e-11
            for algorithm in ("auto", "direct", "winograd"):
                more = dict(groups=groups, algorithm=algorithm, **options)
                found = kernels.conv2d(x, kernel, bias, **more)
                np.testing.assert_allclose(found, y, rtol=0, atol=accuracy * scale[0])
                of_kernel = np.full_like(kernel, np.nan)
                kernels.conv2d_kernel_grad(x, grad, of_kernel, **more)
                np.testing.assert_allclose(of_kernel, dw, rtol=0, atol=accuracy * scale[1])
                dx = kernels.conv2d_input_grad(grad, kernel, x.shape, **more)
                # The adjoint: <y - b, G> is <x, dL/dx>.
                inner = np.vdot(y - bias, grad)
                size_of_it = np.linalg.norm(y) * np.linalg.norm(grad)
                assert abs(np.vdot(x.astype(float), dx) - inner) < accuracy * size_of_it


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("c_in", "c_out", "pays"),
    [
        (32, 64, True), (64, 32, True), (64, 64, True), (31, 64, False), (64, 31, False),
        (32, 63, False), (63, 32, False), (8, 200, False), (200, 8, False),
    ],
)  # fmt: skip
def test_winograds_algorithm_is_taken_where_it_pays(c_in, c_out, pays, dtype, monkeypatch):
    asked, fits = [], convolution.winograd.fits
    monkeypatch.setattr(
        convolution.winograd, "fits", lambda *geometry: asked.append(fits(*geometry)) or asked[-1]
    )
    x, kernel = np.ones((1, 4, 4, c_in), dtype), np.ones((3, 3, c_in, c_out), dtype)
    expected = [True] if pays and dtype == np.float32 else []
    with kernels.use("numpy"):
        y = kernels.conv2d(x, kernel)
        assert asked == expected
        kernels.conv2d_kernel_grad(x, y, np.empty_like(kernel))
        assert asked == 2 * expected


@pytest.mark.parametrize("at", [-1, 0, 1])
@pytest.mark.parametrize("channels", [2, 6])
def test_parts_of_a_batch_are_put_together(channels, at, monkeypatch, rng):
    """Chunks of 1, of a number that leaves a rest, and one for all."""
    n, kernel = 5, rng.standard_normal((3, 3, channels, 4))
    x, options = rng.standard_normal((n, 6, 7, channels)), dict(padding=((1, 1), (1, 1)))
    grad = rng.standard_normal((n, 6, 7, 4))

    def results():
        dw = np.empty_like(kernel)
        kernels.conv2d_kernel_grad(x, grad, dw, **options)
        dx = kernels.conv2d_input_grad(grad, kernel, x.shape, **options)
        return kernels.conv2d(x, kernel, None, **options), dw, dx

    with kernels.use("numpy"):
        whole = results()
        for samples in (1, 2, 3, 4, 5, 6):
            of_one = 6 * 7 * 9 * channels * 8
            monkeypatch.setattr(convolution, "CHUNK_BYTES", samples * of_one + at)
            for ours, expected in zip(results(), whole, strict=True):
                np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


@each_backend
@pytest.mark.parametrize("size", [(15, 17), (16, 16), (1, 257), (257, 1), (1, 256), (2, 2), (1, 1)])
def test_maxima_of_windows_of_any_number_of_taps(size, backend, rng):
    """In 8 bits there are 256 of them; beyond, other code runs."""
    x = rng.standard_normal((2, size[0] + 2, size[1] + 1, 3))
    x[:, -1, -1], x[0, 0, 0] = 9, 8  # the last tap of one window, the first of another
    windows = taps_by_hand(x, size, (1, 1), ((0, 0), (0, 0)), (1, 1))
    flat = windows.reshape(*windows.shape[:3], -1, 3)
    with kernels.use(backend):
        y, argmax = kernels.max_pool2d(x, size, (1, 1))
        np.testing.assert_array_equal(y, flat.max(axis=3))
        np.testing.assert_array_equal(argmax, flat.argmax(axis=3))
        dx = kernels.max_pool2d_input_grad(np.ones_like(y), argmax, x.shape, size, (1, 1))
    expected = np.zeros_like(x)
    for n, i, j, c in np.ndindex(y.shape):
        a, b = divmod(int(argmax[n, i, j, c]), size[1])
        expected[n, i + a, j + b, c] += 1
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("bytes_at_once", [1, 8 * 12 * 3 - 1, 8 * 12 * 3, 8 * 12 * 3 + 1, 10**6])
def test_pooling_in_parts(bytes_at_once, monkeypatch, rng):
    x = rng.standard_normal((5, 6, 8, 3))
    x[3, 0, 0] = -np.inf  # alone with padding in the first window

    def results(*geometry):
        (y, argmax), means = kernels.max_pool2d(x, *geometry), kernels.avg_pool2d(x, *geometry)
        grad = np.cos(np.arange(y.size)).reshape(y.shape)
        of_max = kernels.max_pool2d_input_grad(grad, argmax, x.shape, *geometry)
        return y, argmax, means, of_max, kernels.avg_pool2d_input_grad(grad, x.shape, *geometry)

    for geometry in (
        ((2, 2), (2, 2)),
        ((2, 2), (2, 2), ((1, 1), (1, 1))),
        ((3, 2), (2, 1), ((1, 0), (0, 1))),
    ):
        with kernels.use("numpy"), monkeypatch.context() as patched:
            whole = results(*geometry)
            patched.setattr(pooling, "CHUNK_BYTES", bytes_at_once)
            for ours, expected in zip(results(*geometry), whole, strict=True):
                np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    "geometry",
    [
        ((2, 2), (2, 2)),
        ((2, 2), (2, 3), ((1, 1), (0, 1))),  # with cells that nobody sees
        ((2, 3), (2, 3), ((1, 0), (0, 0))),  # as many cells as there are, but not all
        ((1, 4), (1, 4)),
        ((1, 3), (1, 3)),  # every cell
        ((2, 2), (1, 2)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_gradient_goes_to_one_cell_tap_by_tap_or_place_by_place(
    dtype, geometry, monkeypatch, rng
):
    """What is infinite or NaN as well, and never into a neighbour."""
    x = rng.standard_normal((3, 8, 9, 2)).astype(dtype)
    with kernels.use("numpy"):
        y, argmax = kernels.max_pool2d(x, *geometry)
        grad = np.copysign(np.arange(y.size), y.ravel()).astype(dtype).reshape(y.shape)
        grad.flat[[3, 8, 13]] = np.inf, -np.inf, np.nan
        found = []
        for few in (0, 3, 4, 6):
            monkeypatch.setattr(pooling, "FEW_TAPS", few)
            found.append(kernels.max_pool2d_input_grad(grad, argmax, x.shape, *geometry))
            np.testing.assert_array_equal(found[-1], found[0])
    assert np.count_nonzero(np.isnan(found[0])) == 1
    assert np.nansum(np.isinf(found[0])) == 2
    size, stride, *_ = geometry
    if np.greater_equal(stride, size).all():
        assert np.count_nonzero(found[0]) == y.size - 1  # the first gradient is 0


@each_backend
@pytest.mark.parametrize("rows", [1, 2, 4095, 4096, 4097])
def test_a_plan_infers_what_the_layers_do_however_many_rows(rows, backend, rng):
    network = Sequential([Dense(8), ReLU(), Dense(5), Tanh(), Dense(3), LogSoftmax()])
    network.build(6, random_state=0, dtype=np.float32)
    x = rng.standard_normal((rows, 6)).astype(np.float32)
    with kernels.use(backend):
        planned = plan(network)
        expected = x
        for layer in network.layers:
            expected = layer.infer(expected)
        np.testing.assert_allclose(planned.infer(x), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(planned.forward(x), expected, rtol=1e-5, atol=1e-6)


# How much is done at a time, and from how much on something else is done: never what comes out.
SIZES = {
    (convolution, "CHUNK_BYTES"): [1, 2000],
    (convolution, "DEARER"): [0, 10**9],
    (convolution, "FEW_CHANNELS"): [0, 100],
    (convolution, "MIN_ROWS"): [1, 10**9],
    (convolution, "SMALL_PRODUCT"): [500, 3000],
    (epochs, "PIECE"): [1, 7, 100],
    (epoch_steps, "_FEW"): [0, 100],
    (planning, "_MANY_ROWS"): [1, 3],
    (predicting, "_BATCH_ROWS"): [1, 7],
    (loop, "_WORTH_A_PROGRAM"): [0, 10**9],
    (training_epochs, "_FEW"): [0],
}


def learned_by(kind):
    """Probabilities of a short training, which every size above has a part in."""
    rng = np.random.default_rng(0)
    images, y = rng.standard_normal((30, 6, 6, 2)), np.arange(30) % 3
    how = {"batch_size": 7, "random_state": 0, "max_iter": 3}
    if kind == "images":
        layers = [Conv2D(5, 3, padding=1), BatchNorm(), ReLU(), Conv2D(3, 2), Flatten()]
        rule = SGD(0.05, momentum=0.9, weight_decay=0.01)
        model = SequentialClassifier(layers, optimizer=rule, **how)
    else:
        model = MLPClassifier((9,), alpha=0.1, **how)
        images = images.reshape(30, 72)
        y = np.arange(30) % 10 if kind == "many classes" else y
    with kernels.use("numpy"), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(images, y).predict_proba(images)


@pytest.fixture(scope="module", params=["images", "few classes", "many classes"])
def trained(request):
    return request.param, learned_by(request.param)


@pytest.mark.parametrize("module, name", SIZES, ids=lambda v: v if isinstance(v, str) else "")
def test_a_size_changes_nothing_but_the_time(module, name, trained, monkeypatch):
    kind, expected = trained
    for size in SIZES[module, name]:
        monkeypatch.setattr(module, name, size)
        np.testing.assert_allclose(learned_by(kind), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "c_out", "algorithm", "scatters"),
    [
        (8, 10, "auto", False),  # through each tap 1000 numbers are read, 512 are written
        (8, 11, "auto", True),
        (8, 11, "direct", True),
        (8, 11, "winograd", False),
        (4, 2, "auto", True),
        (5, 2, "auto", False),
    ],
)
def test_an_input_gradient_is_scattered_where_a_gather_would_read_much_more(
    channels, c_out, algorithm, scatters, monkeypatch
):
    seen, scatter = [], convolution._scatter
    monkeypatch.setattr(convolution, "_scatter", lambda *a: seen.append(scatter(*a)))
    grad, kernel = np.ones((1, 8, 8, c_out)), np.ones((3, 3, channels, c_out))
    with kernels.use("numpy"):
        convolution.conv2d_input_grad(grad, kernel, (1, 10, 10, channels), algorithm=algorithm)
    assert bool(seen) is scatters
