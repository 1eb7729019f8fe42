"""Attention: steps of a sequence that look at each other, and the transformer's block around it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from layerkit import initializers
from layerkit.initializers import by_group
from layerkit.kernels import (
    add_row,
    attention,
    attention_grad,
    keep_mask,
    matmul,
    softmax,
    sum_rows,
)
from layerkit.layer import Layer
from layerkit.layers._windows import check_spatial
from layerkit.layers.branches import Residual
from layerkit.layers.containers import Sequential
from layerkit.layers.dense import Dense
from layerkit.layers.dropout import Dropout
from layerkit.layers.normalization import LayerNorm
from layerkit.layers.rectifiers import ReLU
from layerkit.parameters import is_number, is_size
from layerkit.sequences import Sequences, as_sequences, numbers, steps_like
from layerkit.shapes import Shape, batch_shape
from layerkit.tree import settled_by_build


class MultiHeadAttention(Layer):
    r"""Self-attention: each step becomes a mean of all, weighted by how well keys fit its query.

    .. math:: [q, k, v] = x W_{qkv} + b_{qkv}, \qquad
              A = \operatorname{softmax}\Big(\frac{q k^\top}{\sqrt{w}}\Big), \qquad
              y = [h_1, h_2, \dots] W_o + b_o, \quad h = A v

    Each head computes its own A and h from its own w = d / num_heads columns of q, k and v.

    Parameters
    ----------
    num_heads : int
        How many heads; must divide d, the number of features.
    causal : bool, default=False
        Let a step see none that come later: :math:`A_{ij} = 0` for j > i. For networks that predict
        the next step.
    rate : float in [0, 1), default=0.0
        p, the probability of dropping a weight in training; then :math:`h = m A v / (1 - p)`, with
        a mask m as in `Dropout`.

    Raises
    ------
    ValueError
        If ``num_heads`` does not divide the number of features, or ``rate`` is out of range.
    RuntimeError
        In training with a ``rate`` before ``build``, which seeds the layer.

    Notes
    -----
    Input and output ``(n_samples, time, d)`` or rows of unequal length, each of which looks at
    itself only. Learned ``W_qkv`` ``(d, 3 d)``, ``b_qkv`` ``(3 d,)``,
    ``W_o`` ``(d, d)`` and ``b_o`` ``(d,)``; the columns of the first two are those of q, k and v,
    each head by head. The biases start at zero, and weight decay leaves them alone.

    Backward, with G the gradient of y and m = 1 without dropout:

    .. math:: \frac{\partial L}{\partial W_o} = h^\top G, \quad
              \frac{\partial L}{\partial b_o} = \sum G, \quad
              \frac{\partial L}{\partial h} = G W_o^\top

    for each head, where the softmax takes from each row of :math:`\partial L / \partial A` its mean
    under A, which is :math:`h_i \cdot \partial L / \partial h_i`:

    .. math:: \frac{\partial L}{\partial v} = \Big(\frac{m A}{1 - p}\Big)^{\!\top}
                  \frac{\partial L}{\partial h}, \quad
              \frac{\partial L}{\partial A} =
                  \frac{m}{1 - p} \frac{\partial L}{\partial h} v^\top, \quad
              S_{ij} = A_{ij} \Big(\frac{\partial L}{\partial A_{ij}} -
                  h_i \cdot \frac{\partial L}{\partial h_i}\Big)

    .. math:: \frac{\partial L}{\partial q} = \frac{S k}{\sqrt{w}}, \quad
              \frac{\partial L}{\partial k} = \frac{S^\top q}{\sqrt{w}}

    and, with Q the gradients of q, k and v side by side,

    .. math:: \frac{\partial L}{\partial W_{qkv}} = x^\top Q, \quad
              \frac{\partial L}{\partial b_{qkv}} = \sum Q, \quad
              \frac{\partial L}{\partial x} = Q W_{qkv}^\top

    A is never there as a whole, but made tile by tile, and anew in backward: memory grows with the
    length of a sequence, not with its square (but for m, a byte a weight). Exponents are at most 0,
    so no score is too large. Nothing tells steps apart by their place: add `PositionalEncoding` or
    `PositionalEmbedding` before.

    References
    ----------
    Vaswani et al., "Attention is all you need", NIPS 2017, arXiv:1706.03762.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import MultiHeadAttention
    >>> layer = MultiHeadAttention(num_heads=1, causal=True).build((3, 1), dtype=np.float64)
    >>> layer.params["W_qkv"][...] = [[0, 0, 1]]
    >>> layer.params["W_o"][...] = 1
    >>> layer.forward([[[1.0], [3.0], [8.0]]]).tolist()  # no query prefers a key: means so far
    [[[1.0], [2.0], [4.0]]]
    >>> layer.backward([[[0.0], [0.0], [3.0]]]).tolist()
    [[[1.0], [1.0], [1.0]]]
    """

    takes_sequences = True
    weight_init = staticmethod(initializers.glorot_uniform)

    def __init__(self, num_heads: int, *, causal: bool = False, rate: float = 0.0) -> None:
        self.num_heads = num_heads
        self.causal = causal
        self.rate = rate

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape, n_axes=1)
        d = input_shape[-1]
        _check_heads(self, d)
        self.add_param("W_qkv", (d, 3 * d), by_group(initializers.glorot_uniform, 3))
        self.add_param("b_qkv", (3 * d,), initializers.zeros, decay=False)
        self.add_param("W_o", (d, d), self.auto_initializer())
        self.add_param("b_o", (d,), initializers.zeros, decay=False)
        return input_shape

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        rows = Sequences.of(x)
        qkv = self._queries_keys_values(rows.steps)
        how = rows.lengths, self.num_heads, self.causal, *self._mask(rows.lengths, training)
        h, log_sums = attention(qkv, *how)
        self.cache = x, rows.steps, qkv, h, log_sums, how
        y = matmul(h, self.params["W_o"])
        add_row(y, self.params["b_o"])
        return steps_like(x, y)

    def backward(self, grad_output: np.ndarray) -> np.ndarray | None:
        x, steps, qkv, h, log_sums, how = self.cache
        grad = numbers(grad_output).reshape(h.shape)
        matmul(h.T, grad, out=self.grads["W_o"])
        sum_rows(grad, out=self.grads["b_o"])
        grad_h = matmul(grad, self.params["W_o"].T)
        grad_qkv = attention_grad(grad_h, qkv, h, log_sums, *how)
        matmul(steps.T, grad_qkv, out=self.grads["W_qkv"])
        sum_rows(grad_qkv, out=self.grads["b_qkv"])
        if not self.needs_input_grad:
            return None
        return steps_like(x, matmul(grad_qkv, self.params["W_qkv"].T))

    def _queries_keys_values(self, steps: np.ndarray) -> np.ndarray:
        qkv = matmul(steps, self.params["W_qkv"])
        add_row(qkv, self.params["b_qkv"])
        return qkv

    def _mask(self, lengths: np.ndarray, training: bool) -> tuple[np.ndarray | None, float]:
        if not training or self.rate == 0:
            return None, 1.0
        n_weights = self.num_heads * int((lengths**2).sum())
        keep, probability = keep_mask(self.rng, self.rate, (n_weights,))
        return keep, 1 / probability

    def weights(self, x: np.ndarray) -> list[np.ndarray]:
        """Return A: how much each step looks at each, itself included.

        Parameters
        ----------
        x : array of shape (n_samples, time, d) or rows of unequal length
            As for `forward`.

        Returns
        -------
        A : list of ndarray of shape (num_heads, time, time)
            One for each row, without dropout. ``A[n][h, i, j]`` is how much step i takes of step j;
            over j they add up to 1.
        """
        return [softmax(scores) for scores in self.scores(x)]

    def scores(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the scores, of which the softmax is A: -∞ where a step is not looked at.

        Parameters
        ----------
        x : array of shape (n_samples, time, d) or rows of unequal length
            As for `forward`.

        Returns
        -------
        scores : list of ndarray of shape (num_heads, time, time)
            One for each row.
        """
        d, x = len(self.params["W_qkv"]), as_sequences(x)
        rows = x if isinstance(x, Sequences) else Sequences.from_array(np.asarray(x))
        if rows.steps.shape[1:] != (d,):
            raise ValueError(
                f"in {self.where}: expects {batch_shape(self.input_shape)}, got {np.shape(x)}"
            )
        return [self._scores_of(row) for row in rows.with_steps(self.convert_input(rows.steps))]

    def _scores_of(self, row: np.ndarray) -> np.ndarray:
        qkv = self._queries_keys_values(row)
        q, k, _ = qkv.reshape(len(row), 3, self.num_heads, -1).transpose(1, 2, 0, 3)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        if self.causal:
            scores[:, np.triu(np.ones((len(row), len(row)), bool), 1)] = -np.inf
        return scores

    def multiply_adds(self) -> int:
        """Four products with d x d weights, and two in which each pair of steps meets."""
        time, d = self.input_shape
        time = time or 1  # of one step where their number is open
        pairs = time * (time + 1) // 2 if self.causal else time**2
        return 4 * time * d**2 + 2 * pairs * d


def _check_heads(layer: Any, d: int) -> None:
    """Refuse invalid hyper-parameters of attention to d features."""
    ok = is_size(layer.num_heads) and d % layer.num_heads == 0
    layer.check(ok, "num_heads", f"a positive integer that divides {d} features")
    layer.check(isinstance(layer.causal, bool | np.bool_), "causal", "True or False")
    ok = is_number(layer.rate) and 0 <= layer.rate < 1
    layer.check(ok, "rate", "a probability of dropping, at least 0 and less than 1")


class TransformerEncoderBlock(Layer):
    r"""Attention and a small network for each step, each normalised before and added to its input.

    .. math:: z = x + \operatorname{drop}(\operatorname{attend}(\operatorname{norm}(x))), \qquad
              y = z + \operatorname{drop}(W_2 \operatorname{drop}(
                  \operatorname{relu}(W_1 \operatorname{norm}(z))))

    A container of `Residual`, `Sequential`, `LayerNorm`, `MultiHeadAttention`, `Dropout`, `Dense`
    and `ReLU`: PyTorch's ``nn.TransformerEncoderLayer(norm_first=True)``. The norm comes first,
    because then the gradient of a deep stack reaches its first block through the sums alone, and
    trains without warming up (Xiong et al.); `ReLU`, as in the paper: a GELU takes several times as
    long and is worth little at this size. For a block with other parts write down the Sequential.

    Parameters
    ----------
    num_heads : int
        As in `MultiHeadAttention`; must divide the number of features.
    units : int
        Width of the hidden layer; 4 times that of the input is common.
    rate : float in [0, 1), default=0.1
        The probability of dropping, of all dropouts: of weights of attention, hidden units, and
        what is added.
    causal : bool, default=False
        Let a step see none that come later.

    Raises
    ------
    ValueError
        If a parameter is invalid.

    Notes
    -----
    Input and output ``(n_samples, time, d)`` or rows of unequal length. The arrays are those of
    the parts: ``attention``, a `Residual`, and ``feed_forward``, another. Hyper-parameters reach
    them at ``build``.

    Backward is that of the parts in reverse, with A the function of attention, F that of the small
    network, and G the gradient of y:

    .. math:: G_z = G + \Big(\frac{\partial F}{\partial z}\Big)^{\!\top} G, \qquad
              \frac{\partial L}{\partial x} =
              G_z + \Big(\frac{\partial A}{\partial x}\Big)^{\!\top} G_z

    References
    ----------
    Vaswani et al., "Attention is all you need", NIPS 2017, arXiv:1706.03762.
    Xiong et al., "On layer normalization in the transformer architecture", ICML 2020,
    arXiv:2002.04745.

    Examples
    --------
    >>> import numpy as np
    >>> from layerkit import TransformerEncoderBlock
    >>> block = TransformerEncoderBlock(num_heads=2, units=16).build((5, 4), random_state=0)
    >>> block.forward(np.ones((3, 5, 4)), training=True).shape
    (3, 5, 4)
    >>> [name for name, _ in block.children()], block.n_params
    (['attention', 'feed_forward'], 244)
    """

    takes_sequences = True
    weight_init = staticmethod(initializers.glorot_uniform)
    attention: Residual = settled_by_build("attention")
    feed_forward: Residual = settled_by_build("feed_forward")

    def __init__(
        self, num_heads: int, units: int, *, rate: float = 0.1, causal: bool = False
    ) -> None:
        self.num_heads = num_heads
        self.units = units
        self.rate = rate
        self.causal = causal
        attend = MultiHeadAttention(num_heads, causal=causal, rate=rate)
        hidden = [Dense(units), ReLU(), Dropout(rate)]
        narrow = Dense(units)  # of the input's width, once that is known
        self.attention = Residual(Sequential([LayerNorm(), attend, Dropout(rate)]))
        self.feed_forward = Residual(Sequential([LayerNorm(), *hidden, narrow, Dropout(rate)]))

    def children(self) -> list[tuple[str, Layer]]:
        return [("attention", self.attention), ("feed_forward", self.feed_forward)]

    def setup(self, input_shape: Shape) -> Shape:
        check_spatial(self, input_shape, n_axes=1)
        _check_heads(self, input_shape[-1])
        self.check(is_size(self.units), "units", "a positive integer")
        self._hand_down(input_shape[-1])
        for name, part in self.children():
            part.take_place(name, None)
            part.declare(input_shape)
        return input_shape

    def _hand_down(self, d: int) -> None:
        """Give the parts the hyper-parameters, which may have been set anew, and their width."""
        chains: Any = self.attention.body, self.feed_forward.body
        (_, attend, drop), (_, widen, _, drop_hidden, narrow, drop_output) = chains
        attend.num_heads, attend.causal = self.num_heads, self.causal
        widen.units, narrow.units = self.units, d
        for layer in (attend, drop, drop_hidden, drop_output):
            layer.rate = self.rate
        for layer in (*chains[0], *chains[1]):
            layer.handed_down_by = self.where
        if not self.trainable:
            self.trainable = False  # of a copy whose parts are new

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        z = self.attention.forward(x, training)
        return self.feed_forward.forward(z, training)

    def backward(self, grad_output: np.ndarray) -> np.ndarray:
        grad_z = self.feed_forward.backward(grad_output)
        return self.attention.backward(grad_z)

    def infer(self, x: np.ndarray) -> np.ndarray:
        return self.feed_forward.infer(self.attention.infer(x))
