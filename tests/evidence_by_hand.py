"""Evidence written by hand: what a verdict looks at, without a training or a measurement."""

from types import SimpleNamespace

import numpy as np
from clinic import MSE

from layerkit.inspection.diagnosis.evidence import Trial
from layerkit.optimizers import SGD


class Walked:
    """The network of a snapshot by hand: its layers in a chain."""

    def __init__(self, recorder):
        self.recorder = recorder

    def __repr__(self):
        return "Walked()"

    def walk(self):
        return [(s.path, s.layer) for s in self.recorder.layers]


def snapshot(loss, training_loss, layers=(), finite=True, **more):
    recorder = SimpleNamespace(layers=list(layers), origin=None)
    known = {"recorder": recorder, "finite": finite, "network": Walked(recorder)} | more
    return SimpleNamespace(loss=loss, training_loss=training_loss, **known)


def tried(with_change, without):
    """Trials that come to these losses of the rows held out, one each."""
    return lambda change=None: Trial(np.asarray(with_change if change else without), 240)


def evidence(**known):
    """What a verdict looks at, of a network that was trained and has learned nothing."""
    usual = {
        "trained": True,
        "loss": MSE(),
        "constant": 1.0,
        "optimizer": SGD(0.1),
        "where": lambda path: path,
        "learning": lambda shot: [s for s in shot.recorder.layers if s.layer.params],
        "course": SimpleNamespace(losses=np.ones(20), steps=20, diverged=False, stopped=""),
        "now": snapshot(1.0, 1.0),
        "first": snapshot(1.0, 1.0),
        "beginning": SimpleNamespace(),
        "rows": np.zeros(200),
        "network_explains": 0.0,
        "neighbours_explain": 0.0,
        "linear_explains": 0.0,
        "explained": SimpleNamespace(what="the variance of y", has_best=True),
        "tried": tried(np.ones(50), np.ones(50)),
    }
    e = SimpleNamespace(**(usual | known))
    e.left = lambda loss: np.divide(loss, e.constant)
    e.explained.left, e.explained.constant = e.left, e.constant
    return e


def columns(mean, std, n=400):
    """Columns of exactly these means and deviations."""
    plain = np.tile([[-1.0], [1.0]], (n // 2, len(mean)))
    return plain * np.array(std) + np.array(mean)
