"""Algorithms of convolution against the exact result, in both backends."""

import importlib.util

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import Conv2D, check_gradients, kernels
from layerkit.kernels import parts
from layerkit.kernels._numpy.winograd import of_input, of_kernel, of_output

numba = pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="needs Numba")
each_backend = pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=numba)])

# samples, height, width, channels in and out, kernel size, padding
SHAPES = [
    (3, 8, 8, 16, 16, 3, ((1, 1), (1, 1))),
    (2, 9, 11, 17, 24, 3, ((0, 0), (0, 0))),
    (5, 7, 6, 20, 40, 3, ((1, 2), (0, 1))),
    (1, 28, 28, 64, 64, 3, ((1, 1), (1, 1))),
    (3, 8, 8, 16, 16, 5, ((2, 2), (2, 2))),
    (2, 9, 11, 17, 24, 5, ((0, 0), (4, 0))),
    (30, 6, 6, 8, 9, 5, ((0, 1), (2, 3))),
]


@pytest.fixture
def backend_in_use(backend):
    with kernels.use(backend):
        yield backend


def draw(shape, dtype):
    n, height, width, c_in, c_out, k, padding = shape
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, height, width, c_in)).astype(dtype)
    kernel = rng.normal(size=(k, k, c_in, c_out)).astype(dtype)
    bias = rng.normal(size=c_out).astype(dtype)
    outputs = (d + sum(p) - k + 1 for d, p in zip((height, width), padding, strict=True))
    return x, kernel, bias, rng.normal(size=(n, *outputs, c_out)).astype(dtype)


def results(x, kernel, bias, grad, padding, algorithm, **geometry):
    """Return y, dL/dx and dL/dkernel."""
    dw = np.full_like(kernel, np.nan)
    options = dict(padding=padding, algorithm=algorithm, **geometry)
    kernels.conv2d_kernel_grad(x, grad, dw, **options)
    return (
        kernels.conv2d(x, kernel, bias, **options),
        kernels.conv2d_input_grad(grad, kernel, x.shape, **options),
        dw,
    )


def exact(arrays, padding, **geometry):
    with kernels.use("numpy"):
        doubles = [array.astype(np.float64) for array in arrays]
        return results(*doubles, padding, "direct", **geometry)


@pytest.mark.parametrize("r", [2, 3, 4, 5])
def test_in_one_dimension_it_is_a_correlation(rng, r):
    g, d = rng.normal(size=r), rng.normal(size=6)
    y = of_output(7 - r) @ ((of_kernel(r) @ g) * (of_input() @ d))
    np.testing.assert_allclose(y, np.correlate(d, g, "valid"), rtol=0, atol=1e-13)


def test_the_transforms_are_those_of_lavin_and_gray():
    """Section 4.3 of their paper, F(4 x 4, 3 x 3)."""
    assert of_input().tolist() == [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
    assert (24 * of_kernel(3)).round(12).tolist() == [
        [6, 0, 0],
        [-4, -4, -4],
        [-4, 4, -4],
        [1, 2, 4],
        [1, -2, 4],
        [0, 0, 24],
    ]
    assert of_output(4).tolist() == [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]


@pytest.mark.usefixtures("backend_in_use")
@each_backend
@pytest.mark.parametrize("shape", SHAPES)
def test_winograd_is_convolution(shape):
    arrays = draw(shape, np.float64)
    both = zip(results(*arrays, shape[-1], "winograd"), exact(arrays, shape[-1]), strict=True)
    for ours, true in both:
        np.testing.assert_allclose(ours, true, rtol=0, atol=1e-12 * abs(true).max())


@pytest.mark.usefixtures("backend_in_use")
@each_backend
@pytest.mark.parametrize("shape", SHAPES)
def test_winograd_in_float32_is_accurate_enough(shape):
    arrays = draw(shape, np.float32)
    both = zip(results(*arrays, shape[-1], "winograd"), exact(arrays, shape[-1]), strict=True)
    for ours, true in both:
        assert ours.dtype == np.float32
        assert abs(ours - true).max() < 2e-4 * abs(true).max()
        assert np.linalg.norm(ours - true) < 2e-5 * np.linalg.norm(true)


@pytest.mark.usefixtures("backend_in_use")
@each_backend
@pytest.mark.parametrize(
    "dtype, algorithm, taken",
    [
        (np.float32, "auto", True),
        (np.float32, "direct", False),
        (np.float32, "winograd", True),
        (np.float64, "auto", False),
        (np.float64, "winograd", True),
    ],
)
def test_who_takes_winograd(monkeypatch, backend, dtype, algorithm, taken):
    layer = Conv2D(64, 3, padding=1, algorithm=algorithm).build((6, 6, 64), dtype=dtype)
    module = importlib.import_module(f"layerkit.kernels._{backend}.winograd")
    used = []
    for name in ("convolve", "kernel_grad"):
        run = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, run=run, name=name: used.append(name) or run(*args)
        )
    layer.backward(layer.forward(np.ones((2, 6, 6, 64), dtype)))
    assert used == (["convolve", "kernel_grad", "convolve"] if taken else [])


@pytest.mark.usefixtures("backend_in_use")
@each_backend
@pytest.mark.parametrize(
    "geometry",
    [dict(stride=(2, 1)), dict(dilation=(1, 2)), dict(groups=2), dict(padding=((3, 0), (0, 0)))],
)
def test_what_winograd_cannot_do_is_done_directly(geometry):
    arrays = draw((2, 9, 9, 64, 64, 3, ((0, 0), (0, 0))), np.float32)
    x, kernel, bias, _ = arrays
    kernel = kernel[:, :, : 64 // geometry.get("groups", 1)]
    padding = geometry.pop("padding", ((0, 0), (0, 0)))
    grad = np.ones_like(kernels.conv2d(x, kernel, bias, padding=padding, **geometry))
    ours = results(x, kernel, bias, grad, padding, "winograd", **geometry)
    true = exact((x, kernel, bias, grad), padding, **geometry)
    for one, other in zip(ours, true, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * abs(other).max())


@pytest.mark.usefixtures("backend_in_use")
@each_backend
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows(backend, algorithm, value):
    """A network that diverges must not look healthy, whatever the algorithm does with infinity."""
    x, kernel, bias, grad = draw(SHAPES[0], np.float32)
    x[1, 3, 4, 5] = grad[1, 3, 4, 5] = value
    with np.errstate(invalid="ignore"):
        y, dx, dw = results(x, kernel, bias, grad, SHAPES[0][-1], algorithm)
    assert not np.isfinite(y[1, 2:5, 3:6]).any() and not np.isfinite(dx[1, 2:5, 3:6]).any()
    assert not np.isfinite(dw[:, :, 5]).any() and not np.isfinite(dw[..., 5]).any()
    assert np.isfinite(y[[0, 2]]).all() and np.isfinite(dx[[0, 2]]).all()


@numba
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
@pytest.mark.parametrize("groups", [1, 16])
def test_threads_change_no_bit_and_processors_the_order_of_sums(monkeypatch, algorithm, groups):
    home = "layerkit.kernels._numba"
    threads = importlib.import_module(f"{home}.threads")
    x, kernel, bias, grad = draw(SHAPES[0], np.float32)
    arrays = x, np.ascontiguousarray(kernel[:, :, : 16 // groups]), bias, grad
    with kernels.use("numba"):
        for module in ("threads", "direct", "winograd"):
            monkeypatch.setattr(f"{home}.{module}.WORTHWHILE", 1)
        runs = []
        for n_processors, n_threads in ((1, 1), (2, 1), (2, 2)):
            monkeypatch.setattr(parts, "n_processors", lambda n=n_processors: n)
            monkeypatch.setattr(threads, "n_threads", lambda n=n_threads: n)
            threads._pool.cache_clear()
            runs.append(results(*arrays, SHAPES[0][-1], algorithm, groups=groups))
        threads._pool.cache_clear()
    whole, by_one, by_two = runs
    for i in (0, 1):
        np.testing.assert_array_equal(whole[i], by_one[i])
    np.testing.assert_allclose(whole[2], by_one[2], rtol=0, atol=1e-3)
    for ours, theirs in zip(by_two, by_one, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_unknown_algorithm_is_refused():
    with raises_exactly(
        ValueError,
        "in Conv2D(filters=2, kernel_size=3, algorithm='fft'): algorithm must be "
        '"auto", "direct" or "winograd", got \'fft\'',
    ):
        Conv2D(2, 3, algorithm="fft").build((5, 5, 1))


@pytest.mark.usefixtures("backend_in_use")
@each_backend
@pytest.mark.parametrize("size", [3, 5])
def test_winograd_has_the_gradients_of_its_forward(size):
    layer = Conv2D(9, size, padding="same", algorithm="winograd")
    report = check_gradients(layer, (5, 6, 8))
    assert report, str(report)


def test_parts_of_a_batch_share_arrays_but_no_values(monkeypatch):
    """In parts of 3, 3 and 1 samples, the last filled up; a NaN stays in its sample."""
    x, kernel, bias, grad = draw((7, 9, 11, 17, 24, 3, ((1, 1), (0, 1))), np.float64)
    x[1, 4, 4, 3] = np.nan
    padding = ((1, 1), (0, 1))
    with kernels.use("numpy"):
        whole = results(x, kernel, bias, grad, padding, "winograd")
        clean = results(np.nan_to_num(x), kernel, bias, grad, padding, "winograd")
        of_three = 3 * 36 * 9 * 17 * x.itemsize
        monkeypatch.setattr("layerkit.kernels._numpy.winograd.CHUNK_BYTES", of_three)
        parts = results(x, kernel, bias, grad, padding, "winograd")
        clean_parts = results(np.nan_to_num(x), kernel, bias, grad, padding, "winograd")
    for one, other in zip((*whole, *clean), (*parts, *clean_parts), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
    assert np.isnan(parts[0]).any(axis=(1, 2, 3)).tolist() == [False, True] + 5 * [False]
