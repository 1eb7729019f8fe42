"""Scaled dot-product attention, for every head of every row, a tile of its matrix at a time.

The matrix of weights A = softmax(q kᵀ / √w) has time² entries a head, so it is never whole. Forward
keeps log Σ exp of each of its rows, and backward makes A anew from it::

    A = exp(q kᵀ / √w - log Σ exp),  y = (m A) v
    dv = (m A)ᵀ G,  dA = m G vᵀ,  dS = A (dA - G · y),  dq = dS k / √w,  dk = dSᵀ q / √w

with m the mask of dropout times its scale, and G · y of each step, which is Σ_j A_j dA_j.

Arguments::

    qkv                   (n_steps, 3 d): queries, keys and values of all heads side by side, and
                          all steps of all rows end to end
    lengths               how many steps each row has; a row sees itself only
    n_heads, causal       of how many heads, and whether a step sees none that come later
    keep, scale           which weights are kept, and what these are multiplied by: one boolean for
                          each weight of each head of each row, end to end, or None
    y, log_sums           (n_steps, d) and (n_steps, n_heads): what `attention` returned

References
----------
Vaswani et al., "Attention is all you need", NIPS 2017, arXiv:1706.03762.
Dao, Fu, Ermon, Rudra and Ré, "FlashAttention", NeurIPS 2022, arXiv:2205.14135.
"""

import math
from collections.abc import Iterator
from itertools import groupby

import numpy as np

from layerkit.kernels._numpy.activations import quietly
from layerkit.kernels.dispatch import compiled

# So many weights are there at a time: they stay in the cache.
TILE = 2**18


@compiled
@quietly
def attention(
    qkv: np.ndarray,
    lengths: np.ndarray,
    n_heads: int,
    causal: bool,
    keep: np.ndarray | None = None,
    scale: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return y, and log Σ exp of the scores that each step gives to those that it sees.

    >>> import numpy as np
    >>> q = k = np.zeros((2, 1)); v = np.array([[1.0], [3.0]])
    >>> attention(np.hstack([q, k, v]), np.array([2]), 1, causal=False)[0].tolist()
    [[2.0], [2.0]]
    >>> attention(np.hstack([q, k, v]), np.array([2]), 1, causal=True)[0].tolist()
    [[1.0], [2.0]]
    """
    y = np.empty((len(qkv), qkv.shape[1] // 3), qkv.dtype)
    log_sums = np.empty((len(qkv), n_heads), qkv.dtype)
    for steps, n_rows, mask in _chunks(lengths, n_heads, keep):
        q, k, v, out, log_sum = _by_head(n_rows, n_heads, steps, *_thirds(qkv), y, log_sums)
        for now, seen in _tiles(q.shape, causal):
            a = _scores(q[:, :, now], k[:, :, seen], causal)
            top = a.max(-1, keepdims=True)
            a -= top
            np.exp(a, out=a)
            total = a.sum(-1, keepdims=True)
            log_sum[:, :, now] = top + np.log(total)
            _drop(a, mask, now, seen, scale)
            out[:, :, now] = a @ v[:, :, seen] / total
    return y, log_sums


@compiled
@quietly
def attention_grad(
    grad: np.ndarray,
    qkv: np.ndarray,
    y: np.ndarray,
    log_sums: np.ndarray,
    lengths: np.ndarray,
    n_heads: int,
    causal: bool,
    keep: np.ndarray | None = None,
    scale: float = 1.0,
) -> np.ndarray:
    """Return dL/dqkv."""
    grad_qkv = np.zeros_like(qkv)
    width = y.shape[1] // n_heads
    grad_y = (grad * y).reshape(len(y), n_heads, width).sum(-1)  # G · y
    arrays = *_thirds(qkv), *_thirds(grad_qkv), grad, log_sums, grad_y
    for steps, n_rows, mask in _chunks(lengths, n_heads, keep):
        q, k, v, dq, dk, dv, g, log_sum, gy = _by_head(n_rows, n_heads, steps, *arrays)
        for now, seen in _tiles(q.shape, causal):
            a = _scores(q[:, :, now], k[:, :, seen], causal)
            a -= log_sum[:, :, now]
            np.exp(a, out=a)
            ds = g[:, :, now] @ v[:, :, seen].mT  # dA
            _drop(ds, mask, now, seen, scale)
            ds -= gy[:, :, now]
            ds *= a
            ds *= 1 / math.sqrt(q.shape[-1])
            _drop(a, mask, now, seen, scale)
            dv[:, :, seen] += a.mT @ g[:, :, now]
            dq[:, :, now] = ds @ k[:, :, seen]
            dk[:, :, seen] += ds.mT @ q[:, :, now]
    return grad_qkv


def _scores(q: np.ndarray, k: np.ndarray, causal: bool) -> np.ndarray:
    """Return q kᵀ / √w; -∞ where a step would see a later one, as the last of both are the same."""
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.mT
    if causal:
        n = q.shape[-2]
        scores[..., -n:] += np.triu(np.full((n, n), -np.inf, q.dtype), 1)
    return scores


def _drop(a: np.ndarray, mask: np.ndarray | None, now: slice, seen: slice, scale: float) -> None:
    """Multiply weights by their part of the mask, in place."""
    if mask is not None:
        a *= mask[:, :, now, seen]
        a *= scale


def _chunks(
    lengths: np.ndarray, n_heads: int, keep: np.ndarray | None
) -> Iterator[tuple[slice, int, np.ndarray | None]]:
    """Yield rows of one length that follow each other: their steps, how many, and their mask."""
    step = weight = 0
    for length, run in groupby(lengths.tolist()):
        left, weights = len(list(run)), n_heads * length**2
        while left and length:
            n_rows = min(left, max(1, TILE // weights))
            steps, stop = slice(step, step + n_rows * length), weight + n_rows * weights
            mask = None if keep is None else keep[weight:stop]
            if mask is not None:
                mask = mask.reshape(n_rows, n_heads, length, length)
            yield steps, n_rows, mask
            step, weight, left = steps.stop, stop, left - n_rows


def _thirds(qkv: np.ndarray) -> list[np.ndarray]:
    return np.split(qkv, 3, axis=1)


def _by_head(n_rows: int, n_heads: int, steps: slice, *arrays: np.ndarray) -> Iterator[np.ndarray]:
    """Views (row, head, time, what a head has of it) of some steps of arrays."""
    for array in arrays:
        part = array[steps]
        width = part.shape[1] // n_heads
        yield part.reshape(n_rows, -1, n_heads, width).transpose(0, 2, 1, 3)


def _tiles(shape: tuple[int, ...], causal: bool) -> Iterator[tuple[slice, slice]]:
    """Yield so many steps that ask at a time, and the steps that they see."""
    n_rows, n_heads, length, _ = shape
    n = max(1, TILE // (n_rows * n_heads * length))
    for start in range(0, length, n):
        stop = min(start + n, length)
        yield slice(start, stop), slice(0, stop if causal else length)
