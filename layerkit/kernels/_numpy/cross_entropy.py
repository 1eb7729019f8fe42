"""Cross-entropy after softmax or sigmoid: value and gradient share their exponentials.

Arguments::

    logits, labels        (n_samples, n_classes), and the class of each row
    targets               probabilities, in the shape of the logits
    cap                   bound that a loss does not exceed
    weights               of the samples, divided by the normalizer
    smoothing             share of the target that is spread over all classes
    pos_weight            positive factor on the loss of positive targets
"""

import numpy as np

from layerkit.kernels._numpy.activations import log1p, sigmoid, softplus
from layerkit.kernels.dispatch import compiled


@compiled
@np.errstate(all="ignore")
def cross_entropy_of_labels(
    logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, smoothing: float
) -> tuple[float, np.ndarray] | None:
    """Return ``Σ_i w_i l_i`` and its gradient; None if one of the int64 labels is out of range.

    With the smoothed target ``t_k = (1 - smoothing) [k = label] + smoothing / n_classes`` and
    p the softmax of a row x::

        l = -Σ_k t_k log p_k             dl/dx_k = p_k - t_k

    A row of weight 0 adds nothing, whatever it holds. Rows that are not finite give NaN, without
    warnings: a loss says by its value that the numbers ran away.
    """
    n_rows, n_classes = logits.shape
    if labels.view(np.uint64).max() >= n_classes:  # as unsigned, -1 is large as well
        return None
    rows = np.arange(n_rows)
    largest = logits.argmax(axis=1)
    shifted = logits - logits[rows, largest, np.newaxis]
    gradient = np.exp(shifted)
    ones = gradient[rows, largest]  # or NaN
    # log(1 + the others) keeps small others, which the sum of all would lose beside the 1.
    gradient[rows, largest] = 0
    others = gradient.sum(axis=1)
    gradient[rows, largest] = ones
    gradient /= (ones + others)[:, np.newaxis]
    logs = np.log1p(others)
    losses = logs - shifted[rows, labels]
    if smoothing:
        losses *= 1 - smoothing
        losses += smoothing * (logs - shifted.mean(axis=1))
        gradient -= smoothing / n_classes
    gradient[rows, labels] -= 1 - smoothing
    gradient *= weights.astype(logits.dtype)[:, np.newaxis]
    if not weights.all():
        losses[weights == 0] = 0
        gradient[weights == 0] = 0
    return float(weights @ losses.astype(np.float64)), gradient


@compiled
@np.errstate(all="ignore")
def binary_cross_entropy(
    logits: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    pos_weight: float,
    smoothing: float,
) -> tuple[float, np.ndarray] | None:
    """Return ``Σ_i w_i l_i`` and its gradient; None if one of the targets is not in [0, 1].

    The loss of a row is the mean over its outputs x; with ``t = (1 - smoothing) target +
    smoothing / 2`` and the positive weight f that is::

        l = -f t log σ(x) - (1 - t) log σ(-x)           dl/dx = (1 - t) σ(x) - f t σ(-x)

    One exponential gives all of it. With ``e = exp(-|x|)``::

        σ(|x|) = 1 / (1 + e)      σ(-|x|) = e / (1 + e)      -log σ(±x) = max(∓x, 0) + log(1 + e)

    A row of weight 0 adds nothing, whatever it holds. Rows that are not finite give NaN, without
    warnings: a loss says by its value that the numbers ran away.
    """
    if not ((targets >= 0) & (targets <= 1)).all():
        return None
    t = (1 - smoothing) * targets + smoothing / 2
    e = np.exp(-np.abs(logits))
    log, large = log1p(e), 1 / (1 + e)
    positive, small = logits >= 0, e * large
    of_true, of_false = pos_weight * t, 1 - t
    values = of_true * (log - np.minimum(logits, 0)) + of_false * (log + np.maximum(logits, 0))
    gradient = of_false * np.where(positive, large, small)
    gradient -= of_true * np.where(positive, small, large)
    losses = values.mean(axis=1, dtype=np.float64)
    gradient *= (weights / logits.shape[1]).astype(logits.dtype)[:, np.newaxis]
    if not weights.all():
        losses[weights == 0] = 0
        gradient[weights == 0] = 0
    return float(weights @ losses), gradient


@compiled
def cross_entropy_of_softmax(
    logits: np.ndarray, targets: np.ndarray, cap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``min(cap, log Σ_k exp(x_k) - Σ_k t_k x_k)`` of each row x and ``softmax(x) - t``.

    The derivative knows nothing of the cap. Rows of targets add up to 1.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(shifted)
    total = p.sum(axis=1, keepdims=True)
    values = np.log(total[:, 0]) - np.einsum("ij,ij->i", targets, shifted)
    p /= total
    p -= targets
    return np.minimum(values, cap), p


@compiled
def cross_entropy_of_sigmoid(
    logits: np.ndarray, targets: np.ndarray, cap: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return ``Σ_k min(cap, log(1 + exp(x_k)) - t_k x_k)`` of each row x and ``σ(x) - t``.

    The derivative knows nothing of the cap.
    """
    values = softplus(logits) - targets * logits
    return np.minimum(values, cap).sum(axis=1), sigmoid(logits) - targets
