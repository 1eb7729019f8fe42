"""Recurrent layers, unrolled over two steps: the first one has no state before it.

V1 and V2 are dy/da of both steps, where a = x W + h U + b is what goes into the functions. V1 is
what comes back from the second step through U, and through the cell or the state itself.
"""

from inspect import cleandoc
from typing import Any

import numpy as np

from layerkit import layers
from layerkit.inspection.catalogue.entries.containers import REASON
from layerkit.inspection.catalogue.layer_entry import LayerEntry
from layerkit.inspection.jacobians import jacobian_by_sample

UNROLLED = "Shown for two steps, from a state of zeros; any number is possible."
SUMS = """        D1[n, j] = sum[o](G[n, o] * V1[n, o, j])
        D2[n, j] = sum[o](G[n, o] * V2[n, o, j])
        dy[n, o]/dx[n, t, i] = sum[j](([t == 0] * V1[n, o, j] + [t == 1] * V2[n, o, j]) * W[i, j])
        dL/dx[n, t, i] = sum[j](([t == 0] * D1[n, j] + [t == 1] * D2[n, j]) * W[i, j])
        dL/dW[i, j] = sum[n](x[n, 0, i] * D1[n, j] + x[n, 1, i] * D2[n, j])
        dL/db[j] = sum[n](D1[n, j] + D2[n, j])
"""
STATE = """        dL/dU[k, j] = sum[n](h1[n, k] * D2[n, j])
"""
THROUGH_TIME = ("dL/dh[t] = G[t] + dL/da[t+1] @ U.T",)
TWO_STEPS = (2, 3)


def lines(*parts: str) -> str:
    """Put formulas one below the other."""
    return "\n".join(map(cleandoc, parts))


def both_ways(layer: Any, x: np.ndarray) -> dict[str, Any]:
    """Name both layers, the second with its turning around, their Jacobians and the width m."""
    (_, first), (_, second) = layer.children()
    turned = x[:, ::-1]
    return {
        "m": first.units,
        "f1": first.infer,
        "f2": lambda x: second.infer(x[:, ::-1]),
        "J1": jacobian_by_sample(first, x)[1],
        "J2": jacobian_by_sample(second, turned)[1][:, :, ::-1],
    }


RECURRENT = [
    LayerEntry(
        layers.SimpleRNN,
        lines(
            """
        h1[n, j] = tanh(sum[i](x[n, 0, i] * W[i, j]) + b[j])
        y[n, j] = tanh(sum[i](x[n, 1, i] * W[i, j]) + sum[k](h1[n, k] * U[k, j]) + b[j])
        V2[n, o < u, j < u] = [o == j] * (1 - y[n, j]**2)
        V1[n, o < u, j < u] = sum[k](V2[n, o, k] * U[j, k]) * (1 - h1[n, j]**2)
            """,
            SUMS,
            STATE,
        ),
        in_one_line=THROUGH_TIME,
        make=lambda: layers.SimpleRNN(2),
        input_shape=TWO_STEPS,
        letters={"u": "units"},
        assumes=UNROLLED,
    ),
    LayerEntry(
        layers.GRU,
        lines(
            """
        a1[n, j] = sum[i](x[n, 0, i] * W[i, j]) + b[j]
        r1[n, j < u] = 1 / (1 + exp(-a1[n, j]))
        s1[n, j < u] = 1 / (1 + exp(-a1[n, j + u]))
        c1[n, j < u] = tanh(a1[n, j + 2*u] + r1[n, j] * b_hidden[j])
        h1[n, j] = (1 - s1[n, j]) * c1[n, j]
        a2[n, j] = sum[i](x[n, 1, i] * W[i, j]) + b[j]
        p2[n, j] = sum[k](h1[n, k] * U[k, j])
        r2[n, j < u] = 1 / (1 + exp(-a2[n, j] - p2[n, j]))
        s2[n, j < u] = 1 / (1 + exp(-a2[n, j + u] - p2[n, j + u]))
        q2[n, j < u] = p2[n, j + 2*u] + b_hidden[j]
        c2[n, j < u] = tanh(a2[n, j + 2*u] + r2[n, j] * q2[n, j])
        y[n, j] = (1 - s2[n, j]) * c2[n, j] + s2[n, j] * h1[n, j]
        N1[n, j] = (1 - s1[n, j]) * (1 - c1[n, j]**2)
        N2[n, j] = (1 - s2[n, j]) * (1 - c2[n, j]**2)
        V2[n, o < u, j < 3*u] = [o == j] * N2[n, o] * q2[n, o] * r2[n, o] * (1 - r2[n, o]) +
            [o == j - u] * (h1[n, o] - c2[n, o]) * s2[n, o] * (1 - s2[n, o]) +
            [o == j - 2*u] * N2[n, o]
        E2[n, o < u, j < 3*u] = [j < 2*u] * V2[n, o, j] + [o == j - 2*u] * r2[n, o] * N2[n, o]
        H1[n, o < u, k < u] = [o == k] * s2[n, k] + sum[j](E2[n, o, j] * U[k, j])
        V1[n, o < u, j < 3*u] =
            H1[n, o, j] * N1[n, j] * b_hidden[j] * r1[n, j] * (1 - r1[n, j]) -
            H1[n, o, j - u] * c1[n, j - u] * s1[n, j - u] * (1 - s1[n, j - u]) +
            H1[n, o, j - 2*u] * N1[n, j - 2*u]
            """,
            SUMS,
            """
        dL/dU[k, j] = sum[n, o](G[n, o] * h1[n, k] * E2[n, o, j])
        dL/db_hidden[j] = sum[n](G[n, j] * r2[n, j] * N2[n, j]) +
            sum[n, o](G[n, o] * H1[n, o, j] * r1[n, j] * N1[n, j])
            """,
        ),
        in_one_line=("dL/dh[t] = G[t] + z[t+1] dL/dh[t+1] + dL/d(hU)[t+1] @ U.T",),
        make=lambda: layers.GRU(2),
        input_shape=TWO_STEPS,
        letters={"u": "units"},
        where={"r, s, c": "the reset gate, the update gate z and the candidate n"},
        assumes=UNROLLED,
    ),
    LayerEntry(
        layers.LSTM,
        lines(
            """
        a1[n, j] = sum[i](x[n, 0, i] * W[i, j]) + b[j]
        i1[n, j < u] = 1 / (1 + exp(-a1[n, j]))
        g1[n, j < u] = tanh(a1[n, j + 2*u])
        o1[n, j < u] = 1 / (1 + exp(-a1[n, j + 3*u]))
        c1[n, j] = i1[n, j] * g1[n, j]
        h1[n, j] = o1[n, j] * tanh(c1[n, j])
        a2[n, j] = sum[i](x[n, 1, i] * W[i, j]) + sum[k](h1[n, k] * U[k, j]) + b[j]
        i2[n, j < u] = 1 / (1 + exp(-a2[n, j]))
        f2[n, j < u] = 1 / (1 + exp(-a2[n, j + u]))
        g2[n, j < u] = tanh(a2[n, j + 2*u])
        o2[n, j < u] = 1 / (1 + exp(-a2[n, j + 3*u]))
        c2[n, j] = f2[n, j] * c1[n, j] + i2[n, j] * g2[n, j]
        y[n, j] = o2[n, j] * tanh(c2[n, j])
        C2[n, o] = o2[n, o] * (1 - tanh(c2[n, o])**2)
        V2[n, o < u, j < 4*u] = [o == j] * C2[n, o] * g2[n, o] * i2[n, o] * (1 - i2[n, o]) +
            [o == j - u] * C2[n, o] * c1[n, o] * f2[n, o] * (1 - f2[n, o]) +
            [o == j - 2*u] * C2[n, o] * i2[n, o] * (1 - g2[n, o]**2) +
            [o == j - 3*u] * tanh(c2[n, o]) * o2[n, o] * (1 - o2[n, o])
        H1[n, o < u, k < u] = sum[j](V2[n, o, j] * U[k, j])
        C1[n, o < u, k < u] = [o == k] * C2[n, k] * f2[n, k] +
            H1[n, o, k] * o1[n, k] * (1 - tanh(c1[n, k])**2)
        V1[n, o < u, j < 4*u] = C1[n, o, j] * g1[n, j] * i1[n, j] * (1 - i1[n, j]) +
            C1[n, o, j - 2*u] * i1[n, j - 2*u] * (1 - g1[n, j - 2*u]**2) +
            H1[n, o, j - 3*u] * tanh(c1[n, j - 3*u]) * o1[n, j - 3*u] * (1 - o1[n, j - 3*u])
            """,
            SUMS,
            STATE,
        ),
        in_one_line=THROUGH_TIME,
        make=lambda: layers.LSTM(2),
        input_shape=TWO_STEPS,
        letters={"u": "units"},
        assumes=f"{UNROLLED} The first step's forget gate has nothing to forget.",
    ),
    LayerEntry(
        layers.Bidirectional,
        """
        y[n, j] = f1(x)[n, j] if j < m else f2(x)[n, j - m]
        dy[n, j]/dx[n, t, i] = J1[n, j, t, i] if j < m else J2[n, j - m, t, i]
        dL/dx[n, t, i] = sum[j](G[n, j] * J1[n, j, t, i]) + sum[k](G[n, m + k] * J2[n, k, t, i])
        """,
        in_one_line=("dL/dx = that of one way + that of the other",),
        make=lambda: layers.Bidirectional(layers.LSTM(2)),
        input_shape=(3, 2),
        where={
            "f1, f2": "both layers, the second with its rows turned around",
            "J1, J2": "their Jacobians; never formed",
            "m": "the units of one",
        },
        given=both_ways,
        not_analytic=REASON,
    ),
    LayerEntry(
        layers.LastStep,
        """
        y[n, c] = x[n, T - 1, c]
        dy[n, c]/dx[n, t, c] = [t == T - 1]
        dL/dx[n, t, c] = G[n, c] * [t == T - 1]
        """,
        input_shape=(4, 3),
        given=lambda layer, x: {"T": x.shape[1]},
        where={"T": "the number of steps"},
        torch="x[:, -1]",
    ),
]
