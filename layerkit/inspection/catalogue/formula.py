"""Formulas written once, as lines of Python: what is printed is what is verified.

``dL/dW[i, j] = sum[n](x[n, i] * G[n, j])`` is shown as it stands, set in LaTeX, evaluated with
NumPy to be compared with the code, evaluated on complex numbers, and read into SymPy. The notation:

==========================  ========================================================================
``x[n, i]``                 an entry; an index runs over the axis it stands on, and outside of an
                            array every entry is 0
``sum[n, i](...)``          over all n and i; also ``mean`` and ``max``
``sum[i < k](...)``         over i = 0, ..., k - 1
``[i == j]``                1 if true, else 0
``a if x > 0 else b``       number by number
``x @ W``, ``W.T``          products and transposes of matrices; without indices, all else is number
                            by number
``dL/dW``, ``dy[n]/dx[i]``  derivatives; of the latter, entries that no index reaches are 0
==========================  ========================================================================
"""

from __future__ import annotations

import ast
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import scipy

from layerkit.inspection.catalogue.latex import REDUCTIONS, elements, equation, without_bound

Functions = Mapping[str, Any]
Shape = tuple[int, ...]

OPERATORS: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
}
COMPARISONS: dict[type, str] = {
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
}
"""Names of the functions in `operator`."""

ANALYTIC = ("exp", "log", "sqrt", "tanh", "cosh", "sin", "cos")


class Formula:
    r"""One line ``left = right``.

    Parameters
    ----------
    text : str
        In the notation above. A single word on the left names the right for the lines that follow.

    Attributes
    ----------
    name : str
        The left without indices: ``y``, ``dy/dx``, ``dL/dW``, or a word.
    latex : str
        The left and the right in LaTeX, with ``&`` before the equals sign.

    Examples
    --------
    >>> import numpy as np
    >>> formula = Formula("dL/dW[i, j] = sum[n](x[n, i] * G[n, j])")
    >>> formula.name, formula.evaluate({"x": np.eye(2), "G": np.ones((2, 1))}).tolist()
    ('dL/dW', [[1.0], [1.0]])
    >>> print(formula.latex)
    \frac{\partial L}{\partial W_{ij}} &= \sum_{n} x_{ni}\,G_{nj}
    """

    def __init__(self, text: str) -> None:
        left, _, right = text.partition(" = ")
        self.text = text
        self.left, self.right = (
            ast.parse(side.strip(), mode="eval").body for side in (left, right)
        )
        self.name = name_of(self.left)
        self.indices = list(_indices(self.left))

    def __repr__(self) -> str:
        return f"Formula({self.text!r})"

    @property
    def latex(self) -> str:
        """The formula in LaTeX."""
        return equation(self.left, self.right)

    @property
    def plain(self) -> str:
        """The right as one writes it by hand: ``2 (y - t)``, ``e²``."""
        return self.text.partition(" = ")[2].replace("**2", "²").replace(" * ", " ")

    def evaluate(
        self,
        names: Mapping[str, Any],
        shape: Shape | None = None,
        functions: Functions | None = None,
    ) -> Any:
        """Compute the right.

        Parameters
        ----------
        names : mapping of str to array or number
            What the formula knows; derivatives under their full name, ``"dL/dz"``.
        shape : tuple of int, optional
            Shape of the left, which says how far its indices run.
        functions : mapping of str to callable or number, optional
            What ``exp``, ``where``, ``pi`` etc. are; by default NumPy's (`NUMPY`).
        """
        ranges = self._ranges(names, shape)
        reader = _Reader(names, ranges, functions or NUMPY)
        value = reader(self.right)
        if not self.indices:
            value = np.squeeze(value) if ranges else value  # a sum keeps its axes
            return value if shape is None else np.broadcast_to(value, shape)
        return self._placed(np.asarray(value), reader, shape)

    def _placed(self, value: np.ndarray, reader: _Reader, shape: Shape | None) -> np.ndarray:
        """Put each value where the indices on the left say."""
        places = [np.asarray(reader(without_bound(index))) for index in self.indices]
        reach = np.broadcast_shapes(*(place.shape for place in places))
        free = np.broadcast_shapes(value.shape, reach)
        if free != reach:
            raise ValueError(f"an index of {self.text!r} is neither on the left nor summed over")
        if shape is None:
            shape = tuple(int(place.max()) + 1 for place in places)
        result = np.zeros(shape, value.dtype)
        result[tuple(np.broadcast_arrays(*places))] = value
        return result

    def _ranges(self, names: Mapping[str, Any], shape: Shape | None) -> dict[str, int]:
        """How far every index runs: the axis on the left, a bound, or the axes on the right."""
        reductions = list(self._reductions())
        ranges: dict[str, int] = {}
        for index, size in zip(self.indices, shape or (), strict=False):
            if isinstance(index, ast.Name) and index.id not in names:
                ranges[index.id] = min(size, ranges.get(index.id, size))
        for index in (*self.indices, *reductions):
            if isinstance(index, ast.Compare):
                if not isinstance(index.ops[0], ast.Lt) or not isinstance(index.left, ast.Name):
                    raise ValueError(f"a bound must read i < k, not {ast.unparse(index)}")
                ranges[index.left.id] = int(value_of(index.comparators[0], names))
        wanted = [
            node.id
            for index in (*self.indices, *reductions)
            for node in ast.walk(without_bound(index))
            if isinstance(node, ast.Name)
        ]
        for name in dict.fromkeys(wanted):
            if name in names:
                if any(isinstance(r, ast.Name) and r.id == name for r in reductions):
                    raise ValueError(f"{name!r} in {self.text!r} is an index and a quantity")
            elif name not in ranges:
                ranges[name] = min(self._axes(name, names), default=-1)
                if ranges[name] < 0:
                    raise ValueError(f"nothing says how far {name!r} runs in {self.text!r}")
        return ranges

    def _reductions(self) -> Iterator[ast.expr]:
        """Yield the indices over which sums and the like run."""
        for node in ast.walk(self.right):
            match node:
                case ast.Call(func=ast.Subscript(value=ast.Name(id=how), slice=over)):
                    yield from elements(over) if how in REDUCTIONS else []

    def _axes(self, index: str, names: Mapping[str, Any]) -> Iterator[int]:
        """Sizes of all axes on which a bare index stands."""
        for node in ast.walk(self.right):
            if not (_is_derivative(node) or isinstance(node, ast.Subscript)):
                continue
            array = names.get(name_of(node))  # None of a sum, and of the dW in dL/dW[i, j]
            for axis, place in enumerate(_indices(node)):
                if isinstance(place, ast.Name) and place.id == index and array is not None:
                    yield np.shape(array)[axis]


class _Reader:
    """Evaluates expressions; each index is the numbers 0, 1, ... along an axis of its own."""

    def __init__(
        self, names: Mapping[str, Any], ranges: Mapping[str, int], functions: Functions
    ) -> None:
        self.names, self.ranges, self.functions = names, ranges, functions
        self.axes = {index: axis for axis, index in enumerate(ranges)}

    def __call__(self, node: ast.AST) -> Any:
        f = self.functions
        match node:
            case ast.Constant(value=number):
                return f["number"](number)
            case ast.Name(id=name) if name in self.axes:
                shape = np.ones(len(self.axes), dtype=int)
                shape[self.axes[name]] = -1
                return np.arange(self.ranges[name]).reshape(shape)
            case ast.Name():
                return self._named(name_of(node))
            case ast.BinOp(right=right) if _is_derivative(node):
                derivative = self._named(name_of(node))
                places = elements(right.slice) if isinstance(right, ast.Subscript) else []
                return _entries(derivative, [self(place) for place in places])
            case ast.BinOp(left=left, op=op, right=right):
                return OPERATORS[type(op)](self(left), self(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self(operand)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return f["where"](self(test), self(body), self(orelse))
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [self(left), *map(self, others)]
                steps = zip(sides, ops, sides[1:], strict=False)
                return functools.reduce(
                    operator.and_, (f[COMPARISONS[type(op)]](a, b) for a, op, b in steps)
                )
            case ast.List(elts=[condition]):
                return f["where"](self(condition), f["number"](1), f["number"](0))
            case ast.Attribute(value=value, attr="T"):
                return self(value).T
            case ast.Subscript(value=value, slice=places):
                return _entries(self(value), [self(place) for place in elements(places)])
            case ast.Call(func=ast.Subscript(value=ast.Name(id=name), slice=over), args=[body]):
                return self._reduced(name, over, self(body))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._named(name)(*map(self, arguments))
        raise ValueError(f"cannot read {ast.unparse(node)!r}")

    def _named(self, name: str) -> Any:
        for known in (self.names, self.functions):
            if name in known:
                return known[name]
        raise ValueError(f"{name!r} stands for nothing")

    def _reduced(self, how: str, over: ast.expr, value: Any) -> Any:
        """Reduce along the axes of the indices, which keep the length 1."""
        value = np.asarray(value)
        axes = tuple(self.axes[name_of(without_bound(index))] for index in elements(over))
        reach = [1] * len(self.axes)
        for axis, size in enumerate(self.ranges.values()):
            if axis in axes:
                reach[axis] = size
        value = np.broadcast_to(value, np.broadcast_shapes(value.shape, tuple(reach)))
        if how == "mean":
            return value.sum(axes, keepdims=True) / np.prod([reach[axis] for axis in axes])
        return getattr(value, how)(axes, keepdims=True)


def value_of(expression: ast.expr, names: Mapping[str, Any]) -> Any:
    """Evaluate an expression without indices with NumPy."""
    return _Reader(names, {}, NUMPY)(expression)


def _entries(array: Any, places: list[Any]) -> Any:
    """Return ``array[places]``, 0 where a place is outside of the array."""
    if not places:
        return array
    array = np.asarray(array)
    indices = np.broadcast_arrays(*(np.asarray(place).astype(np.intp) for place in places))
    inside = np.ones(indices[0].shape, dtype=bool)
    for index, size in zip(indices, array.shape, strict=True):
        inside &= (index >= 0) & (index < size)
    found = array[tuple(np.where(inside, index, 0) for index in indices)]
    return np.where(inside, found, 0)


# ---------------------------------------------------------------- parts of an expression


def name_of(node: ast.AST) -> str:
    """Return an expression's name without indices, such as ``dL/dW`` of ``dL/dW[i, j]``."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Subscript(value=value):
            return name_of(value)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return f"{name_of(left)}/{name_of(right)}"
    return ""


def _is_derivative(node: ast.AST) -> bool:
    match node:
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return name_of(left) in ("dL", "dv", "dy") and name_of(right).startswith("d")
    return False


def _indices(left: ast.AST) -> Iterator[ast.expr]:
    """Yield all indices of the left side: of both parts of ``dy[n, j]/dx[n, i]``."""
    match left:
        case ast.Subscript(slice=places):
            yield from elements(places)
        case ast.BinOp(left=above, right=below):
            yield from _indices(above)
            yield from _indices(below)


# ---------------------------------------------------------------- what the words mean


def _by_real_parts(compare: Callable) -> Callable:
    """Return a comparison in which of complex numbers the real part decides."""
    return lambda a, b: compare(np.real(a), np.real(b))


def _chosen(compare: Callable) -> Callable:
    """Return the function that picks the one of two numbers that comes first."""
    return lambda a, b: np.where(compare(np.real(a), np.real(b)), a, b)


NUMPY: Functions = {
    "number": lambda number: number,
    "pi": np.pi,
    "inf": np.inf,
    "sum": np.sum,
    **{name: getattr(np, name) for name in ANALYTIC},
    "erf": lambda x: scipy.special.erf(x),
    # On either side of a kink these are analytic.
    "abs": lambda x: np.where(np.real(x) < 0, -x, x),
    "sign": lambda x: np.sign(np.real(x)),
    "max": _chosen(np.greater_equal),
    "min": _chosen(np.less_equal),
    "where": np.where,
    **{name: _by_real_parts(getattr(operator, name)) for name in COMPARISONS.values()},
}
