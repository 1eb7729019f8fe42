"""The page of a training run: it grows, it stands alone, it ends with the health report."""

import re
import sys
import types
import xml.dom.minidom

import numpy as np
import pytest
from errors import raises_exactly

from layerkit import Dense, ReLU, Sequential, SequentialClassifier
from layerkit.inspection import HealthMonitor, HealthReport, TrainingPage
from layerkit.inspection.diagnosis.training_page import _chart
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
from layerkit.optimizers import SGD, Adam
from layerkit.training import train

X = np.random.default_rng(0).normal(size=(60, 4))
Y = (X[:, 0] > 0).astype(int)


def run(page, epochs=3, validation=True, optimizer=None, callbacks=()):
    network = Sequential([Dense(8), ReLU(), Dense(2)])
    options = {"validation_data": (X[:20], Y[:20])} if validation else {}
    data, watching = (X, Y), [*callbacks, page]
    optimizer = optimizer or Adam(1e-2)
    loss = CategoricalCrossEntropy()
    train(
        network, loss, optimizer, data, epochs=epochs, callbacks=watching, random_state=0, **options
    )


def curves(page):
    return [points.split() for points in re.findall(r'<polyline points="([^"]*)"', page)]


def test_the_file_grows_with_every_epoch_and_ends_with_the_report(tmp_path):
    path, seen = tmp_path / "training.html", []

    def read(state):
        seen.append(path.read_text(encoding="utf-8") if path.exists() else "")

    run(TrainingPage(path), callbacks=[read])
    assert seen[0] == ""
    for epochs, page in enumerate(seen[1:], 1):
        assert 'http-equiv="refresh"' in page and "training goes on" in page
        assert [len(curve) for curve in curves(page)] == [epochs, epochs]
        assert "finding" not in page and "‖grad‖" not in page
    page = path.read_text(encoding="utf-8")
    assert [len(curve) for curve in curves(page)] == [3, 3]
    assert "refresh" not in page and "3 epochs: done" in page and "‖grad‖" in page
    assert not re.search(r"<script|src=|href=|https?:", page)
    assert list(tmp_path.iterdir()) == [path]
    for svg in re.findall(r"<svg.*?</svg>", page):
        xml.dom.minidom.parseString(svg)


@pytest.fixture
def quick(monkeypatch):
    """Spare the measurements of the report where they do not matter."""
    monkeypatch.setattr(HealthMonitor, "report", lambda self: HealthReport([], [], {"rows": 0}))


def test_it_is_the_monitor_too():
    page, monitor = TrainingPage(every=1), HealthMonitor(every=1)
    run(page, epochs=1, callbacks=[monitor])
    assert page.losses == monitor.losses and page.updates == monitor.updates
    assert "‖grad‖" in page.to_html()


def test_a_run_that_diverges_is_drawn_as_far_as_it_is_finite(tmp_path):
    path = tmp_path / "training.html"
    page = TrainingPage(path)
    network = Sequential([Dense(8), ReLU(), Dense(1)])
    target = (1e3 * X).sum(axis=1, keepdims=True)
    with pytest.warns(match="diverged"):
        train(network, MeanSquaredError(), SGD(1e6), (X, target), epochs=5, callbacks=[page],
              random_state=0)  # fmt: skip
    text = path.read_text(encoding="utf-8")
    assert "diverged" in text and "nan," not in text and ",nan" not in text


def test_a_curve_of_one_place_or_of_none_is_drawn_inside_its_chart():
    for loss in (1e20, 0.0, np.nan):
        chart = _chart("loss", {"training": np.array([loss])}, None)
        assert re.findall(r'cy="([^"]*)"', chart) == ([] if np.isnan(loss) else ["190.0"])


def test_an_estimator_takes_it(tmp_path, quick):
    page = TrainingPage(tmp_path / "fit.html")
    model = SequentialClassifier([Dense(8), ReLU()], max_iter=4, random_state=0)
    model.set_callbacks(page).fit(X, Y, X_val=X[:20], y_val=Y[:20])
    text = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert text.count("<svg") == 2  # loss and score
    assert "4 epochs: done" in text


def test_in_a_notebook_one_output_renews_itself(monkeypatch, quick):
    shown, updates = [], []
    handle = types.SimpleNamespace(update=lambda html: updates.append(html))

    def display(html, display_id):
        shown.append(html)
        return handle

    module = types.SimpleNamespace(HTML=str, display=display)
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    page = TrainingPage()
    run(page)
    assert len(shown) == 1 and len(updates) == 3  # two epochs more, and the end
    assert "<html" not in shown[0] and "‖grad‖" in updates[-1]
    run(page)
    assert len(shown) == 2


def test_bad_arguments_and_no_training():
    with raises_exactly(ValueError, "every must be a positive integer, got 0"):
        TrainingPage(every=0)
    with raises_exactly(
        RuntimeError,
        "HealthMonitor has seen no training: pass it to train(..., callbacks=[monitor]) "
        "or to estimator.set_callbacks(monitor)",
    ):
        TrainingPage().to_html()
