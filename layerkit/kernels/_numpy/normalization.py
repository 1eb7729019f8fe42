"""Batch and layer normalization: standardise over cells, then scale and shift every channel.

``x_hat = s (x - mean)`` with ``s = 1 / sqrt(var + eps)`` and ``y = gamma x_hat + beta``; backward
is derived in ``layers/normalization.py``. Arrays are ``(..., channels)`` in any shape.

The mean is taken twice, the second time of x - mean: what rounding left of a mean that is far
larger than the deviations goes away. `batch_norm` returns the two as the rows of one array, so that
backward finds x - mean again.

Arguments::

    gamma, beta           scale and shift of every channel
    grad_gamma            dL/dgamma, to be overwritten
    grad_beta             dL/dbeta, to be overwritten
    x_hat, inv_std        what was standardised, and one over its standard deviation
    eps                   added to a variance, so that it is not 0
    mean                  two rows that add up to the mean of every channel
    rows                  a matrix
    a, b                  arrays in long rows; b is multiplied in
    channels              length of the last axis; ``n_positions`` is the number of its rows
    values                one number per channel
"""

import functools

import numpy as np

from layerkit.kernels.dispatch import compiled


@compiled
def batch_norm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Standardise over all axes but the last; return y, mean (two parts), s and biased variance."""
    channels = x.shape[-1]
    rows, m = long_rows(x, channels), x.size // channels
    mean = channel_sums(channels, rows) / m
    y = rows - along(rows, mean)
    rounding = channel_sums(channels, y) / m
    y -= along(rows, rounding)
    var = channel_sums(channels, y, y) / m
    inv_std = 1 / np.sqrt(var + eps)
    y *= along(rows, inv_std * gamma)
    y += along(rows, beta)
    return y.reshape(x.shape), np.stack([mean, rounding]), inv_std, var


@compiled
def batch_norm_grad(
    grad: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    inv_std: np.ndarray,
    gamma: np.ndarray,
    grad_gamma: np.ndarray,
    grad_beta: np.ndarray,
) -> np.ndarray:
    """Return dL/dx and overwrite the gradients of gamma and beta.

    gamma is the same wherever the mean is taken, so the means of gamma G and of x_hat gamma G are
    these gradients, times gamma / m: ``dL/dx = gamma s (G - sum(G) / m - x_hat sum(G x_hat) / m)``.
    The small part of the mean is taken off the sums, not off each number: with u = x - mean[0],
    ``sum(G x_hat) = s (sum(G u) - mean[1] sum(G))``, and x_hat likewise in dL/dx.
    """
    channels = x.shape[-1]
    rows, x_rows = long_rows(grad, channels), long_rows(x, channels)
    m = x.size // channels
    dx = x_rows - along(rows, mean[0])
    grad_beta[...] = channel_sums(channels, rows)
    grad_gamma[...] = inv_std * (channel_sums(channels, rows, dx) - mean[1] * grad_beta)
    slope = inv_std * grad_gamma / m
    dx *= along(rows, -slope)
    dx += rows
    dx -= along(rows, grad_beta / m - mean[1] * slope)
    dx *= along(rows, inv_std * gamma)
    return dx.reshape(grad.shape)


@compiled
def layer_norm(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standardise along the last axis; return y, x_hat and s, one of it for each position."""
    rows = x.reshape(-1, x.shape[-1])
    x_hat = rows - row_mean(rows)
    x_hat -= row_mean(x_hat)
    inv_std = 1 / np.sqrt(row_mean(x_hat, x_hat) + eps)
    x_hat *= inv_std
    y = x_hat * gamma
    y += beta
    return y.reshape(x.shape), x_hat.reshape(x.shape), inv_std.ravel()


@compiled
def layer_norm_grad(
    grad: np.ndarray,
    x_hat: np.ndarray,
    inv_std: np.ndarray,
    gamma: np.ndarray,
    grad_gamma: np.ndarray,
    grad_beta: np.ndarray,
) -> np.ndarray:
    """Return ``dL/dx = s (g - mean(g) - x_hat mean(x_hat g))`` with ``g = gamma G``.

    It overwrites the gradients of gamma and beta.
    """
    channels = x_hat.shape[-1]
    rows, x_rows = grad.reshape(-1, channels), x_hat.reshape(-1, channels)
    grad_gamma[...] = channel_sums(channels, rows, x_rows)
    grad_beta[...] = channel_sums(channels, rows)
    g = rows * gamma
    mean, slope = row_mean(g), row_mean(g, x_rows)
    g -= mean
    g -= x_rows * slope
    g *= inv_std[:, np.newaxis]
    return g.reshape(grad.shape)


def long_rows(x: np.ndarray, channels: int) -> np.ndarray:
    """View the array as rows of several positions, each with all its channels."""
    return x.reshape(-1, row_length(x.size // channels, channels))


def along(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Repeat one value per channel along a row."""
    positions = rows.shape[-1] // len(values)
    return values if positions == 1 else np.tile(values, positions)


def channel_sums(channels: int, a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Sum ``a``, or ``a * b``, over all positions of arrays in long rows."""
    # ones @ a: a matrix product adds rows several times faster than a.sum(0)
    sums = np.ones(len(a), a.dtype) @ a if b is None else np.einsum("rw,rw->w", a, b)
    return sums if len(sums) == channels else sums.reshape(-1, channels).sum(0)


def row_mean(a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """Mean of ``a``, or of ``a * b``, along the last axis, as a column."""
    n = a.shape[-1]
    sums = a @ np.ones(n, a.dtype) if b is None else np.einsum("rc,rc->r", a, b)
    return sums[:, np.newaxis] / n


@functools.lru_cache
def row_length(n_positions: int, channels: int) -> int:
    """Length of rows of whole positions into which an array is best divided.

    NumPy combines a vector with the rows of a matrix 2 to 4 times faster if a row is longer than
    half its buffer of 8192 elements; up to 16384 a row stays in the cache. Repeating values along
    a row only pays if there are many rows.
    """
    longest = max(1, min(16384 // channels, n_positions // 16))
    return channels * next(k for k in range(longest, 0, -1) if n_positions % k == 0)
