"""Hyper-parameters, read from a constructor's signature, and what kind of value each is."""

import inspect
import math
from collections.abc import Iterator
from typing import Any, Self

import numpy as np

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameterized:
    """Gives a class `get_params`, `set_params` and a readable repr.

    The constructor's arguments are the hyper-parameters. It stores each one, as given, under its
    own name and does nothing else; that is all `sklearn.clone` and a grid search ask for.
    The hyper-parameters of a parameter that has some itself are reached as ``name__parameter``.
    A class whose children hide in a list names them by overriding `_nested`.

    Examples
    --------
    >>> class Leaf(Parameterized):
    ...     def __init__(self, size=1, colour="green"):
    ...         self.size = size
    ...         self.colour = colour
    >>> class Tree(Parameterized):
    ...     def __init__(self, leaf, height=10.0):
    ...         self.leaf = leaf
    ...         self.height = height
    >>> tree = Tree(Leaf(size=3))
    >>> tree
    Tree(leaf=Leaf(size=3))
    >>> sorted(tree.get_params())
    ['height', 'leaf', 'leaf__colour', 'leaf__size']
    >>> tree.set_params(leaf__size=5, height=2.0)
    Tree(leaf=Leaf(size=5), height=2.0)
    """

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Each constructor argument with its default (`inspect.Parameter.empty` if it has none)."""
        if cls.__init__ is object.__init__:
            return {}
        _, *arguments = inspect.signature(cls.__init__).parameters.values()
        if any(argument.kind in _VARIADIC for argument in arguments):
            raise TypeError(
                f"{cls.__name__}.__init__ must name its hyper-parameters, without * or **"
            )
        return {argument.name: argument.default for argument in arguments}

    def _nested(self) -> Iterator[tuple[str, Any]]:
        """Name and object of every child whose parameters are reported as ``name__parameter``.

        A class with a list of children overrides it, for instance to yield
        ``("layers__dense_1", layer)`` for every layer in ``layers``.
        """
        for name, value in self.get_params(deep=False).items():
            if hasattr(value, "get_params") and not isinstance(value, type):
                yield name, value

    def _set_nested(self, name: str, value: Any) -> None:
        """Replace the child that `_nested` calls ``name``, without changing the list it came in."""
        held, in_list, _ = name.partition("__")
        if in_list:
            position = [known for known, _ in self._nested()].index(name)
            entries = list(getattr(self, held))
            entry = entries[position]  # the child itself, or a pair that ends with it
            entries[position] = (entry[0], value) if isinstance(entry, (tuple, list)) else value
            value = entries
        setattr(self, held, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyper-parameters by name; with ``deep`` also those of the children."""
        params = {name: getattr(self, name) for name in self._defaults()}
        if deep:
            for child_name, child in self._nested():
                params[child_name] = child
                for name, value in child.get_params(deep=True).items():
                    params[f"{child_name}__{name}"] = value
        return params

    def set_params(self, **params: Any) -> Self:
        """Set hyper-parameters, also nested ones (``name__parameter``).

        Parameters
        ----------
        **params : object
            New values by name.

        Returns
        -------
        self : object
            The same object.

        Raises
        ------
        ValueError
            If a name is unknown; it lists the valid ones, and nothing has been set.
        """
        before = self.get_params(deep=False)
        deeper = {}
        for name in sorted(params):  # a parent comes before its children: "body", "body__units"
            if name in before:
                setattr(self, name, params[name])
            elif name in dict(self._nested()):
                self._set_nested(name, params[name])
            else:
                deeper[name] = params[name]

        valid = self.get_params(deep=True)
        if unknown := [name for name in deeper if name not in valid]:
            for name, value in before.items():
                setattr(self, name, value)
            raise ValueError(
                f"{type(self).__name__} has no parameter {', '.join(map(repr, unknown))}; "
                f"valid parameters are {', '.join(valid) or '(none)'}"
            )

        children = dict(self._nested())
        for name, value in deeper.items():
            owner = max((c for c in children if name.startswith(f"{c}__")), key=len)
            children[owner].set_params(**{name.removeprefix(f"{owner}__"): value})
        return self

    def check(self, ok: bool, name: str, expected: str) -> None:
        """Raise a ValueError that names parameter ``name``, what it must be and what it is."""
        if not ok:
            value = getattr(self, name)
            raise ValueError(f"{self!r}: {name} must be {expected}, got {value!r}{if_class(value)}")

    def __repr__(self) -> str:
        defaults = self._defaults()
        written = {name: _short(getattr(self, name)) for name in defaults}  # layers may be nested
        shown = [f"{k}={v}" for k, v in written.items() if v != _short(defaults[k])]
        return f"{type(self).__name__}({', '.join(shown)})"


def _short(value: Any) -> str:
    """`repr`, but a function or class by its name alone: ``he_uniform``."""
    return value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value)


def if_class(value: Any) -> str:
    """What to add to an error where a class of ours came in place of an object."""
    is_class = isinstance(value, type) and issubclass(value, Parameterized)
    return f": that is the class, write {value.__name__}(...)" if is_class else ""


def is_size(value: Any, least: int = 1) -> bool:
    """Whether a hyper-parameter is an integer of at least ``least``."""
    return isinstance(value, int | np.integer) and value is not True and int(value) >= least


def in_range(value: Any, low: float, high: float = math.inf) -> bool:
    """Whether `value` is a real number in ``[low, high)``; NaN is not."""
    number = isinstance(value, (int, float, np.integer, np.floating))
    return number and bool(low <= value < high)


def is_positive(value: Any) -> bool:
    """Whether `value` is a positive finite number."""
    return in_range(value, 0) and value > 0


def is_dtype(value: Any) -> bool:
    """Whether a hyper-parameter is "auto", float32 or float64, as a name, a type or a dtype."""
    if isinstance(value, np.dtype):  # equal to whatever makes one: None and float, for instance
        value = value.type if value.isnative else None
    known = ("auto", "float32", "float64", np.float32, np.float64)
    return isinstance(value, str | type) and value in known


def is_number(value: Any) -> bool:
    """Whether a hyper-parameter is a finite real number."""
    return (
        isinstance(value, (int, float, np.number))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )
