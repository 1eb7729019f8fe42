"""The step loops of recurrent layers, compiled: a product by BLAS and one fused pass a step.

Rows know nothing of each other, so where there is enough to do each thread takes some of them
through all steps, and nobody waits at a step. The rows are sorted by length; the parts are cut so
that each has as many steps.

A pass over many arrays is cut up into loops with few: LLVM vectorises a loop only if it can check
that no array overlaps with another.
"""

from contextlib import nullcontext
from typing import Any

import numpy as np

from layerkit.kernels._numba.blas import addresses
from layerkit.kernels._numba.compile import contiguous, inline, jit
from layerkit.kernels._numba.dense import THREADED
from layerkit.kernels._numba.double_exponential import sigmoid, tanh
from layerkit.kernels._numba.panels import add_product_by, fixed
from layerkit.kernels._numba.threads import WORTHWHILE, in_parts
from layerkit.kernels._numpy import recurrent as reference
from layerkit.kernels.blas import one_blas_thread
from layerkit.kernels.dispatch import in_numpy
from layerkit.kernels.parts import PASS, n_parts


def _by_rows(
    kernel: Any, U: np.ndarray, sizes: np.ndarray, *arrays: Any, transposed: bool = False
) -> None:
    """Run a kernel over all steps, in parts of the rows; it multiplies by U or its transpose."""
    n_steps = int(sizes.sum())
    if n_steps == 0:
        return
    work = n_steps * (U.size + PASS * max(U.shape))
    parts = n_parts(int(sizes[0]), work, WORTHWHILE)
    bounds = _bounds(sizes, parts)
    alone = one_blas_thread() if int(sizes[0]) * U.size >= THREADED else nullcontext()
    with alone:
        factor = fixed(contiguous(U), int(sizes[0]) // parts, transposed)
        whole = addresses(U.dtype), factor, _places(sizes), *map(contiguous, arrays)
        in_parts(kernel, (bounds,), whole, multiply_adds=work)


def _places(sizes: np.ndarray) -> np.ndarray:
    """Return where each step stands, and in h the states before and after it, and its size.

    >>> _places(np.array([3, 2])).tolist()
    [[0, 0, 3, 3], [3, 3, 6, 2]]
    """
    found = np.zeros((len(sizes), 4), np.int64)
    starts, before, after, size = found.T
    size[:] = sizes
    sizes[:-1].cumsum(out=starts[1:])
    np.add(starts, sizes[0], out=after)
    before[1:] = after[:-1]
    return found


def _bounds(sizes: np.ndarray, parts: int) -> np.ndarray:
    """Return the first row of each part and the one after its last."""
    if parts == 1:
        return np.array([[0, sizes[0]]])
    ends = np.arange(parts + 1) * sizes[0] // parts
    if sizes[-1] < sizes[0]:
        lengths = np.searchsorted(-sizes, -np.arange(sizes[0]))  # of each row, the longest first
        done = lengths.cumsum()
        ends[1:-1] = np.searchsorted(done, done[-1] * np.arange(1, parts) / parts) + 1
    return np.stack([ends[:-1], ends[1:]], axis=1)


def _are_for_blas(*arrays: np.ndarray) -> bool:
    """Whether NumPy's BLAS can be called, and the arrays are written to where they are."""
    return addresses(arrays[0].dtype) is not None and all(a.flags.carray for a in arrays)


# ---------------------------------------------------------------- a plain state


def simple_rnn(z, U, h, sizes, relu):
    if not _are_for_blas(h):
        in_numpy(reference.simple_rnn)(z, U, h, sizes, relu)
    else:
        _by_rows(_simple_rnn, U, sizes, z, h, np.array(relu))


def simple_rnn_grad(grad, h, U, sizes, relu):
    if not _are_for_blas(grad):
        return in_numpy(reference.simple_rnn_grad)(grad, h, U, sizes, relu)
    D = np.empty((int(sizes.sum()), U.shape[1]), U.dtype)
    _by_rows(_simple_rnn_grad, U, sizes, grad, h, D, np.array(relu), transposed=True)
    return D


@jit
def _simple_rnn(bounds, blas, U, places, z, h, relu):
    low, high = bounds[0]
    zero = z.dtype.type(0)
    for t in range(len(places)):
        start, before, after, size = places[t]
        stop = min(high, size)
        if stop <= low:
            break
        state = h[after + low : after + stop]
        state[:] = z[start + low : start + stop]
        add_product_by(blas, h[before + low : before + stop], U, state)
        flat = state.reshape(-1)
        if relu.item():
            for j in range(flat.size):
                flat[j] = zero if flat[j] < zero else flat[j]
        else:
            for j in range(flat.size):
                flat[j] = tanh(flat[j])


@jit
def _simple_rnn_grad(bounds, blas, U_T, places, grad, h, D, relu):
    low, high = bounds[0]
    zero, one = D.dtype.type(0), D.dtype.type(1)
    for t in range(len(places) - 1, -1, -1):
        start, before, after, size = places[t]
        stop = min(high, size)
        if stop <= low:
            continue
        y = h[after + low : after + stop].reshape(-1)
        of_y = grad[after + low : after + stop].reshape(-1)
        local = D[start + low : start + stop].reshape(-1)
        if relu.item():
            for j in range(y.size):
                local[j] = of_y[j] * (one if y[j] > zero else zero)
        else:
            for j in range(y.size):
                local[j] = of_y[j] * (one - y[j] * y[j])
        of_before = grad[before + low : before + stop]
        add_product_by(blas, D[start + low : start + stop], U_T, of_before)


# ---------------------------------------------------------------- a cell


def lstm(z, U, h, c, sizes):
    if not _are_for_blas(z, h, c):
        return in_numpy(reference.lstm)(z, U, h, c, sizes)
    tanh_c = np.empty((len(z), h.shape[1]), z.dtype)
    _by_rows(_lstm, U, sizes, z, h, c, tanh_c)
    return tanh_c


def lstm_grad(grad, gates, tanh_c, c_before, U, sizes):
    if not _are_for_blas(grad):
        return in_numpy(reference.lstm_grad)(grad, gates, tanh_c, c_before, U, sizes)
    D = np.empty_like(gates)
    _by_rows(_lstm_grad, U, sizes, grad, gates, tanh_c, c_before, D, transposed=True)
    return D


@jit
def _lstm(bounds, blas, U, places, z, h, c, tanh_c):
    low, high = bounds[0]
    u = h.shape[1]
    for t in range(len(places)):
        start, before, after, size = places[t]
        stop = min(high, size)
        if stop <= low:
            break
        add_product_by(blas, h[before + low : before + stop], U, z[start + low : start + stop])
        for r in range(low, stop):
            a = z[start + r]
            _sigmoids(a[: 2 * u])
            _tanhs(a[2 * u : 3 * u])
            _sigmoids(a[3 * u :])
            _next_cell(a, c[before + r], c[after + r])
            _next_state(a[3 * u :], c[after + r], tanh_c[start + r], h[after + r])


@inline
def _sigmoids(a):
    for j in range(a.size):
        a[j] = sigmoid(a[j])


@inline
def _tanhs(a):
    for j in range(a.size):
        a[j] = tanh(a[j])


@inline
def _next_cell(gates, c_before, c):
    u = c.size
    for j in range(u):
        c[j] = gates[u + j] * c_before[j] + gates[j] * gates[2 * u + j]


@inline
def _next_state(o, c, tanh_c, h):
    for j in range(c.size):
        tanh_c[j] = tanh(c[j])
        h[j] = o[j] * tanh_c[j]


@jit
def _lstm_grad(bounds, blas, U_T, places, grad, gates, tanh_c, c_before, D):
    low, high = bounds[0]
    u = grad.shape[1]
    of_c = np.zeros((high - low, u), D.dtype)  # C_{t+1} f_{t+1}
    for t in range(len(places) - 1, -1, -1):
        start, before, after, size = places[t]
        stop = min(high, size)
        if stop <= low:
            continue
        for r in range(low, stop):
            a, d, H, C = gates[start + r], D[start + r], grad[after + r], of_c[r - low]
            _of_cell(H, a[3 * u :], tanh_c[start + r], C, d[3 * u :])
            _of_input_gates(C, a, d)
            _of_forget_gate(C, a[u : 2 * u], c_before[start + r], d[u : 2 * u])
        of_before = grad[before + low : before + stop]
        add_product_by(blas, D[start + low : start + stop], U_T, of_before)


@inline
def _of_cell(H, o, tanh_c, C, of_o):
    one = C.dtype.type(1)
    for j in range(C.size):
        C[j] += H[j] * o[j] * (one - tanh_c[j] * tanh_c[j])
        of_o[j] = H[j] * tanh_c[j] * o[j] * (one - o[j])


@inline
def _of_input_gates(C, gates, D):
    u, one = C.size, C.dtype.type(1)
    for j in range(u):
        i, g = gates[j], gates[2 * u + j]
        D[j] = C[j] * g * i * (one - i)
        D[2 * u + j] = C[j] * i * (one - g * g)


@inline
def _of_forget_gate(C, f, c_before, of_f):
    one = C.dtype.type(1)
    for j in range(C.size):
        of_f[j] = C[j] * c_before[j] * f[j] * (one - f[j])
        C[j] *= f[j]


# ---------------------------------------------------------------- a mixed state


def gru(z, U, b_hidden, h, sizes):
    if not _are_for_blas(z, h):
        return in_numpy(reference.gru)(z, U, b_hidden, h, sizes)
    candidate = np.empty((len(z), h.shape[1]), z.dtype)
    _by_rows(_gru, U, sizes, z, b_hidden, h, candidate)
    return candidate


def gru_grad(grad, gates, candidate, h_before, U, sizes):
    if not _are_for_blas(grad):
        return in_numpy(reference.gru_grad)(grad, gates, candidate, h_before, U, sizes)
    D, E = np.empty_like(gates), np.empty_like(gates)
    _by_rows(_gru_grad, U, sizes, grad, gates, candidate, h_before, D, E, transposed=True)
    return D, E


@jit
def _gru(bounds, blas, U, places, z, b_hidden, h, candidate):
    low, high = bounds[0]
    u = h.shape[1]
    room = np.empty((high - low, 3 * u), z.dtype)
    for t in range(len(places)):
        start, before, after, size = places[t]
        stop = min(high, size)
        if stop <= low:
            break
        product = room[: stop - low]
        product[:] = 0
        add_product_by(blas, h[before + low : before + stop], U, product)
        for r in range(low, stop):
            a, p, q = z[start + r], product[r - low], candidate[start + r]
            _gates_of_sums(a[: 2 * u], p)
            _candidates(a, p[2 * u :], b_hidden, q)
            _mixed(a, h[before + r], h[after + r])


@inline
def _gates_of_sums(a, p):
    for j in range(a.size):
        a[j] = sigmoid(a[j] + p[j])


@inline
def _candidates(gates, p, b_hidden, q):
    u = q.size
    for j in range(u):
        q[j] = p[j] + b_hidden[j]
    for j in range(u):
        gates[2 * u + j] = tanh(gates[2 * u + j] + gates[j] * q[j])


@inline
def _mixed(gates, h_before, h):
    u = h.size
    for j in range(u):
        z, n = gates[u + j], gates[2 * u + j]
        h[j] = n + z * (h_before[j] - n)


@jit
def _gru_grad(bounds, blas, U_T, places, grad, gates, candidate, h_before, D, E):
    low, high = bounds[0]
    u = grad.shape[1]
    for t in range(len(places) - 1, -1, -1):
        start, before, after, size = places[t]
        stop = min(high, size)
        if stop <= low:
            continue
        for r in range(low, stop):
            a, d, e, H = gates[start + r], D[start + r], E[start + r], grad[after + r]
            _of_candidate(H, a, d[2 * u :], e[2 * u :])
            _of_reset_gate(e[2 * u :], a[:u], candidate[start + r], e[:u])
            _of_update_gate(H, a, h_before[start + r], e[u : 2 * u])
            d[: 2 * u] = e[: 2 * u]
            _add_kept(H, a[u : 2 * u], grad[before + r])
        of_before = grad[before + low : before + stop]
        add_product_by(blas, E[start + low : start + stop], U_T, of_before)


@inline
def _of_candidate(H, gates, of_n, of_q):
    u, one = H.size, H.dtype.type(1)
    for j in range(u):
        r, z, n = gates[j], gates[u + j], gates[2 * u + j]
        of_n[j] = H[j] * (one - z) * (one - n * n)
        of_q[j] = r * of_n[j]


@inline
def _of_reset_gate(of_q, r, q, of_r):
    one = r.dtype.type(1)
    for j in range(r.size):
        of_r[j] = of_q[j] * q[j] * (one - r[j])


@inline
def _of_update_gate(H, gates, h_before, of_z):
    u, one = H.size, H.dtype.type(1)
    for j in range(u):
        z, n = gates[u + j], gates[2 * u + j]
        of_z[j] = H[j] * (h_before[j] - n) * z * (one - z)


@inline
def _add_kept(H, z, of_before):
    for j in range(H.size):
        of_before[j] += z[j] * H[j]
