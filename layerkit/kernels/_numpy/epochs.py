"""Batches of a whole epoch in one call: gather rows, forward, loss, backward, step.

Between the kernels of a small network Python takes longer than they do. So a network that is a
chain of well-known layers is described by a table of integers, a row for each layer (`LAYERS`), and
so are its loss and its optimizer. Of that a program is made, once in a training run: of compiled
operations, or in NumPy of calls whose arguments are bound (`epoch_layers`, `epoch_steps`).

What a layer computes from so many rows stands in ``scratch`` from its ``y`` on. Nothing is computed
in place, which LLVM would do number by number. The loops are those of the other kernels.

Arguments of `epoch_program`::

    X                     all rows of the input, (n_rows, n_in)
    labels                the class of each row, int64 (n_rows,), or empty
    targets               what else is to be predicted, (n_rows, n_out) in the dtype of X, or empty
    weights               of the rows, float64 (n_rows,), or empty
    layers, numbers       a row for each layer: int64 of `LAYERS`, and float64 (n_layers, 2)
    flat_params           all parameters of the network, to be changed
    flat_grads            its gradients, to be overwritten: at the end those of the last batch
    running               running means and variances, one after the other, to be changed
    loss, of_loss         one of the losses below, and two numbers for it
    penalized             whether the decay of what decays joins the loss
    rule                  one of the optimizers' rules below
    segments              which parameters decay, int64 (n, 3): from, to, whether they do
    memory                what the rule remembers, (2, n_params), or fewer rows, to be changed
    scratch               for the largest batch: the input, all outputs, two gradients
    n_rows                of the largest batch

And of the program, in every epoch::

    order                 in which rows are taken, int64 (n_rows,), or empty: as they come
    bounds                which of them make a batch, int64 (n_batches, 2): from, to
    words                 random bits, uint64: for each Dropout, batch after batch
    drawn                 where those of each Dropout begin, int64, to be changed
    steps                 a row for each batch, float64 (n_batches, 8), of `STEPS`
    losses                float64 (n_batches,), to be overwritten

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

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import numpy as np
from numpy.typing import DTypeLike

from layerkit.kernels._numpy import activations, dense, epoch_layers, epoch_steps
from layerkit.kernels._numpy.epoch_layers import Row, Space, gated, of_kernels
from layerkit.kernels._numpy.epoch_steps import BatchLoss
from layerkit.kernels._numpy.threads import in_parts
from layerkit.kernels.dispatch import compiled

# The first ones name activations in `perceptron` as well.
IDENTITY, RELU, SIGMOID, TANH = dense.IDENTITY, dense.RELU, dense.SIGMOID, dense.TANH
LEAKY_RELU, ELU, SOFTPLUS, GELU, SILU, MISH, DENSE, DROPOUT, BATCH_NORM = range(4, 13)
# first, second: where W and b, or gamma and beta, begin in the flat vector; -1 is none
# aside: where gates or statistics stand in scratch
# drawn: which of the Dropouts it is; or where running means begin
# x, y: where input and output stand in scratch; grad, passed: dL/dy and dL/dx, -1 is not needed
LAYERS = Row._fields
KIND, N_IN, N_OUT, X, Y, FIRST, SECOND, ASIDE, DRAWN, GRAD, PASSED = range(len(LAYERS))

CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SOFTMAX_SUM, SIGMOID_SUM = range(4)
SQUARED_ERROR, HUBER, ABSOLUTE_ERROR, POISSON_SUM = range(4, 8)

# No step at all; p ← p - a g; and with u ← a u + g: p ← p - b u - c g; with the rate within,
# u ← a u - b g: p ← p + c u - d g; and `moments_step` with beta1, beta2, of_m, of_g, eps = a ... e
NO_STEP, DESCENT, MOMENTUM, VELOCITY, MOMENTS = range(5)
# keep: what decaying parameters are multiplied by; decay: what of them joins the gradient;
# penalty: that share of half their squares joins the loss
STEPS = ("normalizer", "keep", "decay", "a", "b", "c", "d", "e")

Program = Callable[
    [np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    int,
]
"""``train(order, bounds, words, drawn, steps, losses)``."""


PIECE = 32_768  # numbers of a vector that a rule passes over at a time: so few stay in the cache
BLOCK = 2**17  # and numbers of a layer's output, where rows of a batch need not be together


@compiled
def takes_epochs(dtype: DTypeLike, n_rows: int, multiply_adds: int) -> bool:
    """Whether `epoch_program` is to be called.

    Parameters
    ----------
    dtype : float32 or float64
        Of the network.
    n_rows : int
        Of the largest batch.
    multiply_adds : int
        Of the largest product, for one row.

    Returns
    -------
    answer : bool
        Always in NumPy.
    """
    return True


@compiled
def epoch_program(
    X: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    layers: np.ndarray,
    numbers: np.ndarray,
    flat_params: np.ndarray,
    flat_grads: np.ndarray,
    running: np.ndarray,
    loss: int,
    of_loss: tuple[float, float],
    penalized: bool,
    rule: int,
    segments: np.ndarray,
    memory: np.ndarray,
    scratch: np.ndarray,
    n_rows: int,
) -> Program:
    """Return what trains on the batches of an epoch, one after the other.

    It returns how many had a finite loss. A batch whose loss is not finite is the last: its loss is
    written, nothing else is done. Where the loss is ``penalized``, half the decay of the squares of
    what decays joins each loss.
    """
    rows = [Row(*row) for row in layers.tolist()]
    function, n_numbers = _LOSSES[loss]
    used = of_loss[:n_numbers]

    def program(scratch: np.ndarray, flat_grads: np.ndarray) -> _Program:
        return _Program(
            X,
            labels if labels.size else targets,
            weights,
            list(zip(rows, numbers.tolist(), strict=True)),
            (scratch, flat_params, flat_grads, running),
            lambda y, t, grad: function(y, t, *used, grad),
            _Rule(_RULES[rule], penalized, flat_params, flat_grads, segments, memory),
        )

    alone = rule == NO_STEP and not penalized
    if alone and not {DROPOUT, BATCH_NORM} & {row.kind for row in rows}:
        n = max(BLOCK // max(row.n_out for row in rows), 256)
        work = 3 * sum(row.n_in * row.n_out for row in rows if row.kind == DENSE)
        return _in_blocks(program, scratch, flat_grads, n, work)
    return program(scratch, flat_grads)


def _in_blocks(
    program: Callable[[np.ndarray, np.ndarray], Program],
    scratch: np.ndarray,
    grads: np.ndarray,
    n: int,
    work: int,
) -> Program:
    """Sum loss and gradient over blocks of n rows, whose outputs stay in the cache.

    There is so much work for a row. Parts of the blocks are summed at the same time, each with a
    program of its own.
    """
    programs: dict[int, tuple[Program, np.ndarray]] = {}  # and where it leaves the gradient

    def of_part(first: int) -> tuple[Program, np.ndarray]:
        if first not in programs:
            own = np.empty_like(grads)
            # a copy of scratch takes no memory but for the few rows that are used
            programs[first] = program(np.empty_like(scratch) if first else scratch, own), own
        return programs[first]

    def loss_of(
        order: np.ndarray, bounds: list[int], words: np.ndarray, drawn: np.ndarray, step: np.ndarray
    ) -> float:
        start, stop = bounds
        starts = np.arange(start, stop, n)
        blocks = np.column_stack([starts, np.minimum(starts + n, stop)])

        def summed(part: slice) -> tuple[float, np.ndarray]:
            run, own = of_part(part.start)
            loss, total, value = 0.0, np.zeros_like(grads), np.empty(1)
            for block in blocks[part]:
                finite = run(order, block[np.newaxis], words, drawn, step, value)
                loss += float(value[0])
                if not finite:
                    break
                total += own
            return loss, total

        parts = in_parts(summed, len(blocks), work * (stop - start))
        np.sum([total for _, total in parts], axis=0, out=grads)
        return sum(loss for loss, _ in parts)

    def train(
        order: np.ndarray,
        bounds: np.ndarray,
        words: np.ndarray,
        drawn: np.ndarray,
        steps: np.ndarray,
        losses: np.ndarray,
    ) -> int:
        for k, here in enumerate(bounds.tolist()):
            losses[k] = loss_of(order, here, words, drawn, steps[k : k + 1])
            if not isfinite(losses[k]):
                return k
        return len(bounds)

    return train


class _Rule:
    """A rule and the parameters that it changes, in pieces that stay in the cache."""

    def __init__(
        self,
        update: Callable[..., None] | None,
        penalized: bool,
        params: np.ndarray,
        grads: np.ndarray,
        segments: np.ndarray,
        memory: np.ndarray,
    ) -> None:
        self.update = update
        spans = [(start, stop) for start, stop, decays in segments.tolist() if decays]
        self.decaying = [params[start:stop] for start, stop in spans]
        self.penalized = self.decaying if penalized else []
        size = min(PIECE, params.size)
        total, spare = np.empty(size, params.dtype), np.empty((2, size), params.dtype)
        self.pieces = []
        for start in range(0, params.size, PIECE):
            here = slice(start, min(start + PIECE, params.size))
            p, n = params[here], here.stop - start
            within = [slice(max(a - start, 0), min(b - start, n)) for a, b in spans]
            shares = [(p[at], total[at], spare[0, at]) for at in within if at.start < at.stop]
            remembered = [row[here] for row in memory]
            self.pieces.append((p, grads[here], total[:n], shares, spare[:, :n], remembered))

    def penalty(self, decay: float) -> float:
        """Half the decay times the squares of what decays, if that joins the loss."""
        return decay / 2 * sum([float(np.vdot(p, p)) for p in self.penalized])

    def step(self, keep: float, decay: float, numbers: list[float]) -> None:
        """Change the parameters."""
        if self.update is None:
            return
        if keep != 1:
            for p in self.decaying:
                np.multiply(p, keep, p)
        for p, g, total, shares, spare, memory in self.pieces:
            if decay and shares:
                np.copyto(total, g)
                for decaying, of_total, share in shares:
                    np.multiply(decaying, decay, share)
                    np.add(of_total, share, of_total)
                g = total
            self.update(p, g, numbers, spare, *memory)


class _Program:
    """What `epoch_program` returns in NumPy."""

    def __init__(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        layers: list[tuple[Row, list[float]]],
        space: tuple[np.ndarray, ...],
        loss: Callable[..., BatchLoss],
        rule: _Rule,
    ) -> None:
        self.X, self.targets, self.weights = X, targets, weights
        self.layers, self.space, self.loss, self.rule = layers, space, loss, rule
        self.batches: dict[int, _Batch] = {}

    @np.errstate(all="ignore")  # a loss that is not finite says so
    def __call__(
        self,
        order: np.ndarray,
        bounds: np.ndarray,
        words: np.ndarray,
        drawn: np.ndarray,
        steps: np.ndarray,
        losses: np.ndarray,
    ) -> int:
        rule = self.rule
        for k, (start, stop) in enumerate(bounds.tolist()):
            normalizer, keep, decay, *numbers = steps[k].tolist()
            batch = self.batches.get(stop - start)
            if batch is None:
                batch = self.batches[stop - start] = _Batch(self, stop - start)
            rows = order[start:stop] if order.size else slice(start, stop)
            losses[k] = loss = batch.loss_of(rows, normalizer, words, drawn) + rule.penalty(decay)
            if not isfinite(loss):
                return k
            batch.differentiate()
            rule.step(keep, decay, numbers)
        return len(bounds)


class _Batch:
    """Forward, loss and backward of batches of so many rows."""

    def __init__(self, program: _Program, n: int) -> None:
        self.program, self.space = program, Space(n, *program.space)
        (first, _), (last, _) = program.layers[0], program.layers[-1]
        self.x = self.space.block(first.x, first.n_in)
        self.targets = np.empty((n, *program.targets.shape[1:]), program.targets.dtype)
        self.weights = np.empty(n) if program.weights.size else None
        passes = [
            _LAYERS[row.kind](row, numbers, self.space)
            for row, numbers in program.layers
            if row.kind != IDENTITY
        ]
        self.forward = [call for forward, _ in passes for call in forward]
        self.backward = [call for _, backward in reversed(passes) for call in backward]
        y, grad = (self.space.block(start, last.n_out) for start in (last.y, last.grad))
        self.loss = program.loss(y, self.targets, grad)

    def loss_of(
        self, rows: np.ndarray | slice, normalizer: float, words: np.ndarray, drawn: np.ndarray
    ) -> float:
        """Return the loss of some rows."""
        program, self.space.words, self.space.drawn = self.program, words, drawn
        _gather(program.X, rows, self.x)
        _gather(program.targets, rows, self.targets)
        if self.weights is not None:
            _gather(program.weights, rows, self.weights)
        for call in self.forward:
            call()
        return self.loss(self.weights, normalizer)

    def differentiate(self) -> None:
        """Overwrite the gradients by those of the last loss."""
        for call in self.backward:
            call()


def _gather(array: np.ndarray, rows: np.ndarray | slice, out: np.ndarray) -> None:
    if isinstance(rows, slice):
        np.copyto(out, array[rows])
    else:
        array.take(rows, 0, out, "clip")  # unlike "raise" it needs no buffer


_LAYERS = {
    DENSE: epoch_layers.dense,
    DROPOUT: epoch_layers.dropout,
    BATCH_NORM: epoch_layers.batch_norm,
    RELU: epoch_layers.relu,
    SIGMOID: epoch_layers.sigmoid,
    TANH: epoch_layers.tanh,
    LEAKY_RELU: of_kernels(activations.leaky_relu, activations.leaky_relu_grad, 1),
    ELU: of_kernels(activations.elu, activations.elu_grad, 2),
    SOFTPLUS: of_kernels(activations.softplus, activations.softplus_grad, of_x=True),
    GELU: gated(activations.gelu, activations.gelu_grad),
    SILU: gated(activations.silu, activations.silu_grad),
    MISH: gated(activations.mish, activations.mish_grad),
}
_LOSSES: dict[int, tuple[Callable[..., BatchLoss], int]] = {  # and how many numbers it has
    CROSS_ENTROPY: (epoch_steps.labels_loss, 1),
    BINARY_CROSS_ENTROPY: (epoch_steps.binary_loss, 2),
    SOFTMAX_SUM: (epoch_steps.softmax_sum, 1),
    SIGMOID_SUM: (epoch_steps.sigmoid_sum, 1),
    SQUARED_ERROR: (epoch_steps.squares, 1),
    HUBER: (epoch_steps.huber, 1),
    ABSOLUTE_ERROR: (epoch_steps.absolute, 0),
    POISSON_SUM: (epoch_steps.poisson_sum, 0),
}
_RULES = {
    NO_STEP: None,
    DESCENT: epoch_steps.descent,
    MOMENTUM: epoch_steps.momentum,
    VELOCITY: epoch_steps.velocity,
    MOMENTS: epoch_steps.moments,
}
