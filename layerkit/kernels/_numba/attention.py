"""Attention, each head of each row on a processor of its own; NumPy's version says what it does.

A tile of A and of its gradient stays in the cache between the products, which are BLAS's, and what
lies between those, the softmax and its derivative with the mask, is one pass over it.
"""

import math

import numpy as np

from layerkit.kernels._numba import exponential
from layerkit.kernels._numba.activations import largest_of
from layerkit.kernels._numba.blas import addresses, multiply_any
from layerkit.kernels._numba.compile import SINGLE, contiguous, for_dtypes, inline, jit
from layerkit.kernels._numba.threads import in_parts
from layerkit.kernels._numpy import attention as reference
from layerkit.kernels.blas import one_blas_thread
from layerkit.kernels.dispatch import in_numpy
from layerkit.kernels.parts import PASS

# So many weights are there at a time: 128 KB of them, and as much of their gradient.
TILE = 2**15
_NOTHING = np.empty(0, np.uint8)


@for_dtypes(SINGLE, reference)
def attention(qkv, lengths, n_heads, causal, keep=None, scale=1.0):
    blas = addresses(qkv.dtype)
    if blas is None:
        return in_numpy(reference.attention)(qkv, lengths, n_heads, causal, keep, scale)
    y = np.empty((len(qkv), qkv.shape[1] // 3), qkv.dtype)
    log_sums = np.empty((len(qkv), n_heads), qkv.dtype)
    arrays = contiguous(qkv), y, log_sums, _bytes(keep)
    _for_every_head(_attend, lengths, n_heads, (blas, *arrays, scale, causal), y.shape[1])
    return y, log_sums


@for_dtypes(SINGLE, reference)
def attention_grad(grad, qkv, y, log_sums, lengths, n_heads, causal, keep=None, scale=1.0):
    blas = addresses(qkv.dtype)
    if blas is None:
        given = grad, qkv, y, log_sums, lengths, n_heads, causal, keep, scale
        return in_numpy(reference.attention_grad)(*given)
    grad_qkv = np.empty(qkv.shape, qkv.dtype)
    arrays = *map(contiguous, (grad, qkv, y, log_sums)), grad_qkv, _bytes(keep)
    _for_every_head(_attend_back, lengths, n_heads, (blas, *arrays, scale, causal), y.shape[1])
    return grad_qkv


def _bytes(keep):
    return _NOTHING if keep is None else contiguous(keep).view(np.uint8)


def _for_every_head(kernel, lengths, n_heads, whole, d):
    """Run a kernel for heads: (first step of its row, number of steps, head, where its mask is)."""
    heads = np.empty((len(lengths), n_heads, 4), np.int64)
    heads[..., 0] = (np.cumsum(lengths) - lengths)[:, np.newaxis]
    heads[..., 1] = lengths[:, np.newaxis]
    heads[..., 2] = np.arange(n_heads)
    squares = np.repeat(lengths**2, n_heads)
    heads[..., 3] = (np.cumsum(squares) - squares).reshape(len(lengths), n_heads)
    work = float(squares.sum()) * (2 * d / n_heads + PASS)
    with one_blas_thread():
        in_parts(kernel, (heads.reshape(-1, 4),), whole, multiply_adds=work)


@jit
def _attend(heads, blas, qkv, y, log_sums, keep, scale, causal):
    d = y.shape[1]
    width = d // log_sums.shape[1]
    factor = 1 / math.sqrt(width)
    weights = np.empty(_scratch(heads), y.dtype)
    for h in range(len(heads)):
        first, length, head, mask = heads[h]
        q, k, v = _of_head(qkv, first, length, head * width, width, d)
        out = y[first : first + length, head * width : (head + 1) * width]
        n = max(1, TILE // length)
        for start in range(0, length, n):
            stop = min(start + n, length)
            seen = stop if causal else length
            a = weights[: (stop - start) * seen].reshape(stop - start, seen)
            multiply_any(blas, q[start:stop], k[:seen].T, a, factor)
            for r in range(stop - start):
                step = first + start + r
                row = a[r, : start + r + 1 if causal else seen]
                a[r, len(row) :] = 0
                log_sums[step, head] = _softmax(row)
                if keep.size:
                    at = mask + (start + r) * length
                    _drop(row, keep[at : at + len(row)], scale)
            multiply_any(blas, a, v[:seen], out[start:stop])


@jit
def _attend_back(heads, blas, grad, qkv, y, log_sums, grad_qkv, keep, scale, causal):
    d = y.shape[1]
    width = d // log_sums.shape[1]
    factor = np.float32(1 / math.sqrt(width))
    size = _scratch(heads)
    weights, grads = np.empty(size, y.dtype), np.empty(size, y.dtype)
    for h in range(len(heads)):
        first, length, head, mask = heads[h]
        q, k, v = _of_head(qkv, first, length, head * width, width, d)
        dq, dk, dv = _of_head(grad_qkv, first, length, head * width, width, d)
        g = grad[first : first + length, head * width : (head + 1) * width]
        out = y[first : first + length, head * width : (head + 1) * width]
        dk[:], dv[:] = 0, 0
        n = max(1, TILE // length)
        for start in range(0, length, n):
            stop = min(start + n, length)
            seen = stop if causal else length
            a = weights[: (stop - start) * seen].reshape(stop - start, seen)
            ds = grads[: (stop - start) * seen].reshape(stop - start, seen)
            multiply_any(blas, q[start:stop], k[:seen].T, a, factor)
            multiply_any(blas, g[start:stop], v[:seen].T, ds)
            for r in range(stop - start):
                end = start + r + 1 if causal else seen
                a[r, end:], ds[r, end:] = 0, 0
                mean = np.float32(0)  # of dA under A, which is G · y
                for c in range(width):
                    mean += g[start + r, c] * out[start + r, c]
                log_sum = log_sums[first + start + r, head]
                if keep.size:
                    at = mask + (start + r) * length
                    _masked_grad(
                        a[r, :end], ds[r, :end], log_sum, mean, factor, keep[at : at + end], scale
                    )
                else:
                    _grad(a[r, :end], ds[r, :end], log_sum, mean, factor)
            multiply_any(blas, ds, k[:seen], dq[start:stop])
            multiply_any(blas, ds.T, q[start:stop], dk[:seen], 1.0, 1.0)
            multiply_any(blas, a.T, g[start:stop], dv[:seen], 1.0, 1.0)


@inline
def _scratch(heads):
    longest = 0
    for h in range(len(heads)):
        longest = max(longest, heads[h, 1])
    return max(TILE, longest)


@inline
def _of_head(qkv, first, length, column, width, d):
    """Views of the queries, keys and values of a head of a row."""
    rows = qkv[first : first + length]
    return (
        rows[:, column : column + width],
        rows[:, d + column : d + column + width],
        rows[:, 2 * d + column : 2 * d + column + width],
    )


@inline
def _softmax(row):
    """Overwrite scores with their softmax; return log Σ exp of them."""
    top, total = largest_of(row.view(np.int32)), np.float32(0)
    for k in range(row.size):
        row[k] = exponential.exp_of_negative(row[k] - top)
    for k in range(row.size):
        total += row[k]
    share = np.float32(1) / total
    for k in range(row.size):
        row[k] *= share
    return top + np.float32(math.log(total))


@inline
def _drop(row, keep, scale):
    scale = np.float32(scale)
    for k in range(row.size):
        row[k] *= np.float32(keep[k]) * scale


@inline
def _grad(a, ds, log_sum, mean, factor):
    """Turn scores into weights, and dA into the gradient of the product of queries and keys."""
    for k in range(a.size):
        a[k] = exponential.exp_of_negative(a[k] - log_sum)
        ds[k] = a[k] * (ds[k] - mean) * factor


@inline
def _masked_grad(a, ds, log_sum, mean, factor, keep, scale):
    """Do the same where some weights were dropped."""
    scale = np.float32(scale)
    for k in range(a.size):
        m, weight = np.float32(keep[k]) * scale, exponential.exp_of_negative(a[k] - log_sum)
        a[k] = m * weight
        ds[k] = weight * (m * ds[k] - mean) * factor
