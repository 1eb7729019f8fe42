"""Tabular estimators beside their peers, all at their defaults, on real tables.

``python -m benchmarks.tables suite.py`` takes a module with ``TABLES``, the names, and
``splits(name, seed, max_train=None) -> X_train, y_train, X_test, y_test, task``, the task "reg" or
another; it runs every method on three splits of each table, and prints

- the error (1 - accuracy, or RMSE over the standard deviation of y) and the log loss, normalised
  within a table and split (0 is the best method, 1 the worst) and averaged, with the spread of that
  average over the splits;
- the CPU seconds of a fit, in one thread.

Rows are appended to a CSV as they come, so that a run that was stopped goes on; without a suite
nothing is measured, and the CSV is reported as it stands. ``--methods`` chooses whom to compare:
the report counts the tables and splits that all of them have been run on, and names the others.
LightGBM, CatBoost and pytabkit's RealMLP take part where they are installed. ``results/tables.csv``
has what was measured on tables of up to 2,000 rows, on splits 1 to 3 (not yet by every method on
every table), with NumPy beside other work: its CPU times are a rough figure, up to twice those of
an idle machine.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

COLUMNS = ["table", "split", "method", "error", "log_loss", "cpu"]


def methods() -> dict[str, Callable[[bool, int], Any]]:
    """Makers of estimators, from whether y is a number and a seed, by name."""
    from sklearn import ensemble, neural_network

    import layerkit

    def ours(regression: bool) -> Any:
        return layerkit.TabularRegressor if regression else layerkit.TabularClassifier

    found = {
        "layerkit": lambda reg, seed: ours(reg)(random_state=seed),
        "layerkit, single": lambda reg, seed: ours(reg).single(random_state=seed),
        "layerkit, quick": lambda reg, seed: ours(reg).quick(random_state=seed),
        "scikit-learn's MLP": lambda reg, seed: _encoded(
            (neural_network.MLPRegressor if reg else neural_network.MLPClassifier)(
                random_state=seed
            ),
            reg,
        ),
        "linear": lambda reg, seed: _encoded(_linear(reg), reg),
        "HistGradientBoosting": lambda reg, seed: (
            ensemble.HistGradientBoostingRegressor
            if reg
            else ensemble.HistGradientBoostingClassifier
        )(categorical_features="from_dtype", random_state=seed),
    }
    for package, add in (("lightgbm", _lightgbm), ("catboost", _catboost), ("pytabkit", _realmlp)):
        if importlib.util.find_spec(package):
            found |= add()
    return found


def _linear(regression: bool) -> Any:
    from sklearn.linear_model import LogisticRegression, RidgeCV

    return RidgeCV() if regression else LogisticRegression(max_iter=1000)


def _encoded(estimator: Any, regression: bool) -> Any:
    """Put an estimator that takes numbers only behind an encoder, and scale its targets."""
    from sklearn.compose import TransformedTargetRegressor, make_column_selector
    from sklearn.compose import make_column_transformer as columns
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encoder = columns(
        (numbers, make_column_selector(dtype_include="number")),
        (categories, make_column_selector(dtype_exclude="number")),
    )
    pipeline = make_pipeline(encoder, estimator)
    if not regression:
        return pipeline
    return TransformedTargetRegressor(pipeline, transformer=StandardScaler())


def _lightgbm() -> dict[str, Any]:
    from lightgbm import LGBMClassifier, LGBMRegressor

    how = {"verbose": -1, "n_jobs": 1}
    return {
        "LightGBM": lambda reg, seed: (LGBMRegressor if reg else LGBMClassifier)(
            random_state=seed, **how
        )
    }


def _catboost() -> dict[str, Any]:
    from catboost import CatBoostClassifier, CatBoostRegressor

    class OfTables:
        """CatBoost, told which columns are categories."""

        def __init__(self, model: Any) -> None:
            self.model = model

        def __getattr__(self, name: str) -> Any:
            return getattr(self.model, name)

        def fit(self, X: Any, y: Any) -> Any:
            self.names = list(X.select_dtypes(exclude="number"))
            return self.model.fit(self._text(X), y, cat_features=self.names)

        def predict(self, X: Any) -> Any:
            return self.model.predict(self._text(X)).reshape(len(X))

        def predict_proba(self, X: Any) -> Any:
            return self.model.predict_proba(self._text(X))

        def _text(self, X: Any) -> Any:
            return X.assign(**{name: X[name].astype(object).fillna("") for name in self.names})

    how = {"verbose": False, "thread_count": 1, "allow_writing_files": False}
    return {
        "CatBoost": lambda reg, seed: OfTables(
            (CatBoostRegressor if reg else CatBoostClassifier)(random_seed=seed, **how)
        )
    }


def _realmlp() -> dict[str, Any]:
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    def imputed(estimator: Any) -> Any:
        """Fill missing numbers, which RealMLP refuses, with the median."""
        numbers = SimpleImputer(strategy="median"), make_column_selector(dtype_include="number")
        filled = make_column_transformer(
            numbers, remainder="passthrough", verbose_feature_names_out=False
        )
        return make_pipeline(filled.set_output(transform="pandas"), estimator)

    return {
        "RealMLP-TD": lambda reg, seed: imputed(
            (RealMLP_TD_Regressor if reg else RealMLP_TD_Classifier)(
                random_state=seed, n_threads=1, device="cpu"
            )
        )
    }


def measure(estimator: Any, splits: tuple[Any, ...]) -> tuple[float, float, float]:
    """Error, log loss (NaN for numbers) and CPU seconds of a fit."""
    import numpy as np
    from sklearn.metrics import log_loss

    X, y, X_test, y_test, task = splits
    start = time.process_time()
    estimator.fit(X, y)
    cpu = time.process_time() - start
    if task == "reg":
        rmse = np.sqrt(np.mean((estimator.predict(X_test) - y_test) ** 2))
        return float(rmse / np.std(y_test)), float("nan"), cpu
    proba = estimator.predict_proba(X_test)
    wrong = float(np.mean(estimator.classes_[proba.argmax(axis=1)] != y_test))
    return wrong, float(log_loss(y_test, proba, labels=estimator.classes_)), cpu


def report(rows: list[dict[str, Any]]) -> str:
    """Normalised error and log loss with their spreads over splits, and CPU time, by method."""
    import numpy as np

    cells: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in rows:
        values = {name: float(row[name]) for name in ("error", "log_loss", "cpu")}
        cells.setdefault((row["table"], row["split"]), {})[row["method"]] = values
    names = sorted({row["method"] for row in rows})
    complete = {cell: found for cell, found in cells.items() if len(found) == len(names)}
    partial = [f"{table} {split}" for table, split in cells if (table, split) not in complete]
    lines = [
        f"{len(complete)} tables and splits{'; not by all methods: ' * bool(partial)}"
        + ", ".join(partial),
        f"{'':24}{'error':>14}{'log loss':>16}{'cpu':>8}",
    ]
    for name in names:
        texts = []
        for column in ("error", "log_loss"):
            of_split: dict[str, list[float]] = {}
            for (_, split), found in complete.items():
                values = np.array([cell[column] for cell in found.values()])
                if np.isnan(values).any():
                    continue
                low, high = values.min(), values.max()
                share = (found[name][column] - low) / (high - low or 1)
                of_split.setdefault(split, []).append(share)
            means = [np.mean(shares) for shares in of_split.values()]
            mean = np.mean(np.concatenate(list(of_split.values()) or [[np.nan]]))
            texts.append(f"{mean:.3f} ± {np.std(means):.3f}" if means else "-")
        cpu = np.mean([found[name]["cpu"] for found in complete.values()]) if complete else np.nan
        lines.append(f"{name:24}{texts[0]:>14}{texts[1]:>16}{cpu:8.1f}")
    return "\n".join(lines)


def run(options: argparse.Namespace) -> None:
    """Append what is missing in the CSV, row by row."""
    spec = importlib.util.spec_from_file_location("suite", options.suite)
    assert spec is not None and spec.loader is not None
    suite = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(suite)
    known, done = methods(), set()
    if options.out.exists():
        with options.out.open() as file:
            done = {(r["table"], r["split"], r["method"]) for r in csv.DictReader(file)}
    with options.out.open("a", newline="") as file:
        writer = csv.writer(file)
        if not done:
            writer.writerow(COLUMNS)
        for split in options.splits:
            for table in options.tables or suite.TABLES:
                label = f"{table}, {options.rows} rows" if options.rows else table
                for name in options.methods or known:
                    if (label, str(split), name) in done:
                        continue
                    data = suite.splits(table, split, options.rows)
                    found = measure(known[name](data[-1] == "reg", split), data)
                    writer.writerow([label, split, name, *found])
                    file.flush()


def main() -> None:
    """Run what is missing in the CSV, then report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    suite_help = "a module with TABLES and splits(name, seed); without one, report only"
    parser.add_argument("suite", type=Path, nargs="?", help=suite_help)
    parser.add_argument("--out", type=Path, default=Path("tables.csv"))
    parser.add_argument("--splits", type=int, nargs="*", default=[0, 1, 2], help="seeds of splits")
    parser.add_argument("--rows", type=int, help="to learn from, at most, in place of the suite's")
    parser.add_argument("--tables", nargs="*")
    parser.add_argument("--methods", nargs="*")
    options = parser.parse_args()
    if options.suite is not None:
        run(options)
    with options.out.open() as file:
        rows = list(csv.DictReader(file))
    chosen = options.methods or {row["method"] for row in rows}
    print(report([row for row in rows if row["method"] in chosen]))


if __name__ == "__main__":
    main()
