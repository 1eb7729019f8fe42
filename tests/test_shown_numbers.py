"""Numbers that are only shown are the right ones: read back from the text and from the table."""

import re

import numpy as np
import pytest
from cases import CASES

from layerkit import BatchNorm, Conv2D, Dense, Flatten, ReLU, Residual, Sequential, Tanh
from layerkit.inspection import trace
from layerkit.inspection.displays import ActivationDisplay
from layerkit.losses import CategoricalCrossEntropy, MeanSquaredError
from layerkit.optimizers import SGD, Adam

NUMBER = r"[-+]?(?:nan|inf|\d+\.?\d*(?:e[-+]?\d+)?)"


def cells(line):
    return [cell for cell in re.split(r"\s{2,}", line.strip()) if cell]


def text_of(value):
    return f"{value:.4g}"


def shown_array(text, name):
    """The numbers that stand after ``name =``, until its brackets close."""
    found = re.search(rf"(?<![\w/.]){re.escape(name)} = (\[)", text)
    assert found, f"{name} is not shown"
    depth = 0
    for end, character in enumerate(text[found.start(1) :], found.start(1)):
        depth += {"[": 1, "]": -1}.get(character, 0)
        if depth == 0:
            return text[found.start(1) : end]
    raise AssertionError(text)


def statistics(array):
    values = array.mean(), array.std(), array.min(), array.max(), np.linalg.norm(array)
    return dict(zip(("mean", "std", "min", "max", "norm"), values, strict=True))


def assert_shown(text, name, array):
    large = re.search(rf"(?<![\w/.]){re.escape(f'{name} {array.shape}: ')}(.*)", text)
    if large:
        parts = large[1].split(", ")
        for (what, value), part in zip(statistics(array).items(), parts, strict=True):
            assert part == f"{what} {text_of(value)}"
        return
    part = shown_array(text, name)
    if "..." not in part:
        numbers = [float(n) for n in re.findall(NUMBER, part)]
        assert len(numbers) == array.size
        np.testing.assert_allclose(numbers, array.ravel(), rtol=1e-3, atol=6e-5)


def arrays_of(step):
    """All arrays of a layer, by the names under which they are shown."""
    neuron = step.is_neuron
    arrays = {"x": step.input, **step.params, "z" if neuron else "y": step.output}
    arrays["dL/dz" if neuron else "G = dL/dy"] = step.grad_output
    if step.local.elementwise:
        arrays["f'(x)"] = step.local.values
    arrays |= {f"dL/d{name}": grad for name, grad in step.grads.items()}
    return arrays | ({} if step.grad_input is None else {"dL/dx": step.grad_input})


@pytest.mark.parametrize("start, rows", [(0, 20), (1, 1)])
def test_every_array_of_a_trace_is_shown_with_its_numbers(start, rows, rng):
    for case in CASES[start::2]:
        layer, x = case.build(), case.sample(max(rows, case.least_rows))
        y = rng.standard_normal(layer.infer(x).shape)
        walk = trace(layer, x, y, MeanSquaredError())
        for step in walk.steps:
            for name, array in arrays_of(step).items():
                assert_shown(str(step), name, np.asarray(array))
        walked = str(walk)
        for step in walk.steps if "FORWARD" in walked else ():
            assert all(f"{name} = " in walked or f"{name} (" in walked for name in arrays_of(step))


def lopsided(rng):
    """A network whose outputs have another least and largest number, mean and deviation."""
    network = Sequential(
        [Conv2D(8, 3), BatchNorm(), ReLU(), Residual(Sequential([Conv2D(8, 3, padding="same"),
         Tanh()])), Flatten(), Dense(3)]
    ).build((8, 8, 1), random_state=0)  # fmt: skip
    x = 3 + rng.standard_normal((16, 8, 8, 1)) ** 3
    return trace(network, x, np.arange(16) % 3, CategoricalCrossEntropy(), optimizer=Adam(0.1))


def test_the_table_of_a_large_trace_cell_by_cell(rng):
    walk = lopsided(rng)
    lines = str(walk).splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("layer"))
    assert cells(lines[head]) == [
        "layer", "output", "mean", "std", "min", "max", "norm of dL/dy", "norms of gradients",
    ]  # fmt: skip
    rows = {cells(line)[0]: cells(line)[1:] for line in lines[head + 1 :] if line.strip()}
    first = walk.steps[0]
    expected = {"input": (first.input, first.grad_input, {}, {})}
    expected |= {s.name: (s.output, s.grad_output, s.grads, s.params) for s in walk.steps}
    for name, (output, gradient, grads, params) in expected.items():
        values = statistics(output)
        assert len({text_of(value) for value in values.values()}) == 5  # else a swap is not seen
        shown = [str(output.shape), *(text_of(values[w]) for w in ("mean", "std", "min", "max"))]
        shown.append(text_of(np.linalg.norm(gradient)))
        of_params = [
            f"|dL/d{k}| {text_of(np.linalg.norm(g))} (|{k}| {text_of(np.linalg.norm(params[k]))})"
            for k, g in grads.items()
        ]
        assert rows[name] == [*shown, *([", ".join(of_params)] if of_params else [])]
    assert all(text_of(walk.loss.value) in text for text in (lines[0], walk._repr_html_()))
    for row in rows.values():  # the notebook shows the same
        assert all(cell in walk._repr_html_() for cell in row[:6])


@pytest.mark.parametrize("optimizer", [SGD(0.1), Adam(0.01)], ids=["SGD", "Adam"])
def test_a_step_is_shown_number_by_number(optimizer, rng):
    network = Sequential([Dense(2), Tanh(), Dense(1)]).build(3, random_state=0, dtype=np.float64)
    x, y = rng.standard_normal((5, 3)), rng.standard_normal((5, 1))
    descent = trace(network, x, y, MeanSquaredError(), optimizer=optimizer).descent
    walk = trace(network, x, y, MeanSquaredError(), optimizer=optimizer)
    text = str(walk)
    columns = descent.before, descent.grads, descent.steps, descent.after
    for name, before in descent.before.items():
        for index in np.ndindex(before.shape):
            place = f"{name}[{', '.join(map(str, index))}]"
            line = next(line for line in text.splitlines() if place in line)
            shown = [float(cell) for cell in cells(line)[1:]]
            np.testing.assert_allclose(shown, [c[name][index] for c in columns], rtol=1e-3)
            assert descent.after[name][index] == before[index] + descent.steps[name][index]
    network.forward(x, training=True)
    assert f"L before {text_of(descent.loss_before)}, after {text_of(descent.loss_after)}" in text
    assert descent.loss_before == walk.loss.value != descent.loss_after
    word = "down" if descent.loss_after < descent.loss_before else "up"
    assert f"{word} by {text_of(abs(descent.loss_after - descent.loss_before))}" in text


def test_shares_in_a_histogram_are_counted(rng):
    x = rng.standard_normal((40, 3))
    x[:7, 0], x[7:9, 1] = np.nan, np.inf
    network = ReLU().build(3, dtype=np.float64)
    y = network.infer(x)
    finite = y[np.isfinite(y)]
    display = ActivationDisplay.from_network(network, x)
    (shown,) = display.histograms
    assert shown.nonfinite == pytest.approx(9 / 120)
    assert (shown.mean, shown.std) == pytest.approx((finite.mean(), finite.std()))
    assert shown.zeros == pytest.approx(np.mean(y == 0))
    assert shown.counts.sum() == np.sum(finite > 0)
    assert display.plot().axes_[0, 0].texts[0].get_text().splitlines() == [
        f"{finite.mean():.2g} ± {finite.std():.2g}",
        f"zero: {np.mean(y == 0):.1%}",
        "not finite: 7.5%",
    ]


# ---------------------------------------------------------------- colours and sentences


@pytest.mark.parametrize("highest, logarithmic", [(9.9, False), (10.0, False), (10.1, True)])
def test_losses_of_more_than_one_order_of_magnitude_are_coloured_by_their_logarithm(
    highest, logarithmic
):
    colors = pytest.importorskip("matplotlib.colors")
    from layerkit.inspection.displays import LossSurfaceDisplay

    display = LossSurfaceDisplay([0, 1, 2], [0, 1], [[1, 2, 3], [4, 5, highest]]).plot()
    norms = {type(c.norm) for c in display.axes_.flat[0].collections}
    assert (colors.LogNorm in norms) == logarithmic


def test_a_class_is_introduced_by_its_first_sentence_and_its_first_reference():
    from layerkit.inspection.catalogue.entry import said_of

    class Said:
        """Do one thing,
        and do it well.

        More is said here.

        References
        ----------
        Somebody, "Somewhere",
        1999.

        Another, 2000.
        """

    assert said_of(Said) == ("Do one thing, and do it well.", 'Somebody, "Somewhere", 1999')
