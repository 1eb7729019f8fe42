"""The chain rule with the actual numbers in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from layerkit.inspection.catalogue import in_one_line
from layerkit.inspection.jacobians import jacobians
from layerkit.inspection.tracing.record import (
    Equation,
    LayerStep,
    LocalDerivative,
    LossStep,
    is_small,
)
from layerkit.layer import Layer
from layerkit.layers import Concat, Dense, Gate, MultiHeadAttention, Residual
from layerkit.layers.activations import Elementwise
from layerkit.losses import Loss
from layerkit.tables import number

Index = tuple[int, ...]
Branches = dict[str, np.ndarray | None]

MOST_TERMS = 6
"""A longer sum is cut short."""


class Factor(NamedTuple):
    """A number with its name."""

    name: str
    value: Any


Equations = tuple[list[Equation], list[Equation], list[Equation]]


def equations_of(layer: Layer, step: LayerStep, branches: Branches) -> Equations:
    """Write out y, the local derivatives and the chain rule of a layer that is small enough.

    ``branches`` holds the gradient that each layer inside sent back.
    """
    if not is_small(step.input, step.output, *step.params.values()):
        return [], [], []
    if isinstance(layer, Dense):
        return _dense(step)
    if isinstance(layer, Residual):
        return [], [], list(_ways_added(step, branches))
    if isinstance(layer, Elementwise):
        return _elementwise(step)
    forward = list(_attention(layer, step)) if isinstance(layer, MultiHeadAttention) else []
    return forward, [], list(_any_layer(step))


# ---------------------------------------------------------------- local derivatives


def local_derivative(layer: Layer, x: np.ndarray, y: np.ndarray) -> LocalDerivative:
    """Find dy/dx of a layer that has just run forward; its gradients are overwritten."""
    if isinstance(layer, Dense):
        return LocalDerivative(in_one_line(Dense)[0], layer.params["W"].copy())
    for container in (Residual, Gate, Concat):
        if isinstance(layer, container):
            return LocalDerivative(in_one_line(container)[0])
    if layer.children():
        return LocalDerivative("dy/dx is that of the layers inside")
    params = layer.params if layer.is_built else {}
    # Of rows of unequal length only the steps are known here.
    small = is_small(x, y, *params.values()) and x.ndim > len(layer.input_shape)
    if isinstance(layer, Elementwise):
        by_param = jacobians(layer, x, y)[1] if small and params else {}
        slope = np.broadcast_to(layer.derivative(x), x.shape)
        return LocalDerivative("dy/dx = f'(x), number by number", slope, True, by_param)
    (formula,) = in_one_line(type(layer)) or ("dy/dx = the Jacobian J",)
    if not small:
        return LocalDerivative(formula)
    jacobian, by_param = jacobians(layer, x, y)
    return LocalDerivative(formula, jacobian, by_param=by_param)


# ---------------------------------------------------------------- Dense


def _in_textbooks(name: str, index: Index) -> str:
    """The names for one neuron and one sample: z = w1 x1 + w2 x2 + b."""
    x, w = f"x{index[-1] + 1}", f"w{index[0] + 1}"
    return {"x": x, "W": w, "b": "b", "y": "z", "G": "dL/dz"}[name]


def is_neuron(layer: Layer, x: np.ndarray) -> bool:
    """Whether the layer is one neuron that sees one sample."""
    return isinstance(layer, Dense) and layer.units == 1 and x.size == x.shape[-1]


def _dense(step: LayerStep) -> Equations:
    arrays = {"x": step.input, "y": step.output, "G": step.grad_output, **step.params}
    rows, (n_in, units) = list(np.ndindex(step.input.shape[:-1])), step.params["W"].shape
    name = _in_textbooks if step.is_neuron else entry

    def factor(of: str, *index: int) -> Factor:
        return Factor(name(of, index), arrays[of][index])

    def equation(of: str, index: Index, terms: list[list[Factor]], values: np.ndarray) -> Equation:
        left = name(of, index) if of == "y" else f"dL/d{name(of, index)}"
        return sum_of_products(left, terms, values[index])

    forward = []
    for *row, j in np.ndindex(step.output.shape):
        terms = [[factor("x", *row, i), factor("W", i, j)] for i in range(n_in)]
        terms = [term[::-1] for term in terms] if step.is_neuron else terms
        terms += [[factor("b", j)]] if "b" in arrays else []
        forward.append(equation("y", (*row, j), terms, step.output))
    if step.is_neuron:
        return forward, *_neuron(step)
    backward = []
    if not step.frozen:
        for i, j in np.ndindex(n_in, units):
            terms = [[factor("x", *row, i), factor("G", *row, j)] for row in rows]
            backward.append(equation("W", (i, j), terms, step.grads["W"]))
        for j in range(units if "b" in arrays else 0):
            terms = [[factor("G", *row, j)] for row in rows]
            backward.append(equation("b", (j,), terms, step.grads["b"]))
    if step.grad_input is not None:
        for *row, i in np.ndindex(step.input.shape):
            terms = [[factor("G", *row, j), factor("W", i, j)] for j in range(units)]
            backward.append(equation("x", (*row, i), terms, step.grad_input))
    return forward, [], backward


def _neuron(step: LayerStep) -> tuple[list[Equation], list[Equation]]:
    """Local derivatives of z with respect to all it depends on, then the chain rule."""
    x, W = step.input.reshape(-1), step.params["W"][:, 0]
    upstream = float(step.grad_output.reshape(-1)[0])
    locals_ = []
    if not step.frozen:
        locals_ += [Equation(f"dz/dw{i + 1}", f"x{i + 1}", "", v) for i, v in enumerate(x)]
        locals_ += [Equation("dz/db", "", "", 1.0)] * ("b" in step.params)
    if step.grad_input is not None:
        locals_ += [Equation(f"dz/dx{i + 1}", f"w{i + 1}", "", v) for i, v in enumerate(W)]
    results = [step.grads["W"][:, 0], step.grads.get("b", np.zeros(0))] * (not step.frozen)
    results += [] if step.grad_input is None else [step.grad_input.reshape(-1)]
    backward = [
        Equation(
            left=local.left.replace("dz", "dL"),
            symbols=f"dL/dz {local.left}",
            numbers=f"{signed(upstream)} × {signed(local.value)}",
            value=float(value),
        )
        for local, value in zip(locals_, np.concatenate(results), strict=True)
    ]
    return locals_, backward


# ---------------------------------------------------------------- other layers


def _elementwise(step: LayerStep) -> Equations:
    function = step.label.partition("(")[0].lower()
    slope = step.local.values
    forward, derivatives, backward = [], [], list(_of_params(step))
    for index in np.ndindex(step.input.shape):
        x, y = step.input[index], step.output[index]
        argument = entry("x", index)
        symbols, numbers = f"{function}({argument})", f"{function}({number(x)})"
        forward.append(Equation(entry("y", index), symbols, numbers, float(y)))
        derivatives.append(Equation(f"f'({argument})", "", f"f'({number(x)})", float(slope[index])))
        if step.grad_input is not None:
            factors = [
                Factor(entry("G", index), step.grad_output[index]),
                Factor(f"f'({argument})", slope[index]),
            ]
            left, value = f"dL/d{argument}", step.grad_input[index]
            backward.append(sum_of_products(left, [factors], value))
    return forward, derivatives, backward


def _any_layer(step: LayerStep) -> Iterator[Equation]:
    """Sum over all outputs that depend on a number: G times the output's derivative."""
    yield from _of_params(step)
    if step.grad_input is not None and step.local.values is not None:
        yield from _contracted(step, "x", step.local.values, step.grad_input)


def _attention(layer: MultiHeadAttention, step: LayerStep) -> Iterator[Equation]:
    """Yield every weight as the softmax of the scores that its step gives."""
    both = zip(layer.scores(step.input), layer.weights(step.input), strict=True)
    for n, (scores, weights) in enumerate(both):
        for head, t, s in np.ndindex(weights.shape):
            seen = range(t + 1 if layer.causal else len(scores[head]))
            if s in seen:
                names = [entry("S", (n, head, t, other)) for other in seen]
                powers = [f"exp({number(scores[head, t, other])})" for other in seen]
                symbols = f"exp({names[s]}) / ({' + '.join(f'exp({name})' for name in names)})"
                quotient = f"{powers[s]} / ({' + '.join(powers)})"
                place = entry("A", (n, head, t, s))
                yield Equation(place, symbols, quotient, float(weights[head, t, s]))


def _of_params(step: LayerStep) -> Iterator[Equation]:
    for param, derivative in step.local.by_param.items():
        if not step.frozen:
            yield from _contracted(step, param, derivative, step.grads[param])


def _contracted(
    step: LayerStep, of: str, derivative: np.ndarray, gradient: np.ndarray
) -> Iterator[Equation]:
    for index in np.ndindex(gradient.shape):
        target = entry(of, index)
        terms = []
        for out in np.ndindex(step.output.shape):
            slope = derivative[(*out, *index)]
            if slope:  # an output that does not depend on it
                name = f"d{entry('y', out)}/d{target}"
                factors = [Factor(entry("G", out), step.grad_output[out]), Factor(name, slope)]
                terms.append(factors)
        yield sum_of_products(f"dL/d{target}", terms, gradient[index])


def _ways_added(step: LayerStep, branches: Branches) -> Iterator[Equation]:
    ways: dict[str, Any] = {"shortcut": step.grad_output, **branches}
    if step.grad_input is None or any(way is None for way in ways.values()):
        return
    for index in np.ndindex(step.grad_input.shape):
        terms = [[Factor(f"{name}'s", way[index])] for name, way in sorted(ways.items())]
        yield sum_of_products(f"dL/d{entry('x', index)}", terms, step.grad_input[index])


# ---------------------------------------------------------------- the loss


def loss_equations(
    loss: Loss, step: LossStep, sample_weight: ArrayLike | None
) -> tuple[list[Equation], list[Equation]]:
    """Write out the mean over the samples and its derivative."""
    if not isinstance(loss, Loss) or not is_small(step.y_pred):
        return [], []
    targets = loss.prepare_targets(step.y_pred, step.y_true)
    values = loss.value(step.y_pred, targets).reshape(len(step.y_pred), -1)
    slopes = loss.derivative(step.y_pred, targets)
    weights = None if sample_weight is None else np.asarray(sample_weight, float)
    # One value for each output: its formula can be filled in.
    known = targets if weights is None and values.size == step.y_pred.size else None
    whole = _mean_loss(step, values, weights, known)
    return [whole], list(_loss_gradient(step, slopes, values.shape[1], weights, known))


def _mean_loss(
    step: LossStep, values: np.ndarray, weights: np.ndarray | None, known: np.ndarray | None
) -> Equation:
    per_sample = values.mean(axis=1)
    terms = [[*_weight(weights, s), Factor(entry("v", (s,)), v)] for s, v in enumerate(per_sample)]
    whole = sum_of_products("L", terms, step.value)
    if known is not None and values.shape[1] == 1:
        places = list(np.ndindex(step.y_pred.shape))
        filled = [_filled_in(step.value_formula, step, place, known) for place in places]
        if all(filled):
            whole = whole._replace(numbers=" + ".join(filled[:MOST_TERMS]))
    if len(values) == 1 and weights is None:
        return whole
    total = number(_total(weights, step))
    return whole._replace(
        symbols=f"({whole.symbols}) / {total}", numbers=f"({whole.numbers}) / {total}"
    )


def _loss_gradient(
    step: LossStep,
    slopes: np.ndarray,
    n_values: int,
    weights: np.ndarray | None,
    known: np.ndarray | None,
) -> Iterator[Equation]:
    count = number(_total(weights, step) * n_values)
    for index in np.ndindex(step.y_pred.shape):
        of = entry("y_pred", index)
        factors = [*_weight(weights, index[0]), Factor(f"dv/d{of}", slopes[index])]
        equation = sum_of_products(f"dL/d{of}", [factors], step.gradient[index])
        numbers = equation.numbers
        if known is not None:
            numbers = _filled_in(step.derivative_formula, step, index, known) or numbers
        if count != "1":
            equation = equation._replace(symbols=f"{equation.symbols} / {count}")
            numbers = f"{numbers} / {count}"
        yield equation._replace(numbers=numbers)


def _weight(weights: np.ndarray | None, sample: int) -> list[Factor]:
    return [] if weights is None else [Factor(entry("w", (sample,)), weights[sample])]


def _total(weights: np.ndarray | None, step: LossStep) -> float:
    return float(len(step.y_pred) if weights is None else weights.sum())


def _filled_in(formula: str, step: LossStep, index: Index, targets: np.ndarray) -> str:
    """Put the numbers into a formula that knows only y_pred and y_true; else nothing."""
    words = set(re.findall(r"[^\W\d²]\w*", formula))
    if "y_pred" not in words or words - {"y_pred", "y_true", "exp"}:
        return ""
    formula = formula.replace("y_pred", signed(step.y_pred[index]))
    return formula.replace("y_true", signed(targets[index]))


# ---------------------------------------------------------------- numbers as text


def sum_of_products(left: str, terms: Iterable[list[Factor]], value: Any) -> Equation:
    """``left = a b + c d = 1 × 2 + 3 × 4 = 14``."""
    terms = list(terms)
    shown = terms[:MOST_TERMS]
    more = [f"… ({len(terms) - MOST_TERMS} more)"] if len(terms) > MOST_TERMS else []
    symbols = [" ".join(factor.name for factor in term) for term in shown]
    numbers = [" × ".join(signed(factor.value) for factor in term) for term in shown]
    return Equation(left, " + ".join(symbols + more), " + ".join(numbers + more), float(value))


def entry(name: str, index: Index) -> str:
    """``x[0, 1]``."""
    return f"{name}[{', '.join(map(str, index))}]"


def signed(value: Any) -> str:
    """Return a number that can follow an operator."""
    shown = number(value)
    return f"({shown})" if shown.startswith("-") else shown
