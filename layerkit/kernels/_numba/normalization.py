"""Batch and layer normalization: read for the statistics, read again to write the result.

Statistics are taken block by block and joined in float64 as mean and sum of squared deviations M2
(Chan, Golub and LeVeque)::

    d = mean_block - mean        mean ← mean + d n_block / n
    M2 ← M2 + M2_block + d² n_old n_block / n

Within a block they are sums of x - K and (x - K)², with K the mean of what came before, or of the
first block itself. What rounding costs there grows with the distance of K from the block's mean,
but so does the last term of M2, and faster.

Batch normalization writes no x_hat: arrays of that size cost time wherever they are read or
written, and backward finds it again. The mean comes as its rounded value and the rest, two rows of
one array; only the first is subtracted from every number, the second from sums and shifts::

    y = s γ (x - mean[0]) + (β - s γ mean[1])

References
----------
Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", Stanford STAN-CS-79-773, 1979.
"""

import numpy as np

from layerkit.kernels._numba.compile import BOTH, contiguous, for_dtypes, inline, jit
from layerkit.kernels._numba.threads import WORTHWHILE, in_parts
from layerkit.kernels._numpy import normalization as reference
from layerkit.kernels.parts import PASS, n_parts

BLOCK = 16384  # numbers that stay in the second-level cache
LANES = 512  # that an inner loop runs over, of several rows where channels are few


@for_dtypes(BOTH, reference)
def batch_norm(x, gamma, beta, eps):
    channels = x.shape[-1]
    y = np.empty(x.shape, x.dtype)
    cells, work = contiguous(x).reshape(-1, channels), PASS * x.size
    means, squares = np.zeros((2, n_parts(len(cells), work, WORTHWHILE), channels))
    in_parts(_moments, (cells,), each=(means, squares), multiply_adds=work)
    mean, inv_std, var, scale, shift = _statistics(
        means, squares, cells, contiguous(gamma), contiguous(beta), eps
    )
    in_parts(
        _standardize, (cells, y.reshape(cells.shape)), (mean[0], scale, shift), multiply_adds=work
    )
    return y, mean, inv_std, var


@jit
def _statistics(means, squares, x, gamma, beta, eps):
    """Join the parts' means and M2; return mean (two parts), s, variance, scale and shift."""
    parts, channels = means.shape
    number, n = x.dtype.type, len(x)
    mean = np.empty((2, channels), x.dtype)
    inv_std, var, scale, shift = np.empty((4, channels), x.dtype)
    for c in range(channels):
        joined, total, seen = means[0, c], squares[0, c], n // parts
        for part in range(1, parts):
            more = n * (part + 1) // parts - seen
            d = means[part, c] - joined
            joined += d * (more / (seen + more))
            total += squares[part, c] + d * d * (seen * (more / (seen + more)))
            seen += more
        mean[0, c] = joined
        mean[1, c] = joined - mean[0, c]
        var[c] = total / n
        inv_std[c] = 1 / np.sqrt(total / n + eps)
        scale[c] = inv_std[c] * number(gamma[c])
        shift[c] = number(beta[c]) - scale[c] * mean[1, c]
    return mean, inv_std, var, scale, shift


@jit
def _moments(x, mean, squares):
    """Mean and M2 of each channel, in place of zeros."""
    n_rows, channels = x.shape
    flat, width = x.reshape(-1), _width(channels)
    height = max(1, BLOCK // width) * (width // channels)
    center, drift, square = np.empty((3, width), x.dtype)
    seen = 0
    for start in range(0, n_rows, height):
        stop = min(start + height, n_rows)
        n = x.dtype.type(stop - start)
        block = flat[start * channels : stop * channels]
        if seen == 0:
            _add_up(block, center, channels)
            center /= n
        else:
            for c in range(channels):
                center[c] = mean[c]
        _repeat(center, channels)
        drift[:] = 0
        square[:] = 0
        for first in range(0, block.size, width):
            some = block[first : first + width]
            for j in range(some.size):
                d = some[j] - center[j]
                drift[j] += d
                square[j] += d * d
        _fold(drift, channels)
        _fold(square, channels)
        total = seen + stop - start
        for c in range(channels):
            rest = np.float64(drift[c]) / n
            d = np.float64(center[c]) + rest - mean[c]
            mean[c] += d * (n / total)
            squares[c] += (square[c] - n * rest * rest) + d * d * (seen * (n / total))
        seen = total


@inline
def _add_up(block, lanes, channels):
    """Sum each channel of whole rows."""
    lanes[:] = 0
    for first in range(0, block.size, lanes.size):
        some = block[first : first + lanes.size]
        for j in range(some.size):
            lanes[j] += some[j]
    _fold(lanes, channels)


@inline
def _width(channels):
    """Several rows are one to the loops: with few channels, a row is over before a loop runs."""
    return channels * max(1, LANES // channels)


@inline
def _fold(lanes, channels):
    """Add all repetitions of the channels to the first."""
    for first in range(channels, lanes.size, channels):
        for c in range(channels):
            lanes[c] += lanes[first + c]


@inline
def _repeat(lanes, channels):
    """Copy the first repetition of the channels to all others."""
    for first in range(channels, lanes.size, channels):
        for c in range(channels):
            lanes[first + c] = lanes[c]


@inline
def _repeated(values, width):
    """Return a vector over and over again."""
    lanes = np.empty(width, values.dtype)
    for c in range(values.size):
        lanes[c] = values[c]
    _repeat(lanes, values.size)
    return lanes


@jit
def _standardize(x, y, mean, scale, shift):
    width = _width(x.shape[1])
    mean, scale, shift = _repeated(mean, width), _repeated(scale, width), _repeated(shift, width)
    x, y = x.reshape(-1), y.reshape(-1)
    for first in range(0, x.size, width):
        some, out = x[first : first + width], y[first:]
        for j in range(some.size):
            out[j] = scale[j] * (some[j] - mean[j]) + shift[j]


@for_dtypes(BOTH, reference)
def batch_norm_grad(grad, x, mean, inv_std, gamma, grad_gamma, grad_beta):
    """Return dL/dx and overwrite the gradients of gamma and beta.

    With u = x - mean[0] and a slope for each channel, as derived in the NumPy version::

        dL/dx = s γ G - s γ slope u + s γ (mean[1] slope - dL/dβ / m)        slope = s dL/dγ / m
    """
    channels = x.shape[-1]
    dx = np.empty(grad.shape, grad.dtype)
    grads, cells = contiguous(grad).reshape(-1, channels), contiguous(x).reshape(-1, channels)
    _channel_sums(grads, cells, mean[0], grad_gamma, grad_beta)
    scale, slope, shift = _slopes(grads, mean, inv_std, contiguous(gamma), grad_gamma, grad_beta)
    in_parts(
        _batch_norm_grad,
        (grads, cells, dx.reshape(grads.shape)),
        (mean[0], scale, slope, shift),
        multiply_adds=PASS * grad.size,
    )
    return dx


@jit
def _slopes(grad, mean, inv_std, gamma, grad_gamma, grad_beta):
    """Turn the sums into dL/dγ; return s γ, s γ slope and s γ (mean[1] slope - dL/dβ / m)."""
    scale, slope, shift = np.empty((3, gamma.size), grad.dtype)
    n = grad.dtype.type(len(grad))
    for c in range(gamma.size):
        grad_gamma[c] = inv_std[c] * (grad_gamma[c] - mean[1, c] * grad_beta[c])
        scale[c] = inv_std[c] * gamma[c]
        slope[c] = scale[c] * (inv_std[c] * grad_gamma[c] / n)
        shift[c] = mean[1, c] * slope[c] - scale[c] * (grad_beta[c] / n)
    return scale, slope, shift


def _channel_sums(grad, x, mean, grad_gamma, grad_beta):
    """Overwrite the sums of grad (x - mean) and of grad over the rows."""
    work = PASS * grad.size
    parts = n_parts(len(grad), work, WORTHWHILE)
    of_products, of_grad = _sums(grad_gamma, parts), _sums(grad_beta, parts)
    in_parts(_sums_of_part, (grad, x), (mean,), each=(of_products, of_grad), multiply_adds=work)
    if parts > 1:
        np.sum(of_products, axis=0, out=grad_gamma)
        np.sum(of_grad, axis=0, out=grad_beta)


def _sums(out: np.ndarray, parts: int) -> np.ndarray:
    """Return a row for the sums of each part; for one part, the result's own memory."""
    return out[None] if parts == 1 else np.empty((parts, *out.shape), out.dtype)


@jit
def _sums_of_part(grad, x, grad_gamma, grad_beta, mean):
    channels, width = grad.shape[1], _width(grad.shape[1])
    block = max(1, BLOCK // width) * width
    mean = _repeated(mean, width)
    products, plain_sums = np.empty((2, width), grad.dtype)
    grad_gamma[:] = 0
    grad_beta[:] = 0
    grad, x = grad.reshape(-1), x.reshape(-1)
    for start in range(0, grad.size, block):
        products[:] = 0
        plain_sums[:] = 0
        for first in range(start, min(start + block, grad.size), width):
            some, cells = grad[first : first + width], x[first : first + width]
            for j in range(some.size):
                products[j] += some[j] * (cells[j] - mean[j])
                plain_sums[j] += some[j]
        _fold(products, channels)
        _fold(plain_sums, channels)
        for c in range(channels):
            grad_gamma[c] += products[c]
            grad_beta[c] += plain_sums[c]


@jit
def _batch_norm_grad(grad, x, dx, mean, scale, slope, shift):
    width = _width(grad.shape[1])
    mean, scale = _repeated(mean, width), _repeated(scale, width)
    slope, shift = _repeated(slope, width), _repeated(shift, width)
    grad, x, dx = grad.reshape(-1), x.reshape(-1), dx.reshape(-1)
    for first in range(0, grad.size, width):
        some, cells, out = grad[first : first + width], x[first : first + width], dx[first:]
        for j in range(some.size):
            out[j] = scale[j] * some[j] - slope[j] * (cells[j] - mean[j]) + shift[j]


@for_dtypes(BOTH, reference)
def layer_norm(x, gamma, beta, eps):
    channels = x.shape[-1]
    y, x_hat = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    rows = contiguous(x).reshape(-1, channels)
    inv_std = np.empty(len(rows), x.dtype)
    out, hats = y.reshape(rows.shape), x_hat.reshape(rows.shape)
    in_parts(
        _layer_norm,
        (rows, out, hats, inv_std),
        (contiguous(gamma), contiguous(beta), eps),
        multiply_adds=2 * PASS * x.size,
    )
    return y, x_hat, inv_std


@jit
def _layer_norm(x, y, x_hat, inv_std, gamma, beta, eps):
    n_rows, channels = x.shape
    zero, n, one = x.dtype.type(0), x.dtype.type(channels), x.dtype.type(1)
    eps = x.dtype.type(eps)
    for r in range(n_rows):
        mean = zero
        for c in range(channels):
            mean += x[r, c]
        mean /= n
        drift, square = zero, zero
        for c in range(channels):
            d = x[r, c] - mean
            x_hat[r, c] = d
            drift += d
            square += d * d
        drift /= n
        s = one / np.sqrt(square / n - drift * drift + eps)
        inv_std[r] = s
        for c in range(channels):
            u = (x_hat[r, c] - drift) * s
            x_hat[r, c] = u
            y[r, c] = gamma[c] * u + beta[c]


@for_dtypes(BOTH, reference)
def layer_norm_grad(grad, x_hat, inv_std, gamma, grad_gamma, grad_beta):
    channels = x_hat.shape[-1]
    dx = np.empty(grad.shape, grad.dtype)
    rows, hats = contiguous(grad).reshape(-1, channels), contiguous(x_hat).reshape(-1, channels)
    _channel_sums(rows, hats, np.zeros(channels, grad.dtype), grad_gamma, grad_beta)
    in_parts(
        _layer_norm_grad,
        (rows, hats, inv_std, dx.reshape(-1, channels)),
        (contiguous(gamma),),
        multiply_adds=2 * PASS * grad.size,
    )
    return dx


@jit
def _layer_norm_grad(grad, x_hat, inv_std, dx, gamma):
    n_rows, channels = grad.shape
    zero, n = grad.dtype.type(0), grad.dtype.type(channels)
    for r in range(n_rows):
        mean, slope = zero, zero
        for c in range(channels):
            g = grad[r, c] * gamma[c]
            mean += g
            slope += g * x_hat[r, c]
        mean /= n
        slope /= n
        for c in range(channels):
            dx[r, c] = inv_std[r] * (grad[r, c] * gamma[c] - mean - x_hat[r, c] * slope)
