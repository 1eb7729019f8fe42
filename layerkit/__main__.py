"""``python -m layerkit demo``: real handwritten digits, learned in under a minute."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from layerkit import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU, Sequential
from layerkit.datasets import load_digits
from layerkit.inspection import GradientFlowDisplay, GradientRecorder, TrainingCurveDisplay
from layerkit.losses import CategoricalCrossEntropy
from layerkit.optimizers import Adam
from layerkit.schedules import CosineDecay
from layerkit.training import History, train

EPOCHS, BATCH_SIZE = 15, 32
Images = np.ndarray
Labels = np.ndarray


def split(X: Images, y: Labels, part: float, seed: int) -> tuple[Images, Images, Labels, Labels]:
    """Hold out a part of the rows, every class in its proportion."""
    from sklearn.model_selection import train_test_split

    X, X_held, y, y_held = train_test_split(X, y, test_size=part, stratify=y, random_state=seed)
    return X, X_held, y, y_held


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
    X: Images, y: Labels, seed: int, verbose: bool = False
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
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from layerkit import SequentialClassifier

    ours = SequentialClassifier(
        [Dense(128), ReLU(), Dropout(0.3), Dense(64), ReLU()], max_iter=100, random_state=seed
    )
    theirs = MLPClassifier((128, 64), max_iter=100, random_state=seed)
    return {
        "MLP with dropout in a Pipeline (layerkit)": make_pipeline(StandardScaler(), ours),
        "MLPClassifier in the same Pipeline (scikit-learn)": make_pipeline(
            StandardScaler(), theirs
        ),
    }


def demo(out: Path, seed: int = 0) -> None:
    """Train on four fifths of the digits, score on the last fifth, write the pictures."""
    out.mkdir(parents=True, exist_ok=True)
    X, X_test, y, y_test = split(*load_digits(), 0.2, seed)
    network = convolutional_network()
    print(f"{len(X) + len(X_test)} handwritten digits, {len(X_test)} of them held out\n")
    print(network.summary(X.shape[1:]), "\n")

    def report(name: str, accuracy: float, started: float) -> None:
        seconds = time.perf_counter() - started
        print(f"{name:<52} {100 * accuracy:6.2f} % {seconds:6.1f} s")

    started = time.perf_counter()
    network, history, recorder = train_convolutional_network(X, y, seed, verbose=True)
    accuracy = float(np.mean(network.infer(X_test).argmax(axis=1) == y_test))
    print(f"\n{'accuracy on the held-out digits':<52} {'':8} {'training':>8}")
    report("convolutional network (layerkit)", accuracy, started)
    for name, pipeline in pipelines(seed).items():
        started = time.perf_counter()
        pipeline.fit(X.reshape(len(X), -1), y)
        report(name, pipeline.score(X_test.reshape(len(X_test), -1), y_test), started)

    print()
    for name, display in (
        ("training_curve.png", TrainingCurveDisplay.from_history(history, learning_rate=True)),
        ("gradient_flow.png", GradientFlowDisplay.from_recorder(recorder)),
    ):
        display.plot().figure_.savefig(out / name, dpi=150)
        print(f"wrote {out / name}")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m layerkit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("demo", help="learn handwritten digits and show the result")
    command.add_argument(
        "--out", type=Path, default=Path("demo_output"), metavar="DIR", help="where pictures go"
    )
    options = parser.parse_args(arguments)
    demo(options.out)


if __name__ == "__main__":
    main()
