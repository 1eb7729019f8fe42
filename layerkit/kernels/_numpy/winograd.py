r"""Winograd's convolution of stride 1 in NumPy: polynomials evaluated at six points.

Two polynomials g and h with r and m coefficients have a product with n = m + r - 1. Toom and Cook
multiply them by evaluating both at n points, multiplying the values, and interpolating. With the
Vandermonde matrices V_k, whose row for the point a is (1, a, ..., a^(k-1)) and for infinity picks
the last coefficient::

    g h = V_n^-1 [V_r g ⊙ V_m h]

m outputs of a correlation, ``y_i = Σ_k d_(i+k) g_k``, are the transposed linear map (of h to g h),
applied to n inputs d. Transposing the product of matrices and splitting off a scale N of each
point::

    y = A^T [G g ⊙ B^T d],      A = V_m,    G = N^-1 V_r,    B^T = N V_n^-T

That is n multiplications instead of m r. In two dimensions each transform acts on rows and on
columns, ``y = A^T [G g G^T ⊙ B^T d B] A``: n² = 36 instead of 144 for 4 x 4 outputs of a 3 x 3
kernel, and instead of 100 for 2 x 2 outputs of a 5 x 5 kernel, with the same B. Over channels each
of the 36 products is a matrix product: (tiles, c_in) times (c_in, c_out). The gradient of the
kernel is the same correlation again, with r x r outputs and the m x m gradient as the kernel.

The points 0, ±1, ±2, ∞ and N make B^T whole numbers; A and G for r = 3 are those of Lavin and Gray.

References
----------
Winograd, "Arithmetic complexity of computations", SIAM 1980.
Lavin and Gray, "Fast algorithms for convolutional neural networks", 2015, arXiv:1509.09308.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from layerkit.kernels._numpy.windows import Padding, Pair

N_POINTS = 6
POINTS = np.array([0, 1, -1, 2, -2])  # and infinity
SCALES = np.array([[4], [-6], [-6], [24], [24], [1]])
SIZES = (3, 5)  # of kernels
CHUNK_BYTES = 2**20  # of transformed inputs at a time


def evaluation(n_coefficients: int) -> np.ndarray:
    """Return V: the values of a polynomial at the points, given its coefficients."""
    at_infinity = np.eye(n_coefficients)[-1:]
    return np.vstack([np.vander(POINTS, n_coefficients, increasing=True), at_infinity])


def of_input() -> np.ndarray:
    """Return B^T, which does not depend on how n splits into m and r."""
    return np.round(SCALES * np.linalg.inv(evaluation(N_POINTS)).T)


def of_kernel(r: int) -> np.ndarray:
    """Return G."""
    return evaluation(r) / SCALES


def of_output(m: int) -> np.ndarray:
    """Return A^T."""
    return evaluation(m).T


def fits(kernel: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, groups: int) -> bool:
    """Whether a convolution has the form that Winograd's algorithm is for."""
    size, width = kernel.shape[:2]
    dense = groups == 1 and tuple(stride) == tuple(dilation) == (1, 1)
    within = all(0 <= p < size for before_after in padding for p in before_after)
    return dense and within and size == width and size in SIZES


def convolve(
    x: np.ndarray,
    kernel: np.ndarray,
    bias: np.ndarray | None,
    geometry: tuple[Pair, Padding, Pair],
    groups: int,
    y: np.ndarray,
) -> Iterator[np.ndarray]:
    """Overwrite y with the convolution by an r x r kernel, and yield its parts as they are done.

    Stride, dilation and ``groups`` are 1.
    """
    _, padding, _ = geometry
    r, _, c_in, c_out = kernel.shape
    m = N_POINTS + 1 - r
    values = (_squared(of_kernel(r), x.dtype) @ kernel.reshape(r * r, -1)).reshape(-1, c_in, c_out)
    interpolation = _squared(of_output(m), x.dtype)
    products = outputs = None
    for chunk, tiling, inputs in _inputs(x, padding, y.shape[1:3], m, r):
        products = np.matmul(inputs, values, out=products)
        outputs = np.matmul(interpolation, products.reshape(N_POINTS**2, -1), out=outputs)
        part, cells = y[chunk], outputs.reshape(m, m, *tiling, c_out)
        for here, within in _cells(part, m):
            part[here] = cells[within]
        if bias is not None:
            part += bias
        yield part


def kernel_grad(
    x: np.ndarray,
    grad: np.ndarray,
    kernel: np.ndarray,
    geometry: tuple[Pair, Padding, Pair],
    groups: int,
) -> np.ndarray:
    """Return dL/dkernel, r x r, given ``grad`` = dL/dy; stride, dilation and ``groups`` are 1."""
    r, _, c_in, c_out = kernel.shape
    _, padding, _ = geometry
    m = N_POINTS + 1 - r
    evaluated = _squared(of_kernel(m), x.dtype)
    total = np.zeros((N_POINTS**2, c_in, c_out), x.dtype)
    cells = grads = products = None
    for chunk, tiling, inputs in _inputs(x, padding, grad.shape[1:3], m, r):
        if cells is None:
            cells = np.zeros((m, m, *tiling, c_out), x.dtype)
        part = grad[chunk]
        cells[:, :, len(part) :] = 0
        for here, within in _cells(part, m):
            cells[within] = part[here]
        grads = np.matmul(evaluated, cells.reshape(m * m, -1), out=grads)
        columns = grads.reshape(N_POINTS**2, -1, c_out)
        products = np.matmul(inputs.swapaxes(1, 2), columns, out=products)
        total += products
    return (_squared(of_output(r), x.dtype) @ total.reshape(N_POINTS**2, -1)).reshape(kernel.shape)


def _squared(matrix: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the Kronecker square, which acts on rows and columns at once."""
    return np.kron(matrix, matrix).astype(dtype)


def _inputs(
    x: np.ndarray, padding: Padding, outputs: tuple[int, ...], m: int, r: int
) -> Iterator[tuple[slice, tuple[int, int, int], np.ndarray]]:
    """Yield parts of a batch, the shape (n, down, across) of their tiles, and all ``B^T d B``.

    These are (36, n * down * across, channels), in one array that every part overwrites: fresh
    memory for each would cost as much as the arithmetic. The last part is filled up with zeros.
    """
    n, height, width, channels = x.shape
    (top, _), (left, _) = padding
    down, across = (-(-size // m) for size in outputs)
    most = max(1, CHUNK_BYTES // (N_POINTS**2 * down * across * channels * x.itemsize))
    n_parts = max(1, -(-n // most))
    step = max(1, -(-n // n_parts))
    padded = np.zeros((step, down * m + r - 1, across * m + r - 1, channels), x.dtype)
    windows = sliding_window_view(padded, (N_POINTS, N_POINTS), axis=(1, 2))[:, ::m, ::m]
    tiles = np.empty((N_POINTS, N_POINTS, step, down, across, channels), x.dtype)
    inputs = np.empty((N_POINTS**2, tiles[0, 0].size), x.dtype)
    evaluated = _squared(of_input(), x.dtype)
    for start in range(0, n, step):
        part = x[start : start + step]
        padded[: len(part), top : top + height, left : left + width] = part
        padded[len(part) :] = 0
        tiles[...] = windows.transpose(4, 5, 0, 1, 2, 3)
        np.matmul(evaluated, tiles.reshape(inputs.shape), out=inputs)
        chunk, tiling = slice(start, start + step), (step, down, across)
        yield chunk, tiling, inputs.reshape(N_POINTS**2, -1, channels)


def _cells(maps: np.ndarray, m: int) -> Iterator[tuple[tuple, tuple]]:
    """Yield where cell (i, j) of each m x m block is: in maps, and in (m, m, n, down, across, c).

    Blocks may reach beyond the maps.
    """
    n, height, width, _ = maps.shape
    for i, j in np.ndindex(m, m):
        down, across = -(-(height - i) // m), -(-(width - j) // m)
        yield (
            (slice(None), slice(i, None, m), slice(j, None, m)),
            (i, j, slice(n), slice(max(down, 0)), slice(max(across, 0))),
        )
