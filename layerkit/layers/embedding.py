"""Vectors for words, categories and other things that are numbered."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from layerkit import initializers
from layerkit.kernels import add_rows_at
from layerkit.layer import Layer
from layerkit.parameters import is_size
from layerkit.shapes import Shape

_CODES = (
    ": it looks up codes of categories, whole numbers such as those of "
    "sklearn.preprocessing.OrdinalEncoder; check_gradients needs some too, x=codes"
)


class Embedding(Layer):
    r"""A learned vector for every integer: a table looked up by row.

    .. math:: y_{i} = W_{x_i}

    The same as `Dense` without bias on one-hot vectors, without multiplying by zeros and ones.

    Parameters
    ----------
    num_embeddings : int
        Number of rows; the input holds integers from 0 to ``num_embeddings - 1``.
    dim : int
        Length of a vector.

    Raises
    ------
    ValueError
        If a value is not one of 0, ..., ``num_embeddings - 1``, or ``num_embeddings`` or ``dim`` is
        not a positive integer.

    Notes
    -----
    Input ``(n_samples, ...)`` of any rank, integers or floats with integer values, such as a column
    of a table; output ``(n_samples, ..., dim)``. Learned ``W`` ``(num_embeddings, dim)``, initially
    standard normal: the values have unit variance, as the initializers of the following layers
    assume and as standardised numbers have, which `Columns` puts beside them.

    Backward: a row gets the sum of the gradients of all positions where it was looked up. With S
    the matrix of one-hot rows and G the gradient of the output:

    .. math:: \frac{\partial L}{\partial W} = S^\top G, \qquad
              \frac{\partial L}{\partial W_k} = \sum_{i : x_i = k} G_i

    Integers have no derivative: the gradient of the input is zero. float32 cannot represent all
    integers beyond 16,777,216, so pass larger ones in an integer dtype.

    References
    ----------
    Bengio, Ducharme, Vincent and Jauvin, "A neural probabilistic language model", JMLR 3, 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import Embedding
    >>> layer = Embedding(3, 2).build((), dtype=np.float64)
    >>> layer.params["W"][...] = [[0, 1], [2, 3], [4, 5]]
    >>> layer.forward([2, 0, 2]).tolist()
    [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]
    >>> _ = layer.backward([[1, 0], [1, 1], [1, 0]])
    >>> layer.grads["W"].tolist()
    [[1.0, 1.0], [0.0, 0.0], [2.0, 0.0]]
    """

    too_many = "a row for padding has no argument of its own"
    stepwise = True

    def __init__(self, num_embeddings: int, dim: int) -> None:
        self.num_embeddings = num_embeddings
        self.dim = dim

    def setup(self, input_shape: Shape) -> Shape:
        self.check(is_size(self.num_embeddings), "num_embeddings", "a positive integer")
        self.check(is_size(self.dim), "dim", "a positive integer")
        self.add_param("W", (self.num_embeddings, self.dim), initializers.normal(stddev=1.0))
        return (*input_shape, self.dim)

    def convert_input(self, x: ArrayLike) -> np.ndarray:
        array = np.asarray(x)  # not in the network's dtype, which may be too short for integers
        return array if array.dtype.kind in "iuf" else super().convert_input(array)

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        index = self._as_index(x)
        self.cache = index
        return self.params["W"].take(index, axis=0)

    def _as_index(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # NaN and what is out of range differ from their index
            index = x.astype(np.intp)
        wrong = (index != x) | (index < 0) | (index >= self.num_embeddings)
        if wrong.any():
            place = np.unravel_index(wrong.argmax(), x.shape)
            raise ValueError(
                f"in {self.where}: expects integers from 0 to {self.num_embeddings - 1}, "
                f"got {x[place]} at {[int(i) for i in place]}"
                f"{_CODES if index[place] != x[place] else ''}"
            )
        return index

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        index, rows = self.cache, grad_output.reshape(-1, self.dim)
        add_rows_at(rows, index.ravel(), out=self.grads["W"])
        return np.zeros(index.shape, self.dtype) if self.needs_input_grad else None
