"""Layers that only rearrange, pad or repeat values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from layerkit.kernels import Padding, Pair
from layerkit.layer import Layer
from layerkit.layers._windows import check_spatial, pair
from layerkit.parameters import is_size
from layerkit.shapes import Shape

Margins = int | Pair | Padding


class _SameOrder(Layer):
    """The same values, the last axis running fastest, in another shape."""

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return x.reshape(len(x), *self.output_shape)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return grad_output.reshape(len(grad_output), *self.input_shape)


class Flatten(_SameOrder):
    r"""All values of a sample in one row.

    .. math:: y_{(u w + v) c + k} = x_{uvk}

    Notes
    -----
    Input ``(n_samples, ...)``, output ``(n_samples, n_features)``, the last axis running fastest.
    Backward: the gradient in the shape of the input.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", Proceedings of the IEEE
    86, 1998 (from feature maps to fully connected layers).

    Examples
    --------
    >>> from layerkit import Flatten
    >>> layer = Flatten()
    >>> layer.forward([[[1, 2], [3, 4]]]).tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    >>> layer.backward([[5.0, 6.0, 7.0, 8.0]]).tolist()
    [[[5.0, 6.0], [7.0, 8.0]]]
    """

    def setup(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)


class Reshape(_SameOrder):
    r"""The values of a sample in another shape.

    .. math:: \operatorname{flatten}(y) = \operatorname{flatten}(x)

    Parameters
    ----------
    shape : int or sequence of int
        Shape of a sample, without the batch axis. One entry may be -1: it is inferred.

    Raises
    ------
    ValueError
        If a sample has another number of values than ``shape``.

    Notes
    -----
    Input ``(n_samples, ...)``, output ``(n_samples, *shape)``, the last axis running fastest.
    Backward: the gradient in the shape of the input.

    Examples
    --------
    >>> from layerkit import Reshape
    >>> Reshape((2, -1)).forward([[1, 2, 3, 4, 5, 6]]).tolist()
    [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]
    """

    too_many = "put the sizes in a tuple, without the batch axis: Reshape((4, 4, 1))"

    def __init__(self, shape: int | Sequence[int]) -> None:
        self.shape = shape

    def setup(self, input_shape: Shape) -> Shape:
        sizes = tuple(self.shape) if isinstance(self.shape, (tuple, list)) else (self.shape,)
        known = [size for size in sizes if size != -1]
        ok = all(map(is_size, known)) and len(sizes) - len(known) <= 1
        self.check(ok, "shape", "positive integers, or -1 at most once")
        n_values, product = math.prod(input_shape), math.prod(known)
        fits = n_values % product == 0 if len(known) < len(sizes) else n_values == product
        self.check(fits, "shape", f"a shape for the {n_values} values of a sample {input_shape}")
        return tuple(n_values // product if size == -1 else int(size) for size in sizes)


class Permute(Layer):
    r"""The axes of a sample in another order.

    .. math:: y_{n, i_{a_1}, i_{a_2}, \dots} = x_{n, i_1, i_2, \dots}

    Parameters
    ----------
    axes : sequence of int
        Which axis of the input comes first, second, ..., as in NumPy. The batch axis is 0 and stays
        in place. ``(2, 1)`` swaps time and features, ``(3, 1, 2)`` puts channels first.

    Raises
    ------
    ValueError
        If ``axes`` is not a permutation of 1, 2, ..., one for each axis of a sample.

    Notes
    -----
    Input ``(n_samples, d_1, d_2, ...)``, output ``(n_samples, d_axes[0], d_axes[1], ...)``.
    Backward: the gradient with its axes in the original order, that is, permuted by the inverse.

    Examples
    --------
    >>> from layerkit import Permute
    >>> Permute((2, 1)).forward([[[1, 2, 3], [4, 5, 6]]]).tolist()
    [[[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]]
    """

    too_many = "put the axes in a tuple, without the batch axis: Permute((2, 1))"

    def __init__(self, axes: Sequence[int]) -> None:
        self.axes = axes

    def setup(self, input_shape: Shape) -> Shape:
        every = list(range(1, len(input_shape) + 1))
        ok = isinstance(self.axes, (tuple, list)) and all(map(is_size, self.axes))
        self.check(ok and sorted(self.axes) == every, "axes", f"a permutation of {tuple(every)}")
        return tuple(input_shape[axis - 1] for axis in self.axes)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return x.transpose(0, *self.axes)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return grad_output.transpose(np.argsort([0, *self.axes]))


class ZeroPad2D(Layer):
    r"""Images in a frame of zeros.

    .. math:: y_{u + t, v + l, c} = x_{uvc}, \qquad \text{0 elsewhere}

    Parameters
    ----------
    padding : int, pair of int or ((top, bottom), (left, right))
        Rows and columns to add: on all four sides, (above and below, left and right), or on each
        side.

    Raises
    ------
    ValueError
        If ``padding`` has another form or is negative, or the input is not a batch of images.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output
    ``(n_samples, top + height + bottom, left + width + right, channels)``.
    Backward: the gradient without the frame.

    Examples
    --------
    >>> from layerkit import ZeroPad2D
    >>> ZeroPad2D(((1, 0), (0, 2))).forward([[[[7], [8]]]])[0, :, :, 0].tolist()
    [[0.0, 0.0, 0.0, 0.0], [7.0, 8.0, 0.0, 0.0]]
    """

    def __init__(self, padding: Margins) -> None:
        self.padding = padding

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape)
        self._margins = self._four_sides()
        height, width, channels = input_shape
        return height + sum(self._margins[0]), width + sum(self._margins[1]), channels

    @property
    def margins(self) -> Padding:
        """Zeros ((above, below), (left, right)), once the layer knows its shapes."""
        return self._margins

    def _four_sides(self) -> Padding:
        given: Any = self.padding
        if is_size(given, least=0):
            given = (given, given)
        try:
            rows, columns = ((m, m) if is_size(m, least=0) else tuple(m) for m in given)
            ok = len(rows) == len(columns) == 2 and all(is_size(m, 0) for m in rows + columns)
        except (TypeError, ValueError):
            ok = False
        self.check(ok, "padding", "an integer of at least 0, a pair, or a pair of pairs of them")
        return rows, columns

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        return np.pad(x, ((0, 0), *self._margins, (0, 0)))

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        (top, _), (left, _) = self._margins
        height, width, _ = self.input_shape
        return grad_output[:, top : top + height, left : left + width]


class UpSample2D(Layer):
    r"""Images enlarged by repeating pixels (nearest neighbour), or by lines between them.

    .. math:: y_{uvc} = \sum_{ij} A_{ui} B_{vj} \, x_{ijc}, \qquad
              \text{nearest: } A_{ui} = [i = \lfloor u / s \rfloor], \quad
              \text{bilinear: } A_{ui} = \max(0, 1 - |p_u - i|)

    where :math:`p_u = (u + 1/2) / s - 1/2`, clipped to [0, height - 1], is the position of the
    centre of pixel u among those of x; B likewise, with t and the width.

    Parameters
    ----------
    size : int or pair of int
        Factors s for the height and t for the width, at least 1.
    interpolation : {"nearest", "bilinear"}, default="nearest"
        Bilinear as in Keras, and in PyTorch with ``align_corners=False``.

    Raises
    ------
    ValueError
        If ``size`` is not positive, ``interpolation`` is unknown, or the input is not a batch of
        images.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output
    ``(n_samples, s * height, t * width, channels)``.
    Backward is the transposed map: a pixel gets the gradients of all pixels made from it, each
    times its share. For nearest neighbours that is the sum over its copies:

    .. math:: \frac{\partial L}{\partial x_{ijc}} =
              \sum_{uv} A_{ui} B_{vj} \frac{\partial L}{\partial y_{uvc}}

    References
    ----------
    Odena, Dumoulin and Olah, "Deconvolution and checkerboard artifacts", Distill, 2016 (why to
    enlarge first and convolve then).

    Examples
    --------
    >>> from layerkit import UpSample2D
    >>> layer = UpSample2D((1, 2))
    >>> layer.forward([[[[7], [8]]]])[0, :, :, 0].tolist()
    [[7.0, 7.0, 8.0, 8.0]]
    >>> layer.backward([[[[1.0], [2.0], [3.0], [4.0]]]])[0, :, :, 0].tolist()
    [[3.0, 7.0]]
    >>> UpSample2D((1, 2), interpolation="bilinear").forward([[[[7], [8]]]])[0, :, :, 0].tolist()
    [[7.0, 7.25, 7.75, 8.0]]
    """

    interpolation = "nearest"  # for pickles from before it was a parameter

    def __init__(self, size: int | Pair, *, interpolation: str = "nearest") -> None:
        self.size = size
        self.interpolation = interpolation

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape)
        self._factors = pair(self, "size", n_axes=2)
        known = self.interpolation in ("nearest", "bilinear")
        self.check(known, "interpolation", '"nearest" or "bilinear"')
        height, width, channels = input_shape
        return height * self._factors[0], width * self._factors[1], channels

    @property
    def factors(self) -> Pair:
        """Factors of the height and of the width, once the layer knows its shapes."""
        return self._factors

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        if self.interpolation == "bilinear":
            A, B = self.shares(x.dtype)
            return _of_rows_and_columns(A, B, x)
        s, t = self._factors
        return x.repeat(s, axis=1).repeat(t, axis=2)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        if self.interpolation == "bilinear":
            A, B = self.shares(grad_output.dtype)
            return _of_rows_and_columns(A.T, B.T, grad_output)
        s, t = self._factors
        copies = [grad_output[:, i::s, j::t] for i in range(s) for j in range(t)]
        return sum(copies[1:], start=copies[0])

    def shares(self, dtype: Any = np.float64) -> list[np.ndarray]:
        """Return how much every pixel of the input counts, bilinearly, for those of the output.

        Parameters
        ----------
        dtype : numpy dtype, default=float64
            Of the arrays.

        Returns
        -------
        shares : list of two ndarrays
            A (s * height, height), of the rows, and B (t * width, width), of the columns.
        """
        sizes = zip(self.input_shape, self._factors, strict=False)
        return [bilinear_shares(n, n * k).astype(dtype) for n, k in sizes]


def bilinear_shares(n: int, m: int) -> np.ndarray:
    """Return how much each of n pixels in a row counts for each of the m that they become."""
    places = ((np.arange(m) + 0.5) * n / m - 0.5).clip(0, n - 1)
    return np.maximum(0, 1 - abs(places[:, np.newaxis] - np.arange(n)))


def _of_rows_and_columns(A: np.ndarray, B: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the sum over i, j of A[u, i] B[v, j] x[n, i, j, c]."""
    n_samples, height, width, channels = x.shape
    rows = A @ x.reshape(n_samples, height, width * channels)
    return B @ rows.reshape(n_samples, len(A), width, channels)
