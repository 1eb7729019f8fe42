"""Displays show the numbers they were given, labelled; nothing is drawn before ``plot``."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from layerkit import Dense, ReLU, Residual, Sequential, Tanh
from layerkit.inspection import (
    GradientFlowDisplay,
    GradientRecorder,
    TrainingCurveDisplay,
)
from layerkit.losses import MeanSquaredError
from layerkit.optimizers import SGD
from layerkit.training import History, train


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def lines(ax):
    """The curves of an Axes by label; those without one have names that start with _."""
    return {line.get_label(): line.get_xydata().tolist() for line in ax.lines}


def assert_nothing_clipped(figure):
    """All that is drawn lies within the figure."""
    figure.canvas.draw()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= 0 and drawn.y0 >= 0 and drawn.x1 <= width and drawn.y1 <= height, drawn


def regression_run(network, rng, **options):
    X = rng.standard_normal((40, 3))
    data = X, X.sum(axis=1, keepdims=True)
    return train(network, MeanSquaredError(), SGD(0.01), data, random_state=0, **options)


# -------------------------------------------------------------------------- all of them


def test_importing_displays_leaves_matplotlib_alone():
    code = "import sys, layerkit.inspection.displays; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_matplotlib_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"TrainingCurveDisplay.*layerkit\[plot\]"):
        TrainingCurveDisplay([1.0]).plot()


def test_plot_returns_itself_and_leaves_the_style_of_others_alone():
    before = dict(plt.rcParams)
    display = TrainingCurveDisplay([2.0, 1.0])
    assert display.plot() is display
    assert display.figure_ is display.ax_.figure
    assert dict(plt.rcParams) == before


def test_plot_draws_where_it_is_told():
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    display = TrainingCurveDisplay([2.0, 1.0]).plot(right)
    assert display.ax_ is right and display.figure_ is figure and not left.lines
    display = TrainingCurveDisplay([2.0, 1.0], validation_score=[0.1, 0.2]).plot(left)
    assert display.axes_.shape == (2, 1) and display.figure_ is figure
    assert not left.axison
    assert_nothing_clipped(figure)


# -------------------------------------------------------------------------- training curve


def test_training_curve_shows_losses_and_the_best_epoch():
    display = TrainingCurveDisplay([3.0, 2.0, 1.0], [3.5, 2.5, 2.75], best_epoch=2).plot()
    shown = lines(display.ax_)
    assert shown["training"] == [[1, 3], [2, 2], [3, 1]]
    assert shown["validation"] == [[1, 3.5], [2, 2.5], [3, 2.75]]
    assert [[2, 2.5]] in shown.values()
    assert "best epoch (2)" in shown
    assert display.ax_.get_xlabel() == "epoch" and display.ax_.get_ylabel() == "loss"
    assert_nothing_clipped(display.figure_)


def test_training_curve_from_history_has_a_panel_for_each_quantity(rng):
    network = Sequential([Dense(4), Tanh(), Dense(1)])
    X = rng.standard_normal((20, 3))
    history = regression_run(
        network,
        rng,
        epochs=5,
        validation_data=(X, X.sum(axis=1, keepdims=True)),
        score=lambda y, p, *weight: -float(np.abs(y - p).mean()),
    )
    display = TrainingCurveDisplay.from_history(history, learning_rate=True).plot()
    labels = [ax.get_ylabel() for ax in display.axes_[:, 0]]
    assert labels == ["loss", "validation score", "learning rate"]
    score = lines(display.axes_[1, 0])["validation"]
    np.testing.assert_array_equal(np.array(score)[:, 1], history["validation_score"])
    rate = lines(display.axes_[2, 0])["learning rate"]
    np.testing.assert_array_equal(np.array(rate)[:, 1], 0.01)
    assert_nothing_clipped(display.figure_)


def test_training_curve_from_an_estimator_wants_a_fitted_one():
    class Fitted:
        history_ = History([{"epoch": 1, "loss": 0.5}])

    display = TrainingCurveDisplay.from_estimator(Fitted())
    assert np.array(display.loss).tolist() == [0.5] and display.validation_loss is None
    with pytest.raises(ValueError, match="object has no history_: fit it first"):
        TrainingCurveDisplay.from_estimator(object())
    with pytest.raises(ValueError, match="no epochs"):
        TrainingCurveDisplay.from_history(History())


# -------------------------------------------------------------------------- gradient flow


def test_recorder_notes_the_norm_of_every_layer_with_parameters(rng):
    network = Sequential([Dense(4), Tanh(), Residual(Sequential([Dense(4), ReLU()])), Dense(1)])
    network.build(3, random_state=0)
    recorder, expected = GradientRecorder(), []

    class ByHand:
        def __call__(self, state):
            pass

        def on_batch(self, state):
            layers = [network[0], network[2].body[0], network[3]]
            grads = [[g.ravel() for g in layer.grads.values()] for layer in layers]
            expected.append([np.sqrt(np.sum(np.concatenate(g) ** 2)) for g in grads])

    regression_run(network, rng, epochs=2, batch_size=10, callbacks=[recorder, ByHand()])
    assert recorder.layers == ["dense_1", "residual_1.body.dense_1", "dense_2"]
    assert recorder.steps == [1, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(recorder.norms, expected, rtol=1e-5)


def test_recorder_can_skip_steps(rng):
    recorder = GradientRecorder(every=3)
    regression_run(Sequential([Dense(1)]), rng, epochs=2, batch_size=10, callbacks=[recorder])
    assert recorder.steps == [3, 6]
    with pytest.raises(ValueError, match="every must be a positive integer, got 0"):
        GradientRecorder(every=0)


def test_gradient_flow_shows_each_layer_on_a_logarithmic_scale():
    norms = [[0.1, 1.0], [0.0, 2.0], [0.4, 4.0], [0.2, 8.0]]
    display = GradientFlowDisplay([1, 2, 3, 4], norms, ["dense_1", "dense_2"]).plot()
    shown = lines(display.ax_)
    np.testing.assert_allclose(shown["dense_2"], [[1, 1], [2, 2], [3, 4], [4, 8]])
    np.testing.assert_allclose(
        shown["dense_1 (zero in 25%)"], [[1, 0.1], [2, np.nan], [3, 0.4], [4, 0.2]]
    )
    assert display.ax_.get_yscale() == "log"
    assert display.ax_.get_xlabel() == "optimizer step"
    assert_nothing_clipped(display.figure_)


def test_gradient_flow_smooths_a_long_run_by_the_geometric_mean():
    steps = np.arange(1, 121)  # a window of three
    norms = 10.0 ** (-steps % 3)[:, np.newaxis]
    display = GradientFlowDisplay(steps, norms, ["dense_1"]).plot()
    smooth = np.array(lines(display.ax_)["dense_1"])[:, 1]
    np.testing.assert_allclose(smooth[1:-1], 10.0)
    assert len(display.ax_.lines) == 2


def test_gradient_flow_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\(n_steps, n_layers\) = \(2, 1\), got \(1, 2\)"):
        GradientFlowDisplay([1, 2], [[1.0, 2.0]], ["dense_1"])
    with pytest.raises(ValueError, match="noted nothing"):
        GradientFlowDisplay.from_recorder(GradientRecorder())
