"""Convolutions that do not mix channels, or mix them apart from the places."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from layerkit import initializers
from layerkit.edits import Constant
from layerkit.initializers import Initializer, by_group
from layerkit.kernels import Pair, conv2d, conv2d_input_grad, conv2d_kernel_grad
from layerkit.layers._windows import check_spatial, slide
from layerkit.layers.convolution import Conv2D, Convolution
from layerkit.parameters import is_size
from layerkit.shapes import Shape
from layerkit.tree import settled_by_build


class DepthwiseConv2D(Conv2D):
    r"""Convolution of every channel on its own: `Conv2D` with one group per channel.

    .. math:: y_{pq,\, cM+m} = b_{cM+m} +
        \sum_{ij} x_{p s + i d - P,\; q s + j d - P,\; c}\, W_{ij,\, 0,\, cM+m}

    with M = ``depth_multiplier`` outputs for each channel.

    Parameters
    ----------
    kernel_size : int or pair of int (height, width)
        As in `Conv2D`.
    stride : int or pair of int (height, width), default=1
        As in `Conv2D`.
    padding : {"valid", "same"}, int or pair of int (height, width), default="valid"
        As in `Conv2D`.
    dilation : int or pair of int (height, width), default=1
        As in `Conv2D`.
    depth_multiplier : int, default=1
        Number of outputs of each channel, at least 1.
    use_bias : bool, default=True
        Whether to add a bias ``b``.
    initializer : "auto" or callable (shape, rng) -> array, default="auto"
        As in `Conv2D`.

    Raises
    ------
    ValueError
        As in `Conv2D`.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output
    ``(n_samples, oh, ow, channels * depth_multiplier)``; learned ``W``
    ``(kh, kw, 1, channels * depth_multiplier)`` and ``b``.

    Backward is that of `Conv2D`; each channel collects from its own outputs only:

    .. math:: \frac{\partial L}{\partial W_{ij0f}} = \sum_{npq} x_{n,ps+id-P,qs+jd-P,c} G_{npqf},
        \quad \frac{\partial L}{\partial b_f} = \sum_{npq} G_{npqf}, \quad
        \frac{\partial L}{\partial x_{nuvc}} = \sum_{ijm} W_{ij0f} G_{npqf},
        \quad f = cM + m

    References
    ----------
    Howard et al., "MobileNets", 2017, arXiv:1704.04861.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import DepthwiseConv2D
    >>> layer = DepthwiseConv2D(1, use_bias=False).build((1, 1, 2), dtype=np.float64)
    >>> layer.params["W"][...] = [10, 100]
    >>> layer.forward(np.reshape([1.0, 2], (1, 1, 1, 2))).ravel().tolist()
    [10.0, 200.0]
    >>> layer.backward(np.reshape([1.0, 1], (1, 1, 1, 2))).ravel().tolist()
    [10.0, 100.0]
    """

    filters: int = settled_by_build("filters")
    groups: int = settled_by_build("groups")
    algorithm: Any = Constant("direct")  # Winograd saves work in sums over channels; here is none

    def __init__(
        self,
        kernel_size: int | Pair,
        *,
        stride: int | Pair = 1,
        padding: str | int | Pair = "valid",
        dilation: int | Pair = 1,
        depth_multiplier: int = 1,
        use_bias: bool = True,
        initializer: str | Initializer = "auto",
    ) -> None:
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.depth_multiplier = depth_multiplier
        self.use_bias = use_bias
        self.initializer = initializer

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape)
        self.check(is_size(self.depth_multiplier), "depth_multiplier", "a positive integer")
        self.groups = input_shape[-1]
        self.filters = self.groups * self.depth_multiplier
        return super().setup(input_shape)


@dataclass(eq=False, repr=False)
class SeparableConv2D(Convolution):
    r"""Depthwise convolution, then a 1 x 1 convolution that mixes the channels.

    .. math:: h = \text{depthwise}(x, W^{depth}), \qquad
        y_{pqf} = b_f + \sum_e h_{pqe} W^{point}_{00ef}

    About ``1 / filters + 1 / (kh kw)`` of the work of a full convolution, and of its weights.

    Parameters
    ----------
    filters : int
        Number of output channels, at least 1.
    kernel_size : int or pair of int (height, width)
        Of the depthwise convolution, as in `Conv2D`.
    stride : int or pair of int (height, width), default=1
        Of the depthwise convolution, as in `Conv2D`.
    padding : {"valid", "same"}, int or pair of int (height, width), default="valid"
        Of the depthwise convolution, as in `Conv2D`.
    dilation : int or pair of int (height, width), default=1
        Of the depthwise convolution, as in `Conv2D`.
    depth_multiplier : int, default=1
        Number of depthwise outputs of each channel, at least 1.
    use_bias : bool, default=True
        Whether to add a bias ``b`` at the end; between the two steps it would be redundant.
    initializer : "auto" or callable (shape, rng) -> array, default="auto"
        Initializer of ``W_depth`` and ``W_point``; "auto" suits what follows each of them. ``b``
        starts at zero.

    Raises
    ------
    ValueError
        As in `Conv2D`.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output ``(n_samples, oh, ow, filters)``; learned
    ``W_depth`` ``(kh, kw, 1, channels * depth_multiplier)``, ``W_point``
    ``(1, 1, channels * depth_multiplier, filters)`` and ``b`` ``(filters,)``.

    Backward, with G the gradient of the output, is the chain rule through h:

    .. math:: \frac{\partial L}{\partial W^{point}_{00ef}} = \sum_{npq} h_{npqe} G_{npqf}, \quad
        \frac{\partial L}{\partial b_f} = \sum_{npq} G_{npqf}, \quad
        \frac{\partial L}{\partial h_{npqe}} = \sum_f W^{point}_{00ef} G_{npqf}

    and from there that of `DepthwiseConv2D`.

    References
    ----------
    Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import SeparableConv2D
    >>> layer = SeparableConv2D(1, kernel_size=1).build((1, 1, 2), dtype=np.float64)
    >>> layer.params["W_depth"][...] = [10, 100]
    >>> layer.params["W_point"][...] = 1
    >>> layer.forward(np.reshape([1.0, 2], (1, 1, 1, 2))).ravel().tolist()
    [210.0]
    >>> layer.backward(np.ones((1, 1, 1, 1))).ravel().tolist()
    [10.0, 100.0]
    """

    filters: int
    kernel_size: int | Pair
    _: KW_ONLY
    stride: int | Pair = 1
    padding: str | int | Pair = "valid"
    dilation: int | Pair = 1
    depth_multiplier: int = 1
    use_bias: bool = True
    initializer: str | Initializer = "auto"

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape)
        self.check(is_size(self.filters), "filters", "a positive integer")
        self.check(is_size(self.depth_multiplier), "depth_multiplier", "a positive integer")
        channels = input_shape[-1]
        windows = slide(self, input_shape[:-1], "kernel_size", "stride", "dilation")
        self.geometry = (windows.stride, windows.padding, windows.dilation, channels)
        between = channels * self.depth_multiplier
        point_init = self.resolve_initializer()
        depth_init = initializers.glorot_uniform if self.initializer == "auto" else point_init
        self.add_param("W_depth", (*windows.size, 1, between), by_group(depth_init, channels))
        self.add_param("W_point", (1, 1, between, self.filters), point_init)
        self._add_bias()
        return (*windows.outputs, self.filters)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        h = conv2d(x, self.params["W_depth"], None, *self.geometry)
        self.cache = x, h
        return conv2d(h, self.params["W_point"], self.params.get("b"))

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        x, h = self.cache
        conv2d_kernel_grad(h, grad_output, self.grads["W_point"])
        self._overwrite_bias_grad(grad_output)
        grad_h = conv2d_input_grad(grad_output, self.params["W_point"], h.shape)
        conv2d_kernel_grad(x, grad_h, self.grads["W_depth"], *self.geometry)
        if not self.needs_input_grad:
            return None
        return conv2d_input_grad(grad_h, self.params["W_depth"], x.shape, *self.geometry)

    def multiply_adds(self) -> int:
        """Depthwise, then 1 x 1: one product for every output and every weight it is made with."""
        kh, kw, _, between = self._declared["W_depth"].shape
        return math.prod(self.output_shape[:2]) * between * (kh * kw + self.filters)
