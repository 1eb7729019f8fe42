"""Make the pictures that the README shows: ``python docs/make_pictures.py``."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot
from sklearn.datasets import load_diabetes
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from layerkit import Dense, SequentialRegressor, Tanh
from layerkit.losses import Quantile

HERE = Path(__file__).parent


def quantile_model() -> Pipeline:
    """Three quantiles of the target as curves over one feature."""
    network = SequentialRegressor(
        [Dense(32), Tanh()],
        loss=Quantile([0.1, 0.5, 0.9]),
        max_iter=300,
        n_iter_no_change=None,
        random_state=0,
    )
    return make_pipeline(StandardScaler(), network)


def quantiles() -> None:
    """Quantile regression: how diabetes progresses with body mass."""
    X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    X, mean, std = X[["bmi"]], y.mean(), y.std()
    model = quantile_model().fit(X, (y - mean) / std)
    grid = X.iloc[[0] * 200].assign(bmi=np.linspace(X["bmi"].min(), X["bmi"].max(), 200))
    low, middle, high = (model.predict(grid) * std + mean).T

    figure, ax = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    ax.scatter(X["bmi"], y, s=9, color="0.55", linewidth=0, label="patients")
    ax.fill_between(grid["bmi"], low, high, color="#56B4E9", alpha=0.3, label="80 % of patients")
    ax.plot(grid["bmi"], middle, color="#0072B2", linewidth=2, label="median")
    ax.set_xlabel("body mass index, kg/m²")
    ax.set_ylabel("disease progression after a year")
    ax.legend(loc="upper left", frameon=False)
    figure.savefig(HERE / "quantiles.png", dpi=110)


if __name__ == "__main__":
    mpl.use("Agg")
    quantiles()
