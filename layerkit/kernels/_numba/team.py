"""Threads that take parts of a kernel's work from a board, without Python in between.

Python's global lock would let only one thread at a time prepare its call, and a thread that waits
for the lock falls asleep: for a kernel of 100 µs, half the time. So a call posts on the board, an
array of integers, where the code is that does a part, where its arguments are, and how many parts
are open. Whoever is free takes the next one, the caller too; it returns when all are done. A worker
that finds nothing for a while falls asleep, and nobody waits for one who sleeps: the caller does
its parts itself.

Taking a part is an atomic exchange of the number of open parts, so that no part is done twice. Code
and arguments are read after it: they cannot change before the part is done.
"""

import os
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from layerkit.kernels._numba.compile import inline, jit

# Places on a board, those that several threads write each in a cache line of its own.
OPEN, DONE, FAILED, CODE, ARGUMENTS, PARTS = 0, 8, 16, 24, 25, 26
SIZE = 32
# In place of the number of a part; not a literal, or Numba would compile for this case alone.
ALL = np.int64(-1)

_WORD = ir.IntType(64)
_STATUS = ir.IntType(32)
_PART = ir.FunctionType(_STATUS, [_WORD, _WORD])  # of the arguments' address and the part's number


def _go_on():
    return 0


# To a thread that waits for this processor.
give_way: Any = (
    types.ExternalFunction("sched_yield", types.int32()) if os.name == "posix" else inline(_go_on)
)


def new_board() -> np.ndarray:
    """Return a board on which nothing is posted."""
    return np.zeros(SIZE, np.int64)


@jit
def serve(board, looks):
    """Do parts until there were none for so many looks at the board."""
    look = 0
    while look < looks:
        look = 0 if _work(board) else look + 1
        give_way()


@jit
def _work(board):
    """Do parts until none is open; return how many."""
    done = 0
    while True:
        n: int = _read(board, OPEN)  # type: ignore[call-arg]
        if n == 0:
            return done
        if not _exchange(board, OPEN, n, n - 1):
            continue
        if _call(board[CODE], board[ARGUMENTS], board[PARTS] - n):
            board[FAILED] = 1
        _add(board, DONE, 1)
        done += 1


@inline
def bounds(n, parts, part):
    """Where a part of n rows begins and ends."""
    return n * part // parts, n * (part + 1) // parts


@inline
def share(board, parts):
    """Have the parts of what is posted done, by whoever is free; False if one failed."""
    board[PARTS], board[DONE], board[FAILED] = parts, 0, 0
    _add(board, OPEN, parts)  # type: ignore[call-arg]
    _work(board)
    while _read(board, DONE) < parts:
        give_way()
    return board[FAILED] == 0


def _place(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Address of the word that the second argument names, on the board that is the first."""
    words = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(words, [args[1]])


@intrinsic
def _read(typing, board, place):  # type: ignore[no-untyped-def]
    """Read a word that others write."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_place(context, builder, signature, args), "seq_cst", 8)

    return types.int64(board, types.intp), generate


@intrinsic
def _add(typing, board, place, number):  # type: ignore[no-untyped-def]
    """Add to a word at once; what was written before is there for those who read it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _place(context, builder, signature, args)
        return builder.atomic_rmw("add", word, args[2], "seq_cst")

    return types.int64(board, types.intp, types.int64), generate


@intrinsic
def _exchange(typing, board, place, old, new):  # type: ignore[no-untyped-def]
    """Put a new word in the place of the old one at once, if that is still there."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _place(context, builder, signature, args)
        result = builder.cmpxchg(word, args[2], args[3], "seq_cst", "monotonic")
        return builder.extract_value(result, 1)

    return types.boolean(board, types.intp, types.int64, types.int64), generate


@intrinsic
def _call(typing, code, arguments, part):  # type: ignore[no-untyped-def]
    """Call what was posted; whether it failed."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = builder.inttoptr(args[0], _PART.as_pointer())
        return builder.icmp_signed("!=", builder.call(code, args[1:]), _STATUS(0))

    return types.boolean(types.int64, types.int64, types.int64), generate


def _post(typing, board, parts, arguments):  # type: ignore[no-untyped-def]
    """Post a call of the compiled function that this stands in.

    The function's own arguments are ``(board, part, parts, *arguments)``, and it returns a bool:
    with ``part == ALL`` it posts and shares, otherwise it does that part. Being the same function,
    both are compiled at once.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function, of_all = builder.function, cgutils.pack_struct(builder, args)
        on_stack = cgutils.alloca_once_value(builder, of_all)
        code = ir.Function(builder.module, _PART, f"part.{function.name}")
        code.linkage = "internal"
        inside = ir.IRBuilder(code.append_basic_block())
        address = inside.inttoptr(code.args[0], of_all.type.as_pointer())
        board, parts, arguments = cgutils.unpack_tuple(inside, inside.load(address))
        own_types = (signature.args[0], types.int64, types.int64, *signature.args[2])
        own = [board, code.args[1], parts, *cgutils.unpack_tuple(inside, arguments)]
        status, _ = context.call_conv.call_function(inside, function, types.boolean, own_types, own)
        inside.ret(status.code)
        for place, posted in ((CODE, code), (ARGUMENTS, on_stack)):
            word = _place(context, builder, signature, [args[0], _WORD(place)])
            builder.store(builder.ptrtoint(posted, _WORD), word)
        return context.get_dummy_value()

    return types.void(board, types.int64, arguments), generate


post: Any = intrinsic(_post)
