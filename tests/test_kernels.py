"""The kernels against loops that follow the definition, one number at a time."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerkit import kernels


def naive_conv2d(x, kernel, bias, stride, padding, dilation, groups):
    """Σ over taps and channels of x[o s + t d - p] w[t], by explicit loops."""
    n, height, width, _ = x.shape
    kh, kw, channels, c_out = kernel.shape
    (top, bottom), (left, right) = padding
    oh = (height + top + bottom - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (width + left + right - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, oh, ow, c_out)) + bias
    for s, p, q, f, i, j, c in product(*map(range, (n, oh, ow, c_out, kh, kw, channels))):
        row = p * stride[0] + i * dilation[0] - top
        column = q * stride[1] + j * dilation[1] - left
        if 0 <= row < height and 0 <= column < width:
            first = f // (c_out // groups) * channels
            y[s, p, q, f] += x[s, row, column, first + c] * kernel[i, j, c, f]
    return y


def naive_windows(x, size, stride, padding):
    """Yield (output index, [cell index in the order of the taps]) for every window."""
    n, height, width, channels = x.shape
    (top, bottom), (left, right) = padding
    oh = (height + top + bottom - size[0]) // stride[0] + 1
    ow = (width + left + right - size[1]) // stride[1] + 1
    for s, p, q, c in product(*map(range, (n, oh, ow, channels))):
        cells = {}
        for i, j in product(range(size[0]), range(size[1])):
            row, column = p * stride[0] + i - top, q * stride[1] + j - left
            if 0 <= row < height and 0 <= column < width:
                cells[i * size[1] + j] = (s, row, column, c)
        yield (s, p, q, c), cells


@st.composite
def convolutions(draw):
    """A convolution that fits: (x, kernel, bias, geometry)."""
    size = draw(st.tuples(*[st.integers(1, 3)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 3)] * 2))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * 2))
    padding = draw(st.tuples(*[st.tuples(*[st.integers(0, 3)] * 2)] * 2))
    least = [
        max(1, d * (k - 1) + 1 - sum(p)) for k, d, p in zip(size, dilation, padding, strict=True)
    ]
    image = [draw(st.integers(n, n + 4)) for n in least]
    groups, per_group, per_output = draw(
        st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 3))
    )
    n_samples = draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(n_samples, *image, groups * per_group))
    kernel = rng.normal(size=(*size, per_group, groups * per_output))
    bias = rng.normal(size=groups * per_output)
    return x, kernel, bias, (stride, padding, dilation, groups)


@st.composite
def poolings(draw):
    """Windows that each see a real cell: (x, size, stride, padding)."""
    size = draw(st.tuples(*[st.integers(1, 4)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 4)] * 2))
    padding = tuple(draw(st.tuples(*[st.integers(0, k - 1)] * 2)) for k in size)
    image = [
        draw(st.integers(max(1, k - sum(p)), k + 5)) for k, p in zip(size, padding, strict=True)
    ]
    n_samples, channels = draw(st.tuples(st.integers(0, 2), st.integers(1, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (n_samples, *image, channels)
    # Whole numbers, so that maxima tie; negative, so that a padded zero would win.
    x = rng.integers(-9, -4, shape) * 1.0 if draw(st.booleans()) else rng.normal(size=shape)
    return x, size, stride, padding


def kernel_grad(x, grad, shape, geometry):
    out = np.full(shape, np.nan, x.dtype)  # every element must be overwritten
    kernels.conv2d_kernel_grad(x, grad, out, *geometry)
    return out


@settings(max_examples=150)
@given(convolutions())
def test_conv2d_is_its_definition(case):
    x, kernel, bias, geometry = case
    y = kernels.conv2d(x, kernel, bias, *geometry)
    np.testing.assert_allclose(y, naive_conv2d(x, kernel, bias, *geometry), rtol=0, atol=1e-12)


@settings(max_examples=150)
@given(convolutions())
def test_conv2d_gradients_are_its_adjoints(case):
    """<conv(x, w), g> = <x, input_grad(g, w)> = <w, kernel_grad(x, g)> for every x, w and g."""
    x, kernel, _, geometry = case
    y = kernels.conv2d(x, kernel, None, *geometry)
    g = np.random.default_rng(1).normal(size=y.shape)
    dx = kernels.conv2d_input_grad(g, kernel, x.shape, *geometry)
    assert dx.shape == x.shape
    assert np.vdot(x, dx) == pytest.approx(np.vdot(y, g), abs=1e-10)
    dw = kernel_grad(x, g, kernel.shape, geometry)
    assert np.vdot(kernel, dw) == pytest.approx(np.vdot(y, g), abs=1e-10)


@settings(max_examples=60)
@given(convolutions())
def test_conv2d_gradients_are_its_definition(case):
    """conv is linear in x and in w: a gradient's element is <conv(unit vector), g>."""
    x, kernel, _, geometry = case
    g = np.random.default_rng(1).normal(size=kernels.conv2d(x, kernel, None, *geometry).shape)
    dx = kernels.conv2d_input_grad(g, kernel, x.shape, *geometry)
    dw = kernel_grad(x, g, kernel.shape, geometry)
    rng = np.random.default_rng(2)
    for grad, array, conv in (
        (dx, x, lambda unit: naive_conv2d(unit, kernel, 0, *geometry)),
        (dw, kernel, lambda unit: naive_conv2d(x, unit, 0, *geometry)),
    ):
        for flat in rng.permutation(array.size)[:2]:
            unit = np.zeros_like(array)
            unit.flat[flat] = 1
            assert grad.flat[flat] == pytest.approx(np.vdot(conv(unit), g), abs=1e-12)


@settings(max_examples=150)
@given(poolings())
def test_max_pool2d_is_its_definition(case):
    x, size, stride, padding = case
    y, argmax = kernels.max_pool2d(x, size, stride, padding)
    grad = np.random.default_rng(1).normal(size=y.shape)
    dx = np.zeros_like(x)
    for where, cells in naive_windows(x, size, stride, padding):
        winner = max(cells, key=lambda tap: (x[cells[tap]], -tap))  # the first of equals
        assert y[where] == x[cells[winner]]
        assert argmax[where] == winner
        dx[cells[winner]] += grad[where]
    ours = kernels.max_pool2d_input_grad(grad, argmax, x.shape, size, stride, padding)
    np.testing.assert_allclose(ours, dx, rtol=0, atol=1e-14)


@settings(max_examples=150)
@given(poolings())
def test_avg_pool2d_is_its_definition(case):
    x, size, stride, padding = case
    y = kernels.avg_pool2d(x, size, stride, padding)
    grad = np.random.default_rng(1).normal(size=y.shape)
    dx = np.zeros_like(x)
    for where, cells in naive_windows(x, size, stride, padding):
        values = [x[cell] for cell in cells.values()]
        assert y[where] == pytest.approx(np.mean(values), abs=1e-12)
        for cell in cells.values():
            dx[cell] += grad[where] / len(values)
    ours = kernels.avg_pool2d_input_grad(grad, x.shape, size, stride, padding)
    np.testing.assert_allclose(ours, dx, rtol=0, atol=1e-14)


def test_output_size_counts_windows():
    assert kernels.output_size(5, 3, 1, (0, 0)) == 3
    assert kernels.output_size(5, 3, 2, (1, 1)) == 3
    assert kernels.output_size(5, 3, 1, (0, 0), dilation=2) == 1
    assert kernels.output_size(2, 3, 1, (0, 0)) == 0


@pytest.mark.parametrize("n_rows", [0, 1, 1000])
def test_sum_rows_overwrites_its_result(rng, n_rows):
    rows, out = rng.normal(size=(n_rows, 3)), np.full(3, np.nan)
    kernels.sum_rows(rows, out)
    np.testing.assert_allclose(out, rows.sum(axis=0), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "groups, c_in, c_out", [(1, 1, 2), (1, 6, 2), (2, 12, 4), (6, 6, 6), (6, 6, 12)]
)
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_many_chunks_are_one_batch(monkeypatch, rng, groups, c_in, c_out, stride):
    """A batch gives the same results in chunks of one sample as in one chunk."""
    x = rng.normal(size=(7, 6, 5, c_in))
    kernel = rng.normal(size=(3, 2, c_in // groups, c_out))
    geometry = (stride, ((1, 0), (2, 1)), (1, 1), groups)

    def results():
        y = kernels.conv2d(x, kernel, np.arange(c_out) * 1.0, *geometry)
        dw = kernel_grad(x, np.cos(y), kernel.shape, geometry)
        return y, kernels.conv2d_input_grad(np.cos(y), kernel, x.shape, *geometry), dw

    whole = results()
    # The kernel's own size is the least budget: make every sample larger than that.
    monkeypatch.setattr("layerkit.kernels._numpy.convolution.CHUNK_BYTES", 1)
    for one, other in zip(whole, results(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_wide_windows_need_wide_argmax(rng):
    x = rng.normal(size=(2, 20, 20, 1))
    y, argmax = kernels.max_pool2d(x, (20, 20), (20, 20))
    assert argmax.dtype == np.uint16
    assert argmax.ravel().tolist() == x.reshape(2, -1).argmax(axis=1).tolist()
    dx = kernels.max_pool2d_input_grad(np.ones_like(y), argmax, x.shape, (20, 20), (20, 20))
    np.testing.assert_array_equal(dx, x == y)
    assert kernels.max_pool2d(x[:, :16, :16], (16, 16), (16, 16))[1].dtype == np.uint8


def test_padding_never_wins_against_minus_infinity():
    x = np.full((1, 2, 2, 1), -np.inf)
    y, argmax = kernels.max_pool2d(x, (2, 2), (1, 1), ((1, 1), (1, 1)))
    assert (y == -np.inf).all()
    dx = kernels.max_pool2d_input_grad(
        np.ones_like(y), argmax, x.shape, (2, 2), (1, 1), ((1, 1), (1, 1))
    )
    assert dx.sum() == y.size  # no gradient is lost in the padding


@pytest.mark.parametrize("cell", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_nan_passes_max_pooling(cell):
    x = np.ones((1, 2, 2, 1))
    x[0, cell[0], cell[1], 0] = np.nan
    assert np.isnan(kernels.max_pool2d(x, (2, 2), (2, 2))[0]).all()


@pytest.mark.parametrize("groups, c_out", [(1, 3), (2, 4), (4, 4), (4, 8)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_dtype_is_kept_and_inputs_untouched(rng, groups, c_out, stride):
    x = rng.normal(size=(4, 5, 5, 4)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 4 // groups, c_out)).astype(np.float32)
    bias = np.ones(c_out, np.float32)
    geometry = (stride, ((1, 1), (1, 1)), (1, 1), groups)
    for array in (x, kernel, bias):
        array.flags.writeable = False
    y = kernels.conv2d(x, kernel, bias, *geometry)
    y.flags.writeable = False
    pooled, argmax = kernels.max_pool2d(x, (2, 2), (1, 1))
    mean = kernels.avg_pool2d(x, (2, 2), (1, 1))
    pooled.flags.writeable = mean.flags.writeable = argmax.flags.writeable = False
    for result in (
        y,
        kernels.conv2d_input_grad(y, kernel, x.shape, *geometry),
        kernel_grad(x, y, kernel.shape, geometry),
        pooled,
        kernels.max_pool2d_input_grad(pooled, argmax, x.shape, (2, 2), (1, 1)),
        mean,
        kernels.avg_pool2d_input_grad(mean, x.shape, (2, 2), (1, 1)),
    ):
        assert result.dtype == np.float32


def relaid(array, layout):
    """The same numbers, laid out in memory in another way."""
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "channels first":
        return np.ascontiguousarray(np.moveaxis(array, 3, 1)).transpose(0, 2, 3, 1)
    return np.repeat(array, 2, axis=-1)[..., ::2]


@pytest.mark.parametrize("layout", ["fortran", "channels first", "every other"])
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_memory_layout_does_not_matter(rng, layout, groups, stride):
    x, kernel = rng.normal(size=(3, 6, 6, 6)), rng.normal(size=(3, 3, 6 // groups, 6))
    geometry = (stride, ((0, 0), (0, 0)), (1, 1), groups)
    y = kernels.conv2d(x, kernel, None, *geometry)
    x2, kernel2, y2 = (relaid(array, layout) for array in (x, kernel, y))
    out = np.zeros((6, 3, 3, 6 // groups)).transpose(1, 2, 3, 0)
    kernels.conv2d_kernel_grad(x2, y2, out, *geometry)
    pooled, argmax = kernels.max_pool2d(x, (3, 3), stride)
    for ours, expected in (
        (kernels.conv2d(x2, kernel2, None, *geometry), y),
        (
            kernels.conv2d_input_grad(y2, kernel2, x.shape, *geometry),
            kernels.conv2d_input_grad(y, kernel, x.shape, *geometry),
        ),
        (out, kernel_grad(x, y, kernel.shape, geometry)),
        (kernels.max_pool2d(x2, (3, 3), stride)[0], pooled),
        (
            kernels.max_pool2d_input_grad(relaid(pooled, layout), argmax, x.shape, (3, 3), stride),
            kernels.max_pool2d_input_grad(pooled, argmax, x.shape, (3, 3), stride),
        ),
        (kernels.avg_pool2d(x2, (3, 3), stride), kernels.avg_pool2d(x, (3, 3), stride)),
    ):
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)


def test_non_finite_cells_stay_in_their_windows(rng):
    """An infinity reaches the outputs that see it and no other, NaN likewise."""
    x = rng.normal(size=(1, 5, 5, 2))
    x[0, 0, 0, 0] = np.nan
    y = kernels.conv2d(x, rng.normal(size=(3, 3, 2, 3)))
    assert np.isnan(y[0, 0, 0]).all() and np.isfinite(y).sum() == y.size - 3
