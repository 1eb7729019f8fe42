"""Softmax and cross-entropy of class labels, value and gradient together."""

import numpy as np

from layerkit.kernels._numpy.elementwise import log_softmax


def cross_entropy_of_labels(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, smoothing: float
) -> tuple[float, np.ndarray] | None:
    """Return ``Σ_i w_i l_i`` and its gradient; None if one of the int64 labels is out of range.

    With the smoothed target ``t_k = (1 - smoothing) [k = label] + smoothing / n_classes`` and
    p the softmax of a row x::

        l = -Σ_k t_k log p_k             dl/dx_k = p_k - t_k

    A row of weight 0 adds nothing, whatever it holds.
    """
    n_rows, n_classes = logits.shape
    if labels.view(np.uint64).max() >= n_classes:  # as unsigned, -1 is large as well
        return None
    rows = np.arange(n_rows)
    log_p = log_softmax(logits)
    losses = -log_p[rows, labels]
    gradient = np.exp(log_p)
    if smoothing:
        losses *= 1 - smoothing
        losses -= smoothing / n_classes * log_p.sum(axis=1)
        gradient -= smoothing / n_classes
    gradient[rows, labels] -= 1 - smoothing
    gradient *= weights.astype(logits.dtype)[:, np.newaxis]
    if not weights.all():
        losses[weights == 0] = 0
        gradient[weights == 0] = 0
    return float(weights @ losses.astype(np.float64)), gradient
