"""Numbers too small to be normal, taken for 0 by a thread's vector unit while it computes."""

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from layerkit.kernels._numba.compile import inline, jit

_SSE = platform.machine().lower() in ("x86_64", "amd64")
# All exceptions masked, rounding to nearest; with the bits for subnormal results and operands.
_NORMAL = 0x1F80
_FLUSHING = 0x1F80 | 1 << 15 | 1 << 6


def _generate_exchange(typing, word):  # type: ignore[no-untyped-def]
    """Set the control word of the vector unit, where that is SSE's, and return the one before."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if not _SSE:
            return args[0]
        held = cgutils.alloca_once(builder, ir.IntType(32))
        place = builder.bitcast(held, cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [place.type])
        read, write = (
            cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}mxcsr")
            for name in ("st", "ld")
        )
        builder.call(read, [place])
        before = builder.load(held)
        builder.store(args[0], held)
        builder.call(write, [place])
        return before

    return types.uint32(types.uint32), generate


set_control_word: Any = intrinsic(_generate_exchange)


@inline
def control_word():
    """Return the control word of this thread."""
    word = set_control_word(np.uint32(_NORMAL))
    set_control_word(word)
    return word


@jit
def exchange(word):
    """Set the control word of this thread, and return the one before.

    Both are Python's integers: those of NumPy take six times as long to make as this to run.
    """
    return set_control_word(np.uint32(word))


class flushing:
    """Within a ``with`` block, numbers too small to be normal are 0 for compiled code and BLAS.

    A network that knows its data by heart has gradients whose squares are subnormal; arithmetic
    with these takes up to ten times as long, and what they add to a sum is lost in rounding.
    """

    def __enter__(self) -> None:
        self._before = exchange(_FLUSHING)

    def __exit__(self, *error: object) -> None:
        exchange(self._before)
