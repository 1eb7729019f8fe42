"""One forward and one backward pass, recorded layer by layer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.catalogue import in_one_line
from layerkit.inspection.paths import check_network, layer_names
from layerkit.inspection.tracing.equations import (
    equations_of,
    is_neuron,
    local_derivative,
    loss_equations,
)
from layerkit.inspection.tracing.record import BackpropTrace, Descent, LayerStep, LossStep
from layerkit.inspection.tracing.through_time import through_time, time_equations
from layerkit.layer import Layer
from layerkit.layers import Sequential
from layerkit.layers.recurrent import Recurrent
from layerkit.losses import Loss
from layerkit.optimizers import LBFGS, Optimizer
from layerkit.parameters import check_object, written_as
from layerkit.sequences import Sequences, as_sequences, numbers

_LINE = "trace(network, x, y, loss); of a fitted estimator the network is estimator.network_"


@written_as(_LINE)
def trace(
    network: Layer,
    x: ArrayLike,
    y: ArrayLike,
    loss: Loss,
    sample_weight: ArrayLike | None = None,
    *,
    training: bool = True,
    optimizer: Optimizer | None = None,
) -> BackpropTrace:
    r"""Walk through one backward pass, number by number.

    For each layer: the value going in and out, the local derivative, the gradient coming in and
    going out, each parameter's gradient, and the chain rule that connects them, written out:

    .. math:: \frac{\partial L}{\partial x} = \frac{\partial y}{\partial x}^{\!\top}
              \frac{\partial L}{\partial y}, \qquad
              \frac{\partial L}{\partial \theta} = \frac{\partial y}{\partial \theta}^{\!\top}
              \frac{\partial L}{\partial y}

    Parameters
    ----------
    network : Layer
        Built; may be a single layer.
    x, y : array
        A batch, as for `train`. One or two samples read best.
    loss : Loss
        Of `layerkit.losses`, or your own.
    sample_weight : array of shape (n_samples,), optional
        As for ``loss.forward``.
    training : bool, default=True
        Whether the forward pass is one of training (dropout drops, BatchNorm looks at the batch).
    optimizer : Optimizer, optional
        Show also one step of it: parameters before and after, their gradient, the loss before and
        after.

    Returns
    -------
    trace : BackpropTrace
        Prints as text, shows as a table in a notebook, holds all numbers as data.

    Raises
    ------
    ValueError
        If x, y, loss and network do not fit together, or the optimizer is LBFGS.

    Notes
    -----
    All happens on copies: network, loss and optimizer stay as they were, state, caches and random
    streams included. The numbers are in the network's own dtype.

    Examples
    --------
    One neuron, as in a textbook:

    >>> from layerkit import Dense
    >>> from layerkit.losses import MeanSquaredError
    >>> neuron = Dense(1).build(2, dtype="float64")
    >>> neuron.params["W"][...] = [[0.5], [-0.25]]
    >>> neuron.params["b"][...] = 0.1
    >>> walk = trace(neuron, [[1.0, 2.0]], [[1.0]], MeanSquaredError())
    >>> print(*walk.steps[0].forward, *walk.steps[0].backward, sep="\n")
    z = w1 x1 + w2 x2 + b = 0.5 × 1 + (-0.25) × 2 + 0.1 = 0.1
    dL/dw1 = dL/dz dz/dw1 = (-1.8) × 1 = -1.8
    dL/dw2 = dL/dz dz/dw2 = (-1.8) × 2 = -3.6
    dL/db = dL/dz dz/db = (-1.8) × 1 = -1.8
    dL/dx1 = dL/dz dz/dx1 = (-1.8) × 0.5 = -0.9
    dL/dx2 = dL/dz dz/dx2 = (-1.8) × (-0.25) = 0.45
    """
    check_network(network)
    check_object("loss", loss, ("forward", "backward"), "a loss, such as MeanSquaredError()")
    if isinstance(optimizer, LBFGS):
        raise ValueError("trace shows one step from one gradient, which LBFGS does not take")
    original, loss = network, copy.copy(loss)
    network = copy.deepcopy(original)
    network.needs_input_grad = True
    x = as_sequences(x)
    if not isinstance(x, Sequences):
        x = np.array(x.toarray() if hasattr(x, "toarray") else x)  # type: ignore[union-attr]
    passes = _Passes(network)
    with network.observed(passes):
        y_pred = network.forward(x, training=training)
        value = loss.forward(y_pred, y, sample_weight)
        gradient = loss.backward()
        network.backward(gradient)
    grads = network.flat_grads.copy() if network.is_built else np.zeros(0)
    traced = BackpropTrace(
        network=network.label,
        training=training,
        steps=passes.steps(),
        loss=_loss_step(loss, value, y_pred, y, sample_weight, gradient),
    )
    if optimizer is not None:
        after = copy.deepcopy(original)  # its random streams are where the first forward found them
        descent = _descend(after, grads, copy.deepcopy(optimizer))
        descent.loss_before = value
        descent.loss_after = loss.forward(after.forward(x, training=training), y, sample_weight)
        traced.descent = descent
    return traced


class _Passes:
    """Observer that pairs each layer's forward with its backward."""

    def __init__(self, network: Layer) -> None:
        names = layer_names(network)
        self.names = {id(layer): names[path] for path, layer in network.walk()}
        self.seen: list[dict[str, Any]] = []
        self.last: Any = None

    def __call__(self, layer: Layer, direction: str, received: np.ndarray, returned: Any) -> None:
        # A method that calls its parent class's is seen twice: the outer one is the layer's.
        outer = self.last == (layer, direction, id(received))
        self.last = layer, direction, id(received)
        if direction == "forward":
            if outer:
                self.seen.pop()
            self.seen.append({"layer": layer, "input": received, "output": returned})
            return
        # The last forward is differentiated first, should a container run a layer several times.
        passes = [p for p in self.seen if p["layer"] is layer and ("grad_output" in p) == outer]
        this = passes[0] if outer else passes[-1]
        this |= {"grad_output": received, "grad_input": returned, "grads": _copied(layer, "grads")}
        if isinstance(layer, Recurrent):
            this["time"] = through_time(layer, received)

    def steps(self) -> list[LayerStep]:
        """All layers but those that only chain others, with their equations."""
        kept = [p for p in self.seen if not isinstance(p["layer"], Sequential)]
        ways = {id(p["layer"]): p.get("grad_input") for p in self.seen}
        return [self._step(ways=ways, **p) for p in kept if "grad_output" in p]

    def _step(self, layer: Layer, ways: dict[int, Any], **arrays: Any) -> LayerStep:
        reads_data = arrays["input"] is self.seen[0]["input"]
        step = LayerStep(
            name=self.names[id(layer)],
            label=layer.label,
            params=_copied(layer, "params"),
            local=local_derivative(layer, arrays["input"], arrays["output"]),
            frozen=not layer.trainable,
            is_neuron=reads_data and is_neuron(layer, arrays["input"]),
            **arrays,
        )
        branches = {name: ways.get(id(child)) for name, child in layer.children()}
        if isinstance(layer, Recurrent):
            equations = time_equations(layer, step)
        else:
            equations = equations_of(layer, step, branches)
        step.forward, step.derivatives, step.backward = equations
        return step


def _copied(layer: Layer, kind: str) -> dict[str, np.ndarray]:
    arrays = getattr(layer, kind) if layer.is_built else {}
    return {name: array.copy() for name, array in arrays.items()}


def _loss_step(
    loss: Loss, value: float, y_pred: Any, y: Any, sample_weight: Any, gradient: Any
) -> LossStep:
    """Record the loss; of rows with a target for every step, the samples are the steps."""
    if isinstance(y_pred, Sequences) and isinstance(loss, Loss):
        y_pred, y, sample_weight = loss.by_step(y_pred, y, sample_weight)
    elif isinstance(y_pred, Sequences):
        y = np.concatenate([np.asarray(row) for row in y])
    step = LossStep(repr(loss), value, numbers(y_pred), np.array(y), numbers(gradient))
    step.value_formula, step.derivative_formula = in_one_line(type(loss)) or ("", "")
    if hasattr(loss, "inverse_link"):
        prediction = loss.inverse_link(step.y_pred)
        step.prediction = None if np.array_equal(prediction, step.y_pred) else prediction
    step.forward, step.backward = loss_equations(loss, step, sample_weight)
    return step


def _descend(network: Layer, grads: np.ndarray, optimizer: Optimizer) -> Descent:
    """Take one step on a network that is a copy; the losses are for the caller to fill in."""
    names, rate = layer_names(network), optimizer.rate
    before = network.flat_params.copy()
    optimizer.step(network.flat_params, grads, network.layout)
    flat = {"before": before, "grads": grads, "after": network.flat_params}
    flat["steps"] = flat["after"] - before
    by_name: dict[str, dict[str, np.ndarray]] = {kind: {} for kind in flat}
    for slot in network.layout:
        path, _, param = slot.path.rpartition(".")
        for kind, vector in flat.items():
            array = vector[slot.slice].reshape(slot.shape).copy()
            by_name[kind][f"{names[path]}.{param}"] = array
    return Descent(repr(optimizer), rate, **by_name, loss_before=np.nan, loss_after=np.nan)
