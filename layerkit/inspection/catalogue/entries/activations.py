"""Activations: saturating ones, rectifiers, units with a gate; softmax and its logarithm."""

import numpy as np

from layerkit import layers
from layerkit.inspection.catalogue.layer_entry import LayerEntry


def one_against_others(grid: np.ndarray) -> np.ndarray:
    """Scores of which two compete, while the others are far behind."""
    return np.stack([grid, 0 * grid, 0 * grid - 60, 0 * grid - 60], axis=-1)


SATURATING = [
    LayerEntry(
        layers.Identity,
        """
        y = x
        dy/dx = 1
        dL/dx = G
        """,
        computes="Nothing: for a branch or a shortcut that changes nothing.",
        ranges={"y": "(-inf, inf)", "dy/dx": "{1}"},
        torch="F.threshold(x, -1e300, 0)",
    ),
    LayerEntry(
        layers.Sigmoid,
        """
        y = 1 / (1 + exp(-x))
        dy/dx = y * (1 - y)
        dL/dx = G * y * (1 - y)
        """,
        ranges={"y": "(0, 1)", "dy/dx": "(0, 1/4]"},
        torch="F.sigmoid(x)",
    ),
    LayerEntry(
        layers.HardSigmoid,
        """
        y = min(max(x / 6 + 1 / 2, 0), 1)
        dy/dx = 1 / 6 if abs(x) < 3 else 0
        dL/dx = G / 6 if abs(x) < 3 else 0
        """,
        assumes="0 at both kinks, as in PyTorch.",
        ranges={"y": "[0, 1]", "dy/dx": "{0, 1/6}"},
        kinks=(-3, 3),
        torch="F.relu6(x + 3) / 6",
    ),
    LayerEntry(
        layers.Tanh,
        """
        y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))
        dy/dx = 1 - y**2
        dL/dx = G * (1 - y**2)
        """,
        ranges={"y": "(-1, 1)", "dy/dx": "(0, 1]"},
        torch="F.tanh(x)",
    ),
    LayerEntry(
        layers.HardTanh,
        """
        y = min(max(x, low), high)
        dy/dx = 1 if max(low - x, x - high) < 0 else 0
        dL/dx = G if max(low - x, x - high) < 0 else 0
        """,
        assumes="0 at both kinks, as in PyTorch. Shown for low = -1, high = 1.",
        ranges={"y": "[-1, 1]", "dy/dx": "{0, 1}"},
        kinks=(-1, 1),
        torch="F.hardtanh(x, low, high)",
    ),
    LayerEntry(
        layers.Softplus,
        """
        y = log(1 + exp(x))
        dy/dx = 1 / (1 + exp(-x))
        dL/dx = G / (1 + exp(-x))
        """,
        ranges={"y": "(0, inf)", "dy/dx": "(0, 1)"},
        not_complex="against overflow it takes the absolute value of x",
        torch="F.softplus(x, threshold=700)",
    ),
    LayerEntry(
        layers.Softsign,
        """
        y = x / (1 + abs(x))
        dy/dx = 1 / (1 + abs(x))**2
        dL/dx = G / (1 + abs(x))**2
        """,
        ranges={"y": "(-1, 1)", "dy/dx": "(0, 1]"},
        not_analytic="the absolute value is not; its kink cancels at 0",
        torch="F.softsign(x)",
    ),
    LayerEntry(
        layers.Softmax,
        """
        y[n, i] = exp(x[n, i]) / sum[j](exp(x[n, j]))
        dy[n, i]/dx[n, j] = y[n, i] * ([i == j] - y[n, j])
        dL/dx[n, i] = y[n, i] * (G[n, i] - sum[j](G[n, j] * y[n, j]))
        """,
        in_one_line=("dy[i]/dx[j] = y[i] (δ[i, j] - y[j])",),
        assumes="Sums run over one axis, the last by default. Before a cross-entropy leave it out: "
        "the loss takes x itself.",
        ranges={"y": "(0, 1)", "dy/dx": "[-1/4, 1/4]"},
        probe=one_against_others,
        torch="F.softmax(x, dim=-1)",
    ),
    LayerEntry(
        layers.LogSoftmax,
        """
        y[n, i] = x[n, i] - log(sum[j](exp(x[n, j])))
        dy[n, i]/dx[n, j] = [i == j] - exp(y[n, j])
        dL/dx[n, i] = G[n, i] - exp(y[n, i]) * sum[j](G[n, j])
        """,
        in_one_line=("dy[i]/dx[j] = δ[i, j] - exp(y[j])",),
        assumes="Sums run over one axis, the last by default.",
        ranges={"y": "(-inf, 0)", "dy/dx": "(-1, 1)"},
        probe=one_against_others,
        torch="F.log_softmax(x, dim=-1)",
    ),
]

RECTIFIERS = [
    LayerEntry(
        layers.ReLU,
        """
        y = max(x, 0)
        dy/dx = 1 if x > 0 else 0
        dL/dx = G if x > 0 else 0
        """,
        computes="Positive numbers pass, negative ones become zero.",
        assumes="0 at the kink, as in PyTorch.",
        ranges={"y": "[0, inf)", "dy/dx": "{0, 1}"},
        kinks=(0,),
        torch="F.relu(x)",
    ),
    LayerEntry(
        layers.LeakyReLU,
        """
        y = x if x > 0 else a * x
        dy/dx = 1 if x > 0 else a
        dL/dx = G if x > 0 else G * a
        """,
        letters={"a": "negative_slope"},
        assumes="a at the kink, as in PyTorch.",
        ranges={"y": "(-inf, inf)", "dy/dx": "{a, 1}"},
        kinks=(0,),
        torch="F.leaky_relu(x, a)",
    ),
    LayerEntry(
        layers.PReLU,
        """
        y = x if x > 0 else negative_slope * x
        dy/dx = 1 if x > 0 else negative_slope
        dy[n, c]/dnegative_slope[c] = min(x[n, c], 0)
        dL/dx = G if x > 0 else G * negative_slope
        dL/dnegative_slope[c] = sum[n](G[n, c] * min(x[n, c], 0))
        """,
        assumes="The sum runs over all axes but the last. The learned slope at the kink.",
        ranges={"y": "(-inf, inf)", "dy/dx": "{negative_slope, 1}"},
        kinks=(0,),
        torch="F.prelu(x, negative_slope)",
    ),
    LayerEntry(
        layers.ELU,
        """
        y = x if x > 0 else alpha * (exp(x) - 1)
        dy/dx = 1 if x > 0 else alpha * exp(x)
        dL/dx = G if x > 0 else G * alpha * exp(x)
        """,
        computes="ReLU whose negative side levels off smoothly at -alpha.",
        make=lambda: layers.ELU(alpha=1.5),
        assumes="alpha at 0, where there is a kink unless alpha = 1.",
        ranges={"y": "(-alpha, inf)", "dy/dx": "(0, max(1, alpha)]"},
        kinks=(0,),
        torch="F.elu(x, alpha)",
    ),
    LayerEntry(
        layers.SELU,
        """
        y = lam * x if x > 0 else lam * alpha * (exp(x) - 1)
        dy/dx = lam if x > 0 else lam * alpha * exp(x)
        dL/dx = G * lam if x > 0 else G * lam * alpha * exp(x)
        """,
        letters={"alpha": "ALPHA", "lam": "LAMBDA"},
        assumes="alpha = 1.6732632… and λ = 1.0507010…, the fixed point of the paper; λ alpha at "
        "the kink.",
        ranges={"y": "(-lam * alpha, inf)", "dy/dx": "(0, lam * alpha]"},
        kinks=(0,),
        torch="F.selu(x)",
    ),
    LayerEntry(
        layers.Maxout,
        """
        z[n, p < P, u < U] = sum[i](x[n, i] * W[i, p * U + u]) + b[p * U + u]
        y[n, u] = max[p](z[n, p, u])
        won[n, p, u] = [z[n, p, u] == y[n, u]]
        dy[n, u]/dx[n, i] = sum[p](won[n, p, u] * W[i, p * U + u])
        dy[n, u]/dW[i, p * U + u] = won[n, p, u] * x[n, i]
        dy[n, u]/db[p * U + u] = won[n, p, u]
        Z[n, p * U + u] = won[n, p, u] * G[n, u]
        dL/dx = Z @ W.T
        dL/dW = x.T @ Z
        dL/db[k] = sum[n](Z[n, k])
        """,
        make=lambda: layers.Maxout(units=3, pieces=2),
        letters={"P": "pieces", "U": "units"},
        assumes="Of equal pieces the first takes the gradient.",
        not_analytic="a maximum has kinks",
        torch="F.linear(x, W.T, b).reshape(-1, P, U).amax(1)",
    ),
]

GATED = [
    LayerEntry(
        layers.GELU,
        """
        Phi = (1 + erf(x / sqrt(2))) / 2
        phi = exp(-x**2 / 2) / sqrt(2 * pi)
        y = x * Phi
        dy/dx = Phi + x * phi
        dL/dx = G * (Phi + x * phi)
        """,
        computes="x times the probability that a normal number is below x.",
        ranges={"y": "[-0.1700, inf)", "dy/dx": "[-0.1289, 1.1289]"},
        torch="F.gelu(x)",
    ),
    LayerEntry(
        layers.GELU,
        """
        u = sqrt(2 / pi) * (x + 0.044715 * x**3)
        s = (1 + tanh(u)) / 2
        y = x * s
        t = sqrt(2 / pi) * (1 + 3 * 0.044715 * x**2)
        dy/dx = s + 2 * x * s * (1 - s) * t
        dL/dx = G * (s + 2 * x * s * (1 - s) * t)
        """,
        computes="GELU with tanh for its gate: up to 5e-4 away and faster, with its own "
        "derivative.",
        make=lambda: layers.GELU(approximate=True),
        name="GELU(approximate=True)",
        where={"t": "the derivative of u"},
        ranges={"y": "[-0.1700, inf)", "dy/dx": "[-0.1290, 1.1290]"},
        torch="F.gelu(x, approximate='tanh')",
    ),
    LayerEntry(
        layers.SiLU,
        """
        s = 1 / (1 + exp(-x))
        y = x * s
        dy/dx = s + x * s * (1 - s)
        dL/dx = G * (s + x * s * (1 - s))
        """,
        computes="x times its sigmoid, also called swish.",
        ranges={"y": "[-0.2785, inf)", "dy/dx": "[-0.0998, 1.0998]"},
        torch="F.silu(x)",
    ),
    LayerEntry(
        layers.Mish,
        """
        s = tanh(log(1 + exp(x)))
        y = x * s
        dy/dx = s + x * (1 - s**2) / (1 + exp(-x))
        dL/dx = G * (s + x * (1 - s**2) / (1 + exp(-x)))
        """,
        computes="x times the tanh of its softplus: a smooth relative of SiLU with a sharper gate.",
        ranges={"y": "[-0.3088, inf)", "dy/dx": "[-0.1125, 1.0885]"},
        torch="F.mish(x)",
    ),
    LayerEntry(
        layers.HardSwish,
        """
        y = x * min(max(x / 6 + 1 / 2, 0), 1)
        dy/dx = 0 if x <= -3 else x / 3 + 1 / 2 if x < 3 else 1
        dL/dx = 0 if x <= -3 else G * (x / 3 + 1 / 2) if x < 3 else G
        """,
        assumes="At both kinks the slope of the straight side, as in PyTorch.",
        ranges={"y": "[-3/8, inf)", "dy/dx": "(-1/2, 3/2)"},
        kinks=(-3, 3),
        torch="F.hardswish(x)",
    ),
    LayerEntry(
        layers.GLU,
        """
        s[n, j < k] = 1 / (1 + exp(-x[n, k + j]))
        y[n, j] = x[n, j] * s[n, j]
        dy[n, j]/dx[n, i] = [i == j] * s[n, j] + [i == k + j] * x[n, j] * s[n, j] * (1 - s[n, j])
        dL/dx[n, i] = G[n, i] * s[n, i] if i < k else
            G[n, i - k] * x[n, i - k] * s[n, i - k] * (1 - s[n, i - k])
        """,
        computes="The second half of the channels opens and closes the first.",
        input_shape=(6,),
        where={"k": "half of the channels"},
        given=lambda layer, x: {"k": x.shape[-1] // 2},
        torch="F.glu(x)",
    ),
]
