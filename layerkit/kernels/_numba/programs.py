"""Programs: rows of a table, each with the address of a compiled operation and its operands.

A function that calls what it might need compiles all of that, a quarter of a minute for an epoch of
any chain of layers. The interpreter of a program knows nothing of the operations, which are found
by address: each is compiled on its own, when a program first contains it.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from layerkit.kernels._numba.compile import FLAGS, inline, jit
from layerkit.kernels._numba.threads import WORTHWHILE
from layerkit.kernels._numba.work_queue import share

LEAST_ROWS = 16  # of a part of a batch


class Data(NamedTuple):
    """What operations read and write, as `layerkit.kernels.epoch_program` says, and some more."""

    order: np.ndarray
    words: np.ndarray
    drawn: np.ndarray
    X: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    params: np.ndarray
    grads: np.ndarray
    running: np.ndarray
    memory: np.ndarray
    scratch: np.ndarray
    blas: np.ndarray  # addresses of its functions
    batch_labels: np.ndarray  # of the rows of a batch
    batch_targets: np.ndarray
    batch_weights: np.ndarray  # divided by the normalizer


class Operation:
    """A function ``(start, stop, row, numbers, step, data) -> float``, compiled when it is used.

    ``start`` and ``stop`` say which rows of the order are the batch; ``row`` (int64) and
    ``numbers`` are the operands, ``step`` what changes from batch to batch. What it returns joins
    the loss of the batch.
    """

    def __init__(self, function: Callable[..., float]) -> None:
        self._compiled: Any = jit(function, no_cpython_wrapper=True)
        self.address = functools.cache(self._address)

    def _address(self, dtype: np.dtype) -> int:
        """Return where the machine code for networks of a dtype is."""
        signature = _signature(numba.from_dtype(dtype))
        self._compiled.compile(signature)
        found = self._compiled.overloads[signature]
        return found.library.get_pointer_to_function(found.fndesc.llvm_func_name)


def _signature(number: Any) -> tuple[Any, ...]:
    """Types of an operation's arguments."""
    vector, integers, floats = (
        types.Array(t, 1, "C") for t in (number, types.int64, types.float64)
    )
    table, words = types.Array(number, 2, "C"), types.Array(types.uint64, 1, "C")
    data = types.NamedTuple(
        (
            integers, words, integers, table, integers, table, floats, vector, vector, vector,
            table, vector, integers, integers, table, floats,
        ),
        Data,
    )  # fmt: skip
    return types.int64, types.int64, integers, floats, floats, data


@intrinsic
def _call(typing, address, *arguments):  # type: ignore[no-untyped-def]
    """Call an operation; an exception in it goes on to the caller."""
    signature = types.float64(types.int64, types.StarArgTuple(arguments))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        types_of = signature.args[1].types
        convention = context.call_conv
        kind = convention.get_function_type(types.float64, types_of).as_pointer()
        function = builder.inttoptr(args[0], kind)
        values = cgutils.unpack_tuple(builder, args[1])
        status, number = convention.call_function(
            builder, function, types.float64, types_of, values
        )
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return number

    return signature, generate


def _block(typing, vector, place, *shape):  # type: ignore[no-untyped-def]
    """Return the part of a vector that begins at a place, in a shape; neither is checked.

    Slices and ``reshape`` are, which takes several times as long to compile.
    """
    kind = types.Array(vector.dtype, len(shape), "C")
    signature = kind(vector, types.intp, types.StarArgTuple([types.intp] * len(shape)))

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = context.make_array(signature.args[0])(context, builder, args[0])
        part = context.make_array(kind)(context, builder)
        lengths = cgutils.unpack_tuple(builder, args[2])
        strides = [whole.itemsize]
        for length in lengths[:0:-1]:
            strides.insert(0, builder.mul(strides[0], length))
        start = builder.gep(whole.data, [args[1]])
        populate_array(part, start, lengths, strides, whole.itemsize, None)
        return part._getvalue()

    return signature, generate


block: Any = intrinsic(_block)


# With sums reordered, the difference of an infinite loss and itself would be 0, and it be finite.
_ordered = functools.partial(jit, flags=FLAGS - {"reassoc"})


@_ordered
def run(
    queue, threads, sharing, row_work, block_rows, of_rows, penalties, rules, bounds, steps, losses,
    order, words, drawn, X, labels, targets, weights, params, flat_grads, running, memory, blas,
    scratch, grads, spare, batch_labels, batch_targets, batch_weights,
):  # fmt: skip
    """Run programs for batch after batch; stop where a loss is not finite, and return which.

    The rows of a batch are shared among threads, where there is so much work for a row that it is
    worth their while; then so many of them share the parameters. Each part of a batch has a row of
    its own of the last six arguments.
    """
    values = np.empty((threads, 1))
    for i in range(len(bounds)):
        start, n = bounds[i, 0], bounds[i, 1] - bounds[i, 0]
        parts = max(1, min(threads, n // LEAST_ROWS, int(n * row_work / WORTHWHILE)))
        fixed = steps[i], order, words, drawn, X, labels, targets, weights, params, running, memory
        done = share(
            queue, parts, _rows, (n,),
            (scratch, grads, spare, batch_labels, batch_targets, batch_weights, values),
            (start, block_rows, of_rows, fixed, blas),
        )  # fmt: skip
        data = _data(
            fixed, blas, scratch[0], grads[0], batch_labels[0], batch_targets[0], batch_weights[0]
        )
        total = 0.0
        for part in range(parts):
            total += values[part, 0]
        losses[i] = total + _follow(penalties, 0, n, steps[i], data)
        if not done:
            raise MemoryError("no memory for a part of a batch")
        if not np.isfinite(losses[i]):
            return i
        whole = grads[:parts]
        share(queue, sharing, _parameters, (len(rules[0]),), (), (rules, whole, steps[i], data))
    for k in range(flat_grads.size):  # a slice would compile a message on shapes, for a second
        flat_grads[k] = grads[0, k]
    return len(bounds)


@inline
def _data(fixed, blas, scratch, grads, batch_labels, batch_targets, batch_weights):
    _, order, words, drawn, X, labels, targets, weights, params, running, memory = fixed
    return Data(
        order, words, drawn, X, labels, targets, weights, params, grads, running, memory, scratch,
        blas, batch_labels, batch_targets, batch_weights,
    )  # fmt: skip


@inline
def _follow(program, start, stop, step, data):
    """Run a program once; return the sum of its operations, the rest left out if not finite."""
    table, numbers = program
    total = 0.0
    for k in range(len(table)):
        total += _call(table[k, 0], start, stop, table[k, 1:], numbers[k], step, data)
        if not np.isfinite(total):
            break
    return total


@_ordered
def _rows(
    first, last, scratch, grads, spare, batch_labels, batch_targets, batch_weights, value,
    start, block_rows, program, fixed, blas,
):  # fmt: skip
    """Compute loss and gradient of some rows of a batch, so many at a time as fit in the cache."""
    step, total = fixed[0], 0.0
    for low in range(first, last, block_rows):
        high = min(low + block_rows, last)
        into = grads if low == first else spare
        data = _data(fixed, blas, scratch, into, batch_labels, batch_targets, batch_weights)
        total += _follow(program, start + low, start + high, step, data)
        if low > first:
            for k in range(grads.size):
                grads[k] += spare[k]
    value[0] = total


@_ordered
def _parameters(first, last, program, grads, step, data):
    """Add the parts of the gradient and follow the optimizer's rule, for some spans."""
    table, numbers = program
    for k in range(first, last):
        low, high = table[k, 1], table[k, 2]
        for part in range(1, len(grads)):
            for p in range(low, high):
                grads[0, p] += grads[part, p]
        _call(table[k, 0], 0, 0, table[k, 1:], numbers[k], step, data)
