"""Batches of a whole epoch in one compiled call, on one thread.

Whoever trains leaves networks to others whose products are worth a second thread. The loops are
those of the other kernels, so that the bits are those of the layers.
"""

import functools

import numpy as np

from layerkit.kernels._numba import activations, cross_entropy, dense, normalization, optimizers
from layerkit.kernels._numba import elementary as of_one
from layerkit.kernels._numba.blas import (
    addresses,
    multiply,
    multiply_by_transpose,
    multiply_transposed,
)
from layerkit.kernels._numba.compile import FLAGS, jit
from layerkit.kernels._numpy import epochs as reference
from layerkit.kernels._numpy.epochs import (
    BATCH_NORM,
    BINARY_CROSS_ENTROPY,
    CROSS_ENTROPY,
    DENSE,
    DESCENT,
    DROPOUT,
    ELU,
    GELU,
    HUBER,
    LEAKY_RELU,
    MISH,
    MOMENTS,
    MOMENTUM,
    POISSON_SUM,
    RELU,
    SIGMOID,
    SIGMOID_SUM,
    SILU,
    SOFTMAX_SUM,
    SOFTPLUS,
    SQUARED_ERROR,
    TANH,
    VELOCITY,
)
from layerkit.kernels.blas import one_blas_thread
from layerkit.kernels.dispatch import in_numpy


@functools.wraps(in_numpy(reference.train_epoch))
def train_epoch(X, *others):
    blas = addresses(X.dtype)
    if blas is None:  # NumPy has another BLAS
        return in_numpy(reference.train_epoch)(X, *others)
    with one_blas_thread():
        return _train(blas, X, *others)


@jit
def _train(
    blas, X, labels, targets, weights, order, bounds, layers, numbers, flat_params, flat_grads,
    running, words, loss, of_loss, penalized, rule, segments, memory, steps, losses, scratch,
    gradients,
):  # fmt: skip
    n_in, n_out, last = layers[0, 1], layers[-1, 2], len(layers) - 1
    used = np.zeros(len(layers), np.int64)
    for i in range(len(bounds)):
        start, stop = bounds[i]
        n = stop - start
        x = X[start:stop]
        of_rows = labels[start:stop]
        t = targets[start:stop]
        scale = np.full(n, 1.0)
        if weights.size:
            scale[:] = weights[start:stop]
        if order.size:
            x = scratch[: n * n_in].reshape(n, n_in)
            of_rows = np.empty(n if labels.size else 0, np.int64)
            t = np.empty((n if targets.size else 0, n_out), X.dtype)
            for r in range(n):
                row = order[start + r]
                for k in range(n_in):
                    x[r, k] = X[row, k]
                if labels.size:
                    of_rows[r] = labels[row]
                if targets.size:
                    for k in range(n_out):
                        t[r, k] = targets[row, k]
                if weights.size:
                    scale[r] = weights[row]
        scale /= steps[i, 0]
        _forward(blas, x, layers, numbers, flat_params, running, words, used, scratch)
        y = _output(x, layers, last, scratch)
        grad = gradients[0, : n * n_out].reshape(n, n_out)
        losses[i] = _objective(loss, of_loss, y, of_rows, t, scale, grad)
        decay = steps[i, 2]
        if penalized and decay != 0:
            squares = 0.0
            for a, b, decays in segments:
                if decays:
                    squares += dense.sum_of_squares(flat_params[a:b])
            losses[i] += decay / 2 * squares
        if not np.isfinite(losses[i]):
            return i
        _backward(
            blas, x, layers, numbers, flat_params, flat_grads, words, used, scratch, gradients
        )
        for a, b, decays in segments:
            share = decay if decays else 0.0
            keep = steps[i, 1] if decays else 1.0
            _step(rule, flat_params[a:b], flat_grads[a:b], memory, a, share, keep, steps[i])
    return len(bounds)


@jit
def _output(x, layers, k, scratch):
    """What layer k computes; before the first it is the input."""
    if k < 0:
        return x
    width, out = layers[k, 2], layers[k, 3]
    return scratch[out : out + len(x) * width].reshape(len(x), width)


@jit
def _forward(blas, x, layers, numbers, params, running, words, used, scratch):
    first_x = x
    for k in range(len(layers)):
        kind, n_in, n_out, _, first, second, aside, drawn = layers[k]
        y = _output(first_x, layers, k, scratch)
        flat_x, flat_y = x.reshape(-1), y.reshape(-1)
        a, b = numbers[k]
        if kind == DENSE:
            W = params[first : first + n_in * n_out].reshape(n_in, n_out)
            multiply(blas, x, W, y)
            if second >= 0:
                dense._add_row(y, params[second : second + n_out])
        elif kind == DROPOUT:
            n_words = -(-flat_x.size * np.int64(b) // 64)
            here = words[drawn + used[k] : drawn + used[k] + n_words]
            _drop(flat_x, here, a, b, flat_y)
            used[k] += n_words
        elif kind == BATCH_NORM:
            statistics = scratch[aside : aside + 3 * n_in].reshape(3, n_in)
            means = running[drawn : drawn + n_in]
            variances = running[drawn + n_in : drawn + 2 * n_in]
            _normalize(
                x, params[first : first + n_in], params[second : second + n_in],
                a, b, means, variances, statistics, y,
            )  # fmt: skip
        elif kind in (GELU, SILU, MISH):
            gate = scratch[aside : aside + flat_x.size]
            if kind == GELU:
                activations.gelu_loop(flat_x, flat_y, gate)
            elif kind == SILU:
                activations.silu_loop(flat_x, flat_y, gate)
            else:
                activations.mish_loop(flat_x, flat_y, gate)
        elif kind == RELU:
            activations.relu_loop(flat_x, flat_y)
        elif kind == TANH:
            activations.tanh_loop(flat_x, flat_y)
        elif kind == SIGMOID:
            activations.sigmoid_loop(flat_x, flat_y)
        elif kind == LEAKY_RELU:
            activations.leaky_relu_loop(flat_x, flat_y, a)
        elif kind == ELU:
            activations.elu_loop(flat_x, flat_y, a, b)
        elif kind == SOFTPLUS:
            activations.softplus_loop(flat_x, flat_y)
        elif k == 0:
            flat_y[:] = flat_x
        x = y


@jit
def _backward(blas, inputs, layers, numbers, params, grads, words, used, scratch, gradients):
    n, at = len(inputs), 0
    for k in range(len(layers) - 1, -1, -1):
        kind, n_in, n_out, _, first, second, aside, drawn = layers[k]
        x, y = _output(inputs, layers, k - 1, scratch), _output(inputs, layers, k, scratch)
        flat_x, flat_y = x.reshape(-1), y.reshape(-1)
        grad = gradients[at, : n * n_out].reshape(n, n_out)
        g = grad.reshape(-1)
        a, b = numbers[k]
        if kind == DENSE:
            W = params[first : first + n_in * n_out].reshape(n_in, n_out)
            of_W = grads[first : first + n_in * n_out].reshape(n_in, n_out)
            if n_in == 1 or n == 1:
                of_W[:] = 0
                for r in range(n):
                    for j in range(n_in):
                        for c in range(n_out):
                            of_W[j, c] += x[r, j] * grad[r, c]
            else:
                multiply_transposed(blas, x, grad, of_W)
            if second >= 0:
                dense._sum_rows(grad, grads[second : second + n_out])
            if k > 0:
                at = 1 - at
                passed = gradients[at, : n * n_in].reshape(n, n_in)
                multiply_by_transpose(blas, grad, W, passed)
        elif kind == DROPOUT:
            n_words = -(-flat_x.size * np.int64(b) // 64)
            here = words[drawn + used[k] - n_words : drawn + used[k]]
            _drop(g, here, a, b, g)
        elif kind == BATCH_NORM:
            statistics = scratch[aside : aside + 3 * n_in].reshape(3, n_in)
            of_gamma, of_beta = grads[first : first + n_in], grads[second : second + n_in]
            mean, inv_std = statistics[:2], statistics[2]
            normalization._sums_of_part(grad, x, of_gamma, of_beta, mean[0])
            gamma = params[first : first + n_in]
            scale, slope, shift = normalization._slopes(
                grad, mean, inv_std, gamma, of_gamma, of_beta
            )
            normalization._batch_norm_grad(grad, x, grad, mean[0], scale, slope, shift)
        elif kind in (GELU, SILU, MISH):
            gate = scratch[aside : aside + flat_x.size]
            if kind == GELU:
                activations.gelu_grad_loop(g, flat_x, gate, g)
            elif kind == SILU:
                activations.silu_grad_loop(g, flat_x, gate, g)
            else:
                activations.mish_grad_loop(g, flat_x, gate, g)
        elif kind == RELU:
            activations.relu_grad_loop(g, flat_y, g)
        elif kind == TANH:
            activations.tanh_grad_loop(g, flat_y, g)
        elif kind == SIGMOID:
            activations.sigmoid_grad_loop(g, flat_y, g)
        elif kind == LEAKY_RELU:
            activations.leaky_relu_grad_loop(g, flat_y, g, a)
        elif kind == ELU:
            activations.elu_grad_loop(g, flat_y, g, a, b)
        elif kind == SOFTPLUS:
            activations.softplus_grad_loop(g, flat_x, g)


@jit
def _drop(x, words, threshold, bits, y):
    """Keep values whose 8 or 16 bits of the words are below the threshold, and scale them."""
    scale = x.dtype.type(2.0**bits / threshold)
    if bits == 8:
        draws = words.view(np.uint8)
        for i in range(x.size):
            y[i] = x[i] * x.dtype.type(draws[i] < threshold) * scale
    else:
        more = words.view(np.uint16)
        for i in range(x.size):
            y[i] = x[i] * x.dtype.type(more[i] < threshold) * scale


@jit
def _normalize(x, gamma, beta, eps, momentum, means, variances, statistics, y):
    """Standardise and track the statistics; keep the two parts of the mean and 1 / deviation."""
    n, channels = x.shape
    parts = np.zeros((2, 1, channels))
    normalization._moments(x, parts[0, 0], parts[1, 0])
    mean, inv_std, var, scale, shift = normalization._statistics(
        parts[0], parts[1], x, gamma, beta, eps
    )
    normalization._standardize(x, y, mean[0], scale, shift)
    for c in range(channels):
        statistics[0, c], statistics[1, c], statistics[2, c] = mean[0, c], mean[1, c], inv_std[c]
        mean[0, c] += mean[1, c]
    _track(means, mean[0], 1.0, momentum)
    _track(variances, var, n / (n - 1), momentum)


@functools.partial(jit, flags=FLAGS - {"contract", "reassoc"})
def _track(running, of_batch, factor, momentum):
    """Let running statistics follow, rounding where the layer does."""
    number = running.dtype.type
    factor, momentum = number(factor), number(momentum)
    for c in range(running.size):
        running[c] += momentum * (factor * of_batch[c] - running[c])


@jit
def _objective(loss, of_loss, x, labels, t, scale, grad):
    """Return the loss of a batch and overwrite its gradient by the outputs x."""
    if loss == CROSS_ENTROPY:
        return cross_entropy._cross_entropy(x, labels, scale, of_loss[0], grad)
    if loss == BINARY_CROSS_ENTROPY:
        return cross_entropy._binary_cross_entropy(x, t, scale, of_loss[0], of_loss[1], grad)
    n, width = x.shape
    number = x.dtype.type
    first = number(of_loss[0])
    values = np.empty(n, x.dtype)
    if loss == SOFTMAX_SUM:
        cross_entropy._of_softmax(x, t, of_loss[0], values, grad)
    elif loss == SIGMOID_SUM:
        cross_entropy._of_sigmoid(x, t, of_loss[0], values, grad)
    else:
        for r in range(n):
            value = 0.0
            for k in range(width):
                error = x[r, k] - t[r, k]
                if loss == SQUARED_ERROR:
                    value += of_loss[0] * np.float64(error) * np.float64(error)
                    grad[r, k] = number(2) * first * error
                elif loss == HUBER:
                    slope = first if error > first else -first if error < -first else error
                    value += np.float64(slope * (error - slope * number(0.5))) / width
                    grad[r, k] = slope / number(width)
                elif loss == POISSON_SUM:
                    expected = of_one.exp(x[r, k])
                    grad[r, k] = expected - t[r, k]
                    known = t[r, k] * np.log(t[r, k]) if t[r, k] > 0 else number(0)
                    value += known - t[r, k] * x[r, k] + grad[r, k]
                else:
                    value += np.float64(abs(error)) / width
                    sign = number(1) if error > 0 else number(-1) if error < 0 else error
                    grad[r, k] = sign / number(width)
            values[r] = value
    total = 0.0
    for r in range(n):
        if scale[r] == 0:
            grad[r] = 0
            continue
        total += scale[r] * values[r]
        weight = number(scale[r])
        for k in range(width):
            grad[r, k] *= weight
    return total


@jit
def _step(rule, p, g, memory, start, decay, keep, numbers):
    """Change some of the parameters; ``decay`` of them joins their gradient."""
    number = p.dtype.type
    share, keep = number(decay), number(keep)
    a, b, c, d, e = (
        number(numbers[3]), number(numbers[4]), number(numbers[5]), number(numbers[6]),
        number(numbers[7]),
    )  # fmt: skip
    stop = start + p.size
    if rule == DESCENT:
        if decay == 0:
            optimizers.descend(p, g, numbers[3])
            return
        for i in range(p.size):
            p[i] -= a * (g[i] + share * p[i])
    elif rule == MOMENTUM:
        u = memory[0, start:stop]
        for i in range(p.size):
            grad = g[i] + share * p[i]
            u[i] = a * u[i] + grad
            p[i] -= b * u[i] + c * grad
    elif rule == VELOCITY:
        u = memory[0, start:stop]
        for i in range(p.size):
            grad = g[i] + share * p[i]
            u[i] = a * u[i] - b * grad
            p[i] += c * u[i] - d * grad
    elif rule == MOMENTS:
        m, v = memory[0, start:stop], memory[1, start:stop]
        new1, new2 = number(1 - numbers[3]), number(1 - numbers[4])
        for i in range(p.size):
            grad = g[i] + share * p[i]
            m[i] = a * m[i] + new1 * grad
            v[i] = b * v[i] + new2 * grad * grad
            p[i] = keep * p[i] - (c * m[i] + d * grad) / (np.sqrt(v[i]) + e)
