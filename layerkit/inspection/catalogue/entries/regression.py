"""Losses between a number and its prediction."""

import numpy as np

from layerkit import losses
from layerkit.inspection.catalogue.loss_entry import MEAN_OF_SAMPLES, Data, LossEntry


def counts(rng: np.random.Generator, n: int) -> Data:
    """Logarithms of rates, and counts."""
    return rng.standard_normal((n, 2)), rng.poisson(2.0, (n, 2)).astype(float)


def amounts(rng: np.random.Generator, n: int) -> Data:
    """Logarithms of means, and positive numbers."""
    return rng.standard_normal((n, 2)), rng.gamma(2.0, size=(n, 2)) + 0.1


def vectors(rng: np.random.Generator, n: int) -> Data:
    """Two sets of vectors, the first target so short that what is added to its length counts."""
    y_pred, y_true = rng.standard_normal((2, n, 3))
    y_true[0] *= 1e-6
    return y_pred, y_true


def means_and_log_variances(rng: np.random.Generator, n: int) -> Data:
    """Two means and two log-variances for two targets."""
    return rng.standard_normal((n, 4)), rng.standard_normal((n, 2))


REGRESSION = [
    LossEntry(
        losses.MeanSquaredError,
        "Squared error, without a factor 1/2; its minimum is the mean.",
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
        "Absolute error; its minimum is the median.",
        """
        v = abs(y_pred - y_true)
        dv/dy_pred = sign(y_pred - y_true)
        """,
        in_one_line=("|y_pred - y_true|", "sign(y_pred - y_true), 0 at the kink"),
        assumes="0 at the kink.",
        ranges={"v": "[0, inf)", "dv/dy_pred": "{-1, 0, 1}"},
        kinks=(0,),
        source="PyTorch's L1Loss",
        torch="F.l1_loss(y_pred, y_true, reduction='none')",
    ),
    LossEntry(
        losses.Huber,
        "Quadratic for small errors, linear for large ones, so that outliers pull less.",
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
        source='Huber, "Robust estimation of a location parameter", Annals of Mathematical '
        "Statistics 35, 1964; PyTorch's HuberLoss",
        torch="F.huber_loss(y_pred, y_true, delta=delta, reduction='none')",
    ),
    LossEntry(
        losses.LogCosh,
        "Logarithm of the hyperbolic cosine of the error: a Huber loss without a seam.",
        """
        e = y_pred - y_true
        v = log(cosh(e))
        dv/dy_pred = tanh(e)
        """,
        in_one_line=("log(cosh(e)) = |e| + log((1 + exp(-2 |e|)) / 2)", "tanh(e)"),
        ranges={"v": "[0, inf)", "dv/dy_pred": "(-1, 1)"},
        not_complex="against overflow it takes the absolute value of e",
        source="Keras's LogCosh",
    ),
    LossEntry(
        losses.Quantile,
        "Pinball loss; its minimum is the quantile q of the targets.",
        """
        e = y_pred - y_true
        v = max((1 - q) * e, -q * e)
        dv/dy_pred = 1 - q if e > 0 else -q if e < 0 else 0
        """,
        in_one_line=("max((1 - q) e, -q e)", "1 - q if e > 0, -q if e < 0, 0 at the kink"),
        make=lambda: losses.Quantile(0.8),
        letters={"q": "quantiles"},
        assumes="0 at the kink. Several quantiles are averaged like other outputs.",
        ranges={"v": "[0, inf)", "dv/dy_pred": "{-q, 0, 1 - q}"},
        kinks=(0,),
        source='Koenker and Bassett, "Regression quantiles", Econometrica 46, 1978',
    ),
    LossEntry(
        losses.CosineSimilarity,
        "One minus the cosine of the angle between prediction and target.",
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
        source="PyTorch's CosineEmbeddingLoss for similar pairs",
        torch="F.cosine_embedding_loss(y_pred, y_true, y_pred.new_ones(len(y_pred)), "
        "reduction='none')",
    ),
]

LIKELIHOOD = [
    LossEntry(
        losses.Poisson,
        "Counts; y_pred is the logarithm of their rate.",
        """
        v = exp(y_pred) - y_true * y_pred
        dv/dy_pred = exp(y_pred) - y_true
        """,
        in_one_line=(
            "exp(y_pred) - y_true y_pred, without the constant log(y_true!)",
            "exp(y_pred) - y_true",
        ),
        data=counts,
        target=3.0,
        assumes="Targets are at least 0. Without the constant log(y_true!).",
        ranges={"dv/dy_pred": "(-y_true, inf)"},
        source="PyTorch's PoissonNLLLoss (log_input=True, full=False)",
        torch="F.poisson_nll_loss(y_pred, y_true, reduction='none')",
    ),
    LossEntry(
        losses.Gamma,
        "Positive, skewed quantities; y_pred is the logarithm of their mean.",
        """
        v = y_pred + y_true * exp(-y_pred)
        dv/dy_pred = 1 - y_true * exp(-y_pred)
        """,
        data=amounts,
        target=3.0,
        assumes="Targets are greater than 0. Without constants.",
        ranges={"dv/dy_pred": "(-inf, 1)"},
        source="scikit-learn's HalfGammaLoss, without its constant",
    ),
    LossEntry(
        losses.Tweedie,
        "Quantities whose variance is their mean to the power p; y_pred is the log of the mean.",
        """
        v = exp((2 - p) * y_pred) / (2 - p) - y_true * exp((1 - p) * y_pred) / (1 - p)
        dv/dy_pred = exp((2 - p) * y_pred) - y_true * exp((1 - p) * y_pred)
        """,
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
        "Normal distribution of which the network predicts mean and log-variance.",
        """
        e[n, j] = y_pred[n, j] - y_true[n, j]
        s[n, j < k] = y_pred[n, k + j]
        v[n, j] = (s[n, j] + e[n, j]**2 * exp(-s[n, j])) / 2
        dv/dy_pred[n, i] = e[n, i] * exp(-s[n, i]) if i < k else
            (1 - e[n, i - k]**2 * exp(-s[n, i - k])) / 2
        """,
        in_one_line=(
            "(s + e² exp(-s)) / 2, without the constant log(2π) / 2",
            "e exp(-s) for m and (1 - e² exp(-s)) / 2 for s",
        ),
        data=means_and_log_variances,
        where={"k": "number of outputs: y_pred holds k means, then k log-variances"},
        given=lambda y_pred: {"k": y_pred.shape[-1] // 2},
        assumes="Without the constant log(2π) / 2.",
        source='Nix and Weigend, "Estimating the mean and variance of the target probability '
        "distribution\", IEEE ICNN, 1994; PyTorch's GaussianNLLLoss (full=False)",
        torch="F.gaussian_nll_loss(y_pred[:, :2], y_true, y_pred[:, 2:].exp(), reduction='none')",
    ),
]
