"""Global pooling: the largest or the mean of a channel, wherever it is."""

from __future__ import annotations

import numpy as np

from layerkit.kernels import mean_of_cells
from layerkit.layer import Layer
from layerkit.shapes import Shape


class GlobalAvgPool2D(Layer):
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

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) == 3, "(n_samples, height, width, channels)")
        return input_shape[-1:]

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x.shape
        n, height, width, channels = x.shape
        return mean_of_cells(x.reshape(n, height * width, channels))

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        _, height, width, _ = self.cache
        share = grad_output[:, None, None] / (height * width)
        return np.broadcast_to(share, self.cache).copy()


class GlobalAvgPool1D(Layer):
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
    As in `GlobalAvgPool2D`.

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

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) == 2, "(n_samples, time, channels)")
        return input_shape[-1:]

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self.cache = x.shape
        return mean_of_cells(x)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        share = grad_output[:, None] / self.cache[1]
        return np.broadcast_to(share, self.cache).copy()


class GlobalMaxPool2D(Layer):
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

    NaN wins over every number, so that divergence shows.

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

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) == 3, "(n_samples, height, width, channels)")
        return input_shape[-1:]

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        n, height, width, channels = x.shape
        y, argmax = _max_of_cells(x.reshape(n, height * width, channels))
        self.cache = x.shape, argmax
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        (n, height, width, channels), argmax = self.cache
        cells = _to_argmax(grad_output, argmax, (n, height * width, channels))
        return cells.reshape(n, height, width, channels)


class GlobalMaxPool1D(Layer):
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

    NaN wins over every number, so that divergence shows.

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

    def setup(self, input_shape: Shape) -> Shape:
        self.check_input(len(input_shape) == 2, "(n_samples, time, channels)")
        return input_shape[-1:]

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        y, argmax = _max_of_cells(x)
        self.cache = x.shape, argmax
        return y

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x_shape, argmax = self.cache
        return _to_argmax(grad_output, argmax, x_shape)


def _max_of_cells(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return maximum and first argmax of (n_samples, cells, channels) over the cells."""
    argmax = x.argmax(axis=1, keepdims=True)
    return np.take_along_axis(x, argmax, axis=1)[:, 0], argmax


def _to_argmax(grad: np.ndarray, argmax: np.ndarray, x_shape: Shape) -> np.ndarray:
    grad_input = np.zeros(x_shape, grad.dtype)
    np.put_along_axis(grad_input, argmax, grad[:, None], axis=1)
    return grad_input
