"""Pooling: the largest or the mean of every window."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

import numpy as np

from layerkit.kernels import (
    Pair,
    avg_pool2d,
    avg_pool2d_input_grad,
    max_pool2d,
    max_pool2d_input_grad,
)
from layerkit.layer import Layer
from layerkit.layers._windows import as_images, check_spatial, slide
from layerkit.shapes import Shape
from layerkit.tree import settled_by_build


@dataclass(eq=False, repr=False)  # for its __init__, which stores the hyper-parameters
class _Pool(Layer):
    """Windows laid over images, or over sequences, which are images of height 1."""

    pool_size: int | Pair = 2
    stride: int | Pair | None = None
    _: KW_ONLY
    padding: str | int | Pair = "valid"

    n_axes: ClassVar[int]
    geometry = settled_by_build("geometry")

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape, self.n_axes)
        stride = "pool_size" if self.stride is None else "stride"
        size, strides, padding, _, outputs = slide(self, input_shape[:-1], "pool_size", stride)
        every_window_sees = all(max(p) < k for p, k in zip(padding, size, strict=True))
        self.check(every_window_sees, "padding", f"less than pool_size={self.pool_size}")
        self.geometry = (size, strides, padding)  # for the kernels
        return (*outputs[-self.n_axes :], input_shape[-1])


class _MaxPool(_Pool):
    """What `MaxPool2D` and `MaxPool1D` compute."""

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        images = as_images(x)
        y, argmax = max_pool2d(images, *self.geometry)
        self.cache = images.shape, argmax
        return y.reshape(len(x), *self.output_shape)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        shape, argmax = self.cache
        grad = max_pool2d_input_grad(as_images(grad_output), argmax, shape, *self.geometry)
        return grad.reshape(len(grad), *self.input_shape)


class _AvgPool(_Pool):
    """What `AvgPool2D` and `AvgPool1D` compute."""

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        images = as_images(x)
        self.cache = images.shape
        return avg_pool2d(images, *self.geometry).reshape(len(x), *self.output_shape)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        grad = avg_pool2d_input_grad(as_images(grad_output), self.cache, *self.geometry)
        return grad.reshape(len(grad), *self.input_shape)


@dataclass(eq=False, repr=False)
class MaxPool2D(_MaxPool):
    r"""The largest cell of every window, channel by channel.

    .. math:: y_{pqc} = \max_{ij} x_{p s + i - P,\; q s + j - P,\; c}

    with stride s and P cells of padding before the first.

    Parameters
    ----------
    pool_size : int or pair of int (height, width), default=2
        Size of a window, at least 1.
    stride : int or pair of int (height, width), default=None
        Step from one window to the next. None: ``pool_size``, so that windows do not overlap.
    padding : {"valid", "same"}, int or pair of int (height, width), default="valid"
        Less than ``pool_size``. "valid": none; cells that do not fill a window are ignored. "same":
        as much as gives ``ceil(n / stride)`` outputs, an odd row or column at the bottom and on the
        right. A number: that many on both sides. Padding is never the maximum.

    Raises
    ------
    ValueError
        If a parameter is invalid or the padded image is smaller than a window.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output ``(n_samples, oh, ow, channels)`` with
    ``oh = floor((height + padding - pool_size) / stride) + 1``.

    Backward, with G the gradient of the output: each output passes its gradient to the cell it came
    from; if several are equal, where the function has a kink, to the first in reading order.

    .. math:: \frac{\partial L}{\partial x_{uvc}} =
        \sum_{pq:\; \operatorname{argmax}(p, q, c) = (u, v)} G_{pqc}

    NaN counts as larger than every number, so that divergence shows.

    References
    ----------
    Ranzato et al., "Unsupervised learning of invariant feature hierarchies", CVPR 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import MaxPool2D
    >>> pool = MaxPool2D(pool_size=(1, 2))
    >>> pool.forward(np.reshape([1.0, 4, 3, 3], (1, 1, 4, 1))).ravel().tolist()
    [4.0, 3.0]
    >>> pool.backward(np.reshape([10.0, 20], (1, 1, 2, 1))).ravel().tolist()
    [0.0, 10.0, 20.0, 0.0]
    """

    n_axes = 2


@dataclass(eq=False, repr=False)
class MaxPool1D(_MaxPool):
    r"""The largest step of every window of a sequence, channel by channel.

    .. math:: y_{tc} = \max_i x_{t s + i - P,\; c}

    Parameters
    ----------
    pool_size : int, default=2
        Length of a window, at least 1.
    stride : int, default=None
        Step from one window to the next. None: ``pool_size``, so that windows do not overlap.
    padding : {"valid", "same"} or int, default="valid"
        As in `MaxPool2D`.

    Raises
    ------
    ValueError
        If a parameter is invalid or the padded sequence is shorter than a window.

    Notes
    -----
    Input ``(n_samples, time, channels)``, output ``(n_samples, steps, channels)`` with
    ``steps = floor((time + padding - pool_size) / stride) + 1``. Backward, with G the gradient of
    the output, as in `MaxPool2D`:

    .. math:: \frac{\partial L}{\partial x_{uc}} =
        \sum_{t:\; \operatorname{argmax}(t, c) = u} G_{tc}

    References
    ----------
    Ranzato et al., "Unsupervised learning of invariant feature hierarchies", CVPR 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import MaxPool1D
    >>> pool = MaxPool1D()
    >>> pool.forward(np.reshape([1.0, 4, 3, 3], (1, 4, 1))).ravel().tolist()
    [4.0, 3.0]
    >>> pool.backward(np.reshape([10.0, 20], (1, 2, 1))).ravel().tolist()
    [0.0, 10.0, 20.0, 0.0]
    """

    n_axes = 1


@dataclass(eq=False, repr=False)
class AvgPool2D(_AvgPool):
    r"""The mean of every window, channel by channel.

    .. math:: y_{pqc} = \frac{1}{N_{pq}} \sum_{ij} x_{p s + i - P,\; q s + j - P,\; c}

    over the :math:`N_{pq}` cells of the image in the window: padding is not counted.

    Parameters
    ----------
    pool_size : int or pair of int (height, width), default=2
        As in `MaxPool2D`.
    stride : int or pair of int (height, width), default=None
        As in `MaxPool2D`.
    padding : {"valid", "same"}, int or pair of int (height, width), default="valid"
        As in `MaxPool2D`.

    Raises
    ------
    ValueError
        If a parameter is invalid or the padded image is smaller than a window.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output ``(n_samples, oh, ow, channels)`` with
    ``oh = floor((height + padding - pool_size) / stride) + 1``. Padding is not counted, as in
    TensorFlow's "same" and with ``count_include_pad=False`` in PyTorch.

    Backward, with G the gradient of the output, summed over the windows that contain the cell:

    .. math:: \frac{\partial L}{\partial x_{uvc}} = \sum_{pq \ni uv} \frac{G_{pqc}}{N_{pq}}

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import AvgPool2D
    >>> pool = AvgPool2D(pool_size=(1, 2), padding="same")
    >>> pool.forward(np.reshape([1.0, 3, 5], (1, 1, 3, 1))).ravel().tolist()
    [2.0, 5.0]
    >>> pool.backward(np.reshape([10.0, 20], (1, 1, 2, 1))).ravel().tolist()
    [5.0, 5.0, 20.0]
    """

    n_axes = 2


@dataclass(eq=False, repr=False)
class AvgPool1D(_AvgPool):
    r"""The mean of every window of a sequence, channel by channel.

    .. math:: y_{tc} = \frac{1}{N_t} \sum_i x_{t s + i - P,\; c}

    over the :math:`N_t` steps of the sequence in the window: padding is not counted.

    Parameters
    ----------
    pool_size : int, default=2
        As in `MaxPool1D`.
    stride : int, default=None
        As in `MaxPool1D`.
    padding : {"valid", "same"} or int, default="valid"
        As in `MaxPool1D`.

    Raises
    ------
    ValueError
        If a parameter is invalid or the padded sequence is shorter than a window.

    Notes
    -----
    Input ``(n_samples, time, channels)``, output ``(n_samples, steps, channels)`` with
    ``steps = floor((time + padding - pool_size) / stride) + 1``. Backward, with G the gradient of
    the output, summed over the windows that contain the step:

    .. math:: \frac{\partial L}{\partial x_{uc}} = \sum_{t \ni u} \frac{G_{tc}}{N_t}

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86, 1998.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import AvgPool1D
    >>> pool = AvgPool1D()
    >>> pool.forward(np.reshape([1.0, 3, 5, 7], (1, 4, 1))).ravel().tolist()
    [2.0, 6.0]
    >>> pool.backward(np.reshape([10.0, 20], (1, 2, 1))).ravel().tolist()
    [5.0, 5.0, 10.0, 10.0]
    """

    n_axes = 1
