"""Forward and backward of layers in NumPy, as calls whose arguments are bound beforehand.

In a small network it takes longer to find out what to compute, and where to write it, than to
compute it. So views are found once for all batches of so many rows, every result has its place, and
a pass is ``for call in calls: call()``. What is computed is what the layers compute, to the last
bit; here it stands in passes that need no new arrays.

Arguments::

    row                   where everything stands, as `epochs` says
    numbers               of the layer
    space                 in which the batch is computed
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from layerkit.kernels._numpy import normalization
from layerkit.kernels._numpy.random import apply_mask
from layerkit.kernels.dispatch import in_numpy

Call = Callable[[], Any]
Passes = tuple[Sequence[Call], Sequence[Call]]
"""Forward and backward."""


class Row(NamedTuple):
    """A row of the table of layers."""

    kind: int
    n_in: int
    n_out: int
    x: int
    y: int
    first: int
    second: int
    aside: int
    drawn: int
    grad: int
    passed: int


Maker = Callable[[Row, list[float], "Space"], Passes]


class Space:
    """Where batches of ``n`` rows are computed; ``words`` and ``drawn`` are those of an epoch."""

    def __init__(
        self,
        n: int,
        scratch: np.ndarray,
        params: np.ndarray,
        grads: np.ndarray,
        running: np.ndarray,
    ) -> None:
        self.n, self.scratch = n, scratch
        self.params, self.grads, self.running = params, grads, running
        self.words = self.drawn = np.empty(0, np.int64)

    def block(self, start: int, width: int) -> np.ndarray:
        """Return the rows that begin somewhere in scratch."""
        return self.scratch[start : start + self.n * width].reshape(self.n, width)

    def parameter(self, start: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a parameter and its gradient."""
        here = slice(start, start + int(np.prod(shape)))
        return self.params[here].reshape(shape), self.grads[here].reshape(shape)

    def ends(self, row: Row) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return x, y, dL/dy and dL/dx of a layer."""
        x, y = self.block(row.x, row.n_in), self.block(row.y, row.n_out)
        return x, y, self.block(row.grad, row.n_out), self.block(max(row.passed, 0), row.n_in)


def dense(row: Row, numbers: list[float], space: Space) -> Passes:
    """``y = x W + b``; ``dL/dW = xᵀ G``, ``dL/db = Σ_rows G``, ``dL/dx = G Wᵀ``."""
    x, y, grad, passed = space.ends(row)
    W, of_W = space.parameter(row.first, row.n_in, row.n_out)
    forward: list[Call] = [partial(np.matmul, x, W, y)]
    backward: list[Call] = [partial(np.matmul, x.T, grad, of_W)]
    if row.second >= 0:
        b, of_b = space.parameter(row.second, row.n_out)
        forward.append(partial(np.add, y, b, y))
        backward.append(partial(np.matmul, np.ones(space.n, y.dtype), grad, of_b))
    if row.passed >= 0:
        backward.append(partial(np.matmul, grad, W.T, passed))
    return forward, backward


def relu(row: Row, numbers: list[float], space: Space) -> Passes:
    """``y = max(x, 0)``; ``G [y > 0]``."""
    x, y, grad, passed = space.ends(row)
    positive = np.empty(y.shape, bool)
    forward = [partial(x.clip, 0, np.inf, y)]
    return forward, [
        partial(np.greater, y, 0, positive),
        partial(np.multiply, grad, positive, passed),
    ]


def sigmoid(row: Row, numbers: list[float], space: Space) -> Passes:
    """``y = 1 / (1 + exp(-x))``; ``G y (1 - y)``."""
    x, y, grad, passed = space.ends(row)
    forward = [
        partial(np.negative, x, y),
        partial(np.exp, y, y),
        partial(np.add, y, 1, y),
        partial(np.divide, 1, y, y),
    ]
    return forward, [
        partial(np.subtract, 1, y, passed),
        partial(np.multiply, y, passed, passed),
        partial(np.multiply, grad, passed, passed),
    ]


def tanh(row: Row, numbers: list[float], space: Space) -> Passes:
    """``y = tanh(x)``; ``G (1 - y²)``."""
    x, y, grad, passed = space.ends(row)
    return [partial(np.tanh, x, y)], [
        partial(np.multiply, y, y, passed),
        partial(np.subtract, 1, passed, passed),
        partial(np.multiply, grad, passed, passed),
    ]


def of_kernels(function: Any, derivative: Any, n_numbers: int = 0, of_x: bool = False) -> Maker:
    """Make an activation of two kernels; the derivative is a formula in y, else in x."""
    function, derivative = in_numpy(function), in_numpy(derivative)

    def make(row: Row, numbers: list[float], space: Space) -> Passes:
        x, y, grad, passed = space.ends(row)
        used = numbers[:n_numbers]

        def forward() -> None:
            y[...] = function(x, *used)

        def backward() -> None:
            passed[...] = derivative(grad, x if of_x else y, *used)

        return [forward], [backward]

    return make


def gated(function: Any, derivative: Any) -> Maker:
    """Make an activation of two kernels, of which the first returns its gate as well."""
    function, derivative = in_numpy(function), in_numpy(derivative)

    def make(row: Row, numbers: list[float], space: Space) -> Passes:
        x, y, grad, passed = space.ends(row)
        gate = space.block(row.aside, row.n_in)

        def forward() -> None:
            y[...], gate[...] = function(x)

        def backward() -> None:
            passed[...] = derivative(grad, x, gate)

        return [forward], [backward]

    return make


def dropout(row: Row, numbers: list[float], space: Space) -> Passes:
    """Keep values whose 8 or 16 bits of the words are below the threshold, and scale them."""
    x, y, grad, passed = space.ends(row)
    threshold, bits = int(numbers[0]), int(numbers[1])
    n_words, scale, mask = -(-x.size * bits // 64), 2.0**bits / threshold, in_numpy(apply_mask)
    keep = np.empty(x.shape, bool)

    def forward() -> None:
        start = space.drawn[row.drawn]
        words = space.words[start : start + n_words].astype("<u8", copy=False)
        space.drawn[row.drawn] += n_words  # where those of the next batch begin
        np.less(words.view(f"<u{bits // 8}")[: x.size].reshape(x.shape), threshold, keep)
        y[...] = mask(x, keep, scale)

    def backward() -> None:
        passed[...] = mask(grad, keep, scale)

    return [forward], [backward]


def batch_norm(row: Row, numbers: list[float], space: Space) -> Passes:
    """Standardise, and let the running mean and variance follow."""
    x, y, grad, passed = space.ends(row)
    gamma, of_gamma = space.parameter(row.first, row.n_in)
    beta, of_beta = space.parameter(row.second, row.n_in)
    means, variances = space.running[row.drawn :][: 2 * row.n_in].reshape(2, row.n_in)
    eps, momentum = numbers
    function, derivative = (
        in_numpy(normalization.batch_norm),
        in_numpy(normalization.batch_norm_grad),
    )
    found: list[np.ndarray] = []  # the mean, in two parts, and 1 / deviation

    def forward() -> None:
        y[...], mean, inv_std, var = function(x, gamma, beta, eps)
        found[:] = mean, inv_std
        np.add(means, momentum * (mean.sum(axis=0) - means), means)
        unbiased = var * (space.n / (space.n - 1))
        np.add(variances, momentum * (unbiased - variances), variances)

    def backward() -> None:
        passed[...] = derivative(grad, x, *found, gamma, of_gamma, of_beta)

    return [forward], [backward]
