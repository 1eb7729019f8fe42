"""scikit-learn's side: its multilayer perceptron, the only network it has."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.neural_network import MLPClassifier

from benchmarks import fit_rows
from benchmarks.sides import data

Repeat = Callable[[], object]


def model(sizes: tuple[int, ...], **options: object) -> MLPClassifier:
    """Return an unfitted perceptron."""
    return MLPClassifier(sizes[1:-1], random_state=0, **options)


def mlp_step(sizes: tuple[int, ...], batch: int, by_heart: bool = False) -> Repeat:
    """One step of training: ``partial_fit`` of one batch."""
    X, y = data.rows(batch, sizes[0], sizes[-1])
    rate, before = data.settings(by_heart)
    fitted = model(sizes, batch_size=batch, learning_rate_init=rate)
    for _ in range(before + 1):
        fitted.partial_fit(X, y, classes=np.arange(sizes[-1]))
    return lambda: fitted.partial_fit(X, y)


def mlp_infer(sizes: tuple[int, ...], batch: int) -> Repeat:
    """Labels of an array: scikit-learn has nothing below the estimator."""
    return predict(sizes, batch)


def predict(sizes: tuple[int, ...], batch: int) -> Repeat:
    """Predict with a fitted estimator, all its checks included."""
    X, y = data.rows(1000, sizes[0], sizes[-1])
    fitted = model(sizes, max_iter=1)
    data.quietly(fitted.fit)(X, y)
    return lambda: fitted.predict(X[:batch])


def fit(sizes: tuple[int, ...], rows: int, batch: int, epochs: int) -> Repeat:
    """Fit an estimator."""
    X, y = data.rows(rows, sizes[0], sizes[-1])
    return lambda: data.quietly(model(sizes, batch_size=batch, max_iter=epochs).fit)(X, y)


def table(kind: str, name: str, options: dict[str, Any]) -> Repeat:
    """Do a row of the table of fits."""
    return fit_rows.work(neural_network, kind, name, options)
