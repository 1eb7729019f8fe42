"""Activations, softmax and their logarithms, and backward, in one pass each.

Softmax, GELU and Mish are compiled for float32 only, and run in NumPy in float64.
"""

import functools
import inspect
import math
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from layerkit.kernels._numba import elementary
from layerkit.kernels._numba.compile import (
    BOTH,
    FLAGS,
    OPTIONS,
    SINGLE,
    contiguous,
    for_dtypes,
    inline,
    jit,
    ordered,
)
from layerkit.kernels._numba.threads import element_by_element
from layerkit.kernels._numpy import activations as reference
from layerkit.kernels.dispatch import in_numpy


def one_pass(
    kernel: Any, dtypes: tuple[np.dtype, ...], n_inputs: int = 1, n_outputs: int = 1
) -> Any:
    """Make the compiled version of a kernel from ``loop(*inputs, *outputs, *numbers)``.

    Inputs come before numbers among the kernel's arguments, and outputs are new arrays. Calls whose
    first argument has another dtype run in NumPy.
    """
    other = in_numpy(kernel)
    n_more = n_inputs - 1

    def decorate(loop: Any) -> Any:
        @functools.wraps(other)
        def version(x: np.ndarray, *others: Any, **named: Any) -> Any:
            if x.dtype not in dtypes:
                return other(x, *others, **named)
            if named:
                others = inspect.signature(other).bind(x, *others, **named).args[1:]
            flat = [contiguous(x).ravel()]
            for array in others[:n_more]:
                flat.append(contiguous(array.astype(x.dtype, copy=False)).ravel())
            y = np.empty(x.shape, x.dtype)
            flat.append(y.ravel())
            if n_outputs == 1:
                element_by_element(loop, *flat, numbers=others[n_more:])
                return y
            s = np.empty(x.shape, x.dtype)
            element_by_element(loop, *flat, s.ravel(), numbers=others[n_more:])
            return y, s

        return version

    return decorate


# ---------------------------------------------------------------- comparisons


@jit
def relu_loop(x, y):
    """Maximum with 0; ``x if x > 0 else 0`` would hide NaN."""
    zero = x.dtype.type(0)
    for i in range(x.size):
        y[i] = zero if x[i] < zero else x[i]


@jit
def relu_grad_loop(grad, y, out):
    """Grad [y > 0], a product, so that NaN in the gradient shows."""
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for i in range(y.size):
        out[i] = grad[i] * (one if y[i] > zero else zero)


@jit
def leaky_relu_loop(x, y, slope):
    slope, zero = x.dtype.type(slope), x.dtype.type(0)
    for i in range(x.size):
        y[i] = slope * x[i] if x[i] < zero else x[i]


@jit
def leaky_relu_grad_loop(grad, y, out, slope):
    slope, zero, one = y.dtype.type(slope), y.dtype.type(0), y.dtype.type(1)
    for i in range(y.size):
        out[i] = grad[i] * (one if y[i] > zero else slope)


# ---------------------------------------------------------------- from the output


@jit
def sigmoid_loop(x, y):
    for i in range(x.size):
        y[i] = elementary.sigmoid(x[i])


@jit
def softplus_loop(x, y):
    for i in range(x.size):
        y[i] = elementary.softplus(x[i])


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    """-softplus(-x)."""
    return -softplus(-x)


@jit
def elu_loop(x, y, alpha, scale):
    number = x.dtype.type
    alpha, scale = number(alpha * scale), number(scale)
    for i in range(x.size):
        below = number(0) if x[i] > 0 else x[i]
        y[i] = scale * x[i] if x[i] > 0 else alpha * elementary.expm1_of_negative(below)


@jit
def elu_grad_loop(grad, y, out, alpha, scale):
    alpha, scale, zero = y.dtype.type(alpha * scale), y.dtype.type(scale), y.dtype.type(0)
    for i in range(y.size):
        out[i] = grad[i] * (scale if y[i] > zero else y[i] + alpha)


@jit
def sigmoid_grad_loop(grad, y, out):
    one = y.dtype.type(1)
    for i in range(y.size):
        out[i] = grad[i] * (y[i] * (one - y[i]))


@jit
def tanh_loop(x, y):
    for i in range(x.size):
        y[i] = elementary.tanh(x[i])


@jit
def tanh_grad_loop(grad, y, out):
    one = y.dtype.type(1)
    for i in range(y.size):
        out[i] = grad[i] * (one - y[i] * y[i])


@jit
def softplus_grad_loop(grad, x, out):
    for i in range(x.size):
        out[i] = grad[i] * elementary.sigmoid(x[i])


# ---------------------------------------------------------------- with a gate


@jit
def gelu_loop(x, y, s):
    for i in range(x.size):
        gate = elementary.normal_gate(x[i])
        s[i] = gate
        y[i] = x[i] * gate


@jit
def gelu_grad_loop(grad, x, s, out):
    scale, half = x.dtype.type(0.3989422804014327), x.dtype.type(-0.5)
    for i in range(x.size):
        out[i] = grad[i] * (s[i] + x[i] * (scale * elementary.exp(half * x[i] * x[i])))


@jit
def silu_loop(x, y, s):
    for i in range(x.size):
        gate = elementary.sigmoid(x[i])
        s[i] = gate
        y[i] = x[i] * gate


@jit
def silu_grad_loop(grad, x, s, out):
    one = x.dtype.type(1)
    for i in range(x.size):
        out[i] = grad[i] * (s[i] + x[i] * s[i] * (one - s[i]))


@jit
def mish_loop(x, y, s):
    two, top = x.dtype.type(2), x.dtype.type(20)
    for i in range(x.size):
        e = elementary.exp(top if x[i] > top else x[i])
        n = e * (e + two)
        gate = n / (n + two)
        s[i] = gate
        y[i] = x[i] * gate


@jit
def mish_grad_loop(grad, x, s, out):
    one = x.dtype.type(1)
    for i in range(x.size):
        out[i] = grad[i] * (s[i] + x[i] * (one - s[i] * s[i]) * elementary.sigmoid(x[i]))


# Runs of Dense layers, and whole epochs, use these loops too.
mish_grad = one_pass(reference.mish_grad, SINGLE, n_inputs=3)(mish_grad_loop)
mish = one_pass(reference.mish, SINGLE, n_outputs=2)(mish_loop)
silu_grad = one_pass(reference.silu_grad, BOTH, n_inputs=3)(silu_grad_loop)
silu = one_pass(reference.silu, BOTH, n_outputs=2)(silu_loop)
gelu_grad = one_pass(reference.gelu_grad, SINGLE, n_inputs=3)(gelu_grad_loop)
gelu = one_pass(reference.gelu, SINGLE, n_outputs=2)(gelu_loop)
softplus_grad = one_pass(reference.softplus_grad, BOTH, n_inputs=2)(softplus_grad_loop)
elu_grad = one_pass(reference.elu_grad, BOTH, n_inputs=2)(elu_grad_loop)
elu = one_pass(reference.elu, BOTH)(elu_loop)
softplus = one_pass(reference.softplus, BOTH)(softplus_loop)
leaky_relu_grad = one_pass(reference.leaky_relu_grad, BOTH, n_inputs=2)(leaky_relu_grad_loop)
leaky_relu = one_pass(reference.leaky_relu, BOTH)(leaky_relu_loop)
relu = one_pass(reference.relu, BOTH)(relu_loop)
relu_grad = one_pass(reference.relu_grad, BOTH, n_inputs=2)(relu_grad_loop)
sigmoid = one_pass(reference.sigmoid, BOTH)(sigmoid_loop)
sigmoid_grad = one_pass(reference.sigmoid_grad, BOTH, n_inputs=2)(sigmoid_grad_loop)
tanh = one_pass(reference.tanh, BOTH)(tanh_loop)
tanh_grad = one_pass(reference.tanh_grad, BOTH, n_inputs=2)(tanh_grad_loop)


# ---------------------------------------------------------------- along rows


def _along_rows(kernel: Any, loop: Any, x: np.ndarray, axis: int) -> np.ndarray:
    """Run ``loop(x, y)`` where rows lie side by side in memory, else the kernel in NumPy."""
    if axis not in (-1, x.ndim - 1) or x.shape[-1] == 0:
        return in_numpy(kernel)(x, axis)
    y = np.empty(x.shape, x.dtype)
    loop(contiguous(x).reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1]))
    return y


@for_dtypes(SINGLE, reference)
def softmax(x, axis=-1):
    return _along_rows(reference.softmax, _softmax, x, axis)


@jit
def _softmax(x, y):
    shifted_exp(x, y)
    for r in range(len(y)):
        total = np.float32(0)
        for k in range(y.shape[1]):
            total += y[r, k]
        scale = np.float32(1) / total
        for k in range(y.shape[1]):
            y[r, k] *= scale


def shifted_exp(x, y):
    """What `_shifted_exp` and `_shifted_exp_in_double` do, in compiled code."""
    raise NotImplementedError


_OPTIONS: Any = {"fastmath": FLAGS, **OPTIONS}


@overload(shifted_exp, jit_options=_OPTIONS)
def _either_shifted_exp(x, y):
    chosen: Any = _shifted_exp if x.dtype == types.float32 else _shifted_exp_in_double
    return chosen.py_func


@jit
def _shifted_exp_in_double(x, y):
    """Write exp(x - M) into y, M being the largest of a row or NaN, and return each M."""
    n_rows, n = x.shape
    largest = np.empty(n_rows, x.dtype)
    for r in range(n_rows):
        top = x[r, 0]
        for k in range(1, n):
            top = x[r, k] if x[r, k] > top or x[r, k] != x[r, k] else top
        largest[r] = top
        for k in range(n):
            y[r, k] = x[r, k] - top
    flat = y.reshape(-1)
    for i in range(flat.size):
        flat[i] = elementary.exp_of_negative(flat[i])
    return largest


@jit
def _shifted_exp(x, y):
    """Write exp(x - M) into y, M being the largest of a row, and return each M.

    The exponential runs over all rows at once: a row alone may be too short for the vector unit.
    """
    n_rows, n = x.shape
    bits, largest = x.view(np.int32), np.empty(n_rows, x.dtype)
    for r in range(n_rows):
        largest[r] = largest_of(bits[r])
        for k in range(n):
            y[r, k] = x[r, k] - largest[r]
    flat = y.reshape(-1)
    for i in range(flat.size):
        flat[i] = elementary.exp_of_negative(flat[i])
    return largest


@inline
def largest_of(bits):
    """Return the largest of some float32, whose bits are given as int32."""
    top = np.int32(-0x80000000)
    for k in range(bits.size):
        rank = _rank(bits[k])
        top = rank if rank > top else top
    return np.int32(_rank(top)).view(np.float32)


@inline
def _rank(bits):
    """Map the bits of a float32 to an integer in the order of the numbers, and back.

    They are sign and magnitude, so below zero the magnitude is turned around. NaN comes last or,
    with a sign, first: it spoils its row in the sum if not as the maximum. LLVM vectorises the
    maximum of integers, but not one of floats that lets NaN through.
    """
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@inline
def sum_of_others(terms):
    """Add up all terms but one that is 1, as the largest is; what is far below 1 keeps its digits.

    Ones are counted apart, and as integers, or LLVM would not vectorise the loop.
    """
    number = terms.dtype.type
    more, others = np.int32(-1), number(0)
    for k in range(terms.size):
        is_one = terms[k] == number(1)
        more += np.int32(is_one)
        others += number(0) if is_one else terms[k]
    return others + number(more)


@for_dtypes(SINGLE, reference)
def log_softmax(x, axis=-1):
    return _along_rows(reference.log_softmax, _log_softmax, x, axis)


@jit
def _log_softmax(x, y):
    """Subtract the largest term apart, as in the NumPy version."""
    largest = shifted_exp(x, y)
    for r in range(len(y)):
        log_total = np.float32(math.log1p(sum_of_others(y[r])))
        for k in range(y.shape[1]):
            y[r, k] = _in_order(x[r, k], largest[r], log_total)


@ordered
def _in_order(x, largest, log_total):
    """Subtract the largest first: it may be so large that log_total would be lost beside it."""
    return (x - largest) - log_total
