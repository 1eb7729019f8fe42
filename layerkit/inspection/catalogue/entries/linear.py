"""Fully connected layer and embedding."""

from layerkit.inspection.catalogue.layer_entry import LayerEntry
from layerkit.layers import Dense, Embedding

ENTRIES = [
    LayerEntry(
        Dense,
        "One affine map of the last axis.",
        """
        y = x @ W + b
        dy[n, j]/dx[n, i] = W[i, j]
        dy[n, j]/dW[i, j] = x[n, i]
        dy[n, j]/db[j] = 1
        dL/dx = G @ W.T
        dL/dW = x.T @ G
        dL/db[j] = sum[n](G[n, j])
        """,
        in_one_line=("dy[j]/dx[i] = W[i, j]",),
        make=lambda: Dense(3),
        assumes="Rows are samples, and positions if there are any.",
        source='Rumelhart, Hinton and Williams, "Learning representations by back-propagating '
        'errors", Nature 323, 1986',
        torch="F.linear(x, W.T, b)",
    ),
    LayerEntry(
        Embedding,
        "A learned vector for every integer: a table looked up by row.",
        """
        y[n, t, e] = W[x[n, t], e]
        dy/dx = 0
        dy[n, t, e]/dW[k, e] = [x[n, t] == k]
        dL/dx = 0
        dL/dW[k, e] = sum[n, t](G[n, t, e] * [x[n, t] == k])
        """,
        in_one_line=("dy/dW = 1 for the row that x names, 0 for the others",),
        make=lambda: Embedding(5, 3),
        assumes="Integers have no derivative: the gradient of the input is zero by convention.",
        not_analytic="x holds integers",
        sample=lambda rng, shape: rng.integers(5, size=shape),
        source='Bengio, Ducharme, Vincent and Jauvin, "A neural probabilistic language model", '
        "JMLR 3, 2003",
        torch="F.embedding(x, W)",
    ),
]
