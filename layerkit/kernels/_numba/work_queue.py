"""A task in parts, which threads take from a queue without Python in between.

Python's global lock would let only one thread at a time prepare its call, and a thread that waits
for the lock falls asleep: for a kernel of 100 µs, half the time. So a call describes its task in an
array of integers: where the code is that does a part, where its arguments are, and how many parts
are open. Whoever is free takes the next one, the caller too; it returns when all are done. A worker
that finds nothing for a while falls asleep, and nobody waits for one who sleeps: the caller does
its parts itself.

A part is done under the control word of the thread that called, whoever does it: what is flushed to
zero must not depend on who was free.

Taking a part is an atomic exchange of the number of open parts, so that no part is done twice. Code
and arguments are read after it: they cannot change before the part is done.
"""

import functools
import os
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.np.arrayobj import populate_array

from layerkit.kernels._numba.compile import inline, jit
from layerkit.kernels._numba.flushing import control_word, set_control_word

intrinsic: Any = extending.intrinsic  # without the typing context, it takes one argument less

# Words of a queue, those that several threads write each in a cache line of its own.
OPEN, DONE, FAILED, CODE, ARGUMENTS, PARTS, MODE = 0, 8, 16, 24, 25, 26, 27
SIZE = 32

_WORD = ir.IntType(64)
_STATUS = ir.IntType(32)
_PART = ir.FunctionType(_STATUS, [_WORD, _WORD])  # of the arguments' address and the part's number

# Lets a thread that waits for this processor have it.
give_way: Any = inline(lambda: 0)
if os.name == "posix":
    give_way = types.ExternalFunction("sched_yield", types.int32())


def new_queue() -> np.ndarray:
    """Return a queue with no task."""
    return np.zeros(SIZE, np.int64)


@functools.partial(jit, no_cpython_wrapper=True)
def _complete(queue, parts, code, arguments):
    """Do the parts of a task together with whoever is free."""
    if parts == 1:
        return not _call(code, arguments, 0)
    queue[CODE], queue[ARGUMENTS], queue[PARTS] = code, arguments, parts
    queue[DONE], queue[FAILED], queue[MODE] = 0, 0, control_word()
    atomic_add(queue, OPEN, parts)
    _work(queue)
    while atomic_read(queue, DONE) < parts:
        give_way()
    return queue[FAILED] == 0


@jit
def serve(queue, looks):
    """Do parts until there were none for so many looks at the queue."""
    look = 0
    while look < looks:
        look = 0 if _work(queue) else look + 1
        give_way()


@inline
def _work(queue):
    """Do parts until none is open; return how many."""
    done = 0
    while True:
        n = atomic_read(queue, OPEN)
        if n == 0:
            return done
        if not _exchange(queue, OPEN, n, n - 1):
            continue
        set_control_word(np.uint32(queue[MODE]))
        if _call(queue[CODE], queue[ARGUMENTS], queue[PARTS] - n):
            queue[FAILED] = 1
        atomic_add(queue, DONE, 1)
        done += 1


def _word(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    """Address of the word that the second argument names, in the queue that is the first."""
    words = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(words, [args[1]])


@intrinsic
def atomic_read(typing, queue, word):  # type: ignore[no-untyped-def]
    """Read a word that others write."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_word(context, builder, signature, args), "seq_cst", 8)

    return types.int64(queue, types.intp), generate


@intrinsic
def atomic_add(typing, queue, word, number):  # type: ignore[no-untyped-def]
    """Add to a word at once; what was written before is there for those who read it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _word(context, builder, signature, args)
        return builder.atomic_rmw("add", word, args[2], "seq_cst")

    return types.int64(queue, types.intp, types.int64), generate


@intrinsic
def _exchange(typing, queue, word, old, new):  # type: ignore[no-untyped-def]
    """Replace the old value of a word by a new one at once, if it is still there."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        word = _word(context, builder, signature, args)
        result = builder.cmpxchg(word, args[2], args[3], "seq_cst", "monotonic")
        return builder.extract_value(result, 1)

    return types.boolean(queue, types.intp, types.int64, types.int64), generate


@intrinsic
def _call(typing, code, arguments, part):  # type: ignore[no-untyped-def]
    """Do a part of a task; whether it failed."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = builder.inttoptr(args[0], _PART.as_pointer())
        return builder.icmp_signed("!=", builder.call(code, args[1:]), _STATUS(0))

    return types.boolean(types.int64, types.int64, types.int64), generate


@intrinsic
def share(typing, queue, parts, kernel, cut, each, whole):  # type: ignore[no-untyped-def]
    """Run ``kernel(*cut, *each, *whole)`` for each part, on the threads that serve the queue.

    A part gets its rows of the arrays in ``cut``, which have one length, its row of those in
    ``each``, and ``whole`` as it is. In place of an array, ``cut`` may have a length: then the part
    gets the first of its rows and the one behind its last. For a single part no queue is needed.
    The result is False if a part failed.
    """
    given: list[Any] = []
    for kind in cut.types:
        given += [kind] if isinstance(kind, types.Array) else [types.int64] * 2
    given += [kind.copy(ndim=kind.ndim - 1) for kind in each.types]
    of_part = kernel.get_call_type(typing, (*given, *map(types.unliteral, whole.types)), {})
    words = (queue, *[types.int64] * 3)
    complete: Any = types.Dispatcher(_complete)  # type: ignore[type-var]
    of_all = complete.get_call_type(typing, words, {})

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        packed = cgutils.pack_struct(builder, [args[1], *args[3:]])
        arguments = cgutils.alloca_once_value(builder, packed)
        module = builder.module
        code = ir.Function(module, _PART, module.get_unique_name("part"))
        code.linkage = "internal"
        inside = ir.IRBuilder(code.append_basic_block())
        address = inside.inttoptr(code.args[0], packed.type.as_pointer())
        parts, *groups = cgutils.unpack_tuple(inside, inside.load(address))
        cut_values, each_values, rest = (cgutils.unpack_tuple(inside, group) for group in groups)
        rows = _Rows(context, inside, code.args[1], parts)
        values = [v for pair in zip(cut.types, cut_values, strict=True) for v in rows.cut(*pair)]
        values += [rows.one(*pair) for pair in zip(each.types, each_values, strict=True)]
        values += [*rest, *[None] * (len(of_part.args) - len(given) - len(rest))]  # and defaults
        function = _linked(context, kernel.dispatcher, of_part)
        status, _ = context.call_internal_no_propagate(inside, function, of_part, values)
        inside.ret(inside.zext(status.is_error, _STATUS))
        task = [builder.ptrtoint(pointer, _WORD) for pointer in (code, arguments)]
        function = _linked(context, _complete, of_all)
        return context.call_internal(builder, function, of_all, [*args[:2], *task])

    return types.boolean(queue, types.int64, kernel, cut, each, whole), generate


def _linked(context: Any, dispatcher: Any, signature: Any) -> Any:
    """Return a compiled function, linked to what is being compiled."""
    compiled = dispatcher.get_compile_result(signature)
    context.active_code_library.add_linking_library(compiled.library)
    return compiled.fndesc


class _Rows:
    """Emits the rows of arrays that belong to a part."""

    def __init__(self, context: Any, builder: Any, part: Any, parts: Any) -> None:
        self.context, self.builder, self.part, self.parts = context, builder, part, parts

    def cut(self, kind: Any, value: Any) -> list[Any]:
        """Return a part of the rows of an array, or where it begins and ends in a length."""
        if not isinstance(kind, types.Array):
            return self._bounds(value)
        array = self.context.make_array(kind)(self.context, self.builder, value)
        n, *others = cgutils.unpack_tuple(self.builder, array.shape)
        start, stop = self._bounds(n)
        shape = [self.builder.sub(stop, start), *others]
        return [self._view(kind, array, start, shape, slice(None))]

    def one(self, kind: Any, value: Any) -> Any:
        """Return the part's row of an array of two dimensions or more."""
        array = self.context.make_array(kind)(self.context, self.builder, value)
        shape = cgutils.unpack_tuple(self.builder, array.shape)[1:]
        return self._view(kind.copy(ndim=kind.ndim - 1), array, self.part, shape, slice(1, None))

    def _bounds(self, n: Any) -> list[Any]:
        last = self.builder.add(self.part, _WORD(1))
        return [
            self.builder.sdiv(self.builder.mul(n, part), self.parts) for part in (self.part, last)
        ]

    def _view(self, kind: Any, array: Any, first: Any, shape: list[Any], axes: slice) -> Any:
        """Return an array of this shape that begins at a row of another."""
        strides = cgutils.unpack_tuple(self.builder, array.strides)
        offset = self.builder.mul(first, strides[0])
        view = self.context.make_array(kind)(self.context, self.builder)
        populate_array(
            view,
            cgutils.pointer_add(self.builder, array.data, offset),
            shape,
            strides[axes],
            array.itemsize,
            array.meminfo,
            array.parent,
        )
        return view._getvalue()
