"""Every page of text and HTML that a record writes, as it was: ``data/pages.txt`` has them all.

``python tests/test_pages.py`` renews the file where a change is meant; its difference shows it.
"""

import dataclasses
import functools
import io
import re
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from portraits import portrait
from sklearn.dummy import DummyClassifier, DummyRegressor

from layerkit import (
    GRU,
    LSTM,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    Layer,
    MaxPool2D,
    MultiHeadAttention,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
    demo,
)
from layerkit.inspection import GradientRecorder, HealthReport, gradient_catalogue, trace
from layerkit.inspection.catalogue.gradients import GradientCatalogue
from layerkit.inspection.diagnosis.evidence import Verdict
from layerkit.inspection.diagnosis.training_page import _page
from layerkit.inspection.gradient_check import Comparison, GradientCheck
from layerkit.losses import CategoricalCrossEntropy, Huber, Loss, MeanSquaredError
from layerkit.optimizers import SGD, Adam
from layerkit.training import History

FILE = Path(__file__).parent / "data" / "pages.txt"


class Cubes(Loss):
    """A loss that documents no formula."""

    def value(self, y_pred, y_true):
        return (y_pred - y_true) ** 3

    def derivative(self, y_pred, y_true):
        return 3 * (y_pred - y_true) ** 2


class Cube(Layer):
    """A layer that documents no formula."""

    def forward(self, x, training=False):
        self.cache = x
        return x**3

    def backward(self, grad_output):
        return 3 * self.cache**2 * grad_output


def traced(layers, width=2, n=1, loss=None, y=None, **more):
    network = Sequential(layers).build(width, random_state=1, dtype="float64")
    x = np.random.default_rng(3).normal(size=(n, *np.atleast_1d(width))).round(1)
    y = np.ones((n, 1)) if y is None else y
    return trace(network, x, y, loss or MeanSquaredError(), **more)


def frozen():
    body = Sequential([Dense(2), ReLU()])
    body[0].trainable = False
    return traced([Residual(body), Dense(1)], n=2, loss=Huber(), optimizer=Adam(0.5))


def unequal(layer):
    network = Sequential([layer]).build((None, 1), random_state=1, dtype="float64")
    rows = [np.array([[0.5], [-1.0]]), np.array([[2.0]])]
    return trace(network, rows, np.ones((2, *network.output_shape)), MeanSquaredError())


WALKS = {
    "two layers": lambda: traced([Dense(2), Sigmoid(), Dense(1)], optimizer=SGD(0.1)),
    "a neuron": lambda: traced([Dense(1)], n=1, training=False),
    "frozen": frozen,
    "images": lambda: traced([Conv2D(1, 2), MaxPool2D(2), Flatten(), Dense(1)], (4, 4, 1)),
    "classes": lambda: traced([Dense(3)], loss=CategoricalCrossEntropy(), y=np.array([2])),
    "a loss without formulas": lambda: traced([Dense(1)], loss=Cubes(), optimizer=SGD(1.0)),
    "a layer without formulas": lambda: traced([Cube(), Dense(1)]),
    "normalised": lambda: traced([BatchNorm(), Tanh(), Dense(1)], n=3),
    "attention": lambda: traced([MultiHeadAttention(1), Flatten()], (2, 1), y=[[1.0, 0.0]]),
    "through time": lambda: unequal(GRU(1)),
    "through much time": lambda: traced([LSTM(3), Dense(1)], (14, 2), n=2),
    "large": lambda: traced([Dense(9), ReLU(), Dense(1)], 3, n=6, optimizer=Adam(0.1)),
}


NOTEBOOK = ["a neuron", "frozen", "through time", "large"]
ON_PAGES = ["a neuron", "a loss without formulas", "large"]


def row(path, **more):
    numbers = ("mean", "std", "min", "max", "dead", "saturated", "gradient_norm", "gradient_ratio",
               "gradient_noise", "weight_norm", "update_ratio")  # fmt: skip
    return {"path": path, "layer": "Dense(units=3)"} | dict.fromkeys(numbers, np.nan) | more


def sick():
    cause = Verdict("a <cause>", "a Dense(units=3)", "critical", "x " * 70 + "& y.", "Cure it.")
    symptom = Verdict("symptom", "inputs", "warning", "Seen 3 < 4 times.", "None.", "a <cause>")
    rows = [
        row("a", mean=0.5, std=2, min=-3, max=4e5, gradient_norm=2.0, gradient_ratio=0.01),
        row("b" * 50, mean=1e-18, std=1.0, dead=0.3, saturated=1.0, gradient_norm=0.02),
        row("c", gradient_norm=0.0, gradient_noise=np.inf, weight_norm=1, update_ratio=1e-3),
        row("d", gradient_norm=2e-9, dead=0.0),
    ]
    facts = {"rows": 1234, "loss": 0.5, "constant_loss": 2.0}
    return HealthReport([cause, symptom, symptom._replace(follows_from="")], rows, facts)


HISTORY = [{"epoch": k, "loss": 1 / k, "validation_loss": k if k != 2 else np.nan,
            "validation_score": k % 3} for k in (1, 2, 3, 4)]  # fmt: skip
REPORTS = {
    "health": sick,
    "health, nothing found": lambda: HealthReport([], [row("a")], {}),
}
CHARTS = {
    "training": lambda: _page(History(HISTORY), None),
    "one epoch": lambda: _page(History([{"epoch": 1, "loss": 2.0}]), HealthReport([], [], {})),
    "nothing finite": lambda: _page(History([{"epoch": 1, "loss": np.nan}]), None),
}
CHECKED = [
    Comparison("inference", "input", 15, 0, 4.6e-11, "[2, 2]", 1.0, 1.0),
    Comparison("inference", "a.long.path.to.a.layer.of.a.network.W", 6, 2, 0.5, "[0]", 1 / 3, -2.0),
    Comparison("training", "b", 100, 0, np.nan, "direction 3", np.nan, 0.25),
]


def network():
    body = Residual(Sequential([Dense(4), Tanh()]))
    body.trainable = False
    return Sequential([Flatten(), body, ("head", Dense(2))]).build((2, 2), random_state=0)


CATALOGUE = gradient_catalogue()
ENTRIES = ["Sigmoid", "BatchNorm", "MaxPool1D", "Huber"]


def lines(text):
    """One row or paragraph a line, without scripts, measured errors and what is rounding alone.

    That is the gradient of the keys' bias: attention does not depend on it.
    """
    text = re.sub(r".*\bdL/db_qkv\b.*\n", "", text)
    text = re.sub(r"<(script|style)>.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"error \d[.\d]*(e[-+]\d+)?", "error #", text)
    text = re.sub(r"(?=<(tr|p|table|li|section|svg|line|text|poly|details)\b)", "\n", text)
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def wrong():
    """A small catalogue with an entry that is wrong."""
    sigmoid = CATALOGUE["Sigmoid"]
    formulas = sigmoid.formulas.replace("y * (1 - y)", "y * (1 + y)")
    bad = dataclasses.replace(sigmoid, formulas=formulas)
    return GradientCatalogue({"Elementwise": [bad], "Losses": [CATALOGUE["Huber"]]})


def trained(X, y, seed, verbose=False):
    """What the demo trains, before it is."""
    network = demo.convolutional_network().build(X.shape[1:], random_state=seed)
    network[-1].params["W"][...] = 0
    network[-1].params["b"][...] = np.arange(10)
    recorder = GradientRecorder()
    recorder.layers, recorder.steps, recorder.norms = ["a"], [1, 2], [[1.0], [2.0]]
    history = History([{"epoch": 1, "loss": float(len(X)), "learning_rate": 0.1}])
    return network, history, recorder


def shown_by_the_demo():
    """All that it prints, trains, fits and writes, with the trainings left out."""
    said, made = io.StringIO(), []

    def save(figure, path, **options):
        made.append((Path(path).name, options, portrait(figure)))

    def of(seed):
        return {f"constant {seed}": DummyClassifier(strategy="constant", constant=9)}

    def of_quantiles(seed):
        rows = SimpleNamespace(predict=lambda X: np.outer(np.ones(len(X)), [-1, 0, 1]) * X)
        return SimpleNamespace(fit=lambda X, y: rows)

    changed = {
        "train_convolutional_network": trained,
        "pipelines": of,
        "mixed_table": lambda seed: DummyRegressor(),
        "quantile_regression": of_quantiles,
        "warmup": lambda dtype: made.append(dtype),
    }
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(said):
        with mock.patch.multiple(demo, **changed), mock.patch.object(Figure, "savefig", save):
            demo.demo(Path(folder) / "out")
            (file,) = (Path(folder) / "out").iterdir()
            made.append(file.name)
        text = said.getvalue().replace(folder, "")
    plt.close("all")
    return re.sub(r" *\d+\.\d s\b", " # s", text) + "\n".join(map(repr, made))


def trained_by_the_demo():
    """What it trains, and how."""
    calls = []

    def train(*args, **options):
        X, y = args[3]
        calls.append((*map(repr, args[:3]), X.shape, y.shape, options))

    with mock.patch.object(demo, "train", train):
        X, y = np.arange(200.0).reshape(100, 2), np.arange(100) % 2
        demo.train_convolutional_network(X, y, 3, verbose=True)
    options = calls[0][-1]
    options["callbacks"] = [type(callback).__name__ for callback in options["callbacks"]]
    options["validation_data"] = [part.tolist() for part in options["validation_data"]]
    patients = [part.mean(axis=0).round(6).tolist() for part in demo.load_patients()]
    models = demo.pipelines(3), demo.mixed_table(3), demo.quantile_regression(3)
    return "\n".join(map(repr, [*calls[0], *models, patients]))


PAGES = {
    **{f"{name}: text": lambda make=make: str(make()) for name, make in WALKS.items()},
    **{f"{name}: HTML": lambda make=WALKS[name]: make()._repr_html_() for name in NOTEBOOK},
    **{f"{name}: page": lambda make=WALKS[name]: make().to_html() for name in ON_PAGES},
    "a step: text": lambda: str(WALKS["two layers"]().steps[1]),
    "steps of time: text": lambda: str(WALKS["through time"]().steps[0].time),
    **{f"{name}: text": lambda make=make: str(make()) for name, make in REPORTS.items()},
    **{f"{name}: HTML": lambda make=make: make()._repr_html_() for name, make in REPORTS.items()},
    **CHARTS,
    "gradient check: failed": lambda: str(GradientCheck("a layer", 1e-6, CHECKED)),
    "gradient check: passed": lambda: str(GradientCheck("a layer", 1e-6, CHECKED[:1])),
    "summary: text": lambda: str(network().summary()),
    "summary: HTML": lambda: network()._repr_html_(),
    **{f"{name}: text": lambda name=name: str(CATALOGUE[name]) for name in ENTRIES},
    **{f"{name}: HTML": lambda name=name: CATALOGUE[name]._repr_html_() for name in ENTRIES},
    "demo: trained": trained_by_the_demo,
    "demo: shown": shown_by_the_demo,
    "catalogue: text": lambda: str(wrong()),
    "catalogue: HTML": lambda: wrong()._repr_html_(),
    "catalogue: page": lambda: wrong().to_markdown(),
}


@functools.cache
def read():
    found = {}
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("==== "):
            page = found[line[5:]] = []
        else:
            page.append(line)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_as_it_was(name):
    if name.partition(":")[0] in (*ENTRIES, "catalogue"):  # which say what is not installed
        pytest.importorskip("torch")
        pytest.importorskip("sympy")
    assert lines(PAGES[name]()) == read()[name]


def test_every_page_is_looked_at():
    assert list(read()) == list(PAGES)


if __name__ == "__main__":
    found = [line for name, make in PAGES.items() for line in (f"==== {name}", *lines(make()))]
    FILE.write_text("\n".join([*found, ""]), encoding="utf-8")
