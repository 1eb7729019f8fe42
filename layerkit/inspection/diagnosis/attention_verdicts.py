"""Verdicts on attention: whether it still chooses what to look at, and knows where that stands."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerkit.inspection.attention import Weights, attention_weights
from layerkit.inspection.diagnosis.design_verdicts import cured_for_others, with_layers
from layerkit.inspection.diagnosis.evidence import Acquired, Evidence, Verdict, share
from layerkit.layer import Layer
from layerkit.layers import MultiHeadAttention, PositionalEncoding, Sequential
from layerkit.sequences import Sequences

EVEN = 0.995  # entropy of a step's weights over that of equal ones, in the mean
SHARP = 0.99  # a step's largest weight
MOST = 0.9  # share of steps
LEARNED = 0.3  # of the loss of the best constant prediction: then what attention does is right
SAME = 1e-3  # deviations of the outputs
ROWS = 64


def collapsed_attention(e: Evidence) -> Verdict | None:
    """All heads of a layer weigh all steps alike, or each step looks at a single one."""
    if not any(isinstance(layer, MultiHeadAttention) for _, layer in e.network.walk()):
        return None
    if e.now.recorder.origin is not None or e.left(e.now.training_loss) < LEARNED:
        return None
    found = {path: _collapse(e, path, rows) for path, rows in _weights(e, e.network).items()}
    path, verdict = next(((p, v) for p, v in found.items() if v is not None), ("", None))
    if verdict is None or not e.trained:
        return verdict
    before = None
    if e.beginning is not None:
        before = _collapse(e, path, _weights(e, e.beginning)[path])
    same = before is not None and before.name == verdict.name
    return verdict if same else Acquired(*verdict)


def _weights(e: Evidence, network: Layer) -> dict[str, Weights]:
    return attention_weights(network, e.rows.some(ROWS).X)


def _collapse(e: Evidence, path: str, rows: Weights) -> Verdict | None:
    """Return what is wrong with the weights of one layer, if something is."""
    layer = dict(e.network.walk())[path]
    measured = [_entropy_and_largest(A, layer.causal) for A in rows]  # type: ignore[attr-defined]
    entropy, largest, place = (
        np.concatenate(parts, axis=1) for parts in zip(*measured, strict=True)
    )
    if not entropy.size:
        return None  # rows of one step can only look at it
    even, sharp = entropy.mean(axis=1), (largest > SHARP).mean(axis=1)
    heads = f"{len(even)} head{'s' * (len(even) > 1)}"
    if even.min() > EVEN:
        return Verdict(
            "attention collapsed to uniform",
            e.where(path),
            "warning",
            f"In all of its {heads} the weights of a step have at least {share(even.min())} of the "
            "entropy of equal weights: every step gets the same mean of all, and queries and keys "
            "nearly no gradient.",
            "Put LayerNorm() before it (TransformerEncoderBlock has one), so that scores are "
            "larger; if the mean is all that is needed, GlobalAvgPool1D() does it without weights.",
        )
    if sharp.min() > MOST:
        where = np.bincount(place.ravel())
        same = where.max() / where.sum()
        position = f", {share(same)} of them at step {int(where.argmax())}" if same > MOST else ""
        return Verdict(
            "attention collapsed to one position",
            e.where(path),
            "warning",
            f"In all of its {heads} at least {share(sharp.min())} of the steps give more than "
            f"{share(SHARP)} of their weight to a single one{position}: the softmax is flat "
            "there, so queries and keys get nearly no gradient.",
            "Scores are too large: put LayerNorm() before it (TransformerEncoderBlock has one), "
            "build anew with its initial weights, and lower the learning rate or warm it up.",
        )
    return None


def _entropy_and_largest(A: np.ndarray, causal: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each head and step with a choice: entropy over its maximum, largest weight, and where."""
    n = A.shape[1]
    seen = np.arange(1, n + 1) if causal else np.full(n, n)
    A, seen = A[:, seen > 1], seen[seen > 1]
    terms = -A * np.log(np.maximum(A, np.finfo(A.dtype).tiny))
    return terms.sum(axis=2) / np.log(seen), A.max(axis=2, initial=0), A.argmax(axis=2)


def positions_missing(e: Evidence) -> Verdict | None:
    """Attention that takes the steps in any order, where it is their order that tells."""
    path = _first_attention(e.network)
    if not path or not e.trained or not e.now.finite or not _takes_any_order(e):
        return None
    cured = cured_for_others(e, _with_positions)
    if cured is None:
        return None
    return Verdict(
        "positions missing",
        e.where(path),
        "critical",
        "Attention weighs steps by what is in them, not by where they stand: with the steps of "
        f"each row turned round, the outputs stay the same. In a rehearsal of {cured.steps} steps "
        f"the loss{cured.where} comes to {cured.before:.3g} so and to {cured.after:.3g} with "
        "PositionalEncoding.",
        f"Put PositionalEncoding() before {path}, or PositionalEmbedding, which is learned.",
    )


def _first_attention(network: Layer) -> str:
    """Path of the first layer of a chain in which steps look at each other, if there is one."""
    for path, layer in network.children() if isinstance(network, Sequential) else ():
        if any(isinstance(inner, MultiHeadAttention) for _, inner in layer.walk()):
            return path
    return ""


def _takes_any_order(e: Evidence) -> bool:
    X = e.rows.some(ROWS).X
    turned: Any = Sequences([x[::-1] for x in X]) if isinstance(X, Sequences) else X[:, ::-1].copy()
    outputs, after = e.network.infer(X), e.network.infer(turned)
    if isinstance(outputs, Sequences) or outputs.ndim > 2:
        return False  # each step has an answer of its own
    return bool(np.abs(outputs - after).max() <= SAME * outputs.std())


def _with_positions(network: Layer, optimizer: object) -> Layer:
    """The network with an encoding of positions before its first attention."""
    assert isinstance(network, Sequential)
    at = [path for path, _ in network.children()].index(_first_attention(network))
    layers = [*network.layers[:at], PositionalEncoding(), *network.layers[at:]]
    return with_layers(network, layers)
