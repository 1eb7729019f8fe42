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
CHUNK_BYTES = 2**21  # of transformed inputs at a time


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
    x: np.ndarray, kernel: np.ndarray, bias: np.ndarray | None, padding: Padding, y: np.ndarray
) -> None:
    """Overwrite y with the convolution of x by an r x r kernel."""
    r, _, c_in, c_out = kernel.shape
    m = N_POINTS + 1 - r
    values = _transform(of_kernel(r), kernel).reshape(-1, c_in, c_out)
    for chunk, tiles in _tiles(x, padding, y.shape[1:3], m, r):
        products = _transform(of_input(), tiles).reshape(len(values), -1, c_in) @ values
        n, down, across = tiles.shape[2:5]
        products = products.reshape(N_POINTS, N_POINTS, n, down, across, c_out)
        outputs = _transform(of_output(m), products).transpose(2, 3, 0, 4, 1, 5)
        whole = outputs.reshape(n, down * m, across * m, c_out)
        y[chunk] = whole[:, : y.shape[1], : y.shape[2]]
        if bias is not None:
            y[chunk] += bias


def kernel_grad(x: np.ndarray, grad: np.ndarray, padding: Padding, out: np.ndarray) -> None:
    """Overwrite ``out`` with dL/dkernel, r x r, given ``grad`` = dL/dy."""
    r, _, c_in, c_out = out.shape
    m = N_POINTS + 1 - r
    total = np.zeros((N_POINTS**2, c_in, c_out), x.dtype)
    for chunk, tiles in _tiles(x, padding, grad.shape[1:3], m, r):
        n, down, across = tiles.shape[2:5]
        padded = np.zeros((n, down * m, across * m, c_out), x.dtype)
        padded[:, : grad.shape[1], : grad.shape[2]] = grad[chunk]
        blocks = padded.reshape(n, down, m, across, m, c_out).transpose(2, 4, 0, 1, 3, 5)
        inputs = _transform(of_input(), tiles).reshape(len(total), -1, c_in)
        grads = _transform(of_kernel(m), blocks).reshape(len(total), -1, c_out)
        total += inputs.swapaxes(1, 2) @ grads
    out[...] = _transform(of_output(r), total.reshape(N_POINTS, N_POINTS, c_in, c_out))


def _transform(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Apply the matrix to the first two axes: one product with its Kronecker square."""
    height, width = matrix.shape
    both = np.kron(matrix, matrix).astype(x.dtype)
    return (both @ x.reshape(width * width, -1)).reshape(height, height, *x.shape[2:])


def _tiles(
    x: np.ndarray, padding: Padding, outputs: tuple[int, ...], m: int, r: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield parts of a batch with their overlapping tiles: (row, column, n, down, across, c)."""
    n, height, width, channels = x.shape
    (top, _), (left, _) = padding
    down, across = (-(-size // m) for size in outputs)
    step = max(1, CHUNK_BYTES // (N_POINTS**2 * down * across * channels * x.itemsize))
    for start in range(0, n, step):
        part = x[start : start + step]
        padded = np.zeros((len(part), down * m + r - 1, across * m + r - 1, channels), x.dtype)
        padded[:, top : top + height, left : left + width] = part
        windows = sliding_window_view(padded, (N_POINTS, N_POINTS), axis=(1, 2))[:, ::m, ::m]
        yield slice(start, start + step), windows.transpose(4, 5, 0, 1, 2, 3)
