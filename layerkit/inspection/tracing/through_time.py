"""The steps of time of a recurrent layer: values, gradients, and where each gradient came from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from layerkit.inspection.tracing.equations import (
    Equations,
    Factor,
    Index,
    entry,
    sum_of_products,
)
from layerkit.inspection.tracing.record import Equation, LayerStep, ThroughTime, is_small
from layerkit.layers import GRU, LSTM
from layerkit.layers.recurrent import Recurrent, SimpleRNN
from layerkit.sequences import Sequences, numbers

Place = tuple[int, int]
"""A row, and a step of it."""


def through_time(layer: Recurrent, grad_output: np.ndarray) -> ThroughTime | None:
    """Run backward through the steps once more and keep what it leaves at each; None of no steps.

    The layer has just run backward, and is left as it was.
    """
    line, _, states, kept, rows = layer.cache
    n_steps = int(line.sizes.sum())
    if n_steps == 0:
        return None
    lengths = np.full(line.n_rows, line.time) if rows is None else rows.lengths

    def by_row(ordered: np.ndarray) -> Sequences:
        return Sequences.from_steps(line.unordered(ordered[-n_steps:]), lengths)

    named = dict(zip(("h", "c"), states, strict=False))
    values = {name: by_row(state) for name, state in named.items()}
    before = {name: by_row(line.before(state)) for name, state in named.items()}
    grad = layer.grad_by_step(grad_output)
    gradients = {"G": by_row(grad.copy())}  # what comes is overwritten with the sums
    D, E = _steps_backward(layer, grad)
    of_h, of_a, of_product = by_row(grad), by_row(D), by_row(E)
    gradients["from U"] = _next(of_product.with_steps(of_product.steps @ layer.params["U"].T))
    if isinstance(layer, GRU):
        values |= _gates(by_row(kept[0]), "rzn") | {"q": by_row(kept[1])}
        gradients["from z"] = _next(_times(values["z"], of_h))
    gradients["dL/dh"] = of_h
    if isinstance(layer, LSTM):
        values |= _gates(by_row(kept[0]), "ifgo")
        gradients |= _of_cells(values, of_h)
    gradients["dL/da"] = of_a
    if isinstance(layer, GRU):
        gradients["dL/d(hU)"] = of_product
    return ThroughTime(values, before, gradients)


def _steps_backward(layer: Recurrent, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run backward through the steps; what it writes into the layer's gradients is undone."""
    line, _, states, kept, _ = layer.cache
    grads = {name: array.copy() for name, array in layer.grads.items()}
    D, E = layer.steps_backward(grad, states, line, kept)
    for name, array in grads.items():
        layer.grads[name][...] = array
    return D, E


def _gates(gates: Sequences, letters: str) -> dict[str, Sequences]:
    parts = np.split(gates.steps, len(letters), axis=1)
    return {letter: gates.with_steps(part) for letter, part in zip(letters, parts, strict=True)}


def _of_cells(values: dict[str, Sequences], of_h: Sequences) -> dict[str, Sequences]:
    """Return C_t = H_t o (1 - tanh² c_t) + C_{t+1} f_{t+1}, and both of its parts."""
    slope = values["o"].steps * (1 - np.tanh(values["c"].steps) ** 2)
    own = of_h.with_steps(of_h.steps * slope)
    of_c = own.copy()
    for C, f in zip(of_c, values["f"], strict=True):
        for t in range(len(C) - 2, -1, -1):
            C[t] += f[t + 1] * C[t + 1]
    return {"from h": own, "from f": _next(_times(values["f"], of_c)), "dL/dc": of_c}


def _times(a: Sequences, b: Sequences) -> Sequences:
    return a.with_steps(a.steps * b.steps)


def _next(rows: Sequences) -> Sequences:
    """Return at each step what the next one has, and zeros at the last of each row."""
    later = np.zeros_like(rows.steps)
    later[:-1] = rows.steps[1:]
    later[rows.offsets[1:] - 1] = 0
    return rows.with_steps(later)


# ---------------------------------------------------------------- the chain rule, written out


def time_equations(layer: Recurrent, step: LayerStep) -> Equations:
    """Write out the states, their gradients from the last step to the first, and what these make.

    Nothing for a layer that is too large.
    """
    time = step.time
    small = is_small(step.input, step.output, *step.params.values())
    if time is None or not small or not is_small(time.values["h"].steps):
        return [], [], []
    equations = EQUATIONS.get(type(layer), _StepEquations)(layer, step, time)
    places = [(n, t) for n, row in enumerate(time.values["h"]) for t in range(len(row))]
    forward = [equation for place in places for equation in equations.states(place)]
    backward = [equation for place in places[::-1] for equation in equations.gradients(place)]
    return forward, backward, list(equations.sums(places))


Terms = list[list[Factor]]


class _StepEquations:
    """The equations of a layer's steps, from their numbers by name."""

    def __init__(self, layer: Recurrent, step: LayerStep, time: ThroughTime) -> None:
        self.layer, self.step, self.before = layer, step, time.before
        rows = time.values["h"]
        x = rows.with_steps(numbers(step.input).reshape(len(rows.steps), -1))
        self.of = {"x": x, **time.values, **time.gradients}
        self.product = "dL/d(hU)" if "dL/d(hU)" in self.of else "dL/da"
        self.n_in, self.columns = step.params["W"].shape

    def at(self, name: str, place: Place, k: int) -> Factor:
        n, t = place
        return Factor(entry(name, (n, t, k)), self.of[name][n][t, k])

    def earlier(self, name: str, place: Place, k: int) -> Factor:
        n, t = place
        return Factor(entry(name, (n, t - 1, k)), self.before[name][n][t, k])

    def weight(self, name: str, *index: int) -> Factor:
        return Factor(entry(name, index), self.step.params[name][index])

    def equal(self, name: str, place: Place, k: int, terms: Terms) -> Equation:
        result = self.at(name, place, k)
        return sum_of_products(result.name, terms, result.value)

    def states(self, place: Place) -> Iterator[Equation]:
        """How the states of a step come about."""
        return iter(())

    def gradients(self, place: Place) -> Iterator[Equation]:
        """Where the gradients of the states of a step come from, and what goes on from there."""
        n, t = place
        later = (n, t + 1) if t + 1 < len(self.of["h"][n]) else None
        for k in range(self.layer.units):
            terms = [[self.at("G", place, k)]]
            if later:
                terms += self.kept(later, k)
                terms += [
                    [self.at(self.product, later, j), self.weight("U", k, j)]
                    for j in range(self.columns)
                ]
            yield self.equal("dL/dh", place, k, terms)
        yield from self.local(place, later)

    def kept(self, later: Place, k: int) -> Terms:
        """What a state gets from the next step past the product."""
        return []

    def local(self, place: Place, later: Place | None) -> Iterator[Equation]:
        """The gradients of the sums that enter the functions of a step."""
        return iter(())

    def sums(self, places: list[Place]) -> Iterator[Equation]:
        """Sum over all steps of all rows for the arrays; then the gradient of the input."""
        wrt: dict[str, Callable[[Place, Index], list[Factor]]] = {
            "W": lambda p, ij: [self.at("x", p, ij[0]), self.at("dL/da", p, ij[1])],
            "U": lambda p, kj: [self.earlier("h", p, kj[0]), self.at(self.product, p, kj[1])],
            "b": lambda p, j: [self.at("dL/da", p, j[0])],
            "b_hidden": lambda p, k: [self.at(self.product, p, 2 * self.layer.units + k[0])],
        }
        for name, grad in {} if self.step.frozen else self.step.grads.items():
            for index in np.ndindex(grad.shape):
                terms = [wrt[name](place, index) for place in places]
                yield sum_of_products(f"dL/d{entry(name, index)}", terms, grad[index])
        if self.step.grad_input is None:
            return
        grads = self.of["x"].with_steps(numbers(self.step.grad_input).reshape(-1, self.n_in))
        for (n, t), i in product(places, range(self.n_in)):
            terms = [
                [self.at("dL/da", (n, t), j), self.weight("W", i, j)] for j in range(self.columns)
            ]
            yield sum_of_products(f"dL/d{entry('x', (n, t, i))}", terms, grads[n][t, i])


class _RNNEquations(_StepEquations):
    def states(self, place: Place) -> Iterator[Equation]:
        f, units = self.layer.activation, range(self.layer.units)  # type: ignore[attr-defined]
        for j in units:
            terms = [[self.at("x", place, i), self.weight("W", i, j)] for i in range(self.n_in)]
            terms += [[self.earlier("h", place, k), self.weight("U", k, j)] for k in units]
            a = self.equal("h", place, j, [*terms, [self.weight("b", j)]])
            yield a._replace(symbols=f"{f}({a.symbols})", numbers=f"{f}({a.numbers})")

    def local(self, place: Place, later: Place | None) -> Iterator[Equation]:
        for k in range(self.layer.units):
            h = self.at("h", place, k)
            slope = _rest(h, squared=True)
            if self.layer.activation == "relu":  # type: ignore[attr-defined]
                slope = Factor(f"[{h.name} > 0]", float(h.value > 0))
            yield self.equal("dL/da", place, k, [[self.at("dL/dh", place, k), slope]])


class _LSTMEquations(_StepEquations):
    def states(self, place: Place) -> Iterator[Equation]:
        for k in range(self.layer.units):
            i, f, g, o, c = (self.at(name, place, k) for name in "ifgoc")
            yield self.equal("c", place, k, [[f, self.earlier("c", place, k)], [i, g]])
            yield self.equal("h", place, k, [[o, _tanh(c)]])

    def local(self, place: Place, later: Place | None) -> Iterator[Equation]:
        units = self.layer.units
        for k in range(units):
            i, f, g, o, c, H, C = (self.at(name, place, k) for name in (*"ifgoc", "dL/dh", "dL/dc"))
            came = [[H, o, _rest(_tanh(c), squared=True)]]
            if later:
                came.append([self.at("f", later, k), self.at("dL/dc", later, k)])
            yield self.equal("dL/dc", place, k, came)
            yield self.equal("dL/da", place, k, [[C, g, i, _rest(i)]])
            of_f = [C, self.earlier("c", place, k), f, _rest(f)]
            yield self.equal("dL/da", place, units + k, [of_f])
            yield self.equal("dL/da", place, 2 * units + k, [[C, i, _rest(g, squared=True)]])
            yield self.equal("dL/da", place, 3 * units + k, [[H, _tanh(c), o, _rest(o)]])


class _GRUEquations(_StepEquations):
    def states(self, place: Place) -> Iterator[Equation]:
        for k in range(self.layer.units):
            z, n = self.at("z", place, k), self.at("n", place, k)
            yield self.equal("h", place, k, [[_rest(z), n], [z, self.earlier("h", place, k)]])

    def kept(self, later: Place, k: int) -> Terms:
        return [[self.at("z", later, k), self.at("dL/dh", later, k)]]

    def local(self, place: Place, later: Place | None) -> Iterator[Equation]:
        units = self.layer.units
        for k in range(units):
            r, z, n, q, H = (self.at(name, place, k) for name in (*"rznq", "dL/dh"))
            h = self.earlier("h", place, k)
            N = self.at("dL/da", place, 2 * units + k)
            change = Factor(f"({h.name} - {n.name})", h.value - n.value)
            yield self.equal("dL/da", place, k, [[N, q, r, _rest(r)]])
            yield self.equal("dL/da", place, units + k, [[H, change, z, _rest(z)]])
            yield self.equal("dL/da", place, 2 * units + k, [[H, _rest(z), _rest(n, squared=True)]])
            yield self.equal("dL/d(hU)", place, 2 * units + k, [[r, N]])


def _rest(factor: Factor, squared: bool = False) -> Factor:
    """1 - a gate, or 1 - tanh²."""
    name, value = factor
    return Factor(f"(1 - {name}{'²' * squared})", 1 - (value**2 if squared else value))


def _tanh(factor: Factor) -> Factor:
    return Factor(f"tanh({factor.name})", np.tanh(factor.value))


EQUATIONS: dict[type[Recurrent], type[_StepEquations]] = {
    LSTM: _LSTMEquations,
    GRU: _GRUEquations,
    SimpleRNN: _RNNEquations,
}
