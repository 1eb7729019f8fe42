"""Convolutions: the same small weights at every place of an image or a sequence."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np

from layerkit import initializers
from layerkit.initializers import Initializer, by_group
from layerkit.kernels import (
    Padding,
    Pair,
    conv2d,
    conv2d_input_grad,
    conv2d_kernel_grad,
    sum_rows,
)
from layerkit.layer import Layer
from layerkit.layers._windows import check_spatial, slide, slide_back
from layerkit.parameters import is_flag, is_size
from layerkit.sequences import Sequences
from layerkit.shapes import Shape
from layerkit.tree import settled_by_build

ALGORITHMS = ("auto", "direct", "winograd")
Geometry = tuple[Pair, Padding, Pair, int]  # stride, padding, dilation, groups: for the kernels


class Convolution(Layer):
    """What all convolutions share: a kernel that slides, filters and their biases."""

    too_many = "PyTorch's Conv2d(3, 16, 5) is Conv2D(16, 5): build counts the input's channels"
    threaded = True
    weight_init = staticmethod(initializers.glorot_uniform)
    filters: int
    kernel_size: int | Pair
    use_bias: bool
    geometry: Geometry = settled_by_build("geometry")

    def _add_bias(self) -> None:
        """Declare one bias per filter, if the layer has biases."""
        self.check(is_flag(self.use_bias), "use_bias", "True or False")
        if self.use_bias:
            self.add_param("b", (self.filters,), initializers.zeros, decay=False)

    def _overwrite_bias_grad(self, grad_output: np.ndarray) -> None:
        """Sum the gradient over samples and places, if the layer has biases."""
        if self.use_bias:
            sum_rows(grad_output.reshape(-1, self.filters), self.grads["b"])


@dataclass(eq=False, repr=False)  # for its __init__, which stores the hyper-parameters
class _GroupedConvolution(Convolution):
    """What convolutions over one and over two axes share."""

    filters: int
    kernel_size: int | Pair
    _: KW_ONLY
    stride: int | Pair = 1
    padding: str | int | Pair = "valid"
    dilation: int | Pair = 1
    groups: int = 1
    use_bias: bool = True
    initializer: str | Initializer = "auto"

    n_axes: ClassVar[int]

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape, self.n_axes)
        filters, groups, channels = self.filters, self.groups, input_shape[-1]
        self.check(is_size(filters), "filters", "a positive integer")
        self.check(
            is_size(groups) and channels % groups == 0 and filters % groups == 0,
            "groups",
            f"a positive integer that divides {channels} channels and {filters} filters",
        )
        causal = self.n_axes == 1  # of the axes of an image none has a direction
        spatial = tuple(1 if n is None else n for n in input_shape[:-1])  # one step of any number
        windows = slide(self, spatial, "kernel_size", "stride", "dilation", causal)
        self.geometry = (windows.stride, windows.padding, windows.dilation, groups)
        shape = (*windows.size[-self.n_axes :], channels // groups, filters)
        self.add_param("W", shape, by_group(self.resolve_initializer(), groups))
        self._add_bias()
        outputs = (None,) if None in input_shape else windows.outputs[-self.n_axes :]
        return (*outputs, filters)

    def multiply_adds(self) -> int:
        """One product for every output and every weight it is made with."""
        places = math.prod(n or 1 for n in self.output_shape)  # one step where their number is open
        return places * math.prod(self._declared["W"].shape[:-1])


@dataclass(eq=False, repr=False, kw_only=True)
class Conv2D(_GroupedConvolution):
    r"""Two-dimensional convolution (cross-correlation, as in every neural network library).

    .. math:: y_{pqf} = b_f + \sum_{ijc} x_{p s + i d - P,\; q s + j d - P,\; c}\, W_{ijcf}

    with stride s, dilation d and P cells of zero padding before the first.

    Parameters
    ----------
    filters : int
        Number of output channels, at least 1.
    kernel_size : int or pair of int (height, width)
        Size of the kernel, at least 1.
    stride : int or pair of int (height, width), default=1
        Step from one position of the kernel to the next, at least 1.
    padding : {"valid", "same"}, int or pair of int (height, width), default="valid"
        Zeros around the image. "valid": none. "same": as many as give ``ceil(n / stride)`` outputs,
        an odd one at the bottom and on the right. A number: that many on both sides.
    dilation : int or pair of int (height, width), default=1
        Distance between neighbouring weights of the kernel, at least 1.
    groups : int, default=1
        Number of groups into which channels and filters are divided; each group of filters reads
        its own group of channels. Must divide both.
    use_bias : bool, default=True
        Whether to add a bias ``b``.
    initializer : "auto" or callable (shape, rng) -> array, default="auto"
        Initializer of ``W``, called for each group; "auto" suits the activation that follows. ``b``
        starts at zero.
    algorithm : {"auto", "direct", "winograd"}, default="auto"
        "direct" sums as written above. "winograd" needs 4 times fewer multiplications for 3 x 3
        kernels and 2.8 times fewer for 5 x 5, with relative errors of about 1e-5 in float32, for
        stride and dilation 1, one group and a padding smaller than the kernel; elsewhere it is
        direct. "auto" uses it in float32 where it is faster, never in float64.

    Raises
    ------
    ValueError
        If a parameter is invalid, the groups do not divide channels and filters, or the padded
        image is smaller than the kernel.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output ``(n_samples, oh, ow, filters)`` with
    ``oh = floor((height + padding - dilation (kh - 1) - 1) / stride) + 1``. Learned ``W``
    ``(kh, kw, channels / groups, filters)`` and ``b`` ``(filters,)``, which is exempt from weight
    decay.

    Backward, with G the gradient of the output:

    .. math:: \frac{\partial L}{\partial W_{ijcf}} = \sum_{npq} x_{n,ps+id-P,qs+jd-P,c} G_{npqf},
        \quad \frac{\partial L}{\partial b_f} = \sum_{npq} G_{npqf},
        \quad \frac{\partial L}{\partial x_{nuvc}} = \sum_{ijf} W_{ijcf} G_{npqf}

    where the last sum runs over the outputs p, q with ``ps + id - P = u`` and ``qs + jd - P = v``:
    for stride 1 it is a convolution of G with the flipped kernel.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 86, 1998.
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
    Lavin and Gray, "Fast algorithms for convolutional neural networks", arXiv:1509.09308.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Conv2D
    >>> edges = Conv2D(1, kernel_size=(1, 2)).build((1, 4, 1), dtype=np.float64)
    >>> edges.params["W"][...] = np.reshape([-1, 1], (1, 2, 1, 1))
    >>> edges.forward(np.reshape([0.0, 0, 5, 5], (1, 1, 4, 1))).ravel().tolist()
    [0.0, 5.0, 0.0]
    >>> edges.backward(np.reshape([0.0, 1, 0], (1, 1, 3, 1))).ravel().tolist()
    [0.0, -1.0, 1.0, 0.0]
    """

    algorithm: str = "auto"
    n_axes = 2

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape)
        self.check(self.algorithm in ALGORITHMS, "algorithm", '"auto", "direct" or "winograd"')
        return super().setup(input_shape)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        return conv2d(x, self.params["W"], self.params.get("b"), *self.geometry, self.algorithm)

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        return self.differentiate(self.cache, grad_output)

    def differentiate(self, x: np.ndarray, grad_output: np.ndarray) -> np.ndarray | None:
        """Compute what `backward` does, for an input that is passed instead of cached.

        Parameters
        ----------
        x : ndarray of shape (n_samples, height, width, channels)
            The input.
        grad_output : ndarray of shape (n_samples, oh, ow, filters)
            Gradient with respect to the output.

        Returns
        -------
        grad_input : ndarray or None
            Gradient with respect to x; None where `needs_input_grad` is False.
        """
        conv2d_kernel_grad(x, grad_output, self.grads["W"], *self.geometry, self.algorithm)
        self._overwrite_bias_grad(grad_output)
        if not self.needs_input_grad:
            return None
        W = self.params["W"]
        return conv2d_input_grad(grad_output, W, x.shape, *self.geometry, self.algorithm)


@dataclass(eq=False, repr=False)
class Conv1D(_GroupedConvolution):
    r"""One-dimensional convolution over a sequence: `Conv2D` on an image of height 1.

    .. math:: y_{tf} = b_f + \sum_{ic} x_{t s + i d - P,\; c}\, W_{icf}

    Parameters
    ----------
    filters : int
        Number of output channels, at least 1.
    kernel_size : int
        Length of the kernel, at least 1.
    stride : int, default=1
        Steps from one position of the kernel to the next, at least 1.
    padding : {"valid", "same", "causal"} or int, default="valid"
        Zeros around the sequence. "same" and "causal" give ``ceil(time / stride)`` outputs;
        "causal" puts all the zeros in front, so that none depends on a later step.
    dilation : int, default=1
        Distance between neighbouring weights of the kernel, at least 1.
    groups : int, default=1
        As in `Conv2D`.
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
    Input ``(n_samples, time, channels)``, output ``(n_samples, steps, filters)`` with
    ``steps = floor((time + padding - dilation (k - 1) - 1) / stride) + 1``. With "same" or
    "causal" and stride 1 it also takes rows of unequal length, each padded by itself. Learned ``W``
    ``(k, channels / groups, filters)`` and ``b`` ``(filters,)``, which is exempt from weight decay.

    Backward, with G the gradient of the output:

    .. math:: \frac{\partial L}{\partial W_{icf}} = \sum_{nt} x_{n,ts+id-P,c} G_{ntf}, \quad
        \frac{\partial L}{\partial b_f} = \sum_{nt} G_{ntf}, \quad
        \frac{\partial L}{\partial x_{nuc}} = \sum_{if,\; ts+id-P=u} W_{icf} G_{ntf}

    References
    ----------
    Waibel et al., "Phoneme recognition using time-delay neural networks", IEEE ASSP 37, 1989.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Conv1D
    >>> average = Conv1D(1, kernel_size=2, stride=2).build((4, 1), dtype=np.float64)
    >>> average.params["W"][...] = 0.5
    >>> average.forward(np.reshape([1.0, 3, 5, 7], (1, 4, 1))).ravel().tolist()
    [2.0, 6.0]
    >>> average.backward(np.reshape([1.0, 10], (1, 2, 1))).ravel().tolist()
    [0.5, 0.5, 5.0, 5.0]
    """

    n_axes = 1

    @property
    def takes_sequences(self) -> bool:  # type: ignore[override]
        """Whether there is an output for each step, so that a row of any length has a result."""
        return self.padding in ("same", "causal") and self.stride == 1

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        image = self._end_to_end(x) if isinstance(x, Sequences) else x[:, None]
        self.cache = x, image
        y = conv2d(image, self.params["W"][None], self.params.get("b"), *self.geometry)
        return self._by_row(x, y) if isinstance(x, Sequences) else y[:, 0]

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        x, image = self.cache
        ragged = isinstance(x, Sequences)
        grad = self._end_to_end(grad_output) if ragged else grad_output[:, None]
        conv2d_kernel_grad(image, grad, self.grads["W"][None], *self.geometry)
        self._overwrite_bias_grad(grad)
        if not self.needs_input_grad:
            return None
        grad_input = conv2d_input_grad(grad, self.params["W"][None], image.shape, *self.geometry)
        return self._by_row(x, grad_input) if ragged else grad_input[:, 0]

    def _end_to_end(self, rows: Any) -> np.ndarray:
        """Lay rows of unequal length into one image, as many zeros apart as padding is wide."""
        gaps = self._gap() * (len(rows) - 1)
        image = np.zeros((1, 1, len(rows.steps) + max(gaps, 0), rows.shape[-1]), rows.dtype)
        image[0, 0, self._columns(rows)] = rows.steps
        return image

    def _by_row(self, rows: Sequences, image: np.ndarray) -> np.ndarray:
        """Take the steps of rows of unequal length out of the image that holds them."""
        return rows.with_steps(image[0, 0, self._columns(rows)])  # type: ignore[return-value]

    def _columns(self, rows: Sequences) -> np.ndarray:
        """Where in the image each step stands."""
        before = np.repeat(np.arange(len(rows)), rows.lengths)
        return np.arange(len(rows.steps)) + self._gap() * before

    def _gap(self) -> int:
        return sum(self.geometry[1][1])


@dataclass(eq=False, repr=False)
class ConvTranspose2D(Convolution):
    r"""Transposed convolution: the linear map of `Conv2D` backwards, from its output to its input.

    .. math:: y_{uvf} = b_f + \sum_{ijc} x_{pqc} W_{ijcf}, \quad
        p s + i d - P = u, \; q s + j d - P = v

    Each input cell places its multiple of the kernel at ``stride`` times its own position, and
    overlapping copies are added: the image grows by the factor ``stride``.

    Parameters
    ----------
    filters : int
        Number of output channels, at least 1.
    kernel_size : int or pair of int (height, width)
        Size of the kernel, at least 1.
    stride : int or pair of int (height, width), default=1
        Step from one copy of the kernel to the next, at least 1.
    padding : {"valid", "same"}, int or pair of int (height, width), default="valid"
        Cells removed from the result. "valid": none; "same": as many as leave ``stride * n``, an
        odd one at the bottom and on the right (where the kernel is smaller than the stride, zeros
        are added instead). A number: that many on both sides.
    output_padding : int or pair of int (height, width), default=0
        Additional rows and columns at the bottom and on the right, fewer than ``stride``: a strided
        `Conv2D` maps several sizes to one, and this chooses among them. 0 with "same".
    dilation : int or pair of int (height, width), default=1
        Distance between neighbouring weights of the kernel, at least 1.
    use_bias : bool, default=True
        Whether to add a bias ``b``.
    initializer : "auto" or callable (shape, rng) -> array, default="auto"
        Initializer of ``W``; "auto" suits the activation that follows. ``b`` starts at zero.

    Raises
    ------
    ValueError
        If a parameter is invalid, or the padding leaves nothing of the result.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output ``(n_samples, oh, ow, filters)`` with
    ``oh = (height - 1) stride + dilation (kh - 1) + 1 - 2 padding + output_padding``. Learned ``W``
    ``(kh, kw, channels, filters)`` and ``b`` ``(filters,)``, which is exempt from weight decay. A
    kernel size that is a multiple of the stride avoids checkerboard patterns (Odena et al., 2016).

    Backward, with G the gradient of the output and u, v as above, is the forward of `Conv2D`:

    .. math:: \frac{\partial L}{\partial x_{npqc}} = \sum_{ijf} W_{ijcf} G_{nuvf}, \quad
        \frac{\partial L}{\partial W_{ijcf}} = \sum_{npq} x_{npqc} G_{nuvf}, \quad
        \frac{\partial L}{\partial b_f} = \sum_{nuv} G_{nuvf}

    References
    ----------
    Zeiler et al., "Deconvolutional networks", CVPR 2010.
    Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import ConvTranspose2D
    >>> spread = ConvTranspose2D(1, kernel_size=(1, 3), stride=2).build((1, 2, 1), dtype=np.float64)
    >>> spread.params["W"][...] = np.reshape([1, 2, 1], (1, 3, 1, 1))
    >>> spread.forward(np.reshape([1.0, 10], (1, 1, 2, 1))).ravel().tolist()
    [1.0, 2.0, 11.0, 20.0, 10.0]
    >>> spread.backward(np.reshape([0.0, 0, 1, 0, 0], (1, 1, 5, 1))).ravel().tolist()
    [1.0, 1.0]
    """

    filters: int
    kernel_size: int | Pair
    _: KW_ONLY
    stride: int | Pair = 1
    padding: str | int | Pair = "valid"
    output_padding: int | Pair = 0
    dilation: int | Pair = 1
    use_bias: bool = True
    initializer: str | Initializer = "auto"

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape)
        self.check(is_size(self.filters), "filters", "a positive integer")
        windows = slide_back(self, input_shape[:-1])
        self.geometry = (windows.stride, windows.padding, windows.dilation, 1)
        shape = (*windows.size, input_shape[-1], self.filters)
        self.add_param("W", shape, self.resolve_initializer())
        self._add_bias()
        return (*windows.outputs, self.filters)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        y_shape = (len(x), *self.output_shape)
        y = conv2d_input_grad(x, self.params["W"].swapaxes(2, 3), y_shape, *self.geometry)
        if self.use_bias:
            y += self.params["b"]
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        x = self.cache
        conv2d_kernel_grad(grad_output, x, self.grads["W"].swapaxes(2, 3), *self.geometry)
        self._overwrite_bias_grad(grad_output)
        if not self.needs_input_grad:
            return None
        return conv2d(grad_output, self.params["W"].swapaxes(2, 3), None, *self.geometry)

    def multiply_adds(self) -> int:
        """One product for every input and every weight it is multiplied with."""
        kh, kw, _, filters = self._declared["W"].shape
        return math.prod(self.input_shape) * kh * kw * filters
