"""Attention, what it is told about places, and the block that is made of it."""

from typing import Any

import numpy as np

from layerkit import layers
from layerkit.inspection.catalogue.entries.containers import REASON
from layerkit.inspection.catalogue.layer_entry import LayerEntry
from layerkit.inspection.jacobians import jacobians
from layerkit.layer import Layer


def by_row(layer: Layer, x: np.ndarray) -> np.ndarray:
    """Return dy[n, t, o]/dx[n, s, i] of a layer that does not mix rows."""
    by_input, _ = jacobians(layer, x, layer.forward(x))
    assert by_input is not None
    rows = np.arange(len(x))
    return by_input[rows, :, :, rows]


def both_bodies(block: Any, x: np.ndarray) -> dict[str, Any]:
    """Name what attention and the small network add, and their Jacobians, each at its own input."""
    attend, feed_forward = (part.body for _, part in block.children())
    z = block.attention.infer(x)
    return {
        "f1": attend.infer,
        "f2": feed_forward.infer,
        "J1": by_row(attend, x),
        "J2": by_row(feed_forward, z),
    }


ATTENTION = [
    LayerEntry(
        layers.MultiHeadAttention,
        """
        p[n, t, k] = sum[i](x[n, t, i] * W_qkv[i, k]) + b_qkv[k]
        S[n, e < H, t, s] = sum[c < w](p[n, t, e*w + c] * p[n, s, d + e*w + c]) / sqrt(w)
        A[n, e, t, s] = exp(S[n, e, t, s]) / sum[r](exp(S[n, e, t, r]))
        h[n, t, j < d] = sum[s](A[n, j // w, t, s] * p[n, s, 2*d + j])
        y[n, t, o] = sum[j](h[n, t, j] * W_o[j, o]) + b_o[o]
        M[n, s, o, e < H] = sum[c < w](W_o[e*w + c, o] * p[n, s, 2*d + e*w + c])
        B[n, t, o, e, s] = A[n, e, t, s] * (M[n, s, o, e] - sum[r](A[n, e, t, r] * M[n, r, o, e]))
        V[n, t, o, s, k < 3*d] = A[n, (k - 2*d) // w, t, s] * W_o[k - 2*d, o] +
            B[n, t, o, (k - d) // w, s] * p[n, t, k - d] / sqrt(w) +
            [s == t] * sum[r](B[n, t, o, k // w, r] * p[n, r, d + k]) / sqrt(w)
        dy[n, t, o]/dx[n, s, i] = sum[k](V[n, t, o, s, k] * W_qkv[i, k])
        dy[n, t, o]/dW_o[j, o] = h[n, t, j]
        dy[n, t, o]/db_o[o] = 1
        dL/dh[n, t, j < d] = sum[o](G[n, t, o] * W_o[j, o])
        dL/dA[n, e < H, t, s] = sum[c < w]((dL/dh[n, t, e*w + c]) * p[n, s, 2*d + e*w + c])
        dL/dS[n, e, t, s] =
            A[n, e, t, s] * ((dL/dA[n, e, t, s]) - sum[r](A[n, e, t, r] * (dL/dA[n, e, t, r])))
        dL/dp[n, t, k < 3*d] = sum[s]((dL/dS[n, k // w, t, s]) * p[n, s, d + k]) / sqrt(w) +
            sum[s]((dL/dS[n, (k - d) // w, s, t]) * p[n, s, k - d]) / sqrt(w) +
            sum[s](A[n, (k - 2*d) // w, s, t] * (dL/dh[n, s, k - 2*d]))
        dL/dx[n, t, i] = sum[k]((dL/dp[n, t, k]) * W_qkv[i, k])
        dL/dW_qkv[i, k] = sum[n, t](x[n, t, i] * (dL/dp[n, t, k]))
        dL/db_qkv[k] = sum[n, t](dL/dp[n, t, k])
        dL/dW_o[j, o] = sum[n, t](h[n, t, j] * G[n, t, o])
        dL/db_o[o] = sum[n, t](G[n, t, o])
        """,
        in_one_line=("dA/dS = A (dS - sum(A dS)) for S = q k.T / sqrt(w)",),
        make=lambda: layers.MultiHeadAttention(2),
        input_shape=(3, 4),
        letters={"H": "num_heads"},
        where={
            "d, w": "the number of features, and d / H, a head's",
            "p": "queries, keys and values side by side, d columns each",
        },
        given=lambda layer, x: {"d": x.shape[2], "w": x.shape[2] // layer.num_heads},
        sample=lambda rng, shape: rng.standard_normal(shape),
        assumes="Entries of A, and of what goes with it, are 0 for a head that does not exist. "
        "With `causal`, the scores S of later steps are left out of both sums. With dropout, a "
        "mask over 1 - rate multiplies A in h, and dL/dA.",
        counterpart="PyTorch's MultiheadAttention",
        torch="F.multi_head_attention_forward(*[x.transpose(0, 1)] * 3, d, H, W_qkv.T, b_qkv, "
        "None, None, False, 0.0, W_o.T, b_o, need_weights=False)[0].transpose(0, 1)",
    ),
    LayerEntry(
        layers.PositionalEncoding,
        """
        y[n, t, c] = x[n, t, c] +
            (sin(t / 10000**(c / d)) if c % 2 == 0 else cos(t / 10000**((c - 1) / d)))
        dy[n, t, c]/dx[n, t, c] = 1
        dL/dx = G
        """,
        input_shape=(3, 4),
        where={"d": "the number of features"},
        given=lambda layer, x: {"d": x.shape[2]},
    ),
    LayerEntry(
        layers.PositionalEmbedding,
        """
        y[n, t, c] = x[n, t, c] + W[t, c]
        dy[n, t, c]/dx[n, t, c] = 1
        dy[n, t, c]/dW[t, c] = 1
        dL/dx = G
        dL/dW[t, c] = sum[n](G[n, t, c])
        """,
        make=lambda: layers.PositionalEmbedding(5),
        input_shape=(3, 4),
        assumes="Places beyond the last step get 0.",
        torch="x + W[:x.shape[1]]",
    ),
    LayerEntry(
        layers.TransformerEncoderBlock,
        """
        z = x + f1(x)
        y = z + f2(z)
        dy[n, t, o]/dx[n, u, i] = sum[s, j](([s == t] * [j == o] + J2[n, t, o, s, j]) *
            ([s == u] * [i == j] + J1[n, s, j, u, i]))
        dL/dz[n, s, j] = G[n, s, j] + sum[t, o](G[n, t, o] * J2[n, t, o, s, j])
        dL/dx[n, u, i] =
            (dL/dz[n, u, i]) + sum[s, j]((dL/dz[n, s, j]) * J1[n, s, j, u, i])
        """,
        in_one_line=("dy/dx = (1 + dF/dz) (1 + dA/dx)",),
        make=lambda: layers.TransformerEncoderBlock(2, 5, rate=0.0),
        input_shape=(3, 4),
        where={
            "f1": "LayerNorm, MultiHeadAttention, Dropout",
            "f2": "LayerNorm, Dense, ReLU, Dropout, Dense, Dropout",
            "J1, J2": "their Jacobians, each at its own input; never formed",
        },
        given=both_bodies,
        not_analytic=REASON,
        counterpart="PyTorch's TransformerEncoderLayer with norm_first=True",
    ),
]
