"""Batches of a whole epoch in one call: gather rows, forward, loss, backward, step.

Between the kernels of a small network Python takes longer than they do. So a network that is a
chain of well-known layers is described by a table of integers, a row for each layer (`LAYERS`), and
so are its loss and its optimizer; one compiled function then serves them all.

What a layer computes from so many rows stands in ``scratch`` from its ``y`` on; an activation whose
derivative is a formula in its output may overwrite its input. The formulas are those of the other
kernels here, and where these are compiled, their compiled versions.

Arguments::

    X                     all rows of the input, (n_rows, n_in)
    labels                the class of each row, int64 (n_rows,), or empty
    targets               what else is to be predicted, (n_rows, n_out) in the dtype of X, or empty
    weights               of the rows, float64 (n_rows,), or empty
    order                 in which rows are taken, int64 (n_rows,), or empty: as they come
    bounds                which of them make a batch, int64 (n_batches, 2): from, to
    layers, numbers       a row for each layer: int64 of `LAYERS`, and float64 (n_layers, 2)
    flat_params           all parameters of the network, to be changed
    flat_grads            its gradients, to be overwritten: at the end those of the last batch
    running               running means and variances, one after the other, to be changed
    words                 random bits, uint64: for each Dropout, batch after batch
    loss, of_loss         one of the losses below, and float64 (2,) for it
    penalized             whether the decay of what decays joins the loss
    rule                  one of the optimizers' rules below
    segments              which parameters decay, int64 (n, 3): from, to, whether they do
    memory                what the rule remembers, (2, n_params), or fewer rows, to be changed
    steps                 a row for each batch, float64 (n_batches, 8), of `STEPS`
    losses                float64 (n_batches,), to be overwritten
    scratch               for the largest batch: the input, all outputs, two gradients

What the rows of ``numbers`` hold::

    LEAKY_RELU            slope
    ELU                   alpha, scale
    DROPOUT               draws below which a value is kept of 256 (or 65536), and how many bits
    BATCH_NORM            eps, momentum

And ``of_loss``::

    CROSS_ENTROPY         smoothing                              labels
    BINARY_CROSS_ENTROPY  pos_weight, smoothing                  targets in [0, 1]
    SOFTMAX_SUM           cap                                    targets, rows of probabilities
    SIGMOID_SUM           cap                                    targets
    SQUARED_ERROR         factor of the sum over outputs         targets
    HUBER                 delta                                  targets
    ABSOLUTE_ERROR        nothing                                targets
    POISSON_SUM           nothing                                targets, not negative
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from layerkit.kernels._numpy import activations, cross_entropy, dense, normalization, random
from layerkit.kernels._numpy.optimizers import moments_step, sgd_step
from layerkit.kernels.dispatch import compiled, in_numpy

# The first ones name activations in `perceptron` as well.
IDENTITY, RELU, SIGMOID, TANH = dense.IDENTITY, dense.RELU, dense.SIGMOID, dense.TANH
LEAKY_RELU, ELU, SOFTPLUS, GELU, SILU, MISH, DENSE, DROPOUT, BATCH_NORM = range(4, 13)
# first, second: where W and b, or gamma and beta, begin in the flat vector; -1 is none
# aside: where gates or statistics stand in scratch; drawn: where words or running means begin
# x, y: where input and output stand in scratch; grad, passed: dL/dy and dL/dx, -1 is not needed
LAYERS = ("kind", "n_in", "n_out", "x", "y", "first", "second", "aside", "drawn", "grad", "passed")
KIND, N_IN, N_OUT, X, Y, FIRST, SECOND, ASIDE, DRAWN, GRAD, PASSED = range(len(LAYERS))

CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SOFTMAX_SUM, SIGMOID_SUM = range(4)
SQUARED_ERROR, HUBER, ABSOLUTE_ERROR, POISSON_SUM = range(4, 8)

# No step at all; p ← p - a g; and with u ← a u + g: p ← p - b u - c g; with the rate within,
# u ← a u - b g: p ← p + c u - d g; and `moments_step` with beta1, beta2, of_m, of_g, eps = a ... e
NO_STEP, DESCENT, MOMENTUM, VELOCITY, MOMENTS = range(5)
# keep: what decaying parameters are multiplied by; decay: what of them joins the gradient;
# penalty: that share of half their squares joins the loss
STEPS = ("normalizer", "keep", "decay", "a", "b", "c", "d", "e")


@compiled
def train_epoch(
    X: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    order: np.ndarray,
    bounds: np.ndarray,
    layers: np.ndarray,
    numbers: np.ndarray,
    flat_params: np.ndarray,
    flat_grads: np.ndarray,
    running: np.ndarray,
    words: np.ndarray,
    loss: int,
    of_loss: np.ndarray,
    penalized: bool,
    rule: int,
    segments: np.ndarray,
    memory: np.ndarray,
    steps: np.ndarray,
    losses: np.ndarray,
    scratch: np.ndarray,
) -> int:
    """Train on the batches one after the other; return how many had a finite loss.

    A batch whose loss is not finite is the last: its loss is written, nothing else is done. Where
    the loss is ``penalized``, half the decay of the squares of what decays joins each loss.
    """
    chain = Chain(layers, numbers, flat_params, flat_grads, running, words)
    for i, (start, stop) in enumerate(bounds.tolist()):
        rows = order[start:stop] if order.size else slice(start, stop)
        y = chain.forward(X[rows])
        normalizer, keep, decay, *of_step = steps[i].tolist()
        weight = weights[rows] if weights.size else None
        t = (labels if labels.size else targets)[rows]
        losses[i], grad = _objective(loss, of_loss, y, t, weight, normalizer)
        if penalized:
            squares = (flat_params[a:b] for a, b, decays in segments.tolist() if decays)
            losses[i] += decay / 2 * sum(float(np.vdot(w, w)) for w in squares)
        if not np.isfinite(losses[i]):
            return i
        chain.backward(grad)
        for a, b, decays in segments.tolist():
            here = slice(a, b)
            g = flat_grads[here]
            if decays and decay:
                g = g + decay * flat_params[here]
            kept = keep if decays else 1.0
            _step(rule, flat_params[here], g, memory[:, here], kept, *of_step)
    return len(bounds)


class Chain:
    """The layers of a table, with what their forward leaves for backward."""

    def __init__(
        self,
        layers: np.ndarray,
        numbers: np.ndarray,
        flat_params: np.ndarray,
        flat_grads: np.ndarray,
        running: np.ndarray,
        words: np.ndarray,
    ) -> None:
        self.rows = list(zip(layers.tolist(), numbers.tolist(), strict=True))
        self.params, self.grads, self.running = flat_params, flat_grads, running
        self.words = words
        self.used = [0] * len(self.rows)  # words, of each Dropout
        self.caches: list[tuple] = []

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return the output in training."""
        self.caches = []
        for k, (row, (a, b)) in enumerate(self.rows):
            kind, n_in, n_out, _, _, first, second, _, drawn, _, _ = row
            if kind == DENSE:
                y = x @ self.params[first : first + n_in * n_out].reshape(n_in, n_out)
                if second >= 0:
                    y += self.params[second : second + n_out]
                cache: tuple = (x,)
            elif kind == DROPOUT:
                n_words = -int(-x.size * b // 64)
                start = drawn + self.used[k]
                self.used[k] += n_words
                bits = self.words[start : start + n_words].astype("<u8", copy=False)
                keep = (bits.view(f"<u{int(b) // 8}")[: x.size] < a).reshape(x.shape)
                cache = keep, 2**b / a
                y = in_numpy(random.apply_mask)(x, *cache)
            elif kind == BATCH_NORM:
                gamma, beta = self._pair(self.params, first, second, n_in)
                y, mean, inv_std, var = in_numpy(normalization.batch_norm)(x, gamma, beta, a)
                m = len(x)
                means, variances = self._pair(self.running, drawn, drawn + n_in, n_in)
                means += b * (mean.sum(axis=0) - means)
                variances += b * (var * (m / (m - 1)) - variances)
                cache = x, mean, inv_std, gamma
            else:
                y, cache = _activate(kind, x, a, b)
            self.caches.append(cache)
            x = y
        return x

    def backward(self, grad: np.ndarray) -> None:
        """Overwrite the gradients of the parameters."""
        for (row, (a, b)), cache in zip(reversed(self.rows), reversed(self.caches), strict=True):
            kind, n_in, n_out, _, _, first, second, *_ = row
            if kind == DENSE:
                W = slice(first, first + n_in * n_out)
                np.matmul(cache[0].T, grad, out=self.grads[W].reshape(n_in, n_out))
                if second >= 0:
                    in_numpy(dense.sum_rows)(grad, self.grads[second : second + n_out])
                if row is not self.rows[0][0]:
                    grad = grad @ self.params[W].reshape(n_in, n_out).T
            elif kind == DROPOUT:
                grad = in_numpy(random.apply_mask)(grad, *cache)
            elif kind == BATCH_NORM:
                of_both = self._pair(self.grads, first, second, n_in)
                grad = in_numpy(normalization.batch_norm_grad)(grad, *cache, *of_both)
            else:
                grad = _differentiate(kind, grad, cache, a, b)

    @staticmethod
    def _pair(vector: np.ndarray, first: int, second: int, n: int) -> Iterator[np.ndarray]:
        return (vector[start : start + n] for start in (first, second))


def _activate(kind: int, x: np.ndarray, a: float, b: float) -> tuple[np.ndarray, tuple]:
    """Return f(x), and what its derivative is a formula in."""
    if kind in _GATED:
        y, gate = in_numpy(_GATED[kind][0])(x)
        return y, (x, gate)
    if kind == IDENTITY:
        return x, ()
    y = in_numpy(_PLAIN[kind][0])(x, *(a, b)[: _N_NUMBERS.get(kind, 0)])
    return y, (x if kind == SOFTPLUS else y,)


def _differentiate(kind: int, grad: np.ndarray, cache: tuple, a: float, b: float) -> np.ndarray:
    if kind == IDENTITY:
        return grad
    backward = (_GATED if kind in _GATED else _PLAIN)[kind][1]
    return in_numpy(backward)(grad, *cache, *(a, b)[: _N_NUMBERS.get(kind, 0)])


_N_NUMBERS = {LEAKY_RELU: 1, ELU: 2}
_PLAIN: dict[int, tuple[Any, Any]] = {
    RELU: (activations.relu, activations.relu_grad),
    SIGMOID: (activations.sigmoid, activations.sigmoid_grad),
    TANH: (activations.tanh, activations.tanh_grad),
    LEAKY_RELU: (activations.leaky_relu, activations.leaky_relu_grad),
    ELU: (activations.elu, activations.elu_grad),
    SOFTPLUS: (activations.softplus, activations.softplus_grad),
}
_GATED: dict[int, tuple[Any, Any]] = {
    GELU: (activations.gelu, activations.gelu_grad),
    SILU: (activations.silu, activations.silu_grad),
    MISH: (activations.mish, activations.mish_grad),
}


@np.errstate(all="ignore")  # whoever trains looks whether the loss is finite
def _objective(
    loss: int,
    of_loss: np.ndarray,
    x: np.ndarray,
    t: np.ndarray,
    weight: np.ndarray | None,
    normalizer: float,
) -> tuple[float, np.ndarray]:
    """Return the loss of a batch, and its gradient by the outputs x."""
    first, second = of_loss.tolist()
    scale = np.full(len(x), 1.0) if weight is None else weight
    scale = scale / normalizer
    if loss == CROSS_ENTROPY:
        return in_numpy(cross_entropy.cross_entropy_of_labels)(x, t, scale, first)
    if loss == BINARY_CROSS_ENTROPY:
        return in_numpy(cross_entropy.binary_cross_entropy)(x, t, scale, first, second)
    values, derivative = _values(loss, first, x, t)
    values[scale == 0] = 0
    derivative *= scale.astype(x.dtype)[:, np.newaxis]
    derivative[scale == 0] = 0
    return float(scale @ values), derivative


def _values(
    loss: int, number: float, x: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss of each row, and the derivative."""
    if loss == SOFTMAX_SUM:
        return in_numpy(cross_entropy.cross_entropy_of_softmax)(x, t, number)
    if loss == SIGMOID_SUM:
        return in_numpy(cross_entropy.cross_entropy_of_sigmoid)(x, t, number)
    n = x.shape[1]
    if loss == POISSON_SUM:
        error = np.exp(x) - t
        return np.sum(t * np.log(np.where(t > 0, t, 1)) - t * x + error, axis=1), error
    error = x - t
    if loss == SQUARED_ERROR:
        return number * np.einsum("ij,ij->i", error, error), 2 * number * error
    if loss == HUBER:
        slope = error.clip(-number, number)
        return (slope * (error - slope / 2)).mean(axis=1), slope / n
    return np.abs(error).mean(axis=1), np.sign(error) / n


def _step(
    rule: int,
    p: np.ndarray,
    g: np.ndarray,
    memory: np.ndarray,
    keep: float,
    a: float,
    b: float,
    c: float,
    d: float,
    e: float,
) -> None:
    """Change some of the parameters."""
    if rule == DESCENT:
        in_numpy(sgd_step)(p, g, None, a, 0.0, False)
    elif rule == MOMENTUM:
        u = memory[0]
        u *= a
        u += g
        p -= b * u + c * g if c else b * u
    elif rule == VELOCITY:
        u = memory[0]
        u *= a
        u -= b * g
        p += c * u - d * g if d else c * u
    elif rule == MOMENTS:
        in_numpy(moments_step)(p, g, *memory, a, b, c, d, e, keep)
