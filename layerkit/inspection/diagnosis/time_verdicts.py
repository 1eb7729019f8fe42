"""Verdicts on recurrent layers: what becomes of a gradient on its way through the steps."""

from __future__ import annotations

import copy

import numpy as np

from layerkit.inspection.diagnosis.design_verdicts import (
    cured_for_others,
    trained_again_learns,
    with_layers,
)
from layerkit.inspection.diagnosis.evidence import Acquired, Evidence, Verdict, share
from layerkit.inspection.through_time import gradient_through_time
from layerkit.layer import Layer
from layerkit.layers import LSTM, Sequential, SimpleRNN
from layerkit.layers.recurrent import Recurrent

ROWS = 64
FADED, BLOWN_UP = 1e-3, 1e3  # of a gradient's norm, against that of the last step
FEWEST = 10  # steps, of which a network that forgets may make nothing
LEARNED = 0.3  # of the loss of the best constant prediction: then no more reach was needed
CLOSED = 0.05  # a forget gate that is never more open than this keeps nothing


def through_time(e: Evidence) -> Verdict | None:
    """A gradient that comes in at the last step grows, or fades long before the first."""
    for path, norms in _norms(e, e.network).items():
        if len(norms) < FEWEST or not np.isfinite(norms).all():
            continue
        largest, n = int(norms.argmax()), len(norms)
        if norms[largest] > BLOWN_UP:
            fresh = _norms(e, e.fresh).get(path, norms)
            return (Verdict if not e.trained or fresh.max() > BLOWN_UP else Acquired)(
                "gradient explodes through time",
                e.where(path),
                "critical",
                f"Of a gradient at the last step, {_profile(norms)} {_steps(norms)}: "
                f"{norms[largest]:.2g} times its norm arrive {largest} steps before.",
                "Give the optimizer clip_norm=1.0, train on shorter windows, or use LSTM or GRU, "
                "whose gates bound what one step adds.",
            )
        reach = int((norms < FADED).argmax()) if (norms < FADED).any() else n
        learned = e.trained and e.left(e.now.loss) < LEARNED
        if learned or reach == n:
            continue
        tried = _what_learns(e) if reach >= n / 4 else ""
        if reach < n / 4 or tried:
            return Verdict(
                "gradient vanishes through time",
                e.where(path),
                "warning",
                f"Of a gradient at the last step, {_profile(norms)} {_steps(norms)}: after {reach} "
                f"of {n} steps less than {FADED:g} of its norm is left, so that what came "
                f"before is not learned from.{tried}",
                "Use LSTM, with a larger bias of the forget gate if it is one, or GRU in place of "
                "SimpleRNN; or shorten the rows, by a strided Conv1D or pooling before the layer; "
                "if U was made small, build anew.",
            )
    return None


def _what_learns(e: Evidence) -> str:
    """Say what learns where this network has not: one that is drawn anew, or one with gates."""
    chain = e.network.chain if isinstance(e.network, Sequential) else []
    if not e.trained or not e.now.finite or not any(isinstance(x, SimpleRNN) for x in chain):
        return ""
    if again := trained_again_learns(e):
        return (
            f" The same network, {again}, comes to {e.tried().loss:.3g} on rows that were held "
            f"out, in {e.tried().steps} steps."
        )
    cured = cured_for_others(e, _with_gates)
    if cured is None:
        return ""
    return (
        f" In a rehearsal of {cured.steps} steps the loss{cured.where} comes to "
        f"{cured.before:.3g}, with LSTM in place of SimpleRNN to {cured.after:.3g}."
    )


def _with_gates(network: Layer, optimizer: object) -> Layer:
    """The network with an LSTM, which forgets least, for each SimpleRNN of its chain."""
    assert isinstance(network, Sequential)
    layers = [
        LSTM(layer.units, return_sequences=layer.return_sequences)
        if isinstance(layer, SimpleRNN)
        else layer
        for layer in network.chain
    ]
    return with_layers(network, layers)


def forget_gates(e: Evidence) -> Verdict | None:
    """Most cells of an LSTM lose what they hold at every step."""
    if not any(isinstance(layer, LSTM) for _, layer in e.network.walk()):
        return None
    network = copy.deepcopy(e.network)
    network.forward(e.rows.some(ROWS).X)
    layers = [(path, layer) for path, layer in network.walk() if isinstance(layer, LSTM)]
    for path, layer in layers:
        gates = layer.cache.kept[0]
        forget = gates[:, layer.units : 2 * layer.units]
        stuck = float(np.mean(forget.max(axis=0, initial=0) < CLOSED))
        if len(layer.cache.line.sizes) > 1 and stuck > 0.5:
            return Verdict(
                "forget gates closed",
                e.where(path),
                "warning",
                f"The forget gates of {share(stuck)} of its {layer.units} cells never open further "
                f"than {CLOSED:g}: {forget.mean():.2g} in the mean. These cells lose at each step "
                "what they held, and no gradient passes along them.",
                f'Start from params["b"][{layer.units}:{2 * layer.units}] = 1 or more, as a new '
                "layer does, and scale the inputs to a deviation of about 1.",
            )
    return None


def _norms(e: Evidence, network: Layer) -> dict[str, np.ndarray]:
    """Return the norms by path, none where nothing is recurrent."""
    layers = [path for path, layer in network.walk() if isinstance(layer, Recurrent)]
    if not layers:
        return {}
    with np.errstate(all="ignore"):
        found = gradient_through_time(network, e.rows.some(ROWS).X)
    return dict(zip(layers, found.values(), strict=True))


def _profile(norms: np.ndarray) -> str:
    return " ".join(f"{norms[k]:.2g}" for k in _places(norms))


def _steps(norms: np.ndarray) -> str:
    return f"arrive {' '.join(map(str, _places(norms)))} steps before"


def _places(norms: np.ndarray) -> list[int]:
    """A few steps, closer together near the last one."""
    last = len(norms) - 1
    return sorted({round(last ** (i / 4)) for i in range(1, 5)} | {1, last}) if last > 1 else [last]
