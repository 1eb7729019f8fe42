"""Evidence written by hand: what a verdict looks at, without a training or a measurement."""

from types import SimpleNamespace

import numpy as np

from layerkit.optimizers import SGD


def snapshot(loss, training_loss, layers=(), finite=True, **more):
    recorder = SimpleNamespace(layers=list(layers), origin=None)
    return SimpleNamespace(
        loss=loss, training_loss=training_loss, recorder=recorder, finite=finite, **more
    )


def evidence(**known):
    """What a verdict looks at, of a network that was trained and has learned nothing."""
    usual = {
        "trained": True,
        "constant": 1.0,
        "optimizer": SGD(0.1),
        "where": lambda path: path,
        "learning": lambda shot: [s for s in shot.recorder.layers if s.layer.params],
        "course": SimpleNamespace(losses=np.ones(20), steps=20, diverged=False, stopped=""),
        "now": snapshot(1.0, 1.0),
        "first": snapshot(1.0, 1.0),
    }
    return SimpleNamespace(**(usual | known))


def columns(mean, std, n=400):
    """Columns of exactly these means and deviations."""
    plain = np.tile([[-1.0], [1.0]], (n // 2, len(mean)))
    return plain * np.array(std) + np.array(mean)
