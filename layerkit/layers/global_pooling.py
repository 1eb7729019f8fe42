"""Global pooling: the largest or the mean of a channel, wherever it is, or its last step."""

from __future__ import annotations

import math

import numpy as np

from layerkit.kernels import mean_of_cells
from layerkit.layer import Layer
from layerkit.layers._windows import check_spatial
from layerkit.sequences import Sequences, numbers
from layerkit.shapes import Shape


class _GlobalPool(Layer):
    """One number for every channel, of all cells of an image or steps of a sequence."""

    n_axes: int

    @property
    def takes_sequences(self) -> bool:  # type: ignore[override]
        """Whether it pools the steps of a sequence, not the cells of an image."""
        return self.n_axes == 1

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape, self.n_axes)
        return input_shape[-1:]


class _GlobalAvgPool(_GlobalPool):
    """What `GlobalAvgPool2D` and `GlobalAvgPool1D` compute."""

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        if isinstance(x, Sequences):
            sums = np.add.reduceat(x.steps, x.offsets[:-1]) if len(x) else x.steps
            return sums / x.lengths[:, None].astype(sums.dtype)
        return mean_of_cells(_cells(x))

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x = self.cache
        if isinstance(x, Sequences):
            share = grad_output / x.lengths[:, None].astype(grad_output.dtype)
            return x.with_steps(share.repeat(x.lengths, axis=0))  # type: ignore[return-value]
        n_cells = math.prod(x.shape[1:-1])
        share = grad_output[:, None] / n_cells
        return share.repeat(n_cells, axis=1).reshape(x.shape)


class _GlobalMaxPool(_GlobalPool):
    """What `GlobalMaxPool2D` and `GlobalMaxPool1D` compute."""

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        if isinstance(x, Sequences):
            at = np.array([row.argmax(axis=0) for row in x], int).reshape(len(x), -1)
            at += x.offsets[:-1, None]
            self.cache = x, at
            return np.take_along_axis(x.steps, at, axis=0)
        cells = _cells(x)
        argmax = cells.argmax(axis=1, keepdims=True)
        self.cache = x, argmax
        return np.take_along_axis(cells, argmax, axis=1)[:, 0]

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x, at = self.cache
        grad_input = np.zeros(numbers(x).shape, grad_output.dtype)
        if isinstance(x, Sequences):
            np.put_along_axis(grad_input, at, grad_output, axis=0)
            return x.with_steps(grad_input)  # type: ignore[return-value]
        np.put_along_axis(_cells(grad_input), at, grad_output[:, None], axis=1)
        return grad_input


class GlobalAvgPool2D(_GlobalAvgPool):
    r"""The mean of every channel over the whole image.

    .. math:: y_c = \frac{1}{h w} \sum_{uv} x_{uvc}

    Raises
    ------
    ValueError
        If the input is no batch of images.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output ``(n_samples, channels)``.
    Backward, with G the gradient of the output:

    .. math:: \frac{\partial L}{\partial x_{uvc}} = \frac{G_c}{h w}

    References
    ----------
    Lin, Chen and Yan, "Network in network", ICLR 2014, arXiv:1312.4400.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import GlobalAvgPool2D
    >>> pool = GlobalAvgPool2D()
    >>> pool.forward(np.reshape([1.0, 3, 5, 7], (1, 2, 2, 1))).tolist()
    [[4.0]]
    >>> pool.backward([[20.0]]).ravel().tolist()
    [5.0, 5.0, 5.0, 5.0]
    """

    n_axes = 2


class GlobalAvgPool1D(_GlobalAvgPool):
    r"""The mean of every channel over the whole sequence.

    .. math:: y_c = \frac{1}{T} \sum_t x_{tc}

    Raises
    ------
    ValueError
        If the input is no batch of sequences.

    Notes
    -----
    Input ``(n_samples, time, channels)``, output ``(n_samples, channels)``.
    Backward, with G the gradient of the output:

    .. math:: \frac{\partial L}{\partial x_{tc}} = \frac{G_c}{T}

    References
    ----------
    Lin, Chen and Yan, "Network in network", ICLR 2014, arXiv:1312.4400.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import GlobalAvgPool1D
    >>> pool = GlobalAvgPool1D()
    >>> pool.forward(np.reshape([1.0, 3, 5, 7], (1, 4, 1))).tolist()
    [[4.0]]
    >>> pool.backward([[20.0]]).ravel().tolist()
    [5.0, 5.0, 5.0, 5.0]
    """

    n_axes = 1


class GlobalMaxPool2D(_GlobalMaxPool):
    r"""The largest value of every channel over the whole image.

    .. math:: y_c = \max_{uv} x_{uvc}

    Raises
    ------
    ValueError
        If the input is no batch of images.

    Notes
    -----
    Input ``(n_samples, height, width, channels)``, output ``(n_samples, channels)``.
    Backward, with G the gradient of the output: it goes to the first of the largest cells in
    reading order.

    .. math:: \frac{\partial L}{\partial x_{uvc}} = G_c
        \; \text{where} \; (u, v) = \operatorname{argmax}(c), \text{ else } 0

    NaN counts as larger than every number, so that divergence shows.

    References
    ----------
    Oquab et al., "Is object localization for free?", CVPR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import GlobalMaxPool2D
    >>> pool = GlobalMaxPool2D()
    >>> pool.forward(np.reshape([1.0, 7, 5, 7], (1, 2, 2, 1))).tolist()
    [[7.0]]
    >>> pool.backward([[20.0]]).ravel().tolist()
    [0.0, 20.0, 0.0, 0.0]
    """

    n_axes = 2


class GlobalMaxPool1D(_GlobalMaxPool):
    r"""The largest value of every channel over the whole sequence.

    .. math:: y_c = \max_t x_{tc}

    Raises
    ------
    ValueError
        If the input is no batch of sequences.

    Notes
    -----
    Input ``(n_samples, time, channels)``, output ``(n_samples, channels)``.
    Backward, with G the gradient of the output: it goes to the first of the largest steps.

    .. math:: \frac{\partial L}{\partial x_{tc}} = G_c
        \; \text{where} \; t = \operatorname{argmax}(c), \text{ else } 0

    NaN counts as larger than every number, so that divergence shows.

    References
    ----------
    Collobert et al., "Natural language processing (almost) from scratch", JMLR 12, 2011.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import GlobalMaxPool1D
    >>> pool = GlobalMaxPool1D()
    >>> pool.forward(np.reshape([1.0, 7, 5, 7], (1, 4, 1))).tolist()
    [[7.0]]
    >>> pool.backward([[20.0]]).ravel().tolist()
    [0.0, 20.0, 0.0, 0.0]
    """

    n_axes = 1


def _cells(x: np.ndarray) -> np.ndarray:
    """View the cells of every image, or steps of every sequence, in one row."""
    return x.reshape(len(x), math.prod(x.shape[1:-1]), x.shape[-1])


class LastStep(Layer):
    r"""The last step of every row.

    .. math:: y = x_T

    Raises
    ------
    ValueError
        If the input is no batch of sequences.

    Notes
    -----
    Input ``(n_samples, time, channels)`` or rows of unequal length, output
    ``(n_samples, channels)``. Backward, with G the gradient of the output:

    .. math:: \frac{\partial L}{\partial x_t} = G \text{ at } t = T, \text{ else } 0

    References
    ----------
    Elman, "Finding structure in time", Cognitive Science 14, 1990.

    Examples
    --------
    >>> from layerkit import LastStep
    >>> LastStep().forward([[[1.0], [2.0]], [[3.0], [4.0]]]).tolist()
    [[2.0], [4.0]]
    """

    takes_sequences = True

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) == 2, "sequences (n_samples, time, channels)")
        return input_shape[1:]

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x
        return x.steps[x.offsets[1:] - 1] if isinstance(x, Sequences) else x[:, -1].copy()

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x = self.cache
        grad_input = np.zeros(numbers(x).shape, grad_output.dtype)
        if not isinstance(x, Sequences):
            grad_input[:, -1] = grad_output
            return grad_input
        grad_input[x.offsets[1:] - 1] = grad_output
        return x.with_steps(grad_input)  # type: ignore[return-value]
