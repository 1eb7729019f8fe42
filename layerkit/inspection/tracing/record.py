"""What a trace holds: one forward and one backward pass, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from layerkit.inspection.shown import Printed, Shown, as_page
from layerkit.sequences import Sequences
from layerkit.tables import number

LARGEST = 40
"""Arrays of more numbers than this are summarised, and their equations not written out."""


def is_small(*arrays: np.ndarray | None) -> bool:
    """Whether each array is worth printing in full."""
    return all(a is None or math.prod(a.shape) <= LARGEST for a in arrays)


class Equation(NamedTuple):
    """One number and where it comes from: ``left = symbols = numbers = value``."""

    left: str
    symbols: str
    numbers: str
    value: float

    @property
    def sides(self) -> tuple[str, str, str, str]:
        """All four as text; empty where one only repeats the value."""
        value = number(self.value)
        symbols, numbers = (
            "" if side in (value, f"({value})") else side for side in (self.symbols, self.numbers)
        )
        return self.left, symbols, numbers, value

    def __str__(self) -> str:
        return " = ".join(filter(None, self.sides))


class LocalDerivative(NamedTuple):
    """dy/dx in words; as numbers where they are few.

    ``values`` is f'(x), shaped like x, for an elementwise function; W for a Dense layer; else the
    Jacobian of shape (n_samples, *output_shape, n_samples, *input_shape), which also shows where
    samples mix (BatchNorm), or None if the layer is large. ``by_param`` has for each parameter
    dy/dθ of shape (n_samples, *output_shape, *param_shape).
    """

    formula: str
    values: Any = None
    elementwise: bool = False
    by_param: dict[str, np.ndarray] = {}  # noqa: RUF012  (never written to)


@dataclass(eq=False, repr=False)
class ThroughTime(Printed):
    """What a recurrent layer did at every step of every row, and the gradients on their way back.

    Each is rows of steps: ``values["h"][n][t]`` is the state of row n after its step t, a vector of
    ``units`` numbers. t counts in the order in which the layer reads.

    Attributes
    ----------
    values : dict of str to Sequences
        ``h``, of an LSTM also ``c``; the gates by their letters, ``i f g o`` or ``r z n``, and of a
        GRU ``q``, which the reset multiplies.
    before : dict of str to Sequences
        The states that each step went on from.
    gradients : dict of str to Sequences
        Where the gradient of a state came from, then the sum: ``G`` from the layer's output,
        ``from U`` from the next step through the product, of a GRU ``from z`` from the next step
        through what it kept, and ``dL/dh``. Of an LSTM the same for the cell: ``from h``,
        ``from f`` and ``dL/dc``. ``dL/da`` is that of a = x W + h U + b, all gates side by side,
        and of a GRU ``dL/d(hU)`` that of the product.
    """

    values: dict[str, Sequences]
    before: dict[str, Sequences]
    gradients: dict[str, Sequences]


@dataclass(eq=False, repr=False)
class LayerStep(Printed):
    """One layer's part in the two passes; printing it shows both in full.

    Attributes
    ----------
    name, label : str
        ``dense_1`` and ``Dense(units=2)``.
    input, output : ndarray
        What came in and went out in the forward pass, x and y.
    params, grads : dict of str to ndarray
        θ and dL/dθ.
    grad_output, grad_input : ndarray
        What came in and went out in the backward pass, dL/dy and dL/dx.
    local : LocalDerivative
        dy/dx: in words, and as an array where that is small enough.
    forward, derivatives, backward : list of Equation
        The numbers written out: y, the local derivatives, and the chain rule for dL/dθ and dL/dx.
        Empty for a large layer.
    frozen, is_neuron : bool
        A neuron is a Dense layer with one unit that reads a single sample of the data; it is
        written as in a textbook, z = w1 x1 + w2 x2 + b.
    time : ThroughTime or None
        Of a recurrent layer, all its steps.
    """

    name: str
    label: str
    input: np.ndarray
    output: np.ndarray
    params: dict[str, np.ndarray]
    grads: dict[str, np.ndarray]
    grad_output: np.ndarray
    grad_input: np.ndarray | None
    local: LocalDerivative
    frozen: bool = False
    is_neuron: bool = False
    time: ThroughTime | None = None
    forward: list[Equation] = field(default_factory=list)
    derivatives: list[Equation] = field(default_factory=list)
    backward: list[Equation] = field(default_factory=list)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The arrays of the forward pass, by the letters of the formulas: x, parameters, y."""
        return {"x": self.input, **self.params, "y": self.output}

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """The arrays of the backward pass: G, f'(x) if elementwise, dL/dθ, and dL/dx if known."""
        found = {"G": self.grad_output}
        if self.local.elementwise:
            found["f'(x)"] = self.local.values
        found |= {f"dL/d{name}": grad for name, grad in self.grads.items()}
        return found if self.grad_input is None else {**found, "dL/dx": self.grad_input}


@dataclass(eq=False)
class LossStep:
    """The end of the forward pass and the start of the backward pass.

    Attributes
    ----------
    label : str
    value : float
        L.
    y_pred, y_true : ndarray
    prediction : ndarray or None
        y_pred on the scale of the targets (probabilities, say), where that is another.
    gradient : ndarray
        dL/dy_pred.
    value_formula, derivative_formula : str
        Of a single sample, as the gradient catalogue has them; empty for a loss of your own.
    forward, backward : list of Equation
        L and dL/dy_pred written out with their numbers; empty for many samples.
    """

    label: str
    value: float
    y_pred: np.ndarray
    y_true: np.ndarray
    gradient: np.ndarray
    prediction: np.ndarray | None = None
    value_formula: str = ""
    derivative_formula: str = ""
    forward: list[Equation] = field(default_factory=list)
    backward: list[Equation] = field(default_factory=list)

    @property
    def values(self) -> dict[str, np.ndarray]:
        """The arrays of the forward pass but L itself."""
        found = {"y_pred": self.y_pred, "y_true": self.y_true}
        return found if self.prediction is None else {**found, "predicted": self.prediction}


@dataclass(eq=False)
class Descent:
    """One step of an optimizer, taken on a copy.

    Attributes
    ----------
    optimizer : str
    rate : float
        Learning rate of this step.
    before, grads, steps, after : dict of str to ndarray
        By parameter (``dense_1.W``); ``after = before + step``.
    loss_before, loss_after : float
        On the same data, in the same mode, with the same noise.
    """

    optimizer: str
    rate: float
    before: dict[str, np.ndarray]
    grads: dict[str, np.ndarray]
    steps: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    loss_before: float
    loss_after: float

    @property
    def is_plain(self) -> bool:
        """Whether every parameter moved by -rate times its gradient."""
        return all(
            np.allclose(self.after[name], before - self.rate * self.grads[name], rtol=1e-6)
            for name, before in self.before.items()
        )


@dataclass(eq=False, repr=False)
class BackpropTrace(Shown):
    """Every number of one forward and one backward pass.

    Printing it walks through both, the forward pass downwards and the backward pass upwards; in a
    notebook they stand side by side, and `to_html` makes a page to step through. A network of more
    than a few numbers becomes a table; ``trace["dense_1"]`` still shows one layer of it.

    Attributes
    ----------
    network : str
    training : bool
        The mode of the forward pass.
    steps : list of LayerStep
        In forward order.
    loss : LossStep
    descent : Descent or None
        What one step of the optimizer would do.
    """

    network: str
    training: bool
    steps: list[LayerStep]
    loss: LossStep
    descent: Descent | None = None

    def __getitem__(self, name: str) -> LayerStep:
        """Return the step of a layer by its name."""
        for step in self.steps:
            if step.name == name:
                return step
        raise KeyError(f"no layer {name!r} in the trace, only {', '.join(self.names)}")

    def to_html(self, path: str | PathLike | None = None) -> str:
        """Write a page on which one steps through both passes, number by number.

        It needs no server and loads nothing; the keys → and ← step. Pointing at a weight shows
        where its gradient came from, back to the loss.

        Parameters
        ----------
        path : str or path, optional
            Where to write it.

        Returns
        -------
        page : str
            In HTML.
        """
        page = as_page(self)
        if path is not None:
            Path(path).write_text(page, encoding="utf-8")
        return page

    @property
    def names(self) -> list[str]:
        """The steps' names, in forward order."""
        return [step.name for step in self.steps]
