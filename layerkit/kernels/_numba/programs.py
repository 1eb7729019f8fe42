"""Programs: rows of a table, each with the address of a compiled operation and its operands.

A function that calls what it might need compiles all of that, a quarter of a minute for an epoch of
any chain of layers. The interpreter of a program knows nothing of the operations, which are found
by address: each is compiled on its own, when a program first contains it.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import models, register_model
from numba.np.arrayobj import populate_array

from layerkit.kernels._numba.compile import FLAGS, Part, inline, jit
from layerkit.kernels._numba.threads import WORTHWHILE
from layerkit.kernels._numba.work_queue import intrinsic, share

LEAST_ROWS = 16  # of a part of a batch


class Data(types.Type):
    """What operations read and write, as `layerkit.kernels.epoch_program` says, and some more.

    To them it is the address of these arrays, one behind the other as `in_words` has each. As
    arguments or as a tuple they would take several times as long to compile, in every operation.
    """

    def __init__(self, number: Any) -> None:
        super().__init__(f"Data({number})")
        self.number = number
        vector, integers, floats = (
            types.Array(t, 1, "C") for t in (number, types.int64, types.float64)
        )
        table, words = types.Array(number, 2, "C"), types.Array(types.uint64, 1, "C")
        self.arrays = {
            "order": integers,
            "words": words,
            "drawn": integers,
            "X": table,
            "labels": integers,
            "targets": table,
            "weights": floats,
            "params": vector,
            "grads": vector,
            "running": vector,
            "memory": table,
            "scratch": vector,
            "blas": integers,  # addresses of its functions
            "batch_labels": integers,  # of the rows of a batch
            "batch_targets": table,
            "batch_weights": floats,  # divided by the normalizer
        }


@register_model(Data)
class _Address(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, cgutils.voidptr_t)


@infer_getattr
class _Arrays(AttributeTemplate):
    key = Data

    def generic_resolve(self, data: Any, name: str) -> Any:  # type: ignore[override]
        return data.arrays.get(name)


@lower_getattr_generic(Data)
def _array(context: Any, builder: Any, data: Any, address: Any, name: str) -> Any:
    names = list(data.arrays)
    kinds = [context.get_value_type(kind) for kind in data.arrays.values()]
    place = builder.bitcast(address, ir.LiteralStructType(kinds).as_pointer())
    return builder.load(cgutils.gep_inbounds(builder, place, 0, names.index(name)))


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
    floats = types.CPointer(types.float64)
    return types.int64, types.int64, types.CPointer(types.int64), floats, floats, Data(number)


@intrinsic
def _call(typing, start, stop, row, numbers, step, data):  # type: ignore[no-untyped-def]
    """Call an operation, whose address stands before its operands in a row; errors go on."""
    kinds = _signature(data.number)
    signature = types.float64(*kinds)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start, stop, row, *others = args
        convention = context.call_conv
        kind = convention.get_function_type(types.float64, kinds).as_pointer()
        function = builder.inttoptr(builder.load(row), kind)
        values = [start, stop, cgutils.gep_inbounds(builder, row, 1), *others]
        status, number = convention.call_function(builder, function, types.float64, kinds, values)
        with cgutils.if_unlikely(builder, status.is_error):
            convention.return_status_propagate(builder, status)
        return number

    return signature, generate


@intrinsic
def _at(typing, array, place):  # type: ignore[no-untyped-def]
    """Return where a number of an array is, all of its numbers counted."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.gep(whole.data, [args[1]])

    return types.CPointer(array.dtype)(array, types.intp), generate


@intrinsic
def _data(typing, address, like):  # type: ignore[no-untyped-def]
    """Return the `Data` at an address; its numbers are those of an array."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], cgutils.voidptr_t)

    return Data(like.dtype)(address, like), generate


def in_words(array: np.ndarray) -> list[int]:
    """Return an array as compiled code holds it: no owner, then sizes, address, shape, strides."""
    return [0, 0, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides]


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
_ORDERED = FLAGS - {"reassoc"}
_ordered_part = functools.partial(Part, flags=_ORDERED)


@functools.partial(jit, flags=_ORDERED)
def run(
    queue, threads, sharing, row_work, block_rows, rows, numbers, penalties, rules, bounds, steps,
    losses, tables, grads, values,
):  # fmt: skip
    """Run programs for batch after batch; stop where a loss is not finite, and return which.

    The rows of a batch are shared among threads, where there is so much work for a row that it is
    worth their while; then so many of them share the parameters. Each part of a batch has a row of
    its own of the last three arguments. Its row of ``tables`` is its `Data` twice, as `in_words`
    has it, once with its row of ``grads`` and once with a spare one. In ``rows`` programs follow
    one another: first that for rows of a batch, those for parameters from where ``penalties`` and
    ``rules`` say. The result is -1 if there was no memory.
    """
    for i in range(len(bounds)):
        start, n, step = bounds[i, 0], bounds[i, 1] - bounds[i, 0], _at(steps, i * steps.shape[1])
        wanted, most = np.int64(n * row_work / WORTHWHILE), n // LEAST_ROWS
        most = most if most < threads else threads
        parts = wanted if wanted < most else most
        parts = parts if parts > 1 else 1
        done = share(
            queue, parts, _rows, (n,), (tables, values),
            (start, block_rows, rows, numbers, penalties, step, grads),
        )  # fmt: skip
        if not done:
            return -1
        total = 0.0
        for part in range(parts):
            total += values[part, 0]
        data = _data(_at(tables, 0), grads)
        losses[i] = total + _follow(rows, numbers, penalties, rules, start, n, step, data)
        if not math.isfinite(losses[i]):
            return i
        fixed = rules, rows, numbers, parts, step, tables, grads
        share(queue, sharing, _parameters, (len(rows) - rules,), (), fixed)
    return len(bounds)


@inline
def _follow(rows, numbers, first, last, start, stop, step, data):
    """Run a program once; return the sum of its operations, the rest left out if not finite."""
    total = 0.0
    for k in range(first, last):
        row, pair = _at(rows, k * rows.shape[1]), _at(numbers, k * 2)
        total += _call(start, stop, row, pair, step, data)
        if not math.isfinite(total):
            break
    return total


@_ordered_part
def _rows(
    first, last, table, value, start, block_rows, rows, numbers, n_operations, step, like
):  # fmt: skip
    """Compute loss and gradient of some rows of a batch, so many at a time as fit in the cache."""
    own, other = _data(_at(table, 0), like), _data(_at(table, table.shape[1]), like)
    grads, spare = own.grads, other.grads
    total, none = 0.0, np.int64(0)  # for a literal 0 `_follow` would be compiled once more
    for low in range(first, last, block_rows):
        high = low + block_rows if low + block_rows < last else last
        data = own if low == first else other
        total += _follow(rows, numbers, none, n_operations, start + low, start + high, step, data)
        if low > first:
            for k in range(grads.size):
                grads[k] += spare[k]
    value[0] = total


@_ordered_part
def _parameters(first, last, rules, rows, numbers, parts, step, tables, grads):
    """Add the parts of the gradient and follow the optimizer's rule, for some spans."""
    data = _data(_at(tables, 0), grads)
    for k in range(rules + first, rules + last):
        low, high = rows[k, 1], rows[k, 2]
        for part in range(1, parts):
            for p in range(low, high):
                grads[0, p] += grads[part, p]
        _call(0, 0, _at(rows, k * rows.shape[1]), _at(numbers, k * 2), step, data)
