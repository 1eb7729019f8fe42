"""``python -m benchmarks.scores``: the README's table of scores beside scikit-learn's.

Both sides learn from the same rows and are scored on the same rows, of shuffled splits. The results
go to ``benchmarks/results/scores.csv``, and from there into the README.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sklearn import neural_network
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import KFold, StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.readme import replaced
from layerkit import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    MLPClassifier,
    ReLU,
    Reshape,
    SequentialClassifier,
    SequentialRegressor,
    Tanh,
)

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "scores.csv"
COLUMNS = ("task", "scikit-learn", "score", "layerkit", "our score")


class Row(NamedTuple):
    """Two models on the same splits, their mean scores."""

    task: str
    theirs: str
    their_score: float
    ours: str
    our_score: float


class Task(NamedTuple):
    """Data, splits and two models."""

    name: str
    load: Callable[[], tuple[np.ndarray, np.ndarray]]
    splits: Any
    theirs: tuple[str, Any]
    ours: tuple[str, Any]


def convolutional_network() -> SequentialClassifier:
    """The network of the README's first screen."""
    layers = [Reshape((8, 8, 1)), Conv2D(32, 3, padding="same"), BatchNorm(), ReLU(), MaxPool2D(2)]
    layers += [Conv2D(64, 3, padding="same"), BatchNorm(), ReLU(), Flatten(), Dropout(0.5)]
    return SequentialClassifier(layers, max_iter=15, random_state=0)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images of 8 x 8, between 0 and 1."""
    X, y = load_digits(return_X_y=True)
    return X / 16, y


def standardised(regressor: Any) -> Any:
    """Standardise columns and target around a regressor."""
    return TransformedTargetRegressor(
        make_pipeline(StandardScaler(), regressor), transformer=StandardScaler()
    )


def tasks() -> Iterator[Task]:
    """What is compared."""
    five = StratifiedShuffleSplit(5, test_size=0.25, random_state=0)
    perceptron = neural_network.MLPClassifier(max_iter=400, random_state=0)
    yield Task(
        "digits, accuracy",
        digits,
        five,
        ("MLPClassifier", perceptron),
        ("two convolutions, dropout", convolutional_network()),
    )
    yield Task(
        "digits, 200 rows to learn from",
        digits,
        StratifiedShuffleSplit(5, train_size=200, random_state=0),
        ("MLPClassifier", perceptron),
        (
            "MLPClassifier, dropout 0.5",
            MLPClassifier((512,), dropout=0.5, max_iter=400, random_state=0),
        ),
    )
    yield Task(
        "diabetes, R²",
        lambda: load_diabetes(return_X_y=True),
        KFold(10, shuffle=True, random_state=0),
        ("MLPRegressor", standardised(neural_network.MLPRegressor(max_iter=1000, random_state=0))),
        (
            "dropout 0.5 around a Dense",
            standardised(
                SequentialRegressor(
                    [Dropout(0.2), Dense(100), Tanh(), Dropout(0.5)], max_iter=100, random_state=0
                )
            ),
        ),
    )


def measure(task: Task) -> Row:
    """Score both models on every split."""
    X, y = task.load()
    scores = []
    for learn, test in task.splits.split(X, y):
        models = [clone(model).fit(X[learn], y[learn]) for _, model in (task.theirs, task.ours)]
        scores.append([model.score(X[test], y[test]) for model in models])
    theirs, ours = np.mean(scores, axis=0).tolist()
    return Row(task.name, task.theirs[0], theirs, task.ours[0], ours)


def read(path: Path = RESULTS) -> list[Row]:
    """The committed results."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [Row(a, b, float(c), d, float(e)) for a, b, c, d, e in rows]


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = ["| | scikit-learn | layerkit |", "|---|---|---|"]
    for row in rows:
        theirs, ours = f"{row.their_score:.3f} {row.theirs}", f"**{row.our_score:.3f}** {row.ours}"
        lines.append(f"| {row.task} | {theirs} | {ours} |")
    return "\n".join(lines)


def updated(readme: str, rows: list[Row]) -> str:
    """The README with the table of these rows."""
    return replaced(readme, "scores", table(rows))


if __name__ == "__main__":
    found = [measure(task) for task in tasks()]
    with RESULTS.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *found])
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text(encoding="utf-8"), found), encoding="utf-8")
    print(table(found))
