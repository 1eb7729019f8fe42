"""Losses: of regression and of distributions, cross-entropies and margins."""

import numpy as np

from layerkit import losses
from layerkit.inspection.catalogue.loss_entry import MEAN_OF_SAMPLES, Data, LossEntry

ONE_HOT = "y_true holds rows of probabilities; a label stands for its one-hot row."
STABLE = "against overflow it takes an absolute value"


def amounts(rng: np.random.Generator, n: int) -> Data:
    """Logarithms of means, and positive numbers."""
    return rng.standard_normal((n, 2)), rng.gamma(2.0, size=(n, 2)) + 0.1


def vectors(rng: np.random.Generator, n: int) -> Data:
    """Two sets of vectors, the first target so short that what is added to its length counts."""
    y_pred, y_true = rng.standard_normal((2, n, 3))
    y_true[0] *= 1e-6
    return y_pred, y_true


def signs(rng: np.random.Generator, n: int) -> Data:
    """Scores and -1 or 1."""
    return 2 * rng.standard_normal((n, 2)), 2.0 * rng.integers(2, size=(n, 2)) - 1


def one_hot(rng: np.random.Generator, n: int) -> Data:
    """Scores and one-hot rows of three classes."""
    return 2 * rng.standard_normal((n, 3)), np.eye(3)[rng.integers(3, size=n)]


def probabilities(rng: np.random.Generator, n: int) -> Data:
    """Scores and rows of probabilities of three classes."""
    return 2 * rng.standard_normal((n, 3)), rng.dirichlet(np.ones(3), size=n)


REGRESSION = [
    LossEntry(
        losses.MeanSquaredError,
        """
        v = (y_pred - y_true)**2
        dv/dy_pred = 2 * (y_pred - y_true)
        """,
        ranges={"v": "[0, inf)", "dv/dy_pred": "(-inf, inf)"},
        source="Gauss, Theoria combinationis observationum, 1823; PyTorch's MSELoss",
        torch="F.mse_loss(y_pred, y_true, reduction='none')",
    ),
    LossEntry(
        losses.MeanAbsoluteError,
        """
        v = abs(y_pred - y_true)
        dv/dy_pred = sign(y_pred - y_true)
        """,
        in_one_line=("|y_pred - y_true|", "sign(y_pred - y_true), 0 at the kink"),
        assumes="0 at the kink.",
        ranges={"v": "[0, inf)", "dv/dy_pred": "{-1, 0, 1}"},
        kinks=(0,),
        counterpart="PyTorch's L1Loss",
        torch="F.l1_loss(y_pred, y_true, reduction='none')",
    ),
    LossEntry(
        losses.Huber,
        """
        e = y_pred - y_true
        v = e**2 / 2 if abs(e) <= delta else delta * (abs(e) - delta / 2)
        dv/dy_pred = min(max(e, -delta), delta)
        """,
        in_one_line=(
            "e² / 2 if |e| <= delta, else delta (|e| - delta / 2)",
            "clip(e, -delta, delta)",
        ),
        make=lambda: losses.Huber(delta=1.5),
        ranges={"v": "[0, inf)", "dv/dy_pred": "[-delta, delta]"},
        not_analytic="its second derivative jumps where the error is delta",
        counterpart="PyTorch's HuberLoss",
        torch="F.huber_loss(y_pred, y_true, delta=delta, reduction='none')",
    ),
    LossEntry(
        losses.LogCosh,
        """
        e = y_pred - y_true
        v = log(cosh(e))
        dv/dy_pred = tanh(e)
        """,
        in_one_line=("log(cosh(e)) = |e| + log((1 + exp(-2 |e|)) / 2)", "tanh(e)"),
        ranges={"v": "[0, inf)", "dv/dy_pred": "(-1, 1)"},
        not_complex="against overflow it takes the absolute value of e",
        counterpart="Keras's LogCosh",
    ),
    LossEntry(
        losses.Quantile,
        """
        e = y_pred - y_true
        v = max((1 - q) * e, -q * e)
        dv/dy_pred = 1 - q if e > 0 else -q if e < 0 else 0
        """,
        computes="Pinball loss; its minimum is the quantile q of the targets.",
        in_one_line=("max((1 - q) e, -q e)", "1 - q if e > 0, -q if e < 0, 0 at the kink"),
        make=lambda: losses.Quantile(0.8),
        letters={"q": "quantiles"},
        assumes="0 at the kink. Several quantiles are averaged like other outputs.",
        ranges={"v": "[0, inf)", "dv/dy_pred": "{-q, 0, 1 - q}"},
        kinks=(0,),
    ),
    LossEntry(
        losses.CosineSimilarity,
        """
        r[n] = sqrt(sum[k](y_pred[n, k]**2) + 1e-12)
        u[n, k] = y_pred[n, k] / r[n]
        t[n, k] = y_true[n, k] / sqrt(sum[j](y_true[n, j]**2) + 1e-12)
        v[n] = 1 - sum[k](u[n, k] * t[n, k])
        dv/dy_pred[n, k] = ((1 - v[n]) * u[n, k] - t[n, k]) / r[n]
        """,
        in_one_line=("1 - u·v, one number a vector", "((u·v) u - v) / |p|"),
        reduction=MEAN_OF_SAMPLES,
        data=vectors,
        assumes="The vectors lie along the last axis.",
        ranges={"v": "[0, 2]"},
        counterpart="PyTorch's CosineEmbeddingLoss for similar pairs",
        torch="F.cosine_embedding_loss(y_pred, y_true, y_pred.new_ones(len(y_pred)), "
        "reduction='none')",
    ),
]

LIKELIHOOD = [
    LossEntry(
        losses.Poisson,
        """
        v = exp(y_pred) - y_true * y_pred
        dv/dy_pred = exp(y_pred) - y_true
        """,
        computes="Counts; y_pred is the logarithm of their rate.",
        in_one_line=(
            "exp(y_pred) - y_true y_pred, without the constant log(y_true!)",
            "exp(y_pred) - y_true",
        ),
        data=lambda rng, n: (rng.standard_normal((n, 2)), rng.poisson(2.0, (n, 2)) * 1.0),
        target=3.0,
        assumes="Targets are at least 0. Without the constant log(y_true!).",
        ranges={"dv/dy_pred": "(-y_true, inf)"},
        counterpart="PyTorch's PoissonNLLLoss (log_input=True, full=False)",
        torch="F.poisson_nll_loss(y_pred, y_true, reduction='none')",
    ),
    LossEntry(
        losses.Gamma,
        """
        v = y_pred + y_true * exp(-y_pred)
        dv/dy_pred = 1 - y_true * exp(-y_pred)
        """,
        computes="Positive, skewed quantities; y_pred is the logarithm of their mean.",
        data=amounts,
        target=3.0,
        assumes="Targets are greater than 0. Without constants.",
        ranges={"dv/dy_pred": "(-inf, 1)"},
        counterpart="scikit-learn's HalfGammaLoss, without its constant",
    ),
    LossEntry(
        losses.Tweedie,
        """
        v = exp((2 - p) * y_pred) / (2 - p) - y_true * exp((1 - p) * y_pred) / (1 - p)
        dv/dy_pred = exp((2 - p) * y_pred) - y_true * exp((1 - p) * y_pred)
        """,
        computes="Quantities whose variance is their mean to the power p; y_pred is the log of "
        "the mean.",
        in_one_line=(
            "exp((2 - p) y_pred) / (2 - p) - y_true exp((1 - p) y_pred) / (1 - p), "
            "where exp(a y) / a is y if a = 0",
            "exp((2 - p) y_pred) - y_true exp((1 - p) y_pred)",
        ),
        letters={"p": "power"},
        data=amounts,
        assumes="For p = 1 and p = 2, where a quotient is 0/0, its numerator's exponent takes its "
        "place: there it is Poisson, and Gamma. Without constants.",
        source='Jørgensen, "Exponential dispersion models", JRSS B 49, 1987; scikit-learn\'s '
        "HalfTweedieLoss, without its constants",
    ),
    LossEntry(
        losses.GaussianNLL,
        """
        e[n, j] = y_pred[n, j] - y_true[n, j]
        s[n, j < k] = y_pred[n, k + j]
        v[n, j] = (s[n, j] + e[n, j]**2 * exp(-s[n, j])) / 2
        dv/dy_pred[n, i] = e[n, i] * exp(-s[n, i]) if i < k else
            (1 - e[n, i - k]**2 * exp(-s[n, i - k])) / 2
        """,
        computes="Normal distribution of which the network predicts mean and log-variance.",
        in_one_line=(
            "(s + e² exp(-s)) / 2, without the constant log(2π) / 2",
            "e exp(-s) for m and (1 - e² exp(-s)) / 2 for s",
        ),
        data=lambda rng, n: (rng.standard_normal((n, 4)), rng.standard_normal((n, 2))),
        where={"k": "number of outputs: y_pred holds k means, then k log-variances"},
        given=lambda y_pred: {"k": y_pred.shape[-1] // 2},
        assumes="Without the constant log(2π) / 2.",
        counterpart="PyTorch's GaussianNLLLoss (full=False)",
        torch="F.gaussian_nll_loss(y_pred[:, :2], y_true, y_pred[:, 2:].exp(), reduction='none')",
    ),
]

CLASSIFICATION = [
    LossEntry(
        losses.BinaryCrossEntropy,
        """
        t = (1 - a) * y_true + a / 2
        p = 1 / (1 + exp(-y_pred))
        v = -q * t * log(p) - (1 - t) * log(1 - p)
        dv/dy_pred = (1 - t) * p - q * t * (1 - p)
        """,
        in_one_line=("-w t log σ(x) - (1 - t) log σ(-x)", "(1 - t) σ(x) - w t σ(-x)"),
        make=lambda: losses.BinaryCrossEntropy(pos_weight=3.0, label_smoothing=0.2),
        letters={"a": "label_smoothing", "q": "pos_weight"},
        data=lambda rng, n: (2 * rng.standard_normal((n, 2)), rng.integers(2, size=(n, 2)) * 1.0),
        assumes="Without smoothing and weight t = y_true and dv/dy_pred = p - t.",
        not_complex=STABLE,
        counterpart="PyTorch's BCEWithLogitsLoss; the smoothing, which it lacks, is that of Keras",
        torch="F.binary_cross_entropy_with_logits(y_pred, (1 - a) * y_true + a / 2, "
        "pos_weight=y_pred.new_tensor(q), reduction='none')",
    ),
    LossEntry(
        losses.CategoricalCrossEntropy,
        """
        t = (1 - a) * y_true + a / K
        p[n, k] = exp(y_pred[n, k]) / sum[j](exp(y_pred[n, j]))
        v[n] = -sum[k](t[n, k] * log(p[n, k]))
        dv/dy_pred[n, k] = p[n, k] * sum[j](t[n, j]) - t[n, k]
        """,
        in_one_line=("-Σ_k t_k log_softmax(y_pred)_k", "softmax(y_pred) Σ_k t_k - t"),
        reduction=MEAN_OF_SAMPLES,
        make=lambda: losses.CategoricalCrossEntropy(label_smoothing=0.1),
        letters={"a": "label_smoothing"},
        where={"K": "number of classes"},
        given=lambda y_pred: {"K": y_pred.shape[-1]},
        data=probabilities,
        assumes=f"{ONE_HOT} They sum to 1, so dv/dy_pred = p - t.",
        counterpart="PyTorch's CrossEntropyLoss",
        torch="F.cross_entropy(y_pred, y_true, label_smoothing=a, reduction='none')",
    ),
    LossEntry(
        losses.NegativeLogLikelihood,
        """
        v[n] = -sum[k](y_true[n, k] * y_pred[n, k])
        dv/dy_pred[n, k] = -y_true[n, k]
        """,
        in_one_line=("-Σ_k y_true_k y_pred_k", "-y_true"),
        reduction=MEAN_OF_SAMPLES,
        data=one_hot,
        assumes=f"{ONE_HOT} y_pred holds log-probabilities.",
        counterpart="PyTorch's NLLLoss",
        torch="F.nll_loss(y_pred, y_true.argmax(-1), reduction='none')",
    ),
    LossEntry(
        losses.KLDivergence,
        """
        p[n, k] = exp(y_pred[n, k]) / sum[j](exp(y_pred[n, j]))
        v[n] = sum[k](y_true[n, k] * (log(y_true[n, k]) - log(p[n, k])))
        dv/dy_pred[n, k] = p[n, k] * sum[j](y_true[n, j]) - y_true[n, k]
        """,
        in_one_line=(
            "Σ_k y_true_k (log y_true_k - log_softmax(y_pred)_k)",
            "softmax(y_pred) Σ_k y_true_k - y_true",
        ),
        reduction=MEAN_OF_SAMPLES,
        data=probabilities,
        assumes="Rows of y_true sum to 1, so dv/dy_pred = p - y_true; 0 log 0 is 0.",
        ranges={"v": "[0, inf)", "dv/dy_pred": "(-1, 1)"},
        counterpart="PyTorch's KLDivLoss after a log-softmax",
        torch="F.kl_div(F.log_softmax(y_pred, -1), y_true, reduction='none').sum(-1)",
    ),
    LossEntry(
        losses.Focal,
        """
        p[n, k] = exp(y_pred[n, k]) / sum[j](exp(y_pred[n, j]))
        v[n] = -sum[k](y_true[n, k] * (1 - p[n, k])**gamma * log(p[n, k]))
        s[n, k] = y_true[n, k] * (1 - p[n, k])**gamma *
            (gamma * p[n, k] * log(p[n, k]) / (1 - p[n, k]) - 1)
        dv/dy_pred[n, k] = s[n, k] - p[n, k] * sum[j](s[n, j])
        """,
        in_one_line=(
            "-Σ_k t_k (1 - p_k)^gamma log p_k",
            "s_k - p_k Σ_j s_j with s_k = t_k (1 - p_k)^gamma (gamma p_k log(p_k) / (1 - p_k) - 1)",
        ),
        reduction=MEAN_OF_SAMPLES,
        data=one_hot,
        assumes=ONE_HOT,
        ranges={"v": "(0, inf)"},
    ),
    LossEntry(
        losses.Focal,
        """
        p = 1 / (1 + exp(-y_pred))
        f = (1 - p)**gamma
        g = p**gamma
        v = -y_true * f * log(p) - (1 - y_true) * g * log(1 - p)
        dv/dy_pred = y_true * f * (gamma * p * log(p) - (1 - p)) -
            (1 - y_true) * g * (gamma * (1 - p) * log(1 - p) - p)
        """,
        computes="The focal loss of one logit a sample.",
        reduction="""
        L = sum[n](w[n] * v[n]) / sum(w)
        dL/dy_pred[n] = w[n] / sum(w) * (dv/dy_pred[n])
        """,
        name="Focal (binary)",
        data=lambda rng, n: (2 * rng.standard_normal(n), rng.random(n)),
        assumes="The form for y_pred of shape (n_samples,), or with a last axis of length 1.",
    ),
]

MARGIN = [
    LossEntry(
        losses.Hinge,
        """
        v = max(1 - y_true * y_pred, 0)
        dv/dy_pred = -y_true if y_true * y_pred < 1 else 0
        """,
        in_one_line=("max(0, 1 - t y_pred)", "-t if t y_pred < 1, else 0, also at the kink"),
        data=signs,
        target=1.0,
        assumes="y_true holds -1 and 1; a 0 stands for -1. 0 at the kink.",
        ranges={"v": "[0, inf)", "dv/dy_pred": "{-y_true, 0}"},
        kinks=(1,),
    ),
    LossEntry(
        losses.SquaredHinge,
        """
        v = max(1 - y_true * y_pred, 0)**2
        dv/dy_pred = -2 * y_true * max(1 - y_true * y_pred, 0)
        """,
        in_one_line=("max(0, 1 - t y_pred)²", "-2 t max(0, 1 - t y_pred)"),
        data=signs,
        target=1.0,
        assumes="y_true holds -1 and 1; a 0 stands for -1.",
        ranges={"v": "[0, inf)", "dv/dy_pred": "(-inf, 0]"},
        not_analytic="its second derivative jumps at the margin",
    ),
    LossEntry(
        losses.MultiMargin,
        """
        s[n] = sum[k](y_true[n, k] * y_pred[n, k])
        r[n, k] = (1 - y_true[n, k]) * (margin - s[n] + y_pred[n, k])
        v[n] = sum[k](max(r[n, k], 0)) / K
        dv/dy_pred[n, k] = ([r[n, k] > 0] - y_true[n, k] * sum[j]([r[n, j] > 0])) / K
        """,
        computes="Hinge loss of K classes: the score of the target should lead all others by a "
        "margin.",
        in_one_line=(
            "Σ_{j≠t} max(0, v_j) / k",
            "[v_j > 0] / k for j ≠ t, and minus the sum of these for t; 0 at the kinks",
        ),
        reduction=MEAN_OF_SAMPLES,
        where={"K": "number of classes"},
        given=lambda y_pred: {"K": y_pred.shape[-1]},
        data=one_hot,
        assumes="y_true holds one-hot rows; a label stands for its own. 0 at the kinks.",
        ranges={"v": "[0, inf)"},
        not_analytic="a maximum has kinks",
        source='Weston and Watkins, "Support vector machines for multi-class pattern '
        "recognition\", ESANN 1999; PyTorch's MultiMarginLoss (p=1)",
        torch="F.multi_margin_loss(y_pred, y_true.argmax(-1), margin=margin, reduction='none')",
    ),
]
