"""Hyper-parameters, read from a constructor's signature, and what kind of value each is."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, Self, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@lru_cache(maxsize=256)  # every object that is made asks for its own
def _signature_of(constructor: Any) -> inspect.Signature:
    if constructor is object.__init__:
        return inspect.Signature()
    _, *arguments = inspect.signature(constructor).parameters.values()
    return inspect.Signature(arguments)


class _Constructor:
    """What `inspect.signature` says of a class: its constructor's arguments, without ``self``."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None:  # a schedule, say, which is called with other arguments
            raise AttributeError("__signature__")
        return _signature_of(getattr(owner, "__init__"))  # noqa: B009  # mypy refuses the dot


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

    # What to write instead of arguments that other libraries have, by their names, and instead of
    # too many without a name: sentences for the error that their users meet.
    habits: ClassVar[Mapping[str, str]] = {}
    too_many: ClassVar[str] = ""
    __signature__ = _Constructor()

    if not TYPE_CHECKING:  # type checkers read __init__

        def __new__(cls, *args, **kwargs):
            """Say of arguments that do not fit which ones there are, and what to write instead."""
            if args or kwargs:  # copies and pickles have none
                cls._check_arguments(args, kwargs)
            return super().__new__(cls)

    @classmethod
    def _check_arguments(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        signature = cls.__signature__
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            known = signature.parameters
            hints = [
                cls.habits[name] for name in kwargs if name in cls.habits.keys() - known.keys()
            ]
            if str(error).startswith("too many") and cls.too_many:
                hints.append(cls.too_many)
            plain = [known[name].replace(annotation=inspect.Parameter.empty) for name in known]
            takes = f"it is {cls.__name__}{inspect.Signature(plain)}"
            raise TypeError("; ".join([f"{cls.__name__}: {error}", takes, *hints])) from None

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Each constructor argument with its default (`inspect.Parameter.empty` if it has none)."""
        arguments = cls.__signature__.parameters.values()
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
        names = self._defaults()
        self.check_stored()
        params = {name: getattr(self, name) for name in names}
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
            If a name is unknown; it lists the valid ones. Whatever it raises, nothing has been set.
        """
        before, undo = self.get_params(deep=False), []
        deeper = {}
        try:
            for name in sorted(params):  # a parent comes before its children: "body", "body__units"
                if name in before:
                    setattr(self, name, params[name])
                elif name in dict(self._nested()):
                    self._set_nested(name, params[name])
                else:
                    deeper[name] = params[name]

            valid = self.get_params(deep=True)
            if unknown := [name for name in deeper if name not in valid]:
                raise ValueError(
                    f"{type(self).__name__} has no parameter {', '.join(map(repr, unknown))}; "
                    f"valid parameters are {', '.join(valid) or '(none)'}"
                )

            children = dict(self._nested())
            for name, value in deeper.items():
                owner = max((c for c in children if name.startswith(f"{c}__")), key=len)
                own_name = name.removeprefix(f"{owner}__")
                children[owner].set_params(**{own_name: value})
                undo.append((children[owner], own_name, valid[name]))
        except BaseException:
            for child, name, value in reversed(undo):
                child.set_params(**{name: value})
            for name, value in before.items():
                if getattr(self, name) is not value:
                    setattr(self, name, value)
            raise
        return self

    def check_stored(self) -> None:
        """Raise a TypeError if the constructor did not store an argument under its own name."""
        kind = type(self)
        for name, argument in kind.__signature__.parameters.items():
            held = name in vars(self) or hasattr(kind, name)
            if not held and argument.kind not in _VARIADIC:
                raise TypeError(
                    f"{kind.__name__}.__init__ must store its arguments under their own names: "
                    f"write self.{name} = {name}"
                )

    def check(self, ok: bool, name: str, expected: str) -> None:
        """Raise a ValueError that names parameter ``name``, what it must be and what it is."""
        if not ok:
            value = getattr(self, name)
            raise ValueError(f"{self!r}: {name} must be {expected}, got {value!r}{if_class(value)}")

    def __repr__(self) -> str:
        defaults = self._defaults()
        self.check_stored()
        written = {name: _short(getattr(self, name)) for name in defaults}  # layers may be nested
        shown = [f"{k}={v}" for k, v in written.items() if v != _short(defaults[k])]
        return f"{type(self).__name__}({', '.join(shown)})"


def plain(value: Any) -> Any:
    """Return NumPy integers as Python's, which do not overflow, also those in tuples and lists."""
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        items = [plain(item) for item in value]
        if any(item is not given for item, given in zip(items, value, strict=True)):
            return type(value)(items)
    return value


def _short(value: Any) -> str:
    """`repr`, but a function or class by its name alone: ``he_uniform``."""
    return value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value)


def if_class(value: Any) -> str:
    """What to add to an error where a class of ours came in place of an object."""
    is_class = isinstance(value, type) and issubclass(value, Parameterized)
    return f": that is the class, write {value.__name__}(...)" if is_class else ""


def _answering(
    function: Callable[P, R], answer: Callable[[TypeError, tuple[Any, ...], dict[str, Any]], str]
) -> Callable[P, R]:
    """Answer arguments that do not fit in words of ours; any other error is as it was."""
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(answer(error, args, kwargs)) from None
            raise

    return call


def written_as(line: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that arguments that do not fit are answered with the line to write."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__qualname__.removesuffix(".__init__")
        return _answering(function, lambda error, args, kwargs: f"{name}: {error}; write {line}")

    return decorate


def told_by_habits(method: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method so that keywords of other libraries are answered by what to write here.

    What the constructor takes goes there; of other names the ``habits`` of the class know more.
    """
    known = inspect.signature(method).parameters.keys()

    def answer(error: TypeError, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        kind = type(args[0])
        unknown = [name for name in kwargs if name not in known]
        hints = [_instead(kind, name, kwargs[name]) for name in unknown]
        takes = ", ".join(name for name in known if name != "self")
        told = f"{kind.__name__}.{method.__name__}: {error}; it takes {takes}"
        return "; ".join([told, *filter(None, hints)])

    return _answering(method, answer)


def _instead(kind: type["Parameterized"], name: str, value: Any) -> str:
    if name in kind._defaults():
        return f"{name} is told to the constructor, {kind.__name__}(..., {name}={value!r:.40})"
    return kind.habits.get(name, "")


def check_object(name: str, value: Any, methods: Sequence[str], expected: str) -> None:
    """Raise a TypeError unless the value is an object with these methods."""
    if isinstance(value, type) or not all(hasattr(value, method) for method in methods):
        raise TypeError(f"{name} must be {expected}, got {brief(value)}{if_class(value)}")


def check_arguments(*checks: tuple[str, Any, bool, str], of: str = "") -> None:
    """Raise a ValueError for the first (name, value, ok, expected) that is not ok.

    ``of`` says whose arguments they are, where that is not clear.
    """
    for name, value, ok, expected in checks:
        if not ok:
            raise ValueError(f"{of}{name} must be {expected}, got {brief(value)}{if_class(value)}")


def brief(value: Any) -> str:
    """`repr`, of which an error shows the beginning if it is long."""
    shown = repr(value)
    return shown if len(shown) < 80 else f"{shown[:75]} ..."


def is_flag(value: Any) -> bool:
    """Whether a hyper-parameter is True or False."""
    return isinstance(value, bool | np.bool_)


def is_size(value: Any, least: int = 1) -> bool:
    """Whether a hyper-parameter is an integer of at least ``least``."""
    return isinstance(value, int | np.integer) and not is_flag(value) and int(value) >= least


def in_range(value: Any, low: float, high: float = math.inf) -> bool:
    """Whether `value` is a real number in ``[low, high)``; NaN is not."""
    return is_number(value) and bool(low <= value < high)


def is_positive(value: Any) -> bool:
    """Whether `value` is a positive finite number."""
    return in_range(value, 0) and value > 0


def is_fraction(value: Any) -> bool:
    """Whether `value` is a number in [0, 1]."""
    return in_range(value, 0) and value <= 1


def is_pair(value: Any) -> bool:
    """Whether `value` is a sequence of two."""
    return isinstance(value, (tuple, list, np.ndarray)) and len(value) == 2


def are_betas(value: Any) -> bool:
    """Whether `value` is a pair of numbers in [0, 1)."""
    return is_pair(value) and all(in_range(beta, 0, 1) for beta in value)


def is_dtype(value: Any) -> bool:
    """Whether a hyper-parameter is "auto", float32 or float64, as a name, a type or a dtype."""
    if isinstance(value, np.dtype):  # equal to whatever makes one: None and float, for instance
        value = value.type if value.isnative else None
    known = ("auto", "float32", "float64", np.float32, np.float64)
    return isinstance(value, str | type) and value in known


def is_number(value: Any) -> bool:
    """Whether a hyper-parameter is a finite real number."""
    real = isinstance(value, int | float | np.integer | np.floating) and not is_flag(value)
    return real and math.isfinite(value)
