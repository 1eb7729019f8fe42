"""Activations: saturating ones, rectifiers, units with a gate; softmax and its logarithm."""

import numpy as np

from layerkit import layers
from layerkit.inspection.catalogue.layer_entry import LayerEntry

BRIDLE = (
    'Bridle, "Training stochastic model recognition algorithms as networks can lead to maximum '
    'mutual information estimation of parameters", NIPS 1989'
)
GELU_SOURCE = 'Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", 2016, arXiv:1606.08415'


def one_against_others(grid: np.ndarray) -> np.ndarray:
    """Scores of which two compete, while the others are far behind."""
    return np.stack([grid, 0 * grid, 0 * grid - 60, 0 * grid - 60], axis=-1)


SATURATING = [
    LayerEntry(
        layers.Identity,
        "Nothing: for a branch or a shortcut that changes nothing.",
        """
        y = x
        dy/dx = 1
        dL/dx = G
        """,
        ranges={"y": "(-inf, inf)", "dy/dx": "{1}"},
        torch="F.threshold(x, -1e300, 0)",
    ),
    LayerEntry(
        layers.Sigmoid,
        "The logistic function: a number squeezed into a probability.",
        """
        y = 1 / (1 + exp(-x))
        dy/dx = y * (1 - y)
        dL/dx = G * y * (1 - y)
        """,
        ranges={"y": "(0, 1)", "dy/dx": "(0, 1/4]"},
        source='Rumelhart, Hinton and Williams, "Learning representations by back-propagating '
        'errors", Nature 323, 1986',
        torch="F.sigmoid(x)",
    ),
    LayerEntry(
        layers.HardSigmoid,
        "A sigmoid of three straight lines.",
        """
        y = min(max(x / 6 + 1 / 2, 0), 1)
        dy/dx = 1 / 6 if abs(x) < 3 else 0
        dL/dx = G / 6 if abs(x) < 3 else 0
        """,
        assumes="0 at both kinks, as in PyTorch.",
        ranges={"y": "[0, 1]", "dy/dx": "{0, 1/6}"},
        kinks=(-3, 3),
        source='Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244',
        torch="F.relu6(x + 3) / 6",
    ),
    LayerEntry(
        layers.Tanh,
        "The hyperbolic tangent: a sigmoid centred at 0.",
        """
        y = (exp(x) - exp(-x)) / (exp(x) + exp(-x))
        dy/dx = 1 - y**2
        dL/dx = G * (1 - y**2)
        """,
        ranges={"y": "(-1, 1)", "dy/dx": "(0, 1]"},
        source='LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998',
        torch="F.tanh(x)",
    ),
    LayerEntry(
        layers.HardTanh,
        "A tanh of three straight lines.",
        """
        y = min(max(x, -1), 1)
        dy/dx = 1 if abs(x) < 1 else 0
        dL/dx = G if abs(x) < 1 else 0
        """,
        assumes="0 at both kinks, as in PyTorch.",
        ranges={"y": "[-1, 1]", "dy/dx": "{0, 1}"},
        kinks=(-1, 1),
        source='Collobert, "Large scale machine learning", thesis, Université Paris 6, 2004',
        torch="F.hardtanh(x)",
    ),
    LayerEntry(
        layers.Softplus,
        "A smooth ReLU, positive everywhere: for scales and rates.",
        """
        y = log(1 + exp(x))
        dy/dx = 1 / (1 + exp(-x))
        dL/dx = G / (1 + exp(-x))
        """,
        ranges={"y": "(0, inf)", "dy/dx": "(0, 1)"},
        not_complex="against overflow it takes the absolute value of x",
        source='Dugas, Bengio, Bélisle, Nadeau and Garcia, "Incorporating second-order functional '
        'knowledge for better option pricing", NIPS 2000',
        torch="F.softplus(x, threshold=700)",
    ),
    LayerEntry(
        layers.Softsign,
        "A sigmoid that approaches ±1 as 1/x does, much more slowly than tanh.",
        """
        y = x / (1 + abs(x))
        dy/dx = 1 / (1 + abs(x))**2
        dL/dx = G / (1 + abs(x))**2
        """,
        ranges={"y": "(-1, 1)", "dy/dx": "(0, 1]"},
        not_analytic="the absolute value is not; its kink cancels at 0",
        source='Turian, Bergstra and Bengio, "Quadratic features and deep architectures for '
        'chunking", NAACL 2009',
        torch="F.softsign(x)",
    ),
    LayerEntry(
        layers.Softmax,
        "Probabilities from scores: positive numbers that sum to 1.",
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
        source=BRIDLE,
        torch="F.softmax(x, dim=-1)",
    ),
    LayerEntry(
        layers.LogSoftmax,
        "Logarithms of softmax probabilities, exact also where these round to 0 or 1.",
        """
        y[n, i] = x[n, i] - log(sum[j](exp(x[n, j])))
        dy[n, i]/dx[n, j] = [i == j] - exp(y[n, j])
        dL/dx[n, i] = G[n, i] - exp(y[n, i]) * sum[j](G[n, j])
        """,
        in_one_line=("dy[i]/dx[j] = δ[i, j] - exp(y[j])",),
        assumes="Sums run over one axis, the last by default.",
        ranges={"y": "(-inf, 0)", "dy/dx": "(-1, 1)"},
        probe=one_against_others,
        source=BRIDLE,
        torch="F.log_softmax(x, dim=-1)",
    ),
]

RECTIFIERS = [
    LayerEntry(
        layers.ReLU,
        "Positive numbers pass, negative ones become zero.",
        """
        y = max(x, 0)
        dy/dx = 1 if x > 0 else 0
        dL/dx = G if x > 0 else 0
        """,
        assumes="0 at the kink, as in PyTorch.",
        ranges={"y": "[0, inf)", "dy/dx": "{0, 1}"},
        kinks=(0,),
        source='Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines", '
        "ICML 2010",
        torch="F.relu(x)",
    ),
    LayerEntry(
        layers.LeakyReLU,
        "ReLU that lets a little of the negative numbers through, so that no unit dies.",
        """
        y = x if x > 0 else a * x
        dy/dx = 1 if x > 0 else a
        dL/dx = G if x > 0 else G * a
        """,
        letters={"a": "negative_slope"},
        assumes="a at the kink, as in PyTorch.",
        ranges={"y": "(-inf, inf)", "dy/dx": "{a, 1}"},
        kinks=(0,),
        source='Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic '
        'models", ICML 2013',
        torch="F.leaky_relu(x, a)",
    ),
    LayerEntry(
        layers.PReLU,
        "Leaky ReLU that learns its slope, one for each channel.",
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
        source='He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015, '
        "arXiv:1502.01852",
        torch="F.prelu(x, negative_slope)",
    ),
    LayerEntry(
        layers.ELU,
        "ReLU whose negative side levels off smoothly at -alpha.",
        """
        y = x if x > 0 else alpha * (exp(x) - 1)
        dy/dx = 1 if x > 0 else alpha * exp(x)
        dL/dx = G if x > 0 else G * alpha * exp(x)
        """,
        make=lambda: layers.ELU(alpha=1.5),
        assumes="alpha at 0, where there is a kink unless alpha = 1.",
        ranges={"y": "(-alpha, inf)", "dy/dx": "(0, max(1, alpha)]"},
        kinks=(0,),
        source='Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by '
        'exponential linear units (ELUs)", ICLR 2016, arXiv:1511.07289',
        torch="F.elu(x, alpha)",
    ),
    LayerEntry(
        layers.SELU,
        "ELU scaled such that mean 0 and variance 1 reproduce themselves from layer to layer.",
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
        source='Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", '
        "NeurIPS 2017, arXiv:1706.02515",
        torch="F.selu(x)",
    ),
    LayerEntry(
        layers.Maxout,
        "The largest of several affine maps: a convex, piecewise linear function that is learned.",
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
        source='Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout networks", '
        "ICML 2013, arXiv:1302.4389",
        torch="F.linear(x, W.T, b).reshape(-1, P, U).amax(1)",
    ),
]

GATED = [
    LayerEntry(
        layers.GELU,
        "x times the probability that a normal number is below x.",
        """
        Phi = (1 + erf(x / sqrt(2))) / 2
        phi = exp(-x**2 / 2) / sqrt(2 * pi)
        y = x * Phi
        dy/dx = Phi + x * phi
        dL/dx = G * (Phi + x * phi)
        """,
        ranges={"y": "[-0.1700, inf)", "dy/dx": "[-0.1289, 1.1289]"},
        source=GELU_SOURCE,
        torch="F.gelu(x)",
    ),
    LayerEntry(
        layers.GELU,
        "GELU with tanh for its gate: up to 5e-4 away and faster, with its own derivative.",
        """
        u = sqrt(2 / pi) * (x + 0.044715 * x**3)
        s = (1 + tanh(u)) / 2
        y = x * s
        t = sqrt(2 / pi) * (1 + 3 * 0.044715 * x**2)
        dy/dx = s + 2 * x * s * (1 - s) * t
        dL/dx = G * (s + 2 * x * s * (1 - s) * t)
        """,
        make=lambda: layers.GELU(approximate=True),
        name="GELU(approximate=True)",
        where={"t": "the derivative of u"},
        ranges={"y": "[-0.1700, inf)", "dy/dx": "[-0.1290, 1.1290]"},
        source=GELU_SOURCE,
        torch="F.gelu(x, approximate='tanh')",
    ),
    LayerEntry(
        layers.SiLU,
        "x times its sigmoid, also called swish.",
        """
        s = 1 / (1 + exp(-x))
        y = x * s
        dy/dx = s + x * s * (1 - s)
        dL/dx = G * (s + x * s * (1 - s))
        """,
        ranges={"y": "[-0.2785, inf)", "dy/dx": "[-0.0998, 1.0998]"},
        source='Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network '
        'function approximation in reinforcement learning", Neural Networks 107, 2018, '
        "arXiv:1702.03118",
        torch="F.silu(x)",
    ),
    LayerEntry(
        layers.Mish,
        "x times the tanh of its softplus: a smooth relative of SiLU with a sharper gate.",
        """
        s = tanh(log(1 + exp(x)))
        y = x * s
        dy/dx = s + x * (1 - s**2) / (1 + exp(-x))
        dL/dx = G * (s + x * (1 - s**2) / (1 + exp(-x)))
        """,
        ranges={"y": "[-0.3088, inf)", "dy/dx": "[-0.1125, 1.0885]"},
        source='Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020, '
        "arXiv:1908.08681",
        torch="F.mish(x)",
    ),
    LayerEntry(
        layers.HardSwish,
        "SiLU with the hard sigmoid for a gate: a parabola between 0 and x.",
        """
        y = x * min(max(x / 6 + 1 / 2, 0), 1)
        dy/dx = 0 if x <= -3 else x / 3 + 1 / 2 if x < 3 else 1
        dL/dx = 0 if x <= -3 else G * (x / 3 + 1 / 2) if x < 3 else G
        """,
        assumes="At both kinks the slope of the straight side, as in PyTorch.",
        ranges={"y": "[-3/8, inf)", "dy/dx": "(-1/2, 3/2)"},
        kinks=(-3, 3),
        source='Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244',
        torch="F.hardswish(x)",
    ),
    LayerEntry(
        layers.GLU,
        "The second half of the channels opens and closes the first.",
        """
        s[n, j < k] = 1 / (1 + exp(-x[n, k + j]))
        y[n, j] = x[n, j] * s[n, j]
        dy[n, j]/dx[n, i] = [i == j] * s[n, j] + [i == k + j] * x[n, j] * s[n, j] * (1 - s[n, j])
        dL/dx[n, i] = G[n, i] * s[n, i] if i < k else
            G[n, i - k] * x[n, i - k] * s[n, i - k] * (1 - s[n, i - k])
        """,
        input_shape=(6,),
        where={"k": "half of the channels"},
        given=lambda layer, x: {"k": x.shape[-1] // 2},
        source='Dauphin, Fan, Auli and Grangier, "Language modeling with gated convolutional '
        'networks", ICML 2017, arXiv:1612.08083',
        torch="F.glu(x)",
    ),
]
