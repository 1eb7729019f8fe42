"""Matrix products inside compiled code, by the very BLAS that NumPy uses.

Numba's own ``np.dot`` calls SciPy's BLAS, another library with threads of its own and other last
bits. Here NumPy's is called by address, with the arguments that `numpy.matmul` would give it, so
that compiled and plain code agree to the last bit. An address changes from process to process, so
it is an argument: a constant would spoil the cache of compiled code.
"""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from layerkit.kernels._numba.compile import inline
from layerkit.kernels.blas import libraries

_LETTERS = {np.dtype(np.float32): "s", np.dtype(np.float64): "d"}
# From cblas.h.
_ROW_MAJOR, _COLUMN_MAJOR, _PLAIN, _TRANSPOSED = 101, 102, 111, 112


@cache
def addresses(dtype: np.dtype) -> np.ndarray | None:
    """Where ``gemm``, ``gemv`` and ``dot`` of this dtype are; None where NumPy has another BLAS.

    Only OpenBLAS with 64-bit integers, which comes with NumPy's wheels, carries these names.
    """
    names = [f"scipy_cblas_{_LETTERS[dtype]}{name}64_" for name in ("gemm", "gemv", "dot")]
    for library in libraries():
        loaded = ctypes.CDLL(library.filepath)
        if all(hasattr(loaded, name) for name in names):
            found = [ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value for name in names]
            return np.array(found, np.int64)
    return None


def _call(kinds: str, returns_number: bool = False) -> Any:
    """Generate a call by address: "i" an enumeration, "n" a size, "x" a number, "p" an array."""

    @intrinsic
    def call(typing, address, arguments):  # type: ignore[no-untyped-def]
        result = arguments[1].dtype if returns_number else types.void
        signature = result(types.int64, arguments)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            made, declared = [], []
            for kind, numba_type, value in zip(
                kinds, signature.args[1], cgutils.unpack_tuple(builder, args[1]), strict=True
            ):
                if kind == "p":
                    value = context.make_array(numba_type)(context, builder, value).data
                elif kind == "i":
                    value = builder.trunc(value, ir.IntType(32))
                made.append(value)
                declared.append(value.type)
            returned = context.get_value_type(result) if returns_number else ir.VoidType()
            function = ir.FunctionType(returned, declared).as_pointer()
            number = builder.call(builder.inttoptr(args[0], function), made)
            return number if returns_number else context.get_dummy_value()

        return signature, generate

    return call


_gemm = _call("iiinnnxpnpnxpn")
_gemv = _call("iinnxpnpnxpn")
_dot = _call("npnpn", returns_number=True)


@inline
def multiply(blas, a, b, out):
    """Overwrite ``out`` with a b; all are C-contiguous."""
    m, n, p = a.shape[0], a.shape[1], b.shape[1]
    one, zero = out.dtype.type(1), out.dtype.type(0)
    if m == 1 and p == 1:
        out[0, 0] = _dot(blas[2], (n, a, 1, b, 1))
    elif p == 1:
        _gemv(blas[1], (_COLUMN_MAJOR, _TRANSPOSED, n, m, one, a, n, b, 1, zero, out, 1))
    elif m == 1:
        _gemv(blas[1], (_ROW_MAJOR, _TRANSPOSED, n, p, one, b, p, a, 1, zero, out, 1))
    else:
        _gemm(blas[0], (_ROW_MAJOR, _PLAIN, _PLAIN, m, p, n, one, a, n, b, p, zero, out, p))


@inline
def multiply_transposed(blas, a, b, out):
    """Overwrite ``out`` with aᵀ b; all are C-contiguous."""
    n, m, p = a.shape[0], a.shape[1], b.shape[1]
    one, zero = out.dtype.type(1), out.dtype.type(0)
    if p == 1:
        _gemv(blas[1], (_ROW_MAJOR, _TRANSPOSED, n, m, one, a, m, b, 1, zero, out, 1))
    elif m == 1:
        _gemv(blas[1], (_ROW_MAJOR, _TRANSPOSED, n, p, one, b, p, a, 1, zero, out, 1))
    else:
        _gemm(blas[0], (_ROW_MAJOR, _TRANSPOSED, _PLAIN, m, p, n, one, a, m, b, p, zero, out, p))


@inline
def multiply_by_transpose(blas, a, b, out):
    """Overwrite ``out`` with a bᵀ; all are C-contiguous."""
    m, n, p = a.shape[0], a.shape[1], b.shape[0]
    one, zero = out.dtype.type(1), out.dtype.type(0)
    _gemm(blas[0], (_ROW_MAJOR, _PLAIN, _TRANSPOSED, m, p, n, one, a, n, b, n, zero, out, p))


@inline
def add_product(blas, a, b, out):
    """Add a b to ``out``; all are C-contiguous."""
    m, n, p = a.shape[0], a.shape[1], b.shape[1]
    one = out.dtype.type(1)
    if m == 1:
        _gemv(blas[1], (_ROW_MAJOR, _TRANSPOSED, n, p, one, b, p, a, 1, one, out, 1))
    else:
        _gemm(blas[0], (_ROW_MAJOR, _PLAIN, _PLAIN, m, p, n, one, a, n, b, p, one, out, p))


@inline
def multiply_any(blas, a, b, out, factor=1.0, kept=0.0):
    """Overwrite ``out`` with ``kept * out + factor * a b``.

    The rows of ``out`` are contiguous, and those or else the columns of a and of b.
    """
    m, n, p = a.shape[0], a.shape[1], b.shape[1]
    factor, kept = out.dtype.type(factor), out.dtype.type(kept)
    of_a = _PLAIN if a.strides[1] == a.itemsize else _TRANSPOSED
    of_b = _PLAIN if b.strides[1] == b.itemsize else _TRANSPOSED
    pitch_a = a.strides[0 if of_a == _PLAIN else 1] // a.itemsize
    pitch_b = b.strides[0 if of_b == _PLAIN else 1] // b.itemsize
    pitch = out.strides[0] // out.itemsize
    shape = _ROW_MAJOR, of_a, of_b, m, p, n
    _gemm(blas[0], (*shape, factor, a, pitch_a, b, pitch_b, kept, out, pitch))
