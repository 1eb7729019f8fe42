"""Makes the files of `tests/data/0.1.0/` when it is run; `test_old_files` opens them.

They are as layerkit 0.1.0 wrote them, and stay: what is stored by name must be found for good.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED

import joblib
import numpy as np
from cases import CASES
from loss_cases import CASES as LOSSES
from optimizer_cases import CASES as OPTIMIZERS

import layerkit.layers as nn
from layerkit import (
    Layer,
    MLPClassifier,
    MLPRegressor,
    SequentialClassifier,
    SequentialRegressor,
    initializers,
    optimizers,
    schedules,
)
from layerkit.interchange import save
from layerkit.losses import CategoricalCrossEntropy, Focal, GaussianNLL, Quantile
from layerkit.optimizers import LBFGS, SGD, Adam
from layerkit.training import Checkpoint, train

FOLDER = Path(__file__).parent / "data" / "0.1.0"
RNG = np.random.default_rng(15)
X = RNG.standard_normal((60, 4))
Y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 0.5)
WORDS = np.array(["no", "perhaps", "yes"])[Y]
LABELS = (X[:, :2] > 0).astype(int)
NUMBERS = np.column_stack([X[:, 0] - X[:, 1], X[:, 2] * X[:, 3]])
COUNTS = np.floor(np.exp(X[:, 0] / 2))
SHORT: dict[str, Any] = {"max_iter": 3, "random_state": 0}


def estimators() -> dict[str, tuple[Any, np.ndarray]]:
    """Unfitted estimators that hold every kind of target, loss, optimizer and stopping rule."""
    hidden = [nn.Dense(5), nn.BatchNorm(), nn.Tanh(), nn.Dropout(0.2)]
    columns = nn.Columns([([0, 1], nn.Dense(3)), (slice(2, 4), nn.Maxout(2, 2))])
    plateau = Adam(schedules.ReduceOnPlateau(0.02, patience=0))
    return {
        "SequentialClassifier": (
            SequentialClassifier(hidden, early_stopping=True, **SHORT),
            WORDS,
        ),
        "SequentialRegressor": (
            SequentialRegressor(
                [columns, nn.PReLU()], loss=GaussianNLL(), optimizer=plateau, **SHORT
            ),
            NUMBERS,
        ),
        "MLPClassifier": (MLPClassifier(5, dropout=0.2, batch_norm=True, **SHORT), WORDS),
        "MLPRegressor": (MLPRegressor(hidden_layer_sizes=5, solver="sgd", **SHORT), NUMBERS),
        "several outputs": (
            SequentialClassifier([nn.Dense(3)], loss=Focal(), optimizer=SGD(0.1), **SHORT),
            np.column_stack([Y, LABELS[:, 0]]),
        ),
        "several labels": (MLPClassifier(5, early_stopping=True, **SHORT), LABELS),
        "two classes": (MLPClassifier(5, solver="lbfgs", **SHORT), LABELS[:, 0]),
        "margins": (SequentialClassifier([nn.Dense(3)], loss="hinge", **SHORT), LABELS[:, 0]),
        "quantiles": (
            SequentialRegressor([nn.Dense(3)], loss=Quantile([0.2, 0.8]), **SHORT),
            NUMBERS[:, 0],
        ),
        "counts": (MLPRegressor(hidden_layer_sizes=5, loss="poisson", **SHORT), COUNTS),
        "L-BFGS": (
            SequentialRegressor([nn.Dense(3)], optimizer=LBFGS(max_iter=5), **SHORT),
            NUMBERS,
        ),
    }


def network() -> nn.Sequential:
    """One network of many kinds of layers, on images."""
    block = nn.Sequential([nn.Conv2D(4, 3, padding="same"), nn.BatchNorm(), nn.SiLU()])
    branches = [nn.SeparableConv2D(2, 3, padding="same"), nn.DepthwiseConv2D(3, padding="same")]
    frozen = nn.Dense(6)
    frozen.trainable = False
    return nn.Sequential(
        [
            *(nn.ZeroPad2D(1), nn.Conv2D(4, 3), nn.GroupNorm(2), nn.ReLU(), nn.MaxPool2D(2)),
            *(nn.Residual(block), nn.Concat(branches), nn.PReLU(), nn.SpatialDropout2D(0.1)),
            *(nn.UpSample2D(2), nn.AvgPool2D(2), nn.ConvTranspose2D(3, 2), nn.Flatten()),
            *(frozen, nn.LayerNorm(), nn.GELU(), nn.Dropout(0.2), nn.Maxout(4, 2), nn.RMSNorm()),
            *(nn.Residual(nn.Dense(4, initializer=initializers.normal(0.3))), nn.GLU()),
            ("head", nn.Dense(3)),
        ]
    )


def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((5, 6, 6, 1))


def learn_a_step(layer: Layer, optimizer: Any) -> None:
    """Give the optimizer a state, and the layers' random streams a place to stand."""
    y = layer.forward(images(), training=True)
    layer.backward(np.ones_like(y) / y.size)
    optimizer.step(layer.flat_params, layer.flat_grads)


def run(path: Path, epochs: int, resume: bool) -> Layer:
    """Train for so many epochs, with a checkpoint."""
    layers = [nn.Dense(6), nn.BatchNorm(), nn.ReLU(), nn.Dropout(0.3), nn.Dense(3)]
    trained = nn.Sequential(layers)
    train(
        trained,
        CategoricalCrossEntropy(),
        Adam(schedules.ReduceOnPlateau(0.02, patience=0)),
        (X[:40], Y[:40]),
        epochs=epochs,
        batch_size=16,
        validation_data=(X[40:], Y[40:]),
        random_state=5,
        checkpoint=Checkpoint(path),
        resume=resume,
    )
    return trained


def make() -> None:
    """Write all files and, beside them, what their models predict."""
    import skops.io

    FOLDER.mkdir(parents=True, exist_ok=True)
    known: dict[str, np.ndarray] = {}
    net, optimizer = network().build((6, 6, 1), random_state=0), Adam(0.01)
    learn_a_step(net, optimizer)
    save(net, FOLDER / "network.npz", optimizer=optimizer, random_streams=True)
    known["network"] = net.infer(images())
    learn_a_step(net, optimizer)
    known["network a step on"] = net.infer(images())

    fitted = {}
    for name, (estimator, y) in estimators().items():
        fitted[name] = estimator.fit(X, y)
        known[name] = estimator.predict(X)
        if type(estimator).__name__ == name:
            save(estimator, FOLDER / f"{name}.npz", optimizer=True)
    skops.io.dump(fitted, FOLDER / "estimators.skops", compression=ZIP_DEFLATED, compresslevel=9)
    joblib.dump(fitted, FOLDER / "estimators.joblib", compress=9)

    layers = {case.id: case.build(dtype=np.float32) for case in CASES}
    known |= {f"layer {case.id}": layers[case.id].infer(case.sample()) for case in CASES}
    cases = {case.name: case for case in LOSSES}
    for name, case in cases.items():
        known[f"loss {name}"] = np.array(case.loss().forward(*case.data()))
    parts = {
        "layers": layers,
        "losses": {name: case.loss() for name, case in cases.items()},
        "optimizers": [case.make(**given) for case in OPTIMIZERS for given in case.options],
        "optimizers by name": [getattr(optimizers, name) for name in optimizers.__all__],
        "schedules": [getattr(schedules, name) for name in schedules.__all__],
        "initializers": [getattr(initializers, name) for name in initializers.__all__],
    }
    joblib.dump(parts, FOLDER / "parts.joblib", compress=9)

    (FOLDER / "checkpoint.npz").unlink(missing_ok=True)
    run(FOLDER / "checkpoint.npz", epochs=2, resume=False)
    known["trained"] = run(FOLDER / "other.npz", epochs=4, resume=False).infer(X)
    (FOLDER / "other.npz").unlink()
    np.savez_compressed(FOLDER / "predictions.npz", **known)


if __name__ == "__main__":
    make()
