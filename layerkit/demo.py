"""What ``python -m layerkit demo`` shows: digits by convolutions, tables and quantiles."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerkit.datasets import load_digits
from layerkit.estimators import SequentialClassifier, SequentialRegressor
from layerkit.inspection import GradientFlowDisplay, GradientRecorder, TrainingCurveDisplay
from layerkit.interchange import save
from layerkit.kernels import warmup
from layerkit.layers import (
    BatchNorm,
    Columns,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    MaxPool2D,
    ReLU,
    Sequential,
    Tanh,
)
from layerkit.losses import CategoricalCrossEntropy, Quantile
from layerkit.optimizers import Adam
from layerkit.schedules import CosineDecay
from layerkit.training import History, train

EPOCHS, BATCH_SIZE = 15, 32


def split(X: np.ndarray, y: np.ndarray, part: float, seed: int) -> list[np.ndarray]:
    """Hold out a part of the rows, every class in its proportion."""
    return train_test_split(X, y, test_size=part, stratify=y, random_state=seed)


def convolutional_network() -> Sequential:
    """Three convolutions with batch normalisation, then a dense head: 31,000 parameters."""
    return Sequential(
        [
            *(Conv2D(32, 3, padding="same"), BatchNorm(), ReLU()),
            *(Conv2D(32, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2D(2)),
            *(Conv2D(64, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2D(2)),
            *(Flatten(), Dropout(0.3), Dense(10)),
        ]
    )


def train_convolutional_network(
    X: np.ndarray, y: np.ndarray, seed: int, verbose: bool = False
) -> tuple[Sequential, History, GradientRecorder]:
    """Train on nine tenths of the rows; the last tenth chooses the best epoch."""
    X, X_val, y, y_val = split(X, y, 0.1, seed)
    steps = EPOCHS * -(-len(X) // BATCH_SIZE)
    network, recorder = convolutional_network(), GradientRecorder()
    history = train(
        network,
        CategoricalCrossEntropy(label_smoothing=0.1),
        Adam(learning_rate=CosineDecay(3e-3, steps)),
        (X, y),
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        validation_data=(X_val, y_val),
        callbacks=[recorder],
        random_state=seed,
        verbose=verbose,
    )
    return network, history, recorder


def pipelines(seed: int) -> dict[str, Any]:
    """The same Pipeline with our estimator and with scikit-learn's."""
    ours = SequentialClassifier(
        [Dense(128), ReLU(), Dropout(0.3), Dense(64), ReLU()], max_iter=100, random_state=seed
    )
    theirs = MLPClassifier((128, 64), max_iter=100, random_state=seed)
    named = {
        "MLP with dropout in a Pipeline (layerkit)": ours,
        "MLPClassifier in the same Pipeline (scikit-learn)": theirs,
    }
    return {name: make_pipeline(StandardScaler(), model) for name, model in named.items()}


def mixed_table(seed: int) -> Any:
    """Patients: nine numbers, normalised, and one category, embedded, side by side."""
    table = Columns([(NUMERIC, BatchNorm()), ([SEX], Embedding(2, 2))])
    network = SequentialRegressor(
        [table, Dense(32), ReLU(), Dropout(0.2)],
        max_iter=100,
        n_iter_no_change=None,
        random_state=seed,
    )
    return TransformedTargetRegressor(network, transformer=StandardScaler())


def quantile_regression(seed: int) -> Any:
    """Three quantiles of a standardised target, as functions of the features."""
    network = SequentialRegressor(
        [Dense(32), Tanh()],
        loss=Quantile([0.1, 0.5, 0.9]),
        max_iter=300,
        n_iter_no_change=None,
        random_state=seed,
    )
    return make_pipeline(StandardScaler(), network)


# Columns of the patients: age, sex, body mass index, blood pressure, six blood values.
SEX, BMI = 1, 2
NUMERIC = [0, 2, 3, 4, 5, 6, 7, 8, 9]


def load_patients() -> tuple[np.ndarray, np.ndarray]:
    """Load scikit-learn's diabetes data, the sex coded as 0 or 1."""
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X[:, SEX] -= 1
    return X, y


def draw_quantiles(path: Path, seed: int = 0) -> None:
    """Draw how the quantiles of diabetes' progression depend on body mass."""
    from matplotlib.figure import Figure

    X, y = load_patients()
    bmi, mean, std = X[:, BMI], y.mean(), y.std()
    model = quantile_regression(seed).fit(bmi[:, np.newaxis], (y - mean) / std)
    grid = np.linspace(bmi.min(), bmi.max(), 200)
    low, middle, high = (model.predict(grid[:, np.newaxis]) * std + mean).T

    ax = (figure := Figure(figsize=(6, 3.6), layout="constrained")).subplots()
    ax.scatter(bmi, y, s=9, color="0.55", linewidth=0, label="patients")
    ax.fill_between(grid, low, high, color="#56B4E9", alpha=0.3, label="80 % of patients")
    ax.plot(grid, middle, color="#0072B2", linewidth=2, label="median")
    ax.set_xlabel("body mass index, kg/m²")
    ax.set_ylabel("disease progression after a year")
    ax.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=110)


def report(name: str, score: str, started: float) -> None:
    """Print one line of results."""
    print(f"{name:<52} {score:>8} {time.perf_counter() - started:6.1f} s")


def digits(out: Path, seed: int) -> None:
    """Train on four fifths of the digits, score on the last fifth, keep network and pictures."""
    X, X_test, y, y_test = split(*load_digits(), 0.2, seed)
    print(f"{len(X) + len(X_test)} handwritten digits, {len(X_test)} of them held out\n")
    print(convolutional_network().summary(X.shape[1:]), "\n")

    started = time.perf_counter()
    network, history, recorder = train_convolutional_network(X, y, seed, verbose=True)
    accuracy = float(np.mean(network.infer(X_test).argmax(axis=1) == y_test))
    print(f"\n{'accuracy on the held-out digits':<52} {'':8} {'training':>8}")
    report("convolutional network (layerkit)", f"{100 * accuracy:.2f} %", started)
    for name, pipeline in pipelines(seed).items():
        started = time.perf_counter()
        pipeline.fit(X.reshape(len(X), -1), y)
        accuracy = pipeline.score(X_test.reshape(len(X_test), -1), y_test)
        report(name, f"{100 * accuracy:.2f} %", started)

    save(network, out / "digits.npz")
    if not can_draw():
        return
    curve = TrainingCurveDisplay.from_history(history, learning_rate=True)
    curve.plot().figure_.savefig(out / "training_curve.png", dpi=150)
    flow = GradientFlowDisplay.from_recorder(recorder)
    flow.plot().figure_.savefig(out / "gradient_flow.png", dpi=150)


def patients(out: Path, seed: int) -> None:
    """Predict the progression of diabetes from a mixed table, and draw its quantiles."""
    X, y = load_patients()
    print(f"\n{f'R² on a fifth of {len(X)} patients, held out':<52} {'':8} {'training':>8}")
    started = time.perf_counter()
    rows = np.random.default_rng(seed).permutation(len(X))
    train_rows, test_rows = rows[len(X) // 5 :], rows[: len(X) // 5]
    model = mixed_table(seed).fit(X[train_rows], y[train_rows])
    score = model.score(X[test_rows], y[test_rows])
    report("numbers normalised, a category embedded (layerkit)", f"{score:.2f}", started)
    if can_draw():
        draw_quantiles(out / "quantiles.png", seed)


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def demo(out: Path, seed: int = 0) -> None:
    """Run everything; write pictures and the convolutional network to a folder."""
    out.mkdir(parents=True, exist_ok=True)
    for dtype in (np.float32, np.float64):  # what is timed is training
        warmup(dtype)
    digits(out, seed)
    patients(out, seed)
    print()
    for path in sorted([*out.glob("*.png"), *out.glob("*.npz")]):
        print(f"wrote {path}")
    if not can_draw():
        print("no pictures, for want of matplotlib: pip install 'layerkit[plot]'")
