"""Saturating activations, softmax and its logarithm."""

import numpy as np

from layerkit import layers
from layerkit.inspection.catalogue.layer_entry import LayerEntry

BRIDLE = (
    'Bridle, "Training stochastic model recognition algorithms as networks can lead to maximum '
    'mutual information estimation of parameters", NIPS 1989'
)


def one_against_others(grid: np.ndarray) -> np.ndarray:
    """Scores of which two compete, while the others are far behind."""
    return np.stack([grid, 0 * grid, 0 * grid - 60, 0 * grid - 60], axis=-1)


ENTRIES = [
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
