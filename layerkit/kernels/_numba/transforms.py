"""Winograd's transforms, one vector of channels at a time in registers.

The matrices and their derivation are in `_numpy.winograd`. Here each becomes straight code without
its zeros: ``matrix · tile · matrix^T`` loads a tile, and stores the result, once. Written as loops
over channels, LLVM would have to check that none of 72 rows overlap, and gives up vectorising.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from layerkit.kernels._numba.compile import inline
from layerkit.kernels._numba.tile import Memory, multiply_add
from layerkit.kernels._numpy.winograd import N_POINTS, of_input, of_kernel, of_output


def _emit_sum(builder: Any, coefficients: np.ndarray, vectors: list[Any]) -> Any:
    """Emit Σ of coefficients times vectors, leaving out zeros; None if all are."""
    terms = sorted(
        ((c, v) for c, v in zip(coefficients, vectors, strict=True) if c), key=lambda t: t[0] != 1
    )
    total = None
    for c, v in terms:
        if total is None:
            total = v if c == 1 else builder.fmul(_constant(v, c), v)
        elif abs(c) == 1:
            total = builder.fadd(total, v) if c == 1 else builder.fsub(total, v)
        else:
            total = multiply_add(builder, _constant(v, c), v, total)
    return total


def _constant(like: Any, c: float) -> Any:
    return ir.Constant(like.type, [like.type.element(float(c))] * like.type.count)


def _emit_product(builder: Any, matrix: np.ndarray, vectors: list[Any]) -> list[Any]:
    """Emit matrix · vectors. What the points a and -a share is computed once.

    Rows for a and -a (of B^T and G) are even + odd and even - odd part; columns (of A^T) act on the
    sum and the difference of their two vectors.
    """
    if len(matrix) < N_POINTS:
        even = [builder.fadd(vectors[i], vectors[i + 1]) for i in (1, 3)]
        odd = [builder.fsub(vectors[i], vectors[i + 1]) for i in (1, 3)]
        columns = [matrix[:, i] for i in range(N_POINTS)]
        sums = [(columns[i] + columns[i + 1]) / 2 for i in (1, 3)]
        differences = [(columns[i] - columns[i + 1]) / 2 for i in (1, 3)]
        folded = np.stack([columns[0], *sums, *differences, columns[5]], axis=1)
        return [_emit_sum(builder, row, [vectors[0], *even, *odd, vectors[5]]) for row in folded]
    products = [None] * N_POINTS
    for i in (0, 5):
        products[i] = _emit_sum(builder, matrix[i], vectors)
    for i in (1, 3):
        even = _emit_sum(builder, (matrix[i] + matrix[i + 1]) / 2, vectors)
        odd = _emit_sum(builder, (matrix[i] - matrix[i + 1]) / 2, vectors)
        products[i], products[i + 1] = builder.fadd(even, odd), builder.fsub(even, odd)
    return products


def _transform(matrix: np.ndarray) -> Callable[..., Any]:
    """Generate code for one vector of channels: target = matrix · source · matrix^T."""
    height, width = matrix.shape

    @intrinsic
    def transform(typing, a, a0, a_row, a_column, c, c0, c_row, c_column):  # type: ignore[no-untyped-def]
        number = types.intp
        signature = types.void(a, number, number, number, c, number, number, number)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, a0, a_row, a_column, c, c0, c_row, c_column = args
            source = Memory(context, builder, signature.args[0], a)
            target = Memory(context, builder, signature.args[4], c)

            def at(first: Any, by_row: Any, i: int, by_column: Any, j: int) -> Any:
                down = builder.mul(by_row, ir.IntType(64)(i))
                across = builder.mul(by_column, ir.IntType(64)(j))
                return builder.add(first, builder.add(down, across))

            columns = []
            for j in range(width):
                spots = [source.at(at(a0, a_row, i, a_column, j)) for i in range(width)]
                columns.append(_emit_product(builder, matrix, [source.load(s) for s in spots]))
            for i in range(height):
                row = _emit_product(builder, matrix, [column[i] for column in columns])
                for j, vector in enumerate(row):
                    target.store(vector, target.at(at(c0, c_row, i, c_column, j)))
            return context.get_dummy_value()

        return signature, generate

    return transform


# Element (i, j) of the result, one vector of channels, goes to c[c0 + i c_row + j c_column:], those
# of the argument come from a[a0 + i a_row + j a_column:].
transform_input = _transform(of_input())
transform_kernel_2, transform_kernel_3 = _transform(of_kernel(2)), _transform(of_kernel(3))
transform_kernel_4, transform_kernel_5 = _transform(of_kernel(4)), _transform(of_kernel(5))
transform_output_2, transform_output_3 = _transform(of_output(2)), _transform(of_output(3))
transform_output_4, transform_output_5 = _transform(of_output(4)), _transform(of_output(5))


@inline
def transform_kernel(r, a, a0, a_row, a_column, c, c0, c_row, c_column):
    """G · a · G^T of an r x r kernel."""
    if r == 2:
        transform_kernel_2(a, a0, a_row, a_column, c, c0, c_row, c_column)
    elif r == 3:
        transform_kernel_3(a, a0, a_row, a_column, c, c0, c_row, c_column)
    elif r == 4:
        transform_kernel_4(a, a0, a_row, a_column, c, c0, c_row, c_column)
    else:
        transform_kernel_5(a, a0, a_row, a_column, c, c0, c_row, c_column)


@inline
def transform_output(m, a, a0, a_row, a_column, c, c0, c_row, c_column):
    """A^T · a · A to m x m outputs."""
    if m == 2:
        transform_output_2(a, a0, a_row, a_column, c, c0, c_row, c_column)
    elif m == 3:
        transform_output_3(a, a0, a_row, a_column, c, c0, c_row, c_column)
    elif m == 4:
        transform_output_4(a, a0, a_row, a_column, c, c0, c_row, c_column)
    else:
        transform_output_5(a, a0, a_row, a_column, c, c0, c_row, c_column)
