"""The position of a step, added to its features: attention does not know it otherwise."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from layerkit import initializers
from layerkit.kernels import add_rows_at
from layerkit.layer import Layer
from layerkit.layers._windows import check_spatial
from layerkit.parameters import is_size
from layerkit.sequences import Sequences, numbers
from layerkit.shapes import Shape


class PositionalEncoding(Layer):
    r"""Add sines and cosines of its position to every step.

    .. math:: y_{tc} = x_{tc} + p_{tc}, \qquad
              p_{t, 2i} = \sin\frac{t}{10000^{2i / d}}, \quad
              p_{t, 2i + 1} = \cos\frac{t}{10000^{2i / d}}

    For any shift s, :math:`p_{t + s}` is a rotation of :math:`p_t`, so that attention can learn to
    look s steps away. The layer has no parameters, and sequences may have any length.

    Raises
    ------
    ValueError
        If the input is no batch of sequences.

    Notes
    -----
    Input and output ``(n_samples, time, d)`` or rows of unequal length, t and c counted from 0. The
    values of p are in [-1, 1], so x should not be much smaller; the standard normal values of an
    `Embedding` are suitable.

    Backward: p does not depend on x, so the gradient passes unchanged.

    .. math:: \frac{\partial L}{\partial x} = \frac{\partial L}{\partial y}

    References
    ----------
    Vaswani et al., "Attention is all you need", NIPS 2017, arXiv:1706.03762.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import PositionalEncoding
    >>> PositionalEncoding().forward(np.zeros((1, 3, 2))).round(3).tolist()
    [[[0.0, 1.0], [0.841, 0.54], [0.909, -0.416]]]
    """

    takes_sequences = True

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape, n_axes=1)
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        table = sines(1 << _reach(x).bit_length(), x.shape[-1], x.dtype)  # few sizes, for the cache
        return _plus_place(x, table)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        return grad_output


@lru_cache(maxsize=16)
def sines(time: int, d: int, dtype: np.dtype) -> np.ndarray:
    """Return p of `PositionalEncoding`, an array (time, d) that is not to be changed."""
    pair = np.arange(d) // 2
    angle = np.arange(time)[:, None] / 10000.0 ** (2 * pair / d)
    table = np.where(np.arange(d) % 2, np.cos(angle), np.sin(angle)).astype(dtype)
    table.flags.writeable = False
    return table


class PositionalEmbedding(Layer):
    r"""Add a learned vector of its position to every step.

    .. math:: y_t = x_t + W_t

    Parameters
    ----------
    max_length : int
        Length of the longest sequence.

    Raises
    ------
    ValueError
        If ``max_length`` is not a positive integer, or a sequence is longer.

    Notes
    -----
    Input and output ``(n_samples, time, d)`` or rows of unequal length, with time up to
    ``max_length``. Learned ``W`` ``(max_length, d)``, initially normal with deviation 0.02 as in
    BERT and GPT: at first, all positions are almost alike.

    Backward, with G the gradient of the output; positions that no sequence reaches get zero:

    .. math:: \frac{\partial L}{\partial x} = G, \qquad
              \frac{\partial L}{\partial W_t} = \sum_n G_{nt}

    References
    ----------
    Gehring, Auli, Grangier, Yarats and Dauphin, "Convolutional sequence to sequence learning",
    ICML 2017, arXiv:1705.03122.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import PositionalEmbedding
    >>> layer = PositionalEmbedding(max_length=3).build((2, 1), dtype=np.float64)
    >>> layer.params["W"][...] = [[1], [2], [3]]
    >>> layer.forward([[[10.0], [20.0]]]).tolist()
    [[[11.0], [22.0]]]
    >>> _ = layer.backward([[[1.0], [5.0]]])
    >>> layer.grads["W"].tolist()
    [[1.0], [5.0], [0.0]]
    """

    takes_sequences = True

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape, n_axes=1)
        self.check(is_size(self.max_length), "max_length", "a positive integer")
        time, d = input_shape
        self.check_input(
            (time or 1) <= self.max_length,
            f"(n_samples, time, channels) with time <= {self.max_length}",
        )
        self.add_param("W", (self.max_length, d), initializers.normal(stddev=0.02))
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        self._check_reach(x)
        self.cache = x
        return _plus_place(x, self.params["W"])

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        x, grad = self.cache, self.grads["W"]
        if isinstance(x, Sequences):
            add_rows_at(numbers(grad_output), x.places, out=grad)
            return grad_output
        time = grad_output.shape[1]
        grad[:time] = grad_output.sum(axis=0)
        grad[time:] = 0
        return grad_output

    def _check_reach(self, x: np.ndarray) -> None:
        if _reach(x) > self.max_length:
            raise ValueError(
                f"in {self.where}: rows must have at most max_length={self.max_length} steps, "
                f"got {_reach(x)}"
            )


def _reach(x: np.ndarray) -> int:
    """Return how many steps the longest row has."""
    return int(x.lengths.max(initial=0)) if isinstance(x, Sequences) else x.shape[1]


def _plus_place(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Add to every step the row of the table at its position."""
    if isinstance(x, Sequences):
        return x.with_steps(x.steps + table[x.places])  # type: ignore[return-value]
    return x + table[: x.shape[1]]
