"""Matrix products, biases and tables of rows, and runs of Dense layers; NumPy's say what they do.

Large products are cut up among the processors, by our own threads. BLAS has threads too, but its
idle ones go on spinning for a tenth of a second, and kernels that follow on threads of ours then
run at half their speed. So BLAS gets one thread for a product that it would cut up.

Passes over rows are compiled as NumPy starts an inner loop for each row, which costs more than
adding 64 numbers.
"""

from contextlib import nullcontext
from math import prod
from typing import Any

import numpy as np

from layerkit.kernels._numba import activations
from layerkit.kernels._numba.blas import (
    addresses,
    multiply,
    multiply_any,
    multiply_by_transpose,
    multiply_transposed,
)
from layerkit.kernels._numba.compile import BOTH, contiguous, copied, for_dtypes, inline, jit
from layerkit.kernels._numba.threads import WORTHWHILE, in_parts, workers
from layerkit.kernels._numba.work_queue import new_queue, share
from layerkit.kernels._numpy import dense as reference
from layerkit.kernels._numpy.dense import RELU, SIGMOID, TANH
from layerkit.kernels.blas import ALONE, one_blas_thread
from layerkit.kernels.dispatch import in_numpy
from layerkit.kernels.parts import PASS, n_parts, n_processors

# Multiply-adds of a product for which OpenBLAS takes a second thread, if it may.
THREADED = 2**18
# And of a part of one that is cut up.
LEAST = 2**17
# So many rows are added up before they join the total: then 10,000 rows lose no digits.
BLOCK = 128
_NO_QUEUE = new_queue()  # where nothing is shared


def matmul(a, b, out=None):
    """Return the product a b: parts of the rows or the columns of the result, where it is large."""
    if a.ndim > 2:
        return matmul(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])
    if not isinstance(a, np.ndarray):
        return _multiply_sparse(a, b, out)
    multiply_adds = prod(a.shape) * b.shape[-1]
    blas = addresses(b.dtype) if multiply_adds >= THREADED and _are_for_blas(a, b) else None
    if blas is None or (out is not None and not out.flags.carray):
        return in_numpy(reference.matmul)(a, b, out)
    processors = n_processors()
    if multiply_adds < ALONE or processors == 1:
        with one_blas_thread():
            return in_numpy(reference.matmul)(a, b, out)
    if out is None:
        out = np.empty((len(a), b.shape[1]), a.dtype)
    with one_blas_thread(), workers(processors) as queue:
        multiply_in_parts(queue, processors, blas, a, b, out)
    return out


def _multiply_sparse(a: Any, b: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    """Return the product of a sparse array; SciPy would fill an array of zeros, to be copied."""
    loop = {"csr": _by_rows, "csc": _by_columns}.get(a.format)
    ours = a.dtype == b.dtype in BOTH and b.ndim == 2 and (out is None or out.flags.carray)
    if loop is None or not ours:
        return in_numpy(reference.matmul)(a, b, out)
    if out is None:
        out = np.empty((a.shape[0], b.shape[1]), b.dtype)
    loop(*map(contiguous, (a.data, a.indices, a.indptr, b)), out)
    return out


@jit
def _by_rows(values, columns, ends, b, out):
    out[:] = 0
    for r in range(ends.size - 1):
        for i in range(ends[r], ends[r + 1]):
            value, column = values[i], columns[i]
            for k in range(b.shape[1]):
                out[r, k] += value * b[column, k]


@jit
def _by_columns(values, rows, ends, b, out):
    out[:] = 0
    for column in range(ends.size - 1):
        for i in range(ends[column], ends[column + 1]):
            value, row = values[i], rows[i]
            for k in range(b.shape[1]):
                out[row, k] += value * b[column, k]


def _are_for_blas(a: Any, b: np.ndarray) -> bool:
    """Whether BLAS takes them as they are, and they are more than vectors."""
    return _is_for_blas(a) and _is_for_blas(b) and a.dtype == b.dtype in BOTH


def _is_for_blas(a: Any) -> bool:
    in_order = isinstance(a, np.ndarray) and (a.flags.c_contiguous or a.flags.f_contiguous)
    return in_order and a.ndim == 2 and min(a.shape) > 1


@jit
def multiply_in_parts(queue, processors, blas, a, b, out):
    """Overwrite ``out`` with a b, as many rows or columns at a time as a part has.

    The longer side is cut. For each part BLAS lays out all of the other factor for its innermost
    loop: of the larger one, twice, that would take up to 1.4 times as long as the whole product.
    """
    m, n, p = a.shape[0], a.shape[1], b.shape[1]
    by_row = m >= p
    parts = min(processors, m if by_row else p, max(1, m * n * p // LEAST))
    share(queue, parts, _multiply, (m if by_row else p,), (), (blas, a, b, out, by_row))


@jit
def _multiply(start, stop, blas, a, b, out, by_row):
    if by_row:
        multiply_any(blas, a[start:stop], b, out[start:stop])
    else:
        multiply_any(blas, a, b[:, start:stop], out[:, start:stop])


@inline
def is_shared(processors, m, n, p):
    """Whether `matmul` cuts a product up, in compiled code."""
    return processors > 1 and m * n * p >= ALONE and min(m, n, p) > 1


@for_dtypes(BOTH, reference)
def add_row(rows, row):
    if rows.flags.carray:
        flat = rows.reshape(-1, row.size)
        in_parts(_add_row, (flat,), (contiguous(row),), multiply_adds=PASS * rows.size)
    else:
        in_numpy(reference.add_row)(rows, row)


@jit
def _add_row(rows, row):
    n_rows, n = rows.shape
    for r in range(n_rows):
        for k in range(n):
            rows[r, k] += row[k]


@for_dtypes(BOTH, reference)
def sum_rows(rows, out):
    if not out.flags.carray:
        in_numpy(reference.sum_rows)(rows, out)
        return
    parts = n_parts(len(rows), PASS * rows.size, WORTHWHILE)
    if parts == 1:
        _sum_rows(contiguous(rows), out)
        return
    with workers(parts) as queue:
        sum_rows_in_parts(queue, parts, contiguous(rows), out)


@jit
def sum_rows_in_parts(queue, processors, rows, out):
    """Overwrite ``out`` with the sums of as many parts as are worthwhile, in their order."""
    parts = max(1, min(processors, len(rows), int(PASS * rows.size / WORTHWHILE)))
    if parts == 1:
        _total(rows, out)
        return
    sums = np.empty((parts, out.size), out.dtype)
    if not share(queue, parts, _sum_rows, (rows,), (sums,), ()):
        raise MemoryError("sum_rows: no memory for a part of the rows")
    _total(sums, out)


@jit
def _sum_rows(rows, out):
    n_rows, n = rows.shape
    zero, part = out.dtype.type(0), np.empty_like(out)
    for k in range(n):
        out[k] = zero
    for start in range(0, n_rows, BLOCK):
        for k in range(n):
            part[k] = zero
        for r in range(start, min(start + BLOCK, n_rows)):
            for k in range(n):
                part[k] += rows[r, k]
        for k in range(n):
            out[k] += part[k]


_total = copied(_sum_rows)


@jit
def sum_of_squares(x):
    """Return Σ x²."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@for_dtypes(BOTH, reference)
def add_rows_at(rows, index, out):
    if out.flags.carray:
        _add_rows_at(contiguous(rows), contiguous(index), out)
    else:
        in_numpy(reference.add_rows_at)(rows, index, out)


@jit
def _add_rows_at(rows, index, out):
    out[:] = 0
    for r in range(index.size):
        at = index[r]
        for k in range(rows.shape[1]):
            out[at, k] += rows[r, k]


def perceptron(x, flat_params, run, hidden, y):
    """Overwrite ``hidden`` and ``y``; False without NumPy's own BLAS, or for rare cases.

    Those are products with a single column of input, which NumPy makes in yet another way, and
    float64 activations with an exponential, which are not compiled.
    """
    blas = addresses(x.dtype)
    if blas is None:
        return False
    return _in_threads(_forward, blas, x, flat_params, run, hidden, y)


def _in_threads(
    kernel: Any, blas: Any, x: np.ndarray, flat_params: np.ndarray, run: Any, *others: Any
) -> Any:
    """Call a kernel of a run with the threads that are worth while; a small network has one."""
    if len(x) * flat_params.size < THREADED:
        return kernel(_NO_QUEUE, 1, blas, x, flat_params, run, *others)
    processors = n_processors() if _is_worth_threads(run, len(x)) else 1
    gathered = workers(processors) if processors > 1 else nullcontext(_NO_QUEUE)
    with one_blas_thread(), gathered as queue:
        return kernel(queue, processors, blas, x, flat_params, run, *others)


@jit
def _is_worth_threads(run, n_rows):
    """Whether a product of the run or a pass over an output is."""
    for n_in, units, _, _, _ in run:
        if n_rows * n_in * units >= ALONE or PASS * n_rows * units >= 2 * WORTHWHILE:
            return True
    return False


@jit
def _forward(queue, processors, blas, x, flat_params, run, hidden, y):
    for n_in, _, _, _, activation in run:
        if n_in == 1 or (x.itemsize == 8 and activation > RELU):
            return False
    start, last = 0, len(run) - 1
    for k in range(len(run)):
        n_in, units, W, b, activation = run[k]
        stop = start + len(x) * units
        out = y if k == last else hidden[start:stop].reshape(len(x), units)
        weights = flat_params[W : W + n_in * units].reshape(n_in, units)
        if is_shared(processors, len(x), n_in, units):
            multiply_in_parts(queue, processors, blas, x, weights, out)
        else:
            multiply(blas, x, weights, out)
        bias = flat_params[b : b + units] if b >= 0 else flat_params[:0]
        parts = _passes(processors, out.size)
        share(queue, parts, _finish, (out,), (), (bias, activation))
        x, start = out, stop
    return True


_add_bias = copied(_add_row)
_relu, _relu_grad = copied(activations.relu_loop), copied(activations.relu_grad_loop)
_tanh, _tanh_grad = copied(activations.tanh_loop), copied(activations.tanh_grad_loop)
_sigmoid, _sigmoid_grad = copied(activations.sigmoid_loop), copied(activations.sigmoid_grad_loop)


@inline
def _passes(processors, size):
    """Into how many parts a pass over so many numbers is cut."""
    return min(processors, max(1, int(PASS * size / WORTHWHILE)))


@jit
def _finish(out, bias, activation):
    """Add the bias and apply the activation."""
    if bias.size:
        _add_bias(out, bias)
    flat = out.reshape(-1)
    if activation == RELU:
        _relu(flat, flat)
    elif activation == TANH:
        _tanh(flat, flat)
    elif activation == SIGMOID:
        _sigmoid(flat, flat)


def perceptron_grad(grad, x, flat_params, run, hidden, y, flat_grads, grad_input):
    """Overwrite the run's part of ``flat_grads``, and ``grad_input`` unless it is empty."""
    blas = addresses(x.dtype)
    if blas is None:  # then the forward ran in NumPy, before the kernels were exchanged
        in_numpy(reference.perceptron_grad)(
            grad, x, flat_params, run, hidden, y, flat_grads, grad_input
        )
        return
    others = contiguous(grad), hidden, y, flat_grads, grad_input
    _in_threads(_backward, blas, x, flat_params, run, *others)


_sum_in_parts = copied(sum_rows_in_parts)


@jit
def _backward(
    queue, processors, blas, x, flat_params, run, grad, hidden, y, flat_grads, grad_input
):
    n_rows, stop = len(x), hidden.size
    for k in range(len(run) - 1, -1, -1):
        n_in, units, W, b, activation = run[k]
        start = stop - n_rows * n_in
        inputs = hidden[start:stop].reshape(n_rows, n_in) if k else x
        if activation:
            local = np.empty_like(grad)
            of_y, of_grad, of_local = y.reshape(-1), grad.reshape(-1), local.reshape(-1)
            parts = _passes(processors, grad.size)
            share(queue, parts, _local, (of_y, of_grad, of_local), (), (activation,))
            grad = local
        end = W + n_in * units
        weights = flat_params[W:end].reshape(n_in, units)
        of_weights = flat_grads[W:end].reshape(n_in, units)
        shared = is_shared(processors, n_rows, n_in, units)
        if shared:
            multiply_in_parts(queue, processors, blas, inputs.T, grad, of_weights)
        else:
            multiply_transposed(blas, inputs, grad, of_weights)
        if b >= 0:
            _sum_in_parts(queue, processors, grad, flat_grads[b : b + units])
        if k or grad_input.size:
            passed = np.empty((n_rows, n_in), grad.dtype) if k else grad_input
            if shared:
                multiply_in_parts(queue, processors, blas, grad, weights.T, passed)
            else:
                multiply_by_transpose(blas, grad, weights, passed)
            grad = passed
        y, stop = inputs, start


@jit
def _local(y, grad, local, activation):
    """Multiply by the activation's derivative."""
    if activation == RELU:
        _relu_grad(grad, y, local)
    elif activation == TANH:
        _tanh_grad(grad, y, local)
    else:
        _sigmoid_grad(grad, y, local)
