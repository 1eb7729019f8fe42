"""The fits of the second table: what a scikit-learn user runs, and the data it runs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.sides import data

Repeat = Callable[[], object]


@dataclass(frozen=True)
class Fit:
    """One row: an estimator with its parameters on a table.

    ``peers`` take part beside scikit-learn; they train the same network for as many epochs.
    """

    name: str
    kind: str
    table: str
    options: dict[str, Any] = field(default_factory=dict)
    group: str = "fit"
    peers: tuple[str, ...] = ("sklearn", "torch", "jax")


def _fit(name: str, table: str, hidden: tuple[int, ...], epochs: int, **options: Any) -> Fit:
    common = {"hidden_layer_sizes": hidden, "max_iter": epochs, "n_iter_no_change": epochs + 1}
    kind = "regression" if table in ("diabetes", "three targets") else "classification"
    plain = not {"solver", "early_stopping"} & set(options) and table not in ("text", "multilabel")
    peers = ("sklearn", "torch", "jax") if plain else ("sklearn",)
    return Fit(name, kind, table, common | options, peers=peers)


FITS: tuple[Fit, ...] = (
    *(_fit(f"{t}, defaults, 200 epochs", t, (100,), 200) for t in ("iris", "wine")),
    _fit("breast cancer, defaults, 200 epochs", "breast_cancer", (100,), 200),
    _fit("digits, 30 epochs, relu", "digits", (100,), 30),
    _fit("digits, 30 epochs, logistic", "digits", (100,), 30, activation="logistic"),
    _fit("diabetes, defaults, 200 epochs", "diabetes", (100,), 200),
    _fit("20,000 x 30, 3 classes, (100,), 10 epochs", "middle", (100,), 10),
    _fit("... with early stopping", "middle", (100,), 10, early_stopping=True),
    _fit("... (100, 50), tanh", "middle", (100, 50), 10, activation="tanh"),
    _fit("... L-BFGS, 30 iterations", "middle", (100,), 30, solver="lbfgs"),
    _fit("... float32, (256, 256), 5 epochs", "middle32", (256, 256), 5),
    _fit("100,000 x 20, 2 classes, (100,), 2 epochs", "long", (100,), 2),
    _fit("2,000 x 20,000 sparse, 4 classes, 2 epochs", "text", (32,), 2),
    _fit("5,000 x 50, 200 classes, (100,), 5 epochs", "many classes", (100,), 5),
    _fit("5,000 x 50, 10 labels, (100,), 5 epochs", "multilabel", (100,), 5),
    _fit("5,000 x 50, three targets, (100,), 5 epochs", "three targets", (100,), 5),
    Fit("GridSearchCV, 12 fits of iris, 30 epochs", "search", "iris", peers=("sklearn",)),
    Fit("partial_fit, 100 batches of 100 x 30", "stream", "middle", peers=("sklearn",)),
    *(
        Fit(f"{method}, DataFrame, {rows:,} rows", "answer", "frame",
            {"method": method, "rows": rows}, "predict", ("sklearn",))
        for method in ("predict", "predict_proba") for rows in (1, 32, 100_000)
    ),
)  # fmt: skip

BUSY: tuple[Fit, ...] = tuple(
    Fit(fit.name, fit.kind, fit.table, fit.options, "fit, one core busy", ("sklearn",))
    for fit in FITS
    if fit.name.startswith(("iris", "breast cancer"))
    or fit.name.startswith(("20,000", "... (100, 50)"))
)

_PROGRAM = """
import warnings
from {home} import MLPClassifier
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
warnings.simplefilter("ignore")
if __name__ == "__main__":
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier(max_iter=50, random_state=0)
    {work}
"""
FRESH: dict[str, str] = {
    "fresh process: import and fit iris, 50 epochs": "model.fit(X, y)",
    "fresh process: GridSearchCV(n_jobs=2), 24 fits of iris": (
        'grid = {"alpha": [1e-5, 1e-4, 1e-3, 1e-2], "activation": ["relu", "tanh"]}\n'
        "    GridSearchCV(model, grid, cv=3, n_jobs=2).fit(X, y)"
    ),
}


def program(library: str, work: str) -> str:
    """Return the source of a fresh process."""
    home = {"layerkit": "layerkit", "sklearn": "sklearn.neural_network"}[library]
    return _PROGRAM.format(home=home, work=work)


def table(name: str) -> tuple[Any, Any]:
    """Return X and y of a name, the same for every side."""
    from sklearn import datasets

    if name in ("iris", "wine", "breast_cancer", "digits", "diabetes"):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        spread = X.std(axis=0)
        y = (y - y.mean()) / y.std() if name == "diabetes" else y
        return (X - X.mean(axis=0)) / np.where(spread > 0, spread, 1), y
    rng = np.random.default_rng(0)
    if name == "text":
        from scipy import sparse

        X = sparse.random(2000, 20_000, density=0.004, format="csr", random_state=0)
        return X, rng.integers(0, 4, 2000)
    rows, columns = {"long": (100_000, 20), "middle": (20_000, 30), "middle32": (20_000, 30),
                     "frame": (100_000, 30)}.get(name, (5000, 50))  # fmt: skip
    X = rng.standard_normal((rows, columns))
    outputs = {"long": 2, "many classes": 200, "multilabel": 10}.get(name, 3)
    scores = X @ rng.standard_normal((columns, outputs)) + rng.standard_normal((rows, outputs))
    if name == "three targets":
        return X, scores
    if name == "multilabel":
        return X, (scores > 0).astype(int)
    if name == "frame":
        import pandas as pd

        return pd.DataFrame(X, columns=[f"x{i}" for i in range(columns)]), scores.argmax(axis=1)
    return X.astype(np.float32) if name == "middle32" else X, scores.argmax(axis=1)


def work(estimators: Any, kind: str, name: str, options: dict[str, Any]) -> Repeat:
    """Prepare a row for a library with scikit-learn's two estimators."""
    X, y = table(name)
    if kind == "regression":
        model = estimators.MLPRegressor(random_state=0, **options)
        return lambda: data.quietly(model.fit)(X, y)
    if kind == "classification":
        model = estimators.MLPClassifier(random_state=0, **options)
        return lambda: data.quietly(model.fit)(X, y)
    if kind == "search":
        from sklearn.model_selection import GridSearchCV

        model = estimators.MLPClassifier(max_iter=30, random_state=0)
        search = GridSearchCV(model, {"alpha": [1e-4, 1e-3, 1e-2, 1e-1]}, cv=3)
        return lambda: data.quietly(search.fit)(X, y)
    if kind == "stream":

        def repeat() -> None:
            model = estimators.MLPClassifier(random_state=0)
            for start in range(0, 10_000, 100):
                rows = slice(start, start + 100)
                model.partial_fit(X[rows], y[rows], classes=[0, 1, 2])

        return repeat
    model = estimators.MLPClassifier(max_iter=1, random_state=0)
    data.quietly(model.fit)(X, y)
    answer, some = getattr(model, options["method"]), X.iloc[: options["rows"]]
    return lambda: answer(some)
