"""The step loops of recurrent layers, forward, and backward through time.

All steps of all rows lie in the order in which they are computed: step 0 of every row, the longest
row first, then step 1 of those that have one, and so on, so that ``sizes[t]`` rows have a step t.
States have one block more, in front: those that step 0 goes on from::

    sizes   3, 2, 1
    z       a0 b0 c0  a1 b1  a2
    h       -- -- --  a0 b0 c0  a1 b1  a2

Backward goes from the last step to the first. The gradient of a state comes from the loss and from
the step that went on from it, so it is complete when its step's turn comes. Local derivatives wait
for nobody: they are found for all steps at once.

Arguments::

    z             x W + b of all steps (n_steps, gates * units); overwritten with the gates
    U             recurrent weights (units, gates * units)
    relu          whether a plain state is rectified, not squashed by tanh
    b_hidden      the GRU's bias inside the reset
    h, c          states and cells (sizes[0] + n_steps, units), overwritten after the first block
    sizes         number of rows at each step
    grad          dL/dh of all steps, shaped like h; overwritten with the sum of both ways, and in
                  its first block with the gradient of the states before step 0
    gates, tanh_c, candidate   what the forward kernel made of z, and returned
    h_before, c_before         states and cells that each step went on from (n_steps, units)
"""

from collections.abc import Iterator

import numpy as np

from layerkit.kernels.dispatch import compiled


def places(sizes: np.ndarray) -> Iterator[tuple[slice, slice, slice]]:
    """Yield where each step stands, and in h the states before and after it.

    >>> for place in places(np.array([3, 2])): print(*[(s.start, s.stop) for s in place])
    (0, 3) (0, 3) (3, 6)
    (3, 5) (3, 5) (6, 8)
    """
    start, before = 0, 0
    first = int(sizes[0]) if len(sizes) else 0
    for size in sizes.tolist():
        yield (
            slice(start, start + size),
            slice(before, before + size),
            slice(first + start, first + start + size),
        )
        before, start = first + start, start + size


def backwards(sizes: np.ndarray) -> list[tuple[slice, slice, slice]]:
    """Return the same from the last step to the first."""
    return list(places(sizes))[::-1]


def _squash(gates: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> None:
    """Overwrite a step's gates with tanh, or σ(a) = tanh(a / 2) / 2 + 1 / 2, all in one tanh."""
    gates *= scale
    np.tanh(gates, out=gates)
    gates *= scale
    gates += shift


@compiled
def simple_rnn(z: np.ndarray, U: np.ndarray, h: np.ndarray, sizes: np.ndarray, relu: bool) -> None:
    """``h_t = f(z_t + h_{t-1} U)``, f = max(·, 0) if ``relu``, else tanh."""
    for now, before, after in places(sizes):
        a = h[before] @ U
        a += z[now]
        if relu:
            np.maximum(a, 0, out=h[after])
        else:
            np.tanh(a, out=h[after])


@compiled
def simple_rnn_grad(
    grad: np.ndarray, h: np.ndarray, U: np.ndarray, sizes: np.ndarray, relu: bool
) -> np.ndarray:
    """Return ``D_t = H_t f'(z_t)``, with ``H_t = G_t + D_{t+1} Uᵀ``."""
    y = h[len(h) - sizes.sum() :]
    D = (y > 0).astype(y.dtype) if relu else 1 - y * y
    U_T = np.ascontiguousarray(U.T)
    for now, before, after in backwards(sizes):
        D[now] *= grad[after]
        grad[before] += D[now] @ U_T
    return D


@compiled
def lstm(
    z: np.ndarray, U: np.ndarray, h: np.ndarray, c: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """``c_t = f c_{t-1} + i g``, ``h_t = o tanh c_t``; return tanh c of all steps."""
    u = h.shape[1]
    tanh_c = np.empty((len(z), u), z.dtype)
    scale = np.repeat(np.array([0.5, 0.5, 1, 0.5], z.dtype), u)
    shift = np.repeat(np.array([0.5, 0.5, 0, 0.5], z.dtype), u)
    for now, before, after in places(sizes):
        a = z[now]
        a += h[before] @ U
        _squash(a, scale, shift)
        i, f, g, o = a[:, :u], a[:, u : 2 * u], a[:, 2 * u : 3 * u], a[:, 3 * u :]
        np.multiply(f, c[before], out=c[after])
        c[after] += i * g
        np.tanh(c[after], out=tanh_c[now])
        np.multiply(o, tanh_c[now], out=h[after])
    return tanh_c


@compiled
def lstm_grad(
    grad: np.ndarray,
    gates: np.ndarray,
    tanh_c: np.ndarray,
    c_before: np.ndarray,
    U: np.ndarray,
    sizes: np.ndarray,
) -> np.ndarray:
    """Return D_t, of x W + b, from the last step to the first.

    With H and C the gradients of state and cell::

        H_t = G_t + D_{t+1} Uᵀ
        C_t = H_t o (1 - tanh² c_t) + C_{t+1} f_{t+1}
        D_t = [C_t g i (1 - i), C_t c_{t-1} f (1 - f), C_t i (1 - g²), H_t tanh c_t o (1 - o)]

    The gates i, f, g and o are those of step t.
    """
    u = tanh_c.shape[1]
    i, f, g, o = np.split(gates, 4, axis=1)
    D = np.empty((len(gates), 4, u), gates.dtype)  # local derivatives at first
    np.multiply(g * i, 1 - i, out=D[:, 0])
    np.multiply(c_before * f, 1 - f, out=D[:, 1])
    np.multiply(i, 1 - g * g, out=D[:, 2])
    np.multiply(tanh_c * o, 1 - o, out=D[:, 3])
    of_c = np.zeros_like(grad)
    of_h = o * (1 - tanh_c * tanh_c)  # of c_t in h_t
    U_T = np.ascontiguousarray(U.T)
    for now, before, after in backwards(sizes):
        H, C = grad[after], of_c[after]
        C += H * of_h[now]
        D[now, :3] *= C[:, np.newaxis]
        D[now, 3] *= H
        of_c[before] += C * f[now]
        grad[before] += D[now].reshape(-1, 4 * u) @ U_T
    return D.reshape(gates.shape)


@compiled
def gru(
    z: np.ndarray, U: np.ndarray, b_hidden: np.ndarray, h: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """``h_t = (1 - z) n + z h_{t-1}``, n = tanh(a_n + r q); return ``q = h_{t-1} U_n + b_h``."""
    u = h.shape[1]
    candidate = np.empty((len(z), u), z.dtype)
    half = z.dtype.type(0.5)
    for now, before, after in places(sizes):
        product = h[before] @ U
        product[:, : 2 * u] += z[now, : 2 * u]
        np.add(product[:, 2 * u :], b_hidden, out=candidate[now])
        both = product[:, : 2 * u]
        _squash(both, half, half)
        z[now, : 2 * u] = both
        r, gate, n = z[now, :u], z[now, u : 2 * u], z[now, 2 * u :]
        n += r * candidate[now]
        np.tanh(n, out=n)
        np.subtract(h[before], n, out=h[after])
        h[after] *= gate
        h[after] += n
    return candidate


@compiled
def gru_grad(
    grad: np.ndarray,
    gates: np.ndarray,
    candidate: np.ndarray,
    h_before: np.ndarray,
    U: np.ndarray,
    sizes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return D_t, of x W + b, and E_t, of h U, from the last step to the first.

    With H the gradient of the state::

        H_t = G_t + z_{t+1} H_{t+1} + E_{t+1} Uᵀ
        N = H_t (1 - z) (1 - n²)
        D_t = [N q r (1 - r), H_t (h_{t-1} - n) z (1 - z), N]

    E_t is the same but for r N in its last part.
    """
    u = candidate.shape[1]
    r, z, n = np.split(gates, 3, axis=1)
    E = np.empty((len(gates), 3, u), gates.dtype)  # local derivatives at first
    of_n = (1 - z) * (1 - n * n)
    np.multiply(of_n, r, out=E[:, 2])
    np.multiply(E[:, 2] * candidate, 1 - r, out=E[:, 0])
    np.multiply((h_before - n) * z, 1 - z, out=E[:, 1])
    U_T = np.ascontiguousarray(U.T)
    for now, before, after in backwards(sizes):
        H = grad[after]
        E[now] *= H[:, np.newaxis]
        grad[before] += H * z[now]
        grad[before] += E[now].reshape(-1, 3 * u) @ U_T
    D = E.copy()
    np.multiply(grad[len(grad) - len(gates) :], of_n, out=D[:, 2])
    return D.reshape(gates.shape), E.reshape(gates.shape)
