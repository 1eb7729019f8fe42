"""Every warning points to the user's line, from `train`, from a fit, and from a fit in a fit."""

import shutil
import warnings

import numpy as np
import pytest
from errors import warns_exactly
from sklearn.pipeline import make_pipeline

from layerkit import (
    Conv2D,
    Dense,
    Flatten,
    MLPClassifier,
    MLPRegressor,
    Sequential,
    SequentialClassifier,
    SequentialRegressor,
    Softmax,
)
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.training import Checkpoint, train

X = np.random.default_rng(0).standard_normal((40, 4))
Y, LABELS = X[:, :1], np.arange(40) % 3
IMAGES = np.zeros((40, 3, 9, 9))


def learn(*layers, loss=None, optimizer=None, data=(X, Y), **options):
    loss = MeanSquaredError() if loss is None else loss
    train(Sequential(layers), loss, optimizer or Adam(), data, epochs=2, **options)


def frozen():
    network = Sequential([Dense(1)]).build(4)
    network.trainable = False
    train(network, MeanSquaredError(), Adam(), (X, Y), epochs=1)


def unplugged(disk):
    disk.mkdir()
    saving = Checkpoint(disk / "run.npz", on_error="warn")
    learn(Dense(1), checkpoint=saving, callbacks=[lambda state: shutil.rmtree(disk, True)])


class Own(MLPClassifier):
    def fit(self, X, y):
        return super().fit(X, y)


SITUATIONS = {
    "train diverges": lambda folder: learn(Dense(1), optimizer=SGD(1e200)),
    "softmax twice": lambda folder: learn(
        Dense(3), Softmax(), loss=CategoricalCrossEntropy(), data=(X, LABELS)
    ),
    "channels first": lambda folder: learn(
        Conv2D(2, 3, padding="same"), Flatten(), Dense(1), data=(IMAGES, Y)
    ),
    "all frozen": lambda folder: frozen(),
    "no checkpoint": lambda folder: unplugged(folder / "disk"),
    "an MLP's epochs are over": lambda folder: MLPClassifier(max_iter=2).fit(X, LABELS),
    "L-BFGS": lambda folder: MLPRegressor(solver="lbfgs", max_iter=2).fit(X, Y[:, 0]),
    "L-BFGS of a Sequential": lambda folder: SequentialRegressor(
        [Dense(4)], optimizer=LBFGS(max_iter=2)
    ).fit(X, Y[:, 0]),
    "a fit diverges": lambda folder: MLPRegressor(
        solver="sgd", learning_rate_init=1e200, momentum=0, max_iter=3
    ).fit(X, Y[:, 0]),
    "batch_size": lambda folder: MLPClassifier(batch_size=50, max_iter=1).fit(X, LABELS),
    "partial_fit, batch_size": lambda folder: MLPClassifier(batch_size=50).partial_fit(
        X, LABELS, classes=[0, 1, 2]
    ),
    "rows of a rare class": lambda folder: MLPClassifier(early_stopping=True, max_iter=1).fit(
        X, np.r_[LABELS[:-1], 3]
    ),
    "softmax below the head": lambda folder: SequentialClassifier([Dense(3), Softmax()]).fit(
        X, LABELS
    ),
    "own": lambda folder: Own(max_iter=2).fit(X, LABELS),
}


@pytest.mark.parametrize("kind", SITUATIONS)
def test_it_points_to_the_line_that_led_there(kind, tmp_path):
    with warnings.catch_warnings(record=True) as seen, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        SITUATIONS[kind](tmp_path)
    assert seen
    assert {warning.filename for warning in seen} == {__file__}, [str(w) for w in seen]


def test_in_a_pipeline_it_points_to_the_line_that_fits():
    with warns_exactly(
        UserWarning,
        "Stochastic Optimizer: Maximum iterations (2) reached and the optimization "
        "hasn't converged yet.",
    ) as seen:
        make_pipeline(MLPClassifier(max_iter=2)).fit(X, LABELS)
    assert seen[0].filename.endswith("pipeline.py")
