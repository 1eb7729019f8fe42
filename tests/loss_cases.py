"""Every public loss with data that suits it: one row for each form in which it takes its data.

The suites sweep this table; a test makes sure that no public loss is missing from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from layerkit import losses

N = 6  # samples
K = 4  # classes, or outputs where there are several

Array = np.ndarray
Sampler = Callable[[np.random.Generator], Array]


def identity(y_pred):
    return y_pred


@dataclass(frozen=True)
class LossCase:
    """A loss, its data, and what is known about it from elsewhere."""

    name: str
    loss: Callable[[], losses.Loss]
    y_pred: Sampler
    y_true: Sampler
    # Losses of the samples, shape (N, ...), from torch.nn.functional and two tensors: PyTorch's own
    # function where it has the loss (in_torch), else the formula, for autograd to differentiate.
    reference: Callable
    in_torch: bool = False
    inverse_link: Callable[[Array], Array] = identity
    # Best predictions for some targets, where the gradient is zero, and the loss if it is zero.
    best: Callable[[Array], Array] | None = None
    zero_at_best: bool = True
    elementwise: bool = True  # one loss for each output, so that outputs are averaged
    finite_at_1e4: bool = True  # the exponential families are not

    def data(self, seed: int = 0) -> tuple[Array, Array]:
        rng = np.random.default_rng(seed)
        return self.y_pred(rng), self.y_true(rng)

    def __str__(self) -> str:
        return self.name


# ---------------------------------------------------------------- samplers


def normal(*shape):
    return lambda rng: 2 * rng.standard_normal((N, *shape))


def log_rates(*shape):
    return lambda rng: rng.standard_normal((N, *shape))


def positive(*shape):
    return lambda rng: rng.gamma(2.0, size=(N, *shape)) + 0.1


def counts(*shape):
    return lambda rng: rng.poisson(2.0, size=(N, *shape))


def some_zeros(*shape):
    return lambda rng: np.maximum(rng.standard_normal((N, *shape)), 0)


def bits(*shape):
    return lambda rng: rng.integers(2, size=(N, *shape))


def signs(*shape):
    return lambda rng: 2 * rng.integers(2, size=(N, *shape)) - 1


def fractions(*shape):
    return lambda rng: rng.random((N, *shape))


def labels(*shape):
    return lambda rng: rng.integers(K, size=(N, *shape))


def one_hot(*shape):
    return lambda rng: np.eye(K)[labels(*shape)(rng)]


def probabilities(*shape):
    return lambda rng: rng.dirichlet(np.ones(K), size=(N, *shape))


def log_probabilities(*shape):
    return lambda rng: np.log(rng.dirichlet(np.ones(K), size=(N, *shape)))


# ---------------------------------------------------------------- references in PyTorch


def rows(t, like):
    """Integer labels as one-hot rows in the dtype of ``like``; rows stay as they are."""
    import torch

    return torch.eye(like.shape[-1], dtype=like.dtype)[t] if t.ndim < like.ndim else t


def cross_entropy(**options):
    def reference(F, p, t):
        if t.ndim == p.ndim:
            t = t.movedim(-1, 1)
        return F.cross_entropy(p.movedim(-1, 1), t, reduction="none", **options)

    return reference


def binary_cross_entropy(pos_weight=None, smoothing=0.0):
    def reference(F, p, t):
        w = None if pos_weight is None else p.new_tensor(pos_weight)
        t = (1 - smoothing) * t.to(p) + smoothing / 2
        return F.binary_cross_entropy_with_logits(p, t, pos_weight=w, reduction="none")

    return reference


def focal(gamma):
    def reference(F, p, t):
        if p.ndim == 1 or p.shape[-1] == 1:
            p_true = (2 * t - 1).mul(p).sigmoid()  # of hard targets
            return (1 - p_true) ** gamma * -p_true.log()
        log_p = p.log_softmax(-1)
        return -(rows(t, p) * (1 - log_p.exp()) ** gamma * log_p).sum(-1)

    return reference


def pinball(*quantiles):
    def reference(F, p, t):
        q = p.new_tensor(quantiles)
        error = t.reshape(*p.shape[: len(p.shape) - 1], -1) - p
        return (q * error).maximum((q - 1) * error)

    return reference


def tweedie(power):
    def integral(a, y):
        return (a * y).exp() / a if a else y

    return lambda F, p, t: integral(2 - power, p) - t * integral(1 - power, p)


def gaussian(F, p, t):
    mean, log_variance = p.chunk(2, dim=-1)
    return F.gaussian_nll_loss(mean, t, log_variance.exp(), reduction="none")


def cosine(F, p, t):
    k = p.shape[-1]
    same = p.new_ones(p.numel() // k)
    flat = F.cosine_embedding_loss(p.reshape(-1, k), t.reshape(-1, k), same, reduction="none")
    return flat.reshape(p.shape[:-1])


def multi_margin(margin):
    def reference(F, p, t):
        k = p.shape[-1]
        t = t.argmax(-1) if t.ndim == p.ndim else t
        flat = F.multi_margin_loss(p.reshape(-1, k), t.flatten(), margin=margin, reduction="none")
        return flat.reshape(p.shape[:-1])

    return reference


def to_sign(t):
    return 2 * (t > 0) - 1


# ---------------------------------------------------------------- the table

CASES: list[LossCase] = []


def add(name, loss, y_pred, y_true, reference, **facts):
    CASES.append(LossCase(name, loss, y_pred, y_true, reference, **facts))


for shape in [(), (1,), (N,), (2, 3)]:  # (N,): as many outputs as samples
    add(
        f"MeanSquaredError{shape}",
        losses.MeanSquaredError,
        normal(*shape),
        normal(*shape),
        lambda F, p, t: F.mse_loss(p, t, reduction="none"),
        in_torch=True,
        best=identity,
    )

for shape in [(1,), (3,)]:
    add(
        f"MeanAbsoluteError{shape}",
        losses.MeanAbsoluteError,
        normal(*shape),
        normal(*shape),
        lambda F, p, t: F.l1_loss(p, t, reduction="none"),
        in_torch=True,
        best=identity,
    )
    for delta in (1.0, 0.3):
        add(
            f"Huber{shape}-{delta}",
            lambda delta=delta: losses.Huber(delta=delta),
            normal(*shape),
            normal(*shape),
            lambda F, p, t, delta=delta: F.huber_loss(p, t, delta=delta, reduction="none"),
            in_torch=True,
            best=identity,
        )
    add(
        f"LogCosh{shape}",
        losses.LogCosh,
        normal(*shape),
        normal(*shape),
        lambda F, p, t: (p - t).cosh().log(),
        best=identity,
    )
    add(
        f"Quantile{shape}",
        lambda: losses.Quantile(quantiles=0.8),
        normal(*shape),
        normal(*shape),
        lambda F, p, t: pinball(0.8)(F, p[..., None], t),
        best=identity,
    )
    for targets, sampler in [("01", bits), ("signs", signs)]:
        add(
            f"Hinge{shape}-{targets}",
            losses.Hinge,
            normal(*shape),
            sampler(*shape),
            lambda F, p, t: (1 - to_sign(t) * p).clamp(min=0),
            best=lambda y: 2.0 * to_sign(y),
        )
        add(
            f"SquaredHinge{shape}-{targets}",
            losses.SquaredHinge,
            normal(*shape),
            sampler(*shape),
            lambda F, p, t: (1 - to_sign(t) * p).clamp(min=0) ** 2,
            best=lambda y: 2.0 * to_sign(y),
        )
    add(
        f"Poisson{shape}",
        losses.Poisson,
        log_rates(*shape),
        counts(*shape),
        lambda F, p, t: F.poisson_nll_loss(p, t, log_input=True, full=False, reduction="none"),
        in_torch=True,
        inverse_link=np.exp,
        best=lambda y: np.log(np.maximum(y, 1e-300)),
        zero_at_best=False,
        finite_at_1e4=False,
    )
    add(
        f"Gamma{shape}",
        losses.Gamma,
        log_rates(*shape),
        positive(*shape),
        lambda F, p, t: p + t * (-p).exp(),
        inverse_link=np.exp,
        best=np.log,
        zero_at_best=False,
        finite_at_1e4=False,
    )
    for power, sampler in [
        (1.5, some_zeros),
        (0, normal),
        (1, counts),
        (2, positive),
        (3, positive),
    ]:
        add(
            f"Tweedie{shape}-{power}",
            lambda power=power: losses.Tweedie(power=power),
            log_rates(*shape),
            sampler(*shape),
            tweedie(power),
            inverse_link=np.exp,
            best=np.log if sampler is positive else None,
            zero_at_best=False,
            finite_at_1e4=False,
        )
    add(
        f"GaussianNLL{shape}",
        losses.GaussianNLL,
        normal(2 * shape[0]),
        normal(*shape),
        gaussian,
        in_torch=True,
        inverse_link=lambda p: p[..., : p.shape[-1] // 2],
        elementwise=False,
        finite_at_1e4=False,
    )

for form, y_pred, y_true in [
    ("flat", normal(3), normal()),
    ("column", normal(3), normal(1)),
    ("outputs", normal(2, 3), normal(2)),
]:
    add(
        f"Quantile-list-{form}",
        lambda: losses.Quantile(quantiles=[0.1, 0.5, 0.9]),
        y_pred,
        y_true,
        pinball(0.1, 0.5, 0.9),
        best=lambda y, form=form: np.repeat(y if form == "column" else y[..., None], 3, axis=-1),
        elementwise=False,
    )

for form, shape in [("", (3,)), ("-positions", (2, 3))]:
    add(
        f"CosineSimilarity{form}",
        losses.CosineSimilarity,
        normal(*shape),
        normal(*shape),
        cosine,
        in_torch=True,
        best=lambda y: 3 * y,
        elementwise=False,
    )

for options, shape, sampler in [
    ({}, (), bits),
    ({}, (1,), bits),
    ({}, (N,), fractions),
    ({"pos_weight": 3.0}, (1,), bits),
    ({"pos_weight": [0.5, 2.0, 4.0]}, (3,), fractions),
    ({"label_smoothing": 0.2}, (3,), bits),
    ({"pos_weight": [0.5, 2.0, 4.0], "label_smoothing": 0.2}, (2, 3), bits),
]:
    hard = sampler is bits and not options.get("label_smoothing")
    add(
        f"BinaryCrossEntropy{shape}-{sampler.__name__}-{','.join(options)}",
        lambda options=options: losses.BinaryCrossEntropy(**options),
        normal(*shape),
        sampler(*shape),
        binary_cross_entropy(options.get("pos_weight"), options.get("label_smoothing", 0.0)),
        in_torch=True,
        inverse_link=special.expit,
        best=(lambda y: 1e4 * to_sign(y)) if hard else None,
        elementwise="pos_weight" not in options,
    )

for form, sampler, shape in [
    ("labels", labels, ()),
    ("one-hot", one_hot, ()),
    ("rows", probabilities, ()),
    ("positions", labels, (2,)),
    ("rows-positions", probabilities, (2,)),
]:
    logits = normal(*shape, K)
    hard = sampler is not probabilities
    categorical = {
        "inverse_link": lambda p: special.softmax(p, axis=-1),
        "elementwise": False,
    }
    surely = (lambda y: 1e4 * (y if y.dtype.kind == "f" else np.eye(K)[y])) if hard else None
    for smoothing in (0.0, 0.1):
        add(
            f"CategoricalCrossEntropy-{form}-{smoothing}",
            lambda smoothing=smoothing: losses.CategoricalCrossEntropy(label_smoothing=smoothing),
            logits,
            sampler(*shape),
            cross_entropy(label_smoothing=smoothing),
            in_torch=True,
            best=None if smoothing else surely,
            **categorical,
        )
    add(
        f"NegativeLogLikelihood-{form}",
        losses.NegativeLogLikelihood,
        log_probabilities(*shape),
        sampler(*shape),
        lambda F, p, t: (
            F.nll_loss(p.movedim(-1, 1), t, reduction="none")
            if t.ndim < p.ndim
            else -(t * p).sum(-1)  # PyTorch's takes labels only
        ),
        in_torch=True,
        **categorical | {"inverse_link": np.exp},
    )
    add(
        f"KLDivergence-{form}",
        losses.KLDivergence,
        logits,
        sampler(*shape),
        lambda F, p, t: F.kl_div(p.log_softmax(-1), rows(t, p), reduction="none").sum(-1),
        in_torch=True,
        best=surely if hard else np.log,
        **categorical,
    )
    for gamma in (2.0, 0.5, 0.0):
        add(
            f"Focal-{form}-{gamma}",
            lambda gamma=gamma: losses.Focal(gamma=gamma),
            logits,
            sampler(*shape),
            focal(gamma),
            best=surely,
            **categorical,
        )
    if hard:
        for margin in (1.0, 2.5):
            add(
                f"MultiMargin-{form}-{margin}",
                lambda margin=margin: losses.MultiMargin(margin=margin),
                logits,
                sampler(*shape),
                multi_margin(margin),
                in_torch=True,
                best=surely,
                elementwise=False,
            )

for shape in [(), (1,), (2, 1)]:
    add(
        f"Focal-binary{shape}",
        losses.Focal,
        normal(*shape),
        bits(*shape),
        focal(2.0),
        inverse_link=special.expit,
        best=lambda y: 1e4 * to_sign(y),
        elementwise=False,
    )


def case_named(name: str) -> LossCase:
    return next(case for case in CASES if case.name == name)
