"""One small product held in registers: the innermost loop of every convolution here.

A tile of the result is `ROWS` rows times one or two vectors, and stays in registers while the sum
runs; only then are a broadcast number of A and a vector of B loaded for `ROWS` times as many
multiplications. 6 rows x 2 vectors use 12 of the 16 registers of AVX2, 2 hold B and 1 a number of
A, and 12 independent sums hide the 4 cycles that a fused multiply-add takes twice at a time.
LLVM does not find this by itself in plain loops (a fifth of the speed), hence the code generator.

Rows of A and of C are found through tables of offsets, and so is the sum: nothing is copied to
make it a matrix. So one tile serves convolutions of any stride, dilation and group, their
gradients (rows are taps then, and the sum runs over pixels) and the products of Winograd.

References
----------
Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34, 2008.
Dukhan, "The indirect convolution algorithm", 2019, arXiv:1907.02129.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils

from layerkit.kernels._numba.compile import inline

intrinsic: Any = extending.intrinsic  # without the typing context, it takes one argument less

ROWS = 6
VECTOR_BYTES = 32  # AVX2; other machines get the same vectors cut or joined by LLVM
WIDE, NARROW = 2, 1  # vectors a row


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Emit a b + c of vectors, in one rounding where the machine can."""
    kind = a.type
    letter = "32" if isinstance(kind.element, ir.FloatType) else "64"
    name = f"llvm.fmuladd.v{kind.count}f{letter}"
    function = ir.FunctionType(kind, [kind] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [a, b, c])


class Memory:
    """Loads and stores of vectors at offsets, counted in numbers, from the start of an array."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        self.builder = builder
        made = context.make_array(kind)(context, builder, array)
        self.start, self.n_items = made.data, made.nitems
        number = context.get_data_type(kind.dtype)
        self.size = context.get_abi_sizeof(number)
        self.kind = ir.VectorType(number, VECTOR_BYTES // self.size)

    def at(self, offset: Any, start: Any = None) -> Any:
        """Point to the number at an offset."""
        return self.builder.gep(self.start if start is None else start, [offset])

    def load(self, pointer: Any, i: int = 0) -> Any:
        """Load the i-th vector from a pointer on."""
        return self.builder.load(self._vector(pointer, i), align=self.size)

    def store(self, vector: Any, pointer: Any, i: int = 0) -> None:
        """Store the i-th vector from a pointer on."""
        self.builder.store(vector, self._vector(pointer, i), align=self.size)

    def broadcast(self, pointer: Any) -> Any:
        """Load one number into every lane of a vector."""
        number = self.builder.load(pointer)
        unset = ir.Constant(self.kind, ir.Undefined)
        first = self.builder.insert_element(unset, number, ir.IntType(32)(0))
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), self.kind.count), None)
        return self.builder.shuffle_vector(first, unset, everywhere)

    def _vector(self, pointer: Any, i: int) -> Any:
        pointer = self.builder.gep(pointer, [ir.IntType(64)(i * self.kind.count)])
        return self.builder.bitcast(pointer, self.kind.as_pointer())


@intrinsic
def copy(typing, source, source0, target, target0, n):  # type: ignore[no-untyped-def]
    """Copy n numbers from ``source[source0:]`` to ``target[target0:]``, as fast as memory goes."""
    signature = types.void(source, types.intp, target, types.intp, types.intp)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, a0, c, c0, n = args
        source = Memory(context, builder, signature.args[0], a)
        target = Memory(context, builder, signature.args[2], c)
        cgutils.raw_memcpy(builder, target.at(c0), source.at(a0), n, source.size)
        return context.get_dummy_value()

    return signature, generate


@inline
def multiples(n, step):
    """Return 0, step, 2 step ...: the offsets of n rows, one behind the other."""
    offsets = np.empty(n, np.intp)
    for i in range(n):
        offsets[i] = i * step
    return offsets


class Rows(NamedTuple):
    """Rows i of a matrix A, at ``values[at + rows[row + i] + offsets[first + k]:]``."""

    values: np.ndarray
    at: int
    rows: np.ndarray
    row: int
    offsets: np.ndarray
    first: int


class Block(NamedTuple):
    """Some columns of a matrix B, whose row k is at ``values[at + k step:]``."""

    values: np.ndarray
    at: int
    step: int


class Target(NamedTuple):
    """Where a tile is stored: its row i at ``values[at + rows[row + i]:]``."""

    values: np.ndarray
    at: int
    rows: np.ndarray
    row: int


class Start(NamedTuple):
    """What all rows of a tile start from, ``values[at:]``; what they hold if ``at`` is negative."""

    values: np.ndarray
    at: int


def _fields(context: Any, builder: Any, kind: Any, value: Any) -> list[Any]:
    """Return what a named tuple holds: `Memory` of its arrays, and its numbers."""
    return [
        Memory(context, builder, of_field, field)
        if isinstance(of_field, types.Array)
        else context.cast(builder, field, of_field, types.intp)
        for of_field, field in zip(kind.types, cgutils.unpack_tuple(builder, value), strict=True)
    ]


def make_tile(vectors: int, by_channel: bool, n_rows: int = ROWS) -> Callable[..., Any]:
    """Generate the tile with so many vectors a row; ``by_channel`` multiplies vectors of A."""

    @intrinsic
    def tile(typing, n, rows, block, target, start):  # type: ignore[no-untyped-def]
        signature = types.void(types.intp, rows, block, target, start)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            n = args[0]
            (a, a0, a_rows, row, offsets, first), (b, b0, b_step), (c, c0, c_rows, c_row), begin = (
                _fields(context, builder, kind, value)
                for kind, value in zip(signature.args[1:], args[1:], strict=True)
            )
            start, start0 = begin
            add, zero = builder.add, ir.IntType(64)(0)
            steps = [ir.IntType(64)(i) for i in range(n_rows)]
            spots = [(i, v) for i in range(n_rows) for v in range(vectors)]
            row_of = [a.at(add(a0, builder.load(a_rows.at(add(row, i))))) for i in steps]
            out = [c.at(add(c0, builder.load(c_rows.at(add(c_row, i))))) for i in steps]

            sums = {spot: cgutils.alloca_once(builder, c.kind) for spot in spots}
            adds_to_c = builder.icmp_signed("<", start0, zero)
            with builder.if_else(adds_to_c) as (yes, no):
                with yes:
                    for i, v in spots:
                        builder.store(c.load(out[i], v), sums[i, v])
                with no:
                    begin = start.at(start0)
                    for i, v in spots:
                        builder.store(start.load(begin, v), sums[i, v])

            where_b = cgutils.alloca_once_value(builder, b.at(b0))
            with cgutils.for_range(builder, n) as loop:
                offset = builder.load(offsets.at(add(first, loop.index)))
                from_b = builder.load(where_b)
                bs = [b.load(from_b, v) for v in range(vectors)]
                for i in range(n_rows):
                    from_a = a.at(offset, row_of[i])
                    if not by_channel:
                        factor = a.broadcast(from_a)
                    for v in range(vectors):
                        if by_channel:
                            factor = a.load(from_a, v)
                        total = builder.load(sums[i, v])
                        builder.store(multiply_add(builder, factor, bs[v], total), sums[i, v])
                builder.store(b.at(b_step, from_b), where_b)

            for i, v in spots:
                c.store(builder.load(sums[i, v]), out[i], v)
            return context.get_dummy_value()

        return signature, generate

    return tile


_wide_tile = make_tile(WIDE, by_channel=False)
_narrow_tile = make_tile(NARROW, by_channel=False)
_wide_tile_by_channel = make_tile(WIDE, by_channel=True)
_narrow_tile_by_channel = make_tile(NARROW, by_channel=True)


@inline
def tile(order, vectors, n, rows, block, target, start):
    """Overwrite or increase a tile of the target, ``vectors`` vectors wide.

    Its row i becomes the start plus ``Σ_(k < n) a[i, k] b[k]``. With an order of channels, not
    None, ``a[i, k]`` too is a vector, and multiplied number by number.
    """
    if order is None:  # decided when compiled: two of four tiles are generated
        if vectors == WIDE:
            _wide_tile(n, rows, block, target, start)
        else:
            _narrow_tile(n, rows, block, target, start)
    elif vectors == WIDE:
        _wide_tile_by_channel(n, rows, block, target, start)
    else:
        _narrow_tile_by_channel(n, rows, block, target, start)
