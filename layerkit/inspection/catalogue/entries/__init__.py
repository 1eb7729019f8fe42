"""The pages of the catalogue, one family of layers or losses a module."""

from layerkit.inspection.catalogue.entries import (
    activations,
    attention,
    containers,
    linear,
    losses,
    normalization,
    pooling,
    recurrent,
    tables,
)
from layerkit.inspection.catalogue.entry import Entry

FAMILIES: dict[str, list[Entry]] = {
    "Linear layers and embedding": [*linear.LINEAR],
    "Saturating activations": [*activations.SATURATING],
    "Rectifiers": [*activations.RECTIFIERS],
    "Gated activations": [*activations.GATED],
    "Convolution": [*linear.CONVOLUTION],
    "Pooling": [*pooling.POOLING],
    "Attention": [*attention.ATTENTION],
    "Recurrent layers": [*recurrent.RECURRENT],
    "Tables": [*tables.TABLES],
    "Normalization": [*normalization.NORMALIZATION],
    "Dropout and noise": [*normalization.NOISE],
    "Reshaping": [*pooling.RESHAPING],
    "Containers": [*containers.ENTRIES],
    "Losses for regression": [*losses.REGRESSION],
    "Losses of distributions": [*losses.LIKELIHOOD],
    "Losses for classification": [*losses.CLASSIFICATION],
    "Losses with a margin": [*losses.MARGIN],
}


def in_one_line(subject: type) -> tuple[str, ...]:
    """Return what a trace writes of a layer or loss; nothing of one that is not ours."""
    entries = (entry for family in FAMILIES.values() for entry in family)
    return next((entry.one_line for entry in entries if entry.subject is subject), ())
