"""Second opinions: SymPy on the written formulas, PyTorch's autograd on its own functions."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from layerkit.inspection.catalogue.formula import ANALYTIC, COMPARISONS, Formula, Functions
from layerkit.inspection.catalogue.record import Absent, Check

DIGITS = 40
SAME = 1e-28
"""The written derivative may differ from SymPy's by this, relative to their size, at 40 digits."""

BOUND = 1e-12
"""The code may differ from the exact value by this, relative to 1 or to the value if larger."""


def symbols(name: str, shape: tuple[int, ...]) -> Any:
    """Return an array of real symbols, or one symbol for the shape ()."""
    sympy = _sympy()
    if shape == ():
        return sympy.Symbol(name, real=True)
    flat = [sympy.Symbol(f"{name}_{k}", real=True) for k in range(int(np.prod(shape)))]
    return np.reshape(np.array(flat, dtype=object), shape)


def evaluate(lines: Sequence[Formula], names: dict[str, Any]) -> dict[str, Any]:
    """Read the formulas one after the other, numbers exactly as they are written."""
    functions = _functions()
    exactly = functions["number"]
    known = {k: exactly(v) if isinstance(v, int | float) else v for k, v in names.items()}
    for line in lines:
        shape = None
        if line.name == "dv/dy_pred":
            shape = np.shape(names["y_pred"])
        known[line.name] = line.evaluate(known, shape, functions)
    return known


def compare(
    outputs: Any, variables: Any, written: Any, points: np.ndarray, code: tuple[Any, Any],
    others: Any = (),
) -> Check:  # fmt: skip
    """Compare the derivative of the sum of the outputs with the written one, and the code.

    Parameters
    ----------
    outputs, variables, written : arrays of SymPy expressions
        The function, what it is differentiated by, and its written derivatives.
    points : array of shape (n_points, n_variables + n_others)
    code : pair of array
        The code's function (n_points, n_outputs) and derivative (n_points, n_variables).
    others : array of symbols
        What else the expressions depend on.
    """
    sympy = _sympy()
    import mpmath

    f, variables, written = (np.ravel(a).tolist() for a in (outputs, variables, written))
    total = sum(f)
    true = [sympy.diff(total, variable) for variable in variables]
    symbols_ = [*variables, *np.ravel(others).tolist()]
    numbers = sympy.lambdify(symbols_, [*f, *true, *written], "mpmath")
    worst = 0.0
    with mpmath.workdps(DIGITS):
        for point, *coded in zip(points.tolist(), *code, strict=True):
            values = [mpmath.mpf(v) for v in numbers(*map(mpmath.mpf, point))]
            y, slopes = values[: len(f)], values[len(f) : len(f) + len(true)]
            for variable, slope, claim in zip(
                variables, slopes, values[len(f) + len(true) :], strict=True
            ):
                if abs(slope - claim) > SAME * max(1, abs(slope)):
                    note = (
                        f"the derivative by {variable} is {_short(slope)} at {point}, the written "
                        f"formula gives {_short(claim)}"
                    )
                    return Check(False, note, float(abs(slope - claim)), SAME)
            found = np.concatenate([np.ravel(c) for c in coded]).tolist()
            for exact, number in zip([*y, *slopes], found, strict=True):
                worst = max(worst, float(abs(exact - number) / max(1, abs(exact))))
    note = "the written derivative is that of the written function"
    return Check(worst < BOUND, note, worst, BOUND)


def _short(number: Any) -> str:
    return f"{float(number):.6g}"


def _sympy() -> Any:
    try:
        import sympy
    except ImportError:
        raise Absent("SymPy") from None
    return sympy


@functools.cache
def _functions() -> Functions:
    sympy = _sympy()

    def elementwise(function: Callable, n_arguments: int = 1) -> Callable:
        return np.frompyfunc(function, n_arguments, 1)

    def exactly(number: float) -> Any:
        return sympy.Rational(str(number))

    def where(condition: Any, a: Any, b: Any) -> Any:
        return sympy.Piecewise((a, sympy.sympify(condition)), (b, True))

    return {
        "number": exactly,
        "pi": sympy.pi,
        "sum": np.sum,
        **{name: elementwise(getattr(sympy, name)) for name in (*ANALYTIC, "erf", "sign")},
        "abs": elementwise(lambda x: where(x < 0, -x, x)),
        # Compared with 0: at a >= b with a variable on both sides, Piecewise may recurse endlessly.
        "max": elementwise(lambda a, b: where(a - b >= 0, a, b), 2),
        "min": elementwise(lambda a, b: where(a - b <= 0, a, b), 2),
        "where": elementwise(where, 3),
        **{name: elementwise(getattr(operator, name), 2) for name in COMPARISONS.values()},
    }


# ---------------------------------------------------------------- PyTorch


def differentiate_in_torch(
    expression: str, names: Mapping[str, Any], learned: Sequence[str], grad_output: Any
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Evaluate an expression in PyTorch; return it and the gradients of ``sum(G y)``."""
    try:
        import torch
    except ImportError:
        raise Absent("PyTorch") from None

    tensors: dict[str, Any] = {
        name: torch.tensor(np.array(value)) if np.ndim(value) else value
        for name, value in names.items()
    }
    for name in learned:
        if tensors[name].is_floating_point():
            tensors[name].requires_grad_()
    y = eval(expression, {"torch": torch, "F": torch.nn.functional, **tensors})
    y.backward(torch.as_tensor(grad_output))
    gradients = {
        name: tensors[name].grad.numpy() for name in learned if tensors[name].grad is not None
    }
    return y.detach().numpy(), gradients
