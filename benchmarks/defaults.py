"""Our MLPs beside scikit-learn's, all parameters at their defaults, on four real data sets.

``python -m benchmarks.defaults`` prints, for each data set, the mean over five seeds of the score
on a held-out quarter (accuracy, or R² for diabetes), the same seeds splitting the rows and starting
both networks, and the median of the ratios of the times of `fit`, taken in turn in one thread.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

SEEDS = range(5)


def data_sets() -> Iterator[tuple[str, Any, Any, bool]]:
    """Name, X, y and whether y holds classes."""
    from sklearn import datasets

    for name in ("digits", "breast_cancer", "wine", "diabetes"):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        yield name, X, y, name != "diabetes"


def fit_and_score(estimator: Any, scale: bool, split: Any) -> tuple[float, float]:
    """Score on the held-out rows, and seconds that `fit` took."""
    from sklearn.preprocessing import StandardScaler

    X, X_test, y, y_test = split
    if scale:
        scaler = StandardScaler().fit(X)
        X, X_test = scaler.transform(X), scaler.transform(X_test)
    start = time.perf_counter()
    estimator.fit(X, y)
    return estimator.score(X_test, y_test), time.perf_counter() - start


def compare(X: Any, y: Any, classes: bool, scale: bool) -> tuple[Any, Any, float]:
    """Scores of scikit-learn's and of ours for every seed, and the median ratio of their times."""
    from sklearn import neural_network
    from sklearn.model_selection import train_test_split

    import layerkit

    kind = "MLPClassifier" if classes else "MLPRegressor"
    scores, ratios = [], []
    for seed in SEEDS:
        split = train_test_split(X, y, random_state=seed, stratify=y if classes else None)
        theirs = fit_and_score(getattr(neural_network, kind)(random_state=seed), scale, split)
        ours = fit_and_score(getattr(layerkit, kind)(random_state=seed), scale, split)
        scores.append((theirs[0], ours[0]))
        ratios.append(theirs[1] / ours[1])
    return *np.transpose(scores), float(np.median(ratios))


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")  # 200 epochs are few for some of them: part of the defaults
    print(f"{'data':<15}{'X':<14}{'scikit-learn':>14}{'layerkit':>14}{'times as fast':>15}")
    for name, X, y, classes in data_sets():
        for scale in (False, True):
            theirs, ours, ratio = compare(X, y, classes, scale)
            kind = "standardised" if scale else "as it is"
            print(
                f"{name:<15}{kind:<14}{theirs.mean():>14.4f}{ours.mean():>14.4f}{ratio:>15.2f}",
                flush=True,
            )


if __name__ == "__main__":
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        main()
