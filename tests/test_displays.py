"""Displays show the numbers they were given, labelled; nothing is drawn before ``plot``."""

import re
import subprocess
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from errors import raises_exactly
from portraits import assert_alike, portrait, read

from layerkit import (
    GELU,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    PReLU,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
    TableEncoder,
    Tanh,
)
from layerkit.inspection import (
    ActivationDisplay,
    AttentionDisplay,
    DerivativeDisplay,
    DerivativeErrorDisplay,
    FilterDisplay,
    GradientFlowDisplay,
    GradientRecorder,
    GradientThroughTimeDisplay,
    LossSurfaceDisplay,
    SaliencyDisplay,
    TableDisplay,
    TrainingCurveDisplay,
    WeightRecorder,
    attention_weights,
    check_gradients,
    gradient_through_time,
    input_gradient,
    numerical_gradient,
    trace,
)
from layerkit.inspection.displays.activations import Histogram
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
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
    with raises_exactly(
        ImportError, "TrainingCurveDisplay.plot needs matplotlib: pip install 'layerkit[plot]'"
    ):
        TrainingCurveDisplay([1.0]).plot()


def test_plot_returns_itself_and_leaves_the_style_of_others_alone():
    before = dict(plt.rcParams)
    display = TrainingCurveDisplay([2.0, 1.0])
    assert display.plot() is display
    assert display.figure_ is display.ax_.figure
    assert dict(plt.rcParams) == before


def test_plot_leaves_the_interactive_mode_that_the_first_figure_switches_on():
    class First(TrainingCurveDisplay):
        def draw(self, axes):
            plt.ion()  # as IPython's backend does when it makes its first figure

    plt.ioff()
    try:
        First([1.0]).plot()
        assert plt.isinteractive()
    finally:
        plt.ioff()


def test_plot_draws_where_it_is_told():
    figure, (left, right) = plt.subplots(1, 2, layout="constrained")
    display = TrainingCurveDisplay([2.0, 1.0]).plot(right)
    assert display.ax_ is right and display.figure_ is figure and not left.lines
    display = TrainingCurveDisplay([2.0, 1.0], validation_score=[0.1, 0.2]).plot(left)
    assert display.axes_.shape == (2, 1) and display.figure_ is figure
    assert not left.axison
    assert_nothing_clipped(figure)
    with raises_exactly(ValueError, "several panels need an ax that was made by subplots"):
        TrainingCurveDisplay([2.0], validation_score=[0.1]).plot(figure.add_axes((0, 0, 1, 1)))


X = np.ones((2, 3))
OF_A_NETWORK = {
    trace: (X, X, MeanSquaredError()),
    input_gradient: (X,),
    attention_weights: (X,),
    gradient_through_time: (X,),
    check_gradients: (),
    ActivationDisplay.from_network: (X,),
    AttentionDisplay.from_network: (X,),
    DerivativeDisplay.from_layer: (),
    FilterDisplay.from_layer: (),
    FilterDisplay.from_network: (),
    GradientThroughTimeDisplay.from_network: (X,),
    LossSurfaceDisplay.from_network: (X, X, MeanSquaredError()),
    SaliencyDisplay.from_network: (X,),
}


@pytest.mark.parametrize("look", OF_A_NETWORK, ids=lambda look: look.__qualname__)
def test_what_looks_at_a_network_refuses_all_else_and_says_what_to_give(look):
    name = "layer" if look.__name__ in ("from_layer", "check_gradients") else "network"
    estimator = SimpleNamespace(network_=Dense(3).build(3))
    for given, hint in [
        (estimator, ": give its network_"),
        (Dense, ": that is the class, write Dense(...)"),
        ("dense", ""),
    ]:
        with pytest.raises(TypeError) as error:
            look(given, *OF_A_NETWORK[look])
        assert str(error.value) == f"{name} must be a layer or network, got {given!r}{hint}"


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
    with raises_exactly(
        ValueError,
        "object has no history_: fit it first (and pass the estimator itself, not the "
        "pipeline around it)",
    ):
        TrainingCurveDisplay.from_estimator(object())
    with raises_exactly(ValueError, "the history has no epochs to show"):
        TrainingCurveDisplay.from_history(History())


# -------------------------------------------------------------------------- gradient flow


def test_recorder_notes_the_norm_of_every_layer_with_parameters(rng):
    network = Sequential([Dense(4), Tanh(), Residual(Sequential([Dense(4), ReLU()])), Dense(1)])
    network.build(3, random_state=0)
    recorder, expected = GradientRecorder(every=1), []

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
    with raises_exactly(ValueError, "every must be a positive integer, got 0"):
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
    with raises_exactly(
        ValueError, "norms must have shape (n_steps, n_layers) = (2, 1), got (1, 2)"
    ):
        GradientFlowDisplay([1, 2], [[1.0, 2.0]], ["dense_1"])
    with raises_exactly(
        ValueError, "the recorder has noted nothing: pass it to train(..., callbacks=[recorder])"
    ):
        GradientFlowDisplay.from_recorder(GradientRecorder())


# -------------------------------------------------------------------------- derivatives


def test_derivative_beside_its_function():
    display = DerivativeDisplay.from_layer(Sigmoid(), -3, 3).plot()
    left, right = display.axes_[0]
    x, y = np.array(lines(left)["_child0"]).T
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x)), rtol=1e-12)
    x, slope = np.array(lines(right)["backward"]).T
    y = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(slope, y * (1 - y), rtol=1e-12)
    label = next(label for label in lines(right) if label.startswith("numerical, off by ≤"))
    x, slope = np.array(lines(right)[label]).T
    y = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(slope, y * (1 - y), rtol=1e-8)
    assert len(x) == 24 and x.min() > -3 and x.max() < 3
    assert "slope 0.197 at x = 1" in lines(left)
    tangent = np.array(lines(left)["_child1"])
    rise, run = np.diff(tangent, axis=0)[0][::-1]
    assert rise / run == pytest.approx(0.19661, rel=1e-3)
    assert left.get_title() == "Sigmoid(): f(x)"
    assert_nothing_clipped(display.figure_)


def test_derivative_of_a_wrong_backward_shows_the_error():
    class Wrong(Layer):
        def forward(self, x, training=False):
            self.cache = x
            return x**2

        def backward(self, grad_output):
            return grad_output * self.cache

    display = DerivativeDisplay.from_layer(Wrong(), -2, 2)
    assert display.max_error == pytest.approx(np.abs(display.x_numerical).max())


@pytest.mark.parametrize("layer", [PReLU(), GELU(), PReLU().build((2, 3)), BatchNorm()])
def test_derivative_works_with_parameters_built_or_not(layer):
    was_built = layer.is_built
    display = DerivativeDisplay.from_layer(layer)
    assert display.max_error < 1e-8 and layer.is_built == was_built


@pytest.mark.parametrize("layer", [Softmax(), Dense(2), Flatten().build((2, 2))])
def test_derivative_refuses_functions_of_several_numbers(layer):
    message = f"{layer!r} is no function of one number: an output depends on several inputs"
    with raises_exactly(ValueError, message):
        DerivativeDisplay.from_layer(layer)


def test_derivative_refuses_an_empty_interval():
    with raises_exactly(ValueError, "low must be below high, got 1 and 1"):
        DerivativeDisplay.from_layer(Sigmoid(), 1, 1)


def test_error_against_step_shows_truncation_and_rounding():
    steps = [1e-17, 1e-12, 1e-8, 1e-5, 1e-1]
    display = DerivativeErrorDisplay.from_function(np.sin, 1.0, np.cos(1.0), steps=steps).plot()
    shown = lines(display.ax_)
    for method in ("forward", "central"):
        error = np.array(shown[method])[:, 1]
        assert error[0] == 1  # 1 + h is 1: no digit is right
        assert error[1] > 1e-6 > error[2] and error[4] > 1e-4
        slope = float(numerical_gradient(np.sin, 1.0, method=method, step=1e-5))
        assert error[3] == pytest.approx(abs(slope / np.cos(1.0) - 1), rel=1e-6)
    complex_step = np.array(shown["complex"])[:, 1]
    assert (complex_step[:3] < 3e-16).all() and complex_step[4] > 1e-4
    assert [display.ax_.get_xscale(), display.ax_.get_yscale()] == ["log", "log"]
    assert display.ax_.get_title() == "numerical derivative of sin at x = 1"
    assert_nothing_clipped(display.figure_)


def test_error_against_step_needs_a_slope_and_passes_on_errors_of_f():
    with raises_exactly(
        ValueError, "derivative is zero, so there is no relative error; choose another x"
    ):
        DerivativeErrorDisplay.from_function(np.cos, 0.0, 0.0)
    with raises_exactly(
        ValueError,
        'f returned a real number for complex input; method="complex" needs an f that '
        "takes and returns complex numbers",
    ):
        DerivativeErrorDisplay.from_function(np.abs, 1.0, 1.0)


# -------------------------------------------------------------------------- activations


def test_activations_of_every_layer_that_changes_something(rng):
    network = Sequential([Dense(6), ReLU(), Dropout(0.5), Flatten(), Dense(2)])
    network.build(3, random_state=0, dtype=np.float64)
    x = rng.standard_normal((50, 3))
    display = ActivationDisplay.from_network(network, x)
    assert [h.name for h in display.histograms] == ["dense_1", "relu_1", "dense_2"]
    hidden = network[:1].infer(x)
    dense, relu, _ = display.histograms
    assert dense.counts.sum() == hidden.size and dense.zeros == 0
    assert (dense.mean, dense.std) == pytest.approx((hidden.mean(), hidden.std()))
    assert relu.counts.sum() == (hidden > 0).sum()
    assert relu.zeros == pytest.approx(np.mean(hidden <= 0))
    assert relu.edges[-1] == hidden.max()

    drawn = display.plot()
    assert [ax.get_title() for ax in drawn.axes_[0]] == ["dense_1", "relu_1", "dense_2"]
    assert f"zero: {relu.zeros:.1%}" in drawn.axes_[0, 1].texts[0].get_text()
    assert_nothing_clipped(drawn.figure_)


def test_activations_of_chosen_layers_leave_the_network_alone(rng):
    network = Sequential([Residual(Sequential([Dense(3), Tanh()])), Dropout(0.5), Dense(1)])
    network.build(3, random_state=0)
    chosen = ["residual_1.body.tanh_1", "dropout_1", "residual_1"]
    display = ActivationDisplay.from_network(network, rng.standard_normal((9, 3)), chosen)
    assert [h.name for h in display.histograms] == [chosen[0], "residual_1", "dropout_1"]
    with raises_exactly(RuntimeError, "in Sequential: backward needs a forward before it"):
        network.backward(np.ones((9, 1)))
    with raises_exactly(
        ValueError,
        "no layer 'relu_7' in the network, only sequential, residual_1, residual_1.body, "
        "residual_1.body.dense_1, residual_1.body.tanh_1, dropout_1, dense_1",
    ):
        ActivationDisplay.from_network(network, np.ones((2, 3)), ["relu_7"])


def test_activations_that_are_not_finite_or_all_zero_are_counted():
    network = Sequential([Dense(2), ReLU()]).build(1, dtype=np.float64)
    network[0].params["W"][...] = [[-1.0, np.inf]]
    display = ActivationDisplay.from_network(network, [[1.0], [2.0]])
    dense, relu = display.histograms
    assert dense.nonfinite == 0.5 and dense.mean == -1.5
    assert relu.zeros == 0.5 and relu.counts.sum() == 0
    assert "not finite: 50.0%" in display.plot().axes_[0, 0].texts[0].get_text()


def test_many_layers_fill_rows():
    layers = [Sequential([Dense(4), Tanh()]) for _ in range(5)]
    display = ActivationDisplay.from_network(Sequential(layers).build(4), np.ones((3, 4))).plot()
    assert display.axes_.shape == (3, 4)
    assert [ax.axison for ax in display.axes_[2]] == [True, True, False, False]
    assert_nothing_clipped(display.figure_)


# -------------------------------------------------------------------------- filters


def test_filters_of_the_first_convolution():
    network = Sequential([Conv2D(5, (3, 2)), ReLU(), Conv2D(20, 3)]).build((9, 9, 1), 0)
    display = FilterDisplay.from_network(network).plot()
    W = network[0].params["W"]
    images = display.ax_.images
    assert len(images) == 5
    for f, image in enumerate(images):
        np.testing.assert_array_equal(image.get_array(), W[..., 0, f])
        assert image.get_clim() == pytest.approx((-np.abs(W).max(), np.abs(W).max()))
    assert display.ax_.get_title() == "conv2d_1: 5 kernels, 3 × 2"
    assert_nothing_clipped(display.figure_)


def test_filters_on_many_channels_have_a_row_each():
    layer = Conv2D(20, 3).build((9, 9, 10), 0)
    display = FilterDisplay.from_layer(layer).plot()
    assert len(display.ax_.images) == 16 * 8
    np.testing.assert_array_equal(
        display.ax_.images[8 * 3 + 5].get_array(), layer.params["W"][..., 5, 3]
    )
    assert display.ax_.get_title() == "Conv2D: 16 of 20 kernels, 3 × 3"
    assert display.ax_.get_xlabel() == "input channel (first 8 of 10)"
    assert_nothing_clipped(display.figure_)


def test_filters_on_three_channels_are_colours():
    kernels = np.zeros((2, 2, 3, 2))
    kernels[0, 0, :, 0] = [2, -2, 0]
    image = FilterDisplay(kernels).plot().ax_.images[0].get_array()
    assert image[0, 0].tolist() == [1, 0, 0.5] and image[1, 1].tolist() == [0.5, 0.5, 0.5]


def test_filters_need_kernels():
    with raises_exactly(ValueError, "Sequential has no layer with kernels of two dimensions"):
        FilterDisplay.from_network(Sequential([Conv1D(2, 3)]).build((9, 1)))
    with raises_exactly(ValueError, "in Dense(units=2): has no kernels of two dimensions to show"):
        FilterDisplay.from_layer(Dense(2).build(3))
    with raises_exactly(
        ValueError, "kernels must have shape (height, width, channels, filters), got (3, 3)"
    ):
        FilterDisplay(np.ones((3, 3)))


# -------------------------------------------------------------------------- saliency


def image_network():
    network = Sequential([Conv2D(3, 3), Tanh(), Dropout(0.5), Flatten(), Dense(4)])
    return network.build((5, 5, 1), random_state=0, dtype=np.float64)


def test_input_gradient_of_outputs_and_of_the_loss(rng):
    network, x = image_network(), rng.standard_normal((3, 5, 5, 1))
    network.needs_input_grad = False
    before = network.flat_grads.copy()
    targets = np.array([2, 0, 3])

    def chosen(x):
        return network.infer(x)[np.arange(3), targets].sum()

    gradient = input_gradient(network, x, targets)
    np.testing.assert_allclose(gradient, numerical_gradient(chosen, x), atol=1e-9)
    loss = CategoricalCrossEntropy()
    gradient = input_gradient(network, x, targets, loss)
    expected = numerical_gradient(lambda x: loss.forward(network.infer(x), targets), x)
    np.testing.assert_allclose(gradient, expected, atol=1e-9)
    largest = network.infer(x).argmax(axis=1)
    np.testing.assert_array_equal(input_gradient(network, x), input_gradient(network, x, largest))
    assert network.flat_grads.tolist() == before.tolist() and not network.needs_input_grad


def test_input_gradient_refuses_targets_that_do_not_fit(rng):
    network, x = image_network(), rng.standard_normal((2, 5, 5, 1))
    for targets in ([1], [0.5, 1.0]):
        with raises_exactly(
            ValueError,
            re.compile(
                r"targets must be the position of one output for each of the 2 samples, got "
                r".*,\)"
            ),
        ):
            input_gradient(network, x, targets)
    with raises_exactly(ValueError, "targets must be from 0 to 3, got [0, 4]"):
        input_gradient(network, x, [0, 4])


def test_saliency_shows_images_above_their_gradients(rng):
    network, x = image_network(), rng.random((3, 5, 5, 1))
    display = SaliencyDisplay.from_network(network, x, titles=["a", "b", "c"]).plot()
    size = np.abs(input_gradient(network, x))[..., 0]
    for k, (above, below) in enumerate(display.axes_.T):
        np.testing.assert_array_equal(above.images[0].get_array(), x[k, ..., 0])
        np.testing.assert_allclose(below.images[0].get_array(), size[k] / size[k].max())
    assert [ax.get_title() for ax in display.axes_[0]] == ["a", "b", "c"]
    assert_nothing_clipped(display.figure_)


def test_saliency_takes_the_largest_channel_and_no_gradient_at_all():
    images, gradients = np.zeros((2, 2, 2, 3)), np.zeros((2, 2, 2, 3))
    gradients[0, 1, 0] = [1, -4, 2]
    gradients[0, 0, 0] = [2, 0, 0]
    saliency = SaliencyDisplay(images, gradients).saliency
    assert saliency.tolist() == [[[0.5, 0], [1, 0]], [[0, 0], [0, 0]]]
    with raises_exactly(
        ValueError,
        "images and gradients must both have shape (n_images >= 1, height, width, 1 or "
        "3), got (2, 2, 2, 3) and (2, 2, 2)",
    ):
        SaliencyDisplay(images, gradients[..., 0])
    with raises_exactly(
        ValueError,
        "images and gradients must both have shape (n_images >= 1, height, width, 1 or "
        "3), got (0, 2, 2, 3) and (0, 2, 2, 3)",
    ):
        SaliencyDisplay(images[:0], gradients[:0])
    with raises_exactly(ValueError, "2 images need as many titles, got ['a']"):
        SaliencyDisplay(images, gradients, titles=["a"])


def test_no_input_gradient_through_an_embedding_of_integers():
    network = Sequential([Embedding(5, 2), Flatten(), Dense(1)]).build(2, random_state=0)
    assert not np.any(input_gradient(network, [[1, 2]]))


# -------------------------------------------------------------------------- loss surface


def test_loss_surface_is_the_loss_on_the_plane(rng):
    network = Sequential([Dense(3), Tanh(), Dense(2)]).build(2, random_state=0, dtype=np.float64)
    x, y, loss = rng.standard_normal((10, 2)), np.arange(10) % 2, CategoricalCrossEntropy()
    start = network.flat_params.copy()
    directions = rng.standard_normal((2, network.n_params))
    display = LossSurfaceDisplay.from_network(
        network, x, y, loss, directions=directions, span=0.5, n=3, path=[start + directions[1]]
    )
    assert network.flat_params.tolist() == start.tolist()
    np.testing.assert_allclose(display.path, [[0, 1]], atol=1e-12)
    for i, b in enumerate((-0.5, 0, 0.5)):
        for j, a in enumerate((-0.5, 0, 0.5)):
            network.flat_params[...] = start + a * directions[0] + b * directions[1]
            assert display.losses[i, j] == pytest.approx(loss.forward(network.infer(x), y))
    display.plot()
    assert lines(display.ax_)["network"] == [[0, 0]]
    np.testing.assert_allclose(lines(display.ax_)["start"], [[0, 1]], atol=1e-12)
    assert_nothing_clipped(display.figure_)


def test_loss_surface_along_random_directions_normalised_by_filter():
    network = Sequential([Conv2D(4, 2), BatchNorm(), Flatten(), Dense(3)]).build((3, 3, 2), 0)
    x, y = np.random.default_rng(0).standard_normal((6, 3, 3, 2)), np.zeros(6, int)
    from layerkit.inspection.displays.loss_surface import _random_direction

    direction = _random_direction(network, np.random.default_rng(1))
    for slot in network.layout:
        part = direction[slot.slice].reshape(-1, slot.shape[-1])
        weights = network.flat_params[slot.slice].reshape(-1, slot.shape[-1])
        expected = np.linalg.norm(weights, axis=0) if slot.path.endswith("W") else 0
        np.testing.assert_allclose(np.linalg.norm(part, axis=0), expected, rtol=1e-6)

    loss = CategoricalCrossEntropy()
    first, again, other = (
        LossSurfaceDisplay.from_network(network, x, y, loss, n=3, random_state=seed).losses
        for seed in (0, 0, 1)
    )
    assert first.tolist() == again.tolist() != other.tolist()
    assert first[1, 1] == pytest.approx(loss.forward(network.infer(x), y))


def test_loss_surface_along_the_path(rng):
    recorder = WeightRecorder(every=2)
    network = Sequential([Dense(3), Tanh(), Dense(1)])
    regression_run(network, rng, epochs=5, batch_size=10, callbacks=[recorder])
    assert len(recorder.weights) == 10
    np.testing.assert_array_equal(recorder.weights[-1], network.flat_params)
    x = rng.standard_normal((10, 3))
    y = x.sum(axis=1, keepdims=True)
    display = LossSurfaceDisplay.from_network(
        network, x, y, MeanSquaredError(), path=recorder.weights, n=4
    )
    moves = np.array(recorder.weights, float) - network.flat_params
    variance = np.linalg.svd(moves, compute_uv=False) ** 2
    share = variance[0] / variance.sum()
    assert display.labels[0] == f"principal direction 1 ({share:.0%} of the path)"
    # Both directions are orthonormal, so lengths along them are those of the first components.
    assert (display.path[:, 0] ** 2).sum() == pytest.approx(variance[0])
    np.testing.assert_allclose(display.path[-1], 0, atol=1e-12)
    for points, grid in zip(display.path.T, (display.a, display.b), strict=True):
        assert grid[0] < points.min() <= points.max() < grid[-1]
    assert_nothing_clipped(display.plot().figure_)


def test_a_display_of_no_layers_is_refused():
    with raises_exactly(ValueError, "there are no layers to show"):
        ActivationDisplay([])


def test_loss_surface_refusals(rng):
    network = Dense(1).build(2, random_state=0)
    x, y, loss = np.ones((2, 2)), np.ones((2, 1)), MeanSquaredError()

    def surface(**options):
        return LossSurfaceDisplay.from_network(network, x, y, loss, **options)

    with raises_exactly(ValueError, 'directions="pca" needs a path of at least two points'):
        surface(directions="pca")
    with raises_exactly(
        ValueError, "the path is a straight line: give directions, or use random ones"
    ):
        surface(path=[network.flat_params + 2, network.flat_params + 1])
    for directions in ("gradient", ([1.0, 2.0], [3.0, 4.0]), np.ones((3, 3))):
        with raises_exactly(
            ValueError,
            'directions must be "auto", "random", "pca" or a pair of vectors of size 3, got '
            f"{directions!r}",
        ):
            surface(directions=directions)
    with raises_exactly(ValueError, "n must be an integer of at least 2, got 1"):
        surface(n=1)
    with raises_exactly(ValueError, "every must be a positive integer, got 0"):
        WeightRecorder(every=0)
    with raises_exactly(ValueError, "losses must have shape (n_b, n_a) = (1, 2), got (2, 1)"):
        LossSurfaceDisplay([0, 1], [0], [[1], [2]])
    one = Dense(1, use_bias=False).build(1, random_state=0)
    with raises_exactly(
        ValueError, "the path is a straight line: give directions, or use random ones"
    ):
        LossSurfaceDisplay.from_network(one, [[1.0]], [[1.0]], loss, path=[[3.0], [2.0], [0.0]])


@pytest.mark.parametrize(
    "loss, message", [(1.0, "1 on the whole grid"), (np.nan, "not finite anywhere on the grid")]
)
def test_a_picture_that_fails_leaves_no_figure(loss, message):
    before = plt.get_fignums()
    with raises_exactly(ValueError, f"the loss is {message}: nothing to draw"):
        LossSurfaceDisplay([0, 1], [0, 1], np.full((2, 2), loss)).plot()
    assert plt.get_fignums() == before


def test_loss_surface_leaves_gaps_where_the_loss_is_not_finite():
    losses = [[np.inf, 1.0, 2.0], [np.nan, 2.0, 3.0], [1.0, 2.0, 100.0]]
    display = LossSurfaceDisplay([0, 1, 2], [0, 1, 2], losses).plot()
    assert_nothing_clipped(display.figure_)


# -------------------------------------------------------------------------- looks


@pytest.mark.parametrize(
    "make, size",
    [
        (lambda: FilterDisplay(np.ones((2, 2, 1, 1))), (3.6, 2.0)),
        (lambda: FilterDisplay(np.ones((9, 1, 1, 64))), (0.55 * 12 + 2.1, 0.55 * 3 * 6 + 0.9)),
        (lambda: FilterDisplay(np.ones((1, 9, 20, 99))), (0.55 * 8 + 2.1, 0.55 * 0.3 * 16 + 0.9)),
        (lambda: SaliencyDisplay(*np.ones((2, 5, 3, 3, 1))), (9.1, 3.6)),
        (lambda: AttentionDisplay(np.ones((1, 2, 2))), (4.0, 3.1)),
        (lambda: AttentionDisplay(np.ones((9, 2, 2))), (11.6, 8.3)),
        (lambda: TrainingCurveDisplay([2.0, 1.0]), (6.4, 4.2)),
        (lambda: ActivationDisplay([None] * 3), (7.8, 2.4)),
        (lambda: ActivationDisplay([None] * 5), (10.4, 4.5)),
        (lambda: ActivationDisplay([None] * 12), (10.4, 6.6)),
        (lambda: TableDisplay(["a"] * 2, ["b"] * 2, [None] * 2), (8.4, 2.6)),
        (lambda: TableDisplay(["a"] * 9, ["b"] * 9, [None] * 9), (12.6, 7.8)),
    ],
)
def test_a_figure_is_as_large_as_what_it_shows(make, size):
    assert make().figsize == pytest.approx(size)


def of_table():
    """A table with a column of each kind: numbers, 2, 5, 12 and 31 levels, and a constant."""
    X = [[k / 7, "ab"[k % 2], f"level {k % 5} of a long name", f"{k % 12}"] for k in range(60)]
    X = [[*row, f"{k % 31}", 1.0] for k, row in enumerate(X)]
    encoder = TableEncoder(max_onehot=9).fit(X)
    X[0][1:5] = [None] * 4
    return TableDisplay.from_estimator(encoder, X)


def surface(losses, **more):
    return LossSurfaceDisplay([-1, 0, 1], [-2, 0, 2, 4], losses, labels=("to", "fro"), **more)


EPOCHS = [
    {"epoch": i, "loss": 1 / i, "validation_loss": 2 / i, "validation_score": i, "learning_rate": 1}
    for i in (1, 2, 3)
]
RAMP = np.linspace(-1, 1, 2 * 3 * 5 * 18).reshape(2, 3, 5, 18)
LONG = np.exp(np.arange(160.0).reshape(80, 2) % 7)
# Every branch of every display; what they draw is in data/figures.txt.
FIGURES = {
    "training curve": lambda: TrainingCurveDisplay.from_history(
        History(EPOCHS), learning_rate=True
    ),
    "training curve, long": lambda: TrainingCurveDisplay(1 / np.arange(1.0, 41), best_epoch=7),
    "training curve, best epoch": lambda: TrainingCurveDisplay(
        [3, 2, 1], [3, 1, 2], [0.1, 0.9, 0.5], best_epoch=2
    ),
    "gradient flow": lambda: GradientFlowDisplay([1, 2], [[1, 2], [3, 4]], ["a", "b"]),
    "gradient flow, many steps": lambda: GradientFlowDisplay(range(80), LONG, ["a", "b"]),
    "gradient flow, many layers": lambda: GradientFlowDisplay(
        [1, 2], np.arange(30.0).reshape(2, 15), [f"layer {k}" for k in range(15)]
    ),
    "through time": lambda: GradientThroughTimeDisplay(
        {"rnn": np.array([1, 0, 4]), "gru": [3.0, 2.0]}
    ),
    "derivative": lambda: DerivativeDisplay([0, 1], [0, 2], [2, 2], [0.5], [2], 1e-9, "g", 3.0),
    "derivative, exact": lambda: DerivativeDisplay([-1, 1], [0, 2], [1, 1], [0.5], [1], 0),
    "derivative error": lambda: DerivativeErrorDisplay(
        [1e-4, 1e-3, 1e-2],
        {"forward": [1e-3, 1e-2, 0], "central": [1e-7, 1e-6, 1e-5], "complex": [0, 0, 0]},
        {"forward": 1e-4, "central": 1e-3, "complex": 1e-2},
        "sin at x = 1",
    ),
    "activations": lambda: ActivationDisplay(
        [
            Histogram(f"layer {k}", np.array([k, 2, 0]), np.arange(4) - k, k, 1, k / 8, k / 4)
            for k in range(6)
        ]
    ),
    "filters": lambda: FilterDisplay(RAMP[:, :, :1], "first"),
    "filters, colours": lambda: FilterDisplay(RAMP[:, :, 1:4, :4]),
    "filters, many channels": lambda: FilterDisplay(RAMP, "many"),
    "filters, too many channels": lambda: FilterDisplay(np.ones((1, 4, 9, 1))),
    "saliency": lambda: SaliencyDisplay(
        RAMP[..., :2, 0].reshape(2, 2, 3, 1), RAMP[..., 1:3, 7].reshape(2, 2, 3, 1), titles="ab"
    ),
    "saliency, colours": lambda: SaliencyDisplay(
        RAMP[1:, :, 0, :2].reshape(1, 2, 1, 3), RAMP[:1, :, 3, 7:9].reshape(1, 2, 1, 3)
    ),
    "loss surface": lambda: surface(
        [[np.inf, 1.0, 2.0], [np.nan, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 1.0, 4.0]],
        path=[[1, 2], [0.5, 1], [0, 0]],
    ),
    "loss surface, logarithmic": lambda: surface(2.0 ** np.arange(12).reshape(4, 3)),
    "attention": lambda: AttentionDisplay(np.linspace(0, 0.9, 45).reshape(5, 3, 3), name="b"),
    "attention, one head": lambda: AttentionDisplay(
        [[[0.2, 0.6], [0.5, 0.5]]], ["one", "two"], "block_1"
    ),
    "table": of_table,
    "table, long names": lambda: TableDisplay(
        ["n" * 37, "n" * 36], ["d" * 45, "d" * 44], [None] * 2
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_everything_drawn_is_as_it_was(name):
    """Renew the file with ``python tests/portraits.py`` where that is meant; its diff says it."""
    assert_alike(portrait(FIGURES[name]().plot().figure_), read()[name])


def test_every_portrait_has_its_figure():
    assert list(read()) == list(FIGURES)
